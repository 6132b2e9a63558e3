#include <inttypes.h>
#include <stdio.h>

#include "base/rng.h"
#include "scene/split.h"

void um_scene_history(uint64_t *first, uint32_t *n, const um_scene_target *target,
                      const um_dataset *dataset, const um_scene_options *options)
{
    uint32_t length = options->max_history;
    if (target->split != UM_SPLIT_EVAL || !options->eval_last_history) {
        um_rng r;
        um_rng_init(&r, options->seed, UM_RNG_SCENE, um_scene_target_key(target), 0, 0);
        uint32_t range = options->max_history - options->min_history;
        length = options->min_history + (range < UINT32_MAX ? um_rng_below(&r, range + 1) : 0);
    }
    if (length > target->n_before)
        length = (uint32_t)target->n_before;
    *n = length;
    *first = dataset->user_start[target->user] + target->n_before - length;
}

void um_scene_ago(int64_t then_s, int64_t now_s, char out[32])
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = {{365 * 86400, "year"},
                 {30 * 86400, "month"},
                 {86400, "day"},
                 {3600, "hour"},
                 {60, "minute"}};
    if (then_s <= 0 || then_s > now_s) {
        snprintf(out, 32, "earlier");
        return;
    }
    int64_t passed_s = now_s - then_s;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        int64_t count = passed_s / units[i].seconds;
        if (count > 0) {
            snprintf(out, 32, "%" PRId64 " %s%s ago", count, units[i].name, count > 1 ? "s" : "");
            return;
        }
    }
    snprintf(out, 32, "just now");
}
