/* cmd_tokenizer.c - mirrorer tokenizer train, encode, decode, chat */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "cli/common.h"

#define MAX_TEXT_BYTES ((size_t)1 << 30)
#define MAX_MESSAGES   256

enum { ROWS, PLAIN };

static um_status out_of_memory(um_error *err)
{
    snprintf(err->text, sizeof err->text, "tokenizer: out of memory");
    return err->status = UM_ERR_MEMORY;
}

static um_status train(cli_args *args, um_error *err)
{
    static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    um_tokenizer_trainer *trainer = NULL;
    um_tokenizer *tok = NULL;
    um_status status = um_path_make_dirs(args->positional[1], err);

    if (status == UM_OK)
        status = um_tokenizer_trainer_new(&trainer, err);
    for (int i = 2; i < args->n_positional && status == UM_OK; i++) {
        char *text = NULL;
        size_t len = 0;
        status = um_file_read(&text, &len, args->positional[i], MAX_TEXT_BYTES, err);
        if (status == UM_OK)
            status = um_tokenizer_trainer_add(trainer, text, len, err);
        free(text);
    }
    if (status == UM_OK)
        status = um_tokenizer_train(&tok, trainer, (int)args->config.student.vocab, special, 3,
                                    cli_monitor(args), err);
    if (status == UM_OK)
        status = um_tokenizer_save(tok, args->positional[1], err);
    if (status == UM_OK)
        cli_print_done(args, "train", args->positional[1]);
    um_tokenizer_free(tok);
    um_tokenizer_trainer_free(trainer);
    return status;
}

static um_status read_input(cli_args *args, char **text, size_t *len, um_error *err)
{
    um_str all;
    char buffer[65536];
    size_t n;

    um_str_init(&all, MAX_TEXT_BYTES);
    if (args->n_positional > 2) {
        for (int i = 2; i < args->n_positional; i++) {
            um_str_append(&all, i > 2 ? " " : "");
            um_str_append(&all, args->positional[i]);
        }
    } else {
        while ((n = fread(buffer, 1, sizeof buffer, stdin)) > 0)
            um_str_append_n(&all, buffer, n);
    }
    *len = all.len;
    um_status status = um_str_take(&all, text, err);
    um_str_dispose(&all);
    return status;
}

static um_status encode(const um_tokenizer *tok, const char *text, size_t len, bool special,
                        um_error *err)
{
    um_tokens ids = {0};
    um_status status = um_tokenizer_encode(tok, text, len, special, &ids, err);
    for (size_t i = 0; i < ids.len && status == UM_OK; i++)
        printf("%s%d", i > 0 ? " " : "", ids.ids[i]);
    if (status == UM_OK)
        printf("\n");
    um_tokens_dispose(&ids);
    return status;
}

static um_status decode(const um_tokenizer *tok, char *text, um_error *err)
{
    um_tokens ids = {0};
    char *out = NULL, *rest = NULL;
    size_t len = 0;
    um_status status = UM_OK;

    for (char *word = strtok_r(text, " \t\r\n,[]", &rest); word != NULL && status == UM_OK;
         word = strtok_r(NULL, " \t\r\n,[]", &rest)) {
        int64_t id;
        if (!um_parse_i64(word, &id) || id < 0 || id >= um_tokenizer_size(tok)) {
            err->status = status = UM_ERR_INPUT;
            snprintf(err->text, sizeof err->text, "decode: found '%.40s'; token ids are 0 to %d",
                     word, um_tokenizer_size(tok) - 1);
        } else {
            status = um_tokens_push(&ids, (int32_t)id, err);
        }
    }
    if (status == UM_OK)
        status = um_tokenizer_decode(tok, ids.ids, ids.len, false, &out, &len, err);
    if (status == UM_OK) {
        fwrite(out, 1, len, stdout);
        printf("\n");
    }
    free(out);
    um_tokens_dispose(&ids);
    return status;
}

/* Rows of JSON ------------------------------------------------------------------------------------
 */

static um_status put_ids(json_t *row, const um_tokens *ids, um_error *err)
{
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < ids->len && ok; i++)
        ok = json_array_append_new(list, json_integer(ids->ids[i])) == 0;
    if (ok)
        ok = json_object_set(row, "ids", list) == 0;
    json_decref(list);
    return ok ? UM_OK : out_of_memory(err);
}

/* {"text"} gets "ids", and "decoded" where the ids give another text. */
static um_status encode_row(const um_tokenizer *tok, json_t *row, bool plain, const char *where,
                            um_error *err)
{
    const char *text = NULL;
    um_tokens ids = {0};
    char *decoded = NULL;
    size_t len = 0;
    um_status status = um_json_get_str(&text, row, "text", where, err);
    size_t n = status == UM_OK ? json_string_length(json_object_get(row, "text")) : 0;
    if (status == UM_OK)
        status = um_tokenizer_encode(tok, text, n, !plain, &ids, err);
    if (status == UM_OK)
        status = put_ids(row, &ids, err);
    if (status == UM_OK)
        status = um_tokenizer_decode(tok, ids.ids, ids.len, false, &decoded, &len, err);
    if (status == UM_OK && um_utf8_valid(decoded, len) &&
        json_object_set_new(row, "decoded", json_stringn(decoded, len)) != 0)
        status = out_of_memory(err);
    free(decoded);
    um_tokens_dispose(&ids);
    return status;
}

