/*
 * dpo.c - direct preference optimisation against the starting model.
 *
 * The reference log-probabilities of all rows are computed once, before the first update, by the
 * same graph and layout as the policy's. Kernels treat a row alike whatever stands beside it, so
 * the first update finds h = 0 exactly, whatever the packing.
 */
#include "train/dpo.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"
#include "train/checkpoint.h"
#include "train/loop.h"

typedef struct dpo {
    const um_train_options *options;
    double *reference; /* [n][2] sums of log p: chosen, rejected */
} dpo;

/* log(1 / (1 + exp(-x))) without overflow. */
static double log_sigmoid(double x)
{
    return x >= 0.0 ? -log1p(exp(-x)) : x - log1p(exp(x));
}

static double sigmoid(double x)
{
    return x >= 0.0 ? 1.0 / (1.0 + exp(-x)) : exp(x) / (1.0 + exp(x));
}

void um_dpo_pair_loss(double *loss, double *slope, double h, const um_train_options *options)
{
    double beta = options->dpo_beta, e = options->label_smoothing, x = beta * h;
    switch (options->dpo_loss) {
    case UM_DPO_SIGMOID:
        *loss = -(1.0 - e) * log_sigmoid(x) - e * log_sigmoid(-x);
        *slope = -beta * (1.0 - e - sigmoid(x));
        break;
    case UM_DPO_ROBUST:
        *loss = (-(1.0 - e) * log_sigmoid(x) + e * log_sigmoid(-x)) / (1.0 - 2.0 * e);
        *slope = -beta * ((1.0 - e) * sigmoid(-x) + e * sigmoid(x)) / (1.0 - 2.0 * e);
        break;
    case UM_DPO_HINGE:
        *loss = x < 1.0 ? 1.0 - x : 0.0;
        *slope = x < 1.0 ? -beta : 0.0;
        break;
    case UM_DPO_IPO:
        *loss = (h - 0.5 / beta) * (h - 0.5 / beta);
        *slope = 2.0 * (h - 0.5 / beta);
        break;
    }
}

static double sum_logp(const um_placed *placed, int completion, const float *logp)
{
    double sum = 0.0;
    const float *first = logp + placed->completion_first[completion];
    for (int i = 0; i < placed->completion_count[completion]; i++)
        sum += (double)first[i];
    return sum;
}

static void fill(float *coef, int first, int count, double value)
{
    for (int i = 0; i < count; i++)
        coef[first + i] = (float)value;
}

static double one_pair(const um_row_size *size)
{
    (void)size;
    return 1.0;
}

static void score(void *context, const um_pack *pack, const float *logp, double norm, float *coef,
                  um_loss_sums *sums)
{
    const dpo *d = context;
    double beta = d->options->dpo_beta;
    for (int p = 0; p < pack->n_placed; p++) {
        const um_placed *placed = &pack->placed[p];
        const double *reference = d->reference + 2 * placed->row;
        double chosen = sum_logp(placed, 0, logp), rejected = sum_logp(placed, 1, logp);
        double gain_chosen = chosen - reference[0], gain_rejected = rejected - reference[1];
        double loss = 0.0, slope = 0.0, of_chosen = 1.0, of_rejected = 1.0;
        if (d->options->dpo_loss == UM_DPO_IPO) { /* means over tokens */
            of_chosen = 1.0 / fmax(1.0, placed->completion_count[0]);
            of_rejected = 1.0 / fmax(1.0, placed->completion_count[1]);
        }
        um_dpo_pair_loss(&loss, &slope, of_chosen * gain_chosen - of_rejected * gain_rejected,
                         d->options);
        fill(coef, placed->prompt_first, placed->prompt_count, 0.0);
        fill(coef, placed->completion_first[0], placed->completion_count[0],
             -slope * of_chosen / norm);
        fill(coef, placed->completion_first[1], placed->completion_count[1],
             slope * of_rejected / norm);
        sums->loss += loss / norm;
        sums->reward_chosen += beta * gain_chosen / norm;
        sums->reward_rejected += beta * gain_rejected / norm;
        sums->reward_accuracy += (gain_chosen > gain_rejected ? 1.0 : 0.0) / norm;
        sums->logp_chosen += chosen / norm;
        sums->logp_rejected += rejected / norm;
    }
}

/* Reference */

