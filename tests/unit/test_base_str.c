/* test_base_str.c - strings, number texts, UTF-8, errors. */
#include <errno.h>
#include <float.h>
#include <math.h>

#include "base/error.h"
#include "base/rng.h"
#include "base/str.h"
#include "mirrorer/monitor.h"
#include "test_util.h"

static void test_append(void **state)
{
    (void)state;
    um_error err;
    um_str s = UM_STR_INIT;
    assert_string_equal(um_str_text(&s), "");
    um_str_append(&s, "ab");
    um_str_append_char(&s, 'c');
    um_str_append_n(&s, "d\0e", 3);
    um_str_appendf(&s, "-%d-%s", 42, "x");
    assert_ok(um_str_status(&s, &err), err);
    assert_int_equal(s.len, 11);
    assert_memory_equal(s.data, "abcd\0e-42-x", 12);
    memcpy(um_str_extend(&s, 2), "yz", 2);
    assert_memory_equal(s.data + 9, "-xyz", 5);
    um_str_clear(&s);
    assert_string_equal(um_str_text(&s), "");
    for (int i = 0; i < 10000; i++)
        um_str_append(&s, "0123456789");
    assert_int_equal(s.len, 100000);
    char *taken = NULL;
    assert_ok(um_str_take(&s, &taken, &err), err);
    assert_int_equal(strlen(taken), 100000);
    free(taken);
    assert_ok(um_str_take(&s, &taken, &err), err);
    assert_string_equal(taken, "");
    free(taken);
    um_str_dispose(&s);
}

static void test_limit(void **state)
{
    (void)state;
    um_error err;
    um_str s;
    um_str_init(&s, 5);
    um_str_append(&s, "12345");
    assert_ok(um_str_status(&s, &err), err);
    um_str_append(&s, "6");
    um_str_append(&s, ""); /* the failure is kept */
    assert_null(um_str_extend(&s, 0));
    assert_int_equal(um_str_status(&s, &err), UM_ERR_LIMIT);
    assert_non_null(strstr(err.text, "5 bytes"));
    assert_string_equal(um_str_text(&s), "12345");
    char *taken = NULL;
    assert_int_equal(um_str_take(&s, &taken, NULL), UM_ERR_LIMIT);
    assert_null(taken);
    um_str_clear(&s);
    um_str_appendf(&s, "%s", "abc");
    assert_ok(um_str_status(&s, &err), err);
    um_str_appendf(&s, "%s", "abc");
    assert_int_equal(um_str_status(&s, NULL), UM_ERR_LIMIT);
    um_str_dispose(&s);
}

