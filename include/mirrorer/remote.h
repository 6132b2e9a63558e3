/*
 * remote.h - models behind OpenAI-compatible HTTP endpoints (vLLM, SGLang, llama.cpp, hosted ones).
 *
 *     um_remote_open        one client over several endpoints that serve the same model
 *     um_remote_probe       asks each endpoint what it can do; says what will be used
 *     um_remote_responder_open   a um_responder: stages use it like a local model
 *     um_remote_embed       texts to rows of floats
 *     um_remote_forecast    answers, requests, tokens, money and time, before the start
 *     um_remote_plan / um_remote_accept   the same questions as files: batch APIs
 *
 * One thread: a client, its responders and its callbacks belong to the thread that calls. Thousands
 * of requests are in flight at once inside a call.
 *
 * Answers. The unit is the answer: one sample of one prompt, the listed tokens after one text, one
 * embedding. A request may ask for several. Every answer has a 128-bit key, made of all that was
 * asked (model, messages, opening, sampling, stops, number of the sample) and of nothing else: not
 * of the endpoint, nor of how answers were grouped into requests. So a stored answer is found
 * again, whatever endpoint gave it.
 *
 * Journal. Each key is recorded as intended, durably, before its request is sent, and its answer is
 * recorded before it is delivered. What the journal holds is replayed and never asked again. After
 * a crash, keys that are intended and neither answered, failed nor withdrawn may have been paid;
 * there are at most max_concurrency requests of them.
 *
 * Failure. One request that fails is retried, then listed (um_remote_failures) and passed over. The
 * call goes on, and returns UM_OK. A call ends early with
 *     UM_ERR_REMOTE       no usable endpoint is left, nothing but failures has come back since the
 *                         client was opened, or no endpoint has answered for outage_limit_ms
 *     UM_ERR_LIMIT        max_cost or max_hours is reached; what was in flight was waited for
 *     UM_ERR_INTERRUPTED  the monitor asked to stop (within a second)
 *     or what a callback returned.
 * Everything answered until then is in the journal and was delivered.
 *
 * Keys of the API are read when the client is opened and live in memory alone: not in fingerprints,
 * messages, errors or answers. Redirects are not followed.
 */
#ifndef MIRRORER_REMOTE_H
#define MIRRORER_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/monitor.h"
#include "mirrorer/responder.h"
#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct um_remote um_remote;

/* Opening --------------------------------------------------------------------------------------
 */

/* How a conversation becomes the text of a completions request. */
typedef enum um_remote_template {
    UM_REMOTE_TEMPLATE_AUTO, /* the one whose token counts equal the chat endpoint's, or none */
    UM_REMOTE_TEMPLATE_NONE,
    UM_REMOTE_TEMPLATE_CHATML, /* Qwen */
    UM_REMOTE_TEMPLATE_LLAMA3  /* without its first token, which servers add */
} um_remote_template;

/* Strings are copied. */
typedef struct um_remote_endpoint {
    const char *base_url; /* up to what stands before /chat/completions: "https://host/v1" */
    const char *model;    /* the name this endpoint knows the model by */
    double weight;        /* share of the requests while all have room; 0 means 1 */
    /* Where the API key is: the name of an environment variable, or the path of a file whose first
     * line it is. At most one; both NULL: no key. */
    const char *key_env, *key_file;
    double prompt_price, completion_price; /* money per million tokens; 0: free or unknown */
    um_remote_template chat_template;
} um_remote_endpoint;

