/*
 * canonical.c - reading the field's three JSONL files (docs/FORMATS.md).
 *
 * A row is checked as a whole before anything of it enters the builder, so that a rejected row
 * leaves no trace.
 */
#include "data/canonical.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "data/ingest.h"

#define MAX_EXACT_INTEGER ((json_int_t)1 << 53) /* every integer up to here is a double */
#define MAX_MEMBERS       UM_BUILDER_MAX_COLUMNS
#define MAX_IMPRESSIONS   100000

typedef struct canonical {
    um_reading *reading;
    um_dataset_builder *builder;
    uint64_t line;
    UM_VEC(uint32_t) shown;   /* impression list of the row in hand */
    uint64_t n_lists;         /* impression lists looked at so far */
    UM_VEC(uint64_t) in_list; /* [item] n_lists when a list last had it */
    um_str text;
} canonical;

/*
 * Each of the functions below that checks part of a row returns NULL when it is good, else the
 * reason why it is not, in c->text or static.
 */
static const char *reason(canonical *c, const char *format, ...) UM_PRINTF(2, 3);

static const char *reason(canonical *c, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    um_str_clear(&c->text);
    um_str_append(&c->text, text);
    return um_str_text(&c->text);
}

static const char *check_id(canonical *c, const json_t *object, const char *key, const char **id)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL)
        return reason(c, "%s is missing", key);
    if (!json_is_string(value))
        return reason(c, "%s is not a string", key);
    *id = json_string_value(value);
    return (*id)[0] == '\0' ? reason(c, "%s is empty", key) : NULL;
}

/* The object under key, NULL when absent or null. */
static const char *check_object(canonical *c, const json_t *object, const char *key,
                                const json_t **out)
{
    const json_t *value = json_object_get(object, key);
    *out = NULL;
    if (value == NULL || json_is_null(value))
        return NULL;
    if (!json_is_object(value))
        return reason(c, "%s is not an object", key);
    if (json_object_size(value) > MAX_MEMBERS)
        return reason(c, "%s has %zu members, limit %d", key, json_object_size(value), MAX_MEMBERS);
    *out = value;
    return NULL;
}

static const char *check_descriptions(canonical *c, const json_t *object, const char *key,
                                      const json_t **out)
{
    const char *bad = check_object(c, object, key, out);
    const char *name;
    json_t *value;
    if (bad != NULL)
        return bad;
    json_object_foreach((json_t *)(uintptr_t)*out, name, value)
    {
        if (!json_is_string(value) && !json_is_number(value) && !json_is_null(value))
            return reason(c, "%s: '%.60s' is neither text nor a number", key, name);
    }
    return NULL;
}

typedef um_status (*set_fn)(um_dataset_builder *b, uint32_t row, const char *column,
                            um_column_kind kind, const char *value, um_error *err);

