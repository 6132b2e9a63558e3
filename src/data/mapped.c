/*
 * mapped.c - any CSV, TSV or JSON lines log by a mapping of its columns (docs/MAPPING.md).
 *
 * A row of whatever file becomes cells, one for each column that the mapping names. Rows are
 * checked as a whole before anything of them is kept.
 */
#include "data/mapped_row.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/cells.h"
#include "data/dates.h"
#include "data/parsed.h"

const um_mapped_cell *um_mapped_cell_of(const um_mapped *s, const um_mapped_field *field)
{
    static const um_mapped_cell absent;
    return field->column != UM_MAPPED_NONE ? &s->cells[field->column] : &absent;
}

static const char *column_name(const um_mapped *s, size_t column)
{
    return s->source->columns[column];
}

/* Cells as the data set's columns -------------------------------------------------------------- */

/* One element of a JSON list as text. */
void um_mapped_append_element(um_str *out, um_jval value)
{
    const char *text = NULL;
    size_t len = 0;
    if (um_jval_str(value, &text, &len))
        um_str_append_n(out, text, len);
    else if (um_jval_type(value) != UM_J_NULL)
        um_jval_dump(out, value);
}

/* A description: text; the elements of a list joined. In s->text. */
static void to_text(um_mapped *s, const um_mapped_cell *c, const um_mapped_field *field)
{
    um_jval element;
    um_str_clear(&s->text);
    if (c->form != UM_CELL_LIST) {
        if (field->separator != NULL)
            (void)um_cell_append_list(&s->text, c->text, c->len, field->separator, UM_LIST_TEXT);
        else
            um_str_append_n(&s->text, c->text, c->len);
        return;
    }
    um_jiter it = um_jval_iter(c->list);
    for (size_t i = 0; um_jiter_next(&it, NULL, &element); i++) {
        um_str_append(&s->text, i > 0 ? ", " : "");
        um_mapped_append_element(&s->text, element);
    }
}

/* A feature or behaviour: what JSON it is, or else text and numbers as such. In s->text. */
void um_mapped_to_json(um_mapped *s, const um_mapped_cell *c, const um_mapped_field *field,
                       bool numbers)
{
    um_str_clear(&s->text);
    if (field->separator != NULL && c->form != UM_CELL_LIST)
        (void)um_cell_append_list(&s->text, c->text, c->len, field->separator, UM_LIST_JSON);
    else if (c->form != UM_CELL_FIELD && c->form != UM_CELL_STRING)
        um_str_append_n(&s->text, c->text, c->len);
    else if (numbers && c->form == UM_CELL_FIELD)
        um_cell_append_json(&s->text, c->text, c->len);
    else
        um_str_append_json_n(&s->text, c->text, c->len);
}

/* NULL when the cell holds a time, else why not. */
const char *um_mapped_to_time(const um_mapped *s, const um_mapped_time *time, int64_t *time_s)
{
    const um_mapped_cell *c = &s->cells[time->column];
    static bool (*const parsers[])(const char *,
                                   int64_t *) = {[UM_CLOCK_ISO] = um_date_parse_iso,
                                                 [UM_CLOCK_US] = um_date_parse_us,
                                                 [UM_CLOCK_CTIME] = um_date_parse_ctime,
                                                 [UM_CLOCK_WORDS] = um_date_parse_words,
                                                 [UM_CLOCK_DASHED] = um_date_parse_dashed};
    if (c->text == NULL)
        return "is absent";
    if (time->clock == UM_CLOCK_PATTERN)
        return um_date_parse_pattern(c->text, time->pattern, time_s) ? NULL
                                                                     : "is not of the format said";
    if (time->clock == UM_CLOCK_UNIX)
        return um_cell_unix_time(c->text, c->len, time_s);
    if (time->clock != UM_CLOCK_UNIX_MS && time->clock != UM_CLOCK_UNIX_US)
        return parsers[time->clock](c->text, time_s) ? NULL : "is not of the format said";
    int64_t unit = time->clock == UM_CLOCK_UNIX_MS ? 1000 : 1000000, whole = 0;
    double value = 0;
    if (!um_parse_i64(c->text, &whole)) {
        if (!um_cell_number(c->text, c->len, &value) || value > 9e18 || value < -9e18)
            return "is not a number";
        whole = (int64_t)value;
    }
    whole = whole / unit - (whole % unit < 0);
    if (whole > 100000000000 || whole < -100000000000)
        return "is out of range";
    *time_s = whole;
    return NULL;
}

