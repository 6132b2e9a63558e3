/*
 * test_checkpoint.c - runs that are interrupted, killed, damaged or changed: they end bit-identical
 * to a run that was not, or are refused with the reason.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/rng.h"
#include "golden_file.h"
#include "train/checkpoint.h"
#include "train/tensorboard.h"

enum { EPOCHS = 6, N_ROWS = 5 }; /* 5 pairs, 2 an update: 3 updates an epoch, 2 with two held out */

/* Kinds of scenario, to be combined. */
enum { SFT = 0, DPO = 1, HELD_OUT = 2, KINDS = 4 };

typedef struct scenario {
    bool dpo;
    golden *gold;
    um_train_row rows[N_ROWS];
    um_train_options options;
    bool held_out[N_ROWS];
    char dir[256], log_dir[300], straight[256]; /* of the run, its log, and the undisturbed run's */
    char messages[4096];
    volatile sig_atomic_t stop;
    int64_t stop_at; /* update after which to stop; 0: never */
    int reports;     /* of the last call */
    um_train_result result;
} scenario;

static um_status stop_there(void *context, const um_train_metrics *metrics, um_error *err)
{
    (void)err;
    scenario *s = context;
    s->reports++;
    if (metrics->step == s->stop_at && !metrics->held_out)
        s->stop = 1;
    return UM_OK;
}

static void keep_message(void *context, const char *text)
{
    scenario *s = context;
    strncat(s->messages, text, sizeof s->messages - strlen(s->messages) - 1);
}

static void open_scenario(scenario *s, int kind)
{
    memset(s, 0, sizeof *s);
    s->dpo = (kind & DPO) != 0;
    s->gold = golden_open("train_llama.bin");
    int n = 0;
    for (int i = 0; i < s->gold->n_rows; i++) {
        if (s->gold->rows[i].n_completions == 2)
            s->rows[n++] = s->gold->rows[i];
    }
    s->rows[n++] = s->rows[0];
    assert_int_equal(n, N_ROWS);
    um_train_defaults_sft(&s->options);
    s->options.lr = 1e-2;
    s->options.warmup_steps = 2;
    s->options.epochs = EPOCHS;
    s->options.batch_rows = 2;
    s->options.pack_tokens = 40;
    s->options.checkpoint_every = 3;
    s->options.fingerprint = "rows v1";
    assert_non_null(make_dir(s->dir, sizeof s->dir));
    s->options.checkpoint_dir = s->dir;
    assert_non_null(make_dir(s->straight, sizeof s->straight));
    snprintf(s->log_dir, sizeof s->log_dir, "%s.log", s->dir);
    s->options.log_dir = s->log_dir;
    if (kind & HELD_OUT) {
        s->held_out[1] = s->held_out[3] = true;
        s->options.held_out = s->held_out;
        s->options.eval_every = 4;
        s->options.keep_best = true;
    }
}

static void close_scenario(scenario *s)
{
    golden_close(s->gold);
    remove_dir(s->dir);
    remove_dir(s->straight);
    remove_dir(s->log_dir);
}

static int64_t steps_of(const scenario *s)
{
    return (s->options.held_out != NULL ? 2 : 3) * s->options.epochs;
}

/* One call on a fresh starting model; weights is NULL or gets the model's block. */
static um_status run(scenario *s, float *weights, um_error *err)
{
    s->messages[0] = '\0';
    s->reports = 0;
    um_model *model = golden_model(s->gold);
    um_compute *compute;
    um_monitor monitor = {.on_message = keep_message, .context = s, .stop = &s->stop};
    assert_ok(um_compute_open(&compute, NULL, 1, err), *err);
    um_status status = (s->dpo ? um_train_dpo : um_train_sft)(
        model, compute, s->rows, N_ROWS, &s->options, stop_there, s, &s->result, &monitor, err);
    if (weights != NULL)
        memcpy(weights, model->data, model->params.n * sizeof *weights);
    um_compute_close(compute);
    um_model_free(model);
    s->stop = 0;
    return status;
}

static size_t weights_of(const scenario *s)
{
    um_model *model = golden_model(s->gold);
    size_t n = model->params.n;
    um_model_free(model);
    return n;
}

