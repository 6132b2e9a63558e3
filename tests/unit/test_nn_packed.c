/*
 * Products with packed weights, of every backend and format: against double-precision formulas that
 * round where the format does, and the same bits for a row whatever it is computed with.
 */
#include "nn/number.h"
#include "nn_packed_util.h"

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Packing ----------------------------------------------------------------------------------------
 */

/* What a format makes of the terms of one output (or of one row of activations). */
static void round_terms(um_dtype dtype, float *x, int k)
{
    for (int i = 0; i < k && dtype == UM_BF16; i++)
        x[i] = um_bf16_value(um_bf16_bits(x[i]));
    for (int i = 0; i < k && dtype == UM_F16; i++)
        x[i] = um_f16_value(um_f16_bits(x[i]));
    for (int from = 0; from < k && dtype == UM_I8; from += 256) {
        float most = 0.0f;
        for (int i = from; i < least(k, from + 256); i++)
            most = fmaxf(most, fabsf(x[i]));
        for (int i = from; i < least(k, from + 256) && most > 0.0f; i++)
            x[i] = rintf(x[i] * (127.0f / most)) * (most / 127.0f);
    }
}

static void test_packed_sizes(void **state)
{
    (void)state;
    static const int ks[] = {1, 31, 32, 33, 63, 64, 65, 255, 256, 257, 300, 2048, 2049, 8192};
    for (size_t i = 0; i < sizeof ks / sizeof *ks; i++) {
        const size_t k = (size_t)ks[i], k32 = (k + 31) / 32 * 32, k64 = (k + 63) / 64 * 64;
        assert_int_equal(um_packed_panel_bytes(UM_BF16, ks[i]), k32 * 32 * 2);
        assert_int_equal(um_packed_panel_bytes(UM_F16, ks[i]), k32 * 32 * 2);
        assert_int_equal(um_packed_panel_bytes(UM_I8, ks[i]), k64 * 32 + (k + 255) / 256 * 32 * 4);
        assert_int_equal(um_packed_bytes(UM_I8, 33, ks[i]),
                         2 * um_packed_panel_bytes(UM_I8, ks[i]));
        assert_int_equal(um_packed_terms(UM_F32, ks[i]), k);
    }
    assert_int_equal(um_packed_outputs(45, false), 45);
    assert_int_equal(um_packed_outputs(34, true), 64);
    assert_true(um_packed_bytes(UM_BF16, 152064, 8192) == (size_t)152064 * 8192 * 2);
}

/* 16 of gate, 16 of up, in turns; each ends with rounding. */
static void test_pair_order(void **state)
{
    (void)state;
    enum { F = 37 };
    for (int panel = 0; panel < 3; panel++) {
        for (int j = 0; j < 32; j++) {
            int row;
            const int f = panel * 16 + j % 16;
            assert_int_equal(um_packed_source(panel, j, 2 * F, true, &row), f < F);
            if (f < F)
                assert_int_equal(row, j < 16 ? f : F + f);
            assert_int_equal(um_packed_source(panel, j, 70, false, &row), panel * 32 + j < 70);
            assert_int_equal(row, panel * 32 + j);
        }
    }
}

