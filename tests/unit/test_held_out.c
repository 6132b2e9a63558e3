/*
 * test_held_out.c - rows that are only evaluated: which, their loss, the best weights, patience;
 * and what a run does when numbers are no longer finite.
 */
#include "base/file.h"
#include "base/rng.h"
#include "golden_file.h"
#include "train/loop.h"

enum { MAX_EVALUATIONS = 64, N_ROWS = 5 };

static void whole_groups(void **state)
{
    (void)state;
    um_error err;
    enum { N = 1000, GROUPS = 100 };
    uint64_t groups[N];
    bool held[N], less[N], other[N];
    for (int i = 0; i < N; i++)
        groups[i] = (uint64_t)(i * 7 % GROUPS); /* ten rows a group, mixed */
    assert_ok(um_train_hold_out(held, groups, N, 0.2, 5, &err), err);
    assert_ok(um_train_hold_out(less, groups, N, 0.055, 5, &err), err);
    assert_ok(um_train_hold_out(other, groups, N, 0.2, 6, &err), err);
    int n = 0, n_less = 0, same = 0;
    for (int i = 0; i < N; i++) {
        n += held[i];
        n_less += less[i];
        same += held[i] && other[i];
        assert_true(!less[i] || held[i]); /* a smaller share is part of a larger */
        assert_int_equal(held[i], held[(i + GROUPS) % N]);
    }
    assert_int_equal(n, 200);
    assert_int_equal(n_less, 60); /* whole groups: at least the share */
    assert_in_range(same, 10, 100);
    assert_ok(um_train_hold_out(held, groups, N, 0.0, 5, &err), err);
    for (int i = 0; i < N; i++)
        assert_false(held[i]);
    assert_int_equal(um_train_hold_out(held, groups, N, 1.0, 5, &err), UM_ERR_INPUT);
    memset(groups, 0, sizeof groups);
    assert_int_equal(um_train_hold_out(held, groups, N, 0.1, 5, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "leaves none to train"));
}

/* A run that overfits: a high rate on three pairs, two held out. */
typedef struct fixture {
    golden *gold;
    um_train_row rows[N_ROWS];
    bool held_out[N_ROWS];
    um_train_options options;
    um_model *model;
    um_compute *compute;
    char dir[256], messages[2048];
    um_train_metrics evaluations[MAX_EVALUATIONS];
    float *weights[MAX_EVALUATIONS]; /* at each evaluation */
    int n;
    int64_t poison_at; /* step after which a weight becomes NaN; 0: never */
    um_train_result result;
} fixture;

static void open_fixture(fixture *f, bool dpo)
{
    um_error err;
    memset(f, 0, sizeof *f);
    f->gold = golden_open("train_llama.bin");
    int n = 0;
    for (int i = 0; i < f->gold->n_rows && n < N_ROWS; i++) {
        if (f->gold->rows[i].n_completions == 2)
            f->rows[n++] = f->gold->rows[i];
    }
    f->rows[n] = f->rows[0];
    f->rows[n++].id = 777;
    assert_int_equal(n, N_ROWS);
    f->held_out[1] = f->held_out[3] = true;
    if (dpo)
        um_train_defaults_dpo(&f->options);
    else
        um_train_defaults_sft(&f->options);
    f->options.lr = dpo ? 5e-2 : 1e-2;
    f->options.warmup_steps = 0;
    f->options.epochs = 12;
    f->options.batch_rows = 3;
    f->options.pack_tokens = 40;
    f->options.held_out = f->held_out;
    f->options.eval_every = 2;
    f->model = golden_model(f->gold);
    assert_ok(um_compute_open(&f->compute, NULL, 1, &err), err);
    assert_non_null(make_dir(f->dir, sizeof f->dir));
    f->options.checkpoint_dir = f->dir;
    f->options.checkpoint_every = 0;
}

static void close_fixture(fixture *f)
{
    for (int i = 0; i < f->n; i++)
        free(f->weights[i]);
    um_model_free(f->model);
    um_compute_close(f->compute);
    golden_close(f->gold);
    remove_dir(f->dir);
}

static um_status on_metrics(void *context, const um_train_metrics *m, um_error *err)
{
    (void)err;
    fixture *f = context;
    if (m->held_out) {
        size_t bytes = f->model->params.n * sizeof(float);
        assert_true(f->n < MAX_EVALUATIONS);
        f->evaluations[f->n] = *m;
        f->weights[f->n] = malloc(bytes);
        assert_non_null(f->weights[f->n]);
        memcpy(f->weights[f->n++], f->model->data, bytes);
    } else if (m->step == f->poison_at) {
        f->model->data[f->model->params.final_norm] = NAN;
    }
    return UM_OK;
}

