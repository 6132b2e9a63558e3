/*
 * test_graph.c - the training graph against transformers (tests/golden/gen_train.py), against
 * finite differences, and against itself: packed, split, threaded.
 */
#include "golden_file.h"
#include "model/graph.h"
#include "train/pack.h"

#define MAX_TRAINED 512

typedef struct fixture {
    golden *gold;
    um_model *model;
    um_compute *compute;
    um_graph *graph;
    um_pack pack;
    float *gradient;
    float logp[MAX_TRAINED], coef[MAX_TRAINED];
} fixture;

static void open_fixture(fixture *x, const char *name, const char *backend, int threads)
{
    um_error err;
    memset(x, 0, sizeof *x);
    x->gold = golden_open(name);
    x->model = golden_model(x->gold);
    assert_ok(um_compute_open(&x->compute, backend, threads, &err), err);
    assert_ok(um_graph_new(&x->graph, &x->model->config, x->compute,
                           &(um_graph_sizes){.max_rows = 400, .max_trained = MAX_TRAINED}, &err),
              err);
    assert_ok(um_pack_init(&x->pack, 400, MAX_TRAINED, 32, &err), err);
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

/* Forward and backward of what is in the pack with coef = 1 / n. Returns the sum of log p. */
static double run_pack(fixture *x, double n)
{
    um_error err;
    double sum = 0;
    assert_ok(um_graph_forward(x->graph, x->model->data, &x->pack.batch, x->logp, &err), err);
    for (int i = 0; i < x->pack.batch.n_trained; i++) {
        x->coef[i] = (float)(1.0 / n);
        sum += (double)x->logp[i];
    }
    assert_ok(
        um_graph_backward(x->graph, x->model->data, &x->pack.batch, x->coef, x->gradient, &err),
        err);
    return sum;
}

static void check_golden(const char *name, const char *backend)
{
    fixture x;
    um_error err;
    open_fixture(&x, name, backend, 1);
    const golden_record *logp = golden_find(x.gold, "logp");
    for (int i = 0; i < x.gold->n_rows; i++)
        assert_ok(um_pack_add(&x.pack, &x.gold->rows[i], (size_t)i, &err), err);
    assert_int_equal(x.pack.batch.n_trained, logp->n);
    double loss = -run_pack(&x, logp->n) / logp->n;
    double expected = (double)golden_find(x.gold, "loss")->f[0];
    for (uint32_t i = 0; i < logp->n; i++)
        assert_close(x.logp[i], logp->f[i], 2e-5 * (1.0 + fabs((double)logp->f[i])));
    assert_close(loss, expected, 1e-5 * expected);
    assert_close(golden_distance(x.gold, x.model, x.gradient, "g.", true), 0.0, 1e-4);
    close_fixture(&x);
}

static void golden_llama(void **state)
{
    (void)state;
    for (const char *const *name = um_backend_names(); *name != NULL; name++)
        check_golden("train_llama.bin", *name);
}

static void golden_qwen2(void **state)
{
    (void)state;
    for (const char *const *name = um_backend_names(); *name != NULL; name++)
        check_golden("train_qwen2.bin", *name);
}

/* The central difference of the loss along a direction against gradient . direction. */
static void finite_differences(void **state)
{
    (void)state;
    fixture x;
    um_error err;
    open_fixture(&x, "train_llama.bin", "cpu-ref", 1);
    size_t n = x.model->params.n;
    float *start = malloc(n * sizeof *start);
    assert_non_null(start);
    memcpy(start, x.model->data, n * sizeof *start);
    for (int i = 0; i < 4; i++)
        assert_ok(um_pack_add(&x.pack, &x.gold->rows[i], (size_t)i, &err), err);
    double count = x.pack.batch.n_trained;
    run_pack(&x, count);
    um_tensor_ref *tensors;
    size_t n_tensors;
    assert_ok(um_params_tensors(&tensors, &n_tensors, &x.model->params, &x.model->config, &err),
              err);
    for (size_t t = 0; t < n_tensors; t++) {
        size_t at = tensors[t].offset;
        size_t size = (size_t)tensors[t].rows * (tensors[t].cols > 0 ? (size_t)tensors[t].cols : 1);
        double length = 0, loss[2];
        for (size_t i = at; i < at + size; i++)
            length += (double)x.gradient[i] * (double)x.gradient[i];
        length = sqrt(length);
        double h = 1e-2 / (1.0 + length); /* along the gradient: the derivative is its length */
        for (int side = 0; side < 2; side++) {
            for (size_t i = at; i < at + size; i++)
                x.model->data[i] =
                    start[i] + (float)((side ? -h : h) * (double)x.gradient[i] / length);
            double sum = 0;
            assert_ok(um_graph_forward(x.graph, x.model->data, &x.pack.batch, x.logp, &err), err);
            for (int i = 0; i < x.pack.batch.n_trained; i++)
                sum += (double)x.logp[i];
            loss[side] = -sum / count;
        }
        memcpy(x.model->data, start, n * sizeof *start);
        assert_close((loss[0] - loss[1]) / (2 * h), length, 1e-2 * length + 1e-4);
    }
    free(tensors);
    free(start);
    close_fixture(&x);
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

/* One pass of all rows, and one pass each: same scores bit for bit, gradients to rounding. */
static void packed_equals_unpacked(void **state)
{
    (void)state;
    for (const char *const *name = um_backend_names(); *name != NULL; name++) {
        fixture x;
        um_error err;
        open_fixture(&x, "train_qwen2.bin", *name, 1);
        size_t n = x.model->params.n;
        for (int i = 0; i < x.gold->n_rows; i++)
            assert_ok(um_pack_add(&x.pack, &x.gold->rows[i], (size_t)i, &err), err);
        double count = x.pack.batch.n_trained;
        run_pack(&x, count);
        float *whole = x.gradient;
        float logp[MAX_TRAINED];
        memcpy(logp, x.logp, sizeof logp);
        x.gradient = um_aligned_calloc(n, sizeof(float));
        int at = 0;
        for (int i = 0; i < x.gold->n_rows; i++) {
            um_pack_clear(&x.pack);
            assert_ok(um_pack_add(&x.pack, &x.gold->rows[i], (size_t)i, &err), err);
            run_pack(&x, count);
            assert_memory_equal(logp + at, x.logp, (size_t)x.pack.batch.n_trained * sizeof(float));
            at += x.pack.batch.n_trained;
        }
        assert_close(distance(x.gradient, whole, n), 0.0, 1e-6);
        free(whole);
        close_fixture(&x);
    }
}

/* A prompt with two completions against two whole sequences. */
static void shared_prompt_equals_two_sequences(void **state)
{
    (void)state;
    fixture x;
    um_error err;
    open_fixture(&x, "train_llama.bin", NULL, 1);
    size_t n = x.model->params.n;
    um_train_row pair = x.gold->rows[0];
    assert_int_equal(pair.n_completions, 2);
    assert_ok(um_pack_add(&x.pack, &pair, 0, &err), err);
    int total = x.pack.batch.n_trained, rows = x.pack.batch.n_rows;
    run_pack(&x, total);
    float logp[MAX_TRAINED];
    memcpy(logp, x.logp, sizeof logp);
    float *shared = x.gradient;
    x.gradient = um_aligned_calloc(n, sizeof(float));
    um_pack_clear(&x.pack);
    for (int c = 0; c < 2; c++) {
        um_train_row single = pair;
        single.n_completions = 1;
        single.completions[0] = pair.completions[c];
        single.completion_len[0] = pair.completion_len[c];
        assert_ok(um_pack_add(&x.pack, &single, (size_t)c, &err), err);
    }
    assert_int_equal(x.pack.batch.n_rows, rows + pair.prompt_len);
    run_pack(&x, total);
    for (int i = 0; i < total; i++)
        assert_close(logp[i], x.logp[i], 1e-5);
    assert_close(distance(shared, x.gradient, n), 0.0, 1e-5);
    free(shared);
    close_fixture(&x);
}

/* A completion as its prompt's span against prompt and completion in one span. */
static void one_span_equals_prefix(void **state)
{
    (void)state;
    fixture x;
    um_error err;
    open_fixture(&x, "train_llama.bin", NULL, 1);
    const um_train_row *row = &x.gold->rows[2];
    int p = row->prompt_len, m = row->completion_len[0];
    int32_t tokens[64];
    memcpy(tokens, row->prompt, (size_t)p * sizeof *tokens);
    memcpy(tokens + p, row->completions[0], (size_t)m * sizeof *tokens);
    um_train_row whole = {
        .prompt = tokens, .prompt_len = p + m, .train_prompt = true, .n_completions = 0};
    assert_ok(um_pack_add(&x.pack, row, 0, &err), err);
    run_pack(&x, 1);
    float logp[MAX_TRAINED];
    memcpy(logp, x.logp, sizeof logp);
    um_pack_clear(&x.pack);
    assert_ok(um_pack_add(&x.pack, &whole, 0, &err), err);
    run_pack(&x, 1);
    for (int i = 0; i < m; i++)
        assert_close(logp[i], x.logp[p - 1 + i], 1e-5);
    close_fixture(&x);
}

static void masks(void **state)
{
    (void)state;
    fixture x;
    um_error err;
    open_fixture(&x, "train_llama.bin", NULL, 1);
    size_t n = x.model->params.n;
    um_train_row row = x.gold->rows[2];

    row.n_completions = 0; /* nothing trained: nothing computed, nothing added */
    assert_ok(um_pack_add(&x.pack, &row, 0, &err), err);
    assert_int_equal(x.pack.batch.n_trained, 0);
    run_pack(&x, 1);
    for (size_t i = 0; i < n; i++)
        assert_true(x.gradient[i] == 0.0f);

    row = x.gold->rows[2]; /* one trained token */
    row.completion_len[0] = 1;
    um_pack_clear(&x.pack);
    assert_ok(um_pack_add(&x.pack, &row, 0, &err), err);
    assert_int_equal(x.pack.batch.n_trained, 1);
    assert_int_equal(x.pack.batch.n_rows, row.prompt_len);
    double single = run_pack(&x, 1);
    assert_true(isfinite(single) && single < 0);
    float *gradient = x.gradient;
    x.gradient = um_aligned_calloc(n, sizeof(float));
    um_pack_clear(&x.pack); /* the same token trained beside a token of coefficient 0 */
    row.completion_len[0] = 2;
    assert_ok(um_pack_add(&x.pack, &row, 0, &err), err);
    assert_ok(um_graph_forward(x.graph, x.model->data, &x.pack.batch, x.logp, &err), err);
    x.coef[0] = 1;
    x.coef[1] = 0;
    assert_ok(um_graph_backward(x.graph, x.model->data, &x.pack.batch, x.coef, x.gradient, &err),
              err);
    assert_true((double)x.logp[0] == single);
    assert_close(distance(x.gradient, gradient, n), 0.0, 1e-6);
    free(gradient);
    close_fixture(&x);
}

/* Layers computed again give the bits of layers kept, in fewer bytes; also where a batch trains
 * more entries than it has rows, and where the last layer shares the place. */
static void recomputed_equals_kept(void **state)
{
    (void)state;
    um_error err;
    um_model_config config = {.arch = UM_ARCH_QWEN2,
                              .vocab = 61,
                              .hidden = 24,
                              .layers = 5,
                              .heads = 3,
                              .kv_heads = 1,
                              .head_dim = 8,
                              .ffn = 40,
                              .max_positions = 64,
                              .rms_eps = 1e-5f,
                              .rope_theta = 1e4,
                              .qkv_bias = true,
                              .bos = -1,
                              .eos = -1};
    static const int32_t tokens[] = {5, 60, 7, 7, 0, 12, 33, 41, 8, 19};
    um_train_row rows[2] = {{.prompt = tokens,
                             .prompt_len = 6,
                             .train_prompt = true,
                             .n_completions = 2,
                             .completions = {tokens + 3, tokens + 1},
                             .completion_len = {7, 2}},
                            {.prompt = tokens + 9,
                             .prompt_len = 1,
                             .n_completions = 2,
                             .completions = {tokens, tokens + 2},
                             .completion_len = {1, 1}}}; /* 1 row, 2 trained */
    for (const char *const *name = um_backend_names(); *name != NULL; name++) {
        um_model *model;
        um_compute *compute;
        assert_ok(um_model_init(&model, &config, 0.3f, 0.5f, 9, &err), err);
        assert_ok(um_compute_open(&compute, *name, 2, &err), err);
        size_t n = model->params.n;
        for (int which = 0; which < 2; which++) {
            um_pack pack;
            float *kept = NULL, logp[2][32] = {{0}}, coef[32];
            size_t bytes = SIZE_MAX;
            assert_ok(um_pack_init(&pack, 32, 32, 2, &err), err);
            assert_ok(um_pack_add(&pack, &rows[which], 0, &err), err);
            for (int i = 0; i < 32; i++)
                coef[i] = 0.1f * (float)(i - 3);
            for (int again = 0; again < config.layers; again++) {
                const um_graph_sizes sizes = {.max_rows = pack.batch.n_rows,
                                              .max_trained = pack.batch.n_trained,
                                              .recompute = again};
                um_graph *graph;
                float *gradient = um_aligned_calloc(n, sizeof *gradient);
                assert_non_null(gradient);
                assert_ok(um_graph_new(&graph, &config, compute, &sizes, &err), err);
                float *out = logp[again > 0];
                assert_ok(um_graph_forward(graph, model->data, &pack.batch, out, &err), err);
                assert_ok(um_graph_backward(graph, model->data, &pack.batch, coef, gradient, &err),
                          err);
                um_graph_free(graph);
                assert_memory_equal(logp[0], out, sizeof logp[0]);
                /* Two layers in one place: the first saving comes with the second layer. */
                assert_true(um_graph_bytes(&config, &sizes) < bytes || again == 0);
                bytes = um_graph_bytes(&config, &sizes);
                if (kept == NULL) {
                    kept = gradient;
                } else {
                    assert_memory_equal(kept, gradient, n * sizeof *kept);
                    free(gradient);
                }
            }
            free(kept);
            um_pack_dispose(&pack);
        }
        const um_graph_sizes bad = {.max_rows = 8, .max_trained = 8, .recompute = config.layers};
        um_graph *graph;
        assert_int_equal(um_graph_new(&graph, &config, compute, &bad, &err), UM_ERR_INPUT);
        um_compute_close(compute);
        um_model_free(model);
    }
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    for (const char *const *name = um_backend_names(); *name != NULL; name++) {
        float *gradients[2];
        float logp[2][MAX_TRAINED] = {0};
        size_t n = 0;
        for (int run = 0; run < 2; run++) {
            fixture x;
            um_error err;
            open_fixture(&x, "train_llama.bin", *name, run + 1);
            n = x.model->params.n;
            for (int i = 0; i < x.gold->n_rows; i++)
                assert_ok(um_pack_add(&x.pack, &x.gold->rows[i], (size_t)i, &err), err);
            run_pack(&x, 100);
            memcpy(logp[run], x.logp, sizeof x.logp);
            gradients[run] = x.gradient;
            x.gradient = NULL;
            close_fixture(&x);
        }
        assert_memory_equal(logp[0], logp[1], sizeof logp[0]);
        assert_memory_equal(gradients[0], gradients[1], n * sizeof(float));
        free(gradients[0]);
        free(gradients[1]);
    }
}

/* A head in several chunks (vocabulary large against the buffer) gives what one chunk gives. */
static void head_in_chunks(void **state)
{
    (void)state;
    um_error err;
    um_model_config config = {.arch = UM_ARCH_LLAMA,
                              .vocab = 200003,
                              .hidden = 8,
                              .layers = 1,
                              .heads = 1,
                              .kv_heads = 1,
                              .head_dim = 8,
                              .ffn = 8,
                              .max_positions = 512,
                              .rms_eps = 1e-5f,
                              .rope_theta = 1e4,
                              .tied = true,
                              .bos = -1,
                              .eos = -1};
    um_model *model;
    um_compute *compute;
    int32_t tokens[301];
    for (int i = 0; i < 301; i++)
        tokens[i] = (i * 7919) % config.vocab;
    um_train_row row = {.prompt = tokens, .prompt_len = 301, .train_prompt = true};
    assert_ok(um_model_init(&model, &config, 0.5f, 0.5f, 3, &err), err);
    assert_ok(um_compute_open(&compute, NULL, 1, &err), err);
    size_t n = model->params.n;
    float *gradients[2];
    float logp[2][300], coef[300];
    for (int i = 0; i < 300; i++)
        coef[i] = 0.01f;
    for (int run = 0; run < 2; run++) {
        gradients[run] = um_aligned_calloc(n, sizeof(float));
        int step = run == 0 ? 300 : 100; /* three batches of the same rows, 100 trained each */
        um_graph *graph;
        um_pack pack;
        const um_graph_sizes sizes = {.max_rows = 301, .max_trained = step};
        /* Of 300 trained rows not half have room for their logits at once. */
        if (run == 0)
            assert_true(um_graph_bytes(&config, &sizes) <
                        (size_t)config.vocab * 200 * sizeof(float));
        assert_ok(um_graph_new(&graph, &config, compute, &sizes, &err), err);
        assert_ok(um_pack_init(&pack, 301, 300, 1, &err), err);
        assert_ok(um_pack_add(&pack, &row, 0, &err), err);
        for (int first = 0; first < 300; first += step) {
            um_batch part = pack.batch;
            part.n_trained = step;
            part.trained += first;
            part.targets += first;
            assert_ok(um_graph_forward(graph, model->data, &part, logp[run] + first, &err), err);
            assert_ok(um_graph_backward(graph, model->data, &part, coef, gradients[run], &err),
                      err);
        }
        um_pack_dispose(&pack);
        um_graph_free(graph);
    }
    assert_memory_equal(logp[0], logp[1], sizeof logp[0]);
    assert_close(distance(gradients[0], gradients[1], n), 0.0, 1e-6);
    free(gradients[0]);
    free(gradients[1]);
    um_compute_close(compute);
    um_model_free(model);
}

static void refuses_bad_batches(void **state)
{
    (void)state;
    fixture x;
    um_error err;
    open_fixture(&x, "train_llama.bin", "cpu-ref", 1);
    assert_ok(um_pack_add(&x.pack, &x.gold->rows[0], 0, &err), err);
    const float *w = x.model->data;
    um_batch good = x.pack.batch, bad = good;

    assert_int_equal(um_graph_backward(x.graph, w, &good, x.coef, x.gradient, &err), UM_ERR_STATE);
    x.pack.ids[3] = 37;
    assert_int_equal(um_graph_forward(x.graph, w, &good, x.logp, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "row 3"));
    x.pack.ids[3] = 1;
    x.pack.positions[2] = 128;
    assert_int_equal(um_graph_forward(x.graph, w, &good, x.logp, &err), UM_ERR_INPUT);
    x.pack.positions[2] = 2;
    x.pack.targets[1] = -1;
    assert_int_equal(um_graph_forward(x.graph, w, &good, x.logp, &err), UM_ERR_INPUT);
    x.pack.targets[1] = 0;
    bad.n_rows = 401;
    assert_int_equal(um_graph_forward(x.graph, w, &bad, x.logp, &err), UM_ERR_LIMIT);
    bad = good;
    bad.n_spans--;
    assert_int_equal(um_graph_forward(x.graph, w, &bad, x.logp, &err), UM_ERR_INPUT);
    x.pack.prefixes[0].len = 300;
    assert_int_equal(um_graph_forward(x.graph, w, &good, x.logp, &err), UM_ERR_INPUT);
    x.pack.prefixes[0].len = x.gold->rows[0].prompt_len;
    assert_ok(um_graph_forward(x.graph, w, &good, x.logp, &err), err);
    assert_ok(um_graph_backward(x.graph, w, &good, x.coef, x.gradient, &err), err);
    assert_int_equal(um_graph_backward(x.graph, w, &good, x.coef, x.gradient, &err), UM_ERR_STATE);
    close_fixture(&x);
}

static void sizes(void **state)
{
    (void)state;
    golden *gold = golden_open("train_llama.bin");
    um_model_config config = golden_config(gold);
    um_graph_sizes at = {.max_rows = 10, .max_trained = 10};
    size_t small = um_graph_bytes(&config, &at);
    at.max_rows = 20;
    size_t wide = um_graph_bytes(&config, &at);
    at.recompute = 1;
    size_t again = um_graph_bytes(&config, &at);
    at = (um_graph_sizes){.max_rows = 10, .max_trained = 20};
    assert_true(small > 0 && wide > small && again < wide);
    assert_true(um_graph_bytes(&config, &at) > small);
    config.hidden = config.ffn = INT32_MAX;
    at.max_rows = INT32_MAX;
    assert_true(um_graph_bytes(&config, &at) == SIZE_MAX);
    golden_close(gold);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_llama),
        cmocka_unit_test(golden_qwen2),
        cmocka_unit_test(finite_differences),
        cmocka_unit_test(packed_equals_unpacked),
        cmocka_unit_test(shared_prompt_equals_two_sequences),
        cmocka_unit_test(one_span_equals_prefix),
        cmocka_unit_test(masks),
        cmocka_unit_test(recomputed_equals_kept),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(head_in_chunks),
        cmocka_unit_test(refuses_bad_batches),
        cmocka_unit_test(sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
