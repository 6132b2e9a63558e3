/*
 * summary_distill.c - the part of summary.json about decision processes and what was kept of them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "stage/candidates.h"
#include "stage/session.h"

#define BINS       20  /* of uncertainty */
#define GAP_BINS   24  /* of the gap */
#define MAX_POINTS 500 /* of the scatter; scenes are thinned evenly */

typedef struct gap_point {
    double gap, truth; /* truth: mean probability the student gives the true action */
    bool kept;
} gap_point;

typedef struct score_sums {
    uint64_t teacher[BINS], student[BINS];
    double max_bits;
    json_t *reasons;
    UM_VEC(gap_point) points; /* of every measured scene */
} score_sums;

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static int bin_of(double value, double from, double to, int bins)
{
    int bin = to > from ? (int)((value - from) / (to - from) * bins) : 0;
    return bin < 0 ? 0 : bin >= bins ? bins - 1 : bin;
}

static um_status add_score(void *context, const um_row_score *row, um_error *err)
{
    score_sums *t = context;
    const char *reason = row->reason != NULL ? row->reason : "";
    json_int_t n = json_integer_value(json_object_get(t->reasons, reason));
    const gap_point point = {row->gap, exp2(-row->student.log_loss), row->kept};

    json_object_set_new(t->reasons, reason, json_integer(n + 1));
    if (isnan(row->gap))
        return UM_OK;
    t->teacher[bin_of(row->teacher.model, 0, t->max_bits, BINS)]++;
    t->student[bin_of(row->student.model, 0, t->max_bits, BINS)]++;
    return um_vec_push(&t->points, point) ? UM_OK : um_fail_memory(err, "scores");
}

static json_t *counts_of(const uint64_t *counts, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, integer(counts[i]));
    return list;
}

/* Kept and dropped scenes by gap, and gap against accuracy. */
static void add_gaps(const score_sums *t, json_t *object)
{
    uint64_t counts[2][GAP_BINS] = {{0}};
    double from = INFINITY, to = -INFINITY;
    size_t every = t->points.len / MAX_POINTS + 1;
    json_t *gaps = json_object(), *points = json_array();

    json_object_set_new(object, "gaps", gaps);
    json_object_set_new(object, "points", points);
    for (size_t i = 0; i < t->points.len; i++) {
        from = fmin(from, t->points.data[i].gap);
        to = fmax(to, t->points.data[i].gap);
    }
    for (size_t i = 0; i < t->points.len; i++) {
        const gap_point *p = &t->points.data[i];
        counts[p->kept][bin_of(p->gap, from, to, GAP_BINS)]++;
        if (i % every == 0)
            json_array_append_new(points, json_pack("[o,o,b]", um_json_rounded(p->gap),
                                                    um_json_rounded(p->truth), p->kept));
    }
    json_object_set_new(gaps, "from", um_json_rounded(from));
    json_object_set_new(gaps, "to", um_json_rounded(to));
    json_object_set_new(gaps, "kept", counts_of(counts[1], GAP_BINS));
    json_object_set_new(gaps, "dropped", counts_of(counts[0], GAP_BINS));
}

/* Texts by writer ------------------------------------------------------------------------------
 */

static um_status add_writer(void *context, const um_row_decision_count *row, um_error *err)
{
    json_t *object = json_object();
    (void)err;
    json_array_append_new(context, object);
    json_object_set_new(object, "role", json_string(row->role));
    json_object_set_new(object, "model", json_string(row->model_name));
    json_object_set_new(object, "scenes", integer(row->scenes));
    json_object_set_new(object, "texts", integer(row->decisions));
    json_object_set_new(object, "faults", json_object());
    return UM_OK;
}

static json_t *writer_of(json_t *list, const char *role, const char *model)
{
    json_t *value;
    size_t i;
    json_array_foreach(list, i, value)
    {
        const char *name = json_string_value(json_object_get(value, "model"));
        if (strcmp(json_string_value(json_object_get(value, "role")), role) == 0 &&
            (model == NULL || strcmp(name, model) == 0))
            return value;
    }
    return NULL;
}

static um_status add_fault(void *context, const um_row_fault_count *row, um_error *err)
{
    json_t *writer = writer_of(context, row->role, row->model_name);
    (void)err;
    if (writer != NULL)
        json_object_set_new(json_object_get(writer, "faults"), row->fault, integer(row->n));
    return UM_OK;
}

/* Contradicting letters are known to the stage that drew the behaviours. */
static um_status add_contradictions(um_session *s, json_t *list, um_error *err)
{
    static const char *const roles[] = {UM_ROLE_TEACHER, UM_ROLE_STUDENT};
    const char *name = um_process_fault_name(UM_PROCESS_CONTRADICTION);
    um_row_stage row;
    json_t *detail = NULL;
    um_status status = um_workspace_get_stage(&row, s->ws, "distill", err);

    if (status == UM_ERR_NOT_FOUND)
        return UM_OK;
    if (status == UM_OK)
        status = um_json_parse(&detail, row.detail, strlen(row.detail), "distill", err);
    for (int i = 0; i < 2 && status == UM_OK; i++) {
        const json_t *faults = json_object_get(json_object_get(detail, "faults"), roles[i]);
        json_t *writer = writer_of(list, roles[i], NULL), *n = json_object_get(faults, name);
        if (writer != NULL && n != NULL)
            json_object_set(json_object_get(writer, "faults"), name, n);
    }
    json_decref(detail);
    return status;
}

um_status um_summarise_distillation(um_session *s, json_t *root, um_error *err)
{
    score_sums sums = {.reasons = json_object()};
    json_t *object = json_object(), *writers = json_array();
    const um_prompt_form *form;
    char hash[17];

    json_object_set_new(root, "distillation", object);
    json_object_set_new(root, "writers", writers);
    json_object_set_new(object, "reasons", sums.reasons);
    for (size_t i = 0; i < s->scenes->n; i++) {
        const um_scene *scene = &s->scenes->scenes[i];
        if (scene->split == UM_SPLIT_TRAIN)
            sums.max_bits = fmax(sums.max_bits, log2((double)scene->k));
    }
    um_status status = um_workspace_scores(s->ws, add_score, &sums, err);
    json_object_set_new(object, "teacher_uncertainty", counts_of(sums.teacher, BINS));
    json_object_set_new(object, "student_uncertainty", counts_of(sums.student, BINS));
    json_object_set_new(object, "max_bits", um_json_rounded(sums.max_bits));
    if (status == UM_OK && sums.points.len > 0)
        add_gaps(&sums, object);
    um_vec_dispose(&sums.points);
    if (status == UM_OK)
        status = um_workspace_decision_counts(s->ws, add_writer, writers, err);
    if (status == UM_OK)
        status = um_workspace_fault_counts(s->ws, add_fault, writers, err);
    if (status == UM_OK)
        status = add_contradictions(s, writers, err);
    if (status == UM_OK)
        status = um_session_form(s, &form, err);
    if (status != UM_OK)
        return status;
    um_hash_hex(um_prompt_form_hash(form), hash);
    json_object_set_new(root, "prompt",
                        json_pack("{s:s,s:s}", "form", s->config->prompt.form, "hash", hash));
    return UM_OK;
}
