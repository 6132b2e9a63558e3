/*
 * jsonl.h - one JSON object a line, read fast.
 *
 * For reading logs, where jansson's tree of heap nodes would cost more than the file. Values are
 * two words, valid until the next parse of the same parser. A parser serves one thread.
 */
#ifndef UM_BASE_JSONL_H
#define UM_BASE_JSONL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"
#include "mirrorer/status.h"

#define UM_JSONL_MAX_DEPTH 64

typedef struct um_jsonl um_jsonl;

/*
 * What a text was parsed into; only the functions below look inside. Values are words of a tape one
 * after another, word 1 the object. The highest byte of a word is the kind of value, the rest is
 * its payload:
 *
 *     { [      the word after the matching } or ]
 *     } ]      the word that it ends; members of an object are key, value, key, value, ...
 *     "        length and, in the low UM_JWORD_BITS, place of the text; a NUL comes after that
 *     l d      the next word is an int64_t, a double
 *     t f n    true, false, null
 */
typedef struct um_jdoc {
    const uint64_t *tape;
    const char *strings;
    const uint32_t *members; /* words of the wanted members of the object, 0 = absent */
    size_t n_words, n_bytes; /* of the first two, for whoever copies them: copies are as good */
    bool is_plain;           /* no string was written with an escape; none needs one in JSON */
} um_jdoc;
#define UM_JWORD_BITS 28

typedef struct um_jval {
    const um_jdoc *document; /* NULL: no value; reads as null of length 0 */
    size_t at;
} um_jval;

typedef enum um_jtype {
    UM_J_NULL,
    UM_J_BOOL,
    UM_J_INT,  /* fits int64_t */
    UM_J_REAL, /* any other number */
    UM_J_STRING,
    UM_J_ARRAY,
    UM_J_OBJECT
} um_jtype;

um_status um_jsonl_new(um_jsonl **out, um_error *err) UM_CHECKED;
void um_jsonl_free(um_jsonl *parser);
/*
 * Parses text[0..len), which must be exactly one object. UM_ERR_INPUT says what is wrong and at
 * which byte where that is known: not JSON, not UTF-8, lone surrogate, number out of range,
 * duplicate key in any object, U+0000 in a key, deeper than UM_JSONL_MAX_DEPTH, text after the
 * object. Integers past int64_t are out of range.
 */
um_status um_jsonl_parse(um_jsonl *parser, const char *text, size_t len, um_jval *root,
                         um_error *err) UM_CHECKED;
/*
 * The same, quicker, of a text that is overwritten while it holds the values: text[len] too, and
 * UM_JSONL_PADDING bytes from there on may be read. A text that is refused is as it was, but for
 * text[len].
 */
#define UM_JSONL_PADDING 64
um_status um_jsonl_parse_in_place(um_jsonl *parser, char *text, size_t len, um_jval *root,
                                  um_error *err) UM_CHECKED;
/*
 * The members that objects are read for, at most UM_JSONL_MAX_WANTED, one without a name being
 * always absent: um_jval_member gives them without a search. Their names must stay.
 */
#define UM_JSONL_MAX_WANTED 16
typedef struct um_jkey {
    const char *name;
    size_t len;
} um_jkey;
#define UM_JKEY(text)                                                                              \
    {                                                                                              \
        (text), sizeof(text) - 1                                                                   \
    }
void um_jsonl_want(um_jsonl *parser, const um_jkey *keys, size_t n);
static inline um_jval um_jval_member(um_jval root, size_t i); /* no document: absent */
/* Whether any string of the text parsed last holds U+0000. */
bool um_jsonl_has_nul(const um_jsonl *parser);

static inline um_jtype um_jval_type(um_jval v);
bool um_jval_get(um_jval object, const char *key, um_jval *out); /* false when absent */
/* Each is false when v is of another type. Strings are NUL-terminated; one that holds U+0000 is
 * longer than its first NUL. f64 takes integers too. */
static inline bool um_jval_str(um_jval v, const char **text, size_t *len);
static inline bool um_jval_i64(um_jval v, int64_t *out);
static inline bool um_jval_f64(um_jval v, double *out);
static inline bool um_jval_bool(um_jval v, bool *out);
static inline size_t um_jval_len(um_jval v); /* elements or members; 0 for other types */

