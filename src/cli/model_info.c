/* model_info.c - mirrorer model info: a model folder described, loadable or not. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "cli/common.h"

#define LORA_RANK 16
#define MIB       1048576.0
#define GIB       1073741824.0

/* Everything that is printed, in both forms. */
typedef struct info {
    const char *dir;
    um_model_report report;
    um_tokenizer *tok; /* NULL: see problems */
    um_str problems;   /* lines: why the folder cannot be used, or not for everything */
    size_t n_fatal;    /* how many of them keep it from being loaded */
    int train_tokens;
} info;

static uint64_t line_count(const char *text)
{
    uint64_t n = 0;
    for (const char *p = text; *p != '\0'; p++)
        n += *p == '\n';
    return n;
}

/* What an answering model can hold its weights in, and keys and values beside. */
static const struct width {
    const char *name;
    um_dtype dtype;
    int kv_bits;
} widths[] = {{"float32", UM_F32, 32},
              {"bfloat16", UM_BF16, 16},
              {"float16", UM_F16, 16},
              {"int8", UM_I8, 16}};
enum { N_WIDTHS = sizeof widths / sizeof widths[0] };

/* Keys and values of one token. */
static uint64_t kv_bytes(const um_model_config *c, int bits)
{
    return 2 * (uint64_t)c->layers * (uint64_t)c->kv_heads * (uint64_t)c->head_dim *
           (uint64_t)bits / 8;
}

static um_status look_at_tokenizer(info *i, const cli_args *args, um_error *err)
{
    int32_t letters[26];
    const um_config *c = &args->config;
    um_status status = um_tokenizer_load(&i->tok, i->dir, err);
    if (status == UM_OK)
        status = um_chat_choose(i->tok, c->chat.template_name, c->chat.date, err);
    if (status == UM_ERR_MEMORY)
        return status;
    if (status != UM_OK) {
        um_str_appendf(&i->problems, "%s\n", err->text);
        um_tokenizer_free(i->tok);
        i->tok = NULL;
    }
    if (i->tok != NULL && i->report.has_shape && um_tokenizer_size(i->tok) > i->report.config.vocab)
        um_str_appendf(&i->problems, "the tokenizer has %d ids, the model %d rows of embedding\n",
                       um_tokenizer_size(i->tok), i->report.config.vocab);
    i->n_fatal = line_count(um_str_text(&i->problems));
    if (i->tok == NULL)
        return um_str_status(&i->problems, err);
    if (um_chat_detect(i->tok) == UM_CHAT_UNKNOWN)
        um_str_append(&i->problems, "the chat template is none of plain, chatml, qwen2.5, llama3, "
                                    "llama3.1: give --template where it is used\n");
    if (um_letter_tokens(i->tok, letters, err) != UM_OK)
        um_str_appendf(&i->problems, "cannot be trained or scored on lists: %s\n", err->text);
    return um_str_status(&i->problems, err);
}

static const char *rope_name(um_rope_scaling scaling)
{
    return scaling == UM_ROPE_LLAMA3 ? "llama3" : scaling == UM_ROPE_LINEAR ? "linear" : "none";
}

/* People ---------------------------------------------------------------------------------------
 */

static void print_bytes(uint64_t bytes)
{
    if (bytes == UINT64_MAX)
        printf("more than can be addressed");
    else if ((double)bytes >= GIB)
        printf("%.2f GiB", (double)bytes / GIB);
    else
        printf("%.1f MiB", (double)bytes / MIB);
}

static void print_shape(const um_model_config *c)
{
    printf("  layers %d, width %d, heads %d of %d (%d for keys and values), feed-forward %d\n",
           c->layers, c->hidden, c->heads, c->head_dim, c->kv_heads, c->ffn);
    printf("  vocabulary %d, %s embeddings, context %d, RoPE theta %g", c->vocab,
           c->tied ? "tied" : "untied", c->max_positions, c->rope_theta);
    if (c->rope_scaling != UM_ROPE_NONE)
        printf(", %s scaling by %g", rope_name(c->rope_scaling), c->rope_factor);
    if (c->rope_scaling == UM_ROPE_LLAMA3)
        printf(" (%g to %g of %.0f)", c->rope_low, c->rope_high, c->rope_original);
    printf("\n");
}

