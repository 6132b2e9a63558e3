/* model_quantize.c - mirrorer model quantize: weights packed once, and what that costs */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/str.h"
#include "cli/common.h"

#define MAX_TEXT_BYTES ((size_t)64 << 20)
#define WINDOW         256 /* tokens seen together; the first half of each only as context */

typedef struct measured {
    double bits, reference_bits; /* of the text's tokens */
    double divergence, most;     /* KL from the reference, bits: sum, and the largest */
    size_t tokens, agree;        /* with the same likeliest token */
} measured;

/* log2 of the sum of 2^(logits), and the likeliest token. */
static double log_sum(const float *logits, size_t v, size_t *best)
{
    double sum = 0;
    *best = 0;
    for (size_t i = 1; i < v; i++)
        *best = logits[i] > logits[*best] ? i : *best;
    for (size_t i = 0; i < v; i++)
        sum += exp((double)logits[i] - (double)logits[*best]);
    return (log(sum) + (double)logits[*best]) / M_LN2;
}

static void compare(measured *m, const float *got, const float *want, size_t v, int32_t next)
{
    size_t best, reference_best;
    const double z = log_sum(got, v, &best), y = log_sum(want, v, &reference_best);
    double kl = 0;
    for (size_t i = 0; i < v; i++) {
        const double q = (double)want[i] / M_LN2 - y;
        kl += exp2(q) * (q - ((double)got[i] / M_LN2 - z));
    }
    m->bits += z - (double)got[next] / M_LN2;
    m->reference_bits += y - (double)want[next] / M_LN2;
    m->divergence += kl;
    m->most = kl > m->most ? kl : m->most;
    m->agree += best == reference_best;
    m->tokens++;
}

static um_status measure_window(measured *m, const um_model *model, const um_model *reference,
                                um_compute *compute, const int32_t *ids, size_t n, size_t from,
                                float *logits, um_error *err)
{
    const size_t v = (size_t)um_model_get_config(model)->vocab;
    float *want = logits + WINDOW * v;
    um_status status = um_model_logits(model, compute, ids, n, logits, err);
    if (status == UM_OK)
        status = um_model_logits(reference, compute, ids, n, want, err);
    for (size_t i = from; i + 1 < n && status == UM_OK; i++)
        compare(m, logits + i * v, want + i * v, v, ids[i + 1]);
    return status;
}

/* Windows overlap by half, so that every token but the first ones has at least that much before. */
static um_status measure(measured *m, const um_model *model, const um_model *reference,
                         um_compute *compute, const um_tokens *ids, const um_monitor *monitor,
                         um_error *err)
{
    const um_model_config *config = um_model_get_config(model);
    const size_t longest = (size_t)config->max_positions < WINDOW ? (size_t)config->max_positions
                                                                  : WINDOW;
    float *logits = calloc(2 * WINDOW * (size_t)config->vocab, sizeof *logits);
    um_progress progress = {.stage = "measure", .unit = "tokens", .total = ids->len};
    um_status status = UM_OK;
    if (logits == NULL) {
        snprintf(err->text, sizeof err->text, "measure: out of memory");
        return err->status = UM_ERR_MEMORY;
    }
    for (size_t at = 0; at + 2 <= ids->len && status == UM_OK; at += longest / 2) {
        const size_t n = ids->len - at < longest ? ids->len - at : longest;
        const size_t from = at == 0 ? 0 : longest / 2 - 1;
        if (um_monitor_stopped(monitor)) {
            snprintf(err->text, sizeof err->text, "measure: stopped; the packed file is there");
            status = err->status = UM_ERR_INTERRUPTED;
            break;
        }
        if (from + 1 < n)
            status = measure_window(m, model, reference, compute, ids->ids + at, n, from, logits,
                                    err);
        progress.done = at + n;
        um_monitor_progress(monitor, &progress);
    }
    free(logits);
    return status;
}

