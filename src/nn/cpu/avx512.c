/*
 * avx512.c - the backend for AVX-512 (F, DQ, BW, VL: Skylake-X, Zen 4 and later).
 */
#include "nn/cpu/simd_avx512.h"

#define TILE_12_ROWS
#include "nn/cpu/simd.h"

static bool avx512_supported(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
}

const um_cpu_isa um_cpu_isa_avx512 = {.name = "cpu-avx512",
                                      .supported = avx512_supported,
                                      .ops = &simd_ops,
                                      .scratch_floats = SIMD_SCRATCH};
