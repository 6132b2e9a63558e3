#include "train/loop.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "train/checkpoint.h"
#include "train/identity.h"
#include "train/memory.h"
#include "train/optimizer.h"
#include "train/schedule.h"

#define IDS_IN_MESSAGE 12
#define GIBIBYTE       ((double)(1 << 30))

typedef struct run {
    um_trainer trainer;
    um_optimizer optimizer;
    um_buf gradient; /* [params.n] */
    um_train_memory memory;
    um_train_state state;
    um_checkpoint checkpoint; /* the one the run goes on from */
    um_str identity;
    int64_t first_step; /* updates done by earlier runs */
    int64_t saved_step; /* of the newest checkpoint; -1: none */
    um_on_metrics on_metrics;
    void *on_metrics_context;
} run;

/* Options */

static um_status check_real(double value, double low, double high, const char *name, um_error *err)
{
    if (value >= low && value <= high)
        return UM_OK;
    return um_fail(err, UM_ERR_INPUT, "training option %s: found %g, need %g to %g", name, value,
                   low, high);
}

static um_status check_options(const um_train_options *o, um_error *err)
{
    const struct {
        double value, low, high;
        const char *name;
    } rules[] = {
        {o->lr, 0.0, 1e3, "lr"},
        {o->weight_decay, 0.0, 1e3, "weight_decay"},
        {o->beta1, 0.0, 1.0 - 1e-9, "beta1"},
        {o->beta2, 0.0, 1.0 - 1e-9, "beta2"},
        {o->eps, 1e-30, 1.0, "eps"},
        {o->max_grad_norm, 0.0, 1e30, "max_grad_norm"},
        {o->epochs, o->token_budget > 0 ? 0 : 1, 1e6, "epochs"},
        {o->warmup_steps, 0, INT32_MAX, "warmup_steps"},
        {o->batch_rows, 1, INT32_MAX, "batch_rows"},
        {o->max_tokens, 1, INT32_MAX, "max_tokens"},
        {o->pack_tokens, 1, INT32_MAX, "pack_tokens"},
        {o->checkpoint_every, 0, INT32_MAX, "checkpoint_every"},
    };
    um_status status = UM_OK;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0] && status == UM_OK; i++)
        status = check_real(rules[i].value, rules[i].low, rules[i].high, rules[i].name, err);
    return status;
}

/* Set-up */

/* Refuses what this machine, or the memory allowed, cannot hold, and tells what the run takes. */
static um_status check_memory(run *r, um_error *err)
{
    const um_trainer *t = &r->trainer;
    size_t n = t->model->params.n;
    uint64_t room =
        um_train_room(um_memory_physical(), um_memory_available(), t->options->memory_bytes, n);
    um_status status = um_train_fit_memory(&r->memory, &t->model->config, n, &t->plan, room, err);
    if (status != UM_OK)
        return status;
    char again[64] = "";
    if (r->memory.recompute > 0)
        snprintf(again, sizeof again, ", %d of %d layers computed again", r->memory.recompute,
                 t->model->config.layers);
    um_monitor_message(t->monitor,
                       "training: %" PRId64 " steps on %" PRIu64 " rows (%zu dropped), passes of "
                       "up to %d tokens, %.2f GiB beside the weights%s",
                       t->plan.steps_total, t->plan.rows_used, t->plan.n_dropped, t->plan.max_rows,
                       (double)r->memory.total / GIBIBYTE, again);
    return UM_OK;
}

