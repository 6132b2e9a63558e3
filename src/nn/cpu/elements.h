/*
 * elements.h - element-wise operations and sums over rows. Included by every vector backend.
 *
 * A sum over rows is one chain a column, in row order, and threads own columns; an element-wise
 * operation may be cut anywhere. Neither depends on the number of threads.
 */
#ifndef UM_NN_CPU_ELEMENTS_H
#define UM_NN_CPU_ELEMENTS_H

#include <math.h>

/* Elements one thread should handle before a second one is worth waking. */
enum { ELEMENT_GRAIN = 1 << 16 };

/* n lanes, all of them in the common case. */
static INLINE vf vf_get(const float *p, int n)
{
    return n == VL ? vf_load(p) : vf_load_n(p, n);
}

static INLINE void vf_put(float *p, vf x, int n)
{
    if (n == VL)
        vf_store(p, x);
    else
        vf_store_n(p, x, n);
}

#ifndef SIMD_BF16_MASKS
/* The first n; the other lanes read as 0. */
static inline vf vf_load_bf16_n(const uint16_t *p, int n)
{
    uint16_t part[VL] = {0};
    memcpy(part, p, (size_t)n * sizeof *p);
    return vf_load_bf16(part);
}

static inline void vf_store_bf16_n(uint16_t *p, vf x, int n)
{
    uint16_t part[VL];
    vf_store_bf16(part, x);
    memcpy(p, part, (size_t)n * sizeof *p);
}
#endif

/* The same of bfloat16; what is stored is rounded. */
static INLINE vf vf_get_bf16(const uint16_t *p, int n)
{
    return n == VL ? vf_load_bf16(p) : vf_load_bf16_n(p, n);
}

static INLINE void vf_put_bf16(uint16_t *p, vf x, int n)
{
    if (n == VL)
        vf_store_bf16(p, x);
    else
        vf_store_bf16_n(p, x, n);
}

/* The same of an array of either type, from element `at` on. */
static INLINE vf array_get(um_dtype dtype, const void *data, size_t at, int n)
{
    return dtype == UM_BF16 ? vf_get_bf16((const uint16_t *)data + at, n)
                            : vf_get((const float *)data + at, n);
}

static INLINE void array_put(um_dtype dtype, void *data, size_t at, vf x, int n)
{
    if (dtype == UM_BF16)
        vf_put_bf16((uint16_t *)data + at, x, n);
    else
        vf_put((float *)data + at, x, n);
}

/* Lanes of the vector at i of [0, end). */
static INLINE int lanes_at(size_t i, size_t end)
{
    return end - i < VL ? (int)(end - i) : VL;
}

/* Runs fn over rows that cost `row_elements` each, shared out evenly where they are enough. */
static void for_rows(um_backend *be, int rows, size_t row_elements, um_pool_fn fn, void *ctx)
{
    const size_t enough = ELEMENT_GRAIN / (row_elements + 1) + 1;
    if (rows > 0)
        um_cpu_for(be, (size_t)rows, (size_t)rows < 2 * enough ? (size_t)rows : 1, fn, ctx);
}

/* Runs fn over columns of a [rows, columns] matrix; ranges start at whole vectors. */
static void for_columns(um_backend *be, int rows, int columns, um_pool_fn fn, void *ctx)
{
    if (rows <= 0 || columns <= 0)
        return;
    const size_t grain = (size_t)ELEMENT_GRAIN / (size_t)rows + 1;
    um_cpu_for(be, (size_t)columns, (grain + VL - 1) / VL * VL, fn, ctx);
}

typedef struct element_job {
    float *dst;
    const float *src;
    size_t n;
    float factor;
    int rows, columns;
    const int32_t *ids;
    size_t ld_dst;
    uint16_t *halves;
    const uint16_t *from_halves;
} element_job;

static void add_range(void *ctx, size_t begin, size_t end, int thread)
{
    const element_job *w = ctx;
    (void)thread;
    for (size_t i = begin; i < end; i += VL) {
        const int n = lanes_at(i, end);
        vf_put(w->dst + i, vf_add(vf_get(w->dst + i, n), vf_get(w->src + i, n)), n);
    }
}

static void simd_add(um_backend *be, float *dst, const float *src, size_t n)
{
    element_job w = {.dst = dst, .src = src};
    um_cpu_for(be, n, ELEMENT_GRAIN, add_range, &w);
}

