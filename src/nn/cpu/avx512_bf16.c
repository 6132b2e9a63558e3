/*
 * avx512_bf16.c - the backend for AVX-512 with dot products of bytes and fast ones of bfloat16 (Zen
 * 4 and later).
 */
#define SIMD_BF16_DOT
#include "nn/cpu/simd_avx512.h"

#include "nn/cpu/simd.h"

#include <cpuid.h>

/* Intel's run vdpbf16ps at a quarter of the rate: half of what float32 multiply-adds reach. */
static bool bf16_supported(void)
{
    unsigned eax, ebx, ecx, edx;
    return um_cpu_has_avx512() && __builtin_cpu_supports("avx512vnni") &&
           __builtin_cpu_supports("avx512bf16") && __get_cpuid(0, &eax, &ebx, &ecx, &edx) &&
           ebx != signature_INTEL_ebx;
}

const um_cpu_isa um_cpu_isa_avx512_bf16 = {.name = "cpu-avx512-bf16",
                                           .supported = bf16_supported,
                                           .ops = &simd_ops,
                                           .scratch_floats = SIMD_SCRATCH};
