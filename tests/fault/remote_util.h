/* remote_util.h - a fault server, a client with short waits, a journal in memory, collected
 * answers. */
#ifndef UM_TEST_REMOTE_UTIL_H
#define UM_TEST_REMOTE_UTIL_H

#include "fault.h"
#include "mirrorer/remote.h"
#include "test_util.h"

/* Journal in memory ---------------------------------------------------------------------------- */

typedef struct entry {
    um_remote_key key;
    bool intended, failed;
    char *answer;
    char *reason;
    int http_status;
    uint32_t times_answered;
} entry;

typedef struct memory_journal {
    entry *entries;
    size_t n, cap;
    size_t *slots; /* open addressing: index + 1 */
    size_t n_slots;
    uint64_t commits, intended, answered, failed, withdrawn, lookups;
    uint64_t prompt_tokens, completion_tokens;
    double cost;
    uint64_t fail_at; /* commit that fails, from 1; 0: none */
} memory_journal;

static inline entry *journal_find(memory_journal *j, um_remote_key key, bool add)
{
    if (j->n * 2 >= j->n_slots) {
        j->n_slots = j->n_slots > 0 ? j->n_slots * 2 : 256;
        free(j->slots);
        j->slots = calloc(j->n_slots, sizeof *j->slots);
        for (size_t i = 0; i < j->n; i++) {
            size_t at = (j->entries[i].key.hi ^ j->entries[i].key.lo) & (j->n_slots - 1);
            while (j->slots[at] != 0)
                at = (at + 1) & (j->n_slots - 1);
            j->slots[at] = i + 1;
        }
    }
    size_t at = (key.hi ^ key.lo) & (j->n_slots - 1);
    for (; j->slots[at] != 0; at = (at + 1) & (j->n_slots - 1)) {
        entry *e = &j->entries[j->slots[at] - 1];
        if (e->key.hi == key.hi && e->key.lo == key.lo)
            return e;
    }
    if (!add)
        return NULL;
    if (j->n == j->cap) {
        j->cap = j->cap * 2 + 64;
        j->entries = realloc(j->entries, j->cap * sizeof *j->entries);
    }
    j->entries[j->n] = (entry){.key = key};
    j->slots[at] = ++j->n;
    return &j->entries[j->n - 1];
}

static inline um_status journal_lookup(void *context, um_remote_key key, const char **answer,
                                       size_t *len, um_error *err)
{
    memory_journal *j = context;
    entry *e = journal_find(j, key, false);
    (void)err;
    j->lookups++;
    *answer = e != NULL ? e->answer : NULL;
    *len = *answer != NULL ? strlen(*answer) : 0;
    return UM_OK;
}

static inline um_status journal_record(void *context, const um_remote_event *events, size_t n,
                                       um_error *err)
{
    memory_journal *j = context;
    if (++j->commits == j->fail_at) {
        if (err != NULL) {
            err->status = UM_ERR_IO;
            snprintf(err->text, sizeof err->text, "journal: disk full");
        }
        return UM_ERR_IO;
    }
    for (size_t i = 0; i < n; i++) {
        const um_remote_event *v = &events[i];
        entry *e = journal_find(j, v->key, true);
        switch (v->kind) {
        case UM_REMOTE_INTENDED:
            assert_false(e->intended);
            assert_null(e->answer);
            e->intended = true;
            e->failed = false;
            j->intended++;
            break;
        case UM_REMOTE_ANSWERED:
            assert_int_equal(strlen(v->answer), v->answer_len);
            e->times_answered++;
            e->intended = false;
            free(e->answer);
            e->answer = strdup(v->answer);
            j->answered++;
            j->prompt_tokens += v->prompt_tokens;
            j->completion_tokens += v->completion_tokens;
            j->cost += v->cost;
            break;
        case UM_REMOTE_FAILED:
            e->intended = false;
            e->failed = true;
            e->http_status = v->http_status;
            free(e->reason);
            e->reason = strdup(v->reason);
            j->failed++;
            break;
        case UM_REMOTE_WITHDRAWN:
            assert_true(e->intended);
            e->intended = false;
            j->withdrawn++;
            break;
        }
    }
    return UM_OK;
}

