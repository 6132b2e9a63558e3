#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "data/dataset_memory.h"

#define MAX_NAME_BYTES 64

/* The name becomes part of file names: letters, digits, '.', '_', '-', not starting with '.'. */
um_status um_dataset_check_name(const char *name, um_error *err)
{
    size_t n = strlen(name);
    bool good = n > 0 && n <= MAX_NAME_BYTES && name[0] != '.';
    for (size_t i = 0; i < n && good; i++) {
        char c = name[i];
        good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '.' || c == '_' || c == '-';
    }
    if (good)
        return UM_OK;
    return um_fail(
        err, UM_ERR_INPUT,
        "data set name '%.80s': need 1 to %d letters, digits, '.', '_' or '-', the first "
        "not a '.'",
        name, MAX_NAME_BYTES);
}

um_dataset *um_dataset_new(void)
{
    um_dataset *dataset = um_calloc(1, sizeof *dataset);
    if (dataset == NULL)
        return NULL;
    dataset->memory = um_calloc(1, sizeof *dataset->memory);
    if (dataset->memory == NULL) {
        free(dataset);
        return NULL;
    }
    return dataset;
}

void *um_dataset_alloc(um_dataset *dataset, size_t count, size_t size)
{
    void *block = um_aligned_calloc(count, size);
    return block != NULL && um_dataset_own(dataset, block) ? block : NULL;
}

void *um_dataset_room(um_dataset *dataset, size_t count, size_t size)
{
    void *block = um_aligned_alloc(count, size);
    return block != NULL && um_dataset_own(dataset, block) ? block : NULL;
}

bool um_dataset_own(um_dataset *dataset, void *block)
{
    if (um_vec_push(&dataset->memory->blocks, block))
        return true;
    free(block);
    return false;
}

void um_dataset_free(um_dataset *dataset)
{
    if (dataset == NULL)
        return;
    struct um_dataset_memory *memory = dataset->memory;
    for (size_t i = 0; i < memory->blocks.len; i++)
        free(memory->blocks.data[i]);
    um_vec_dispose(&memory->blocks);
    um_arena_dispose(&memory->strings);
    um_spool_free(memory->texts);
    free(memory->spool_dir);
    free(memory);
    free(dataset);
}

um_status um_dataset_set_spool_dir(um_dataset *dataset, const char *dir, um_error *err)
{
    struct um_dataset_memory *memory = dataset->memory;
    free(memory->spool_dir);
    memory->spool_dir = um_strdup(dir);
    return dir == NULL || memory->spool_dir != NULL ? UM_OK : um_fail_memory(err, "a data set");
}

um_status um_dataset_spool(um_dataset *dataset, um_spool **out, um_error *err)
{
    struct um_dataset_memory *memory = dataset->memory;
    um_status status =
        memory->texts == NULL ? um_spool_new(&memory->texts, memory->spool_dir, err) : UM_OK;
    *out = memory->texts;
    return status;
}

um_status um_dataset_keep_text(um_dataset *dataset, const char *text, size_t len, char **out,
                               um_error *err)
{
    um_spool *spool = NULL;
    um_status status = um_dataset_spool(dataset, &spool, err);
    return status == UM_OK ? um_spool_add(spool, text, len, out, err) : status;
}

um_status um_dataset_keep_cell(um_dataset *dataset, const char *text, size_t len, char **out,
                               um_error *err)
{
    if (len > UM_LONG_CELL_BYTES)
        return um_dataset_keep_text(dataset, text, len, out, err);
    *out = um_arena_strndup(&dataset->memory->strings, text, len);
    return *out != NULL ? UM_OK : um_fail_memory(err, "cells");
}

um_status um_dataset_gather_texts(const um_dataset *dataset, char *const *texts, size_t n,
                                  um_str *out, size_t *place, um_error *err)
{
    return um_spool_gather(dataset->memory->texts, texts, n, out, place, err);
}

