/*
 * rows.h - operations on rows: norm, rotation, gate, log-softmax. Included by every vector backend.
 *
 * Sums along a row run lane by lane in order of columns and are added across lanes at the end in a
 * fixed order, so they depend on the row alone.
 */
#ifndef UM_NN_CPU_ROWS_H
#define UM_NN_CPU_ROWS_H

typedef struct norm_job {
    float *out, *rstd, *dx, *dw;
    const float *x, *w, *dout, *saved_rstd;
    int t, c;
    float eps;
} norm_job;

/* 1 / sqrt(mean(x^2) + eps) of a row. */
static float rms_factor(const float *x, size_t c, float eps)
{
    vf sum = vf_zero();
    for (size_t j = 0; j < c; j += VL) {
        const vf v = vf_get(x + j, lanes_at(j, c));
        sum = vf_fma(v, v, sum);
    }
    return 1.0f / sqrtf(vf_sum(sum) / (float)c + eps);
}

/* out = x * scale * w, over n terms of a row. */
static void norm_terms(float *out, const float *x, const float *w, float scale, size_t n)
{
    const vf factor = vf_set(scale);
    for (size_t j = 0; j < n; j += VL) {
        const int lanes = lanes_at(j, n);
        const vf v = vf_mul(vf_get(x + j, lanes), factor);
        vf_put(out + j, vf_mul(v, vf_get(w + j, lanes)), lanes);
    }
}

static void rmsnorm_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const norm_job *job = ctx;
    const size_t c = (size_t)job->c;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        const float *x = job->x + row * c;
        float *out = job->out + row * c;
        const float r = rms_factor(x, c, job->eps);
        norm_terms(out, x, job->w, r, c);
        if (job->rstd != NULL)
            job->rstd[row] = r;
    }
}

static void simd_rmsnorm_forward(um_backend *be, float *out, float *rstd, const float *x,
                                 const float *w, int t, int c, float eps)
{
    norm_job job = {.out = out, .rstd = rstd, .x = x, .w = w, .t = t, .c = c, .eps = eps};
    for_rows(be, t, (size_t)c, rmsnorm_rows, &job);
}

/* With n = x rstd and g = dout w: dx += rstd (g - n mean(g n)). */
static void rmsnorm_dx_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const norm_job *job = ctx;
    const size_t c = (size_t)job->c;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        const float *x = job->x + row * c, *dout = job->dout + row * c;
        float *dx = job->dx + row * c;
        const float r = job->saved_rstd[row];
        vf sum = vf_zero();
        for (size_t j = 0; j < c; j += VL) {
            const int n = lanes_at(j, c);
            const vf g = vf_mul(vf_get(dout + j, n), vf_get(job->w + j, n));
            sum = vf_fma(g, vf_get(x + j, n), sum);
        }
        /* mean(g n) = r sum(g x) / c, and n = x r. */
        const vf scale = vf_set(r), share = vf_set(vf_sum(sum) * r * r / (float)job->c);
        for (size_t j = 0; j < c; j += VL) {
            const int n = lanes_at(j, c);
            const vf g = vf_mul(vf_get(dout + j, n), vf_get(job->w + j, n));
            const vf rest = vf_fnma(vf_get(x + j, n), share, g);
            vf_put(dx + j, vf_fma(scale, rest, vf_get(dx + j, n)), n);
        }
    }
}

static void rmsnorm_dw_columns(void *ctx, size_t begin, size_t end, int thread)
{
    const norm_job *job = ctx;
    const size_t c = (size_t)job->c;
    (void)thread;
    for (size_t j = begin; j < end; j += VL) {
        const int n = lanes_at(j, end);
        vf sum = vf_get(job->dw + j, n);
        for (size_t row = 0; row < (size_t)job->t; row++) {
            const vf norm = vf_mul(vf_get(job->x + row * c + j, n), vf_set(job->saved_rstd[row]));
            sum = vf_fma(vf_get(job->dout + row * c + j, n), norm, sum);
        }
        vf_put(job->dw + j, sum, n);
    }
}

