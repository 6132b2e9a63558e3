/* Metrics against hand-worked cases, intervals against known distributions, the report page. */
#include <math.h>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/str.h"
#include "mirrorer/eval.h"
#include "test_util.h"

enum { MAX = 4096 };

static um_metrics measure(const um_prediction *q, size_t n, uint32_t resamples, uint64_t seed)
{
    um_error err;
    um_metrics m;
    assert_ok(um_metrics_measure(&m, q, n, resamples, seed, &err), err);
    return m;
}

static void one_scene(const double *p, uint32_t k, uint32_t truth, const double expected[5])
{
    const um_prediction q = {.user = 1, .k = k, .truth = truth, .p = p};
    um_metrics m = measure(&q, 1, 10, 1);
    const um_interval found[] = {m.accuracy, m.expected_accuracy, m.log_loss, m.brier,
                                 m.reciprocal_rank};
    for (int i = 0; i < 5; i++) {
        assert_close(found[i].mean, expected[i], 1e-12);
        assert_close(found[i].lo, expected[i], 1e-12); /* one user: nothing to resample */
        assert_close(found[i].hi, expected[i], 1e-12);
    }
}

static void hand_worked_scenes(void **state)
{
    (void)state;
    const double p[] = {0.5, 0.25, 0.125, 0.125};
    /* accuracy, p of the truth, log loss, Brier, reciprocal rank */
    one_scene(p, 4, 0, (const double[]){1, 0.5, 1, 0.34375, 1});
    one_scene(p, 4, 1, (const double[]){0, 0.25, 2, 0.84375, 0.5});
    one_scene(p, 4, 3, (const double[]){0, 0.125, 3, 1.09375, 1 / 3.5}); /* ranks 3 and 4 */
    const double tied[] = {0.375, 0.25, 0.375};
    one_scene(tied, 3, 2, (const double[]){0.5, 0.375, -log2(0.375), 0.59375, 1 / 1.5});
    one_scene(tied, 3, 1, (const double[]){0, 0.25, 2, 0.84375, 1.0 / 3});
    const double flat[] = {0.25, 0.25, 0.25, 0.25};
    one_scene(flat, 4, 2, (const double[]){0.25, 0.25, 2, 0.75, 1 / 2.5});
    const double sure[] = {0, 1};
    one_scene(sure, 2, 1, (const double[]){1, 1, 0, 0, 1});
    one_scene(sure, 2, 0, (const double[]){0, 0, log2(1e10), 2, 0.5});
}

static void calibration_by_hand(void **state)
{
    (void)state;
    const double nine[] = {0.9, 0.1}, six[] = {0.4, 0.6}, half[] = {0.5, 0.5}, all[] = {1, 0};
    um_prediction q[] = {{1, 2, 0, nine}, {2, 2, 1, nine}, {3, 2, 1, six}};
    /* Bin 9: confidence 1.8, one hit; bin 6: confidence 0.6, one hit. */
    assert_close(measure(q, 3, 10, 1).calibration_error, (0.8 + 0.4) / 3, 1e-12);
    /* Certainty shares the last bin: 0.95 right three times makes up for a part of 1 gone wrong. */
    const double most[] = {0.95, 0.05};
    um_prediction w[] = {{1, 2, 0, most}, {1, 2, 0, most}, {1, 2, 0, most}, {1, 2, 1, all}};
    assert_close(measure(w, 4, 10, 1).calibration_error, (3 * 0.95 + 1 - 3) / 4, 1e-12);
    /* Halves that cancel within a bin: sure 6 times in 10, right 6 times in 10. */
    um_prediction fair[10];
    for (uint32_t i = 0; i < 10; i++)
        fair[i] = (um_prediction){i, 2, i < 6, six};
    assert_close(measure(fair, 10, 10, 1).calibration_error, 0, 1e-12);
    /* A tie at the top is half a hit, wherever the truth stands: a flat guess is calibrated. */
    um_prediction flat[] = {{1, 2, 0, half}, {2, 2, 0, half}, {3, 2, 0, half}};
    assert_close(measure(flat, 3, 10, 1).calibration_error, 0, 1e-12);
}

/* n users of `each` scenes, the first `hits` of them always right. */
static void right_and_wrong(um_prediction *q, size_t n, size_t each, size_t hits)
{
    static const double sure[] = {1, 0};
    for (size_t i = 0; i < n * each; i++)
        q[i] =
            (um_prediction){.user = i % n * 7919 % 10007, /* not in order, not next to each other */
                            .k = 2,
                            .truth = i % n < hits ? 0 : 1,
                            .p = sure};
}

