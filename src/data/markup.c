#include "data/markup.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#include "base/scan.h"

#define MAX_REFERENCE_BYTES 10 /* "&thetasym;" */

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Bytes of the tag or comment at text, 0 when it is none. */
static size_t tag_length(const char *text, size_t len)
{
    if (len < 2 || !(is_letter(text[1]) || text[1] == '/' || text[1] == '!'))
        return 0;
    if (len >= 4 && memcmp(text, "<!--", 4) == 0) {
        const char *end = memmem(text + 4, len - 4, "-->", 3);
        return end != NULL ? (size_t)(end - text) + 3 : len;
    }
    const char *end = memchr(text, '>', len);
    if (end != NULL)
        return (size_t)(end - text) + 1;
    return memchr(text, '=', len) != NULL ? len : 0; /* cut short within its attributes */
}

/* Bytes from the tag <name ...> to the end of </name>, 0 when the tag is another one. */
static size_t element_length(const char *text, size_t len, const char *name)
{
    size_t n = strlen(name);
    if (len <= n + 1 || strncasecmp(text + 1, name, n) != 0 || is_letter(text[n + 1]))
        return 0;
    for (size_t i = n + 1; i + n + 2 <= len; i++) {
        if (text[i] == '<' && text[i + 1] == '/' && strncasecmp(text + i + 2, name, n) == 0)
            return i + tag_length(text + i, len - i);
    }
    return len;
}

/* True for tags that stand within a word or beside a comma: they leave no space. */
static bool is_inline(const char *text, size_t len)
{
    static const char names[][8] = {"a",     "b",    "em",     "font", "i",   "mark", "s",
                                    "small", "span", "strong", "sub",  "sup", "tt",   "u"};
    const size_t begin = len > 1 && text[1] == '/' ? 2 : 1;
    char name[sizeof names[0]] = "";
    size_t n = 0;
    for (; begin + n < len && is_letter(text[begin + n]); n++) {
        if (n + 1 == sizeof name)
            return false;
        name[n] = (char)(text[begin + n] | 0x20);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (memcmp(names[i], name, sizeof name) == 0)
            return true;
    }
    return false;
}

static uint32_t named_character(const char *name, size_t n)
{
    static const struct {
        const char *name;
        uint32_t code;
    } table[] = {{"amp", '&'},      {"lt", '<'},       {"gt", '>'},        {"quot", '"'},
                 {"apos", '\''},    {"nbsp", ' '},     {"rsquo", 0x2019},  {"lsquo", 0x2018},
                 {"rdquo", 0x201d}, {"ldquo", 0x201c}, {"bull", 0x2022},   {"middot", 0xb7},
                 {"mdash", 0x2014}, {"ndash", 0x2013}, {"hellip", 0x2026}, {"trade", 0x2122},
                 {"reg", 0xae},     {"copy", 0xa9},    {"deg", 0xb0},      {"frac12", 0xbd},
                 {"frac14", 0xbc},  {"frac34", 0xbe},  {"times", 0xd7},    {"eacute", 0xe9},
                 {"egrave", 0xe8},  {"ecirc", 0xea},   {"agrave", 0xe0},   {"aacute", 0xe1},
                 {"acirc", 0xe2},   {"auml", 0xe4},    {"ouml", 0xf6},     {"uuml", 0xfc},
                 {"Auml", 0xc4},    {"Ouml", 0xd6},    {"Uuml", 0xdc},     {"szlig", 0xdf},
                 {"iacute", 0xed},  {"oacute", 0xf3},  {"ocirc", 0xf4},    {"uacute", 0xfa},
                 {"ntilde", 0xf1},  {"ccedil", 0xe7},  {"aring", 0xe5},    {"oslash", 0xf8},
                 {"aelig", 0xe6},   {"Eacute", 0xc9},  {"pound", 0xa3},    {"euro", 0x20ac},
                 {"yen", 0xa5},     {"cent", 0xa2},    {"laquo", 0xab},    {"raquo", 0xbb},
                 {"iexcl", 0xa1},   {"iquest", 0xbf},  {"sbquo", 0x201a},  {"bdquo", 0x201e}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strlen(table[i].name) == n && memcmp(table[i].name, name, n) == 0)
            return table[i].code;
    }
    return 0;
}

/* Codes 0x80 to 0x9f are written by pages that mean Windows-1252; the five it leaves free give a
 * space. */
static uint32_t windows_character(uint32_t code)
{
    static const uint16_t table[32] = {
        0x20ac, ' ',    0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
        0x2039, 0x0152, ' ',    0x017d, ' ',    ' ',    0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
        0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, ' ',    0x017e, 0x0178};
    if (code == 0xa0) /* no-break space */
        return ' ';
    return code >= 0x80 && code < 0xa0 ? table[code - 0x80] : code;
}

