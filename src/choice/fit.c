/*
 * fit.c - features of listed items, and the multinomial logit over them.
 *
 * P(c | list) = exp(beta . x_c) / sum_j exp(beta . x_j). The penalised log-likelihood is concave;
 * Newton's method with step halving finds its maximum. Features are divided by their standard
 * deviation within lists, so one ridge fits all. The action "none of these" has a constant of its
 * own and no features.
 */
#include "choice/choice.h"

#include <lapacke.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "choice/known.h"
#include "scene/split.h"

#define NEW_RELEASE_S ((int64_t)180 * 86400)
#define RECENT_ITEMS  3    /* of the history: its last ones */
#define RATING_PRIOR  3.0  /* pseudo-ratings at the mean */
#define SHOWN_PRIOR   5.0  /* pseudo-impressions of one click */
#define ROUNDING      1e-9 /* of a feature's size: less spread than this is none */

void um_choice_defaults(um_choice_options *options)
{
    *options = (um_choice_options){.ridge = 1.0, .iterations = 30};
}

void um_choice_free(um_choice_model *model)
{
    if (model == NULL)
        return;
    um_choice_attributes_dispose(model);
    free(model->item_start);
    free(model->item_time);
    free(model->item_rating_sum);
    free(model->shown_start);
    free(model->shown_time);
    for (int f = 0; f < model->n_features; f++)
        free(model->feature_names[f]);
    free(model);
}

int um_choice_band(const um_choice_model *model, uint64_t interaction)
{
    double r = model->rating != NULL ? model->rating->numbers[interaction] : NAN;
    if (isnan(r))
        return 1;
    return r < model->low_below ? 0 : r > model->high_above ? 2 : 1;
}

/* The crowd's record -------------------------------------------------------------------------- */

typedef struct event {
    int64_t time;
    double rating;
} event;

static int by_time(const void *a, const void *b)
{
    const event *x = a, *y = b;
    return (x->time > y->time) - (x->time < y->time);
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Known interactions by item, in time order, ratings summed along. */
static um_status count_clicks(um_choice_model *m, const um_known *k, um_error *err)
{
    const um_dataset *d = m->dataset;
    uint32_t n_items = d->items.n_rows;
    um_status status = UM_OK;
    event *events = um_calloc(d->n_interactions, sizeof *events);
    uint64_t *fill = um_calloc((size_t)n_items + 1, sizeof *fill);

    m->item_start = um_calloc((size_t)n_items + 1, sizeof *m->item_start);
    m->item_time = um_calloc(d->n_interactions, sizeof *m->item_time);
    m->item_rating_sum = um_calloc(d->n_interactions, sizeof *m->item_rating_sum);
    if (events == NULL || fill == NULL || m->item_start == NULL || m->item_time == NULL ||
        m->item_rating_sum == NULL) {
        status = um_fail_memory(err, "item records");
        goto done;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t u = 0; u < d->users.n_rows; u++) {
            uint64_t end = um_known_end(k, d, u);
            for (uint64_t i = d->user_start[u]; i < end; i++) {
                if (pass == 0) {
                    m->item_start[d->item[i] + 1]++;
                    continue;
                }
                double r = m->rating != NULL ? m->rating->numbers[i] : NAN;
                events[fill[d->item[i]]++] = (event){d->time_s[i], isnan(r) ? m->mean_rating : r};
            }
        }
        for (uint32_t i = 0; pass == 0 && i < n_items; i++)
            m->item_start[i + 1] += m->item_start[i];
        if (pass == 0)
            memcpy(fill, m->item_start, ((size_t)n_items + 1) * sizeof *fill);
    }
    for (uint32_t i = 0; i < n_items; i++)
        qsort(events + m->item_start[i], m->item_start[i + 1] - m->item_start[i], sizeof *events,
              by_time);
    for (uint32_t i = 0; i < n_items; i++) {
        double sum = 0;
        for (uint64_t e = m->item_start[i]; e < m->item_start[i + 1]; e++) {
            m->item_time[e] = events[e].time;
            m->item_rating_sum[e] = sum += events[e].rating;
        }
    }
done:
    free(events);
    free(fill);
    return status;
}

