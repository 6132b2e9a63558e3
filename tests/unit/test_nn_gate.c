/*
 * Activations that operations arrange themselves - the RMSNorm of acts_norm, the gated products of
 * linear_gate - of every backend and format, and products too large for 31 bits. What was arranged
 * is read through a product with the identity.
 */
#include <sys/mman.h>

#include "nn/number.h"
#include "nn_packed_util.h"

enum { M = 130 };

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* Arranged activations [m, k] as floats: exact, but for bytes, which a scale is multiplied to. */
static float *read_acts(um_backend *be, um_dtype dtype, const void *acts, int m, int k)
{
    float *one = new_floats((size_t)k * k), *out = new_floats((size_t)m * k);
    for (int i = 0; i < k; i++)
        one[i * k + i] = 1.0f;
    um_packed identity = pack(be, dtype, one, k, k, false);
    be->ops->linear(be, out, k, acts, m, &identity, NULL, false);
    be->ops->unpack(be, &identity);
    free(one);
    return out;
}

/* got is want, which was computed in float32 with an error of `noise`, rounded as arranged. */
static void check_rounded(const char *what, const um_backend *be, um_dtype dtype, const float *got,
                          const double *want, int k, double noise)
{
    for (int from = 0; from < k; from += UM_BLOCK) {
        double most = 0.0;
        for (int i = from; i < least(k, from + UM_BLOCK); i++)
            most = fmax(most, fabs(want[i]));
        for (int i = from; i < least(k, from + UM_BLOCK); i++) {
            const double half = dtype == UM_BF16 ? fabs(want[i]) / 256.0
                                : dtype == UM_I8 ? most / 254.0 * (1.0 + 1e-5)
                                                 : 0.0;
            if (!(fabs((double)got[i] - want[i]) <= half + noise * most))
                fail_msg("%s of %s, %s: term %d of %d is %.9g, expected %.9g", what, be->name,
                         um_dtype_name(dtype), i, k, (double)got[i], want[i]);
        }
    }
}

/* acts_norm --------------------------------------------------------------------------------------
 */

static void test_norm(void **state)
{
    (void)state;
    static const int widths[] = {1, 31, 64, 257, 300, 520};
    static const int rows[] = {1, 16, 17, 70};
    const float eps = 1e-3f;
    backend_set set = open_backends(2);
    for (size_t s = 0; s < sizeof widths / sizeof *widths; s++) {
        const int k = widths[s];
        float *x = random_floats((size_t)70 * k, 1), *w = random_floats((size_t)k, 2);
        double *want = malloc((size_t)k * sizeof *want);
        assert_non_null(want);
        for (int c = 0; c < set.n * N_FORMATS * 4; c++) {
            um_backend *be = set.be[c % set.n];
            const um_dtype dtype = formats[c / set.n % N_FORMATS];
            const int m = rows[c / set.n / N_FORMATS];
            um_buf acts = new_acts(be, dtype, m, k);
            be->ops->acts_norm(be, acts.data, dtype, x, w, m, k, eps);
            float *got = read_acts(be, dtype, acts.data, m, k);
            for (int i = 0; i < m; i++) {
                double sum = 0.0;
                for (int j = 0; j < k; j++)
                    sum += (double)x[i * k + j] * (double)x[i * k + j];
                const double scale = 1.0 / sqrt(sum / k + (double)eps);
                for (int j = 0; j < k; j++)
                    want[j] = (double)x[i * k + j] * scale * (double)w[j];
                check_rounded("acts_norm", be, dtype, got + i * k, want, k, 1e-6);
            }
            be->ops->release(be, &acts);
            free(got);
        }
        free(x);
        free(w);
        free(want);
    }
    close_backends(&set);
}

/* acts_norm is rmsnorm_forward and acts_set, bit for bit, at any number of threads. */
static void test_norm_bits(void **state)
{
    (void)state;
    enum { K = 300 };
    backend_set set = open_backends(1), three = open_backends(3);
    float *x = random_floats(M * K, 1), *w = random_floats(K, 2);
    for (int c = 0; c < set.n * N_FORMATS; c++) {
        um_backend *be = set.be[c % set.n];
        const um_dtype dtype = formats[c / set.n];
        float *norm = new_floats(M * K);
        um_buf acts = new_acts(be, dtype, M, K);
        be->ops->rmsnorm_forward(be, norm, NULL, x, w, M, K, 1e-5f);
        be->ops->acts_set(be, acts.data, dtype, norm, K, M, K);
        float *want = read_acts(be, dtype, acts.data, M, K);
        for (int t = 0; t < 2; t++) {
            um_backend *other = t == 0 ? be : three.be[c % set.n];
            memset(acts.data, 0xff, acts.bytes);
            other->ops->acts_norm(other, acts.data, dtype, x, w, M, K, 1e-5f);
            float *got = read_acts(be, dtype, acts.data, M, K);
            check_bits("acts_norm", other, got, want, M * K);
            free(got);
        }
        be->ops->release(be, &acts);
        free(norm);
        free(want);
    }
    free(x);
    free(w);
    close_backends(&set);
    close_backends(&three);
}

