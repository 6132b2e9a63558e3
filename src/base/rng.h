/*
 * rng.h - counter-based random numbers: Philox4x32-10 (Salmon et al., SC 2011).
 *
 * A stream is a pure function of (seed, purpose, a, b, c): the same key gives the same numbers on
 * any machine, thread count and order of use. Purposes are small distinct constants below.
 */
#ifndef UM_BASE_RNG_H
#define UM_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

enum um_rng_purpose {
    UM_RNG_WORLD = 1,
    UM_RNG_SPLIT,
    UM_RNG_SCENE,
    UM_RNG_EXPOSURE,
    UM_RNG_SVD,
    UM_RNG_INIT,
    UM_RNG_SAMPLE,
    UM_RNG_TEACHER,
    UM_RNG_BEHAVIOR,
    UM_RNG_SELECT,
    UM_RNG_SHUFFLE,
    UM_RNG_BOOTSTRAP,
    UM_RNG_TEST,
    UM_RNG_REMOTE,
    UM_RNG_HOLD_OUT,
    UM_RNG_LORA
};

typedef struct um_rng {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    unsigned used; /* words of block already given out */
} um_rng;

/* Stream of (seed, purpose, a, b, c). a, b, c: ids such as scene, model, sample. */
void um_rng_init(um_rng *r, uint64_t seed, uint32_t purpose, uint64_t a, uint64_t b, uint64_t c);
uint32_t um_rng_u32(um_rng *r);
uint64_t um_rng_u64(um_rng *r);
double um_rng_uniform(um_rng *r);                 /* [0, 1), 53 bits */
uint32_t um_rng_below(um_rng *r, uint32_t bound); /* [0, bound), unbiased; bound 0 gives 0 */
double um_rng_normal(um_rng *r);                  /* N(0, 1), Box-Muller, no state kept */
double um_rng_gumbel(um_rng *r);
/* Index drawn with probability p[i] / sum p; n >= 1, p[i] >= 0 and not all zero. */
size_t um_rng_categorical(um_rng *r, const double *p, size_t n);
void um_rng_shuffle_u32(um_rng *r, uint32_t *values, size_t n); /* Fisher-Yates */

/* The raw block function, for known-answer tests. */
void um_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
