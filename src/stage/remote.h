/*
 * remote.h - endpoints as the stages use them: made from the options, journalled in the workspace.
 */
#ifndef UM_STAGE_REMOTE_H
#define UM_STAGE_REMOTE_H

#include "mirrorer/remote.h"
#include "stage/portion.h"

/* "http://..." or "https://...". */
bool um_source_is_url(const char *source);

/*
 * A client for the endpoints in `urls`: base URLs with blanks between them, each with an optional
 * weight ("http://a:8000/v1*2 http://b:8000/v1"). model: the name they know it by. Money that the
 * workspace's requests have cost counts towards remote.max_cost.
 */
um_status um_stage_remote_open(um_remote **out, um_session *s, const char *urls, const char *model,
                               um_error *err) UM_CHECKED;

/* The journal of one run: its records are committed with the portion that is open, or in
 * transactions of their own where portion is NULL. */
typedef struct um_stage_journal {
    um_workspace *ws;
    um_portion *portion;
    const char *stage;
} um_stage_journal;
um_remote_journal um_stage_journal_of(um_stage_journal *journal);

/* A monitor that keeps the client's figures as the detail of the run's own progress. It borrows
 * run, which must outlive it. */
typedef struct um_remote_watch {
    um_run *run;
    um_monitor monitor;
} um_remote_watch;
const um_monitor *um_remote_watch_init(um_remote_watch *watch, um_run *run);

/* A responder on endpoints; see um_stage_remote_open. journal and monitor must outlive it. */
um_status um_actor_open_remote(um_actor *out, um_session *s, const char *name, const char *urls,
                               const char *model, um_stage_journal *journal,
                               const um_monitor *monitor, um_error *err) UM_CHECKED;
/* The student: at its endpoints where config names them, else here. */
um_status um_actor_open_student(um_actor *out, um_session *s, um_stage_journal *journal,
                                const um_monitor *monitor, um_error *err) UM_CHECKED;

/* Says what an earlier run of the stage may have paid and lost, and what this one will cost. */
um_status um_stage_remote_forecast(um_run *run, um_responder *responder, const um_prompt *prompts,
                                   size_t n, uint32_t n_samples, const um_sampling *sampling,
                                   const char *const *stops, size_t n_stops,
                                   um_error *err) UM_CHECKED;
/* Figures of the client into the run's detail; lists the first failures. *failed counts them. */
um_status um_stage_remote_report(um_run *run, const um_remote *remote, uint64_t *failed,
                                 um_error *err) UM_CHECKED;

#endif
