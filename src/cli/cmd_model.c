/* cmd_model.c - mirrorer model init, info, quantize, logits, merge */
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "cli/common.h"
#include "mirrorer/lora.h"

static int model_init(cli_args *args)
{
    const um_config *c = &args->config;
    um_tokenizer *tok = NULL;
    um_model *model = NULL;
    um_error err;
    um_model_config shape;
    um_status status = UM_OK;

    um_config_student_shape(c, (int)c->student.vocab, -1, &shape);

    if (args->local[0] != NULL)
        status = um_tokenizer_load(&tok, args->local[0], &err);
    if (status == UM_OK && tok != NULL)
        status = um_chat_choose(tok, c->chat.template_name, c->chat.date, &err);
    if (status == UM_OK && tok != NULL) {
        shape.vocab = um_tokenizer_size(tok);
        shape.eos = um_chat_end_of_turn(tok, um_chat_detect(tok));
    }
    if (status == UM_OK)
        status = um_model_config_check(&shape, &err);
    if (status == UM_OK)
        status = um_model_init(&model, &shape, (float)c->student.init_std,
                               (float)c->student.embedding_std, c->seed, &err);
    if (status == UM_OK)
        status = um_model_save(model, tok, args->positional[1], &err);
    if (status == UM_OK)
        cli_print_done(args, "init", args->positional[1]);
    um_model_free(model);
    um_tokenizer_free(tok);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

/* Prints [n, V] logits of a sequence of ids as JSON: what other programs check agreement with. */
static int model_logits(cli_args *args)
{
    um_model *model = NULL;
    um_compute *compute = NULL;
    um_error err;
    int32_t ids[CLI_MAX_ARGS];
    size_t n = (size_t)args->n_positional - 2;
    float *logits = NULL;
    um_status status = um_model_load(&model, args->positional[1], &err);

    if (status == UM_OK)
        status = um_compute_open(&compute, args->config.backend, (int)args->config.threads, &err);
    size_t v = status == UM_OK ? (size_t)um_model_get_config(model)->vocab : 0;
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        int64_t id;
        if (!um_parse_i64(args->positional[2 + i], &id) || id < 0 || (size_t)id >= v) {
            status = err.status = UM_ERR_INPUT;
            snprintf(err.text, sizeof err.text, "logits: found '%.40s'; ids are 0 to %zu",
                     args->positional[2 + i], v - 1);
        }
        ids[i] = (int32_t)id;
    }
    if (status == UM_OK && (logits = calloc(n * v, sizeof *logits)) == NULL) {
        status = err.status = UM_ERR_MEMORY;
        snprintf(err.text, sizeof err.text, "logits: out of memory");
    }
    if (status == UM_OK)
        status = um_model_logits(model, compute, ids, n, logits, &err);
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        for (size_t j = 0; j < v; j++)
            printf("%s%.9g", j > 0 ? "," : i > 0 ? ",[" : "[[", (double)logits[i * v + j]);
        printf(i + 1 < n ? "]" : "]]\n");
    }
    free(logits);
    um_compute_close(compute);
    um_model_free(model);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

/* model merge BASE ADAPTER OUT: the adapter added to the model's matrices. */
static int model_merge(cli_args *args)
{
    um_model *model = NULL;
    um_lora *lora = NULL;
    um_tokenizer *tok = NULL;
    um_error err;
    um_status status = um_model_load(&model, args->positional[1], &err);
    if (status == UM_OK)
        status = um_tokenizer_load(&tok, args->positional[1], &err);
    if (status == UM_OK)
        status = um_lora_load(&lora, um_model_get_config(model), args->positional[2], &err);
    if (status == UM_OK)
        status = um_lora_merge(model, lora, &err);
    if (status == UM_OK)
        status = um_model_save(model, tok, args->positional[3], &err);
    if (status == UM_OK)
        cli_print_done(args, "merge", args->positional[3]);
    um_lora_free(lora);
    um_tokenizer_free(tok);
    um_model_free(model);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

static int run(cli_args *args)
{
    if (strcmp(args->positional[0], "logits") == 0)
        return args->n_positional > 2 ? model_logits(args)
                                      : cli_usage_error(args->command, "logits needs token ids");
    if (strcmp(args->positional[0], "merge") == 0)
        return args->n_positional == 4
                   ? model_merge(args)
                   : cli_usage_error(args->command, "merge needs model, adapter and new folder");
    if (args->n_positional > 2)
        return cli_usage_error(args->command, "too many arguments");
    if (strcmp(args->positional[0], "init") == 0)
        return model_init(args);
    if (strcmp(args->positional[0], "info") == 0)
        return cli_model_info(args);
    if (strcmp(args->positional[0], "quantize") == 0)
        return cli_model_quantize(args, args->local[1], args->local[2]);
    return cli_usage_error(args->command, "found '%s'; init, info, quantize, logits or merge",
                           args->positional[0]);
}

const cli_command cmd_model = {
    .name = "model",
    .usage = "init DIR [--tokenizer DIR] [shape options] | info DIR | logits DIR ID... |\n"
             "                      quantize DIR [--weights FORMAT] [--measure FILE] |\n"
             "                      merge DIR ADAPTER OUT",
    .summary = "Make a small Llama with random weights; describe a model folder; merge an adapter",
    .about = "Folders are in Hugging Face layout: config.json, model.safetensors, "
             "generation_config.json,\n"
             "tokenizer.json. transformers loads what init writes. logits prints the logits after "
             "each id.\n"
             "quantize packs the weights once, in DIR/mirrorer-FORMAT.packed, from where `generate\n"
             "--weights` maps them; --measure says what the format changes on a text: perplexity, and\n"
             "how far the distributions of the next token are from those of bf16.\n"
             "merge adds an adapter (LoRA, in PEFT's layout) to a model's matrices.",
    .local = {{"--tokenizer", "DIR", "folder of the tokenizer to put beside the weights"},
              {"--weights", "FORMAT", "quantize: int8, bf16 or f16 [int8]"},
              {"--measure", "FILE", "quantize: a text to measure the loss of accuracy on"}},
    .sections = "student. chat.",
    .min_positional = 2,
    .max_positional = CLI_MAX_ARGS,
    .run = run,
};
