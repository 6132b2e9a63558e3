/*
 * decide.c - decision processes written by teacher and student, and the student's distribution over
 * the letters after each.
 *
 * A scene's samples are stored together once all have arrived; a portion of scenes is one
 * transaction, closed about twice a second.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/session.h"

#define PORTION_MS 500

/* Closes a transaction that is old enough, or at the end. */
typedef struct portion {
    um_run *run;
    bool open;
    uint64_t begun_ms;
} portion;

static um_status portion_open(portion *p, um_error *err)
{
    if (p->open)
        return UM_OK;
    um_status status = um_workspace_begin(p->run->session->ws, err);
    p->open = status == UM_OK;
    p->begun_ms = um_clock_ms();
    return status;
}

static um_status portion_close(portion *p, bool now, um_error *err)
{
    if (!p->open || (!now && um_clock_ms() - p->begun_ms < PORTION_MS))
        return UM_OK;
    um_status status = um_run_save(p->run, false, err);
    if (status == UM_OK)
        status = um_workspace_commit(p->run->session->ws, err);
    p->open = status != UM_OK;
    return status;
}

/* Keeps what arrived before a failure or a stop: the portion is whole scenes. */
static um_status portion_end(portion *p, um_status status, um_error *err)
{
    if (status == UM_OK || status == UM_ERR_INTERRUPTED || status == UM_ERR_REMOTE) {
        um_error first = err != NULL ? *err : (um_error){0};
        um_status closed = portion_close(p, true, err);
        if (closed != UM_OK)
            status = closed; /* what was about to be called saved is not */
        else if (err != NULL)
            *err = first;
    }
    if (p->open)
        um_workspace_rollback(p->run->session->ws);
    return status;
}

/* decide -------------------------------------------------------------------------------------- */

typedef struct pending {
    char **texts; /* [samples], NULL until it arrives */
    um_finish *finish;
    uint32_t *tokens;
    uint32_t arrived;
} pending;

typedef struct decider {
    um_session *s;
    um_run *run;
    portion portion;
    uint64_t model_id;
    const char *role;
    uint32_t samples;
    UM_VEC(uint64_t) ids; /* scenes to do */
    const um_scene_prompts *prompts;
    pending *pending;           /* [ids.len] */
    uint64_t malformed, tokens; /* of all that is stored */
} decider;

static um_status add_missing(void *context, uint64_t scene_id, const bool *have, uint32_t n_have,
                             um_error *err)
{
    decider *d = context;
    (void)have;
    (void)n_have;
    return um_vec_push(&d->ids, scene_id) ? UM_OK : um_fail_memory(err, "scenes");
}

static um_status store_scene(decider *d, size_t index, um_error *err)
{
    pending *p = &d->pending[index];
    um_status status = portion_open(&d->portion, err);
    char detail[160];

    for (uint32_t i = 0; i < d->samples && status == UM_OK; i++) {
        um_process parsed;
        um_process_fault fault =
            p->finish[i] == UM_FINISH_LENGTH
                ? UM_PROCESS_TRUNCATED
                : um_process_parse(&parsed, p->texts[i], detail, sizeof detail);
        um_row_decision row = {.scene_id = d->ids.data[index],
                               .model_id = d->model_id,
                               .role = d->role,
                               .sample = i,
                               .text = p->texts[i],
                               .finish = p->finish[i] == UM_FINISH_LENGTH ? "length" : "stop",
                               .tokens = p->tokens[i],
                               .form_error =
                                   fault != UM_PROCESS_GOOD ? um_process_fault_name(fault) : NULL};
        status = um_workspace_put_decision(d->s->ws, &row, err);
    }
    for (uint32_t i = 0; i < d->samples; i++)
        free(p->texts[i]);
    free(p->texts);
    free(p->finish);
    free(p->tokens);
    *p = (pending){0};
    if (status != UM_OK)
        return status;
    d->run->done++;
    return portion_close(&d->portion, false, err);
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
        if (p->texts == NULL || p->finish == NULL || p->tokens == NULL)
            return um_fail_memory(err, "decision");
    }
    um_str_append(&text, UM_PROCESS_OPENING);
    um_str_append(&text, c->text);
    um_status status = um_str_take(&text, &p->texts[c->sample], err);
    if (status != UM_OK)
        return status;
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
    um_status status = um_run_begin(&run, s, teacher ? "decide.teacher" : "decide.student",
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
    run.total = set->n_split[UM_SPLIT_TRAIN] - too_long;
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
    status = portion_end(&d.portion, status, err);
    if (status != UM_OK)
        goto done;
    um_decision_filter all = {.any_scene = true, .model_id = d.model_id, .role = role};
    if ((status = um_workspace_decisions(s->ws, &all, sum_up, &d, err)) != UM_OK)
        goto done;
    json_object_set_new(run.detail, "model", json_string(actor.responder->name));
    json_object_set_new(run.detail, "too_long", json_integer((json_int_t)too_long));
    json_object_set_new(run.detail, "tokens", json_integer((json_int_t)d.tokens));
    json_object_set_new(run.detail, "malformed", json_integer((json_int_t)d.malformed));
    status = um_run_save(&run, true, err);
done:
    decider_dispose(&d);
    um_scene_prompts_dispose(&prompts);
    um_actor_close(&actor);
    um_run_dispose(&run);
    return status;
}

