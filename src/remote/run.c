/* run.c - the loop: pull, record, send, wait, record, deliver. */
#include "remote/run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"

#define WAIT_MS       100 /* the longest sleep: how late Ctrl-C may be seen */
#define HEALTH_MS     10000
#define COMMIT_SHARE  4.0  /* a commit waits four times what it takes: 1/5 of the time at most */
#define GUESSED_MORE  1.25 /* prompt tokens that are guessed from bytes, for what may be spent */
#define MAX_FAILURES  1000
#define AHEAD_FLIGHTS 8

/* Flights -------------------------------------------------------------------------------------- */

static um_flights *list_of(um_runner *r, um_flight_state state)
{
    return state == UM_FLIGHT_READY ? &r->ready : state == UM_FLIGHT_LATER ? &r->later : &r->others;
}

static void unlink_flight(um_flights *list, um_flight *f)
{
    if (f->previous != NULL)
        f->previous->next = f->next;
    else
        list->head = f->next;
    if (f->next != NULL)
        f->next->previous = f->previous;
    else
        list->tail = f->previous;
    f->previous = f->next = NULL;
    list->n--;
}

static void append_flight(um_flights *list, um_flight *f)
{
    f->previous = list->tail;
    if (list->tail != NULL)
        list->tail->next = f;
    else
        list->head = f;
    list->tail = f;
    list->n++;
}

void um_flight_move(um_runner *r, um_flight *f, um_flight_state state)
{
    unlink_flight(list_of(r, f->state), f);
    f->state = state;
    append_flight(list_of(r, state), f);
    if (state == UM_FLIGHT_LATER && f->ready_ms < r->later_wake_ms)
        r->later_wake_ms = f->ready_ms;
}

static void free_flight(um_runner *r, um_flight *f)
{
    unlink_flight(list_of(r, f->state), f);
    um_str_dispose(&f->body);
    free(f);
    r->active--;
}

static void free_if_settled(um_runner *r, um_flight *f)
{
    if (f->state == UM_FLIGHT_SETTLED && f->events == 0)
        free_flight(r, f);
}

void um_runner_end(um_runner *r, um_status status, const char *format, ...)
{
    char text[sizeof r->ending.text];
    va_list args;
    if (r->ended != UM_OK)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->ended = um_fail(&r->ending, status, "%s", text);
}

/* Journal -------------------------------------------------------------------------------------- */

um_status um_run_stored(const um_remote_journal *journal, um_remote_key key, bool *stored,
                        um_error *err)
{
    const char *answer = NULL;
    size_t len = 0;
    *stored = false;
    if (journal == NULL)
        return UM_OK;
    um_status status = journal->lookup(journal->context, key, &answer, &len, err);
    *stored = status == UM_OK && answer != NULL;
    return status;
}

um_status um_run_replay(um_task *task, um_remote_key key, uint64_t unit, uint32_t number,
                        bool *found, um_error *err)
{
    const char *text = NULL;
    size_t len = 0;
    um_answer answer = {0};
    *found = false;
    if (task->journal == NULL)
        return UM_OK;
    um_status status = task->journal->lookup(task->journal->context, key, &text, &len, err);
    if (status != UM_OK || text == NULL)
        return status;
    status = um_answer_read(&answer, text, len, err);
    if (status == UM_OK)
        status = task->deliver(task, unit, number, &answer, err);
    um_answer_dispose(&answer);
    task->remote->totals.replayed += status == UM_OK;
    *found = status == UM_OK;
    return status;
}

um_status um_runner_event(um_runner *r, um_flight *f, uint32_t i, um_remote_event event, char *text,
                          um_error *err)
{
    um_waiting waiting = {f, i, text};
    event.key = r->task->key(r->task, f, i);
    event.prompt = f->prompt;
    event.sample = f->first + i;
    if (r->events.len == 0)
        r->oldest_event_ms = um_clock_ms();
    if (!um_vec_reserve(&r->waiting, r->events.len + 1) || !um_vec_push(&r->events, event)) {
        free(text);
        return um_fail_memory(err, "events");
    }
    r->waiting.data[r->waiting.len++] = waiting;
    f->events++;
    return UM_OK;
}

