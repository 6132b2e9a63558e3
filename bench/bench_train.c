/*
 * bench_train.c - where an update of the trainer spends its time, and what of the machine's
 * products it reaches.
 *
 *     bench_train sft|dpo [key=value ...]
 *
 * Keys: shape (llama-135m), precision (bf16 or fp32), prompt (768), completion (256), rows (4 an
 * update), steps (3, after one to warm up), pack (4096 rows a pass), memory (GiB, 0: the
 * machine's), threads (0: all), backend (auto), lora (rank, 0: none).
 *
 * Runs um_train_sft or um_train_dpo, the very functions of the pipeline, on random weights and
 * tokens, over a backend whose operations are timed. "Ceiling" is the best product of 2,048 cubed.
 * For dpo the reference's pass, made once before the first update, is what forward and loss took
 * until that update's end less those of a later one; half of it is an update's part when pairs are
 * trained on for 2 epochs, as published. tokens are those of both sequences of a pair, prompts
 * counted twice, as a trainer without a shared prompt would process them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/mem.h"
#include "base/rng.h"
#include "mirrorer/bench.h"
#include "mirrorer/train.h"
#include "model/params.h"

enum { MAX_OPS = 48, N_PHASES = 5 };
typedef enum phase { FORWARD, LOSS, BACKWARD, OPTIMIZER, OTHER } phase;
static const char *const phase_names[N_PHASES] = {"forward", "loss", "backward", "optimizer",
                                                  "other"};

typedef struct operation {
    const char *name;
    double seconds[N_PHASES], flop[N_PHASES];
} operation;

static operation operations[MAX_OPS];
static const um_backend_ops *timed; /* the real table */
static phase now = OTHER;
static double phase_seconds[N_PHASES], phase_begun;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void enter(phase next)
{
    const double at = seconds();
    phase_seconds[now] += at - phase_begun;
    phase_begun = at;
    now = next;
}

static void count(const char *name, double begun, double flop)
{
    int i = 0;
    while (i < MAX_OPS - 1 && operations[i].name != NULL && strcmp(operations[i].name, name) != 0)
        i++;
    operations[i].name = name;
    operations[i].seconds[now] += seconds() - begun;
    operations[i].flop[now] += flop;
}

