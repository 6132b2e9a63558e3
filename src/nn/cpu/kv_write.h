/*
 * kv_write.h - the order of cached keys and values, and writing them. Included by every vector
 * backend.
 *
 * A page's halves, with D the head width rounded up to UM_KV_LANE (kv.h):
 *
 *   UM_F32   K: for each 16 keys: [D][16];               V: [64 keys][D]
 *   UM_BF16  K: for each 16 keys: [D/2 pairs][16][2];    V: for each 32 keys: for each 16 of D:
 *                                                           [16 pairs of keys][16][2]
 *
 * so that scores come 16 keys at a time, and both are operands of AMX as they are.
 */
#ifndef UM_NN_CPU_KV_WRITE_H
#define UM_NN_CPU_KV_WRITE_H

typedef struct kv_write_job {
    const um_kv_cache *cache;
    int layer;
    const float *k, *v;
    size_t ld;
    const um_kv_span *spans;
    int n_spans;
} kv_write_job;

static void kv_put_f32(float *k, float *v, int width, int slot, const float *from_k,
                       const float *from_v, int d)
{
    float *keys = k + slot / 16 * width * 16 + slot % 16, *values = v + slot * width;
    for (int i = 0; i < d; i++) {
        keys[i * 16] = from_k[i];
        values[i] = from_v[i];
    }
}

static inline int bf16_value_at(int width, int slot, int i)
{
    return slot / 32 * width * 32 + i / 16 * 512 + slot % 32 / 2 * 32 + i % 16 * 2 + slot % 2;
}

static void kv_put_bf16(uint16_t *k, uint16_t *v, int width, int slot, const float *from_k,
                        const float *from_v, int d)
{
    uint16_t keys[UM_HEAD_DIM_MAX + VL], values[UM_HEAD_DIM_MAX + VL];
    for (int i = 0; i < d; i += VL) {
        vf_store_bf16(keys + i, vf_get(from_k + i, min_int(VL, d - i)));
        vf_store_bf16(values + i, vf_get(from_v + i, min_int(VL, d - i)));
    }
    k += slot / 16 * width * 16 + slot % 16 * 2;
    for (int i = 0; i < d; i += 2)
        memcpy(k + i * 16, keys + i, 2 * sizeof *keys);
    for (int i = 0; i < d; i++)
        v[bf16_value_at(width, slot, i)] = values[i];
}

/* The span that row `row` of a pass is in. */
static const um_kv_span *span_of(const um_kv_span *spans, int n_spans, int row)
{
    int low = 0, high = n_spans;
    while (high - low > 1) {
        const int mid = low + (high - low) / 2;
        if (spans[mid].start <= row)
            low = mid;
        else
            high = mid;
    }
    return &spans[low];
}

/* A position's keys lie in as many lines as a head has pairs, none of them near: all are asked for
 * before the first is written. */
static void fetch_slots(const kv_write_job *g, int page, int slot)
{
    const um_kv_cache *cache = g->cache;
    const size_t half = um_kv_half_bytes(cache), keys = half / (UM_KV_PAGE / 16);
    for (int h = 0; h < cache->n_kv_heads; h++) {
        const char *k = um_kv_half(cache, g->layer, page, h, false) + (size_t)(slot / 16) * keys;
        for (size_t i = 0; i < keys; i += 64)
            __builtin_prefetch(k + i, 1);
    }
}

static void kv_write_rows(void *ctx, size_t begin, size_t end, int thread)
{
    const kv_write_job *g = ctx;
    const um_kv_cache *cache = g->cache;
    const int d = cache->head_dim, width = um_kv_width(cache), first = g->spans[0].start;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        const int row = first + (int)i;
        const um_kv_span *span = span_of(g->spans, g->n_spans, row);
        const int position = span->before + row - span->start;
        const int page = span->pages[position / UM_KV_PAGE], slot = position % UM_KV_PAGE;
        fetch_slots(g, page, slot);
        for (int h = 0; h < cache->n_kv_heads; h++) {
            const size_t at = (size_t)row * g->ld + (size_t)(h * d);
            void *k = um_kv_half(cache, g->layer, page, h, false);
            void *v = um_kv_half(cache, g->layer, page, h, true);
            if (cache->dtype == UM_BF16)
                kv_put_bf16(k, v, width, slot, g->k + at, g->v + at, d);
            else
                kv_put_f32(k, v, width, slot, g->k + at, g->v + at, d);
        }
    }
}

static int rows_of(const um_kv_span *spans, int n_spans)
{
    return n_spans > 0 ? spans[n_spans - 1].start + spans[n_spans - 1].len - spans[0].start : 0;
}

static void simd_kv_write(um_backend *be, um_kv_cache *cache, int layer, const float *k,
                          const float *v, int ld, const um_kv_span *spans, int n_spans)
{
    kv_write_job g = {cache, layer, k, v, (size_t)ld, spans, n_spans};
    const size_t each = (size_t)(8 * cache->n_kv_heads * cache->head_dim);
    for_rows(be, rows_of(spans, n_spans), each, kv_write_rows, &g);
}

#endif
