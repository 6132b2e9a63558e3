/*
 * forward.h - the model's forward pass for inference: packed rows against cached keys and values.
 *
 * A pass is T rows cut into spans of sequences (um_kv_span) in row order. In each layer the K and V
 * of all rows are written before any row attends, so that a span may attend to what another span of
 * the same pass writes. What comes out are the final hidden states of chosen rows; only those rows
 * see the last layer's feed-forward half and the LM head.
 *
 * A row's result depends on the tokens of its sequence up to its own, not on the pass it was
 * computed in (the backend's contract).
 */
#ifndef UM_MODEL_FORWARD_H
#define UM_MODEL_FORWARD_H

#include "model/matrices.h"
#include "model/params.h"

/* Rows whose logits um_forward_head computes at a time: few, for a row of them is large. */
enum { UM_HEAD_ROWS = 128 };

typedef struct um_pass {
    int n_rows;
    const int32_t *ids; /* [n_rows] */
    int n_spans;
    const um_kv_span *spans; /* cover the rows in order */
    int n_out;
    const int32_t *out_rows; /* [n_out] ascending */
} um_pass;

typedef struct um_forward um_forward;

/* Packs the weights as `dtype` (the model may not change while this lives), or uses those of a model
 * that was opened packed, and sizes the workspace for passes of at most max_rows rows, max_out of
 * them wanted. Model and compute are borrowed. */
um_status um_forward_new(um_forward **out, const um_model *model, um_compute *compute,
                         um_dtype dtype, int max_rows, int max_out, um_error *err) UM_CHECKED;
void um_forward_free(um_forward *forward);

/*
 * Runs a pass. Returns the normed hidden states [n_out, C], valid until the next call. A cache of
 * one layer serves passes of whole sequences (before = 0): every layer writes over the one below.
 */
const float *um_forward_run(um_forward *forward, um_kv_cache *cache, const um_pass *pass);
/* y[n, N] = hidden [n, C] times w, n <= max_rows. */
void um_forward_product(um_forward *forward, float *y, const float *hidden, int n,
                        const um_packed *w);
/* The weights in use. */
const um_matrices *um_forward_weights(const um_forward *forward);
/* LM head over hidden [n, C], n <= UM_HEAD_ROWS: logits [n, V], yours to overwrite until the next
 * call. */
float *um_forward_head(um_forward *forward, const float *hidden, int n);

#endif
