/*
 * test_lora.c - adapters against PEFT (tests/golden/gen_lora.py), finite differences, and
 * themselves: merged, written and read, interrupted, on many threads.
 */
#include <unistd.h>

#include "base/file.h"
#include "golden_file.h"
#include "model/graph.h"
#include "train/loop.h"
#include "train/memory.h"
#include "train/pack.h"

#define MAX_TRAINED 512
#define MAX_STEPS   64
#define FOLDER      UM_SOURCE_DIR "/tests/golden/lora"

typedef struct fixture {
    golden *gold;
    um_model *model;
    um_lora *lora;
    um_compute *compute;
    um_graph *graph;
    um_pack pack;
    float *gradient; /* of the adapter */
    float logp[MAX_TRAINED], coef[MAX_TRAINED];
} fixture;

/* All rows of the file in one pass; recompute layers again. */
static void open_fixture(fixture *x, const char *backend, int threads, int recompute)
{
    um_error err;
    memset(x, 0, sizeof *x);
    x->gold = golden_open("lora_qwen2.bin");
    x->model = golden_model(x->gold);
    assert_ok(um_lora_load(&x->lora, &x->model->config, FOLDER, &err), err);
    assert_ok(um_compute_open(&x->compute, backend, threads, &err), err);
    const um_graph_sizes sizes = {.max_rows = 400,
                                  .max_trained = MAX_TRAINED,
                                  .recompute = recompute,
                                  .lora_rank = x->lora->rank};
    assert_ok(um_graph_new(&x->graph, &x->model->config, x->compute, &sizes, &err), err);
    assert_ok(um_graph_adapt(x->graph, x->lora, &err), err);
    assert_ok(um_pack_init(&x->pack, 400, MAX_TRAINED, 32, &err), err);
    for (int i = 0; i < x->gold->n_rows; i++)
        assert_ok(um_pack_add(&x->pack, &x->gold->rows[i], (size_t)i, &err), err);
    x->gradient = um_aligned_calloc(x->lora->n, sizeof(float));
    assert_non_null(x->gradient);
}

static void close_fixture(fixture *x)
{
    free(x->gradient);
    um_pack_dispose(&x->pack);
    um_graph_free(x->graph);
    um_compute_close(x->compute);
    um_lora_free(x->lora);
    um_model_free(x->model);
    golden_close(x->gold);
}

/* The mean negative log-likelihood. */
static double forward(fixture *x)
{
    um_error err;
    double sum = 0;
    assert_ok(um_graph_forward(x->graph, x->model->data, &x->pack.batch, x->logp, &err), err);
    for (int i = 0; i < x->pack.batch.n_trained; i++)
        sum += (double)x->logp[i];
    return -sum / x->pack.batch.n_trained;
}

static double forward_backward(fixture *x)
{
    um_error err;
    double loss = forward(x);
    for (int i = 0; i < x->pack.batch.n_trained; i++)
        x->coef[i] = (float)(1.0 / x->pack.batch.n_trained);
    assert_ok(
        um_graph_backward(x->graph, x->model->data, &x->pack.batch, x->coef, x->gradient, &err),
        err);
    return loss;
}

static double distance(const float *a, const float *b, size_t n)
{
    double off = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        off += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return sqrt(off / (size + 1e-30));
}

/* The largest distance over the records <prefix><tensor>. */
static double adapter_distance(const fixture *x, const float *block, const char *prefix)
{
    double worst = 0;
    for (int l = 0; l < x->model->config.layers; l++) {
        for (int s = 0; s < UM_LORA_SLOTS; s++) {
            const um_lora_slot *slot = &x->lora->layers[l][s];
            for (int part = 0; part < 2; part++) {
                char name[120];
                snprintf(name, sizeof name, "%sbase_model.model.model.layers.%d.%s.lora_%c.weight",
                         prefix, l, um_lora_module(s), part == 0 ? 'A' : 'B');
                const golden_record *r = golden_find(x->gold, name);
                size_t n = (size_t)x->lora->rank * (size_t)(part == 0 ? slot->in : slot->out);
                assert_int_equal(r->n, n);
                double d = distance(block + (part == 0 ? slot->a : slot->b), r->f, n);
                if (!(d <= worst))
                    worst = d;
            }
        }
    }
    return worst;
}

