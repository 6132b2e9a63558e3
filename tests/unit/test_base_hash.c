/* test_base_hash.c - XXH3-64 against published values, and the string map. */
#include "base/hash.h"
#include "test_util.h"

static void test_hash(void **state)
{
    (void)state;
    /* Published XXH3-64 digests: a change of hash would orphan every stored fingerprint. */
    assert_true(um_hash("", 0, 0) == 0x2d06800538d394c2u);
    assert_true(um_hash(NULL, 0, 0) == 0x2d06800538d394c2u);
    assert_true(um_hash_str("a", 0) == 0xe6c632b61e964e1fu);
    assert_true(um_hash_str("abc", 0) == 0x78af5f94892f3950u);
    assert_true(um_hash("abc", 3, 0) != um_hash("abc", 3, 1));
    char hex[17];
    um_hash_hex(0x2d06800538d394c2u, hex);
    assert_string_equal(hex, "2d06800538d394c2");
    um_hash_hex(10, hex);
    assert_string_equal(hex, "000000000000000a");
}

static void test_map(void **state)
{
    (void)state;
    enum { N = 20000 };
    um_map m = {0};
    uint32_t value = 77;
    assert_false(um_map_get(&m, "absent", &value));
    assert_int_equal(value, 77);
    char(*keys)[16] = calloc(N, sizeof *keys);
    for (uint32_t i = 0; i < N; i++) {
        bool inserted = false;
        snprintf(keys[i], sizeof keys[i], "key-%u", i * 7);
        assert_true(um_map_put(&m, keys[i], i, &inserted));
        assert_true(inserted);
    }
    assert_int_equal(m.len, N);
    for (uint32_t i = 0; i < N; i++) {
        char copy[16];
        memcpy(copy, keys[i], sizeof copy); /* found by text, not by address */
        assert_true(um_map_get(&m, copy, &value));
        assert_int_equal(value, i);
    }
    bool inserted = true;
    assert_true(um_map_put(&m, "key-7", 999, &inserted));
    assert_false(inserted);
    assert_true(um_map_get(&m, "key-7", &value));
    assert_int_equal(value, 1);
    assert_true(um_map_put(&m, "", 5, NULL));
    assert_true(um_map_get(&m, "", NULL));
    assert_false(um_map_get(&m, "key-1", &value));
    um_map_dispose(&m);
    um_map_dispose(&m);
    free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hash), cmocka_unit_test(test_map)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
