/* test_base_scan.c - sixteen bytes at a time, without the instructions of one CPU. */
#define UM_SCAN_PORTABLE 1
#include "base/rng.h"
#include "base/scan.h"
#include "test_util.h"

static void bits_of_comparisons(void **state)
{
    (void)state;
    um_rng r;
    um_rng_init(&r, 3, UM_RNG_TEST, 7, 0, 0);
    for (unsigned round = 0; round < 200000; round++) {
        uint8_t text[UM_SCAN_BYTES];
        unsigned expected = round < 65536 ? round : um_rng_below(&r, 65536), low = 0;
        for (unsigned i = 0; i < UM_SCAN_BYTES; i++)
            text[i] = expected >> i & 1 ? 'x' : (uint8_t)um_rng_below(&r, 'x');
        const um_scan_bytes same = um_scan_load(text) == 'x';
        assert_int_equal(um_scan_bits(same), expected);
        assert_int_equal(um_scan_any(same), expected != 0);
        for (; low < UM_SCAN_BYTES && !(expected >> low & 1);)
            low++;
        if (expected != 0)
            assert_int_equal(um_scan_first(same), low);
    }
}

static void any_of_other_bytes(void **state)
{
    (void)state;
    for (unsigned at = 0; at < UM_SCAN_BYTES; at++) {
        for (unsigned value = 0; value < 256; value++) {
            uint8_t text[UM_SCAN_BYTES];
            memset(text, 0x7f, sizeof text);
            text[at] = (uint8_t)value;
            assert_int_equal(um_scan_any(um_scan_load(text)), value > 0x7f);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bits_of_comparisons),
                                       cmocka_unit_test(any_of_other_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