/* The order of packed.h, counted out: term i of output j has a value of its own. */
static void test_packed_order(void **state)
{
    (void)state;
    enum { N = 70, K = 350 };
    float *w = new_floats(N * K);
    for (int i = 0; i < N * K; i++)
        w[i] = (float)(i % K % 25 * 10 + i / K % 9 - 127);
    for (int i = 0; i < N * K; i += 50)
        w[i] = 127.0f; /* so that a byte is its weight */
    const size_t i8 = um_packed_panel_bytes(UM_I8, K), wide = um_packed_panel_bytes(UM_F16, K) / 2;
    int8_t *bytes = calloc(3, i8);
    uint16_t *bf16 = calloc(3, wide * 2), *f16 = calloc(3, wide * 2);
    assert_true(bytes != NULL && bf16 != NULL && f16 != NULL);
    for (int p = 0; p < 3; p++) {
        um_packed_panel_of(UM_I8, bytes, p, w, N, K, false);
        um_packed_panel_of(UM_BF16, bf16, p, w, N, K, false);
        um_packed_panel_of(UM_F16, f16, p, w, N, K, false);
    }
    for (int j = 0; j < N; j++) {
        const int panel = j / 32, tile = j % 32 / 16, out = j % 16;
        for (int k = 0; k < K; k++) {
            const int block = k / 256, step = k % 256 / 64, four = k % 64 / 4;
            const int8_t *at = bytes + panel * i8 + block * (32 * 4 + 256 * 32) + 32 * 4;
            assert_close(at[((step * 2 + tile) * 16 + four) * 64 + out * 4 + k % 4], w[j * K + k],
                         0);
            const uint16_t *pair = bf16 + panel * wide + (k / 32 * 2 + tile) * 512;
            assert_close(um_bf16_value(pair[k % 32 / 2 * 32 + out * 2 + k % 2]), w[j * K + k], 0);
            assert_close(um_f16_value(f16[panel * wide + k * 32 + j % 32]), w[j * K + k], 0);
        }
    }
    free(bytes);
    free(bf16);
    free(f16);
    free(w);
}

/* What a format can say comes back; bytes are within half a step, and fill their range. */
static void check_unpacked(const um_backend *be, um_dtype dtype, const float *got, const float *w,
                           int k)
{
    float want[1000];
    memcpy(want, w, (size_t)k * sizeof *want);
    round_terms(dtype, want, k);
    if (dtype != UM_I8)
        check_bits("packed_rows", be, got, want, (size_t)k);
    for (int from = 0; from < k && dtype == UM_I8; from += 256) {
        double most = 0.0, seen = 0.0;
        for (int i = from; i < least(k, from + 256); i++)
            most = fmax(most, fabs((double)w[i]));
        for (int i = from; i < least(k, from + 256); i++) {
            assert_close(got[i], w[i], most / 254.0 * 1.00001);
            seen = fmax(seen, fabs((double)got[i]));
        }
        assert_close(seen, most, most * 2e-7);
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1}, {32, 64}, {45, 300}, {70, 1000}, {33, 257}};
    backend_set set = open_backends(2);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int n = shapes[s][0], k = shapes[s][1], t = n + 2;
        float *w = random_floats((size_t)n * k, 1);
        for (int i = 0; i < k; i++)
            w[n / 2 * k + i] = i < 256 ? 0.0f : w[n / 2 * k + i]; /* a block or row of zeros */
        int32_t *ids = calloc((size_t)t, sizeof *ids);
        assert_non_null(ids);
        for (int i = 0; i < t; i++)
            ids[i] = (i * 7 + n - 1) % n;
        for (int f = 0; f < N_FORMATS; f++) {
            um_packed of_ref = pack(set.be[set.n - 1], formats[f], w, n, k, false);
            for (int b = 0; b < set.n; b++) {
                um_backend *be = set.be[b];
                um_packed packed = pack(be, formats[f], w, n, k, false);
                float *got = new_floats((size_t)t * k);
                assert_int_equal((uintptr_t)packed.data % 64, 0);
                if (formats[f] != UM_F32) /* one order for all machines */
                    assert_memory_equal(packed.data, of_ref.data, of_ref.buf.bytes);
                be->ops->packed_rows(be, got, &packed, ids, t);
                for (int i = 0; i < t; i++)
                    check_unpacked(be, formats[f], got + i * k, w + ids[i] * k, k);
                be->ops->unpack(be, &packed);
                assert_null(packed.data);
                free(got);
            }
            set.be[0]->ops->unpack(set.be[0], &of_ref);
        }
        free(ids);
        free(w);
    }
    close_backends(&set);
}

/* linear -----------------------------------------------------------------------------------------
 */