um_status um_remote_note_failure(um_remote *remote, um_remote_key key, uint64_t prompt,
                                 uint32_t sample, int http_status, const char *reason,
                                 um_error *err)
{
    um_remote_failure failure = {
        .key = key, .prompt = prompt, .sample = sample, .http_status = http_status};
    remote->totals.failed++;
    if (remote->failures.len >= MAX_FAILURES)
        return UM_OK;
    snprintf(failure.reason, sizeof failure.reason, "%s", reason);
    return um_vec_push(&remote->failures, failure) ? UM_OK : um_fail_memory(err, "failures");
}

static um_status deliver(um_runner *r, const um_remote_event *event, const um_waiting *w,
                         um_error *err)
{
    um_answer answer = {0};
    uint32_t number = w->flight->first + w->i;
    um_status status = um_answer_read(&answer, event->answer, event->answer_len, err);
    if (status == UM_OK)
        status = r->task->deliver(r->task, w->flight->unit, number, &answer, err);
    um_answer_dispose(&answer);
    r->remote->totals.answers += status == UM_OK;
    return status;
}

static um_status after_event(um_runner *r, const um_remote_event *event, const um_waiting *w,
                             um_error *err)
{
    um_flight *f = w->flight;
    switch (event->kind) {
    case UM_REMOTE_INTENDED:
        if (f->events == 0)
            um_flight_move(r, f, UM_FLIGHT_READY);
        return UM_OK;
    case UM_REMOTE_ANSWERED:
        return deliver(r, event, w, err);
    case UM_REMOTE_FAILED: {
        um_status status =
            um_remote_note_failure(r->remote, event->key, event->prompt, event->sample,
                                   event->http_status, event->reason, err);
        return status == UM_OK ? r->task->fail(r->task, f->unit, f->first + w->i, err) : status;
    }
    case UM_REMOTE_WITHDRAWN:
        break;
    }
    return UM_OK;
}

/* Records what waits, then acts on it. */
static um_status commit(um_runner *r, um_error *err)
{
    um_status status = UM_OK;
    size_t n = r->events.len;
    uint64_t begun = um_clock_ms();
    if (n == 0)
        return UM_OK;
    if (r->task->journal != NULL) {
        status = r->task->journal->record(r->task->journal->context, r->events.data, n, err);
        double ms = (double)(um_clock_ms() - begun);
        r->commit_ms += 0.2 * (ms - r->commit_ms);
        r->record_failed = status != UM_OK;
    }
    for (size_t i = 0; i < n; i++) {
        um_waiting *w = &r->waiting.data[i];
        w->flight->events--;
        if (status == UM_OK)
            status = after_event(r, &r->events.data[i], w, err);
        free(w->text);
        free_if_settled(r, w->flight);
    }
    r->events.len = r->waiting.len = 0;
    return status;
}

static uint64_t commit_due_ms(const um_runner *r)
{
    double wait = fmax(1, COMMIT_SHARE * r->commit_ms);
    if (r->events.len == 0)
        return UINT64_MAX;
    if (r->task->journal == NULL || r->events.len >= r->remote->options.commit_items ||
        (r->sent == 0 && r->ready.n == 0)) /* nothing will come while we wait */
        return 0;
    return r->oldest_event_ms + (uint64_t)fmin(wait, r->remote->options.commit_ms);
}

/* Pulling and sending -------------------------------------------------------------------------- */

static um_status pull_one(um_runner *r, um_next *what, um_error *err)
{
    um_flight *f = um_calloc(1, sizeof *f);
    if (f == NULL)
        return um_fail_memory(err, "a request");
    *what = UM_NEXT_END;
    um_status status = r->task->next(r->task, f, what, err);
    if (status != UM_OK || *what != UM_NEXT_FLIGHT) {
        free(f);
        return status;
    }
    f->state = r->task->journal != NULL ? UM_FLIGHT_INTENT : UM_FLIGHT_READY;
    append_flight(list_of(r, f->state), f);
    r->active++;
    for (uint32_t i = 0; i < f->count && status == UM_OK && r->task->journal != NULL; i++)
        status = um_runner_event(r, f, i, (um_remote_event){.kind = UM_REMOTE_INTENDED}, NULL, err);
    return status;
}

