#include "data/builder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "data/canonical.h"
#include "data/dataset_memory.h"

#define MAX_INTERACTIONS ((size_t)UINT32_MAX)

um_status um_dataset_builder_new(um_dataset_builder **out, const char *name, um_error *err)
{
    um_status status = um_dataset_check_name(name, err);
    if (status != UM_OK)
        return status;
    um_dataset_builder *b = um_calloc(1, sizeof *b);
    if (b != NULL)
        b->dataset = um_dataset_new();
    if (b == NULL || b->dataset == NULL) {
        free(b);
        return um_fail_memory(err, "a data set");
    }
    b->dataset->name = um_arena_strdup(&b->dataset->memory->strings, name);
    if (b->dataset->name == NULL) {
        um_dataset_builder_free(b);
        return um_fail_memory(err, "a data set");
    }
    *out = b;
    return UM_OK;
}

static void dispose_side(um_builder_side *side)
{
    um_ids_dispose(&side->ids);
    for (size_t i = 0; i < side->columns.len; i++)
        um_vec_dispose(&side->columns.data[i].cells);
    um_vec_dispose(&side->columns);
}

void um_builder_clear(um_dataset_builder *b)
{
    dispose_side(&b->users);
    dispose_side(&b->items);
    um_vec_dispose(&b->release_s);
    um_vec_dispose(&b->has_release);
    um_vec_dispose(&b->user);
    um_vec_dispose(&b->item);
    um_vec_dispose(&b->time_s);
    um_vec_dispose(&b->line);
    for (size_t i = 0; i < b->series.len; i++) {
        um_vec_dispose(&b->series.data[i].numbers);
        um_vec_dispose(&b->series.data[i].texts);
    }
    um_vec_dispose(&b->series);
    um_vec_dispose(&b->shown);
    um_vec_dispose(&b->shown_end);
    um_vec_dispose(&b->shown_position);
    um_vec_dispose(&b->skip_user);
    um_vec_dispose(&b->skip_time_s);
    um_vec_dispose(&b->skip_before);
    um_vec_dispose(&b->skip_line);
    um_vec_dispose(&b->skip_end);
    um_vec_dispose(&b->skip_item);
    um_vec_dispose(&b->units);
    um_vec_dispose(&b->unit_line);
    um_vec_dispose(&b->tables);
    um_dataset_free(b->dataset);
    *b = (um_dataset_builder){0};
}

void um_dataset_builder_free(um_dataset_builder *builder)
{
    if (builder == NULL)
        return;
    um_builder_clear(builder);
    free(builder);
}

static um_arena *strings(um_dataset_builder *b)
{
    return &b->dataset->memory->strings;
}

static um_status intern(um_dataset_builder *b, um_builder_side *side, const char *what,
                        const char *id, uint32_t *index, bool *added, um_error *err)
{
    if (b->dataset == NULL)
        return um_fail(err, UM_ERR_STATE, "the builder is finished");
    return um_ids_intern(&side->ids, strings(b), id, what, index, added, err);
}

um_status um_dataset_builder_user(um_dataset_builder *b, const char *id, uint32_t *index,
                                  bool *added, um_error *err)
{
    return intern(b, &b->users, "user", id, index, added, err);
}

um_status um_dataset_builder_item(um_dataset_builder *b, const char *id, uint32_t *index,
                                  bool *added, um_error *err)
{
    return intern(b, &b->items, "item", id, index, added, err);
}

um_status um_builder_set_spool_dir(um_dataset_builder *b, const char *dir, um_error *err)
{
    return um_dataset_set_spool_dir(b->dataset, dir, err);
}

bool um_builder_find_user(const um_dataset_builder *b, const char *id, uint32_t *index)
{
    return um_ids_find(&b->users.ids, id, index);
}

bool um_builder_find_item(const um_dataset_builder *b, const char *id, uint32_t *index)
{
    return um_ids_find(&b->items.ids, id, index);
}

bool um_builder_find_user_n(const um_dataset_builder *b, const char *id, size_t len,
                            uint32_t *index)
{
    return um_ids_find_n(&b->users.ids, id, len, index);
}

bool um_builder_find_item_n(const um_dataset_builder *b, const char *id, size_t len,
                            uint32_t *index)
{
    return um_ids_find_n(&b->items.ids, id, len, index);
}

bool um_builder_find_user_hashed(const um_dataset_builder *b, const char *id, size_t len,
                                 uint64_t hash, uint32_t *index)
{
    return um_ids_find_hashed(&b->users.ids, id, len, hash, index);
}