/* linear_gate ------------------------------------------------------------------------------------
 */

typedef struct gate {
    int f, k;
    float *x, *w; /* [M, k], [2f, k] */
} gate;

static gate new_gate(int f, int k)
{
    gate g = {.f = f, .k = k};
    g.x = random_floats((size_t)M * k, 1);
    g.w = random_floats((size_t)2 * f * k, 2);
    for (int i = 0; i < 2 * f * k; i++) /* products of about 1.5, where silu bends */
        g.w[i] *= 1.5f / sqrtf((float)k);
    return g;
}

static void free_gate(gate *g)
{
    free(g->x);
    free(g->w);
}

/* Rows [row, row + m) of the gated products, as floats. */
static float *gated(um_backend *be, const gate *g, const um_packed *pair, int row, int m)
{
    const um_dtype dtype = pair->dtype;
    um_buf in = new_acts(be, dtype, m, g->k), out = new_acts(be, dtype, m, g->f);
    be->ops->acts_set(be, in.data, dtype, g->x + row * g->k, g->k, m, g->k);
    be->ops->linear_gate(be, out.data, in.data, m, pair);
    float *got = read_acts(be, dtype, out.data, m, g->f);
    be->ops->release(be, &in);
    be->ops->release(be, &out);
    return got;
}

/* silu(gate) * up of products that test_nn_packed.c checks. */
static double *gate_formula(um_backend *be, const gate *g, um_dtype dtype)
{
    const int n = 2 * g->f;
    float *y = new_floats((size_t)M * n);
    double *want = malloc((size_t)M * g->f * sizeof *want);
    assert_non_null(want);
    um_packed w = pack(be, dtype, g->w, n, g->k, false);
    um_buf acts = new_acts(be, dtype, M, g->k);
    be->ops->acts_set(be, acts.data, dtype, g->x, g->k, M, g->k);
    be->ops->linear(be, y, n, acts.data, M, &w, NULL, false);
    for (int i = 0; i < M * g->f; i++) {
        const double a = (double)y[i / g->f * n + i % g->f];
        want[i] = a / (1.0 + exp(-a)) * (double)y[i / g->f * n + g->f + i % g->f];
    }
    be->ops->release(be, &acts);
    be->ops->unpack(be, &w);
    free(y);
    return want;
}

/* Widths that end within a tile, a group of panels, a block; K past a slab. */
static void test_gate(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1},     {16, 64},   {17, 300},  {64, 31}, {70, 2100},
                                    {250, 100}, {256, 257}, {300, 520}, {520, 96}};
    static const int rows[] = {1, 5, 16, 17, 64, 65, 128, M};
    backend_set set = open_backends(2);
    um_backend *ref = set.be[set.n - 1];
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        gate g = new_gate(shapes[s][0], shapes[s][1]);
        for (int d = 0; d < N_FORMATS; d++) {
            double *want = gate_formula(ref, &g, formats[d]);
            for (int b = 0; b < set.n; b++) {
                um_packed pair = pack(set.be[b], formats[d], g.w, 2 * g.f, g.k, true);
                for (size_t r = b == set.n - 1 ? 3 : 0; r < (b == set.n - 1 ? 4 : 8); r++) {
                    float *got = gated(set.be[b], &g, &pair, 0, rows[r]);
                    for (int i = 0; i < rows[r]; i++)
                        check_rounded("linear_gate", set.be[b], formats[d], got + i * g.f,
                                      want + i * g.f, g.f, 3e-6);
                    free(got);
                }
                set.be[b]->ops->linear_gate(set.be[b], NULL, NULL, 0, &pair);
                set.be[b]->ops->unpack(set.be[b], &pair);
            }
            free(want);
        }
        free_gate(&g);
    }
    close_backends(&set);
}

