/* responder.c - samples of prompts from endpoints. */
#include "remote/responder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"

#define MAX_TOKENS_ASKED (1 << 20)

uint32_t um_remote_group(const um_remote *remote)
{
    for (size_t i = 0; i < remote->n_endpoints; i++) {
        if (!remote->endpoints[i].can.n && !remote->endpoints[i].dead)
            return 1;
    }
    return remote->options.max_choices;
}

uint64_t um_prompt_bytes(const um_prompt *prompt)
{
    uint64_t bytes = prompt->opening != NULL ? strlen(prompt->opening) : 0;
    for (size_t i = 0; i < prompt->n_messages; i++)
        bytes += strlen(prompt->messages[i].content);
    return bytes;
}

um_ask um_samples_ask(const um_samples *s, size_t p, uint32_t sample, uint32_t n,
                      const um_endpoint *e)
{
    const um_prompt *prompt = &s->prompts[p];
    bool seeded = e != NULL && e->can.seed && !(n > 1 && e->can.n_without_seed);
    return (um_ask){.messages = prompt->messages,
                    .n_messages = prompt->n_messages,
                    .opening = prompt->opening,
                    .sampling = s->sampling,
                    .stops = s->stops,
                    .n_stops = s->n_stops,
                    .n = n,
                    .seeded = seeded,
                    .seed = um_ask_seed(s->sampling->seed, prompt->key, sample)};
}

/* The next run of samples of one prompt that the journal does not have. */
static um_status next(um_task *self, um_flight *f, um_next *what, um_error *err)
{
    um_samples *s = (um_samples *)self;
    uint32_t group = um_remote_group(self->remote);
    um_status status;
    f->count = 0;
    for (; s->prompt < s->n; s->prompt++, s->sample = 0, s->keyed = false) {
        const um_prompt *prompt = &s->prompts[s->prompt];
        if (!s->keyed) {
            um_ask ask = um_samples_ask(s, s->prompt, 0, 1, NULL);
            s->key = um_ask_key(self->remote, "complete", prompt, &ask);
            s->keyed = true;
        }
        for (; s->sample < s->n_samples && f->count < group; s->sample++) {
            bool stored;
            uint32_t number = s->first_sample + s->sample;
            status =
                um_run_replay(self, um_key_add(s->key, number), s->prompt, number, &stored, err);
            if (status != UM_OK)
                return status;
            if (stored && f->count > 0)
                break;
            if (stored)
                continue;
            if (f->count++ == 0) {
                f->unit = s->prompt;
                f->first = number;
                f->key = um_key_add(s->key, number);
                f->prompt = prompt->key;
            }
        }
        if (f->count > 0) {
            s->sample += s->sample < s->n_samples && f->count < group; /* a stored one was seen */
            *what = UM_NEXT_FLIGHT;
            return UM_OK;
        }
    }
    *what = UM_NEXT_END;
    return UM_OK;
}

static um_remote_key key_of(um_task *self, const um_flight *f, uint32_t i)
{
    (void)self;
    return um_key_add(f->key, i);
}

um_status um_check_rendered(const um_endpoint *e, um_remote_opening how, const um_prompt *prompt,
                            um_error *err)
{
    const char *marker = e->can.rendered == UM_REMOTE_TEMPLATE_LLAMA3 ? "_id|>" : "<|im_";
    for (size_t i = 0; how == UM_REMOTE_OPENING_RENDERED && i < prompt->n_messages; i++) {
        if (strstr(prompt->messages[i].content, marker) != NULL)
            return um_fail(err, UM_ERR_INPUT,
                           "the prompt holds '%s', a marker of the model's template", marker);
    }
    return UM_OK;
}

