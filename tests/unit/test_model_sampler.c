/* Drawing tokens: filters against a plain sort, frequencies, edges, continuations. */
#include "test_util.h"

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/continuation.h"
#include "model/sampler.h"

static const um_sampling plain = {.temperature = 1.0f, .top_p = 1.0f, .max_tokens = 1};

typedef struct ranked {
    double p;
    int id;
} ranked;

static int by_rank(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->p != y->p)
        return x->p > y->p ? -1 : 1;
    return x->id - y->id;
}

/* The definition: sort, cut after each filter, renormalise. out[n]: probability of each id. */
static void expected_distribution(double *out, const float *logits, int n, const um_sampling *s)
{
    ranked *r = um_calloc((size_t)n, sizeof *r);
    double max = -INFINITY, sum = 0.0, head = 0.0;
    int kept = n;
    for (int i = 0; i < n; i++)
        max = fmax(max, (double)logits[i]);
    for (int i = 0; i < n; i++)
        r[i] = (ranked){exp(((double)logits[i] - max) / (double)s->temperature), i};
    qsort(r, (size_t)n, sizeof *r, by_rank);
    if (s->top_k > 0 && s->top_k < kept)
        kept = s->top_k;
    for (int i = 0; i < kept; i++)
        sum += r[i].p;
    for (int i = 0; s->top_p < 1.0f && i < kept; i++) {
        head += r[i].p;
        if (head >= (double)s->top_p * sum)
            kept = i + 1;
    }
    while (s->min_p > 0.0f && r[kept - 1].p < (double)s->min_p)
        kept--;
    sum = 0.0;
    for (int i = 0; i < kept; i++)
        sum += r[i].p;
    for (int i = 0; i < n; i++)
        out[i] = 0.0;
    for (int i = 0; i < kept; i++)
        out[r[i].id] = r[i].p / sum;
    free(r);
}

/* The probability that a prepared sampler gives each id. */
static void prepared_distribution(double *out, um_sampler *s)
{
    double sum = 0.0;
    for (int i = 0; i < s->n; i++) {
        out[i] = um_sampler_keeps(s, i) ? (double)s->weights[i] : 0.0;
        sum += out[i];
    }
    for (int i = 0; i < s->n; i++)
        out[i] /= sum;
}

enum { MOST = 9001 };

static void test_filters_match_sort(void **state)
{
    (void)state;
    const um_sampling settings[] = {
        {.temperature = 1.0f, .top_p = 1.0f},
        {.temperature = 1.0f, .top_p = 0.9f},
        {.temperature = 0.7f, .top_p = 0.5f},
        {.temperature = 2.0f, .top_p = 0.999f},
        {.temperature = 1.0f, .top_p = 0.01f},
        {.temperature = 1.0f, .top_p = 1.0f, .top_k = 1},
        {.temperature = 1.0f, .top_p = 1.0f, .top_k = 7},
        {.temperature = 1.0f, .top_p = 0.8f, .top_k = 40},
        {.temperature = 1.0f, .top_p = 1.0f, .min_p = 0.1f},
        {.temperature = 1.5f, .top_p = 0.95f, .top_k = 100, .min_p = 0.02f},
        {.temperature = 1.0f, .top_p = 1.0f, .top_k = 100000},
    };
    const int sizes[] = {1, 2, 15, 16, 17, 255, 257, 1000, 5003, MOST};

    um_sampler s;
    um_error err;
    um_rng rng;
    assert_ok(um_sampler_init(&s, MOST, false, &err), err);
    um_rng_init(&rng, 1, UM_RNG_TEST, 0, 0, 0);
    float *logits = um_calloc(MOST, sizeof *logits);
    double *expected = um_calloc(MOST, sizeof *expected), *got = um_calloc(MOST, sizeof *got);
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        for (size_t c = 0; c < sizeof settings / sizeof settings[0]; c++) {
            int n = sizes[k];
            for (int i = 0; i < n; i++)
                logits[i] = (float)((k % 2 == 0 ? 3.0 : 0.3) * um_rng_normal(&rng));
            expected_distribution(expected, logits, n, &settings[c]);
            assert_true(um_sampler_prepare(&s, logits, n, &settings[c]));
            prepared_distribution(got, &s);
            for (int i = 0; i < n; i++) {
                if (fabs(got[i] - expected[i]) > 1e-6 * (1.0 + expected[i]))
                    fail_msg("n %d setting %zu id %d: %g, expected %g", n, c, i, got[i],
                             expected[i]);
            }
        }
    }
    free(logits);
    free(expected);
    free(got);
    um_sampler_dispose(&s);
}