static um_status count_impressions(um_choice_model *m, const um_known *k, um_error *err)
{
    const um_dataset *d = m->dataset;
    uint32_t n_items = d->items.n_rows;
    if (d->impression_start == NULL)
        return UM_OK;
    uint64_t *fill = um_calloc((size_t)n_items + 1, sizeof *fill);
    m->shown_start = um_calloc((size_t)n_items + 1, sizeof *m->shown_start);
    m->shown_time = um_calloc(d->impression_start[d->n_interactions], sizeof *m->shown_time);
    if (fill == NULL || m->shown_start == NULL || m->shown_time == NULL) {
        free(fill);
        return um_fail_memory(err, "impression records");
    }
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t u = 0; u < d->users.n_rows; u++) {
            uint64_t end = um_known_end(k, d, u);
            for (uint64_t i = d->user_start[u]; i < end; i++) {
                for (uint64_t j = d->impression_start[i]; j < d->impression_start[i + 1]; j++) {
                    uint32_t item = d->impression_item[j];
                    if (pass == 0)
                        m->shown_start[item + 1]++;
                    else
                        m->shown_time[fill[item]++] = d->time_s[i];
                }
            }
        }
        for (uint32_t i = 0; pass == 0 && i < n_items; i++)
            m->shown_start[i + 1] += m->shown_start[i];
        if (pass == 0)
            memcpy(fill, m->shown_start, ((size_t)n_items + 1) * sizeof *fill);
    }
    for (uint32_t i = 0; i < n_items; i++)
        qsort(m->shown_time + m->shown_start[i], m->shown_start[i + 1] - m->shown_start[i],
              sizeof *m->shown_time, by_value);
    free(fill);
    return UM_OK;
}

static uint64_t clicks_before(const um_choice_model *m, uint32_t item, int64_t t)
{
    uint64_t s = m->item_start[item];
    return um_first_at(m->item_time, s, m->item_start[item + 1], t) - s;
}

/* Features ------------------------------------------------------------------------------------ */

/* Rows of x are [n_features], unscaled. */
static void scene_features(const um_choice_model *m, const um_scene *scene, double *x)
{
    const um_dataset *d = m->dataset;
    int per_attribute = UM_CHOICE_PER_ATTRIBUTE;

    memset(x, 0, (size_t)scene->k * (size_t)m->n_features * sizeof *x);
    for (uint32_t c = 0; c < scene->k; c++) {
        double *row = x + (size_t)c * (size_t)m->n_features;
        uint32_t item = scene->items[c];
        if (item == UM_SCENE_NONE) {
            if (m->none_feature >= 0)
                row[m->none_feature] = 1;
            continue;
        }
        for (int a = 0; a < m->n_attributes; a++) {
            uint64_t mine = m->attributes[a].mask[item];
            bool ordered = m->attributes[a].decade;
            double *f = row + a * per_attribute;
            double weight = mine != 0 ? 1.0 / __builtin_popcountll(mine) : 0;
            for (int v = 0; v < m->attributes[a].n_values; v++) {
                if ((mine >> v & 1) == 0)
                    continue;
                double count[UM_CHOICE_BANDS] = {0}, near = 0, recent = 0;
                uint64_t beside = (UINT64_C(1) << v) << 1 | (UINT64_C(1) << v) >> 1;
                for (uint32_t h = 0; h < scene->n_history; h++) {
                    uint64_t i = scene->history[h];
                    uint64_t theirs = m->attributes[a].mask[d->item[i]];
                    int band = um_choice_band(m, i);
                    count[band] += (double)(theirs >> v & 1);
                    near += ordered && band > 0 && (theirs & beside) != 0;
                    recent += h + RECENT_ITEMS >= scene->n_history ? (double)(theirs >> v & 1) : 0;
                }
                for (int b = 0; b < UM_CHOICE_BANDS; b++)
                    f[b] += weight * sqrt(count[b]);
                f[UM_CHOICE_BANDS] += weight * sqrt(near);
                f[UM_CHOICE_BANDS + 1] += weight * sqrt(recent);
            }
        }
        double *f = row + m->n_attributes * per_attribute;
        uint64_t start = m->item_start[item], clicks = clicks_before(m, item, scene->time_s);
        double sum = clicks > 0 ? m->item_rating_sum[start + clicks - 1] : 0;
        *f++ = log1p((double)clicks);
        *f++ = (sum + RATING_PRIOR * m->mean_rating) / ((double)clicks + RATING_PRIOR);
        if (m->shown_start != NULL) {
            uint64_t s = m->shown_start[item];
            uint64_t shown =
                um_first_at(m->shown_time, s, m->shown_start[item + 1], scene->time_s) - s;
            *f++ = log(((double)clicks + 1) / ((double)shown + SHOWN_PRIOR));
        }
        int64_t age = scene->time_s - d->item_available_s[item];
        *f = d->item_has_release[item] && age >= 0 && age < NEW_RELEASE_S;
    }
}

