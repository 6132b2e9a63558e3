/*
 * graph_state.h (internal) - what the training graph holds between forward and backward.
 *
 * Letters: T rows, N trained entries, C model width, H query heads, G key/value heads, D head
 * width, W = (H + 2 G) D, F feed-forward width, V vocabulary, L layers.
 */
#ifndef UM_MODEL_GRAPH_STATE_H
#define UM_MODEL_GRAPH_STATE_H

#include "model/graph.h"
#include "model/lora.h"

/* What one layer keeps for its backward pass. All but x of a recomputed layer lies where the next
 * layer puts its own. */
typedef struct layer_acts {
    float *x;         /* [T,C] its input */
    float *rstd_attn; /* [T] */
    float *qkv;       /* [T,W], q and k rotated */
    float *attn;      /* [T,H*D] */
    float *lse;       /* [T,H] */
    float *mid;       /* [T,C], last layer [N,C] */
    float *rstd_mlp;  /* [T], last layer [N] */
    void *gate_up;    /* [T,2F], last layer [N,2F], of um_graph_ffn_dtype */
} layer_acts;

/* bf16: what is kept of a layer but the last; NULL where it is not, or where it lies so anyway. */
typedef struct layer_store {
    uint16_t *x, *qkv, *attn, *mid, *gate_up;
} layer_store;

struct um_graph {
    um_model_config config;
    um_params params;
    um_backend *be; /* borrowed */
    um_attention_shape shape;
    um_graph_sizes sizes;
    int chunk_rows;
    float *inv_freq;    /* [D/2], host */
    um_span *top_spans; /* [max rows], host: the spans of the last layer */
    int n_top_spans;
    bool *is_trained;    /* [max rows], host: scratch */
    layer_acts *layers;  /* [L]; bf16: all one place but lse */
    layer_store *stored; /* [L], bf16 only */
    um_buf workspace;
    const um_lora *lora; /* borrowed; NULL: gradients are of the weights */

    float *top_attn;   /* [N,H*D] attention output of the last layer at the trained rows */
    float *top_x;      /* [N,C] its input there */
    float *top;        /* [N,C] its output there: input of the final norm */
    float *top_rstd;   /* [N] */
    float *top_norm;   /* [N,C] input of the head */
    float *logp;       /* [N] */
    float *dtop;       /* [N,C] gradient of top */
    float *dtop_attn;  /* [N,H*D] gradient of top_attn */
    float *norm;       /* [max(T,N),C] output of a norm */
    float *dnorm;      /* [max(T,N),C] its gradient */
    float *dx;         /* [T,C] gradient of the residual stream */
    float *wide;       /* [max(T,N), max(4F, H*D + W)]: ffn, dffn, dgate_up (of um_graph_ffn_dtype)
                          or dattn, dqkv */
    float *logits;     /* [chunk_rows,V] */
    float *low, *dlow; /* [max(T,N),rank] x A^T and its gradient */
    float *bias;       /* bf16 with an adapter: [W] a product's bias, rounded */
    float *ones;       /* bf16: [C] */
    float *norm_w;     /* bf16: [C] a norm's weights, rounded */
    float *frozen;     /* [C] gradients of norms that are not trained: written, never read */

    int ready_rows, ready_trained; /* of the forward pass a backward may follow; -1: none */
};

/* Columns of q, of k or v, and of all three. */
static inline int um_graph_q_width(const um_graph *g)
{
    return g->config.heads * g->config.head_dim;
}

static inline int um_graph_kv_width(const um_graph *g)
{
    return g->config.kv_heads * g->config.head_dim;
}

static inline int um_graph_qkv_width(const um_graph *g)
{
    return um_graph_q_width(g) + 2 * um_graph_kv_width(g);
}

/* Of the arrays between the mlp half's products: as bfloat16 they are kept as they are made. An
 * adapter's products are of float32. */
static inline um_dtype um_graph_ffn_dtype(const um_graph *g)
{
    return g->sizes.bf16 && g->sizes.lora_rank == 0 ? UM_BF16 : UM_F32;
}

/* What lies n values behind in such an array. */
static inline void *um_graph_ffn_at(const um_graph *g, void *array, size_t n)
{
    size_t size = um_graph_ffn_dtype(g) == UM_BF16 ? sizeof(uint16_t) : sizeof(float);
    return (char *)array + n * size;
}

/* The trained entries in chunks of the logits' buffer: rows of the chunk that starts at `first`. */
static inline int um_graph_chunk(const um_graph *g, const um_batch *b, int first)
{
    return b->n_trained - first < g->chunk_rows ? b->n_trained - first : g->chunk_rows;
}

/* bf16: rounds what an operation made; float32: nothing. */
static inline void um_graph_round(const um_graph *g, float *x, size_t n)
{
    if (g->sizes.bf16)
        g->be->ops->round_bf16(g->be, x, x, n);
}

/* y[T,N] = x[T,K] w[N,K]^T. y is not rounded. */
void um_graph_project(const um_graph *g, float *y, const float *x, const float *w, int t, int n,
                      int k);
/* Backward of project: dx[T,K] = dy[T,N] w[N,K], rounded in bf16, and dw[N,K] += dy^T x. in, out:
 * the types of x and dx, and of dy. */
void um_graph_project_back(const um_graph *g, um_dtype in, um_dtype out, void *dx, const void *dy,
                           const float *w, int t, int n, int k);
void um_graph_project_gradient(const um_graph *g, um_dtype in, um_dtype out, float *dw,
                               const void *dy, const void *x, int t, int n, int k);

/* RMSNorm of x[t,C] by the weights at an offset of the block, and backward: dx += ... */
void um_graph_norm(const um_graph *g, float *out, float *rstd, const float *x, const float *w,
                   size_t offset, int t);
void um_graph_norm_backward(const um_graph *g, float *dx, float *gradient, const float *dout,
                            const float *x, const float *w, size_t offset, const float *rstd,
                            int t);

/* A layer's matrix products: q, k, v together; gate and up together. */
typedef enum um_graph_matrix {
    UM_GRAPH_QKV,
    UM_GRAPH_O,
    UM_GRAPH_GATE_UP,
    UM_GRAPH_DOWN
} um_graph_matrix;
/* y[t,N] = x[t,K] W^T, adapters included, + residual unless it is NULL. y of gate and up, and x of
 * down, are of um_graph_ffn_dtype, and so are their gradients; the others are float32. */
void um_graph_linear(um_graph *g, const float *w, int layer, um_graph_matrix which, void *y,
                     const void *x, const float *residual, int t);
/* dx[t,K] from dy[t,N] (NULL: not wanted); adds to the gradient of weights or adapters. */
void um_graph_linear_backward(um_graph *g, const float *w, int layer, um_graph_matrix which,
                              void *dx, float *gradient, const void *dy, const void *x, int t);

/* UM_ERR_LIMIT or UM_ERR_INPUT, naming the row. */
um_status um_graph_check_batch(const um_graph *g, const um_batch *b, um_error *err) UM_CHECKED;
/* Puts what a layer but the last kept for backward in its place: computed again, or widened. */
void um_graph_restore(um_graph *g, const float *w, const um_batch *b, int layer);
/* Logits of the trained entries [first, first + n) into the chunk buffer. */
void um_graph_logits(um_graph *g, const float *w, int first, int n);

#endif
