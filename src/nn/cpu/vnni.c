/*
 * vnni.c - the backend for AVX-512 with dot products of bytes (Ice Lake, Zen 4 and later).
 */
#include "nn/cpu/simd_avx512.h"

#include "nn/cpu/simd.h"

static bool vnni_supported(void)
{
    return um_cpu_has_avx512() && __builtin_cpu_supports("avx512vnni");
}

const um_cpu_isa um_cpu_isa_vnni = {.name = "cpu-avx512-vnni",
                                    .supported = vnni_supported,
                                    .ops = &simd_ops,
                                    .scratch_floats = SIMD_SCRATCH};
