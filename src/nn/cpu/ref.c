/*
 * ref.c - the scalar reference backend, always built: the oracle of the fast ones.
 *
 * Written to be read. Sums run in double, one element after the other, and are rounded once; there
 * are no threads and no blocking. Letters as in backend.h.
 */
#include <math.h>

#include "nn/cpu/cpu.h"
#include "nn/cpu/kv.h"
#include "nn/cpu/ref_attention.h"
#include "nn/cpu/ref_linear.h"
#include "nn/number.h"

static bool ref_supported(void)
{
    return true;
}

static void ref_gemm(um_backend *be, bool trans_a, bool trans_b, int m, int n, int k, float alpha,
                     const float *a, int lda, const float *b, int ldb, bool accumulate, float *c,
                     int ldc)
{
    (void)be;
    const size_t a_row = trans_a ? 1 : (size_t)lda, a_col = trans_a ? (size_t)lda : 1;
    const size_t b_row = trans_b ? 1 : (size_t)ldb, b_col = trans_b ? (size_t)ldb : 1;
    for (size_t i = 0; i < (size_t)m; i++) {
        for (size_t j = 0; j < (size_t)n; j++) {
            double sum = 0.0;
            for (size_t p = 0; p < (size_t)k; p++)
                sum += (double)a[i * a_row + p * a_col] * (double)b[p * b_row + j * b_col];
            float *to = &c[i * (size_t)ldc + j];
            float value = alpha * (float)sum;
            *to = accumulate ? *to + value : value;
        }
    }
}

static void ref_bias_forward(um_backend *be, float *y, const float *b, int t, int n)
{
    (void)be;
    for (int i = 0; i < t; i++, y += n) {
        for (int j = 0; j < n; j++)
            y[j] += b[j];
    }
}

static void ref_bias_backward(um_backend *be, float *db, const float *dy, int t, int n)
{
    (void)be;
    for (int i = 0; i < t; i++, dy += n) {
        for (int j = 0; j < n; j++)
            db[j] += dy[j];
    }
}

static void ref_embed_backward(um_backend *be, float *dtable, const float *dout, const int32_t *ids,
                               int t, int c)
{
    (void)be;
    for (int i = 0; i < t; i++, dout += c) {
        float *row = dtable + (size_t)ids[i] * (size_t)c;
        for (int j = 0; j < c; j++)
            row[j] += dout[j];
    }
}

static void ref_rmsnorm_forward(um_backend *be, float *out, float *rstd, const float *x,
                                const float *w, int t, int c, float eps)
{
    (void)be;
    for (int i = 0; i < t; i++, x += c, out += c) {
        double sum = 0.0;
        for (int j = 0; j < c; j++)
            sum += (double)x[j] * (double)x[j];
        float r = (float)(1.0 / sqrt(sum / c + (double)eps));
        for (int j = 0; j < c; j++)
            out[j] = x[j] * r * w[j];
        if (rstd != NULL)
            rstd[i] = r;
    }
}

/* With n = x rstd and g = dout w: dx = rstd (g - n mean(g n)), dw = sum over rows of dout n. */
static void ref_rmsnorm_backward(um_backend *be, float *dx, float *dw, const float *dout,
                                 const float *x, const float *w, const float *rstd, int t, int c)
{
    (void)be;
    for (int i = 0; i < t; i++, x += c, dx += c, dout += c) {
        const double r = (double)rstd[i];
        double dot = 0.0;
        for (int j = 0; j < c; j++)
            dot += (double)dout[j] * (double)w[j] * (double)x[j] * r;
        for (int j = 0; j < c; j++) {
            double n = (double)x[j] * r;
            dx[j] += (float)(r * ((double)dout[j] * (double)w[j] - n * dot / c));
            dw[j] += (float)((double)dout[j] * n);
        }
    }
}

static void ref_rope(um_backend *be, float *x, int ld, int t, int heads, int head_dim,
                     const int32_t *positions, const float *inv_freq, bool inverse)
{
    (void)be;
    const int half = head_dim / 2;
    for (int i = 0; i < t; i++, x += ld) {
        for (int d = 0; d < half; d++) {
            /* The angle is rounded to fp32 before its sine is taken, as the weights were trained.
             */
            float angle = (float)positions[i] * inv_freq[d];
            float cos_a = cosf(angle), sin_a = inverse ? -sinf(angle) : sinf(angle);
            for (int h = 0; h < heads; h++) {
                float *lo = x + h * head_dim + d, *hi = lo + half;
                float a = *lo, b = *hi;
                *lo = a * cos_a - b * sin_a;
                *hi = b * cos_a + a * sin_a;
            }
        }
    }
}

static void ref_swiglu_forward(um_backend *be, um_dtype dtype, void *out, const void *gate,
                               const void *up, int ld, int t, int f)
{
    (void)be;
    for (int i = 0; i < t; i++) {
        for (int j = 0; j < f; j++) {
            const size_t at = (size_t)i * (size_t)ld + (size_t)j;
            const float g = um_array_value(dtype, gate, at), u = um_array_value(dtype, up, at);
            um_array_set(dtype, out, (size_t)i * (size_t)f + (size_t)j, g / (1.0f + expf(-g)) * u);
        }
    }
}

