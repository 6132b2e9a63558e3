/*
 * product.h - matrix products in bfloat16. Included by every vector backend after elements.h.
 *
 * Both operands are arranged in words (tile.h): op(b) once for all threads, as many columns at a
 * time as the shared scratch holds, in panels of GEMM_NR columns; op(a) by each thread for its
 * rows, PRODUCT_MC at a time, unless it can be read where it lies. b's panels stream through the L1
 * cache; a's block and the sums stay in the L2 cache.
 *
 * The sum over K is cut into nearly equal blocks of at most PRODUCT_KC terms, one chain each, which
 * are added in order: a function of K alone.
 */
#ifndef UM_NN_CPU_PRODUCT_H
#define UM_NN_CPU_PRODUCT_H

enum {
    PRODUCT_KC = 640,
    PRODUCT_MC = 96,
    PRODUCT_NC = 1024,  /* whole panels */
    PRODUCT_STRIP = 32, /* terms; even */
    PRODUCT_AHEAD = 16, /* terms */
    CACHE_LINE = 64,
    PRODUCT_SCRATCH_A = PRODUCT_MC * PRODUCT_KC,
    PRODUCT_SCRATCH = PRODUCT_SCRATCH_A + PRODUCT_MC * PRODUCT_NC,
};

typedef struct product_job {
    um_backend *be;
    const um_product *p;
    float *panels; /* the columns of op(b) that are in turn, in words */
    int column, columns;
    int blocks;     /* of terms */
    int strips;     /* of terms, of a block */
    int row_blocks; /* of rows */
    bool in_place;  /* a is read where it lies */
} product_job;

/* The first term of a block; even. */
static inline int product_term(const product_job *g, int block)
{
    const int64_t pairs = (g->p->k + 1) / 2;
    return min_int(g->p->k, (int)(pairs * block / g->blocks) * 2);
}

static inline int words_of(int terms)
{
    return (terms + WORD_TERMS - 1) / WORD_TERMS;
}

/* VL words of consecutive terms from element `at` on, of which n terms exist. */
static INLINE vf row_words(const um_matrix_ref *x, size_t at, int n)
{
#ifdef SIMD_BF16_DOT
    if (x->dtype == UM_BF16 && n == 2 * VL)
        return vf_load((const float *)(const void *)((const uint16_t *)x->data + at));
    const int low = min_int(n, VL);
    return vf_row_words(array_get(x->dtype, x->data, at, low),
                        n > low ? array_get(x->dtype, x->data, at + VL, n - low) : vf_zero());
#else
    return vf_round_bf16(array_get(x->dtype, x->data, at, n));
#endif
}

/*
 * dst[w * width + j] = word w of column j, for n columns from `column` and terms [term, term +
 * terms), and 0 for n <= j < width. Terms are consecutive in memory, columns of stride ld.
 */
static void turn_words(float *dst, int width, const um_matrix_ref *x, int column, int n, int term,
                       int terms)
{
    const size_t ld = (size_t)x->ld;
    for (int j = 0; j < width; j += VL) {
        const int out = min_int(VL, width - j);
        for (int p = 0; p < terms; p += VL * WORD_TERMS) {
            const int depth = min_int(VL * WORD_TERMS, terms - p), words = words_of(depth);
            vf r[VL];
            UNROLL
            for (int i = 0; i < VL; i++)
                r[i] = j + i < n
                           ? row_words(x, (size_t)(column + j + i) * ld + (size_t)(term + p), depth)
                           : vf_zero();
            vf_transpose(r);
            float *to = dst + (size_t)(p / WORD_TERMS) * (size_t)width + j;
            UNROLL
            for (int i = 0; i < VL; i++) {
                if (i < words)
                    vf_put(to + i * width, r[i], out);
            }
        }
    }
}

/* The words of n columns from element `at` on, of terms whose columns are consecutive in memory;
 * the second term of a word exists where `both`. */
static INLINE vf column_words(const um_matrix_ref *x, size_t at, int n, bool both)
{
    const vf first = array_get(x->dtype, x->data, at, n);
#ifdef SIMD_BF16_DOT
    return vf_words(first, both ? array_get(x->dtype, x->data, at + (size_t)x->ld, n) : vf_zero());
#else
    (void)both;
    return vf_round_bf16(first);
#endif
}

/* The same where columns are consecutive in memory, terms of stride ld. */
static void lay_words(float *dst, int width, const um_matrix_ref *x, int column, int n, int term,
                      int terms)
{
    for (int p = 0; p < terms; p += WORD_TERMS, dst += width) {
        const size_t at = (size_t)(term + p) * (size_t)x->ld + (size_t)column;
        for (int j = 0; j < width; j += VL) {
            const int lanes = min_int(VL, n - j);
            const vf words =
                lanes > 0 ? column_words(x, at + (size_t)j, lanes, p + 1 < terms) : vf_zero();
            vf_put(dst + j, words, min_int(VL, width - j));
        }
    }
}

