/* Friends, source weights and given embeddings, each against plain counting. */
#include "base/mem.h"
#include "base/str.h"
#include "scene/exposure.h"
#include "scene/social.h"
#include "scene_log.h"

enum { USERS = 24, ITEMS = 40 };

/* A log whose users carry friend lists; some cells are odd. */
static um_dataset *friends_log(uint64_t seed, bool friends[USERS][USERS])
{
    static const char *const odd[] = {"null", "{}", "\"u1\"", "[]", "[3.5,null,[\"u1\"],true]"};
    um_dataset_builder *b = new_builder("social");
    um_error err;
    um_rng r;
    um_rng_init(&r, seed, UM_RNG_TEST, 5, 0, 0);
    for (uint32_t i = 0; i < ITEMS; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%u", i);
        describe(b, add_item(b, id), "title", id);
    }
    memset(friends, 0, sizeof(bool) * USERS * USERS);
    for (uint32_t u = 0; u < USERS; u++) {
        char id[16], cell[2048] = "[\"stranger\",9999999999";
        /* Ids that are numbers are named as numbers by half of the lists. */
        snprintf(id, sizeof id, u % 2 == 0 ? "u%u" : "%u", u);
        uint32_t user = add_user(b, id);
        uint32_t n = um_rng_below(&r, 9);
        for (uint32_t k = 0; k < n; k++) {
            uint32_t other = um_rng_below(&r, USERS);
            friends[u][other] = other != u;
            bool number = other % 2 == 1 && um_rng_below(&r, 2) != 0;
            snprintf(cell + strlen(cell), 32,
                     number           ? ",%u"
                     : other % 2 == 0 ? ",\"u%u\""
                                      : ",\"%u\"",
                     other);
        }
        strcat(cell, "]");
        if (u >= USERS - 5) {
            strcpy(cell, odd[u - (USERS - 5)]);
            memset(friends[u], 0, sizeof friends[u]);
        }
        assert_ok(um_dataset_builder_set_user(b, user, "friends", UM_COLUMN_FEATURE, cell, &err),
                  err);
        for (uint32_t k = um_rng_below(&r, 25); k > 0; k--)
            interact(b, user, um_rng_below(&r, ITEMS), 100000 + um_rng_below(&r, 50) * 60);
    }
    return finish(b);
}

/* known: whose interactions count, NULL: everybody's. */
static uint32_t count_friends(const um_dataset *d, bool friends[USERS][USERS], const bool *known,
                              uint32_t user, uint32_t item, int64_t time_s)
{
    uint32_t n = 0;
    for (uint32_t other = 0; other < USERS; other++) {
        bool met = false;
        if (known != NULL && !known[other])
            continue;
        for (uint64_t i = d->user_start[other]; i < d->user_start[other + 1]; i++)
            met = met || (d->item[i] == item && d->time_s[i] < time_s);
        n += friends[user][other] && met;
    }
    return n;
}

static void friends_are_counted(void **state)
{
    (void)state;
    bool friends[USERS][USERS];
    uint64_t total = 0;
    for (uint64_t seed = 0; seed < 8; seed++) {
        um_dataset *d = friends_log(seed, friends);
        um_social *social = NULL;
        um_error err;
        uint32_t mark[ITEMS] = {0}, epoch = 0, touched[ITEMS];
        float counts[ITEMS] = {0};
        assert_ok(um_social_new(&social, d, NULL, INT64_MAX, &err), err);
        for (uint32_t u = 0; u < USERS; u++) {
            for (int64_t t = 99940; t < 103200; t += 90) {
                uint32_t n = um_social_counts(social, u, t, counts, touched, mark, &epoch),
                         some = 0;
                for (uint32_t i = 0; i < ITEMS; i++) {
                    uint32_t expected = count_friends(d, friends, NULL, u, i, t);
                    assert_int_equal(um_social_count(social, u, i, t), expected);
                    assert_int_equal((uint32_t)counts[i], expected);
                    some += expected > 0;
                    total += expected;
                }
                assert_int_equal(n, some);
                for (uint32_t i = 0; i < n; i++) {
                    assert_true(counts[touched[i]] > 0);
                    counts[touched[i]] = 0;
                }
            }
        }
        um_social_free(social);
        um_dataset_free(d);
    }
    assert_true(total > 10000);
}

