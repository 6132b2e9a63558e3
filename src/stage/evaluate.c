/*
 * evaluate.c - every row of the table predicts every evaluation scene.
 *
 * Rows without decision processes give one distribution. Rows with them write `repeats` processes,
 * score each with the same model, and give the mean. A row's scene is stored when it is whole.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/rows.h"
#include "stage/session.h"

#define MAX_SLICE 128  /* scenes between two commits of a model's row, at most */
#define SLICE_MS  4000 /* and about so long, so that a stop costs little */

static const um_eval_row rows[] = {
    {"uniform", UM_ROW_UNIFORM, NULL, "a uniform guess"},
    {"popularity", UM_ROW_POPULARITY, NULL, "what training users chose most so far"},
    {"spectral", UM_ROW_SPECTRAL, NULL, "collaborative filter (GF-CF) of training users' choices"},
    {"content", UM_ROW_CONTENT, NULL, "likeness of texts (TF-IDF) to what the user chose before"},
    {"choice_model", UM_ROW_CHOICE, NULL, "multinomial logit fitted on the log (the teacher)"},
    {"true_model", UM_ROW_TRUTH, NULL, "the world's own probabilities: nothing can do better"},
    {"weak_direct", UM_ROW_DIRECT, "base", "student before training, asked for the letter at once"},
    {"weak", UM_ROW_PROCESS, "base", "student before training, with decision processes"},
    {"direct_sft", UM_ROW_DIRECT, "direct_sft", "student fine-tuned on raw behaviours"},
    {"sft", UM_ROW_PROCESS, "sft", "student fine-tuned on chosen decision processes"},
    {"sft_dpo", UM_ROW_PROCESS, "sft_dpo", "the same, then preference-optimised: the simulator"},
    {NULL, UM_ROW_UNIFORM, NULL, NULL},
};

const um_eval_row *um_eval_rows(void)
{
    return rows;
}

typedef struct evaluation {
    um_session *s;
    um_run *run;
    const um_eval_row *row;
    UM_VEC(uint64_t) ids; /* scenes still to do */
    uint32_t repeats;
    uint64_t model_id;
    /* Of the current slice: */
    const uint64_t *slice;
    char **texts;            /* [n * repeats] texts to score */
    double *mean;            /* [n, UM_SCENE_MAX_ITEMS] */
    size_t asked[MAX_SLICE]; /* scene of the slice that each letter query is about */
} evaluation;

static um_status add_scene(void *context, const um_row_scene *row, um_error *err)
{
    evaluation *e = context;
    return um_vec_push(&e->ids, row->id) ? UM_OK : um_fail_memory(err, "scenes");
}

static um_status put(evaluation *e, uint64_t scene, const double *p, uint32_t repeats,
                     um_error *err)
{
    um_row_evaluation row = {scene, e->row->name, e->s->scenes->scenes[scene].k, p, repeats};
    return um_workspace_put_evaluation(e->s->ws, &row, err);
}

/* A uniform guess among the items; the action "none of these" gets its share in training. */
static void guess_uniformly(const um_scene *scene, double none_share, double *p)
{
    uint32_t n_items = scene->k - (scene->items[scene->k - 1] == UM_SCENE_NONE);
    double share = n_items < scene->k ? 1.0 - none_share : 1.0;
    for (uint32_t j = 0; j < n_items; j++)
        p[j] = share / n_items;
    if (n_items < scene->k)
        p[n_items] = none_share;
}

/* The baseline of a row that is one; else *out stays NULL. */
static um_status fit_similarity(um_similarity **out, const evaluation *e, um_error *err)
{
    const um_config *c = e->s->config;
    bool spectral = e->row->kind == UM_ROW_SPECTRAL;

    *out = NULL;
    if (!spectral && e->row->kind != UM_ROW_CONTENT)
        return UM_OK;
    return um_similarity_fit(
        out, spectral ? UM_SIMILARITY_SPECTRAL : UM_SIMILARITY_CONTENT, e->s->dataset, e->s->scenes,
        (uint32_t)(spectral ? c->scenes.spectral_rank : c->scenes.content_rank), c->seed,
        (int)c->threads, err);
}