/* um_remote_options_init gives the defaults in brackets. */
typedef struct um_remote_options {
    const char *identity; /* name of the model in keys and fingerprints [the first endpoint's] */
    uint64_t seed;        /* of the jitter of waits [0] */
    uint32_t max_concurrency; /* requests in flight, all endpoints together [256], 1 to 65,536 */
    uint32_t max_choices;     /* answers asked of one request where an endpoint can [16], 1 to 64 */
    uint32_t embed_batch;     /* texts of one embeddings request [64], 1 to 64 */
    uint32_t deadline_ms;     /* of one request, from sending to the last byte [600,000] */
    uint32_t connect_timeout_ms; /* [10,000] */
    uint32_t
        idle_timeout_ms; /* an answer that has begun must bring 256 bytes in this time [30,000] */
    uint64_t max_body_bytes; /* of one answer [16 MiB] */
    /* Retry i of a request waits min(backoff_ms * 2^i, backoff_max_ms) times 0.75 to 1, or what
     * Retry-After says. Answers 429 are waited for and are not counted as tries. */
    uint32_t retries;        /* [6] */
    uint32_t backoff_ms;     /* [500] */
    uint32_t backoff_max_ms; /* [8,000] */
    /* An endpoint that fails 5 times in a row in its transport is put aside and looked at (GET
     * /models) after outage_wait_ms, twice that, ... up to outage_wait_max_ms. */
    uint32_t outage_wait_ms;     /* [1,000] */
    uint32_t outage_wait_max_ms; /* [60,000] */
    uint32_t outage_limit_ms;    /* no answer at all for so long ends the call [3,600,000] */
    uint32_t max_failures;       /* failed answers in a row that end the call [16]; UINT32_MAX: none
                                  * do, not even if the client never gets another */
    double max_cost;     /* money, `spent` included; 0: no limit. A request is sent only where its
                          * longest answer still fits. */
    double spent;        /* by earlier runs [0] */
    double max_hours;    /* since the client's first request; 0: no limit */
    const char *ca_file; /* certificates to trust instead of the system's; NULL: the system's */
    bool plain_http;     /* allow http:// with a key to addresses that are not private [false] */
    /* Letters without log-probabilities: the share of letters in so many sampled answers. */
    bool frequencies;           /* allowed [false] */
    uint32_t frequency_samples; /* [64], up to 1,024 */
    double max_letter_error;    /* a distribution whose bound is larger fails [0.05] */
    /* The journal is written after so many events or so long; earlier when it is fast. */
    uint32_t commit_items; /* [256] */
    uint32_t commit_ms;    /* [50] */
} um_remote_options;

void um_remote_options_init(um_remote_options *options);

/* options may be NULL. Sends nothing. UM_ERR_INPUT names the endpoint and the rule it breaks;
 * http:// with a key is for loopback and private addresses, unless plain_http. Raises the soft
 * limit of open files of the process where it is too low. */
um_status um_remote_open(um_remote **out, const um_remote_endpoint *endpoints, size_t n,
                         const um_remote_options *options, um_error *err) UM_CHECKED;
/* Its responders first. NULL is fine. Keys are wiped. */
void um_remote_free(um_remote *remote);

/* What an endpoint can do -----------------------------------------------------------------------
 */

/* How the assistant's turn is opened. All but ASKED continue it: the model reads the opening as its
 * own text. */
typedef enum um_remote_opening {
    UM_REMOTE_OPENING_ASKED,    /* the last user message ends with a request to begin with it */
    UM_REMOTE_OPENING_FLAGS,    /* continue_final_message, add_generation_prompt: false */
    UM_REMOTE_OPENING_PREFIX,   /* a last message of the assistant with "prefix": true */
    UM_REMOTE_OPENING_TRAILING, /* a last message of the assistant, which the server continues */
    UM_REMOTE_OPENING_RENDERED  /* the completions endpoint, the conversation rendered here */
} um_remote_opening;

/* What keeps an answer to the listed letters. */
typedef enum um_remote_constraint {
    UM_REMOTE_CONSTRAINT_NONE,
    UM_REMOTE_CONSTRAINT_ALLOWED_IDS, /* allowed_token_ids */
    UM_REMOTE_CONSTRAINT_BIAS,        /* logit_bias */
    UM_REMOTE_CONSTRAINT_CHOICE       /* guided_choice */
} um_remote_constraint;