static void keep_message(void *context, const char *text)
{
    fixture *f = context;
    strncat(f->messages, text, sizeof f->messages - strlen(f->messages) - 1);
}

static um_status train(fixture *f, bool dpo, um_error *err)
{
    um_monitor monitor = {.on_message = keep_message, .context = f};
    return (dpo ? um_train_dpo : um_train_sft)(f->model, f->compute, f->rows, N_ROWS, &f->options,
                                               on_metrics, f, &f->result, &monitor, err);
}

typedef struct scores {
    double logp[N_ROWS][2];
} scores;

static um_status keep_scores(void *context, size_t row, const double *logp, um_error *err)
{
    (void)err;
    memcpy(((scores *)context)->logp[row], logp, 2 * sizeof *logp);
    return UM_OK;
}

static scores score(fixture *f)
{
    um_error err;
    scores s;
    assert_ok(um_score_rows(f->model, f->compute, f->rows, N_ROWS, 64, keep_scores, &s, NULL, &err),
              err);
    return s;
}

/* Held-out figures from the scores of the rows, worked out apart. */
static void figures_are_of_the_held_out_rows(void **state)
{
    (void)state;
    for (int dpo = 0; dpo < 2; dpo++) {
        fixture f;
        um_error err;
        open_fixture(&f, dpo);
        scores before = score(&f);
        assert_ok(train(&f, dpo, &err), err);
        scores after = score(&f); /* the last evaluation was of the last weights */
        const um_train_metrics *last = &f.evaluations[f.n - 1];
        double loss = 0, margin = 0, accuracy = 0, tokens = 0;
        for (int i = 1; i < 4; i += 2) {
            double h = 0;
            for (int c = 0; c < 2; c++) {
                loss -= dpo ? 0.0 : after.logp[i][c];
                tokens += f.rows[i].completion_len[c];
                h += (after.logp[i][c] - before.logp[i][c]) * (c == 0 ? 1 : -1);
            }
            loss += dpo ? log1p(exp(-0.1 * h)) / 2 : 0.0;
            margin += 0.1 * h / 2;
            accuracy += h > 0 ? 0.5 : 0.0;
        }
        assert_close(last->loss, dpo ? loss : loss / tokens, 1e-9);
        if (dpo) {
            assert_close(last->reward_margin, margin, 1e-9);
            assert_close(last->reward_accuracy, accuracy, 0);
        }
        assert_int_equal(f.n, 6); /* 12 updates, after every second */
        assert_int_equal(last->step, 12);
        assert_int_equal(last->epoch, 11);
        assert_int_equal(f.result.rows_held_out, 2);
        assert_int_equal(f.result.rows_used, 3);
        assert_false(f.result.stopped_early);
        close_fixture(&f);
    }
}

/* To hold rows out is to train without them. */
static void held_out_rows_teach_nothing(void **state)
{
    (void)state;
    for (int dpo = 0; dpo < 2; dpo++) {
        fixture f, g;
        um_error err;
        open_fixture(&f, dpo);
        open_fixture(&g, dpo);
        assert_ok(train(&f, dpo, &err), err);
        um_train_row rest[] = {g.rows[0], g.rows[2], g.rows[4]};
        g.options.held_out = NULL;
        assert_ok((dpo ? um_train_dpo : um_train_sft)(g.model, g.compute, rest, 3, &g.options, NULL,
                                                      NULL, &g.result, NULL, &err),
                  err);
        assert_memory_equal(f.model->data, g.model->data, f.model->params.n * sizeof(float));
        assert_true(f.result.tokens_processed == g.result.tokens_processed);
        close_fixture(&f);
        close_fixture(&g);
    }
}

static int lowest(const fixture *f)
{
    int best = 0;
    for (int i = 1; i < f->n; i++) {
        if (f->evaluations[i].loss < f->evaluations[best].loss)
            best = i;
    }
    return best;
}

static void best_weights_are_kept(void **state)
{
    (void)state;
    for (int dpo = 0; dpo < 2; dpo++) {
        fixture f;
        um_error err;
        open_fixture(&f, dpo);
        f.options.keep_best = true;
        assert_ok(train(&f, dpo, &err), err);
        int best = lowest(&f);
        assert_true(best < f.n - 1); /* it overfits, or nothing is tested */
        assert_memory_equal(f.model->data, f.weights[best], f.model->params.n * sizeof(float));
        assert_int_equal(f.result.best_step, f.evaluations[best].step);
        assert_true(f.result.best_loss == f.evaluations[best].loss);
        assert_true(f.result.held_out_loss == f.evaluations[f.n - 1].loss);
        assert_non_null(strstr(f.messages, "keeping the weights after step"));
        close_fixture(&f);
    }
}

