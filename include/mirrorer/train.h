/*
 * train.h - supervised fine-tuning and direct preference optimisation, resumable.
 *
 * Rows are token ids. Loss is on the completions' tokens, never on the prompt's unless asked. An
 * update ("step") sees batch_rows rows; its gradient is the mean over the trained tokens (SFT) or
 * over the pairs (DPO) of exactly these rows. Order of rows: a permutation of each epoch keyed by
 * (seed, epoch). Sources: AdamW, Loshchilov & Hutter 2019; DPO, Rafailov et al. 2023.
 */
#ifndef MIRRORER_TRAIN_H
#define MIRRORER_TRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "mirrorer/lora.h"
#include "mirrorer/model.h"
#include "mirrorer/monitor.h"
#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum um_dpo_loss {
    UM_DPO_SIGMOID, /* with label_smoothing > 0: cDPO */
    UM_DPO_ROBUST,
    UM_DPO_HINGE,
    UM_DPO_IPO /* on means over a completion's tokens */
} um_dpo_loss;

/* One prompt and its completions: 1 or more for SFT; exactly chosen, rejected for DPO. */
typedef struct um_train_row {
    uint64_t id; /* named in messages */
    const int32_t *prompt;
    int prompt_len;
    const int32_t *completions[2];
    int completion_len[2];
    int n_completions;
    bool train_prompt; /* the prompt's own tokens are trained too (language modelling) */
} um_train_row;

typedef struct um_train_options {
    uint64_t seed;
    double lr, weight_decay, beta1, beta2, eps;
    double max_grad_norm; /* 0 = no clipping */
    int epochs;
    int warmup_steps; /* then cosine to 0; schedule of TRAINING.md: the first update has lr 0 */
    int batch_rows;   /* rows an update */
    int max_tokens;   /* of one row (prompt + its longest completion); longer rows are dropped,
                         counted and listed, never cut */
    int pack_tokens;  /* rows of one forward pass; an update is as many passes as it needs; a
                         longer row makes its pass larger */
    uint64_t token_budget; /* > 0: stop after the update that reaches this many processed tokens
                              (prompt once + completions of each row seen); the schedule then ends
                              there. Epochs repeat as needed and `epochs` is not looked at. */
    uint64_t memory_bytes; /* of weights and training together, 0 = what the machine has. Changes
                              time, never a result: layers are computed again until it fits */
    bool bf16; /* bfloat16 weights and activations, as model/graph.h says; the weights themselves,
                  gradients, moments and all sums stay float32, so that no update is lost */
    um_lora *adapter; /* NULL: all weights are trained. Else the adapter alone is, in place, and the
                         model stays as it is; DPO's reference is the model with the adapter as
                         given. No gradient and no moments of the weights are kept */
    double dpo_beta, label_smoothing; /* smoothing: 0 to 0.5 */
    um_dpo_loss dpo_loss;
    const char *checkpoint_dir; /* NULL: none. Of this run alone; made when absent */
    int checkpoint_every;       /* steps; 0: only when interrupted and at the end */
    /* Rows that are never trained on, only evaluated: [n], NULL for none (um_train_hold_out). */
    const bool *held_out;
    int eval_every; /* updates between evaluations of them; 0: only after the last update */
    int patience; /* evaluations in a row without a new lowest loss that end the run; 0: none do */
    bool keep_best; /* the model ends with its weights at the lowest held-out loss, not the last
                       ones; needs held_out and checkpoint_dir */
    const char *log_dir;     /* NULL: no files of metrics (train/log.h). Made when absent */
    const char *fingerprint; /* of data and options: a checkpoint of another one is refused */
    const char *stage;       /* name in progress reports; NULL: "train" */
} um_train_options;
void um_train_defaults_sft(um_train_options *options); /* REFERENCE of the field: lr 2e-4, ... */
void um_train_defaults_dpo(um_train_options *options);

/*
 * Which rows to hold out: whole groups (a user's, say) in an order keyed by (seed, group), until
 * they hold at least share of the rows. So the rows of a smaller share are among those of a larger,
 * and trainings with equal groups hold out the same ones. UM_ERR_INPUT when nothing would be left
 * to train. share 0 holds out none.
 */
