/*
 * sampler.c - see sampler.h.
 *
 * A row is read twice, for its maximum and for weights with block sums; where there is a nucleus,
 * once more for the mass before the drawn token, which says whether the token is in it. One outside
 * was the pivot of a quickselect: the next is drawn from what comes before it, which still holds
 * the whole nucleus. So about 1 + ln(1 / top_p) such passes are made, nothing is sorted, and the
 * token that is taken has the nucleus's distribution.
 *
 * The passes are written with 16-lane vectors and compiled for several instruction sets. They use
 * only additions, multiplications and comparisons, lane by lane and without contraction, so every
 * instruction set gives the same bits.
 */
#include "model/sampler.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"

#define LANES           16
#define BLOCK           256 /* weights a block sum; a multiple of LANES */
#define MAX_TEMPERATURE 100.0f
#define MIN_TEMPERATURE 0.001f
#define EXP_LOWEST      (-87.0f) /* below it a weight is 0: no float32 exponent is left */

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t ivec __attribute__((vector_size(LANES * sizeof(int32_t))));
#define INLINE static inline __attribute__((always_inline))

/* Passes over a row ------------------------------------------------------------------------------
 */

/* The largest of each block and of all; NaN is not seen. */
INLINE float row_max(const float *x, int n, float *maxima)
{
    float best = -INFINITY;
    for (int start = 0, b = 0; start < n; start += BLOCK, b++) {
        const int end = n - start < BLOCK ? n : start + BLOCK;
        float lanes[LANES];
        vec m = (vec){0} - INFINITY;
        int i = start;
        for (; i + LANES <= end; i += LANES) {
            vec v;
            memcpy(&v, x + i, sizeof v);
            ivec greater = v > m;
            m = (vec)(((ivec)v & greater) | ((ivec)m & ~greater));
        }
        memcpy(lanes, &m, sizeof lanes);
        maxima[b] = -INFINITY;
        for (int j = 0; j < LANES; j++)
            maxima[b] = lanes[j] > maxima[b] ? lanes[j] : maxima[b];
        for (; i < end; i++)
            maxima[b] = x[i] > maxima[b] ? x[i] : maxima[b];
        best = maxima[b] > best ? maxima[b] : best;
    }
    return best;
}

/* In place e^x for x <= 0: x = n ln 2 + r, Taylor polynomial of degree 7 in r (error below 2^-25),
 * exponent bits added. NaN stays NaN. */
INLINE void exp_lanes(vec *io)
{
    const vec x = *io;
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
    const ivec none = x < EXP_LOWEST;
    vec shifted = x * 1.44269504f + magic;
    vec n = shifted - magic;
    vec r = x - n * 0.693359375f; /* ln 2 in two parts; the first is exact in products */
    r = r - n * -2.12194440e-4f;
    vec p = r * (1.0f / 5040.0f) + (1.0f / 720.0f);
    p = p * r + (1.0f / 120.0f);
    p = p * r + (1.0f / 24.0f);
    p = p * r + (1.0f / 6.0f);
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    ivec exponent = ((ivec)shifted - 0x4b400000 + 127) << 23; /* the bits of magic are 0x4b400000 */
    vec value = p * (vec)exponent;
    *io = (vec)((ivec)value & ~none);
}

/* In a fixed order, in double. */
INLINE double lanes_sum(const vec *x)
{
    float lanes[LANES];
    double sum = 0.0;
    memcpy(lanes, x, sizeof lanes);
    for (int j = 0; j < LANES; j++)
        sum += (double)lanes[j];
    return sum;
}

/* x[i] = exp((x[i] - max) * scale); sums[b] of each block, in a fixed order; the sum of all. */
INLINE double row_weigh(float *x, int n, float max, float scale, double *sums)
{
    double total = 0.0;
    for (int start = 0, b = 0; start < n; start += BLOCK, b++) {
        int end = n - start < BLOCK ? n : start + BLOCK;
        vec sum = {0};
        for (int i = start; i < end; i += LANES) {
            size_t bytes = sizeof(float) * (size_t)(end - i < LANES ? end - i : LANES);
            vec v;
            if (end - i >= LANES) {
                memcpy(&v, x + i, sizeof v);
            } else {
                v = (vec){0} - INFINITY;
                memcpy(&v, x + i, bytes);
            }
            v = (v - max) * scale;
            exp_lanes(&v);
            sum += v;
            memcpy(x + i, &v, bytes);
        }
        sums[b] = lanes_sum(&sum);
        total += sums[b];
    }
    return total;
}

