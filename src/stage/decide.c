/*
 * decide.c - decision processes written by teacher and student.
 *
 * A scene's samples are stored together once all have arrived. Where endpoints fail some of them
 * for good, the others are stored, and stay in the journal: a later run asks for the rest alone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/decide.h"

/* Scenes whose prompts are made at once: enough that whoever writes is seldom idle at the end of a
 * portion. For endpoints at least so many for each request in flight. */
#define PORTION_SCENES     4096
#define SCENES_PER_REQUEST 16

const char *const um_decider_stops[] = {"Behavior:"};

static um_status add_missing(void *context, uint64_t scene_id, const bool *have, uint32_t n_have,
                             um_error *err)
{
    um_decider *d = context;
    (void)have;
    if (!um_share_has(&d->share, scene_id) || d->todo.len >= d->share.limit) {
        d->elsewhere++;
        return UM_OK;
    }
    return um_vec_push(&d->todo, ((um_todo){scene_id, n_have > 0})) ? UM_OK
                                                                    : um_fail_memory(err, "scenes");
}

static void pending_dispose(um_pending *p, uint32_t samples)
{
    for (uint32_t i = 0; p->texts != NULL && i < samples; i++)
        free(p->texts[i]);
    free(p->texts);
    free(p->finish);
    free(p->tokens);
    free(p->said);
    *p = (um_pending){0};
}

/* Whether the row is there already: only of scenes that were begun. */
static um_status is_stored(um_decider *d, const um_row_decision *row, bool *stored, um_error *err)
{
    um_row_decision there;
    uint64_t id;
    um_status status =
        um_workspace_decision_id(&id, row->scene_id, row->model_id, row->role, row->sample, err);
    if (status == UM_OK)
        status = um_workspace_get_decision(&there, d->s->ws, id, err);
    *stored = status == UM_OK;
    return status == UM_ERR_NOT_FOUND ? UM_OK : status;
}

static um_status store_sample(um_decider *d, size_t index, uint32_t sample, um_error *err)
{
    const um_pending *p = &d->pending[index];
    um_process parsed;
    um_process_fault fault = p->finish[sample] == UM_FINISH_LENGTH
                                 ? UM_PROCESS_TRUNCATED
                                 : um_process_parse(&parsed, p->texts[sample], NULL, 0);
    um_row_decision row = {.scene_id = d->now[index].scene,
                           .model_id = d->actor.id,
                           .role = d->role,
                           .sample = sample,
                           .text = p->texts[sample],
                           .finish = p->finish[sample] == UM_FINISH_LENGTH ? "length" : "stop",
                           .tokens = p->tokens[sample],
                           .form_error =
                               fault != UM_PROCESS_GOOD ? um_process_fault_name(fault) : NULL,
                           .said = p->said[sample]};
    bool stored = false;
    um_status status = d->now[index].begun ? is_stored(d, &row, &stored, err) : UM_OK;
    return status == UM_OK && !stored ? um_workspace_put_decision(d->s->ws, &row, err) : status;
}

/* Answers are let go once none is missing: those of a scene with fewer are asked for with them. */
static um_status store_scene(um_decider *d, size_t index, um_error *err)
{
    um_pending *p = &d->pending[index];
    um_status status = um_portion_open(&d->portion, err);

    for (uint32_t i = 0; i < d->samples && status == UM_OK; i++) {
        if (p->texts[i] != NULL)
            status = store_sample(d, index, i, err);
    }
    if (status == UM_OK && d->actor.remote != NULL && p->arrived == d->samples)
        status =
            um_workspace_settle_requests(d->s->ws, d->run.info->name, d->now[index].scene, err);
    pending_dispose(p, d->samples);
    if (status != UM_OK)
        return status;
    d->run.done++;
    return um_portion_close(&d->portion, false, err);
}

static um_status on_completion(void *context, const um_completion *c, um_error *err)
{
    um_decider *d = context;
    um_pending *p = &d->pending[c->prompt];
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
    p->said[c->sample] = c->said != 0 ? c->said : um_process_said(p->texts[c->sample]);
    um_process_trim(p->texts[c->sample]);
    p->finish[c->sample] = c->finish;
    p->tokens[c->sample] = c->tokens;
    if (++p->arrived == d->samples) {
        status = store_scene(d, c->prompt, err);
        um_run_progress(&d->run, d->run.done, d->actor.remote != NULL ? d->watch.detail : NULL);
    }
    return status;
}

/* The teacher: the fitted choice model, endpoints, or a model folder. */
static um_status open_teacher(um_decider *d, const um_monitor *monitor, um_error *err)
{
    const um_config *c = d->s->config;
    um_actor *actor = &d->actor;
    const um_choice_model *choice;
    um_status status;
    char hash[17];

    if (um_source_is_url(c->decide.teacher))
        return um_actor_open_remote(actor, d->s, "teacher", c->decide.teacher,
                                    c->decide.teacher_model, &d->journal, monitor, err);
    if (strcmp(c->decide.teacher, "choice") != 0)
        return um_actor_open_folder(actor, d->s, "teacher", c->decide.teacher, err);
    status = um_session_choice(d->s, &choice, err);
    if (status == UM_OK)
        status = um_choice_responder_open(&actor->responder, choice, d->s->scenes,
                                          UM_VOICE_CHOICE_MODEL, err);
    if (status != UM_OK)
        return status;
    um_hash_hex(actor->responder->fingerprint, hash);
    um_row_model row = {.name = "choice model", .path = "", .hash = hash, .kind = "choice"};
    return um_workspace_model_id(&actor->id, d->s->ws, &row, err);
}

