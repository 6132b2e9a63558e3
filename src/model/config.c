/*
 * config.c - model shapes: their rules, and config.json in the spellings transformers writes.
 *
 * What would change the mathematics and is not implemented here is refused by its name: a file that
 * loads computes what its author meant. Keys that only steer training or generation are ignored.
 */
#include "model/config.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "nn/backend.h"

#define MAX_VOCAB     (1 << 22)
#define MAX_HIDDEN    (1 << 16)
#define MAX_LAYERS    1024
#define MAX_HEADS     1024
#define MAX_FFN       (1 << 20)
#define MAX_POSITIONS (1 << 24)

typedef struct range_rule {
    const char *key;
    int64_t value, low, high;
} range_rule;

static um_status check_range(const range_rule *rule, const char *where, um_error *err)
{
    if (rule->value < rule->low || rule->value > rule->high)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: %s must be %" PRId64 " to %" PRId64 ", found %" PRId64, where,
                       rule->key, rule->low, rule->high, rule->value);
    return UM_OK;
}

static um_status check_rope(const um_model_config *c, const char *where, um_error *err)
{
    if (!(isfinite(c->rope_theta) && c->rope_theta >= 1.0))
        return um_fail(err, UM_ERR_INPUT, "%s: rope_theta must be 1 or more, found %g", where,
                       c->rope_theta);
    if (c->rope_scaling == UM_ROPE_NONE)
        return UM_OK;
    if (c->rope_scaling != UM_ROPE_LINEAR && c->rope_scaling != UM_ROPE_LLAMA3)
        return um_fail(err, UM_ERR_UNSUPPORTED, "%s: unknown rope scaling %d", where,
                       (int)c->rope_scaling);
    if (!(isfinite(c->rope_factor) && c->rope_factor >= 1.0))
        return um_fail(err, UM_ERR_INPUT, "%s: rope factor must be 1 or more, found %g", where,
                       c->rope_factor);
    if (c->rope_scaling == UM_ROPE_LINEAR)
        return UM_OK;
    if (!(isfinite(c->rope_low) && isfinite(c->rope_high) && c->rope_low > 0.0 &&
          c->rope_low < c->rope_high))
        return um_fail(err, UM_ERR_INPUT,
                       "%s: llama3 rope scaling needs 0 < low_freq_factor < high_freq_factor, "
                       "found %g and %g",
                       where, c->rope_low, c->rope_high);
    if (!(isfinite(c->rope_original) && c->rope_original >= 1.0))
        return um_fail(err, UM_ERR_INPUT,
                       "%s: original_max_position_embeddings must be 1 or more, found %g", where,
                       c->rope_original);
    return UM_OK;
}

static um_status check(const um_model_config *c, const char *where, um_error *err)
{
    const range_rule rules[] = {
        {"vocab_size", c->vocab, 1, MAX_VOCAB},
        {"hidden_size", c->hidden, 1, MAX_HIDDEN},
        {"num_hidden_layers", c->layers, 1, MAX_LAYERS},
        {"num_attention_heads", c->heads, 1, MAX_HEADS},
        {"num_key_value_heads", c->kv_heads, 1, c->heads},
        {"head_dim", c->head_dim, 2, UM_HEAD_DIM_MAX},
        {"intermediate_size", c->ffn, 1, MAX_FFN},
        {"max_position_embeddings", c->max_positions, 1, MAX_POSITIONS},
        {"bos_token_id", c->bos, -1, c->vocab - 1},
        {"eos_token_id", c->eos, -1, c->vocab - 1},
    };
    if (c->arch != UM_ARCH_LLAMA && c->arch != UM_ARCH_QWEN2)
        return um_fail(err, UM_ERR_UNSUPPORTED, "%s: unknown architecture %d", where, (int)c->arch);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        um_status status = check_range(&rules[i], where, err);
        if (status != UM_OK)
            return status;
    }
    if (c->heads % c->kv_heads != 0)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: num_attention_heads must be a multiple of num_key_value_heads, found "
                       "%d and %d",
                       where, c->heads, c->kv_heads);
    if (c->head_dim % 2 != 0)
        return um_fail(err, UM_ERR_INPUT, "%s: head_dim must be even, found %d", where,
                       c->head_dim);
    if (!(isfinite(c->rms_eps) && c->rms_eps > 0.0f && c->rms_eps < 1.0f))
        return um_fail(err, UM_ERR_INPUT, "%s: rms_norm_eps must lie between 0 and 1, found %g",
                       where, (double)c->rms_eps);
    if (c->qkv_bias != (c->arch == UM_ARCH_QWEN2))
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: biases on q, k and v belong to Qwen2 and to no Llama", where);
    return check_rope(c, where, err);
}

