#include "train/loop.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "train/held_out.h"
#include "train/run.h"
#include "train/schedule.h"

#define IDS_IN_MESSAGE  12
#define GIBIBYTE        ((double)(1 << 30))
#define FORECAST_MS     3000 /* of updates, and at least FORECAST_STEPS, before it is said */
#define FORECAST_STEPS  3
#define FORECAST_LEFT_S 30 /* a shorter rest is not worth a message */

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
        {o->eval_every, 0, INT32_MAX, "eval_every"},
        {o->patience, 0, INT32_MAX, "patience"},
    };
    um_status status = UM_OK;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0] && status == UM_OK; i++)
        status = check_real(rules[i].value, rules[i].low, rules[i].high, rules[i].name, err);
    if (status == UM_OK && (o->patience > 0 || o->keep_best) && o->held_out == NULL)
        status = um_fail(err, UM_ERR_INPUT, "training option %s: needs rows that are held out",
                         o->keep_best ? "keep_best" : "patience");
    if (status == UM_OK && o->keep_best && o->checkpoint_dir == NULL)
        status = um_fail(err, UM_ERR_INPUT, "training option keep_best: needs checkpoint_dir");
    return status;
}

/* Set-up */

/* Refuses what this machine, or the memory allowed, cannot hold, and tells what the run takes. */
static um_status check_memory(um_train_progress *r, um_error *err)
{
    const um_trainer *t = &r->trainer;
    const um_lora *adapter = t->options->adapter;
    size_t weights = t->model->params.n + (adapter != NULL ? adapter->n : 0);
    const um_train_shape shape = {.config = &t->model->config,
                                  .plan = &t->plan,
                                  .n_values = t->n_values,
                                  .lora_rank = adapter != NULL ? adapter->rank : 0,
                                  .bf16 = t->options->bf16};
    uint64_t room = um_train_room(um_memory_physical(), um_memory_available(),
                                  t->options->memory_bytes, weights);
    um_status status = um_train_fit_memory(&r->memory, &shape, room, err);
    if (status != UM_OK)
        return status;
    char again[64] = "";
    if (r->memory.recompute > 0)
        snprintf(again, sizeof again, ", %d of %d layers computed again", r->memory.recompute,
                 t->model->config.layers);
    um_monitor_message(t->monitor,
                       "training: %" PRId64 " steps on %" PRIu64
                       " rows (%zu dropped, %zu held out), %" PRIu64 " tokens "
                       "to process, %" PRIu64 " of them trained; passes of up to %d tokens, %.2f "
                       "GiB beside the weights%s",
                       t->plan.steps_total, t->plan.rows_used, t->plan.n_dropped, t->plan.n_held,
                       t->plan.tokens_total, t->plan.trained_total, t->plan.max_rows,
                       (double)r->memory.total / GIBIBYTE, again);
    return UM_OK;
}

static um_status set_up(um_train_progress *r, um_error *err)
{
    um_trainer *t = &r->trainer;
    const um_plan *plan = &t->plan;
    const um_lora *adapter = t->options->adapter;
    size_t n = t->n_values, trained = (size_t)plan->max_trained;
    um_backend *be = t->compute->backend;
    const um_graph_sizes sizes = {.max_rows = plan->max_rows,
                                  .max_trained = plan->max_trained,
                                  .recompute = r->memory.recompute,
                                  .lora_rank = adapter != NULL ? adapter->rank : 0,
                                  .bf16 = t->options->bf16};
    um_status status = um_graph_new(&t->graph, &t->model->config, t->compute, &sizes, err);
    if (status == UM_OK && adapter != NULL)
        status = um_graph_adapt(t->graph, adapter, err);
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

static void tear_down(um_train_progress *r)
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
    um_train_log_dispose(&r->log);
}

/* One update */

static void put_id(um_str *out, int i, uint64_t id)
{
    if (i < IDS_IN_MESSAGE)
        um_str_appendf(out, "%s%" PRIu64, i > 0 ? ", " : "", id);
}

static void put_more(um_str *out, int n)
{
    if (n > IDS_IN_MESSAGE)
        um_str_appendf(out, " and %d more", n - IDS_IN_MESSAGE);
}

