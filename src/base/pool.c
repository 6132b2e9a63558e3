/*
 * A run publishes its job and raises `generation`; every worker takes its own range of every
 * generation and lowers `pending`. Waiting is a short spin, which is what back-to-back kernels
 * meet, then a condition variable. The job fields are written only while no worker is inside a run,
 * and are made visible by the release store of `generation`.
 */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"

#define MAX_THREADS 1024
#define SPIN_ROUNDS 8000 /* some hundred microseconds: to wake a sleeper costs about as much */

struct worker {
    um_pool *pool;
    pthread_t handle;
    int index; /* 1 .. n_threads - 1; the caller is 0 */
};

struct um_pool {
    int n_threads;
    int spin_rounds;
    struct worker *workers; /* n_threads - 1 */
    int n_started;

    pthread_mutex_t lock;
    pthread_cond_t has_work, is_done;
    atomic_uint generation; /* raised under lock */
    atomic_int pending;     /* workers still inside the current generation */
    bool stop;              /* written before a generation is raised */

    um_pool_fn fn;
    void *ctx;
    size_t n, chunk, n_chunks;
};

/* Which range of which pool this thread is inside, so that a nested run stays on this thread. */
static _Thread_local const um_pool *current_pool;
static _Thread_local int current_thread;

static void spin_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static size_t chunk_begin(const um_pool *pool, int thread)
{
    size_t each = pool->n_chunks / (size_t)pool->n_threads;
    size_t extra = pool->n_chunks % (size_t)pool->n_threads;
    size_t t = (size_t)thread;
    size_t chunk = t * each + (t < extra ? t : extra);
    return chunk == pool->n_chunks ? pool->n : chunk * pool->chunk;
}

static void run_range(um_pool *pool, int thread)
{
    size_t begin = chunk_begin(pool, thread);
    size_t end = chunk_begin(pool, thread + 1);
    if (begin == end)
        return;
    const um_pool *outer_pool = current_pool;
    int outer_thread = current_thread;
    current_pool = pool;
    current_thread = thread;
    pool->fn(pool->ctx, begin, end, thread);
    current_pool = outer_pool;
    current_thread = outer_thread;
}

static unsigned wait_for_work(um_pool *pool, unsigned seen)
{
    unsigned now;
    for (int i = 0; i < pool->spin_rounds; i++) {
        now = atomic_load_explicit(&pool->generation, memory_order_acquire);
        if (now != seen)
            return now;
        spin_pause();
    }
    pthread_mutex_lock(&pool->lock);
    while ((now = atomic_load_explicit(&pool->generation, memory_order_acquire)) == seen)
        pthread_cond_wait(&pool->has_work, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return now;
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    um_pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_work(pool, seen);
        if (pool->stop)
            return NULL;
        run_range(pool, self->index);
        if (atomic_fetch_sub_explicit(&pool->pending, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->is_done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static void raise_generation(um_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->has_work);
    pthread_mutex_unlock(&pool->lock);
}

static void wait_until_done(um_pool *pool)
{
    for (int i = 0; i < pool->spin_rounds; i++) {
        if (atomic_load_explicit(&pool->pending, memory_order_acquire) == 0)
            return;
        spin_pause();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load_explicit(&pool->pending, memory_order_acquire) != 0)
        pthread_cond_wait(&pool->is_done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

static int usable_cpus(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return CPU_COUNT(&set);
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : (int)n;
}

/* Workers take no signals: handlers run on the thread that started the work. */
static um_status start_workers(um_pool *pool, um_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = 0;
    for (int i = 0; i < pool->n_threads - 1 && code == 0; i++) {
        pool->workers[i] = (struct worker){.pool = pool, .index = i + 1};
        code = pthread_create(&pool->workers[i].handle, NULL, worker_main, &pool->workers[i]);
        if (code == 0)
            pool->n_started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0)
        return um_fail(err, UM_ERR_LIMIT,
                       "thread pool: only %d of %d threads could be started; use fewer threads",
                       pool->n_started + 1, pool->n_threads);
    return UM_OK;
}

um_status um_pool_new(um_pool **out, int threads, um_error *err)
{
    int cpus = usable_cpus();
    if (threads <= 0)
        threads = cpus;
    if (threads > MAX_THREADS)
        return um_fail(err, UM_ERR_LIMIT, "thread pool: %d threads asked for, limit %d", threads,
                       MAX_THREADS);
    um_pool *pool = um_calloc(1, sizeof *pool);
    struct worker *workers = um_calloc((size_t)threads, sizeof *workers);
    if (pool == NULL || workers == NULL) {
        free(pool);
        free(workers);
        return um_fail_memory(err, "the thread pool");
    }
    pool->n_threads = threads;
    /* With more threads than CPUs a spinning thread only keeps the others from working. */
    pool->spin_rounds = threads <= cpus ? SPIN_ROUNDS : 0;
    pool->workers = workers;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->has_work, NULL);
    pthread_cond_init(&pool->is_done, NULL);
    um_status status = start_workers(pool, err);
    if (status != UM_OK) {
        um_pool_free(pool);
        return status;
    }
    *out = pool;
    return UM_OK;
}

void um_pool_free(um_pool *pool)
{
    if (pool == NULL)
        return;
    pool->stop = true;
    raise_generation(pool);
    for (int i = 0; i < pool->n_started; i++)
        pthread_join(pool->workers[i].handle, NULL);
    pthread_cond_destroy(&pool->is_done);
    pthread_cond_destroy(&pool->has_work);
    pthread_mutex_destroy(&pool->lock);
    free(pool->workers);
    free(pool);
}

int um_pool_threads(const um_pool *pool)
{
    return pool == NULL ? 1 : pool->n_threads;
}

void um_pool_run(um_pool *pool, size_t n, size_t min_chunk, um_pool_fn fn, void *ctx)
{
    if (n == 0)
        return;
    size_t chunk = min_chunk == 0 ? 1 : min_chunk;
    if (current_pool != NULL) {
        /* The thread number stays that of the outer range, so per-thread scratch stays private. */
        fn(ctx, 0, n, current_pool == pool ? current_thread : 0);
        return;
    }
    if (pool == NULL || pool->n_threads == 1 || n <= chunk) {
        fn(ctx, 0, n, 0);
        return;
    }
    pool->fn = fn;
    pool->ctx = ctx;
    pool->n = n;
    pool->chunk = chunk;
    pool->n_chunks = n / chunk + (n % chunk != 0);
    atomic_store_explicit(&pool->pending, pool->n_threads - 1, memory_order_relaxed);
    raise_generation(pool);
    run_range(pool, 0);
    wait_until_done(pool);
}
