/*
 * test_bf16.c - bfloat16 training: against torch's bfloat16 (tests/golden/gen_bf16.py), against
 * float32 over 200 updates, at small learning rates, and its memory.
 */
#include "golden_file.h"
#include "model/graph.h"
#include "train/memory.h"
#include "train/pack.h"

#define MAX_TRAINED 512
#define MAX_STEPS   256

typedef struct fixture {
    golden *gold;
    um_model *model;
    um_compute *compute;
    um_graph *graph;
    um_pack pack;
    float *gradient;
    float logp[MAX_TRAINED], coef[MAX_TRAINED];
} fixture;

/* The model of `name`, and the rows of `rows` in one pass. */
static void open_fixture(fixture *x, const char *name, const golden *rows, const char *backend,
                         int threads, bool bf16, int recompute)
{
    um_error err;
    memset(x, 0, sizeof *x);
    x->gold = golden_open(name);
    x->model = golden_model(x->gold);
    assert_ok(um_compute_open(&x->compute, backend, threads, &err), err);
    const um_graph_sizes sizes = {
        .max_rows = 400, .max_trained = MAX_TRAINED, .recompute = recompute, .bf16 = bf16};
    assert_ok(um_graph_new(&x->graph, &x->model->config, x->compute, &sizes, &err), err);
    assert_ok(um_pack_init(&x->pack, 400, MAX_TRAINED, 32, &err), err);
    for (int i = 0; i < rows->n_rows; i++)
        assert_ok(um_pack_add(&x->pack, &rows->rows[i], (size_t)i, &err), err);
    x->gradient = um_aligned_calloc(x->model->params.n, sizeof(float));
    assert_non_null(x->gradient);
}

static void close_fixture(fixture *x)
{
    free(x->gradient);
    um_pack_dispose(&x->pack);
    um_graph_free(x->graph);
    um_compute_close(x->compute);
    um_model_free(x->model);
    golden_close(x->gold);
}

static double forward_backward(fixture *x)
{
    um_error err;
    double sum = 0;
    int n = x->pack.batch.n_trained;
    assert_ok(um_graph_forward(x->graph, x->model->data, &x->pack.batch, x->logp, &err), err);
    for (int i = 0; i < n; i++) {
        sum += (double)x->logp[i];
        x->coef[i] = (float)(1.0 / n);
    }
    assert_ok(
        um_graph_backward(x->graph, x->model->data, &x->pack.batch, x->coef, x->gradient, &err),
        err);
    return -sum / n;
}

/* Root mean square of the differences. */
static double rms(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum / n);
}

/*
 * An independent computation that rounds at the same points, backward too: equal to float32 but
 * where a sum, taken in another order, rounds to the other side and moves what follows. And torch's
 * own bfloat16, which rounds at a few more points.
 */
static void golden_bf16(void **state)
{
    (void)state;
    static const char *const names[2][2] = {{"train_llama.bin", "bf16_llama.bin"},
                                            {"train_qwen2.bin", "bf16_qwen2.bin"}};
    for (const char *const *name = um_backend_names(); *name != NULL; name++) {
        for (int m = 0; m < 2; m++) {
            fixture x, wide;
            golden *gold = golden_open(names[m][1]);
            open_fixture(&x, names[m][0], gold, *name, 1, true, 0);
            open_fixture(&wide, names[m][0], gold, *name, 1, false, 0);
            const golden_record *logp = golden_find(gold, "logp");
            const float *torch = golden_find(gold, "torch_logp")->f;
            int n = (int)logp->n, equal = 0;
            assert_int_equal(x.pack.batch.n_trained, n);
            double loss = forward_backward(&x), expected = (double)golden_find(gold, "loss")->f[0];
            forward_backward(&wide);
            for (int i = 0; i < n; i++)
                equal += fabs((double)(x.logp[i] - logp->f[i])) < 2e-5;
            double off = rms(x.logp, logp->f, n), rounding = rms(wide.logp, logp->f, n);
            double apart = golden_distance(gold, x.model, x.gradient, "g.", false);
            double far = golden_distance(gold, x.model, wide.gradient, "g.", false);
            double from_torch = rms(x.logp, torch, n), torch_rounding = rms(wide.logp, torch, n);
            assert_true(equal >= n - 6 && off < 2e-3 && rounding > 1e-2);
            assert_close(loss, expected, 1e-4 * expected);
            assert_true(apart < 4e-3 && far > 0.03);
            assert_true(from_torch < 0.04 && from_torch < torch_rounding);
            close_fixture(&x);
            close_fixture(&wide);
            golden_close(gold);
        }
    }
}

