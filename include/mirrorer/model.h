/*
 * model.h - Llama-architecture language models in Hugging Face layout.
 *
 * A um_model is weights plus shape. The folder holds config.json, model.safetensors (or shards with
 * an index), generation_config.json and a tokenizer (tokenizer.h). Names of tensors, shapes and the
 * mathematics are those of transformers' LlamaForCausalLM / Qwen2ForCausalLM.
 */
#ifndef MIRRORER_MODEL_H
#define MIRRORER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/dtype.h"
#include "mirrorer/responder.h"
#include "mirrorer/status.h"
#include "mirrorer/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum um_architecture { UM_ARCH_LLAMA, UM_ARCH_QWEN2 } um_architecture;
typedef enum um_rope_scaling { UM_ROPE_NONE, UM_ROPE_LINEAR, UM_ROPE_LLAMA3 } um_rope_scaling;

typedef struct um_model_config {
    um_architecture arch;
    int vocab, hidden, layers, heads, kv_heads, head_dim, ffn; /* V, C, L, H, G, D, F */
    int max_positions;
    float rms_eps;
    double rope_theta;
    um_rope_scaling rope_scaling;
    double rope_factor, rope_low, rope_high, rope_original; /* "llama3"; linear uses rope_factor */
    bool tied;                                              /* lm_head is the embedding */
    bool qkv_bias;                                          /* Qwen2 */
    int32_t bos, eos;                                       /* -1 when absent */
} um_model_config;

typedef struct um_model um_model;
typedef struct um_compute um_compute; /* a backend and its threads */

/* backend: NULL = best of this machine. threads <= 0: all CPUs. */
um_status um_compute_open(um_compute **out, const char *backend, int threads,
                          um_error *err) UM_CHECKED;
void um_compute_close(um_compute *compute);
const char *um_compute_name(const um_compute *compute);
int um_compute_threads(const um_compute *compute);

/* Random weights: embedding normal(0, embedding_std), matrices normal(0, init_std), output
 * projections scaled by 1/sqrt(2 L), norms 1, biases 0. */
um_status um_model_init(um_model **out, const um_model_config *config, float init_std,
                        float embedding_std, uint64_t seed, um_error *err) UM_CHECKED;
/* Reads F32, BF16 and F16 weights (kept as float32). Every tensor is checked before use. */
um_status um_model_load(um_model **out, const char *dir, um_error *err) UM_CHECKED;
/*
 * Opens a model for answering only, its matrices packed as `dtype`: they are mapped from
 * `<dir>/mirrorer-<dtype>.packed`, which is made at the first call, and again when the model's
 * files have changed or it is damaged. Where that folder cannot be written to this fails
 * (UM_ERR_IO); load the model and let the engine pack it. UM_F32 is um_model_load. Such a model
 * cannot be saved, cloned, trained or merged with an adapter: UM_ERR_STATE. compute: borrowed for
 * the call.
 */
um_status um_model_open(um_model **out, const char *dir, um_dtype dtype, um_compute *compute,
                        const um_monitor *monitor, um_error *err) UM_CHECKED;
/* Makes that file, whatever was there. */
um_status um_model_pack(const char *dir, um_dtype dtype, um_compute *compute,
                        const um_monitor *monitor, um_error *err) UM_CHECKED;
/* Writes config.json, generation_config.json and model.safetensors (float32), each whole or not at
 * all; the tokenizer's files are written beside them when given. */
um_status um_model_save(const um_model *model, const um_tokenizer *tok, const char *dir,
                        um_error *err) UM_CHECKED;
um_status um_model_clone(um_model **out, const um_model *model, um_error *err) UM_CHECKED;
void um_model_free(um_model *model);

const um_model_config *um_model_get_config(const um_model *model);
uint64_t um_model_parameters(const um_model *model);
uint64_t um_model_hash(const um_model *model); /* of config and weights */
/* Checks a shape (divisibility, ranges); names the first broken rule. */
um_status um_model_config_check(const um_model_config *config, um_error *err) UM_CHECKED;
um_status um_model_config_read(um_model_config *config, const char *dir, um_error *err) UM_CHECKED;

/* What is known of a model folder without loading it. */
typedef struct um_model_report {
    char architecture[64], model_type[64]; /* as config.json names them; "" when it does not */
    bool has_shape;                        /* config holds all numbers, though not all may work */
    bool sound;                            /* it is the shape of a model that can be loaded */
    um_model_config config;
    uint64_t parameters; /* counted from config; from the files where the architecture is another */
    int files;           /* of weights; 0: they could not be read */
    uint64_t file_bytes;
    char dtypes[64]; /* "BF16", "BF16 F32" */
    char *problems;  /* why um_model_load would refuse it, one a line; "" when it would not */
} um_model_report;
/* Reads config.json and the headers of the weights. Whatever keeps the folder from being loaded is
 * in `problems`, values of weights apart, which are not looked at; a status other than UM_OK means
 * that there is no such folder or no memory. */
