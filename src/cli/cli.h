/*
 * cli.h - what the commands share: their table, parsed arguments, and printing.
 *
 * Results go to stdout, progress and messages to stderr. Exit status: 0 ok, 1 failed, 2 usage,
 * 3 bad input, 4 unsupported here, 5 remote, 130 interrupted.
 */
#ifndef UM_CLI_CLI_H
#define UM_CLI_CLI_H

#include <stdbool.h>
#include <stdio.h>

#include "mirrorer/mirrorer.h"

#define CLI_MAX_ARGS  256
#define CLI_MAX_LOCAL 12

enum {
    EXIT_OK = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_INPUT = 3,
    EXIT_UNSUPPORTED = 4,
    EXIT_REMOTE = 5,
    EXIT_INTERRUPTED = 130
};

/* An option of one command only. */
typedef struct cli_local {
    const char *flag;  /* "--role" */
    const char *value; /* "teacher|student"; NULL for a switch */
    const char *help;
} cli_local;

typedef struct cli_args {
    const struct cli_command *command;
    const char *workspace;
    bool json, quiet, redo;
    um_config config;
    const char *positional[CLI_MAX_ARGS];
    int n_positional;
    const char *local[CLI_MAX_LOCAL]; /* values of the command's own options, in table order */
} cli_args;

typedef struct cli_command {
    const char *name;     /* "decide" */
    const char *usage;    /* what follows the name: "--role teacher|student" */
    const char *summary;  /* one line */
    const char *about;    /* paragraphs for --help */
    const char *sections; /* options of the configuration it takes: "decide. prompt." */
    cli_local local[CLI_MAX_LOCAL];
    int min_positional, max_positional;
    bool uses_workspace;
    int (*run)(cli_args *args);
} cli_command;

extern const cli_command *const cli_commands[]; /* ends with NULL */
const cli_command *cli_find_command(const char *name);

extern const cli_local cli_general[]; /* options every command takes; ends with a NULL flag */

/* Parses argv after the command's name. Returns an exit status, -1 to go on. */
int cli_parse(cli_args *args, const cli_command *command, int argc, char **argv);
void cli_print_help(const cli_command *command);
void cli_print_usage(void);
void cli_print_man(void);

/* A monitor that draws progress on stderr and stops on SIGINT or SIGTERM. */
const um_monitor *cli_monitor(const cli_args *args);
void cli_progress_end(void);

int cli_usage_error(const cli_command *command, const char *format, ...) UM_PRINTF(2, 3);
/* Prints the error; the exit status that belongs to it. */
int cli_fail(const um_error *err);
/* Prints the table of a summary (JSON text) for people. */
void cli_print_table(const char *summary_json);
void cli_print_seconds(FILE *out, double seconds);

/* Opens the workspace of args for writing; with --redo forgets `stage` first. */
um_status cli_open(um_session **out, cli_args *args, bool create, const char *redo_stage,
                   um_error *err) UM_CHECKED;

extern const cli_command cmd_world, cmd_bench, cmd_ingest, cmd_scenes, cmd_decide, cmd_predict, cmd_distill,
    cmd_train, cmd_eval, cmd_report, cmd_run, cmd_status, cmd_export, cmd_import, cmd_merge,
    cmd_model, cmd_generate, cmd_tokenizer, cmd_demo;

#endif
