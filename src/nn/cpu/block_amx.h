/*
 * block_amx.h - K-blocks of bytes and bfloat16 in AMX tiles. See block.h.
 *
 * Two tiles of rows by two tiles of outputs are summed at a time: four sums, two tiles of
 * activations, two of weights. Sums of bytes are brought to floats outside of the tile unit: while
 * it multiplies one pair of row tiles, the vector unit scales the sums of the pair before.
 */
#ifndef UM_NN_CPU_BLOCK_AMX_H
#define UM_NN_CPU_BLOCK_AMX_H

enum {
    AMX_STEP = 1024,       /* bytes of a tile */
    AMX_AHEAD = 12 * 1024, /* weights are fetched this many bytes ahead */
};

static void block_begin(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } config = {.palette = 1,
                .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    _tile_loadconfig(&config);
}

static void block_end(void)
{
    _tile_release();
}

/* The first rows that meet a block bring in the weights that come after it. */
static INLINE void fetch_ahead(const char *w)
{
    for (int i = 0; i < 2 * AMX_STEP; i += 64)
        _mm_prefetch(w + AMX_AHEAD + i, _MM_HINT_T0);
}

/* Sums of bytes, tile by tile: [row tile][output tile][16][16] int32. */
static INLINE void i8_multiply(const block *g, const char *a0, const char *a1, bool two,
                               bool fetch, char *stage)
{
    const char *w = g->w + UM_PANEL * sizeof(float);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int step = 0; step < g->terms; step += UM_STEP_I8) {
        if (fetch)
            fetch_ahead(w);
        _tile_loadd(4, a0, 64);
        _tile_loadd(6, w, 64);
        _tile_loadd(7, w + AMX_STEP, 64);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        if (two) {
            _tile_loadd(5, a1, 64);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
        a0 += AMX_STEP;
        a1 += AMX_STEP;
        w += 2 * AMX_STEP;
    }
    _tile_stored(0, stage, 64);
    _tile_stored(1, stage + AMX_STEP, 64);
    if (two) {
        _tile_stored(2, stage + 2 * AMX_STEP, 64);
        _tile_stored(3, stage + 3 * AMX_STEP, 64);
    }
}

/* acc of one row tile = or += its sums times the scales of rows and outputs. */
static INLINE void i8_scale(const block *g, int t, const char *stage)
{
    const size_t terms = (size_t)um_packed_terms(UM_I8, g->k);
    const char *acts = g->acts + (size_t)t * acts_tile_bytes(UM_I8, g->k);
    const float *a_scale = (const float *)(acts + terms * UM_TILE) + g->from / UM_BLOCK * UM_TILE;
    const vf w0 = vf_load((const float *)g->w), w1 = vf_load((const float *)g->w + VL);
    float *acc = g->acc + t * UM_TILE * UM_PANEL;
    for (int i = 0; i < UM_TILE; i++, stage += 64, acc += UM_PANEL) {
        const vf x = vf_set(a_scale[i]);
        const vf s0 = vi_float(_mm512_load_si512(stage));
        const vf s1 = vi_float(_mm512_load_si512(stage + AMX_STEP));
        acc_add(acc, g->from == 0, vf_mul(s0, vf_mul(x, w0)), vf_mul(s1, vf_mul(x, w1)));
    }
}

static void block_i8(const block *g)
{
    const size_t tile_bytes = acts_tile_bytes(UM_I8, g->k);
    const char *a = g->acts + (size_t)g->from * UM_TILE;
    const int tiles = (g->rows + UM_TILE - 1) / UM_TILE;
    char *stage = g->stage, *before = g->stage + 4 * AMX_STEP;
    int waiting = 0; /* row tiles in `before`, the last of them t - 1 */
    for (int t = 0; t < tiles; t += 2) {
        const bool two = t + 1 < tiles;
        i8_multiply(g, a, two ? a + tile_bytes : a, two, t == 0, stage);
        for (int i = 0; i < waiting; i++)
            i8_scale(g, t - waiting + i, before + 2 * i * AMX_STEP);
        waiting = two ? 2 : 1;
        char *swap = before;
        before = stage;
        stage = swap;
        a += 2 * tile_bytes;
    }
    for (int i = 0; i < waiting; i++)
        i8_scale(g, tiles - waiting + i, before + 2 * i * AMX_STEP);
}

/* Products of bfloat16 go on in the sums that acc holds. */
static INLINE void bf16_multiply(const block *g, const char *a0, const char *a1, bool two,
                                 bool fetch, float *acc)
{
    const char *w = g->w;
    const int row = UM_PANEL * sizeof(float);
    float *below = acc + UM_TILE * UM_PANEL;
    if (g->from == 0) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, acc, row);
        _tile_loadd(1, acc + VL, row);
        if (two) {
            _tile_loadd(2, below, row);
            _tile_loadd(3, below + VL, row);
        }
    }
    for (int step = 0; step < g->terms; step += UM_STEP_BF16) {
        if (fetch)
            fetch_ahead(w);
        _tile_loadd(4, a0, 64);
        _tile_loadd(6, w, 64);
        _tile_loadd(7, w + AMX_STEP, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (two) {
            _tile_loadd(5, a1, 64);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        a0 += AMX_STEP;
        a1 += AMX_STEP;
        w += 2 * AMX_STEP;
    }
    _tile_stored(0, acc, row);
    _tile_stored(1, acc + VL, row);
    if (two) {
        _tile_stored(2, below, row);
        _tile_stored(3, below + VL, row);
    }
}

static void block_bf16(const block *g)
{
    const size_t tile_bytes = acts_tile_bytes(UM_BF16, g->k);
    const char *a = g->acts + (size_t)(g->from / UM_STEP_BF16) * AMX_STEP;
    const int tiles = (g->rows + UM_TILE - 1) / UM_TILE;
    for (int t = 0; t < tiles; t += 2, a += 2 * tile_bytes) {
        const bool two = t + 1 < tiles;
        bf16_multiply(g, a, two ? a + tile_bytes : a, two, t == 0,
                      g->acc + t * UM_TILE * UM_PANEL);
    }
}

#endif