/* The character of the reference at text ("&#39;") and its length; 0 when it is none. */
static uint32_t reference(const char *text, size_t len, size_t *used)
{
    size_t limit = len < MAX_REFERENCE_BYTES ? len : MAX_REFERENCE_BYTES;
    const char *end = memchr(text, ';', limit);
    if (end == NULL || end - text < 3)
        return 0;
    size_t n = (size_t)(end - text) - 1;
    uint32_t code = 0;
    *used = n + 2;
    if (text[1] != '#')
        return named_character(text + 1, n);
    bool is_hex = text[2] == 'x' || text[2] == 'X';
    for (const char *p = text + (is_hex ? 3 : 2); p < end; p++) {
        int digit = *p >= '0' && *p <= '9'             ? *p - '0'
                    : is_hex && *p >= 'a' && *p <= 'f' ? *p - 'a' + 10
                    : is_hex && *p >= 'A' && *p <= 'F' ? *p - 'A' + 10
                                                       : -1;
        if (digit < 0)
            return 0;
        code = code * (is_hex ? 16 : 10) + (uint32_t)digit;
    }
    if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    return windows_character(code);
}

static bool is_special(unsigned char c)
{
    return c < ' ' || c == '<' || c == '&' || c == 0x7f;
}

/* What takes a blank before it away. */
static const uint8_t takes_blank[256] = {[0 ... ' '] = 1, ['<'] = 1, ['&'] = 1, [0x7f] = 1};

/* Of 16 bytes those at which a plain text ends; `next` is the byte after them. */
static inline unsigned find_ends(um_scan_bytes b, char next)
{
    const unsigned special = um_scan_bits((b < ' ') | (b == '<') | (b == '&') | (b == 0x7f));
    const unsigned blank = um_scan_bits(b == ' ');
    const unsigned after = (special | blank) >> 1 | (unsigned)takes_blank[(unsigned char)next]
                                                        << (UM_SCAN_BYTES - 1);
    return special | (blank & after);
}

/* Copies the bytes from text on that stay as they are, and some after them; how many stay. */
static size_t copy_plain(char *out, const char *text, size_t len)
{
    um_scan_bytes b;
    char rest[UM_SCAN_BYTES];
    size_t i = 0;
    unsigned ends = 0;
    for (; i + UM_SCAN_BYTES < len; i += UM_SCAN_BYTES) {
        b = um_scan_load(text + i);
        memcpy(out + i, &b, sizeof b);
        ends = find_ends(b, text[i + UM_SCAN_BYTES]);
        if (ends != 0)
            return i + (unsigned)__builtin_ctz(ends);
    }
    memset(rest, ' ', sizeof rest);
    memcpy(rest, text + i, len - i);
    b = um_scan_load(rest);
    memcpy(out + i, &b, sizeof b);
    ends = find_ends(b, ' ');
    return ends != 0 ? i + (unsigned)__builtin_ctz(ends) : len;
}

size_t um_markup_clean_into(char *out, const char *text, size_t len)
{
    static_assert(UM_MARKUP_SLACK >= UM_SCAN_BYTES, "bytes that are copied at once");
    size_t i = 0, n = 0;
    bool gap = false;
    while (i < len) {
        const unsigned char c = (unsigned char)text[i];
        size_t used = 1;
        uint32_t code = c; /* of one character that is to be written */
        if (c == '<') {
            size_t skip = tag_length(text + i, len - i);
            size_t element = skip == 0 ? 0 : element_length(text + i, len - i, "script");
            if (skip > 0 && element == 0)
                element = element_length(text + i, len - i, "style");
            if (skip > 0) {
                gap = gap || !is_inline(text + i, skip);
                i += element > skip ? element : skip;
                continue;
            }
        } else if (c == '&') {
            uint32_t named = reference(text + i, len - i, &used);
            code = named != 0 ? named : '&';
            used = named != 0 ? used : 1;
        }
        if (code <= ' ' || code == 0x7f) {
            gap = true;
            i += used;
            continue;
        }
        if (gap && n > 0)
            out[n++] = ' ';
        gap = false;
        if (is_special(c)) {
            n += um_utf8_encode(out + n, code);
        } else {
            used = copy_plain(out + n, text + i, len - i);
            n += used;
        }
        i += used;
    }
    return n;
}

bool um_markup_clean(um_str *out, const char *text, size_t len)
{
    const size_t begin = out->len;
    char *place = um_str_extend(out, len + UM_MARKUP_SLACK);
    if (place == NULL)
        return false;
    out->len = begin + um_markup_clean_into(place, text, len);
    out->data[out->len] = '\0';
    return out->len > begin;
}
