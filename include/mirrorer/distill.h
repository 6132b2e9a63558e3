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

/* What one decision process says about its scene. */
typedef struct um_decision_measure {
    double entropy;  /* H(p_i), bits */
    double log_loss; /* -log2 p_i[truth] */
} um_decision_measure;
/* The same clamping and failures as um_uncertainty_measure. */
um_status um_decision_measure_row(um_decision_measure *out, const double *p, uint32_t k,
                                  uint32_t truth, um_error *err) UM_CHECKED;

/* The letter that decision process (scene, role, sample) acts on, drawn from p. role: 0 teacher, 1
 * student. */
uint8_t um_behavior_draw(const double *p, uint32_t k, uint64_t seed, uint64_t scene, uint32_t role,
                         uint32_t sample);

/* The letter that a rejected answer without a decision process names: drawn from p without the
 * true action. All other letters are equally likely where p gives them nothing. */
uint8_t um_wrong_behavior_draw(const double *p, uint32_t k, uint32_t truth, uint64_t seed,
                               uint64_t scene);

/* One decision process as a candidate for a pair. */
typedef struct um_candidate {
    uint64_t decision; /* id */
    double entropy;    /* H(p_i) */
    double log_loss;   /* -log2 p_i[truth] */
    uint8_t behavior;  /* letter drawn from p_i */
    bool from_teacher;
    bool may_train; /* well formed, or malformed ones were asked for */
} um_candidate;

/* Which of several candidates for the same place is taken; ties by smaller id. */
typedef enum um_pair_rule {
    UM_PAIR_LOWEST_ENTROPY, /* as published */
    UM_PAIR_HIGHEST_ENTROPY,
    UM_PAIR_HIGHEST_TRUTH, /* probability of the true action */
    UM_PAIR_LOWEST_TRUTH,
    UM_PAIR_RANDOM
} um_pair_rule;
extern const char *const um_pair_rule_names[]; /* "lowest-entropy", ...; ends with NULL */
bool um_pair_rule_parse(const char *name, um_pair_rule *out);

typedef struct um_pair_rules {
    um_pair_rule chosen, rejected;
    uint64_t seed, scene; /* key of random choices */
} um_pair_rules;

/*
 * chosen: of the preferred ones (behaviour == truth; teacher's only) the one that the rule names;
 * rejected: the same of the non-preferred ones (teacher's or student's). rules NULL: as published,
 * the lowest entropy for both. False when either is missing; which is not is given all the same.
 */
bool um_pair_choose(const um_candidate *candidates, size_t n, uint32_t truth,
                    const um_pair_rules *rules, size_t *chosen, size_t *rejected);

/* What scenes are scored by, high first; docs/DISTILL.md has the formulas. */
typedef enum um_strategy {
    UM_STRATEGY_GAP,                 /* model uncertainty: student - teacher */
    UM_STRATEGY_TOTAL_GAP,           /* total uncertainty */
    UM_STRATEGY_DATA_GAP,            /* data uncertainty */
    UM_STRATEGY_HIGH_ACCURACY,       /* student's hit rate, high first */
    UM_STRATEGY_LOW_ACCURACY,        /* student's hit rate, low first */
    UM_STRATEGY_ACCURACY_DIFFERENCE, /* teacher's hit rate - student's */
    UM_STRATEGY_LOG_LOSS,            /* student's log loss */
    UM_STRATEGY_IFD,                 /* instruction-following difficulty of the chosen answer */
    UM_STRATEGY_RANDOM,
    UM_STRATEGY_RANDOM_DIRECT /* random, and pairs without decision processes */
} um_strategy;
const char *um_strategy_name(um_strategy strategy);
bool um_strategy_parse(const char *name, um_strategy *out);
/* Names of all strategies in order, ends with NULL. */
extern const char *const um_strategy_names[];
/* What is known of a scene. */
typedef struct um_scene_measures {
    um_uncertainty teacher, student;
    double ifd; /* um_instruction_difficulty; looked at by that strategy only */
} um_scene_measures;
double um_strategy_score(um_strategy strategy, const um_scene_measures *measures, uint64_t seed,
                         uint64_t scene);
/*
 * Instruction-following difficulty (Li et al., NAACL 2024): mean loss of an answer's tokens given
 * its prompt, over their mean loss without it. logp_*: sums of log-probabilities, of n tokens.
 * Above 1 the prompt does not help the model at all. NaN for n = 0 or a loss of 0 without prompt.
 */
double um_instruction_difficulty(double logp_with, double logp_without, size_t n);

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
