/* test_data_ids.c - ids as texts, whatever stands before their digits, against looking through a
 * list. */
#include "base/rng.h"
#include "data/ids.h"
#include "test_util.h"

enum { MOST = 1500 };

static um_error err;

/* Mostly the prefix and a number; also numbers that are no plain decimals, or too large, a part of
 * the prefix, and other texts. */
static void make_id(char id[64], um_rng *r, const char *prefix)
{
    const uint32_t n = um_rng_below(r, 4) == 0 ? um_rng_below(r, UINT32_MAX)
                                               : um_rng_below(r, um_rng_below(r, 2) ? 500 : 90000);
    switch (um_rng_below(r, 9)) {
    case 0:
        snprintf(id, 64, "%s0%u", prefix, n);
        break;
    case 1:
        snprintf(id, 64, "%u", n);
        break;
    case 2:
        snprintf(id, 64, "%s%ux", prefix, n);
        break;
    case 3:
        snprintf(id, 64, "%.*s%u", (int)(strlen(prefix) / 2), prefix, n);
        break;
    case 4:
        snprintf(id, 64, "%s%s", prefix, n % 2 ? "419430" : "4194304");
        break;
    case 5:
        snprintf(id, 64, "%s1:%u", prefix, n % 50); /* ':' comes after '9' */
        break;
    default:
        snprintf(id, 64, "%s%u", prefix, n);
        break;
    }
}

static void check_prefix(um_rng *r, const char *prefix)
{
    static char ids[MOST][64];
    um_ids table = {0};
    um_arena arena = {0};
    uint32_t n = 0;
    for (int round = 0; round < MOST; round++) {
        char id[64];
        uint32_t expected = 0, found = UINT32_MAX, again = UINT32_MAX, hashed = UINT32_MAX;
        bool added = false;
        if (round == 0)
            snprintf(id, sizeof id, "%s7", prefix);
        else
            make_id(id, r, prefix);
        char *exact = strdup(id); /* nothing after it is read */
        assert_non_null(exact);
        const size_t len = strlen(id);
        while (expected < n && strcmp(ids[expected], id) != 0)
            expected++;
        assert_int_equal(um_ids_find(&table, exact, &found), expected < n);
        assert_int_equal(um_ids_find_n(&table, exact, len, &again), expected < n);
        assert_int_equal(um_ids_find_hashed(&table, exact, len, um_map_hash(exact, len), &hashed),
                         expected < n);
        if (expected < n) {
            assert_int_equal(found, expected);
            assert_int_equal(again, expected);
            assert_int_equal(hashed, expected);
        }
        assert_ok(um_ids_intern(&table, &arena, exact, "user", &found, &added, &err), err);
        assert_int_equal(found, expected);
        assert_int_equal(added, expected == n);
        if (expected == n)
            strcpy(ids[n++], id);
        free(exact);
    }
    assert_true(n > 200);
    for (uint32_t i = 0; i < n; i++)
        assert_string_equal(table.names.data[i], ids[i]);
    um_ids_dispose(&table);
    um_arena_dispose(&arena);
}

static void every_prefix(void **state)
{
    (void)state;
    static const char letters[] = "user-abcdefghijklmnopq";
    um_rng r;
    um_rng_init(&r, 8, UM_RNG_TEST, 21, 0, 0);
    for (size_t n = 0; n <= UM_IDS_PREFIX_MAX + 3; n++) {
        char prefix[32];
        snprintf(prefix, sizeof prefix, "%.*s", (int)n, letters);
        check_prefix(&r, prefix);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_prefix)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