static void intervals_of_a_binomial(void **state)
{
    (void)state;
    static um_prediction q[MAX];
    /* The resampled share of hits is Binomial(20, 1/2) / 20: P(X <= 5) = 0.0207 and
     * P(X <= 6) = 0.0577, so the 2.5 and 97.5 percentiles are 6/20 and 14/20. */
    right_and_wrong(q, 20, 1, 10);
    um_metrics m = measure(q, 20, 20000, 3);
    assert_close(m.accuracy.mean, 0.5, 1e-12);
    assert_close(m.accuracy.lo, 0.3, 1e-12);
    assert_close(m.accuracy.hi, 0.7, 1e-12);

    /* Fifty scenes of each user say no more than one: users are drawn, not scenes. */
    right_and_wrong(q, 20, 50, 10);
    m = measure(q, 1000, 20000, 3);
    assert_close(m.accuracy.lo, 0.3, 1e-12);
    assert_close(m.accuracy.hi, 0.7, 1e-12);

    /* 1,000 users of one scene: the normal approximation, sd sqrt(p (1 - p) / n). */
    right_and_wrong(q, 1000, 1, 300);
    m = measure(q, 1000, 4000, 3);
    double half = 1.959964 * sqrt(0.3 * 0.7 / 1000);
    assert_close(m.accuracy.mean, 0.3, 1e-12);
    assert_close(m.accuracy.lo, 0.3 - half, 0.003);
    assert_close(m.accuracy.hi, 0.3 + half, 0.003);
}

static void users_weigh_by_their_scenes(void **state)
{
    (void)state;
    /* User 1: nine scenes, all right; user 2: one, wrong. A resample holds user 1 twice, once or
     * never, with means 1, 0.9 and 0. */
    static const double sure[] = {1, 0};
    um_prediction q[10];
    for (size_t i = 0; i < 10; i++)
        q[i] = (um_prediction){i < 9 ? 1 : 2, 2, i < 9 ? 0 : 1, sure};
    um_metrics m = measure(q, 10, 1000, 1);
    assert_close(m.accuracy.mean, 0.9, 1e-12);
    assert_close(m.accuracy.lo, 0, 1e-12);
    assert_close(m.accuracy.hi, 1, 1e-12);
}

static void random_predictions(um_prediction *q, double *p, size_t n, uint64_t seed)
{
    um_rng r;
    um_rng_init(&r, seed, UM_RNG_TEST, 0, 0, 0);
    for (size_t i = 0; i < n; i++) {
        double *row = p + i * 5, sum = 0;
        for (int j = 0; j < 5; j++)
            sum += row[j] = um_rng_uniform(&r);
        for (int j = 0; j < 5; j++)
            row[j] /= sum;
        q[i] = (um_prediction){um_rng_below(&r, 60), 5, um_rng_below(&r, 5), row};
    }
}

static void same_seed_same_interval(void **state)
{
    (void)state;
    static um_prediction q[MAX];
    static double p[MAX * 5];
    random_predictions(q, p, 500, 1);
    um_metrics a = measure(q, 500, 500, 11), b = measure(q, 500, 500, 11);
    assert_memory_equal(&a, &b, sizeof a);
    um_metrics c = measure(q, 500, 500, 12);
    assert_memory_equal(&a.log_loss.mean, &c.log_loss.mean, sizeof(double));
    assert_true(fabs(a.log_loss.lo - c.log_loss.lo) > 1e-12);
    assert_true(a.brier.lo < a.brier.mean && a.brier.mean < a.brier.hi);
}

static void differences_are_paired(void **state)
{
    (void)state;
    static um_prediction q[MAX], w[MAX];
    static double p[MAX * 5];
    um_interval d;
    um_error err;
    random_predictions(q, p, 500, 1);
    assert_ok(um_metrics_difference(&d, q, q, 500, 200, 1, &err), err);
    assert_close(d.mean, 0, 0);
    assert_close(d.lo, 0, 0);
    assert_close(d.hi, 0, 0);

    /* b is wrong where a is right in 10 of 20 users: a - b is that binomial again. */
    right_and_wrong(q, 20, 5, 15);
    right_and_wrong(w, 20, 5, 5);
    assert_ok(um_metrics_difference(&d, q, w, 100, 20000, 5, &err), err);
    assert_close(d.mean, 0.5, 1e-12);
    assert_close(d.lo, 0.3, 1e-12);
    assert_close(d.hi, 0.7, 1e-12);
    assert_ok(um_metrics_difference(&d, w, q, 100, 20000, 5, &err), err);
    assert_close(d.mean, -0.5, 1e-12);
    assert_close(d.hi, -0.3, 1e-12);
}

