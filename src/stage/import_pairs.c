/*
 * import_pairs.c - preference pairs of any of the formats that export writes, into a workspace that
 * has their scenes: rows and scenes are joined on data set, user, item and timestamp, and where
 * several scenes share these (lists of one second that nobody chose from), on the texts of the
 * list, which the row's prompt shows.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/exchange.h"

#define NO_SCENE UINT32_MAX

typedef struct pair_import {
    um_session *s;
    um_map scenes; /* scene_key -> the first scene that has it */
    um_arena arena;
    uint32_t *same_key; /* [scenes] another one with the same key, or NO_SCENE */
    bool *has_pair;     /* [scenes] */
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

/* The text of the answer under a key: that of a chat's last message (under "content"; alone or as
 * the end of its conversation), or of one turn (under "value"). NULL when there is none. */
static const char *answer_text(const json_t *row, const char *key)
{
    const json_t *answer = json_object_get(row, key);
    size_t n = json_array_size(answer);
    if (json_is_object(answer))
        return json_string_value(json_object_get(answer, "value"));
    return json_string_value(json_object_get(json_array_get(answer, n > 0 ? n - 1 : 0), "content"));
}

/*
 * The answer, cut into process and letter; *process is NULL for the bare behaviour. Published rows
 * have their conversations under messages_*, those of other forms under chosen and rejected.
 */
static um_status split_answer(const json_t *row, int place, const char *where, char **process,
                              uint32_t *letter, um_error *err)
{
    static const char mark[] = "\n" UM_PROCESS_BEHAVIOR;
    static const char *const keys[][2] = {{"messages_chosen", "chosen"},
                                          {"messages_rejected", "rejected"}};
    bool other = json_object_get(row, keys[place][0]) == NULL &&
                 json_object_get(row, keys[place][1]) != NULL;
    const char *key = keys[place][other], *text = answer_text(row, key);
    bool bare = text != NULL && um_str_starts(text, UM_PROCESS_BEHAVIOR);
    const char *end = bare ? text : text != NULL ? strstr(text, mark) : NULL;
    const char *at = end != NULL ? end + sizeof mark - 1 - bare : "";

    if (at[0] < 'A' || at[0] > 'Z' || at[1] != ']' || at[2 + strspn(at + 2, " \r\n")] != '\0')
        return um_fail(err, UM_ERR_INPUT,
                       "%s: the last message of %s does not end with \"Behavior: [X]\"", where,
                       key);
    *letter = (uint32_t)(at[0] - 'A');
    *process = bare ? NULL : um_strndup(text, (size_t)(end - text));
    return bare || *process != NULL ? UM_OK : um_fail_memory(err, "import");
}

/* What the user's turn of a row says, in any of the forms; "" when there is none. */
static const char *prompt_text(const json_t *row)
{
    static const char *const keys[] = {"messages_chosen", "prompt", "conversations", "chosen"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        size_t i;
        json_t *turn;
        json_array_foreach(json_object_get(row, keys[k]), i, turn)
        {
            const char *role = json_string_value(json_object_get(turn, "role"));
            const char *from = json_string_value(json_object_get(turn, "from"));
            const char *text =
                json_string_value(json_object_get(turn, role != NULL ? "content" : "value"));
            if (text != NULL && ((role != NULL && strcmp(role, "user") == 0) ||
                                 (from != NULL && strcmp(from, "human") == 0)))
                return text;
        }
    }
    return "";
}

static bool shows_list(const char *prompt, const um_scene *scene)
{
    for (uint32_t i = 0; i < scene->k; i++) {
        if (strstr(prompt, scene->actions[i]) == NULL)
            return false;
    }
    return true;
}

/* Of the scenes with a key, the given one and those after it, that have no pair: the one whose list
 * the row's prompt shows, the longest where a list is part of another. A scene that is alone with
 * its key is the row's whatever its prompt says. */
static uint32_t pick_scene(const pair_import *im, uint32_t id, const json_t *row)
{
    const um_scene *scenes = im->s->scenes->scenes;
    const char *prompt = prompt_text(row);
    uint32_t found = NO_SCENE;
    if (im->same_key[id] == NO_SCENE)
        return im->has_pair[id] ? NO_SCENE : id;
    for (; id != NO_SCENE; id = im->same_key[id]) {
        if (!im->has_pair[id] && shows_list(prompt, &scenes[id]) &&
            (found == NO_SCENE || scenes[id].k > scenes[found].k))
            found = id;
    }
    return found;
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
    bool alone = im->same_key[id] == NO_SCENE;
    id = pick_scene(im, id, row);
    if (id == NO_SCENE)
        return um_fail(err, UM_ERR_INPUT, "%s: %s of user '%s', item '%s' at %s", where,
                       alone ? "a second pair"
                             : "no scene without a pair has the list of the prompt, of those",
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
    *id = 0;
    if (text == NULL)
        return UM_OK; /* the bare behaviour */
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
        (status = split_answer(row, 0, where, &texts[0], &letters[0], err)) != UM_OK ||
        (status = split_answer(row, 1, where, &texts[1], &letters[1], err)) != UM_OK ||
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
    uint32_t id = (uint32_t)row->id, first = id;
    bool is_new;
    if (key == NULL || !um_map_put(&im->scenes, key, id, &is_new))
        return um_fail_memory(err, "import");
    im->same_key[id] = NO_SCENE;
    if (!is_new && um_map_get(&im->scenes, key, &first)) {
        im->same_key[id] = im->same_key[first];
        im->same_key[first] = id;
    }
    return UM_OK;
}

/* The file of pairs in a folder that export made; yours. */
static um_status pairs_file(const char *path, char **out, um_error *err)
{
    static const char *const names[] = {UM_PAIRS_FILE, UM_HF_PAIRS_FILE};
    um_status status = UM_OK;
    *out = NULL;
    if (!um_path_is_dir(path)) {
        *out = um_strdup(path);
        return *out != NULL ? UM_OK : um_fail_memory(err, "path");
    }
    for (size_t i = 0; i < sizeof names / sizeof *names && status == UM_OK; i++) {
        status = um_path_join(out, path, names[i], err);
        if (status == UM_OK && um_path_exists(*out))
            return UM_OK;
        free(*out);
        *out = NULL;
    }
    return status != UM_OK ? status
                           : um_fail(err, UM_ERR_NOT_FOUND,
                                     "import: folder '%s' holds neither " UM_PAIRS_FILE
                                     " nor " UM_HF_PAIRS_FILE,
                                     path);
}

um_status um_import_pairs(um_session *s, const char *given, um_error *err)
{
    char *path = NULL;
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
        status = pairs_file(given, &path, err);
    if (status == UM_OK)
        status = um_session_scenes(s, &set, err);
    if (status == UM_OK)
        status = um_workspace_begin(s->ws, err);
    if (status != UM_OK) {
        free(path);
        return status;
    }
    im.has_pair = um_calloc(set->n, sizeof *im.has_pair);
    im.same_key = um_calloc(set->n, sizeof *im.same_key);
    if (im.has_pair == NULL || im.same_key == NULL)
        status = um_fail_memory(err, "import");
    if (status == UM_OK &&
        (status = um_workspace_model_id(&im.model_id, s->ws, &model, err)) == UM_OK &&
        (status = um_workspace_scenes(s->ws, NULL, index_scene, &im, err)) == UM_OK &&
        (status = um_run_begin(&run, s, "distill", "", "scenes", um_hash_str(path, 0), err)) ==
            UM_OK)
        status = um_jsonl_import(path, import_pair, &im, err);
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
    free(im.same_key);
    free(path);
    return status;
}
