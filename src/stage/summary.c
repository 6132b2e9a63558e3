/*
 * summary.c - summary.json: the table with its intervals, what it rests on, and what it cost.
 *
 * docs/FORMATS.md, "summary.json", lists the keys. The report draws the same object.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "mirrorer/eval.h"
#include "stage/rows.h"
#include "stage/session.h"
#include "stage/version.h"

#define MAX_EXAMPLES 3
#define BINS         20

static json_t *real(double value)
{
    return um_json_rounded(value);
}

static json_t *interval(const um_interval *i)
{
    json_t *object = json_object();
    json_object_set_new(object, "mean", real(i->mean));
    json_object_set_new(object, "lo", real(i->lo));
    json_object_set_new(object, "hi", real(i->hi));
    return object;
}

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* Rows ---------------------------------------------------------------------------------------- */

typedef struct row_data {
    const um_scene_set *set;
    um_prediction *predictions; /* [set->n], filled ones in scene order */
    double *p;                  /* [set->n, UM_SCENE_MAX_ITEMS] */
    size_t n;
    size_t too_long; /* counted at 1/k */
} row_data;

static um_status add_prediction(void *context, const um_row_evaluation *row, um_error *err)
{
    row_data *r = context;
    const um_scene *scene = &r->set->scenes[row->scene_id];
    double *p = r->p + r->n * UM_SCENE_MAX_ITEMS;
    if (r->n == r->set->n || row->k != scene->k)
        return um_fail(err, UM_ERR_INPUT, "workspace: evaluation of scene %llu does not fit it",
                       (unsigned long long)row->scene_id);
    memcpy(p, row->p, row->k * sizeof *p);
    r->too_long += row->repeats == 0;
    r->predictions[r->n++] = (um_prediction){scene->user, row->k, scene->target, p};
    return UM_OK;
}

static um_status load_row(um_session *s, const char *name, row_data *out, um_error *err)
{
    *out = (row_data){.set = s->scenes,
                      .predictions = um_calloc(s->scenes->n, sizeof *out->predictions),
                      .p = um_calloc(s->scenes->n, UM_SCENE_MAX_ITEMS * sizeof *out->p)};
    if (out->predictions == NULL || out->p == NULL)
        return um_fail_memory(err, "evaluations");
    return um_workspace_evaluations(s->ws, name, add_prediction, out, err);
}

static void row_dispose(row_data *r)
{
    free(r->predictions);
    free(r->p);
}

