/*
 * generate.c - continuations of many prompts: continuous batching.
 *
 * A prompt is computed once; its last row gives the first token of each of its samples, and the
 * samples attend to its cached rows. One pass holds one row of every sequence being decoded and a
 * chunk of the prompts that come next. A finished sequence makes room for a new one at once.
 *
 * Cache rows: a prompt takes its own rows and those of one sample in one piece (so that whatever is
 * admitted can run to its end), further samples take theirs as rows are free.
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

/* A prompt in the cache. */
typedef struct prompt_group {
    size_t prompt;
    const int32_t *ids;
    int len, prefilled;
    um_range rows; /* len rows of the prompt, then the resident sample's */
    bool resident_used;
    uint32_t started, finished; /* samples */
    int32_t *first;             /* [n_samples] their first tokens */
} prompt_group;

/* A sample being decoded. */
typedef struct sequence {
    prompt_group *group;
    uint32_t sample;
    bool resident;
    um_range own;
    int32_t last; /* newest token, not yet in the cache */
    uint32_t n_tokens;
    um_continuation text;
    size_t told; /* bytes of text given to on_text */
} sequence;

typedef struct generation {
    um_engine *engine;
    const um_prompt *prompts;
    size_t n_prompts, next_prompt;
    uint32_t first_sample, n_samples;
    const um_sampling *sampling;
    const char *const *stops;
    size_t n_stops;
    size_t held_back; /* bytes at the end of a text that may be the beginning of a stop string */
    um_on_completion on_completion;
    void *context;

    um_tokens ids;  /* of all prompts */
    size_t *starts; /* [n_prompts + 1] */

    prompt_group *groups; /* [max_groups] */
    prompt_group **free_groups;
    int n_free_groups;
    prompt_group **waiting; /* prompts with samples not yet started, in order */
    int n_waiting;
    int32_t *first_tokens; /* [max_groups * n_samples] */

    sequence *sequences; /* [max_rows] */
    sequence **free_sequences;
    int n_free_sequences;
    sequence **active; /* in order of their prompts */
    int n_active;

    prompt_group **ending; /* prompts whose last row is in the pass */
    int n_ending;
    float *logits; /* of the pass: active sequences, then ending prompts */
    bool bad_logits;
    um_str text;
} generation;

/* Setting up -------------------------------------------------------------------------------------
 */

/* Tokens of every prompt, each checked against the limits before anything is computed. */
static um_status encode_prompts(generation *g, um_error *err)
{
    um_engine *engine = g->engine;
    int kv_limit = um_engine_kv_limit(engine);
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
                           " to be written, the key/value memory of %" PRIu64 " bytes holds %d",
                           p->key, len, max_tokens, engine->kv_bytes, kv_limit);
    }
    return UM_OK;
}

static int max_groups(const generation *g)
{
    return g->engine->pass_out; /* each has a sequence, or is waiting to start one */
}

static um_status alloc_tables(generation *g, um_error *err)
{
    size_t groups = (size_t)max_groups(g), rows = (size_t)g->engine->max_rows, first;
    if (um_mul_overflows(groups, g->n_samples, &first))
        return um_fail(err, UM_ERR_LIMIT, "%" PRIu32 " samples a prompt", g->n_samples);
    g->groups = um_calloc(groups, sizeof *g->groups);
    g->free_groups = um_calloc(groups, sizeof(prompt_group *));
    g->waiting = um_calloc(groups, sizeof(prompt_group *));
    g->ending = um_calloc(groups, sizeof(prompt_group *));
    g->first_tokens = um_calloc(first, sizeof *g->first_tokens);
    g->sequences = um_calloc(rows, sizeof *g->sequences);
    g->free_sequences = um_calloc(rows, sizeof(sequence *));
    g->active = um_calloc(rows, sizeof(sequence *));
    if (g->groups == NULL || g->free_groups == NULL || g->waiting == NULL || g->ending == NULL ||
        g->first_tokens == NULL || g->sequences == NULL || g->free_sequences == NULL ||
        g->active == NULL)
        return um_fail_memory(err, "generation");
    for (size_t i = 0; i < groups; i++) {
        g->groups[i].first = g->first_tokens + i * g->n_samples;
        g->free_groups[groups - 1 - i] = &g->groups[i];
    }
    for (size_t i = 0; i < rows; i++)
        g->free_sequences[rows - 1 - i] = &g->sequences[i];
    g->n_free_groups = (int)groups;
    g->n_free_sequences = (int)rows;
    return UM_OK;
}

/* Rows that let all sequences run at once: prompts stay until their slowest sample is done, so
 * about twice as many as are started at a time. Never more than the whole call can use. */
