/*
 * simd_hints.h - how the kernels ask the compiler for full inlining and unrolling.
 */
#ifndef UM_NN_CPU_SIMD_HINTS_H
#define UM_NN_CPU_SIMD_HINTS_H

#define INLINE inline __attribute__((always_inline))

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* What an asm statement reads is hidden from AddressSanitizer: it is shown four bytes. */
#ifdef __SANITIZE_ADDRESS__
static INLINE void simd_reads(const void *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    __asm__ volatile("" : : "r"(four));
}
#else
static INLINE void simd_reads(const void *p)
{
    (void)p;
}
#endif

#endif
