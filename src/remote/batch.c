/* batch.c - what a run would ask: as figures, or as rows of a batch file, and its rows read back.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "remote/responder.h"
#include "remote/secret.h"

/* A share of max_tokens that is expected before any answer was seen. */
#define EXPECTED_SHARE 0.5

/* Calls on_run for each run of missing samples, of at most `group`. */
typedef um_status (*on_missing)(void *context, const um_samples *s, size_t prompt,
                                um_remote_key key, uint32_t first, uint32_t count, um_error *err);

static um_status each_missing(const um_samples *s, uint32_t group, uint64_t *stored_count,
                              on_missing on_run, void *context, um_error *err)
{
    um_status status = UM_OK;
    for (size_t p = 0; p < s->n && status == UM_OK; p++) {
        um_ask ask = um_samples_ask(s, p, 0, 1, NULL);
        um_remote_key base = um_ask_key(s->task.remote, "complete", &s->prompts[p], &ask);
        uint32_t count = 0;
        for (uint32_t i = 0; i <= s->n_samples && status == UM_OK; i++) {
            bool stored = true; /* the end closes a run like a stored one */
            uint32_t number = s->first_sample + i;
            if (i < s->n_samples) {
                status = um_run_stored(s->task.journal, um_key_add(base, number), &stored, err);
                *stored_count += stored;
            }
            if (status == UM_OK && count > 0 && (stored || count == group)) {
                status = on_run(context, s, p, um_key_add(base, number - count), number - count,
                                count, err);
                count = 0;
            }
            count += !stored;
        }
    }
    return status;
}

static um_status add_run(void *context, const um_samples *s, size_t prompt, um_remote_key key,
                         uint32_t first, uint32_t count, um_error *err)
{
    um_remote_cost *cost = context;
    (void)key;
    (void)first;
    (void)err;
    cost->requests++;
    cost->prompt_tokens += (uint64_t)((double)um_prompt_bytes(&s->prompts[prompt]) /
                                      um_remote_bytes_per_token(s->task.remote)) +
                           1;
    cost->most_completion_tokens += (uint64_t)count * s->task.max_tokens;
    return UM_OK;
}

/* Means over endpoints, by weight. */
static void add_prices(um_remote_cost *cost, const um_remote *remote)
{
    double weights = 0, prompt = 0, completion = 0, ms = 0, token_ms = 0;
    for (size_t i = 0; i < remote->n_endpoints; i++) {
        const um_endpoint *e = &remote->endpoints[i];
        weights += e->weight;
        prompt += e->weight * e->prompt_price;
        completion += e->weight * e->completion_price;
        ms += e->weight * e->can.answer_ms;
        token_ms += e->weight * e->can.token_ms;
    }
    double per_answer = remote->answer_tokens > 0
                            ? remote->answer_tokens
                            : EXPECTED_SHARE * (double)cost->most_completion_tokens /
                                  fmax(1, (double)(cost->answers - cost->stored));
    cost->completion_tokens = (uint64_t)(per_answer * (double)(cost->answers - cost->stored));
    cost->cost =
        ((double)cost->prompt_tokens * prompt + (double)cost->completion_tokens * completion) /
        weights / 1e6;
    cost->most_cost =
        ((double)cost->prompt_tokens * prompt + (double)cost->most_completion_tokens * completion) /
        weights / 1e6;
    const um_remote_totals *t = &remote->totals;
    if (t->answers > 0 && t->seconds > 0)
        cost->seconds = (double)(cost->answers - cost->stored) * t->seconds / (double)t->answers;
    else
        cost->seconds = (double)cost->requests * (ms + per_answer * token_ms) / weights / 1000 /
                        remote->options.max_concurrency;
}

um_status um_remote_forecast(um_remote_cost *out, um_responder *responder, const um_prompt *prompts,
                             size_t n, uint32_t first_sample, uint32_t n_samples,
                             const um_sampling *sampling, const char *const *stops, size_t n_stops,
                             um_error *err)
{
    um_remote_responder *r = (um_remote_responder *)responder;
    um_remote_cost cost = {.answers = (uint64_t)n * n_samples};
    um_samples s;
    um_status status =
        um_samples_init(&s, r, prompts, n, first_sample, n_samples, sampling, stops, n_stops, err);
    if (status == UM_OK)
        status = each_missing(&s, um_remote_group(r->remote), &cost.stored, add_run, &cost, err);
    if (status != UM_OK)
        return status;
    add_prices(&cost, r->remote);
    um_samples_dispose(&s);
    *out = cost;
    return UM_OK;
}

