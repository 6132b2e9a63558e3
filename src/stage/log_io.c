/*
 * log_io.c - a data set in the workspace.
 *
 * Users and items are rows; the interactions of one user are one packed row, so that writing a log
 * costs a row a user, not a row an interaction. Packed history, little-endian as the machine is:
 *
 *     u32 item[n]                 index of the item
 *     i64 time_s[n]
 *     for each series: f64[n], or for texts u32 length[n] (UINT32_MAX = absent) and the bytes
 *     with impressions: u32 count[n], i32 position[n], u32 item[sum of counts]
 *
 * The dataset row's `columns` says which series there are. An item's release (seconds) is kept in
 * its features under a name that no item feature can have, because logs give releases under it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/builder.h"
#include "data/canonical.h"
#include "stage/session.h"

/* JSON object of one kind of columns of a row. */
static void entity_json(um_str *s, const um_table *table, uint32_t row, um_column_kind kind)
{
    bool first = s->len == 0;
    if (first)
        um_str_append(s, "{");
    for (uint32_t c = 0; c < table->n_columns; c++) {
        const char *cell = um_table_cell(table, row, (int)c);
        if (table->kinds[c] != kind || cell == NULL)
            continue;
        if (s->len > 1)
            um_str_append(s, ",");
        um_str_append_json(s, table->columns[c]);
        um_str_append(s, ":");
        if (kind == UM_COLUMN_DESCRIPTION)
            um_str_append_json(s, cell);
        else
            um_str_append(s, cell);
    }
    um_str_append(s, "}");
}

static um_status store_entities(um_workspace *ws, const um_dataset *d, bool items, um_error *err)
{
    const um_table *table = items ? &d->items : &d->users;
    um_str description = UM_STR_INIT, features = UM_STR_INIT;
    um_status status = UM_OK;

    for (uint32_t i = 0; i < table->n_rows && status == UM_OK; i++) {
        um_str_clear(&description);
        um_str_clear(&features);
        entity_json(&description, table, i, UM_COLUMN_DESCRIPTION);
        if (items && d->item_has_release[i])
            um_str_appendf(&features, "{\"" UM_CANONICAL_RELEASE "\":%lld",
                           (long long)d->item_available_s[i]);
        entity_json(&features, table, i, UM_COLUMN_FEATURE);
        if ((status = um_str_status(&description, err)) != UM_OK ||
            (status = um_str_status(&features, err)) != UM_OK)
            break;
        um_row_entity row = {i, table->ids[i], description.data, features.data};
        status =
            items ? um_workspace_put_item(ws, &row, err) : um_workspace_put_user(ws, &row, err);
    }
    um_str_dispose(&description);
    um_str_dispose(&features);
    return status;
}

static void pack_history(um_str *s, const um_dataset *d, uint64_t begin, uint64_t end)
{
    size_t n = (size_t)(end - begin);
    um_str_append_n(s, d->item + begin, n * sizeof *d->item);
    um_str_append_n(s, d->time_s + begin, n * sizeof *d->time_s);
    for (uint32_t c = 0; c < d->n_series; c++) {
        const um_series *series = &d->series[c];
        if (series->numbers != NULL) {
            um_str_append_n(s, series->numbers + begin, n * sizeof(double));
            continue;
        }
        for (uint64_t i = begin; i < end; i++) {
            uint32_t len =
                series->texts[i] != NULL ? (uint32_t)strlen(series->texts[i]) : UINT32_MAX;
            um_str_append_n(s, &len, sizeof len);
        }
        for (uint64_t i = begin; i < end; i++) {
            if (series->texts[i] != NULL)
                um_str_append(s, series->texts[i]);
        }
    }
    if (d->impression_start == NULL)
        return;
    for (uint64_t i = begin; i < end; i++) {
        uint32_t count = (uint32_t)(d->impression_start[i + 1] - d->impression_start[i]);
        um_str_append_n(s, &count, sizeof count);
    }
    um_str_append_n(s, d->impression_position + begin, n * sizeof *d->impression_position);
    uint64_t first = d->impression_start[begin];
    um_str_append_n(s, d->impression_item + first,
                    (size_t)(d->impression_start[end] - first) * sizeof *d->impression_item);
}

