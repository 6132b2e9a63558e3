/*
 * exchange.c - log, scenes and pairs as JSONL, both ways (docs/FORMATS.md).
 *
 * Scenes follow the published evaluation set, with one more key, `split`. Pairs follow the
 * published training set. A pair is imported into a workspace that has its scene: the two are
 * joined on data set, user, item and timestamp.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/session.h"

#define MAX_IMPORT_BYTES ((size_t)4 << 30)

/* Export -------------------------------------------------------------------------------------- */

typedef struct exporter {
    um_session *s;
    um_outfile out;
    um_str line;
} exporter;

static um_status write_line(exporter *e, um_error *err)
{
    um_str_append(&e->line, "\n");
    um_status status = um_str_status(&e->line, err);
    if (status == UM_OK && fwrite(e->line.data, 1, e->line.len, e->out.stream) != e->line.len)
        status = um_fail_errno(err, "write", e->out.path);
    um_str_clear(&e->line);
    return status;
}

static um_status export_scene(void *context, const um_row_scene *row, um_error *err)
{
    exporter *e = context;
    char time[32];
    um_time_format(row->timestamp_s, time);
    um_str_append(&e->line, "{\"dataset\":");
    um_str_append_json(&e->line, row->dataset);
    um_str_append(&e->line, ",\"user_id\":");
    um_str_append_json(&e->line, row->user_id);
    um_str_append(&e->line, ",\"item_id\":");
    um_str_append_json(&e->line, row->item_id);
    um_str_appendf(&e->line,
                   ",\"timestamp\":\"%s\",\"item_pos\":%u,\"choice_cnt\":%u,\"impression_list\":%s,"
                   "\"text\":%s,\"split\":\"%s\"}",
                   time, row->item_pos, row->choice_cnt, row->impression_list, row->text,
                   row->split);
    return write_line(e, err);
}

static void append_messages(um_str *s, const char *system, const char *user, const char *process,
                            uint32_t letter)
{
    um_str assistant = UM_STR_INIT;
    um_str_appendf(&assistant, "%s\nBehavior: [%c]", process, 'A' + (int)letter);
    um_str_append(s, "[{\"role\":\"system\",\"content\":");
    um_str_append_json(s, system);
    um_str_append(s, "},{\"role\":\"user\",\"content\":");
    um_str_append_json(s, user);
    um_str_append(s, "},{\"role\":\"assistant\",\"content\":");
    um_str_append_json(s, um_str_text(&assistant));
    um_str_append(s, "}]");
    if (s->failed == UM_OK)
        s->failed = assistant.failed;
    um_str_dispose(&assistant);
}

static um_status export_pair(void *context, const um_row_pair *pair, um_error *err)
{
    exporter *e = context;
    const um_scene *scene = &e->s->scenes->scenes[pair->scene_id];
    const uint64_t ids[2] = {pair->chosen_decision, pair->rejected_decision};
    const uint32_t letters[2] = {pair->chosen_letter, pair->rejected_letter};
    char *user = NULL, time[32];
    um_row_decision decision;
    um_row_scene row;
    um_status status = um_workspace_get_scene(&row, e->s->ws, pair->scene_id, err);

    if (status != UM_OK || (status = um_prompt_form_user(e->s->form, scene, &user, err)) != UM_OK)
        return status;
    um_time_format(row.timestamp_s, time);
    um_str_append(&e->line, "{\"dataset\":");
    um_str_append_json(&e->line, row.dataset);
    um_str_append(&e->line, ",\"user_id\":");
    um_str_append_json(&e->line, row.user_id);
    um_str_append(&e->line, ",\"item_id\":");
    um_str_append_json(&e->line, row.item_id);
    um_str_appendf(&e->line, ",\"timestamp\":\"%s\"", time);
    for (int i = 0; i < 2 && status == UM_OK; i++) {
        status = um_workspace_get_decision(&decision, e->s->ws, ids[i], err);
        if (status != UM_OK)
            break;
        um_str_appendf(&e->line, ",\"messages_%s\":", i == 0 ? "chosen" : "rejected");
        append_messages(&e->line, um_prompt_form_system(e->s->form), user, decision.text,
                        letters[i]);
    }
    um_str_appendf(&e->line, ",\"behavior_chosen\":\"%c\",\"behavior_rejected\":\"%c\"}",
                   'A' + (int)letters[0], 'A' + (int)letters[1]);
    free(user);
    return status == UM_OK ? write_line(e, err) : status;
}

