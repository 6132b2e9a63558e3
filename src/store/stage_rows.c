/* Stages, metrics, counts, and what each stage's removal means. */
#include <string.h>

#include "base/error.h"
#include "store/sql.h"

#define STAGE_COLUMNS                                                                              \
    "name, parameters, fingerprint, status, items_done, items_total, seconds, peak_rss_kb, "       \
    "detail,"                                                                                      \
    " updated"

um_status um_workspace_put_stage(um_workspace *ws, const um_row_stage *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_STAGE);
    um_bind_text(&q, row->name);
    um_bind_text(&q, row->parameters);
    um_bind_text(&q, row->fingerprint);
    um_bind_text(&q, row->status);
    um_bind_u64(&q, row->items_done);
    um_bind_u64(&q, row->items_total);
    um_bind_f64(&q, row->seconds);
    um_bind_u64(&q, row->peak_rss_kb);
    um_bind_text(&q, row->detail);
    um_bind_i64(&q, row->updated_s);
    return um_query_run(&q, err);
}

static bool take_stage(um_query *q, um_row_stage *row)
{
    row->name = um_take_text(q);
    row->parameters = um_take_text(q);
    row->fingerprint = um_take_text(q);
    row->status = um_take_text(q);
    row->items_done = um_take_u64(q);
    row->items_total = um_take_u64(q);
    row->seconds = um_take_f64(q);
    row->peak_rss_kb = um_take_u64(q);
    row->detail = um_take_text(q);
    row->updated_s = um_take_i64(q);
    return um_row_is_good(q);
}

um_status um_workspace_get_stage(um_row_stage *row, um_workspace *ws, const char *name,
                                 um_error *err)
{
    um_arena *arena = &ws->lent[UM_LENT_STAGE];
    um_row_stage found;
    bool failed = false, exists = false;
    um_query q;
    um_arena_reset(arena);
    um_query_begin(&q, ws, "SELECT " STAGE_COLUMNS " FROM stages WHERE name = ?");
    um_bind_text(&q, name);
    if (um_query_next(&q) && take_stage(&q, &found)) {
        exists = true;
        found.name = um_lend_text(arena, found.name, &failed);
        found.parameters = um_lend_text(arena, found.parameters, &failed);
        found.fingerprint = um_lend_text(arena, found.fingerprint, &failed);
        found.status = um_lend_text(arena, found.status, &failed);
        found.detail = um_lend_text(arena, found.detail, &failed);
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && failed)
        status = um_fail_memory(err, "a stage row");
    if (status == UM_OK && !exists)
        status = um_fail(err, UM_ERR_NOT_FOUND, "%s: stage '%s' has not run", ws->db_path, name);
    if (status == UM_OK)
        *row = found;
    return status;
}

um_status um_workspace_stages(um_workspace *ws, um_on_stage on_row, void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws, "SELECT " STAGE_COLUMNS " FROM stages ORDER BY id");
    while (status == UM_OK && um_query_next(&q)) {
        um_row_stage row;
        if (!take_stage(&q, &row))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_put_metric(um_workspace *ws, const um_row_metric *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_METRIC);
    um_bind_text(&q, row->stage);
    um_bind_u64(&q, row->step);
    um_bind_text(&q, row->values);
    return um_query_run(&q, err);
}

