#include "stage/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"

#define MAX_ENDPOINTS  64
#define SHOWN_FAILURES 5
/* Of a prompt, before an endpoint has counted any. */
#define BYTES_PER_TOKEN 4

bool um_source_is_url(const char *source)
{
    return strncmp(source, "http://", 7) == 0 || strncmp(source, "https://", 8) == 0;
}

/* Opening ------------------------------------------------------------------------------------- */

/* Cuts `text` into URLs, in place, with their weights. */
static um_status cut_urls(char *text, um_remote_endpoint *endpoints, size_t *n, um_error *err)
{
    char *rest = NULL;
    for (char *url = strtok_r(text, " ", &rest); url != NULL; url = strtok_r(NULL, " ", &rest)) {
        char *star = strrchr(url, '*');
        double weight = 1;
        if (*n == MAX_ENDPOINTS)
            return um_fail(err, UM_ERR_LIMIT, "more than %d endpoints", MAX_ENDPOINTS);
        if (!um_source_is_url(url))
            return um_fail(err, UM_ERR_INPUT, "'%s' is not an http:// or https:// address", url);
        if (star != NULL) {
            if (!um_parse_f64(star + 1, &weight) || !(weight > 0))
                return um_fail(err, UM_ERR_INPUT, "weight '%s' of '%s' is not a positive number",
                               star + 1, url);
            *star = '\0';
        }
        endpoints[(*n)++] = (um_remote_endpoint){.base_url = url, .weight = weight};
    }
    return *n > 0 ? UM_OK : um_fail(err, UM_ERR_INPUT, "no endpoint is named");
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

um_status um_stage_remote_open(um_remote **out, um_session *s, const char *stage, const char *urls,
                               const char *model, um_error *err)
{
    const um_config *c = s->config;
    um_remote_endpoint endpoints[MAX_ENDPOINTS];
    um_remote_options options;
    um_request_totals totals, own;
    size_t n = 0;
    char *text = um_strdup(urls);
    um_status status = text != NULL ? UM_OK : um_fail_memory(err, "endpoints");

    if (status == UM_OK)
        status = cut_urls(text, endpoints, &n, err);
    if (status == UM_OK && model[0] == '\0')
        status = um_fail(err, UM_ERR_INPUT,
                         "endpoint %s: the name of its model is missing; give it as "
                         "decide.teacher_model (or student.endpoint_model, "
                         "scenes.embeddings_model)",
                         endpoints[0].base_url);
    if (status == UM_OK)
        status = um_workspace_request_totals(&totals, s->ws, NULL, err);
    if (status == UM_OK)
        status = um_workspace_request_totals(&own, s->ws, stage, err);
    if (status != UM_OK)
        goto done;
    for (size_t i = 0; i < n; i++) {
        endpoints[i].model = model;
        endpoints[i].key_env = s->offline ? NULL : or_null(c->remote.key_env);
        endpoints[i].key_file = s->offline ? NULL : or_null(c->remote.key_file);
        endpoints[i].prompt_price = c->remote.prompt_price;
        endpoints[i].completion_price = c->remote.completion_price;
    }
    um_remote_options_init(&options);
    options.identity = model;
    options.seed = c->seed;
    options.max_concurrency = (uint32_t)c->remote.concurrency;
    options.max_choices = (uint32_t)c->remote.choices;
    options.deadline_ms = (uint32_t)(c->remote.deadline_s * 1000);
    options.retries = (uint32_t)c->remote.retries;
    options.backoff_ms = (uint32_t)c->remote.backoff_ms;
    options.outage_limit_ms = (uint32_t)(c->remote.outage_limit_s * 1000);
    options.max_cost = c->remote.max_cost;
    options.spent = totals.cost;
    options.max_hours = c->remote.max_hours;
    /* Where answers came before, what fails now may be all that is left and is refused for good. */
    if (own.answered > 0)
        options.max_failures = UINT32_MAX;
    options.ca_file = or_null(c->remote.ca_file);
    options.plain_http = c->remote.plain_http;
    options.frequencies = c->predict.frequencies;
    options.frequency_samples = (uint32_t)c->predict.frequency_samples;
    options.max_letter_error = c->predict.max_letter_error;
    status = um_remote_open(out, endpoints, n, &options, err);
    const char *profile = c->remote.profile;
    if (s->offline && strcmp(profile, "probe") == 0)
        profile = "openai";
    if (status == UM_OK && strcmp(profile, "probe") != 0) {
        status = um_remote_assume(*out, profile, err);
        if (status != UM_OK) {
            um_remote_free(*out);
            *out = NULL;
        }
    }
done:
    free(text);
    return status;
}

um_status um_actor_open_remote(um_actor *out, um_session *s, const char *name, const char *urls,
                               const char *model, um_stage_journal *journal,
                               const um_monitor *monitor, um_error *err)
{
    const um_remote_journal kept = um_stage_journal_of(journal);
    char *text = NULL, hash[17];
    um_status status;

    *out = (um_actor){0};
    if ((status = um_stage_remote_open(&out->remote, s, journal->stage, urls, model, err)) !=
            UM_OK ||
        (status = um_remote_probe(out->remote, monitor, err)) != UM_OK ||
        (status = um_remote_describe(out->remote, &text, err)) != UM_OK ||
        (status = um_remote_responder_open(&out->responder, out->remote, name, &kept, monitor,
                                           err)) != UM_OK)
        goto done;
    um_monitor_message(monitor, "%s", text);
    um_hash_hex(out->responder->fingerprint, hash);
    um_row_model row = {.name = name, .path = model, .hash = hash, .kind = "remote"};
    status = um_workspace_model_id(&out->id, s->ws, &row, err);
done:
    free(text);
    if (status != UM_OK)
        um_actor_close(out);
    return status;
}

um_status um_actor_open_student(um_actor *out, um_session *s, um_stage_journal *journal,
                                const um_monitor *monitor, um_error *err)
{
    const um_config *c = s->config;
    if (c->student.endpoint[0] == '\0')
        return um_actor_open(out, s, "base", err);
    return um_actor_open_remote(out, s, "base", c->student.endpoint, c->student.endpoint_model,
                                journal, monitor, err);
}

/* Journal ------------------------------------------------------------------------------------- */

static void key_bytes(unsigned char out[16], um_remote_key key)
{
    for (int i = 0; i < 8; i++) {
        out[i] = (unsigned char)(key.hi >> (56 - 8 * i));
        out[8 + i] = (unsigned char)(key.lo >> (56 - 8 * i));
    }
}

static um_status lookup(void *context, um_remote_key key, const char **answer, size_t *len,
                        um_error *err)
{
    um_stage_journal *j = context;
    unsigned char bytes[16];
    key_bytes(bytes, key);
    um_status status = um_workspace_get_answer(answer, j->ws, bytes, err);
    *len = status == UM_OK && *answer != NULL ? strlen(*answer) : 0;
    return status;
}

um_status um_stage_journal_is_answered(um_stage_journal *j, um_remote_key key, bool *answered,
                                       um_error *err)
{
    unsigned char bytes[16];
    key_bytes(bytes, key);
    return um_workspace_is_answered(answered, j->ws, bytes, err);
}

um_status um_stage_journal_put(um_stage_journal *j, const um_remote_event *e, um_error *err)
{
    static const char *const names[] = {"intended", "answered", "failed"};
    um_row_request row = {.stage = j->stage,
                          .prompt = e->prompt,
                          .sample = e->sample,
                          .answer = e->kind == UM_REMOTE_ANSWERED ? e->answer : NULL,
                          .prompt_tokens = e->prompt_tokens,
                          .completion_tokens = e->completion_tokens,
                          .cost = e->cost,
                          .http_status = e->http_status,
                          .reason = e->kind == UM_REMOTE_FAILED ? e->reason : NULL};
    key_bytes(row.key, e->key);
    if (e->kind == UM_REMOTE_WITHDRAWN)
        return um_workspace_drop_request(j->ws, row.key, err);
    row.status = names[e->kind];
    return um_workspace_put_request(j->ws, &row, err);
}

static um_status record(void *context, const um_remote_event *events, size_t n, um_error *err)
{
    um_stage_journal *j = context;
    um_portion *portion = j->portion;
    um_status status =
        portion != NULL ? um_portion_open(portion, err) : um_workspace_begin(j->ws, err);
    for (size_t i = 0; i < n && status == UM_OK; i++)
        status = um_stage_journal_put(j, &events[i], err);
    if (status == UM_OK)
        status = portion != NULL ? um_portion_close(portion, true, err)
                                 : um_workspace_commit(j->ws, err);
    if (status != UM_OK && portion == NULL)
        um_workspace_rollback(j->ws);
    return status;
}

um_remote_journal um_stage_journal_of(um_stage_journal *journal)
{
    return (um_remote_journal){.context = journal, .lookup = lookup, .record = record};
}

/* Progress and figures ------------------------------------------------------------------------ */

static void watch_progress(void *context, const um_progress *progress)
{
    um_remote_watch *watch = context;
    snprintf(watch->detail, sizeof watch->detail, "%llu/%llu answers, %s",
             (unsigned long long)(watch->before + progress->done), (unsigned long long)watch->total,
             progress->detail != NULL ? progress->detail : "");
    um_run_progress(watch->run, watch->run->done, watch->detail);
}

static void watch_message(void *context, const char *text)
{
    um_remote_watch *watch = context;
    um_monitor_message(watch->run->session->monitor, "%s", text);
}

const um_monitor *um_remote_watch_init(um_remote_watch *watch, um_run *run)
{
    const um_monitor *outer = run->session->monitor;
    *watch = (um_remote_watch){.run = run};
    watch->monitor = (um_monitor){.on_progress = watch_progress,
                                  .on_message = watch_message,
                                  .context = watch,
                                  .stop = outer != NULL ? outer->stop : NULL};
    return &watch->monitor;
}

typedef struct open_list {
    const um_monitor *monitor;
    uint64_t shown;
} open_list;

static um_status show_open(void *context, const um_row_request *row, um_error *err)
{
    open_list *list = context;
    (void)err;
    if (list->shown++ < SHOWN_FAILURES)
        um_monitor_message(list->monitor, "    scene %llu, sample %u",
                           (unsigned long long)row->prompt, row->sample);
    return UM_OK;
}

um_status um_stage_remote_list_open(um_run *run, um_error *err)
{
    um_request_totals totals;
    open_list list = {.monitor = run->session->monitor};
    um_status status = um_workspace_request_totals(&totals, run->session->ws, run->info->name, err);

    if (status != UM_OK || totals.open == 0)
        return status;
    um_monitor_message(list.monitor,
                       "  %llu answers were asked for and never stored (the run before was cut "
                       "off); they may be paid twice:",
                       (unsigned long long)totals.open);
    status =
        um_workspace_requests(run->session->ws, run->info->name, "intended", show_open, &list, err);
    if (totals.open > SHOWN_FAILURES)
        um_monitor_message(list.monitor, "    ... `mirrorer status --json` lists all");
    return status;
}

void um_stage_remote_add_cost(um_remote_cost *sum, const um_remote_cost *one)
{
    sum->answers += one->answers;
    sum->stored += one->stored;
    sum->requests += one->requests;
    sum->prompt_tokens += one->prompt_tokens;
    sum->completion_tokens += one->completion_tokens;
    sum->most_completion_tokens += one->most_completion_tokens;
    sum->cost += one->cost;
    sum->most_cost += one->most_cost;
    sum->seconds += one->seconds;
}

um_status um_stage_remote_forecast(const um_monitor *monitor, const um_remote_cost *cost,
                                   um_error *err)
{
    char *text = NULL;
    um_status status = um_remote_cost_text(cost, &text, err);
    if (status == UM_OK)
        um_monitor_message(monitor, "  forecast: %s", text);
    free(text);
    return status;
}

um_remote_cost um_stage_remote_short_cost(const um_session *s, const um_remote *remote,
                                          uint64_t answers, uint64_t requests, uint64_t bytes,
                                          uint64_t completion_tokens)
{
    const um_config *c = s->config;
    const um_remote_abilities *can = um_remote_abilities_of(remote, 0);
    um_remote_cost cost = {.answers = answers,
                           .requests = requests,
                           .prompt_tokens = bytes / BYTES_PER_TOKEN,
                           .completion_tokens = completion_tokens,
                           .most_completion_tokens = completion_tokens};
    cost.cost = cost.most_cost = ((double)cost.prompt_tokens * c->remote.prompt_price +
                                  (double)completion_tokens * c->remote.completion_price) /
                                 1e6;
    if (can != NULL)
        cost.seconds = (double)requests * can->answer_ms / 1000 / (double)c->remote.concurrency;
    return cost;
}

void um_stage_remote_list_failures(const um_monitor *monitor, const um_remote *remote,
                                   const char *what)
{
    const um_remote_failure *list;
    uint64_t failed = um_remote_totals_of(remote)->failed;
    size_t n = um_remote_failures(remote, &list);
    for (size_t i = 0; i < n && i < SHOWN_FAILURES; i++) {
        unsigned long long scene = list[i].prompt;
        if (strcmp(what, "text") == 0)
            um_monitor_message(monitor, "  text %u failed: %s", list[i].sample, list[i].reason);
        else if (strcmp(what, "letters") == 0)
            um_monitor_message(monitor, "  a text of scene %llu failed: %s", scene, list[i].reason);
        else
            um_monitor_message(monitor, "  scene %llu, sample %u failed: %s", scene, list[i].sample,
                               list[i].reason);
    }
    if (failed > SHOWN_FAILURES)
        um_monitor_message(monitor, "  ... %llu answers failed in all", (unsigned long long)failed);
}

um_status um_stage_remote_report(um_run *run, const um_remote *remote, uint64_t *failed,
                                 um_error *err)
{
    const um_monitor *monitor = run->session->monitor;
    const um_remote_totals *t = um_remote_totals_of(remote);
    um_request_totals all;
    char money[40] = "";
    um_status status = um_workspace_request_totals(&all, run->session->ws, run->info->name, err);

    if (status != UM_OK)
        return status;
    *failed = t->failed;
    um_stage_remote_list_failures(monitor, remote,
                                  strcmp(run->info->name, "predict") == 0 ? "letters" : "sample");
    if (t->cost > 0)
        snprintf(money, sizeof money, ", $%.4f", t->cost);
    um_monitor_message(monitor,
                       "  %llu answers (%llu more were stored), %llu failed; %llu prompt and %llu "
                       "completion tokens%s; %llu requests, %llu of them sent again",
                       (unsigned long long)t->answers, (unsigned long long)t->replayed,
                       (unsigned long long)t->failed, (unsigned long long)t->prompt_tokens,
                       (unsigned long long)t->completion_tokens, money,
                       (unsigned long long)t->requests, (unsigned long long)t->retries);
    json_t *figures = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I, s:f}", "answered", (json_int_t)all.answered,
        "failed", (json_int_t)all.failed, "maybe_paid_twice", (json_int_t)(all.twice),
        "prompt_tokens", (json_int_t)all.prompt_tokens, "completion_tokens",
        (json_int_t)all.completion_tokens, "cost", all.cost, "retries", (json_int_t)t->retries,
        "rate_limited", (json_int_t)t->rate_limited, "opening_missing",
        (json_int_t)t->opening_missing, "worst_letter_error", t->worst_letter_error);
    if (figures == NULL || json_object_set_new(run->detail, "remote", figures) != 0)
        return um_fail_memory(err, "figures");
    return UM_OK;
}