/* Leaves out the scenes the model cannot hold with a whole answer. They are counted, and tried
 * again when the stage is: with a longer context they may fit. */
static um_status leave_out_long(um_decider *d, um_error *err)
{
    um_scene_prompts *prompts = &d->prompts;
    size_t kept = 0;
    for (size_t i = 0; i < prompts->n; i++) {
        bool fits;
        um_status status = um_actor_fits(
            d->actor.responder, &prompts->prompts[i], NULL,
            (uint32_t)d->s->config->decide.max_tokens + UM_BEHAVIOR_TOKENS, &fits, err);
        if (status != UM_OK)
            return status;
        if (!fits) {
            um_monitor_message(d->s->monitor, "  scene %llu is longer than the model's context",
                               (unsigned long long)d->now[i].scene);
            continue;
        }
        prompts->prompts[kept] = prompts->prompts[i];
        d->now[kept++] = d->now[i];
    }
    d->too_long += prompts->n - kept;
    d->run.total -= prompts->n - kept;
    prompts->n = kept;
    return UM_OK;
}

um_status um_decider_each(um_decider *d, um_on_decider work, void *context, um_error *err)
{
    size_t most = PORTION_SCENES;
    uint64_t *ids = NULL;
    um_status status = UM_OK;

    if (d->actor.remote != NULL)
        most = um_portion_scenes(PORTION_SCENES, SCENES_PER_REQUEST, d->s->config);
    if (most > d->todo.len)
        most = d->todo.len;
    ids = um_calloc(most, sizeof *ids);
    d->now = um_calloc(most, sizeof *d->now);
    if (ids == NULL || d->now == NULL)
        status = um_fail_memory(err, "scenes");
    for (size_t begin = 0; begin < d->todo.len && status == UM_OK; begin += most) {
        size_t n = d->todo.len - begin < most ? d->todo.len - begin : most;
        memcpy(d->now, d->todo.data + begin, n * sizeof *d->now);
        for (size_t i = 0; i < n; i++)
            ids[i] = d->now[i].scene;
        status = um_scene_prompts_make(&d->prompts, d->s, ids, n, UM_PROCESS_OPENING, err);
        if (status == UM_OK)
            status = leave_out_long(d, err);
        if (status == UM_OK)
            status = work(d, context, err);
        um_scene_prompts_dispose(&d->prompts);
    }
    free(ids);
    free(d->now);
    d->now = NULL;
    return status;
}

static um_status sum_up(void *context, const um_row_decision *row, um_error *err)
{
    um_decider *d = context;
    (void)err;
    d->malformed += row->form_error != NULL;
    d->tokens += row->tokens;
    if (row->form_error != NULL) {
        json_int_t n = json_integer_value(json_object_get(d->faults, row->form_error));
        json_object_set_new(d->faults, row->form_error, json_integer(n + 1));
    }
    return UM_OK;
}

um_sampling um_decider_sampling(const um_decider *d)
{
    const um_config *c = d->s->config;
    return (um_sampling){.seed = c->seed,
                         .temperature = (float)c->decide.temperature,
                         .top_p = (float)c->decide.top_p,
                         .max_tokens = (int)c->decide.max_tokens};
}

um_status um_decider_begin(um_decider *d, um_session *s, const char *role, um_error *err)
{
    bool teacher = strcmp(role, UM_ROLE_TEACHER) == 0;
    const um_scene_set *set;
    um_status status;

    *d = (um_decider){.s = s, .role = role, .samples = (uint32_t)s->config->decide.samples};
    d->portion.run = &d->run;
    if ((status = um_share_read(&d->share, s->config, err)) != UM_OK ||
        (status = um_run_begin(&d->run, s, teacher ? "decide.teacher" : "decide.student",
                               "seed decide. prompt. chat.", teacher ? "scenes" : "base", 0,
                               err)) != UM_OK ||
        d->run.finished_before)
        return status;
    d->journal = (um_stage_journal){s->ws, &d->portion, d->run.info->name};
    d->monitor = um_remote_watch_init(&d->watch, &d->run);
    status = teacher ? open_teacher(d, d->monitor, err)
                     : um_actor_open_student(&d->actor, s, &d->journal, d->monitor, err);
    if (status != UM_OK)
        um_run_withdraw(&d->run);
    if (status != UM_OK || (status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = um_workspace_missing_decisions(s->ws, "train", d->actor.id, role, d->samples,
                                                 add_missing, d, err)) != UM_OK)
        return status;
    d->run.total = set->n_split[UM_SPLIT_TRAIN] - d->elsewhere;
    d->run.done = d->run.resumed = d->run.total - d->todo.len;
    return UM_OK;
}

