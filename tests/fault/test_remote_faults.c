/*
 * Everything an endpoint can do wrong, at the first, a middle and the last request; each case says
 * what must come of it. The server's counts are the outside view.
 */
#include "remote_util.h"
#include "steady.h"

#include <unistd.h>

#include "base/file.h"

typedef enum outcome {
    RECOVERS,  /* every answer comes */
    LOSES_ONE, /* one answer fails, the others come */
    ENDS       /* the run ends with UM_ERR_REMOTE; what was not asked is asked by the next run */
} outcome;

typedef struct fault_case {
    const char *action; /* of the rule */
    outcome outcome;
    const char *says; /* part of the failure's reason, of the error, or of a message; NULL: any */
    uint32_t extra;   /* requests sent again at least; of RECOVERS */
    uint32_t least_ms;
    bool clean; /* of RECOVERS: no answer was asked for twice */
} fault_case;

static const fault_case cases[] = {
    {"status=408", RECOVERS, NULL, 1, 3, true},
    {"status=409", RECOVERS, NULL, 1, 3, true},
    {"status=425", RECOVERS, NULL, 1, 3, true},
    {"status=429", RECOVERS, NULL, 1, 3, true},
    {"status=500", RECOVERS, NULL, 1, 3, true},
    {"status=502", RECOVERS, NULL, 1, 3, true},
    {"status=503", RECOVERS, NULL, 1, 3, true},
    {"status=504", RECOVERS, NULL, 1, 3, true},
    {"status=529", RECOVERS, NULL, 1, 3, true},
    {"status=429 header=retry-after-ms:120", RECOVERS, NULL, 1, 118, true},
    {"status=503 header=retry-after-ms:120", RECOVERS, NULL, 1, 118, true},
    {"status=408 header=retry-after-ms:120", RECOVERS, NULL, 1, 118, true},
    {"status=429 header=\"Retry-After: 0.13\"", RECOVERS, NULL, 1, 128, true},
    {"status=429 body={\\\"error\\\":{\\\"code\\\":\\\"insufficient_quota\\\",\\\"message\\\":"
     "\\\"empty_purse\\\"}}",
     RECOVERS, "quota exhausted (empty_purse)", 1, 95, true},
    {"status=402", RECOVERS, "quota exhausted", 1, 95, true},
    {"status=400 body={\\\"error\\\":{\\\"message\\\":\\\"too_long_for_us\\\"}}", LOSES_ONE,
     "HTTP 400: too_long_for_us", 0, 0, false},
    {"status=413", LOSES_ONE, "HTTP 413: scripted", 0, 0, false},
    {"status=422", LOSES_ONE, "HTTP 422", 0, 0, false},
    {"status=401", ENDS, "HTTP 401", 0, 0, false},
    {"status=404", ENDS, "HTTP 404", 0, 0, false},
    /* On a connection that served before, curl itself asks again at once. */
    {"close=before", RECOVERS, NULL, 1, 0, true},
    {"close=before reset", RECOVERS, NULL, 1, 0, true},
    {"close=headers", RECOVERS, NULL, 1, 3, true},
    {"close=mid", RECOVERS, NULL, 1, 3, true},
    {"close=mid reset", RECOVERS, NULL, 1, 3, true},
    {"close=after", RECOVERS, NULL, 0, 0, true},
    {"silence", RECOVERS, NULL, 1, 280, true},
    {"drip=40", RECOVERS, NULL, 1, 80, true},
    {"truncate", RECOVERS, NULL, 1, 3, true},
    {"html", RECOVERS, NULL, 1, 3, true},
    {"body=\"  \"", RECOVERS, NULL, 1, 3, true},
    {"body=[1,2]", RECOVERS, NULL, 1, 3, true},
    {"body={\\\"choices\\\":7}", RECOVERS, NULL, 1, 3, true},
    {"status=204", RECOVERS, NULL, 1, 3, true},
    {"giant=1073741824", RECOVERS, NULL, 1, 3, true},
    {"giant=1073741824 nolength", RECOVERS, NULL, 1, 3, true},
    {"nolength", RECOVERS, NULL, 0, 0, true},
    {"nolength close=mid", RECOVERS, NULL, 1, 3, true},
    {"choices=0", RECOVERS, NULL, 1, 3, true},
    {"choices=3", RECOVERS, NULL, 0, 0, true},
    {"null", RECOVERS, NULL, 1, 3, true},
    {"finish=null", RECOVERS, NULL, 1, 3, true},
    {"finish=content_filter", RECOVERS, NULL, 1, 3, true},
    {"noindex", RECOVERS, NULL, 0, 0, true},
    {"nousage", RECOVERS, NULL, 0, 0, true},
    {"nostop", RECOVERS, NULL, 0, 0, true}, /* texts are cut here too */
};

