/*
 * batch.c - decision processes by way of batch files: requests written to files, answers read from
 * files. The answers go through the same journal as those of a live endpoint, so what is missing
 * and what is known is asked of it alone.
 */
#include <inttypes.h>
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

typedef struct planning {
    um_on_remote_request on_request;
    void *context;
} planning;

static um_status plan_portion(um_decider *d, void *context, um_error *err)
{
    const planning *p = context;
    const um_sampling sampling = um_decider_sampling(d);
    return um_remote_plan(d->actor.responder, d->prompts.prompts, d->prompts.n, 0, d->samples,
                          &sampling, um_decider_stops, 1, p->on_request, p->context, err);
}

/* Calls for each request that is still to be asked. */
static um_status plan(um_decider *d, um_on_remote_request on_request, void *context, um_error *err)
{
    planning p = {on_request, context};
    return um_decider_each(d, plan_portion, &p, err);
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

/* A scene that is not whole: the keys of its samples are hi, lo + sample. */
typedef struct question {
    uint64_t hi, lo, scene;
} question;

typedef struct reader {
    um_decider *d;
    um_batch_report *report;
    um_remote_endpoint prices;
    UM_VEC(question) questions; /* ascending by hi */
    uint64_t shown;
    uint32_t taken, known; /* answers of the row being read */
} reader;

static int by_hi(const void *a, const void *b)
{
    const question *x = a, *y = b;
    return (x->hi > y->hi) - (x->hi < y->hi);
}

/* "um1-<32 hex digits>-<answers>", as the plan writes them: mirrorer/remote.h. */
static um_status note_question(void *context, const um_remote_request *r, um_error *err)
{
    reader *rd = context;
    size_t n = rd->questions.len;
    question q = {.scene = r->prompt};
    if (n > 0 && rd->questions.data[n - 1].scene == r->prompt)
        return UM_OK;
    if (sscanf(r->custom_id, "um1-%16" SCNx64 "%16" SCNx64, &q.hi, &q.lo) != 2)
        return um_fail(err, UM_ERR_STATE, "custom_id '%s' is not of the form expected",
                       r->custom_id);
    q.lo -= r->first_sample;
    return um_vec_push(&rd->questions, q) ? UM_OK : um_fail_memory(err, "scenes");
}

/* Keeps the answers to this run's questions that were not known. */
static um_status take(void *context, const um_remote_event *events, size_t n, um_error *err)
{
    reader *r = context;
    um_decider *d = r->d;
    um_status status = um_portion_open(&d->portion, err);
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        um_remote_event e = events[i];
        const question wanted = {.hi = e.key.hi}, *q = NULL;
        bool known = false;
        status = um_stage_journal_is_answered(&d->journal, e.key, &known, err);
        if (r->questions.len > 0)
            q = bsearch(&wanted, r->questions.data, r->questions.len, sizeof wanted, by_hi);
        r->known += known;
        if (status != UM_OK || known || q == NULL || e.key.lo - q->lo >= d->samples)
            continue;
        e.prompt = q->scene;
        e.sample = (uint32_t)(e.key.lo - q->lo);
        r->taken++;
        status = um_stage_journal_put(&d->journal, &e, err);
    }
    return status == UM_OK ? um_portion_close(&d->portion, false, err) : status;
}

/* A row that gave no answers is told of, and passed over. */
static void tell(reader *r, const char *file, uint64_t line, const um_error *why)
{
    if (r->shown++ < SHOWN_ROWS)
        um_monitor_message(r->d->s->monitor, "  %s:%llu: %s", file, (unsigned long long)line,
                           why->text);
}

