/* lora_files.c - adapters in PEFT's layout. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/lora.h"
#include "model/safetensors.h"

#define CONFIG_NAME      "adapter_config.json"
#define WEIGHTS_NAME     "adapter_model.safetensors"
#define CONFIG_MAX_BYTES ((size_t)1 << 20)

enum { NAME_BYTES = 128 };

/* Name of A (part 0) or B (part 1) of a matrix. */
static void tensor_name(char out[NAME_BYTES], int layer, int slot, int part)
{
    snprintf(out, NAME_BYTES, "base_model.model.model.layers.%d.%s.lora_%c.weight", layer,
             um_lora_module(slot), part == 0 ? 'A' : 'B');
}

/* Writing */

static json_t *config_json(const um_lora *lora, const char *base_model)
{
    json_t *root = json_object(), *targets = json_array();
    for (int s = 0; s < UM_LORA_SLOTS; s++) {
        if ((lora->targets & 1u << s) != 0)
            json_array_append_new(targets, json_string(strchr(um_lora_module(s), '.') + 1));
    }
    json_object_set_new(root, "peft_type", json_string("LORA"));
    json_object_set_new(root, "task_type", json_string("CAUSAL_LM"));
    json_object_set_new(root, "base_model_name_or_path",
                        base_model != NULL ? json_string(base_model) : json_null());
    json_object_set_new(root, "r", json_integer(lora->rank));
    json_object_set_new(root, "lora_alpha",
                        lora->alpha == floor(lora->alpha) ? json_integer((json_int_t)lora->alpha)
                                                          : json_real(lora->alpha));
    json_object_set_new(root, "lora_dropout", json_real(0.0));
    json_object_set_new(root, "target_modules", targets);
    json_object_set_new(root, "bias", json_string("none"));
    json_object_set_new(root, "fan_in_fan_out", json_false());
    json_object_set_new(root, "inference_mode", json_true());
    json_object_set_new(root, "init_lora_weights", json_true());
    json_object_set_new(root, "modules_to_save", json_null());
    json_object_set_new(root, "use_dora", json_false());
    json_object_set_new(root, "use_rslora", json_boolean(lora->rank_stabilised));
    return root;
}

static um_status write_config(const um_lora *lora, const char *dir, const char *base_model,
                              um_error *err)
{
    um_str text = UM_STR_INIT;
    char *path = NULL;
    json_t *root = config_json(lora, base_model);
    um_json_dump(&text, root);
    json_decref(root);
    um_str_append_char(&text, '\n');
    um_status status = um_str_status(&text, err);
    if (status == UM_OK)
        status = um_path_join(&path, dir, CONFIG_NAME, err);
    if (status == UM_OK)
        status = um_file_write(path, text.data, text.len, err);
    free(path);
    um_str_dispose(&text);
    return status;
}

um_status um_lora_save(const um_lora *lora, const char *dir, const char *base_model, um_error *err)
{
    size_t most = (size_t)lora->config.layers * UM_LORA_SLOTS * 2, n = 0;
    um_safetensor_source *sources = um_calloc(most, sizeof *sources);
    char(*names)[NAME_BYTES] = um_calloc(most, sizeof *names), *path = NULL;
    um_status status = UM_OK;
    if (sources == NULL || names == NULL) {
        status = um_fail_memory(err, "LoRA adapter");
        goto done;
    }
    uint64_t rank = (uint64_t)lora->rank;
    for (int l = 0; l < lora->config.layers; l++) {
        for (int s = 0; s < UM_LORA_SLOTS; s++) {
            const um_lora_slot *slot = &lora->layers[l][s];
            for (int part = 0; part < 2 && slot->in > 0; part++, n++) {
                tensor_name(names[n], l, s, part);
                sources[n] =
                    (um_safetensor_source){.name = names[n],
                                           .rows = part == 0 ? rank : (uint64_t)slot->out,
                                           .cols = part == 0 ? (uint64_t)slot->in : rank,
                                           .data = lora->data + (part == 0 ? slot->a : slot->b)};
            }
        }
    }
    if ((status = um_path_make_dirs(dir, err)) != UM_OK ||
        (status = um_path_join(&path, dir, WEIGHTS_NAME, err)) != UM_OK ||
        (status = um_safetensors_write(path, sources, n, err)) != UM_OK)
        goto done;
    status = write_config(lora, dir, base_model, err);
done:
    free(path);
    free(names);
    free(sources);
    return status;
}

/* Reading */

typedef struct peft_config {
    int rank;
    double alpha;
    bool rank_stabilised;
} peft_config;

