/*
 * similarity.c - two baselines that rank a list by one score: collaborative (GF-CF) and by text.
 *
 * The score of an item is the sum over the user's distinct items before the scene of <in_j, out_i>
 * (scene/rank.h). Scores of a list are standardised, s -> z with mean 0 and variance 1 over its
 * items, since their size grows with the history; P(i | list) = exp(b z_i) / sum_j exp(b z_j). The
 * slope b maximises the log-likelihood of the base and train scenes less b^2 / 2, which is concave.
 *
 * Factors of a user's own row would rank that user's choices too well and b would be too large, so
 * b of the collaborative score is fitted on the scenes of one half of the users with factors of the
 * other half. The text scores do not depend on who chose what.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/pool.h"
#include "choice/known.h"
#include "mirrorer/choice.h"
#include "scene/rank.h"
#include "scene/split.h"

#define LARGEST_SLOPE 1000.0
#define ROUNDING      1e-6 /* of the scores' size: less spread than this is none */
enum { MAX_STEPS = 200 };

struct um_similarity {
    const um_dataset *dataset;
    um_factors factors;
    double slope, none_share;
};

/* Scores --------------------------------------------------------------------------------------- */

static uint32_t count_items(const um_scene *scene)
{
    return scene->k - (scene->items[scene->k - 1] == UM_SCENE_NONE);
}

/* query[rank]: the sum of in_j over the distinct items of the user before the scene. */
static um_status add_history(double *query, const um_factors *f, const um_dataset *d,
                             const um_scene *scene, um_error *err)
{
    uint64_t begin = d->user_start[scene->user];
    uint64_t end = um_first_at(d->time_s, begin, d->user_start[scene->user + 1], scene->time_s);
    size_t n = (size_t)(end - begin);
    if (n == 0)
        return UM_OK;
    uint32_t *items = um_calloc(n, sizeof *items);
    if (items == NULL)
        return um_fail_memory(err, "a history");
    memcpy(items, d->item + begin, n * sizeof *items);
    qsort(items, n, sizeof *items, um_compare_u32);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || items[i] != items[i - 1])
            um_factors_add(f, query, items[i]);
    free(items);
    return UM_OK;
}

static void standardise(double *z, uint32_t n)
{
    double mean = 0, squares = 0, largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        mean += z[i] / n;
        largest = fmax(largest, fabs(z[i]));
    }
    for (uint32_t i = 0; i < n; i++)
        squares += (z[i] - mean) * (z[i] - mean);
    double spread = sqrt(squares / n);
    for (uint32_t i = 0; i < n; i++)
        z[i] = spread > ROUNDING * largest ? (z[i] - mean) / spread : 0;
}

/* z: [items of the scene]. */
static um_status score_items(double *z, const um_factors *f, const um_dataset *d,
                             const um_scene *scene, um_error *err)
{
    uint32_t n = count_items(scene);
    double *query = um_calloc(f->rank, sizeof *query);
    um_status status = query != NULL ? UM_OK : um_fail_memory(err, "a history");
    if (status == UM_OK && f->rank > 0)
        status = add_history(query, f, d, scene, err);
    for (uint32_t i = 0; i < n && status == UM_OK; i++) {
        double sum = 0;
        for (uint32_t k = 0; k < f->rank; k++)
            sum += query[k] * f->out[k * f->stride + scene->items[i]];
        z[i] = (double)(float)sum; /* hides last-bit differences between machines' LAPACK */
    }
    if (status == UM_OK)
        standardise(z, n);
    free(query);
    return status;
}

/* The slope ------------------------------------------------------------------------------------ */

/* Scores of one training scene whose true action is an item. */
typedef struct example {
    uint32_t n, truth;
    double z[UM_SCENE_MAX_ITEMS];
} example;

typedef UM_VEC(example) examples;

static void soften(double *p, const double *z, uint32_t n, double slope)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++)
        max = fmax(max, slope * z[i]);
    for (uint32_t i = 0; i < n; i++)
        sum += p[i] = exp(slope * z[i] - max);
    for (uint32_t i = 0; i < n; i++)
        p[i] /= sum;
}

