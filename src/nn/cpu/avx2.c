/*
 * avx2.c - the backend for AVX2 with FMA (Haswell, Zen and later).
 */
#include "nn/cpu/simd_avx2.h"

#include "nn/cpu/simd.h"

static bool avx2_supported(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && um_cpu_has_f16c();
}

const um_cpu_isa um_cpu_isa_avx2 = {.name = "cpu-avx2",
                                    .supported = avx2_supported,
                                    .ops = &simd_ops,
                                    .scratch_floats = SIMD_SCRATCH};
