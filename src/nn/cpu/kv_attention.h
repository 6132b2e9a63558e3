/*
 * kv_attention.h - attention to cached keys and values (kv_write.h). Included by every vector
 * backend.
 *
 * Query rows are taken in units: as many neighbouring rows as, with the heads that share a key
 * head, fill 16 vectors. Page by page, neighbours in a unit that name the same page are a run: the
 * page is read once for it (kv_page.h). Softmax is kept running (Milakov & Gimelshein, arXiv
 * 1805.02867) and updated page by page for each vector alone, so nothing of it depends on the run.
 * What pages come next is known, and they are fetched some way ahead: those of one sequence alone
 * come out of memory slower than they are multiplied, those of many are multiplied slower.
 */
#ifndef UM_NN_CPU_KV_ATTENTION_H
#define UM_NN_CPU_KV_ATTENTION_H

enum { KV_LEAD_BYTES = 1 << 17 }; /* how far ahead pages are fetched */

/* The largest of each row's lanes: lane i is that of row i. Rows are destroyed. */
static INLINE vf rows_max(vf rows[VL])
{
    vf_transpose(rows);
    vf most = rows[0];
    UNROLL
    for (int i = 1; i < VL; i++)
        most = vf_max(most, rows[i]);
    return most;
}

/*
 * Scores of vectors [begin, end) for the page of key `from` become weights relative to the new
 * maxima; those of keys beyond a vector's own become 0. VL vectors at a time, so that what is done
 * once a vector is done in lanes. `bf16`: weights are rounded and only near e^x.
 */
static INLINE void soften_as(kv_unit *u, const kv_job *g, int begin, int end, int from,
                             const bool bf16)
{
    for (int at = begin / VL * VL; at < end; at += VL) {
        const int low = begin > at ? begin - at : 0, high = min_int(VL, end - at);
        vf rows[VL];
        float max[VL], keep[VL];
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
        vf_store(max, top);
        vf_store(keep, vf_exp(vf_sub(before, top)));
        for (int i = low; i < high; i++) {
            const vf most = vf_set(max[i]);
            float *s = u->s[at + i];
            vf sum = vf_mul(vf_load(u->sum[at + i]), vf_set(keep[i]));
            UNROLL
            for (int j = 0; j < UM_KV_PAGE; j += 2 * VL) {
                vf weight[2];
                UNROLL
                for (int v = 0; v < 2; v++) {
                    const vf below = vf_sub(vf_load(s + j + v * VL), most);
                    weight[v] =
                        bf16 ? vf_exp2_near(vf_mul(below, vf_set(VF_LOG2_E))) : vf_exp(below);
                    sum = vf_add(sum, weight[v]);
                }
                kv_put_weights(u, g, at + i, j, weight, bf16);
            }
            vf_store(u->sum[at + i], sum);
            u->max[at + i] = max[i];
            u->keep[at + i] = keep[i];
        }
    }
}

static void soften(kv_unit *u, const kv_job *g, int begin, int end, int from)
{
    if (kv_bf16_terms(g->cache))
        soften_as(u, g, begin, end, from, true);
    else
        soften_as(u, g, begin, end, from, false);
}

/* Keys of a page that some vector of a run attends to. */
static int keys_of_run(const kv_unit *u, int first, int end, int from)
{
    int keys = 0;
    for (int i = first; i < end && keys < UM_KV_PAGE; i++)
        keys = u->limit[i] - from > keys ? u->limit[i] - from : keys;
    return min_int(keys, UM_KV_PAGE);
}