/* {"messages": [{"role", "content"}], "prefix"} gets "text" and "ids". */
static um_status chat_row(const um_tokenizer *tok, json_t *row, const char *where, um_error *err)
{
    um_message messages[MAX_MESSAGES];
    const json_t *list = json_object_get(row, "messages"), *entry;
    const char *prefix = json_string_value(json_object_get(row, "prefix"));
    um_chat_format format = um_chat_detect(tok);
    um_tokens ids = {0};
    char *text = NULL;
    size_t i, n = json_array_size(list);
    um_status status = UM_OK;
    if (!json_is_array(list) || n > MAX_MESSAGES) {
        snprintf(err->text, sizeof err->text, "%.400s: need \"messages\", a list of at most %d",
                 where, MAX_MESSAGES);
        return err->status = UM_ERR_INPUT;
    }
    json_array_foreach(list, i, entry)
    {
        messages[i].role = json_string_value(json_object_get(entry, "role"));
        messages[i].content = json_string_value(json_object_get(entry, "content"));
    }
    status = um_chat_encode_prompt(tok, format, messages, n, prefix, &ids, err);
    if (status == UM_OK)
        status = um_chat_render(tok, format, messages, n, prefix, &text, err);
    if (status == UM_OK)
        status = put_ids(row, &ids, err);
    if (status == UM_OK && json_object_set_new(row, "text", json_string(text)) != 0)
        status = out_of_memory(err);
    free(text);
    um_tokens_dispose(&ids);
    return status;
}

/* One JSON object a line in, the same with more members out. */
static um_status each_row(const um_tokenizer *tok, const char *path, bool chat, bool plain,
                          um_error *err)
{
    FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    char *line = NULL, where[512];
    size_t cap = 0, number = 0;
    ssize_t n;
    um_str out = UM_STR_INIT;
    um_status status = UM_OK;
    if (in == NULL) {
        snprintf(err->text, sizeof err->text, "cannot open '%s': %s", path, strerror(errno));
        return err->status = UM_ERR_IO;
    }
    while (status == UM_OK && (n = getline(&line, &cap, in)) > 0) {
        json_t *row = NULL;
        snprintf(where, sizeof where, "%.400s:%zu", path, ++number);
        status = um_json_parse(&row, line, (size_t)n, where, err);
        if (status == UM_OK)
            status =
                chat ? chat_row(tok, row, where, err) : encode_row(tok, row, plain, where, err);
        um_str_clear(&out);
        if (status == UM_OK)
            um_json_dump(&out, row);
        if (status == UM_OK && (status = um_str_status(&out, err)) == UM_OK)
            printf("%s\n", out.data);
        json_decref(row);
    }
    um_str_dispose(&out);
    free(line);
    if (in != stdin)
        fclose(in);
    return status;
}

static int run(cli_args *args)
{
    const char *verb = args->positional[0];
    um_tokenizer *tok = NULL;
    char *text = NULL;
    size_t len = 0;
    um_error err;
    um_status status;

    if (strcmp(verb, "train") == 0) {
        if (args->n_positional < 3)
            return cli_usage_error(args->command, "train needs a folder and text files");
        status = train(args, &err);
    } else if (strcmp(verb, "chat") == 0 || args->local[ROWS] != NULL) {
        bool chat = verb[0] == 'c';
        if (!chat && strcmp(verb, "encode") != 0)
            return cli_usage_error(args->command, "--rows goes with encode and chat");
        status = um_tokenizer_load(&tok, args->positional[1], &err);
        if (status == UM_OK)
            status =
                um_chat_choose(tok, args->config.chat.template_name, args->config.chat.date, &err);
        if (status == UM_OK)
            status = each_row(tok, args->local[ROWS] != NULL ? args->local[ROWS] : "-", chat,
                              args->local[PLAIN] != NULL, &err);
    } else if (strcmp(verb, "encode") == 0 || strcmp(verb, "decode") == 0) {
        status = um_tokenizer_load(&tok, args->positional[1], &err);
        if (status == UM_OK)
            status = read_input(args, &text, &len, &err);
        if (status == UM_OK)
            status = verb[0] == 'e' ? encode(tok, text, len, args->local[PLAIN] == NULL, &err)
                                    : decode(tok, text, &err);
    } else {
        return cli_usage_error(args->command, "found '%s'; train, encode, decode or chat", verb);
    }
    um_tokenizer_free(tok);
    free(text);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

const cli_command cmd_tokenizer = {
    .name = "tokenizer",
    .usage = "train DIR FILE... | encode DIR [TEXT...] | decode DIR [ID...] | chat DIR",
    .summary = "Train a byte-level BPE tokenizer; turn text into ids and back",
    .about =
        "encode and decode read standard input when nothing follows the folder. Markers such as\n"
        "<|im_end|> in the text become their own ids. train takes --vocab. chat reads "
        "conversations, "
        "a\n"
        "JSON object {\"messages\": [{\"role\", \"content\"}], \"prefix\"} a line, and adds to "
        "each "
        "the text\n"
        "and the ids of the prompt as the model's chat form writes it.",
    .local = {{"--rows", "FILE",
               "encode, chat: read rows of JSON ({\"text\"}), add ids; - = stdin"},
              {"--plain", NULL, "encode: markers in the text are text like any other"}},
    .sections = "student. chat.",
    .min_positional = 2,
    .max_positional = CLI_MAX_ARGS,
    .run = run,
};
