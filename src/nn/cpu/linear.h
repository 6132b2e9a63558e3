/*
 * linear.h - products of arranged activations (acts.h) with packed weights (packed.h). Included by
 * every vector backend.
 *
 * A thread owns whole panels. What lies beyond the L2 cache is some six times slower to read than
 * what lies in it, so for many rows the work is cut into pieces that stay there: LINEAR_SLAB terms
 * of a group of panels, past which the rows go in chunks. Meanwhile the next group is fetched, a
 * few lines at a time (`ahead`). Within a panel and a chunk the sums are built block by block: a
 * block of weights stays in the L1 cache for all rows of the chunk.
 *
 * Sums of a slab are one chain; slabs are added in order. None of this depends on the rows.
 */
#ifndef UM_NN_CPU_LINEAR_H
#define UM_NN_CPU_LINEAR_H

enum {
    LINEAR_FEW = 128,             /* rows that make one chunk; whole tiles */
    LINEAR_SLAB = 3072,           /* terms; whole blocks */
#ifdef __AMX_TILE__               /* where L2 caches hold 2 MiB */
    LINEAR_GROUP_BYTES = 1 << 19, /* of weights, about */
    LINEAR_CHUNK_BYTES = 1 << 20, /* of activations of many rows, about */
#else
    LINEAR_GROUP_BYTES = 1 << 18,
    LINEAR_CHUNK_BYTES = 200 << 10,
#endif
    LINEAR_ACC = LINEAR_FEW * UM_PANEL,   /* floats */
    LINEAR_STAGE = 4096,                  /* floats, for block kernels */
    LINEAR_GATED = LINEAR_FEW * UM_BLOCK, /* floats */
    LINEAR_STREAM_BYTES = 1 << 24,        /* of y */
    GATE_F32_CHUNK = 64,                  /* rows */
    GATE_F32_SCRATCH = GEMM_SCRATCH + 2 * GATE_F32_CHUNK * UM_BLOCK,
};

_Static_assert((size_t)LINEAR_GROUP_BYTES >= sizeof(uint16_t) * UM_PANEL * LINEAR_SLAB,
               "a group is one panel at least");

typedef struct linear_job {
    um_backend *be;
    const um_packed *w;
    const char *acts;
    size_t tile_bytes;
    int m, terms;
    int slab;  /* terms of a piece, but those of the last of a panel may be fewer */
    int chunk; /* rows */
    /* linear */
    float *y;
    size_t ldy;
    const float *bias;
    bool accumulate;
    bool streams; /* y would push much else out of the caches: it goes past them */
    /* linear_gate */
    char *out;
} linear_job;

/* A piece of the product: panels [panel, panel + panels) over terms of one slab. */
typedef struct linear_piece {
    int panel, panels;
    int from, terms;
    const struct linear_piece *next; /* what to fetch meanwhile; NULL: nothing */
    int shares; /* chunks of rows that fetch a part of it each; 1: each fetches all of it */
} linear_piece;

static inline size_t block_bytes(um_dtype dtype)
{
    return dtype == UM_I8 ? UM_PANEL * (UM_BLOCK + sizeof(float))
                          : UM_PANEL * UM_BLOCK * sizeof(uint16_t);
}

/* The weights of a panel from term `from`, the beginning of a block, on. */
static inline const char *panel_at(const um_packed *w, int panel, int from)
{
    return (const char *)w->data + (size_t)panel * um_packed_panel_bytes(w->dtype, w->k) +
           (size_t)(from / UM_BLOCK) * block_bytes(w->dtype);
}

/* scratch[rows][UM_PANEL] = the sums of one panel over a slab for the rows of a chunk; with y, the
 * place of these rows and this panel, they go there instead. */
