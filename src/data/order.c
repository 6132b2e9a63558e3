/*
 * order.c - a counting sort by user gives each user a segment of rows in file order; each segment
 * is then sorted by time (most logs come sorted, so that case costs one pass).
 *
 * A row is sorted as one word, its time before its ordinal, so that equal times stay in file order
 * and a comparison is one of two words. Halves of the log are counted and put by a thread each.
 */
#include "data/order.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

#define N_PARTS    2
#define RUN_LENGTH 4 /* rows sorted before merging */

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

/* Consecutive rows of the log. */
typedef struct part {
    int64_t first_s, last_s; /* least and greatest time */
    uint32_t *at;            /* [n_users] how many rows; then where the next one goes */
} part;

typedef struct making {
    um_order *o;
    const uint32_t *user;
    const int64_t *time_s;
    part parts[N_PARTS];
    /* A row's word: time - first_s, then that many bits of its ordinal. Rows have none where times
     * lie too far apart. */
    bool has_words;
    int64_t first_s;
    unsigned ordinal_bits;
    atomic_bool out_of_memory;
} making;

static size_t begin_of(const making *m, size_t k)
{
    return m->o->n / N_PARTS * k + (k == N_PARTS ? m->o->n % N_PARTS : 0);
}

static void count_parts(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    making *m = context;
    for (size_t k = begin; k < end; k++) {
        part *p = &m->parts[k];
        int64_t first = INT64_MAX, last = INT64_MIN;
        for (size_t i = begin_of(m, k); i < begin_of(m, k + 1); i++) {
            p->at[m->user[i]]++;
            first = m->time_s[i] < first ? m->time_s[i] : first;
            last = m->time_s[i] > last ? m->time_s[i] : last;
        }
        p->first_s = first;
        p->last_s = last;
    }
}

/* The time of a row, and all of it where it has a word, to its place. Words lie in time_s. */
static void put_parts(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    making *m = context;
    um_order *o = m->o;
    for (size_t k = begin; k < end; k++) {
        uint32_t *to = m->parts[k].at;
        for (size_t i = begin_of(m, k); i < begin_of(m, k + 1); i++) {
            const size_t at = to[m->user[i]]++;
            if (m->has_words) {
                const uint64_t after = (uint64_t)m->time_s[i] - (uint64_t)m->first_s;
                o->time_s[at] = (int64_t)(after << m->ordinal_bits | i);
            } else {
                o->time_s[at] = m->time_s[i];
                o->ordinals[at] = (uint32_t)i;
            }
        }
    }
}

/* Where each user's rows begin, and each part's of them. */
static void find_starts(making *m)
{
    um_order *o = m->o;
    uint64_t next = 0;
    for (uint32_t u = 0; u < o->n_users; u++) {
        o->start[u] = next;
        for (size_t k = 0; k < N_PARTS; k++) {
            const uint32_t n = m->parts[k].at[u];
            m->parts[k].at[u] = (uint32_t)next;
            next += n;
        }
    }
    o->start[o->n_users] = next;
}

static void choose_words(making *m)
{
    const uint64_t n = m->o->n;
    int64_t first = INT64_MAX, last = INT64_MIN;
    for (size_t k = 0; k < N_PARTS; k++) {
        first = m->parts[k].first_s < first ? m->parts[k].first_s : first;
        last = m->parts[k].last_s > last ? m->parts[k].last_s : last;
    }
    m->first_s = first;
    while (n > UINT64_C(1) << m->ordinal_bits)
        m->ordinal_bits++;
    m->has_words = ((uint64_t)last - (uint64_t)first) >> (64 - m->ordinal_bits - 1) >> 1 == 0;
}

static um_status sort_by_user(making *m, um_pool *pool, um_error *err)
{
    um_order *o = m->o;
    bool good = true;
    o->start = um_calloc((size_t)o->n_users + 1, sizeof *o->start);
    o->ordinals = um_aligned_alloc(o->n, sizeof *o->ordinals);
    o->time_s = um_aligned_alloc(o->n, sizeof *o->time_s);
    for (size_t k = 0; k < N_PARTS; k++) {
        m->parts[k].at = um_calloc(o->n_users, sizeof *m->parts[k].at);
        good = good && m->parts[k].at != NULL;
    }
    good = good && o->start != NULL && o->ordinals != NULL && o->time_s != NULL;
    if (good) {
        um_pool_run(pool, N_PARTS, 1, count_parts, m);
        find_starts(m);
        choose_words(m);
        um_pool_run(pool, N_PARTS, 1, put_parts, m);
    }
    for (size_t k = 0; k < N_PARTS; k++)
        free(m->parts[k].at);
    return good ? UM_OK : um_fail_memory(err, "the order of interactions");
}

static inline void put_in_order(uint64_t *a, uint64_t *b)
{
    const uint64_t x = *a, y = *b;
    *a = y < x ? y : x;
    *b = y < x ? x : y;
}

