/*
 * decide.c - decision processes written by teacher and student.
 *
 * A scene's samples are stored together once all have arrived.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/portion.h"

typedef struct pending {
    char **texts; /* [samples], NULL until it arrives */
    um_finish *finish;
    uint32_t *tokens, *said;
    uint32_t arrived;
} pending;

typedef struct decider {
    um_session *s;
    um_run *run;
    um_portion portion;
    uint64_t model_id;
    const char *role;
    uint32_t samples;
    UM_VEC(uint64_t) ids; /* scenes to do */
    um_share share;
    uint64_t elsewhere; /* scenes that are not this run's share */
    const um_scene_prompts *prompts;
    pending *pending;           /* [ids.len] */
    uint64_t malformed, tokens; /* of all that is stored */
    json_t *faults;             /* {fault: texts}; owned by the run's detail */
} decider;

static um_status add_missing(void *context, uint64_t scene_id, const bool *have, uint32_t n_have,
                             um_error *err)
{
    decider *d = context;
    (void)have;
    (void)n_have;
    if (!um_share_has(&d->share, scene_id) || d->ids.len >= d->share.limit) {
        d->elsewhere++;
        return UM_OK;
    }
    return um_vec_push(&d->ids, scene_id) ? UM_OK : um_fail_memory(err, "scenes");
}

static um_status store_scene(decider *d, size_t index, um_error *err)
{
    pending *p = &d->pending[index];
    um_status status = um_portion_open(&d->portion, err);

    for (uint32_t i = 0; i < d->samples && status == UM_OK; i++) {
        um_process parsed;
        um_process_fault fault = p->finish[i] == UM_FINISH_LENGTH
                                     ? UM_PROCESS_TRUNCATED
                                     : um_process_parse(&parsed, p->texts[i], NULL, 0);
        um_row_decision row = {.scene_id = d->ids.data[index],
                               .model_id = d->model_id,
                               .role = d->role,
                               .sample = i,
                               .text = p->texts[i],
                               .finish = p->finish[i] == UM_FINISH_LENGTH ? "length" : "stop",
                               .tokens = p->tokens[i],
                               .form_error =
                                   fault != UM_PROCESS_GOOD ? um_process_fault_name(fault) : NULL,
                               .said = p->said[i]};
        status = um_workspace_put_decision(d->s->ws, &row, err);
    }
    for (uint32_t i = 0; i < d->samples; i++)
        free(p->texts[i]);
    free(p->texts);
    free(p->finish);
    free(p->tokens);
    free(p->said);
    *p = (pending){0};
    if (status != UM_OK)
        return status;
    d->run->done++;
    return um_portion_close(&d->portion, false, err);
}

static um_status on_completion(void *context, const um_completion *c, um_error *err)
{
    decider *d = context;
    pending *p = &d->pending[c->prompt];
    um_str text = UM_STR_INIT;

    if (p->texts == NULL) {
        p->texts = um_calloc(d->samples, sizeof *p->texts);
        p->finish = um_calloc(d->samples, sizeof *p->finish);
        p->tokens = um_calloc(d->samples, sizeof *p->tokens);
        p->said = um_calloc(d->samples, sizeof *p->said);
        if (p->texts == NULL || p->finish == NULL || p->tokens == NULL || p->said == NULL)
            return um_fail_memory(err, "decision");
    }
    um_str_append(&text, UM_PROCESS_OPENING);
    um_str_append(&text, c->text);
    um_status status = um_str_take(&text, &p->texts[c->sample], err);
    if (status != UM_OK)
        return status;
    p->said[c->sample] = um_process_said(p->texts[c->sample]);
    um_process_trim(p->texts[c->sample]);
    p->finish[c->sample] = c->finish;
    p->tokens[c->sample] = c->tokens;
    if (++p->arrived == d->samples) {
        status = store_scene(d, c->prompt, err);
        um_run_progress(d->run, d->run->done, NULL);
    }
    return status;
}

static void decider_dispose(decider *d)
{
    for (size_t i = 0; d->pending != NULL && i < d->ids.len; i++) {
        pending *p = &d->pending[i];
        for (uint32_t j = 0; p->texts != NULL && j < d->samples; j++)
            free(p->texts[j]);
        free(p->texts);
        free(p->finish);
        free(p->tokens);
        free(p->said);
    }
    free(d->pending);
    um_vec_dispose(&d->ids);
}

/* The teacher: the fitted choice model, or a model folder. */
static um_status open_teacher(um_actor *actor, um_session *s, um_error *err)
{
    const um_choice_model *choice;
    um_status status;
    char hash[17];

    if (strcmp(s->config->decide.teacher, "choice") != 0)
        return um_actor_open_folder(actor, s, "teacher", s->config->decide.teacher, err);
    *actor = (um_actor){0};
    status = um_session_choice(s, &choice, err);
    if (status == UM_OK)
        status = um_choice_responder_open(&actor->responder, choice, s->scenes,
                                          UM_VOICE_CHOICE_MODEL, err);
    if (status != UM_OK)
        return status;
    um_hash_hex(actor->responder->fingerprint, hash);
    um_row_model row = {.name = "choice model", .path = "", .hash = hash, .kind = "choice"};
    return um_workspace_model_id(&actor->id, s->ws, &row, err);
}

