/* cmd_scenes.c - mirrorer scenes */
#include "cli/common.h"

static int run(cli_args *args)
{
    return cli_run_stage(args, "scenes");
}

const cli_command cmd_scenes = {
    .name = "scenes",
    .usage = "[-w WORKSPACE] [options]",
    .summary =
        "Build simulation scenes: a user's memory, the list they were shown, what they chose",
    .about = "A scene is one interaction with at least --min-order earlier ones. Users are split: "
             "those of\n"
             "evaluation scenes never give training scenes. Nothing later than a scene is in it, "
             "and the\n"
             "true item is at a uniform position.",
    .sections = "scenes.",
    .uses_workspace = true,
    .run = run,
};