um_status um_model_config_check(const um_model_config *config, um_error *err)
{
    return check(config, "model configuration", err);
}

/* Reading ---------------------------------------------------------------------------------------
 */

/* An integer key that must fit an int; required. */
static um_status get_int(int *out, const json_t *object, const char *key, const char *where,
                         um_error *err)
{
    int64_t value;
    um_status status = um_json_get_i64(&value, object, key, where, err);
    if (status != UM_OK)
        return status;
    const range_rule rule = {key, value, INT32_MIN, INT32_MAX};
    status = check_range(&rule, where, err);
    if (status == UM_OK)
        *out = (int)value;
    return status;
}

static bool is_set(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return value != NULL && !json_is_null(value);
}

/* Refuses an option by name when its value is neither absent, null nor false. */
static um_status refuse(const json_t *object, const char *key, const char *where, um_error *err)
{
    if (is_set(object, key) && !json_is_false(json_object_get(object, key)))
        return um_fail(err, UM_ERR_UNSUPPORTED, "%s: \"%s\" is set; this option is not supported",
                       where, key);
    return UM_OK;
}

static um_status read_arch(um_model_config *c, const json_t *root, const char *where, um_error *err)
{
    static const struct {
        const char *type, *name;
        um_architecture arch;
    } known[] = {{"llama", "LlamaForCausalLM", UM_ARCH_LLAMA},
                 {"qwen2", "Qwen2ForCausalLM", UM_ARCH_QWEN2}};
    const json_t *list = json_object_get(root, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    const char *type = json_string_value(json_object_get(root, "model_type"));
    if (name == NULL && type == NULL)
        return um_fail(err, UM_ERR_INPUT, "%s: neither \"architectures\" nor \"model_type\"",
                       where);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if ((name == NULL || strcmp(name, known[i].name) == 0) &&
            (type == NULL || strcmp(type, known[i].type) == 0)) {
            c->arch = known[i].arch;
            c->qkv_bias = c->arch == UM_ARCH_QWEN2;
            return UM_OK;
        }
    }
    return um_fail(err, UM_ERR_UNSUPPORTED,
                   "%s: architecture %s of model_type %s; supported are LlamaForCausalLM (llama) "
                   "and Qwen2ForCausalLM (qwen2)",
                   where, name != NULL ? name : "(none)", type != NULL ? type : "(none)");
}

/* Options that change the mathematics; see the file comment. */
static um_status refuse_sliding(um_model_config *c, const json_t *root, const char *where,
                                um_error *err)
{
    um_status status = refuse(root, "use_sliding_window", where, err);
    if (status == UM_OK && c->arch == UM_ARCH_LLAMA &&
        !json_is_false(json_object_get(root, "use_sliding_window")))
        status = refuse(root, "sliding_window", where, err);
    return status;
}

static um_status refuse_quantized(um_model_config *c, const json_t *root, const char *where,
                                  um_error *err)
{
    (void)c;
    return refuse(root, "quantization_config", where, err);
}