static um_status name_features(um_choice_model *m, um_error *err)
{
    static const char *const bands[] = {"rated low", "rated middle", "rated high", "neighbours",
                                        "recent"};
    char name[160];

    for (int a = 0; a < m->n_attributes; a++) {
        for (int b = 0; b < UM_CHOICE_PER_ATTRIBUTE; b++) {
            snprintf(name, sizeof name, "%s shared, %s", m->attributes[a].column, bands[b]);
            m->feature_names[m->n_features++] = um_strdup(name);
        }
    }
    m->feature_names[m->n_features++] = um_strdup("log popularity");
    m->feature_names[m->n_features++] = um_strdup("mean rating");
    if (m->shown_start != NULL)
        m->feature_names[m->n_features++] = um_strdup("log click share");
    m->feature_names[m->n_features++] = um_strdup("new release");
    if (m->none_feature >= 0) {
        m->none_feature = m->n_features;
        m->feature_names[m->n_features++] = um_strdup("none of these");
    }
    for (int f = 0; f < m->n_features; f++) {
        if (m->feature_names[f] == NULL)
            return um_fail_memory(err, "feature names");
    }
    return UM_OK;
}

void um_choice_tastes(const um_choice_model *m, const um_scene *scene, int a, double *taste)
{
    const double *beta = m->beta + a * UM_CHOICE_PER_ATTRIBUTE;
    const double *scale = m->scale + a * UM_CHOICE_PER_ATTRIBUTE;

    for (int v = 0; v < m->attributes[a].n_values; v++) {
        double count[UM_CHOICE_BANDS] = {0};
        for (uint32_t h = 0; h < scene->n_history; h++) {
            uint64_t i = scene->history[h];
            if (m->attributes[a].mask[m->dataset->item[i]] >> v & 1)
                count[um_choice_band(m, i)]++;
        }
        taste[v] = 0;
        for (int b = 0; b < UM_CHOICE_BANDS; b++)
            taste[v] += beta[b] * sqrt(count[b]) / scale[b];
    }
}

/* The logit ----------------------------------------------------------------------------------- */

/* One scene's block of the design matrix. */
typedef struct block {
    size_t row; /* first row */
    uint32_t k, truth;
    uint32_t n_items; /* of its k rows; the last may be the action "none of these" */
} block;

typedef struct problem {
    const double *x; /* [rows, n] */
    const block *blocks;
    size_t n_blocks;
    int n;
    double ridge;
} problem;

static void softmax(double *p, const double *x, const double *beta, uint32_t k, int n)
{
    double max = -INFINITY, sum = 0;
    for (uint32_t c = 0; c < k; c++) {
        p[c] = 0;
        for (int f = 0; f < n; f++)
            p[c] += beta[f] * x[(size_t)c * (size_t)n + (size_t)f];
        max = p[c] > max ? p[c] : max;
    }
    for (uint32_t c = 0; c < k; c++)
        sum += p[c] = exp(p[c] - max);
    for (uint32_t c = 0; c < k; c++)
        p[c] /= sum;
}

/* Penalised log-likelihood; its gradient and the negative Hessian when asked. */
static double likelihood(const problem *q, const double *beta, double *gradient, double *hessian)
{
    double total = 0, p[UM_SCENE_MAX_ITEMS], mean[UM_CHOICE_MAX_FEATURES];
    int n = q->n;

    if (gradient != NULL) {
        memset(gradient, 0, (size_t)n * sizeof *gradient);
        memset(hessian, 0, (size_t)(n * n) * sizeof *hessian);
    }
    for (size_t s = 0; s < q->n_blocks; s++) {
        const block *b = &q->blocks[s];
        const double *x = q->x + b->row * (size_t)n;
        softmax(p, x, beta, b->k, n);
        total += log(p[b->truth]);
        if (gradient == NULL)
            continue;
        memset(mean, 0, sizeof mean);
        for (uint32_t c = 0; c < b->k; c++) {
            for (int f = 0; f < n; f++)
                mean[f] += p[c] * x[(size_t)c * (size_t)n + (size_t)f];
        }
        for (int f = 0; f < n; f++)
            gradient[f] += x[(size_t)b->truth * (size_t)n + (size_t)f] - mean[f];
        for (uint32_t c = 0; c < b->k; c++) {
            const double *row = x + (size_t)c * (size_t)n;
            for (int f = 0; f < n; f++) {
                double w = p[c] * (row[f] - mean[f]);
                for (int g = 0; g <= f; g++)
                    hessian[f * n + g] += w * (row[g] - mean[g]);
            }
        }
    }
    for (int f = 0; f < n; f++) {
        total -= q->ridge / 2 * beta[f] * beta[f];
        if (gradient != NULL) {
            gradient[f] -= q->ridge * beta[f];
            hessian[f * n + f] += q->ridge;
        }
    }
    return total;
}