static void expect_recovery(const fault_case *c, const memory_journal *j, const collected *got,
                            const listener *l, const fault_stats *stats, const um_remote *remote)
{
    const um_remote_failure *list;
    assert_int_equal(um_remote_failures(remote, &list), 0);
    assert_int_equal(got->got, BENCH_ROWS);
    for (size_t i = 0; i < BENCH_ROWS; i++) {
        assert_null(strstr(got->texts[i], "Behavior:"));
        assert_int_equal(got->finish[i], UM_FINISH_STOP);
    }
    assert_int_equal(j->answered, BENCH_ROWS);
    assert_true(stats->requests >= BENCH_ROWS + c->extra);
    assert_true(stats->requests <= BENCH_ROWS + 3);
    if (c->clean)
        assert_int_equal(stats->repeated, 0);
    if (c->says != NULL && strstr(l->text, c->says) == NULL)
        fail_msg("no message has '%s': %s", c->says, l->text);
}

static void expect_loss(const fault_case *c, const memory_journal *j, const collected *got,
                        const um_remote *remote)
{
    const um_remote_failure *list;
    assert_int_equal(um_remote_failures(remote, &list), 1);
    assert_int_equal(got->got, BENCH_ROWS - 1);
    assert_int_equal(j->answered, BENCH_ROWS - 1);
    assert_int_equal(j->failed, 1);
    assert_null(got->texts[list[0].prompt - 1000]);
    if (strstr(list[0].reason, c->says) == NULL)
        fail_msg("the reason is '%s', not '%s'", list[0].reason, c->says);
}

static void run_case(bench *b, const fault_case *c, unsigned at, uint32_t concurrency)
{
    um_error err;
    char script[512];
    memory_journal j = {0};
    collected got;
    listener l;
    um_monitor monitor = listen_to(&l);
    fault_stats stats;
    um_remote_options o = b->options;
    o.max_concurrency = concurrency;
    um_remote *remote = open_client(b->server, &o);

    fault_reset(b->server, "");
    assert_ok(um_remote_assume(remote, "vllm", &err), err);
    snprintf(script, sizeof script, "when=%u %s\n", at, c->action);
    assert_true(fault_reset(b->server, script));
    uint64_t begun = um_clock_ms();
    um_status status = run_samples(remote, &j, &b->p, 1, &got, &monitor, &err);
    uint64_t took = um_clock_ms() - begun;
    fault_get(b->server, &stats);
    if (status != (c->outcome == ENDS ? UM_ERR_REMOTE : UM_OK))
        fail_msg("%s", status != UM_OK ? err.text : "the run did not end");
    assert_true(took >= c->least_ms);
    assert_true(took < c->least_ms + 1200);
    assert_int_equal(stats.faults, 1);
    assert_int_equal(journal_open_intents(&j), 0);
    if (c->outcome == RECOVERS)
        expect_recovery(c, &j, &got, &l, &stats, remote);
    else if (c->outcome == LOSES_ONE)
        expect_loss(c, &j, &got, remote);
    else if (strstr(err.text, c->says) == NULL)
        fail_msg("the error is '%s', not '%s'", err.text, c->says);
    collected_free(&got);
    um_remote_free(remote);

    /* The next run completes what this one left, and asks for nothing it has. */
    uint64_t had = j.answered;
    fault_reset(b->server, "");
    remote = open_client(b->server, &o);
    assert_ok(um_remote_assume(remote, "vllm", &err), err);
    assert_ok(run_samples(remote, &j, &b->p, 1, &got, &monitor, &err), err);
    assert_int_equal(got.got, BENCH_ROWS);
    fault_get(b->server, &stats);
    assert_int_equal(stats.requests, BENCH_ROWS - had);
    collected_free(&got);
    um_remote_free(remote);
    journal_free(&j);
}

static void test_cases(void **state)
{
    bench *b = *state;
    static const unsigned places[] = {0, BENCH_ROWS / 2, BENCH_ROWS - 1};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t k = 0; k < 3; k++) {
            printf("[   CASE   ] %s at request %u\n", cases[i].action, places[k]);
            run_case(b, &cases[i], places[k], k == 1 ? 3 : 1);
        }
    }
}

/* With hours to its deadline, a dripping answer is given up soon and a waiting one is not; a body
 * without end is cut at its limit. */