/* Rows that no language model is asked for. */
static um_status plain_row(evaluation *e, um_error *err)
{
    um_session *s = e->s;
    const um_choice_model *choice = NULL;
    um_similarity *similarity = NULL;
    double p[UM_SCENE_MAX_ITEMS], none_share = um_scene_none_share(s->scenes);
    um_status status = UM_OK;

    if (e->row->kind == UM_ROW_CHOICE || e->row->kind == UM_ROW_POPULARITY)
        status = um_session_choice(s, &choice, err);
    if (status == UM_OK)
        status = fit_similarity(&similarity, e, err);
    if (status == UM_OK)
        status = um_workspace_begin(s->ws, err);
    for (size_t i = 0; i < e->ids.len && status == UM_OK; i++) {
        const um_scene *scene = &s->scenes->scenes[e->ids.data[i]];
        if (e->row->kind == UM_ROW_POPULARITY)
            status = um_choice_popularity(choice, scene, p, err);
        else if (e->row->kind == UM_ROW_CHOICE)
            status = um_choice_probabilities(choice, scene, p, err);
        else if (similarity != NULL)
            status = um_similarity_probabilities(similarity, scene, p, err);
        if (e->row->kind == UM_ROW_UNIFORM)
            guess_uniformly(scene, none_share, p);
        if (e->row->kind == UM_ROW_TRUTH)
            memcpy(p, scene->truth, scene->k * sizeof *p);
        if (status == UM_OK)
            status = put(e, scene->id, p, 1, err);
        um_run_progress(e->run, e->run->done + 1, e->row->name);
    }
    if (status == UM_OK)
        status = um_run_save(e->run, false, err);
    if (status == UM_OK)
        status = um_workspace_commit(s->ws, err);
    if (status != UM_OK)
        um_workspace_rollback(s->ws);
    um_similarity_free(similarity);
    return status;
}

static um_status on_completion(void *context, const um_completion *c, um_error *err)
{
    evaluation *e = context;
    um_str text = UM_STR_INIT;
    um_str_append(&text, UM_PROCESS_OPENING);
    um_str_append(&text, c->text);
    char *process = NULL;
    um_status status = um_str_take(&text, &process, err);
    if (status != UM_OK)
        return status;
    um_process_trim(process);
    um_process parsed;
    um_process_fault fault = c->finish == UM_FINISH_LENGTH
                                 ? UM_PROCESS_TRUNCATED
                                 : um_process_parse(&parsed, process, NULL, 0);
    um_row_decision row = {.scene_id = e->slice[c->prompt],
                           .model_id = e->model_id,
                           .role = UM_ROLE_EVAL,
                           .sample = c->sample,
                           .text = process,
                           .finish = c->finish == UM_FINISH_LENGTH ? "length" : "stop",
                           .tokens = c->tokens,
                           .form_error =
                               fault != UM_PROCESS_GOOD ? um_process_fault_name(fault) : NULL};
    status = um_workspace_put_decision(e->s->ws, &row, err);
    um_str_appendf(&text, "%s\n" UM_PROCESS_BEHAVIOR, process);
    free(process);
    if (status == UM_OK)
        status = um_str_take(&text, &e->texts[c->prompt * e->repeats + c->sample], err);
    um_str_dispose(&text);
    return status;
}

static um_status on_letters(void *context, size_t query, size_t text, const double *p,
                            um_error *err)
{
    evaluation *e = context;
    size_t i = e->asked[query];
    uint32_t k = e->s->scenes->scenes[e->slice[i]].k;
    double *mean = e->mean + i * UM_SCENE_MAX_ITEMS;
    (void)text;
    (void)err;
    for (uint32_t j = 0; j < k; j++)
        mean[j] += p[j] / e->repeats;
    return UM_OK;
}

/* Moves the texts of scene i that the model can hold to the front. A text can grow when it is
 * tokenised anew; one that no longer fits counts as a uniform guess. */
