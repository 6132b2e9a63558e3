/* cmd_eval.c - mirrorer eval */
#include "cli/common.h"

static int run(cli_args *args)
{
    return cli_run_stage(args, "eval");
}

const cli_command cmd_eval = {
    .name = "eval",
    .usage = "[-w WORKSPACE] [options]",
    .summary = "Evaluate every row of the table on held-out scenes",
    .about = "Rows: uniform, popularity, spectral, content, choice_model, true_model (synthetic\n"
             "worlds), weak_direct, weak, direct_sft, sft, sft_dpo. `mirrorer report` prints and "
             "draws them.",
    .sections = "eval. prompt.",
    .uses_workspace = true,
    .run = run,
};
