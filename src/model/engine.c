/*
 * engine.c - opening a responder on a local model, and the passes its two questions are made of.
 */
#include "model/engine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"

#define DEFAULT_ROWS 256
#define MAX_ROWS     65536
/* Prompt rows of a pass: enough for the matrix products to run at full speed, few enough that the
 * activations of small models stay in the cache. */
#define CHUNK_ROWS 512
/* Prompts that can end in one pass. */
#define CHUNK_PROMPTS 64

void um_engine_pass_add(um_engine *engine, um_kv_sequence *sequence, const int32_t *ids, int n,
                        bool want_last)
{
    um_pass *pass = &engine->pass;
    um_kv_span *span = &engine->spans[pass->n_spans++];
    *span = (um_kv_span){.start = pass->n_rows, .len = n, .before = sequence->len};
    um_kv_append(&engine->kv, sequence, ids, n);
    span->pages = sequence->pages;
    memcpy(engine->ids + pass->n_rows, ids, (size_t)n * sizeof *ids);
    pass->n_rows += n;
    if (want_last)
        engine->out_rows[pass->n_out++] = pass->n_rows - 1;
}

const float *um_engine_pass_run(um_engine *engine)
{
    um_pass *pass = &engine->pass;
    um_engine_stats *stats = &engine->stats;
    const float *hidden = um_forward_run(engine->forward, &engine->kv.cache, pass);
    um_kv_computed(&engine->kv);
    stats->passes++;
    stats->rows += (uint64_t)pass->n_rows;
    if (pass->n_rows > stats->most_rows)
        stats->most_rows = pass->n_rows;
    pass->n_rows = pass->n_spans = pass->n_out = 0;
    return hidden;
}

static um_status measure(um_responder *self, const um_prompt *prompt, const char *text,
                         uint32_t *tokens, uint32_t *limit, um_error *err)
{
    um_engine *engine = (um_engine *)self;
    um_str turn = UM_STR_INIT;
    um_tokens ids = {0};
    um_str_append(&turn, prompt->opening != NULL ? prompt->opening : "");
    um_str_append(&turn, text != NULL ? text : "");
    um_status status = um_str_status(&turn, err);
    if (status == UM_OK)
        status = um_chat_encode_prompt(engine->tok, engine->format, prompt->messages,
                                       prompt->n_messages, um_str_text(&turn), &ids, err);
    if (status == UM_OK && ids.len > UINT32_MAX)
        status = um_fail(err, UM_ERR_LIMIT, "%zu tokens, limit %" PRIu32, ids.len, UINT32_MAX);
    if (status == UM_OK) {
        *tokens = (uint32_t)ids.len;
        /* What the memory for keys and values cannot hold is refused when it is asked for: how much
         * there is decides about no answer. */
        *limit = (uint32_t)engine->max_context;
    } else {
        status = um_error_prefix(err, status, "prompt %" PRIu64, prompt->key);
    }
    um_tokens_dispose(&ids);
    um_str_dispose(&turn);
    return status;
}

static void free_engine(um_responder *self)
{
    um_engine *engine = (um_engine *)self;
    um_backend *be = engine->compute->backend;
    um_forward_free(engine->forward);
    um_kv_dispose(&engine->kv);
    for (int i = 0; engine->samplers != NULL && i < engine->n_samplers; i++)
        um_sampler_dispose(&engine->samplers[i]);
    free(engine->samplers);
    if (engine->letters.data != NULL)
        be->ops->unpack(be, &engine->letters);
    free(engine->ids);
    free(engine->out_rows);
    free(engine->spans);
    free((char *)engine->base.name);
    free(engine);
}

static const um_responder_ops engine_ops = {
    .complete = um_engine_complete,
    .score_letters = um_engine_score_letters,
    .free = free_engine,
    .measure = measure,
};

