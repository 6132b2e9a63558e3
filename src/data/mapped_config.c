/*
 * mapped_config.c - reading a mapping file. Every key is known or refused with its line and the
 * nearest name; columns of files without a header are checked here, the others when the file is
 * read.
 */
#include "data/mapped.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "data/dates.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static um_status fail_at(const um_mapping *m, const um_yaml *node, um_error *err, const char *what,
                         const char *name, const char *near)
{
    return um_fail(err, UM_ERR_INPUT, "%s:%d: %s '%.60s'%s%.60s%s", m->path, node->line, what, name,
                   near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                   near != NULL ? "'?" : "");
}

/* A map with no other keys than these. */
static um_status check_map(const um_mapping *m, const um_yaml *node, const char *what,
                           const char *const *keys, size_t n, um_error *err)
{
    um_str known = UM_STR_INIT;
    um_status status = UM_OK;
    if (node->kind != UM_YAML_MAP)
        return um_fail(err, UM_ERR_INPUT, "%s:%d: %s must be keys with values", m->path, node->line,
                       what);
    for (size_t i = 0; i < node->n && status == UM_OK; i++) {
        size_t k = 0;
        while (k < n && strcmp(keys[k], node->keys[i]) != 0)
            k++;
        if (k < n)
            continue;
        const char *near = um_nearest(node->keys[i], keys, n);
        for (k = 0; k < n; k++)
            um_str_appendf(&known, "%s%s", k > 0 ? ", " : "", keys[k]);
        status = um_fail(err, UM_ERR_INPUT, "%s:%d: %s has no key '%.60s'%s%s%s; it has: %s",
                         m->path, node->item[i]->line, what, node->keys[i],
                         near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                         near != NULL ? "'?" : "", um_str_text(&known));
    }
    um_str_dispose(&known);
    return status;
}

/* The text under a key, NULL when it is not there. */
static um_status get_text(const um_mapping *m, const um_yaml *map, const char *key,
                          const char **text, um_error *err)
{
    const um_yaml *node = um_yaml_get(map, key);
    *text = NULL;
    if (node == NULL)
        return UM_OK;
    if (node->kind != UM_YAML_SCALAR)
        return um_fail(err, UM_ERR_INPUT, "%s:%d: '%s' must be one value", m->path, node->line,
                       key);
    if (node->text[0] == '\0')
        return um_fail(err, UM_ERR_INPUT, "%s:%d: '%s' is empty", m->path, node->line, key);
    *text = node->text;
    return UM_OK;
}

/* One of n words; *choice stays as it is when the key is not there. */
static um_status get_choice(const um_mapping *m, const um_yaml *map, const char *key,
                            const char *const *words, size_t n, size_t *choice, um_error *err)
{
    const char *text = NULL;
    um_status status = get_text(m, map, key, &text, err);
    if (status != UM_OK || text == NULL)
        return status;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(words[i], text) == 0) {
            *choice = i;
            return UM_OK;
        }
    }
    um_str known = UM_STR_INIT;
    for (size_t i = 0; i < n; i++)
        um_str_appendf(&known, "%s%s", i > 0 ? ", " : "", words[i]);
    status = um_fail(err, UM_ERR_INPUT, "%s:%d: %s '%.60s' is none of: %s", m->path,
                     um_yaml_get(map, key)->line, key, text, um_str_text(&known));
    um_str_dispose(&known);
    return status;
}

static um_status get_flag(const um_mapping *m, const um_yaml *map, const char *key, bool *flag,
                          um_error *err)
{
    static const char *const words[] = {"false", "true"};
    size_t choice = *flag;
    um_status status = get_choice(m, map, key, words, COUNT(words), &choice, err);
    *flag = choice == 1;
    return status;
}

/* One text or a list of texts; an element may be empty. */
static um_status get_texts(um_mapping *m, const um_yaml *map, const char *key, const char ***texts,
                           size_t *n, um_error *err)
{
    const um_yaml *node = um_yaml_get(map, key);
    *n = 0;
    if (node == NULL)
        return UM_OK;
    size_t count = node->kind == UM_YAML_LIST ? node->n : 1;
    *texts = um_arena_alloc(&m->memory, (count > 0 ? count : 1) * sizeof **texts);
    if (*texts == NULL)
        return um_fail_memory(err, "a mapping");
    for (size_t i = 0; i < count; i++) {
        const um_yaml *element = node->kind == UM_YAML_LIST ? node->item[i] : node;
        if (element->kind != UM_YAML_SCALAR)
            return um_fail(err, UM_ERR_INPUT, "%s:%d: '%s' must be a text or a list of texts",
                           m->path, element->line, key);
        (*texts)[(*n)++] = element->text;
    }
    return UM_OK;
}

