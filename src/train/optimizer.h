/* optimizer.h - AdamW (Loshchilov & Hutter 2019) with clipping by the global norm. */
#ifndef UM_TRAIN_OPTIMIZER_H
#define UM_TRAIN_OPTIMIZER_H

#include "mirrorer/train.h"
#include "nn/backend.h"

typedef struct um_optimizer {
    um_backend *be; /* borrowed */
    size_t n;       /* floats of the weight block */
    um_buf m, v;    /* [n] first and second moment */
    int64_t step;   /* updates done */
} um_optimizer;

um_status um_optimizer_init(um_optimizer *optimizer, um_backend *be, size_t n,
                            um_error *err) UM_CHECKED;
void um_optimizer_dispose(um_optimizer *optimizer);

/*
 * One update of weights[n] with gradient[n] at learning rate lr; the other hyper-parameters come
 * from options. The gradient is scaled by min(1, max_grad_norm / (norm + 1e-6)) when max_grad_norm
 * is above 0. *norm: before clipping. A norm that is not finite: UM_ERR_NUMERIC, nothing changed.
 */
um_status um_optimizer_update(um_optimizer *optimizer, float *weights, const float *gradient,
                              double lr, const um_train_options *options, double *norm,
                              um_error *err) UM_CHECKED;

#endif
