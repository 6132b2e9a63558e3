/* Scenes, models, decisions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "store/sql.h"

/* Layout of a decision id, from the lowest bit up. */
#define SAMPLE_BITS 10
#define ROLE_BITS   3
#define MODEL_BITS  11
#define SCENE_SHIFT (SAMPLE_BITS + ROLE_BITS + MODEL_BITS)

_Static_assert(1 << SAMPLE_BITS == UM_WORKSPACE_MAX_SAMPLES, "samples fill their bits");
_Static_assert(1 << MODEL_BITS == UM_WORKSPACE_MAX_MODELS, "models fill their bits");

/* The position of a role is part of stored ids: new roles go to the end. */
static const char *const roles[] = {UM_ROLE_TEACHER, UM_ROLE_STUDENT, UM_ROLE_EVAL};

/* Scenes --------------------------------------------------------------------------------------- */

um_status um_workspace_put_scene(um_workspace *ws, const um_row_scene *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_SCENE);
    um_bind_u64(&q, row->id);
    um_bind_text(&q, row->split);
    um_bind_text(&q, row->dataset);
    um_bind_u64(&q, row->user);
    um_bind_text(&q, row->user_id);
    um_bind_text(&q, row->item_id);
    um_bind_u64(&q, row->order_id);
    um_bind_i64(&q, row->timestamp_s);
    um_bind_u64(&q, row->item_pos);
    um_bind_u64(&q, row->choice_cnt);
    um_bind_text(&q, row->impression_list);
    um_bind_text(&q, row->text);
    um_bind_doubles(&q, row->truth, row->choice_cnt);
    um_bind_u64(&q, row->flags);
    um_bind_blob(&q, row->data, row->data_bytes);
    return um_query_run(&q, err);
}

#define SCENE_COLUMNS                                                                              \
    "s.id, s.split, s.dataset, s.user, s.user_id, s.item_id, s.order_id, s.timestamp, s.item_pos," \
    " s.choice_cnt, s.impression_list, s.text, s.truth, s.flags, s.data"

static bool take_scene(um_query *q, um_row_scene *row)
{
    row->id = um_take_u64(q);
    row->split = um_take_text(q);
    row->dataset = um_take_text(q);
    row->user = um_take_u64(q);
    row->user_id = um_take_text(q);
    row->item_id = um_take_text(q);
    row->order_id = um_take_u64(q);
    row->timestamp_s = um_take_i64(q);
    row->item_pos = um_take_u32(q);
    row->choice_cnt = um_take_u32(q);
    row->impression_list = um_take_text(q);
    row->text = um_take_text(q);
    row->truth = um_take_doubles(q, row->choice_cnt);
    row->flags = um_take_u32(q);
    row->data = um_take_blob(q, &row->data_bytes);
    return um_row_is_good(q);
}

um_status um_workspace_get_scene(um_row_scene *row, um_workspace *ws, uint64_t id, um_error *err)
{
    um_arena *arena = &ws->lent[UM_LENT_SCENE];
    um_row_scene found;
    bool failed = false, exists = false;
    um_query q;
    um_arena_reset(arena);
    um_query_begin(&q, ws, "SELECT " SCENE_COLUMNS " FROM scenes s WHERE s.id = ?");
    um_bind_u64(&q, id);
    if (um_query_next(&q) && take_scene(&q, &found)) {
        exists = true;
        found.split = um_lend_text(arena, found.split, &failed);
        found.dataset = um_lend_text(arena, found.dataset, &failed);
        found.user_id = um_lend_text(arena, found.user_id, &failed);
        found.item_id = um_lend_text(arena, found.item_id, &failed);
        found.impression_list = um_lend_text(arena, found.impression_list, &failed);
        found.text = um_lend_text(arena, found.text, &failed);
        found.truth = um_lend_bytes(arena, found.truth, found.choice_cnt * sizeof(double), &failed);
        found.data = um_lend_bytes(arena, found.data, found.data_bytes, &failed);
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && failed)
        status = um_fail_memory(err, "a scene");
    if (status == UM_OK && !exists)
        status = um_fail(err, UM_ERR_NOT_FOUND, "%s: no scene %llu", ws->db_path,
                         (unsigned long long)id);
    if (status == UM_OK)
        *row = found;
    return status;
}