/* Four rows, or fewer at the end. */
static void sort_run(uint64_t *rows, size_t n)
{
    if (n == RUN_LENGTH) {
        put_in_order(&rows[0], &rows[1]);
        put_in_order(&rows[2], &rows[3]);
        put_in_order(&rows[0], &rows[2]);
        put_in_order(&rows[1], &rows[3]);
        put_in_order(&rows[1], &rows[2]);
        return;
    }
    if (n > 1)
        put_in_order(&rows[0], &rows[1]);
    if (n > 2) {
        put_in_order(&rows[1], &rows[2]);
        put_in_order(&rows[0], &rows[1]);
    }
}

/* No two words are equal. Without branches on them: times are in no order that could be guessed. */
static void merge(const uint64_t *a, size_t n_a, const uint64_t *b, size_t n_b, uint64_t *out)
{
    size_t i = 0, j = 0;
    while (i < n_a && j < n_b) {
        const uint64_t x = a[i], y = b[j];
        *out++ = y < x ? y : x;
        j += y < x;
        i += x < y;
    }
    memcpy(out, a + i, (n_a - i) * sizeof *a);
    memcpy(out + (n_a - i), b + j, (n_b - j) * sizeof *b);
}

/* Bottom-up merge sort; gives the array with the result, which is one of the two. */
static uint64_t *sort_words(uint64_t *rows, uint64_t *spare, size_t n)
{
    for (size_t at = 0; at < n; at += RUN_LENGTH)
        sort_run(rows + at, n - at < RUN_LENGTH ? n - at : RUN_LENGTH);
    for (size_t width = RUN_LENGTH; width < n; width *= 2) {
        for (size_t at = 0; at < n; at += 2 * width) {
            size_t n_a = n - at < width ? n - at : width;
            size_t n_b = n - at - n_a < width ? n - at - n_a : width;
            merge(rows + at, n_a, rows + at + n_a, n_b, spare + at);
        }
        uint64_t *swap = rows;
        rows = spare;
        spare = swap;
    }
    return rows;
}

/* Rows [begin, end), which lie as words in time_s. */
static void sort_segment(const making *m, uint64_t begin, uint64_t end, uint64_t *spare)
{
    const um_order *o = m->o;
    uint64_t *words = (uint64_t *)o->time_s + begin;
    const size_t n = (size_t)(end - begin);
    bool sorted = true;
    for (size_t i = 1; i < n; i++)
        sorted = sorted && words[i - 1] < words[i];
    if (!sorted)
        words = sort_words(words, spare, n);
    for (size_t i = 0; i < n; i++) {
        const uint64_t word = words[i];
        o->ordinals[begin + i] = (uint32_t)(word & ((UINT64_C(1) << m->ordinal_bits) - 1));
        o->time_s[begin + i] = (int64_t)((word >> m->ordinal_bits) + (uint64_t)m->first_s);
    }
}

/* The same of rows without words. */
typedef struct timed {
    int64_t time_s;
    uint32_t ordinal;
} timed;

static int compare_timed(const void *a, const void *b)
{
    const timed *x = a, *y = b;
    if (x->time_s != y->time_s)
        return x->time_s < y->time_s ? -1 : 1;
    return x->ordinal < y->ordinal ? -1 : 1;
}

static void sort_timed(const um_order *o, uint64_t begin, uint64_t end, timed *rows)
{
    const size_t n = (size_t)(end - begin);
    bool sorted = true;
    for (size_t i = 1; i < n; i++)
        sorted = sorted && o->time_s[begin + i - 1] <= o->time_s[begin + i];
    if (sorted)
        return;
    for (size_t i = 0; i < n; i++)
        rows[i] = (timed){o->time_s[begin + i], o->ordinals[begin + i]};
    qsort(rows, n, sizeof *rows, compare_timed);
    for (size_t i = 0; i < n; i++) {
        o->time_s[begin + i] = rows[i].time_s;
        o->ordinals[begin + i] = rows[i].ordinal;
    }
}

static void sort_users(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    making *m = context;
    const um_order *o = m->o;
    const size_t size = m->has_words ? sizeof(uint64_t) : sizeof(timed);
    void *spare = um_calloc(longest_segment(o, begin, end), size);
    if (spare == NULL) {
        m->out_of_memory = true;
        return;
    }
    for (size_t u = begin; u < end; u++) {
        if (m->has_words)
            sort_segment(m, o->start[u], o->start[u + 1], spare);
        else
            sort_timed(o, o->start[u], o->start[u + 1], spare);
    }
    free(spare);
}

um_status um_order_make(um_order *o, const uint32_t *user, const int64_t *time_s, size_t n,
                        uint32_t n_users, um_pool *pool, um_error *err)
{
    making m = {.o = o, .user = user, .time_s = time_s};
    *o = (um_order){.n_users = n_users, .n = n};
    um_status status = sort_by_user(&m, pool, err);
    if (status != UM_OK)
        return status;
    um_pool_run(pool, n_users, 1, sort_users, &m);
    return m.out_of_memory ? um_fail_memory(err, "the order of interactions") : UM_OK;
}

/* What threads do, each for a range of users. */
typedef struct pass {
    const um_order *o;
    const uint32_t *item;
    uint8_t *mark, value;
    atomic_bool out_of_memory;
} pass;

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
