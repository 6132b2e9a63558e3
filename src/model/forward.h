/*
 * forward.h - the model's forward pass for inference: packed rows against a key/value cache.
 *
 * A pass is T rows cut into spans (nn/backend.h) in row order. Each row's K and V go to its cache
 * row first, so spans may attend to rows of the same pass. What comes out are the final hidden
 * states of chosen rows; only those rows see the last layer's feed-forward half and the LM head.
 *
 * A row's result depends on its token, position and what it attends to, not on the pass it was
 * computed in (the backend's contract).
 */
#ifndef UM_MODEL_FORWARD_H
#define UM_MODEL_FORWARD_H

#include "model/kv.h"
#include "model/params.h"

typedef struct um_pass {
    int n_rows;
    const int32_t *ids;       /* [n_rows] */
    const int32_t *positions; /* [n_rows] */
    const int32_t *kv_rows;   /* [n_rows] cache row that each row fills */
    int n_spans;
    const um_span *spans; /* cover the rows in order */
    const um_range *prefixes;
    int n_out;
    const int32_t *out_rows; /* [n_out] ascending */
} um_pass;

typedef struct um_forward um_forward;

/* Packs the weights (the model may not change while this lives) and sizes the workspace for passes
 * of at most max_rows rows, max_out of them wanted. Model and compute are borrowed. */
um_status um_forward_new(um_forward **out, const um_model *model, um_compute *compute, int max_rows,
                         int max_out, um_error *err) UM_CHECKED;
void um_forward_free(um_forward *forward);

/* Runs a pass. Returns the normed hidden states [n_out, C], valid until the next call. */
const float *um_forward_run(um_forward *forward, um_kv *kv, const um_pass *pass);
/* LM head over hidden [n, C], n <= max_out: logits [n, V], yours to overwrite until the next call.
 */
float *um_forward_head(um_forward *forward, const float *hidden, int n);

#endif
