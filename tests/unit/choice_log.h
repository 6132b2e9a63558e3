/* choice_log.h - random logs with every kind of column the choice model looks at, and scenes of
 * them. */
#ifndef UM_TEST_CHOICE_LOG_H
#define UM_TEST_CHOICE_LOG_H

#include <math.h>

#include "base/rng.h"
#include "choice/choice.h"
#include "test_util.h"

enum {
    ITEMS = 48,
    USERS = 40,
    TRAIN_USERS = 30, /* the others are held out */
    EVENTS = 14,      /* of every user */
    LISTED = 6,
    MAX_HISTORY = 8,
    DAY = 86400
};
#define FIRST_TIME INT64_C(1000000000)

static const char *const choice_genres[] = {"war", "farce", "noir", "quest", "opera"};

typedef struct choice_shape {
    uint64_t seed;
    bool attributes, ratings, impressions, releases;
    bool flat_ratings;     /* every rating is 3.3 */
    int64_t altered_after; /* > 0: what happens from this day on is another story */
} choice_shape;

/* What the generator knows of the items; the model has to read it off their texts. */
typedef struct choice_truth {
    uint32_t genres[ITEMS]; /* bit g */
    int year[ITEMS];
} choice_truth;

static inline void choice_items(um_dataset_builder *b, const choice_shape *shape,
                                choice_truth *truth)
{
    static const char *const separators[] = {", ", "|", ";", " , ", "\n"};
    const um_column_kind text = UM_COLUMN_DESCRIPTION;
    um_error err;
    um_rng r;
    uint32_t item;
    um_rng_init(&r, shape->seed, UM_RNG_TEST, 1, 0, 0);
    for (int i = 0; i < ITEMS; i++) {
        char cell[160];
        uint32_t first = um_rng_below(&r, 5), second = um_rng_below(&r, 8);
        truth->genres[i] = 1u << first | (second < 5 ? 1u << second : 0);
        truth->year[i] = 1950 + (int)um_rng_below(&r, 55);
        snprintf(cell, sizeof cell, "item%d", i);
        assert_ok(um_dataset_builder_item(b, cell, &item, NULL, &err), err);
        snprintf(cell, sizeof cell, "Title %d", i);
        assert_ok(um_dataset_builder_set_item(b, item, "title", text, cell, &err), err);
        if (um_rng_uniform(&r) < 0.4 && shape->releases)
            assert_ok(um_dataset_builder_release(
                          b, item, FIRST_TIME + ((int64_t)um_rng_below(&r, 400) - 100) * DAY, &err),
                      err);
        if (!shape->attributes)
            continue;
        snprintf(cell, sizeof cell, "%s%s%s", choice_genres[first],
                 second < 5 ? separators[i % 5] : "", second < 5 ? choice_genres[second] : "");
        assert_ok(um_dataset_builder_set_item(b, item, "genre", text, cell, &err), err);
        snprintf(cell, sizeof cell, "%d", truth->year[i]);
        assert_ok(um_dataset_builder_set_item(b, item, "year", text, cell, &err), err);
        /* Neither prose nor what all items have in common is an attribute. */
        snprintf(cell, sizeof cell,
                 "One of %d stories that go on and on and never seem to come to "
                 "any kind of end",
                 i % 3);
        assert_ok(um_dataset_builder_set_item(b, item, "blurb", text, cell, &err), err);
        assert_ok(um_dataset_builder_set_item(b, item, "kind", text, "film", &err), err);
    }
}

static inline void choice_event(um_dataset_builder *b, const choice_shape *shape, uint32_t user,
                                uint32_t event)
{
    um_error err;
    um_rng r;
    um_rng_init(&r, shape->seed, UM_RNG_TEST, 2, user, event);
    int64_t day = um_rng_below(&r, 300);
    uint32_t item = um_rng_below(&r, ITEMS), list[LISTED];
    double rating = um_rng_below(&r, 10) == 0 ? NAN : 1 + um_rng_below(&r, 9) * 0.5;
    for (int i = 0; i < LISTED; i++)
        list[i] = um_rng_below(&r, ITEMS);
    if (shape->altered_after > 0 && day >= shape->altered_after) {
        item = (item + 1 + um_rng_below(&r, ITEMS - 1)) % ITEMS;
        list[1] = (list[1] + 1) % ITEMS;
        if (user >= TRAIN_USERS)
            rating = 1;
    }
    list[event % LISTED] = item;
    assert_ok(um_dataset_builder_interaction(b, user, item, FIRST_TIME + day * DAY, &err), err);
    if (shape->ratings)
        assert_ok(um_dataset_builder_number(b, "rating", shape->flat_ratings ? 3.3 : rating, &err),
                  err);
    if (shape->impressions)
        assert_ok(um_dataset_builder_impressions(b, list, LISTED, (int32_t)(event % LISTED), &err),
                  err);
}