static um_status write_body(um_task *self, const um_flight *f, um_str *body, um_error *err)
{
    um_samples *s = (um_samples *)self;
    um_remote_opening how = um_endpoint_opening(self->remote, f->at);
    um_status status = um_check_rendered(f->at, how, &s->prompts[f->unit], err);
    if (status != UM_OK)
        return status;
    um_ask ask = um_samples_ask(s, f->unit, f->first + f->from, f->asked, f->at);
    um_wire_write(body, f->at, how, &ask);
    return UM_OK;
}

static uint64_t bytes_of(um_task *self, const um_flight *f)
{
    return um_prompt_bytes(&((um_samples *)self)->prompts[f->unit]);
}

/* Openings and stops --------------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The end of pattern at the start of text, runs of white space being equal; NULL when it is not
 * there. */
static const char *match(const char *text, const char *pattern)
{
    while (*pattern != '\0') {
        if (is_space(*pattern)) {
            if (!is_space(*text))
                return NULL;
            while (is_space(*text))
                text++;
            while (is_space(*pattern))
                pattern++;
        } else if (*text++ != *pattern++) {
            return NULL;
        }
    }
    return text;
}

const char *um_after_opening(const char *text, const char *opening, bool *missing)
{
    const char *start = text, *last = strrchr(opening, '\n');
    *missing = false;
    while (is_space(*start))
        start++;
    const char *end = match(start, opening);
    if (end == NULL && last != NULL)
        end = match(start, last + 1);
    *missing = end == NULL;
    return end != NULL ? end : text;
}

/* The length of text before the first of the stop strings. */
static size_t before_stops(const char *text, const char *const *stops, size_t n, bool *stopped)
{
    size_t len = strlen(text);
    *stopped = false;
    for (size_t i = 0; i < n; i++) {
        const char *at = strstr(text, stops[i]);
        if (at != NULL && (size_t)(at - text) <= len) {
            len = (size_t)(at - text);
            *stopped = true;
        }
    }
    return len;
}

static um_status deliver(um_task *self, uint64_t unit, uint32_t number, um_answer *a, um_error *err)
{
    um_samples *s = (um_samples *)self;
    const char *text = a->text, *opening = s->prompts[unit].opening;
    bool missing = false, stopped;
    if (text == NULL)
        return um_fail(err, UM_ERR_INPUT, "stored answer: it is no text");
    if (self->remote->opening == UM_REMOTE_OPENING_ASKED && opening != NULL && opening[0] != '\0')
        text = um_after_opening(text, opening, &missing);
    self->remote->totals.opening_missing += missing;
    um_str_clear(&s->text);
    um_str_append_n(&s->text, text, before_stops(text, s->stops, s->n_stops, &stopped));
    um_status status = um_str_status(&s->text, err);
    if (status != UM_OK)
        return status;
    const um_completion completion = {.prompt = unit,
                                      .sample = number,
                                      .text = um_str_text(&s->text),
                                      .finish = stopped ? UM_FINISH_STOP : a->finish,
                                      .tokens = a->completion_tokens};
    return s->on_completion(s->context, &completion, err);
}

static um_status fail_sample(um_task *self, uint64_t unit, uint32_t number, um_error *err)
{
    (void)self;
    (void)unit;
    (void)number;
    (void)err;
    return UM_OK;
}

/* The task ------------------------------------------------------------------------------------- */

static um_status check_sampling(const um_sampling *s, um_error *err)
{
    if (!(s->temperature >= 0) || !isfinite(s->temperature) || !(s->top_p > 0) || s->top_p > 1 ||
        s->top_k < 0 || !(s->min_p >= 0) || s->min_p > 1 || s->max_tokens < 1 ||
        s->max_tokens > MAX_TOKENS_ASKED)
        return um_fail(err, UM_ERR_INPUT,
                       "sampling: temperature must be 0 or more, top_p in (0, 1], top_k 0 or more, "
                       "min_p in [0, 1], max_tokens 1 to %d",
                       MAX_TOKENS_ASKED);
    return UM_OK;
}