/* Columns ------------------------------------------------------------------------------------- */

static um_status add_column(const um_mapping *m, um_mapped_source *source, const um_yaml *node,
                            const char *name, size_t *column, um_error *err)
{
    for (size_t i = 0; i < source->n_columns; i++) {
        if (strcmp(source->columns[i], name) == 0) {
            *column = i;
            return UM_OK;
        }
    }
    if (name[0] == '\0')
        return um_fail(err, UM_ERR_INPUT, "%s:%d: a column's name is empty", m->path, node->line);
    if (!source->has_header && source->form == UM_MAPPED_DELIMITED)
        return fail_at(m, node, err, "`columns` has no", name,
                       um_nearest(name, source->columns, source->n_columns));
    if (source->n_columns == UM_MAPPED_MAX_COLUMNS)
        return um_fail(err, UM_ERR_LIMIT, "%s:%d: more than %d columns", m->path, node->line,
                       UM_MAPPED_MAX_COLUMNS);
    *column = source->n_columns;
    source->columns[source->n_columns++] = name;
    return UM_OK;
}

/* `column`, or {column: ..., separator: ...}. */
static um_status read_field(const um_mapping *m, um_mapped_source *source, const um_yaml *node,
                            const char *name, um_mapped_field *field, um_error *err)
{
    static const char *const keys[] = {"column", "separator"};
    const char *column = NULL;
    *field = (um_mapped_field){.name = name, .column = UM_MAPPED_NONE};
    if (node->kind == UM_YAML_SCALAR)
        return add_column(m, source, node, node->text, &field->column, err);
    um_status status = check_map(m, node, name, keys, COUNT(keys), err);
    if (status == UM_OK)
        status = get_text(m, node, "column", &column, err);
    if (status == UM_OK && column == NULL)
        status =
            um_fail(err, UM_ERR_INPUT, "%s:%d: %s needs a `column`", m->path, node->line, name);
    if (status == UM_OK)
        status = get_text(m, node, "separator", &field->separator, err);
    return status == UM_OK ? add_column(m, source, node, column, &field->column, err) : status;
}

static um_status get_field(const um_mapping *m, um_mapped_source *source, const um_yaml *map,
                           const char *key, bool is_needed, um_mapped_field *field, um_error *err)
{
    const um_yaml *node = um_yaml_get(map, key);
    field->column = UM_MAPPED_NONE;
    if (node != NULL)
        return read_field(m, source, node, key, field, err);
    return is_needed ? um_fail(err, UM_ERR_INPUT, "%s:%d: %s needs `%s`", m->path, map->line,
                               source->section, key)
                     : UM_OK;
}

/* A list of columns that keep their names, or a map from names to columns. */
static um_status get_fields(um_mapping *m, um_mapped_source *source, const um_yaml *map,
                            const char *key, um_mapped_fields *fields, um_error *err)
{
    const um_yaml *node = um_yaml_get(map, key);
    um_status status = UM_OK;
    if (node == NULL)
        return UM_OK;
    if (node->kind == UM_YAML_SCALAR)
        return um_fail(err, UM_ERR_INPUT,
                       "%s:%d: '%s' must be a list of columns, or names with columns", m->path,
                       node->line, key);
    if (node->n > UM_MAPPED_MAX_COLUMNS)
        return um_fail(err, UM_ERR_LIMIT, "%s:%d: %zu columns, limit %d", m->path, node->line,
                       node->n, UM_MAPPED_MAX_COLUMNS);
    fields->data = um_arena_alloc(&m->memory, (node->n + 1) * sizeof *fields->data);
    if (fields->data == NULL)
        return um_fail_memory(err, "a mapping");
    for (size_t i = 0; i < node->n && status == UM_OK; i++) {
        const um_yaml *child = node->item[i];
        if (node->kind == UM_YAML_LIST && child->kind != UM_YAML_SCALAR)
            return um_fail(
                err, UM_ERR_INPUT,
                "%s:%d: '%s': a column in a list is only its name; write `name: {column: "
                "..., separator: ...}` instead",
                m->path, child->line, key);
        const char *name = node->kind == UM_YAML_MAP ? node->keys[i] : child->text;
        status = read_field(m, source, child, name, &fields->data[fields->n++], err);
    }
    return status;
}

