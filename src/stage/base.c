/*
 * base.c - the embedded student: a tokenizer trained on the workspace's own text, a small model,
 * and its first training.
 *
 * A language model that is downloaded can read; this one is taught to: short lists are gone through
 * for tastes that are stated. Then it meets base scenes: their text with the logged behaviour bare,
 * and the logged behaviour at the end of decision processes that an untutored writer made up. So it
 * speaks the language, but what a history says about its user is for distillation to add.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"
#include "stage/training.h"

#define SAMPLE_SCENES      2000 /* scenes whose text the tokenizer is trained on, at most */
#define DIRECT_EVERY       8
#define PRACTICE_MAX_ITEMS 5
#define PRACTICE_IDS       ((uint64_t)1 << 32) /* first row id of practice; scenes are below */

static const char *const special_tokens[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};

/* Texts of the untutored writer, collected per scene. */
typedef struct collected {
    char **texts; /* [n * samples] */
    uint32_t samples;
} collected;

static um_status collect(void *context, const um_completion *c, um_error *err)
{
    collected *all = context;
    um_str text = UM_STR_INIT;
    char **slot = &all->texts[c->prompt * all->samples + c->sample];
    um_str_append(&text, c->text);
    um_status status = um_str_take(&text, slot, err);
    if (status == UM_OK)
        um_process_trim(*slot);
    return status;
}

static um_status write_untutored(um_session *s, const um_scene_prompts *prompts, collected *all,
                                 um_error *err)
{
    const um_choice_model *choice;
    um_responder *writer = NULL;
    um_sampling sampling = {.seed = s->config->seed};
    um_status status = um_session_choice(s, &choice, err);

    if (status == UM_OK)
        status = um_choice_responder_open(&writer, choice, s->scenes, UM_VOICE_UNTUTORED, err);
    if (status == UM_OK && all->samples > 0)
        status = writer->ops->complete(writer, prompts->prompts, prompts->n, 0, all->samples,
                                       &sampling, NULL, 0, collect, all, s->monitor, err);
    um_responder_free(writer);
    return status;
}

static um_status add_text(um_tokenizer_trainer *trainer, const char *text, um_error *err)
{
    return um_tokenizer_trainer_add(trainer, text, strlen(text), err);
}

static um_status train_tokenizer(um_session *s, const um_scene_prompts *prompts,
                                 const collected *all, const char *dir, um_error *err)
{
    um_tokenizer_trainer *trainer = NULL;
    um_tokenizer *tok = NULL;
    um_status status = um_tokenizer_trainer_new(&trainer, err);

    for (size_t i = 0; i < prompts->n && i < SAMPLE_SCENES && status == UM_OK; i++) {
        status = add_text(trainer, prompts->prompts[i].messages[0].content, err);
        if (status == UM_OK)
            status = add_text(trainer, prompts->prompts[i].messages[1].content, err);
        for (uint32_t j = 0; j < all->samples && status == UM_OK; j++)
            status = add_text(trainer, all->texts[i * all->samples + j], err);
    }
    if (status == UM_OK)
        status = add_text(trainer, "assistant system user\n" UM_PROCESS_OPENING UM_PROCESS_BEHAVIOR,
                          err);
    if (status == UM_OK)
        status = um_tokenizer_train(&tok, trainer, (int)s->config->student.vocab, special_tokens, 3,
                                    s->monitor, err);
    if (status == UM_OK)
        status = um_tokenizer_save(tok, dir, err);
    um_tokenizer_free(tok);
    um_tokenizer_trainer_free(trainer);
    return status;
}

static um_status init_model(um_session *s, const um_tokenizer *tok, um_model **out, um_error *err)
{
    const um_config *c = s->config;
    um_model_config shape;
    um_config_student_shape(c, um_tokenizer_size(tok), um_tokenizer_find(tok, "<|im_end|>"),
                            &shape);
    um_status status = um_model_config_check(&shape, err);
    if (status == UM_OK)
        status = um_model_init(out, &shape, (float)c->student.init_std,
                               (float)c->student.embedding_std, c->seed, err);
    return status;
}

