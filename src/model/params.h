/*
 * params.h - the weights of a model as one block of floats, and where each tensor lies in it.
 *
 * One block makes gradients, optimizer state, checkpoints and hashes loops over one array. Order:
 * embedding [V,C]; per layer: attn_norm [C], q [H*D,C], k [G*D,C], v [G*D,C], (q, k, v biases),
 * o [C,H*D], mlp_norm [C], gate [F,C], up [F,C], down [C,F]; final norm [C]; lm_head [V,C] unless
 * tied. q, k, v are adjacent so that one GEMM makes all three; so are gate and up.
 */
#ifndef UM_MODEL_PARAMS_H
#define UM_MODEL_PARAMS_H

#include <stddef.h>

#include "mirrorer/model.h"

typedef struct um_layer_offsets {
    size_t attn_norm, qkv, qkv_bias /* SIZE_MAX when none */, o, mlp_norm, gate_up, down;
} um_layer_offsets;

typedef struct um_params {
    size_t n;                              /* floats in all */
    size_t embedding, final_norm, lm_head; /* lm_head == embedding when tied */
    um_layer_offsets *layers;              /* [L] */
} um_params;

/* Lays out a checked configuration. UM_ERR_LIMIT when the sizes overflow. */
um_status um_params_layout(um_params *out, const um_model_config *config, um_error *err) UM_CHECKED;
void um_params_dispose(um_params *params);

/* The tensors by their Hugging Face names, for reading and writing files. */
typedef struct um_tensor_ref {
    char name[96];
    size_t offset;  /* floats */
    int rows, cols; /* cols 0 for vectors */
    bool decay;     /* matrices decay, vectors do not (only used where asked) */
} um_tensor_ref;
um_status um_params_tensors(um_tensor_ref **out, size_t *n, const um_params *params,
                            const um_model_config *config, um_error *err) UM_CHECKED;

struct um_model {
    um_model_config config;
    um_params params;
    float *data; /* [params.n], 64-byte aligned; NULL in a model that was opened packed */
    struct um_matrices *packed; /* of such a model; else NULL */
};

/* UM_ERR_STATE for a model without floats. */
um_status um_model_need_floats(const um_model *model, um_error *err) UM_CHECKED;

/* inv_freq[D/2] of the configuration, rope scaling applied (TRAINING.md, "RoPE"). */
void um_rope_frequencies(const um_model_config *config, float *inv_freq);

/* um_compute behind the public handle. */
#include "nn/backend.h"
struct um_compute {
    um_pool *pool;
    um_backend *backend;
};

#endif
