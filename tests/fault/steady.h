/*
 * steady.h - tests of deadlines on machines that now and then stand still.
 *
 * Deadlines of a tenth of a second pass by themselves where a CPU is taken away for as long, and
 * no test can tell that from an endpoint that is slow. So every CPU has a watcher: a run that
 * fails while one of them was late counts for nothing, is said so, and is repeated. A run that
 * fails on a machine that went on is a failure.
 */
#ifndef UM_TEST_STEADY_H
#define UM_TEST_STEADY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

enum {
    STEADY_CPUS = 64,
    STEADY_TICK_MS = 5,
    STEADY_LATE_MS = 40, /* half of the shortest deadline that tests set */
    STEADY_RUNS = 4,
};

/* Shared by the process that tests and the one that judges. */
typedef struct steady_watch {
    atomic_bool over;
    atomic_bool failed;    /* a test */
    atomic_uint latest_ms; /* how late a watcher woke, at most */
} steady_watch;

typedef struct steady_watcher {
    pthread_t thread;
    long cpu;
    steady_watch *watch;
} steady_watcher;

static inline void *steady_look(void *context)
{
    const steady_watcher *w = context;
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET((size_t)w->cpu, &own);
    /* Where that is refused the watcher watches the CPU it happens to be on. */
    (void)pthread_setaffinity_np(pthread_self(), sizeof own, &own);
    while (!atomic_load(&w->watch->over)) {
        const uint64_t begun = um_clock_ms();
        usleep(STEADY_TICK_MS * 1000);
        const unsigned took = (unsigned)(um_clock_ms() - begun);
        unsigned latest = atomic_load(&w->watch->latest_ms);
        while (took > latest && !atomic_compare_exchange_weak(&w->watch->latest_ms, &latest, took))
            ;
    }
    return NULL;
}

/* run() in a process of its own: the exit status, 0 if nothing was wrong, leaks included. */
static inline int steady_once(int (*run)(void), steady_watch *watch)
{
    int status = 0;
    fflush(NULL);
    const pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return 1;
    }
    if (child > 0)
        return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 2;
    static steady_watcher watchers[STEADY_CPUS];
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    n = n > STEADY_CPUS ? STEADY_CPUS : n;
    for (long i = 0; i < n; i++) {
        watchers[i] = (steady_watcher){.cpu = i, .watch = watch};
        if (pthread_create(&watchers[i].thread, NULL, steady_look, &watchers[i]) != 0)
            exit(2);
    }
    atomic_store(&watch->failed, run() != 0);
    atomic_store(&watch->over, true);
    for (long i = 0; i < n; i++)
        pthread_join(watchers[i].thread, NULL);
    exit(atomic_load(&watch->failed));
}

/* What main returns: 0 if a run passed. */
static inline int steady_run(int (*run)(void))
{
    steady_watch *watch =
        mmap(NULL, sizeof *watch, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (watch == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    for (int left = STEADY_RUNS - 1;; left--) {
        *watch = (steady_watch){0};
        const int status = steady_once(run, watch);
        const unsigned late = atomic_load(&watch->latest_ms);
        /* A crash is a failure in any case; so are leaks, but not those of a test that failed. */
        if (!atomic_load(&watch->failed) || late < STEADY_LATE_MS || left == 0)
            return status;
        printf("[ REPEAT   ] a CPU stood still for %u ms, that run counts for nothing\n", late);
    }
}

#endif
