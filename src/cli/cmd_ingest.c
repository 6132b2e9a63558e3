/* cmd_ingest.c - mirrorer ingest: a log into the workspace, or only looked at. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "cli/common.h"

enum { CHECK, ADAPTERS };

/* Adapters ------------------------------------------------------------------------------------- */

typedef struct filter_value {
    const char *option;
    double value;
} filter_value;

#define N_FILTERS 7

static void filter_values(const um_ingest_filters *f, filter_value out[N_FILTERS])
{
    const filter_value all[N_FILTERS] = {
        {"min_rating_count", (double)f->min_rating_count},
        {"min_history", (double)f->min_history},
        {"max_list", (double)f->max_list},
        {"newest_share", f->newest_share},
        {"min_item_interactions", (double)f->min_item_interactions},
        {"min_user_interactions", (double)f->min_user_interactions},
        {"max_user_interactions", (double)f->max_user_interactions}};
    memcpy(out, all, sizeof all);
}

static int print_adapters(bool json)
{
    um_str s = UM_STR_INIT;
    um_error err;
    if (json)
        um_str_append(&s, "{\"adapters\":[");
    for (const um_adapter_info *a = um_adapters(); a->name != NULL; a++) {
        filter_value values[N_FILTERS];
        int shown = 0;
        filter_values(&a->filters, values);
        if (json) {
            um_str_append(&s, a == um_adapters() ? "{\"name\":" : ",{\"name\":");
            um_str_append_json(&s, a->name);
            um_str_append(&s, ",\"files\":");
            um_str_append_json(&s, a->files);
            um_str_append(&s, ",\"filters\":{");
        } else {
            um_str_appendf(&s, "%-12s %s\n", a->name, a->files);
        }
        for (int i = 0; i < N_FILTERS; i++) {
            if (values[i].value == 0)
                continue;
            if (json)
                um_str_appendf(&s, "%s\"%s\":", shown > 0 ? "," : "", values[i].option);
            else
                um_str_appendf(&s, "%s%s ",
                               shown > 0 ? ", " : "             filters: ", values[i].option);
            um_str_append_number(&s, values[i].value);
            shown++;
        }
        um_str_append(&s, json ? "}}" : shown > 0 ? "\n" : "");
    }
    um_str_append(&s, json ? "]}\n" : "");
    um_status status = um_str_status(&s, &err);
    if (status == UM_OK)
        fputs(um_str_text(&s), stdout);
    um_str_dispose(&s);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

/* --check -------------------------------------------------------------------------------------- */

typedef struct time_range {
    bool any;
    int64_t first_s, last_s; /* of interactions and lists whose time is known */
} time_range;

static void widen(time_range *range, const int64_t *time_s, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        if (time_s[i] == 0)
            continue;
        if (!range->any || time_s[i] < range->first_s)
            range->first_s = time_s[i];
        if (!range->any || time_s[i] > range->last_s)
            range->last_s = time_s[i];
        range->any = true;
    }
}

static void append_counts(um_str *s, uint64_t rows_read, uint64_t kept, uint64_t rejected)
{
    um_str_appendf(s, "\"read\":%" PRIu64 ",\"kept\":%" PRIu64 ",\"rejected\":%" PRIu64, rows_read,
                   kept, rejected);
}

