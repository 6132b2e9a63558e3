/* The choice model: its features against plain counting, its fit against an independent maximum. */
#include "choice_log.h"

enum { FEATURES = 14 }; /* genre: three bands, neighbours, recent; year: the same; four of the item */

static const choice_shape rich = {
    .seed = 1, .attributes = true, .ratings = true, .impressions = true, .releases = true};

/* Features, by counting ----------------------------------------------------------------------- */

typedef struct counted {
    const um_dataset *d;
    const choice_truth *truth;
    const double *rating;
    double mean, deviation; /* of training users' ratings */
    int decades[16], n_decades;
} counted;

static counted count_over(const um_dataset *d, const choice_truth *truth)
{
    counted c = {.d = d, .truth = truth, .rating = um_dataset_series(d, "rating")->numbers};
    double n = 0, squares = 0;
    for (uint64_t i = 0; i < d->user_start[TRAIN_USERS]; i++) {
        if (!isnan(c.rating[i])) {
            n++;
            c.mean += c.rating[i];
        }
    }
    c.mean /= n;
    for (uint64_t i = 0; i < d->user_start[TRAIN_USERS]; i++) {
        if (!isnan(c.rating[i]))
            squares += pow(c.rating[i] - c.mean, 2);
    }
    c.deviation = sqrt(squares / n);
    for (int decade = 195; decade < 202; decade++) {
        for (int i = 0; i < ITEMS; i++) {
            if (truth->year[i] / 10 == decade) {
                c.decades[c.n_decades++] = decade;
                break;
            }
        }
    }
    return c;
}

static int band_of(const counted *c, uint64_t interaction)
{
    double r = c->rating[interaction];
    if (isnan(r))
        return 1;
    return r < c->mean - c->deviation / 2 ? 0 : r > c->mean + c->deviation / 2 ? 2 : 1;
}

static int decade_rank(const counted *c, uint32_t item)
{
    int rank = 0;
    while (c->decades[rank] != c->truth->year[item] / 10)
        rank++;
    return rank;
}

/* Square roots of how many history items of each band have the genre / the decade; neighbours. */
static void history_features(const counted *c, const um_scene *s, uint32_t item, double *f)
{
    double near = 0;
    int n_genres = __builtin_popcount(c->truth->genres[item]);
    for (int g = 0; g < 5; g++) {
        double count[3] = {0}, recent = 0;
        if ((c->truth->genres[item] >> g & 1) == 0)
            continue;
        for (uint32_t h = 0; h < s->n_history; h++) {
            int shared = c->truth->genres[c->d->item[s->history[h]]] >> g & 1;
            count[band_of(c, s->history[h])] += shared;
            recent += s->n_history - h <= 3 ? shared : 0;
        }
        for (int b = 0; b < 3; b++)
            f[b] += sqrt(count[b]) / n_genres;
        f[4] += sqrt(recent) / n_genres;
    }
    double count[3] = {0}, recent = 0;
    for (uint32_t h = 0; h < s->n_history; h++) {
        int apart = decade_rank(c, item) - decade_rank(c, c->d->item[s->history[h]]);
        count[band_of(c, s->history[h])] += apart == 0;
        near += abs(apart) == 1 && band_of(c, s->history[h]) > 0;
        recent += s->n_history - h <= 3 && apart == 0;
    }
    for (int b = 0; b < 3; b++)
        f[5 + b] = sqrt(count[b]);
    f[8] = sqrt(near);
    f[9] = sqrt(recent);
}

