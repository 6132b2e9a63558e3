/*
 * fault.h - an OpenAI-compatible endpoint for tests: well behaved until its script says otherwise.
 *
 * Texts, log-probabilities and embeddings are functions of the request, so that two runs can be
 * compared. It runs in a thread of a test, or as the program fault_server.
 *
 * Script: one rule a line, '#' begins a comment. The first rule that fires acts.
 *
 *     [path=/v1/...] [match=TEXT] when=WHEN ACTION...
 *
 * A rule counts, from 0, the POST requests whose path begins with `path` and whose body holds
 * `match`. WHEN is a number, a range 3-7, every:20, rate:0.05 (by hash of the count), or all.
 * Texts with spaces stand in "double quotes". Actions, of which a rule may have several:
 *
 *     status=429            header="Retry-After: 1"    body=TEXT (of an error; also with 200)
 *     delay=MS              silence (never an answer)   drip=MS (between bytes, after the headers)
 *     close=before|headers|mid|after    reset (with close: RST)
 *     truncate (half the JSON, well formed HTTP)        html    giant=BYTES (after the answer)
 *     nolength (no Content-Length; the end of the connection ends the answer)
 *     choices=N             reverse    duplicate    null    noindex    finish=REASON
 *     nologprobs            nousage    nostop (stop strings are passed over)
 *     redirect=URL
 *
 * GET /fault/stats answers the counts below as JSON; POST /fault/reset sets them, and those of the
 * rules, to 0; POST /fault/script replaces the script.
 */
#ifndef UM_TEST_FAULT_H
#define UM_TEST_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fault_config {
    int port; /* 0: any free one */
    const char *script;
    const char *log_path; /* NULL: none. One line a request: "Q <n> <body hash> <path>" when it has
                           * come, "A <n> <body hash> <status>" when its answer is written whole */
    const char *key;      /* NULL: none is asked for */
    const char *model;    /* NULL: "fault" */
    uint32_t latency_ms;  /* of every answer */
    uint32_t max_at_once; /* 0: no limit; more are answered 429 */
    uint32_t dims;        /* of embeddings; 0: 8 */
    uint32_t words;       /* of a text that is no decision process; 0: 6 */
    double other_mass;    /* probability that no letter comes; 0: 0.05 */
    uint32_t top;         /* listed tokens at most; 0: 20 */
    bool no_chat, no_completions, no_n, same_n /* with a seed: twice the same */, no_logprobs;
    bool no_seed, no_usage, no_tokenize, no_models;
    bool no_flags, no_trailing; /* ways of continuing a turn; "prefix" is known if want_prefix */
    bool want_prefix;
    bool no_allowed, no_bias, no_choice; /* constraints that are refused */
    bool raw_logprobs;                   /* constraints do not show in them */
    bool new_token_limit;                /* max_tokens is refused */
    bool llama;                          /* template of token counts; else ChatML */
} fault_config;

typedef struct fault_stats {
    uint64_t requests, answered, faults, refused; /* POSTs; whole 200s; rules that fired; 4xx */
    uint64_t repeated;                            /* whole 200s to a body answered before */
    uint64_t connections, at_once;                /* at most at one time */
    uint64_t gets, bad_key, with_key;
    uint64_t n_choices; /* choices in whole 200s */
    int64_t clock_ms;   /* of the last request */
} fault_stats;

typedef struct fault_server fault_server;

/* NULL when the script is wrong or the port taken; says so on stderr. */
fault_server *fault_open(const fault_config *config);
int fault_port(const fault_server *s);
/* Serves until fault_stop, or until *stop (may be NULL) is not 0. */
void fault_run(fault_server *s, const volatile int *stop);
void fault_close(fault_server *s);

/* In a thread of its own. */
fault_server *fault_start(const fault_config *config);
void fault_stop(fault_server *s); /* ends the thread and closes */
void fault_get(fault_server *s, fault_stats *out);
/* Sets counts to 0; script NULL: the same rules. False when it is wrong. */
bool fault_reset(fault_server *s, const char *script);

/* Inside --------------------------------------------------------------------------------------- */

typedef enum fault_close_at {
    CLOSE_NOT,
    CLOSE_BEFORE,
    CLOSE_HEADERS,
    CLOSE_MID,
    CLOSE_AFTER
} fault_close_at;

typedef struct fault_rule {
    char path[64], match[128];
    enum { WHEN_RANGE, WHEN_EVERY, WHEN_RATE } when;
    uint64_t from, to;
    double rate;
    uint64_t seen;
    int status; /* 0: what is right */
    char headers[512], body[512], redirect[256], finish[32];
    uint32_t delay_ms, drip_ms;
    fault_close_at close;
    bool reset, silence, truncate, html, reverse, duplicate, null, noindex, nologprobs, nousage;
    bool nolength, nostop;
    uint64_t giant;
    int choices; /* -1: what is right */
} fault_rule;

/* Parses a script; the array is the caller's. False with a message on stderr. */
bool fault_script_parse(const char *text, fault_rule **rules, size_t *n);
/* The rule that fires for this request, counted; NULL: none. */
const fault_rule *fault_script_match(fault_rule *rules, size_t n, const char *path,
                                     const char *body);

/* The right answer to a request; 0 or an HTTP status of refusal. rule may be NULL. out is a
 * malloc'd text. random: what a request without a seed gets. */
int fault_answer(const fault_config *config, const char *path, const char *body, size_t len,
                 uint64_t random, const fault_rule *rule, char **out, size_t *out_len,
                 uint32_t *choices);

#endif