static void append_amount(um_str *s, uint64_t n)
{
    if (n >= 10000000)
        um_str_appendf(s, "%.0f M", (double)n / 1e6);
    else if (n >= 10000)
        um_str_appendf(s, "%.0f k", (double)n / 1e3);
    else
        um_str_appendf(s, "%llu", (unsigned long long)n);
}

um_status um_remote_cost_text(const um_remote_cost *cost, char **text, um_error *err)
{
    um_str s = UM_STR_INIT;
    um_str_appendf(&s, "%llu answers (%llu stored) in ", (unsigned long long)cost->answers,
                   (unsigned long long)cost->stored);
    append_amount(&s, cost->requests);
    um_str_append(&s, " requests: about ");
    append_amount(&s, cost->prompt_tokens);
    um_str_append(&s, " prompt and ");
    append_amount(&s, cost->completion_tokens);
    um_str_append(&s, " completion tokens");
    if (cost->most_cost > 0)
        um_str_appendf(&s, ", about $%.2f", cost->cost);
    if (cost->most_cost > cost->cost)
        um_str_appendf(&s, " (at most about $%.2f)", cost->most_cost);
    if (cost->seconds >= 7200)
        um_str_appendf(&s, ", at least %.1f hours", cost->seconds / 3600);
    else if (cost->seconds >= 120)
        um_str_appendf(&s, ", at least %.0f minutes", cost->seconds / 60);
    else if (cost->seconds >= 1)
        um_str_appendf(&s, ", at least %.0f s", cost->seconds);
    um_status status = um_str_take(&s, text, err);
    um_str_dispose(&s);
    return status;
}

/* Batch files ---------------------------------------------------------------------------------- */

typedef struct plan {
    um_on_remote_request on_request;
    void *context;
    um_str body;
} plan;

static um_status plan_run(void *context, const um_samples *s, size_t prompt, um_remote_key key,
                          uint32_t first, uint32_t count, um_error *err)
{
    plan *p = context;
    char id[UM_REMOTE_CUSTOM_ID_BYTES];
    const um_remote *remote = s->task.remote;
    const um_endpoint *e = &remote->endpoints[0];
    um_remote_opening how = um_endpoint_opening(remote, e);
    um_ask ask = um_samples_ask(s, prompt, first, count, e);
    um_str_clear(&p->body);
    um_wire_write(&p->body, e, how, &ask);
    um_status status = um_str_status(&p->body, err);
    if (status != UM_OK)
        return status;
    um_custom_id_write(id, key, count);
    const um_remote_request request = {
        .custom_id = id,
        .url = um_wire_kind(how) == UM_ASK_CHAT ? "/v1/chat/completions" : "/v1/completions",
        .body = p->body.data,
        .body_len = p->body.len,
        .prompt = s->prompts[prompt].key,
        .first_sample = first,
        .answers = count};
    return p->on_request(p->context, &request, err);
}

um_status um_remote_plan(um_responder *responder, const um_prompt *prompts, size_t n,
                         uint32_t first_sample, uint32_t n_samples, const um_sampling *sampling,
                         const char *const *stops, size_t n_stops, um_on_remote_request on_request,
                         void *context, um_error *err)
{
    um_remote_responder *r = (um_remote_responder *)responder;
    plan p = {.on_request = on_request, .context = context};
    uint64_t stored = 0;
    um_samples s;
    um_status status =
        um_samples_init(&s, r, prompts, n, first_sample, n_samples, sampling, stops, n_stops, err);
    if (status != UM_OK)
        return status;
    status = each_missing(&s, um_remote_group(r->remote), &stored, plan_run, &p, err);
    um_str_dispose(&p.body);
    um_samples_dispose(&s);
    return status;
}