static um_status pull(um_runner *r, um_error *err)
{
    um_status status = UM_OK;
    size_t room = 2 * (size_t)um_remote_window(r->remote) + AHEAD_FLIGHTS;
    if (room > r->remote->options.max_concurrency)
        room = r->remote->options.max_concurrency;
    while (status == UM_OK && !r->end && r->active < room) {
        um_next what = UM_NEXT_END;
        status = pull_one(r, &what, err);
        if (status != UM_OK || what == UM_NEXT_LATER)
            break;
        r->end = what == UM_NEXT_END;
    }
    return status;
}

/* What an answer may cost at most. */
static double most_cost(const um_runner *r, const um_flight *f, const um_endpoint *e)
{
    double tokens =
        GUESSED_MORE * (double)r->task->bytes(r->task, f) / um_remote_bytes_per_token(r->remote);
    return (tokens * e->prompt_price +
            (double)f->asked * (double)r->task->max_tokens * e->completion_price) /
           1e6;
}

static bool affordable(um_runner *r, double cost)
{
    const um_remote_options *o = &r->remote->options;
    if (o->max_cost <= 0 || o->spent + r->remote->cost + r->reserved + cost <= o->max_cost)
        return true;
    if (r->sent == 0) /* else answers under way may turn out cheaper */
        um_runner_end(r, UM_ERR_LIMIT,
                      "the spend limit of %.2f is reached: %.4f spent, the next request may cost "
                      "%.4f; what was answered is saved, run again with a higher limit",
                      o->max_cost, o->spent + r->remote->cost, cost);
    return false;
}

static void choose_part(um_flight *f)
{
    f->from = 0;
    f->asked = f->count;
    if (!f->solo)
        return;
    while (f->done >> f->from & 1)
        f->from++;
    f->asked = 1;
}

static um_http_target *target_of(const um_runner *r, const um_endpoint *e)
{
    if (r->task->embeddings)
        return e->embeddings;
    return um_wire_kind(um_endpoint_opening(r->remote, e)) == UM_ASK_CHAT ? e->chat
                                                                          : e->completions;
}

static um_status send_flight(um_runner *r, um_flight *f, um_endpoint *e, um_error *err)
{
    um_error wrong;
    f->at = e;
    um_str_clear(&f->body);
    um_status status = r->task->write(r->task, f, &f->body, &wrong);
    if (status == UM_OK)
        status = um_str_status(&f->body, &wrong);
    if (status == UM_ERR_INPUT || status == UM_ERR_LIMIT) {
        snprintf(f->problem, sizeof f->problem, "%.220s", wrong.text);
        f->http_status = 0;
        return um_runner_give_up(r, f, true, err);
    }
    if (status != UM_OK)
        return um_fail(err, status, "%s", wrong.text);
    status =
        um_http_send(r->remote->http, target_of(r, e), f->body.data, f->body.len, 0, &f->call, err);
    if (status != UM_OK)
        return status;
    if (r->remote->begun_ms == 0)
        r->remote->begun_ms = um_clock_ms();
    um_flight_move(r, f, UM_FLIGHT_SENT);
    r->reserved += f->reserved;
    r->sent++;
    e->in_flight++;
    r->remote->totals.requests++;
    r->remote->totals.retries += f->attempts + f->bad > 0;
    return UM_OK;
}

static um_status dispatch(um_runner *r, uint64_t now, um_error *err)
{
    um_status status = UM_OK;
    while (status == UM_OK && r->ready.head != NULL && r->ended == UM_OK &&
           r->sent < r->remote->options.max_concurrency) {
        um_flight *f = r->ready.head;
        um_endpoint *e = um_remote_pick(r->remote, now);
        if (e == NULL)
            break;
        choose_part(f);
        f->reserved = most_cost(r, f, e);
        if (!affordable(r, f->reserved))
            break;
        status = send_flight(r, f, e, err);
    }
    return status;
}