static inline um_dataset *choice_log(const choice_shape *shape, choice_truth *truth)
{
    um_error err;
    um_dataset_builder *b = NULL;
    um_dataset *d = NULL;
    assert_ok(um_dataset_builder_new(&b, "choices", &err), err);
    choice_items(b, shape, truth);
    for (uint32_t u = 0; u < USERS; u++) {
        char id[32];
        uint32_t user;
        snprintf(id, sizeof id, "user%u", u);
        assert_ok(um_dataset_builder_user(b, id, &user, NULL, &err), err);
        for (uint32_t e = 0; e < EVENTS; e++)
            choice_event(b, shape, user, e);
    }
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    um_dataset_builder_free(b);
    return d;
}

/* Scenes whose lists are drawn without looking at what was chosen. */
typedef struct choice_scenes {
    um_scene_set set;
    uint64_t (*history)[MAX_HISTORY];
    uint32_t (*items)[LISTED];
} choice_scenes;

static inline void choice_scenes_free(choice_scenes *s)
{
    free(s->set.scenes);
    free(s->history);
    free(s->items);
}

/* `each` scenes at every event of train users before day train_until, and of held-out users from
 * then on. */
static inline choice_scenes choice_scenes_of(const um_dataset *d, uint64_t seed, uint32_t each,
                                             int64_t train_until)
{
    size_t most = (size_t)d->n_interactions * each;
    choice_scenes s = {.set.scenes = calloc(most, sizeof(um_scene)),
                       .history = calloc(most, sizeof *s.history),
                       .items = calloc(most, sizeof *s.items)};
    um_rng r;
    um_rng_init(&r, seed, UM_RNG_TEST, 3, 0, 0);
    assert_true(s.set.scenes != NULL && s.history != NULL && s.items != NULL);
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        for (uint64_t i = d->user_start[u]; i < d->user_start[u + 1]; i++) {
            bool early = d->time_s[i] < FIRST_TIME + train_until * DAY;
            if (early != (u < TRAIN_USERS))
                continue;
            uint64_t before = d->user_start[u];
            while (d->time_s[before] < d->time_s[i])
                before++;
            for (uint32_t e = 0; e < each; e++) {
                size_t at = s.set.n++;
                um_scene *scene = &s.set.scenes[at];
                *scene = (um_scene){.id = at,
                                    .split = early ? UM_SPLIT_TRAIN : UM_SPLIT_EVAL,
                                    .user = u,
                                    .interaction = i,
                                    .time_s = d->time_s[i],
                                    .history = s.history[at],
                                    .k = 2 + um_rng_below(&r, LISTED - 1),
                                    .items = s.items[at]};
                for (uint64_t h = d->user_start[u]; h < before; h++) {
                    if (before - h <= MAX_HISTORY)
                        scene->history[scene->n_history++] = h;
                }
                for (uint32_t c = 0; c < scene->k; c++)
                    scene->items[c] = (um_rng_below(&r, 8) * LISTED + c) % ITEMS;
                scene->target = um_rng_below(&r, scene->k);
                s.set.n_split[scene->split]++;
            }
        }
    }
    return s;
}

static inline um_choice_model *choice_fit(const um_dataset *d, const um_scene_set *set,
                                          double ridge)
{
    um_error err;
    um_choice_options options;
    um_choice_model *m = NULL;
    um_choice_defaults(&options);
    options.ridge = ridge;
    assert_ok(um_choice_fit(&m, d, set, &options, &err), err);
    return m;
}

static inline void choice_p(const um_choice_model *m, const um_scene *scene, double *p)
{
    um_error err;
    assert_ok(um_choice_probabilities(m, scene, p, &err), err);
}

#endif