static um_status keep_fitting(evaluation *e, um_responder *model, const um_prompt *prompt, size_t i,
                              uint32_t *fitting, um_error *err)
{
    char **texts = e->texts + i * e->repeats;
    double *mean = e->mean + i * UM_SCENE_MAX_ITEMS;

    *fitting = 0;
    for (uint32_t r = 0; r < e->repeats; r++) {
        char *text = texts[r];
        bool fits;
        um_status status = um_actor_fits(model, prompt, text, 0, &fits, err);
        if (status != UM_OK)
            return status;
        if (fits) {
            texts[r] = texts[*fitting];
            texts[(*fitting)++] = text;
        } else {
            for (uint32_t j = 0; j < prompt->k; j++)
                mean[j] += 1.0 / prompt->k / e->repeats;
        }
    }
    return UM_OK;
}

/* One slice of scenes of a model's row, in one transaction. */
static um_status model_slice(evaluation *e, um_responder *model, const uint64_t *ids, size_t n,
                             um_error *err)
{
    static const char *const stops[] = {"Behavior:"};
    static const char *bare[] = {UM_PROCESS_BEHAVIOR};
    const um_config *c = e->s->config;
    bool process = e->row->kind == UM_ROW_PROCESS;
    um_sampling sampling = {.seed = c->seed,
                            .temperature = (float)c->eval.temperature,
                            .top_p = (float)c->eval.top_p,
                            .max_tokens = (int)c->eval.max_tokens};
    um_scene_prompts prompts = {0};
    um_letter_query queries[MAX_SLICE];
    size_t n_queries = 0;
    um_status status;

    e->slice = ids;
    e->texts = um_calloc(n * e->repeats, sizeof *e->texts);
    e->mean = um_calloc(n * UM_SCENE_MAX_ITEMS, sizeof *e->mean);
    if (e->texts == NULL || e->mean == NULL) {
        status = um_fail_memory(err, "evaluation");
        goto done;
    }
    if ((status = um_scene_prompts_make(&prompts, e->s, ids, n, process ? UM_PROCESS_OPENING : NULL,
                                        err)) != UM_OK ||
        (status = um_workspace_begin(e->s->ws, err)) != UM_OK)
        goto done;
    if (process)
        status = model->ops->complete(model, prompts.prompts, n, 0, e->repeats, &sampling, stops, 1,
                                      on_completion, e, e->s->monitor, err);
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        const char **texts = process ? (const char **)e->texts + i * e->repeats : bare;
        uint32_t fitting = e->repeats;
        prompts.prompts[i].opening = NULL; /* the texts hold the whole turn */
        if (process)
            status = keep_fitting(e, model, &prompts.prompts[i], i, &fitting, err);
        if (fitting == 0)
            continue;
        e->asked[n_queries] = i;
        queries[n_queries++] = (um_letter_query){&prompts.prompts[i], texts, fitting};
    }
    if (status == UM_OK)
        status =
            model->ops->score_letters(model, queries, n_queries, on_letters, e, e->s->monitor, err);
    for (size_t i = 0; i < n && status == UM_OK; i++)
        status = put(e, ids[i], e->mean + i * UM_SCENE_MAX_ITEMS, e->repeats, err);
    if (status == UM_OK) {
        um_run_progress(e->run, e->run->done + n, e->row->name);
        status = um_run_save(e->run, false, err);
    }
    if (status == UM_OK)
        status = um_workspace_commit(e->s->ws, err);
done:
    if (status != UM_OK)
        um_workspace_rollback(e->s->ws);
    for (size_t i = 0; e->texts != NULL && i < n * e->repeats; i++)
        free(e->texts[i]);
    free(e->texts);
    free(e->mean);
    um_scene_prompts_dispose(&prompts);
    return status;
}

/* Scenes the model cannot hold count at 1/k (repeats 0 tells them apart): to leave them out would
 * flatter the row. */