uint64_t um_dataset_text_bytes(const um_dataset *dataset)
{
    return dataset->memory->texts != NULL ? um_spool_bytes(dataset->memory->texts) : 0;
}

um_status um_dataset_flush_texts(um_dataset *dataset, um_error *err)
{
    return dataset->memory->texts != NULL ? um_spool_flush(dataset->memory->texts, err) : UM_OK;
}

void um_dataset_release_texts(const um_dataset *dataset)
{
    if (dataset->memory->texts != NULL)
        um_spool_release(dataset->memory->texts);
}

/* Availability ---------------------------------------------------------------------------------
 */

/* In first_s: an item that nobody saw, or only before the log. No time is as late. */
#define NEVER      INT64_MAX
#define BEFORE_LOG (INT64_MAX - 1)

/* Each thread has its own first_s[n_items]. */
typedef struct seeing {
    const um_dataset *d;
    int64_t *first_s;
} seeing;

static void see_items(int64_t *first_s, const uint32_t *items, uint64_t n, int64_t time_s)
{
    const int64_t when = time_s != 0 ? time_s : BEFORE_LOG;
    for (uint64_t i = 0; i < n; i++) {
        if (when < first_s[items[i]])
            first_s[items[i]] = when;
    }
}

static void see_rows(void *context, size_t begin, size_t end, int thread)
{
    const seeing *s = context;
    const um_dataset *d = s->d;
    int64_t *first_s = s->first_s + (size_t)thread * d->items.n_rows;
    for (size_t i = begin; i < end; i++) {
        see_items(first_s, &d->item[i], 1, d->time_s[i]);
        if (d->impression_start != NULL)
            see_items(first_s, d->impression_item + d->impression_start[i],
                      d->impression_start[i + 1] - d->impression_start[i], d->time_s[i]);
    }
}

static void see_skips(void *context, size_t begin, size_t end, int thread)
{
    const seeing *s = context;
    const um_dataset *d = s->d;
    int64_t *first_s = s->first_s + (size_t)thread * d->items.n_rows;
    for (size_t k = begin; k < end; k++)
        see_items(first_s, d->skip_item + d->skip_list_start[k],
                  d->skip_list_start[k + 1] - d->skip_list_start[k], d->skip_time_s[k]);
}

um_status um_dataset_find_first_seen(um_dataset *d, um_pool *pool, um_error *err)
{
    const size_t n = d->items.n_rows, n_all = n * (size_t)um_pool_threads(pool);
    seeing s = {d, um_calloc(n_all, sizeof *s.first_s)};
    if (s.first_s == NULL)
        return um_fail_memory(err, "items");
    for (size_t i = 0; i < n_all; i++)
        s.first_s[i] = NEVER;
    um_pool_run(pool, d->n_interactions, 1, see_rows, &s);
    um_pool_run(pool, d->n_skips, 1, see_skips, &s);
    for (size_t i = 0; i < n; i++) {
        int64_t first = NEVER;
        for (size_t k = i; k < n_all; k += n)
            first = s.first_s[k] < first ? s.first_s[k] : first;
        if (!d->item_has_release[i])
            d->item_available_s[i] = first == BEFORE_LOG ? 0 : first;
    }
    free(s.first_s);
    return UM_OK;
}

int um_table_column(const um_table *table, const char *name)
{
    for (uint32_t i = 0; i < table->n_columns; i++) {
        if (strcmp(table->columns[i], name) == 0)
            return (int)i;
    }
    return -1;
}

const char *um_table_cell(const um_table *table, uint32_t row, int column)
{
    if (column < 0 || (uint32_t)column >= table->n_columns || row >= table->n_rows)
        return NULL;
    return table->cells[(size_t)row * table->n_columns + (size_t)column];
}

const um_series *um_dataset_series(const um_dataset *dataset, const char *name)
{
    for (uint32_t i = 0; i < dataset->n_series; i++) {
        if (strcmp(dataset->series[i].name, name) == 0)
            return &dataset->series[i];
    }
    return NULL;
}