static um_status refuse_biases(um_model_config *c, const json_t *root, const char *where,
                               um_error *err)
{
    um_status status = refuse(root, "mlp_bias", where, err);
    if (status == UM_OK && c->arch == UM_ARCH_LLAMA)
        status = refuse(root, "attention_bias", where, err);
    return status;
}

static um_status refuse_noncausal(um_model_config *c, const json_t *root, const char *where,
                                  um_error *err)
{
    (void)c;
    if (json_is_false(json_object_get(root, "is_causal")))
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: \"is_causal\" is false; only causal attention is supported", where);
    return UM_OK;
}

static um_status check_activation(um_model_config *c, const json_t *root, const char *where,
                                  um_error *err)
{
    const char *act = json_string_value(json_object_get(root, "hidden_act"));
    (void)c;
    if (is_set(root, "hidden_act") && (act == NULL || strcmp(act, "silu") != 0))
        return um_fail(err, UM_ERR_UNSUPPORTED, "%s: hidden_act \"%s\"; supported is \"silu\"",
                       where, act != NULL ? act : "(not a string)");
    return UM_OK;
}

static um_status check_layer_types(um_model_config *c, const json_t *root, const char *where,
                                   um_error *err)
{
    const json_t *types = json_object_get(root, "layer_types");
    (void)c;
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type == NULL || strcmp(type, "full_attention") != 0)
            return um_fail(err, UM_ERR_UNSUPPORTED,
                           "%s: layer_types[%zu] \"%s\"; supported is \"full_attention\"", where, i,
                           type != NULL ? type : "(not a string)");
    }
    return UM_OK;
}

static um_status refuse_partial_rotary(const json_t *object, const char *where, um_error *err)
{
    double share;
    um_status status = um_json_get_f64_or(&share, object, "partial_rotary_factor", 1.0, where, err);
    if (status == UM_OK && share != 1.0)
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: partial_rotary_factor %g; only whole rotary heads are supported", where,
                       share);
    return status;
}

/* One object of rope settings: rope_scaling of old files, rope_parameters of new ones. */
static um_status read_rope_object(um_model_config *c, const json_t *rope, const char *key,
                                  const json_t *root, const char *where, um_error *err)
{
    if (!json_is_object(rope))
        return um_fail(err, UM_ERR_INPUT, "%s: \"%s\" must be an object", where, key);
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (type == NULL)
        type = json_string_value(json_object_get(rope, "type"));
    if (type == NULL && !is_set(rope, "rope_theta") && json_object_size(rope) > 0)
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: \"%s\" names no rope_type (settings a kind of layer are not supported)",
                       where, key);
    um_status status = refuse_partial_rotary(rope, where, err);
    if (status == UM_OK)
        status = um_json_get_f64_or(&c->rope_theta, rope, "rope_theta", c->rope_theta, where, err);
    if (status != UM_OK || type == NULL || strcmp(type, "default") == 0)
        return status;
    if (strcmp(type, "linear") == 0)
        c->rope_scaling = UM_ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0)
        c->rope_scaling = UM_ROPE_LLAMA3;
    else
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: rope type \"%s\"; supported are default, linear and llama3", where,
                       type);
    double original;
    status =
        um_json_get_f64_or(&original, root, "original_max_position_embeddings", 0.0, where, err);
    if (status == UM_OK)
        status = um_json_get_f64_or(&c->rope_factor, rope, "factor", 0.0, where, err);
    if (status != UM_OK || c->rope_scaling == UM_ROPE_LINEAR)
        return status;
    status = um_json_get_f64_or(&c->rope_low, rope, "low_freq_factor", 0.0, where, err);
    if (status == UM_OK)
        status = um_json_get_f64_or(&c->rope_high, rope, "high_freq_factor", 0.0, where, err);
    if (status == UM_OK)
        status = um_json_get_f64_or(&c->rope_original, rope, "original_max_position_embeddings",
                                    original, where, err);
    return status;
}

