/*
 * order.h - rows of many users in (user, time, file order), as a permutation.
 *
 * Their times come with it. Rows are numbered in the order they were added: their ordinal. What is
 * to be left out is marked by ordinal, and squeezed from the permutation once everybody has marked.
 */
#ifndef UM_DATA_ORDER_H
#define UM_DATA_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "mirrorer/status.h"

typedef struct um_order {
    uint32_t n_users;
    size_t n;
    uint64_t *start;    /* [n_users + 1] rows of each user in `ordinals` */
    uint32_t *ordinals; /* [n] */
    int64_t *time_s;    /* [n] of the rows in that order */
} um_order;

/* user, time_s: [n] by ordinal; n < 2^32. Each user's rows are sorted, and looked at below, on the
 * threads of the pool (NULL = one). */
um_status um_order_make(um_order *o, const uint32_t *user, const int64_t *time_s, size_t n,
                        uint32_t n_users, um_pool *pool, um_error *err) UM_CHECKED;
void um_order_dispose(um_order *o);
/* Sets mark[ordinal] = value for rows with the user, time and item of an earlier row, both with
 * mark 0 before. item, mark: [n] by ordinal. */
um_status um_order_mark_repeats(const um_order *o, const uint32_t *item, uint8_t *mark,
                                uint8_t value, um_pool *pool, um_error *err) UM_CHECKED;
/* Takes out rows whose mark is not 0, and users that are not kept (NULL = all are); rows of such
 * users must be marked. */
void um_order_squeeze(um_order *o, const uint8_t *mark, const bool *user_kept);

#endif
