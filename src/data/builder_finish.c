/*
 * builder_finish.c - from rows in file order to columns in (user, time, file order).
 *
 * A counting sort by user gives each user a segment of ordinals in file order; each segment is then
 * sorted by time with a stable merge sort (most logs come sorted, so that case costs one pass).
 * Rows left out are squeezed from the permutation, and every column is gathered through it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/builder.h"
#include "data/dataset_memory.h"

#define RUN_LENGTH 24 /* rows sorted by insertion before merging */

typedef struct timed {
    int64_t time_s;
    uint32_t ordinal;
} timed;

typedef struct order {
    const um_builder_finish_options *options;
    uint64_t *start;    /* [n_users + 1] segment of each user in `ordinals` */
    uint32_t *ordinals; /* [n] */
    uint32_t n_users;
    size_t n;
    timed *rows, *spare; /* [longest segment] */
    uint64_t *keys;      /* [longest segment] */
} order;

static void order_dispose(order *o)
{
    free(o->start);
    free(o->ordinals);
    free(o->rows);
    free(o->spare);
    free(o->keys);
}

/* Counting sort by user; also sizes the scratch arrays for the longest segment. */
static um_status sort_by_user(order *o, const um_dataset_builder *b, um_error *err)
{
    o->n_users = (uint32_t)b->users.ids.names.len;
    o->n = b->user.len;
    o->start = um_calloc((size_t)o->n_users + 1, sizeof *o->start);
    o->ordinals = um_calloc(o->n, sizeof *o->ordinals);
    if (o->start == NULL || o->ordinals == NULL)
        return um_fail_memory(err, "the order of interactions");
    for (size_t i = 0; i < o->n; i++)
        o->start[b->user.data[i] + 1]++;
    uint64_t longest = 0;
    for (uint32_t u = 0; u < o->n_users; u++) {
        if (o->start[u + 1] > longest)
            longest = o->start[u + 1];
        o->start[u + 1] += o->start[u];
    }
    for (size_t i = 0; i < o->n; i++)
        o->ordinals[o->start[b->user.data[i]]++] = (uint32_t)i;
    /* Each start moved to the next one's place: move them back. */
    for (uint32_t u = o->n_users; u > 0; u--)
        o->start[u] = o->start[u - 1];
    o->start[0] = 0;
    o->rows = um_calloc(longest, sizeof *o->rows);
    o->spare = um_calloc(longest, sizeof *o->spare);
    o->keys = um_calloc(longest, sizeof *o->keys);
    if (o->rows == NULL || o->spare == NULL || o->keys == NULL)
        return um_fail_memory(err, "the order of interactions");
    return UM_OK;
}

static void insertion_sort(timed *rows, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        timed row = rows[i];
        size_t j = i;
        for (; j > 0 && rows[j - 1].time_s > row.time_s; j--)
            rows[j] = rows[j - 1];
        rows[j] = row;
    }
}

static void merge(const timed *a, size_t n_a, const timed *b, size_t n_b, timed *out)
{
    size_t i = 0, j = 0;
    while (i < n_a && j < n_b)
        *out++ = b[j].time_s < a[i].time_s ? b[j++] : a[i++];
    memcpy(out, a + i, (n_a - i) * sizeof *a);
    memcpy(out + (n_a - i), b + j, (n_b - j) * sizeof *b);
}

/* Stable bottom-up merge sort; the result is in *rows, which may have changed places with *spare.
 */
