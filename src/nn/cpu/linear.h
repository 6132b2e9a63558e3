/*
 * linear.h - products of arranged activations (acts.h) with packed weights (packed.h). Included by
 * every vector backend.
 *
 * A thread owns whole panels. Panels are taken in groups that stay in the L2 cache while chunks of
 * rows pass by, so weights come from memory once a product and activations once a group. Within a
 * panel and a chunk the sums are built K-block by K-block: a block of weights stays in the L1 cache
 * for all rows of the chunk.
 */
#ifndef UM_NN_CPU_LINEAR_H
#define UM_NN_CPU_LINEAR_H

enum {
    LINEAR_CHUNK = 128,                                  /* rows; whole tiles */
    LINEAR_GROUP_BYTES = 1 << 20,                        /* of weights, about */
    LINEAR_ACC = LINEAR_CHUNK * UM_PANEL,                /* floats */
    LINEAR_STAGE = 4096,                                 /* floats, for block kernels */
    GATE_PANELS = UM_BLOCK / UM_TILE,                    /* of a pair: UM_BLOCK outputs */
    LINEAR_GATED = LINEAR_CHUNK * UM_BLOCK,              /* floats */
    GATE_F32_CHUNK = 64,                                 /* rows */
    LINEAR_SCRATCH = LINEAR_ACC + LINEAR_STAGE + LINEAR_GATED,
    GATE_F32_SCRATCH = GEMM_SCRATCH + 2 * GATE_F32_CHUNK * UM_BLOCK,
};

typedef struct linear_job {
    um_backend *be;
    const um_packed *w;
    const char *acts;
    size_t tile_bytes;
    int m;
    /* linear */
    float *y;
    size_t ldy;
    const float *bias;
    bool accumulate;
    /* linear_gate */
    char *out;
} linear_job;

static inline const char *panel_at(const um_packed *w, int panel)
{
    return (const char *)w->data + (size_t)panel * um_packed_panel_bytes(w->dtype, w->k);
}

static inline size_t block_bytes(um_dtype dtype)
{
    return dtype == UM_I8 ? UM_PANEL * (UM_BLOCK + sizeof(float))
                          : UM_PANEL * UM_BLOCK * sizeof(uint16_t);
}

/* scratch[rows][UM_PANEL] = the sums of one panel for the rows of a chunk. */
static void linear_panel(const linear_job *g, int panel, int row, int rows, float *scratch)
{
    const um_dtype dtype = g->w->dtype;
    const int k = g->w->k, terms = acts_tiled(dtype) ? um_packed_terms(dtype, k) : k;
    block b = {.w = panel_at(g->w, panel),
               .rows = rows,
               .acts = g->acts + (size_t)(row / UM_TILE) * g->tile_bytes,
               .k = k,
               .acc = scratch,
               .stage = (char *)(scratch + LINEAR_ACC)};
    for (; b.from < terms; b.from += UM_BLOCK, b.w += block_bytes(dtype)) {
        b.terms = min_int(UM_BLOCK, terms - b.from);
        if (dtype == UM_I8)
            block_i8(&b);
        else if (dtype == UM_BF16)
            block_bf16(&b);
        else
            block_f16(&b);
    }
}

static void linear_store(const linear_job *g, int panel, int row, int rows, const float *acc)
{
    const int column = panel * UM_PANEL, columns = min_int(UM_PANEL, g->w->n - column);
    for (int i = 0; i < rows; i++, acc += UM_PANEL) {
        float *y = g->y + (size_t)(row + i) * g->ldy + column;
        for (int j = 0; j < columns; j += VL) {
            const int n = min_int(VL, columns - j);
            vf value = vf_load(acc + j);
            if (g->bias != NULL)
                value = vf_add(value, vf_get(g->bias + column + j, n));
            if (g->accumulate)
                value = vf_add(vf_get(y + j, n), value);
            vf_put(y + j, value, n);
        }
    }
}

static void linear_panels(void *ctx, size_t begin, size_t end, int thread)
{
    const linear_job *g = ctx;
    float *scratch = um_cpu_thread_scratch(g->be, thread);
    const size_t panel_bytes = um_packed_panel_bytes(g->w->dtype, g->w->k);
    const size_t fit = LINEAR_GROUP_BYTES / panel_bytes, group = fit > 0 ? fit : 1;
    block_begin();
    for (size_t first = begin; first < end; first += group) {
        const size_t last = first + group < end ? first + group : end;
        for (int row = 0; row < g->m; row += LINEAR_CHUNK) {
            const int rows = min_int(LINEAR_CHUNK, g->m - row);
            for (size_t p = first; p < last; p++) {
                linear_panel(g, (int)p, row, rows, scratch);
                linear_store(g, (int)p, row, rows, scratch);
            }
        }
    }
    block_end();
}

/* gated[row][UM_TILE of UM_BLOCK] = silu(gate) * up of one panel. */
static void gate_rows(float *gated, const float *acc, int rows)
{
    for (int i = 0; i < rows; i++, acc += UM_PANEL, gated += UM_BLOCK) {
        for (int j = 0; j < UM_TILE; j += VL) {
            const vf gate = vf_load(acc + j), up = vf_load(acc + UM_TILE + j);
            vf_store(gated + j, vf_mul(vf_mul(gate, vf_sigmoid(gate)), up));
        }
    }
}

/* Groups of GATE_PANELS panels make whole blocks of what `down` reads. */
static void gate_groups(void *ctx, size_t begin, size_t end, int thread)
{
    const linear_job *g = ctx;
    const int f = g->w->n / 2;
    float *scratch = um_cpu_thread_scratch(g->be, thread);
    float *gated = scratch + LINEAR_ACC + LINEAR_STAGE;
    block_begin();
    for (size_t group = begin; group < end; group++) {
        const int from = (int)group * UM_BLOCK, n = min_int(UM_BLOCK, f - from);
        for (int row = 0; row < g->m; row += LINEAR_CHUNK) {
            const int rows = min_int(LINEAR_CHUNK, g->m - row);
            for (int j = 0; j < n; j += UM_TILE) {
                linear_panel(g, (from + j) / UM_TILE, row, rows, scratch);
                gate_rows(gated + j, scratch, rows);
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
                    vf_put(out + j, vf_mul(vf_mul(gate, vf_sigmoid(gate)), up), lanes);
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

static void simd_linear(um_backend *be, float *y, int ldy, const void *acts, int m,
                        const um_packed *w, const float *bias, bool accumulate)
{
    if (w->dtype == UM_F32) {
        gemm_linear(be, y, ldy, acts, m, w, bias, accumulate);
        return;
    }
    linear_job g = {.be = be,
                    .w = w,
                    .acts = acts,
                    .tile_bytes = acts_tile_bytes(w->dtype, w->k),
                    .m = m,
                    .y = y,
                    .ldy = (size_t)ldy,
                    .bias = bias,
                    .accumulate = accumulate};
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
                    .out = out};
    const size_t groups = (size_t)(pair->n / 2 + UM_BLOCK - 1) / UM_BLOCK;
    if (m <= 0)
        return;
    acts_pad(out, pair->dtype, m, pair->n / 2);
    um_cpu_for(be, groups, linear_grain(m, pair->k, 2 * UM_BLOCK),
               pair->dtype == UM_F32 ? gate_f32_groups : gate_groups, &g);
}

#endif