um_status um_workspace_metrics(um_workspace *ws, const char *stage, um_on_metric on_row,
                               void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT stage, step, \"values\" FROM metrics WHERE stage = ? ORDER BY step");
    um_bind_text(&q, stage);
    while (status == UM_OK && um_query_next(&q)) {
        um_row_metric row;
        row.stage = um_take_text(&q);
        row.step = um_take_u64(&q);
        row.values = um_take_text(&q);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_drop_metrics(um_workspace *ws, const char *stage, uint64_t first_step,
                                    um_error *err)
{
    um_query q;
    um_query_begin(&q, ws, "DELETE FROM metrics WHERE stage = ? AND step >= ?");
    um_bind_text(&q, stage);
    um_bind_u64(&q, first_step);
    return um_query_run(&q, err);
}

/* Clearing ------------------------------------------------------------------------------------- */

const char *const um_workspace_stage_names[] = {
    "ingest", "scenes", "base", "decide", "predict", "distill", "train", "eval", NULL,
};

/*
 * What undoes each stage once all later ones are undone: rows that refer to others go first.
 * Letters over distributions belong to the decisions they follow where those are the evaluation's.
 */
static const char *const undo_sql[] = {
    "DELETE FROM rejections; DELETE FROM files; DELETE FROM histories; DELETE FROM skips;"
    "DELETE FROM users; DELETE FROM items; DELETE FROM dataset; DELETE FROM models;",
    "DELETE FROM scenes;" UM_FORGET_REQUESTS("1"),
    "",
    "DELETE FROM decisions;" UM_FORGET_REQUESTS("stage LIKE 'decide.%'"),
    "DELETE FROM distributions; DELETE FROM direct_distributions;" UM_FORGET_REQUESTS(
        "stage = 'predict'"),
    "DELETE FROM pairs; DELETE FROM scene_scores; DELETE FROM decision_scores;"
    "DELETE FROM difficulties;",
    "",
    "DELETE FROM evaluations;"
    "DELETE FROM distributions WHERE decision_id IN (SELECT id FROM decisions"
    "  WHERE role = '" UM_ROLE_EVAL "');"
    "DELETE FROM decisions WHERE role = '" UM_ROLE_EVAL "';"
    "DELETE FROM direct_distributions WHERE scene_id IN (SELECT id FROM scenes"
    "  WHERE split = 'eval');",
};

_Static_assert(sizeof undo_sql / sizeof *undo_sql + 1 ==
                   sizeof um_workspace_stage_names / sizeof *um_workspace_stage_names,
               "every stage can be undone");

um_status um_workspace_drop_decisions(um_workspace *ws, const char *role, const char *model_name,
                                      um_error *err)
{
#define THEIR_IDS                                                                                  \
    " WHERE decision_id IN (SELECT d.id FROM decisions d JOIN models m ON m.id = d.model_id"       \
    "  WHERE (?1 IS NULL OR d.role = ?1) AND (?2 IS NULL OR m.name = ?2))"
    static const char *const statements[] = {
        "DELETE FROM distributions" THEIR_IDS,
        "DELETE FROM decision_scores" THEIR_IDS,
        "DELETE FROM decisions WHERE (?1 IS NULL OR role = ?1)"
        "  AND (?2 IS NULL OR model_id IN (SELECT id FROM models WHERE name = ?2))",
    };
    um_status status = UM_OK;
    for (size_t i = 0; i < sizeof statements / sizeof *statements && status == UM_OK; i++) {
        um_query q;
        um_query_begin(&q, ws, statements[i]);
        um_bind_text(&q, role);
        um_bind_text(&q, model_name);
        status = um_query_run(&q, err);
    }
    return status;
}

/* Rows of a stage and of its parts, which are named "<stage>.<part>". */
um_status um_workspace_forget_stage(um_workspace *ws, const char *name, um_error *err)
{
    static const char *const statements[] = {
        "DELETE FROM stages WHERE name = ?1 OR substr(name, 1, length(?1) + 1) = ?1 || '.'",
        "DELETE FROM metrics WHERE stage = ?1 OR substr(stage, 1, length(?1) + 1) = ?1 || '.'",
    };
    um_status status = UM_OK;
    for (size_t i = 0; i < 2 && status == UM_OK; i++) {
        um_query q;
        um_query_begin(&q, ws, statements[i]);
        um_bind_text(&q, name);
        status = um_query_run(&q, err);
    }
    return status;
}

um_status um_workspace_clear_stage(um_workspace *ws, const char *name, um_error *err)
{
    int n_stages = (int)(sizeof undo_sql / sizeof *undo_sql);
    int first = 0;
    while (first < n_stages && strcmp(name, um_workspace_stage_names[first]) != 0)
        first++;
    if (first == n_stages)
        return um_fail(err, UM_ERR_INPUT, "stage '%s' is unknown", name);
    bool own_transaction = sqlite3_get_autocommit(ws->db) != 0;
    um_status status = own_transaction ? um_workspace_begin(ws, err) : UM_OK;
    for (int i = n_stages - 1; i >= first && status == UM_OK; i--) {
        status = um_sql_exec(ws, undo_sql[i], err);
        if (status == UM_OK)
            status = um_workspace_forget_stage(ws, um_workspace_stage_names[i], err);
    }
    if (status == UM_OK && own_transaction)
        status = um_workspace_commit(ws, err);
    if (status != UM_OK && own_transaction)
        um_workspace_rollback(ws);
    return status;
}

/* Counts --------------------------------------------------------------------------------------- */

um_status um_workspace_count(um_workspace_counts *counts, um_workspace *ws, um_error *err)
{
    um_workspace_counts c = {0};
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM items),"
                   " coalesce((SELECT n_interactions FROM dataset), 0),"
                   " coalesce((SELECT sum(rows_rejected) FROM files), 0),"
                   " (SELECT count(*) FROM scenes WHERE split = 'base'),"
                   " (SELECT count(*) FROM scenes WHERE split = 'train'),"
                   " (SELECT count(*) FROM scenes WHERE split = 'eval'),"
                   " (SELECT count(*) FROM models), (SELECT count(*) FROM decisions),"
                   " (SELECT count(*) FROM decisions WHERE form_error IS NOT NULL),"
                   " (SELECT count(*) FROM distributions),"
                   " (SELECT count(*) FROM direct_distributions),"
                   " (SELECT count(*) FROM scene_scores),"
                   " (SELECT count(*) FROM scene_scores WHERE kept <> 0),"
                   " (SELECT count(*) FROM pairs), (SELECT count(*) FROM evaluations)");
    if (um_query_next(&q)) {
        c.users = um_take_u64(&q);
        c.items = um_take_u64(&q);
        c.interactions = um_take_u64(&q);
        c.rejections = um_take_u64(&q);
        c.scenes_base = um_take_u64(&q);
        c.scenes_train = um_take_u64(&q);
        c.scenes_eval = um_take_u64(&q);
        c.models = um_take_u64(&q);
        c.decisions = um_take_u64(&q);
        c.malformed = um_take_u64(&q);
        c.distributions = um_take_u64(&q);
        c.directs = um_take_u64(&q);
        c.scores = um_take_u64(&q);
        c.kept = um_take_u64(&q);
        c.pairs = um_take_u64(&q);
        c.evaluations = um_take_u64(&q);
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK)
        *counts = c;
    return status;
}