static void golden_gradients(void **state)
{
    (void)state;
    for (const char *const *name = um_backend_names(); *name != NULL; name++) {
        fixture x;
        open_fixture(&x, *name, 1, 0);
        assert_int_equal(x.lora->rank, 3);
        assert_close(x.lora->scale, 5.0 / 3.0, 1e-6);
        const golden_record *logp = golden_find(x.gold, "logp");
        double loss = forward_backward(&x), expected = (double)golden_find(x.gold, "loss")->f[0];
        assert_int_equal(x.pack.batch.n_trained, logp->n);
        for (uint32_t i = 0; i < logp->n; i++)
            assert_close(x.logp[i], logp->f[i], 2e-5 * (1.0 + fabs((double)logp->f[i])));
        assert_close(loss, expected, 1e-5 * expected);
        assert_close(adapter_distance(&x, x.gradient, "g."), 0.0, 1e-4);
        close_fixture(&x);
    }
}

/* The central difference of the loss along each tensor's gradient against its length. */
static void finite_differences(void **state)
{
    (void)state;
    fixture x;
    open_fixture(&x, "cpu-ref", 1, 0);
    forward_backward(&x);
    float *values = x.lora->data, *start = malloc(x.lora->n * sizeof *start);
    assert_non_null(start);
    memcpy(start, values, x.lora->n * sizeof *start);
    for (int l = 0; l < x.model->config.layers; l++) {
        for (int s = 0; s < 2 * UM_LORA_SLOTS; s++) {
            const um_lora_slot *slot = &x.lora->layers[l][s / 2];
            size_t at = s % 2 == 0 ? slot->a : slot->b, rank = (size_t)x.lora->rank;
            size_t n = rank * (size_t)(s % 2 == 0 ? slot->in : slot->out);
            double length = 0, loss[2];
            for (size_t i = at; i < at + n; i++)
                length += (double)x.gradient[i] * (double)x.gradient[i];
            length = sqrt(length);
            double h = 1e-2 / (1.0 + length);
            for (int side = 0; side < 2; side++) {
                for (size_t i = at; i < at + n; i++)
                    values[i] =
                        start[i] + (float)((side ? -h : h) * (double)x.gradient[i] / length);
                loss[side] = forward(&x);
            }
            memcpy(values, start, x.lora->n * sizeof *start);
            assert_close((loss[0] - loss[1]) / (2 * h), length, 1e-2 * length + 1e-4);
        }
    }
    free(start);
    close_fixture(&x);
}

/* The merged model alone scores as model and adapter, and as PEFT's merge. */
static void merged_equals_unmerged(void **state)
{
    (void)state;
    fixture x;
    um_error err;
    open_fixture(&x, NULL, 1, 0);
    forward(&x);
    um_graph *plain;
    const um_graph_sizes sizes = {.max_rows = 400, .max_trained = MAX_TRAINED};
    float logp[MAX_TRAINED];
    assert_ok(um_graph_new(&plain, &x.model->config, x.compute, &sizes, &err), err);
    assert_ok(um_graph_forward(plain, x.model->data, &x.pack.batch, logp, &err), err);
    double apart = 0;
    for (int i = 0; i < x.pack.batch.n_trained; i++)
        apart += fabs((double)(logp[i] - x.logp[i]));
    assert_true(apart > 1.0); /* the adapter does something */
    assert_ok(um_lora_merge(x.model, x.lora, &err), err);
    assert_ok(um_graph_forward(plain, x.model->data, &x.pack.batch, logp, &err), err);
    const golden_record *gold = golden_find(x.gold, "merged_logp");
    for (int i = 0; i < x.pack.batch.n_trained; i++) {
        assert_close(logp[i], x.logp[i], 2e-5 * (1.0 + fabs((double)x.logp[i])));
        assert_close(logp[i], gold->f[i], 2e-5 * (1.0 + fabs((double)gold->f[i])));
    }
    um_graph_free(plain);

    um_model_config other = x.model->config;
    other.layers = 1;
    um_model *small;
    assert_ok(um_model_init(&small, &other, 0.1f, 0.1f, 1, &err), err);
    assert_int_equal(um_lora_merge(small, x.lora, &err), UM_ERR_INPUT);
    um_model_free(small);
    close_fixture(&x);
}

/* Two threads, and layers computed again: the same bits. */
static void invariances(void **state)
{
    (void)state;
    for (const char *const *name = um_backend_names(); *name != NULL; name++) {
        float *gradient = NULL, logp[MAX_TRAINED] = {0};
        for (int run = 0; run < 3; run++) {
            fixture x;
            open_fixture(&x, *name, run == 1 ? 2 : 1, run == 2 ? 1 : 0);
            forward_backward(&x);
            if (run == 0) {
                memcpy(logp, x.logp, sizeof logp);
                gradient = x.gradient;
                x.gradient = NULL;
            } else {
                assert_memory_equal(logp, x.logp, sizeof logp);
                assert_memory_equal(gradient, x.gradient, x.lora->n * sizeof *gradient);
            }
            close_fixture(&x);
        }
        free(gradient);
    }
}

