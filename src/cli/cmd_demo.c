/* cmd_demo.c - mirrorer demo */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "cli/common.h"
#include "cli/world.h"

#define MAX_OPTIONS_BYTES 65536

/* The options a world is made with, as text to compare. */
static void append_world_options(um_str *s, const um_config *config)
{
    char value[UM_CONFIG_TEXT];
    size_t n;
    const um_option *options = um_config_options(&n);
    for (size_t i = 0; i < n; i++) {
        if (strncmp(options[i].key, "world.", 6) != 0 && strcmp(options[i].key, "seed") != 0)
            continue;
        um_config_get(config, &options[i], value, sizeof value);
        um_str_appendf(s, "%s: %s\n", options[i].key, value);
    }
}

/* UM_ERR_STATE when the world that is there was made otherwise. */
static um_status check_world(const char *marker, const char *wanted, um_error *err)
{
    char *text = NULL;
    size_t len = 0;
    um_status status = um_file_read(&text, &len, marker, MAX_OPTIONS_BYTES, err);
    if (status == UM_OK && strcmp(text, wanted) != 0) {
        err->status = status = UM_ERR_STATE;
        snprintf(err->text, sizeof err->text,
                 "the demo's world was made with other options (%s); --redo makes it and all that "
                 "follows anew, another --out keeps it",
                 marker);
    }
    free(text);
    return status;
}

/* The world appears whole: it is written beside its place and renamed; its options come last. */
static um_status make_world(cli_args *args, const char *dir, um_error *err)
{
    um_str temporary = UM_STR_INIT, marker = UM_STR_INIT, wanted = UM_STR_INIT;
    um_status status;

    um_str_appendf(&temporary, "%s.tmp", dir);
    um_str_appendf(&marker, "%s.options", dir);
    append_world_options(&wanted, &args->config);
    if ((status = um_str_status(&temporary, err)) != UM_OK ||
        (status = um_str_status(&marker, err)) != UM_OK ||
        (status = um_str_status(&wanted, err)) != UM_OK)
        goto done;
    if (!args->redo && um_path_is_dir(dir) && um_path_exists(marker.data)) {
        status = check_world(marker.data, wanted.data, err);
        goto done;
    }
    if ((status = um_path_remove_tree(temporary.data, err)) == UM_OK &&
        (status = cli_write_world(&args->config, temporary.data, cli_monitor(args), err)) ==
            UM_OK &&
        (status = um_path_remove_tree(dir, err)) == UM_OK &&
        (status = um_path_rename(temporary.data, dir, err)) == UM_OK)
        status = um_file_write(marker.data, wanted.data, wanted.len, err);
done:
    um_str_dispose(&temporary);
    um_str_dispose(&marker);
    um_str_dispose(&wanted);
    return status;
}

static int run(cli_args *args)
{
    const char *out = args->local[0] != NULL ? args->local[0] : "demo-out";
    char *world = NULL, *workspace = NULL;
    um_session *session = NULL;
    um_error err;
    int rc;

    um_status status = um_path_make_dirs(out, &err);
    if (status == UM_OK)
        status = um_path_join(&world, out, "world", &err);
    if (status == UM_OK)
        status = um_path_join(&workspace, out, "workspace", &err);
    if (status != UM_OK)
        goto done;
    fprintf(
        stderr,
        "A synthetic world, a choice model as teacher, a small language model made here: nothing\n"
        "is downloaded. Everything goes to %s; run again to go on after a stop.\n\n",
        out);
    if ((status = make_world(args, world, &err)) != UM_OK)
        goto done;
    args->workspace = workspace;
    status = cli_open(&session, args, true, "ingest", &err);
    if (status == UM_OK)
        status = um_session_run(session, world, out, &err);
done:
    rc = status == UM_OK ? cli_finish_run(args, out) : cli_fail(&err);
    um_session_close(session);
    free(world);
    free(workspace);
    return rc;
}

const cli_command cmd_demo = {
    .name = "demo",
    .usage = "[--out DIR]",
    .summary = "The whole pipeline on a synthetic world, in minutes, with nothing downloaded",
    .about = "Writes a world, builds scenes, lets teacher and student write decision processes, "
             "measures\n"
             "uncertainty, selects pairs, trains (SFT, DPO, direct baseline) and evaluates on "
             "held-out users.",
    .local = {{"--out", "DIR", "folder for all it makes (default demo-out)"}},
    .sections = "world.",
    .run = run,
};
