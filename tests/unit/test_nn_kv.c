/*
 * test_nn_kv.c - cached keys and values of every backend: against the reference, and bit for bit
 * however the rows are cut into spans, whoever shares the pages, at any number of threads.
 */
#include "nn_util.h"

/* Rows of the sequence, and of the shortest sample of it. */
enum { LONG = 150, FORK = 135, PAGES = 24 };

typedef struct heads {
    int n, kv, width;
} heads;

static const heads shapes[] = {{4, 4, 16},  {6, 2, 48},  {8, 2, 64},  {7, 1, 80},
                               {16, 2, 40}, {6, 2, 128}, {20, 1, 33}, {2, 1, 256}};
static const um_dtype formats[] = {UM_F32, UM_BF16};

typedef struct attention {
    heads h;
    size_t q_row, kv_row;
    float *q, *k, *v; /* [LONG] of the first sequence */
} attention;

/* `key`: which of several. */
static attention new_attention(heads h, uint64_t key)
{
    attention a = {
        .h = h, .q_row = (size_t)(h.n * h.width + 3), .kv_row = (size_t)(h.kv * h.width + 5)};
    a.q = random_floats(LONG * a.q_row, key + 1);
    a.k = random_floats(LONG * a.kv_row, key + 2);
    a.v = random_floats(LONG * a.kv_row, key + 3);
    return a;
}

static void free_attention(attention *a)
{
    free(a->q);
    free(a->k);
    free(a->v);
}

static um_attention_shape shape_of(const attention *a)
{
    return (um_attention_shape){.n_heads = a->h.n,
                                .n_kv_heads = a->h.kv,
                                .head_dim = a->h.width,
                                .scale = 1.0f / sqrtf((float)a->h.width)};
}

static um_kv_cache open_cache(um_backend *be, um_dtype dtype, const attention *a)
{
    um_kv_cache cache;
    um_error err;
    assert_ok(be->ops->kv_open(be, &cache, dtype, 2, PAGES, a->h.kv, a->h.width, &err), err);
    return cache;
}

/* What an earlier sequence left in the pages of layer 1; `numbers`: of large numbers, else of NaN.
 */
static void soil(um_backend *be, um_kv_cache *cache, const attention *a, bool numbers)
{
    float *stale = random_floats(UM_KV_PAGE * a->kv_row, 9);
    for (size_t i = 0; i < UM_KV_PAGE * a->kv_row; i++)
        stale[i] = numbers ? copysignf(3e38f, stale[i]) : NAN; /* scores: infinite or NaN, too */
    for (int32_t page = 0; page < PAGES; page++) {
        const um_kv_span span = {.len = UM_KV_PAGE, .pages = &page};
        be->ops->kv_write(be, cache, 1, stale, stale, (int)a->kv_row, &span, 1);
    }
    free(stale);
}

/* Rows [from, to) of the sequence in one span after the other of `step` rows each; layer 1. */
static void attend(um_backend *be, um_kv_cache *cache, const attention *a, const int32_t *pages,
                   int from, int to, int step, float *out)
{
    const um_attention_shape shape = shape_of(a);
    for (int at = from; at < to; at += step) {
        const int n = to - at < step ? to - at : step;
        const um_kv_span span = {.len = n, .before = at, .pages = pages};
        be->ops->kv_write(be, cache, 1, a->k + (size_t)at * a->kv_row,
                          a->v + (size_t)at * a->kv_row, (int)a->kv_row, &span, 1);
        be->ops->kv_attention(be, out + (size_t)at * a->q_row, (int)a->q_row,
                              a->q + (size_t)at * a->q_row, (int)a->q_row, cache, 1, &shape, &span,
                              1);
    }
}

/* The reference of keys and values kept as they are: attention, which test_nn_attention.c checks.
 */
static void check_reference(um_backend *ref, const attention *a, const float *got)
{
    const um_attention_shape shape = shape_of(a);
    const um_span span = {.len = LONG};
    float *want = new_floats(LONG * a->q_row);
    ref->ops->attention_forward(ref, want, (int)a->q_row, NULL, a->q, (int)a->q_row, a->k, a->v,
                                (int)a->kv_row, &shape, &span, 1, NULL);
    check_near_f("cached attention", ref, got, want, LONG * a->q_row, 2e-6);
    free(want);
}