static um_status read_rope(um_model_config *c, const json_t *root, const char *where, um_error *err)
{
    static const char *const keys[] = {"rope_parameters", "rope_scaling"};
    um_status status = um_json_get_f64_or(&c->rope_theta, root, "rope_theta", 10000.0, where, err);
    if (status == UM_OK)
        status = refuse_partial_rotary(root, where, err);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && status == UM_OK; i++) {
        if (is_set(root, keys[i]))
            return read_rope_object(c, json_object_get(root, keys[i]), keys[i], root, where, err);
    }
    return status;
}

/* A token id: an integer, null or absent (-1), or a list of which the first counts. */
static um_status read_token(int32_t *out, const json_t *root, const char *key, const char *where,
                            um_error *err)
{
    const json_t *value = json_object_get(root, key);
    if (json_is_array(value))
        value = json_array_get(value, 0);
    if (value == NULL || json_is_null(value)) {
        *out = -1;
        return UM_OK;
    }
    if (!json_is_integer(value))
        return um_fail(err, UM_ERR_INPUT,
                       "%s: key \"%s\" must be an integer, a list of them or "
                       "null",
                       where, key);
    const range_rule rule = {key, json_integer_value(value), -1, INT32_MAX};
    *out = (int32_t)rule.value;
    return check_range(&rule, where, err);
}

static um_status read_sizes(um_model_config *c, const json_t *root, const char *where,
                            um_error *err)
{
    const struct {
        const char *key;
        int *out;
    } sizes[] = {{"vocab_size", &c->vocab},         {"hidden_size", &c->hidden},
                 {"num_hidden_layers", &c->layers}, {"num_attention_heads", &c->heads},
                 {"intermediate_size", &c->ffn},    {"max_position_embeddings", &c->max_positions}};
    um_status status;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        status = get_int(sizes[i].out, root, sizes[i].key, where, err);
        if (status != UM_OK)
            return status;
    }
    /* An absent number of key heads means one a query head, except in Qwen2, which sets 32. */
    c->kv_heads = c->heads;
    if (is_set(root, "num_key_value_heads") || c->arch == UM_ARCH_QWEN2) {
        status = get_int(&c->kv_heads, root, "num_key_value_heads", where, err);
        if (status != UM_OK)
            return status;
    }
    if (is_set(root, "head_dim"))
        return get_int(&c->head_dim, root, "head_dim", where, err);
    if (c->heads < 1 || c->hidden % c->heads != 0)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: hidden_size %d is not a multiple of num_attention_heads %d, and there "
                       "is no head_dim",
                       where, c->hidden, c->heads);
    c->head_dim = c->hidden / c->heads;
    return UM_OK;
}

/* torch_dtype is advice for other loaders (the tensors carry their own type); a name that is no
 * float type means that the file is something else. */
static um_status check_dtype(um_model_config *c, const json_t *root, const char *where,
                             um_error *err)
{
    (void)c;
    static const char *const known[] = {"float32", "float16", "bfloat16", "auto"};
    const char *key = is_set(root, "dtype") ? "dtype" : "torch_dtype";
    const char *name = json_string_value(json_object_get(root, key));
    if (!is_set(root, key))
        return UM_OK;
    for (size_t i = 0; i < sizeof known / sizeof known[0] && name != NULL; i++) {
        if (strcmp(name, known[i]) == 0)
            return UM_OK;
    }
    return um_fail(err, UM_ERR_UNSUPPORTED,
                   "%s: %s \"%s\"; supported are float32, float16 and bfloat16", where, key,
                   name != NULL ? name : "(not a string)");
}

static um_status read_rest(um_model_config *c, const json_t *root, const char *where, um_error *err)
{
    double eps;
    um_status status = um_json_get_f64_or(&eps, root, "rms_norm_eps", 1e-6, where, err);
    if (status == UM_OK) {
        c->rms_eps = (float)eps;
        status = um_json_get_bool_or(&c->tied, root, "tie_word_embeddings", false, where, err);
    }
    if (status == UM_OK)
        status = read_token(&c->bos, root, "bos_token_id", where, err);
    if (status == UM_OK)
        status = read_token(&c->eos, root, "eos_token_id", where, err);
    return status;
}

