/*
 * select.c - uncertainty of teacher and student in every scene, the scenes worth keeping, and the
 * pair of decision processes each gives.
 *
 * Scenes are read one after the other and only what selection needs of those that can give a pair
 * is held (about 100 bytes each), so that ten million decision processes fit a small machine.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "stage/candidates.h"
#include "stage/difficulty.h"
#include "stage/session.h"

/* A scene that can give a pair. */
typedef struct entry {
    uint64_t decisions[2]; /* chosen, rejected */
    uint8_t letters[2];
    bool accident;
} entry;

typedef struct selector {
    um_session *s;
    um_run *run;
    um_distill_rules rules;
    uint64_t predictor;
    um_scene_candidates candidates; /* of the scene at hand */
    um_difficulty_reader *difficulty;
    UM_VEC(um_selectable) pool;
    UM_VEC(entry) entries; /* [pool.len] */
    json_t *faults[2];     /* teacher, student: {fault: texts}; owned by the run's detail */
} selector;

static um_row_measure measure_row(const um_uncertainty *u)
{
    return (um_row_measure){u->total, u->model, u->data, u->log_loss, u->hit_rate};
}

static um_status put_decisions(selector *t, const um_scored_scene *scene, um_error *err)
{
    const um_scene_candidates *c = &t->candidates;
    um_status status = UM_OK;

    for (size_t i = 0; i < c->all.len && status == UM_OK; i++) {
        const um_candidate *one = &c->all.data[i];
        const char *fault = c->faults.data[i];
        um_row_decision_score row = {.decision_id = one->decision,
                                     .entropy = one->entropy,
                                     .log_loss = one->log_loss,
                                     .behavior = one->behavior,
                                     .preferred = one->behavior == scene->target,
                                     .fault = fault};
        status = um_workspace_put_decision_score(t->s->ws, &row, err);
        if (fault != NULL) {
            json_t *counts = t->faults[!one->from_teacher];
            json_int_t n = json_integer_value(json_object_get(counts, fault));
            json_object_set_new(counts, fault, json_integer(n + 1));
        }
    }
    return status;
}

/* Measures a scene, stores what it came to, and notes it when it can give a pair. */
static um_status take_scene(selector *t, const um_scored_scene *scene, um_error *err)
{
    um_scene_candidates *c = &t->candidates;
    um_status status = um_scene_candidates_fill(c, scene, &t->rules, err);
    if (status != UM_OK || (status = put_decisions(t, scene, err)) != UM_OK)
        return status;
    if (t->difficulty != NULL && c->has_pair) {
        c->measures.ifd = um_difficulty_of(t->difficulty, scene->id);
        if (isnan(c->measures.ifd)) {
            c->has_pair = false;
            c->reason = UM_REASON_TOO_LONG;
        }
    }
    const um_uncertainty *teacher = &c->measures.teacher, *student = &c->measures.student;
    um_row_score row = {.scene_id = scene->id,
                        .teacher = measure_row(teacher),
                        .student = measure_row(student),
                        .gap = student->model - teacher->model,
                        .total_gap = student->total - teacher->total,
                        .data_gap = student->data - teacher->data,
                        .score = NAN,
                        .reason = c->has_pair ? UM_REASON_OTHERS : c->reason};
    if (c->has_pair) {
        row.score = um_strategy_score(t->rules.strategy, &c->measures, t->rules.seed, scene->id);
        const um_selectable one = {scene->id, um_hash_str(scene->dataset, scene->k), row.score};
        const entry more = {{c->decisions[0], c->decisions[1]},
                            {(uint8_t)c->letters[0], (uint8_t)c->letters[1]},
                            (scene->flags & UM_SCENE_FLAG_ACCIDENT) != 0};
        if (!um_vec_push(&t->pool, one) || !um_vec_push(&t->entries, more))
            return um_fail_memory(err, "selection");
    }
    return um_workspace_put_score(t->s->ws, &row, err);
}

