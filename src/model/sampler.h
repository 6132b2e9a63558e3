/*
 * sampler.h - drawing the next token from a row of logits.
 *
 * Filters in the order of the field: temperature, top-k, top-p (Holtzman et al. 2020: the smallest
 * set of likeliest tokens that holds at least top_p of the probability), min-p (tokens at least
 * min_p times as likely as the likeliest). Equal weights are ordered by id. A draw is a pure
 * function of the logits, the settings and one uniform number.
 */
#ifndef UM_MODEL_SAMPLER_H
#define UM_MODEL_SAMPLER_H

#include "mirrorer/responder.h"

typedef struct um_candidate {
    float weight; /* exp((logit - max) / temperature), at most 1 */
    int32_t id;
} um_candidate;

/* Scratch of one thread, and after um_sampler_prepare the prepared distribution. */
typedef struct um_sampler {
    int vocab;
    um_candidate *kept; /* [vocab]; the first n_kept can be drawn */
    int n_kept;         /* 0: nothing was filtered, all of weights[0 .. n) can be drawn */
    double total;       /* sum of the weights that can be drawn */
    const float *weights;
    int n;
    double *block_sums; /* of weights, a block each */
    float *raw;         /* [vocab] logits as they came, or NULL: log-probabilities are not wanted */
    double log_sum;     /* log sum exp of raw */
} um_sampler;

um_status um_sampler_init(um_sampler *sampler, int vocab, bool logprobs, um_error *err) UM_CHECKED;
void um_sampler_dispose(um_sampler *sampler);

/* Ranges of the settings. */
um_status um_sampling_check(const um_sampling *sampling, um_error *err) UM_CHECKED;

/* Prepares logits[n], n <= vocab, which are overwritten and must outlive the draws. False when they
 * are not numbers that a softmax can be taken of. */
bool um_sampler_prepare(um_sampler *sampler, float *logits, int n, const um_sampling *sampling);
/* u in [0, 1). */
int32_t um_sampler_draw(const um_sampler *sampler, double u);
/* log softmax(logits)[id], temperature 1 and nothing filtered; only with logprobs. */
double um_sampler_logprob(const um_sampler *sampler, int32_t id);

/* The uniform number of token `index` of a sample; depends on nothing else. */
double um_sampling_uniform(uint64_t seed, uint64_t key, uint32_t sample, uint32_t index);

#endif
