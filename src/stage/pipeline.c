/* pipeline.c - report; all stages in a row; what is done and what comes next. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/str.h"
#include "mirrorer/eval.h"
#include "stage/remote.h"
#include "stage/training.h"

/* Report -------------------------------------------------------------------------------------- */

um_status um_stage_report(um_session *s, const char *out_dir, um_error *err)
{
    char *json = NULL, *summary = NULL, *report = NULL;
    um_status status = um_path_make_dirs(out_dir, err);

    if (status != UM_OK ||
        (status = um_path_join(&summary, out_dir, "summary.json", err)) != UM_OK ||
        (status = um_path_join(&report, out_dir, "report.html", err)) != UM_OK ||
        (status = um_session_summary(s, &json, err)) != UM_OK)
        goto done;
    status = um_file_write(summary, json, strlen(json), err);
    if (status == UM_OK)
        status = um_report_write(report, json, strlen(json), err);
done:
    free(json);
    free(summary);
    free(report);
    return status;
}

/* All of it ----------------------------------------------------------------------------------- */

um_status um_stage_run(um_session *s, const char *name, um_error *err)
{
    if (strcmp(name, "scenes") == 0)
        return um_stage_scenes(s, err);
    if (strcmp(name, "base") == 0)
        return um_stage_base(s, err);
    if (strcmp(name, "decide.teacher") == 0)
        return um_stage_decide(s, UM_ROLE_TEACHER, err);
    if (strcmp(name, "decide.student") == 0)
        return um_stage_decide(s, UM_ROLE_STUDENT, err);
    if (strcmp(name, "predict") == 0)
        return um_stage_predict(s, err);
    if (strcmp(name, "distill") == 0)
        return um_stage_distill(s, err);
    if (strncmp(name, "train.", 6) == 0)
        return um_stage_train(s, name + 6, err);
    if (strcmp(name, "eval") == 0)
        return um_stage_eval(s, err);
    return um_fail(err, UM_ERR_NOT_FOUND, "stage '%s' is unknown", name);
}

/* Only what differs from the profile in force, so that another profile can come to hold; and not
 * what belongs to the machine. */
um_status um_session_remember(um_session *s, um_error *err)
{
    json_t *object = json_object();
    um_str text = UM_STR_INIT;
    char value[UM_CONFIG_TEXT], usual[UM_CONFIG_TEXT];
    size_t n;
    const um_option *options = um_config_options(&n);
    um_config profile;
    um_status status = um_config_init(&profile, err);

    if (status == UM_OK && s->config->student.path[0] != '\0')
        status = um_config_apply_profile(&profile, "published", err);
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        um_config_get(s->config, &options[i], value, sizeof value);
        um_config_get(&profile, &options[i], usual, sizeof usual);
        if (strcmp(value, usual) != 0 && strcmp(options[i].key, "threads") != 0 &&
            strcmp(options[i].key, "backend") != 0 && strncmp(options[i].key, "run.", 4) != 0)
            json_object_set_new(object, options[i].key, json_string(value));
    }
    um_json_dump(&text, object);
    if (status == UM_OK)
        status = um_str_status(&text, err);
    if (status == UM_OK)
        status = um_workspace_set_meta(s->ws, "config", text.data, err);
    json_decref(object);
    um_str_dispose(&text);
    return status;
}

um_status um_session_recall_config(const char *workspace, um_config *config, um_error *err)
{
    um_workspace *ws = NULL;
    json_t *object = NULL, *value;
    const char *text = NULL, *key;
    char *database = NULL;
    um_status status = um_path_join(&database, workspace, "workspace.db", err);

    if (status != UM_OK || !um_path_exists(database))
        goto done;
    status = um_workspace_open(&ws, workspace, UM_WORKSPACE_READ, err);
    if (status == UM_ERR_NOT_FOUND) { /* its first writer was killed before it stored anything */
        status = UM_OK;
        goto done;
    }
    if (status != UM_OK || (status = um_workspace_get_meta(&text, ws, "config", err)) != UM_OK ||
        text == NULL)
        goto done;
    status = um_json_parse(&object, text, strlen(text), "workspace config", err);
    if (status != UM_OK)
        goto done;
    json_object_foreach(object, key, value)
    {
        /* Options of an older program that are gone are passed over; the stages compare the rest.
         */
        if (um_config_find(key) == NULL)
            continue;
        if (!json_is_string(value)) {
            status =
                um_fail(err, UM_ERR_INPUT, "workspace '%s': its stored options are damaged at %s",
                        workspace, key);
            break;
        }
        status = um_config_set(config, key, json_string_value(value), "workspace", err);
        if (status != UM_OK)
            break;
    }
done:
    json_decref(object);
    um_workspace_close(ws);
    free(database);
    return status;
}

