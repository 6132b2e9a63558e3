/*
 * kv.h - cached keys and values: rows of [G*D] floats in each layer, and who holds which rows.
 *
 * A holder takes runs of consecutive rows (um_span wants a sequence's own rows side by side). Row r
 * is the same row in every layer, for K and for V.
 */
#ifndef UM_MODEL_KV_H
#define UM_MODEL_KV_H

#include <stdbool.h>

#include "mirrorer/model.h"
#include "nn/backend.h"

typedef struct um_kv {
    um_backend *backend;
    um_buf buf;
    int rows, width, layers; /* width = G*D */
    int free_rows;
    um_range *free; /* free runs, ascending, never adjacent */
    int n_free, cap_free, n_taken;
} um_kv;

/* Bytes of one row over all layers, K and V. */
size_t um_kv_row_bytes(const um_model_config *config);
um_status um_kv_init(um_kv *kv, um_backend *backend, const um_model_config *config, int rows,
                     um_error *err) UM_CHECKED;
void um_kv_dispose(um_kv *kv); /* zero-initialised is fine */

float *um_kv_keys(const um_kv *kv, int layer);
float *um_kv_values(const um_kv *kv, int layer);

/* Takes n >= 1 consecutive rows: the first run that is long enough. False when there is none. */
bool um_kv_take(um_kv *kv, int n, um_range *out);
void um_kv_give(um_kv *kv, um_range range);

#endif
