/* Uncertainty, pairs and selection against hand-worked cases, numpy's figures and brute force. */
#include <math.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "mirrorer/distill.h"
#include "test_util.h"

static um_uncertainty measure(const double *p, size_t n, uint32_t k, const uint8_t *b,
                              uint32_t truth)
{
    um_error err;
    um_uncertainty u;
    assert_ok(um_uncertainty_measure(&u, p, n, k, b, truth, &err), err);
    return u;
}

static void hand_worked_uncertainties(void **state)
{
    (void)state;
    const uint8_t none[4] = {0};
    /* Each process is sure, of another letter: all uncertainty is data's. */
    const double apart[] = {1, 0, 0, 1};
    um_uncertainty u = measure(apart, 2, 2, none, 0);
    assert_close(u.total, 1, 1e-7);
    assert_close(u.model, 0, 1e-7);
    assert_close(u.data, 1, 1e-7);
    assert_close(u.log_loss, 1, 1e-7);

    /* No process helps: all of it is the model's. */
    const double flat[] = {0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25};
    u = measure(flat, 2, 4, none, 3);
    assert_close(u.total, 2, 1e-12);
    assert_close(u.model, 2, 1e-12);
    assert_close(u.data, 0, 1e-12);
    assert_close(u.log_loss, 2, 1e-12);

    /* Sure and right. */
    const double sure[] = {0, 1, 0, 1, 0, 0, 1, 0, 0};
    u = measure(sure, 1, 3, none, 1);
    assert_close(u.total, 0, 1e-7);
    assert_close(u.log_loss, 0, 1e-7);

    /* H(3/4, 1/4) = 2 - 3/4 log2 3; the two rows mirror each other, so the mean is flat. */
    const double skew[] = {0.75, 0.25, 0.25, 0.75};
    u = measure(skew, 2, 2, none, 0);
    assert_close(u.model, 2 - 0.75 * log2(3), 1e-12);
    assert_close(u.total, 1, 1e-12);
    assert_close(u.data, 0.75 * log2(3) - 1, 1e-12);

    /* Three quarters of the drawn letters are the truth. */
    const double any[] = {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5};
    const uint8_t drawn[] = {1, 0, 1, 1};
    assert_close(measure(any, 4, 2, drawn, 1).hit_rate, 0.75, 0);
    assert_close(measure(any, 4, 2, drawn, 0).hit_rate, 0.25, 0);
}

static void rows_are_clamped_and_renormalised(void **state)
{
    (void)state;
    const uint8_t b[1] = {0};
    const double impossible[] = {1, 0};
    /* The clamp bounds the loss of a letter that was given no chance at all. */
    assert_close(measure(impossible, 1, 2, b, 1).log_loss, log2(1e10), 1e-6);
    const double tiny[] = {1, 1e-12};
    assert_close(measure(tiny, 1, 2, b, 1).log_loss, log2(1e10), 1e-6);
    const double scaled[] = {3, 1}, plain[] = {0.75, 0.25};
    assert_close(measure(scaled, 1, 2, b, 0).model, measure(plain, 1, 2, b, 0).model, 1e-12);
    assert_close(um_entropy_bits(scaled, 2), 2 - 0.75 * log2(3), 1e-12);
    const double flat[] = {0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125, 0.125};
    assert_close(um_entropy_bits(flat, 8), 3, 1e-12);
    const double one[] = {1};
    assert_close(um_entropy_bits(one, 1), 0, 0);
}

