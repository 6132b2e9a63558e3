/*
 * builder_finish.c - from rows in file order to columns in (user, time, file order).
 *
 * The order is a permutation (order.h). Rows are marked as left out, reported, and squeezed from
 * it; then every column is gathered through it and freed at once, so that no more than one column
 * exists twice but the times, which are put in order with the rows. A large log is sorted and
 * gathered by two threads.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/builder.h"
#include "data/builder_rows.h"
#include "data/dataset_memory.h"

#define N_THREADS 2
#define AHEAD     12                /* rows */
#define MANY_ROWS ((size_t)1 << 16) /* fewer are done before a thread is there */

typedef struct finish {
    const um_builder_finish_options *options;
    um_dataset_builder *b;
    um_dataset *dataset;
    um_pool *pool; /* NULL = one thread */
    um_order log, skips;
    uint8_t *left_out, *skip_left_out; /* um_left_out_reason by ordinal */
    bool *user_kept, *item_kept;       /* NULL = all are */
    uint32_t n_users, n_items;         /* kept */
    uint32_t *item_row;                /* row of each item of the builder; NULL = the same */
} finish;

static void finish_dispose(finish *f)
{
    um_pool_free(f->pool);
    um_order_dispose(&f->log);
    um_order_dispose(&f->skips);
    free(f->left_out);
    free(f->skip_left_out);
    free(f->user_kept);
    free(f->item_kept);
    free(f->item_row);
}

/* What is left out ----------------------------------------------------------------------------- */

static bool *all_true(size_t n)
{
    bool *kept = um_calloc(n, sizeof *kept);
    if (kept != NULL)
        memset(kept, 1, n * sizeof *kept);
    return kept;
}

/* Items in lists that are kept stay in the catalogue. */
static void keep_listed_items(finish *f)
{
    const um_dataset_builder *b = f->b;
    for (size_t i = 0; i < b->shown_end.len; i++) {
        if (f->left_out[i] != UM_KEPT)
            continue;
        for (uint64_t j = i == 0 ? 0 : b->shown_end.data[i - 1]; j < b->shown_end.data[i]; j++)
            f->item_kept[b->shown.data[j]] = true;
    }
    for (size_t k = 0; k < b->skip_end.len; k++) {
        if (f->skip_left_out[k] != UM_KEPT)
            continue;
        for (uint64_t j = k == 0 ? 0 : b->skip_end.data[k - 1]; j < b->skip_end.data[k]; j++)
            f->item_kept[b->skip_item.data[j]] = true;
    }
}

static um_status filter_rows(finish *f, um_error *err)
{
    um_dataset_builder *b = f->b;
    um_filter_rows rows = {.order = &f->log,
                           .item = b->item.data,
                           .time_s = b->time_s.data,
                           .left_out = f->left_out,
                           .skip_order = &f->skips,
                           .skip_time_s = b->skip_time_s.data,
                           .skip_left_out = f->skip_left_out,
                           .n_items = f->n_items,
                           .pool = f->pool};
    rows.user_kept = f->user_kept = all_true(f->n_users);
    rows.item_kept = f->item_kept = all_true(f->n_items);
    if (f->user_kept == NULL || f->item_kept == NULL)
        return um_fail_memory(err, "filters");
    um_status status = um_filter_apply(&rows, f->options->filters, err);
    if (status == UM_OK)
        keep_listed_items(f);
    return status;
}

static bool is_all_zero(const uint8_t *marks, size_t n)
{
    return n == 0 || (marks[0] == 0 && memcmp(marks, marks + 1, n - 1) == 0);
}

/* The order of all rows, less those left out. */
static um_status order_rows(finish *f, um_error *err)
{
    um_dataset_builder *b = f->b;
    const um_builder_finish_options *o = f->options;
    bool filters = o->filters != NULL && um_filter_is_on(o->filters);
    f->n_users = (uint32_t)b->users.ids.names.len;
    f->n_items = (uint32_t)b->items.ids.names.len;
    um_status status =
        um_order_make(&f->log, b->user.data, b->time_s.data, b->user.len, f->n_users, f->pool, err);
    if (status == UM_OK)
        status = um_order_make(&f->skips, b->skip_user.data, b->skip_time_s.data, b->skip_user.len,
                               f->n_users, f->pool, err);
    if (status != UM_OK || (!o->unique && !filters && b->units.len == 0))
        return status;
    f->left_out = um_calloc(b->user.len, 1);
    f->skip_left_out = um_calloc(b->skip_user.len, 1);
    if (f->left_out == NULL || f->skip_left_out == NULL)
        return um_fail_memory(err, "the order of interactions");
    const um_builder_marks marks = {f->left_out, f->skip_left_out};
    um_builder_mark_withdrawn(b, &marks);
    if (o->unique)
        status = um_order_mark_repeats(&f->log, b->item.data, f->left_out, UM_LEFT_OUT_DUPLICATE,
                                       f->pool, err);
    if (status == UM_OK && filters)
        status = filter_rows(f, err);
    if (status == UM_OK && f->user_kept == NULL && is_all_zero(f->left_out, b->user.len) &&
        is_all_zero(f->skip_left_out, b->skip_user.len))
        return UM_OK;
    if (status == UM_OK && o->on_left_out != NULL)
        status = um_builder_report_left_out(b, &marks, o, err);
    if (status != UM_OK)
        return status;
    um_order_squeeze(&f->log, f->left_out, f->user_kept);
    um_order_squeeze(&f->skips, f->skip_left_out, f->user_kept);
    return UM_OK;
}

