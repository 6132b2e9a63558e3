/*
 * continuation.h - the text of a continuation as its tokens arrive, and where a stop string ends
 * it.
 */
#ifndef UM_MODEL_CONTINUATION_H
#define UM_MODEL_CONTINUATION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

/* Zero-initialised is empty. The buffer is kept by clear and used again. */
typedef struct um_continuation {
    char *bytes;
    size_t len, cap;
} um_continuation;

void um_continuation_dispose(um_continuation *c);
/* Appends the bytes of one token. False on out of memory. */
bool um_continuation_append(um_continuation *c, const char *bytes, size_t n);
/*
 * True when a stop string ends in the bytes after old_len; the text is then cut before the first
 * one that begins. Stop strings are not empty.
 */
bool um_continuation_stop(um_continuation *c, size_t old_len, const char *const *stops,
                          size_t n_stops);
/* Bytes [from, end) as valid UTF-8 without NUL, written over out: tokens can hold half characters,
 * and what is no character becomes U+FFFD. */
void um_continuation_text(const um_continuation *c, size_t from, size_t end, um_str *out);
/* How much of [from, end) is whole characters: up to where one begins that more bytes may complete.
 * The texts of such pieces, joined, are the text of the whole. */
size_t um_continuation_whole(const um_continuation *c, size_t from, size_t end);

#endif
