/*
 * attention.h - attention over spans, forward and backward. Included by every vector backend.
 *
 * The rule that makes a query row's result independent of its company (prefill, decoding step,
 * other batch, other cut of the same keys into ranges): the row's keys are numbered 0, 1, 2, ... in
 * the order of its list (prefix ranges in order, then its own rows) and taken in blocks of ATT_KEYS
 * counted from key 0. Within a block every score is one chain over the head width; the block's
 * maximum updates the running maximum, the running sum and output are scaled by
 * exp(old maximum - new), then the probabilities are added lane by lane (key i in lane i mod VL)
 * and the output continues one chain per column in key order (online softmax: Milakov and
 * Gimelshein 2018; blocks as in FlashAttention, Dao et al. 2022). Nothing beyond a row's last key
 * enters it.
 *
 * Query rows are flattened: row r of a span is token r / group, head r % group of the heads that
 * share one key/value head. Blocks of ATT_ROWS such rows work on the same keys; short spans with
 * the same prefix list (samples that share a prompt) sit in one block and read the prefix once.
 */
#ifndef UM_NN_CPU_ATTENTION_H
#define UM_NN_CPU_ATTENTION_H

enum {
    ATT_ROWS = 192,
    ATT_KEYS = 64,
    /* Score panels and turned key or value blocks for the widest head; see att_space_init. */
    ATT_SCRATCH =
        ATT_ROWS * (4 * UM_HEAD_DIM_MAX + 4 * ATT_KEYS + VL + 2) + 4 * ATT_KEYS * UM_HEAD_DIM_MAX,
};

/* Multiply-adds below which attention stays on the calling thread. */
static const double ATT_PARALLEL_WORK = 1 << 22;

typedef struct att_job {
    um_backend *be;
    um_attention_shape shape;
    const um_span *spans;
    const um_range *prefixes;
    int n_spans, group; /* query heads a key/value head */
    const float *q, *k, *v;
    size_t ldq, ldkv;
    /* Forward writes out and lse; backward reads them. */
    float *out, *lse;
    size_t ldo;
    const float *saved_out, *saved_lse, *dout;
    float *dq, *dk, *dv;
    size_t lddo, lddq, lddkv;
    int shares; /* threads that split the work */
    double total_cost;
} att_job;

/*
 * One block of query rows in one thread's scratch; width is the head width in whole vectors. With
 * `dot` products are of words (tile.h): q, grad, kt and vt then hold words of consecutive terms,
 * and what is summed over rows or keys lies in words of two rows or keys.
 */
typedef struct att_space {
    bool bf16, dot;
    size_t width;
    size_t row;   /* floats or words of a row of q and grad */
    int depth;    /* of a score, in floats or words */
    float alpha;  /* on scores: the scale where q has not got it */
    float *q;     /* [ATT_ROWS][row], times the scale / alpha, zero beyond the head width */
    float *o;     /* [ATT_ROWS][width]: output, or gradient of q */
    float *grad;  /* [ATT_ROWS][width]: gradient of the output */
    float *s, *d; /* [ATT_ROWS][ATT_KEYS]: scores then probabilities; their gradient */
    float *sum;   /* [ATT_ROWS][VL]: sums of probabilities, lane by lane */
    float *max;   /* [ATT_ROWS]: running maximum, or the saved lse */
    float *delta; /* [ATT_ROWS]: sum of grad * out */
    float *kt;    /* keys turned: panels [head_dim][GEMM_NR] */
    float *vt;    /* values turned */
    float *kv;    /* [ATT_KEYS][width]: key or value rows that cannot be read in place; dot:
                     words of two rows each */
    float *pair_q, *pair_grad; /* dot: [ATT_ROWS / 2][width] words of two rows */
    float *pair_s, *pair_d;    /* dot: [ATT_ROWS / 2][ATT_KEYS] likewise */
    float *weight;             /* dot: [ATT_ROWS][ATT_KEYS / 2] words of two keys, of s or d */
    float *dkv;                /* [ATT_KEYS][width]: one block's part of dk or dv */
    int limit[ATT_ROWS];       /* keys of each row */
} att_space;

/* Consecutive rows [row, row + rows) of one span; a block is one or more of them. */
typedef struct att_part {
    const um_span *span;
    int row, rows;
} att_part;

typedef struct att_block {
    att_part part[ATT_ROWS];
    int parts, rows, head; /* head: key/value head */
    double cost;           /* pairs of row and key */
} att_block;