typedef um_status (*step_fn)(um_model_config *c, const json_t *root, const char *where,
                             um_error *err);

/* In the order of their messages. Those before N_REFUSALS read no number of the shape. */
static const step_fn steps[] = {read_arch,         refuse_sliding,   refuse_quantized,
                                refuse_biases,     refuse_noncausal, check_activation,
                                check_layer_types, check_dtype,      read_sizes,
                                read_rope,         read_rest};
#define N_STEPS    (sizeof steps / sizeof steps[0])
#define N_REFUSALS (N_STEPS - 3)

um_status um_model_config_inspect(um_model_config *config, bool *complete, const char *text,
                                  size_t len, const char *where, um_str *problems, um_error *err)
{
    um_model_config c = {0};
    json_t *root = NULL;
    *complete = false;
    um_status status = um_json_parse(&root, text, len, where, err);
    if (status == UM_OK && !json_is_object(root))
        status = um_fail(err, UM_ERR_INPUT, "%s: must hold one JSON object", where);
    bool readable = status == UM_OK;
    *complete = readable;
    for (size_t i = 0; i < N_STEPS && readable && (status == UM_OK || problems != NULL); i++) {
        um_status step = steps[i](&c, root, where, err);
        if (step == UM_OK)
            continue;
        status = step;
        *complete = *complete && i < N_REFUSALS;
        if (problems != NULL)
            um_str_appendf(problems, "%s\n", err->text);
    }
    if (readable && *complete && (status == UM_OK || problems != NULL)) {
        um_status rules = check(&c, where, err);
        if (rules != UM_OK && problems != NULL)
            um_str_appendf(problems, "%s\n", err->text);
        status = rules != UM_OK ? rules : status;
        *complete = rules == UM_OK; /* numbers out of their ranges count nothing */
    } else if (!readable && problems != NULL) {
        um_str_appendf(problems, "%s\n", err->text);
    }
    json_decref(root);
    if (*complete)
        *config = c;
    return problems != NULL ? um_str_status(problems, err) : status;
}

um_status um_model_config_parse(um_model_config *config, const char *text, size_t len,
                                const char *where, um_error *err)
{
    um_model_config c;
    bool complete;
    um_status status = um_model_config_inspect(&c, &complete, text, len, where, NULL, err);
    if (status == UM_OK)
        *config = c;
    return status;
}

um_status um_model_config_read(um_model_config *config, const char *dir, um_error *err)
{
    char *path = NULL, *text = NULL;
    size_t len = 0;
    um_status status = um_path_join(&path, dir, "config.json", err);
    if (status == UM_OK)
        status = um_file_read(&text, &len, path, UM_CONFIG_MAX_BYTES, err);
    if (status == UM_OK)
        status = um_model_config_parse(config, text, len, path, err);
    free(text);
    free(path);
    return status;
}

/* Writing ---------------------------------------------------------------------------------------
 */

/* The shortest decimal that reads back as the same float32. */
static void append_float(um_str *s, float value)
{
    char text[32];
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    um_str_append(s, text);
}

/* A real number that typed readers take for one: 8 is written 8.0. */
static void append_real(um_str *s, double value)
{
    um_str_append_number(s, value);
    if (value == floor(value) && fabs(value) < 1e15)
        um_str_append(s, ".0");
}

static void append_rope_member(um_str *s, const char *key, double value)
{
    um_str_appendf(s, "    \"%s\": ", key);
    append_real(s, value);
    um_str_append(s, ",\n");
}

static void append_token(um_str *s, const char *key, int32_t id)
{
    if (id >= 0)
        um_str_appendf(s, "  \"%s\": %" PRId32 ",\n", key, id);
    else
        um_str_appendf(s, "  \"%s\": null,\n", key);
}

