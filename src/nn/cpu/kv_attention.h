/*
 * kv_attention.h - attention to cached keys and values (kv_write.h). Included by every vector
 * backend.
 *
 * Query rows are taken in units: as many neighbouring rows as, with the heads that share a key
 * head, fill 16 vectors. Page by page, neighbours in a unit that name the same page are a run: the
 * page is read once for it (kv_page.h). Softmax is kept running (Milakov & Gimelshein, arXiv
 * 1805.02867) and updated page by page for each vector alone, so nothing of it depends on the run.
 */
#ifndef UM_NN_CPU_KV_ATTENTION_H
#define UM_NN_CPU_KV_ATTENTION_H

/* The largest, or the sum, of each row's lanes: lane i is that of row i. Rows are destroyed. */
static INLINE vf rows_max(vf rows[VL])
{
    vf_transpose(rows);
    vf most = rows[0];
    UNROLL
    for (int i = 1; i < VL; i++)
        most = vf_max(most, rows[i]);
    return most;
}

static INLINE vf rows_sum(vf rows[VL])
{
    vf_transpose(rows);
    vf sum = rows[0];
    UNROLL
    for (int i = 1; i < VL; i++)
        sum = vf_add(sum, rows[i]);
    return sum;
}

/* Scores of a run become weights relative to the new maxima; those of keys beyond a vector's own
 * become 0. VL vectors at a time, so that what is done once a vector is done in lanes. */
static void soften(kv_unit *u, int first, int end, int from)
{
    for (int at = first / VL * VL; at < end; at += VL) {
        const int low = first > at ? first - at : 0, high = min_int(VL, end - at);
        vf rows[VL];
        float max[VL], keep[VL], sum[VL];
        for (int i = 0; i < VL; i++)
            rows[i] = vf_set(-INFINITY);
        for (int i = low; i < high; i++) {
            const int count = u->limit[at + i] - from;
            float *s = u->s[at + i];
            for (int j = 0; j < UM_KV_PAGE && count < UM_KV_PAGE; j += VL)
                vf_store(s + j, vf_keep_n(vf_load(s + j), count - j, vf_set(-INFINITY)));
            for (int j = 0; j < UM_KV_PAGE; j += VL)
                rows[i] = vf_max(rows[i], vf_load(s + j));
        }
        const vf before = vf_load(u->max + at), top = vf_max(before, rows_max(rows));
        const vf kept = vf_exp(vf_sub(before, top));
        vf_store(max, top);
        vf_store(keep, kept);
        for (int i = 0; i < VL; i++)
            rows[i] = vf_zero();
        for (int i = low; i < high; i++) {
            float *s = u->s[at + i];
            for (int j = 0; j < UM_KV_PAGE; j += VL) {
                const vf weight = vf_exp(vf_sub(vf_load(s + j), vf_set(max[i])));
                vf_store(s + j, weight);
                rows[i] = vf_add(rows[i], weight);
            }
        }
        vf_store(sum, vf_fma(vf_load(u->sum + at), kept, rows_sum(rows)));
        for (int i = low; i < high; i++) {
            u->max[at + i] = max[i];
            u->keep[at + i] = keep[i];
            u->sum[at + i] = sum[i];
        }
    }
}

/* Keys of a page that some vector of a run attends to. */
static int keys_of_run(const kv_unit *u, int first, int end, int from)
{
    int keys = 0;
    for (int i = first; i < end && keys < UM_KV_PAGE; i++)
        keys = u->limit[i] - from > keys ? u->limit[i] - from : keys;
    return min_int(keys, UM_KV_PAGE);
}

static INLINE void end_fetching(kv_unit *u)
{
    if (u->ahead >= u->ahead_end)
        u->lines = 0;
}

static void page_vectors(kv_unit *u, const kv_job *g, const void *k, const void *v, int from,
                         int first, int end)
{
    const int keys = keys_of_run(u, first, end, from);
    for (int i = first; i < end; i += KV_MR) {
        kv_scores_fns[min_int(KV_MR, end - i) - 1](u, g, k, i);
        end_fetching(u);
    }
    soften(u, first, end, from);
    if (kv_bf16_terms(g->cache)) {
        for (int i = first; i < end; i++) {
            for (int j = 0; j < UM_KV_PAGE; j += VL)
                vf_store_bf16(u->p + i * UM_KV_PAGE + j, vf_load(&u->s[i][j]));
        }
    }
    for (int i = first; i < end; i += KV_MR) {
        kv_values_fns[min_int(KV_MR, end - i) - 1](u, g, v, keys, i);
        end_fetching(u);
    }
}

