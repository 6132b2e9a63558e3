/*
 * show_decisions.c - one scene as its reader wants it: the decision processes with their
 * distributions, and why the scene was kept or dropped.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "stage/candidates.h"
#include "stage/session.h"

/* Everything known of one scene. */
typedef struct shown {
    um_session *s;
    uint64_t id;
    const char *role; /* only this one's; NULL: both */
    um_distill_rules rules;
    um_scored_cursor *cursor;
    const um_scored_scene *scene;
    um_scene_candidates candidates;
    um_row_pair pair;
    bool has_pair;
    json_t *list; /* of processes */
} shown;

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *letter(uint32_t index)
{
    char text[2] = {(char)('A' + (int)index), '\0'};
    return json_string(text);
}

static json_t *measures(const um_uncertainty *u)
{
    json_t *object = json_object();
    json_object_set_new(object, "total", real(u->total));
    json_object_set_new(object, "model", real(u->model));
    json_object_set_new(object, "data", real(u->data));
    json_object_set_new(object, "log_loss", real(u->log_loss));
    json_object_set_new(object, "hit_rate", real(u->hit_rate));
    return object;
}

static um_status open_shown(shown *v, um_session *s, uint64_t id, um_error *err)
{
    uint64_t predictor;
    *v = (shown){.s = s, .id = id};
    um_status status = um_distill_rules_read(&v->rules, s->config, err);

    if (status == UM_OK)
        status = um_predictor_id(s->ws, &predictor, err);
    if (status == UM_OK)
        status = um_workspace_scored(&v->cursor, s->ws, NULL, id, predictor, err);
    if (status == UM_OK)
        status = um_scored_next(v->cursor, &v->scene, err);
    if (status == UM_OK && v->scene == NULL)
        status = um_fail(err, UM_ERR_NOT_FOUND, "workspace '%s' has no scene %llu",
                         um_workspace_path(s->ws), (unsigned long long)id);
    if (status == UM_OK)
        status = um_scene_candidates_fill(&v->candidates, v->scene, &v->rules, err);
    if (status != UM_OK)
        return status;
    status = um_workspace_get_pair(&v->pair, s->ws, id, err);
    v->has_pair = status == UM_OK;
    return status == UM_ERR_NOT_FOUND ? UM_OK : status;
}

static void close_shown(shown *v)
{
    um_scored_close(v->cursor);
    um_scene_candidates_dispose(&v->candidates);
}

/* Texts and places of the scene. */
static um_status add_scene(shown *v, json_t *root, um_error *err)
{
    um_row_scene row;
    json_t *text = NULL, *actions;
    char time[32];
    um_status status = um_workspace_get_scene(&row, v->s->ws, v->id, err);

    if (status == UM_OK)
        status = um_json_parse(&text, row.text, strlen(row.text), "scene text", err);
    if (status != UM_OK)
        return status;
    um_time_format(row.timestamp_s, time);
    json_object_set_new(root, "scene", json_integer((json_int_t)v->id));
    json_object_set_new(root, "split", json_string(row.split));
    json_object_set_new(root, "dataset", json_string(row.dataset));
    json_object_set_new(root, "user_id", json_string(row.user_id));
    json_object_set_new(root, "item_id", json_string(row.item_id));
    json_object_set_new(root, "timestamp", json_string(time));
    json_object_set_new(root, "choice_cnt", json_integer(row.choice_cnt));
    json_object_set_new(root, "truth", letter(row.item_pos));
    actions = json_object_get(text, "action_list");
    json_object_set(root, "actions", actions);
    json_decref(text);
    return UM_OK;
}

static um_status add_selection(shown *v, json_t *root, um_error *err)
{
    um_row_score row;
    um_status status = um_workspace_get_score(&row, v->s->ws, v->id, err);

    json_object_set_new(root, "teacher", measures(&v->candidates.measures.teacher));
    json_object_set_new(root, "student", measures(&v->candidates.measures.student));
    if (status == UM_OK) {
        json_object_set_new(root, "score", real(row.score));
        json_object_set_new(root, "kept", json_boolean(row.kept));
        json_object_set_new(root, "reason", json_string(row.reason != NULL ? row.reason : ""));
    }
    return status == UM_ERR_NOT_FOUND ? UM_OK : status;
}

static size_t candidate_of(const shown *v, uint64_t decision)
{
    for (size_t i = 0; i < v->candidates.all.len; i++) {
        if (v->candidates.all.data[i].decision == decision)
            return i;
    }
    return SIZE_MAX;
}

static const char *place_of(const shown *v, uint64_t decision)
{
    if (!v->has_pair || decision == 0)
        return NULL;
    return decision == v->pair.chosen_decision     ? "chosen"
           : decision == v->pair.rejected_decision ? "rejected"
                                                   : NULL;
}

/* Figures of a decision process that was scored. */
static void add_figures(const shown *v, json_t *object, size_t index)
{
    const um_candidate *c = &v->candidates.all.data[index];
    const double *p = v->scene->decisions[index].p;
    json_t *list = json_array();
    for (uint32_t j = 0; j < v->scene->k; j++)
        json_array_append_new(list, real(p[j]));
    json_object_set_new(object, "p", list);
    json_object_set_new(object, "entropy", real(c->entropy));
    json_object_set_new(object, "log_loss", real(c->log_loss));
    json_object_set_new(object, "behavior", letter(c->behavior));
    json_object_set_new(object, "preferred", json_boolean(c->behavior == v->scene->target));
}

