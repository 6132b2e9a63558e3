/* Distributions, scores, pairs, evaluations. */
#include "base/error.h"
#include "store/sql.h"

/* Distributions -------------------------------------------------------------------------------- */

um_status um_workspace_put_distribution(um_workspace *ws, const um_row_distribution *row,
                                        um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_DISTRIBUTION);
    um_bind_u64(&q, row->decision_id);
    um_bind_u64(&q, row->predictor_id);
    um_bind_u64(&q, row->k);
    um_bind_doubles(&q, row->p, row->k);
    return um_query_run(&q, err);
}

um_status um_workspace_distributions(um_workspace *ws, const um_decision_filter *filter,
                                     uint64_t predictor_id, um_on_distribution on_row,
                                     void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(
        &q, ws,
        "SELECT d.id, x.predictor_id, x.k, x.p, d.scene_id, d.model_id, d.role, d.sample,"
        " d.form_error IS NULL"
        " FROM decisions d JOIN distributions x ON x.decision_id = d.id"
        " AND x.predictor_id = ?7 WHERE " UM_DECISION_CONDITIONS " ORDER BY d.id");
    um_decision_conditions(&q, filter);
    um_bind_u64(&q, predictor_id);
    while (status == UM_OK && um_query_next(&q)) {
        um_row_distribution row;
        row.decision_id = um_take_u64(&q);
        row.predictor_id = um_take_u64(&q);
        row.k = um_take_u32(&q);
        row.p = um_take_doubles(&q, row.k);
        row.scene_id = um_take_u64(&q);
        row.model_id = um_take_u64(&q);
        row.role = um_take_text(&q);
        row.sample = um_take_u32(&q);
        row.well_formed = um_take_i64(&q) != 0;
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_put_direct(um_workspace *ws, const um_row_direct *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_DIRECT);
    um_bind_u64(&q, row->scene_id);
    um_bind_u64(&q, row->predictor_id);
    um_bind_u64(&q, row->k);
    um_bind_doubles(&q, row->p, row->k);
    return um_query_run(&q, err);
}

um_status um_workspace_directs(um_workspace *ws, uint64_t predictor_id, um_on_direct on_row,
                               void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT scene_id, predictor_id, k, p FROM direct_distributions"
                   " WHERE predictor_id = ? ORDER BY scene_id");
    um_bind_u64(&q, predictor_id);
    while (status == UM_OK && um_query_next(&q)) {
        um_row_direct row;
        row.scene_id = um_take_u64(&q);
        row.predictor_id = um_take_u64(&q);
        row.k = um_take_u32(&q);
        row.p = um_take_doubles(&q, row.k);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

/* Scores --------------------------------------------------------------------------------------- */

static void bind_measure(um_query *q, const um_row_measure *measure)
{
    um_bind_f64(q, measure->total);
    um_bind_f64(q, measure->model);
    um_bind_f64(q, measure->data);
    um_bind_f64(q, measure->log_loss);
    um_bind_f64(q, measure->hit_rate);
}

static void take_measure(um_query *q, um_row_measure *measure)
{
    measure->total = um_take_f64(q);
    measure->model = um_take_f64(q);
    measure->data = um_take_f64(q);
    measure->log_loss = um_take_f64(q);
    measure->hit_rate = um_take_f64(q);
}

um_status um_workspace_put_score(um_workspace *ws, const um_row_score *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_SCORE);
    um_bind_u64(&q, row->scene_id);
    bind_measure(&q, &row->teacher);
    bind_measure(&q, &row->student);
    um_bind_f64(&q, row->gap);
    um_bind_f64(&q, row->total_gap);
    um_bind_f64(&q, row->data_gap);
    um_bind_u64(&q, row->kept);
    um_bind_text(&q, row->reason);
    um_bind_f64(&q, row->score);
    return um_query_run(&q, err);
}

um_status um_workspace_keep_score(um_workspace *ws, uint64_t scene_id, const char *reason,
                                  um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_KEPT);
    um_bind_text(&q, reason);
    um_bind_u64(&q, scene_id);
    return um_query_run(&q, err);
}

#define SCORE_COLUMNS                                                                              \
    "scene_id, teacher_total, teacher_model, teacher_data, teacher_log_loss,"                      \
    " teacher_hit_rate, student_total, student_model, student_data, student_log_loss,"             \
    " student_hit_rate, gap, total_gap, data_gap, kept, reason, score"

