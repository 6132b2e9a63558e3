/* held_out.h - the loss on rows that are not trained on. um_train_hold_out (train.h) picks them. */
#ifndef UM_TRAIN_HELD_OUT_H
#define UM_TRAIN_HELD_OUT_H

#include "train/loop.h"

/*
 * The objective's sums over all held-out rows of the plan, with the weights as they are. Passes are
 * no larger than those of training. UM_ERR_INTERRUPTED before a pass; UM_ERR_NUMERIC names the
 * rows of the first pass whose loss is not finite.
 */
um_status um_held_out_evaluate(um_trainer *trainer, um_loss_sums *sums, um_error *err) UM_CHECKED;

#endif
