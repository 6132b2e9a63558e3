/* cmd_demo.c - mirrorer demo */
#include <stdlib.h>

#include "base/file.h"
#include "base/str.h"
#include "cli/common.h"
#include "cli/world.h"

/* The world appears whole: it is written beside its place and renamed. */
static um_status make_world(cli_args *args, const char *dir, um_error *err)
{
    um_str temporary = UM_STR_INIT;
    um_status status = UM_OK;

    if (um_path_is_dir(dir))
        return UM_OK;
    um_str_appendf(&temporary, "%s.tmp", dir);
    status = um_str_status(&temporary, err);
    if (status == UM_OK)
        status = um_path_remove_tree(temporary.data, err);
    if (status == UM_OK)
        status = cli_write_world(&args->config, temporary.data, cli_monitor(args), err);
    if (status == UM_OK)
        status = um_path_rename(temporary.data, dir, err);
    um_str_dispose(&temporary);
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
    fprintf(stderr, "A synthetic world, a choice model as teacher, a small language model made here: nothing\n"
                    "is downloaded. Everything goes to %s; run again to go on after a stop.\n\n",
            out);
    if ((status = make_world(args, world, &err)) != UM_OK)
        goto done;
    args->workspace = workspace;
    status = cli_open(&session, args, true, "ingest", &err);
    if (status == UM_OK)
        status = um_session_run(session, world, out, &err);
done:
    rc = status == UM_OK ? cli_finish_run(args, session, out) : cli_fail(&err);
    um_session_close(session);
    free(world);
    free(workspace);
    return rc;
}

const cli_command cmd_demo = {
    .name = "demo",
    .usage = "[--out DIR]",
    .summary = "The whole pipeline on a synthetic world, in minutes, with nothing downloaded",
    .about = "Writes a world, builds scenes, lets teacher and student write decision processes, measures\n"
             "uncertainty, selects pairs, trains (SFT, DPO, direct baseline) and evaluates on held-out users.",
    .local = {{"--out", "DIR", "folder for all it makes (default demo-out)"}},
    .profile = "demo",
    .sections = "world.",
    .run = run,
};
