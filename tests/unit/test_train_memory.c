/*
 * test_train_memory.c - the memory of a training run: computed before, chosen by recomputing
 * layers, and as the kernel sees it.
 */
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "golden_file.h"
#include "train/loop.h"
#include "train/memory.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* shadow memory is resident too */
#else
#define SANITIZED 0
#endif

enum { N_TOKENS = SANITIZED ? 200 : 1500, N_ROWS = 2 };
typedef enum training { FULL, BF16, LORA } training;

static const um_lora_options lora_options = {.rank = 8, .alpha = 8, .targets = UM_LORA_ALL};

static const um_model_config shape = {.arch = UM_ARCH_LLAMA,
                                      .vocab = 300,
                                      .hidden = 64,
                                      .layers = 8,
                                      .heads = 4,
                                      .kv_heads = 2,
                                      .head_dim = 16,
                                      .ffn = 256,
                                      .max_positions = 2048,
                                      .rms_eps = 1e-5f,
                                      .rope_theta = 1e4,
                                      .tied = true,
                                      .bos = -1,
                                      .eos = -1};

static void room(void **state)
{
    (void)state;
    /* What is left of a machine of 10,000 bytes that holds 1,000 weights, 4,000 bytes of them. */
    assert_true(um_train_room(10000, 10000, 0, 1000) == 6000);
    assert_true(um_train_room(10000, 5000, 0, 1000) == 5000);
    assert_true(um_train_room(10000, 10000, 0, 3000) == 0);
    assert_true(um_train_room(10000, 10000, 7000, 1000) == 3000);
    assert_true(um_train_room(10000, 2000, 7000, 1000) == 2000);
    assert_true(um_train_room(10000, 10000, 70000, 1000) == 6000);
}

/* A byte less than needed costs one layer's recomputing; a byte less than the least is refused. */
static void chosen_to_fit(void **state)
{
    (void)state;
    um_error err;
    um_train_memory m, before;
    um_plan plan = {.max_rows = 1000, .max_trained = 500, .max_placed = 3, .longest_rows = 900};
    um_graph_sizes sizes = {.max_rows = 1000, .max_trained = 500};
    um_train_shape run = {.config = &shape, .plan = &plan, .n_values = 100};
    assert_ok(um_train_fit_memory(&m, &run, UINT64_MAX, &err), err);
    assert_int_equal(m.recompute, 0);
    assert_true(m.state == 1200 && m.activations == um_graph_bytes(&shape, &sizes));
    assert_true(m.total == m.state + m.activations + m.rows);
    for (int again = 1; again < shape.layers; again++) {
        before = m;
        assert_ok(um_train_fit_memory(&m, &run, before.total, &err), err);
        assert_int_equal(m.recompute, again - 1);
        assert_ok(um_train_fit_memory(&m, &run, before.total - 1, &err), err);
        sizes.recompute = again;
        assert_int_equal(m.recompute, again);
        assert_true(m.activations == um_graph_bytes(&shape, &sizes) && m.total < before.total);
    }
    uint64_t least = m.total;
    um_train_bytes all, adapter;
    sizes = (um_graph_sizes){.max_rows = 700, .max_trained = 700};
    um_train_estimate(&all, &shape, 700, 0);
    assert_true(all.activations > um_graph_bytes(&shape, &sizes));
    sizes.recompute = shape.layers - 1;
    assert_true(all.activations - all.activations_least ==
                um_graph_bytes(&shape, &(um_graph_sizes){.max_rows = 700, .max_trained = 700}) -
                    um_graph_bytes(&shape, &sizes));
    um_train_estimate(&adapter, &shape, 700, 8);
    assert_true(adapter.state < all.state && adapter.state > 0);
    assert_int_equal(um_train_fit_memory(&m, &run, least - 1, &err), UM_ERR_LIMIT);
    assert_true(m.total == least);
    assert_non_null(strstr(err.text, "packs and rows of at most 500 tokens fit"));
    plan.longest_rows = 400;
    assert_int_equal(um_train_fit_memory(&m, &run, least - 1, &err), UM_ERR_LIMIT);
    assert_non_null(strstr(err.text, "; packs of at most 500 tokens fit"));
    assert_int_equal(um_train_fit_memory(&m, &run, 1000, &err), UM_ERR_LIMIT);
    assert_non_null(strstr(err.text, "smaller model"));
    um_plan huge = {.max_rows = INT32_MAX, .max_trained = INT32_MAX};
    um_model_config wide = shape;
    wide.ffn = wide.hidden = INT32_MAX / 16;
    run = (um_train_shape){.config = &wide, .plan = &huge, .n_values = 100};
    assert_int_equal(um_train_fit_memory(&m, &run, UINT64_MAX - 1, &err), UM_ERR_LIMIT);
}

