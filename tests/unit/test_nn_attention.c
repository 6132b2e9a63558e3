/* Attention of every backend: values and gradients against a double-precision formula, and the same
 * bits for a query row whatever it is computed with. */
#include "nn/number.h"
#include "nn_util.h"

#define MAX_SPANS  24
#define MAX_RANGES 24

typedef struct layout {
    const char *name;
    um_span spans[MAX_SPANS];
    um_range ranges[MAX_RANGES];
    int n_spans, n_ranges;
    int q_rows, kv_rows;
} layout;

typedef struct problem {
    um_attention_shape shape;
    const layout *l;
    int ldq, ldkv, ldo;
    float *q, *k, *v, *g;      /* g: gradient of out */
    double *dq, *dk, *dv, *dg; /* the same in double */
    double *out, *lse;
} problem;

/* Key rows of token j of a span, in order; the number of them. */
static int list_keys(const layout *l, const um_span *s, int j, int *keys)
{
    int n = 0;
    for (int i = 0; i < s->prefix_count; i++) {
        const um_range r = l->ranges[s->prefix_first + i];
        for (int x = 0; x < r.len; x++)
            keys[n++] = r.start + x;
    }
    for (int x = 0; x < s->own_before + j + 1; x++)
        keys[n++] = s->kv_start + x;
    return n;
}

/* One query row and head: out[D] and lse. */
static double formula_row(const problem *p, const um_span *s, int j, int h, double *out)
{
    const int d = p->shape.head_dim, at = h / (p->shape.n_heads / p->shape.n_kv_heads) * d;
    int keys[4096];
    double score[4096];
    const int n = list_keys(p->l, s, j, keys);
    const double *q = p->dq + (s->start + j) * p->ldq + h * d;
    double max = -INFINITY, sum = 0.0;
    for (int i = 0; i < n; i++) {
        score[i] = 0.0;
        for (int x = 0; x < d; x++)
            score[i] += q[x] * p->dk[keys[i] * p->ldkv + at + x];
        score[i] *= (double)p->shape.scale;
        max = score[i] > max ? score[i] : max;
    }
    for (int x = 0; x < d; x++)
        out[x] = 0.0;
    for (int i = 0; i < n; i++)
        sum += exp(score[i] - max);
    for (int i = 0; i < n; i++) {
        for (int x = 0; x < d; x++)
            out[x] += exp(score[i] - max) / sum * p->dv[keys[i] * p->ldkv + at + x];
    }
    return max + log(sum);
}

/* Fills out and lse and returns the sum of out * g. */
static double formula(const void *ctx)
{
    const problem *p = ctx;
    const int d = p->shape.head_dim;
    double total = 0.0;
    for (const um_span *s = p->l->spans; s < p->l->spans + p->l->n_spans; s++) {
        for (int i = 0; i < s->len * p->shape.n_heads; i++) {
            const int j = i / p->shape.n_heads, h = i % p->shape.n_heads, row = s->start + j;
            double *out = p->out + row * p->ldo + h * d;
            p->lse[row * p->shape.n_heads + h] = formula_row(p, s, j, h, out);
            for (int x = 0; x < d; x++)
                total += out[x] * p->dg[row * p->ldo + h * d + x];
        }
    }
    return total;
}

static float *random_values(size_t n, uint64_t key, bool bf16)
{
    float *x = random_floats(n, key);
    for (size_t i = 0; i < n && bf16; i++)
        x[i] = um_bf16_value(um_bf16_bits(x[i]));
    return x;
}

static problem new_problem(const layout *l, int heads, int kv_heads, int dim, bool bf16)
{
    problem p = {.shape = {heads, kv_heads, dim, (float)(1.0 / sqrt(dim)), bf16}, .l = l};
    p.ldq = heads * dim + 2 * kv_heads * dim;
    p.ldkv = kv_heads * dim + 1;
    p.ldo = heads * dim;
    const size_t nq = (size_t)l->q_rows * p.ldq, nkv = (size_t)l->kv_rows * p.ldkv;
    const size_t no = (size_t)l->q_rows * p.ldo;
    p.q = random_values(nq, 11, bf16);
    p.k = random_values(nkv, 12, bf16);
    p.v = random_values(nkv, 13, bf16);
    p.g = random_values(no, 14, bf16);
    p.dq = to_doubles(p.q, nq);
    p.dk = to_doubles(p.k, nkv);
    p.dv = to_doubles(p.v, nkv);
    p.dg = to_doubles(p.g, no);
    p.out = calloc(no + 1, sizeof *p.out);
    p.lse = calloc((size_t)l->q_rows * heads + 1, sizeof *p.lse);
    assert_non_null(p.out);
    assert_non_null(p.lse);
    return p;
}

