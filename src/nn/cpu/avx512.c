/*
 * avx512.c - the backend for AVX-512 (F, DQ, BW, VL: Skylake-X and later).
 */
#include "nn/cpu/simd_avx512.h"

#include "nn/cpu/simd.h"

static bool avx512_supported(void)
{
    return um_cpu_has_avx512();
}

const um_cpu_isa um_cpu_isa_avx512 = {.name = "cpu-avx512",
                                      .supported = avx512_supported,
                                      .ops = &simd_ops,
                                      .scratch_floats = SIMD_SCRATCH};
