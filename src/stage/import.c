/*
 * import.c - scenes as JSONL into a workspace that has none (docs/FORMATS.md), and the dispatch of
 * imports. Scenes follow the published evaluation set, with one more key, `split`.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/exchange.h"

#define MAX_IMPORT_BYTES ((size_t)4 << 30)

um_status um_jsonl_import(const char *path, um_on_json_line on_line, void *context, um_error *err)
{
    char *text = NULL, where[UM_CONFIG_TEXT];
    size_t len = 0, line = 0;
    um_status status = um_file_read(&text, &len, path, MAX_IMPORT_BYTES, err);

    for (size_t at = 0; at < len && status == UM_OK;) {
        const char *newline = memchr(text + at, '\n', len - at);
        size_t n = newline != NULL ? (size_t)(newline - (text + at)) : len - at;
        json_t *row = NULL;
        line++;
        snprintf(where, sizeof where, "%.400s:%zu", path, line);
        if (n > 0) {
            status = um_json_parse(&row, text + at, n, where, err);
            if (status == UM_OK && !json_is_object(row))
                status = um_fail(err, UM_ERR_INPUT, "%s: a row is a JSON object", where);
            if (status == UM_OK)
                status = on_line(context, row, where, err);
        }
        json_decref(row);
        at += n + 1;
    }
    free(text);
    return status;
}

/*
 * Scenes of others: users and items come to exist by being named. One file may hold scenes of
 * several data sets; their users are told apart by the name of the data set, but for those of the
 * first, so that scenes of one data set keep the ids they came with.
 */
typedef struct scene_import {
    um_session *s;
    um_map users, items;
    um_arena arena;
    uint64_t n_scenes;
    char dataset[UM_CONFIG_TEXT]; /* of the first scene */
} scene_import;

static um_status name_entity(scene_import *im, bool item, const char *id, uint32_t *index,
                             um_error *err)
{
    um_map *map = item ? &im->items : &im->users;
    bool inserted;
    if (um_map_get(map, id, index))
        return UM_OK;
    char *copy = um_arena_strdup(&im->arena, id);
    *index = (uint32_t)map->len;
    if (copy == NULL || !um_map_put(map, copy, *index, &inserted))
        return um_fail_memory(err, "import");
    um_row_entity row = {*index, copy, "{}", "{}"};
    return item ? um_workspace_put_item(im->s->ws, &row, err)
                : um_workspace_put_user(im->s->ws, &row, err);
}

static um_status name_user(scene_import *im, const char *dataset, const char *id, uint32_t *index,
                           um_error *err)
{
    if (strcmp(dataset, im->dataset) == 0)
        return name_entity(im, false, id, index, err);
    um_str qualified = UM_STR_INIT;
    um_str_appendf(&qualified, "%s/%s", dataset, id);
    um_status status = um_str_status(&qualified, err);
    if (status == UM_OK)
        status = name_entity(im, false, qualified.data, index, err);
    um_str_dispose(&qualified);
    return status;
}

/* A name no data set can have would make a workspace that cannot be loaded. */
static um_status check_dataset(scene_import *im, const char *name, const char *where, um_error *err)
{
    um_dataset_builder *trial = NULL;
    um_error why;
    if (strcmp(name, im->dataset) == 0)
        return UM_OK;
    if (um_dataset_builder_new(&trial, name, &why) != UM_OK)
        return um_fail(err, why.status, "%s: %s", where, why.text);
    um_dataset_builder_free(trial);
    if (im->dataset[0] == '\0')
        snprintf(im->dataset, sizeof im->dataset, "%s", name);
    return UM_OK;
}

