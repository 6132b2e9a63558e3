/*
 * log_load.c - the data set of a workspace, as log_store.c packed it.
 *
 * The arrays are made at once, in the sizes that the data set's row states, after these were found
 * to be no more than the packed bytes can hold; each user's part is then copied to its place.
 * Whatever does not fit is damage, and is named.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/canonical.h"
#include "data/dataset_memory.h"
#include "stage/session.h"

#define INTERACTION_BYTES 12 /* item and time; the least a packed interaction takes */
#define SKIP_BYTES        16 /* time, count, one item */

typedef struct loader {
    um_dataset *d;
    json_t *columns;
    uint64_t history_bytes, skip_bytes; /* of the packed rows */
    uint64_t n, n_skips;                /* stated */
    uint64_t done, skips_done;
    uint32_t users_done, skip_users_done; /* users whose start is set */
    /* One kind of entities at a time. */
    um_table *table;
    bool items;
    UM_VEC(char *) ids;
    UM_VEC(char *) cells;
    UM_VEC(int64_t) release_s;
    UM_VEC(bool) has_release;
    UM_VEC(uint32_t) shown;
} loader;

static um_status fail_damaged(const char *what, uint64_t user, um_error *err)
{
    return um_fail(err, UM_ERR_INPUT, "workspace: %s of user %llu is damaged", what,
                   (unsigned long long)user);
}

static um_status fail_item(const char *what, uint64_t user, uint32_t item, uint32_t n,
                           um_error *err)
{
    return um_fail(err, UM_ERR_INPUT, "workspace: %s of user %llu names item %u of %u", what,
                   (unsigned long long)user, item, n);
}

/* Columns -------------------------------------------------------------------------------------- */

static bool column_is_sound(const json_t *column, bool is_series)
{
    const json_t *type = json_array_get(column, 1);
    if (!json_is_string(json_array_get(column, 0)))
        return false;
    if (is_series)
        return json_is_string(type);
    json_int_t kind = json_integer_value(type);
    return json_is_integer(type) && (kind == UM_COLUMN_DESCRIPTION || kind == UM_COLUMN_FEATURE);
}

/* Whether `columns` is what log_store.c writes; the functions below rely on it. */
static bool columns_are_sound(const json_t *columns)
{
    static const char *const keys[] = {"users", "items", "series"};
    for (int k = 0; k < 3; k++) {
        const json_t *list = json_object_get(columns, keys[k]);
        if (!json_is_array(list))
            return false;
        for (size_t i = 0; i < json_array_size(list); i++) {
            if (!column_is_sound(json_array_get(list, i), k == 2))
                return false;
            for (size_t j = 0; j < i; j++) {
                if (json_equal(json_array_get(list, i), json_array_get(list, j)))
                    return false;
            }
        }
    }
    return true;
}

static um_status make_columns(loader *l, um_table *table, const char *key, um_error *err)
{
    const json_t *list = json_object_get(l->columns, key);
    size_t n = json_array_size(list);
    table->n_columns = (uint32_t)n;
    table->columns = um_dataset_alloc(l->d, n, sizeof *table->columns);
    table->kinds = um_dataset_alloc(l->d, n, sizeof *table->kinds);
    if (table->columns == NULL || table->kinds == NULL)
        return um_fail_memory(err, "a table");
    for (size_t i = 0; i < n; i++) {
        const json_t *column = json_array_get(list, i);
        table->kinds[i] = (um_column_kind)json_integer_value(json_array_get(column, 1));
        table->columns[i] =
            um_arena_strdup(&l->d->memory->strings, json_string_value(json_array_get(column, 0)));
        if (table->columns[i] == NULL)
            return um_fail_memory(err, "a table");
    }
    return UM_OK;
}