/* Where a panel's block of terms begins. */
static float *panel_block(const product_job *g, int panel, int block)
{
    const int term = product_term(g, block);
    const int words = words_of(product_term(g, block + 1) - term);
    return g->panels + (size_t)words_of(term) * (size_t)round_up(g->columns, GEMM_NR) +
           (size_t)panel * (size_t)(words * GEMM_NR);
}

/* All terms of panels [begin, end), where terms are consecutive in memory. */
static void product_turned_panels(void *ctx, size_t begin, size_t end, int thread)
{
    const product_job *g = ctx;
    (void)thread;
    for (size_t panel = begin; panel < end; panel++) {
        const int at = (int)panel * GEMM_NR, n = min_int(GEMM_NR, g->columns - at);
        for (int block = 0; block < g->blocks; block++) {
            const int term = product_term(g, block), terms = product_term(g, block + 1) - term;
            turn_words(panel_block(g, (int)panel, block), GEMM_NR, &g->p->b, g->column + at, n,
                       term, terms);
        }
    }
}

/* Of all panels the terms of `strips` [begin, end), where columns are consecutive in memory: each
 * of a few rows is read from one end to the other. */
static void product_laid_panels(void *ctx, size_t begin, size_t end, int thread)
{
    const product_job *g = ctx;
    (void)thread;
    for (size_t strip = begin; strip < end; strip++) {
        const int block = (int)strip / g->strips;
        const int first = product_term(g, block), last = product_term(g, block + 1);
        const int term = first + (int)strip % g->strips * PRODUCT_STRIP;
        const int terms = min_int(PRODUCT_STRIP, last - term);
        for (int at = 0; at < g->columns && terms > 0; at += GEMM_NR) {
            float *dst = panel_block(g, at / GEMM_NR, block) +
                         (size_t)((term - first) / WORD_TERMS) * GEMM_NR;
            lay_words(dst, GEMM_NR, &g->p->b, g->column + at, min_int(GEMM_NR, g->columns - at),
                      term, terms);
        }
    }
}

/* Calls for the lines of a word's terms, which lie in as many pages: the machine would not. */
static INLINE void rows_ahead(const product_job *g, int row, int m, int term, int end)
{
    const um_matrix_ref *a = &g->p->a;
    const size_t size = a->dtype == UM_F32 ? sizeof(float) : sizeof(uint16_t);
    for (int p = term; p < min_int(term + WORD_TERMS, end); p++) {
        const char *line = (const char *)a->data + ((size_t)p * (size_t)a->ld + (size_t)row) * size;
        for (size_t at = 0; at < (size_t)m * size; at += CACHE_LINE)
            __builtin_prefetch(line + at);
    }
}

/* Rows [row, row + m) of op(a) over a block of terms, tile by tile. Where a's rows are consecutive
 * in memory, all tiles are filled at once: a line of memory belongs to several of them. */
static void product_rows_words(float *dst, const product_job *g, int row, int m, int tiles,
                               int term, int terms)
{
    const um_matrix_ref *a = &g->p->a;
    const int words = words_of(terms);
    for (int i = 0; i < tiles && !a->trans; i++) {
        const int start = tile_start(m, tiles, i), rows = tile_start(m, tiles, i + 1) - start;
        turn_words(dst + start * words, rows, a, row + start, rows, term, terms);
    }
    if (!a->trans)
        return;
    int starts[PRODUCT_MC + 1];
    for (int i = 0; i <= tiles; i++)
        starts[i] = tile_start(m, tiles, i);
    for (int w = 0; w < words; w++) {
        const int p = w * WORD_TERMS;
        const size_t at = (size_t)(term + p) * (size_t)a->ld + (size_t)row;
        rows_ahead(g, row, m, term + p + PRODUCT_AHEAD, term + terms);
        for (int i = 0; i < tiles; i++) {
            const int start = starts[i], rows = starts[i + 1] - start;
            float *to = dst + start * words + w * rows;
            for (int j = 0; j < rows; j += VL) {
                const int n = min_int(VL, rows - j);
                vf_put(to + j, column_words(a, at + (size_t)(start + j), n, p + 1 < terms), n);
            }
        }
    }
}

/* A rounded c from the sums of a panel. */
static void product_store(const product_job *g, const float *acc, int row, int m, int column, int n)
{
    const um_product *p = g->p;
    for (int i = 0; i < m; i++, acc += GEMM_NR) {
        const size_t row_at = (size_t)(row + i) * (size_t)p->ldc + (size_t)column;
        for (int j = 0; j < n; j += VL) {
            const int lanes = min_int(VL, n - j);
            const size_t at = row_at + (size_t)j;
            vf value = vf_load(acc + j);
            if (p->bias != NULL)
                value = vf_add(value, vf_round_bf16(vf_get(p->bias + column + j, lanes)));
            if (p->residual != NULL)
                value = vf_add(vf_round_bf16(value), array_get(p->c_dtype, p->residual, at, lanes));
            array_put(p->c_dtype, p->c, at, vf_round_bf16(value), lanes);
        }
    }
}

