#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

#define JSON_MAX_DEPTH 64

/* jansson allows 2,048 levels; ours are counted before it sees the text. Columns are bytes. */
static um_status check_depth(const char *text, size_t len, const char *where, um_error *err)
{
    size_t line = 1, column = 0, depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        column++;
        if (c == '\n') {
            line++;
            column = 0;
        }
        if (in_string) {
            if (c == '\\') {
                i++;
                column++;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_MAX_DEPTH)
                return um_fail(err, UM_ERR_LIMIT,
                               "%s: line %zu column %zu: JSON is nested deeper than %d levels",
                               where, line, column, JSON_MAX_DEPTH);
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return UM_OK;
}

um_status um_json_parse(json_t **out, const char *text, size_t len, const char *where,
                        um_error *err)
{
    um_status status = check_depth(text, len, where, err);
    if (status != UM_OK)
        return status;
    json_error_t problem;
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &problem);
    if (value == NULL) {
        if (json_error_code(&problem) == json_error_out_of_memory)
            return um_fail_memory(err, where);
        return um_fail(err, UM_ERR_INPUT, "%s: line %d column %d: %s", where, problem.line,
                       problem.column, problem.text);
    }
    *out = value;
    return UM_OK;
}

um_status um_json_read(json_t **out, const char *path, size_t max_bytes, um_error *err)
{
    char *text = NULL;
    size_t len = 0;
    um_status status = um_file_read(&text, &len, path, max_bytes, err);
    if (status == UM_OK)
        status = um_json_parse(out, text, len, path, err);
    free(text);
    return status;
}

static const char *kind_name(const json_t *value)
{
    if (value == NULL)
        return "nothing";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "an unknown value";
}

static um_status fail_kind(um_error *err, const char *where, const char *key, const char *wanted,
                           const json_t *object)
{
    if (!json_is_object(object))
        return um_fail(err, UM_ERR_INPUT, "%s: found %s, need an object with key \"%s\"", where,
                       kind_name(object), key);
    return um_fail(err, UM_ERR_INPUT, "%s: key \"%s\": found %s, need %s", where, key,
                   kind_name(json_object_get(object, key)), wanted);
}

um_status um_json_get_str(const char **out, const json_t *object, const char *key,
                          const char *where, um_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value))
        return fail_kind(err, where, key, "a string", object);
    *out = json_string_value(value);
    return UM_OK;
}

um_status um_json_get_i64(int64_t *out, const json_t *object, const char *key, const char *where,
                          um_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value))
        return fail_kind(err, where, key, "an integer", object);
    *out = json_integer_value(value);
    return UM_OK;
}

/* The member, or NULL where the default applies: absent or null. */
static const json_t *get_set(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

um_status um_json_get_i64_or(int64_t *out, const json_t *object, const char *key, int64_t fallback,
                             const char *where, um_error *err)
{
    const json_t *value = get_set(object, key);
    if (!json_is_object(object) || (value != NULL && !json_is_integer(value)))
        return fail_kind(err, where, key, "an integer", object);
    *out = value == NULL ? fallback : json_integer_value(value);
    return UM_OK;
}

um_status um_json_get_f64_or(double *out, const json_t *object, const char *key, double fallback,
                             const char *where, um_error *err)
{
    const json_t *value = get_set(object, key);
    if (!json_is_object(object) || (value != NULL && !json_is_number(value)))
        return fail_kind(err, where, key, "a number", object);
    *out = value == NULL ? fallback : json_number_value(value);
    return UM_OK;
}

um_status um_json_get_bool_or(bool *out, const json_t *object, const char *key, bool fallback,
                              const char *where, um_error *err)
{
    const json_t *value = get_set(object, key);
    if (!json_is_object(object) || (value != NULL && !json_is_boolean(value)))
        return fail_kind(err, where, key, "true or false", object);
    *out = value == NULL ? fallback : json_is_true(value);
    return UM_OK;
}

static void dump_object(um_str *s, const json_t *object)
{
    const char *key;
    json_t *member;
    const char *comma = "";
    um_str_append_char(s, '{');
    json_object_foreach((json_t *)(uintptr_t)object, key, member)
    {
        um_str_append(s, comma);
        um_str_append_json(s, key);
        um_str_append_char(s, ':');
        um_json_dump(s, member);
        comma = ",";
    }
    um_str_append_char(s, '}');
}

json_t *um_json_rounded(double value)
{
    char text[32];
    double rounded;
    if (!isfinite(value))
        return json_null();
    snprintf(text, sizeof text, "%.6g", value);
    return json_real(um_parse_f64(text, &rounded) ? rounded : value);
}

void um_json_dump(um_str *s, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        dump_object(s, value);
        break;
    case JSON_ARRAY:
        um_str_append_char(s, '[');
        for (size_t i = 0; i < json_array_size(value); i++) {
            if (i > 0)
                um_str_append_char(s, ',');
            um_json_dump(s, json_array_get(value, i));
        }
        um_str_append_char(s, ']');
        break;
    case JSON_STRING:
        um_str_append_json(s, json_string_value(value));
        break;
    case JSON_INTEGER:
        um_str_appendf(s, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        break;
    case JSON_REAL:
        um_str_append_number(s, json_real_value(value));
        break;
    case JSON_TRUE:
        um_str_append(s, "true");
        break;
    case JSON_FALSE:
        um_str_append(s, "false");
        break;
    case JSON_NULL:
        um_str_append(s, "null");
        break;
    }
}