void um_trainer_list_rows(const um_trainer *t, um_str *out)
{
    for (int i = 0; i < t->pack.n_placed; i++)
        put_id(out, i, t->rows[t->pack.placed[i].row].id);
    put_more(out, t->pack.n_placed);
}

/* UM_ERR_NUMERIC with step, the rows of the batch, those of the pass it was found in where it was
 * found in one, and the last checkpoint. */
static um_status fail_numeric(const um_train_progress *r, const char *what, double value,
                              bool in_pass, const uint32_t *rows, int n, um_error *err)
{
    const um_trainer *t = &r->trainer;
    um_str ids = UM_STR_INIT, saved = UM_STR_INIT;
    if (in_pass) {
        um_str_append(&ids, " on rows ");
        um_trainer_list_rows(t, &ids);
    }
    um_str_append(&ids, ", batch of rows ");
    for (int i = 0; i < n; i++)
        put_id(&ids, i, t->rows[rows[i]].id);
    put_more(&ids, n);
    um_train_put_saved(&saved, r);
    um_fail(err, UM_ERR_NUMERIC,
            "training step %" PRId64 " of %" PRId64 ": %s is %g%s; nothing of this step was "
            "written, last good checkpoint: %s; lower the learning rate, or leave these rows out",
            r->state.step + 1, t->plan.steps_total, what, value, um_str_text(&ids),
            um_str_text(&saved));
    um_str_dispose(&ids);
    um_str_dispose(&saved);
    return UM_ERR_NUMERIC;
}

static um_status run_pass(um_train_progress *r, const uint32_t *rows, int n, int pass, double norm,
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
    if (!isfinite(sums->loss))
        return fail_numeric(r, "the loss", sums->loss, true, rows, n, err);
    return um_graph_backward(t->graph, t->model->data, &t->pack.batch, t->coef, r->gradient.data,
                             err);
}

/* Once, when the first updates have shown how fast they are. */
static void forecast(um_train_progress *r)
{
    const um_plan *plan = &r->trainer.plan;
    uint64_t elapsed_ms = um_clock_ms() - r->begun_ms;
    if (r->forecast_said || r->state.step - r->first_step < FORECAST_STEPS ||
        elapsed_ms < FORECAST_MS)
        return;
    r->forecast_said = true;
    double rate =
        (double)(r->state.tokens_processed - r->first_tokens) * 1000.0 / (double)elapsed_ms;
    double left_s = (double)(plan->tokens_total - r->state.tokens_processed) / rate;
    if (left_s >= FORECAST_LEFT_S)
        um_monitor_message(r->trainer.monitor,
                           "training: %.0f tokens a second, about %.0f min %02.0f s for the "
                           "remaining %" PRId64 " steps",
                           rate, floor(left_s / 60.0), fmod(left_s, 60.0),
                           plan->steps_total - r->state.step);
}

