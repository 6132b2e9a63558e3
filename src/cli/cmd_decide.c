/* cmd_decide.c - mirrorer decide */
#include <string.h>

#include "cli/common.h"

static int show(cli_args *args, const char *role)
{
    uint64_t scene;
    if (args->n_positional < 2)
        return cli_usage_error(args->command, "show: the number of a scene is missing");
    if (strcmp(args->positional[0], "show") != 0)
        return cli_usage_error(args->command, "found '%s'; show SCENE, or no argument",
                               args->positional[0]);
    if (role != NULL && strcmp(role, "teacher") != 0 && strcmp(role, "student") != 0)
        return cli_usage_error(args->command, "--role: found '%s'; teacher or student", role);
    int rc = cli_parse_scene(args, args->positional[1], &scene);
    return rc == -1 ? cli_show_decisions(args, scene, role) : rc;
}

static int run(cli_args *args)
{
    const char *role = args->local[0];
    if (args->n_positional > 0)
        return show(args, role);
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
    .usage = "--role teacher|student [-w WORKSPACE] [options]\n"
             "       mirrorer decide show SCENE [--role teacher|student] [-w WORKSPACE]",
    .summary = "Let teacher or student write decision processes for the training scenes",
    .about = "Each scene gets --samples texts in the form stimulus, knowledge, evaluation. Texts "
             "that break\n"
             "the form are kept, counted and never trained on. Without a language model the "
             "teacher is a\n"
             "choice model fitted on the log (\"choice\"), which names what in the scene drove its "
             "choice.\n"
             "`decide show SCENE` prints a scene's decision processes, side by side where the "
             "terminal is wide\n"
             "enough, with the distribution, the drawn behaviour and the faults of each.",
    .sections = "decide. prompt. run.",
    .local = {{"--role", "teacher|student", "who writes"}},
    .max_positional = 2,
    .uses_workspace = true,
    .run = run,
};
