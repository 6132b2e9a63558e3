/* cmd_scenes.c - mirrorer scenes, scenes show, scenes audit */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "cli/common.h"
#include "cli/scenes.h"

enum { PROMPT, SPLIT };

/* Opens the workspace for reading; what makes the JSON text; NULL after a failure it printed. */
static char *read_json(cli_args *args, const int64_t *id, int *rc)
{
    um_session *session = NULL;
    um_error err;
    char *json = NULL;
    um_status status = um_session_open(&session, args->workspace, false, true, &args->config,
                                       cli_monitor(args), &err);

    if (status == UM_OK)
        status = id != NULL ? um_session_scene(session, (uint64_t)*id, args->local[PROMPT] != NULL,
                                               &json, &err)
                            : um_session_audit(session, args->local[SPLIT], &json, &err);
    um_session_close(session);
    cli_progress_end();
    *rc = status == UM_OK ? EXIT_OK : cli_fail(&err);
    return json;
}

static int show(cli_args *args)
{
    int64_t id;
    int rc;

    if (args->n_positional < 2)
        return cli_usage_error(args->command, "show: needs the ID of a scene");
    if (!um_parse_i64(args->positional[1], &id) || id < 0)
        return cli_usage_error(args->command, "show: found '%s'; need a whole number from 0",
                               args->positional[1]);
    char *json = read_json(args, &id, &rc);
    if (json != NULL && args->json)
        printf("%s\n", json);
    else if (json != NULL)
        cli_print_scene(json, args->local[PROMPT] != NULL);
    free(json);
    return rc;
}

/* Names the checks that found leaks on stderr. */
static int audit_status(const char *json)
{
    json_t *root = NULL, *check;
    um_error err;
    size_t i;
    int rc = EXIT_OK;

    if (um_json_parse(&root, json, strlen(json), "audit", &err) != UM_OK)
        return cli_fail(&err);
    json_array_foreach(json_object_get(root, "checks"), i, check)
    {
        if (!json_is_true(json_object_get(check, "leak")) ||
            json_integer_value(json_object_get(check, "scenes")) == 0)
            continue;
        fprintf(stderr, "%s%s (%lld)", rc == EXIT_OK ? "mirrorer: the audit found leaks: " : ", ",
                json_string_value(json_object_get(check, "check")),
                (long long)json_integer_value(json_object_get(check, "scenes")));
        rc = EXIT_FAILED;
    }
    if (rc != EXIT_OK)
        fputs("\n", stderr);
    json_decref(root);
    return rc;
}

static int audit(cli_args *args)
{
    int rc;

    if (args->n_positional > 1)
        return cli_usage_error(args->command, "audit: found '%s'; it takes no argument",
                               args->positional[1]);
    char *json = read_json(args, NULL, &rc);
    if (json == NULL)
        return rc;
    if (args->json)
        printf("%s\n", json);
    else
        cli_print_audit(json);
    fflush(stdout);
    rc = audit_status(json);
    free(json);
    return rc;
}

static int run(cli_args *args)
{
    if (args->n_positional == 0)
        return cli_run_stage(args, "scenes");
    if (strcmp(args->positional[0], "show") == 0)
        return show(args);
    if (strcmp(args->positional[0], "audit") == 0)
        return audit(args);
    return cli_usage_error(args->command, "found '%s'; show or audit, or nothing to build scenes",
                           args->positional[0]);
}

const cli_command cmd_scenes = {
    .name = "scenes",
    .usage = "[show ID [--prompt] | audit [--split NAME]] [-w WORKSPACE] [options]",
    .summary =
        "Build simulation scenes: a user's memory, the list they were shown, what they chose",
    .about = "A scene is one interaction with at least --min-order earlier ones. Users are split: "
             "those of\n"
             "evaluation scenes never give training scenes. Nothing later than a scene is in it, "
             "and the\n"
             "true item is at a uniform position.\n\n"
             "  show ID   one scene as the models see it, and the truth beside it\n"
             "  audit     what the stored scenes give away: leaks (exit status 1), positions, "
             "sources,\n"
             "            lengths, times, popularity; from the log, not from what was built",
    .sections = "scenes. remote.",
    .local = {{"--prompt", NULL, "show: the whole chat, as the student's tokenizer writes it"},
              {"--split", "base|train|eval", "audit: the scenes of one split (default all)"}},
    .max_positional = 2,
    .uses_workspace = true,
    .run = run,
};
