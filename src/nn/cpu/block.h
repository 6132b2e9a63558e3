/*
 * block.h - one K-block of one panel of weights against the rows of a chunk, in vectors. AMX has
 * its own (block_amx.h).
 *
 * acc[row][32] = or += the block's sums, one chain of terms a block; what a row gets does not
 * depend on the rows beside it.
 */
#ifndef UM_NN_CPU_BLOCK_H
#define UM_NN_CPU_BLOCK_H

typedef struct block {
    const char *w; /* the panel at this block */
    bool first;    /* acc is set, not added to */
    int terms;     /* of the block, whole steps for tiled activations */
    int rows;
    const char *acts; /* of the chunk's first row */
    int k, from;      /* of the matrix; terms [from, from + terms) */
    float *acc;       /* [rows rounded up to UM_TILE][UM_PANEL] */
    char *stage;      /* LINEAR_STAGE floats */
    /* Memory that is read soon. */
    const char *ahead;
    size_t ahead_bytes;
} block;

#ifdef SIMD_32_REGISTERS
enum { BLOCK_MR = 8 }; /* rows at a time */
#else
enum { BLOCK_MR = 4 };
#endif

enum {
    BLOCK_STRIPS = UM_PANEL / (2 * VL), /* a strip is two vectors of outputs */
};

/* The two vectors of a strip that begin at acc. */
static INLINE void acc_add(float *acc, bool first, vf a, vf b)
{
    vf_store(acc, first ? a : vf_add(vf_load(acc), a));
    vf_store(acc + VL, first ? b : vf_add(vf_load(acc + VL), b));
}

/* Where the pairs (or fours) of the vector v of a strip begin, in lanes of `unit` elements. */
static INLINE size_t strip_at(int strip, int v, size_t tile_lanes)
{
    const int column = (strip * 2 + v) * VL;
    return (size_t)(column / UM_TILE) * tile_lanes + (size_t)(column % UM_TILE);
}