/* Gathering ------------------------------------------------------------------------------------ */

/* Cells gathered into row order; kept: which rows of the builder, NULL = all. */
static um_status gather_table(um_dataset *dataset, um_table *table, um_builder_side *side,
                              const bool *kept, um_error *err)
{
    size_t n_columns = side->columns.len, n_from = side->ids.names.len, n_cells = 0, made = 0;
    uint32_t n_rows = 0;
    for (size_t from = 0; from < n_from; from++)
        n_rows += kept == NULL || kept[from];
    if (um_mul_overflows(n_rows, n_columns, &n_cells))
        return um_fail_memory(err, "a table");
    table->n_rows = n_rows;
    table->n_columns = (uint32_t)n_columns;
    table->columns = um_dataset_alloc(dataset, n_columns, sizeof *table->columns);
    table->kinds = um_dataset_alloc(dataset, n_columns, sizeof *table->kinds);
    table->ids = um_dataset_alloc(dataset, n_rows, sizeof *table->ids);
    table->cells = um_dataset_alloc(dataset, n_cells, sizeof *table->cells);
    if (table->columns == NULL || table->kinds == NULL || table->ids == NULL ||
        table->cells == NULL)
        return um_fail_memory(err, "a table");
    for (size_t from = 0, r = 0; from < n_from; from++) {
        if (kept == NULL || kept[from])
            table->ids[r++] = side->ids.names.data[from];
    }
    um_ids_dispose(&side->ids);
    /* Descriptions first, then features, each in order of first use. */
    for (int kind = UM_COLUMN_DESCRIPTION; kind <= UM_COLUMN_FEATURE; kind++) {
        for (size_t c = 0; c < n_columns; c++) {
            um_builder_column *column = &side->columns.data[c];
            if ((int)column->kind != kind)
                continue;
            table->columns[made] = column->name;
            table->kinds[made] = column->kind;
            for (size_t from = 0, r = 0; from < column->cells.len; from++) {
                if (kept == NULL || kept[from])
                    table->cells[r++ * n_columns + made] = column->cells.data[from];
            }
            um_vec_dispose(&column->cells);
            made++;
        }
    }
    return UM_OK;
}

/* Rows of items in the table; NULL in f->item_row where none is gone. */
static um_status number_items(finish *f, um_error *err)
{
    if (f->item_kept == NULL)
        return UM_OK;
    f->item_row = um_calloc(f->n_items, sizeof *f->item_row);
    if (f->item_row == NULL)
        return um_fail_memory(err, "a table");
    uint32_t row = 0;
    for (uint32_t i = 0; i < f->n_items; i++) {
        f->item_row[i] = row;
        row += f->item_kept[i];
    }
    return UM_OK;
}

static void renumber(const finish *f, uint32_t *items, uint64_t n)
{
    for (uint64_t i = 0; f->item_row != NULL && i < n; i++)
        items[i] = f->item_row[items[i]];
}

/* The starts of users and the times, which the order and the data set have in common. */
static bool take_order(um_dataset *dataset, um_order *o, uint64_t **start, int64_t **time_s)
{
    const bool has_start = um_dataset_own(dataset, o->start);
    const bool has_times = um_dataset_own(dataset, o->time_s);
    *start = has_start ? o->start : NULL;
    *time_s = has_times ? o->time_s : NULL;
    o->start = NULL;
    o->time_s = NULL;
    return has_start && has_times;
}

/* Each of these fills a range of rows. */
static void gather_items(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const finish *f = context;
    for (size_t i = begin; i < end; i++)
        f->dataset->item[i] = f->b->item.data[f->log.ordinals[i]];
    renumber(f, f->dataset->item + begin, end - begin);
}

/* A behaviour column on its way. */
typedef struct column {
    const um_order *o;
    const um_builder_series *from;
    um_series *to;
} column;

