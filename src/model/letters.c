/*
 * letters.c - the distribution over the letters A.. that comes next after a text.
 *
 * A prompt is computed once for all texts that follow it; its rows and theirs go through the model
 * packed, many queries a pass. Of the LM head only the 26 letter rows are computed, and only for
 * the last row of each text.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/engine.h"

/* Cache rows that queries are packed into, where memory allows. */
#define PACK_ROWS 8192
/* What stands before a letter in a decision. */
#define LETTER_OPENING "\nBehavior: ["

/* The ids of one text in scoring.ids. */
typedef struct text_ref {
    size_t start;
    int len;
} text_ref;

/* What a wanted row of the pass answers. */
typedef struct wanted {
    size_t query, text;
} wanted;

typedef struct scoring {
    um_engine *engine;
    const um_letter_query *queries;
    size_t n_queries;
    um_on_letters on_letters;
    void *context;
    const um_monitor *monitor;

    um_tokens ids;
    text_ref *prompts; /* [n_queries] */
    size_t *first;     /* [n_queries + 1] of texts */
    UM_VEC(text_ref) texts;
    int cursor;     /* next free cache row */
    wanted *wanted; /* [pass_out] */
    float *logits;  /* [pass_out, 26] */
} scoring;

um_status um_letter_tokens(const um_tokenizer *tok, int32_t ids[26], um_error *err)
{
    um_tokens before = {0}, with = {0};
    um_status status =
        um_tokenizer_encode(tok, LETTER_OPENING, strlen(LETTER_OPENING), false, &before, err);
    for (int i = 0; i < UM_LETTERS && status == UM_OK; i++) {
        char text[sizeof LETTER_OPENING + 1];
        snprintf(text, sizeof text, "%s%c", LETTER_OPENING, 'A' + i);
        with.len = 0;
        status = um_tokenizer_encode(tok, text, strlen(text), false, &with, err);
        if (status == UM_OK && (with.len != before.len + 1 ||
                                memcmp(with.ids, before.ids, before.len * sizeof *before.ids) != 0))
            status = um_fail(err, UM_ERR_UNSUPPORTED,
                             "tokenizer: \"[%c\" does not end in one token of its own; letters "
                             "cannot be scored with this vocabulary",
                             'A' + i);
        if (status == UM_OK)
            ids[i] = with.ids[before.len];
    }
    um_tokens_dispose(&before);
    um_tokens_dispose(&with);
    return status;
}

/* The 26 rows of the LM head, packed at the first call. */
static um_status pack_letters(um_engine *engine, um_error *err)
{
    const um_model *model = engine->model;
    um_backend *be = engine->compute->backend;
    size_t c = (size_t)model->config.hidden;
    int32_t ids[UM_LETTERS];
    if (engine->letters.buf.data != NULL)
        return UM_OK;
    um_status status = um_letter_tokens(engine->tok, ids, err);
    if (status != UM_OK)
        return status;
    float *rows = um_aligned_calloc(UM_LETTERS * c, sizeof *rows);
    if (rows == NULL)
        return um_fail_memory(err, "letter rows");
    for (size_t i = 0; i < UM_LETTERS; i++)
        memcpy(rows + i * c, model->data + model->params.lm_head + (size_t)ids[i] * c,
               c * sizeof *rows);
    status = be->ops->pack(be, &engine->letters, rows, UM_LETTERS, (int)c, err);
    free(rows);
    return status;
}

/* Tokens ------------------------------------------------------------------------------------------
 */

static um_status check_length(const scoring *s, const um_prompt *prompt, int64_t tokens,
                              um_error *err)
{
    int64_t kv_limit = um_engine_kv_limit(s->engine);
    if (tokens > s->engine->max_context)
        return um_fail(err, UM_ERR_LIMIT,
                       "prompt %" PRIu64 ": %" PRId64 " tokens with a text to score, the context "
                       "holds %d",
                       prompt->key, tokens, s->engine->max_context);
    if (tokens > kv_limit)
        return um_fail(err, UM_ERR_LIMIT,
                       "prompt %" PRIu64 ": %" PRId64 " tokens with a text to score, the key/value "
                       "memory of %" PRIu64 " bytes holds %" PRId64,
                       prompt->key, tokens, s->engine->kv_bytes, kv_limit);
    return UM_OK;
}