um_status um_session_export(um_session *s, const char *what, const char *path, um_error *err)
{
    exporter e = {.s = s};
    const um_dataset *d;
    const um_scene_set *set;
    const um_prompt_form *form;
    bool scenes = strcmp(what, "scenes") == 0;
    um_status status;

    if (strcmp(what, "log") == 0) {
        status = um_session_dataset(s, &d, err);
        if (status == UM_OK)
            status = um_path_make_dirs(path, err);
        return status == UM_OK ? um_dataset_write_canonical(d, path, err) : status;
    }
    if (!scenes && strcmp(what, "pairs") != 0)
        return um_fail(err, UM_ERR_INPUT, "export: found '%s'; log, scenes or pairs", what);
    if ((status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = um_session_form(s, &form, err)) != UM_OK ||
        (status = um_outfile_open(&e.out, path, err)) != UM_OK)
        return status;
    status = scenes ? um_workspace_scenes(s->ws, NULL, export_scene, &e, err)
                    : um_workspace_pairs(s->ws, export_pair, &e, err);
    if (status == UM_OK)
        status = um_outfile_commit(&e.out, err);
    um_outfile_dispose(&e.out);
    um_str_dispose(&e.line);
    return status;
}

/* Import -------------------------------------------------------------------------------------- */

typedef um_status (*on_json_line)(void *context, const json_t *row, const char *where,
                                  um_error *err);

static um_status read_jsonl(const char *path, on_json_line on_line, void *context, um_error *err)
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
        status = read_jsonl(path, import_scene, &im, err);
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

typedef struct pair_import {
    um_session *s;
    um_map scenes; /* scene_key -> scene id */
    um_arena arena;
    bool *has_pair; /* [scenes] */
    uint64_t model_id, n_pairs;
} pair_import;

/* What rows of scenes and pairs are joined on. NULL on out of memory. */
static char *scene_key(um_arena *arena, const char *dataset, const char *user, const char *item,
                       const char *time)
{
    um_str key = UM_STR_INIT;
    um_str_appendf(&key, "%s\n%s\n%s\n%s", dataset, user, item, time);
    char *copy = um_str_status(&key, NULL) == UM_OK ? um_arena_strdup(arena, key.data) : NULL;
    um_str_dispose(&key);
    return copy;
}

/* The assistant's message, cut into process and letter. */
static um_status split_answer(const json_t *row, const char *key, const char *where, char **process,
                              uint32_t *letter, um_error *err)
{
    static const char mark[] = "\nBehavior: [";
    const json_t *messages = json_object_get(row, key);
    size_t n = json_array_size(messages), length = sizeof mark - 1;
    const char *text =
        json_string_value(json_object_get(json_array_get(messages, n > 0 ? n - 1 : 0), "content"));
    const char *found = text != NULL ? strstr(text, mark) : NULL;

    if (found == NULL || found[length] < 'A' || found[length] > 'Z' || found[length + 1] != ']' ||
        found[length + 2 + strspn(found + length + 2, " \r\n")] != '\0')
        return um_fail(err, UM_ERR_INPUT,
                       "%s: the last message of %s does not end with \"Behavior: [X]\"", where,
                       key);
    *letter = (uint32_t)(found[length] - 'A');
    *process = um_strndup(text, (size_t)(found - text));
    return *process != NULL ? UM_OK : um_fail_memory(err, "import");
}

/* The scene of a row: one that is there, and has no pair yet. */
static um_status find_scene(pair_import *im, const json_t *row, const char *where,
                            const um_scene **out, um_error *err)
{
    const char *dataset, *user, *item, *time;
    uint32_t id;
    um_status status;

    if ((status = um_json_get_str(&dataset, row, "dataset", where, err)) != UM_OK ||
        (status = um_json_get_str(&user, row, "user_id", where, err)) != UM_OK ||
        (status = um_json_get_str(&item, row, "item_id", where, err)) != UM_OK ||
        (status = um_json_get_str(&time, row, "timestamp", where, err)) != UM_OK)
        return status;
    char *key = scene_key(&im->arena, dataset, user, item, time);
    if (key == NULL)
        return um_fail_memory(err, "import");
    if (!um_map_get(&im->scenes, key, &id))
        return um_fail(
            err, UM_ERR_INPUT,
            "%s: no scene of data set '%s', user '%s', item '%s' at %s; import the scenes "
            "first",
            where, dataset, user, item, time);
    if (im->has_pair[id])
        return um_fail(err, UM_ERR_INPUT, "%s: a second pair of user '%s', item '%s' at %s", where,
                       user, item, time);
    im->has_pair[id] = true;
    *out = &im->s->scenes->scenes[id];
    return UM_OK;
}

/* Chosen means: leads to the true action of the scene; rejected: to another one of its list. */
static um_status check_letters(const um_scene *scene, const uint32_t letters[2], const char *where,
                               um_error *err)
{
    if (letters[0] == scene->target && letters[1] != scene->target && letters[1] < scene->k)
        return UM_OK;
    return um_fail(err, UM_ERR_INPUT,
                   "%s: found behaviours [%c] chosen and [%c] rejected; the scene's true action is "
                   "[%c] of [A] to [%c]",
                   where, 'A' + (int)letters[0], 'A' + (int)letters[1], 'A' + (int)scene->target,
                   'A' + (int)scene->k - 1);
}

