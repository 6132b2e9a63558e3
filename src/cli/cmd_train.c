/* cmd_train.c - mirrorer train */
#include <string.h>

#include "cli/common.h"

static int run(cli_args *args)
{
    static const char *const stages[][2] = {
        {"base", "base"}, {"sft", "train.sft"}, {"dpo", "train.dpo"}, {"direct", "train.direct"}};
    for (int i = 0; i < 4; i++) {
        if (strcmp(args->positional[0], stages[i][0]) == 0)
            return cli_run_stage(args, stages[i][1]);
    }
    return cli_usage_error(args->command, "found '%s'; base, sft, dpo or direct",
                           args->positional[0]);
}

const cli_command cmd_train = {
    .name = "train",
    .usage = "base|sft|dpo|direct [-w WORKSPACE] [options]",
    .summary = "Train the student: its first training, SFT, DPO, or the direct baseline",
    .about =
        "  base    make the embedded student (tokenizer, model) and train it on scene text\n"
        "  sft     fine-tune it on the chosen decision processes of the pairs\n"
        "  dpo     go on from sft, preferring chosen over rejected; the reference is sft\n"
        "  direct  the baseline: fine-tune it on raw behaviours, same number of tokens\n\n"
        "Options of the four are told apart by their keys: use --set sft.lr=1e-3 and the like.\n"
        "Ctrl-C writes a checkpoint; the same command goes on from it, to the same bytes.",
    .sections = NULL,
    .min_positional = 1,
    .max_positional = 1,
    .uses_workspace = true,
    .run = run,
};
