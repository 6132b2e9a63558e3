#include "data/filter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

#define RADIX_BITS 11 /* counters stay in the first-level cache */
#define RADIX      ((size_t)1 << RADIX_BITS)

const char *um_left_out_text(um_left_out_reason reason)
{
    static const char *const texts[UM_LEFT_OUT_COUNT] = {
        [UM_KEPT] = "kept",
        [UM_LEFT_OUT_DUPLICATE] = "user, item and time as in an earlier row",
        [UM_LEFT_OUT_OLD] = "older than the newest share that is kept",
        [UM_LEFT_OUT_RARE_ITEM] = "its item has too few interactions",
        [UM_LEFT_OUT_FEW] = "its user has too few interactions",
        [UM_LEFT_OUT_MANY] = "its user has too many interactions",
        [UM_LEFT_OUT_BROKEN] = "another row of its impression is bad"};
    return texts[reason];
}

static bool has_share(const um_ingest_filters *f)
{
    return f->newest_share > 0 && f->newest_share < 1;
}

bool um_filter_is_on(const um_ingest_filters *f)
{
    return has_share(f) || f->min_item_interactions > 0 || f->min_user_interactions > 0 ||
           f->max_user_interactions > 0;
}

/* Times in an order that unsigned numbers have. */
static uint64_t key_of(int64_t time_s)
{
    return (uint64_t)time_s ^ (UINT64_C(1) << 63);
}

static bool is_timed(const um_filter_rows *r, size_t ordinal)
{
    return (r->left_out[ordinal] == UM_KEPT) & (r->time_s[ordinal] != 0);
}

/* What each thread works with. */
typedef struct share {
    uint64_t n, low, high;  /* rows that are timed, and the range of their keys */
    uint64_t digits[RADIX]; /* how many have each */
    uint32_t *count;        /* [n_items] interactions that stay before the filter of items */
    uint8_t *fate;          /* [n_items] fates of its interactions, or-ed */
} share;

enum { STAYS = 1, TAKEN = 2 }; /* fates: the second, by a filter */

typedef struct filtering {
    um_filter_rows *r;
    const um_ingest_filters *f;
    share *shares; /* [threads] */
    size_t n_shares;
    uint64_t key, prefix; /* of the oldest time that stays, while it is being found */
    int shift;
} filtering;

static void look_at_times(void *context, size_t begin, size_t end, int thread)
{
    const filtering *g = context;
    share *s = &g->shares[thread];
    uint64_t n = 0, low = UINT64_MAX, high = 0;
    for (size_t i = begin; i < end; i++) {
        const uint64_t k = key_of(g->r->time_s[i]);
        const bool is_there = is_timed(g->r, i);
        n += is_there;
        low = is_there & (k < low) ? k : low;
        high = is_there & (k > high) ? k : high;
    }
    s->n = n;
    s->low = low;
    s->high = high;
}

static void count_digits(void *context, size_t begin, size_t end, int thread)
{
    const filtering *g = context;
    uint64_t *count = g->shares[thread].digits;
    const int above = g->shift + RADIX_BITS;
    for (size_t i = begin; i < end; i++) {
        const uint64_t k = key_of(g->r->time_s[i]);
        const bool matches = above >= 64 || (k ^ g->prefix) >> above == 0;
        count[k >> g->shift & (RADIX - 1)] += matches & is_timed(g->r, i);
    }
}

/*
 * The key of the `rank`-th smallest time (from 0), one digit after another, into g->key; gives the
 * number of smaller ones. No copy of the times is needed.
 */
static uint64_t select_time(filtering *g, uint64_t low, uint64_t high, uint64_t rank)
{
    uint64_t smaller = 0;
    g->prefix = 0;
    for (g->shift = 63 / RADIX_BITS * RADIX_BITS; g->shift >= 0; g->shift -= RADIX_BITS) {
        if (low >> g->shift == high >> g->shift) { /* all have this digit */
            g->prefix = low >> g->shift << g->shift;
            continue;
        }
        for (size_t k = 0; k < g->n_shares; k++)
            memset(g->shares[k].digits, 0, sizeof g->shares[k].digits);
        um_pool_run(g->r->pool, g->r->order->n, 1, count_digits, g);
        for (uint64_t digit = 0;; digit++) {
            uint64_t n = 0;
            for (size_t k = 0; k < g->n_shares; k++)
                n += g->shares[k].digits[digit];
            if (smaller + n > rank) {
                g->prefix |= digit << g->shift;
                break;
            }
            smaller += n;
        }
    }
    g->key = g->prefix;
    return smaller;
}

static void mark_old(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const filtering *g = context;
    for (size_t i = begin; i < end; i++) {
        const bool is_old = key_of(g->r->time_s[i]) < g->key && is_timed(g->r, i);
        g->r->left_out[i] = is_old ? UM_LEFT_OUT_OLD : g->r->left_out[i];
    }
}

static void keep_newest(filtering *g)
{
    um_filter_rows *r = g->r;
    uint64_t n = 0, low = UINT64_MAX, high = 0;
    um_pool_run(r->pool, r->order->n, 1, look_at_times, g);
    for (size_t k = 0; k < g->n_shares; k++) {
        n += g->shares[k].n;
        low = g->shares[k].n > 0 && g->shares[k].low < low ? g->shares[k].low : low;
        high = g->shares[k].high > high ? g->shares[k].high : high;
    }
    if (n == 0)
        return;
    uint64_t wanted = (uint64_t)llround(g->f->newest_share * (double)n);
    wanted = wanted < 1 ? 1 : wanted;
    const uint64_t before = select_time(g, low, high, n - wanted);
    um_pool_run(r->pool, r->order->n, 1, mark_old, g);
    /* Of the rows of that very time the first in file order go. */
    uint64_t ties = n - wanted - before;
    for (size_t i = 0; i < r->order->n && ties > 0; i++) {
        if (key_of(r->time_s[i]) == g->key && is_timed(r, i)) {
            r->left_out[i] = UM_LEFT_OUT_OLD;
            ties--;
        }
    }
    for (size_t i = 0; i < r->skip_order->n; i++) {
        if (r->skip_time_s[i] != 0 && key_of(r->skip_time_s[i]) < g->key)
            r->skip_left_out[i] = UM_LEFT_OUT_OLD;
    }
}