/* The weights of an undisturbed run. */
static float *undisturbed(scenario *s)
{
    um_error err;
    float *weights = malloc(weights_of(s) * sizeof *weights);
    assert_non_null(weights);
    if (s->options.keep_best)
        s->options.checkpoint_dir = s->straight;
    else
        s->options.checkpoint_dir = NULL;
    s->options.log_dir = s->straight;
    assert_ok(run(s, weights, &err), err);
    assert_int_equal(s->result.steps, steps_of(s));
    if (s->options.keep_best) /* else nothing tells its weights from the last ones */
        assert_in_range(s->result.best_step, 1, s->result.steps - 1);
    s->options.checkpoint_dir = s->dir;
    s->options.log_dir = s->log_dir;
    return weights;
}

/* Whole, and equal but for times. */
static void assert_same_logs(const scenario *s)
{
    static const char *const names[] = {"metrics.jsonl", "speed.jsonl",
                                        "events.out.tfevents.mirrorer"};
    um_error err;
    for (int i = 0; i < 3; i++) {
        char path[400], *a, *b;
        size_t n, m, at = 0, bt = 0;
        snprintf(path, sizeof path, "%s/%s", s->straight, names[i]);
        assert_ok(um_file_read(&a, &n, path, 1 << 26, &err), err);
        snprintf(path, sizeof path, "%s/%s", s->log_dir, names[i]);
        assert_ok(um_file_read(&b, &m, path, 1 << 26, &err), err);
        assert_true(n > 0);
        if (i == 0 && (n != m || memcmp(a, b, n) != 0))
            fail_msg("%s\n-- differs from --\n%s", b, a);
        if (i == 2) {
            um_tb_record x, y;
            while (um_tb_next(&x, (const unsigned char *)a, n, &at)) {
                assert_true(um_tb_next(&y, (const unsigned char *)b, m, &bt));
                assert_int_equal(x.step, y.step);
                assert_int_equal(x.tag_len, y.tag_len);
            }
            assert_int_equal(at, n);
            assert_int_equal(bt, m);
        }
        free(a);
        free(b);
    }
}

static void assert_run_gives(scenario *s, const float *expected)
{
    um_error err;
    size_t n = weights_of(s);
    float *weights = malloc(n * sizeof *weights);
    assert_non_null(weights);
    assert_ok(run(s, weights, &err), err);
    assert_int_equal(s->result.steps, steps_of(s));
    assert_memory_equal(weights, expected, n * sizeof *weights);
    assert_same_logs(s);
    free(weights);
}

static size_t count_checkpoints(const char *dir, char last[256])
{
    char **names;
    size_t n, count = 0;
    um_error err;
    assert_ok(um_path_list(&names, &n, dir, &err), err);
    for (size_t i = 0; i < n; i++) {
        assert_null(strstr(names[i], ".tmp"));
        if (strstr(names[i], ".ckpt") != NULL) {
            count++;
            snprintf(last, 256, "%s/%s", dir, names[i]);
        }
        free(names[i]);
    }
    free(names);
    return count;
}

static void interrupted_runs_go_on(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        scenario s;
        um_error err;
        char last[256];
        open_scenario(&s, kind);
        float *expected = undisturbed(&s);
        static const int64_t stops[] = {1, 4, 6, 11, 13, 17}; /* after 4 the evaluation is due */
        for (size_t i = 0; i < 6 && stops[i] < steps_of(&s); i++) {
            s.stop_at = stops[i];
            assert_int_equal(run(&s, NULL, &err), UM_ERR_INTERRUPTED);
            assert_int_equal(s.result.steps, stops[i]);
            assert_int_equal(s.result.resumed, i > 0);
            assert_in_range(count_checkpoints(s.dir, last), 1, 2);
        }
        if (s.options.held_out != NULL) { /* all updates are done, the last evaluation is not */
            s.stop_at = steps_of(&s);
            assert_int_equal(run(&s, NULL, &err), UM_ERR_INTERRUPTED);
        }
        s.stop_at = 0;
        char left[400]; /* by a kill while it was written */
        snprintf(left, sizeof left, "%s/step-000000000099.ckpt.tmp", s.dir);
        assert_ok(um_file_write(left, "x", 1, &err), err);
        assert_run_gives(&s, expected);
        assert_true(s.result.resumed);
        assert_int_equal(count_checkpoints(s.dir, last), 2);
        uint64_t processed = s.result.tokens_processed;
        double first_loss = s.result.first_loss;
        assert_run_gives(&s, expected); /* finished: nothing is left to do */
        assert_int_equal(s.reports, 0);
        assert_true(s.result.tokens_processed == processed && s.result.first_loss == first_loss);
        free(expected);
        close_scenario(&s);
    }
}