static void test_slow_bodies(void **state)
{
    bench *b = *state;
    bench slow = *b;
    const fault_case drip = {"drip=20", RECOVERS, NULL, 1, 80, true};
    const fault_case late = {"delay=500", RECOVERS, NULL, 0, 500, true};
    const fault_case endless = {"giant=70000 nolength", RECOVERS, NULL, 1, 3, true};
    slow.options.deadline_ms = 3600000;
    run_case(&slow, &drip, 4, 1);
    run_case(&slow, &late, 4, 1);
    run_case(&slow, &endless, 4, 1);
}

/* 403: of the first request the key's fault, later the row's. */
static void test_forbidden(void **state)
{
    const fault_case first = {"status=403", ENDS, "HTTP 403", 0, 0, false};
    const fault_case later = {"status=403", LOSES_ONE, "HTTP 403", 0, 0, false};
    run_case(*state, &first, 0, 1);
    run_case(*state, &later, BENCH_ROWS / 2, 1);
    run_case(*state, &later, BENCH_ROWS - 1, 1);
}

/* Waits of whole seconds: a date by the server's own clock, and plain seconds. */
static void test_retry_after(void **state)
{
    const fault_case date = {"status=429 header=\"Date: Wed, 21 Oct 2015 07:28:00 GMT\" "
                             "header=\"Retry-After: Wed, 21 Oct 2015 07:28:01 GMT\"",
                             RECOVERS,
                             NULL,
                             1,
                             995,
                             true};
    const fault_case seconds = {"status=503 header=Retry-After:1", RECOVERS, NULL, 1, 995, true};
    run_case(*state, &date, 4, 1);
    run_case(*state, &seconds, 4, 1);
}

/* A row that is always answered badly fails; the others do not. */
static void test_poisoned_row(void **state)
{
    static const struct {
        const char *action, *says;
    } actions[] = {
        {"giant=70000 nolength", "larger than 65536 bytes"},
        {"giant=70000", "larger than 65536 bytes"},
        {"status=500", "HTTP 500: scripted"},
        {"close=before", "connection broken"},
        {"close=mid", "connection broken"},
        {"null", "the content is null"},
        {"html", "a web page"},
        {"truncate", "is not JSON, or is cut short"},
        {"finish=tool_calls", "the finish reason is tool_calls"},
        {"status=502", "HTTP 502"},
    };
    bench *b = *state;
    um_remote_options o = b->options;
    o.retries = 3;
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++) {
        for (unsigned row = 0; row < BENCH_ROWS; row += BENCH_ROWS - 1) {
            um_error err;
            char script[128];
            memory_journal j = {0};
            collected got;
            const um_remote_failure *list;
            snprintf(script, sizeof script, "match=<%u> when=all %s\n", row, actions[i].action);
            um_remote *remote = bench_client(b, &o, script);
            assert_ok(run_samples(remote, &j, &b->p, 1, &got, NULL, &err), err);
            assert_int_equal(got.got, BENCH_ROWS - 1);
            assert_null(got.texts[row]);
            assert_int_equal(um_remote_failures(remote, &list), 1);
            assert_int_equal(list[0].prompt, 1000 + row);
            if (strstr(list[0].reason, actions[i].says) == NULL)
                fail_msg("%s: the reason is '%s'", actions[i].action, list[0].reason);
            assert_int_equal(j.failed, 1);
            assert_int_equal(journal_open_intents(&j), 0);
            collected_free(&got);
            journal_free(&j);
            um_remote_free(remote);
        }
    }
}

/* What fails for every row ends the run soon, and says why. */
static void test_systematic(void **state)
{
    static const struct {
        const char *action, *says;
    } all[] = {
        {"status=400", "failed; the last: HTTP 400: scripted"},
        {"status=500", "HTTP 500"},
        {"html", "web page"},
        {"null", "content is null"},
        {"status=401", "HTTP 401"},
        {"status=429", "answer"},
        {"status=429 header=Retry-After:259200", "no endpoint is to be had before 2592"},
        {"silence", "deadline passed"},
    };
    bench *b = *state;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        um_error err;
        char script[256];
        memory_journal j = {0};
        collected got;
        um_remote_options o = b->options;
        o.outage_limit_ms = 400;
        o.retries = 2;
        snprintf(script, sizeof script, "when=all %s\n", all[i].action);
        um_remote *remote = bench_client(b, &o, script);
        uint64_t begun = um_clock_ms();
        assert_int_equal(run_samples(remote, &j, &b->p, 1, &got, NULL, &err), UM_ERR_REMOTE);
        assert_true(um_clock_ms() - begun < 2500);
        if (strstr(err.text, all[i].says) == NULL)
            fail_msg("%s: the error is '%s'", all[i].action, err.text);
        assert_int_equal(got.got, 0);
        collected_free(&got);
        journal_free(&j);
        um_remote_free(remote);
    }
}

