/*
 * str.h - a growable string with a stated limit.
 *
 * Init with UM_STR_INIT or um_str_init; dispose when done. Appends after a failure are no-ops and
 * the failure is kept, so a caller builds a text and checks um_str_status() once at the end.
 * `data` is always NUL-terminated once anything was appended (use um_str_text for never-NULL).
 */
#ifndef UM_BASE_STR_H
#define UM_BASE_STR_H

#include "mirrorer/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct um_str {
    char *data;
    size_t len;
    size_t cap;
    size_t max;       /* bytes; 0 means UM_STR_DEFAULT_MAX */
    um_status failed; /* first failure, UM_OK if none */
} um_str;

#define UM_STR_DEFAULT_MAX ((size_t)1 << 30)
#define UM_STR_INIT                                                                                \
    {                                                                                              \
        0                                                                                          \
    }

void um_str_init(um_str *s, size_t max);
void um_str_dispose(um_str *s);
void um_str_clear(um_str *s); /* keeps the memory, forgets the failure */
void um_str_append(um_str *s, const char *text);
void um_str_append_n(um_str *s, const void *bytes, size_t n);
void um_str_append_char(um_str *s, char c);
/* Appends n bytes that the caller fills in, before anything else is appended; NULL on failure. */
char *um_str_extend(um_str *s, size_t n);
void um_str_appendf(um_str *s, const char *format, ...) UM_PRINTF(2, 3);
/* Appends text as a JSON string, quotes included; invalid UTF-8 bytes become U+FFFD. */
void um_str_append_json(um_str *s, const char *text);
void um_str_append_json_n(um_str *s, const char *text, size_t n); /* NUL bytes are text too */
/* Shortest decimal that reads back equal (-0 is 0); independent of the locale; NaN and inf become
 * "null". */
void um_str_append_number(um_str *s, double value);
const char *um_str_text(const um_str *s);
um_status um_str_status(const um_str *s, um_error *err) UM_CHECKED;
/* Moves the heap string to the caller (never NULL on UM_OK) and empties s. */
um_status um_str_take(um_str *s, char **out, um_error *err) UM_CHECKED;

char *um_strdup(const char *text); /* NULL on failure or NULL input */
char *um_strndup(const char *text, size_t n);
bool um_str_starts(const char *text, const char *prefix);
bool um_str_ends(const char *text, const char *suffix);
bool um_utf8_valid(const char *text, size_t n);
size_t um_utf8_encode(char bytes[4], uint32_t code); /* of a character that there is; its length */
/* Appends latin-1 bytes as UTF-8. */
void um_str_append_latin1(um_str *s, const char *bytes, size_t n);
/* Parse a whole string as a number: false on empty, trailing bytes, overflow, NaN or infinity. */
bool um_parse_i64(const char *text, int64_t *out);
bool um_parse_f64(const char *text, double *out);
/* The candidate nearest to `name` by edit distance (<= 1/2 of its length), or NULL: "did you mean".
 */
const char *um_nearest(const char *name, const char *const *candidates, size_t n);

#endif
