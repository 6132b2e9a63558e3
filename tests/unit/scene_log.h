/* scene_log.h - random logs and rendering helpers shared by the scene tests. */
#ifndef UM_TEST_SCENE_LOG_H
#define UM_TEST_SCENE_LOG_H

#include <math.h>

#include "base/rng.h"
#include "mirrorer/scene.h"
#include "test_util.h"

typedef struct log_shape {
    uint32_t users, items, max_interactions; /* a user has 0..max_interactions */
    uint32_t days; /* times are multiples of a minute within so many days: few days, many ties */
    double release_share;    /* of the items that carry a release date */
    uint32_t impressions;    /* > 0: each interaction has a list of 1..impressions items, fewer than
                                items */
    bool one_item_each_time; /* a user never meets an item twice */
} log_shape;

static inline um_dataset_builder *new_builder(const char *name)
{
    um_error err;
    um_dataset_builder *b = NULL;
    assert_ok(um_dataset_builder_new(&b, name, &err), err);
    return b;
}

static inline uint32_t add_item(um_dataset_builder *b, const char *id)
{
    um_error err;
    uint32_t index;
    assert_ok(um_dataset_builder_item(b, id, &index, NULL, &err), err);
    return index;
}

static inline uint32_t add_user(um_dataset_builder *b, const char *id)
{
    um_error err;
    uint32_t index;
    assert_ok(um_dataset_builder_user(b, id, &index, NULL, &err), err);
    return index;
}

static inline void describe(um_dataset_builder *b, uint32_t item, const char *column,
                            const char *text)
{
    um_error err;
    assert_ok(um_dataset_builder_set_item(b, item, column, UM_COLUMN_DESCRIPTION, text, &err), err);
}

static inline void interact(um_dataset_builder *b, uint32_t user, uint32_t item, int64_t time_s)
{
    um_error err;
    assert_ok(um_dataset_builder_interaction(b, user, item, time_s, &err), err);
}

static inline um_dataset *finish(um_dataset_builder *b)
{
    um_error err;
    um_dataset *d = NULL;
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    um_dataset_builder_free(b);
    return d;
}

static inline void add_items(um_dataset_builder *b, um_rng *r, const log_shape *shape, int64_t t0)
{
    static const char *const genres[] = {"space opera", "quiet drama", "war", "farce", "noir city"};
    um_error err;
    char text[64];
    for (uint32_t i = 0; i < shape->items; i++) {
        snprintf(text, sizeof text, "i%u", i);
        uint32_t item = add_item(b, text);
        snprintf(text, sizeof text, "Title %u", i);
        describe(b, item, "title", text);
        describe(b, item, "genre", genres[um_rng_below(r, 5)]);
        if (um_rng_uniform(r) < shape->release_share) {
            int64_t release = t0 + (int64_t)um_rng_below(r, shape->days) * 86400;
            assert_ok(um_dataset_builder_release(b, item, release, &err), err);
        }
    }
}

static inline void add_impressions(um_dataset_builder *b, um_rng *r, const log_shape *shape,
                                   uint32_t item)
{
    uint32_t list[64], n = 1 + um_rng_below(r, shape->impressions);
    uint32_t rest = um_rng_below(r, shape->items);
    um_error err;
    char json[2048] = "[";
    for (uint32_t i = 0; i < n; i++) {
        rest += (rest + i) % shape->items == item; /* no item twice */
        list[i] = (rest + i) % shape->items;
        snprintf(json + strlen(json), 32, "%s%.6f", i > 0 ? ", " : "", 1.0 / (2.0 * n));
    }
    uint32_t position = um_rng_below(r, n);
    list[position] = item;
    assert_ok(um_dataset_builder_impressions(b, list, n, (int32_t)position, &err), err);
    strcat(json, "]");
    assert_ok(um_dataset_builder_text(b, "choice_probabilities", json, &err), err);
    assert_ok(um_dataset_builder_text(b, "accident", position == 0 ? "true" : "false", &err), err);
}

