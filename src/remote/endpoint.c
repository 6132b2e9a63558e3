/* endpoint.c - one endpoint: its addresses and key, how much it is given, when it is left alone. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "remote/client.h"
#include "remote/secret.h"

#define FIRST_WINDOW     16.0
#define STREAK_ASIDE     5   /* transport failures in a row */
#define DOUBLING_PAYS    1.1 /* a doubled window must bring so much more */
#define GROWTH_AN_EPOCH  16  /* later: 1/16 of the window */
#define MEAN_WEIGHT      0.1
#define LONG_SHARE       0.5 /* of the deadline: answers that take longer are too many at once */
#define LONG_CUT         0.7
#define MAX_RATE_BACKOFF 16

/* base + path; an address that ends with '/' is taken without it. */
static um_status add_target(um_http_target **out, um_remote *remote, const um_endpoint *e,
                            const char *path, bool post, um_error *err)
{
    um_str url = UM_STR_INIT;
    um_str_append(&url, e->url);
    um_str_append(&url, path);
    um_status status = um_str_status(&url, err);
    if (status == UM_OK)
        status = um_http_target_new(out, remote->http, url.data, e->key, post, err);
    um_str_dispose(&url);
    return status;
}

/* vLLM keeps /tokenize beside /v1. */
static um_status add_tokenize(um_remote *remote, um_endpoint *e, um_error *err)
{
    um_str url = UM_STR_INIT;
    size_t n = strlen(e->url);
    um_str_append_n(&url, e->url, um_str_ends(e->url, "/v1") ? n - 3 : n);
    um_str_append(&url, "/tokenize");
    um_status status = um_str_status(&url, err);
    if (status == UM_OK)
        status = um_http_target_new(&e->tokenize, remote->http, url.data, e->key, true, err);
    um_str_dispose(&url);
    return status;
}

um_status um_endpoint_open(um_endpoint *e, um_remote *remote, const um_remote_endpoint *given,
                           um_error *err)
{
    um_status status;
    if (given->base_url == NULL || given->model == NULL || given->model[0] == '\0')
        return um_fail(err, UM_ERR_INPUT, "endpoint: its address and its model must be given");
    if (!(given->weight >= 0) || !isfinite(given->weight) || !(given->prompt_price >= 0) ||
        !isfinite(given->prompt_price) || !(given->completion_price >= 0) ||
        !isfinite(given->completion_price))
        return um_fail(err, UM_ERR_INPUT,
                       "endpoint %s: weight and prices must be finite and not negative",
                       given->base_url);
    status = um_http_check_url(given->base_url, given->key_env != NULL || given->key_file != NULL,
                               remote->options.plain_http, err);
    if (status == UM_OK)
        status = um_secret_read(&e->key, given->key_env, given->key_file, err);
    if (status != UM_OK)
        return status;
    size_t n = strlen(given->base_url);
    while (n > 0 && given->base_url[n - 1] == '/')
        n--;
    e->health.kind = UM_CALL_HEALTH;
    e->url = um_strndup(given->base_url, n);
    e->model = um_strdup(given->model);
    if (e->url == NULL || e->model == NULL)
        return um_fail_memory(err, "an endpoint");
    um_secret_mask(e->label, sizeof e->label, e->url, e->key);
    e->weight = given->weight > 0 ? given->weight : 1;
    e->prompt_price = given->prompt_price;
    e->completion_price = given->completion_price;
    e->chat_template = given->chat_template;
    if ((status = add_target(&e->chat, remote, e, "/chat/completions", true, err)) != UM_OK ||
        (status = add_target(&e->completions, remote, e, "/completions", true, err)) != UM_OK ||
        (status = add_target(&e->embeddings, remote, e, "/embeddings", true, err)) != UM_OK ||
        (status = add_target(&e->models, remote, e, "/models", false, err)) != UM_OK)
        return status;
    return add_tokenize(remote, e, err);
}

void um_endpoint_dispose(um_endpoint *e)
{
    free(e->url);
    free(e->model);
    um_secret_free(e->key);
    *e = (um_endpoint){0};
}

void um_endpoint_begin(um_endpoint *e, uint64_t now)
{
    e->window = FIRST_WINDOW;
    e->slow_start = true;
    e->in_flight = 0;
    e->checking = false;
    e->epoch_ms = now;
    e->epoch_answers = 0;
    e->epoch_full = false;
    e->epoch_rate = 0;
    e->fault_streak = 0;
    e->quota = false;
}

bool um_endpoint_ready(const um_endpoint *e, uint64_t now)
{
    return !e->dead && !e->aside && now >= e->not_before_ms;
}

