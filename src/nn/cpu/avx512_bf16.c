/*
 * avx512_bf16.c - the backend for AVX-512 with dot products of bytes and of bfloat16 (Zen 4 and
 * later).
 */
#include "nn/cpu/simd_avx512.h"

#include "nn/cpu/simd.h"

/* Intel's cores have the instruction too, but at half the rate of fp32 multiply-adds; there it is
 * their matrix tiles that bfloat16 is for. */
static bool bf16_supported(void)
{
    return um_cpu_has_avx512() && __builtin_cpu_supports("avx512vnni") &&
           __builtin_cpu_supports("avx512bf16") && __builtin_cpu_is("amd");
}

const um_cpu_isa um_cpu_isa_avx512_bf16 = {.name = "cpu-avx512-bf16",
                                           .supported = bf16_supported,
                                           .ops = &simd_ops,
                                           .scratch_floats = SIMD_SCRATCH};
