/*
 * sampler.c - see sampler.h.
 *
 * A row is read three times: maximum, weights with block sums, and the gathering of those few that
 * can matter. No sort: a nucleus is found by quickselect on the gathered ones.
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

INLINE float row_max(const float *x, int n)
{
    float best = -INFINITY, lanes[LANES];
    int i = 0;
    if (n >= LANES) {
        vec m;
        memcpy(&m, x, sizeof m);
        for (i = LANES; i + LANES <= n; i += LANES) {
            vec v;
            memcpy(&v, x + i, sizeof v);
            ivec greater = v > m;
            m = (vec)(((ivec)v & greater) | ((ivec)m & ~greater));
        }
        memcpy(lanes, &m, sizeof lanes);
        for (int j = 0; j < LANES; j++)
            best = lanes[j] > best ? lanes[j] : best;
    }
    for (; i < n; i++)
        best = x[i] > best ? x[i] : best;
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
        float lanes[LANES];
        memcpy(lanes, &sum, sizeof lanes);
        sums[b] = 0.0;
        for (int j = 0; j < LANES; j++)
            sums[b] += (double)lanes[j];
        total += sums[b];
    }
    return total;
}

/* Gathers what weighs at least `least`, in order of ids; how many. */
INLINE int row_gather(um_candidate *out, const float *w, int n, float least)
{
    int found = 0;
    for (int i = 0; i < n; i += LANES) {
        int end = n - i < LANES ? n : i + LANES;
        if (end - i == LANES) {
            vec v;
            int64_t any[LANES / 2], bits = 0;
            memcpy(&v, w + i, sizeof v);
            ivec hit = v >= least;
            memcpy(any, &hit, sizeof any);
            for (int j = 0; j < LANES / 2; j++)
                bits |= any[j];
            if (bits == 0)
                continue;
        }
        for (int j = i; j < end; j++) {
            out[found] = (um_candidate){w[j], j};
            found += w[j] >= least;
        }
    }
    return found;
}

typedef struct row_passes {
    float (*max)(const float *x, int n);
    double (*weigh)(float *x, int n, float max, float scale, double *sums);
    int (*gather)(um_candidate *out, const float *w, int n, float least);
} row_passes;

#define ROW_PASSES(suffix, attribute)                                                              \
    attribute static float max_##suffix(const float *x, int n)                                     \
    {                                                                                              \
        return row_max(x, n);                                                                      \
    }                                                                                              \
    attribute static double weigh_##suffix(float *x, int n, float max, float scale, double *sums)  \
    {                                                                                              \
        return row_weigh(x, n, max, scale, sums);                                                  \
    }                                                                                              \
    attribute static int gather_##suffix(um_candidate *out, const float *w, int n, float least)    \
    {                                                                                              \
        return row_gather(out, w, n, least);                                                       \
    }                                                                                              \
    static const row_passes passes_##suffix = {max_##suffix, weigh_##suffix, gather_##suffix};

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

/* Filters ----------------------------------------------------------------------------------------
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

/* Moves the median of the first, middle and last to the end. */
static void place_pivot(um_candidate *c, int n)
{
    um_candidate *a = &c[0], *m = &c[n / 2], *z = &c[n - 1];
    if (before(m, a))
        swap(m, a);
    if (before(z, a))
        swap(z, a);
    if (before(m, z))
        swap(m, z);
}

/* Weights by the leading bits of their floats: an order of magnitude each. */
#define BUCKET_SHIFT 20
#define BUCKETS      (1 << (31 - BUCKET_SHIFT))
#define MANY         4096 /* candidates from which sorting into buckets first is faster */

static int bucket_of(const um_candidate *c)
{
    uint32_t bits;
    memcpy(&bits, &c->weight, sizeof bits);
    return (int)(bits >> BUCKET_SHIFT);
}