/* Keys that are intended and nothing else: what may have been paid. */
static inline size_t journal_open_intents(const memory_journal *j)
{
    size_t n = 0;
    for (size_t i = 0; i < j->n; i++)
        n += j->entries[i].intended;
    return n;
}

/* What a new process finds: open intents may be intended again. */
static inline void journal_reopen(memory_journal *j)
{
    for (size_t i = 0; i < j->n; i++)
        j->entries[i].intended = false;
}

static inline um_remote_journal journal_of(memory_journal *j)
{
    return (um_remote_journal){.context = j, .lookup = journal_lookup, .record = journal_record};
}

static inline void journal_free(memory_journal *j)
{
    for (size_t i = 0; i < j->n; i++) {
        free(j->entries[i].answer);
        free(j->entries[i].reason);
    }
    free(j->entries);
    free(j->slots);
    *j = (memory_journal){0};
}

/* Collected samples ---------------------------------------------------------------------------- */

typedef struct collected {
    uint32_t n_samples, first_sample;
    char **texts; /* [prompts * n_samples] */
    um_finish *finish;
    size_t n, got;
} collected;

static inline void collected_init(collected *c, size_t prompts, uint32_t first, uint32_t n_samples)
{
    *c = (collected){.n_samples = n_samples, .first_sample = first, .n = prompts * n_samples};
    c->texts = calloc(c->n, sizeof *c->texts);
    c->finish = calloc(c->n, sizeof *c->finish);
}

static inline um_status collect(void *context, const um_completion *done, um_error *err)
{
    collected *c = context;
    size_t at = done->prompt * c->n_samples + (done->sample - c->first_sample);
    (void)err;
    assert_in_range(done->sample, c->first_sample, c->first_sample + c->n_samples - 1);
    assert_true(at < c->n);
    assert_null(c->texts[at]); /* each sample once */
    c->texts[at] = strdup(done->text);
    c->finish[at] = done->finish;
    c->got++;
    return UM_OK;
}

static inline void collected_free(collected *c)
{
    for (size_t i = 0; i < c->n; i++)
        free(c->texts[i]);
    free(c->texts);
    free(c->finish);
    *c = (collected){0};
}

/* Prompts -------------------------------------------------------------------------------------- */

typedef struct prompts {
    um_prompt *list;
    um_message (*messages)[2];
    char **texts;
    size_t n;
} prompts;

static inline void prompts_init(prompts *p, size_t n, const char *opening)
{
    p->n = n;
    p->list = calloc(n, sizeof *p->list);
    p->messages = calloc(n, sizeof *p->messages);
    p->texts = calloc(n, sizeof *p->texts);
    for (size_t i = 0; i < n; i++) {
        if (asprintf(&p->texts[i], "prompt <%zu>: # Exposure\n[A] one\n[B] two\n[C] three", i) < 0)
            abort();
        p->messages[i][0] = (um_message){"system", "You act as a \"user\"."};
        p->messages[i][1] = (um_message){"user", p->texts[i]};
        p->list[i] = (um_prompt){.key = 1000 + i,
                                 .messages = p->messages[i],
                                 .n_messages = 2,
                                 .opening = opening,
                                 .k = 3};
    }
}

static inline void prompts_free(prompts *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->texts[i]);
    free(p->texts);
    free(p->list);
    free(p->messages);
}

/* Clients -------------------------------------------------------------------------------------- */

