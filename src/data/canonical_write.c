/* canonical_write.c - writing the field's three JSONL files (docs/FORMATS.md). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/canonical.h"
#include "mirrorer/dataset.h"

static um_status write_row(um_str *row, um_outfile *file, um_error *err)
{
    um_str_append_char(row, '\n');
    um_status status = um_str_status(row, err);
    if (status != UM_OK)
        return status;
    if (fwrite(um_str_text(row), 1, row->len, file->stream) != row->len)
        return um_fail_errno(err, "write", file->path);
    um_str_clear(row);
    return UM_OK;
}

static void append_key(um_str *row, const char *name, bool *first)
{
    if (!*first)
        um_str_append_char(row, ',');
    *first = false;
    um_str_append_json(row, name);
    um_str_append_char(row, ':');
}

/* "{...}" of one kind of columns; absent cells are left out, but are null in the first row. */
static void append_cells(um_str *row, const um_table *table, uint32_t r, um_column_kind kind,
                         bool *first)
{
    for (uint32_t c = 0; c < table->n_columns; c++) {
        const char *cell = table->cells[(size_t)r * table->n_columns + c];
        if (table->kinds[c] != kind || (cell == NULL && r > 0))
            continue;
        append_key(row, table->columns[c], first);
        if (cell == NULL)
            um_str_append(row, "null");
        else if (kind == UM_COLUMN_DESCRIPTION)
            um_str_append_json(row, cell);
        else
            um_str_append(row, cell);
    }
}

static um_status append_time(um_str *row, int64_t time_s, um_error *err)
{
    char time[32];
    int64_t again = 0;
    um_time_format(time_s, time);
    if (!um_time_parse(time, &again) || again != time_s)
        return um_fail(err, UM_ERR_INPUT,
                       "time %lld has no \"YYYY-MM-DD HH:MM:SS\" (years 0000 to 9999)",
                       (long long)time_s);
    um_str_append_json(row, time);
    return UM_OK;
}

static um_status write_users(const um_dataset *d, um_outfile *file, um_error *err)
{
    um_str row = UM_STR_INIT;
    um_status status = UM_OK;
    for (uint32_t u = 0; u < d->users.n_rows && status == UM_OK; u++) {
        bool first = true;
        um_str_append(&row, "{\"user_id\":");
        um_str_append_json(&row, d->users.ids[u]);
        um_str_append(&row, ",\"user_description\":{");
        append_cells(&row, &d->users, u, UM_COLUMN_DESCRIPTION, &first);
        first = true;
        um_str_append(&row, "},\"user_features\":{");
        append_cells(&row, &d->users, u, UM_COLUMN_FEATURE, &first);
        um_str_append(&row, "}}");
        status = write_row(&row, file, err);
    }
    um_str_dispose(&row);
    return status;
}

static um_status write_items(const um_dataset *d, um_outfile *file, um_error *err)
{
    um_str row = UM_STR_INIT;
    um_status status = UM_OK;
    for (uint32_t i = 0; i < d->items.n_rows && status == UM_OK; i++) {
        bool first = true;
        um_str_append(&row, "{\"item_id\":");
        um_str_append_json(&row, d->items.ids[i]);
        um_str_append(&row, ",\"item_description\":{");
        append_cells(&row, &d->items, i, UM_COLUMN_DESCRIPTION, &first);
        first = true;
        um_str_append(&row, "},\"item_features\":{");
        append_cells(&row, &d->items, i, UM_COLUMN_FEATURE, &first);
        if (d->item_has_release[i]) {
            append_key(&row, UM_CANONICAL_RELEASE, &first);
            status = append_time(&row, d->item_available_s[i], err);
        }
        um_str_append(&row, "}}");
        if (status == UM_OK)
            status = write_row(&row, file, err);
    }
    um_str_dispose(&row);
    return status;
}

