/*
 * Endpoints that go away, come back or stay away, that ask for less, and a second one that does the
 * work; deadlines that nobody tells of.
 */
#include <curl/curl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include "base/file.h"
#include "remote_util.h"
#include "steady.h"

typedef struct outage {
    fault_server *server;
    fault_config config;
    useconds_t after, lasts;
} outage;

static void *take_down(void *context)
{
    outage *o = context;
    usleep(o->after);
    fault_stop(o->server);
    usleep(o->lasts);
    o->server = o->lasts > 0 ? fault_start(&o->config) : NULL;
    return NULL;
}

/* The server goes away and comes back: the run pauses, says so, and loses nothing. */
static void test_outage(void **state)
{
    (void)state;
    um_error err;
    outage o = {.config = {.latency_ms = 10}, .after = 150000, .lasts = 400000};
    pthread_t thread;
    memory_journal j = {0};
    collected got;
    listener l;
    um_monitor monitor = listen_to(&l);
    prompts p;
    o.server = fault_start(&o.config);
    o.config.port = fault_port(o.server);
    um_remote_options options = quick_options();
    options.max_choices = 1;
    options.retries = 2; /* tries in an outage are not counted */
    um_remote *remote = open_client(o.server, &options);
    assert_ok(um_remote_assume(remote, "vllm", &err), err);
    prompts_init(&p, 60, OPENING);
    pthread_create(&thread, NULL, take_down, &o);
    assert_ok(run_samples(remote, &j, &p, 10, &got, &monitor, &err), err);
    pthread_join(thread, NULL);
    assert_int_equal(got.got, 600);
    assert_non_null(strstr(l.text, "does not answer"));
    assert_non_null(strstr(l.text, "answers again"));
    assert_int_equal(j.failed, 0);
    collected_free(&got);
    prompts_free(&p);
    journal_free(&j);
    um_remote_free(remote);
    fault_stop(o.server);
}

/* Without retries the failures that reveal an outage are final, but no more than those. */
static void test_outage_without_retries(void **state)
{
    (void)state;
    um_error err;
    fault_config config = {.latency_ms = 5};
    fault_server *s = fault_start(&config);
    um_remote_options o = quick_options();
    prompts p;
    collected got;
    o.max_choices = 1;
    o.retries = 0;
    um_remote *remote = open_client(s, &o);
    assert_ok(um_remote_assume(remote, "vllm", &err), err);
    assert_true(fault_reset(s, "when=8-15 close=headers delay=30\n"));
    prompts_init(&p, 40, OPENING);
    assert_ok(run_samples(remote, NULL, &p, 1, &got, NULL, &err), err);
    assert_int_equal(um_remote_totals_of(remote)->failed, 5);
    assert_int_equal(got.got, 35);
    collected_free(&got);
    prompts_free(&p);
    um_remote_free(remote);
    fault_stop(s);
}

/* In the place of curl's: what is to be done at a time is forgotten from a time on. */
static uint64_t forgets_from_ms = UINT64_MAX;

CURLMcode curl_multi_socket_action(CURLM *multi, curl_socket_t fd, int events, int *running)
{
    static CURLMcode (*real)(CURLM *, curl_socket_t, int, int *);
    if (real == NULL)
        real = (CURLMcode(*)(CURLM *, curl_socket_t, int, int *))dlsym(RTLD_NEXT, __func__);
    if (fd == CURL_SOCKET_TIMEOUT && um_clock_ms() >= forgets_from_ms)
        return CURLM_OK;
    return real(multi, fd, events, running);
}

/* Curl loses deadlines where the process is stopped at the wrong time. They hold all the same. */
static void test_lost_deadlines(void **state)
{
    bench *b = *state;
    um_error err;
    collected got;
    um_remote_options o = b->options;
    o.outage_limit_ms = 400;
    o.retries = 0;
    um_remote *remote = bench_client(b, &o, "when=all silence\n");
    forgets_from_ms = um_clock_ms() + o.deadline_ms / 2;
    const um_status status = run_samples(remote, NULL, &b->p, 1, &got, NULL, &err);
    forgets_from_ms = UINT64_MAX;
    assert_int_equal(status, UM_ERR_REMOTE);
    assert_non_null(strstr(err.text, "deadline passed"));
    assert_int_equal(got.got, 0);
    collected_free(&got);
    um_remote_free(remote);
}

