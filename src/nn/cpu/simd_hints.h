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

#endif
