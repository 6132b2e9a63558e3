/* Every operation but attention, of every backend, against double-precision formulas. */
#include "nn_util.h"

static void test_names(void **state)
{
    (void)state;
    um_error err;
    um_backend *be = NULL;
    const char *const *names = um_backend_names();
    assert_ok(um_backend_open(&be, NULL, NULL, &err), err);
    assert_string_equal(be->name, names[0]);
    um_backend_close(be);
    assert_ok(um_backend_open(&be, "auto", NULL, &err), err);
    assert_string_equal(be->name, names[0]);
    um_backend_close(be);
    assert_ok(um_backend_open(&be, "cpu-ref", NULL, &err), err);
    assert_string_equal(be->name, "cpu-ref");
    um_backend_close(be);
    be = NULL;
    assert_int_equal(um_backend_open(&be, "cuda", NULL, &err), UM_ERR_UNSUPPORTED);
    assert_null(be);
    assert_non_null(strstr(err.text, "cuda"));
    assert_non_null(strstr(err.text, "cpu-ref"));
    um_backend_close(NULL);
}

static void test_memory(void **state)
{
    (void)state;
    backend_set set = open_backends(1);
    for (int b = 0; b < set.n; b++) {
        um_backend *be = set.be[b];
        um_error err;
        um_buf buf;
        float in[5] = {1, 2, 3, 4, 5}, out[5] = {0};
        assert_ok(be->ops->alloc(be, &buf, sizeof in, &err), err);
        assert_int_equal((uintptr_t)buf.data % 64, 0);
        for (int i = 0; i < 5; i++)
            assert_close(((float *)buf.data)[i], 0, 0);
        be->ops->upload(be, buf.data, in, sizeof in);
        be->ops->zero(be, (float *)buf.data + 4, sizeof(float));
        be->ops->download(be, out, buf.data, sizeof out);
        assert_close(out[3], 4, 0);
        assert_close(out[4], 0, 0);
        be->ops->release(be, &buf);
        assert_null(buf.data);
        assert_int_equal(be->ops->alloc(be, &buf, SIZE_MAX, &err), UM_ERR_MEMORY);
    }
    close_backends(&set);
}

typedef struct product {
    int m, n, k, lda, ldb, ldc;
    bool trans_a, trans_b;
    float *a, *b, *c;
    double *want; /* op(a) op(b), [m, n] */
} product;

static product new_product(int m, int n, int k, bool trans_a, bool trans_b)
{
    product p = {.m = m, .n = n, .k = k, .trans_a = trans_a, .trans_b = trans_b};
    p.lda = (trans_a ? m : k) + 3;
    p.ldb = (trans_b ? k : n) + 1;
    p.ldc = n + 2;
    /* The last row ends with its last column, not with its stride. */
    p.a = random_floats((size_t)(trans_a ? k : m) * p.lda, 1);
    p.b = random_floats((size_t)(trans_b ? n : k) * p.ldb, 2);
    p.c = random_floats((size_t)m * p.ldc, 3);
    p.want = malloc(((size_t)m * n + 1) * sizeof(double));
    assert_non_null(p.want);
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            double sum = 0.0;
            for (int t = 0; t < k; t++)
                sum += (double)p.a[trans_a ? t * p.lda + i : i * p.lda + t] *
                       (double)p.b[trans_b ? j * p.ldb + t : t * p.ldb + j];
            p.want[i * n + j] = sum;
        }
    }
    return p;
}

static void free_product(product *p)
{
    free(p->a);
    free(p->b);
    free(p->c);
    free(p->want);
}

static void run_product(um_backend *be, const product *p, float alpha, bool accumulate)
{
    float *c = copy_floats(p->c, (size_t)p->m * p->ldc);
    be->ops->gemm(be, p->trans_a, p->trans_b, p->m, p->n, p->k, alpha, p->a, p->lda, p->b, p->ldb,
                  accumulate, c, p->ldc);
    float *got = new_floats((size_t)p->m * p->n);
    double *want = malloc(((size_t)p->m * p->n + 1) * sizeof(double));
    assert_non_null(want);
    for (int i = 0; i < p->m; i++) {
        for (int j = 0; j < p->ldc; j++) {
            const float before = p->c[i * p->ldc + j], after = c[i * p->ldc + j];
            if (j >= p->n) { /* nothing beyond the columns may change */
                check_bits("gemm: between rows", be, &after, &before, 1);
                continue;
            }
            got[i * p->n + j] = after;
            want[i * p->n + j] =
                (double)alpha * p->want[i * p->n + j] + (accumulate ? (double)before : 0.0);
        }
    }
    check_near("gemm", be, got, want, (size_t)p->m * p->n, 2e-6);
    free(got);
    free(want);
    free(c);
}