/*
 * Moves whole buckets to the front while the leading set needs all of them, and behind them the one
 * it ends in: c[*low .. *high). *sum is the mass of c[0 .. *low).
 */
static void select_buckets(um_candidate *c, int n, int count, double mass, int *low, int *high,
                           double *sum)
{
    double masses[BUCKETS] = {0};
    int counts[BUCKETS] = {0}, last = BUCKETS - 1, front = 0, middle = 0;
    for (int i = 0; i < n; i++) {
        const int b = bucket_of(&c[i]);
        masses[b] += (double)c[i].weight;
        counts[b]++;
    }
    for (*sum = 0.0; last > 0; last--) {
        if (*sum + masses[last] >= mass || front + counts[last] >= count)
            break;
        *sum += masses[last];
        front += counts[last];
    }
    *low = front;
    *high = front + counts[last];
    front = 0;
    for (int i = 0; i < n; i++) {
        const int b = bucket_of(&c[i]);
        if (b < last)
            continue;
        swap(&c[i], &c[middle++]);
        if (b > last)
            swap(&c[middle - 1], &c[front++]);
    }
}

/*
 * The smallest leading set, in order of `before`, that has `count` members or the mass `mass` > 0;
 * moved to the front, in no order; its size. Quickselect: c[0 .. low) are members, c[high .. n) are
 * not, and every one of the first comes before every one of the middle.
 */
static int select_leading(um_candidate *c, int n, int count, double mass)
{
    int low = 0, high = n;
    double sum = 0.0; /* of c[0 .. low) */
    if (n >= MANY)
        select_buckets(c, n, count, mass, &low, &high, &sum);
    while (high - low > 1) {
        double upper = 0.0;
        int split = low;
        place_pivot(c + low, high - low);
        const um_candidate pivot = c[high - 1];
        for (int i = low; i < high - 1; i++) {
            if (before(&c[i], &pivot)) {
                upper += (double)c[i].weight;
                swap(&c[i], &c[split++]);
            }
        }
        swap(&c[split], &c[high - 1]);
        double with_pivot = sum + upper + (double)pivot.weight;
        if (split > low && (sum + upper >= mass || split >= count)) {
            high = split;
        } else if (with_pivot >= mass || split + 1 >= count) {
            return split + 1;
        } else {
            low = split + 1;
            sum = with_pivot;
        }
    }
    return high;
}

static double mass_of(const um_candidate *c, int n)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += (double)c[i].weight;
    return sum;
}

static int drop_below(um_candidate *c, int n, float least)
{
    int kept = 0;
    for (int i = 0; i < n; i++) {
        if (c[i].weight >= least)
            c[kept++] = c[i];
    }
    return kept;
}

/* Fills sampler->kept from weights[n], whose sum is `total`. */
static void filter(um_sampler *sampler, const row_passes *passes, const um_sampling *sampling,
                   double total)
{
    um_candidate *c = sampler->kept;
    int n = sampler->n, kept;
    bool by_count = sampling->top_k > 0 && sampling->top_k < n, by_mass = sampling->top_p < 1.0f;
    float least = FLT_MIN;
    /*
     * Tokens below (1 - top_p) / n of the whole hold together less than 1 - top_p, so none is in
     * the nucleus; the margin covers rounding. Not with top-k, which changes the whole.
     */
    if (by_mass && !by_count)
        least = fmaxf(least, (float)(0.99 * (1.0 - (double)sampling->top_p) * total / n));
    else if (!by_mass)
        least = fmaxf(least, sampling->min_p);
    kept = passes->gather(c, sampler->weights, n, least);
    if (by_count) {
        kept = select_leading(c, kept, sampling->top_k, INFINITY);
        total = mass_of(c, kept);
    }
    if (by_mass)
        kept = select_leading(c, kept, kept, (double)sampling->top_p * total);
    if (sampling->min_p > 0.0f)
        kept = drop_below(c, kept, sampling->min_p);
    sampler->n_kept = kept;
    sampler->total = mass_of(c, kept);
}