/* predict ------------------------------------------------------------------------------------- */

typedef struct unscored {
    uint64_t decision, scene;
    char *text; /* ready to score */
} unscored;

typedef struct predictor {
    um_session *s;
    um_run *run;
    portion portion;
    uint64_t id;
    UM_VEC(unscored) items; /* in scene order; direct queries have decision 0 */
    size_t *first;          /* of each query in items */
    uint64_t too_long;      /* texts that do not fit the model */
} predictor;

static um_status add_text(predictor *p, uint64_t decision, uint64_t scene, const char *process,
                          um_error *err)
{
    um_str text = UM_STR_INIT;
    unscored item = {decision, scene, NULL};
    if (process != NULL)
        um_str_appendf(&text, "%s\n", process);
    um_str_append(&text, UM_PROCESS_BEHAVIOR);
    um_status status = um_str_take(&text, &item.text, err);
    if (status == UM_OK && !um_vec_push(&p->items, item)) {
        free(item.text);
        status = um_fail_memory(err, "texts");
    }
    return status;
}

static um_status add_decision(void *context, const um_row_decision *row, um_error *err)
{
    return add_text(context, row->id, row->scene_id, row->text, err);
}

static um_status add_direct(void *context, const um_row_scene *row, um_error *err)
{
    return add_text(context, 0, row->id, NULL, err);
}

static int by_scene(const void *a, const void *b)
{
    const unscored *x = a, *y = b;
    if (x->scene != y->scene)
        return x->scene < y->scene ? -1 : 1;
    return (x->decision > y->decision) - (x->decision < y->decision);
}

static um_status on_letters(void *context, size_t query, size_t text, const double *p,
                            um_error *err)
{
    predictor *q = context;
    const unscored *item = &q->items.data[q->first[query] + text];
    uint32_t k = q->s->scenes->scenes[item->scene].k;
    um_status status = portion_open(&q->portion, err);

    if (status == UM_OK && item->decision == 0) {
        um_row_direct row = {item->scene, q->id, k, p};
        status = um_workspace_put_direct(q->s->ws, &row, err);
    } else if (status == UM_OK) {
        um_row_distribution row = {
            .decision_id = item->decision, .predictor_id = q->id, .k = k, .p = p};
        status = um_workspace_put_distribution(q->s->ws, &row, err);
    }
    if (status != UM_OK)
        return status;
    if (q->first[query] + text + 1 == q->first[query + 1]) {
        um_run_progress(q->run, q->run->done + 1, NULL);
        status = portion_close(&q->portion, false, err);
    }
    return status;
}

/* Scenes that have texts to score, and the index of the first text of each; [n] is the end. */
static size_t split_by_scene(const predictor *q, uint64_t *ids, size_t *first)
{
    size_t n = 0;
    for (size_t i = 0; i < q->items.len; i++) {
        if (i == 0 || q->items.data[i].scene != q->items.data[i - 1].scene) {
            first[n] = i;
            ids[n++] = q->items.data[i].scene;
        }
    }
    first[n] = q->items.len;
    return n;
}

/*
 * Queries: one a scene, with all its texts that fit the model. Those that do not are left out and
 * counted; a scene is measured by what is left. q->first becomes the first text of each query.
 */
