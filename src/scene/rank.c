#include "scene/rank.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/wide.h"

enum { TILE = 64 }; /* items summed up at a time; divides UM_FACTOR_BLOCK */

/* The same where queries share the loads: QUERIES x VECTORS sums fill the vector registers. */
enum { LANES = 8, VECTORS = 2, QUERIES = 4 };
typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));

um_status um_factors_new(um_factors *f, uint32_t rank, uint32_t n_items, um_error *err)
{
    memset(f, 0, sizeof *f);
    f->rank = rank;
    f->n_items = n_items;
    f->stride = ((size_t)n_items + UM_FACTOR_BLOCK - 1) / UM_FACTOR_BLOCK * UM_FACTOR_BLOCK;
    f->in = um_calloc(n_items, rank * sizeof *f->in);
    f->out = um_aligned_calloc(f->stride, rank * sizeof *f->out);
    if (f->in == NULL || f->out == NULL) {
        um_factors_dispose(f);
        return um_fail_memory(err, "item factors");
    }
    return UM_OK;
}

um_status um_embedding_factors(um_factors *f, const um_dataset *dataset,
                               const um_item_embeddings *embeddings, um_error *err)
{
    uint32_t n = embeddings->n_items, rank = embeddings->dim;
    memset(f, 0, sizeof *f);
    if (n != dataset->items.n_rows || rank == 0)
        return um_fail(err, UM_ERR_INPUT,
                       "item embeddings: found %u rows of %u numbers, the log has %u items", n,
                       rank, dataset->items.n_rows);
    f->rank = rank;
    f->n_items = n;
    f->stride = ((size_t)n + UM_FACTOR_BLOCK - 1) / UM_FACTOR_BLOCK * UM_FACTOR_BLOCK;
    f->both = um_aligned_calloc(f->stride, rank * sizeof *f->both);
    if (f->both == NULL)
        return um_fail_memory(err, "item embeddings");
    for (uint32_t i = 0; i < n; i++) {
        const float *row = embeddings->rows + (size_t)i * rank;
        double squares = 0.0;
        for (uint32_t k = 0; k < rank; k++)
            squares += (double)row[k] * (double)row[k];
        if (!isfinite(squares)) {
            um_factors_dispose(f);
            return um_fail(err, UM_ERR_INPUT, "item embeddings: row %u (item %s) is not finite", i,
                           dataset->items.ids[i]);
        }
        double scale = squares > 0.0 ? 1.0 / sqrt(squares) : 0.0;
        for (uint32_t k = 0; k < rank; k++)
            f->both[(size_t)k * f->stride + i] = (float)((double)row[k] * scale);
    }
    return UM_OK;
}

void um_factors_dispose(um_factors *f)
{
    free(f->in);
    free(f->out);
    free(f->both);
    memset(f, 0, sizeof *f);
}

void um_factors_add(const um_factors *f, double *query, uint32_t item)
{
    if (f->both != NULL) {
        for (uint32_t k = 0; k < f->rank; k++)
            query[k] += (double)f->both[(size_t)k * f->stride + item];
        return;
    }
    const double *in = f->in + (size_t)item * f->rank;
    for (uint32_t k = 0; k < f->rank; k++)
        query[k] += in[k];
}

/* Some items for n <= QUERIES queries. Every sum goes over k in order, whatever stands beside it.
 */
static inline __attribute__((always_inline)) void
score_tile(const um_factors *f, const double *queries, size_t n, size_t item, float *scores)
{
    lanes sum[QUERIES][VECTORS] = {{{0}}};
    for (uint32_t k = 0; k < f->rank; k++) {
        const lanes *out = (const lanes *)(f->out + k * f->stride + item);
#pragma GCC unroll 4
        for (size_t b = 0; b < n; b++)
#pragma GCC unroll 2
            for (size_t j = 0; j < VECTORS; j++)
                sum[b][j] += queries[b * f->rank + k] * out[j];
    }
    /* Rounding hides last-bit differences between machines' LAPACK from the order. */
    for (size_t b = 0; b < n; b++)
        for (size_t j = 0; j < VECTORS * LANES; j++)
            scores[b * f->stride + item + j] = (float)sum[b][j / LANES][j % LANES];
}

/* One block of items for n queries: the factor table stays in cache over the queries of a call. */
UM_WIDE static void score_block(const um_factors *f, const double *queries, size_t n, size_t first,
                                float *scores)
{
    size_t b = 0, end = first + UM_FACTOR_BLOCK;
    for (; b + QUERIES <= n; b += QUERIES)
        for (size_t i = first; i < end; i += VECTORS * LANES)
            score_tile(f, queries + b * f->rank, QUERIES, i, scores + b * f->stride);
    for (; b < n; b++)
        for (size_t i = first; i < end; i += VECTORS * LANES)
            score_tile(f, queries + b * f->rank, 1, i, scores + b * f->stride);
}

