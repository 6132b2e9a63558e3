/*
 * export_pairs.c - preference pairs, and the rows of supervised fine-tuning made of their chosen
 * answers, in the forms that trainers read. docs/FORMATS.md, "Pairs", lists them.
 *
 * Every form but trl-messages carries the keys that name the scene, so that it can be imported.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "stage/exchange.h"

/* One pair with all its texts. */
typedef struct pair_text {
    const um_row_scene *scene;
    const char *system, *user;
    const char *answers[2]; /* chosen, rejected: whole messages of the assistant */
    uint32_t letters[2];
} pair_text;

typedef void (*append_row)(um_str *out, const pair_text *pair);

typedef struct format {
    const char *name;
    bool folder;
    const char *files[2]; /* a folder's files of pairs and SFT rows */
    append_row rows[2];   /* the same; of a file only one is there */
} format;

static void append_key(um_str *out, const char *before, const char *key, const char *value)
{
    um_str_appendf(out, "%s\"%s\":", before, key);
    um_str_append_json(out, value);
}

/* The keys that name the scene. */
static void append_place(um_str *out, const um_row_scene *scene)
{
    char time[32];
    um_time_format(scene->timestamp_s, time);
    append_key(out, "", "dataset", scene->dataset);
    append_key(out, ",", "user_id", scene->user_id);
    append_key(out, ",", "item_id", scene->item_id);
    append_key(out, ",", "timestamp", time);
}

static void append_message(um_str *out, const char *role, const char *content)
{
    append_key(out, "{", "role", role);
    append_key(out, ",", "content", content);
    um_str_append(out, "}");
}

/* [system, user], and the answer unless it is NULL. */
static void append_messages(um_str *out, const pair_text *pair, const char *answer)
{
    um_str_append(out, "[");
    append_message(out, "system", pair->system);
    um_str_append(out, ",");
    append_message(out, "user", pair->user);
    if (answer != NULL) {
        um_str_append(out, ",");
        append_message(out, "assistant", answer);
    }
    um_str_append(out, "]");
}

static void usermirrorer_row(um_str *out, const pair_text *pair)
{
    um_str_append(out, "{");
    append_place(out, pair->scene);
    um_str_append(out, ",\"messages_chosen\":");
    append_messages(out, pair, pair->answers[0]);
    um_str_append(out, ",\"messages_rejected\":");
    append_messages(out, pair, pair->answers[1]);
    um_str_appendf(out, ",\"behavior_chosen\":\"%c\",\"behavior_rejected\":\"%c\"}",
                   'A' + (int)pair->letters[0], 'A' + (int)pair->letters[1]);
}

static void trl_row(um_str *out, const pair_text *pair)
{
    static const char *const keys[] = {"chosen", "rejected"};
    um_str_append(out, "{\"prompt\":");
    append_messages(out, pair, NULL);
    for (int i = 0; i < 2; i++) {
        um_str_appendf(out, ",\"%s\":[", keys[i]);
        append_message(out, "assistant", pair->answers[i]);
        um_str_append(out, "]");
    }
    um_str_append(out, ",");
    append_place(out, pair->scene);
    um_str_append(out, "}");
}

static void messages_row(um_str *out, const pair_text *pair)
{
    um_str_append(out, "{\"messages\":");
    append_messages(out, pair, pair->answers[0]);
    um_str_append(out, ",");
    append_place(out, pair->scene);
    um_str_append(out, "}");
}

/* Whole conversations under chosen and rejected. */
static void torchtune_row(um_str *out, const pair_text *pair)
{
    um_str_append(out, "{\"chosen\":");
    append_messages(out, pair, pair->answers[0]);
    um_str_append(out, ",\"rejected\":");
    append_messages(out, pair, pair->answers[1]);
    um_str_append(out, ",");
    append_place(out, pair->scene);
    um_str_append(out, "}");
}

static void append_turn(um_str *out, const char *from, const char *value)
{
    append_key(out, "{", "from", from);
    append_key(out, ",", "value", value);
    um_str_append(out, "}");
}

static void llamafactory_row(um_str *out, const pair_text *pair)
{
    um_str_append(out, "{\"conversations\":[");
    append_turn(out, "human", pair->user);
    um_str_append(out, "],\"chosen\":");
    append_turn(out, "gpt", pair->answers[0]);
    um_str_append(out, ",\"rejected\":");
    append_turn(out, "gpt", pair->answers[1]);
    append_key(out, ",", "system", pair->system);
    um_str_append(out, ",");
    append_place(out, pair->scene);
    um_str_append(out, "}");
}

static void llamafactory_sft_row(um_str *out, const pair_text *pair)
{
    um_str_append(out, "{\"conversations\":[");
    append_turn(out, "human", pair->user);
    um_str_append(out, ",");
    append_turn(out, "gpt", pair->answers[0]);
    um_str_append(out, "]");
    append_key(out, ",", "system", pair->system);
    um_str_append(out, "}");
}

static const format formats[] = {
    {"usermirrorer", false, {NULL, NULL}, {usermirrorer_row, NULL}},
    {"trl", false, {NULL, NULL}, {trl_row, NULL}},
    {"trl-messages", false, {NULL, NULL}, {NULL, messages_row}},
    {"torchtune", true, {UM_PAIRS_FILE, UM_SFT_FILE}, {torchtune_row, messages_row}},
    {"llamafactory", true, {UM_PAIRS_FILE, UM_SFT_FILE}, {llamafactory_row, llamafactory_sft_row}},
    {"hf", true, {UM_HF_PAIRS_FILE, UM_HF_SFT_FILE}, {trl_row, messages_row}},
};

