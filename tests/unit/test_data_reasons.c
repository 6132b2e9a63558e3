/* Rejections counted by reason. */
#include "data/reasons.h"
#include "test_util.h"

static um_ingest_report report;

static void reject(const char *reason, bool is_filter, uint64_t line)
{
    const um_rejection rejection = {
        .file = "f.csv", .line = line, .reason = reason, .is_filter = is_filter};
    um_reasons_count(&report, &rejection);
}

static void values_do_not_make_reasons(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b, *text;
    } cases[] = {
        {"rating 'x' is not a number", "rating 'don't' is not a number",
         "rating '...' is not a number"},
        {"film '' has no title", "film 'a b' has no title", "film '...' has no title"},
        {"short row: 3 fields, need 4", "short row: 1 fields, need 4",
         "short row: N fields, need N"},
        {"list of 12 items, limit 10.5", "list of 1 items, limit 3", "list of N items, limit N"},
        {"user's row", "user's row", "user's row"},
        {"not UTF-8", "not UTF-8", "not UTF-8"},
        {"key 'a': bad", "key 'bc': bad", "key '...': bad"},
        {"an open 'quote", "an open 'quote", "an open 'quote"},
        {"time -5 is", "time -17 is", "time -N is"},
        {"x2 stays", "x2 stays", "x2 stays"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        report = (um_ingest_report){0};
        reject(cases[i].a, false, 3);
        reject(cases[i].b, false, 4);
        assert_int_equal(report.n_reasons, 1);
        assert_string_equal(report.reasons[0].text, cases[i].text);
        assert_int_equal(report.reasons[0].rows, 2);
        assert_int_equal(report.reasons[0].n_examples, 2);
        assert_string_equal(report.reasons[0].examples[0].reason, cases[i].a);
        assert_string_equal(report.reasons[0].examples[1].reason, cases[i].b);
        assert_string_equal(report.reasons[0].examples[1].file, "f.csv");
        assert_int_equal(report.reasons[0].examples[1].line, 4);
    }
}

static void filters_are_told_apart_and_the_rest_is_gathered(void **state)
{
    (void)state;
    char reason[300];
    uint64_t rows = 0;
    report = (um_ingest_report){0};
    reject("old", false, 1);
    reject("old", true, 2);
    for (int i = 0; i < 50; i++) {
        snprintf(reason, sizeof reason, "reason %c%c", 'a' + i % 26, 'a' + i / 26);
        reject(reason, false, 9);
    }
    assert_int_equal(report.n_reasons, UM_INGEST_MAX_REASONS);
    assert_true(report.reasons[1].is_filter && !report.reasons[0].is_filter);
    const um_ingest_reason *last = &report.reasons[UM_INGEST_MAX_REASONS - 1];
    assert_string_equal(last->text, "other reasons");
    assert_int_equal(last->rows, 52 - (UM_INGEST_MAX_REASONS - 1));
    assert_int_equal(last->n_examples, UM_INGEST_EXAMPLES);
    for (size_t i = 0; i < report.n_reasons; i++)
        rows += report.reasons[i].rows;
    assert_int_equal(rows, 52);
    memset(reason, '1', sizeof reason);
    memset(reason + 1, '\'', sizeof reason - 2);
    reason[sizeof reason - 1] = '\0';
    report = (um_ingest_report){0};
    reject(reason, true, 1); /* longer than what is kept */
    assert_true(strlen(report.reasons[0].text) < sizeof report.reasons[0].text);
    assert_true(strlen(report.reasons[0].examples[0].reason) <
                sizeof report.reasons[0].examples[0].reason);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_do_not_make_reasons),
        cmocka_unit_test(filters_are_told_apart_and_the_rest_is_gathered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
