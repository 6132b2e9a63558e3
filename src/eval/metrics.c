/* metrics.c - accuracy and its kin, with bootstrap intervals by user. */
#include "mirrorer/eval.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"

#define CLAMP 1e-10
#define BINS  10

enum { ACCURACY, EXPECTED, LOG_LOSS, BRIER, RECIPROCAL_RANK, N_METRICS };

static void measure_one(const um_prediction *q, double out[N_METRICS])
{
    double truth = q->p[q->truth], max = 0, brier = 0;
    uint32_t above = 0, equal = 0, at_max = 0;

    for (uint32_t j = 0; j < q->k; j++)
        max = q->p[j] > max ? q->p[j] : max;
    for (uint32_t j = 0; j < q->k; j++) {
        double e = q->p[j] - (j == q->truth);
        brier += e * e;
        above += q->p[j] > truth;
        equal += q->p[j] >= truth && q->p[j] <= truth;
        at_max += q->p[j] >= max;
    }
    out[ACCURACY] = truth >= max ? 1.0 / at_max : 0;
    out[EXPECTED] = truth;
    out[LOG_LOSS] = -log2(truth < CLAMP ? CLAMP : truth);
    out[BRIER] = brier;
    out[RECIPROCAL_RANK] = 1.0 / (above + (equal + 1) / 2.0);
}

/* Scenes grouped by user: sums of every metric and counts. */
typedef struct groups {
    size_t n;
    double *sums; /* [n, N_METRICS] */
    double *counts;
} groups;

typedef struct keyed {
    uint64_t user;
    size_t index;
} keyed;

static int by_user(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    if (x->user != y->user)
        return x->user < y->user ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static void groups_dispose(groups *g)
{
    free(g->sums);
    free(g->counts);
}

/* values: [n, N_METRICS]. */
static um_status group_by_user(groups *g, const um_prediction *predictions, const double *values,
                               size_t n, um_error *err)
{
    keyed *order = um_calloc(n, sizeof *order);
    *g = (groups){.sums = um_calloc(n, N_METRICS * sizeof(double)),
                  .counts = um_calloc(n, sizeof(double))};
    if (order == NULL || g->sums == NULL || g->counts == NULL) {
        free(order);
        return um_fail_memory(err, "metrics");
    }
    for (size_t i = 0; i < n; i++)
        order[i] = (keyed){predictions[i].user, i};
    qsort(order, n, sizeof *order, by_user);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || order[i].user != order[i - 1].user)
            g->n++;
        g->counts[g->n - 1] += 1;
        for (int m = 0; m < N_METRICS; m++)
            g->sums[(g->n - 1) * N_METRICS + (size_t)m] +=
                values[order[i].index * N_METRICS + (size_t)m];
    }
    free(order);
    return UM_OK;
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    double part = at - (double)i;
    return i + 1 < n ? sorted[i] * (1 - part) + sorted[i + 1] * part : sorted[i];
}

/* means over resampled users; intervals from their 2.5 and 97.5 percentiles. */
static um_status bootstrap(um_interval out[N_METRICS], const groups *g, uint32_t resamples,
                           uint64_t seed, um_error *err)
{
    double *draws = um_calloc(resamples, N_METRICS * sizeof *draws);
    if (draws == NULL)
        return um_fail_memory(err, "bootstrap");
    for (uint32_t r = 0; r < resamples; r++) {
        double sums[N_METRICS] = {0}, count = 0;
        um_rng rng;
        um_rng_init(&rng, seed, UM_RNG_BOOTSTRAP, r, 0, 0);
        for (size_t i = 0; i < g->n; i++) {
            size_t u = um_rng_below(&rng, (uint32_t)g->n);
            for (int m = 0; m < N_METRICS; m++)
                sums[m] += g->sums[u * N_METRICS + (size_t)m];
            count += g->counts[u];
        }
        for (int m = 0; m < N_METRICS; m++)
            draws[(size_t)m * resamples + r] = sums[m] / count;
    }
    for (int m = 0; m < N_METRICS; m++) {
        double sum = 0, count = 0, *column = draws + (size_t)m * resamples;
        for (size_t u = 0; u < g->n; u++) {
            sum += g->sums[u * N_METRICS + (size_t)m];
            count += g->counts[u];
        }
        qsort(column, resamples, sizeof *column, by_double);
        out[m] = (um_interval){sum / count, quantile(column, resamples, 0.025),
                               quantile(column, resamples, 0.975)};
    }
    free(draws);
    return UM_OK;
}

static um_status check(const um_prediction *predictions, size_t n, uint32_t resamples,
                       um_error *err)
{
    if (n == 0 || resamples == 0)
        return um_fail(err, UM_ERR_INPUT, "metrics: found %zu scenes and %u resamples; need both",
                       n, resamples);
    for (size_t i = 0; i < n; i++) {
        const um_prediction *q = &predictions[i];
        double sum = 0, least = 0;
        for (uint32_t j = 0; j < q->k; j++) {
            sum += q->p[j];
            least = q->p[j] < least ? q->p[j] : least;
        }
        if (q->truth >= q->k || least < 0 || !(fabs(sum - 1) < 1e-3))
            return um_fail(err, UM_ERR_INPUT,
                           "metrics: prediction %zu is not a distribution over its %u letters (sum "
                           "%g, least %g, truth %u)",
                           i, q->k, sum, least, q->truth);
    }
    return UM_OK;
}

