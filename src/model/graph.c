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
 * Kept for backward: layer_acts. Norm outputs and swiglu outputs are computed again, being cheap.
 * With recompute = r the layers 0 .. r share one place for all but x: each writes over the one
 * before it, backward finds the last of them there and computes the others again, from x, by the
 * same calls and so to the same bits. In bf16 mode one layer at a time lies in float32, and what
 * is kept of the others is narrowed; that loses nothing, as the values are rounded already. What
 * lies between the mlp half's products is made in 16 bits and stays so (um_graph_ffn_dtype). The
 * workspace is one block:
 *
 *   | layer 0: x qkv attn lse mid gate_up rstd | ... | layer L-1 | top | scratch | logits |
 */
#include "model/graph_state.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"

#define ALIGN_FLOATS      ((size_t)16)       /* every array starts on a cache line */
#define LOGITS_MAX_FLOATS ((size_t)32 << 20) /* of a chunk of the LM head: 128 MiB, */
#define LOGITS_MIN_ROWS   ((size_t)128)      /* but at least this many rows */

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
    size_t chunks = (max_trained + rows - 1) / rows;
    return chunks > 1 ? (max_trained + chunks - 1) / chunks : max_trained;
}

/* Room for 16-bit values. */
static uint16_t *take_half(cursor *at, size_t rows, size_t cols)
{
    return (uint16_t *)(void *)take(at, rows, (cols + 1) / 2);
}

static void *take_gate_up(cursor *at, const um_graph *g, size_t rows)
{
    size_t columns = 2 * (size_t)g->config.ffn;
    return um_graph_ffn_dtype(g) == UM_BF16 ? (void *)take_half(at, rows, columns)
                                            : take(at, rows, columns);
}

/* What layer l keeps beside x; of layer 0 wide enough for those that share its place. */
static layer_acts take_layer(cursor *at, const um_graph *g, int l)
{
    size_t t = (size_t)g->sizes.max_rows, n = (size_t)g->sizes.max_trained, mlp_rows = t;
    int last = g->config.layers - 1;
    layer_acts acts = {0};
    if (l == last)
        mlp_rows = n;
    else if (g->sizes.recompute == last && n > t)
        mlp_rows = n;
    acts.qkv = take(at, t, (size_t)um_graph_qkv_width(g));
    acts.attn = take(at, t, (size_t)um_graph_q_width(g));
    acts.lse = take(at, t, (size_t)g->config.heads);
    acts.mid = take(at, mlp_rows, (size_t)g->config.hidden);
    acts.gate_up = take_gate_up(at, g, mlp_rows);
    acts.rstd_attn = take(at, t, 1);
    acts.rstd_mlp = take(at, mlp_rows, 1);
    return acts;
}

static void take_layers(cursor *at, um_graph *g)
{
    layer_acts acts = {0};
    for (int l = 0; l < g->config.layers; l++) {
        if (l == 0 || l > g->sizes.recompute)
            acts = take_layer(at, g, l);
        acts.x = take(at, (size_t)g->sizes.max_rows, (size_t)g->config.hidden);
        if (g->layers != NULL)
            g->layers[l] = acts;
    }
}

/* bf16: one place in float32 that each layer has in turn, and in 16 bits what is kept of the layers
 * below the last: x, and the rest of those that are not computed again. */
static void take_narrow(cursor *at, um_graph *g)
{
    const um_model_config *config = &g->config;
    size_t t = (size_t)g->sizes.max_rows, c = (size_t)config->hidden, f = (size_t)config->ffn;
    um_graph one = {.config = *config, .sizes = g->sizes};
    one.sizes.recompute = config->layers - 1; /* wide enough for every layer */
    layer_acts acts = take_layer(at, &one, 0);
    acts.x = take(at, t, c);
    for (int l = 0; l < config->layers; l++) {
        layer_store kept = {0};
        bool below = l < config->layers - 1;
        layer_acts own = acts;
        if (l > 0 && l >= g->sizes.recompute)
            own.lse = take(at, t, (size_t)config->heads);
        if (below)
            kept.x = take_half(at, t, c);
        if (below && l >= g->sizes.recompute) {
            kept.qkv = take_half(at, t, (size_t)um_graph_qkv_width(g));
            kept.attn = take_half(at, t, (size_t)um_graph_q_width(g));
            kept.mid = take_half(at, t, c);
            if (um_graph_ffn_dtype(g) == UM_F32)
                kept.gate_up = take_half(at, t, 2 * f);
            else
                own.gate_up = take_gate_up(at, g, t);
        }
        if (g->layers != NULL) {
            g->layers[l] = own;
            g->stored[l] = kept;
        }
    }
    g->bias = take(at, 1, (size_t)um_graph_qkv_width(g));
    g->ones = take(at, 1, c);
    g->norm_w = take(at, 1, c);
}