enum { M = 130 };
static const int row_counts[] = {1, 5, 8, 15, 16, 17, 63, 64, 65, M};

typedef struct product {
    int n, k, ldx, ldy;
    float *x, *w, *bias, *y;
    double *want; /* of one format: [M, n] */
} product;

static product new_product(int n, int k)
{
    product p = {.n = n, .k = k, .ldx = k + 5, .ldy = n + 3};
    p.x = random_floats((size_t)M * p.ldx, 1);
    p.w = random_floats((size_t)n * k, 2);
    p.bias = random_floats((size_t)n, 3);
    p.y = random_floats((size_t)M * p.ldy, 4);
    p.want = malloc((size_t)M * n * sizeof *p.want);
    assert_non_null(p.want);
    return p;
}

static void free_product(product *p)
{
    free(p->x);
    free(p->w);
    free(p->bias);
    free(p->y);
    free(p->want);
}

/* Activations of float16 weights stay as they are. */
static um_dtype acts_format(um_dtype dtype)
{
    return dtype == UM_F16 ? UM_F32 : dtype;
}

static void formula(product *p, um_dtype dtype)
{
    const int k = p->k;
    float *w = copy_floats(p->w, (size_t)p->n * k), *x = new_floats((size_t)M * k);
    for (int j = 0; j < p->n; j++)
        round_terms(dtype, w + j * k, k);
    for (int i = 0; i < M; i++) {
        memcpy(x + i * k, p->x + i * p->ldx, (size_t)k * sizeof *x);
        round_terms(acts_format(dtype), x + i * k, k);
        for (int j = 0; j < p->n; j++) {
            double sum = 0.0;
            for (int t = 0; t < k; t++)
                sum += (double)x[i * k + t] * (double)w[j * k + t];
            p->want[i * p->n + j] = sum;
        }
    }
    free(w);
    free(x);
}

/* One call; every product of two terms is exact or rounded once, sums are those of float32. */
static void run_linear(um_backend *be, const product *p, const um_packed *packed, int m,
                       const float *bias, bool accumulate)
{
    const int n = p->n;
    um_buf acts = new_acts(be, packed->dtype, m, p->k);
    float *y = copy_floats(p->y, (size_t)m * p->ldy), *got = new_floats((size_t)m * n);
    double *want = malloc((size_t)m * n * sizeof *want);
    assert_non_null(want);
    be->ops->acts_set(be, acts.data, packed->dtype, p->x, p->ldx, m, p->k);
    be->ops->linear(be, y, p->ldy, acts.data, m, packed, bias, accumulate);
    for (int i = 0; i < m; i++) {
        check_bits("linear: between rows", be, y + i * p->ldy + n, p->y + i * p->ldy + n,
                   (size_t)(p->ldy - n));
        for (int j = 0; j < n; j++) {
            got[i * n + j] = y[i * p->ldy + j];
            want[i * n + j] = p->want[i * n + j] + (bias != NULL ? (double)bias[j] : 0.0) +
                              (accumulate ? (double)p->y[i * p->ldy + j] : 0.0);
        }
    }
    check_near(um_dtype_name(packed->dtype), be, got, want, (size_t)m * n, 1e-6);
    be->ops->release(be, &acts);
    free(y);
    free(got);
    free(want);
}

/* Every number of rows; past LINEAR_SLAB terms and LINEAR_GROUP_BYTES of weights. */
static void test_linear(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1},    {33, 31},   {32, 64},   {70, 257},  {31, 300},
                                    {96, 512}, {40, 2048}, {65, 2049}, {48, 4200}, {420, 2100}};
    backend_set set = open_backends(2);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        product p = new_product(shapes[s][0], shapes[s][1]);
        for (int f = 0; f < N_FORMATS; f++) {
            formula(&p, formats[f]);
            for (int b = 0; b < set.n; b++) {
                um_backend *be = set.be[b];
                um_packed packed = pack(be, formats[f], p.w, p.n, p.k, false);
                const bool slow = b == set.n - 1 && p.n * p.k > 100000;
                for (size_t i = slow ? 7 : 0; i < sizeof row_counts / sizeof *row_counts; i++)
                    run_linear(be, &p, &packed, row_counts[i], i % 2 == 0 ? p.bias : NULL,
                               i % 4 < 2);
                run_linear(be, &p, &packed, 3, p.bias, false);
                run_linear(be, &p, &packed, 3, NULL, false);
                be->ops->linear(be, NULL, 0, NULL, 0, &packed, NULL, false);
                be->ops->unpack(be, &packed);
            }
        }
        free_product(&p);
    }
    close_backends(&set);
}