static um_status check_scene(const json_t *row, int64_t position, int64_t k, const char *item,
                             const char *where, um_error *err)
{
    const json_t *list = json_object_get(row, "impression_list");
    const json_t *text = json_object_get(row, "text");
    const json_t *actions = json_object_get(text, "action_list");

    if (k < 2 || k > UM_SCENE_MAX_ITEMS || position < 0 || position >= k)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: found choice_cnt %lld and item_pos %lld; need 2 to %d items and a "
                       "position among them",
                       where, (long long)k, (long long)position, UM_SCENE_MAX_ITEMS);
    if (json_array_size(list) != (size_t)k || json_array_size(actions) != (size_t)k)
        return um_fail(
            err, UM_ERR_INPUT,
            "%s: impression_list has %zu and text.action_list %zu entries; choice_cnt is "
            "%lld",
            where, json_array_size(list), json_array_size(actions), (long long)k);
    if (!json_is_string(json_object_get(text, "profile")) ||
        !json_is_string(json_object_get(text, "history")))
        return um_fail(err, UM_ERR_INPUT, "%s: text needs the strings profile and history", where);
    for (size_t i = 0; i < (size_t)k; i++) {
        const json_t *id = json_array_get(list, i);
        bool none = json_is_null(id) && i > 0 && i + 1 == (size_t)k;
        if ((json_string_length(id) == 0 && !none) || !json_is_string(json_array_get(actions, i)))
            return um_fail(err, UM_ERR_INPUT,
                           "%s: entry %zu of the lists is not a string, or an empty id", where, i);
    }
    /* The action "none of these", the list's last, is null there and "" as item_id. */
    const char *chosen = json_string_value(json_array_get(list, (size_t)position));
    if (strcmp(chosen != NULL ? chosen : "", item) != 0)
        return um_fail(err, UM_ERR_INPUT, "%s: impression_list[%lld] is not item_id '%s'", where,
                       (long long)position, item);
    return UM_OK;
}

static um_status import_scene(void *context, const json_t *row, const char *where, um_error *err)
{
    scene_import *im = context;
    const char *dataset, *user, *item, *time, *split = "eval";
    int64_t position, k, seconds;
    uint32_t user_index, item_index;
    um_str list = UM_STR_INIT, text = UM_STR_INIT;
    um_status status;

    if ((status = um_json_get_str(&dataset, row, "dataset", where, err)) != UM_OK ||
        (status = um_json_get_str(&user, row, "user_id", where, err)) != UM_OK ||
        (status = um_json_get_str(&item, row, "item_id", where, err)) != UM_OK ||
        (status = um_json_get_str(&time, row, "timestamp", where, err)) != UM_OK ||
        (status = um_json_get_i64(&position, row, "item_pos", where, err)) != UM_OK ||
        (status = um_json_get_i64(&k, row, "choice_cnt", where, err)) != UM_OK ||
        (status = check_scene(row, position, k, item, where, err)) != UM_OK ||
        (status = check_dataset(im, dataset, where, err)) != UM_OK)
        return status;
    if (user[0] == '\0')
        return um_fail(err, UM_ERR_INPUT, "%s: user_id is empty", where);
    if (json_object_get(row, "split") != NULL &&
        (status = um_json_get_str(&split, row, "split", where, err)) != UM_OK)
        return status;
    if (strcmp(split, "base") != 0 && strcmp(split, "train") != 0 && strcmp(split, "eval") != 0)
        return um_fail(err, UM_ERR_INPUT, "%s: split '%s'; base, train or eval", where, split);
    if (!um_time_parse(time, &seconds))
        return um_fail(err, UM_ERR_INPUT, "%s: timestamp '%s' is not YYYY-MM-DD HH:MM:SS", where,
                       time);
    const json_t *items = json_object_get(row, "impression_list");
    status = name_user(im, dataset, user, &user_index, err);
    for (size_t i = 0; i < (size_t)k && status == UM_OK; i++) {
        const char *id = json_string_value(json_array_get(items, i));
        if (id != NULL)
            status = name_entity(im, true, id, &item_index, err);
    }
    um_json_dump(&list, items);
    um_json_dump(&text, json_object_get(row, "text"));
    if (status == UM_OK)
        status = um_str_status(&list, err);
    if (status == UM_OK)
        status = um_str_status(&text, err);
    if (status == UM_OK) {
        um_row_scene scene = {.id = im->n_scenes,
                              .split = split,
                              .dataset = dataset,
                              .user = user_index,
                              .user_id = user,
                              .item_id = item,
                              .timestamp_s = seconds,
                              .item_pos = (uint32_t)position,
                              .choice_cnt = (uint32_t)k,
                              .impression_list = list.data,
                              .text = text.data,
                              .flags = item[0] == '\0' ? UM_SCENE_FLAG_NO_CLICK : 0};
        im->n_scenes++;
        status = um_workspace_put_scene(im->s->ws, &scene, err);
    }
    um_str_dispose(&list);
    um_str_dispose(&text);
    return status;
}