/* What a later stage would refuse for its options alone is refused before hours of earlier ones. */
static um_status check_trainings(const um_config *c, um_error *err)
{
    um_status status = um_training_check("base", &c->base, err);
    if (status == UM_OK)
        status = um_training_check("sft", &c->sft, err);
    if (status == UM_OK)
        status = um_training_check("dpo", &c->dpo, err);
    return status == UM_OK ? um_training_check("direct", &c->direct, err) : status;
}

um_status um_session_run(um_session *s, const char *path, const char *out_dir, um_error *err)
{
    um_status status = check_trainings(s->config, err);
    if (status == UM_OK && path != NULL)
        status = um_stage_ingest(s, path, err);
    for (const um_stage_info *i = um_stages() + 1; i->name != NULL && status == UM_OK; i++) {
        bool imported = false;
        if (strncmp(i->name, "decide.", 7) == 0 || strcmp(i->name, "predict") == 0)
            status = um_session_imported(s, "distill", &imported, err);
        if (status == UM_OK && !imported)
            status = um_stage_run(s, i->name, err);
    }
    if (status == UM_OK)
        status = um_stage_report(s, out_dir, err);
    return status;
}

/* The workspace clears whole stages; of the trainings the earlier ones stay. */
static um_status clear_rows(um_session *s, const char *name, um_error *err)
{
    char whole[32];
    bool later = false;
    um_status status = UM_OK;

    if (strcmp(name, "decide.student") == 0 || strcmp(name, "distill") == 0) {
        /* What the teacher wrote stays; what an import brought goes with its pairs. */
        bool student = strcmp(name, "decide.student") == 0;
        if ((status = um_workspace_begin(s->ws, err)) != UM_OK)
            return status;
        status = um_workspace_clear_stage(s->ws, student ? "predict" : "distill", err);
        if (status == UM_OK)
            status = student ? um_workspace_drop_decisions(s->ws, UM_ROLE_STUDENT, NULL, err)
                             : um_workspace_drop_decisions(s->ws, NULL, UM_IMPORTED_MODEL, err);
        if (status == UM_OK && student)
            status = um_workspace_forget_requests(s->ws, name, err);
        if (status == UM_OK)
            status = um_workspace_forget_stage(s->ws, name, err);
        if (status == UM_OK)
            status = um_workspace_commit(s->ws, err);
        if (status != UM_OK)
            um_workspace_rollback(s->ws);
        return status;
    }
    if (strcmp(name, "train.dpo") != 0 && strcmp(name, "train.direct") != 0) {
        snprintf(whole, sizeof whole, "%.*s", (int)strcspn(name, "."), name);
        return um_workspace_clear_stage(s->ws, whole, err);
    }
    for (const um_stage_info *i = um_stages(); i->name != NULL && status == UM_OK; i++) {
        later = later || strcmp(i->name, name) == 0;
        if (later && strncmp(i->name, "train.", 6) == 0)
            status = um_workspace_forget_stage(s->ws, i->name, err);
    }
    return status == UM_OK ? um_workspace_clear_stage(s->ws, "eval", err) : status;
}

