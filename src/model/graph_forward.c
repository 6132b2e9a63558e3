/* graph_forward.c - the forward pass of the training graph. See graph.c. */
#include <string.h>

#include "base/error.h"
#include "model/graph_state.h"

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

static void attention_forward(um_graph *g, const float *w, const um_batch *b, int layer,
                              const um_span *spans, int n_spans)
{
    const um_backend_ops *ops = g->be->ops;
    const um_layer_offsets *at = &g->params.layers[layer];
    layer_acts *acts = &g->layers[layer];
    int t = b->n_rows, width = um_graph_qkv_width(g);

    um_graph_norm(g, g->norm, acts->rstd_attn, acts->x, w, at->attn_norm, t);
    um_graph_linear(g, w, layer, UM_GRAPH_QKV, acts->qkv, g->norm, NULL, t);
    ops->rope(g->be, acts->qkv, width, t, g->config.heads + g->config.kv_heads, g->config.head_dim,
              b->positions, g->inv_freq, false);
    um_graph_round(g, acts->qkv, (size_t)t * (size_t)width);
    const float *k = acts->qkv + um_graph_q_width(g), *v = k + um_graph_kv_width(g);
    ops->attention_forward(g->be, acts->attn, um_graph_q_width(g), acts->lse, acts->qkv, width, k,
                           v, width, &g->shape, spans, n_spans, b->prefixes);
    um_graph_round(g, acts->attn, (size_t)t * (size_t)um_graph_q_width(g));
}

/* mid[rows,C] and gate_up[rows,2F] from x[rows,C] and attn[rows,H*D]; rows is T, or N in the last
 * layer. */
static void gate_forward(um_graph *g, const float *w, int layer, int rows, const float *x,
                         const float *attn)
{
    const um_layer_offsets *at = &g->params.layers[layer];
    layer_acts *acts = &g->layers[layer];

    um_graph_linear(g, w, layer, UM_GRAPH_O, acts->mid, attn, x, rows);
    um_graph_norm(g, g->norm, acts->rstd_mlp, acts->mid, w, at->mlp_norm, rows);
    um_graph_linear(g, w, layer, UM_GRAPH_GATE_UP, acts->gate_up, g->norm, NULL, rows);
}

/* out[rows,C], the layer's output. */
static void mlp_forward(um_graph *g, const float *w, int layer, int rows, const float *x,
                        const float *attn, float *out)
{
    const um_backend_ops *ops = g->be->ops;
    layer_acts *acts = &g->layers[layer];
    int f = g->config.ffn;
    const um_dtype dtype = um_graph_ffn_dtype(g);
    float *ffn = g->wide; /* [rows,F] */

    gate_forward(g, w, layer, rows, x, attn);
    ops->swiglu_forward(g->be, dtype, ffn, acts->gate_up,
                        um_graph_ffn_at(g, acts->gate_up, (size_t)f), 2 * f, rows, f);
    if (dtype == UM_F32)
        um_graph_round(g, ffn, (size_t)rows * (size_t)f);
    um_graph_linear(g, w, layer, UM_GRAPH_DOWN, out, ffn, acts->mid, rows);
}

/* bf16: between a layer's place in float32 and what is kept of it, x excepted. */
static void move_kept(um_graph *g, int layer, int t, bool back)
{
    const um_backend_ops *ops = g->be->ops;
    const layer_acts *acts = &g->layers[layer];
    const layer_store *kept = &g->stored[layer];
    const struct {
        float *wide;
        uint16_t *narrow;
        int columns;
    } parts[] = {{acts->qkv, kept->qkv, um_graph_qkv_width(g)},
                 {acts->attn, kept->attn, um_graph_q_width(g)},
                 {acts->mid, kept->mid, g->config.hidden},
                 {acts->gate_up, kept->gate_up, 2 * g->config.ffn}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        size_t n = (size_t)t * (size_t)parts[i].columns;
        if (parts[i].narrow == NULL)
            continue;
        if (back)
            ops->from_bf16(g->be, parts[i].wide, parts[i].narrow, n);
        else
            ops->to_bf16(g->be, parts[i].narrow, parts[i].wide, n);
    }
}

void um_graph_restore(um_graph *g, const float *w, const um_batch *b, int layer)
{
    if (g->sizes.bf16)
        g->be->ops->from_bf16(g->be, g->layers[layer].x, g->stored[layer].x,
                              (size_t)b->n_rows * (size_t)g->config.hidden);
    if (layer >= g->sizes.recompute) {
        if (g->sizes.bf16)
            move_kept(g, layer, b->n_rows, true);
        return;
    }
    attention_forward(g, w, b, layer, b->spans, b->n_spans);
    gate_forward(g, w, layer, b->n_rows, g->layers[layer].x, g->layers[layer].attn);
}

void um_graph_logits(um_graph *g, const float *w, int first, int n)
{
    um_graph_project(g, g->logits, g->top_norm + (size_t)first * (size_t)g->config.hidden,
                     w + g->params.lm_head, n, g->config.vocab, g->config.hidden);
}

static void head_forward(um_graph *g, const float *w, const um_batch *b, float *logp)
{
    const um_backend_ops *ops = g->be->ops;
    um_graph_norm(g, g->top_norm, g->top_rstd, g->top, w, g->params.final_norm, b->n_trained);
    for (int first = 0; first < b->n_trained; first += g->chunk_rows) {
        int n = um_graph_chunk(g, b, first);
        um_graph_logits(g, w, first, n);
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
    if (weights == NULL)
        return um_fail(err, UM_ERR_STATE, "a model with packed weights is for answering only");
    um_status status = um_graph_check_batch(g, b, err);
    if (status != UM_OK)
        return status;
    ops->embed_forward(g->be, g->layers[0].x, weights + g->params.embedding, b->ids, b->n_rows, c);
    um_graph_round(g, g->layers[0].x, (size_t)b->n_rows * (size_t)c);
    for (int l = 0; l < last; l++) {
        if (g->sizes.bf16)
            ops->to_bf16(g->be, g->stored[l].x, g->layers[l].x, (size_t)b->n_rows * (size_t)c);
        attention_forward(g, weights, b, l, b->spans, b->n_spans);
        mlp_forward(g, weights, l, b->n_rows, g->layers[l].x, g->layers[l].attn,
                    g->layers[l + 1].x);
        if (g->sizes.bf16 && l >= g->sizes.recompute)
            move_kept(g, l, b->n_rows, false);
    }
    if (b->n_trained > 0) {
        layer_acts *acts = &g->layers[last];
        cut_top_spans(g, b);
        attention_forward(g, weights, b, last, g->top_spans, g->n_top_spans);
        ops->gather_rows(g->be, g->top_attn, acts->attn, um_graph_q_width(g), b->trained,
                         b->n_trained, um_graph_q_width(g));
        ops->gather_rows(g->be, g->top_x, acts->x, c, b->trained, b->n_trained, c);
        mlp_forward(g, weights, last, b->n_trained, g->top_x, g->top_attn, g->top);
        head_forward(g, weights, b, logp);
    }
    g->ready_rows = b->n_rows;
    g->ready_trained = b->n_trained;
    return UM_OK;
}
