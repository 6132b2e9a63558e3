/*
 * memory.c - allocation, copies and work splitting of the CPU backends.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "nn/cpu/cpu.h"

/* Bytes one thread should move before a second one is worth waking. */
enum { COPY_GRAIN_BYTES = 1 << 18 };

float *um_cpu_thread_scratch(const um_backend *be, int thread)
{
    const um_cpu_scratch *s = be->scratch;
    return s->data + (size_t)thread * s->floats_per_thread;
}

void um_cpu_for(um_backend *be, size_t n, size_t grain, um_pool_fn fn, void *ctx)
{
    if (n == 0)
        return;
    if (grain == 0)
        grain = 1;
    if (um_pool_threads(be->pool) == 1 || n / grain < 2)
        fn(ctx, 0, n, 0);
    else
        um_pool_run(be->pool, n, grain, fn, ctx);
}

um_cpu_adamw_step um_cpu_adamw_prepare(const um_adamw *hyper)
{
    const double t = (double)hyper->step;
    return (um_cpu_adamw_step){
        .decay = (float)(1.0 - hyper->lr * hyper->weight_decay),
        .beta1 = (float)hyper->beta1,
        .beta2 = (float)hyper->beta2,
        .one_minus_beta1 = (float)(1.0 - hyper->beta1),
        .one_minus_beta2 = (float)(1.0 - hyper->beta2),
        .step_size = (float)(hyper->lr / (1.0 - pow(hyper->beta1, t))),
        .sqrt_correction2 = (float)sqrt(1.0 - pow(hyper->beta2, t)),
        .eps = (float)hyper->eps,
    };
}

um_status um_cpu_alloc(um_backend *be, um_buf *out, size_t bytes, um_error *err)
{
    (void)be;
    void *data = um_aligned_calloc(bytes, 1);
    if (data == NULL)
        return um_fail_memory(err, "numeric buffer");
    out->data = data;
    out->bytes = bytes;
    return UM_OK;
}

um_status um_cpu_alloc_matrix(um_backend *be, um_buf *out, size_t rows, size_t columns,
                              um_error *err)
{
    size_t bytes;
    if (um_mul_overflows(rows, columns, &bytes) || um_mul_overflows(bytes, sizeof(float), &bytes))
        return um_fail_memory(err, "packed weights");
    return um_cpu_alloc(be, out, bytes, err);
}

void um_cpu_release(um_backend *be, um_buf *buf)
{
    (void)be;
    free(buf->data);
    buf->data = NULL;
    buf->bytes = 0;
}

void um_cpu_zero(um_backend *be, void *dst, size_t bytes)
{
    (void)be;
    if (bytes > 0)
        memset(dst, 0, bytes);
}

void um_cpu_copy(um_backend *be, void *dst, const void *src, size_t bytes)
{
    (void)be;
    if (bytes > 0)
        memcpy(dst, src, bytes);
}

um_status um_cpu_pack_alloc(um_backend *be, um_packed *out, um_dtype dtype, int n, int k, bool pair,
                            um_error *err)
{
    um_packed new = {.dtype = dtype, .pair = pair, .n = n, .k = k};
    um_status status;
    if (dtype == UM_F32) {
        status = um_cpu_alloc_matrix(be, &new.buf, (size_t)n, (size_t)k, err);
    } else {
        const size_t bytes = um_packed_bytes(dtype, um_packed_outputs(n, pair), k);
        if (bytes == 0)
            return um_fail_memory(err, "packed weights");
        status = um_cpu_alloc(be, &new.buf, bytes, err);
    }
    new.data = new.buf.data;
    if (status == UM_OK)
        *out = new;
    return status;
}

typedef struct pack_job {
    const um_packed *to;
    const float *w;
} pack_job;

static void pack_panels(void *ctx, size_t begin, size_t end, int thread)
{
    const pack_job *job = ctx;
    const um_packed *to = job->to;
    (void)thread;
    for (size_t p = begin; p < end; p++)
        um_packed_panel_of(to->dtype, to->buf.data, (int)p, job->w, to->n, to->k, to->pair);
}

um_status um_cpu_pack(um_backend *be, um_packed *out, um_dtype dtype, const float *w, int n, int k,
                      bool pair, um_error *err)
{
    um_status status = um_cpu_pack_alloc(be, out, dtype, n, k, pair, err);
    if (status != UM_OK)
        return status;
    pack_job job = {out, w};
    const size_t panels = (size_t)(um_packed_outputs(n, pair) + UM_PANEL - 1) / UM_PANEL;
    um_cpu_for(be, panels, 1, pack_panels, &job);
    return UM_OK;
}

void um_cpu_unpack(um_backend *be, um_packed *packed)
{
    um_cpu_release(be, &packed->buf);
    *packed = (um_packed){0};
}

typedef struct rows_job {
    const um_packed *w;
    const int32_t *ids;
    float *out;
} rows_job;

static void unpack_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const rows_job *job = ctx;
    const um_packed *w = job->w;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        um_packed_terms_of(w->dtype, w->data, w->k, job->ids[i], 0, w->k,
                           job->out + i * (size_t)w->k);
}

void um_cpu_packed_rows(um_backend *be, float *out, const um_packed *w, const int32_t *ids, int t)
{
    rows_job job = {w, ids, out};
    if (t > 0)
        um_cpu_for(be, (size_t)t, 4, unpack_rows, &job);
}

typedef struct row_copy {
    float *dst;
    const float *src;
    size_t ld_dst, ld_src, bytes;
    const int32_t *dst_rows, *src_rows; /* NULL: row i itself */
} row_copy;

static void copy_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const row_copy *w = ctx;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        size_t to = w->dst_rows != NULL ? (size_t)w->dst_rows[i] : i;
        size_t from = w->src_rows != NULL ? (size_t)w->src_rows[i] : i;
        memcpy(w->dst + to * w->ld_dst, w->src + from * w->ld_src, w->bytes);
    }
}

static void run_row_copy(um_backend *be, row_copy *w, int n)
{
    if (n <= 0 || w->bytes == 0)
        return;
    um_cpu_for(be, (size_t)n, COPY_GRAIN_BYTES / w->bytes + 1, copy_rows, w);
}

void um_cpu_embed_forward(um_backend *be, float *out, const float *table, const int32_t *ids, int t,
                          int c)
{
    um_cpu_gather_rows(be, out, table, c, ids, t, c);
}

void um_cpu_gather_rows(um_backend *be, float *out, const float *in, int ld_in, const int32_t *rows,
                        int n, int c)
{
    row_copy w = {.dst = out,
                  .src = in,
                  .ld_dst = (size_t)c,
                  .ld_src = (size_t)ld_in,
                  .bytes = (size_t)c * sizeof(float),
                  .src_rows = rows};
    run_row_copy(be, &w, n);
}

void um_cpu_scatter_rows(um_backend *be, float *dst, int ld_dst, const float *src, int ld_src,
                         const int32_t *rows, int n, int c)
{
    row_copy w = {.dst = dst,
                  .src = src,
                  .ld_dst = (size_t)ld_dst,
                  .ld_src = (size_t)ld_src,
                  .bytes = (size_t)c * sizeof(float),
                  .dst_rows = rows};
    run_row_copy(be, &w, n);
}