static void append_behaviour(um_str *row, const um_dataset *d, uint64_t i)
{
    bool first = true;
    for (uint32_t s = 0; s < d->n_series; s++) {
        const um_series *series = &d->series[s];
        bool absent =
            series->numbers != NULL ? isnan(series->numbers[i]) : series->texts[i] == NULL;
        if (absent && i > 0)
            continue;
        append_key(row, series->name, &first);
        if (absent)
            um_str_append(row, "null");
        else if (series->numbers != NULL)
            um_str_append_number(row, series->numbers[i]);
        else
            um_str_append(row, series->texts[i]);
    }
    if (d->impression_start == NULL || d->impression_start[i] == d->impression_start[i + 1])
        return;
    append_key(row, UM_CANONICAL_SHOWN, &first);
    for (uint64_t j = d->impression_start[i]; j < d->impression_start[i + 1]; j++) {
        um_str_append_char(row, j == d->impression_start[i] ? '[' : ',');
        um_str_append_json(row, d->items.ids[d->impression_item[j]]);
    }
    um_str_append_char(row, ']');
    append_key(row, UM_CANONICAL_CHOSEN, &first);
    um_str_appendf(row, "%d", (int)d->impression_position[i]);
}

/* A list that nobody chose from: an interaction with no item. */
static um_status append_skip(um_str *row, const um_dataset *d, uint32_t user, uint64_t k,
                             um_error *err)
{
    um_str_append(row, "{\"user_id\":");
    um_str_append_json(row, d->users.ids[user]);
    um_str_append(row, ",\"item_id\":null,\"timestamp\":");
    um_status status = append_time(row, d->skip_time_s[k], err);
    um_str_append(row, ",\"behavior_features\":{\"" UM_CANONICAL_SHOWN "\":");
    for (uint64_t j = d->skip_list_start[k]; j < d->skip_list_start[k + 1]; j++) {
        um_str_append_char(row, j == d->skip_list_start[k] ? '[' : ',');
        um_str_append_json(row, d->items.ids[d->skip_item[j]]);
    }
    um_str_append(row, "],\"" UM_CANONICAL_CHOSEN "\":-1}}");
    return status;
}

static um_status write_log(const um_dataset *d, um_outfile *file, um_error *err)
{
    um_str row = UM_STR_INIT;
    um_status status = UM_OK;
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        for (uint64_t i = d->user_start[u]; i < d->user_start[u + 1] && status == UM_OK; i++) {
            um_str_append(&row, "{\"user_id\":");
            um_str_append_json(&row, d->users.ids[u]);
            um_str_append(&row, ",\"item_id\":");
            um_str_append_json(&row, d->items.ids[d->item[i]]);
            um_str_append(&row, ",\"timestamp\":");
            status = append_time(&row, d->time_s[i], err);
            um_str_append(&row, ",\"behavior_features\":{");
            append_behaviour(&row, d, i);
            um_str_append(&row, "}}");
            if (status == UM_OK)
                status = write_row(&row, file, err);
        }
        for (uint64_t k = d->n_skips > 0 ? d->skip_start[u] : 0;
             d->n_skips > 0 && k < d->skip_start[u + 1] && status == UM_OK; k++) {
            status = append_skip(&row, d, u, k, err);
            if (status == UM_OK)
                status = write_row(&row, file, err);
        }
    }
    um_str_dispose(&row);
    return status;
}

static um_status write_file(const um_dataset *d, const char *dir, const char *suffix,
                            um_status (*write)(const um_dataset *, um_outfile *, um_error *),
                            um_error *err)
{
    um_str name = UM_STR_INIT;
    um_outfile file = {0};
    char *path = NULL;
    um_str_append(&name, d->name);
    um_str_append(&name, suffix);
    um_status status = um_str_status(&name, err);
    if (status == UM_OK)
        status = um_path_join(&path, dir, um_str_text(&name), err);
    if (status == UM_OK)
        status = um_outfile_open(&file, path, err);
    if (status == UM_OK)
        status = write(d, &file, err);
    if (status == UM_OK)
        status = um_outfile_commit(&file, err);
    um_outfile_dispose(&file);
    um_str_dispose(&name);
    free(path);
    return status;
}

um_status um_dataset_write_canonical(const um_dataset *dataset, const char *dir, um_error *err)
{
    um_status status = um_path_make_dirs(dir, err);
    if (status == UM_OK)
        status = write_file(dataset, dir, UM_CANONICAL_USERS, write_users, err);
    if (status == UM_OK)
        status = write_file(dataset, dir, UM_CANONICAL_ITEMS, write_items, err);
    if (status == UM_OK)
        status = write_file(dataset, dir, UM_CANONICAL_LOG, write_log, err);
    return status;
}
