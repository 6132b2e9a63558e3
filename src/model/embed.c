/*
 * embed.c - texts as vectors: pooled final hidden states. Texts are packed into passes side by
 * side; a pass is computed when the next text does not fit.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "model/forward.h"

#define PASS_ROWS 1024

typedef struct embedder {
    const um_model *model;
    um_forward *forward;
    um_kv kv;
    um_pooling pooling;
    int rows;                           /* of a pass */
    int32_t *ids, *positions, *kv_rows; /* [rows]; kv_rows is 0, 1, ..: also the wanted rows */
    int32_t *last;                      /* [rows] last row of each text */
    um_span *spans;                     /* [rows] */
    um_range *prefixes;                 /* [rows] all empty */
    size_t *texts;                      /* [rows] which text each span is */
    um_pass pass;
    float *out; /* [n, C] */
} embedder;

static um_status embedder_new(embedder *e, um_compute *compute, um_error *err)
{
    size_t rows = (size_t)e->rows;
    e->ids = um_calloc(rows, sizeof *e->ids);
    e->positions = um_calloc(rows, sizeof *e->positions);
    e->kv_rows = um_calloc(rows, sizeof *e->kv_rows);
    e->last = um_calloc(rows, sizeof *e->last);
    e->spans = um_calloc(rows, sizeof *e->spans);
    e->prefixes = um_calloc(rows, sizeof *e->prefixes);
    e->texts = um_calloc(rows, sizeof *e->texts);
    if (e->ids == NULL || e->positions == NULL || e->kv_rows == NULL || e->last == NULL ||
        e->spans == NULL || e->prefixes == NULL || e->texts == NULL)
        return um_fail_memory(err, "embeddings");
    for (int i = 0; i < e->rows; i++)
        e->kv_rows[i] = i;
    um_status status = um_kv_init(&e->kv, compute->backend, &e->model->config, e->rows, err);
    if (status == UM_OK)
        status = um_forward_new(&e->forward, e->model, compute, e->rows, e->rows, err);
    return status;
}

static void embedder_dispose(embedder *e)
{
    um_forward_free(e->forward);
    um_kv_dispose(&e->kv);
    free(e->ids);
    free(e->positions);
    free(e->kv_rows);
    free(e->last);
    free(e->spans);
    free(e->prefixes);
    free(e->texts);
}

/* out = sum of the rows, scaled to length 1: the length takes the mean's divisor with it. */
static um_status pool(float *out, const float *rows, int n, int c)
{
    double squares = 0.0;
    for (int j = 0; j < c; j++) {
        double sum = 0.0;
        for (int i = 0; i < n; i++)
            sum += (double)rows[(size_t)i * (size_t)c + (size_t)j];
        out[j] = (float)sum;
        squares += sum * sum;
    }
    if (!isfinite(squares))
        return UM_ERR_NUMERIC;
    double scale = squares > 0.0 ? 1.0 / sqrt(squares) : 0.0;
    for (int j = 0; j < c; j++)
        out[j] = (float)(out[j] * scale);
    return UM_OK;
}

static um_status flush(embedder *e, um_error *err)
{
    um_pass *pass = &e->pass;
    int c = e->model->config.hidden;
    if (pass->n_rows == 0)
        return UM_OK;
    bool mean = e->pooling == UM_POOL_MEAN;
    pass->n_out = mean ? pass->n_rows : pass->n_spans;
    pass->out_rows = mean ? e->kv_rows : e->last;
    const float *hidden = um_forward_run(e->forward, &e->kv, pass);
    for (int s = 0; s < pass->n_spans; s++) {
        int first = mean ? e->spans[s].start : s, n = mean ? e->spans[s].len : 1;
        if (pool(e->out + e->texts[s] * (size_t)c, hidden + (size_t)first * (size_t)c, n, c) !=
            UM_OK)
            return um_fail(err, UM_ERR_NUMERIC, "text %zu: the model's states are not numbers",
                           e->texts[s]);
    }
    pass->n_rows = pass->n_spans = 0;
    return UM_OK;
}

static um_status add_text(embedder *e, size_t text, const int32_t *ids, int n, um_error *err)
{
    um_pass *pass = &e->pass;
    if (pass->n_rows + n > e->rows) {
        um_status status = flush(e, err);
        if (status != UM_OK)
            return status;
    }
    int at = pass->n_rows;
    for (int i = 0; i < n; i++) {
        e->ids[at + i] = ids[i];
        e->positions[at + i] = i;
    }
    e->spans[pass->n_spans] = (um_span){.start = at, .len = n, .kv_start = at};
    e->last[pass->n_spans] = at + n - 1;
    e->texts[pass->n_spans++] = text;
    pass->n_rows += n;
    return UM_OK;
}

um_status um_model_embed(const um_model *model, const um_tokenizer *tok, um_compute *compute,
                         const char *const *texts, size_t n, um_pooling pooling, int max_tokens,
                         float *out, const um_monitor *monitor, um_error *err)
{
    int limit = max_tokens > 0 && max_tokens < model->config.max_positions
                    ? max_tokens
                    : model->config.max_positions;
    embedder e = {.model = model,
                  .pooling = pooling,
                  .rows = limit > PASS_ROWS ? limit : PASS_ROWS,
                  .out = out};
    um_tokens ids = {0};
    um_status status = UM_OK;

    if (um_tokenizer_size(tok) > model->config.vocab)
        return um_fail(err, UM_ERR_INPUT,
                       "the tokenizer has %d ids, the model %d; they do not belong together",
                       (int)um_tokenizer_size(tok), model->config.vocab);
    memset(out, 0, n * (size_t)model->config.hidden * sizeof *out);
    status = embedder_new(&e, compute, err);
    e.pass = (um_pass){.ids = e.ids,
                       .positions = e.positions,
                       .kv_rows = e.kv_rows,
                       .spans = e.spans,
                       .prefixes = e.prefixes};
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        ids.len = 0;
        if (um_tokenizer_bos(tok) >= 0 && texts[i][0] != '\0')
            status = um_tokens_push(&ids, um_tokenizer_bos(tok), err);
        if (status == UM_OK)
            status = um_tokenizer_encode(tok, texts[i], strlen(texts[i]), false, &ids, err);
        if (status == UM_OK && ids.len > 0)
            status = add_text(&e, i, ids.ids, ids.len < (size_t)limit ? (int)ids.len : limit, err);
        if (status == UM_OK && um_monitor_stopped(monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "embedding was asked to stop");
        const um_progress progress = {.stage = "embed", .unit = "texts", .done = i + 1, .total = n};
        if (i % 64 == 63 || i + 1 == n)
            um_monitor_progress(monitor, &progress);
    }
    if (status == UM_OK)
        status = flush(&e, err);
    um_tokens_dispose(&ids);
    embedder_dispose(&e);
    return status;
}
