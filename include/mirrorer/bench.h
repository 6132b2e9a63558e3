/*
 * bench.h - how fast a model of a given shape runs here, beside what the machine can do.
 *
 * The job is the one of this program: prompts that begin alike, several samples of each, then the
 * distribution over letters after every sample. Weights are random, the vocabulary is made up:
 * speed depends on shapes alone.
 */
#ifndef MIRRORER_BENCH_H
#define MIRRORER_BENCH_H

#include "mirrorer/model.h"
#include "mirrorer/monitor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Shapes by name: "llama-3.2-1b", "qwen2.5-0.5b", ... False: no such name. */
bool um_bench_shape(um_model_config *out, const char *name);
/* The i-th name, NULL after the last. Static storage. */
const char *um_bench_shape_name(int i);

typedef struct um_bench_options {
    um_model_config shape;
    um_dtype weights;
    int prompts, prompt_tokens; /* tokens: at least shared_tokens + 8 */
    int shared_tokens;          /* with which all prompts begin */
    int samples, new_tokens;    /* of each prompt; 1 new token: prefill alone */
    int letters;                /* scored after each sample; 0: none */
    int max_rows;               /* sequences decoded together; 0 = default */
    uint64_t kv_bytes;          /* 0 = default */
    uint64_t seed;
} um_bench_options;

typedef struct um_bench_report {
    double first_s;    /* until all prompts have their first token */
    double complete_s; /* until all samples are written */
    double score_s;
    um_engine_stats complete, score; /* what was done in either */
    /* The machine, measured before: reading memory, and the dot products of this format. */
    double read_bytes_s, peak_ops_s;
    double weight_bytes; /* read by a pass over the layers and the head */
    double token_ops;    /* multiply-adds count twice: of a generated token, attention apart */
    double prompt_ops;   /* of a prompt's token: without the head */
    /* The least time: each pass reads the weights once and computes its rows at the peak. */
    double floor_s;
} um_bench_report;

/* Runs the job once. */
um_status um_bench_run(um_bench_report *out, um_compute *compute, const um_bench_options *options,
                       const um_monitor *monitor, um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
