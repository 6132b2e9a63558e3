#include "base/str.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/scan.h"

#define NEAREST_MAX_BYTES 64

void um_str_init(um_str *s, size_t max)
{
    *s = (um_str){.max = max};
}

void um_str_dispose(um_str *s)
{
    free(s->data);
    *s = (um_str){.max = s->max};
}

void um_str_clear(um_str *s)
{
    s->len = 0;
    s->failed = UM_OK;
    if (s->data != NULL)
        s->data[0] = '\0';
}

static bool grow(um_str *s, size_t n)
{
    if (s->failed != UM_OK)
        return false;
    size_t max = s->max == 0 ? UM_STR_DEFAULT_MAX : s->max;
    if (max > SIZE_MAX - 1)
        max = SIZE_MAX - 1;
    if (n > max || s->len > max - n) {
        s->failed = UM_ERR_LIMIT;
        return false;
    }
    size_t need = s->len + n + 1;
    size_t cap = s->cap < 64 ? 64 : s->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap > max + 1)
        cap = max + 1;
    char *data = realloc(s->data, cap);
    if (data == NULL) {
        s->failed = UM_ERR_MEMORY;
        return false;
    }
    s->data = data;
    s->cap = cap;
    return true;
}

/* Makes room for n more bytes and the NUL. The capacity keeps the limit, too. */
static inline bool reserve(um_str *s, size_t n)
{
    return (s->failed == UM_OK && n < s->cap - s->len) || grow(s, n);
}

char *um_str_extend(um_str *s, size_t n)
{
    if (!reserve(s, n))
        return NULL;
    char *at = s->data + s->len;
    s->len += n;
    s->data[s->len] = '\0';
    return at;
}

void um_str_append_n(um_str *s, const void *bytes, size_t n)
{
    char *at = um_str_extend(s, n);
    if (at != NULL && n > 0)
        memcpy(at, bytes, n);
}

void um_str_append(um_str *s, const char *text)
{
    um_str_append_n(s, text, strlen(text));
}

void um_str_append_char(um_str *s, char c)
{
    if (!reserve(s, 1))
        return;
    s->data[s->len++] = c;
    s->data[s->len] = '\0';
}

void um_str_appendf(um_str *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n < 0) {
        s->failed = s->failed != UM_OK ? s->failed : UM_ERR_LIMIT;
    } else if (reserve(s, (size_t)n)) {
        vsnprintf(s->data + s->len, (size_t)n + 1, format, again);
        s->len += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

/* Bytes of the well-formed UTF-8 sequence at p (RFC 3629, n >= 1 bytes left), or 0. */
static size_t utf8_sequence(const unsigned char *p, size_t n)
{
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0;
    size_t len = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    if (n < len)
        return 0;
    /* The second byte excludes overlong forms, surrogates and what lies past U+10FFFF. */
    unsigned char low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++) {
        if (p[i] < 0x80 || p[i] > 0xBF)
            return 0;
    }
    return len;
}

bool um_utf8_valid(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    while (n > 0) {
        if (n >= UM_SCAN_BYTES && !um_scan_any(um_scan_load(p) & 0x80)) {
            p += UM_SCAN_BYTES;
            n -= UM_SCAN_BYTES;
            continue;
        }
        size_t len = utf8_sequence(p, n);
        if (len == 0)
            return false;
        p += len;
        n -= len;
    }
    return true;
}

