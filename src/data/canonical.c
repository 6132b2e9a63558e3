/*
 * canonical.c - reading the field's three JSONL files (docs/FORMATS.md).
 *
 * A row is checked as a whole before anything of it enters the builder, so that a rejected row
 * leaves no trace.
 */
#include "data/canonical.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "data/ingest.h"
#include "data/parsed.h"
#include "data/text_maker.h"

#define MAX_EXACT_INTEGER ((int64_t)1 << 53) /* every integer up to here is a double */
#define MAX_MEMBERS       UM_BUILDER_MAX_COLUMNS
#define MAX_IMPRESSIONS   100000
#define FEW_SHOWN         16
#define NO_SERIES         UINT32_MAX

/* Names of behaviour columns that a thread has met. */
typedef struct log_names {
    UM_VEC(um_jkey) names;
    um_arena memory;
    size_t next; /* where the next one is looked for first */
} log_names;

typedef struct canonical {
    unsigned number; /* of the thread */
    um_reading *reading;
    um_dataset_builder *builder;
    uint64_t line;
    UM_VEC(uint32_t) shown;   /* impression list of the row in hand */
    uint64_t n_lists;         /* impression lists looked at so far */
    UM_VEC(uint64_t) in_list; /* [item] n_lists when a list last had it */
    um_str text;
    log_names names;
    UM_VEC(uint32_t) series; /* [log_cell.name] column in the builder, NO_SERIES: not asked yet */
    um_text_maker texts;     /* last: it keeps the next thread's apart */
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

static const char *check_id(canonical *c, um_jval value, const char *key, const char **id,
                            size_t *len)
{
    if (value.document == NULL)
        return reason(c, "%s is missing", key);
    if (!um_jval_str(value, id, len))
        return reason(c, "%s is not a string", key);
    return *len == 0 ? reason(c, "%s is empty", key) : NULL;
}

/* An object of n members, or nothing. */
static const char *check_members(canonical *c, um_jval value, size_t n, const char *key)
{
    um_jtype type = um_jval_type(value);
    if (type != UM_J_NULL && type != UM_J_OBJECT)
        return reason(c, "%s is not an object", key);
    return n > MAX_MEMBERS ? reason(c, "%s has %zu members, limit %d", key, n, MAX_MEMBERS) : NULL;
}

static const char *check_object(canonical *c, um_jval value, const char *key)
{
    const size_t n = um_jval_type(value) == UM_J_OBJECT ? um_jval_len(value) : 0;
    return check_members(c, value, n, key);
}

static const char *check_descriptions(canonical *c, um_jval object, const char *key)
{
    const char *name = NULL, *bad = check_object(c, object, key);
    um_jval value;
    if (bad != NULL)
        return bad;
    um_jiter it = um_jval_iter(object);
    while (um_jiter_next(&it, &name, &value)) {
        um_jtype type = um_jval_type(value);
        if (type == UM_J_BOOL || type == UM_J_ARRAY || type == UM_J_OBJECT)
            return reason(c, "%s: '%.60s' is neither text nor a number", key, name);
    }
    return NULL;
}

typedef um_status (*set_fn)(um_dataset_builder *b, uint32_t row, const char *column,
                            um_column_kind kind, const char *value, um_error *err);

/* Descriptions are text, numbers among them as they are written; features stay JSON. */
static um_status set_cells(canonical *c, set_fn set, uint32_t row, um_jval cells,
                           um_column_kind kind, um_error *err)
{
    const char *name = NULL;
    um_jval value;
    um_status status = UM_OK;
    um_jiter it = um_jval_iter(cells);
    while (status == UM_OK && um_jiter_next(&it, &name, &value)) {
        const char *cell = NULL;
        size_t len = 0;
        if (kind == UM_COLUMN_FEATURE && set == um_dataset_builder_set_item &&
            strcmp(name, UM_CANONICAL_RELEASE) == 0)
            continue;
        um_str_clear(&c->text);
        if (um_jval_type(value) != UM_J_NULL &&
            (kind == UM_COLUMN_FEATURE || !um_jval_str(value, &cell, &len))) {
            um_jval_dump(&c->text, value);
            cell = um_str_text(&c->text);
        }
        status = um_str_status(&c->text, err);
        if (status == UM_OK)
            status = set(c->builder, row, name, kind, cell, err);
    }
    return status;
}

typedef um_status (*take_fn)(canonical *c, const um_parsed_row *row, um_error *err);

/* Members of users and of items. */
enum { ID, DESCRIPTION, FEATURES };

static um_status take_user(canonical *c, const um_parsed_row *row, um_error *err)
{
    const um_jval description = um_jval_member(row->root, DESCRIPTION);
    const um_jval features = um_jval_member(row->root, FEATURES);
    const char *id = NULL;
    size_t len = 0;
    uint32_t user = 0;
    bool added = false;
    const char *bad = check_id(c, um_jval_member(row->root, ID), "user_id", &id, &len);
    if (bad == NULL)
        bad = check_descriptions(c, description, "user_description");
    if (bad == NULL)
        bad = check_object(c, features, "user_features");
    if (bad != NULL)
        return um_reading_reject(c->reading, err, c->line, "%s", bad);
    um_status status = um_dataset_builder_user(c->builder, id, &user, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(c->reading, err, c->line, "user '%.60s' was described before", id);
    if (status == UM_OK)
        status = set_cells(c, um_dataset_builder_set_user, user, description, UM_COLUMN_DESCRIPTION,
                           err);
    if (status == UM_OK)
        status = set_cells(c, um_dataset_builder_set_user, user, features, UM_COLUMN_FEATURE, err);
    return status;
}

/* The release time in the features, if any. */
static const char *check_release(canonical *c, um_jval features, bool *has, int64_t *time_s)
{
    um_jval release;
    const char *text = NULL;
    size_t len = 0;
    *has =
        um_jval_get(features, UM_CANONICAL_RELEASE, &release) && um_jval_type(release) != UM_J_NULL;
    if (*has && (!um_jval_str(release, &text, &len) || !um_time_parse(text, time_s)))
        return reason(c, "%s is not \"YYYY-MM-DD HH:MM:SS\"", UM_CANONICAL_RELEASE);
    return NULL;
}

static um_status take_item(canonical *c, const um_parsed_row *row, um_error *err)
{
    const um_jval description = um_jval_member(row->root, DESCRIPTION);
    const um_jval features = um_jval_member(row->root, FEATURES);
    const char *id = NULL;
    size_t len = 0;
    uint32_t item = 0;
    bool added = false, has_release = false;
    int64_t release_s = 0;
    const char *bad = check_id(c, um_jval_member(row->root, ID), "item_id", &id, &len);
    if (bad == NULL)
        bad = check_descriptions(c, description, "item_description");
    if (bad == NULL)
        bad = check_object(c, features, "item_features");
    if (bad == NULL)
        bad = check_release(c, features, &has_release, &release_s);
    if (bad != NULL)
        return um_reading_reject(c->reading, err, c->line, "%s", bad);
    um_status status = um_dataset_builder_item(c->builder, id, &item, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(c->reading, err, c->line, "item '%.60s' was described before", id);
    if (status == UM_OK)
        status = set_cells(c, um_dataset_builder_set_item, item, description, UM_COLUMN_DESCRIPTION,
                           err);
    if (status == UM_OK)
        status = set_cells(c, um_dataset_builder_set_item, item, features, UM_COLUMN_FEATURE, err);
    if (status == UM_OK && has_release)
        status = um_dataset_builder_release(c->builder, item, release_s, err);
    return status;
}

static bool mark_listed(canonical *c, uint32_t item, bool *again)
{
    while (c->in_list.len <= item) {
        if (!um_vec_push(&c->in_list, 0))
            return false;
    }
    *again = c->in_list.data[item] == c->n_lists;
    c->in_list.data[item] = c->n_lists;
    return true;
}

static bool is_among(const uint32_t *items, size_t n, uint32_t item)
{
    bool is_there = false;
    for (size_t i = 0; i < n; i++)
        is_there |= items[i] == item;
    return is_there;
}

/* Notes that the list in hand, of FEW_SHOWN items at least, has the item too; *again when it had it
 * already. */
static bool note_listed(canonical *c, uint32_t item, bool *again)
{
    bool marked = true;
    for (size_t i = 0; i < FEW_SHOWN && c->shown.len == FEW_SHOWN && marked; i++)
        marked = mark_listed(c, c->shown.data[i], again);
    return marked && mark_listed(c, item, again);
}

/* The items of a list, into c->shown. */
static const char *check_list(canonical *c, um_jval list)
{
    um_jval element;
    um_jiter it = um_jval_iter(list);
    const size_t most = it.end - it.at; /* words of the tape: an item has one at least */
    if (most > MAX_IMPRESSIONS && um_jval_len(list) > MAX_IMPRESSIONS)
        return reason(c, "%s has %zu items, limit %d", UM_CANONICAL_SHOWN, um_jval_len(list),
                      MAX_IMPRESSIONS);
    if (!um_vec_reserve(&c->shown, most))
        return "out of memory for " UM_CANONICAL_SHOWN;
    c->n_lists++;
    while (um_jiter_next(&it, NULL, &element)) {
        const char *id = NULL;
        size_t len = 0;
        uint32_t item = 0;
        bool again = false;
        if (!um_jval_str(element, &id, &len))
            return reason(c, "%s: item %zu is not a string", UM_CANONICAL_SHOWN, c->shown.len);
        if (!um_builder_find_item_n(c->builder, id, len, &item))
            return reason(c, "%s: item '%.60s' is not described", UM_CANONICAL_SHOWN, id);
        /* Few are looked through, which touches less memory than marks of all items. */
        if (c->shown.len < FEW_SHOWN)
            again = is_among(c->shown.data, c->shown.len, item);
        else if (!note_listed(c, item, &again))
            return "out of memory for " UM_CANONICAL_SHOWN;
        if (again)
            return reason(c, "%s: item '%.60s' is listed twice", UM_CANONICAL_SHOWN, id);
        c->shown.data[c->shown.len++] = item;
    }
    return NULL;
}

/* The list shown, in c->shown, and the position of the chosen item in it; chosen = NULL: nothing
 * was. */
static const char *check_impressions(canonical *c, um_jval list, um_jval place,
                                     const uint32_t *chosen, int64_t *position)
{
    bool is_placed = um_jval_type(place) != UM_J_NULL;
    c->shown.len = 0;
    *position = -1;
    if (um_jval_type(list) != UM_J_ARRAY && um_jval_type(list) != UM_J_NULL)
        return UM_CANONICAL_SHOWN " is not a list";
    if (is_placed && !um_jval_i64(place, position))
        return UM_CANONICAL_CHOSEN " is not an integer";
    const char *bad = check_list(c, list);
    size_t n = c->shown.len;
    if (bad != NULL)
        return bad;
    if (chosen == NULL)
        return *position >= 0 ? UM_CANONICAL_CHOSEN " names a choice, but item_id is null" : NULL;
    for (size_t i = 0; i < n && !is_placed; i++) {
        if (c->shown.data[i] == *chosen)
            *position = (int64_t)i;
    }
    if (n == 0)
        return *position >= 0 ? UM_CANONICAL_CHOSEN " without an " UM_CANONICAL_SHOWN : NULL;
    if (*position < 0 || *position >= (int64_t)n || c->shown.data[*position] != *chosen)
        return reason(c, "%s: item_id is not at position %lld of %zu", UM_CANONICAL_SHOWN,
                      (long long)*position, n);
    return NULL;
}

enum { LIST, PLACE, N_SHOWN };

/* Behaviour, and those of its members that say of the list shown. */
typedef struct behaviour {
    um_jval object, shown[N_SHOWN];
    size_t n_members, n_shown;
} behaviour;

/* What is made of an interaction. Behind it: the reason where it is bad, with a NUL; else the
 * cells, then the items shown. */
typedef struct log_row {
    int64_t time_s, position;
    size_t n_shown, n_cells;
    uint32_t user, item;
    bool is_bad;
    bool is_skip; /* a list that nobody chose from: its item is null */
    bool is_long; /* its list is longer than max_list */
} log_row;

/* A behaviour cell. */
typedef struct log_cell {
    enum { EMPTY, NUMBER, TEXT } kind;
    uint32_t name;         /* number of its column's name: no two threads give the same */
    const char *name_text; /* looked at when its thread gives the name first */
    union {
        double number;
        char *text; /* the value as JSON, kept */
    } value;
} log_cell;

/* The name's number among those of the thread, made when it is new; SIZE_MAX: out of memory. Rows
 * mostly give their values in one order: the name after the last one is tried first. */
static size_t find_name(log_names *n, const char *name, size_t len)
{
    for (size_t tried = 0, i = n->next; tried < n->names.len; tried++, i++) {
        i = i < n->names.len ? i : 0;
        if (n->names.data[i].len == len && memcmp(n->names.data[i].name, name, len) == 0) {
            n->next = i + 1;
            return i;
        }
    }
    const um_jkey made = {um_arena_strndup(&n->memory, name, len), len};
    return made.name != NULL && um_vec_push(&n->names, made) ? n->names.len - 1 : SIZE_MAX;
}

static um_status make_cell(canonical *c, const char *name, size_t name_len, um_jval value,
                           log_cell *cell, um_error *err)
{
    int64_t whole = 0;
    size_t known = find_name(&c->names, name, name_len);
    if (known == SIZE_MAX)
        return um_fail_memory(err, "names of behaviour columns");
    cell->kind = EMPTY;
    cell->name = (uint32_t)known * UM_PARSED_THREADS + c->number;
    cell->name_text = c->names.names.data[known].name;
    bool exact =
        !um_jval_i64(value, &whole) || (whole <= MAX_EXACT_INTEGER && whole >= -MAX_EXACT_INTEGER);
    if (exact && um_jval_f64(value, &cell->value.number)) {
        cell->kind = NUMBER;
    } else if (um_jval_type(value) != UM_J_NULL) {
        cell->kind = TEXT;
        return um_keep_json(&c->texts, value, &cell->value.text, err);
    }
    return UM_OK;
}

/* All of the behaviour but what it says of the list shown. */
static um_status make_cells(canonical *c, const behaviour *b, log_cell *cells, um_error *err)
{
    const char *name = NULL;
    um_jval value;
    um_status status = UM_OK;
    um_jiter it = um_jval_iter(b->object);
    while (status == UM_OK && um_jiter_next(&it, &name, &value)) {
        if (value.at == b->shown[LIST].at || value.at == b->shown[PLACE].at)
            continue;
        status = make_cell(c, name, it.key_len, value, cells++, err);
    }
    return status;
}

/* The column of a cell, which is looked for once for each name of a thread. */
static um_status find_series(canonical *c, const log_cell *cell, uint32_t *series, um_error *err)
{
    if (!um_vec_reserve(&c->series, (size_t)cell->name + 1))
        return um_fail_memory(err, "behaviour columns");
    while (c->series.len <= cell->name)
        c->series.data[c->series.len++] = NO_SERIES;
    uint32_t *known = &c->series.data[cell->name];
    um_status status = *known == NO_SERIES
                           ? um_builder_find_series(c->builder, cell->name_text, known, err)
                           : UM_OK;
    *series = *known;
    return status;
}

static um_status put_cells(canonical *c, const log_cell *cell, size_t n, um_error *err)
{
    uint32_t series = 0;
    um_status status = UM_OK;
    for (; n > 0 && status == UM_OK; n--, cell++) {
        status = find_series(c, cell, &series, err);
        if (status == UM_OK && cell->kind == NUMBER)
            status = um_builder_set_number(c->builder, series, cell->value.number, err);
        else if (status == UM_OK && cell->kind == TEXT)
            status = um_builder_set_kept(c->builder, series, cell->value.text, err);
    }
    return status;
}

/* Members of interactions. */
enum { USER, ITEM, TIME, BEHAVIOUR };

/* Inlined, so that the name that is compared with is known. */
static inline bool is_called(const char *name, size_t len, const char *known)
{
    return len == strlen(known) && memcmp(name, known, strlen(known)) == 0;
}

static void look_at_behaviour(um_jval object, behaviour *b)
{
    const char *name = NULL;
    um_jval value;
    um_jiter it = um_jval_iter(object);
    *b = (behaviour){.object = object};
    for (; um_jiter_next(&it, &name, &value); b->n_members++) {
        const bool is_list = is_called(name, it.key_len, UM_CANONICAL_SHOWN);
        if (is_list || is_called(name, it.key_len, UM_CANONICAL_CHOSEN)) {
            b->shown[is_list ? LIST : PLACE] = value;
            b->n_shown++;
        }
    }
}

static const char *check_interaction(canonical *c, um_jval root, const behaviour *b, log_row *row)
{
    const um_jval item = um_jval_member(root, ITEM);
    const char *user_id = NULL, *item_id = NULL, *time = NULL;
    size_t user_len = 0, item_len = 0, time_len = 0;
    row->is_skip =
        item.document != NULL && um_jval_type(item) == UM_J_NULL && um_jval_len(b->shown[LIST]) > 0;
    const char *bad = check_id(c, um_jval_member(root, USER), "user_id", &user_id, &user_len);
    if (bad == NULL && !row->is_skip)
        bad = check_id(c, item, "item_id", &item_id, &item_len);
    if (bad == NULL)
        bad = check_id(c, um_jval_member(root, TIME), "timestamp", &time, &time_len);
    if (bad == NULL && !um_time_parse_n(time, time_len, &row->time_s))
        bad = reason(c, "timestamp '%.40s' is not \"YYYY-MM-DD HH:MM:SS\"", time);
    if (bad == NULL && !um_builder_find_user_n(c->builder, user_id, user_len, &row->user))
        bad = reason(c, "user '%.60s' is not described", user_id);
    if (bad == NULL && !row->is_skip &&
        !um_builder_find_item_n(c->builder, item_id, item_len, &row->item))
        bad = reason(c, "item '%.60s' is not described", item_id);
    if (bad == NULL)
        bad = check_members(c, b->object, b->n_members, "behavior_features");
    if (bad == NULL)
        bad = check_impressions(c, b->shown[LIST], b->shown[PLACE],
                                row->is_skip ? NULL : &row->item, &row->position);
    return bad;
}

/* Runs in the threads: looks up, and changes nothing but its own context. */
static um_status make_interaction(void *context, um_jval root, um_str *made, um_row_notes *notes,
                                  um_error *err)
{
    (void)notes;
    canonical *c = context;
    behaviour b;
    const size_t at = made->len;
    log_row *row = (log_row *)um_str_extend(made, sizeof *row);
    if (row == NULL)
        return um_str_status(made, err);
    look_at_behaviour(um_jval_member(root, BEHAVIOUR), &b);
    const char *bad = check_interaction(c, root, &b, row);
    row->is_bad = bad != NULL;
    if (bad != NULL) {
        um_str_append_n(made, bad, strlen(bad) + 1);
        return um_str_status(made, err);
    }
    const size_t n_shown = c->shown.len;
    const int64_t max_list = c->reading->filters.max_list;
    const bool is_long = max_list > 0 && n_shown > (size_t)max_list;
    /* Names of rows that no columns come of would never end. */
    const size_t n_cells = row->is_skip | is_long ? 0 : b.n_members - b.n_shown;
    char *rest = um_str_extend(made, n_cells * sizeof(log_cell) + n_shown * sizeof *c->shown.data);
    if (rest == NULL)
        return um_str_status(made, err);
    row = (log_row *)(made->data + at);
    row->n_shown = n_shown;
    row->n_cells = n_cells;
    row->is_long = is_long;
    if (n_shown > 0)
        memcpy(rest + n_cells * sizeof(log_cell), c->shown.data, n_shown * sizeof *c->shown.data);
    return n_cells > 0 ? make_cells(c, &b, (log_cell *)rest, err) : UM_OK;
}

static um_status take_interaction(canonical *c, const um_parsed_row *parsed, um_error *err)
{
    const log_row *row = (const log_row *)parsed->made;
    const log_cell *cells = (const log_cell *)(row + 1);
    if (row->is_bad)
        return um_reading_reject(c->reading, err, c->line, "%s", (const char *)(row + 1));
    const uint32_t *shown = (const uint32_t *)(cells + row->n_cells);
    um_status status = UM_OK;
    if (row->is_long)
        return um_reading_filter(c->reading, err, c->line,
                                 "its list has %zu items, more than max_list", row->n_shown);
    if (row->is_skip) {
        status =
            um_dataset_builder_skip(c->builder, row->user, row->time_s, shown, row->n_shown, err);
    } else {
        status = um_dataset_builder_interaction(c->builder, row->user, row->item, row->time_s, err);
        if (status == UM_OK && row->n_shown > 0)
            status = um_dataset_builder_impressions(c->builder, shown, row->n_shown,
                                                    (int32_t)row->position, err);
        if (status == UM_OK)
            status = put_cells(c, cells, row->n_cells, err);
    }
    return status == UM_OK ? um_builder_set_line(c->builder, c->line, err) : status;
}

static um_status take_row(canonical *c, const um_parsed_row *row, take_fn take, um_error *err)
{
    c->line = row->line;
    if (row->bad != NULL || row->has_nul)
        return um_reading_reject(c->reading, err, c->line, "%s",
                                 row->bad != NULL ? row->bad : "U+0000 in a text");
    um_status status = take(c, row, err);
    return status == UM_OK ? UM_OK : um_reading_row_failed(c->reading, status, c->line, err);
}

/* One of the three files. */
typedef struct canonical_file {
    const char *suffix;
    take_fn take;
    um_jkey members[4];
    size_t n_members;
} canonical_file;

static const canonical_file files[] = {
    {UM_CANONICAL_USERS,
     take_user,
     {UM_JKEY("user_id"), UM_JKEY("user_description"), UM_JKEY("user_features")},
     3},
    {UM_CANONICAL_ITEMS,
     take_item,
     {UM_JKEY("item_id"), UM_JKEY("item_description"), UM_JKEY("item_features")},
     3},
    {UM_CANONICAL_LOG,
     take_interaction,
     {UM_JKEY("user_id"), UM_JKEY("item_id"), UM_JKEY("timestamp"), UM_JKEY("behavior_features")},
     4},
};
enum { N_FILES = sizeof files / sizeof *files };

/* With a maker for each thread but the caller's, whose c is; the log alone is made ahead. */
static um_status read_file(canonical *c, canonical *other, const um_entry *entry,
                           const canonical_file *file, um_error *err)
{
    const bool is_log = file->take == take_interaction;
    const um_parsed_spec spec = {.noun = "JSON object",
                                 .members = file->members,
                                 .n_members = file->n_members,
                                 .make = is_log ? make_interaction : NULL,
                                 .makers = {c, other},
                                 .builder = is_log ? c->builder : NULL,
                                 .ids_are_members = true,
                                 .makers_find_users = true,
                                 .makers_find_items = true};
    um_lines lines = {0};
    um_parsed *parsed = NULL;
    um_parsed_row row;
    bool any = true;
    um_status status = um_reading_begin(c->reading, entry, is_log, &lines, err);
    if (status == UM_OK)
        status = um_parsed_open(&parsed, &spec, &lines, err);
    while (status == UM_OK) {
        status = um_parsed_next(parsed, &row, &any, err);
        if (status != UM_OK || !any)
            break;
        status = um_reading_count(c->reading, err);
        if (status == UM_OK)
            status = take_row(c, &row, file->take, err);
    }
    um_parsed_close(parsed);
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
static um_status locate(const um_bundle *bundle, const um_entry *entries[N_FILES],
                        size_t *prefix_len, um_error *err)
{
    for (int i = 0; i < N_FILES; i++) {
        size_t n = 0, found = find_suffix(bundle, files[i].suffix, &entries[i], &n);
        if (found != 1)
            return um_fail(err, UM_ERR_INPUT,
                           "%s: %zu files end with '%s', need one; give a folder with one data set",
                           bundle->path, found, files[i].suffix);
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
    const um_entry *entries[N_FILES];
    size_t n = 0;
    um_status status = locate(bundle, entries, &n, err);
    if (status == UM_OK)
        um_str_append_n(name, um_path_base(entries[0]->name), n);
    return status;
}

static um_status read_canonical(um_reading *r, um_error *err)
{
    canonical c[UM_PARSED_THREADS] = {{.number = 0, .reading = r, .builder = r->builder},
                                      {.number = 1, .reading = r, .builder = r->builder}};
    const um_entry *entries[N_FILES];
    size_t n = 0;
    um_status status = locate(r->bundle, entries, &n, err);
    for (size_t i = 0; i < UM_PARSED_THREADS && status == UM_OK; i++)
        status = um_text_maker_open(&c[i].texts, r->builder, err);
    for (int i = 0; i < N_FILES && status == UM_OK; i++)
        status = read_file(&c[0], &c[1], entries[i], &files[i], err);
    for (size_t i = 0; i < UM_PARSED_THREADS; i++) {
        status = um_text_maker_close(&c[i].texts, status, err);
        um_vec_dispose(&c[i].shown);
        um_vec_dispose(&c[i].in_list);
        um_str_dispose(&c[i].text);
        um_vec_dispose(&c[i].names.names);
        um_arena_dispose(&c[i].names.memory);
        um_vec_dispose(&c[i].series);
    }
    return status;
}

const um_adapter um_adapter_canonical = {
    .name = "canonical",
    .files = "*" UM_CANONICAL_USERS ", *" UM_CANONICAL_ITEMS ", *" UM_CANONICAL_LOG,
    .has_lists = true,
    .detect = detect,
    .read = read_canonical,
    .make_name = make_name,
};
