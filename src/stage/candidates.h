/*
 * candidates.h (internal) - one scene's decision processes as candidates for a pair: what each came
 * to, which may train, which two the rules take.
 */
#ifndef UM_STAGE_CANDIDATES_H
#define UM_STAGE_CANDIDATES_H

#include "base/mem.h"
#include "mirrorer/config.h"
#include "mirrorer/distill.h"
#include "mirrorer/workspace.h"

/* Section distill of the configuration, read. */
typedef struct um_distill_rules {
    um_strategy strategy;
    um_pair_rule chosen, rejected;
    bool keep_malformed, keep_contradicting;
    uint64_t seed;
} um_distill_rules;
um_status um_distill_rules_read(um_distill_rules *out, const um_config *config,
                                um_error *err) UM_CHECKED;

/* Zero-initialised is empty; filling it again uses its memory again. */
typedef struct um_scene_candidates {
    UM_VEC(um_candidate) all; /* in the order of the scene's decisions */
    UM_VEC(const char *)
    faults;              /* [all.len] what is wrong with each, NULL when nothing is;
                            borrowed from the scene, or constant */
    UM_VEC(double) p[2]; /* teacher, student: [n, k] */
    UM_VEC(uint8_t) behaviors[2];
    um_scene_measures measures; /* ifd is left NaN */
    bool measured;              /* both have a decision process */
    bool has_pair;
    size_t chosen, rejected; /* in all; without a pair each may be SIZE_MAX: there is none */
    uint64_t decisions[2];   /* of the pair: chosen, rejected; 0, 0 without decision processes */
    uint32_t letters[2];
    const char *reason; /* why the scene can give no pair; NULL when it can */
} um_scene_candidates;

um_status um_scene_candidates_fill(um_scene_candidates *c, const um_scored_scene *scene,
                                   const um_distill_rules *rules, um_error *err) UM_CHECKED;
void um_scene_candidates_dispose(um_scene_candidates *c);

/* The id of the predictor that distributions are read of; 0 when there is none yet. */
um_status um_predictor_id(um_workspace *ws, uint64_t *id, um_error *err) UM_CHECKED;

#define UM_REASON_KEPT     "kept"
#define UM_REASON_OTHERS   "others teach more"
#define UM_REASON_TOO_LONG "answer too long for the student"

#endif
