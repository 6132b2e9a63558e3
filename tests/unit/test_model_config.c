/* config.json in the spellings of old and new transformers, refusals, layout, rotary frequencies.
 */
#include "test_util.h"

#include "model/config.h"
#include "model/params.h"
#include "nn/backend.h"

#define SIZES                                                                                      \
    "\"vocab_size\": 100, \"hidden_size\": 32, \"intermediate_size\": 48, "                        \
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"max_position_embeddings\": 64"
#define LLAMA "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", " SIZES
#define QWEN2                                                                                      \
    "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", "                      \
    "\"num_key_value_heads\": 2, " SIZES

static um_status parse(um_model_config *config, const char *text, um_error *err)
{
    return um_model_config_parse(config, text, strlen(text), "config.json", err);
}

static void test_spellings(void **state)
{
    (void)state;
    um_model_config old, new, c;
    um_error err;
    assert_ok(parse(&old,
                    LLAMA ", \"rope_theta\": 500000.0, \"rope_scaling\": {\"type\": \"llama3\", "
                          "\"factor\": 32.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, "
                          "\"original_max_position_embeddings\": 8192}, \"torch_dtype\": "
                          "\"bfloat16\", \"rms_norm_eps\": 1e-05, \"tie_word_embeddings\": true, "
                          "\"bos_token_id\": 1, \"eos_token_id\": [2, 3], "
                          "\"num_key_value_heads\": 2}",
                    &err),
              err);
    assert_ok(parse(&new,
                    LLAMA
                    ", \"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": "
                    "\"llama3\", \"factor\": 32.0, \"low_freq_factor\": 1.0, "
                    "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192}, "
                    "\"dtype\": \"bfloat16\", \"rms_norm_eps\": 1e-05, "
                    "\"tie_word_embeddings\": true, \"bos_token_id\": 1, \"eos_token_id\": 2, "
                    "\"head_dim\": 8, \"num_key_value_heads\": 2}",
                    &err),
              err);
    assert_int_equal(old.rope_scaling, UM_ROPE_LLAMA3);
    assert_true(old.rope_theta == 500000.0 && old.rope_factor == 32.0);
    assert_true(old.rope_low == 1.0 && old.rope_high == 4.0 && old.rope_original == 8192.0);
    assert_true(old.rms_eps == 1e-5f && old.tied && !old.qkv_bias);
    assert_int_equal(old.kv_heads, 2);
    assert_int_equal(old.eos, 2);
    um_str a = UM_STR_INIT, b = UM_STR_INIT;
    um_model_config_write(&a, &old);
    um_model_config_write(&b, &new);
    assert_string_equal(um_str_text(&a), um_str_text(&b));
    um_str_dispose(&a);
    um_str_dispose(&b);

    assert_ok(parse(&c, LLAMA "}", &err), err);
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.head_dim, 8);
    assert_true(c.rope_theta == 10000.0 && c.rms_eps == 1e-6f && !c.tied);
    assert_true(c.bos == -1 && c.eos == -1);
    assert_ok(parse(&c, QWEN2 ", \"use_sliding_window\": false, \"sliding_window\": 4096}", &err),
              err);
    assert_int_equal(c.arch, UM_ARCH_QWEN2);
    assert_true(c.qkv_bias);
    /* Without architectures the type decides. */
    assert_ok(parse(&c, "{\"model_type\": \"llama\", " SIZES "}", &err), err);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        um_status status;
        const char *part;
    } rows[] = {
        {"[]", UM_ERR_INPUT, "one JSON object"},
        {"{" SIZES "}", UM_ERR_INPUT, "architectures"},
        {"{\"architectures\": [\"MistralForCausalLM\"], " SIZES "}", UM_ERR_UNSUPPORTED,
         "MistralForCausalLM"},
        {"{\"model_type\": \"gpt2\", " SIZES "}", UM_ERR_UNSUPPORTED, "gpt2"},
        {"{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"qwen2\", " SIZES "}",
         UM_ERR_UNSUPPORTED, "qwen2"},
        {LLAMA ", \"attention_bias\": true}", UM_ERR_UNSUPPORTED, "attention_bias"},
        {LLAMA ", \"mlp_bias\": true}", UM_ERR_UNSUPPORTED, "mlp_bias"},
        {LLAMA ", \"hidden_act\": \"gelu\"}", UM_ERR_UNSUPPORTED, "gelu"},
        {LLAMA ", \"sliding_window\": 128}", UM_ERR_UNSUPPORTED, "sliding_window"},
        {QWEN2 ", \"use_sliding_window\": true}", UM_ERR_UNSUPPORTED, "use_sliding_window"},
        {QWEN2 ", \"is_causal\": false}", UM_ERR_UNSUPPORTED, "is_causal"},
        {QWEN2 ", \"layer_types\": [\"full_attention\", \"sliding_attention\"]}",
         UM_ERR_UNSUPPORTED, "layer_types[1]"},
        {LLAMA ", \"partial_rotary_factor\": 0.5}", UM_ERR_UNSUPPORTED, "partial_rotary_factor"},
        {LLAMA ", \"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": "
               "0.5}}",
         UM_ERR_UNSUPPORTED, "partial_rotary_factor"},
        {LLAMA ", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0}}",
         UM_ERR_UNSUPPORTED, "yarn"},
        {LLAMA ", \"rope_scaling\": 4}", UM_ERR_INPUT, "rope_scaling"},
        {LLAMA ", \"rope_parameters\": {\"full_attention\": {}}}", UM_ERR_UNSUPPORTED, "rope_type"},
        {LLAMA ", \"rope_scaling\": {\"type\": \"linear\"}}", UM_ERR_INPUT, "factor"},
        {LLAMA ", \"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": "
               "4.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}}",
         UM_ERR_INPUT, "low_freq_factor"},
        {LLAMA ", \"rope_scaling\": {\"type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": "
               "1.0, \"high_freq_factor\": 4.0}}",
         UM_ERR_INPUT, "original_max_position_embeddings"},
        {LLAMA ", \"rope_theta\": 0.0}", UM_ERR_INPUT, "rope_theta"},
        {LLAMA ", \"quantization_config\": {}}", UM_ERR_UNSUPPORTED, "quantization_config"},
        {LLAMA ", \"torch_dtype\": \"float8\"}", UM_ERR_UNSUPPORTED, "float8"},
        {LLAMA ", \"num_key_value_heads\": 3}", UM_ERR_INPUT, "multiple"},
        {LLAMA ", \"num_key_value_heads\": 8}", UM_ERR_INPUT, "num_key_value_heads"},
        {LLAMA ", \"head_dim\": 7}", UM_ERR_INPUT, "even"},
        {LLAMA ", \"head_dim\": 258}", UM_ERR_INPUT, "head_dim must be 2 to 256"},
        {LLAMA ", \"rms_norm_eps\": 0}", UM_ERR_INPUT, "rms_norm_eps"},
        {LLAMA ", \"eos_token_id\": 100}", UM_ERR_INPUT, "eos_token_id"},
        {LLAMA ", \"bos_token_id\": \"1\"}", UM_ERR_INPUT, "bos_token_id"},
        {LLAMA ", \"vocab_size\": 100}", UM_ERR_INPUT, "config.json"},
        {"{\"model_type\": \"qwen2\", " SIZES "}", UM_ERR_INPUT, "num_key_value_heads"},
        {"{\"model_type\": \"llama\", \"vocab_size\": 99999999999}", UM_ERR_INPUT, "vocab_size"},
        {"{\"model_type\": \"llama\", \"vocab_size\": 1.5}", UM_ERR_INPUT, "vocab_size"},
        {"{\"model_type\": \"llama\", \"vocab_size\": 10, \"hidden_size\": 30, "
         "\"intermediate_size\": 8, \"num_hidden_layers\": 1, \"num_attention_heads\": 4, "
         "\"max_position_embeddings\": 8}",
         UM_ERR_INPUT, "not a multiple"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        um_model_config config;
        um_error err = {0};
        um_status status = parse(&config, rows[i].text, &err);
        if (status != rows[i].status || strstr(err.text, rows[i].part) == NULL)
            fail_msg("row %zu: %s: '%s', expected '%s'", i, um_status_name(status), err.text,
                     rows[i].part);
    }
}