static void test_against_reference(void **state)
{
    (void)state;
    static const int32_t pages[] = {5, 0, 11, 2};
    backend_set set = open_backends(2);
    um_backend *ref = set.be[set.n - 1];
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        attention a = new_attention(shapes[s], 0);
        for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
            float *want = new_floats(LONG * a.q_row);
            um_kv_cache cache = open_cache(ref, formats[f], &a);
            attend(ref, &cache, &a, pages, 0, LONG, LONG, want);
            ref->ops->kv_close(ref, &cache);
            if (formats[f] == UM_F32)
                check_reference(ref, &a, want);
            for (int b = 0; b < set.n - 1; b++) {
                float *got = new_floats(LONG * a.q_row);
                cache = open_cache(set.be[b], formats[f], &a);
                soil(set.be[b], &cache, &a, true);
                attend(set.be[b], &cache, &a, pages, 0, LONG, LONG, got);
                /* Products of bfloat16 round queries and weights to it, the reference does not. */
                const char *name = set.be[b]->name;
                const bool rounds =
                    formats[f] == UM_BF16 &&
                    (strcmp(name, "cpu-amx") == 0 || strcmp(name, "cpu-avx512-bf16") == 0);
                check_near_f("cached attention", set.be[b], got, want, LONG * a.q_row,
                             rounds ? 6e-3 : 1e-6);
                set.be[b]->ops->kv_close(set.be[b], &cache);
                free(got);
            }
            free(want);
        }
        free_attention(&a);
    }
    close_backends(&set);
}

/* In one span, in chunks that end anywhere, and row by row. */
static void test_same_bits_in_pieces(void **state)
{
    (void)state;
    static const int32_t pages[] = {5, 0, 11, 2};
    static const int steps[] = {1, 7, 65, 130};
    backend_set set = open_backends(1), three = open_backends(3);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        attention a = new_attention(shapes[s], 0);
        for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
            for (int b = 0; b < (s < 2 ? set.n : set.n - 1); b++) { /* the reference takes long */
                float *all = new_floats(LONG * a.q_row), *part = new_floats(LONG * a.q_row);
                um_kv_cache cache = open_cache(set.be[b], formats[f], &a);
                attend(set.be[b], &cache, &a, pages, 0, LONG, LONG, all);
                for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                    um_backend *be = i % 2 == 0 ? set.be[b] : three.be[b];
                    soil(be, &cache, &a, i % 2 == 0);
                    attend(be, &cache, &a, pages, 0, LONG, steps[i], part);
                    check_bits("attention in pieces", be, part, all, LONG * a.q_row);
                }
                set.be[b]->ops->kv_close(set.be[b], &cache);
                free(all);
                free(part);
            }
        }
        free_attention(&a);
    }
    close_backends(&set);
    close_backends(&three);
}

/* Samples of one prompt in one call, on shared pages, are each what they are alone on their own. */
static void test_sharing(void **state)
{
    (void)state;
    enum { SAMPLES = 5 };
    static const int32_t alone[] = {5, 0, 11, 2};
    backend_set set = open_backends(2);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        attention a = new_attention(shapes[s], 0);
        const um_attention_shape shape = shape_of(&a);
        for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
            for (int b = 0; b < set.n; b++) {
                um_backend *be = set.be[b];
                float *want = new_floats(LONG * a.q_row), *got = new_floats(SAMPLES * a.q_row);
                float *q = new_floats(SAMPLES * a.q_row);
                um_kv_cache cache = open_cache(be, formats[f], &a);
                attend(be, &cache, &a, alone, 0, LONG, LONG, want);
                /* Sample i has FORK + i rows: pages 5 and 0 shared, the third one its own copy. */
                int32_t pages[SAMPLES][3];
                um_kv_span spans[SAMPLES];
                for (int i = 0; i < SAMPLES; i++) {
                    memcpy(pages[i], alone, sizeof pages[i]);
                    pages[i][2] = i == 0 ? 11 : 11 + i;
                    if (i > 0)
                        be->ops->kv_copy(be, &cache, pages[i][2], 11);
                    spans[i] = (um_kv_span){
                        .start = i, .len = 1, .before = FORK + i - 1, .pages = pages[i]};
                    memcpy(q + (size_t)i * a.q_row, a.q + (size_t)(FORK + i - 1) * a.q_row,
                           a.q_row * sizeof *q);
                }
                be->ops->kv_attention(be, got, (int)a.q_row, q, (int)a.q_row, &cache, 1, &shape,
                                      spans, SAMPLES);
                for (int i = 0; i < SAMPLES; i++)
                    check_bits("a sample among others", be, got + (size_t)i * a.q_row,
                               want + (size_t)(FORK + i - 1) * a.q_row,
                               (size_t)(a.h.n * a.h.width));
                /* The same when their last keys differ. */
                be->ops->kv_write(be, &cache, 1, a.v, a.k, (int)a.kv_row, spans, SAMPLES);
                be->ops->kv_attention(be, got, (int)a.q_row, q, (int)a.q_row, &cache, 1, &shape,
                                      spans, SAMPLES);
                for (int i = 0; i < SAMPLES; i++)
                    be->ops->kv_attention(be, want, (int)a.q_row, q, (int)a.q_row, &cache, 1,
                                          &shape, spans + i, 1);
                check_bits("different samples", be, got, want, SAMPLES * a.q_row);
                be->ops->kv_close(be, &cache);
                free(want);
                free(got);
                free(q);
            }
        }
        free_attention(&a);
    }
    close_backends(&set);
}