static um_status set_up(run *r, um_error *err)
{
    um_trainer *t = &r->trainer;
    const um_plan *plan = &t->plan;
    size_t n = t->model->params.n, trained = (size_t)plan->max_trained;
    um_backend *be = t->compute->backend;
    const um_graph_sizes sizes = {.max_rows = plan->max_rows,
                                  .max_trained = plan->max_trained,
                                  .recompute = r->memory.recompute};
    um_status status = um_graph_new(&t->graph, &t->model->config, t->compute, &sizes, err);
    if (status == UM_OK)
        status = um_pack_init(&t->pack, plan->max_rows, plan->max_trained, plan->max_placed, err);
    if (status == UM_OK)
        status = um_optimizer_init(&r->optimizer, be, n, err);
    if (status == UM_OK)
        status = be->ops->alloc(be, &r->gradient, n * sizeof(float), err);
    if (status != UM_OK)
        return status;
    t->logp = um_calloc(trained, sizeof *t->logp);
    t->coef = um_calloc(trained, sizeof *t->coef);
    if (t->logp == NULL || t->coef == NULL)
        return um_fail_memory(err, "training scores");
    return UM_OK;
}

static void tear_down(run *r)
{
    um_trainer *t = &r->trainer;
    um_checkpoint_close(&r->checkpoint);
    if (r->gradient.data != NULL)
        t->compute->backend->ops->release(t->compute->backend, &r->gradient);
    um_optimizer_dispose(&r->optimizer);
    um_graph_free(t->graph);
    um_pack_dispose(&t->pack);
    um_plan_dispose(&t->plan);
    free(t->logp);
    free(t->coef);
    um_str_dispose(&r->identity);
}

/* Checkpoints */

static um_status find_checkpoint(run *r, um_error *err)
{
    um_trainer *t = &r->trainer;
    um_identity_build(&r->identity, t->objective->kind, t->model, t->compute, t->rows, t->n,
                      t->options);
    um_status status = um_str_status(&r->identity, err);
    if (status != UM_OK)
        return status;
    t->identity = um_str_text(&r->identity);
    return um_checkpoint_open(&r->checkpoint, t->options->checkpoint_dir, t->identity,
                              t->model->params.n, t->monitor, err);
}

/* Puts the state of the checkpoint found in place. */
static void restore(run *r)
{
    um_trainer *t = &r->trainer;
    um_backend *be = t->compute->backend;
    size_t bytes = t->model->params.n * sizeof(float);
    be->ops->upload(be, t->model->data, r->checkpoint.weights, bytes);
    be->ops->upload(be, r->optimizer.m.data, r->checkpoint.m, bytes);
    be->ops->upload(be, r->optimizer.v.data, r->checkpoint.v, bytes);
    r->state = r->checkpoint.state;
    r->optimizer.step = r->state.step;
    r->first_step = r->saved_step = r->state.step;
    um_checkpoint_close(&r->checkpoint);
    um_monitor_message(t->monitor, "training goes on after step %" PRId64 " of %" PRId64,
                       r->state.step, t->plan.steps_total);
}

static um_status save(run *r, um_error *err)
{
    const um_train_options *o = r->trainer.options;
    if (o->checkpoint_dir == NULL || r->saved_step == r->state.step)
        return UM_OK;
    um_status status = um_checkpoint_write(o->checkpoint_dir, r->trainer.identity, &r->state,
                                           r->trainer.model->data, r->optimizer.m.data,
                                           r->optimizer.v.data, r->optimizer.n, err);
    if (status == UM_OK)
        r->saved_step = r->state.step;
    return status;
}

/* One update */

/* UM_ERR_NUMERIC with step, rows and last checkpoint. */
static um_status fail_numeric(const run *r, const char *what, double value, const uint32_t *rows,
                              int n, um_error *err)
{
    um_str ids = UM_STR_INIT;
    for (int i = 0; i < n && i < IDS_IN_MESSAGE; i++)
        um_str_appendf(&ids, "%s%" PRIu64, i > 0 ? ", " : "", r->trainer.rows[rows[i]].id);
    if (n > IDS_IN_MESSAGE)
        um_str_appendf(&ids, " and %d more", n - IDS_IN_MESSAGE);
    char saved[64] = "none";
    if (r->saved_step >= 0)
        snprintf(saved, sizeof saved, "after step %" PRId64, r->saved_step);
    um_fail(err, UM_ERR_NUMERIC,
            "training step %" PRId64 " of %" PRId64 ": %s is %g on rows %s; last checkpoint: %s; "
            "lower the learning rate, or leave these rows out",
            r->state.step + 1, r->trainer.plan.steps_total, what, value, um_str_text(&ids), saved);
    um_str_dispose(&ids);
    return UM_ERR_NUMERIC;
}