static void free_problem(problem *p)
{
    free(p->q);
    free(p->k);
    free(p->v);
    free(p->g);
    free(p->dq);
    free(p->dk);
    free(p->dv);
    free(p->dg);
    free(p->out);
    free(p->lse);
}

static void forward(um_backend *be, const problem *p, float *out, float *lse)
{
    be->ops->attention_forward(be, out, p->ldo, lse, p->q, p->ldq, p->k, p->v, p->ldkv, &p->shape,
                               p->l->spans, p->l->n_spans, p->l->ranges);
}

static const layout layouts[] = {
    {.name = "two sequences",
     .spans = {{0, 70, 0, 0, 0, 0}, {70, 35, 70, 0, 0, 0}},
     .n_spans = 2,
     .q_rows = 105,
     .kv_rows = 105},
    {.name = "one row, an empty span, three rows",
     .spans = {{0, 1, 0, 0, 0, 0}, {1, 0, 1, 0, 0, 0}, {1, 3, 1, 0, 0, 0}},
     .n_spans = 3,
     .q_rows = 4,
     .kv_rows = 4},
    {.name = "prompt and completions",
     .spans = {{0, 40, 0, 0, 0, 0},
               {40, 9, 40, 0, 0, 1},
               {49, 17, 49, 0, 0, 1},
               {66, 30, 66, 0, 0, 0},
               {96, 5, 96, 0, 1, 1}},
     .n_spans = 5,
     .ranges = {{0, 40}, {66, 30}},
     .n_ranges = 2,
     .q_rows = 101,
     .kv_rows = 101},
    {.name = "decoding steps over a long prefix in pieces",
     .spans = {{0, 1, 200, 7, 0, 4},
               {1, 1, 220, 0, 0, 4},
               {2, 2, 240, 70, 0, 4},
               {4, 1, 340, 3, 4, 1},
               {5, 1, 350, 0, 5, 0}},
     .n_spans = 5,
     .ranges = {{100, 50}, {0, 13}, {30, 0}, {30, 68}, {0, 64}},
     .n_ranges = 5,
     .q_rows = 6,
     .kv_rows = 360},
    {.name = "out of order, reaching back",
     .spans = {{10, 20, 50, 0, 0, 0}, {0, 10, 0, 0, 0, 1}, {30, 4, 20, 3, 1, 1}},
     .n_spans = 3,
     .ranges = {{50, 20}, {2, 5}},
     .n_ranges = 2,
     .q_rows = 34,
     .kv_rows = 70},
};

static const int shapes[][3] = {{1, 1, 8},  {4, 2, 16},  {3, 1, 32}, {6, 2, 64},
                                {2, 2, 80}, {5, 1, 128}, {2, 1, 6},  {1, 1, 256}};

static void test_forward(void **state)
{
    (void)state;
    backend_set set = open_backends(2);
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        for (size_t s = 0; s < 2 * sizeof shapes / sizeof *shapes; s++) {
            const bool bf16 = s % 2 == 1;
            const int *sizes = shapes[s / 2];
            problem p = new_problem(&layouts[i], sizes[0], sizes[1], sizes[2], bf16);
            const size_t n = (size_t)p.l->q_rows * p.ldo;
            const size_t n_lse = (size_t)p.l->q_rows * p.shape.n_heads;
            formula(&p);
            for (int b = 0; b < set.n; b++) {
                float *out = new_floats(n), *lse = new_floats(n_lse), *again = new_floats(n);
                forward(set.be[b], &p, out, lse);
                check_near(p.l->name, set.be[b], out, p.out, n, bf16 ? 4e-3 : 1e-6);
                check_near("lse", set.be[b], lse, p.lse, n_lse, 1e-6);
                forward(set.be[b], &p, again, NULL);
                check_bits("attention without lse", set.be[b], again, out, n);
                free(out);
                free(lse);
                free(again);
            }
            free_problem(&p);
        }
    }
    close_backends(&set);
}