static void scale_range(void *ctx, size_t begin, size_t end, int thread)
{
    const element_job *w = ctx;
    const vf factor = vf_set(w->factor);
    (void)thread;
    for (size_t i = begin; i < end; i += VL) {
        const int n = lanes_at(i, end);
        vf_put(w->dst + i, vf_mul(vf_get(w->dst + i, n), factor), n);
    }
}

static void simd_scale(um_backend *be, float *dst, float factor, size_t n)
{
    element_job w = {.dst = dst, .factor = factor};
    um_cpu_for(be, n, ELEMENT_GRAIN, scale_range, &w);
}

static void round_bf16_range(void *ctx, size_t begin, size_t end, int thread)
{
    const element_job *w = ctx;
    (void)thread;
    for (size_t i = begin; i < end; i += VL) {
        const int n = lanes_at(i, end);
        vf_put(w->dst + i, vf_round_bf16(vf_get(w->src + i, n)), n);
    }
}

static void simd_round_bf16(um_backend *be, float *dst, const float *src, size_t n)
{
    element_job w = {.dst = dst, .src = src};
    um_cpu_for(be, n, ELEMENT_GRAIN, round_bf16_range, &w);
}

static void to_bf16_range(void *ctx, size_t begin, size_t end, int thread)
{
    const element_job *w = ctx;
    (void)thread;
    for (size_t i = begin; i < end; i += VL) {
        const int n = lanes_at(i, end);
        vf_put_bf16(w->halves + i, vf_get(w->src + i, n), n);
    }
}

static void simd_to_bf16(um_backend *be, uint16_t *dst, const float *src, size_t n)
{
    element_job w = {.halves = dst, .src = src};
    um_cpu_for(be, n, ELEMENT_GRAIN, to_bf16_range, &w);
}

static void from_bf16_range(void *ctx, size_t begin, size_t end, int thread)
{
    const element_job *w = ctx;
    (void)thread;
    for (size_t i = begin; i < end; i += VL) {
        const int n = lanes_at(i, end);
        vf_put(w->dst + i, vf_get_bf16(w->from_halves + i, n), n);
    }
}

static void simd_from_bf16(um_backend *be, float *dst, const uint16_t *src, size_t n)
{
    element_job w = {.dst = dst, .from_halves = src};
    um_cpu_for(be, n, ELEMENT_GRAIN, from_bf16_range, &w);
}

static void weigh_bf16_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const element_job *w = ctx;
    const size_t columns = (size_t)w->columns;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        float *x = w->dst + row * columns;
        for (size_t j = 0; j < columns; j += VL) {
            const int n = lanes_at(j, columns);
            const vf value = vf_round_bf16(vf_get(x + j, n));
            vf_put(x + j, vf_round_bf16(vf_mul(value, vf_round_bf16(vf_get(w->src + j, n)))), n);
        }
    }
}

static void simd_weigh_bf16(um_backend *be, float *x, const float *weights, int t, int c)
{
    element_job w = {.dst = x, .src = weights, .columns = c};
    for_rows(be, t, (size_t)c, weigh_bf16_rows, &w);
}

static void bias_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const element_job *w = ctx;
    const size_t columns = (size_t)w->columns;
    for (size_t row = begin; row < end; row++) {
        element_job one = {.dst = w->dst + row * columns, .src = w->src};
        add_range(&one, 0, columns, thread);
    }
}

static void simd_bias_forward(um_backend *be, float *y, const float *b, int t, int n)
{
    element_job w = {.dst = y, .src = b, .columns = n};
    for_rows(be, t, (size_t)n, bias_rows, &w);
}

static void bias_backward_columns(void *ctx, size_t begin, size_t end, int thread)
{
    const element_job *w = ctx;
    (void)thread;
    for (size_t j = begin; j < end; j += VL) {
        const int n = lanes_at(j, end);
        const float *src = w->src + j;
        vf sum = vf_get(w->dst + j, n);
        for (int i = 0; i < w->rows; i++, src += w->columns)
            sum = vf_add(sum, vf_get(src, n));
        vf_put(w->dst + j, sum, n);
    }
}

static void simd_bias_backward(um_backend *be, float *db, const float *dy, int t, int n)
{
    element_job w = {.dst = db, .src = dy, .rows = t, .columns = n};
    for_columns(be, t, n, bias_backward_columns, &w);
}