/* Leaves out the scenes the model cannot hold with a whole answer. They are counted, and tried
 * again when the stage is: with a longer context they may fit. */
static um_status leave_out_long(decider *d, um_responder *responder, um_scene_prompts *prompts,
                                uint64_t *too_long, um_error *err)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->ids.len; i++) {
        bool fits;
        um_status status = um_actor_fits(
            responder, &prompts->prompts[i], NULL,
            (uint32_t)d->s->config->decide.max_tokens + UM_BEHAVIOR_TOKENS, &fits, err);
        if (status != UM_OK)
            return status;
        if (!fits) {
            um_monitor_message(d->s->monitor, "  scene %llu is longer than the model's context",
                               (unsigned long long)d->ids.data[i]);
            continue;
        }
        prompts->prompts[kept] = prompts->prompts[i];
        d->ids.data[kept++] = d->ids.data[i];
    }
    *too_long = d->ids.len - kept;
    d->ids.len = prompts->n = kept;
    return UM_OK;
}

static um_status sum_up(void *context, const um_row_decision *row, um_error *err)
{
    decider *d = context;
    (void)err;
    d->malformed += row->form_error != NULL;
    d->tokens += row->tokens;
    if (row->form_error != NULL) {
        json_int_t n = json_integer_value(json_object_get(d->faults, row->form_error));
        json_object_set_new(d->faults, row->form_error, json_integer(n + 1));
    }
    return UM_OK;
}

um_status um_stage_decide(um_session *s, const char *role, um_error *err)
{
    static const char *const stops[] = {"Behavior:"};
    bool teacher = strcmp(role, UM_ROLE_TEACHER) == 0;
    uint64_t too_long = 0;
    um_run run = {0};
    um_actor actor = {0};
    um_scene_prompts prompts = {0};
    decider d = {.s = s, .run = &run, .role = role, .samples = (uint32_t)s->config->decide.samples};
    um_status status = um_share_read(&d.share, s->config, err);
    if (status == UM_OK)
        status = um_run_begin(&run, s, teacher ? "decide.teacher" : "decide.student",
                              "seed decide. prompt.", teacher ? "scenes" : "base", 0, err);

    d.portion.run = &run;
    if (status != UM_OK || run.finished_before)
        goto done;
    status = teacher ? open_teacher(&actor, s, err) : um_actor_open(&actor, s, "base", err);
    if (status != UM_OK)
        goto done;
    d.model_id = actor.id;
    const um_scene_set *set;
    if ((status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = um_workspace_missing_decisions(s->ws, "train", d.model_id, role, d.samples,
                                                 add_missing, &d, err)) != UM_OK ||
        (status = um_scene_prompts_make(&prompts, s, d.ids.data, d.ids.len, UM_PROCESS_OPENING,
                                        err)) != UM_OK ||
        (status = leave_out_long(&d, actor.responder, &prompts, &too_long, err)) != UM_OK)
        goto done;
    run.total = set->n_split[UM_SPLIT_TRAIN] - too_long - d.elsewhere;
    run.done = run.resumed = run.total - d.ids.len;
    d.pending = um_calloc(d.ids.len, sizeof *d.pending);
    if (d.pending == NULL) {
        status = um_fail_memory(err, "decisions");
        goto done;
    }
    um_sampling sampling = {.seed = s->config->seed,
                            .temperature = (float)s->config->decide.temperature,
                            .top_p = (float)s->config->decide.top_p,
                            .max_tokens = (int)s->config->decide.max_tokens};
    status =
        actor.responder->ops->complete(actor.responder, prompts.prompts, prompts.n, 0, d.samples,
                                       &sampling, stops, 1, on_completion, &d, s->monitor, err);
    status = um_portion_end(&d.portion, status, err);
    if (status != UM_OK)
        goto done;
    d.faults = json_object();
    json_object_set_new(run.detail, "faults", d.faults);
    um_decision_filter all = {.any_scene = true, .model_id = d.model_id, .role = role};
    if ((status = um_workspace_decisions(s->ws, &all, sum_up, &d, err)) != UM_OK)
        goto done;
    json_object_set_new(run.detail, "model", json_string(actor.responder->name));
    json_object_set_new(run.detail, "too_long", json_integer((json_int_t)too_long));
    json_object_set_new(run.detail, "tokens", json_integer((json_int_t)d.tokens));
    json_object_set_new(run.detail, "malformed", json_integer((json_int_t)d.malformed));
    um_share_report(&run, d.elsewhere);
    status = um_run_save(&run, d.elsewhere == 0, err);
done:
    decider_dispose(&d);
    um_scene_prompts_dispose(&prompts);
    um_actor_close(&actor);
    um_run_dispose(&run);
    return status;
}
