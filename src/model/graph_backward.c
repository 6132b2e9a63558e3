/* graph_backward.c - the backward pass of the training graph, by hand. See graph.c. */
#include "base/error.h"
#include "model/graph_state.h"

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

/* dtop[N,C] from the coefficients; adds the gradients of head and final norm. */
static void head_backward(um_graph *g, const float *w, const um_batch *b, const float *coef,
                          float *gradient)
{
    const um_backend_ops *ops = g->be->ops;
    int c = g->config.hidden, v = g->config.vocab;
    bool recompute = b->n_trained > g->chunk_rows; /* else the logits are still there */
    for (int first = 0; first < b->n_trained; first += g->chunk_rows) {
        int n = um_graph_chunk(g, b, first);
        size_t at = (size_t)first * (size_t)c;
        if (recompute)
            um_graph_logits(g, w, first, n);
        ops->logprob_backward(g->be, g->logits, b->targets + first, coef + first, n, v);
        um_graph_project_back(g, UM_F32, UM_F32, g->dnorm + at, g->logits, w + g->params.lm_head, n,
                              v, c);
        if (g->lora == NULL)
            um_graph_project_gradient(g, UM_F32, UM_F32, gradient + g->params.lm_head, g->logits,
                                      g->top_norm + at, n, v, c);
    }
    if (g->lora != NULL)
        um_graph_round(g, g->dnorm, (size_t)b->n_trained * (size_t)c);
    ops->zero(g->be, g->dtop, (size_t)b->n_trained * (size_t)c * sizeof *g->dtop);
    um_graph_norm_backward(g, g->dtop, gradient, g->dnorm, g->top, w, g->params.final_norm,
                           g->top_rstd, b->n_trained);
}

/* dx[rows,C]: gradient of the layer's output on entry, of mid (which is that of x by the residual
 * path) on return. dattn[rows,H*D] is written last: it may lie at the start of g->wide. */
static void mlp_backward(um_graph *g, const float *w, int layer, int rows, const float *attn,
                         float *dx, float *dattn, float *gradient)
{
    const um_backend_ops *ops = g->be->ops;
    const um_layer_offsets *at = &g->params.layers[layer];
    layer_acts *acts = &g->layers[layer];
    int f = g->config.ffn;
    const um_dtype dtype = um_graph_ffn_dtype(g);
    size_t n = (size_t)rows * (size_t)f;
    void *ffn = g->wide, *dffn = um_graph_ffn_at(g, ffn, n),
         *dgate_up = um_graph_ffn_at(g, dffn, n);
    void *up = um_graph_ffn_at(g, acts->gate_up, (size_t)f); /* [rows,F] [rows,F] [rows,2F] */

    ops->swiglu_forward(g->be, dtype, ffn, acts->gate_up, up, 2 * f, rows, f);
    if (dtype == UM_F32)
        um_graph_round(g, ffn, n);
    um_graph_linear_backward(g, w, layer, UM_GRAPH_DOWN, dffn, gradient, dx, ffn, rows);
    ops->swiglu_backward(g->be, dtype, dgate_up, um_graph_ffn_at(g, dgate_up, (size_t)f), 2 * f,
                         dffn, acts->gate_up, up, 2 * f, rows, f);
    if (dtype == UM_F32)
        um_graph_round(g, dgate_up, 2 * n);
    um_graph_norm(g, g->norm, acts->rstd_mlp, acts->mid, w, at->mlp_norm, rows);
    um_graph_linear_backward(g, w, layer, UM_GRAPH_GATE_UP, g->dnorm, gradient, dgate_up, g->norm,
                             rows);
    um_graph_norm_backward(g, dx, gradient, g->dnorm, acts->mid, w, at->mlp_norm, acts->rstd_mlp,
                           rows);
    um_graph_linear_backward(g, w, layer, UM_GRAPH_O, dattn, gradient, dx, attn, rows);
}

