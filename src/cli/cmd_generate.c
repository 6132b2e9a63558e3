/* cmd_generate.c - mirrorer generate: text of a model as it is written */
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/common.h"

#define MAX_PROMPT_BYTES ((size_t)16 << 20)
#define MAX_SAMPLES      4096
#define DEFAULT_TOKENS   256

enum { SYSTEM, USER, OPENING, SAMPLES, TOKENS, TEMPERATURE, TOP_P, TOP_K, MIN_P, STOP, WEIGHTS };

/* A conversation; the contents are owned. */
typedef struct talk {
    UM_VEC(um_message) messages;
} talk;

typedef struct generation {
    cli_args *args;
    um_tokenizer *tok;
    um_model *model;
    um_compute *compute;
    um_responder *responder;
    um_sampling sampling;
    um_dtype weights;
    bool tokens_given;
    uint32_t samples;
    talk talk;
    /* Of the call that is running. */
    char **texts; /* [samples] */
    um_finish *finishes;
    uint32_t *counts, shown;
    /* Of all calls. */
    uint64_t tokens, prompt_tokens, ms;
} generation;

static um_status out_of_memory(um_error *err)
{
    snprintf(err->text, sizeof err->text, "generate: out of memory");
    return err->status = UM_ERR_MEMORY;
}

static um_status say(talk *t, const char *role, const char *content, um_error *err)
{
    char *copy = um_strdup(content);
    if (copy != NULL && um_vec_push(&t->messages, ((um_message){role, copy})))
        return UM_OK;
    free(copy);
    return out_of_memory(err);
}

/* Options ------------------------------------------------------------------------------------- */

static bool read_real(const cli_args *args, int which, double low, double high, double *out)
{
    const char *text = args->local[which];
    if (text == NULL || (um_parse_f64(text, out) && *out >= low && *out <= high))
        return true;
    cli_usage_error(args->command, "%s: found '%s', need %g to %g",
                    args->command->local[which].flag, text, low, high);
    return false;
}

static bool read_options(generation *g)
{
    double samples = 1, tokens = DEFAULT_TOKENS, temperature = 1, top_p = 1, top_k = 0, min_p = 0;
    if (!read_real(g->args, SAMPLES, 1, MAX_SAMPLES, &samples) ||
        !read_real(g->args, TOKENS, 1, 1e6, &tokens) ||
        !read_real(g->args, TEMPERATURE, 0, 100, &temperature) ||
        !read_real(g->args, TOP_P, 0, 1, &top_p) || !read_real(g->args, TOP_K, 0, 1e6, &top_k) ||
        !read_real(g->args, MIN_P, 0, 1, &min_p))
        return false;
    if (g->args->local[WEIGHTS] != NULL && !um_dtype_parse(&g->weights, g->args->local[WEIGHTS])) {
        cli_usage_error(g->args->command, "--weights: found '%s', need f32, bf16, f16 or int8",
                        g->args->local[WEIGHTS]);
        return false;
    }
    g->samples = (uint32_t)samples;
    g->tokens_given = g->args->local[TOKENS] != NULL;
    g->sampling = (um_sampling){.seed = g->args->config.seed,
                                .temperature = (float)temperature,
                                .top_p = (float)top_p,
                                .top_k = (int)top_k,
                                .min_p = (float)min_p,
                                .max_tokens = (int)tokens};
    return true;
}

/* Answers ------------------------------------------------------------------------------------- */

static um_status on_text(void *context, size_t prompt, uint32_t sample, const char *text,
                         um_error *err)
{
    (void)context;
    (void)prompt;
    (void)sample;
    if (fputs(text, stdout) >= 0 && fflush(stdout) == 0)
        return UM_OK;
    snprintf(err->text, sizeof err->text, "cannot write to standard output");
    return err->status = UM_ERR_IO;
}

/* A finished sample, for programs or for people. */
static void show(const generation *g, uint32_t sample)
{
    um_str s = UM_STR_INIT;
    if (g->args->json) {
        um_str_appendf(&s, "{\"sample\":%u,\"text\":", sample);
        um_str_append_json(&s, g->texts[sample]);
        um_str_appendf(&s, ",\"finish\":\"%s\",\"tokens\":%u}",
                       g->finishes[sample] == UM_FINISH_STOP ? "stop" : "length",
                       g->counts[sample]);
    } else if (g->samples > 1) {
        um_str_appendf(&s, "[%u of %u]%s%s", sample + 1, g->samples,
                       g->texts[sample][0] == '\n' ? "" : "\n", g->texts[sample]);
    }
    printf("%s\n", um_str_text(&s));
    um_str_dispose(&s);
}

