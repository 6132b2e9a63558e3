/* cmd_bench.c - mirrorer bench: how fast a shape runs here, beside what the machine can do */
#include <string.h>
#include <sys/resource.h>

#include "base/str.h"
#include "cli/common.h"

enum { SHAPE, WEIGHTS, PROMPTS, PROMPT_TOKENS, SHARED, SAMPLES, TOKENS, LETTERS, ROWS, KV };

static bool read_count(const cli_args *args, int which, int64_t low, int64_t high, int *out)
{
    const char *text = args->local[which];
    int64_t value;
    if (text == NULL)
        return true;
    if (um_parse_i64(text, &value) && value >= low && value <= high) {
        *out = (int)value;
        return true;
    }
    cli_usage_error(args->command, "%s: found '%s', need %lld to %lld",
                    args->command->local[which].flag, text, (long long)low, (long long)high);
    return false;
}

static bool read_shape(const cli_args *args, um_bench_options *o)
{
    const char *name = args->local[SHAPE] != NULL ? args->local[SHAPE] : "llama-3.2-1b";
    const char *names[16];
    size_t n = 0;
    if (um_bench_shape(&o->shape, name))
        return true;
    for (int i = 0; um_bench_shape_name(i) != NULL && n < 16; i++)
        names[n++] = um_bench_shape_name(i);
    const char *near = um_nearest(name, names, n);
    um_str list = UM_STR_INIT;
    for (size_t i = 0; i < n; i++)
        um_str_appendf(&list, "%s%s", i > 0 ? ", " : "", names[i]);
    cli_usage_error(args->command, "--shape: found '%s'%s%s%s; shapes are %s", name,
                    near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                    near != NULL ? "'?" : "", um_str_text(&list));
    um_str_dispose(&list);
    return false;
}

static bool read_options(const cli_args *args, um_bench_options *o)
{
    const char *what = args->positional[0];
    const bool prefill = strcmp(what, "prefill") == 0, score = strcmp(what, "score") == 0;
    int kv_mib = 0;
    if (!prefill && !score && strcmp(what, "generate") != 0) {
        cli_usage_error(args->command, "found '%s', need generate, prefill or score", what);
        return false;
    }
    *o = (um_bench_options){.weights = UM_I8,
                            .prompts = 8,
                            .prompt_tokens = 1024,
                            .shared_tokens = 600,
                            .samples = prefill ? 1 : 10,
                            .new_tokens = prefill ? 1 : 128,
                            .letters = score ? 5 : 0,
                            .seed = args->config.seed};
    if (args->local[WEIGHTS] != NULL && !um_dtype_parse(&o->weights, args->local[WEIGHTS])) {
        cli_usage_error(args->command, "--weights: found '%s', need int8, bf16 or f16",
                        args->local[WEIGHTS]);
        return false;
    }
    if (!read_shape(args, o) || !read_count(args, PROMPTS, 1, 4096, &o->prompts) ||
        !read_count(args, PROMPT_TOKENS, 8, 32000, &o->prompt_tokens) ||
        !read_count(args, SHARED, 0, 32000, &o->shared_tokens) ||
        !read_count(args, SAMPLES, 1, 1024, &o->samples) ||
        !read_count(args, TOKENS, 1, 16000, &o->new_tokens) ||
        !read_count(args, LETTERS, 0, 26, &o->letters) ||
        !read_count(args, ROWS, 1, 4096, &o->max_rows) ||
        !read_count(args, KV, 1, 1 << 20, &kv_mib))
        return false;
    o->kv_bytes = (uint64_t)kv_mib << 20;
    return true;
}

static double rate(double n, double s)
{
    return s > 0 ? n / s : 0;
}

static double peak_memory_mib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static void print_json(const um_bench_options *o, const um_bench_report *r, const char *backend,
                       double total)
{
    printf("{\"backend\":\"%s\",\"weights\":\"%s\",\"prompts\":%d,\"prompt_tokens\":%d,"
           "\"samples\":%d,\"new_tokens\":%d,\"first_s\":%.3f,\"complete_s\":%.3f,\"score_s\":%.3f,"
           "\"total_s\":%.3f,\"scenes_an_hour\":%.1f,\"computed_prompt_tokens\":%llu,"
           "\"reused_prompt_tokens\":%llu,\"generated_tokens\":%llu,\"passes\":%llu,"
           "\"read_gb_s\":%.2f,\"peak_gops\":%.1f,\"weight_mb\":%.1f,\"floor_s\":%.3f,"
           "\"of_floor\":%.3f,\"peak_rss_mib\":%.0f}\n",
           backend, um_dtype_name(o->weights), o->prompts, o->prompt_tokens, o->samples,
           o->new_tokens, r->first_s, r->complete_s, r->score_s, total,
           rate(3600.0 * o->prompts, total), (unsigned long long)r->complete.prompt_tokens,
           (unsigned long long)r->complete.reused_tokens,
           (unsigned long long)r->complete.generated_tokens, (unsigned long long)r->complete.passes,
           r->read_bytes_s * 1e-9, r->peak_ops_s * 1e-9, r->weight_bytes * 1e-6, r->floor_s,
           rate(r->floor_s, total), peak_memory_mib());
}

