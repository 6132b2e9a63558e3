/*
 * graph.c - the model over one packed batch: forward, and backward by hand.
 *
 * Letters: T rows, N trained entries, C model width, H query heads, G key/value heads, D head
 * width, W = (H + 2 G) D, F feed-forward width, V vocabulary, L layers.
 *
 * A layer is two halves:
 *   attention: x [T,C] -> rmsnorm -> qkv [T,W] (+ bias) -> rope on q, k -> attention -> attn
 * [T,H*D] mlp:       mid = x + attn Wo^T;  out = mid + swiglu(rmsnorm(mid) Wgu^T) Wdown^T The mlp
 * half of the last layer sees only the trained rows (gathered), and so does the head.
 *
 * Kept for backward: the names below. Norm outputs and swiglu outputs are computed again, being
 * cheap. The workspace is one block:
 *
 *   | layer 0: x qkv attn lse mid gate_up rstd | ... | layer L-1 | top | scratch | logits |
 */
#include "model/graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

#define ALIGN_FLOATS      ((size_t)16)      /* every array starts on a cache line */
#define LOGITS_MAX_FLOATS ((size_t)8 << 20) /* of one chunk of the LM head: 32 MiB ... */
#define LOGITS_MIN_ROWS   ((size_t)128)     /* ... but at least this many rows */

/* What one layer keeps for its backward pass. */
typedef struct layer_acts {
    float *x;         /* [T,C] its input */
    float *rstd_attn; /* [T] */
    float *qkv;       /* [T,W], q and k rotated */
    float *attn;      /* [T,H*D] */
    float *lse;       /* [T,H] */
    float *mid;       /* [T,C], last layer [N,C] */
    float *rstd_mlp;  /* [T], last layer [N] */
    float *gate_up;   /* [T,2F], last layer [N,2F] */
} layer_acts;

struct um_graph {
    um_model_config config;
    um_params params;
    um_backend *be; /* borrowed */
    um_attention_shape shape;
    int max_rows, max_trained, chunk_rows;
    float *inv_freq;    /* [D/2], host */
    um_span *top_spans; /* [max_rows], host: the spans of the last layer */
    int n_top_spans;
    bool *is_trained;   /* [max_rows], host: scratch */
    layer_acts *layers; /* [L] */
    um_buf workspace;

    float *top_attn;  /* [N,H*D] attention output of the last layer at the trained rows */
    float *top_x;     /* [N,C] its input there */
    float *top;       /* [N,C] its output there: input of the final norm */
    float *top_rstd;  /* [N] */
    float *top_norm;  /* [N,C] input of the head */
    float *logp;      /* [N] */
    float *dtop;      /* [N,C] gradient of top */
    float *dtop_attn; /* [N,H*D] gradient of top_attn */
    float *norm;      /* [max(T,N),C] output of a norm */
    float *dnorm;     /* [max(T,N),C] its gradient */
    float *dx;        /* [T,C] gradient of the residual stream */
    float *wide;      /* [max(T,N), max(4F, H*D + W)]: ffn, dffn, dgate_up or dattn, dqkv */
    float *logits;    /* [chunk_rows,V] */

    int ready_rows, ready_trained; /* of the forward pass a backward may follow; -1: none */
};

/* Hands out the arrays of the workspace; with base NULL it only counts. */
typedef struct cursor {
    float *base;
    size_t used;
    bool failed;
} cursor;

