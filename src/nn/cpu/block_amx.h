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
    AMX_STEP = 1024, /* bytes of a tile */
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

/* Sums of bytes of a pair of row tiles, on their way into acc. */
typedef struct i8_sums {
    const char *stage;      /* [row tile][output tile][16][16] int32 */
    float *acc;             /* of the pair's first row */
    const float *scales[2]; /* of the rows of each tile */
    int done, rows;         /* of the pair: scaled already, in all */
} i8_sums;

enum { SCALE_ROWS = 8 }; /* at a time; a tile's are a multiple */

/* acc = or += the next SCALE_ROWS rows of sums, times the scales of rows and outputs. */
static INLINE void i8_scale(const block *g, i8_sums *sums)
{
    const int first = sums->done, t = first / UM_TILE;
    if (first >= sums->rows)
        return;
    const float *scale = sums->scales[t] + first % UM_TILE;
    const char *stage = sums->stage + t * 2 * AMX_STEP + first % UM_TILE * 64;
    float *acc = sums->acc + first * UM_PANEL;
    const vf w0 = vf_load((const float *)g->w), w1 = vf_load((const float *)g->w + VL);
    UNROLL
    for (int i = 0; i < SCALE_ROWS; i++) {
        const vf x = vf_set(scale[i]);
        const vf s0 = vi_float(_mm512_load_si512(stage + i * 64)), f0 = vf_mul(x, w0);
        const vf s1 = vi_float(_mm512_load_si512(stage + i * 64 + AMX_STEP)), f1 = vf_mul(x, w1);
        float *to = acc + i * UM_PANEL;
        vf_store(to, g->first ? vf_mul(s0, f0) : vf_fma(s0, f0, vf_load(to)));
        vf_store(to + VL, g->first ? vf_mul(s1, f1) : vf_fma(s1, f1, vf_load(to + VL)));
    }
    sums->done += SCALE_ROWS;
}

/* Multiplies one or two row tiles into stage; between the steps the sums before are scaled. */
static INLINE const char *i8_multiply(const block *g, const char *a0, const char *a1, bool two,
                                      const char *ahead, int lines, i8_sums *before, char *stage)
{
    const char *w = g->w + UM_PANEL * sizeof(float);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int step = 0; step < g->terms; step += UM_STEP_I8) {
        ahead = fetch(ahead, lines);
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
        i8_scale(g, before);
        a0 += AMX_STEP;
        a1 += AMX_STEP;
        w += 2 * AMX_STEP;
    }
    while (before->done < before->rows)
        i8_scale(g, before);
    _tile_stored(0, stage, 64);
    _tile_stored(1, stage + AMX_STEP, 64);
    if (two) {
        _tile_stored(2, stage + 2 * AMX_STEP, 64);
        _tile_stored(3, stage + 3 * AMX_STEP, 64);
    }
    return ahead;
}

static void block_i8(const block *g)
{
    const char *a = g->acts + (size_t)g->from * UM_TILE;
    const int tiles = (g->rows + UM_TILE - 1) / UM_TILE;
    const int steps = (tiles + 1) / 2 * ((g->terms + UM_STEP_I8 - 1) / UM_STEP_I8);
    const int lines = lines_a_step(g, steps);
    const char *ahead = g->ahead;
    i8_sums sums = {0};
    for (int t = 0; t < tiles; t += 2, a += 2 * g->tile_bytes) {
        const bool two = t + 1 < tiles;
        const char *tile_scales = g->acts + (size_t)t * g->tile_bytes + g->scales;
        char *stage = g->stage + t / 2 % 2 * 4 * AMX_STEP;
        ahead = i8_multiply(g, a, two ? a + g->tile_bytes : a, two, ahead, lines, &sums, stage);
        sums = (i8_sums){.stage = stage,
                         .acc = g->acc + t * UM_TILE * UM_PANEL,
                         .scales = {(const float *)tile_scales,
                                    (const float *)(tile_scales + (two ? g->tile_bytes : 0))},
                         .rows = two ? 2 * UM_TILE : UM_TILE};
    }
    while (sums.done < sums.rows)
        i8_scale(g, &sums);
}

/* Products of bfloat16 go on in the sums that acc holds. */
static INLINE const char *bf16_multiply(const block *g, const char *a0, const char *a1, bool two,
                                        const char *ahead, int lines, float *acc)
{
    const char *w = g->w;
    const int row = UM_PANEL * sizeof(float);
    float *below = acc + UM_TILE * UM_PANEL;
    if (g->first) {
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
        ahead = fetch(ahead, lines);
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
    return ahead;
}

static void block_bf16(const block *g)
{
    const char *a = g->acts + (size_t)(g->from / UM_STEP_BF16) * AMX_STEP;
    const int tiles = (g->rows + UM_TILE - 1) / UM_TILE;
    const int steps = (tiles + 1) / 2 * ((g->terms + UM_STEP_BF16 - 1) / UM_STEP_BF16);
    const int lines = lines_a_step(g, steps);
    const char *ahead = g->ahead;
    for (int t = 0; t < tiles; t += 2, a += 2 * g->tile_bytes) {
        const bool two = t + 1 < tiles;
        ahead = bf16_multiply(g, a, two ? a + g->tile_bytes : a, two, ahead, lines,
                              g->acc + t * UM_TILE * UM_PANEL);
    }
}

#endif
