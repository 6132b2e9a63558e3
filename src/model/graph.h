/*
 * graph.h - forward and backward of the whole model over one packed batch, for training.
 *
 * A batch is T rows (tokens) cut into spans (nn/backend.h): whole sequences, or a prompt and the
 * completions that share it. Every row has a position; a trained entry names the row that predicts
 * and the token it should predict. One row may be named several times: the last row of a prompt
 * predicts the first token of each completion.
 *
 * The last layer's output projection and feed-forward, the final norm and the LM head run on the
 * trained entries only: nothing else needs them. The workspace is sized once for the largest batch;
 * nothing is allocated in a step.
 *
 * Ownership: the graph borrows compute, weights, gradient and batch. Thread-safety: one caller.
 */
#ifndef UM_MODEL_GRAPH_H
#define UM_MODEL_GRAPH_H

#include "model/lora.h"

typedef struct um_batch {
    int n_rows;               /* T */
    const int32_t *ids;       /* [T] */
    const int32_t *positions; /* [T] */
    int n_spans;              /* spans cover the rows 0..T-1 in order, with kv_start = start and */
    const um_span *spans;     /* own_before = 0; prefixes lie before the span that names them */
    const um_range *prefixes;
    int n_trained;          /* tokens scored */
    const int32_t *trained; /* [n_trained] row that predicts; any order, repeats allowed (best in
                               ascending runs: each descent or repeat costs one more call) */
    const int32_t *targets; /* [n_trained] token it predicts */
} um_batch;

/*
 * bf16: the arithmetic of a bfloat16 model with float32 master weights. Weights are rounded as they
 * are used; the output of every operation on [T,C]-like arrays (embedding, norm before and after
 * its weight, matrix products with bias, rotation, attention, swiglu, residual sums), and every
 * gradient of one, is rounded to nearest even. Attention's gradient goes by its rounded output.
 * Factors of products are bfloat16: so are the gradient of the logits and, in attention, the powers
 * and the gradient of the scores (um_attention_shape) as they enter one. Sums, norms' and softmax'
 * statistics, logits, the loss, an adapter's products and all gradients of weights are float32.
 * Activations are kept in 16 bits.
 */
typedef struct um_graph um_graph;

typedef struct um_graph_sizes {
    int max_rows, max_trained; /* of a batch: rows, trained entries */
    /* Activation checkpointing: of the layers 0 .. recompute - 1 forward keeps the input only, and
     * backward computes the rest again, one layer at a time (Chen et al. 2016). 0 to L - 1; costs
     * nearly recompute / L of a forward pass and changes no bit of a result. L - 1 is also the
     * smallest graph for forward passes alone. */
    int recompute;
    int lora_rank; /* of the adapter it will be given; 0: none */
    bool bf16;     /* see below */
} um_graph_sizes;

um_status um_graph_new(um_graph **out, const um_model_config *config, um_compute *compute,
                       const um_graph_sizes *sizes, um_error *err) UM_CHECKED;
void um_graph_free(um_graph *graph);
/* Exactly the workspace um_graph_new allocates; SIZE_MAX when it would overflow. */
size_t um_graph_bytes(const um_model_config *config, const um_graph_sizes *sizes);

/* Adds the adapter to the model in all that follows; the model's own weights are then constant, and
 * gradients are of the adapter's block. Borrowed: its values are read at every call. Its shape and
 * rank must be those of the graph (UM_ERR_INPUT). */
um_status um_graph_adapt(um_graph *graph, const um_lora *lora, um_error *err) UM_CHECKED;

/* Runs the batch and writes logp[n_trained]: log-probability of each target. Activations stay for
 * a backward call. weights: the model's block. A batch over the sizes: UM_ERR_LIMIT; ids, targets,
 * positions or spans out of range: UM_ERR_INPUT, naming the row. */
um_status um_graph_forward(um_graph *graph, const float *weights, const um_batch *batch,
                           float *logp, um_error *err) UM_CHECKED;
/* Adds to gradient (a block like the weights, or like the adapter's) d/dw of sum_i -coef[i] *
 * logp[i]: so coef = 1/N is the mean negative log-likelihood. Must follow a forward of the same
 * batch, once: UM_ERR_STATE otherwise. */
um_status um_graph_backward(um_graph *graph, const float *weights, const um_batch *batch,
                            const float *coef, float *gradient, um_error *err) UM_CHECKED;

#endif