typedef struct um_remote_abilities {
    bool chat, completions;
    bool lists_model;      /* GET /models names the model */
    uint32_t max_context;  /* tokens, as GET /models says; 0: unknown */
    bool new_token_limit;  /* max_completion_tokens instead of max_tokens */
    bool usage;            /* answers count their tokens */
    bool n;                /* several different choices of one request */
    bool n_without_seed;   /* ... that are the same when a seed is given: none is sent */
    bool seed;             /* accepted */
    bool seed_repeats;     /* the same seed gave the same text twice */
    uint32_t top_logprobs; /* listed tokens of one position; 0: no log-probabilities */
    um_remote_opening opening;
    um_remote_template rendered; /* of UM_REMOTE_OPENING_RENDERED */
    bool letter_ids;             /* ids[i] is the token of 'A' + i after "Behavior: [" */
    int32_t ids[26];
    um_remote_constraint sampling_constraint; /* which one keeps samples to the letters */
    um_remote_constraint logprob_constraint;  /* which one the log-probabilities show */
    double answer_ms;                         /* of a request for one token */
    double token_ms;                          /* of each further token */
} um_remote_abilities;

/*
 * Some 15 small requests an endpoint. What cannot be read from an answer's form is proved: a prompt
 * with a continued turn has as many tokens as the turn adds and no end of turn, and its answer goes
 * on with the sentence; two choices of one request differ. UM_ERR_REMOTE when an endpoint answers
 * no plain request. A second call does nothing.
 */
um_status um_remote_probe(um_remote *remote, const um_monitor *monitor, um_error *err) UM_CHECKED;
/* Instead of probing, for endpoints that are not there (batch files): profile "vllm" (n, seed,
 * opening by flags, 20 log-probabilities) or "openai" (n, seed, opening asked for, 20
 * log-probabilities). UM_ERR_NOT_FOUND for another name. */
um_status um_remote_assume(um_remote *remote, const char *profile, um_error *err) UM_CHECKED;
/* Of endpoint i; NULL before the probe. Borrowed. */
const um_remote_abilities *um_remote_abilities_of(const um_remote *remote, size_t i);
/* What was found and what will be used, some lines for people; yours. */
um_status um_remote_describe(const um_remote *remote, char **text, um_error *err) UM_CHECKED;

/* Journal --------------------------------------------------------------------------------------
 */

typedef struct um_remote_key {
    uint64_t hi, lo; /* the samples of one prompt differ in lo alone, by their numbers */
} um_remote_key;

typedef enum um_remote_event_kind {
    UM_REMOTE_INTENDED,
    UM_REMOTE_ANSWERED,
    UM_REMOTE_FAILED,   /* given up; asked again by a later run */
    UM_REMOTE_WITHDRAWN /* intended, and certainly not answered: nothing was paid */
} um_remote_event_kind;

typedef struct um_remote_event {
    um_remote_event_kind kind;
    uint32_t sample; /* number of the sample, of the text, or of the embedded text */
    um_remote_key key;
    uint64_t prompt;    /* um_prompt.key (0 for embeddings) */
    const char *answer; /* ANSWERED: one line of JSON to store as it is and to give to lookup */
    size_t answer_len;
    uint32_t prompt_tokens, completion_tokens; /* ANSWERED; of several answers of one request the
                                                * first has the prompt's */
    double cost;                               /* ANSWERED: money */
    int http_status;                           /* FAILED: 0 where there was no answer at all */
    const char *reason;                        /* FAILED: one line, keys masked */
} um_remote_event;

typedef struct um_remote_journal {
    void *context;
    /* *answer: what ANSWERED stored under the key, borrowed until the next callback, or NULL. */
    um_status (*lookup)(void *context, um_remote_key key, const char **answer, size_t *len,
                        um_error *err);
    /* Stores n events, in order, all or none, durably once it returns. An ANSWERED, FAILED or
     * WITHDRAWN key was INTENDED before (or comes from um_remote_accept). Strings are borrowed. */
    um_status (*record)(void *context, const um_remote_event *events, size_t n, um_error *err);
} um_remote_journal;