static void bad_predictions_are_refused(void **state)
{
    (void)state;
    static const double good[] = {0.5, 0.5}, negative[] = {1.5, -0.5}, unnormalised[] = {0.5, 0.4};
    static const double not_a_number[] = {NAN, 0.5};
    const um_prediction bad[] = {{1, 2, 2, good},
                                 {1, 2, 0, negative},
                                 {1, 2, 0, unnormalised},
                                 {1, 2, 0, not_a_number},
                                 {1, 0, 0, good}};
    um_metrics m;
    um_interval d;
    um_error err;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        um_prediction q[] = {{1, 2, 0, good}, bad[i]}, fine[] = {q[0], q[0]};
        assert_int_equal(um_metrics_measure(&m, q, 2, 10, 1, &err), UM_ERR_INPUT);
        assert_non_null(strstr(err.text, "prediction 1"));
        assert_int_equal(um_metrics_difference(&d, q, fine, 2, 10, 1, &err), UM_ERR_INPUT);
        assert_int_equal(um_metrics_difference(&d, fine, q, 2, 10, 1, &err), UM_ERR_INPUT);
    }
    const um_prediction one = {1, 2, 0, good};
    assert_int_equal(um_metrics_measure(&m, &one, 0, 10, 1, &err), UM_ERR_INPUT);
    assert_int_equal(um_metrics_measure(&m, &one, 1, 0, 1, &err), UM_ERR_INPUT);
}

/* Upper tails in closed form (Abramowitz & Stegun 26.4.4 and 26.4.5). */
static double chi_square_tail(double x, int degrees)
{
    double term = 1, sum = 0;
    if (degrees % 2 == 0) {
        for (int i = 0; i < degrees / 2; i++) {
            sum += term;
            term *= x / 2 / (i + 1);
        }
        return exp(-x / 2) * sum;
    }
    term = sqrt(2 * x / 3.14159265358979323846);
    for (int i = 1; i < degrees; i += 2) {
        sum += term;
        term *= x / (i + 2);
    }
    return erfc(sqrt(x / 2)) + exp(-x / 2) * sum;
}

static void chi_square_tails(void **state)
{
    (void)state;
    double statistic, p;
    /* The 5 % point of 5 degrees of freedom is 11.0705 (tables). */
    assert_close(chi_square_tail(11.0705, 5), 0.05, 1e-6);
    for (int degrees = 1; degrees <= 300; degrees += 7)
        for (double x = 0.1; x < 600; x *= 1.7)
            assert_close(um_chi_square_tail(x, (uint64_t)degrees), chi_square_tail(x, degrees),
                         1e-12);
    assert_close(um_chi_square_tail(124.342, 100), 0.05, 1e-5); /* tables */
    assert_close(um_chi_square_tail(0, 3), 1, 0);
    assert_close(um_chi_square_tail(5, 0), 1, 0);
    const uint64_t table[] = {132, 78, 100, 100, 85, 105};
    um_chi_square_uniform(table, 6, &statistic, &p);
    assert_close(statistic, 17.58, 1e-9);
    assert_close(p, chi_square_tail(17.58, 5), 1e-12);

    um_rng r;
    um_rng_init(&r, 1, UM_RNG_TEST, 0, 0, 0);
    for (int round = 0; round < 400; round++) {
        uint64_t counts[26];
        size_t n = 2 + um_rng_below(&r, 25);
        uint32_t spread = 1 + um_rng_below(&r, 300);
        double total = 0, expected = 0;
        for (size_t i = 0; i < n; i++)
            total += (double)(counts[i] = 100 + um_rng_below(&r, spread));
        for (size_t i = 0; i < n; i++)
            expected += pow((double)counts[i] - total / (double)n, 2) * (double)n / total;
        um_chi_square_uniform(counts, n, &statistic, &p);
        assert_close(statistic, expected, 1e-9 * (1 + expected));
        double upper = chi_square_tail(expected, (int)n - 1);
        assert_close(p, upper, 1e-12 + 1e-9 * upper);
    }
    /* Far out the tail keeps its digits: 92.9 at 4 degrees of freedom is 3e-19. */
    const uint64_t skewed[] = {220, 100, 100, 100, 100};
    um_chi_square_uniform(skewed, 5, &statistic, &p);
    double tail = chi_square_tail(11520.0 / 124, 4);
    assert_close(p / tail, 1, 1e-9);
    const uint64_t equal[] = {7, 7, 7}, none[] = {0, 0}, far[] = {100000, 0};
    um_chi_square_uniform(equal, 3, &statistic, &p);
    assert_close(statistic, 0, 0);
    assert_close(p, 1, 0);
    um_chi_square_uniform(none, 2, &statistic, &p);
    assert_close(p, 1, 0);
    um_chi_square_uniform(far, 2, &statistic, &p);
    assert_close(statistic, 100000, 1e-6);
    assert_true(p >= 0 && p < 1e-300);
    um_chi_square_uniform(equal, 1, &statistic, &p);
    assert_close(p, 1, 0);
}