/* values: [n, N_METRICS]; their accuracy counts a tie at the top in parts. */
static double calibration(const um_prediction *predictions, const double *values, size_t n)
{
    double confidence[BINS] = {0}, hits[BINS] = {0}, error = 0;
    for (size_t i = 0; i < n; i++) {
        const um_prediction *q = &predictions[i];
        double max = 0;
        for (uint32_t j = 0; j < q->k; j++)
            max = q->p[j] > max ? q->p[j] : max;
        int bin = (int)(max * BINS);
        bin = bin >= BINS ? BINS - 1 : bin;
        confidence[bin] += max;
        hits[bin] += values[i * N_METRICS + ACCURACY];
    }
    for (int b = 0; b < BINS; b++)
        error += fabs(confidence[b] - hits[b]) / (double)n;
    return error;
}

um_status um_metrics_measure(um_metrics *out, const um_prediction *predictions, size_t n,
                             uint32_t resamples, uint64_t seed, um_error *err)
{
    um_interval intervals[N_METRICS];
    groups g = {0};
    double *values = NULL;
    um_status status = check(predictions, n, resamples, err);

    if (status != UM_OK)
        return status;
    values = um_calloc(n, N_METRICS * sizeof *values);
    if (values == NULL)
        return um_fail_memory(err, "metrics");
    for (size_t i = 0; i < n; i++)
        measure_one(&predictions[i], values + i * N_METRICS);
    status = group_by_user(&g, predictions, values, n, err);
    if (status == UM_OK)
        status = bootstrap(intervals, &g, resamples, seed, err);
    if (status == UM_OK)
        *out = (um_metrics){intervals[ACCURACY],        intervals[EXPECTED],
                            intervals[LOG_LOSS],        intervals[BRIER],
                            intervals[RECIPROCAL_RANK], calibration(predictions, values, n)};
    groups_dispose(&g);
    free(values);
    return status;
}

um_status um_metrics_difference(um_interval *out, const um_prediction *a, const um_prediction *b,
                                size_t n, uint32_t resamples, uint64_t seed, um_error *err)
{
    um_interval intervals[N_METRICS];
    groups g = {0};
    um_status status = check(a, n, resamples, err);

    if (status == UM_OK)
        status = check(b, n, resamples, err);
    if (status != UM_OK)
        return status;
    double *values = um_calloc(n, N_METRICS * sizeof *values);
    if (values == NULL)
        return um_fail_memory(err, "metrics");
    for (size_t i = 0; i < n; i++) {
        double other[N_METRICS];
        measure_one(&a[i], values + i * N_METRICS);
        measure_one(&b[i], other);
        for (int m = 0; m < N_METRICS; m++)
            values[i * N_METRICS + (size_t)m] -= other[m];
    }
    status = group_by_user(&g, a, values, n, err);
    if (status == UM_OK)
        status = bootstrap(intervals, &g, resamples, seed, err);
    if (status == UM_OK)
        *out = intervals[ACCURACY];
    groups_dispose(&g);
    free(values);
    return status;
}

/* Upper regularised incomplete gamma Q(a, x): series below a + 1, continued fraction above
 * (Abramowitz & Stegun 6.5.29 and 6.5.31). */
static double gamma_q(double a, double x)
{
    if (x <= 0)
        return 1;
    double front = exp(a * log(x) - x - lgamma(a));
    if (x < a + 1) {
        double term = 1 / a, sum = term;
        for (int n = 1; n < 1000 && term > sum * 1e-16; n++)
            sum += term *= x / (a + n);
        return 1 - front * sum;
    }
    double b = x + 1 - a, c = 1e300, d = 1 / b, h = d;
    for (int n = 1; n < 1000; n++) {
        double an = -n * (n - a);
        b += 2;
        d = 1 / (an * d + b);
        c = b + an / c;
        h *= d * c;
        if (fabs(d * c - 1) < 1e-15)
            break;
    }
    return front * h;
}

double um_chi_square_tail(double statistic, uint64_t degrees)
{
    return degrees > 0 ? gamma_q((double)degrees / 2, statistic / 2) : 1;
}

void um_chi_square(const uint64_t *counts, const double *expected, size_t n, double *statistic,
                   double *p)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double e = (double)counts[i] - expected[i];
        sum += e * e / expected[i];
    }
    *statistic = sum;
    *p = um_chi_square_tail(sum, n > 1 ? n - 1 : 0);
}

void um_chi_square_uniform(const uint64_t *counts, size_t n, double *statistic, double *p)
{
    double total = 0, sum = 0;
    for (size_t i = 0; i < n; i++)
        total += (double)counts[i];
    double expected = total / (double)n;
    for (size_t i = 0; i < n && expected > 0; i++)
        sum += ((double)counts[i] - expected) * ((double)counts[i] - expected) / expected;
    *statistic = sum;
    *p = um_chi_square_tail(sum, n > 1 ? n - 1 : 0);
}