static void count_features(const counted *c, const um_scene *s, uint32_t item, double *f)
{
    const um_dataset *d = c->d;
    double clicks = 0, shown = 0, sum = 3 * c->mean;
    memset(f, 0, FEATURES * sizeof *f);
    history_features(c, s, item, f);
    for (uint64_t i = 0; i < d->user_start[TRAIN_USERS]; i++) {
        if (d->time_s[i] >= s->time_s)
            continue;
        for (uint64_t j = d->impression_start[i]; j < d->impression_start[i + 1]; j++)
            shown += d->impression_item[j] == item;
        if (d->item[i] == item) {
            clicks++;
            sum += isnan(c->rating[i]) ? c->mean : c->rating[i];
        }
    }
    f[10] = log(1 + clicks);
    f[11] = sum / (clicks + 3);
    f[12] = log((clicks + 1) / (shown + 5));
    int64_t age = s->time_s - d->item_available_s[item];
    f[13] = d->item_has_release[item] && age >= 0 && age < 180 * DAY;
}

/* With one coefficient at 1 and the others at 0, log odds are differences of that feature. */
static void features_equal_counting(void **state)
{
    (void)state;
    choice_truth truth;
    um_dataset *d = choice_log(&rich, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 1, 150);
    um_choice_model *m = choice_fit(d, &s.set, 1);
    counted c = count_over(d, &truth);
    double seen[FEATURES] = {0};
    assert_int_equal(m->n_features, FEATURES);
    for (size_t i = 0; i < s.set.n; i++) {
        const um_scene *scene = &s.set.scenes[i];
        double f[LISTED][FEATURES], p[LISTED];
        for (uint32_t j = 0; j < scene->k; j++)
            count_features(&c, scene, scene->items[j], f[j]);
        for (int feature = 0; feature < FEATURES; feature++) {
            for (int g = 0; g < FEATURES; g++) {
                m->beta[g] = g == feature;
                m->scale[g] = 1;
            }
            choice_p(m, scene, p);
            for (uint32_t j = 1; j < scene->k; j++) {
                assert_close(log(p[j] / p[0]), f[j][feature] - f[0][feature], 1e-9);
                seen[feature] += fabs(f[j][feature] - f[0][feature]) > 0.1;
            }
        }
    }
    for (int feature = 0; feature < FEATURES;
         feature++) /* genres have no order, so no neighbours */
        assert_true(feature == 3 ? seen[feature] < 1 : seen[feature] > 10);
    um_choice_free(m);
    choice_scenes_free(&s);
    um_dataset_free(d);
}

static void features_have_names(void **state)
{
    (void)state;
    static const char *const names[FEATURES] = {
        "genre shared, rated low",  "genre shared, rated middle",
        "genre shared, rated high", "genre shared, neighbours",
        "genre shared, recent",
        "year shared, rated low",   "year shared, rated middle",
        "year shared, rated high",  "year shared, neighbours",
        "year shared, recent",
        "log popularity",           "mean rating",
        "log click share",          "new release"};
    choice_truth truth;
    um_dataset *d = choice_log(&rich, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 1, 150);
    um_choice_model *m = choice_fit(d, &s.set, 1);
    const char *name;
    double coefficient;
    for (size_t i = 0; i < FEATURES; i++) {
        assert_true(um_choice_coefficient(m, i, &name, &coefficient));
        assert_string_equal(name, names[i]);
        assert_true(isfinite(coefficient));
    }
    assert_false(um_choice_coefficient(m, FEATURES, &name, &coefficient));
    um_choice_free(m);
    choice_scenes_free(&s);
    um_dataset_free(d);
}

/* The fit ------------------------------------------------------------------------------------- */

/* Scenes with their standardised features. */
typedef struct design {
    const um_scene_set *set;
    size_t n; /* scenes of the fit */
    double (*x)[LISTED][FEATURES];
    double scale[FEATURES];
} design;

static void softmax(double *p, double (*x)[FEATURES], uint32_t k, const double *beta)
{
    double sum = 0;
    for (uint32_t c = 0; c < k; c++) {
        double u = 0;
        for (int f = 0; f < FEATURES; f++)
            u += beta[f] * x[c][f];
        sum += p[c] = exp(u);
    }
    for (uint32_t c = 0; c < k; c++)
        p[c] /= sum;
}

