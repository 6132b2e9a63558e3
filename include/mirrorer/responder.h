/*
 * responder.h - whoever answers prompts: a local model, a remote endpoint, a fitted choice model.
 *
 * Two questions can be asked: "write n continuations of this prompt" and "how likely is each of k
 * letters after this text". A responder is used by one thread at a time.
 */
#ifndef MIRRORER_RESPONDER_H
#define MIRRORER_RESPONDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/message.h"
#include "mirrorer/monitor.h"
#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct um_sampling {
    uint64_t seed;
    float temperature; /* 0 = greedy */
    float top_p;       /* 1 = off; nucleus after temperature */
    int top_k;         /* 0 = off */
    float min_p;       /* 0 = off */
    int max_tokens;    /* of each continuation */
} um_sampling;

/* One prompt. Pointers are borrowed for the call. */
typedef struct um_prompt {
    uint64_t key;               /* scene id: part of the key of every random draw */
    const um_message *messages; /* system, user */
    size_t n_messages;
    const char *opening; /* opens the assistant's turn and is continued; may be NULL */
    uint32_t k;          /* number of listed items: letters A.. */
} um_prompt;

typedef enum um_finish {
    UM_FINISH_STOP,  /* end of turn or a stop string */
    UM_FINISH_LENGTH /* max_tokens reached */
} um_finish;

typedef struct um_completion {
    size_t prompt;    /* index in the call */
    uint32_t sample;  /* first_sample .. */
    const char *text; /* after the opening, the stop string and what follows left out; borrowed */
    um_finish finish;
    uint32_t tokens; /* generated */
    uint32_t said;   /* the letter that the writer meant, where it is one that knows: 1 = A, ...;
                        0: only the text can tell */
    const float *logprobs; /* [tokens] log-probability of each token generated, temperature 1 and
                              nothing filtered; NULL: not known, or not asked for. Borrowed */
    double logprob;        /* their sum; 0 where they are not known */
} um_completion;

/* Called once per finished continuation, in no promised order. Anything but UM_OK ends the call. */
typedef um_status (*um_on_completion)(void *context, const um_completion *completion,
                                      um_error *err);

/* One text to score: the distribution over letters after the prompt, the opening of the assistant's
 * turn, and then text. */
typedef struct um_letter_query {
    const um_prompt *prompt;
    const char *const *texts; /* [n] assistant text before the letter, e.g. "...\nBehavior: [" */
    size_t n;
} um_letter_query;

/* p is [k]: the softmax over the k letter tokens, double, sums to 1. Called in query order, texts
 * ascending within one. */
typedef um_status (*um_on_letters)(void *context, size_t query, size_t text, const double *p,
                                   um_error *err);

typedef struct um_responder um_responder;

typedef struct um_responder_ops {
    /* n_samples continuations of each prompt, numbered from first_sample; sample s of a prompt is a
     * function of (seed, key, s, model, prompt text) only. stops: strings that end a continuation.
     */
    um_status (*complete)(um_responder *self, const um_prompt *prompts, size_t n,
                          uint32_t first_sample, uint32_t n_samples, const um_sampling *sampling,
                          const char *const *stops, size_t n_stops, um_on_completion on_completion,
                          void *context, const um_monitor *monitor, um_error *err);
    /* May be NULL: this responder cannot score letters. */
    um_status (*score_letters)(um_responder *self, const um_letter_query *queries, size_t n,
                               um_on_letters on_letters, void *context, const um_monitor *monitor,
                               um_error *err);
    void (*free)(um_responder *self);
    /* May be NULL: this responder takes prompts of any length. The tokens of a prompt with its
     * opening and, unless NULL, the text that follows it (as in um_letter_query), and the most that
     * one sequence may have. complete() needs tokens + max_tokens <= limit, score_letters() needs
     * tokens <= limit; both refuse a whole call for one prompt that is longer, an engine also for
     * one that its memory for keys and values cannot hold. */
    um_status (*measure)(um_responder *self, const um_prompt *prompt, const char *text,
                         uint32_t *tokens, uint32_t *limit, um_error *err);
} um_responder_ops;

/* Implementations embed this as their first member. */
struct um_responder {
    const um_responder_ops *ops;
    const char *name;     /* what reports call it; owned by the implementation */
    uint64_t fingerprint; /* hash of weights, tokenizer, template: what decides its answers */
};

void um_responder_free(um_responder *responder);

#ifdef __cplusplus
}
#endif
#endif
