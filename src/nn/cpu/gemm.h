/*
 * gemm.h - matrix products over register tiles. Included by every vector backend after tile.h.
 *
 * The loops are those of Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication"
 * (ACM TOMS 34(3), 2008): b in blocks of GEMM_KC x GEMM_NC, packed in panels of GEMM_NR columns of
 * which one stays in the L1 cache, a in blocks of GEMM_MC x GEMM_KC in the L2 cache.
 *
 * Each element is summed in blocks of GEMM_KC terms, one chain of fused multiply-adds a block, and
 * the block sums are added in order: the same for every shape, packing and number of threads.
 * Threads own rectangles of c and share nothing, so a product costs one hand-over of work; each
 * packs what it needs, and the rectangles are cut to make that little.
 */
#ifndef UM_NN_CPU_GEMM_H
#define UM_NN_CPU_GEMM_H

enum {
    GEMM_KC = 256,
    GEMM_MC = 192,
    GEMM_NC = 512,
    GEMM_SCRATCH_A = GEMM_MC * GEMM_KC,
    GEMM_SCRATCH_B = GEMM_NC * GEMM_KC,
    GEMM_SCRATCH = GEMM_SCRATCH_A + GEMM_SCRATCH_B,
};

/* Multiply-adds below which a product stays on the calling thread: some 30 microseconds. */
static const double GEMM_PARALLEL_WORK = 1 << 22;

typedef struct gemm_job {
    um_backend *be;
    bool trans_a, trans_b, accumulate;
    int m, n, k;
    float alpha;
    const float *a, *b, *bias;
    size_t lda, ldb, ldc;
    const float *packed; /* instead of b: the layout pack_matrix writes */
    float *c;
    int first_column;          /* the column at which c begins */
    int row_cuts, column_cuts; /* the grid of rectangles */
} gemm_job;

static inline int min_int(int a, int b)
{
    return a < b ? a : b;
}

static inline int round_up(int n, int unit)
{
    return (n + unit - 1) / unit * unit;
}

/*
 * dst[p * width + j] = rows[j][p] for j < columns, p < k, and 0 for columns <= j < width. Blocks of
 * VL x VL are turned in registers.
 */
static void pack_transposed(float *dst, int width, const float *const *rows, int columns, int k)
{
    for (int j = 0; j < width; j += VL) {
        const int out = min_int(VL, width - j);
        for (int p = 0; p < k; p += VL) {
            const int depth = min_int(VL, k - p);
            vf r[VL];
            UNROLL
            for (int i = 0; i < VL; i++) {
                if (j + i >= columns)
                    r[i] = vf_zero();
                else
                    r[i] =
                        depth == VL ? vf_load(rows[j + i] + p) : vf_load_n(rows[j + i] + p, depth);
            }
            vf_transpose(r);
            float *to = dst + p * width + j;
            UNROLL
            for (int i = 0; i < VL; i++) {
                if (i < depth && out == VL)
                    vf_store(to + i * width, r[i]);
                else if (i < depth)
                    vf_store_n(to + i * width, r[i], out);
            }
        }
    }
}

/* dst[p * width + j] = src[p * ld + j] for j < columns, p < k, and 0 for columns <= j < width. */
static void pack_straight(float *dst, int width, const float *src, size_t ld, int columns, int k)
{
    for (int p = 0; p < k; p++, src += ld, dst += width) {
        for (int j = 0; j < width; j += VL) {
            const int n = min_int(VL, columns - j), out = min_int(VL, width - j);
            vf_store_n(dst + j, n <= 0 ? vf_zero() : vf_load_n(src + j, n), out);
        }
    }
}

/* pack_transposed of rows src, src + ld, ... */
static void pack_turned(float *dst, int width, const float *src, size_t ld, int columns, int k)
{
    const float *rows[GEMM_NR];
    for (int j = 0; j < columns; j++)
        rows[j] = src + (size_t)j * ld;
    pack_transposed(dst, width, rows, columns, k);
}

/* Columns [column, column + n) and terms [term, term + kc) of op(b), in panels of GEMM_NR. */
static void pack_b(float *dst, const gemm_job *g, int column, int n, int term, int kc)
{
    for (int j = 0; j < n; j += GEMM_NR, dst += GEMM_NR * kc) {
        const size_t at = (size_t)(column + j), first = (size_t)term;
        const int columns = min_int(GEMM_NR, n - j);
        if (g->trans_b)
            pack_turned(dst, GEMM_NR, g->b + at * g->ldb + first, g->ldb, columns, kc);
        else
            pack_straight(dst, GEMM_NR, g->b + first * g->ldb + at, g->ldb, columns, kc);
    }
}

