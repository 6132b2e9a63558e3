/*
 * predict.c - the student's distribution over the letters after every decision process, and without
 * one.
 */
#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/remote.h"

typedef struct unscored {
    uint64_t decision, scene;
    char *text; /* ready to score */
} unscored;

typedef struct predictor {
    um_session *s;
    um_run *run;
    um_portion portion;
    um_actor actor;
    const um_monitor *monitor; /* of remote calls */
    UM_VEC(unscored) items;    /* in scene order; direct queries have decision 0 */
    size_t *first;             /* of each query in items */
    uint64_t too_long;         /* texts that do not fit the model */
    um_share share;
    uint64_t elsewhere; /* texts that are not this run's share */
} predictor;

static um_status add_text(predictor *p, uint64_t decision, uint64_t scene, const char *process,
                          um_error *err)
{
    um_str text = UM_STR_INIT;
    unscored item = {decision, scene, NULL};
    if (!um_share_has(&p->share, scene)) {
        p->elsewhere++;
        return UM_OK;
    }
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
    um_status status = um_portion_open(&q->portion, err);

    if (status == UM_OK && item->decision == 0) {
        um_row_direct row = {item->scene, q->actor.id, k, p};
        status = um_workspace_put_direct(q->s->ws, &row, err);
    } else if (status == UM_OK) {
        um_row_distribution row = {
            .decision_id = item->decision, .predictor_id = q->actor.id, .k = k, .p = p};
        status = um_workspace_put_distribution(q->s->ws, &row, err);
    }
    if (status != UM_OK)
        return status;
    if (q->first[query] + text + 1 == q->first[query + 1]) {
        um_run_progress(q->run, q->run->done + 1, NULL);
        if (q->actor.remote != NULL)
            status = um_workspace_settle_requests(q->s->ws, "predict", item->scene, err);
        if (status == UM_OK)
            status = um_portion_close(&q->portion, false, err);
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

static um_status predict_all(predictor *q, um_error *err)
{
    um_responder *responder = q->actor.responder;
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
    status = responder->ops->score_letters(responder, queries, n_queries, on_letters, q,
                                           q->actor.remote != NULL ? q->monitor : s->monitor, err);
    status = um_portion_end(&q->portion, status, err);
done:
    um_scene_prompts_dispose(&prompts);
    free(ids);
    free(first);
    free(texts);
    free(queries);
    return status;
}

/* What endpoints would not score: few enough, the scenes are measured by the rest. */
static um_status settle_failures(predictor *q, um_error *err)
{
    uint64_t failed = 0;
    um_status status = um_stage_remote_report(q->run, q->actor.remote, &failed, err);

    if (status != UM_OK || (double)failed <= q->s->config->remote.max_failed * (double)q->items.len)
        return status;
    if ((status = um_run_save(q->run, false, err)) != UM_OK)
        return status;
    return um_fail(err, UM_ERR_REMOTE,
                   "predict: %llu of %zu texts failed, remote.max_failed is %g; the others are "
                   "saved, run the same command again to ask for these",
                   (unsigned long long)failed, q->items.len, q->s->config->remote.max_failed);
}

um_status um_stage_predict(um_session *s, um_error *err)
{
    um_run run = {0};
    predictor q = {.s = s, .run = &run};
    um_stage_journal journal = {s->ws, &q.portion, "predict"};
    um_remote_watch watch;
    uint64_t teacher = 0;
    um_status status = um_share_read(&q.share, s->config, err);
    if (status == UM_OK)
        status = um_stage_fingerprint(s, "predict", "decide.teacher", &teacher, err);
    if (status == UM_OK)
        status =
            um_run_begin(&run, s, "predict", "prompt. predict.", "decide.student", teacher, err);

    q.portion.run = &run;
    q.monitor = um_remote_watch_init(&watch, &run);
    if (status != UM_OK || run.finished_before)
        goto done;
    const um_scene_set *set;
    if ((status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = um_actor_open_student(&q.actor, s, &journal, q.monitor, err)) != UM_OK)
        goto done;
    if (q.actor.responder->ops->score_letters == NULL) {
        status =
            um_fail(err, UM_ERR_UNSUPPORTED,
                    "predict: %s gives no log-probabilities of letters; take another endpoint, "
                    "compute here (student.path), or set predict.frequencies to estimate them "
                    "from samples",
                    q.actor.responder->name);
        goto done;
    }
    um_decision_filter filter = {.any_scene = true, .split = "train", .unscored_by = q.actor.id};
    um_scene_filter scenes = {.split = "train", .without_direct_by = q.actor.id};
    run.total = set->n_split[UM_SPLIT_TRAIN];
    if ((status = um_workspace_decisions(s->ws, &filter, add_decision, &q, err)) != UM_OK ||
        (status = um_workspace_scenes(s->ws, &scenes, add_direct, &q, err)) != UM_OK)
        goto done;
    if (q.items.len > 0)
        qsort(q.items.data, q.items.len, sizeof *q.items.data, by_scene);
    if ((status = predict_all(&q, err)) != UM_OK)
        goto done;
    if (q.actor.remote != NULL && (status = settle_failures(&q, err)) != UM_OK)
        goto done;
    json_object_set_new(run.detail, "predictor", json_string(q.actor.responder->name));
    json_object_set_new(run.detail, "too_long", json_integer((json_int_t)q.too_long));
    um_share_report(&run, q.elsewhere);
    status = um_run_save(&run, q.elsewhere == 0, err);
done:
    for (size_t i = 0; i < q.items.len; i++)
        free(q.items.data[i].text);
    um_vec_dispose(&q.items);
    free(q.first);
    um_actor_close(&q.actor);
    um_run_dispose(&run);
    return status;
}
