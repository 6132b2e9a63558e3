/* The baselines that rank by likeness, against plain arithmetic, and that they know nothing they
 * may not know. */
#include "base/pool.h"
#include "choice_log.h"
#include "scene/rank.h"

enum { RANK = 6, CAMP = 12 };
static const choice_shape rich = {.seed = 4, .attributes = true};
static const um_similarity_kind kinds[] = {UM_SIMILARITY_SPECTRAL, UM_SIMILARITY_CONTENT};

static um_similarity *fitted(um_similarity_kind kind, const um_dataset *d, const um_scene_set *set,
                             int threads)
{
    um_similarity *m = NULL;
    um_error err;
    assert_ok(um_similarity_fit(&m, kind, d, set, RANK, 9, threads, &err), err);
    return m;
}

static void p_of(const um_similarity *m, const um_scene *scene, double *p)
{
    um_error err;
    assert_ok(um_similarity_probabilities(m, scene, p, &err), err);
}

/* Plain arithmetic ----------------------------------------------------------------------------- */

/* Factors of users that have no evaluation scene; even_only: of those, the even ones. */
static um_factors factors_of(um_similarity_kind kind, const um_dataset *d, const um_scene_set *set,
                             bool even_only)
{
    um_factors f;
    um_pool *pool = NULL;
    um_error err;
    bool used[USERS];
    assert_ok(um_pool_new(&pool, 1, &err), err);
    for (uint32_t u = 0; u < USERS; u++)
        used[u] = !even_only || u % 2 == 0;
    for (size_t i = 0; i < set->n; i++)
        if (set->scenes[i].split == UM_SPLIT_EVAL)
            used[set->scenes[i].user] = false;
    if (kind == UM_SIMILARITY_CONTENT)
        assert_ok(um_content_factors(&f, d, RANK, 9, pool, &err), err);
    else
        assert_ok(um_spectral_factors(&f, d, used, INT64_MAX, NULL, 0, RANK, false, 9, pool, &err),
                  err);
    um_pool_free(pool);
    return f;
}

static void plain_scores(double *z, const um_factors *f, const um_dataset *d, const um_scene *s)
{
    double mean = 0, squares = 0;
    for (uint32_t c = 0; c < s->k; c++) {
        bool met[ITEMS] = {false};
        z[c] = 0;
        for (uint64_t i = d->user_start[s->user]; i < d->user_start[s->user + 1]; i++) {
            if (d->time_s[i] >= s->time_s || met[d->item[i]])
                continue;
            met[d->item[i]] = true;
            for (uint32_t k = 0; k < f->rank; k++)
                z[c] += f->in[d->item[i] * f->rank + k] * f->out[k * f->stride + s->items[c]];
        }
        mean += z[c] / s->k;
    }
    for (uint32_t c = 0; c < s->k; c++)
        squares += (z[c] - mean) * (z[c] - mean) / s->k;
    for (uint32_t c = 0; c < s->k; c++)
        z[c] = squares > 1e-12 ? (z[c] - mean) / sqrt(squares) : 0;
}

static void plain_p(double *p, const double *z, uint32_t k, double slope)
{
    double sum = 0;
    for (uint32_t c = 0; c < k; c++)
        sum += p[c] = exp(slope * z[c]);
    for (uint32_t c = 0; c < k; c++)
        p[c] /= sum;
}

static double plain_likelihood(const um_factors *f, const um_dataset *d, const um_scene_set *set,
                               bool odd_only, double slope)
{
    double total = -slope * slope / 2, z[LISTED], p[LISTED];
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        if (s->split == UM_SPLIT_EVAL || (odd_only && s->user % 2 == 0))
            continue;
        plain_scores(z, f, d, s);
        plain_p(p, z, s->k, slope);
        total += log(p[s->target]);
    }
    return total;
}

