/* packed.c - see packed.h. */
#include "nn/packed.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/wide.h"
#include "nn/number.h"

static int round_up(int n, int unit)
{
    return (n + unit - 1) / unit * unit;
}

size_t um_packed_panel_bytes(um_dtype dtype, int k)
{
    const size_t terms = (size_t)um_packed_terms(dtype, k);
    if (dtype == UM_I8)
        return terms * UM_PANEL + (terms + UM_BLOCK - 1) / UM_BLOCK * UM_PANEL * sizeof(float);
    return terms * UM_PANEL * sizeof(uint16_t);
}

size_t um_packed_bytes(um_dtype dtype, int n, int k)
{
    size_t bytes;
    if (um_mul_overflows((size_t)(n + UM_PANEL - 1) / UM_PANEL, um_packed_panel_bytes(dtype, k),
                         &bytes))
        return 0;
    return bytes;
}

/* Where term k of output j of a panel lies, in elements of the format (bytes for UM_I8). */
static size_t element(um_dtype dtype, int j, int k)
{
    const size_t tile = (size_t)j / UM_TILE, out = (size_t)j % UM_TILE, t = (size_t)k;
    if (dtype == UM_F16)
        return t * UM_PANEL + (size_t)j;
    if (dtype == UM_BF16)
        return (t / 32 * 2 + tile) * 512 + t % 32 / 2 * 32 + out * 2 + t % 2;
    return (t / UM_BLOCK + 1) * UM_PANEL * sizeof(float) + (t / 64 * 2 + tile) * 1024 +
           t % 64 / 4 * 64 + out * 4 + t % 4;
}

/* The scale of block b of output j. */
static size_t scale_at(int j, size_t block)
{
    return block * (UM_PANEL * sizeof(float) + UM_PANEL * UM_BLOCK) + (size_t)j * sizeof(float);
}

/* Sixteen outputs of one step, as they come from their rows: a word is two terms of 16 bits or four
 * of 8. */
typedef union tile {
    uint16_t half[UM_TILE][UM_STEP_BF16];
    int8_t byte[UM_TILE][UM_STEP_I8];
    uint32_t word[UM_TILE][UM_TILE];
} tile;

_Static_assert(sizeof(tile) == UM_TILE * UM_TILE * sizeof(uint32_t), "a tile has no padding");

/* A tile as it lies in a panel: the words of all outputs side by side. */
static void put_tile(void *to, const tile *from)
{
    uint32_t turned[UM_TILE][UM_TILE];
    for (int w = 0; w < UM_TILE; w++)
        for (int j = 0; j < UM_TILE; j++)
            turned[w][j] = from->word[j][w];
    memcpy(to, turned, sizeof turned);
}

/* `step` terms of a row from `from` on; zeros after its end, and for no row. */
static inline void take(float *out, const float *row, int from, int step, int k)
{
    const int n = row == NULL ? 0 : k - from < step ? k - from : step;
    if (n == step) {
        memcpy(out, row + from, (size_t)step * sizeof *out);
        return;
    }
    memset(out, 0, (size_t)step * sizeof *out);
    if (n > 0)
        memcpy(out, row + from, (size_t)n * sizeof *out);
}

UM_WIDE static void pack_bf16(char *panel, const float *const rows[UM_PANEL], int k)
{
    tile t;
    float x[UM_STEP_BF16];
    for (int from = 0; from < k; from += UM_STEP_BF16) {
        for (int first = 0; first < UM_PANEL; first += UM_TILE, panel += sizeof t) {
            for (int j = 0; j < UM_TILE; j++) {
                take(x, rows[first + j], from, UM_STEP_BF16, k);
                for (int i = 0; i < UM_STEP_BF16; i++)
                    t.half[j][i] = um_bf16_bits(x[i]);
            }
            put_tile(panel, &t);
        }
    }
}

static void pack_f16(char *panel, const float *const rows[UM_PANEL], int k)
{
    uint16_t step[UM_STEP_BF16][UM_PANEL];
    float x[UM_STEP_BF16];
    for (int from = 0; from < k; from += UM_STEP_BF16, panel += sizeof step) {
        for (int j = 0; j < UM_PANEL; j++) {
            take(x, rows[j], from, UM_STEP_BF16, k);
            for (int i = 0; i < UM_STEP_BF16; i++)
                step[i][j] = um_f16_bits(x[i]);
        }
        memcpy(panel, step, sizeof step);
    }
}