static um_status store_histories(um_workspace *ws, const um_dataset *d, const um_monitor *monitor,
                                 um_error *err)
{
    um_str s = UM_STR_INIT;
    um_status status = UM_OK;

    for (uint32_t u = 0; u < d->users.n_rows && status == UM_OK; u++) {
        uint64_t begin = d->user_start[u], end = d->user_start[u + 1];
        if (begin == end)
            continue;
        um_str_clear(&s);
        pack_history(&s, d, begin, end);
        status = um_str_status(&s, err);
        um_row_history row = {u, end - begin, s.data, s.len};
        if (status == UM_OK)
            status = um_workspace_put_history(ws, &row, err);
        if (status == UM_OK && um_monitor_stopped(monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "ingest: stopped; nothing was stored");
    }
    um_str_dispose(&s);
    return status;
}

static void append_columns(um_str *s, const um_table *table)
{
    um_str_append(s, "[");
    for (uint32_t c = 0; c < table->n_columns; c++) {
        um_str_append(s, c > 0 ? ",[" : "[");
        um_str_append_json(s, table->columns[c]);
        um_str_appendf(s, ",%d]", (int)table->kinds[c]);
    }
    um_str_append(s, "]");
}

static um_status store_dataset_row(um_workspace *ws, const um_dataset *d, const char *source,
                                   um_error *err)
{
    um_str s = UM_STR_INIT;
    um_str_append(&s, "{\"users\":");
    append_columns(&s, &d->users);
    um_str_append(&s, ",\"items\":");
    append_columns(&s, &d->items);
    um_str_append(&s, ",\"series\":[");
    for (uint32_t c = 0; c < d->n_series; c++) {
        um_str_append(&s, c > 0 ? ",[" : "[");
        um_str_append_json(&s, d->series[c].name);
        um_str_append(&s, d->series[c].numbers != NULL ? ",\"number\"]" : ",\"text\"]");
    }
    um_str_appendf(&s, "],\"impressions\":%s}", d->impression_start != NULL ? "true" : "false");
    um_status status = um_str_status(&s, err);
    um_row_dataset row = {d->name,           d->users.n_rows, d->items.n_rows,
                          d->n_interactions, s.data,          source};
    if (status == UM_OK)
        status = um_workspace_set_dataset(ws, &row, err);
    um_str_dispose(&s);
    return status;
}

um_status um_log_store(um_workspace *ws, const um_dataset *d, const char *source,
                       const um_ingest_report *report, const um_monitor *monitor, um_error *err)
{
    um_status status = store_dataset_row(ws, d, source, err);
    if (status == UM_OK)
        status = store_entities(ws, d, false, err);
    if (status == UM_OK)
        status = store_entities(ws, d, true, err);
    if (status == UM_OK)
        status = store_histories(ws, d, monitor, err);
    for (size_t i = 0; i < report->n_files && status == UM_OK; i++) {
        const um_ingest_file *f = &report->files[i];
        um_row_file row = {f->name, f->rows_read, f->rows_kept, f->rows_rejected, f->bytes};
        status = um_workspace_put_file(ws, &row, err);
    }
    return status;
}

/* Loading ------------------------------------------------------------------------------------- */

typedef struct loader {
    um_dataset_builder *builder;
    json_t *columns;
    bool items;
    uint32_t n_items;
} loader;

/* Whether `columns` is what store_dataset_row writes; the functions below rely on it. */
static bool columns_are_sound(const json_t *columns)
{
    static const char *const keys[] = {"users", "items", "series"};
    for (int k = 0; k < 3; k++) {
        const json_t *list = json_object_get(columns, keys[k]);
        if (!json_is_array(list))
            return false;
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *name = json_array_get(json_array_get(list, i), 0);
            const json_t *type = json_array_get(json_array_get(list, i), 1);
            json_int_t kind = json_integer_value(type);
            bool sound = k == 2 ? json_is_string(type)
                                : json_is_integer(type) &&
                                      (kind == UM_COLUMN_DESCRIPTION || kind == UM_COLUMN_FEATURE);
            if (!json_is_string(name) || !sound)
                return false;
        }
    }
    return true;
}

/* All behaviour columns in order, whichever row has the first value of each. */
static um_status declare_series(loader *l, um_error *err)
{
    const json_t *list = json_object_get(l->columns, "series");
    um_status status = UM_OK;
    for (size_t i = 0; i < json_array_size(list) && status == UM_OK; i++) {
        const json_t *name = json_array_get(json_array_get(list, i), 0);
        status = um_builder_declare_series(l->builder, json_string_value(name), err);
    }
    return status;
}