static um_status import_scenes(um_session *s, const char *path, um_error *err)
{
    scene_import im = {.s = s};
    um_workspace_counts counts;
    um_run log = {0}, run = {0};
    um_status status = um_workspace_count(&counts, s->ws, err);

    if (status == UM_OK && (counts.users > 0 || counts.scenes_eval + counts.scenes_train > 0))
        status = um_fail(
            err, UM_ERR_STATE,
            "import: workspace '%s' already holds a log or scenes; use another -w WORKSPACE",
            um_workspace_path(s->ws));
    if (status != UM_OK || (status = um_workspace_begin(s->ws, err)) != UM_OK)
        return status;
    status = um_run_begin(&log, s, "ingest", "ingest.", NULL, um_hash_str(path, 0), err);
    if (status == UM_OK)
        status = um_jsonl_import(path, import_scene, &im, err);
    if (status == UM_OK && im.n_scenes == 0)
        status = um_fail(err, UM_ERR_INPUT, "%s: holds no scene", path);
    um_row_dataset row = {im.dataset,
                          im.users.len,
                          im.items.len,
                          0,
                          "{\"users\":[],\"items\":[],\"series\":[],\"impressions\":false}",
                          path,
                          0};
    if (status == UM_OK)
        status = um_workspace_set_dataset(s->ws, &row, err);
    if (status == UM_OK)
        status = um_run_save(&log, true, err);
    if (status == UM_OK)
        status = um_run_begin(&run, s, "scenes", "", "ingest", 0, err);
    run.done = run.total = im.n_scenes;
    if (status == UM_OK) {
        json_object_set_new(run.detail, "imported", json_true());
        json_object_set_new(run.detail, "split",
                            json_pack("{s:n,s:n,s:s}", "by", "time_cut", "text", "as imported"));
        status = um_run_save(&run, true, err);
    }
    if (status == UM_OK)
        status = um_workspace_commit(s->ws, err);
    if (status != UM_OK)
        um_workspace_rollback(s->ws);
    um_run_dispose(&log);
    um_run_dispose(&run);
    um_map_dispose(&im.users);
    um_map_dispose(&im.items);
    um_arena_dispose(&im.arena);
    return status;
}

um_status um_session_imported(um_session *s, const char *stage, bool *imported, um_error *err)
{
    um_row_stage row;
    json_t *detail = NULL;
    um_status status = um_workspace_get_stage(&row, s->ws, stage, err);

    *imported = false;
    if (status == UM_ERR_NOT_FOUND)
        return UM_OK;
    if (status == UM_OK)
        status = um_json_parse(&detail, row.detail, strlen(row.detail), stage, err);
    *imported = status == UM_OK && json_is_true(json_object_get(detail, "imported"));
    if (*imported)
        um_monitor_message(s->monitor, "%s: imported", um_stage_find(stage)->title);
    json_decref(detail);
    return status;
}

um_status um_session_import(um_session *s, const char *what, const char *path, um_error *err)
{
    if (strcmp(what, "scenes") == 0)
        return import_scenes(s, path, err);
    if (strcmp(what, "pairs") == 0)
        return um_import_pairs(s, path, err);
    return um_fail(err, UM_ERR_INPUT, "import: found '%s'; log, scenes or pairs", what);
}