/* `column` in ISO form, or {column: ..., format: ...}. */
static um_status get_time(const um_mapping *m, um_mapped_source *source, const um_yaml *map,
                          const char *key, um_mapped_time *time, um_error *err)
{
    static const char *const keys[] = {"column", "format"};
    static const char *const clocks[] = {"iso",   "unix",  "unix_ms", "unix_us", "us",
                                         "ctime", "words", "dashed",  "order"};
    const um_yaml *node = um_yaml_get(map, key);
    const char *column = NULL, *format = NULL;
    size_t clock = UM_CLOCK_ISO;
    time->column = UM_MAPPED_NONE;
    if (node == NULL)
        return UM_OK;
    if (node->kind == UM_YAML_SCALAR)
        return add_column(m, source, node, node->text, &time->column, err);
    um_status status = check_map(m, node, key, keys, COUNT(keys), err);
    if (status == UM_OK)
        status = get_text(m, node, "column", &column, err);
    if (status == UM_OK)
        status = get_text(m, node, "format", &format, err);
    if (status != UM_OK)
        return status;
    if (format != NULL && strchr(format, '%') != NULL) {
        const char *bad = um_date_check_pattern(format);
        if (bad != NULL)
            return um_fail(err, UM_ERR_INPUT, "%s:%d: format '%.60s': %s", m->path, node->line,
                           format, bad);
        clock = UM_CLOCK_PATTERN;
        time->pattern = format;
    } else {
        status = get_choice(m, node, "format", clocks, COUNT(clocks), &clock, err);
    }
    time->clock = (um_mapped_clock)clock;
    if (status == UM_OK && (column == NULL) != (time->clock == UM_CLOCK_ORDER))
        return um_fail(err, UM_ERR_INPUT, "%s:%d: %s needs %s", m->path, node->line, key,
                       column == NULL ? "a `column`" : "no `column` where its format is order");
    return status == UM_OK && column != NULL
               ? add_column(m, source, node, column, &time->column, err)
               : status;
}

/* Sections ------------------------------------------------------------------------------------ */

static bool ends(const char *name, size_t len, const char *suffix)
{
    size_t n = strlen(suffix);
    return len > n && memcmp(name + len - n, suffix, n) == 0;
}

/* The form said, else what the first file's name ends with. */
static um_status read_form(um_mapping *m, um_mapped_source *source, const um_yaml *node,
                           um_error *err)
{
    static const char *const forms[] = {"csv", "tsv", "jsonl"};
    enum { CSV, TSV, JSONL };
    const char *name = source->files[0];
    size_t len = strlen(name), form = CSV;
    if (um_str_ends(name, ".gz"))
        len -= 3;
    if (ends(name, len, ".jsonl") || ends(name, len, ".ndjson") || ends(name, len, ".json"))
        form = JSONL;
    else if (ends(name, len, ".tsv") || ends(name, len, ".tab"))
        form = TSV;
    um_status status = get_choice(m, node, "format", forms, COUNT(forms), &form, err);
    source->form = form == JSONL ? UM_MAPPED_JSONL : UM_MAPPED_DELIMITED;
    source->separator = form == TSV ? "\t" : ",";
    source->is_quoted = form == CSV;
    return status;
}

