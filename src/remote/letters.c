/*
 * letters.c - the distribution over letters after a text: from listed log-probabilities, or, where
 * that is allowed, as shares of sampled letters.
 *
 * Answers come in any order and are delivered in order, so results wait in a ring. No text is asked
 * for before its place in the ring is free.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "remote/responder.h"

#define RING        ((size_t)16384)
#define MAX_LETTERS 26
#define NO_SAMPLES  1

typedef enum place_state { PLACE_OPEN, PLACE_FULL, PLACE_FAILED } place_state;

/* One text. Shares of samples are counted in p until all are there. */
typedef struct place {
    place_state state;
    uint32_t settled; /* samples answered or failed */
    um_remote_letters info;
    double p[MAX_LETTERS];
} place;

typedef struct scoring {
    um_task task; /* first */
    um_remote_responder *responder;
    const um_letter_query *queries;
    size_t n;
    um_on_letters on_letters;
    void *context;
    um_sampling sampling;
    uint32_t samples; /* of a text: 1 where log-probabilities are listed */
    /* Text t belongs to query q when first[q] <= t < first[q + 1]. */
    size_t *first; /* [n + 1] */
    place *ring;   /* [ring_size] text t is at t % ring_size */
    size_t ring_size;
    uint64_t delivered; /* texts */
    size_t delivered_query;
    /* Where next() stands. */
    uint64_t text;
    size_t query;
    uint32_t sample;
    um_remote_key key;
    bool keyed;
} scoring;

bool um_letters_from_top(double *p, uint32_t k, const um_top *top, size_t n, um_remote_letters *out)
{
    double sum = 0, all = 0, least = 0;
    uint32_t seen = 0;
    for (uint32_t i = 0; i < k; i++)
        p[i] = 0;
    for (size_t i = 0; i < n; i++) {
        double mass = exp(top[i].logprob);
        uint32_t letter = (uint32_t)(unsigned char)top[i].token[0] - 'A';
        all += mass;
        least = i == 0 || top[i].logprob < least ? top[i].logprob : least;
        if (letter >= k || top[i].token[1] != '\0')
            continue;
        seen += p[letter] == 0;
        p[letter] += mass;
        sum += mass;
    }
    *out = (um_remote_letters){.listed = seen, .mass = sum};
    if (!(sum > 0))
        return false;
    for (uint32_t i = 0; i < k; i++)
        p[i] /= sum;
    /* Unlisted letters are each no likelier than the last listed token, and together no likelier
     * than all that is not listed. With u of mass unseen, p is off by u / (sum + u). */
    double unseen = fmin((double)(k - seen) * exp(least), fmax(0, 1 - all));
    out->method = seen == k ? UM_REMOTE_LETTERS_EXACT : UM_REMOTE_LETTERS_BOUNDED;
    out->error = unseen / (sum + unseen);
    return true;
}

static uint32_t letters_of(const scoring *s, uint64_t text, size_t *query)
{
    /* Asked for texts near one another: start from where delivery stands. */
    size_t low = s->delivered_query, high = s->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->first[middle] <= text)
            low = middle;
        else
            high = middle;
    }
    *query = low;
    return s->queries[low].prompt->k;
}

static um_ask make_ask(const scoring *s, size_t query, uint64_t text, const um_endpoint *e)
{
    const um_letter_query *q = &s->queries[query];
    const um_prompt *prompt = q->prompt;
    um_ask ask = {.messages = prompt->messages,
                  .n_messages = prompt->n_messages,
                  .opening = prompt->opening,
                  .text = q->texts[text - s->first[query]],
                  .sampling = &s->sampling,
                  .n = 1,
                  .top = s->task.want_top,
                  .letters = prompt->k};
    if (e == NULL)
        return ask;
    ask.constraint = s->task.want_top ? e->can.logprob_constraint : e->can.sampling_constraint;
    /* More letters than are listed: those that are not would be lost without a bound. */
    if (s->task.want_top && prompt->k > e->can.top_logprobs)
        ask.constraint = UM_REMOTE_CONSTRAINT_NONE;
    return ask;
}

static place *place_of(const scoring *s, uint64_t text)
{
    return &s->ring[text % s->ring_size];
}