/* Equal weights are ordered by id, so a cut between them keeps the smaller. */
static void test_ties(void **state)
{
    (void)state;
    um_sampler s;
    um_error err;
    um_sampling settings = {.temperature = 1.0f, .top_p = 1.0f, .top_k = 3};
    assert_ok(um_sampler_init(&s, 200, false, &err), err);
    float logits[200];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 200; i++)
            logits[i] = i < 50 ? -1.0f : 2.0f;
        assert_true(um_sampler_prepare(&s, logits, 200, &settings));
        for (int i = 0; i < 200; i++)
            assert_int_equal(um_sampler_keeps(&s, i), i >= 50 && i < 53);
        settings.top_k = 0;
        settings.top_p = (float)(2.5 / (150.0 + 50.0 * exp(-3.0)));
    }
    um_sampler_dispose(&s);
}

static void test_frequencies(void **state)
{
    (void)state;
    enum { N = 700, DRAWS = 200000 };
    const um_sampling settings[] = {plain,
                                    {.temperature = 1.0f, .top_p = 0.9f},
                                    {.temperature = 1.0f, .top_p = 0.2f}, /* many are refused */
                                    {.temperature = 1.0f, .top_p = 0.7f, .top_k = 90},
                                    {.temperature = 1.0f, .top_p = 0.8f, .min_p = 0.05f}};
    um_sampler s;
    um_error err;
    um_rng rng;
    assert_ok(um_sampler_init(&s, N, false, &err), err);
    um_rng_init(&rng, 2, UM_RNG_TEST, 0, 0, 0);
    float logits[N];
    double expected[N];
    int counts[N];
    for (size_t c = 0; c < sizeof settings / sizeof settings[0]; c++) {
        for (int i = 0; i < N; i++)
            logits[i] = (float)(2.0 * um_rng_normal(&rng));
        expected_distribution(expected, logits, N, &settings[c]);
        assert_true(um_sampler_prepare(&s, logits, N, &settings[c]));
        memset(counts, 0, sizeof counts);
        for (uint32_t d = 0; d < DRAWS; d++) {
            um_rng stream = um_sampling_stream(5, 77, d, 3);
            int32_t id = um_sampler_draw(&s, &stream);
            assert_true(id >= 0 && id < N);
            counts[id]++;
        }
        double chi = 0.0;
        int cells = 0;
        for (int i = 0; i < N; i++) {
            double e = expected[i] * DRAWS;
            if (expected[i] == 0.0)
                assert_int_equal(counts[i], 0);
            if (e >= 5.0) {
                chi += (counts[i] - e) * (counts[i] - e) / e;
                cells++;
            }
        }
        /* Mean cells, standard deviation sqrt(2 cells): five of them are never seen by chance. */
        assert_true(chi < cells + 5.0 * sqrt(2.0 * cells));
    }
    um_sampler_dispose(&s);
}

static void test_edges(void **state)
{
    (void)state;
    um_sampler s;
    um_error err;
    float logits[40];
    assert_ok(um_sampler_init(&s, 40, false, &err), err);
    /* Greedy takes the first of equals. */
    for (int i = 0; i < 40; i++)
        logits[i] = i == 7 || i == 30 ? 1.0f : 0.0f;
    um_sampling greedy = {.temperature = 0.0f, .top_p = 1.0f};
    assert_true(um_sampler_prepare(&s, logits, 40, &greedy));
    um_rng rng;
    um_rng_init(&rng, 4, UM_RNG_TEST, 0, 0, 0);
    for (int i = 0; i < 20; i++)
        assert_int_equal(um_sampler_draw(&s, &rng), 7);
    /* -inf and far lower logits are never drawn, not at the ends of [0, 1) either. */
    for (int i = 0; i < 40; i++)
        logits[i] = i == 20 ? 500.0f : i % 2 == 0 ? -INFINITY : -500.0f;
    assert_true(um_sampler_prepare(&s, logits, 40, &plain));
    assert_int_equal(um_sampler_at(&s, 0.0), 20);
    assert_int_equal(um_sampler_at(&s, nextafter(1.0, 0.0)), 20);
    /* The whole interval maps to ids in order. */
    for (int i = 0; i < 40; i++)
        logits[i] = 0.0f;
    assert_true(um_sampler_prepare(&s, logits, 40, &plain));
    for (int i = 0; i < 40; i++)
        assert_int_equal(um_sampler_at(&s, (i + 0.5) / 40.0), i);
    assert_int_equal(um_sampler_at(&s, nextafter(1.0, 0.0)), 39);
    /* The end of the interval where sums are rounded and the last tokens have no weight. */
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 40; i++)
            logits[i] = i < 30 ? (float)um_rng_normal(&rng) : -INFINITY;
        assert_true(um_sampler_prepare(&s, logits, 40, &plain));
        assert_int_equal(um_sampler_at(&s, nextafter(1.0, 0.0)), 29);
    }
    /* What is no distribution. */
    for (int i = 0; i < 40; i++)
        logits[i] = NAN;
    assert_false(um_sampler_prepare(&s, logits, 40, &plain));
    for (int i = 0; i < 40; i++)
        logits[i] = -INFINITY;
    assert_false(um_sampler_prepare(&s, logits, 40, &plain));
    for (int i = 0; i < 40; i++)
        logits[i] = i == 33 ? NAN : 0.0f;
    assert_false(um_sampler_prepare(&s, logits, 40, &plain));
    for (int i = 0; i < 40; i++)
        logits[i] = i == 39 ? INFINITY : 0.0f;
    assert_false(um_sampler_prepare(&s, logits, 40, &plain));
    um_sampler_dispose(&s);
}

