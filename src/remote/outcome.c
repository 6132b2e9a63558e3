/*
 * outcome.c - what a reply means for its flight, its endpoint and the run.
 *
 *     200, well formed            answers; missing ones are asked for one by one
 *     200, anything else          a bad answer: asked again, three times, then failed
 *     429                         the endpoint is left alone for Retry-After or a backoff; not
 * counted 429 with an empty quota, 402    the same for outage_wait_max_ms, with a message 401, 404,
 * 3xx; 403 before any answer    the endpoint is dead other 4xx                   the answer fails;
 * several are first asked for one by one 408, 409, 425, 5xx          asked again, counted 502..504,
 * 52x, no answer    asked again; counted unless the endpoint is put aside; 5 in a row put it aside
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/file.h"
#include "remote/run.h"
#include "remote/secret.h"

#define MAX_BAD      3
#define TOLD_WAIT_MS 10000

static void set_problem(um_flight *f, int http_status, const char *what, const char *said)
{
    f->http_status = http_status;
    if (said != NULL && said[0] != '\0')
        snprintf(f->problem, sizeof f->problem, "%.60s: %.150s", what, said);
    else
        snprintf(f->problem, sizeof f->problem, "%.220s", what);
}

/* Settling ------------------------------------------------------------------------------------- */

/* What is left of a flight goes on, or it waits for the journal alone. */
static void go_on(um_runner *r, um_flight *f)
{
    uint64_t all = f->count == 64 ? UINT64_MAX : ((uint64_t)1 << f->count) - 1;
    if (f->done == all) {
        um_str_dispose(&f->body);
        um_flight_move(r, f, UM_FLIGHT_SETTLED);
        return;
    }
    f->solo = true;
    f->attempts = f->bad = 0;
    um_flight_move(r, f, UM_FLIGHT_READY);
}

um_status um_runner_give_up(um_runner *r, um_flight *f, bool all, um_error *err)
{
    um_status status = UM_OK;
    uint32_t begin = all ? 0 : f->from, end = all ? f->count : f->from + f->asked;
    for (uint32_t i = begin; i < end && status == UM_OK; i++) {
        if (f->done >> i & 1)
            continue;
        char *reason = um_strdup(f->problem);
        if (reason == NULL)
            return um_fail_memory(err, "a reason");
        f->done |= (uint64_t)1 << i;
        status = um_runner_event(r, f, i,
                                 (um_remote_event){.kind = UM_REMOTE_FAILED,
                                                   .http_status = f->http_status,
                                                   .reason = reason},
                                 reason, err);
    }
    if (status == UM_OK && ++r->failures_in_row >= r->remote->options.max_failures)
        um_runner_end(r, UM_ERR_REMOTE, "%u requests failed in a row; the last: %s",
                      r->failures_in_row, f->problem);
    if (status == UM_OK)
        go_on(r, f);
    return status;
}

static void again_at(um_runner *r, um_flight *f, uint64_t at)
{
    f->ready_ms = at;
    um_flight_move(r, f, UM_FLIGHT_LATER);
}

static um_status again(um_runner *r, um_flight *f, int64_t retry_after_ms, uint64_t now,
                       um_error *err)
{
    const um_remote_options *o = &r->remote->options;
    uint32_t tries = f->attempts + f->bad;
    uint64_t wait = um_remote_backoff(r->remote, f->key.lo, tries > 0 ? tries - 1 : 0);
    if (f->attempts > o->retries || f->bad > MAX_BAD) {
        if (!f->solo && f->asked > 1) { /* one by one they may come */
            go_on(r, f);
            return UM_OK;
        }
        return um_runner_give_up(r, f, false, err);
    }
    if (retry_after_ms >= 0)
        wait = (uint64_t)retry_after_ms < o->outage_limit_ms ? (uint64_t)retry_after_ms
                                                             : o->outage_limit_ms;
    again_at(r, f, now + wait);
    return UM_OK;
}

/* Answers -------------------------------------------------------------------------------------- */