/* Status -------------------------------------------------------------------------------------- */

/* {"stage": s, "scene": n, "sample": n}, for a failure with "http_status" and "reason". */
static um_status list_request(void *context, const um_row_request *row, um_error *err)
{
    json_t *object = json_pack("{s:s, s:I, s:I}", "stage", row->stage, "scene",
                               (json_int_t)row->prompt, "sample", (json_int_t)row->sample);
    if (object != NULL && strcmp(row->status, "failed") == 0) {
        json_object_set_new(object, "http_status", json_integer(row->http_status));
        json_object_set_new(object, "reason", json_string(row->reason != NULL ? row->reason : ""));
    }
    return json_array_append_new(context, object) == 0 ? UM_OK : um_fail_memory(err, "requests");
}

um_status um_stage_remote_status(json_t **out, um_workspace *ws, um_error *err)
{
    static const char *const stages[] = {"scenes", "decide.teacher", "decide.student", "predict"};
    static const char *const lists[][2] = {
        {"open", "intended"}, {"failed", "failed"}, {"maybe_paid_twice", "twice"}};
    json_t *object = json_object(), *by_stage = json_array();
    um_status status = UM_OK;

    *out = NULL;
    json_object_set_new(object, "stages", by_stage);
    for (size_t i = 0; i < sizeof stages / sizeof *stages && status == UM_OK; i++) {
        um_request_totals t;
        status = um_workspace_request_totals(&t, ws, stages[i], err);
        if (status != UM_OK || t.answered + t.open + t.failed + t.prompt_tokens == 0)
            continue;
        json_t *row = json_pack(
            "{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "stage", stages[i], "answered",
            (json_int_t)t.answered, "open", (json_int_t)t.open, "failed", (json_int_t)t.failed,
            "maybe_paid_twice", (json_int_t)t.twice, "prompt_tokens", (json_int_t)t.prompt_tokens,
            "completion_tokens", (json_int_t)t.completion_tokens, "cost", t.cost);
        if (json_array_append_new(by_stage, row) != 0)
            status = um_fail_memory(err, "requests");
    }
    for (size_t i = 0; i < 3 && status == UM_OK && json_array_size(by_stage) > 0; i++) {
        json_t *list = json_array();
        json_object_set_new(object, lists[i][0], list);
        status = um_workspace_requests(ws, NULL, lists[i][1], list_request, list, err);
    }
    if (status == UM_OK && json_array_size(by_stage) > 0)
        *out = json_incref(object);
    json_decref(object);
    return status;
}