UM_WIDE static void score_block_both(const um_factors *f, const double *query, size_t first,
                                     float *scores)
{
    for (size_t tile = first; tile < first + UM_FACTOR_BLOCK; tile += TILE) {
        float sum[TILE] = {0};
        for (uint32_t k = 0; k < f->rank; k++) {
            const float *restrict out = f->both + k * f->stride + tile;
            float q = (float)query[k];
            for (size_t j = 0; j < TILE; j++)
                sum[j] += q * out[j];
        }
        memcpy(scores + tile, sum, sizeof sum);
    }
}

void um_factors_score(const um_factors *f, const double *queries, size_t n, float *scores)
{
    for (size_t first = 0; first < f->stride; first += UM_FACTOR_BLOCK) {
        if (f->both == NULL) {
            score_block(f, queries, n, first, scores);
            continue;
        }
        for (size_t b = 0; b < n; b++)
            score_block_both(f, queries + b * f->rank, first, scores + b * f->stride);
    }
}

/* A number that is larger for what ranks higher: scores above zero are ordered as their bits are.
 */
static uint64_t rank_key(float score, uint32_t item)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return (uint64_t)bits << 32 | ~item;
}

/* How many of n keys are larger. */
static uint32_t count_larger(const uint64_t *keys, uint32_t n, uint64_t key)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < n; i++)
        count += keys[i] > key;
    return (uint32_t)count;
}

uint32_t um_rank_top(uint32_t *out, uint32_t cut, const uint32_t *candidates, uint32_t n,
                     const float *scores)
{
    uint64_t best[UM_RANK_TOP_MAX]; /* keys, descending */
    uint32_t kept = 0;
    /* Only what reaches it can enter: at first what is above zero, then what a full list has. One
     * comparison that nearly always fails is all that most candidates cost. */
    float lowest = FLT_TRUE_MIN;
    for (uint32_t c = 0; c < n && cut > 0; c++) {
        float score = scores[candidates[c]];
        if (!(score >= lowest))
            continue;
        uint64_t key = rank_key(score, candidates[c]);
        uint32_t at = count_larger(best, kept, key);
        if (at == cut)
            continue;
        kept += kept < cut;
        memmove(best + at + 1, best + at, (kept - 1 - at) * sizeof *best);
        best[at] = key;
        if (kept == cut) {
            uint32_t bits = (uint32_t)(best[cut - 1] >> 32);
            memcpy(&lowest, &bits, sizeof lowest);
        }
    }
    for (uint32_t i = 0; i < kept; i++)
        out[i] = ~(uint32_t)best[i];
    return kept;
}

uint32_t um_rank_random(uint32_t *out, uint32_t cut, uint32_t *candidates, uint32_t n, um_rng *rng)
{
    uint32_t kept = n < cut ? n : cut;
    for (uint32_t i = 0; i < kept; i++) {
        uint32_t j = i + um_rng_below(rng, n - i);
        uint32_t swap = candidates[i];
        candidates[i] = candidates[j];
        candidates[j] = swap;
        out[i] = candidates[i];
    }
    return kept;
}

/* Which ranking the next item of a merge comes from; *left counts what all have, > 0. */
static size_t draw_ranking(const um_ranking *rankings, const uint32_t *used, size_t n,
                           bool equal_weights, uint32_t left, um_rng *rng)
{
    double weight[UM_SOURCE_COUNT];
    size_t s = 0;
    if (equal_weights) {
        uint32_t ticket = um_rng_below(rng, left);
        for (; ticket >= rankings[s].n - used[s]; s++)
            ticket -= rankings[s].n - used[s];
        return s;
    }
    for (s = 0; s < n; s++)
        weight[s] = rankings[s].weight * (double)(rankings[s].n - used[s]);
    return um_rng_categorical(rng, weight, n);
}

uint32_t um_rank_merge(uint32_t *items, uint8_t *sources, uint32_t want, const um_ranking *rankings,
                       size_t n_rankings, uint32_t *mark, uint32_t epoch, um_rng *rng)
{
    uint32_t used[UM_SOURCE_COUNT] = {0}, left = 0, filled = 0;
    um_ranking taking_part[UM_SOURCE_COUNT];
    bool equal_weights = true;
    size_t n = 0;
    for (size_t s = 0; s < n_rankings; s++) {
        if (!(rankings[s].weight > 0.0))
            continue;
        taking_part[n++] = rankings[s];
        left += rankings[s].n;
        equal_weights = equal_weights && rankings[s].weight == taking_part[0].weight;
    }
    for (; left > 0 && filled < want; left--) {
        size_t s = draw_ranking(taking_part, used, n, equal_weights, left, rng);
        uint32_t item = taking_part[s].items[used[s]++];
        if (mark[item] == epoch)
            continue;
        mark[item] = epoch;
        items[filled] = item;
        sources[filled++] = (uint8_t)taking_part[s].source;
    }
    return filled;
}
