/*
 * amx.c - the backend for AVX-512 with matrix tiles of bytes and bfloat16 (Sapphire Rapids and
 * later).
 */
#include "nn/cpu/simd_avx512.h"

#include "nn/cpu/simd.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel gives the tile registers to a process that asks for them. */
static bool tiles_granted(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static bool amx_supported(void)
{
    enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25 };
    unsigned eax, ebx, ecx, edx;
    if (!um_cpu_has_avx512() || !__builtin_cpu_supports("avx512vnni") ||
        !__builtin_cpu_supports("avx512bf16") || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return false;
    const unsigned need = AMX_BF16 | AMX_TILE | AMX_INT8;
    return (edx & need) == need && tiles_granted();
}

const um_cpu_isa um_cpu_isa_amx = {.name = "cpu-amx",
                                   .supported = amx_supported,
                                   .ops = &simd_ops,
                                   .scratch_floats = SIMD_SCRATCH};
