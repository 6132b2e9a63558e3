/* fields.h - numbers in the fields of a log, read without strtod where they are plain. */
#ifndef UM_DATA_FIELDS_H
#define UM_DATA_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* Digits only, at most 12 of them. */
static inline bool um_field_digits(const char *text, size_t len, int64_t *value)
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

/*
 * A finite number. At most 15 digits with a point among them are a whole number and a power of ten
 * that doubles hold exactly, so that their quotient is the double nearest to the decimal; all else
 * goes through um_parse_f64.
 */
static inline bool um_field_number(const char *text, size_t len, double *value)
{
    static const double powers[] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6, 1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14};
    int64_t digits = 0;
    size_t n = 0, point = len;
    if (len > 16)
        return um_parse_f64(text, value);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '.' && point == len)
            point = i;
        else if (text[i] >= '0' && text[i] <= '9' && ++n <= 15)
            digits = digits * 10 + (text[i] - '0');
        else
            return um_parse_f64(text, value);
    }
    size_t after = point < len ? len - point - 1 : 0;
    if (n == 0 || point == 0 || after == n)
        return um_parse_f64(text, value);
    *value = (double)digits / powers[after];
    return true;
}

#endif
