/*
 * export.c - log, scenes and scores as JSONL (docs/FORMATS.md), and the dispatch of exports.
 *
 * Scenes follow the published evaluation set, with one more key, `split`.
 */
#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "stage/candidates.h"
#include "stage/exchange.h"

um_status um_jsonl_write(um_jsonl_out *out, um_error *err)
{
    um_str_append(&out->line, "\n");
    um_status status = um_str_status(&out->line, err);
    if (status == UM_OK &&
        fwrite(out->line.data, 1, out->line.len, out->file.stream) != out->line.len)
        status = um_fail_errno(err, "write", out->file.path);
    um_str_clear(&out->line);
    return status;
}

void um_jsonl_out_dispose(um_jsonl_out *out)
{
    um_outfile_dispose(&out->file);
    um_str_dispose(&out->line);
}

/* Scenes -------------------------------------------------------------------------------------- */

static um_status export_scene(void *context, const um_row_scene *row, um_error *err)
{
    um_jsonl_out *out = context;
    char time[32];
    um_time_format(row->timestamp_s, time);
    um_str_append(&out->line, "{\"dataset\":");
    um_str_append_json(&out->line, row->dataset);
    um_str_append(&out->line, ",\"user_id\":");
    um_str_append_json(&out->line, row->user_id);
    um_str_append(&out->line, ",\"item_id\":");
    um_str_append_json(&out->line, row->item_id);
    um_str_appendf(&out->line,
                   ",\"timestamp\":\"%s\",\"item_pos\":%u,\"choice_cnt\":%u,\"impression_list\":%s,"
                   "\"text\":%s,\"split\":\"%s\"}",
                   time, row->item_pos, row->choice_cnt, row->impression_list, row->text,
                   row->split);
    return um_jsonl_write(out, err);
}

/* Scores -------------------------------------------------------------------------------------- */

typedef struct score_export {
    um_session *s;
    um_jsonl_out out;
    uint64_t predictor;
    bool first;
} score_export;

static void append_number(um_str *s, const char *name, double value)
{
    um_str_appendf(s, ",\"%s\":", name);
    um_str_append_number(s, value);
}

static void append_measure(um_str *s, const char *name, const um_row_measure *m)
{
    um_str_appendf(s, ",\"%s\":{\"total\":", name);
    um_str_append_number(s, m->total);
    append_number(s, "model", m->model);
    append_number(s, "data", m->data);
    append_number(s, "log_loss", m->log_loss);
    append_number(s, "hit_rate", m->hit_rate);
    um_str_append(s, "}");
}

static um_status export_decision_score(void *context, const um_row_decision_score *row,
                                       um_error *err)
{
    score_export *e = context;
    um_str *s = &e->out.line;
    uint64_t scene, model;
    uint32_t sample;
    const char *role;
    (void)err;
    um_workspace_decision_parts(row->decision_id, &scene, &model, &role, &sample);
    um_str_appendf(s, "%s{\"role\":\"%s\",\"model\":%llu,\"sample\":%u", e->first ? "" : ",",
                   role != NULL ? role : "", (unsigned long long)model, sample);
    append_number(s, "entropy", row->entropy);
    append_number(s, "log_loss", row->log_loss);
    um_str_appendf(s, ",\"behavior\":\"%c\",\"preferred\":%s,\"fault\":", 'A' + (int)row->behavior,
                   row->preferred ? "true" : "false");
    if (row->fault != NULL)
        um_str_append_json(s, row->fault);
    else
        um_str_append(s, "null");
    um_str_append(s, "}");
    e->first = false;
    return UM_OK;
}

static um_status export_score(void *context, const um_row_score *row, um_error *err)
{
    score_export *e = context;
    um_str *s = &e->out.line;
    um_str_appendf(s, "{\"scene\":%llu", (unsigned long long)row->scene_id);
    append_measure(s, "teacher", &row->teacher);
    append_measure(s, "student", &row->student);
    append_number(s, "gap", row->gap);
    append_number(s, "total_gap", row->total_gap);
    append_number(s, "data_gap", row->data_gap);
    append_number(s, "score", row->score);
    um_str_appendf(s, ",\"kept\":%s,\"reason\":", row->kept ? "true" : "false");
    um_str_append_json(s, row->reason != NULL ? row->reason : "");
    um_str_append(s, ",\"processes\":[");
    e->first = true;
    um_status status =
        um_workspace_decision_scores(e->s->ws, row->scene_id, export_decision_score, e, err);
    um_str_append(s, "]}");
    return status == UM_OK ? um_jsonl_write(&e->out, err) : status;
}

/* ---------------------------------------------------------------------------------------------- */

um_status um_session_export(um_session *s, const char *what, const char *path, um_error *err)
{
    score_export e = {.s = s};
    const um_dataset *d;
    um_workspace_counts counts;
    bool scenes = strcmp(what, "scenes") == 0, scores = strcmp(what, "scores") == 0;
    um_status status;

    if (strcmp(what, "log") == 0) {
        status = um_session_dataset(s, &d, err);
        if (status == UM_OK)
            status = um_path_make_dirs(path, err);
        return status == UM_OK ? um_dataset_write_canonical(d, path, err) : status;
    }
    if (strcmp(what, "pairs") == 0)
        return um_session_export_pairs(s, NULL, path, err);
    if (!scenes && !scores)
        return um_fail(err, UM_ERR_INPUT, "export: found '%s'; log, scenes, pairs or scores", what);
    if ((status = um_workspace_count(&counts, s->ws, err)) != UM_OK)
        return status;
    if (scenes && counts.scenes_base + counts.scenes_train + counts.scenes_eval == 0)
        return um_fail(err, UM_ERR_STATE,
                       "export: workspace '%s' has no scenes; run `mirrorer scenes` first",
                       um_workspace_path(s->ws));
    if (scores && counts.scores == 0)
        return um_fail(err, UM_ERR_STATE,
                       "export: workspace '%s' has no scores; run `mirrorer distill` first",
                       um_workspace_path(s->ws));
    if ((status = um_outfile_open(&e.out.file, path, err)) != UM_OK)
        return status;
    status = scenes ? um_workspace_scenes(s->ws, NULL, export_scene, &e.out, err)
                    : um_workspace_scores(s->ws, export_score, &e, err);
    if (status == UM_OK)
        status = um_outfile_commit(&e.out.file, err);
    um_jsonl_out_dispose(&e.out);
    return status;
}
