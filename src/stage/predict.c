/*
 * predict.c - the student's distribution over the letters after every decision process, and without
 * one. Texts are read a portion of scenes at a time.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/remote.h"

/* Scenes whose texts are in memory at once: enough that the model is seldom idle at the end of a
 * portion. For endpoints at least so many for each request in flight. */
#define PORTION_SCENES     1024
#define SCENES_PER_REQUEST 1

/* A scene with something to score. */
typedef struct todo {
    uint64_t scene;
    uint64_t texts, bytes; /* decision processes */
    bool direct;           /* and the scene without one */
} todo;

/* A text of the portion in work. */
typedef struct unscored {
    uint64_t decision, scene; /* decision 0: none */
    char *text;               /* ready to score */
    size_t place;             /* among the texts of its query, where equal ones stand once */
} unscored;

typedef struct predictor {
    um_session *s;
    um_run *run;
    um_portion portion;
    um_actor actor;
    um_remote_watch watch;
    const um_monitor *monitor; /* of the responder's calls */
    um_share share;
    uint64_t elsewhere; /* scenes that are not this run's share */
    UM_VEC(todo) todo;  /* ascending */
    uint64_t texts;     /* of all */
    uint64_t scored;    /* by earlier runs */
    uint64_t too_long;  /* texts that do not fit the model */
    /* The portion in work. */
    const todo *now;
    UM_VEC(unscored) items; /* in scene order */
    size_t *first;          /* of each query in items */
    um_letter_query *queries;
    size_t query, arrived; /* the query that is being delivered, and its texts that were */
} predictor;

/* What there is to do ------------------------------------------------------------------------- */

static um_status note(predictor *p, uint64_t scene, size_t bytes, bool direct, um_error *err)
{
    size_t n = p->todo.len;
    if (n == 0 || p->todo.data[n - 1].scene != scene) {
        if (!um_vec_push(&p->todo, (todo){.scene = scene}))
            return um_fail_memory(err, "scenes");
        n++;
    }
    todo *t = &p->todo.data[n - 1];
    t->direct = t->direct || direct;
    t->texts += !direct;
    t->bytes += bytes;
    return UM_OK;
}

static um_status note_decision(void *context, const um_row_decision *row, um_error *err)
{
    return note(context, row->scene_id, strlen(row->text), false, err);
}

static um_status note_direct(void *context, const um_row_scene *row, um_error *err)
{
    return note(context, row->id, 0, true, err);
}

static int by_id(const void *a, const void *b)
{
    const todo *x = a, *y = b;
    return (x->scene > y->scene) - (x->scene < y->scene);
}

/* One entry a scene. */
static void join_todo(predictor *p)
{
    size_t n = 0;
    qsort(p->todo.data, p->todo.len, sizeof *p->todo.data, by_id);
    for (size_t i = 0; i < p->todo.len; i++) {
        const todo *t = &p->todo.data[i];
        if (n == 0 || p->todo.data[n - 1].scene != t->scene) {
            p->todo.data[n++] = *t;
            continue;
        }
        todo *same = &p->todo.data[n - 1];
        same->texts += t->texts;
        same->bytes += t->bytes;
        same->direct = same->direct || t->direct;
    }
    p->todo.len = n;
}

/* Fills todo with this run's share of the scenes with unscored texts, and of those without a
 * distribution of their own. */
static um_status find_todo(predictor *p, um_error *err)
{
    um_decision_filter filter = {.any_scene = true, .split = "train", .unscored_by = p->actor.id};
    um_scene_filter scenes = {.split = "train", .without_direct_by = p->actor.id};
    um_workspace_counts counts = {0};
    size_t kept = 0;
    um_status status = um_workspace_decisions(p->s->ws, &filter, note_decision, p, err);

    if (status == UM_OK)
        status = um_workspace_scenes(p->s->ws, &scenes, note_direct, p, err);
    if (status == UM_OK)
        status = um_workspace_count(&counts, p->s->ws, err);
    p->scored = counts.distributions + counts.directs;
    if (status != UM_OK || p->todo.len == 0)
        return status;
    join_todo(p);
    for (size_t i = 0; i < p->todo.len; i++) {
        const todo *t = &p->todo.data[i];
        if (!um_share_has(&p->share, t->scene) || kept == p->share.limit)
            continue;
        p->texts += t->texts + t->direct;
        p->todo.data[kept++] = *t;
    }
    p->elsewhere = p->todo.len - kept;
    p->todo.len = kept;
    return UM_OK;
}

