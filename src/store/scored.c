/*
 * scored.c - scenes one after the other, each with its scored decision processes.
 *
 * Four statements run side by side, each in the order of its index, and are merged by scene: ids of
 * decisions begin with the scene's. None reads a text, so a pass costs what the figures weigh.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "store/sql.h"

/* The row that one statement stands at. */
typedef struct stream {
    um_query q;
    bool open, has_row;
    uint64_t id; /* of the row: a decision's or a scene's */
} stream;

struct um_scored_cursor {
    um_workspace *ws;
    stream scenes, distributions, noted, directs;
    um_scored_scene scene;
    UM_VEC(um_scored_decision) decisions;
    um_arena arena; /* of the current scene */
};

static void stream_next(stream *s)
{
    s->has_row = um_query_next(&s->q);
    if (s->has_row)
        s->id = um_take_u64(&s->q);
}

static void stream_open(stream *s, um_workspace *ws, const char *sql)
{
    um_query_begin(&s->q, ws, sql);
    s->open = true;
}

static um_status stream_close(stream *s, um_error *err)
{
    um_status status = s->open ? um_query_end(&s->q, err) : UM_OK;
    *s = (stream){0};
    return status;
}

um_status um_workspace_scored(um_scored_cursor **out, um_workspace *ws, const char *split,
                              uint64_t scene_id, uint64_t predictor_id, um_error *err)
{
    um_scored_cursor *c = um_calloc(1, sizeof *c);
    const um_decision_filter filter = {.any_scene = split != NULL, .scene_id = scene_id};
    uint64_t first, last;

    if (c == NULL)
        return um_fail_memory(err, "scored scenes");
    c->ws = ws;
    um_decision_range(&filter, &first, &last);
    stream_open(&c->scenes, ws,
                split != NULL ? "SELECT id, dataset, choice_cnt, item_pos, flags FROM scenes"
                                " WHERE split = ? ORDER BY id"
                              : "SELECT id, dataset, choice_cnt, item_pos, flags FROM scenes"
                                " WHERE id = ?");
    if (split != NULL)
        um_bind_text(&c->scenes.q, split);
    else
        um_bind_u64(&c->scenes.q, scene_id);
    stream_open(&c->distributions, ws,
                "SELECT decision_id, k, p FROM distributions WHERE decision_id BETWEEN ? AND ?"
                " AND predictor_id = ? ORDER BY decision_id");
    um_bind_u64(&c->distributions.q, first);
    um_bind_u64(&c->distributions.q, last);
    um_bind_u64(&c->distributions.q, predictor_id);
    stream_open(&c->noted, ws,
                "SELECT id, form_error, said FROM decisions"
                " WHERE (form_error IS NOT NULL OR said IS NOT NULL) AND id BETWEEN ? AND ?"
                " ORDER BY id");
    um_bind_u64(&c->noted.q, first);
    um_bind_u64(&c->noted.q, last);
    stream_open(&c->directs, ws,
                "SELECT scene_id, k, p FROM direct_distributions WHERE predictor_id = ?"
                " AND (?2 IS NULL OR scene_id = ?2) ORDER BY scene_id");
    um_bind_u64(&c->directs.q, predictor_id);
    if (split == NULL)
        um_bind_u64(&c->directs.q, scene_id);
    stream *const all[] = {&c->scenes, &c->distributions, &c->noted, &c->directs};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        stream_next(all[i]);
    *out = c;
    return UM_OK;
}

/* What is noted of a decision, if anything; rows of other decisions before it are passed over. */
static bool take_note(um_scored_cursor *c, um_scored_decision *d)
{
    stream *s = &c->noted;
    bool failed = false;

    while (s->has_row && s->id < d->id)
        stream_next(s);
    if (!s->has_row || s->id != d->id)
        return true;
    d->form_error = um_lend_text(&c->arena, um_take_text(&s->q), &failed);
    d->said = um_take_letter(&s->q);
    stream_next(s);
    return !failed;
}

