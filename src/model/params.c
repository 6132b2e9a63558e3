/*
 * params.c - layout of the weight block, names of its tensors, rotary frequencies.
 *
 * Letters: V vocabulary, C model width, L layers, H query heads, G key/value heads, D head width,
 * F feed-forward width.
 */
#include "model/params.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"

#define TENSORS_PER_LAYER 12 /* the most a layer can have: 7 matrices, 2 norms, 3 biases */
#define TENSORS_OUTSIDE   3  /* embedding, final norm, lm_head */

/* Offset of the next rows x cols floats; *failed is set when the block would overflow. */
static size_t take(size_t *next, size_t rows, size_t cols, bool *failed)
{
    size_t count, end, at = *next;
    if (um_mul_overflows(rows, cols, &count) || __builtin_add_overflow(at, count, &end) ||
        end > SIZE_MAX / sizeof(float)) {
        *failed = true;
        return 0;
    }
    *next = end;
    return at;
}

um_status um_params_layout(um_params *out, const um_model_config *config, um_error *err)
{
    size_t v = (size_t)config->vocab, c = (size_t)config->hidden, f = (size_t)config->ffn;
    size_t d = (size_t)config->head_dim, layers = (size_t)config->layers;
    size_t q_rows = (size_t)config->heads * d, kv_rows = (size_t)config->kv_heads * d;
    um_params params = {0};
    bool failed = false;

    params.layers = um_calloc(layers, sizeof *params.layers);
    if (params.layers == NULL)
        return um_fail_memory(err, "parameter layout");
    size_t next = 0;
    params.embedding = take(&next, v, c, &failed);
    for (size_t l = 0; l < layers; l++) {
        um_layer_offsets *at = &params.layers[l];
        at->attn_norm = take(&next, 1, c, &failed);
        at->qkv = take(&next, q_rows + 2 * kv_rows, c, &failed);
        at->qkv_bias = config->qkv_bias ? take(&next, 1, q_rows + 2 * kv_rows, &failed) : SIZE_MAX;
        at->o = take(&next, c, q_rows, &failed);
        at->mlp_norm = take(&next, 1, c, &failed);
        at->gate_up = take(&next, 2 * f, c, &failed);
        at->down = take(&next, c, f, &failed);
    }
    params.final_norm = take(&next, 1, c, &failed);
    params.lm_head = config->tied ? params.embedding : take(&next, v, c, &failed);
    params.n = next;
    if (failed) {
        free(params.layers);
        return um_fail(err, UM_ERR_LIMIT,
                       "model configuration: the weights pass the address space (vocab %d, hidden "
                       "%d, layers %d, feed-forward %d)",
                       config->vocab, config->hidden, config->layers, config->ffn);
    }
    *out = params;
    return UM_OK;
}

void um_params_dispose(um_params *params)
{
    free(params->layers);
    *params = (um_params){0};
}

/* Matrices [rows, cols] decay; vectors (cols 0) do not. */
static um_tensor_ref tensor(size_t offset, int rows, int cols)
{
    return (um_tensor_ref){.offset = offset, .rows = rows, .cols = cols, .decay = cols > 0};
}

static size_t layer_tensors(um_tensor_ref *out, const um_layer_offsets *at, int layer,
                            const um_model_config *config)
{
    int c = config->hidden, f = config->ffn;
    int q_rows = config->heads * config->head_dim, kv_rows = config->kv_heads * config->head_dim;
    size_t q_size = (size_t)q_rows * (size_t)c, kv_size = (size_t)kv_rows * (size_t)c;
    size_t gate_size = (size_t)f * (size_t)c, bias = at->qkv_bias, n = 0;
    const char *names[TENSORS_PER_LAYER];

#define PUT(text, ...) (names[n] = (text), out[n] = tensor(__VA_ARGS__), n++)
    PUT("input_layernorm.weight", at->attn_norm, c, 0);
    PUT("self_attn.q_proj.weight", at->qkv, q_rows, c);
    PUT("self_attn.k_proj.weight", at->qkv + q_size, kv_rows, c);
    PUT("self_attn.v_proj.weight", at->qkv + q_size + kv_size, kv_rows, c);
    if (config->qkv_bias) {
        PUT("self_attn.q_proj.bias", bias, q_rows, 0);
        PUT("self_attn.k_proj.bias", bias + (size_t)q_rows, kv_rows, 0);
        PUT("self_attn.v_proj.bias", bias + (size_t)(q_rows + kv_rows), kv_rows, 0);
    }
    PUT("self_attn.o_proj.weight", at->o, c, q_rows);
    PUT("post_attention_layernorm.weight", at->mlp_norm, c, 0);
    PUT("mlp.gate_proj.weight", at->gate_up, f, c);
    PUT("mlp.up_proj.weight", at->gate_up + gate_size, f, c);
    PUT("mlp.down_proj.weight", at->down, c, f);
#undef PUT
    for (size_t i = 0; i < n; i++)
        snprintf(out[i].name, sizeof out[i].name, "model.layers.%d.%s", layer, names[i]);
    return n;
}

um_status um_params_tensors(um_tensor_ref **out, size_t *n, const um_params *params,
                            const um_model_config *config, um_error *err)
{
    size_t layers = (size_t)config->layers, len = 0;
    um_tensor_ref *refs = um_calloc(layers * TENSORS_PER_LAYER + TENSORS_OUTSIDE, sizeof *refs);
    if (refs == NULL)
        return um_fail_memory(err, "tensor names");
    refs[len] = tensor(params->embedding, config->vocab, config->hidden);
    snprintf(refs[len].name, sizeof refs[len].name, "model.embed_tokens.weight");
    len++;
    for (size_t l = 0; l < layers; l++)
        len += layer_tensors(refs + len, &params->layers[l], (int)l, config);
    refs[len] = tensor(params->final_norm, config->hidden, 0);
    snprintf(refs[len].name, sizeof refs[len].name, "model.norm.weight");
    len++;
    if (!config->tied) {
        refs[len] = tensor(params->lm_head, config->vocab, config->hidden);
        snprintf(refs[len].name, sizeof refs[len].name, "lm_head.weight");
        len++;
    }
    *out = refs;
    *n = len;
    return UM_OK;
}

/*
 * Su et al. 2021 (RoFormer); "llama3": Meta's Llama 3.1 release. A frequency whose wavelength is
 * short against the original context stays, a long one is divided by the factor, and those between
 * are blended.
 */
void um_rope_frequencies(const um_model_config *config, float *inv_freq)
{
    int half = config->head_dim / 2;
    for (int i = 0; i < half; i++) {
        double frequency = pow(config->rope_theta, -2.0 * i / config->head_dim);
        if (config->rope_scaling == UM_ROPE_LINEAR) {
            frequency /= config->rope_factor;
        } else if (config->rope_scaling == UM_ROPE_LLAMA3) {
            double turns = config->rope_original * frequency / (2.0 * M_PI);
            double slow = frequency / config->rope_factor;
            if (turns < config->rope_low) {
                frequency = slow;
            } else if (turns <= config->rope_high) {
                double blend = (turns - config->rope_low) / (config->rope_high - config->rope_low);
                frequency = (1.0 - blend) * slow + blend * frequency;
            }
        }
        inv_freq[i] = (float)frequency;
    }
}