static void test_written_reads_back(void **state)
{
    (void)state;
    const um_model_config configs[] = {{.arch = UM_ARCH_LLAMA,
                                        .vocab = 500,
                                        .hidden = 96,
                                        .layers = 3,
                                        .heads = 6,
                                        .kv_heads = 2,
                                        .head_dim = 16,
                                        .ffn = 256,
                                        .max_positions = 2048,
                                        .rms_eps = 1e-5f,
                                        .rope_theta = 5e5,
                                        .rope_scaling = UM_ROPE_LLAMA3,
                                        .rope_factor = 8,
                                        .rope_low = 1,
                                        .rope_high = 4,
                                        .rope_original = 512,
                                        .tied = true,
                                        .bos = -1,
                                        .eos = 0},
                                       {.arch = UM_ARCH_QWEN2,
                                        .vocab = 70,
                                        .hidden = 30,
                                        .layers = 1,
                                        .heads = 3,
                                        .kv_heads = 1,
                                        .head_dim = 12,
                                        .ffn = 7,
                                        .max_positions = 9,
                                        .rms_eps = 3.3333333e-6f,
                                        .rope_theta = 12345.678,
                                        .qkv_bias = true,
                                        .bos = 3,
                                        .eos = -1},
                                       {.arch = UM_ARCH_LLAMA,
                                        .vocab = 70,
                                        .hidden = 30,
                                        .layers = 1,
                                        .heads = 3,
                                        .kv_heads = 3,
                                        .head_dim = 10,
                                        .ffn = 7,
                                        .max_positions = 9,
                                        .rms_eps = 1e-6f,
                                        .rope_theta = 1e4,
                                        .rope_scaling = UM_ROPE_LINEAR,
                                        .rope_factor = 2.5,
                                        .bos = 1,
                                        .eos = 2}};
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        um_str first = UM_STR_INIT, second = UM_STR_INIT;
        um_model_config back;
        um_error err;
        um_model_config_write(&first, &configs[i]);
        assert_ok(parse(&back, um_str_text(&first), &err), err);
        um_model_config_write(&second, &back);
        assert_string_equal(um_str_text(&first), um_str_text(&second));
        assert_true(back.rms_eps == configs[i].rms_eps && back.rope_theta == configs[i].rope_theta);
        assert_true(back.tied == configs[i].tied && back.head_dim == configs[i].head_dim);
        assert_true(back.rope_factor == configs[i].rope_factor);
        um_str_dispose(&first);
        um_str_dispose(&second);
    }
}