static void test_gemm(void **state)
{
    (void)state;
    static const int shapes[][3] = {{1, 1, 1},     {1, 33, 7},   {2, 130, 40},  {3, 65, 257},
                                    {4, 16, 16},   {5, 31, 3},   {11, 17, 64},  {12, 32, 256},
                                    {13, 47, 300}, {25, 96, 96}, {70, 70, 70},  {200, 40, 20},
                                    {7, 600, 33},  {9, 8, 520},  {100, 96, 128}};
    backend_set set = open_backends(2);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        for (int trans = 0; trans < 4; trans++) {
            product p = new_product(shapes[s][0], shapes[s][1], shapes[s][2], (trans & 1) != 0,
                                    (trans & 2) != 0);
            for (int b = 0; b < set.n; b++) {
                run_product(set.be[b], &p, 1.0f, false);
                run_product(set.be[b], &p, -0.25f, true);
            }
            free_product(&p);
        }
    }
    product empty = new_product(4, 5, 0, false, false);
    for (int b = 0; b < set.n; b++) {
        run_product(set.be[b], &empty, 1.0f, false);
        run_product(set.be[b], &empty, 1.0f, true);
        set.be[b]->ops->gemm(set.be[b], false, false, 0, 5, 3, 1.0f, empty.a, 3, empty.b, 5, false,
                             empty.c, 5);
    }
    free_product(&empty);
    close_backends(&set);
}

/* A row alone, a few columns alone, packed weights, other strides, 1, 2 and 3 threads: same bits.
 */
static void test_gemm_bits(void **state)
{
    (void)state;
    static const int shapes[][3] = {{41, 70, 300}, {300, 200, 96}, {17, 33, 520}, {150, 96, 576}};
    backend_set set = open_backends(1), two = open_backends(2), three = open_backends(3);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
        const size_t size = (size_t)m * n;
        float *x = random_floats((size_t)m * k, 1), *w = random_floats((size_t)n * k, 2);
        float *bias = random_floats((size_t)n, 3);
        float *xt = new_floats((size_t)m * k), *wide = new_floats((size_t)m * (k + 256 - k % 256));
        for (int i = 0; i < m * k; i++) {
            xt[i % k * m + i / k] = x[i];
            wide[i / k * (k + 256 - k % 256) + i % k] = x[i];
        }
        for (int b = 0; b < set.n; b++) {
            um_backend *be = set.be[b];
            um_error err;
            um_packed packed;
            float *all = new_floats(size), *part = new_floats(size);
            be->ops->gemm(be, false, true, m, n, k, 1.0f, x, k, w, k, false, all, n);
            for (int i = 0; i < m; i++)
                be->ops->gemm(be, false, true, 1, n, k, 1.0f, x + i * k, k, w, k, false,
                              part + i * n, n);
            check_bits("gemm row by row", be, part, all, size);
            for (int i = 0; i < m; i += 5)
                be->ops->gemm(be, false, true, m - i < 5 ? m - i : 5, n, k, 1.0f, x + i * k, k, w,
                              k, false, part + i * n, n);
            check_bits("gemm five rows at a time", be, part, all, size);
            for (int j = 0; j < n; j += 7)
                be->ops->gemm(be, false, true, m, n - j < 7 ? n - j : 7, k, 1.0f, x, k, w + j * k,
                              k, false, part + j, n);
            check_bits("gemm seven columns at a time", be, part, all, size);
            be->ops->gemm(be, true, true, m, n, k, 1.0f, xt, m, w, k, false, part, n);
            check_bits("gemm of the transpose", be, part, all, size);
            be->ops->gemm(be, false, true, m, n, k, 1.0f, wide, k + 256 - k % 256, w, k, false,
                          part, n);
            check_bits("gemm with another stride", be, part, all, size);
            for (int threads = 2; threads <= 3; threads++) {
                um_backend *more = threads == 2 ? two.be[b] : three.be[b];
                more->ops->gemm(more, false, true, m, n, k, 1.0f, x, k, w, k, false, part, n);
                check_bits("gemm with more threads", be, part, all, size);
            }
            assert_ok(be->ops->pack(be, &packed, UM_F32, w, n, k, false, &err), err);
            be->ops->linear(be, part, n, x, m, &packed, NULL, false);
            check_bits("linear", be, part, all, size);
            be->ops->linear(be, part + 3 * n, n, x + 3 * k, 2, &packed, NULL, false);
            check_bits("linear of two rows", be, part, all, size);
            be->ops->bias_forward(be, all, bias, m, n);
            be->ops->linear(be, part, n, x, m, &packed, bias, false);
            check_bits("linear with bias", be, part, all, size);
            two.be[b]->ops->linear(two.be[b], part, n, x, m, &packed, bias, false);
            check_bits("linear with two threads", be, part, all, size);
            be->ops->unpack(be, &packed);
            assert_null(packed.buf.data);
            free(all);
            free(part);
        }
        free(x);
        free(w);
        free(bias);
        free(xt);
        free(wide);
    }
    close_backends(&set);
    close_backends(&two);
    close_backends(&three);
}