/* Hands over what is complete, in order. A text that failed is passed over. */
static um_status drain(scoring *s, um_error *err)
{
    um_status status = UM_OK;
    while (status == UM_OK && s->delivered < s->first[s->n]) {
        place *at = place_of(s, s->delivered);
        if (at->state == PLACE_OPEN)
            break;
        size_t query;
        letters_of(s, s->delivered, &query);
        s->delivered_query = query;
        if (at->state == PLACE_FULL) {
            um_remote_totals *totals = &s->task.remote->totals;
            s->responder->letters = at->info;
            totals->worst_letter_error = fmax(totals->worst_letter_error, at->info.error);
            status = s->on_letters(s->context, query, (size_t)(s->delivered - s->first[query]),
                                   at->p, err);
        }
        *at = (place){0};
        s->delivered++;
    }
    return status;
}

static um_status refuse(scoring *s, uint64_t text, place *at, const char *why, um_error *err)
{
    size_t query;
    letters_of(s, text, &query);
    const um_prompt *prompt = s->queries[query].prompt;
    um_ask ask = make_ask(s, query, text, NULL);
    at->state = PLACE_FAILED;
    return um_remote_note_failure(s->task.remote,
                                  um_ask_key(s->task.remote, "letters", prompt, &ask), prompt->key,
                                  (uint32_t)(text - s->first[query]), 200, why, err);
}

static um_status take_top(scoring *s, uint64_t text, place *at, const um_answer *a, um_error *err)
{
    size_t query;
    uint32_t k = letters_of(s, text, &query);
    double most = s->task.remote->options.max_letter_error;
    char why[160];
    at->state = PLACE_FULL;
    if (!um_letters_from_top(at->p, k, a->top, a->n_top, &at->info))
        return refuse(s, text, at, "none of the letters is among the listed tokens", err);
    if (at->info.error <= most)
        return UM_OK;
    um_str message = UM_STR_INIT;
    um_str_appendf(&message,
                   "%u of %u letters are listed, the distribution may be off by %.4f, limit %.4f",
                   at->info.listed, k, at->info.error, most);
    size_t n = message.len < sizeof why ? message.len : sizeof why - 1;
    memcpy(why, um_str_text(&message), n);
    why[n] = '\0';
    um_str_dispose(&message);
    return refuse(s, text, at, why, err);
}

/* All samples of a text are settled: shares, with the standard error of the largest. */
static um_status finish_shares(scoring *s, uint64_t text, place *at, um_error *err)
{
    size_t query;
    uint32_t k = letters_of(s, text, &query);
    double most = 0, n = (double)at->info.samples;
    if (at->info.samples < NO_SAMPLES)
        return refuse(s, text, at, "none of the samples is a letter", err);
    for (uint32_t i = 0; i < k; i++) {
        at->info.listed += at->p[i] > 0;
        at->p[i] /= n;
        most = fmax(most, at->p[i]);
    }
    at->state = PLACE_FULL;
    at->info.method = UM_REMOTE_LETTERS_FREQUENCY;
    at->info.mass = 1;
    at->info.error = sqrt(most * (1 - most) / n);
    return UM_OK;
}

static um_status deliver(um_task *self, uint64_t unit, uint32_t number, um_answer *a, um_error *err)
{
    scoring *s = (scoring *)self;
    place *at = place_of(s, unit);
    um_status status = UM_OK;
    size_t query;
    (void)number;
    if (a->text == NULL || (self->want_top && a->n_top == 0))
        return um_fail(err, UM_ERR_INPUT, "stored answer: it has no listed tokens");
    if (self->want_top) {
        status = take_top(s, unit, at, a, err);
    } else {
        uint32_t letter = (uint32_t)(unsigned char)a->text[0] - 'A';
        if (letter < letters_of(s, unit, &query) && a->text[1] == '\0') {
            at->p[letter]++;
            at->info.samples++;
        }
        if (++at->settled == s->samples)
            status = finish_shares(s, unit, at, err);
    }
    return status == UM_OK ? drain(s, err) : status;
}

static um_status fail_text(um_task *self, uint64_t unit, uint32_t number, um_error *err)
{
    scoring *s = (scoring *)self;
    place *at = place_of(s, unit);
    um_status status = UM_OK;
    (void)number;
    if (self->want_top)
        at->state = PLACE_FAILED;
    else if (++at->settled == s->samples)
        status = finish_shares(s, unit, at, err);
    return status == UM_OK ? drain(s, err) : status;
}

