/* Training of byte-level BPE: the result by hand, ties, order, limits, interruption. */
#include "tok_util.h"

static um_tokenizer *train(const char *const *texts, size_t n, int vocab,
                           const char *const *special, size_t n_special)
{
    um_error err;
    um_tokenizer_trainer *trainer = NULL;
    um_tokenizer *tok = NULL;
    assert_ok(um_tokenizer_trainer_new(&trainer, &err), err);
    for (size_t i = 0; i < n; i++)
        assert_ok(um_tokenizer_trainer_add(trainer, texts[i], strlen(texts[i]), &err), err);
    assert_ok(um_tokenizer_train(&tok, trainer, vocab, special, n_special, NULL, &err), err);
    um_tokenizer_trainer_free(trainer);
    return tok;
}

/*
 * Words: low x3, " low" x2, " lower" x2, " we" x1. Pairs: l o 7, o w 7, " l" 4, w e 3, e r 2, "
 * w" 1. o w and l o tie at 7: in the alphabet l < o, so "lo" comes first and takes o from "ow";
 * then lo w 7; then " low" 4; then w e is gone but for " we" (1), low e 2 does not exist as
 * symbols: " low" e 2 and e r 2 tie, and e (an early id) is smaller than " low" (a late one): "er".
 */
static void test_by_hand(void **state)
{
    (void)state;
    static const char *const texts[] = {"low\n", "low\n", "low low low lower lower we"};
    static const char *const want[] = {"lo", "low", " low", "er", " lower"};
    um_tokenizer *tok = train(texts, 3, 300, NULL, 0);
    assert_int_equal(um_tokenizer_size(tok), 256 + 5);
    assert_string_equal(um_tokenizer_piece(tok, 0, NULL), "!");
    for (int32_t i = 0; i < 5; i++)
        assert_string_equal(um_tokenizer_piece(tok, 256 + i, NULL), want[i]);
    um_tokenizer_free(tok);
}

/* "aaa": merging overlapping pairs must leave true counts behind. */
static void test_overlap(void **state)
{
    (void)state;
    static const char *const texts[] = {"aaaaa", " aaaa"};
    static const char *const want[] = {"aa", "aaaa"};
    um_tokenizer *tok = train(texts, 2, 300, NULL, 0);
    assert_int_equal(um_tokenizer_size(tok), 256 + 2);
    for (int32_t i = 0; i < 2; i++)
        assert_string_equal(um_tokenizer_piece(tok, 256 + i, NULL), want[i]);
    um_tokenizer_free(tok);
}

static void test_order_of_text(void **state)
{
    (void)state;
    static const char *const forward[] = {"the cat sat on the mat ", "a dog and the cat ",
                                          "that hat "};
    static const char *const backward[] = {"that hat ", "a dog and the cat ",
                                           "the cat sat on the mat "};
    um_tokenizer *a = train(forward, 3, 280, NULL, 0), *b = train(backward, 3, 280, NULL, 0);
    assert_true(um_tokenizer_size(a) > 260);
    assert_true(um_tokenizer_hash(a) == um_tokenizer_hash(b));
    um_tokenizer_free(a);
    um_tokenizer_free(b);
}

/* No merge may spell a special token, or text could become one. */
static void test_special(void **state)
{
    (void)state;
    static const char *const special[] = {"<|end|>", "abab"};
    static const char *const texts[] = {"abab abab ababab abab"};
    um_error err;
    um_tokens ids = {0};
    um_tokenizer *tok = train(texts, 1, 300, special, 2);
    assert_int_equal(um_tokenizer_find(tok, "<|end|>"), 0);
    assert_int_equal(um_tokenizer_find(tok, "abab"), 1);
    assert_true(um_tokenizer_is_special(tok, 1));
    assert_ok(um_tokenizer_encode(tok, "abab abab<|end|>", 16, false, &ids, &err), err);
    for (size_t i = 0; i < ids.len; i++)
        assert_false(um_tokenizer_is_special(tok, ids.ids[i]));
    ids.len = 0;
    assert_ok(um_tokenizer_encode(tok, "abab<|end|>", 11, true, &ids, &err), err);
    assert_int_equal(ids.len, 2);
    um_tokens_dispose(&ids);
    um_tokenizer_free(tok);
}

static void test_no_text(void **state)
{
    (void)state;
    um_tokenizer *tok = train(NULL, 0, 256, NULL, 0);
    assert_int_equal(um_tokenizer_size(tok), 256);
    assert_round_trip(tok, "any \xff text", 10);
    um_tokenizer_free(tok);
}

