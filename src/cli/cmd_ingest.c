/* cmd_ingest.c - mirrorer ingest */
#include "base/file.h"
#include "cli/common.h"

static int run(cli_args *args)
{
    um_session *session = NULL;
    um_error err;
    int rc = EXIT_FAILED;

    if (!um_path_exists(args->positional[0]))
        return cli_missing(args->positional[0]);
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
    .about = "The files are recognised by their names. Every row is counted as kept or rejected, "
             "and each\n"
             "rejection is stored with file, line and reason.",
    .sections = "ingest.",
    .min_positional = 1,
    .max_positional = 1,
    .uses_workspace = true,
    .run = run,
};