/* Responder ------------------------------------------------------------------------------------
 */

/*
 * complete: sample s of a prompt is asked with a seed made of sampling->seed, the prompt's key and
 * s, where endpoints take one; with several choices a request, choice i is sample first + i, and
 * the seed is the first one's. Stop strings are sent (the first 4) and also cut here. max_tokens,
 * temperature and top_p are sent as they are; top_k and min_p only if set (an endpoint that does
 * not know them must refuse them). An empty or NULL opening is not sent.
 *
 * Openings are continued if every endpoint can, else asked for at all of them, so that all samples
 * answer one question. An opening asked for is a last paragraph of the last user message: "Begin
 * your answer with exactly these words:" and the opening. If the answer then starts with the
 * opening, or with its last line, that part is left out, leading white space and the length of runs
 * of white space not counted; else the answer is delivered whole and counted in opening_missing.
 *
 * score_letters: needs openings that are continued and log-probabilities at every endpoint, else
 * UM_ERR_UNSUPPORTED (or, with options.frequencies, shares of sampled letters). p is the softmax
 * over the listed letter tokens; a letter that is not listed gets 0. um_remote_letters_of says how
 * far p can be from the truth. Where a constraint shows in the log-probabilities it is used, and
 * nothing is unseen up to top_logprobs letters. A text that fails is passed over: on_letters is not
 * called for it.
 *
 * measure is NULL: the endpoint refuses what is too long, which fails that prompt.
 *
 * Progress: the monitor gets stage = the responder's name, unit "answers", and a detail such as
 * "41k tok/s, $0.12, 3 in retry". A stage that counts scenes wraps the monitor and keeps the
 * detail.
 *
 * journal (may be NULL: nothing is kept) is copied, its context borrowed. Probes first if that was
 * not done. The responder's name is `name`, or the identity when NULL.
 */
um_status um_remote_responder_open(um_responder **out, um_remote *remote, const char *name,
                                   const um_remote_journal *journal, const um_monitor *monitor,
                                   um_error *err) UM_CHECKED;

typedef enum um_remote_letter_method {
    UM_REMOTE_LETTERS_EXACT,    /* all letters listed, or kept to by a constraint */
    UM_REMOTE_LETTERS_BOUNDED,  /* some letters not listed */
    UM_REMOTE_LETTERS_FREQUENCY /* shares of sampled letters: an estimate */
} um_remote_letter_method;

typedef struct um_remote_letters {
    um_remote_letter_method method;
    uint32_t listed; /* letters seen */
    double mass;     /* probability of the listed letters before renormalising, 1 for FREQUENCY */
    /* EXACT, BOUNDED: the largest total variation distance between p and the distribution that all
     * letters' log-probabilities would give. FREQUENCY: the standard error of the largest p. */
    double error;
    uint32_t samples; /* FREQUENCY: answers that were letters */
} um_remote_letters;

/* Of the distribution being delivered; only inside on_letters. */
const um_remote_letters *um_remote_letters_of(const um_responder *responder);

/* Embeddings -----------------------------------------------------------------------------------
 */

typedef struct um_remote_rows {
    float *data;     /* [n, dim] rows as the endpoint gives them, not normalised; zeros if absent */
    uint8_t *absent; /* [n] 1 where the text failed (um_remote_failures) */
    size_t n;
    uint32_t dim;
} um_remote_rows;

/* dims: the length to ask for, 0 for the model's own. Rows of another length than the first (or
 * than dims) are refused. journal may be NULL. */
um_status um_remote_embed(um_remote_rows *out, um_remote *remote, const char *const *texts,
                          size_t n, uint32_t dims, const um_remote_journal *journal,
                          const um_monitor *monitor, um_error *err) UM_CHECKED;
