/*
 * kv_page.h - query vectors times the keys, weights times the values, of one page of the cache
 * (kv_write.h). Included by every vector backend.
 */
#ifndef UM_NN_CPU_KV_PAGE_H
#define UM_NN_CPU_KV_PAGE_H

enum {
    KV_ROWS = 16, /* query vectors of a unit */
#ifdef SIMD_32_REGISTERS
    KV_MR = 8,      /* query vectors at a time, */
    KV_VECTORS = 2, /* by so many vectors of keys or columns */
#else
    KV_MR = 4,
    KV_VECTORS = 1,
#endif
    KV_WIDTH_MAX = (UM_HEAD_DIM_MAX + UM_KV_LANE - 1) / UM_KV_LANE * UM_KV_LANE,
};

/* How far fetching is: at the keys, or values, of key `from` for vector `first`. */
typedef struct kv_cursor {
    int from, first;
    bool value;
    int lead; /* halves of pages that were fetched and not yet read */
} kv_cursor;

/* A thread's scratch. */
typedef struct kv_unit {
    _Alignas(64) float q[KV_ROWS * KV_WIDTH_MAX];   /* scaled, rows of KV_WIDTH_MAX; of bfloat16
                                                     * where it is multiplied as such, with AMX in
                                                     * tiles, [step][16][32] */
    _Alignas(64) float s[KV_ROWS][UM_KV_PAGE];      /* scores, then weights */
    _Alignas(64) float out[KV_ROWS][KV_WIDTH_MAX];  /* running sums */
    _Alignas(64) float part[KV_ROWS][KV_WIDTH_MAX]; /* with AMX: one page's */
    _Alignas(64) uint16_t p[KV_ROWS * UM_KV_PAGE];  /* bfloat16 weights, rows of UM_KV_PAGE; with
                                                     * AMX tiles, [2][16][32] */
    _Alignas(64) float max[KV_ROWS], keep[KV_ROWS];
    _Alignas(64) float sum[KV_ROWS][VL];               /* of weights, in lanes */
    _Alignas(64) float own[UM_KV_PAGE * KV_WIDTH_MAX]; /* a page's values, see own_values */
    const int32_t *pages[KV_ROWS];                     /* of each vector's sequence */
    int limit[KV_ROWS];                                /* keys it attends to */
    int kv_head, begin, end, most; /* vectors [begin, end) are at work, with at most so many keys */
    kv_cursor cursor;
    const char *ahead, *ahead_end; /* what is fetched during a call of a kernel */
} kv_unit;

enum { KV_SCRATCH = sizeof(kv_unit) / sizeof(float) };

/* Pairs of bfloat16 from a page, times a pair of terms of a query or of weights ------------------
 */

#ifdef SIMD_BF16_TERMS
typedef uint16_t kv_term;
typedef vf kv_pairs;

static INLINE kv_pairs kv_load_pairs(const uint16_t *p)
{
    return vf_load((const float *)p);
}

static INLINE vf kv_dot(vf sum, kv_pairs a, const kv_term *pair)
{
    return vf_dot_pair(a, pair, sum);
}

static INLINE const kv_term *kv_weights(const kv_unit *u, int i)
{
    return u->p + i * UM_KV_PAGE;
}
#else
typedef float kv_term;
typedef struct kv_pairs {
    vf first, second;
} kv_pairs;

static INLINE kv_pairs kv_load_pairs(const uint16_t *p)
{
    kv_pairs pairs;
    vf_load_bf16_pairs(p, &pairs.first, &pairs.second);
    return pairs;
}

static INLINE vf kv_dot(vf sum, kv_pairs a, const kv_term *pair)
{
    return vf_fma(vf_set(pair[1]), a.second, vf_fma(vf_set(pair[0]), a.first, sum));
}

static INLINE const kv_term *kv_weights(const kv_unit *u, int i)
{
    return u->s[i];
}
#endif

/* Whether queries and weights are rounded to bfloat16 to be multiplied. */
static bool kv_bf16_terms(const um_kv_cache *cache)
{
#ifdef SIMD_BF16_TERMS
    return cache->dtype == UM_BF16;
#else
    (void)cache;
    return false;
#endif
}

static bool kv_tiles(const um_kv_cache *cache)
{
#ifdef __AMX_TILE__
    return cache->dtype == UM_BF16;
#else
    (void)cache;
    return false;
#endif
}

/* One page for one run ----------------------------------------------------------------------------
 */

typedef struct kv_job {
    um_backend *be;
    float *out;
    const float *q;
    size_t ldo, ldq;
    const um_kv_cache *cache;
    int layer;
    um_attention_shape shape;
    const um_kv_span *spans;
    int n_spans, first, rows; /* rows of the pass */
    int heads;                /* of a unit: those of one key head, at most KV_ROWS of them */
    int head_cuts;            /* parts that a key head's heads are cut into */
    int unit_rows, units;     /* rows of a unit; units of all rows */
} kv_job;

