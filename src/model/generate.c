/*
 * generate.c - continuations of many prompts: continuous batching.
 *
 * One pass holds one row of every sample being decoded, samples of one prompt side by side, and a
 * chunk of the prompt that comes next; longer prompts come first, so that the last ones to run are
 * short. What a prompt has in common with earlier ones is found in the cache, even when that is
 * computed by rows of the same pass. The last row of a prompt gives the first token of each of its
 * samples. A finished sample makes room for a new one at once.
 *
 * Pages: a prompt is let in with a promise of its own pages and those of one sample, so whatever is
 * let in can run to its end; further samples start as pages can be promised to them. When nothing
 * runs, all that is held are prompts that wait, and the one let in last can start a sample: so the
 * waiting always ends.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/continuation.h"
#include "model/engine.h"

/* Unstarted samples kept ready beyond the free rows: 1/16 of the rows, so that no row waits for a
 * prompt. */
#define AHEAD_SHARE 16

/* A token drawn for a sample. */
typedef struct drawn {
    int32_t id;
    float logprob; /* 0 unless asked for */
} drawn;

/* A prompt whose samples are not all started. */
typedef struct prompt_group {
    size_t prompt;
    const int32_t *ids;
    int len;
    um_kv_sequence cached;
    uint32_t started; /* samples */
    drawn *first;     /* [n_samples] their first tokens */
} prompt_group;

/* A sample being decoded. */
typedef struct sequence {
    size_t prompt;
    uint32_t sample;
    bool finished;
    um_kv_sequence cached;
    drawn next; /* newest token, not yet in the cache */
    uint32_t n_tokens;
    float *logprobs; /* [max_tokens] or NULL */
    double logprob;  /* their sum */
    um_continuation text;
    size_t told; /* bytes of text given to on_text */
} sequence;

typedef struct generation {
    um_engine *engine;
    const um_prompt *prompts;
    size_t n_prompts, n_begun;
    uint32_t first_sample, n_samples;
    const um_sampling *sampling;
    const char *const *stops;
    size_t n_stops;
    size_t held_back; /* bytes at the end of a text that may be the beginning of a stop string */
    um_on_completion on_completion;
    void *context;

    um_tokens ids;  /* of all prompts */
    size_t *starts; /* [n_prompts + 1] */
    size_t *order;  /* [n_prompts] longest first */

    prompt_group *groups; /* [max_groups] */
    prompt_group **free_groups;
    int n_free_groups;
    prompt_group *computing; /* part of it is in the cache; NULL: none */
    prompt_group **waiting;  /* all of it is, and samples are to be started; in order */
    int n_waiting, n_ending; /* the last n_ending of them end in the pass */
    drawn *first_tokens;     /* [max_groups * n_samples] */

    sequence *sequences; /* [max_rows] */
    sequence **free_sequences;
    int n_free_sequences;
    sequence **active; /* those of a prompt side by side */
    int n_active;
    float *logprobs; /* [max_rows * max_tokens] or NULL */

    float *logits; /* rows first_row .. of the pass: active sequences, then ending prompts */
    size_t first_row;
    bool bad_logits;
    um_str text;
} generation;

/* Setting up -------------------------------------------------------------------------------------
 */

/* Tokens of every prompt, each checked against the limits before anything is computed. */
static um_status encode_prompts(generation *g, um_error *err)
{
    um_engine *engine = g->engine;
    int kv_limit = um_kv_limit(&engine->kv);
    int64_t max_tokens = g->sampling->max_tokens;
    g->starts = um_calloc(g->n_prompts + 1, sizeof *g->starts);
    if (g->starts == NULL)
        return um_fail_memory(err, "prompts");
    for (size_t i = 0; i < g->n_prompts; i++) {
        const um_prompt *p = &g->prompts[i];
        um_status status = um_chat_encode_prompt(engine->tok, engine->format, p->messages,
                                                 p->n_messages, p->opening, &g->ids, err);
        if (status != UM_OK)
            return um_error_prefix(err, status, "prompt %" PRIu64, p->key);
        g->starts[i + 1] = g->ids.len;
        int64_t len = (int64_t)(g->ids.len - g->starts[i]);
        if (len == 0)
            return um_fail(err, UM_ERR_INPUT, "prompt %" PRIu64 " is empty", p->key);
        if (len + max_tokens > engine->max_context)
            return um_fail(err, UM_ERR_LIMIT,
                           "prompt %" PRIu64 ": %" PRId64 " tokens and %" PRId64
                           " to be written, the context holds %d",
                           p->key, len, max_tokens, engine->max_context);
        if (len + max_tokens > kv_limit)
            return um_fail(err, UM_ERR_LIMIT,
                           "prompt %" PRIu64 ": %" PRId64 " tokens and %" PRId64
                           " to be written, the key/value memory of %" PRIu64 " bytes holds %d; "
                           "decide.kv_memory gives more",
                           p->key, len, max_tokens, engine->kv.bytes, kv_limit);
    }
    return UM_OK;
}