static void print_training(const info *i, int rank)
{
    um_train_bytes t;
    um_train_estimate(&t, &i->report.config, i->train_tokens, rank);
    if (rank == 0)
        printf("    all weights     ");
    else
        printf("    LoRA of rank %d ", rank);
    print_bytes(4 * i->report.parameters);
    printf(" + ");
    print_bytes(t.state);
    printf(" + ");
    print_bytes(t.activations_least);
    printf(" to ");
    print_bytes(t.activations);
    printf("\n");
}

static void print_held(const info *i)
{
    printf("  memory to write: weights, and keys and values of one token\n");
    for (size_t k = 0; k < N_WIDTHS; k++) {
        printf("    %-15s ", widths[k].name);
        print_bytes(um_model_held_bytes(&i->report.config, widths[k].dtype));
        printf(", %.1f KiB\n", (double)kv_bytes(&i->report.config, widths[k].kv_bits) / 1024);
    }
    printf("    (float32: as loaded, and matrices in the kernels' order, too; the others: as packed "
           "for --weights)\n");
}

static void print_memory(const info *i)
{
    if (i->report.sound)
        print_held(i);
    printf("  memory to train: weights, gradient and moments, activations of %d tokens\n",
           i->train_tokens);
    print_training(i, 0);
    print_training(i, LORA_RANK);
    printf("    (from all layers but one computed again to none)\n");
}

static void print_people(const info *i)
{
    const um_model_report *r = &i->report;
    printf("%s: %s", i->dir, r->architecture[0] != '\0' ? r->architecture : "(no architecture)");
    if (r->model_type[0] != '\0')
        printf(" (%s)", r->model_type);
    printf(", %llu parameters\n", (unsigned long long)r->parameters);
    if (r->has_shape)
        print_shape(&r->config);
    if (r->files > 0) {
        printf("  weights: %d file%s, %s, ", r->files, r->files == 1 ? "" : "s", r->dtypes);
        print_bytes(r->file_bytes);
        printf("\n");
    }
    if (i->tok != NULL)
        printf("  tokenizer: %s, %d tokens; chat form %s\n", um_tokenizer_kind(i->tok),
               um_tokenizer_size(i->tok), um_chat_name(um_chat_detect(i->tok)));
    if (r->has_shape)
        print_memory(i);
    printf(i->n_fatal > 0 ? "  cannot be loaded:\n" : "  can be loaded\n");
    for (const char *p = um_str_text(&i->problems); *p != '\0';) {
        size_t n = strcspn(p, "\n");
        printf("    - %.*s\n", (int)n, p);
        p += n + (p[n] == '\n');
    }
}

/* Programs -------------------------------------------------------------------------------------
 */

static json_t *bytes_json(uint64_t bytes)
{
    return bytes > INT64_MAX ? json_null() : json_integer((json_int_t)bytes);
}

static json_t *training_json(const info *i, int rank)
{
    um_train_bytes t;
    um_train_estimate(&t, &i->report.config, i->train_tokens, rank);
    return json_pack("{s:i, s:i, s:I, s:o, s:o, s:o}", "lora_rank", rank, "tokens", i->train_tokens,
                     "weights", (json_int_t)(4 * i->report.parameters), "state",
                     bytes_json(t.state), "activations", bytes_json(t.activations),
                     "activations_least", bytes_json(t.activations_least));
}