static um_status newton(const problem *q, double *beta, int iterations, um_error *err)
{
    double gradient[UM_CHOICE_MAX_FEATURES], trial[UM_CHOICE_MAX_FEATURES];
    double hessian[UM_CHOICE_MAX_FEATURES * UM_CHOICE_MAX_FEATURES];

    for (int it = 0; it < iterations; it++) {
        double now = likelihood(q, beta, gradient, hessian);
        if (LAPACKE_dposv(LAPACK_ROW_MAJOR, 'L', q->n, 1, hessian, q->n, gradient, 1) != 0)
            return um_fail(err, UM_ERR_NUMERIC,
                           "choice model: the likelihood has no single maximum; raise the ridge");
        double step = 1, gain = -1;
        for (int half = 0; half < 30 && !(gain >= 0); half++, step /= 2) {
            for (int f = 0; f < q->n; f++)
                trial[f] = beta[f] + step * gradient[f];
            gain = likelihood(q, trial, NULL, NULL) - now;
        }
        if (!(gain >= 0))
            break;
        memcpy(beta, trial, (size_t)q->n * sizeof *beta);
        if (gain < 1e-9 * (1 + fabs(now)))
            break;
    }
    return UM_OK;
}

/*
 * Standard deviation of each feature among the items of a list: what a choice can depend on. A
 * feature that differs by nothing but rounding is left as it is; divided by its spread, the noise
 * would drown all others.
 */
static void set_scales(um_choice_model *m, const double *x, const block *blocks, size_t n_blocks)
{
    int n = m->n_features;
    for (int f = 0; f < n; f++) {
        double sum = 0, largest = 0;
        size_t rows = 0;
        for (size_t s = 0; s < n_blocks; s++) {
            uint32_t n_items = blocks[s].n_items;
            double mean = 0;
            rows += n_items;
            for (uint32_t c = 0; c < n_items; c++)
                mean += x[(blocks[s].row + c) * (size_t)n + (size_t)f] / n_items;
            for (uint32_t c = 0; c < n_items; c++) {
                double value = x[(blocks[s].row + c) * (size_t)n + (size_t)f];
                sum += (value - mean) * (value - mean);
                largest = fmax(largest, fabs(value));
            }
        }
        double spread = sqrt(sum / (double)rows);
        m->scale[f] = spread > ROUNDING * largest ? spread : 1;
    }
}

static um_status fit_scenes(um_choice_model *m, const um_scene_set *set,
                            const um_choice_options *options, um_error *err)
{
    um_status status = UM_OK;
    size_t rows = 0, n_blocks = 0;
    double *x = NULL, uniform = 0;
    block *blocks = um_calloc(set->n, sizeof *blocks);

    for (size_t s = 0; s < set->n; s++)
        rows += set->scenes[s].split != UM_SPLIT_EVAL ? set->scenes[s].k : 0;
    x = um_calloc(rows, (size_t)m->n_features * sizeof *x);
    if (blocks == NULL || x == NULL) {
        status = um_fail_memory(err, "choice model");
        goto done;
    }
    rows = 0;
    for (size_t s = 0; s < set->n; s++) {
        const um_scene *scene = &set->scenes[s];
        if (scene->split == UM_SPLIT_EVAL)
            continue;
        blocks[n_blocks++] = (block){rows, scene->k, scene->target,
                                     scene->k - (scene->items[scene->k - 1] == UM_SCENE_NONE)};
        scene_features(m, scene, x + rows * (size_t)m->n_features);
        rows += scene->k;
        uniform += log2((double)scene->k);
    }
    if (n_blocks == 0) {
        status = um_fail(err, UM_ERR_STATE,
                         "choice model: no training scenes to fit; run `mirrorer "
                         "scenes` with train or base scenes");
        goto done;
    }
    set_scales(m, x, blocks, n_blocks);
    for (size_t r = 0; r < rows; r++) {
        for (int f = 0; f < m->n_features; f++)
            x[r * (size_t)m->n_features + (size_t)f] /= m->scale[f];
    }
    problem q = {x, blocks, n_blocks, m->n_features, options->ridge};
    status = newton(&q, m->beta, options->iterations, err);
    q.ridge = 0;
    m->fitted_scenes = n_blocks;
    m->fitted_bits = -likelihood(&q, m->beta, NULL, NULL) / log(2) / (double)n_blocks;
    m->uniform_bits = uniform / (double)n_blocks;
done:
    free(x);
    free(blocks);
    return status;
}