static um_status measure_rows(um_session *s, json_t *root, um_error *err)
{
    static const char *const keys[] = {"accuracy", "expected_accuracy", "log_loss",
                                       "brier",    "reciprocal_rank",   "calibration_error",
                                       "about",    "too_long"};
    const um_config *c = s->config;

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        json_object_set_new(root, keys[i], json_object());
    for (const um_eval_row *row = um_eval_rows(); row->name != NULL; row++) {
        row_data r;
        um_metrics m;
        um_status status = load_row(s, row->name, &r, err);
        /* A row that is not whole cannot stand beside the others. */
        if (status == UM_OK && r.n > 0 && r.n == s->scenes->n_split[UM_SPLIT_EVAL]) {
            status = um_metrics_measure(&m, r.predictions, r.n, (uint32_t)c->eval.resamples,
                                        c->seed, err);
            const um_interval *all[] = {&m.accuracy, &m.expected_accuracy, &m.log_loss, &m.brier,
                                        &m.reciprocal_rank};
            for (int k = 0; k < 5 && status == UM_OK; k++)
                json_object_set_new(json_object_get(root, keys[k]), row->name, interval(all[k]));
            if (status == UM_OK) {
                json_object_set_new(json_object_get(root, keys[5]), row->name,
                                    real(m.calibration_error));
                json_object_set_new(json_object_get(root, keys[6]), row->name,
                                    json_string(row->about));
                json_object_set_new(json_object_get(root, keys[7]), row->name, integer(r.too_long));
            }
        }
        row_dispose(&r);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

/* Differences that the story rests on, paired by scene. */
static um_status measure_differences(um_session *s, json_t *root, um_error *err)
{
    static const char *const pairs[][2] = {{"sft_dpo", "weak"},
                                           {"sft_dpo", "direct_sft"},
                                           {"sft_dpo", "sft"},
                                           {"sft", "weak"},
                                           {"sft", "direct_sft"}};
    json_t *list = json_array();

    json_object_set_new(root, "accuracy_difference", list);
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        row_data a = {0}, b = {0};
        um_interval d;
        um_status status = load_row(s, pairs[i][0], &a, err);
        if (status == UM_OK)
            status = load_row(s, pairs[i][1], &b, err);
        if (status == UM_OK && a.n > 0 && a.n == b.n)
            status =
                um_metrics_difference(&d, a.predictions, b.predictions, a.n,
                                      (uint32_t)s->config->eval.resamples, s->config->seed, err);
        if (status == UM_OK && a.n > 0 && a.n == b.n) {
            json_t *object = interval(&d);
            json_object_set_new(object, "row", json_string(pairs[i][0]));
            json_object_set_new(object, "than", json_string(pairs[i][1]));
            json_array_append_new(list, object);
        }
        row_dispose(&a);
        row_dispose(&b);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

/* Scenes -------------------------------------------------------------------------------------- */

static um_status summarise_scenes(um_session *s, json_t *root, um_error *err)
{
    const um_scene_set *set = s->scenes;
    uint64_t accidents = 0, none = 0;
    json_t *scenes = json_object(), *data = json_object();
    um_row_dataset row;
    um_status status = um_workspace_get_dataset(&row, s->ws, err);

    if (status != UM_OK)
        return status;
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *scene = &set->scenes[i];
        accidents += scene->accident && scene->split == UM_SPLIT_EVAL;
        none += scene->items[scene->target] == UM_SCENE_NONE && scene->split == UM_SPLIT_EVAL;
    }
    json_object_set_new(scenes, "base", integer(set->n_split[UM_SPLIT_BASE]));
    json_object_set_new(scenes, "train", integer(set->n_split[UM_SPLIT_TRAIN]));
    json_object_set_new(scenes, "eval", integer(set->n_split[UM_SPLIT_EVAL]));
    json_object_set_new(scenes, "eval_accidents", integer(accidents));
    json_object_set_new(scenes, "eval_none", integer(none));
    json_object_set_new(root, "scenes", scenes);
    json_object_set_new(data, "name", json_string(row.name));
    json_object_set_new(data, "users", integer(row.n_users));
    json_object_set_new(data, "items", integer(row.n_items));
    json_object_set_new(data, "interactions", integer(row.n_interactions));
    json_object_set_new(root, "dataset", data);
    return UM_OK;
}

/* The positions of the table's scenes stand beside the table too. */
static um_status summarise_audit(um_session *s, json_t *root, um_error *err)
{
    static const char *const keys[][2] = {{"true_position_histogram", "counts"},
                                          {"true_position_chi_square", "chi_square"},
                                          {"true_position_p_value", "p_value"}};
    json_t *audit = NULL;
    um_status status = um_audit_json(s, NULL, &audit, err);

    if (status != UM_OK)
        return status;
    const json_t *eval = json_object_get(json_object_get(audit, "parts"), "eval");
    const json_t *positions = json_object_get(eval, "positions");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        json_t *value = json_object_get(positions, keys[i][1]);
        json_object_set_new(root, keys[i][0],
                            value != NULL ? json_incref(value)
                            : i == 0      ? json_array()
                                          : json_null());
    }
    json_object_set_new(root, "audit", audit);
    return UM_OK;
}

static um_status add_file(void *context, const um_row_file *f, um_error *err)
{
    json_t *object = json_object();
    (void)err;
    json_object_set_new(object, "file", json_string(f->file));
    json_object_set_new(object, "read", integer(f->rows_read));
    json_object_set_new(object, "kept", integer(f->rows_kept));
    json_object_set_new(object, "rejected", integer(f->rows_rejected));
    json_array_append_new(context, object);
    return UM_OK;
}

/* Choice model -------------------------------------------------------------------------------- */

static um_status summarise_choice(um_session *s, json_t *root, um_error *err)
{
    const um_choice_model *choice;
    json_t *object = json_object(), *coefficients = json_object();
    const char *name;
    double value, bits, uniform;
    size_t n;

    json_object_set_new(root, "choice_model", object);
    json_object_set_new(object, "coefficients", coefficients);
    um_status status = um_session_choice(s, &choice, err);
    if (status != UM_OK)
        return status;
    for (size_t i = 0; um_choice_coefficient(choice, i, &name, &value); i++)
        json_object_set_new(coefficients, name, real(value));
    um_choice_fit_figures(choice, &n, &bits, &uniform);
    json_object_set_new(object, "fitted_scenes", integer(n));
    json_object_set_new(object, "bits_per_choice", real(bits));
    json_object_set_new(object, "uniform_bits", real(uniform));
    return UM_OK;
}

/* Stages, curves, examples -------------------------------------------------------------------- */

typedef struct stage_sums {
    json_t *list;
    double seconds;
    uint64_t peak_kb, pairs;
} stage_sums;

/* The split as the stage recorded it. */
static json_t *split_of(const um_scene_set *set, const json_t *stages)
{
    const json_t *stage;
    size_t i;
    json_array_foreach(stages, i, stage)
    {
        json_t *split = json_object_get(json_object_get(stage, "detail"), "split");
        if (strcmp(json_string_value(json_object_get(stage, "name")), "scenes") == 0 &&
            split != NULL)
            return json_incref(split);
    }
    return um_split_json(set->split_by, set->time_cut_s);
}

static um_status add_stage(void *context, const um_row_stage *row, um_error *err)
{
    stage_sums *t = context;
    const um_stage_info *info = um_stage_find(row->name);
    json_t *object = json_object(), *detail = NULL;
    um_status status = um_json_parse(&detail, row->detail, strlen(row->detail), row->name, err);

    json_object_set_new(object, "name", json_string(row->name));
    json_object_set_new(object, "title", json_string(info != NULL ? info->title : row->name));
    json_object_set_new(object, "unit", json_string(info != NULL ? info->unit : ""));
    json_object_set_new(object, "seconds", real(row->seconds));
    json_object_set_new(object, "items", integer(row->items_done));
    json_object_set_new(object, "done", json_boolean(strcmp(row->status, "done") == 0));
    if (status == UM_OK) {
        if (json_object_get(detail, "pairs") != NULL)
            t->pairs = (uint64_t)json_integer_value(json_object_get(detail, "pairs"));
        json_object_set_new(object, "detail", detail);
    }
    json_array_append_new(t->list, object);
    t->seconds += row->seconds;
    t->peak_kb = row->peak_rss_kb > t->peak_kb ? row->peak_rss_kb : t->peak_kb;
    return status;
}

static um_status add_metric(void *context, const um_row_metric *row, um_error *err)
{
    json_t *values = NULL;
    um_status status = um_json_parse(&values, row->values, strlen(row->values), row->stage, err);
    if (status != UM_OK)
        return status;
    json_object_set_new(values, "step", integer(row->step));
    json_array_append_new(context, values);
    return UM_OK;
}

static um_status summarise_curves(um_session *s, json_t *root, um_error *err)
{
    static const char *const stages[] = {"base", "train.sft", "train.dpo", "train.direct"};
    json_t *curves = json_object(), *held_out = json_object();
    um_status status = UM_OK;
    json_object_set_new(root, "curves", curves);
    json_object_set_new(root, "held_out", held_out);
    for (size_t i = 0; i < sizeof stages / sizeof stages[0] && status == UM_OK; i++) {
        char part[64];
        json_t *list = json_array(), *evaluations = json_array();
        snprintf(part, sizeof part, "%s%s", stages[i], UM_HELD_OUT_PART);
        json_object_set_new(curves, stages[i], list);
        status = um_workspace_metrics(s->ws, stages[i], add_metric, list, err);
        if (status == UM_OK)
            status = um_workspace_metrics(s->ws, part, add_metric, evaluations, err);
        if (json_array_size(evaluations) > 0)
            json_object_set(held_out, stages[i], evaluations);
        json_decref(evaluations);
    }
    return status;
}

/* One pair with its scene, as the report shows it. */
typedef struct examples {
    um_session *s;
    json_t *list;
} examples;

static um_status decision_text(um_session *s, uint64_t id, json_t *object, const char *key,
                               um_error *err)
{
    um_row_decision row = {.text = ""};
    um_status status = id != 0 ? um_workspace_get_decision(&row, s->ws, id, err) : UM_OK;
    if (status == UM_OK)
        json_object_set_new(object, key, json_string(row.text));
    return status;
}

static um_status add_example(void *context, const um_row_pair *pair, um_error *err)
{
    examples *e = context;
    const um_scene *scene = &e->s->scenes->scenes[pair->scene_id];
    if (json_array_size(e->list) >= MAX_EXAMPLES)
        return UM_OK;
    json_t *object = json_object(), *actions = json_array();
    json_array_append_new(e->list, object);
    json_object_set_new(object, "scene", integer(scene->id));
    json_object_set_new(object, "profile", json_string(scene->profile));
    json_object_set_new(object, "history", json_string(scene->history_text));
    for (uint32_t i = 0; i < scene->k; i++)
        json_array_append_new(actions, json_string(scene->actions[i]));
    json_object_set_new(object, "actions", actions);
    json_object_set_new(object, "truth", integer(scene->target));
    json_object_set_new(object, "rejected_letter", integer(pair->rejected_letter));
    um_status status = decision_text(e->s, pair->chosen_decision, object, "chosen", err);
    if (status == UM_OK)
        status = decision_text(e->s, pair->rejected_decision, object, "rejected", err);
    return status;
}

um_status um_session_summary(um_session *s, char **json, um_error *err)
{
    json_t *root = json_object(), *files = json_array();
    stage_sums stages = {.list = json_array()};
    examples shown = {s, json_array()};
    const um_scene_set *set;
    um_str text = UM_STR_INIT;
    um_status status = um_session_scenes(s, &set, err);

    if (status == UM_OK)
        status = um_workspace_stages(s->ws, add_stage, &stages, err);
    if (stages.peak_kb < um_peak_rss_kb())
        stages.peak_kb = um_peak_rss_kb();
    json_object_set_new(root, "program", json_string("mirrorer " UM_VERSION));
    json_object_set_new(root, "seconds", real(stages.seconds));
    json_object_set_new(root, "peak_rss_mb", real((double)stages.peak_kb / 1024));
    json_object_set_new(root, "stages", stages.list);
    json_object_set_new(root, "pairs", integer(stages.pairs));
    json_object_set_new(root, "files", files);
    json_object_set_new(root, "examples", shown.list);
    if (status != UM_OK || (status = summarise_scenes(s, root, err)) != UM_OK ||
        (status = summarise_audit(s, root, err)) != UM_OK ||
        (status = um_workspace_files(s->ws, add_file, files, err)) != UM_OK ||
        json_object_set_new(root, "split", split_of(set, stages.list)) != 0 ||
        (status = measure_rows(s, root, err)) != UM_OK ||
        (status = measure_differences(s, root, err)) != UM_OK ||
        (status = um_summarise_distillation(s, root, err)) != UM_OK ||
        (status = summarise_choice(s, root, err)) != UM_OK ||
        (status = summarise_curves(s, root, err)) != UM_OK ||
        (status = um_workspace_pairs(s->ws, add_example, &shown, err)) != UM_OK)
        goto done;
    um_json_dump(&text, root);
    um_str_append(&text, "\n");
    status = um_str_take(&text, json, err);
done:
    um_str_dispose(&text);
    json_decref(root);
    return status;
}