bool um_builder_find_item_hashed(const um_dataset_builder *b, const char *id, size_t len,
                                 uint64_t hash, uint32_t *index)
{
    return um_ids_find_hashed(&b->items.ids, id, len, hash, index);
}

bool um_builder_hashes_users(const um_dataset_builder *b)
{
    return b->users.ids.map.len > 0;
}

bool um_builder_hashes_items(const um_dataset_builder *b)
{
    return b->items.ids.map.len > 0;
}

void um_builder_prefetch_slots(const um_dataset_builder *b, uint64_t user, uint64_t item)
{
    um_map_prefetch_slot(&b->users.ids.map, user);
    um_map_prefetch_slot(&b->items.ids.map, item);
}

void um_builder_prefetch_keys(const um_dataset_builder *b, uint64_t user, uint64_t item)
{
    um_map_prefetch_key(&b->users.ids.map, user);
    um_map_prefetch_key(&b->items.ids.map, item);
}

static um_status get_column(um_dataset_builder *b, um_builder_side *side, const char *name,
                            um_column_kind kind, um_builder_column **out, um_error *err)
{
    /* Rows mostly give their cells in one order: the column after the last one is tried first. */
    for (size_t tried = 0, i = side->next_column; tried < side->columns.len; tried++, i++) {
        i = i < side->columns.len ? i : 0;
        um_builder_column *column = &side->columns.data[i];
        if (column->kind == kind && strcmp(column->name, name) == 0) {
            side->next_column = i + 1;
            *out = column;
            return UM_OK;
        }
    }
    if (side == &b->items && kind == UM_COLUMN_FEATURE && strcmp(name, UM_CANONICAL_RELEASE) == 0)
        return um_fail(err, UM_ERR_INPUT, "item feature '%s' is reserved; set the release instead",
                       name);
    if (side->columns.len >= UM_BUILDER_MAX_COLUMNS)
        return um_fail(err, UM_ERR_LIMIT, "column '%.80s' is one more than the limit of %d", name,
                       UM_BUILDER_MAX_COLUMNS);
    um_builder_column made = {.name = um_arena_strdup(strings(b), name), .kind = kind};
    if (made.name == NULL || !um_vec_push(&side->columns, made))
        return um_fail_memory(err, "columns");
    *out = &side->columns.data[side->columns.len - 1];
    return UM_OK;
}

static um_status check_row(const um_builder_side *side, uint32_t row, um_error *err)
{
    return row < side->ids.names.len
               ? UM_OK
               : um_fail(err, UM_ERR_STATE, "row %u of a table of %zu", row, side->ids.names.len);
}

static um_status put_cell(um_builder_column *column, uint32_t row, char *cell, um_error *err)
{
    if (!um_vec_reserve(&column->cells, (size_t)row + 1))
        return um_fail_memory(err, "cells");
    while (column->cells.len <= row)
        column->cells.data[column->cells.len++] = NULL;
    column->cells.data[row] = cell;
    return UM_OK;
}

static um_status set_cell(um_dataset_builder *b, um_builder_side *side, uint32_t row,
                          const char *name, um_column_kind kind, const char *value, um_error *err)
{
    um_builder_column *column = NULL;
    char *copy = NULL;
    um_status status = check_row(side, row, err);
    if (status == UM_OK)
        status = get_column(b, side, name, kind, &column, err);
    if (status == UM_OK && value != NULL)
        status = um_dataset_keep_cell(b->dataset, value, strlen(value), &copy, err);
    return status == UM_OK ? put_cell(column, row, copy, err) : status;
}

um_status um_builder_find_column(um_dataset_builder *b, const char *name, um_column_kind kind,
                                 uint32_t *column, um_error *err)
{
    um_builder_column *found = NULL;
    um_status status = get_column(b, &b->items, name, kind, &found, err);
    if (status == UM_OK)
        *column = (uint32_t)(found - b->items.columns.data);
    return status;
}

um_status um_builder_set_cell(um_dataset_builder *b, uint32_t item, uint32_t column, char *cell,
                              um_error *err)
{
    um_status status = check_row(&b->items, item, err);
    if (status != UM_OK)
        return status;
    if (column >= b->items.columns.len)
        return um_fail(err, UM_ERR_STATE, "column %u of %zu", column, b->items.columns.len);
    return put_cell(&b->items.columns.data[column], item, cell, err);
}

void um_builder_own(um_dataset_builder *b, um_arena *cells)
{
    um_arena_join(strings(b), cells);
}

