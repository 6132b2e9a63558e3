#include "data/objects.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "data/markup.h"
#include "data/pyliteral.h"

#define MAX_EXACT_INTEGER 9007199254740992.0 /* 2^53: every whole number up to here is a double */

/* Lines ---------------------------------------------------------------------------------------
 */

/* A Python dict that is no JSON shows it at its first quote or prefix. */
static bool is_surely_python(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len && (text[i] == ' ' || text[i] == '{'))
        i++;
    return i < len && text[i] != '"' && text[i] != '}';
}

static um_status take_row(um_reading *r, const um_objects_spec *spec, const um_parsed_row *row,
                          um_error *err)
{
    if (row->bad != NULL)
        return um_reading_reject(r, err, row->line, "%s", row->bad);
    r->made = row->made;
    um_status status = spec->take(spec->context, row->root, row->line, err);
    return status == UM_OK ? UM_OK : um_reading_row_failed(r, status, row->line, err);
}

um_status um_reading_objects(um_reading *r, const um_objects_spec *spec, um_error *err)
{
    um_parsed_spec how = {.noun = "JSON object",
                          .members = spec->members,
                          .n_members = spec->n_members,
                          .make = spec->make};
    um_lines lines = {0};
    um_parsed *parsed = NULL;
    um_parsed_row row;
    bool any = true;
    um_bundle *bundle = r->bundle;
    if (spec->bundle != NULL)
        r->bundle = spec->bundle;
    if (spec->is_python) {
        how.noun = "Python dict";
        how.is_other = is_surely_python;
        how.to_json = um_pyliteral_to_json;
    }
    how.builder = spec->has_ids ? r->builder : NULL;
    how.ids_are_members = spec->ids_are_members;
    how.makers_find_items = spec->makers_find_items;
    memcpy(how.makers, spec->makers, sizeof how.makers);
    um_status status = um_reading_begin(r, spec->entry, spec->has_interactions, &lines, err);
    if (status == UM_OK)
        status = um_parsed_open(&parsed, &how, &lines, err);
    while (status == UM_OK) {
        status = um_parsed_next(parsed, &row, &any, err);
        if (status != UM_OK || !any)
            break;
        status = um_reading_count(r, err);
        if (status == UM_OK)
            status = take_row(r, spec, &row, err);
    }
    um_parsed_close(parsed);
    if (status == UM_OK)
        status = um_reading_end(r, &lines, err);
    um_lines_close(&lines);
    r->bundle = bundle;
    return status;
}

/* Files ---------------------------------------------------------------------------------------
 */

/* Path of a file beside the one that the bundle is; in `path`, emptied first. */
static void beside(const um_bundle *bundle, const char *name, um_str *path)
{
    um_str_clear(path);
    um_str_append_n(path, bundle->path, (size_t)(um_path_base(bundle->path) - bundle->path));
    um_str_append(path, name);
}

/* The same with ".gz" where only that one is there; false when there is neither. */
static bool find_beside(const um_bundle *bundle, const char *name, um_str *path)
{
    beside(bundle, name, path);
    if (um_str_status(path, NULL) != UM_OK || um_path_exists(um_str_text(path)))
        return true;
    um_str_append(path, ".gz");
    return um_path_exists(um_str_text(path));
}

bool um_partner_exists(const um_bundle *bundle, const char *name)
{
    um_str path = UM_STR_INIT;
    bool found = um_bundle_find(bundle, name) != NULL ||
                 (bundle->kind == UM_BUNDLE_FILE && find_beside(bundle, name, &path));
    um_str_dispose(&path);
    return found;
}

um_status um_partner_open(um_partner *p, um_bundle *bundle, const char *name, um_error *err)
{
    um_str path = UM_STR_INIT;
    um_status status = UM_OK;
    *p = (um_partner){.bundle = bundle, .entry = um_bundle_find(bundle, name)};
    if (p->entry == NULL && bundle->kind == UM_BUNDLE_FILE && find_beside(bundle, name, &path)) {
        status = um_str_status(&path, err);
        if (status == UM_OK)
            status = um_bundle_open(&p->owned, um_str_text(&path), err);
        if (status == UM_OK) {
            p->bundle = p->owned;
            p->entry = um_bundle_find(p->owned, name);
        }
    }
    um_str_dispose(&path);
    return status;
}

void um_partner_close(um_partner *p)
{
    um_bundle_free(p->owned);
    *p = (um_partner){0};
}

const um_entry *um_bundle_next_like(const um_bundle *bundle, const char *prefix, const char *suffix,
                                    size_t *next, um_str *part)
{
    size_t before = strlen(prefix), after = strlen(suffix);
    for (; *next < bundle->n_entries; (*next)++) {
        const char *base = um_path_base(bundle->entries[*next].name);
        size_t len = strlen(base) - (um_str_ends(base, ".gz") ? 3 : 0);
        if (len <= before + after || strncmp(base, prefix, before) != 0 ||
            memcmp(base + len - after, suffix, after) != 0)
            continue;
        um_str_clear(part);
        um_str_append_n(part, base + before, len - before - after);
        return &bundle->entries[(*next)++];
    }
    return NULL;
}

void um_name_of_part(um_str *name, const char *prefix, const char *part)
{
    enum { LIMIT = 64 }; /* of data set names */
    um_str_appendf(name, "%s-", prefix);
    for (; *part != '\0' && name->len < LIMIT; part++) {
        char c = *part;
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
        um_str_append_char(name, c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : good ? c : '_');
    }
}

