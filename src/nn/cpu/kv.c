/*
 * kv.c - memory of cached keys and values (all CPU backends), and the reference's reading of it.
 *
 * A page holds, for each key/value head, K and then V: UM_KV_PAGE rows of the head width rounded up
 * to UM_KV_LANE. In the reference they are plain rows.
 *
 * The pages are mapped, not allocated: memory is taken as they are first written, so that a cache
 * may be opened as large as it may become.
 */
#include "nn/cpu/kv.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/mem.h"
#include "nn/number.h"

um_status um_cpu_kv_open(um_backend *be, um_kv_cache *cache, um_dtype dtype, int layers, int pages,
                         int n_kv_heads, int head_dim, um_error *err)
{
    um_kv_cache new = {.dtype = dtype,
                       .layers = layers,
                       .pages = pages,
                       .n_kv_heads = n_kv_heads,
                       .head_dim = head_dim};
    size_t bytes;
    (void)be;
    if (dtype != UM_F32 && dtype != UM_BF16)
        return um_fail(err, UM_ERR_UNSUPPORTED, "key/value cache: float32 and bfloat16 only");
    new.page_bytes = um_kv_half_bytes(&new) * 2 * (size_t)n_kv_heads;
    if (um_mul_overflows((size_t)layers * (size_t)pages, new.page_bytes, &bytes))
        return um_fail(err, UM_ERR_LIMIT, "key/value cache: %d pages pass the address space",
                       pages);
    new.buf.bytes = bytes > 0 ? bytes : 1;
    new.buf.data =
        mmap(NULL, new.buf.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (new.buf.data == MAP_FAILED)
        return um_fail_memory(err, "key/value cache");
    *cache = new;
    return UM_OK;
}

void um_cpu_kv_close(um_backend *be, um_kv_cache *cache)
{
    (void)be;
    munmap(cache->buf.data, cache->buf.bytes);
    *cache = (um_kv_cache){0};
}

void um_cpu_kv_copy(um_backend *be, um_kv_cache *cache, int to, int from)
{
    (void)be;
    for (int l = 0; l < cache->layers; l++)
        memcpy(um_kv_page(cache, l, to), um_kv_page(cache, l, from), cache->page_bytes);
}

/* Reference --------------------------------------------------------------------------------------
 */

static void *ref_row(const um_kv_cache *cache, int layer, const int32_t *pages, int position,
                     int head, bool value)
{
    char *half = um_kv_half(cache, layer, pages[position / UM_KV_PAGE], head, value);
    const size_t row = um_kv_half_bytes(cache) / UM_KV_PAGE;
    return half + (size_t)(position % UM_KV_PAGE) * row;
}

static void ref_store(const um_kv_cache *cache, void *to, const float *x)
{
    for (int d = 0; d < cache->head_dim; d++) {
        if (cache->dtype == UM_BF16)
            ((uint16_t *)to)[d] = um_bf16_bits(x[d]);
        else
            ((float *)to)[d] = x[d];
    }
}

static double ref_at(const um_kv_cache *cache, const void *row, int d)
{
    if (cache->dtype == UM_BF16)
        return (double)um_bf16_value(((const uint16_t *)row)[d]);
    return (double)((const float *)row)[d];
}

void um_ref_kv_write(um_backend *be, um_kv_cache *cache, int layer, const float *k, const float *v,
                     int ld, const um_kv_span *spans, int n_spans)
{
    (void)be;
    for (const um_kv_span *s = spans; s < spans + n_spans; s++) {
        for (int item = 0; item < s->len * cache->n_kv_heads; item++) {
            const int j = item / cache->n_kv_heads, h = item % cache->n_kv_heads;
            const size_t at = (size_t)(s->start + j) * (size_t)ld + (size_t)(h * cache->head_dim);
            ref_store(cache, ref_row(cache, layer, s->pages, s->before + j, h, false), k + at);
            ref_store(cache, ref_row(cache, layer, s->pages, s->before + j, h, true), v + at);
        }
    }
}

static double ref_score(const um_kv_cache *cache, const void *key, const float *q, double scale)
{
    double sum = 0.0;
    for (int d = 0; d < cache->head_dim; d++)
        sum += (double)q[d] * ref_at(cache, key, d);
    return sum * scale;
}

void um_ref_kv_attention(um_backend *be, float *out, int ldo, const float *q, int ldq,
                         const um_kv_cache *cache, int layer, const um_attention_shape *shape,
                         const um_kv_span *spans, int n_spans)
{
    (void)be;
    const int width = shape->head_dim, group = shape->n_heads / shape->n_kv_heads;
    const double scale = (double)shape->scale;
    double acc[UM_HEAD_DIM_MAX];
    for (const um_kv_span *s = spans; s < spans + n_spans; s++) {
        for (int item = 0; item < s->len * shape->n_heads; item++) {
            const int j = item / shape->n_heads, h = item % shape->n_heads;
            const size_t row = (size_t)(s->start + j);
            const float *query = q + row * (size_t)ldq + h * width;
            double max = -INFINITY, sum = 0.0;
            for (int p = 0; p <= s->before + j; p++)
                max =
                    fmax(max, ref_score(cache, ref_row(cache, layer, s->pages, p, h / group, false),
                                        query, scale));
            for (int d = 0; d < width; d++)
                acc[d] = 0.0;
            for (int p = 0; p <= s->before + j; p++) {
                const void *key = ref_row(cache, layer, s->pages, p, h / group, false);
                const void *value = ref_row(cache, layer, s->pages, p, h / group, true);
                const double weight = exp(ref_score(cache, key, query, scale) - max);
                sum += weight;
                for (int d = 0; d < width; d++)
                    acc[d] += weight * ref_at(cache, value, d);
            }
            for (int d = 0; d < width; d++)
                out[row * (size_t)ldo + (size_t)(h * width + d)] = (float)(acc[d] / sum);
        }
    }
}
