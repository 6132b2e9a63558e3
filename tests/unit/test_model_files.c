/* safetensors and model folders: what is refused and why, stored types, round trips. */
#include "model_util.h"

#include <math.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/params.h"
#include "model/safetensors.h"

static char dir[256];

static int set_up(void **state)
{
    (void)state;
    return make_dir(dir, sizeof dir) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    remove_dir(dir);
    return 0;
}

static const char *in_dir(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_bytes(const char *name, const void *data, size_t len)
{
    um_error err;
    assert_ok(um_file_write(in_dir(name), data, len, &err), err);
}

/* A file of this header and data_len bytes of data, all 1. */
static void write_tensors(const char *name, const char *header, size_t header_len, size_t data_len)
{
    um_str s = UM_STR_INIT;
    uint64_t n = header_len;
    um_str_append_n(&s, &n, sizeof n);
    um_str_append_n(&s, header, header_len);
    for (size_t i = 0; i < data_len; i++)
        um_str_append_char(&s, 1);
    write_bytes(name, s.data, s.len);
    um_str_dispose(&s);
}

static void expect_bad(const char *name, const char *part)
{
    um_safetensors file;
    um_error err = {0};
    um_status status = um_safetensors_open(&file, in_dir(name), &err);
    if (status != UM_ERR_INPUT || strstr(err.text, part) == NULL)
        fail_msg("%s: '%s', expected '%s'", um_status_name(status), err.text, part);
    assert_non_null(strstr(err.text, name));
}

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end \
    "]}"

static void test_bad_headers(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *part;
    } rows[] = {
        {"", 0, "does not start with '{'"},
        {"[1]", 0, "does not start with '{'"},
        {" {}", 0, "does not start with '{'"},
        {"{\"a\xff\":1}", 0, "not UTF-8"},
        {"{\"a\":", 0, "line 1"},
        {"{} {}", 0, "line 1"},
        {"{" T("a", "F32", "1", "0", "4") "," T("a", "F32", "1", "4", "8") "}", 8, "duplicate"},
        {"{\"a\":1}", 0, "must be an object"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "found 2 members"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"more\":1}}", 4,
         "found 4 members"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"offsets\":[0,4]}}", 4, "must be an array"},
        {"{\"a\":{\"dtype\":32,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "no \"dtype\" text"},
        {"{" T("a", "F33", "1", "0", "4") "}", 4, "unknown dtype \"F33\""},
        {"{" T("a", "F32", "-1", "0", "4") "}", 4, "negative number -1"},
        {"{" T("a", "F32", "1", "-4", "4") "}", 4, "negative number -4"},
        {"{" T("a", "F32", "1.0", "0", "4") "}", 4, "must hold integers"},
        {"{" T("a", "F32", "1", "0.0", "4.0") "}", 4, "must hold integers"},
        {"{" T("a", "F32", "1", "0", "4e0") "}", 4, "must hold integers"},
        {"{" T("a", "F32", "1", "0", "99999999999999999999") "}", 4, "line 1"},
        {"{" T("a", "F32", "1,1,1,1,1,1,1,1,1", "0", "4") "}", 4, "limit 8"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4]}}", 4, "needs 2 numbers"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,2,4]}}", 4, "limit 2"},
        {"{" T("a", "F32", "1", "8", "4") "}", 8, "after its end"},
        {"{" T("a", "F32", "2", "0", "8") "}", 4, "cut off"},
        {"{" T("a", "F32", "2", "0", "4") "}", 4, "need 8 bytes"},
        {"{" T("a", "F16", "3", "0", "4") "}", 4, "need 6 bytes"},
        {"{" T("a", "F32", "4611686018427387905", "0", "4") "}", 4, "overflows"},
        {"{" T("a", "F32", "4294967296,4294967296", "0", "4") "}", 4, "overflows"},
        {"{" T("a", "F32", "2", "0", "8") "," T("b", "F32", "2", "4", "12") "}", 12, "overlaps"},
        {"{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "0", "4") "}", 4, "overlaps"},
        {"{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "8", "12") "}", 12,
         "belong to no tensor"},
        {"{" T("a", "F32", "1", "4", "8") "}", 8, "belong to no tensor"},
        {"{" T("a", "F32", "1", "0", "4") "}", 9, "5 bytes follow"},
        {"{}", 1, "1 bytes follow"},
        {"{\"__metadata__\":[]}", 0, "__metadata__"},
        {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        write_tensors("bad.safetensors", rows[i].header, strlen(rows[i].header), rows[i].data);
        expect_bad("bad.safetensors", rows[i].part);
    }
    write_tensors("bad.safetensors", "{}\0", 3, 0);
    expect_bad("bad.safetensors", "line 1");
}