static inline um_dataset *random_log(uint64_t seed, const log_shape *shape)
{
    const int64_t t0 = 1000000000;
    um_error err;
    um_rng r;
    um_rng_init(&r, seed, UM_RNG_TEST, 0, 0, 0);
    um_dataset_builder *b = new_builder("random");
    add_items(b, &r, shape, t0);
    for (uint32_t u = 0; u < shape->users; u++) {
        char text[32];
        uint32_t order[4096];
        snprintf(text, sizeof text, "u%u", u);
        uint32_t user = add_user(b, text), n = um_rng_below(&r, shape->max_interactions + 1);
        assert_ok(um_dataset_builder_set_user(b, user, "age", UM_COLUMN_DESCRIPTION, "30", &err),
                  err);
        for (uint32_t i = 0; i < shape->items; i++)
            order[i] = i;
        um_rng_shuffle_u32(&r, order, shape->items);
        for (uint32_t k = 0; k < n; k++) {
            uint32_t item = shape->one_item_each_time && k < shape->items
                                ? order[k]
                                : um_rng_below(&r, shape->items);
            interact(b, user, item, t0 + (int64_t)um_rng_below(&r, shape->days * 1440) * 60);
            assert_ok(um_dataset_builder_number(b, "rating", 1 + um_rng_below(&r, 5), &err), err);
            if (shape->impressions > 0)
                add_impressions(b, &r, shape, item);
        }
    }
    return finish(b);
}

/* Gives the log lists nobody chose from: up to `most` a user, of 1..longest items, among the user's
 * times. free_skips before um_dataset_free. */
static inline void give_skips(um_dataset *d, uint64_t seed, uint32_t most, uint32_t longest)
{
    uint32_t n_users = d->users.n_rows, n_items = d->items.n_rows;
    um_rng r;
    um_rng_init(&r, seed, UM_RNG_TEST, 77, 0, 0);
    d->skip_start = calloc(n_users + 1, sizeof *d->skip_start);
    d->skip_time_s = calloc((size_t)n_users * most, sizeof *d->skip_time_s);
    d->skip_list_start = calloc((size_t)n_users * most + 1, sizeof *d->skip_list_start);
    d->skip_item = calloc((size_t)n_users * most, longest * sizeof *d->skip_item);
    assert_true(d->skip_start != NULL && d->skip_time_s != NULL && d->skip_list_start != NULL &&
                d->skip_item != NULL);
    for (uint32_t u = 0; u < n_users; u++) {
        uint64_t begin = d->user_start[u], n = d->user_start[u + 1] - begin;
        uint32_t skips = n > 0 ? um_rng_below(&r, most + 1) : 0;
        for (uint32_t k = 0; k < skips; k++) {
            /* In order of time: the k-th of equal slices of the user's rows, a tie now and then. */
            uint64_t at = begin + n * k / skips;
            uint32_t len = 1 + um_rng_below(&r, longest), first = um_rng_below(&r, n_items);
            uint64_t i = d->n_skips++, start = d->skip_list_start[i];
            d->skip_time_s[i] = d->time_s[at] + (um_rng_below(&r, 2) ? 30 : 0);
            if (k > 0 && d->skip_time_s[i] < d->skip_time_s[i - 1])
                d->skip_time_s[i] = d->skip_time_s[i - 1];
            for (uint32_t j = 0; j < len; j++)
                d->skip_item[start + j] = (first + j) % n_items;
            d->skip_list_start[i + 1] = start + len;
        }
        d->skip_start[u + 1] = d->n_skips;
    }
}

static inline void free_skips(um_dataset *d)
{
    free(d->skip_start);
    free(d->skip_time_s);
    free(d->skip_list_start);
    free(d->skip_item);
    d->skip_start = NULL;
    d->n_skips = 0;
}

static inline um_scene_set *build_scenes(const um_dataset *d, const um_scene_options *o,
                                         int threads)
{
    um_error err;
    um_template *t = NULL;
    um_scene_set *set = NULL;
    assert_ok(um_template_builtin(&t, d->name, &err), err);
    assert_ok(um_scenes_build(&set, d, o, t, threads, NULL, &err), err);
    um_template_free(t);
    return set;
}

#endif
