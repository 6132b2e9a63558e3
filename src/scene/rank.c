#include "scene/rank.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/wide.h"

enum { TILE = 64 }; /* items summed up at a time; divides UM_FACTOR_BLOCK */

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

/* One block of items for one query, a tile at a time so that its sums stay in registers; the factor
 * table stays in cache over the queries of a call. */
UM_WIDE static void score_block(const um_factors *f, const double *query, size_t first,
                                float *scores)
{
    for (size_t tile = first; tile < first + UM_FACTOR_BLOCK; tile += TILE) {
        double sum[TILE] = {0};
        for (uint32_t k = 0; k < f->rank; k++) {
            const double *restrict out = f->out + k * f->stride + tile;
            double q = query[k];
            for (size_t j = 0; j < TILE; j++)
                sum[j] += q * out[j];
        }
        /* Rounding hides last-bit differences between machines' LAPACK from the order. */
        for (size_t j = 0; j < TILE; j++)
            scores[tile + j] = (float)sum[j];
    }
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
        for (size_t b = 0; b < n; b++) {
            if (f->both != NULL)
                score_block_both(f, queries + b * f->rank, first, scores + b * f->stride);
            else
                score_block(f, queries + b * f->rank, first, scores + b * f->stride);
        }
    }
}

/* True where item a ranks below item b. */
static bool below(const float *scores, uint32_t a, uint32_t b)
{
    return scores[a] < scores[b] || (scores[a] == scores[b] && a > b);
}

/* Restores the heap (lowest-ranked item on top) below position i. */
static void sift_down(uint32_t *heap, uint32_t n, uint32_t i, const float *scores)
{
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n)
            return;
        if (child + 1 < n && below(scores, heap[child + 1], heap[child]))
            child++;
        if (!below(scores, heap[child], heap[i]))
            return;
        uint32_t swap = heap[i];
        heap[i] = heap[child];
        heap[child] = swap;
        i = child;
    }
}

uint32_t um_rank_top(uint32_t *out, uint32_t cut, const uint32_t *candidates, uint32_t n,
                     const float *scores)
{
    uint32_t kept = 0;
    float lowest = 0.0f; /* of a full heap; only what is above it can enter */
    for (uint32_t c = 0; c < n && cut > 0; c++) {
        uint32_t item = candidates[c];
        if (!(scores[item] > 0.0f) || scores[item] < lowest)
            continue;
        if (kept < cut) {
            out[kept++] = item;
            if (kept == cut)
                for (uint32_t i = cut / 2; i > 0; i--)
                    sift_down(out, cut, i - 1, scores);
        } else if (below(scores, out[0], item)) {
            out[0] = item;
            sift_down(out, cut, 0, scores);
        }
        if (kept == cut)
            lowest = scores[out[0]];
    }
    if (kept < cut)
        for (uint32_t i = kept / 2; i > 0; i--)
            sift_down(out, kept, i - 1, scores);
    for (uint32_t last = kept; last > 1; last--) {
        uint32_t swap = out[0];
        out[0] = out[last - 1];
        out[last - 1] = swap;
        sift_down(out, last - 1, 0, scores);
    }
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