/* A portion ----------------------------------------------------------------------------------- */

static um_status add_text(predictor *p, uint64_t decision, uint64_t scene, const char *process,
                          um_error *err)
{
    um_str text = UM_STR_INIT;
    unscored item = {.decision = decision, .scene = scene};
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

/* Rows come in scene order; those between the portion's scenes are other shards'. */
static um_status add_decision(void *context, const um_row_decision *row, um_error *err)
{
    predictor *p = context;
    while (p->now->scene < row->scene_id)
        p->now++;
    return p->now->scene == row->scene_id ? add_text(p, row->id, row->scene_id, row->text, err)
                                          : UM_OK;
}

static um_status load_texts(predictor *p, const todo *scenes, size_t n, um_error *err)
{
    um_decision_filter filter = {.scene_id = scenes[0].scene,
                                 .last_scene = scenes[n - 1].scene,
                                 .split = "train",
                                 .unscored_by = p->actor.id};
    um_status status = UM_OK;
    p->now = scenes;
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        if (scenes[i].direct)
            status = add_text(p, 0, scenes[i].scene, NULL, err);
    }
    if (status == UM_OK)
        status = um_workspace_decisions(p->s->ws, &filter, add_decision, p, err);
    return status;
}

static int by_scene(const void *a, const void *b)
{
    const unscored *x = a, *y = b;
    if (x->scene != y->scene)
        return x->scene < y->scene ? -1 : 1;
    return (x->decision > y->decision) - (x->decision < y->decision);
}

static um_status store(predictor *q, const unscored *item, const double *p, um_error *err)
{
    uint32_t k = q->s->scenes->scenes[item->scene].k;
    if (item->decision == 0) {
        um_row_direct row = {item->scene, q->actor.id, k, p};
        return um_workspace_put_direct(q->s->ws, &row, err);
    }
    um_row_distribution row = {
        .decision_id = item->decision, .predictor_id = q->actor.id, .k = k, .p = p};
    return um_workspace_put_distribution(q->s->ws, &row, err);
}

static um_status on_letters(void *context, size_t query, size_t text, const double *p,
                            um_error *err)
{
    predictor *q = context;
    uint64_t scene = q->items.data[q->first[query]].scene;
    um_status status = um_portion_open(&q->portion, err);

    for (size_t i = q->first[query]; i < q->first[query + 1] && status == UM_OK; i++) {
        if (q->items.data[i].place == text)
            status = store(q, &q->items.data[i], p, err);
    }
    if (status != UM_OK)
        return status;
    if (query != q->query)
        q->arrived = 0;
    q->query = query;
    if (++q->arrived < q->queries[query].n)
        return UM_OK;
    /* All of the scene's; where endpoints failed some, its answers stay for the next run. */
    um_run_progress(q->run, q->run->done + 1, q->actor.remote != NULL ? q->watch.detail : NULL);
    if (q->actor.remote != NULL)
        status = um_workspace_settle_requests(q->s->ws, "predict", scene, err);
    return status == UM_OK ? um_portion_close(&q->portion, false, err) : status;
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

/* Where the text stands among the query's texts; at their end when it is new. */
static size_t place_of(const um_letter_query *query, const char *text)
{
    size_t at = 0;
    while (at < query->n && strcmp(query->texts[at], text) != 0)
        at++;
    return at;
}

/*
 * Queries: one a scene, with all its texts that fit the model, equal ones once. Those that do not
 * fit are left out and counted; a scene is measured by what is left. q->first becomes the first
 * item of each query.
 */
static um_status make_queries(predictor *q, um_responder *responder,
                              const um_scene_prompts *prompts, const size_t *first,
                              const char **texts, size_t *n_queries, um_error *err)
{
    size_t kept = 0, total = q->items.len;
    um_status status = UM_OK;

    *n_queries = 0;
    q->items.len = 0; /* what is moved to the front stays ours, whatever happens */
    for (size_t i = 0; i < prompts->n; i++) {
        um_letter_query query = {&prompts->prompts[i], texts, 0};
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
            item.place = place_of(&query, item.text);
            if (item.place == query.n) {
                query.n++;
                *texts++ = item.text;
            }
            q->items.data[kept++] = item;
        }
        if (kept > begin) {
            q->first[*n_queries] = begin;
            q->queries[(*n_queries)++] = query;
        }
    }
    q->first[*n_queries] = kept;
    q->items.len = kept;
    q->too_long += total - kept;
    return status;
}

