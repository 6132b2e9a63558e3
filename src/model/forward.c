/*
 * forward.c - see forward.h. Shapes: T rows of a pass, O wanted rows, C, H, G, D, F, V as in
 * nn/backend.h; Q = (H + 2 G) D columns of q, k and v side by side.
 *
 * Between two products activations are kept as the second one reads them (`acts`, nn/backend.h).
 * Every backend of this build computes in host memory, so vectors are read where they are kept.
 */
#include "model/forward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

struct um_forward {
    const um_model *model;
    um_backend *backend;
    int max_rows, max_out;
    um_matrices weights;
    float *inv_freq;       /* [D/2] */
    um_buf buf;            /* one block; the pointers below lie in it */
    float *x;              /* [T,C] residual stream */
    float *normed;         /* [O,C] after the last norm */
    float *qkv;            /* [T,Q] */
    float *attended;       /* [T,H*D] */
    void *acts;            /* [T,max(C,H*D)] what the next product reads */
    void *inner;           /* [T,F] what `down` reads */
    float *out_x;          /* [O,C] residual stream of the wanted rows */
    float *out_q;          /* [O,H*D] their queries in the last layer */
    float *logits;         /* [min(O, UM_HEAD_ROWS),V] */
    int32_t *positions;    /* [T] */
    um_kv_span *out_spans; /* [O] */
};

typedef struct sizes {
    int c, q, heads_width, kv_width, f, v; /* C, Q, H*D, G*D, F, V */
} sizes;

static sizes sizes_of(const um_model_config *config)
{
    int heads = config->heads * config->head_dim, kv = config->kv_heads * config->head_dim;
    return (sizes){.c = config->hidden,
                   .q = heads + 2 * kv,
                   .heads_width = heads,
                   .kv_width = kv,
                   .f = config->ffn,
                   .v = config->vocab};
}

static um_status make_workspace(um_forward *fw, um_error *err)
{
    um_backend *be = fw->backend;
    const um_dtype dtype = fw->weights.dtype;
    sizes s = sizes_of(&fw->model->config);
    const size_t rows = (size_t)fw->max_rows, out = (size_t)fw->max_out;
    const size_t head = out < UM_HEAD_ROWS ? out : UM_HEAD_ROWS;
    const int widest = s.c > s.heads_width ? s.c : s.heads_width;
    const size_t acts = be->ops->acts_bytes(dtype, fw->max_rows, widest);
    const size_t inner = be->ops->acts_bytes(dtype, fw->max_rows, s.f);
    size_t bytes = 0;
    const struct {
        void **where;
        size_t rows, row_bytes;
    } parts[] = {{(void **)&fw->x, rows, (size_t)s.c * sizeof(float)},
                 {(void **)&fw->normed, out, (size_t)s.c * sizeof(float)},
                 {(void **)&fw->qkv, rows, (size_t)s.q * sizeof(float)},
                 {(void **)&fw->attended, rows, (size_t)s.heads_width * sizeof(float)},
                 {&fw->acts, 1, acts},
                 {&fw->inner, 1, inner},
                 {(void **)&fw->out_x, out, (size_t)s.c * sizeof(float)},
                 {(void **)&fw->out_q, out, (size_t)s.heads_width * sizeof(float)},
                 {(void **)&fw->logits, head, (size_t)s.v * sizeof(float)}};
    const size_t n_parts = sizeof parts / sizeof parts[0], line = 64;
    size_t offsets[sizeof parts / sizeof parts[0]];
    for (size_t i = 0; i < n_parts; i++) {
        size_t size, end;
        offsets[i] = bytes;
        if (acts == 0 || inner == 0 ||
            um_mul_overflows(parts[i].rows, parts[i].row_bytes, &size) ||
            __builtin_add_overflow(bytes, size, &end) || end > SIZE_MAX / 8)
            return um_fail(err, UM_ERR_LIMIT, "forward pass: %d rows pass the address space",
                           fw->max_rows);
        bytes = (end + line - 1) / line * line;
    }
    um_status status = be->ops->alloc(be, &fw->buf, bytes, err);
    if (status != UM_OK)
        return status;
    for (size_t i = 0; i < n_parts; i++)
        *parts[i].where = (char *)fw->buf.data + offsets[i];
    return UM_OK;
}

/* The model's own packed matrices, or its floats packed here. */
static um_status take_weights(um_forward *fw, um_dtype dtype, um_error *err)
{
    if (fw->model->packed == NULL)
        return um_matrices_pack(&fw->weights, fw->backend, fw->model, dtype, err);
    fw->weights = *fw->model->packed;
    return UM_OK;
}