/* The end of the interval where the last blocks have no weight, or none that is kept. */
static void test_last_block(void **state)
{
    (void)state;
    enum { N = 1500 };
    um_sampler s;
    um_error err;
    um_rng rng;
    float logits[N];
    assert_ok(um_sampler_init(&s, N, false, &err), err);
    um_rng_init(&rng, 6, UM_RNG_TEST, 0, 0, 0);
    for (int round = 0; round < 300; round++) {
        const um_sampling settings = {.temperature = 1.0f,
                                      .top_p = 1.0f,
                                      .top_k = round % 3 == 1 ? 200 : 0,
                                      .min_p = round % 3 == 2 ? 1e-3f : 0.0f};
        for (int i = 0; i < N; i++)
            logits[i] = i < 300                 ? (float)um_rng_normal(&rng)
                        : settings.top_k > 0    ? -9.0f
                        : settings.min_p > 0.0f ? -15.0f
                                                : -INFINITY;
        assert_true(um_sampler_prepare(&s, logits, N, &settings));
        const int32_t id = um_sampler_at(&s, nextafter(1.0, 0.0));
        assert_in_range(id, 0, 299);
        assert_true(um_sampler_keeps(&s, id));
        for (int i = id + 1; i < 300; i++)
            assert_false(um_sampler_keeps(&s, i));
    }
    um_sampler_dispose(&s);
}

static void test_settings(void **state)
{
    (void)state;
    um_error err;
    const struct {
        um_sampling s;
        const char *part;
    } rows[] = {{{.temperature = -1.0f, .top_p = 1, .max_tokens = 1}, "temperature"},
                {{.temperature = NAN, .top_p = 1, .max_tokens = 1}, "temperature"},
                {{.temperature = 1e-5f, .top_p = 1, .max_tokens = 1}, "temperature"},
                {{.temperature = 1, .top_p = 0, .max_tokens = 1}, "top_p"},
                {{.temperature = 1, .top_p = 1.5f, .max_tokens = 1}, "top_p"},
                {{.temperature = 1, .top_p = 1, .top_k = -1, .max_tokens = 1}, "top_k"},
                {{.temperature = 1, .top_p = 1, .min_p = 2, .max_tokens = 1}, "min_p"},
                {{.temperature = 1, .top_p = 1, .max_tokens = 0}, "max_tokens"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(um_sampling_check(&rows[i].s, &err), UM_ERR_INPUT);
        assert_non_null(strstr(err.text, rows[i].part));
    }
    assert_ok(um_sampling_check(&plain, &err), err);
}

static void test_continuation(void **state)
{
    (void)state;
    um_continuation c = {0};
    um_str text = UM_STR_INIT;
    const char *const stops[] = {"bcd", "cdx"};
    assert_true(um_continuation_append(&c, "aab", 3));
    assert_false(um_continuation_stop(&c, 0, stops, 2));
    assert_true(um_continuation_append(&c, "c", 1));
    assert_false(um_continuation_stop(&c, 3, stops, 2));
    assert_true(um_continuation_append(&c, "dx", 2));
    assert_true(um_continuation_stop(&c, 4, stops, 2)); /* both are there: the earlier one */
    um_continuation_text(&c, 0, c.len, &text);
    assert_string_equal(um_str_text(&text), "aa");
    /* A character cut in two, a stray byte and NUL. */
    c.len = 0;
    assert_true(um_continuation_append(&c, "\xC3\xA9\xFFz\0\xE2\x82", 7));
    um_continuation_text(&c, 0, c.len, &text);
    assert_string_equal(um_str_text(&text),
                        "\xC3\xA9\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
    c.len = 0;
    um_continuation_text(&c, 0, c.len, &text);
    assert_string_equal(um_str_text(&text), "");
    um_continuation_dispose(&c);
    um_str_dispose(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filters_match_sort), cmocka_unit_test(test_ties),
        cmocka_unit_test(test_frequencies),        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_settings),           cmocka_unit_test(test_last_block),
        cmocka_unit_test(test_continuation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