/* Scores the rows in the trainer's pack. */
static um_status score_reference(dpo *d, um_trainer *t, um_error *err)
{
    um_status status = um_graph_forward(t->graph, t->model->data, &t->pack.batch, t->logp, err);
    if (status != UM_OK)
        return status;
    for (int p = 0; p < t->pack.n_placed; p++) {
        const um_placed *placed = &t->pack.placed[p];
        for (int c = 0; c < 2; c++) {
            double sum = sum_logp(placed, c, t->logp);
            if (!isfinite(sum))
                return um_fail(err, UM_ERR_NUMERIC,
                               "training row %llu: the reference model gives the %s completion the "
                               "log-probability %g",
                               (unsigned long long)t->rows[placed->row].id,
                               c == 0 ? "chosen" : "rejected", sum);
            d->reference[2 * placed->row + (size_t)c] = sum;
        }
    }
    um_pack_clear(&t->pack);
    return UM_OK;
}

static um_status save_reference(const dpo *d, const um_trainer *t, uint64_t rows_done,
                                um_error *err)
{
    if (t->options->checkpoint_dir == NULL)
        return UM_OK;
    return um_reference_write(t->options->checkpoint_dir, t->identity, d->reference,
                              2 * (uint64_t)t->n, 2 * rows_done, err);
}

/* Rows [first, n) in passes of neighbours. On an interruption what is done is saved. */
static um_status compute_reference(dpo *d, um_trainer *t, uint64_t first, um_error *err)
{
    um_status status = UM_OK;
    um_pack_clear(&t->pack);
    for (size_t i = (size_t)first; i < t->n && status == UM_OK; i++) {
        if (!t->plan.used[i] && !t->plan.held[i])
            continue;
        if (!um_pack_has_room(&t->pack, &t->plan.sizes[i])) { /* never with an empty pack */
            status = score_reference(d, t, err);
            if (status == UM_OK && um_monitor_stopped(t->monitor)) {
                status = save_reference(d, t, i, err);
                return status != UM_OK ? status
                                       : um_fail(err, UM_ERR_INTERRUPTED,
                                                 "training: interrupted while the reference is "
                                                 "scored; %zu of %zu rows are done",
                                                 i, t->n);
            }
            um_monitor_progress(t->monitor, &(um_progress){.stage = "Reference scores",
                                                           .unit = "rows",
                                                           .done = i,
                                                           .total = t->n,
                                                           .resumed = first});
        }
        if (status == UM_OK)
            status = um_pack_add(&t->pack, &t->rows[i], i, err);
    }
    if (status == UM_OK && t->pack.n_placed > 0)
        status = score_reference(d, t, err);
    return status == UM_OK ? save_reference(d, t, t->n, err) : status;
}

static um_status prepare(void *context, um_trainer *t, um_error *err)
{
    dpo *d = context;
    uint64_t done = 0;
    um_status status = UM_OK;
    if (t->options->checkpoint_dir != NULL)
        status = um_reference_read(t->options->checkpoint_dir, t->identity, d->reference,
                                   2 * (uint64_t)t->n, &done, err);
    if (status != UM_OK || done == 2 * (uint64_t)t->n)
        return status;
    return compute_reference(d, t, done / 2, err);
}

void um_train_defaults_dpo(um_train_options *options)
{
    um_train_defaults_sft(options);
    options->lr = 1e-5;
    options->weight_decay = 0.05;
    options->epochs = 2;
}

static um_status check(const um_train_row *rows, size_t n, const um_train_options *o, um_error *err)
{
    double limit = o->dpo_loss == UM_DPO_ROBUST ? 0.499 : 0.5;
    if (!(o->dpo_beta > 0.0 && o->dpo_beta <= 1e6))
        return um_fail(err, UM_ERR_INPUT, "training option dpo_beta: found %g, need above 0",
                       o->dpo_beta);
    if (!(o->label_smoothing >= 0.0 && o->label_smoothing <= limit))
        return um_fail(err, UM_ERR_INPUT, "training option label_smoothing: found %g, need 0 to %g",
                       o->label_smoothing, limit);
    for (size_t i = 0; i < n; i++) {
        if (rows[i].n_completions != 2)
            return um_fail(err, UM_ERR_INPUT,
                           "training row %llu: found %d completions, a preference pair has 2",
                           (unsigned long long)rows[i].id, rows[i].n_completions);
    }
    return UM_OK;
}

um_status um_train_dpo(um_model *model, um_compute *compute, const um_train_row *rows, size_t n,
                       const um_train_options *options, um_on_metrics on_metrics, void *context,
                       um_train_result *result, const um_monitor *monitor, um_error *err)
{
    dpo d = {.options = options};
    const um_objective objective = {
        .kind = "dpo", .context = &d, .prepare = prepare, .weight = one_pair, .score = score};
    um_status status = check(rows, n, options, err);
    if (status != UM_OK)
        return status;
    d.reference = um_calloc(n, 2 * sizeof *d.reference);
    if (d.reference == NULL)
        return um_fail_memory(err, "reference scores");
    status = um_train_run(&objective, model, compute, rows, n, options, on_metrics, context, result,
                          monitor, err);
    free(d.reference);
    return status;
}
