/* Encoding and decoding: merges worked by hand, any bytes, long words, added tokens, saving. */
#include "base/pool.h"
#include "base/rng.h"
#include "tok_util.h"

/* No split pattern, so that a whole text is one word. Ranks: bc, ab, a+bc, aa. */
static const char tiny[] =
    "{\"added_tokens\":[{\"id\":7,\"content\":\"<|end|>\",\"special\":true}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,"
    "\"c\":2,\"ab\":3,\"bc\":4,\"abc\":5,\"aa\":6},\"merges\":[\"b c\",\"a b\",[\"a\",\"bc\"],\"a "
    "a\"]}}";

static um_tokenizer *load_ok(const char *json)
{
    um_error err;
    um_tokenizer *tok = NULL;
    assert_ok(load_text(&tok, json, &err), err);
    return tok;
}

static void test_by_hand(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int32_t ids[4];
        size_t n;
    } cases[] = {
        {"abc", {5}, 1},         /* b c, then a bc */
        {"aba", {3, 0}, 2},      /* nothing merges ab a */
        {"aaa", {6, 0}, 2},      /* leftmost of equals */
        {"aab", {0, 3}, 2},      /* ab outranks aa */
        {"aabc", {0, 5}, 2},     /* bc, then a bc outranks aa */
        {"cbcb", {2, 4, 1}, 3},  /* bc once, in the middle */
        {"aaaab", {6, 0, 3}, 3}, /* ab, then aa, and one a is left */
        {"", {0}, 0},
    };
    um_tokenizer *tok = load_ok(tiny);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_encodes(tok, cases[i].text, strlen(cases[i].text), false, cases[i].ids, cases[i].n);
    um_tokenizer_free(tok);
}

static void test_no_token(void **state)
{
    (void)state;
    um_error err;
    um_tokens ids = {0};
    um_tokenizer *tok = load_ok(tiny);
    assert_ok(um_tokenizer_encode(tok, "ab", 2, false, &ids, &err), err);
    assert_int_equal(um_tokenizer_encode(tok, "ax", 2, false, &ids, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, " 78")); /* 'x' */
    assert_int_equal(ids.len, 1);             /* what was there stays, nothing half made is added */
    um_tokens_dispose(&ids);
    um_tokenizer_free(tok);
}

static void test_added_tokens(void **state)
{
    (void)state;
    um_tokenizer *tok = load_ok(tiny);
    static const int32_t parsed[] = {3, 7, 2};
    um_error err;
    um_tokens ids = {0};
    assert_encodes(tok, "ab<|end|>c", 10, true, parsed, 3);
    /* Unparsed, the marker is text, for which this vocabulary has no letters. */
    assert_int_equal(um_tokenizer_encode(tok, "ab<|end|>c", 10, false, &ids, &err), UM_ERR_INPUT);
    assert_int_equal(um_tokenizer_find(tok, "<|end|>"), 7);
    assert_int_equal(um_tokenizer_find(tok, "abc"), 5);
    assert_int_equal(um_tokenizer_find(tok, "cab"), -1);
    assert_true(um_tokenizer_is_special(tok, 7));
    assert_false(um_tokenizer_is_special(tok, 5));
    assert_false(um_tokenizer_is_special(tok, 8));
    assert_false(um_tokenizer_is_special(tok, -1));
    assert_null(um_tokenizer_piece(tok, 8, NULL));
    assert_null(um_tokenizer_piece(tok, -1, NULL));
    um_tokens_dispose(&ids);
    um_tokenizer_free(tok);
}

static void test_decode(void **state)
{
    (void)state;
    static const int32_t ids[] = {3, 7, 2, 99};
    um_error err;
    char *text = NULL;
    size_t len = 0;
    um_tokenizer *tok = load_ok(tiny);
    assert_ok(um_tokenizer_decode(tok, ids, 3, false, &text, &len, &err), err);
    assert_string_equal(text, "ab<|end|>c");
    free(text);
    assert_ok(um_tokenizer_decode(tok, ids, 3, true, &text, &len, &err), err);
    assert_string_equal(text, "abc");
    assert_int_equal(len, 3);
    free(text);
    text = NULL;
    assert_int_equal(um_tokenizer_decode(tok, ids, 4, false, &text, &len, &err), UM_ERR_INPUT);
    assert_null(text);
    um_tokenizer_free(tok);
}

