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

#if defined(__SSE2__) && !defined(UM_SCAN_PORTABLE)
#define UM_SCAN_SSE2 1
#else
#define UM_SCAN_SSE2 0
#endif

/* A bit for each byte, the first the lowest. Bytes are 0 or 255, as comparisons give them. */
static inline unsigned um_scan_bits(um_scan_bytes bytes)
{
#if UM_SCAN_SSE2
    typedef char signed_bytes __attribute__((vector_size(UM_SCAN_BYTES)));
    return (unsigned)__builtin_ia32_pmovmskb128((signed_bytes)bytes);
#else
    /* Byte i keeps its bit i; their sum, which is the product's highest byte, has all of them. */
    const um_scan_bytes one_each = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint64_t halves[2];
    bytes &= one_each;
    memcpy(halves, &bytes, sizeof halves);
    const uint64_t sum = UINT64_C(0x0101010101010101);
    return (unsigned)(halves[0] * sum >> 56 | (halves[1] * sum >> 56) << 8);
#endif
}

/* Whether any byte is set in its highest bit, as it is where a comparison is true. */
static inline bool um_scan_any(um_scan_bytes bytes)
{
#if UM_SCAN_SSE2
    return um_scan_bits(bytes) != 0;
#else
    uint64_t halves[2];
    memcpy(halves, &bytes, sizeof halves);
    return ((halves[0] | halves[1]) & UINT64_C(0x8080808080808080)) != 0;
#endif
}

/* Place of the first byte for which a comparison is true; there is one. */
static inline unsigned um_scan_first(um_scan_bytes bytes)
{
    return (unsigned)__builtin_ctz(um_scan_bits(bytes));
}

/* Eight bytes as one number, the first the lowest byte. */
enum { UM_SCAN_WORD = 8 };
static inline uint64_t um_scan_word(const void *text)
{
    uint64_t word;
    memcpy(&word, text, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The number that the digits of such a word are, the first the highest; false where one is none. */
static inline bool um_scan_digits(uint64_t word, uint64_t *n)
{
    const uint64_t tops = UINT64_C(0xf0f0f0f0f0f0f0f0);
    /* '0' to '9' are 0x30 to 0x39, and six more than 9 would reach the next top. */
    if (((word & tops) | ((word + UINT64_C(0x0606060606060606)) & tops) >> 4) !=
        UINT64_C(0x3333333333333333))
        return false;
    word = (word & ~tops) * (1 + (10 << 8)) >> 8;                           /* pairs */
    word = (word & UINT64_C(0x00ff00ff00ff00ff)) * (1 + (100 << 16)) >> 16; /* fours */
    *n = (word & UINT64_C(0x0000ffff0000ffff)) * (1 + (UINT64_C(10000) << 32)) >> 32;
    return true;
}

#endif