static void put_shape(json_t *out, const info *i)
{
    const um_model_config *c = &i->report.config;
    json_t *scaling =
        c->rope_scaling == UM_ROPE_NONE
            ? json_null()
            : json_pack("{s:s, s:f}", "type", rope_name(c->rope_scaling), "factor", c->rope_factor);
    if (c->rope_scaling == UM_ROPE_LLAMA3) {
        json_object_set_new(scaling, "low", json_real(c->rope_low));
        json_object_set_new(scaling, "high", json_real(c->rope_high));
        json_object_set_new(scaling, "original", json_real(c->rope_original));
    }
    json_t *shape = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:o, s:b, s:b}",
                              "vocab", c->vocab, "hidden", c->hidden, "layers", c->layers, "heads",
                              c->heads, "kv_heads", c->kv_heads, "head_dim", c->head_dim, "ffn",
                              c->ffn, "context", c->max_positions, "rope_theta", c->rope_theta,
                              "rope_scaling", scaling, "tied", c->tied, "qkv_bias", c->qkv_bias);
    json_object_update(out, shape);
    json_decref(shape);
    json_t *inference = json_object();
    for (size_t k = 0; k < N_WIDTHS && i->report.sound; k++)
        json_object_set_new(inference, widths[k].name,
                            json_pack("{s:o, s:I}", "weights",
                                      bytes_json(um_model_held_bytes(c, widths[k].dtype)),
                                      "kv_token", (json_int_t)kv_bytes(c, widths[k].kv_bits)));
    json_object_set_new(out, "inference", inference);
    json_object_set_new(out, "training",
                        json_pack("[o, o]", training_json(i, 0), training_json(i, LORA_RANK)));
}

static um_status print_programs(const info *i, um_error *err)
{
    const um_model_report *r = &i->report;
    um_str text = UM_STR_INIT;
    json_t *problems = json_array();
    json_t *out =
        json_pack("{s:s, s:s, s:I, s:i, s:I, s:s}", "architecture", r->architecture, "model_type",
                  r->model_type, "parameters", (json_int_t)r->parameters, "files", r->files,
                  "file_bytes", (json_int_t)r->file_bytes, "dtypes", r->dtypes);
    um_status status = UM_ERR_MEMORY;
    snprintf(err->text, sizeof err->text, "model info: out of memory");
    err->status = status;
    if (out == NULL || problems == NULL)
        goto done;
    if (r->has_shape)
        put_shape(out, i);
    if (i->tok != NULL)
        json_object_set_new(out, "tokenizer",
                            json_pack("{s:s, s:i, s:s}", "kind", um_tokenizer_kind(i->tok),
                                      "tokens", um_tokenizer_size(i->tok), "chat",
                                      um_chat_name(um_chat_detect(i->tok))));
    for (const char *p = um_str_text(&i->problems); *p != '\0';) {
        size_t n = strcspn(p, "\n");
        json_array_append_new(problems, json_stringn(p, n));
        p += n + (p[n] == '\n');
    }
    json_object_set_new(out, "loads", json_boolean(i->n_fatal == 0));
    json_object_set(out, "problems", problems);
    um_json_dump(&text, out);
    status = um_str_status(&text, err);
    if (status == UM_OK)
        printf("%s\n", text.data);
done:
    json_decref(problems);
    json_decref(out);
    um_str_dispose(&text);
    return status;
}

int cli_model_info(cli_args *args)
{
    info i = {.dir = args->positional[1], .train_tokens = (int)args->config.sft.pack_tokens};
    um_error err;
    um_status status = um_model_inspect(&i.report, i.dir, &err);
    if (status == UM_OK) {
        um_str_append(&i.problems, i.report.problems);
        status = look_at_tokenizer(&i, args, &err);
    }
    if (status == UM_OK && args->json)
        status = print_programs(&i, &err);
    else if (status == UM_OK)
        print_people(&i);
    um_tokenizer_free(i.tok);
    um_str_dispose(&i.problems);
    um_model_report_dispose(&i.report);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}