um_status um_dataset_builder_set_user(um_dataset_builder *b, uint32_t user, const char *column,
                                      um_column_kind kind, const char *value, um_error *err)
{
    return set_cell(b, &b->users, user, column, kind, value, err);
}

um_status um_dataset_builder_set_item(um_dataset_builder *b, uint32_t item, const char *column,
                                      um_column_kind kind, const char *value, um_error *err)
{
    return set_cell(b, &b->items, item, column, kind, value, err);
}

um_status um_dataset_builder_release(um_dataset_builder *b, uint32_t item, int64_t time_s,
                                     um_error *err)
{
    if (item >= b->items.ids.names.len)
        return um_fail(err, UM_ERR_STATE, "item %u of %zu", item, b->items.ids.names.len);
    if (!um_vec_reserve(&b->release_s, (size_t)item + 1) ||
        !um_vec_reserve(&b->has_release, (size_t)item + 1))
        return um_fail_memory(err, "release times");
    while (b->release_s.len <= item) {
        b->release_s.data[b->release_s.len++] = 0;
        b->has_release.data[b->has_release.len++] = 0;
    }
    b->release_s.data[item] = time_s;
    b->has_release.data[item] = 1;
    return UM_OK;
}

void um_builder_correct_releases(um_dataset_builder *b)
{
    for (size_t i = 0; i < b->user.len; i++) {
        const uint32_t item = b->item.data[i];
        if (item < b->release_s.len && b->has_release.data[item] &&
            b->time_s.data[i] < b->release_s.data[item])
            b->release_s.data[item] = b->time_s.data[i];
    }
}

um_status um_dataset_builder_interaction(um_dataset_builder *b, uint32_t user, uint32_t item,
                                         int64_t time_s, um_error *err)
{
    if (user >= b->users.ids.names.len || item >= b->items.ids.names.len)
        return um_fail(err, UM_ERR_STATE, "user %u of %zu or item %u of %zu", user,
                       b->users.ids.names.len, item, b->items.ids.names.len);
    if (b->user.len >= MAX_INTERACTIONS)
        return um_fail(err, UM_ERR_LIMIT, "more than %zu interactions", MAX_INTERACTIONS);
    size_t need = b->user.len + 1;
    if (!um_vec_reserve(&b->user, need) || !um_vec_reserve(&b->item, need) ||
        !um_vec_reserve(&b->time_s, need))
        return um_fail_memory(err, "interactions");
    b->user.data[b->user.len++] = user;
    b->item.data[b->item.len++] = item;
    b->time_s.data[b->time_s.len++] = time_s;
    return UM_OK;
}

um_status um_builder_begin_table(um_dataset_builder *b, um_error *err)
{
    const um_builder_table table = {b->user.len, b->skip_user.len};
    return um_vec_push(&b->tables, table) ? UM_OK : um_fail_memory(err, "interactions");
}

um_status um_builder_set_line(um_dataset_builder *b, uint64_t line, um_error *err)
{
    /* A line number past 32 bits is shown as the largest: the log itself is limited before that. */
    uint32_t stored = line > UINT32_MAX ? UINT32_MAX : (uint32_t)line;
    if (!um_vec_reserve(&b->line, b->user.len) || !um_vec_reserve(&b->skip_line, b->skip_user.len))
        return um_fail_memory(err, "interactions");
    while (b->line.len < b->user.len)
        b->line.data[b->line.len++] = stored;
    while (b->skip_line.len < b->skip_user.len)
        b->skip_line.data[b->skip_line.len++] = stored;
    return UM_OK;
}

static um_status get_series(um_dataset_builder *b, const char *name, um_builder_series **out,
                            um_error *err)
{
    /* Rows mostly give their values in one order: the series after the last one is tried first. */
    for (size_t tried = 0, i = b->next_series; tried < b->series.len; tried++, i++) {
        i = i < b->series.len ? i : 0;
        if (strcmp(b->series.data[i].name, name) == 0) {
            b->next_series = i + 1;
            *out = &b->series.data[i];
            return UM_OK;
        }
    }
    if (strcmp(name, UM_CANONICAL_SHOWN) == 0 || strcmp(name, UM_CANONICAL_CHOSEN) == 0)
        return um_fail(err, UM_ERR_INPUT, "behaviour '%s' is reserved; set impressions instead",
                       name);
    if (b->series.len >= UM_BUILDER_MAX_COLUMNS)
        return um_fail(err, UM_ERR_LIMIT, "behaviour column '%.80s' is one more than the limit %d",
                       name, UM_BUILDER_MAX_COLUMNS);
    um_builder_series made = {.name = um_arena_strdup(strings(b), name)};
    if (made.name == NULL || !um_vec_push(&b->series, made))
        return um_fail_memory(err, "behaviour columns");
    *out = &b->series.data[b->series.len - 1];
    return UM_OK;
}

