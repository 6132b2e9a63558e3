/* test_base_pool.c - every index once, in contiguous ranges, for any number of threads. */
#include <stdatomic.h>

#include "base/file.h"
#include "base/pool.h"
#include "test_util.h"

#define MAX_N 1000

struct job {
    um_pool *pool;
    int hits[MAX_N];
    int thread_of[MAX_N];
    size_t min_chunk, n;
    atomic_int calls, ragged;
};

static void mark(void *ctx, size_t begin, size_t end, int thread)
{
    struct job *job = ctx;
    atomic_fetch_add(&job->calls, 1);
    size_t chunk = job->min_chunk == 0 ? 1 : job->min_chunk;
    if (begin % chunk != 0 || (end % chunk != 0 && end != job->n))
        atomic_fetch_add(&job->ragged, 1);
    for (size_t i = begin; i < end; i++) {
        job->hits[i]++;
        job->thread_of[i] = thread;
    }
}

static void test_ranges(void **state)
{
    (void)state;
    um_error err;
    static const size_t sizes[] = {0, 1, 2, 7, 64, 65, 1000};
    static const size_t chunks[] = {0, 1, 8, 2000};
    for (int threads = 1; threads <= 5; threads++) {
        um_pool *pool = NULL;
        assert_ok(um_pool_new(&pool, threads, &err), err);
        assert_int_equal(um_pool_threads(pool), threads);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            for (size_t c = 0; c < sizeof chunks / sizeof *chunks; c++) {
                struct job job = {.min_chunk = chunks[c], .n = sizes[s]};
                um_pool_run(pool, job.n, job.min_chunk, mark, &job);
                assert_int_equal(atomic_load(&job.ragged), 0);
                for (size_t i = 0; i < job.n; i++) {
                    assert_int_equal(job.hits[i], 1);
                    assert_in_range(job.thread_of[i], 0, threads - 1);
                    assert_true(i == 0 || job.thread_of[i] >= job.thread_of[i - 1]);
                }
                if (job.n == 1000 && chunks[c] <= 8)
                    assert_int_equal(atomic_load(&job.calls), threads);
            }
        }
        um_pool_free(pool);
    }
}

static void test_inline(void **state)
{
    (void)state;
    struct job job = {.n = 100};
    assert_int_equal(um_pool_threads(NULL), 1);
    um_pool_run(NULL, 100, 1, mark, &job);
    assert_int_equal(atomic_load(&job.calls), 1);
    assert_int_equal(job.hits[99], 1);
    um_pool_free(NULL);
    um_error err;
    um_pool *pool = NULL;
    assert_int_equal(um_pool_new(&pool, 1000000, &err), UM_ERR_LIMIT);
    assert_null(pool);
    assert_ok(um_pool_new(&pool, 0, &err), err);
    assert_true(um_pool_threads(pool) >= 1);
    um_pool_free(pool);
}

struct nested {
    um_pool *pool;
    int sums[64];
    int wrong_thread;
};

struct inner {
    int *sum;
    int expected_thread;
    int *wrong_thread;
};

static void add_range(void *ctx, size_t begin, size_t end, int thread)
{
    struct inner *inner = ctx;
    if (thread != inner->expected_thread)
        *inner->wrong_thread = 1;
    for (size_t i = begin; i < end; i++)
        *inner->sum += (int)i;
}

static void run_inner(void *ctx, size_t begin, size_t end, int thread)
{
    struct nested *nested = ctx;
    int wrong = 0;
    for (size_t i = begin; i < end; i++) {
        struct inner inner = {&nested->sums[i], thread, &wrong};
        um_pool_run(nested->pool, 10, 1, add_range, &inner);
        inner.expected_thread = 0; /* a NULL pool has one thread */
        um_pool_run(NULL, 10, 1, add_range, &inner);
    }
    if (wrong)
        nested->sums[begin] = -1;
}

/* A nested run stays on its thread and keeps the thread's number, so scratch is never shared. */
static void test_nested(void **state)
{
    (void)state;
    um_error err;
    struct nested nested = {0};
    assert_ok(um_pool_new(&nested.pool, 4, &err), err);
    um_pool_run(nested.pool, 64, 1, run_inner, &nested);
    for (int i = 0; i < 64; i++)
        assert_int_equal(nested.sums[i], 90);
    um_pool_free(nested.pool);
}

static void bump(void *ctx, size_t begin, size_t end, int thread)
{
    (void)thread;
    long *counts = ctx;
    for (size_t i = begin; i < end; i++)
        counts[i]++;
}

/* Back-to-back short runs: the hand-over itself, and what it costs. */
static void test_many_runs(void **state)
{
    (void)state;
    um_error err;
    for (int threads = 2; threads <= 4; threads += 2) {
        um_pool *pool = NULL;
        assert_ok(um_pool_new(&pool, threads, &err), err);
        long counts[8] = {0};
        const int runs = 5000;
        uint64_t start = um_clock_ms();
        for (int i = 0; i < runs; i++)
            um_pool_run(pool, 8, 1, bump, counts);
        print_message("%d threads: %d runs in %llu ms\n", threads, runs,
                      (unsigned long long)(um_clock_ms() - start));
        for (int i = 0; i < 8; i++)
            assert_int_equal(counts[i], runs);
        um_pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_many_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
