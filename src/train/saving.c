#include <inttypes.h>
#include <math.h>

#include "base/error.h"
#include "base/file.h"
#include "train/identity.h"
#include "train/run.h"

um_status um_train_find(um_train_progress *r, um_error *err)
{
    um_trainer *t = &r->trainer;
    um_identity_build(&r->identity, t->objective->kind, t->model, t->compute, t->rows, t->n,
                      t->options);
    um_status status = um_str_status(&r->identity, err);
    if (status != UM_OK)
        return status;
    t->identity = um_str_text(&r->identity);
    status = um_checkpoint_open(&r->checkpoint, t->options->checkpoint_dir, t->identity,
                                t->n_values, t->monitor, err);
    if (status != UM_OK || r->checkpoint.state.best_step == 0 || !t->options->keep_best)
        return status;
    /* One of a later step is fine: this run comes there again. */
    um_best best;
    status = um_best_open(&best, t->options->checkpoint_dir, t->identity, t->n_values, err);
    if (status == UM_OK && best.step < r->checkpoint.state.best_step) {
        um_monitor_message(t->monitor,
                           "training: the best weights, of step %" PRId64 ", are gone or damaged; "
                           "starting over, which gives the same result",
                           r->checkpoint.state.best_step);
        um_checkpoint_close(&r->checkpoint);
        status = um_path_remove_tree(t->options->checkpoint_dir, err);
        if (status == UM_OK)
            status = um_path_make_dirs(t->options->checkpoint_dir, err);
    }
    um_best_close(&best);
    return status;
}

void um_train_restore(um_train_progress *r)
{
    um_trainer *t = &r->trainer;
    um_backend *be = t->compute->backend;
    size_t bytes = t->n_values * sizeof(float);
    be->ops->upload(be, t->values, r->checkpoint.weights, bytes);
    be->ops->upload(be, r->optimizer.m.data, r->checkpoint.m, bytes);
    be->ops->upload(be, r->optimizer.v.data, r->checkpoint.v, bytes);
    r->state = r->checkpoint.state;
    r->optimizer.step = r->state.step;
    r->first_step = r->saved_step = r->state.step;
    r->saved_evaluated = r->state.evaluated_step;
    um_checkpoint_close(&r->checkpoint);
    um_monitor_message(t->monitor, "training goes on after step %" PRId64 " of %" PRId64,
                       r->state.step, t->plan.steps_total);
}

void um_train_put_saved(um_str *out, const um_train_progress *r)
{
    if (r->saved_step < 0)
        um_str_append(out, "none");
    else
        um_str_appendf(out, "after step %" PRId64 ", in %s", r->saved_step,
                       r->trainer.options->checkpoint_dir);
}

um_status um_train_save(um_train_progress *r, um_error *err)
{
    const um_trainer *t = &r->trainer;
    const um_train_options *o = t->options;
    um_backend *be = t->compute->backend;
    if (o->checkpoint_dir == NULL ||
        (r->saved_step == r->state.step && r->saved_evaluated == r->state.evaluated_step))
        return UM_OK;
    if (!isfinite(be->ops->sum_squares(be, t->values, r->optimizer.n))) {
        um_str saved = UM_STR_INIT;
        um_train_put_saved(&saved, r);
        um_fail(err, UM_ERR_NUMERIC,
                "training: weights are not finite after step %" PRId64 " and were not written; "
                "last good checkpoint: %s; lower the learning rate",
                r->state.step, um_str_text(&saved));
        um_str_dispose(&saved);
        return UM_ERR_NUMERIC;
    }
    um_status status = um_train_log_sync(&r->log, err); /* what is cut there later must be there */
    if (status == UM_OK)
        status = um_checkpoint_write(o->checkpoint_dir, t->identity, &r->state, t->values,
                                     r->optimizer.m.data, r->optimizer.v.data, r->optimizer.n, err);
    if (status == UM_OK) {
        r->saved_step = r->state.step;
        r->saved_evaluated = r->state.evaluated_step;
    }
    return status;
}

um_status um_train_interrupt(um_train_progress *r, um_error *err)
{
    um_str saved = UM_STR_INIT;
    um_status status = um_train_save(r, err);
    if (status == UM_OK) {
        um_train_put_saved(&saved, r);
        status = um_fail(err, UM_ERR_INTERRUPTED,
                         "training: interrupted after step %" PRId64 " of %" PRId64 "; checkpoint: "
                         "%s",
                         r->state.step, r->trainer.plan.steps_total, um_str_text(&saved));
    }
    um_str_dispose(&saved);
    return status;
}

um_status um_train_take_best(um_train_progress *r, um_error *err)
{
    um_trainer *t = &r->trainer;
    um_best best;
    if (!t->options->keep_best || r->state.best_step == r->state.step)
        return UM_OK;
    um_status status =
        um_best_open(&best, t->options->checkpoint_dir, t->identity, t->n_values, err);
    if (status != UM_OK)
        return status;
    if (best.step == r->state.best_step) {
        um_backend *be = t->compute->backend;
        be->ops->upload(be, t->values, best.weights, t->n_values * sizeof(float));
        um_monitor_message(t->monitor,
                           "training: keeping the weights after step %" PRId64 ", whose held-out "
                           "loss %.4f is the lowest",
                           best.step, best.loss);
    } else {
        status = um_fail(err, UM_ERR_STATE,
                         "%s: the best weights, of step %" PRId64 ", are gone or damaged; the same "
                         "call starts over",
                         t->options->checkpoint_dir, r->state.best_step);
    }
    um_best_close(&best);
    return status;
}
