/*
 * graph_linear.c - a layer's four matrix products, with their adapters (LoRA, lora.h).
 *
 * y = x W^T + s (x A^T) B^T for each adapted part of y's columns. With an adapter W is constant:
 * dA += s (dy B)^T x, dB += s dy^T (x A^T), dx = dy W + s (dy B) A. x A^T is computed again in
 * backward, being rank wide.
 */
#include "model/graph_state.h"

void um_graph_project(const um_graph *g, float *y, const float *x, const float *w, int t, int n,
                      int k)
{
    const um_backend_ops *ops = g->be->ops;
    const um_product p = {.m = t,
                          .n = n,
                          .k = k,
                          .a = {x, UM_F32, k, false},
                          .b = {w, UM_F32, k, true},
                          .c = y,
                          .c_dtype = UM_F32,
                          .ldc = n};
    if (g->sizes.bf16)
        ops->product(g->be, &p);
    else
        ops->gemm(g->be, false, true, t, n, k, 1.0f, x, k, w, k, false, y, n);
}

void um_graph_project_back(const um_graph *g, um_dtype in, um_dtype out, void *dx, const void *dy,
                           const float *w, int t, int n, int k)
{
    const um_backend_ops *ops = g->be->ops;
    const um_product p = {.m = t,
                          .n = k,
                          .k = n,
                          .a = {dy, out, n, false},
                          .b = {w, UM_F32, k, false},
                          .c = dx,
                          .c_dtype = in,
                          .ldc = k,
                          .rounded = g->lora == NULL};
    if (g->sizes.bf16)
        ops->product(g->be, &p);
    else
        ops->gemm(g->be, false, false, t, k, n, 1.0f, dy, n, w, k, false, dx, k);
}

void um_graph_project_gradient(const um_graph *g, um_dtype in, um_dtype out, float *dw,
                               const void *dy, const void *x, int t, int n, int k)
{
    const um_backend_ops *ops = g->be->ops;
    const um_product p = {.m = n,
                          .n = k,
                          .k = t,
                          .a = {dy, out, n, true},
                          .b = {x, in, k, false},
                          .c = dw,
                          .c_dtype = UM_F32,
                          .ldc = k,
                          .accumulate = true};
    if (g->sizes.bf16)
        ops->product(g->be, &p);
    else
        ops->gemm(g->be, true, false, n, k, t, 1.0f, dy, n, x, k, true, dw, k);
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

/* w [N,K] of a product, the types of x and y, and the adapter's slots [first, end) on it. */
typedef struct matrix {
    size_t offset;
    int n, k;
    um_dtype in, out;
    int first, end;
} matrix;

static matrix matrix_of(const um_graph *g, int layer, um_graph_matrix which)
{
    const um_layer_offsets *at = &g->params.layers[layer];
    const um_dtype ffn = um_graph_ffn_dtype(g);
    int c = g->config.hidden, f = g->config.ffn;
    switch (which) {
    case UM_GRAPH_QKV:
        return (matrix){at->qkv, um_graph_qkv_width(g), c, UM_F32, UM_F32, 0, 3};
    case UM_GRAPH_O:
        return (matrix){at->o, c, um_graph_q_width(g), UM_F32, UM_F32, 3, 4};
    case UM_GRAPH_GATE_UP:
        return (matrix){at->gate_up, 2 * f, c, UM_F32, ffn, 4, 6};
    case UM_GRAPH_DOWN:
        break;
    }
    return (matrix){at->down, c, f, ffn, UM_F32, 6, 7};
}

/* bf16: y and all that is added to it, in one call. */
static void linear_rounded(um_graph *g, const float *w, const matrix *m, const float *bias,
                           float *y, const float *x, const float *residual, int t)
{
    const um_product p = {.m = t,
                          .n = m->n,
                          .k = m->k,
                          .a = {x, m->in, m->k, false},
                          .b = {w + m->offset, UM_F32, m->k, true},
                          .c = y,
                          .c_dtype = m->out,
                          .ldc = m->n,
                          .rounded = true,
                          .bias = bias,
                          .residual = residual};
    g->be->ops->product(g->be, &p);
}

static void adapters_forward(um_graph *g, int layer, const matrix *m, float *y, const float *x,
                             int t)
{
    const um_backend_ops *ops = g->be->ops;
    int r = g->lora->rank;
    for (int s = m->first; s < m->end; s++) {
        const um_lora_slot *slot = &g->lora->layers[layer][s];
        if (slot->in == 0)
            continue;
        ops->gemm(g->be, false, true, t, r, m->k, 1.0f, x, m->k, g->lora->data + slot->a, m->k,
                  false, g->low, r);
        ops->gemm(g->be, false, true, t, slot->out, r, g->lora->scale, g->low, r,
                  g->lora->data + slot->b, r, true, y + slot->column, m->n);
    }
}

void um_graph_linear(um_graph *g, const float *w, int layer, um_graph_matrix which, void *y,
                     const void *x, const float *residual, int t)
{
    const um_backend_ops *ops = g->be->ops;
    const matrix m = matrix_of(g, layer, which);
    const size_t n = (size_t)t * (size_t)m.n, at = g->params.layers[layer].qkv_bias;
    const float *bias = which == UM_GRAPH_QKV && at != SIZE_MAX ? w + at : NULL;
    if (g->sizes.bf16 && g->lora == NULL) {
        linear_rounded(g, w, &m, bias, y, x, residual, t);
        return;
    }
    um_graph_project(g, y, x, w + m.offset, t, m.n, m.k);
    if (g->lora != NULL)
        adapters_forward(g, layer, &m, y, x, t);
    if (bias != NULL && g->sizes.bf16) {
        ops->round_bf16(g->be, g->bias, bias, (size_t)m.n);
        bias = g->bias;
    }
    if (bias != NULL)
        ops->bias_forward(g->be, y, bias, t, m.n);
    um_graph_round(g, y, n);
    if (residual != NULL) {
        ops->add(g->be, y, residual, n);
        um_graph_round(g, y, n);
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
                              void *dx, float *gradient, const void *dy, const void *x, int t)
{
    const matrix m = matrix_of(g, layer, which);
    if (dx != NULL)
        um_graph_project_back(g, m.in, m.out, dx, dy, w + m.offset, t, m.n, m.k);
    if (g->lora == NULL) {
        um_graph_project_gradient(g, m.in, m.out, gradient + m.offset, dy, x, t, m.n, m.k);
        return;
    }
    adapters_backward(g, layer, &m, dx, gradient, dy, x, t);
    if (dx != NULL)
        um_graph_round(g, dx, (size_t)t * (size_t)m.k);
}
