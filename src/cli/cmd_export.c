/* cmd_export.c - mirrorer export */
#include "cli/common.h"

static int run(cli_args *args)
{
    um_session *session = NULL;
    um_error err;
    um_status status = um_session_open(&session, args->workspace, false, true, &args->config,
                                       cli_monitor(args), &err);

    if (status == UM_OK)
        status = um_session_export(session, args->positional[0], args->positional[1], &err);
    um_session_close(session);
    if (status == UM_OK)
        cli_print_done(args, args->positional[0], args->positional[1]);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

const cli_command cmd_export = {
    .name = "export",
    .usage = "log DIR | scenes FILE | pairs FILE [-w WORKSPACE]",
    .summary = "Write the log, scenes or pairs as JSONL that other tools read",
    .about = "log    three canonical files: users, items, interactions\n"
             "scenes one scene a line, in the schema of the published evaluation set\n"
             "pairs  one preference pair a line: messages_chosen, messages_rejected, ...\n"
             "docs/FORMATS.md gives every field.",
    .sections = "prompt.",
    .min_positional = 2,
    .max_positional = 2,
    .uses_workspace = true,
    .run = run,
};
