/*
 * model.c - a model as a value: made at random, read, written, copied, hashed.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "model/config.h"
#include "model/matrices.h"
#include "model/packed_file.h"
#include "model/params.h"
#include "model/weights.h"

/* A model of a checked configuration without weights. */
static um_status new_model(um_model **out, const um_model_config *config, um_error *err)
{
    um_model *model = um_calloc(1, sizeof *model);
    if (model == NULL)
        return um_fail_memory(err, "model");
    model->config = *config;
    um_status status = um_params_layout(&model->params, config, err);
    if (status != UM_OK) {
        free(model);
        return status;
    }
    *out = model;
    return UM_OK;
}

um_status um_model_alloc(um_model *model, um_error *err)
{
    model->data = um_aligned_calloc(model->params.n, sizeof *model->data);
    if (model->data == NULL)
        return um_fail(err, UM_ERR_MEMORY, "weights: out of memory, %zu bytes are needed",
                       model->params.n * sizeof *model->data);
    return UM_OK;
}

void um_model_free(um_model *model)
{
    if (model == NULL)
        return;
    um_packed_file_unmap(model);
    um_params_dispose(&model->params);
    free(model->data);
    free(model);
}

static void fill_normal(float *out, size_t n, double std, uint64_t seed, uint64_t stream)
{
    um_rng rng;
    um_rng_init(&rng, seed, UM_RNG_INIT, stream, 0, 0);
    for (size_t i = 0; i < n; i++)
        out[i] = (float)(std * um_rng_normal(&rng));
}

static void fill_ones(float *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = 1.0f;
}

/* Each tensor has its own random stream: stream 0 the embedding, 1 the output matrix, then four a
 * layer. */
static void init_weights(um_model *model, double std, double embedding_std, uint64_t seed)
{
    const um_model_config *config = &model->config;
    const um_params *params = &model->params;
    size_t c = (size_t)config->hidden, v = (size_t)config->vocab, f = (size_t)config->ffn;
    size_t q_rows = (size_t)config->heads * (size_t)config->head_dim;
    size_t kv_rows = (size_t)config->kv_heads * (size_t)config->head_dim;
    /* Radford et al. 2019 (GPT-2): the residual stream sums 2 L outputs. */
    double out_std = std / sqrt(2.0 * config->layers);

    fill_normal(model->data + params->embedding, v * c, embedding_std, seed, 0);
    if (!config->tied)
        fill_normal(model->data + params->lm_head, v * c, std, seed, 1);
    for (size_t l = 0; l < (size_t)config->layers; l++) {
        const um_layer_offsets *at = &params->layers[l];
        uint64_t stream = 2 + 4 * (uint64_t)l;
        fill_ones(model->data + at->attn_norm, c);
        fill_ones(model->data + at->mlp_norm, c);
        fill_normal(model->data + at->qkv, (q_rows + 2 * kv_rows) * c, std, seed, stream);
        fill_normal(model->data + at->o, c * q_rows, out_std, seed, stream + 1);
        fill_normal(model->data + at->gate_up, 2 * f * c, std, seed, stream + 2);
        fill_normal(model->data + at->down, c * f, out_std, seed, stream + 3);
    }
    fill_ones(model->data + params->final_norm, c);
}

um_status um_model_init(um_model **out, const um_model_config *config, float init_std,
                        float embedding_std, uint64_t seed, um_error *err)
{
    um_model *model = NULL;
    if (!(isfinite(init_std) && init_std >= 0.0f && isfinite(embedding_std) &&
          embedding_std >= 0.0f))
        return um_fail(err, UM_ERR_INPUT,
                       "init_std and embedding_std must be 0 or more, found %g and %g",
                       (double)init_std, (double)embedding_std);
    um_status status = um_model_config_check(config, err);
    if (status == UM_OK)
        status = new_model(&model, config, err);
    if (status == UM_OK)
        status = um_model_alloc(model, err);
    if (status != UM_OK) {
        um_model_free(model);
        return status;
    }
    init_weights(model, (double)init_std, (double)embedding_std, seed);
    *out = model;
    return UM_OK;
}

um_status um_model_load(um_model **out, const char *dir, um_error *err)
{
    um_model_config config;
    um_model *model = NULL;
    um_status status = um_model_config_read(&config, dir, err);
    if (status == UM_OK)
        status = new_model(&model, &config, err);
    if (status == UM_OK)
        status = um_weights_read(model, dir, err);
    if (status != UM_OK) {
        um_model_free(model);
        return status;
    }
    *out = model;
    return UM_OK;
}