/* Retries whose time has come. */
static void wake_later(um_runner *r, uint64_t now)
{
    um_flight *next;
    if (now < r->later_wake_ms)
        return;
    r->later_wake_ms = UINT64_MAX;
    for (um_flight *f = r->later.head; f != NULL; f = next) {
        next = f->next;
        if (f->ready_ms <= now)
            um_flight_move(r, f, UM_FLIGHT_READY);
        else if (f->ready_ms < r->later_wake_ms)
            r->later_wake_ms = f->ready_ms;
    }
}

/* Keeping watch -------------------------------------------------------------------------------- */

static um_status check_health(um_runner *r, uint64_t now, um_error *err)
{
    const um_remote_options *o = &r->remote->options;
    for (size_t i = 0; i < r->remote->n_endpoints; i++) {
        um_endpoint *e = &r->remote->endpoints[i];
        if (!e->aside || e->checking || e->dead || now < e->aside_until_ms)
            continue;
        um_status status =
            um_http_send(r->remote->http, e->models, NULL, 0,
                         o->deadline_ms < HEALTH_MS ? o->deadline_ms : HEALTH_MS, &e->health, err);
        if (status != UM_OK)
            return status;
        e->checking = true;
    }
    return UM_OK;
}

static void check_limits(um_runner *r, uint64_t now)
{
    const um_remote_options *o = &r->remote->options;
    uint64_t begun = r->remote->begun_ms, wake = UINT64_MAX;
    size_t dead = 0;
    const char *reason = "";
    if (o->max_hours > 0 && begun > 0 && (double)(now - begun) > o->max_hours * 3600e3)
        um_runner_end(r, UM_ERR_LIMIT,
                      "the time limit of %g hours is reached; what was answered is saved, run "
                      "again to go on",
                      o->max_hours);
    for (size_t i = 0; i < r->remote->n_endpoints; i++) {
        const um_endpoint *e = &r->remote->endpoints[i];
        uint64_t at = e->aside && !e->checking ? e->aside_until_ms : now;
        at = e->not_before_ms > at ? e->not_before_ms : at;
        if (e->dead) {
            dead++;
            reason = e->dead_reason;
        } else if (at < wake) {
            wake = at;
        }
    }
    if (dead == r->remote->n_endpoints)
        um_runner_end(r, UM_ERR_REMOTE, "%s%s", dead > 1 ? "no endpoint is left; the last: " : "",
                      reason);
    else if (r->sent == 0 && wake > now && wake - r->last_answer_ms > o->outage_limit_ms)
        um_runner_end(r, UM_ERR_REMOTE,
                      "no endpoint is to be had before %.0f s from now, limit %.0f s without an "
                      "answer; what was answered is saved, run again later",
                      (double)(wake - now) / 1000, (double)o->outage_limit_ms / 1000);
}

static int wait_ms(const um_runner *r, uint64_t now)
{
    uint64_t until = now + WAIT_MS, due = commit_due_ms(r);
    until = due < until ? due : until;
    until = r->later_wake_ms < until ? r->later_wake_ms : until;
    for (size_t i = 0; i < r->remote->n_endpoints; i++) {
        const um_endpoint *e = &r->remote->endpoints[i];
        if (r->ready.n > 0 && e->not_before_ms > now && e->not_before_ms < until)
            until = e->not_before_ms;
        if (e->aside && !e->checking && e->aside_until_ms < until)
            until = e->aside_until_ms;
    }
    return until > now ? (int)(until - now) : 0;
}

static bool finished(const um_runner *r)
{
    if (r->ended != UM_OK)
        return r->sent == 0 && r->events.len == 0;
    return r->end && r->active == 0 && r->events.len == 0;
}

static um_status turn(um_runner *r, um_error *err)
{
    uint64_t now = um_clock_ms();
    um_status status = UM_OK;
    wake_later(r, now);
    if (commit_due_ms(r) <= now)
        status = commit(r, err);
    if (status == UM_OK && r->ended == UM_OK) /* what was delivered made room */
        status = pull(r, err);
    if (status == UM_OK)
        status = dispatch(r, now, err);
    if (status == UM_OK)
        status = check_health(r, now, err);
    if (status == UM_OK && !finished(r))
        status = um_http_poll(r->remote->http, wait_ms(r, now), um_runner_reply, r, err);
    if (r->active > 0)
        check_limits(r, um_clock_ms());
    um_runner_show(r, um_clock_ms(), false);
    return status;
}

