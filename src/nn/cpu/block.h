/*
 * block.h - one K-block of one panel of weights against the rows of a chunk, in vectors. AMX has
 * its own (block_amx.h).
 *
 * acc[row][32] = or += the block's sums, one chain of terms a block; the last block's go on to y.
 * What a row gets does not depend on the rows beside it.
 */
#ifndef UM_NN_CPU_BLOCK_H
#define UM_NN_CPU_BLOCK_H

typedef struct block {
    const char *w; /* the panel at this block */
    bool first;    /* acc is set, not added to */
    int terms;     /* of the block, whole steps for tiled activations */
    int rows;
    const char *acts; /* of the chunk's first row */
    size_t tile_bytes;
    int k, from;           /* of the matrix; terms [from, from + terms) */
    size_t scales, starts; /* UM_I8: where a tile of activations has those of the block */
    float *acc;            /* [rows rounded up to UM_TILE][UM_PANEL] */
    float *y; /* where rows of a panel go instead after its last block; NULL: nowhere */
    size_t ldy;
    bool add, streams; /* to what y holds; past the caches */
    char *stage;       /* LINEAR_STAGE floats */
    /* Memory that is read soon. */
    const char *ahead;
    size_t ahead_bytes;
    bool in_order; /* it is as much as a block, for the rows of this call alone */
} block;

#ifdef SIMD_32_REGISTERS
enum { BLOCK_MR = 12 }; /* rows at a time: 12 x 2 sums, 2 of weights, 1 or none of activations */
#else
enum { BLOCK_MR = 4 };
#endif

enum {
    BLOCK_STRIPS = UM_PANEL / (2 * VL), /* a strip is two vectors of outputs */
};

/* Lines to fetch with each of `steps` steps. */
static INLINE int lines_a_step(const block *g, int steps)
{
    return ((int)(g->ahead_bytes / 64) + steps - 1) / steps;
}

static INLINE const char *fetch(const char *ahead, int lines)
{
    for (int i = 0; i < lines; i++, ahead += 64)
        __builtin_prefetch(ahead, 0, 2);
    return ahead;
}

/*
 * What a call of a kernel is about: rows [row, row + mr) of one strip. A kernel that is called once
 * for a block (`once`) has as much fetched as it reads, evenly: few rows take no longer to multiply
 * than to read, and lines asked for together wait for one another. Else `lines` are fetched with
 * each step of terms.
 */
typedef struct block_call {
    int row, strip;
    const char *ahead;
    int lines;
} block_call;

/* Of a panel; a constant where a panel is one strip. */
static INLINE int first_column(const block_call *c)
{
    return BLOCK_STRIPS > 1 ? c->strip * 2 * VL : 0;
}

static INLINE float *acc_row(const block *g, const block_call *c, int i)
{
    return g->acc + (c->row + i) * UM_PANEL + first_column(c);
}

/* What row i of a call comes to, with the last block. */
static INLINE void y_put(const block *g, const block_call *c, int i, vf s0, vf s1)
{
    float *y = g->y + (size_t)(c->row + i) * g->ldy + first_column(c);
    if (g->streams) {
        vf_stream(y, s0);
        vf_stream(y + VL, s1);
        return;
    }
    vf_store(y, g->add ? vf_add(vf_load(y), s0) : s0);
    vf_store(y + VL, g->add ? vf_add(vf_load(y + VL), s1) : s1);
}

/* The sums of a block go on in acc, or with the last block to y. */
static INLINE void block_put(const block *g, const block_call *c, vf (*sum)[2], const int mr)
{
    UNROLL
    for (int i = 0; i < mr; i++) {
        float *acc = acc_row(g, c, i);
        if (!g->first) {
            sum[i][0] = vf_add(vf_load(acc), sum[i][0]);
            sum[i][1] = vf_add(vf_load(acc + VL), sum[i][1]);
        }
        if (g->y != NULL) {
            y_put(g, c, i, sum[i][0], sum[i][1]);
        } else {
            vf_store(acc, sum[i][0]);
            vf_store(acc + VL, sum[i][1]);
        }
    }
}

/* The same of byte products, times the scales of rows and outputs. */
static INLINE void i8_put(const block *g, const block_call *c, vi (*sum)[2], const float *a_scale,
                          const int mr, const bool first, const bool last)
{
    const float *w_scale = (const float *)g->w + first_column(c);
    const vf w0 = vf_load(w_scale), w1 = vf_load(w_scale + VL);
    UNROLL
    for (int i = 0; i < mr; i++) {
        float *acc = acc_row(g, c, i);
        const vf x = vf_set(a_scale[i]), f0 = vf_mul(x, w0), f1 = vf_mul(x, w1);
        const vf v0 = vi_float(sum[i][0]), v1 = vi_float(sum[i][1]);
        const vf s0 = first ? vf_mul(v0, f0) : vf_fma(v0, f0, vf_load(acc));
        const vf s1 = first ? vf_mul(v1, f1) : vf_fma(v1, f1, vf_load(acc + VL));
        if (last) {
            y_put(g, c, i, s0, s1);
        } else {
            vf_store(acc, s0);
            vf_store(acc + VL, s1);
        }
    }
}

