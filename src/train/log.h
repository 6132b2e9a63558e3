/*
 * log.h - what a training run writes down of every update, for people and other programs.
 *
 * Files of a folder:
 *   metrics.jsonl   a line an update, a line an evaluation of held-out rows ("eval_" before its
 *                   figures); the same bytes for the same run, however often it was interrupted
 *   speed.jsonl     a line an update: seconds and tokens a second
 *   events.out.tfevents.mirrorer   all of it for TensorBoard, with times
 * A run that goes on from a checkpoint cuts from each what came after the checkpoint. Lines are
 * given to the system at once, and to the disk before every checkpoint.
 */
#ifndef UM_TRAIN_LOG_H
#define UM_TRAIN_LOG_H

#include <stdio.h>

#include "mirrorer/train.h"
#include "train/tensorboard.h"

#define UM_TRAIN_FIGURES 12

/* The figures that do not depend on time, under their usual names ("loss", "rewards/margins").
 * Returns how many. */
size_t um_train_figures(um_tb_scalar out[UM_TRAIN_FIGURES], const um_train_metrics *m, bool dpo);

/* One line for people: loss, rate, norm, speeds, margin and accuracy, held-out loss. */
void um_train_describe(char *out, size_t size, const um_train_metrics *m, bool dpo);

typedef struct um_train_log {
    char *paths[3];
    FILE *files[3]; /* metrics, speed, events; NULL in a log that was not opened */
    um_str text;    /* scratch */
} um_train_log;

/* Opens the files of a run at this step, the held-out rows last evaluated after `evaluated` (0:
 * never); dir is made when absent. step 0 begins them anew. */
um_status um_train_log_open(um_train_log *log, const char *dir, int64_t step, int64_t evaluated,
                            um_error *err) UM_CHECKED;
void um_train_log_dispose(um_train_log *log);
/* The next two do nothing for a log that was not opened. */
um_status um_train_log_write(um_train_log *log, const um_train_metrics *m, bool dpo,
                             um_error *err) UM_CHECKED;
um_status um_train_log_sync(um_train_log *log, um_error *err) UM_CHECKED;

#endif
