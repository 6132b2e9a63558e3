/*
 * jsonl.h - one JSON object a line, read fast (simdjson behind a C face).
 *
 * For reading logs, where jansson's tree of heap nodes would cost more than the file. Values are
 * two words, valid until the next parse of the same parser. A parser serves one thread.
 */
#ifndef UM_BASE_JSONL_H
#define UM_BASE_JSONL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UM_JSONL_MAX_DEPTH 64

typedef struct um_jsonl um_jsonl;

typedef struct um_jval {
    const void *document;
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
 * duplicate key in any object, deeper than UM_JSONL_MAX_DEPTH, text after the object.
 */
um_status um_jsonl_parse(um_jsonl *parser, const char *text, size_t len, um_jval *root,
                         um_error *err) UM_CHECKED;

um_jtype um_jval_type(um_jval v);
bool um_jval_get(um_jval object, const char *key, um_jval *out); /* false when absent */
/* Each is false when v is of another type. Strings are NUL-terminated; one that holds U+0000 is
 * longer than its first NUL. f64 takes integers too. */
bool um_jval_str(um_jval v, const char **text, size_t *len);
bool um_jval_i64(um_jval v, int64_t *out);
bool um_jval_f64(um_jval v, double *out);
bool um_jval_bool(um_jval v, bool *out);
size_t um_jval_len(um_jval v); /* elements or members; 0 for other types */

/* Elements of an array, or members of an object in file order (key NULL where it is an array). */
typedef struct um_jiter {
    um_jval container;
    size_t at, end;
} um_jiter;
um_jiter um_jval_iter(um_jval container);
bool um_jiter_next(um_jiter *it, const char **key, um_jval *value);

/* Appends the value as compact JSON text, as um_json_dump (base/json.h) writes it. */
void um_jval_dump(um_str *out, um_jval v);

#ifdef __cplusplus
}
#endif
#endif