/* An interruption before the first update and, in DPO, during the reference. */
static void interrupted_at_once(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        scenario s;
        um_error err;
        open_scenario(&s, kind);
        float *expected = undisturbed(&s);
        um_model *model = golden_model(s.gold);
        um_compute *compute;
        volatile sig_atomic_t stop = 1;
        um_monitor monitor = {.stop = &stop};
        assert_ok(um_compute_open(&compute, NULL, 1, &err), err);
        assert_int_equal((s.dpo ? um_train_dpo : um_train_sft)(model, compute, s.rows, N_ROWS,
                                                               &s.options, NULL, NULL, NULL,
                                                               &monitor, &err),
                         UM_ERR_INTERRUPTED);
        um_compute_close(compute);
        um_model_free(model);
        assert_run_gives(&s, expected);
        free(expected);
        close_scenario(&s);
    }
}

/* kill -9 at random times until a run comes to its end. */
static void killed_runs_go_on(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        scenario s;
        um_rng rng;
        int killed = 0, status = 0;
        open_scenario(&s, kind);
        float *expected = undisturbed(&s);
        s.options.checkpoint_every = 1;
        um_rng_init(&rng, 7, UM_RNG_TEST, (uint64_t)kind, 0, 0);
        for (int attempt = 0; attempt < 400; attempt++) {
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                um_error err;
                _exit(run(&s, NULL, &err) == UM_OK ? 0 : 1);
            }
            usleep(1000 + um_rng_below(&rng, 9000) * (1 + (unsigned)attempt / 40));
            kill(child, SIGKILL);
            assert_int_equal(waitpid(child, &status, 0), child);
            if (WIFEXITED(status))
                break;
            killed++;
        }
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        printf("killed %d times\n", killed);
        assert_true(killed > 0);
        assert_run_gives(&s, expected);
        char last[256];
        assert_int_equal(count_checkpoints(s.dir, last), 2); /* and no temporary */
        free(expected);
        close_scenario(&s);
    }
}

static volatile sig_atomic_t *alarm_flag;

static void on_alarm(int signal_number)
{
    (void)signal_number;
    *alarm_flag = 1;
}

/* Asked to stop at any instant, within an update or the reference too. */
static void stopped_runs_go_on(void **state)
{
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        scenario s;
        um_error err;
        um_rng rng;
        um_status status = UM_ERR_INTERRUPTED;
        int stopped = 0;
        open_scenario(&s, kind);
        s.options.epochs = 40;
        float *expected = undisturbed(&s);
        s.options.checkpoint_every = 0;
        alarm_flag = &s.stop;
        signal(SIGALRM, on_alarm);
        um_rng_init(&rng, 8, UM_RNG_TEST, (uint64_t)kind, 0, 0);
        while (status == UM_ERR_INTERRUPTED && stopped < 1000) {
            suseconds_t wait_us = 500 + (suseconds_t)um_rng_below(&rng, 3000) * (1 + stopped / 20);
            struct itimerval timer = {.it_value = {.tv_usec = wait_us}};
            setitimer(ITIMER_REAL, &timer, NULL);
            status = run(&s, NULL, &err);
            stopped += status == UM_ERR_INTERRUPTED;
        }
        setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
        signal(SIGALRM, SIG_DFL);
        s.stop = 0;
        assert_ok(status, err);
        printf("stopped %d times\n", stopped);
        assert_true(stopped > 0);
        assert_run_gives(&s, expected);
        free(expected);
        close_scenario(&s);
    }
}

static void flip_byte(const char *path, long from_end)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, -from_end, SEEK_END);
    int byte = fgetc(f);
    fseek(f, -from_end, SEEK_END);
    fputc(byte ^ 16, f);
    fclose(f);
}

static long size_of(const char *path)
{
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    return (long)info.st_size;
}

static void damaged_checkpoints(void **state)
{
    (void)state;
    scenario s;
    um_error err;
    char last[256], before[300];
    open_scenario(&s, SFT);
    float *expected = undisturbed(&s);
    s.stop_at = 7; /* leaves steps 6 and 7 */
    for (int kind = 0; kind < 7; kind++) {
        remove_dir(s.dir);
        assert_int_equal(run(&s, NULL, &err), UM_ERR_INTERRUPTED);
        assert_int_equal(count_checkpoints(s.dir, last), 2);
        long size = size_of(last);
        if (kind < 5) {
            const long places[] = {size, size - 10, size - 100, size / 2, 3};
            flip_byte(last, places[kind]);
        } else {
            assert_int_equal(truncate(last, kind == 5 ? size / 2 : 0), 0);
        }
        s.stop_at = 0;
        assert_run_gives(&s, expected);
        if (strstr(s.messages, last) == NULL || strstr(s.messages, "damaged") == NULL ||
            strstr(s.messages, "after step 6") == NULL)
            fail_msg("damage %d is not named: %s", kind, s.messages);
        s.stop_at = 7;
    }

    remove_dir(s.dir); /* both damaged: from the start */
    assert_int_equal(run(&s, NULL, &err), UM_ERR_INTERRUPTED);
    count_checkpoints(s.dir, last);
    snprintf(before, sizeof before, "%s/step-000000000006.ckpt", s.dir);
    flip_byte(last, 50);
    flip_byte(before, 50);
    s.stop_at = 0;
    assert_run_gives(&s, expected);
    assert_false(s.result.resumed);
    free(expected);
    close_scenario(&s);
}

