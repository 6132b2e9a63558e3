#include "data/cells.h"

#include <math.h>
#include <string.h>

/* Past the year 5138 in seconds; 1973 in milliseconds. */
#define MAX_TIME_S 1e11

/*
 * At most 15 digits with a point among them are a whole number and a power of ten that doubles hold
 * exactly, so that their quotient is the double nearest to the decimal; all else goes through
 * um_parse_f64.
 */
bool um_cell_number(const char *text, size_t len, double *value)
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
    if (n == 0 || after == n)
        return um_parse_f64(text, value);
    *value = (double)digits / powers[after];
    return true;
}

const char *um_cell_unix_time(const char *text, size_t len, int64_t *time_s)
{
    double seconds = 0;
    if (!um_cell_number(text, len, &seconds))
        return "is not a number of seconds since 1970";
    if (seconds > MAX_TIME_S)
        return "looks like milliseconds, need seconds since 1970";
    if (seconds < -MAX_TIME_S)
        return "is out of range";
    *time_s = (int64_t)floor(seconds);
    return NULL;
}

static size_t count_digits(const char *text, const char *end)
{
    const char *p = text;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return (size_t)(p - text);
}

static bool is_json_number(const char *text, size_t len)
{
    const char *p = text, *end = text + len;
    if (p < end && *p == '-')
        p++;
    size_t n = count_digits(p, end);
    if (n == 0 || (n > 1 && *p == '0'))
        return false;
    p += n;
    if (p < end && *p == '.') {
        n = count_digits(++p, end);
        if (n == 0)
            return false;
        p += n;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        n = count_digits(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return p == end;
}

void um_cell_append_json(um_str *out, const char *text, size_t len)
{
    char copy[32];
    double value = 0;
    bool is_number = len < sizeof copy && is_json_number(text, len);
    if (is_number) {
        memcpy(copy, text, len);
        copy[len] = '\0';
        is_number = um_parse_f64(copy, &value);
    }
    if (is_number)
        um_str_append_n(out, text, len);
    else
        um_str_append_json_n(out, text, len);
}

bool um_cell_next_part(const char **at, const char *end, const char *separator, const char **part,
                       size_t *len)
{
    size_t width = strlen(separator);
    while (*at < end) {
        const char *stop = memmem(*at, (size_t)(end - *at), separator, width);
        const char *from = *at, *to = stop != NULL ? stop : end;
        *at = stop != NULL ? stop + width : end;
        while (from < to && (*from == ' ' || *from == '\t'))
            from++;
        while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
            to--;
        if (from < to) {
            *part = from;
            *len = (size_t)(to - from);
            return true;
        }
    }
    return false;
}

bool um_cell_append_list(um_str *out, const char *text, size_t len, const char *separator,
                         um_list_form form)
{
    const char *at = text, *part = NULL, *comma = "";
    size_t n = 0;
    if (form != UM_LIST_TEXT)
        um_str_append_char(out, '[');
    while (um_cell_next_part(&at, text + len, separator, &part, &n)) {
        um_str_append(out, comma);
        comma = form == UM_LIST_TEXT ? ", " : ",";
        if (form == UM_LIST_TEXT) {
            um_str_append_n(out, part, n);
        } else if (form == UM_LIST_JSON) {
            um_str_append_json_n(out, part, n);
        } else {
            char copy[64];
            double value = 0;
            if (n >= sizeof copy)
                return false;
            memcpy(copy, part, n);
            copy[n] = '\0';
            if (!um_cell_number(copy, n, &value))
                return false;
            um_str_append_number(out, value);
        }
    }
    if (form != UM_LIST_TEXT)
        um_str_append_char(out, ']');
    return true;
}