/* Keys [first, first + count) of a span's list. */
typedef struct att_keys {
    int32_t row[ATT_KEYS];
    int first, count;
    bool consecutive; /* rows follow each other in memory */
} att_keys;

static float *take(float **at, size_t floats)
{
    float *p = *at;
    *at += floats;
    return p;
}

static void att_space_init(att_space *a, float *scratch, const um_attention_shape *shape)
{
    const int head_dim = shape->head_dim;
    a->bf16 = shape->bf16;
    a->dot = shape->bf16 && WORD_TERMS == 2 && head_dim % 2 == 0;
    a->width = (size_t)round_up(head_dim, a->dot ? 2 * VL : VL);
    a->row = a->dot ? a->width / 2 : a->width;
    a->depth = a->dot ? head_dim / 2 : head_dim;
    a->alpha = a->dot ? shape->scale : 1.0f;
    a->q = take(&scratch, ATT_ROWS * a->width);
    a->o = take(&scratch, ATT_ROWS * a->width);
    a->grad = take(&scratch, ATT_ROWS * a->width);
    a->s = take(&scratch, (size_t)ATT_ROWS * ATT_KEYS);
    a->d = take(&scratch, (size_t)ATT_ROWS * ATT_KEYS);
    a->sum = take(&scratch, (size_t)ATT_ROWS * VL);
    a->kt = take(&scratch, ATT_KEYS * a->width);
    a->vt = take(&scratch, ATT_KEYS * a->width);
    a->kv = take(&scratch, ATT_KEYS * a->width);
    a->dkv = take(&scratch, ATT_KEYS * a->width);
    a->pair_q = take(&scratch, ATT_ROWS / 2 * a->width);
    a->pair_grad = take(&scratch, ATT_ROWS / 2 * a->width);
    a->pair_s = take(&scratch, (size_t)ATT_ROWS / 2 * ATT_KEYS);
    a->pair_d = take(&scratch, (size_t)ATT_ROWS / 2 * ATT_KEYS);
    a->weight = take(&scratch, (size_t)ATT_ROWS * ATT_KEYS / 2);
    a->max = take(&scratch, ATT_ROWS);
    a->delta = take(&scratch, ATT_ROWS);
}

static int prefix_keys(const att_job *job, const um_span *span)
{
    int n = 0;
    for (int i = 0; i < span->prefix_count; i++)
        n += job->prefixes[span->prefix_first + i].len;
    return n;
}

static bool same_prefix(const um_span *a, const um_span *b)
{
    return a->prefix_count > 0 && a->prefix_count == b->prefix_count &&
           a->prefix_first == b->prefix_first;
}

/* Adds rows [row, row + rows) of the span to the block; `prefix` is the span's prefix_keys. */
static void block_add(const att_job *job, att_block *b, const um_span *span, int row, int rows,
                      int prefix)
{
    b->part[b->parts++] = (att_part){span, row, rows};
    b->rows += rows;
    const int first = row / job->group, last = (row + rows - 1) / job->group;
    const double keys = prefix + span->own_before + 1 + 0.5 * ((double)first + last);
    b->cost += keys > 1.0 ? rows * keys : rows;
}

/* The block that starts at row *row of span *span; moves both on. False at the end. */
static bool next_block(const att_job *job, int *span, int *row, att_block *b)
{
    b->parts = b->rows = 0;
    b->cost = 0.0;
    int prefix = 0;
    while (*span < job->n_spans && b->rows < ATT_ROWS) {
        const um_span *s = &job->spans[*span];
        const int left = s->len * job->group - *row;
        if (left > 0) {
            if (b->parts == 0)
                prefix = prefix_keys(job, s);
            else if (prefix < ATT_KEYS || !same_prefix(b->part[0].span, s))
                break;
            const int rows = min_int(left, ATT_ROWS - b->rows);
            block_add(job, b, s, *row, rows, prefix);
            *row += rows;
            if (rows < left)
                break;
        }
        *row = 0;
        ++*span;
    }
    return b->rows > 0;
}

