/* session.c - opening a workspace with a configuration, and what stages load once. */
#include "stage/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "mirrorer/remote.h"
#include "stage/version.h"

#define MAX_TEMPLATE_BYTES ((size_t)1 << 20)

static const um_stage_info stages[] = {
    {"ingest", "ingest", "Read the log", "rows"},
    {"scenes", "scenes", "Build scenes", "scenes"},
    {"base", "train base", "Make the student", "steps"},
    {"decide.teacher", "decide --role teacher", "Teacher writes decision processes", "scenes"},
    {"decide.student", "decide --role student", "Student writes decision processes", "scenes"},
    {"predict", "predict", "Score every decision process", "scenes"},
    {"distill", "distill", "Measure uncertainty, keep what teaches", "scenes"},
    {"train.sft", "train sft", "Fine-tune on chosen processes (SFT)", "steps"},
    {"train.dpo", "train dpo", "Prefer chosen over rejected (DPO)", "steps"},
    {"train.direct", "train direct", "Baseline: fine-tune on raw behaviours", "steps"},
    {"eval", "eval", "Evaluate on held-out scenes", "scenes"},
    {NULL, NULL, NULL, NULL},
};

const um_stage_info *um_stages(void)
{
    return stages;
}

const um_stage_info *um_stage_find(const char *name)
{
    for (const um_stage_info *i = stages; i->name != NULL; i++) {
        if (strcmp(i->name, name) == 0)
            return i;
    }
    return NULL;
}

um_status um_session_open(um_session **out, const char *workspace, bool create, bool read_only,
                          const um_config *config, const um_monitor *monitor, um_error *err)
{
    um_session *s = um_calloc(1, sizeof *s);
    if (s == NULL)
        return um_fail_memory(err, "session");
    s->config = config;
    s->monitor = monitor;
    um_workspace_mode mode = read_only ? UM_WORKSPACE_READ
                             : create  ? UM_WORKSPACE_CREATE
                                       : UM_WORKSPACE_WRITE;
    um_status status = um_workspace_open(&s->ws, workspace, mode, err);
    if (status != UM_OK) {
        um_session_close(s);
        return status;
    }
    *out = s;
    return UM_OK;
}

um_workspace *um_session_workspace(um_session *session)
{
    return session->ws;
}

void um_session_forget(um_session *s)
{
    um_choice_free(s->choice);
    um_scene_set_free(s->scenes);
    um_dataset_free(s->dataset);
    um_prompt_form_free(s->form);
    um_tokenizer_free(s->tokenizer);
    s->choice = NULL;
    s->scenes = NULL;
    s->dataset = NULL;
    s->form = NULL;
    s->tokenizer = NULL;
}

void um_session_close(um_session *s)
{
    if (s == NULL)
        return;
    um_session_forget(s);
    um_compute_close(s->compute);
    um_workspace_close(s->ws);
    free(s);
}

/* Things loaded once ------------------------------------------------------------------------------
 */

um_status um_session_dataset(um_session *s, const um_dataset **out, um_error *err)
{
    um_status status = UM_OK;
    if (s->dataset == NULL)
        status = um_log_load(s->ws, &s->dataset, err);
    *out = s->dataset;
    return status;
}

um_status um_session_scenes(um_session *s, const um_scene_set **out, um_error *err)
{
    const um_dataset *d;
    um_status status = UM_OK;
    if (s->scenes == NULL) {
        status = um_session_dataset(s, &d, err);
        if (status == UM_OK)
            status = um_scenes_load(s->ws, d, &s->scenes, err);
    }
    *out = s->scenes;
    return status;
}

um_status um_session_form(um_session *s, const um_prompt_form **out, um_error *err)
{
    const char *name = s->config->prompt.form;
    um_status status = UM_OK;
    if (s->form == NULL)
        status = um_path_exists(name) ? um_prompt_form_load(&s->form, name, err)
                                      : um_prompt_form_builtin(&s->form, name, err);
    *out = s->form;
    return status;
}

um_status um_session_compute(um_session *s, um_compute **out, um_error *err)
{
    um_status status = UM_OK;
    if (s->compute == NULL)
        status = um_compute_open(&s->compute, s->config->backend, (int)s->config->threads, err);
    *out = s->compute;
    return status;
}

um_status um_session_choice(um_session *s, const um_choice_model **out, um_error *err)
{
    const um_scene_set *set;
    um_choice_options options;
    um_status status = UM_OK;
    if (s->choice == NULL) {
        um_choice_defaults(&options);
        options.ridge = s->config->decide.ridge;
        status = um_session_scenes(s, &set, err);
        if (status == UM_OK)
            status = um_choice_fit(&s->choice, s->dataset, set, &options, err);
    }
    *out = s->choice;
    return status;
}

