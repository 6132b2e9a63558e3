/* What a model folder is, and why it cannot be loaded: every reason by name. */
#include "model_util.h"

#include "base/file.h"
#include "base/str.h"

static void put(const char *dir, const char *name, const char *text)
{
    char path[512];
    um_error err;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(um_file_write(path, text, strlen(text), &err), err);
}

static size_t lines(const char *text)
{
    size_t n = 0;
    for (const char *p = text; *p != '\0'; p++)
        n += *p == '\n';
    return n;
}

static void assert_holds(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("'%s' does not hold '%s'", text, part);
}

/* Folders that load have no problem, those of tests/golden/model among them. */
static void whole(void **state)
{
    (void)state;
    static const struct {
        const char *name, *architecture, *dtypes;
        int files;
    } cases[] = {{"llama-tied", "LlamaForCausalLM", "", 1},
                 {"llama-linear", "LlamaForCausalLM", "", 1},
                 {"llama3-shards", "LlamaForCausalLM", "BF16", 3},
                 {"qwen2", "Qwen2ForCausalLM", "", 1}};
    for (size_t i = 0; i < 4; i++) {
        char dir[512];
        um_error err;
        um_model_report r;
        um_model *model = NULL;
        snprintf(dir, sizeof dir, "%s/tests/golden/model/%s", UM_SOURCE_DIR, cases[i].name);
        assert_ok(um_model_inspect(&r, dir, &err), err);
        assert_string_equal(r.problems, "");
        assert_string_equal(r.architecture, cases[i].architecture);
        assert_holds(r.dtypes, cases[i].dtypes);
        assert_int_equal(r.files, cases[i].files);
        assert_true(r.has_shape && r.file_bytes > 0);
        assert_ok(um_model_load(&model, dir, &err), err);
        assert_true(um_model_parameters(model) == r.parameters);
        assert_int_equal(um_model_get_config(model)->hidden, r.config.hidden);
        um_model_free(model);
        um_model_report_dispose(&r);
    }
}

/* Another model with half a dozen things this program does not have: all of them are named. */
static void every_reason(void **state)
{
    (void)state;
    char dir[256];
    um_error err;
    um_model_report r;
    assert_non_null(make_dir(dir, sizeof dir));
    put(dir, "config.json",
        "{\"architectures\": [\"Gemma3ForCausalLM\"], \"model_type\": \"gemma3_text\", "
        "\"vocab_size\": 100, \"hidden_size\": 32, \"intermediate_size\": 48, "
        "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"max_position_embeddings\": 64, "
        "\"sliding_window\": 16, \"hidden_act\": \"gelu\", \"torch_dtype\": \"int8\", "
        "\"layer_types\": [\"sliding_attention\"], \"quantization_config\": {\"bits\": 4}, "
        "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2}}");
    assert_ok(um_model_inspect(&r, dir, &err), err);
    assert_string_equal(r.architecture, "Gemma3ForCausalLM");
    assert_string_equal(r.model_type, "gemma3_text");
    static const char *const reasons[] = {
        "Gemma3ForCausalLM",   "sliding_window",           "gelu", "int8", "layer_types[0]", "yarn",
        "quantization_config", "neither model.safetensors"};
    for (size_t i = 0; i < 8; i++)
        assert_holds(r.problems, reasons[i]);
    assert_int_equal(lines(r.problems), 8);
    assert_false(r.has_shape); /* the rope settings are part of it */
    um_model_report_dispose(&r);

    /* Without them the shape is known, and the parameters with it. */
    put(dir, "config.json",
        "{\"architectures\": [\"MistralForCausalLM\"], \"model_type\": \"mistral\", "
        "\"vocab_size\": 100, \"hidden_size\": 32, \"intermediate_size\": 48, "
        "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"max_position_embeddings\": 64}");
    assert_ok(um_model_inspect(&r, dir, &err), err);
    assert_true(r.has_shape);
    assert_int_equal(r.config.layers, 2);
    assert_int_equal(r.parameters, 2 * 100 * 32 + 2 * (4 * 32 * 32 + 3 * 32 * 48 + 2 * 32) + 32);
    assert_int_equal(lines(r.problems), 2);
    um_model_report_dispose(&r);

    put(dir, "config.json", "{\"architectures\": [\"LlamaForCausalLM\"], \"vocab_size\": -1}");
    assert_ok(um_model_inspect(&r, dir, &err), err);
    assert_holds(r.problems, "hidden_size");
    assert_false(r.has_shape);
    um_model_report_dispose(&r);
    put(dir, "config.json", "{");
    assert_ok(um_model_inspect(&r, dir, &err), err);
    assert_holds(r.problems, "config.json");
    assert_int_equal(lines(r.problems), 2);
    um_model_report_dispose(&r);
    remove_dir(dir);
    assert_int_equal(um_model_inspect(&r, dir, &err), UM_ERR_NOT_FOUND);
}

/* Weights that are not those of the configuration. */
static void weights(void **state)
{
    (void)state;
    char dir[256], path[512];
    um_error err;
    um_model_report r;
    um_tokenizer *tok = small_tokenizer(300);
    um_model_config config = small_config(tok), other = config;
    um_model *model = small_model(&config, 1);
    assert_non_null(make_dir(dir, sizeof dir));
    assert_ok(um_model_save(model, tok, dir, &err), err);
    assert_ok(um_model_inspect(&r, dir, &err), err);
    assert_string_equal(r.problems, "");
    assert_string_equal(r.dtypes, "F32");
    assert_true(r.parameters == um_model_parameters(model));
    um_model_report_dispose(&r);
    um_model_free(model);

    other.layers = 3;
    model = small_model(&other, 1);
    snprintf(path, sizeof path, "%s/other", dir);
    assert_ok(um_model_save(model, tok, path, &err), err);
    char command[1600];
    snprintf(command, sizeof command, "cp '%s/config.json' '%s'", dir, path);
    assert_int_equal(system(command), 0);
    assert_ok(um_model_inspect(&r, path, &err), err);
    assert_holds(r.problems, "\"model.layers.2.input_layernorm.weight\" is not part");
    um_model_report_dispose(&r);
    snprintf(command, sizeof command, "cp '%s/model.safetensors' '%s'; truncate -s -1 '%s'/model.*",
             dir, path, path);
    assert_int_equal(system(command), 0);
    assert_ok(um_model_inspect(&r, path, &err), err);
    assert_int_equal(r.files, 0);
    assert_int_equal(lines(r.problems), 1);
    um_model_report_dispose(&r);
    um_model_free(model);
    um_tokenizer_free(tok);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(every_reason),
        cmocka_unit_test(weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