um_status um_forward_new(um_forward **out, const um_model *model, um_compute *compute,
                         um_dtype dtype, int max_rows, int max_out, um_error *err)
{
    um_forward *fw = um_calloc(1, sizeof *fw);
    if (fw == NULL)
        return um_fail_memory(err, "forward pass");
    um_status status = UM_OK;
    fw->model = model;
    fw->backend = compute->backend;
    fw->max_rows = max_rows;
    fw->max_out = max_out;
    fw->inv_freq = um_calloc((size_t)model->config.head_dim / 2, sizeof *fw->inv_freq);
    fw->out_spans = um_calloc((size_t)max_out, sizeof *fw->out_spans);
    fw->positions = um_calloc((size_t)max_rows, sizeof *fw->positions);
    if (fw->inv_freq == NULL || fw->out_spans == NULL || fw->positions == NULL)
        status = um_fail_memory(err, "forward pass");
    if (status == UM_OK)
        status = take_weights(fw, dtype, err);
    if (status == UM_OK)
        status = make_workspace(fw, err);
    if (status != UM_OK) {
        um_forward_free(fw);
        return status;
    }
    um_rope_frequencies(&model->config, fw->inv_freq);
    *out = fw;
    return UM_OK;
}

void um_forward_free(um_forward *fw)
{
    if (fw == NULL)
        return;
    if (fw->model->packed == NULL)
        um_matrices_dispose(&fw->weights, fw->backend);
    if (fw->buf.data != NULL)
        fw->backend->ops->release(fw->backend, &fw->buf);
    free(fw->inv_freq);
    free(fw->out_spans);
    free(fw->positions);
    free(fw);
}

/* Where a layer's keys and values lie in the cache. */
static int cache_layer(const um_kv_cache *cache, int layer)
{
    return cache->layers == 1 ? 0 : layer;
}

static void number_positions(int32_t *positions, const um_pass *pass)
{
    for (const um_kv_span *s = pass->spans; s < pass->spans + pass->n_spans; s++) {
        for (int j = 0; j < s->len; j++)
            positions[s->start + j] = s->before + j;
    }
}

/* Norm, q, k and v of the pass's rows; K and V go to the cache. */
static void project(um_forward *fw, um_kv_cache *cache, const um_pass *pass, int layer)
{
    const um_model_config *config = &fw->model->config;
    const um_layer_matrices *w = &fw->weights.layers[layer];
    um_backend *be = fw->backend;
    sizes s = sizes_of(config);
    int t = pass->n_rows;
    const float *k = fw->qkv + s.heads_width, *v = k + s.kv_width;

    be->ops->acts_norm(be, fw->acts, fw->weights.dtype, fw->x, w->attn_norm, t, s.c,
                       config->rms_eps);
    be->ops->linear(be, fw->qkv, s.q, fw->acts, t, &w->qkv, w->qkv_bias, false);
    /* q and k heads lie side by side and turn alike. */
    be->ops->rope(be, fw->qkv, s.q, t, config->heads + config->kv_heads, config->head_dim,
                  fw->positions, fw->inv_freq, false);
    be->ops->kv_write(be, cache, cache_layer(cache, layer), k, v, s.q, pass->spans, pass->n_spans);
}

/* Attention and feed-forward halves of a layer on n rows: x[n,C] += ... */
static void finish_layer(um_forward *fw, const um_kv_cache *cache, int layer, float *x, int n,
                         const float *q, int ldq, const um_kv_span *spans, int n_spans)
{
    const um_model_config *config = &fw->model->config;
    const um_layer_matrices *w = &fw->weights.layers[layer];
    const um_dtype dtype = fw->weights.dtype;
    um_backend *be = fw->backend;
    sizes s = sizes_of(config);
    const um_attention_shape shape = {.n_heads = config->heads,
                                      .n_kv_heads = config->kv_heads,
                                      .head_dim = config->head_dim,
                                      .scale = (float)(1.0 / sqrt(config->head_dim))};

    be->ops->kv_attention(be, fw->attended, s.heads_width, q, ldq, cache, cache_layer(cache, layer),
                          &shape, spans, n_spans);
    be->ops->acts_set(be, fw->acts, dtype, fw->attended, s.heads_width, n, s.heads_width);
    be->ops->linear(be, x, s.c, fw->acts, n, &w->o, NULL, true);
    be->ops->acts_norm(be, fw->acts, dtype, x, w->mlp_norm, n, s.c, config->rms_eps);
    be->ops->linear_gate(be, fw->inner, fw->acts, n, &w->gate_up);
    be->ops->linear(be, x, s.c, fw->inner, n, &w->down, NULL, true);
}

/* The embedding of the pass's tokens. */
static void embed(um_forward *fw, const um_pass *pass)
{
    um_backend *be = fw->backend;
    const um_matrices *w = &fw->weights;
    if (w->dtype == UM_F32)
        be->ops->embed_forward(be, fw->x, w->table, pass->ids, pass->n_rows,
                               fw->model->config.hidden);
    else
        be->ops->packed_rows(be, fw->x, &w->embedding, pass->ids, pass->n_rows);
}

