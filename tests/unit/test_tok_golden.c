/* Ids against Hugging Face tokenizers (tests/golden/gen_tokenizer.py) and published vectors. */
#include "tok_util.h"

static json_t *read_cases(void)
{
    char path[512];
    um_error err;
    json_t *cases = NULL;
    snprintf(path, sizeof path, "%s/tests/golden/tokenizer/cases.json", UM_SOURCE_DIR);
    assert_ok(um_json_read(&cases, path, (size_t)16 << 20, &err), err);
    return cases;
}

static void check_folder(const char *name, size_t need)
{
    json_t *all = read_cases();
    const json_t *rows = json_object_get(all, name), *row;
    um_tokenizer *tok = load_golden(name);
    size_t i, n;
    um_error err;
    assert_true(json_array_size(rows) >= need);
    json_array_foreach(rows, i, row)
    {
        const char *text = json_string_value(json_object_get(row, "text"));
        const json_t *added = json_object_get(row, "added");
        const char *decoded = json_string_value(json_object_get(row, "decoded"));
        int32_t *ids = json_ids(json_object_get(row, "plain"), &n);
        assert_encodes(tok, text, strlen(text), false, ids, n);
        char *back = NULL;
        assert_ok(um_tokenizer_decode(tok, ids, n, false, &back, NULL, &err), err);
        assert_string_equal(back, decoded != NULL ? decoded : text);
        free(back);
        if (added != NULL) {
            free(ids);
            ids = json_ids(added, &n);
        }
        assert_encodes(tok, text, strlen(text), true, ids, n);
        free(ids);
    }
    um_tokenizer_free(tok);
    json_decref(all);
}

static void test_bytelevel(void **state)
{
    (void)state;
    check_folder("bytelevel", 90);
}

static void test_split(void **state)
{
    (void)state;
    check_folder("split", 90);
}

static void test_spm(void **state)
{
    (void)state;
    check_folder("spm", 90);
    um_tokenizer *tok = load_golden("spm");
    assert_int_equal(um_tokenizer_bos(tok), 1);
    um_tokenizer_free(tok);
}

static void test_chat(void **state)
{
    (void)state;
    json_t *all = read_cases();
    const json_t *rows = json_object_get(all, "chat"), *row;
    um_tokenizer *tok = load_golden("bytelevel");
    size_t i, n;
    um_error err;
    assert_int_equal(um_chat_detect(tok), UM_CHAT_CHATML);
    assert_int_equal(json_array_size(rows), 4);
    json_array_foreach(rows, i, row)
    {
        um_message messages[8];
        const json_t *list = json_object_get(row, "messages");
        for (size_t k = 0; k < json_array_size(list); k++) {
            const json_t *m = json_array_get(list, k);
            messages[k].role = json_string_value(json_object_get(m, "role"));
            messages[k].content = json_string_value(json_object_get(m, "content"));
        }
        um_tokens got = {0};
        int32_t *ids = json_ids(json_object_get(row, "ids"), &n);
        assert_ok(um_chat_encode_prompt(tok, UM_CHAT_CHATML, messages, json_array_size(list), NULL,
                                        &got, &err),
                  err);
        assert_ids(&got, ids, n, messages[0].content);
        um_tokens_dispose(&got);
        free(ids);
    }
    um_tokenizer_free(tok);
    json_decref(all);
}

/* The trainer gives what the library's trainer gave on the same corpus. */
static void test_training(void **state)
{
    (void)state;
    static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    char path[512];
    um_error err;
    char *text = NULL;
    size_t len = 0;
    um_tokenizer_trainer *trainer = NULL;
    um_tokenizer *tok = NULL, *golden = load_golden("bytelevel");
    snprintf(path, sizeof path, "%s/tests/golden/tokenizer/corpus.txt", UM_SOURCE_DIR);
    assert_ok(um_file_read(&text, &len, path, (size_t)1 << 20, &err), err);
    assert_ok(um_tokenizer_trainer_new(&trainer, &err), err);
    assert_ok(um_tokenizer_trainer_add(trainer, text, len, &err), err);
    assert_ok(um_tokenizer_train(&tok, trainer, 400, special, 3, NULL, &err), err);
    assert_int_equal(um_tokenizer_size(tok), 400);
    for (int32_t id = 0; id < 400; id++)
        assert_string_equal(um_tokenizer_piece(tok, id, NULL),
                            um_tokenizer_piece(golden, id, NULL));
    assert_true(um_tokenizer_hash(tok) == um_tokenizer_hash(golden));
    um_tokenizer_trainer_free(trainer);
    um_tokenizer_free(tok);
    um_tokenizer_free(golden);
    free(text);
}