static void test_any_bytes(void **state)
{
    (void)state;
    static const char *const cases[] = {"\xff",
                                        "a\xc3",
                                        "\xe2\x82",
                                        "\xed\xa0\x80",
                                        "\xf4\x90\x80\x80",
                                        "\xc0\xaf",
                                        "ok \x80\x80\x80 ok",
                                        "\xf0\x9f\x98\x80\xf0\x9f",
                                        "\xe2\x82\xac\xe2\x82"};
    static const char *const names[] = {"bytelevel", "split"};
    for (size_t k = 0; k < 2; k++) {
        um_tokenizer *tok = load_golden(names[k]);
        um_rng rng;
        char bytes[256];
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            assert_round_trip(tok, cases[i], strlen(cases[i]));
        assert_round_trip(tok, "a\0b\0", 4);
        for (uint64_t i = 0; i < 2000; i++) {
            um_rng_init(&rng, 3, UM_RNG_TEST, i, 0, 0);
            size_t len = um_rng_below(&rng, sizeof bytes);
            /* "split" has NFC, which may change text: no lead bytes for it, so that nothing but
             * ASCII is UTF-8. */
            for (size_t j = 0; j < len; j++)
                bytes[j] = (char)um_rng_below(&rng, i % 2 == 0 ? 128 : k == 0 ? 256 : 192);
            assert_round_trip(tok, bytes, len);
        }
        um_tokenizer_free(tok);
    }
}

/* Bytes outside UTF-8 become byte tokens there too. */
static void test_spm_bytes(void **state)
{
    (void)state;
    um_tokenizer *tok = load_golden("spm");
    assert_round_trip(tok, "x\xff\xfe y\xc3", 7);
    assert_int_equal(um_tokenizer_find(tok, "\n"), 3 + '\n');
    um_tokenizer_free(tok);
}

static void encode_repeated(const um_tokenizer *tok, const char *unit, size_t count)
{
    size_t n = strlen(unit);
    char *text = malloc(n * count + 1);
    assert_non_null(text);
    for (size_t i = 0; i < count; i++)
        memcpy(text + i * n, unit, n);
    assert_round_trip(tok, text, n * count);
    free(text);
}

/* Characters without a token: one unk a run, or one a character. */
static void test_unk(void **state)
{
    (void)state;
    static const char head[] =
        "{\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Fuse\"}]},"
        "\"model\":{\"vocab\":{\"<unk>\":0,\"a\":1,\"b\":2,\"ab\":3},\"merges\":"
        "[\"a b\"],\"unk_token\":\"<unk>\",\"fuse_unk\":";
    static const int32_t fused[] = {3, 0, 1, 0}, apart[] = {3, 0, 0, 1, 0};
    char json[sizeof head + 16];
    snprintf(json, sizeof json, "%strue}}", head);
    um_tokenizer *tok = load_ok(json);
    assert_encodes(tok,
                   "abx\xc3\xa9"
                   "a\xff",
                   7, false, fused, 4);
    um_tokenizer_free(tok);
    snprintf(json, sizeof json, "%sfalse}}", head);
    tok = load_ok(json);
    assert_encodes(tok,
                   "abx\xc3\xa9"
                   "a\xff",
                   7, false, apart, 5);
    um_tokenizer_free(tok);
}

/* A word of a million letters must not cost its square. */
static void test_long_words(void **state)
{
    (void)state;
    static const char *const names[] = {"bytelevel", "split", "spm"};
    for (size_t k = 0; k < 3; k++) {
        um_tokenizer *tok = load_golden(names[k]);
        encode_repeated(tok, "a", 1000000);
        encode_repeated(tok, " ", 1000000);
        encode_repeated(tok, "\n", 300000);
        um_tokenizer_free(tok);
    }
}

/* NFC of one letter with a million marks of two classes, which would be sorted in
 * quadratic time if taken whole. */
static void test_mark_run(void **state)
{
    (void)state;
    enum { MARKS = 1000000 };
    um_error err;
    um_tokens ids = {0};
    um_tokenizer *tok = load_golden("split");
    char *text = malloc(2 * MARKS + 1);
    assert_non_null(text);
    text[0] = 'a';
    for (size_t i = 0; i < MARKS; i++)
        memcpy(text + 1 + 2 * i, i % 2 == 0 ? "\xcc\x81" : "\xcc\x96", 2);
    assert_ok(um_tokenizer_encode(tok, text, 2 * MARKS + 1, false, &ids, &err), err);
    assert_true(ids.len > 0);
    free(text);
    um_tokens_dispose(&ids);
    um_tokenizer_free(tok);
}

/* A pattern with nested repetition on a text it nearly matches. */
static void test_pattern_blow_up(void **state)
{
    (void)state;
    static const char json[] =
        "{\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
        "\"pattern\":"
        "{\"Regex\":\"(a+)+(b|c)\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\","
        "\"add_prefix_space\":false,\"use_regex\":false}]},\"decoder\":{\"type\":\"ByteLevel\"},"
        "\"model\":{\"vocab\":{\"a\":0,\"b\":1,\"c\":2},\"merges\":[]}}";
    um_error err;
    um_tokens ids = {0};
    um_tokenizer *tok = load_ok(json);
    static const int32_t fine[] = {0, 0, 1, 2};
    assert_encodes(tok, "aabc", 4, false, fine, 4);
    assert_int_equal(
        um_tokenizer_encode(tok, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 36, false, &ids, &err),
        UM_ERR_LIMIT);
    assert_non_null(strstr(err.text, "(a+)+"));
    um_tokens_dispose(&ids);
    um_tokenizer_free(tok);
}