/* The report ---------------------------------------------------------------------------------- */

static char *page_of(const char *summary, size_t len)
{
    char dir[4096], path[4200], *page = NULL;
    size_t n = 0;
    um_error err;
    assert_non_null(make_dir(dir, sizeof dir));
    snprintf(path, sizeof path, "%s/report.html", dir);
    assert_ok(um_report_write(path, summary, len, &err), err);
    assert_ok(um_file_read(&page, &n, path, (size_t)64 << 20, &err), err);
    assert_int_equal(strlen(page), n);
    remove_dir(dir);
    return page;
}

static size_t count_char(const char *text, char c)
{
    size_t n = 0;
    for (const char *p = strchr(text, c); p != NULL; p = strchr(p + 1, c))
        n++;
    return n;
}

static void report_holds_hostile_texts(void **state)
{
    (void)state;
    static const char *const hostile[] = {
        "</script><script>alert(1)</script>",  "<!-- <script>",
        "]]><img src=x onerror=alert(1)>",     "{{chart_js}} {{summary}} {{",
        "\"quoted\" \\ & ' \x01 \xe2\x80\xa8", "</SCRIPT >"};
    enum { N = sizeof hostile / sizeof *hostile };
    static const char opening[] = "<script type=\"application/json\" id=\"summary\">";
    um_str json = UM_STR_INIT;
    json_t *summary = NULL;
    um_error err;

    um_str_append(&json, "{");
    for (int i = 0; i < N; i++) {
        um_str_append(&json, i > 0 ? "," : "");
        um_str_append_json(&json, hostile[i]); /* as a key, and as a value */
        um_str_append(&json, ":");
        um_str_append_json(&json, hostile[i]);
    }
    um_str_append(&json, "}");
    char *page = page_of(json.data, json.len), *empty = page_of("{}", 2);
    /* The data adds no markup, and what the page reads back is what went in. */
    assert_int_equal(count_char(page, '<'), count_char(empty, '<'));
    const char *begin = strstr(page, opening);
    assert_non_null(begin);
    begin += sizeof opening - 1;
    const char *end = strchr(begin, '<');
    assert_non_null(end);
    assert_true(um_str_starts(end, "</script>"));
    assert_ok(um_json_parse(&summary, begin, (size_t)(end - begin), "page", &err), err);
    assert_int_equal(json_object_size(summary), N);
    for (int i = 0; i < N; i++)
        assert_string_equal(json_string_value(json_object_get(summary, hostile[i])), hostile[i]);
    json_decref(summary);
    free(page);
    free(empty);
    um_str_dispose(&json);
}

static void report_needs_nothing_beside_itself(void **state)
{
    (void)state;
    static const char *const reaching_out[] = {"<link",  "<img",    "<iframe",        "<object",
                                               "<embed", " src=",   "@import",        "url(http",
                                               "fetch(", "import(", "XMLHttpRequest", "WebSocket"};
    char *page = page_of("{}", 2);
    for (size_t i = 0; i < sizeof reaching_out / sizeof *reaching_out; i++) {
        if (strstr(page, reaching_out[i]) != NULL)
            fail_msg("the page holds '%s'", reaching_out[i]);
    }
    assert_non_null(strstr(page, "default-src 'none'"));
    assert_non_null(strstr(page, "Chart.js"));
    assert_null(strstr(page, "{{summary}}"));
    assert_null(strstr(page, "{{chart_js}}"));
    assert_true(strlen(page) > 100000);
    free(page);

    um_error err;
    assert_int_equal(um_report_write("/nonexistent/report.html", "{}", 2, &err), UM_ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hand_worked_scenes),
        cmocka_unit_test(calibration_by_hand),
        cmocka_unit_test(intervals_of_a_binomial),
        cmocka_unit_test(users_weigh_by_their_scenes),
        cmocka_unit_test(same_seed_same_interval),
        cmocka_unit_test(differences_are_paired),
        cmocka_unit_test(bad_predictions_are_refused),
        cmocka_unit_test(chi_square_tails),
        cmocka_unit_test(report_holds_hostile_texts),
        cmocka_unit_test(report_needs_nothing_beside_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