/* A row alone, a few rows, more threads: same bits. */
static void test_gate_bits(void **state)
{
    (void)state;
    static const int shapes[][2] = {{70, 300}, {600, 520}, {520, 2100}};
    static const int cuts[] = {1, 5, 20, 64};
    backend_set set = open_backends(1), two = open_backends(2), three = open_backends(3);
    for (size_t c = 0; c < 3 * N_FORMATS; c++) {
        gate g = new_gate(shapes[c / N_FORMATS][0], shapes[c / N_FORMATS][1]);
        for (int b = 0; b < set.n - 1; b++) {
            um_packed pair = pack(set.be[b], formats[c % N_FORMATS], g.w, 2 * g.f, g.k, true);
            float *all = gated(set.be[b], &g, &pair, 0, M);
            for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
                /* From a few places: every row of every cut would take long. */
                for (int row = 0; row < M; row += cuts[i] * 3 + 17) {
                    const int m = least(cuts[i], M - row);
                    float *part = gated(set.be[b], &g, &pair, row, m);
                    check_bits("linear_gate, few rows", set.be[b], part, all + row * g.f,
                               (size_t)m * g.f);
                    free(part);
                }
            }
            for (int t = 2; t <= 3; t++) {
                um_backend *more = t == 2 ? two.be[b] : three.be[b];
                for (int m = M; m > 0; m -= 60) {
                    float *part = gated(more, &g, &pair, 0, m);
                    check_bits("linear_gate, more threads", more, part, all, (size_t)m * g.f);
                    free(part);
                }
            }
            set.be[b]->ops->unpack(set.be[b], &pair);
            free(all);
        }
        free_gate(&g);
    }
    close_backends(&set);
    close_backends(&two);
    close_backends(&three);
}

/* NaN and infinity stay in their rows on their way through a gate. */
static void test_gate_does_not_leak(void **state)
{
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    backend_set set = open_backends(1);
    gate g = new_gate(300, 96);
    for (int c = 0; c < set.n * N_FORMATS; c++) {
        um_backend *be = set.be[c % set.n];
        um_packed pair = pack(be, formats[c / set.n], g.w, 2 * g.f, g.k, true);
        float *clean = gated(be, &g, &pair, 0, 40);
        for (int i = 0; i < 3; i++) {
            float *at = &g.x[(i * 11 + 4) * g.k + 50];
            const float was = *at;
            *at = bad[i];
            float *got = gated(be, &g, &pair, 0, 40);
            for (int row = 0; row < 40; row++) {
                if (row != i * 11 + 4)
                    check_bits("another row's gate", be, got + row * g.f, clean + row * g.f,
                               (size_t)g.f);
                for (int j = 0; j < g.f && row == i * 11 + 4; j++)
                    assert_false(isfinite(got[row * g.f + j]));
            }
            free(got);
            *at = was;
        }
        free(clean);
        be->ops->unpack(be, &pair);
    }
    free_gate(&g);
    close_backends(&set);
}

/* Large ------------------------------------------------------------------------------------------
 */

/* A head of 152064 tokens by 8192 as a mapped file would be: only its last panel holds anything,
 * and it begins past 2^31 bytes. */
static void test_large(void **state)
{
    (void)state;
    enum { N = 152064 - 3, K = 8192, ROWS = 29 };
    backend_set set = open_backends(2);
    float *x = random_floats(K, 1), *w = random_floats((size_t)ROWS * K, 2);
    const float *rows[UM_PANEL] = {NULL};
    for (int j = 0; j < ROWS; j++)
        rows[j] = w + (size_t)j * K;
    for (int d = 1; d < N_FORMATS; d++) {
        const size_t bytes = um_packed_bytes(formats[d], N, K);
        char *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        assert_true(data != MAP_FAILED);
        um_packed_panel(formats[d], data + bytes - um_packed_panel_bytes(formats[d], K), rows, K);
        const um_packed large = {.dtype = formats[d], .n = N, .k = K, .data = data};
        for (int b = 0; b < set.n - 1; b++) {
            um_backend *be = set.be[b];
            um_packed small = pack(be, formats[d], w, ROWS, K, false);
            um_buf acts = new_acts(be, formats[d], 1, K);
            float *y = new_floats(N), *want = new_floats(ROWS), *row = new_floats(K);
            const int32_t last = N - 1, last_small = ROWS - 1;
            be->ops->acts_set(be, acts.data, formats[d], x, K, 1, K);
            be->ops->linear(be, y, N, acts.data, 1, &large, NULL, false);
            be->ops->linear(be, want, ROWS, acts.data, 1, &small, NULL, false);
            check_bits("the last outputs", be, y + N - ROWS, want, ROWS);
            for (int i = 0; i < N - ROWS; i++)
                assert_true(y[i] == 0.0f);
            float *row_want = new_floats(K);
            be->ops->packed_rows(be, row, &large, &last, 1);
            be->ops->packed_rows(be, row_want, &small, &last_small, 1);
            check_bits("the last row", be, row, row_want, K);
            be->ops->release(be, &acts);
            be->ops->unpack(be, &small);
            free(y);
            free(want);
            free(row);
            free(row_want);
        }
        munmap(data, bytes);
    }
    free(x);
    free(w);
    close_backends(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_norm_bits),
        cmocka_unit_test(test_gate),
        cmocka_unit_test(test_gate_bits),
        cmocka_unit_test(test_gate_does_not_leak),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
