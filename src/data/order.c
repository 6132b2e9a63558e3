/*
 * order.c - a counting sort by user gives each user a segment of rows in file order; each segment
 * is then sorted by time with a stable merge sort (most logs come sorted, so that case costs one
 * pass).
 */
#include "data/order.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

#define RUN_LENGTH 24 /* rows sorted by insertion before merging */

typedef struct timed {
    int64_t time_s;
    uint32_t ordinal;
} timed;

void um_order_dispose(um_order *o)
{
    free(o->start);
    free(o->ordinals);
    free(o->time_s);
    *o = (um_order){0};
}

/* Of users begin to end - 1. */
static size_t longest_segment(const um_order *o, size_t begin, size_t end)
{
    uint64_t longest = 0;
    for (size_t u = begin; u < end; u++) {
        if (o->start[u + 1] - o->start[u] > longest)
            longest = o->start[u + 1] - o->start[u];
    }
    return (size_t)longest;
}

static um_status sort_by_user(um_order *o, const uint32_t *user, const int64_t *time_s,
                              um_error *err)
{
    o->start = um_calloc((size_t)o->n_users + 1, sizeof *o->start);
    o->ordinals = um_calloc(o->n, sizeof *o->ordinals);
    o->time_s = um_calloc(o->n, sizeof *o->time_s);
    if (o->start == NULL || o->ordinals == NULL || o->time_s == NULL)
        return um_fail_memory(err, "the order of interactions");
    for (size_t i = 0; i < o->n; i++)
        o->start[user[i] + 1]++;
    for (uint32_t u = 0; u < o->n_users; u++)
        o->start[u + 1] += o->start[u];
    for (size_t i = 0; i < o->n; i++) {
        uint64_t at = o->start[user[i]]++;
        o->ordinals[at] = (uint32_t)i;
        o->time_s[at] = time_s[i];
    }
    /* Each start moved to the next one's place: move them back. */
    for (uint32_t u = o->n_users; u > 0; u--)
        o->start[u] = o->start[u - 1];
    o->start[0] = 0;
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

/* Rows [begin, end). */
static void sort_segment(const um_order *o, uint64_t begin, uint64_t end, timed **rows,
                         timed **spare)
{
    bool sorted = true;
    for (uint64_t i = begin + 1; i < end; i++)
        sorted = sorted && o->time_s[i - 1] <= o->time_s[i];
    if (sorted)
        return;
    for (uint64_t i = begin; i < end; i++)
        (*rows)[i - begin] = (timed){.time_s = o->time_s[i], .ordinal = o->ordinals[i]};
    sort_by_time(rows, spare, (size_t)(end - begin));
    for (uint64_t i = begin; i < end; i++) {
        o->time_s[i] = (*rows)[i - begin].time_s;
        o->ordinals[i] = (*rows)[i - begin].ordinal;
    }
}

/* What threads do, each for a range of users. */
typedef struct pass {
    const um_order *o;
    const uint32_t *item;
    uint8_t *mark, value;
    atomic_bool out_of_memory;
} pass;

static void sort_users(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    pass *p = context;
    const um_order *o = p->o;
    size_t longest = longest_segment(o, begin, end);
    timed *rows = um_calloc(longest, sizeof *rows), *spare = um_calloc(longest, sizeof *spare);
    if (rows == NULL || spare == NULL)
        p->out_of_memory = true;
    for (size_t u = begin; u < end && rows != NULL && spare != NULL; u++)
        sort_segment(o, o->start[u], o->start[u + 1], &rows, &spare);
    free(rows);
    free(spare);
}

um_status um_order_make(um_order *o, const uint32_t *user, const int64_t *time_s, size_t n,
                        uint32_t n_users, um_pool *pool, um_error *err)
{
    *o = (um_order){.n_users = n_users, .n = n};
    um_status status = sort_by_user(o, user, time_s, err);
    if (status != UM_OK)
        return status;
    pass p = {.o = o};
    um_pool_run(pool, n_users, 1, sort_users, &p);
    return p.out_of_memory ? um_fail_memory(err, "the order of interactions") : UM_OK;
}

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Of n rows of one user and one time, those that are marked already looked past. Keys are
 * item << 32 | ordinal, so that sorting puts the first row of each item in front. */
static void mark_run(const uint32_t *ordinals, size_t n, const uint32_t *item, uint64_t *keys,
                     uint8_t *mark, uint8_t value)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (mark[ordinals[i]] == 0)
            keys[kept++] = (uint64_t)item[ordinals[i]] << 32 | ordinals[i];
    }
    qsort(keys, kept, sizeof *keys, compare_keys);
    for (size_t i = 1; i < kept; i++) {
        if (keys[i] >> 32 == keys[i - 1] >> 32)
            mark[keys[i] & UINT32_MAX] = value;
    }
}

static void mark_users(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    pass *p = context;
    const um_order *o = p->o;
    uint64_t *keys = um_calloc(longest_segment(o, begin, end), sizeof *keys);
    if (keys == NULL) {
        p->out_of_memory = true;
        return;
    }
    for (size_t u = begin; u < end; u++) {
        uint64_t stop = 0;
        for (uint64_t at = o->start[u]; at < o->start[u + 1]; at = stop) {
            for (stop = at + 1; stop < o->start[u + 1] && o->time_s[stop] == o->time_s[at];)
                stop++;
            if (stop - at > 1)
                mark_run(o->ordinals + at, (size_t)(stop - at), p->item, keys, p->mark, p->value);
        }
    }
    free(keys);
}

um_status um_order_mark_repeats(const um_order *o, const uint32_t *item, uint8_t *mark,
                                uint8_t value, um_pool *pool, um_error *err)
{
    pass p = {.o = o, .item = item, .mark = mark, .value = value};
    um_pool_run(pool, o->n_users, 1, mark_users, &p);
    return p.out_of_memory ? um_fail_memory(err, "the order of interactions") : UM_OK;
}

void um_order_squeeze(um_order *o, const uint8_t *mark, const bool *user_kept)
{
    uint64_t written = 0, begin = 0;
    uint32_t kept = 0;
    for (uint32_t u = 0; u < o->n_users; u++) {
        uint64_t end = o->start[u + 1];
        for (uint64_t i = begin; i < end; i++) {
            if (mark[o->ordinals[i]] != 0)
                continue;
            o->time_s[written] = o->time_s[i];
            o->ordinals[written++] = o->ordinals[i];
        }
        begin = end;
        if (user_kept == NULL || user_kept[u])
            o->start[++kept] = written;
    }
    o->n_users = kept;
    o->n = (size_t)written;
    int64_t *fitting = um_reallocarray(o->time_s, o->n, sizeof *o->time_s);
    if (fitting != NULL)
        o->time_s = fitting;
}
