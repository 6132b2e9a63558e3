/* cmd_decide.c - mirrorer decide */
#include <string.h>

#include "cli/common.h"

static int run(cli_args *args)
{
    const char *role = args->local[0];
    if (role == NULL)
        return cli_usage_error(args->command, "--role is missing: teacher or student");
    if (strcmp(role, "teacher") == 0)
        return cli_run_stage(args, "decide.teacher");
    if (strcmp(role, "student") == 0)
        return cli_run_stage(args, "decide.student");
    return cli_usage_error(args->command, "--role: found '%s'; teacher or student", role);
}

const cli_command cmd_decide = {
    .name = "decide",
    .usage = "--role teacher|student [-w WORKSPACE] [options]",
    .summary = "Let teacher or student write decision processes for the training scenes",
    .about = "Each scene gets --samples texts in the form stimulus, knowledge, evaluation. Texts "
             "that break\n"
             "the form are kept, counted and never trained on. Without a language model the "
             "teacher is a\n"
             "choice model fitted on the log (\"choice\"), which names what in the scene drove its "
             "choice.",
    .sections = "decide. prompt. run.",
    .local = {{"--role", "teacher|student", "who writes"}},
    .uses_workspace = true,
    .run = run,
};