static um_status declare_columns(loader *l, uint32_t index, const char *key, um_error *err)
{
    size_t i;
    json_t *column;
    um_status status = UM_OK;
    /* Touching every column of the first row, in order, keeps the order of columns. */
    json_array_foreach(json_object_get(l->columns, key), i, column)
    {
        const char *name = json_string_value(json_array_get(column, 0));
        um_column_kind kind = (um_column_kind)json_integer_value(json_array_get(column, 1));
        status = l->items ? um_dataset_builder_set_item(l->builder, index, name, kind, NULL, err)
                          : um_dataset_builder_set_user(l->builder, index, name, kind, NULL, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

static um_status load_cells(loader *l, uint32_t index, const char *text, um_column_kind kind,
                            um_error *err)
{
    json_t *object = NULL, *value;
    const char *key;
    um_str cell = UM_STR_INIT;
    um_status status = um_json_parse(&object, text, strlen(text), "workspace", err);

    if (status != UM_OK)
        return status;
    json_object_foreach(object, key, value)
    {
        if (l->items && kind == UM_COLUMN_FEATURE && strcmp(key, UM_CANONICAL_RELEASE) == 0) {
            status = um_dataset_builder_release(l->builder, index, json_integer_value(value), err);
        } else if (kind == UM_COLUMN_DESCRIPTION && !json_is_string(value)) {
            status = um_fail(err, UM_ERR_INPUT, "workspace: description '%s' is not a text", key);
        } else {
            um_str_clear(&cell);
            if (kind == UM_COLUMN_DESCRIPTION)
                um_str_append(&cell, json_string_value(value));
            else
                um_json_dump(&cell, value);
            status = um_str_status(&cell, err);
            if (status == UM_OK)
                status = l->items ? um_dataset_builder_set_item(l->builder, index, key, kind,
                                                                um_str_text(&cell), err)
                                  : um_dataset_builder_set_user(l->builder, index, key, kind,
                                                                um_str_text(&cell), err);
        }
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
    uint32_t index;
    um_status status =
        l->items ? um_dataset_builder_item(l->builder, row->external_id, &index, NULL, err)
                 : um_dataset_builder_user(l->builder, row->external_id, &index, NULL, err);
    if (status == UM_OK && index != row->id)
        status = um_fail(err, UM_ERR_INPUT, "workspace: ids of %s are not consecutive at '%s'",
                         l->items ? "items" : "users", row->external_id);
    if (status == UM_OK && index == 0)
        status = declare_columns(l, index, l->items ? "items" : "users", err);
    if (status == UM_OK)
        status = load_cells(l, index, row->description, UM_COLUMN_DESCRIPTION, err);
    if (status == UM_OK)
        status = load_cells(l, index, row->features, UM_COLUMN_FEATURE, err);
    return status;
}

/* Takes `bytes` from the blob, or NULL when it is too short. */
static const unsigned char *take(const unsigned char **at, const unsigned char *end, size_t bytes)
{
    const unsigned char *p = *at;
    if ((size_t)(end - p) < bytes)
        return NULL;
    *at = p + bytes;
    return p;
}

/* Where each column of a packed history begins. Unaligned: read by memcpy. */
typedef struct packed {
    const unsigned char *item, *time;
    const unsigned char **series;      /* numbers, or lengths of texts */
    const unsigned char **series_text; /* the bytes of texts, NULL for numbers */
    const unsigned char *counts, *positions, *impressions;
} packed;

static bool unpack(packed *out, const json_t *columns, const um_row_history *row)
{
    const unsigned char *at = row->data, *end = at + row->bytes;
    size_t n = (size_t)row->n, c;
    json_t *series;

    if (row->n > row->bytes / 12) /* item and time alone take 12 bytes */
        return false;
    out->item = take(&at, end, n * 4);
    out->time = out->item != NULL ? take(&at, end, n * 8) : NULL;
    if (out->time == NULL)
        return false;
    json_array_foreach(json_object_get(columns, "series"), c, series)
    {
        bool number = strcmp(json_string_value(json_array_get(series, 1)), "number") == 0;
        size_t bytes = 0;
        out->series[c] = take(&at, end, n * (number ? 8 : 4));
        if (out->series[c] == NULL)
            return false;
        for (size_t i = 0; i < n && !number; i++) {
            uint32_t len;
            memcpy(&len, out->series[c] + i * 4, 4);
            bytes += len != UINT32_MAX ? len : 0;
        }
        out->series_text[c] = number ? NULL : take(&at, end, bytes);
        if (!number && out->series_text[c] == NULL)
            return false;
    }
    if (json_is_true(json_object_get(columns, "impressions"))) {
        uint64_t sum = 0;
        out->counts = take(&at, end, n * 4);
        out->positions = out->counts != NULL ? take(&at, end, n * 4) : NULL;
        for (size_t i = 0; i < n && out->positions != NULL; i++) {
            uint32_t count;
            memcpy(&count, out->counts + i * 4, 4);
            sum += count;
        }
        out->impressions = out->positions != NULL ? take(&at, end, sum * 4) : NULL;
        if (out->impressions == NULL)
            return false;
    }
    return at == end;
}

static um_status load_series(loader *l, packed *p, size_t i, um_str *text, um_error *err)
{
    um_status status = UM_OK;
    json_t *series;
    size_t c;

    json_array_foreach(json_object_get(l->columns, "series"), c, series)
    {
        const char *name = json_string_value(json_array_get(series, 0));
        if (p->series_text[c] == NULL) {
            double value;
            memcpy(&value, p->series[c] + i * 8, 8);
            status = um_dataset_builder_number(l->builder, name, value, err);
        } else {
            uint32_t len;
            memcpy(&len, p->series[c] + i * 4, 4);
            if (len == UINT32_MAX)
                continue;
            um_str_clear(text);
            um_str_append_n(text, p->series_text[c], len);
            p->series_text[c] += len;
            status = um_str_status(text, err);
            if (status == UM_OK)
                status = um_dataset_builder_text(l->builder, name, um_str_text(text), err);
        }
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

static um_status load_impressions(loader *l, packed *p, size_t i, uint32_t user, um_error *err)
{
    uint32_t count, *items;
    int32_t position;

    memcpy(&count, p->counts + i * 4, 4);
    memcpy(&position, p->positions + i * 4, 4);
    if (count == 0)
        return UM_OK;
    items = um_calloc(count, sizeof *items);
    if (items == NULL)
        return um_fail_memory(err, "impressions");
    memcpy(items, p->impressions, (size_t)count * 4);
    p->impressions += (size_t)count * 4;
    um_status status = UM_OK;
    for (uint32_t j = 0; j < count && status == UM_OK; j++) {
        if (items[j] >= l->n_items)
            status = um_fail(err, UM_ERR_INPUT, "workspace: history of user %u names item %u of %u",
                             user, items[j], l->n_items);
    }
    if (status == UM_OK)
        status = um_dataset_builder_impressions(l->builder, items, count, position, err);
    free(items);
    return status;
}

static um_status load_history(void *context, const um_row_history *row, um_error *err)
{
    loader *l = context;
    size_t n_series = json_array_size(json_object_get(l->columns, "series"));
    packed p = {.series = um_calloc(n_series, sizeof *p.series),
                .series_text = um_calloc(n_series, sizeof *p.series_text)};
    um_str text = UM_STR_INIT;
    um_status status = UM_OK;

    if (p.series == NULL || p.series_text == NULL)
        status = um_fail_memory(err, "history");
    else if (!unpack(&p, l->columns, row))
        status = um_fail(err, UM_ERR_INPUT, "workspace: history of user %llu is damaged",
                         (unsigned long long)row->user_id);
    for (size_t i = 0; i < row->n && status == UM_OK; i++) {
        uint32_t item;
        int64_t time;
        memcpy(&item, p.item + i * 4, 4);
        memcpy(&time, p.time + i * 8, 8);
        if (item >= l->n_items)
            status =
                um_fail(err, UM_ERR_INPUT, "workspace: history of user %llu names item %u of %u",
                        (unsigned long long)row->user_id, item, l->n_items);
        if (status == UM_OK)
            status =
                um_dataset_builder_interaction(l->builder, (uint32_t)row->user_id, item, time, err);
        if (status == UM_OK)
            status = load_series(l, &p, i, &text, err);
        if (status == UM_OK && p.counts != NULL)
            status = load_impressions(l, &p, i, (uint32_t)row->user_id, err);
    }
    um_str_dispose(&text);
    free(p.series);
    free(p.series_text);
    return status;
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
    l.n_items = (uint32_t)row.n_items;
    status = um_json_parse(&l.columns, row.columns, strlen(row.columns), "workspace", err);
    if (status == UM_OK && !columns_are_sound(l.columns))
        status = um_fail(err, UM_ERR_INPUT, "workspace: the columns of the log are damaged");
    if (status == UM_OK)
        status = um_dataset_builder_new(&l.builder, row.name, err);
    if (status == UM_OK)
        status = declare_series(&l, err);
    if (status == UM_OK)
        status = um_workspace_users(ws, load_entity, &l, err);
    l.items = true;
    if (status == UM_OK)
        status = um_workspace_items(ws, load_entity, &l, err);
    if (status == UM_OK)
        status = um_workspace_histories(ws, load_history, &l, err);
    if (status == UM_OK)
        status = um_dataset_builder_finish(l.builder, out, err);
    um_dataset_builder_free(l.builder);
    json_decref(l.columns);
    return status;
}