static void simd_rmsnorm_backward(um_backend *be, float *dx, float *dw, const float *dout,
                                  const float *x, const float *w, const float *rstd, int t, int c)
{
    norm_job job = {
        .dx = dx, .dw = dw, .dout = dout, .x = x, .w = w, .saved_rstd = rstd, .t = t, .c = c};
    for_rows(be, t, (size_t)c, rmsnorm_dx_rows, &job);
    for_columns(be, t, c, rmsnorm_dw_columns, &job);
}

typedef struct rope_job {
    float *x;
    size_t ld;
    int heads, head_dim;
    const int32_t *positions;
    const float *inv_freq;
    bool inverse;
} rope_job;

static void rope_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const rope_job *job = ctx;
    const size_t half = (size_t)job->head_dim / 2;
    float sine[UM_HEAD_DIM_MAX / 2], cosine[UM_HEAD_DIM_MAX / 2];
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        /* The angle is rounded to fp32 before its sine is taken, as the weights were trained. */
        const vf position = vf_set((float)job->positions[row]);
        for (size_t d = 0; d < half; d += VL) {
            const int n = lanes_at(d, half);
            vf s, c;
            vf_sincos(vf_mul(position, vf_get(job->inv_freq + d, n)), &s, &c);
            vf_put(sine + d, job->inverse ? vf_negate(s) : s, n);
            vf_put(cosine + d, c, n);
        }
        float *head = job->x + row * job->ld;
        for (int h = 0; h < job->heads; h++, head += job->head_dim) {
            for (size_t d = 0; d < half; d += VL) {
                const int n = lanes_at(d, half);
                const vf a = vf_get(head + d, n), b = vf_get(head + half + d, n);
                const vf s = vf_get(sine + d, n), c = vf_get(cosine + d, n);
                vf_put(head + d, vf_fnma(b, s, vf_mul(a, c)), n);
                vf_put(head + half + d, vf_fma(a, s, vf_mul(b, c)), n);
            }
        }
    }
}

static void simd_rope(um_backend *be, float *x, int ld, int t, int heads, int head_dim,
                      const int32_t *positions, const float *inv_freq, bool inverse)
{
    rope_job job = {.x = x,
                    .ld = (size_t)ld,
                    .heads = heads,
                    .head_dim = head_dim,
                    .positions = positions,
                    .inv_freq = inv_freq,
                    .inverse = inverse};
    for_rows(be, t, (size_t)heads * (size_t)head_dim, rope_rows, &job);
}

typedef struct swiglu_job {
    void *out, *dgate, *dup;
    const void *gate, *up, *dout;
    size_t ld, lddst, f;
} swiglu_job;

static INLINE void swiglu_row(const swiglu_job *job, size_t row, const um_dtype dtype)
{
    for (size_t j = 0; j < job->f; j += VL) {
        const int n = lanes_at(j, job->f);
        const size_t at = row * job->ld + j;
        const vf g = array_get(dtype, job->gate, at, n), u = array_get(dtype, job->up, at, n);
        array_put(dtype, job->out, row * job->f + j, vf_gated(g, u), n);
    }
}

/* silu(g) = g s with s = sigmoid(g); silu'(g) = s (1 + g (1 - s)). */
static INLINE void swiglu_backward_row(const swiglu_job *job, size_t row, const um_dtype dtype)
{
    const vf one = vf_set(1.0f);
    for (size_t j = 0; j < job->f; j += VL) {
        const int n = lanes_at(j, job->f);
        const size_t at = row * job->ld + j, to = row * job->lddst + j;
        const vf g = array_get(dtype, job->gate, at, n), s = vf_sigmoid(g);
        const vf dy = array_get(dtype, job->dout, row * job->f + j, n);
        const vf slope = vf_mul(s, vf_fma(g, vf_sub(one, s), one));
        const vf u = array_get(dtype, job->up, at, n);
        array_put(dtype, job->dgate, to, vf_mul(vf_mul(dy, u), slope), n);
        array_put(dtype, job->dup, to, vf_mul(dy, vf_mul(g, s)), n);
    }
}

#define SWIGLU_ROWS(name, row_fn, dtype)                                                           \
    static void name(void *ctx, size_t begin, size_t end, int thread)                              \
    {                                                                                              \
        (void)thread;                                                                              \
        for (size_t row = begin; row < end; row++)                                                 \
            row_fn(ctx, row, dtype);                                                               \
    }