/* One base scene in DIRECT_EVERY gives its own text and the bare behaviour, the others an untutored
 * decision process. */
static um_status add_base_rows(um_session *s, const um_tokenizer *tok, const collected *all,
                               const uint64_t *ids, size_t n, um_row_set *set, um_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const um_scene *scene = &s->scenes->scenes[ids[i]];
        um_answer answer = {NULL, scene->target};
        um_status status = UM_OK;
        if (scene->split != UM_SPLIT_BASE)
            continue;
        if (i % DIRECT_EVERY == 0) {
            status = um_row_set_add(set, s, tok, scene, &answer, 1, true, err);
        } else {
            for (uint32_t j = 0; j < all->samples && status == UM_OK; j++) {
                answer.process = all->texts[i * all->samples + j];
                status = um_row_set_add(set, s, tok, scene, &answer, 1, false, err);
            }
        }
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

/* Some of the items of some scene, in their order: a list with no user before it. */
static void practice_list(const um_scene *from, uint64_t seed, uint64_t number, um_scene *out,
                          uint32_t *items, char **actions)
{
    um_rng rng;
    um_rng_init(&rng, seed, UM_RNG_SHUFFLE, number, 1, 0);
    uint32_t top = from->k < PRACTICE_MAX_ITEMS ? from->k : PRACTICE_MAX_ITEMS;
    uint32_t want = 2 + um_rng_below(&rng, top - 1), n = 0;
    for (uint32_t i = 0; i < from->k && n < want; i++) {
        if (um_rng_below(&rng, from->k - i) < want - n) { /* selection sampling: keeps the order */
            items[n] = from->items[i];
            actions[n++] = from->actions[i];
        }
    }
    *out =
        (um_scene){.k = n, .items = items, .actions = actions, .profile = "", .history_text = ""};
}

static um_status add_practice_row(um_session *s, const um_tokenizer *tok, const um_scene *from,
                                  uint64_t number, um_row_set *set, um_error *err)
{
    um_scene list;
    uint32_t items[UM_SCENE_MAX_ITEMS];
    char *actions[UM_SCENE_MAX_ITEMS], *text = NULL, *prompt = NULL;
    um_answer answer = {NULL, 0};

    practice_list(from, s->config->seed, number, &list, items, actions);
    um_status status =
        um_choice_practice(s->choice, &list, s->config->seed, number, &text, &answer.letter, err);
    if (status == UM_OK)
        status = um_prompt_form_reading(s->form, &list, &prompt, err);
    answer.process = text;
    um_message message = {"user", prompt};
    if (status == UM_OK)
        status = um_row_set_add_messages(set, tok, number, &message, 1, &answer, 1, false, err);
    free(text);
    free(prompt);
    return status;
}

static um_status add_practice(um_session *s, const um_tokenizer *tok, const uint64_t *ids, size_t n,
                              um_row_set *set, um_error *err)
{
    um_status status = UM_OK;
    for (int64_t i = 0; i < s->config->base_practice && status == UM_OK; i++) {
        const um_scene *from = &s->scenes->scenes[ids[(size_t)i % n]];
        status = add_practice_row(s, tok, from, PRACTICE_IDS + (uint64_t)i, set, err);
    }
    return status;
}

/* Base and train scenes: the text of the tokenizer; base scenes come first. */
static uint64_t *training_scenes(const um_scene_set *set, size_t *n)
{
    uint64_t *ids = um_calloc(set->n, sizeof *ids);
    *n = 0;
    for (size_t i = 0; ids != NULL && i < set->n; i++) {
        if (set->scenes[i].split != UM_SPLIT_EVAL)
            ids[(*n)++] = i;
    }
    return ids;
}

/* Before any work: practice needs its own prompt. */
static um_status check_reading(um_session *s, const um_scene *scene, um_error *err)
{
    const um_prompt_form *form;
    char *text = NULL;
    um_status status = um_session_form(s, &form, err);
    if (status == UM_OK && s->config->base_practice > 0) {
        status = um_prompt_form_reading(form, scene, &text, err);
        if (status == UM_ERR_NOT_FOUND)
            status = um_fail(err, UM_ERR_STATE,
                             "train base: prompt.form '%s' has no text `reading`, "
                             "which base.practice needs; set base.practice to 0",
                             s->config->prompt.form);
    }
    free(text);
    return status;
}

static um_status make_student(um_run *run, um_error *err)
{
    um_session *s = run->session;
    um_training what = {"base", "base", "base", &s->config->base, false, 0, 0};
    collected all = {.samples = (uint32_t)s->config->base_processes};
    um_scene_prompts prompts = {0};
    um_row_set set = {0};
    um_model *model = NULL;
    const um_tokenizer *tok;
    char *dir = NULL, *tokenizer = NULL;
    const um_scene_set *scenes;
    size_t n = 0;
    uint64_t *ids = NULL;
    um_status status;

    if ((status = um_session_scenes(s, &scenes, err)) != UM_OK ||
        (status = um_session_model_dir(s, "base", &dir, err)) != UM_OK ||
        (status = um_path_make_dirs(dir, err)) != UM_OK ||
        (status = um_path_join(&tokenizer, dir, "tokenizer.json", err)) != UM_OK)
        goto done;
    ids = training_scenes(scenes, &n);
    all.texts = um_calloc(n * all.samples, sizeof *all.texts);
    if (ids == NULL || all.texts == NULL) {
        status = um_fail_memory(err, "scenes");
        goto done;
    }
    if (scenes->n_split[UM_SPLIT_BASE] == 0) {
        status = um_fail(err, UM_ERR_STATE,
                         "train base: there are no base scenes; set scenes.base, or "
                         "give a student with student.path");
        goto done;
    }
    if ((status = check_reading(s, &scenes->scenes[ids[0]], err)) != UM_OK ||
        (status = um_scene_prompts_make(&prompts, s, ids, n, NULL, err)) != UM_OK ||
        (status = write_untutored(s, &prompts, &all, err)) != UM_OK)
        goto done;
    if (run->fresh || !um_path_exists(tokenizer)) {
        um_monitor_message(s->monitor, "%s: training its tokenizer", run->info->title);
        if ((status = train_tokenizer(s, &prompts, &all, dir, err)) != UM_OK)
            goto done;
    }
    if ((status = um_session_tokenizer(s, &tok, err)) != UM_OK ||
        (status = init_model(s, tok, &model, err)) != UM_OK ||
        (status = add_practice(s, tok, ids, n, &set, err)) != UM_OK ||
        (status = add_base_rows(s, tok, &all, ids, n, &set, err)) != UM_OK)
        goto done;
    json_object_set_new(run->detail, "parameters",
                        json_integer((json_int_t)um_model_parameters(model)));
    json_object_set_new(run->detail, "vocab", json_integer(um_tokenizer_size(tok)));
    status = um_training_run(run, &what, model, &set, err);
done:
    for (size_t i = 0; all.texts != NULL && i < n * all.samples; i++)
        free(all.texts[i]);
    free(all.texts);
    um_scene_prompts_dispose(&prompts);
    um_row_set_dispose(&set);
    um_model_free(model);
    free(ids);
    free(dir);
    free(tokenizer);
    return status;
}

um_status um_stage_base(um_session *s, um_error *err)
{
    um_run run = {0};
    const char *given = s->config->student.path;
    um_status status = um_training_check("base", &s->config->base, err);
    if (status == UM_OK)
        status = um_run_begin(&run, s, "base", "seed student. chat. base. prompt. decide.ridge",
                              "scenes", given[0] != '\0' ? um_path_hash(given) : 0, err);

    if (status == UM_OK && !run.finished_before) {
        if (s->config->student.path[0] != '\0') { /* given: nothing to make */
            um_model_config shape;
            run.done = run.total = 0;
            status = um_model_config_read(&shape, s->config->student.path, err);
            if (status == UM_OK)
                status = um_run_save(&run, true, err);
        } else {
            status = make_student(&run, err);
        }
    }
    um_run_dispose(&run);
    return status;
}
