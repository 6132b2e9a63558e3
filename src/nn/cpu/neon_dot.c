/*
 * neon_dot.c - the backend for NEON with dot products of bytes (Armv8.2 with SDOT: Cortex-A76,
 * Neoverse N1, Apple M1 and later).
 */
#include "nn/cpu/simd_neon.h"

#include "nn/cpu/simd.h"

#include <sys/auxv.h>

static bool neon_dot_supported(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}

const um_cpu_isa um_cpu_isa_neon_dot = {.name = "cpu-neon-dot",
                                        .supported = neon_dot_supported,
                                        .ops = &simd_ops,
                                        .scratch_floats = SIMD_SCRATCH};
