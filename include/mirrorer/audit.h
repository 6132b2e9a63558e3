/*
 * audit.h - what a set of scenes gives away, counted from the log and the scenes alone.
 *
 * An audit believes nothing of what the builder says about its work: when an item was first seen,
 * what a user interacted with and which list was logged is looked up in the data set anew. A
 * finding of a leak check means that a model could know what nobody knew at the time, or that
 * training and evaluation are not apart. The other checks tell what is worth knowing of a log.
 *
 * Scenes without a log behind them (imported ones) are audited as far as their lists and texts go;
 * um_audit_finding.checked says which checks that leaves.
 */
#ifndef MIRRORER_AUDIT_H
#define MIRRORER_AUDIT_H

#include "mirrorer/scene.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum um_audit_check {
    /* Leaks. */
    UM_AUDIT_NOT_IN_LOG,     /* target, user, time or logged list is not what the log holds */
    UM_AUDIT_FUTURE_ITEM,    /* an item first seen after the scene; a sampled one released after */
    UM_AUDIT_FUTURE_HISTORY, /* the history holds an interaction at or after the scene's time */
    UM_AUDIT_TARGET_IN_HISTORY, /* ... and that interaction is with the target */
    UM_AUDIT_SEEN_ITEM,         /* a sampled item that the user interacts with, before or after */
    UM_AUDIT_ITEM_TWICE,        /* one item under two letters */
    UM_AUDIT_USER_OVERLAP,      /* an evaluation user has training scenes (splits by user) */
    UM_AUDIT_EVAL_BEFORE_CUT,   /* an evaluation target before the cut (splits by time) */
    UM_AUDIT_TRAIN_AFTER_CUT,   /* a training target at or after it */
    UM_AUDIT_SAME_CHOICE,       /* an earlier scene has the same interaction as its target */
    UM_AUDIT_TARGET_IN_PROFILE, /* the target's text stands in the profile, word for word */
    /* Worth knowing. */
    UM_AUDIT_LOGGED_SEEN,   /* a logged list shows what the user clicked at another time */
    UM_AUDIT_REPEAT,        /* the user chose an item that stands in their history */
    UM_AUDIT_EARLY_RELEASE, /* target, history or logged list use an item before its release date */
    UM_AUDIT_CHECK_COUNT
} um_audit_check;
#define UM_AUDIT_FIRST_NOTE UM_AUDIT_LOGGED_SEEN

const char *um_audit_check_name(um_audit_check check);  /* "future_item", ... */
const char *um_audit_check_about(um_audit_check check); /* one line for people */

/* Figures are given for each split (index: um_split) and for all of them. */
#define UM_AUDIT_ALL   3
#define UM_AUDIT_PARTS 4

#define UM_AUDIT_SHOWN 10
typedef struct um_audit_offender {
    uint64_t scene;
    char what[160]; /* the first offence of that scene */
} um_audit_offender;

typedef struct um_audit_finding {
    bool checked;                   /* false: does not apply to this split, or there is no log */
    uint64_t found[UM_AUDIT_PARTS]; /* scenes with at least one offence */
    size_t n_first;
    um_audit_offender first[UM_AUDIT_SHOWN]; /* in scene order */
} um_audit_finding;

/* Whole numbers from 0, and their histogram in bins [first + b width, first + (b + 1) width).
 * Quantiles are values that occur (nearest rank). */
#define UM_SPREAD_BINS 40
typedef struct um_spread {
    uint64_t n;
    double mean;
    int64_t min, p05, p25, median, p75, p95, max; /* 0 when n is 0 */
    int64_t first, width;
    uint32_t n_bins;
    uint64_t bins[UM_SPREAD_BINS];
} um_spread;
/* Sorts values; width is the least of 1, 2, 5, 10, 20, ... that lets the bins suffice. */
void um_spread_of(um_spread *out, int64_t *values, size_t n);

/*
 * Popularity of an item at a scene: clicks strictly before the scene's time, by anyone. Scenes
 * whose true action is an item only; the action "none" is left out.
 *
 * concordance is the share of (target, distractor) pairs in which the target is the more popular
 * one, ties counting half: the area under the curve within scenes, 0.5 where popularity tells
 * nothing. z and p_value (two-sided) test it by the sum of the targets' mid-ranks, whose mean and
 * variance are those of a rank drawn uniformly from each list (Mann-Whitney, stratified by scene).
 */
#define UM_AUDIT_POPULARITY_BINS 33 /* 0, then [2^(b-1), 2^b) */
typedef struct um_audit_popularity {
    uint64_t scenes;
    double concordance, z, p_value;
    double most,
        least;     /* share of scenes guessed right by taking the most, the least popular item */
    double chance; /* the same of a blind guess among the listed items */
    double most_z, least_z; /* (most - chance) in standard deviations of a blind guess */
    uint64_t targets[UM_AUDIT_POPULARITY_BINS], distractors[UM_AUDIT_POPULARITY_BINS];
} um_audit_popularity;

typedef struct um_audit_part {
    uint64_t scenes;
    uint64_t logged;    /* whose list the log showed */
    uint64_t with_none; /* that offer the action "none" */
    uint64_t none;      /* whose true action it is; left out of positions */
    double chance;      /* accuracy of a blind guess: the mean of 1 / k */
    /* positions[n][j]: scenes that list n items and whose target is the j-th, from 0. */
    uint64_t positions[UM_SCENE_MAX_ITEMS + 1][UM_SCENE_MAX_ITEMS];
    uint64_t
        sources[UM_SOURCE_COUNT + 1]; /* distractors by source; the last: logged, or imported */
    um_spread choices, history, scenes_a_user;
    um_audit_popularity popularity;
} um_audit_part;

/* Times of scenes in equal steps of the calendar. Label of step i: um_audit_time_label. */
#define UM_AUDIT_TIMES 72
typedef enum um_audit_unit { UM_AUDIT_DAY, UM_AUDIT_MONTH, UM_AUDIT_YEAR } um_audit_unit;
typedef struct um_audit_times {
    um_audit_unit unit;
    int64_t first; /* days since 1970; year * 12 + month from 0; year */
    uint32_t step; /* units in a bin; more than 1 only for years */
    uint32_t n;
    uint64_t bins[3][UM_AUDIT_TIMES]; /* by split */
    uint64_t unknown;                 /* time 0 */
} um_audit_times;
void um_audit_time_label(const um_audit_times *times, uint32_t i, char out[32]);

typedef struct um_audit {
    bool has_log;
    uint64_t leaks; /* scenes with at least one leak */
    um_audit_finding findings[UM_AUDIT_CHECK_COUNT];
    um_audit_part parts[UM_AUDIT_PARTS];
    um_audit_times times;
} um_audit;

/*
 * Audits the scenes of one split (NULL: all). Overlaps are looked for among all scenes, and counted
 * against those of the split. Items, users, interactions and times may be anything: an audit finds
 * it. *out is yours.
 */
um_status um_audit_scenes(um_audit **out, const um_dataset *dataset, const um_scene_set *set,
                          const um_split *split, um_error *err) UM_CHECKED;
void um_audit_free(um_audit *audit);

#ifdef __cplusplus
}
#endif
#endif