/* The weights of vector i for keys [key, key + 2 VL). */
static INLINE void kv_put_weights(kv_unit *u, const kv_job *g, int i, int key, const vf weight[2],
                                  const bool bf16)
{
#ifdef SIMD_BF16_TERMS
    if (bf16) {
        const int at = kv_tiles(g->cache) ? key / 32 * 512 + i * 32 : i * UM_KV_PAGE + key;
        vf_store((float *)(u->p + at), vf_row_words(weight[0], weight[1]));
        return;
    }
#else
    (void)g, (void)bf16;
#endif
    vf_store(&u->s[i][key], weight[0]);
    vf_store(&u->s[i][key + VL], weight[1]);
}

/* Where the pairs of 16 keys begin, from key `key` on. */
static INLINE size_t bf16_key_at(int width, int key)
{
    return (size_t)(key / 16 * width * 16 + key % 16 * 2);
}

/* Fetches two lines of what is left. */
static INLINE const char *kv_fetch(const char *ahead, const char *end)
{
    if (ahead >= end)
        return ahead;
    __builtin_prefetch(ahead, 0, 2);
    __builtin_prefetch(ahead + 64, 0, 2);
    return ahead + 128;
}

static INLINE void sums_clear(vf (*sum)[KV_VECTORS], const int mr)
{
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int v = 0; v < KV_VECTORS; v++)
            sum[i][v] = vf_zero();
    }
}

/* Scores of keys [key, key + KV_VECTORS * VL). */
static INLINE void scores_put(kv_unit *u, vf (*sum)[KV_VECTORS], int key, int first, const int mr)
{
    UNROLL
    for (int i = 0; i < mr; i++) {
        UNROLL
        for (int v = 0; v < KV_VECTORS; v++)
            vf_store(&u->s[first + i][key + v * VL], sum[i][v]);
    }
}

/* s[i] = q[i] K^T for vectors [first, first + mr). */
static INLINE void scores_f32(kv_unit *u, const float *k, int width, int d, int first, const int mr)
{
    for (int key = 0; key < UM_KV_PAGE; key += KV_VECTORS * VL) {
        vf sum[KV_MR][KV_VECTORS];
        sums_clear(sum, mr);
        for (int j = 0; j < d; j++) {
            vf column[KV_VECTORS];
            UNROLL
            for (int v = 0; v < KV_VECTORS; v++) {
                const int at = key + v * VL;
                column[v] = vf_load(k + at / 16 * width * 16 + at % 16 + j * 16);
            }
            UNROLL
            for (int i = 0; i < mr; i++) {
                const vf q = vf_set(u->q[(first + i) * KV_WIDTH_MAX + j]);
                UNROLL
                for (int v = 0; v < KV_VECTORS; v++)
                    sum[i][v] = vf_fma(q, column[v], sum[i][v]);
            }
        }
        scores_put(u, sum, key, first, mr);
    }
}

static INLINE void scores_bf16(kv_unit *u, const uint16_t *k, int width, int first, const int mr)
{
    const kv_term *q = (const kv_term *)u->q + (size_t)first * KV_WIDTH_MAX;
    const char *ahead = u->ahead;
    for (int key = 0; key < UM_KV_PAGE; key += KV_VECTORS * VL) {
        vf sum[KV_MR][KV_VECTORS];
        const uint16_t *keys[KV_VECTORS];
        UNROLL
        for (int v = 0; v < KV_VECTORS; v++)
            keys[v] = k + bf16_key_at(width, key + v * VL);
        sums_clear(sum, mr);
        for (size_t j = 0; j < (size_t)width; j += 2) {
            kv_pairs column[KV_VECTORS];
            ahead = kv_fetch(ahead, u->ahead_end);
            UNROLL
            for (int v = 0; v < KV_VECTORS; v++)
                column[v] = kv_load_pairs(keys[v] + j * 16);
            UNROLL
            for (int i = 0; i < mr; i++) {
                UNROLL
                for (int v = 0; v < KV_VECTORS; v++)
                    sum[i][v] = kv_dot(sum[i][v], column[v], q + i * KV_WIDTH_MAX + j);
            }
        }
        scores_put(u, sum, key, first, mr);
    }
}

/* out[i] = out[i] * keep[i] + sum[i] at columns [j, j + KV_VECTORS * VL). */
static INLINE void values_add(kv_unit *u, vf (*sum)[KV_VECTORS], int j, int first, const int mr)
{
    UNROLL
    for (int i = 0; i < mr; i++) {
        const vf keep = vf_set(u->keep[first + i]);
        UNROLL
        for (int v = 0; v < KV_VECTORS; v++) {
            float *out = &u->out[first + i][j + v * VL];
            vf_store(out, vf_fma(vf_load(out), keep, sum[i][v]));
        }
    }
}