static void append_rope(um_str *s, const um_model_config *c)
{
    um_str_append(s, "  \"rope_scaling\": ");
    if (c->rope_scaling == UM_ROPE_NONE) {
        um_str_append(s, "null,\n");
    } else {
        um_str_append(s, "{\n");
        append_rope_member(s, "factor", c->rope_factor);
        if (c->rope_scaling == UM_ROPE_LLAMA3) {
            append_rope_member(s, "high_freq_factor", c->rope_high);
            append_rope_member(s, "low_freq_factor", c->rope_low);
            um_str_appendf(s, "    \"original_max_position_embeddings\": %.0f,\n",
                           c->rope_original);
        }
        um_str_appendf(s, "    \"rope_type\": \"%s\"\n  },\n",
                       c->rope_scaling == UM_ROPE_LINEAR ? "linear" : "llama3");
    }
    um_str_append(s, "  \"rope_theta\": ");
    append_real(s, c->rope_theta);
    um_str_append(s, ",\n");
}

void um_model_config_write(um_str *s, const um_model_config *c)
{
    bool llama = c->arch == UM_ARCH_LLAMA;
    um_str_appendf(s, "{\n  \"architectures\": [\"%s\"],\n",
                   llama ? "LlamaForCausalLM" : "Qwen2ForCausalLM");
    if (llama)
        um_str_append(s, "  \"attention_bias\": false,\n");
    um_str_append(s, "  \"attention_dropout\": 0.0,\n");
    append_token(s, "bos_token_id", c->bos);
    append_token(s, "eos_token_id", c->eos);
    um_str_appendf(s, "  \"head_dim\": %d,\n", c->head_dim);
    um_str_append(s, "  \"hidden_act\": \"silu\",\n");
    um_str_appendf(s, "  \"hidden_size\": %d,\n", c->hidden);
    um_str_appendf(s, "  \"intermediate_size\": %d,\n", c->ffn);
    um_str_appendf(s, "  \"max_position_embeddings\": %d,\n", c->max_positions);
    if (llama)
        um_str_append(s, "  \"mlp_bias\": false,\n");
    um_str_appendf(s, "  \"model_type\": \"%s\",\n", llama ? "llama" : "qwen2");
    um_str_appendf(s, "  \"num_attention_heads\": %d,\n", c->heads);
    um_str_appendf(s, "  \"num_hidden_layers\": %d,\n", c->layers);
    um_str_appendf(s, "  \"num_key_value_heads\": %d,\n", c->kv_heads);
    um_str_append(s, "  \"rms_norm_eps\": ");
    append_float(s, c->rms_eps);
    um_str_append(s, ",\n");
    append_rope(s, c);
    um_str_appendf(s, "  \"tie_word_embeddings\": %s,\n", c->tied ? "true" : "false");
    um_str_append(s, "  \"torch_dtype\": \"float32\",\n");
    um_str_append(s, "  \"use_cache\": true,\n");
    if (!llama)
        um_str_append(s, "  \"use_sliding_window\": false,\n");
    um_str_appendf(s, "  \"vocab_size\": %d\n}\n", c->vocab);
}

void um_model_generation_write(um_str *s, const um_model_config *c, int32_t end_of_turn)
{
    um_str_append(s, "{\n  \"_from_model_config\": true");
    if (c->bos >= 0)
        um_str_appendf(s, ",\n  \"bos_token_id\": %" PRId32, c->bos);
    if (c->eos >= 0 && end_of_turn >= 0 && c->eos != end_of_turn)
        um_str_appendf(s, ",\n  \"eos_token_id\": [%" PRId32 ", %" PRId32 "]", c->eos, end_of_turn);
    else if (c->eos >= 0 || end_of_turn >= 0)
        um_str_appendf(s, ",\n  \"eos_token_id\": %" PRId32, c->eos >= 0 ? c->eos : end_of_turn);
    um_str_append(s, "\n}\n");
}
