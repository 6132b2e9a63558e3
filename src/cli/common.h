/* common.h - commands that are one stage of the pipeline, and how runs end. */
#ifndef UM_CLI_COMMON_H
#define UM_CLI_COMMON_H

#include "cli/cli.h"

/* Opens the workspace, runs the stage (after --redo, if asked), prints its figures. */
int cli_run_stage(cli_args *args, const char *stage);
int cli_finish_ingest(cli_args *args, um_session *session, um_error *err);
/* Prints the table of a finished run, or its JSON. */
int cli_finish_run(cli_args *args, um_session *session, const char *out_dir);

#endif