/* One block of terms for rows [row, row + m): into c, or into the sums. */
static void product_block(const product_job *g, float *scratch, int row, int m, int block)
{
    const um_product *p = g->p;
    const int term = product_term(g, block), terms = product_term(g, block + 1) - term;
    const int tiles = (m + GEMM_MR - 1) / GEMM_MR, words = words_of(terms);
    const bool direct = p->c_dtype == UM_F32 && !p->rounded, last = block + 1 == g->blocks;
    float *acc = scratch + PRODUCT_SCRATCH_A;
    if (!g->in_place)
        product_rows_words(scratch, g, row, m, tiles, term, terms);
    tile t = {.b_row = GEMM_NR,
              .c_row = direct ? (size_t)p->ldc : GEMM_NR,
              .k = words,
              .alpha = 1.0f,
              .mode = block > 0 || p->accumulate ? TILE_ADD : TILE_SET};
    for (int j = 0; j < g->columns; j += GEMM_NR) {
        const int n = min_int(GEMM_NR, g->columns - j), column = g->column + j;
        t.b = panel_block(g, j / GEMM_NR, block);
        for (int i = 0; i < tiles; i++) {
            const int start = tile_start(m, tiles, i), mr = tile_start(m, tiles, i + 1) - start;
            const size_t at = (size_t)(row + start);
            t.a = scratch + start * words;
            t.a_ld = (size_t)mr;
            if (g->in_place) {
                t.a_ld = (size_t)(p->a.ld / WORD_TERMS);
                t.a = (const float *)p->a.data + at * t.a_ld + (size_t)(term / WORD_TERMS);
            }
            t.c = direct ? (float *)p->c + at * t.c_row + (size_t)column : acc + start * GEMM_NR;
            if (g->in_place)
                tile_across(tile_dot_rows_fn[mr - 1], t, mr, direct ? n : GEMM_NR);
            else
                tile_across(tile_dot_columns_fn[mr - 1], t, mr, direct ? n : GEMM_NR);
        }
        if (!direct && last)
            product_store(g, acc, row, m, column, n);
        if (g->blocks > 1)
            acc += m * GEMM_NR;
    }
}

static void product_row_blocks(void *ctx, size_t begin, size_t end, int thread)
{
    const product_job *g = ctx;
    float *scratch = um_cpu_thread_scratch(g->be, thread);
    for (size_t i = begin; i < end; i++) {
        const int row = tile_start(g->p->m, g->row_blocks, (int)i);
        const int m = tile_start(g->p->m, g->row_blocks, (int)i + 1) - row;
        for (int block = 0; block < g->blocks; block++)
            product_block(g, scratch, row, m, block);
    }
}

/* Words of a's rows can be read as they lie, when not all rows fall into the same few cache sets.
 */
static bool product_in_place(const um_product *p)
{
    return WORD_TERMS == 2 && p->a.dtype == UM_BF16 && !p->a.trans && p->a.ld % 2 == 0 &&
           p->k % 2 == 0 && p->a.ld % 1024 != 0 && (uintptr_t)p->a.data % sizeof(float) == 0;
}

static void simd_product(um_backend *be, const um_product *p)
{
    product_job g = {.be = be, .p = p, .in_place = product_in_place(p)};
    if (p->m <= 0 || p->n <= 0)
        return;
    const um_cpu_scratch *scratch = be->scratch;
    g.panels = scratch->shared;
    g.blocks = p->k > PRODUCT_KC ? (p->k + PRODUCT_KC - 1) / PRODUCT_KC : 1;
    const int longest = 2 * (((p->k + 1) / 2 + g.blocks - 1) / g.blocks); /* block, in terms */
    g.strips = (longest + PRODUCT_STRIP - 1) / PRODUCT_STRIP;
    const bool small = (double)p->m * (double)p->n * (double)p->k < GEMM_PARALLEL_WORK;
    const int threads = small ? 1 : um_pool_threads(be->pool);
    g.row_blocks = (p->m + PRODUCT_MC - 1) / PRODUCT_MC;
    g.row_blocks = min_int(p->m, round_up(g.row_blocks, threads));
    /* All columns at once where no sums must be kept: then each row of a is arranged once. */
    const int words = words_of(p->k) + 1, fit = CPU_SHARED_FLOATS / words / GEMM_NR * GEMM_NR;
    const bool kept = g.blocks > 1 && (p->rounded || p->c_dtype == UM_BF16);
    const int most = kept ? min_int(fit, PRODUCT_NC) : fit, chunks = (p->n + most - 1) / most;
    const int chunk = round_up((p->n + chunks - 1) / chunks, GEMM_NR);
    for (g.column = 0; g.column < p->n; g.column += chunk) {
        g.columns = min_int(chunk, p->n - g.column);
        const size_t panels = (size_t)((g.columns + GEMM_NR - 1) / GEMM_NR);
        const size_t parts = p->b.trans ? panels : (size_t)(g.blocks * g.strips);
        um_cpu_for(be, parts, small ? parts : 1,
                   p->b.trans ? product_turned_panels : product_laid_panels, &g);
        um_cpu_for(be, (size_t)g.row_blocks, small ? (size_t)g.row_blocks : 1, product_row_blocks,
                   &g);
    }
}

#endif