static void forget_texts(predictor *q)
{
    for (size_t i = 0; i < q->items.len; i++)
        free(q->items.data[i].text);
    q->items.len = 0;
    free(q->first);
    free(q->queries);
    q->first = NULL;
    q->queries = NULL;
}

static um_status predict_portion(predictor *q, const todo *scenes, size_t n_scenes, um_error *err)
{
    um_responder *responder = q->actor.responder;
    size_t n_queries = 0, n, *first = NULL;
    uint64_t *ids = NULL;
    const char **texts = NULL;
    um_scene_prompts prompts = {0};
    um_status status = load_texts(q, scenes, n_scenes, err);

    if (status != UM_OK)
        goto done;
    if (q->items.len > 0)
        qsort(q->items.data, q->items.len, sizeof *q->items.data, by_scene);
    ids = um_calloc(q->items.len, sizeof *ids);
    first = um_calloc(q->items.len + 1, sizeof *first);
    texts = um_calloc(q->items.len, sizeof *texts);
    q->queries = um_calloc(q->items.len, sizeof *q->queries);
    q->first = um_calloc(q->items.len + 1, sizeof *q->first);
    if (ids == NULL || first == NULL || texts == NULL || q->queries == NULL || q->first == NULL) {
        status = um_fail_memory(err, "texts");
        goto done;
    }
    n = split_by_scene(q, ids, first);
    if ((status = um_scene_prompts_make(&prompts, q->s, ids, n, NULL, err)) != UM_OK ||
        (status = make_queries(q, responder, &prompts, first, texts, &n_queries, err)) != UM_OK)
        goto done;
    q->query = q->arrived = 0;
    status = responder->ops->score_letters(responder, q->queries, n_queries, on_letters, q,
                                           q->monitor, err);
    q->watch.before += q->items.len;
done:
    forget_texts(q);
    um_scene_prompts_dispose(&prompts);
    free(ids);
    free(first);
    free(texts);
    return status;
}

static um_status predict_all(predictor *q, um_error *err)
{
    size_t most = q->actor.remote != NULL
                      ? um_portion_scenes(PORTION_SCENES, SCENES_PER_REQUEST, q->s->config)
                      : PORTION_SCENES;
    um_status status = UM_OK;
    for (size_t begin = 0; begin < q->todo.len && status == UM_OK; begin += most) {
        size_t n = q->todo.len - begin < most ? q->todo.len - begin : most;
        status = predict_portion(q, q->todo.data + begin, n, err);
    }
    return um_portion_end(&q->portion, status, err);
}

/* Endpoints ----------------------------------------------------------------------------------- */

/* Each text is asked for with its scene's prompt before it. */
static um_status forecast(predictor *q, um_error *err)
{
    const um_config *c = q->s->config;
    const um_remote_abilities *can = um_remote_abilities_of(q->actor.remote, 0);
    uint64_t bytes = 0, requests = 1, samples = 1;
    um_status status = UM_OK;

    for (size_t i = 0; i < q->todo.len && status == UM_OK; i++) {
        const todo *t = &q->todo.data[i];
        um_scene_prompts one = {0};
        status = um_scene_prompts_make(&one, q->s, &t->scene, 1, NULL, err);
        if (status == UM_OK)
            bytes += t->bytes + (t->texts + t->direct) * (strlen(one.prompts->messages[0].content) +
                                                          strlen(one.prompts->messages[1].content));
        um_scene_prompts_dispose(&one);
    }
    if (can != NULL && can->top_logprobs == 0) {
        samples = (uint64_t)c->predict.frequency_samples;
        requests = can->n
                       ? (samples + (uint64_t)c->remote.choices - 1) / (uint64_t)c->remote.choices
                       : samples;
    }
    if (status != UM_OK)
        return status;
    um_remote_cost cost =
        um_stage_remote_short_cost(q->s, q->actor.remote, q->texts * samples, q->texts * requests,
                                   bytes * requests, q->texts * samples);
    return um_stage_remote_forecast(q->s->monitor, &cost, err);
}