static void find_keys(const att_job *job, const um_span *span, int first, int count, att_keys *keys)
{
    keys->first = first;
    keys->count = count;
    keys->consecutive = true;
    int n = 0, start = 0; /* start: number of the range's first key */
    for (int i = 0; i < span->prefix_count && n < count; i++) {
        const um_range range = job->prefixes[span->prefix_first + i];
        for (int j = first + n - start; j < range.len && n < count; j++)
            keys->row[n++] = range.start + j;
        start += range.len;
    }
    for (int j = first + n - start; n < count; j++)
        keys->row[n++] = span->kv_start + j;
    for (n = 1; n < count; n++)
        keys->consecutive &= keys->row[n] == keys->row[n - 1] + 1;
}

/* The head's terms of the row of a key. */
static INLINE const float *key_row(const att_job *job, const att_keys *keys, const float *from,
                                   int head, int i)
{
    return from + (size_t)keys->row[i] * job->ldkv + (size_t)(head * job->shape.head_dim);
}

#ifdef SIMD_BF16_DOT
/* to[0 .. width / 2) = the words of a row of dim terms, zeros beyond. to may be where the row is.
 */
static void row_to_words(float *to, size_t width, const float *from, int dim)
{
    for (int d = 0; d < (int)width; d += 2 * VL) {
        const int low = min_int(VL, dim - d), high = min_int(VL, dim - d - VL);
        const vf first = low > 0 ? vf_get(from + d, low) : vf_zero();
        const vf second = high > 0 ? vf_get(from + d + VL, high) : vf_zero();
        vf_store(to + d / 2, vf_row_words(first, second));
    }
}

/* to[0 .. width) = the words of two rows of dim terms, zeros beyond; b may be NULL for zeros. */
static void rows_to_words(float *to, size_t width, const float *a, const float *b, int dim)
{
    for (int d = 0; d < (int)width; d += VL) {
        const int n = min_int(VL, dim - d);
        vf_store(to + d,
                 n <= 0 ? vf_zero()
                        : vf_words(vf_get(a + d, n), b != NULL ? vf_get(b + d, n) : vf_zero()));
    }
}
#else
/* Without pairs there are no words: never called. */
static void row_to_words(float *to, size_t width, const float *from, int dim)
{
    (void)to, (void)width, (void)from, (void)dim;
}

static void rows_to_words(float *to, size_t width, const float *a, const float *b, int dim)
{
    (void)to, (void)width, (void)a, (void)b, (void)dim;
}
#endif

/* Rows of k or v: columns of one key/value head, turned into panels of GEMM_NR keys. */
static void turn_keys(const att_job *job, const att_keys *keys, const float *from, int head,
                      att_space *a, float *dst)
{
    const int dim = job->shape.head_dim;
    const float *rows[ATT_KEYS];
    for (int i = 0; i < keys->count; i++) {
        rows[i] = key_row(job, keys, from, head, i);
        if (a->dot) {
            row_to_words(a->kv + (size_t)i * a->row, a->width, rows[i], dim);
            rows[i] = a->kv + (size_t)i * a->row;
        }
    }
    for (int i = 0; i < keys->count; i += GEMM_NR, dst += GEMM_NR * a->depth)
        pack_transposed(dst, GEMM_NR, rows + i, min_int(GEMM_NR, keys->count - i), a->depth);
}

/* The same rows as they are: in place where they can be read as whole vectors, else copied; with
 * `dot` as words of two rows. */
static const float *straight_keys(const att_job *job, const att_keys *keys, const float *from,
                                  int head, att_space *a, size_t *ld)
{
    const int dim = job->shape.head_dim;
    *ld = a->width;
    if (a->dot) {
        for (int i = 0; i < keys->count; i += 2)
            rows_to_words(a->kv + (size_t)(i / 2) * a->width, a->width,
                          key_row(job, keys, from, head, i),
                          i + 1 < keys->count ? key_row(job, keys, from, head, i + 1) : NULL, dim);
        return a->kv;
    }
    if (keys->consecutive && dim % VL == 0) {
        *ld = job->ldkv;
        return key_row(job, keys, from, head, 0);
    }
    for (int i = 0; i < keys->count; i++)
        pack_straight(a->kv + (size_t)i * a->width, (int)a->width,
                      key_row(job, keys, from, head, i), 0, dim, 1);
    return a->kv;
}

/* Keys of this block that row r of it attends. */
static int keys_of_row(const att_space *a, const att_keys *keys, int r)
{
    const int n = a->limit[r] - keys->first;
    return n < 0 ? 0 : min_int(n, keys->count);
}

/* dst[r][i] = alpha x[r] . (column i of turned), rows [row, end), for keys that any of a tile
 * attends. */
