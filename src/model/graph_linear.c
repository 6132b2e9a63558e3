/*
 * graph_linear.c - a layer's four matrix products, with their adapters (LoRA, lora.h).
 *
 * y = x W^T + s (x A^T) B^T for each adapted part of y's columns. With an adapter W is constant:
 * dA += s (dy B)^T x, dB += s dy^T (x A^T), dx = dy W + s (dy B) A. x A^T is computed again in
 * backward, being rank wide.
 */
#include "model/graph_state.h"

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
    if (g->lora == NULL)
        return;
    int r = g->lora->rank;
    for (int s = m.first; s < m.end; s++) {
        const um_lora_slot *slot = &g->lora->layers[layer][s];
        if (slot->in == 0)
            continue;
        um_graph_project(g, g->low, x, g->lora->data + slot->a, t, r, m.k);
        ops->gemm(g->be, false, true, t, slot->out, r, g->lora->scale, g->low, r,
                  g->lora->data + slot->b, r, true, y + slot->column, m.n);
    }
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
        um_graph_project(g, g->low, x, a, t, r, m->k);
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
}