um_status um_samples_init(um_samples *s, um_remote_responder *r, const um_prompt *prompts, size_t n,
                          uint32_t first_sample, uint32_t n_samples, const um_sampling *sampling,
                          const char *const *stops, size_t n_stops, um_error *err)
{
    um_status status = check_sampling(sampling, err);
    if (status != UM_OK)
        return status;
    for (size_t i = 0; i < n_stops; i++) {
        if (stops[i][0] == '\0')
            return um_fail(err, UM_ERR_INPUT, "stop string %zu is empty", i);
    }
    *s = (um_samples){
        .task = {.remote = r->remote,
                 .journal = r->journalled ? &r->journal : NULL,
                 .stage = r->base.name,
                 .total = (uint64_t)n * n_samples,
                 .max_tokens = (uint32_t)sampling->max_tokens,
                 .next = next,
                 .key = key_of,
                 .write = write_body,
                 .bytes = bytes_of,
                 .deliver = deliver,
                 .fail = fail_sample},
        .prompts = prompts,
        .n = n,
        .first_sample = first_sample,
        .n_samples = n_samples,
        .sampling = sampling,
        .stops = stops,
        .n_stops = n_stops,
    };
    return UM_OK;
}

void um_samples_dispose(um_samples *s)
{
    um_str_dispose(&s->text);
}

static um_status complete(um_responder *self, const um_prompt *prompts, size_t n,
                          uint32_t first_sample, uint32_t n_samples, const um_sampling *sampling,
                          const char *const *stops, size_t n_stops, um_on_completion on_completion,
                          void *context, const um_monitor *monitor, um_error *err)
{
    um_samples s;
    um_status status = um_samples_init(&s, (um_remote_responder *)self, prompts, n, first_sample,
                                       n_samples, sampling, stops, n_stops, err);
    if (status != UM_OK || n == 0 || n_samples == 0)
        return status;
    s.on_completion = on_completion;
    s.context = context;
    status = um_run_task(&s.task, monitor, err);
    um_samples_dispose(&s);
    return status;
}

static void free_responder(um_responder *self)
{
    free((char *)self->name);
    free(self);
}

static const um_responder_ops ops = {
    .complete = complete, .score_letters = um_remote_score_letters, .free = free_responder};

/* Nothing to score letters with: the stage can see it. */
static const um_responder_ops ops_without_letters = {.complete = complete, .free = free_responder};

/* Can letters be scored at every endpoint? */
static bool has_letters(const um_remote *remote)
{
    if (remote->opening == UM_REMOTE_OPENING_ASKED)
        return false;
    for (size_t i = 0; i < remote->n_endpoints; i++) {
        if (remote->endpoints[i].can.top_logprobs == 0 && !remote->options.frequencies)
            return false;
    }
    return true;
}

um_status um_remote_responder_open(um_responder **out, um_remote *remote, const char *name,
                                   const um_remote_journal *journal, const um_monitor *monitor,
                                   um_error *err)
{
    um_status status = um_remote_probe(remote, monitor, err);
    if (status != UM_OK)
        return status;
    um_remote_responder *r = um_calloc(1, sizeof *r);
    if (r == NULL)
        return um_fail_memory(err, "a remote responder");
    r->base.ops = has_letters(remote) ? &ops : &ops_without_letters;
    r->base.name = um_strdup(name != NULL ? name : remote->identity);
    if (r->base.name == NULL) {
        free(r);
        return um_fail_memory(err, "a remote responder");
    }
    r->remote = remote;
    r->journalled = journal != NULL;
    if (journal != NULL)
        r->journal = *journal;
    const uint64_t parts[] = {um_hash_str(remote->identity, 11),
                              remote->opening == UM_REMOTE_OPENING_ASKED ? 0 : 1};
    r->base.fingerprint = um_hash(parts, sizeof parts, 0);
    *out = &r->base;
    return UM_OK;
}

const um_remote_letters *um_remote_letters_of(const um_responder *responder)
{
    return &((const um_remote_responder *)responder)->letters;
}
