/*
 * scene_io.c - scenes in the workspace, and the prompts made of them.
 *
 * The readable columns follow the published evaluation set; what only this program needs is packed
 * into the row's data: u32 n_history, u32 order ids of the history, u8 source of each listed item.
 * An imported scene is known by its texts only and has no data. The action "none of these" is null
 * in the list and an empty item_id.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "scene/set.h"
#include "stage/session.h"

static void scene_text_json(um_str *s, const um_scene *scene)
{
    um_str_append(s, "{\"profile\":");
    um_str_append_json(s, scene->profile);
    um_str_append(s, ",\"history\":");
    um_str_append_json(s, scene->history_text);
    um_str_append(s, ",\"action_list\":[");
    for (uint32_t i = 0; i < scene->k; i++) {
        um_str_append(s, i > 0 ? "," : "");
        um_str_append_json(s, scene->actions[i]);
    }
    um_str_append(s, "]}");
}

um_status um_scene_store(um_workspace *ws, const um_dataset *d, const um_scene *scene,
                         um_error *err)
{
    um_str text = UM_STR_INIT, list = UM_STR_INIT, data = UM_STR_INIT;
    um_status status;

    scene_text_json(&text, scene);
    um_str_append(&list, "[");
    for (uint32_t i = 0; i < scene->k; i++) {
        um_str_append(&list, i > 0 ? "," : "");
        if (scene->items[i] == UM_SCENE_NONE)
            um_str_append(&list, "null");
        else
            um_str_append_json(&list, d->items.ids[scene->items[i]]);
    }
    um_str_append(&list, "]");
    um_str_append_n(&data, &scene->n_history, sizeof scene->n_history);
    for (uint32_t h = 0; h < scene->n_history; h++) {
        uint32_t order = (uint32_t)(scene->history[h] - d->user_start[scene->user]);
        um_str_append_n(&data, &order, sizeof order);
    }
    um_str_append_n(&data, scene->sources, scene->k);
    uint32_t chosen = scene->items[scene->target];
    if ((status = um_str_status(&text, err)) == UM_OK &&
        (status = um_str_status(&list, err)) == UM_OK &&
        (status = um_str_status(&data, err)) == UM_OK) {
        um_row_scene row = {.id = scene->id,
                            .split = um_split_name(scene->split),
                            .dataset = d->name,
                            .user = scene->user,
                            .user_id = d->users.ids[scene->user],
                            .item_id = chosen != UM_SCENE_NONE ? d->items.ids[chosen] : "",
                            .order_id = scene->order_id,
                            .timestamp_s = scene->time_s,
                            .item_pos = scene->target,
                            .choice_cnt = scene->k,
                            .impression_list = list.data,
                            .text = text.data,
                            .truth = scene->truth,
                            .flags = (scene->accident ? UM_SCENE_FLAG_ACCIDENT : 0) |
                                     (chosen == UM_SCENE_NONE ? UM_SCENE_FLAG_NO_CLICK : 0),
                            .data = data.data,
                            .data_bytes = data.len};
        status = um_workspace_put_scene(ws, &row, err);
    }
    um_str_dispose(&text);
    um_str_dispose(&list);
    um_str_dispose(&data);
    return status;
}

/* Loading ------------------------------------------------------------------------------------- */

typedef struct scene_loader {
    const um_dataset *dataset;
    um_map items; /* external id -> index */
    um_scene_set *set;
    size_t cap;
} scene_loader;

static um_status scene_damaged(const um_row_scene *row, const char *what, um_error *err)
{
    return um_fail(err, UM_ERR_INPUT, "workspace: scene %llu: %s", (unsigned long long)row->id,
                   what);
}