/* Tokens for the bill: the endpoint's count, or an estimate from bytes. */
static void count_tokens(um_runner *r, const um_flight *f, um_reply *reply)
{
    um_remote *remote = r->remote;
    double ratio = um_remote_bytes_per_token(remote);
    uint64_t bytes = r->task->bytes(r->task, f), prompt = 0, completion = 0;
    bool first = true;
    for (uint32_t i = 0; i < reply->n; i++) {
        um_answer *a = &reply->answers[i];
        if (!a->present)
            continue;
        if (!reply->usage) {
            a->prompt_tokens = first ? (uint32_t)((double)bytes / ratio) : 0;
            a->completion_tokens =
                a->text != NULL ? (uint32_t)((double)strlen(a->text) / ratio) + 1 : 0;
        }
        first = false;
        prompt += a->prompt_tokens;
        completion += a->completion_tokens;
    }
    if (reply->usage && prompt > 0) {
        remote->counted_tokens += prompt;
        remote->counted_bytes += bytes;
    }
    remote->totals.prompt_tokens += prompt;
    remote->totals.completion_tokens += completion;
    remote->cost +=
        ((double)prompt * f->at->prompt_price + (double)completion * f->at->completion_price) / 1e6;
    remote->totals.cost = remote->cost;
    if (reply->n_present > 0) {
        double mean = (double)completion / reply->n_present;
        remote->answer_tokens = remote->answer_tokens > 0
                                    ? remote->answer_tokens + 0.02 * (mean - remote->answer_tokens)
                                    : mean;
    }
}

static um_status take_answers(um_runner *r, um_flight *f, um_reply *reply, um_error *err)
{
    um_status status = UM_OK;
    for (uint32_t j = 0; j < reply->n && status == UM_OK; j++) {
        const um_answer *a = &reply->answers[j];
        uint32_t i = f->from + j;
        if (!a->present || f->done >> i & 1)
            continue;
        um_str_clear(&r->line);
        um_answer_write(&r->line, a);
        if ((status = um_str_status(&r->line, err)) != UM_OK)
            break;
        char *text = um_strndup(r->line.data, r->line.len);
        if (text == NULL)
            return um_fail_memory(err, "an answer");
        um_remote_event event = {.kind = UM_REMOTE_ANSWERED,
                                 .answer = text,
                                 .answer_len = r->line.len,
                                 .prompt_tokens = a->prompt_tokens,
                                 .completion_tokens = a->completion_tokens,
                                 .cost = (a->prompt_tokens * f->at->prompt_price +
                                          a->completion_tokens * f->at->completion_price) /
                                         1e6};
        f->done |= (uint64_t)1 << i;
        status = um_runner_event(r, f, i, event, text, err);
    }
    return status;
}

static um_status bad_answer(um_runner *r, um_flight *f, const um_http_reply *reply, const char *why,
                            uint64_t now, um_error *err)
{
    r->remote->totals.bad_answers++;
    set_problem(f, reply->status, "bad answer", why);
    f->unsure = true;
    f->bad++;
    return again(r, f, -1, now, err);
}

static um_status good_status(um_runner *r, um_flight *f, const um_http_reply *reply, uint64_t now,
                             um_error *err)
{
    um_endpoint *e = f->at;
    um_reply answers = {0};
    um_error wrong;
    um_ask_kind kind =
        r->task->embeddings ? UM_ASK_EMBEDDING : um_wire_kind(um_endpoint_opening(r->remote, e));
    if (um_secret_in(reply->body, reply->len, e->key))
        return bad_answer(r, f, reply, "it holds the API key", now, err);
    um_status status =
        um_reply_read(&answers, kind, reply->body, reply->len, f->asked, r->task->want_top, &wrong);
    if (status == UM_ERR_REMOTE)
        return bad_answer(r, f, reply, wrong.text, now, err);
    if (status != UM_OK)
        return um_fail(err, status, "%s", wrong.text);
    if (answers.n_present > 0) {
        count_tokens(r, f, &answers);
        status = take_answers(r, f, &answers, err);
        um_endpoint_answered(e, r->remote, reply->ms, now);
        r->last_answer_ms = now;
        r->failures_in_row = 0;
    }
    if (status == UM_OK && f->solo && f->refused && answers.n_present > 0 && e->can.n &&
        !r->task->embeddings) {
        e->can.n = false;
        um_monitor_message(r->monitor, "%s refuses several choices a request; asking for one",
                           e->label);
    }
    if (status == UM_OK && answers.n_present == 0) {
        status = bad_answer(r, f, reply, answers.wrong, now, err);
    } else if (status == UM_OK) {
        r->remote->totals.bad_answers += answers.n_present < answers.n;
        go_on(r, f);
    }
    um_reply_dispose(&answers);
    return status;
}