/* The mass before `cut`, and of each block. */
INLINE double row_mass(const float *w, int n, um_candidate cut, double *sums)
{
    const ivec ids = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    int32_t bits;
    double total = 0.0;
    memcpy(&bits, &cut.weight, sizeof bits);
    for (int start = 0, b = 0; start < n; start += BLOCK, b++) {
        const int end = n - start < BLOCK ? n : start + BLOCK;
        vec sum = {0};
        for (int i = start; i < end; i += LANES) {
            vec v = {0};
            if (end - i >= LANES)
                memcpy(&v, w + i, sizeof v);
            else
                memcpy(&v, w + i, sizeof(float) * (size_t)(end - i));
            /* Weights are ordered as their bits; a true comparison is -1. */
            const ivec hit = (ivec)v > bits + (ids + i < cut.id);
            sum += (vec)((ivec)v & hit);
        }
        sums[b] = lanes_sum(&sum);
        total += sums[b];
    }
    return total;
}

typedef struct row_passes {
    float (*max)(const float *x, int n, float *maxima);
    double (*weigh)(float *x, int n, float max, float scale, double *sums);
    double (*mass)(const float *w, int n, um_candidate cut, double *sums);
} row_passes;

#define ROW_PASSES(suffix, attribute)                                                              \
    attribute static float max_##suffix(const float *x, int n, float *maxima)                      \
    {                                                                                              \
        return row_max(x, n, maxima);                                                              \
    }                                                                                              \
    attribute static double weigh_##suffix(float *x, int n, float max, float scale, double *sums)  \
    {                                                                                              \
        return row_weigh(x, n, max, scale, sums);                                                  \
    }                                                                                              \
    attribute static double mass_##suffix(const float *w, int n, um_candidate cut, double *sums)   \
    {                                                                                              \
        return row_mass(w, n, cut, sums);                                                          \
    }                                                                                              \
    static const row_passes passes_##suffix = {max_##suffix, weigh_##suffix, mass_##suffix};

ROW_PASSES(base, )
#if defined(__x86_64__)
ROW_PASSES(avx2, __attribute__((target("avx2"))))
ROW_PASSES(avx512, __attribute__((target("avx512f"))))
#endif

static const row_passes *best_passes(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return &passes_avx512;
    if (__builtin_cpu_supports("avx2"))
        return &passes_avx2;
#endif
    return &passes_base;
}

/* The leading tokens ------------------------------------------------------------------------------
 */

static bool before(const um_candidate *a, const um_candidate *b)
{
    return a->weight > b->weight || (a->weight == b->weight && a->id < b->id);
}

static void swap(um_candidate *a, um_candidate *b)
{
    um_candidate t = *a;
    *a = *b;
    *b = t;
}

/* The k-th in order of `before`, 1 <= k <= n; the order of c changes. Quickselect: the middle of
 * the first, middle and last is the pivot. */
static um_candidate select_kth(um_candidate *c, int n, int k)
{
    int low = 0, high = n;
    while (high - low > 1) {
        um_candidate *a = &c[low], *m = &c[low + (high - low) / 2], *z = &c[high - 1];
        if (before(m, a))
            swap(m, a);
        if (before(z, a))
            swap(z, a);
        if (before(m, z))
            swap(m, z);
        const um_candidate pivot = *z;
        int split = low;
        for (int i = low; i < high - 1; i++) {
            if (before(&c[i], &pivot))
                swap(&c[i], &c[split++]);
        }
        swap(&c[split], z);
        if (split + 1 == k)
            return pivot;
        if (split + 1 > k)
            high = split;
        else
            low = split + 1;
    }
    return c[low];
}

