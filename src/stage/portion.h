/*
 * portion.h - results stored in portions: a transaction that is closed about twice a second, and
 * records the progress of its run.
 */
#ifndef UM_STAGE_PORTION_H
#define UM_STAGE_PORTION_H

#include "stage/session.h"

typedef struct um_portion {
    um_run *run;
    bool open;
    uint64_t begun_ms;
} um_portion;

/* Opens the transaction if it is not. */
um_status um_portion_open(um_portion *p, um_error *err) UM_CHECKED;
/* Commits it if it is old enough, or `now`. */
um_status um_portion_close(um_portion *p, bool now, um_error *err) UM_CHECKED;
/* Keeps what arrived before a stop or a remote failure and passes `status` on; after any other
 * failure what is not committed is rolled back. */
um_status um_portion_end(um_portion *p, um_status status, um_error *err) UM_CHECKED;

/* How many scenes to work on at a time at endpoints: `least`, and more where more requests may be
 * in flight. */
size_t um_portion_scenes(size_t least, size_t per_request, const um_config *config);

/* The part of the scenes that one run takes on: run.shard and run.limit. */
typedef struct um_share {
    uint64_t index, count; /* scenes with id % count == index */
    uint64_t limit;        /* of the scenes left to do; UINT64_MAX = all */
} um_share;

/* Reads "i/n", 1 <= i <= n; empty is 1/1. */
um_status um_share_read(um_share *out, const um_config *config, um_error *err) UM_CHECKED;
static inline bool um_share_has(const um_share *share, uint64_t scene)
{
    return scene % share->count == share->index;
}
/* Says what the run left to others; left: scenes or texts that are still to do. */
void um_share_report(um_run *run, uint64_t left);

#endif
