/*
 * ref_attention.h - attention of the scalar reference backend (see ref.c).
 */
#ifndef UM_NN_CPU_REF_ATTENTION_H
#define UM_NN_CPU_REF_ATTENTION_H

#include "nn/backend.h"

void um_ref_attention_forward(um_backend *be, float *out, int ldo, float *lse, const float *q,
                              int ldq, const float *k, const float *v, int ldkv,
                              const um_attention_shape *shape, const um_span *spans, int n_spans,
                              const um_range *prefixes);
void um_ref_attention_backward(um_backend *be, float *dq, int lddq, float *dk, float *dv, int lddkv,
                               const float *dout, int lddo, const float *out, int ldo,
                               const float *lse, const float *q, int ldq, const float *k,
                               const float *v, int ldkv, const um_attention_shape *shape,
                               const um_span *spans, int n_spans, const um_range *prefixes);

#endif