static void sort_by_time(timed **rows, timed **spare, size_t n)
{
    for (size_t at = 0; at < n; at += RUN_LENGTH)
        insertion_sort(*rows + at, n - at < RUN_LENGTH ? n - at : RUN_LENGTH);
    for (size_t width = RUN_LENGTH; width < n; width *= 2) {
        for (size_t at = 0; at < n; at += 2 * width) {
            size_t n_a = n - at < width ? n - at : width;
            size_t n_b = n - at - n_a < width ? n - at - n_a : width;
            merge(*rows + at, n_a, *rows + at + n_a, n_b, *spare + at);
        }
        timed *swap = *rows;
        *rows = *spare;
        *spare = swap;
    }
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t line_of(const um_dataset_builder *b, uint32_t ordinal)
{
    return ordinal < b->line.len ? b->line.data[ordinal] : 0;
}

static um_status leave_out(const order *o, const um_dataset_builder *b, uint32_t ordinal,
                           um_left_out_reason reason, um_error *err)
{
    if (o->options->on_left_out == NULL)
        return UM_OK;
    return o->options->on_left_out(o->options->context, ordinal, line_of(b, ordinal), reason, err);
}

/*
 * Drops repeated items from rows of one user and one time, keeping file order. Keys are
 * item << 32 | ordinal, so that sorting puts the first row of each item in front.
 */
static um_status drop_duplicates(order *o, const um_dataset_builder *b, timed *run, size_t *n,
                                 um_error *err)
{
    for (size_t i = 0; i < *n; i++)
        o->keys[i] = (uint64_t)b->item.data[run[i].ordinal] << 32 | run[i].ordinal;
    qsort(o->keys, *n, sizeof *o->keys, compare_keys);
    size_t kept = 0;
    uint64_t item_before = UINT64_MAX;
    for (size_t i = 0; i < *n; i++) {
        uint64_t item = o->keys[i] >> 32, ordinal = o->keys[i] & UINT32_MAX;
        if (item != item_before) {
            o->keys[kept++] = ordinal;
        } else {
            um_status status = leave_out(o, b, (uint32_t)ordinal, UM_LEFT_OUT_DUPLICATE, err);
            if (status != UM_OK)
                return status;
        }
        item_before = item;
    }
    if (kept == *n)
        return UM_OK;
    /* Back to file order. */
    qsort(o->keys, kept, sizeof *o->keys, compare_keys);
    for (size_t i = 0; i < kept; i++)
        run[i].ordinal = (uint32_t)o->keys[i];
    *n = kept;
    return UM_OK;
}

/* Orders one user's rows by time; *n becomes the number of rows kept, their ordinals in o->rows. */
static um_status order_user(order *o, const um_dataset_builder *b, uint64_t begin, size_t *n,
                            um_error *err)
{
    bool sorted = true, ties = false;
    for (size_t i = 0; i < *n; i++) {
        uint32_t ordinal = o->ordinals[begin + i];
        o->rows[i] = (timed){.time_s = b->time_s.data[ordinal], .ordinal = ordinal};
        sorted = sorted && (i == 0 || o->rows[i - 1].time_s <= o->rows[i].time_s);
    }
    if (!sorted)
        sort_by_time(&o->rows, &o->spare, *n);
    for (size_t i = 1; i < *n && !ties; i++)
        ties = o->rows[i - 1].time_s == o->rows[i].time_s;
    if (!o->options->unique || !ties)
        return UM_OK;
    size_t kept = 0;
    for (size_t at = 0, end; at < *n; at = end) {
        for (end = at + 1; end < *n && o->rows[end].time_s == o->rows[at].time_s;)
            end++;
        size_t run = end - at;
        um_status status = run > 1 ? drop_duplicates(o, b, o->rows + at, &run, err) : UM_OK;
        if (status != UM_OK)
            return status;
        memmove(o->rows + kept, o->rows + at, run * sizeof *o->rows);
        kept += run;
    }
    *n = kept;
    return UM_OK;
}

/*
 * Sorts every segment and squeezes out what is left out. Users with too few rows get an empty
 * segment here; renumber_users removes them from the table.
 */
static um_status sort_segments(order *o, const um_dataset_builder *b, um_error *err)
{
    um_status status = UM_OK;
    uint64_t written = 0, begin = 0;
    for (uint32_t u = 0; u < o->n_users; u++) {
        uint64_t end = o->start[u + 1];
        size_t n = (size_t)(end - begin);
        status = order_user(o, b, begin, &n, err);
        if (status != UM_OK)
            return status;
        if (n < o->options->min_user_interactions) {
            for (size_t i = 0; i < n; i++) {
                status = leave_out(o, b, o->rows[i].ordinal, UM_LEFT_OUT_FEW, err);
                if (status != UM_OK)
                    return status;
            }
            n = 0;
        }
        for (size_t i = 0; i < n; i++)
            o->ordinals[written + i] = o->rows[i].ordinal;
        written += n;
        begin = end;
        o->start[u + 1] = written;
    }
    o->n = (size_t)written;
    return UM_OK;
}

/* Cells gathered into row order; rows[r] = builder row of table row r, NULL = the same. */
static um_status gather_table(um_dataset *dataset, um_table *table, const um_builder_side *side,
                              const uint32_t *rows, uint32_t n_rows, um_error *err)
{
    size_t n_columns = side->columns.len, cells = 0;
    if (um_mul_overflows(n_rows, n_columns, &cells))
        return um_fail_memory(err, "a table");
    table->n_rows = n_rows;
    table->n_columns = (uint32_t)n_columns;
    table->columns = um_dataset_alloc(dataset, n_columns, sizeof *table->columns);
    table->kinds = um_dataset_alloc(dataset, n_columns, sizeof *table->kinds);
    table->ids = um_dataset_alloc(dataset, n_rows, sizeof *table->ids);
    table->cells = um_dataset_alloc(dataset, cells, sizeof *table->cells);
    if (table->columns == NULL || table->kinds == NULL || table->ids == NULL ||
        table->cells == NULL)
        return um_fail_memory(err, "a table");
    for (uint32_t r = 0; r < n_rows; r++)
        table->ids[r] = side->ids.names.data[rows != NULL ? rows[r] : r];
    /* Descriptions first, then features, each in order of first use. */
    size_t made = 0;
    for (int kind = UM_COLUMN_DESCRIPTION; kind <= UM_COLUMN_FEATURE; kind++) {
        for (size_t c = 0; c < n_columns; c++) {
            const um_builder_column *column = &side->columns.data[c];
            if ((int)column->kind != kind)
                continue;
            table->columns[made] = column->name;
            table->kinds[made] = column->kind;
            for (uint32_t r = 0; r < n_rows; r++) {
                uint32_t from = rows != NULL ? rows[r] : r;
                table->cells[(size_t)r * n_columns + made] =
                    from < column->cells.len ? column->cells.data[from] : NULL;
            }
            made++;
        }
    }
    return UM_OK;
}

/* Users with too few rows disappear from the table; start is squeezed alike. */
static um_status gather_users(order *o, um_dataset *dataset, const um_dataset_builder *b,
                              um_error *err)
{
    if (o->options->min_user_interactions == 0)
        return gather_table(dataset, &dataset->users, &b->users, NULL, o->n_users, err);
    uint32_t *rows = um_calloc(o->n_users, sizeof *rows);
    if (rows == NULL)
        return um_fail_memory(err, "a table");
    uint32_t kept = 0;
    for (uint32_t u = 0; u < o->n_users; u++) {
        if (o->start[u + 1] > o->start[u]) {
            o->start[kept] = o->start[u];
            rows[kept++] = u;
        }
    }
    o->start[kept] = o->n;
    um_status status = gather_table(dataset, &dataset->users, &b->users, rows, kept, err);
    free(rows);
    return status;
}

static um_status gather_log(order *o, um_dataset *dataset, um_dataset_builder *b, um_error *err)
{
    dataset->n_interactions = o->n;
    dataset->user_start = o->start;
    o->start = NULL;
    if (!um_dataset_own(dataset, dataset->user_start)) {
        dataset->user_start = NULL;
        return um_fail_memory(err, "interactions");
    }
    dataset->item = um_dataset_alloc(dataset, o->n, sizeof *dataset->item);
    if (dataset->item == NULL)
        return um_fail_memory(err, "interactions");
    for (size_t i = 0; i < o->n; i++)
        dataset->item[i] = b->item.data[o->ordinals[i]];
    um_vec_dispose(&b->item);
    dataset->time_s = um_dataset_alloc(dataset, o->n, sizeof *dataset->time_s);
    if (dataset->time_s == NULL)
        return um_fail_memory(err, "interactions");
    for (size_t i = 0; i < o->n; i++)
        dataset->time_s[i] = b->time_s.data[o->ordinals[i]];
    um_vec_dispose(&b->time_s);
    return UM_OK;
}

static um_status gather_series(const order *o, um_dataset *dataset, um_dataset_builder *b,
                               um_error *err)
{
    dataset->series = um_dataset_alloc(dataset, b->series.len, sizeof *dataset->series);
    if (dataset->series == NULL)
        return um_fail_memory(err, "behaviour columns");
    for (size_t s = 0; s < b->series.len; s++) {
        um_builder_series *from = &b->series.data[s];
        um_series *to = &dataset->series[s];
        to->name = from->name;
        if (from->is_text) {
            to->texts = um_dataset_alloc(dataset, o->n, sizeof *to->texts);
            if (to->texts == NULL)
                return um_fail_memory(err, "behaviour columns");
            for (size_t i = 0; i < o->n; i++) {
                uint32_t at = o->ordinals[i];
                to->texts[i] = at < from->texts.len ? from->texts.data[at] : NULL;
            }
        } else {
            to->numbers = um_dataset_alloc(dataset, o->n, sizeof *to->numbers);
            if (to->numbers == NULL)
                return um_fail_memory(err, "behaviour columns");
            for (size_t i = 0; i < o->n; i++) {
                uint32_t at = o->ordinals[i];
                to->numbers[i] = at < from->numbers.len ? from->numbers.data[at] : NAN;
            }
        }
        um_vec_dispose(&from->numbers);
        um_vec_dispose(&from->texts);
        dataset->n_series++;
    }
    return UM_OK;
}

static um_status gather_impressions(const order *o, um_dataset *dataset,
                                    const um_dataset_builder *b, um_error *err)
{
    if (b->shown.len == 0)
        return UM_OK;
    dataset->impression_start =
        um_dataset_alloc(dataset, o->n + 1, sizeof *dataset->impression_start);
    dataset->impression_item =
        um_dataset_alloc(dataset, b->shown.len, sizeof *dataset->impression_item);
    dataset->impression_position =
        um_dataset_alloc(dataset, o->n, sizeof *dataset->impression_position);
    if (dataset->impression_start == NULL || dataset->impression_item == NULL ||
        dataset->impression_position == NULL)
        return um_fail_memory(err, "impressions");
    uint64_t written = 0;
    for (size_t i = 0; i < o->n; i++) {
        uint32_t at = o->ordinals[i];
        dataset->impression_start[i] = written;
        dataset->impression_position[i] = -1;
        if (at >= b->shown_end.len)
            continue;
        uint64_t begin = at == 0 ? 0 : b->shown_end.data[at - 1], end = b->shown_end.data[at];
        memcpy(dataset->impression_item + written, b->shown.data + begin,
               (size_t)(end - begin) * sizeof *dataset->impression_item);
        written += end - begin;
        dataset->impression_position[i] = b->shown_position.data[at];
    }
    dataset->impression_start[o->n] = written;
    return UM_OK;
}

static void first_seen(um_dataset *dataset, uint32_t item, int64_t time_s)
{
    if (!dataset->item_has_release[item] && time_s < dataset->item_available_s[item])
        dataset->item_available_s[item] = time_s;
}

static um_status gather_availability(um_dataset *dataset, const um_dataset_builder *b,
                                     um_error *err)
{
    uint32_t n = dataset->items.n_rows;
    dataset->item_available_s = um_dataset_alloc(dataset, n, sizeof *dataset->item_available_s);
    dataset->item_has_release = um_dataset_alloc(dataset, n, sizeof *dataset->item_has_release);
    if (dataset->item_available_s == NULL || dataset->item_has_release == NULL)
        return um_fail_memory(err, "items");
    for (uint32_t i = 0; i < n; i++) {
        dataset->item_has_release[i] = i < b->has_release.len && b->has_release.data[i] != 0;
        dataset->item_available_s[i] =
            dataset->item_has_release[i] ? b->release_s.data[i] : INT64_MAX;
    }
    for (uint64_t i = 0; i < dataset->n_interactions; i++) {
        first_seen(dataset, dataset->item[i], dataset->time_s[i]);
        if (dataset->impression_start == NULL)
            continue;
        for (uint64_t j = dataset->impression_start[i]; j < dataset->impression_start[i + 1]; j++)
            first_seen(dataset, dataset->impression_item[j], dataset->time_s[i]);
    }
    return UM_OK;
}

um_status um_builder_finish_with(um_dataset_builder *b, const um_builder_finish_options *options,
                                 um_dataset **out, um_error *err)
{
    um_status status = UM_OK;
    um_dataset *dataset = b->dataset;
    order o = {.options = options};
    if (dataset == NULL)
        return um_fail(err, UM_ERR_STATE, "the builder is finished");
    status = sort_by_user(&o, b, err);
    if (status != UM_OK)
        goto done;
    um_vec_dispose(&b->user);
    status = sort_segments(&o, b, err);
    if (status != UM_OK)
        goto done;
    um_vec_dispose(&b->line);
    status = gather_users(&o, dataset, b, err);
    if (status == UM_OK)
        status = gather_table(dataset, &dataset->items, &b->items, NULL,
                              (uint32_t)b->items.ids.names.len, err);
    if (status == UM_OK)
        status = gather_log(&o, dataset, b, err);
    if (status == UM_OK)
        status = gather_series(&o, dataset, b, err);
    if (status == UM_OK)
        status = gather_impressions(&o, dataset, b, err);
    if (status == UM_OK)
        status = gather_availability(dataset, b, err);
    if (status != UM_OK)
        goto done;
    b->dataset = NULL;
    *out = dataset;
done:
    order_dispose(&o);
    um_builder_clear(b);
    return status;
}