/* A fresh adapter changes no bit of a score. */
static void new_adapter_is_no_change(void **state)
{
    (void)state;
    fixture x;
    um_error err;
    open_fixture(&x, NULL, 1, 0);
    um_lora *fresh, *again, *other;
    um_lora_options o = {.rank = 3, .alpha = 16, .targets = UM_LORA_Q | UM_LORA_DOWN, .seed = 5};
    assert_ok(um_lora_new(&fresh, &x.model->config, &o, &err), err);
    assert_ok(um_lora_new(&again, &x.model->config, &o, &err), err);
    o.seed = 6;
    assert_ok(um_lora_new(&other, &x.model->config, &o, &err), err);
    assert_true(um_lora_hash(fresh) == um_lora_hash(again));
    assert_true(um_lora_hash(fresh) != um_lora_hash(other));
    int c = x.model->config.hidden, f = x.model->config.ffn;
    assert_int_equal(um_lora_parameters(fresh), 2 * 3 * (c + c + f + c));
    const um_lora_slot *q = &fresh->layers[1][0];
    double bound = 1.0 / sqrt(c), most = 0;
    for (int i = 0; i < 3 * c; i++)
        most = fmax(most, fabs((double)fresh->data[q->a + (size_t)i]));
    assert_true(most <= bound && most > 0.9 * bound); /* uniform in +-1/sqrt(in) */
    assert_ok(um_graph_adapt(x.graph, fresh, &err), err);
    forward(&x);
    um_graph *plain;
    const um_graph_sizes sizes = {.max_rows = 400, .max_trained = MAX_TRAINED};
    float logp[MAX_TRAINED];
    assert_ok(um_graph_new(&plain, &x.model->config, x.compute, &sizes, &err), err);
    assert_ok(um_graph_forward(plain, x.model->data, &x.pack.batch, logp, &err), err);
    for (int i = 0; i < x.pack.batch.n_trained; i++)
        assert_true(logp[i] == x.logp[i]);
    assert_int_equal(um_graph_adapt(plain, fresh, &err), UM_ERR_INPUT); /* made for none */
    um_graph_free(plain);
    um_lora_free(fresh);
    um_lora_free(again);
    um_lora_free(other);
    close_fixture(&x);
}

/* Training */

typedef struct trace {
    um_train_metrics metrics[MAX_STEPS];
    int n;
    int64_t stop_at;
    volatile sig_atomic_t stop;
} trace;

static um_status record(void *context, const um_train_metrics *metrics, um_error *err)
{
    (void)err;
    trace *t = context;
    assert_true(metrics->step <= MAX_STEPS);
    t->metrics[metrics->step - 1] = *metrics;
    t->n = (int)metrics->step;
    t->stop = metrics->step == t->stop_at;
    return UM_OK;
}

static um_train_options golden_options(const golden *gold, bool dpo, um_lora *adapter)
{
    const golden_record *r = golden_find(gold, dpo ? "dpo_options" : "sft_options");
    um_train_options o;
    um_train_defaults_sft(&o);
    o.lr = (double)r->f[0];
    o.weight_decay = (double)r->f[1];
    o.max_grad_norm = (double)r->f[2];
    o.warmup_steps = (int)r->f[3];
    o.epochs = (int)r->f[4];
    o.batch_rows = 100;
    o.adapter = adapter;
    if (dpo)
        o.dpo_beta = (double)r->f[5];
    return o;
}

static size_t training_rows(const golden *gold, bool dpo, um_train_row *rows)
{
    size_t n = 0;
    for (int i = 0; i < gold->n_rows; i++) {
        if (!dpo || gold->rows[i].n_completions == 2)
            rows[n++] = gold->rows[i];
    }
    return n;
}

