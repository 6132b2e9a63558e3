/* main.c - finds the command and runs it. */
#include <signal.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"
#include "stage/version.h"

const cli_command *const cli_commands[] = {
    &cmd_demo,    &cmd_run,   &cmd_world,    &cmd_ingest,    &cmd_scenes, &cmd_decide, &cmd_predict,
    &cmd_distill, &cmd_train, &cmd_eval,     &cmd_report,    &cmd_status, &cmd_export, &cmd_import,
    &cmd_merge,   &cmd_model, &cmd_generate, &cmd_tokenizer, &cmd_bench, NULL,
};

const cli_command *cli_find_command(const char *name)
{
    for (int i = 0; cli_commands[i] != NULL; i++) {
        if (strcmp(cli_commands[i]->name, name) == 0)
            return cli_commands[i];
    }
    return NULL;
}

void cli_print_usage(void)
{
    puts("mirrorer turns a recommender's log into a simulator of its users.\n"
         "\n"
         "  mirrorer demo                     the whole pipeline on a synthetic world\n"
         "  mirrorer run LOG                  the whole pipeline on your log\n"
         "  mirrorer COMMAND --help           what a command does, with all its options\n"
         "\n"
         "Commands, in the order data flows:");
    for (int i = 0; cli_commands[i] != NULL; i++)
        printf("  %-12s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    puts("\nExit status: 0 ok, 1 failed, 2 usage, 3 bad input, 4 unsupported here, 5 remote, "
         "130 interrupted.");
}

static int unknown_command(const char *name)
{
    const char *names[64];
    size_t n = 0;
    for (int i = 0; cli_commands[i] != NULL && n < 64; i++)
        names[n++] = cli_commands[i]->name;
    const char *near = um_nearest(name, names, n);
    return cli_usage_error(NULL, "unknown command '%s'%s%s%s", name,
                           near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                           near != NULL ? "'" : "");
}

int main(int argc, char **argv)
{
    cli_args args;

    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a write that fails, as on a full disk */
    if (argc < 2) {
        cli_print_usage();
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        const cli_command *named = argc > 2 ? cli_find_command(argv[2]) : NULL;
        if (named != NULL)
            cli_print_help(named);
        else
            cli_print_usage();
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--man") == 0) {
        cli_print_man();
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("mirrorer " UM_VERSION);
        return EXIT_OK;
    }
    const cli_command *command = cli_find_command(argv[1]);
    if (command == NULL)
        return unknown_command(argv[1]);
    int rc = cli_parse(&args, command, argc - 2, argv + 2);
    if (rc == -1)
        rc = command->run(&args);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("mirrorer: cannot write to standard output\n", stderr);
        return rc == EXIT_OK ? EXIT_FAILED : rc;
    }
    return rc;
}
