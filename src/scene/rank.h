/*
 * rank.h - rankings of the catalogue: latent factors, top-n selection, and their merge.
 */
#ifndef UM_SCENE_RANK_H
#define UM_SCENE_RANK_H

#include <stdint.h>

#include "base/pool.h"
#include "base/rng.h"
#include "mirrorer/dataset.h"
#include "mirrorer/scene.h"

enum { UM_FACTOR_BLOCK = 256, UM_RANK_TOP_MAX = 3 * UM_SCENE_MAX_ITEMS };

/*
 * Item scores that are a product of two factor tables: the score of item i for a set of known items
 * is sum over known items j of <in_j, out_i>. rank 0 knows nothing. Given embeddings have many
 * dimensions and one table for both: `both` then stands for in and out, in half the precision.
 */
typedef struct um_factors {
    uint32_t rank, n_items;
    size_t stride; /* n_items rounded up to UM_FACTOR_BLOCK */
    double *in;    /* [n_items][rank], or NULL */
    double *out;   /* [rank][stride], or NULL */
    float *both;   /* [rank][stride], or NULL */
} um_factors;

um_status um_factors_new(um_factors *f, uint32_t rank, uint32_t n_items, um_error *err) UM_CHECKED;
/* The table `both` alone: rows of length 1 (or 0). UM_ERR_INPUT when the embeddings are of another
 * catalogue or not finite. */
um_status um_embedding_factors(um_factors *f, const um_dataset *dataset,
                               const um_item_embeddings *embeddings, um_error *err) UM_CHECKED;
void um_factors_dispose(um_factors *f);

/* query[rank] += in[item]. */
void um_factors_add(const um_factors *f, double *query, uint32_t item);
/* scores[b][i] for b < n: queries is [n][rank], scores [n][stride]. A row depends on its own query
 * only. */
void um_factors_score(const um_factors *f, const double *queries, size_t n, float *scores);

/*
 * GF-CF spectral filter (Shen et al., CIKM 2021). R holds 1 for each (user, item) pair that users
 * with user_used met before before_s, but for the pairs of the n_left_out interactions. With R~ =
 * D_u^-1/2 R D_i^-1/2 and its top right singular vectors V: in = D_i^-1/2 V, out = D_i^1/2 V;
 * compat: both D_i^1/2 V, as in the published UserMirrorer code.
 */
um_status um_spectral_factors(um_factors *f, const um_dataset *dataset, const bool *user_used,
                              int64_t before_s, const uint64_t *left_out, size_t n_left_out,
                              uint32_t rank, bool compat, uint64_t seed, um_pool *pool,
                              um_error *err) UM_CHECKED;

/* TF-IDF over all item descriptions, truncated SVD; in = out = unit vectors, so that scores are
 * cosines. Items without text, or without a word in common with another, have zero vectors. */
um_status um_content_factors(um_factors *f, const um_dataset *dataset, uint32_t rank, uint64_t seed,
                             um_pool *pool, um_error *err) UM_CHECKED;

/*
 * The candidates with the highest scores above zero, at most `cut` (<= UM_RANK_TOP_MAX), best
 * first; equal scores in ascending item order. scores is indexed by item. Returns how many stand in
 * out.
 */
uint32_t um_rank_top(uint32_t *out, uint32_t cut, const uint32_t *candidates, uint32_t n,
                     const float *scores);
/* A uniform sample of the candidates in random order, at most `cut`. Permutes candidates. */
uint32_t um_rank_random(uint32_t *out, uint32_t cut, uint32_t *candidates, uint32_t n, um_rng *rng);

typedef struct um_ranking {
    const uint32_t *items;
    uint32_t n;
    um_source source;
    double weight; /* >= 0; 0 = its items never come */
} um_ranking;

/*
 * Merges rankings into items[want] and sources[want]: the next item comes from a ranking with
 * probability proportional to weight x what it has left, so that with equal weights every order
 * that keeps each ranking's own is equally likely; an item already taken is passed over.
 * mark/epoch: an item array where mark[i] == epoch says "taken"; it is written. Returns how many
 * were filled.
 */
uint32_t um_rank_merge(uint32_t *items, uint8_t *sources, uint32_t want, const um_ranking *rankings,
                       size_t n_rankings, uint32_t *mark, uint32_t epoch, um_rng *rng);

#endif
