/*
 * graph_linear.c - a layer's four matrix products, with their adapters (LoRA, lora.h).
 *
 * y = x W^T + s (x A^T) B^T for each adapted part of y's columns. With an adapter W is constant:
 * dA += s (dy B)^T x, dB += s dy^T (x A^T), dx = dy W + s (dy B) A. x A^T is computed again in
 * backward, being rank wide.
 */
#include "model/graph_state.h"

/* Rows of w that fit the panel. */
static int panel_rows(int k, int n)
{
    int rows = UM_GRAPH_PANEL_FLOATS / k;
    return rows < 1 ? 1 : rows < n ? rows : n;
}

void um_graph_project(const um_graph *g, float *y, const float *x, const float *w, int t, int n,
                      int k)
{
    const um_backend_ops *ops = g->be->ops;
    if (!g->sizes.bf16) {
        ops->gemm(g->be, false, true, t, n, k, 1.0f, x, k, w, k, false, y, n);
        return;
    }
    int rows = panel_rows(k, n);
    for (int first = 0; first < n; first += rows) {
        int count = n - first < rows ? n - first : rows;
        ops->round_bf16(g->be, g->panel, w + (size_t)first * (size_t)k, (size_t)count * (size_t)k);
        ops->gemm(g->be, false, true, t, count, k, 1.0f, x, k, g->panel, k, false, y + first, n);
    }
}

void um_graph_project_back(const um_graph *g, float *dx, const float *dy, const float *w, int t,
                           int n, int k)
{
    const um_backend_ops *ops = g->be->ops;
    if (!g->sizes.bf16) {
        ops->gemm(g->be, false, false, t, k, n, 1.0f, dy, n, w, k, false, dx, k);
        return;
    }
    int rows = panel_rows(k, n);
    for (int first = 0; first < n; first += rows) {
        int count = n - first < rows ? n - first : rows;
        ops->round_bf16(g->be, g->panel, w + (size_t)first * (size_t)k, (size_t)count * (size_t)k);
        ops->gemm(g->be, false, false, t, k, count, 1.0f, dy + first, n, g->panel, k, first > 0, dx,
                  k);
    }
}

void um_graph_norm(const um_graph *g, float *out, float *rstd, const float *x, const float *w,
                   size_t offset, int t)
{
    const um_backend_ops *ops = g->be->ops;
    int c = g->config.hidden;
    ops->rmsnorm_forward(g->be, out, rstd, x, g->sizes.bf16 ? g->ones : w + offset, t, c,
                         g->config.rms_eps);
    if (g->sizes.bf16)
        ops->weigh_bf16(g->be, out, w + offset, t, c);
}

void um_graph_norm_backward(const um_graph *g, float *dx, float *gradient, const float *dout,
                            const float *x, const float *w, size_t offset, const float *rstd, int t)
{
    const um_backend_ops *ops = g->be->ops;
    int c = g->config.hidden;
    const float *weights = w + offset;
    if (g->sizes.bf16) {
        ops->round_bf16(g->be, g->norm_w, weights, (size_t)c);
        weights = g->norm_w;
    }
    ops->rmsnorm_backward(g->be, dx, g->lora == NULL ? gradient + offset : g->frozen, dout, x,
                          weights, rstd, t, c);
    um_graph_round(g, dx, (size_t)t * (size_t)c);
}

/* w [N,K] of a product and the adapter's slots [first, end) on it. */
typedef struct matrix {
    size_t offset;
    int n, k;
    int first, end;
} matrix;

static matrix matrix_of(const um_graph *g, int layer, um_graph_matrix which)
{
    const um_layer_offsets *at = &g->params.layers[layer];
    int c = g->config.hidden, f = g->config.ffn;
    switch (which) {
    case UM_GRAPH_QKV:
        return (matrix){at->qkv, um_graph_qkv_width(g), c, 0, 3};
    case UM_GRAPH_O:
        return (matrix){at->o, c, um_graph_q_width(g), 3, 4};
    case UM_GRAPH_GATE_UP:
        return (matrix){at->gate_up, 2 * f, c, 4, 6};
    case UM_GRAPH_DOWN:
        break;
    }
    return (matrix){at->down, c, f, 6, 7};
}

void um_graph_linear(um_graph *g, const float *w, int layer, um_graph_matrix which, float *y,
                     const float *x, int t)
{
    const um_backend_ops *ops = g->be->ops;
    matrix m = matrix_of(g, layer, which);
    um_graph_project(g, y, x, w + m.offset, t, m.n, m.k);
    int r = g->lora != NULL ? g->lora->rank : 0;
    for (int s = m.first; s < m.end && g->lora != NULL; s++) {
        const um_lora_slot *slot = &g->lora->layers[layer][s];
        if (slot->in == 0)
            continue;
        ops->gemm(g->be, false, true, t, r, m.k, 1.0f, x, m.k, g->lora->data + slot->a, m.k, false,
                  g->low, r);
        ops->gemm(g->be, false, true, t, slot->out, r, g->lora->scale, g->low, r,
                  g->lora->data + slot->b, r, true, y + slot->column, m.n);
    }
    if (which == UM_GRAPH_QKV && g->params.layers[layer].qkv_bias != SIZE_MAX) {
        const float *bias = w + g->params.layers[layer].qkv_bias;
        if (g->sizes.bf16) {
            ops->round_bf16(g->be, g->panel, bias, (size_t)m.n);
            bias = g->panel;
        }
        ops->bias_forward(g->be, y, bias, t, m.n);
    }
    um_graph_round(g, y, (size_t)t * (size_t)m.n);
}

/* What the adapters of a product add to dx (NULL: not wanted) and to their gradient. */
static void adapters_backward(um_graph *g, int layer, const matrix *m, float *dx, float *gradient,
                              const float *dy, const float *x, int t)
{
    const um_backend_ops *ops = g->be->ops;
    int r = g->lora->rank;
    for (int s = m->first; s < m->end; s++) {
        const um_lora_slot *slot = &g->lora->layers[layer][s];
        const float *a = g->lora->data + slot->a, *b = g->lora->data + slot->b;
        const float *part = dy + slot->column;
        if (slot->in == 0)
            continue;
        ops->gemm(g->be, false, true, t, r, m->k, 1.0f, x, m->k, a, m->k, false, g->low, r);
        ops->gemm(g->be, false, false, t, r, slot->out, g->lora->scale, part, m->n, b, r, false,
                  g->dlow, r);
        ops->gemm(g->be, true, false, slot->out, r, t, g->lora->scale, part, m->n, g->low, r, true,
                  gradient + slot->b, r);
        ops->gemm(g->be, true, false, r, m->k, t, 1.0f, g->dlow, r, x, m->k, true,
                  gradient + slot->a, m->k);
        if (dx != NULL)
            ops->gemm(g->be, false, false, t, m->k, r, 1.0f, g->dlow, r, a, m->k, true, dx, m->k);
    }
}

void um_graph_linear_backward(um_graph *g, const float *w, int layer, um_graph_matrix which,
                              float *dx, float *gradient, const float *dy, const float *x, int t)
{
    matrix m = matrix_of(g, layer, which);
    if (dx != NULL)
        um_graph_project_back(g, dx, dy, w + m.offset, t, m.n, m.k);
    if (g->lora != NULL)
        adapters_backward(g, layer, &m, dx, gradient, dy, x, t);
    else
        um_graph_project_gradient(g, gradient + m.offset, dy, x, t, m.n, m.k);
    if (dx != NULL)
        um_graph_round(g, dx, (size_t)t * (size_t)m.k);
}