/* Gradients of one backend; q, k and v gradients start at 1 to see what is overwritten or added. */
static void backward(um_backend *be, const problem *p, float **dq, float **dk, float **dv)
{
    const size_t nq = (size_t)p->l->q_rows * p->ldq, nkv = (size_t)p->l->kv_rows * p->ldkv;
    const size_t no = (size_t)p->l->q_rows * p->ldo;
    float *out = new_floats(no), *lse = new_floats((size_t)p->l->q_rows * p->shape.n_heads);
    *dq = new_floats(nq);
    *dk = new_floats(nkv);
    *dv = new_floats(nkv);
    for (size_t i = 0; i < nq; i++)
        (*dq)[i] = 1.0f;
    for (size_t i = 0; i < nkv; i++)
        (*dk)[i] = (*dv)[i] = 1.0f;
    forward(be, p, out, lse);
    be->ops->attention_backward(be, *dq, p->ldq, *dk, *dv, p->ldkv, p->g, p->ldo, out, p->ldo, lse,
                                p->q, p->ldq, p->k, p->v, p->ldkv, &p->shape, p->l->spans,
                                p->l->n_spans, p->l->ranges);
    free(out);
    free(lse);
}

static void test_backward(void **state)
{
    (void)state;
    backend_set set = open_backends(2);
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        for (size_t s = 0; s < 2 * sizeof shapes / sizeof *shapes; s++) {
            const bool bf16 = s % 2 == 1;
            const int *sizes = shapes[s / 2];
            problem p = new_problem(&layouts[i], sizes[0], sizes[1], sizes[2], bf16);
            const size_t nq = (size_t)p.l->q_rows * p.ldq, nkv = (size_t)p.l->kv_rows * p.ldkv;
            float *ref_dq, *ref_dk, *ref_dv;
            backward(set.be[set.n - 1], &p, &ref_dq, &ref_dk, &ref_dv);
            for (int b = 0; b < set.n; b++) {
                float *dq, *dk, *dv;
                backward(set.be[b], &p, &dq, &dk, &dv);
                check_near_f("dq", set.be[b], dq, ref_dq, nq, bf16 ? 4e-3 : 1e-6);
                check_near_f("dk", set.be[b], dk, ref_dk, nkv, bf16 ? 4e-3 : 1e-6);
                check_near_f("dv", set.be[b], dv, ref_dv, nkv, bf16 ? 4e-3 : 1e-6);
                free(dq);
                free(dk);
                free(dv);
            }
            free(ref_dq);
            free(ref_dk);
            free(ref_dv);
            free_problem(&p);
        }
    }
    close_backends(&set);
}

static void test_finite_differences(void **state)
{
    (void)state;
    backend_set set = open_backends(1);
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        problem p = new_problem(&layouts[i], 4, 2, 8, false);
        const size_t nq = (size_t)p.l->q_rows * p.ldq, nkv = (size_t)p.l->kv_rows * p.ldkv;
        for (int b = 0; b < set.n; b++) {
            float *dq, *dk, *dv;
            backward(set.be[b], &p, &dq, &dk, &dv);
            for (size_t x = 0; x < nq; x++) { /* beyond the query heads nothing is touched */
                if ((int)(x % p.ldq) >= p.shape.n_heads * p.shape.head_dim) {
                    assert_close(dq[x], 1, 0);
                    dq[x] = 0.0f;
                }
            }
            for (size_t x = 0; x < nkv; x++) {
                dk[x] -= 1.0f;
                dv[x] -= 1.0f;
            }
            check_gradient("dq", set.be[b], dq, p.dq, nq, formula, &p);
            check_gradient("dk", set.be[b], dk, p.dk, nkv, formula, &p);
            check_gradient("dv", set.be[b], dv, p.dv, nkv, formula, &p);
            free(dq);
            free(dk);
            free(dv);
        }
        free_problem(&p);
    }
    close_backends(&set);
}

/*
 * One sequence of N tokens in one span, against: every token as a decoding step alone, all tokens
 * as steps of one call, two halves, and the first P tokens named as prefix in one and in many
 * ranges.
 */