um_status um_builder_find_series(um_dataset_builder *b, const char *name, uint32_t *series,
                                 um_error *err)
{
    um_builder_series *found = NULL;
    um_status status = get_series(b, name, &found, err);
    if (status == UM_OK)
        *series = (uint32_t)(found - b->series.data);
    return status;
}

um_status um_builder_declare_series(um_dataset_builder *b, const char *name, um_error *err)
{
    um_builder_series *series = NULL;
    return get_series(b, name, &series, err);
}

um_status um_builder_spool(um_dataset_builder *b, um_spool **out, um_error *err)
{
    return um_dataset_spool(b->dataset, out, err);
}

/* A text of the spool. */
static um_status put_kept(um_builder_series *series, size_t row, char *json, um_error *err)
{
    if (!um_vec_reserve(&series->texts, row + 1))
        return um_fail_memory(err, "behaviour cells");
    while (series->texts.len <= row)
        series->texts.data[series->texts.len++] = NULL;
    series->texts.data[row] = json;
    return UM_OK;
}

static um_status put_text(um_dataset_builder *b, um_builder_series *series, size_t row,
                          const char *json, size_t len, um_error *err)
{
    char *copy = NULL;
    um_status status = um_dataset_keep_text(b->dataset, json, len, &copy, err);
    return status == UM_OK ? put_kept(series, row, copy, err) : status;
}

static um_status put_number_as_text(um_dataset_builder *b, um_builder_series *series, size_t row,
                                    double value, um_error *err)
{
    um_str text = UM_STR_INIT;
    um_str_append_number(&text, value);
    um_status status = um_str_status(&text, err);
    if (status == UM_OK)
        status = put_text(b, series, row, um_str_text(&text), text.len, err);
    um_str_dispose(&text);
    return status;
}

/* A column with both numbers and other values holds JSON texts. */
static um_status turn_to_text(um_dataset_builder *b, um_builder_series *series, um_error *err)
{
    um_status status = UM_OK;
    for (size_t i = 0; i < series->numbers.len && status == UM_OK; i++) {
        if (!isnan(series->numbers.data[i]))
            status = put_number_as_text(b, series, i, series->numbers.data[i], err);
    }
    um_vec_dispose(&series->numbers);
    series->is_number = false;
    series->is_text = true;
    return status;
}

static um_status put_number(um_dataset_builder *b, um_builder_series *series, double value,
                            um_error *err)
{
    const size_t row = b->user.len - 1;
    if (isnan(value))
        return UM_OK;
    if (isinf(value))
        return um_fail(err, UM_ERR_NUMERIC, "behaviour '%.80s' is infinite", series->name);
    if (series->is_text)
        return put_number_as_text(b, series, row, value, err);
    series->is_number = true;
    if (!um_vec_reserve(&series->numbers, row + 1))
        return um_fail_memory(err, "behaviour cells");
    while (series->numbers.len <= row)
        series->numbers.data[series->numbers.len++] = NAN;
    series->numbers.data[row] = value;
    return UM_OK;
}

static um_status find_cell(um_dataset_builder *b, const char *name, um_builder_series **series,
                           um_error *err)
{
    if (b->user.len == 0)
        return um_fail(err, UM_ERR_STATE, "behaviour '%.80s' before any interaction", name);
    return get_series(b, name, series, err);
}

static um_status check_cell(const um_dataset_builder *b, uint32_t series, um_error *err)
{
    return b->user.len > 0 && series < b->series.len
               ? UM_OK
               : um_fail(err, UM_ERR_STATE, "behaviour column %u of %zu, interaction %zu", series,
                         b->series.len, b->user.len);
}

um_status um_dataset_builder_number(um_dataset_builder *b, const char *name, double value,
                                    um_error *err)
{
    um_builder_series *series = NULL;
    um_status status = find_cell(b, name, &series, err);
    return status == UM_OK ? put_number(b, series, value, err) : status;
}

um_status um_builder_set_number(um_dataset_builder *b, uint32_t series, double value, um_error *err)
{
    um_status status = check_cell(b, series, err);
    return status == UM_OK ? put_number(b, &b->series.data[series], value, err) : status;
}

um_status um_dataset_builder_text(um_dataset_builder *b, const char *name, const char *json,
                                  um_error *err)
{
    return um_builder_text_n(b, name, json, json != NULL ? strlen(json) : 0, err);
}