/* Bits do not depend on threads, layers computed again, or what stands beside a row. */
static void invariances(void **state)
{
    (void)state;
    for (const char *const *name = um_backend_names(); *name != NULL; name++) {
        golden *rows = golden_open("train_qwen2.bin");
        float *gradient = NULL, logp[MAX_TRAINED] = {0};
        for (int run = 0; run < 3; run++) {
            fixture x;
            open_fixture(&x, "train_qwen2.bin", rows, *name, run == 1 ? 2 : 1, true, run == 2);
            forward_backward(&x);
            if (run == 0) {
                memcpy(logp, x.logp, sizeof logp);
                gradient = x.gradient;
                x.gradient = NULL;
            } else {
                assert_memory_equal(logp, x.logp, sizeof logp);
                assert_memory_equal(gradient, x.gradient, x.model->params.n * sizeof *gradient);
            }
            if (run == 2) {
                int at = 0;
                for (int i = 0; i < rows->n_rows; i++) {
                    um_error err;
                    um_pack_clear(&x.pack);
                    assert_ok(um_pack_add(&x.pack, &rows->rows[i], (size_t)i, &err), err);
                    forward_backward(&x);
                    size_t n = (size_t)x.pack.batch.n_trained;
                    assert_memory_equal(logp + at, x.logp, n * sizeof *logp);
                    at += (int)n;
                }
            }
            close_fixture(&x);
        }
        free(gradient);
        golden_close(rows);
    }
}

/* A model deep enough for layers to be kept and computed again in any split. */
static void recomputed_equals_kept(void **state)
{
    (void)state;
    um_error err;
    um_model_config config = {.arch = UM_ARCH_LLAMA,
                              .vocab = 61,
                              .hidden = 24,
                              .layers = 4,
                              .heads = 3,
                              .kv_heads = 1,
                              .head_dim = 8,
                              .ffn = 40,
                              .max_positions = 64,
                              .rms_eps = 1e-5f,
                              .rope_theta = 1e4,
                              .bos = -1,
                              .eos = -1};
    static const int32_t tokens[] = {5, 60, 7, 7, 0, 12, 33, 41, 8, 19};
    const um_train_row rows[2] = {{.prompt = tokens, .prompt_len = 10, .train_prompt = true},
                                  {.prompt = tokens,
                                   .prompt_len = 1,
                                   .n_completions = 2, /* trains more than it has rows */
                                   .completions = {tokens + 2, tokens + 4},
                                   .completion_len = {1, 1}}};
    um_model *model;
    um_compute *compute;
    assert_ok(um_model_init(&model, &config, 0.3f, 0.5f, 9, &err), err);
    assert_ok(um_compute_open(&compute, NULL, 1, &err), err);
    for (int which = 0; which < 2; which++) {
        um_pack pack;
        float *kept = NULL, logp[2][16] = {{0}}, coef[16];
        size_t bytes = SIZE_MAX;
        for (int i = 0; i < 16; i++)
            coef[i] = 0.1f * (float)(i - 3);
        assert_ok(um_pack_init(&pack, 16, 16, 1, &err), err);
        assert_ok(um_pack_add(&pack, &rows[which], 0, &err), err);
        for (int again = 0; again < config.layers; again++) {
            const um_graph_sizes sizes = {.max_rows = pack.batch.n_rows,
                                          .max_trained = pack.batch.n_trained,
                                          .recompute = again,
                                          .bf16 = true};
            um_graph *graph;
            float *gradient = um_aligned_calloc(model->params.n, sizeof *gradient);
            float *out = logp[again > 0];
            assert_non_null(gradient);
            assert_ok(um_graph_new(&graph, &config, compute, &sizes, &err), err);
            assert_ok(um_graph_forward(graph, model->data, &pack.batch, out, &err), err);
            assert_ok(um_graph_backward(graph, model->data, &pack.batch, coef, gradient, &err),
                      err);
            um_graph_free(graph);
            assert_memory_equal(logp[0], out, sizeof logp[0]);
            assert_true(um_graph_bytes(&config, &sizes) < bytes);
            bytes = um_graph_bytes(&config, &sizes);
            if (kept == NULL) {
                kept = gradient;
            } else {
                assert_memory_equal(kept, gradient, model->params.n * sizeof *kept);
                free(gradient);
            }
        }
        free(kept);
        um_pack_dispose(&pack);
    }
    /* More terms than a product in bfloat16 can have. */
    const um_graph_sizes sizes = {.max_rows = 8, .max_trained = 8, .bf16 = true};
    um_model_config wide = config;
    um_graph *graph;
    wide.vocab = 300000;
    assert_int_equal(um_graph_new(&graph, &wide, compute, &sizes, &err), UM_ERR_LIMIT);
    um_compute_close(compute);
    um_model_free(model);
}