/* Several sequences in one call - a long span, a step, a short span, nothing, a step, more than a
 * page - from a row on that is not the first: each row is what it is in its sequence alone. */
enum { SPANS = 6, FIRST = 2 };
static const int before[SPANS] = {20, 101, 60, 7, 0, 63}, len[SPANS] = {50, 1, 9, 0, 1, 80};

static void check_many_spans(um_backend *be, um_backend *more, um_dtype dtype,
                             const attention seq[SPANS])
{
    const size_t q_row = seq->q_row, kv_row = seq->kv_row;
    const um_attention_shape shape = shape_of(seq);
    um_kv_cache cache = open_cache(be, dtype, seq);
    int32_t pages[SPANS][3];
    um_kv_span spans[SPANS];
    float *want = new_floats(LONG * q_row), *got = new_floats(LONG * q_row);
    float *q = new_floats(LONG * q_row), *k = new_floats(LONG * kv_row);
    float *v = new_floats(LONG * kv_row);
    soil(be, &cache, seq, true);
    for (int i = 0, row = FIRST; i < SPANS; row += len[i++]) {
        const size_t from = (size_t)before[i], to = (size_t)row, n = (size_t)len[i];
        for (int p = 0; p < 3; p++)
            pages[i][p] = (i * 3 + p) * 5 % PAGES; /* each once */
        spans[i] =
            (um_kv_span){.start = row, .len = len[i], .before = before[i], .pages = pages[i]};
        memcpy(q + to * q_row, seq[i].q + from * q_row, n * q_row * sizeof *q);
        memcpy(k + to * kv_row, seq[i].k + from * kv_row, n * kv_row * sizeof *k);
        memcpy(v + to * kv_row, seq[i].v + from * kv_row, n * kv_row * sizeof *v);
        attend(be, &cache, &seq[i], pages[i], 0, before[i], LONG, want);
    }
    more->ops->kv_write(more, &cache, 1, k, v, (int)kv_row, spans, SPANS);
    more->ops->kv_attention(more, got, (int)q_row, q, (int)q_row, &cache, 1, &shape, spans, SPANS);
    for (int i = 0; i < SPANS; i++) {
        attend(be, &cache, &seq[i], pages[i], 0, before[i] + len[i], LONG, want);
        for (int j = 0; j < len[i]; j++)
            check_bits("a row among spans", be, got + (size_t)(spans[i].start + j) * q_row,
                       want + (size_t)(before[i] + j) * q_row, (size_t)(seq->h.n * seq->h.width));
    }
    be->ops->kv_close(be, &cache);
    free(want);
    free(got);
    free(q);
    free(k);
    free(v);
}