SWIGLU_ROWS(swiglu_rows, swiglu_row, UM_F32)
SWIGLU_ROWS(swiglu_rows_bf16, swiglu_row, UM_BF16)
SWIGLU_ROWS(swiglu_backward_rows, swiglu_backward_row, UM_F32)
SWIGLU_ROWS(swiglu_backward_rows_bf16, swiglu_backward_row, UM_BF16)

static void simd_swiglu_forward(um_backend *be, um_dtype dtype, void *out, const void *gate,
                                const void *up, int ld, int t, int f)
{
    swiglu_job job = {.out = out, .gate = gate, .up = up, .ld = (size_t)ld, .f = (size_t)f};
    for_rows(be, t, (size_t)f, dtype == UM_BF16 ? swiglu_rows_bf16 : swiglu_rows, &job);
}

static void simd_swiglu_backward(um_backend *be, um_dtype dtype, void *dgate, void *dup, int lddst,
                                 const void *dout, const void *gate, const void *up, int ld, int t,
                                 int f)
{
    swiglu_job job = {.dgate = dgate,
                      .dup = dup,
                      .gate = gate,
                      .up = up,
                      .dout = dout,
                      .ld = (size_t)ld,
                      .lddst = (size_t)lddst,
                      .f = (size_t)f};
    for_rows(be, t, (size_t)f, dtype == UM_BF16 ? swiglu_backward_rows_bf16 : swiglu_backward_rows,
             &job);
}

typedef struct logprob_job {
    float *logp, *grad;
    const float *logits, *coef;
    const int32_t *targets;
    size_t v;
} logprob_job;

/* Columns summed in fp32 before the sum goes on in double. */
enum { SOFTMAX_CHUNK = 64 * VL };

/* The largest of x[0 .. n) and sum exp(x - largest). */
static double softmax_sum(const float *x, size_t n, float *largest)
{
    vf max = vf_set(-INFINITY);
    for (size_t j = 0; j < n; j += VL) {
        const int lanes = lanes_at(j, n);
        max = vf_max(max, vf_keep_n(vf_get(x + j, lanes), lanes, vf_set(-INFINITY)));
    }
    *largest = vf_largest(max);
    const vf shift = vf_set(*largest);
    double total = 0.0;
    for (size_t begin = 0; begin < n; begin += SOFTMAX_CHUNK) {
        const size_t end = begin + SOFTMAX_CHUNK < n ? begin + SOFTMAX_CHUNK : n;
        vf sum = vf_zero();
        for (size_t j = begin; j < end; j += VL) {
            const int lanes = lanes_at(j, end);
            const vf e = vf_exp(vf_sub(vf_get(x + j, lanes), shift));
            sum = vf_add(sum, vf_keep_n(e, lanes, vf_zero()));
        }
        total += (double)vf_sum(sum);
    }
    return total;
}

static void logprob_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const logprob_job *job = ctx;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        const float *x = job->logits + row * job->v;
        float largest;
        const double sum = softmax_sum(x, job->v, &largest);
        job->logp[row] = (float)((double)(x[job->targets[row]] - largest) - log(sum));
    }
}

static void simd_logprob_forward(um_backend *be, float *logp, const float *logits,
                                 const int32_t *targets, int t, int v)
{
    logprob_job job = {.logp = logp, .logits = logits, .targets = targets, .v = (size_t)v};
    for_rows(be, t, (size_t)v, logprob_rows, &job);
}

static void logprob_backward_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const logprob_job *job = ctx;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        float *x = job->grad + row * job->v;
        float largest;
        const double sum = softmax_sum(x, job->v, &largest);
        const vf shift = vf_set(largest), factor = vf_set((float)((double)job->coef[row] / sum));
        for (size_t j = 0; j < job->v; j += VL) {
            const int n = lanes_at(j, job->v);
            vf_put(x + j, vf_mul(factor, vf_exp(vf_sub(vf_get(x + j, n), shift))), n);
        }
        x[job->targets[row]] -= job->coef[row];
    }
}

static void simd_logprob_backward(um_backend *be, float *logits, const int32_t *targets,
                                  const float *coef, int t, int v)
{
    logprob_job job = {.grad = logits, .coef = coef, .targets = targets, .v = (size_t)v};
    for_rows(be, t, (size_t)v, logprob_backward_rows, &job);
}

#endif
