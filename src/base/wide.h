/*
 * wide.h - loops compiled for several vector widths, the widest the CPU has chosen at load time.
 *
 * For functions whose loops work element by element. Such a loop gives the same bits at any width:
 * nothing is reassociated, and multiply and add are never fused (-ffp-contract=off).
 */
#ifndef UM_BASE_WIDE_H
#define UM_BASE_WIDE_H

#include <stdint.h> /* says which C library this is */

#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) &&                 \
    !defined(__SANITIZE_THREAD__)
#define UM_WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else /* no indirect functions, or a sanitizer that they start too early for */
#define UM_WIDE
#endif

#endif
