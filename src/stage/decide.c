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
#include "stage/decide.h"

const char *const um_decider_stops[] = {"Behavior:"};

static um_status add_missing(void *context, uint64_t scene_id, const bool *have, uint32_t n_have,
                             um_error *err)
{
    um_decider *d = context;
    (void)have;
    (void)n_have;
    if (!um_share_has(&d->share, scene_id) || d->ids.len >= d->share.limit) {
        d->elsewhere++;
        return UM_OK;
    }
    return um_vec_push(&d->ids, scene_id) ? UM_OK : um_fail_memory(err, "scenes");
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

static um_status store_scene(um_decider *d, size_t index, um_error *err)
{
    um_pending *p = &d->pending[index];
    um_status status = um_portion_open(&d->portion, err);

    for (uint32_t i = 0; i < d->samples && status == UM_OK; i++) {
        um_process parsed;
        if (p->texts[i] == NULL)
            continue;
        um_process_fault fault = p->finish[i] == UM_FINISH_LENGTH
                                     ? UM_PROCESS_TRUNCATED
                                     : um_process_parse(&parsed, p->texts[i], NULL, 0);
        um_row_decision row = {.scene_id = d->ids.data[index],
                               .model_id = d->actor.id,
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
    if (status == UM_OK && d->actor.remote != NULL)
        status = um_workspace_settle_requests(d->s->ws, d->run.info->name, d->ids.data[index], err);
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
    p->said[c->sample] = um_process_said(p->texts[c->sample]);
    um_process_trim(p->texts[c->sample]);
    p->finish[c->sample] = c->finish;
    p->tokens[c->sample] = c->tokens;
    if (++p->arrived == d->samples) {
        status = store_scene(d, c->prompt, err);
        um_run_progress(&d->run, d->run.done, NULL);
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
    for (size_t i = 0; i < d->ids.len; i++) {
        bool fits;
        um_status status = um_actor_fits(
            d->actor.responder, &prompts->prompts[i], NULL,
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
    d->too_long = d->ids.len - kept;
    d->ids.len = prompts->n = kept;
    return UM_OK;
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
    if (status != UM_OK || (status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = um_workspace_missing_decisions(s->ws, "train", d->actor.id, role, d->samples,
                                                 add_missing, d, err)) != UM_OK ||
        (status = um_scene_prompts_make(&d->prompts, s, d->ids.data, d->ids.len, UM_PROCESS_OPENING,
                                        err)) != UM_OK ||
        (status = leave_out_long(d, err)) != UM_OK)
        return status;
    d->run.total = set->n_split[UM_SPLIT_TRAIN] - d->too_long - d->elsewhere;
    d->run.done = d->run.resumed = d->run.total - d->ids.len;
    d->pending = um_calloc(d->ids.len, sizeof *d->pending);
    return d->pending != NULL ? UM_OK : um_fail_memory(err, "decisions");
}

um_status um_decider_complete(um_decider *d, um_error *err)
{
    const um_sampling sampling = um_decider_sampling(d);
    um_responder *r = d->actor.responder;
    um_status status = r->ops->complete(r, d->prompts.prompts, d->prompts.n, 0, d->samples,
                                        &sampling, um_decider_stops, 1, on_completion, d,
                                        d->actor.remote != NULL ? d->monitor : d->s->monitor, err);
    return um_portion_end(&d->portion, status, err);
}

/*
 * What endpoints would not answer: few enough, the scenes go on with the samples that came; else
 * the stage stays open, and running it again asks for the rest.
 */
static um_status settle_failures(um_decider *d, um_error *err)
{
    uint64_t failed = 0, asked = (uint64_t)d->ids.len * d->samples;
    um_status status = um_stage_remote_report(&d->run, d->actor.remote, &failed, err);

    if (status != UM_OK || failed == 0)
        return status;
    if ((double)failed > d->s->config->remote.max_failed * (double)asked) {
        if ((status = um_run_save(&d->run, false, err)) != UM_OK)
            return status;
        return um_fail(err, UM_ERR_REMOTE,
                       "%s: %llu of %llu answers failed, remote.max_failed is %g; the others are "
                       "saved, run the same command again to ask for these",
                       d->run.info->name, (unsigned long long)failed, (unsigned long long)asked,
                       d->s->config->remote.max_failed);
    }
    for (size_t i = 0; i < d->ids.len && status == UM_OK; i++) {
        if (d->pending[i].arrived > 0)
            status = store_scene(d, i, err);
    }
    return um_portion_end(&d->portion, status, err);
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
        status = settle_failures(d, err);
    if (status == UM_OK)
        status = um_workspace_decisions(d->s->ws, &all, sum_up, d, err);
    if (status != UM_OK)
        return status;
    json_object_set_new(detail, "model", json_string(d->actor.responder->name));
    json_object_set_new(detail, "too_long", json_integer((json_int_t)d->too_long));
    json_object_set_new(detail, "tokens", json_integer((json_int_t)d->tokens));
    json_object_set_new(detail, "malformed", json_integer((json_int_t)d->malformed));
    um_share_report(&d->run, d->elsewhere);
    return um_run_save(&d->run, d->elsewhere == 0, err);
}

void um_decider_dispose(um_decider *d)
{
    for (size_t i = 0; d->pending != NULL && i < d->ids.len; i++)
        pending_dispose(&d->pending[i], d->samples);
    free(d->pending);
    um_vec_dispose(&d->ids);
    um_scene_prompts_dispose(&d->prompts);
    um_actor_close(&d->actor);
    um_run_dispose(&d->run);
}

um_status um_stage_decide(um_session *s, const char *role, um_error *err)
{
    um_decider d;
    um_status status = um_decider_begin(&d, s, role, err);

    if (status != UM_OK || d.run.finished_before)
        goto done;
    if (d.actor.remote != NULL) {
        const um_sampling sampling = um_decider_sampling(&d);
        status = um_stage_remote_forecast(&d.run, d.actor.responder, d.prompts.prompts, d.prompts.n,
                                          d.samples, &sampling, um_decider_stops, 1, err);
    }
    if (status == UM_OK)
        status = um_decider_complete(&d, err);
    if (status == UM_OK)
        status = um_decider_finish(&d, err);
done:
    um_decider_dispose(&d);
    return status;
}
