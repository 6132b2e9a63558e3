/*
 * matrices.h - the weights of a model as a forward pass reads them: matrices packed for products
 * (nn/packed.h), vectors as floats.
 *
 * They come from a model's block of floats, or from a file of packed matrices (packed_file.h).
 */
#ifndef UM_MODEL_MATRICES_H
#define UM_MODEL_MATRICES_H

#include "mirrorer/model.h"
#include "nn/backend.h"

typedef struct um_layer_matrices {
    const float *attn_norm, *mlp_norm; /* [C] */
    const float *qkv_bias;             /* [(H+2G)*D], or NULL */
    um_packed qkv;                     /* [(H+2G)*D, C] */
    um_packed o;                       /* [C, H*D] */
    um_packed gate_up;                 /* a pair, [2F, C] */
    um_packed down;                    /* [C, F] */
} um_layer_matrices;

typedef struct um_matrices {
    um_dtype dtype;
    int n_layers;
    um_layer_matrices *layers;
    const float *final_norm; /* [C] */
    um_packed head;          /* [V, C] */
    um_packed embedding;     /* [V, C]; head's memory when tied; not for UM_F32 */
    const float *table;      /* the same as rows of floats, UM_F32 only */
    float *vectors;          /* what norms and biases lie in, where they are owned */
    uint64_t hash;           /* of the model that they were made from, where that is not at hand */
} um_matrices;

struct um_model;
/* Packs the floats of a model; vectors and `table` are borrowed from it. */
um_status um_matrices_pack(um_matrices *out, um_backend *backend, const struct um_model *model,
                           um_dtype dtype, um_error *err) UM_CHECKED;
/* Releases what is owned; zero-initialised is fine. */
void um_matrices_dispose(um_matrices *matrices, um_backend *backend);

/* out[n, C] = rows of the head as a matrix of its own, with the very values it has in the head. */
um_status um_matrices_head_rows(um_packed *out, um_backend *backend, const um_matrices *matrices,
                                const int32_t *rows, int n, um_error *err) UM_CHECKED;

#endif
