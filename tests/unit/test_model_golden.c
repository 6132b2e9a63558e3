/*
 * Logits against transformers (tests/golden/gen_model.py), and the greedy continuation that a
 * published model is known for.
 */
#include "test_util.h"

#include <math.h>

#include "base/mem.h"
#include "model/params.h"
#include "model/safetensors.h"
#include "tok_util.h"

static float *golden_tensor(const char *folder, const char *name, size_t *n)
{
    char path[512];
    um_safetensors file;
    um_error err;
    snprintf(path, sizeof path, "%s/expected.safetensors", folder);
    assert_ok(um_safetensors_open(&file, path, &err), err);
    const um_safetensor *tensor = um_safetensors_find(&file, name);
    assert_non_null(tensor);
    *n = (size_t)(tensor->end - tensor->begin) / sizeof(float);
    float *out = um_calloc(*n, sizeof *out);
    assert_ok(um_safetensors_floats(&file, tensor, out, &err), err);
    um_safetensors_close(&file);
    return out;
}

static void check_case(const char *name, const char *backend, double tolerance)
{
    char folder[400];
    um_error err;
    um_model *model;
    um_compute *compute;
    size_t n, n_logits;
    snprintf(folder, sizeof folder, "%s/tests/golden/model/%s", UM_SOURCE_DIR, name);
    assert_ok(um_model_load(&model, folder, &err), err);
    assert_ok(um_compute_open(&compute, backend, 2, &err), err);
    float *ids_f = golden_tensor(folder, "ids", &n);
    float *expected = golden_tensor(folder, "logits", &n_logits);
    size_t vocab = (size_t)um_model_get_config(model)->vocab;
    assert_int_equal(n_logits, n * vocab);
    int32_t *ids = um_calloc(n, sizeof *ids);
    float *logits = um_calloc(n_logits, sizeof *logits);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)ids_f[i];
    assert_ok(um_model_logits(model, compute, ids, n, logits, &err), err);
    double worst = 0.0, largest = 0.0;
    for (size_t i = 0; i < n_logits; i++) {
        worst = fmax(worst, fabs((double)logits[i] - (double)expected[i]));
        largest = fmax(largest, fabs((double)expected[i]));
    }
    printf("[ %s ] %s: largest difference %.2g of %.2g\n", name, um_compute_name(compute), worst,
           largest);
    assert_true(worst <= tolerance);
    free(ids);
    free(logits);
    free(ids_f);
    free(expected);
    um_compute_close(compute);
    um_model_free(model);
}

static void test_logits(void **state)
{
    (void)state;
    const char *const cases[] = {"llama-tied", "llama3-shards", "llama-linear", "qwen2"};
    for (const char *const *backend = um_backend_names(); *backend != NULL; backend++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            check_case(cases[i], *backend, 1e-5);
    }
}

/* A tokenizer whose text '0' + i is token i. */
static um_tokenizer *letter_tokenizer(size_t vocab)
{
    um_str json = UM_STR_INIT;
    um_tokenizer *tok = NULL;
    um_error err;
    um_str_append(&json, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                         "\"use_regex\":false},\"decoder\":{\"type\":\"ByteLevel\"},"
                         "\"model\":{\"type\":\"BPE\",\"merges\":[],\"vocab\":{");
    for (size_t i = 0; i < vocab; i++) {
        char text[2] = {(char)('0' + i), '\0'};
        um_str_append(&json, i > 0 ? "," : "");
        um_str_append_json(&json, text);
        um_str_appendf(&json, ":%zu", i);
    }
    um_str_append(&json, "}}}");
    assert_ok(load_text(&tok, um_str_text(&json), &err), err);
    um_str_dispose(&json);
    return tok;
}

