/* matrices.c - see matrices.h. */
#include "model/matrices.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "model/params.h"

static um_status pack_layer(um_layer_matrices *out, um_backend *be, const um_model *model,
                            um_dtype dtype, int layer, um_error *err)
{
    const um_model_config *config = &model->config;
    const um_layer_offsets *at = &model->params.layers[layer];
    const float *data = model->data;
    const int c = config->hidden, heads = config->heads * config->head_dim;
    const int q = heads + 2 * config->kv_heads * config->head_dim;
    out->attn_norm = data + at->attn_norm;
    out->mlp_norm = data + at->mlp_norm;
    out->qkv_bias = config->qkv_bias ? data + at->qkv_bias : NULL;
    const struct {
        um_packed *to;
        const float *from;
        int n, k;
        bool pair;
    } parts[] = {{&out->qkv, data + at->qkv, q, c, false},
                 {&out->o, data + at->o, c, heads, false},
                 {&out->gate_up, data + at->gate_up, 2 * config->ffn, c, true},
                 {&out->down, data + at->down, c, config->ffn, false}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        um_status status = be->ops->pack(be, parts[i].to, dtype, parts[i].from, parts[i].n,
                                         parts[i].k, parts[i].pair, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

um_status um_matrices_pack(um_matrices *out, um_backend *be, const um_model *model, um_dtype dtype,
                           um_error *err)
{
    const um_model_config *config = &model->config;
    const float *data = model->data;
    um_matrices m = {.dtype = dtype,
                     .n_layers = config->layers,
                     .final_norm = data + model->params.final_norm,
                     .table = dtype == UM_F32 ? data + model->params.embedding : NULL};
    m.layers = um_calloc((size_t)config->layers, sizeof *m.layers);
    um_status status = m.layers != NULL ? UM_OK : um_fail_memory(err, "weights");
    for (int l = 0; l < config->layers && status == UM_OK; l++)
        status = pack_layer(&m.layers[l], be, model, dtype, l, err);
    if (status == UM_OK)
        status = be->ops->pack(be, &m.head, dtype, data + model->params.lm_head, config->vocab,
                               config->hidden, false, err);
    if (status == UM_OK && dtype != UM_F32) {
        if (config->tied) {
            m.embedding = m.head;
            m.embedding.buf = (um_buf){0};
        } else {
            status = be->ops->pack(be, &m.embedding, dtype, data + model->params.embedding,
                                   config->vocab, config->hidden, false, err);
        }
    }
    if (status != UM_OK) {
        um_matrices_dispose(&m, be);
        return status;
    }
    *out = m;
    return UM_OK;
}

static void release(um_packed *packed, um_backend *be)
{
    if (packed->buf.data != NULL)
        be->ops->unpack(be, packed);
}

void um_matrices_dispose(um_matrices *m, um_backend *be)
{
    for (int l = 0; m->layers != NULL && l < m->n_layers; l++) {
        release(&m->layers[l].qkv, be);
        release(&m->layers[l].o, be);
        release(&m->layers[l].gate_up, be);
        release(&m->layers[l].down, be);
    }
    release(&m->head, be);
    release(&m->embedding, be);
    free(m->layers);
    free(m->vectors);
    *m = (um_matrices){0};
}

um_status um_matrices_head_rows(um_packed *out, um_backend *be, const um_matrices *m,
                                const int32_t *rows, int n, um_error *err)
{
    const size_t k = (size_t)m->head.k;
    float *w = um_calloc((size_t)n * k, sizeof *w);
    if (w == NULL)
        return um_fail_memory(err, "rows of the head");
    be->ops->packed_rows(be, w, &m->head, rows, n);
    /* Bytes come out of floats again as they were: a block's largest is 127 of its scale. */
    um_status status = be->ops->pack(be, out, m->dtype, w, n, m->head.k, false, err);
    free(w);
    return status;
}