static um_status next(um_task *self, um_flight *f, um_next *what, um_error *err)
{
    scoring *s = (scoring *)self;
    uint32_t group = self->want_top ? 1 : um_remote_group(self->remote);
    f->count = 0;
    for (; s->text < s->first[s->n]; s->text++, s->sample = 0, s->keyed = false) {
        if (s->text >= s->delivered + s->ring_size) {
            *what = UM_NEXT_LATER;
            return UM_OK;
        }
        while (s->first[s->query + 1] <= s->text)
            s->query++;
        const um_prompt *prompt = s->queries[s->query].prompt;
        if (!s->keyed) {
            um_ask ask = make_ask(s, s->query, s->text, NULL);
            s->key = um_ask_key(self->remote, self->want_top ? "letters" : "letter sample", prompt,
                                &ask);
            s->keyed = true;
        }
        for (; s->sample < s->samples && f->count < group; s->sample++) {
            bool stored;
            um_status status = um_run_replay(self, um_key_add(s->key, s->sample), s->text,
                                             s->sample, &stored, err);
            if (status != UM_OK)
                return status;
            if (stored && f->count > 0)
                break;
            if (stored)
                continue;
            if (f->count++ == 0) {
                f->unit = s->text;
                f->first = s->sample;
                f->key = um_key_add(s->key, s->sample);
                f->prompt = prompt->key;
            }
        }
        if (f->count > 0) {
            s->sample += s->sample < s->samples && f->count < group;
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

static um_status write_body(um_task *self, const um_flight *f, um_str *body, um_error *err)
{
    scoring *s = (scoring *)self;
    size_t query;
    um_remote_opening how = um_endpoint_opening(self->remote, f->at);
    letters_of(s, f->unit, &query);
    um_status status = um_check_rendered(f->at, how, s->queries[query].prompt, err);
    if (status != UM_OK)
        return status;
    um_ask ask = make_ask(s, query, f->unit, f->at);
    ask.n = f->asked;
    if (!self->want_top && f->at->can.seed && !(f->asked > 1 && f->at->can.n_without_seed)) {
        ask.seeded = true;
        ask.seed = um_ask_seed(s->key.hi, f->key.hi, f->first + f->from);
    }
    um_wire_write(body, f->at, how, &ask);
    return UM_OK;
}

static uint64_t bytes_of(um_task *self, const um_flight *f)
{
    scoring *s = (scoring *)self;
    size_t query;
    letters_of(s, f->unit, &query);
    const um_letter_query *q = &s->queries[query];
    return um_prompt_bytes(q->prompt) + strlen(q->texts[f->unit - s->first[query]]);
}

static um_status check_queries(const um_letter_query *queries, size_t n, um_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (queries[i].prompt->k < 1 || queries[i].prompt->k > MAX_LETTERS)
            return um_fail(err, UM_ERR_INPUT, "prompt %llu: %u letters, need 1 to %d",
                           (unsigned long long)queries[i].prompt->key, queries[i].prompt->k,
                           MAX_LETTERS);
    }
    return UM_OK;
}

static bool all_list(const um_remote *remote)
{
    for (size_t i = 0; i < remote->n_endpoints; i++) {
        if (remote->endpoints[i].can.top_logprobs == 0)
            return false;
    }
    return true;
}

um_status um_remote_score_letters(um_responder *self, const um_letter_query *queries, size_t n,
                                  um_on_letters on_letters, void *context,
                                  const um_monitor *monitor, um_error *err)
{
    um_remote_responder *r = (um_remote_responder *)self;
    bool top = all_list(r->remote);
    um_status status = check_queries(queries, n, err);
    scoring s = {.task = {.remote = r->remote,
                          .journal = r->journalled ? &r->journal : NULL,
                          .stage = r->base.name,
                          .want_top = top,
                          .max_tokens = 1,
                          .next = next,
                          .key = key_of,
                          .write = write_body,
                          .bytes = bytes_of,
                          .deliver = deliver,
                          .fail = fail_text},
                 .responder = r,
                 .queries = queries,
                 .n = n,
                 .on_letters = on_letters,
                 .context = context,
                 .sampling = {.temperature = 1, .top_p = 1, .max_tokens = 1},
                 .samples = top ? 1 : r->remote->options.frequency_samples};
    if (status != UM_OK || n == 0)
        return status;
    s.first = um_calloc(n + 1, sizeof *s.first);
    if (s.first == NULL)
        return um_fail_memory(err, "texts");
    for (size_t i = 0; i < n; i++)
        s.first[i + 1] = s.first[i] + queries[i].n;
    s.ring_size = s.first[n] < RING ? s.first[n] + 1 : RING;
    s.task.total = (uint64_t)s.first[n] * s.samples;
    s.ring = um_calloc(s.ring_size, sizeof *s.ring);
    if (s.ring == NULL)
        status = um_fail_memory(err, "distributions");
    if (status == UM_OK)
        status = um_run_task(&s.task, monitor, err);
    free(s.ring);
    free(s.first);
    return status;
}
