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
        "Options of the four are told apart by their keys: use --set sft.lr=1e-3 and the like;\n"
        "`mirrorer run --print-config` lists them with their meaning.\n\n"
        "Before the first update it says how many rows are trained, dropped and held out, how\n"
        "many tokens will be processed and trained, and the memory; after the first ones, the\n"
        "time. While it runs: step, loss (DPO: margin and accuracy too), held-out loss, learning\n"
        "rate, gradient norm, tokens a second processed and trained, time left.\n\n"
        "Held-out rows, here for sft:\n"
        "  --set sft.holdout_share=0.1   never train on a tenth of the rows, by whole users; the\n"
        "                                same share holds out the same users in sft and dpo\n"
        "  --set sft.eval_every=50       updates between evaluations; the last is evaluated too\n"
        "  --set sft.keep=best           end with the weights of the lowest held-out loss\n"
        "  --set sft.patience=3          stop after three evaluations without a lower one\n\n"
        "WORKSPACE/models/NAME.log (NAME: base, sft, sft_dpo, direct_sft) gets metrics.jsonl, a\n"
        "line an update and an evaluation, the same bytes for the same run; speed.jsonl; and an\n"
        "event file: `tensorboard --logdir WORKSPACE/models`. The report draws the curves.\n\n"
        "Ctrl-C writes a checkpoint and says after which step; the same command goes on from it,\n"
        "to the same bytes, as it does after a kill from the last checkpoint (checkpoint_every).\n"
        "A loss or gradient that is not finite ends the training and names step, rows and the\n"
        "last good checkpoint; such weights are never written.",
    .sections = NULL,
    .min_positional = 1,
    .max_positional = 1,
    .uses_workspace = true,
    .run = run,
};