static void bad_input_is_refused(void **state)
{
    (void)state;
    const uint8_t b[2] = {0};
    const double good[60] = {1}, zero[] = {0.5, 0.5, 0, 0}, negative[] = {1.5, -0.5};
    const double nan_row[] = {0.5, NAN}, inf_row[] = {INFINITY, 1};
    um_uncertainty u;
    um_error err;

    assert_int_equal(um_uncertainty_measure(&u, zero, 2, 2, b, 0, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "row 1"));
    assert_int_equal(um_uncertainty_measure(&u, negative, 1, 2, b, 0, &err), UM_ERR_INPUT);
    assert_int_equal(um_uncertainty_measure(&u, nan_row, 1, 2, b, 0, &err), UM_ERR_INPUT);
    assert_int_equal(um_uncertainty_measure(&u, inf_row, 1, 2, b, 0, &err), UM_ERR_INPUT);
    assert_int_equal(um_uncertainty_measure(&u, good, 0, 2, b, 0, &err), UM_ERR_INPUT);
    assert_int_equal(um_uncertainty_measure(&u, good, 1, 1, b, 0, &err), UM_ERR_INPUT);
    assert_int_equal(um_uncertainty_measure(&u, good, 1, 27, b, 0, &err), UM_ERR_INPUT);
    assert_int_equal(um_uncertainty_measure(&u, good, 1, 2, b, 2, &err), UM_ERR_INPUT);
    assert_true(isnan(um_entropy_bits(negative, 2)));
    assert_true(isnan(um_entropy_bits(zero + 2, 2)));
    assert_true(isnan(um_entropy_bits(good, 0)));
    assert_true(isnan(um_entropy_bits(good, 27)));
}

/* The generator of tests/golden/gen_distill.py: inputs are made anew here, number for number. */
typedef struct stream {
    uint64_t state;
} stream;

