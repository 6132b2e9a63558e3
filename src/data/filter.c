#include "data/filter.h"

#include <math.h>
#include <stdlib.h>

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

/*
 * The key of the `rank`-th smallest time (from 0), one digit after another; *before becomes the
 * number of smaller ones. No copy of the times is needed.
 */
static um_status select_time(const um_filter_rows *r, uint64_t rank, uint64_t *key,
                             uint64_t *before, um_error *err)
{
    uint64_t prefix = 0, smaller = 0, low = UINT64_MAX, high = 0;
    uint64_t *count = um_calloc(RADIX, sizeof *count);
    if (count == NULL)
        return um_fail_memory(err, "the newest share");
    for (size_t i = 0; i < r->order->n; i++) {
        const uint64_t k = key_of(r->time_s[i]);
        const bool is_there = is_timed(r, i);
        low = is_there & (k < low) ? k : low;
        high = is_there & (k > high) ? k : high;
    }
    for (int shift = 63 / RADIX_BITS * RADIX_BITS; shift >= 0; shift -= RADIX_BITS) {
        if (low >> shift == high >> shift) { /* all have this digit */
            prefix = low >> shift << shift;
            continue;
        }
        for (size_t d = 0; d < RADIX; d++)
            count[d] = 0;
        for (size_t i = 0; i < r->order->n; i++) {
            uint64_t k = key_of(r->time_s[i]);
            bool matches = shift + RADIX_BITS >= 64 || (k ^ prefix) >> (shift + RADIX_BITS) == 0;
            count[k >> shift & (RADIX - 1)] += matches & is_timed(r, i);
        }
        size_t digit = 0;
        while (smaller + count[digit] <= rank)
            smaller += count[digit++];
        prefix |= (uint64_t)digit << shift;
    }
    free(count);
    *key = prefix;
    *before = smaller;
    return UM_OK;
}

static um_status keep_newest(um_filter_rows *r, double share, um_error *err)
{
    uint64_t n = 0, key = 0, before = 0;
    for (size_t i = 0; i < r->order->n; i++)
        n += is_timed(r, i);
    if (n == 0)
        return UM_OK;
    uint64_t wanted = (uint64_t)llround(share * (double)n);
    wanted = wanted < 1 ? 1 : wanted;
    um_status status = select_time(r, n - wanted, &key, &before, err);
    if (status != UM_OK)
        return status;
    /* Of the rows of that very time the first in file order go. */
    uint64_t ties = n - wanted - before;
    for (size_t i = 0; i < r->order->n; i++) {
        const uint64_t k = key_of(r->time_s[i]);
        const bool is_tie = k == key && ties > 0 && is_timed(r, i);
        const bool is_old = (k < key && is_timed(r, i)) || is_tie;
        r->left_out[i] = is_old ? UM_LEFT_OUT_OLD : r->left_out[i];
        ties -= is_tie;
    }
    for (size_t i = 0; i < r->skip_order->n; i++) {
        if (r->skip_time_s[i] != 0 && key_of(r->skip_time_s[i]) < key)
            r->skip_left_out[i] = UM_LEFT_OUT_OLD;
    }
    return UM_OK;
}

static void drop_rare_items(um_filter_rows *r, uint64_t min, const uint32_t *count)
{
    for (size_t i = 0; i < r->order->n; i++) {
        const bool is_rare = (r->left_out[i] == UM_KEPT) & (count[r->item[i]] < min);
        r->left_out[i] = is_rare ? UM_LEFT_OUT_RARE_ITEM : r->left_out[i];
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

static void drop_users(um_filter_rows *r, const um_ingest_filters *f)
{
    for (uint32_t u = 0; u < r->order->n_users; u++) {
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

um_status um_filter_apply(um_filter_rows *r, const um_ingest_filters *f, um_error *err)
{
    size_t n = r->order->n;
    um_status status = UM_OK;
    uint32_t *count = um_calloc(r->n_items, sizeof *count); /* before the filter of items */
    if (count == NULL)
        return um_fail_memory(err, "filters");
    if (has_share(f))
        status = keep_newest(r, f->newest_share, err);
    if (status != UM_OK)
        goto done;
    for (size_t i = 0; i < n; i++)
        count[r->item[i]] += r->left_out[i] == UM_KEPT;
    if (f->min_item_interactions > 0)
        drop_rare_items(r, (uint64_t)f->min_item_interactions, count);
    drop_users(r, f);

    for (uint32_t k = 0; k < r->n_items; k++)
        r->item_kept[k] = f->min_item_interactions <= 0;
    for (size_t i = 0; i < n; i++)
        r->item_kept[r->item[i]] &= r->left_out[i] <= UM_LEFT_OUT_DUPLICATE;
    for (size_t i = 0; i < n; i++)
        r->item_kept[r->item[i]] |= r->left_out[i] == UM_KEPT;
done:
    free(count);
    return status;
}
