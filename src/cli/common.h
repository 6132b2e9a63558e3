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
/* The number of a scene; an exit status, -1 to go on. */
int cli_parse_scene(const cli_args *args, const char *text, uint64_t *scene);
/* Prints a scene's decision processes (role NULL: of both), or why it was kept or dropped. */
int cli_show_decisions(cli_args *args, uint64_t scene, const char *role);
int cli_explain_scene(cli_args *args, uint64_t scene);

/* mirrorer model quantize: weights packed beside the model, and what that costs in accuracy. */
int cli_model_quantize(cli_args *args, const char *weights, const char *text);

/* mirrorer model info: what a folder is, what it needs, why it cannot be loaded. */
int cli_model_info(cli_args *args);

#endif