void um_remote_rows_dispose(um_remote_rows *rows);

/* Figures --------------------------------------------------------------------------------------
 */

typedef struct um_remote_totals {
    uint64_t answers;  /* that came from endpoints */
    uint64_t replayed; /* that came from the journal */
    uint64_t failed;
    uint64_t requests;     /* sent, retries included, probes not */
    uint64_t retries;      /* of them sent again */
    uint64_t rate_limited; /* answers 429 */
    uint64_t bad_answers;  /* that were not what was asked for */
    uint64_t opening_missing;
    uint64_t prompt_tokens, completion_tokens; /* of answers; estimated where not given */
    double cost;                               /* this client's; options.spent not included */
    double seconds;                            /* spent in calls */
    double worst_letter_error;
} um_remote_totals;

const um_remote_totals *um_remote_totals_of(const um_remote *remote); /* borrowed */

typedef struct um_remote_failure {
    um_remote_key key;
    uint64_t prompt;
    uint32_t sample;
    int http_status;
    char reason[208];
} um_remote_failure;

/* The first 1,000; totals.failed counts all. Borrowed until the next call. */
size_t um_remote_failures(const um_remote *remote, const um_remote_failure **list);

typedef struct um_remote_cost {
    uint64_t answers, stored; /* asked for; of them already in the journal */
    uint64_t requests;        /* for the rest */
    uint64_t prompt_tokens;   /* from bytes, by the measured ratio once there are answers */
    uint64_t completion_tokens, most_completion_tokens; /* expected; if each took max_tokens */
    double cost, most_cost;                             /* money, without options.spent */
    double seconds; /* at full concurrency, at the speed the probe or the run so far saw */
} um_remote_cost;

/* Before the start: counts what complete() would ask. */
um_status um_remote_forecast(um_remote_cost *out, um_responder *responder, const um_prompt *prompts,
                             size_t n, uint32_t first_sample, uint32_t n_samples,
                             const um_sampling *sampling, const char *const *stops, size_t n_stops,
                             um_error *err) UM_CHECKED;
/* One line for people; yours. */
um_status um_remote_cost_text(const um_remote_cost *cost, char **text, um_error *err) UM_CHECKED;

/* Batch files ----------------------------------------------------------------------------------
 */

#define UM_REMOTE_CUSTOM_ID_BYTES 48 /* with its NUL */

typedef struct um_remote_request {
    const char *custom_id; /* names the keys it answers: "um1-<key, 32 hex digits>-<answers>" */
    const char *url;       /* "/v1/chat/completions" or "/v1/completions" */
    const char *body;      /* JSON */
    size_t body_len;
    uint64_t prompt; /* um_prompt.key */
    uint32_t first_sample, answers;
} um_remote_request;

typedef um_status (*um_on_remote_request)(void *context, const um_remote_request *request,
                                          um_error *err);

/* The requests that complete() would send, as the first endpoint would get them; what the journal
 * holds is left out. Sends and records nothing. Strings are borrowed for the callback. */
um_status um_remote_plan(um_responder *responder, const um_prompt *prompts, size_t n,
                         uint32_t first_sample, uint32_t n_samples, const um_sampling *sampling,
                         const char *const *stops, size_t n_stops, um_on_remote_request on_request,
                         void *context, um_error *err) UM_CHECKED;

/*
 * A row of a batch's output: the response's HTTP status and body under its custom_id. Records the
 * answers it holds, so that complete() replays them; *answers (may be NULL) counts them. Fewer than
 * asked: the rest stays missing. UM_ERR_INPUT: a custom_id that is not ours. UM_ERR_REMOTE: the row
 * is an error or not an answer; recorded as failed, err holds the reason. prices may be NULL, else
 * its two prices are used.
 */
um_status um_remote_accept(const um_remote_journal *journal, const um_remote_endpoint *prices,
                           const char *custom_id, int http_status, const char *body, size_t len,
                           uint32_t *answers, um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