/* Descriptions are text, numbers among them as they are written; features stay JSON. */
static um_status set_cells(canonical *c, set_fn set, uint32_t row, const json_t *cells,
                           um_column_kind kind, um_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)cells, name, value)
    {
        if (kind == UM_COLUMN_FEATURE && set == um_dataset_builder_set_item &&
            strcmp(name, UM_CANONICAL_RELEASE) == 0)
            continue;
        const char *cell = NULL;
        um_str_clear(&c->text);
        if (kind == UM_COLUMN_DESCRIPTION && json_is_string(value)) {
            cell = json_string_value(value);
        } else if (!json_is_null(value)) {
            um_json_dump(&c->text, value);
            cell = um_str_text(&c->text);
        }
        um_status status = um_str_status(&c->text, err);
        if (status == UM_OK)
            status = set(c->builder, row, name, kind, cell, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

typedef um_status (*take_fn)(canonical *c, const json_t *object, um_error *err);

static um_status take_user(canonical *c, const json_t *object, um_error *err)
{
    const char *id = NULL;
    const json_t *descriptions = NULL, *features = NULL;
    uint32_t user = 0;
    bool added = false;
    const char *bad = check_id(c, object, "user_id", &id);
    if (bad == NULL)
        bad = check_descriptions(c, object, "user_description", &descriptions);
    if (bad == NULL)
        bad = check_object(c, object, "user_features", &features);
    if (bad != NULL)
        return um_reading_reject(c->reading, err, c->line, "%s", bad);
    um_status status = um_dataset_builder_user(c->builder, id, &user, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(c->reading, err, c->line, "user '%.60s' was described before", id);
    if (status == UM_OK)
        status = set_cells(c, um_dataset_builder_set_user, user, descriptions,
                           UM_COLUMN_DESCRIPTION, err);
    if (status == UM_OK)
        status = set_cells(c, um_dataset_builder_set_user, user, features, UM_COLUMN_FEATURE, err);
    return status;
}

/* The release time in the features, if any. */
static const char *check_release(canonical *c, const json_t *features, bool *has, int64_t *time_s)
{
    const json_t *value = json_object_get(features, UM_CANONICAL_RELEASE);
    *has = value != NULL && !json_is_null(value);
    if (!*has)
        return NULL;
    if (!json_is_string(value) || !um_time_parse(json_string_value(value), time_s))
        return reason(c, "%s is not \"YYYY-MM-DD HH:MM:SS\"", UM_CANONICAL_RELEASE);
    return NULL;
}

static um_status take_item(canonical *c, const json_t *object, um_error *err)
{
    const char *id = NULL;
    const json_t *descriptions = NULL, *features = NULL;
    uint32_t item = 0;
    bool added = false, has_release = false;
    int64_t release_s = 0;
    const char *bad = check_id(c, object, "item_id", &id);
    if (bad == NULL)
        bad = check_descriptions(c, object, "item_description", &descriptions);
    if (bad == NULL)
        bad = check_object(c, object, "item_features", &features);
    if (bad == NULL)
        bad = check_release(c, features, &has_release, &release_s);
    if (bad != NULL)
        return um_reading_reject(c->reading, err, c->line, "%s", bad);
    um_status status = um_dataset_builder_item(c->builder, id, &item, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(c->reading, err, c->line, "item '%.60s' was described before", id);
    if (status == UM_OK)
        status = set_cells(c, um_dataset_builder_set_item, item, descriptions,
                           UM_COLUMN_DESCRIPTION, err);
    if (status == UM_OK)
        status = set_cells(c, um_dataset_builder_set_item, item, features, UM_COLUMN_FEATURE, err);
    if (status == UM_OK && has_release)
        status = um_dataset_builder_release(c->builder, item, release_s, err);
    return status;
}

/* Notes that the list in hand has the item; *again when it had it already. */
static bool mark_shown(canonical *c, uint32_t item, bool *again)
{
    while (c->in_list.len <= item) {
        if (!um_vec_push(&c->in_list, 0))
            return false;
    }
    *again = c->in_list.data[item] == c->n_lists;
    c->in_list.data[item] = c->n_lists;
    return true;
}

/* The list shown, in c->shown, and the position of the chosen item in it. */
static const char *check_impressions(canonical *c, const json_t *behaviour, uint32_t chosen,
                                     json_int_t *position)
{
    const json_t *list = json_object_get(behaviour, UM_CANONICAL_SHOWN);
    const json_t *place = json_object_get(behaviour, UM_CANONICAL_CHOSEN);
    c->shown.len = 0;
    *position = -1;
    if (list != NULL && !json_is_null(list) && !json_is_array(list))
        return UM_CANONICAL_SHOWN " is not a list";
    if (place != NULL && !json_is_null(place) && !json_is_integer(place))
        return UM_CANONICAL_CHOSEN " is not an integer";
    size_t n = json_array_size(list);
    if (n > MAX_IMPRESSIONS)
        return reason(c, "%s has %zu items, limit %d", UM_CANONICAL_SHOWN, n, MAX_IMPRESSIONS);
    if (!um_vec_reserve(&c->shown, n))
        return "out of memory for " UM_CANONICAL_SHOWN;
    c->n_lists++;
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(list, i);
        uint32_t item = 0;
        bool again = false;
        if (!json_is_string(id))
            return reason(c, "%s: item %zu is not a string", UM_CANONICAL_SHOWN, i);
        if (!um_builder_find_item(c->builder, json_string_value(id), &item))
            return reason(c, "%s: item '%.60s' is not described", UM_CANONICAL_SHOWN,
                          json_string_value(id));
        if (!mark_shown(c, item, &again))
            return "out of memory for " UM_CANONICAL_SHOWN;
        if (again)
            return reason(c, "%s: item '%.60s' is listed twice", UM_CANONICAL_SHOWN,
                          json_string_value(id));
        if (item == chosen)
            *position = (json_int_t)i;
        c->shown.data[c->shown.len++] = item;
    }
    json_int_t given = json_is_integer(place) ? json_integer_value(place) : *position;
    if (n == 0 && given >= 0)
        return UM_CANONICAL_CHOSEN " without an " UM_CANONICAL_SHOWN;
    if (n == 0)
        return NULL;
    if (given < 0 || given >= (json_int_t)n || c->shown.data[given] != chosen)
        return reason(c, "%s: item_id is not at position %lld of %zu", UM_CANONICAL_SHOWN,
                      (long long)given, n);
    *position = given;
    return NULL;
}

static um_status set_behaviour(canonical *c, const json_t *behaviour, um_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)behaviour, name, value)
    {
        um_status status = UM_OK;
        if (strcmp(name, UM_CANONICAL_SHOWN) == 0 || strcmp(name, UM_CANONICAL_CHOSEN) == 0)
            continue;
        if (json_is_null(value)) {
            status = um_builder_declare_series(c->builder, name, err);
        } else if (json_is_real(value) ||
                   (json_is_integer(value) && json_integer_value(value) <= MAX_EXACT_INTEGER &&
                    json_integer_value(value) >= -MAX_EXACT_INTEGER)) {
            status = um_dataset_builder_number(c->builder, name, json_number_value(value), err);
        } else {
            um_str_clear(&c->text);
            um_json_dump(&c->text, value);
            status = um_str_status(&c->text, err);
            if (status == UM_OK)
                status = um_dataset_builder_text(c->builder, name, um_str_text(&c->text), err);
        }
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

static um_status take_interaction(canonical *c, const json_t *object, um_error *err)
{
    const char *user_id = NULL, *item_id = NULL, *time = NULL;
    const json_t *behaviour = NULL;
    uint32_t user = 0, item = 0;
    int64_t time_s = 0;
    json_int_t position = -1;
    const char *bad = check_id(c, object, "user_id", &user_id);
    if (bad == NULL)
        bad = check_id(c, object, "item_id", &item_id);
    if (bad == NULL)
        bad = check_id(c, object, "timestamp", &time);
    if (bad == NULL && !um_time_parse(time, &time_s))
        bad = reason(c, "timestamp '%.40s' is not \"YYYY-MM-DD HH:MM:SS\"", time);
    if (bad == NULL && !um_builder_find_user(c->builder, user_id, &user))
        bad = reason(c, "user '%.60s' is not described", user_id);
    if (bad == NULL && !um_builder_find_item(c->builder, item_id, &item))
        bad = reason(c, "item '%.60s' is not described", item_id);
    if (bad == NULL)
        bad = check_object(c, object, "behavior_features", &behaviour);
    if (bad == NULL)
        bad = check_impressions(c, behaviour, item, &position);
    if (bad != NULL)
        return um_reading_reject(c->reading, err, c->line, "%s", bad);
    um_status status = um_dataset_builder_interaction(c->builder, user, item, time_s, err);
    if (status == UM_OK)
        status = um_builder_set_line(c->builder, c->line, err);
    if (status == UM_OK)
        status = um_dataset_builder_impressions(c->builder, c->shown.data, c->shown.len,
                                                (int32_t)position, err);
    if (status == UM_OK)
        status = set_behaviour(c, behaviour, err);
    return status;
}

/* Parses one line, then takes or rejects it. */
static um_status take_line(canonical *c, const um_line *line, take_fn take, um_error *err)
{
    json_t *object = NULL;
    um_error why = {0};
    bool ascii = true;
    if (line->is_long)
        return um_reading_reject(c->reading, err, c->line,
                                 "line longer than the limit of %zu bytes", UM_LINES_MAX_BYTES);
    if (um_line_has_nul(line->text, line->len, &ascii))
        return um_reading_reject(c->reading, err, c->line, "NUL byte in the line");
    errno = 0;
    um_status status = um_json_parse(&object, line->text, line->len, "row", &why);
    /* jansson reports some failed allocations as errors of syntax. */
    if (status == UM_ERR_MEMORY || (status != UM_OK && errno == ENOMEM))
        return um_fail_memory(err, "a row");
    if (status != UM_OK) {
        /* "row: line 1 column 9: ...": the line is known better here. */
        const char *column = strstr(why.text, "column");
        return um_reading_reject(c->reading, err, c->line, "not one whole JSON object: %s%s",
                                 column != NULL ? column : why.text,
                                 line->is_whole ? ""
                                                : " (the last line has no end: file cut short?)");
    }
    status = json_is_object(object)
                 ? take(c, object, err)
                 : um_reading_reject(c->reading, err, c->line, "the line is not a JSON object");
    json_decref(object);
    return status == UM_OK ? UM_OK : um_reading_row_failed(c->reading, status, c->line, err);
}

static um_status read_file(canonical *c, const um_entry *entry, take_fn take, um_error *err)
{
    um_lines lines = {0};
    um_line line;
    um_status status = um_reading_begin(c->reading, entry, take == take_interaction, &lines, err);
    while (status == UM_OK) {
        status = um_lines_next(&lines, &line, err);
        if (status != UM_OK || line.text == NULL)
            break;
        if (line.len == 0 && !line.is_long)
            continue;
        c->line = lines.line;
        status = um_reading_count(c->reading, err);
        if (status == UM_OK)
            status = take_line(c, &line, take, err);
    }
    if (status == UM_OK)
        status = um_reading_end(c->reading, &lines, err);
    um_lines_close(&lines);
    return status;
}

/* Entries whose base names end like this, with or without ".gz"; *prefix_len of the last. */
static size_t find_suffix(const um_bundle *bundle, const char *suffix, const um_entry **entry,
                          size_t *prefix_len)
{
    size_t found = 0;
    for (size_t i = 0; i < bundle->n_entries; i++) {
        const char *base = um_path_base(bundle->entries[i].name);
        size_t len = strlen(base), n = strlen(suffix);
        if (um_str_ends(base, ".gz"))
            len -= 3;
        if (len <= n || memcmp(base + len - n, suffix, n) != 0)
            continue;
        *entry = &bundle->entries[i];
        *prefix_len = len - n;
        found++;
    }
    return found;
}

static bool detect(const um_bundle *bundle)
{
    const um_entry *entry;
    size_t n;
    return find_suffix(bundle, UM_CANONICAL_USERS, &entry, &n) > 0 &&
           find_suffix(bundle, UM_CANONICAL_ITEMS, &entry, &n) > 0 &&
           find_suffix(bundle, UM_CANONICAL_LOG, &entry, &n) > 0;
}

/* The three files, which must be the only ones and share their prefix. */
static um_status locate(const um_bundle *bundle, const um_entry *entries[3], size_t *prefix_len,
                        um_error *err)
{
    static const char *const suffixes[3] = {UM_CANONICAL_USERS, UM_CANONICAL_ITEMS,
                                            UM_CANONICAL_LOG};
    for (int i = 0; i < 3; i++) {
        size_t n = 0, found = find_suffix(bundle, suffixes[i], &entries[i], &n);
        if (found != 1)
            return um_fail(err, UM_ERR_INPUT,
                           "%s: %zu files end with '%s', need one; give a folder with one data set",
                           bundle->path, found, suffixes[i]);
        if (i > 0 && (n != *prefix_len || memcmp(um_path_base(entries[i]->name),
                                                 um_path_base(entries[0]->name), n) != 0))
            return um_fail(err, UM_ERR_INPUT, "%s: %s and %s are of different data sets",
                           bundle->path, entries[0]->name, entries[i]->name);
        *prefix_len = n;
    }
    return UM_OK;
}

static um_status make_name(const um_bundle *bundle, um_str *name, um_error *err)
{
    const um_entry *entries[3];
    size_t n = 0;
    um_status status = locate(bundle, entries, &n, err);
    if (status == UM_OK)
        um_str_append_n(name, um_path_base(entries[0]->name), n);
    return status;
}

static um_status read_canonical(um_reading *r, um_error *err)
{
    static const take_fn takes[3] = {take_user, take_item, take_interaction};
    canonical c = {.reading = r, .builder = r->builder};
    const um_entry *entries[3];
    size_t n = 0;
    um_status status = locate(r->bundle, entries, &n, err);
    for (int i = 0; i < 3 && status == UM_OK; i++)
        status = read_file(&c, entries[i], takes[i], err);
    um_vec_dispose(&c.shown);
    um_vec_dispose(&c.in_list);
    um_str_dispose(&c.text);
    return status;
}

const um_adapter um_adapter_canonical = {
    .name = "canonical",
    .files = "*" UM_CANONICAL_USERS ", *" UM_CANONICAL_ITEMS ", *" UM_CANONICAL_LOG,
    .detect = detect,
    .read = read_canonical,
    .make_name = make_name,
};
