/*
 * merge.c - takes over the decision processes and distributions that other workspaces hold for the
 * same scenes: what a fleet of machines did in shards becomes one workspace. Requests to endpoints
 * come with them, so that money spent is known and answers that no decision holds yet are used.
 *
 * Ids of models are a workspace's own, so rows are put anew under the ids of this one. A row that
 * is there already must be equal; anything else means that the two did not do the same work.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/session.h"

typedef struct merger {
    um_workspace *into, *from;
    const char *from_path;
    um_merge_report *report;
    UM_VEC(uint64_t) model_ids; /* here, by id there */
    /* Decisions (or, for direct distributions, scenes) here that the current predictor has scored,
     * ascending. */
    UM_VEC(uint64_t) scored;
    uint64_t predictor_there, predictor_here;
} merger;

static um_status same_stage(merger *m, const char *name, um_error *err)
{
    um_row_stage row;
    char *fingerprint = NULL;
    um_status status = um_workspace_get_stage(&row, m->from, name, err);

    if (status == UM_ERR_NOT_FOUND)
        return um_fail(err, UM_ERR_STATE, "merge: '%s' has no %s", m->from_path, name);
    if (status != UM_OK)
        return status;
    fingerprint = um_strdup(row.fingerprint);
    if (fingerprint == NULL)
        return um_fail_memory(err, "merge");
    status = um_workspace_get_stage(&row, m->into, name, err);
    if (status == UM_ERR_NOT_FOUND)
        status =
            um_fail(err, UM_ERR_STATE, "merge: workspace '%s' has no %s; start from a copy of '%s'",
                    um_workspace_path(m->into), name, m->from_path);
    else if (status == UM_OK && strcmp(row.fingerprint, fingerprint) != 0)
        status = um_fail(err, UM_ERR_STATE,
                         "merge: '%s' was made with another %s (log or options differ); only "
                         "shards of the same scenes can be merged",
                         m->from_path, name);
    free(fingerprint);
    return status;
}

/* A stage that only the other has begun is begun here too, so that its options are compared when
 * the stage is run to check what is missing. */
static um_status merge_stage(merger *m, const char *name, um_error *err)
{
    um_row_stage there, here;
    um_status status = um_workspace_get_stage(&there, m->from, name, err);
    if (status == UM_ERR_NOT_FOUND)
        return UM_OK;
    if (status != UM_OK)
        return status;
    status = um_workspace_get_stage(&here, m->into, name, err);
    if (status == UM_OK && strcmp(here.fingerprint, there.fingerprint) != 0)
        return um_fail(err, UM_ERR_STATE, "merge: '%s' ran %s with other options", m->from_path,
                       name);
    if (status != UM_ERR_NOT_FOUND)
        return status;
    there.status = "running";
    there.items_done = 0;
    return um_workspace_put_stage(m->into, &there, err);
}

static um_status merge_model(void *context, const um_row_model *row, um_error *err)
{
    merger *m = context;
    uint64_t id;
    um_status status = um_workspace_model_id(&id, m->into, row, err);
    if (status != UM_OK)
        return um_error_prefix(err, status, "merge: '%s'", m->from_path);
    while (m->model_ids.len <= row->id) {
        if (!um_vec_push(&m->model_ids, 0))
            return um_fail_memory(err, "merge");
    }
    m->model_ids.data[row->id] = id;
    return UM_OK;
}

static um_status here_id(const merger *m, uint64_t *id, const um_row_decision *row, um_error *err)
{
    return um_workspace_decision_id(id, row->scene_id, m->model_ids.data[row->model_id], row->role,
                                    row->sample, err);
}

