/*
 * bf16.c - bfloat16 values, for every CPU backend: rounding is integer arithmetic on single
 * elements (number.h), so one plain form is exact everywhere.
 */
#include "nn/cpu/cpu.h"
#include "nn/number.h"

enum { GRAIN = 1 << 15 }; /* elements one thread should handle before a second is worth waking */

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
        w->wide[i] = um_bits_float(um_round_bf16_bits(um_float_bits(w->from_wide[i])));
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
        w->narrow[i] = (uint16_t)(um_round_bf16_bits(um_float_bits(w->from_wide[i])) >> 16);
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
        w->wide[i] = um_bits_float((uint32_t)w->from_narrow[i] << 16);
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
            float value = um_bits_float(um_round_bf16_bits(um_float_bits(x[i])));
            float weight = um_bits_float(um_round_bf16_bits(um_float_bits(w->weights[i])));
            x[i] = um_bits_float(um_round_bf16_bits(um_float_bits(value * weight)));
        }
    }
}

void um_cpu_weigh_bf16(um_backend *be, float *x, const float *weights, int t, int c)
{
    bf16_job w = {.wide = x, .weights = weights, .columns = (size_t)c};
    if (t > 0)
        um_cpu_for(be, (size_t)t, GRAIN / ((size_t)c + 1) + 1, weigh_rows, &w);
}
