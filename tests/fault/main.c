/* main.c - the fault server as a program; fault.h says what a script is. */
#include "fault.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile int stop;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    if (f == NULL || text == NULL) {
        perror(path);
        exit(2);
    }
    size_t n = fread(text, 1, (1 << 20) - 1, f);
    text[n] = '\0';
    fclose(f);
    return text;
}

static void usage(void)
{
    fputs("usage: fault_server [--port N] [--script FILE] [--log FILE] [--key KEY] [--model NAME]\n"
          "  [--port-file FILE] [--latency MS] [--at-once N] [--top N] [--words N] [--dims N]\n"
          "  [--other-mass P] [--no CAPABILITY]...\n"
          "capabilities: chat completions n logprobs seed usage tokenize models flags trailing\n"
          "  allowed bias choice masked-logprobs max-tokens\n"
          "prints its port, then serves until SIGTERM\n",
          stderr);
    exit(2);
}

static bool switch_off(fault_config *c, const char *name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"chat", &c->no_chat},
                 {"completions", &c->no_completions},
                 {"n", &c->no_n},
                 {"logprobs", &c->no_logprobs},
                 {"seed", &c->no_seed},
                 {"usage", &c->no_usage},
                 {"tokenize", &c->no_tokenize},
                 {"models", &c->no_models},
                 {"flags", &c->no_flags},
                 {"trailing", &c->no_trailing},
                 {"allowed", &c->no_allowed},
                 {"bias", &c->no_bias},
                 {"choice", &c->no_choice},
                 {"masked-logprobs", &c->raw_logprobs},
                 {"max-tokens", &c->new_token_limit}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(name, flags[i].name) == 0)
            return *flags[i].flag = true;
    }
    return false;
}

static void write_port(const char *path, int port)
{
    printf("%d\n", port);
    fflush(stdout);
    if (path == NULL)
        return;
    FILE *f = fopen(path, "w");
    if (f == NULL) {
        perror(path);
        exit(2);
    }
    fprintf(f, "%d\n", port);
    fclose(f);
}

int main(int argc, char **argv)
{
    fault_config c = {0};
    const char *port_file = NULL;
    char *script = NULL;
    for (int i = 1; i < argc; i += 2) {
        const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (value == NULL)
            usage();
        if (strcmp(option, "--port") == 0)
            c.port = atoi(value);
        else if (strcmp(option, "--script") == 0)
            c.script = script = read_file(value);
        else if (strcmp(option, "--log") == 0)
            c.log_path = value;
        else if (strcmp(option, "--key") == 0)
            c.key = value;
        else if (strcmp(option, "--model") == 0)
            c.model = value;
        else if (strcmp(option, "--port-file") == 0)
            port_file = value;
        else if (strcmp(option, "--latency") == 0)
            c.latency_ms = (uint32_t)atoi(value);
        else if (strcmp(option, "--at-once") == 0)
            c.max_at_once = (uint32_t)atoi(value);
        else if (strcmp(option, "--top") == 0)
            c.top = (uint32_t)atoi(value);
        else if (strcmp(option, "--words") == 0)
            c.words = (uint32_t)atoi(value);
        else if (strcmp(option, "--dims") == 0)
            c.dims = (uint32_t)atoi(value);
        else if (strcmp(option, "--other-mass") == 0)
            c.other_mass = atof(value);
        else if (strcmp(option, "--no") != 0 || !switch_off(&c, value))
            usage();
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    signal(SIGPIPE, SIG_IGN);
    fault_server *s = fault_open(&c);
    if (s == NULL)
        return 1;
    write_port(port_file, fault_port(s));
    fault_run(s, &stop);
    fault_close(s);
    free(script);
    return 0;
}