bool um_sampler_prepare(um_sampler *sampler, float *logits, int n, const um_sampling *sampling)
{
    const row_passes *passes = best_passes();
    float max = passes->max(logits, n);
    sampler->weights = logits;
    sampler->n = n;
    sampler->n_kept = 0;
    if (!isfinite(max))
        return false;
    if (sampler->raw != NULL) {
        /* The weights of temperature 1 are made where the logits were, whose copy comes back after.
         */
        memcpy(sampler->raw, logits, (size_t)n * sizeof *logits);
        sampler->log_sum =
            (double)max + log(passes->weigh(logits, n, max, 1.0f, sampler->block_sums));
        memcpy(logits, sampler->raw, (size_t)n * sizeof *logits);
    }
    if (sampling->temperature == 0.0f) {
        int best = 0;
        while (logits[best] != max)
            best++;
        sampler->kept[0] = (um_candidate){1.0f, best};
        sampler->n_kept = 1;
        sampler->total = 1.0;
        return true;
    }
    double total = passes->weigh(logits, n, max, 1.0f / sampling->temperature, sampler->block_sums);
    if (!isfinite(total))
        return false;
    sampler->total = total;
    if (sampling->top_p < 1.0f || sampling->min_p > 0.0f ||
        (sampling->top_k > 0 && sampling->top_k < n))
        filter(sampler, passes, sampling, total);
    return true;
}

/* Among all weights: first the block, then the token. */
static int32_t draw_whole(const um_sampler *sampler, double at)
{
    const float *w = sampler->weights;
    int start = 0;
    for (int b = 0; start + BLOCK < sampler->n && at >= sampler->block_sums[b]; b++) {
        at -= sampler->block_sums[b];
        start += BLOCK;
    }
    int end = sampler->n - start < BLOCK ? sampler->n : start + BLOCK, i = start;
    for (; i < end - 1 && at >= (double)w[i]; i++)
        at -= (double)w[i];
    /* Rounding can lead past the last token that has a weight. */
    while (w[i] <= 0.0f)
        i--;
    return i;
}

int32_t um_sampler_draw(const um_sampler *sampler, double u)
{
    double at = u * sampler->total;
    if (sampler->n_kept == 0)
        return draw_whole(sampler, at);
    for (int i = 0; i < sampler->n_kept - 1; i++) {
        if (at < (double)sampler->kept[i].weight)
            return sampler->kept[i].id;
        at -= (double)sampler->kept[i].weight;
    }
    return sampler->kept[sampler->n_kept - 1].id;
}

double um_sampler_logprob(const um_sampler *sampler, int32_t id)
{
    return (double)sampler->raw[id] - sampler->log_sum;
}

double um_sampling_uniform(uint64_t seed, uint64_t key, uint32_t sample, uint32_t index)
{
    um_rng rng;
    um_rng_init(&rng, seed, UM_RNG_SAMPLE, key, sample, index);
    return um_rng_uniform(&rng);
}

/* Setting up -------------------------------------------------------------------------------------
 */

um_status um_sampler_init(um_sampler *sampler, int vocab, bool logprobs, um_error *err)
{
    um_sampler new = {.vocab = vocab};
    new.kept = um_calloc((size_t)vocab, sizeof *new.kept);
    new.block_sums = um_calloc((size_t)vocab / BLOCK + 1, sizeof *new.block_sums);
    if (logprobs)
        new.raw = um_calloc((size_t)vocab, sizeof *new.raw);
    if (new.kept == NULL || new.block_sums == NULL || (logprobs && new.raw == NULL)) {
        um_sampler_dispose(&new);
        return um_fail_memory(err, "sampler");
    }
    *sampler = new;
    return UM_OK;
}

void um_sampler_dispose(um_sampler *sampler)
{
    free(sampler->kept);
    free(sampler->block_sums);
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