static um_status make_series(loader *l, um_error *err)
{
    const json_t *list = json_object_get(l->columns, "series");
    um_dataset *d = l->d;
    size_t n = json_array_size(list);
    d->series = um_dataset_alloc(d, n, sizeof *d->series);
    if (d->series == NULL)
        return um_fail_memory(err, "behaviour columns");
    for (size_t i = 0; i < n; i++) {
        const json_t *column = json_array_get(list, i);
        um_series *s = &d->series[d->n_series++];
        bool is_number = strcmp(json_string_value(json_array_get(column, 1)), "number") == 0;
        s->name =
            um_arena_strdup(&d->memory->strings, json_string_value(json_array_get(column, 0)));
        if (is_number)
            s->numbers = um_dataset_alloc(d, (size_t)l->n, sizeof *s->numbers);
        else
            s->texts = um_dataset_alloc(d, (size_t)l->n, sizeof *s->texts);
        if (s->name == NULL || (s->numbers == NULL && s->texts == NULL))
            return um_fail_memory(err, "behaviour columns");
    }
    return UM_OK;
}

/* Users and items ------------------------------------------------------------------------------ */

/* The column of that name, looked for from `first` on and around: cells come in their order. */
static int find_column(const um_table *table, const char *name, um_column_kind kind, uint32_t first)
{
    for (uint32_t i = 0; i < table->n_columns; i++) {
        uint32_t c = (first + i) % table->n_columns;
        if (table->kinds[c] == kind && strcmp(table->columns[c], name) == 0)
            return (int)c;
    }
    return -1;
}

static um_status load_cells(loader *l, char **row, const char *text, um_column_kind kind,
                            um_error *err)
{
    json_t *object = NULL, *value;
    const char *key;
    uint32_t next = 0;
    um_str cell = UM_STR_INIT;

    if (strcmp(text, "{}") == 0)
        return UM_OK;
    um_status status = um_json_parse(&object, text, strlen(text), "workspace", err);
    if (status != UM_OK)
        return status;
    json_object_foreach(object, key, value)
    {
        if (l->items && kind == UM_COLUMN_FEATURE && strcmp(key, UM_CANONICAL_RELEASE) == 0) {
            l->release_s.data[l->release_s.len - 1] = json_integer_value(value);
            l->has_release.data[l->has_release.len - 1] = true;
            continue;
        }
        int column = find_column(l->table, key, kind, next);
        if (column < 0)
            status = um_fail(err, UM_ERR_INPUT, "workspace: no column is called '%.80s'", key);
        else if (kind == UM_COLUMN_DESCRIPTION && !json_is_string(value))
            status = um_fail(err, UM_ERR_INPUT, "workspace: description '%s' is not a text", key);
        if (status != UM_OK)
            break;
        next = (uint32_t)column + 1;
        um_str_clear(&cell);
        if (kind == UM_COLUMN_DESCRIPTION)
            um_str_append(&cell, json_string_value(value));
        else
            um_json_dump(&cell, value);
        status = um_str_status(&cell, err);
        if (status == UM_OK)
            status = um_dataset_keep_cell(l->d, um_str_text(&cell), cell.len, &row[column], err);
        if (status != UM_OK)
            break;
    }
    json_decref(object);
    um_str_dispose(&cell);
    return status;
}

static um_status load_entity(void *context, const um_row_entity *row, um_error *err)
{
    loader *l = context;
    size_t n_columns = l->table->n_columns, cells = l->cells.len;
    if (row->id != l->ids.len || row->id >= UINT32_MAX || row->external_id[0] == '\0')
        return um_fail(err, UM_ERR_INPUT, "workspace: ids of %s are not consecutive at '%s'",
                       l->items ? "items" : "users", row->external_id);
    char *id = um_arena_strdup(&l->d->memory->strings, row->external_id);
    if (id == NULL || !um_vec_push(&l->ids, id) || !um_vec_push(&l->release_s, 0) ||
        !um_vec_push(&l->has_release, false) || !um_vec_reserve(&l->cells, cells + n_columns))
        return um_fail_memory(err, "a table");
    for (size_t c = 0; c < n_columns; c++)
        l->cells.data[l->cells.len++] = NULL;
    um_status status =
        load_cells(l, l->cells.data + cells, row->description, UM_COLUMN_DESCRIPTION, err);
    if (status == UM_OK)
        status = load_cells(l, l->cells.data + cells, row->features, UM_COLUMN_FEATURE, err);
    return status;
}