static void print_report(const um_bench_options *o, const um_bench_report *r, const char *backend,
                         int threads, double total)
{
    const um_engine_stats *c = &r->complete, *s = &r->score;
    const double decode_s = r->complete_s - r->first_s;
    const double decoded = (double)c->generated_tokens - (double)o->prompts * o->samples;
    printf("%s, %d thread%s, %s weights of %.0f MB\n", backend, threads, threads == 1 ? "" : "s",
           um_dtype_name(o->weights), r->weight_bytes * 1e-6);
    printf("machine    reads %.1f GB/s, multiplies %s at %.0f G operations a second\n",
           r->read_bytes_s * 1e-9, um_dtype_name(o->weights), r->peak_ops_s * 1e-9);
    printf("a token    %.2f G operations, of a prompt %.2f; a pass reads %.0f MB\n",
           r->token_ops * 1e-9, r->prompt_ops * 1e-9, r->weight_bytes * 1e-6);
    printf("prompts    %d of %d tokens, %d shared: %llu computed, %llu found again\n", o->prompts,
           o->prompt_tokens, o->shared_tokens, (unsigned long long)c->prompt_tokens,
           (unsigned long long)c->reused_tokens);
    printf("prefill    %8.2f s  %9.1f tok/s  %5.1f %% of the peak\n", r->first_s,
           rate((double)c->prompt_tokens, r->first_s),
           100 * rate((double)c->prompt_tokens * r->prompt_ops, r->first_s * r->peak_ops_s));
    if (decoded > 0)
        printf("decode     %8.2f s  %9.1f tok/s  %5.1f %% of the reading\n", decode_s,
               rate(decoded, decode_s),
               100 *
                   rate((double)(o->new_tokens - 1) * r->weight_bytes, decode_s * r->read_bytes_s));
    printf("passes     %8llu of %.1f rows on average; they read weights at %.1f GB/s\n",
           (unsigned long long)c->passes, rate((double)c->rows, (double)c->passes),
           rate((double)c->passes * r->weight_bytes, r->complete_s) * 1e-9);
    if (o->letters > 0)
        printf("letters    %8.2f s  %9.1f texts/s, %llu tokens computed, %llu found again\n",
               r->score_s, rate((double)o->prompts * o->samples, r->score_s),
               (unsigned long long)s->prompt_tokens, (unsigned long long)s->reused_tokens);
    printf("total      %8.2f s  %9.1f scenes/h; the floor is %.2f s: %.0f %% of it reached\n",
           total, rate(3600.0 * o->prompts, total), r->floor_s, 100 * rate(r->floor_s, total));
    printf("memory     %8.0f MiB at most; keys and values %.0f of %.0f MiB\n", peak_memory_mib(),
           (double)c->touched_pages * (double)c->page_bytes / 1048576,
           (double)c->pages * (double)c->page_bytes / 1048576);
}

static int run(cli_args *args)
{
    um_bench_options options;
    um_bench_report report;
    um_compute *compute = NULL;
    um_error err;
    if (!read_options(args, &options))
        return EXIT_USAGE;
    um_status status =
        um_compute_open(&compute, args->config.backend, (int)args->config.threads, &err);
    if (status == UM_OK)
        status = um_bench_run(&report, compute, &options, cli_monitor(args), &err);
    if (status == UM_OK) {
        const double total = report.complete_s + report.score_s;
        if (args->json)
            print_json(&options, &report, um_compute_name(compute), total);
        else
            print_report(&options, &report, um_compute_name(compute), um_compute_threads(compute),
                         total);
    }
    um_compute_close(compute);
    return status == UM_OK ? EXIT_OK : cli_fail(&err);
}

const cli_command cmd_bench = {
    .name = "bench",
    .usage = "generate | prefill | score",
    .summary = "How fast a shape of model runs here, beside what the machine can do",
    .about =
        "Random weights of a named shape do the work of this program: prompts that begin alike,\n"
        "several samples of each (generate), and the distribution over letters after each sample\n"
        "(score: the whole job). prefill is the prompts alone. The floor: each pass reads the\n"
        "weights once from memory and multiplies its rows at the machine's measured peak.",
    .sections = "",
    .local = {{"--shape", "NAME", "llama-3.2-1b, llama-3.2-3b, qwen2.5-0.5b, .. [llama-3.2-1b]"},
              {"--weights", "FORMAT", "int8, bf16 or f16 [int8]"},
              {"--prompts", "N", "scenes [8]"},
              {"--prompt-tokens", "N", "of each [1024]"},
              {"--shared", "N", "tokens with which all begin [600]"},
              {"--samples", "N", "of each prompt [10]"},
              {"--max-tokens", "N", "of each sample [128]"},
              {"--letters", "N", "to choose among; score [5]"},
              {"--rows", "N", "sequences decoded together [the engine's default]"},
              {"--kv-memory", "MIB", "for keys and values [the engine's default]"}},
    .min_positional = 1,
    .max_positional = 1,
    .run = run,
};