/* Intents of requests that were certainly not paid are taken back; the others stay, as may be paid.
 */
static um_status withdraw(um_runner *r, um_flights *list, um_error *err)
{
    um_status status = UM_OK;
    for (um_flight *f = list->head; f != NULL && status == UM_OK; f = f->next) {
        bool sure = !f->unsure && (f->state == UM_FLIGHT_READY || f->state == UM_FLIGHT_LATER);
        for (uint32_t i = 0; i < f->count && sure && status == UM_OK; i++) {
            if ((f->done >> i & 1) == 0)
                status = um_runner_event(r, f, i, (um_remote_event){.kind = UM_REMOTE_WITHDRAWN},
                                         NULL, err);
        }
    }
    return status;
}

/* What was answered and not yet recorded is recorded, whatever ended the run. */
static um_status wind_up(um_runner *r, um_status status, um_error *err)
{
    um_error second;
    um_http_abort(r->remote->http);
    for (size_t i = 0; i < r->remote->n_endpoints; i++) {
        r->remote->endpoints[i].in_flight = 0;
        r->remote->endpoints[i].checking = false;
    }
    if (!r->record_failed && r->task->journal != NULL) {
        um_status more = withdraw(r, &r->ready, &second);
        if (more == UM_OK)
            more = withdraw(r, &r->later, &second);
        if (more == UM_OK)
            more = commit(r, &second);
        if (status == UM_OK && more != UM_OK)
            status = um_fail(err, more, "%s", second.text);
    }
    for (size_t i = 0; i < r->waiting.len; i++)
        free(r->waiting.data[i].text);
    um_flights *lists[] = {&r->ready, &r->later, &r->others};
    for (size_t i = 0; i < 3; i++) {
        um_flight *next;
        for (um_flight *f = lists[i]->head; f != NULL; f = next) {
            next = f->next;
            um_str_dispose(&f->body);
            free(f);
        }
    }
    um_vec_dispose(&r->events);
    um_vec_dispose(&r->waiting);
    um_str_dispose(&r->line);
    return status;
}

um_status um_run_task(um_task *task, const um_monitor *monitor, um_error *err)
{
    um_remote *remote = task->remote;
    uint64_t now = um_clock_ms();
    um_runner r = {.task = task,
                   .remote = remote,
                   .monitor = monitor,
                   .later_wake_ms = UINT64_MAX,
                   .begun_ms = now,
                   .last_answer_ms = now,
                   .tokens_before = remote->totals.prompt_tokens + remote->totals.completion_tokens,
                   .replayed_before = remote->totals.replayed,
                   .answers_before = remote->totals.answers,
                   .failed_before = remote->totals.failed};
    um_status status = UM_OK;
    for (size_t i = 0; i < remote->n_endpoints; i++)
        um_endpoint_begin(&remote->endpoints[i], now);
    while (status == UM_OK && !finished(&r)) {
        if (um_monitor_stopped(monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "asked to stop");
        else
            status = turn(&r, err);
    }
    if (status == UM_OK && r.ended != UM_OK)
        status = um_fail(err, r.ended, "%s", r.ending.text);
    status = wind_up(&r, status, err);
    uint64_t failed = remote->totals.failed - r.failed_before;
    if (status == UM_OK && failed > 0 && remote->totals.answers + remote->totals.replayed == 0 &&
        remote->options.max_failures < UINT32_MAX)
        status = um_fail(
            err, UM_ERR_REMOTE, "all %llu answers failed; the last: %.300s",
            (unsigned long long)failed,
            remote->failures.len > 0 ? remote->failures.data[remote->failures.len - 1].reason : "");
    um_runner_show(&r, um_clock_ms(), true);
    remote->totals.seconds += (double)(um_clock_ms() - now) / 1000;
    return status;
}
