/*
 * scene.h - simulation scenes: what one user knew, what they were shown, what they chose.
 *
 * A scene is one target interaction of one user with at least `min_order` earlier ones, a history
 * taken strictly before the target's time, and an exposure list that holds the target at a known
 * position. Rules: REFERENCE of the field, UserMirrorer (arXiv 2508.18142), with its leaks mended:
 * users of different splits are disjoint, nothing later than the scene is in it, the target is at a
 * uniform position.
 */
#ifndef MIRRORER_SCENE_H
#define MIRRORER_SCENE_H

#include <stdbool.h>
#include <stdint.h>

#include "mirrorer/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UM_SCENE_MAX_ITEMS 26 /* one letter each, A..Z */

typedef enum um_split {
    UM_SPLIT_BASE,  /* training users: text the embedded student is first trained on */
    UM_SPLIT_TRAIN, /* training users: candidates for distillation; disjoint from base scenes */
    UM_SPLIT_EVAL   /* held-out users */
} um_split;
const char *um_split_name(um_split split); /* "base", "train", "eval" */

typedef enum um_source {
    UM_SOURCE_RANDOM,
    UM_SOURCE_POPULARITY,
    UM_SOURCE_SPECTRAL,
    UM_SOURCE_CONTENT,
    UM_SOURCE_SOCIAL, /* items that most of the user's friends interacted with before */
    UM_SOURCE_COUNT
} um_source;
const char *um_source_name(um_source source);

/* How evaluation is kept apart from training. */
typedef enum um_split_by {
    UM_SPLIT_BY_USER, /* users are disjoint (default) */
    UM_SPLIT_BY_TIME, /* training targets lie before the cut, evaluation targets at or after it */
    UM_SPLIT_BY_BOTH  /* both hold */
} um_split_by;
const char *um_split_by_name(um_split_by split_by); /* "user", "time", "both" */

/* What becomes of impressions with several clicks. */
typedef enum um_multi_click {
    UM_MULTI_CLICK_SKIP, /* counted and left out, as published */
    UM_MULTI_CLICK_EACH  /* one scene a click; the other clicked items stay in its list */
} um_multi_click;

/* Given embeddings of items, for the content source instead of TF-IDF. Borrowed. */
typedef struct um_item_embeddings {
    uint32_t n_items, dim;
    const float *rows; /* [n_items][dim]; a row of zeros knows nothing; scaled to length 1 here */
} um_item_embeddings;

typedef struct um_scene_options {
    uint64_t seed;
    um_split_by split_by;
    int64_t time_cut_s; /* global cut; 0: placed so that eval_time_share of the possible targets lie
                           at or after it */
    double eval_time_share;
    double eval_user_share;                          /* of users with a possible scene */
    uint32_t base_scenes, train_scenes, eval_scenes; /* wanted; fewer when the log has fewer */
    uint32_t min_order;                              /* strictly earlier interactions it needs */
    uint32_t min_history, max_history;     /* history length, uniform; at most what is there */
    bool eval_last_history;                /* evaluation takes the last max_history */
    uint32_t train_min_len, train_max_len; /* items of an exposure where it is sampled */
    uint32_t eval_min_len, eval_max_len;
    bool use_impressions; /* take logged impressions where they exist */
    um_multi_click multi_click;
    bool no_click; /* every scene gets one more action, "none of these", as its last; logged lists
                      nobody chose from become scenes whose true action it is */
    bool source_on[UM_SOURCE_COUNT];
    double source_weight[UM_SOURCE_COUNT]; /* relative pull in the merge; 1 = its share of items,
                                              0 = off. Where the sources on know too few items,
                                              random ones fill up, whether random is on or not */
    uint32_t spectral_rank;                /* GF-CF, Shen et al., CIKM 2021 */
    bool spectral_compat;                  /* scaling of the published UserMirrorer code */
    uint32_t content_rank;                 /* TF-IDF + truncated SVD */
    const um_item_embeddings *embeddings;  /* NULL = TF-IDF + truncated SVD */
} um_scene_options;
void um_scene_defaults(um_scene_options *options);