/* Pooled states against transformers; alone, cut, and among others that fill several passes. */
static void check_embedding(const char *name, um_pooling pooling, const char *tensor)
{
    enum { COPIES = 60 };
    char folder[400], text[65] = {0}, cut[65];
    const char *texts[COPIES + 2];
    um_error err;
    um_model *model;
    um_compute *compute;
    size_t n, c;
    snprintf(folder, sizeof folder, "%s/tests/golden/model/%s", UM_SOURCE_DIR, name);
    assert_ok(um_model_load(&model, folder, &err), err);
    assert_ok(um_compute_open(&compute, NULL, 2, &err), err);
    um_tokenizer *tok = letter_tokenizer((size_t)um_model_get_config(model)->vocab);
    float *ids = golden_tensor(folder, "ids", &n);
    float *expected = golden_tensor(folder, tensor, &c);
    assert_true(n < sizeof text);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('0' + (int)ids[i]);
    snprintf(cut, sizeof cut, "%.20s", text);
    for (size_t i = 0; i < COPIES; i++)
        texts[i] = i % 3 == 1 ? cut : text;
    texts[COPIES] = "";
    texts[COPIES + 1] = text;
    float *out = um_calloc((COPIES + 2) * c, sizeof *out), *alone = um_calloc(c, sizeof *alone);
    assert_ok(um_model_embed(model, tok, compute, texts, COPIES + 2, pooling, 0, out, NULL, &err),
              err);
    assert_ok(um_model_embed(model, tok, compute, texts, 1, pooling, 20, alone, NULL, &err), err);
    for (size_t j = 0; j < c; j++) {
        assert_true(fabs((double)out[j] - (double)expected[j]) < 1e-5);
        assert_true(out[COPIES * c + j] == 0.0f);
    }
    for (size_t i = 0; i < COPIES; i++)
        assert_memory_equal(out + i * c, i % 3 == 1 ? alone : out, c * sizeof *out);
    assert_memory_equal(out + (COPIES + 1) * c, out, c * sizeof *out);
    free(out);
    free(alone);
    free(ids);
    free(expected);
    um_tokenizer_free(tok);
    um_compute_close(compute);
    um_model_free(model);
}

static void test_embeddings(void **state)
{
    (void)state;
    const char *const cases[] = {"llama-tied", "llama3-shards", "llama-linear", "qwen2"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_embedding(cases[i], UM_POOL_MEAN, "mean");
        check_embedding(cases[i], UM_POOL_LAST, "last");
    }
}

static int32_t argmax(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        best = logits[i] > logits[best] ? i : best;
    return (int32_t)best;
}

/* The greedy continuation of "Once upon a time" that comes with the model. */
static void test_tinystories(void **state)
{
    (void)state;
    const char *known =
        "Once upon a time, a little girl named Lily lived in a small house with her "
        "mom, dad, and her dog, Spot";
    char path[512], folder[512], *text = NULL;
    um_error err;
    um_model *model;
    um_tokenizer *tok;
    um_compute *compute;
    um_tokens ids = {0};
    int32_t sequence[64] = {1}; /* <|start_story|> */
    size_t n, len;
    if (shared_data("models/tinystories-656k/model.safetensors", path, sizeof path) == NULL)
        skip();
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    assert_ok(um_model_load(&model, folder, &err), err);
    assert_ok(um_tokenizer_load(&tok, folder, &err), err);
    assert_ok(um_compute_open(&compute, NULL, 1, &err), err);
    assert_int_equal(um_model_parameters(model), 656000);
    size_t vocab = (size_t)um_model_get_config(model)->vocab;
    float *logits = um_calloc(64 * vocab, sizeof *logits);
    assert_ok(um_tokenizer_encode(tok, "Once upon a time", 16, false, &ids, &err), err);
    assert_true(ids.len < 16);
    memcpy(sequence + 1, ids.ids, ids.len * sizeof *ids.ids);
    n = ids.len + 1;
    while (n < 50) {
        assert_ok(um_model_logits(model, compute, sequence, n, logits, &err), err);
        sequence[n] = argmax(logits + (n - 1) * vocab, vocab);
        n++;
    }
    assert_ok(um_tokenizer_decode(tok, sequence, n, true, &text, &len, &err), err);
    const char *start = text;
    while (*start == ' ')
        start++;
    if (strncmp(start, known, strlen(known)) != 0)
        fail_msg("continuation is \"%s\"", start);
    um_tokens_dispose(&ids);
    free(text);
    free(logits);
    um_compute_close(compute);
    um_tokenizer_free(tok);
    um_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_tinystories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
