/*
 * jsonl.c - a JSON parser for rows: one pass, in place, nothing allocated per value.
 *
 * What the pass checks is all that there is to check, so that a row costs one walk over its bytes:
 * syntax, escapes, the range of numbers, depth, keys that an object has twice. UTF-8 is looked at
 * after it, only where a string had bytes above 127. Strings stay where they are: the NUL after
 * each takes the place of its closing quote, and a text with escapes, which grow shorter, is
 * parsed in a copy.
 *
 * A text that is refused is parsed again with jansson, only for the sake of its message: bad rows
 * are few, and a byte number helps.
 */
#include "base/jsonl.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/scan.h"

#define FEW_KEYS       16
#define MAX_BYTES      ((size_t)1 << UM_JWORD_BITS)
#define FIRST_CAPACITY ((size_t)4096)
#define N_HABITS       64
#define HABIT_BYTES    (2 * UM_SCAN_BYTES)

typedef struct key_text {
    const char *text;
    size_t len;
} key_text;

/* A key as it stood in the text before, from its quote to the first byte of its value. */
typedef struct habit {
    um_scan_bytes bytes[2], mask[2];
    uint64_t class;   /* class_of_key */
    uint32_t key_len;
    uint32_t n_bytes; /* 0: none */
    uint32_t wanted;  /* place among the members that are, n_wanted: it is not */
} habit;

struct um_jsonl {
    char *text; /* a copy with UM_JSONL_PADDING bytes after it */
    size_t text_cap;
    UM_VEC(uint64_t) tape;
    UM_VEC(key_text) keys; /* of one object, to be sorted */
    um_jdoc view;
    bool has_nul, lacks_memory;
    habit habits[N_HABITS]; /* by the order of the keys in their text */
    um_jkey wanted[UM_JSONL_MAX_WANTED];
    size_t n_wanted;
    uint32_t members[UM_JSONL_MAX_WANTED + 1]; /* the last is of those that are not wanted */
};

um_status um_jsonl_new(um_jsonl **out, um_error *err)
{
    um_jsonl *j = um_calloc(1, sizeof *j);
    if (j == NULL)
        return um_fail_memory(err, "a JSON parser");
    *out = j;
    return UM_OK;
}

void um_jsonl_free(um_jsonl *parser)
{
    if (parser == NULL)
        return;
    free(parser->text);
    um_vec_dispose(&parser->tape);
    um_vec_dispose(&parser->keys);
    free(parser);
}

/* Keys ---------------------------------------------------------------------------------------- */

/* Both ends of two texts of 8 to 16 bytes, or of 4 to 8. */
static inline bool same_long(const char *a, const char *b, size_t n)
{
    uint64_t first[2], last[2];
    memcpy(&first[0], a, 8);
    memcpy(&first[1], b, 8);
    memcpy(&last[0], a + n - 8, 8);
    memcpy(&last[1], b + n - 8, 8);
    return first[0] == first[1] && last[0] == last[1];
}

static inline bool same_short(const char *a, const char *b, size_t n)
{
    uint32_t first[2], last[2];
    memcpy(&first[0], a, 4);
    memcpy(&first[1], b, 4);
    memcpy(&last[0], a + n - 4, 4);
    memcpy(&last[1], b + n - 4, 4);
    return first[0] == first[1] && last[0] == last[1];
}

/* Most keys are so short that calling memcmp would take longer than comparing them. */
static inline bool same_text(const char *a, const char *b, size_t n)
{
    if (n >= 8 && n <= 16)
        return same_long(a, b, n);
    if (n >= 4 && n < 8)
        return same_short(a, b, n);
    return memcmp(a, b, n) == 0;
}

static inline key_text key_at(const um_jdoc *d, size_t at)
{
    key_text key;
    key.text = um_jdoc_string(d, at, &key.len);
    return key;
}

static int compare_keys(const void *a, const void *b)
{
    const key_text *x = a, *y = b;
    if (x->len != y->len)
        return x->len < y->len ? -1 : 1;
    return memcmp(x->text, y->text, x->len);
}