/* A timed operation: parameters with and without types. */
#define TIMED(name, flop, parameters, arguments)                                                   \
    static void timed_##name parameters                                                            \
    {                                                                                              \
        const double begun = seconds();                                                            \
        timed->name arguments;                                                                     \
        count(#name, begun, flop);                                                                 \
    }

static void timed_gemm(um_backend *be, bool trans_a, bool trans_b, int m, int n, int k, float alpha,
                       const float *a, int lda, const float *b, int ldb, bool accumulate, float *c,
                       int ldc)
{
    const double begun = seconds();
    const char *name = trans_a ? "gemm a^T b" : trans_b ? "gemm a b^T" : "gemm a b";
    timed->gemm(be, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, accumulate, c, ldc);
    count(name, begun, 2.0 * m * n * k);
}

static void timed_product(um_backend *be, const um_product *p)
{
    const double begun = seconds();
    timed->product(be, p);
    count(p->a.trans   ? "product a^T b"
          : p->b.trans ? "product a b^T"
                       : "product a b",
          begun, 2.0 * p->m * p->n * p->k);
}

TIMED(zero, 0, (um_backend * be, void *dst, size_t bytes), (be, dst, bytes))
TIMED(bias_forward, 0, (um_backend * be, float *y, const float *b, int t, int n), (be, y, b, t, n))
TIMED(bias_backward, 0, (um_backend * be, float *db, const float *dy, int t, int n),
      (be, db, dy, t, n))
TIMED(rmsnorm_forward, 0,
      (um_backend * be, float *out, float *rstd, const float *x, const float *w, int t, int c,
       float eps),
      (be, out, rstd, x, w, t, c, eps))
TIMED(rmsnorm_backward, 0,
      (um_backend * be, float *dx, float *dw, const float *dout, const float *x, const float *w,
       const float *rstd, int t, int c),
      (be, dx, dw, dout, x, w, rstd, t, c))
TIMED(rope, 0,
      (um_backend * be, float *x, int ld, int t, int heads, int head_dim, const int32_t *positions,
       const float *inv_freq, bool inverse),
      (be, x, ld, t, heads, head_dim, positions, inv_freq, inverse))
TIMED(swiglu_forward, 0,
      (um_backend * be, um_dtype dtype, void *out, const void *gate, const void *up, int ld, int t,
       int f),
      (be, dtype, out, gate, up, ld, t, f))
TIMED(swiglu_backward, 0,
      (um_backend * be, um_dtype dtype, void *dgate, void *dup, int lddst, const void *dout,
       const void *gate, const void *up, int ld, int t, int f),
      (be, dtype, dgate, dup, lddst, dout, gate, up, ld, t, f))
TIMED(add, 0, (um_backend * be, float *dst, const float *src, size_t n), (be, dst, src, n))
TIMED(gather_rows, 0,
      (um_backend * be, float *out, const float *in, int ld, const int32_t *rows, int n, int c),
      (be, out, in, ld, rows, n, c))
TIMED(scatter_add_rows, 0,
      (um_backend * be, float *dst, int ld, const float *src, const int32_t *rows, int n, int c),
      (be, dst, ld, src, rows, n, c))
TIMED(round_bf16, 0, (um_backend * be, float *dst, const float *src, size_t n), (be, dst, src, n))
TIMED(to_bf16, 0, (um_backend * be, uint16_t *dst, const float *src, size_t n), (be, dst, src, n))
TIMED(from_bf16, 0, (um_backend * be, float *dst, const uint16_t *src, size_t n), (be, dst, src, n))
TIMED(weigh_bf16, 0, (um_backend * be, float *x, const float *w, int t, int c), (be, x, w, t, c))
TIMED(adamw, 0,
      (um_backend * be, float *w, const float *g, float *m, float *v, size_t n, const um_adamw *h),
      (be, w, g, m, v, n, h))

static void timed_embed_forward(um_backend *be, float *out, const float *table, const int32_t *ids,
                                int t, int c)
{
    enter(FORWARD);
    const double begun = seconds();
    timed->embed_forward(be, out, table, ids, t, c);
    count("embed_forward", begun, 0);
}

static void timed_embed_backward(um_backend *be, float *table, const float *dout,
                                 const int32_t *ids, int t, int c)
{
    const double begun = seconds();
    timed->embed_backward(be, table, dout, ids, t, c);
    count("embed_backward", begun, 0);
    enter(OTHER);
}

static void timed_logprob_forward(um_backend *be, float *logp, const float *logits,
                                  const int32_t *targets, int t, int v)
{
    const phase before = now;
    enter(LOSS);
    const double begun = seconds();
    timed->logprob_forward(be, logp, logits, targets, t, v);
    count("logprob_forward", begun, 0);
    enter(before);
}

static void timed_logprob_backward(um_backend *be, float *logits, const int32_t *targets,
                                   const float *coef, int t, int v)
{
    enter(LOSS);
    const double begun = seconds();
    timed->logprob_backward(be, logits, targets, coef, t, v);
    count("logprob_backward", begun, 0);
    enter(BACKWARD);
}

static double timed_sum_squares(um_backend *be, const float *x, size_t n)
{
    enter(OPTIMIZER);
    const double begun = seconds();
    const double sum = timed->sum_squares(be, x, n);
    count("sum_squares", begun, 0);
    return sum;
}

/* Pairs of a query row and a key it attends, times heads times the head's width. */
static double attended(const um_attention_shape *shape, const um_span *spans, int n_spans,
                       const um_range *prefixes)
{
    double pairs = 0.0;
    for (int s = 0; s < n_spans; s++) {
        double keys = spans[s].own_before + 0.5 * (spans[s].len + 1);
        for (int p = 0; p < spans[s].prefix_count; p++)
            keys += prefixes[spans[s].prefix_first + p].len;
        pairs += keys * spans[s].len;
    }
    return pairs * shape->n_heads * shape->head_dim;
}

TIMED(attention_forward, 4.0 * attended(shape, spans, n_spans, prefixes),
      (um_backend * be, float *out, int ldo, float *lse, const float *q, int ldq, const float *k,
       const float *v, int ldkv, const um_attention_shape *shape, const um_span *spans, int n_spans,
       const um_range *prefixes),
      (be, out, ldo, lse, q, ldq, k, v, ldkv, shape, spans, n_spans, prefixes))
TIMED(attention_backward, 10.0 * attended(shape, spans, n_spans, prefixes),
      (um_backend * be, float *dq, int lddq, float *dk, float *dv, int lddkv, const float *dout,
       int lddo, const float *out, int ldo, const float *lse, const float *q, int ldq,
       const float *k, const float *v, int ldkv, const um_attention_shape *shape,
       const um_span *spans, int n_spans, const um_range *prefixes),
      (be, dq, lddq, dk, dv, lddkv, dout, lddo, out, ldo, lse, q, ldq, k, v, ldkv, shape, spans,
       n_spans, prefixes))

static um_backend_ops table;

static void time_operations(um_backend *be)
{
    timed = be->ops;
    table = *timed;
    table.gemm = timed_gemm;
    table.product = timed_product;
    table.zero = timed_zero;
    table.bias_forward = timed_bias_forward;
    table.bias_backward = timed_bias_backward;
    table.embed_forward = timed_embed_forward;
    table.embed_backward = timed_embed_backward;
    table.rmsnorm_forward = timed_rmsnorm_forward;
    table.rmsnorm_backward = timed_rmsnorm_backward;
    table.rope = timed_rope;
    table.swiglu_forward = timed_swiglu_forward;
    table.swiglu_backward = timed_swiglu_backward;
    table.add = timed_add;
    table.gather_rows = timed_gather_rows;
    table.scatter_add_rows = timed_scatter_add_rows;
    table.round_bf16 = timed_round_bf16;
    table.to_bf16 = timed_to_bf16;
    table.from_bf16 = timed_from_bf16;
    table.weigh_bf16 = timed_weigh_bf16;
    table.attention_forward = timed_attention_forward;
    table.attention_backward = timed_attention_backward;
    table.logprob_forward = timed_logprob_forward;
    table.logprob_backward = timed_logprob_backward;
    table.sum_squares = timed_sum_squares;
    table.adamw = timed_adamw;
    be->ops = &table;
}

/* GFLOP/s of the best of some products of 2,048 cubed. */
static double ceiling(um_backend *be)
{
    enum { N = 2048, TRIES = 6 };
    um_buf a = {0}, c = {0};
    double best = INFINITY;
    if (be->ops->alloc(be, &a, sizeof(float) * N * N, NULL) == UM_OK &&
        be->ops->alloc(be, &c, sizeof(float) * N * N, NULL) == UM_OK) {
        for (int i = 0; i < TRIES; i++) {
            const double begun = seconds();
            be->ops->gemm(be, false, true, N, N, N, 1.0f, a.data, N, a.data, N, false, c.data, N);
            best = fmin(best, seconds() - begun);
        }
    }
    be->ops->release(be, &a);
    be->ops->release(be, &c);
    return 2.0 * N * N * N / best / 1e9;
}

typedef struct options {
    bool dpo, bf16;
    char shape[32], backend[32];
    int prompt, completion, rows, steps, pack, threads, lora;
    double memory;
} options;

static bool set_option(options *o, const char *text)
{
    const char *value = strchr(text, '=');
    if (value == NULL)
        return false;
    const size_t n = (size_t)(value - text);
    value++;
    const struct {
        const char *key;
        int *number;
    } numbers[] = {{"prompt", &o->prompt}, {"completion", &o->completion},
                   {"rows", &o->rows},     {"steps", &o->steps},
                   {"pack", &o->pack},     {"threads", &o->threads},
                   {"lora", &o->lora}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strlen(numbers[i].key) == n && memcmp(numbers[i].key, text, n) == 0) {
            *numbers[i].number = atoi(value);
            return true;
        }
    }
    if (n == 5 && memcmp(text, "shape", n) == 0)
        snprintf(o->shape, sizeof o->shape, "%s", value);
    else if (n == 7 && memcmp(text, "backend", n) == 0)
        snprintf(o->backend, sizeof o->backend, "%s", value);
    else if (n == 6 && memcmp(text, "memory", n) == 0)
        o->memory = atof(value);
    else if (n == 9 && memcmp(text, "precision", n) == 0)
        o->bf16 = strcmp(value, "bf16") == 0;
    else
        return false;
    return true;
}

