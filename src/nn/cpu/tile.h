/*
 * tile.h - the register tile under every matrix product: up to GEMM_MR x GEMM_NR sums held in
 * registers while k runs. Included by every vector backend after its simd header.
 *
 * Every sum is one chain of fused multiply-adds in order of k. How rows and columns are cut into
 * tiles, and which tile size computes an element, therefore changes no bit of it.
 */
#ifndef UM_NN_CPU_TILE_H
#define UM_NN_CPU_TILE_H

#include <stddef.h>

enum {
    TILE_NV = 2, /* vectors across a tile of several rows */
    GEMM_NR = TILE_NV * VL,
};

typedef enum tile_mode {
    TILE_SET,   /* c = alpha * sum */
    TILE_ADD,   /* c = c + alpha * sum, rounded once */
    TILE_CHAIN, /* the sum starts at c and is stored back; alpha is not used */
} tile_mode;

/*
 * c[i][j] = sum over p < k of a[i][p] b[p][j]. `rows` kernels read a[i * a_ld + p], `columns`
 * kernels a[p * a_ld + i]. b holds GEMM_NR columns a panel: b[p][j] is
 * b[(j / GEMM_NR) * b_panel + p * b_row + j % GEMM_NR], whole vectors of which must be readable.
 */
typedef struct tile {
    const float *a;
    size_t a_ld;
    const float *b;
    size_t b_row, b_panel;
    float *c;
    size_t c_row;
    int k;
    int last; /* columns in the last vector, 1 .. VL */
    float alpha;
    tile_mode mode;
    const float *bias; /* added to every row at the end, or NULL */
    const int *limit;  /* `rows` kernels, b_panel == GEMM_NR: terms of each row, ascending, the
                          first of them k; NULL when each has k */
} tile;

typedef void (*tile_fn)(const tile *t);

/* One vector of row i of c; `last` vectors may be short. */
static INLINE vf tile_load(const float *c, int n, bool last)
{
    return last && n != VL ? vf_load_n(c, n) : vf_load(c);
}

/*
 * Words. Operands of bfloat16 lie in words of 32 bits: pairs of consecutive terms where the machine
 * multiplies pairs, else one term as a float. A `dot` kernel is a kernel over words: k, a_ld, b_row
 * and so on count words.
 */
#ifdef SIMD_BF16_DOT
enum { WORD_TERMS = 2 };
#else
enum { WORD_TERMS = 1 };
#endif

/* c + a b of floats or, with dot, of words. */
static INLINE vf tile_dot(vf a, vf b, vf c, const bool dot)
{
#ifdef SIMD_BF16_DOT
    if (dot)
        return vf_dot(a, b, c);
#endif
    (void)dot;
    return vf_fma(a, b, c);
}

/*
 * The keys beyond the common ones: row i goes on to p < limit[i]. Rows are in order of limit, so
 * those that go on are the last ones.
 */
static INLINE void tile_stairs(const tile *t, const int mr, const int nv, const bool dot,
                               vf sum[GEMM_MR][8])
{
    int first = 0;
    for (int p = t->k; p < t->limit[mr - 1]; p++) {
        const float *b = t->b + (size_t)p * t->b_row, *a = t->a + p;
        while (t->limit[first] <= p)
            first++;
        vf column[8];
        UNROLL
        for (int j = 0; j < nv; j++)
            column[j] = vf_load(b + j * VL);
        UNROLL
        for (int i = 0; i < mr; i++) {
            if (i < first)
                continue;
            const vf value = vf_set(a[(size_t)i * t->a_ld]);
            UNROLL
            for (int j = 0; j < nv; j++)
                sum[i][j] = tile_dot(value, column[j], sum[i][j], dot);
        }
    }
}

