/*
 * eval.h - how well predicted distributions meet what people did, and how sure one can be of it.
 *
 * Intervals are 95 % percentile bootstraps over users (users are drawn with replacement, all their
 * scenes with them), because scenes of one user are not independent.
 */
#ifndef MIRRORER_EVAL_H
#define MIRRORER_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct um_interval {
    double mean, lo, hi;
} um_interval;

/* What one row of the table predicted for one scene. */
typedef struct um_prediction {
    uint64_t user;
    uint32_t k, truth;
    const double *p; /* [k] */
} um_prediction;

typedef struct um_metrics {
    um_interval accuracy; /* argmax; ties count 1/size of the tie when the truth is in it */
    um_interval expected_accuracy; /* p of the true action */
    um_interval log_loss;          /* -log2 p of the true action, p clamped at 1e-10; bits */
    um_interval brier;             /* sum over letters of (p - onehot)^2 */
    um_interval reciprocal_rank;   /* of the truth by p; ties take the mean rank */
    double calibration_error;      /* ECE: 10 equal-width bins of the argmax probability, against
                                      accuracy as above */
} um_metrics;

um_status um_metrics_measure(um_metrics *out, const um_prediction *predictions, size_t n,
                             uint32_t resamples, uint64_t seed, um_error *err) UM_CHECKED;

/* Difference a - b in argmax accuracy on the same scenes, bootstrapped by user: an interval that
 * leaves out 0 is a difference. The two arrays are aligned. */
um_status um_metrics_difference(um_interval *out, const um_prediction *a, const um_prediction *b,
                                size_t n, uint32_t resamples, uint64_t seed,
                                um_error *err) UM_CHECKED;

/* Pearson's chi-square of counts against what is expected of each (> 0); p is the upper tail at n -
 * 1 degrees. The uniform form expects the same of all. */
void um_chi_square(const uint64_t *counts, const double *expected, size_t n, double *statistic,
                   double *p);
void um_chi_square_uniform(const uint64_t *counts, size_t n, double *statistic, double *p);
/* The upper tail alone: P(X >= statistic) at so many degrees of freedom; 1 at none. Statistics of
 * independent tables add up, and so do their degrees. */
double um_chi_square_tail(double statistic, uint64_t degrees);

/* The report: one self-contained HTML page drawn from a summary (docs/FORMATS.md, "summary.json").
 */
um_status um_report_write(const char *path, const char *summary_json, size_t len,
                          um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
