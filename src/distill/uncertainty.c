/* uncertainty.c - entropies of action distributions, and the behaviour drawn from one. */
#include "mirrorer/distill.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"

#define CLAMP       1e-10
#define MAX_LETTERS 26

/* out = p clamped from below and renormalised; false when p is not a distribution at all. */
static bool clamp_row(double *out, const double *p, uint32_t k)
{
    double mass = 0, sum = 0;
    for (uint32_t j = 0; j < k; j++) {
        if (!isfinite(p[j]) || p[j] < 0)
            return false;
        mass += p[j];
        out[j] = p[j] < CLAMP ? CLAMP : p[j];
        sum += out[j];
    }
    if (mass <= 0)
        return false;
    for (uint32_t j = 0; j < k; j++)
        out[j] /= sum;
    return true;
}

static double entropy(const double *p, uint32_t k)
{
    double h = 0;
    for (uint32_t j = 0; j < k; j++)
        h -= p[j] * log2(p[j]);
    return h;
}

double um_entropy_bits(const double *p, uint32_t k)
{
    double row[MAX_LETTERS];
    if (k < 1 || k > MAX_LETTERS || !clamp_row(row, p, k))
        return NAN;
    return entropy(row, k);
}

um_status um_decision_measure_row(um_decision_measure *out, const double *p, uint32_t k,
                                  uint32_t truth, um_error *err)
{
    double row[MAX_LETTERS];

    if (k < 2 || k > MAX_LETTERS || truth >= k)
        return um_fail(err, UM_ERR_INPUT,
                       "decision: found k=%u, truth=%u; need 2 <= k <= 26, truth < k", k, truth);
    if (!clamp_row(row, p, k))
        return um_fail(err, UM_ERR_INPUT,
                       "decision: its row is not a distribution (NaN, negative or all zero)");
    out->entropy = entropy(row, k);
    out->log_loss = -log2(row[truth]);
    return UM_OK;
}

um_status um_uncertainty_measure(um_uncertainty *out, const double *p, size_t n, uint32_t k,
                                 const uint8_t *behaviors, uint32_t truth, um_error *err)
{
    double mean[MAX_LETTERS] = {0}, row[MAX_LETTERS];
    double model = 0;
    size_t hits = 0;

    if (n < 1 || k < 2 || k > MAX_LETTERS || truth >= k)
        return um_fail(err, UM_ERR_INPUT,
                       "uncertainty: found n=%zu, k=%u, truth=%u; need n >= 1, 2 <= k <= 26, "
                       "truth < k",
                       n, k, truth);
    for (size_t i = 0; i < n; i++) {
        if (!clamp_row(row, p + i * k, k))
            return um_fail(err, UM_ERR_INPUT,
                           "uncertainty: row %zu is not a distribution (NaN, negative or all zero)",
                           i);
        for (uint32_t j = 0; j < k; j++)
            mean[j] += row[j] / (double)n;
        model += entropy(row, k) / (double)n;
        hits += behaviors[i] == truth;
    }
    out->total = entropy(mean, k);
    out->model = model;
    out->data = out->total - model;
    out->log_loss = -log2(mean[truth]);
    out->hit_rate = (double)hits / (double)n;
    return UM_OK;
}

uint8_t um_behavior_draw(const double *p, uint32_t k, uint64_t seed, uint64_t scene, uint32_t role,
                         uint32_t sample)
{
    um_rng rng;
    um_rng_init(&rng, seed, UM_RNG_BEHAVIOR, scene, role, sample);
    return (uint8_t)um_rng_categorical(&rng, p, k);
}