/* Failures ------------------------------------------------------------------------------------- */

static bool outage_too_long(um_runner *r, const um_endpoint *e, const char *why, uint64_t now)
{
    const um_remote_options *o = &r->remote->options;
    if (now - r->last_answer_ms <= o->outage_limit_ms)
        return false;
    um_runner_end(r, UM_ERR_REMOTE,
                  "no answer for %.0f s, limit %.0f s; %s: %.200s; what was answered is saved, run "
                  "again later",
                  (double)(now - r->last_answer_ms) / 1000, (double)o->outage_limit_ms / 1000,
                  e->label, why);
    return true;
}

static um_status transport_fault(um_runner *r, um_flight *f, uint64_t now, um_error *err)
{
    um_endpoint *e = f->at;
    bool counts = !e->aside;
    if (um_endpoint_failed(e, r->remote, now)) {
        um_monitor_message(r->monitor, "%s does not answer (%.160s); looking again in %.1f s",
                           e->label, f->problem, (double)(e->aside_until_ms - now) / 1000);
    }
    outage_too_long(r, e, f->problem, now);
    f->attempts += counts;
    return again(r, f, -1, now, err);
}

static um_status kill_endpoint(um_runner *r, um_flight *f, const char *what, uint64_t now)
{
    um_endpoint *e = f->at;
    if (!e->dead) {
        e->dead = true;
        snprintf(e->dead_reason, sizeof e->dead_reason, "%s: %.150s", e->label, what);
        um_monitor_message(r->monitor, "%s: %.160s; it is not asked any more", e->label, what);
    }
    again_at(r, f, now);
    return UM_OK;
}

static bool is_quota(int status, const um_complaint *c)
{
    return status == 402 || strcmp(c->code, "insufficient_quota") == 0 ||
           strcmp(c->code, "billing_hard_limit_reached") == 0 ||
           strcmp(c->code, "billing_not_active") == 0;
}

static um_status slow_down(um_runner *r, um_flight *f, const um_http_reply *reply,
                           const um_complaint *c, uint64_t now)
{
    um_endpoint *e = f->at;
    const um_remote_options *o = &r->remote->options;
    int64_t wait = reply->retry_after_ms;
    r->remote->totals.rate_limited += reply->status == 429;
    if (is_quota(reply->status, c)) {
        if (wait < 0)
            wait = o->outage_wait_max_ms;
        if (!e->quota_told)
            um_monitor_message(r->monitor,
                               "%s: quota exhausted (%.140s); paused, trying again every %.0f s",
                               e->label, c->message, (double)wait / 1000);
        e->quota = e->quota_told = true;
    } else if (wait >= TOLD_WAIT_MS && now >= e->not_before_ms) {
        um_monitor_message(r->monitor, "%s asks to wait %.0f s", e->label, (double)wait / 1000);
    }
    um_endpoint_slow_down(e, r->remote, wait, now);
    outage_too_long(r, e, f->problem, now);
    again_at(r, f, now);
    return UM_OK;
}

static bool is_gateway(int status)
{
    return (status >= 502 && status <= 504) || (status >= 520 && status <= 530);
}