static void linear_panel(const linear_job *g, const linear_piece *piece, int panel, int row,
                         int rows, float *scratch, float *y)
{
    const um_dtype dtype = g->w->dtype;
    const int end = piece->from + piece->terms;
    block b = {.w = panel_at(g->w, panel, piece->from),
               .first = true,
               .rows = rows,
               .acts = g->acts + (size_t)(row / UM_TILE) * g->tile_bytes,
               .tile_bytes = g->tile_bytes,
               .k = g->w->k,
               .from = piece->from,
               .acc = scratch,
               .ldy = g->ldy,
               .add = g->accumulate || piece->from > 0,
               .streams = g->streams,
               .stage = (char *)(scratch + LINEAR_ACC)};
    const linear_piece *next = piece->next;
    const int at = panel - piece->panel, share = piece->shares > 1 ? row / g->chunk : 0;
    const size_t scales = acts_scales_at(b.k), all = acts_blocks(b.k) * UM_TILE * sizeof(float);
    if (next != NULL && g->m <= g->chunk) {
        /* Few rows read all of a thread's panels one after another, a slab behind the fetching. */
        b.in_order = true;
        b.ahead = b.w + acts_blocks(g->slab) * block_bytes(dtype);
        b.ahead_bytes = block_bytes(dtype);
    } else if (next != NULL && at < next->panels) {
        /* Of the next piece's panel in the same place, as much as falls to this chunk. */
        const size_t bytes = acts_blocks(next->terms) * block_bytes(dtype) / (size_t)piece->shares;
        b.ahead = panel_at(g->w, next->panel + at, next->from) + bytes * (size_t)share;
        b.ahead_bytes = bytes / acts_blocks(piece->terms);
    }
    for (; b.from < end; b.from += UM_BLOCK, b.w += block_bytes(dtype), b.first = false) {
        b.terms = min_int(UM_BLOCK, end - b.from);
        b.y = b.from + b.terms == end ? y : NULL;
        b.scales = scales + (size_t)(b.from / UM_BLOCK * UM_TILE) * sizeof(float);
        b.starts = b.scales + all;
        if (dtype == UM_I8)
            block_i8(&b);
        else if (dtype == UM_BF16)
            block_bf16(&b);
        else
            block_f16(&b);
        b.ahead += b.ahead_bytes;
    }
}

/* The lines of y that rows of a chunk will write to: none is near another. */
static void fetch_outputs(const linear_job *g, int panel, int row, int rows)
{
    for (int i = 0; i < rows; i++) {
        const float *y = g->y + (size_t)(row + i) * g->ldy + panel * UM_PANEL;
        __builtin_prefetch(y, 1);
        if (panel * UM_PANEL + UM_PANEL / 2 < g->w->n)
            __builtin_prefetch(y + UM_PANEL / 2, 1);
    }
}

static void linear_store(const linear_job *g, const linear_piece *piece, int panel, int row,
                         int rows, const float *acc)
{
    const int column = panel * UM_PANEL, columns = min_int(UM_PANEL, g->w->n - column);
    const bool add = g->accumulate || piece->from > 0,
               last = piece->from + piece->terms == g->terms;
    for (int i = 0; i < rows; i++, acc += UM_PANEL) {
        float *y = g->y + (size_t)(row + i) * g->ldy + column;
        for (int j = 0; j < columns; j += VL) {
            const int n = min_int(VL, columns - j);
            vf value = vf_load(acc + j);
            if (add)
                value = vf_add(vf_get(y + j, n), value);
            if (g->bias != NULL && last)
                value = vf_add(value, vf_get(g->bias + column + j, n));
            if (g->streams && n == VL)
                vf_stream(y + j, value);
            else
                vf_put(y + j, value, n);
        }
    }
}

/* Where rows of a panel go if the kernels put them there without linear_store, or NULL. */
static float *place_of(const linear_job *g, int panel, int row)
{
#ifdef __AMX_TILE__
    const bool kernels_put = false;
#else
    const bool kernels_put = g->bias == NULL && (panel + 1) * UM_PANEL <= g->w->n;
#endif
    return kernels_put ? g->y + (size_t)row * g->ldy + panel * UM_PANEL : NULL;
}

/* The piece that follows in a range of panels that ends at `end`; false at the end. */
static bool next_piece(const linear_job *g, linear_piece *piece, int group, int end)
{
    piece->from += piece->terms;
    if (piece->from == g->terms) {
        piece->from = 0;
        piece->panel += piece->panels;
    }
    piece->terms = min_int(g->slab, g->terms - piece->from);
    piece->panels = min_int(group, end - piece->panel);
    return piece->panels > 0;
}

static void linear_panels(void *ctx, size_t begin, size_t end, int thread)
{
    const linear_job *g = ctx;
    float *scratch = um_cpu_thread_scratch(g->be, thread);
    const size_t slab_bytes = acts_blocks(g->slab) * block_bytes(g->w->dtype);
    /* Few rows are at every panel once only. */
    const int group = g->m <= g->chunk ? 1 : (int)(LINEAR_GROUP_BYTES / slab_bytes);
    linear_piece piece = {.panel = (int)begin,
                          .panels = min_int(group, (int)(end - begin)),
                          .terms = g->slab,
                          .shares = (g->m + g->chunk - 1) / g->chunk};
    block_begin();
    for (bool more = true; more;) {
        linear_piece next = piece;
        more = next_piece(g, &next, group, (int)end);
        piece.next = more ? &next : NULL;
        for (int row = 0; row < g->m; row += g->chunk) {
            const int rows = min_int(g->chunk, g->m - row);
            for (int p = piece.panel; p < piece.panel + piece.panels; p++) {
                if (!g->streams)
                    fetch_outputs(g, p, row, rows);
                float *y = place_of(g, p, row);
                linear_panel(g, &piece, p, row, rows, scratch, y);
                if (y == NULL)
                    linear_store(g, &piece, p, row, rows, scratch);
            }
        }
        piece = next;
    }
    block_end();
    vf_stream_end();
}