static void test_bad_lengths(void **state)
{
    (void)state;
    const uint64_t huge = 100000001, beyond = 40, most = UINT64_MAX;
    char bytes[64] = {0};
    write_bytes("bad.safetensors", "", 0);
    expect_bad("bad.safetensors", "has 8 or more");
    write_bytes("bad.safetensors", "1234567", 7);
    expect_bad("bad.safetensors", "has 8 or more");
    memcpy(bytes, &huge, 8);
    write_bytes("bad.safetensors", bytes, 20);
    expect_bad("bad.safetensors", "limit 100000000");
    memcpy(bytes, &most, 8);
    write_bytes("bad.safetensors", bytes, 20);
    expect_bad("bad.safetensors", "limit 100000000");
    memcpy(bytes, &beyond, 8);
    write_bytes("bad.safetensors", bytes, 20);
    expect_bad("bad.safetensors", "in a file of 20");
    /* A deep header is refused before it is parsed. */
    um_str deep = UM_STR_INIT;
    um_str_append(&deep, "{\"a\":");
    for (int i = 0; i < 100000; i++)
        um_str_append_char(&deep, '[');
    write_tensors("bad.safetensors", deep.data, deep.len, 0);
    um_str_dispose(&deep);
    um_safetensors file;
    um_error err;
    assert_int_equal(um_safetensors_open(&file, in_dir("bad.safetensors"), &err), UM_ERR_LIMIT);
    assert_int_equal(um_safetensors_open(&file, in_dir("absent"), &err), UM_ERR_NOT_FOUND);
}

static void test_stored_types(void **state)
{
    (void)state;
    /* 1.5, -2, 2^-24 (least subnormal half), 65504 (greatest half), -0; then the two not finite. */
    const uint16_t halves[] = {0x3e00, 0xc000, 0x0001, 0x7bff, 0x8000, 0x7c00, 0x7e00};
    const uint16_t brains[] = {0x3fc0, 0xc000, 0x0080, 0x7f7f, 0x8000, 0xff80, 0x7fc1};
    const float half_values[] = {1.5f, -2.0f, 0x1p-24f, 65504.0f, -0.0f};
    const float brain_values[] = {1.5f, -2.0f, 0x1p-126f, 0x1.fep127f, -0.0f};
    const char *header =
        "{" T("b", "BF16", "5", "0", "10") "," T("bad_b", "BF16", "2", "10", "14") "," T(
            "bad_h", "F16", "2", "24", "28") "," T("h", "F16", "5", "14",
                                                   "24") "," T("i", "I32", "1", "28", "32") "}";
    um_str s = UM_STR_INIT;
    uint64_t n = strlen(header);
    um_safetensors file;
    um_error err;
    float out[5];
    um_str_append_n(&s, &n, sizeof n);
    um_str_append(&s, header);
    um_str_append_n(&s, brains, sizeof brains);
    um_str_append_n(&s, halves, sizeof halves);
    um_str_append_n(&s, "abcd", 4);
    write_bytes("types.safetensors", s.data, s.len);
    um_str_dispose(&s);
    assert_ok(um_safetensors_open(&file, in_dir("types.safetensors"), &err), err);
    assert_int_equal(file.n, 5);
    assert_null(um_safetensors_find(&file, "c"));
    assert_ok(um_safetensors_floats(&file, um_safetensors_find(&file, "h"), out, &err), err);
    assert_memory_equal(out, half_values, sizeof out);
    assert_ok(um_safetensors_floats(&file, um_safetensors_find(&file, "b"), out, &err), err);
    assert_memory_equal(out, brain_values, sizeof out);
    const char *const bad[] = {"bad_b", "bad_h"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            um_safetensors_floats(&file, um_safetensors_find(&file, bad[i]), out, &err),
            UM_ERR_NUMERIC);
        assert_non_null(strstr(err.text, bad[i]));
        assert_non_null(strstr(err.text, "element 0"));
    }
    assert_int_equal(um_safetensors_floats(&file, um_safetensors_find(&file, "i"), out, &err),
                     UM_ERR_UNSUPPORTED);
    um_safetensors_close(&file);
}

/* Model folders -------------------------------------------------------------------------------- */

