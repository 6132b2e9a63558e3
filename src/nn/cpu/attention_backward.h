/*
 * attention_backward.h - gradients of attention over spans. Included after attention.h.
 *
 * The probabilities are computed again from the saved lse, with the very scores of the forward
 * pass. Key and value rows that several spans attend (a shared prompt) get the sum over those
 * spans, so the work is cut into components, runs of spans that share no key row with any other,
 * times key/value heads: a thread owns every gradient element it adds to, and adds in order of
 * spans.
 */
#ifndef UM_NN_CPU_ATTENTION_BACKWARD_H
#define UM_NN_CPU_ATTENTION_BACKWARD_H

/* Key rows [*low, *high) hold all rows the span attends. */
static void key_rows(const att_job *job, const um_span *span, int *low, int *high)
{
    *low = span->kv_start;
    *high = span->kv_start + span->own_before + span->len;
    for (int i = 0; i < span->prefix_count; i++) {
        const um_range r = job->prefixes[span->prefix_first + i];
        if (r.len <= 0)
            continue;
        *low = min_int(*low, r.start);
        *high = *high > r.start + r.len ? *high : r.start + r.len;
    }
}

/*
 * The end of the component that starts at `span`: the next span whose key rows all lie above those
 * of the spans before it. *top: the end of the key rows seen so far.
 */
static int component_end(const att_job *job, int span, int *top)
{
    int low, high;
    key_rows(job, &job->spans[span], &low, &high);
    do {
        *top = *top > high ? *top : high;
        if (++span == job->n_spans)
            break;
        key_rows(job, &job->spans[span], &low, &high);
    } while (low < *top);
    return span;
}

/* Whether no span reaches back below the key rows of a component that ended before it. */
static bool components_are_apart(const att_job *job)
{
    int top = 0;
    for (int span = 0; span < job->n_spans;) {
        const int floor = top, end = component_end(job, span, &top);
        for (; span < end; span++) {
            int low, high;
            key_rows(job, &job->spans[span], &low, &high);
            if (low < floor)
                return false;
        }
    }
    return true;
}

/* s becomes the probabilities P and d becomes P (d - delta), 0 for keys the row does not attend. */
static void att_gradient_row(const att_space *a, int r, int n, int count)
{
    float *s = a->s + (size_t)r * ATT_KEYS, *d = a->d + (size_t)r * ATT_KEYS;
    const vf lse = vf_set(a->max[r]), delta = vf_set(a->delta[r]);
    const bool rounds = a->bf16 && !a->dot; /* words are rounded when they are made */
    for (int i = 0; i < count; i += VL) {
        const vf p = vf_keep_n(vf_exp(vf_sub(vf_load(s + i), lse)), n - i, vf_zero());
        const vf gradient = vf_keep_n(vf_mul(p, vf_sub(vf_load(d + i), delta)), n - i, vf_zero());
        vf_store(s + i, rounds ? vf_round_bf16(p) : p);
        vf_store(d + i, rounds ? vf_round_bf16(gradient) : gradient);
    }
}

/* dot: x [ATT_KEYS] of rows [row, end) as words of two rows; `row` may be odd, its partner is 0. */
static void att_pair_rows(const float *x, float *pairs, int row, int end)
{
    static const float zeros[ATT_KEYS];
    for (int r = row - row % 2; r < end; r += 2) {
        const float *first = x + (size_t)r * ATT_KEYS;
        rows_to_words(pairs + (size_t)(r / 2) * ATT_KEYS, ATT_KEYS, r < row ? zeros : first,
                      r + 1 < end ? first + ATT_KEYS : NULL, ATT_KEYS);
    }
}

/*
 * dst[key of i] += scale times the sum over rows r of [row, end) of weight[r][i] x[r], for one
 * key/value head, weight and x with `dot` in words of two rows; the
 * sum over the rows of this block is one chain a column.
 */
static void att_add_to_keys(const att_job *job, const att_space *a, const att_keys *keys,
                            const float *weight, const float *x, float scale, float *dst, int head,
                            int row, int end)
{
    const int step = a->dot ? 2 : 1; /* rows of a word */
    const int dim = job->shape.head_dim, count = keys->count;
    const int tiles = (count + GEMM_MR - 1) / GEMM_MR;
    tile t = {.a_ld = ATT_KEYS,
              .b_row = a->width,
              .b_panel = GEMM_NR,
              .c_row = a->width,
              .alpha = scale,
              .mode = TILE_SET};
    int first = row; /* rows before it attend none of a tile's keys, nor of the next ones' */
    for (int i = 0; i < tiles; i++) {
        const int key = tile_start(count, tiles, i), mr = tile_start(count, tiles, i + 1) - key;
        while (first < end && keys_of_row(a, keys, first) <= key)
            first++;
        const int word = first / step;
        t.a = weight + (size_t)word * ATT_KEYS + key;
        t.b = x + (size_t)word * a->width;
        t.c = a->dkv + (size_t)key * a->width;
        t.k = (end + step - 1) / step - word;
        tile_across((a->dot ? tile_dot_columns_fn : tile_columns_fn)[mr - 1], t, mr, (int)a->width);
    }
    for (int i = 0; i < count; i++) {
        const float *from = a->dkv + (size_t)i * a->width;
        float *to = dst + (size_t)keys->row[i] * job->lddkv + (size_t)(head * dim);
        for (int d = 0; d < dim; d += VL) {
            const int n = min_int(VL, dim - d);
            vf_put(to + d, vf_add(vf_get(to + d, n), vf_load(from + d)), n);
        }
    }
}

