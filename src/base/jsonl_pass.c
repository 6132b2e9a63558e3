/*
 * jsonl_pass.c - JSON to a tape of words (jsonl.h), in place.
 *
 * The pass checks all that there is to check, so that a row costs one walk over its bytes: syntax,
 * escapes, the range of numbers, depth, keys that an object has twice. UTF-8 alone is looked at
 * after it, where a string had bytes above 127. Strings stay where they are: the NUL after each
 * takes the place of its closing quote, and what has escapes is moved together.
 */
#include "base/jsonl_pass.h"

#include <math.h>
#include <stdlib.h>

#define FEW_KEYS       48
#define FIRST_CAPACITY ((size_t)4096)

/* Keys ---------------------------------------------------------------------------------------- */

static inline um_jsonl_key key_at(const um_jdoc *d, size_t at)
{
    um_jsonl_key key;
    key.text = um_jdoc_string(d, at, &key.len);
    return key;
}

static int compare_keys(const void *a, const void *b)
{
    const um_jsonl_key *x = a, *y = b;
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
static bool is_key_before(const um_jdoc *d, size_t object, size_t end, um_jsonl_key key)
{
    for (size_t at = object + 1; at < end; at = um_jdoc_after(d, at + 1)) {
        um_jsonl_key other = key_at(d, at);
        if (other.len == key.len && memcmp(other.text, key.text, key.len) == 0)
            return true;
    }
    return false;
}

/* The pass ------------------------------------------------------------------------------------ */

/* An object or array that goes on when the one within it has ended. */
typedef struct level {
    size_t at;     /* its word */
    uint64_t seen; /* bit = of the 64 classes of keys, one that occurred */
    size_t n_keys;
    char close; /* its last byte */
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
        /* The quote is 0x22, and no other byte but the controls is that small with bit 1 turned. */
        const um_scan_bytes stop = ((b ^ 2) <= ' ') | (b == '\\');
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

bool um_jsonl_reserve_copy(um_jsonl *j, size_t len)
{
    if (j->copy != NULL && len <= j->copy_cap)
        return true;
    size_t cap = j->copy_cap < FIRST_CAPACITY ? FIRST_CAPACITY : 2 * j->copy_cap;
    cap = cap < len ? len : cap;
    free(j->copy);
    j->copy_cap = 0;
    j->copy = um_calloc(cap + UM_JSONL_PADDING, 1);
    j->copy_cap = j->copy != NULL ? cap : 0;
    return j->copy != NULL;
}

/* The first backslash of a text: what is moved together from there on is still to be had. */
static bool note_escape(um_jsonl *j, char *p)
{
    const size_t len = (size_t)(j->view.strings + j->view.n_bytes - p);
    j->view.is_plain = false;
    if (!j->saves_rest)
        return true;
    j->lacks_memory = !um_jsonl_reserve_copy(j, len);
    if (j->lacks_memory)
        return false;
    memcpy(j->copy, p, len);
    j->rest = p;
    return true;
}

/* From the first backslash of a string on: moves the text together, in place. Gives the closing
 * quote, or NULL, and where the text ends. */
static char *take_escapes(char *p, char **text_end, bool *has_nul)
{
    static const char letters[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    um_scan_bytes high = {0};
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

/*
 * What is being read. Each of the functions below takes what is at p and puts its words at w; false
 * where something is wrong with it. They are inlined, so that all of this stays in registers.
 */
typedef struct hand {
    char *p;
    uint64_t *w;
    um_scan_bytes high;   /* all bytes of strings together, and some after them */
    um_jsonl_habit *last; /* key */
    /* The level that is open. */
    size_t at, n_keys;
    uint64_t seen;
    char close;
} hand;
#define TAKES static inline __attribute__((always_inline)) bool

TAKES take_string(um_jsonl *j, hand *h, bool is_key)
{
    char *text = h->p + 1, *end = find_stop(text, &h->high), *quote = end;
    if (__builtin_expect(*end != '"', 0)) {
        char *text_end = NULL;
        bool has_nul = false;
        if (*end != '\\' || (j->view.is_plain && !note_escape(j, end)) ||
            (quote = take_escapes(end, &text_end, &has_nul)) == NULL || (has_nul && is_key))
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

static inline uint64_t class_of_key(um_jsonl_key key)
{
    unsigned ends =
        key.len > 0 ? (unsigned char)key.text[0] * 13u + (unsigned char)key.text[key.len - 1] : 0;
    return UINT64_C(1) << ((key.len * 7 + ends) & 63);
}

/* No key of an object twice; this one is the word before w. Objects of many keys are looked at when
 * they are over: one by one would take the square of the time. */
TAKES is_new_key(const um_jsonl *j, hand *h, uint64_t class)
{
    const size_t at = (size_t)(h->w - 1 - j->tape.data);
    if (__builtin_expect((h->seen & class) != 0, 0) && h->n_keys < FEW_KEYS &&
        is_key_before(&j->view, h->at, at, key_at(&j->view, at)))
        return false;
    h->seen |= class;
    h->n_keys++;
    return true;
}

static uint32_t find_wanted(const um_jsonl *j, um_jsonl_key key)
{
    uint32_t i = 0;
    while (i < j->n_wanted && (j->wanted[i].name == NULL || j->wanted[i].len != key.len ||
                               memcmp(j->wanted[i].name, key.text, key.len) != 0))
        i++;
    return i;
}

/* The number of the key that stood in bytes[0..n_bytes) among those remembered, of which it becomes
 * one; 0 where it cannot. Equal bytes are equal in all: none within a key's are 0. */
static uint8_t remember(um_jsonl *j, const um_scan_bytes bytes[2], const um_jsonl_habit *found)
{
    uint8_t mask[UM_JSONL_HABIT_BYTES] = {0}, i = 1;
    um_jsonl_habit made = *found;
    memset(mask, 0xff, found->n_bytes);
    for (int k = 0; k < 2; k++) {
        made.mask[k] = um_scan_load(mask + k * UM_SCAN_BYTES);
        made.bytes[k] = bytes[k] & made.mask[k];
        if (um_scan_any(made.bytes[k]))
            return 0; /* whether that is UTF-8 is not known yet */
    }
    while (i <= j->n_habits &&
           (j->habits[i].class != made.class || j->habits[i].kind != made.kind ||
            memcmp(j->habits[i].bytes, made.bytes, sizeof made.bytes) != 0))
        i++;
    if (i <= j->n_habits)
        return i;
    if (j->n_habits < UM_JSONL_HABITS - 1) {
        j->n_habits++;
    } else {
        j->oldest = (uint8_t)(j->oldest % (UM_JSONL_HABITS - 1) + 1);
        i = j->oldest;
    }
    j->habits[i] = made;
    return i;
}

TAKES is_habit(const hand *h, const um_jsonl_habit *u)
{
    const um_scan_bytes differ =
        ((um_scan_bytes)(um_scan_load(h->p) != u->bytes[0]) & u->mask[0]) |
        ((um_scan_bytes)(um_scan_load(h->p + UM_SCAN_BYTES) != u->bytes[1]) & u->mask[1]);
    return !um_scan_any(differ) && u->kind == (h->at == 1 ? OF_ROOT : NESTED);
}

/* Whether the next key is one that came here before, which is then taken. */
TAKES take_usual_key(um_jsonl *j, hand *h, bool *good)
{
    um_jsonl_habit *u = &j->habits[h->last->next[0]];
    if (__builtin_expect(!is_habit(h, u), 0)) {
        u = &j->habits[h->last->next[1]];
        if (!is_habit(h, u))
            return false;
    }
    char *const key = h->p + u->key_at;
    h->last = u;
    key[u->key_len] = '\0';
    *h->w++ = string_word(key - j->view.strings, u->key_len);
    h->p = skip_blanks(h->p + u->n_bytes);
    j->members[u->wanted] = (uint32_t)(h->w - j->tape.data);
    *good = is_new_key(j, h, u->class);
    return true;
}

/* A key and what stands between it and its value; `begin` is where that usually begins. */
TAKES take_key(um_jsonl *j, hand *h, const char *begin)
{
    const um_scan_bytes bytes[2] = {um_scan_load(begin), um_scan_load(begin + UM_SCAN_BYTES)};
    const char *quote = h->p;
    const bool is_of_root = h->at == 1;
    if (*quote != '"' || !take_string(j, h, true))
        return false;
    const um_jsonl_key key = key_at(&j->view, (size_t)(h->w - 1 - j->tape.data));
    const bool has_escapes = h->p != quote + key.len + 2;
    h->p = skip_blanks(h->p);
    if (*h->p != ':')
        return false;
    h->p = skip_blanks(h->p + 1);
    um_jsonl_habit found = {.class = class_of_key(key),
                            .kind = is_of_root ? OF_ROOT : NESTED,
                            .wanted = is_of_root ? find_wanted(j, key) : (uint32_t)j->n_wanted};
    j->members[found.wanted] = (uint32_t)(h->w - j->tape.data);
    if (h->p - begin <= UM_JSONL_HABIT_BYTES && !has_escapes) {
        found.key_at = (uint8_t)(key.text - begin);
        found.key_len = (uint8_t)key.len;
        found.n_bytes = (uint8_t)(h->p - begin);
        const uint8_t number = remember(j, bytes, &found);
        if (number != 0) {
            const int place = h->last->next[0] != 0;
            h->last->next[place] = number;
            h->last = &j->habits[number];
        }
    }
    return is_new_key(j, h, found.class);
}

static inline char *take_digits(char *p, uint64_t *n)
{
    uint64_t eight = 0;
    for (; um_scan_digits(um_scan_word(p), &eight); p += UM_SCAN_WORD)
        *n = *n * 100000000 + eight;
    for (; is_digit(*p); p++)
        *n = *n * 10 + (uint64_t)(*p - '0');
    return p;
}

/* The decimal text .. end, by the C library; false where it is out of range. */
static bool read_real(char *text, char *end, double *value)
{
    const char after = *end;
    char *stop = NULL;
    *end = '\0';
    *value = strtod(text, &stop); /* underflow to 0 or a subnormal is fine */
    *end = after;
    return stop == end && isfinite(*value); /* it stops early where a locale has commas */
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
TAKES open_level(um_jsonl *j, hand *h, level *outer, bool *is_filled)
{
    bool good = true;
    *outer = (level){.at = h->at, .seen = h->seen, .n_keys = h->n_keys, .close = h->close};
    h->at = (size_t)(h->w - j->tape.data);
    h->close = *h->p == '{' ? '}' : ']';
    h->seen = h->n_keys = 0;
    *h->w++ = word_of(*h->p++, 0);
    *is_filled = true;
    if (h->close == '}' && *h->p != ',' && take_usual_key(j, h, &good))
        return good;
    char *const begin = h->p;
    h->p = skip_blanks(begin);
    *is_filled = *h->p != h->close;
    return !*is_filled || h->close == ']' || take_key(j, h, begin);
}

TAKES close_level(um_jsonl *j, hand *h, const level *outer)
{
    const size_t at = h->at, n_keys = h->n_keys;
    *h->w++ = word_of(*h->p++, at);
    j->tape.data[at] |= (uint64_t)(h->w - j->tape.data);
    h->at = outer->at;
    h->seen = outer->seen;
    h->n_keys = outer->n_keys;
    h->close = outer->close;
    return n_keys <= FEW_KEYS || are_keys_new(j, at, n_keys);
}

/* A comma and, in an object, the next key. */
TAKES take_comma(um_jsonl *j, hand *h)
{
    char *const begin = h->p;
    h->p = skip_blanks(begin + 1);
    return h->close == ']' || take_key(j, h, begin);
}

bool um_jsonl_pass(um_jsonl *j, char *text, um_jsonl_end *end)
{
    level outer[UM_JSONL_MAX_DEPTH];
    size_t depth = 0;
    hand h = {.p = skip_blanks(text), .w = j->tape.data + 1, .last = j->habits};
    bool good = *h.p == '{';
    while (good) {
        bool is_due = false; /* a value is, in a container that was opened or goes on */
        if (*h.p != '{' && *h.p != '[') {
            good = take_scalar(j, &h);
        } else {
            good = depth < UM_JSONL_MAX_DEPTH && open_level(j, &h, &outer[depth++], &is_due);
        }
        while (good && !is_due && depth > 0) {
            if (*h.p == ',' && h.close == '}' && take_usual_key(j, &h, &good))
                break;
            h.p = skip_blanks(h.p);
            is_due = *h.p == ',';
            if (is_due)
                good = take_comma(j, &h);
            else
                good = *h.p == h.close && close_level(j, &h, &outer[--depth]);
        }
        if (depth == 0)
            break;
    }
    *end = (um_jsonl_end){.text = skip_blanks(h.p),
                          .n_words = (size_t)(h.w - j->tape.data),
                          .has_high = um_scan_any(h.high & 0x80)};
    return good;
}