typedef struct shared_use {
    const um_tokenizer *tok;
    um_tokens ids[64];
} shared_use;

static void encode_range(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    shared_use *use = context;
    um_error err;
    for (size_t i = begin; i < end; i++) {
        char text[128];
        snprintf(text, sizeof text,
                 "User %zu watched the caf\xc3\xa9 movie   %zu times, don't ask.", i % 8, i % 8);
        if (um_tokenizer_encode(use->tok, text, strlen(text), true, &use->ids[i], &err) != UM_OK)
            use->ids[i].len = 0;
    }
}

/* One tokenizer, several threads. */
static void test_threads(void **state)
{
    (void)state;
    static const char *const names[] = {"split", "spm"};
    um_error err;
    um_pool *pool = NULL;
    assert_ok(um_pool_new(&pool, 4, &err), err);
    for (size_t k = 0; k < 2; k++) {
        um_tokenizer *tok = load_golden(names[k]);
        shared_use use = {.tok = tok};
        um_pool_run(pool, 64, 1, encode_range, &use);
        for (size_t i = 0; i < 64; i++) {
            assert_true(use.ids[i].len > 0);
            assert_ids(&use.ids[i], use.ids[i % 8].ids, use.ids[i % 8].len, names[k]);
        }
        for (size_t i = 0; i < 64; i++)
            um_tokens_dispose(&use.ids[i]);
        um_tokenizer_free(tok);
    }
    um_pool_free(pool);
}

static char *read_text(const char *dir, const char *name)
{
    char path[512];
    um_error err;
    char *text = NULL;
    size_t len = 0;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(um_file_read(&text, &len, path, (size_t)1 << 24, &err), err);
    return text;
}

/* What was saved loads as the same tokenizer, and saves as the same bytes. */
static void test_save(void **state)
{
    (void)state;
    static const char *const names[] = {"bytelevel", "split", "spm"};
    static const char *const files[] = {"tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json"};
    for (size_t k = 0; k < 3; k++) {
        char first[256], second[256];
        um_error err;
        um_tokenizer *tok = load_golden(names[k]), *again = NULL;
        assert_non_null(make_dir(first, sizeof first));
        assert_non_null(make_dir(second, sizeof second));
        assert_ok(um_tokenizer_save(tok, first, &err), err);
        assert_ok(um_tokenizer_load(&again, first, &err), err);
        assert_true(um_tokenizer_hash(again) == um_tokenizer_hash(tok));
        assert_int_equal(um_tokenizer_size(again), um_tokenizer_size(tok));
        assert_int_equal(um_tokenizer_bos(again), um_tokenizer_bos(tok));
        assert_int_equal(um_tokenizer_eos(again), um_tokenizer_eos(tok));
        assert_ok(um_tokenizer_save(again, second, &err), err);
        for (size_t i = 0; i < 3; i++) {
            char *a = read_text(first, files[i]), *b = read_text(second, files[i]);
            assert_string_equal(a, b);
            free(a);
            free(b);
        }
        um_tokenizer_free(tok);
        um_tokenizer_free(again);
        remove_dir(first);
        remove_dir(second);
    }
}

/* The hash follows whatever changes ids, and nothing else. */
static void test_hash(void **state)
{
    (void)state;
    char changed[sizeof tiny + 64];
    um_tokenizer *a = load_ok(tiny);
    snprintf(changed, sizeof changed, "{\"version\":\"1.0\",\"normalizer\":null,%s", tiny + 1);
    um_tokenizer *b = load_ok(changed);
    assert_true(um_tokenizer_hash(a) == um_tokenizer_hash(b));
    um_tokenizer_free(b);
    snprintf(changed, sizeof changed, "{\"normalizer\":{\"type\":\"NFC\"},%s", tiny + 1);
    b = load_ok(changed);
    assert_true(um_tokenizer_hash(a) != um_tokenizer_hash(b));
    um_tokenizer_free(b);
    memcpy(changed, tiny, sizeof tiny);
    memcpy(strstr(changed, "\"b c\",\"a b\""), "\"a b\",\"b c\"", 11);
    b = load_ok(changed);
    assert_true(um_tokenizer_hash(a) != um_tokenizer_hash(b));
    um_tokenizer_free(b);
    um_tokenizer_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),      cmocka_unit_test(test_no_token),
        cmocka_unit_test(test_added_tokens), cmocka_unit_test(test_decode),
        cmocka_unit_test(test_any_bytes),    cmocka_unit_test(test_spm_bytes),
        cmocka_unit_test(test_long_words),   cmocka_unit_test(test_mark_run),
        cmocka_unit_test(test_save),         cmocka_unit_test(test_pattern_blow_up),
        cmocka_unit_test(test_hash),         cmocka_unit_test(test_unk),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