/* Brings the sums into c as the mode says. */
static INLINE void tile_finish(const tile *t, const int mr, const int nv, vf sum[GEMM_MR][8])
{
    if (t->mode == TILE_ADD) {
        const vf alpha = vf_set(t->alpha);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const float *c = t->c + (size_t)i * t->c_row;
            UNROLL
            for (int j = 0; j < nv; j++)
                sum[i][j] = vf_fma(alpha, sum[i][j], tile_load(c + j * VL, t->last, j == nv - 1));
        }
    } else if (t->mode == TILE_SET && t->alpha != 1.0f) {
        const vf alpha = vf_set(t->alpha);
        UNROLL
        for (int i = 0; i < mr; i++) {
            UNROLL
            for (int j = 0; j < nv; j++)
                sum[i][j] = vf_mul(alpha, sum[i][j]);
        }
    }
    if (t->bias != NULL) {
        UNROLL
        for (int j = 0; j < nv; j++) {
            const vf bias = tile_load(t->bias + j * VL, t->last, j == nv - 1);
            UNROLL
            for (int i = 0; i < mr; i++)
                sum[i][j] = vf_add(sum[i][j], bias);
        }
    }
    UNROLL
    for (int i = 0; i < mr; i++) {
        float *c = t->c + (size_t)i * t->c_row;
        UNROLL
        for (int j = 0; j < nv; j++) {
            if (j < nv - 1 || t->last == VL)
                vf_store(c + j * VL, sum[i][j]);
            else
                vf_store_n(c + j * VL, sum[i][j], t->last);
        }
    }
}

/* mr, nv, by_column and dot are compile-time constants of every instance. */
static INLINE void tile_run(const tile *t, const int mr, const int nv, const bool by_column,
                            const bool dot)
{
    vf sum[GEMM_MR][8];
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int j = 0; j < nv; j++)
            sum[i][j] = vf_zero();
    }
    if (t->mode == TILE_CHAIN) {
        UNROLL
        for (int i = 0; i < mr; i++) {
            const float *c = t->c + (size_t)i * t->c_row;
            UNROLL
            for (int j = 0; j < nv; j++)
                sum[i][j] = tile_load(c + j * VL, t->last, j == nv - 1);
        }
    }
    if (t->mode == TILE_ADD) { /* they are wanted when k has run */
        UNROLL
        for (int i = 0; i < mr; i++) {
            UNROLL
            for (int j = 0; j < nv; j++)
                __builtin_prefetch(t->c + (size_t)i * t->c_row + j * VL, 1);
        }
    }
    const float *a = t->a, *b = t->b;
    const size_t a_ld = t->a_ld, b_row = t->b_row, b_panel = t->b_panel;
    for (int p = t->k; p > 0; p--) {
        vf column[8];
        UNROLL
        for (int j = 0; j < nv; j++)
            column[j] = vf_load(b + (size_t)(j / TILE_NV) * b_panel + j % TILE_NV * VL);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vf value = vf_set(by_column ? a[i] : a[(size_t)i * a_ld]);
            UNROLL
            for (int j = 0; j < nv; j++)
                sum[i][j] = tile_dot(value, column[j], sum[i][j], dot);
        }
        a += by_column ? a_ld : 1;
        b += b_row;
    }
    if (!by_column && mr > 1 && t->limit != NULL)
        tile_stairs(t, mr, nv, dot, sum);
    tile_finish(t, mr, nv, sum);
}

#define TILE_KERNELS(mr, nv, name, dot)                                                            \
    static void tile_##name##rows_##mr##x##nv(const tile *t)                                       \
    {                                                                                              \
        tile_run(t, mr, nv, false, dot);                                                           \
    }                                                                                              \
    static void tile_##name##columns_##mr##x##nv(const tile *t)                                    \
    {                                                                                              \
        tile_run(t, mr, nv, true, dot);                                                            \
    }
#ifdef SIMD_BF16_DOT
#define TILE_INSTANCE(mr, nv)                                                                      \
    TILE_KERNELS(mr, nv, , false)                                                                  \
    TILE_KERNELS(mr, nv, dot_, true)
#else
#define TILE_INSTANCE(mr, nv) TILE_KERNELS(mr, nv, , false)
#endif

