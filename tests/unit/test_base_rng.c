/*
 * test_base_rng.c - Philox against the published vectors, and the distributions drawn from it.
 * The three vectors are those of Random123 (kat_vectors, philox4x32 10).
 */
#include <math.h>

#include "base/rng.h"
#include "test_util.h"

#define N_DRAWS 100000

static void test_known_answers(void **state)
{
    (void)state;
    static const uint32_t rows[3][10] = {
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0x408f276d,
         0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1},
    };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        um_philox4x32(rows[i], rows[i] + 4, out);
        assert_memory_equal(out, rows[i] + 6, sizeof out);
    }
}

/* The stream is the blocks of counters 0, 1, 2, ... and carries into the second counter word. */
static void test_stream(void **state)
{
    (void)state;
    um_rng r;
    um_rng_init(&r, 1, UM_RNG_TEST, 2, 3, 4);
    assert_int_equal(r.counter[0], 0);
    assert_int_equal(r.counter[1], 0);
    um_rng start = r;
    for (uint32_t block = 0; block < 3; block++) {
        uint32_t expected[4];
        const uint32_t counter[4] = {block, 0, start.counter[2], start.counter[3]};
        um_philox4x32(counter, start.key, expected);
        for (int i = 0; i < 4; i++)
            assert_int_equal(um_rng_u32(&r), expected[i]);
    }
    r = start;
    r.counter[0] = UINT32_MAX;
    um_rng_u32(&r);
    assert_int_equal(r.counter[0], 0);
    assert_int_equal(r.counter[1], 1);
    assert_int_equal(r.counter[2], start.counter[2]);
}

/* Streams that differ in one word, or by moving a value to another word, share no first number. */
static void test_streams_differ(void **state)
{
    (void)state;
    static const uint64_t keys[][5] = {
        {0, 1, 0, 0, 0},          {1, 1, 0, 0, 0},          {0, 2, 0, 0, 0},
        {0, 1, 1, 0, 0},          {0, 1, 0, 1, 0},          {0, 1, 0, 0, 1},
        {1, 2, 0, 0, 0},          {2, 1, 0, 0, 0},          {0, 1, 1, 1, 0},
        {0, 1, 0, 1, 1},          {0, 1, 2, 0, 0},          {1ull << 32, 1, 0, 0, 0},
        {0, 1, 1ull << 32, 0, 0}, {0, 1, 0, 1ull << 32, 0}, {0, 1, 0, 0, 1ull << 32},
    };
    const size_t n = sizeof keys / sizeof *keys;
    uint64_t first[sizeof keys / sizeof *keys];
    for (size_t i = 0; i < n; i++) {
        um_rng r;
        um_rng_init(&r, keys[i][0], (uint32_t)keys[i][1], keys[i][2], keys[i][3], keys[i][4]);
        first[i] = um_rng_u64(&r);
        for (size_t j = 0; j < i; j++)
            assert_true(first[i] != first[j]);
    }
    /* Neighbouring ids give unrelated numbers: about half of the bits change. */
    uint64_t previous = 0;
    int flips = 0;
    for (uint64_t id = 0; id < 1000; id++) {
        um_rng r;
        um_rng_init(&r, 5, UM_RNG_TEST, id, 0, 0);
        uint64_t now = um_rng_u64(&r);
        flips += id > 0 ? __builtin_popcountll(now ^ previous) : 0;
        previous = now;
    }
    assert_close(flips / 999.0, 32.0, 0.6); /* 4.7 standard errors */
}

static void test_distributions(void **state)
{
    (void)state;
    um_rng r;
    um_rng_init(&r, 7, UM_RNG_TEST, 0, 0, 0);
    double sum = 0, sum_normal = 0, sum_square = 0, sum_gumbel = 0;
    for (int i = 0; i < N_DRAWS; i++) {
        double u = um_rng_uniform(&r);
        assert_true(u >= 0.0 && u < 1.0);
        sum += u;
        double z = um_rng_normal(&r);
        sum_normal += z;
        sum_square += z * z;
        double g = um_rng_gumbel(&r);
        assert_true(isfinite(z) && isfinite(g));
        sum_gumbel += g;
    }
    /* Five standard errors each. */
    assert_close(sum / N_DRAWS, 0.5, 5 * 0.2887 / sqrt(N_DRAWS));
    assert_close(sum_normal / N_DRAWS, 0.0, 5 / sqrt(N_DRAWS));
    assert_close(sum_square / N_DRAWS, 1.0, 5 * sqrt(2.0 / N_DRAWS));
    assert_close(sum_gumbel / N_DRAWS, 0.5772156649, 5 * 1.2825 / sqrt(N_DRAWS));
}

static void test_below(void **state)
{
    (void)state;
    um_rng r;
    um_rng_init(&r, 8, UM_RNG_TEST, 0, 0, 0);
    assert_int_equal(um_rng_below(&r, 0), 0);
    assert_int_equal(um_rng_below(&r, 1), 0);
    int counts[6] = {0};
    for (int i = 0; i < N_DRAWS; i++)
        counts[um_rng_below(&r, 6)]++;
    for (int i = 0; i < 6; i++)
        assert_close(counts[i] / (double)N_DRAWS, 1.0 / 6, 5 * sqrt(5.0 / 36 / N_DRAWS));
    /* 3 * 2^30: a plain multiplication would hit every third value twice as often. */
    int thirds[3] = {0};
    for (int i = 0; i < N_DRAWS; i++)
        thirds[um_rng_below(&r, 3u << 30) % 3]++;
    for (int i = 0; i < 3; i++)
        assert_close(thirds[i] / (double)N_DRAWS, 1.0 / 3, 5 * sqrt(2.0 / 9 / N_DRAWS));
}

static void test_categorical(void **state)
{
    (void)state;
    static const double p[5] = {0.0, 2.0, 1.0, 0.0, 5.0};
    um_rng r;
    um_rng_init(&r, 9, UM_RNG_TEST, 0, 0, 0);
    int counts[5] = {0};
    for (int i = 0; i < N_DRAWS; i++)
        counts[um_rng_categorical(&r, p, 5)]++;
    for (int i = 0; i < 5; i++) {
        double q = p[i] / 8.0;
        assert_close(counts[i] / (double)N_DRAWS, q, 5 * sqrt(q * (1 - q) / N_DRAWS));
    }
    static const double one[3] = {0.0, 1e-300, 0.0};
    assert_int_equal(um_rng_categorical(&r, one, 3), 1);
}

static void test_shuffle(void **state)
{
    (void)state;
    um_rng r;
    um_rng_init(&r, 10, UM_RNG_TEST, 0, 0, 0);
    int first[4] = {0};
    for (int i = 0; i < 40000; i++) {
        uint32_t values[4] = {0, 1, 2, 3};
        um_rng_shuffle_u32(&r, values, 4);
        unsigned seen = 0;
        for (int k = 0; k < 4; k++)
            seen |= 1u << values[k];
        assert_int_equal(seen, 15);
        first[values[0]]++;
    }
    for (int k = 0; k < 4; k++)
        assert_close(first[k] / 40000.0, 0.25, 5 * sqrt(3.0 / 16 / 40000));
    um_rng_shuffle_u32(&r, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),  cmocka_unit_test(test_stream),
        cmocka_unit_test(test_streams_differ), cmocka_unit_test(test_distributions),
        cmocka_unit_test(test_below),          cmocka_unit_test(test_categorical),
        cmocka_unit_test(test_shuffle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
