/* Numbers in fields: the short way must agree with the C library to the last bit. */
#include <string.h>

#include "base/rng.h"
#include "data/cells.h"
#include "test_util.h"

static void check(const char *text)
{
    double quick = -7, slow = -7;
    bool good = um_cell_number(text, strlen(text), &quick);
    if (good != um_parse_f64(text, &slow) || memcmp(&quick, &slow, sizeof quick) != 0)
        fail_msg("'%s' is %.17g, not %.17g", text, quick, slow);
}

static void numbers(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "0",
                                        "7",
                                        "007",
                                        "3.5",
                                        "0.1",
                                        ".5",
                                        "5.",
                                        ".",
                                        "..",
                                        "1.2.3",
                                        "-3",
                                        "+3",
                                        "1e3",
                                        "1e400",
                                        "nan",
                                        "inf",
                                        " 1",
                                        "1 ",
                                        "1,5",
                                        "12a",
                                        "-",
                                        "999999999999999",
                                        "9999999999999999",
                                        "0.99999999999999",
                                        "123456789012.345",
                                        "1593878903.438",
                                        "1.2733965",
                                        "0.000000000000001",
                                        "123456789.0123456789"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check(texts[i]);
    um_rng r;
    um_rng_init(&r, 5, UM_RNG_TEST, 0, 0, 0);
    for (int i = 0; i < 200000; i++) {
        char text[32];
        size_t n = 1 + um_rng_below(&r, 18), point = um_rng_below(&r, 24);
        for (size_t k = 0; k < n; k++)
            text[k] = k == point ? '.' : (char)('0' + um_rng_below(&r, 10));
        text[n] = '\0';
        check(text);
    }
}

static void digits(void **state)
{
    (void)state;
    int64_t value = -7;
    assert_true(um_cell_digits("978300760", 9, &value));
    assert_int_equal(value, 978300760);
    assert_true(um_cell_digits("999999999999", 12, &value));
    assert_true(value == 999999999999);
    static const char *const bad[] = {"", "-1", "+1", "1.0", " 1", "1234567890123"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(um_cell_digits(bad[i], strlen(bad[i]), &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers), cmocka_unit_test(digits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