static um_status load_texts(scene_loader *l, um_scene *scene, const um_row_scene *row,
                            um_error *err)
{
    um_arena *arena = &l->set->memory->arenas[0];
    json_t *text = NULL, *actions;
    const char *profile = NULL, *history = NULL;
    um_status status = um_json_parse(&text, row->text, strlen(row->text), "scene text", err);

    if (status != UM_OK)
        return status;
    actions = json_object_get(text, "action_list");
    if ((status = um_json_get_str(&profile, text, "profile", "scene text", err)) != UM_OK ||
        (status = um_json_get_str(&history, text, "history", "scene text", err)) != UM_OK)
        goto done;
    if (json_array_size(actions) != row->choice_cnt) {
        status = scene_damaged(row, "action_list and choice_cnt disagree", err);
        goto done;
    }
    scene->profile = um_arena_strdup(arena, profile);
    scene->history_text = um_arena_strdup(arena, history);
    scene->actions = um_arena_alloc(arena, scene->k * sizeof *scene->actions);
    if (scene->profile == NULL || scene->history_text == NULL || scene->actions == NULL) {
        status = um_fail_memory(err, "scene");
        goto done;
    }
    for (uint32_t i = 0; i < scene->k; i++) {
        const char *action = json_string_value(json_array_get(actions, i));
        scene->actions[i] = um_arena_strdup(arena, action != NULL ? action : "");
        if (scene->actions[i] == NULL)
            status = um_fail_memory(err, "scene");
    }
done:
    json_decref(text);
    return status;
}

static um_status load_items(scene_loader *l, um_scene *scene, const um_row_scene *row,
                            um_error *err)
{
    json_t *list = NULL;
    um_status status =
        um_json_parse(&list, row->impression_list, strlen(row->impression_list), "scene list", err);

    if (status != UM_OK)
        return status;
    if (json_array_size(list) != scene->k)
        status = scene_damaged(row, "impression_list and choice_cnt disagree", err);
    for (uint32_t i = 0; i < scene->k && status == UM_OK; i++) {
        const json_t *entry = json_array_get(list, i);
        const char *id = json_string_value(entry);
        if (json_is_null(entry) && i + 1 == scene->k && i > 0)
            scene->items[i] = UM_SCENE_NONE;
        else if (id == NULL || !um_map_get(&l->items, id, &scene->items[i]))
            status = scene_damaged(row, "impression_list names an item the log does not have", err);
    }
    json_decref(list);
    bool none = (row->flags & UM_SCENE_FLAG_NO_CLICK) != 0;
    if (status == UM_OK && none != (scene->items[scene->target] == UM_SCENE_NONE))
        status =
            scene_damaged(row, "flags and impression_list disagree about what was chosen", err);
    return status;
}

static um_status load_data(scene_loader *l, um_scene *scene, const um_row_scene *row, um_error *err)
{
    const um_dataset *d = l->dataset;
    const unsigned char *at = row->data;
    uint64_t begin = d->user_start[scene->user];

    if (row->data == NULL) {
        memset(scene->sources, 255, scene->k);
        return UM_OK;
    }
    if (row->data_bytes < 4)
        return scene_damaged(row, "data is too short", err);
    if (scene->interaction == UM_SCENE_NO_INTERACTION && (row->flags & UM_SCENE_FLAG_NO_CLICK) == 0)
        return scene_damaged(row, "order_id is not one of the user's interactions", err);
    memcpy(&scene->n_history, at, 4);
    if (row->data_bytes != 4 + (size_t)scene->n_history * 4 + scene->k)
        return scene_damaged(row, "data has another length than its counts say", err);
    scene->history =
        um_arena_alloc(&l->set->memory->arenas[0], scene->n_history * sizeof *scene->history);
    if (scene->history == NULL)
        return um_fail_memory(err, "scene");
    for (uint32_t h = 0; h < scene->n_history; h++) {
        uint32_t order;
        memcpy(&order, at + 4 + (size_t)h * 4, 4);
        if (order >= d->user_start[scene->user + 1] - begin)
            return scene_damaged(row, "history names an interaction the user does not have", err);
        scene->history[h] = begin + order;
    }
    memcpy(scene->sources, at + 4 + (size_t)scene->n_history * 4, scene->k);
    return UM_OK;
}