static um_status set_aside_long(evaluation *e, um_responder *model, um_error *err)
{
    bool process = e->row->kind == UM_ROW_PROCESS;
    uint32_t more = UM_BEHAVIOR_TOKENS + (process ? (uint32_t)e->s->config->eval.max_tokens : 0);
    um_scene_prompts prompts = {0};
    size_t kept = 0;
    um_status status = um_scene_prompts_make(&prompts, e->s, e->ids.data, e->ids.len,
                                             process ? UM_PROCESS_OPENING : NULL, err);

    for (size_t i = 0; i < e->ids.len && status == UM_OK; i++) {
        double p[UM_SCENE_MAX_ITEMS];
        uint32_t k = e->s->scenes->scenes[e->ids.data[i]].k;
        bool fits = false;
        status = um_actor_fits(model, &prompts.prompts[i], NULL, more, &fits, err);
        if (status == UM_OK && fits) {
            e->ids.data[kept++] = e->ids.data[i];
        } else if (status == UM_OK) {
            for (uint32_t j = 0; j < k; j++)
                p[j] = 1.0 / k;
            um_run_progress(e->run, e->run->done + 1, e->row->name);
            status = put(e, e->ids.data[i], p, 0, err);
        }
    }
    if (status == UM_OK)
        e->ids.len = kept;
    um_scene_prompts_dispose(&prompts);
    return status;
}

static um_status model_row(evaluation *e, um_error *err)
{
    um_actor actor = {0};
    size_t slice = 16;

    if (e->ids.len == 0)
        return UM_OK;
    um_status status = um_actor_open(&actor, e->s, e->row->model, err);
    e->repeats = e->row->kind == UM_ROW_PROCESS ? (uint32_t)e->s->config->eval.repeats : 1;
    e->model_id = actor.id;
    if (status == UM_OK)
        status = set_aside_long(e, actor.responder, err);
    for (size_t i = 0, n; i < e->ids.len && status == UM_OK; i += n) {
        uint64_t begun_ms = um_clock_ms();
        n = e->ids.len - i < slice ? e->ids.len - i : slice;
        status = model_slice(e, actor.responder, e->ids.data + i, n, err);
        uint64_t took_ms = um_clock_ms() - begun_ms;
        if (took_ms < SLICE_MS / 2 && slice < MAX_SLICE)
            slice *= 2;
        else if (took_ms > SLICE_MS && slice > 1)
            slice /= 2;
    }
    um_actor_close(&actor);
    return status;
}

bool um_eval_row_applies(const um_eval_row *row, const um_scene_set *set)
{
    bool truth = true, log = false; /* imported scenes name no interactions */
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *scene = &set->scenes[i];
        log = log || scene->n_history > 0 || scene->interaction != UM_SCENE_NO_INTERACTION;
        truth = truth && (scene->split != UM_SPLIT_EVAL || scene->truth != NULL);
    }
    return row->kind == UM_ROW_TRUTH                                     ? truth
           : row->kind == UM_ROW_SPECTRAL || row->kind == UM_ROW_CONTENT ? log
                                                                         : true;
}

um_status um_stage_eval(um_session *s, um_error *err)
{
    um_run run = {0};
    const um_scene_set *set;
    um_status status =
        um_run_begin(&run, s, "eval", "seed eval. prompt. decide.ridge", "train.direct", 0, err);

    if (status != UM_OK || run.finished_before)
        goto done;
    if ((status = um_session_scenes(s, &set, err)) != UM_OK)
        goto done;
    if (set->n_split[UM_SPLIT_EVAL] == 0) {
        status = um_fail(err, UM_ERR_STATE,
                         "eval: there are no evaluation scenes; set scenes.eval and "
                         "scenes.eval_user_share above 0");
        goto done;
    }
    run.total = 0;
    for (const um_eval_row *row = rows; row->name != NULL; row++)
        run.total += um_eval_row_applies(row, set) ? set->n_split[UM_SPLIT_EVAL] : 0;
    run.done = run.resumed = 0;
    for (const um_eval_row *row = rows; row->name != NULL && status == UM_OK; row++) {
        evaluation e = {.s = s, .run = &run, .row = row, .repeats = 1};
        um_scene_filter filter = {.split = "eval", .without_row = row->name};
        if (!um_eval_row_applies(row, set))
            continue;
        status = um_workspace_scenes(s->ws, &filter, add_scene, &e, err);
        run.done += set->n_split[UM_SPLIT_EVAL] - e.ids.len;
        run.resumed += set->n_split[UM_SPLIT_EVAL] - e.ids.len;
        if (status == UM_OK)
            status = row->model == NULL ? plain_row(&e, err) : model_row(&e, err);
        um_vec_dispose(&e.ids);
    }
    if (status == UM_OK)
        status = um_run_save(&run, true, err);
done:
    um_run_dispose(&run);
    return status;
}
