/* client.c - opening a client: options, endpoints, figures. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "remote/client.h"

#define MAX_ENDPOINTS   ((size_t)256)
#define MAX_CONCURRENCY 65536
#define MAX_SAMPLES     1024
#define MAX_WAIT_MS     ((uint32_t)1000 * 60 * 60 * 24 * 7)

void um_remote_options_init(um_remote_options *options)
{
    *options = (um_remote_options){
        .max_concurrency = 256,
        .max_choices = 16,
        .embed_batch = 64,
        .deadline_ms = 600000,
        .connect_timeout_ms = 10000,
        .idle_timeout_ms = 30000,
        .max_body_bytes = (uint64_t)16 << 20,
        .retries = 6,
        .backoff_ms = 500,
        .backoff_max_ms = 8000,
        .outage_wait_ms = 1000,
        .outage_wait_max_ms = 60000,
        .outage_limit_ms = 3600000,
        .max_failures = 16,
        .frequency_samples = 64,
        .max_letter_error = 0.05,
        .commit_items = 256,
        .commit_ms = 50,
    };
}

static um_status check_range(const char *name, uint64_t value, uint64_t least, uint64_t most,
                             um_error *err)
{
    if (value >= least && value <= most)
        return UM_OK;
    return um_fail(err, UM_ERR_INPUT, "remote option %s: found %llu, need %llu to %llu", name,
                   (unsigned long long)value, (unsigned long long)least, (unsigned long long)most);
}

static um_status check_options(const um_remote_options *o, um_error *err)
{
    const struct {
        const char *name;
        uint64_t value, least, most;
    } ranges[] = {
        {"max_concurrency", o->max_concurrency, 1, MAX_CONCURRENCY},
        {"max_choices", o->max_choices, 1, UM_MAX_GROUP},
        {"embed_batch", o->embed_batch, 1, UM_MAX_GROUP},
        {"deadline_ms", o->deadline_ms, 1, MAX_WAIT_MS},
        {"connect_timeout_ms", o->connect_timeout_ms, 1, MAX_WAIT_MS},
        {"idle_timeout_ms", o->idle_timeout_ms, 1, MAX_WAIT_MS},
        {"max_body_bytes", o->max_body_bytes, 1024, (uint64_t)1 << 30},
        {"retries", o->retries, 0, 1000},
        {"backoff_ms", o->backoff_ms, 0, MAX_WAIT_MS},
        {"backoff_max_ms", o->backoff_max_ms, 0, MAX_WAIT_MS},
        {"outage_wait_ms", o->outage_wait_ms, 1, MAX_WAIT_MS},
        {"outage_wait_max_ms", o->outage_wait_max_ms, 1, MAX_WAIT_MS},
        {"outage_limit_ms", o->outage_limit_ms, 1, MAX_WAIT_MS},
        {"max_failures", o->max_failures, 1, UINT32_MAX},
        {"frequency_samples", o->frequency_samples, 1, MAX_SAMPLES},
        {"commit_items", o->commit_items, 1, 65536},
        {"commit_ms", o->commit_ms, 1, 10000},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        um_status status =
            check_range(ranges[i].name, ranges[i].value, ranges[i].least, ranges[i].most, err);
        if (status != UM_OK)
            return status;
    }
    if (!(o->max_cost >= 0) || !isfinite(o->max_cost) || !(o->spent >= 0) || !isfinite(o->spent) ||
        !(o->max_hours >= 0) || !isfinite(o->max_hours) || !(o->max_letter_error >= 0))
        return um_fail(err, UM_ERR_INPUT,
                       "remote options max_cost, spent, max_hours and max_letter_error must be "
                       "finite and not negative");
    return UM_OK;
}

static um_status open_http(um_remote *remote, um_error *err)
{
    const um_remote_options *o = &remote->options;
    const um_http_options http = {.deadline_ms = o->deadline_ms,
                                  .connect_timeout_ms = o->connect_timeout_ms,
                                  .idle_timeout_ms = o->idle_timeout_ms,
                                  .max_body_bytes = o->max_body_bytes,
                                  .max_connections = o->max_concurrency,
                                  .ca_file = remote->ca_file};
    return um_http_new(&remote->http, &http, err);
}

um_status um_remote_open(um_remote **out, const um_remote_endpoint *endpoints, size_t n,
                         const um_remote_options *options, um_error *err)
{
    um_remote_options defaults;
    um_remote_options_init(&defaults);
    if (options == NULL)
        options = &defaults;
    um_status status = check_options(options, err);
    if (status != UM_OK)
        return status;
    if (n == 0 || n > MAX_ENDPOINTS)
        return um_fail(err, UM_ERR_INPUT, "remote: found %zu endpoints, need 1 to %zu", n,
                       MAX_ENDPOINTS);
    um_remote *remote = um_calloc(1, sizeof *remote);
    if (remote == NULL)
        return um_fail_memory(err, "the remote client");
    const char *identity = options->identity != NULL ? options->identity : endpoints[0].model;
    remote->options = *options;
    remote->ca_file = um_strdup(options->ca_file);
    remote->identity = um_strdup(identity != NULL ? identity : "");
    remote->endpoints = um_calloc(n, sizeof *remote->endpoints);
    if (remote->identity == NULL || remote->endpoints == NULL ||
        (options->ca_file != NULL && remote->ca_file == NULL)) {
        um_remote_free(remote);
        return um_fail_memory(err, "the remote client");
    }
    remote->options.identity = remote->identity;
    remote->options.ca_file = remote->ca_file;
    status = open_http(remote, err);
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        remote->n_endpoints = i + 1;
        status = um_endpoint_open(&remote->endpoints[i], remote, &endpoints[i], err);
    }
    if (status != UM_OK) {
        um_remote_free(remote);
        return status;
    }
    *out = remote;
    return UM_OK;
}

void um_remote_free(um_remote *remote)
{
    if (remote == NULL)
        return;
    um_http_free(remote->http);
    for (size_t i = 0; i < remote->n_endpoints; i++)
        um_endpoint_dispose(&remote->endpoints[i]);
    free(remote->endpoints);
    free(remote->identity);
    free(remote->ca_file);
    um_vec_dispose(&remote->failures);
    free(remote);
}

const um_remote_abilities *um_remote_abilities_of(const um_remote *remote, size_t i)
{
    return remote->probed && i < remote->n_endpoints ? &remote->endpoints[i].can : NULL;
}

const um_remote_totals *um_remote_totals_of(const um_remote *remote)
{
    return &remote->totals;
}

size_t um_remote_failures(const um_remote *remote, const um_remote_failure **list)
{
    *list = remote->failures.data;
    return remote->failures.len;
}