static um_status accept_row(reader *r, const json_t *row, um_error *err)
{
    const um_remote_journal journal = {.context = r, .record = take};
    const char *id = json_string_value(json_object_get(row, "custom_id"));
    json_t *response = json_object_get(row, "response"), *body = json_object_get(response, "body");
    json_int_t http_status = json_integer_value(json_object_get(response, "status_code"));
    um_str text = UM_STR_INIT;

    r->taken = r->known = 0;
    if (id == NULL)
        return um_fail(err, UM_ERR_INPUT, "no custom_id");
    if (body == NULL || json_is_null(body))
        body = json_object_get(row, "error");
    if (body != NULL)
        um_json_dump(&text, body);
    um_status status = um_str_status(&text, err);
    if (status == UM_OK)
        status = um_remote_accept(&journal, &r->prices, id, (int)http_status, um_str_text(&text),
                                  text.len, NULL, err);
    um_str_dispose(&text);
    if (status == UM_OK) {
        r->report->answers += r->taken;
        r->report->known += r->known;
    }
    if ((status == UM_OK || status == UM_ERR_REMOTE) && r->taken + r->known == 0)
        return um_fail(err, UM_ERR_INPUT,
                       "'%.48s' is not a question of this run: another model, prompt, seed or "
                       "sampling",
                       id);
    return status == UM_ERR_REMOTE && r->taken == 0 ? UM_OK : status;
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
        if (line.len == 0 && !line.is_long)
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

static um_status note_missing(void *context, const um_remote_request *r, um_error *err)
{
    um_batch_report *report = context;
    uint64_t *grown, n = report->n_missing_scenes;
    report->missing_rows++;
    report->missing_answers += r->answers;
    if (n > 0 && report->missing_scenes[n - 1] == r->prompt)
        return UM_OK;
    if ((n & (n - 1)) == 0) { /* the room is the next power of two */
        grown = um_reallocarray(report->missing_scenes, n > 0 ? 2 * n : 1, sizeof *grown);
        if (grown == NULL)
            return um_fail_memory(err, "scenes");
        report->missing_scenes = grown;
    }
    report->missing_scenes[report->n_missing_scenes++] = r->prompt;
    return UM_OK;
}

/* Leaves the scenes whose answers are all in the journal; both lists ascend. */
static void keep_whole(um_decider *d, const um_batch_report *report)
{
    size_t kept = 0, at = 0;
    for (size_t i = 0; i < d->todo.len; i++) {
        uint64_t scene = d->todo.data[i].scene;
        while (at < report->n_missing_scenes && report->missing_scenes[at] < scene)
            at++;
        if (at == report->n_missing_scenes || report->missing_scenes[at] != scene)
            d->todo.data[kept++] = d->todo.data[i];
    }
    d->waiting = d->todo.len - kept;
    d->run.total -= d->waiting;
    d->todo.len = kept;
}

um_status um_decide_read_batch(um_session *s, const char *role, const char *const *files, size_t n,
                               um_batch_report *report, um_error *err)
{
    um_decider d;
    reader r = {.d = &d,
                .report = report,
                .prices = {.prompt_price = s->config->remote.prompt_price,
                           .completion_price = s->config->remote.completion_price}};

    *report = (um_batch_report){0};
    um_status status = begin(&d, s, role, err);
    if (status != UM_OK || d.run.finished_before)
        goto done;
    status = plan(&d, note_question, &r, err);
    if (status == UM_OK && r.questions.len > 0)
        qsort(r.questions.data, r.questions.len, sizeof *r.questions.data, by_hi);
    for (size_t i = 0; i < n && status == UM_OK; i++)
        status = read_file(&r, files[i], err);
    status = um_portion_end(&d.portion, status, err);
    if (status == UM_OK)
        status = plan(&d, note_missing, report, err);
    if (status != UM_OK)
        goto done;
    keep_whole(&d, report);
    report->scenes = d.todo.len;
    status = um_decider_complete(&d, err);
    if (status == UM_OK)
        status = um_decider_finish(&d, err);
done:
    s->offline = false;
    um_vec_dispose(&r.questions);
    um_decider_dispose(&d);
    return status;
}

void um_batch_report_dispose(um_batch_report *report)
{
    free(report->missing_scenes);
    *report = (um_batch_report){0};
}