static int by_length(const void *a, const void *b, void *context)
{
    const generation *g = context;
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    const size_t x_len = g->starts[x + 1] - g->starts[x], y_len = g->starts[y + 1] - g->starts[y];
    if (x_len != y_len)
        return x_len > y_len ? -1 : 1;
    return x < y ? -1 : 1;
}

static int max_groups(const generation *g)
{
    return g->engine->pass_out; /* as many can end in one pass */
}

static um_status alloc_tables(generation *g, um_error *err)
{
    const size_t groups = (size_t)max_groups(g), rows = (size_t)g->engine->max_rows;
    const size_t max_tokens = (size_t)g->sampling->max_tokens;
    size_t first;
    if (um_mul_overflows(groups, g->n_samples, &first))
        return um_fail(err, UM_ERR_LIMIT, "%" PRIu32 " samples a prompt", g->n_samples);
    g->order = um_calloc(g->n_prompts, sizeof *g->order);
    g->groups = um_calloc(groups, sizeof *g->groups);
    g->free_groups = um_calloc(groups, sizeof(prompt_group *));
    g->waiting = um_calloc(groups, sizeof(prompt_group *));
    g->first_tokens = um_calloc(first, sizeof *g->first_tokens);
    g->sequences = um_calloc(rows, sizeof *g->sequences);
    g->free_sequences = um_calloc(rows, sizeof(sequence *));
    g->active = um_calloc(rows, sizeof(sequence *));
    if (g->engine->logprobs)
        g->logprobs = um_calloc(rows * max_tokens, sizeof *g->logprobs);
    if (g->order == NULL || g->groups == NULL || g->free_groups == NULL || g->waiting == NULL ||
        g->first_tokens == NULL || g->sequences == NULL || g->free_sequences == NULL ||
        g->active == NULL || (g->engine->logprobs && g->logprobs == NULL))
        return um_fail_memory(err, "generation");
    for (size_t i = 0; i < g->n_prompts; i++)
        g->order[i] = i;
    qsort_r(g->order, g->n_prompts, sizeof *g->order, by_length, g);
    for (size_t i = 0; i < groups; i++) {
        g->groups[i].first = g->first_tokens + i * g->n_samples;
        g->free_groups[groups - 1 - i] = &g->groups[i];
    }
    for (size_t i = 0; i < rows; i++) {
        g->sequences[i].logprobs = g->logprobs != NULL ? g->logprobs + i * max_tokens : NULL;
        g->free_sequences[rows - 1 - i] = &g->sequences[i];
    }
    g->n_free_groups = (int)groups;
    g->n_free_sequences = (int)rows;
    return UM_OK;
}

static void dispose_generation(generation *g)
{
    um_kv *kv = &g->engine->kv;
    for (int i = 0; g->sequences != NULL && i < g->engine->max_rows; i++) {
        um_kv_end(kv, &g->sequences[i].cached);
        um_kv_sequence_dispose(&g->sequences[i].cached);
        um_continuation_dispose(&g->sequences[i].text);
    }
    for (int i = 0; g->groups != NULL && i < max_groups(g); i++) {
        um_kv_end(kv, &g->groups[i].cached);
        um_kv_sequence_dispose(&g->groups[i].cached);
    }
    um_tokens_dispose(&g->ids);
    free(g->starts);
    free(g->order);
    free(g->groups);
    free(g->free_groups);
    free(g->waiting);
    free(g->first_tokens);
    free(g->sequences);
    free(g->free_sequences);
    free(g->active);
    free(g->logprobs);
    um_str_dispose(&g->text);
}