static um_status load_scene(void *context, const um_row_scene *row, um_error *err)
{
    scene_loader *l = context;
    um_scene_set *set = l->set;
    um_arena *arena = &set->memory->arenas[0];

    if (row->id != set->n)
        return scene_damaged(row, "ids are not consecutive", err);
    if (row->choice_cnt < 1 || row->choice_cnt > UM_SCENE_MAX_ITEMS ||
        row->item_pos >= row->choice_cnt || row->user >= l->dataset->users.n_rows)
        return scene_damaged(row, "choice_cnt, item_pos or user out of range", err);
    if (set->n == l->cap &&
        !um_vec_grow((void *)&set->scenes, &l->cap, set->n + 1, sizeof *set->scenes))
        return um_fail_memory(err, "scenes");
    um_scene *scene = &set->scenes[set->n];
    const uint64_t *of_user = l->dataset->user_start + row->user;
    bool chosen =
        (row->flags & UM_SCENE_FLAG_NO_CLICK) == 0 && row->order_id < of_user[1] - of_user[0];
    *scene =
        (um_scene){.id = row->id,
                   .user = (uint32_t)row->user,
                   .interaction = chosen ? of_user[0] + row->order_id : UM_SCENE_NO_INTERACTION,
                   .order_id = (uint32_t)row->order_id,
                   .time_s = row->timestamp_s,
                   .k = row->choice_cnt,
                   .target = row->item_pos,
                   .accident = (row->flags & UM_SCENE_FLAG_ACCIDENT) != 0};
    while (scene->split < UM_SPLIT_EVAL && strcmp(row->split, um_split_name(scene->split)) != 0)
        scene->split++;
    scene->items = um_arena_alloc(arena, scene->k * sizeof *scene->items);
    scene->sources = um_arena_alloc(arena, scene->k);
    if (scene->items == NULL || scene->sources == NULL)
        return um_fail_memory(err, "scene");
    if (row->truth != NULL) {
        scene->truth = um_arena_alloc(arena, scene->k * sizeof *scene->truth);
        if (scene->truth == NULL)
            return um_fail_memory(err, "scene");
        memcpy(scene->truth, row->truth, scene->k * sizeof *scene->truth);
    }
    um_status status = load_texts(l, scene, row, err);
    if (status == UM_OK)
        status = load_items(l, scene, row, err);
    if (status == UM_OK)
        status = load_data(l, scene, row, err);
    if (status == UM_OK) {
        set->n++;
        set->n_split[scene->split]++;
    }
    return status;
}

static um_status new_set(um_scene_set **out, um_error *err)
{
    um_scene_set *set = um_calloc(1, sizeof *set);
    if (set != NULL)
        set->memory = um_calloc(1, sizeof *set->memory);
    if (set != NULL && set->memory != NULL)
        set->memory->arenas = um_calloc(1, sizeof *set->memory->arenas);
    if (set == NULL || set->memory == NULL || set->memory->arenas == NULL) {
        um_scene_set_free(set);
        return um_fail_memory(err, "scenes");
    }
    set->memory->n = 1;
    *out = set;
    return UM_OK;
}

json_t *um_split_json(um_split_by split_by, int64_t time_cut_s)
{
    static const char *const names[] = {"user", "time", "user and time"};
    json_t *object = json_object();
    char time[32] = "", text[96];
    bool cut = split_by != UM_SPLIT_BY_USER;
    if (cut)
        um_time_format(time_cut_s, time);
    snprintf(text, sizeof text, "by %s%s%s", names[split_by], cut ? ", cut " : "", time);
    json_object_set_new(object, "by", json_string(um_split_by_name(split_by)));
    json_object_set_new(object, "time_cut", cut ? json_string(time) : json_null());
    json_object_set_new(object, "text", json_string(text));
    return object;
}