/* Whether the object at a word, all of whose n keys are on the tape, has none of them twice. */
static bool are_keys_new(um_jsonl *j, size_t at, size_t n)
{
    j->lacks_memory = !um_vec_reserve(&j->keys, n);
    if (j->lacks_memory)
        return false;
    at++;
    for (j->keys.len = 0; j->keys.len < n; at = um_jdoc_after(&j->view, at + 1))
        j->keys.data[j->keys.len++] = key_at(&j->view, at);
    qsort(j->keys.data, n, sizeof *j->keys.data, compare_keys);
    for (size_t i = 1; i < n; i++) {
        if (compare_keys(&j->keys.data[i - 1], &j->keys.data[i]) == 0)
            return false;
    }
    return true;
}

/* Whether a key of the object stands before the word `end` too. */
static bool is_key_before(const um_jdoc *d, size_t object, size_t end, key_text key)
{
    for (size_t at = object + 1; at < end; at = um_jdoc_after(d, at + 1)) {
        key_text other = key_at(d, at);
        if (other.len == key.len && same_text(other.text, key.text, key.len))
            return true;
    }
    return false;
}

/* The pass ------------------------------------------------------------------------------------ */

/* An object or array whose end is not reached. */
typedef struct level {
    size_t at;     /* its word */
    uint64_t seen; /* bit = of the 64 classes of keys, one that occurred */
    size_t n_keys;
    bool is_object;
} level;

static inline uint64_t word_of(char kind, uint64_t payload)
{
    return (uint64_t)(unsigned char)kind << 56 | payload;
}

static inline uint64_t string_word(ptrdiff_t place, size_t len)
{
    return word_of('"', (uint64_t)len << UM_JWORD_BITS | (uint64_t)place);
}

static inline bool is_digit(char c)
{
    return (unsigned char)(c - '0') < 10;
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static inline char *skip_blanks(char *p)
{
    while ((unsigned char)*p <= ' ' && is_blank(*p))
        p++;
    return p;
}

/* The next byte that a string cannot have as it is: its quote, a backslash, a control character. */
static inline char *find_stop(char *p, um_scan_bytes *high)
{
    for (;; p += UM_SCAN_BYTES) {
        const um_scan_bytes b = um_scan_load(p);
        const um_scan_bytes stop = (b == '"') | (b == '\\') | (b < ' ');
        *high |= b;
        if (um_scan_any(stop))
            return p + um_scan_first(stop);
    }
}

static bool read_hex(const char *p, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i], low = (char)(c | 0x20);
        if (!is_digit(c) && !(low >= 'a' && low <= 'f'))
            return false;
        *code = *code << 4 | (uint32_t)(is_digit(c) ? c - '0' : low - 'a' + 10);
    }
    return true;
}