static void att_backward_keys(const att_job *job, att_space *a, int head, const um_span *span,
                              int first, int count, int end)
{
    att_keys keys;
    find_keys(job, span, first, count, &keys);
    int row = 0;
    while (row < end && keys_of_row(a, &keys, row) == 0)
        row++;
    if (row == end)
        return;
    turn_keys(job, &keys, job->k, head, a, a->kt);
    turn_keys(job, &keys, job->v, head, a, a->vt);
    att_scores(a, &keys, a->q, a->kt, a->alpha, a->s, row, end);
    att_scores(a, &keys, a->grad, a->vt, 1.0f, a->d, row, end);
    for (int r = row; r < end; r++)
        att_gradient_row(a, r, keys_of_row(a, &keys, r), count);
    const float *s = a->s, *d = a->d, *grad = a->grad, *q = a->q;
    if (a->dot) {
        att_pair_rows(a->s, a->pair_s, row, end);
        att_pair_rows(a->d, a->pair_d, row, end);
        s = a->pair_s, d = a->pair_d, grad = a->pair_grad, q = a->pair_q;
    }
    att_add_to_keys(job, a, &keys, s, grad, 1.0f, job->dv, head, row, end);
    att_add_to_keys(job, a, &keys, d, q, a->alpha, job->dk, head, row, end);
    size_t ld;
    const float *rows = straight_keys(job, &keys, job->k, head, a, &ld);
    att_mix(a, &keys, a->d, rows, ld, row, end);
}

/* Loads gradient, lse and delta of the rows of a part. */
static void att_load_gradients(const att_job *job, att_space *a, const att_part *part, int head)
{
    const int dim = job->shape.head_dim;
    att_place p = first_place(job, part, head);
    for (int r = 0; r < part->rows; r++, next_place(job, head, &p)) {
        const size_t column = (size_t)(p.query_head * dim);
        const float *out = job->saved_out + p.token * job->ldo + column;
        float *grad = a->grad + (size_t)r * a->width;
        take_row(grad, a->width, job->dout + p.token * job->lddo + column, dim, 1.0f);
        vf sum = vf_zero();
        for (int d = 0; d < dim; d += VL)
            sum = vf_fma(vf_load(grad + d), vf_get(out + d, min_int(VL, dim - d)), sum);
        a->delta[r] = vf_sum(sum);
        a->max[r] = job->saved_lse[p.token * (size_t)job->shape.n_heads + (size_t)p.query_head];
    }
}

static void att_backward_part(const att_job *job, att_space *a, const att_part *part, int head)
{
    const int dim = job->shape.head_dim;
    att_load_queries(job, a, part, head, 0);
    att_load_gradients(job, a, part, head);
    if (a->dot) {
        att_rows_to_words(a, a->q, a->pair_q, part->rows);
        att_rows_to_words(a, a->grad, a->pair_grad, part->rows);
    }
    memset(a->o, 0, (size_t)part->rows * a->width * sizeof(float));
    const int limit = a->limit[part->rows - 1];
    for (int first = 0; first < limit; first += ATT_KEYS)
        att_backward_keys(job, a, head, part->span, first, min_int(ATT_KEYS, limit - first),
                          part->rows);
    att_place p = first_place(job, part, head);
    for (int r = 0; r < part->rows; r++, next_place(job, head, &p)) {
        float *to = job->dq + p.token * job->lddq + (size_t)(p.query_head * dim);
        const float *from = a->o + (size_t)r * a->width;
        for (int d = 0; d < dim; d += VL)
            vf_put(to + d, vf_mul(vf_load(from + d), vf_set(job->shape.scale)),
                   min_int(VL, dim - d));
    }
}

static double span_cost(const att_job *job, const um_span *span)
{
    const double keys = prefix_keys(job, span) + span->own_before + 0.5 * (span->len + 1.0);
    return keys > 1.0 ? span->len * keys : span->len;
}

static void att_backward_component(const att_job *job, att_space *a, int begin, int end, int head)
{
    for (int s = begin; s < end; s++) {
        const um_span *span = &job->spans[s];
        const int rows = span->len * job->group;
        for (int row = 0; row < rows; row += ATT_ROWS) {
            const att_part part = {span, row, min_int(ATT_ROWS, rows - row)};
            att_backward_part(job, a, &part, head);
        }
    }
}

static void att_backward_shares(void *ctx, size_t begin, size_t end, int thread)
{
    const att_job *job = ctx;
    const bool apart = components_are_apart(job);
    att_space a;
    att_space_init(&a, um_cpu_thread_scratch(job->be, thread), &job->shape);
    for (size_t share = begin; share < end; share++) {
        double cost = 0.0;
        int top = 0;
        for (int span = 0; span < job->n_spans;) {
            int next = apart ? component_end(job, span, &top) : job->n_spans;
            double each = 0.0;
            for (int s = span; s < next; s++)
                each += span_cost(job, &job->spans[s]) * job->group;
            for (int head = 0; head < job->shape.n_kv_heads; head++, cost += each) {
                if (in_share(job, cost, share))
                    att_backward_component(job, &a, span, next, head);
            }
            span = next;
        }
    }
}

static void simd_attention_backward(um_backend *be, float *dq, int lddq, float *dk, float *dv,
                                    int lddkv, const float *dout, int lddo, const float *out,
                                    int ldo, const float *lse, const float *q, int ldq,
                                    const float *k, const float *v, int ldkv,
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
                   .ldo = (size_t)ldo,
                   .saved_out = out,
                   .saved_lse = lse,
                   .dout = dout,
                   .dq = dq,
                   .dk = dk,
                   .dv = dv,
                   .lddo = (size_t)lddo,
                   .lddq = (size_t)lddq,
                   .lddkv = (size_t)lddkv};
    att_run(&job, att_backward_shares);
}

#endif