/* Same bits --------------------------------------------------------------------------------------
 */

/* Rows [row, row + m) of x, by themselves. */
static void linear_of(um_backend *be, const um_packed *packed, const product *p, const float *bias,
                      int row, int m, float *y)
{
    um_buf acts = new_acts(be, packed->dtype, m, p->k);
    be->ops->acts_set(be, acts.data, packed->dtype, p->x + row * p->ldx, p->ldx, m, p->k);
    be->ops->linear(be, y + row * p->n, p->n, acts.data, m, packed, bias, false);
    be->ops->release(be, &acts);
}

static void test_same_bits(void **state)
{
    (void)state;
    static const int shapes[][2] = {{33, 31}, {450, 300}, {300, 2100}, {129, 4200}};
    static const int cuts[] = {1, 5, 16, 20, 64};
    backend_set set = open_backends(1), two = open_backends(2), three = open_backends(3);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        product p = new_product(shapes[s][0], shapes[s][1]);
        const size_t size = (size_t)M * p.n;
        for (int f = 0; f < N_FORMATS; f++) {
            /* Without a bias kernels write to y themselves. */
            const float *bias = (s + (size_t)f) % 2 == 0 ? p.bias : NULL;
            for (int b = 0; b < set.n - 1; b++) {
                um_packed packed = pack(set.be[b], formats[f], p.w, p.n, p.k, false);
                float *all = new_floats(size), *part = new_floats(size);
                linear_of(set.be[b], &packed, &p, bias, 0, M, all);
                for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
                    memset(part, 0xff, size * sizeof *part);
                    for (int row = 0; row < M; row += cuts[c])
                        linear_of(set.be[b], &packed, &p, bias, row, least(cuts[c], M - row), part);
                    check_bits("linear, few rows at a time", set.be[b], part, all, size);
                }
                for (int threads = 2; threads <= 3; threads++) {
                    um_backend *more = threads == 2 ? two.be[b] : three.be[b];
                    memset(part, 0xff, size * sizeof *part);
                    linear_of(more, &packed, &p, bias, 0, M, part);
                    check_bits("linear, more threads", more, part, all, size);
                    linear_of(more, &packed, &p, bias, 7, 1, part);
                    check_bits("linear of one row, more threads", more, part, all, size);
                }
                set.be[b]->ops->unpack(set.be[b], &packed);
                free(all);
                free(part);
            }
        }
        free_product(&p);
    }
    close_backends(&set);
    close_backends(&two);
    close_backends(&three);
}

