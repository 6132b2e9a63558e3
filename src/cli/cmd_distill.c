/* cmd_distill.c - mirrorer distill */
#include "cli/common.h"

static int run(cli_args *args)
{
    uint64_t scene;
    if (args->local[0] != NULL) {
        int rc = cli_parse_scene(args, args->local[0], &scene);
        return rc == -1 ? cli_explain_scene(args, scene) : rc;
    }
    return cli_run_stage(args, "distill");
}

const cli_command cmd_distill = {
    .name = "distill",
    .usage = "[-w WORKSPACE] [options]",
    .summary = "Measure uncertainty, keep the scenes that teach most, make preference pairs",
    .about = "Per scene: total uncertainty U = H(mean p), model uncertainty = mean H(p), data = U "
             "- model,\n"
             "in bits, for teacher and student. Chosen: the teacher's surest process that reached "
             "the true\n"
             "action; rejected: the surest one that did not. docs/DISTILL.md has the formulas of "
             "all strategies\n"
             "and rules.",
    .sections = "distill.",
    .local = {{"--explain", "SCENE", "say why a scene was kept or dropped, and change nothing"}},
    .uses_workspace = true,
    .run = run,
};