#ifdef __AMX_TILE__
/* The same in tiles: all 16 vectors are multiplied, those of the run are kept. */
static void page_tiles(kv_unit *u, const kv_job *g, const char *k, const char *v, int from,
                       int first, int end)
{
    const int width = um_kv_width(g->cache), keys = keys_of_run(u, first, end, from);
    for (int t = 0; t * 16 < keys; t += 2) {
        _tile_zero(0);
        _tile_zero(1);
        for (int step = 0; step < width / 32; step++) {
            _tile_loadd(4, (const char *)u->q + step * 1024, 64);
            _tile_loadd(6, k + (size_t)(t * width + step * 32) * 32, 64);
            _tile_loadd(7, k + (size_t)((t + 1) * width + step * 32) * 32, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
        }
        _tile_stored(0, &u->s[0][t * 16], sizeof u->s[0]);
        _tile_stored(1, &u->s[0][t * 16 + 16], sizeof u->s[0]);
    }
    soften(u, first, end, from);
    for (int i = first; i < end; i++) {
        for (int j = 0; j < UM_KV_PAGE; j += VL)
            vf_store_bf16(u->p + j / 32 * 512 + i * 32 + j % 32, vf_load(&u->s[i][j]));
    }
    for (int j = 0; j < width; j += 32) {
        _tile_zero(0);
        _tile_zero(1);
        for (int step = 0; step * 32 < keys; step++) {
            const char *at = v + (size_t)(step * width + j) * 64;
            _tile_loadd(4, u->p + step * 512, 64);
            _tile_loadd(6, at, 64);
            _tile_loadd(7, at + 1024, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
        }
        _tile_stored(0, &u->part[0][j], sizeof u->part[0]);
        _tile_stored(1, &u->part[0][j + 16], sizeof u->part[0]);
    }
    for (int i = first; i < end; i++) {
        const vf keep = vf_set(u->keep[i]);
        for (int j = 0; j < width; j += VL)
            vf_store(&u->out[i][j], vf_fma(vf_load(&u->out[i][j]), keep, vf_load(&u->part[i][j])));
    }
}
#endif

static bool kv_tiles(const um_kv_cache *cache)
{
#ifdef __AMX_TILE__
    return cache->dtype == UM_BF16;
#else
    (void)cache;
    return false;
#endif
}

/* Units -------------------------------------------------------------------------------------------
 */

/* A page's values, zero beyond the first `count`. */
static const void *own_values(kv_unit *u, const um_kv_cache *cache, const void *v, int count)
{
    const int width = um_kv_width(cache);
    memcpy(u->own, v, um_kv_half_bytes(cache));
    for (int slot = count; slot < UM_KV_PAGE; slot++) {
        for (int i = 0; i < width; i++) {
            if (cache->dtype == UM_BF16)
                ((uint16_t *)u->own)[bf16_value_at(width, slot, i)] = 0;
            else
                u->own[slot * width + i] = 0.0f;
        }
    }
    return u->own;
}

/* Vector i of the unit from q[d]. */
static void kv_take_query(kv_unit *u, const kv_job *g, int i, const float *q)
{
    const int d = g->shape.head_dim, width = um_kv_width(g->cache);
    float row[KV_WIDTH_MAX];
    for (int j = 0; j < width; j++)
        row[j] = j < d ? q[j] * g->shape.scale : 0.0f;
    if (!kv_bf16_terms(g->cache)) {
        memcpy(u->q + i * KV_WIDTH_MAX, row, (size_t)width * sizeof *row);
        return;
    }
    for (int j = 0; j < width; j += VL) {
        const int at = kv_tiles(g->cache) ? j / 32 * 512 + i * 32 + j % 32 : i * KV_WIDTH_MAX + j;
        vf_store_bf16((uint16_t *)u->q + at, vf_load(row + j));
    }
}

/* The vectors of one unit: `rows` rows from `row` on, their heads [head, head + heads). */
static int kv_fill(kv_unit *u, const kv_job *g, int row, int rows, int head, int heads)
{
    int n = 0;
    for (int r = row; r < row + rows; r++) {
        const um_kv_span *span = span_of(g->spans, g->n_spans, r);
        for (int h = head; h < head + heads; h++, n++) {
            kv_take_query(u, g, n, g->q + (size_t)r * g->ldq + (size_t)(h * g->shape.head_dim));
            u->pages[n] = span->pages;
            u->limit[n] = span->before + r - span->start + 1;
        }
    }
    return n;
}

/* The page that is read after that of key `from` by the vectors before `end`; NULL: none. */
static const char *next_page(const kv_unit *u, const kv_job *g, int kv_head, int begin, int end,
                             int n, int from)
{
    for (int i = end; i < n; i++) {
        if (u->limit[i] > from)
            return um_kv_half(g->cache, g->layer, u->pages[i][from / UM_KV_PAGE], kv_head, false);
    }
    from += UM_KV_PAGE;
    for (int i = begin; i < n; i++) {
        if (u->limit[i] > from)
            return um_kv_half(g->cache, g->layer, u->pages[i][from / UM_KV_PAGE], kv_head, false);
    }
    return NULL;
}

/* Both halves of the next page are fetched while a run of `vectors` is at its own. */
static void look_ahead(kv_unit *u, const um_kv_cache *cache, const char *next, int vectors)
{
    const int lines = (int)(2 * um_kv_half_bytes(cache) / 64);
    const int steps = (vectors + KV_MR - 1) / KV_MR * UM_KV_PAGE * um_kv_width(cache) /
                      (KV_VECTORS * VL); /* scores and values */
    u->ahead = next;
    u->ahead_end = next != NULL ? next + (size_t)lines * 64 : NULL;
    u->lines = next != NULL ? (lines + steps - 1) / steps : 0;
}

/* Vectors [begin, n) of a unit; with `own` there is one, and it meets no values but its own. */
static void kv_attend(kv_unit *u, const kv_job *g, int kv_head, int begin, int n, bool own)
{
    int most = 0;
    const size_t row = (size_t)um_kv_width(g->cache) * sizeof(float);
    for (int i = begin; i < n; i++) {
        most = u->limit[i] > most ? u->limit[i] : most;
        u->max[i] = -INFINITY;
        u->sum[i] = 0.0f;
        memset(u->out[i], 0, row);
    }
    for (int from = 0; from < most; from += UM_KV_PAGE) {
        const int at = from / UM_KV_PAGE;
        for (int first = begin, end; first < n; first = end) {
            end = first + 1;
            if (u->limit[first] <= from)
                continue;
            const int page = u->pages[first][at];
            while (end < n && u->limit[end] > from && u->pages[end][at] == page)
                end++;
            const char *k = um_kv_half(g->cache, g->layer, page, kv_head, false);
            const char *v = um_kv_half(g->cache, g->layer, page, kv_head, true);
            if (own && most - from < UM_KV_PAGE)
                v = own_values(u, g->cache, v, most - from);
#ifdef __AMX_TILE__
            if (kv_tiles(g->cache)) {
                page_tiles(u, g, k, v, from, first, end);
                continue;
            }
#endif
            look_ahead(u, g->cache, next_page(u, g, kv_head, begin, end, n, from), end - first);
            page_vectors(u, g, k, v, from, first, end);
        }
    }
}

/* Slots that are not a vector's own have weight 0, times which only a number is 0. */
static bool kv_finite(const kv_unit *u, int i, int width)
{
    vf sum = vf_zero();
    for (int j = 0; j < width; j += VL)
        sum = vf_add(sum, vf_sub(vf_load(&u->out[i][j]), vf_load(&u->out[i][j])));
    return vf_sum(sum) == 0.0f;
}

static void kv_units(void *ctx, size_t begin, size_t end, int thread)
{
    const kv_job *g = ctx;
    kv_unit *u = (kv_unit *)um_cpu_thread_scratch(g->be, thread);
    const int group = g->shape.n_heads / g->shape.n_kv_heads, d = g->shape.head_dim;
    block_begin();
    if (kv_tiles(g->cache)) {
        memset(u->q, 0, sizeof u->q);
        memset(u->p, 0, sizeof u->p);
    }
    for (size_t item = begin; item < end; item++) {
        const int unit = (int)(item % (size_t)g->units), part = (int)(item / (size_t)g->units);
        const int kv_head = part / g->head_cuts, cut = part % g->head_cuts;
        const int head = kv_head * group + cut * g->heads;
        const int heads = min_int(g->heads, group - cut * g->heads);
        const int row = g->first + unit * g->unit_rows;
        const int rows = min_int(g->unit_rows, g->first + g->rows - row);
        const int n = kv_fill(u, g, row, rows, head, heads);
        kv_attend(u, g, kv_head, 0, n, false);
        for (int i = 0; i < n; i++) {
            if (!kv_finite(u, i, um_kv_width(g->cache)))
                kv_attend(u, g, kv_head, i, i + 1, true);
            float *out =
                g->out + (size_t)(row + i / heads) * g->ldo + (size_t)((head + i % heads) * d);
            const vf scale = vf_set(1.0f / u->sum[i]);
            for (int j = 0; j < d; j += VL)
                vf_put(out + j, vf_mul(vf_load(&u->out[i][j]), scale), min_int(VL, d - j));
        }
    }
    block_end();
}

static void simd_kv_attention(um_backend *be, float *out, int ldo, const float *q, int ldq,
                              const um_kv_cache *cache, int layer, const um_attention_shape *shape,
                              const um_kv_span *spans, int n_spans)
{
    kv_job g = {.be = be,
                .out = out,
                .q = q,
                .ldo = (size_t)ldo,
                .ldq = (size_t)ldq,
                .cache = cache,
                .layer = layer,
                .shape = *shape,
                .spans = spans,
                .n_spans = n_spans,
                .rows = rows_of(spans, n_spans)};
    const int group = shape->n_heads / shape->n_kv_heads;
    if (g.rows == 0)
        return;
    g.first = spans[0].start;
    g.heads = min_int(group, KV_ROWS);
    g.head_cuts = (group + g.heads - 1) / g.heads;
    g.unit_rows = KV_ROWS / g.heads;
    g.units = (g.rows + g.unit_rows - 1) / g.unit_rows;
    const size_t items = (size_t)shape->n_kv_heads * (size_t)g.head_cuts * (size_t)g.units;
    um_cpu_for(be, items, 4, kv_units, &g);
}

#endif