/* What of a file is said besides its columns' meaning. */
static um_status read_source(um_mapping *m, um_mapped_source *source, const char *section,
                             const um_yaml *node, um_error *err)
{
    static const char *const encodings[] = {"utf-8", "latin-1"};
    const char **columns = NULL, *separator = NULL;
    size_t n_columns = 0, encoding = 0;
    source->section = section;
    um_status status = get_texts(m, node, "file", &source->files, &source->n_files, err);
    if (status == UM_OK && (source->n_files == 0 || source->files[0][0] == '\0'))
        status =
            um_fail(err, UM_ERR_INPUT, "%s:%d: %s needs a `file`", m->path, node->line, section);
    if (status == UM_OK)
        status = read_form(m, source, node, err);
    if (status == UM_OK)
        status = get_text(m, node, "separator", &separator, err);
    if (separator != NULL) {
        source->separator = separator;
        source->is_quoted = separator[1] == '\0' && separator[0] != '\t';
    }
    if (status == UM_OK)
        status = get_flag(m, node, "quoted", &source->is_quoted, err);
    if (status == UM_OK)
        status = get_choice(m, node, "encoding", encodings, COUNT(encodings), &encoding, err);
    if (status == UM_OK)
        status = get_texts(m, node, "columns", &columns, &n_columns, err);
    if (status == UM_OK)
        status = get_texts(m, node, "absent", &source->absent, &source->n_absent, err);
    if (status != UM_OK)
        return status;
    source->is_latin1 = encoding == 1;
    source->has_header = true; /* so that add_column takes new names */
    for (size_t i = 0; i < n_columns && status == UM_OK; i++) {
        size_t place = 0;
        status = add_column(m, source, node, columns[i], &place, err);
        if (status == UM_OK && place != i)
            status = um_fail(err, UM_ERR_INPUT, "%s:%d: `columns` has '%s' twice", m->path,
                             um_yaml_get(node, "columns")->line, columns[i]);
    }
    source->has_header = n_columns == 0;
    if (status == UM_OK && source->is_quoted && strlen(source->separator) > 1)
        status =
            um_fail(err, UM_ERR_INPUT,
                    "%s:%d: %s: fields can be quoted only where the separator is one character",
                    m->path, node->line, section);
    if (status == UM_OK && source->form == UM_MAPPED_JSONL && (n_columns > 0 || separator != NULL))
        status = um_fail(err, UM_ERR_INPUT,
                         "%s:%d: %s: JSON lines have neither `columns` nor a `separator`", m->path,
                         node->line, section);
    return status;
}

static um_status read_impressions(um_mapping *m, const um_yaml *node, um_error *err)
{
    static const char *const keys[] = {"list", "id", "clicked", "position", "first_position"};
    static const char *const firsts[] = {"0", "1"};
    size_t first = 0;
    if (node == NULL)
        return UM_OK;
    um_status status = check_map(m, node, "impressions", keys, COUNT(keys), err);
    if (status == UM_OK)
        status = get_field(m, &m->log, node, "list", false, &m->shown, err);
    if (status == UM_OK)
        status = get_field(m, &m->log, node, "id", false, &m->impression, err);
    if (status == UM_OK)
        status = get_field(m, &m->log, node, "clicked", false, &m->clicked, err);
    if (status == UM_OK)
        status = get_field(m, &m->log, node, "position", false, &m->position, err);
    if (status == UM_OK)
        status = get_choice(m, node, "first_position", firsts, COUNT(firsts), &first, err);
    if (status != UM_OK)
        return status;
    m->first_position = (int64_t)first;
    bool by_list = m->shown.column != UM_MAPPED_NONE,
         by_row = m->impression.column != UM_MAPPED_NONE;
    if (by_list == by_row || by_row != (m->clicked.column != UM_MAPPED_NONE))
        return um_fail(err, UM_ERR_INPUT,
                       "%s:%d: impressions need either `list`, where a row has the whole list, or "
                       "`id` and `clicked`, where each item shown is a row",
                       m->path, node->line);
    if (by_list && m->shown.separator == NULL && m->log.form == UM_MAPPED_DELIMITED)
        return um_fail(err, UM_ERR_INPUT, "%s:%d: `list` needs {column: ..., separator: ...}",
                       m->path, node->line);
    if (by_row && m->item.separator != NULL)
        return um_fail(err, UM_ERR_INPUT, "%s:%d: `item` is one item where each shown is a row",
                       m->path, node->line);
    return UM_OK;
}

