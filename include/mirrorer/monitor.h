/*
 * monitor.h - how a long call reports progress and is asked to stop.
 *
 * The library never prints. A caller that wants progress fills a um_monitor and passes it; NULL is
 * fine everywhere. Callbacks run on the calling thread. `stop` may be set from a signal handler:
 * the call then saves what it has, and returns UM_ERR_INTERRUPTED.
 */
#ifndef MIRRORER_MONITOR_H
#define MIRRORER_MONITOR_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct um_progress {
    const char *stage;  /* "decide teacher" */
    const char *unit;   /* "scenes" */
    uint64_t done;      /* units finished, those of earlier runs included */
    uint64_t total;     /* 0 when unknown */
    uint64_t resumed;   /* of done: finished by an earlier run (not counted in the rate) */
    const char *detail; /* extra figures, "loss 1.234 lr 2e-4", or NULL */
} um_progress;

typedef struct um_monitor {
    void (*on_progress)(void *context, const um_progress *progress); /* may be NULL */
    void (*on_message)(void *context, const char *text);             /* one line, may be NULL */
    void *context;
    const volatile sig_atomic_t *stop; /* non-zero asks the call to end; may be NULL */
} um_monitor;

void um_monitor_progress(const um_monitor *monitor, const um_progress *progress);
void um_monitor_message(const um_monitor *monitor, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool um_monitor_stopped(const um_monitor *monitor);

#ifdef __cplusplus
}
#endif
#endif