/* Activations of a deep model take about half; what is trained is float32 as ever. */
static void halves_memory(void **state)
{
    (void)state;
    um_error err;
    um_model_config c = {.arch = UM_ARCH_LLAMA,
                         .vocab = 49152,
                         .hidden = 576,
                         .layers = 30,
                         .heads = 9,
                         .kv_heads = 3,
                         .head_dim = 64,
                         .ffn = 1536,
                         .max_positions = 2048,
                         .rms_eps = 1e-5f,
                         .rope_theta = 1e4,
                         .tied = true,
                         .bos = -1,
                         .eos = -1};
    um_plan plan = {.max_rows = 1024, .max_trained = 256, .max_placed = 1, .longest_rows = 1024};
    um_train_shape shape = {.config = &c, .plan = &plan, .n_values = 134515008};
    um_train_memory wide, narrow;
    assert_ok(um_train_fit_memory(&wide, &shape, UINT64_MAX, &err), err);
    shape.bf16 = true;
    assert_ok(um_train_fit_memory(&narrow, &shape, UINT64_MAX, &err), err);
    printf("135M, 1,024 rows: activations %.1f MB in float32, %.1f MB in bfloat16\n",
           (double)wide.activations / 1e6, (double)narrow.activations / 1e6);
    assert_true(narrow.activations < wide.activations * 6 / 10);
    assert_true(narrow.state == wide.state);
    shape.bf16 = false;
    assert_int_equal(um_train_fit_memory(&wide, &shape, (uint64_t)100 << 20, &err), UM_ERR_LIMIT);
}

/* Training */

typedef struct trace {
    double loss[MAX_STEPS];
    int n;
} trace;

static um_status record(void *context, const um_train_metrics *metrics, um_error *err)
{
    (void)err;
    trace *t = context;
    assert_true(t->n < MAX_STEPS);
    t->loss[t->n++] = metrics->loss;
    return UM_OK;
}