size_t um_utf8_encode(char bytes[4], uint32_t c)
{
    if (c < 0x80) {
        bytes[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        bytes[i] = (char)(0x80 | (c & 63));
    bytes[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

void um_str_append_latin1(um_str *s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c < 0x80) {
            um_str_append_char(s, (char)c);
        } else {
            const char pair[2] = {(char)(0xC0 | c >> 6), (char)(0x80 | (c & 0x3F))};
            um_str_append_n(s, pair, 2);
        }
    }
}

static void append_json_escape(um_str *s, unsigned char c)
{
    static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; i + 1 < sizeof letters; i += 2) {
        if ((unsigned char)letters[i] == c) {
            const char pair[2] = {'\\', letters[i + 1]};
            um_str_append_n(s, pair, 2);
            return;
        }
    }
    um_str_appendf(s, "\\u%04x", c);
}

/* Whether the next UM_SCAN_BYTES bytes are ASCII that stands in a JSON string as it is. */
static bool is_plain_ascii(const unsigned char *p)
{
    um_scan_bytes b = um_scan_load(p);
    um_scan_bytes special = (b < 0x20) | (b > 0x7f) | (b == '"') | (b == '\\');
    return !um_scan_any(special);
}

void um_str_append_json(um_str *s, const char *text)
{
    um_str_append_json_n(s, text, strlen(text));
}

void um_str_append_json_n(um_str *s, const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    const unsigned char *end = p + n;
    const unsigned char *plain = p; /* start of the bytes to copy as they are */
    um_str_append_char(s, '"');
    while (p < end) {
        if (end - p >= UM_SCAN_BYTES && is_plain_ascii(p)) {
            p += UM_SCAN_BYTES;
            continue;
        }
        /* The rest of a longer text: a last block that looks at some bytes again. */
        if (end - p < UM_SCAN_BYTES && n >= UM_SCAN_BYTES && is_plain_ascii(end - UM_SCAN_BYTES))
            break;
        size_t len = utf8_sequence(p, (size_t)(end - p));
        if (len > 1 || (len == 1 && *p >= 0x20 && *p != '"' && *p != '\\')) {
            p += len;
            continue;
        }
        um_str_append_n(s, plain, (size_t)(p - plain));
        if (len == 0)
            um_str_append(s, "\xEF\xBF\xBD");
        else
            append_json_escape(s, *p);
        plain = ++p;
    }
    um_str_append_n(s, plain, (size_t)(end - plain));
    um_str_append_char(s, '"');
}

/* The last `count` digits of n. Inline: count is a constant. */
static inline void put_digits(char *out, uint32_t n, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        out[i] = (char)('0' + n % 10);
        n /= 10;
    }
}

/*
 * Decimals of up to nine places below a million, which most numbers in files are: the value is
 * n / 10^9. Both parts are doubles without error, as below. False where there is no such n, and
 * where %g would write an exponent.
 */
static bool append_nine_places(um_str *s, double value)
{
    double size = fabs(value);
    if (size >= 1e6 || (size < 1e-4 && size != 0))
        return false;
    uint64_t n = (uint64_t)(size * 1e9 + 0.5);
    if ((double)n / 1e9 != size)
        return false;
    uint32_t whole = (uint32_t)(n / 1000000000), rest = (uint32_t)(n % 1000000000);
    char text[24], *p = text;
    if (value < 0)
        *p++ = '-';
    for (uint32_t power = 100000; power > 1; power /= 10) {
        if (whole >= power)
            *p++ = (char)('0' + whole / power % 10);
    }
    *p++ = (char)('0' + whole % 10);
    if (rest > 0) {
        *p++ = '.';
        put_digits(p, rest / 10000, 5);
        put_digits(p + 5, rest % 10000, 4);
        for (p += 9; p[-1] == '0'; p--)
            ;
    }
    um_str_append_n(s, text, (size_t)(p - text));
    return true;
}

/* n / 10^places without `zeros` zeros at its end, if it has them. Inline: power is a constant. */
static inline void cut_zeros(uint64_t *n, int *places, uint64_t power, int zeros)
{
    if (*places >= zeros && *n % power == 0) {
        *n /= power;
        *places -= zeros;
    }
}

/*
 * Decimals of up to 15 digits, as nearly all numbers in files are, without the C library: the
 * value is n / 10^places with 10^14 <= n < 10^15, then zeros at the end go. Both parts are doubles
 * without error, so that their quotient is the double nearest to that decimal; when it is `value`,
 * no shorter decimal reads back equal. False where %g would write an exponent, and where there is
 * no such n.
 */
static bool append_short_decimal(um_str *s, double value)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8, 1e9,
                                    1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18};
    double size = fabs(value);
    int places = 14;
    if (!(size >= 1e-4 && size < 1e15))
        return false;
    while (places > 0 && size >= powers[15 - places])
        places--;
    while (places < 18 && size * powers[places] < 1e14)
        places++;
    uint64_t n = (uint64_t)(size * powers[places] + 0.5);
    if (n >= 1000000000000000 || (double)n / powers[places] != size)
        return false;
    cut_zeros(&n, &places, 100000000, 8);
    cut_zeros(&n, &places, 10000, 4);
    cut_zeros(&n, &places, 100, 2);
    cut_zeros(&n, &places, 10, 1);
    char text[40], *p = text + sizeof text;
    for (int written = 0; n > 0 || written <= places; written++) {
        if (written == places && places > 0)
            *--p = '.';
        *--p = (char)('0' + n % 10);
        n /= 10;
    }
    if (value < 0)
        *--p = '-';
    um_str_append_n(s, p, (size_t)(text + sizeof text - p));
    return true;
}