um_status um_session_model_dir(um_session *s, const char *name, char **dir, um_error *err)
{
    char relative[128];
    if (strcmp(name, "base") == 0 && s->config->student.path[0] != '\0') {
        *dir = um_strdup(s->config->student.path);
        return *dir != NULL ? UM_OK : um_fail_memory(err, "path");
    }
    snprintf(relative, sizeof relative, "models/%s", name);
    return um_path_join(dir, um_workspace_path(s->ws), relative, err);
}

um_status um_session_tokenizer(um_session *s, const um_tokenizer **out, um_error *err)
{
    char *dir = NULL;
    um_status status = UM_OK;
    if (s->tokenizer == NULL) {
        status = um_session_model_dir(s, "base", &dir, err);
        if (status == UM_OK)
            status = um_tokenizer_load(&s->tokenizer, dir, err);
        if (status == UM_OK)
            status = um_chat_choose(s->tokenizer, s->config->chat.template_name,
                                    s->config->chat.date, err);
        if (status != UM_OK) {
            um_tokenizer_free(s->tokenizer);
            s->tokenizer = NULL;
        }
    }
    free(dir);
    *out = s->tokenizer;
    return status;
}

um_status um_session_tokenizer_if_any(um_session *s, const um_tokenizer **out, um_error *err)
{
    char *dir = NULL;
    um_status status = um_session_model_dir(s, "base", &dir, err);
    *out = NULL;
    if (status == UM_OK && um_path_exists(dir))
        status = um_session_tokenizer(s, out, err);
    free(dir);
    return status;
}

static um_status open_engine(um_actor *out, um_session *s, const char *name, const char *dir,
                             const um_tokenizer *tok, um_error *err)
{
    um_compute *compute;
    char hash[17];
    um_engine_options options = {.max_rows = (int)s->config->decide.max_rows,
                                 .kv_bytes = (uint64_t)s->config->decide.kv_memory << 20};
    um_dtype weights = UM_F32;
    um_status status = um_session_compute(s, &compute, err);

    if (status == UM_OK && !um_dtype_parse(&weights, s->config->decide.weights))
        status = um_fail(err, UM_ERR_INPUT, "decide.weights: no such format: '%s'",
                         s->config->decide.weights);
    if (status == UM_OK)
        status = um_model_open(&out->model, dir, weights, compute, s->monitor, err);
    if (status == UM_OK)
        status = um_engine_open(&out->responder, out->model, tok, compute, name, &options, err);
    if (status != UM_OK)
        return status;
    um_hash_hex(out->responder->fingerprint, hash);
    um_row_model row = {.name = name, .path = dir, .hash = hash, .kind = "local"};
    return um_workspace_model_id(&out->id, s->ws, &row, err);
}

um_status um_actor_open_folder(um_actor *out, um_session *s, const char *name, const char *dir,
                               um_error *err)
{
    *out = (um_actor){0};
    um_status status = um_tokenizer_load(&out->tokenizer, dir, err);
    if (status == UM_OK)
        status = um_chat_choose(out->tokenizer, s->config->decide.teacher_template,
                                s->config->chat.date, err);
    if (status == UM_OK)
        status = open_engine(out, s, name, dir, out->tokenizer, err);
    if (status != UM_OK)
        um_actor_close(out);
    return status;
}

um_status um_actor_open(um_actor *out, um_session *s, const char *name, um_error *err)
{
    const um_tokenizer *tok;
    char *dir = NULL;
    um_status status;

    *out = (um_actor){0};
    if ((status = um_session_model_dir(s, name, &dir, err)) != UM_OK)
        return status;
    if (!um_path_exists(dir))
        status = um_fail(err, UM_ERR_STATE,
                         "model folder '%s' does not exist; run the stage that "
                         "makes it first (`mirrorer status` names it)",
                         dir);
    if (status == UM_OK)
        status = um_session_tokenizer(s, &tok, err);
    if (status == UM_OK)
        status = open_engine(out, s, name, dir, tok, err);
    free(dir);
    if (status != UM_OK)
        um_actor_close(out);
    return status;
}

void um_actor_close(um_actor *a)
{
    um_responder_free(a->responder);
    um_remote_free(a->remote);
    um_model_free(a->model);
    um_tokenizer_free(a->tokenizer);
    *a = (um_actor){0};
}

um_status um_actor_fits(um_responder *responder, const um_prompt *prompt, const char *text,
                        uint32_t more, bool *fits, um_error *err)
{
    uint32_t tokens, limit;

    *fits = true;
    if (responder->ops->measure == NULL)
        return UM_OK;
    um_status status = responder->ops->measure(responder, prompt, text, &tokens, &limit, err);
    if (status == UM_OK)
        *fits = (uint64_t)tokens + more <= limit;
    return status;
}

/* One run of one stage ------------------------------------------------------------------------ */

