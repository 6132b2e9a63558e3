/* options.c - one table of options gives the parser, --help and the usage errors. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"

const cli_local cli_general[] = {
    {"-w", "WORKSPACE", "folder of the workspace (default ./mirrorer-ws, or $MIRRORER_WORKSPACE)"},
    {"--config", "FILE", "YAML file of options (`mirrorer run --print-config` shows all)"},
    {"--set", "KEY=VALUE", "any option by its full key; may be repeated"},
    {"--redo", NULL, "forget this stage's results and all later ones first"},
    {"--json", NULL, "results as JSON on stdout"},
    {"-q", NULL, "no progress"},
    {"--help", NULL, "this text"},
    {NULL, NULL, NULL},
};

/* "scenes.max_history" -> "--max-history" */
static void flag_of(const um_option *o, char *out, size_t size)
{
    const char *dot = strrchr(o->key, '.');
    snprintf(out, size, "--%s", dot != NULL ? dot + 1 : o->key);
    for (char *p = out; *p != '\0'; p++)
        *p = *p == '_' ? '-' : *p;
}

static bool takes(const cli_command *command, const um_option *o)
{
    if (strchr(o->key, '.') == NULL)
        return true; /* seed, threads, backend */
    for (const char *p = command->sections != NULL ? command->sections : ""; *p != '\0';) {
        size_t n = strcspn(p, " ");
        if (strncmp(o->key, p, n) == 0)
            return true;
        p += n;
        p += strspn(p, " ");
    }
    return false;
}

static const um_option *find_option(const cli_command *command, const char *flag, size_t len)
{
    char name[80];
    size_t n;
    const um_option *options = um_config_options(&n);
    for (size_t i = 0; i < n; i++) {
        flag_of(&options[i], name, sizeof name);
        if (takes(command, &options[i]) && strlen(name) == len && strncmp(name, flag, len) == 0)
            return &options[i];
    }
    return NULL;
}

int cli_usage_error(const cli_command *command, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fputs("mirrorer: ", stderr);
    vfprintf(stderr, format, ap);
    va_end(ap);
    if (command != NULL)
        fprintf(stderr, "\nusage: mirrorer %s %s\nTry `mirrorer %s --help`.\n", command->name,
                command->usage, command->name);
    else
        fputs("\nTry `mirrorer --help`.\n", stderr);
    return EXIT_USAGE;
}

static void print_option(const char *left, const char *help, const char *fallback,
                         const char *choices)
{
    printf("  %-28s %s%s", left, strlen(left) > 28 ? "\n                               " : "",
           help);
    if (choices != NULL)
        printf(" (%s)", choices);
    if (fallback != NULL && fallback[0] != '\0')
        printf(" [%s]", fallback);
    putchar('\n');
}

void cli_print_help(const cli_command *command)
{
    char left[160], flag[80], value[UM_CONFIG_TEXT];
    um_config defaults;
    size_t n;
    const um_option *options = um_config_options(&n);
    bool known = um_config_init(&defaults, NULL) == UM_OK;

    printf("usage: mirrorer %s %s\n\n%s.\n", command->name, command->usage, command->summary);
    if (command->about != NULL)
        printf("\n%s\n", command->about);
    printf("\nOptions:\n");
    for (const cli_local *l = command->local; l->flag != NULL; l++) {
        snprintf(left, sizeof left, "%s%s%s", l->flag, l->value != NULL ? " " : "",
                 l->value != NULL ? l->value : "");
        print_option(left, l->help, NULL, NULL);
    }
    for (size_t i = 0; i < n; i++) {
        if (!takes(command, &options[i]))
            continue;
        flag_of(&options[i], flag, sizeof flag);
        snprintf(left, sizeof left, "%s %s", flag,
                 options[i].type == UM_OPTION_BOOL   ? "true|false"
                 : options[i].type == UM_OPTION_INT  ? "N"
                 : options[i].type == UM_OPTION_REAL ? "X"
                                                     : "TEXT");
        value[0] = '\0';
        if (known)
            um_config_get(&defaults, &options[i], value, sizeof value);
        print_option(left, options[i].help, value, options[i].choices);
    }
    for (size_t i = 0; cli_general[i].flag != NULL; i++) {
        if (!command->uses_workspace && (i == 0 || i == 3))
            continue;
        snprintf(left, sizeof left, "%s%s%s", cli_general[i].flag,
                 cli_general[i].value != NULL ? " " : "",
                 cli_general[i].value != NULL ? cli_general[i].value : "");
        print_option(left, cli_general[i].help, NULL, NULL);
    }
}

/* State of one parse: values may be in the same word ("--x=1") or the next. */
typedef struct parser {
    cli_args *args;
    int argc, at;
    char **argv;
    const char *inline_value;
} parser;

static const char *next_value(parser *p)
{
    if (p->inline_value != NULL)
        return p->inline_value;
    return p->at + 1 < p->argc ? p->argv[++p->at] : NULL;
}

static int set_pair(parser *p, const char *pair)
{
    um_error err;
    const char *equals = strchr(pair, '=');
    char key[128];
    if (equals == NULL || (size_t)(equals - pair) >= sizeof key)
        return cli_usage_error(p->args->command, "--set: found '%s'; need KEY=VALUE", pair);
    memcpy(key, pair, (size_t)(equals - pair));
    key[equals - pair] = '\0';
    if (um_config_set(&p->args->config, key, equals + 1, "--set", &err) != UM_OK)
        return cli_usage_error(p->args->command, "%s", err.text);
    return -1;
}

