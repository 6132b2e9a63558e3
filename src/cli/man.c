/* man.c - the manual page, from the same tables as the parser: `mirrorer --man | man -l -`. */
#include <ctype.h>
#include <string.h>

#include "cli/cli.h"
#include "stage/version.h"

/* Text with roff's own characters made harmless. */
static void put(const char *text)
{
    bool line_start = true;
    for (const char *p = text; *p != '\0'; p++) {
        if (line_start && (*p == '.' || *p == '\''))
            fputs("\\&", stdout);
        if (*p == '\\')
            fputs("\\e", stdout);
        else if (*p == '-')
            fputs("\\-", stdout);
        else
            putchar(*p);
        line_start = *p == '\n';
    }
}

static void put_command(const cli_command *c)
{
    printf(".SS ");
    put(c->name);
    printf("\n.B mirrorer ");
    put(c->name);
    printf("\n");
    put(c->usage);
    printf("\n.PP\n");
    put(c->summary);
    printf(".\n");
    if (c->about != NULL) {
        printf(".PP\n.nf\n");
        put(c->about);
        printf("\n.fi\n");
    }
    for (const cli_local *l = c->local; l->flag != NULL; l++) {
        printf(".TP\n.B ");
        put(l->flag);
        printf(" %s\n", l->value != NULL ? l->value : "");
        put(l->help);
        printf("\n");
    }
}

static void put_options(void)
{
    um_config defaults;
    char value[UM_CONFIG_TEXT];
    size_t n;
    const um_option *options = um_config_options(&n);
    bool known = um_config_init(&defaults, NULL) == UM_OK;

    for (size_t i = 0; i < n; i++) {
        printf(".TP\n.B ");
        put(options[i].key);
        printf("\n");
        put(options[i].help);
        if (options[i].choices != NULL)
            printf(" (%s)", options[i].choices);
        if (known) {
            um_config_get(&defaults, &options[i], value, sizeof value);
            printf(". Default: ");
            put(value[0] != '\0' ? value : "(empty)");
        }
        printf("\n");
    }
}

void cli_print_man(void)
{
    printf(".TH MIRRORER 1 \"\" \"mirrorer " UM_VERSION "\"\n"
           ".SH NAME\nmirrorer \\- turn a recommender's log into a simulator of its users\n"
           ".SH SYNOPSIS\n.B mirrorer\nCOMMAND [arguments] [options]\n"
           ".SH COMMANDS\n");
    for (int i = 0; cli_commands[i] != NULL; i++)
        put_command(cli_commands[i]);
    printf(".SH OPTIONS OF ALL COMMANDS\n");
    for (size_t i = 0; cli_general[i].flag != NULL; i++) {
        printf(".TP\n.B ");
        put(cli_general[i].flag);
        printf(" %s\n", cli_general[i].value != NULL ? cli_general[i].value : "");
        put(cli_general[i].help);
        printf("\n");
    }
    printf(".SH CONFIGURATION\n"
           "Keys of the YAML file and of \\-\\-set. A command takes the options of its own "
           "sections as "
           "flags too: scenes.max_history is \\-\\-max\\-history of\n.B mirrorer scenes.\n");
    put_options();
    printf(
        ".SH EXIT STATUS\n0 ok, 1 failed, 2 usage, 3 bad input, 4 unsupported here, 5 remote, 130 "
        "interrupted.\n"
        ".SH ENVIRONMENT\n.TP\n.B MIRRORER_WORKSPACE\nThe workspace where \\-w is not given.\n");
}