#ifdef __AMX_TILE__
/* A run meets a page, in tiles: all 16 vectors are multiplied, those of the run are kept. */
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
    soften(u, g, first, end, from);
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
    const bool bf16 = kv_bf16_terms(g->cache), tiles = kv_tiles(g->cache);
    for (int j = 0; j < width; j += VL) {
        const vf terms = j < d ? vf_get(q + j, min_int(VL, d - j)) : vf_zero();
        const vf scaled = vf_mul(terms, vf_set(g->shape.scale));
        const int at = tiles ? j / 32 * 512 + i * 32 + j % 32 : i * KV_WIDTH_MAX + j;
        if (bf16)
            vf_store_bf16((uint16_t *)u->q + at, scaled);
        else
            vf_store(u->q + at, scaled);
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

/* The end of the run that vector `first` begins in the page of key `from`: those before it read the
 * same page, or none at all. */
static int run_end(const kv_unit *u, int first, int from)
{
    const int at = from / UM_KV_PAGE;
    int end = first + 1;
    if (u->limit[first] <= from) {
        while (end < u->end && u->limit[end] <= from)
            end++;
        return end;
    }
    while (end < u->end && u->limit[end] > from && u->pages[end][at] == u->pages[first][at])
        end++;
    return end;
}

/* The keys or values that the run of vector `first` reads. */
static const char *half_of_run(const kv_unit *u, const kv_job *g, int first, int from, bool value)
{
    return um_kv_half(g->cache, g->layer, u->pages[first][from / UM_KV_PAGE], u->kv_head, value);
}

/* Half a page, the next that the unit reads and that was not fetched yet, is what a call fetches.
 */
static void look_ahead(kv_unit *u, const kv_job *g)
{
    const int bytes = (int)um_kv_half_bytes(g->cache);
    kv_cursor *c = &u->cursor;
    u->ahead = u->ahead_end = NULL;
    while (c->from < u->most && c->lead * bytes < KV_LEAD_BYTES && u->ahead == NULL) {
        const kv_cursor at = *c;
        if (u->limit[at.first] > at.from) {
            u->ahead = half_of_run(u, g, at.first, at.from, at.value);
            u->ahead_end = u->ahead + bytes;
            c->lead++;
        }
        c->first = run_end(u, at.first, at.from);
        if (c->first == u->end) {
            c->first = u->begin;
            c->value = !at.value;
            c->from += at.value ? UM_KV_PAGE : 0;
        }
    }
}

/* The unit meets the page of key `from`: a run after the other its keys, then its values. */
static void attend_page(kv_unit *u, const kv_job *g, int from, bool own)
{
    for (int first = u->begin, end; first < u->end; first = end) {
        end = run_end(u, first, from);
        if (u->limit[first] <= from)
            continue;
        const char *k = half_of_run(u, g, first, from, false);
        for (int i = first; i < end; i += KV_MR) {
            look_ahead(u, g);
            kv_scores_fns[min_int(KV_MR, end - i) - 1](u, g, k, i);
        }
        u->cursor.lead--;
    }
    soften(u, g, u->begin, u->end, from);
    for (int first = u->begin, end; first < u->end; first = end) {
        end = run_end(u, first, from);
        if (u->limit[first] <= from)
            continue;
        const int keys = keys_of_run(u, first, end, from);
        const char *v = half_of_run(u, g, first, from, true);
        if (own && keys < UM_KV_PAGE)
            v = own_values(u, g->cache, v, keys);
        for (int i = first; i < end; i += KV_MR) {
            look_ahead(u, g);
            kv_values_fns[min_int(KV_MR, end - i) - 1](u, g, v, keys, i);
        }
        u->cursor.lead--;
    }
}

#ifdef __AMX_TILE__
/* The same in tiles: a run after the other, since a tile of scores is of all vectors. */
static void attend_page_tiles(kv_unit *u, const kv_job *g, int from, bool own)
{
    for (int first = u->begin, end; first < u->end; first = end) {
        end = run_end(u, first, from);
        if (u->limit[first] <= from)
            continue;
        const int keys = keys_of_run(u, first, end, from);
        const char *k = half_of_run(u, g, first, from, false);
        const char *v = half_of_run(u, g, first, from, true);
        if (own && keys < UM_KV_PAGE)
            v = own_values(u, g->cache, v, keys);
        page_tiles(u, g, k, v, from, first, end);
    }
}
#endif

/* Vectors [begin, end) of a unit; with `own` there is one, and it meets no values but its own. */
static void kv_attend(kv_unit *u, const kv_job *g, int kv_head, int begin, int end, bool own)
{
    u->kv_head = kv_head;
    u->begin = begin;
    u->end = end;
    u->most = 0;
    for (int i = begin; i < end; i++) {
        u->most = u->limit[i] > u->most ? u->limit[i] : u->most;
        u->max[i] = -INFINITY;
        vf_store(u->sum[i], vf_zero());
        for (int j = 0; j < um_kv_width(g->cache); j += VL)
            vf_store(&u->out[i][j], vf_zero());
    }
    /* The first pages are read at once. */
    u->cursor = (kv_cursor){.from = UM_KV_PAGE, .first = begin};
    for (int first = begin; first < end; first = run_end(u, first, 0))
        u->cursor.lead += 2;
    for (int from = 0; from < u->most; from += UM_KV_PAGE) {
#ifdef __AMX_TILE__
        if (kv_tiles(g->cache)) {
            attend_page_tiles(u, g, from, own);
            continue;
        }
#endif
        attend_page(u, g, from, own);
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
            const vf scale = vf_set(1.0f / vf_sum(vf_load(u->sum[i])));
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
