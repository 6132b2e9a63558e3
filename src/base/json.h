/*
 * json.h - strict JSON on top of jansson: duplicate keys, trailing text, bad UTF-8, depth over 64
 * and numbers out of range are errors that name line and column.
 */
#ifndef UM_BASE_JSON_H
#define UM_BASE_JSON_H

#include "base/str.h"
#include "mirrorer/status.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* *out is yours (json_decref). `where` is put before the message ("file.jsonl:12"). */
um_status um_json_parse(json_t **out, const char *text, size_t len, const char *where,
                        um_error *err) UM_CHECKED;
um_status um_json_read(json_t **out, const char *path, size_t max_bytes, um_error *err) UM_CHECKED;

/* Typed members of an object: UM_ERR_INPUT naming `where` and the key when absent or of another
 * type. Strings are borrowed from the object. The _or forms give the default when absent or null.
 */
um_status um_json_get_str(const char **out, const json_t *object, const char *key,
                          const char *where, um_error *err) UM_CHECKED;
um_status um_json_get_i64(int64_t *out, const json_t *object, const char *key, const char *where,
                          um_error *err) UM_CHECKED;
um_status um_json_get_i64_or(int64_t *out, const json_t *object, const char *key, int64_t fallback,
                             const char *where, um_error *err) UM_CHECKED;
um_status um_json_get_f64_or(double *out, const json_t *object, const char *key, double fallback,
                             const char *where, um_error *err) UM_CHECKED;
um_status um_json_get_bool_or(bool *out, const json_t *object, const char *key, bool fallback,
                              const char *where, um_error *err) UM_CHECKED;

/* A number of a report: six significant digits; null where it is not finite. Yours. */
json_t *um_json_rounded(double value);

/* Compact, keys in insertion order, appended to s; the same value always gives the same bytes. */
void um_json_dump(um_str *s, const json_t *value);

#endif