/* Newton's method for the root of the falling derivative, kept inside a bracket of it. */
static double fit_slope(const examples *all)
{
    double low = -LARGEST_SLOPE, high = LARGEST_SLOPE, slope = 0;
    for (int step = 0; step < MAX_STEPS; step++) {
        double gradient = -slope, curvature = 1;
        for (size_t e = 0; e < all->len; e++) {
            const example *x = &all->data[e];
            double p[UM_SCENE_MAX_ITEMS], mean = 0, square = 0;
            soften(p, x->z, x->n, slope);
            for (uint32_t i = 0; i < x->n; i++) {
                mean += p[i] * x->z[i];
                square += p[i] * x->z[i] * x->z[i];
            }
            gradient += x->z[x->truth] - mean;
            curvature += square - mean * mean;
        }
        if (gradient > 0)
            low = slope;
        else
            high = slope;
        double next = slope + gradient / curvature;
        if (!(next > low && next < high))
            next = low + (high - low) / 2;
        bool settled = fabs(next - slope) <= 1e-12 * (1 + fabs(slope));
        slope = next;
        if (settled)
            break;
    }
    return slope;
}

/* Adds the base and train scenes of users in odd places, or of all. */
static um_status add_examples(examples *all, const um_factors *f, const um_dataset *d,
                              const um_scene_set *set, bool odd_users, um_error *err)
{
    um_status status = UM_OK;
    for (size_t s = 0; s < set->n && status == UM_OK; s++) {
        const um_scene *scene = &set->scenes[s];
        example one = {.n = count_items(scene), .truth = scene->target};
        if (scene->split == UM_SPLIT_EVAL || one.truth >= one.n ||
            (odd_users && scene->user % 2 == 0))
            continue;
        status = score_items(one.z, f, d, scene, err);
        if (status == UM_OK && !um_vec_push(all, one))
            status = um_fail_memory(err, "training scenes");
    }
    return status;
}

/* Fitting -------------------------------------------------------------------------------------- */

/* With the interactions of every known user, or of those in even places. */
static um_status make_spectral(um_factors *f, const um_dataset *d, const um_known *known,
                               bool even_users, uint32_t rank, uint64_t seed, um_pool *pool,
                               um_error *err)
{
    uint32_t n = d->users.n_rows;
    bool *used = um_calloc(n, sizeof *used);
    if (used == NULL)
        return um_fail_memory(err, "spectral baseline");
    for (uint32_t u = 0; u < n; u++)
        used[u] = known->users[u] && (!even_users || u % 2 == 0);
    um_status status =
        um_spectral_factors(f, d, used, known->until_s, NULL, 0, rank, false, seed, pool, err);
    free(used);
    return status;
}

um_status um_similarity_fit(um_similarity **out, um_similarity_kind kind, const um_dataset *dataset,
                            const um_scene_set *scenes, uint32_t rank, uint64_t seed, int threads,
                            um_error *err)
{
    bool spectral = kind == UM_SIMILARITY_SPECTRAL;
    um_similarity *m = um_calloc(1, sizeof *m);
    um_pool *pool = NULL;
    um_known known = {0};
    um_factors half = {0};
    examples all = {0};
    um_status status =
        m != NULL ? um_pool_new(&pool, threads, err) : um_fail_memory(err, "similarity baseline");

    if (status != UM_OK || (status = um_known_init(&known, dataset, scenes, err)) != UM_OK)
        goto done;
    m->dataset = dataset;
    m->none_share = um_scene_none_share(scenes);
    status = spectral ? make_spectral(&m->factors, dataset, &known, false, rank, seed, pool, err)
                      : um_content_factors(&m->factors, dataset, rank, seed, pool, err);
    if (status == UM_OK && spectral)
        status = make_spectral(&half, dataset, &known, true, rank, seed, pool, err);
    if (status == UM_OK)
        status = add_examples(&all, spectral ? &half : &m->factors, dataset, scenes, spectral, err);
    if (status == UM_OK) {
        m->slope = fit_slope(&all);
        *out = m;
        m = NULL;
    }
done:
    um_factors_dispose(&half);
    um_known_dispose(&known);
    um_vec_dispose(&all);
    um_pool_free(pool);
    um_similarity_free(m);
    return status;
}

void um_similarity_free(um_similarity *m)
{
    if (m == NULL)
        return;
    um_factors_dispose(&m->factors);
    free(m);
}

um_status um_similarity_probabilities(const um_similarity *m, const um_scene *scene, double *p,
                                      um_error *err)
{
    double z[UM_SCENE_MAX_ITEMS];
    uint32_t n = count_items(scene);
    um_status status = score_items(z, &m->factors, m->dataset, scene, err);
    if (status != UM_OK)
        return status;
    soften(p, z, n, m->slope);
    for (uint32_t i = 0; i < n && n < scene->k; i++)
        p[i] *= 1 - m->none_share;
    if (n < scene->k)
        p[n] = m->none_share;
    return UM_OK;
}

double um_similarity_slope(const um_similarity *m)
{
    return m->slope;
}
