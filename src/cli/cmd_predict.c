/* cmd_predict.c - mirrorer predict */
#include "cli/common.h"

static int run(cli_args *args)
{
    return cli_run_stage(args, "predict");
}

const cli_command cmd_predict = {
    .name = "predict",
    .usage = "[-w WORKSPACE] [options]",
    .summary = "Score every decision process: the student's distribution over the letters after it",
    .about =
        "Needs the decision processes of teacher and student. Also scores each scene with none.",
    .sections = "prompt. predict. run. remote.",
    .uses_workspace = true,
    .run = run,
};
