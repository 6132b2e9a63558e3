#include "model/lora.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"

#define MAX_RANK 4096

static const struct {
    const char *name, *module;
} slots[UM_LORA_SLOTS] = {
    {"q", "self_attn.q_proj"}, {"k", "self_attn.k_proj"}, {"v", "self_attn.v_proj"},
    {"o", "self_attn.o_proj"}, {"gate", "mlp.gate_proj"}, {"up", "mlp.up_proj"},
    {"down", "mlp.down_proj"},
};

const char *um_lora_module(int slot)
{
    return slots[slot].module;
}

um_status um_lora_parse_targets(unsigned *out, const char *text, um_error *err)
{
    unsigned targets = 0;
    if (strcmp(text, "all") == 0) {
        *out = UM_LORA_ALL;
        return UM_OK;
    }
    for (const char *at = text; *at != '\0';) {
        size_t length = strcspn(at, ",");
        int slot = 0;
        while (slot < UM_LORA_SLOTS &&
               (strlen(slots[slot].name) != length || strncmp(slots[slot].name, at, length) != 0))
            slot++;
        if (slot == UM_LORA_SLOTS)
            return um_fail(err, UM_ERR_INPUT,
                           "LoRA targets: found '%.*s'; need all, or some of q,k,v,o,gate,up,down",
                           (int)length, at);
        targets |= 1u << slot;
        at += length + (at[length] == ',');
    }
    if (targets == 0)
        return um_fail(err, UM_ERR_INPUT,
                       "LoRA targets: none; need all, or some of q,k,v,o,gate,up,down");
    *out = targets;
    return UM_OK;
}

/* Shape of the seven matrices, without offsets. */
static void shapes(um_lora_slot out[UM_LORA_SLOTS], const um_model_config *config)
{
    int c = config->hidden, f = config->ffn;
    int q = config->heads * config->head_dim, kv = config->kv_heads * config->head_dim;
    const um_lora_slot all[UM_LORA_SLOTS] = {
        {.in = c, .out = q},
        {.in = c, .out = kv, .column = q},
        {.in = c, .out = kv, .column = q + kv},
        {.in = q, .out = c},
        {.in = c, .out = f},
        {.in = c, .out = f, .column = f},
        {.in = f, .out = c},
    };
    memcpy(out, all, sizeof all);
}

size_t um_lora_count(const um_model_config *config, int rank, unsigned targets)
{
    um_lora_slot of[UM_LORA_SLOTS];
    size_t layer = 0, n, bytes;
    shapes(of, config);
    for (int s = 0; s < UM_LORA_SLOTS; s++) {
        if ((targets & 1u << s) != 0)
            layer += ((size_t)of[s].in + (size_t)of[s].out) * (size_t)rank;
    }
    if (um_mul_overflows(layer, (size_t)config->layers, &n) ||
        um_mul_overflows(n, sizeof(float), &bytes))
        return SIZE_MAX;
    return n;
}

static void lay_out(um_lora *lora, const um_params *params)
{
    size_t next = 0, rank = (size_t)lora->rank;
    for (int l = 0; l < lora->config.layers; l++) {
        const um_layer_offsets *at = &params->layers[l];
        um_lora_slot *of = lora->layers[l];
        shapes(of, &lora->config);
        for (int s = 0; s < UM_LORA_SLOTS; s++) {
            size_t base = s < 3 ? at->qkv : s == 3 ? at->o : s < 6 ? at->gate_up : at->down;
            if ((lora->targets & 1u << s) == 0) {
                of[s] = (um_lora_slot){0};
                continue;
            }
            of[s].weight = base + (size_t)of[s].column * (size_t)of[s].in;
            of[s].a = next;
            of[s].b = next + rank * (size_t)of[s].in;
            next = of[s].b + rank * (size_t)of[s].out;
        }
    }
}

um_status um_lora_make(um_lora **out, const um_model_config *config, int rank, double alpha,
                       bool rank_stabilised, unsigned targets, um_error *err)
{
    if (rank < 1 || rank > MAX_RANK || !(isfinite(alpha) && fabs(alpha) <= 1e6) || targets == 0 ||
        targets > UM_LORA_ALL)
        return um_fail(err, UM_ERR_INPUT,
                       "LoRA: found rank %d, alpha %g, targets %u; need a rank of 1 to %d, a "
                       "finite alpha, and some of q,k,v,o,gate,up,down",
                       rank, alpha, targets, MAX_RANK);
    um_params params;
    um_status status = um_model_config_check(config, err);
    if (status == UM_OK)
        status = um_params_layout(&params, config, err);
    if (status != UM_OK)
        return status;
    um_lora *lora = um_calloc(1, sizeof *lora);
    size_t n = um_lora_count(config, rank, targets);
    if (lora != NULL && n != SIZE_MAX) {
        *lora = (um_lora){.config = *config,
                          .rank = rank,
                          .alpha = alpha,
                          .rank_stabilised = rank_stabilised,
                          .targets = targets,
                          .n = n};
        lora->scale = (float)(alpha / (rank_stabilised ? sqrt(rank) : rank));
        lora->layers = um_calloc((size_t)config->layers, sizeof *lora->layers);
        lora->data = um_aligned_calloc(n, sizeof *lora->data);
    }
    if (lora == NULL || lora->layers == NULL || lora->data == NULL) {
        um_lora_free(lora);
        um_params_dispose(&params);
        return um_fail_memory(err, "LoRA adapter");
    }
    lay_out(lora, &params);
    um_params_dispose(&params);
    *out = lora;
    return UM_OK;
}

