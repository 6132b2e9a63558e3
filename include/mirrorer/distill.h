/*
 * distill.h - how uncertain a choice stays after reasoning, and which scenes and texts teach most.
 *
 * Entropies are in bits. p_i = distribution over the k letters after decision process i:
 *
 *     total = H(mean_i p_i)    model ("epistemic") = mean_i H(p_i)    data ("aleatoric") = total -
 * model
 *
 * This is the decomposition by input clarification ensembling (Hou et al., ICML 2024), where the
 * decision processes are the clarifications; it is not the mutual information of an ensemble.
 */
#ifndef MIRRORER_DISTILL_H
#define MIRRORER_DISTILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct um_uncertainty {
    double total, model, data; /* bits */
    double log_loss;           /* -log2 mean_i p_i[truth] */
    double hit_rate;           /* share of behaviours that equal the truth */
} um_uncertainty;

/* p: [n, k] row-major; behaviors: [n] letters; truth in 0..k-1. Rows are clamped at 1e-10 and
 * renormalised. n >= 1, k >= 2; UM_ERR_INPUT for NaN, negative or all-zero rows. */
um_status um_uncertainty_measure(um_uncertainty *out, const double *p, size_t n, uint32_t k,
                                 const uint8_t *behaviors, uint32_t truth,
                                 um_error *err) UM_CHECKED;
/* H of one clamped, renormalised row. */
double um_entropy_bits(const double *p, uint32_t k);
/* The letter that decision process (scene, role, sample) acts on, drawn from p. role: 0 teacher, 1
 * student. */
uint8_t um_behavior_draw(const double *p, uint32_t k, uint64_t seed, uint64_t scene, uint32_t role,
                         uint32_t sample);

/* One decision process as a candidate for a pair. */
typedef struct um_candidate {
    uint64_t decision; /* id */
    double entropy;    /* H(p_i) */
    uint8_t behavior;  /* letter drawn from p_i */
    bool from_teacher;
    bool well_formed; /* malformed texts never train */
} um_candidate;

/*
 * chosen: the preferred one (behaviour == truth; teacher's only) with the lowest entropy; rejected:
 * the non-preferred one (teacher's or student's) with the lowest entropy; ties by smaller id.
 * False when either is missing.
 */
bool um_pair_choose(const um_candidate *candidates, size_t n, uint32_t truth, size_t *chosen,
                    size_t *rejected);

typedef enum um_strategy {
    UM_STRATEGY_GAP,                 /* model uncertainty: student - teacher */
    UM_STRATEGY_TOTAL_GAP,           /* total uncertainty */
    UM_STRATEGY_DATA_GAP,            /* data uncertainty */
    UM_STRATEGY_HIGH_ACCURACY,       /* student's hit rate, high first */
    UM_STRATEGY_LOW_ACCURACY,        /* student's hit rate, low first */
    UM_STRATEGY_ACCURACY_DIFFERENCE, /* teacher's hit rate - student's */
    UM_STRATEGY_LOG_LOSS,            /* student's log loss */
    UM_STRATEGY_RANDOM
} um_strategy;
const char *um_strategy_name(um_strategy strategy);
bool um_strategy_parse(const char *name, um_strategy *out);
/* Names of all strategies in order, ends with NULL. */
extern const char *const um_strategy_names[];
double um_strategy_score(um_strategy strategy, const um_uncertainty *teacher,
                         const um_uncertainty *student, uint64_t seed, uint64_t scene);

typedef struct um_selectable {
    uint64_t scene;
    uint64_t stratum; /* hash of (data set, choice count) */
    double score;
} um_selectable;

/*
 * Picks min(want, n) of the scenes: strata get shares proportional to their size by largest
 * remainder (so they always sum to what was asked), the best scores first within a stratum, ties by
 * scene id. picked[i] tells of scenes[i]. UM_ERR_NUMERIC for a NaN score.
 */
um_status um_select(bool *picked, const um_selectable *scenes, size_t n, size_t want,
                    um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
