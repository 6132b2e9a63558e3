/*
 * plan.h - which rows every update of a run sees, known before the first one.
 *
 * Each epoch is a permutation of the kept rows keyed by (seed, epoch), cut into updates of
 * batch_rows; the last update of an epoch may be shorter, nothing is carried into the next. The
 * whole run is walked once at the start, so that the schedule knows its last step and the workspace
 * its largest pass, and a run that cannot work is refused before any computing.
 */
#ifndef UM_TRAIN_PLAN_H
#define UM_TRAIN_PLAN_H

#include "train/pack.h"

/* Where the next update begins. */
typedef struct um_cursor {
    int64_t epoch;
    uint64_t position; /* in the epoch's permutation */
} um_cursor;

typedef struct um_plan {
    uint64_t seed;
    int batch_rows, capacity; /* rows of one pass */
    um_row_size *sizes;       /* [n] of all rows */
    uint32_t *kept;           /* [n_kept] ascending */
    size_t n, n_kept, n_dropped;
    int longest_rows;   /* rows of a pass the largest kept or held row takes */
    bool *used;         /* [n] the run sees the row */
    uint64_t rows_used; /* how many it sees */
    bool *held;         /* [n] rows that are evaluated instead; too long ones are dropped too */
    size_t n_held;

    int64_t steps_total;
    uint64_t tokens_total, trained_total;  /* of all updates; a row counts each time it is seen */
    int max_rows, max_trained, max_placed; /* of any pass; any held-out row fits one */

    uint32_t *order; /* [n_kept] permutation of order_epoch */
    int64_t order_epoch;
    int *pass_of, *free_rows, *pass_rows; /* [batch_rows] scratch of one update */
} um_plan;

/* Rows over max_tokens (or the model's max_positions) or without a trained token are dropped
 * and listed by messages; a token id outside the vocabulary is UM_ERR_INPUT, and so is a run
 * without rows, or with rows to hold out of which none is left. */
um_status um_plan_init(um_plan *plan, const um_train_row *rows, size_t n,
                       const um_model_config *config, const um_train_options *options,
                       const um_monitor *monitor, um_error *err) UM_CHECKED;
/* What um_plan_init allocated. */
uint64_t um_plan_bytes(const um_plan *plan);
void um_plan_dispose(um_plan *plan);

/* Rows of the update at the cursor, which moves past it. *rows: borrowed, valid until the next
 * call; plan->pass_of[i] is the pass of (*rows)[i]; *passes of them. */
void um_plan_next(um_plan *plan, um_cursor *cursor, const uint32_t **rows, int *n, int *passes);

#endif