um_status um_lora_new(um_lora **out, const um_model_config *config, const um_lora_options *options,
                      um_error *err)
{
    um_lora *lora;
    um_status status =
        um_lora_make(&lora, config, options->rank, options->alpha, false, options->targets, err);
    if (status != UM_OK)
        return status;
    for (int l = 0; l < config->layers; l++) {
        for (int s = 0; s < UM_LORA_SLOTS; s++) {
            const um_lora_slot *slot = &lora->layers[l][s];
            size_t n = (size_t)lora->rank * (size_t)slot->in;
            double bound = slot->in > 0 ? 1.0 / sqrt(slot->in) : 0.0;
            um_rng rng;
            um_rng_init(&rng, options->seed, UM_RNG_LORA, (uint64_t)l, (uint64_t)s, 0);
            for (size_t i = 0; i < n; i++)
                lora->data[slot->a + i] = (float)(bound * (2.0 * um_rng_uniform(&rng) - 1.0));
        }
    }
    *out = lora;
    return UM_OK;
}

void um_lora_free(um_lora *lora)
{
    if (lora == NULL)
        return;
    free(lora->layers);
    free(lora->data);
    free(lora);
}

/* W += scale B A, row by row; sums is scratch of a row. */
static void merge_slot(float *weights, const um_lora *lora, const um_lora_slot *slot, double *sums)
{
    size_t in = (size_t)slot->in, rank = (size_t)lora->rank;
    for (size_t o = 0; o < (size_t)slot->out; o++) {
        float *w = weights + slot->weight + o * in;
        memset(sums, 0, in * sizeof *sums);
        for (size_t r = 0; r < rank; r++) {
            const float *a = lora->data + slot->a + r * in;
            double b = (double)lora->data[slot->b + o * rank + r];
            for (size_t i = 0; i < in; i++)
                sums[i] += b * (double)a[i];
        }
        for (size_t i = 0; i < in; i++)
            w[i] += (float)((double)lora->scale * sums[i]);
    }
}

um_status um_lora_merge(um_model *model, const um_lora *lora, um_error *err)
{
    const um_model_config *a = &model->config, *b = &lora->config;
    if (a->hidden != b->hidden || a->layers != b->layers || a->heads != b->heads ||
        a->kv_heads != b->kv_heads || a->head_dim != b->head_dim || a->ffn != b->ffn ||
        a->vocab != b->vocab || a->qkv_bias != b->qkv_bias || a->tied != b->tied)
        return um_fail(err, UM_ERR_INPUT,
                       "LoRA: the adapter is of another shape (width %d, %d layers) than the model "
                       "(width %d, %d layers)",
                       b->hidden, b->layers, a->hidden, a->layers);
    um_status status = um_model_need_floats(model, err);
    if (status != UM_OK)
        return status;
    int widest = b->hidden > b->ffn ? b->hidden : b->ffn;
    if (widest < b->heads * b->head_dim)
        widest = b->heads * b->head_dim;
    double *sums = um_calloc((size_t)widest, sizeof *sums);
    if (sums == NULL)
        return um_fail_memory(err, "LoRA adapter");
    for (int l = 0; l < b->layers; l++) {
        for (int s = 0; s < UM_LORA_SLOTS; s++)
            merge_slot(model->data, lora, &lora->layers[l][s], sums);
    }
    free(sums);
    return UM_OK;
}

uint64_t um_lora_parameters(const um_lora *lora)
{
    return lora->n;
}

uint64_t um_lora_hash(const um_lora *lora)
{
    const uint64_t head[] = {(uint64_t)lora->rank, lora->targets, lora->n};
    uint64_t hash = um_hash(head, sizeof head, 0);
    hash = um_hash(&lora->scale, sizeof lora->scale, hash);
    return um_hash(lora->data, lora->n * sizeof *lora->data, hash);
}
