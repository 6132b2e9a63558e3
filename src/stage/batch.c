/*
 * batch.c - decision processes by way of batch files: requests written to files, answers read from
 * files. The answers go through the same journal as those of a live endpoint, so what is missing
 * and what is known is asked of it alone.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "data/lines.h"
#include "stage/decide.h"

#define SHOWN_ROWS 5

static um_status begin(um_decider *d, um_session *s, const char *role, um_error *err)
{
    s->offline = true;
    um_status status = um_decider_begin(d, s, role, err);
    if (status == UM_OK && !d->run.finished_before && d->actor.remote == NULL)
        status = um_fail(
            err, UM_ERR_INPUT,
            "batch files are for endpoints; name the %s's by %s (any address, such as "
            "https://host/v1) and its model",
            role, strcmp(role, UM_ROLE_TEACHER) == 0 ? "decide.teacher" : "student.endpoint");
    return status;
}

/* Calls for each request that is still to be asked. */
static um_status plan(um_decider *d, um_on_remote_request on_request, void *context, um_error *err)
{
    const um_sampling sampling = um_decider_sampling(d);
    return um_remote_plan(d->actor.responder, d->prompts.prompts, d->prompts.n, 0, d->samples,
                          &sampling, um_decider_stops, 1, on_request, context, err);
}

/* Writing ------------------------------------------------------------------------------------- */

typedef struct writer {
    um_decider *d;
    const char *dir;
    um_batch_report *report;
    um_outfile file;
    bool is_open;
    uint64_t rows, bytes; /* of the open file */
    um_str line;
} writer;

static um_status close_file(writer *w, um_error *err)
{
    if (!w->is_open)
        return UM_OK;
    w->is_open = false;
    return um_outfile_commit(&w->file, err);
}

static um_status open_file(writer *w, um_error *err)
{
    char name[64], *path = NULL;
    snprintf(name, sizeof name, "%s-%05llu.jsonl", w->d->role,
             (unsigned long long)(w->report->files + 1));
    um_status status = um_path_join(&path, w->dir, name, err);
    if (status == UM_OK && um_path_exists(path))
        status = um_fail(err, UM_ERR_STATE,
                         "'%s' is there already; give another folder, or remove it", path);
    if (status == UM_OK)
        status = um_outfile_open(&w->file, path, err);
    free(path);
    if (status != UM_OK)
        return status;
    w->is_open = true;
    w->rows = w->bytes = 0;
    w->report->files++;
    return UM_OK;
}

static um_status write_request(void *context, const um_remote_request *r, um_error *err)
{
    writer *w = context;
    const um_config *c = w->d->s->config;
    um_status status = UM_OK;

    um_str_clear(&w->line);
    um_str_append(&w->line, "{\"custom_id\":");
    um_str_append_json(&w->line, r->custom_id);
    um_str_append(&w->line, ",\"method\":\"POST\",\"url\":");
    um_str_append_json(&w->line, r->url);
    um_str_append(&w->line, ",\"body\":");
    um_str_append_n(&w->line, r->body, r->body_len);
    um_str_append(&w->line, "}\n");
    if ((status = um_str_status(&w->line, err)) != UM_OK)
        return status;
    if (w->line.len > (uint64_t)c->remote.batch_bytes)
        return um_fail(
            err, UM_ERR_LIMIT, "scene %llu: a request of %zu bytes, remote.batch_bytes is %lld",
            (unsigned long long)r->prompt, w->line.len, (long long)c->remote.batch_bytes);
    if (w->is_open && (w->rows == (uint64_t)c->remote.batch_requests ||
                       w->bytes + w->line.len > (uint64_t)c->remote.batch_bytes))
        status = close_file(w, err);
    if (status == UM_OK && !w->is_open)
        status = open_file(w, err);
    if (status != UM_OK)
        return status;
    if (fwrite(w->line.data, w->line.len, 1, w->file.stream) != 1)
        return um_fail_errno(err, "write", w->dir);
    w->rows++;
    w->bytes += w->line.len;
    w->report->rows++;
    w->report->answers += r->answers;
    return um_monitor_stopped(w->d->s->monitor)
               ? um_fail(err, UM_ERR_INTERRUPTED, "writing batch files was stopped")
               : UM_OK;
}

um_status um_decide_write_batch(um_session *s, const char *role, const char *dir,
                                um_batch_report *report, um_error *err)
{
    um_decider d;
    writer w = {.d = &d, .dir = dir, .report = report};

    *report = (um_batch_report){0};
    um_status status = begin(&d, s, role, err);
    if (status == UM_OK && !d.run.finished_before)
        status = um_path_make_dirs(dir, err);
    if (status == UM_OK && !d.run.finished_before)
        status = plan(&d, write_request, &w, err);
    if (status == UM_OK)
        status = close_file(&w, err);
    if (w.is_open)
        um_outfile_dispose(&w.file);
    s->offline = false;
    um_str_dispose(&w.line);
    um_decider_dispose(&d);
    return status;
}

/* Reading ------------------------------------------------------------------------------------- */

typedef struct reader {
    um_decider *d;
    um_batch_report *report;
    um_remote_endpoint prices;
    uint64_t shown;
} reader;

