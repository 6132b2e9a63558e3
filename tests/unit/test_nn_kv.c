/*
 * test_nn_kv.c - cached keys and values of every backend: against the reference, and bit for bit
 * however the rows are cut into spans, whoever shares the pages, at any number of threads.
 */
#include "nn_util.h"

/* Rows of the sequence, and of the shortest sample of it. */
enum { LONG = 150, FORK = 135, PAGES = 16 };

typedef struct heads {
    int n, kv, width;
} heads;

static const heads shapes[] = {{4, 4, 16}, {6, 2, 48}, {8, 2, 64}, {7, 1, 80},
                               {6, 2, 128}, {20, 1, 32}, {2, 1, 256}};
static const um_dtype formats[] = {UM_F32, UM_BF16};

typedef struct attention {
    heads h;
    size_t q_row, kv_row;
    float *q, *k, *v; /* [LONG] of the first sequence */
} attention;

static attention new_attention(heads h)
{
    attention a = {.h = h,
                   .q_row = (size_t)(h.n * h.width + 3),
                   .kv_row = (size_t)(h.kv * h.width + 5)};
    a.q = random_floats(LONG * a.q_row, 1);
    a.k = random_floats(LONG * a.kv_row, 2);
    a.v = random_floats(LONG * a.kv_row, 3);
    return a;
}

static void free_attention(attention *a)
{
    free(a->q);
    free(a->k);
    free(a->v);
}

static um_kv_cache open_cache(um_backend *be, um_dtype dtype, const attention *a)
{
    um_kv_cache cache;
    um_error err;
    assert_ok(be->ops->kv_open(be, &cache, dtype, 2, PAGES, a->h.kv, a->h.width, &err), err);
    return cache;
}

/* Stale slots are never looked at: they hold what an earlier sequence left. */
static void soil(um_backend *be, um_kv_cache *cache, const attention *a)
{
    float *stale = random_floats(UM_KV_PAGE * a->kv_row, 9);
    for (size_t i = 0; i < UM_KV_PAGE * a->kv_row; i++)
        stale[i] *= 1e15f;
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
    const um_attention_shape shape = {.n_heads = a->h.n,
                                      .n_kv_heads = a->h.kv,
                                      .head_dim = a->h.width,
                                      .scale = 1.0f / sqrtf((float)a->h.width)};
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

static void test_against_reference(void **state)
{
    (void)state;
    static const int32_t pages[] = {5, 0, 11, 2};
    backend_set set = open_backends(2);
    um_backend *ref = set.be[set.n - 1];
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        attention a = new_attention(shapes[s]);
        for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
            float *want = new_floats(LONG * a.q_row);
            um_kv_cache cache = open_cache(ref, formats[f], &a);
            attend(ref, &cache, &a, pages, 0, LONG, LONG, want);
            ref->ops->kv_close(ref, &cache);
            for (int b = 0; b < set.n - 1; b++) {
                float *got = new_floats(LONG * a.q_row);
                cache = open_cache(set.be[b], formats[f], &a);
                soil(set.be[b], &cache, &a);
                attend(set.be[b], &cache, &a, pages, 0, LONG, LONG, got);
                /* Tiles round queries and weights to bfloat16, the reference does not. */
                check_near_f("cached attention", set.be[b], got, want, LONG * a.q_row,
                             formats[f] == UM_BF16 ? 6e-3 : 1e-6);
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
        attention a = new_attention(shapes[s]);
        for (size_t f = 0; f < sizeof formats / sizeof *formats; f++) {
            for (int b = 0; b < set.n; b++) {
                float *all = new_floats(LONG * a.q_row), *part = new_floats(LONG * a.q_row);
                um_kv_cache cache = open_cache(set.be[b], formats[f], &a);
                attend(set.be[b], &cache, &a, pages, 0, LONG, LONG, all);
                for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
                    um_backend *be = i % 2 == 0 ? set.be[b] : three.be[b];
                    soil(be, &cache, &a);
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
        attention a = new_attention(shapes[s]);
        const um_attention_shape shape = {.n_heads = a.h.n,
                                          .n_kv_heads = a.h.kv,
                                          .head_dim = a.h.width,
                                          .scale = 1.0f / sqrtf((float)a.h.width)};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_reference),
        cmocka_unit_test(test_same_bits_in_pieces),
        cmocka_unit_test(test_sharing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