static bool take_score(um_query *q, um_row_score *row)
{
    row->scene_id = um_take_u64(q);
    take_measure(q, &row->teacher);
    take_measure(q, &row->student);
    row->gap = um_take_f64(q);
    row->total_gap = um_take_f64(q);
    row->data_gap = um_take_f64(q);
    row->kept = um_take_i64(q) != 0;
    row->reason = um_take_text(q);
    row->score = um_take_f64(q);
    return um_row_is_good(q);
}

um_status um_workspace_scores(um_workspace *ws, um_on_score on_row, void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws, "SELECT " SCORE_COLUMNS " FROM scene_scores ORDER BY scene_id");
    while (status == UM_OK && um_query_next(&q)) {
        um_row_score row;
        if (!take_score(&q, &row))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_get_score(um_row_score *row, um_workspace *ws, uint64_t scene_id,
                                 um_error *err)
{
    um_arena *arena = &ws->lent[UM_LENT_SCORE];
    um_row_score found;
    bool failed = false, exists = false;
    um_query q;
    um_arena_reset(arena);
    um_query_begin(&q, ws, "SELECT " SCORE_COLUMNS " FROM scene_scores WHERE scene_id = ?");
    um_bind_u64(&q, scene_id);
    if (um_query_next(&q) && take_score(&q, &found)) {
        exists = true;
        found.reason = um_lend_text(arena, found.reason, &failed);
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && failed)
        status = um_fail_memory(err, "a score");
    if (status == UM_OK && !exists)
        status = um_fail(err, UM_ERR_NOT_FOUND, "%s: scene %llu has not been measured", ws->db_path,
                         (unsigned long long)scene_id);
    if (status == UM_OK)
        *row = found;
    return status;
}

um_status um_workspace_get_stratum(um_row_stratum *row, um_workspace *ws, uint64_t scene_id,
                                   um_error *err)
{
    um_query q;
    um_row_stratum found = {0};
    um_query_begin(
        &q, ws,
        "WITH me AS (SELECT c.scene_id, c.score, s.split, s.dataset, s.choice_cnt"
        "  FROM scene_scores c JOIN scenes s ON s.id = c.scene_id"
        "  WHERE c.scene_id = ?1 AND c.score IS NOT NULL)"
        " SELECT count(*), coalesce(sum(o.kept), 0),"
        " coalesce(sum(o.score > me.score OR (o.score = me.score AND o.scene_id < me.scene_id)),"
        "   0), min(CASE WHEN o.kept THEN o.score END),"
        " (SELECT count(*) FROM scene_scores WHERE score IS NOT NULL),"
        " (SELECT count(*) FROM scene_scores WHERE kept <> 0)"
        " FROM me JOIN scenes s ON s.split = me.split AND s.dataset = me.dataset"
        "  AND s.choice_cnt = me.choice_cnt"
        " JOIN scene_scores o ON o.scene_id = s.id AND o.score IS NOT NULL");
    um_bind_u64(&q, scene_id);
    if (um_query_next(&q)) {
        found.candidates = um_take_u64(&q);
        found.kept = um_take_u64(&q);
        found.rank = um_take_u64(&q);
        found.last_kept = um_take_f64(&q);
        found.all_candidates = um_take_u64(&q);
        found.all_kept = um_take_u64(&q);
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && found.candidates == 0)
        status = um_fail(err, UM_ERR_NOT_FOUND, "%s: scene %llu was no candidate", ws->db_path,
                         (unsigned long long)scene_id);
    if (status == UM_OK)
        *row = found;
    return status;
}

um_status um_workspace_put_decision_score(um_workspace *ws, const um_row_decision_score *row,
                                          um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_DECISION_SCORE);
    um_bind_u64(&q, row->decision_id);
    um_bind_f64(&q, row->entropy);
    um_bind_f64(&q, row->log_loss);
    um_bind_u64(&q, row->behavior);
    um_bind_u64(&q, row->preferred);
    um_bind_text(&q, row->fault);
    return um_query_run(&q, err);
}