static void test_same_bits_prefill_and_decode(void **state)
{
    (void)state;
    enum { N = 210, P = 150 };
    backend_set set = open_backends(1), two = open_backends(2);
    layout whole = {.spans = {{0, N, 0, 0, 0, 0}}, .n_spans = 1, .q_rows = N, .kv_rows = N};
    for (size_t s = 0; s < 2 * sizeof shapes / sizeof *shapes; s++) {
        const bool bf16 = s % 2 == 1;
        const int *sizes = shapes[s / 2];
        problem p = new_problem(&whole, sizes[0], sizes[1], sizes[2], bf16);
        const size_t n = (size_t)N * p.ldo;
        um_span steps[N];
        for (int i = 0; i < N; i++)
            steps[i] = (um_span){i, 1, 0, i, 0, 0};
        const um_span halves[2] = {{0, 100, 0, 0, 0, 0}, {100, N - 100, 0, 100, 0, 0}};
        const um_range ranges[6] = {{0, P}, {0, 1}, {1, 62}, {63, 2}, {65, 0}, {65, P - 65}};
        const um_span after[1] = {{P, N - P, P, 0, 0, 1}};
        const um_span pieces[3] = {
            {P, 20, P, 0, 1, 5}, {P + 20, 1, P, 20, 1, 5}, {P + 21, N - P - 21, P, 21, 1, 5}};
        for (int b = 0; b < set.n; b++) {
            um_backend *be = set.be[b];
            const um_backend_ops *ops = be->ops;
            float *want = new_floats(n), *got = new_floats(n);
            forward(be, &p, want, NULL);
            for (int i = 0; i < N; i++)
                ops->attention_forward(be, got, p.ldo, NULL, p.q, p.ldq, p.k, p.v, p.ldkv, &p.shape,
                                       steps + i, 1, NULL);
            check_bits("steps one by one", be, got, want, n);
            memset(got, 0, n * sizeof *got);
            ops->attention_forward(be, got, p.ldo, NULL, p.q, p.ldq, p.k, p.v, p.ldkv, &p.shape,
                                   steps, N, NULL);
            check_bits("steps together", be, got, want, n);
            memset(got, 0, n * sizeof *got);
            two.be[b]->ops->attention_forward(two.be[b], got, p.ldo, NULL, p.q, p.ldq, p.k, p.v,
                                              p.ldkv, &p.shape, halves, 2, NULL);
            check_bits("two halves, two threads", be, got, want, n);
            memset(got + P * p.ldo, 0, (size_t)(N - P) * p.ldo * sizeof *got);
            ops->attention_forward(be, got, p.ldo, NULL, p.q, p.ldq, p.k, p.v, p.ldkv, &p.shape,
                                   after, 1, ranges);
            check_bits("after a prefix", be, got, want, n);
            memset(got + P * p.ldo, 0, (size_t)(N - P) * p.ldo * sizeof *got);
            ops->attention_forward(be, got, p.ldo, NULL, p.q, p.ldq, p.k, p.v, p.ldkv, &p.shape,
                                   pieces, 3, ranges);
            check_bits("after a prefix in pieces", be, got, want, n);
            free(want);
            free(got);
        }
        free_problem(&p);
    }
    close_backends(&set);
    close_backends(&two);
}