/* 200 updates of all rows; the trained model. */
static um_model *train(const golden *gold, double lr, bool bf16, bool dpo, trace *t)
{
    um_error err;
    um_train_options o;
    um_train_row rows[16];
    size_t n = 0;
    for (int i = 0; i < gold->n_rows; i++) {
        if (!dpo || gold->rows[i].n_completions == 2)
            rows[n++] = gold->rows[i];
    }
    um_model *model = golden_model(gold);
    um_compute *compute;
    um_train_defaults_sft(&o);
    o.lr = lr;
    o.weight_decay = 0.0;
    o.epochs = 200;
    o.warmup_steps = 0;
    o.batch_rows = 100;
    o.bf16 = bf16;
    t->n = 0;
    assert_ok(um_compute_open(&compute, NULL, 1, &err), err);
    assert_ok((dpo ? um_train_dpo : um_train_sft)(model, compute, rows, n, &o, record, t, NULL,
                                                  NULL, &err),
              err);
    um_compute_close(compute);
    return model;
}

/* Every loss within 2 % of the first one of float32's curve, and 0.5 % on average, while the loss
 * falls to a fraction of it. */
static void follows_float32(void **state)
{
    (void)state;
    for (int dpo = 0; dpo < 2; dpo++) {
        golden *gold = golden_open("train_llama.bin");
        trace wide, narrow;
        um_model_free(train(gold, dpo ? 3e-4 : 2e-3, false, dpo, &wide));
        um_model_free(train(gold, dpo ? 3e-4 : 2e-3, true, dpo, &narrow));
        double worst = 0, mean = 0;
        assert_int_equal(wide.n, 200);
        for (int s = 0; s < wide.n; s++) {
            double off = fabs(narrow.loss[s] - wide.loss[s]) / wide.loss[0];
            worst = fmax(worst, off);
            mean += off / wide.n;
        }
        printf("%s: loss %.4f to %.4f, bfloat16 to %.4f; off by %.4f at most, %.4f on average\n",
               dpo ? "DPO" : "SFT", wide.loss[0], wide.loss[199], narrow.loss[199], worst, mean);
        assert_true(wide.loss[199] < 0.75 * wide.loss[0]);
        assert_true(worst < 0.02 && mean < 0.005);
        golden_close(gold);
    }
}

/*
 * At a rate of 1e-5 an update is far below half a unit of a bfloat16 weight, so weights of 16 bits
 * would stand still. With float32 masters the loss falls by what it falls in float32.
 */
static void small_steps_are_not_lost(void **state)
{
    (void)state;
    golden *gold = golden_open("train_llama.bin");
    trace wide, narrow;
    um_model *start = golden_model(gold), *a = train(gold, 1e-5, false, false, &wide);
    um_model *b = train(gold, 1e-5, true, false, &narrow);
    size_t moved = 0, crossed = 0, n = start->params.n;
    double length = 0, apart = 0;
    for (size_t i = 0; i < n; i++) {
        double step = (double)(a->data[i] - start->data[i]);
        uint32_t before, after;
        memcpy(&before, &start->data[i], sizeof before);
        memcpy(&after, &b->data[i], sizeof after);
        moved += before != after;
        crossed += ((before + 0x8000) >> 16) != ((after + 0x8000) >> 16);
        length += step * step;
        apart += pow((double)(b->data[i] - a->data[i]), 2);
    }
    double fell = wide.loss[0] - wide.loss[199], narrow_fell = narrow.loss[0] - narrow.loss[199];
    printf("loss fell by %.5f in float32, %.5f in bfloat16; %zu of %zu weights moved, %zu of them "
           "to another bfloat16; paths apart by %.3f of their length\n",
           fell, narrow_fell, moved, n, crossed, sqrt(apart / length));
    assert_true(moved > n * 9 / 10 && crossed > 0);
    assert_true(fell > 0 && fabs(narrow_fell - fell) < 0.25 * fell);
    assert_true(sqrt(apart / length) < 0.25);
    um_model_free(start);
    um_model_free(a);
    um_model_free(b);
    golden_close(gold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_bf16),
        cmocka_unit_test(invariances),
        cmocka_unit_test(recomputed_equals_kept),
        cmocka_unit_test(halves_memory),
        cmocka_unit_test(follows_float32),
        cmocka_unit_test(small_steps_are_not_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
