/*
 * bench_remote.c - how many requests a second the remote client does, and what it needs meanwhile.
 *
 *     bench_remote URL [REQUESTS [CONCURRENCY [SAMPLES]]]
 *
 * Prompts are made as they are asked for, in calls of 10,000, so that memory shows what the client
 * holds. Answers are counted and nothing is kept. Exit status 1 when an answer is missing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/file.h"
#include "mirrorer/remote.h"

#define CALL_PROMPTS 10000

static uint64_t answers, recorded, commits;

static um_status on_completion(void *context, const um_completion *c, um_error *err)
{
    (void)context;
    (void)c;
    (void)err;
    answers++;
    return UM_OK;
}

static um_status lookup(void *context, um_remote_key key, const char **answer, size_t *len,
                        um_error *err)
{
    (void)context;
    (void)key;
    (void)err;
    *answer = NULL;
    *len = 0;
    return UM_OK;
}

static um_status record(void *context, const um_remote_event *events, size_t n, um_error *err)
{
    (void)context;
    (void)events;
    (void)err;
    recorded += n;
    commits++;
    return UM_OK;
}

static unsigned long resident_kb(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f != NULL) {
        if (fscanf(f, "%lu %lu", &pages, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    return resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

static int fail(const um_error *err)
{
    fprintf(stderr, "bench_remote: %s\n", err->text);
    return 1;
}

static um_status ask(um_responder *r, uint64_t first, size_t n, uint32_t samples,
                     um_prompt *prompts, um_message *messages, char (*texts)[64], um_error *err)
{
    const um_sampling sampling = {.seed = 1, .temperature = 1, .top_p = 1, .max_tokens = 16};
    for (size_t i = 0; i < n; i++) {
        snprintf(texts[i], sizeof texts[i], "Question %llu: what is bright?",
                 (unsigned long long)(first + i));
        messages[i] = (um_message){"user", texts[i]};
        prompts[i] = (um_prompt){.key = first + i, .messages = &messages[i], .n_messages = 1};
    }
    return r->ops->complete(r, prompts, n, 0, samples, &sampling, NULL, 0, on_completion, NULL,
                            NULL, err);
}

static double processor_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
    um_error err;
    um_remote *remote = NULL;
    um_responder *r = NULL;
    um_remote_options options;
    const um_remote_journal journal = {.lookup = lookup, .record = record};
    um_remote_options_init(&options);
    uint64_t requests = argc > 2 ? strtoull(argv[2], NULL, 10) : 50000;
    options.max_concurrency = argc > 3 ? (uint32_t)atoi(argv[3]) : 64;
    uint32_t samples = argc > 4 ? (uint32_t)atoi(argv[4]) : 1;
    options.deadline_ms = 2000;
    options.idle_timeout_ms = 500;
    options.backoff_ms = 20;
    options.outage_wait_ms = 50;
    options.outage_wait_max_ms = 500;
    const um_remote_endpoint endpoint = {.base_url = argc > 1 ? argv[1] : "", .model = "fault"};
    um_prompt *prompts = calloc(CALL_PROMPTS, sizeof *prompts);
    um_message *messages = calloc(CALL_PROMPTS, sizeof *messages);
    char(*texts)[64] = calloc(CALL_PROMPTS, sizeof *texts);
    if (prompts == NULL || messages == NULL || texts == NULL)
        return 1;
    if (um_remote_open(&remote, &endpoint, 1, &options, &err) != UM_OK ||
        um_remote_responder_open(&r, remote, NULL, &journal, NULL, &err) != UM_OK)
        return fail(&err);
    uint64_t begun = um_clock_ms();
    double processor = processor_seconds();
    unsigned long resident = 0;
    for (uint64_t at = 0; at < requests; at += CALL_PROMPTS) {
        size_t n = requests - at < CALL_PROMPTS ? (size_t)(requests - at) : CALL_PROMPTS;
        if (ask(r, at, n, samples, prompts, messages, texts, &err) != UM_OK)
            return fail(&err);
        if (at == 0)
            resident = resident_kb();
    }
    double seconds = (double)(um_clock_ms() - begun) / 1000;
    const um_remote_totals *t = um_remote_totals_of(remote);
    printf("%llu answers, %llu requests (%llu again), %llu failed, %u at once: %.2f s, %.0f "
           "requests/s; client's processor time %.2f s (%.0f us a request)\n",
           (unsigned long long)answers, (unsigned long long)t->requests,
           (unsigned long long)t->retries, (unsigned long long)t->failed, options.max_concurrency,
           seconds, (double)t->requests / seconds, processor_seconds() - processor,
           (processor_seconds() - processor) * 1e6 / (double)t->requests);
    printf("journal: %llu events in %llu commits; resident %lu KiB after %d prompts, %lu KiB at "
           "the end\n",
           (unsigned long long)recorded, (unsigned long long)commits, resident, CALL_PROMPTS,
           resident_kb());
    bool whole = answers + t->failed == requests * samples;
    um_responder_free(r);
    um_remote_free(remote);
    free(prompts);
    free(messages);
    free(texts);
    return whole ? 0 : 1;
}