static bool in_sections(const char *key, const char *sections)
{
    for (const char *p = sections; *p != '\0';) {
        size_t n = strcspn(p, " ");
        bool prefix = n > 0 && p[n - 1] == '.';
        if (strncmp(key, p, n) == 0 && (prefix || key[n] == '\0'))
            return true;
        p += n;
        p += strspn(p, " ");
    }
    return false;
}

static json_t *stage_parameters(um_session *s, const char *sections, const char *after_fingerprint,
                                uint64_t extra)
{
    json_t *object = json_object();
    char value[UM_CONFIG_TEXT], hash[17];
    size_t n;
    const um_option *options = um_config_options(&n);

    for (size_t i = 0; i < n; i++) {
        /* Sizes of batches and intervals of saving change no result. */
        if (!in_sections(options[i].key, sections) || strstr(options[i].key, "checkpoint_every") ||
            strstr(options[i].key, "max_rows") || strstr(options[i].key, "kv_memory"))
            continue;
        um_config_get(s->config, &options[i], value, sizeof value);
        /* A model is what it is wherever it is served; its name is another option. */
        json_object_set_new(object, options[i].key,
                            json_string(um_source_is_url(value) ? "endpoint" : value));
    }
    json_object_set_new(object, "program", json_string(UM_VERSION));
    json_object_set_new(object, "input", json_string(after_fingerprint));
    um_hash_hex(extra, hash);
    json_object_set_new(object, "files", json_string(hash));
    return object;
}

/* UM_ERR_STATE naming the first parameter that differs. */
static um_status compare_parameters(const um_stage_info *info, const json_t *now,
                                    const json_t *then, um_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)now, key, value)
    {
        const char *old = json_string_value(json_object_get(then, key));
        if (old != NULL && strcmp(old, json_string_value(value)) == 0)
            continue;
        const char *what = strcmp(key, "input") == 0   ? "an earlier stage was made anew"
                           : strcmp(key, "files") == 0 ? "its input files changed"
                                                       : key;
        char change[2 * UM_CONFIG_TEXT + 64] = "";
        if (what == key)
            snprintf(change, sizeof change, " changed from '%s' to '%s'",
                     old != NULL ? old : "(unset)", json_string_value(value));
        return um_fail(err, UM_ERR_STATE,
                       "stage %s: %s%s%s since it was first run; `mirrorer %s --redo` forgets its "
                       "results and all later ones, another -w WORKSPACE keeps them",
                       info->name, what == key ? "option " : "", what, change, info->verb);
    }
    return UM_OK;
}

static um_status input_fingerprint(um_session *s, const um_stage_info *info, const char *after,
                                   char *out, size_t size, um_error *err)
{
    um_row_stage row;
    snprintf(out, size, "none");
    if (after == NULL)
        return UM_OK;
    um_status status = um_workspace_get_stage(&row, s->ws, after, err);
    /* One shard of a stage rests on the same shard of the one before. */
    bool whole = s->config->run.shard[0] == '\0' || strncmp(after, "decide.", 7) != 0;
    if (status == UM_ERR_NOT_FOUND || (status == UM_OK && whole && strcmp(row.status, "done") != 0))
        return um_fail(err, UM_ERR_STATE, "stage %s needs %s first; run `mirrorer %s`", info->name,
                       after, um_stage_find(after)->verb);
    if (status == UM_OK)
        snprintf(out, size, "%s", row.fingerprint);
    return status;
}

um_status um_stage_fingerprint(um_session *s, const char *stage, const char *after, uint64_t *hash,
                               um_error *err)
{
    char text[64];
    um_status status = input_fingerprint(s, um_stage_find(stage), after, text, sizeof text, err);
    if (status == UM_OK)
        *hash = um_hash_str(text, 0);
    return status;
}

/* Files that options name count by what is in them. */
static um_status content_hash(um_session *s, const char *sections, uint64_t *hash, um_error *err)
{
    const char *file = s->config->scenes.template_file;
    const um_prompt_form *form;
    char *text = NULL;
    size_t len = 0;
    um_status status = UM_OK;

    if (in_sections("prompt.form", sections)) {
        status = um_session_form(s, &form, err);
        if (status == UM_OK)
            *hash ^= um_prompt_form_hash(form);
    }
    if (status == UM_OK && in_sections("scenes.template", sections) && file[0] != '\0') {
        status = um_file_read(&text, &len, file, MAX_TEMPLATE_BYTES, err);
        if (status == UM_OK)
            *hash = um_hash(text, len, *hash);
    }
    free(text);
    return status;
}

