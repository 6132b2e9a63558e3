/* packed.c - see packed.h. */
#include "nn/packed.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "nn/number.h"

static int round_up(int n, int unit)
{
    return (n + unit - 1) / unit * unit;
}

int um_packed_terms(um_dtype dtype, int k)
{
    return dtype == UM_F32 ? k : round_up(k, dtype == UM_I8 ? UM_STEP_I8 : UM_STEP_BF16);
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

static float largest(const float *x, int n)
{
    float most = 0.0f;
    for (int i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

static void pack_bytes(int8_t *panel, int j, const float *row, int k)
{
    for (int from = 0; from < k; from += UM_BLOCK) {
        const int n = k - from < UM_BLOCK ? k - from : UM_BLOCK;
        const float most = largest(row + from, n), scale = most / 127.0f;
        const float inverse = most >= UM_I8_LEAST ? 127.0f / most : 0.0f;
        memcpy(panel + scale_at(j, (size_t)from / UM_BLOCK), &scale, sizeof scale);
        for (int i = from; i < from + n; i++)
            panel[element(UM_I8, j, i)] = (int8_t)lrintf(row[i] * inverse);
    }
}

void um_packed_panel(um_dtype dtype, void *panel, const float *const rows[UM_PANEL], int k)
{
    memset(panel, 0, um_packed_panel_bytes(dtype, k));
    for (int j = 0; j < UM_PANEL; j++) {
        if (rows[j] == NULL)
            continue;
        if (dtype == UM_I8) {
            pack_bytes(panel, j, rows[j], k);
            continue;
        }
        for (int i = 0; i < k; i++)
            ((uint16_t *)panel)[element(dtype, j, i)] =
                dtype == UM_BF16 ? um_bf16_bits(rows[j][i]) : um_f16_bits(rows[j][i]);
    }
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