#define UM_SCENE_NONE           UINT32_MAX /* in items: the action "none of these" */
#define UM_SCENE_NO_INTERACTION UINT64_MAX

typedef struct um_scene {
    uint64_t id; /* 0.. over all splits, in order base, train, eval; stable for a seed */
    um_split split;
    uint32_t user;
    uint64_t interaction; /* index of the target in the data set; UM_SCENE_NO_INTERACTION where the
                             true action is none, and where the log does not hold it (imported) */
    uint32_t order_id;    /* of the target among its user's interactions; where there is none, how
                             many lie before time_s */
    int64_t time_s;
    uint32_t n_history;
    uint64_t *history; /* interaction indices, oldest first */
    uint32_t k;
    uint32_t *items;  /* [k]; with no_click the last is UM_SCENE_NONE */
    uint8_t *sources; /* [k] um_source of a distractor; 255 for the target and in impressions */
    uint32_t target;  /* position of the true action */
    double *truth;    /* [k] real choice probabilities (synthetic worlds), or NULL */
    bool accident;    /* recorded accidental click (synthetic worlds) */
    char *profile;    /* rendered texts; each may be empty, none is NULL */
    char *history_text;
    char **actions; /* [k] */
} um_scene;

/* Why a possible target gave no scene. */
typedef enum um_drop {
    UM_DROP_FEW_CANDIDATES, /* too few items passed the filters */
    UM_DROP_BAD_LIST,       /* a logged list without the target, or with an item twice */
    UM_DROP_LONG_LIST,      /* a logged list with more items than letters */
    UM_DROP_MULTI_CLICK,    /* an impression with several clicks */
    UM_DROP_LONG_PROMPT,    /* more tokens than scenes.max_prompt_tokens */
    UM_DROP_COUNT
} um_drop;
const char *um_drop_name(um_drop drop); /* "few_candidates", ... */

typedef struct um_scene_set {
    um_scene *scenes; /* in id order */
    size_t n;
    size_t n_split[3];
    uint64_t dropped[UM_DROP_COUNT];
    um_split_by split_by;
    int64_t time_cut_s; /* where split_by uses one, else 0 */
    struct um_scene_memory *memory;
} um_scene_set;
void um_scene_set_free(um_scene_set *set);
/* Of the base and train scenes that have the action "none of these", the share whose true action it
 * is, by Laplace's rule: what guesses that look at items alone give it. */
double um_scene_none_share(const um_scene_set *set);

/* Templates: one YAML file a data set, data not code (docs/FORMATS.md, "Templates"). */
typedef struct um_template um_template;
um_status um_template_load(um_template **out, const char *path, um_error *err) UM_CHECKED;
/* The built-in template of a data set name ("world", "ml-1m", "ml-latest", ...); for other names a
 * generic one that prints every description column. */
um_status um_template_builtin(um_template **out, const char *dataset, um_error *err) UM_CHECKED;
void um_template_free(um_template *t);
/* Every field must exist in the data set; an unknown one is named with the nearest that exists. */
um_status um_template_check(const um_template *t, const um_dataset *dataset,
                            um_error *err) UM_CHECKED;

/* Builds and renders all scenes. The same data set, options and template give the same set, bit for
 * bit, whatever `threads` is (<= 0: all CPUs). */
um_status um_scenes_build(um_scene_set **out, const um_dataset *dataset,
                          const um_scene_options *options, const um_template *t, int threads,
                          const um_monitor *monitor, um_error *err) UM_CHECKED;

/* "3 days ago", "1 month ago", ...: the largest of year = 365 d, month = 30 d, day, hour, minute;
 * "just now" below a minute; "earlier" where the time is unknown (then_s <= 0 or > now_s). */
void um_scene_ago(int64_t then_s, int64_t now_s, char out[32]);

#ifdef __cplusplus
}
#endif
#endif
