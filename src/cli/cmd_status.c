/* cmd_status.c - mirrorer status */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/common.h"

/* "    truncated 8, no stage 4 (choice model)" */
static void print_kinds(const json_t *faults, const char *who, const char *only)
{
    const char *kind;
    json_t *n;
    int printed = 0;
    json_object_foreach((json_t *)faults, kind, n)
    {
        if (!json_is_integer(n) || (only != NULL && strcmp(kind, only) != 0))
            continue;
        printf("%s%s %lld", printed++ == 0 ? "    " : ", ", kind, (long long)json_integer_value(n));
    }
    if (printed > 0)
        printf(" (%s)\n", who);
}

/* What is wrong with texts: each kind with its number, under the stage that found it. */
static void print_faults(const json_t *stage)
{
    static const char *const roles[] = {"teacher", "student"};
    const json_t *faults = json_object_get(stage, "faults");
    const char *model = json_string_value(json_object_get(stage, "model"));
    if (model != NULL) {
        print_kinds(faults, model, NULL);
        return;
    }
    for (int i = 0; i < 2; i++)
        print_kinds(json_object_get(faults, roles[i]), roles[i], "contradicting letter");
}

/* What endpoints were asked for: a line a stage. */
static void print_remote(const json_t *remote)
{
    json_t *row;
    size_t i;
    json_array_foreach(json_object_get(remote, "stages"), i, row)
    {
        static const char *const keys[][2] = {{"open", "asked for and not stored"},
                                              {"failed", "failed"},
                                              {"maybe_paid_twice", "maybe paid twice"}};
        printf("%s%s: %lld answers", i == 0 ? "Endpoints\n  " : "  ",
               json_string_value(json_object_get(row, "stage")),
               (long long)json_integer_value(json_object_get(row, "answered")));
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            json_int_t n = json_integer_value(json_object_get(row, keys[k][0]));
            if (n > 0)
                printf(", %lld %s", (long long)n, keys[k][1]);
        }
        printf("; %lld prompt and %lld completion tokens, $%.2f\n",
               (long long)json_integer_value(json_object_get(row, "prompt_tokens")),
               (long long)json_integer_value(json_object_get(row, "completion_tokens")),
               json_number_value(json_object_get(row, "cost")));
    }
    if (i > 0)
        printf("\n");
}

static void print_status(const char *text)
{
    json_t *root = NULL, *value;
    const char *key;
    um_error err;
    size_t i;

    if (um_json_parse(&root, text, strlen(text), "status", &err) != UM_OK)
        return;
    printf("Workspace %s\n\n", json_string_value(json_object_get(root, "workspace")));
    json_array_foreach(json_object_get(root, "stages"), i, value)
    {
        printf("  %-42s %-10s", json_string_value(json_object_get(value, "title")),
               json_string_value(json_object_get(value, "state")));
        if (json_object_get(value, "seconds") != NULL) {
            printf(" %8lld items  ",
                   (long long)json_integer_value(json_object_get(value, "items")));
            cli_print_seconds(stdout, json_number_value(json_object_get(value, "seconds")));
            printf(", %.0f MB", json_number_value(json_object_get(value, "peak_rss_mb")));
        }
        printf("\n");
        print_faults(value);
    }
    printf("\n ");
    json_object_foreach(json_object_get(root, "counts"), key, value)
        printf(" %s %lld", key, (long long)json_integer_value(value));
    printf("\n\n");
    print_remote(json_object_get(root, "remote"));
    printf("Next: mirrorer %s\n", json_string_value(json_object_get(root, "next")));
    json_decref(root);
}

static int run(cli_args *args)
{
    um_session *session = NULL;
    um_error err;
    char *json = NULL;
    um_status status = um_session_open(&session, args->workspace, false, true, &args->config,
                                       cli_monitor(args), &err);

    if (status == UM_OK)
        status = um_session_status(session, &json, &err);
    um_session_close(session);
    if (status != UM_OK)
        return cli_fail(&err);
    if (args->json)
        printf("%s\n", json);
    else
        print_status(json);
    free(json);
    return EXIT_OK;
}

const cli_command cmd_status = {
    .name = "status",
    .usage = "[-w WORKSPACE]",
    .summary = "What is done, what it cost, what comes next",
    .sections = NULL,
    .uses_workspace = true,
    .run = run,
};
