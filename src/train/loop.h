/*
 * loop.h - the step loop SFT and DPO share: plan, passes, accumulation, update, checkpoints.
 *
 * An objective turns the log-probabilities of a pass into coefficients for the graph's backward
 * (d loss / d logp = -coef) and adds to the sums of the update. Everything it computes for a row
 * depends on that row and on the update's normaliser alone, so passes are independent.
 */
#ifndef UM_TRAIN_LOOP_H
#define UM_TRAIN_LOOP_H

#include "base/str.h"
#include "train/pack.h"
#include "train/plan.h"

/* Sums over the rows of one update, already divided by its normaliser. */
typedef struct um_loss_sums {
    double loss;
    double reward_chosen, reward_rejected, reward_accuracy, logp_chosen, logp_rejected;
} um_loss_sums;

typedef struct um_trainer um_trainer;

typedef struct um_objective {
    const char *kind; /* "sft", "dpo": part of the identity */
    void *context;
    /* Before the first update, with the starting weights in place. May be NULL. */
    um_status (*prepare)(void *context, um_trainer *trainer, um_error *err);
    /* What a row adds to the normaliser of its update: its trained tokens, or 1 for a pair. */
    double (*weight)(const um_row_size *size);
    /* coef[n_trained] of a scored pass; norm > 0. */
    void (*score)(void *context, const um_pack *pack, const float *logp, double norm, float *coef,
                  um_loss_sums *sums);
} um_objective;

struct um_trainer {
    um_model *model;
    um_compute *compute;
    const um_train_row *rows;
    size_t n;
    const um_train_options *options;
    const um_objective *objective;
    const um_monitor *monitor;
    um_plan plan;
    float *values; /* what is trained: the model's weights, or the adapter's */
    size_t n_values;
    um_graph *graph;
    um_pack pack;
    float *logp, *coef;   /* [max_trained] */
    const char *identity; /* for files of the run */
};

/* Appends the ids of the rows in the trainer's pack, the first dozen of them. */
void um_trainer_list_rows(const um_trainer *trainer, um_str *out);

/* The whole of um_train_sft and um_train_dpo. */
um_status um_train_run(const um_objective *objective, um_model *model, um_compute *compute,
                       const um_train_row *rows, size_t n, const um_train_options *options,
                       um_on_metrics on_metrics, void *context, um_train_result *result,
                       const um_monitor *monitor, um_error *err) UM_CHECKED;

#endif