static void att_scores(const att_space *a, const att_keys *keys, const float *x,
                       const float *turned, float alpha, float *dst, int row, int end)
{
    tile t = {.a_ld = a->row,
              .b = turned,
              .b_row = GEMM_NR,
              .b_panel = (size_t)(GEMM_NR * a->depth),
              .c_row = ATT_KEYS,
              .k = a->depth,
              .alpha = alpha,
              .mode = TILE_SET};
    const int tiles = (end - row + GEMM_MR - 1) / GEMM_MR;
    for (int i = 0; i < tiles; i++) {
        const int r = row + tile_start(end - row, tiles, i);
        const int mr = row + tile_start(end - row, tiles, i + 1) - r;
        t.a = x + (size_t)r * a->row;
        t.c = dst + (size_t)r * ATT_KEYS;
        int columns = 0;
        for (int j = 0; j < mr; j++)
            columns = columns > keys_of_row(a, keys, r + j) ? columns : keys_of_row(a, keys, r + j);
        tile_across((a->dot ? tile_dot_rows_fn : tile_rows_fn)[mr - 1], t, mr, columns);
    }
}

/* Rows [row, end) of x [ATT_KEYS] as words of two keys in a->weight; 0 beyond a row's keys. */
static void att_weight_words(const att_space *a, const att_keys *keys, const float *x, int row,
                             int end)
{
    for (int r = row; r < end; r++)
        row_to_words(a->weight + (size_t)r * (ATT_KEYS / 2), ATT_KEYS, x + (size_t)r * ATT_KEYS,
                     keys_of_row(a, keys, r));
}

/*
 * o[r] += sum over the keys i that row r attends of weight[r][i] x[i], continuing the chain in o.
 * Rows are in order of their number of keys.
 */
static void att_mix(const att_space *a, const att_keys *keys, const float *weight, const float *x,
                    size_t ldx, int row, int end)
{
    int limit[GEMM_MR];
    if (a->dot) {
        att_weight_words(a, keys, weight, row, end);
        weight = a->weight;
    }
    tile t = {.a_ld = a->dot ? ATT_KEYS / 2 : ATT_KEYS,
              .b = x,
              .b_row = ldx,
              .b_panel = GEMM_NR,
              .c_row = a->width,
              .mode = TILE_CHAIN};
    const int tiles = (end - row + GEMM_MR - 1) / GEMM_MR, columns = (int)a->width;
    for (int i = 0; i < tiles; i++) {
        const int r = row + tile_start(end - row, tiles, i);
        const int mr = row + tile_start(end - row, tiles, i + 1) - r;
        for (int j = 0; j < mr; j++)
            limit[j] = keys_of_row(a, keys, r + j);
        t.a = weight + (size_t)r * t.a_ld;
        t.c = a->o + (size_t)r * a->width;
        t.k = limit[0];
        t.limit = limit[mr - 1] > limit[0] ? limit : NULL;
        if (a->dot) { /* a word of zeros changes nothing */
            t.k = (limit[mr - 1] + 1) / 2;
            t.limit = NULL;
        }
        tile_across((a->dot ? tile_dot_rows_fn : tile_rows_fn)[mr - 1], t, mr, columns);
    }
}

/*
 * Turns scores into probabilities and updates the running maxima, sums and outputs of rows
 * [row, end), all of which attend some key of the block. In three passes, so that no row waits for
 * the latency of its own maximum.
 */
static void att_softmax(att_space *a, const att_keys *keys, int row, int end)
{
    const vf low = vf_set(-INFINITY);
    const bool rounds = a->bf16 && !a->dot; /* words are rounded when they are made */
    float block_max[ATT_ROWS + VL], shrink[ATT_ROWS + VL];
    for (int r = row; r < end; r++) {
        const int n = keys_of_row(a, keys, r);
        const float *s = a->s + (size_t)r * ATT_KEYS;
        vf max = low;
        for (int i = 0; i < n; i += VL)
            max = vf_max(max, vf_keep_n(vf_load(s + i), n - i, low));
        block_max[r] = vf_largest(max);
    }
    for (int r = row; r < end; r += VL) {
        const int n = min_int(VL, end - r);
        const vf old = vf_get(a->max + r, n), max = vf_max(old, vf_get(block_max + r, n));
        vf_put(shrink + r, vf_exp(vf_sub(old, max)), n);
        vf_put(a->max + r, max, n);
    }
    for (int r = row; r < end; r++) {
        const int n = keys_of_row(a, keys, r);
        float *s = a->s + (size_t)r * ATT_KEYS, *sums = a->sum + (size_t)r * VL;
        vf sum = vf_load(sums);
        if (shrink[r] != 1.0f) {
            float *o = a->o + (size_t)r * a->width;
            sum = vf_mul(sum, vf_set(shrink[r]));
            for (size_t d = 0; d < a->width; d += VL)
                vf_store(o + d, vf_mul(vf_load(o + d), vf_set(shrink[r])));
        }
        const vf max = vf_set(a->max[r]);
        for (int i = 0; i < n; i += VL) {
            const vf p = vf_keep_n(vf_exp(vf_sub(vf_load(s + i), max)), n - i, vf_zero());
            vf_store(s + i, rounds ? vf_round_bf16(p) : p);
            sum = vf_add(sum, p);
        }
        vf_store(sums, sum);
    }
}