/* All answers of the run and of those before it: what failed then was asked for again now. */
static uint64_t all_answers(const um_decider *d)
{
    return d->run.total * d->samples;
}

static bool too_many_failed(const um_decider *d)
{
    return (double)um_remote_totals_of(d->actor.remote)->failed >
           d->s->config->remote.max_failed * (double)all_answers(d);
}

static um_status complete_portion(um_decider *d, void *context, um_error *err)
{
    const um_sampling sampling = um_decider_sampling(d);
    um_responder *r = d->actor.responder;
    size_t n = d->prompts.n;
    um_status status;

    (void)context;
    d->pending = um_calloc(n, sizeof *d->pending);
    if (d->pending == NULL)
        return um_fail_memory(err, "decisions");
    status = r->ops->complete(r, d->prompts.prompts, n, 0, d->samples, &sampling, um_decider_stops,
                              1, on_completion, d,
                              d->actor.remote != NULL ? d->monitor : d->s->monitor, err);
    for (size_t i = 0; i < n; i++) {
        /* Only endpoints leave a scene with some of its samples. */
        if (status == UM_OK && d->pending[i].arrived > 0 && !too_many_failed(d))
            status = store_scene(d, i, err);
        pending_dispose(&d->pending[i], d->samples);
    }
    free(d->pending);
    d->pending = NULL;
    d->watch.before += (uint64_t)n * d->samples;
    return status;
}

um_status um_decider_complete(um_decider *d, um_error *err)
{
    d->watch.total = (uint64_t)d->todo.len * d->samples;
    um_status status = um_decider_each(d, complete_portion, NULL, err);
    return um_portion_end(&d->portion, status, err);
}

/* More answers that endpoints would not give than may be: the stage stays open, and running it
 * again asks for the rest. */
static um_status check_failures(um_decider *d, um_error *err)
{
    uint64_t failed;
    um_status status = um_stage_remote_report(&d->run, d->actor.remote, &failed, err);

    if (status != UM_OK || !too_many_failed(d))
        return status;
    if ((status = um_run_save(&d->run, false, err)) != UM_OK)
        return status;
    return um_fail(err, UM_ERR_REMOTE,
                   "%s: %llu of %llu answers failed, remote.max_failed is %g; the others are "
                   "saved, run the same command again to ask for these",
                   d->run.info->name, (unsigned long long)failed,
                   (unsigned long long)all_answers(d), d->s->config->remote.max_failed);
}

um_status um_decider_finish(um_decider *d, um_error *err)
{
    json_t *detail = d->run.detail, *faults = json_object();
    um_decision_filter all = {.any_scene = true, .model_id = d->actor.id, .role = d->role};
    um_status status = UM_OK;

    d->faults = faults;
    if (json_object_set_new(detail, "faults", faults) != 0)
        return um_fail_memory(err, "figures");
    if (d->actor.remote != NULL)
        status = check_failures(d, err);
    if (status == UM_OK)
        status = um_workspace_decisions(d->s->ws, &all, sum_up, d, err);
    if (status != UM_OK)
        return status;
    json_object_set_new(detail, "model", json_string(d->actor.responder->name));
    json_object_set_new(detail, "too_long", json_integer((json_int_t)d->too_long));
    json_object_set_new(detail, "tokens", json_integer((json_int_t)d->tokens));
    json_object_set_new(detail, "malformed", json_integer((json_int_t)d->malformed));
    um_share_report(&d->run, d->elsewhere);
    return um_run_save(&d->run, d->elsewhere + d->waiting == 0, err);
}

void um_decider_dispose(um_decider *d)
{
    um_vec_dispose(&d->todo);
    um_actor_close(&d->actor);
    um_run_dispose(&d->run);
}

static um_status forecast_portion(um_decider *d, void *context, um_error *err)
{
    const um_sampling sampling = um_decider_sampling(d);
    um_remote_cost one;
    um_status status =
        um_remote_forecast(&one, d->actor.responder, d->prompts.prompts, d->prompts.n, 0,
                           d->samples, &sampling, um_decider_stops, 1, err);
    if (status == UM_OK)
        um_stage_remote_add_cost(context, &one);
    return status;
}

um_status um_stage_decide(um_session *s, const char *role, um_error *err)
{
    um_decider d;
    um_remote_cost cost = {0};
    um_status status = um_decider_begin(&d, s, role, err);

    if (status != UM_OK || d.run.finished_before)
        goto done;
    if (d.actor.remote != NULL) {
        status = um_stage_remote_list_open(&d.run, err);
        if (status == UM_OK)
            status = um_decider_each(&d, forecast_portion, &cost, err);
        if (status == UM_OK)
            status = um_stage_remote_forecast(s->monitor, &cost, err);
    }
    if (status == UM_OK)
        status = um_decider_complete(&d, err);
    if (status == UM_OK)
        status = um_decider_finish(&d, err);
done:
    um_decider_dispose(&d);
    return status;
}
