/*
 * ref_linear.c - products with packed weights in the scalar reference: activations are plain rows,
 * rounded to what the fast backends round them to, and every sum runs in double.
 */
#include "nn/cpu/ref_linear.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "nn/number.h"

size_t um_ref_acts_bytes(um_dtype dtype, int m, int k)
{
    size_t bytes;
    (void)dtype;
    return um_mul_overflows((size_t)m * sizeof(float), (size_t)k, &bytes) ? 0 : bytes;
}

/* Rounds a row as acts are rounded. */
static void round_row(float *x, um_dtype dtype, int k)
{
    for (int i = 0; i < k && dtype == UM_BF16; i++)
        x[i] = um_bf16_value(um_bf16_bits(x[i]));
    for (int from = 0; from < k && dtype == UM_I8; from += UM_BLOCK) {
        const int end = k - from < UM_BLOCK ? k : from + UM_BLOCK;
        float most = 0.0f;
        for (int i = from; i < end; i++)
            most = fmaxf(most, fabsf(x[i]));
        const float inverse = most >= UM_I8_LEAST ? 127.0f / most : 0.0f;
        for (int i = from; i < end; i++)
            x[i] = rintf(x[i] * inverse) * (most / 127.0f);
    }
}

void um_ref_acts_set(um_backend *be, void *acts, um_dtype dtype, const float *x, int ldx, int m,
                     int k)
{
    (void)be;
    for (int i = 0; i < m; i++) {
        float *row = (float *)acts + (size_t)i * (size_t)k;
        memcpy(row, x + (size_t)i * (size_t)ldx, (size_t)k * sizeof *row);
        round_row(row, dtype, k);
    }
}

void um_ref_acts_norm(um_backend *be, void *acts, um_dtype dtype, const float *x, const float *w,
                      int m, int k, float eps)
{
    be->ops->rmsnorm_forward(be, acts, NULL, x, w, m, k, eps);
    for (int i = 0; i < m; i++)
        round_row((float *)acts + (size_t)i * (size_t)k, dtype, k);
}

um_status um_ref_pack(um_backend *be, um_packed *out, um_dtype dtype, const float *w, int n, int k,
                      bool pair, um_error *err)
{
    if (dtype != UM_F32)
        return um_cpu_pack(be, out, dtype, w, n, k, pair, err);
    um_status status = um_cpu_pack_alloc(be, out, dtype, n, k, pair, err);
    if (status == UM_OK)
        memcpy(out->buf.data, w, out->buf.bytes);
    return status;
}

void um_ref_packed_rows(um_backend *be, float *out, const um_packed *w, const int32_t *ids, int t)
{
    if (w->dtype == UM_F32)
        um_cpu_gather_rows(be, out, w->data, w->k, ids, t, w->k);
    else
        um_cpu_packed_rows(be, out, w, ids, t);
}

/* Output j, counted in [gate; up] where it is a pair, of one row. */
static double product(const um_packed *w, const float *x, int j)
{
    const size_t k = (size_t)w->k;
    double sum = 0.0;
    if (w->dtype == UM_F32) {
        for (size_t i = 0; i < k; i++)
            sum += (double)x[i] * (double)((const float *)w->data)[(size_t)j * k + i];
        return sum;
    }
    int at = j;
    if (w->pair) {
        const int f = j % (w->n / 2);
        at = f / UM_TILE * UM_PANEL + f % UM_TILE + (j < w->n / 2 ? 0 : UM_TILE);
    }
    float part[UM_BLOCK];
    for (int from = 0; from < w->k; from += UM_BLOCK) {
        const int n = w->k - from < UM_BLOCK ? w->k - from : UM_BLOCK;
        um_packed_terms_of(w->dtype, w->data, w->k, at, from, n, part);
        for (int i = 0; i < n; i++)
            sum += (double)x[from + i] * (double)part[i];
    }
    return sum;
}

void um_ref_linear(um_backend *be, float *y, int ldy, const void *acts, int m, const um_packed *w,
                   const float *bias, bool accumulate)
{
    (void)be;
    for (int i = 0; i < m; i++) {
        const float *x = (const float *)acts + (size_t)i * (size_t)w->k;
        float *to = y + (size_t)i * (size_t)ldy;
        for (int j = 0; j < w->n; j++) {
            float value = (float)product(w, x, j);
            if (bias != NULL)
                value += bias[j];
            to[j] = accumulate ? to[j] + value : value;
        }
    }
}

void um_ref_linear_gate(um_backend *be, void *out, const void *acts, int m, const um_packed *pair)
{
    const int f = pair->n / 2;
    (void)be;
    for (int i = 0; i < m; i++) {
        const float *x = (const float *)acts + (size_t)i * (size_t)pair->k;
        float *to = (float *)out + (size_t)i * (size_t)f;
        for (int j = 0; j < f; j++) {
            const double gate = product(pair, x, j), up = product(pair, x, f + j);
            to[j] = (float)(gate / (1.0 + exp(-gate)) * up);
        }
        round_row(to, pair->dtype, f);
    }
}

double um_ref_dot_ops(um_backend *be, um_dtype dtype, int repeats)
{
    enum { TERMS = 1 << 12 };
    volatile double sum = 0.0;
    (void)be;
    (void)dtype;
    for (int r = 0; r < repeats; r++) {
        for (int i = 0; i < TERMS; i++)
            sum = sum + (double)i * 0.5;
    }
    return 2.0 * TERMS * repeats;
}
