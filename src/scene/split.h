/*
 * split.h - which interactions become scenes, and what each knew before it.
 */
#ifndef UM_SCENE_SPLIT_H
#define UM_SCENE_SPLIT_H

#include "mirrorer/dataset.h"
#include "mirrorer/scene.h"

typedef struct um_scene_target {
    uint64_t interaction;
    uint64_t n_before; /* the user's interactions strictly earlier than this one */
    uint32_t user;
    um_split split;
    bool logged; /* its exposure is the logged impression */
} um_scene_target;

typedef struct um_split_plan {
    um_scene_target *targets; /* base, then train, then eval */
    size_t n, n_split[3];
    bool *train_user; /* [users] true for users of the base and train splits */
    uint64_t dropped[UM_DROP_COUNT];
} um_split_plan;

/*
 * Users with a possible scene are shuffled and eval_user_share of them held out. In each group,
 * every user's possible targets are shuffled and taken round robin, so that no user dominates,
 * until the wanted number stands; targets whose exposure would be too short or too long are counted
 * and passed over. What the training users gave is split between base and train at random.
 */
um_status um_split_plan_new(um_split_plan *plan, const um_dataset *dataset,
                            const um_scene_options *options, um_error *err) UM_CHECKED;
void um_split_plan_dispose(um_split_plan *plan);

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