static void test_many_spans(void **state)
{
    (void)state;
    backend_set set = open_backends(1), three = open_backends(3);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        attention seq[SPANS];
        for (int i = 0; i < SPANS; i++)
            seq[i] = new_attention(shapes[s], 10 * (uint64_t)i);
        for (int b = 0; b < (s < 2 ? set.n : set.n - 1); b++) { /* the reference takes long */
            check_many_spans(set.be[b], three.be[b], UM_F32, seq);
            check_many_spans(set.be[b], three.be[b], UM_BF16, seq);
        }
        for (int i = 0; i < SPANS; i++)
            free_attention(&seq[i]);
    }
    close_backends(&set);
    close_backends(&three);
}

/* A key, a value or a query that is not finite spoils the rows that attend to it, and no others. */
static void test_no_leak(void **state)
{
    (void)state;
    static const int32_t pages[] = {5, 0, 11, 2};
    enum { BAD = 70 };
    backend_set set = open_backends(1);
    for (size_t c = 0; c < sizeof shapes / sizeof *shapes * 2; c++) {
        attention a = new_attention(shapes[c / 2], 0);
        const size_t n = (size_t)(a.h.n * a.h.width);
        float *const at[3] = {a.k + BAD * a.kv_row, a.v + BAD * a.kv_row, a.q + BAD * a.q_row};
        for (int b = 0; b < (c < 2 ? set.n : set.n - 1); b++) { /* the reference takes long */
            um_backend *be = set.be[b];
            float *want = new_floats(LONG * a.q_row), *got = new_floats(LONG * a.q_row);
            um_kv_cache cache = open_cache(be, formats[c % 2], &a);
            attend(be, &cache, &a, pages, 0, LONG, LONG, want);
            for (int i = 0; i < 6; i++) {
                const float was = *at[i % 3];
                *at[i % 3] = i < 3 ? NAN : INFINITY;
                attend(be, &cache, &a, pages, 0, LONG, i % 2 == 0 ? LONG : 1, got);
                *at[i % 3] = was;
                for (int row = 0; row < LONG; row++) {
                    const float *out = got + (size_t)row * a.q_row;
                    const bool spoilt = i % 3 == 2 ? row == BAD : row >= BAD;
                    if (!spoilt)
                        check_bits("before what is not finite", be, out,
                                   want + (size_t)row * a.q_row, n);
                    else if (i < 3 || i % 3 == 1)
                        assert_false(isfinite(out[0])); /* the first head's first number */
                }
            }
            be->ops->kv_close(be, &cache);
            free(want);
            free(got);
        }
        free_attention(&a);
    }
    close_backends(&set);
}

/* Layers are apart, kv_copy copies each; pages begin as zeros. */
static void test_layers(void **state)
{
    (void)state;
    static const int32_t pages[] = {5, 0, 11, 2}, copies[] = {15, 1, 9, 3};
    backend_set set = open_backends(2);
    attention a = new_attention((heads){6, 2, 48}, 0);
    const um_attention_shape shape = shape_of(&a);
    const um_kv_span span = {.len = LONG, .pages = pages}, copied = {.len = LONG, .pages = copies};
    for (int c = 0; c < set.n * 2; c++) {
        um_backend *be = set.be[c / 2];
        float *first = new_floats(LONG * a.q_row), *second = new_floats(LONG * a.q_row);
        float *got = new_floats(LONG * a.q_row);
        um_kv_cache cache = open_cache(be, formats[c % 2], &a);
        be->ops->kv_attention(be, got, (int)a.q_row, a.q, (int)a.q_row, &cache, 0, &shape, &span,
                              1);
        check_bits("values that are zero", be, got, first, LONG * a.q_row);
        be->ops->kv_write(be, &cache, 0, a.v, a.k, (int)a.kv_row, &span, 1);
        be->ops->kv_attention(be, first, (int)a.q_row, a.q, (int)a.q_row, &cache, 0, &shape, &span,
                              1);
        attend(be, &cache, &a, pages, 0, LONG, LONG, second);
        assert_true(memcmp(first, second, LONG * a.q_row * sizeof *first) != 0);
        for (int i = 0; i < 4; i++)
            be->ops->kv_copy(be, &cache, copies[i], pages[i]);
        be->ops->kv_write(be, &cache, 1, a.v, a.k, (int)a.kv_row, &span, 1);
        for (int layer = 0; layer < 2; layer++) {
            be->ops->kv_attention(be, got, (int)a.q_row, a.q, (int)a.q_row, &cache, layer, &shape,
                                  &copied, 1);
            check_bits("copied pages", be, got, layer == 0 ? first : second, LONG * a.q_row);
            be->ops->kv_attention(be, got, (int)a.q_row, a.q, (int)a.q_row, &cache, layer, &shape,
                                  &span, 1);
            check_bits("layers alike", be, got, first, LONG * a.q_row);
        }
        be->ops->kv_attention(be, NULL, 0, NULL, 0, &cache, 0, &shape, NULL, 0);
        be->ops->kv_write(be, &cache, 0, NULL, NULL, 0, NULL, 0);
        be->ops->kv_close(be, &cache);
        assert_null(cache.buf.data);
        free(first);
        free(second);
        free(got);
    }
    free_attention(&a);
    close_backends(&set);
}

