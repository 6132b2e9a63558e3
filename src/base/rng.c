#include "base/rng.h"

#include <math.h>

/* Constants of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. */
#define PHILOX_M0     0xD2511F53u
#define PHILOX_M1     0xCD9E8D57u
#define PHILOX_W0     0x9E3779B9u
#define PHILOX_W1     0xBB67AE85u
#define PHILOX_ROUNDS 10

#define TWO_PI 6.283185307179586476925286766559

void um_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0;
        uint64_t p1 = (uint64_t)PHILOX_M1 * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* A bijection of 64-bit words with full avalanche (finalizer of SplitMix64, Steele et al. 2014). */
static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

static uint64_t rotate32(uint64_t x)
{
    return (x << 32) | (x >> 32);
}

/*
 * The five words are absorbed one after another into two 64-bit chains. The first is a bijection of
 * each word while the others stand still, so streams that differ in one word never meet; streams
 * that differ in several meet with chance 2^-128. The chains become the Philox key and the high
 * half of the counter; the low half counts blocks: 2^64 blocks a stream.
 */
void um_rng_init(um_rng *r, uint64_t seed, uint32_t purpose, uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t words[5] = {seed, purpose, a, b, c};
    uint64_t first = 0x243F6A8885A308D3u; /* fractional digits of pi */
    uint64_t second = 0x13198A2E03707344u;
    for (int i = 0; i < 5; i++) {
        first = mix(first ^ words[i]);
        second = mix((second + rotate32(words[i])) ^ (first * 0xD6E8FEB86659FD93u));
    }
    *r = (um_rng){
        .key = {(uint32_t)first, (uint32_t)(first >> 32)},
        .counter = {0, 0, (uint32_t)second, (uint32_t)(second >> 32)},
        .used = 4,
    };
}

uint32_t um_rng_u32(um_rng *r)
{
    if (r->used == 4) {
        um_philox4x32(r->counter, r->key, r->block);
        if (++r->counter[0] == 0)
            r->counter[1]++;
        r->used = 0;
    }
    return r->block[r->used++];
}

uint64_t um_rng_u64(um_rng *r)
{
    uint64_t low = um_rng_u32(r);
    return low | (uint64_t)um_rng_u32(r) << 32;
}

double um_rng_uniform(um_rng *r)
{
    return (double)(um_rng_u64(r) >> 11) * 0x1p-53;
}

/* (0, 1): safe under a logarithm. 52 bits, because 2^53 - 1/2 would round up to 1. */
static double uniform_open(um_rng *r)
{
    return ((double)(um_rng_u64(r) >> 12) + 0.5) * 0x1p-52;
}

/* Lemire, "Fast random integer generation in an interval", 2019. */
uint32_t um_rng_below(um_rng *r, uint32_t bound)
{
    if (bound == 0)
        return 0;
    uint64_t product = (uint64_t)um_rng_u32(r) * bound;
    if ((uint32_t)product < bound) {
        uint32_t threshold = -bound % bound;
        while ((uint32_t)product < threshold)
            product = (uint64_t)um_rng_u32(r) * bound;
    }
    return (uint32_t)(product >> 32);
}

double um_rng_normal(um_rng *r)
{
    double radius = sqrt(-2.0 * log(uniform_open(r)));
    return radius * cos(TWO_PI * um_rng_uniform(r));
}

double um_rng_gumbel(um_rng *r)
{
    return -log(-log(uniform_open(r)));
}

size_t um_rng_categorical(um_rng *r, const double *p, size_t n)
{
    double total = 0.0;
    for (size_t i = 0; i < n; i++)
        total += p[i];
    double target = um_rng_uniform(r) * total;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] <= 0.0)
            continue;
        last = i;
        if (target < p[i])
            return i;
        target -= p[i];
    }
    return last; /* rounding carried the target past the end */
}

void um_rng_shuffle_u32(um_rng *r, uint32_t *values, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        /* um_rng_below takes 32 bits; an array of uint32_t indices is never longer than that. */
        size_t j = um_rng_below(r, (uint32_t)i);
        uint32_t swap = values[i - 1];
        values[i - 1] = values[j];
        values[j] = swap;
    }
}
