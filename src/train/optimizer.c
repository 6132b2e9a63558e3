#include "train/optimizer.h"

#include <math.h>

#include "base/error.h"
#include "base/mem.h"

#define CLIP_EPSILON 1e-6

um_status um_optimizer_init(um_optimizer *optimizer, um_backend *be, size_t n, um_error *err)
{
    size_t bytes;
    *optimizer = (um_optimizer){.be = be, .n = n};
    if (um_mul_overflows(n, sizeof(float), &bytes))
        return um_fail_memory(err, "optimizer state");
    um_status status = be->ops->alloc(be, &optimizer->m, bytes, err);
    if (status == UM_OK)
        status = be->ops->alloc(be, &optimizer->v, bytes, err);
    if (status != UM_OK)
        um_optimizer_dispose(optimizer);
    return status;
}

void um_optimizer_dispose(um_optimizer *optimizer)
{
    if (optimizer->m.data != NULL)
        optimizer->be->ops->release(optimizer->be, &optimizer->m);
    if (optimizer->v.data != NULL)
        optimizer->be->ops->release(optimizer->be, &optimizer->v);
    *optimizer = (um_optimizer){0};
}

um_status um_optimizer_update(um_optimizer *optimizer, float *weights, const float *gradient,
                              double lr, const um_train_options *options, double *norm,
                              um_error *err)
{
    um_backend *be = optimizer->be;
    *norm = sqrt(be->ops->sum_squares(be, gradient, optimizer->n));
    if (!isfinite(*norm))
        return um_fail(err, UM_ERR_NUMERIC, "gradient norm is %g", *norm);
    double scale = 1.0;
    if (options->max_grad_norm > 0.0)
        scale = fmin(1.0, options->max_grad_norm / (*norm + CLIP_EPSILON));
    um_adamw hyper = {.lr = lr,
                      .beta1 = options->beta1,
                      .beta2 = options->beta2,
                      .eps = options->eps,
                      .weight_decay = options->weight_decay,
                      .grad_scale = (float)scale,
                      .step = ++optimizer->step};
    be->ops->adamw(be, weights, gradient, optimizer->m.data, optimizer->v.data, optimizer->n,
                   &hyper);
    return UM_OK;
}
