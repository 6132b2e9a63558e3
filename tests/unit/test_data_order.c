/* test_data_order.c - rows by user, time and file order against sorting them. */
#include "base/rng.h"
#include "data/order.h"
#include "test_util.h"

enum { MOST = 20000 };

static um_error err;
static uint32_t user[MOST], item[MOST], order[MOST];
static int64_t time_s[MOST];

static int compare_rows(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    if (user[x] != user[y])
        return user[x] < user[y] ? -1 : 1;
    if (time_s[x] != time_s[y])
        return time_s[x] < time_s[y] ? -1 : 1;
    return x < y ? -1 : 1;
}

static void check(size_t n, uint32_t n_users, um_pool *pool)
{
    um_order o;
    assert_ok(um_order_make(&o, user, time_s, n, n_users, pool, &err), err);
    for (uint32_t i = 0; i < n; i++)
        order[i] = i;
    qsort(order, n, sizeof *order, compare_rows);
    assert_int_equal(o.n, n);
    assert_int_equal(o.start[0], 0);
    assert_int_equal(o.start[n_users], n);
    for (uint32_t u = 0; u < n_users; u++) {
        for (uint64_t i = o.start[u]; i < o.start[u + 1]; i++)
            assert_int_equal(user[o.ordinals[i]], u);
    }
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(o.ordinals[i], order[i]);
        assert_true(o.time_s[i] == time_s[order[i]]);
    }
    um_order_dispose(&o);
}

/* Times close together, equal, sorted, far apart, as far as they go. */
static int64_t make_time(um_rng *r, int kind, size_t i)
{
    static const int64_t extremes[] = {INT64_MIN, INT64_MIN + 1, -1,       0,
                                       1,         INT64_MAX - 1, INT64_MAX};
    switch (kind) {
    case 0:
        return 1000000000 + um_rng_below(r, 50);
    case 1:
        return 7;
    case 2:
        return (int64_t)i;
    case 3:
        return (int64_t)um_rng_below(r, UINT32_MAX) << 17;
    case 4:
        return -(int64_t)i;
    default:
        return extremes[um_rng_below(r, sizeof extremes / sizeof *extremes)];
    }
}

static void agrees_with_sorting(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 64, 65, 1000, MOST};
    um_rng r;
    um_pool *pool = NULL;
    assert_ok(um_pool_new(&pool, 2, &err), err);
    um_rng_init(&r, 1, UM_RNG_TEST, 11, 0, 0);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (int kind = 0; kind < 6; kind++) {
            const uint32_t n_users = s % 3 == 0 ? 1 : s % 3 == 1 ? 5 : 3000;
            for (size_t i = 0; i < sizes[s]; i++) {
                user[i] = um_rng_below(&r, n_users);
                time_s[i] = make_time(&r, kind, i);
            }
            check(sizes[s], n_users, NULL);
            check(sizes[s], n_users, pool);
        }
    }
    check(0, 0, pool);
    um_pool_free(pool);
}

/* Of rows with one user, time and item all but the first are marked; then they go. */
static void repeats_go(void **state)
{
    (void)state;
    um_rng r;
    um_pool *pool = NULL;
    um_order o;
    static uint8_t mark[MOST];
    assert_ok(um_pool_new(&pool, 2, &err), err);
    um_rng_init(&r, 2, UM_RNG_TEST, 11, 0, 0);
    for (size_t i = 0; i < MOST; i++) {
        user[i] = um_rng_below(&r, 50);
        item[i] = um_rng_below(&r, 20);
        time_s[i] = um_rng_below(&r, 10);
    }
    assert_ok(um_order_make(&o, user, time_s, MOST, 50, pool, &err), err);
    assert_ok(um_order_mark_repeats(&o, item, mark, 3, pool, &err), err);
    static bool seen[50][20][10];
    size_t kept = 0;
    for (size_t i = 0; i < MOST; i++) {
        bool *before = &seen[user[i]][item[i]][time_s[i]];
        assert_int_equal(mark[i], *before ? 3 : 0);
        kept += !*before;
        *before = true;
    }
    um_order_squeeze(&o, mark, NULL);
    assert_int_equal(o.n, kept);
    for (size_t i = 0; i < o.n; i++)
        assert_int_equal(mark[o.ordinals[i]], 0);
    um_order_dispose(&o);
    um_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_sorting),
                                       cmocka_unit_test(repeats_go)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