static um_status run_pass(run *r, const uint32_t *rows, int n, int pass, double norm,
                          um_loss_sums *sums, um_error *err)
{
    um_trainer *t = &r->trainer;
    um_status status = UM_OK;
    um_pack_clear(&t->pack);
    for (int i = 0; i < n && status == UM_OK; i++) {
        if (t->plan.pass_of[i] == pass)
            status = um_pack_add(&t->pack, &t->rows[rows[i]], rows[i], err);
    }
    if (status == UM_OK)
        status = um_graph_forward(t->graph, t->model->data, &t->pack.batch, t->logp, err);
    if (status != UM_OK)
        return status;
    t->objective->score(t->objective->context, &t->pack, t->logp, norm, t->coef, sums);
    if (!isfinite(sums->loss)) {
        uint32_t ids[IDS_IN_MESSAGE + 1];
        int count = 0;
        for (int i = 0; i < t->pack.n_placed && count <= IDS_IN_MESSAGE; i++)
            ids[count++] = (uint32_t)t->pack.placed[i].row;
        return fail_numeric(r, "the loss", sums->loss, ids, count, err);
    }
    return um_graph_backward(t->graph, t->model->data, &t->pack.batch, t->coef, r->gradient.data,
                             err);
}

/* Counts the update in the state and tells the caller. */
static um_status report(run *r, um_train_metrics *metrics, const um_loss_sums *sums, um_error *err)
{
    um_trainer *t = &r->trainer;
    *metrics = (um_train_metrics){.step = r->state.step,
                                  .steps_total = t->plan.steps_total,
                                  .epoch = metrics->epoch,
                                  .loss = sums->loss,
                                  .grad_norm = metrics->grad_norm,
                                  .lr = metrics->lr,
                                  .tokens_per_s = metrics->tokens_per_s,
                                  .tokens_processed = r->state.tokens_processed,
                                  .tokens_trained = r->state.tokens_trained,
                                  .reward_chosen = sums->reward_chosen,
                                  .reward_rejected = sums->reward_rejected,
                                  .reward_margin = sums->reward_chosen - sums->reward_rejected,
                                  .reward_accuracy = sums->reward_accuracy,
                                  .logp_chosen = sums->logp_chosen,
                                  .logp_rejected = sums->logp_rejected};
    char detail[96];
    snprintf(detail, sizeof detail, "loss %.4f lr %.2e %.0f tok/s", metrics->loss, metrics->lr,
             metrics->tokens_per_s);
    um_monitor_progress(
        t->monitor, &(um_progress){.stage = t->options->stage != NULL ? t->options->stage : "train",
                                   .unit = "steps",
                                   .done = (uint64_t)r->state.step,
                                   .total = (uint64_t)t->plan.steps_total,
                                   .resumed = (uint64_t)r->first_step,
                                   .detail = detail});
    return r->on_metrics == NULL ? UM_OK : r->on_metrics(r->on_metrics_context, metrics, err);
}

