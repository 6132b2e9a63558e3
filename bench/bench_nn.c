/*
 * bench_nn.c - what the CPU backends reach of this machine's fp32 peak.
 *
 *     bench_nn [backend [threads]]
 *
 * For 1 thread and for all, or as many as said: the peak of independent chains of the backend's
 * fused multiply-adds, then matrix products and attention at the shapes the
 * trainer and the sampler use, in GFLOP/s and as a share of that peak, then memory-bound operations
 * in GB/s. Each figure is the best of repeated calls, since other work on the machine only ever
 * takes time away.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nn/backend.h"

typedef struct bench {
    um_backend *be;
    double peak; /* GFLOP/s */
    float *a, *b, *c, *d, *e, *f;
    size_t floats; /* of each array */
} bench;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* G operations a second of all threads of the pool together. */
static double measure_peak(um_backend *be, um_dtype dtype)
{
    double best = 0.0;
    for (double start = seconds(); seconds() - start < 0.5;) {
        const double t = seconds(), ops = be->ops->dot_ops(be, dtype, 200);
        best = fmax(best, ops / (seconds() - t) / 1e9);
    }
    return best;
}

typedef void (*bench_fn)(const bench *b, const int *size);

/* Best time of one call, in seconds. */
static double best_time(const bench *b, bench_fn fn, const int *size)
{
    double best = INFINITY;
    int calls = 0;
    for (double start = seconds(); calls < 3 || seconds() - start < 0.2; calls++) {
        const double t = seconds();
        fn(b, size);
        const double took = seconds() - t;
        best = took < best ? took : best;
    }
    return best;
}

/* size: m, n, k, trans_a, trans_b */
static void run_gemm(const bench *b, const int *s)
{
    b->be->ops->gemm(b->be, s[3], s[4], s[0], s[1], s[2], 1.0f, b->a, s[3] ? s[0] : s[2], b->b,
                     s[4] ? s[2] : s[1], false, b->c, s[1]);
}

static void run_product(const bench *b, const int *s)
{
    const um_product p = {.m = s[0],
                          .n = s[1],
                          .k = s[2],
                          .a = {b->a, UM_BF16, s[3] ? s[0] : s[2], s[3]},
                          .b = {b->b, s[3] ? UM_BF16 : UM_F32, s[4] ? s[2] : s[1], s[4]},
                          .c = b->c,
                          .c_dtype = s[3] ? UM_F32 : UM_BF16,
                          .accumulate = s[3],
                          .ldc = s[1]};
    b->be->ops->product(b->be, &p);
}

static const um_packed *packed_weights;

static void run_linear(const bench *b, const int *s)
{
    b->be->ops->linear(b->be, b->c, s[1], b->a, s[0], packed_weights, NULL, false);
}

static void bench_products(const bench *b)
{
    static const int sizes[][5] = {
        {1024, 96, 96, 0, 1},    {4096, 128, 128, 0, 1},  {4096, 64, 170, 0, 0},
        {2048, 512, 192, 0, 1},  {2048, 700, 256, 0, 1},  {96, 96, 4096, 1, 0},
        {170, 64, 4096, 1, 0},   {256, 700, 2048, 1, 0},  {512, 1024, 128, 0, 1},
        {1024, 576, 576, 0, 1},  {1024, 1536, 576, 0, 1}, {1024, 576, 1536, 0, 0},
        {576, 1536, 1024, 1, 0}, {256, 49152, 576, 0, 1}, {16, 96, 96, 0, 1},
        {64, 128, 128, 0, 1},    {16, 576, 576, 0, 1},    {64, 1536, 576, 0, 1},
        {512, 576, 1536, 0, 1},  {1, 576, 576, 0, 1},     {4096, 3072, 576, 0, 1},
        {4096, 576, 1536, 0, 1}, {4096, 576, 3072, 0, 0}, {3072, 576, 4096, 1, 0},
        {4096, 960, 576, 0, 1},
    };
    printf("  %-28s %10s %6s %10s %6s %10s %6s\n", "product m n k", "gemm", "peak", "bf16", "peak",
           "linear", "peak");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int *s = sizes[i];
        const double flop = 2.0 * s[0] * s[1] * s[2];
        const double gemm = flop / best_time(b, run_gemm, s) / 1e9;
        char name[64];
        snprintf(name, sizeof name, "%d %d %d%s%s", s[0], s[1], s[2], s[3] ? " a^T" : "",
                 s[4] ? " b^T" : "");
        printf("  %-28s %10.1f %5.0f%%", name, gemm, 100.0 * gemm / b->peak);
        const double product = flop / best_time(b, run_product, s) / 1e9;
        printf(" %10.1f %5.0f%%", product, 100.0 * product / b->peak);
        um_packed w;
        if (!s[3] && s[4] &&
            b->be->ops->pack(b->be, &w, UM_F32, b->b, s[1], s[2], false, NULL) == UM_OK) {
            packed_weights = &w;
            const double linear = flop / best_time(b, run_linear, s) / 1e9;
            printf(" %10.1f %5.0f%%", linear, 100.0 * linear / b->peak);
            b->be->ops->unpack(b->be, &w);
        }
        printf("\n");
    }
}