/* silu(g) = g s with s = sigmoid(g); silu'(g) = s (1 + g (1 - s)). */
static void ref_swiglu_backward(um_backend *be, um_dtype dtype, void *dgate, void *dup, int lddst,
                                const void *dout, const void *gate, const void *up, int ld, int t,
                                int f)
{
    (void)be;
    for (int i = 0; i < t; i++) {
        for (int j = 0; j < f; j++) {
            const size_t at = (size_t)i * (size_t)ld + (size_t)j;
            const size_t to = (size_t)i * (size_t)lddst + (size_t)j;
            const float dy = um_array_value(dtype, dout, (size_t)i * (size_t)f + (size_t)j);
            float g = um_array_value(dtype, gate, at), s = 1.0f / (1.0f + expf(-g));
            float u = um_array_value(dtype, up, at);
            um_array_set(dtype, dup, to, dy * (g * s));
            um_array_set(dtype, dgate, to, dy * u * (s * (1.0f + g * (1.0f - s))));
        }
    }
}

static void ref_add(um_backend *be, float *dst, const float *src, size_t n)
{
    (void)be;
    for (size_t i = 0; i < n; i++)
        dst[i] += src[i];
}

static void ref_scale(um_backend *be, float *dst, float factor, size_t n)
{
    (void)be;
    for (size_t i = 0; i < n; i++)
        dst[i] *= factor;
}

static void ref_scatter_add_rows(um_backend *be, float *dst, int ld_dst, const float *src,
                                 const int32_t *rows, int n, int c)
{
    (void)be;
    for (int i = 0; i < n; i++, src += c) {
        float *row = dst + (size_t)rows[i] * (size_t)ld_dst;
        for (int j = 0; j < c; j++)
            row[j] += src[j];
    }
}

/* max_j x[j] and sum_j exp(x[j] - max). */
static void softmax_stats(const float *x, int n, float *max, double *sum)
{
    *max = x[0];
    for (int j = 1; j < n; j++)
        *max = x[j] > *max ? x[j] : *max;
    *sum = 0.0;
    for (int j = 0; j < n; j++)
        *sum += exp((double)(x[j] - *max));
}

static void ref_logprob_forward(um_backend *be, float *logp, const float *logits,
                                const int32_t *targets, int t, int v)
{
    (void)be;
    for (int i = 0; i < t; i++, logits += v) {
        float max;
        double sum;
        softmax_stats(logits, v, &max, &sum);
        logp[i] = (float)((double)(logits[targets[i]] - max) - log(sum));
    }
}

static void ref_logprob_backward(um_backend *be, float *logits, const int32_t *targets,
                                 const float *coef, int t, int v)
{
    (void)be;
    for (int i = 0; i < t; i++, logits += v) {
        float max;
        double sum;
        softmax_stats(logits, v, &max, &sum);
        for (int j = 0; j < v; j++) {
            double p = exp((double)(logits[j] - max)) / sum;
            logits[j] = (float)((double)coef[i] * (p - (j == targets[i] ? 1.0 : 0.0)));
        }
    }
}

static double ref_sum_squares(um_backend *be, const float *x, size_t n)
{
    (void)be;
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static void ref_adamw(um_backend *be, float *w, const float *g, float *m, float *v, size_t n,
                      const um_adamw *hyper)
{
    (void)be;
    const um_cpu_adamw_step s = um_cpu_adamw_prepare(hyper);
    for (size_t i = 0; i < n; i++) {
        float grad = g[i] * hyper->grad_scale;
        w[i] *= s.decay;
        m[i] = s.beta1 * m[i] + s.one_minus_beta1 * grad;
        v[i] = s.beta2 * v[i] + s.one_minus_beta2 * (grad * grad);
        w[i] -= s.step_size * m[i] / (sqrtf(v[i]) / s.sqrt_correction2 + s.eps);
    }
}

static const um_backend_ops ref_ops = {
    .alloc = um_cpu_alloc,
    .release = um_cpu_release,
    .zero = um_cpu_zero,
    .upload = um_cpu_copy,
    .download = um_cpu_copy,
    .gemm = ref_gemm,
    .product = um_ref_product,
    .pack = um_ref_pack,
    .unpack = um_cpu_unpack,
    .acts_bytes = um_ref_acts_bytes,
    .acts_set = um_ref_acts_set,
    .acts_norm = um_ref_acts_norm,
    .linear = um_ref_linear,
    .linear_gate = um_ref_linear_gate,
    .packed_rows = um_ref_packed_rows,
    .dot_ops = um_ref_dot_ops,
    .bias_forward = ref_bias_forward,
    .bias_backward = ref_bias_backward,
    .embed_forward = um_cpu_embed_forward,
    .embed_backward = ref_embed_backward,
    .rmsnorm_forward = ref_rmsnorm_forward,
    .rmsnorm_backward = ref_rmsnorm_backward,
    .rope = ref_rope,
    .attention_forward = um_ref_attention_forward,
    .attention_backward = um_ref_attention_backward,
    .kv_open = um_cpu_kv_open,
    .kv_close = um_cpu_kv_close,
    .kv_write = um_ref_kv_write,
    .kv_copy = um_cpu_kv_copy,
    .kv_attention = um_ref_kv_attention,
    .swiglu_forward = ref_swiglu_forward,
    .swiglu_backward = ref_swiglu_backward,
    .add = ref_add,
    .scale = ref_scale,
    .gather_rows = um_cpu_gather_rows,
    .scatter_add_rows = ref_scatter_add_rows,
    .scatter_rows = um_cpu_scatter_rows,
    .logprob_forward = ref_logprob_forward,
    .logprob_backward = ref_logprob_backward,
    .sum_squares = ref_sum_squares,
    .adamw = ref_adamw,
    .round_bf16 = um_cpu_round_bf16,
    .to_bf16 = um_cpu_to_bf16,
    .from_bf16 = um_cpu_from_bf16,
    .weigh_bf16 = um_cpu_weigh_bf16,
};

const um_cpu_isa um_cpu_isa_ref = {.name = "cpu-ref", .supported = ref_supported, .ops = &ref_ops};