/* Sums that kernels write to y, and those that a bias is added to on the way, are the same. */
static void test_bias_of_zeros(void **state)
{
    (void)state;
    static const int shapes[][2] = {{96, 40}, {70, 300}, {64, 6400}};
    static const int rows[] = {1, 13, M};
    backend_set set = open_backends(2);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        product p = new_product(shapes[s][0], shapes[s][1]);
        float *zeros = new_floats((size_t)p.n);
        memset(zeros, 0, (size_t)p.n * sizeof *zeros);
        for (int run = 0; run < N_FORMATS * (set.n - 1) * 6; run++) {
            const int m = rows[run % 3];
            const bool accumulate = run / 3 % 2 == 0;
            um_backend *be = set.be[run / 6 % (set.n - 1)];
            const um_dtype dtype = formats[run / 6 / (set.n - 1)];
            um_packed packed = pack(be, dtype, p.w, p.n, p.k, false);
            um_buf acts = new_acts(be, dtype, m, p.k);
            float *with = copy_floats(p.y, (size_t)m * p.ldy);
            float *without = copy_floats(p.y, (size_t)m * p.ldy);
            be->ops->acts_set(be, acts.data, dtype, p.x, p.ldx, m, p.k);
            be->ops->linear(be, with, p.ldy, acts.data, m, &packed, zeros, accumulate);
            be->ops->linear(be, without, p.ldy, acts.data, m, &packed, NULL, accumulate);
            check_bits("linear without a bias", be, without, with, (size_t)m * p.ldy);
            be->ops->release(be, &acts);
            be->ops->unpack(be, &packed);
            free(with);
            free(without);
        }
        free(zeros);
        free_product(&p);
    }
    close_backends(&set);
}

/* Many outputs of many rows, which are stored past the caches where they lie in whole vectors: as
 * few rows are stored. */
static void test_large_results(void **state)
{
    (void)state;
    enum { ROWS = M, FEW = 13, K = 300, MOST = 32800, AHEAD = 1 };
    /* n, ldy, where y begins: whole vectors, a rest in the last one, rows or y that begin within
     * one. */
    static const int widths[][3] = {
        {MOST, MOST, 0}, {MOST - 31, MOST, 0}, {MOST - 31, MOST - 31, 0}, {MOST, MOST, AHEAD}};
    enum { N_WIDTHS = sizeof widths / sizeof *widths };
    backend_set set = open_backends(2);
    um_error err;
    float *w = new_floats((size_t)MOST * K), *x = new_floats(ROWS * K);
    for (size_t i = 0; i < (size_t)MOST * K; i++)
        w[i] = (float)(i * 7919 % 1009) / 1009.0f - 0.5f;
    for (size_t i = 0; i < ROWS * K; i++)
        x[i] = (float)(i * 104729 % 997) / 997.0f - 0.5f;
    for (size_t s = 0; s < N_WIDTHS * (size_t)(set.n - 1); s++) {
        um_backend *be = set.be[s / N_WIDTHS];
        const int n = widths[s % N_WIDTHS][0], ldy = widths[s % N_WIDTHS][1];
        const um_dtype dtype = s % 2 == 0 ? UM_I8 : UM_BF16;
        um_packed packed = pack(be, dtype, w, n, K, false);
        um_buf all, few, acts = new_acts(be, dtype, ROWS, K);
        assert_ok(
            be->ops->alloc(be, &all, ((size_t)ROWS * (size_t)ldy + AHEAD) * sizeof(float), &err),
            err);
        assert_ok(be->ops->alloc(be, &few, (size_t)FEW * (size_t)ldy * sizeof(float), &err), err);
        float *y = (float *)all.data + widths[s % N_WIDTHS][2];
        be->ops->acts_set(be, acts.data, dtype, x, K, ROWS, K);
        be->ops->linear(be, y, ldy, acts.data, ROWS, &packed, NULL, false);
        for (int row = 0; row < ROWS; row += FEW) {
            be->ops->acts_set(be, acts.data, dtype, x + row * K, K, FEW, K);
            be->ops->linear(be, few.data, ldy, acts.data, FEW, &packed, NULL, false);
            check_bits("many outputs", be, y + (size_t)row * (size_t)ldy, few.data,
                       (size_t)FEW * (size_t)ldy);
        }
        be->ops->release(be, &all);
        be->ops->release(be, &few);
        be->ops->release(be, &acts);
        be->ops->unpack(be, &packed);
    }
    free(w);
    free(x);
    close_backends(&set);
}

/* Numbers that are none --------------------------------------------------------------------------
 */