/* Members -------------------------------------------------------------------------------------
 */

/* Absent where the object has no such member. */
static um_jval member(um_jval object, const char *key)
{
    um_jval value = {0};
    return um_jval_get(object, key, &value) ? value : (um_jval){0};
}

bool um_value_id(um_jval v, char number[UM_ID_NUMBER_BYTES], const char **text, size_t *len)
{
    int64_t whole = 0;
    if (um_jval_i64(v, &whole)) {
        *len = (size_t)snprintf(number, UM_ID_NUMBER_BYTES, "%lld", (long long)whole);
        *text = number;
        return true;
    }
    /* Only escapes can give U+0000. */
    return um_jval_str(v, text, len) && *len > 0 &&
           (v.document->is_plain || memchr(*text, '\0', *len) == NULL);
}

bool um_read_id(um_jval value, uint64_t hash, um_row_id *id)
{
    id->hash = hash;
    return um_value_id(value, id->number, &id->text, &id->len);
}

bool um_member_id(um_jval object, const char *key, um_str *out)
{
    char number[UM_ID_NUMBER_BYTES];
    const char *text = NULL;
    size_t len = 0;
    um_str_clear(out);
    if (um_value_id(member(object, key), number, &text, &len))
        um_str_append_n(out, text, len);
    return out->len > 0;
}

static bool append_text(um_str *out, um_jval v)
{
    const char *text;
    size_t len = 0, before = out->len;
    um_jtype type = um_jval_type(v);
    if (um_jval_str(v, &text, &len))
        return um_markup_clean(out, text, len);
    if (type == UM_J_INT || type == UM_J_REAL)
        um_jval_dump(out, v);
    return out->len > before;
}

bool um_value_text(um_jval v, const char *separator, um_str *out)
{
    um_jval element;
    size_t before = out->len;
    bool any = false;
    if (um_jval_type(v) != UM_J_ARRAY)
        return append_text(out, v);
    um_jiter it = um_jval_iter(v);
    while (um_jiter_next(&it, NULL, &element)) {
        size_t length = out->len;
        if (any)
            um_str_append(out, separator);
        if (append_text(out, element)) {
            any = true;
        } else if (out->len > length) {
            out->len = length;
            out->data[length] = '\0';
        }
    }
    return out->len > before;
}

bool um_member_text(um_jval object, const char *key, const char *separator, um_str *out)
{
    return um_value_text(member(object, key), separator, out);
}

bool um_parse_grouped(const char *text, double *out)
{
    char plain[40];
    size_t n = 0;
    for (; *text != '\0' && n + 1 < sizeof plain; text++) {
        if (*text != ',' || n == 0)
            plain[n++] = *text;
    }
    plain[n] = '\0';
    return *text == '\0' && um_parse_f64(plain, out);
}

bool um_value_number(um_jval v, double *out)
{
    const char *text;
    size_t len = 0;
    double number = 0;
    if (um_jval_str(v, &text, &len)) {
        if (strlen(text) != len || !um_parse_grouped(text, &number))
            return false;
    } else if (!um_jval_f64(v, &number)) {
        return false;
    }
    if (!isfinite(number))
        return false;
    *out = number;
    return true;
}

bool um_member_number(um_jval object, const char *key, double *out)
{
    return um_value_number(member(object, key), out);
}

bool um_value_integer(um_jval v, int64_t *out)
{
    double number = 0;
    if (um_jval_i64(v, out))
        return true;
    if (!um_value_number(v, &number) || number != trunc(number) || fabs(number) > MAX_EXACT_INTEGER)
        return false;
    *out = (int64_t)number;
    return true;
}

bool um_member_integer(um_jval object, const char *key, int64_t *out)
{
    return um_value_integer(member(object, key), out);
}

bool um_member_bool(um_jval object, const char *key, bool *out)
{
    um_jval v;
    return um_jval_get(object, key, &v) && um_jval_bool(v, out);
}

/* Cells ---------------------------------------------------------------------------------------
 */

um_status um_put_text(um_reading *r, uint32_t item, const char *column, const um_str *text,
                      um_error *err)
{
    um_status status = um_str_status(text, err);
    if (status != UM_OK)
        return status;
    return um_dataset_builder_set_item(r->builder, item, column, UM_COLUMN_DESCRIPTION,
                                       text->len > 0 ? um_str_text(text) : NULL, err);
}

um_status um_put_number(um_reading *r, uint32_t item, const char *column, bool has, double value,
                        um_error *err)
{
    um_str text = UM_STR_INIT;
    if (has)
        um_str_append_number(&text, value);
    um_status status = um_str_status(&text, err);
    if (status == UM_OK)
        status = um_dataset_builder_set_item(r->builder, item, column, UM_COLUMN_FEATURE,
                                             has ? um_str_text(&text) : NULL, err);
    um_str_dispose(&text);
    return status;
}

um_status um_put_behaviour_text(um_reading *r, const char *series, const char *text, size_t len,
                                um_str *scratch, um_error *err)
{
    if (len == 0)
        return UM_OK;
    um_str_clear(scratch);
    um_str_append_json_n(scratch, text, len);
    um_status status = um_str_status(scratch, err);
    if (status == UM_OK)
        status = um_builder_text_n(r->builder, series, scratch->data, scratch->len, err);
    return status;
}
