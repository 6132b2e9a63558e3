/* ingest.c - a log from its files into the workspace. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "stage/session.h"

#define MAX_STORED_REJECTIONS 1000 /* of bad rows, and as many of rows that filters left out */
#define HASHED_DEPTH          2    /* folders inside the log's folder that are looked into */

typedef struct rejections {
    um_session *s;
    size_t stored[2];
    um_status status;
    um_error error;
} rejections;

static void on_rejection(void *context, const um_rejection *r)
{
    rejections *all = context;
    um_row_rejection row = {r->file, r->line, r->reason};
    if (all->status == UM_OK && all->stored[r->is_filter]++ < MAX_STORED_REJECTIONS)
        all->status = um_workspace_put_rejection(all->s->ws, &row, &all->error);
}

static uint64_t hash_file(const char *path, const char *name, int depth, uint64_t hash)
{
    struct stat info;
    char **names = NULL;
    size_t n = 0;

    if (stat(path, &info) != 0)
        return hash;
    if (S_ISREG(info.st_mode)) {
        int64_t figures[2] = {info.st_size, info.st_mtime};
        return um_hash(figures, sizeof figures, um_hash_str(name, hash));
    }
    if (!S_ISDIR(info.st_mode) || depth > HASHED_DEPTH ||
        um_path_list(&names, &n, path, NULL) != UM_OK)
        return hash;
    for (size_t i = 0; i < n; i++) {
        char *file = NULL;
        if (um_path_join(&file, path, names[i], NULL) == UM_OK)
            hash = hash_file(file, names[i], depth + 1, hash);
        free(file);
        free(names[i]);
    }
    free(names);
    return hash;
}

uint64_t um_path_hash(const char *path)
{
    return hash_file(path, um_path_base(path), 0, 0);
}

void um_config_ingest_options(const um_config *c, um_ingest_options *out)
{
    um_ingest_defaults(out);
    out->adapter = c->ingest.adapter;
    out->name = c->ingest.name[0] != '\0' ? c->ingest.name : NULL;
    out->mapping = c->ingest.mapping[0] != '\0' ? c->ingest.mapping : NULL;
    out->max_bad = c->ingest.max_bad;
    out->filters = c->ingest.filters;
}

static json_t *reasons_json(const um_ingest_report *report)
{
    json_t *list = json_array();
    for (size_t i = 0; i < report->n_reasons; i++) {
        const um_ingest_reason *r = &report->reasons[i];
        json_array_append_new(list,
                              json_pack("{s:s%,s:I,s:b}", "reason", r->text, strlen(r->text),
                                        "rows", (json_int_t)r->rows, "filter", (int)r->is_filter));
    }
    return list;
}

static void tell(const um_session *s, const um_ingest_report *report)
{
    for (size_t i = 0; i < report->n_files; i++) {
        const um_ingest_file *f = &report->files[i];
        um_monitor_message(s->monitor, "  %s: %llu rows read, %llu kept, %llu rejected", f->name,
                           (unsigned long long)f->rows_read, (unsigned long long)f->rows_kept,
                           (unsigned long long)f->rows_rejected);
    }
    for (size_t i = 0; i < report->n_reasons; i++)
        um_monitor_message(s->monitor, "  %llu rows: %s",
                           (unsigned long long)report->reasons[i].rows, report->reasons[i].text);
}

um_status um_stage_ingest(um_session *s, const char *path, um_error *err)
{
    um_run run = {0};
    um_ingest_report *report = NULL;
    um_dataset *d = NULL;
    rejections all = {.s = s};
    um_ingest_options options;
    um_status status;

    um_config_ingest_options(s->config, &options);
    options.on_rejection = on_rejection;
    options.context = &all;
    options.spool_dir = um_workspace_path(s->ws);

    if (!um_path_exists(path))
        return um_fail(err, UM_ERR_INPUT, "ingest: '%s' does not exist", path);
    if ((report = um_calloc(1, sizeof *report)) == NULL)
        return um_fail_memory(err, "a report");
    /* One transaction, its start included: a log that cannot be read leaves no trace. */
    if ((status = um_workspace_begin(s->ws, err)) != UM_OK)
        goto done;
    uint64_t inputs = um_path_hash(path);
    if (options.mapping != NULL)
        inputs = um_hash_str(options.mapping, inputs ^ um_path_hash(options.mapping));
    status = um_run_begin(&run, s, "ingest", "ingest.", NULL, inputs, err);
    if (status != UM_OK || run.finished_before)
        goto done;
    status = um_dataset_read(&d, report, path, &options, s->monitor, err);
    if (status == UM_OK && all.status != UM_OK) {
        status = all.status;
        if (err != NULL)
            *err = all.error;
    }
    if (status == UM_OK)
        status = um_log_store(s->ws, d, path, report, s->monitor, err);
    run.done = run.total = report->rows_read;
    json_object_set_new(run.detail, "adapter", json_string(report->adapter));
    json_object_set_new(run.detail, "kept", json_integer((json_int_t)report->rows_kept));
    json_object_set_new(run.detail, "rejected", json_integer((json_int_t)report->rows_rejected));
    json_object_set_new(run.detail, "filtered", json_integer((json_int_t)report->rows_filtered));
    json_object_set_new(run.detail, "reasons", reasons_json(report));
    if (status == UM_OK)
        status = um_run_save(&run, true, err);
    if (status == UM_OK)
        status = um_workspace_commit(s->ws, err);
    if (status != UM_OK)
        goto done;
    um_run_progress(&run, run.total, NULL);
    tell(s, report);
done:
    um_workspace_rollback(s->ws);
    um_dataset_free(d);
    um_run_dispose(&run);
    free(report);
    return status;
}
