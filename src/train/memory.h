/*
 * memory.h - what a training run holds beside the model's weights, known before it allocates.
 *
 * The workspace is computed, not estimated: each part is exactly what its allocation asks for. When
 * the activations of all layers do not fit, as many layers as needed (and no more) are computed
 * again in the backward pass, which changes no result (graph.h, "recompute").
 */
#ifndef UM_TRAIN_MEMORY_H
#define UM_TRAIN_MEMORY_H

#include "train/plan.h"

typedef struct um_train_memory {
    uint64_t state;       /* gradient and two moments of what is trained */
    uint64_t activations; /* the graph's workspace */
    uint64_t rows;        /* plan, batch, scores */
    uint64_t total;       /* of these; UINT64_MAX when it would overflow */
    int recompute;        /* layers whose activations are computed again */
} um_train_memory;

/*
 * Bytes there are for a run on a machine of so much physical memory, of which so much can still be
 * had: the weights are in memory already. `available` need not tell (pages of a file mapped, or not
 * touched yet, count as available), so they are taken off the physical memory too. limit: what the
 * caller allows for weights and run together; 0: no limit of its own.
 */
uint64_t um_train_room(uint64_t physical, uint64_t available, uint64_t limit, size_t n_weights);

/* What the size of a run depends on. */
typedef struct um_train_shape {
    const um_model_config *config;
    const um_plan *plan;
    size_t n_values; /* floats that are trained */
    int lora_rank;   /* 0: the weights themselves */
    bool bf16;
} um_train_shape;

/*
 * Chooses recompute so that the run fits into `room` bytes. When nothing fits: UM_ERR_LIMIT, saying
 * by how much and what would fit. *out is set in both cases.
 */
um_status um_train_fit_memory(um_train_memory *out, const um_train_shape *shape, uint64_t room,
                              um_error *err) UM_CHECKED;

#endif