static um_status add_process(void *context, const um_row_decision *row, um_error *err)
{
    shown *v = context;
    um_row_model model;
    um_process parsed;
    char detail[160] = "";
    size_t index = candidate_of(v, row->id);
    const char *fault = index != SIZE_MAX ? v->candidates.faults.data[index] : row->form_error;
    const char *place = place_of(v, row->id);

    if (strcmp(row->role, UM_ROLE_EVAL) == 0 ||
        (v->role != NULL && strcmp(row->role, v->role) != 0))
        return UM_OK;
    um_status status = um_workspace_get_model(&model, v->s->ws, row->model_id, err);
    if (status != UM_OK)
        return status;
    json_t *object = json_object();
    json_array_append_new(v->list, object);
    json_object_set_new(object, "role", json_string(row->role));
    json_object_set_new(object, "model", json_string(model.name));
    json_object_set_new(object, "sample", json_integer(row->sample));
    json_object_set_new(object, "text", json_string(row->text));
    json_object_set_new(object, "tokens", json_integer(row->tokens));
    json_object_set_new(object, "fault", fault != NULL ? json_string(fault) : json_null());
    if (row->form_error != NULL && strcmp(row->finish, "length") != 0)
        (void)um_process_parse(&parsed, row->text, detail, sizeof detail);
    if (detail[0] != '\0')
        json_object_set_new(object, "fault_detail", json_string(detail));
    json_object_set_new(object, "said", row->said != 0 ? letter(row->said - 1) : json_null());
    if (index != SIZE_MAX)
        add_figures(v, object, index);
    json_object_set_new(object, "place", place != NULL ? json_string(place) : json_null());
    return UM_OK;
}

static um_status finish(json_t *root, um_status status, char **json, um_error *err)
{
    um_str text = UM_STR_INIT;
    if (status == UM_OK) {
        um_json_dump(&text, root);
        status = um_str_take(&text, json, err);
    }
    um_str_dispose(&text);
    json_decref(root);
    return status;
}

um_status um_session_show_decisions(um_session *s, uint64_t scene_id, const char *role, char **json,
                                    um_error *err)
{
    json_t *root = json_object(), *list = json_array();
    const um_decision_filter filter = {.scene_id = scene_id};
    shown v;
    um_status status = open_shown(&v, s, scene_id, err);

    v.role = role;
    v.list = list;
    if (status == UM_OK)
        status = add_scene(&v, root, err);
    if (status == UM_OK)
        status = add_selection(&v, root, err);
    json_object_set_new(root, "processes", list);
    if (status == UM_OK)
        status = um_workspace_decisions(s->ws, &filter, add_process, &v, err);
    close_shown(&v);
    return finish(root, status, json, err);
}

/* Why -------------------------------------------------------------------------------------------
 */

/* What a rule looks at, of one candidate; NAN for random. */
static double looked_at(um_pair_rule rule, const um_candidate *c)
{
    switch (rule) {
    case UM_PAIR_LOWEST_ENTROPY:
    case UM_PAIR_HIGHEST_ENTROPY:
        return c->entropy;
    case UM_PAIR_HIGHEST_TRUTH:
    case UM_PAIR_LOWEST_TRUTH:
        return exp2(-c->log_loss);
    case UM_PAIR_RANDOM:
        break;
    }
    return NAN;
}

static const char *quantity(um_pair_rule rule)
{
    return rule == UM_PAIR_LOWEST_ENTROPY || rule == UM_PAIR_HIGHEST_ENTROPY
               ? "entropy"
               : "probability of the true action";
}

/* A candidate that competed for a place and was not the one. */
static void explain_loser(um_str *out, const shown *v, size_t index, bool preferred)
{
    const um_candidate *c = &v->candidates.all.data[index];
    um_pair_rule rule = preferred ? v->rules.chosen : v->rules.rejected;
    size_t winner = preferred ? v->candidates.chosen : v->candidates.rejected;
    double mine = looked_at(rule, c), other = looked_at(rule, &v->candidates.all.data[winner]);

    if (isnan(mine))
        um_str_append(out, "the draw took another one");
    else if (mine > other || mine < other)
        um_str_appendf(out, "%s %.6f, the %s one's is %.6f", quantity(rule), mine,
                       preferred ? "chosen" : "rejected", other);
    else
        um_str_appendf(out, "%s %.6f as the %s one's, which comes first", quantity(rule), mine,
                       preferred ? "chosen" : "rejected");
}

