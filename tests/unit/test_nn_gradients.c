/* Norm, rotation, gate and log-softmax of every backend: values against double precision, gradients
 * against finite differences of the double-precision forward pass. */
#include "nn_util.h"

typedef struct formula {
    int t, c;
    const double *weight; /* of each output in the scalar */
    double *x, *w;
    const int32_t *targets;
} formula;

static double double_square_mean(const double *x, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum / n;
}

static double norm_value(const void *ctx)
{
    const formula *f = ctx;
    double total = 0.0;
    for (int i = 0; i < f->t; i++) {
        const double *x = f->x + i * f->c;
        double r = 1.0 / sqrt(double_square_mean(x, f->c) + 1e-5);
        for (int j = 0; j < f->c; j++)
            total += f->weight[i * f->c + j] * x[j] * r * f->w[j];
    }
    return total;
}

static void test_rmsnorm(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 3}, {3, 8}, {5, 33}, {4, 96}, {2, 577}};
    backend_set set = open_backends(1);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int t = shapes[s][0], c = shapes[s][1];
        const size_t n = (size_t)t * c;
        float *x = random_floats(n, 1), *w = random_floats((size_t)c, 2), *g = random_floats(n, 3);
        formula f = {.t = t, .c = c, .x = to_doubles(x, n), .w = to_doubles(w, (size_t)c)};
        double *weight = to_doubles(g, n), *want = malloc(n * sizeof *want);
        f.weight = weight;
        for (int i = 0; i < t; i++) {
            for (int j = 0; j < c; j++)
                want[i * c + j] =
                    f.x[i * c + j] * f.w[j] / sqrt(double_square_mean(f.x + i * c, c) + 1e-5);
        }
        for (int b = 0; b < set.n; b++) {
            um_backend *be = set.be[b];
            float *out = new_floats(n), *rstd = new_floats((size_t)t);
            float *dx = new_floats(n), *dw = new_floats((size_t)c);
            be->ops->rmsnorm_forward(be, out, NULL, x, w, t, c, 1e-5f);
            check_near("rmsnorm", be, out, want, n, 3e-7);
            be->ops->rmsnorm_forward(be, out, rstd, x, w, t, c, 1e-5f);
            be->ops->rmsnorm_backward(be, dx, dw, g, x, w, rstd, t, c);
            check_gradient("rmsnorm dx", be, dx, f.x, n, norm_value, &f);
            check_gradient("rmsnorm dw", be, dw, f.w, (size_t)c, norm_value, &f);
            /* Both are added to what is there. */
            be->ops->rmsnorm_backward(be, dx, dw, g, x, w, rstd, t, c);
            be->ops->scale(be, dx, 0.5f, n);
            check_gradient("rmsnorm dx, added", be, dx, f.x, n, norm_value, &f);
            free(out);
            free(rstd);
            free(dx);
            free(dw);
        }
        free(x);
        free(w);
        free(g);
        free(f.x);
        free(f.w);
        free(weight);
        free(want);
    }
    close_backends(&set);
}

static void test_rope(void **state)
{
    (void)state;
    static const int dims[] = {2, 8, 16, 32, 64, 80, 128, 256};
    static const int32_t positions[] = {0, 1, 2, 3, 17, 511, 1024, 4095, 8191, 8192, 31000, 131071};
    enum { T = sizeof positions / sizeof *positions, HEADS = 3 };
    backend_set set = open_backends(2);
    for (size_t s = 0; s < sizeof dims / sizeof *dims; s++) {
        const int d = dims[s], half = d / 2, ld = HEADS * d + 5;
        float *x = random_floats((size_t)T * ld, 1), freq[UM_HEAD_DIM_MAX / 2];
        for (int i = 0; i < half; i++)
            freq[i] = (float)pow(10000.0, -2.0 * i / d);
        double *want = to_doubles(x, (size_t)T * ld);
        for (int i = 0; i < T * HEADS * half; i++) {
            const int t = i / (HEADS * half), h = i / half % HEADS, j = i % half;
            const double angle = (double)((float)positions[t] * freq[j]);
            double *lo = want + t * ld + h * d + j, *hi = lo + half, a = *lo, b = *hi;
            *lo = a * cos(angle) - b * sin(angle);
            *hi = b * cos(angle) + a * sin(angle);
        }
        for (int b = 0; b < set.n; b++) {
            um_backend *be = set.be[b];
            float *got = copy_floats(x, (size_t)T * ld);
            be->ops->rope(be, got, ld, T, HEADS, d, positions, freq, false);
            for (int i = 0; i < T * ld; i++)
                assert_close(got[i], want[i], 1e-6);
            for (int t = 0; t < T; t++) /* the gap between rows stays */
                check_bits("rope: gap", be, got + t * ld + HEADS * d, x + t * ld + HEADS * d, 5);
            be->ops->rope(be, got, ld, T, HEADS, d, positions, freq, true);
            check_near_f("rope there and back", be, got, x, (size_t)T * ld, 2e-7);
            free(got);
        }
        free(x);
        free(want);
    }
    close_backends(&set);
}

/* sum of weight * silu(x) * w, element-wise */
static double gate_value(const void *ctx)
{
    const formula *f = ctx;
    double total = 0.0;
    for (int i = 0; i < f->t * f->c; i++)
        total += f->weight[i] * f->x[i] / (1.0 + exp(-f->x[i])) * f->w[i];
    return total;
}