/*
 * Scores far from 0 whose differences are small. A query (big, 1), a key (big, its page): page p
 * weighs e^p against page 0, and its values are p.
 */
static void test_large_scores(void **state)
{
    (void)state;
    static const int32_t pages[] = {5, 0, 11, 2};
    static const float bigs[] = {1.0f, 64.0f, 1024.0f, 1e9f};
    const um_attention_shape shape = {.n_heads = 1, .n_kv_heads = 1, .head_dim = 2, .scale = 1.0f};
    enum { KEYS = 3 * UM_KV_PAGE };
    backend_set set = open_backends(1);
    for (int run = 0; run < set.n * 2 * (int)(sizeof bigs / sizeof *bigs); run++) {
        um_backend *be = set.be[run % set.n];
        const um_dtype dtype = formats[run / set.n % 2];
        const float big = bigs[run / set.n / 2];
        const float q[2] = {big, 1.0f};
        float k[KEYS * 2], v[KEYS * 2], got[2];
        um_kv_cache cache;
        um_error err;
        double mean = 0.0, total = 0.0;
        for (int i = 0; i < KEYS; i++) {
            const int page = i / UM_KV_PAGE;
            k[2 * i] = big;
            v[2 * i] = v[2 * i + 1] = k[2 * i + 1] = (float)page;
            /* At 1e18 float32 knows no such differences. */
            const double weight = big > 1e6f ? 1.0 : exp(page);
            mean += weight * page;
            total += weight;
        }
        assert_ok(be->ops->kv_open(be, &cache, dtype, 1, 12, 1, 2, &err), err);
        um_kv_span span = {.len = KEYS, .pages = pages};
        be->ops->kv_write(be, &cache, 0, k, v, 2, &span, 1);
        span = (um_kv_span){.len = 1, .before = KEYS - 1, .pages = pages};
        be->ops->kv_attention(be, got, 2, q, 2, &cache, 0, &shape, &span, 1);
        assert_float_equal(got[0], (float)(mean / total), 6e-3f);
        assert_float_equal(got[1], (float)(mean / total), 6e-3f);
        be->ops->kv_close(be, &cache);
    }
    close_backends(&set);
}

static void test_open_refuses(void **state)
{
    (void)state;
    backend_set set = open_backends(1);
    for (int b = 0; b < set.n; b++) {
        um_backend *be = set.be[b];
        um_kv_cache cache;
        um_error err;
        assert_int_equal(be->ops->kv_open(be, &cache, UM_F16, 1, 1, 1, 16, &err),
                         UM_ERR_UNSUPPORTED);
        assert_int_equal(be->ops->kv_open(be, &cache, UM_I8, 1, 1, 1, 16, &err),
                         UM_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, "bfloat16"));
        assert_int_equal(be->ops->kv_open(be, &cache, UM_F32, INT32_MAX, INT32_MAX, 64, 256, &err),
                         UM_ERR_LIMIT);
        assert_int_equal(be->ops->kv_open(be, &cache, UM_F32, 1000, INT32_MAX, 8, 256, &err),
                         UM_ERR_MEMORY);
        assert_ok(be->ops->kv_open(be, &cache, UM_BF16, 1, 0, 1, 16, &err), err);
        be->ops->kv_close(be, &cache);
    }
    close_backends(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_reference), cmocka_unit_test(test_same_bits_in_pieces),
        cmocka_unit_test(test_sharing),           cmocka_unit_test(test_many_spans),
        cmocka_unit_test(test_no_leak),           cmocka_unit_test(test_layers),
        cmocka_unit_test(test_open_refuses),      cmocka_unit_test(test_large_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