/* UM_ERR_INTERRUPTED leaves weights, optimizer and state as they were before the update. */
static um_status run_update(run *r, um_error *err)
{
    um_trainer *t = &r->trainer;
    um_backend *be = t->compute->backend;
    um_cursor cursor = {r->state.epoch, r->state.position};
    um_train_metrics metrics = {.epoch = (int)cursor.epoch};
    um_loss_sums sums = {0};
    const uint32_t *rows;
    int n, passes;
    double norm = 0.0;
    uint64_t started_ms = um_clock_ms(), tokens = 0, trained = 0;

    um_plan_next(&t->plan, &cursor, &rows, &n, &passes);
    for (int i = 0; i < n; i++) {
        const um_row_size *size = &t->plan.sizes[rows[i]];
        norm += t->objective->weight(size);
        tokens += size->tokens;
        trained += (uint64_t)size->trained;
    }
    be->ops->zero(be, r->gradient.data, r->optimizer.n * sizeof(float));
    um_status status = UM_OK;
    for (int pass = 0; pass < passes && status == UM_OK; pass++) {
        if (um_monitor_stopped(t->monitor))
            return um_fail(err, UM_ERR_INTERRUPTED, "training: interrupted");
        status = run_pass(r, rows, n, pass, norm, &sums, err);
    }
    if (status != UM_OK)
        return status;
    metrics.lr = t->options->lr *
                 um_schedule_factor(r->state.step, t->options->warmup_steps, t->plan.steps_total);
    status = um_optimizer_update(&r->optimizer, t->model->data, r->gradient.data, metrics.lr,
                                 t->options, &metrics.grad_norm, err);
    if (status == UM_ERR_NUMERIC)
        return fail_numeric(r, "the gradient's norm", metrics.grad_norm, rows, n, err);
    if (status != UM_OK)
        return status;
    r->state = (um_train_state){
        .step = r->state.step + 1,
        .epoch = cursor.epoch,
        .position = cursor.position,
        .tokens_processed = r->state.tokens_processed + tokens,
        .tokens_trained = r->state.tokens_trained + trained,
        .first_loss = r->state.step == 0 ? sums.loss : r->state.first_loss,
        .last_loss = sums.loss,
    };
    uint64_t elapsed_ms = um_clock_ms() - started_ms;
    metrics.tokens_per_s = (double)tokens * 1000.0 / (double)(elapsed_ms > 0 ? elapsed_ms : 1);
    return report(r, &metrics, &sums, err);
}

static um_status run_steps(run *r, um_error *err)
{
    int every = r->trainer.options->checkpoint_every;
    um_status status = UM_OK;
    while (r->state.step < r->trainer.plan.steps_total && status == UM_OK) {
        status = run_update(r, err);
        if (status == UM_ERR_INTERRUPTED) {
            um_status saved = save(r, err);
            return saved != UM_OK ? saved : status;
        }
        if (status == UM_OK && every > 0 && r->state.step % every == 0)
            status = save(r, err);
    }
    return status == UM_OK ? save(r, err) : status;
}

um_status um_train_run(const um_objective *objective, um_model *model, um_compute *compute,
                       const um_train_row *rows, size_t n, const um_train_options *options,
                       um_on_metrics on_metrics, void *context, um_train_result *result,
                       const um_monitor *monitor, um_error *err)
{
    run r = {.trainer = {.model = model,
                         .compute = compute,
                         .rows = rows,
                         .n = n,
                         .options = options,
                         .objective = objective,
                         .monitor = monitor},
             .saved_step = -1,
             .on_metrics = on_metrics,
             .on_metrics_context = context};
    bool resumed = false;
    um_status status = check_options(options, err);
    if (status == UM_OK)
        status = um_plan_init(&r.trainer.plan, rows, n, &model->config, options, monitor, err);
    if (status == UM_OK)
        status = check_memory(&r, err);
    if (status == UM_OK && options->checkpoint_dir != NULL)
        status = find_checkpoint(&r, err);
    if (status == UM_OK)
        status = set_up(&r, err);
    resumed = r.checkpoint.map.data != NULL;
    if (status == UM_OK && objective->prepare != NULL)
        status = objective->prepare(objective->context, &r.trainer, err);
    if (status == UM_OK) {
        if (resumed)
            restore(&r);
        status = run_steps(&r, err);
    }
    if (result != NULL)
        *result = (um_train_result){.steps = r.state.step,
                                    .tokens_processed = r.state.tokens_processed,
                                    .tokens_trained = r.state.tokens_trained,
                                    .rows_used = r.trainer.plan.rows_used,
                                    .rows_dropped = r.trainer.plan.n_dropped,
                                    .first_loss = r.state.first_loss,
                                    .last_loss = r.state.last_loss,
                                    .resumed = resumed};
    tear_down(&r);
    return status;
}