/* How the stage split them. Without a record of it (imported scenes): by user. */
static um_status load_split(um_workspace *ws, um_scene_set *set, um_error *err)
{
    um_row_stage row;
    json_t *detail = NULL;
    um_status status = um_workspace_get_stage(&row, ws, "scenes", err);
    if (status == UM_ERR_NOT_FOUND)
        return UM_OK;
    if (status == UM_OK)
        status = um_json_parse(&detail, row.detail, strlen(row.detail), "stage scenes", err);
    if (status != UM_OK)
        return status;
    const json_t *split = json_object_get(detail, "split");
    const char *by = json_string_value(json_object_get(split, "by"));
    const char *cut = json_string_value(json_object_get(split, "time_cut"));
    for (int i = UM_SPLIT_BY_USER; by != NULL && i <= UM_SPLIT_BY_BOTH; i++)
        if (strcmp(by, um_split_by_name((um_split_by)i)) == 0)
            set->split_by = (um_split_by)i;
    if (set->split_by != UM_SPLIT_BY_USER && (cut == NULL || !um_time_parse(cut, &set->time_cut_s)))
        status = um_fail(err, UM_ERR_INPUT, "workspace: stage scenes: its time cut is damaged");
    json_decref(detail);
    return status;
}

um_status um_scenes_load(um_workspace *ws, const um_dataset *d, um_scene_set **out, um_error *err)
{
    scene_loader l = {.dataset = d};
    um_status status = new_set(&l.set, err);

    if (status != UM_OK)
        return status;
    for (uint32_t i = 0; i < d->items.n_rows; i++) {
        if (!um_map_put(&l.items, d->items.ids[i], i, NULL)) {
            status = um_fail_memory(err, "scenes");
            goto done;
        }
    }
    status = um_workspace_scenes(ws, NULL, load_scene, &l, err);
    if (status == UM_OK)
        status = load_split(ws, l.set, err);
    if (status == UM_OK && l.set->n == 0)
        status =
            um_fail(err, UM_ERR_STATE, "workspace '%s' has no scenes; run `mirrorer scenes` first",
                    um_workspace_path(ws));
    if (status == UM_OK) {
        *out = l.set;
        l.set = NULL;
    }
done:
    um_map_dispose(&l.items);
    um_scene_set_free(l.set);
    return status;
}

/* Prompts ------------------------------------------------------------------------------------- */

struct um_prompt_memory {
    um_message *messages; /* two a prompt */
    char **users;
    size_t n;
};

um_status um_scene_prompts_make(um_scene_prompts *out, um_session *s, const uint64_t *ids, size_t n,
                                const char *opening, um_error *err)
{
    const um_scene_set *set;
    const um_prompt_form *form;
    um_status status;

    *out = (um_scene_prompts){.n = n, .memory = um_calloc(1, sizeof *out->memory)};
    if ((status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = um_session_form(s, &form, err)) != UM_OK)
        goto done;
    out->prompts = um_calloc(n, sizeof *out->prompts);
    if (out->memory == NULL || out->prompts == NULL ||
        (out->memory->messages = um_calloc(2 * n, sizeof *out->memory->messages)) == NULL ||
        (out->memory->users = um_calloc(n, sizeof *out->memory->users)) == NULL) {
        status = um_fail_memory(err, "prompts");
        goto done;
    }
    out->memory->n = n;
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        const um_scene *scene = &set->scenes[ids[i]];
        um_message *messages = out->memory->messages + 2 * i;
        status = um_prompt_form_user(form, scene, &out->memory->users[i], err);
        messages[0] = (um_message){"system", um_prompt_form_system(form)};
        messages[1] = (um_message){"user", out->memory->users[i]};
        out->prompts[i] = (um_prompt){.key = scene->id,
                                      .messages = messages,
                                      .n_messages = 2,
                                      .opening = opening,
                                      .k = scene->k};
    }
done:
    if (status != UM_OK)
        um_scene_prompts_dispose(out);
    return status;
}

void um_scene_prompts_dispose(um_scene_prompts *p)
{
    if (p->memory != NULL) {
        for (size_t i = 0; i < p->memory->n; i++)
            free(p->memory->users[i]);
        free(p->memory->users);
        free(p->memory->messages);
    }
    free(p->memory);
    free(p->prompts);
    *p = (um_scene_prompts){0};
}
