/*
 * number.h - single 16-bit floating-point values in integer arithmetic, exact on every machine.
 *
 * A bfloat16 is the upper half of a float32. To nearest, ties to even: half a unit, less one bit
 * unless the kept part is odd, is added below the cut. A NaN stays one.
 */
#ifndef UM_NN_NUMBER_H
#define UM_NN_NUMBER_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "mirrorer/dtype.h"

static inline uint32_t um_float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float um_bits_float(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The bits of x rounded to bfloat16, as a float32. */
static inline uint32_t um_round_bf16_bits(uint32_t bits)
{
    uint32_t rounded = bits + 0x7FFFu + (bits >> 16 & 1u);
    uint32_t quiet = bits | 0x00400000u;
    return ((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded) & 0xFFFF0000u;
}

static inline uint16_t um_bf16_bits(float x)
{
    return (uint16_t)(um_round_bf16_bits(um_float_bits(x)) >> 16);
}

static inline float um_bf16_value(uint16_t bits)
{
    return um_bits_float((uint32_t)bits << 16);
}

/* IEEE 754 binary16 to binary32; exact. */
static inline float um_f16_value(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 0x1fu, mantissa = half & 0x3ffu;
    if (exponent == 0x1fu)
        return um_bits_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent != 0)
        return um_bits_float(sign | (exponent + 112u) << 23 | mantissa << 13);
    const float value = (float)mantissa * 0x1p-24f; /* zero and subnormals */
    return sign != 0 ? -value : value;
}

/* binary32 to binary16, to nearest with ties to even; too large is infinity, NaN stays NaN. */
static inline uint16_t um_f16_bits(float x)
{
    const uint32_t bits = um_float_bits(x), sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) /* 65520 and more */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) /* below 2^-14: a multiple of 2^-24, which lrintf rounds to */
        return (uint16_t)(sign | (uint32_t)lrintf(fabsf(x) * 0x1p24f));
    const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return (uint16_t)(sign | (rounded - 0x38000000u) >> 13);
}

/* Element `at` of an array of UM_F32 or UM_BF16; what is stored is rounded. */
static inline float um_array_value(um_dtype dtype, const void *data, size_t at)
{
    return dtype == UM_BF16 ? um_bf16_value(((const uint16_t *)data)[at])
                            : ((const float *)data)[at];
}

static inline void um_array_set(um_dtype dtype, void *data, size_t at, float x)
{
    if (dtype == UM_BF16)
        ((uint16_t *)data)[at] = um_bf16_bits(x);
    else
        ((float *)data)[at] = x;
}

#endif