/* Hands a growing array over to the data set; an empty one becomes an empty block. */
static bool own_array(um_dataset *d, void **array)
{
    if (*array == NULL)
        return (*array = um_dataset_alloc(d, 0, 1)) != NULL;
    void *block = *array;
    *array = NULL;
    if (!um_dataset_own(d, block))
        return false;
    *array = block;
    return true;
}

static um_status load_table(loader *l, um_workspace *ws, bool items, uint64_t stated, um_error *err)
{
    um_dataset *d = l->d;
    l->table = items ? &d->items : &d->users;
    l->items = items;
    um_status status = make_columns(l, l->table, items ? "items" : "users", err);
    if (status == UM_OK)
        status = items ? um_workspace_items(ws, load_entity, l, err)
                       : um_workspace_users(ws, load_entity, l, err);
    if (status != UM_OK)
        return status;
    if (l->ids.len != stated)
        return um_fail(err, UM_ERR_INPUT, "workspace: %zu %s, the data set's row says %llu",
                       l->ids.len, items ? "items" : "users", (unsigned long long)stated);
    l->table->n_rows = (uint32_t)l->ids.len;
    l->table->ids = l->ids.data;
    l->table->cells = l->cells.data;
    l->ids.data = l->cells.data = NULL;
    l->ids.len = l->ids.cap = l->cells.len = l->cells.cap = 0;
    if (!own_array(d, (void **)&l->table->ids) || !own_array(d, (void **)&l->table->cells))
        return um_fail_memory(err, "a table");
    if (items) {
        d->item_available_s = l->release_s.data;
        d->item_has_release = l->has_release.data;
        l->release_s.data = NULL;
        l->has_release.data = NULL;
        l->release_s.cap = l->has_release.cap = 0;
        if (!own_array(d, (void **)&d->item_available_s) ||
            !own_array(d, (void **)&d->item_has_release))
            return um_fail_memory(err, "a table");
    }
    l->release_s.len = l->has_release.len = 0;
    return UM_OK;
}

/* Interactions --------------------------------------------------------------------------------- */

/* Takes `bytes` from the blob, or NULL when it is too short. */
static const unsigned char *take(const unsigned char **at, const unsigned char *end, size_t bytes)
{
    const unsigned char *p = *at;
    if ((size_t)(end - p) < bytes)
        return NULL;
    *at = p + bytes;
    return p;
}

/* One array of the blob to its place; false when the blob is too short. */
static bool copy(void *to, const unsigned char **at, const unsigned char *end, size_t bytes)
{
    const unsigned char *from = take(at, end, bytes);
    if (from != NULL && bytes > 0)
        memcpy(to, from, bytes);
    return from != NULL;
}

static bool in_order(const int64_t *time_s, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (time_s[i] < time_s[i - 1])
            return false;
    }
    return true;
}

static um_status check_items(const loader *l, const uint32_t *items, size_t n, const char *what,
                             uint64_t user, um_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (items[i] >= l->d->items.n_rows)
            return fail_item(what, user, items[i], l->d->items.n_rows, err);
    }
    return UM_OK;
}

/* n texts: all lengths, then all bytes. *sound tells whether they fit. */
static um_status load_texts(loader *l, char **texts, const unsigned char **at,
                            const unsigned char *end, size_t n, bool *sound, um_error *err)
{
    const unsigned char *lengths = take(at, end, n * 4);
    um_status status = UM_OK;
    *sound = lengths != NULL;
    for (size_t i = 0; i < n && *sound && status == UM_OK; i++) {
        uint32_t len = 0;
        memcpy(&len, lengths + i * 4, 4);
        if (len == UINT32_MAX)
            continue;
        const unsigned char *text = take(at, end, len);
        *sound = text != NULL && memchr(text, '\0', len) == NULL;
        if (*sound)
            status = um_dataset_keep_text(l->d, (const char *)text, len, &texts[i], err);
    }
    return status;
}

/* n lists from counts, the first of them list number `first`; their items are put after those that
 * are there. start[i] becomes where list i begins. */