um_endpoint *um_remote_pick(um_remote *remote, uint64_t now)
{
    um_endpoint *best = NULL;
    double least = INFINITY;
    for (size_t i = 0; i < remote->n_endpoints; i++) {
        um_endpoint *e = &remote->endpoints[i];
        double load = (double)e->in_flight / e->weight;
        if (!um_endpoint_ready(e, now))
            continue;
        if ((double)e->in_flight + 1 > e->window) {
            e->epoch_full = true;
            continue;
        }
        if (load < least) {
            least = load;
            best = e;
        }
    }
    return best;
}

uint32_t um_remote_window(const um_remote *remote)
{
    double sum = 0;
    for (size_t i = 0; i < remote->n_endpoints; i++)
        sum += remote->endpoints[i].dead ? 0 : remote->endpoints[i].window;
    return sum < remote->options.max_concurrency ? (uint32_t)sum : remote->options.max_concurrency;
}

static void cut(um_endpoint *e, double factor, uint64_t now)
{
    /* Answers that were already under way when it was cut tell nothing new. */
    if (now - e->cut_ms < (uint64_t)e->ms)
        return;
    e->cut_ms = now;
    e->slow_start = false;
    e->window = e->window * factor < 1 ? 1 : e->window * factor;
}

/* A window of answers has come: was the last growth worth it? */
static void end_epoch(um_endpoint *e, const um_remote *remote, uint64_t now)
{
    double ms = now > e->epoch_ms ? (double)(now - e->epoch_ms) : 1;
    double rate = (double)e->epoch_answers / ms;
    double most = (double)remote->options.max_concurrency;
    if (e->epoch_full) {
        if (e->slow_start && e->epoch_rate > 0 && rate < e->epoch_rate * DOUBLING_PAYS)
            e->slow_start = false;
        else if (e->slow_start)
            e->window *= 2;
        if (!e->slow_start)
            e->window += fmax(1, e->window / GROWTH_AN_EPOCH);
        e->window = fmin(e->window, most);
        e->epoch_rate = rate;
    }
    e->epoch_ms = now;
    e->epoch_answers = 0;
    e->epoch_full = false;
}

void um_endpoint_answered(um_endpoint *e, const um_remote *remote, double ms, uint64_t now)
{
    e->answers++;
    e->rate_streak = e->fault_streak = e->aside_level = 0;
    e->quota = false;
    e->ms = e->ms > 0 ? e->ms + MEAN_WEIGHT * (ms - e->ms) : ms;
    if (e->ms > LONG_SHARE * (double)remote->options.deadline_ms)
        cut(e, LONG_CUT, now);
    if (++e->epoch_answers >= (uint32_t)e->window)
        end_epoch(e, remote, now);
}

void um_endpoint_slow_down(um_endpoint *e, const um_remote *remote, int64_t retry_after_ms,
                           uint64_t now)
{
    uint32_t n = e->rate_streak < MAX_RATE_BACKOFF ? e->rate_streak : MAX_RATE_BACKOFF;
    uint64_t wait =
        retry_after_ms >= 0 ? (uint64_t)retry_after_ms : um_remote_backoff(remote, 0, n);
    cut(e, 0.5, now);
    e->rate_streak++;
    if (now + wait > e->not_before_ms)
        e->not_before_ms = now + wait;
}

bool um_endpoint_failed(um_endpoint *e, const um_remote *remote, uint64_t now)
{
    if (e->aside || ++e->fault_streak < STREAK_ASIDE)
        return false;
    uint64_t wait = remote->options.outage_wait_ms, most = remote->options.outage_wait_max_ms;
    for (uint32_t i = 0; i < e->aside_level && wait < most; i++)
        wait *= 2;
    e->aside = true;
    e->aside_until_ms = now + (wait < most ? wait : most);
    e->aside_level++;
    return true;
}

void um_endpoint_back(um_endpoint *e, uint64_t now)
{
    e->aside = false;
    e->fault_streak = 0;
    e->window = fmax(1, fmin(e->window / 4, FIRST_WINDOW));
    e->epoch_ms = now;
    e->epoch_answers = 0;
}

uint64_t um_remote_backoff(const um_remote *remote, uint64_t key, uint32_t n)
{
    um_rng rng;
    double wait = remote->options.backoff_ms;
    for (uint32_t i = 0; i < n && wait < remote->options.backoff_max_ms; i++)
        wait *= 2;
    wait = fmin(wait, remote->options.backoff_max_ms);
    um_rng_init(&rng, remote->options.seed, UM_RNG_REMOTE, key, n, 1);
    return (uint64_t)ceil(wait * (0.75 + 0.25 * um_rng_uniform(&rng)));
}

double um_remote_bytes_per_token(const um_remote *remote)
{
    return remote->counted_tokens > 0
               ? (double)remote->counted_bytes / (double)remote->counted_tokens
               : UM_BYTES_PER_TOKEN;
}

um_remote_opening um_endpoint_opening(const um_remote *remote, const um_endpoint *e)
{
    return remote->opening == UM_REMOTE_OPENING_ASKED ? UM_REMOTE_OPENING_ASKED : e->can.opening;
}
