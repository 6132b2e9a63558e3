/* test_base_mem.c - allocation, arenas, vectors. */
#include "base/mem.h"
#include "test_util.h"

static void test_allocate(void **state)
{
    (void)state;
    assert_null(um_calloc(SIZE_MAX / 2, 4));
    assert_null(um_reallocarray(NULL, SIZE_MAX / 2, 4));
    assert_null(um_aligned_calloc(SIZE_MAX / 2, 4));
    assert_null(um_aligned_calloc(SIZE_MAX - 8, 1));
    size_t product;
    assert_true(um_mul_overflows(SIZE_MAX, 2, &product));
    assert_false(um_mul_overflows(6, 7, &product));
    assert_int_equal(product, 42);
    void *empty = um_calloc(0, 16);
    assert_non_null(empty);
    free(empty);
    unsigned char *block = um_aligned_calloc(33, 3);
    assert_int_equal((uintptr_t)block % 64, 0);
    for (int i = 0; i < 99; i++)
        assert_int_equal(block[i], 0);
    free(block);
    /* Large ones lie where whole huge pages can be had, and are zero to the last byte. */
    const size_t large = ((size_t)5 << 20) + 13;
    block = um_aligned_calloc(large, 1);
    assert_int_equal((uintptr_t)block % ((size_t)2 << 20), 0);
    for (size_t i = 0; i < large; i++)
        assert_int_equal(block[i], 0);
    free(block);
    /* Memory that was used before, too. */
    for (size_t bytes = 100; bytes < ((size_t)9 << 20); bytes *= 3) {
        block = malloc(bytes);
        memset(block, 0xff, bytes);
        free(block);
        block = um_aligned_calloc(bytes, 1);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(block[i], 0);
        free(block);
    }
    int *numbers = um_reallocarray(NULL, 2, sizeof(int));
    numbers[0] = 5;
    numbers = um_reallocarray(numbers, 1000, sizeof(int));
    assert_int_equal(numbers[0], 5);
    free(numbers);
}

static void test_arena(void **state)
{
    (void)state;
    um_arena a = {0};
    um_arena_reset(&a); /* fine on an empty one */
    unsigned char *parts[3000];
    for (size_t i = 0; i < 3000; i++) {
        size_t bytes = i % 100 == 7 ? 100000 : i % 97;
        parts[i] = um_arena_alloc(&a, bytes);
        assert_int_equal((uintptr_t)parts[i] % 16, 0);
        for (size_t k = 0; k < bytes; k++)
            assert_int_equal(parts[i][k], 0);
        memset(parts[i], (int)(i & 255), bytes);
    }
    for (size_t i = 0; i < 3000; i++) {
        size_t bytes = i % 100 == 7 ? 100000 : i % 97;
        for (size_t k = 0; k < bytes; k++)
            assert_int_equal(parts[i][k], i & 255);
    }
    assert_true(a.used_bytes >= 30 * 100000);
    assert_null(um_arena_alloc(&a, SIZE_MAX));
    um_arena_reset(&a);
    assert_int_equal(a.used_bytes, 0);
    assert_string_equal(um_arena_strdup(&a, "hello"), "hello");
    assert_string_equal(um_arena_strndup(&a, "hello", 2), "he");
    um_arena_dispose(&a);
    um_arena_dispose(&a);
}

static void test_arenas_join(void **state)
{
    (void)state;
    um_arena a = {0}, b = {0}, none = {0};
    um_arena_join(&a, &none);
    assert_null(a.head);
    char *text[400];
    for (int i = 0; i < 400; i++) {
        text[i] = um_arena_alloc(i % 2 ? &a : &b, 1000);
        memset(text[i], 'a' + i % 26, 999);
    }
    um_arena_join(&a, &b);
    um_arena_join(&a, &b);
    assert_null(b.head);
    assert_int_equal(b.used_bytes, 0);
    assert_true(a.used_bytes >= 400 * 1000);
    assert_string_equal(um_arena_strdup(&b, "anew"), "anew");
    assert_string_equal(um_arena_strdup(&a, "more"), "more");
    for (int i = 0; i < 400; i++)
        assert_true(text[i][0] == 'a' + i % 26 && strlen(text[i]) == 999);
    um_arena_dispose(&a);
    um_arena_dispose(&b);
}

static void test_vec(void **state)
{
    (void)state;
    UM_VEC(uint64_t) v = {0};
    for (uint64_t i = 0; i < 10000; i++)
        assert_true(um_vec_push(&v, i * i));
    assert_int_equal(v.len, 10000);
    for (uint64_t i = 0; i < 10000; i++)
        assert_int_equal(v.data[i], i * i);
    size_t cap = v.cap;
    assert_true(um_vec_reserve(&v, 5));
    assert_int_equal(v.cap, cap);
    assert_false(um_vec_reserve(&v, SIZE_MAX / 4));
    assert_false(um_vec_reserve(&v, SIZE_MAX));
    assert_int_equal(v.data[99], 99 * 99); /* a failed growth leaves the old block */
    um_vec_dispose(&v);
    assert_null(v.data);
}

/* Arrays that move into huge pages on their way keep what is in them. */
static void test_large_vec(void **state)
{
    (void)state;
    enum { N = 3000000 };
    struct odd {
        uint32_t n;
        uint8_t rest[8];
    };
    UM_VEC(uint64_t) words = {0};
    UM_VEC(struct odd) odds = {0};
    for (uint32_t i = 0; i < N; i++) {
        const struct odd odd = {.n = i, .rest = {(uint8_t)i}};
        assert_true(um_vec_push(&words, i * UINT64_C(3)) && um_vec_push(&odds, odd));
    }
    for (uint32_t i = 0; i < N; i++)
        assert_true(words.data[i] == i * UINT64_C(3) && odds.data[i].n == i &&
                    odds.data[i].rest[0] == (uint8_t)i);
    assert_int_equal((uintptr_t)words.data % ((size_t)2 << 20), 0);
    assert_false(um_vec_reserve(&words, SIZE_MAX / 4));
    assert_false(um_vec_reserve(&odds, SIZE_MAX / 8));
    assert_int_equal(words.data[99], 99 * 3);
    um_vec_dispose(&words);
    um_vec_dispose(&odds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocate),    cmocka_unit_test(test_arena),
        cmocka_unit_test(test_arenas_join), cmocka_unit_test(test_vec),
        cmocka_unit_test(test_large_vec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
