/*
 * client.h (internal) - the client: its endpoints with their state, and what all calls share.
 *
 * An endpoint's window is how many requests it may have in flight. It grows with answers, shrinks
 * with 429 and with answers that take long (endpoint.c). A request goes to the usable endpoint that
 * has the least in flight for its weight.
 */
#ifndef UM_REMOTE_CLIENT_H
#define UM_REMOTE_CLIENT_H

#include "base/mem.h"
#include "base/str.h"
#include "mirrorer/remote.h"
#include "remote/answer.h"
#include "remote/http.h"

/* What a token of um_http_send points at. */
typedef enum um_call_kind { UM_CALL_FLIGHT, UM_CALL_HEALTH, UM_CALL_PROBE } um_call_kind;
typedef struct um_call {
    um_call_kind kind;
} um_call;

typedef struct um_endpoint {
    um_call health; /* first: token of its health check */
    char *url, *model;
    char *key;      /* NULL: none */
    char label[96]; /* scheme, host and path, for people */
    double weight, prompt_price, completion_price;
    um_remote_template chat_template;
    um_remote_abilities can;
    um_http_target *chat, *completions, *embeddings, *models, *tokenize;

    double window;
    bool slow_start; /* the window doubles as long as that pays */
    uint32_t in_flight;
    double ms;         /* mean time of an answer, exponentially weighted; 0: none yet */
    uint64_t cut_ms;   /* when the window was last cut */
    uint64_t epoch_ms; /* a window of answers is an epoch; their rate is compared */
    uint32_t epoch_answers;
    bool epoch_full; /* the window was full in it */
    double epoch_rate;

    uint64_t not_before_ms; /* Retry-After, quota, backoff after 429 */
    uint32_t rate_streak;   /* answers 429 since the last good one */
    uint32_t fault_streak;  /* transport failures since the last answer */
    uint32_t aside_level;   /* times put aside since the last good answer */
    bool aside, checking, quota, quota_told;
    uint64_t aside_until_ms;
    bool dead;
    char dead_reason[256];
    uint64_t answers;
} um_endpoint;

struct um_remote {
    um_remote_options options;
    char *identity, *ca_file;
    um_endpoint *endpoints;
    size_t n_endpoints;
    um_http *http;
    bool probed;
    bool assumed;              /* by profile: nothing was asked */
    um_remote_opening opening; /* ASKED, or any other: each endpoint has its own way */
    um_remote_totals totals;
    UM_VEC(um_remote_failure) failures;
    uint64_t begun_ms; /* first request; 0: none yet */
    double cost;
    /* Tokens of prompts for which the endpoint counted, and their bytes: the ratio of forecasts. */
    uint64_t counted_tokens, counted_bytes;
    double answer_tokens; /* mean completion tokens of an answer; 0: none yet */
};

#define UM_BYTES_PER_TOKEN 4.0 /* before anything was counted; English, common vocabularies */
#define UM_MAX_GROUP       64  /* answers of one request */

/* endpoint.c ----------------------------------------------------------------------------------- */

um_status um_endpoint_open(um_endpoint *e, um_remote *remote, const um_remote_endpoint *given,
                           um_error *err) UM_CHECKED;
void um_endpoint_dispose(um_endpoint *e);
/* A fresh window: at the start of a call. */
void um_endpoint_begin(um_endpoint *e, uint64_t now);
/* May take a request now. */
bool um_endpoint_ready(const um_endpoint *e, uint64_t now);
/* The ready endpoint with the most room for its weight, or NULL. */
um_endpoint *um_remote_pick(um_remote *remote, uint64_t now);
/* Requests all living endpoints may have in flight together, at most max_concurrency. */
uint32_t um_remote_window(const um_remote *remote);
/* A good answer that took ms. */
void um_endpoint_answered(um_endpoint *e, const um_remote *remote, double ms, uint64_t now);
/* An answer 429 (or 503 with Retry-After): waits, and the window is halved once a round. */
void um_endpoint_slow_down(um_endpoint *e, const um_remote *remote, int64_t retry_after_ms,
                           uint64_t now);
/* A failure of the transport; true when the endpoint was put aside by it. */
bool um_endpoint_failed(um_endpoint *e, const um_remote *remote, uint64_t now);
/* It answers again: used carefully from now on. */
void um_endpoint_back(um_endpoint *e, uint64_t now);
/* min(backoff_ms * 2^n, backoff_max_ms) x 0.75..1; the same (key, n) always waits the same. */
uint64_t um_remote_backoff(const um_remote *remote, uint64_t key, uint32_t n);
double um_remote_bytes_per_token(const um_remote *remote);

/* wire.c --------------------------------------------------------------------------------------- */

/* Everything that a body is made of. */
typedef struct um_ask {
    const um_message *messages;
    size_t n_messages;
    const char *opening; /* of the assistant's turn; NULL or "": none */
    const char *text;    /* after the opening; NULL: none */
    const um_sampling *sampling;
    const char *const *stops;
    size_t n_stops;
    uint32_t n; /* choices */
    bool seeded;
    uint64_t seed;    /* below 2^31: servers keep it in an int */
    bool top;         /* log-probabilities are wanted */
    uint32_t letters; /* the first so many letters alone, by `constraint` */
    um_remote_constraint constraint;
} um_ask;

/* Body of one request for this endpoint; how: the way the turn is opened there. */
void um_wire_write(um_str *out, const um_endpoint *e, um_remote_opening how, const um_ask *ask);
/* A conversation as one text, up to and with the opening and text of the assistant's turn. */
void um_wire_render(um_str *out, um_remote_template form, const um_ask *ask);
void um_wire_write_texts(um_str *out, const um_endpoint *e, const char *const *texts, size_t n,
                         uint32_t dims);
/* The opening of the assistant's turn, as it is asked for. */
#define UM_ASK_FOR_OPENING "\n\nBegin your answer with exactly these words:\n"

/* The kind of reply, and the target, of requests whose turn is opened so. */
um_ask_kind um_wire_kind(um_remote_opening how);
/* The way this endpoint opens turns, given the way all of them can. */
um_remote_opening um_endpoint_opening(const um_remote *remote, const um_endpoint *e);

/* key.c ---------------------------------------------------------------------------------------- */

/* Of all that is asked, but the number of the sample: see mirrorer/remote.h. purpose: "complete",
 * "letters", ... */
um_remote_key um_ask_key(const um_remote *remote, const char *purpose, const um_prompt *prompt,
                         const um_ask *ask);
um_remote_key um_text_key(const um_remote *remote, const char *text, uint32_t dims);
static inline um_remote_key um_key_add(um_remote_key key, uint64_t n)
{
    return (um_remote_key){key.hi, key.lo + n};
}
/* Seed of a sample, below 2^31. */
uint64_t um_ask_seed(uint64_t seed, uint64_t prompt_key, uint32_t sample);
void um_custom_id_write(char out[UM_REMOTE_CUSTOM_ID_BYTES], um_remote_key key, uint32_t answers);
bool um_custom_id_read(const char *text, um_remote_key *key, uint32_t *answers);

/* probe.c -------------------------------------------------------------------------------------- */

const char *um_remote_opening_name(um_remote_opening opening);

#endif