/* ... before everything is asked for. */
static void test_many_failures(void **state)
{
    bench *b = *state;
    um_error err;
    prompts p;
    collected got;
    fault_stats stats;
    prompts_init(&p, 200, OPENING);
    um_remote *remote = bench_client(b, &b->options, "when=20-9999 status=400\n");
    assert_int_equal(run_samples(remote, NULL, &p, 1, &got, NULL, &err), UM_ERR_REMOTE);
    assert_non_null(strstr(err.text, "16 requests failed in a row; the last: HTTP 400"));
    assert_int_equal(got.got, 20);
    fault_get(b->server, &stats);
    assert_true(stats.requests < 20 + 16 + 2 * b->options.max_concurrency);
    collected_free(&got);
    prompts_free(&p);
    um_remote_free(remote);
}

/* Several choices a request ---------------------------------------------------------------------
 */

static const struct {
    const char *action;
    uint32_t requests; /* for 6 prompts of 5 samples, the fault at one of them */
    bool same;         /* the texts are those of the run without a fault */
} group_cases[] = {
    {"reverse", 6, true},        /* choices belong to their index, not to their place */
    {"choices=9", 6, true},      /* what is more than asked is left */
    {"choices=2", 6 + 3, false}, /* what is missing is asked for, one by one */
    {"choices=0", 6 + 1, true},  {"duplicate", 6 + 4, false}, /* one index, one answer */
    {"noindex", 6 + 1, true},    {"null", 6 + 1, true},       {"finish=length", 6, true},
};

static void test_groups(void **state)
{
    bench *b = *state;
    um_error err;
    um_remote_options o = b->options;
    prompts p;
    collected right;
    o.max_choices = 5;
    prompts_init(&p, 6, OPENING);
    fault_reset(b->server, "");
    um_remote *remote = open_client(b->server, &o);
    assert_ok(um_remote_probe(remote, NULL, &err), err);
    assert_ok(run_samples(remote, NULL, &p, 5, &right, NULL, &err), err);
    for (size_t i = 0; i < sizeof group_cases / sizeof group_cases[0]; i++) {
        for (unsigned at = 0; at < 6; at += at == 0 ? 3 : 2) {
            char script[128];
            memory_journal j = {0};
            collected got;
            fault_stats stats;
            snprintf(script, sizeof script, "when=%u %s\n", at, group_cases[i].action);
            assert_true(fault_reset(b->server, script));
            assert_ok(run_samples(remote, &j, &p, 5, &got, NULL, &err), err);
            fault_get(b->server, &stats);
            printf("[   CASE   ] %s at request %u\n", group_cases[i].action, at);
            assert_int_equal(got.got, 30);
            assert_int_equal(stats.requests, group_cases[i].requests);
            assert_int_equal(j.answered, 30);
            for (size_t k = 0; k < 30 && group_cases[i].same; k++)
                assert_string_equal(got.texts[k], right.texts[k]);
            collected_free(&got);
            journal_free(&j);
        }
    }
    collected_free(&right);
    um_remote_free(remote);
    prompts_free(&p);
}

/* An endpoint that refuses several choices after all is asked for one. */
static void test_refused_groups(void **state)
{
    bench *b = *state;
    um_error err;
    um_remote_options o = b->options;
    listener l;
    um_monitor monitor = listen_to(&l);
    collected got;
    o.max_choices = 5;
    um_remote *remote = bench_client(b, &o, "match=\"\\\"n\\\":\" when=all status=400\n");
    assert_ok(run_samples(remote, NULL, &b->p, 5, &got, &monitor, &err), err);
    assert_int_equal(got.got, BENCH_ROWS * 5);
    assert_non_null(strstr(l.text, "refuses several choices"));
    collected_free(&got);
    um_remote_free(remote);
}

static int test_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),          cmocka_unit_test(test_forbidden),
        cmocka_unit_test(test_slow_bodies),    cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_poisoned_row),   cmocka_unit_test(test_systematic),
        cmocka_unit_test(test_groups),         cmocka_unit_test(test_many_failures),
        cmocka_unit_test(test_refused_groups),
    };
    return cmocka_run_group_tests(tests, bench_open, bench_close);
}

int main(void)
{
    return steady_run(test_all);
}
