/* cmd_export.c - mirrorer export */
#include <string.h>

#include "cli/common.h"

static int run(cli_args *args)
{
    um_session *session = NULL;
    um_error err;
    if (args->local[0] != NULL && strcmp(args->positional[0], "pairs") != 0)
        return cli_usage_error(args->command, "--format is for pairs only");
    um_status status = um_session_open(&session, args->workspace, false, true, &args->config,
                                       cli_monitor(args), &err);

    if (status == UM_OK && args->local[0] != NULL)
        status = um_session_export_pairs(session, args->local[0], args->positional[1], &err);
    else if (status == UM_OK)
        status = um_session_export(session, args->positional[0], args->positional[1], &err);
    um_session_close(session);
    if (status == UM_OK)
        cli_print_done(args, args->positional[0], args->positional[1]);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

const cli_command cmd_export = {
    .name = "export",
    .usage = "log DIR | scenes FILE | pairs PATH [--format FORMAT] | scores FILE [-w WORKSPACE]",
    .summary = "Write the log, scenes, pairs or scores as files that other tools read",
    .about = "log    three canonical files: users, items, interactions\n"
             "scenes one scene a line, in the schema of the published evaluation set\n"
             "pairs  one preference pair a line; --format says for whom:\n"
             "         usermirrorer  FILE, the schema of the published training set (default)\n"
             "         trl           FILE, prompt, chosen and rejected as chat messages (DPO)\n"
             "         trl-messages  FILE, messages with the chosen answer (SFT); the rejected one "
             "is lost,\n"
             "                       so that it cannot be imported again\n"
             "         torchtune     DIR, rows and recipes of both trainings\n"
             "         llamafactory  DIR, rows, dataset_info.json and recipes of both trainings\n"
             "         hf            DIR, a Hugging Face data set with its card\n"
             "       recipes have the published hyper-parameters. All but trl-messages come back "
             "by `import\n"
             "       pairs`, byte for byte, where the scenes are\n"
             "scores one scene a line: uncertainties, score, reason, figures of every decision "
             "process\n"
             "docs/FORMATS.md gives every field.",
    .sections = "prompt.",
    .local = {{"--format", "FORMAT", "form of exported pairs"}},
    .min_positional = 2,
    .max_positional = 2,
    .uses_workspace = true,
    .run = run,
};
