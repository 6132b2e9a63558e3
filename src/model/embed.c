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
/* A text begins a page, so short ones leave pages half empty: pages for texts of this many tokens
 * on average. */
#define PAGE_TOKENS 16

typedef struct embedder {
    const um_model *model;
    um_backend *backend;
    um_forward *forward;
    um_kv_cache cache; /* of one layer: every text is whole in its pass */
    um_pooling pooling;
    int rows, pages;   /* of a pass */
    int used_pages;    /* of the pass being packed */
    int32_t *ids;      /* [rows] */
    int32_t *numbers;  /* [rows] 0, 1, ..: all rows, and all pages */
    int32_t *last;     /* [pages] last row of each text */
    um_kv_span *spans; /* [pages] */
    size_t *texts;     /* [pages] which text each span is */
    um_pass pass;
    float *out; /* [n, C] */
} embedder;

static um_status embedder_new(embedder *e, um_compute *compute, um_error *err)
{
    const um_model_config *config = &e->model->config;
    size_t rows = (size_t)e->rows, pages = (size_t)e->pages;
    e->backend = compute->backend;
    e->ids = um_calloc(rows, sizeof *e->ids);
    e->numbers = um_calloc(rows, sizeof *e->numbers);
    e->last = um_calloc(pages, sizeof *e->last);
    e->spans = um_calloc(pages, sizeof *e->spans);
    e->texts = um_calloc(pages, sizeof *e->texts);
    if (e->ids == NULL || e->numbers == NULL || e->last == NULL || e->spans == NULL ||
        e->texts == NULL)
        return um_fail_memory(err, "embeddings");
    for (int i = 0; i < e->rows; i++)
        e->numbers[i] = i;
    e->pass = (um_pass){.ids = e->ids, .spans = e->spans};
    um_status status = e->backend->ops->kv_open(e->backend, &e->cache, UM_F32, 1, e->pages,
                                                config->kv_heads, config->head_dim, err);
    if (status == UM_OK)
        status = um_forward_new(&e->forward, e->model, compute, UM_F32, e->rows, e->rows, err);
    return status;
}

static void embedder_dispose(embedder *e)
{
    um_forward_free(e->forward);
    if (e->cache.buf.data != NULL)
        e->backend->ops->kv_close(e->backend, &e->cache);
    free(e->ids);
    free(e->numbers);
    free(e->last);
    free(e->spans);
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
    pass->out_rows = mean ? e->numbers : e->last;
    const float *hidden = um_forward_run(e->forward, &e->cache, pass);
    for (int s = 0; s < pass->n_spans; s++) {
        int first = mean ? e->spans[s].start : s, n = mean ? e->spans[s].len : 1;
        if (pool(e->out + e->texts[s] * (size_t)c, hidden + (size_t)first * (size_t)c, n, c) !=
            UM_OK)
            return um_fail(err, UM_ERR_NUMERIC, "text %zu: the model's states are not numbers",
                           e->texts[s]);
    }
    pass->n_rows = pass->n_spans = e->used_pages = 0;
    return UM_OK;
}

static um_status add_text(embedder *e, size_t text, const int32_t *ids, int n, um_error *err)
{
    um_pass *pass = &e->pass;
    int pages = (n + UM_KV_PAGE - 1) / UM_KV_PAGE;
    if (pass->n_rows + n > e->rows || e->used_pages + pages > e->pages) {
        um_status status = flush(e, err);
        if (status != UM_OK)
            return status;
    }
    memcpy(e->ids + pass->n_rows, ids, (size_t)n * sizeof *ids);
    e->spans[pass->n_spans] =
        (um_kv_span){.start = pass->n_rows, .len = n, .pages = e->numbers + e->used_pages};
    e->last[pass->n_spans] = pass->n_rows + n - 1;
    e->texts[pass->n_spans++] = text;
    pass->n_rows += n;
    e->used_pages += pages;
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
    e.pages = e.rows / PAGE_TOKENS;
    um_tokens ids = {0};
    um_status status = UM_OK;

    if (um_tokenizer_size(tok) > model->config.vocab)
        return um_fail(err, UM_ERR_INPUT,
                       "the tokenizer has %d ids, the model %d; they do not belong together",
                       (int)um_tokenizer_size(tok), model->config.vocab);
    memset(out, 0, n * (size_t)model->config.hidden * sizeof *out);
    status = embedder_new(&e, compute, err);
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