/* Samples are shown in their order, each as soon as those before it are. */
static um_status on_completion(void *context, const um_completion *c, um_error *err)
{
    generation *g = context;
    g->texts[c->sample] = um_strdup(c->text);
    if (g->texts[c->sample] == NULL)
        return out_of_memory(err);
    g->finishes[c->sample] = c->finish;
    g->counts[c->sample] = c->tokens;
    g->tokens += c->tokens;
    while (g->shown < g->samples && g->texts[g->shown] != NULL)
        show(g, g->shown++);
    fflush(stdout);
    return UM_OK;
}

/* The tokens of the prompt; without --max-tokens an answer is as long as there is room. */
static um_status fit(generation *g, const um_prompt *prompt, um_sampling *sampling, um_error *err)
{
    uint32_t tokens = 0, limit = 0;
    um_status status = g->responder->ops->measure(g->responder, prompt, NULL, &tokens, &limit, err);
    if (status != UM_OK)
        return status;
    g->prompt_tokens += tokens;
    if (!g->tokens_given && tokens < limit && limit - tokens < (uint32_t)sampling->max_tokens)
        sampling->max_tokens = (int)(limit - tokens);
    return UM_OK;
}

/* One prompt answered; the first sample becomes the assistant's turn. */
static um_status answer(generation *g, uint64_t key, const char *opening, um_error *err)
{
    const um_prompt prompt = {.key = key,
                              .messages = g->talk.messages.data,
                              .n_messages = g->talk.messages.len,
                              .opening = opening,
                              .k = 1};
    const char *const stops[] = {g->args->local[STOP]};
    um_sampling sampling = g->sampling;
    um_str turn = UM_STR_INIT;
    g->texts = um_calloc(g->samples, sizeof *g->texts);
    g->finishes = um_calloc(g->samples, sizeof *g->finishes);
    g->counts = um_calloc(g->samples, sizeof *g->counts);
    g->shown = 0;
    um_status status = g->texts != NULL && g->finishes != NULL && g->counts != NULL
                           ? fit(g, &prompt, &sampling, err)
                           : out_of_memory(err);
    uint64_t begun = um_clock_ms();
    if (status == UM_OK)
        status = g->responder->ops->complete(g->responder, &prompt, 1, 0, g->samples, &sampling,
                                             stops, stops[0] != NULL, on_completion, g,
                                             cli_monitor(g->args), err);
    g->ms += um_clock_ms() - begun;
    if (status == UM_OK) {
        um_str_append(&turn, opening != NULL ? opening : "");
        um_str_append(&turn, g->texts[0]);
        status = um_str_status(&turn, err);
    }
    if (status == UM_OK)
        status = say(&g->talk, "assistant", um_str_text(&turn), err);
    for (uint32_t i = 0; g->texts != NULL && i < g->samples; i++)
        free(g->texts[i]);
    free(g->texts);
    free(g->finishes);
    free(g->counts);
    um_str_dispose(&turn);
    return status;
}

/* Each line of standard input is a user's turn. */
static um_status converse(generation *g, um_error *err)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    uint64_t turn = 0;
    um_status status = UM_OK;
    while (status == UM_OK && (n = getline(&line, &cap, stdin)) > 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = '\0';
        if (n == 0)
            continue;
        status = say(&g->talk, "user", line, err);
        if (status == UM_OK)
            status = answer(g, turn++, g->args->local[OPENING], err);
    }
    free(line);
    if (status == UM_OK && turn == 0) {
        snprintf(err->text, sizeof err->text,
                 "generate: no prompt, no --user, and no turn on standard input");
        status = err->status = UM_ERR_INPUT;
    }
    return status;
}

/* The words after the folder, or with "-" all of standard input. */
static um_status read_prompt(const cli_args *args, char **out, um_error *err)
{
    um_str s;
    char buffer[65536];
    size_t n;
    um_str_init(&s, MAX_PROMPT_BYTES);
    if (args->n_positional == 2 && strcmp(args->positional[1], "-") == 0)
        while ((n = fread(buffer, 1, sizeof buffer, stdin)) > 0)
            um_str_append_n(&s, buffer, n);
    else
        for (int i = 1; i < args->n_positional; i++)
            um_str_appendf(&s, "%s%s", i > 1 ? " " : "", args->positional[i]);
    um_status status = um_str_take(&s, out, err);
    um_str_dispose(&s);
    return status;
}