/* Fills in what comes from the state and the sums, writes it down and tells the caller. */
static um_status report(um_train_progress *r, um_train_metrics *metrics, const um_loss_sums *sums,
                        um_error *err)
{
    um_trainer *t = &r->trainer;
    metrics->step = r->state.step;
    metrics->steps_total = t->plan.steps_total;
    metrics->loss = sums->loss;
    metrics->tokens_processed = r->state.tokens_processed;
    metrics->tokens_trained = r->state.tokens_trained;
    metrics->reward_chosen = sums->reward_chosen;
    metrics->reward_rejected = sums->reward_rejected;
    metrics->reward_margin = sums->reward_chosen - sums->reward_rejected;
    metrics->reward_accuracy = sums->reward_accuracy;
    metrics->logp_chosen = sums->logp_chosen;
    metrics->logp_rejected = sums->logp_rejected;
    metrics->held_out_loss = r->state.held_out_loss;
    metrics->best_step = r->state.best_step;
    metrics->best_loss = r->state.best_loss;
    um_status status = um_train_log_write(&r->log, metrics, r->dpo, err);
    if (status == UM_OK && r->on_metrics != NULL)
        status = r->on_metrics(r->on_metrics_context, metrics, err);
    if (status != UM_OK || metrics->held_out)
        return status;
    char detail[240];
    um_train_describe(detail, sizeof detail, metrics, r->dpo);
    um_monitor_progress(
        t->monitor, &(um_progress){.stage = t->options->stage != NULL ? t->options->stage : "train",
                                   .unit = "steps",
                                   .done = (uint64_t)r->state.step,
                                   .total = (uint64_t)t->plan.steps_total,
                                   .resumed = (uint64_t)r->first_step,
                                   .detail = detail});
    forecast(r);
    return UM_OK;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* UM_ERR_INTERRUPTED leaves weights, optimizer and state as they were before the update. */
static um_status run_update(um_train_progress *r, um_error *err)
{
    um_trainer *t = &r->trainer;
    um_backend *be = t->compute->backend;
    um_cursor cursor = {r->state.epoch, r->state.position};
    um_train_metrics metrics = {.epoch = (int)cursor.epoch};
    um_loss_sums sums = {0};
    const uint32_t *rows;
    int n, passes;
    double norm = 0.0;
    uint64_t tokens = 0, trained = 0;
    double started_s = seconds_now();

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
    status = um_optimizer_update(&r->optimizer, t->values, r->gradient.data, metrics.lr, t->options,
                                 &metrics.grad_norm, err);
    if (status == UM_ERR_NUMERIC)
        return fail_numeric(r, "the gradient's norm", metrics.grad_norm, false, rows, n, err);
    if (status != UM_OK)
        return status;
    if (r->state.step == 0)
        r->state.first_loss = sums.loss;
    r->state.step++;
    r->state.epoch = cursor.epoch;
    r->state.position = cursor.position;
    r->state.tokens_processed += tokens;
    r->state.tokens_trained += trained;
    r->state.last_loss = sums.loss;
    metrics.seconds = seconds_now() - started_s;
    metrics.tokens_per_s = (double)tokens / fmax(metrics.seconds, 1e-9);
    metrics.trained_per_s = (double)trained / fmax(metrics.seconds, 1e-9);
    return report(r, &metrics, &sums, err);
}

/* Held-out rows */

static bool patience_is_over(const um_train_progress *r)
{
    return r->trainer.options->patience > 0 && r->state.misses >= r->trainer.options->patience;
}

static bool evaluation_is_due(const um_train_progress *r)
{
    const um_train_options *o = r->trainer.options;
    return o->held_out != NULL && r->state.evaluated_step < r->state.step &&
           (r->state.step == r->trainer.plan.steps_total ||
            (o->eval_every > 0 && r->state.step % o->eval_every == 0));
}

/* UM_ERR_INTERRUPTED leaves the evaluation due. */
static um_status evaluate(um_train_progress *r, um_error *err)
{
    um_trainer *t = &r->trainer;
    um_loss_sums sums;
    um_error why;
    um_status status = um_held_out_evaluate(t, &sums, &why);
    if (status == UM_ERR_NUMERIC) {
        um_str saved = UM_STR_INIT;
        um_train_put_saved(&saved, r);
        um_fail(err, status,
                "training, after step %" PRId64 " of %" PRId64 ": %s; last good checkpoint: %s; "
                "lower the learning rate, or leave these rows out",
                r->state.step, t->plan.steps_total, why.text, um_str_text(&saved));
        um_str_dispose(&saved);
    } else if (status != UM_OK && err != NULL) {
        *err = why;
    }
    if (status != UM_OK)
        return status;
    bool better = r->state.best_step == 0 || sums.loss < r->state.best_loss;
    if (better && t->options->keep_best)
        status = um_best_write(t->options->checkpoint_dir, t->identity, r->state.step, sums.loss,
                               t->values, t->n_values, err);
    if (status != UM_OK)
        return status;
    r->state.evaluated_step = r->state.step;
    r->state.held_out_loss = sums.loss;
    r->state.misses = better ? 0 : r->state.misses + 1;
    if (better) {
        r->state.best_step = r->state.step;
        r->state.best_loss = sums.loss;
    }
    um_train_metrics metrics = {.held_out = true,
                                .epoch = (int)r->state.epoch - (r->state.position == 0)};
    return report(r, &metrics, &sums, err);
}

/* The steps */

static um_status run_steps(um_train_progress *r, um_error *err)
{
    um_trainer *t = &r->trainer;
    int every = t->options->checkpoint_every;
    um_status status = UM_OK;
    r->begun_ms = um_clock_ms();
    r->first_tokens = r->state.tokens_processed;
    if (evaluation_is_due(r)) /* a run was stopped in its midst */
        status = evaluate(r, err);
    while (status == UM_OK && r->state.step < t->plan.steps_total && !patience_is_over(r)) {
        status = run_update(r, err);
        if (status == UM_OK && evaluation_is_due(r))
            status = evaluate(r, err);
        if (status == UM_OK && every > 0 && r->state.step % every == 0)
            status = um_train_save(r, err);
    }
    if (status == UM_ERR_INTERRUPTED)
        return um_train_interrupt(r, err);
    if (status == UM_OK && r->state.step < t->plan.steps_total)
        um_monitor_message(t->monitor,
                           "training: ended after step %" PRId64 " of %" PRId64 ", because the "
                           "held-out loss has not fallen in %" PRId64 " evaluations",
                           r->state.step, t->plan.steps_total, r->state.misses);
    if (status == UM_OK)
        status = um_train_save(r, err);
    return status == UM_OK ? um_train_take_best(r, err) : status;
}

um_status um_train_run(const um_objective *objective, um_model *model, um_compute *compute,
                       const um_train_row *rows, size_t n, const um_train_options *options,
                       um_on_metrics on_metrics, void *context, um_train_result *result,
                       const um_monitor *monitor, um_error *err)
{
    um_train_progress r = {.trainer = {.model = model,
                                       .compute = compute,
                                       .values = model->data,
                                       .n_values = model->params.n,
                                       .rows = rows,
                                       .n = n,
                                       .options = options,
                                       .objective = objective,
                                       .monitor = monitor},
                           .dpo = strcmp(objective->kind, "dpo") == 0,
                           .saved_step = -1,
                           .on_metrics = on_metrics,
                           .on_metrics_context = context};
    bool resumed = false;
    if (options->adapter != NULL) {
        r.trainer.values = options->adapter->data;
        r.trainer.n_values = options->adapter->n;
    }
    um_status status = check_options(options, err);
    if (status == UM_OK)
        status = um_plan_init(&r.trainer.plan, rows, n, &model->config, options, monitor, err);
    if (status == UM_OK)
        status = check_memory(&r, err);
    if (status == UM_OK && options->checkpoint_dir != NULL)
        status = um_train_find(&r, err);
    if (status == UM_OK)
        status = set_up(&r, err);
    resumed = r.checkpoint.map.data != NULL;
    if (status == UM_OK && objective->prepare != NULL)
        status = objective->prepare(objective->context, &r.trainer, err);
    if (status == UM_OK) {
        if (resumed)
            um_train_restore(&r);
        if (options->log_dir != NULL)
            status = um_train_log_open(&r.log, options->log_dir, r.state.step,
                                       r.state.evaluated_step, err);
        if (status == UM_OK)
            status = run_steps(&r, err);
    }
    if (result != NULL)
        *result = (um_train_result){.steps = r.state.step,
                                    .tokens_processed = r.state.tokens_processed,
                                    .tokens_trained = r.state.tokens_trained,
                                    .rows_used = r.trainer.plan.rows_used,
                                    .rows_dropped = r.trainer.plan.n_dropped,
                                    .rows_held_out = r.trainer.plan.n_held,
                                    .first_loss = r.state.first_loss,
                                    .last_loss = r.state.last_loss,
                                    .held_out_loss = r.state.held_out_loss,
                                    .best_loss = r.state.best_loss,
                                    .best_step = r.state.best_step,
                                    .stopped_early = r.trainer.plan.steps_total > r.state.step &&
                                                     patience_is_over(&r),
                                    .resumed = resumed};
    tear_down(&r);
    return status;
}
