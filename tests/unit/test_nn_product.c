/*
 * Products in bfloat16, of every backend: against sums in double of the rounded operands, and the
 * same bits for a row whatever it is computed with.
 */
#include "nn/number.h"
#include "nn_util.h"

static float rounded(float x)
{
    return um_bf16_value(um_bf16_bits(x));
}

/* The same values as a matrix in memory of either type. */
typedef struct operand {
    float *wide;
    uint16_t *narrow;
    um_matrix_ref ref;
} operand;

/* rows x columns as the product sees it; stride is a little more than a row. */
static operand make_operand(int rows, int columns, bool trans, um_dtype dtype, uint64_t key)
{
    const int height = trans ? columns : rows, width = trans ? rows : columns, ld = width + 4;
    const size_t n = height == 0 ? 0 : (size_t)(height - 1) * (size_t)ld + (size_t)width;
    operand x = {.wide = random_floats(n, key), .narrow = malloc((n + 1) * sizeof *x.narrow)};
    assert_non_null(x.narrow);
    for (size_t i = 0; i < n; i++)
        x.narrow[i] = um_bf16_bits(x.wide[i]);
    x.ref = (um_matrix_ref){dtype == UM_BF16 ? (void *)x.narrow : x.wide, dtype, ld, trans};
    return x;
}

static double value_at(const operand *x, int row, int column)
{
    const int i = x->ref.trans ? column : row, j = x->ref.trans ? row : column;
    return (double)rounded(x->wide[(size_t)i * (size_t)x->ref.ld + (size_t)j]);
}

static void free_operand(operand *x)
{
    free(x->wide);
    free(x->narrow);
}

static const int sizes[][3] = {{1, 1, 1},     {5, 33, 2},     {13, 40, 7},   {97, 31, 64},
                               {24, 65, 513}, {3, 1030, 20},  {200, 17, 33}, {40, 70, 1100},
                               {193, 96, 96}, {12, 32, 1025}, {2, 3, 0},     {2, 1090, 701}};

/* c of float32, set and added to. */
static void check_wide(um_backend *be, const int *s, const operand *a, const operand *b)
{
    const size_t n = (size_t)s[0] * (size_t)s[1];
    float *c = random_floats(n, 3), *before = copy_floats(c, n);
    for (int accumulate = 0; accumulate < 2; accumulate++) {
        const um_product p = {.m = s[0],
                              .n = s[1],
                              .k = s[2],
                              .a = a->ref,
                              .b = b->ref,
                              .c = c,
                              .c_dtype = UM_F32,
                              .ldc = s[1],
                              .accumulate = accumulate};
        memcpy(c, before, n * sizeof *c);
        be->ops->product(be, &p);
        for (size_t i = 0; i < n; i++) {
            double sum = accumulate ? (double)before[i] : 0.0, size = fabs(sum) + 1e-6;
            for (int t = 0; t < s[2]; t++) {
                const double term = value_at(a, (int)(i / (size_t)s[1]), t) *
                                    value_at(b, t, (int)(i % (size_t)s[1]));
                sum += term;
                size += fabs(term);
            }
            assert_true(fabs((double)c[i] - sum) <= 2e-6 * size);
        }
    }
    free(c);
    free(before);
}

/* A rounded c, of either type, is what rounding makes of the float32 product. */
static void check_rounded(um_backend *be, const int *s, const operand *a, const operand *b)
{
    const size_t n = (size_t)s[0] * (size_t)s[1];
    float *sums = new_floats(n), *bias = random_floats((size_t)s[1], 4),
          *more = random_floats(n, 5);
    float *wide = new_floats(n);
    uint16_t *c = malloc(n * sizeof *c), *residual = malloc(n * sizeof *residual);
    assert_true(c != NULL && residual != NULL);
    um_product p = {.m = s[0],
                    .n = s[1],
                    .k = s[2],
                    .a = a->ref,
                    .b = b->ref,
                    .c = sums,
                    .c_dtype = UM_F32,
                    .ldc = s[1]};
    be->ops->product(be, &p);
    p.rounded = true;
    for (size_t i = 0; i < n; i++) {
        residual[i] = um_bf16_bits(more[i]);
        more[i] = um_bf16_value(residual[i]);
    }
    for (int what = 0; what < 8; what++) {
        const bool narrow = what & 4;
        p.c = narrow ? (void *)c : wide;
        p.c_dtype = narrow ? UM_BF16 : UM_F32;
        p.bias = what & 1 ? bias : NULL;
        p.residual = !(what & 2) ? NULL : narrow ? (void *)residual : more;
        be->ops->product(be, &p);
        for (size_t i = 0; i < n; i++) {
            float value = sums[i];
            if (what & 1)
                value += rounded(bias[i % (size_t)s[1]]);
            if (what & 2)
                value = rounded(value) + more[i];
            assert_int_equal(narrow ? c[i] : um_bf16_bits(wide[i]), um_bf16_bits(value));
        }
    }
    free(sums);
    free(bias);
    free(more);
    free(wide);
    free(c);
    free(residual);
}

static void test_values(void **state)
{
    (void)state;
    backend_set set = open_backends(2);
    for (int i = 0; i < set.n; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            const int *s = sizes[j];
            for (int form = 0; form < 16; form++) {
                const um_dtype types[] = {UM_F32, UM_BF16};
                operand a = make_operand(s[0], s[2], form & 1, types[form >> 2 & 1], 1);
                operand b = make_operand(s[2], s[1], form >> 1 & 1, types[form >> 3 & 1], 2);
                check_wide(set.be[i], s, &a, &b);
                check_rounded(set.be[i], s, &a, &b);
                free_operand(&a);
                free_operand(&b);
            }
        }
    }
    close_backends(&set);
}

/* A row's bits in a product of many rows are those of the row alone; at any number of threads. */
static void test_rows_alone(void **state)
{
    (void)state;
    enum { M = 64, N = 64, K = 1301 }; /* enough for several threads */
    float *want[2] = {NULL, NULL};
    for (int at = 0; at < 2 * 3; at++) {
        const bool trans = at % 2; /* b's terms or its columns are consecutive in memory */
        const int threads = at / 2 + 1;
        backend_set set = open_backends(threads);
        float *c = new_floats((size_t)set.n * M * N), one[N];
        for (int i = 0; i < set.n; i++) {
            operand a = make_operand(M, K, false, UM_BF16, 1);
            operand b = make_operand(K, N, trans, UM_F32, 2);
            um_product p = {.m = M,
                            .n = N,
                            .k = K,
                            .a = a.ref,
                            .b = b.ref,
                            .c = c + i * M * N,
                            .c_dtype = UM_F32,
                            .ldc = N};
            set.be[i]->ops->product(set.be[i], &p);
            for (int row = 0; row < M && threads == 1; row += 19) {
                p.m = 1;
                p.c = one;
                p.a.data = a.narrow + row * a.ref.ld;
                set.be[i]->ops->product(set.be[i], &p);
                assert_memory_equal(one, c + i * M * N + row * N, sizeof one);
            }
            free_operand(&a);
            free_operand(&b);
        }
        if (want[trans] == NULL)
            want[trans] = copy_floats(c, (size_t)set.n * M * N);
        assert_memory_equal(want[trans], c, (size_t)set.n * M * N * sizeof *c);
        free(c);
        close_backends(&set);
    }
    free(want[0]);
    free(want[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_rows_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