/* It does not come back: the run ends in time, and the next one goes on. */
static void test_long_outage(void **state)
{
    (void)state;
    um_error err;
    outage o = {.config = {.latency_ms = 10}, .after = 100000, .lasts = 0};
    memory_journal j = {0};
    collected got;
    prompts p;
    pthread_t thread;
    o.server = fault_start(&o.config);
    o.config.port = fault_port(o.server);
    um_remote_options options = quick_options();
    options.max_choices = 1;
    options.outage_limit_ms = 500;
    um_remote *remote = open_client(o.server, &options);
    assert_ok(um_remote_assume(remote, "vllm", &err), err);
    prompts_init(&p, 60, OPENING);
    pthread_create(&thread, NULL, take_down, &o);
    uint64_t begun = um_clock_ms();
    assert_int_equal(run_samples(remote, &j, &p, 10, &got, NULL, &err), UM_ERR_REMOTE);
    assert_true(um_clock_ms() - begun < 1500);
    assert_non_null(strstr(err.text, "what was answered is saved"));
    assert_true(got.got > 0 && got.got < 600);
    assert_int_equal(j.answered, got.got);
    assert_int_equal(j.failed, 0);
    assert_true(journal_open_intents(&j) <= options.max_concurrency);
    size_t before = got.got;
    collected_free(&got);
    pthread_join(thread, NULL);

    o.server = fault_start(&o.config);
    journal_reopen(&j);
    fault_stats stats;
    assert_ok(run_samples(remote, &j, &p, 10, &got, NULL, &err), err);
    assert_int_equal(got.got, 600);
    fault_get(o.server, &stats);
    assert_int_equal(stats.answered, 600 - before);
    collected_free(&got);
    prompts_free(&p);
    journal_free(&j);
    um_remote_free(remote);
    fault_stop(o.server);
}

/* 429s teach how many at once are welcome. */
static void test_adapts(void **state)
{
    (void)state;
    um_error err;
    fault_config config = {.latency_ms = 10, .max_at_once = 12};
    fault_server *s = fault_start(&config);
    um_remote_options o = quick_options();
    prompts p;
    collected got;
    fault_stats stats;
    o.max_concurrency = 200;
    o.max_choices = 1;
    um_remote *remote = open_client(s, &o);
    assert_ok(um_remote_assume(remote, "vllm", &err), err);
    prompts_init(&p, 200, OPENING);
    assert_ok(run_samples(remote, NULL, &p, 4, &got, NULL, &err), err);
    assert_int_equal(got.got, 800);
    fault_get(s, &stats);
    const um_remote_totals *t = um_remote_totals_of(remote);
    assert_int_equal(t->failed, 0);
    assert_int_equal(stats.answered, 800);
    /* Without adapting, nine of ten of the first 200 and of all that follow would be refused. */
    assert_true(t->rate_limited > 0);
    assert_true(t->rate_limited < 250);
    collected_free(&got);
    prompts_free(&p);
    um_remote_free(remote);
    fault_stop(s);
}

/* Two endpoints, one of them always failing: the other does the work. */
static void test_one_of_two(void **state)
{
    static const char *const scripts[] = {"when=all status=401\n", "when=all close=before\n",
                                          "when=all status=429\n", "when=all silence\n"};
    bench *b = *state;
    for (size_t i = 0; i < 4; i++) {
        um_error err;
        char urls[2][64];
        fault_config config = {.script = scripts[i]};
        fault_server *bad = fault_start(&config);
        um_remote_endpoint e[2] = {{.base_url = url_of(bad, urls[0]), .model = "fault"},
                                   {.base_url = url_of(b->server, urls[1]), .model = "fault"}};
        um_remote *remote = NULL;
        collected got;
        fault_reset(b->server, "");
        assert_ok(um_remote_open(&remote, e, 2, &b->options, &err), err);
        assert_ok(um_remote_assume(remote, "vllm", &err), err);
        assert_ok(run_samples(remote, NULL, &b->p, 10, &got, NULL, &err), err);
        assert_int_equal(got.got, BENCH_ROWS * 10);
        collected_free(&got);
        um_remote_free(remote);
        fault_stop(bad);
    }
}

static int test_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outage_without_retries),
        cmocka_unit_test(test_outage),
        cmocka_unit_test(test_long_outage),
        cmocka_unit_test(test_lost_deadlines),
        cmocka_unit_test(test_adapts),
        cmocka_unit_test(test_one_of_two),
    };
    return cmocka_run_group_tests(tests, bench_open, bench_close);
}

int main(void)
{
    return steady_run(test_all);
}
