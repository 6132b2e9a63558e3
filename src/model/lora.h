/*
 * lora.h (internal) - an adapter as one block of floats, and where each matrix lies in it.
 *
 * Order: per layer, per adapted matrix (q, k, v, o, gate, up, down): A [rank, in], B [out, rank].
 */
#ifndef UM_MODEL_LORA_H
#define UM_MODEL_LORA_H

#include <stddef.h>

#include "mirrorer/lora.h"
#include "model/params.h"

enum { UM_LORA_SLOTS = 7 };

/* One matrix. in == 0: not adapted. */
typedef struct um_lora_slot {
    int in, out;
    size_t a, b;   /* offsets in the adapter's block */
    size_t weight; /* offset of W in the model's */
    int column; /* first column of its output where q, k, v or gate, up are made by one product */
} um_lora_slot;

struct um_lora {
    um_model_config config; /* of the model it fits */
    int rank;
    double alpha;
    bool rank_stabilised; /* scale is alpha / sqrt(rank): Kalajdzievski 2023 */
    unsigned targets;
    float scale;
    size_t n;                              /* floats in all */
    float *data;                           /* [n], 64-byte aligned */
    um_lora_slot (*layers)[UM_LORA_SLOTS]; /* [L] */
};

/* "self_attn.q_proj", ... of a slot: static storage. */
const char *um_lora_module(int slot);
/* The adapter without values; config is checked. */
um_status um_lora_make(um_lora **out, const um_model_config *config, int rank, double alpha,
                       bool rank_stabilised, unsigned targets, um_error *err) UM_CHECKED;
/* Floats of an adapter; SIZE_MAX when they would overflow. */
size_t um_lora_count(const um_model_config *config, int rank, unsigned targets);

#endif
