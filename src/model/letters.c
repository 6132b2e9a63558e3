/*
 * letters.c - the distribution over the letters A.. that comes next after a text.
 *
 * A text costs what the cache does not have of it: little when it was just generated. A prompt that
 * the cache does not have is computed first, once for all its texts. Rows of many queries go
 * through the model packed. Of the LM head only the 26 letter rows are computed, and only for the
 * last row of each text.
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

/* What stands before a letter in a decision. */
#define LETTER_OPENING "\nBehavior: ["

/* A text with its prompt in scoring.ids. */
typedef struct text_ref {
    size_t start;
    int len;
} text_ref;

typedef struct wanted {
    size_t query, text;
    um_kv_sequence cached;
} wanted;

typedef struct scoring {
    um_engine *engine;
    const um_letter_query *queries;
    size_t n_queries;
    um_on_letters on_letters;
    void *context;
    const um_monitor *monitor;

    um_tokens ids;
    size_t *first; /* [n_queries + 1] of texts */
    UM_VEC(text_ref) texts;
    int *prompt_len;        /* [n_queries] tokens that all texts of a query begin with */
    uint64_t since;         /* clock of the cache; what is still to be scored was used later */
    um_kv_sequence packing; /* rows of it are still to be added */
    wanted *wanted;         /* [pass_out]; texts whose last rows are in the pass */
    int n_wanted;
    float *logits; /* [pass_out, 26] */
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

/* The 26 rows of the LM head, made at the first call. */
static um_status pack_letters(um_engine *engine, um_error *err)
{
    int32_t ids[UM_LETTERS];
    if (engine->letters.data != NULL)
        return UM_OK;
    um_status status = um_letter_tokens(engine->tok, ids, err);
    if (status != UM_OK)
        return status;
    return um_matrices_head_rows(&engine->letters, engine->compute->backend,
                                 um_forward_weights(engine->forward), ids, UM_LETTERS, err);
}

/* Tokens ------------------------------------------------------------------------------------------
 */

static um_status check_length(const scoring *s, const um_prompt *prompt, int64_t tokens,
                              um_error *err)
{
    int64_t kv_limit = um_kv_limit(&s->engine->kv);
    if (tokens > s->engine->max_context)
        return um_fail(err, UM_ERR_LIMIT,
                       "prompt %" PRIu64 ": %" PRId64 " tokens with a text to score, the context "
                       "holds %d",
                       prompt->key, tokens, s->engine->max_context);
    if (tokens > kv_limit)
        return um_fail(err, UM_ERR_LIMIT,
                       "prompt %" PRIu64 ": %" PRId64 " tokens with a text to score, the key/value "
                       "memory of %" PRIu64 " bytes holds %" PRId64 "; decide.kv_memory gives more",
                       prompt->key, tokens, s->engine->kv.bytes, kv_limit);
    return UM_OK;
}

/* The prompt's tokens and the text's. The assistant's turn is one string: opening and text are
 * joined before they are encoded. */
static um_status encode_text(scoring *s, const um_prompt *prompt, const um_tokens *head,
                             const char *text, um_str *joined, um_error *err)
{
    text_ref ref = {.start = s->ids.len};
    um_str_clear(joined);
    um_str_append(joined, prompt->opening != NULL ? prompt->opening : "");
    um_str_append(joined, text);
    um_status status = um_str_status(joined, err);
    for (size_t i = 0; i < head->len && status == UM_OK; i++)
        status = um_tokens_push(&s->ids, head->ids[i], err);
    if (status == UM_OK)
        status = um_tokenizer_encode(s->engine->tok, um_str_text(joined), joined->len, false,
                                     &s->ids, err);
    if (status != UM_OK)
        return um_error_prefix(err, status, "prompt %" PRIu64, prompt->key);
    size_t len = s->ids.len - ref.start;
    if (len == head->len)
        return um_fail(err, UM_ERR_INPUT, "prompt %" PRIu64 ": a text to score is empty",
                       prompt->key);
    status = check_length(s, prompt, (int64_t)len, err);
    if (status != UM_OK)
        return status;
    ref.len = (int)len;
    if (!um_vec_push(&s->texts, ref))
        return um_fail_memory(err, "texts to score");
    return UM_OK;
}

static um_status encode_query(scoring *s, size_t q, um_tokens *head, um_str *joined, um_error *err)
{
    const um_letter_query *query = &s->queries[q];
    const um_prompt *prompt = query->prompt;
    if (prompt->k < 1 || prompt->k > UM_LETTERS)
        return um_fail(err, UM_ERR_INPUT,
                       "prompt %" PRIu64 " lists %" PRIu32 " items; letters are for 1 to %d",
                       prompt->key, prompt->k, UM_LETTERS);
    head->len = 0;
    um_status status = um_chat_encode_prompt(s->engine->tok, s->engine->format, prompt->messages,
                                             prompt->n_messages, NULL, head, err);
    if (status != UM_OK)
        return um_error_prefix(err, status, "prompt %" PRIu64, prompt->key);
    status = check_length(s, prompt, (int64_t)head->len, err);
    s->prompt_len[q] = (int)head->len;
    for (size_t t = 0; t < query->n && status == UM_OK; t++)
        status = encode_text(s, prompt, head, query->texts[t], joined, err);
    s->first[q + 1] = s->texts.len;
    return status;
}

static um_status encode_all(scoring *s, um_error *err)
{
    um_tokens head = {0};
    um_str joined = UM_STR_INIT;
    um_status status = UM_OK;
    s->prompt_len = um_calloc(s->n_queries, sizeof *s->prompt_len);
    s->first = um_calloc(s->n_queries + 1, sizeof *s->first);
    if (s->prompt_len == NULL || s->first == NULL)
        status = um_fail_memory(err, "texts to score");
    for (size_t q = 0; q < s->n_queries && status == UM_OK; q++)
        status = encode_query(s, q, &head, &joined, err);
    um_str_dispose(&joined);
    um_tokens_dispose(&head);
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

static um_status answer(scoring *s, const wanted *w, const float *logits, um_error *err)
{
    const um_prompt *prompt = s->queries[w->query].prompt;
    double p[UM_LETTERS];
    if (letter_softmax(p, logits, prompt->k))
        return s->on_letters(s->context, w->query, w->text, p, err);
    return um_fail(err, UM_ERR_NUMERIC,
                   "model %s gives logits that are not numbers for prompt %" PRIu64,
                   s->engine->base.name, prompt->key);
}

/* Tokens of a scored text that may serve others: whole pages of the prompt, until the last text of
 * its query. */
static int wanted_again(const scoring *s, const wanted *w)
{
    const int prompt = s->prompt_len[w->query] / UM_KV_PAGE * UM_KV_PAGE;
    return w->text + 1 < s->queries[w->query].n ? prompt : 0;
}

/* Texts that were just generated are in the cache. Those that come last may go first. */
static void keep_texts(scoring *s)
{
    s->since = s->engine->kv.clock;
    for (size_t t = s->texts.len; t-- > 0;)
        um_kv_touch(&s->engine->kv, s->ids.ids + s->texts.data[t].start, s->texts.data[t].len);
}

/* Runs what was packed and hands the answers out. Whatever fails, fails here or right after: no row
 * that was added is left without being computed. */
static um_status flush(scoring *s, um_error *err)
{
    um_engine *engine = s->engine;
    um_status status = UM_OK;
    if (engine->pass.n_rows == 0)
        return UM_OK;
    const float *hidden = um_engine_pass_run(engine);
    if (s->n_wanted > 0)
        um_forward_product(engine->forward, s->logits, hidden, s->n_wanted, &engine->letters);
    for (int i = 0; i < s->n_wanted; i++) {
        if (status == UM_OK)
            status = answer(s, &s->wanted[i], s->logits + (size_t)i * UM_LETTERS, err);
        um_kv_drop(&engine->kv, &s->wanted[i].cached, wanted_again(s, &s->wanted[i]));
    }
    s->n_wanted = 0;
    if (status == UM_OK && um_monitor_stopped(s->monitor))
        status = um_fail(err, UM_ERR_INTERRUPTED, "scoring was asked to stop");
    return status;
}

/* Begins to pack ids[0 .. n), of which the first `known` may be found. Where pages lack, or must be
 * taken from a text that is still to be scored, what was packed is run and gives its own back; then
 * there are enough. */
static um_status begin(scoring *s, const int32_t *ids, int n, int known, um_error *err)
{
    um_engine *engine = s->engine;
    const int pages = um_kv_pages_of(n);
    const int more = pages - um_kv_find(&engine->kv, ids, known) / UM_KV_PAGE;
    if (s->n_wanted > 0 && !um_kv_has_spare(&engine->kv, more, s->since)) {
        um_status status = flush(s, err);
        if (status != UM_OK)
            return status;
    }
    if (!um_kv_begin(&engine->kv, &s->packing, ids, known, pages)) {
        um_status status = flush(s, err);
        if (status != UM_OK)
            return status;
        if (!um_kv_begin(&engine->kv, &s->packing, ids, known, pages))
            return um_fail_memory(err, "key/value cache");
    }
    engine->stats.reused_tokens += (uint64_t)s->packing.len;
    engine->stats.prompt_tokens += (uint64_t)(n - s->packing.len);
    return UM_OK;
}

/* Adds the rows of ids[0 .. n) that are not in the cache, cut where a pass is full. */
static um_status add_rows(scoring *s, const int32_t *ids, int n, bool want_last, um_error *err)
{
    um_engine *engine = s->engine;
    const um_pass *pass = &engine->pass;
    um_status status = UM_OK;
    while (s->packing.len < n && status == UM_OK) {
        const int left = n - s->packing.len, room = engine->pass_rows - pass->n_rows;
        const int rows = left < room ? left : room;
        if (room == 0 || pass->n_out == engine->pass_out)
            status = flush(s, err);
        else
            um_engine_pass_add(engine, &s->packing, ids + s->packing.len, rows,
                               want_last && rows == left);
    }
    return status;
}

/* Computes what the texts of a query begin with, unless the cache has it. The texts copy its last
 * page, so it must be there before them. */
static um_status add_prompt(scoring *s, size_t q, um_error *err)
{
    um_kv *kv = &s->engine->kv;
    const int32_t *ids = s->ids.ids + s->texts.data[s->first[q]].start;
    const int n = s->prompt_len[q];
    if (um_kv_find(kv, ids, n) == n)
        return UM_OK;
    um_status status = begin(s, ids, n, n, err);
    if (status == UM_OK)
        status = add_rows(s, ids, n, false, err);
    if (status == UM_OK)
        status = flush(s, err);
    if (status == UM_OK)
        um_kv_end(kv, &s->packing);
    return status;
}

static um_status add_text(scoring *s, size_t q, size_t t, um_error *err)
{
    const text_ref *text = &s->texts.data[t];
    const int32_t *ids = s->ids.ids + text->start;
    um_status status = begin(s, ids, text->len, text->len - 1, err);
    if (status == UM_OK)
        status = add_rows(s, ids, text->len, true, err);
    if (status != UM_OK)
        return status;
    wanted *w = &s->wanted[s->n_wanted++];
    const um_kv_sequence ended = w->cached;
    *w = (wanted){q, t - s->first[q], s->packing};
    s->packing = ended; /* its list serves again */
    return UM_OK;
}

static um_status add_query(scoring *s, size_t q, um_error *err)
{
    um_status status = UM_OK;
    if (s->first[q + 1] - s->first[q] > 1)
        status = add_prompt(s, q, err);
    for (size_t t = s->first[q]; t < s->first[q + 1] && status == UM_OK; t++)
        status = add_text(s, q, t, err);
    return status;
}

static void dispose_scoring(scoring *s)
{
    um_engine *engine = s->engine;
    for (int i = 0; s->wanted != NULL && i < engine->pass_out; i++) {
        um_kv_end(&engine->kv, &s->wanted[i].cached);
        um_kv_sequence_dispose(&s->wanted[i].cached);
    }
    um_kv_end(&engine->kv, &s->packing);
    um_kv_sequence_dispose(&s->packing);
    um_tokens_dispose(&s->ids);
    um_vec_dispose(&s->texts);
    free(s->prompt_len);
    free(s->first);
    free(s->wanted);
    free(s->logits);
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
    status = encode_all(&s, err);
    if (status != UM_OK)
        goto done;
    s.wanted = um_calloc((size_t)engine->pass_out, sizeof *s.wanted);
    s.logits = um_aligned_calloc((size_t)engine->pass_out * UM_LETTERS, sizeof *s.logits);
    if (s.wanted == NULL || s.logits == NULL) {
        status = um_fail_memory(err, "texts to score");
        goto done;
    }
    keep_texts(&s);
    for (size_t q = 0; q < n && status == UM_OK; q++)
        status = add_query(&s, q, err);
    if (status == UM_OK)
        status = flush(&s, err);
done:
    dispose_scoring(&s);
    return status;
}