static design design_of(const counted *c, um_scene_set *set, const double *raw_beta, um_rng *r)
{
    design q = {.set = set, .x = calloc(set->n, sizeof *q.x)};
    double rows = 0;
    assert_non_null(q.x);
    while (q.n < set->n && set->scenes[q.n].split == UM_SPLIT_TRAIN)
        q.n++;
    for (size_t i = 0; i < set->n; i++) {
        um_scene *s = &set->scenes[i];
        double p[LISTED];
        for (uint32_t j = 0; j < s->k; j++)
            count_features(c, s, s->items[j], q.x[i][j]);
        softmax(p, q.x[i], s->k, raw_beta);
        s->target = (uint32_t)um_rng_categorical(r, p, s->k); /* the simulated choice */
        for (int f = 0; f < FEATURES && i < q.n; f++) {
            double mean = 0;
            for (uint32_t j = 0; j < s->k; j++)
                mean += q.x[i][j][f] / s->k;
            for (uint32_t j = 0; j < s->k; j++)
                q.scale[f] += pow(q.x[i][j][f] - mean, 2);
        }
        rows += i < q.n ? s->k : 0;
    }
    for (int f = 0; f < FEATURES; f++)
        q.scale[f] = q.scale[f] > 0 ? sqrt(q.scale[f] / rows) : 1;
    for (size_t i = 0; i < set->n; i++)
        for (uint32_t j = 0; j < LISTED; j++)
            for (int f = 0; f < FEATURES; f++)
                q.x[i][j][f] /= q.scale[f];
    return q;
}

static double objective(const design *q, const double *beta, double ridge, double *gradient)
{
    double total = 0, p[LISTED];
    for (int f = 0; f < FEATURES; f++) {
        total -= ridge / 2 * beta[f] * beta[f];
        gradient[f] = -ridge * beta[f];
    }
    for (size_t i = 0; i < q->n; i++) {
        const um_scene *s = &q->set->scenes[i];
        softmax(p, q->x[i], s->k, beta);
        total += log(p[s->target]);
        for (uint32_t c = 0; c < s->k; c++)
            for (int f = 0; f < FEATURES; f++)
                gradient[f] += ((c == s->target) - p[c]) * q->x[i][c][f];
    }
    return total;
}

/* Plain gradient ascent: up while it helps, a smaller step when it does not. */
static void ascend(const design *q, double ridge, double *beta)
{
    double gradient[FEATURES], trial[FEATURES], next[FEATURES], step = 1e-3, largest = 1;
    double now = objective(q, beta, ridge, gradient);
    for (int round = 0; round < 20000 && largest > 1e-4; round++) {
        for (int f = 0; f < FEATURES; f++)
            trial[f] = beta[f] + step * gradient[f];
        double then = objective(q, trial, ridge, next);
        if (then < now) {
            step /= 2;
            continue;
        }
        now = then;
        step *= 1.05;
        largest = 0;
        memcpy(beta, trial, sizeof trial);
        memcpy(gradient, next, sizeof next);
        for (int f = 0; f < FEATURES; f++)
            largest = fmax(largest, fabs(gradient[f]));
    }
    assert_true(largest <= 1e-4);
}