static um_status refusal(um_runner *r, um_flight *f, const um_http_reply *reply, uint64_t now,
                         um_error *err)
{
    um_endpoint *e = f->at;
    um_complaint c;
    char what[32], where[224];
    int status = reply->status;
    um_complaint_read(&c, reply->body, reply->len, e->key);
    snprintf(what, sizeof what, "HTTP %d", status);
    set_problem(f, status, what, c.message);
    if (status >= 300 && status < 400) {
        um_secret_mask(where, sizeof where, reply->location, e->key);
        set_problem(f, status, "redirects, which is not followed; give the right address", where);
        return kill_endpoint(r, f, f->problem, now);
    }
    if (status == 429 || status == 402 ||
        ((status == 503 || status == 529) && reply->retry_after_ms >= 0))
        return slow_down(r, f, reply, &c, now);
    if (status == 401 || status == 404 || (status == 403 && e->answers == 0))
        return kill_endpoint(r, f, f->problem, now);
    if (is_gateway(status))
        return transport_fault(r, f, now, err);
    if (status >= 500 || status == 408 || status == 409 || status == 425) {
        f->attempts++;
        e->fault_streak = 0;
        return again(r, f, reply->retry_after_ms, now, err);
    }
    if (!f->solo && f->asked > 1) {
        f->refused = true;
        go_on(r, f);
        return UM_OK;
    }
    /* The samples of one prompt are one question: what refuses one refuses all. */
    return um_runner_give_up(r, f, !r->task->embeddings && f->refused, err);
}

static um_status fault(um_runner *r, um_flight *f, const um_http_reply *reply, uint64_t now,
                       um_error *err)
{
    static const char *const names[] = {
        [UM_HTTP_CONNECT] = "no connection",    [UM_HTTP_IDENTITY] = "certificate not trusted",
        [UM_HTTP_DEADLINE] = "deadline passed", [UM_HTTP_IDLE] = "answer stalled",
        [UM_HTTP_BROKEN] = "connection broken", [UM_HTTP_TOO_BIG] = "answer too big",
    };
    char why[200];
    um_secret_mask(why, sizeof why, reply->why, f->at->key);
    set_problem(f, 0, names[reply->fault], why);
    if (reply->fault == UM_HTTP_IDENTITY)
        return kill_endpoint(r, f, f->problem, now);
    if (reply->fault != UM_HTTP_CONNECT)
        f->unsure = true;
    if (reply->fault == UM_HTTP_TOO_BIG) {
        snprintf(why, sizeof why, "larger than %llu bytes",
                 (unsigned long long)r->remote->options.max_body_bytes);
        return bad_answer(r, f, reply, why, now, err);
    }
    return transport_fault(r, f, now, err);
}

static um_status health(um_runner *r, um_endpoint *e, const um_http_reply *reply, uint64_t now)
{
    char why[160] = "it answers with an error of its own";
    e->checking = false;
    if (reply->fault == UM_HTTP_OK && reply->status < 500) {
        um_endpoint_back(e, now);
        um_monitor_message(r->monitor, "%s answers again", e->label);
        return UM_OK;
    }
    if (reply->fault != UM_HTTP_OK)
        um_secret_mask(why, sizeof why, reply->why, e->key);
    e->aside = false;
    e->fault_streak = UINT32_MAX - 1;
    um_endpoint_failed(e, r->remote, now);
    um_monitor_message(r->monitor, "%s still does not answer (%s); looking again in %.1f s",
                       e->label, why, (double)(e->aside_until_ms - now) / 1000);
    outage_too_long(r, e, why, now);
    return UM_OK;
}

um_status um_runner_reply(void *context, const um_http_reply *reply, um_error *err)
{
    um_runner *r = context;
    uint64_t now = um_clock_ms();
    const um_call *call = reply->token;
    if (call->kind == UM_CALL_HEALTH)
        return health(r, reply->token, reply, now);
    um_flight *f = reply->token;
    f->at->in_flight--;
    r->sent--;
    r->reserved = r->sent > 0 ? r->reserved - f->reserved : 0;
    if (reply->fault != UM_HTTP_OK)
        return fault(r, f, reply, now, err);
    if (reply->status == 200)
        return good_status(r, f, reply, now, err);
    if (reply->status > 200 && reply->status < 300)
        return bad_answer(r, f, reply, "a status that no answer has", now, err);
    return refusal(r, f, reply, now, err);
}
