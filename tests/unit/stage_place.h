/* stage_place.h - a session over a workspace of its own, and a log and scenes to put into it. */
#ifndef UM_TEST_STAGE_PLACE_H
#define UM_TEST_STAGE_PLACE_H

#include "scene_log.h"
#include "stage/session.h"

typedef struct place {
    char dir[4096];
    um_config config;
    um_session *s;
} place;

/* A session over a new workspace "w" in a folder of its own. */
static inline void open_place(place *p)
{
    char path[4200];
    um_error err;
    assert_non_null(make_dir(p->dir, sizeof p->dir));
    assert_ok(um_config_init(&p->config, &err), err);
    snprintf(path, sizeof path, "%s/w", p->dir);
    assert_ok(um_session_open(&p->s, path, true, false, &p->config, NULL, &err), err);
}

static inline void reopen_place(place *p)
{
    char path[4200];
    um_error err;
    um_session_close(p->s);
    snprintf(path, sizeof path, "%s/w", p->dir);
    assert_ok(um_session_open(&p->s, path, false, false, &p->config, NULL, &err), err);
}

static inline void close_place(place *p)
{
    um_session_close(p->s);
    remove_dir(p->dir);
}

static inline char *path_in(const place *p, const char *name)
{
    static char path[4200];
    snprintf(path, sizeof path, "%s/%s", p->dir, name);
    return path;
}

static inline void store_log(const place *p, const um_dataset *d)
{
    um_ingest_report report = {.n_files = 2,
                               .files = {{"a.csv", 10, 7, 3, 999}, {"b.csv", 5, 5, 0, 1}}};
    um_workspace *ws = um_session_workspace(p->s);
    um_error err;
    assert_ok(um_workspace_begin(ws, &err), err);
    assert_ok(um_log_store(ws, d, "somewhere", &report, NULL, &err), err);
    assert_ok(um_workspace_commit(ws, &err), err);
}

static inline void store_scenes(const place *p, const um_dataset *d, const um_scene_set *set)
{
    um_workspace *ws = um_session_workspace(p->s);
    um_error err;
    assert_ok(um_workspace_begin(ws, &err), err);
    for (size_t i = 0; i < set->n; i++)
        assert_ok(um_scene_store(ws, d, &set->scenes[i], &err), err);
    assert_ok(um_workspace_commit(ws, &err), err);
}

static inline um_scene_set *some_scenes(um_dataset **d, uint32_t impressions)
{
    um_scene_options o;
    const log_shape shape = {.users = 24,
                             .items = 40,
                             .max_interactions = 20,
                             .days = 60,
                             .impressions = impressions,
                             .one_item_each_time = true};
    *d = random_log(4, &shape);
    um_scene_defaults(&o);
    o.base_scenes = 5;
    o.train_scenes = 20;
    o.eval_scenes = 10;
    o.eval_user_share = 0.4;
    o.spectral_rank = o.content_rank = 4;
    um_scene_set *set = build_scenes(*d, &o, 1);
    assert_true(set->n_split[0] > 0 && set->n_split[1] > 3 && set->n_split[2] > 0);
    return set;
}

#endif
