/*
 * run.h - the state of one training run in memory, and how it is saved and found again: what loop.c
 * moves and saving.c keeps.
 */
#ifndef UM_TRAIN_RUN_H
#define UM_TRAIN_RUN_H

#include "train/checkpoint.h"
#include "train/log.h"
#include "train/loop.h"
#include "train/memory.h"
#include "train/optimizer.h"

typedef struct um_train_progress {
    um_trainer trainer;
    bool dpo;
    um_optimizer optimizer;
    um_buf gradient; /* [n_values] */
    um_train_memory memory;
    um_train_state state;
    um_checkpoint checkpoint; /* the one the run goes on from */
    um_str identity;
    um_train_log log;
    int64_t first_step;              /* updates done by earlier runs */
    int64_t saved_step;              /* of the newest checkpoint; -1: none */
    int64_t saved_evaluated;         /* its evaluated_step */
    uint64_t begun_ms, first_tokens; /* when this run's updates began, and tokens before them */
    bool forecast_said;
    um_on_metrics on_metrics;
    void *on_metrics_context;
} um_train_progress;

/* Builds the identity and opens the newest checkpoint of the run, if there is one. Where the best
 * weights that it speaks of are lost, there is none. */
um_status um_train_find(um_train_progress *r, um_error *err) UM_CHECKED;
/* Puts the state of the checkpoint found in place. */
void um_train_restore(um_train_progress *r);
/* Writes a checkpoint, unless the newest one is of this state. Weights that are not finite are
 * UM_ERR_NUMERIC and not written. */
um_status um_train_save(um_train_progress *r, um_error *err) UM_CHECKED;
/* Saves what is done; UM_ERR_INTERRUPTED then says where. */
um_status um_train_interrupt(um_train_progress *r, um_error *err) UM_CHECKED;
/* Puts the best weights in place of the last ones, where the run keeps them. */
um_status um_train_take_best(um_train_progress *r, um_error *err) UM_CHECKED;
/* Appends "after step 50, in <folder>" or "none": the newest checkpoint. */
void um_train_put_saved(um_str *out, const um_train_progress *r);

#endif