static um_status merge_decision(void *context, const um_row_decision *row, um_error *err)
{
    merger *m = context;
    um_row_decision here, copy = *row;
    uint64_t id;
    um_status status = here_id(m, &id, row, err);

    if (status != UM_OK)
        return status;
    status = um_workspace_get_decision(&here, m->into, id, err);
    if (status == UM_OK) {
        m->report->known++;
        if (strcmp(here.text, row->text) != 0)
            return um_fail(err, UM_ERR_STATE,
                           "merge: scene %llu, %s, sample %u: '%s' has another text than '%s'; "
                           "they did not run the same model with the same seed",
                           (unsigned long long)row->scene_id, row->role, row->sample, m->from_path,
                           um_workspace_path(m->into));
        return UM_OK;
    }
    if (status != UM_ERR_NOT_FOUND)
        return status;
    copy.model_id = m->model_ids.data[row->model_id];
    m->report->decisions++;
    return um_workspace_put_decision(m->into, &copy, err);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool is_scored(const merger *m, uint64_t id)
{
    return m->scored.len > 0 &&
           bsearch(&id, m->scored.data, m->scored.len, sizeof id, by_value) != NULL;
}

static um_status note_distribution(void *context, const um_row_distribution *row, um_error *err)
{
    merger *m = context;
    return um_vec_push(&m->scored, row->decision_id) ? UM_OK : um_fail_memory(err, "merge");
}

static um_status merge_distribution(void *context, const um_row_distribution *row, um_error *err)
{
    merger *m = context;
    const um_row_decision decision = {.scene_id = row->scene_id,
                                      .model_id = row->model_id,
                                      .role = row->role,
                                      .sample = row->sample};
    um_row_distribution copy = *row;
    um_status status = here_id(m, &copy.decision_id, &decision, err);

    if (status != UM_OK || is_scored(m, copy.decision_id))
        return status;
    copy.predictor_id = m->predictor_here;
    m->report->distributions++;
    return um_workspace_put_distribution(m->into, &copy, err);
}

static um_status note_direct(void *context, const um_row_direct *row, um_error *err)
{
    merger *m = context;
    return um_vec_push(&m->scored, row->scene_id) ? UM_OK : um_fail_memory(err, "merge");
}

static um_status merge_direct(void *context, const um_row_direct *row, um_error *err)
{
    merger *m = context;
    um_row_direct copy = *row;
    if (is_scored(m, row->scene_id))
        return UM_OK;
    copy.predictor_id = m->predictor_here;
    m->report->distributions++;
    return um_workspace_put_direct(m->into, &copy, err);
}

static um_status merge_predictor(merger *m, um_error *err)
{
    static const um_decision_filter all = {.any_scene = true};
    um_status status;

    m->scored.len = 0;
    status =
        um_workspace_distributions(m->into, &all, m->predictor_here, note_distribution, m, err);
    if (status == UM_OK)
        status = um_workspace_distributions(m->from, &all, m->predictor_there, merge_distribution,
                                            m, err);
    m->scored.len = 0;
    if (status == UM_OK)
        status = um_workspace_directs(m->into, m->predictor_here, note_direct, m, err);
    if (status == UM_OK)
        status = um_workspace_directs(m->from, m->predictor_there, merge_direct, m, err);
    return status;
}

static um_status merge_request(void *context, const um_row_request *row, um_error *err)
{
    merger *m = context;
    return um_workspace_merge_request(m->into, row, err);
}

um_status um_session_merge(um_session *s, const char *from, um_merge_report *report, um_error *err)
{
    static const char *const parts[] = {"decide.teacher", "decide.student", "predict"};
    static const um_decision_filter all = {.any_scene = true};
    merger m = {.into = s->ws, .from_path = from, .report = report};
    um_status status = um_workspace_open(&m.from, from, UM_WORKSPACE_READ, err);

    *report = (um_merge_report){0};
    if (status != UM_OK)
        return status;
    if ((status = um_workspace_begin(m.into, err)) != UM_OK ||
        (status = same_stage(&m, "ingest", err)) != UM_OK ||
        (status = same_stage(&m, "scenes", err)) != UM_OK)
        goto done;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && status == UM_OK; i++)
        status = merge_stage(&m, parts[i], err);
    if (status == UM_OK)
        status = um_workspace_models(m.from, merge_model, &m, err);
    if (status == UM_OK)
        status = um_workspace_decisions(m.from, &all, merge_decision, &m, err);
    for (uint64_t id = 1; id < m.model_ids.len && status == UM_OK; id++) {
        m.predictor_there = id;
        m.predictor_here = m.model_ids.data[id];
        if (m.predictor_here != 0)
            status = merge_predictor(&m, err);
    }
    if (status == UM_OK)
        status = um_workspace_requests(m.from, NULL, NULL, merge_request, &m, err);
    if (status == UM_OK)
        status = um_workspace_commit(m.into, err);
done:
    um_workspace_rollback(m.into);
    um_vec_dispose(&m.model_ids);
    um_vec_dispose(&m.scored);
    um_workspace_close(m.from);
    return status;
}