/* Sequences --------------------------------------------------------------------------------------
 */

/* Gives text up to `end` bytes to on_text, as far as it is whole characters; all of it at the last.
 */
static um_status tell(generation *g, sequence *s, size_t end, bool last, um_error *err)
{
    const um_engine *engine = g->engine;
    if (!last)
        end = um_continuation_whole(&s->text, s->told, end);
    if (end <= s->told)
        return UM_OK;
    um_continuation_text(&s->text, s->told, end, &g->text);
    s->told = end;
    um_status status = um_str_status(&g->text, err);
    return status == UM_OK
               ? engine->on_text(engine->text_context, s->prompt, g->first_sample + s->sample,
                                 um_str_text(&g->text), err)
               : status;
}

static um_status finish_sequence(generation *g, sequence *s, um_finish finish, um_error *err)
{
    um_status status = g->engine->on_text != NULL ? tell(g, s, s->text.len, true, err) : UM_OK;
    um_continuation_text(&s->text, 0, s->text.len, &g->text);
    if (status == UM_OK)
        status = um_str_status(&g->text, err);
    if (status != UM_OK)
        return status;
    const um_completion completion = {.prompt = s->prompt,
                                      .sample = g->first_sample + s->sample,
                                      .text = um_str_text(&g->text),
                                      .finish = finish,
                                      .tokens = s->n_tokens,
                                      .logprob = s->logprob,
                                      .logprobs = s->logprobs};
    um_kv_end(&g->engine->kv, &s->cached);
    s->finished = true;
    g->free_sequences[g->n_free_sequences++] = s;
    return g->on_completion(g->context, &completion, err);
}

/* Takes the next token in; the sequence may be finished by it, and is handed out then. */
static um_status accept_token(generation *g, sequence *s, um_error *err)
{
    um_engine *engine = g->engine;
    const int32_t id = s->next.id;
    size_t before = s->text.len, n = 0;
    if (s->logprobs != NULL) {
        s->logprobs[s->n_tokens] = s->next.logprob;
        s->logprob += (double)s->next.logprob;
    }
    s->n_tokens++;
    engine->stats.generated_tokens++;
    if (id == engine->end_of_turn || id == engine->eos)
        return finish_sequence(g, s, UM_FINISH_STOP, err);
    if (!um_tokenizer_is_special(engine->tok, id)) {
        const char *piece = um_tokenizer_piece(engine->tok, id, &n);
        if (piece != NULL && !um_continuation_append(&s->text, piece, n))
            return um_fail_memory(err, "continuation");
        if (um_continuation_stop(&s->text, before, g->stops, g->n_stops))
            return finish_sequence(g, s, UM_FINISH_STOP, err);
    }
    if (s->n_tokens == (uint32_t)g->sampling->max_tokens)
        return finish_sequence(g, s, UM_FINISH_LENGTH, err);
    if (engine->on_text != NULL && s->text.len > g->held_back)
        return tell(g, s, s->text.len - g->held_back, false, err);
    return UM_OK;
}

/* Next to the others of its prompt, for the backend reads what neighbours share once. */
static void activate(generation *g, sequence *s)
{
    int at = g->n_active;
    while (at > 0 && g->active[at - 1]->prompt != s->prompt)
        at--;
    if (at == 0)
        at = g->n_active;
    memmove(&g->active[at + 1], &g->active[at], (size_t)(g->n_active - at) * sizeof *g->active);
    g->active[at] = s;
    g->n_active++;
}

/* Starts samples of a prompt while sequences and pages last. */
static um_status start_samples(generation *g, prompt_group *group, um_error *err)
{
    const int pages = um_kv_pages_of((int64_t)group->len + g->sampling->max_tokens);
    um_status status = UM_OK;
    while (group->started < g->n_samples && g->n_free_sequences > 0 && status == UM_OK) {
        sequence *s = g->free_sequences[g->n_free_sequences - 1];
        if (!um_kv_fork(&g->engine->kv, &s->cached, &group->cached, pages))
            return UM_OK;
        g->n_free_sequences--;
        s->prompt = group->prompt;
        s->sample = group->started++;
        s->finished = false;
        s->next = group->first[s->sample];
        s->n_tokens = 0;
        s->logprob = 0.0;
        s->text.len = s->told = 0;
        status = accept_token(g, s, err);
        if (!s->finished)
            activate(g, s);
    }
    return status;
}

