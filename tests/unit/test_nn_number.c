/* 16-bit numbers against plain double-precision formulas, and the names of formats. */
#include "mirrorer/dtype.h"
#include "nn/number.h"
#include "nn_util.h"

static const uint32_t infinity = 0x7f800000u;

/* `input`: what was converted, as it is shown. */
static void check_same_bits(unsigned input, float got, float want)
{
    if (um_float_bits(got) != um_float_bits(want))
        fail_msg("of 0x%x: %.9g, expected %.9g", input, (double)got, (double)want);
}

/* The value of a binary16, from its three fields. */
static double half_value(unsigned h)
{
    const int exponent = (int)(h >> 10 & 31u), mantissa = (int)(h & 1023u);
    const double sign = (h & 0x8000u) != 0 ? -1.0 : 1.0;
    if (exponent == 31)
        return mantissa != 0 ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0)
        return sign * ldexp(mantissa, -24);
    return sign * ldexp(1024 + mantissa, exponent - 25);
}

static void test_every_half(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x10000u; h++) {
        const float got = um_f16_value((uint16_t)h);
        const double want = half_value(h);
        if (isnan(want)) {
            assert_true(isnan(got));
            assert_true(isnan(um_f16_value(um_f16_bits(got))));
            continue;
        }
        const float value = (float)want;
        check_same_bits(h, got, value);
        assert_int_equal(um_f16_bits(value), h);
    }
}

/* Between neighbours: below the middle down, above it up, the middle itself to the even one. */
static void test_half_ties(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7c00u; h++) {
        /* The number after the largest one would be 65536: from halfway on it is infinity. */
        const double next = h == 0x7bffu ? 65536.0 : half_value(h + 1);
        const float middle = (float)((half_value(h) + next) / 2.0);
        for (unsigned sign = 0; sign <= 0x8000u; sign += 0x8000u) {
            const float x = sign != 0 ? -middle : middle;
            assert_int_equal(um_f16_bits(x), sign | (h + (h & 1u)));
            assert_int_equal(um_f16_bits(nextafterf(x, 0.0f)), sign | h);
            assert_int_equal(um_f16_bits(nextafterf(x, x * 2.0f)), sign | (h + 1));
        }
    }
    assert_int_equal(um_f16_bits(INFINITY), 0x7c00);
    assert_int_equal(um_f16_bits(-INFINITY), 0xfc00);
    assert_int_equal(um_f16_bits(-1e30f), 0xfc00);
    assert_int_equal(um_f16_bits(-0.0f), 0x8000);
}

/* x to `bits` significant ones, but no finer than 2^lowest: to nearest, ties to even. */
static double rounded(double x, int bits, int lowest)
{
    int exponent;
    (void)frexp(x, &exponent);
    const int unit = exponent - bits > lowest ? exponent - bits : lowest;
    return ldexp(rint(ldexp(x, -unit)), unit);
}

static void test_random_floats(void **state)
{
    (void)state;
    um_rng rng;
    um_rng_init(&rng, 1, UM_RNG_TEST, 0, 0, 0);
    for (int i = 0; i < 4000000; i++) {
        uint32_t bits = um_rng_u32(&rng);
        if (i % 2 == 0) /* half of them in the range of binary16 */
            bits = (bits & 0x807fffffu) | (100u + bits % 45u) << 23;
        const float x = um_bits_float(bits);
        const float half = um_f16_value(um_f16_bits(x)), brain = um_bf16_value(um_bf16_bits(x));
        if ((bits & ~0x80000000u) > infinity) {
            assert_true(isnan(half) && isnan(brain));
            continue;
        }
        if (isinf(x)) {
            assert_true(half == x && brain == x);
            continue;
        }
        const double want = rounded((double)x, 11, -24);
        check_same_bits(bits, half, fabs(want) >= 65536.0 ? copysignf(INFINITY, x) : (float)want);
        check_same_bits(bits, brain, (float)rounded((double)x, 8, -133));
    }
}

static void test_every_bf16(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000u; h++) {
        const float x = um_bf16_value((uint16_t)h);
        check_same_bits(h, x, um_bits_float(h << 16));
        if ((h << 16 & ~0x80000000u) > infinity) /* a NaN stays one, and its sign */
            assert_int_equal(um_bf16_bits(x), h | 0x40u);
        else
            assert_int_equal(um_bf16_bits(x), h);
    }
    assert_true(isnan(um_bf16_value(um_bf16_bits(um_bits_float(0x7f800001u)))));
    assert_true(isnan(um_bf16_value(um_bf16_bits(um_bits_float(0xffffffffu)))));
}

static void test_format_names(void **state)
{
    (void)state;
    static const char *const names[] = {"f32", "bf16", "f16", "int8"};
    static const char *const bad[] = {"", "f", "F32", "f32 ", "bf1", "bf166", "i8", "int", "fp16"};
    um_dtype dtype;
    for (int i = 0; i < 4; i++) {
        dtype = (um_dtype)99;
        assert_true(um_dtype_parse(&dtype, names[i]));
        assert_int_equal(dtype, i);
        assert_string_equal(um_dtype_name(dtype), names[i]);
    }
    dtype = UM_F16;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(um_dtype_parse(&dtype, bad[i]));
    assert_int_equal(dtype, UM_F16);
    assert_null(um_dtype_name((um_dtype)4));
    assert_null(um_dtype_name((um_dtype)-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half),    cmocka_unit_test(test_half_ties),
        cmocka_unit_test(test_random_floats), cmocka_unit_test(test_every_bf16),
        cmocka_unit_test(test_format_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