TILE_INSTANCE(1, 1)
TILE_INSTANCE(1, 2)
TILE_INSTANCE(1, 4)
TILE_INSTANCE(1, 8)
TILE_INSTANCE(2, 1)
TILE_INSTANCE(2, 2)
TILE_INSTANCE(2, 4)
TILE_INSTANCE(3, 1)
TILE_INSTANCE(3, 2)
TILE_INSTANCE(3, 4)
TILE_INSTANCE(4, 1)
TILE_INSTANCE(4, 2)
TILE_INSTANCE(5, 1)
TILE_INSTANCE(5, 2)
TILE_INSTANCE(6, 1)
TILE_INSTANCE(6, 2)
#define TILE_ROW(mr, kind)                                                                         \
    {                                                                                              \
        tile_##kind##_##mr##x1, tile_##kind##_##mr##x2                                             \
    }
#define TILE_WIDE_ROW(mr, kind)                                                                    \
    {                                                                                              \
        tile_##kind##_##mr##x1, tile_##kind##_##mr##x2, tile_##kind##_##mr##x4                     \
    }
#define TILE_TABLE_6(kind)                                                                         \
    {tile_##kind##_1x1, tile_##kind##_1x2, tile_##kind##_1x4, tile_##kind##_1x8},                  \
        TILE_WIDE_ROW(2, kind), TILE_WIDE_ROW(3, kind), TILE_ROW(4, kind), TILE_ROW(5, kind),      \
        TILE_ROW(6, kind)

#ifdef SIMD_32_REGISTERS
TILE_INSTANCE(7, 1)
TILE_INSTANCE(7, 2)
TILE_INSTANCE(8, 1)
TILE_INSTANCE(8, 2)
TILE_INSTANCE(9, 1)
TILE_INSTANCE(9, 2)
TILE_INSTANCE(10, 1)
TILE_INSTANCE(10, 2)
TILE_INSTANCE(11, 1)
TILE_INSTANCE(11, 2)
TILE_INSTANCE(12, 1)
TILE_INSTANCE(12, 2)
#define TILE_TABLE(kind)                                                                           \
    TILE_TABLE_6(kind), TILE_ROW(7, kind), TILE_ROW(8, kind), TILE_ROW(9, kind),                   \
        TILE_ROW(10, kind), TILE_ROW(11, kind), TILE_ROW(12, kind)
#else
#define TILE_TABLE(kind) TILE_TABLE_6(kind)
#endif

/* [rows - 1][log2 vectors]; see tile_width for which exist. */
static const tile_fn tile_rows_fn[GEMM_MR][4] = {TILE_TABLE(rows)};
static const tile_fn tile_columns_fn[GEMM_MR][4] = {TILE_TABLE(columns)};
#ifdef SIMD_BF16_DOT
static const tile_fn tile_dot_rows_fn[GEMM_MR][4] = {TILE_TABLE(dot_rows)};
static const tile_fn tile_dot_columns_fn[GEMM_MR][4] = {TILE_TABLE(dot_columns)};
#else
#define tile_dot_rows_fn    tile_rows_fn
#define tile_dot_columns_fn tile_columns_fn
#endif

/* The most vectors a tile of mr rows can be wide. */
static inline int tile_max_vectors(int mr)
{
    return mr == 1 ? 8 : mr <= 3 ? 4 : TILE_NV;
}

/*
 * Runs t over `columns` columns of c and b: tiles of 8, 4, 2 and 1 vectors as they fit. t->last is
 * set here.
 */
static inline void tile_across(const tile_fn fn[4], tile t, int mr, int columns)
{
    const int max_vectors = tile_max_vectors(mr);
    while (columns > 0) {
        const int vectors = (columns + VL - 1) / VL;
        int log_nv = 0;
        while ((2 << log_nv) <= max_vectors && (2 << log_nv) <= vectors)
            log_nv++;
        const int width = VL << log_nv;
        t.last = columns < width ? columns - (width - VL) : VL;
        fn[log_nv](&t);
        columns -= width;
        t.c += width;
        t.b += (size_t)(width / GEMM_NR) * t.b_panel;
        if (t.bias != NULL)
            t.bias += width;
    }
}

#endif