um_status um_stage_redo(um_session *s, const char *name, um_error *err)
{
    bool later = false;
    um_status status = UM_OK;

    um_session_forget(s);
    if (um_stage_find(name) == NULL)
        return um_fail(err, UM_ERR_NOT_FOUND, "stage '%s' is unknown", name);
    status = clear_rows(s, name, err);
    /* Models and half-done checkpoints of the cleared stages. */
    static const char *const models[][2] = {{"base", "base"},
                                            {"train.sft", "sft"},
                                            {"train.dpo", "sft_dpo"},
                                            {"train.direct", "direct_sft"}};
    for (const um_stage_info *i = um_stages(); i->name != NULL && status == UM_OK; i++) {
        later = later || strcmp(i->name, name) == 0;
        for (size_t m = 0; m < sizeof models / sizeof models[0] && later && status == UM_OK; m++) {
            const char *suffixes[] = {"", ".checkpoints", ".log"};
            if (strcmp(models[m][0], i->name) != 0)
                continue;
            for (int k = 0; k < 3 && status == UM_OK; k++) {
                um_str dir = UM_STR_INIT;
                um_str_appendf(&dir, "%s/models/%s%s", um_workspace_path(s->ws), models[m][1],
                               suffixes[k]);
                status = um_str_status(&dir, err);
                if (status == UM_OK)
                    status = um_path_remove_tree(dir.data, err);
                um_str_dispose(&dir);
            }
        }
    }
    return status;
}

/* Status -------------------------------------------------------------------------------------- */

/* Texts that break the form, by kind, where the stage has counted them. */
static um_status add_faults(json_t *object, const um_row_stage *row, um_error *err)
{
    json_t *detail = NULL;
    um_status status = um_json_parse(&detail, row->detail, strlen(row->detail), row->name, err);
    if (status == UM_OK && json_object_get(detail, "faults") != NULL)
        json_object_set(object, "faults", json_object_get(detail, "faults"));
    if (status == UM_OK && json_object_get(detail, "model") != NULL)
        json_object_set(object, "model", json_object_get(detail, "model"));
    json_decref(detail);
    return status;
}

um_status um_session_status(um_session *s, char **json, um_error *err)
{
    json_t *root = json_object(), *list = json_array(), *counts = json_object();
    um_workspace_counts c;
    um_str text = UM_STR_INIT;
    const char *next = NULL;
    um_status status = um_workspace_count(&c, s->ws, err);

    json_object_set_new(root, "workspace", json_string(um_workspace_path(s->ws)));
    json_object_set_new(root, "stages", list);
    json_object_set_new(root, "counts", counts);
    for (const um_stage_info *i = um_stages(); i->name != NULL && status == UM_OK; i++) {
        um_row_stage row;
        json_t *object = json_object();
        json_array_append_new(list, object);
        json_object_set_new(object, "name", json_string(i->name));
        json_object_set_new(object, "title", json_string(i->title));
        json_object_set_new(object, "command", json_string(i->verb));
        status = um_workspace_get_stage(&row, s->ws, i->name, err);
        bool known = status == UM_OK;
        if (status == UM_ERR_NOT_FOUND)
            status = UM_OK;
        bool done = known && strcmp(row.status, "done") == 0;
        json_object_set_new(object, "state",
                            json_string(done    ? "done"
                                        : known ? "begun"
                                                : "not begun"));
        if (known) {
            json_object_set_new(object, "items", json_integer((json_int_t)row.items_done));
            json_object_set_new(object, "seconds", json_real(row.seconds));
            json_object_set_new(object, "peak_rss_mb", json_real((double)row.peak_rss_kb / 1024));
            status = add_faults(object, &row, err);
        }
        if (!done && next == NULL)
            next = i->verb;
    }
    if (status == UM_OK) {
        const struct {
            const char *name;
            uint64_t n;
        } all[] = {{"users", c.users},
                   {"items", c.items},
                   {"interactions", c.interactions},
                   {"scenes_base", c.scenes_base},
                   {"scenes_train", c.scenes_train},
                   {"scenes_eval", c.scenes_eval},
                   {"decisions", c.decisions},
                   {"malformed", c.malformed},
                   {"distributions", c.distributions},
                   {"pairs", c.pairs},
                   {"evaluations", c.evaluations}};
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
            json_object_set_new(counts, all[i].name, json_integer((json_int_t)all[i].n));
        json_object_set_new(root, "next", json_string(next != NULL ? next : "report"));
        json_t *remote = NULL;
        status = um_stage_remote_status(&remote, s->ws, err);
        if (remote != NULL)
            json_object_set_new(root, "remote", remote);
    }
    if (status == UM_OK) {
        um_json_dump(&text, root);
        status = um_str_take(&text, json, err);
    }
    um_str_dispose(&text);
    json_decref(root);
    return status;
}
