/*
 * build.c - from a data set to rendered scenes: plan the targets, make what the exposures draw on,
 * then fill the scenes in parallel, each from its own target and random streams only.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/pool.h"
#include "scene/exposure.h"
#include "scene/set.h"
#include "scene/split.h"
#include "scene/template.h"

enum { SCENES_A_SLICE = 1024 }; /* between two looks at the monitor */

/* One thread of the build. */
typedef struct worker {
    um_exposure_work exposure;
    um_str text, scratch;
    um_arena *arena;
    uint64_t bad_truth; /* scenes whose recorded probabilities do not fit their list */
    um_status failed;
    um_error error;
} worker;

typedef struct build {
    const um_dataset *d;
    const um_scene_options *o;
    um_split_plan plan;
    um_exposure_model model;
    um_renderer renderer;
    um_social *social; /* for the renderer, where the exposures need none */
    const um_series *truth, *accident;
    worker *workers;
    um_scene *scenes;
    size_t slice; /* first scene of the current slice */
} build;

static um_status keep_text(char **out, worker *w, um_error *err)
{
    um_status status = um_str_status(&w->text, err);
    if (status != UM_OK)
        return status;
    *out = um_arena_strndup(w->arena, um_str_text(&w->text), w->text.len);
    um_str_clear(&w->text);
    return *out != NULL ? UM_OK : um_fail_memory(err, "scenes");
}

static um_status render_scene(const build *b, um_scene *s, uint64_t n_before, worker *w,
                              um_error *err)
{
    um_render_scene at = {s->user, s->time_s, b->d->user_start[s->user], n_before};
    um_str_clear(&w->text);
    um_render_profile(&b->renderer, &w->text, &w->scratch, &at);
    um_status status = keep_text(&s->profile, w, err);
    if (status != UM_OK)
        return status;
    um_render_history(&b->renderer, &w->text, &w->scratch, &at, s->history, s->n_history);
    status = keep_text(&s->history_text, w, err);
    for (uint32_t i = 0; i < s->k && status == UM_OK; i++) {
        um_render_action(&b->renderer, &w->text, &w->scratch, &at, s->items[i]);
        status = keep_text(&s->actions[i], w, err);
    }
    return status;
}

/* Recorded choice probabilities: a JSON list of one number a listed item; the action "none" gets
 * what they leave of 1. Anything else is counted and left out. */
static um_status read_truth(um_scene *s, const char *json, worker *w, um_error *err)
{
    json_t *list = NULL;
    uint32_t n = s->k - (s->items[s->k - 1] == UM_SCENE_NONE);
    if (um_json_parse(&list, json, strlen(json), "choice_probabilities", NULL) != UM_OK ||
        !json_is_array(list) || json_array_size(list) != n) {
        json_decref(list);
        w->bad_truth++;
        return UM_OK;
    }
    double *truth = um_arena_alloc(w->arena, s->k * sizeof *truth);
    bool good = true;
    double sum = 0.0;
    for (uint32_t i = 0; truth != NULL && i < n; i++) {
        const json_t *p = json_array_get(list, i);
        sum += truth[i] = json_number_value(p);
        good = good && json_is_number(p) && truth[i] >= 0.0 && truth[i] <= 1.0;
    }
    if (truth != NULL && n < s->k)
        truth[n] = sum < 1.0 ? 1.0 - sum : 0.0;
    json_decref(list);
    if (truth == NULL)
        return um_fail_memory(err, "scenes");
    if (good)
        s->truth = truth;
    else
        w->bad_truth++;
    return UM_OK;
}

static um_status read_world(const build *b, um_scene *s, worker *w, um_error *err)
{
    const um_series *accident = b->accident;
    if (accident != NULL && accident->numbers != NULL)
        s->accident = accident->numbers[s->interaction] > 0.0;
    else if (accident != NULL && accident->texts[s->interaction] != NULL)
        s->accident = strcmp(accident->texts[s->interaction], "true") == 0;
    if (b->truth != NULL && b->truth->texts != NULL && b->truth->texts[s->interaction] != NULL)
        return read_truth(s, b->truth->texts[s->interaction], w, err);
    return UM_OK;
}

