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
um_status um_stage_remote_open(um_remote **out, um_session *s, const char *stage, const char *urls,
                               const char *model, um_error *err) UM_CHECKED;

/* The journal of one run: its records are committed with the portion that is open, or in
 * transactions of their own where portion is NULL. */
typedef struct um_stage_journal {
    um_workspace *ws;
    um_portion *portion;
    const char *stage;
} um_stage_journal;
um_remote_journal um_stage_journal_of(um_stage_journal *journal);
/* Puts one event, in the caller's transaction. */
um_status um_stage_journal_put(um_stage_journal *journal, const um_remote_event *event,
                               um_error *err) UM_CHECKED;

um_status um_stage_journal_is_answered(um_stage_journal *journal, um_remote_key key, bool *answered,
                                       um_error *err) UM_CHECKED;

/* A monitor that keeps the client's figures as the detail of the run's own progress. It borrows
 * run, which must outlive it. */
typedef struct um_remote_watch {
    um_run *run;
    um_monitor monitor;
    uint64_t before, total; /* answers: of earlier calls of this run; of all its calls */
    char detail[256];       /* what was shown last; also for the run's own progress */
} um_remote_watch;
const um_monitor *um_remote_watch_init(um_remote_watch *watch, um_run *run);

/* A responder on endpoints; see um_stage_remote_open. journal and monitor must outlive it. */
um_status um_actor_open_remote(um_actor *out, um_session *s, const char *name, const char *urls,
                               const char *model, um_stage_journal *journal,
                               const um_monitor *monitor, um_error *err) UM_CHECKED;
/* The student: at its endpoints where config names them, else here. */
um_status um_actor_open_student(um_actor *out, um_session *s, um_stage_journal *journal,
                                const um_monitor *monitor, um_error *err) UM_CHECKED;

/* Says what an earlier run of the stage asked for and never stored: it may be paid twice. */
um_status um_stage_remote_list_open(um_run *run, um_error *err) UM_CHECKED;
/* What a run will cost, as a message. */
void um_stage_remote_add_cost(um_remote_cost *sum, const um_remote_cost *one);
um_status um_stage_remote_forecast(const um_monitor *monitor, const um_remote_cost *cost,
                                   um_error *err) UM_CHECKED;
/* Of requests for answers of one token, or of none: letters and embeddings. bytes: of all prompts
 * together. */
um_remote_cost um_stage_remote_short_cost(const um_session *s, const um_remote *remote,
                                          uint64_t answers, uint64_t requests, uint64_t bytes,
                                          uint64_t completion_tokens);

/* Lists the first answers that failed. what: "sample" (of a scene), "letters" (of a scene) or
 * "text" (by number). */
void um_stage_remote_list_failures(const um_monitor *monitor, const um_remote *remote,
                                   const char *what);
/* Figures of the client into the run's detail, and as messages. *failed: answers. */
um_status um_stage_remote_report(um_run *run, const um_remote *remote, uint64_t *failed,
                                 um_error *err) UM_CHECKED;

/* What was asked of endpoints, by stage, and what is open, failed or may have been paid twice: the
 * object "remote" of `mirrorer status --json`; *out NULL where nothing was asked. */
um_status um_stage_remote_status(json_t **out, um_workspace *ws, um_error *err) UM_CHECKED;

#endif