/* Infinity and NaN, of any bits, spoil the row they are in and no other. */
static void test_rows_do_not_leak(void **state)
{
    (void)state;
    static const uint32_t bad[] = {0x7fc00000, 0xffc00000, 0x7fffffff, 0xffffffff,
                                   0x7f800001, 0x7f800000, 0xff800000};
    enum { N_BAD = sizeof bad / sizeof *bad };
    backend_set set = open_backends(1);
    product p = new_product(50, 600);
    for (int f = 0; f < N_FORMATS; f++) {
        for (int b = 0; b < set.n; b++) {
            um_packed packed = pack(set.be[b], formats[f], p.w, p.n, p.k, false);
            float *clean = new_floats((size_t)M * p.n), *y = new_floats((size_t)M * p.n);
            linear_of(set.be[b], &packed, &p, NULL, 0, M, clean);
            for (int i = 0; i < 2 * N_BAD; i++) { /* in the middle of vectors and at the end */
                float *at = &p.x[(i * 9 + 4) * p.ldx + (i < N_BAD ? 301 + i : p.k - 1)];
                const float was = *at;
                *at = um_bits_float(bad[i % N_BAD]);
                linear_of(set.be[b], &packed, &p, NULL, 0, M, y);
                for (int row = 0; row < M; row++) {
                    if (row != i * 9 + 4)
                        check_bits("another row's NaN", set.be[b], y + row * p.n, clean + row * p.n,
                                   (size_t)p.n);
                    for (int j = 0; j < p.n; j++)
                        assert_int_equal(isfinite(y[row * p.n + j]) != 0, row != i * 9 + 4);
                }
                *at = was;
            }
            set.be[b]->ops->unpack(set.be[b], &packed);
            free(clean);
            free(y);
        }
    }
    free_product(&p);
    close_backends(&set);
}

/* Blocks of very small and very large numbers: scales of bytes neither vanish nor overflow. */
static void test_extreme_blocks(void **state)
{
    (void)state;
    static const float sizes[] = {1e-45f, 1e-40f, 1.2e-38f, 3e-37f, 1e-36f, 1e-30f, 1e18f};
    backend_set set = open_backends(1);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        product p = new_product(40, 300), q = new_product(40, 300);
        for (int i = 0; i < M * p.ldx; i++)
            p.x[i] = copysignf(sizes[s], p.x[i]) * (float)(i % 3);
        for (int i = 0; i < q.n * q.k; i++)
            q.w[i] = copysignf(sizes[s], q.w[i]) * (float)(i % 3);
        for (int f = 0; f < N_FORMATS; f++) {
            for (int b = 0; b < set.n; b++) {
                um_packed plain = pack(set.be[b], formats[f], p.w, p.n, p.k, false);
                um_packed small = pack(set.be[b], formats[f], q.w, q.n, q.k, false);
                float *y = new_floats((size_t)M * p.n);
                const double limit = (double)sizes[s] * 2 * p.k * 6 + 1e-30;
                memset(p.bias, 0, (size_t)p.n * sizeof *p.bias);
                memset(q.bias, 0, (size_t)q.n * sizeof *q.bias);
                linear_of(set.be[b], &plain, &p, p.bias, 0, M, y);
                for (int i = 0; i < M * p.n; i++)
                    assert_close(y[i], 0, limit);
                linear_of(set.be[b], &small, &q, q.bias, 0, M, y);
                for (int i = 0; i < M * p.n && (formats[f] != UM_F16 || sizes[s] < 1.0f); i++)
                    assert_close(y[i], 0, limit);
                set.be[b]->ops->unpack(set.be[b], &plain);
                set.be[b]->ops->unpack(set.be[b], &small);
                free(y);
            }
        }
        free_product(&p);
        free_product(&q);
    }
    close_backends(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_sizes),     cmocka_unit_test(test_packed_order),
        cmocka_unit_test(test_pair_order),       cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_linear),           cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_rows_do_not_leak), cmocka_unit_test(test_extreme_blocks),
        cmocka_unit_test(test_large_results),    cmocka_unit_test(test_bias_of_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