/* Texts apart by a line with the separator, ids one line a text. */
static void check_vectors(const char *tokenizer_file, const char *vectors, int size)
{
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char tokenizer[512], inputs[512], outputs[512], relative[128];
    um_error err;
    um_tokenizer *tok = NULL;
    char *in = NULL, *want = NULL;
    size_t len = 0, want_len = 0, n_cases = 0;
    if (shared_data(tokenizer_file, tokenizer, sizeof tokenizer) == NULL)
        skip();
    snprintf(relative, sizeof relative, "tokenizers/vectors/%s.inp", vectors);
    if (shared_data(relative, inputs, sizeof inputs) == NULL)
        skip();
    snprintf(outputs, sizeof outputs, "%.*s.out", (int)(strlen(inputs) - 4), inputs);
    *strrchr(tokenizer, '/') = '\0';
    assert_ok(um_tokenizer_load(&tok, tokenizer, &err), err);
    assert_int_equal(um_tokenizer_size(tok), size);
    assert_ok(um_file_read(&in, &len, inputs, (size_t)1 << 20, &err), err);
    assert_ok(um_file_read(&want, &want_len, outputs, (size_t)1 << 20, &err), err);
    char *line = want;
    for (char *text = in; text != NULL; n_cases++) {
        char *end = strstr(text, separator);
        size_t text_len = end != NULL ? (size_t)(end - text) : strlen(text);
        int32_t ids[512];
        size_t n = 0;
        char *next = strchr(line, '\n');
        for (char *stop; n < 512; line = stop) {
            long id = strtol(line, &stop, 10);
            if (stop == line || (next != NULL && stop > next))
                break;
            ids[n++] = (int32_t)id;
        }
        if (end != NULL || text_len > 0)
            assert_encodes(tok, text, text_len, false, ids, n);
        assert_round_trip(tok, text, text_len);
        line = next != NULL ? next + 1 : line + strlen(line);
        text = end != NULL ? end + strlen(separator) : NULL;
    }
    assert_true(n_cases >= 47);
    free(in);
    free(want);
    um_tokenizer_free(tok);
}

static void test_vectors_qwen(void **state)
{
    (void)state;
    check_vectors("tokenizers/qwen2.5/vocab.json", "qwen2", 151665);
}

static void test_vectors_llama3(void **state)
{
    (void)state;
    check_vectors("tokenizers/llama3/tokenizer.model", "llama-bpe", 128256);
}

/* ids from the library, for a file it was not us who made. */
static void test_tinystories(void **state)
{
    (void)state;
    static const int32_t want[] = {80, 109, 113, 139, 80, 410, 555, 3};
    char path[512];
    um_error err;
    um_tokenizer *tok = NULL;
    if (shared_data("models/tinystories-656k/tokenizer.json", path, sizeof path) == NULL)
        skip();
    *strrchr(path, '/') = '\0';
    assert_ok(um_tokenizer_load(&tok, path, &err), err);
    assert_int_equal(um_tokenizer_bos(tok), 1);
    assert_int_equal(um_tokenizer_eos(tok), 2);
    assert_encodes(tok, "hello  world\n", 13, false, want, 8);
    assert_round_trip(tok, "Once upon a time, there was a dog.", 34);
    um_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytelevel),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_spm),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_training),
        cmocka_unit_test(test_vectors_qwen),
        cmocka_unit_test(test_vectors_llama3),
        cmocka_unit_test(test_tinystories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
