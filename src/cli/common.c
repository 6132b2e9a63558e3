/* common.c - opening the workspace, exit statuses, and commands that are one stage. */
#include "cli/common.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"

#define MAX_SUMMARY_BYTES ((size_t)256 << 20)

int cli_fail(const um_error *err)
{
    cli_progress_end();
    if (err->status == UM_ERR_INTERRUPTED) {
        fprintf(stderr,
                "mirrorer: %s. What was shown as saved is saved; run the same command again to "
                "go on.\n",
                err->text);
        return EXIT_INTERRUPTED;
    }
    fprintf(stderr, "mirrorer: %s\n", err->text);
    switch (err->status) {
    case UM_ERR_INPUT:
    case UM_ERR_LIMIT:
        return EXIT_INPUT;
    case UM_ERR_UNSUPPORTED:
        return EXIT_UNSUPPORTED;
    case UM_ERR_REMOTE:
        return EXIT_REMOTE;
    default:
        return EXIT_FAILED;
    }
}

int cli_missing(const char *path)
{
    fprintf(stderr, "mirrorer: '%s' does not exist\n", path);
    return EXIT_INPUT;
}

void cli_print_done(const cli_args *args, const char *what, const char *path)
{
    um_str s = UM_STR_INIT;
    um_str_append(&s, "{\"command\":");
    um_str_append_json(&s, args->command->name);
    um_str_append(&s, ",\"what\":");
    um_str_append_json(&s, what);
    um_str_append(&s, ",\"path\":");
    um_str_append_json(&s, path);
    um_str_append(&s, "}");
    cli_progress_end();
    if (args->json)
        printf("%s\n", um_str_text(&s));
    else
        printf("%s %s: %s\n", args->command->name, what, path);
    um_str_dispose(&s);
}

um_status cli_open(um_session **out, cli_args *args, bool create, const char *redo_stage,
                   um_error *err)
{
    um_status status =
        um_session_open(out, args->workspace, create, false, &args->config, cli_monitor(args), err);
    if (status == UM_OK && args->redo && redo_stage != NULL) {
        status = um_stage_redo(*out, redo_stage, err);
        if (status != UM_OK) {
            um_session_close(*out);
            *out = NULL;
        }
    }
    return status;
}

/* The status line of one stage, or its JSON. */
static um_status print_stage(um_session *session, const char *stage, bool json, um_error *err)
{
    um_row_stage row;
    um_status status = um_workspace_get_stage(&row, um_session_workspace(session), stage, err);
    if (status != UM_OK)
        return status;
    if (json) {
        printf("{\"stage\":\"%s\",\"items\":%llu,\"seconds\":%.3f,\"detail\":%s}\n", row.name,
               (unsigned long long)row.items_done, row.seconds, row.detail);
    } else {
        printf("%s: %s, %llu items in ", row.name,
               strcmp(row.status, "done") == 0 ? "done" : "begun",
               (unsigned long long)row.items_done);
        cli_print_seconds(stdout, row.seconds);
        printf("\n");
    }
    return UM_OK;
}

int cli_run_stage(cli_args *args, const char *stage)
{
    um_session *session = NULL;
    um_error err;
    um_status status = cli_open(&session, args, false, stage, &err);

    if (status == UM_OK)
        status = um_stage_run(session, stage, &err);
    if (status == UM_OK) {
        cli_progress_end();
        status = print_stage(session, stage, args->json, &err);
    }
    um_session_close(session);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

int cli_finish_ingest(cli_args *args, um_session *session, um_error *err)
{
    cli_progress_end();
    um_status status = print_stage(session, "ingest", args->json, err);
    return status == UM_OK ? EXIT_OK : cli_fail(err);
}

int cli_finish_run(cli_args *args, const char *out_dir)
{
    um_error err;
    char *path = NULL, *json = NULL;
    size_t len = 0;
    um_status status = um_path_join(&path, out_dir, "summary.json", &err);

    if (status == UM_OK)
        status = um_file_read(&json, &len, path, MAX_SUMMARY_BYTES, &err);
    free(path);
    cli_progress_end();
    if (status != UM_OK)
        return cli_fail(&err);
    if (args->json)
        fputs(json, stdout);
    else {
        cli_print_table(json);
        printf("\nReport:  %s/report.html\nFigures: %s/summary.json\n", out_dir, out_dir);
    }
    free(json);
    return EXIT_OK;
}