static float *take(cursor *at, size_t rows, size_t cols)
{
    size_t n;
    size_t start = at->used;
    if (um_mul_overflows(rows, cols, &n) || n > SIZE_MAX / 8 || start > SIZE_MAX / 8) {
        at->failed = true;
        return NULL;
    }
    at->used = start + (n + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return at->base == NULL ? NULL : at->base + start;
}

static size_t chunk_rows_for(size_t vocab, size_t max_trained)
{
    size_t rows = LOGITS_MAX_FLOATS / vocab;
    if (rows < LOGITS_MIN_ROWS)
        rows = LOGITS_MIN_ROWS;
    return rows < max_trained ? rows : max_trained;
}

static void lay_out(cursor *at, um_graph *g)
{
    const um_model_config *config = &g->config;
    size_t c = (size_t)config->hidden, f = (size_t)config->ffn, v = (size_t)config->vocab;
    size_t heads = (size_t)config->heads, d = (size_t)config->head_dim;
    size_t q_width = heads * d, w = q_width + 2 * (size_t)config->kv_heads * d;
    size_t t = (size_t)g->max_rows, n = (size_t)g->max_trained, most = t > n ? t : n;
    size_t wide = 4 * f > q_width + w ? 4 * f : q_width + w;

    for (int l = 0; l < config->layers; l++) {
        size_t mlp_rows = l == config->layers - 1 ? n : t;
        layer_acts acts = {0};
        acts.x = take(at, t, c);
        acts.qkv = take(at, t, w);
        acts.attn = take(at, t, q_width);
        acts.lse = take(at, t, heads);
        acts.mid = take(at, mlp_rows, c);
        acts.gate_up = take(at, mlp_rows, 2 * f);
        acts.rstd_attn = take(at, t, 1);
        acts.rstd_mlp = take(at, mlp_rows, 1);
        if (g->layers != NULL)
            g->layers[l] = acts;
    }
    g->top_attn = take(at, n, q_width);
    g->top_x = take(at, n, c);
    g->top = take(at, n, c);
    g->top_rstd = take(at, n, 1);
    g->top_norm = take(at, n, c);
    g->logp = take(at, n, 1);
    g->dtop = take(at, n, c);
    g->dtop_attn = take(at, n, q_width);
    g->norm = take(at, most, c);
    g->dnorm = take(at, most, c);
    g->dx = take(at, t, c);
    g->wide = take(at, most, wide);
    g->chunk_rows = (int)chunk_rows_for(v, n);
    g->logits = take(at, (size_t)g->chunk_rows, v);
}

size_t um_graph_bytes(const um_model_config *config, int max_rows, int max_trained)
{
    um_graph g = {.config = *config, .max_rows = max_rows, .max_trained = max_trained};
    cursor at = {0};
    lay_out(&at, &g);
    return at.failed ? SIZE_MAX : at.used * sizeof(float);
}

um_status um_graph_new(um_graph **out, const um_model_config *config, um_compute *compute,
                       int max_rows, int max_trained, um_error *err)
{
    um_status status = um_model_config_check(config, err);
    if (status != UM_OK)
        return status;
    if (max_rows < 1 || max_trained < 0)
        return um_fail(err, UM_ERR_INPUT,
                       "training graph: sizes must be at least 1 row and 0 trained tokens, found "
                       "%d and %d",
                       max_rows, max_trained);
    size_t bytes = um_graph_bytes(config, max_rows, max_trained);
    if (bytes == SIZE_MAX)
        return um_fail(err, UM_ERR_LIMIT,
                       "training graph: activations of %d rows pass the address space; use smaller "
                       "packs",
                       max_rows);
    um_graph *g = um_calloc(1, sizeof *g);
    if (g == NULL)
        return um_fail_memory(err, "training graph");
    g->config = *config;
    g->be = compute->backend;
    g->max_rows = max_rows;
    g->max_trained = max_trained;
    g->ready_rows = -1;
    g->shape = (um_attention_shape){config->heads, config->kv_heads, config->head_dim,
                                    1.0f / sqrtf((float)config->head_dim)};
    g->layers = um_calloc((size_t)config->layers, sizeof *g->layers);
    g->inv_freq = um_calloc((size_t)config->head_dim / 2, sizeof *g->inv_freq);
    g->top_spans = um_calloc((size_t)max_rows, sizeof *g->top_spans);
    g->is_trained = um_calloc((size_t)max_rows, sizeof *g->is_trained);
    if (g->layers == NULL || g->inv_freq == NULL || g->top_spans == NULL || g->is_trained == NULL) {
        status = um_fail_memory(err, "training graph");
        goto done;
    }
    um_rope_frequencies(config, g->inv_freq);
    status = um_params_layout(&g->params, config, err);
    if (status != UM_OK)
        goto done;
    status = g->be->ops->alloc(g->be, &g->workspace, bytes, err);
    if (status != UM_OK)
        goto done;
    cursor at = {.base = g->workspace.data};
    lay_out(&at, g);
    *out = g;
    g = NULL;
done:
    um_graph_free(g);
    return status;
}

void um_graph_free(um_graph *g)
{
    if (g == NULL)
        return;
    if (g->workspace.data != NULL)
        g->be->ops->release(g->be, &g->workspace);
    um_params_dispose(&g->params);
    free(g->inv_freq);
    free(g->top_spans);
    free(g->is_trained);
    free(g->layers);
    free(g);
}

/* Checks of a batch */

static um_status check_spans(const um_batch *b, um_error *err)
{
    int next = 0;
    for (int s = 0; s < b->n_spans; s++) {
        const um_span *span = &b->spans[s];
        if (span->start != next || span->len < 1 || span->len > b->n_rows - next ||
            span->kv_start != span->start || span->own_before != 0)
            return um_fail(err, UM_ERR_INPUT,
                           "training batch: span %d (start %d, length %d) does not go on at row %d "
                           "of %d",
                           s, span->start, span->len, next, b->n_rows);
        for (int p = 0; p < span->prefix_count; p++) {
            const um_range *range = &b->prefixes[span->prefix_first + p];
            if (range->start < 0 || range->len < 0 || range->start > span->start - range->len)
                return um_fail(err, UM_ERR_INPUT,
                               "training batch: span %d names the prefix rows %d + %d, which do "
                               "not lie before its first row %d",
                               s, range->start, range->len, span->start);
        }
        next += span->len;
    }
    if (next != b->n_rows)
        return um_fail(err, UM_ERR_INPUT, "training batch: spans cover %d rows of %d", next,
                       b->n_rows);
    return UM_OK;
}

static um_status check_batch(const um_graph *g, const um_batch *b, um_error *err)
{
    int vocab = g->config.vocab;
    if (b->n_rows < 1 || b->n_rows > g->max_rows || b->n_trained < 0 ||
        b->n_trained > g->max_trained)
        return um_fail(err, UM_ERR_LIMIT,
                       "training batch: found %d rows and %d trained tokens, limit %d and %d",
                       b->n_rows, b->n_trained, g->max_rows, g->max_trained);
    for (int t = 0; t < b->n_rows; t++) {
        if (b->ids[t] < 0 || b->ids[t] >= vocab)
            return um_fail(err, UM_ERR_INPUT,
                           "training batch: row %d has token id %d, vocabulary is %d", t, b->ids[t],
                           vocab);
        if (b->positions[t] < 0 || b->positions[t] >= g->config.max_positions)
            return um_fail(err, UM_ERR_INPUT,
                           "training batch: row %d stands at position %d, the model has %d", t,
                           b->positions[t], g->config.max_positions);
    }
    for (int i = 0; i < b->n_trained; i++) {
        if (b->trained[i] < 0 || b->trained[i] >= b->n_rows || b->targets[i] < 0 ||
            b->targets[i] >= vocab)
            return um_fail(
                err, UM_ERR_INPUT,
                "training batch: entry %d trains row %d of %d on token id %d, vocabulary "
                "is %d",
                i, b->trained[i], b->n_rows, b->targets[i], vocab);
    }
    return check_spans(b, err);
}

/* The last layer attends from trained rows only: each span is cut to the rows from its first to its
 * last trained one, keys and values staying whole. Of a prompt that leaves the last row. */
static void cut_top_spans(um_graph *g, const um_batch *b)
{
    g->n_top_spans = 0;
    memset(g->is_trained, 0, (size_t)b->n_rows * sizeof *g->is_trained);
    for (int i = 0; i < b->n_trained; i++)
        g->is_trained[b->trained[i]] = true;
    for (int s = 0; s < b->n_spans; s++) {
        um_span span = b->spans[s];
        int low = span.start, high = span.start + span.len;
        while (low < high && !g->is_trained[low])
            low++;
        while (high > low && !g->is_trained[high - 1])
            high--;
        span.own_before = low - span.start;
        span.start = low;
        span.len = high - low;
        if (span.len > 0)
            g->top_spans[g->n_top_spans++] = span;
    }
}

/* Small forms of the matrix products; y and x are dense. */

/* y[T,N] = x[T,K] w[N,K]^T */
static void project(const um_graph *g, float *y, const float *x, const float *w, int t, int n,
                    int k)
{
    g->be->ops->gemm(g->be, false, true, t, n, k, 1.0f, x, k, w, k, false, y, n);
}

/* Backward of project: dx[T,K] = dy[T,N] w[N,K] and dw[N,K] += dy^T x. */
static void project_backward(const um_graph *g, float *dx, float *dw, const float *dy,
                             const float *x, const float *w, int t, int n, int k)
{
    g->be->ops->gemm(g->be, false, false, t, k, n, 1.0f, dy, n, w, k, false, dx, k);
    g->be->ops->gemm(g->be, true, false, n, k, t, 1.0f, dy, n, x, k, true, dw, k);
}

/* dst[rows[i], :] += src[i, :] for rows in any order, repeats included: one call for each strictly
 * ascending run, so that the rows of a call are distinct and the sums have one order. */
static void scatter_add(const um_graph *g, float *dst, const float *src, const um_batch *b, int c)
{
    for (int first = 0, end; first < b->n_trained; first = end) {
        end = first + 1;
        while (end < b->n_trained && b->trained[end] > b->trained[end - 1])
            end++;
        g->be->ops->scatter_add_rows(g->be, dst, c, src + (size_t)first * (size_t)c,
                                     b->trained + first, end - first, c);
    }
}

static int q_width(const um_graph *g)
{
    return g->config.heads * g->config.head_dim;
}

static int kv_width(const um_graph *g)
{
    return g->config.kv_heads * g->config.head_dim;
}

static int qkv_width(const um_graph *g)
{
    return q_width(g) + 2 * kv_width(g);
}

/* Forward */

static void attention_forward(um_graph *g, const float *w, const um_batch *b, int layer,
                              const um_span *spans, int n_spans)
{
    const um_backend_ops *ops = g->be->ops;
    const um_layer_offsets *at = &g->params.layers[layer];
    layer_acts *acts = &g->layers[layer];
    int t = b->n_rows, c = g->config.hidden, width = qkv_width(g);

    ops->rmsnorm_forward(g->be, g->norm, acts->rstd_attn, acts->x, w + at->attn_norm, t, c,
                         g->config.rms_eps);
    project(g, acts->qkv, g->norm, w + at->qkv, t, width, c);
    if (at->qkv_bias != SIZE_MAX)
        ops->bias_forward(g->be, acts->qkv, w + at->qkv_bias, t, width);
    ops->rope(g->be, acts->qkv, width, t, g->config.heads + g->config.kv_heads, g->config.head_dim,
              b->positions, g->inv_freq, false);
    const float *k = acts->qkv + q_width(g), *v = k + kv_width(g);
    ops->attention_forward(g->be, acts->attn, q_width(g), acts->lse, acts->qkv, width, k, v, width,
                           &g->shape, spans, n_spans, b->prefixes);
}

/* out[rows,C] from x[rows,C] and attn[rows,H*D]; rows is T, or N in the last layer. */
static void mlp_forward(um_graph *g, const float *w, int layer, int rows, const float *x,
                        const float *attn, float *out)
{
    const um_backend_ops *ops = g->be->ops;
    const um_layer_offsets *at = &g->params.layers[layer];
    layer_acts *acts = &g->layers[layer];
    int c = g->config.hidden, f = g->config.ffn;
    size_t n = (size_t)rows * (size_t)c;
    float *ffn = g->wide; /* [rows,F] */

    project(g, acts->mid, attn, w + at->o, rows, c, q_width(g));
    ops->add(g->be, acts->mid, x, n);
    ops->rmsnorm_forward(g->be, g->norm, acts->rstd_mlp, acts->mid, w + at->mlp_norm, rows, c,
                         g->config.rms_eps);
    project(g, acts->gate_up, g->norm, w + at->gate_up, rows, 2 * f, c);
    ops->swiglu_forward(g->be, ffn, acts->gate_up, acts->gate_up + f, 2 * f, rows, f);
    project(g, out, ffn, w + at->down, rows, c, f);
    ops->add(g->be, out, acts->mid, n);
}

/* Logits of the trained entries [first, first + n) into the chunk buffer. */
static void head_chunk(um_graph *g, const float *w, int first, int n)
{
    project(g, g->logits, g->top_norm + (size_t)first * (size_t)g->config.hidden,
            w + g->params.lm_head, n, g->config.vocab, g->config.hidden);
}

static void head_forward(um_graph *g, const float *w, const um_batch *b, float *logp)
{
    const um_backend_ops *ops = g->be->ops;
    ops->rmsnorm_forward(g->be, g->top_norm, g->top_rstd, g->top, w + g->params.final_norm,
                         b->n_trained, g->config.hidden, g->config.rms_eps);
    for (int first = 0; first < b->n_trained; first += g->chunk_rows) {
        int n = b->n_trained - first < g->chunk_rows ? b->n_trained - first : g->chunk_rows;
        head_chunk(g, w, first, n);
        ops->logprob_forward(g->be, g->logp + first, g->logits, b->targets + first, n,
                             g->config.vocab);
    }
    ops->download(g->be, logp, g->logp, (size_t)b->n_trained * sizeof *logp);
}

um_status um_graph_forward(um_graph *g, const float *weights, const um_batch *b, float *logp,
                           um_error *err)
{
    const um_backend_ops *ops = g->be->ops;
    int c = g->config.hidden, last = g->config.layers - 1;
    g->ready_rows = -1;
    um_status status = check_batch(g, b, err);
    if (status != UM_OK)
        return status;
    ops->embed_forward(g->be, g->layers[0].x, weights + g->params.embedding, b->ids, b->n_rows, c);
    for (int l = 0; l < last; l++) {
        attention_forward(g, weights, b, l, b->spans, b->n_spans);
        mlp_forward(g, weights, l, b->n_rows, g->layers[l].x, g->layers[l].attn,
                    g->layers[l + 1].x);
    }
    if (b->n_trained > 0) {
        layer_acts *acts = &g->layers[last];
        cut_top_spans(g, b);
        attention_forward(g, weights, b, last, g->top_spans, g->n_top_spans);
        ops->gather_rows(g->be, g->top_attn, acts->attn, q_width(g), b->trained, b->n_trained,
                         q_width(g));
        ops->gather_rows(g->be, g->top_x, acts->x, c, b->trained, b->n_trained, c);
        mlp_forward(g, weights, last, b->n_trained, g->top_x, g->top_attn, g->top);
        head_forward(g, weights, b, logp);
    }
    g->ready_rows = b->n_rows;
    g->ready_trained = b->n_trained;
    return UM_OK;
}

/* Backward */

/* dtop[N,C] from the coefficients; adds the gradients of head and final norm. */
static void head_backward(um_graph *g, const float *w, const um_batch *b, const float *coef,
                          float *gradient)
{
    const um_backend_ops *ops = g->be->ops;
    int c = g->config.hidden, v = g->config.vocab;
    bool recompute = b->n_trained > g->chunk_rows; /* else the logits are still there */
    for (int first = 0; first < b->n_trained; first += g->chunk_rows) {
        int n = b->n_trained - first < g->chunk_rows ? b->n_trained - first : g->chunk_rows;
        size_t at = (size_t)first * (size_t)c;
        if (recompute)
            head_chunk(g, w, first, n);
        ops->logprob_backward(g->be, g->logits, b->targets + first, coef + first, n, v);
        project_backward(g, g->dnorm + at, gradient + g->params.lm_head, g->logits,
                         g->top_norm + at, w + g->params.lm_head, n, v, c);
    }
    ops->zero(g->be, g->dtop, (size_t)b->n_trained * (size_t)c * sizeof *g->dtop);
    ops->rmsnorm_backward(g->be, g->dtop, gradient + g->params.final_norm, g->dnorm, g->top,
                          w + g->params.final_norm, g->top_rstd, b->n_trained, c);
}

/* dx[rows,C]: gradient of the layer's output on entry, of mid (which is that of x by the residual
 * path) on return. dattn[rows,H*D] is written last: it may lie at the start of g->wide. */
static void mlp_backward(um_graph *g, const float *w, int layer, int rows, const float *attn,
                         float *dx, float *dattn, float *gradient)
{
    const um_backend_ops *ops = g->be->ops;
    const um_layer_offsets *at = &g->params.layers[layer];
    layer_acts *acts = &g->layers[layer];
    int c = g->config.hidden, f = g->config.ffn;
    size_t n = (size_t)rows * (size_t)f;
    float *ffn = g->wide, *dffn = ffn + n, *dgate_up = dffn + n; /* [rows,F] [rows,F] [rows,2F] */

    ops->swiglu_forward(g->be, ffn, acts->gate_up, acts->gate_up + f, 2 * f, rows, f);
    project_backward(g, dffn, gradient + at->down, dx, ffn, w + at->down, rows, c, f);
    ops->swiglu_backward(g->be, dgate_up, dgate_up + f, 2 * f, dffn, acts->gate_up,
                         acts->gate_up + f, 2 * f, rows, f);
    ops->rmsnorm_forward(g->be, g->norm, acts->rstd_mlp, acts->mid, w + at->mlp_norm, rows, c,
                         g->config.rms_eps);
    project_backward(g, g->dnorm, gradient + at->gate_up, dgate_up, g->norm, w + at->gate_up, rows,
                     2 * f, c);
    ops->rmsnorm_backward(g->be, dx, gradient + at->mlp_norm, g->dnorm, acts->mid, w + at->mlp_norm,
                          acts->rstd_mlp, rows, c);
    project_backward(g, dattn, gradient + at->o, dx, attn, w + at->o, rows, c, q_width(g));
}

/* Adds to g->dx[T,C] what reaches the layer's input through attention. dqkv[T,W] is scratch. */
static void attention_backward(um_graph *g, const float *w, const um_batch *b, int layer,
                               const um_span *spans, int n_spans, const float *dattn, float *dqkv,
                               float *gradient)
{
    const um_backend_ops *ops = g->be->ops;
    const um_layer_offsets *at = &g->params.layers[layer];
    layer_acts *acts = &g->layers[layer];
    int t = b->n_rows, c = g->config.hidden, width = qkv_width(g), ld = q_width(g);
    const float *k = acts->qkv + ld, *v = k + kv_width(g);
    float *dk = dqkv + ld, *dv = dk + kv_width(g);

    ops->zero(g->be, dqkv, (size_t)t * (size_t)width * sizeof *dqkv);
    ops->attention_backward(g->be, dqkv, width, dk, dv, width, dattn, ld, acts->attn, ld, acts->lse,
                            acts->qkv, width, k, v, width, &g->shape, spans, n_spans, b->prefixes);
    ops->rope(g->be, dqkv, width, t, g->config.heads + g->config.kv_heads, g->config.head_dim,
              b->positions, g->inv_freq, true);
    if (at->qkv_bias != SIZE_MAX)
        ops->bias_backward(g->be, gradient + at->qkv_bias, dqkv, t, width);
    ops->rmsnorm_forward(g->be, g->norm, acts->rstd_attn, acts->x, w + at->attn_norm, t, c,
                         g->config.rms_eps);
    project_backward(g, g->dnorm, gradient + at->qkv, dqkv, g->norm, w + at->qkv, t, width, c);
    ops->rmsnorm_backward(g->be, g->dx, gradient + at->attn_norm, g->dnorm, acts->x,
                          w + at->attn_norm, acts->rstd_attn, t, c);
}

/* The last layer: its mlp half ran on the trained entries, so the gradients of attention output
 * and residual stream are added to otherwise zero rows. */
static void last_layer_backward(um_graph *g, const float *w, const um_batch *b, float *gradient)
{
    const um_backend_ops *ops = g->be->ops;
    int last = g->config.layers - 1, c = g->config.hidden, width = q_width(g);
    size_t rows = (size_t)b->n_rows;
    float *dattn = g->wide, *dqkv = dattn + rows * (size_t)width;

    mlp_backward(g, w, last, b->n_trained, g->top_attn, g->dtop, g->dtop_attn, gradient);
    ops->zero(g->be, dattn, rows * (size_t)width * sizeof *dattn);
    scatter_add(g, dattn, g->dtop_attn, b, width);
    ops->zero(g->be, g->dx, rows * (size_t)c * sizeof *g->dx);
    scatter_add(g, g->dx, g->dtop, b, c);
    attention_backward(g, w, b, last, g->top_spans, g->n_top_spans, dattn, dqkv, gradient);
}

um_status um_graph_backward(um_graph *g, const float *weights, const um_batch *b, const float *coef,
                            float *gradient, um_error *err)
{
    if (g->ready_rows != b->n_rows || g->ready_trained != b->n_trained)
        return um_fail(
            err, UM_ERR_STATE,
            "training graph: backward of %d rows and %d trained tokens does not follow a "
            "forward of the same batch",
            b->n_rows, b->n_trained);
    g->ready_rows = -1;
    if (b->n_trained == 0)
        return UM_OK;
    head_backward(g, weights, b, coef, gradient);
    last_layer_backward(g, weights, b, gradient);
    float *dattn = g->wide, *dqkv = dattn + (size_t)b->n_rows * (size_t)q_width(g);
    for (int l = g->config.layers - 2; l >= 0; l--) {
        mlp_backward(g, weights, l, b->n_rows, g->layers[l].attn, g->dx, dattn, gradient);
        attention_backward(g, weights, b, l, b->spans, b->n_spans, dattn, dqkv, gradient);
    }
    g->be->ops->embed_backward(g->be, gradient + g->params.embedding, g->dx, b->ids, b->n_rows,
                               g->config.hidden);
    return UM_OK;
}