/* dst[ids[i], :] += src[i, :] in row order, for a range of columns. */
static void scatter_add_columns(void *ctx, size_t begin, size_t end, int thread)
{
    const element_job *w = ctx;
    for (int i = 0; i < w->rows; i++) {
        element_job row = {.dst = w->dst + (size_t)w->ids[i] * w->ld_dst,
                           .src = w->src + (size_t)i * (size_t)w->columns};
        add_range(&row, begin, end, thread);
    }
}

static void simd_scatter_add_rows(um_backend *be, float *dst, int ld_dst, const float *src,
                                  const int32_t *rows, int n, int c)
{
    element_job w = {
        .dst = dst, .src = src, .rows = n, .columns = c, .ids = rows, .ld_dst = (size_t)ld_dst};
    for_columns(be, n, c, scatter_add_columns, &w);
}

static void simd_embed_backward(um_backend *be, float *dtable, const float *dout,
                                const int32_t *ids, int t, int c)
{
    simd_scatter_add_rows(be, dtable, c, dout, ids, t, c);
}

/* The array is cut into this many parts, whatever the number of threads. */
enum { SQUARE_PARTS = 256 };

typedef struct squares_job {
    const float *x;
    size_t n, part;
    double sum[SQUARE_PARTS];
} squares_job;

static void squares_range(void *ctx, size_t begin, size_t end, int thread)
{
    squares_job *w = ctx;
    (void)thread;
    for (size_t p = begin; p < end; p++) {
        const size_t stop = (p + 1) * w->part < w->n ? (p + 1) * w->part : w->n;
        vd_sum sum = vd_zero();
        for (size_t i = p * w->part; i < stop; i += VL)
            vd_add_squares(&sum, vf_get(w->x + i, lanes_at(i, stop)));
        w->sum[p] = vd_total(&sum);
    }
}

static double simd_sum_squares(um_backend *be, const float *x, size_t n)
{
    squares_job w = {.x = x, .n = n, .part = (n / SQUARE_PARTS / VL + 1) * VL};
    const size_t parts = (n + w.part - 1) / w.part;
    um_cpu_for(be, parts, ELEMENT_GRAIN / w.part + 1, squares_range, &w);
    double sum = 0.0;
    for (size_t p = 0; p < parts; p++)
        sum += w.sum[p];
    return sum;
}

typedef struct adamw_job {
    float *w, *m, *v;
    const float *g;
    float grad_scale;
    um_cpu_adamw_step step;
} adamw_job;

/* Rounds after every operation, as the reference does: the two agree bit for bit. */
static void adamw_range(void *ctx, size_t begin, size_t end, int thread)
{
    const adamw_job *job = ctx;
    const um_cpu_adamw_step *s = &job->step;
    const vf decay = vf_set(s->decay), beta1 = vf_set(s->beta1), beta2 = vf_set(s->beta2);
    const vf rest1 = vf_set(s->one_minus_beta1), rest2 = vf_set(s->one_minus_beta2);
    const vf step = vf_set(s->step_size), correction = vf_set(s->sqrt_correction2);
    const vf eps = vf_set(s->eps), grad_scale = vf_set(job->grad_scale);
    (void)thread;
    for (size_t i = begin; i < end; i += VL) {
        const int n = lanes_at(i, end);
        const vf g = vf_mul(vf_get(job->g + i, n), grad_scale);
        vf w = vf_mul(vf_get(job->w + i, n), decay);
        const vf m = vf_add(vf_mul(beta1, vf_get(job->m + i, n)), vf_mul(rest1, g));
        const vf v = vf_add(vf_mul(beta2, vf_get(job->v + i, n)), vf_mul(rest2, vf_mul(g, g)));
        const vf root = vf_add(vf_div(vf_sqrt(v), correction), eps);
        w = vf_sub(w, vf_div(vf_mul(step, m), root));
        vf_put(job->w + i, w, n);
        vf_put(job->m + i, m, n);
        vf_put(job->v + i, v, n);
    }
}

static void simd_adamw(um_backend *be, float *w, const float *g, float *m, float *v, size_t n,
                       const um_adamw *hyper)
{
    adamw_job job = {.w = w,
                     .m = m,
                     .v = v,
                     .g = g,
                     .grad_scale = hyper->grad_scale,
                     .step = um_cpu_adamw_prepare(hyper)};
    um_cpu_for(be, n, ELEMENT_GRAIN, adamw_range, &job);
}

#endif