typedef struct progress {
    double best, sum;
    double scoring; /* forward and loss until the end of the first update */
    int updates;
} progress;

static um_status after_update(void *context, const um_train_metrics *metrics, um_error *err)
{
    progress *p = context;
    (void)err;
    enter(OTHER);
    if (p->updates++ == 0) {
        p->scoring = phase_seconds[FORWARD] + phase_seconds[LOSS];
        memset(operations, 0, sizeof operations);
        memset(phase_seconds, 0, sizeof phase_seconds);
    } else {
        p->best = fmin(p->best, metrics->seconds);
        p->sum += metrics->seconds;
    }
    printf("  step %d: %.3f s, loss %.4f\n", p->updates, metrics->seconds, metrics->loss);
    return UM_OK;
}

static int by_time(const void *a, const void *b)
{
    double sum[2] = {0, 0};
    for (int p = 0; p < N_PHASES; p++) {
        sum[0] += ((const operation *)a)->seconds[p];
        sum[1] += ((const operation *)b)->seconds[p];
    }
    return (sum[0] < sum[1]) - (sum[0] > sum[1]);
}

static void print_line(const char *name, double took, double total, double flop, double peak)
{
    printf("  %-28s %8.3f s %5.1f%%", name, took, 100.0 * took / total);
    if (flop > 0.0)
        printf(" %8.1f GFLOP/s %4.0f%%", flop / took / 1e9, 100.0 * flop / took / 1e9 / peak);
    printf("\n");
}