um_status um_model_inspect(um_model_report *out, const char *dir, um_error *err) UM_CHECKED;
void um_model_report_dispose(um_model_report *report);
/* Bytes of the weights as an answering model holds them: packed in this format, as in its file
 * (um_model_open); UM_F32: loaded, and matrices in the order of the kernels, too. UINT64_MAX: not
 * with this shape, or no memory to reckon with. */
uint64_t um_model_held_bytes(const um_model_config *config, um_dtype dtype);

/* Logits [n, V] of one sequence (row-major, caller's storage): for tests and inspection. */
um_status um_model_logits(const um_model *model, um_compute *compute, const int32_t *ids, size_t n,
                          float *logits, um_error *err) UM_CHECKED;

typedef enum um_pooling { UM_POOL_MEAN, UM_POOL_LAST } um_pooling;
/*
 * Texts as vectors of length 1: out [n, C] are final hidden states (after the last norm, causal
 * attention), their mean over a text's tokens or that of its last one. A text begins with BOS where
 * the tokenizer puts one. Of longer texts the first max_tokens (0: max_positions) count; an empty
 * text is a row of zeros. A row depends on its own text only.
 */
um_status um_model_embed(const um_model *model, const um_tokenizer *tok, um_compute *compute,
                         const char *const *texts, size_t n, um_pooling pooling, int max_tokens,
                         float *out, const um_monitor *monitor, um_error *err) UM_CHECKED;

/* The ids of "A" .. "Z" as they follow "\nBehavior: [". UM_ERR_UNSUPPORTED, naming the letter,
 * where one is not a single token of its own: such a vocabulary can neither be trained nor scored.
 */
um_status um_letter_tokens(const um_tokenizer *tok, int32_t ids[26], um_error *err) UM_CHECKED;

/* Text of a continuation as it is written: whole characters, as on_completion will have them in
 * one piece. What a stop string may still take back is kept until it is certain. */
typedef um_status (*um_on_text)(void *context, size_t prompt, uint32_t sample, const char *text,
                                um_error *err);

typedef struct um_engine_options {
    int max_rows;      /* sequences decoded together; 0 = default */
    um_dtype weights;  /* what matrices are packed as, unless the model was opened packed */
    uint64_t kv_bytes; /* memory for keys and values; 0 = 1 GiB, for 16,384 tokens if more */
    int max_context;   /* tokens of prompt + continuation; 0 = the model's max_positions */
    um_chat_format format;
    bool format_given;  /* false: detect by the tokenizer */
    um_on_text on_text; /* NULL: none. Anything but UM_OK ends the call */
    void *text_context;
    bool logprobs; /* completions say how likely their tokens were */
} um_engine_options;

/*
 * A responder on a local model. Model, tokenizer and compute are borrowed; the model must not
 * change while the responder lives (its matrices were rearranged at open). The same (seed, key,
 * sample) gives the same text at any thread count, alone or in any batch, whatever was asked
 * before. Keys and values of all texts are kept, as far as kv_bytes goes, while the responder
 * lives: what a prompt, or a text to score, has in common with the beginning of an earlier one is
 * not computed again. A prompt that cannot fit is refused before anything is computed: UM_ERR_LIMIT
 * naming key and tokens.
 */
um_status um_engine_open(um_responder **out, const um_model *model, const um_tokenizer *tok,
                         um_compute *compute, const char *name, const um_engine_options *options,
                         um_error *err) UM_CHECKED;

/* What an engine has done since it was opened. A prompt here is whatever was given to it: prompts
 * and their openings, texts to score. */
typedef struct um_engine_stats {
    uint64_t prompt_tokens;    /* computed */
    uint64_t reused_tokens;    /* of prompts: found in the cache instead */
    uint64_t generated_tokens; /* handed out */
    uint64_t passes, rows;     /* through the layers, and the rows of all of them */
    int most_rows;             /* of one pass */
    int pages;                 /* of keys and values: as many as kv_bytes allows, */
    int peak_pages;            /* the most that running texts needed at a time, */
    int touched_pages;         /* those that ever held something: memory in use */
    uint64_t page_bytes;
} um_engine_stats;
/* False when the responder is not a local engine. */
bool um_engine_get_stats(const um_responder *responder, um_engine_stats *out);

#ifdef __cplusplus
}
#endif
#endif