static um_model_config tiny_config(bool tied)
{
    return (um_model_config){.arch = UM_ARCH_LLAMA,
                             .vocab = 11,
                             .hidden = 4,
                             .layers = 1,
                             .heads = 2,
                             .kv_heads = 1,
                             .head_dim = 2,
                             .ffn = 3,
                             .max_positions = 16,
                             .rms_eps = 1e-5f,
                             .rope_theta = 1e4,
                             .tied = tied,
                             .bos = -1,
                             .eos = -1};
}

/* The tensors of a model, to be changed and written again. */
typedef struct parts {
    um_tensor_ref *refs;
    um_safetensor_source sources[32];
    size_t n;
} parts;

static parts parts_of(const um_model *model)
{
    parts p = {0};
    um_error err;
    assert_ok(um_params_tensors(&p.refs, &p.n, &model->params, &model->config, &err), err);
    for (size_t i = 0; i < p.n; i++)
        p.sources[i] =
            (um_safetensor_source){p.refs[i].name, (uint64_t)p.refs[i].rows,
                                   (uint64_t)p.refs[i].cols, model->data + p.refs[i].offset};
    return p;
}

static void write_parts(const char *name, um_safetensor_source *sources, size_t n)
{
    um_error err;
    assert_ok(um_safetensors_write(in_dir(name), sources, n, &err), err);
}

static void expect_load(um_status expected, const char *part)
{
    um_model *model = NULL;
    um_error err = {0};
    um_status status = um_model_load(&model, dir, &err);
    if (status != expected || (part != NULL && strstr(err.text, part) == NULL))
        fail_msg("%s: '%s', expected '%s'", um_status_name(status), err.text,
                 part != NULL ? part : "");
    um_model_free(model);
}

static void test_missing_extra_wrong(void **state)
{
    (void)state;
    um_model_config config = tiny_config(true);
    um_error err;
    um_model *model = small_model(&config, 1);
    float many[64] = {0};
    expect_load(UM_ERR_NOT_FOUND, "config.json");
    assert_ok(um_model_save(model, NULL, dir, &err), err);
    expect_load(UM_OK, NULL);
    parts p = parts_of(model);

    write_parts("model.safetensors", p.sources + 1, p.n - 1);
    expect_load(UM_ERR_INPUT, "\"model.embed_tokens.weight\" is missing");
    write_parts("model.safetensors", p.sources, p.n - 1);
    expect_load(UM_ERR_INPUT, "is missing");
    free(p.refs);
    p = parts_of(model); /* the writer sorts */
    p.sources[p.n] = (um_safetensor_source){"model.layers.1.input_layernorm.weight", 4, 0, many};
    write_parts("model.safetensors", p.sources, p.n + 1);
    expect_load(UM_ERR_INPUT, "\"model.layers.1.input_layernorm.weight\" is not part");
    free(p.refs);
    p = parts_of(model);
    p.sources[p.n] =
        (um_safetensor_source){"model.layers.0.self_attn.rotary_emb.inv_freq", 1, 0, many};
    write_parts("model.safetensors", p.sources, p.n + 1);
    expect_load(UM_OK, NULL); /* a constant of old files */
    free(p.refs);
    p = parts_of(model);
    p.sources[1].rows = 2;
    p.sources[1].cols = 2;
    write_parts("model.safetensors", p.sources, p.n);
    expect_load(UM_ERR_INPUT, "has shape [2, 2], the configuration needs [4]");
    free(p.refs);

    model->data[5] = NAN;
    p = parts_of(model);
    write_parts("model.safetensors", p.sources, p.n);
    expect_load(UM_ERR_NUMERIC, "\"model.embed_tokens.weight\" element 5 is NaN");
    free(p.refs);
    assert_int_equal(unlink(in_dir("model.safetensors")), 0);
    expect_load(UM_ERR_NOT_FOUND, "neither");
    um_model_free(model);
}

/* A configuration far larger than its file is refused by the shapes, before memory is taken. */
static void test_large_claim(void **state)
{
    (void)state;
    um_model_config config = tiny_config(true);
    um_error err;
    um_model *model = small_model(&config, 1);
    assert_ok(um_model_save(model, NULL, dir, &err), err);
    um_model_free(model);
    const char *text =
        "{\"model_type\": \"llama\", \"vocab_size\": 4000000, \"hidden_size\": 65536, "
        "\"intermediate_size\": 1000000, \"num_hidden_layers\": 1000, "
        "\"num_attention_heads\": 1024, \"max_position_embeddings\": 64}";
    write_bytes("config.json", text, strlen(text));
    expect_load(UM_ERR_INPUT, "has shape");
}