/* Bytes resident at the peak of this process. */
static uint64_t peak_bytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)usage.ru_maxrss * 1024;
}

static uint64_t resident_bytes(void)
{
    unsigned long total = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu %lu", &total, &resident), 2);
    fclose(f);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int32_t tokens[N_TOKENS];

static um_train_row long_row(int n)
{
    return (um_train_row){.id = 1, .prompt = tokens, .prompt_len = n, .train_prompt = true};
}

static void keep_message(void *context, const char *text)
{
    strncat(context, text, 2000 - strlen(context));
}

/* Trains a fresh model on `n` tokens in at most `limit` bytes. */
static void train(um_compute *compute, int n, uint64_t limit, training kind, char *messages,
                  float *weights)
{
    um_error err;
    um_model *model;
    um_lora *adapter = NULL;
    um_train_options o;
    um_train_row rows[N_ROWS];
    for (int i = 0; i < N_ROWS; i++)
        rows[i] = long_row(n);
    um_monitor monitor = {.on_message = keep_message, .context = messages};
    um_train_defaults_sft(&o);
    o.pack_tokens = n * N_ROWS;
    o.batch_rows = N_ROWS;
    o.epochs = 2;
    o.warmup_steps = 0;
    o.memory_bytes = limit;
    o.bf16 = kind == BF16;
    if (kind == LORA)
        assert_ok(um_lora_new(&adapter, &shape, &lora_options, &err), err);
    o.adapter = adapter;
    assert_ok(um_model_init(&model, &shape, 0.05f, 0.05f, 4, &err), err);
    assert_ok(um_train_sft(model, compute, rows, N_ROWS, &o, NULL, NULL, NULL, &monitor, &err),
              err);
    if (weights != NULL)
        memcpy(weights, model->data, model->params.n * sizeof *weights);
    um_lora_free(adapter);
    um_model_free(model);
}

/* In a child: how much the peak grows over a run of n tokens a row in `limit` bytes. */
static uint64_t measured_growth(int n, uint64_t limit, training kind)
{
    int ends[2];
    uint64_t grown = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        um_error err;
        um_compute *compute;
        char messages[2100] = "";
        assert_ok(um_compute_open(&compute, NULL, 1, &err), err);
        train(compute, 200, 0, kind, messages, NULL);
        /* Code, stacks and what the backend has for itself are resident now. */
        uint64_t before = resident_bytes();
        train(compute, n, limit, kind, messages, NULL);
        grown = peak_bytes() - before;
        _exit(write(ends[1], &grown, sizeof grown) == sizeof grown ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(read(ends[0], &grown, sizeof grown), sizeof grown);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(ends[0]);
    close(ends[1]);
    return grown;
}

/* The kernel's figure against the computed one, with all layers kept and with as few as can be; and
 * the weights come out the same, bit for bit. */
static void computed_equals_measured(void **state)
{
    (void)state;
    um_error err;
    um_plan plan;
    um_train_options o;
    um_train_row rows[N_ROWS];
    um_params params;
    um_compute *compute;
    assert_ok(um_compute_open(&compute, NULL, 1, &err), err);
    assert_ok(um_params_layout(&params, &shape, &err), err);
    for (int i = 0; i < N_TOKENS; i++)
        tokens[i] = (i * 31) % shape.vocab;
    for (int i = 0; i < N_ROWS; i++)
        rows[i] = long_row(N_TOKENS);
    um_train_defaults_sft(&o);
    o.pack_tokens = N_ROWS * N_TOKENS;
    o.batch_rows = N_ROWS;
    o.epochs = 2;
    assert_ok(um_plan_init(&plan, rows, N_ROWS, &shape, &o, NULL, &err), err);
    size_t n = params.n;
    const um_train_shape run = {.config = &shape, .plan = &plan, .n_values = n};
    uint64_t weights_bytes = n * sizeof(float), limit = 0;
    float *weights[2] = {malloc(weights_bytes), malloc(weights_bytes)};
    assert_true(weights[0] != NULL && weights[1] != NULL);
    for (int turn = 0; turn < 2; turn++) {
        um_train_memory m;
        char messages[2100] = "";
        uint64_t free_bytes = um_train_room(UINT64_MAX, UINT64_MAX, limit, n);
        assert_ok(um_train_fit_memory(&m, &run, free_bytes, &err), err);
        assert_int_equal(m.recompute, turn == 0 ? 0 : 5);
        uint64_t grown = measured_growth(N_TOKENS, limit, FULL);
        double ratio = (double)grown / (double)(m.total + weights_bytes);
        printf("computed %.1f MB, measured %.1f MB\n", (double)(m.total + weights_bytes) / 1e6,
               (double)grown / 1e6);
        if (!SANITIZED)
            assert_true(ratio > 0.95 && ratio < 1.05);
        train(compute, N_TOKENS, limit, FULL, messages, weights[turn]);
        assert_true((strstr(messages, "5 of 8 layers computed again") != NULL) == (turn == 1));
        /* The limit of the second run: the bytes of 5 layers computed again. */
        const um_graph_sizes kept = {.max_rows = plan.max_rows, .max_trained = plan.max_trained},
                             again = {.max_rows = plan.max_rows,
                                      .max_trained = plan.max_trained,
                                      .recompute = 5};
        limit = m.total + weights_bytes - um_graph_bytes(&shape, &kept) +
                um_graph_bytes(&shape, &again);
    }
    assert_memory_equal(weights[0], weights[1], weights_bytes);

    for (training kind = BF16; kind <= LORA; kind++) {
        um_train_shape other = run;
        um_train_memory m, full;
        uint64_t values = weights_bytes;
        other.bf16 = kind == BF16;
        if (kind == LORA) {
            other.lora_rank = lora_options.rank;
            other.n_values = um_lora_count(&shape, lora_options.rank, lora_options.targets);
            values += other.n_values * sizeof(float);
        }
        assert_ok(um_train_fit_memory(&full, &run, UINT64_MAX, &err), err);
        assert_ok(um_train_fit_memory(&m, &other, UINT64_MAX, &err), err);
        uint64_t grown = measured_growth(N_TOKENS, 0, kind);
        printf("%s: computed %.1f MB, measured %.1f MB\n", kind == BF16 ? "bfloat16" : "LoRA",
               (double)(m.total + values) / 1e6, (double)grown / 1e6);
        if (kind == BF16)
            assert_true(m.activations < full.activations * 7 / 10);
        else
            assert_true(m.state < full.state / 4);
        if (!SANITIZED)
            assert_close((double)grown / (double)(m.total + values), 1.0, 0.05);
    }
    um_compute_close(compute);
    free(weights[0]);
    free(weights[1]);
    um_plan_dispose(&plan);
    um_params_dispose(&params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room),
        cmocka_unit_test(chosen_to_fit),
        cmocka_unit_test(computed_equals_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
