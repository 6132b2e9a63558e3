/* bench.c - see mirrorer/bench.h. */
#include "mirrorer/bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "model/params.h"
#include "model/random.h"

/* Shapes ------------------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    um_model_config shape;
} shapes[] = {
#define SHAPE(architecture, V, C, L, H, G, D, F, theta, tie, bias)                                 \
    {                                                                                              \
        .arch = architecture, .vocab = V, .hidden = C, .layers = L, .heads = H, .kv_heads = G,     \
        .head_dim = D, .ffn = F, .max_positions = 32768, .rms_eps = 1e-5f, .rope_theta = theta,    \
        .tied = tie, .qkv_bias = bias, .bos = -1, .eos = -1                                        \
    }
    {"llama-3.2-1b", SHAPE(UM_ARCH_LLAMA, 128256, 2048, 16, 32, 8, 64, 8192, 5e5, true, false)},
    {"llama-3.2-3b", SHAPE(UM_ARCH_LLAMA, 128256, 3072, 28, 24, 8, 128, 8192, 5e5, true, false)},
    {"qwen2.5-0.5b", SHAPE(UM_ARCH_QWEN2, 151936, 896, 24, 14, 2, 64, 4864, 1e6, true, true)},
    {"qwen2.5-1.5b", SHAPE(UM_ARCH_QWEN2, 151936, 1536, 28, 12, 2, 128, 8960, 1e6, true, true)},
    {"qwen2.5-3b", SHAPE(UM_ARCH_QWEN2, 151936, 2048, 36, 16, 2, 128, 11008, 1e6, true, true)},
    {"llama-135m", SHAPE(UM_ARCH_LLAMA, 49152, 576, 30, 9, 3, 64, 1536, 1e4, true, false)},
};

const char *um_bench_shape_name(int i)
{
    return i >= 0 && (size_t)i < sizeof shapes / sizeof shapes[0] ? shapes[i].name : NULL;
}

bool um_bench_shape(um_model_config *out, const char *name)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcmp(shapes[i].name, name) == 0) {
            *out = shapes[i].shape;
            return true;
        }
    }
    return false;
}

/* Vocabulary --------------------------------------------------------------------------------------
 */

/*
 * Printable characters, what "\nBehavior: [" is made of (four tokens, as in the vocabularies of
 * Llama 3 and Qwen 2.5), and words of small letters, each a merge of a shorter one and a letter: a
 * space and the words a, b, .. z, aa, ab, .. in order until there are `size` tokens. What such
 * tokens spell is encoded to the same tokens again.
 */
