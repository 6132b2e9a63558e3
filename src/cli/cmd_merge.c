/* cmd_merge.c - mirrorer merge */
#include "cli/common.h"

static int run(cli_args *args)
{
    um_session *session = NULL;
    um_merge_report sum = {0}, one;
    um_error err;
    um_status status = cli_open(&session, args, false, NULL, &err);

    for (int i = 0; i < args->n_positional && status == UM_OK; i++) {
        status = um_session_merge(session, args->positional[i], &one, &err);
        if (status != UM_OK)
            break;
        sum.decisions += one.decisions;
        sum.distributions += one.distributions;
        sum.known += one.known;
        if (!args->json)
            printf("%s: %llu decision processes and %llu distributions taken over, %llu known\n",
                   args->positional[i], (unsigned long long)one.decisions,
                   (unsigned long long)one.distributions, (unsigned long long)one.known);
    }
    um_session_close(session);
    if (status == UM_OK && args->json)
        printf("{\"command\":\"merge\",\"decisions\":%llu,\"distributions\":%llu,\"known\":%llu}\n",
               (unsigned long long)sum.decisions, (unsigned long long)sum.distributions,
               (unsigned long long)sum.known);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

const cli_command cmd_merge = {
    .name = "merge",
    .usage = "FROM... [-w WORKSPACE]",
    .summary = "Take over what other workspaces decided and scored for the same scenes",
    .about = "Give each machine a copy of a workspace with scenes, let it run `mirrorer decide` "
             "and `mirrorer\n"
             "predict` with --shard i/n, and merge the copies into one. The others are only read. "
             "A sample\n"
             "that both hold must be the same text.",
    .sections = "",
    .min_positional = 1,
    .max_positional = CLI_MAX_ARGS,
    .uses_workspace = true,
    .run = run,
};