static um_status open_model(generation *g, bool raw, um_error *err)
{
    const um_config *c = &g->args->config;
    const char *dir = g->args->positional[0];
    um_engine_options options = {.max_rows = (int)(g->samples < 256 ? g->samples : 256),
                                 .kv_bytes = (uint64_t)c->decide.kv_memory << 20,
                                 .format = UM_CHAT_PLAIN,
                                 .format_given = raw};
    if (g->samples == 1 && !g->args->json)
        options.on_text = on_text;
    um_status status = um_tokenizer_load(&g->tok, dir, err);
    if (status == UM_OK)
        status = um_chat_choose(g->tok, c->chat.template_name, c->chat.date, err);
    if (status == UM_OK)
        status = um_compute_open(&g->compute, c->backend, (int)c->threads, err);
    if (status == UM_OK)
        status = um_model_open(&g->model, dir, g->weights, g->compute, cli_monitor(g->args), err);
    if (status == UM_OK)
        status = um_engine_open(&g->responder, g->model, g->tok, g->compute, dir, &options, err);
    return status;
}

static void close_model(generation *g)
{
    um_responder_free(g->responder);
    um_compute_close(g->compute);
    um_model_free(g->model);
    um_tokenizer_free(g->tok);
    for (size_t i = 0; i < g->talk.messages.len; i++)
        free((char *)(uintptr_t)g->talk.messages.data[i].content);
    um_vec_dispose(&g->talk.messages);
}

static void print_rate(const generation *g)
{
    if (g->args->quiet || g->tokens == 0)
        return;
    double seconds = (double)(g->ms > 0 ? g->ms : 1) / 1000;
    fprintf(stderr, "%llu tokens in %.2f s, %.1f tok/s; prompts of %llu tokens\n",
            (unsigned long long)g->tokens, seconds, (double)g->tokens / seconds,
            (unsigned long long)g->prompt_tokens);
}

static int run(cli_args *args)
{
    generation g = {.args = args};
    um_error err;
    char *prompt = NULL;
    bool raw = args->n_positional > 1, chat = args->local[USER] != NULL;
    um_status status = UM_OK;
    if (!read_options(&g))
        return EXIT_USAGE;
    if (raw && (chat || args->local[SYSTEM] != NULL || args->local[OPENING] != NULL))
        return cli_usage_error(args->command, "a prompt after the folder is continued as it is; "
                                              "--system, --user and --opening make a chat");
    if (!raw && !chat && g.samples > 1)
        return cli_usage_error(args->command,
                               "--samples needs a prompt or --user; a chat has one answer a turn");
    if (raw)
        status = read_prompt(args, &prompt, &err);
    if (status == UM_OK)
        status = open_model(&g, raw, &err);
    if (status == UM_OK && args->local[SYSTEM] != NULL)
        status = say(&g.talk, "system", args->local[SYSTEM], &err);
    if (status == UM_OK && chat)
        status = say(&g.talk, "user", args->local[USER], &err);
    if (status == UM_OK)
        status = raw    ? answer(&g, 0, prompt, &err)
                 : chat ? answer(&g, 0, args->local[OPENING], &err)
                        : converse(&g, &err);
    if (status == UM_ERR_INTERRUPTED)
        putchar('\n');
    fflush(stdout);
    if (status == UM_OK || status == UM_ERR_INTERRUPTED)
        print_rate(&g);
    close_model(&g);
    free(prompt);
    if (status == UM_ERR_INTERRUPTED)
        return EXIT_INTERRUPTED;
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

const cli_command cmd_generate = {
    .name = "generate",
    .usage = "DIR PROMPT... | DIR - | DIR --user TEXT [--system TEXT] [--opening TEXT] | DIR",
    .summary = "Let a model folder write: a prompt continued, or a chat",
    .about = "Words after the folder are continued as they are, without a chat form; - reads them "
             "from\n"
             "standard input. --user asks in the model's chat form (--template, --date). With "
             "neither, each\n"
             "line of standard input is a turn of a conversation. Text appears as it is written; "
             "several\n"
             "samples, and --json, one line an answer, appear as each is done. The same seed gives "
             "the same\n"
             "text.",
    .sections = "chat.",
    .local = {{"--system", "TEXT", "system message of the chat"},
              {"--user", "TEXT", "the user's turn"},
              {"--opening", "TEXT", "how the answer begins; it is continued"},
              {"--samples", "N", "answers to one prompt [1]"},
              {"--max-tokens", "N", "of an answer [256, or what the context leaves]"},
              {"--temperature", "X", "0 = the likeliest token each time [1]"},
              {"--top-p", "X", "draw among the likeliest tokens of this probability [1]"},
              {"--top-k", "N", "draw among this many tokens; 0 = all [0]"},
              {"--min-p", "X", "leave out tokens below this share of the likeliest one's [0]"},
              {"--stop", "TEXT", "the answer ends before this text"},
              {"--weights", "FORMAT", "f32, bf16, f16 or int8; all but f32 are packed once [f32]"}},
    .min_positional = 1,
    .max_positional = CLI_MAX_ARGS,
    .run = run,
};