/* The assistant's turn is one string: opening and text are joined before they are encoded. */
static um_status encode_text(scoring *s, const um_prompt *prompt, const char *text, um_str *joined,
                             um_error *err)
{
    text_ref ref = {.start = s->ids.len};
    um_str_clear(joined);
    um_str_append(joined, prompt->opening != NULL ? prompt->opening : "");
    um_str_append(joined, text);
    um_status status = um_str_status(joined, err);
    if (status == UM_OK)
        status = um_tokenizer_encode(s->engine->tok, um_str_text(joined), joined->len, false,
                                     &s->ids, err);
    if (status != UM_OK)
        return um_error_prefix(err, status, "prompt %" PRIu64, prompt->key);
    if (s->ids.len == ref.start)
        return um_fail(err, UM_ERR_INPUT, "prompt %" PRIu64 ": a text to score is empty",
                       prompt->key);
    if (s->ids.len - ref.start > INT32_MAX / 2)
        return um_fail(err, UM_ERR_LIMIT, "prompt %" PRIu64 ": a text to score is too long",
                       prompt->key);
    ref.len = (int)(s->ids.len - ref.start);
    if (!um_vec_push(&s->texts, ref))
        return um_fail_memory(err, "texts to score");
    return UM_OK;
}

static um_status encode_query(scoring *s, size_t q, um_str *joined, um_error *err)
{
    const um_letter_query *query = &s->queries[q];
    const um_prompt *prompt = query->prompt;
    text_ref *ref = &s->prompts[q];
    if (prompt->k < 1 || prompt->k > UM_LETTERS)
        return um_fail(err, UM_ERR_INPUT,
                       "prompt %" PRIu64 " lists %" PRIu32 " items; letters are for 1 to %d",
                       prompt->key, prompt->k, UM_LETTERS);
    ref->start = s->ids.len;
    um_status status = um_chat_encode_prompt(s->engine->tok, s->engine->format, prompt->messages,
                                             prompt->n_messages, NULL, &s->ids, err);
    if (status != UM_OK)
        return um_error_prefix(err, status, "prompt %" PRIu64, prompt->key);
    status = check_length(s, prompt, (int64_t)(s->ids.len - ref->start), err);
    if (status != UM_OK)
        return status;
    ref->len = (int)(s->ids.len - ref->start);
    for (size_t t = 0; t < query->n && status == UM_OK; t++) {
        status = encode_text(s, prompt, query->texts[t], joined, err);
        if (status == UM_OK)
            status = check_length(s, prompt,
                                  (int64_t)ref->len + s->texts.data[s->texts.len - 1].len, err);
    }
    s->first[q + 1] = s->texts.len;
    return status;
}

static um_status encode_all(scoring *s, um_error *err)
{
    um_str joined = UM_STR_INIT;
    um_status status = UM_OK;
    s->prompts = um_calloc(s->n_queries, sizeof *s->prompts);
    s->first = um_calloc(s->n_queries + 1, sizeof *s->first);
    if (s->prompts == NULL || s->first == NULL)
        status = um_fail_memory(err, "texts to score");
    for (size_t q = 0; q < s->n_queries && status == UM_OK; q++)
        status = encode_query(s, q, &joined, err);
    um_str_dispose(&joined);
    return status;
}

/* Passes ------------------------------------------------------------------------------------------
 */

/* Softmax over the first k of the letters, in double. */
static bool letter_softmax(double *p, const float *logits, uint32_t k)
{
    double max = -INFINITY, sum = 0.0;
    for (uint32_t i = 0; i < k; i++) {
        if (!isfinite(logits[i]))
            return false;
        max = fmax(max, (double)logits[i]);
    }
    for (uint32_t i = 0; i < k; i++) {
        p[i] = exp((double)logits[i] - max);
        sum += p[i];
    }
    for (uint32_t i = 0; i < k; i++)
        p[i] /= sum;
    return true;
}

/* Runs what was packed and hands the answers out. */
static um_status flush(scoring *s, um_error *err)
{
    um_engine *engine = s->engine;
    um_backend *be = engine->compute->backend;
    int out = engine->pass.n_out, c = engine->model->config.hidden;
    double p[UM_LETTERS];
    um_status status = UM_OK;
    if (engine->pass.n_rows == 0)
        return UM_OK;
    if (um_monitor_stopped(s->monitor))
        return um_fail(err, UM_ERR_INTERRUPTED, "scoring was asked to stop");
    const float *hidden = um_forward_run(engine->forward, &engine->kv, &engine->pass);
    if (out > 0)
        be->ops->linear(be, s->logits, UM_LETTERS, hidden, c, out, &engine->letters, NULL);
    for (int i = 0; i < out && status == UM_OK; i++) {
        const wanted *w = &s->wanted[i];
        const um_prompt *prompt = s->queries[w->query].prompt;
        if (letter_softmax(p, s->logits + (size_t)i * UM_LETTERS, prompt->k))
            status = s->on_letters(s->context, w->query, w->text, p, err);
        else
            status = um_fail(err, UM_ERR_NUMERIC,
                             "model %s gives logits that are not numbers for prompt %" PRIu64,
                             engine->base.name, prompt->key);
    }
    um_engine_pass_clear(engine);
    return status;
}

