/*
 * scan.h - sixteen bytes of a text at a time, for loops that pass over what needs no care.
 * Compilers turn this into the vector instructions that the CPU has.
 */
#ifndef UM_BASE_SCAN_H
#define UM_BASE_SCAN_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { UM_SCAN_BYTES = 16 };

typedef uint8_t um_scan_bytes __attribute__((vector_size(UM_SCAN_BYTES)));

static inline um_scan_bytes um_scan_load(const void *text)
{
    um_scan_bytes bytes;
    memcpy(&bytes, text, sizeof bytes);
    return bytes;
}

/* Whether any byte is set: comparisons give 255 for true. */
static inline bool um_scan_any(um_scan_bytes bytes)
{
    uint64_t halves[2];
    memcpy(halves, &bytes, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

/* Place of the first byte that is set, UM_SCAN_BYTES where none is. */
static inline unsigned um_scan_first(um_scan_bytes bytes)
{
#if defined(__SSE2__)
    typedef char signed_bytes __attribute__((vector_size(UM_SCAN_BYTES)));
    unsigned mask = (unsigned)__builtin_ia32_pmovmskb128((signed_bytes)bytes);
    return (unsigned)__builtin_ctz(mask | 1u << UM_SCAN_BYTES);
#else
    unsigned at = 0;
    uint64_t halves[2];
    memcpy(halves, &bytes, sizeof halves);
    if (halves[0] == 0) {
        at = 8;
        halves[0] = halves[1];
    }
    if (halves[0] == 0)
        return UM_SCAN_BYTES;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return at + (unsigned)__builtin_clzll(halves[0]) / 8;
#else
    return at + (unsigned)__builtin_ctzll(halves[0]) / 8;
#endif
#endif
}

#endif
