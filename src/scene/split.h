/*
 * split.h - which interactions become scenes, and what each knew before it.
 */
#ifndef UM_SCENE_SPLIT_H
#define UM_SCENE_SPLIT_H

#include "mirrorer/dataset.h"
#include "mirrorer/scene.h"

typedef struct um_scene_target {
    uint64_t interaction; /* UM_SCENE_NO_INTERACTION: nobody chose, the target is `skip` */
    uint64_t skip;        /* index of the skipped list, where there is no interaction */
    uint64_t n_before;    /* the user's interactions strictly earlier than this one */
    int64_t time_s;
    uint32_t user;
    um_split split;
    bool logged; /* its exposure is the logged impression */
} um_scene_target;

/* Interactions that training may learn from: those of users with train_user, before known_until_s.
 */
typedef struct um_split_plan {
    um_scene_target *targets; /* base, then train, then eval */
    size_t n, n_split[3];
    bool *train_user;      /* [users] */
    int64_t known_until_s; /* the time cut; INT64_MAX where split_by uses none */
    uint64_t dropped[UM_DROP_COUNT];
} um_split_plan;

/*
 * By user: users with a possible scene are shuffled and eval_user_share of them held out. By time:
 * targets before the cut are for training, the others for evaluation. By both: both hold, and what
 * lies on the wrong side of the cut for its user is not used. In each group, every user's possible
 * targets (interactions, and skipped lists with no_click) are shuffled and taken round robin, so
 * that no user dominates, until the wanted number stands; targets whose exposure would be unfit are
 * counted and passed over. What the training group gave is split between base and train at random.
 */
um_status um_split_plan_new(um_split_plan *plan, const um_dataset *dataset,
                            const um_scene_options *options, um_error *err) UM_CHECKED;
void um_split_plan_dispose(um_split_plan *plan);

/* What the random draws about a target are keyed by: no two targets share it. */
static inline uint64_t um_scene_target_key(const um_scene_target *t)
{
    return t->interaction != UM_SCENE_NO_INTERACTION ? t->interaction : UINT64_C(1) << 63 | t->skip;
}

/* The first of times[begin, end), ascending, that is not before t; end when all are. */
static inline uint64_t um_first_at(const int64_t *times, uint64_t begin, uint64_t end, int64_t t)
{
    while (begin < end) {
        uint64_t middle = begin + (end - begin) / 2;
        if (times[middle] < t)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* A source that takes part: on, and with a weight. */
static inline bool um_scene_source_on(const um_scene_options *o, um_source source)
{
    return o->source_on[source] && o->source_weight[source] > 0.0;
}

um_status um_scene_options_check(const um_scene_options *options, um_error *err) UM_CHECKED;

/* Item i may stand beside a target of time_s: released or first seen by then, and its mark is not
 * `epoch` (the user never interacts with it, before or after). */
static inline bool um_scene_item_allowed(const um_dataset *d, const uint32_t *mark, uint32_t epoch,
                                         int64_t time_s, uint32_t item)
{
    return d->item_available_s[item] <= time_s && mark[item] != epoch;
}

/* mark[item] = epoch for every item of the user's interactions. */
static inline void um_scene_mark_user(const um_dataset *d, uint32_t user, uint32_t *mark,
                                      uint32_t epoch)
{
    for (uint64_t i = d->user_start[user]; i < d->user_start[user + 1]; i++)
        mark[d->item[i]] = epoch;
}

/*
 * The history of a target is interactions [*first, *first + *n): the last n of those strictly
 * earlier than it, n uniform in [min_history, max_history], or max_history for evaluation when
 * eval_last_history; never more than there are.
 */
void um_scene_history(uint64_t *first, uint32_t *n, const um_scene_target *target,
                      const um_dataset *dataset, const um_scene_options *options);

#endif