static void fit_finds_the_maximum(void **state)
{
    (void)state;
    static const double truth_beta[FEATURES] = {-0.4, 0.4, 0.9, 0,   0,   0.3,
                                                0.6,  0.4, 0.4, 0.8, 0.4, 0.7};
    choice_truth truth;
    um_dataset *d = choice_log(&rich, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 8, 150);
    counted c = count_over(d, &truth);
    um_rng r;
    um_rng_init(&r, 5, UM_RNG_TEST, 0, 0, 0);
    design q = design_of(&c, &s.set, truth_beta, &r);
    assert_true(q.n > 1500 && q.n == s.set.n_split[UM_SPLIT_TRAIN]);

    const double ridges[] = {1.0, 300.0};
    for (int i = 0; i < 2; i++) {
        um_choice_model *m = choice_fit(d, &s.set, ridges[i]);
        double beta[FEATURES] = {0}, gradient[FEATURES], p[LISTED], expected[LISTED];
        ascend(&q, ridges[i], beta);
        for (size_t f = 0; f < FEATURES; f++) {
            const char *name;
            double coefficient;
            assert_true(um_choice_coefficient(m, f, &name, &coefficient));
            assert_close(coefficient, beta[f], 1e-5);
            /* The choices were made with these coefficients; 0.2 is over four standard errors. */
            if (i == 0)
                assert_close(coefficient, truth_beta[f] * q.scale[f], 0.2);
        }
        for (size_t j = 0; j < s.set.n; j++) {
            choice_p(m, &s.set.scenes[j], p);
            softmax(expected, q.x[j], s.set.scenes[j].k, beta);
            for (uint32_t k = 0; k < s.set.scenes[j].k; k++)
                assert_close(p[k], expected[k], 1e-5);
        }
        size_t n;
        double bits, uniform_bits, uniform = 0;
        um_choice_fit_figures(m, &n, &bits, &uniform_bits);
        assert_int_equal(n, q.n);
        assert_close(bits, -objective(&q, beta, 0, gradient) / log(2) / (double)q.n, 1e-6);
        for (size_t j = 0; j < q.n; j++)
            uniform += log2(s.set.scenes[j].k) / (double)q.n;
        assert_close(uniform_bits, uniform, 1e-9);
        assert_true(bits < uniform_bits - 0.1);
        um_choice_free(m);
    }
    free(q.x);
    choice_scenes_free(&s);
    um_dataset_free(d);
}

/* What it may know ---------------------------------------------------------------------------- */

static void outcomes_and_later_events_are_unknown(void **state)
{
    (void)state;
    choice_shape altered = rich;
    choice_truth truth;
    altered.altered_after = 150;
    um_dataset *d = choice_log(&rich, &truth), *other = choice_log(&altered, &truth);
    assert_int_equal(d->n_interactions, other->n_interactions);
    assert_memory_equal(d->time_s, other->time_s, d->n_interactions * sizeof *d->time_s);
    choice_scenes s = choice_scenes_of(d, 1, 1, 150), t = choice_scenes_of(other, 1, 1, 150);
    um_choice_model *m = choice_fit(d, &s.set, 1), *n = choice_fit(other, &t.set, 1);
    size_t first_of_day = 0, differ = 0;

    for (size_t i = 0; i < s.set.n; i++) {
        um_scene *a = &s.set.scenes[i], *b = &t.set.scenes[i];
        double p[LISTED], q[LISTED];
        if (a->split != UM_SPLIT_EVAL)
            continue;
        differ += d->item[a->interaction] != other->item[b->interaction];
        /* Only scenes of the first altered day have a memory of their own story alone. */
        bool same_memory = true;
        for (uint32_t h = 0; h < a->n_history; h++)
            same_memory = same_memory && d->time_s[a->history[h]] < FIRST_TIME + 150 * DAY;
        if (!same_memory)
            continue;
        a->time_s = b->time_s = FIRST_TIME + 150 * DAY;
        b->target = (b->target + 1) % b->k;
        choice_p(m, a, p);
        choice_p(n, b, q);
        assert_memory_equal(p, q, a->k * sizeof *p);
        assert_int_equal(um_choice_popularity(m, a, p, NULL), UM_OK);
        assert_int_equal(um_choice_popularity(n, b, q, NULL), UM_OK);
        assert_memory_equal(p, q, a->k * sizeof *p);
        first_of_day++;
    }
    assert_true(first_of_day >= 5);
    assert_true(differ > 20);
    um_choice_free(m);
    um_choice_free(n);
    choice_scenes_free(&s);
    choice_scenes_free(&t);
    um_dataset_free(d);
    um_dataset_free(other);
}