um_status um_train_hold_out(bool *held_out, const uint64_t *groups, size_t n, double share,
                            uint64_t seed, um_error *err) UM_CHECKED;

typedef struct um_train_metrics {
    /* The figures are those of the held-out rows after this step: there are no gradient, rate of
     * learning and speeds. */
    bool held_out;
    int64_t step, steps_total;
    int epoch; /* from 0 */
    double loss, grad_norm, lr;
    uint64_t tokens_processed, tokens_trained; /* since step 0, earlier runs included */
    /* DPO only: */
    double reward_chosen, reward_rejected, reward_margin, reward_accuracy, logp_chosen,
        logp_rejected;
    /* Of this update alone, and not the same in the next run: */
    double seconds, tokens_per_s, trained_per_s;
    /* Newest held-out loss and the lowest, with its step; step 0: none yet */
    double held_out_loss, best_loss;
    int64_t best_step;
} um_train_metrics;
/* After every update, and after every evaluation of held-out rows. A run that goes on from a
 * checkpoint reports what came after it again. A status other than UM_OK ends the run with it. */
typedef um_status (*um_on_metrics)(void *context, const um_train_metrics *metrics, um_error *err);

typedef struct um_train_result {
    int64_t steps;
    uint64_t tokens_processed, tokens_trained;
    uint64_t rows_used, rows_dropped, rows_held_out;
    double first_loss, last_loss;
    double held_out_loss, best_loss; /* as in um_train_metrics */
    int64_t best_step;
    bool stopped_early; /* by patience */
    bool resumed;
} um_train_result;

/* What training holds beside the weights (float32, 4 bytes each), in bytes, as it is allocated. */
typedef struct um_train_bytes {
    uint64_t state;             /* gradient and two moments of all that is trained */
    uint64_t activations;       /* of one pass */
    uint64_t activations_least; /* with all layers but one computed again in backward */
} um_train_bytes;
/* For passes of `tokens` rows, all trained. lora_rank 0: the weights are trained, else an adapter
 * of this rank on all matrices. UINT64_MAX stands for what passes the address space. */
void um_train_estimate(um_train_bytes *out, const um_model_config *config, int tokens,
                       int lora_rank);

/*
 * Changes the model's weights (or the adapter's) in place. The reference of DPO is the model as
 * given. Rows that are too long or train nothing are dropped, counted and listed by messages.
 *
 * After UM_ERR_INTERRUPTED a checkpoint was written and the same call on the same untouched
 * starting model goes on from it, ending bit-identical; so it does after a kill at any instant. A
 * damaged checkpoint is named in a message and the one before it used. What is in log_dir, times
 * apart, is then the same too. UM_ERR_STATE: the
 * checkpoints are of another run, naming what differs (weights, rows, fingerprint, kernels, an
 * option). UM_ERR_NUMERIC: loss or gradient is not finite, naming step, rows and last checkpoint.
 * UM_ERR_LIMIT: more memory than the machine has, naming what would fit. When the run has ended its
 * last checkpoint stays, so that the same call gives the same model at once; the caller removes the
 * folder.
 */
um_status um_train_sft(um_model *model, um_compute *compute, const um_train_row *rows, size_t n,
                       const um_train_options *options, um_on_metrics on_metrics, void *context,
                       um_train_result *result, const um_monitor *monitor,
                       um_error *err) UM_CHECKED;
um_status um_train_dpo(um_model *model, um_compute *compute, const um_train_row *rows, size_t n,
                       const um_train_options *options, um_on_metrics on_metrics, void *context,
                       um_train_result *result, const um_monitor *monitor,
                       um_error *err) UM_CHECKED;

/*
 * Log-likelihood of completions: on_score gets, per row, the sum of log p (nats) of the tokens of
 * each completion given the prompt. A completion without a prompt starts with an unpredicted token,
 * which counts nothing. Rows are packed into passes of pass_tokens (a longer row makes them larger)
 * and answered in order; what stands beside a row does not change its score. train_prompt is not
 * looked at.
 */
typedef um_status (*um_on_row_score)(void *context, size_t row, const double *logp, um_error *err);
um_status um_score_rows(const um_model *model, um_compute *compute, const um_train_row *rows,
                        size_t n, int pass_tokens, um_on_row_score on_score, void *context,
                        const um_monitor *monitor, um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