/* A row of the result must not see infinity or NaN in another. */
static void test_gemm_rows_do_not_leak(void **state)
{
    (void)state;
    backend_set set = open_backends(1);
    float *x = random_floats(30 * 20, 1), *w = random_floats(40 * 20, 2);
    x[4 * 20 + 3] = NAN;
    w[17 * 20] = INFINITY;
    for (int b = 0; b < set.n; b++) {
        float *y = new_floats(30 * 40);
        set.be[b]->ops->gemm(set.be[b], false, true, 30, 40, 20, 1.0f, x, 20, w, 20, false, y, 40);
        for (int i = 0; i < 30 * 40; i++)
            assert_int_equal(isfinite(y[i]) != 0, i / 40 != 4 && i % 40 != 17);
        free(y);
    }
    free(x);
    free(w);
    close_backends(&set);
}

static void test_rows_and_bias(void **state)
{
    (void)state;
    backend_set set = open_backends(2);
    enum { T = 1400, N = 101, V = 50 };
    float *x = random_floats(T * N, 1), *bias = random_floats(N, 2),
          *start = random_floats(V * N, 3);
    int32_t ids[T], rows[V];
    for (int i = 0; i < T; i++)
        ids[i] = (i * 31 + i / 7) % V;
    for (int i = 0; i < V; i++)
        rows[i] = (i * 7 + 3) % V;
    um_backend *ref = set.be[set.n - 1];
    for (int b = 0; b < set.n; b++) {
        um_backend *be = set.be[b];
        float *got = copy_floats(x, T * N), *want = copy_floats(x, T * N);
        be->ops->bias_forward(be, got, bias, T, N);
        for (int i = 0; i < T * N; i++)
            want[i] = x[i] + bias[i % N];
        check_bits("bias_forward", be, got, want, T * N);
        be->ops->add(be, got, x, T * N);
        be->ops->scale(be, got, 0.5f, T * N);
        for (int i = 0; i < T * N; i++)
            want[i] = (want[i] + x[i]) * 0.5f;
        check_bits("add and scale", be, got, want, T * N);
        be->ops->embed_forward(be, got, start, ids, T, N);
        for (int i = 0; i < T * N; i++)
            assert_true(got[i] == start[ids[i / N] * N + i % N]);
        be->ops->gather_rows(be, got, x, N + 3, rows, V, N);
        for (int i = 0; i < V * N; i++)
            assert_true(got[i] == x[rows[i / N] * (N + 3) + i % N]);
        free(got);
        free(want);

        /* Sums in row order are the same bits in every backend. */
        float *sum = copy_floats(start, V * N), *ref_sum = copy_floats(start, V * N);
        be->ops->embed_backward(be, sum, x, ids, T, N);
        ref->ops->embed_backward(ref, ref_sum, x, ids, T, N);
        check_bits("embed_backward", be, sum, ref_sum, V * N);
        be->ops->bias_backward(be, sum, x, T, N);
        ref->ops->bias_backward(ref, ref_sum, x, T, N);
        check_bits("bias_backward", be, sum, ref_sum, V * N);
        be->ops->scatter_add_rows(be, sum, N, x, rows, V, N - 1);
        ref->ops->scatter_add_rows(ref, ref_sum, N, x, rows, V, N - 1);
        check_bits("scatter_add_rows", be, sum, ref_sum, V * N);
        be->ops->scatter_rows(be, sum, N, x, N + 5, rows, V, N - 2);
        for (int i = 0; i < V; i++)
            check_bits("scatter_rows", be, sum + rows[i] * N, x + i * (N + 5), N - 2);
        free(sum);
        free(ref_sum);
    }
    free(x);
    free(bias);
    free(start);
    close_backends(&set);
}

