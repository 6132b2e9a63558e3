/*
 * ref_attention.c - attention of the scalar reference backend: one query row, one head and one key
 * at a time, sums in double.
 */
#include "nn/cpu/ref_attention.h"

#include <math.h>

#include "nn/number.h"

/* The keys of one query row, in order: the prefix ranges, then its own rows up to itself. */
typedef struct key_walk {
    const um_range *range, *range_end;
    um_range own, current;
    bool own_done;
} key_walk;

static key_walk keys_of(const um_span *span, int j, const um_range *prefixes)
{
    key_walk w = {.own = {span->kv_start, span->own_before + j + 1}};
    if (span->prefix_count > 0) {
        w.range = prefixes + span->prefix_first;
        w.range_end = w.range + span->prefix_count;
    }
    return w;
}

/* The next key row, or -1. */
static int next_key(key_walk *w)
{
    while (w->current.len <= 0) {
        if (w->range != w->range_end) {
            w->current = *w->range++;
        } else if (!w->own_done) {
            w->current = w->own;
            w->own_done = true;
        } else {
            return -1;
        }
    }
    w->current.len--;
    return w->current.start++;
}

static double dot(const float *a, const float *b, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

/* What a factor of a product is rounded to. */
static double factor(const um_attention_shape *shape, double x)
{
    return shape->bf16 ? (double)um_bf16_value(um_bf16_bits((float)x)) : x;
}

void um_ref_attention_forward(um_backend *be, float *out, int ldo, float *lse, const float *q,
                              int ldq, const float *k, const float *v, int ldkv,
                              const um_attention_shape *shape, const um_span *spans, int n_spans,
                              const um_range *prefixes)
{
    (void)be;
    const int d_head = shape->head_dim, group = shape->n_heads / shape->n_kv_heads;
    double acc[UM_HEAD_DIM_MAX];
    for (const um_span *span = spans; span < spans + n_spans; span++) {
        for (int item = 0; item < span->len * shape->n_heads; item++) {
            const int j = item / shape->n_heads, h = item % shape->n_heads;
            const size_t row = (size_t)(span->start + j), kv_head = (size_t)(h / group * d_head);
            const float *query = q + row * (size_t)ldq + h * d_head;
            double max = -INFINITY, sum = 0.0;
            key_walk walk = keys_of(span, j, prefixes);
            for (int key; (key = next_key(&walk)) >= 0;) {
                double s = dot(query, k + (size_t)key * (size_t)ldkv + kv_head, d_head);
                max = fmax(max, s * (double)shape->scale);
            }
            for (int d = 0; d < d_head; d++)
                acc[d] = 0.0;
            walk = keys_of(span, j, prefixes);
            for (int key; (key = next_key(&walk)) >= 0;) {
                const size_t at = (size_t)key * (size_t)ldkv + kv_head;
                double p = exp(dot(query, k + at, d_head) * (double)shape->scale - max);
                sum += p;
                p = factor(shape, p);
                for (int d = 0; d < d_head; d++)
                    acc[d] += p * (double)v[at + (size_t)d];
            }
            for (int d = 0; d < d_head; d++)
                out[row * (size_t)ldo + (size_t)(h * d_head + d)] =
                    sum == 0.0 ? 0.0f : (float)(acc[d] / sum);
            if (lse != NULL)
                lse[row * (size_t)shape->n_heads + (size_t)h] = (float)(max + log(sum));
        }
    }
}

/*
 * With P = softmax(S), S = scale q k^T, dP = dout v^T and delta = sum_d dout out:
 * dS = P (dP - delta), dq = scale dS k, dk = scale dS^T q, dv = P^T dout.
 */
void um_ref_attention_backward(um_backend *be, float *dq, int lddq, float *dk, float *dv, int lddkv,
                               const float *dout, int lddo, const float *out, int ldo,
                               const float *lse, const float *q, int ldq, const float *k,
                               const float *v, int ldkv, const um_attention_shape *shape,
                               const um_span *spans, int n_spans, const um_range *prefixes)
{
    (void)be;
    const int d_head = shape->head_dim, group = shape->n_heads / shape->n_kv_heads;
    const double scale = (double)shape->scale;
    double acc[UM_HEAD_DIM_MAX];
    for (const um_span *span = spans; span < spans + n_spans; span++) {
        for (int item = 0; item < span->len * shape->n_heads; item++) {
            const int j = item / shape->n_heads, h = item % shape->n_heads;
            const size_t row = (size_t)(span->start + j), kv_head = (size_t)(h / group * d_head);
            const float *query = q + row * (size_t)ldq + h * d_head;
            const float *grad = dout + row * (size_t)lddo + h * d_head;
            const double row_lse = (double)lse[row * (size_t)shape->n_heads + (size_t)h];
            const double delta = dot(grad, out + row * (size_t)ldo + h * d_head, d_head);
            for (int d = 0; d < d_head; d++)
                acc[d] = 0.0;
            key_walk walk = keys_of(span, j, prefixes);
            for (int key; (key = next_key(&walk)) >= 0;) {
                const float *krow = k + (size_t)key * (size_t)ldkv + kv_head;
                const float *vrow = v + (size_t)key * (size_t)ldkv + kv_head;
                float *dkrow = dk + (size_t)key * (size_t)lddkv + kv_head;
                float *dvrow = dv + (size_t)key * (size_t)lddkv + kv_head;
                double p = exp(dot(query, krow, d_head) * scale - row_lse);
                double ds = factor(shape, p * (dot(grad, vrow, d_head) - delta)) * scale;
                p = factor(shape, p);
                for (int d = 0; d < d_head; d++) {
                    acc[d] += ds * (double)krow[d];
                    dkrow[d] += (float)(ds * (double)query[d]);
                    dvrow[d] += (float)(p * (double)grad[d]);
                }
            }
            for (int d = 0; d < d_head; d++)
                dq[row * (size_t)lddq + (size_t)(h * d_head + d)] = (float)acc[d];
        }
    }
}