um_status um_model_pack(const char *dir, um_dtype dtype, um_compute *compute,
                        const um_monitor *monitor, um_error *err)
{
    if (dtype == UM_F32)
        return um_fail(err, UM_ERR_INPUT, "weights are packed as bf16, f16 or int8");
    return um_packed_file_write(dir, dtype, compute, monitor, err);
}

um_status um_model_open(um_model **out, const char *dir, um_dtype dtype, um_compute *compute,
                        const um_monitor *monitor, um_error *err)
{
    um_model_config config;
    um_model *model = NULL;
    if (dtype == UM_F32)
        return um_model_load(out, dir, err);
    um_status status = um_model_config_read(&config, dir, err);
    if (status == UM_OK)
        status = new_model(&model, &config, err);
    if (status == UM_OK)
        status = um_packed_file_map(model, dir, dtype, compute, err);
    /* What is missing, old or damaged is made from the model's own files. */
    if (status == UM_ERR_NOT_FOUND || status == UM_ERR_STATE || status == UM_ERR_INPUT) {
        if (status != UM_ERR_NOT_FOUND)
            um_monitor_message(monitor, "%s; it is made again", err != NULL ? err->text : dir);
        status = um_packed_file_write(dir, dtype, compute, monitor, err);
        if (status == UM_OK)
            status = um_packed_file_map(model, dir, dtype, compute, err);
    }
    if (status != UM_OK) {
        um_model_free(model);
        return status;
    }
    *out = model;
    return UM_OK;
}

static um_status write_text(const char *dir, const char *name, const um_str *text, um_error *err)
{
    char *path = NULL;
    um_status status = um_str_status(text, err);
    if (status == UM_OK)
        status = um_path_join(&path, dir, name, err);
    if (status == UM_OK)
        status = um_file_write(path, text->data, text->len, err);
    free(path);
    return status;
}

um_status um_model_save(const um_model *model, const um_tokenizer *tok, const char *dir,
                        um_error *err)
{
    um_str config = UM_STR_INIT, generation = UM_STR_INIT;
    int32_t end_of_turn = tok != NULL ? um_chat_end_of_turn(tok, um_chat_detect(tok)) : -1;
    um_model_config_write(&config, &model->config);
    um_model_generation_write(&generation, &model->config, end_of_turn);
    um_status status = um_model_need_floats(model, err);
    if (status == UM_OK)
        status = um_path_make_dirs(dir, err);
    if (status == UM_OK)
        status = um_weights_write(model, dir, err);
    if (status == UM_OK)
        status = write_text(dir, "config.json", &config, err);
    if (status == UM_OK)
        status = write_text(dir, "generation_config.json", &generation, err);
    if (status == UM_OK && tok != NULL)
        status = um_tokenizer_save(tok, dir, err);
    um_str_dispose(&config);
    um_str_dispose(&generation);
    return status;
}

um_status um_model_clone(um_model **out, const um_model *model, um_error *err)
{
    um_model *copy = NULL;
    um_status status = um_model_need_floats(model, err);
    if (status == UM_OK)
        status = new_model(&copy, &model->config, err);
    if (status == UM_OK)
        status = um_model_alloc(copy, err);
    if (status != UM_OK) {
        um_model_free(copy);
        return status;
    }
    memcpy(copy->data, model->data, model->params.n * sizeof *model->data);
    *out = copy;
    return UM_OK;
}

const um_model_config *um_model_get_config(const um_model *model)
{
    return &model->config;
}

uint64_t um_model_parameters(const um_model *model)
{
    return model->params.n;
}

um_status um_model_need_floats(const um_model *model, um_error *err)
{
    if (model->packed == NULL)
        return UM_OK;
    return um_fail(err, UM_ERR_STATE,
                   "the model was opened with packed %s weights, for answering only; load it as f32",
                   um_dtype_name(model->packed->dtype));
}

uint64_t um_model_hash(const um_model *model)
{
    if (model->packed != NULL)
        return model->packed->hash;
    um_str config = UM_STR_INIT;
    um_model_config_write(&config, &model->config);
    uint64_t hash = um_hash_str(um_str_text(&config), 0);
    um_str_dispose(&config);
    return um_hash(model->data, model->params.n * sizeof *model->data, hash);
}