/* The character of \uXXXX, or of a pair of them, as UTF-8 at *to; NULL where there is none. */
static char *take_unicode(char *p, char **to, bool *has_nul)
{
    uint32_t code = 0, low = 0;
    if (!read_hex(p + 2, &code) || (code >= 0xdc00 && code < 0xe000))
        return NULL;
    p += 6;
    if (code >= 0xd800 && code < 0xdc00) {
        if (p[0] != '\\' || p[1] != 'u' || !read_hex(p + 2, &low) || low < 0xdc00 || low > 0xdfff)
            return NULL;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    *has_nul = *has_nul || code == 0;
    *to += um_utf8_encode(*to, code);
    return p;
}

/* From the first backslash of a string on: moves the text together, in place. Gives the closing
 * quote, or NULL, and where the text ends. */
static char *take_escapes(char *p, char **text_end, bool *has_nul)
{
    static const char letters[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    um_scan_bytes high;
    char *to = p;
    while (*p == '\\') {
        if (p[1] == 'u') {
            p = take_unicode(p, &to, has_nul);
            if (p == NULL)
                return NULL;
        } else {
            const char *letter = letters;
            while (*letter != '\0' && *letter != p[1])
                letter += 2;
            if (*letter == '\0')
                return NULL;
            *to++ = letter[1];
            p += 2;
        }
        char *stop = find_stop(p, &high);
        memmove(to, p, (size_t)(stop - p));
        to += stop - p;
        p = stop;
    }
    *text_end = to;
    return *p == '"' ? p : NULL;
}

/* What a row's key was last, and what stood around it: rows have the same keys in the same order. */
static void learn(habit *h, const um_scan_bytes bytes[2], size_t n_bytes, size_t key_len,
                  uint64_t class, uint32_t wanted)
{
    uint8_t mask[HABIT_BYTES] = {0};
    memset(mask, 0xff, n_bytes);
    *h = (habit){.bytes = {bytes[0], bytes[1]},
                 .mask = {um_scan_load(mask), um_scan_load(mask + UM_SCAN_BYTES)},
                 .class = class,
                 .key_len = (uint32_t)key_len,
                 .n_bytes = (uint32_t)n_bytes,
                 .wanted = wanted};
    /* Whether such are UTF-8 is not known yet. */
    if (um_scan_any(((bytes[0] & h->mask[0]) | (bytes[1] & h->mask[1])) & 0x80))
        h->n_bytes = 0;
}

/*
 * What is being read. Each of the functions below takes what is at p and puts its words at w; false
 * where something is wrong with it. They are inlined, so that all of this stays in registers.
 */
typedef struct hand {
    char *p;
    uint64_t *w;
    um_scan_bytes high; /* all bytes of strings together, and some after them */
    size_t n_keys;
} hand;
#define TAKES static inline __attribute__((always_inline)) bool

TAKES take_string(um_jsonl *j, hand *h, bool is_key)
{
    char *text = h->p + 1, *end = find_stop(text, &h->high), *quote = end;
    if (__builtin_expect(*end != '"', 0)) {
        char *text_end = NULL;
        bool has_nul = false;
        if (*end != '\\' || (quote = take_escapes(end, &text_end, &has_nul)) == NULL ||
            (has_nul && is_key))
            return false;
        end = text_end;
        j->has_nul = j->has_nul || has_nul;
        h->high |= 0x80; /* what came after the backslash was not looked at */
    }
    *end = '\0';
    *h->w++ = string_word(text - j->view.strings, (size_t)(end - text));
    h->p = quote + 1;
    return true;
}

static inline uint64_t class_of_key(key_text key)
{
    unsigned ends =
        key.len > 0 ? (unsigned char)key.text[0] * 13u + (unsigned char)key.text[key.len - 1] : 0;
    return UINT64_C(1) << ((key.len * 7 + ends) & 63);
}

/* No key of an object twice; this one is the word before w. Objects of many keys are looked at when
 * they are over: one by one would take the square of the time. */
TAKES is_new_key(const um_jsonl *j, const hand *h, level *l, uint64_t class)
{
    const size_t at = (size_t)(h->w - 1 - j->tape.data);
    if (__builtin_expect((l->seen & class) != 0, 0) && l->n_keys < FEW_KEYS &&
        is_key_before(&j->view, l->at, at, key_at(&j->view, at)))
        return false;
    l->seen |= class;
    l->n_keys++;
    return true;
}

static uint32_t find_wanted(const um_jsonl *j, key_text key)
{
    uint32_t i = 0;
    while (i < j->n_wanted && (j->wanted[i].name == NULL || j->wanted[i].len != key.len ||
                               memcmp(j->wanted[i].name, key.text, key.len) != 0))
        i++;
    return i;
}

/* Notes where the value of a key will be, if it is a member that is wanted. */
static inline void note_member(um_jsonl *j, const hand *h, const level *l, uint32_t wanted)
{
    j->members[l->at == 1 ? wanted : j->n_wanted] = (uint32_t)(h->w - j->tape.data);
}

/* A key and what stands between it and its value. */
TAKES take_key(um_jsonl *j, hand *h, level *l)
{
    char *const begin = h->p;
    const um_scan_bytes bytes[2] = {um_scan_load(begin), um_scan_load(begin + UM_SCAN_BYTES)};
    habit *usual = &j->habits[h->n_keys < N_HABITS ? h->n_keys++ : N_HABITS - 1];
    const um_scan_bytes differ =
        ((um_scan_bytes)(bytes[0] != usual->bytes[0]) & usual->mask[0]) |
        ((um_scan_bytes)(bytes[1] != usual->bytes[1]) & usual->mask[1]);
    if (usual->n_bytes > 0 && !um_scan_any(differ)) {
        begin[1 + usual->key_len] = '\0';
        *h->w++ = string_word(begin + 1 - j->view.strings, usual->key_len);
        h->p = skip_blanks(begin + usual->n_bytes);
        note_member(j, h, l, usual->wanted);
        return is_new_key(j, h, l, usual->class);
    }
    if (*begin != '"' || !take_string(j, h, true))
        return false;
    const key_text key = key_at(&j->view, (size_t)(h->w - 1 - j->tape.data));
    const bool has_escapes = h->p != begin + key.len + 2;
    const uint64_t class = class_of_key(key);
    const uint32_t wanted = find_wanted(j, key);
    h->p = skip_blanks(h->p);
    if (*h->p != ':')
        return false;
    h->p = skip_blanks(h->p + 1);
    if (h->p - begin <= HABIT_BYTES && !has_escapes)
        learn(usual, bytes, (size_t)(h->p - begin), key.len, class, wanted);
    note_member(j, h, l, wanted);
    return is_new_key(j, h, l, class);
}

static inline char *take_digits(char *p, uint64_t *n)
{
    for (; is_digit(*p); p++)
        *n = *n * 10 + (uint64_t)(*p - '0');
    return p;
}

/* The decimal text[0..end), by the C library; false where it is out of range. */
static bool read_real(char *text, char *end, double *value)
{
    const char after = *end;
    *end = '\0';
    *value = strtod(text, NULL); /* underflow to 0 or a subnormal is fine */
    *end = after;
    return isfinite(*value);
}

/* The end of a number that has the whole part n up to p and a fraction or an exponent there, or
 * NULL. Both parts of a short decimal are doubles without error, so that their quotient is the
 * double nearest to it. */
static char *take_real(char *text, char *p, uint64_t n, double *value)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    enum { MOST = sizeof powers / sizeof *powers - 1 };
    const bool is_negative = *text == '-';
    size_t n_digits = (size_t)(p - text) - is_negative, places = 0;
    if (*p == '.') {
        char *fraction = p + 1;
        p = take_digits(fraction, &n);
        places = (size_t)(p - fraction);
        if (places == 0)
            return NULL;
    }
    const bool has_exponent = *p == 'e' || *p == 'E';
    if (has_exponent) {
        char *exponent = p + (p[1] == '-' || p[1] == '+' ? 2 : 1);
        for (p = exponent; is_digit(*p); p++)
            ;
        if (p == exponent)
            return NULL;
    }
    if (has_exponent || n_digits + places > MOST)
        return read_real(text, p, value) ? p : NULL;
    *value = (double)n / powers[places];
    *value = is_negative ? -*value : *value;
    return p;
}

TAKES take_number(hand *h)
{
    enum { MOST = 19 }; /* digits of an int64_t: what has as many is below 2^64 */
    char *const text = h->p, *const first = text + (*text == '-');
    char kind = 'l';
    uint64_t n = 0;
    char *end = take_digits(first, &n);
    const size_t n_digits = (size_t)(end - first);
    if (n_digits == 0 || (*first == '0' && n_digits > 1))
        return false;
    if (*end == '.' || *end == 'e' || *end == 'E') {
        double value = 0;
        end = take_real(text, end, n, &value);
        if (end == NULL)
            return false;
        kind = 'd';
        memcpy(&n, &value, sizeof n);
    } else {
        if (n_digits > MOST || n > (uint64_t)INT64_MAX + (first > text))
            return false;
        n = first > text ? 0 - n : n;
    }
    h->p = end;
    h->w[0] = word_of(kind, 0);
    h->w[1] = n;
    h->w += 2;
    return true;
}

TAKES take_word(hand *h, const char *word, size_t len)
{
    if (memcmp(h->p, word, len) != 0)
        return false;
    h->p += len;
    *h->w++ = word_of(*word, 0);
    return true;
}

TAKES take_scalar(um_jsonl *j, hand *h)
{
    switch (*h->p) {
    case '"':
        return take_string(j, h, false);
    case 't':
        return take_word(h, "true", 4);
    case 'f':
        return take_word(h, "false", 5);
    case 'n':
        return take_word(h, "null", 4);
    default:
        return take_number(h);
    }
}

/* An opening bracket and, in an object that is not empty, the first key. */
TAKES open_level(um_jsonl *j, hand *h, level *l, bool *is_filled)
{
    const bool is_object = *h->p == '{';
    *l = (level){.at = (size_t)(h->w - j->tape.data), .is_object = is_object};
    *h->w++ = word_of(*h->p, 0);
    h->p = skip_blanks(h->p + 1);
    *is_filled = *h->p != (is_object ? '}' : ']');
    return !*is_filled || !is_object || take_key(j, h, l);
}

TAKES close_level(um_jsonl *j, hand *h, const level *l)
{
    const size_t after = (size_t)(h->w + 1 - j->tape.data);
    *h->w++ = word_of(*h->p++, l->at);
    j->tape.data[l->at] = word_of(l->is_object ? '{' : '[', after);
    return l->n_keys <= FEW_KEYS || are_keys_new(j, l->at, l->n_keys);
}

/* The object at h->p. */
static bool take_object(um_jsonl *j, hand *out)
{
    level levels[UM_JSONL_MAX_DEPTH + 1], *l = levels; /* levels[0] is outside of the object */
    hand h = *out;
    bool is_due = true, good = true; /* a value is next; else what follows one */
    do {
        if (is_due) {
            is_due = false;
            if (*h.p != '{' && *h.p != '[')
                good = take_scalar(j, &h);
            else
                good = l < levels + UM_JSONL_MAX_DEPTH && open_level(j, &h, ++l, &is_due);
            continue;
        }
        h.p = skip_blanks(h.p);
        if (*h.p == ',') {
            h.p = skip_blanks(h.p + 1);
            good = !l->is_object || take_key(j, &h, l);
            is_due = true;
        } else {
            good = *h.p == (l->is_object ? '}' : ']') && close_level(j, &h, l--);
        }
    } while (good && l > levels);
    *out = h;
    return good;
}

/* Quotes that became NULs, as they were. */
static void restore_quotes(const um_jsonl *j, const uint64_t *words_end, char *text)
{
    const um_jdoc *d = &j->view;
    const size_t end = (size_t)(words_end - d->tape);
    size_t len = 0;
    for (size_t at = 1; at < end; at++) {
        char kind = (char)(d->tape[at] >> 56);
        if (kind == '"') {
            size_t offset = (size_t)(um_jdoc_string(d, at, &len) - d->strings);
            text[offset + len] = '"';
        }
        at += kind == 'l' || kind == 'd';
    }
}

/* Parsing ------------------------------------------------------------------------------------- */

static const char *kind_name(const json_t *value)
{
    return json_is_array(value)     ? "an array"
           : json_is_string(value)  ? "a string"
           : json_is_number(value)  ? "a number"
           : json_is_boolean(value) ? "true or false"
           : json_is_null(value)    ? "null"
                                    : "an object";
}

/* UM_ERR_INPUT with jansson's message. */
static um_status explain(const char *text, size_t len, um_error *err)
{
    um_error why;
    json_t *value = NULL;
    um_status status = um_json_parse(&value, text, len, "text", &why);
    if (status == UM_ERR_MEMORY)
        return um_fail_memory(err, "a JSON text");
    if (status != UM_OK) {
        /* "text: line 1 column 9: ...": the caller knows the line better. */
        const char *column = strstr(why.text, "column");
        return um_fail(err, UM_ERR_INPUT, "%s", column != NULL ? column : why.text);
    }
    if (!json_is_object(value))
        status = um_fail(err, UM_ERR_INPUT, "found %s where an object is needed", kind_name(value));
    else
        status = um_fail(err, UM_ERR_INPUT, "not JSON");
    json_decref(value);
    return status;
}

void um_jsonl_want(um_jsonl *j, const um_jkey *keys, size_t n)
{
    j->n_wanted = n < UM_JSONL_MAX_WANTED ? n : UM_JSONL_MAX_WANTED;
    for (size_t i = 0; i < j->n_wanted; i++)
        j->wanted[i] = keys[i];
    memset(j->habits, 0, sizeof j->habits);
}

/* Parses text[0..len), text[len] = NUL, which is overwritten; `original` is as the caller gave it,
 * the text itself where it has no escapes: it is then as before when it is refused. */
static um_status parse(um_jsonl *j, char *text, const char *original, size_t len, um_jval *root,
                       um_error *err)
{
    if (!um_vec_reserve(&j->tape, len + 4))
        return um_fail_memory(err, "a JSON text");
    hand h = {.p = skip_blanks(text), .w = j->tape.data + 1};
    j->view = (um_jdoc){.tape = j->tape.data,
                        .strings = text,
                        .members = j->members,
                        .n_bytes = len,
                        .is_plain = text == original};
    memset(j->members, 0, sizeof j->members);
    j->has_nul = j->lacks_memory = false;
    bool good = *h.p == '{' && take_object(j, &h) && skip_blanks(h.p) == text + len;
    if (good && um_scan_any(h.high & 0x80))
        good = um_utf8_valid(original, len);
    if (good) {
        j->view.n_words = (size_t)(h.w - j->tape.data);
        *root = (um_jval){&j->view, 1};
        return UM_OK;
    }
    if (text == original)
        restore_quotes(j, h.w, text);
    return j->lacks_memory ? um_fail_memory(err, "a JSON text") : explain(original, len, err);
}

/* Makes room for a copy of that many bytes. */
static bool reserve_text(um_jsonl *j, size_t len)
{
    if (j->text != NULL && len <= j->text_cap)
        return true;
    size_t cap = j->text_cap < FIRST_CAPACITY ? FIRST_CAPACITY : 2 * j->text_cap;
    cap = cap < len ? len : cap;
    free(j->text);
    j->text_cap = 0;
    j->text = um_calloc(cap + UM_JSONL_PADDING, 1);
    j->text_cap = j->text != NULL ? cap : 0;
    return j->text != NULL;
}

um_status um_jsonl_parse(um_jsonl *j, const char *text, size_t len, um_jval *root, um_error *err)
{
    if (len >= MAX_BYTES)
        return um_fail(err, UM_ERR_INPUT, "%zu bytes of JSON, limit %zu", len, MAX_BYTES - 1);
    if (!reserve_text(j, len))
        return um_fail_memory(err, "a JSON text");
    memcpy(j->text, text, len);
    j->text[len] = '\0';
    um_status status = parse(j, j->text, text, len, root, err);
    j->view.is_plain = memchr(text, '\\', len) == NULL;
    return status;
}

um_status um_jsonl_parse_in_place(um_jsonl *j, char *text, size_t len, um_jval *root, um_error *err)
{
    if (len >= MAX_BYTES || memchr(text, '\\', len) != NULL)
        return um_jsonl_parse(j, text, len, root, err);
    text[len] = '\0';
    return parse(j, text, text, len, root, err);
}

bool um_jsonl_has_nul(const um_jsonl *parser)
{
    return parser->has_nul;
}
