/*
 * acts.h - activations [M, K] arranged for products with packed weights. Included by every vector
 * backend.
 *
 * UM_F32, UM_F16: rows of K floats, as they are; UM_BF16 likewise, rounded to bfloat16 - except
 * where bfloat16 is multiplied as such, where they are tiles. Tiles hold 16 rows; rows beyond M are
 * zero. The tiles of 16 rows lie one after the other:
 *
 *   UM_BF16  for each 32 terms: [16 rows][32]
 *   UM_I8    for each 64 terms: [16 rows][64] signed bytes; then for each UM_BLOCK terms:
 *                  [16] float scales; then for each: [16] what a row's sums of products
 *                  start at (vi_start)
 */
#ifndef UM_NN_CPU_ACTS_H
#define UM_NN_CPU_ACTS_H

#include "nn/packed.h"

#ifdef SIMD_BF16_TERMS
enum { ACTS_BF16_TILES = 1 };
#else
enum { ACTS_BF16_TILES = 0 };
#endif

static inline bool acts_tiled(um_dtype dtype)
{
    return dtype == UM_I8 || (dtype == UM_BF16 && ACTS_BF16_TILES);
}

static inline size_t acts_blocks(int k)
{
    return (size_t)(k + UM_BLOCK - 1) / UM_BLOCK;
}

/* Terms that are multiplied: k, in tiles rounded up to whole steps. */
static inline int acts_terms(um_dtype dtype, int k)
{
    return acts_tiled(dtype) ? um_packed_terms(dtype, k) : k;
}

/* Of a tile of bytes: where its scales are. */
static inline size_t acts_scales_at(int k)
{
    return (size_t)um_packed_terms(UM_I8, k) * UM_TILE;
}

/* Bytes of 16 rows. */
static inline size_t acts_tile_bytes(um_dtype dtype, int k)
{
    const size_t terms = (size_t)um_packed_terms(dtype, k);
    if (dtype == UM_I8)
        return UM_TILE * (terms + acts_blocks(k) * (sizeof(float) + sizeof(int32_t)));
    return UM_TILE * (acts_tiled(dtype) ? terms * sizeof(uint16_t) : (size_t)k * sizeof(float));
}

static size_t simd_acts_bytes(um_dtype dtype, int m, int k)
{
    size_t bytes;
    return um_mul_overflows((size_t)(m + UM_TILE - 1) / UM_TILE, acts_tile_bytes(dtype, k), &bytes)
               ? 0
               : bytes;
}

/* Terms [from, from + n) of a row of bytes; from is at a block's start, n <= UM_BLOCK. */
static void acts_put_bytes(char *base, int k, int row, int from, const float *x, int n)
{
    float *scale = (float *)(base + acts_scales_at(k)) + from / UM_BLOCK * UM_TILE + row;
    int32_t *start = (int32_t *)(scale + acts_blocks(k) * UM_TILE);
    int8_t bytes[UM_BLOCK] = {0};
    vf most = vf_zero();
    for (int i = 0; i < n; i += VL)
        most = vf_max(most, vf_abs(vf_get(x + i, lanes_at((size_t)i, (size_t)n))));
    const float largest = vf_largest(most);
    const float inverse = largest >= UM_I8_LEAST ? 127.0f / largest : 0.0f;
    const vf factor = vf_set(inverse);
    vf sums = vf_zero(); /* of integers: exact, or NaN */
    for (int i = 0; i < n; i += VL) {
        const vf value = vf_mul(vf_get(x + i, lanes_at((size_t)i, (size_t)n)), factor);
        vf_store_i8(bytes + i, value);
        sums = vf_add(sums, vf_round(value));
    }
    const float total = vf_sum(sums);
    *scale = isnan(total) ? NAN : largest / 127.0f;
    *start = isnan(total) ? 0 : vi_start((int32_t)total);
    for (int i = 0; i < n; i += UM_STEP_I8)
        memcpy(base + (size_t)((from + i) / UM_STEP_I8 * UM_TILE + row) * UM_STEP_I8, bytes + i,
               UM_STEP_I8);
}