static bool is_unset(const json_t *value)
{
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

/* Settings under which the tensors would mean something else. */
static um_status check_plain(const json_t *root, const char *path, um_error *err)
{
    static const char *const unset[] = {"use_dora",
                                        "use_qalora",
                                        "use_bdlora",
                                        "lora_bias",
                                        "fan_in_fan_out",
                                        "modules_to_save",
                                        "rank_pattern",
                                        "alpha_pattern",
                                        "layer_replication",
                                        "target_parameters",
                                        "trainable_token_indices",
                                        "alora_invocation_tokens"};
    static const char *const changes_base[] = {"pissa", "olora", "corda", "loftq", "lora_ga"};
    for (size_t i = 0; i < sizeof unset / sizeof unset[0]; i++) {
        if (!is_unset(json_object_get(root, unset[i])))
            return um_fail(err, UM_ERR_UNSUPPORTED, "%s: \"%s\" is set; plain LoRA only", path,
                           unset[i]);
    }
    const char *bias = json_string_value(json_object_get(root, "bias"));
    if (bias != NULL && strcmp(bias, "none") != 0)
        return um_fail(err, UM_ERR_UNSUPPORTED, "%s: \"bias\" is \"%.32s\"; only \"none\"", path,
                       bias);
    const char *init = json_string_value(json_object_get(root, "init_lora_weights"));
    for (size_t i = 0; init != NULL && i < sizeof changes_base / sizeof changes_base[0]; i++) {
        if (um_str_starts(init, changes_base[i]))
            return um_fail(err, UM_ERR_UNSUPPORTED,
                           "%s: \"init_lora_weights\" is \"%.32s\", which changes the base model "
                           "too; convert the adapter to plain LoRA",
                           path, init);
    }
    return UM_OK;
}

static um_status read_config(peft_config *out, const char *path, um_error *err)
{
    json_t *root = NULL;
    const char *type;
    int64_t rank = 0;
    um_status status = um_json_read(&root, path, CONFIG_MAX_BYTES, err);
    if (status == UM_OK)
        status = um_json_get_str(&type, root, "peft_type", path, err);
    if (status == UM_OK && strcmp(type, "LORA") != 0)
        status = um_fail(err, UM_ERR_UNSUPPORTED, "%s: peft_type is \"%.32s\"; only \"LORA\"", path,
                         type);
    if (status == UM_OK)
        status = check_plain(root, path, err);
    if (status == UM_OK)
        status = um_json_get_i64(&rank, root, "r", path, err);
    if (status == UM_OK && (rank < 1 || rank > INT32_MAX))
        status =
            um_fail(err, UM_ERR_INPUT, "%s: r is %lld; need at least 1", path, (long long)rank);
    if (status == UM_OK) /* 8 is PEFT's default */
        status = um_json_get_f64_or(&out->alpha, root, "lora_alpha", 8.0, path, err);
    if (status == UM_OK)
        status = um_json_get_bool_or(&out->rank_stabilised, root, "use_rslora", false, path, err);
    out->rank = (int)rank;
    json_decref(root);
    return status;
}

/* The matrices whose A the file holds in layer 0: target_modules may be a pattern. */
static unsigned targets_of(const um_safetensors *file)
{
    char name[NAME_BYTES];
    unsigned targets = 0;
    for (int s = 0; s < UM_LORA_SLOTS; s++) {
        tensor_name(name, 0, s, 0);
        if (um_safetensors_find(file, name) != NULL)
            targets |= 1u << s;
    }
    return targets;
}

static um_status read_part(um_lora *lora, const um_safetensors *file, int layer, int s, int part,
                           um_error *err)
{
    const um_lora_slot *slot = &lora->layers[layer][s];
    uint64_t rows = (uint64_t)(part == 0 ? lora->rank : slot->out);
    uint64_t cols = (uint64_t)(part == 0 ? slot->in : lora->rank);
    char name[NAME_BYTES];
    tensor_name(name, layer, s, part);
    const um_safetensor *tensor = um_safetensors_find(file, name);
    if (tensor == NULL)
        return um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\" is missing", file->path, name);
    if (tensor->n_dims != 2 || tensor->shape[0] != rows || tensor->shape[1] != cols)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: tensor \"%s\" is not of shape [%llu, %llu], as rank and model need",
                       file->path, name, (unsigned long long)rows, (unsigned long long)cols);
    return um_safetensors_floats(file, tensor, lora->data + (part == 0 ? slot->a : slot->b), err);
}

static um_status read_tensors(um_lora *lora, const um_safetensors *file, um_error *err)
{
    size_t n = 0;
    for (int l = 0; l < lora->config.layers; l++) {
        for (int s = 0; s < UM_LORA_SLOTS; s++) {
            for (int part = 0; part < 2 && lora->layers[l][s].in > 0; part++, n++) {
                um_status status = read_part(lora, file, l, s, part, err);
                if (status != UM_OK)
                    return status;
            }
        }
    }
    if (n != file->n)
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: %zu tensors, %zu of them on q, k, v, o, gate, up, down of the model's "
                       "%d layers; other adapted modules are not supported",
                       file->path, file->n, n, lora->config.layers);
    return UM_OK;
}

um_status um_lora_load(um_lora **out, const um_model_config *config, const char *dir, um_error *err)
{
    char *config_path = NULL, *weights_path = NULL;
    um_safetensors file = {0};
    um_lora *lora = NULL;
    peft_config peft = {0};
    um_status status = um_path_join(&config_path, dir, CONFIG_NAME, err);
    if (status == UM_OK)
        status = um_path_join(&weights_path, dir, WEIGHTS_NAME, err);
    if (status == UM_OK)
        status = read_config(&peft, config_path, err);
    if (status == UM_OK)
        status = um_safetensors_open(&file, weights_path, err);
    if (status != UM_OK)
        goto done;
    unsigned targets = targets_of(&file);
    if (targets == 0) {
        status = um_fail(err, UM_ERR_INPUT,
                         "%s: no tensor \"base_model.model.model.layers.0.<module>.lora_A.weight\" "
                         "of q, k, v, o, gate, up or down",
                         weights_path);
        goto done;
    }
    status = um_lora_make(&lora, config, peft.rank, peft.alpha, peft.rank_stabilised, targets, err);
    if (status == UM_OK)
        status = read_tensors(lora, &file, err);
    if (status == UM_OK) {
        *out = lora;
        lora = NULL;
    }
done:
    um_lora_free(lora);
    um_safetensors_close(&file);
    free(config_path);
    free(weights_path);
    return status;
}