static void test_json_text(void **state)
{
    (void)state;
    um_str s = UM_STR_INIT;
    um_str_append_json(&s, "a\"\\/\b\f\n\r\t\x01\x1f\x7f \xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80");
    assert_string_equal(um_str_text(&s), "\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f "
                                         "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"");
    um_str_clear(&s);
    /* A stray continuation, a cut sequence and a surrogate: one replacement a byte. */
    um_str_append_json(&s, "x\x80y\xE2\x82z\xED\xA0\x80");
#define BAD "\xEF\xBF\xBD"
    assert_string_equal(um_str_text(&s), "\"x" BAD "y" BAD BAD "z" BAD BAD BAD "\"");
    um_str_clear(&s);
    um_str_append_json(&s, "");
    assert_string_equal(um_str_text(&s), "\"\"");
    um_str_dispose(&s);
}

static void test_number(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0.0, "0"},
        {-0.0, "0"},
        {1.0, "1"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3.0, "0.3333333333333333"},
        {123456789.0, "123456789"},
        {0.0001, "0.0001"},
        {-0.000100001, "-0.000100001"},
        {0.000099999, "9.9999e-05"},
        {999999.999999999, "999999.999999999"},
        {999999.9999999999, "999999.9999999999"},
        {1000000.000000001, "1000000.000000001"},
        {-100000.5, "-100000.5"},
        {1e21, "1e+21"},
        {-2.5e-7, "-2.5e-07"},
        {5e-324, "5e-324"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {9007199254740993.0, "9007199254740992"},
        {(double)NAN, "null"},
        {(double)INFINITY, "null"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        um_str s = UM_STR_INIT;
        um_str_append_number(&s, rows[i].value);
        assert_string_equal(um_str_text(&s), rows[i].text);
        um_str_dispose(&s);
    }
}

/* Against the C library: the first of 15 to 17 digits that reads back equal. */
static void test_numbers_agree(void **state)
{
    (void)state;
    um_rng r;
    um_rng_init(&r, 7, UM_RNG_TEST, 0, 0, 0);
    for (int i = 0; i < 200000; i++) {
        char expected[40];
        double value = um_rng_normal(&r) * pow(10, (double)um_rng_below(&r, 24) - 6);
        if (i % 3 > 0) { /* a decimal of 1 to 17 digits */
            snprintf(expected, sizeof expected, "%.*g", (int)um_rng_below(&r, 17) + 1, value);
            value = strtod(expected, NULL);
        }
        if (i % 5 == 0) { /* nine decimal places */
            double whole = um_rng_below(&r, 1u << (i / 5 % 21)), sign = i % 2 == 0 ? 1 : -1;
            value = sign * (whole * 1e9 + um_rng_below(&r, 1000000000)) / 1e9;
        }
        for (int digits = 15; digits <= 17; digits++) {
            snprintf(expected, sizeof expected, "%.*g", digits, value);
            if (strtod(expected, NULL) == value)
                break;
        }
        um_str s = UM_STR_INIT;
        um_str_append_number(&s, value);
        assert_string_equal(um_str_text(&s), expected);
        um_str_dispose(&s);
    }
}

static void test_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"", true},
        {"plain", true},
        {"\xC2\x80\xDF\xBF", true},
        {"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80", true},
        {"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF", true},
        {"\xC0\x80", false},         /* overlong */
        {"\xC1\xBF", false},         /* overlong */
        {"\xE0\x9F\xBF", false},     /* overlong */
        {"\xF0\x8F\xBF\xBF", false}, /* overlong */
        {"\xED\xA0\x80", false},     /* surrogate */
        {"\xF4\x90\x80\x80", false}, /* past U+10FFFF */
        {"\xF5\x80\x80\x80", false},
        {"\xE2\x82", false}, /* cut */
        {"\x80", false},
        {"\xC3(", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(um_utf8_valid(rows[i].text, strlen(rows[i].text)), rows[i].valid);
    um_str s = UM_STR_INIT;
    um_str_append_latin1(&s, "a\xE9\xFF\x80", 4);
    assert_string_equal(um_str_text(&s), "a\xC3\xA9\xC3\xBF\xC2\x80");
    um_str_dispose(&s);
}