/* Packs a whole run, cut where a pass is full. */
static um_status add_run(scoring *s, um_run run, const wanted *want, um_error *err)
{
    um_engine *engine = s->engine;
    int left = run.n;
    while (left > 0) {
        int room = engine->pass_rows - engine->pass.n_rows;
        if (room == 0 || engine->pass.n_out == engine->pass_out) {
            um_status status = flush(s, err);
            if (status != UM_OK)
                return status;
            continue;
        }
        run.n = left < room ? left : room;
        left -= run.n;
        if (left == 0 && want != NULL)
            s->wanted[engine->pass.n_out] = *want;
        um_engine_pass_add(engine, &run, left == 0 && want != NULL);
        run.ids += run.n;
        run.own_before += run.n;
    }
    return UM_OK;
}

/* A prompt and its texts [from, to), which fit into the cache together. */
static um_status add_texts(scoring *s, size_t q, size_t from, size_t to, um_error *err)
{
    const text_ref *prompt = &s->prompts[q];
    const um_run head = {
        .ids = s->ids.ids + prompt->start, .n = prompt->len, .own_start = s->cursor};
    um_status status = add_run(s, head, NULL, err);
    s->cursor += prompt->len;
    for (size_t t = from; t < to && status == UM_OK; t++) {
        const text_ref *text = &s->texts.data[t];
        const um_run run = {.ids = s->ids.ids + text->start,
                            .n = text->len,
                            .own_start = s->cursor,
                            .prefix = {head.own_start, prompt->len}};
        const wanted want = {q, t - s->first[q]};
        status = add_run(s, run, &want, err);
        s->cursor += text->len;
    }
    return status;
}

/* All texts of a query; where they do not fit beside their prompt at once, in several rounds. */
static um_status add_query(scoring *s, size_t q, um_error *err)
{
    um_status status = UM_OK;
    size_t from = s->first[q], end = s->first[q + 1];
    while (from < end && status == UM_OK) {
        int64_t rows = s->prompts[q].len;
        size_t to = from;
        while (to < end && rows + s->texts.data[to].len <= s->engine->kv.rows)
            rows += s->texts.data[to++].len;
        if (s->cursor + rows > s->engine->kv.rows) {
            status = flush(s, err);
            s->cursor = 0;
        }
        if (status == UM_OK)
            status = add_texts(s, q, from, to, err);
        from = to;
    }
    return status;
}

static um_status reserve_cache(scoring *s, um_error *err)
{
    uint64_t whole = s->ids.len, limit = (uint64_t)um_engine_kv_limit(s->engine), want = PACK_ROWS;
    for (size_t q = 0; q < s->n_queries; q++) {
        uint64_t rows = (uint64_t)s->prompts[q].len;
        for (size_t t = s->first[q]; t < s->first[q + 1]; t++)
            rows += (uint64_t)s->texts.data[t].len;
        want = rows > want ? rows : want;
    }
    want = want < whole ? want : whole;
    want = want < limit ? want : limit;
    return um_engine_kv_reserve(s->engine, (int)want, err);
}

um_status um_engine_score_letters(um_responder *self, const um_letter_query *queries, size_t n,
                                  um_on_letters on_letters, void *context,
                                  const um_monitor *monitor, um_error *err)
{
    um_engine *engine = (um_engine *)self;
    scoring s = {.engine = engine,
                 .queries = queries,
                 .n_queries = n,
                 .on_letters = on_letters,
                 .context = context,
                 .monitor = monitor};
    um_status status = pack_letters(engine, err);
    if (status != UM_OK || n == 0)
        return status;
    um_engine_pass_clear(engine);
    status = encode_all(&s, err);
    if (status != UM_OK)
        goto done;
    s.wanted = um_calloc((size_t)engine->pass_out, sizeof *s.wanted);
    s.logits = um_aligned_calloc((size_t)engine->pass_out * UM_LETTERS, sizeof *s.logits);
    if (s.wanted == NULL || s.logits == NULL) {
        status = um_fail_memory(err, "texts to score");
        goto done;
    }
    status = reserve_cache(&s, err);
    for (size_t q = 0; q < n && status == UM_OK; q++)
        status = add_query(&s, q, err);
    if (status == UM_OK)
        status = flush(&s, err);
done:
    um_tokens_dispose(&s.ids);
    um_vec_dispose(&s.texts);
    free(s.prompts);
    free(s.first);
    free(s.wanted);
    free(s.logits);
    return status;
}