static double double_sum_squares(const float *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

static void test_sum_squares_and_adamw(void **state)
{
    (void)state;
    backend_set set = open_backends(1), two = open_backends(2);
    static const size_t sizes[] = {0, 1, 15, 4097, 300001};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t n = sizes[s];
        float *w0 = random_floats(n, 1), *g = random_floats(n, 2);
        const double want = double_sum_squares(w0, n);
        for (int b = 0; b < set.n; b++) {
            double got = set.be[b]->ops->sum_squares(set.be[b], w0, n);
            assert_close(got, want, 1e-12 * want);
            assert_true(got == two.be[b]->ops->sum_squares(two.be[b], w0, n));

            float *w = copy_floats(w0, n), *m = new_floats(n), *v = new_floats(n);
            double *dw = to_doubles(w0, n), *dm = to_doubles(m, n), *dv = to_doubles(m, n);
            for (int64_t t = 1; t <= 4; t++) {
                um_adamw h = {.lr = 0.01,
                              .beta1 = 0.9,
                              .beta2 = 0.999,
                              .eps = 1e-8,
                              .weight_decay = 0.1,
                              .grad_scale = 0.5f,
                              .step = t};
                set.be[b]->ops->adamw(set.be[b], w, g, m, v, n, &h);
                for (size_t i = 0; i < n; i++) {
                    double grad = 0.5 * (double)g[i];
                    dw[i] *= 1.0 - 0.01 * 0.1;
                    dm[i] = 0.9 * dm[i] + 0.1 * grad;
                    dv[i] = 0.999 * dv[i] + 0.001 * grad * grad;
                    dw[i] -= 0.01 / (1 - pow(0.9, (double)t)) * dm[i] /
                             (sqrt(dv[i]) / sqrt(1 - pow(0.999, (double)t)) + 1e-8);
                }
            }
            check_near("adamw: w", set.be[b], w, dw, n, 2e-7);
            check_near("adamw: m", set.be[b], m, dm, n, 2e-7);
            check_near("adamw: v", set.be[b], v, dv, n, 2e-7);
            free(w);
            free(m);
            free(v);
            free(dw);
            free(dm);
            free(dv);
        }
        free(w0);
        free(g);
    }
    close_backends(&set);
    close_backends(&two);
}