/* Users and items ----------------------------------------------------------------------------- */

typedef um_status (*index_fn)(um_dataset_builder *b, const char *id, uint32_t *index, bool *added,
                              um_error *err);
typedef um_status (*set_fn)(um_dataset_builder *b, uint32_t row, const char *column,
                            um_column_kind kind, const char *value, um_error *err);

static um_status set_columns(um_mapped *s, uint32_t row, set_fn set, const um_mapped_fields *fields,
                             um_column_kind kind, um_error *err)
{
    um_status status = UM_OK;
    for (size_t i = 0; i < fields->n && status == UM_OK; i++) {
        const um_mapped_field *field = &fields->data[i];
        const um_mapped_cell *c = um_mapped_cell_of(s, field);
        if (c->text != NULL && kind == UM_COLUMN_DESCRIPTION)
            to_text(s, c, field);
        else if (c->text != NULL)
            um_mapped_to_json(s, c, field, true);
        status = um_str_status(&s->text, err);
        if (status == UM_OK)
            status = set(s->r->builder, row, field->name, kind,
                         c->text != NULL ? um_str_text(&s->text) : NULL, err);
    }
    return status;
}

static um_status take_side(um_mapped *s, const um_mapped_side *side, index_fn index_of, set_fn set,
                           uint64_t line, um_error *err)
{
    const um_mapped_cell *id = um_mapped_cell_of(s, &side->id);
    uint32_t index = 0;
    bool added = false, has_release = false;
    int64_t release_s = 0;
    if (id->text == NULL)
        return um_reading_reject(s->r, err, line, "%s is absent", column_name(s, side->id.column));
    if (side->release.column != UM_MAPPED_NONE && s->cells[side->release.column].text != NULL) {
        const char *bad = um_mapped_to_time(s, &side->release, &release_s);
        if (bad != NULL)
            return um_reading_reject(s->r, err, line, "%s '%.40s' %s",
                                     column_name(s, side->release.column),
                                     s->cells[side->release.column].text, bad);
        has_release = true;
    }
    um_status status = index_of(s->r->builder, id->text, &index, &added, err);
    if (status == UM_OK && !added)
        return side->repeats ? UM_OK
                             : um_reading_reject(s->r, err, line,
                                                 "%s '%.60s' was described before (`repeats: true` "
                                                 "takes its first row)",
                                                 column_name(s, side->id.column), id->text);
    if (status == UM_OK)
        status = set_columns(s, index, set, &side->descriptions, UM_COLUMN_DESCRIPTION, err);
    if (status == UM_OK)
        status = set_columns(s, index, set, &side->features, UM_COLUMN_FEATURE, err);
    if (status == UM_OK && has_release)
        status = um_dataset_builder_release(s->r->builder, index, release_s, err);
    return status;
}

static um_status take_user(um_mapped *s, uint64_t line, um_error *err)
{
    return take_side(s, &s->m->users, um_dataset_builder_user, um_dataset_builder_set_user, line,
                     err);
}

static um_status take_item(um_mapped *s, uint64_t line, um_error *err)
{
    return take_side(s, &s->m->items, um_dataset_builder_item, um_dataset_builder_set_item, line,
                     err);
}

/* Files --------------------------------------------------------------------------------------- */