/* Adds to g->dx[T,C] what reaches the layer's input through attention. dqkv[T,W] is scratch. */
static void attention_backward(um_graph *g, const float *w, const um_batch *b, int layer,
                               const um_span *spans, int n_spans, const float *dattn, float *dqkv,
                               float *gradient)
{
    const um_backend_ops *ops = g->be->ops;
    const um_layer_offsets *at = &g->params.layers[layer];
    layer_acts *acts = &g->layers[layer];
    int t = b->n_rows, width = um_graph_qkv_width(g), ld = um_graph_q_width(g);
    const float *k = acts->qkv + ld, *v = k + um_graph_kv_width(g);
    float *dk = dqkv + ld, *dv = dk + um_graph_kv_width(g);

    ops->zero(g->be, dqkv, (size_t)t * (size_t)width * sizeof *dqkv);
    ops->attention_backward(g->be, dqkv, width, dk, dv, width, dattn, ld, acts->attn, ld, acts->lse,
                            acts->qkv, width, k, v, width, &g->shape, spans, n_spans, b->prefixes);
    um_graph_round(g, dqkv, (size_t)t * (size_t)width);
    ops->rope(g->be, dqkv, width, t, g->config.heads + g->config.kv_heads, g->config.head_dim,
              b->positions, g->inv_freq, true);
    um_graph_round(g, dqkv, (size_t)t * (size_t)width);
    if (at->qkv_bias != SIZE_MAX && g->lora == NULL)
        ops->bias_backward(g->be, gradient + at->qkv_bias, dqkv, t, width);
    um_graph_norm(g, g->norm, acts->rstd_attn, acts->x, w, at->attn_norm, t);
    bool last = g->lora != NULL && layer == 0; /* below it nothing is trained */
    um_graph_linear_backward(g, w, layer, UM_GRAPH_QKV, last ? NULL : g->dnorm, gradient, dqkv,
                             g->norm, t);
    if (last)
        return;
    um_graph_norm_backward(g, g->dx, gradient, g->dnorm, acts->x, w, at->attn_norm, acts->rstd_attn,
                           t);
}

/* The last layer: its mlp half ran on the trained entries, so the gradients of attention output
 * and residual stream are added to otherwise zero rows. */
static void last_layer_backward(um_graph *g, const float *w, const um_batch *b, float *gradient)
{
    const um_backend_ops *ops = g->be->ops;
    int last = g->config.layers - 1, c = g->config.hidden, width = um_graph_q_width(g);
    size_t rows = (size_t)b->n_rows;
    float *dattn = g->wide, *dqkv = dattn + rows * (size_t)width;

    mlp_backward(g, w, last, b->n_trained, g->top_attn, g->dtop, g->dtop_attn, gradient);
    ops->zero(g->be, dattn, rows * (size_t)width * sizeof *dattn);
    scatter_add(g, dattn, g->dtop_attn, b, width);
    um_graph_round(g, dattn, rows * (size_t)width);
    ops->zero(g->be, g->dx, rows * (size_t)c * sizeof *g->dx);
    scatter_add(g, g->dx, g->dtop, b, c);
    um_graph_round(g, g->dx, rows * (size_t)c);
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
    float *dattn = g->wide, *dqkv = dattn + (size_t)b->n_rows * (size_t)um_graph_q_width(g);
    for (int l = g->config.layers - 2; l >= 0; l--) {
        um_graph_restore(g, weights, b, l);
        mlp_backward(g, weights, l, b->n_rows, g->layers[l].attn, g->dx, dattn, gradient);
        attention_backward(g, weights, b, l, b->spans, b->n_spans, dattn, dqkv, gradient);
    }
    if (g->lora == NULL)
        g->be->ops->embed_backward(g->be, gradient + g->params.embedding, g->dx, b->ids, b->n_rows,
                                   g->config.hidden);
    return UM_OK;
}