static void test_swiglu(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1}, {3, 7}, {2, 170}, {5, 64}};
    backend_set set = open_backends(1);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int t = shapes[s][0], c = shapes[s][1], ld = 2 * c + 1;
        const size_t n = (size_t)t * c;
        float *gate = random_floats(n, 1), *up = random_floats(n, 2), *g = random_floats(n, 3);
        float *in = new_floats((size_t)t * ld); /* gate and up side by side, as one product gives */
        for (int i = 0; i < t; i++) {
            memcpy(in + i * ld, gate + i * c, (size_t)c * sizeof(float));
            memcpy(in + i * ld + c, up + i * c, (size_t)c * sizeof(float));
        }
        formula f = {.t = t, .c = c, .x = to_doubles(gate, n), .w = to_doubles(up, n)};
        double *weight = to_doubles(g, n), *want = malloc(n * sizeof *want);
        f.weight = weight;
        for (size_t i = 0; i < n; i++)
            want[i] = f.x[i] / (1.0 + exp(-f.x[i])) * f.w[i];
        for (int b = 0; b < set.n; b++) {
            um_backend *be = set.be[b];
            float *out = new_floats(n), *dgate = new_floats(n), *dup = new_floats(n);
            float *both = new_floats((size_t)t * ld);
            be->ops->swiglu_forward(be, UM_F32, out, in, in + c, ld, t, c);
            check_near("swiglu", be, out, want, n, 3e-7);
            be->ops->swiglu_backward(be, UM_F32, both, both + c, ld, g, in, in + c, ld, t, c);
            for (int i = 0; i < t; i++) {
                memcpy(dgate + i * c, both + i * ld, (size_t)c * sizeof(float));
                memcpy(dup + i * c, both + i * ld + c, (size_t)c * sizeof(float));
            }
            check_gradient("swiglu dgate", be, dgate, f.x, n, gate_value, &f);
            check_gradient("swiglu dup", be, dup, f.w, n, gate_value, &f);
            free(out);
            free(dgate);
            free(dup);
            free(both);
        }
        free(gate);
        free(up);
        free(g);
        free(in);
        free(f.x);
        free(f.w);
        free(weight);
        free(want);
    }
    close_backends(&set);
}

/* silu over the whole range, which is exp over the whole range: relative error of each element. */
static void test_exp_range(void **state)
{
    (void)state;
    enum { N = 20001 };
    backend_set set = open_backends(1);
    float *x = new_floats(N), *one = new_floats(N), *out = new_floats(N);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - N / 2) * 0.0087f;
        one[i] = 1.0f;
    }
    for (int b = 0; b < set.n; b++) {
        um_backend *be = set.be[b];
        be->ops->swiglu_forward(be, UM_F32, out, x, one, N, 1, N);
        for (int i = 0; i < N; i++) {
            const double v = (double)x[i], want = v / (1.0 + exp(-v));
            assert_close(out[i], want, 4e-7 * fabs(want) + 1e-36);
        }
        float special[4] = {NAN, INFINITY, 1000.0f, -1000.0f};
        be->ops->swiglu_forward(be, UM_F32, out, special, one, 4, 1, 4);
        assert_true(isnan(out[0]));
        assert_true(isinf(out[1]) && out[1] > 0.0f);
        assert_close(out[2], 1000, 0);
        assert_close(out[3], 0, 0);
    }
    free(x);
    free(one);
    free(out);
    close_backends(&set);
}

/* sum of weight[t] * log softmax(x[t])[targets[t]] */
static double logprob_value(const void *ctx)
{
    const formula *f = ctx;
    double total = 0.0;
    for (int i = 0; i < f->t; i++) {
        const double *x = f->x + i * f->c;
        double sum = 0.0;
        for (int j = 0; j < f->c; j++)
            sum += exp(x[j] - x[f->targets[i]]);
        total -= f->weight[i] * log(sum);
    }
    return total;
}

static void test_logprob(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1}, {3, 7}, {4, 500}, {2, 5003}};
    backend_set set = open_backends(1);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int t = shapes[s][0], v = shapes[s][1];
        const size_t n = (size_t)t * v;
        float *x = random_floats(n, 1), coef[4] = {1.0f, -2.0f, 0.0f, 0.5f};
        int32_t targets[4] = {v - 1, v / 2, 0, v / 3};
        for (size_t i = 0; i < n; i++)
            x[i] = 4.0f * x[i] + 50.0f;
        double *weight = to_doubles(coef, 4);
        formula f = {.t = t, .c = v, .weight = weight, .x = to_doubles(x, n), .targets = targets};
        for (int b = 0; b < set.n; b++) {
            um_backend *be = set.be[b];
            float logp[4], *grad = copy_floats(x, n);
            be->ops->logprob_forward(be, logp, x, targets, t, v);
            for (int i = 0; i < t; i++) {
                formula row = {.t = 1, .c = v, .x = f.x + i * v, .targets = targets + i};
                const double unit = 1.0;
                row.weight = &unit;
                const double want = logprob_value(&row);
                assert_close(logp[i], want, 1e-6 * (1.0 + fabs(want)));
            }
            be->ops->logprob_backward(be, grad, targets, coef, t, v);
            be->ops->scale(be, grad, -1.0f, n); /* softmax - onehot is minus the gradient of logp */
            check_gradient("logprob", be, grad, f.x, n, logprob_value, &f);
            free(grad);
        }
        free(x);
        free(weight);
        free(f.x);
    }
    close_backends(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm), cmocka_unit_test(test_rope),
        cmocka_unit_test(test_swiglu),  cmocka_unit_test(test_exp_range),
        cmocka_unit_test(test_logprob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
