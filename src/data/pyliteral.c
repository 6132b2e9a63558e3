#include "data/pyliteral.h"

#include <string.h>

#include "base/error.h"

typedef struct parser {
    const char *text;
    size_t len, at;
    um_str *out;
    um_error *err;
} parser;

static um_status fail(const parser *p, size_t at, const char *rule)
{
    return um_fail(p->err, UM_ERR_INPUT, "byte %zu: %s", at, rule);
}

/* The byte n places ahead, 0 past the end. A NUL in the text fits no rule, so it needs no other
 * sign. */
static char peek(const parser *p, size_t n)
{
    return p->at + n < p->len ? p->text[p->at + n] : '\0';
}

static void skip_blanks(parser *p)
{
    while (peek(p, 0) == ' ' || peek(p, 0) == '\t')
        p->at++;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Strings --------------------------------------------------------------------------------------
 */

/* Appends one character inside a JSON string. */
static void put_code(um_str *out, uint32_t c)
{
    if (c == '"' || c == '\\') {
        um_str_append_char(out, '\\');
        um_str_append_char(out, (char)c);
    } else if (c < 0x20) {
        um_str_appendf(out, "\\u%04x", (unsigned)c);
    } else if (c < 0x80) {
        um_str_append_char(out, (char)c);
    } else if (c < 0x800) {
        um_str_append_char(out, (char)(0xc0 | c >> 6));
        um_str_append_char(out, (char)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        um_str_append_char(out, (char)(0xe0 | c >> 12));
        um_str_append_char(out, (char)(0x80 | (c >> 6 & 63)));
        um_str_append_char(out, (char)(0x80 | (c & 63)));
    } else {
        um_str_append_char(out, (char)(0xf0 | c >> 18));
        um_str_append_char(out, (char)(0x80 | (c >> 12 & 63)));
        um_str_append_char(out, (char)(0x80 | (c >> 6 & 63)));
        um_str_append_char(out, (char)(0x80 | (c & 63)));
    }
}

/* `digits` hexadecimal digits `skip` bytes ahead; false when there are not so many. */
static bool read_hex(const parser *p, size_t skip, size_t digits, uint32_t *code)
{
    *code = 0;
    for (size_t i = 0; i < digits; i++) {
        int value = hex_value(peek(p, skip + i));
        if (value < 0)
            return false;
        *code = *code << 4 | (uint32_t)value;
    }
    return true;
}

/* An escape with hexadecimal digits: \x, \u, \U; p->at is at its backslash. */
static um_status take_hex_escape(parser *p)
{
    size_t begin = p->at, digits = peek(p, 1) == 'x' ? 2 : peek(p, 1) == 'u' ? 4 : 8;
    uint32_t code = 0, low = 0;
    if (!read_hex(p, 2, digits, &code))
        return fail(p, begin, "escape with too few hexadecimal digits");
    p->at += 2 + digits;
    if (code >= 0xd800 && code < 0xdc00) {
        if (peek(p, 0) != '\\' || peek(p, 1) != 'u' || !read_hex(p, 2, 4, &low) || low < 0xdc00 ||
            low > 0xdfff)
            return fail(p, begin, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        p->at += 6;
    } else if (code >= 0xdc00 && code <= 0xdfff) {
        return fail(p, begin, "half of a surrogate pair");
    } else if (code > 0x10ffff) {
        return fail(p, begin, "escape past the last character, \\U0010ffff");
    }
    put_code(p->out, code);
    return UM_OK;
}

static um_status take_escape(parser *p)
{
    static const char names[] = "abfnrtv\\'\"";
    static const char codes[] = "\a\b\f\n\r\t\v\\'\"";
    char c = peek(p, 1);
    if (c == 'x' || c == 'u' || c == 'U')
        return take_hex_escape(p);
    if (c == 'N' && peek(p, 2) == '{')
        return fail(p, p->at, "characters by name (\\N{...}) are not understood");
    if (c >= '0' && c <= '7') {
        uint32_t code = 0;
        p->at++;
        for (int i = 0; i < 3 && peek(p, 0) >= '0' && peek(p, 0) <= '7'; i++)
            code = code * 8 + (uint32_t)(p->text[p->at++] - '0');
        put_code(p->out, code);
        return UM_OK;
    }
    const char *found = c != '\0' ? strchr(names, c) : NULL;
    put_code(p->out, found != NULL ? (unsigned char)codes[found - names] : '\\');
    p->at += found != NULL ? 2 : 1; /* an unknown escape keeps its backslash */
    return UM_OK;
}

/* p->at is at the opening quote. */
static um_status take_string(parser *p, bool is_raw)
{
    size_t begin = p->at, plain = p->at + 1;
    char quote = p->text[p->at++];
    um_status status = UM_OK;
    um_str_append_char(p->out, '"');
    for (;;) {
        char c = peek(p, 0);
        bool ends = p->at >= p->len;
        if (!ends && c != quote && c != '\\' && c != '"' && (unsigned char)c >= 0x20) {
            p->at++;
            continue;
        }
        um_str_append_n(p->out, p->text + plain, p->at - plain);
        if (ends)
            return fail(p, begin, "string without a closing quote");
        if (c == quote)
            break;
        if (c == '\\' && is_raw) {
            /* A raw string keeps its backslashes, also the one that guards a quote. */
            put_code(p->out, '\\');
            p->at++;
            if (peek(p, 0) == quote || peek(p, 0) == '\\')
                put_code(p->out, (unsigned char)p->text[p->at++]);
        } else if (c == '\\') {
            status = take_escape(p);
        } else {
            put_code(p->out, (unsigned char)c);
            p->at++;
        }
        if (status != UM_OK)
            return status;
        plain = p->at;
    }
    p->at++;
    um_str_append_char(p->out, '"');
    return UM_OK;
}

/* Numbers and names ----------------------------------------------------------------------------
 */

static size_t count_digits(const parser *p)
{
    size_t n = 0;
    while (is_digit(peek(p, n)))
        n++;
    return n;
}

/* JSON wants a digit on both sides of the point; Python does not. */
static um_status take_number(parser *p)
{
    size_t begin = p->at;
    if (peek(p, 0) == '-')
        um_str_append_char(p->out, p->text[p->at++]);
    const char *whole = p->text + p->at;
    size_t n = count_digits(p), fraction = 0;
    bool is_real = false;
    if (n > 1 && whole[0] == '0')
        return fail(p, begin, "number with a leading zero");
    um_str_append_n(p->out, n > 0 ? whole : "0", n > 0 ? n : 1);
    p->at += n;
    if (peek(p, 0) == '.') {
        is_real = true;
        p->at++;
        fraction = count_digits(p);
        if (fraction > 0) {
            um_str_append_char(p->out, '.');
            um_str_append_n(p->out, p->text + p->at, fraction);
        } else {
            um_str_append(p->out, ".0");
        }
        p->at += fraction;
    }
    if (n + fraction == 0)
        return fail(p, begin, "a minus or a point without digits");
    if (peek(p, 0) == 'e' || peek(p, 0) == 'E') {
        um_str_append_char(p->out, 'e');
        p->at++;
        if (peek(p, 0) == '+' || peek(p, 0) == '-')
            um_str_append_char(p->out, p->text[p->at++]);
        n = count_digits(p);
        if (n == 0)
            return fail(p, begin, "exponent without digits");
        um_str_append_n(p->out, p->text + p->at, n);
        p->at += n;
    } else if (!is_real && peek(p, 0) == 'L') {
        p->at++;
    }
    return UM_OK;
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

static um_status take_name(parser *p)
{
    static const char *const names[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    size_t n = 0;
    while (is_name(peek(p, n)))
        n++;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i][0]) == n && memcmp(p->text + p->at, names[i][0], n) == 0) {
            um_str_append(p->out, names[i][1]);
            p->at += n;
            return UM_OK;
        }
    }
    return fail(p, p->at, n > 0 ? "a name that is none of True, False, None" : "no value");
}

/* Values ---------------------------------------------------------------------------------------
 */

/* True at a string; *skip bytes of prefix stand before its quote. */
static bool at_string(const parser *p, size_t *skip, bool *is_raw)
{
    char c = peek(p, 0);
    bool has_prefix = c == 'u' || c == 'U' || c == 'r' || c == 'R';
    *skip = has_prefix;
    *is_raw = c == 'r' || c == 'R';
    return peek(p, *skip) == '\'' || peek(p, *skip) == '"';
}

static um_status take_value(parser *p, int depth);

static um_status take_key(parser *p)
{
    size_t skip = 0;
    bool is_raw = false;
    um_status status = UM_OK;
    if (at_string(p, &skip, &is_raw)) {
        p->at += skip;
        status = take_string(p, is_raw);
    } else if (is_digit(peek(p, 0)) || peek(p, 0) == '-') {
        um_str_append_char(p->out, '"');
        status = take_number(p);
        um_str_append_char(p->out, '"');
    } else {
        return fail(p, p->at, "a key is neither a string nor a number");
    }
    skip_blanks(p);
    if (status == UM_OK && peek(p, 0) != ':')
        status = fail(p, p->at, "no ':' after a key");
    if (status != UM_OK)
        return status;
    p->at++;
    skip_blanks(p);
    um_str_append_char(p->out, ':');
    return UM_OK;
}

/* A dict, list or tuple; p->at is at its opening bracket. */
static um_status take_container(parser *p, int depth)
{
    char open = p->text[p->at], close = open == '{' ? '}' : open == '[' ? ']' : ')';
    size_t begin = p->at, bracket = p->out->len, n = 0;
    bool has_comma = false;
    if (depth > UM_PYLITERAL_MAX_DEPTH)
        return um_fail(p->err, UM_ERR_INPUT, "byte %zu: deeper than the limit of %d", p->at,
                       UM_PYLITERAL_MAX_DEPTH);
    um_str_append_char(p->out, open == '{' ? '{' : '[');
    p->at++;
    for (skip_blanks(p); peek(p, 0) != close; skip_blanks(p)) {
        if (p->at >= p->len)
            return fail(p, begin, "bracket without its closing one (line cut short?)");
        if (n > 0 && !has_comma)
            return fail(p, p->at, "no comma between values");
        if (n > 0)
            um_str_append_char(p->out, ',');
        um_status status = open == '{' ? take_key(p) : UM_OK;
        if (status == UM_OK)
            status = take_value(p, depth);
        if (status != UM_OK)
            return status;
        n++;
        skip_blanks(p);
        has_comma = peek(p, 0) == ',';
        p->at += has_comma;
    }
    p->at++;
    if (open == '(' && n == 1 && !has_comma) {
        /* Brackets around one value are no tuple. */
        if (p->out->failed == UM_OK)
            p->out->data[bracket] = ' ';
        return UM_OK;
    }
    um_str_append_char(p->out, open == '{' ? '}' : ']');
    return UM_OK;
}

static um_status take_value(parser *p, int depth)
{
    size_t skip = 0;
    bool is_raw = false;
    char c = peek(p, 0);
    if (c == '{' || c == '[' || c == '(')
        return take_container(p, depth + 1);
    if (at_string(p, &skip, &is_raw)) {
        p->at += skip;
        return take_string(p, is_raw);
    }
    if (is_digit(c) || c == '-' || c == '.')
        return take_number(p);
    return take_name(p);
}

um_status um_pyliteral_to_json(um_str *out, const char *text, size_t len, um_error *err)
{
    parser p = {.text = text, .len = len, .out = out, .err = err};
    skip_blanks(&p);
    um_status status = take_value(&p, 0);
    skip_blanks(&p);
    if (status == UM_OK && p.at < p.len)
        status = fail(&p, p.at, "text after the value");
    return status == UM_OK ? um_str_status(out, err) : status;
}
