/*
 * select.c - uncertainty of teacher and student in every scene, the scenes worth keeping, and the
 * pair of decision processes each gives.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "stage/session.h"

/* What one scene's decision processes came to. */
typedef struct gathered {
    UM_VEC(um_candidate) candidates;
    UM_VEC(double) p[2]; /* teacher, student: [n, k] */
    UM_VEC(uint8_t) behaviors[2];
    um_uncertainty measure[2];
    bool measured, has_pair;
    size_t chosen, rejected; /* in candidates */
} gathered;

typedef struct selector {
    um_session *s;
    const um_scene_set *set;
    gathered *scenes; /* [set->n], train scenes are filled */
} selector;

static um_status gather(void *context, const um_row_distribution *row, um_error *err)
{
    selector *t = context;
    const um_scene *scene = &t->set->scenes[row->scene_id];
    gathered *g = &t->scenes[row->scene_id];
    uint32_t student = strcmp(row->role, UM_ROLE_STUDENT) == 0;

    if (row->k != scene->k)
        return um_fail(err, UM_ERR_INPUT,
                       "workspace: distribution of decision %llu has %u letters, "
                       "its scene %u",
                       (unsigned long long)row->decision_id, row->k, scene->k);
    um_candidate c = {.decision = row->decision_id,
                      .entropy = um_entropy_bits(row->p, row->k),
                      .behavior = um_behavior_draw(row->p, row->k, t->s->config->seed,
                                                   row->scene_id, student, row->sample),
                      .from_teacher = !student,
                      .well_formed = row->well_formed};
    bool ok = um_vec_push(&g->candidates, c) && um_vec_push(&g->behaviors[student], c.behavior);
    for (uint32_t j = 0; j < row->k && ok; j++)
        ok = um_vec_push(&g->p[student], row->p[j]);
    return ok ? UM_OK : um_fail_memory(err, "distributions");
}

static um_status measure_scene(selector *t, size_t i, um_error *err)
{
    const um_scene *scene = &t->set->scenes[i];
    gathered *g = &t->scenes[i];
    um_status status = UM_OK;

    g->measured = g->behaviors[0].len > 0 && g->behaviors[1].len > 0;
    for (int r = 0; r < 2 && g->measured && status == UM_OK; r++)
        status = um_uncertainty_measure(&g->measure[r], g->p[r].data, g->behaviors[r].len, scene->k,
                                        g->behaviors[r].data, scene->target, err);
    g->has_pair = g->measured && um_pair_choose(g->candidates.data, g->candidates.len,
                                                scene->target, &g->chosen, &g->rejected);
    return status;
}

static const char *reason_of(const gathered *g, uint32_t truth, bool kept)
{
    bool preferred = false;
    if (kept)
        return "kept";
    if (!g->measured)
        return "no decision processes";
    for (size_t i = 0; i < g->candidates.len; i++) {
        const um_candidate *c = &g->candidates.data[i];
        preferred = preferred || (c->from_teacher && c->well_formed && c->behavior == truth);
    }
    if (!preferred)
        return "no well-formed teacher process reached the true action";
    return g->has_pair ? "others teach more" : "no well-formed process reached another action";
}

static um_status put_score(selector *t, size_t i, bool kept, um_error *err)
{
    const gathered *g = &t->scenes[i];
    um_row_measure m[2];
    for (int r = 0; r < 2; r++) {
        const um_uncertainty *u = &g->measure[r];
        m[r] = g->measured ? (um_row_measure){u->total, u->model, u->data, u->log_loss, u->hit_rate}
                           : (um_row_measure){NAN, NAN, NAN, NAN, NAN};
    }
    um_row_score row = {.scene_id = t->set->scenes[i].id,
                        .teacher = m[0],
                        .student = m[1],
                        .gap = m[1].model - m[0].model,
                        .total_gap = m[1].total - m[0].total,
                        .data_gap = m[1].data - m[0].data,
                        .kept = kept,
                        .reason = reason_of(g, t->set->scenes[i].target, kept)};
    return um_workspace_put_score(t->s->ws, &row, err);
}

typedef struct ranked {
    size_t scene;
    double score;
} ranked;

static int best_first(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return (x->scene > y->scene) - (x->scene < y->scene);
}

static um_status put_pairs(selector *t, ranked *kept, size_t n, um_error *err)
{
    um_status status = UM_OK;
    qsort(kept, n, sizeof *kept, best_first);
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        const gathered *g = &t->scenes[kept[i].scene];
        const um_candidate *chosen = &g->candidates.data[g->chosen];
        const um_candidate *rejected = &g->candidates.data[g->rejected];
        um_row_pair row = {.id = i,
                           .scene_id = t->set->scenes[kept[i].scene].id,
                           .chosen_decision = chosen->decision,
                           .rejected_decision = rejected->decision,
                           .chosen_letter = chosen->behavior,
                           .rejected_letter = rejected->behavior,
                           .rank = (uint32_t)i};
        status = um_workspace_put_pair(t->s->ws, &row, err);
    }
    return status;
}