static um_status record_failure(const um_remote_journal *journal, um_remote_key key, uint32_t n,
                                int http_status, const char *reason, um_error *err)
{
    um_remote_event events[UM_MAX_GROUP];
    for (uint32_t i = 0; i < n; i++)
        events[i] = (um_remote_event){.kind = UM_REMOTE_FAILED,
                                      .key = um_key_add(key, i),
                                      .http_status = http_status,
                                      .reason = reason};
    um_status status = journal->record(journal->context, events, n, err);
    if (status != UM_OK)
        return status;
    return um_fail(err, UM_ERR_REMOTE, "%s", reason);
}

/* One line of JSON an answer, one after another in text; ends[i] is where line i ends. */
static um_status record_answers(const um_remote_journal *journal, um_remote_key key,
                                const um_reply *reply, double prompt_price, double completion_price,
                                um_error *err)
{
    um_remote_event events[UM_MAX_GROUP];
    size_t n = 0, ends[UM_MAX_GROUP];
    um_str text = UM_STR_INIT;
    for (uint32_t i = 0; i < reply->n; i++) {
        const um_answer *a = &reply->answers[i];
        if (!a->present)
            continue;
        events[n] = (um_remote_event){
            .kind = UM_REMOTE_ANSWERED,
            .key = um_key_add(key, i),
            .sample = i,
            .prompt_tokens = a->prompt_tokens,
            .completion_tokens = a->completion_tokens,
            .cost =
                (a->prompt_tokens * prompt_price + a->completion_tokens * completion_price) / 1e6};
        um_answer_write(&text, a);
        ends[n++] = text.len;
        um_str_append_char(&text, '\0');
    }
    um_status status = um_str_status(&text, err);
    for (size_t i = 0, at = 0; i < n && status == UM_OK; at = ends[i++] + 1) {
        events[i].answer = text.data + at;
        events[i].answer_len = ends[i] - at;
    }
    if (status == UM_OK)
        status = journal->record(journal->context, events, n, err);
    um_str_dispose(&text);
    return status;
}

um_status um_remote_accept(const um_remote_journal *journal, const um_remote_endpoint *prices,
                           const char *custom_id, int http_status, const char *body, size_t len,
                           uint32_t *answers, um_error *err)
{
    um_remote_key key;
    uint32_t n;
    um_reply reply = {0};
    um_error wrong;
    char reason[400];
    if (answers != NULL)
        *answers = 0;
    if (!um_custom_id_read(custom_id, &key, &n))
        return um_fail(err, UM_ERR_INPUT,
                       "batch row: custom_id '%.60s' was not written by mirrorer; only its own "
                       "batches can be read back",
                       custom_id);
    if (http_status != 200) {
        um_complaint c;
        um_complaint_read(&c, body, len, NULL);
        if (http_status > 0)
            um_fail(&wrong, UM_ERR_REMOTE, "HTTP %d: %.200s", http_status, c.message);
        else /* such as a request that a batch did not get to */
            um_fail(&wrong, UM_ERR_REMOTE, "no answer: %.200s", c.message);
        memcpy(reason, wrong.text, sizeof reason - 1);
        reason[sizeof reason - 1] = '\0';
        return record_failure(journal, key, n, http_status, reason, err);
    }
    /* Both kinds of reply are told apart by what a choice holds. */
    um_ask_kind kind =
        memmem(body, len, "\"message\"", 9) != NULL ? UM_ASK_CHAT : UM_ASK_COMPLETION;
    um_status status = um_reply_read(&reply, kind, body, len, n, false, &wrong);
    if (status == UM_ERR_REMOTE || (status == UM_OK && reply.n_present == 0)) {
        um_secret_mask(reason, sizeof reason, status == UM_OK ? reply.wrong : wrong.text, NULL);
        um_reply_dispose(&reply);
        return record_failure(journal, key, n, http_status, reason, err);
    }
    if (status != UM_OK)
        return um_fail(err, status, "%s", wrong.text);
    status = record_answers(journal, key, &reply, prices != NULL ? prices->prompt_price : 0,
                            prices != NULL ? prices->completion_price : 0, err);
    if (status == UM_OK && answers != NULL)
        *answers = reply.n_present;
    um_reply_dispose(&reply);
    return status;
}
