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

#endif
