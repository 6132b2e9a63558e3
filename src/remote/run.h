/*
 * run.h (internal) - running a task: questions that are looked up, recorded, sent, retried,
 * recorded, delivered.
 *
 * A flight is a request on its way: `count` answers, numbered from `first`, of one unit (a prompt,
 * a text, a batch of texts). Its life:
 *
 *     next() makes it -> INTENT: waits for the journal -> READY: waits for an endpoint
 *       -> SENT -> answers wait for the journal -> delivered, gone
 *              \-> LATER: a retry waits for its time -> READY
 *
 * When only some of its answers come, or an endpoint refuses a request for several, the flight goes
 * on alone ("solo"): one answer a request, until all are there.
 */
#ifndef UM_REMOTE_RUN_H
#define UM_REMOTE_RUN_H

#include "remote/client.h"

typedef enum um_flight_state {
    UM_FLIGHT_INTENT,
    UM_FLIGHT_READY,
    UM_FLIGHT_SENT,
    UM_FLIGHT_LATER,
    UM_FLIGHT_SETTLED /* waits for the journal only */
} um_flight_state;

typedef struct um_flight {
    um_call call; /* first: token of its request */
    struct um_flight *previous, *next;
    um_flight_state state;
    uint64_t unit;
    uint32_t first, count;
    um_remote_key key; /* of its first answer; the others follow in lo, or are the task's to say */
    uint64_t prompt;   /* for events and lists */
    uint32_t events;   /* that wait for the journal */
    uint32_t attempts, bad; /* tries that failed; answers that were no answers */
    bool solo;
    bool refused;  /* solo because a request for several was refused */
    bool unsure;   /* a try may have been paid though no answer came of it */
    uint64_t done; /* bit i: answer first + i is settled */
    um_endpoint *at;
    uint32_t from, asked; /* of the request in flight: answers first + from .. + asked */
    uint64_t ready_ms;
    double reserved; /* money of its longest answer */
    um_str body;
    char problem[224]; /* of the last try */
    int http_status;
} um_flight;

typedef enum um_next { UM_NEXT_FLIGHT, UM_NEXT_LATER, UM_NEXT_END } um_next;

typedef struct um_task um_task;
struct um_task {
    um_remote *remote;
    const um_remote_journal *journal; /* NULL: none */
    const char *stage;                /* of the progress */
    uint64_t total;                   /* answers */
    bool want_top, embeddings;
    uint32_t max_tokens; /* of one answer, for what may be spent */
    /* Fills unit, first, count, key and prompt of the next flight; LATER: not before others are
     * delivered. Delivers what the journal has by itself (um_run_replay). */
    um_status (*next)(um_task *self, um_flight *f, um_next *what, um_error *err);
    um_remote_key (*key)(um_task *self, const um_flight *f, uint32_t i);
    /* Body for answers f->first + f->from, f->asked of them, at f->at. UM_ERR_INPUT fails them. */
    um_status (*write)(um_task *self, const um_flight *f, um_str *body, um_error *err);
    /* Bytes of the prompt, for estimates. */
    uint64_t (*bytes)(um_task *self, const um_flight *f);
    /* Answer first + i; may take parts of a (and set them NULL). */
    um_status (*deliver)(um_task *self, uint64_t unit, uint32_t number, um_answer *a,
                         um_error *err);
    /* Given up. */
    um_status (*fail)(um_task *self, uint64_t unit, uint32_t number, um_error *err);
};

um_status um_run_task(um_task *task, const um_monitor *monitor, um_error *err) UM_CHECKED;
/* Looks a key up; *found: it was stored, and delivered. For next(). */
um_status um_run_replay(um_task *task, um_remote_key key, uint64_t unit, uint32_t number,
                        bool *found, um_error *err) UM_CHECKED;
/* Is it stored? */
um_status um_run_stored(const um_remote_journal *journal, um_remote_key key, bool *stored,
                        um_error *err) UM_CHECKED;
/* Puts an answer on the list of failures. */
um_status um_remote_note_failure(um_remote *remote, um_remote_key key, uint64_t prompt,
                                 uint32_t sample, int http_status, const char *reason,
                                 um_error *err) UM_CHECKED;

/* Inside: run.c moves flights, outcome.c reads replies -------------------------------------------
 */

typedef struct um_flights {
    um_flight *head, *tail;
    size_t n;
} um_flights;

/* An event that waits for the journal, and what it is about. */
typedef struct um_waiting {
    um_flight *flight;
    uint32_t i; /* answer of the flight */
    char *text; /* owned: the stored answer, or the reason of a failure */
} um_waiting;

typedef struct um_runner {
    um_task *task;
    um_remote *remote;
    const um_monitor *monitor;
    um_flights ready, later, others; /* others: INTENT, SENT, SETTLED */
    size_t active;                   /* flights, at most max_concurrency */
    uint32_t sent;
    uint64_t later_wake_ms;
    double reserved;
    UM_VEC(um_remote_event) events;
    UM_VEC(um_waiting) waiting; /* [events.len] */
    uint64_t oldest_event_ms;
    double commit_ms; /* mean time of a commit */
    bool end;         /* next() has no more */
    bool record_failed;
    um_status ended; /* not UM_OK: why no more is sent */
    um_error ending;
    uint64_t begun_ms, last_answer_ms, shown_ms;
    uint64_t tokens_before, replayed_before, answers_before, failed_before;
    uint32_t failures_in_row;
    um_str line; /* of the answer being written */
} um_runner;

void um_flight_move(um_runner *r, um_flight *f, um_flight_state state);
/* Adds an event; text (may be NULL) becomes the runner's. */
um_status um_runner_event(um_runner *r, um_flight *f, uint32_t i, um_remote_event event, char *text,
                          um_error *err) UM_CHECKED;
um_status um_runner_reply(void *context, const um_http_reply *reply, um_error *err) UM_CHECKED;
/* Gives up the answers of f's last request, or all that are left. */
um_status um_runner_give_up(um_runner *r, um_flight *f, bool all, um_error *err) UM_CHECKED;
/* Progress, at most five times a second unless it is the last. */
void um_runner_show(um_runner *r, uint64_t now, bool last);
/* No more is sent from now on; the first reason is kept. */
void um_runner_end(um_runner *r, um_status status, const char *format, ...) UM_PRINTF(3, 4);

#endif