static um_status fill_scene(const build *b, size_t id, const um_exposure *exposure, worker *w,
                            um_error *err)
{
    const um_scene_target *t = &b->plan.targets[id];
    um_scene *s = &b->scenes[id];
    uint64_t first;
    *s = (um_scene){.id = id, .split = t->split, .user = t->user, .interaction = t->interaction};
    bool chosen = t->interaction != UM_SCENE_NO_INTERACTION;
    s->order_id = (uint32_t)(chosen ? t->interaction - b->d->user_start[t->user] : t->n_before);
    s->time_s = t->time_s;
    s->k = exposure->k;
    s->target = exposure->target;
    um_scene_history(&first, &s->n_history, t, b->d, b->o);
    s->history = um_arena_alloc(w->arena, s->n_history * sizeof *s->history);
    s->items = um_arena_alloc(w->arena, s->k * sizeof *s->items);
    s->sources = um_arena_alloc(w->arena, s->k * sizeof *s->sources);
    s->actions = um_arena_alloc(w->arena, s->k * sizeof *s->actions);
    if (s->history == NULL || s->items == NULL || s->sources == NULL || s->actions == NULL)
        return um_fail_memory(err, "scenes");
    for (uint32_t i = 0; i < s->n_history; i++)
        s->history[i] = first + i;
    memcpy(s->items, exposure->items, s->k * sizeof *s->items);
    memcpy(s->sources, exposure->sources, s->k * sizeof *s->sources);
    um_status status = t->logged && chosen ? read_world(b, s, w, err) : UM_OK;
    return status == UM_OK ? render_scene(b, s, t->n_before, w, err) : status;
}

static void fill_range(void *ctx, size_t begin, size_t end, int thread)
{
    const build *b = ctx;
    worker *w = &b->workers[thread];
    um_exposure exposures[UM_EXPOSURE_BATCH];
    for (size_t i = b->slice + begin; i < b->slice + end && w->failed == UM_OK;) {
        size_t n = b->slice + end - i < UM_EXPOSURE_BATCH ? b->slice + end - i : UM_EXPOSURE_BATCH;
        um_exposures_draw(exposures, &b->model, &w->exposure, i, n);
        for (size_t j = 0; j < n && w->failed == UM_OK; j++)
            w->failed = fill_scene(b, i + j, &exposures[j], w, &w->error);
        i += n;
    }
}

static um_status fill_all(build *b, um_pool *pool, const um_monitor *monitor, um_error *err)
{
    int threads = um_pool_threads(pool);
    size_t n = b->plan.n;
    for (b->slice = 0; b->slice < n; b->slice += SCENES_A_SLICE) {
        if (um_monitor_stopped(monitor))
            return um_fail(err, UM_ERR_INTERRUPTED, "building scenes: stopped on request");
        size_t count = n - b->slice < SCENES_A_SLICE ? n - b->slice : SCENES_A_SLICE;
        um_pool_run(pool, count, UM_EXPOSURE_BATCH, fill_range, b);
        for (int i = 0; i < threads; i++) {
            if (b->workers[i].failed != UM_OK)
                return um_fail(err, b->workers[i].failed, "%s", b->workers[i].error.text);
        }
        um_progress progress = {
            .stage = "scenes", .unit = "scenes", .done = b->slice + count, .total = n};
        um_monitor_progress(monitor, &progress);
    }
    uint64_t bad_truth = 0;
    for (int i = 0; i < threads; i++)
        bad_truth += b->workers[i].bad_truth;
    if (bad_truth > 0)
        um_monitor_message(monitor,
                           "scenes: %llu of %zu have choice_probabilities that are no list "
                           "of one probability an item shown; these are left out",
                           (unsigned long long)bad_truth, n);
    return UM_OK;
}

static um_status new_set(um_scene_set **out, int threads, size_t n, um_error *err)
{
    um_scene_set *set = um_calloc(1, sizeof *set);
    if (set != NULL) {
        set->memory = um_calloc(1, sizeof *set->memory);
        set->scenes = um_calloc(n, sizeof *set->scenes);
    }
    if (set != NULL && set->memory != NULL)
        set->memory->arenas = um_calloc((size_t)threads, sizeof *set->memory->arenas);
    if (set == NULL || set->memory == NULL || set->scenes == NULL || set->memory->arenas == NULL) {
        um_scene_set_free(set);
        return um_fail_memory(err, "scenes");
    }
    set->memory->n = threads;
    set->n = n;
    *out = set;
    return UM_OK;
}