static void lay_out(cursor *at, um_graph *g)
{
    const um_model_config *config = &g->config;
    size_t c = (size_t)config->hidden, f = (size_t)config->ffn, v = (size_t)config->vocab;
    size_t heads = (size_t)config->heads, d = (size_t)config->head_dim;
    size_t q_width = heads * d, w = q_width + 2 * (size_t)config->kv_heads * d;
    size_t t = (size_t)g->sizes.max_rows, n = (size_t)g->sizes.max_trained, most = t > n ? t : n;
    size_t wide = 4 * f > q_width + w ? 4 * f : q_width + w;

    if (g->sizes.bf16)
        take_narrow(at, g);
    else
        take_layers(at, g);
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
    g->low = take(at, most, (size_t)g->sizes.lora_rank);
    g->dlow = take(at, most, (size_t)g->sizes.lora_rank);
    g->frozen = take(at, g->sizes.lora_rank > 0, c);
}

size_t um_graph_bytes(const um_model_config *config, const um_graph_sizes *sizes)
{
    um_graph g = {.config = *config, .sizes = *sizes};
    cursor at = {0};
    lay_out(&at, &g);
    return at.failed ? SIZE_MAX : at.used * sizeof(float);
}

/* bf16: the weights of a norm that is weighed after rounding. */
static void fill_ones(um_graph *g)
{
    const float one = 1.0f;
    for (int i = 0; i < g->config.hidden && g->sizes.bf16; i++)
        g->be->ops->upload(g->be, g->ones + i, &one, sizeof one);
}

um_status um_graph_new(um_graph **out, const um_model_config *config, um_compute *compute,
                       const um_graph_sizes *sizes, um_error *err)
{
    um_status status = um_model_config_check(config, err);
    if (status != UM_OK)
        return status;
    if (sizes->max_rows < 1 || sizes->max_trained < 0 || sizes->recompute < 0 ||
        sizes->recompute >= config->layers || sizes->lora_rank < 0)
        return um_fail(
            err, UM_ERR_INPUT,
            "training graph: found %d rows, %d trained tokens, %d layers to recompute, rank "
            "%d; need at least 1, at least 0, 0 to %d, at least 0",
            sizes->max_rows, sizes->max_trained, sizes->recompute, sizes->lora_rank,
            config->layers - 1);
    if (sizes->bf16 && (sizes->max_rows > UM_PRODUCT_TERMS || config->vocab > UM_PRODUCT_TERMS ||
                        config->ffn > UM_PRODUCT_TERMS / 2))
        return um_fail(err, UM_ERR_LIMIT,
                       "training graph: found %d rows, a vocabulary of %d and a feed-forward width "
                       "of %d; in bfloat16 at most %d, %d and %d can be trained",
                       sizes->max_rows, config->vocab, config->ffn, UM_PRODUCT_TERMS,
                       UM_PRODUCT_TERMS, UM_PRODUCT_TERMS / 2);
    size_t bytes = um_graph_bytes(config, sizes);
    if (bytes == SIZE_MAX)
        return um_fail(err, UM_ERR_LIMIT,
                       "training graph: activations of %d rows pass the address space; use smaller "
                       "packs",
                       sizes->max_rows);
    um_graph *g = um_calloc(1, sizeof *g);
    if (g == NULL)
        return um_fail_memory(err, "training graph");
    g->config = *config;
    g->be = compute->backend;
    g->sizes = *sizes;
    g->ready_rows = -1;
    g->shape = (um_attention_shape){config->heads, config->kv_heads, config->head_dim,
                                    1.0f / sqrtf((float)config->head_dim), sizes->bf16};
    g->layers = um_calloc((size_t)config->layers, sizeof *g->layers);
    g->stored = um_calloc((size_t)config->layers, sizeof *g->stored);
    g->inv_freq = um_calloc((size_t)config->head_dim / 2, sizeof *g->inv_freq);
    g->top_spans = um_calloc((size_t)sizes->max_rows, sizeof *g->top_spans);
    g->is_trained = um_calloc((size_t)sizes->max_rows, sizeof *g->is_trained);
    if (g->layers == NULL || g->stored == NULL || g->inv_freq == NULL || g->top_spans == NULL ||
        g->is_trained == NULL) {
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
    fill_ones(g);
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
    free(g->stored);
    free(g);
}

um_status um_graph_adapt(um_graph *g, const um_lora *lora, um_error *err)
{
    const um_model_config *a = &g->config, *b = &lora->config;
    if (lora->rank != g->sizes.lora_rank || a->hidden != b->hidden || a->layers != b->layers ||
        a->ffn != b->ffn || a->heads != b->heads || a->kv_heads != b->kv_heads ||
        a->head_dim != b->head_dim)
        return um_fail(err, UM_ERR_INPUT,
                       "training graph: found an adapter of rank %d, width %d and %d layers, made "
                       "for rank %d, width %d and %d layers",
                       lora->rank, b->hidden, b->layers, g->sizes.lora_rank, a->hidden, a->layers);
    g->lora = lora;
    g->ready_rows = -1;
    return UM_OK;
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

um_status um_graph_check_batch(const um_graph *g, const um_batch *b, um_error *err)
{
    int vocab = g->config.vocab;
    if (b->n_rows < 1 || b->n_rows > g->sizes.max_rows || b->n_trained < 0 ||
        b->n_trained > g->sizes.max_trained)
        return um_fail(err, UM_ERR_LIMIT,
                       "training batch: found %d rows and %d trained tokens, limit %d and %d",
                       b->n_rows, b->n_trained, g->sizes.max_rows, g->sizes.max_trained);
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