static void a_log_without_friends_has_no_graph(void **state)
{
    (void)state;
    const log_shape shape = {.users = 5, .items = 9, .max_interactions = 6, .days = 3};
    um_dataset *d = random_log(1, &shape);
    um_social *social = (um_social *)&shape;
    um_error err;
    float counts[9] = {0};
    uint32_t touched[9], mark[9] = {0}, epoch = 0;
    assert_ok(um_social_new(&social, d, NULL, INT64_MAX, &err), err);
    assert_null(social);
    assert_int_equal(um_social_count(NULL, 0, 0, INT64_MAX), 0);
    assert_int_equal(um_social_counts(NULL, 0, INT64_MAX, counts, touched, mark, &epoch), 0);
    um_dataset_free(d);
}

static void only(um_scene_options *o, um_source source)
{
    um_scene_defaults(o);
    o->base_scenes = 120;
    o->train_scenes = 0;
    o->eval_scenes = 30;
    o->train_min_len = o->train_max_len = 7;
    o->spectral_rank = o->content_rank = 5;
    for (int s = 0; s < UM_SOURCE_COUNT; s++)
        o->source_on[s] = s == (int)source;
}

static bool user_has(const um_dataset *d, uint32_t user, uint32_t item)
{
    for (uint64_t i = d->user_start[user]; i < d->user_start[user + 1]; i++)
        if (d->item[i] == item)
            return true;
    return false;
}

/* Friends alone: distractors come by count, equal ones by index, then chance fills up. What
 * held-out users did, and what anybody did after the cut, is not counted. */
static void social_distractors_are_those_of_most_friends(void **state)
{
    (void)state;
    bool friends[USERS][USERS];
    size_t by_friends = 0, by_chance = 0, withheld = 0;
    for (uint64_t seed = 0; seed < 9; seed++) {
        um_dataset *d = friends_log(seed, friends);
        um_scene_options o;
        um_split_plan plan;
        um_error err;
        only(&o, UM_SOURCE_SOCIAL);
        o.split_by = (um_split_by)(seed % 3);
        assert_ok(um_split_plan_new(&plan, d, &o, &err), err);
        um_scene_set *set = build_scenes(d, &o, 2);
        for (size_t i = 0; i < set->n; i++) {
            const um_scene *s = &set->scenes[i];
            bool used[ITEMS] = {false};
            int64_t until_s = s->time_s < plan.known_until_s ? s->time_s : plan.known_until_s;
            for (uint32_t j = 0; j < s->k; j++) {
                uint32_t best = ITEMS, most = 0;
                if (j == s->target)
                    continue;
                for (uint32_t item = 0; item < ITEMS; item++) {
                    uint32_t n = count_friends(d, friends, plan.train_user, s->user, item, until_s);
                    withheld += n < count_friends(d, friends, NULL, s->user, item, s->time_s);
                    if (n > most && !used[item] && !user_has(d, s->user, item)) {
                        best = item;
                        most = n;
                    }
                }
                if (best == ITEMS) {
                    assert_int_equal(s->sources[j], UM_SOURCE_RANDOM);
                    by_chance++;
                    continue;
                }
                assert_int_equal(s->items[j], best);
                assert_int_equal(s->sources[j], UM_SOURCE_SOCIAL);
                used[best] = true;
                by_friends++;
            }
        }
        um_split_plan_dispose(&plan);
        um_scene_set_free(set);
        um_dataset_free(d);
    }
    assert_true(by_friends > 500 && by_chance > 50 && withheld > 500);
}

/* Without friends the source changes nothing. */
static void social_is_silent_without_friends(void **state)
{
    (void)state;
    const log_shape shape = {.users = 20, .items = 60, .max_interactions = 25, .days = 90};
    um_dataset *d = random_log(2, &shape);
    um_scene_options o;
    um_scene_defaults(&o);
    o.base_scenes = o.train_scenes = o.eval_scenes = 30;
    o.spectral_rank = o.content_rank = 5;
    um_scene_set *on = build_scenes(d, &o, 1);
    o.source_on[UM_SOURCE_SOCIAL] = false;
    um_scene_set *off = build_scenes(d, &o, 1);
    assert_int_equal(on->n, off->n);
    for (size_t i = 0; i < on->n; i++)
        assert_memory_equal(on->scenes[i].items, off->scenes[i].items,
                            on->scenes[i].k * sizeof *on->scenes[i].items);
    um_scene_set_free(on);
    um_scene_set_free(off);
    um_dataset_free(d);
}

