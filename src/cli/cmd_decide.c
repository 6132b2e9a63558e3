/* cmd_decide.c - mirrorer decide */
#include <stdio.h>
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

/* Local options, in the order of the command's table. */
enum { ROLE, TO_BATCH, FROM_BATCH };

#define SHOWN_SCENES 10

static void print_missing(const um_batch_report *r, uint64_t n, const char *between)
{
    for (uint64_t i = 0; i < n; i++)
        printf("%s%llu", i > 0 ? between : "", (unsigned long long)r->missing_scenes[i]);
}

static void print_batch(const cli_args *args, const um_batch_report *r, bool writing)
{
    cli_progress_end();
    if (args->json) {
        printf("{\"command\":\"decide\",\"files\":%llu,\"rows\":%llu,\"answers\":%llu,"
               "\"known\":%llu,\"failed\":%llu,\"foreign\":%llu,\"missing_requests\":%llu,"
               "\"missing_answers\":%llu,\"scenes\":%llu,\"missing_scenes\":[",
               (unsigned long long)r->files, (unsigned long long)r->rows,
               (unsigned long long)r->answers, (unsigned long long)r->known,
               (unsigned long long)r->failed, (unsigned long long)r->foreign,
               (unsigned long long)r->missing_rows, (unsigned long long)r->missing_answers,
               (unsigned long long)r->scenes);
        print_missing(r, r->n_missing_scenes, ",");
        printf("]}\n");
    } else if (writing) {
        printf("%llu requests for %llu answers in %llu files\n", (unsigned long long)r->rows,
               (unsigned long long)r->answers, (unsigned long long)r->files);
    } else {
        printf("%llu rows of %llu files: %llu answers taken over, %llu known, %llu rows failed, "
               "%llu are not of this run\n%llu scenes were completed; %llu requests for %llu "
               "answers are missing%s\n",
               (unsigned long long)r->rows, (unsigned long long)r->files,
               (unsigned long long)r->answers, (unsigned long long)r->known,
               (unsigned long long)r->failed, (unsigned long long)r->foreign,
               (unsigned long long)r->scenes, (unsigned long long)r->missing_rows,
               (unsigned long long)r->missing_answers,
               r->missing_rows > 0 ? "; --to-batch writes just these" : "");
        if (r->n_missing_scenes > 0) {
            uint64_t shown =
                r->n_missing_scenes < SHOWN_SCENES ? r->n_missing_scenes : SHOWN_SCENES;
            printf("missing in scenes ");
            print_missing(r, shown, ", ");
            printf(shown < r->n_missing_scenes ? ", ... (--json lists all %llu)\n" : "\n",
                   (unsigned long long)r->n_missing_scenes);
        }
    }
}

static int run_batch(cli_args *args, const char *role)
{
    um_session *session = NULL;
    um_batch_report report = {0};
    um_error err;
    bool writing = args->local[TO_BATCH] != NULL;
    um_status status = cli_open(&session, args, false, NULL, &err);

    if (status == UM_OK && writing)
        status = um_decide_write_batch(session, role, args->local[TO_BATCH], &report, &err);
    else if (status == UM_OK)
        status = um_decide_read_batch(session, role, args->positional, (size_t)args->n_positional,
                                      &report, &err);
    um_session_close(session);
    if (status == UM_OK)
        print_batch(args, &report, writing);
    um_batch_report_dispose(&report);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

static int run(cli_args *args)
{
    const char *role = args->local[ROLE];
    if (args->n_positional > 0 && args->local[FROM_BATCH] == NULL)
        return show(args, role);
    if (role == NULL)
        return cli_usage_error(args->command, "--role is missing: teacher or student");
    if (strcmp(role, "teacher") != 0 && strcmp(role, "student") != 0)
        return cli_usage_error(args->command, "--role: found '%s'; teacher or student", role);
    bool reads = args->local[FROM_BATCH] != NULL;
    if (args->local[TO_BATCH] != NULL && reads)
        return cli_usage_error(args->command, "--to-batch and --from-batch exclude each other");
    if (reads != (args->n_positional > 0))
        return cli_usage_error(args->command, "--from-batch and the files it reads go together");
    if (args->local[TO_BATCH] != NULL || reads)
        return run_batch(args, role);
    return cli_run_stage(args, strcmp(role, "teacher") == 0 ? "decide.teacher" : "decide.student");
}

const cli_command cmd_decide = {
    .name = "decide",
    .usage = "--role teacher|student [--to-batch DIR | --from-batch FILE...] [-w WORKSPACE] "
             "[options]\n"
             "       mirrorer decide show SCENE [--role teacher|student] [-w WORKSPACE]",
    .summary = "Let teacher or student write decision processes for the training scenes",
    .about =
        "Each scene gets --samples texts in the form stimulus, knowledge, evaluation. Texts "
        "that break\n"
        "the form are kept, counted and never trained on. Without a language model the "
        "teacher is a\n"
        "choice model fitted on the log (\"choice\"), which names what in the scene drove its "
        "choice.\n\n"
        "--teacher URL asks OpenAI-compatible endpoints; several may be given, with weights: "
        "\"http://a:8000/v1*2\n"
        "http://b:8000/v1\". Every request is recorded before it is sent: running the command "
        "again repeats\n"
        "nothing that was answered. --to-batch writes the requests as files for a Batch API or "
        "`vllm\n"
        "run-batch`, --from-batch reads what came back.\n\n"
        "`decide show SCENE` prints a scene's decision processes, side by side where the terminal "
        "is wide\n"
        "enough, with the distribution, the drawn behaviour and the faults of each.",
    .sections = "decide. prompt. run. remote. chat.",
    .local = {{"--role", "teacher|student", "who writes"},
              {"--to-batch", "DIR", "write the requests as batch files instead of sending them"},
              {"--from-batch", NULL, "take over the answers of batch files"}},
    .max_positional = CLI_MAX_ARGS,
    .uses_workspace = true,
    .run = run,
};