static void test_tied_forms(void **state)
{
    (void)state;
    um_model_config config = tiny_config(true);
    um_error err;
    um_model *model = small_model(&config, 1), *back;
    size_t n = (size_t)config.vocab * (size_t)config.hidden;
    float *copy = um_calloc(n, sizeof *copy);
    memcpy(copy, model->data, n * sizeof *copy);
    assert_ok(um_model_save(model, NULL, dir, &err), err);
    /* Only as lm_head. */
    parts p = parts_of(model);
    p.sources[0].name = "lm_head.weight";
    write_parts("model.safetensors", p.sources, p.n);
    assert_ok(um_model_load(&back, dir, &err), err);
    assert_true(um_model_hash(back) == um_model_hash(model));
    um_model_free(back);
    free(p.refs);
    /* Both, equal and not. */
    p = parts_of(model);
    p.sources[p.n] = (um_safetensor_source){"lm_head.weight", 11, 4, copy};
    write_parts("model.safetensors", p.sources, p.n + 1);
    expect_load(UM_OK, NULL);
    copy[7] += 1.0f;
    write_parts("model.safetensors", p.sources, p.n + 1);
    expect_load(UM_ERR_INPUT, "differ");
    free(p.refs);
    /* An untied model needs its own. */
    config.tied = false;
    um_model *untied = small_model(&config, 1);
    assert_ok(um_model_save(untied, NULL, dir, &err), err);
    p = parts_of(untied);
    write_parts("model.safetensors", p.sources + 1, p.n - 1);
    expect_load(UM_ERR_INPUT, "missing");
    free(p.refs);
    um_model_free(untied);
    um_model_free(model);
    free(copy);
}

static void write_index(const char *map)
{
    char text[2000];
    snprintf(text, sizeof text, "{\"metadata\": {\"total_size\": 1}, \"weight_map\": %s}", map);
    write_bytes("model.safetensors.index.json", text, strlen(text));
}

static void test_bad_index(void **state)
{
    (void)state;
    um_model_config config = tiny_config(true);
    um_error err;
    um_model *model = small_model(&config, 1);
    assert_ok(um_model_save(model, NULL, dir, &err), err);
    parts p = parts_of(model);
    assert_int_equal(unlink(in_dir("model.safetensors")), 0);
    write_parts("a.safetensors", p.sources, 2);
    const char *const escapes[] = {
        "../a.safetensors", "/etc/a.safetensors", "x/../a.safetensors", "..", "a.bin", "",
        ".a.safetensors",   "x\\\\a.safetensors"};
    char map[600];
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        snprintf(map, sizeof map, "{\"%s\": \"%s\"}", p.sources[0].name, escapes[i]);
        write_index(map);
        expect_load(UM_ERR_INPUT, "no file name of the form");
    }
    write_index("{\"a\": 3}");
    expect_load(UM_ERR_INPUT, "weight_map");
    write_index("[]");
    expect_load(UM_ERR_INPUT, "weight_map");
    write_index("{\"not there\": \"a.safetensors\"}");
    expect_load(UM_ERR_INPUT, "\"not there\" is not in a.safetensors");
    snprintf(map, sizeof map, "{\"%s\": \"a.safetensors\"}", p.sources[0].name);
    write_index(map);
    expect_load(UM_ERR_INPUT, "is listed under no file");
    snprintf(map, sizeof map, "{\"%s\": \"b.safetensors\"}", p.sources[0].name);
    write_index(map);
    expect_load(UM_ERR_NOT_FOUND, "b.safetensors");
    free(p.refs);
    um_model_free(model);
}

static void assert_file_equal(const char *a, const char *b)
{
    char *x, *y, path[400];
    size_t x_len, y_len;
    um_error err;
    snprintf(path, sizeof path, "%s", in_dir(a));
    assert_ok(um_file_read(&x, &x_len, path, 1 << 24, &err), err);
    assert_ok(um_file_read(&y, &y_len, in_dir(b), 1 << 24, &err), err);
    assert_int_equal(x_len, y_len);
    assert_memory_equal(x, y, x_len);
    free(x);
    free(y);
}

