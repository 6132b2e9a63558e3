/*
 * kv.h - where cached keys and values lie: pages, heads, halves. See kv.c.
 */
#ifndef UM_NN_CPU_KV_H
#define UM_NN_CPU_KV_H

#include "nn/cpu/cpu.h"

enum { UM_KV_LANE = 32 }; /* head widths are padded to it, with zeros */

static inline int um_kv_width(const um_kv_cache *cache)
{
    return (cache->head_dim + UM_KV_LANE - 1) / UM_KV_LANE * UM_KV_LANE;
}

/* K or V of one head in one page. */
static inline size_t um_kv_half_bytes(const um_kv_cache *cache)
{
    const size_t item = cache->dtype == UM_BF16 ? sizeof(uint16_t) : sizeof(float);
    return UM_KV_PAGE * (size_t)um_kv_width(cache) * item;
}

static inline char *um_kv_page(const um_kv_cache *cache, int layer, int page)
{
    const size_t at = (size_t)layer * (size_t)cache->pages + (size_t)page;
    return (char *)cache->buf.data + at * cache->page_bytes;
}

static inline char *um_kv_half(const um_kv_cache *cache, int layer, int page, int head, bool value)
{
    const size_t at = 2 * (size_t)head + (value ? 1 : 0);
    return um_kv_page(cache, layer, page) + at * um_kv_half_bytes(cache);
}

um_status um_cpu_kv_open(um_backend *be, um_kv_cache *cache, um_dtype dtype, int layers, int pages,
                         int n_kv_heads, int head_dim, um_error *err);
void um_cpu_kv_close(um_backend *be, um_kv_cache *cache);
void um_cpu_kv_copy(um_backend *be, um_kv_cache *cache, int to, int from);

void um_ref_kv_write(um_backend *be, um_kv_cache *cache, int layer, const float *k, const float *v,
                     int ld, const um_kv_span *spans, int n_spans);
void um_ref_kv_attention(um_backend *be, float *out, int ldo, const float *q, int ldq,
                         const um_kv_cache *cache, int layer, const um_attention_shape *shape,
                         const um_kv_span *spans, int n_spans);

#endif