/* All figures are of one update, the mean of the measured ones. */
static void print_times(const progress *p, double peak)
{
    const double n = p->updates - 1, total = p->sum / n;
    double flops = 0.0;
    qsort(operations, MAX_OPS, sizeof *operations, by_time);
    for (int at = 0; at < N_PHASES; at++) {
        double flop = 0.0;
        for (int i = 0; i < MAX_OPS; i++)
            flop += operations[i].flop[at] / n;
        print_line(phase_names[at], phase_seconds[at] / n, total, flop, peak);
        flops += flop;
    }
    print_line("all", total, total, flops, peak);
    for (int at = 0; at < N_PHASES; at++) {
        for (int i = 0; i < MAX_OPS; i++) {
            const operation *o = &operations[i];
            char name[64];
            if (o->name == NULL || o->seconds[at] / n < 1e-3 * total)
                continue;
            snprintf(name, sizeof name, "%s: %s", phase_names[at], o->name);
            print_line(name, o->seconds[at] / n, total, o->flop[at] / n, peak);
        }
    }
}

static um_train_row *make_rows(const options *o, int vocab, int32_t *tokens)
{
    const int length = o->prompt + 2 * o->completion;
    um_train_row *rows = um_calloc((size_t)o->rows, sizeof *rows);
    um_rng rng;
    um_rng_init(&rng, 1, UM_RNG_INIT, 0, 0, 0);
    for (int i = 0; i < o->rows * length; i++)
        tokens[i] = (int32_t)(um_rng_uniform(&rng) * vocab);
    for (int i = 0; i < o->rows && rows != NULL; i++) {
        const int32_t *at = tokens + (size_t)i * (size_t)length;
        rows[i] = (um_train_row){
            .id = (uint64_t)i,
            .prompt = at,
            .prompt_len = o->prompt,
            .n_completions = o->dpo ? 2 : 1,
            .completions = {at + o->prompt, o->dpo ? at + o->prompt + o->completion : NULL},
            .completion_len = {o->completion, o->dpo ? o->completion : 0}};
    }
    return rows;
}