um_status um_workspace_decision_scores(um_workspace *ws, uint64_t scene_id,
                                       um_on_decision_score on_row, void *context, um_error *err)
{
    const um_decision_filter of_scene = {.scene_id = scene_id};
    uint64_t first, last;
    um_status status = UM_OK;
    um_query q;
    um_decision_range(&of_scene, &first, &last);
    um_query_begin(&q, ws,
                   "SELECT decision_id, entropy, log_loss, behavior, preferred, fault"
                   " FROM decision_scores WHERE decision_id BETWEEN ? AND ? ORDER BY decision_id");
    um_bind_u64(&q, first);
    um_bind_u64(&q, last);
    while (status == UM_OK && um_query_next(&q)) {
        um_row_decision_score row;
        row.decision_id = um_take_u64(&q);
        row.entropy = um_take_f64(&q);
        row.log_loss = um_take_f64(&q);
        row.behavior = um_take_u32(&q);
        row.preferred = um_take_i64(&q) != 0;
        row.fault = um_take_text(&q);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_put_difficulty(um_workspace *ws, const um_row_difficulty *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_DIFFICULTY);
    um_bind_u64(&q, row->scene_id);
    um_bind_u64(&q, row->decision_id);
    um_bind_u64(&q, row->tokens);
    um_bind_f64(&q, row->logp_with);
    um_bind_f64(&q, row->logp_without);
    return um_query_run(&q, err);
}

um_status um_workspace_difficulties(um_workspace *ws, um_on_difficulty on_row, void *context,
                                    um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT scene_id, decision_id, tokens, logp_with, logp_without"
                   " FROM difficulties ORDER BY scene_id");
    while (status == UM_OK && um_query_next(&q)) {
        um_row_difficulty row;
        row.scene_id = um_take_u64(&q);
        row.decision_id = um_take_u64(&q);
        row.tokens = um_take_u32(&q);
        row.logp_with = um_take_f64(&q);
        row.logp_without = um_take_f64(&q);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

/* Pairs ---------------------------------------------------------------------------------------- */

um_status um_workspace_put_pair(um_workspace *ws, const um_row_pair *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_PAIR);
    um_bind_u64(&q, row->id);
    um_bind_u64(&q, row->scene_id);
    um_bind_u64(&q, row->chosen_decision);
    um_bind_u64(&q, row->rejected_decision);
    um_bind_u64(&q, row->chosen_letter);
    um_bind_u64(&q, row->rejected_letter);
    um_bind_u64(&q, row->rank);
    return um_query_run(&q, err);
}

#define PAIR_COLUMNS                                                                               \
    "id, scene_id, chosen_decision, rejected_decision, chosen_letter, rejected_letter, rank"

static bool take_pair(um_query *q, um_row_pair *row)
{
    row->id = um_take_u64(q);
    row->scene_id = um_take_u64(q);
    row->chosen_decision = um_take_u64(q);
    row->rejected_decision = um_take_u64(q);
    row->chosen_letter = um_take_u32(q);
    row->rejected_letter = um_take_u32(q);
    row->rank = um_take_u32(q);
    return um_row_is_good(q);
}

um_status um_workspace_pairs(um_workspace *ws, um_on_pair on_row, void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws, "SELECT " PAIR_COLUMNS " FROM pairs ORDER BY id");
    while (status == UM_OK && um_query_next(&q)) {
        um_row_pair row;
        if (!take_pair(&q, &row))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_get_pair(um_row_pair *row, um_workspace *ws, uint64_t scene_id,
                                um_error *err)
{
    um_row_pair found;
    um_query q;
    um_query_begin(&q, ws, "SELECT " PAIR_COLUMNS " FROM pairs WHERE scene_id = ?");
    um_bind_u64(&q, scene_id);
    bool exists = um_query_next(&q) && take_pair(&q, &found);
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && !exists)
        status = um_fail(err, UM_ERR_NOT_FOUND, "%s: scene %llu has no pair", ws->db_path,
                         (unsigned long long)scene_id);
    if (status == UM_OK)
        *row = found;
    return status;
}

/* Evaluations ---------------------------------------------------------------------------------- */

um_status um_workspace_put_evaluation(um_workspace *ws, const um_row_evaluation *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_EVALUATION);
    um_bind_u64(&q, row->scene_id);
    um_bind_text(&q, row->row_name);
    um_bind_u64(&q, row->k);
    um_bind_doubles(&q, row->p, row->k);
    um_bind_u64(&q, row->repeats);
    return um_query_run(&q, err);
}

um_status um_workspace_evaluations(um_workspace *ws, const char *row_name, um_on_evaluation on_row,
                                   void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT scene_id, row_name, k, p, repeats FROM evaluations"
                   " WHERE (?1 IS NULL OR row_name = ?1) ORDER BY row_name, scene_id");
    um_bind_text(&q, row_name);
    while (status == UM_OK && um_query_next(&q)) {
        um_row_evaluation row;
        row.scene_id = um_take_u64(&q);
        row.row_name = um_take_text(&q);
        row.k = um_take_u32(&q);
        row.p = um_take_doubles(&q, row.k);
        row.repeats = um_take_u32(&q);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}