static void golden_training(void **state)
{
    (void)state;
    for (const char *const *name = um_backend_names(); *name != NULL; name++) {
        for (int dpo = 0; dpo < 2; dpo++) {
            fixture x;
            um_error err;
            um_train_row rows[16];
            trace t = {0};
            open_fixture(&x, *name, 1, 0);
            size_t n = training_rows(x.gold, dpo, rows);
            um_train_options o = golden_options(x.gold, dpo, x.lora);
            uint64_t weights = um_model_hash(x.model);
            o.pack_tokens = dpo ? 40 : 4096;
            assert_ok((dpo ? um_train_dpo : um_train_sft)(x.model, x.compute, rows, n, &o, record,
                                                          &t, NULL, NULL, &err),
                      err);
            const golden_record *loss = golden_find(x.gold, dpo ? "dpo_loss" : "sft_loss");
            const golden_record *norm = golden_find(x.gold, dpo ? "dpo_norm" : "sft_norm");
            assert_int_equal(t.n, loss->n);
            for (int s = 0; s < t.n; s++) {
                assert_close(t.metrics[s].loss, loss->f[s], 1e-5 * fabs((double)loss->f[s]));
                assert_close(t.metrics[s].grad_norm, norm->f[s], 1e-4 * fabs((double)norm->f[s]));
                if (dpo)
                    assert_close(t.metrics[s].reward_margin,
                                 golden_find(x.gold, "dpo_margin")->f[s], 2e-5);
            }
            if (!dpo)
                assert_close(adapter_distance(&x, x.lora->data, "sft."), 0.0, 1e-4);
            assert_true(um_model_hash(x.model) == weights); /* frozen */
            close_fixture(&x);
        }
    }
}

/* A stopped run goes on to the same adapter; another adapter is another run. */
static void resumes(void **state)
{
    (void)state;
    for (int dpo = 0; dpo < 2; dpo++) {
        fixture x;
        um_error err;
        um_train_row rows[16];
        char dir[256];
        trace t = {0};
        open_fixture(&x, NULL, 1, 0);
        size_t n = training_rows(x.gold, dpo, rows), bytes = x.lora->n * sizeof(float);
        um_train_options o = golden_options(x.gold, dpo, x.lora);
        float *start = malloc(bytes), *end = malloc(bytes);
        assert_true(start != NULL && end != NULL);
        memcpy(start, x.lora->data, bytes);
        um_monitor monitor = {.stop = &t.stop};
        assert_ok((dpo ? um_train_dpo : um_train_sft)(x.model, x.compute, rows, n, &o, record, &t,
                                                      NULL, &monitor, &err),
                  err);
        memcpy(end, x.lora->data, bytes);
        assert_non_null(make_dir(dir, sizeof dir));
        o.checkpoint_dir = dir;
        for (t.stop_at = 4; t.stop_at >= 0; t.stop_at -= 4) {
            memcpy(x.lora->data, start, bytes);
            t.stop = 0;
            um_status status = (dpo ? um_train_dpo : um_train_sft)(
                x.model, x.compute, rows, n, &o, record, &t, NULL, &monitor, &err);
            assert_int_equal(status, t.stop_at > 0 ? UM_ERR_INTERRUPTED : UM_OK);
        }
        assert_memory_equal(x.lora->data, end, bytes);
        memcpy(x.lora->data, start, bytes);
        x.lora->data[0] += 1.0f;
        assert_int_equal((dpo ? um_train_dpo : um_train_sft)(x.model, x.compute, rows, n, &o, NULL,
                                                             NULL, NULL, NULL, &err),
                         UM_ERR_STATE);
        assert_non_null(strstr(err.text, "adapter="));
        remove_dir(dir);
        free(start);
        free(end);
        close_fixture(&x);
    }
}

/* No gradient and no moments of the weights; LoRA is named where it would fit. */
static void saves_memory(void **state)
{
    (void)state;
    um_error err;
    um_model_config c = {.arch = UM_ARCH_LLAMA,
                         .vocab = 128256,
                         .hidden = 2048,
                         .layers = 16,
                         .heads = 32,
                         .kv_heads = 8,
                         .head_dim = 64,
                         .ffn = 8192,
                         .max_positions = 8192,
                         .rms_eps = 1e-5f,
                         .rope_theta = 5e5,
                         .tied = true,
                         .bos = -1,
                         .eos = -1}; /* Llama-3.2-1B */
    um_plan plan = {.max_rows = 1024, .max_trained = 256, .max_placed = 4, .longest_rows = 1024};
    um_params params;
    um_train_memory full, lora;
    assert_ok(um_params_layout(&params, &c, &err), err);
    um_train_shape shape = {.config = &c, .plan = &plan, .n_values = params.n};
    assert_ok(um_train_fit_memory(&full, &shape, UINT64_MAX, &err), err);
    shape.n_values = um_lora_count(&c, 16, UM_LORA_ALL);
    shape.lora_rank = 16;
    assert_ok(um_train_fit_memory(&lora, &shape, UINT64_MAX, &err), err);
    assert_int_equal(shape.n_values, 11272192);
    assert_true(full.state == 12 * (uint64_t)params.n && lora.state == 12 * 11272192);
    assert_true(lora.activations < full.activations + (1 << 20));
    shape = (um_train_shape){.config = &c, .plan = &plan, .n_values = params.n};
    assert_int_equal(um_train_fit_memory(&full, &shape, (uint64_t)4 << 30, &err), UM_ERR_LIMIT);
    assert_non_null(strstr(err.text, "LoRA of rank 16 fits"));
    um_params_dispose(&params);
}