/* Starts what can be started; prompts with nothing left to start are let go. */
static um_status start_waiting(generation *g, um_error *err)
{
    int kept = 0;
    um_status status = UM_OK;
    for (int i = 0; i < g->n_waiting; i++) {
        prompt_group *group = g->waiting[i];
        if (status == UM_OK)
            status = start_samples(g, group, err);
        if (group->started < g->n_samples) {
            g->waiting[kept++] = group;
        } else {
            um_kv_end(&g->engine->kv, &group->cached);
            g->free_groups[g->n_free_groups++] = group;
        }
    }
    g->n_waiting = kept;
    return status;
}

/* Steps ------------------------------------------------------------------------------------------
 */

/* More samples are wanted than are ready to start. */
static bool wants_prompt(const generation *g)
{
    const int64_t want = g->n_free_sequences + g->engine->max_rows / AHEAD_SHARE + 1;
    int64_t have = 0;
    for (int i = 0; i < g->n_waiting; i++)
        have += g->n_samples - g->waiting[i]->started;
    return have < want;
}

/* Lets the next prompt in, if one is wanted and fits. Its last token is left to compute, even if
 * the cache has it: that row's logits are wanted. */
static prompt_group *begin_prompt(generation *g)
{
    if (g->n_begun == g->n_prompts || g->n_free_groups == 0 || !wants_prompt(g))
        return NULL;
    prompt_group *group = g->free_groups[g->n_free_groups - 1];
    const size_t prompt = g->order[g->n_begun], start = g->starts[prompt];
    const int len = (int)(g->starts[prompt + 1] - start);
    const int own = um_kv_pages_of((int64_t)len + g->sampling->max_tokens) - len / UM_KV_PAGE;
    if (!um_kv_begin(&g->engine->kv, &group->cached, g->ids.ids + start, len - 1,
                     um_kv_pages_of(len) + own))
        return NULL;
    g->n_free_groups--;
    g->n_begun++;
    group->prompt = prompt;
    group->ids = g->ids.ids + start;
    group->len = len;
    group->started = 0;
    g->engine->stats.reused_tokens += (uint64_t)group->cached.len;
    return group;
}

static void add_prompts(generation *g)
{
    um_engine *engine = g->engine;
    const um_pass *pass = &engine->pass;
    while (pass->n_rows < engine->pass_rows && pass->n_out < engine->pass_out) {
        prompt_group *group = g->computing != NULL ? g->computing : begin_prompt(g);
        if (group == NULL)
            return;
        const int done = group->cached.len, left = group->len - done;
        const int room = engine->pass_rows - pass->n_rows;
        const int n = left < room ? left : room;
        um_engine_pass_add(engine, &group->cached, group->ids + done, n, n == left);
        engine->stats.prompt_tokens += (uint64_t)n;
        g->computing = n < left ? group : NULL;
        if (n == left) {
            g->waiting[g->n_waiting++] = group;
            g->n_ending++;
        }
    }
}

static void build_pass(generation *g)
{
    g->n_ending = 0;
    for (int i = 0; i < g->n_active; i++) {
        sequence *s = g->active[i];
        um_engine_pass_add(g->engine, &s->cached, &s->next.id, 1, true);
    }
    add_prompts(g);
}

static drawn draw(const generation *g, um_sampler *sampler, size_t prompt, uint32_t sample,
                  uint32_t index)
{
    um_rng rng = um_sampling_stream(g->sampling->seed, g->prompts[prompt].key,
                                    g->first_sample + sample, index);
    const int32_t id = um_sampler_draw(sampler, &rng);
    return (drawn){id, g->logprobs != NULL ? (float)um_sampler_logprob(sampler, id) : 0.0f};
}

