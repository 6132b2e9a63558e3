/*
 * number.h - single 16-bit floating-point values in integer arithmetic, exact on every machine.
 *
 * A bfloat16 is the upper half of a float32. To nearest, ties to even: half a unit, less one bit
 * unless the kept part is odd, is added below the cut. A NaN stays one.
 */
#ifndef UM_NN_CPU_NUMBER_H
#define UM_NN_CPU_NUMBER_H

#include <stdint.h>
#include <string.h>

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

#endif