/* Which prompts a stage's results rest on: name and content of the form. */
static um_status note_prompt(um_run *run, const char *sections, um_error *err)
{
    const um_prompt_form *form;
    char hash[17];
    if (!in_sections("prompt.form", sections))
        return UM_OK;
    um_status status = um_session_form(run->session, &form, err);
    if (status != UM_OK)
        return status;
    um_hash_hex(um_prompt_form_hash(form), hash);
    json_object_set_new(run->detail, "prompt", json_string(run->session->config->prompt.form));
    json_object_set_new(run->detail, "prompt_hash", json_string(hash));
    return UM_OK;
}

um_status um_run_begin(um_run *run, um_session *s, const char *stage, const char *sections,
                       const char *after, uint64_t extra, um_error *err)
{
    char input[64], fingerprint[17];
    json_t *now = NULL, *then = NULL;
    um_row_stage row;
    um_str text = UM_STR_INIT;
    um_status status;

    *run = (um_run){.session = s, .info = um_stage_find(stage), .detail = json_object()};
    run->begun_ms = um_clock_ms();
    if ((status = input_fingerprint(s, run->info, after, input, sizeof input, err)) != UM_OK)
        return status;
    if ((status = content_hash(s, sections, &extra, err)) != UM_OK ||
        (status = note_prompt(run, sections, err)) != UM_OK)
        return status;
    now = stage_parameters(s, sections, input, extra);
    um_json_dump(&text, now);
    if (run->detail == NULL || now == NULL || (status = um_str_status(&text, err)) != UM_OK) {
        status = um_fail_memory(err, "stage");
        goto done;
    }
    um_hash_hex(um_hash(text.data, text.len, um_hash_str(stage, 0)), fingerprint);
    status = um_workspace_get_stage(&row, s->ws, stage, err);
    if (status == UM_OK) {
        status = um_json_parse(&then, row.parameters, strlen(row.parameters), stage, err);
        if (status == UM_OK)
            status = compare_parameters(run->info, now, then, err);
        if (status != UM_OK)
            goto done;
        run->seconds_before = row.seconds;
        run->done = run->resumed = row.items_done;
        run->total = row.items_total;
        run->finished_before = strcmp(row.status, "done") == 0;
        if (run->finished_before)
            um_monitor_message(s->monitor, "%s: already done", run->info->title);
        goto done;
    }
    if (status != UM_ERR_NOT_FOUND)
        goto done;
    run->fresh = true;
    if ((status = um_session_remember(s, err)) != UM_OK)
        goto done;
    status = um_workspace_put_stage(s->ws,
                                    &(um_row_stage){.name = stage,
                                                    .parameters = text.data,
                                                    .fingerprint = fingerprint,
                                                    .status = "running",
                                                    .detail = "{}"},
                                    err);
done:
    um_str_dispose(&text);
    json_decref(now);
    json_decref(then);
    return status;
}

void um_run_progress(um_run *run, uint64_t done, const char *detail)
{
    uint64_t now = um_clock_ms();
    run->done = done;
    if (now - run->shown_ms < 200 && done < run->total)
        return;
    run->shown_ms = now;
    um_progress p = {run->info->title, run->info->unit, done, run->total, run->resumed, detail};
    um_monitor_progress(run->session->monitor, &p);
}

um_status um_run_save(um_run *run, bool finished, um_error *err)
{
    um_row_stage row;
    char *parameters = NULL, *fingerprint = NULL;
    um_str detail = UM_STR_INIT;
    um_workspace *ws = run->session->ws;
    um_status status = um_workspace_get_stage(&row, ws, run->info->name, err);

    if (status != UM_OK)
        return status;
    parameters = um_strdup(row.parameters);
    fingerprint = um_strdup(row.fingerprint);
    um_json_dump(&detail, run->detail);
    if (parameters == NULL || fingerprint == NULL || um_str_status(&detail, NULL) != UM_OK) {
        status = um_fail_memory(err, "stage");
    } else {
        uint64_t peak = um_peak_rss_kb();
        row = (um_row_stage){.name = run->info->name,
                             .parameters = parameters,
                             .fingerprint = fingerprint,
                             .status = finished ? "done" : "running",
                             .items_done = run->done,
                             .items_total = run->total,
                             .seconds = run->seconds_before +
                                        (double)(um_clock_ms() - run->begun_ms) / 1000,
                             .peak_rss_kb = peak > row.peak_rss_kb ? peak : row.peak_rss_kb,
                             .detail = um_str_text(&detail),
                             .updated_s = (int64_t)time(NULL)};
        status = um_workspace_put_stage(ws, &row, err);
    }
    free(parameters);
    free(fingerprint);
    um_str_dispose(&detail);
    return status;
}

void um_run_withdraw(um_run *run)
{
    um_error err; /* the failure that led here is the one to tell */
    if (run->fresh && um_workspace_forget_stage(run->session->ws, run->info->name, &err) != UM_OK)
        um_monitor_message(run->session->monitor, "%s", err.text);
}

void um_run_dispose(um_run *run)
{
    json_decref(run->detail);
    run->detail = NULL;
}