/* Products with packed weights, as inference meets them: each call reads another matrix, so that
 * the caches hold none of it. */
enum { COPIES = 4 };

static struct {
    um_packed w[COPIES];
    um_dtype dtype;
    int turn;
} packed;

static void run_packed(const bench *b, const int *s)
{
    const um_packed *w = &packed.w[packed.turn++ % COPIES];
    if (w->pair)
        b->be->ops->linear_gate(b->be, b->d, b->c, s[0], w);
    else
        b->be->ops->linear(b->be, b->d, s[1], b->c, s[0], w, NULL, false);
}

static void bench_packed(const bench *b, um_dtype dtype, int n, int k, bool pair)
{
    static const int rows[] = {1, 4, 10, 32, 80, 256, 592};
    const um_backend_ops *ops = b->be->ops;
    const double peak = measure_peak(b->be, dtype);
    for (int i = 0; i < COPIES; i++) {
        if (ops->pack(b->be, &packed.w[i], dtype, b->b, n, k, pair, NULL) != UM_OK)
            return;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int size[] = {rows[i], n, k};
        ops->acts_set(b->be, b->c, dtype, b->a, k, rows[i], k);
        const double took = best_time(b, run_packed, size);
        const double rate = 2.0 * rows[i] * n * k / took / 1e9;
        printf("  %-5s%4d %6d %5d %-12s %7.1f %9.1f %5.0f%%\n", um_dtype_name(dtype), rows[i], n, k,
               pair ? "gate" : "", (double)um_packed_bytes(dtype, n, k) / took / 1e9, rate,
               100.0 * rate / peak);
    }
    for (int i = 0; i < COPIES; i++)
        ops->unpack(b->be, &packed.w[i]);
}

static void bench_packed_products(const bench *b)
{
    static const um_dtype formats[] = {UM_I8, UM_BF16, UM_F16};
    printf("  %-36s %7s %9s %6s\n", "packed m n k", "GB/s", "G/s", "peak");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        bench_packed(b, formats[i], 16384, 2048, true);
        bench_packed(b, formats[i], 2048, 8192, false);
    }
}

/* size: spans, length, prefix, query heads, key/value heads, head width */
enum { MAX_SPANS = 256 };

static int make_spans(const int *s, um_span *spans, um_range *prefix)
{
    *prefix = (um_range){0, s[2]};
    for (int i = 0; i < s[0]; i++) {
        const int at = i * s[1];
        spans[i] = (um_span){at, s[1], s[2] + at, 0, 0, s[2] > 0};
    }
    return s[0];
}

static bool bf16_attention;

static void attend(const bench *b, const int *s, bool backward)
{
    um_span spans[MAX_SPANS];
    um_range prefix;
    const int n = make_spans(s, spans, &prefix), wide = s[3] * s[5], narrow = s[4] * s[5];
    const um_attention_shape shape = {s[3], s[4], s[5], 1.0f / sqrtf((float)s[5]), bf16_attention};
    float *lse = b->c, *out = b->c + (size_t)s[0] * s[1] * s[3];
    if (!backward) {
        b->be->ops->attention_forward(b->be, out, wide, lse, b->a, wide, b->b, b->b + narrow,
                                      2 * narrow, &shape, spans, n, &prefix);
        return;
    }
    b->be->ops->attention_backward(b->be, b->d, wide, b->e, b->e + narrow, 2 * narrow, b->f, wide,
                                   out, wide, lse, b->a, wide, b->b, b->b + narrow, 2 * narrow,
                                   &shape, spans, n, &prefix);
}

static void run_attention(const bench *b, const int *s)
{
    attend(b, s, false);
}

static void run_attention_backward(const bench *b, const int *s)
{
    attend(b, s, true);
}

static void bench_attention(const bench *b)
{
    static const int sizes[][6] = {
        {1, 1024, 0, 9, 3, 64}, {8, 128, 0, 9, 3, 64},   {16, 100, 0, 4, 2, 16},
        {8, 256, 0, 4, 4, 32},  {16, 32, 256, 4, 2, 32}, {64, 1, 1024, 9, 3, 64},
        {1, 1, 2048, 9, 3, 64}, {64, 1, 512, 4, 2, 16},
    };
    printf("  %-36s %10s %6s %10s %6s %10s %10s\n", "attention spans len prefix H G D", "forward",
           "peak", "backward", "peak", "bf16 fwd", "bf16 bwd");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int *s = sizes[i];
        /* Pairs of row and key, times two products forward and five backward. */
        const double pairs = (double)s[0] * s[1] * (s[2] + 0.5 * (s[1] + 1)) * s[3];
        const double forward = pairs * 4 * s[5] / best_time(b, run_attention, s) / 1e9;
        const double back = pairs * 10 * s[5] / best_time(b, run_attention_backward, s) / 1e9;
        bf16_attention = true;
        const double half = pairs * 4 * s[5] / best_time(b, run_attention, s) / 1e9;
        const double half_back = pairs * 10 * s[5] / best_time(b, run_attention_backward, s) / 1e9;
        bf16_attention = false;
        char name[64];
        snprintf(name, sizeof name, "%d %d %d %d %d %d", s[0], s[1], s[2], s[3], s[4], s[5]);
        printf("  %-36s %10.1f %5.0f%% %10.1f %5.0f%% %10.1f %10.1f\n", name, forward,
               100.0 * forward / b->peak, back, 100.0 * back / b->peak, half, half_back);
    }
}