static void probabilities_equal_plain_arithmetic(void **state)
{
    (void)state;
    choice_truth truth;
    um_dataset *d = choice_log(&rich, &truth);
    choice_scenes s = choice_scenes_of(d, 2, 1, 150);
    for (int i = 0; i < 2; i++) {
        bool spectral = kinds[i] == UM_SIMILARITY_SPECTRAL;
        um_similarity *m = fitted(kinds[i], d, &s.set, 2);
        um_factors f = factors_of(kinds[i], d, &s.set, false);
        um_factors half = factors_of(kinds[i], d, &s.set, spectral);
        double low = -20, high = 20, most = 0;
        while (high - low > 1e-7) { /* of a concave function */
            double a = low + (high - low) / 3, b = high - (high - low) / 3;
            if (plain_likelihood(&half, d, &s.set, spectral, a) <
                plain_likelihood(&half, d, &s.set, spectral, b))
                low = a;
            else
                high = b;
        }
        assert_true(fabs(um_similarity_slope(m) - low) < 1e-4);
        assert_true(fabs(low) > 1e-3);
        for (size_t j = 0; j < s.set.n; j++) {
            const um_scene *scene = &s.set.scenes[j];
            double z[LISTED], want[LISTED], p[LISTED];
            plain_scores(z, &f, d, scene);
            plain_p(want, z, scene->k, um_similarity_slope(m));
            p_of(m, scene, p);
            for (uint32_t c = 0; c < scene->k; c++) {
                assert_true(fabs(p[c] - want[c]) < 1e-5);
                most = fmax(most, fabs(p[c] - 1.0 / scene->k));
            }
        }
        assert_true(most > 0.01);
        um_factors_dispose(&f);
        um_factors_dispose(&half);
        um_similarity_free(m);
    }
    choice_scenes_free(&s);
    um_dataset_free(d);
}

/* What may be known ---------------------------------------------------------------------------- */

/* Two logs that differ from day 150 on give one model where that day is the cut: nothing later, and
 * nothing of held-out users but what the scene's own user met before it. */
static void later_events_are_unknown(void **state)
{
    (void)state;
    choice_shape altered = rich;
    choice_truth truth;
    altered.altered_after = 150;
    um_dataset *d = choice_log(&rich, &truth), *other = choice_log(&altered, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 1, 150), t = choice_scenes_of(other, 1, 1, 150);
    s.set.split_by = t.set.split_by = UM_SPLIT_BY_BOTH;
    s.set.time_cut_s = t.set.time_cut_s = FIRST_TIME + 150 * DAY;
    for (int i = 0; i < 2; i++) {
        um_similarity *m = fitted(kinds[i], d, &s.set, 1), *n = fitted(kinds[i], other, &t.set, 3);
        size_t compared = 0;
        for (size_t j = 0; j < s.set.n; j++) {
            um_scene *a = &s.set.scenes[j], *b = &t.set.scenes[j];
            double p[LISTED], q[LISTED];
            if (a->split != UM_SPLIT_EVAL)
                continue;
            a->time_s = b->time_s = FIRST_TIME + 150 * DAY;
            b->target = (b->target + 1) % b->k;
            p_of(m, a, p);
            p_of(n, b, q);
            assert_memory_equal(p, q, a->k * sizeof *p);
            compared++;
        }
        assert_true(compared > 20);
        um_similarity_free(m);
        um_similarity_free(n);
    }
    choice_scenes_free(&s);
    choice_scenes_free(&t);
    um_dataset_free(d);
    um_dataset_free(other);
}

/* By user: what held-out users choose changes nobody else's distribution. */
static void held_out_users_are_unknown(void **state)
{
    (void)state;
    choice_truth truth;
    um_dataset *d = choice_log(&rich, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 1, 150);
    um_similarity *before = fitted(UM_SIMILARITY_SPECTRAL, d, &s.set, 1);
    um_scene *watched = NULL;
    double p[LISTED], q[LISTED];
    for (size_t j = 0; j < s.set.n && watched == NULL; j++)
        if (s.set.scenes[j].split == UM_SPLIT_EVAL)
            watched = &s.set.scenes[j];
    assert_non_null(watched);
    p_of(before, watched, p);
    um_similarity_free(before);
    for (size_t j = 0; j < s.set.n; j++) {
        uint32_t user = s.set.scenes[j].user;
        if (s.set.scenes[j].split != UM_SPLIT_EVAL || user == watched->user)
            continue;
        for (uint64_t i = d->user_start[user]; i < d->user_start[user + 1]; i++)
            d->item[i] = (d->item[i] + 7) % ITEMS;
    }
    um_similarity *after = fitted(UM_SIMILARITY_SPECTRAL, d, &s.set, 1);
    p_of(after, watched, q);
    assert_memory_equal(p, q, watched->k * sizeof *p);
    um_similarity_free(after);
    d->item[d->user_start[0]] = (d->item[d->user_start[0]] + 7) % ITEMS; /* of a training user */
    after = fitted(UM_SIMILARITY_SPECTRAL, d, &s.set, 1);
    p_of(after, watched, q);
    assert_memory_not_equal(p, q, watched->k * sizeof *p);
    um_similarity_free(after);
    choice_scenes_free(&s);
    um_dataset_free(d);
}

