/*
 * packed.h - weight matrices [N, K] of less than 32 bits, in the order in which `linear` reads
 * them.
 *
 * The order is the same on every machine, so that a packed matrix can be kept in a file and mapped.
 * Outputs come in panels of 32 (N is rounded up with zeros), a panel in two tiles of 16 outputs; a
 * panel is one run of memory, read from its start to its end:
 *
 *   UM_BF16  for each 32 terms (K rounded up): for each tile: [16 pairs of terms][16 outputs][2]
 *   UM_F16   for each term (K rounded up to 32): [32 outputs]
 *   UM_I8    for each block of 256 terms (the last one rounded up to 64): 32 float scales, then for
 *            each 64 terms: for each tile: [16 fours of terms][16 outputs][4] signed bytes;
 *            weight = byte * scale, byte in [-127, 127]
 *
 * A block whose largest magnitude is below UM_I8_LEAST is all zeros: its inverse would overflow.
 *
 * These are the operand orders of the dot-product instructions (AMX TDP*, VNNI, vdpbf16ps, SDOT).
 *
 * A gate/up pair of matrices [F, K] is packed as one of 2F outputs: 16 of gate, 16 of up, in turns,
 * F rounded up to 16; a panel then holds all that 16 values of silu(gate) * up need.
 */
#ifndef UM_NN_PACKED_H
#define UM_NN_PACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/dtype.h"

enum {
    UM_PANEL = 32,    /* outputs */
    UM_TILE = 16,     /* outputs of a tile; rows of a tile of activations */
    UM_BLOCK = 256,   /* terms with one scale (UM_I8); of every format, what is summed at a time */
    UM_STEP_I8 = 64,  /* terms of one tile */
    UM_STEP_BF16 = 32 /* also of UM_F16: terms are rounded up to it */
};

#define UM_I8_LEAST 1e-30f

/* k rounded up to whole steps. */
static inline int um_packed_terms(um_dtype dtype, int k)
{
    const int step = dtype == UM_F32 ? 1 : dtype == UM_I8 ? UM_STEP_I8 : UM_STEP_BF16;
    return (k + step - 1) / step * step;
}
/* Bytes from one panel to the next; a multiple of 64. */
size_t um_packed_panel_bytes(um_dtype dtype, int k);
/* Bytes of a whole matrix; 0 when they pass the address space. Not for UM_F32. */
size_t um_packed_bytes(um_dtype dtype, int n, int k);

/* Packs one panel from up to 32 rows of k floats; rows[j] is output j, NULL for a row of zeros. */
void um_packed_panel(um_dtype dtype, void *panel, const float *const rows[UM_PANEL], int k);
/* Where output j of panel p comes from: row *row of w, or with `pair` of [gate; up], n = 2F rows.
 * False: nowhere, it is rounding. */
bool um_packed_source(int panel, int j, int n, bool pair, int *row);
/* Outputs after rounding: n, or for a pair 2 * (F rounded up to 16). */
int um_packed_outputs(int n, bool pair);
/* Packs panel `panel` of w [n, k], at its place in dst; with `pair` w is [gate; up], n = 2F. */
void um_packed_panel_of(um_dtype dtype, void *dst, int panel, const float *w, int n, int k,
                        bool pair);

/* Terms [from, from + n) of output `row` of a packed matrix [., k] as floats. */
void um_packed_terms_of(um_dtype dtype, const void *data, int k, int row, int from, int n,
                        float *out);

#endif