/* Each output row and row gradient of one thread and all rows against two threads and one row. */
static void test_row_bits(void **state)
{
    (void)state;
    enum { T = 1800, C = 75 };
    backend_set set = open_backends(1), two = open_backends(2);
    float *x = random_floats(T * C, 1), *y = random_floats(T * C, 2), *w = random_floats(C, 3);
    int32_t targets[T];
    float coef[T];
    for (int i = 0; i < T; i++) {
        targets[i] = i % C;
        coef[i] = (float)(i % 5) - 2.0f;
    }
    for (int b = 0; b < set.n; b++) {
        um_backend *be = set.be[b], *other = two.be[b];
        const um_backend_ops *ops = be->ops;
        float *one = new_floats(T * C), *all = new_floats(T * C);
        float *r1 = new_floats(T), *r2 = new_floats(T);
        other->ops->rmsnorm_forward(other, all, r2, x, w, T, C, 1e-5f);
        for (int i = 0; i < T; i++)
            ops->rmsnorm_forward(be, one + i * C, r1 + i, x + i * C, w, 1, C, 1e-5f);
        check_bits("rmsnorm", be, one, all, T * C);
        check_bits("rstd", be, r1, r2, T);
        float *dx1 = new_floats(T * C), *dx2 = new_floats(T * C);
        float *dw1 = new_floats(C), *dw2 = new_floats(C);
        other->ops->rmsnorm_backward(other, dx2, dw2, y, x, w, r2, T, C);
        for (int i = 0; i < T; i++)
            ops->rmsnorm_backward(be, dx1 + i * C, dw1, y + i * C, x + i * C, w, r1 + i, 1, C);
        check_bits("rmsnorm dx", be, dx1, dx2, T * C);
        check_bits("rmsnorm dw", be, dw1, dw2, C);
        other->ops->swiglu_forward(other, UM_F32, all, x, y, C, T, C);
        for (int i = 0; i < T; i++)
            ops->swiglu_forward(be, UM_F32, one + i * C, x + i * C, y + i * C, C, 1, C);
        check_bits("swiglu", be, one, all, T * C);
        other->ops->logprob_forward(other, r2, x, targets, T, C);
        for (int i = 0; i < T; i++)
            ops->logprob_forward(be, r1 + i, x + i * C, targets + i, 1, C);
        check_bits("logprob", be, r1, r2, T);
        memcpy(one, x, T * C * sizeof(float));
        memcpy(all, x, T * C * sizeof(float));
        other->ops->logprob_backward(other, all, targets, coef, T, C);
        for (int i = 0; i < T; i++)
            ops->logprob_backward(be, one + i * C, targets + i, coef + i, 1, C);
        check_bits("logprob gradient", be, one, all, T * C);
        free(one);
        free(all);
        free(r1);
        free(r2);
        free(dx1);
        free(dx2);
        free(dw1);
        free(dw2);
    }
    free(x);
    free(y);
    free(w);
    close_backends(&set);
    close_backends(&two);
}

/* Nearest by search: of the two neighbours in 16 bits the nearer, the even one at a tie. */
static uint16_t nearest_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t low = bits & 0xFFFF0000u, high = low + 0x10000u;
    float below, above;
    memcpy(&below, &low, sizeof below);
    memcpy(&above, &high, sizeof above);
    double down = fabs((double)x - (double)below), up = fabs((double)above - (double)x);
    bool even = (low >> 16 & 1u) == 0;
    return (uint16_t)((down < up || (down == up && even) ? low : high) >> 16);
}

static void test_bf16(void **state)
{
    (void)state;
    enum { N = 70001, C = 37, ROWS = N / C };
    static const uint32_t known[][2] = {
        /* float32, bfloat16 */
        {0x3F800000, 0x3F80}, {0x3F808000, 0x3F80}, /* tie to even, down */
        {0x3F818000, 0x3F82}, /* tie to even, up */ {0x3F808001, 0x3F81},
        {0xBF818000, 0xBF82}, {0x3F7FFFFF, 0x3F80},
        {0x00000000, 0x0000}, {0x80000000, 0x8000},
        {0x00000001, 0x0000},                       /* least subnormal */
        {0x00018000, 0x0002}, {0x7F7FFFFF, 0x7F80}, /* largest: infinity */
        {0x7F800000, 0x7F80}, {0xFF800000, 0xFF80},
        {0x7F800001, 0x7FC0}, /* NaN stays */
        {0xFFFFFFFF, 0xFFFF},
    };
    enum { KNOWN = sizeof known / sizeof known[0] };
    um_rng rng;
    um_rng_init(&rng, 3, UM_RNG_TEST, 0, 0, 0);
    float *x = new_floats(N), *y = new_floats(N), *z = new_floats(N), *w = new_floats(C);
    uint16_t *narrow = malloc(N * sizeof *narrow);
    assert_non_null(narrow);
    for (int i = 0; i < N; i++)
        x[i] = (float)(um_rng_normal(&rng) * exp(20.0 * um_rng_normal(&rng)));
    for (int i = 0; i < C; i++)
        w[i] = (float)um_rng_normal(&rng);
    for (int i = 0; i < (int)KNOWN; i++)
        memcpy(&x[i], &known[i][0], sizeof x[i]);
    for (int threads = 1; threads <= 2; threads++) {
        backend_set set = open_backends(threads);
        for (int b = 0; b < set.n; b++) {
            um_backend *be = set.be[b];
            be->ops->to_bf16(be, narrow, x, N);
            for (int i = 0; i < N; i++)
                assert_int_equal(narrow[i], i < (int)KNOWN ? known[i][1] : nearest_bf16(x[i]));
            be->ops->from_bf16(be, y, narrow, N);
            be->ops->round_bf16(be, z, x, N);
            check_bits("round_bf16", be, y, z, N);
            be->ops->round_bf16(be, z, z, N); /* in place, and no change */
            check_bits("round_bf16 twice", be, y, z, N);

            for (int i = 0; i < N; i++) /* moderate: no infinite product */
                y[i] = z[i] = (float)sin(i);
            be->ops->weigh_bf16(be, z, w, ROWS, C);
            for (int i = 0; i < ROWS * C; i++) {
                uint32_t a = (uint32_t)nearest_bf16(y[i]) << 16;
                uint32_t c = (uint32_t)nearest_bf16(w[i % C]) << 16, found;
                float value, weight;
                memcpy(&value, &a, sizeof value);
                memcpy(&weight, &c, sizeof weight);
                memcpy(&found, &z[i], sizeof found);
                assert_int_equal(found, (uint32_t)nearest_bf16(value * weight) << 16);
            }
            for (int i = ROWS * C; i < N; i++)
                assert_true(z[i] == y[i]);
        }
        close_backends(&set);
    }
    free(x);
    free(y);
    free(z);
    free(w);
    free(narrow);
}