static um_status put_process(pair_import *im, const um_scene *scene, uint32_t sample,
                             const char *text, uint64_t *id, um_error *err)
{
    um_process parsed;
    um_process_fault fault = um_process_parse(&parsed, text, NULL, 0);
    um_row_decision decision = {.scene_id = scene->id,
                                .model_id = im->model_id,
                                .role = UM_ROLE_TEACHER,
                                .sample = sample,
                                .text = text,
                                .finish = "stop",
                                .form_error =
                                    fault != UM_PROCESS_GOOD ? um_process_fault_name(fault) : NULL};
    um_status status = um_workspace_put_decision(im->s->ws, &decision, err);
    if (status == UM_OK)
        status =
            um_workspace_decision_id(id, scene->id, im->model_id, UM_ROLE_TEACHER, sample, err);
    return status;
}

static um_status import_pair(void *context, const json_t *row, const char *where, um_error *err)
{
    pair_import *im = context;
    const um_scene *scene = NULL;
    char *texts[2] = {NULL, NULL};
    uint32_t letters[2];
    um_row_pair pair = {.id = im->n_pairs, .rank = (uint32_t)im->n_pairs};
    um_status status = find_scene(im, row, where, &scene, err);

    if (status != UM_OK ||
        (status = split_answer(row, "messages_chosen", where, &texts[0], &letters[0], err)) !=
            UM_OK ||
        (status = split_answer(row, "messages_rejected", where, &texts[1], &letters[1], err)) !=
            UM_OK ||
        (status = check_letters(scene, letters, where, err)) != UM_OK ||
        (status = put_process(im, scene, 0, texts[0], &pair.chosen_decision, err)) != UM_OK ||
        (status = put_process(im, scene, 1, texts[1], &pair.rejected_decision, err)) != UM_OK)
        goto done;
    pair.scene_id = scene->id;
    pair.chosen_letter = letters[0];
    pair.rejected_letter = letters[1];
    status = um_workspace_put_pair(im->s->ws, &pair, err);
    im->n_pairs++;
done:
    free(texts[0]);
    free(texts[1]);
    return status;
}

static um_status index_scene(void *context, const um_row_scene *row, um_error *err)
{
    pair_import *im = context;
    char time[32];
    um_time_format(row->timestamp_s, time);
    char *key = scene_key(&im->arena, row->dataset, row->user_id, row->item_id, time);
    if (key == NULL || !um_map_put(&im->scenes, key, (uint32_t)row->id, NULL))
        return um_fail_memory(err, "import");
    return UM_OK;
}

static um_status import_pairs(um_session *s, const char *path, um_error *err)
{
    pair_import im = {.s = s};
    um_workspace_counts counts;
    um_run run = {0};
    const um_scene_set *set;
    um_row_model model = {
        .name = UM_IMPORTED_MODEL, .path = "", .hash = "", .kind = UM_IMPORTED_MODEL};
    um_status status = um_workspace_count(&counts, s->ws, err);

    if (status == UM_OK && counts.pairs > 0)
        status = um_fail(err, UM_ERR_STATE,
                         "import: workspace '%s' already holds pairs; "
                         "`mirrorer distill --redo` or another -w WORKSPACE",
                         um_workspace_path(s->ws));
    if (status == UM_OK)
        status = um_session_scenes(s, &set, err);
    if (status != UM_OK || (status = um_workspace_begin(s->ws, err)) != UM_OK)
        return status;
    im.has_pair = um_calloc(set->n, sizeof *im.has_pair);
    if (im.has_pair == NULL)
        status = um_fail_memory(err, "import");
    if (status == UM_OK &&
        (status = um_workspace_model_id(&im.model_id, s->ws, &model, err)) == UM_OK &&
        (status = um_workspace_scenes(s->ws, NULL, index_scene, &im, err)) == UM_OK &&
        (status = um_run_begin(&run, s, "distill", "", "scenes", um_hash_str(path, 0), err)) ==
            UM_OK)
        status = read_jsonl(path, import_pair, &im, err);
    if (status == UM_OK && im.n_pairs == 0)
        status = um_fail(err, UM_ERR_INPUT, "%s: holds no pair", path);
    run.done = run.total = im.n_pairs;
    if (status == UM_OK) {
        json_object_set_new(run.detail, "pairs", json_integer((json_int_t)im.n_pairs));
        json_object_set_new(run.detail, "imported", json_true());
        status = um_run_save(&run, true, err);
    }
    if (status == UM_OK)
        status = um_workspace_commit(s->ws, err);
    if (status != UM_OK)
        um_workspace_rollback(s->ws);
    um_run_dispose(&run);
    um_map_dispose(&im.scenes);
    um_arena_dispose(&im.arena);
    free(im.has_pair);
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
        return import_pairs(s, path, err);
    return um_fail(err, UM_ERR_INPUT, "import: found '%s'; log, scenes or pairs", what);
}
