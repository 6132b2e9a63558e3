/*
 * config.h - every option of every stage, in one table.
 *
 * The table gives the command line, the YAML file of `mirrorer run`, --print-config, the manual and
 * the fingerprints of stages. Keys are "section.name"; in YAML a section is a mapping.
 *
 * Values come, later over earlier, from: the table (published hyper-parameters for 3B models), the
 * built-in profile "embedded" when no student is given (sizes and rates for a model of well under a
 * million parameters), what the workspace was made with, a YAML file, the command line.
 */
#ifndef MIRRORER_CONFIG_H
#define MIRRORER_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/choice.h"
#include "mirrorer/dataset.h"
#include "mirrorer/distill.h"
#include "mirrorer/model.h"
#include "mirrorer/scene.h"
#include "mirrorer/train.h"
#include "mirrorer/world.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UM_CONFIG_TEXT 512

/* Hyper-parameters that all four trainings share. */
typedef struct um_train_config {
    double lr, weight_decay, max_grad_norm;
    int64_t epochs, warmup_steps, batch_rows, max_tokens, pack_tokens, checkpoint_every;
    double holdout_share;
    int64_t eval_every, patience;
    char keep[8];       /* "last" or "best" */
    char precision[16]; /* "float32" or "bfloat16" */
    int64_t lora_rank;  /* 0: all weights are trained */
    double lora_alpha;
    char lora_targets[64];
} um_train_config;

typedef struct um_config {
    uint64_t seed;
    int64_t threads;
    char backend[32];
    struct {
        char adapter[32], name[64];
        int64_t max_bad;
        um_ingest_filters filters;
        char mapping[UM_CONFIG_TEXT];
    } ingest;
    struct {
        int64_t users, items, interactions, list_len;
        double accident_share, taste_genre, taste_era, taste_mood, taste_quality, taste_new,
            popular_share, matching_share;
        char format[16]; /* "canonical" or "ml-1m" */
    } world;
    struct {
        char split_by[8], time_cut[32], multi_click[8];
        double eval_user_share, eval_time_share;
        int64_t base, train, eval, min_order, min_history, max_history;
        bool eval_last_history;
        int64_t train_min_len, train_max_len, eval_min_len, eval_max_len;
        bool use_impressions, no_click;
        bool random, popularity, spectral, content, social, spectral_compat;
        double weight_random, weight_popularity, weight_spectral, weight_content, weight_social;
        int64_t spectral_rank, content_rank, max_prompt_tokens;
        char template_file[UM_CONFIG_TEXT], embeddings[UM_CONFIG_TEXT], embeddings_model[128],
            embeddings_pooling[16];
        int64_t embeddings_tokens;
    } scenes;
    struct {
        char form[UM_CONFIG_TEXT];
    } prompt;
    struct {
        char template_name[UM_CONFIG_TEXT], date[64];
    } chat;
    struct {
        char path[UM_CONFIG_TEXT], endpoint[UM_CONFIG_TEXT], endpoint_model[128];
        int64_t vocab, hidden, layers, heads, kv_heads, ffn, max_positions;
        double init_std, embedding_std, rope_theta;
    } student;
    um_train_config base; /* the embedded student's first training */
    int64_t base_processes, base_practice;
    struct {
        char teacher[UM_CONFIG_TEXT], teacher_template[UM_CONFIG_TEXT], teacher_model[128];
        char weights[16]; /* a um_dtype by name: how local models are read to write and choose */
        int64_t samples, max_tokens, max_rows, kv_memory;
        double temperature, top_p, ridge;
    } decide;
    struct {
        bool frequencies;
        int64_t frequency_samples;
        double max_letter_error;
    } predict;
    struct { /* how endpoints are talked to; changes no result */
        char key_env[128], key_file[UM_CONFIG_TEXT], ca_file[UM_CONFIG_TEXT], profile[16];
        int64_t concurrency, choices, retries, backoff_ms, batch_requests, batch_bytes;
        double deadline_s, outage_limit_s, prompt_price, completion_price, max_cost, max_hours,
            max_failed;
        bool plain_http;
    } remote;
    struct { /* what one run does of a stage; changes no result */
        char shard[32];
        int64_t limit;
        double memory_gib;
    } run;
    struct {
        int64_t pairs;
        char strategy[32], chosen[24], rejected[24];
        bool keep_malformed, keep_contradicting;
    } distill;
    um_train_config sft, dpo, direct;
    struct {
        double beta, label_smoothing;
        char loss[16];
    } dpo_more;
    struct {
        char budget[16]; /* "sft" or "sft+dpo": whose processed tokens direct fine-tuning gets */
    } direct_more;
    struct {
        int64_t repeats, max_tokens, resamples;
        double temperature, top_p;
    } eval;
} um_config;

typedef enum um_option_type {
    UM_OPTION_BOOL,
    UM_OPTION_INT,
    UM_OPTION_REAL,
    UM_OPTION_TEXT
} um_option_type;

typedef struct um_option {
    const char *key; /* "scenes.max_history" */
    um_option_type type;
    size_t offset, size;  /* in um_config; size of a text's storage */
    const char *fallback; /* the default, as text */
    double min, max;      /* numbers */
    const char *choices;  /* texts: "a|b|c", or NULL for free text */
    const char *help;
} um_option;

/* The table, in the order of --print-config. */
const um_option *um_config_options(size_t *n);
const um_option *um_config_find(const char *key); /* NULL when unknown */

/* Table defaults, then the embedded profile: what holds while no student is given. */
um_status um_config_init(um_config *config, um_error *err) UM_CHECKED;
/* A built-in profile: "published" (the table as it stands) or "embedded". */
um_status um_config_apply_profile(um_config *config, const char *name, um_error *err) UM_CHECKED;
/* Sets one key from text; type, range and choices are checked, unknown keys get the nearest name.
 */
um_status um_config_set(um_config *config, const char *key, const char *value, const char *where,
                        um_error *err) UM_CHECKED;
um_status um_config_read(um_config *config, const char *yaml_path, um_error *err) UM_CHECKED;
/* Value as text, as um_config_set reads it. */
void um_config_get(const um_config *config, const um_option *option, char *out, size_t size);
/* Options of reading a log: what section "ingest" says. Texts are borrowed from config. */
void um_config_ingest_options(const um_config *config, um_ingest_options *out);
/* The shape that student.* asks for; check it with um_model_config_check. */
void um_config_student_shape(const um_config *config, int vocab, int32_t eos, um_model_config *out);
/* The whole configuration as commented YAML; yours. */
um_status um_config_print(const um_config *config, char **yaml, um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