static um_status wrong_length(const um_scored_cursor *c, const char *what, uint64_t id, uint32_t k,
                              um_error *err)
{
    return um_fail(err, UM_ERR_INPUT,
                   "%s: the distribution of %s %llu has %u letters, its scene %u", c->ws->db_path,
                   what, (unsigned long long)id, k, c->scene.k);
}

static um_status take_p(um_scored_cursor *c, stream *s, const char *what, const double **out,
                        um_error *err)
{
    bool failed = false;
    uint32_t k = um_take_u32(&s->q);
    const double *p = um_take_doubles(&s->q, k);

    if (!um_row_is_good(&s->q))
        return UM_OK; /* reported when the stream is closed */
    if (k != c->scene.k || p == NULL)
        return wrong_length(c, what, s->id, k, err);
    *out = um_lend_bytes(&c->arena, p, k * sizeof *p, &failed);
    return failed ? um_fail_memory(err, "scored scenes") : UM_OK;
}

static um_status take_decision(um_scored_cursor *c, um_error *err)
{
    stream *s = &c->distributions;
    um_scored_decision d = {.id = s->id};
    const char *role;
    uint64_t scene;

    um_workspace_decision_parts(d.id, &scene, &d.model_id, &role, &d.sample);
    bool teacher = role != NULL && strcmp(role, UM_ROLE_TEACHER) == 0;
    d.student = role != NULL && strcmp(role, UM_ROLE_STUDENT) == 0;
    if (!teacher && !d.student)
        return UM_OK;
    um_status status = take_p(c, s, "decision", &d.p, err);
    if (status == UM_OK && um_row_is_good(&s->q) &&
        (!take_note(c, &d) || !um_vec_push(&c->decisions, d)))
        status = um_fail_memory(err, "scored scenes");
    return status;
}

/* The first failure of any statement. */
static um_status check_streams(um_scored_cursor *c, um_error *err)
{
    stream *const all[] = {&c->scenes, &c->distributions, &c->noted, &c->directs};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (!um_row_is_good(&all[i]->q))
            return stream_close(all[i], err);
    }
    return UM_OK;
}

um_status um_scored_next(um_scored_cursor *c, const um_scored_scene **scene, um_error *err)
{
    bool failed = false;
    uint64_t of_scene, model;
    uint32_t sample;
    const char *role;
    um_status status = check_streams(c, err);

    *scene = NULL;
    if (status != UM_OK || !c->scenes.has_row)
        return status;
    um_arena_reset(&c->arena);
    c->decisions.len = 0;
    c->scene = (um_scored_scene){.id = c->scenes.id};
    c->scene.dataset = um_lend_text(&c->arena, um_take_text(&c->scenes.q), &failed);
    c->scene.k = um_take_u32(&c->scenes.q);
    c->scene.target = um_take_u32(&c->scenes.q);
    c->scene.flags = um_take_u32(&c->scenes.q);
    if (failed)
        return um_fail_memory(err, "scored scenes");
    for (; c->distributions.has_row && status == UM_OK; stream_next(&c->distributions)) {
        um_workspace_decision_parts(c->distributions.id, &of_scene, &model, &role, &sample);
        if (of_scene > c->scene.id)
            break;
        if (of_scene == c->scene.id)
            status = take_decision(c, err);
    }
    while (c->directs.has_row && c->directs.id < c->scene.id)
        stream_next(&c->directs);
    if (status == UM_OK && c->directs.has_row && c->directs.id == c->scene.id)
        status = take_p(c, &c->directs, "scene", &c->scene.direct, err);
    if (status == UM_OK)
        stream_next(&c->scenes);
    if (status == UM_OK)
        status = check_streams(c, err);
    if (status != UM_OK)
        return status;
    c->scene.decisions = c->decisions.data;
    c->scene.n = c->decisions.len;
    *scene = &c->scene;
    return UM_OK;
}

void um_scored_close(um_scored_cursor *c)
{
    if (c == NULL)
        return;
    stream *const all[] = {&c->scenes, &c->distributions, &c->noted, &c->directs};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        (void)stream_close(all[i], NULL);
    um_vec_dispose(&c->decisions);
    um_arena_dispose(&c->arena);
    free(c);
}