static INLINE void bf16_rows(const block *g, int row, const int mr, int strip)
{
    const uint16_t *w = (const uint16_t *)g->w;
    const size_t w0 = strip_at(strip, 0, 256) * 2, w1 = strip_at(strip, 1, 256) * 2;
    const float *a = (const float *)g->acts + (size_t)row * (size_t)g->k + g->from;
    vf sum[BLOCK_MR][2];
    UNROLL
    for (int i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = vf_zero();
    for (int p = 0; p < g->terms; p += 2) {
        const uint16_t *at = w + (size_t)(p / 32) * 1024 + (size_t)(p % 32) * 16;
        vf even0, odd0, even1, odd1;
        vf_load_bf16_pairs(at + w0, &even0, &odd0);
        vf_load_bf16_pairs(at + w1, &even1, &odd1);
        const bool both = p + 1 < g->terms;
        UNROLL
        for (int i = 0; i < mr; i++) {
            const float *x = a + (size_t)i * (size_t)g->k + p;
            const vf x0 = vf_set(x[0]);
            sum[i][0] = vf_fma(x0, even0, sum[i][0]);
            sum[i][1] = vf_fma(x0, even1, sum[i][1]);
            if (both) {
                const vf x1 = vf_set(x[1]);
                sum[i][0] = vf_fma(x1, odd0, sum[i][0]);
                sum[i][1] = vf_fma(x1, odd1, sum[i][1]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < mr; i++)
        acc_add(g->acc + (row + i) * UM_PANEL + strip * 2 * VL, g->first, sum[i][0], sum[i][1]);
}

static INLINE void f16_rows(const block *g, int row, const int mr, int strip)
{
    const uint16_t *w = (const uint16_t *)g->w + strip * 2 * VL;
    const float *a = (const float *)g->acts + (size_t)row * (size_t)g->k + g->from;
    vf sum[BLOCK_MR][2];
    UNROLL
    for (int i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = vf_zero();
    for (int p = 0; p < g->terms; p++, w += UM_PANEL) {
        const vf w0 = vf_load_f16(w), w1 = vf_load_f16(w + VL);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vf x = vf_set(a[(size_t)i * (size_t)g->k + (size_t)p]);
            sum[i][0] = vf_fma(x, w0, sum[i][0]);
            sum[i][1] = vf_fma(x, w1, sum[i][1]);
        }
    }
    UNROLL
    for (int i = 0; i < mr; i++)
        acc_add(g->acc + (row + i) * UM_PANEL + strip * 2 * VL, g->first, sum[i][0], sum[i][1]);
}

static INLINE void i8_rows(const block *g, int row, const int mr, int strip)
{
    const float *w_scale = (const float *)g->w + strip * 2 * VL;
    const int8_t *w = (const int8_t *)g->w + UM_PANEL * sizeof(float);
    const size_t w0 = strip_at(strip, 0, 256) * 4, w1 = strip_at(strip, 1, 256) * 4;
    const size_t terms = (size_t)um_packed_terms(UM_I8, g->k);
    const char *acts = g->acts + (size_t)(row / UM_TILE) * acts_tile_bytes(UM_I8, g->k);
    const int8_t *a = (const int8_t *)acts + (size_t)g->from * UM_TILE + row % UM_TILE * UM_STEP_I8;
    const float *a_scale =
        (const float *)(acts + terms * UM_TILE) + g->from / UM_BLOCK * UM_TILE + row % UM_TILE;
    const int32_t *a_sum = (const int32_t *)(a_scale + acts_blocks(g->k) * UM_TILE);
    vi sum[BLOCK_MR][2];
    UNROLL
    for (int i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = vi_start(a_sum[i]);
    for (int step = 0; step < g->terms; step += UM_STEP_I8, w += 2048, a += 1024) {
        for (int p = 0; p < UM_STEP_I8; p += 4) {
            const vi_weights b0 = vi_load(w + p * 16 + w0), b1 = vi_load(w + p * 16 + w1);
            UNROLL
            for (int i = 0; i < mr; i++) {
                sum[i][0] = vi_dot(sum[i][0], b0, a + i * UM_STEP_I8 + p);
                sum[i][1] = vi_dot(sum[i][1], b1, a + i * UM_STEP_I8 + p);
            }
        }
    }
    const vf s0 = vf_load(w_scale), s1 = vf_load(w_scale + VL);
    UNROLL
    for (int i = 0; i < mr; i++) {
        const vf x = vf_set(a_scale[i]);
        acc_add(g->acc + (row + i) * UM_PANEL + strip * 2 * VL, g->first,
                vf_mul(vi_float(sum[i][0]), vf_mul(x, s0)),
                vf_mul(vi_float(sum[i][1]), vf_mul(x, s1)));
    }
}

typedef void (*block_rows_fn)(const block *g, int row, int strip);

#define BLOCK_ROWS(format, mr)                                                                     \
    static void format##_rows_##mr(const block *g, int row, int strip)                             \
    {                                                                                              \
        format##_rows(g, row, mr, strip);                                                          \
    }
#ifdef SIMD_32_REGISTERS
#define BLOCK_FORMAT(format)                                                                       \
    BLOCK_ROWS(format, 1)                                                                          \
    BLOCK_ROWS(format, 2)                                                                          \
    BLOCK_ROWS(format, 3)                                                                          \
    BLOCK_ROWS(format, 4)                                                                          \
    BLOCK_ROWS(format, 5)                                                                          \
    BLOCK_ROWS(format, 6)                                                                          \
    BLOCK_ROWS(format, 7)                                                                          \
    BLOCK_ROWS(format, 8)                                                                          \
    static const block_rows_fn format##_rows_fn[] = {                                              \
        format##_rows_1, format##_rows_2, format##_rows_3, format##_rows_4,                        \
        format##_rows_5, format##_rows_6, format##_rows_7, format##_rows_8};
#else
#define BLOCK_FORMAT(format)                                                                       \
    BLOCK_ROWS(format, 1)                                                                          \
    BLOCK_ROWS(format, 2)                                                                          \
    BLOCK_ROWS(format, 3)                                                                          \
    BLOCK_ROWS(format, 4)                                                                          \
    static const block_rows_fn format##_rows_fn[] = {format##_rows_1, format##_rows_2,             \
                                                     format##_rows_3, format##_rows_4};
#endif

BLOCK_FORMAT(f16)
#ifndef __AMX_TILE__
BLOCK_FORMAT(bf16)
BLOCK_FORMAT(i8)
#endif

/* Rows in groups of nearly equal height that do not cross a tile. */
static void block_by_rows(const block *g, const block_rows_fn *fn)
{
    for (size_t i = 0; i < g->ahead_bytes; i += 64)
        __builtin_prefetch(g->ahead + i, 0, 2);
    for (int first = 0; first < g->rows; first += UM_TILE) {
        const int rows = min_int(UM_TILE, g->rows - first), cuts = (rows + BLOCK_MR - 1) / BLOCK_MR;
        for (int c = 0; c < cuts; c++) {
            const int row = tile_start(rows, cuts, c), mr = tile_start(rows, cuts, c + 1) - row;
            for (int strip = 0; strip < BLOCK_STRIPS; strip++)
                fn[mr - 1](g, first + row, strip);
        }
    }
}

static void block_f16(const block *g)
{
    block_by_rows(g, f16_rows_fn);
}

#ifndef __AMX_TILE__
static void block_bf16(const block *g)
{
    block_by_rows(g, bf16_rows_fn);
}

static void block_i8(const block *g)
{
    block_by_rows(g, i8_rows_fn);
}

/* Around all blocks of a call on a thread. */
static void block_begin(void)
{
}

static void block_end(void)
{
}
#endif

#endif