static void append_report_json(um_str *s, const um_ingest_report *r)
{
    um_str_append(s, "{\"adapter\":");
    um_str_append_json(s, r->adapter);
    um_str_append(s, ",");
    append_counts(s, r->rows_read, r->rows_kept, r->rows_rejected);
    um_str_appendf(s, ",\"filtered\":%" PRIu64 ",\"files\":[", r->rows_filtered);
    for (size_t i = 0; i < r->n_files; i++) {
        const um_ingest_file *f = &r->files[i];
        um_str_append(s, i > 0 ? ",{\"name\":" : "{\"name\":");
        um_str_append_json(s, f->name);
        um_str_append(s, ",");
        append_counts(s, f->rows_read, f->rows_kept, f->rows_rejected);
        um_str_appendf(s, ",\"bytes\":%" PRIu64 "}", f->bytes);
    }
    um_str_append(s, "],\"reasons\":[");
    for (size_t i = 0; i < r->n_reasons; i++) {
        const um_ingest_reason *reason = &r->reasons[i];
        um_str_append(s, i > 0 ? ",{\"reason\":" : "{\"reason\":");
        um_str_append_json(s, reason->text);
        um_str_appendf(s, ",\"filter\":%s,\"rows\":%" PRIu64 ",\"examples\":[",
                       reason->is_filter ? "true" : "false", reason->rows);
        for (size_t k = 0; k < reason->n_examples; k++) {
            um_str_append(s, k > 0 ? ",{\"file\":" : "{\"file\":");
            um_str_append_json(s, reason->examples[k].file);
            um_str_appendf(s, ",\"line\":%" PRIu64 ",\"reason\":", reason->examples[k].line);
            um_str_append_json(s, reason->examples[k].reason);
            um_str_append(s, "}");
        }
        um_str_append(s, "]}");
    }
    um_str_append(s, "]");
}

static void append_report_text(um_str *s, const um_ingest_report *r)
{
    um_str_appendf(s, "%-40s %12s %12s %12s\n", "file", "rows read", "kept", "rejected");
    for (size_t i = 0; i < r->n_files; i++) {
        const um_ingest_file *f = &r->files[i];
        um_str_appendf(s, "%-40s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 "\n", f->name,
                       f->rows_read, f->rows_kept, f->rows_rejected);
    }
    um_str_appendf(s, "%-40s %12" PRIu64 " %12" PRIu64 " %12" PRIu64 "\n", "all", r->rows_read,
                   r->rows_kept, r->rows_rejected);
    for (size_t i = 0; i < r->n_reasons; i++) {
        const um_ingest_reason *reason = &r->reasons[i];
        um_str_appendf(s, "%s%" PRIu64 " %s %s: %s\n", i == 0 ? "\n" : "", reason->rows,
                       reason->rows == 1 ? "row" : "rows",
                       reason->is_filter ? "filtered" : "rejected", reason->text);
        for (size_t k = 0; k < reason->n_examples; k++)
            um_str_appendf(s, "    %s:%" PRIu64 ": %s\n", reason->examples[k].file,
                           reason->examples[k].line, reason->examples[k].reason);
    }
}

/* "1 user", "2 users" */
static void append_number_of(um_str *s, uint64_t n, const char *one, const char *many)
{
    um_str_appendf(s, "%" PRIu64 " %s", n, n == 1 ? one : many);
}

/* What would be stored. */
static void append_dataset(um_str *s, const um_dataset *d, bool json)
{
    char first[32] = "", last[32] = "";
    time_range range = {0};
    widen(&range, d->time_s, d->n_interactions);
    widen(&range, d->skip_time_s, d->n_skips);
    if (range.any) {
        um_time_format(range.first_s, first);
        um_time_format(range.last_s, last);
    }
    if (json) {
        um_str_append(s, ",\"dataset\":");
        um_str_append_json(s, d->name);
        um_str_appendf(s,
                       ",\"users\":%u,\"items\":%u,\"interactions\":%" PRIu64 ",\"skips\":%" PRIu64
                       ",\"impressions\":%s",
                       d->users.n_rows, d->items.n_rows, d->n_interactions, d->n_skips,
                       d->impression_start != NULL ? "true" : "false");
        if (range.any)
            um_str_appendf(s, ",\"first_time\":\"%s\",\"last_time\":\"%s\"", first, last);
        um_str_append(s, "}\n");
        return;
    }
    um_str_appendf(s, "\nIngest would store, as %s: ", d->name);
    append_number_of(s, d->users.n_rows, "user, ", "users, ");
    append_number_of(s, d->items.n_rows, "item, ", "items, ");
    append_number_of(s, d->n_interactions, "interaction", "interactions");
    if (d->n_skips > 0) {
        um_str_append(s, ", ");
        append_number_of(s, d->n_skips, "list nobody chose from", "lists nobody chose from");
    }
    um_str_append(s, d->impression_start != NULL ? "; with the lists shown" : "");
    if (range.any)
        um_str_appendf(s, "; %s to %s", first, last);
    um_str_append(s, "\n");
}