static um_status take_scenes(selector *t, um_error *err)
{
    um_scored_cursor *cursor = NULL;
    const um_scored_scene *scene = NULL;
    um_status status = um_workspace_scored(&cursor, t->s->ws, "train", 0, t->predictor, err);

    while (status == UM_OK && (status = um_scored_next(cursor, &scene, err)) == UM_OK &&
           scene != NULL) {
        status = take_scene(t, scene, err);
        um_run_progress(t->run, t->run->done + 1, NULL);
        if (status == UM_OK && um_monitor_stopped(t->s->monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "distill: interrupted");
    }
    um_scored_close(cursor);
    return status;
}

typedef struct ranked {
    size_t index; /* in the pool */
    uint64_t scene;
    double score;
} ranked;

static int best_first(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return (x->scene > y->scene) - (x->scene < y->scene);
}

/* Marks the scenes that were picked and stores their pairs, best scores first. */
static um_status put_pairs(selector *t, const bool *picked, uint64_t *n_kept, uint64_t *accidents,
                           um_error *err)
{
    um_workspace *ws = t->s->ws;
    ranked *kept = um_calloc(t->pool.len, sizeof *kept);
    um_status status = kept != NULL ? UM_OK : um_fail_memory(err, "selection");
    size_t n = 0;

    for (size_t i = 0; i < t->pool.len && status == UM_OK; i++) {
        if (picked[i])
            kept[n++] = (ranked){i, t->pool.data[i].scene, t->pool.data[i].score};
    }
    if (n > 0)
        qsort(kept, n, sizeof *kept, best_first);
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        const entry *e = &t->entries.data[kept[i].index];
        um_row_pair row = {.id = i,
                           .scene_id = kept[i].scene,
                           .chosen_decision = e->decisions[0],
                           .rejected_decision = e->decisions[1],
                           .chosen_letter = e->letters[0],
                           .rejected_letter = e->letters[1],
                           .rank = (uint32_t)i};
        status = um_workspace_put_pair(ws, &row, err);
        if (status == UM_OK)
            status = um_workspace_keep_score(ws, kept[i].scene, UM_REASON_KEPT, err);
        *accidents += e->accident;
    }
    *n_kept = n;
    free(kept);
    return status;
}

static um_status no_pairs(const selector *t, um_error *err)
{
    return t->rules.strategy == UM_STRATEGY_RANDOM_DIRECT
               ? um_fail(err, UM_ERR_STATE,
                         "distill: no scene has a distribution without decision process; run "
                         "`mirrorer predict`")
               : um_fail(err, UM_ERR_STATE,
                         "distill: no scene has both a teacher's process that reached the true "
                         "action and one that did not; take more scenes or samples");
}

/* Scores, selection and pairs in one transaction: the stage is there whole or not at all. */
static um_status select_and_store(selector *t, um_error *err)
{
    um_run *run = t->run;
    uint64_t n_kept = 0, accidents = 0;
    bool *picked = NULL;
    um_status status = um_workspace_begin(t->s->ws, err);

    if (status != UM_OK || (status = take_scenes(t, err)) != UM_OK)
        goto done;
    picked = um_calloc(t->pool.len, sizeof *picked);
    status = picked != NULL ? UM_OK : um_fail_memory(err, "selection");
    if (status == UM_OK)
        status =
            um_select(picked, t->pool.data, t->pool.len, (size_t)t->s->config->distill.pairs, err);
    if (status == UM_OK)
        status = put_pairs(t, picked, &n_kept, &accidents, err);
    json_object_set_new(run->detail, "pairs", json_integer((json_int_t)n_kept));
    json_object_set_new(run->detail, "with_pair", json_integer((json_int_t)t->pool.len));
    json_object_set_new(run->detail, "accidents_kept", json_integer((json_int_t)accidents));
    json_object_set_new(run->detail, "strategy", json_string(t->s->config->distill.strategy));
    if (status == UM_OK && n_kept == 0)
        status = no_pairs(t, err);
    if (status == UM_OK)
        status = um_run_save(run, true, err);
    if (status == UM_OK)
        status = um_workspace_commit(t->s->ws, err);
done:
    if (status != UM_OK)
        um_workspace_rollback(t->s->ws);
    free(picked);
    return status;
}

um_status um_stage_distill(um_session *s, um_error *err)
{
    um_run run = {0};
    bool imported = false;
    selector t = {.s = s, .run = &run};
    um_status status = um_session_imported(s, "distill", &imported, err);
    if (status != UM_OK || imported)
        return status;
    status = um_run_begin(&run, s, "distill", "seed distill.", "predict", 0, err);

    if (status != UM_OK || run.finished_before)
        goto done;
    run.done = run.resumed = 0;
    json_t *faults = json_object();
    json_object_set_new(run.detail, "faults", faults);
    for (int r = 0; r < 2; r++) {
        t.faults[r] = json_object();
        json_object_set_new(faults, r == 0 ? UM_ROLE_TEACHER : UM_ROLE_STUDENT, t.faults[r]);
    }
    if ((status = um_workspace_count_scenes(&run.total, s->ws, "train", err)) != UM_OK ||
        (status = um_distill_rules_read(&t.rules, s->config, err)) != UM_OK ||
        (status = um_predictor_id(s->ws, &t.predictor, err)) != UM_OK)
        goto done;
    if (t.rules.strategy == UM_STRATEGY_IFD &&
        ((status = um_difficulties_measure(s, &t.rules, t.predictor, err)) != UM_OK ||
         (status = um_difficulty_reader_open(&t.difficulty, s->ws, err)) != UM_OK))
        goto done;
    status = select_and_store(&t, err);
    if (status == UM_OK)
        um_run_progress(&run, run.total, NULL);
done:
    um_difficulty_reader_free(t.difficulty);
    um_scene_candidates_dispose(&t.candidates);
    um_vec_dispose(&t.pool);
    um_vec_dispose(&t.entries);
    um_run_dispose(&run);
    return status;
}
