/*
 * cells.h - fields of a text file as the numbers, texts and JSON of a data set's columns.
 */
#ifndef UM_DATA_CELLS_H
#define UM_DATA_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* A decimal number, all of the text; never NaN or infinite. */
bool um_cell_number(const char *text, size_t len, double *value);
/* Digits only, at most 12 of them. */
static inline bool um_cell_digits(const char *text, size_t len, int64_t *value)
{
    int64_t v = 0;
    if (len == 0 || len > 12)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        v = v * 10 + (text[i] - '0');
    }
    *value = v;
    return true;
}
/* Seconds since 1970 written as a number; a fraction is cut off. NULL when good, else the reason
 * why it is not. */
const char *um_cell_unix_time(const char *text, size_t len, int64_t *time_s);

/* Appends the text as JSON: a number where it is one as JSON writes them ("7", not "007"), else a
 * string. */
void um_cell_append_json(um_str *out, const char *text, size_t len);

typedef enum um_list_form {
    UM_LIST_TEXT,   /* a, b */
    UM_LIST_JSON,   /* ["a","b"] */
    UM_LIST_NUMBERS /* [1,2.5] */
} um_list_form;
/* Appends the parts of a text between separators, white space around them removed; empty ones are
 * passed over. False when a part of UM_LIST_NUMBERS is no number. */
bool um_cell_append_list(um_str *out, const char *text, size_t len, const char *separator,
                         um_list_form form);
/* The next part, for walking through such a list: false at its end. Start with *at = text. */
bool um_cell_next_part(const char **at, const char *end, const char *separator, const char **part,
                       size_t *len);

#endif
