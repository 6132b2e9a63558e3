/*
 * recbole.c - the atomic files of RecBole: <name>.inter, and beside it <name>.user and <name>.item
 * where they exist. Each begins with a line of typed columns, `user_id:token`, `rating:float`,
 * `class:token_seq`, `embedding:float_seq`.
 *
 * The separator is what stands between the first two columns of that line, so that it need not be
 * said. Sequences are separated by spaces. Users and items may be without a description.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/cells.h"
#include "data/dates.h"
#include "data/ingest.h"

#define LOG_ENDING    ".inter"
#define MAX_COLUMNS   256
#define MAX_SEPARATOR 8

typedef enum column_type { TOKEN, FLOAT, TOKEN_SEQ, FLOAT_SEQ } column_type;

typedef struct column {
    char *header; /* as in the file */
    char *name;
    column_type type;
} column;

/* One file of the three, while it is read. */
typedef struct atomic {
    um_arena memory;
    column columns[MAX_COLUMNS];
    const char *headers[MAX_COLUMNS];
    size_t n;
    char separator[MAX_SEPARATOR + 1];
    size_t user, item, time; /* places of these columns; n = there is none */
    um_str text;
} atomic;

static const char *const type_names[] = {"token", "float", "token_seq", "float_seq"};

/* Length of the type name that ends a header field, 0 when there is none. */
static size_t match_type(const char *text, size_t len, column_type *type)
{
    size_t best = 0;
    for (int i = 0; i < 4; i++) {
        size_t n = strlen(type_names[i]);
        if (n <= len && n > best && memcmp(text, type_names[i], n) == 0) {
            best = n;
            *type = (column_type)i;
        }
    }
    return best;
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static um_status fail_header(const um_reading *r, const char *text, size_t len, um_error *err)
{
    return um_fail(err, UM_ERR_INPUT,
                   "%s:1: header: '%.*s' has no type; need name:token, name:float, name:token_seq "
                   "or name:float_seq",
                   r->file_name, (int)(len < 60 ? len : 60), text);
}

/* The separator: what is between the type of the first column and the name of the second. */
static um_status find_separator(const um_reading *r, atomic *a, const char *text, size_t len,
                                um_error *err)
{
    const char *colon = memchr(text, ':', len);
    column_type type = TOKEN;
    size_t at = colon != NULL ? (size_t)(colon - text) + 1 : len;
    size_t type_len = match_type(text + at, len - at, &type), n = 0;
    if (type_len == 0)
        return fail_header(r, text, len, err);
    at += type_len;
    while (at + n < len && n < MAX_SEPARATOR && !is_name_char(text[at + n]))
        n++;
    memcpy(a->separator, n > 0 ? text + at : "\t", n > 0 ? n : 1);
    return UM_OK;
}

static um_status add_column(const um_reading *r, atomic *a, const char *text, size_t len,
                            um_error *err)
{
    column *c = &a->columns[a->n];
    const char *colon = memrchr(text, ':', len);
    size_t name_len = colon != NULL ? (size_t)(colon - text) : 0, rest = len - name_len;
    if (name_len == 0 || match_type(colon + 1, rest - 1, &c->type) != rest - 1)
        return fail_header(r, text, len, err);
    if (a->n + 1 == MAX_COLUMNS)
        return um_fail(err, UM_ERR_LIMIT, "%s:1: more than %d columns", r->file_name,
                       MAX_COLUMNS - 1);
    c->header = um_arena_strndup(&a->memory, text, len);
    c->name = um_arena_strndup(&a->memory, text, name_len);
    if (c->header == NULL || c->name == NULL)
        return um_fail_memory(err, "columns");
    a->headers[a->n++] = c->header;
    return UM_OK;
}

static size_t find_column(const atomic *a, const char *name)
{
    size_t i = 0;
    while (i < a->n && strcmp(a->columns[i].name, name) != 0)
        i++;
    return i;
}

static um_status parse_header(const um_reading *r, atomic *a, const char *text, size_t len,
                              um_error *err)
{
    um_status status = find_separator(r, a, text, len, err);
    size_t width = strlen(a->separator);
    for (const char *at = text, *end = text + len; status == UM_OK && at != NULL;) {
        const char *stop = memmem(at, (size_t)(end - at), a->separator, width);
        status = add_column(r, a, at, (size_t)((stop != NULL ? stop : end) - at), err);
        at = stop != NULL ? stop + width : NULL;
    }
    a->user = find_column(a, "user_id");
    a->item = find_column(a, "item_id");
    a->time = find_column(a, "timestamp");
    return status;
}

/* Reads the first line of a file, which says what its columns are. */
static um_status read_header(um_reading *r, atomic *a, const um_entry *entry, um_error *err)
{
    um_lines lines = {0};
    um_line line = {0};
    r->file_name = entry->name;
    um_status status = um_lines_open(&lines, r->bundle, entry, err);
    if (status == UM_OK)
        status = um_lines_next(&lines, &line, err);
    if (status == UM_OK && line.text == NULL)
        status = um_fail(err, UM_ERR_INPUT, "%s: the file is empty", entry->name);
    if (status == UM_OK && line.is_long)
        status = um_fail(err, UM_ERR_LIMIT, "%s:1: the header is too long", entry->name);
    if (status == UM_OK)
        status = parse_header(r, a, line.text, line.len, err);
    um_lines_close(&lines);
    return status;
}

/* Rows ---------------------------------------------------------------------------------------- */

/* The field as JSON in a->text, NULL when good, else why it is not. */
static const char *to_json(atomic *a, size_t i, const um_row *row)
{
    double number = 0;
    um_str_clear(&a->text);
    switch (a->columns[i].type) {
    case TOKEN:
        um_str_append_json_n(&a->text, row->field[i], row->len[i]);
        return NULL;
    case FLOAT:
        if (!um_cell_number(row->field[i], row->len[i], &number))
            return "is not a number";
        um_str_append_number(&a->text, number);
        return NULL;
    case TOKEN_SEQ:
        (void)um_cell_append_list(&a->text, row->field[i], row->len[i], " ", UM_LIST_JSON);
        return NULL;
    case FLOAT_SEQ:
        return um_cell_append_list(&a->text, row->field[i], row->len[i], " ", UM_LIST_NUMBERS)
                   ? NULL
                   : "is not a list of numbers";
    }
    return NULL;
}

/* Whether every field can be what its type says; rejects the row when not. */
static um_status check_types(um_reading *r, atomic *a, const um_row *row, bool *good, um_error *err)
{
    *good = false;
    for (size_t i = 0; i < a->n; i++) {
        column_type type = a->columns[i].type;
        if (row->len[i] == 0 || i == a->time || type == TOKEN || type == TOKEN_SEQ)
            continue;
        const char *bad = to_json(a, i, row);
        if (bad != NULL)
            return um_reading_reject(r, err, row->line, "%s '%.40s' %s", a->columns[i].name,
                                     row->field[i], bad);
    }
    *good = true;
    return UM_OK;
}

static um_status take_interaction(um_reading *r, const um_row *row, um_error *err)
{
    atomic *a = r->state;
    um_dataset_builder *b = r->builder;
    uint32_t user = 0, item = 0;
    int64_t time_s = 0;
    bool good = false;
    if (row->len[a->user] == 0 || row->len[a->item] == 0)
        return um_reading_reject(r, err, row->line, "user_id or item_id is empty");
    const char *bad = um_cell_unix_time(row->field[a->time], row->len[a->time], &time_s);
    if (bad != NULL && a->columns[a->time].type == TOKEN &&
        um_date_parse_iso(row->field[a->time], &time_s))
        bad = NULL;
    if (bad != NULL)
        return um_reading_reject(r, err, row->line, "timestamp '%.40s' %s", row->field[a->time],
                                 bad);
    um_status status = check_types(r, a, row, &good, err);
    if (status != UM_OK || !good)
        return status;
    status = um_dataset_builder_user(b, row->field[a->user], &user, NULL, err);
    if (status == UM_OK)
        status = um_dataset_builder_item(b, row->field[a->item], &item, NULL, err);
    if (status == UM_OK)
        status = um_dataset_builder_interaction(b, user, item, time_s, err);
    for (size_t i = 0; i < a->n && status == UM_OK; i++) {
        double number = 0;
        if (i == a->user || i == a->item || i == a->time || row->len[i] == 0)
            continue;
        if (a->columns[i].type == FLOAT && um_cell_number(row->field[i], row->len[i], &number)) {
            status = um_dataset_builder_number(b, a->columns[i].name, number, err);
            continue;
        }
        (void)to_json(a, i, row);
        status = um_str_status(&a->text, err);
        if (status == UM_OK)
            status = um_dataset_builder_text(b, a->columns[i].name, um_str_text(&a->text), err);
    }
    if (status == UM_OK)
        status = um_builder_set_line(b, row->line, err);
    return status;
}

typedef um_status (*index_fn)(um_dataset_builder *b, const char *id, uint32_t *index, bool *added,
                              um_error *err);
typedef um_status (*set_fn)(um_dataset_builder *b, uint32_t row, const char *column,
                            um_column_kind kind, const char *value, um_error *err);

/* Tokens, alone or in a sequence, are text; numbers are features. */
static um_status take_described(um_reading *r, const um_row *row, size_t id, index_fn index_of,
                                set_fn set, um_error *err)
{
    atomic *a = r->state;
    uint32_t index = 0;
    bool added = false, good = false;
    if (row->len[id] == 0)
        return um_reading_reject(r, err, row->line, "%s is empty", a->columns[id].name);
    um_status status = check_types(r, a, row, &good, err);
    if (status != UM_OK || !good)
        return status;
    status = index_of(r->builder, row->field[id], &index, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(r, err, row->line, "%s '%.60s' was described before",
                                 a->columns[id].name, row->field[id]);
    for (size_t i = 0; i < a->n && status == UM_OK; i++) {
        bool is_text = a->columns[i].type == TOKEN || a->columns[i].type == TOKEN_SEQ;
        if (i == id)
            continue;
        (void)to_json(a, i, row);
        status = um_str_status(&a->text, err);
        const char *value = is_text ? row->field[i] : um_str_text(&a->text);
        if (status == UM_OK)
            status = set(r->builder, index, a->columns[i].name,
                         is_text ? UM_COLUMN_DESCRIPTION : UM_COLUMN_FEATURE,
                         row->len[i] > 0 ? value : NULL, err);
    }
    return status;
}

static um_status take_user(um_reading *r, const um_row *row, um_error *err)
{
    const atomic *a = r->state;
    return take_described(r, row, a->user, um_dataset_builder_user, um_dataset_builder_set_user,
                          err);
}

static um_status take_item(um_reading *r, const um_row *row, um_error *err)
{
    const atomic *a = r->state;
    return take_described(r, row, a->item, um_dataset_builder_item, um_dataset_builder_set_item,
                          err);
}

/* Files --------------------------------------------------------------------------------------- */

static um_status check_roles(const um_reading *r, const atomic *a, um_row_fn take, um_error *err)
{
    const char *missing = NULL;
    if (take != take_item && a->user == a->n)
        missing = "user_id:token";
    else if (take != take_user && a->item == a->n)
        missing = "item_id:token";
    if (missing != NULL)
        return um_fail(err, UM_ERR_INPUT, "%s:1: header has no column %s", r->file_name, missing);
    if (take == take_interaction && a->time == a->n)
        return um_fail(
            err, UM_ERR_INPUT,
            "%s:1: header has no column timestamp:float; if the order of the rows is "
            "their order in time, say so in a mapping (`format: order`, docs/MAPPING.md)",
            r->file_name);
    return UM_OK;
}

static um_status read_atomic(um_reading *r, const um_entry *entry, um_row_fn take, um_error *err)
{
    atomic *a = um_calloc(1, sizeof *a);
    if (a == NULL)
        return um_fail_memory(err, "a table reader");
    um_status status = read_header(r, a, entry, err);
    if (status == UM_OK)
        status = check_roles(r, a, take, err);
    if (status == UM_OK) {
        r->state = a;
        const um_table_spec spec = {
            .separator = a->separator,
            /* Where fields may hold separators they are quoted; tab files are written as they are.
             */
            .is_quoted = strcmp(a->separator, ",") == 0 || strcmp(a->separator, ";") == 0,
            .has_header = true,
            .has_interactions = take == take_interaction,
            .n_fields = a->n,
            .columns = a->headers,
            .take = take,
        };
        status = um_reading_entry(r, entry, &spec, err);
        r->state = NULL;
    }
    um_str_dispose(&a->text);
    um_arena_dispose(&a->memory);
    free(a);
    return status;
}

/* Length of the name before ".inter" or ".inter.gz", 0 for other files. */
static size_t log_name_len(const char *name)
{
    const char *base = um_path_base(name);
    size_t len = strlen(base), n = strlen(LOG_ENDING);
    if (um_str_ends(base, ".gz"))
        len -= 3;
    return len > n && memcmp(base + len - n, LOG_ENDING, n) == 0 ? len - n : 0;
}

static const um_entry *find_log(const um_bundle *bundle, size_t *found)
{
    const um_entry *log = NULL;
    *found = 0;
    for (size_t i = 0; i < bundle->n_entries; i++) {
        if (log_name_len(bundle->entries[i].name) == 0)
            continue;
        log = &bundle->entries[i];
        (*found)++;
    }
    return log;
}

static bool detect(const um_bundle *bundle)
{
    size_t found = 0;
    return find_log(bundle, &found) != NULL;
}

static um_status make_name(const um_bundle *bundle, um_str *name, um_error *err)
{
    size_t found = 0;
    const um_entry *log = find_log(bundle, &found);
    if (found != 1)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: %zu files end with " LOG_ENDING ", need one; give a folder with one "
                       "data set, its parts joined",
                       bundle->path, found);
    um_str_append_n(name, um_path_base(log->name), log_name_len(log->name));
    return um_str_status(name, err);
}

static um_status read_recbole(um_reading *r, um_error *err)
{
    static const struct {
        const char *ending;
        um_row_fn take;
    } parts[] = {{".user", take_user}, {".item", take_item}};
    um_str name = UM_STR_INIT;
    um_status status = make_name(r->bundle, &name, err);
    size_t n = name.len, found = 0;
    for (size_t i = 0; i < 2 && status == UM_OK; i++) {
        name.len = n;
        um_str_append(&name, parts[i].ending);
        status = um_str_status(&name, err);
        const um_entry *entry =
            status == UM_OK ? um_bundle_find(r->bundle, um_str_text(&name)) : NULL;
        if (entry != NULL)
            status = read_atomic(r, entry, parts[i].take, err);
    }
    um_str_dispose(&name);
    return status == UM_OK ? read_atomic(r, find_log(r->bundle, &found), take_interaction, err)
                           : status;
}

const um_adapter um_adapter_recbole = {
    .name = "recbole",
    .files = "*.inter, with *.user and *.item if there are any",
    .detect = detect,
    .read = read_recbole,
    .make_name = make_name,
};