um_status um_builder_text_n(um_dataset_builder *b, const char *name, const char *json, size_t len,
                            um_error *err)
{
    um_builder_series *series = NULL;
    um_status status = find_cell(b, name, &series, err);
    if (status != UM_OK || json == NULL)
        return status;
    if (!series->is_text)
        status = turn_to_text(b, series, err);
    return status == UM_OK ? put_text(b, series, b->user.len - 1, json, len, err) : status;
}

um_status um_builder_set_kept(um_dataset_builder *b, uint32_t series, char *json, um_error *err)
{
    um_status status = check_cell(b, series, err);
    if (status != UM_OK)
        return status;
    um_builder_series *s = &b->series.data[series];
    if (!s->is_text)
        status = turn_to_text(b, s, err);
    return status == UM_OK ? put_kept(s, b->user.len - 1, json, err) : status;
}

um_status um_dataset_builder_impressions(um_dataset_builder *b, const uint32_t *items, size_t n,
                                         int32_t position, um_error *err)
{
    if (b->user.len == 0 || b->shown_end.len >= b->user.len)
        return um_fail(err, UM_ERR_STATE, "impressions without an interaction of their own");
    if (n == 0)
        return UM_OK;
    if (position < 0 || (size_t)position >= n || items[position] != b->item.data[b->user.len - 1])
        return um_fail(err, UM_ERR_INPUT,
                       "impression list of %zu: position %d does not hold the chosen item", n,
                       (int)position);
    for (size_t i = 0; i < n; i++) {
        if (items[i] >= b->items.ids.names.len)
            return um_fail(err, UM_ERR_STATE, "item %u of %zu", items[i], b->items.ids.names.len);
    }
    if (n > SIZE_MAX - b->shown.len || !um_vec_reserve(&b->shown, b->shown.len + n) ||
        !um_vec_reserve(&b->shown_end, b->user.len) ||
        !um_vec_reserve(&b->shown_position, b->user.len))
        return um_fail_memory(err, "impressions");
    while (b->shown_end.len + 1 < b->user.len) {
        b->shown_end.data[b->shown_end.len++] = b->shown.len;
        b->shown_position.data[b->shown_position.len++] = -1;
    }
    memcpy(b->shown.data + b->shown.len, items, n * sizeof *items);
    b->shown.len += n;
    b->shown_end.data[b->shown_end.len++] = b->shown.len;
    b->shown_position.data[b->shown_position.len++] = position;
    return UM_OK;
}

um_status um_dataset_builder_skip(um_dataset_builder *b, uint32_t user, int64_t time_s,
                                  const uint32_t *items, size_t n, um_error *err)
{
    if (user >= b->users.ids.names.len)
        return um_fail(err, UM_ERR_STATE, "user %u of %zu", user, b->users.ids.names.len);
    if (n == 0)
        return um_fail(err, UM_ERR_INPUT, "a list that nobody chose from is empty");
    for (size_t i = 0; i < n; i++) {
        if (items[i] >= b->items.ids.names.len)
            return um_fail(err, UM_ERR_STATE, "item %u of %zu", items[i], b->items.ids.names.len);
    }
    size_t need = b->skip_user.len + 1;
    if (need > MAX_INTERACTIONS)
        return um_fail(err, UM_ERR_LIMIT, "more than %zu lists nobody chose from",
                       MAX_INTERACTIONS);
    if (n > SIZE_MAX - b->skip_item.len || !um_vec_reserve(&b->skip_item, b->skip_item.len + n) ||
        !um_vec_reserve(&b->skip_user, need) || !um_vec_reserve(&b->skip_time_s, need) ||
        !um_vec_reserve(&b->skip_before, need) || !um_vec_reserve(&b->skip_end, need))
        return um_fail_memory(err, "lists nobody chose from");
    memcpy(b->skip_item.data + b->skip_item.len, items, n * sizeof *items);
    b->skip_item.len += n;
    b->skip_user.data[b->skip_user.len++] = user;
    b->skip_time_s.data[b->skip_time_s.len++] = time_s;
    b->skip_before.data[b->skip_before.len++] = (uint32_t)b->user.len;
    b->skip_end.data[b->skip_end.len++] = b->skip_item.len;
    return UM_OK;
}

um_status um_dataset_builder_finish(um_dataset_builder *b, um_dataset **out, um_error *err)
{
    return um_builder_finish_with(b, &(um_builder_finish_options){0}, out, err);
}