static um_status reserve_cache(generation *g, um_error *err)
{
    uint64_t max_tokens = (uint64_t)g->sampling->max_tokens, longest = 0;
    uint64_t rows = (uint64_t)g->engine->max_rows, limit = (uint64_t)um_engine_kv_limit(g->engine);
    uint64_t samples = (uint64_t)g->n_prompts * g->n_samples;
    for (size_t i = 0; i < g->n_prompts; i++) {
        uint64_t len = g->starts[i + 1] - g->starts[i];
        longest = len > longest ? len : longest;
    }
    uint64_t prompts = 2 * rows / g->n_samples + 4;
    uint64_t want = prompts * longest + (rows + prompts) * max_tokens;
    uint64_t whole = g->ids.len + samples * max_tokens;
    want = want < whole ? want : whole;
    want = want < limit ? want : limit;
    return um_engine_kv_reserve(g->engine, (int)want, err);
}

static void dispose_generation(generation *g)
{
    for (int i = 0; g->sequences != NULL && i < g->engine->max_rows; i++)
        um_continuation_dispose(&g->sequences[i].text);
    for (int i = 0; g->groups != NULL && i < max_groups(g); i++) {
        if (g->groups[i].rows.len > 0)
            um_kv_give(&g->engine->kv, g->groups[i].rows);
    }
    for (int i = 0; i < g->n_active; i++) {
        if (!g->active[i]->resident)
            um_kv_give(&g->engine->kv, g->active[i]->own);
    }
    um_tokens_dispose(&g->ids);
    free(g->starts);
    free(g->groups);
    free(g->free_groups);
    free(g->waiting);
    free(g->ending);
    free(g->first_tokens);
    free(g->sequences);
    free(g->free_sequences);
    free(g->active);
    um_str_dispose(&g->text);
}

/* Sequences --------------------------------------------------------------------------------------
 */

static void release_group(generation *g, prompt_group *group)
{
    um_kv_give(&g->engine->kv, group->rows);
    group->rows = (um_range){0, 0};
    g->free_groups[g->n_free_groups++] = group;
}

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
               ? engine->on_text(engine->text_context, s->group->prompt,
                                 g->first_sample + s->sample, um_str_text(&g->text), err)
               : status;
}

static um_status finish_sequence(generation *g, sequence *s, um_finish finish, um_error *err)
{
    prompt_group *group = s->group;
    um_status status = g->engine->on_text != NULL ? tell(g, s, s->text.len, true, err) : UM_OK;
    um_continuation_text(&s->text, 0, s->text.len, &g->text);
    if (status == UM_OK)
        status = um_str_status(&g->text, err);
    if (status != UM_OK)
        return status;
    const um_completion completion = {.prompt = group->prompt,
                                      .sample = g->first_sample + s->sample,
                                      .text = um_str_text(&g->text),
                                      .finish = finish,
                                      .tokens = s->n_tokens};
    if (s->resident)
        group->resident_used = false;
    else
        um_kv_give(&g->engine->kv, s->own);
    s->group = NULL;
    g->free_sequences[g->n_free_sequences++] = s;
    if (++group->finished == g->n_samples)
        release_group(g, group);
    return g->on_completion(g->context, &completion, err);
}