/* Where the pairs (or fours) of vector v of a call's strip begin, in pairs (or fours). */
static INLINE size_t strip_at(const block_call *c, int v, size_t tile_lanes)
{
    const int column = first_column(c) + v * VL;
    return (size_t)(column / UM_TILE) * tile_lanes + (size_t)(column % UM_TILE);
}

#ifdef SIMD_BF16_TERMS
static INLINE void bf16_rows(const block *g, const block_call *c, const int mr, const bool once)
{
    const uint16_t *w = (const uint16_t *)g->w;
    const size_t w0 = strip_at(c, 0, 256) * 2, w1 = strip_at(c, 1, 256) * 2;
    const uint16_t *a = (const uint16_t *)(g->acts + (size_t)(c->row / UM_TILE) * g->tile_bytes) +
                        (size_t)g->from * UM_TILE + c->row % UM_TILE * UM_STEP_BF16;
    const char *ahead = c->ahead;
    vf sum[BLOCK_MR][2];
    UNROLL
    for (int i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = vf_zero();
    for (int step = 0; step < g->terms; step += UM_STEP_BF16, w += 1024, a += 512) {
        if (!once)
            ahead = fetch(ahead, c->lines);
        for (int p = 0; p < UM_STEP_BF16; p += 2) {
            if (once)
                ahead = fetch(ahead, 2);
            const vf b0 = vf_load((const float *)(w + p * 16 + w0));
            const vf b1 = vf_load((const float *)(w + p * 16 + w1));
            UNROLL
            for (int i = 0; i < mr; i++) {
                const uint16_t *x = a + i * UM_STEP_BF16 + p;
                sum[i][0] = vf_dot_pair(b0, x, sum[i][0]);
                sum[i][1] = vf_dot_pair(b1, x, sum[i][1]);
            }
        }
    }
    block_put(g, c, sum, mr);
}
#else
static INLINE void bf16_rows(const block *g, const block_call *c, const int mr, const bool once)
{
    const uint16_t *w = (const uint16_t *)g->w;
    const size_t w0 = strip_at(c, 0, 256) * 2, w1 = strip_at(c, 1, 256) * 2;
    const float *a = (const float *)g->acts + (size_t)c->row * (size_t)g->k + g->from;
    const char *ahead = c->ahead;
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
        if (once)
            ahead = fetch(ahead, 2);
        else if (p % UM_STEP_BF16 == 0)
            ahead = fetch(ahead, c->lines);
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
    block_put(g, c, sum, mr);
}
#endif

static INLINE void f16_rows(const block *g, const block_call *c, const int mr, const bool once)
{
    const uint16_t *w = (const uint16_t *)g->w + first_column(c);
    const float *a = (const float *)g->acts + (size_t)c->row * (size_t)g->k + g->from;
    const char *ahead = c->ahead;
    vf sum[BLOCK_MR][2];
    UNROLL
    for (int i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = vf_zero();
    for (int p = 0; p < g->terms; p++, w += UM_PANEL) {
        const vf w0 = vf_load_f16(w), w1 = vf_load_f16(w + VL);
        if (once)
            ahead = fetch(ahead, 1);
        else if (p % UM_STEP_BF16 == 0)
            ahead = fetch(ahead, c->lines);
        UNROLL
        for (int i = 0; i < mr; i++) {
            const vf x = vf_set(a[(size_t)i * (size_t)g->k + (size_t)p]);
            sum[i][0] = vf_fma(x, w0, sum[i][0]);
            sum[i][1] = vf_fma(x, w1, sum[i][1]);
        }
    }
    block_put(g, c, sum, mr);
}

static INLINE void i8_rows(const block *g, const block_call *c, const int mr, const bool once)
{
    const int8_t *w = (const int8_t *)g->w + UM_PANEL * sizeof(float);
    const size_t w0 = strip_at(c, 0, 256) * 4, w1 = strip_at(c, 1, 256) * 4;
    const char *acts = g->acts + (size_t)(c->row / UM_TILE) * g->tile_bytes;
    const int8_t *a =
        (const int8_t *)acts + (size_t)g->from * UM_TILE + c->row % UM_TILE * UM_STEP_I8;
    const float *a_scale = (const float *)(acts + g->scales) + c->row % UM_TILE;
    const int32_t *start = (const int32_t *)(acts + g->starts) + c->row % UM_TILE;
    const char *ahead = c->ahead;
    vi sum[BLOCK_MR][2];
    UNROLL
    for (int i = 0; i < mr; i++)
        sum[i][0] = sum[i][1] = vi_set(start[i]);
    if (once)
        ahead = fetch(ahead, UM_PANEL * sizeof(float) / 64);
    for (int step = 0; step < g->terms; step += UM_STEP_I8, w += 2048, a += 1024) {
        if (!once)
            ahead = fetch(ahead, c->lines);
        for (int p = 0; p < UM_STEP_I8; p += 4) {
            if (once)
                ahead = fetch(ahead, 2);
            const vi_weights b0 = vi_load(w + p * 16 + w0), b1 = vi_load(w + p * 16 + w1);
            UNROLL
            for (int i = 0; i < mr; i++) {
                sum[i][0] = vi_dot(sum[i][0], b0, a + i * UM_STEP_I8 + p);
                sum[i][1] = vi_dot(sum[i][1], b1, a + i * UM_STEP_I8 + p);
            }
        }
    }
    if (g->y != NULL)
        i8_put(g, c, sum, a_scale, mr, g->first, true);
    else if (g->first)
        i8_put(g, c, sum, a_scale, mr, true, false);
    else
        i8_put(g, c, sum, a_scale, mr, false, false);
}

typedef void (*block_rows_fn)(const block *g, const block_call *c);

#define BLOCK_ROWS(format, mr)                                                                     \
    static void format##_rows_##mr(const block *g, const block_call *c)                            \
    {                                                                                              \
        format##_rows(g, c, mr, false);                                                            \
    }                                                                                              \
    static void format##_once_##mr(const block *g, const block_call *c)                            \
    {                                                                                              \
        format##_rows(g, c, mr, true);                                                             \
    }
#define BLOCK_ROWS_4(format)                                                                       \
    BLOCK_ROWS(format, 1)                                                                          \
    BLOCK_ROWS(format, 2)                                                                          \
    BLOCK_ROWS(format, 3)                                                                          \
    BLOCK_ROWS(format, 4)
#define BLOCK_FNS_4(fn) fn##_1, fn##_2, fn##_3, fn##_4
#ifdef SIMD_32_REGISTERS
#define BLOCK_ROWS_ALL(format)                                                                     \
    BLOCK_ROWS_4(format)                                                                           \
    BLOCK_ROWS(format, 5)                                                                          \
    BLOCK_ROWS(format, 6)                                                                          \
    BLOCK_ROWS(format, 7)                                                                          \
    BLOCK_ROWS(format, 8)                                                                          \
    BLOCK_ROWS(format, 9)                                                                          \
    BLOCK_ROWS(format, 10)                                                                         \
    BLOCK_ROWS(format, 11)                                                                         \
    BLOCK_ROWS(format, 12)
#define BLOCK_FNS(fn)                                                                              \
    BLOCK_FNS_4(fn), fn##_5, fn##_6, fn##_7, fn##_8, fn##_9, fn##_10, fn##_11, fn##_12
#else
#define BLOCK_ROWS_ALL(format) BLOCK_ROWS_4(format)
#define BLOCK_FNS(fn)          BLOCK_FNS_4(fn)
#endif
/* By `once`, then by rows. */
#define BLOCK_FORMAT(format)                                                                       \
    BLOCK_ROWS_ALL(format)                                                                         \
    static const block_rows_fn format##_fn[2][BLOCK_MR] = {{BLOCK_FNS(format##_rows)},             \
                                                           {BLOCK_FNS(format##_once)}};

BLOCK_FORMAT(f16)
#ifndef __AMX_TILE__
BLOCK_FORMAT(bf16)
BLOCK_FORMAT(i8)
#endif

/* Groups of rows of nearly equal height that a tile of `rows` rows is cut into. */
static INLINE int tile_cuts(int rows)
{
    return (rows + BLOCK_MR - 1) / BLOCK_MR;
}

/* Groups do not cross a tile. */
static void block_by_rows(const block *g, const block_rows_fn (*fn)[BLOCK_MR], int step)
{
    const int cuts = g->rows / UM_TILE * tile_cuts(UM_TILE) + tile_cuts(g->rows % UM_TILE);
    const int steps = (g->terms + step - 1) / step;
    const bool once = g->in_order && cuts * BLOCK_STRIPS == 1;
    block_call call = {.ahead = g->ahead, .lines = lines_a_step(g, cuts * BLOCK_STRIPS * steps)};
    for (int first = 0; first < g->rows; first += UM_TILE) {
        const int rows = min_int(UM_TILE, g->rows - first);
        for (int c = 0; c < tile_cuts(rows); c++) {
            const int row = tile_start(rows, tile_cuts(rows), c);
            const int mr = tile_start(rows, tile_cuts(rows), c + 1) - row;
            call.row = first + row;
            for (call.strip = 0; call.strip < BLOCK_STRIPS; call.strip++) {
                fn[once][mr - 1](g, &call);
                call.ahead += (size_t)(call.lines * steps) * 64;
            }
        }
    }
}

static void block_f16(const block *g)
{
    block_by_rows(g, f16_fn, UM_STEP_BF16);
}

#ifndef __AMX_TILE__
static void block_bf16(const block *g)
{
    block_by_rows(g, bf16_fn, UM_STEP_BF16);
}

static void block_i8(const block *g)
{
    block_by_rows(g, i8_fn, UM_STEP_I8);
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