/* Waits are a hundredth of the real ones. */
static inline um_remote_options quick_options(void)
{
    um_remote_options o;
    um_remote_options_init(&o);
    o.deadline_ms = 400;
    o.connect_timeout_ms = 300;
    o.idle_timeout_ms = 150;
    o.backoff_ms = 5;
    o.backoff_max_ms = 80;
    o.outage_wait_ms = 20;
    o.outage_wait_max_ms = 100;
    o.outage_limit_ms = 1500;
    o.max_concurrency = 8;
    o.commit_ms = 5;
    return o;
}

static inline const char *url_of(const fault_server *s, char buffer[64])
{
    snprintf(buffer, 64, "http://127.0.0.1:%d/v1", fault_port(s));
    return buffer;
}

static inline um_remote *open_client(const fault_server *s, const um_remote_options *o)
{
    char url[64];
    um_error err;
    um_remote *remote = NULL;
    um_remote_endpoint e = {.base_url = url_of(s, url), .model = "fault"};
    assert_ok(um_remote_open(&remote, &e, 1, o, &err), err);
    return remote;
}

/* Messages of a run, one after another. */
typedef struct listener {
    char text[8192];
    char detail[256];
    uint64_t shown;
    volatile sig_atomic_t stop;
} listener;

static inline void hear_message(void *context, const char *text)
{
    listener *l = context;
    size_t n = strlen(l->text);
    snprintf(l->text + n, sizeof l->text - n, "%s\n", text);
}

static inline void hear_progress(void *context, const um_progress *p)
{
    listener *l = context;
    l->shown++;
    snprintf(l->detail, sizeof l->detail, "%s", p->detail);
}

static inline um_monitor listen_to(listener *l)
{
    *l = (listener){0};
    return (um_monitor){
        .on_progress = hear_progress, .on_message = hear_message, .context = l, .stop = &l->stop};
}

static const um_sampling test_sampling = {
    .seed = 42, .temperature = 1, .top_p = 0.9f, .max_tokens = 200};

#define OPENING "Thought:\nStimulus:"

static const char *const stops[] = {"Behavior:"};

/* Runs complete() and gives what came. */
static inline um_status run_samples(um_remote *remote, memory_journal *j, const prompts *p,
                                    uint32_t n, collected *c, const um_monitor *monitor,
                                    um_error *err)
{
    um_responder *r = NULL;
    um_remote_journal journal = {0};
    if (j != NULL)
        journal = journal_of(j);
    um_status status =
        um_remote_responder_open(&r, remote, NULL, j != NULL ? &journal : NULL, monitor, err);
    if (status != UM_OK)
        return status;
    collected_init(c, p->n, 0, n);
    status = r->ops->complete(r, p->list, p->n, 0, n, &test_sampling, stops, 1, collect, c, monitor,
                              err);
    um_responder_free(r);
    return status;
}

/* A server, options of a client that waits briefly, prompts -------------------------------------
 */

#define BENCH_ROWS 9

typedef struct bench {
    fault_server *server;
    um_remote_options options;
    prompts p;
} bench;

static inline int bench_open(void **state)
{
    static bench b;
    fault_config config = {0};
    b.server = fault_start(&config);
    b.options = quick_options();
    b.options.deadline_ms = 300;
    b.options.idle_timeout_ms = 80;
    b.options.max_choices = 1;
    b.options.max_body_bytes = 65536;
    prompts_init(&b.p, BENCH_ROWS, OPENING);
    *state = &b;
    return 0;
}

static inline int bench_close(void **state)
{
    bench *b = *state;
    prompts_free(&b->p);
    fault_stop(b->server);
    return 0;
}

/* A client of the bench's server, which does as the script says from now on. */
static inline um_remote *bench_client(const bench *b, const um_remote_options *options,
                                      const char *script)
{
    um_error err;
    um_remote *remote = open_client(b->server, options);
    assert_true(fault_reset(b->server, ""));
    assert_ok(um_remote_assume(remote, "vllm", &err), err);
    assert_true(fault_reset(b->server, script));
    return remote;
}

#endif