/* gated[row][UM_TILE of UM_BLOCK] = silu(gate) * up of one panel. */
static void gate_rows(float *gated, const float *acc, int rows)
{
    for (int i = 0; i < rows; i++, acc += UM_PANEL, gated += UM_BLOCK) {
        for (int j = 0; j < UM_TILE; j += VL) {
            const vf gate = vf_load(acc + j), up = vf_load(acc + UM_TILE + j);
            vf_store(gated + j, vf_gated(gate, up));
        }
    }
}

/* Outputs of a group: what `down` reads is arranged in whole blocks of bytes, and wider weights
 * must be fewer to stay in the cache. */
static inline int gate_outputs(um_dtype dtype)
{
    return dtype == UM_BF16 || dtype == UM_F16 ? UM_BLOCK / 4 : UM_BLOCK;
}

/* The sums of one panel for the rows of a chunk; meanwhile panel `then` is fetched, if there is
 * one. */
static void gate_panel(const linear_job *g, int panel, int then, int row, int rows, float *scratch)
{
    const linear_piece next = {.panel = then, .panels = 1, .terms = g->terms};
    const linear_piece piece = {.panel = panel,
                                .panels = 1,
                                .terms = g->terms,
                                .next = then >= 0 ? &next : NULL,
                                .shares = 1};
    linear_panel(g, &piece, panel, row, rows, scratch, NULL);
}

static void gate_groups(void *ctx, size_t begin, size_t end, int thread)
{
    const linear_job *g = ctx;
    const int f = g->w->n / 2, panels = (f + UM_TILE - 1) / UM_TILE;
    const int outputs = gate_outputs(g->w->dtype);
    float *scratch = um_cpu_thread_scratch(g->be, thread);
    float *gated = scratch + LINEAR_ACC + LINEAR_STAGE;
    block_begin();
    for (size_t group = begin; group < end; group++) {
        const int from = (int)group * outputs, n = min_int(outputs, f - from);
        const int first = (int)group * (outputs / UM_TILE);
        const int last = min_int(first + outputs / UM_TILE, panels) - 1;
        for (int row = 0; row < g->m; row += g->chunk) {
            const int rows = min_int(g->chunk, g->m - row);
            const int after = row + rows < g->m ? first : group + 1 < end ? last + 1 : -1;
            for (int panel = first; panel <= last; panel++) {
                gate_panel(g, panel, panel < last ? panel + 1 : after, row, rows, scratch);
                gate_rows(gated + (panel - first) * UM_TILE, scratch, rows);
            }
            for (int i = 0; i < rows; i++)
                acts_put(g->out, g->w->dtype, f, (size_t)(row + i), from, gated + i * UM_BLOCK, n);
        }
    }
    block_end();
}

/* The same of a UM_F32 pair, whose 2F outputs are gate, then up. */
static void gate_f32_groups(void *ctx, size_t begin, size_t end, int thread)
{
    const linear_job *g = ctx;
    const int f = g->w->n / 2, up_column = round_up(f, GEMM_NR);
    float *scratch = um_cpu_thread_scratch(g->be, thread);
    float *const parts[2] = {scratch + GEMM_SCRATCH,
                             scratch + GEMM_SCRATCH + GATE_F32_CHUNK * UM_BLOCK};
    gemm_job job = {.be = g->be,
                    .n = 2 * up_column,
                    .k = g->w->k,
                    .alpha = 1.0f,
                    .lda = (size_t)g->w->k,
                    .ldc = UM_BLOCK,
                    .packed = g->w->data};
    for (size_t group = begin; group < end; group++) {
        const int from = (int)group * UM_BLOCK, n = min_int(UM_BLOCK, f - from);
        for (int row = 0; row < g->m; row += GATE_F32_CHUNK) {
            const int rows = min_int(GATE_F32_CHUNK, g->m - row);
            job.m = rows;
            job.a = (const float *)g->acts + (size_t)row * job.lda;
            for (int part = 0; part < 2; part++) {
                job.c = parts[part];
                job.first_column = part * up_column + from;
                gemm_rectangle(&job, scratch, 0, rows, job.first_column, job.first_column + n);
            }
            for (int i = 0; i < rows; i++) {
                float *out = (float *)g->out + (size_t)(row + i) * (size_t)f + from;
                for (int j = 0; j < n; j += VL) {
                    const int lanes = min_int(VL, n - j);
                    const vf gate = vf_get(parts[0] + i * UM_BLOCK + j, lanes);
                    const vf up = vf_get(parts[1] + i * UM_BLOCK + j, lanes);
                    vf_put(out + j, vf_gated(gate, up), lanes);
                }
            }
        }
    }
}