static um_status load_lists(loader *l, const unsigned char *counts, size_t n, uint64_t *start,
                            const unsigned char **at, const unsigned char *end, bool *sound,
                            um_error *err)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t count = 0;
        memcpy(&count, counts + i * 4, 4);
        start[i] = l->shown.len + sum;
        sum += count;
    }
    *sound = sum <= (size_t)(end - *at) / 4;
    if (!*sound)
        return UM_OK;
    if (!um_vec_reserve(&l->shown, l->shown.len + (size_t)sum))
        return um_fail_memory(err, "impressions");
    *sound = copy(l->shown.data + l->shown.len, at, end, (size_t)sum * 4);
    l->shown.len += (size_t)sum;
    return UM_OK;
}

/* Every list that is there has the chosen item at its position. */
static bool lists_hold_choice(loader *l, uint64_t first, size_t n)
{
    um_dataset *d = l->d;
    for (uint64_t i = first; i < first + n; i++) {
        uint64_t begin = d->impression_start[i];
        uint64_t end = i + 1 < first + n ? d->impression_start[i + 1] : l->shown.len;
        int32_t position = d->impression_position[i];
        if (begin == end)
            d->impression_position[i] = -1;
        else if (position < 0 || (uint64_t)position >= end - begin ||
                 l->shown.data[begin + (uint64_t)position] != d->item[i])
            return false;
    }
    return true;
}

static um_status load_impressions(loader *l, const um_row_history *row, const unsigned char **at,
                                  const unsigned char *end, um_error *err)
{
    um_dataset *d = l->d;
    size_t n = (size_t)row->n, before = l->shown.len;
    bool sound = false;
    const unsigned char *counts = take(at, end, n * 4);
    if (counts == NULL || !copy(d->impression_position + l->done, at, end, n * 4))
        return fail_damaged("history", row->user_id, err);
    um_status status =
        load_lists(l, counts, n, d->impression_start + l->done, at, end, &sound, err);
    if (status == UM_OK && !sound)
        status = fail_damaged("history", row->user_id, err);
    if (status == UM_OK)
        status = check_items(l, l->shown.data + before, l->shown.len - before, "history",
                             row->user_id, err);
    if (status == UM_OK && !lists_hold_choice(l, l->done, n))
        status = fail_damaged("impression list", row->user_id, err);
    return status;
}

static um_status load_series(loader *l, um_series *s, const um_row_history *row,
                             const unsigned char **at, const unsigned char *end, um_error *err)
{
    size_t n = (size_t)row->n;
    bool sound = true;
    um_status status = UM_OK;
    if (s->numbers == NULL) {
        status = load_texts(l, s->texts + l->done, at, end, n, &sound, err);
    } else {
        sound = copy(s->numbers + l->done, at, end, n * 8);
        for (size_t i = 0; i < n && sound; i++)
            sound = !isinf(s->numbers[l->done + i]);
    }
    return status == UM_OK && !sound ? fail_damaged("history", row->user_id, err) : status;
}

static um_status load_history(void *context, const um_row_history *row, um_error *err)
{
    loader *l = context;
    um_dataset *d = l->d;
    const unsigned char *at = row->data, *end = at + row->bytes;
    size_t n = (size_t)row->n;

    if (row->user_id >= d->users.n_rows || row->n > row->bytes / INTERACTION_BYTES ||
        row->n > l->n - l->done)
        return fail_damaged("history", row->user_id, err);
    while (l->users_done <= row->user_id)
        d->user_start[l->users_done++] = l->done;
    if (!copy(d->item + l->done, &at, end, n * 4) || !copy(d->time_s + l->done, &at, end, n * 8) ||
        !in_order(d->time_s + l->done, n))
        return fail_damaged("history", row->user_id, err);
    um_status status = check_items(l, d->item + l->done, n, "history", row->user_id, err);
    for (uint32_t c = 0; c < d->n_series && status == UM_OK; c++)
        status = load_series(l, &d->series[c], row, &at, end, err);
    if (status == UM_OK && d->impression_start != NULL)
        status = load_impressions(l, row, &at, end, err);
    if (status == UM_OK && at != end)
        status = fail_damaged("history", row->user_id, err);
    l->done += n;
    return status;
}