/* Planted taste -------------------------------------------------------------------------------- */

/* Users keep to one of two camps of items, which have a word each. */
static um_dataset *camps(void)
{
    um_error err;
    um_dataset_builder *b = NULL;
    um_dataset *d = NULL;
    um_rng r;
    um_rng_init(&r, 3, UM_RNG_TEST, 7, 0, 0);
    assert_ok(um_dataset_builder_new(&b, "camps", &err), err);
    for (uint32_t i = 0; i < 2 * CAMP; i++) {
        char id[16];
        uint32_t item;
        snprintf(id, sizeof id, "i%u", i);
        assert_ok(um_dataset_builder_item(b, id, &item, NULL, &err), err);
        assert_ok(um_dataset_builder_set_item(b, item, "title", UM_COLUMN_DESCRIPTION,
                                              i < CAMP ? "sea ship" : "hill goat", &err),
                  err);
    }
    for (uint32_t u = 0; u < USERS; u++) {
        char id[16];
        uint32_t user;
        snprintf(id, sizeof id, "u%u", u);
        assert_ok(um_dataset_builder_user(b, id, &user, NULL, &err), err);
        for (uint32_t e = 0; e < 6; e++)
            assert_ok(um_dataset_builder_interaction(b, user,
                                                     u / 2 % 2 * CAMP + um_rng_below(&r, CAMP),
                                                     FIRST_TIME + e * DAY, &err),
                      err);
    }
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    um_dataset_builder_free(b);
    return d;
}

static void a_planted_taste_is_found(void **state)
{
    (void)state;
    um_dataset *d = camps();
    um_scene scenes[USERS];
    uint32_t items[USERS][3];
    for (int none = 0; none < 2; none++) {
        um_scene_set set = {.scenes = scenes, .n = USERS};
        for (uint32_t u = 0; u < USERS; u++) {
            uint32_t camp = u / 2 % 2;
            items[u][0] = u % CAMP;
            items[u][1] = CAMP + u % CAMP;
            items[u][2] = UM_SCENE_NONE;
            scenes[u] = (um_scene){.id = u,
                                   .split = u < 30 ? UM_SPLIT_TRAIN : UM_SPLIT_EVAL,
                                   .user = u,
                                   .time_s = FIRST_TIME + 5 * DAY,
                                   .items = items[u],
                                   .k = 2 + (uint32_t)none,
                                   .target = none && u < 10 ? 2 : camp};
        }
        for (int i = 0; i < 2; i++) {
            um_similarity *m = fitted(kinds[i], d, &set, 1);
            double p[3];
            for (uint32_t u = 30; u < USERS; u++) {
                p_of(m, &scenes[u], p);
                assert_true(p[scenes[u].target] > 0.6);
                assert_true(fabs(p[0] + p[1] + (none ? p[2] : 0) - 1) < 1e-12);
                if (none) /* 10 of 30, by Laplace's rule */
                    assert_true(fabs(p[2] - 11.0 / 32) < 1e-12);
            }
            scenes[35].time_s = FIRST_TIME; /* nothing before it */
            p_of(m, &scenes[35], p);
            assert_true(fabs(p[0] - p[1]) < 1e-12);
            scenes[35].time_s = FIRST_TIME + 5 * DAY;
            um_similarity_free(m);
        }
    }
    um_dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_equal_plain_arithmetic),
        cmocka_unit_test(later_events_are_unknown),
        cmocka_unit_test(held_out_users_are_unknown),
        cmocka_unit_test(a_planted_taste_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