static um_status make_queries(predictor *q, um_responder *responder,
                              const um_scene_prompts *prompts, const size_t *first,
                              um_letter_query *queries, const char **texts, size_t *n_queries,
                              um_error *err)
{
    size_t kept = 0, total = q->items.len;
    um_status status = UM_OK;

    *n_queries = 0;
    q->items.len = 0; /* what is moved to the front stays ours, whatever happens */
    for (size_t i = 0; i < prompts->n; i++) {
        size_t begin = kept;
        for (size_t j = first[i]; j < first[i + 1]; j++) {
            unscored item = q->items.data[j];
            bool fits = false;
            if (status == UM_OK)
                status = um_actor_fits(responder, &prompts->prompts[i], item.text, 0, &fits, err);
            if (!fits) {
                free(item.text);
                continue;
            }
            texts[kept] = item.text;
            q->items.data[kept++] = item;
        }
        if (kept > begin) {
            queries[*n_queries] =
                (um_letter_query){&prompts->prompts[i], texts + begin, kept - begin};
            q->first[(*n_queries)++] = begin;
        }
    }
    q->first[*n_queries] = kept;
    q->items.len = kept;
    q->too_long = total - kept;
    return status;
}

static um_status predict_all(predictor *q, um_responder *responder, um_error *err)
{
    um_session *s = q->s;
    size_t n_queries = 0;
    uint64_t *ids = um_calloc(q->items.len, sizeof *ids);
    size_t *first = um_calloc(q->items.len + 1, sizeof *first);
    const char **texts = um_calloc(q->items.len, sizeof *texts);
    um_letter_query *queries = um_calloc(q->items.len, sizeof *queries);
    um_scene_prompts prompts = {0};
    um_status status = UM_OK;

    q->first = um_calloc(q->items.len + 1, sizeof *q->first);
    if (ids == NULL || first == NULL || texts == NULL || queries == NULL || q->first == NULL) {
        status = um_fail_memory(err, "texts");
        goto done;
    }
    size_t n = split_by_scene(q, ids, first);
    q->run->done = q->run->resumed = q->run->total > n ? q->run->total - n : 0;
    if ((status = um_scene_prompts_make(&prompts, s, ids, n, NULL, err)) != UM_OK ||
        (status = make_queries(q, responder, &prompts, first, queries, texts, &n_queries, err)) !=
            UM_OK)
        goto done;
    status = responder->ops->score_letters(responder, queries, n_queries, on_letters, q, s->monitor,
                                           err);
    status = portion_end(&q->portion, status, err);
done:
    um_scene_prompts_dispose(&prompts);
    free(ids);
    free(first);
    free(texts);
    free(queries);
    return status;
}

um_status um_stage_predict(um_session *s, um_error *err)
{
    um_run run = {0};
    um_actor actor = {0};
    predictor q = {.s = s, .run = &run};
    uint64_t teacher = 0;
    um_status status = um_stage_fingerprint(s, "predict", "decide.teacher", &teacher, err);
    if (status == UM_OK)
        status = um_run_begin(&run, s, "predict", "prompt.", "decide.student", teacher, err);

    q.portion.run = &run;
    if (status != UM_OK || run.finished_before)
        goto done;
    const um_scene_set *set;
    if ((status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = um_actor_open(&actor, s, "base", err)) != UM_OK)
        goto done;
    q.id = actor.id;
    um_decision_filter filter = {.any_scene = true, .split = "train", .unscored_by = q.id};
    um_scene_filter scenes = {.split = "train", .without_direct_by = q.id};
    run.total = set->n_split[UM_SPLIT_TRAIN];
    if ((status = um_workspace_decisions(s->ws, &filter, add_decision, &q, err)) != UM_OK ||
        (status = um_workspace_scenes(s->ws, &scenes, add_direct, &q, err)) != UM_OK)
        goto done;
    if (q.items.len > 0)
        qsort(q.items.data, q.items.len, sizeof *q.items.data, by_scene);
    if ((status = predict_all(&q, actor.responder, err)) != UM_OK)
        goto done;
    json_object_set_new(run.detail, "predictor", json_string(actor.responder->name));
    json_object_set_new(run.detail, "too_long", json_integer((json_int_t)q.too_long));
    status = um_run_save(&run, true, err);
done:
    for (size_t i = 0; i < q.items.len; i++)
        free(q.items.data[i].text);
    um_vec_dispose(&q.items);
    free(q.first);
    um_actor_close(&actor);
    um_run_dispose(&run);
    return status;
}
