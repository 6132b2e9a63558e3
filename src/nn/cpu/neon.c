/*
 * neon.c - the backend for NEON of 64-bit ARM.
 */
#include "nn/cpu/simd_neon.h"

#include "nn/cpu/simd.h"

static bool neon_supported(void)
{
    return true; /* the architecture's baseline */
}

const um_cpu_isa um_cpu_isa_neon = {.name = "cpu-neon",
                                    .supported = neon_supported,
                                    .ops = &simd_ops,
                                    .scratch_floats = SIMD_SCRATCH};