void um_str_append_number(um_str *s, double value)
{
    if (!isfinite(value)) {
        um_str_append(s, "null");
        return;
    }
    if (value == 0)
        value = 0; /* "-0" would be read again as a whole number, which has no such zero */
    if (append_nine_places(s, value) || append_short_decimal(s, value))
        return;
    /*
     * Every decimal of up to 15 digits survives the way through a normal double, and %g drops
     * trailing zeros, so 15 digits already give the shortest form when one that short exists.
     * Subnormal numbers have fewer digits, so all precisions are tried.
     */
    char text[40];
    for (int digits = fabs(value) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    /* The one character that is not part of a C-locale number can only be the decimal point. */
    for (char *p = text; *p != '\0'; p++) {
        if (strchr("0123456789+-e", *p) == NULL)
            *p = '.';
    }
    um_str_append(s, text);
}

const char *um_str_text(const um_str *s)
{
    return s->data != NULL ? s->data : "";
}

um_status um_str_status(const um_str *s, um_error *err)
{
    if (s->failed == UM_ERR_LIMIT)
        return um_fail(err, UM_ERR_LIMIT, "text grows past its limit of %zu bytes",
                       s->max == 0 ? UM_STR_DEFAULT_MAX : s->max);
    if (s->failed != UM_OK)
        return um_fail_memory(err, "a text");
    return UM_OK;
}

um_status um_str_take(um_str *s, char **out, um_error *err)
{
    um_str_append_n(s, "", 0); /* an empty string becomes a heap string too */
    um_status status = um_str_status(s, err);
    if (status != UM_OK)
        return status;
    *out = s->data;
    *s = (um_str){.max = s->max};
    return UM_OK;
}

char *um_strdup(const char *text)
{
    return text == NULL ? NULL : um_strndup(text, strlen(text));
}

char *um_strndup(const char *text, size_t n)
{
    if (text == NULL || n == SIZE_MAX)
        return NULL;
    char *copy = malloc(n + 1);
    if (copy == NULL)
        return NULL;
    memcpy(copy, text, n);
    copy[n] = '\0';
    return copy;
}

bool um_str_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool um_str_ends(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && memcmp(text + n - m, suffix, m) == 0;
}

static const char *skip_digits(const char *p)
{
    while (*p >= '0' && *p <= '9')
        p++;
    return p;
}

bool um_parse_i64(const char *text, int64_t *out)
{
    const char *digits = text + (*text == '-' || *text == '+');
    const char *end = skip_digits(digits);
    if (end == digits || *end != '\0')
        return false;
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno != 0)
        return false;
    *out = value;
    return true;
}

/* [sign] digits [. digits] [e [sign] digits], with a digit before or after the point. */
static bool is_decimal(const char *p)
{
    p += *p == '-' || *p == '+';
    const char *end = skip_digits(p);
    size_t digits = (size_t)(end - p);
    if (*end == '.') {
        p = end + 1;
        end = skip_digits(p);
        digits += (size_t)(end - p);
    }
    if (digits == 0)
        return false;
    if (*end == 'e' || *end == 'E') {
        p = end + 1;
        p += *p == '-' || *p == '+';
        end = skip_digits(p);
        if (end == p)
            return false;
    }
    return *end == '\0';
}

bool um_parse_f64(const char *text, double *out)
{
    if (!is_decimal(text))
        return false;
    double value = strtod(text, NULL); /* underflow to 0 or a subnormal is fine */
    if (!isfinite(value))
        return false;
    *out = value;
    return true;
}

/* Levenshtein distance by one row; both texts at most NEAREST_MAX_BYTES long. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t row[NEAREST_MAX_BYTES + 1];
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

const char *um_nearest(const char *name, const char *const *candidates, size_t n)
{
    const char *nearest = NULL;
    size_t nearest_distance = SIZE_MAX;
    size_t len = strlen(name);
    if (len > NEAREST_MAX_BYTES)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t other = strlen(candidates[i]);
        if (other > NEAREST_MAX_BYTES)
            continue;
        size_t distance = edit_distance(name, len, candidates[i], other);
        if (distance <= other / 2 && distance < nearest_distance) {
            nearest = candidates[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}
