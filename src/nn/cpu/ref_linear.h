/* ref_linear.h - the reference's packed and bfloat16 products; see backend.h. */
#ifndef UM_NN_CPU_REF_LINEAR_H
#define UM_NN_CPU_REF_LINEAR_H

#include "nn/cpu/cpu.h"

size_t um_ref_acts_bytes(um_dtype dtype, int m, int k);
void um_ref_acts_set(um_backend *be, void *acts, um_dtype dtype, const float *x, int ldx, int m,
                     int k);
void um_ref_acts_norm(um_backend *be, void *acts, um_dtype dtype, const float *x, const float *w,
                      int m, int k, float eps);
um_status um_ref_pack(um_backend *be, um_packed *out, um_dtype dtype, const float *w, int n, int k,
                      bool pair, um_error *err);
void um_ref_packed_rows(um_backend *be, float *out, const um_packed *w, const int32_t *ids, int t);
double um_ref_dot_ops(um_backend *be, um_dtype dtype, int repeats);
void um_ref_linear(um_backend *be, float *y, int ldy, const void *acts, int m, const um_packed *w,
                   const float *bias, bool accumulate);
void um_ref_linear_gate(um_backend *be, void *out, const void *acts, int m, const um_packed *pair);
void um_ref_product(um_backend *be, const um_product *product);

#endif