um_status um_workspace_scenes(um_workspace *ws, const um_scene_filter *filter, um_on_scene on_row,
                              void *context, um_error *err)
{
    static const um_scene_filter all = {0};
    um_status status = UM_OK;
    um_query q;
    if (filter == NULL)
        filter = &all;
    um_query_begin(&q, ws,
                   "SELECT " SCENE_COLUMNS " FROM scenes s WHERE s.id >= ?1"
                   " AND (?2 IS NULL OR s.split = ?2)"
                   " AND (?3 IS NULL OR NOT EXISTS (SELECT 1 FROM evaluations e"
                   "   WHERE e.row_name = ?3 AND e.scene_id = s.id))"
                   " AND (?4 = 0 OR NOT EXISTS (SELECT 1 FROM direct_distributions d"
                   "   WHERE d.scene_id = s.id AND d.predictor_id = ?4))"
                   " ORDER BY s.id");
    um_bind_u64(&q, filter->first_id);
    um_bind_text(&q, filter->split);
    um_bind_text(&q, filter->without_row);
    um_bind_u64(&q, filter->without_direct_by);
    while (status == UM_OK && um_query_next(&q)) {
        um_row_scene row;
        if (!take_scene(&q, &row))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_count_scenes(uint64_t *n, um_workspace *ws, const char *split, um_error *err)
{
    um_query q;
    um_query_begin(&q, ws, "SELECT count(*) FROM scenes WHERE split = ?");
    um_bind_text(&q, split);
    *n = um_query_next(&q) ? um_take_u64(&q) : 0;
    return um_query_end(&q, err);
}

/* Models --------------------------------------------------------------------------------------- */

static bool take_model(um_query *q, um_row_model *row)
{
    row->id = um_take_u64(q);
    row->name = um_take_text(q);
    row->path = um_take_text(q);
    row->hash = um_take_text(q);
    row->kind = um_take_text(q);
    return um_row_is_good(q);
}

/* *id is 0 when the name is new. */
static um_status find_model(um_workspace *ws, const um_row_model *wanted, uint64_t *id,
                            bool *same_hash, char old_hash[64], um_error *err)
{
    um_query q;
    *id = 0;
    *same_hash = false;
    um_query_begin(&q, ws, "SELECT id, name, path, hash, kind FROM models WHERE name = ?");
    um_bind_text(&q, wanted->name);
    um_row_model found;
    if (um_query_next(&q) && take_model(&q, &found)) {
        *id = found.id;
        *same_hash = strcmp(found.hash, wanted->hash) == 0;
        snprintf(old_hash, 64, "%s", found.hash);
    }
    return um_query_end(&q, err);
}

static um_status is_model_used(um_workspace *ws, uint64_t id, bool *used, um_error *err)
{
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT EXISTS(SELECT 1 FROM decisions WHERE model_id = ?1)"
                   " OR EXISTS(SELECT 1 FROM distributions WHERE predictor_id = ?1)"
                   " OR EXISTS(SELECT 1 FROM direct_distributions WHERE predictor_id = ?1)");
    um_bind_u64(&q, id);
    *used = um_query_next(&q) && um_take_i64(&q) != 0;
    return um_query_end(&q, err);
}

static um_status insert_model(um_workspace *ws, const um_row_model *row, uint64_t *id,
                              um_error *err)
{
    um_query q;
    um_query_begin(&q, ws,
                   "INSERT INTO models(id, name, path, hash, kind)"
                   " VALUES((SELECT coalesce(max(id), 0) + 1 FROM models), ?, ?, ?, ?)"
                   " RETURNING id");
    um_bind_text(&q, row->name);
    um_bind_text(&q, row->path);
    um_bind_text(&q, row->hash);
    um_bind_text(&q, row->kind);
    if (um_query_next(&q)) {
        *id = um_take_u64(&q);
        (void)um_query_next(&q); /* the insert is finished by the step after its row */
    }
    return um_query_end(&q, err);
}

um_status um_workspace_model_id(uint64_t *id, um_workspace *ws, const um_row_model *row,
                                um_error *err)
{
    bool same_hash, used = false;
    char old_hash[64] = "";
    uint64_t found;
    um_status status = find_model(ws, row, &found, &same_hash, old_hash, err);
    if (status != UM_OK)
        return status;
    if (found == 0) {
        status = insert_model(ws, row, &found, err);
    } else {
        if (!same_hash)
            status = is_model_used(ws, found, &used, err);
        if (status == UM_OK && used)
            return um_fail(err, UM_ERR_STATE,
                           "model '%s' has changed: stored results are of hash %s, found %s; use "
                           "another name for it, or clear the stages that used it",
                           row->name, old_hash, row->hash);
        if (status == UM_OK) {
            um_query q;
            um_query_begin(&q, ws,
                           "UPDATE models SET path = ?1, hash = ?2, kind = ?3 WHERE id = ?4"
                           " AND (path <> ?1 OR hash <> ?2 OR kind <> ?3)");
            um_bind_text(&q, row->path);
            um_bind_text(&q, row->hash);
            um_bind_text(&q, row->kind);
            um_bind_u64(&q, found);
            status = um_query_run(&q, err);
        }
    }
    if (status == UM_OK && found >= UM_WORKSPACE_MAX_MODELS)
        status = um_fail(err, UM_ERR_LIMIT, "%s: holds %llu models, limit %d", ws->db_path,
                         (unsigned long long)found, UM_WORKSPACE_MAX_MODELS - 1);
    if (status == UM_OK)
        *id = found;
    return status;
}

um_status um_workspace_get_model(um_row_model *row, um_workspace *ws, uint64_t id, um_error *err)
{
    um_arena *arena = &ws->lent[UM_LENT_MODEL];
    um_row_model found;
    bool failed = false, exists = false;
    um_query q;
    um_arena_reset(arena);
    um_query_begin(&q, ws, "SELECT id, name, path, hash, kind FROM models WHERE id = ?");
    um_bind_u64(&q, id);
    if (um_query_next(&q) && take_model(&q, &found)) {
        exists = true;
        found.name = um_lend_text(arena, found.name, &failed);
        found.path = um_lend_text(arena, found.path, &failed);
        found.hash = um_lend_text(arena, found.hash, &failed);
        found.kind = um_lend_text(arena, found.kind, &failed);
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && failed)
        status = um_fail_memory(err, "a model row");
    if (status == UM_OK && !exists)
        status = um_fail(err, UM_ERR_NOT_FOUND, "%s: no model %llu", ws->db_path,
                         (unsigned long long)id);
    if (status == UM_OK)
        *row = found;
    return status;
}

um_status um_workspace_models(um_workspace *ws, um_on_model on_row, void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws, "SELECT id, name, path, hash, kind FROM models ORDER BY id");
    while (status == UM_OK && um_query_next(&q)) {
        um_row_model row;
        if (!take_model(&q, &row))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

/* Decisions ------------------------------------------------------------------------------------ */

um_status um_workspace_decision_id(uint64_t *id, uint64_t scene_id, uint64_t model_id,
                                   const char *role, uint32_t sample, um_error *err)
{
    uint64_t role_index = 0;
    while (role_index < sizeof roles / sizeof *roles && strcmp(role, roles[role_index]) != 0)
        role_index++;
    if (role_index == sizeof roles / sizeof *roles)
        return um_fail(err, UM_ERR_INPUT, "role '%s' is unknown, need teacher, student or eval",
                       role);
    if (sample >= UM_WORKSPACE_MAX_SAMPLES)
        return um_fail(err, UM_ERR_LIMIT, "sample %u of a scene, limit %d samples", sample,
                       UM_WORKSPACE_MAX_SAMPLES);
    if (model_id == 0 || model_id >= UM_WORKSPACE_MAX_MODELS)
        return um_fail(err, UM_ERR_LIMIT, "model id %llu, need 1 to %d",
                       (unsigned long long)model_id, UM_WORKSPACE_MAX_MODELS - 1);
    if (scene_id > (uint64_t)INT64_MAX >> SCENE_SHIFT)
        return um_fail(err, UM_ERR_LIMIT, "scene id %llu, limit %llu", (unsigned long long)scene_id,
                       (unsigned long long)((uint64_t)INT64_MAX >> SCENE_SHIFT));
    *id = scene_id << SCENE_SHIFT | model_id << (SAMPLE_BITS + ROLE_BITS) |
          role_index << SAMPLE_BITS | sample;
    return UM_OK;
}

um_status um_workspace_put_decision(um_workspace *ws, const um_row_decision *row, um_error *err)
{
    uint64_t id;
    um_status status =
        um_workspace_decision_id(&id, row->scene_id, row->model_id, row->role, row->sample, err);
    if (status != UM_OK)
        return status;
    um_query q;
    um_query_put(&q, ws, UM_PUT_DECISION);
    um_bind_u64(&q, id);
    um_bind_u64(&q, row->scene_id);
    um_bind_u64(&q, row->model_id);
    um_bind_text(&q, row->role);
    um_bind_u64(&q, row->sample);
    um_bind_text(&q, row->text);
    um_bind_text(&q, row->finish);
    um_bind_u64(&q, row->tokens);
    um_bind_text(&q, row->form_error);
    um_bind_letter(&q, row->said);
    return um_query_run(&q, err);
}

void um_workspace_decision_parts(uint64_t id, uint64_t *scene_id, uint64_t *model_id,
                                 const char **role, uint32_t *sample)
{
    uint64_t role_index = id >> SAMPLE_BITS & ((1u << ROLE_BITS) - 1);
    *scene_id = id >> SCENE_SHIFT;
    *model_id = id >> (SAMPLE_BITS + ROLE_BITS) & ((1u << MODEL_BITS) - 1);
    *role = role_index < sizeof roles / sizeof *roles ? roles[role_index] : NULL;
    *sample = (uint32_t)(id & ((1u << SAMPLE_BITS) - 1));
}

#define DECISION_COLUMNS                                                                           \
    "d.id, d.scene_id, d.model_id, d.role, d.sample, d.text, d.finish, d.tokens, d.form_error,"    \
    " d.said"

static bool take_decision(um_query *q, um_row_decision *row)
{
    row->id = um_take_u64(q);
    row->scene_id = um_take_u64(q);
    row->model_id = um_take_u64(q);
    row->role = um_take_text(q);
    row->sample = um_take_u32(q);
    row->text = um_take_text(q);
    row->finish = um_take_text(q);
    row->tokens = um_take_u32(q);
    row->form_error = um_take_text(q);
    row->said = um_take_letter(q);
    return um_row_is_good(q);
}

um_status um_workspace_get_decision(um_row_decision *row, um_workspace *ws, uint64_t id,
                                    um_error *err)
{
    um_arena *arena = &ws->lent[UM_LENT_DECISION];
    um_row_decision found;
    bool failed = false, exists = false;
    um_query q;
    um_arena_reset(arena);
    um_query_begin(&q, ws, "SELECT " DECISION_COLUMNS " FROM decisions d WHERE d.id = ?");
    um_bind_u64(&q, id);
    if (um_query_next(&q) && take_decision(&q, &found)) {
        exists = true;
        found.role = um_lend_text(arena, found.role, &failed);
        found.text = um_lend_text(arena, found.text, &failed);
        found.finish = um_lend_text(arena, found.finish, &failed);
        found.form_error = um_lend_text(arena, found.form_error, &failed);
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && failed)
        status = um_fail_memory(err, "a decision");
    if (status == UM_OK && !exists)
        status = um_fail(err, UM_ERR_NOT_FOUND, "%s: no decision %llu", ws->db_path,
                         (unsigned long long)id);
    if (status == UM_OK)
        *row = found;
    return status;
}

void um_decision_range(const um_decision_filter *filter, uint64_t *first, uint64_t *last)
{
    uint64_t max_scene = (uint64_t)INT64_MAX >> SCENE_SHIFT;
    *first = filter->any_scene ? 0 : filter->scene_id;
    *last = filter->any_scene                       ? max_scene
            : filter->last_scene > filter->scene_id ? filter->last_scene
                                                    : filter->scene_id;
    if (*last > max_scene)
        *first = *last = max_scene; /* no such scene can have decisions: an empty range */
    *first <<= SCENE_SHIFT;
    *last = (*last << SCENE_SHIFT) | (((uint64_t)1 << SCENE_SHIFT) - 1);
}

void um_decision_conditions(um_query *q, const um_decision_filter *filter)
{
    uint64_t first, last;
    um_decision_range(filter, &first, &last);
    um_bind_u64(q, first);
    um_bind_u64(q, last);
    um_bind_text(q, filter->split);
    um_bind_u64(q, filter->model_id);
    um_bind_text(q, filter->role);
    um_bind_u64(q, filter->well_formed_only);
}

um_status um_workspace_decisions(um_workspace *ws, const um_decision_filter *filter,
                                 um_on_decision on_row, void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT " DECISION_COLUMNS " FROM decisions d WHERE " UM_DECISION_CONDITIONS
                   " AND (?7 = 0 OR NOT EXISTS (SELECT 1 FROM distributions x"
                   "   WHERE x.decision_id = d.id AND x.predictor_id = ?7))"
                   " ORDER BY d.id");
    um_decision_conditions(&q, filter);
    um_bind_u64(&q, filter->unscored_by);
    while (status == UM_OK && um_query_next(&q)) {
        um_row_decision row;
        if (!take_decision(&q, &row))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_missing_decisions(um_workspace *ws, const char *split, uint64_t model_id,
                                         const char *role, uint32_t n, um_on_missing on_scene,
                                         void *context, um_error *err)
{
    if (n > UM_WORKSPACE_MAX_SAMPLES)
        return um_fail(err, UM_ERR_LIMIT, "%u samples of a scene, limit %d", n,
                       UM_WORKSPACE_MAX_SAMPLES);
    um_status status = UM_OK;
    bool have[UM_WORKSPACE_MAX_SAMPLES];
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT s.id, (SELECT group_concat(d.sample) FROM decisions d"
                   "   WHERE d.scene_id = s.id AND d.model_id = ?2 AND d.role = ?3"
                   "   AND d.sample < ?4) FROM scenes s"
                   " WHERE (?1 IS NULL OR s.split = ?1) ORDER BY s.id");
    um_bind_text(&q, split);
    um_bind_u64(&q, model_id);
    um_bind_text(&q, role);
    um_bind_u64(&q, n);
    while (status == UM_OK && um_query_next(&q)) {
        uint64_t scene_id = um_take_u64(&q);
        const char *samples = um_take_text(&q); /* "0,1,5", NULL when there is none */
        if (!um_row_is_good(&q))
            break;
        uint32_t n_have = 0;
        memset(have, 0, sizeof have);
        while (samples != NULL && *samples != '\0') {
            char *end;
            unsigned long sample = strtoul(samples, &end, 10);
            if (sample < n && !have[sample]) {
                have[sample] = true;
                n_have++;
            }
            samples = *end == ',' ? end + 1 : "";
        }
        if (n_have < n)
            status = on_scene(context, scene_id, have, n_have, err);
    }
    return um_query_close(&q, status, err);
}