/* Rows -----------------------------------------------------------------------------------------
 */

typedef struct exporter {
    um_session *s;
    const format *format;
    um_jsonl_out outs[2]; /* pairs, SFT rows */
    uint64_t n;
} exporter;

/* The assistant's message: decision process and behaviour; the behaviour alone for decision 0. */
static um_status make_answer(um_session *s, uint64_t decision_id, uint32_t letter, char **out,
                             um_error *err)
{
    um_row_decision decision;
    um_str text = UM_STR_INIT;
    um_status status = UM_OK;
    if (decision_id != 0) {
        status = um_workspace_get_decision(&decision, s->ws, decision_id, err);
        if (status == UM_OK)
            um_str_appendf(&text, "%s\n", decision.text);
    }
    um_str_appendf(&text, UM_PROCESS_BEHAVIOR "%c]", 'A' + (int)letter);
    if (status == UM_OK)
        status = um_str_take(&text, out, err);
    um_str_dispose(&text);
    return status;
}

static um_status export_pair(void *context, const um_row_pair *row, um_error *err)
{
    exporter *e = context;
    const um_scene *scene = &e->s->scenes->scenes[row->scene_id];
    char *user = NULL, *answers[2] = {NULL, NULL};
    um_row_scene scene_row;
    um_status status;

    if ((status = um_workspace_get_scene(&scene_row, e->s->ws, row->scene_id, err)) != UM_OK ||
        (status = um_prompt_form_user(e->s->form, scene, &user, err)) != UM_OK ||
        (status = make_answer(e->s, row->chosen_decision, row->chosen_letter, &answers[0], err)) !=
            UM_OK ||
        (status = make_answer(e->s, row->rejected_decision, row->rejected_letter, &answers[1],
                              err)) != UM_OK)
        goto done;
    const pair_text pair = {.scene = &scene_row,
                            .system = um_prompt_form_system(e->s->form),
                            .user = user,
                            .answers = {answers[0], answers[1]},
                            .letters = {row->chosen_letter, row->rejected_letter}};
    for (int i = 0; i < 2 && status == UM_OK; i++) {
        if (e->format->rows[i] == NULL)
            continue;
        e->format->rows[i](&e->outs[i].line, &pair);
        status = um_jsonl_write(&e->outs[i], err);
    }
    e->n++;
done:
    free(user);
    free(answers[0]);
    free(answers[1]);
    return status;
}

/* Opens the file, or those of the folder, made with what folders they stand in. */
static um_status open_outs(exporter *e, const char *path, um_error *err)
{
    um_status status = UM_OK;
    for (int i = 0; i < 2 && status == UM_OK; i++) {
        char *name = NULL;
        if (e->format->rows[i] == NULL)
            continue;
        if (e->format->folder)
            status = um_path_join(&name, path, e->format->files[i], err);
        if (status == UM_OK && name != NULL) {
            char *dir = um_strndup(name, (size_t)(um_path_base(name) - name));
            status = dir != NULL ? um_path_make_dirs(dir, err) : um_fail_memory(err, "path");
            free(dir);
        }
        if (status == UM_OK)
            status = um_outfile_open(&e->outs[i].file, name != NULL ? name : path, err);
        free(name);
    }
    return status;
}

static um_status find_format(const char *name, const format **out, um_error *err)
{
    const char *names[sizeof formats / sizeof *formats];
    um_str all = UM_STR_INIT;
    *out = NULL;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        names[i] = formats[i].name;
        um_str_appendf(&all, "%s%s", i > 0 ? ", " : "", names[i]);
        if (name == NULL ? i == 0 : strcmp(name, names[i]) == 0)
            *out = &formats[i];
    }
    um_status status = *out != NULL
                           ? UM_OK
                           : um_fail(err, UM_ERR_INPUT, "export: format '%s' is unknown; one of %s",
                                     name, um_str_text(&all));
    um_str_dispose(&all);
    return status;
}

um_status um_session_export_pairs(um_session *s, const char *format_name, const char *path,
                                  um_error *err)
{
    exporter e = {.s = s};
    const um_scene_set *set;
    const um_prompt_form *form;
    um_workspace_counts counts;
    um_status status;

    if ((status = find_format(format_name, &e.format, err)) != UM_OK ||
        (status = um_workspace_count(&counts, s->ws, err)) != UM_OK)
        return status;
    if (counts.pairs == 0)
        return um_fail(err, UM_ERR_STATE,
                       "export: workspace '%s' has no pairs; run `mirrorer distill` first",
                       um_workspace_path(s->ws));
    if ((status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = um_session_form(s, &form, err)) != UM_OK ||
        (status = open_outs(&e, path, err)) != UM_OK)
        goto done;
    status = um_workspace_pairs(s->ws, export_pair, &e, err);
    for (int i = 0; i < 2 && status == UM_OK; i++) {
        if (e.format->rows[i] != NULL)
            status = um_outfile_commit(&e.outs[i].file, err);
    }
    if (status == UM_OK && strcmp(e.format->name, "torchtune") == 0)
        status = um_write_torchtune(path, err);
    if (status == UM_OK && strcmp(e.format->name, "llamafactory") == 0)
        status = um_write_llamafactory(path, err);
    if (status == UM_OK && strcmp(e.format->name, "hf") == 0)
        status = um_write_card(s, path, e.n, err);
done:
    for (int i = 0; i < 2; i++)
        um_jsonl_out_dispose(&e.outs[i]);
    return status;
}
