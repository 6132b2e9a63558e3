/*
 * identity.h - everything the result of a training run depends on, as text.
 *
 * One "name=value" line each: kind of run, starting weights, rows, kernels, caller's fingerprint
 * and every option that changes a number. A checkpoint carries it; a run goes on from a checkpoint
 * only when both texts are equal.
 */
#ifndef UM_TRAIN_IDENTITY_H
#define UM_TRAIN_IDENTITY_H

#include "base/str.h"
#include "mirrorer/train.h"

/* kind: "sft" or "dpo". Appends to out; check um_str_status. */
void um_identity_build(um_str *out, const char *kind, const um_model *model,
                       const um_compute *compute, const um_train_row *rows, size_t n,
                       const um_train_options *options);

/* UM_OK when equal; otherwise UM_ERR_STATE naming the first line that differs, with both values.
 * where: the file that holds `theirs`. */
um_status um_identity_compare(const char *ours, const char *theirs, const char *where,
                              um_error *err) UM_CHECKED;

#endif