/* What endpoints would not score: few enough, the scenes are measured by the rest. What failed in
 * earlier runs was asked for again in this one. */
static um_status check_failures(predictor *q, um_error *err)
{
    uint64_t failed = 0, all = q->texts + q->scored;
    um_status status = um_stage_remote_report(q->run, q->actor.remote, &failed, err);

    if (status != UM_OK || (double)failed <= q->s->config->remote.max_failed * (double)all)
        return status;
    if ((status = um_run_save(q->run, false, err)) != UM_OK)
        return status;
    return um_fail(err, UM_ERR_REMOTE,
                   "predict: %llu of %llu texts failed, remote.max_failed is %g; the others are "
                   "saved, run the same command again to ask for these",
                   (unsigned long long)failed, (unsigned long long)all,
                   q->s->config->remote.max_failed);
}

/* The stage ----------------------------------------------------------------------------------- */

static um_status open_predictor(predictor *q, um_stage_journal *journal, um_error *err)
{
    um_status status = um_actor_open_student(&q->actor, q->s, journal, q->monitor, err);
    if (status == UM_OK && q->actor.responder->ops->score_letters == NULL)
        status =
            um_fail(err, UM_ERR_UNSUPPORTED,
                    "predict: %s gives no log-probabilities of letters; take another endpoint, "
                    "compute here (student.path), or set predict.frequencies to estimate them "
                    "from samples",
                    q->actor.responder->name);
    if (status != UM_OK)
        um_run_withdraw(q->run);
    if (q->actor.remote == NULL)
        q->monitor = q->s->monitor;
    return status;
}

um_status um_stage_predict(um_session *s, um_error *err)
{
    um_run run = {0};
    predictor q = {.s = s, .run = &run, .portion = {.run = &run}};
    um_stage_journal journal = {s->ws, &q.portion, "predict"};
    const um_scene_set *set;
    uint64_t teacher = 0;
    um_status status = um_share_read(&q.share, s->config, err);

    if (status == UM_OK)
        status = um_stage_fingerprint(s, "predict", "decide.teacher", &teacher, err);
    if (status == UM_OK)
        status =
            um_run_begin(&run, s, "predict", "prompt. predict.", "decide.student", teacher, err);
    if (status != UM_OK || run.finished_before)
        goto done;
    q.monitor = um_remote_watch_init(&q.watch, &run);
    if ((status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = open_predictor(&q, &journal, err)) != UM_OK ||
        (status = find_todo(&q, err)) != UM_OK)
        goto done;
    run.total = set->n_split[UM_SPLIT_TRAIN] - q.elsewhere;
    run.done = run.resumed = run.total - q.todo.len;
    q.watch.total = q.texts;
    if (q.actor.remote != NULL && ((status = um_stage_remote_list_open(&run, err)) != UM_OK ||
                                   (status = forecast(&q, err)) != UM_OK))
        goto done;
    if ((status = predict_all(&q, err)) != UM_OK ||
        (q.actor.remote != NULL && (status = check_failures(&q, err)) != UM_OK))
        goto done;
    run.done = run.total;
    json_object_set_new(run.detail, "predictor", json_string(q.actor.responder->name));
    json_object_set_new(run.detail, "too_long", json_integer((json_int_t)q.too_long));
    um_share_report(&run, q.elsewhere);
    status = um_run_save(&run, q.elsewhere == 0, err);
done:
    forget_texts(&q);
    um_vec_dispose(&q.items);
    um_vec_dispose(&q.todo);
    um_actor_close(&q.actor);
    um_run_dispose(&run);
    return status;
}