/* Rows of a block of m rows are cut into tiles of nearly equal height; tile i starts at this row.
 */
static inline int tile_start(int m, int tiles, int i)
{
    return m / tiles * i + min_int(i, m % tiles);
}

/* Rows [row, row + m) and terms [term, term + kc) of op(a), one panel after the other. */
static void pack_a(float *dst, const gemm_job *g, int row, int m, int tiles, int term, int kc)
{
    for (int i = 0; i < tiles; i++) {
        const int start = tile_start(m, tiles, i), rows = tile_start(m, tiles, i + 1) - start;
        const size_t at = (size_t)(row + start), first = (size_t)term;
        float *to = dst + start * kc;
        if (g->trans_a)
            pack_straight(to, rows, g->a + first * g->lda + at, g->lda, rows, kc);
        else
            pack_turned(to, rows, g->a + at * g->lda + first, g->lda, rows, kc);
    }
}

/* Rows of a that are read in place must not all fall into the same few cache sets. */
static bool rows_in_place(const gemm_job *g, int columns)
{
    return !g->trans_a && g->lda % 256 != 0 && columns <= 4 * GEMM_NR;
}

/* One block: c[row .. row + m)[column .. column + n) over terms [term, term + kc). */
static void gemm_block(const gemm_job *g, const float *b, int row, int m, int column, int n,
                       int term, int kc, bool in_place, float *pack)
{
    const int tiles = (m + GEMM_MR - 1) / GEMM_MR;
    const bool last_term = term + kc >= g->k;
    if (!in_place)
        pack_a(pack, g, row, m, tiles, term, kc);
    tile t = {
        .b_row = GEMM_NR,
        .b_panel = (size_t)GEMM_NR * (size_t)kc,
        .c_row = g->ldc,
        .k = kc,
        .alpha = g->alpha,
        .mode = term > 0 || g->accumulate ? TILE_ADD : TILE_SET,
    };
    const int step = tile_max_vectors((m + tiles - 1) / tiles) * VL;
    for (int j = 0; j < n; j += step) {
        t.b = b + (size_t)(j / GEMM_NR) * t.b_panel;
        t.bias = last_term && g->bias != NULL ? g->bias + column + j : NULL;
        for (int i = 0; i < tiles; i++) {
            const int start = tile_start(m, tiles, i), mr = tile_start(m, tiles, i + 1) - start;
            const size_t at = (size_t)(row + start);
            t.c = g->c + at * g->ldc + (size_t)(column + j - g->first_column);
            t.a = in_place ? g->a + at * g->lda + (size_t)term : pack + start * kc;
            t.a_ld = in_place ? g->lda : (size_t)mr;
            tile_across((in_place ? tile_rows_fn : tile_columns_fn)[mr - 1], t, mr,
                        min_int(step, n - j));
        }
    }
}

/* The rectangle of rows [row, row_end) and columns [column, column_end); column is at a panel. */
static void gemm_rectangle(const gemm_job *g, float *scratch, int row, int row_end, int column,
                           int column_end)
{
    float *const pack = scratch, *const panels = scratch + GEMM_SCRATCH_A;
    const size_t packed_columns = (size_t)round_up(g->n, GEMM_NR);
    const bool in_place = rows_in_place(g, column_end - column);
    for (int j = column; j < column_end; j += GEMM_NC) {
        const int n = min_int(GEMM_NC, column_end - j);
        int term = 0;
        do { /* once even when k is 0 */
            const int kc = min_int(GEMM_KC, g->k - term);
            const float *b = panels;
            if (g->packed != NULL)
                b = g->packed + (size_t)term * packed_columns + (size_t)j * (size_t)kc;
            else
                pack_b(panels, g, j, n, term, kc);
            for (int i = row; i < row_end; i += GEMM_MC)
                gemm_block(g, b, i, min_int(GEMM_MC, row_end - i), j, n, term, kc, in_place, pack);
            term += GEMM_KC;
        } while (term < g->k);
    }
}

/* Cut `i` of `cuts` nearly equal parts of n, at multiples of `unit`. */
static inline int cut_at(int n, int unit, int cuts, int i)
{
    const int64_t units = (n + unit - 1) / unit;
    return min_int(n, (int)(units * i / cuts) * unit);
}

