/* show.c - one scene as the models see it, and what they do not see of it. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "stage/session.h"

static json_t *strings(char *const *texts, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(texts[i]));
    return list;
}

static json_t *time_text(int64_t time_s)
{
    char text[32];
    um_time_format(time_s, text);
    return json_string(text);
}

/* Imported scenes are known by their lists and texts only. */
static bool has_log(const um_dataset *d)
{
    return d->n_interactions > 0 || d->n_skips > 0;
}

static void add_list(json_t *object, const um_dataset *d, const um_scene *scene)
{
    json_t *items = json_array(), *sources = json_array(), *truth = json_array();
    bool known = has_log(d);

    for (uint32_t i = 0; i < scene->k; i++) {
        bool none = scene->items[i] == UM_SCENE_NONE;
        json_array_append_new(items,
                              none ? json_null() : json_string(d->items.ids[scene->items[i]]));
        json_array_append_new(sources,
                              json_string(i == scene->target ? "target"
                                          : none             ? "none"
                                          : scene->sources[i] < UM_SOURCE_COUNT
                                              ? um_source_name((um_source)scene->sources[i])
                                          : known ? "logged"
                                                  : "unknown"));
        if (scene->truth != NULL)
            json_array_append_new(truth, um_json_rounded(scene->truth[i]));
    }
    json_object_set_new(object, "impression_list", items);
    json_object_set_new(object, "sources", sources);
    json_object_set_new(object, "truth", scene->truth != NULL ? json_incref(truth) : json_null());
    json_decref(truth);
}

/* The rows of the log behind the scene's history, oldest first. */
static json_t *history_json(const um_dataset *d, const um_scene *scene)
{
    json_t *list = json_array();
    for (uint32_t h = 0; h < scene->n_history; h++) {
        json_t *row = json_object();
        json_object_set_new(row, "item_id", json_string(d->items.ids[d->item[scene->history[h]]]));
        json_object_set_new(row, "timestamp", time_text(d->time_s[scene->history[h]]));
        json_array_append_new(list, row);
    }
    return list;
}

static um_status add_chat(um_session *s, json_t *object, const um_message messages[2],
                          um_error *err)
{
    const um_tokenizer *tokenizer = NULL;
    um_tokens ids = {0};
    char *text = NULL;
    um_status status = um_session_tokenizer_if_any(s, &tokenizer, err);

    json_object_set_new(object, "chat", json_null());
    if (status != UM_OK || tokenizer == NULL)
        return status;
    status =
        um_chat_encode_prompt(tokenizer, um_chat_detect(tokenizer), messages, 2, NULL, &ids, err);
    if (status == UM_OK)
        status = um_tokenizer_decode(tokenizer, ids.ids, ids.len, false, &text, NULL, err);
    if (status == UM_OK) {
        json_t *chat = json_object();
        json_object_set_new(chat, "text", json_string(text));
        json_object_set_new(chat, "tokens", json_integer((json_int_t)ids.len));
        json_object_set_new(object, "chat", chat);
    }
    um_tokens_dispose(&ids);
    free(text);
    return status;
}

static um_status scene_json(um_session *s, const um_scene *scene, bool chat, json_t *object,
                            um_error *err)
{
    const um_dataset *d = s->dataset;
    const um_prompt_form *form;
    char *user = NULL;
    um_row_scene row;
    um_status status = um_workspace_get_scene(&row, s->ws, scene->id, err);

    if (status != UM_OK || (status = um_session_form(s, &form, err)) != UM_OK ||
        (status = um_prompt_form_user(form, scene, &user, err)) != UM_OK)
        return status;
    const um_message messages[2] = {{"system", um_prompt_form_system(form)}, {"user", user}};
    json_t *text = json_object(), *prompt = json_object();
    uint32_t target = scene->items[scene->target];

    json_object_set_new(object, "scene", json_integer((json_int_t)scene->id));
    json_object_set_new(object, "scenes", json_integer((json_int_t)s->scenes->n));
    json_object_set_new(object, "split", json_string(um_split_name(scene->split)));
    json_object_set_new(object, "dataset", json_string(row.dataset));
    json_object_set_new(object, "user_id", json_string(row.user_id));
    json_object_set_new(object, "item_id",
                        target == UM_SCENE_NONE ? json_null() : json_string(d->items.ids[target]));
    json_object_set_new(object, "timestamp", time_text(scene->time_s));
    json_object_set_new(object, "order_id",
                        has_log(d) ? json_integer(scene->order_id) : json_null());
    json_object_set_new(object, "item_pos", json_integer(scene->target));
    json_object_set_new(object, "choice_cnt", json_integer(scene->k));
    add_list(object, d, scene);
    json_object_set_new(object, "accident", json_boolean(scene->accident));
    json_object_set_new(object, "history", has_log(d) ? history_json(d, scene) : json_null());
    json_object_set_new(text, "profile", json_string(scene->profile));
    json_object_set_new(text, "history", json_string(scene->history_text));
    json_object_set_new(text, "action_list", strings(scene->actions, scene->k));
    json_object_set_new(object, "text", text);
    json_object_set_new(prompt, "system", json_string(messages[0].content));
    json_object_set_new(prompt, "user", json_string(user));
    json_object_set_new(object, "prompt", prompt);
    if (chat)
        status = add_chat(s, object, messages, err);
    free(user);
    return status;
}

um_status um_session_scene(um_session *s, uint64_t id, bool chat, char **json, um_error *err)
{
    const um_scene_set *set;
    json_t *object = NULL;
    um_str text = UM_STR_INIT;
    um_status status = um_session_scenes(s, &set, err);

    if (status != UM_OK)
        return status;
    if (id >= set->n)
        return um_fail(err, UM_ERR_NOT_FOUND,
                       "scene %llu does not exist; the workspace has scenes 0 to %zu",
                       (unsigned long long)id, set->n - 1);
    object = json_object();
    status = scene_json(s, &set->scenes[id], chat, object, err);
    um_json_dump(&text, object);
    if (status == UM_OK)
        status = um_str_take(&text, json, err);
    um_str_dispose(&text);
    json_decref(object);
    return status;
}