/* The rows operations: size is rows, columns. */
static void run_rmsnorm(const bench *b, const int *s)
{
    b->be->ops->rmsnorm_forward(b->be, b->c, b->d, b->a, b->b, s[0], s[1], 1e-5f);
}

static void run_rmsnorm_backward(const bench *b, const int *s)
{
    b->be->ops->rmsnorm_backward(b->be, b->e, b->f, b->c, b->a, b->b, b->d, s[0], s[1]);
}

static void run_swiglu(const bench *b, const int *s)
{
    b->be->ops->swiglu_forward(b->be, UM_F32, b->c, b->a, b->b, s[1], s[0], s[1]);
}

static void run_swiglu_backward(const bench *b, const int *s)
{
    b->be->ops->swiglu_backward(b->be, UM_F32, b->d, b->e, s[1], b->f, b->a, b->b, s[1], s[0],
                                s[1]);
}

static void run_logprob(const bench *b, const int *s)
{
    static int32_t targets[1 << 16];
    b->be->ops->logprob_forward(b->be, b->d, b->a, targets, s[0], s[1]);
}

static void run_rope(const bench *b, const int *s)
{
    static int32_t positions[1 << 16];
    for (int i = 0; i < s[0]; i++)
        positions[i] = i;
    b->be->ops->rope(b->be, b->c, s[1], s[0], s[1] / 64, 64, positions, b->b, false);
}

static void run_adamw(const bench *b, const int *s)
{
    const um_adamw h = {
        .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .grad_scale = 1.0f, .step = 10};
    b->be->ops->adamw(b->be, b->c, b->a, b->d, b->e, (size_t)s[0] * (size_t)s[1], &h);
}

static void bench_rows(const bench *b)
{
    static const struct {
        const char *name;
        bench_fn fn;
        int size[2], arrays; /* arrays: read or written once an element */
    } rows[] = {
        {"rmsnorm", run_rmsnorm, {2048, 128}, 2},
        {"rmsnorm backward", run_rmsnorm_backward, {2048, 128}, 6},
        {"rope", run_rope, {2048, 128}, 2},
        {"swiglu", run_swiglu, {2048, 340}, 3},
        {"swiglu backward", run_swiglu_backward, {2048, 340}, 5},
        {"logprob", run_logprob, {512, 2048}, 2},
        {"adamw", run_adamw, {1000, 1000}, 7},
    };
    printf("  %-28s %10s\n", "rows", "GB/s");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const int *s = rows[i].size;
        memset(b->e, 0, b->floats * sizeof(float));
        const double bytes = 4.0 * rows[i].arrays * s[0] * s[1];
        printf("  %-28s %10.1f\n", rows[i].name, bytes / best_time(b, rows[i].fn, s) / 1e9);
    }
}

static int run(const char *name, int threads)
{
    um_error err;
    um_pool *pool;
    bench b = {.floats = (size_t)16384 * 2048};
    if (um_pool_new(&pool, threads, &err) != UM_OK ||
        um_backend_open(&b.be, name, pool, &err) != UM_OK) {
        fprintf(stderr, "bench_nn: %s\n", err.text);
        return 1;
    }
    float **arrays[] = {&b.a, &b.b, &b.c, &b.d, &b.e, &b.f};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i] = aligned_alloc(64, b.floats * sizeof(float));
        if (*arrays[i] == NULL) {
            fprintf(stderr, "bench_nn: out of memory\n");
            return 1;
        }
        for (size_t j = 0; j < b.floats; j++)
            (*arrays[i])[j] = (float)((j * 7 + i) % 13) / 13.0f - 0.4f;
    }
    b.peak = measure_peak(b.be, UM_F32);
    printf("%s, %d thread%s: fused multiply-add peak %.1f GFLOP/s\n", b.be->name,
           um_pool_threads(pool), um_pool_threads(pool) == 1 ? "" : "s", b.peak);
    bench_products(&b);
    bench_packed_products(&b);
    bench_attention(&b);
    bench_rows(&b);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        free(*arrays[i]);
    um_backend_close(b.be);
    um_pool_free(pool);
    return 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const int threads = argc > 2 ? atoi(argv[2]) : 0;
    if (threads > 0)
        return run(name, threads);
    return run(name, 1) || run(name, 0);
}
