/*
 * random.c - see random.h. Rows are cut from one pool of random numbers at random places: a model
 * of billions of weights is made at the speed of packing.
 */
#include "model/random.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"
#include "nn/packed.h"

enum { POOL = 1 << 18 };
#define DEVIATION 0.02

typedef struct random_job {
    const float *pool;
    um_packed *to;
    uint64_t seed;
} random_job;

static void make_panels(void *ctx, size_t begin, size_t end, int thread)
{
    const random_job *job = ctx;
    const um_packed *to = job->to;
    (void)thread;
    for (size_t p = begin; p < end; p++) {
        const float *rows[UM_PANEL];
        um_rng rng;
        um_rng_init(&rng, job->seed, UM_RNG_INIT, p, 0, 0);
        for (int j = 0, row; j < UM_PANEL; j++) {
            const float *at = job->pool + (size_t)(um_rng_uniform(&rng) * POOL);
            rows[j] = um_packed_source((int)p, j, to->n, to->pair, &row) ? at : NULL;
        }
        um_packed_panel(to->dtype,
                        (char *)to->buf.data + p * um_packed_panel_bytes(to->dtype, to->k), rows,
                        to->k);
    }
}

/* Fills *to, whose dtype, n, k and pair are set. */
static um_status make(um_packed *to, um_backend *be, const float *pool, uint64_t seed,
                      um_error *err)
{
    const size_t bytes = um_packed_bytes(to->dtype, um_packed_outputs(to->n, to->pair), to->k);
    random_job job = {pool, to, seed};
    if (bytes == 0)
        return um_fail_memory(err, "random weights");
    um_status status = be->ops->alloc(be, &to->buf, bytes, err);
    if (status != UM_OK)
        return status;
    to->data = to->buf.data;
    um_pool_run(be->pool, bytes / um_packed_panel_bytes(to->dtype, to->k), 1, make_panels, &job);
    return UM_OK;
}

um_status um_matrices_random(um_matrices *out, um_backend *be, const um_model_config *config,
                             um_dtype dtype, uint64_t seed, um_error *err)
{
    const int c = config->hidden, heads = config->heads * config->head_dim;
    const int q = heads + 2 * config->kv_heads * config->head_dim, f = config->ffn;
    const size_t widest = (size_t)(c > heads ? (c > f ? c : f) : (heads > f ? heads : f));
    um_matrices m = {.dtype = dtype, .n_layers = config->layers};
    m.layers = um_calloc((size_t)config->layers, sizeof *m.layers);
    float *pool = um_calloc(POOL + widest, sizeof *pool);
    m.vectors = um_calloc((size_t)c + (size_t)q, sizeof *m.vectors);
    um_status status = m.layers != NULL && pool != NULL && m.vectors != NULL
                           ? UM_OK
                           : um_fail_memory(err, "random weights");
    um_rng rng;
    um_rng_init(&rng, seed, UM_RNG_INIT, 0, 0, 1);
    for (size_t i = 0; status == UM_OK && i < POOL + widest; i++)
        pool[i] = (float)(DEVIATION * um_rng_normal(&rng));
    for (int i = 0; status == UM_OK && i < c; i++)
        m.vectors[i] = 1.0f;
    m.final_norm = m.vectors;
    for (int l = 0; l < config->layers && status == UM_OK; l++) {
        um_layer_matrices *w = &m.layers[l];
        const um_packed shapes[] = {{.n = q, .k = c},
                                    {.n = c, .k = heads},
                                    {.n = 2 * f, .k = c, .pair = true},
                                    {.n = c, .k = f}};
        um_packed *to[] = {&w->qkv, &w->o, &w->gate_up, &w->down};
        w->attn_norm = w->mlp_norm = m.vectors;
        w->qkv_bias = config->qkv_bias ? m.vectors + c : NULL;
        for (int i = 0; i < 4 && status == UM_OK; i++) {
            *to[i] = shapes[i];
            to[i]->dtype = dtype;
            status = make(to[i], be, pool, seed + (uint64_t)(4 * l + i + 1), err);
        }
    }
    m.head = (um_packed){.dtype = dtype, .n = config->vocab, .k = c};
    if (status == UM_OK)
        status = make(&m.head, be, pool, seed, err);
    m.embedding = m.head;
    m.embedding.buf = (um_buf){0};
    free(pool);
    if (status != UM_OK) {
        um_matrices_dispose(&m, be);
        return status;
    }
    *out = m;
    return UM_OK;
}
