/* common.h - commands that are one stage of the pipeline, and how runs end. */
#ifndef UM_CLI_COMMON_H
#define UM_CLI_COMMON_H

#include "cli/cli.h"

/* Says that an input does not exist; before --redo forgets anything. */
int cli_missing(const char *path);
/* One line, or JSON, that says what was written or read where. */
void cli_print_done(const cli_args *args, const char *what, const char *path);
/* Opens the workspace, runs the stage (after --redo, if asked), prints its figures. */
int cli_run_stage(cli_args *args, const char *stage);
int cli_finish_ingest(cli_args *args, um_session *session, um_error *err);
/* Prints the table of what a run wrote to out_dir, or its JSON. */
int cli_finish_run(cli_args *args, const char *out_dir);

#endif