/* A row that gave no answers is told of, and passed over. */
static void tell(reader *r, const char *file, uint64_t line, const um_error *why)
{
    if (r->shown++ < SHOWN_ROWS)
        um_monitor_message(r->d->s->monitor, "  %s:%llu: %s", file, (unsigned long long)line,
                           why->text);
}

static um_status accept_row(reader *r, const json_t *row, um_error *err)
{
    const um_remote_journal journal = um_stage_journal_of(&r->d->journal);
    const char *id = json_string_value(json_object_get(row, "custom_id"));
    json_t *response = json_object_get(row, "response"), *body = json_object_get(response, "body");
    json_int_t http_status = json_integer_value(json_object_get(response, "status_code"));
    um_str text = UM_STR_INIT;
    uint32_t answers = 0;

    if (id == NULL)
        return um_fail(err, UM_ERR_INPUT, "no custom_id");
    if (body == NULL || json_is_null(body))
        body = json_object_get(row, "error");
    if (body != NULL)
        um_json_dump(&text, body);
    um_status status = um_str_status(&text, err);
    if (status == UM_OK)
        status = um_remote_accept(&journal, &r->prices, id, (int)http_status, um_str_text(&text),
                                  text.len, &answers, err);
    r->report->answers += answers;
    um_str_dispose(&text);
    return status;
}

static um_status read_file(reader *r, const char *path, um_error *err)
{
    um_bundle *bundle = NULL;
    um_lines lines = {0};
    um_line line;
    um_error why;
    um_status status = um_bundle_open(&bundle, path, err);

    if (status == UM_OK && bundle->kind != UM_BUNDLE_FILE)
        status = um_fail(err, UM_ERR_INPUT, "'%s' is not a file of JSON lines", path);
    if (status == UM_OK)
        status = um_lines_open(&lines, bundle, &bundle->entries[0], err);
    while (status == UM_OK && (status = um_lines_next(&lines, &line, err)) == UM_OK &&
           line.text != NULL) {
        json_t *row = NULL;
        if (line.len == 0)
            continue;
        r->report->rows++;
        um_status good = line.is_long ? um_fail(&why, UM_ERR_INPUT, "the line is too long")
                                      : um_json_parse(&row, line.text, line.len, "row", &why);
        if (good == UM_OK)
            good = accept_row(r, row, &why);
        json_decref(row);
        if (good == UM_ERR_REMOTE)
            r->report->failed++;
        else if (good == UM_ERR_INPUT)
            r->report->foreign++;
        else if (good != UM_OK)
            status =
                um_fail(err, good, "%s:%llu: %s", path, (unsigned long long)lines.line, why.text);
        if (good == UM_ERR_REMOTE || good == UM_ERR_INPUT)
            tell(r, path, lines.line, &why);
        if (status == UM_OK && um_monitor_stopped(r->d->s->monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "reading batch files was stopped");
    }
    um_lines_close(&lines);
    um_bundle_free(bundle);
    r->report->files += status == UM_OK;
    return status;
}

typedef struct missing {
    um_batch_report *report;
    UM_VEC(uint64_t) scenes; /* ascending, each once */
} missing;

static um_status note_missing(void *context, const um_remote_request *r, um_error *err)
{
    missing *m = context;
    m->report->missing_rows++;
    m->report->missing_answers += r->answers;
    if (m->scenes.len > 0 && m->scenes.data[m->scenes.len - 1] == r->prompt)
        return UM_OK;
    return um_vec_push(&m->scenes, r->prompt) ? UM_OK : um_fail_memory(err, "scenes");
}

/* Leaves the scenes whose answers are all in the journal. */
static void keep_whole(um_decider *d, const missing *m)
{
    size_t kept = 0, at = 0;
    for (size_t i = 0; i < d->ids.len; i++) {
        while (at < m->scenes.len && m->scenes.data[at] < d->ids.data[i])
            at++;
        if (at < m->scenes.len && m->scenes.data[at] == d->ids.data[i])
            continue;
        d->prompts.prompts[kept] = d->prompts.prompts[i];
        d->ids.data[kept++] = d->ids.data[i];
    }
    d->elsewhere += d->ids.len - kept;
    d->ids.len = d->prompts.n = kept;
}

um_status um_decide_read_batch(um_session *s, const char *role, const char *const *files, size_t n,
                               um_batch_report *report, um_error *err)
{
    um_decider d;
    missing m = {.report = report};
    reader r = {.d = &d,
                .report = report,
                .prices = {.prompt_price = s->config->remote.prompt_price,
                           .completion_price = s->config->remote.completion_price}};

    *report = (um_batch_report){0};
    um_status status = begin(&d, s, role, err);
    if (status != UM_OK || d.run.finished_before)
        goto done;
    for (size_t i = 0; i < n && status == UM_OK; i++)
        status = read_file(&r, files[i], err);
    if (status == UM_OK)
        status = plan(&d, note_missing, &m, err);
    if (status != UM_OK)
        goto done;
    keep_whole(&d, &m);
    report->scenes = d.ids.len;
    status = um_decider_complete(&d, err);
    if (status == UM_OK)
        status = um_decider_finish(&d, err);
done:
    s->offline = false;
    um_vec_dispose(&m.scenes);
    um_decider_dispose(&d);
    return status;
}
