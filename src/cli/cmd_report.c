/* cmd_report.c - mirrorer report */
#include "cli/common.h"

static int run(cli_args *args)
{
    const char *out = args->local[0] != NULL ? args->local[0] : "mirrorer-out";
    um_session *session = NULL;
    um_error err;
    int rc;
    um_status status = um_session_open(&session, args->workspace, false, true, &args->config,
                                       cli_monitor(args), &err);

    if (status == UM_OK)
        status = um_stage_report(session, out, &err);
    rc = status == UM_OK ? cli_finish_run(args, out) : cli_fail(&err);
    um_session_close(session);
    return rc;
}

const cli_command cmd_report = {
    .name = "report",
    .usage = "[--out DIR] [-w WORKSPACE]",
    .summary = "Print the result table; write report.html and summary.json",
    .local = {{"--out", "DIR", "folder to write to (default mirrorer-out)"}},
    .sections = NULL,
    .uses_workspace = true,
    .run = run,
};
