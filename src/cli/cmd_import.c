/* cmd_import.c - mirrorer import */
#include <string.h>

#include "cli/common.h"

static int run(cli_args *args)
{
    um_session *session = NULL;
    um_error err;
    um_status status = cli_open(&session, args, true, NULL, &err);

    if (status == UM_OK && strcmp(args->positional[0], "log") == 0)
        status = um_stage_ingest(session, args->positional[1], &err);
    else if (status == UM_OK)
        status = um_session_import(session, args->positional[0], args->positional[1], &err);
    um_session_close(session);
    if (status == UM_OK)
        cli_print_done(args, args->positional[0], args->positional[1]);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

const cli_command cmd_import = {
    .name = "import",
    .usage = "log DIR | scenes FILE | pairs PATH [-w WORKSPACE]",
    .summary = "Read what export writes, or what others wrote in these formats",
    .about = "Scenes of others need no log: users and items come to be by being named. Pairs need "
             "their\n"
             "scenes, imported before; they are read in every form that export writes, but "
             "trl-messages: a\n"
             "file, or the folder.",
    .sections = "ingest.",
    .min_positional = 2,
    .max_positional = 2,
    .uses_workspace = true,
    .run = run,
};