static void probabilities_are_distributions(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 16; i++) {
        choice_shape shape = {.seed = i,
                              .attributes = i & 1,
                              .ratings = i & 2,
                              .impressions = i & 4,
                              .releases = i & 8};
        choice_truth truth;
        um_dataset *d = choice_log(&shape, &truth);
        choice_scenes s = choice_scenes_of(d, i, 1, 150);
        um_choice_model *m = choice_fit(d, &s.set, 1);
        for (size_t j = 0; j < s.set.n; j++) {
            const um_scene *scene = &s.set.scenes[j];
            double p[LISTED], popular[LISTED], sum = 0, weight = 0, clicks[LISTED];
            um_error err;
            choice_p(m, scene, p);
            assert_ok(um_choice_popularity(m, scene, popular, &err), err);
            for (uint32_t c = 0; c < scene->k; c++) {
                assert_true(p[c] > 0 && p[c] < 1);
                sum += p[c];
                clicks[c] = 1;
                for (uint64_t e = 0; e < d->user_start[TRAIN_USERS]; e++)
                    clicks[c] += d->item[e] == scene->items[c] && d->time_s[e] < scene->time_s;
                weight += clicks[c];
            }
            assert_close(sum, 1, 1e-12);
            for (uint32_t c = 0; c < scene->k; c++)
                assert_close(popular[c], clicks[c] / weight, 1e-12);
        }
        um_scene none = s.set.scenes[0], many = none;
        double p[LISTED];
        um_error err;
        none.k = 0;
        many.k = UM_SCENE_MAX_ITEMS + 1;
        assert_int_equal(um_choice_probabilities(m, &none, p, &err), UM_ERR_INPUT);
        assert_int_equal(um_choice_probabilities(m, &many, p, &err), UM_ERR_INPUT);
        um_choice_free(m);
        choice_scenes_free(&s);
        um_dataset_free(d);
    }
}

/* A rating everyone gives says nothing; its rounding must not say something. */
static void flat_ratings_say_nothing(void **state)
{
    (void)state;
    choice_shape flat = rich, without = rich;
    choice_truth truth;
    flat.flat_ratings = true;
    without.ratings = false;
    um_dataset *d = choice_log(&flat, &truth), *other = choice_log(&without, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 2, 150), t = choice_scenes_of(other, 1, 2, 150);
    um_choice_model *m = choice_fit(d, &s.set, 1), *n = choice_fit(other, &t.set, 1);
    for (size_t i = 0; i < s.set.n; i++) {
        double p[LISTED], q[LISTED];
        choice_p(m, &s.set.scenes[i], p);
        choice_p(n, &t.set.scenes[i], q);
        for (uint32_t c = 0; c < s.set.scenes[i].k; c++)
            assert_close(p[c], q[c], 1e-6);
    }
    um_choice_free(m);
    um_choice_free(n);
    choice_scenes_free(&s);
    choice_scenes_free(&t);
    um_dataset_free(d);
    um_dataset_free(other);
}

static void nothing_to_fit(void **state)
{
    (void)state;
    choice_truth truth;
    um_error err;
    um_choice_options options;
    um_choice_model *m = NULL;
    um_dataset *d = choice_log(&rich, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 1, 0); /* held-out scenes only */
    assert_true(s.set.n > 0);
    um_choice_defaults(&options);
    assert_int_equal(um_choice_fit(&m, d, &s.set, &options, &err), UM_ERR_STATE);
    assert_non_null(strstr(err.text, "no training scenes"));
    assert_null(m);
    um_choice_free(NULL);
    choice_scenes_free(&s);

    /* Without a ridge the features that never vary leave the maximum open: said, not made up. */
    s = choice_scenes_of(d, 1, 1, 150);
    options.ridge = 0;
    assert_int_equal(um_choice_fit(&m, d, &s.set, &options, &err), UM_ERR_NUMERIC);
    assert_non_null(strstr(err.text, "ridge"));
    choice_scenes_free(&s);
    um_dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(features_equal_counting),
        cmocka_unit_test(features_have_names),
        cmocka_unit_test(fit_finds_the_maximum),
        cmocka_unit_test(outcomes_and_later_events_are_unknown),
        cmocka_unit_test(probabilities_are_distributions),
        cmocka_unit_test(flat_ratings_say_nothing),
        cmocka_unit_test(nothing_to_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
