/*
 * decide.h - one run of writing decision processes, shared by the stage (decide.c) and by batch
 * files (batch.c).
 */
#ifndef UM_STAGE_DECIDE_H
#define UM_STAGE_DECIDE_H

#include "base/mem.h"
#include "stage/remote.h"

/* The samples of a scene that have arrived. */
typedef struct um_pending {
    char **texts; /* [samples], NULL until it arrives */
    um_finish *finish;
    uint32_t *tokens, *said;
    uint32_t arrived;
} um_pending;

/* A scene to do. */
typedef struct um_todo {
    uint64_t scene;
    bool begun; /* some of its samples are stored */
} um_todo;

typedef struct um_decider {
    um_session *s;
    um_run run;
    um_portion portion;
    um_stage_journal journal;
    um_remote_watch watch;
    const um_monitor *monitor; /* of remote calls */
    um_actor actor;
    const char *role;
    uint32_t samples;
    UM_VEC(um_todo) todo; /* ascending */
    um_share share;
    uint64_t elsewhere;         /* scenes that are not this run's share */
    uint64_t waiting;           /* scenes whose answers a batch has not brought */
    uint64_t too_long;          /* scenes that do not fit the model */
    uint64_t malformed, tokens; /* of all that is stored */
    json_t *faults;             /* {fault: texts}; owned by the run's detail */
    /* The portion in work: prompts.n scenes. */
    um_scene_prompts prompts;
    um_todo *now;        /* [prompts.n] */
    um_pending *pending; /* [prompts.n] while they are being asked for */
} um_decider;

extern const char *const um_decider_stops[]; /* one */
um_sampling um_decider_sampling(const um_decider *d);

/* Begins the run, opens who writes, finds what is to be done. Dispose it whatever the outcome;
 * run.finished_before: there is nothing to do. */
um_status um_decider_begin(um_decider *d, um_session *s, const char *role,
                           um_error *err) UM_CHECKED;
/* Makes the prompts of d->todo, as many at a time as memory should hold, and calls `work` for each
 * portion. */
typedef um_status (*um_on_decider)(um_decider *d, void *context, um_error *err);
um_status um_decider_each(um_decider *d, um_on_decider work, void *context,
                          um_error *err) UM_CHECKED;
/* Asks for all samples of d->todo, and stores each scene once all of its have arrived; without
 * those that endpoints would not answer where these are few. */
um_status um_decider_complete(um_decider *d, um_error *err) UM_CHECKED;
/* Figures, and whether the stage is done. */
um_status um_decider_finish(um_decider *d, um_error *err) UM_CHECKED;
void um_decider_dispose(um_decider *d);

#endif
