/* audit_log.h - logs with lists nobody chose from, and what the audit tests share. */
#ifndef UM_TEST_AUDIT_LOG_H
#define UM_TEST_AUDIT_LOG_H

#include "base/mem.h"
#include "mirrorer/audit.h"
#include "scene_log.h"

static const log_shape shapes[] = {
    {.users = 40, .items = 90, .max_interactions = 25, .days = 200, .one_item_each_time = true},
    {.users = 30, .items = 60, .max_interactions = 30, .days = 20, .release_share = 0.6},
    {.users = 25, .items = 50, .max_interactions = 20, .days = 40, .impressions = 24},
    {.users = 25,
     .items = 40,
     .max_interactions = 25,
     .days = 3,
     .impressions = 12,
     .release_share = 0.3},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, SAMPLED = 0, LOGGED = 2 };

static inline um_scene_options options_of(uint64_t seed)
{
    um_scene_options o;
    um_scene_defaults(&o);
    o.seed = seed;
    o.base_scenes = 40;
    o.train_scenes = 60;
    o.eval_scenes = 40;
    o.eval_user_share = 0.3;
    o.spectral_rank = 8;
    o.content_rank = 6;
    o.source_on[UM_SOURCE_POPULARITY] = seed % 2 == 0;
    return o;
}

/* Lists nobody chose from: for every other user two, one of them when they click last. */
static inline um_dataset *log_with_skips(uint64_t seed, const log_shape *shape)
{
    um_dataset *d = random_log(seed, shape);
    uint32_t n_users = d->users.n_rows;
    um_rng r;
    um_rng_init(&r, seed, UM_RNG_TEST, 1, 0, 0);
    d->skip_start = um_calloc(n_users + 1, sizeof *d->skip_start);
    d->skip_time_s = um_calloc(n_users + 1, sizeof *d->skip_time_s);
    d->skip_list_start = um_calloc(n_users + 2, sizeof *d->skip_list_start);
    d->skip_item = um_calloc(n_users + 1, 4 * sizeof *d->skip_item);
    for (uint32_t u = 0; u < n_users; u++) {
        uint64_t end = d->user_start[u + 1];
        for (uint64_t k = 0; u % 2 == 0 && end > d->user_start[u] && k < 2; k++) {
            uint32_t first = um_rng_below(&r, shape->items - 4), *list;
            d->skip_time_s[d->n_skips] = d->time_s[end - 1] + (int64_t)k * 60;
            list = d->skip_item + d->skip_list_start[d->n_skips];
            for (uint32_t j = 0; j < 2 + k; j++)
                list[j] = first + j;
            d->skip_list_start[d->n_skips + 1] = d->skip_list_start[d->n_skips] + 2 + k;
            d->n_skips++;
        }
        d->skip_start[u + 1] = d->n_skips;
    }
    return d;
}

static inline void free_log(um_dataset *d)
{
    free(d->skip_start);
    free(d->skip_time_s);
    free(d->skip_list_start);
    free(d->skip_item);
    um_dataset_free(d);
}

static inline um_audit *audit(const um_dataset *d, const um_scene_set *set)
{
    um_error err;
    um_audit *a = NULL;
    assert_ok(um_audit_scenes(&a, d, set, NULL, &err), err);
    return a;
}

static inline uint32_t listed_items(const um_scene *s)
{
    uint32_t n = 0;
    for (uint32_t j = 0; j < s->k; j++)
        n += s->items[j] != UM_SCENE_NONE;
    return n;
}

static inline bool claims_logged(const um_scene *s)
{
    for (uint32_t j = 0; j < listed_items(s); j++)
        if (j != s->target && s->sources[j] != 255)
            return false;
    return true;
}

#endif
