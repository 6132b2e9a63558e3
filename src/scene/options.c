#include <math.h>

#include "base/error.h"
#include "scene/split.h"

enum { MAX_RANK = 1024, MAX_SCENES = 1 << 28 };
#define MAX_WEIGHT 1e6

const char *um_split_name(um_split split)
{
    static const char *const names[] = {"base", "train", "eval"};
    return (unsigned)split < 3 ? names[split] : "unknown";
}

const char *um_source_name(um_source source)
{
    static const char *const names[UM_SOURCE_COUNT] = {"random", "popularity", "spectral",
                                                       "content", "social"};
    return (unsigned)source < UM_SOURCE_COUNT ? names[source] : "unknown";
}

const char *um_drop_name(um_drop drop)
{
    static const char *const names[UM_DROP_COUNT] = {"few_candidates", "bad_list", "long_list",
                                                     "multi_click", "long_prompt"};
    return (unsigned)drop < UM_DROP_COUNT ? names[drop] : "unknown";
}

const char *um_split_by_name(um_split_by split_by)
{
    static const char *const names[] = {"user", "time", "both"};
    return (unsigned)split_by < 3 ? names[split_by] : "unknown";
}

void um_scene_defaults(um_scene_options *options)
{
    *options = (um_scene_options){
        .seed = 1,
        .eval_time_share = 0.2,
        .eval_user_share = 0.2,
        .base_scenes = 4096,
        .train_scenes = 1024,
        .eval_scenes = 256,
        .min_order = 3,
        .min_history = 2,
        .max_history = 10,
        .eval_last_history = true,
        .train_min_len = 2,
        .train_max_len = 12,
        .eval_min_len = 5,
        .eval_max_len = 5,
        .use_impressions = true,
        .source_on = {[UM_SOURCE_RANDOM] = true,
                      [UM_SOURCE_SPECTRAL] = true,
                      [UM_SOURCE_CONTENT] = true,
                      [UM_SOURCE_SOCIAL] = true},
        .source_weight = {1, 1, 1, 1, 1},
        .spectral_rank = 64,
        .content_rank = 64,
    };
}

static um_status check_lengths(const char *split, uint32_t min, uint32_t max, bool no_click,
                               um_error *err)
{
    if (min < 2 || max > UM_SCENE_MAX_ITEMS - (uint32_t)no_click || min > max)
        return um_fail(
            err, UM_ERR_INPUT,
            "scene options: %s list length must be 2 <= min <= max <= %d%s, found %u..%u", split,
            UM_SCENE_MAX_ITEMS - no_click, no_click ? " (no_click takes a letter)" : "", min, max);
    return UM_OK;
}

static um_status check_split(const um_scene_options *o, um_error *err)
{
    if ((unsigned)o->split_by > UM_SPLIT_BY_BOTH)
        return um_fail(err, UM_ERR_INPUT, "scene options: split_by %d is unknown",
                       (int)o->split_by);
    if (!(o->eval_user_share >= 0.0 && o->eval_user_share <= 1.0))
        return um_fail(err, UM_ERR_INPUT, "scene options: eval_user_share must be 0..1, found %g",
                       o->eval_user_share);
    if (!(o->eval_time_share >= 0.0 && o->eval_time_share <= 1.0))
        return um_fail(err, UM_ERR_INPUT, "scene options: eval_time_share must be 0..1, found %g",
                       o->eval_time_share);
    if ((unsigned)o->multi_click > UM_MULTI_CLICK_EACH)
        return um_fail(err, UM_ERR_INPUT, "scene options: multi_click %d is unknown",
                       (int)o->multi_click);
    return UM_OK;
}

static um_status check_sources(const um_scene_options *o, um_error *err)
{
    bool any = false;
    for (int s = 0; s < UM_SOURCE_COUNT; s++) {
        double weight = o->source_weight[s];
        if (!(weight >= 0.0 && weight <= MAX_WEIGHT))
            return um_fail(err, UM_ERR_INPUT,
                           "scene options: the weight of source %s must be 0..%g, found %g",
                           um_source_name((um_source)s), MAX_WEIGHT, weight);
        any = any || um_scene_source_on(o, (um_source)s);
    }
    if (!any)
        return um_fail(err, UM_ERR_INPUT,
                       "scene options: no exposure source is on (with a weight above 0); turn on "
                       "one of random, popularity, spectral, content, social");
    if (um_scene_source_on(o, UM_SOURCE_SPECTRAL) &&
        (o->spectral_rank < 1 || o->spectral_rank > MAX_RANK))
        return um_fail(err, UM_ERR_INPUT, "scene options: spectral_rank must be 1..%d, found %u",
                       MAX_RANK, o->spectral_rank);
    if (um_scene_source_on(o, UM_SOURCE_CONTENT) && o->embeddings == NULL &&
        (o->content_rank < 1 || o->content_rank > MAX_RANK))
        return um_fail(err, UM_ERR_INPUT, "scene options: content_rank must be 1..%d, found %u",
                       MAX_RANK, o->content_rank);
    return UM_OK;
}

um_status um_scene_options_check(const um_scene_options *o, um_error *err)
{
    um_status status = check_split(o, err);
    if (status != UM_OK)
        return status;
    if (o->base_scenes > MAX_SCENES || o->train_scenes > MAX_SCENES || o->eval_scenes > MAX_SCENES)
        return um_fail(err, UM_ERR_LIMIT,
                       "scene options: at most %d scenes a split, found %u base, %u train, %u eval",
                       MAX_SCENES, o->base_scenes, o->train_scenes, o->eval_scenes);
    if (o->min_history > o->max_history)
        return um_fail(err, UM_ERR_INPUT,
                       "scene options: min_history must not pass max_history, found %u > %u",
                       o->min_history, o->max_history);
    status = check_lengths("train", o->train_min_len, o->train_max_len, o->no_click, err);
    if (status == UM_OK)
        status = check_lengths("eval", o->eval_min_len, o->eval_max_len, o->no_click, err);
    return status == UM_OK ? check_sources(o, err) : status;
}