/* Why a candidate has the place it has, or none. */
static void explain_candidate(um_str *out, const shown *v, size_t index)
{
    const um_candidate *c = &v->candidates.all.data[index];
    bool preferred = c->behavior == v->scene->target;
    size_t winner = preferred ? v->candidates.chosen : v->candidates.rejected;

    if (v->rules.strategy == UM_STRATEGY_RANDOM_DIRECT)
        um_str_append(out, "pairs of this strategy have no decision processes");
    else if (!c->may_train)
        um_str_appendf(out, "%s: never trained on", v->candidates.faults.data[index]);
    else if (preferred && !c->from_teacher)
        um_str_append(out, "reached the true action, but is the student's: neither chosen nor "
                           "rejected");
    else if (index == winner && v->candidates.has_pair)
        um_str_append(out, preferred ? "chosen" : "rejected");
    else if (index == winner)
        um_str_append(out, preferred ? "would be chosen, but nothing can be rejected"
                                     : "would be rejected, but nothing can be chosen");
    else
        explain_loser(out, v, index, preferred);
}

static um_status add_candidates(const shown *v, json_t *root, um_error *err)
{
    json_t *list = json_array();
    um_str why = UM_STR_INIT;
    um_status status = UM_OK;

    json_object_set_new(root, "candidates", list);
    for (size_t i = 0; i < v->candidates.all.len && status == UM_OK; i++) {
        const um_candidate *c = &v->candidates.all.data[i];
        json_t *object = json_object();
        json_array_append_new(list, object);
        um_str_clear(&why);
        explain_candidate(&why, v, i);
        status = um_str_status(&why, err);
        json_object_set_new(object, "role",
                            json_string(c->from_teacher ? UM_ROLE_TEACHER : UM_ROLE_STUDENT));
        json_object_set_new(object, "sample", json_integer(v->scene->decisions[i].sample));
        json_object_set_new(object, "behavior", letter(c->behavior));
        json_object_set_new(object, "entropy", real(c->entropy));
        json_object_set_new(object, "truth_p", real(exp2(-c->log_loss)));
        json_object_set_new(object, "why", json_string(um_str_text(&why)));
    }
    um_str_dispose(&why);
    return status;
}

/* Place in the stratum, and what the scene lacked to be kept. */
static um_status add_stratum(const shown *v, json_t *root, um_error *err)
{
    um_row_stratum row;
    json_t *object = json_object();
    um_status status = um_workspace_get_stratum(&row, v->s->ws, v->id, err);

    json_object_set_new(root, "stratum", object);
    json_object_set_new(object, "dataset", json_string(v->scene->dataset));
    json_object_set_new(object, "choice_cnt", json_integer(v->scene->k));
    if (status == UM_OK) {
        json_object_set_new(object, "candidates", json_integer((json_int_t)row.candidates));
        json_object_set_new(object, "quota", json_integer((json_int_t)row.kept));
        json_object_set_new(object, "rank", json_integer((json_int_t)row.rank + 1));
        json_object_set_new(object, "last_kept", real(row.last_kept));
        json_object_set_new(root, "candidates_of_all",
                            json_integer((json_int_t)row.all_candidates));
        json_object_set_new(root, "kept_of_all", json_integer((json_int_t)row.all_kept));
    }
    return status == UM_ERR_NOT_FOUND ? UM_OK : status;
}

static const char *reason_without_score(const shown *v, const json_t *root)
{
    if (strcmp(json_string_value(json_object_get(root, "split")), "train") != 0)
        return "not a training scene";
    return v->candidates.reason != NULL ? v->candidates.reason : "not selected yet";
}

um_status um_session_explain_scene(um_session *s, uint64_t scene_id, char **json, um_error *err)
{
    const um_config *c = s->config;
    json_t *root = json_object();
    um_row_stage stage;
    shown v;
    um_status status = open_shown(&v, s, scene_id, err);

    if (status == UM_OK)
        status = add_scene(&v, root, err);
    json_object_set_new(root, "strategy", json_string(c->distill.strategy));
    json_object_set_new(root, "chosen_rule", json_string(c->distill.chosen));
    json_object_set_new(root, "rejected_rule", json_string(c->distill.rejected));
    json_object_set_new(root, "keep_malformed", json_boolean(c->distill.keep_malformed));
    json_object_set_new(root, "keep_contradicting", json_boolean(c->distill.keep_contradicting));
    json_object_set_new(root, "asked", json_integer(c->distill.pairs));
    if (status == UM_OK) {
        status = um_workspace_get_stage(&stage, s->ws, "distill", err);
        json_object_set_new(root, "distilled", json_boolean(status == UM_OK));
        status = status == UM_ERR_NOT_FOUND ? UM_OK : status;
    }
    if (status == UM_OK)
        status = add_selection(&v, root, err);
    if (status == UM_OK && json_object_get(root, "reason") == NULL)
        json_object_set_new(root, "reason", json_string(reason_without_score(&v, root)));
    if (status == UM_OK)
        status = add_stratum(&v, root, err);
    if (status == UM_OK)
        status = add_candidates(&v, root, err);
    if (status == UM_OK && v.has_pair) {
        json_object_set_new(root, "pair_rank", json_integer((json_int_t)v.pair.rank + 1));
        json_object_set_new(root, "chosen_letter", letter(v.pair.chosen_letter));
        json_object_set_new(root, "rejected_letter", letter(v.pair.rejected_letter));
    }
    close_shown(&v);
    return finish(root, status, json, err);
}