/* Scores, selection and pairs in one transaction: the stage is there whole or not at all. */
static um_status select_and_store(selector *t, um_run *run, um_error *err)
{
    const um_scene_set *set = t->set;
    um_selectable *pool = um_calloc(set->n, sizeof *pool);
    ranked *kept = um_calloc(set->n, sizeof *kept);
    bool *picked = um_calloc(set->n, sizeof *picked);
    bool *is_kept = um_calloc(set->n, sizeof *is_kept);
    size_t n = 0, n_kept = 0, accidents = 0;
    um_strategy strategy;
    um_status status = UM_OK;

    if (pool == NULL || kept == NULL || picked == NULL || is_kept == NULL) {
        status = um_fail_memory(err, "selection");
        goto done;
    }
    if (!um_strategy_parse(t->s->config->distill.strategy, &strategy)) {
        status = um_fail(err, UM_ERR_INPUT, "distill.strategy '%s' is unknown",
                         t->s->config->distill.strategy);
        goto done;
    }
    for (size_t i = 0; i < set->n; i++) {
        const gathered *g = &t->scenes[i];
        if (g->has_pair)
            pool[n++] = (um_selectable){
                i, um_hash_str(t->s->dataset->name, set->scenes[i].k),
                um_strategy_score(strategy, &g->measure[0], &g->measure[1], t->s->config->seed, i)};
    }
    if ((status = um_select(picked, pool, n, (size_t)t->s->config->distill.pairs, err)) != UM_OK ||
        (status = um_workspace_begin(t->s->ws, err)) != UM_OK)
        goto done;
    for (size_t i = 0; i < n; i++) {
        if (picked[i]) {
            is_kept[pool[i].scene] = true;
            accidents += set->scenes[pool[i].scene].accident;
            kept[n_kept++] = (ranked){(size_t)pool[i].scene, pool[i].score};
        }
    }
    for (size_t i = 0; i < set->n && status == UM_OK; i++) {
        if (set->scenes[i].split == UM_SPLIT_TRAIN)
            status = put_score(t, i, is_kept[i], err);
    }
    if (status == UM_OK)
        status = put_pairs(t, kept, n_kept, err);
    run->done = run->total = set->n_split[UM_SPLIT_TRAIN];
    json_object_set_new(run->detail, "pairs", json_integer((json_int_t)n_kept));
    json_object_set_new(run->detail, "with_pair", json_integer((json_int_t)n));
    json_object_set_new(run->detail, "accidents_kept", json_integer((json_int_t)accidents));
    if (status == UM_OK && n_kept == 0)
        status = um_fail(err, UM_ERR_STATE,
                         "distill: no scene has both a teacher's process that reached the true "
                         "action and one that did not; take more scenes or samples");
    if (status == UM_OK)
        status = um_run_save(run, true, err);
    if (status == UM_OK)
        status = um_workspace_commit(t->s->ws, err);
    if (status != UM_OK)
        um_workspace_rollback(t->s->ws);
done:
    free(pool);
    free(kept);
    free(picked);
    free(is_kept);
    return status;
}

static um_status find_base(void *context, const um_row_model *row, um_error *err)
{
    (void)err;
    if (strcmp(row->name, "base") == 0)
        *(uint64_t *)context = row->id;
    return UM_OK;
}

um_status um_stage_distill(um_session *s, um_error *err)
{
    um_run run = {0};
    uint64_t predictor = 0;
    bool imported = false;
    selector t = {.s = s};
    um_status status = um_session_imported(s, "distill", &imported, err);
    if (status != UM_OK || imported)
        return status;
    status = um_run_begin(&run, s, "distill", "seed distill.", "predict", 0, err);

    if (status != UM_OK || run.finished_before)
        goto done;
    if ((status = um_session_scenes(s, &t.set, err)) != UM_OK ||
        (status = um_workspace_models(s->ws, find_base, &predictor, err)) != UM_OK)
        goto done;
    t.scenes = um_calloc(t.set->n, sizeof *t.scenes);
    if (t.scenes == NULL) {
        status = um_fail_memory(err, "scenes");
        goto done;
    }
    um_decision_filter filter = {.any_scene = true, .split = "train"};
    status = um_workspace_distributions(s->ws, &filter, predictor, gather, &t, err);
    for (size_t i = 0; i < t.set->n && status == UM_OK; i++)
        status = measure_scene(&t, i, err);
    if (status == UM_OK)
        status = select_and_store(&t, &run, err);
    if (status == UM_OK)
        um_run_progress(&run, run.total, NULL);
done:
    for (size_t i = 0; t.scenes != NULL && i < t.set->n; i++) {
        um_vec_dispose(&t.scenes[i].candidates);
        for (int r = 0; r < 2; r++) {
            um_vec_dispose(&t.scenes[i].p[r]);
            um_vec_dispose(&t.scenes[i].behaviors[r]);
        }
    }
    free(t.scenes);
    um_run_dispose(&run);
    return status;
}
