/*
 * engine.h - the inside of the local responder, shared by engine.c (setting up, passes), generate.c
 * (continuations) and letters.c (scoring).
 */
#ifndef UM_MODEL_ENGINE_H
#define UM_MODEL_ENGINE_H

#include "model/forward.h"
#include "model/kv.h"
#include "model/params.h"
#include "model/sampler.h"

#define UM_LETTERS 26

typedef struct um_engine {
    um_responder base; /* first: a um_responder is a um_engine */
    const um_model *model;
    const um_tokenizer *tok;
    um_compute *compute;
    um_chat_format format;
    int max_rows;    /* sequences decoded together */
    int pass_rows;   /* rows of one pass: max_rows and a chunk of prompts */
    int pass_out;    /* wanted rows of one pass */
    int max_context; /* tokens */
    int n_vocab;     /* ids that exist in model and tokenizer */
    int32_t end_of_turn, eos; /* -1 when absent */
    um_on_text on_text;       /* NULL: none */
    void *text_context;
    bool logprobs;

    um_forward *forward;
    um_kv kv;             /* keeps what was computed from call to call */
    um_sampler *samplers; /* one a thread */
    int n_samplers;
    um_packed letters; /* [26, C] rows of the LM head; made by the first scoring call */
    um_engine_stats stats;

    um_pass pass; /* being built; its arrays belong to the engine */
    int32_t *ids, *out_rows;
    um_kv_span *spans;
} um_engine;

/* Appends ids[0 .. n) to a sequence and to the pass; the caller keeps to pass_rows and pass_out.
 * want_last: the last row's hidden state is wanted. */
void um_engine_pass_add(um_engine *engine, um_kv_sequence *sequence, const int32_t *ids, int n,
                        bool want_last);
/* Computes the pass and begins a new one; the wanted hidden states [n_out, C]. Whatever was added
 * must be computed, for others may have found it in the cache since. */
const float *um_engine_pass_run(um_engine *engine);

um_status um_engine_complete(um_responder *self, const um_prompt *prompts, size_t n,
                             uint32_t first_sample, uint32_t n_samples, const um_sampling *sampling,
                             const char *const *stops, size_t n_stops,
                             um_on_completion on_completion, void *context,
                             const um_monitor *monitor, um_error *err) UM_CHECKED;
um_status um_engine_score_letters(um_responder *self, const um_letter_query *queries, size_t n,
                                  um_on_letters on_letters, void *context,
                                  const um_monitor *monitor, um_error *err) UM_CHECKED;

#endif