static um_status train(const options *o, um_model *model, um_compute *compute,
                       const um_train_row *rows, progress *p, um_error *err)
{
    um_train_options t;
    um_train_result result;
    um_lora *lora = NULL;
    um_status status = UM_OK;
    if (o->dpo)
        um_train_defaults_dpo(&t);
    else
        um_train_defaults_sft(&t);
    t.epochs = o->steps + 1;
    t.batch_rows = o->rows;
    t.max_tokens = o->prompt + 2 * o->completion;
    t.pack_tokens = o->pack;
    t.bf16 = o->bf16;
    t.memory_bytes = (uint64_t)(o->memory * 1073741824.0);
    t.max_grad_norm = 1.0;
    if (o->lora > 0) {
        const um_lora_options l = {
            .rank = o->lora, .alpha = 2.0 * o->lora, .targets = UM_LORA_ALL, .seed = 1};
        status = um_lora_new(&lora, &model->config, &l, err);
        t.adapter = lora;
    }
    if (status == UM_OK)
        status = (o->dpo ? um_train_dpo : um_train_sft)(model, compute, rows, (size_t)o->rows, &t,
                                                        after_update, p, &result, NULL, err);
    um_lora_free(lora);
    return status;
}

static int run(const options *o)
{
    um_model_config config;
    um_model *model = NULL;
    um_compute *compute = NULL;
    um_error err;
    progress p = {.best = INFINITY};
    if (!um_bench_shape(&config, o->shape)) {
        fprintf(stderr, "bench_train: no shape '%s'\n", o->shape);
        return 2;
    }
    int32_t *tokens =
        um_calloc((size_t)o->rows * (size_t)(o->prompt + 2 * o->completion), sizeof *tokens);
    um_train_row *rows = tokens != NULL ? make_rows(o, config.vocab, tokens) : NULL;
    um_status status = rows != NULL ? UM_OK : UM_ERR_LIMIT;
    if (status == UM_OK)
        status = um_compute_open(&compute, o->backend, o->threads, &err);
    if (status == UM_OK) {
        const double peak = ceiling(compute->backend);
        printf("%s %s %s, %s, %d threads: ceiling %.1f GFLOP/s\n", o->dpo ? "dpo" : "sft", o->shape,
               o->bf16 ? "bf16" : "fp32", um_compute_name(compute), um_compute_threads(compute),
               peak);
        status = um_model_init(&model, &config, 0.02f, 0.02f, 1, &err);
        time_operations(compute->backend);
        phase_begun = seconds();
        if (status == UM_OK)
            status = train(o, model, compute, rows, &p, &err);
        compute->backend->ops = timed;
        if (status == UM_OK && p.updates > 1) {
            const double n = (double)o->rows * (o->dpo ? 2 : 1) * (o->prompt + o->completion);
            struct rusage use;
            const double reference =
                o->dpo
                    ? p.scoring - (phase_seconds[FORWARD] + phase_seconds[LOSS]) / (p.updates - 1)
                    : 0.0;
            const double step = p.best + reference / 2;
            print_times(&p, peak);
            getrusage(RUSAGE_SELF, &use);
            if (o->dpo)
                printf("%.3f s an update at best, and half of a reference of %.3f s\n", p.best,
                       reference);
            printf("%.3f s a step at best, %.0f tokens/s; peak %.0f MiB\n", step, n / step,
                   (double)use.ru_maxrss / 1024);
        }
    }
    if (status != UM_OK)
        fprintf(stderr, "bench_train: %s\n", err.text);
    um_model_free(model);
    um_compute_close(compute);
    free(rows);
    free(tokens);
    return status != UM_OK;
}

int main(int argc, char **argv)
{
    options o = {.bf16 = true,
                 .shape = "llama-135m",
                 .backend = "auto",
                 .prompt = 768,
                 .completion = 256,
                 .rows = 4,
                 .steps = 3,
                 .pack = 4096};
    bool good = argc > 1 && (strcmp(argv[1], "sft") == 0 || strcmp(argv[1], "dpo") == 0);
    o.dpo = good && strcmp(argv[1], "dpo") == 0;
    for (int i = 2; i < argc && good; i++)
        good = set_option(&o, argv[i]);
    if (!good || o.rows < 1 || o.steps < 1) {
        fprintf(stderr, "usage: bench_train sft|dpo [key=value ...]; the keys stand in "
                        "bench/bench_train.c\n");
        return 2;
    }
    return run(&o);
}