static bool is_absent(const um_mapped *s, const char *text)
{
    for (size_t i = 0; i < s->source->n_absent; i++) {
        if (strcmp(s->source->absent[i], text) == 0)
            return true;
    }
    return text[0] == '\0';
}

static um_status take_fields(um_reading *r, const um_row *row, um_error *err)
{
    um_mapped *s = r->state;
    for (size_t i = 0; i < row->n; i++)
        s->cells[i] = (um_mapped_cell){.text = is_absent(s, row->field[i]) ? NULL : row->field[i],
                                       .len = row->len[i]};
    return s->take(s, row->line, err);
}

static um_status end_file(um_reading *r, um_error *err)
{
    return um_mapped_end_shown(r->state, err);
}

/* The member of that name; where there is none and the name has dots, the one inside. */
static bool find_member(um_jval object, const char *name, um_jval *value)
{
    if (um_jval_get(object, name, value))
        return true;
    for (const char *dot = strchr(name, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        char part[256];
        size_t len = (size_t)(dot - name);
        if (len == 0 || len >= sizeof part)
            continue;
        memcpy(part, name, len);
        part[len] = '\0';
        if (um_jval_get(object, part, value) && find_member(*value, dot + 1, value))
            return true;
    }
    return false;
}

/* A cell of an object as it was found; what is made of an object is one for each column, behind
 * them their texts, each with a NUL. */
typedef struct found_cell {
    double number;
    int64_t whole;
    uint32_t text, len; /* place of the text among what was made; 0: the cell is absent */
    uint32_t at;        /* of a list: word in the object's document (base/jsonl.h) */
    um_mapped_cell_form form;
    bool is_whole;
} found_cell;

/* Where the parser has found columns already: the root's member of that name, or the one before the
 * name's only dot. */
typedef struct column_path {
    int whole, outer; /* among the members; -1: no such */
    const char *rest; /* of the name, after the dot */
    size_t rest_len;
    bool is_other; /* none of these: it is to be searched for */
} column_path;

typedef struct column_paths {
    um_jkey members[UM_JSONL_MAX_WANTED];
    size_t n_members;
    column_path paths[UM_MAPPED_MAX_COLUMNS];
} column_paths;

/* The number of a member, -1: there are too many. */
static int want_member(column_paths *c, const char *name, size_t len)
{
    for (size_t i = 0; i < c->n_members; i++) {
        if (c->members[i].len == len && memcmp(c->members[i].name, name, len) == 0)
            return (int)i;
    }
    if (c->n_members == UM_JSONL_MAX_WANTED)
        return -1;
    c->members[c->n_members] = (um_jkey){name, len};
    return (int)c->n_members++;
}

static void find_paths(column_paths *c, const um_mapped_source *source)
{
    c->n_members = 0;
    for (size_t i = 0; i < source->n_columns; i++) {
        const char *name = source->columns[i], *dot = strchr(name, '.');
        column_path path = {.whole = want_member(c, name, strlen(name)), .outer = -1};
        if (dot != NULL) {
            path.outer = want_member(c, name, (size_t)(dot - name));
            path.rest = dot + 1;
            path.rest_len = strlen(path.rest);
        }
        path.is_other =
            path.whole < 0 ||
            (dot != NULL && (path.outer < 0 || dot == name || strchr(dot + 1, '.') != NULL));
        c->paths[i] = path;
    }
}

static bool find_column(um_jval object, const column_path *path, const char *name, um_jval *value)
{
    if (path->is_other)
        return find_member(object, name, value);
    *value = um_jval_member(object, (size_t)path->whole);
    if (value->document != NULL || path->outer < 0)
        return value->document != NULL;
    um_jval outer = um_jval_member(object, (size_t)path->outer);
    const char *key = NULL;
    if (um_jval_type(outer) != UM_J_OBJECT)
        return false;
    um_jiter it = um_jval_iter(outer);
    while (um_jiter_next(&it, &key, value)) {
        if (it.key_len == path->rest_len && memcmp(key, path->rest, path->rest_len) == 0)
            return true;
    }
    return false;
}

/* Of one thread. */
typedef struct cell_finder {
    const um_mapped_source *source;
    const column_paths *columns;
    uint8_t uses[UM_MAPPED_MAX_COLUMNS]; /* [n_columns] */
    bool seen[UM_MAPPED_MAX_COLUMNS];    /* [n_columns] some object had it */
    UM_PARSED_APART;
} cell_finder;

/* What columns are looked at as. */
enum { AS_NUMBER = 1, AS_LIST = 2, AS_TEXT = 4 };

static void add_use(uint8_t *uses, size_t column, uint8_t use)
{
    if (column != UM_MAPPED_NONE)
        uses[column] |= use;
}

/* In a log behaviour that is numbers, and lists shown, are never looked at as text. */
static void find_uses(const um_mapped *s, uint8_t *uses)
{
    const um_mapping *m = s->m;
    const bool is_all_text = s->source != &m->log || m->log.n_absent > 0;
    memset(uses, is_all_text ? AS_TEXT : 0, UM_MAPPED_MAX_COLUMNS);
    if (is_all_text)
        return;
    add_use(uses, m->user.column, AS_TEXT);
    add_use(uses, m->item.column, AS_TEXT);
    add_use(uses, m->time.column, AS_TEXT);
    add_use(uses, m->position.column, AS_NUMBER);
    if (m->impression.column != UM_MAPPED_NONE)
        add_use(uses, m->position.column, AS_TEXT);
    add_use(uses, m->impression.column, AS_TEXT);
    add_use(uses, m->clicked.column, AS_TEXT);
    add_use(uses, m->shown.column, AS_LIST);
    for (size_t i = 0; i < m->numbers.n; i++)
        add_use(uses, m->numbers.data[i].column, AS_NUMBER);
    for (size_t i = 0; i < m->texts.n; i++)
        add_use(uses, m->texts.data[i].column, AS_TEXT);
}

/* Appends the strings of a list (UM_CELL_STRINGS); false, and nothing, where there are none or
 * something else. */
static bool append_strings(um_str *made, um_jval list)
{
    const size_t begin = made->len;
    um_jval element;
    um_jiter it = um_jval_iter(list);
    while (um_jiter_next(&it, NULL, &element)) {
        const char *text = NULL;
        size_t len = 0;
        const uint32_t n = um_jval_str(element, &text, &len) ? (uint32_t)len : 0;
        char *place = text != NULL ? um_str_extend(made, sizeof n + len + 1) : NULL;
        if (place == NULL) {
            made->len = begin;
            return false;
        }
        memcpy(place, &n, sizeof n);
        memcpy(place + sizeof n, text, len + 1);
    }
    return made->len > begin;
}

/* Makes the cell of a column; its text, dumped where the value is no string, goes behind what was
 * made so far. Where nobody looks at that it says only that something is there. Members are set one
 * by one where the cell stays: a copy of what was just written would have to wait for it. */
static void make_cell(um_str *made, size_t begin, size_t column, um_jval value, uint8_t uses)
{
    const size_t place = made->len - begin;
    um_mapped_cell_form form = UM_CELL_STRING;
    const char *text = NULL;
    size_t len = 0;
    double number = 0;
    int64_t whole = 0;
    if (um_jval_str(value, &text, &len)) {
        um_str_append_n(made, text, len + 1);
    } else {
        form = um_jval_f64(value, &number)         ? UM_CELL_NUMBER
               : um_jval_type(value) == UM_J_ARRAY ? UM_CELL_LIST
                                                   : UM_CELL_OTHER;
        if (form == UM_CELL_LIST && uses == AS_LIST && append_strings(made, value))
            form = UM_CELL_STRINGS;
        else if ((form == UM_CELL_NUMBER && uses == AS_NUMBER) ||
                 (form == UM_CELL_LIST && uses == AS_LIST))
            um_str_append_char(made, '?');
        else
            um_jval_dump(made, value);
        um_str_append_char(made, '\0');
    }
    if (made->failed != UM_OK)
        return;
    found_cell *cell = (found_cell *)(made->data + begin) + column;
    cell->number = number;
    cell->text = (uint32_t)place;
    cell->len = (uint32_t)(made->len - begin - place - 1);
    cell->at = (uint32_t)value.at;
    cell->form = form;
    cell->is_whole = um_jval_i64(value, &whole);
    cell->whole = whole;
}

static um_status find_cells(void *context, um_jval object, um_str *made, um_row_notes *notes,
                            um_error *err)
{
    cell_finder *f = context;
    const size_t n = f->source->n_columns, begin = made->len;
    found_cell *cells = (found_cell *)um_str_extend(made, n * sizeof *cells);
    for (size_t i = 0; i < n && cells != NULL; i++)
        cells[i].text = 0;
    for (size_t i = 0; i < n && made->failed == UM_OK; i++) {
        um_jval value;
        if (!find_column(object, &f->columns->paths[i], f->source->columns[i], &value))
            continue;
        f->seen[i] = true;
        if (um_jval_type(value) == UM_J_NULL)
            continue;
        make_cell(made, begin, i, value, f->uses[i]);
        if (made->failed == UM_OK)
            notes->keeps_root =
                notes->keeps_root || ((found_cell *)(made->data + begin))[i].form == UM_CELL_LIST;
    }
    return um_str_status(made, err);
}

static um_status take_object(um_mapped *s, const um_parsed_row *row, um_error *err)
{
    const found_cell *found = (const found_cell *)row->made;
    for (size_t i = 0; i < s->source->n_columns; i++) {
        const found_cell *f = &found[i];
        const char *text = row->made + f->text;
        s->cells[i] = (um_mapped_cell){.text = NULL};
        if (f->text > 0 && (f->form == UM_CELL_STRINGS || !is_absent(s, text)))
            s->cells[i] = (um_mapped_cell){.text = text,
                                           .len = f->len,
                                           .form = f->form,
                                           .number = f->number,
                                           .is_whole = f->is_whole,
                                           .whole = f->whole,
                                           .list = {row->root.document, f->at}};
    }
    um_status status = s->take(s, row->line, err);
    return status == UM_OK ? UM_OK : um_reading_row_failed(s->r, status, row->line, err);
}

/* A mapped name that no row has is a mistake. */
static um_status check_seen(const um_mapped *s, const cell_finder finders[UM_PARSED_THREADS],
                            um_error *err)
{
    for (size_t i = 0; i < s->source->n_columns; i++) {
        bool seen = false;
        for (size_t k = 0; k < UM_PARSED_THREADS; k++)
            seen = seen || finders[k].seen[i];
        if (!seen)
            return um_fail(err, UM_ERR_INPUT,
                           "%s: no row has '%.60s', which the section %s of the mapping names",
                           s->r->file_name, column_name(s, i), s->source->section);
    }
    return UM_OK;
}

static um_status read_json_lines(um_mapped *s, const um_entry *entry, bool is_log, um_error *err)
{
    column_paths columns;
    find_paths(&columns, s->source);
    cell_finder finder = {.source = s->source, .columns = &columns};
    find_uses(s, finder.uses);
    cell_finder finders[UM_PARSED_THREADS] = {finder, finder};
    const um_parsed_spec spec = {.noun = "JSON object",
                                 .members = columns.members,
                                 .n_members = columns.n_members,
                                 .make = find_cells,
                                 .makers = {&finders[0], &finders[1]}};
    um_lines lines = {0};
    um_parsed *parsed = NULL;
    um_parsed_row row;
    bool any = true;
    um_status status = um_reading_begin(s->r, entry, is_log, &lines, err);
    if (status == UM_OK)
        status = um_parsed_open(&parsed, &spec, &lines, err);
    while (status == UM_OK) {
        status = um_parsed_next(parsed, &row, &any, err);
        if (status != UM_OK || !any)
            break;
        status = um_reading_count(s->r, err);
        if (status != UM_OK)
            break;
        if (row.bad != NULL || row.has_nul)
            status = um_reading_reject(s->r, err, row.line, "%s",
                                       row.bad != NULL ? row.bad : "U+0000 in a text");
        else
            status = take_object(s, &row, err);
    }
    um_parsed_close(parsed);
    if (status == UM_OK && s->r->file->rows_read > 0)
        status = check_seen(s, finders, err);
    if (status == UM_OK)
        status = um_mapped_end_shown(s, err);
    if (status == UM_OK)
        status = um_reading_end(s->r, &lines, err);
    um_lines_close(&lines);
    return status;
}

static um_status read_source(um_mapped *s, const um_mapped_source *source, um_mapped_take take,
                             um_error *err)
{
    um_status status = UM_OK;
    bool is_log = source == &s->m->log;
    s->source = source;
    s->take = take;
    for (size_t i = 0; i < source->n_files && status == UM_OK; i++) {
        const um_entry *entry = um_bundle_find(s->r->bundle, source->files[i]);
        if (entry == NULL) {
            um_str found = UM_STR_INIT;
            um_bundle_describe(s->r->bundle, &found);
            status =
                um_fail(err, UM_ERR_INPUT, "%s: no file, or more than one, called %s; found %s",
                        s->r->bundle->path, source->files[i], um_str_text(&found));
            um_str_dispose(&found);
            break;
        }
        s->n_rejected = 0;
        const um_table_spec spec = {
            .separator = source->separator,
            .is_quoted = source->is_quoted,
            .is_latin1 = source->is_latin1,
            .has_header = source->has_header,
            .has_interactions = is_log,
            .n_fields = source->n_columns,
            .columns = source->columns,
            .take = take_fields,
            .end = end_file,
        };
        status = source->form == UM_MAPPED_JSONL ? read_json_lines(s, entry, is_log, err)
                                                 : um_reading_entry(s->r, entry, &spec, err);
    }
    return status;
}

static void dispose(um_mapped *s)
{
    um_mapping_free(s->m);
    um_str_dispose(&s->text);
    um_str_dispose(&s->ids);
    um_vec_dispose(&s->chosen);
    um_vec_dispose(&s->shown);
    um_vec_dispose(&s->items);
    um_vec_dispose(&s->sorted);
    um_mapped_dispose_group(s);
    free(s);
}

/* The mapping is there: without one this adapter is not chosen. */
static um_status read_mapped(um_reading *r, um_error *err)
{
    um_mapped *s = um_calloc(1, sizeof *s);
    if (s == NULL)
        return um_fail_memory(err, "a table reader");
    s->r = r;
    um_status status = um_mapping_read(&s->m, r->options->mapping, err);
    r->state = s;
    if (status == UM_OK && s->m->users.source.section != NULL)
        status = read_source(s, &s->m->users.source, take_user, err);
    if (status == UM_OK && s->m->items.source.section != NULL)
        status = read_source(s, &s->m->items.source, take_item, err);
    if (status == UM_OK)
        status = read_source(s, &s->m->log,
                             s->m->impression.column != UM_MAPPED_NONE ? um_mapped_take_shown
                                                                       : um_mapped_take_choice,
                             err);
    r->state = NULL;
    dispose(s);
    return status;
}

/* Chosen by being asked for, never by what a folder holds. */
static bool detect(const um_bundle *bundle)
{
    (void)bundle;
    return false;
}

const um_adapter um_adapter_mapped = {
    .name = "mapped",
    .files = "any CSV, TSV or JSON lines, described by --mapping FILE",
    .default_name = "log",
    .has_lists = true,
    .detect = detect,
    .read = read_mapped,
};