static void test_parse(void **state)
{
    (void)state;
    int64_t i;
    double f;
    assert_true(um_parse_i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(um_parse_i64("+0042", &i) && i == 42);
    static const char *const bad_integers[] = {
        "", "-", " 1", "1 ", "1.0", "0x1", "1e3", "--1", "9223372036854775808"};
    for (size_t k = 0; k < sizeof bad_integers / sizeof *bad_integers; k++)
        assert_false(um_parse_i64(bad_integers[k], &i));
    assert_true(um_parse_f64("2.5", &f) && f == 2.5);
    assert_true(um_parse_f64("-.5e+2", &f) && f == -50.0);
    assert_true(um_parse_f64("7.", &f) && f == 7.0);
    assert_true(um_parse_f64("1e-400", &f) && f == 0.0);
    static const char *const bad_numbers[] = {"",    ".",   "e5",    "1e",    "1e+", " 1",   "1 ",
                                              "nan", "inf", "1e999", "0x1p3", "1,5", "1.2.3"};
    for (size_t k = 0; k < sizeof bad_numbers / sizeof *bad_numbers; k++)
        assert_false(um_parse_f64(bad_numbers[k], &f));
}

static void test_small(void **state)
{
    (void)state;
    assert_true(um_str_starts("abc", "ab") && !um_str_starts("a", "ab"));
    assert_true(um_str_ends("abc", "bc") && !um_str_ends("c", "bc"));
    assert_null(um_strdup(NULL));
    char *copy = um_strndup("abcdef", 3);
    assert_string_equal(copy, "abc");
    free(copy);
    static const char *const words[] = {"learning_rate", "epochs", "batch"};
    assert_string_equal(um_nearest("learning-rate", words, 3), "learning_rate");
    assert_string_equal(um_nearest("epoch", words, 3), "epochs");
    assert_null(um_nearest("zzzzzz", words, 3));
    assert_null(um_nearest("epochs", words, 0));
}

static void test_error(void **state)
{
    (void)state;
    um_error err;
    assert_int_equal(um_fail(&err, UM_ERR_INPUT, "%s:%d: bad", "f", 3), UM_ERR_INPUT);
    assert_string_equal(err.text, "f:3: bad");
    assert_int_equal(um_error_prefix(&err, err.status, "while %s", "reading"), UM_ERR_INPUT);
    assert_string_equal(err.text, "while reading: f:3: bad");
    assert_int_equal(um_error_prefix(NULL, UM_ERR_IO, "x"), UM_ERR_IO);
    /* The old text may be an argument of the new one, and long texts are cut, not overrun. */
    for (int i = 0; i < 10; i++)
        (void)um_fail(&err, UM_ERR_LIMIT, "%s + %s", err.text, err.text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    (void)um_error_prefix(&err, UM_ERR_LIMIT, "%s", err.text);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    errno = ENOSPC;
    assert_int_equal(um_fail_errno(&err, "write", "out.db"), UM_ERR_IO);
    assert_non_null(strstr(err.text, "cannot write 'out.db': No space left"));
    assert_non_null(strstr(err.text, "free space"));
    assert_int_equal(um_fail_memory(&err, "a thing"), UM_ERR_MEMORY);
    assert_string_equal(um_status_name(UM_OK), "ok");
    assert_string_equal(um_status_name((um_status)999), "unknown status");
}

static void take_message(void *context, const char *text)
{
    snprintf(context, 64, "%s", text);
}

static void test_monitor(void **state)
{
    (void)state;
    char seen[64] = "";
    volatile sig_atomic_t stop = 0;
    um_monitor monitor = {.on_message = take_message, .context = seen, .stop = &stop};
    um_monitor_message(&monitor, "%d of %d", 3, 4);
    assert_string_equal(seen, "3 of 4");
    um_monitor_message(NULL, "nobody");
    um_monitor_progress(NULL, NULL);
    assert_false(um_monitor_stopped(&monitor));
    assert_false(um_monitor_stopped(NULL));
    stop = 1;
    assert_true(um_monitor_stopped(&monitor));
}

/* Blocks of plain text are passed over whole: what needs care is found wherever it stands. */
static void test_json_anywhere(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\"", "\\\""},          {"\\", "\\\\"},           {"\n", "\\n"},
        {"\x1f", "\\u001f"},     {"\xc3\xa9", "\xc3\xa9"}, {"\xff", "\xef\xbf\xbd"},
        {"\xc3", "\xef\xbf\xbd"}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        for (size_t before = 0; before < 40; before++) {
            for (size_t after = 0; after < 40; after++) {
                char plain[40], text[100], expected[100];
                memset(plain, 'x', sizeof plain);
                snprintf(text, sizeof text, "%.*s%s%.*s", (int)before, plain, cases[c][0],
                         (int)after, plain);
                snprintf(expected, sizeof expected, "\"%.*s%s%.*s\"", (int)before, plain,
                         cases[c][1], (int)after, plain);
                um_str s = UM_STR_INIT;
                um_str_append_json(&s, text);
                assert_string_equal(um_str_text(&s), expected);
                assert_int_equal(um_utf8_valid(text, strlen(text)),
                                 (unsigned char)cases[c][0][0] < 0x80 || cases[c][0][1] != '\0');
                um_str_dispose(&s);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_anywhere), cmocka_unit_test(test_append),
        cmocka_unit_test(test_limit),         cmocka_unit_test(test_json_text),
        cmocka_unit_test(test_number),        cmocka_unit_test(test_numbers_agree),
        cmocka_unit_test(test_utf8),          cmocka_unit_test(test_parse),
        cmocka_unit_test(test_small),         cmocka_unit_test(test_error),
        cmocka_unit_test(test_monitor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