/* Elements of an array, or members of an object in file order (key NULL where it is an array). */
typedef struct um_jiter {
    um_jval container;
    size_t at, end;
    size_t key_len; /* of the member in hand */
} um_jiter;
static inline um_jiter um_jval_iter(um_jval container);
static inline bool um_jiter_next(um_jiter *it, const char **key, um_jval *value);

/* Appends the value as compact JSON text, as um_json_dump (base/json.h) writes it. */
void um_jval_dump(um_str *out, um_jval v);

/* Inline, because a row takes dozens of them ----------------------------------------------------
 */

static inline char um_jdoc_kind(um_jval v)
{
    return v.document != NULL ? (char)(v.document->tape[v.at] >> 56) : 'n';
}

/* The word after the value. */
static inline size_t um_jdoc_after(const um_jdoc *d, size_t at)
{
    char kind = (char)(d->tape[at] >> 56);
    if (kind == '{' || kind == '[')
        return (uint32_t)d->tape[at];
    return kind == 'l' || kind == 'd' ? at + 2 : at + 1;
}

static inline const char *um_jdoc_string(const um_jdoc *d, size_t at, size_t *len)
{
    const uint64_t mask = ((uint64_t)1 << UM_JWORD_BITS) - 1;
    *len = d->tape[at] >> UM_JWORD_BITS & mask;
    return d->strings + (d->tape[at] & mask);
}

static inline um_jval um_jval_member(um_jval root, size_t i)
{
    const size_t at = root.document->members[i];
    return (um_jval){at > 0 ? root.document : NULL, at};
}

static inline um_jtype um_jval_type(um_jval v)
{
    switch (um_jdoc_kind(v)) {
    case '{':
        return UM_J_OBJECT;
    case '[':
        return UM_J_ARRAY;
    case '"':
        return UM_J_STRING;
    case 'l':
        return UM_J_INT;
    case 'd':
        return UM_J_REAL;
    case 't':
    case 'f':
        return UM_J_BOOL;
    default:
        return UM_J_NULL;
    }
}

static inline bool um_jval_str(um_jval v, const char **text, size_t *len)
{
    if (um_jdoc_kind(v) != '"')
        return false;
    *text = um_jdoc_string(v.document, v.at, len);
    return true;
}

static inline bool um_jval_i64(um_jval v, int64_t *out)
{
    if (um_jdoc_kind(v) != 'l')
        return false;
    memcpy(out, &v.document->tape[v.at + 1], sizeof *out);
    return true;
}

static inline bool um_jval_f64(um_jval v, double *out)
{
    int64_t whole = 0;
    if (um_jval_i64(v, &whole)) {
        *out = (double)whole;
        return true;
    }
    if (um_jdoc_kind(v) != 'd')
        return false;
    memcpy(out, &v.document->tape[v.at + 1], sizeof *out);
    return true;
}

static inline bool um_jval_bool(um_jval v, bool *out)
{
    char kind = um_jdoc_kind(v);
    *out = kind == 't' || (kind != 'f' && *out);
    return kind == 't' || kind == 'f';
}

static inline um_jiter um_jval_iter(um_jval container)
{
    um_jiter it = {container, 0, 0, 0};
    char kind = um_jdoc_kind(container);
    if (kind == '{' || kind == '[') {
        it.at = container.at + 1;
        it.end = um_jdoc_after(container.document, container.at) - 1;
    }
    return it;
}

static inline bool um_jiter_next(um_jiter *it, const char **key, um_jval *value)
{
    const char *name = NULL;
    if (it->at >= it->end)
        return false;
    if (um_jdoc_kind(it->container) == '{')
        name = um_jdoc_string(it->container.document, it->at++, &it->key_len);
    if (key != NULL)
        *key = name;
    value->document = it->container.document;
    value->at = it->at;
    it->at = um_jdoc_after(it->container.document, it->at);
    return true;
}

static inline size_t um_jval_len(um_jval v)
{
    um_jiter it = um_jval_iter(v);
    um_jval element;
    size_t n = 0;
    while (um_jiter_next(&it, NULL, &element))
        n++;
    return n;
}

#endif