static void test_arguments(void **state)
{
    (void)state;
    static const char *const twice[] = {"<a>", "<a>"};
    static const char *const empty[] = {""};
    static const char *const byte[] = {"x"};
    static const char *const broken[] = {"\xff<"};
    const struct {
        const char *const *special;
        size_t n;
        int vocab;
    } bad[] = {{NULL, 0, 255}, {twice, 2, 257},  {twice, 2, 400}, {empty, 1, 400},
               {byte, 1, 400}, {broken, 1, 400}, {NULL, 0, -5},   {NULL, 0, 1 << 30}};
    um_error err;
    um_tokenizer_trainer *trainer = NULL;
    um_tokenizer *tok = NULL;
    assert_ok(um_tokenizer_trainer_new(&trainer, &err), err);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(
            um_tokenizer_train(&tok, trainer, bad[i].vocab, bad[i].special, bad[i].n, NULL, &err),
            UM_ERR_INPUT);
        assert_null(tok);
    }
    um_tokenizer_trainer_free(trainer);
}

/* A trainer may be used again, with more text or another size. */
static void test_trained_twice(void **state)
{
    (void)state;
    static const char text[] = "round and round the ragged rock the ragged rascal ran";
    um_error err;
    um_tokenizer_trainer *trainer = NULL;
    um_tokenizer *a = NULL, *b = NULL;
    assert_ok(um_tokenizer_trainer_new(&trainer, &err), err);
    assert_ok(um_tokenizer_trainer_add(trainer, text, strlen(text), &err), err);
    assert_ok(um_tokenizer_train(&a, trainer, 290, NULL, 0, NULL, &err), err);
    assert_ok(um_tokenizer_train(&b, trainer, 290, NULL, 0, NULL, &err), err);
    assert_true(um_tokenizer_size(a) > 257);
    assert_true(um_tokenizer_hash(a) == um_tokenizer_hash(b));
    um_tokenizer_free(a);
    um_tokenizer_free(b);
    um_tokenizer_trainer_free(trainer);
}

static void test_stopped(void **state)
{
    (void)state;
    volatile sig_atomic_t stop = 1;
    const um_monitor monitor = {.stop = &stop};
    char path[512];
    um_error err;
    char *text = NULL;
    size_t len = 0;
    um_tokenizer_trainer *trainer = NULL;
    um_tokenizer *tok = NULL;
    snprintf(path, sizeof path, "%s/tests/golden/tokenizer/corpus.txt", UM_SOURCE_DIR);
    assert_ok(um_file_read(&text, &len, path, (size_t)1 << 20, &err), err);
    assert_ok(um_tokenizer_trainer_new(&trainer, &err), err);
    assert_ok(um_tokenizer_trainer_add(trainer, text, len, &err), err);
    assert_int_equal(um_tokenizer_train(&tok, trainer, 400, NULL, 0, &monitor, &err),
                     UM_ERR_INTERRUPTED);
    assert_null(tok);
    um_tokenizer_trainer_free(trainer);
    free(text);
}

/* A word far longer than any real one, in which nearly every merge happens. */
static void test_long_word(void **state)
{
    (void)state;
    enum { LEN = 200000 };
    char *text = malloc(LEN);
    um_error err;
    um_tokenizer_trainer *trainer = NULL;
    um_tokenizer *tok = NULL;
    assert_non_null(text);
    uint32_t x = 1;
    for (size_t i = 0; i < LEN; i++) {
        x = x * 1664525u + 1013904223u;
        text[i] = (char)('a' + (x >> 24) % 26);
    }
    assert_ok(um_tokenizer_trainer_new(&trainer, &err), err);
    assert_ok(um_tokenizer_trainer_add(trainer, text, LEN, &err), err);
    assert_ok(um_tokenizer_train(&tok, trainer, 600, NULL, 0, NULL, &err), err);
    assert_int_equal(um_tokenizer_size(tok), 600);
    assert_round_trip(tok, text, LEN);
    um_tokenizer_free(tok);
    um_tokenizer_trainer_free(trainer);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),       cmocka_unit_test(test_overlap),
        cmocka_unit_test(test_order_of_text), cmocka_unit_test(test_special),
        cmocka_unit_test(test_no_text),       cmocka_unit_test(test_arguments),
        cmocka_unit_test(test_trained_twice), cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_long_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