static void set_version(const char *path, char digit)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, 7, SEEK_SET);
    fputc(digit, f);
    fclose(f);
}

/* What another version of the program wrote is refused by its name, and left as it is. */
static void another_version_is_kept(void **state)
{
    (void)state;
    scenario s;
    um_error err;
    char last[256], before[300], *bytes = NULL, *again = NULL;
    size_t n, n_again;
    open_scenario(&s, SFT);
    float *expected = undisturbed(&s);
    s.stop_at = 7; /* leaves steps 6 and 7 */
    assert_int_equal(run(&s, NULL, &err), UM_ERR_INTERRUPTED);
    count_checkpoints(s.dir, last);
    snprintf(before, sizeof before, "%s/step-000000000006.ckpt", s.dir);
    set_version(last, '1');
    s.stop_at = 0;
    assert_ok(um_file_read(&bytes, &n, last, 1 << 26, &err), err);
    assert_int_equal(run(&s, NULL, &err), UM_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, last));
    assert_non_null(strstr(err.text, "format 1"));
    assert_ok(um_file_read(&again, &n_again, last, 1 << 26, &err), err);
    assert_int_equal(n, n_again);
    assert_memory_equal(bytes, again, n);
    assert_true(um_path_exists(before));
    free(bytes);
    free(again);

    /* Cut short it is still of another version; an older one is no obstacle, and stays too. */
    assert_int_equal(truncate(last, 20), 0);
    assert_int_equal(run(&s, NULL, &err), UM_ERR_UNSUPPORTED);
    assert_int_equal(unlink(last), 0);
    char oldest[300];
    snprintf(oldest, sizeof oldest, "%s/step-000000000002.ckpt", s.dir);
    assert_ok(um_file_write(oldest, "UMTRAIN9", 8, &err), err);
    assert_run_gives(&s, expected);
    assert_true(s.result.resumed);
    assert_int_equal(count_checkpoints(s.dir, last), 3);
    assert_true(um_path_exists(oldest));
    free(expected);
    close_scenario(&s);
}

/* A sound checkpoint is not removed for being later than the one written. */
static void sound_later_checkpoint_is_kept(void **state)
{
    (void)state;
    um_error err;
    char dir[256], last[256];
    const float values[4] = {1, 2, 3, 4};
    assert_non_null(make_dir(dir, sizeof dir));
    for (int64_t step = 9; step >= 3; step -= 3) {
        um_train_state at = {.step = step};
        assert_ok(um_checkpoint_write(dir, "run", &at, values, values, values, 4, &err), err);
    }
    assert_int_equal(count_checkpoints(dir, last), 3);
    flip_byte(last, 30);
    um_train_state at = {.step = 4};
    assert_ok(um_checkpoint_write(dir, "run", &at, values, values, values, 4, &err), err);
    assert_int_equal(count_checkpoints(dir, last), 3); /* 3, 4 and 6 */
    assert_non_null(strstr(last, "step-000000000006"));
    remove_dir(dir);
}

static void assert_refused(scenario *s, const char *name)
{
    um_error err;
    assert_int_equal(run(s, NULL, &err), UM_ERR_STATE);
    if (strstr(err.text, name) == NULL)
        fail_msg("'%s' does not name '%s'", err.text, name);
}