um_status um_workspace_decision_counts(um_workspace *ws, um_on_decision_count on_row, void *context,
                                       um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT d.role, m.name, m.id, count(DISTINCT d.scene_id), count(*),"
                   " (SELECT count(*) FROM decisions f WHERE f.form_error IS NOT NULL"
                   "   AND f.role = d.role AND f.model_id = m.id)"
                   " FROM decisions d JOIN models m ON m.id = d.model_id"
                   " GROUP BY d.role, m.id ORDER BY d.role, m.id");
    while (status == UM_OK && um_query_next(&q)) {
        um_row_decision_count row;
        row.role = um_take_text(&q);
        row.model_name = um_take_text(&q);
        row.model_id = um_take_u64(&q);
        row.scenes = um_take_u64(&q);
        row.decisions = um_take_u64(&q);
        row.malformed = um_take_u64(&q);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_fault_counts(um_workspace *ws, um_on_fault_count on_row, void *context,
                                    um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT d.role, m.name, d.form_error, count(*)"
                   " FROM decisions d JOIN models m ON m.id = d.model_id"
                   " WHERE d.form_error IS NOT NULL"
                   " GROUP BY d.role, m.id, d.form_error ORDER BY d.role, m.id, d.form_error");
    while (status == UM_OK && um_query_next(&q)) {
        um_row_fault_count row;
        row.role = um_take_text(&q);
        row.model_name = um_take_text(&q);
        row.fault = um_take_text(&q);
        row.n = um_take_u64(&q);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}