static um_status measure_file(measured *m, const cli_args *args, const um_model *model,
                              um_compute *compute, const char *path, um_error *err)
{
    const char *dir = args->positional[1];
    um_model *reference = NULL;
    um_tokenizer *tok = NULL;
    um_tokens ids = {0};
    char *text = NULL;
    size_t len;
    um_status status = um_file_read(&text, &len, path, MAX_TEXT_BYTES, err);
    if (status == UM_OK)
        status = um_tokenizer_load(&tok, dir, err);
    if (status == UM_OK && um_tokenizer_bos(tok) >= 0)
        status = um_tokens_push(&ids, um_tokenizer_bos(tok), err);
    if (status == UM_OK)
        status = um_tokenizer_encode(tok, text, len, false, &ids, err);
    if (status == UM_OK && ids.len < 2) {
        snprintf(err->text, sizeof err->text, "%s: fewer than two tokens; nothing to measure", path);
        status = err->status = UM_ERR_INPUT;
    }
    if (status == UM_OK)
        status = um_model_open(&reference, dir, UM_BF16, compute, cli_monitor(args), err);
    if (status == UM_OK)
        status = measure(m, model, reference, compute, &ids, cli_monitor(args), err);
    um_model_free(reference);
    um_tokenizer_free(tok);
    um_tokens_dispose(&ids);
    free(text);
    return status;
}

static void print_measured(const cli_args *args, const measured *m, um_dtype dtype, uint64_t ms)
{
    const double n = (double)m->tokens;
    if (args->json) {
        printf("{\"weights\":\"%s\",\"seconds\":%.3f", um_dtype_name(dtype), (double)ms / 1000);
        if (m->tokens > 0)
            printf(",\"tokens\":%zu,\"perplexity\":%.6f,\"perplexity_bf16\":%.6f,"
                   "\"kl_bits\":%.8f,\"kl_bits_max\":%.8f,\"same_likeliest\":%.6f",
                   m->tokens, exp2(m->bits / n), exp2(m->reference_bits / n), m->divergence / n,
                   m->most, (double)m->agree / n);
        puts("}");
        return;
    }
    printf("%s/mirrorer-%s.packed, %.2f s\n", args->positional[1], um_dtype_name(dtype),
           (double)ms / 1000);
    if (m->tokens == 0)
        return;
    printf("%zu tokens: perplexity %.4f, with bf16 %.4f\n", m->tokens, exp2(m->bits / n),
           exp2(m->reference_bits / n));
    printf("from the distributions of bf16: %.6f bits on average, %.6f at most (KL); the same "
           "likeliest token %.2f %%\n",
           m->divergence / n, m->most, 100 * (double)m->agree / n);
}

int cli_model_quantize(cli_args *args, const char *weights, const char *text)
{
    const char *dir = args->positional[1];
    um_dtype dtype = UM_I8;
    um_compute *compute = NULL;
    um_model *model = NULL;
    measured m = {0};
    um_error err;
    if (weights != NULL && (!um_dtype_parse(&dtype, weights) || dtype == UM_F32))
        return cli_usage_error(args->command, "--weights: found '%s', need int8, bf16 or f16",
                               weights);
    const uint64_t begun = um_clock_ms();
    um_status status =
        um_compute_open(&compute, args->config.backend, (int)args->config.threads, &err);
    if (status == UM_OK)
        status = um_model_pack(dir, dtype, compute, cli_monitor(args), &err);
    const uint64_t ms = um_clock_ms() - begun;
    if (status == UM_OK && text != NULL)
        status = um_model_open(&model, dir, dtype, compute, cli_monitor(args), &err);
    if (status == UM_OK && text != NULL)
        status = measure_file(&m, args, model, compute, text, &err);
    if (status == UM_OK)
        print_measured(args, &m, dtype, ms);
    um_model_free(model);
    um_compute_close(compute);
    if (status == UM_ERR_INTERRUPTED)
        return EXIT_INTERRUPTED;
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}