/*
 * Behind the k-th of all tokens. Of k blocks each has a token at least as heavy as the k-th
 * heaviest of the blocks' maxima, so lighter tokens are not looked at.
 */
static um_candidate cut_after(um_sampler *sampler, int k)
{
    const int blocks = (sampler->n + BLOCK - 1) / BLOCK;
    um_candidate *c = sampler->candidates;
    float least = 0.0f;
    int found = 0;
    if (k <= blocks) {
        for (int b = 0; b < blocks; b++)
            c[b] = (um_candidate){sampler->maxima[b], b};
        least = select_kth(c, blocks, k).weight;
    }
    for (int b = 0; b < blocks; b++) {
        const int start = b * BLOCK, end = sampler->n - start < BLOCK ? sampler->n : start + BLOCK;
        for (int i = start; i < end && sampler->maxima[b] >= least; i++) {
            c[found] = (um_candidate){sampler->weights[i], i};
            found += sampler->weights[i] >= least;
        }
    }
    um_candidate cut = select_kth(c, found, k);
    cut.id++;
    return cut;
}

/* Drawing ----------------------------------------------------------------------------------------
 */

bool um_sampler_prepare(um_sampler *sampler, float *logits, int n, const um_sampling *sampling)
{
    const row_passes *passes = best_passes();
    const float max = passes->max(logits, n, sampler->maxima);
    sampler->weights = logits;
    sampler->n = n;
    sampler->greedy = -1;
    if (!isfinite(max))
        return false;
    if (sampler->raw != NULL) {
        /* The weights of temperature 1 are made where the logits were, whose copy comes back after.
         */
        memcpy(sampler->raw, logits, (size_t)n * sizeof *logits);
        sampler->log_sum = (double)max + log(passes->weigh(logits, n, max, 1.0f, sampler->sums[0]));
        memcpy(logits, sampler->raw, (size_t)n * sizeof *logits);
    }
    if (sampling->temperature == 0.0f) {
        for (sampler->greedy = 0; logits[sampler->greedy] != max; sampler->greedy++)
            ;
        return true;
    }
    sampler->total = passes->weigh(logits, n, max, 1.0f / sampling->temperature, sampler->sums[0]);
    if (!isfinite(sampler->total))
        return false;
    sampler->cut = (um_candidate){FLT_MIN, n};
    if (sampling->top_k > 0 && sampling->top_k < n) {
        passes->max(logits, n, sampler->maxima);
        const um_candidate cut = cut_after(sampler, sampling->top_k);
        if (before(&cut, &sampler->cut))
            sampler->cut = cut;
        sampler->total = passes->mass(logits, n, sampler->cut, sampler->sums[0]);
    }
    sampler->nucleus = sampling->top_p < 1.0f ? (double)sampling->top_p * sampler->total : INFINITY;
    if (sampling->min_p > sampler->cut.weight) {
        sampler->cut = (um_candidate){sampling->min_p, n};
        sampler->total = passes->mass(logits, n, sampler->cut, sampler->sums[0]);
    }
    return true;
}

/* The token at u of those before `cut`, in order of ids; first the block, then the token. */
static int32_t token_at(const um_sampler *sampler, um_candidate cut, const double *sums, double at)
{
    const float *w = sampler->weights;
    int start = 0;
    for (int b = 0; start + BLOCK < sampler->n && at >= sums[b]; b++) {
        at -= sums[b];
        start += BLOCK;
    }
    const int end = sampler->n - start < BLOCK ? sampler->n : start + BLOCK;
    int i = start;
    for (; i < end; i++) {
        if (!before(&(um_candidate){w[i], i}, &cut))
            continue;
        if (at < (double)w[i])
            return i;
        at -= (double)w[i];
    }
    /* Rounding can lead past the last of them. */
    do
        i--;
    while (!before(&(um_candidate){w[i], i}, &cut));
    return i;
}

int32_t um_sampler_at(const um_sampler *sampler, double u)
{
    if (sampler->greedy >= 0)
        return sampler->greedy;
    return token_at(sampler, sampler->cut, sampler->sums[0], u * sampler->total);
}