/* out[i] = out[i] * keep[i] + s[i] V over the first `keys` keys. */
static INLINE void values_f32(kv_unit *u, const float *from, int width, int keys, int first,
                              const int mr)
{
    for (int j = 0; j < width; j += KV_VECTORS * VL) {
        vf sum[KV_MR][KV_VECTORS];
        sums_clear(sum, mr);
        for (int key = 0; key < keys; key++) {
            vf value[KV_VECTORS];
            UNROLL
            for (int v = 0; v < KV_VECTORS; v++)
                value[v] = vf_load(from + key * width + j + v * VL);
            UNROLL
            for (int i = 0; i < mr; i++) {
                const vf p = vf_set(u->s[first + i][key]);
                UNROLL
                for (int v = 0; v < KV_VECTORS; v++)
                    sum[i][v] = vf_fma(p, value[v], sum[i][v]);
            }
        }
        values_add(u, sum, j, first, mr);
    }
}

static INLINE void values_bf16(kv_unit *u, const uint16_t *from, int width, int keys, int first,
                               const int mr)
{
    const char *ahead = u->ahead;
    for (int j = 0; j < width; j += KV_VECTORS * VL) {
        const kv_term *weights = kv_weights(u, first);
        vf sum[KV_MR][KV_VECTORS];
        sums_clear(sum, mr);
        for (int key = 0; key < keys; key += 32) {
            const uint16_t *columns[KV_VECTORS];
            const kv_term *end = weights + min_int(32, keys - key);
            UNROLL
            for (int v = 0; v < KV_VECTORS; v++)
                columns[v] = from + bf16_value_at(width, key, j + v * VL);
            for (; weights < end; weights += 2) {
                kv_pairs value[KV_VECTORS];
                ahead = kv_fetch(ahead, u->ahead_end);
                UNROLL
                for (int v = 0; v < KV_VECTORS; v++) {
                    value[v] = kv_load_pairs(columns[v]);
                    columns[v] += 32;
                }
                UNROLL
                for (int i = 0; i < mr; i++) {
                    UNROLL
                    for (int v = 0; v < KV_VECTORS; v++)
                        sum[i][v] = kv_dot(sum[i][v], value[v], weights + i * UM_KV_PAGE);
                }
            }
        }
        values_add(u, sum, j, first, mr);
    }
}

static INLINE void page_scores(kv_unit *u, const kv_job *g, const void *k, int first, const int mr)
{
    const int width = um_kv_width(g->cache);
    if (g->cache->dtype == UM_BF16)
        scores_bf16(u, k, width, first, mr);
    else
        scores_f32(u, k, width, g->cache->head_dim, first, mr);
}

static INLINE void page_values(kv_unit *u, const kv_job *g, const void *v, int keys, int first,
                               const int mr)
{
    const int width = um_kv_width(g->cache);
    if (g->cache->dtype == UM_BF16)
        values_bf16(u, v, width, keys, first, mr);
    else
        values_f32(u, v, width, keys, first, mr);
}

typedef void (*kv_scores_fn)(kv_unit *u, const kv_job *g, const void *k, int first);
typedef void (*kv_values_fn)(kv_unit *u, const kv_job *g, const void *v, int keys, int first);

#define KV_FUNCTIONS(mr)                                                                           \
    static void page_scores_##mr(kv_unit *u, const kv_job *g, const void *k, int first)            \
    {                                                                                              \
        page_scores(u, g, k, first, mr);                                                           \
    }                                                                                              \
    static void page_values_##mr(kv_unit *u, const kv_job *g, const void *v, int keys, int first)  \
    {                                                                                              \
        page_values(u, g, v, keys, first, mr);                                                     \
    }
KV_FUNCTIONS(1)
KV_FUNCTIONS(2)
KV_FUNCTIONS(3)
KV_FUNCTIONS(4)
#ifdef SIMD_32_REGISTERS
KV_FUNCTIONS(5)
KV_FUNCTIONS(6)
KV_FUNCTIONS(7)
KV_FUNCTIONS(8)
static const kv_scores_fn kv_scores_fns[] = {page_scores_1, page_scores_2, page_scores_3,
                                             page_scores_4, page_scores_5, page_scores_6,
                                             page_scores_7, page_scores_8};
static const kv_values_fn kv_values_fns[] = {page_values_1, page_values_2, page_values_3,
                                             page_values_4, page_values_5, page_values_6,
                                             page_values_7, page_values_8};
#else
static const kv_scores_fn kv_scores_fns[] = {page_scores_1, page_scores_2, page_scores_3,
                                             page_scores_4};
static const kv_values_fn kv_values_fns[] = {page_values_1, page_values_2, page_values_3,
                                             page_values_4};
#endif

#endif
