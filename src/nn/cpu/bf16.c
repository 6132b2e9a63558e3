/*
 * bf16.c - bfloat16 values, for every CPU backend: rounding is integer arithmetic on single
 * elements, so one plain form is exact everywhere.
 *
 * A bfloat16 is the upper half of a float32. To nearest, ties to even: half a unit, less one bit
 * unless the kept part is odd, is added below the cut. A NaN stays one.
 */
#include <string.h>

#include "nn/cpu/cpu.h"

enum { GRAIN = 1 << 15 }; /* elements one thread should handle before a second is worth waking */

static inline uint32_t round_bits(uint32_t bits)
{
    uint32_t rounded = bits + 0x7FFFu + (bits >> 16 & 1u);
    uint32_t quiet = bits | 0x00400000u;
    return ((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded) & 0xFFFF0000u;
}

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

typedef struct bf16_job {
    float *wide;
    uint16_t *narrow;
    const float *from_wide, *weights;
    const uint16_t *from_narrow;
    size_t columns;
} bf16_job;

static void round_range(void *ctx, size_t begin, size_t end, int thread)
{
    const bf16_job *w = ctx;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        w->wide[i] = float_of(round_bits(bits_of(w->from_wide[i])));
}

void um_cpu_round_bf16(um_backend *be, float *dst, const float *src, size_t n)
{
    bf16_job w = {.wide = dst, .from_wide = src};
    um_cpu_for(be, n, GRAIN, round_range, &w);
}

static void narrow_range(void *ctx, size_t begin, size_t end, int thread)
{
    const bf16_job *w = ctx;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        w->narrow[i] = (uint16_t)(round_bits(bits_of(w->from_wide[i])) >> 16);
}

void um_cpu_to_bf16(um_backend *be, uint16_t *dst, const float *src, size_t n)
{
    bf16_job w = {.narrow = dst, .from_wide = src};
    um_cpu_for(be, n, GRAIN, narrow_range, &w);
}

static void widen_range(void *ctx, size_t begin, size_t end, int thread)
{
    const bf16_job *w = ctx;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        w->wide[i] = float_of((uint32_t)w->from_narrow[i] << 16);
}

void um_cpu_from_bf16(um_backend *be, float *dst, const uint16_t *src, size_t n)
{
    bf16_job w = {.wide = dst, .from_narrow = src};
    um_cpu_for(be, n, GRAIN, widen_range, &w);
}

static void weigh_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const bf16_job *w = ctx;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        float *x = w->wide + row * w->columns;
        for (size_t i = 0; i < w->columns; i++) {
            float value = float_of(round_bits(bits_of(x[i])));
            float weight = float_of(round_bits(bits_of(w->weights[i])));
            x[i] = float_of(round_bits(bits_of(value * weight)));
        }
    }
}

void um_cpu_weigh_bf16(um_backend *be, float *x, const float *weights, int t, int c)
{
    bf16_job w = {.wide = x, .weights = weights, .columns = (size_t)c};
    if (t > 0)
        um_cpu_for(be, (size_t)t, GRAIN / ((size_t)c + 1) + 1, weigh_rows, &w);
}