/* Weights -------------------------------------------------------------------------------------- */

/* The first three sources of a merge of disjoint rankings of 30, 10 and 5 items, against the
 * probabilities of drawing without replacement by weight x what is left. */
static void weights_set_the_shares_of_sources(void **state)
{
    (void)state;
    uint32_t lists[3][30];
    const uint32_t lengths[] = {30, 10, 5};
    const double weights[] = {1, 3, 0.5};
    um_ranking rankings[3];
    for (uint32_t s = 0, next = 0; s < 3; s++) {
        for (uint32_t i = 0; i < lengths[s]; i++)
            lists[s][i] = next++;
        rankings[s] = (um_ranking){lists[s], lengths[s], (um_source)s, weights[s]};
    }
    double expected[27], chi2 = 0;
    int counts[27] = {0};
    for (int code = 0; code < 27; code++) {
        double left[] = {30, 10, 5}, p = 1;
        for (int draw = 0, rest = code; draw < 3; draw++, rest /= 3) {
            double sum = 0;
            for (int s = 0; s < 3; s++)
                sum += weights[s] * left[s];
            p *= weights[rest % 3] * left[rest % 3] / sum;
            left[rest % 3]--;
        }
        expected[code] = p;
    }
    const int draws = 60000;
    for (int i = 0; i < draws; i++) {
        uint32_t mark[45] = {0}, items[3];
        uint8_t sources[3];
        um_rng r;
        um_rng_init(&r, 9, UM_RNG_TEST, (uint64_t)i, 0, 0);
        assert_int_equal(um_rank_merge(items, sources, 3, rankings, 3, mark, 1, &r), 3);
        counts[sources[0] + 3 * sources[1] + 9 * sources[2]]++;
    }
    for (int code = 0; code < 27; code++)
        chi2 += pow(counts[code] - draws * expected[code], 2) / (draws * expected[code]);
    assert_true(chi2 < 54.1); /* 26 degrees of freedom, p = 0.001 */
    /* A ranking of weight 0 never speaks, even when the others are used up. */
    uint32_t mark[45] = {0}, items[45];
    uint8_t sources[45];
    um_rng r;
    um_rng_init(&r, 9, UM_RNG_TEST, 0, 0, 0);
    rankings[0].weight = 0;
    assert_int_equal(um_rank_merge(items, sources, 45, rankings, 3, mark, 1, &r), 15);
}

static void equal_weights_are_no_weights(void **state)
{
    (void)state;
    const log_shape shape = {.users = 30, .items = 80, .max_interactions = 25, .days = 90};
    um_dataset *d = random_log(2, &shape);
    um_scene_options o;
    um_scene_defaults(&o);
    o.base_scenes = 200;
    o.spectral_rank = o.content_rank = 5;
    um_scene_set *ones = build_scenes(d, &o, 1);
    for (int s = 0; s < UM_SOURCE_COUNT; s++)
        o.source_weight[s] = 2.5;
    um_scene_set *same = build_scenes(d, &o, 1);
    o.source_weight[UM_SOURCE_CONTENT] = 25;
    um_scene_set *content = build_scenes(d, &o, 1);
    size_t n[2] = {0}, all[2] = {0};
    for (size_t i = 0; i < ones->n; i++) {
        assert_memory_equal(ones->scenes[i].items, same->scenes[i].items,
                            ones->scenes[i].k * sizeof *ones->scenes[i].items);
        const um_scene *both[] = {&ones->scenes[i], &content->scenes[i]};
        for (int w = 0; w < 2; w++) {
            for (uint32_t j = 0; j < both[w]->k; j++) {
                n[w] += both[w]->sources[j] == UM_SOURCE_CONTENT;
                all[w] += both[w]->sources[j] != UM_SOURCE_NONE;
            }
        }
    }
    assert_true((double)n[1] / (double)all[1] > 1.5 * (double)n[0] / (double)all[0]);
    um_scene_set_free(ones);
    um_scene_set_free(same);
    um_scene_set_free(content);
    um_dataset_free(d);
}

