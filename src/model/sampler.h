/*
 * sampler.h - drawing the next token from a row of logits.
 *
 * Filters in the order of the field: temperature, top-k, top-p (Holtzman et al. 2020: the smallest
 * set of likeliest tokens that holds at least top_p of the probability), min-p (tokens at least
 * min_p times as likely as the likeliest). Equal weights are ordered by id. A draw is a pure
 * function of the logits, the settings and a stream of random numbers.
 */
#ifndef UM_MODEL_SAMPLER_H
#define UM_MODEL_SAMPLER_H

#include "base/rng.h"
#include "mirrorer/responder.h"

typedef struct um_candidate {
    float weight; /* exp((logit - max) / temperature), at most 1 */
    int32_t id;
} um_candidate;

/* Scratch of one thread, and after um_sampler_prepare the prepared distribution: the tokens before
 * `cut`, heavier ones first, whose predecessors weigh less than `nucleus`. */
typedef struct um_sampler {
    int vocab;
    const float *weights; /* [n] */
    int n;
    int32_t greedy; /* the only token at temperature 0, else -1 */
    um_candidate cut;
    double total;             /* weight of the tokens before cut */
    double nucleus;           /* top_p of what top-k left; INFINITY: all of them */
    double *sums[3];          /* of a block of tokens each: those before cut; scratch */
    float *maxima;            /* of the blocks */
    um_candidate *candidates; /* [vocab] scratch */
    float *raw;     /* [vocab] logits as they came, or NULL: no log-probabilities wanted */
    double log_sum; /* log sum exp of raw */
} um_sampler;

um_status um_sampler_init(um_sampler *sampler, int vocab, bool logprobs, um_error *err) UM_CHECKED;
void um_sampler_dispose(um_sampler *sampler);

/* Ranges of the settings. */
um_status um_sampling_check(const um_sampling *sampling, um_error *err) UM_CHECKED;

/* Prepares logits[n], n <= vocab, which are overwritten and must outlive the draws. False when they
 * are not numbers that a softmax can be taken of. */
bool um_sampler_prepare(um_sampler *sampler, float *logits, int n, const um_sampling *sampling);
int32_t um_sampler_draw(um_sampler *sampler, um_rng *rng);
/* The token at u, in [0, 1), of those that top-k and min-p leave, in order of ids. */
int32_t um_sampler_at(const um_sampler *sampler, double u);
/* Whether the token can be drawn; for tests. */
bool um_sampler_keeps(um_sampler *sampler, int32_t id);
/* log softmax(logits)[id], temperature 1 and nothing filtered; only with logprobs. */
double um_sampler_logprob(const um_sampler *sampler, int32_t id);

/* The random numbers of token `index` of a sample; they depend on nothing else. */
um_rng um_sampling_stream(uint64_t seed, uint64_t key, uint32_t sample, uint32_t index);

#endif