static void patience_ends_the_run(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        fixture f;
        um_error err;
        open_fixture(&f, false);
        f.options.epochs = 40;
        f.options.patience = 3;
        f.options.keep_best = keep;
        assert_ok(train(&f, false, &err), err);
        int best = lowest(&f);
        assert_int_equal(f.n - 1, best + 3);
        assert_true(f.result.stopped_early);
        assert_int_equal(f.result.steps, f.evaluations[f.n - 1].step);
        assert_true(f.result.steps < 40);
        assert_memory_equal(f.model->data, f.weights[keep ? best : f.n - 1],
                            f.model->params.n * sizeof(float));
        assert_non_null(strstr(f.messages, "has not fallen in 3 evaluations"));
        /* The same call again is at its end at once. */
        um_model_free(f.model);
        f.model = golden_model(f.gold);
        int n = f.n;
        assert_ok(train(&f, false, &err), err);
        assert_int_equal(f.n, n);
        assert_true(f.result.resumed && f.result.stopped_early);
        assert_memory_equal(f.model->data, f.weights[keep ? best : n - 1],
                            f.model->params.n * sizeof(float));
        close_fixture(&f);
    }
}

static void refuses_what_cannot_work(void **state)
{
    (void)state;
    fixture f;
    um_error err;
    open_fixture(&f, false);
    um_train_options good = f.options;
    f.options.held_out = NULL;
    f.options.patience = 2;
    assert_int_equal(train(&f, false, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "patience"));
    f.options = good;
    f.options.keep_best = true;
    f.options.checkpoint_dir = NULL;
    assert_int_equal(train(&f, false, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "checkpoint_dir"));
    f.options = good;
    f.options.eval_every = -1;
    assert_int_equal(train(&f, false, &err), UM_ERR_INPUT);
    f.options = good;
    memset(f.held_out, 0, sizeof f.held_out);
    assert_int_equal(train(&f, false, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "no row is left to evaluate"));
    memset(f.held_out, 1, sizeof f.held_out);
    assert_int_equal(train(&f, false, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "no row is left"));
    close_fixture(&f);
}

static void assert_text(const um_error *err, const char *part)
{
    if (strstr(err->text, part) == NULL)
        fail_msg("'%s' lacks '%s'", err->text, part);
}

/* A weight that becomes NaN: in an update, in an evaluation, and before a checkpoint. None is
 * written; the run goes on from the last good checkpoint as if nothing had been. */
static void poisoned_weights_are_not_written(void **state)
{
    (void)state;
    fixture clean;
    um_error err;
    open_fixture(&clean, false);
    assert_ok(train(&clean, false, &err), err);
    for (int kind = 0; kind < 3; kind++) {
        fixture f;
        char path[300];
        open_fixture(&f, false);
        f.options.checkpoint_every = 4;
        f.options.eval_every = kind == 2 ? 3 : 2;
        f.poison_at = kind == 0 ? 5 : kind == 1 ? 6 : 8;
        assert_int_equal(train(&f, false, &err), UM_ERR_NUMERIC);
        assert_text(&err, "last good checkpoint: after step 4, in ");
        assert_text(&err, f.dir);
        if (kind == 0) { /* batch of the three rows that are trained on */
            assert_text(&err, "training step 6 of 12: the loss is nan on rows ");
            assert_text(&err, ", batch of rows ");
            assert_text(&err, "777");
        } else if (kind == 1) {
            assert_text(&err, "after step 6 of 12: the loss is nan on held-out rows 101");
        } else {
            assert_text(&err, "weights are not finite after step 8");
        }
        snprintf(path, sizeof path, "%s/step-000000000004.ckpt", f.dir);
        assert_true(um_path_exists(path));
        for (int step = 5; step <= 12; step++) {
            snprintf(path, sizeof path, "%s/step-%012d.ckpt", f.dir, step);
            assert_false(um_path_exists(path));
        }
        f.poison_at = 0;
        um_model_free(f.model);
        f.model = golden_model(f.gold);
        assert_ok(train(&f, false, &err), err);
        assert_true(f.result.resumed);
        assert_memory_equal(f.model->data, clean.model->data, f.model->params.n * sizeof(float));
        close_fixture(&f);
    }
    close_fixture(&clean);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_groups),
        cmocka_unit_test(figures_are_of_the_held_out_rows),
        cmocka_unit_test(held_out_rows_teach_nothing),
        cmocka_unit_test(best_weights_are_kept),
        cmocka_unit_test(patience_ends_the_run),
        cmocka_unit_test(refuses_what_cannot_work),
        cmocka_unit_test(poisoned_weights_are_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