static void test_round_trip(void **state)
{
    (void)state;
    um_error err;
    um_tokenizer *tok = small_tokenizer(300);
    for (int variant = 0; variant < 3; variant++) {
        um_model_config config = small_config(tok);
        um_model *model, *back, *clone;
        char first[300], second[300];
        config.tied = variant == 0;
        config.arch = variant == 2 ? UM_ARCH_QWEN2 : UM_ARCH_LLAMA;
        config.qkv_bias = variant == 2;
        model = small_model(&config, 9);
        snprintf(first, sizeof first, "%s/first", dir);
        snprintf(second, sizeof second, "%s/second", dir);
        assert_ok(um_model_save(model, tok, first, &err), err);
        assert_ok(um_model_load(&back, first, &err), err);
        assert_true(um_model_hash(back) == um_model_hash(model));
        assert_int_equal(um_model_parameters(back), um_model_parameters(model));
        assert_memory_equal(back->data, model->data, model->params.n * sizeof *model->data);
        assert_ok(um_model_save(back, tok, second, &err), err);
        const char *const files[] = {"model.safetensors", "config.json", "generation_config.json",
                                     "tokenizer.json"};
        for (size_t i = 0; i < 4; i++) {
            char a[64], b[64];
            snprintf(a, sizeof a, "first/%s", files[i]);
            snprintf(b, sizeof b, "second/%s", files[i]);
            assert_file_equal(a, b);
        }
        assert_ok(um_model_clone(&clone, model, &err), err);
        assert_true(um_model_hash(clone) == um_model_hash(model));
        clone->data[clone->params.n - 1] += 1.0f;
        assert_true(um_model_hash(clone) != um_model_hash(model));
        um_model_free(clone);
        um_model_free(back);
        um_model_free(model);
    }
    um_tokenizer_free(tok);
}

/* The data begins at a multiple of 64 bytes and the names are sorted. */
static void test_written_form(void **state)
{
    (void)state;
    um_model_config config = tiny_config(false);
    um_model *model = small_model(&config, 1);
    um_error err;
    um_safetensors file;
    uint64_t at = 0;
    assert_ok(um_model_save(model, NULL, dir, &err), err);
    assert_ok(um_safetensors_open(&file, in_dir("model.safetensors"), &err), err);
    assert_int_equal((file.data - file.map.data) % 64, 0);
    for (size_t i = 0; i < file.n; i++) {
        assert_int_equal(file.tensors[i].begin, at);
        at = file.tensors[i].end;
    }
    um_safetensors_close(&file);
    um_model_free(model);
}

static void test_init(void **state)
{
    (void)state;
    um_error err;
    um_tokenizer *tok = small_tokenizer(300);
    um_model_config config = small_config(tok);
    um_model *a = small_model(&config, 1), *b = small_model(&config, 1),
             *c = small_model(&config, 2);
    um_model *bad;
    assert_true(um_model_hash(a) == um_model_hash(b));
    assert_true(um_model_hash(a) != um_model_hash(c));
    /* Deviations of the embedding and of a down projection; norms are 1. */
    const um_layer_offsets *at = &a->params.layers[1];
    double embedding = 0.0, down = 0.0, mean = 0.0;
    size_t n_embedding = (size_t)config.vocab * 32, n_down = 32 * 48;
    for (size_t i = 0; i < n_embedding; i++) {
        embedding += pow((double)a->data[a->params.embedding + i], 2);
        mean += (double)a->data[a->params.embedding + i];
    }
    for (size_t i = 0; i < n_down; i++)
        down += pow((double)a->data[at->down + i], 2);
    assert_close(mean / (double)n_embedding, 0.0, 0.01);
    assert_close(sqrt(embedding / (double)n_embedding), 0.2, 0.01);
    assert_close(sqrt(down / (double)n_down), 0.1, 0.01); /* 0.2 / sqrt(2 L) */
    for (int i = 0; i < 32; i++)
        assert_true(a->data[at->attn_norm + (size_t)i] == 1.0f);
    assert_int_equal(um_model_init(&bad, &config, NAN, 0.1f, 1, &err), UM_ERR_INPUT);
    config.head_dim = 7;
    assert_int_equal(um_model_init(&bad, &config, 0.1f, 0.1f, 1, &err), UM_ERR_INPUT);
    um_model_free(a);
    um_model_free(b);
    um_model_free(c);
    um_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bad_headers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_lengths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stored_types, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_missing_extra_wrong, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_claim, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tied_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_written_form, set_up, tear_down),
        cmocka_unit_test(test_init),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