static void count_items(void *context, size_t begin, size_t end, int thread)
{
    const filtering *g = context;
    uint32_t *count = g->shares[thread].count;
    for (size_t i = begin; i < end; i++)
        count[g->r->item[i]] += g->r->left_out[i] == UM_KEPT;
}

/* With the counts of all threads in the first's. */
static void drop_rare_items(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const filtering *g = context;
    const uint64_t min = (uint64_t)g->f->min_item_interactions;
    for (size_t i = begin; i < end; i++) {
        const bool is_rare =
            (g->r->left_out[i] == UM_KEPT) & (g->shares[0].count[g->r->item[i]] < min);
        g->r->left_out[i] = is_rare ? UM_LEFT_OUT_RARE_ITEM : g->r->left_out[i];
    }
}

static uint64_t count_kept(const um_order *o, const uint8_t *left_out, uint32_t user)
{
    uint64_t n = 0;
    for (uint64_t i = o->start[user]; i < o->start[user + 1]; i++)
        n += left_out[o->ordinals[i]] == UM_KEPT;
    return n;
}

static void mark_user(const um_order *o, uint8_t *left_out, uint32_t user, uint8_t reason)
{
    for (uint64_t i = o->start[user]; i < o->start[user + 1]; i++) {
        uint8_t *mark = &left_out[o->ordinals[i]];
        *mark = *mark == UM_KEPT ? reason : *mark;
    }
}

static void drop_users(void *context, size_t begin, size_t end, int thread)
{
    (void)thread;
    const filtering *g = context;
    um_filter_rows *r = g->r;
    const um_ingest_filters *f = g->f;
    for (uint32_t u = (uint32_t)begin; u < end; u++) {
        uint64_t n = count_kept(r->order, r->left_out, u);
        bool had = r->order->start[u] != r->order->start[u + 1];
        uint8_t reason = UM_KEPT;
        if (f->min_user_interactions > 0 && n < (uint64_t)f->min_user_interactions)
            reason = UM_LEFT_OUT_FEW;
        else if (f->max_user_interactions > 0 && n > (uint64_t)f->max_user_interactions)
            reason = UM_LEFT_OUT_MANY;
        if (reason != UM_KEPT) {
            mark_user(r->order, r->left_out, u, reason);
            mark_user(r->skip_order, r->skip_left_out, u, reason);
            r->user_kept[u] = false;
        } else if (n == 0 && had && count_kept(r->skip_order, r->skip_left_out, u) == 0) {
            r->user_kept[u] = false;
        }
    }
}

static void see_fates(void *context, size_t begin, size_t end, int thread)
{
    const filtering *g = context;
    uint8_t *fate = g->shares[thread].fate;
    for (size_t i = begin; i < end; i++) {
        const uint8_t why = g->r->left_out[i];
        fate[g->r->item[i]] |=
            (uint8_t)((why == UM_KEPT) * STAYS | (why > UM_LEFT_OUT_DUPLICATE) * TAKEN);
    }
}

static void drop_items(const filtering *g)
{
    for (uint32_t i = 0; i < g->r->n_items; i++) {
        uint8_t fate = 0;
        for (size_t k = 0; k < g->n_shares; k++)
            fate |= g->shares[k].fate[i];
        g->r->item_kept[i] =
            (fate & STAYS) != 0 || (g->f->min_item_interactions <= 0 && (fate & TAKEN) == 0);
    }
}

static void dispose(filtering *g)
{
    for (size_t k = 0; k < g->n_shares && g->shares != NULL; k++) {
        free(g->shares[k].count);
        free(g->shares[k].fate);
    }
    free(g->shares);
}

um_status um_filter_apply(um_filter_rows *r, const um_ingest_filters *f, um_error *err)
{
    const size_t n = r->order->n;
    filtering g = {.r = r, .f = f, .n_shares = (size_t)um_pool_threads(r->pool)};
    g.shares = um_calloc(g.n_shares, sizeof *g.shares);
    bool good = g.shares != NULL;
    for (size_t k = 0; k < g.n_shares && good; k++) {
        g.shares[k].count = um_calloc(r->n_items, sizeof *g.shares[k].count);
        g.shares[k].fate = um_calloc(r->n_items, sizeof *g.shares[k].fate);
        good = g.shares[k].count != NULL && g.shares[k].fate != NULL;
    }
    if (!good) {
        dispose(&g);
        return um_fail_memory(err, "filters");
    }
    if (has_share(f))
        keep_newest(&g);
    if (f->min_item_interactions > 0) {
        um_pool_run(r->pool, n, 1, count_items, &g);
        for (size_t k = 1; k < g.n_shares; k++) {
            for (uint32_t i = 0; i < r->n_items; i++)
                g.shares[0].count[i] += g.shares[k].count[i];
        }
        um_pool_run(r->pool, n, 1, drop_rare_items, &g);
    }
    um_pool_run(r->pool, r->order->n_users, 1, drop_users, &g);
    um_pool_run(r->pool, n, 1, see_fates, &g);
    drop_items(&g);
    dispose(&g);
    return UM_OK;
}
