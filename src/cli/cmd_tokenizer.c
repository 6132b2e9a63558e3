/* cmd_tokenizer.c - mirrorer tokenizer train, encode, decode */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "cli/common.h"

#define MAX_TEXT_BYTES ((size_t)1 << 30)

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

static um_status encode(const um_tokenizer *tok, const char *text, size_t len, um_error *err)
{
    um_tokens ids = {0};
    um_status status = um_tokenizer_encode(tok, text, len, true, &ids, err);
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
    } else if (strcmp(verb, "encode") == 0 || strcmp(verb, "decode") == 0) {
        status = um_tokenizer_load(&tok, args->positional[1], &err);
        if (status == UM_OK)
            status = read_input(args, &text, &len, &err);
        if (status == UM_OK)
            status = verb[0] == 'e' ? encode(tok, text, len, &err) : decode(tok, text, &err);
    } else {
        return cli_usage_error(args->command, "found '%s'; train, encode or decode", verb);
    }
    um_tokenizer_free(tok);
    free(text);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

const cli_command cmd_tokenizer = {
    .name = "tokenizer",
    .usage = "train DIR FILE... | encode DIR [TEXT...] | decode DIR [ID...]",
    .summary = "Train a byte-level BPE tokenizer; turn text into ids and back",
    .about =
        "encode and decode read standard input when nothing follows the folder. Markers such as\n"
        "<|im_end|> in the text become their own ids. train takes --vocab.",
    .sections = "student.",
    .min_positional = 2,
    .max_positional = CLI_MAX_ARGS,
    .run = run,
};