static um_status load_histories(loader *l, um_workspace *ws, um_error *err)
{
    um_dataset *d = l->d;
    bool shown = json_is_true(json_object_get(l->columns, "impressions"));
    size_t n = (size_t)l->n;
    d->n_interactions = l->n;
    d->user_start = um_dataset_alloc(d, (size_t)d->users.n_rows + 1, sizeof *d->user_start);
    d->item = um_dataset_alloc(d, n, sizeof *d->item);
    d->time_s = um_dataset_alloc(d, n, sizeof *d->time_s);
    if (shown) {
        d->impression_start = um_dataset_alloc(d, n + 1, sizeof *d->impression_start);
        d->impression_position = um_dataset_alloc(d, n, sizeof *d->impression_position);
    }
    if (d->user_start == NULL || d->item == NULL || d->time_s == NULL ||
        (shown && (d->impression_start == NULL || d->impression_position == NULL)))
        return um_fail_memory(err, "interactions");
    um_status status = make_series(l, err);
    if (status == UM_OK)
        status = um_workspace_histories(ws, load_history, l, err);
    if (status != UM_OK)
        return status;
    if (l->done != l->n)
        return um_fail(err, UM_ERR_INPUT,
                       "workspace: %llu interactions, the data set's row says %llu",
                       (unsigned long long)l->done, (unsigned long long)l->n);
    while (l->users_done <= d->users.n_rows)
        d->user_start[l->users_done++] = l->done;
    if (!shown)
        return UM_OK;
    d->impression_start[n] = l->shown.len;
    d->impression_item = l->shown.data;
    l->shown.data = NULL;
    l->shown.len = l->shown.cap = 0;
    return own_array(d, (void **)&d->impression_item) ? UM_OK : um_fail_memory(err, "impressions");
}

/* Skips ---------------------------------------------------------------------------------------- */

static um_status load_user_skips(void *context, const um_row_history *row, um_error *err)
{
    static const char what[] = "list nobody chose from";
    loader *l = context;
    um_dataset *d = l->d;
    const unsigned char *at = row->data, *end = at + row->bytes;
    size_t n = (size_t)row->n, before = l->shown.len;
    uint64_t *start = d->skip_list_start + l->skips_done;
    bool sound = false;

    if (row->user_id >= d->users.n_rows || row->n > row->bytes / SKIP_BYTES ||
        row->n > l->n_skips - l->skips_done)
        return fail_damaged(what, row->user_id, err);
    while (l->skip_users_done <= row->user_id)
        d->skip_start[l->skip_users_done++] = l->skips_done;
    const unsigned char *counts = NULL;
    if (!copy(d->skip_time_s + l->skips_done, &at, end, n * 8) ||
        (counts = take(&at, end, n * 4)) == NULL || !in_order(d->skip_time_s + l->skips_done, n))
        return fail_damaged(what, row->user_id, err);
    um_status status = load_lists(l, counts, n, start, &at, end, &sound, err);
    if (status != UM_OK)
        return status;
    for (size_t k = 0; k < n && sound; k++)
        sound = start[k] < (k + 1 < n ? start[k + 1] : l->shown.len); /* none is empty */
    if (!sound || at != end)
        return fail_damaged(what, row->user_id, err);
    l->skips_done += n;
    return check_items(l, l->shown.data + before, l->shown.len - before, what, row->user_id, err);
}