/* n floats as bfloat16, rounded in place too. */
static uint16_t *halves_of(um_backend *be, float *x, size_t n)
{
    uint16_t *narrow = malloc(n * sizeof *narrow);
    assert_non_null(narrow);
    be->ops->to_bf16(be, narrow, x, n);
    be->ops->from_bf16(be, x, narrow, n);
    return narrow;
}

/* On bfloat16 arrays the gated product and its gradient are those of float32, rounded. */
static void test_swiglu_bf16(void **state)
{
    (void)state;
    enum { T = 5, F = 37, N = T * F };
    backend_set set = open_backends(2);
    for (int b = 0; b < set.n; b++) {
        um_backend *be = set.be[b];
        float *in = random_floats(2 * N, 1), *dout = random_floats(N, 2);
        float *out = new_floats(N), *din = new_floats(2 * N), *got = new_floats(2 * N);
        uint16_t *in_16 = halves_of(be, in, 2 * N), *dout_16 = halves_of(be, dout, N);
        uint16_t *got_16 = malloc(2 * N * sizeof *got_16);
        assert_non_null(got_16);
        be->ops->swiglu_forward(be, UM_F32, out, in, in + F, 2 * F, T, F);
        be->ops->round_bf16(be, out, out, N);
        be->ops->swiglu_forward(be, UM_BF16, got_16, in_16, in_16 + F, 2 * F, T, F);
        be->ops->from_bf16(be, got, got_16, N);
        check_bits("swiglu of bfloat16", be, got, out, N);
        be->ops->swiglu_backward(be, UM_F32, din, din + F, 2 * F, dout, in, in + F, 2 * F, T, F);
        be->ops->round_bf16(be, din, din, 2 * N);
        be->ops->swiglu_backward(be, UM_BF16, got_16, got_16 + F, 2 * F, dout_16, in_16, in_16 + F,
                                 2 * F, T, F);
        be->ops->from_bf16(be, got, got_16, 2 * N);
        check_bits("gradient of swiglu of bfloat16", be, got, din, 2 * N);
        free(in);
        free(dout);
        free(out);
        free(din);
        free(got);
        free(in_16);
        free(dout_16);
        free(got_16);
    }
    close_backends(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),         cmocka_unit_test(test_memory),
        cmocka_unit_test(test_swiglu_bf16),   cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_gemm_bits),     cmocka_unit_test(test_gemm_rows_do_not_leak),
        cmocka_unit_test(test_rows_and_bias), cmocka_unit_test(test_sum_squares_and_adamw),
        cmocka_unit_test(test_row_bits),      cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
