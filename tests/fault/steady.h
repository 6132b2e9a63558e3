/*
 * steady.h - tests of deadlines on machines that now and then stand still.
 *
 * Deadlines of a tenth of a second pass by themselves where a CPU is taken away for as long, and
 * no test can tell that from an endpoint that is slow. So every CPU has a watcher: where tests fail
 * and one of them was late, they run once more, and that run counts. Tests that fail on a machine
 * that went on have failed.
 */
#ifndef UM_TEST_STEADY_H
#define UM_TEST_STEADY_H

#include <pthread.h>
#include <sched.h>
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
};

/* Shared by the process that tests and the one that judges. */
typedef struct steady_watch {
    atomic_bool over;
    atomic_bool failed;    /* a test */
    atomic_uint latest_ms; /* how late a watcher woke, at most */
} steady_watch;

typedef struct steady_watcher {
    pthread_t thread;
    int cpu;
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
        const uint64_t took = um_clock_ms() - begun;
        const uint64_t late = took > STEADY_TICK_MS ? took - STEADY_TICK_MS : 0;
        unsigned latest = atomic_load(&w->watch->latest_ms);
        while (late > latest &&
               !atomic_compare_exchange_weak(&w->watch->latest_ms, &latest, (unsigned)late))
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
    if (child > 0) {
        const bool ended = waitpid(child, &status, 0) == child;
        if (ended && WIFEXITED(status))
            return WEXITSTATUS(status);
        if (ended && WIFSIGNALED(status))
            printf("[  FAILED  ] ended by signal %d\n", WTERMSIG(status));
        return 2;
    }
    static steady_watcher watchers[STEADY_CPUS];
    int n = 0;
    cpu_set_t ours;
    if (sched_getaffinity(0, sizeof ours, &ours) != 0)
        CPU_ZERO(&ours);
    for (int cpu = 0; cpu < CPU_SETSIZE && n < STEADY_CPUS; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &ours))
            continue;
        watchers[n] = (steady_watcher){.cpu = cpu, .watch = watch};
        if (pthread_create(&watchers[n].thread, NULL, steady_look, &watchers[n]) != 0)
            exit(2);
        n++;
    }
    atomic_store(&watch->failed, run() != 0);
    atomic_store(&watch->over, true);
    for (int i = 0; i < n; i++)
        pthread_join(watchers[i].thread, NULL);
    exit(atomic_load(&watch->failed));
}

/* What main returns: 0 if the run that counts passed. */
static inline int steady_run(int (*run)(void))
{
    steady_watch *watch =
        mmap(NULL, sizeof *watch, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (watch == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    const int status = steady_once(run, watch);
    const unsigned late = atomic_load(&watch->latest_ms);
    /* A crash is a failure in any case; so are leaks, but not those of a test that failed. */
    if (!atomic_load(&watch->failed) || late < STEADY_LATE_MS)
        return status;
    printf("[ REPEAT   ] a CPU stood still for %u ms: once more\n", late);
    *watch = (steady_watch){0};
    return steady_once(run, watch);
}

#endif