static void gather_texts(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const column *c = context;
    for (size_t i = begin; i < end; i++) {
        uint32_t at = c->o->ordinals[i];
        c->to->texts[i] = at < c->from->texts.len ? c->from->texts.data[at] : NULL;
    }
}

static void gather_numbers(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const column *c = context;
    for (size_t i = begin; i < end; i++) {
        uint32_t at = c->o->ordinals[i];
        c->to->numbers[i] = at < c->from->numbers.len ? c->from->numbers.data[at] : NAN;
    }
}

static um_status gather_log(finish *f, um_error *err)
{
    um_dataset *d = f->dataset;
    um_dataset_builder *b = f->b;
    size_t n = f->log.n;
    d->n_interactions = n;
    if (!take_order(d, &f->log, &d->user_start, &d->time_s))
        return um_fail_memory(err, "interactions");
    d->item = um_dataset_room(d, n, sizeof *d->item);
    if (d->item == NULL)
        return um_fail_memory(err, "interactions");
    um_pool_run(f->pool, n, 1, gather_items, f);
    um_vec_dispose(&b->item);
    return UM_OK;
}

static um_status gather_series(finish *f, um_error *err)
{
    um_dataset *d = f->dataset;
    um_dataset_builder *b = f->b;
    const um_order *o = &f->log;
    d->series = um_dataset_alloc(d, b->series.len, sizeof *d->series);
    if (d->series == NULL)
        return um_fail_memory(err, "behaviour columns");
    for (size_t s = 0; s < b->series.len; s++) {
        um_builder_series *from = &b->series.data[s];
        um_series *to = &d->series[s];
        column c = {o, from, to};
        to->name = from->name;
        if (from->is_text)
            to->texts = um_dataset_room(d, o->n, sizeof *to->texts);
        else
            to->numbers = um_dataset_room(d, o->n, sizeof *to->numbers);
        if (to->texts == NULL && to->numbers == NULL)
            return um_fail_memory(err, "behaviour columns");
        um_pool_run(f->pool, o->n, 1, from->is_text ? gather_texts : gather_numbers, &c);
        um_vec_dispose(&from->numbers);
        um_vec_dispose(&from->texts);
        d->n_series++;
    }
    return UM_OK;
}

/* Lists one after another: list k of n lists is from[end[k - 1] .. end[k]), others are empty.
 * Ordered they are to[start[i] .. start[i + 1]). */
typedef struct lists {
    const finish *f;
    const um_order *o;
    const uint64_t *end;
    size_t n;
    const uint32_t *from;
    uint64_t *start;
    uint32_t *to;
} lists;

static void find_lengths(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const lists *l = context;
    for (size_t i = begin; i < end; i++) {
        const uint32_t at = l->o->ordinals[i];
        l->start[i + 1] = at < l->n ? l->end[at] - (at == 0 ? 0 : l->end[at - 1]) : 0;
    }
}

/* Where each begins; gives the length of all. */
static uint64_t find_starts(lists *l)
{
    um_pool_run(l->f->pool, l->o->n, 1, find_lengths, l);
    l->start[0] = 0;
    for (size_t i = 0; i < l->o->n; i++)
        l->start[i + 1] += l->start[i];
    return l->start[l->o->n];
}

static void gather_lists(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const lists *l = context;
    for (size_t i = begin; i < end; i++) {
        /* Lists lie in no order: each would be waited for, and before it where it is. */
        if (i + 2 * AHEAD < end)
            __builtin_prefetch(l->end + l->o->ordinals[i + 2 * AHEAD]);
        if (i + AHEAD < end) {
            const uint32_t later = l->o->ordinals[i + AHEAD];
            __builtin_prefetch(l->from + (later > 0 && later < l->n ? l->end[later - 1] : 0));
        }
        const uint64_t n = l->start[i + 1] - l->start[i];
        uint32_t *to = l->to + l->start[i];
        if (n > 0)
            memcpy(to, l->from + (l->end[l->o->ordinals[i]] - n), (size_t)n * sizeof *to);
        renumber(l->f, to, n);
    }
}

static void gather_positions(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const finish *f = context;
    const um_dataset_builder *b = f->b;
    for (size_t i = begin; i < end; i++) {
        const uint32_t at = f->log.ordinals[i];
        f->dataset->impression_position[i] =
            at < b->shown_position.len ? b->shown_position.data[at] : -1;
    }
}