static um_status load_skips(loader *l, um_workspace *ws, um_error *err)
{
    um_dataset *d = l->d;
    size_t n = (size_t)l->n_skips;
    if (n == 0 && l->skip_bytes == 0)
        return UM_OK;
    d->skip_start = um_dataset_alloc(d, (size_t)d->users.n_rows + 1, sizeof *d->skip_start);
    d->skip_time_s = um_dataset_alloc(d, n, sizeof *d->skip_time_s);
    d->skip_list_start = um_dataset_alloc(d, n + 1, sizeof *d->skip_list_start);
    if (d->skip_start == NULL || d->skip_time_s == NULL || d->skip_list_start == NULL)
        return um_fail_memory(err, "lists nobody chose from");
    um_status status = um_workspace_skips(ws, load_user_skips, l, err);
    if (status != UM_OK)
        return status;
    if (l->skips_done != l->n_skips)
        return um_fail(err, UM_ERR_INPUT,
                       "workspace: %llu lists nobody chose from, the data set's row says %llu",
                       (unsigned long long)l->skips_done, (unsigned long long)l->n_skips);
    while (l->skip_users_done <= d->users.n_rows)
        d->skip_start[l->skip_users_done++] = l->skips_done;
    d->n_skips = l->n_skips;
    d->skip_list_start[n] = l->shown.len;
    d->skip_item = l->shown.data;
    l->shown.data = NULL;
    l->shown.len = l->shown.cap = 0;
    return own_array(d, (void **)&d->skip_item) ? UM_OK
                                                : um_fail_memory(err, "lists nobody chose from");
}

/* All of it ------------------------------------------------------------------------------------ */

static um_status load_header(loader *l, const um_row_dataset *row, um_workspace *ws, um_error *err)
{
    um_status status =
        um_json_parse(&l->columns, row->columns, strlen(row->columns), "workspace", err);
    if (status == UM_OK && !columns_are_sound(l->columns))
        status = um_fail(err, UM_ERR_INPUT, "workspace: the columns of the log are damaged");
    if (status == UM_OK)
        status = um_workspace_log_bytes(&l->history_bytes, &l->skip_bytes, ws, err);
    if (status != UM_OK)
        return status;
    l->n = row->n_interactions;
    l->n_skips = row->n_skips;
    if (l->n > l->history_bytes / INTERACTION_BYTES || l->n_skips > l->skip_bytes / SKIP_BYTES)
        return um_fail(err, UM_ERR_INPUT,
                       "workspace: the data set's row says %llu interactions and %llu lists nobody "
                       "chose from, more than are stored",
                       (unsigned long long)l->n, (unsigned long long)l->n_skips);
    if ((status = um_dataset_check_name(row->name, err)) != UM_OK)
        return status;
    l->d = um_dataset_new();
    if (l->d == NULL)
        return um_fail_memory(err, "a data set");
    l->d->name = um_arena_strdup(&l->d->memory->strings, row->name);
    if (l->d->name == NULL)
        return um_fail_memory(err, "a data set");
    return um_dataset_set_spool_dir(l->d, um_workspace_path(ws), err);
}

um_status um_log_load(um_workspace *ws, um_dataset **out, um_error *err)
{
    um_row_dataset row;
    loader l = {0};
    um_status status = um_workspace_get_dataset(&row, ws, err);

    if (status == UM_ERR_NOT_FOUND)
        return um_fail(err, UM_ERR_STATE,
                       "workspace '%s' has no log yet; run `mirrorer ingest` first",
                       um_workspace_path(ws));
    if (status != UM_OK)
        return status;
    status = load_header(&l, &row, ws, err);
    if (status == UM_OK)
        status = load_table(&l, ws, false, row.n_users, err);
    if (status == UM_OK)
        status = load_table(&l, ws, true, row.n_items, err);
    if (status == UM_OK)
        status = load_histories(&l, ws, err);
    if (status == UM_OK)
        status = load_skips(&l, ws, err);
    if (status == UM_OK)
        status = um_dataset_flush_texts(l.d, err);
    if (status == UM_OK)
        status = um_dataset_find_first_seen(l.d, NULL, err);
    if (status == UM_OK) {
        um_dataset_release_texts(l.d);
        *out = l.d;
        l.d = NULL;
    }
    um_dataset_free(l.d);
    um_vec_dispose(&l.ids);
    um_vec_dispose(&l.cells);
    um_vec_dispose(&l.release_s);
    um_vec_dispose(&l.has_release);
    um_vec_dispose(&l.shown);
    json_decref(l.columns);
    return status;
}