/* Embeddings ----------------------------------------------------------------------------------- */

enum { DIM = 5 };

static double cosine(const float *a, const float *b)
{
    double ab = 0, aa = 0, bb = 0;
    for (int k = 0; k < DIM; k++) {
        ab += (double)a[k] * (double)b[k];
        aa += (double)a[k] * (double)a[k];
        bb += (double)b[k] * (double)b[k];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
}

/* Content alone, by given vectors of any length: the nearest items of the target come first. */
static void given_embeddings_rank_by_cosine(void **state)
{
    (void)state;
    const log_shape shape = {.users = 30, .items = 50, .max_interactions = 12, .days = 90};
    um_dataset *d = random_log(6, &shape);
    float rows[50][DIM];
    um_rng r;
    um_rng_init(&r, 1, UM_RNG_TEST, 0, 0, 0);
    for (int i = 0; i < 50; i++)
        for (int k = 0; k < DIM; k++)
            rows[i][k] = i % 10 == 9 ? 0 : (float)(um_rng_normal(&r) * (1 + i));
    um_item_embeddings given = {50, DIM, &rows[0][0]};
    um_scene_options o;
    only(&o, UM_SOURCE_CONTENT);
    o.embeddings = &given;
    um_scene_set *set = build_scenes(d, &o, 2);
    size_t checked = 0;
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        const float *target = rows[s->items[s->target]];
        double last = 2;
        for (uint32_t j = 0; j < s->k; j++) {
            if (j == s->target || s->sources[j] != UM_SOURCE_CONTENT)
                continue;
            double mine = cosine(target, rows[s->items[j]]);
            assert_true(mine > -1e-6 && mine <= last + 1e-5);
            last = mine;
            checked++;
        }
        /* Nothing nearer than the last shown was passed over. */
        for (uint32_t item = 0; last < 2 && item < 50; item++) {
            bool shown = user_has(d, s->user, item) || d->item_available_s[item] > s->time_s;
            for (uint32_t j = 0; j < s->k; j++)
                shown = shown || s->items[j] == item;
            assert_true(shown || cosine(target, rows[item]) <= last + 1e-5);
        }
        if (cosine(target, target) == 0)
            for (uint32_t j = 0; j < s->k; j++)
                assert_true(s->sources[j] != UM_SOURCE_CONTENT);
    }
    assert_true(checked > 300);
    um_scene_set_free(set);
    um_dataset_free(d);
}

static void unfit_embeddings_are_refused(void **state)
{
    (void)state;
    const log_shape shape = {.users = 9, .items = 12, .max_interactions = 9, .days = 9};
    um_dataset *d = random_log(6, &shape);
    float rows[12 * DIM] = {0};
    um_item_embeddings given = {11, DIM, rows};
    um_scene_options o;
    um_template *t = NULL;
    um_scene_set *set = NULL;
    um_error err;
    only(&o, UM_SOURCE_CONTENT);
    o.embeddings = &given;
    assert_ok(um_template_builtin(&t, "x", &err), err);
    assert_int_equal(um_scenes_build(&set, d, &o, t, 1, NULL, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "found 11 rows of 5 numbers, the log has 12 items"));
    given.n_items = 12;
    rows[3 * DIM + 1] = INFINITY;
    assert_int_equal(um_scenes_build(&set, d, &o, t, 1, NULL, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "row 3 (item i3) is not finite"));
    um_template_free(t);
    um_dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(friends_are_counted),
        cmocka_unit_test(a_log_without_friends_has_no_graph),
        cmocka_unit_test(social_distractors_are_those_of_most_friends),
        cmocka_unit_test(social_is_silent_without_friends),
        cmocka_unit_test(weights_set_the_shares_of_sources),
        cmocka_unit_test(equal_weights_are_no_weights),
        cmocka_unit_test(given_embeddings_rank_by_cosine),
        cmocka_unit_test(unfit_embeddings_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