static um_status alloc_arrays(um_engine *engine, um_error *err)
{
    size_t rows = (size_t)engine->pass_rows;
    engine->n_samplers = um_pool_threads(engine->compute->pool);
    engine->samplers = um_calloc((size_t)engine->n_samplers, sizeof *engine->samplers);
    engine->ids = um_calloc(rows, sizeof *engine->ids);
    engine->out_rows = um_calloc((size_t)engine->pass_out, sizeof *engine->out_rows);
    engine->spans = um_calloc(rows, sizeof *engine->spans);
    if (engine->samplers == NULL || engine->ids == NULL || engine->out_rows == NULL ||
        engine->spans == NULL)
        return um_fail_memory(err, "engine");
    for (int i = 0; i < engine->n_samplers; i++) {
        um_status status =
            um_sampler_init(&engine->samplers[i], engine->n_vocab, engine->logprobs, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

static um_status check_options(const um_model_config *config, const um_tokenizer *tok,
                               const um_engine_options *options, um_error *err)
{
    if (um_tokenizer_size(tok) > config->vocab)
        return um_fail(err, UM_ERR_INPUT,
                       "the tokenizer has ids up to %" PRId32
                       ", the model has %d rows; they do not "
                       "belong together",
                       um_tokenizer_size(tok) - 1, config->vocab);
    if (options->max_rows < 0 || options->max_rows > MAX_ROWS)
        return um_fail(err, UM_ERR_INPUT, "max_rows must be 0 (default) to %d, found %d", MAX_ROWS,
                       options->max_rows);
    if (options->max_context < 0 || options->max_context > config->max_positions)
        return um_fail(err, UM_ERR_INPUT,
                       "max_context must be 0 (default) to the model's %d positions, found %d",
                       config->max_positions, options->max_context);
    return UM_OK;
}

/* What decides the answers. The kernels of two backends differ in the last bits, which can turn a
 * draw. */
static uint64_t fingerprint(const um_engine *engine)
{
    const uint64_t parts[] = {um_model_hash(engine->model), um_tokenizer_hash(engine->tok),
                              um_chat_hash(engine->tok, engine->format),
                              um_hash_str(um_compute_name(engine->compute), 0),
                              (uint64_t)um_forward_weights(engine->forward)->dtype};
    return um_hash(parts, sizeof parts, 0);
}

um_status um_engine_open(um_responder **out, const um_model *model, const um_tokenizer *tok,
                         um_compute *compute, const char *name, const um_engine_options *options,
                         um_error *err)
{
    static const um_engine_options defaults = {0};
    if (options == NULL)
        options = &defaults;
    um_status status = check_options(&model->config, tok, options, err);
    if (status != UM_OK)
        return status;
    um_engine *engine = um_calloc(1, sizeof *engine);
    if (engine == NULL)
        return um_fail_memory(err, "engine");
    const um_dtype weights = model->packed != NULL ? model->packed->dtype : options->weights;
    engine->base.ops = &engine_ops;
    engine->base.name = um_strdup(name != NULL ? name : "model");
    engine->model = model;
    engine->tok = tok;
    engine->compute = compute;
    engine->format = options->format_given ? options->format : um_chat_detect(tok);
    engine->max_rows = options->max_rows > 0 ? options->max_rows : DEFAULT_ROWS;
    engine->pass_rows = engine->max_rows + CHUNK_ROWS;
    engine->pass_out = engine->max_rows + CHUNK_PROMPTS;
    engine->max_context =
        options->max_context > 0 ? options->max_context : model->config.max_positions;
    engine->n_vocab = um_tokenizer_size(tok);
    engine->end_of_turn = um_chat_end_of_turn(tok, engine->format);
    engine->eos = model->config.eos;
    engine->on_text = options->on_text;
    engine->text_context = options->text_context;
    engine->logprobs = options->logprobs;
    if (engine->base.name == NULL)
        status = um_fail_memory(err, "engine");
    if (status == UM_OK)
        status = alloc_arrays(engine, err);
    engine->pass =
        (um_pass){.ids = engine->ids, .spans = engine->spans, .out_rows = engine->out_rows};
    if (status == UM_OK)
        status = um_kv_init(&engine->kv, compute->backend, &model->config,
                            weights == UM_F32 ? UM_F32 : UM_BF16, options->kv_bytes, err);
    if (status == UM_OK)
        status = um_forward_new(&engine->forward, model, compute, weights, engine->pass_rows,
                                engine->pass_out, err);
    if (status != UM_OK) {
        free_engine(&engine->base);
        return status;
    }
    engine->base.fingerprint = fingerprint(engine);
    *out = &engine->base;
    return UM_OK;
}

bool um_engine_get_stats(const um_responder *self, um_engine_stats *out)
{
    if (self->ops != &engine_ops)
        return false;
    const um_engine *engine = (const um_engine *)self;
    *out = engine->stats;
    out->page_bytes = (uint64_t)engine->kv.cache.page_bytes * (uint64_t)engine->kv.cache.layers;
    out->pages = engine->kv.cache.pages;
    out->touched_pages = engine->kv.n_touched;
    out->peak_pages = engine->kv.peak;
    return true;
}