/* Rows [row, end) of the block against the keys [first, first + count) of `span`. */
static void att_forward_keys(const att_job *job, att_space *a, int head, const um_span *span,
                             int first, int count, int row, int end)
{
    att_keys keys;
    find_keys(job, span, first, count, &keys);
    while (row < end && keys_of_row(a, &keys, row) == 0)
        row++;
    if (row == end)
        return;
    turn_keys(job, &keys, job->k, head, a, a->kt);
    att_scores(a, &keys, a->q, a->kt, a->alpha, a->s, row, end);
    att_softmax(a, &keys, row, end);
    size_t ld;
    const float *values = straight_keys(job, &keys, job->v, head, a, &ld);
    att_mix(a, &keys, a->s, values, ld, row, end);
}

/* Token and query head of one row of a part. */
typedef struct att_place {
    size_t token;
    int query_head;
} att_place;

static att_place first_place(const att_job *job, const att_part *part, int head)
{
    return (att_place){.token = (size_t)(part->span->start + part->row / job->group),
                       .query_head = head * job->group + part->row % job->group};
}

static void next_place(const att_job *job, int head, att_place *p)
{
    if (++p->query_head == (head + 1) * job->group) {
        p->query_head = head * job->group;
        p->token++;
    }
}

/* Copies one head row, scaled, and pads it to whole vectors with zeros. */
static void take_row(float *dst, size_t width, const float *src, int dim, float scale)
{
    for (int d = 0; d < (int)width; d += VL) {
        const int n = min_int(VL, dim - d);
        vf_store(dst + d, n > 0 ? vf_mul(vf_get(src + d, n), vf_set(scale)) : vf_zero());
    }
}

/* Loads the queries of a part whose first row is row `at` of the block. */
static void att_load_queries(const att_job *job, att_space *a, const att_part *part, int head,
                             int at)
{
    const int dim = job->shape.head_dim, prefix = prefix_keys(job, part->span);
    const float scale = a->dot ? 1.0f : job->shape.scale;
    att_place p = first_place(job, part, head);
    for (int i = 0; i < part->rows; i++, next_place(job, head, &p)) {
        const float *q = job->q + p.token * job->ldq + (size_t)(p.query_head * dim);
        take_row(a->q + (size_t)(at + i) * a->width, a->width, q, dim, scale);
        const int own = part->span->own_before + 1 + (int)p.token - part->span->start;
        a->limit[at + i] = prefix + (own > 0 ? own : 0);
    }
}

/* dot: rows x[rows][width] become words in their place, and words of two rows in `pairs` unless it
 * is NULL. */
static void att_rows_to_words(const att_space *a, float *x, float *pairs, int rows)
{
    const int width = (int)a->width;
    for (int r = 0; r < rows && pairs != NULL; r += 2) {
        const float *row = x + (size_t)r * a->width;
        rows_to_words(pairs + (size_t)(r / 2) * a->width, a->width, row,
                      r + 1 < rows ? row + width : NULL, width);
    }
    for (int r = 0; r < rows; r++)
        row_to_words(x + (size_t)r * a->row, a->width, x + (size_t)r * a->width, width);
}