/* The largest magnitude of a row's terms. Lanes, for a compiler to see a vector in. */
static inline float largest(const float *x, int n)
{
    float lanes[UM_TILE] = {0}, most = 0.0f;
    int i = 0;
    for (; i + UM_TILE <= n; i += UM_TILE) {
        for (int l = 0; l < UM_TILE; l++)
            lanes[l] = fabsf(x[i + l]) > lanes[l] ? fabsf(x[i + l]) : lanes[l];
    }
    for (; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    for (int l = 0; l < UM_TILE; l++)
        most = lanes[l] > most ? lanes[l] : most;
    return most;
}

/* A number of at most 2^22 to the nearest whole one, ties to even: added to 1.5 * 2^23 its fraction
 * falls off the end, and the low byte is that of the result. */
static inline int8_t nearest(float x)
{
    return (int8_t)(um_float_bits(x + 0x1.8p23f) & 0xff);
}

UM_WIDE static void pack_bytes(char *panel, const float *const rows[UM_PANEL], int k)
{
    tile t;
    float x[UM_STEP_I8], scales[UM_PANEL], inverses[UM_PANEL];
    for (int block = 0; block < k; block += UM_BLOCK) {
        const int end = k - block < UM_BLOCK ? k : block + UM_BLOCK;
        for (int j = 0; j < UM_PANEL; j++) {
            const float most = rows[j] != NULL ? largest(rows[j] + block, end - block) : 0.0f;
            scales[j] = most / 127.0f;
            inverses[j] = most >= UM_I8_LEAST ? 127.0f / most : 0.0f;
        }
        memcpy(panel, scales, sizeof scales);
        panel += sizeof scales;
        for (int from = block; from < end; from += UM_STEP_I8) {
            for (int first = 0; first < UM_PANEL; first += UM_TILE, panel += sizeof t) {
                for (int j = 0; j < UM_TILE; j++) {
                    const float inverse = inverses[first + j];
                    take(x, rows[first + j], from, UM_STEP_I8, end);
                    for (int i = 0; i < UM_STEP_I8; i++)
                        t.byte[j][i] = nearest(x[i] * inverse);
                }
                put_tile(panel, &t);
            }
        }
    }
}

void um_packed_panel(um_dtype dtype, void *panel, const float *const rows[UM_PANEL], int k)
{
    if (dtype == UM_I8)
        pack_bytes(panel, rows, k);
    else if (dtype == UM_BF16)
        pack_bf16(panel, rows, k);
    else
        pack_f16(panel, rows, k);
}

int um_packed_outputs(int n, bool pair)
{
    return pair ? 2 * round_up(n / 2, UM_TILE) : n;
}

bool um_packed_source(int panel, int j, int n, bool pair, int *row)
{
    *row = panel * UM_PANEL + j;
    if (!pair)
        return *row < n;
    const int f = panel * UM_TILE + j % UM_TILE;
    *row = j < UM_TILE ? f : n / 2 + f;
    return f < n / 2;
}

void um_packed_panel_of(um_dtype dtype, void *dst, int panel, const float *w, int n, int k,
                        bool pair)
{
    const float *rows[UM_PANEL];
    for (int j = 0, row; j < UM_PANEL; j++)
        rows[j] = um_packed_source(panel, j, n, pair, &row) ? w + (size_t)row * (size_t)k : NULL;
    um_packed_panel(dtype, (char *)dst + (size_t)panel * um_packed_panel_bytes(dtype, k), rows, k);
}

void um_packed_terms_of(um_dtype dtype, const void *data, int k, int row, int from, int n,
                        float *out)
{
    const char *panel =
        (const char *)data + (size_t)(row / UM_PANEL) * um_packed_panel_bytes(dtype, k);
    const int j = row % UM_PANEL;
    for (int i = from; i < from + n; i++, out++) {
        const size_t at = element(dtype, j, i);
        if (dtype == UM_I8) {
            float scale;
            memcpy(&scale, panel + scale_at(j, (size_t)i / UM_BLOCK), sizeof scale);
            *out = scale * (float)((const int8_t *)panel)[at];
        } else if (dtype == UM_BF16) {
            *out = um_bf16_value(((const uint16_t *)panel)[at]);
        } else {
            *out = um_f16_value(((const uint16_t *)panel)[at]);
        }
    }
}