/* Forward and backward of sequences together and alone, and with 1, 2 and 3 threads. */
static void test_same_bits_batch_and_threads(void **state)
{
    (void)state;
    backend_set one = open_backends(1), two = open_backends(2), three = open_backends(3);
    layout many = {.n_ranges = 4, .q_rows = 0};
    for (int i = 0; i < 20; i++) { /* four groups: a prompt and four completions of it */
        const int len = i % 5 == 0 ? 65 + i : 3 + i * 2;
        if (i % 5 == 0)
            many.ranges[i / 5] = (um_range){many.q_rows, len};
        many.spans[i] = (um_span){many.q_rows, len, many.q_rows, 0, i / 5, i % 5 == 0 ? 0 : 1};
        many.q_rows += len;
    }
    /* With the 21st span, which names the first prompt again, the groups are not apart. */
    const int last_row = many.q_rows;
    many.spans[20] = (um_span){many.q_rows, 30, many.q_rows, 0, 0, 1};
    many.q_rows += 30;
    many.kv_rows = many.q_rows;
    for (size_t s = 0; s < 10; s++) {
        many.n_spans = s < 5 ? 20 : 21;
        problem p = new_problem(&many, shapes[s % 5][0], shapes[s % 5][1], shapes[s % 5][2],
                                s % 2 == 1);
        const size_t n = (size_t)many.q_rows * p.ldo, nq = (size_t)many.q_rows * p.ldq;
        const size_t nkv = (size_t)many.q_rows * p.ldkv;
        for (int b = 0; b < one.n; b++) {
            float *want = new_floats(n), *got = new_floats(n);
            float *dq, *dk, *dv, *dq2, *dk2, *dv2;
            forward(one.be[b], &p, want, NULL);
            backward(one.be[b], &p, &dq, &dk, &dv);
            for (int i = 0; i < many.n_spans; i++)
                one.be[b]->ops->attention_forward(one.be[b], got, p.ldo, NULL, p.q, p.ldq, p.k, p.v,
                                                  p.ldkv, &p.shape, many.spans + i, 1, many.ranges);
            check_bits("one span a call", one.be[b], got, want, n);
            for (int t = 2; t <= 3; t++) {
                um_backend *be = t == 2 ? two.be[b] : three.be[b];
                forward(be, &p, got, NULL);
                check_bits("forward, more threads", be, got, want, n);
                backward(be, &p, &dq2, &dk2, &dv2);
                check_bits("dq, more threads", be, dq2, dq, nq);
                check_bits("dk, more threads", be, dk2, dk, nkv);
                check_bits("dv, more threads", be, dv2, dv, nkv);
                free(dq2);
                free(dk2);
                free(dv2);
            }
            /* The last group alone: gradients of its rows do not know the other groups. */
            layout tail = many;
            memcpy(tail.spans, many.spans + 15, 5 * sizeof *tail.spans);
            tail.n_spans = 5;
            problem part = p;
            part.l = &tail;
            const int first = many.spans[15].start, rows = last_row - first;
            backward(one.be[b], &part, &dq2, &dk2, &dv2);
            check_bits("dq alone", one.be[b], dq2 + first * p.ldq, dq + first * p.ldq,
                       (size_t)rows * p.ldq);
            check_bits("dk alone", one.be[b], dk2 + first * p.ldkv, dk + first * p.ldkv,
                       (size_t)rows * p.ldkv);
            check_bits("dv alone", one.be[b], dv2 + first * p.ldkv, dv + first * p.ldkv,
                       (size_t)rows * p.ldkv);
            free(dq2);
            free(dk2);
            free(dv2);
            free(dq);
            free(dk);
            free(dv);
            free(want);
            free(got);
        }
        free_problem(&p);
    }
    close_backends(&one);
    close_backends(&two);
    close_backends(&three);
}

/* A later token's NaN must not reach an earlier one; a row without keys gives 0. */
static void test_no_leak_and_no_keys(void **state)
{
    (void)state;
    backend_set set = open_backends(1);
    layout l = {.spans = {{0, 50, 0, 0, 0, 0}, {50, 2, 50, -2, 0, 0}},
                .n_spans = 2,
                .q_rows = 52,
                .kv_rows = 52};
    problem p = new_problem(&l, 2, 1, 16, false);
    for (int d = 0; d < 16; d++) {
        p.k[20 * p.ldkv + d] = NAN;
        p.v[30 * p.ldkv + d] = INFINITY;
    }
    const size_t n = 52 * (size_t)p.ldo;
    for (int b = 0; b < set.n; b++) {
        float *out = new_floats(n), *lse = new_floats(52 * 2);
        for (size_t i = 0; i < n; i++)
            out[i] = 7.0f;
        forward(set.be[b], &p, out, lse);
        for (int i = 0; i < 52 * p.ldo; i++) {
            if (i / p.ldo >= 50)
                assert_close(out[i], 0, 0);
            else
                assert_int_equal(isfinite(out[i]) != 0, i / p.ldo < 20);
        }
        float *dq, *dk, *dv;
        backward(set.be[b], &p, &dq, &dk, &dv);
        assert_close(dq[50 * p.ldq], 0, 0);
        free(dq);
        free(dk);
        free(dv);
        free(out);
        free(lse);
    }
    free_problem(&p);
    close_backends(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_backward),
        cmocka_unit_test(test_finite_differences),
        cmocka_unit_test(test_same_bits_prefill_and_decode),
        cmocka_unit_test(test_same_bits_batch_and_threads),
        cmocka_unit_test(test_no_leak_and_no_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