static void refuses_another_run(void **state)
{
    (void)state;
    scenario s, good;
    um_error err;
    open_scenario(&s, DPO);
    s.stop_at = 4;
    assert_int_equal(run(&s, NULL, &err), UM_ERR_INTERRUPTED);
    good = s;
    s.options.lr = 2e-2;
    assert_refused(&s, "found lr=0.01 there, lr=0.02 here");
    s.options = good.options, s.options.seed = 5;
    assert_refused(&s, "seed=0 there");
    s.options = good.options, s.options.dpo_beta = 0.2;
    assert_refused(&s, "dpo_beta=");
    s.options = good.options, s.options.fingerprint = "rows v2";
    assert_refused(&s, "fingerprint=");
    s.options = good.options, s.dpo = false;
    assert_refused(&s, "kind=dpo there, kind=sft here");
    s = good, s.rows[3].completion_len[1]--;
    assert_refused(&s, "rows=");
    s = good;
    golden_record *w = (golden_record *)(uintptr_t)golden_find(s.gold, "w.model.norm.weight");
    w->f[0] += 1;
    assert_refused(&s, "starting weights=");
    w->f[0] -= 1;
    s.options.checkpoint_every = 100; /* where checkpoints stand changes no result */
    s.stop_at = 0;
    assert_ok(run(&s, NULL, &err), err);
    close_scenario(&s);
}

/* A reference file that is damaged is computed again, and gives the same. */
static void damaged_reference(void **state)
{
    (void)state;
    scenario s;
    um_error err;
    char path[300];
    open_scenario(&s, DPO);
    float *expected = undisturbed(&s);
    s.stop_at = 4;
    assert_int_equal(run(&s, NULL, &err), UM_ERR_INTERRUPTED);
    snprintf(path, sizeof path, "%s/reference.bin", s.dir);
    flip_byte(path, 20);
    s.stop_at = 0;
    assert_run_gives(&s, expected);
    free(expected);
    close_scenario(&s);
}

/* Best weights that are lost cannot be had again but by starting over. */
static void damaged_best(void **state)
{
    (void)state;
    for (int gone = 0; gone < 2; gone++) {
        scenario s;
        um_error err;
        char path[300];
        open_scenario(&s, HELD_OUT);
        float *expected = undisturbed(&s);
        s.stop_at = 9;
        assert_int_equal(run(&s, NULL, &err), UM_ERR_INTERRUPTED);
        snprintf(path, sizeof path, "%s/best.bin", s.dir);
        if (gone)
            assert_int_equal(unlink(path), 0);
        else
            flip_byte(path, 20);
        s.stop_at = 0;
        assert_run_gives(&s, expected);
        assert_false(s.result.resumed);
        assert_non_null(strstr(s.messages, "gone or damaged"));
        free(expected);
        close_scenario(&s);
    }
}

/* A log that lost its end, or was removed, is no obstacle. */
static void damaged_logs(void **state)
{
    (void)state;
    scenario s;
    um_error err;
    char path[400], *text;
    size_t n;
    open_scenario(&s, DPO | HELD_OUT);
    float *expected = undisturbed(&s);
    s.stop_at = 5;
    assert_int_equal(run(&s, NULL, &err), UM_ERR_INTERRUPTED);
    snprintf(path, sizeof path, "%s/metrics.jsonl", s.log_dir);
    assert_ok(um_file_read(&text, &n, path, 1 << 26, &err), err);
    assert_int_equal(n, strlen(text));
    FILE *f = fopen(path, "ab"); /* a torn line and more of the future */
    assert_non_null(f);
    fputs("{\"step\":6,\"epoch\":1}\n{\"step\":7,\"ep", f);
    fclose(f);
    s.stop_at = 0;
    assert_run_gives(&s, expected);
    free(text);
    free(expected);

    remove_dir(s.log_dir);
    assert_ok(run(&s, NULL, &err), err);
    assert_ok(um_file_read(&text, &n, path, 1 << 26, &err), err);
    assert_int_equal(n, 0);
    free(text);
    close_scenario(&s);
}

static void folder_that_cannot_be_written(void **state)
{
    (void)state;
    scenario s;
    um_error err;
    char path[300];
    open_scenario(&s, SFT);
    snprintf(path, sizeof path, "%s/file", s.dir);
    assert_ok(um_file_write(path, "x", 1, &err), err);
    s.options.checkpoint_dir = path;
    assert_int_equal(run(&s, NULL, &err), UM_ERR_IO);
    assert_non_null(strstr(err.text, path));
    close_scenario(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupted_runs_go_on),
        cmocka_unit_test(interrupted_at_once),
        cmocka_unit_test(killed_runs_go_on),
        cmocka_unit_test(stopped_runs_go_on),
        cmocka_unit_test(damaged_checkpoints),
        cmocka_unit_test(refuses_another_run),
        cmocka_unit_test(another_version_is_kept),
        cmocka_unit_test(sound_later_checkpoint_is_kept),
        cmocka_unit_test(damaged_reference),
        cmocka_unit_test(damaged_best),
        cmocka_unit_test(damaged_logs),
        cmocka_unit_test(folder_that_cannot_be_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