static void att_store_output(const att_job *job, const att_space *a, const att_part *part, int head,
                             int at)
{
    const int dim = job->shape.head_dim;
    att_place p = first_place(job, part, head);
    for (int r = at; r < at + part->rows; r++, next_place(job, head, &p)) {
        const float sum = vf_sum(vf_load(a->sum + (size_t)r * VL));
        const vf factor = vf_set(a->limit[r] > 0 ? 1.0f / sum : 0.0f);
        const float *from = a->o + (size_t)r * a->width;
        float *to = job->out + p.token * job->ldo + (size_t)(p.query_head * dim);
        for (int d = 0; d < dim; d += VL)
            vf_put(to + d, vf_mul(vf_load(from + d), factor), min_int(VL, dim - d));
        if (job->lse != NULL)
            job->lse[p.token * (size_t)job->shape.n_heads + (size_t)p.query_head] =
                a->max[r] + (float)log((double)sum);
    }
}

static void att_forward_block(const att_job *job, att_space *a, const att_block *b)
{
    for (int i = 0, at = 0; i < b->parts; at += b->part[i++].rows)
        att_load_queries(job, a, &b->part[i], b->head, at);
    if (a->dot)
        att_rows_to_words(a, a->q, NULL, b->rows);
    memset(a->o, 0, (size_t)b->rows * a->width * sizeof(float));
    memset(a->sum, 0, (size_t)b->rows * VL * sizeof(float));
    for (int r = 0; r < b->rows; r++)
        a->max[r] = -INFINITY;
    /* Whole blocks of a common prefix for all rows at once, the rest part by part. */
    int shared = 0;
    if (b->parts > 1)
        shared = prefix_keys(job, b->part[0].span) / ATT_KEYS * ATT_KEYS;
    for (int first = 0; first < shared; first += ATT_KEYS)
        att_forward_keys(job, a, b->head, b->part[0].span, first, ATT_KEYS, 0, b->rows);
    for (int i = 0, at = 0; i < b->parts; at += b->part[i++].rows) {
        const int end = at + b->part[i].rows, limit = a->limit[end - 1];
        for (int first = shared; first < limit; first += ATT_KEYS)
            att_forward_keys(job, a, b->head, b->part[i].span, first,
                             min_int(ATT_KEYS, limit - first), at, end);
        att_store_output(job, a, &b->part[i], b->head, at);
    }
}

/* Whether the piece of work that starts at `cost` of the total belongs to this share. */
static bool in_share(const att_job *job, double cost, size_t share)
{
    const double each = job->total_cost / job->shares;
    return cost >= each * (double)share &&
           (cost < each * (double)(share + 1) || share + 1 == (size_t)job->shares);
}

static void att_forward_shares(void *ctx, size_t begin, size_t end, int thread)
{
    const att_job *job = ctx;
    att_space a;
    att_space_init(&a, um_cpu_thread_scratch(job->be, thread), &job->shape);
    for (size_t share = begin; share < end; share++) {
        double cost = 0.0;
        int span = 0, row = 0;
        att_block b;
        while (next_block(job, &span, &row, &b)) {
            for (b.head = 0; b.head < job->shape.n_kv_heads; b.head++, cost += b.cost) {
                if (in_share(job, cost, share))
                    att_forward_block(job, &a, &b);
            }
        }
    }
}

/* Measures the work and runs fn over as many shares as it is worth. */
static void att_run(att_job *job, um_pool_fn fn)
{
    int span = 0, row = 0;
    att_block b;
    job->group = job->shape.n_heads / job->shape.n_kv_heads;
    job->total_cost = 0.0;
    while (next_block(job, &span, &row, &b))
        job->total_cost += b.cost * job->shape.n_kv_heads;
    const bool small = job->total_cost * 2.0 * job->shape.head_dim < ATT_PARALLEL_WORK;
    job->shares = small ? 1 : um_pool_threads(job->be->pool);
    um_cpu_for(job->be, (size_t)job->shares, 1, fn, job);
}

static void simd_attention_forward(um_backend *be, float *out, int ldo, float *lse, const float *q,
                                   int ldq, const float *k, const float *v, int ldkv,
                                   const um_attention_shape *shape, const um_span *spans,
                                   int n_spans, const um_range *prefixes)
{
    att_job job = {.be = be,
                   .shape = *shape,
                   .spans = spans,
                   .prefixes = prefixes,
                   .n_spans = n_spans,
                   .q = q,
                   .k = k,
                   .v = v,
                   .ldq = (size_t)ldq,
                   .ldkv = (size_t)ldkv,
                   .out = out,
                   .lse = lse,
                   .ldo = (size_t)ldo};
    att_run(&job, att_forward_shares);
}

#endif
