/*
 * filter.h - what um_ingest_filters leaves out of a log that was read.
 *
 * Once each, in this order, each over what the ones before it left:
 *   newest_share   of the interactions whose time is known, sorted by time and then file order, the
 *                  last round(share x their number), at least one, stay. Those of time 0 ("before
 *                  the log") stay too. Lists that nobody chose from go when they are older than the
 *                  oldest interaction that stays.
 *   items          with fewer than min_item_interactions lose those they have.
 *   users          with fewer than min_ or more than max_user_interactions go, with their lists.
 *
 * A user also goes when the filters took all of its interactions and no list of its stays. An item
 * leaves the catalogue, and so is never a distractor, when the filters took all of its
 * interactions, or when it has fewer than min_item_interactions; but one that is in a list which
 * stays (an impression, or one that nobody chose from) stays with it, and lists are never
 * shortened. Items that nobody ever chose stay unless min_item_interactions is on.
 */
#ifndef UM_DATA_FILTER_H
#define UM_DATA_FILTER_H

#include "data/order.h"
#include "mirrorer/dataset.h"

typedef enum um_left_out_reason {
    UM_KEPT,
    UM_LEFT_OUT_DUPLICATE, /* same user, item and time as an earlier row */
    UM_LEFT_OUT_OLD,       /* newest_share */
    UM_LEFT_OUT_RARE_ITEM, /* min_item_interactions */
    UM_LEFT_OUT_FEW,       /* min_user_interactions */
    UM_LEFT_OUT_MANY,      /* max_user_interactions */
    UM_LEFT_OUT_BROKEN,    /* a row of the same list is bad */
    UM_LEFT_OUT_COUNT
} um_left_out_reason;
const char *um_left_out_text(um_left_out_reason reason); /* "its user has too few interactions" */

/* Interactions and lists nobody chose from; what is marked already (duplicates) counts as absent.
 */
typedef struct um_filter_rows {
    const um_order *order;
    const uint32_t *item; /* by ordinal, as all of these */
    const int64_t *time_s;
    uint8_t *left_out; /* um_left_out_reason */
    const um_order *skip_order;
    const int64_t *skip_time_s;
    uint8_t *skip_left_out;
    uint32_t n_items;
    bool *user_kept; /* [order->n_users], all true before */
    bool *item_kept; /* [n_items], all true before; those in lists are the caller's to add */
    um_pool *pool;   /* NULL = one thread */
} um_filter_rows;

/* Whether any of the filters above is on. */
bool um_filter_is_on(const um_ingest_filters *filters);
um_status um_filter_apply(um_filter_rows *rows, const um_ingest_filters *filters,
                          um_error *err) UM_CHECKED;

#endif