/* Takes a new token in. A sequence that is finished is handed out and loses its group. */
static um_status accept_token(generation *g, sequence *s, int32_t id, um_error *err)
{
    const um_engine *engine = g->engine;
    size_t before = s->text.len, n = 0;
    s->n_tokens++;
    s->last = id;
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

/* Starts samples of a prompt whose first tokens are known, while rows last. */
static um_status start_samples(generation *g, prompt_group *group, um_error *err)
{
    um_engine *engine = g->engine;
    int max_tokens = g->sampling->max_tokens;
    while (group->started < g->n_samples && g->n_free_sequences > 0) {
        um_range own = {group->rows.start + group->len, max_tokens};
        bool resident = !group->resident_used;
        if (!resident && !um_kv_take(&engine->kv, max_tokens, &own))
            return UM_OK;
        sequence *s = g->free_sequences[--g->n_free_sequences];
        s->group = group;
        s->sample = group->started++;
        s->resident = resident;
        s->own = own;
        s->n_tokens = 0;
        s->text.len = s->told = 0;
        if (resident)
            group->resident_used = true;
        int active = g->n_active++;
        g->active[active] = s;
        um_status status = accept_token(g, s, group->first[s->sample], err);
        if (s->group == NULL)
            g->n_active = active;
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

/* Starts what can be started; prompts with nothing left to start leave the queue. */
static um_status start_waiting(generation *g, um_error *err)
{
    int kept = 0;
    um_status status = UM_OK;
    for (int i = 0; i < g->n_waiting; i++) {
        prompt_group *group = g->waiting[i];
        if (status == UM_OK && group->prefilled == group->len)
            status = start_samples(g, group, err);
        if (group->started < g->n_samples)
            g->waiting[kept++] = group;
    }
    g->n_waiting = kept;
    return status;
}

/* Lets prompts in until their samples cover the free rows and some more. */
static void admit_prompts(generation *g)
{
    um_engine *engine = g->engine;
    int64_t want = g->n_free_sequences + engine->max_rows / AHEAD_SHARE + 1, have = 0;
    int chunk = engine->pass_rows - engine->max_rows, rows = 0;
    for (int i = 0; i < g->n_waiting; i++) {
        have += g->n_samples - g->waiting[i]->started;
        rows += g->waiting[i]->len - g->waiting[i]->prefilled;
    }
    while (have < want && rows < chunk && g->n_free_groups > 0 && g->next_prompt < g->n_prompts) {
        size_t start = g->starts[g->next_prompt];
        int len = (int)(g->starts[g->next_prompt + 1] - start);
        um_range taken;
        if (!um_kv_take(&engine->kv, len + g->sampling->max_tokens, &taken))
            return;
        prompt_group *group = g->free_groups[--g->n_free_groups];
        int32_t *first = group->first;
        *group = (prompt_group){.prompt = g->next_prompt++,
                                .ids = g->ids.ids + start,
                                .len = len,
                                .rows = taken,
                                .first = first};
        g->waiting[g->n_waiting++] = group;
        have += g->n_samples;
        rows += len;
    }
}

/* Steps ------------------------------------------------------------------------------------------
 */

static void build_pass(generation *g)
{
    um_engine *engine = g->engine;
    um_engine_pass_clear(engine);
    g->n_ending = 0;
    for (int i = 0; i < g->n_active; i++) {
        const sequence *s = g->active[i];
        const um_run run = {.ids = &s->last,
                            .n = 1,
                            .own_start = s->own.start,
                            .own_before = (int)s->n_tokens - 1,
                            .prefix = {s->group->rows.start, s->group->len}};
        um_engine_pass_add(engine, &run, true);
    }
    for (int i = 0; i < g->n_waiting; i++) {
        prompt_group *group = g->waiting[i];
        int left = group->len - group->prefilled, room = engine->pass_rows - engine->pass.n_rows;
        if (left == 0)
            continue;
        if (room == 0 || engine->pass.n_out == engine->pass_out)
            break;
        const um_run run = {.ids = group->ids + group->prefilled,
                            .n = left < room ? left : room,
                            .own_start = group->rows.start,
                            .own_before = group->prefilled};
        group->prefilled += run.n;
        bool ends = run.n == left;
        um_engine_pass_add(engine, &run, ends);
        if (ends)
            g->ending[g->n_ending++] = group;
    }
}

static int32_t draw(const generation *g, const um_sampler *sampler, const prompt_group *group,
                    uint32_t sample, uint32_t index)
{
    if (g->sampling->temperature == 0.0f)
        return um_sampler_draw(sampler, 0.0);
    return um_sampler_draw(sampler,
                           um_sampling_uniform(g->sampling->seed, g->prompts[group->prompt].key,
                                               g->first_sample + sample, index));
}

/* Next tokens of the pass's rows [begin, end). Each row is one thread's. */
static void draw_rows(void *ctx, size_t begin, size_t end, int thread)
{
    generation *g = ctx;
    um_sampler *sampler = &g->engine->samplers[thread];
    size_t vocab = (size_t)g->engine->model->config.vocab;
    for (size_t i = begin; i < end; i++) {
        if (!um_sampler_prepare(sampler, g->logits + i * vocab, g->engine->n_vocab, g->sampling)) {
            __atomic_store_n(&g->bad_logits, true, __ATOMIC_RELAXED);
            continue;
        }
        if (i < (size_t)g->n_active) {
            sequence *s = g->active[i];
            s->last = draw(g, sampler, s->group, s->sample, s->n_tokens);
        } else {
            prompt_group *group = g->ending[i - (size_t)g->n_active];
            for (uint32_t sample = 0; sample < g->n_samples; sample++)
                group->first[sample] = draw(g, sampler, group, sample, 0);
        }
    }
}

static um_status accept_all(generation *g, um_error *err)
{
    int kept = 0;
    um_status status = UM_OK;
    for (int i = 0; i < g->n_active; i++) {
        sequence *s = g->active[i];
        if (status == UM_OK)
            status = accept_token(g, s, s->last, err);
        if (s->group != NULL)
            g->active[kept++] = s;
    }
    g->n_active = kept;
    return status;
}

static um_status step(generation *g, um_error *err)
{
    um_engine *engine = g->engine;
    build_pass(g);
    const float *hidden = um_forward_run(engine->forward, &engine->kv, &engine->pass);
    int out = engine->pass.n_out;
    if (out > 0) {
        g->logits = um_forward_head(engine->forward, hidden, out);
        um_pool_run(engine->compute->pool, (size_t)out, 1, draw_rows, g);
    }
    if (g->bad_logits)
        return um_fail(err, UM_ERR_NUMERIC, "model %s gives logits that are not numbers",
                       engine->base.name);
    um_status status = accept_all(g, err);
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
    if (status == UM_OK)
        status = reserve_cache(&g, err);
    while (status == UM_OK) {
        admit_prompts(&g);
        if (g.n_active == 0 && g.n_waiting == 0)
            break;
        if (um_monitor_stopped(monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "generation was asked to stop");
        else
            status = step(&g, err);
    }
    /* Every prompt fits into an empty cache, so only its list of free runs can be out of memory. */
    if (status == UM_OK && g.next_prompt < n)
        status = um_fail_memory(err, "key/value cache");
done:
    dispose_generation(&g);
    return status;
}