static um_status simd_pack(um_backend *be, um_packed *out, um_dtype dtype, const float *w, int n,
                           int k, bool pair, um_error *err)
{
    if (dtype != UM_F32)
        return um_cpu_pack(be, out, dtype, w, n, k, pair, err);
    return gemm_pack(be, out, w, n, k, pair, err);
}

/* Panels or groups of `width` outputs that a thread should have before a second one is worth it. */
static size_t linear_grain(int m, int k, int width)
{
    const size_t enough = 1 << 21, each = (size_t)(m > 16 ? m : 16) * (size_t)k * (size_t)width;
    return enough / each + 1;
}

static void simd_packed_rows(um_backend *be, float *out, const um_packed *w, const int32_t *ids,
                             int t)
{
    if (w->dtype != UM_F32) {
        um_cpu_packed_rows(be, out, w, ids, t);
        return;
    }
    const size_t k = (size_t)w->k, columns = (size_t)round_up(w->n, GEMM_NR);
    for (size_t i = 0; i < (size_t)t; i++) {
        const size_t panel = (size_t)ids[i] / GEMM_NR, column = (size_t)ids[i] % GEMM_NR;
        for (size_t p = 0; p < k; p++) {
            const size_t term = p / GEMM_KC * GEMM_KC, kc = k - term < GEMM_KC ? k - term : GEMM_KC;
            out[i * k + p] =
                ((const float *)w
                     ->data)[term * columns + panel * GEMM_NR * kc + (p - term) * GEMM_NR + column];
        }
    }
}

/* Rows of a chunk. Few rows are one: each panel meets them all at once and is not read again. Of
 * many, so many tiles (two, which AMX multiplies together, at least) as stay in the L2 cache with a
 * group of weights, given that they are read `terms` at a time. */
static int chunk_rows(um_dtype dtype, int m, int terms)
{
    if (m <= LINEAR_FEW)
        return LINEAR_FEW;
    const size_t row = acts_tile_bytes(dtype, terms) / UM_TILE + 1;
    const int rows = (int)(LINEAR_CHUNK_BYTES / row) / (2 * UM_TILE) * 2 * UM_TILE;
    return rows > LINEAR_FEW ? LINEAR_FEW : rows < 2 * UM_TILE ? 2 * UM_TILE : rows;
}

static void simd_linear(um_backend *be, float *y, int ldy, const void *acts, int m,
                        const um_packed *w, const float *bias, bool accumulate)
{
    if (w->dtype == UM_F32) {
        gemm_linear(be, y, ldy, acts, m, w, bias, accumulate);
        return;
    }
    const int terms = acts_terms(w->dtype, w->k);
    linear_job g = {.be = be,
                    .w = w,
                    .acts = acts,
                    .tile_bytes = acts_tile_bytes(w->dtype, w->k),
                    .m = m,
                    .chunk = chunk_rows(w->dtype, m, min_int(w->k, LINEAR_SLAB)),
                    .terms = terms,
                    .slab = min_int(LINEAR_SLAB, terms),
                    .y = y,
                    .ldy = (size_t)ldy,
                    .bias = bias,
                    .accumulate = accumulate};
    const size_t line = VL * sizeof(float);
    g.streams = g.terms <= LINEAR_SLAB && !accumulate && (size_t)y % line == 0 &&
                g.ldy * sizeof(float) % line == 0 &&
                (size_t)m * g.ldy * sizeof(float) >= LINEAR_STREAM_BYTES;
    const size_t panels = (size_t)(w->n + UM_PANEL - 1) / UM_PANEL;
    if (m > 0)
        um_cpu_for(be, panels, linear_grain(m, w->k, UM_PANEL), linear_panels, &g);
}

static void simd_linear_gate(um_backend *be, void *out, const void *acts, int m,
                             const um_packed *pair)
{
    linear_job g = {.be = be,
                    .w = pair,
                    .acts = acts,
                    .tile_bytes = acts_tile_bytes(pair->dtype, pair->k),
                    .m = m,
                    .chunk = chunk_rows(pair->dtype, m, pair->k),
                    .terms = acts_terms(pair->dtype, pair->k),
                    .slab = acts_terms(pair->dtype, pair->k),
                    .out = out};
    const int outputs = gate_outputs(pair->dtype);
    const size_t groups = (size_t)((pair->n / 2 + outputs - 1) / outputs);
    if (m <= 0)
        return;
    acts_pad(out, pair->dtype, m, pair->n / 2);
    um_cpu_for(be, groups, linear_grain(m, pair->k, 2 * outputs),
               pair->dtype == UM_F32 ? gate_f32_groups : gate_groups, &g);
}

#endif