static um_status new_workers(build *b, const um_scene_set *set, int threads, um_error *err)
{
    b->workers = um_calloc((size_t)threads, sizeof *b->workers);
    if (b->workers == NULL)
        return um_fail_memory(err, "scenes");
    um_status status = UM_OK;
    for (int i = 0; i < threads && status == UM_OK; i++) {
        b->workers[i].arena = &set->memory->arenas[i];
        status = um_exposure_work_new(&b->workers[i].exposure, &b->model, err);
    }
    return status;
}

static void free_workers(worker *workers, int threads)
{
    for (int i = 0; workers != NULL && i < threads; i++) {
        um_exposure_work_dispose(&workers[i].exposure);
        um_str_dispose(&workers[i].text);
        um_str_dispose(&workers[i].scratch);
    }
    free(workers);
}

/* Lets action texts count friends, with the graph of the exposures where they have one. */
static um_status give_friends(build *b, um_error *err)
{
    um_status status = UM_OK;
    if (um_renderer_counts_friends(&b->renderer) && b->model.social == NULL)
        status = um_social_new(&b->social, b->d, b->plan.train_user, b->plan.known_until_s, err);
    b->renderer.social = b->model.social != NULL ? b->model.social : b->social;
    return status;
}

um_status um_scenes_build(um_scene_set **out, const um_dataset *dataset,
                          const um_scene_options *options, const um_template *t, int threads,
                          const um_monitor *monitor, um_error *err)
{
    build b = {.d = dataset, .o = options};
    um_scene_set *set = NULL;
    um_pool *pool = NULL;
    um_status status = um_scene_options_check(options, err);
    if (status != UM_OK || (status = um_renderer_new(&b.renderer, t, dataset, err)) != UM_OK ||
        (status = um_pool_new(&pool, threads, err)) != UM_OK ||
        (status = um_split_plan_new(&b.plan, dataset, options, err)) != UM_OK ||
        (status = um_exposure_model_new(&b.model, dataset, options, &b.plan, pool, err)) != UM_OK ||
        (status = give_friends(&b, err)) != UM_OK ||
        (status = new_set(&set, um_pool_threads(pool), b.plan.n, err)) != UM_OK ||
        (status = new_workers(&b, set, um_pool_threads(pool), err)) != UM_OK)
        goto done;
    b.truth = um_dataset_series(dataset, "choice_probabilities");
    b.accident = um_dataset_series(dataset, "accident");
    b.scenes = set->scenes;
    if ((status = fill_all(&b, pool, monitor, err)) != UM_OK)
        goto done;
    memcpy(set->n_split, b.plan.n_split, sizeof set->n_split);
    memcpy(set->dropped, b.plan.dropped, sizeof set->dropped);
    set->split_by = options->split_by;
    set->time_cut_s = options->split_by != UM_SPLIT_BY_USER ? b.plan.known_until_s : 0;
    *out = set;
    set = NULL;
done:
    free_workers(b.workers, um_pool_threads(pool));
    um_scene_set_free(set);
    um_exposure_model_dispose(&b.model);
    um_social_free(b.social);
    um_split_plan_dispose(&b.plan);
    um_renderer_dispose(&b.renderer);
    um_pool_free(pool);
    return status;
}

double um_scene_none_share(const um_scene_set *set)
{
    double n = 0.0, none = 0.0;
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        if (s->split == UM_SPLIT_EVAL || s->items[s->k - 1] != UM_SCENE_NONE)
            continue;
        n += 1.0;
        none += s->target == s->k - 1;
    }
    return (none + 1.0) / (n + 2.0);
}

void um_scene_set_free(um_scene_set *set)
{
    if (set == NULL)
        return;
    for (int i = 0; set->memory != NULL && i < set->memory->n; i++)
        um_arena_dispose(&set->memory->arenas[i]);
    if (set->memory != NULL)
        free(set->memory->arenas);
    free(set->memory);
    free(set->scenes);
    free(set);
}
