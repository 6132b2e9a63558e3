/*
 * targets.h - the parsers of what others wrote, each as a function of bytes.
 *
 * A target must not crash, hang or leak whatever the bytes are. What it checks besides calls
 * fuzz_fail: whatever drives the targets then stops with the input.
 */
#ifndef UM_FUZZ_TARGETS_H
#define UM_FUZZ_TARGETS_H

#include <stddef.h>
#include <stdint.h>

typedef struct fuzz_target {
    const char *name; /* its seeds are in seeds/<name> */
    void (*run)(const uint8_t *data, size_t size);
} fuzz_target;

extern const fuzz_target fuzz_targets[]; /* ends with a NULL name */
const fuzz_target *fuzz_find(const char *name);

#endif