static uint64_t next(stream *s)
{
    s->state += 0x9E3779B97F4A7C15u;
    uint64_t z = s->state;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static uint32_t below(stream *s, uint32_t bound)
{
    return (uint32_t)(next(s) % bound);
}

static stream new_stream(uint64_t seed)
{
    return (stream){seed * 0x9E3779B97F4A7C15u};
}

static void golden_row(stream *s, uint32_t k, double *p)
{
    uint32_t kind = below(s, 4), values[26] = {0};
    if (kind == 0)
        values[below(s, k)] = 1000;
    for (uint32_t j = 0; j < k && kind > 0; j++)
        values[j] = kind == 1 ? 400 + below(s, 200) : kind == 2 ? below(s, 10) : below(s, 3000);
    if (kind == 2)
        values[below(s, k)] += 900;
    if (kind == 3)
        values[below(s, k)] += 1;
    for (uint32_t j = 0; j < k; j++)
        p[j] = values[j] / 1000.0;
    if (below(s, 10) == 0)
        p[below(s, k)] += 1e-12;
}

typedef struct side {
    size_t n;
    double p[10 * 26];
    uint8_t letters[10];
    bool well[10];
} side;

static void golden_scene(uint32_t number, uint32_t *k, uint32_t *truth, side sides[2])
{
    stream s = new_stream(number + 1);
    *k = number % 50 == 0 ? 26 : 2 + below(&s, 11);
    *truth = below(&s, *k);
    for (int r = 0; r < 2; r++) {
        sides[r].n = 1 + below(&s, 10);
        for (size_t i = 0; i < sides[r].n; i++)
            golden_row(&s, *k, sides[r].p + i * *k);
        for (size_t i = 0; i < sides[r].n; i++)
            sides[r].letters[i] = (uint8_t)(below(&s, 3) == 0 ? *truth : below(&s, *k));
        for (size_t i = 0; i < sides[r].n; i++)
            sides[r].well[i] = below(&s, 6) > 0;
    }
}

static double number_at(const json_t *list, size_t i)
{
    return json_number_value(json_array_get(list, i));
}

static void check_measure(const um_uncertainty *u, const json_t *expected)
{
    const double found[] = {u->total, u->model, u->data, u->log_loss, u->hit_rate};
    for (size_t f = 0; f < 5; f++)
        assert_close(found[f], number_at(expected, f), 1e-9);
}

/* Pairs by each rule; -1: the place stays empty, -2: numpy cannot tell the best two apart. */
static void check_pairs(const um_candidate *c, size_t n, uint32_t truth, const json_t *expected)
{
    for (int rule = 0; rule < 4; rule++) {
        const um_pair_rules rules = {.chosen = (um_pair_rule)rule, .rejected = (um_pair_rule)rule};
        size_t got[2] = {SIZE_MAX, SIZE_MAX};
        bool both = um_pair_choose(c, n, truth, &rules, &got[0], &got[1]);
        assert_int_equal(both, got[0] != SIZE_MAX && got[1] != SIZE_MAX);
        for (size_t place = 0; place < 2; place++) {
            double want = number_at(expected, 2 * (size_t)rule + place);
            if (want > -1.5)
                assert_close(got[place] == SIZE_MAX ? -1.0 : (double)got[place], want, 0);
        }
    }
}

static void check_case(uint32_t number, const json_t *expected)
{
    static side sides[2];
    um_candidate c[20];
    um_scene_measures m = {0};
    um_uncertainty *const measures[] = {&m.teacher, &m.student};
    um_error err;
    uint32_t k, truth;
    size_t n = 0;
    double weighted = 0;

    golden_scene(number, &k, &truth, sides);
    for (int r = 0; r < 2; r++) {
        assert_ok(um_uncertainty_measure(measures[r], sides[r].p, sides[r].n, k, sides[r].letters,
                                         truth, &err),
                  err);
        check_measure(measures[r], json_array_get(expected, (size_t)r));
        for (size_t i = 0; i < sides[r].n; i++) {
            um_decision_measure d;
            assert_ok(um_decision_measure_row(&d, sides[r].p + i * k, k, truth, &err), err);
            assert_close(d.entropy, um_entropy_bits(sides[r].p + i * k, k), 0);
            c[n] = (um_candidate){.decision = n,
                                  .entropy = d.entropy,
                                  .log_loss = d.log_loss,
                                  .behavior = sides[r].letters[i],
                                  .from_teacher = r == 0,
                                  .may_train = sides[r].well[i]};
            weighted += (double)++n * d.entropy;
        }
    }
    for (int strategy = 0; strategy <= UM_STRATEGY_LOG_LOSS; strategy++)
        assert_close(um_strategy_score((um_strategy)strategy, &m, 1, 2),
                     number_at(json_array_get(expected, 2), (size_t)strategy), 1e-9);
    check_pairs(c, n, truth, json_array_get(expected, 3));
    assert_close(weighted, number_at(expected, 4), 1e-9);
}

static void check_golden_selection(uint32_t number, const json_t *expected)
{
    um_selectable pool[60];
    bool picked[60];
    um_error err;
    stream s = new_stream(1000003 + number);
    size_t n = 1 + below(&s, 60), want = below(&s, 70), found = 0;
    uint32_t strata = 1 + below(&s, 6);
    for (size_t i = 0; i < n; i++) {
        pool[i] = (um_selectable){.scene = i, .stratum = below(&s, strata)};
        pool[i].score = ((double)below(&s, 2001) - 1000) / 1000;
    }
    assert_ok(um_select(picked, pool, n, want, &err), err);
    for (size_t i = 0; i < n; i++) {
        if (picked[i])
            assert_close((double)i, number_at(expected, found++), 0);
    }
    assert_int_equal(found, json_array_size(expected));
}

static void figures_equal_numpys(void **state)
{
    (void)state;
    um_error err;
    json_t *root = NULL;
    assert_ok(um_json_read(&root, UM_SOURCE_DIR "/tests/golden/distill.json", 1 << 20, &err), err);
    const json_t *cases = json_object_get(root, "cases");
    const json_t *selections = json_object_get(root, "selections");
    assert_int_equal(json_array_size(cases), 1000);
    assert_int_equal(json_array_size(selections), 60);
    for (uint32_t i = 0; i < 1000; i++)
        check_case(i, json_array_get(cases, i));
    for (uint32_t i = 0; i < 60; i++)
        check_golden_selection(i, json_array_get(selections, i));
    json_decref(root);
}

static void behaviours_follow_p(void **state)
{
    (void)state;
    const double p[] = {0.5, 0.0, 0.3, 0.2};
    double count[4] = {0};
    enum { N = 20000 };
    for (uint32_t s = 0; s < N; s++)
        count[um_behavior_draw(p, 4, 7, 3, 0, s)]++;
    for (int j = 0; j < 4; j++) /* five standard deviations */
        assert_close(count[j] / N, p[j], 5 * sqrt(p[j] * (1 - p[j]) / N));
    /* Every part of the key matters, and equal keys draw equal letters. */
    int differ[4] = {0};
    for (uint32_t s = 0; s < 64; s++) {
        uint8_t draw = um_behavior_draw(p, 4, 7, 3, 0, s);
        assert_int_equal(draw, um_behavior_draw(p, 4, 7, 3, 0, s));
        differ[0] += draw != um_behavior_draw(p, 4, 8, 3, 0, s);
        differ[1] += draw != um_behavior_draw(p, 4, 7, 4, 0, s);
        differ[2] += draw != um_behavior_draw(p, 4, 7, 3, 1, s);
        differ[3] += draw != um_behavior_draw(p, 4, 7, 3, 0, s + 64);
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(differ[i], 20, 60);
}

static void pairs_by_the_rules(void **state)
{
    (void)state;
    size_t chosen = 99, rejected = 99;
    um_candidate c[] = {
        {.decision = 10, .entropy = 0.5, .behavior = 2, .from_teacher = true, .may_train = true},
        {.decision = 11, .entropy = 0.2, .behavior = 2, .from_teacher = true, .may_train = true},
        /* Right, but the student's: neither chosen nor rejected. */
        {.decision = 20, .entropy = 0.1, .behavior = 2, .may_train = true},
        {.decision = 12, .entropy = 0.9, .behavior = 0, .from_teacher = true, .may_train = true},
        {.decision = 21, .entropy = 0.6, .behavior = 1, .may_train = true},
        /* Malformed texts never train, however sure. */
        {.decision = 13, .entropy = 0.0, .behavior = 2, .from_teacher = true},
        {.decision = 22, .entropy = 0.0, .behavior = 3},
    };
    assert_true(um_pair_choose(c, 7, 2, NULL, &chosen, &rejected));
    assert_int_equal(chosen, 1);
    assert_int_equal(rejected, 4);

    /* Equal entropies: the smaller id, whatever the order. */
    c[0].entropy = 0.2;
    assert_true(um_pair_choose(c, 7, 2, NULL, &chosen, &rejected));
    assert_int_equal(chosen, 0);
    c[3].entropy = 0.6;
    assert_true(um_pair_choose(c, 7, 2, NULL, &chosen, &rejected));
    assert_int_equal(rejected, 3);
    c[3].decision = 30;
    assert_true(um_pair_choose(c, 7, 2, NULL, &chosen, &rejected));
    assert_int_equal(rejected, 4);

    assert_false(um_pair_choose(c, 3, 2, NULL, &chosen, &rejected));     /* nothing to reject */
    assert_false(um_pair_choose(c + 2, 5, 2, NULL, &chosen, &rejected)); /* nothing to choose */
    assert_false(um_pair_choose(c, 0, 2, NULL, &chosen, &rejected));
}

static bool better(const um_candidate *a, const um_candidate *b)
{
    return a->entropy < b->entropy || (a->entropy <= b->entropy && a->decision < b->decision);
}

static void pairs_against_brute_force(void **state)
{
    (void)state;
    um_rng r;
    um_rng_init(&r, 1, UM_RNG_TEST, 0, 0, 0);
    int found = 0;
    for (int round = 0; round < 3000; round++) {
        um_candidate c[8];
        size_t n = um_rng_below(&r, 9), chosen = 99, rejected = 99;
        for (size_t i = 0; i < n; i++)
            c[i] = (um_candidate){.decision = um_rng_below(&r, 1000) * 8 + i,
                                  .entropy = um_rng_below(&r, 4) * 0.25,
                                  .behavior = (uint8_t)um_rng_below(&r, 3),
                                  .from_teacher = um_rng_below(&r, 2) == 1,
                                  .may_train = um_rng_below(&r, 5) > 0};
        bool got = um_pair_choose(c, n, 1, NULL, &chosen, &rejected);
        size_t best[2] = {99, 99};
        for (size_t i = 0; i < n; i++) {
            for (int role = 0; role < 2; role++) {
                bool may = c[i].may_train && (role == 0 ? c[i].behavior == 1 && c[i].from_teacher
                                                        : c[i].behavior != 1);
                if (may && (best[role] == 99 || better(&c[i], &c[best[role]])))
                    best[role] = i;
            }
        }
        assert_int_equal(got, best[0] != 99 && best[1] != 99);
        if (got) {
            found++;
            assert_int_equal(chosen, best[0]);
            assert_int_equal(rejected, best[1]);
        }
    }
    assert_true(found > 500);
}

static void rules_name_the_candidate(void **state)
{
    (void)state;
    const um_candidate c[] = {
        {.decision = 1, .entropy = .5, .log_loss = .9, .behavior = 0, .from_teacher = true},
        {.decision = 2, .entropy = .2, .log_loss = .4, .behavior = 0, .from_teacher = true},
        {.decision = 3, .entropy = .9, .log_loss = .1, .behavior = 0, .from_teacher = true},
        {.decision = 4, .entropy = .7, .log_loss = 3, .behavior = 1},
        {.decision = 5, .entropy = .1, .log_loss = 5, .behavior = 1, .from_teacher = true},
        {.decision = 6, .entropy = .3, .log_loss = 1, .behavior = 2},
    };
    /* By rule: the chosen and the rejected one. */
    static const size_t expected[][2] = {{1, 4}, {2, 3}, {2, 5}, {0, 4}};
    um_candidate may[6];
    size_t chosen, rejected;
    um_pair_rule rule;
    for (int i = 0; i < 6; i++) {
        may[i] = c[i];
        may[i].may_train = true;
    }
    for (int i = 0; i < 4; i++) {
        assert_true(um_pair_rule_parse(um_pair_rule_names[i], &rule));
        assert_int_equal(rule, i);
        const um_pair_rules both = {.chosen = rule, .rejected = rule};
        assert_true(um_pair_choose(may, 6, 0, &both, &chosen, &rejected));
        assert_int_equal(chosen, expected[i][0]);
        assert_int_equal(rejected, expected[i][1]);
    }
    assert_true(um_pair_rule_parse("random", &rule));
    assert_null(um_pair_rule_names[rule + 1]);
    assert_false(um_pair_rule_parse("lowest", &rule));

    /* random: every candidate has its turn, equal keys give equal pairs, order does not matter. */
    int taken[6] = {0};
    for (uint64_t scene = 0; scene < 300; scene++) {
        const um_pair_rules random = {UM_PAIR_RANDOM, UM_PAIR_RANDOM, 7, scene};
        um_candidate turned[6];
        size_t again[2];
        for (int i = 0; i < 6; i++)
            turned[i] = may[5 - i];
        assert_true(um_pair_choose(may, 6, 0, &random, &chosen, &rejected));
        assert_true(um_pair_choose(turned, 6, 0, &random, &again[0], &again[1]));
        assert_int_equal(5 - again[0], chosen);
        assert_int_equal(5 - again[1], rejected);
        taken[chosen]++;
        taken[rejected]++;
    }
    for (int i = 0; i < 6; i++)
        assert_in_range(taken[i], 65, 140); /* of 100 expected: more than four deviations */
}

static void wrong_behaviours_are_wrong(void **state)
{
    (void)state;
    const double p[] = {0.1, 0.6, 0.3}, sure[] = {0, 1, 0};
    int count[3] = {0}, flat[3] = {0};
    enum { N = 8000 };
    for (uint64_t scene = 0; scene < N; scene++) {
        count[um_wrong_behavior_draw(p, 3, 1, 4, scene)]++;
        flat[um_wrong_behavior_draw(sure, 3, 1, 4, scene)]++;
    }
    assert_int_equal(count[1], 0);
    assert_close(count[0] / (double)N, 0.25, 0.025);
    /* Nothing is left of p: the others are alike. */
    assert_int_equal(flat[1], 0);
    assert_close(flat[0] / (double)N, 0.5, 0.03);
    assert_int_equal(um_wrong_behavior_draw(p, 2, 0, 1, 2), 1);
}

static void difficulty_is_a_ratio_of_losses(void **state)
{
    (void)state;
    assert_close(um_instruction_difficulty(-30, -40, 10), 0.75, 1e-12);
    assert_close(um_instruction_difficulty(-60, -40, 10), 1.5, 1e-12);
    assert_close(um_instruction_difficulty(0, -40, 10), 0, 0);
    assert_true(isnan(um_instruction_difficulty(-1, 0, 10)));
    assert_true(isnan(um_instruction_difficulty(-1, -1, 0)));
}

static void strategies_score_what_they_say(void **state)
{
    (void)state;
    const um_scene_measures m = {
        .teacher = {.total = 1, .model = 0.5, .data = 0.5, .log_loss = 2, .hit_rate = 0.75},
        .student = {.total = 2, .model = 0.75, .data = 1.25, .log_loss = 3, .hit_rate = 0.25},
        .ifd = 0.6};
    const um_scene_measures other = {.teacher = m.student, .student = m.teacher};
    static const struct {
        const char *name;
        double score;
    } expected[] = {{"gap", 0.25},           {"total-gap", 1},
                    {"data-gap", 0.75},      {"high-accuracy", 0.25},
                    {"low-accuracy", -0.25}, {"accuracy-difference", 0.5},
                    {"log-loss", 3},         {"ifd", 0.6}};
    um_strategy strategy;
    int n = 0;
    for (; um_strategy_names[n] != NULL; n++) {
        assert_true(um_strategy_parse(um_strategy_names[n], &strategy));
        assert_int_equal(strategy, n);
        assert_string_equal(um_strategy_name(strategy), um_strategy_names[n]);
    }
    assert_int_equal(n, 10);
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        assert_true(um_strategy_parse(expected[i].name, &strategy));
        assert_close(um_strategy_score(strategy, &m, 1, 2), expected[i].score, 1e-12);
    }
    assert_false(um_strategy_parse("Gap", &strategy));
    assert_false(um_strategy_parse("", &strategy));

    /* random: of seed and scene only, uniform on [0, 1). */
    double sum = 0;
    for (uint64_t i = 0; i < 4000; i++) {
        double u = um_strategy_score(UM_STRATEGY_RANDOM, &m, 5, i);
        assert_true(u >= 0 && u < 1);
        assert_close(u, um_strategy_score(UM_STRATEGY_RANDOM_DIRECT, &other, 5, i), 0);
        sum += u;
    }
    assert_close(sum / 4000, 0.5, 0.02);
    assert_true(fabs(um_strategy_score(UM_STRATEGY_RANDOM, &m, 5, 1) -
                     um_strategy_score(UM_STRATEGY_RANDOM, &m, 6, 1)) > 1e-9);
}

static void shares_by_largest_remainder(void **state)
{
    (void)state;
    um_error err;
    /* Strata of 5, 3 and 2 scenes; 4 wanted: exact shares 2.0, 1.2, 0.8, so 2, 1 and 1. */
    um_selectable scenes[10];
    bool picked[10];
    for (uint64_t i = 0; i < 10; i++)
        scenes[i] = (um_selectable){.scene = i,
                                    .stratum = i < 5   ? 70
                                               : i < 8 ? 30
                                                       : 50,
                                    .score = (double)(i * 7 % 10)};
    /* Scores 0 7 4 1 8 | 5 2 9 | 6 3. */
    assert_ok(um_select(picked, scenes, 10, 4, &err), err);
    const bool expected[] = {0, 1, 0, 0, 1, 0, 0, 1, 1, 0};
    assert_memory_equal(picked, expected, sizeof picked);

    /* Equal scores: the smaller scene id, whatever the order they come in. */
    for (int i = 0; i < 10; i++) {
        scenes[i].stratum = 1;
        scenes[i].score = 0.5;
        scenes[i].scene = (uint64_t)(9 - i);
    }
    assert_ok(um_select(picked, scenes, 10, 3, &err), err);
    for (int i = 0; i < 10; i++)
        assert_int_equal(picked[i], scenes[i].scene < 3);

    assert_ok(um_select(picked, scenes, 10, 0, &err), err);
    for (int i = 0; i < 10; i++)
        assert_false(picked[i]);
    assert_ok(um_select(picked, scenes, 10, 11, &err), err);
    for (int i = 0; i < 10; i++)
        assert_true(picked[i]);
    assert_ok(um_select(picked, scenes, 0, 5, &err), err);

    scenes[4].score = NAN;
    assert_int_equal(um_select(picked, scenes, 10, 3, &err), UM_ERR_NUMERIC);
    assert_non_null(strstr(err.text, "scene 5"));
}

/* Checks one selection against counting, with no sorting and no floating point. */
static void check_selection(const um_selectable *s, const bool *picked, size_t n, size_t want)
{
    size_t sum = 0, goal = want < n ? want : n;
    for (size_t i = 0; i < n; i++)
        sum += picked[i];
    assert_int_equal(sum, goal);
    for (size_t i = 0; i < n; i++) {
        size_t size = 0, taken = 0, above = 0;
        for (size_t j = 0; j < n; j++) {
            if (s[j].stratum != s[i].stratum)
                continue;
            size++;
            taken += picked[j];
            above +=
                s[j].score > s[i].score || (s[j].score >= s[i].score && s[j].scene < s[i].scene);
        }
        assert_int_equal(picked[i], above < taken); /* the best of the stratum, no others */
        size_t floor_share = goal * size / n, rest = goal * size % n;
        assert_in_range(taken, floor_share, floor_share + (rest > 0));
        /* One more than the floor goes to larger remainders first. */
        for (size_t j = 0; j < n && taken > floor_share; j++) {
            size_t size_j = 0, taken_j = 0;
            for (size_t m = 0; m < n; m++) {
                size_j += s[m].stratum == s[j].stratum;
                taken_j += s[m].stratum == s[j].stratum && picked[m];
            }
            if (taken_j == goal * size_j / n)
                assert_true(goal * size_j % n <= rest);
        }
    }
}

static void selections_against_brute_force(void **state)
{
    (void)state;
    um_rng r;
    um_error err;
    um_rng_init(&r, 2, UM_RNG_TEST, 0, 0, 0);
    for (int round = 0; round < 400; round++) {
        um_selectable s[40];
        bool picked[40];
        size_t n = 1 + um_rng_below(&r, 40), want = um_rng_below(&r, 45);
        uint32_t strata = 1 + um_rng_below(&r, 8);
        for (size_t i = 0; i < n; i++)
            s[i] = (um_selectable){.scene = i * 17 % 41,
                                   .stratum = um_rng_below(&r, strata) * 0x9E3779B97F4A7C15u,
                                   .score = (double)um_rng_below(&r, 6) - 3};
        assert_ok(um_select(picked, s, n, want, &err), err);
        check_selection(s, picked, n, want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hand_worked_uncertainties),
        cmocka_unit_test(rows_are_clamped_and_renormalised),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(figures_equal_numpys),
        cmocka_unit_test(behaviours_follow_p),
        cmocka_unit_test(pairs_by_the_rules),
        cmocka_unit_test(pairs_against_brute_force),
        cmocka_unit_test(rules_name_the_candidate),
        cmocka_unit_test(wrong_behaviours_are_wrong),
        cmocka_unit_test(difficulty_is_a_ratio_of_losses),
        cmocka_unit_test(strategies_score_what_they_say),
        cmocka_unit_test(shares_by_largest_remainder),
        cmocka_unit_test(selections_against_brute_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