bool um_sampler_keeps(um_sampler *sampler, int32_t id)
{
    const um_candidate token = {sampler->weights[id], id};
    if (sampler->greedy >= 0)
        return id == sampler->greedy;
    return before(&token, &sampler->cut) &&
           (sampler->nucleus == INFINITY ||
            best_passes()->mass(sampler->weights, sampler->n, token, sampler->sums[1]) <
                sampler->nucleus);
}

int32_t um_sampler_draw(um_sampler *sampler, um_rng *rng)
{
    int32_t id = um_sampler_at(sampler, um_rng_uniform(rng));
    if (sampler->greedy >= 0 || sampler->nucleus == INFINITY)
        return id;
    for (int turn = 1;; turn = 3 - turn) {
        const um_candidate cut = {sampler->weights[id], id};
        double *sums = sampler->sums[turn];
        const double mass = best_passes()->mass(sampler->weights, sampler->n, cut, sums);
        if (mass < sampler->nucleus)
            return id;
        id = token_at(sampler, cut, sums, um_rng_uniform(rng) * mass);
    }
}

double um_sampler_logprob(const um_sampler *sampler, int32_t id)
{
    return (double)sampler->raw[id] - sampler->log_sum;
}

um_rng um_sampling_stream(uint64_t seed, uint64_t key, uint32_t sample, uint32_t index)
{
    um_rng rng;
    um_rng_init(&rng, seed, UM_RNG_SAMPLE, key, sample, index);
    return rng;
}

/* Setting up -------------------------------------------------------------------------------------
 */

um_status um_sampler_init(um_sampler *sampler, int vocab, bool logprobs, um_error *err)
{
    um_sampler new = {.vocab = vocab};
    const size_t blocks = (size_t)vocab / BLOCK + 1;
    bool ok = true;
    new.candidates = um_calloc((size_t)vocab, sizeof *new.candidates);
    new.maxima = um_calloc(blocks, sizeof *new.maxima);
    for (int i = 0; i < 3; i++) {
        new.sums[i] = um_calloc(blocks, sizeof *new.sums[i]);
        ok = ok && new.sums[i] != NULL;
    }
    if (logprobs)
        new.raw = um_calloc((size_t)vocab, sizeof *new.raw);
    if (!ok || new.candidates == NULL || new.maxima == NULL || (logprobs && new.raw == NULL)) {
        um_sampler_dispose(&new);
        return um_fail_memory(err, "sampler");
    }
    *sampler = new;
    return UM_OK;
}

void um_sampler_dispose(um_sampler *sampler)
{
    free(sampler->candidates);
    free(sampler->maxima);
    for (int i = 0; i < 3; i++)
        free(sampler->sums[i]);
    free(sampler->raw);
    *sampler = (um_sampler){0};
}

um_status um_sampling_check(const um_sampling *s, um_error *err)
{
    if (!(s->temperature == 0.0f ||
          (s->temperature >= MIN_TEMPERATURE && s->temperature <= MAX_TEMPERATURE)))
        return um_fail(err, UM_ERR_INPUT, "temperature must be 0, or %g to %g, found %g",
                       (double)MIN_TEMPERATURE, (double)MAX_TEMPERATURE, (double)s->temperature);
    if (!(s->top_p > 0.0f && s->top_p <= 1.0f))
        return um_fail(err, UM_ERR_INPUT, "top_p must be above 0 and at most 1, found %g",
                       (double)s->top_p);
    if (s->top_k < 0)
        return um_fail(err, UM_ERR_INPUT, "top_k must be 0 (off) or more, found %d", s->top_k);
    if (!(s->min_p >= 0.0f && s->min_p <= 1.0f))
        return um_fail(err, UM_ERR_INPUT, "min_p must be 0 to 1, found %g", (double)s->min_p);
    if (s->max_tokens < 1)
        return um_fail(err, UM_ERR_INPUT, "max_tokens must be 1 or more, found %d", s->max_tokens);
    return UM_OK;
}