/* Bands: half a standard deviation around the mean rating of training users is "middle". */
static void set_bands(um_choice_model *m, const um_known *k)
{
    const um_dataset *d = m->dataset;
    double sum = 0, squares = 0, n = 0;
    m->rating = um_dataset_series(d, "rating");
    if (m->rating != NULL && m->rating->numbers == NULL)
        m->rating = NULL;
    for (uint32_t u = 0; m->rating != NULL && u < d->users.n_rows; u++) {
        uint64_t end = um_known_end(k, d, u);
        for (uint64_t i = d->user_start[u]; i < end; i++) {
            double r = m->rating->numbers[i];
            if (isnan(r))
                continue;
            sum += r;
            squares += r * r;
            n++;
        }
    }
    double mean = n > 0 ? sum / n : 0, variance = n > 0 ? squares / n - mean * mean : 0;
    m->mean_rating = mean;
    m->low_below = mean - 0.5 * sqrt(fmax(variance, 0));
    m->high_above = mean + 0.5 * sqrt(fmax(variance, 0));
}

um_status um_choice_fit(um_choice_model **out, const um_dataset *dataset,
                        const um_scene_set *scenes, const um_choice_options *options, um_error *err)
{
    um_status status;
    um_choice_model *m = um_calloc(1, sizeof *m);
    um_known k = {0};

    if (m == NULL) {
        status = um_fail_memory(err, "choice model");
        goto done;
    }
    if ((status = um_known_init(&k, dataset, scenes, err)) != UM_OK)
        goto done;
    m->dataset = dataset;
    m->none_feature = -1;
    m->none_share = um_scene_none_share(scenes);
    for (size_t s = 0; s < scenes->n; s++) {
        const um_scene *scene = &scenes->scenes[s];
        if (scene->k > 0 && scene->items[scene->k - 1] == UM_SCENE_NONE)
            m->none_feature = 0; /* until name_features places it */
    }
    set_bands(m, &k);
    if ((status = um_choice_attributes_find(m, err)) != UM_OK ||
        (status = count_clicks(m, &k, err)) != UM_OK ||
        (status = count_impressions(m, &k, err)) != UM_OK ||
        (status = name_features(m, err)) != UM_OK ||
        (status = fit_scenes(m, scenes, options, err)) != UM_OK)
        goto done;
    *out = m;
    m = NULL;
done:
    um_choice_free(m);
    um_known_dispose(&k);
    return status;
}

um_status um_choice_probabilities(const um_choice_model *m, const um_scene *scene, double *p,
                                  um_error *err)
{
    double x[UM_SCENE_MAX_ITEMS * UM_CHOICE_MAX_FEATURES];
    if (scene->k < 1 || scene->k > UM_SCENE_MAX_ITEMS)
        return um_fail(err, UM_ERR_INPUT, "scene %llu: found %u items, limit %d",
                       (unsigned long long)scene->id, scene->k, UM_SCENE_MAX_ITEMS);
    scene_features(m, scene, x);
    for (uint32_t c = 0; c < scene->k; c++) {
        for (int f = 0; f < m->n_features; f++)
            x[c * (uint32_t)m->n_features + (uint32_t)f] /= m->scale[f];
    }
    softmax(p, x, m->beta, scene->k, m->n_features);
    return UM_OK;
}

um_status um_choice_popularity(const um_choice_model *m, const um_scene *scene, double *p,
                               um_error *err)
{
    uint32_t n_items = scene->k - (scene->items[scene->k - 1] == UM_SCENE_NONE);
    double sum = 0, share = n_items < scene->k ? 1.0 - m->none_share : 1.0;
    (void)err;
    for (uint32_t c = 0; c < n_items; c++)
        sum += p[c] = 1.0 + (double)clicks_before(m, scene->items[c], scene->time_s);
    for (uint32_t c = 0; c < n_items; c++)
        p[c] /= sum / share;
    if (n_items < scene->k)
        p[n_items] = m->none_share;
    return UM_OK;
}

bool um_choice_coefficient(const um_choice_model *m, size_t i, const char **name,
                           double *coefficient)
{
    if (i >= (size_t)m->n_features)
        return false;
    *name = m->feature_names[i];
    *coefficient = m->beta[i];
    return true;
}

void um_choice_fit_figures(const um_choice_model *m, size_t *scenes, double *bits,
                           double *uniform_bits)
{
    *scenes = m->fitted_scenes;
    *bits = m->fitted_bits;
    *uniform_bits = m->uniform_bits;
}