static um_status gather_impressions(finish *f, um_error *err)
{
    um_dataset *d = f->dataset;
    um_dataset_builder *b = f->b;
    const um_order *o = &f->log;
    if (b->shown.len == 0)
        return UM_OK;
    d->impression_start = um_dataset_room(d, o->n + 1, sizeof *d->impression_start);
    d->impression_position = um_dataset_room(d, o->n, sizeof *d->impression_position);
    if (d->impression_start == NULL || d->impression_position == NULL)
        return um_fail_memory(err, "impressions");
    lists l = {.f = f,
               .o = o,
               .end = b->shown_end.data,
               .n = b->shown_end.len,
               .from = b->shown.data,
               .start = d->impression_start};
    const uint64_t n = find_starts(&l);
    if (n == 0) { /* filters took them all */
        d->impression_start = NULL;
        d->impression_position = NULL;
        return UM_OK;
    }
    l.to = d->impression_item = um_dataset_room(d, (size_t)n, sizeof *d->impression_item);
    if (d->impression_item == NULL)
        return um_fail_memory(err, "impressions");
    um_pool_run(f->pool, o->n, 1, gather_lists, &l);
    um_pool_run(f->pool, o->n, 1, gather_positions, f);
    um_vec_dispose(&b->shown);
    um_vec_dispose(&b->shown_end);
    um_vec_dispose(&b->shown_position);
    return UM_OK;
}

static um_status gather_skips(finish *f, um_error *err)
{
    um_dataset *d = f->dataset;
    um_dataset_builder *b = f->b;
    um_order *o = &f->skips;
    if (o->n == 0)
        return UM_OK;
    if (!take_order(d, o, &d->skip_start, &d->skip_time_s))
        return um_fail_memory(err, "lists nobody chose from");
    d->skip_list_start = um_dataset_room(d, o->n + 1, sizeof *d->skip_list_start);
    if (d->skip_list_start == NULL)
        return um_fail_memory(err, "lists nobody chose from");
    lists l = {.f = f,
               .o = o,
               .end = b->skip_end.data,
               .n = b->skip_end.len,
               .from = b->skip_item.data,
               .start = d->skip_list_start};
    const uint64_t n = find_starts(&l);
    l.to = d->skip_item = um_dataset_room(d, (size_t)n, sizeof *d->skip_item);
    if (d->skip_item == NULL)
        return um_fail_memory(err, "lists nobody chose from");
    um_pool_run(f->pool, o->n, 1, gather_lists, &l);
    d->n_skips = o->n;
    return UM_OK;
}

static um_status gather_availability(finish *f, um_error *err)
{
    um_dataset *d = f->dataset;
    const um_dataset_builder *b = f->b;
    uint32_t n = d->items.n_rows;
    d->item_available_s = um_dataset_alloc(d, n, sizeof *d->item_available_s);
    d->item_has_release = um_dataset_alloc(d, n, sizeof *d->item_has_release);
    if (d->item_available_s == NULL || d->item_has_release == NULL)
        return um_fail_memory(err, "items");
    for (uint32_t i = 0, row = 0; i < f->n_items && row < n; i++) {
        if (f->item_kept != NULL && !f->item_kept[i])
            continue;
        d->item_has_release[row] = i < b->has_release.len && b->has_release.data[i] != 0;
        d->item_available_s[row] = d->item_has_release[row] ? b->release_s.data[i] : 0;
        row++;
    }
    return um_dataset_find_first_seen(d, f->pool, err);
}

um_status um_builder_finish_with(um_dataset_builder *b, const um_builder_finish_options *options,
                                 um_dataset **out, um_error *err)
{
    finish f = {.options = options, .b = b, .dataset = b->dataset};
    if (b->dataset == NULL)
        return um_fail(err, UM_ERR_STATE, "the builder is finished");
    /* Where no thread can be had one does it all. */
    if (b->user.len >= MANY_ROWS && um_pool_new(&f.pool, N_THREADS, NULL) != UM_OK)
        f.pool = NULL;
    um_status status = order_rows(&f, err);
    if (status != UM_OK)
        goto done;
    um_vec_dispose(&b->user);
    um_vec_dispose(&b->time_s);
    um_vec_dispose(&b->line);
    um_vec_dispose(&b->unit_line);
    um_vec_dispose(&b->units);
    status = gather_table(f.dataset, &f.dataset->users, &b->users, f.user_kept, err);
    if (status == UM_OK)
        status = gather_table(f.dataset, &f.dataset->items, &b->items, f.item_kept, err);
    if (status == UM_OK)
        status = number_items(&f, err);
    if (status == UM_OK)
        status = gather_log(&f, err);
    if (status == UM_OK)
        status = gather_series(&f, err);
    if (status == UM_OK)
        status = gather_impressions(&f, err);
    if (status == UM_OK)
        status = gather_skips(&f, err);
    if (status == UM_OK)
        status = gather_availability(&f, err);
    if (status == UM_OK)
        status = um_dataset_flush_texts(f.dataset, err);
    if (status != UM_OK)
        goto done;
    b->dataset = NULL;
    *out = f.dataset;
done:
    finish_dispose(&f);
    um_builder_clear(b);
    return status;
}
