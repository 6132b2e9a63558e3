#include "scene/rank.h"
#include "scene_log.h"

/* Worked by hand: the ten interleavings of a = 4 7 1 and b = 7 9 are equally likely, and the second
 * 7 is passed over. aaabb, aabab, abaab give 4 7 1 9; aabba, ababa, abbaa 4 7 9 1; baaab 7 4 1 9;
 * baaba, babaa 7 4 9 1; bbaaa 7 9 4 1. */
static void merge_keeps_order_and_drops_repeats(void **state)
{
    (void)state;
    const uint32_t a[] = {4, 7, 1}, b[] = {7, 9};
    const um_ranking rankings[] = {{a, 3, UM_SOURCE_SPECTRAL, 1}, {b, 2, UM_SOURCE_CONTENT, 1}};
    static const struct {
        uint32_t order[4];
        int ways;
    } expected[] = {{{4, 7, 1, 9}, 3},
                    {{4, 7, 9, 1}, 3},
                    {{7, 4, 1, 9}, 1},
                    {{7, 4, 9, 1}, 2},
                    {{7, 9, 4, 1}, 1}};
    int counts[5] = {0};
    const int draws = 20000;
    for (int s = 0; s < draws; s++) {
        um_rng r;
        um_rng_init(&r, 5, UM_RNG_TEST, (uint64_t)s, 0, 0);
        uint32_t mark[16] = {0}, items[8];
        uint8_t sources[8];
        assert_int_equal(um_rank_merge(items, sources, 8, rankings, 2, mark, 1, &r), 4);
        int found = -1;
        for (int e = 0; e < 5; e++)
            if (memcmp(items, expected[e].order, sizeof expected[e].order) == 0)
                found = e;
        assert_true(found >= 0);
        counts[found]++;
        for (int i = 0; i < 4; i++) {
            if (items[i] == 9)
                assert_int_equal(sources[i], UM_SOURCE_CONTENT);
            if (items[i] == 4 || items[i] == 1)
                assert_int_equal(sources[i], UM_SOURCE_SPECTRAL);
        }
    }
    double chi2 = 0.0;
    for (int e = 0; e < 5; e++) {
        double mean = draws * expected[e].ways / 10.0;
        chi2 += (counts[e] - mean) * (counts[e] - mean) / mean;
    }
    assert_true(chi2 < 18.5); /* 4 degrees of freedom, p = 0.001 */
}

static void merge_stops_when_full_and_obeys_marks(void **state)
{
    (void)state;
    const uint32_t a[] = {3, 2, 1, 0};
    const um_ranking ranking = {a, 4, UM_SOURCE_RANDOM, 1};
    uint32_t mark[4] = {0, 0, 0, 7}, items[4];
    uint8_t sources[4];
    um_rng r;
    um_rng_init(&r, 5, UM_RNG_TEST, 0, 0, 0);
    assert_int_equal(um_rank_merge(items, sources, 2, &ranking, 1, mark, 7, &r), 2);
    assert_int_equal(items[0], 2);
    assert_int_equal(items[1], 1);
    assert_int_equal(um_rank_merge(items, sources, 2, NULL, 0, mark, 7, &r), 0);
}

static void top_equals_a_full_sort(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        um_rng r;
        um_rng_init(&r, 6, UM_RNG_TEST, seed, 0, 0);
        uint32_t candidates[100], top[64], n = um_rng_below(&r, 100), cut = um_rng_below(&r, 64);
        float scores[100];
        for (uint32_t i = 0; i < 100; i++)
            scores[i] = (float)um_rng_below(&r, 12) - 3.0f; /* many ties, some <= 0 */
        for (uint32_t i = 0; i < n; i++)
            candidates[i] = i;
        uint32_t kept = um_rank_top(top, cut, candidates, n, scores);
        uint32_t expected = 0;
        for (float level = 8.0f; level > 0.0f; level -= 1.0f)
            for (uint32_t i = 0; i < n && expected < cut; i++)
                if (scores[i] == level)
                    assert_int_equal(top[expected++], i);
        assert_int_equal(kept, expected);
    }
}

static void random_ranking_is_uniform(void **state)
{
    (void)state;
    int counts[6][2] = {{0}};
    const int draws = 12000;
    for (int s = 0; s < draws; s++) {
        um_rng r;
        um_rng_init(&r, 7, UM_RNG_TEST, (uint64_t)s, 0, 0);
        uint32_t candidates[] = {0, 1, 2, 3, 4, 5}, out[2];
        assert_int_equal(um_rank_random(out, 2, candidates, 6, &r), 2);
        assert_int_not_equal(out[0], out[1]);
        counts[out[0]][0]++;
        counts[out[1]][1]++;
    }
    for (int place = 0; place < 2; place++) {
        double chi2 = 0.0;
        for (int i = 0; i < 6; i++)
            chi2 += pow(counts[i][place] - draws / 6.0, 2) / (draws / 6.0);
        assert_true(chi2 < 20.6); /* 5 degrees of freedom, p = 0.001 */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merge_keeps_order_and_drops_repeats),
        cmocka_unit_test(merge_stops_when_full_and_obeys_marks),
        cmocka_unit_test(top_equals_a_full_sort),
        cmocka_unit_test(random_ranking_is_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