/* Reading ended early: what was counted until then. */
static void append_stop(um_str *s, const um_error *err, bool json)
{
    if (!json) {
        um_str_append(s, "\nReading ended there: nothing would be stored.\n");
        return;
    }
    um_str_append(s, ",\"error\":");
    um_str_append_json(s, err->text);
    um_str_append(s, "}\n");
}

/* Reads everything, writes nothing. */
static int check(const cli_args *args, const char *path)
{
    um_ingest_options options;
    um_dataset *d = NULL;
    um_error err;
    um_str s = UM_STR_INIT;
    um_ingest_report *report = calloc(1, sizeof *report);
    um_status status = UM_ERR_MEMORY;

    err = (um_error){.status = status, .text = "out of memory for a report"};
    um_config_ingest_options(&args->config, &options);
    if (report != NULL)
        status = um_dataset_read(&d, report, path, &options, cli_monitor(args), &err);
    if (status == UM_OK || (report != NULL && report->rows_rejected > 0)) {
        if (args->json)
            append_report_json(&s, report);
        else
            append_report_text(&s, report);
        if (status == UM_OK)
            append_dataset(&s, d, args->json);
        else
            append_stop(&s, &err, args->json);
        if (status == UM_OK)
            status = um_str_status(&s, &err);
    }
    cli_progress_end();
    fputs(um_str_text(&s), stdout);
    um_str_dispose(&s);
    um_dataset_free(d);
    free(report);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

static int run(cli_args *args)
{
    um_session *session = NULL;
    um_error err;
    int rc = EXIT_FAILED;

    if (args->local[ADAPTERS] != NULL && args->n_positional == 0)
        return print_adapters(args->json);
    if (args->local[ADAPTERS] != NULL)
        return cli_usage_error(args->command, "--adapters takes no log");
    if (args->n_positional == 0)
        return cli_usage_error(args->command, "too few arguments");
    if (args->local[CHECK] != NULL && args->redo)
        return cli_usage_error(args->command, "--check writes nothing, --redo forgets: not both");
    if (!um_path_exists(args->positional[0]))
        return cli_missing(args->positional[0]);
    if (args->local[CHECK] != NULL)
        return check(args, args->positional[0]);
    um_status status = cli_open(&session, args, true, "ingest", &err);

    if (status == UM_OK)
        status = um_stage_ingest(session, args->positional[0], &err);
    rc = status == UM_OK ? cli_finish_ingest(args, session, &err) : cli_fail(&err);
    um_session_close(session);
    return rc;
}

const cli_command cmd_ingest = {
    .name = "ingest",
    .usage = "LOG [-w WORKSPACE] [options]",
    .summary = "Read a log (folder, zip or gz) into the workspace",
    .about = "The files are recognised by their names (--adapters lists them). Every row is "
             "counted as kept or\n"
             "rejected, and rejections are stored with file, line and reason. Well-formed rows "
             "are left out by\n"
             "filters; where these say -1 the adapter's published values hold (--adapters).",
    .sections = "ingest.",
    .local = {{"--check", NULL, "read everything, write nothing: rows, reasons, what there is"},
              {"--adapters", NULL, "list the adapters, their files and published filters"}},
    .min_positional = 0,
    .max_positional = 1,
    .uses_workspace = true,
    .run = run,
};