/* The tensors follow each other without hole or overlap, q k v and gate up side by side. */
static void test_layout(void **state)
{
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        um_model_config config = {.arch = variant == 1 ? UM_ARCH_QWEN2 : UM_ARCH_LLAMA,
                                  .vocab = 50,
                                  .hidden = 12,
                                  .layers = 2,
                                  .heads = 4,
                                  .kv_heads = 2,
                                  .head_dim = 6,
                                  .ffn = 20,
                                  .max_positions = 8,
                                  .rms_eps = 1e-6f,
                                  .rope_theta = 1e4,
                                  .tied = variant != 2,
                                  .qkv_bias = variant == 1,
                                  .bos = -1,
                                  .eos = -1};
        um_params params;
        um_tensor_ref *refs;
        um_error err;
        size_t n, at = 0;
        assert_ok(um_model_config_check(&config, &err), err);
        assert_ok(um_params_layout(&params, &config, &err), err);
        assert_ok(um_params_tensors(&refs, &n, &params, &config, &err), err);
        assert_int_equal(n, 2 + 2 * (variant == 1 ? 12 : 9) + (variant == 2 ? 1 : 0));
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(refs[i].offset, at);
            assert_int_equal(refs[i].decay, refs[i].cols > 0);
            at += (size_t)refs[i].rows * (size_t)(refs[i].cols > 0 ? refs[i].cols : 1);
        }
        assert_int_equal(at, params.n);
        assert_string_equal(refs[0].name, "model.embed_tokens.weight");
        assert_string_equal(refs[1].name, "model.layers.0.input_layernorm.weight");
        assert_string_equal(refs[2].name, "model.layers.0.self_attn.q_proj.weight");
        assert_int_equal(refs[2].offset, params.layers[0].qkv);
        assert_int_equal(refs[2].rows, 24);
        assert_int_equal(refs[3].rows, 12);
        assert_true(params.layers[0].qkv_bias == SIZE_MAX || variant == 1);
        assert_true(params.lm_head == params.embedding || variant == 2);
        free(refs);
        um_params_dispose(&params);
    }
}