/* The general options; -2 when the word is none of them. apply: second pass, values are taken. */
static int parse_general(parser *p, const char *word, size_t len, bool apply)
{
    cli_args *args = p->args;
    const char *value;
    um_error err;

    if ((len == 2 && strncmp(word, "-h", 2) == 0) ||
        (len == 6 && strncmp(word, "--help", 6) == 0)) {
        cli_print_help(args->command);
        return EXIT_OK;
    }
    bool *flag = len == 6 && strncmp(word, "--json", 6) == 0   ? &args->json
                 : len == 6 && strncmp(word, "--redo", 6) == 0 ? &args->redo
                 : len == 2 && strncmp(word, "-q", 2) == 0     ? &args->quiet
                                                               : NULL;
    if (flag != NULL) {
        *flag = true;
        return -1;
    }
    bool workspace = (len == 2 && strncmp(word, "-w", 2) == 0) ||
                     (len == 11 && strncmp(word, "--workspace", 11) == 0);
    bool config = len == 8 && strncmp(word, "--config", 8) == 0;
    bool set = len == 5 && strncmp(word, "--set", 5) == 0;
    if (!workspace && !config && !set)
        return -2;
    if ((value = next_value(p)) == NULL)
        return cli_usage_error(args->command, "%.*s: needs a value", (int)len, word);
    if (workspace)
        args->workspace = value;
    if (config && apply && um_config_read(&args->config, value, &err) != UM_OK)
        return cli_fail(&err);
    if (set && apply)
        return set_pair(p, value);
    return -1;
}

static int parse_local(parser *p, const char *word, size_t len)
{
    const cli_command *command = p->args->command;
    for (int i = 0; i < CLI_MAX_LOCAL && command->local[i].flag != NULL; i++) {
        const cli_local *l = &command->local[i];
        if (strlen(l->flag) != len || strncmp(l->flag, word, len) != 0)
            continue;
        p->args->local[i] = l->value == NULL ? "" : next_value(p);
        if (p->args->local[i] == NULL)
            return cli_usage_error(command, "%s: needs a value, %s", l->flag, l->value);
        return -1;
    }
    return -2;
}

static int unknown_option(const cli_command *command, const char *word, size_t len)
{
    char flags[160][80], asked[80];
    const char *names[160];
    size_t n_options, n = 0;
    const um_option *options = um_config_options(&n_options);

    for (size_t i = 0; i < n_options && n < 150; i++) {
        if (takes(command, &options[i])) {
            flag_of(&options[i], flags[n], sizeof flags[n]);
            names[n] = flags[n];
            n++;
        }
    }
    for (const cli_local *l = command->local; l->flag != NULL && n < 160; l++)
        names[n++] = l->flag;
    snprintf(asked, sizeof asked, "%.*s", (int)len, word);
    const char *near = um_nearest(asked, names, n);
    return cli_usage_error(command, "unknown option '%s'%s%s%s", asked,
                           near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                           near != NULL ? "'" : "");
}

/* One pass over the words. The first (apply false) only finds the workspace and checks the form. */
static int pass(cli_args *args, int argc, char **argv, bool apply)
{
    parser p = {args, argc, 0, argv, NULL};
    bool only_words = false;

    args->n_positional = 0;
    for (; p.at < argc; p.at++) {
        const char *word = argv[p.at];
        if (only_words || word[0] != '-' || word[1] == '\0') {
            if (args->n_positional >= args->command->max_positional)
                return cli_usage_error(args->command, "found '%s'; it takes %d argument%s", word,
                                       args->command->max_positional,
                                       args->command->max_positional == 1 ? "" : "s");
            args->positional[args->n_positional++] = word;
            continue;
        }
        if (strcmp(word, "--") == 0) {
            only_words = true;
            continue;
        }
        size_t len = strcspn(word, "=");
        p.inline_value = word[len] == '=' ? word + len + 1 : NULL;
        int rc = parse_general(&p, word, len, apply);
        if (rc == -2)
            rc = parse_local(&p, word, len);
        if (rc == -2) {
            const um_option *o = find_option(args->command, word, len);
            um_error err;
            if (o == NULL)
                return unknown_option(args->command, word, len);
            const char *value = next_value(&p);
            if (value == NULL)
                return cli_usage_error(args->command, "%.*s: needs a value", (int)len, word);
            if (apply && um_config_set(&args->config, o->key, value, "command line", &err) != UM_OK)
                return cli_usage_error(args->command, "%s", err.text);
            rc = -1;
        }
        if (rc != -1)
            return rc;
    }
    if (args->n_positional < args->command->min_positional)
        return cli_usage_error(args->command, "too few arguments");
    return -1;
}

int cli_parse(cli_args *args, const cli_command *command, int argc, char **argv)
{
    um_error err;
    const char *environment = getenv("MIRRORER_WORKSPACE");

    *args = (cli_args){.command = command,
                       .workspace = environment != NULL ? environment : "mirrorer-ws"};
    int rc = pass(args, argc, argv, false);
    /* Twice: whether a student is given decides which profile everything else is laid over. */
    for (int round = 0; round < 2 && rc == -1; round++) {
        bool given = round > 0 && args->config.student.path[0] != '\0';
        um_status status = um_config_init(&args->config, &err);
        if (status == UM_OK && given)
            status = um_config_apply_profile(&args->config, "published", &err);
        if (status == UM_OK && command->uses_workspace)
            status = um_session_recall_config(args->workspace, &args->config, &err);
        if (status != UM_OK)
            return cli_fail(&err);
        rc = pass(args, argc, argv, true);
    }
    return rc;
}