static void gemm_cells(void *ctx, size_t begin, size_t end, int thread)
{
    const gemm_job *g = ctx;
    float *scratch = um_cpu_thread_scratch(g->be, thread);
    for (size_t cell = begin; cell < end; cell++) {
        const int r = (int)cell / g->column_cuts, c = (int)cell % g->column_cuts;
        const int row = cut_at(g->m, 1, g->row_cuts, r);
        const int row_end = cut_at(g->m, 1, g->row_cuts, r + 1);
        const int column = cut_at(g->n, GEMM_NR, g->column_cuts, c);
        const int column_end = cut_at(g->n, GEMM_NR, g->column_cuts, c + 1);
        if (row < row_end && column < column_end)
            gemm_rectangle(g, scratch, row, row_end, column, column_end);
    }
}

/* Cuts c into one rectangle a thread, with the least work and packing in the largest of them. */
static void gemm_run(gemm_job *g)
{
    if (g->m <= 0 || g->n <= 0)
        return;
    int threads = um_pool_threads(g->be->pool);
    if ((double)g->m * (double)g->n * (double)g->k < GEMM_PARALLEL_WORK)
        threads = 1;
    double best = 0.0;
    g->row_cuts = g->column_cuts = 1;
    for (int rows = 1; rows <= threads; rows++) {
        if (threads % rows != 0)
            continue;
        const int columns = threads / rows;
        const double height = (g->m + rows - 1) / rows;
        const double width = round_up((g->n + columns - 1) / columns, GEMM_NR);
        const double cost = height * width + 4.0 * (height + width);
        if (best > 0.0 && cost >= best)
            continue;
        best = cost;
        g->row_cuts = rows;
        g->column_cuts = columns;
    }
    um_cpu_for(g->be, (size_t)threads, 1, gemm_cells, g);
}

static void simd_gemm(um_backend *be, bool trans_a, bool trans_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, bool accumulate, float *c,
                      int ldc)
{
    gemm_job g = {
        .be = be,
        .trans_a = trans_a,
        .trans_b = trans_b,
        .accumulate = accumulate,
        .m = m,
        .n = n,
        .k = k,
        .alpha = alpha,
        .a = a,
        .b = b,
        .lda = (size_t)lda,
        .ldb = (size_t)ldb,
        .ldc = (size_t)ldc,
        .c = c,
    };
    gemm_run(&g);
}

/*
 * The packed layout: for each block of GEMM_KC terms all panels of GEMM_NR outputs, so that block
 * `term` starts at term * (n rounded up to GEMM_NR). A pair is two matrices, each rounded up.
 */
static um_status gemm_pack(um_backend *be, um_packed *out, const float *w, int n, int k, bool pair,
                           um_error *err)
{
    const int parts = pair ? 2 : 1, each = n / parts, columns = round_up(each, GEMM_NR);
    um_buf buf;
    um_status status = um_cpu_alloc_matrix(be, &buf, (size_t)(columns * parts), (size_t)k, err);
    if (status != UM_OK)
        return status;
    for (int term = 0; term < k; term += GEMM_KC) {
        const int kc = min_int(GEMM_KC, k - term);
        float *to = (float *)buf.data + (size_t)term * (size_t)(columns * parts);
        for (int part = 0; part < parts; part++, to += (size_t)columns * (size_t)kc) {
            const gemm_job g = {.trans_b = true,
                                .b = w + (size_t)part * (size_t)each * (size_t)k,
                                .ldb = (size_t)k};
            pack_b(to, &g, 0, each, term, kc);
        }
    }
    *out = (um_packed){
        .dtype = UM_F32, .pair = pair, .n = n, .k = k, .data = buf.data, .buf = buf};
    return UM_OK;
}

static void gemm_linear(um_backend *be, float *y, int ldy, const float *x, int m,
                        const um_packed *w, const float *bias, bool accumulate)
{
    gemm_job g = {
        .be = be,
        .accumulate = accumulate,
        .m = m,
        .n = w->n,
        .k = w->k,
        .alpha = 1.0f,
        .a = x,
        .bias = bias,
        .lda = (size_t)w->k,
        .ldc = (size_t)ldy,
        .packed = w->data,
        .c = y,
    };
    gemm_run(&g);
}

#endif