static void write_vocabulary(um_str *out, int size)
{
    int id = 0;
    um_str merges = UM_STR_INIT;
    um_str_append(out, "{\"added_tokens\":[],\"normalizer\":null,\"post_processor\":null,"
                       "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                       "\"trim_offsets\":true,\"use_regex\":true},\"decoder\":{\"type\":"
                       "\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (char c = '!'; c <= '~'; c++)
        um_str_appendf(out, "%s\"%s%c\":%d", id > 0 ? "," : "", c == '"' || c == '\\' ? "\\" : "",
                       c, id), id++;
    um_str_appendf(out, ",\"\\u0120\":%d,\"\\u010a\":%d", id, id + 1);
    id += 2;
    static const char behavior[] = "Behavior";
    for (int n = 2; n < (int)sizeof behavior; n++, id++) {
        um_str_appendf(out, ",\"%.*s\":%d", n, behavior, id);
        um_str_appendf(&merges, "\"%.*s %c\",", n - 1, behavior, behavior[n - 1]);
    }
    um_str_appendf(out, ",\"\\u0120[\":%d", id++);
    um_str_append(&merges, "\"\\u0120 [\"");
    for (uint64_t n = 1; id < size; n++, id++) {
        char word[16];
        size_t at = sizeof word;
        word[--at] = '\0';
        for (uint64_t rest = n; rest > 0; rest = (rest - 1) / 26)
            word[--at] = (char)('a' + (rest - 1) % 26);
        const int len = (int)strlen(word + at);
        um_str_appendf(out, ",\"\\u0120%s\":%d", word + at, id);
        um_str_appendf(&merges, ",\"\\u0120%.*s %s\"", len - 1, word + at, word + at + len - 1);
    }
    um_str_appendf(out, "},\"merges\":[%s]}}", um_str_text(&merges));
    um_str_dispose(&merges);
}

static um_status make_tokenizer(um_tokenizer **out, int size, um_error *err)
{
    char dir[] = "/tmp/mirrorer-bench-XXXXXX";
    char *path = NULL;
    um_str text = UM_STR_INIT;
    if (mkdtemp(dir) == NULL)
        return um_fail(err, UM_ERR_IO, "cannot make a folder in /tmp for the vocabulary");
    write_vocabulary(&text, size);
    um_status status = um_str_status(&text, err);
    if (status == UM_OK)
        status = um_path_join(&path, dir, "tokenizer.json", err);
    if (status == UM_OK)
        status = um_file_write(path, um_str_text(&text), strlen(um_str_text(&text)), err);
    if (status == UM_OK)
        status = um_tokenizer_load(out, dir, err);
    if (path != NULL)
        unlink(path);
    rmdir(dir);
    free(path);
    um_str_dispose(&text);
    return status;
}

/* The machine -------------------------------------------------------------------------------------
 */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct read_job {
    const um_matrices *weights;
    uint64_t sums[64];
} read_job;

static void read_layers(void *ctx, size_t begin, size_t end, int thread)
{
    read_job *job = ctx;
    uint64_t sum = 0;
    for (size_t l = begin; l < end; l++) {
        const um_buf *buf = &job->weights->layers[l].gate_up.buf;
        const uint64_t *words = buf->data;
        for (size_t i = 0; i < buf->bytes / sizeof *words; i += 8) {
            __builtin_prefetch(words + i + 512);
            sum += words[i] ^ words[i + 4];
        }
    }
    job->sums[thread % 64] += sum;
}

/* Bytes a second of reading the widest matrices, all threads; the best of three. */
static double measure_reading(const um_matrices *weights, um_pool *pool)
{
    read_job job = {.weights = weights};
    double bytes = 0, best = 0;
    for (int l = 0; l < weights->n_layers; l++)
        bytes += (double)weights->layers[l].gate_up.buf.bytes;
    for (int i = 0; i < 3; i++) {
        const double begun = seconds();
        um_pool_run(pool, (size_t)weights->n_layers, 1, read_layers, &job);
        best = fmax(best, bytes / (seconds() - begun));
    }
    return best;
}

static double measure_peak(um_backend *be, um_dtype dtype)
{
    double best = 0;
    int repeats = 1;
    for (int i = 0; i < 12; i++) {
        const double begun = seconds();
        const double ops = be->ops->dot_ops(be, dtype, repeats), took = seconds() - begun;
        best = fmax(best, ops / took);
        if (took < 0.05)
            repeats *= 4;
    }
    return best;
}

/* The job -----------------------------------------------------------------------------------------
 */

typedef struct bench {
    const um_bench_options *options;
    um_model model;
    um_matrices weights;
    um_tokenizer *tok;
    um_responder *responder;
    char **prompts; /* [prompts] */
    um_message *messages;
    um_prompt *asked;
    char **texts; /* [prompts * samples], what is scored */
    double begun, first_at;
    size_t n_first;
    unsigned char *seen; /* [prompts] has its first token */
} bench;

/* Digits are a token each. A prompt of n of them has a few tokens more. */
static um_status make_prompts(bench *b, um_error *err)
{
    const um_bench_options *o = b->options;
    const size_t n = (size_t)o->prompts, most = (size_t)o->prompt_tokens;
    b->prompts = um_calloc(n, sizeof *b->prompts);
    b->messages = um_calloc(n, sizeof *b->messages);
    b->asked = um_calloc(n, sizeof *b->asked);
    b->seen = um_calloc(n, 1);
    b->texts = um_calloc(n * (size_t)o->samples, sizeof *b->texts);
    if (b->prompts == NULL || b->messages == NULL || b->asked == NULL || b->texts == NULL ||
        b->seen == NULL)
        return um_fail_memory(err, "bench");
    for (size_t i = 0; i < n; i++) {
        uint32_t tokens = 0, limit = 0;
        b->prompts[i] = um_calloc(most + 1, 1);
        if (b->prompts[i] == NULL)
            return um_fail_memory(err, "bench");
        for (size_t j = 0; j < most; j++) {
            um_rng rng;
            um_rng_init(&rng, o->seed, UM_RNG_TEST, j < (size_t)o->shared_tokens ? 0 : i + 1, j, 0);
            b->prompts[i][j] = (char)('0' + (int)(um_rng_uniform(&rng) * 10));
        }
        b->messages[i] = (um_message){"user", b->prompts[i]};
        b->asked[i] = (um_prompt){.key = i,
                                  .messages = &b->messages[i],
                                  .n_messages = 1,
                                  .k = o->letters > 0 ? (uint32_t)o->letters : 1};
        um_status status =
            b->responder->ops->measure(b->responder, &b->asked[i], NULL, &tokens, &limit, err);
        if (status != UM_OK)
            return status;
        if (tokens > most)
            b->prompts[i][most - (tokens - most)] = '\0';
    }
    return UM_OK;
}

static um_status on_completion(void *context, const um_completion *c, um_error *err)
{
    bench *b = context;
    um_str text = UM_STR_INIT;
    um_str_appendf(&text, "%s\nBehavior: [", c->text);
    um_status status =
        um_str_take(&text, &b->texts[c->prompt * (size_t)b->options->samples + c->sample], err);
    um_str_dispose(&text);
    return status;
}

static um_status on_text(void *context, size_t prompt, uint32_t sample, const char *text,
                         um_error *err)
{
    bench *b = context;
    (void)sample;
    (void)text;
    (void)err;
    if (!b->seen[prompt]) {
        b->seen[prompt] = 1;
        if (++b->n_first == (size_t)b->options->prompts)
            b->first_at = seconds();
    }
    return UM_OK;
}

static um_status on_letters(void *context, size_t query, size_t text, const double *p,
                            um_error *err)
{
    (void)context;
    (void)query;
    (void)text;
    if (isfinite(p[0]))
        return UM_OK;
    return um_fail(err, UM_ERR_NUMERIC, "bench: a distribution that is none");
}

static um_status score(bench *b, const um_monitor *monitor, um_error *err)
{
    const um_bench_options *o = b->options;
    um_letter_query *queries = um_calloc((size_t)o->prompts, sizeof *queries);
    if (queries == NULL)
        return um_fail_memory(err, "bench");
    for (int i = 0; i < o->prompts; i++)
        queries[i] = (um_letter_query){&b->asked[i],
                                       (const char *const *)b->texts + (size_t)i * (size_t)o->samples,
                                       (size_t)o->samples};
    um_status status = b->responder->ops->score_letters(
        b->responder, queries, (size_t)o->prompts, on_letters, b, monitor, err);
    free(queries);
    return status;
}

/* Weights read by one pass, operations of a row. */
static void count_work(um_bench_report *r, const um_matrices *w)
{
    double layers = 0;
    for (int l = 0; l < w->n_layers; l++) {
        const um_packed *parts[] = {&w->layers[l].qkv, &w->layers[l].o, &w->layers[l].gate_up,
                                    &w->layers[l].down};
        for (int i = 0; i < 4; i++) {
            r->weight_bytes += (double)parts[i]->buf.bytes;
            layers += 2.0 * parts[i]->n * parts[i]->k;
        }
    }
    r->weight_bytes += (double)w->head.buf.bytes;
    r->prompt_ops = layers;
    r->token_ops = layers + 2.0 * w->head.n * w->head.k;
}

/* Each pass reads all weights and computes its rows; whichever takes longer. */
static double floor_of(const um_bench_report *r, const um_engine_stats *s)
{
    const double read = (double)s->passes * r->weight_bytes / r->read_bytes_s;
    const double ops = (double)s->prompt_tokens * r->prompt_ops +
                       (double)s->generated_tokens * r->token_ops;
    return fmax(read, ops / r->peak_ops_s);
}

static um_status run_job(bench *b, um_bench_report *r, const um_monitor *monitor, um_error *err)
{
    const um_bench_options *o = b->options;
    const um_sampling sampling = {
        .seed = o->seed, .temperature = 1.0f, .top_p = 0.9f, .max_tokens = o->new_tokens};
    b->begun = seconds();
    um_status status = b->responder->ops->complete(b->responder, b->asked, (size_t)o->prompts, 0,
                                                   (uint32_t)o->samples, &sampling, NULL, 0,
                                                   on_completion, b, monitor, err);
    const double written = seconds();
    if (status != UM_OK)
        return status;
    um_engine_get_stats(b->responder, &r->complete);
    r->complete_s = written - b->begun;
    r->first_s = (b->first_at > 0 ? b->first_at : written) - b->begun;
    if (o->letters > 0) {
        status = score(b, monitor, err);
        um_engine_get_stats(b->responder, &r->score);
        r->score_s = seconds() - written;
        r->score.prompt_tokens -= r->complete.prompt_tokens;
        r->score.reused_tokens -= r->complete.reused_tokens;
        r->score.generated_tokens -= r->complete.generated_tokens;
        r->score.passes -= r->complete.passes;
        r->score.rows -= r->complete.rows;
    }
    r->floor_s = floor_of(r, &r->complete) + floor_of(r, &r->score);
    return status;
}

static um_status check(const um_bench_options *o, um_error *err)
{
    um_status status = um_model_config_check(&o->shape, err);
    if (status != UM_OK)
        return status;
    if (o->weights == UM_F32)
        return um_fail(err, UM_ERR_UNSUPPORTED, "bench: weights are bf16, f16 or int8");
    if (o->prompts < 1 || o->samples < 1 || o->new_tokens < 1 || o->letters < 0 || o->letters > 26 ||
        o->shared_tokens < 0 || o->prompt_tokens < o->shared_tokens + 8)
        return um_fail(err, UM_ERR_INPUT,
                       "bench: prompts, samples and new tokens are 1 or more, letters 0 to 26, and "
                       "a prompt has at least 8 tokens more than are shared");
    return UM_OK;
}

um_status um_bench_run(um_bench_report *out, um_compute *compute, const um_bench_options *options,
                       const um_monitor *monitor, um_error *err)
{
    bench b = {.options = options, .model.config = options->shape};
    um_bench_report r = {0};
    um_engine_options engine = {.max_rows = options->max_rows,
                                .kv_bytes = options->kv_bytes,
                                .format = UM_CHAT_PLAIN,
                                .format_given = true,
                                .on_text = on_text,
                                .text_context = &b};
    um_status status = check(options, err);
    if (status == UM_OK)
        status = make_tokenizer(&b.tok, options->shape.vocab, err);
    if (status == UM_OK)
        status = um_matrices_random(&b.weights, compute->backend, &options->shape, options->weights,
                                    options->seed, err);
    b.model.packed = &b.weights;
    if (status == UM_OK)
        status = um_engine_open(&b.responder, &b.model, b.tok, compute, "bench", &engine, err);
    if (status == UM_OK)
        status = make_prompts(&b, err);
    if (status == UM_OK) {
        count_work(&r, &b.weights);
        r.read_bytes_s = measure_reading(&b.weights, compute->pool);
        r.peak_ops_s = measure_peak(compute->backend, options->weights);
        status = run_job(&b, &r, monitor, err);
    }
    um_responder_free(b.responder);
    um_matrices_dispose(&b.weights, compute->backend);
    um_tokenizer_free(b.tok);
    for (int i = 0; b.prompts != NULL && i < options->prompts; i++)
        free(b.prompts[i]);
    for (int i = 0; b.texts != NULL && i < options->prompts * options->samples; i++)
        free(b.texts[i]);
    free(b.prompts);
    free(b.messages);
    free(b.asked);
    free(b.seen);
    free(b.texts);
    if (status == UM_OK)
        *out = r;
    return status;
}