/* One span of one row for each wanted row, numbered by their order. */
static void make_out_spans(um_forward *fw, const um_pass *pass)
{
    const um_kv_span *span = pass->spans;
    for (int i = 0; i < pass->n_out; i++) {
        int row = pass->out_rows[i];
        while (row >= span->start + span->len)
            span++;
        fw->out_spans[i] = (um_kv_span){
            .start = i, .len = 1, .before = span->before + row - span->start, .pages = span->pages};
    }
}

const float *um_forward_run(um_forward *fw, um_kv_cache *cache, const um_pass *pass)
{
    const um_model_config *config = &fw->model->config;
    um_backend *be = fw->backend;
    sizes s = sizes_of(config);
    int t = pass->n_rows, out = pass->n_out, last = config->layers - 1;

    number_positions(fw->positions, pass);
    embed(fw, pass);
    for (int l = 0; l < last; l++) {
        project(fw, cache, pass, l);
        finish_layer(fw, cache, l, fw->x, t, fw->qkv, s.q, pass->spans, pass->n_spans);
    }
    project(fw, cache, pass, last);
    if (out == 0)
        return fw->normed;
    float *x = fw->x;
    if (out == t) {
        finish_layer(fw, cache, last, x, t, fw->qkv, s.q, pass->spans, pass->n_spans);
    } else {
        x = fw->out_x;
        make_out_spans(fw, pass);
        be->ops->gather_rows(be, x, fw->x, s.c, pass->out_rows, out, s.c);
        be->ops->gather_rows(be, fw->out_q, fw->qkv, s.q, pass->out_rows, out, s.heads_width);
        finish_layer(fw, cache, last, x, out, fw->out_q, s.heads_width, fw->out_spans, out);
    }
    be->ops->rmsnorm_forward(be, fw->normed, NULL, x, fw->weights.final_norm, out, s.c,
                             config->rms_eps);
    return fw->normed;
}

const um_matrices *um_forward_weights(const um_forward *fw)
{
    return &fw->weights;
}

void um_forward_product(um_forward *fw, float *y, const float *hidden, int n, const um_packed *w)
{
    um_backend *be = fw->backend;
    be->ops->acts_set(be, fw->acts, w->dtype, hidden, w->k, n, w->k);
    be->ops->linear(be, y, w->n, fw->acts, n, w, NULL, false);
}

float *um_forward_head(um_forward *fw, const float *hidden, int n)
{
    um_forward_product(fw, fw->logits, hidden, n, &fw->weights.head);
    return fw->logits;
}

/* Logits [n, V] of one whole sequence, a pass of its own. */
static um_status sequence_logits(um_forward *fw, const int32_t *ids, int n, float *logits,
                                 um_error *err)
{
    const um_model_config *config = &fw->model->config;
    um_backend *be = fw->backend;
    um_kv_cache cache = {0};
    int pages = (n + UM_KV_PAGE - 1) / UM_KV_PAGE;
    int32_t *numbers = um_calloc((size_t)n, sizeof *numbers); /* of pages and of rows */
    if (numbers == NULL)
        return um_fail_memory(err, "logits");
    for (int i = 0; i < n; i++)
        numbers[i] = i;
    um_status status =
        be->ops->kv_open(be, &cache, UM_F32, 1, pages, config->kv_heads, config->head_dim, err);
    if (status == UM_OK) {
        const um_kv_span span = {.len = n, .pages = numbers};
        const um_pass pass = {
            .n_rows = n, .ids = ids, .n_spans = 1, .spans = &span, .n_out = n, .out_rows = numbers};
        const float *hidden = um_forward_run(fw, &cache, &pass);
        for (int at = 0; at < n; at += UM_HEAD_ROWS) {
            int rows = n - at < UM_HEAD_ROWS ? n - at : UM_HEAD_ROWS;
            const float *out =
                um_forward_head(fw, hidden + (size_t)at * (size_t)config->hidden, rows);
            memcpy(logits + (size_t)at * (size_t)config->vocab, out,
                   (size_t)rows * (size_t)config->vocab * sizeof *logits);
        }
        be->ops->kv_close(be, &cache);
    }
    free(numbers);
    return status;
}

um_status um_model_logits(const um_model *model, um_compute *compute, const int32_t *ids, size_t n,
                          float *logits, um_error *err)
{
    const um_model_config *config = &model->config;
    um_forward *fw = NULL;
    if (n == 0)
        return UM_OK;
    if (n > (size_t)config->max_positions)
        return um_fail(err, UM_ERR_LIMIT, "%zu tokens, the model has %d positions", n,
                       config->max_positions);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= config->vocab)
            return um_fail(err, UM_ERR_INPUT, "token %zu is %d, the vocabulary has %d", i,
                           (int)ids[i], config->vocab);
    }
    um_status status = um_forward_new(&fw, model, compute, UM_F32, (int)n, (int)n, err);
    if (status == UM_OK)
        status = sequence_logits(fw, ids, (int)n, logits, err);
    um_forward_free(fw);
    return status;
}