static void test_check_and_overflow(void **state)
{
    (void)state;
    um_model_config config = {.arch = UM_ARCH_LLAMA,
                              .vocab = 1 << 22,
                              .hidden = 1 << 16,
                              .layers = 1024,
                              .heads = 1024,
                              .kv_heads = 1024,
                              .head_dim = UM_HEAD_DIM_MAX,
                              .ffn = 1 << 20,
                              .max_positions = 8,
                              .rms_eps = 1e-6f,
                              .rope_theta = 1e4,
                              .bos = -1,
                              .eos = -1};
    um_params params;
    um_error err;
    /* The largest shape that passes the check still has a size. */
    assert_ok(um_model_config_check(&config, &err), err);
    assert_ok(um_params_layout(&params, &config, &err), err);
    um_params_dispose(&params);
    config.head_dim += 2; /* wider than the scratch of the attention kernels */
    assert_int_equal(um_model_config_check(&config, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "head_dim must be 2 to 256, found 258"));
    config.head_dim = UM_HEAD_DIM_MAX;
    config.layers = INT32_MAX;
    assert_int_equal(um_model_config_check(&config, &err), UM_ERR_INPUT);
    config.layers = 2;
    config.qkv_bias = true;
    assert_int_equal(um_model_config_check(&config, &err), UM_ERR_UNSUPPORTED);
}

static void assert_frequency(const float *f, int i, double expected)
{
    assert_close(f[i] / expected, 1.0, 2e-7);
}

/* Check values of Llama 3.2 (factor 32); frequencies of short wavelengths stay as they are. */
static void test_rope_frequencies(void **state)
{
    (void)state;
    float f[64], plain[64];
    um_model_config config = {.head_dim = 128,
                              .rope_theta = 5e5,
                              .rope_scaling = UM_ROPE_LLAMA3,
                              .rope_factor = 32,
                              .rope_low = 1,
                              .rope_high = 4,
                              .rope_original = 8192};
    um_model_config unscaled = config;
    unscaled.rope_scaling = UM_ROPE_NONE;
    um_rope_frequencies(&config, f);
    um_rope_frequencies(&unscaled, plain);
    for (int i = 0; i <= 28; i++)
        assert_true(f[i] == plain[i]);
    assert_frequency(f, 29, 2.118406997e-3);
    assert_frequency(f, 34, 9.708287803e-5);
    assert_frequency(f, 35, 2.389053088e-5);
    config.head_dim = unscaled.head_dim = 64;
    um_rope_frequencies(&config, f);
    um_rope_frequencies(&unscaled, plain);
    for (int i = 0; i <= 14; i++)
        assert_true(f[i] == plain[i]);
    assert_frequency(f, 15, 1.290547928e-3);
    assert_frequency(f, 17, 9.708287803e-5);
    assert_frequency(f, 18, 1.946163818e-5);
    config.rope_scaling = UM_ROPE_LINEAR;
    um_rope_frequencies(&config, f);
    assert_frequency(f, 5, (double)plain[5] / 32.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spellings),          cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_written_reads_back), cmocka_unit_test(test_layout),
        cmocka_unit_test(test_check_and_overflow), cmocka_unit_test(test_rope_frequencies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
