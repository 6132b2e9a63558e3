/* probe_send.c - one question at a time. */
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "remote/probe.h"
#include "remote/secret.h"

#define TURN_MS  100
#define STUMBLES 2

void um_probe_dispose(um_probe *p)
{
    json_decref(p->root);
    p->root = NULL;
    um_str_dispose(&p->body);
    um_str_dispose(&p->request);
}

static um_status on_reply(void *context, const um_http_reply *reply, um_error *err)
{
    um_probe *p = reply->token;
    um_complaint c;
    (void)context;
    p->done = true;
    p->fault = reply->fault;
    p->status = reply->status;
    p->retry_after_ms = reply->retry_after_ms;
    p->ms = reply->ms;
    json_decref(p->root);
    p->root = NULL;
    if (reply->fault != UM_HTTP_OK) {
        um_secret_mask(p->why, sizeof p->why, reply->why, p->e->key);
        return UM_OK;
    }
    um_complaint_read(&c, reply->body, reply->len, p->e->key);
    if (reply->status >= 300 && reply->status < 400) {
        um_secret_mask(c.message, sizeof c.message, reply->location, p->e->key);
        snprintf(p->why, sizeof p->why, "HTTP %d: redirects to %.180s; give the right address",
                 reply->status, c.message);
    } else {
        snprintf(p->why, sizeof p->why, "HTTP %d: %.200s", reply->status, c.message);
    }
    um_status status = um_json_parse(&p->root, reply->body, reply->len, "the answer", err);
    return status == UM_ERR_MEMORY ? status : UM_OK;
}

static um_status wait_until(um_probe *p, uint64_t until, um_error *err)
{
    um_status status = UM_OK;
    while (status == UM_OK && !p->done) {
        uint64_t now = um_clock_ms();
        if (um_monitor_stopped(p->monitor))
            return um_fail(err, UM_ERR_INTERRUPTED, "asked to stop while probing");
        if (now >= until)
            break;
        uint64_t left = until - now;
        status =
            um_http_poll(p->remote->http, left < TURN_MS ? (int)left : TURN_MS, on_reply, p, err);
    }
    return status;
}

static bool transient(const um_probe *p)
{
    if (p->fault != UM_HTTP_OK)
        return p->fault != UM_HTTP_IDENTITY;
    return p->status == 408 || p->status == 409 || p->status == 425 || p->status == 429 ||
           p->status >= 500;
}

um_status um_probe_send(um_probe *p, um_http_target *target, bool get, um_error *err)
{
    bool alive = p->e->can.chat || p->e->can.completions;
    bool plain = target == p->e->chat || target == p->e->completions;
    um_status status = um_str_status(&p->request, err);
    for (uint32_t i = 0; status == UM_OK; i++) {
        p->done = false;
        p->call.kind = UM_CALL_PROBE;
        status = um_http_send(p->remote->http, target, get ? NULL : p->request.data,
                              get ? 0 : p->request.len, 0, &p->call, err);
        if (status == UM_OK)
            status = wait_until(p, UINT64_MAX, err);
        if (status != UM_OK || !transient(p))
            break;
        /* An endpoint that answers plain requests and stumbles over this one cannot do it. */
        if (alive && p->fault == UM_HTTP_OK && (p->status == 500 || p->status == 501) &&
            i >= STUMBLES)
            break;
        if (i >= p->remote->options.retries)
            return um_fail(err, UM_ERR_REMOTE, "endpoint %s: %.240s; is it running, and reachable?",
                           p->e->label, p->why);
        uint64_t wait = p->retry_after_ms >= 0 ? (uint64_t)p->retry_after_ms
                                               : um_remote_backoff(p->remote, 0, i);
        if (wait > p->remote->options.outage_limit_ms)
            return um_fail(err, UM_ERR_REMOTE, "endpoint %s: %.200s; it asks to wait %.0f s",
                           p->e->label, p->why, (double)wait / 1000);
        if (i == 0)
            um_monitor_message(p->monitor, "%s: %.200s; trying again", p->e->label, p->why);
        p->done = false;
        status = wait_until(p, um_clock_ms() + wait, err);
    }
    if (status != UM_OK)
        um_http_abort(p->remote->http);
    else if (p->fault == UM_HTTP_IDENTITY)
        status = um_fail(err, UM_ERR_REMOTE,
                         "endpoint %s: certificate not trusted: %.200s; name its authority's file "
                         "if it is your own",
                         p->e->label, p->why);
    else if (!alive && plain && (p->status == 401 || p->status == 403))
        status = um_fail(err, UM_ERR_REMOTE, "endpoint %s: %.240s; check the API key", p->e->label,
                         p->why);
    return status;
}

um_status um_probe_ask(um_probe *p, um_remote_opening how, const um_ask *ask, um_error *err)
{
    um_str_clear(&p->request);
    um_wire_write(&p->request, p->e, how, ask);
    return um_probe_send(p, um_wire_kind(how) == UM_ASK_CHAT ? p->e->chat : p->e->completions,
                         false, err);
}

const char *um_probe_text(const um_probe *p, size_t choice)
{
    if (p->status != 200)
        return NULL;
    const json_t *c = json_array_get(json_object_get(p->root, "choices"), choice);
    const json_t *text = json_object_get(c, "text");
    if (text == NULL)
        text = json_object_get(json_object_get(c, "message"), "content");
    return json_string_value(text);
}

int64_t um_probe_prompt_tokens(const um_probe *p)
{
    const json_t *n = json_object_get(json_object_get(p->root, "usage"), "prompt_tokens");
    return p->status == 200 && json_is_integer(n) ? json_integer_value(n) : -1;
}
