/* cmd_run.c - mirrorer run */
#include <stdlib.h>

#include "base/file.h"
#include "cli/common.h"

static int print_config(cli_args *args)
{
    um_error err;
    char *yaml = NULL;
    if (um_config_print(&args->config, &yaml, &err) != UM_OK)
        return cli_fail(&err);
    fputs(yaml, stdout);
    free(yaml);
    return EXIT_OK;
}

static int run(cli_args *args)
{
    const char *out = args->local[0] != NULL ? args->local[0] : "mirrorer-out";
    const char *log = args->n_positional > 0 ? args->positional[0] : NULL;
    um_session *session = NULL;
    um_error err;
    int rc;

    if (args->local[1] != NULL)
        return print_config(args);
    if (log != NULL && !um_path_exists(log))
        return cli_missing(log);
    /* What was ingested stays unless it is read again. */
    um_status status =
        cli_open(&session, args, log != NULL, log != NULL ? "ingest" : "scenes", &err);
    if (status == UM_OK)
        status = um_session_run(session, log, out, &err);
    rc = status == UM_OK ? cli_finish_run(args, out) : cli_fail(&err);
    um_session_close(session);
    return rc;
}

const cli_command cmd_run = {
    .name = "run",
    .usage = "[LOG] [-w WORKSPACE] [--config FILE] [--out DIR]",
    .summary = "All of it: log in, aligned simulator, table and report out",
    .about = "Runs every stage that is not done yet, in order, and ends with the table. "
             "Interrupted, it goes\n"
             "on where it stopped. Without LOG it works on what the workspace holds.\n"
             "Options are those of all stages, in a YAML file (--config) or by --set KEY=VALUE.",
    .local = {{"--out", "DIR", "folder for report.html and summary.json (default mirrorer-out)"},
              {"--print-config", NULL, "print all options with the values in force, as YAML"}},
    .sections = NULL,
    .max_positional = 1,
    .uses_workspace = true,
    .run = run,
};
