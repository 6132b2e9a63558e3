/* test_data_availability.c - when items are first seen, by one thread or two. */
#include "base/rng.h"
#include "data/builder.h"
#include "test_data_util.h"

enum { N_USERS = 300, N_ITEMS = 5000, N_LISTED = 4 };

static um_error err;
static int64_t first_s[N_ITEMS]; /* of the known times; INT64_MAX: none */
static bool is_seen[N_ITEMS];

static void see_item(uint32_t item, int64_t time_s)
{
    is_seen[item] = true;
    if (time_s != 0 && time_s < first_s[item])
        first_s[item] = time_s;
}

/* Different items; some are shown rarely. */
static void choose(um_rng *r, uint32_t list[N_LISTED])
{
    list[0] = um_rng_below(r, 20) == 0 ? um_rng_below(r, N_ITEMS - 100) : um_rng_below(r, 40);
    for (uint32_t i = 1; i < N_LISTED; i++)
        list[i] = (list[i - 1] + 1 + um_rng_below(r, 50)) % (N_ITEMS - 100);
}

static void check(uint32_t n_rows, uint64_t seed)
{
    um_rng r;
    um_dataset_builder *b = NULL;
    um_dataset *d = NULL;
    uint32_t index = 0;
    char id[32];
    um_rng_init(&r, seed, UM_RNG_TEST, 3, 0, 0);
    assert_ok(um_dataset_builder_new(&b, "t", &err), err);
    for (uint32_t u = 0; u < N_USERS; u++) {
        snprintf(id, sizeof id, "u%u", u);
        assert_ok(um_dataset_builder_user(b, id, &index, NULL, &err), err);
    }
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        snprintf(id, sizeof id, "i%u", i);
        assert_ok(um_dataset_builder_item(b, id, &index, NULL, &err), err);
        if (i % 9 == 0)
            assert_ok(um_dataset_builder_release(b, index, i, &err), err);
        first_s[i] = INT64_MAX;
        is_seen[i] = false;
    }
    for (uint32_t k = 0; k < n_rows; k++) {
        uint32_t list[N_LISTED], user = um_rng_below(&r, N_USERS);
        int64_t time_s = um_rng_below(&r, 3) == 0 ? 0 : (int64_t)um_rng_below(&r, 1000000) - 500;
        choose(&r, list);
        const bool is_skip = k % 5 == 0, has_list = k % 2 == 0;
        if (is_skip) {
            assert_ok(um_dataset_builder_skip(b, user, time_s, list, N_LISTED, &err), err);
        } else {
            assert_ok(um_dataset_builder_interaction(b, user, list[k % N_LISTED], time_s, &err),
                      err);
            if (has_list)
                assert_ok(um_dataset_builder_impressions(b, list, N_LISTED, (int32_t)(k % N_LISTED),
                                                         &err),
                          err);
        }
        for (uint32_t i = 0; i < N_LISTED; i++) {
            if (is_skip || has_list || i == k % N_LISTED)
                see_item(list[i], time_s);
        }
    }
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    size_t n_before = 0, n_never = 0;
    for (uint32_t i = 0; i < N_ITEMS; i++) {
        int64_t expected = i % 9 == 0 ? (int64_t)i : first_s[i];
        if (i % 9 != 0 && first_s[i] == INT64_MAX && is_seen[i])
            expected = 0;
        n_before += i % 9 != 0 && expected == 0;
        n_never += i % 9 != 0 && !is_seen[i];
        assert_int_equal(d->item_has_release[i], i % 9 == 0);
        assert_true(d->item_available_s[i] == expected);
    }
    assert_true(n_before > 0 && n_never > 0);
    um_dataset_free(d);
    um_dataset_builder_free(b);
}

/* A log that is finished by one thread, and large ones, by two. */
static void first_times(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 4; seed++) {
        check(2000, seed);
        check(100000, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(first_times)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