static um_status read_log(um_mapping *m, const um_yaml *node, um_error *err)
{
    static const char *const keys[] = {"file",    "format", "separator",  "quoted", "encoding",
                                       "columns", "absent", "user",       "item",   "time",
                                       "numbers", "texts",  "impressions"};
    um_status status = check_map(m, node, "log", keys, COUNT(keys), err);
    if (status == UM_OK)
        status = read_source(m, &m->log, "log", node, err);
    if (status == UM_OK)
        status = get_field(m, &m->log, node, "user", true, &m->user, err);
    if (status == UM_OK)
        status = get_field(m, &m->log, node, "item", false, &m->item, err);
    if (status == UM_OK)
        status = get_time(m, &m->log, node, "time", &m->time, err);
    if (status == UM_OK && m->time.column == UM_MAPPED_NONE && m->time.clock != UM_CLOCK_ORDER)
        status = um_fail(err, UM_ERR_INPUT,
                         "%s:%d: log needs `time`; `time: {format: order}` where the order of the "
                         "rows is their order in time",
                         m->path, node->line);
    if (status == UM_OK)
        status = get_fields(m, &m->log, node, "numbers", &m->numbers, err);
    if (status == UM_OK)
        status = get_fields(m, &m->log, node, "texts", &m->texts, err);
    if (status == UM_OK)
        status = read_impressions(m, um_yaml_get(node, "impressions"), err);
    if (status == UM_OK && m->item.column == UM_MAPPED_NONE &&
        (m->shown.column == UM_MAPPED_NONE || m->position.column == UM_MAPPED_NONE))
        status = um_fail(err, UM_ERR_INPUT,
                         "%s:%d: log needs `item`; only a list with a `position` does without",
                         m->path, node->line);
    return status;
}

static um_status read_side(um_mapping *m, um_mapped_side *side, const char *section,
                           const um_yaml *node, um_error *err)
{
    static const char *const keys[] = {"file",     "format",       "separator", "quoted",
                                       "encoding", "columns",      "absent",    "id",
                                       "repeats",  "descriptions", "features",  "release"};
    bool is_items = side == &m->items;
    side->release.column = UM_MAPPED_NONE;
    if (node == NULL)
        return UM_OK;
    um_status status = check_map(m, node, section, keys, COUNT(keys) - !is_items, err);
    if (status == UM_OK)
        status = read_source(m, &side->source, section, node, err);
    if (status == UM_OK)
        status = get_field(m, &side->source, node, "id", true, &side->id, err);
    if (status == UM_OK)
        status = get_fields(m, &side->source, node, "descriptions", &side->descriptions, err);
    if (status == UM_OK)
        status = get_fields(m, &side->source, node, "features", &side->features, err);
    if (status == UM_OK)
        status = get_time(m, &side->source, node, "release", &side->release, err);
    if (status == UM_OK && side->release.clock == UM_CLOCK_ORDER)
        status = um_fail(err, UM_ERR_INPUT, "%s:%d: a release is a time, not an order", m->path,
                         node->line);
    return status == UM_OK ? get_flag(m, node, "repeats", &side->repeats, err) : status;
}

um_status um_mapping_read(um_mapping **out, const char *path, um_error *err)
{
    static const char *const keys[] = {"log", "users", "items"};
    um_mapping *m = um_calloc(1, sizeof *m);
    if (m == NULL)
        return um_fail_memory(err, "a mapping");
    m->path = path;
    m->shown.column = m->impression.column = m->clicked.column = m->position.column =
        UM_MAPPED_NONE;
    um_status status = um_yaml_read(&m->root, path, err);
    if (status == UM_OK)
        status = check_map(m, m->root, "a mapping", keys, COUNT(keys), err);
    if (status == UM_OK && um_yaml_get(m->root, "log") == NULL)
        status = um_fail(err, UM_ERR_INPUT, "%s: a mapping needs `log`, the file of choices", path);
    if (status == UM_OK)
        status = read_log(m, um_yaml_get(m->root, "log"), err);
    if (status == UM_OK)
        status = read_side(m, &m->users, "users", um_yaml_get(m->root, "users"), err);
    if (status == UM_OK)
        status = read_side(m, &m->items, "items", um_yaml_get(m->root, "items"), err);
    if (status != UM_OK) {
        um_mapping_free(m);
        return status;
    }
    *out = m;
    return UM_OK;
}

void um_mapping_free(um_mapping *mapping)
{
    if (mapping == NULL)
        return;
    um_yaml_free(mapping->root);
    um_arena_dispose(&mapping->memory);
    free(mapping);
}