/* Files */

static void written_and_read(void **state)
{
    (void)state;
    fixture x;
    um_error err;
    char dir[256], path[300], *text = NULL;
    size_t n;
    open_fixture(&x, NULL, 1, 0);
    assert_non_null(make_dir(dir, sizeof dir));
    assert_ok(um_lora_save(x.lora, dir, "the/base", &err), err);
    um_lora *again;
    assert_ok(um_lora_load(&again, &x.model->config, dir, &err), err);
    assert_true(um_lora_hash(again) == um_lora_hash(x.lora));
    um_lora_free(again);
    snprintf(path, sizeof path, "%s/adapter_config.json", dir);
    assert_ok(um_file_read(&text, &n, path, 1 << 16, &err), err);
    assert_non_null(strstr(text, "\"r\":3,\"lora_alpha\":5,"));
    assert_non_null(strstr(text, "\"base_model_name_or_path\":\"the/base\""));

    static const struct {
        const char *from, *to, *expected;
        um_status status;
    } cases[] = {
        {"\"LORA\"", "\"IA3\"", "peft_type", UM_ERR_UNSUPPORTED},
        {"\"use_dora\":false", "\"use_dora\":true", "use_dora", UM_ERR_UNSUPPORTED},
        {"\"bias\":\"none\"", "\"bias\":\"all\"", "bias", UM_ERR_UNSUPPORTED},
        {"\"init_lora_weights\":true", "\"init_lora_weights\":\"pissa\"", "pissa",
         UM_ERR_UNSUPPORTED},
        {"\"modules_to_save\":null", "\"modules_to_save\":[\"lm_head\"]", "modules_to_save",
         UM_ERR_UNSUPPORTED},
        {"\"r\":3", "\"r\":4", "shape [4, 24]", UM_ERR_INPUT},
        {"\"r\":3", "\"r\":0", "r is 0", UM_ERR_INPUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char changed[4096];
        const char *at = strstr(text, cases[i].from);
        assert_non_null(at);
        int length = snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text,
                              cases[i].to, at + strlen(cases[i].from));
        assert_ok(um_file_write(path, changed, (size_t)length, &err), err);
        assert_int_equal(um_lora_load(&again, &x.model->config, dir, &err), cases[i].status);
        if (strstr(err.text, cases[i].expected) == NULL)
            fail_msg("'%s' does not name '%s'", err.text, cases[i].expected);
    }
    assert_ok(um_file_write(path, text, n, &err), err);
    um_model_config other = x.model->config;
    other.layers = 1; /* tensors of layer 1 are too many */
    assert_int_equal(um_lora_load(&again, &other, dir, &err), UM_ERR_UNSUPPORTED);
    other.layers = 3;
    assert_int_equal(um_lora_load(&again, &other, dir, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "layers.2."));
    free(text);
    remove_dir(dir);
    close_fixture(&x);
}

static void targets(void **state)
{
    (void)state;
    um_error err;
    unsigned got = 0;
    assert_ok(um_lora_parse_targets(&got, "all", &err), err);
    assert_int_equal(got, UM_LORA_ALL);
    assert_ok(um_lora_parse_targets(&got, "down,q", &err), err);
    assert_int_equal(got, UM_LORA_Q | UM_LORA_DOWN);
    assert_int_equal(um_lora_parse_targets(&got, "q,head", &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "'head'"));
    assert_int_equal(um_lora_parse_targets(&got, "", &err), UM_ERR_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_gradients),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(merged_equals_unmerged),
        cmocka_unit_test(invariances),
        cmocka_unit_test(new_adapter_is_no_change),
        cmocka_unit_test(golden_training),
        cmocka_unit_test(resumes),
        cmocka_unit_test(saves_memory),
        cmocka_unit_test(written_and_read),
        cmocka_unit_test(targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