/* Next tokens of rows [begin, end) of the logits. Each row is one thread's. */
static void draw_rows(void *ctx, size_t begin, size_t end, int thread)
{
    generation *g = ctx;
    um_sampler *sampler = &g->engine->samplers[thread];
    size_t vocab = (size_t)g->engine->model->config.vocab, active = (size_t)g->n_active;
    for (size_t i = begin; i < end; i++) {
        const size_t row = g->first_row + i;
        if (!um_sampler_prepare(sampler, g->logits + i * vocab, g->engine->n_vocab, g->sampling)) {
            __atomic_store_n(&g->bad_logits, true, __ATOMIC_RELAXED);
            continue;
        }
        if (row < active) {
            sequence *s = g->active[row];
            s->next = draw(g, sampler, s->prompt, s->sample, s->n_tokens);
            continue;
        }
        prompt_group *group = g->waiting[g->n_waiting - g->n_ending + (int)(row - active)];
        for (uint32_t sample = 0; sample < g->n_samples; sample++)
            group->first[sample] = draw(g, sampler, group->prompt, sample, 0);
    }
}

/* A token for each wanted row; the LM head for some rows at a time. */
static um_status draw_all(generation *g, const float *hidden, size_t n, um_error *err)
{
    um_engine *engine = g->engine;
    const size_t width = (size_t)engine->model->config.hidden;
    for (size_t at = 0; at < n; at += UM_HEAD_ROWS) {
        const size_t rows = n - at < UM_HEAD_ROWS ? n - at : UM_HEAD_ROWS;
        g->first_row = at;
        g->logits = um_forward_head(engine->forward, hidden + at * width, (int)rows);
        um_pool_run(engine->compute->pool, rows, 1, draw_rows, g);
    }
    if (g->bad_logits)
        return um_fail(err, UM_ERR_NUMERIC, "model %s gives logits that are not numbers",
                       engine->base.name);
    return UM_OK;
}

static um_status accept_all(generation *g, um_error *err)
{
    int kept = 0;
    um_status status = UM_OK;
    for (int i = 0; i < g->n_active; i++) {
        sequence *s = g->active[i];
        if (status == UM_OK)
            status = accept_token(g, s, err);
        if (!s->finished)
            g->active[kept++] = s;
    }
    g->n_active = kept;
    return status;
}

static um_status step(generation *g, um_error *err)
{
    build_pass(g);
    const size_t wanted = (size_t)g->engine->pass.n_out;
    /* Nothing runs and nothing waits: an empty cache holds every prompt, so its lists cannot. */
    if (g->engine->pass.n_rows == 0)
        return um_fail_memory(err, "key/value cache");
    const float *hidden = um_engine_pass_run(g->engine);
    um_status status = draw_all(g, hidden, wanted, err);
    if (status == UM_OK)
        status = accept_all(g, err);
    if (status == UM_OK)
        status = start_waiting(g, err);
    return status;
}

static um_status check_stops(const char *const *stops, size_t n_stops, size_t *held_back,
                             um_error *err)
{
    for (size_t i = 0; i < n_stops; i++) {
        size_t n = strlen(stops[i]);
        if (n == 0)
            return um_fail(err, UM_ERR_INPUT, "stop string %zu is empty", i);
        *held_back = n - 1 > *held_back ? n - 1 : *held_back;
    }
    return UM_OK;
}

um_status um_engine_complete(um_responder *self, const um_prompt *prompts, size_t n,
                             uint32_t first_sample, uint32_t n_samples, const um_sampling *sampling,
                             const char *const *stops, size_t n_stops,
                             um_on_completion on_completion, void *context,
                             const um_monitor *monitor, um_error *err)
{
    generation g = {.engine = (um_engine *)self,
                    .prompts = prompts,
                    .n_prompts = n,
                    .first_sample = first_sample,
                    .n_samples = n_samples,
                    .sampling = sampling,
                    .stops = stops,
                    .n_stops = n_stops,
                    .on_completion = on_completion,
                    .context = context};
    um_status status = um_sampling_check(sampling, err);
    if (status == UM_OK)
        status = check_stops(stops, n_stops, &g.held_back, err);
    if (status == UM_OK)
        status = encode_prompts(&g, err);
    if (status != UM_OK || n == 0 || n_samples == 0)
        goto done;
    status = alloc_tables(&g, err);
    while (status == UM_OK &&
           (g.n_begun < n || g.computing != NULL || g.n_active + g.n_waiting > 0)) {
        if (um_monitor_stopped(monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "generation was asked to stop");
        else
            status = step(&g, err);
    }
done:
    dispose_generation(&g);
    return status;
}