/* The same of bfloat16 in tiles; n is any, from a multiple of UM_STEP_BF16. */
static void acts_put_bf16(char *base, int row, int from, const float *x, int n)
{
    for (int i = 0; i < n; i += UM_STEP_BF16) {
        uint16_t *to =
            (uint16_t *)base + (size_t)((from + i) / UM_STEP_BF16 * UM_TILE + row) * UM_STEP_BF16;
        for (int j = 0; j < UM_STEP_BF16; j += VL)
            vf_store_bf16(to + j, i + j < n
                                      ? vf_get(x + i + j, lanes_at((size_t)(i + j), (size_t)n))
                                      : vf_zero());
    }
}

/* Terms [from, from + n) of one row; from is a multiple of UM_BLOCK. */
static void acts_put(char *acts, um_dtype dtype, int k, size_t row, int from, const float *x, int n)
{
    if (!acts_tiled(dtype)) {
        float *to = (float *)acts + row * (size_t)k + (size_t)from;
        for (int i = 0; i < n; i += VL) {
            const int lanes = lanes_at((size_t)i, (size_t)n);
            const vf v = vf_get(x + i, lanes);
            vf_put(to + i, dtype == UM_BF16 ? vf_round_bf16(v) : v, lanes);
        }
        return;
    }
    char *base = acts + row / UM_TILE * acts_tile_bytes(dtype, k);
    const int r = (int)(row % UM_TILE);
    if (dtype == UM_BF16) {
        acts_put_bf16(base, r, from, x, n);
        return;
    }
    for (int i = 0; i < n; i += UM_BLOCK)
        acts_put_bytes(base, k, r, from + i, x + i, min_int(UM_BLOCK, n - i));
}

/* Rows of the last tile that no activation fills are zero: whole tiles are multiplied. */
static void acts_pad(char *acts, um_dtype dtype, int m, int k)
{
    static const float zeros[UM_BLOCK];
    if (!acts_tiled(dtype))
        return;
    for (int row = m; row < round_up(m, UM_TILE); row++) {
        for (int from = 0; from < k; from += UM_BLOCK)
            acts_put(acts, dtype, k, (size_t)row, from, zeros, min_int(UM_BLOCK, k - from));
    }
}

typedef struct acts_job {
    char *acts;
    um_dtype dtype;
    const float *x, *w;
    size_t ldx;
    int k;
    float eps;
} acts_job;

static void acts_set_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const acts_job *job = ctx;
    (void)thread;
    for (size_t row = begin; row < end; row++)
        acts_put(job->acts, job->dtype, job->k, row, 0, job->x + row * job->ldx, job->k);
}

static void simd_acts_set(um_backend *be, void *acts, um_dtype dtype, const float *x, int ldx,
                          int m, int k)
{
    acts_job job = {.acts = acts, .dtype = dtype, .x = x, .ldx = (size_t)ldx, .k = k};
    acts_pad(acts, dtype, m, k);
    for_rows(be, m, (size_t)k, acts_set_rows, &job);
}

static void acts_norm_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const acts_job *job = ctx;
    const size_t k = (size_t)job->k;
    float part[UM_BLOCK];
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        const float *x = job->x + row * k;
        const float scale = rms_factor(x, k, job->eps);
        for (size_t from = 0; from < k; from += UM_BLOCK) {
            const size_t n = k - from < UM_BLOCK ? k - from : UM_BLOCK;
            norm_terms(part, x + from, job->w + from, scale, n);
            acts_put(job->acts, job->dtype, job->k, row, (int)from, part, (int)n);
        }
    }
}

static void simd_acts_norm(um_backend *be, void *acts, um_dtype dtype, const float *x,
                           const float *w, int m, int k, float eps)
{
    acts_job job = {.acts = acts, .dtype = dtype, .x = x, .w = w, .k = k, .eps = eps};
    acts_pad(acts, dtype, m, k);
    for_rows(be, m, (size_t)k, acts_norm_rows, &job);
}

#endif
