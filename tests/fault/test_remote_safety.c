/* Keys that go nowhere else, addresses, options, batch files, and a bounded soak. */
#include "remote_util.h"
#include "steady.h"

#include <unistd.h>

#include "base/file.h"
#include "remote/client.h"
#include "remote/secret.h"

#define KEY "sk-live-9f8e7d6c5b4a3210"

/* Keys ----------------------------------------------------------------------------------------- */

static void test_mask(void **state)
{
    (void)state;
    static const struct {
        const char *text, *key, *masked;
    } cases[] = {
        {"bad key: sk-live-9f8e7d6c5b4a3210!", KEY, "bad key: ***!"},
        {"sk-live-9f8e***3210 and " KEY KEY, KEY, "******3210 and ******"},
        {"sk-l is short", KEY, "sk-l is short"},
        {"first\nsecond " KEY, KEY, "first"},
        {"tab\there\x01", NULL, "tab here "},
        {"ab abc", "ab", "*** ***c"},
        {"", KEY, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[64];
        um_secret_mask(out, sizeof out, cases[i].text, cases[i].key);
        assert_string_equal(out, cases[i].masked);
    }
    char small[8]; /* a character that is cut is left out */
    um_secret_mask(small, 8, "abcde\xC3\xA9\xC3\xA9", NULL);
    assert_string_equal(small, "abcde\xC3\xA9");
    um_secret_mask(small, 7, "abcde\xC3\xA9\xC3\xA9", NULL);
    assert_string_equal(small, "abcde");
}

static void test_reading_keys(void **state)
{
    (void)state;
    um_error err;
    char dir[256], path[300], *key = NULL;
    assert_non_null(make_dir(dir, sizeof dir));
    snprintf(path, sizeof path, "%s/key", dir);
    setenv("UM_TEST_KEY", "  " KEY "\n", 1);
    assert_ok(um_secret_read(&key, "UM_TEST_KEY", NULL, &err), err);
    assert_string_equal(key, KEY);
    um_secret_free(key);
    assert_ok(um_file_write(path, KEY "\r\nsecond line\n", strlen(KEY) + 14, &err), err);
    assert_ok(um_secret_read(&key, NULL, path, &err), err);
    assert_string_equal(key, KEY);
    um_secret_free(key);
    assert_ok(um_secret_read(&key, NULL, NULL, &err), err);
    assert_null(key);
    assert_int_equal(um_secret_read(&key, "UM_TEST_KEY", path, &err), UM_ERR_INPUT);
    assert_null(strstr(err.text, KEY));
    assert_int_equal(um_secret_read(&key, "UM_TEST_ABSENT", NULL, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "UM_TEST_ABSENT"));
    setenv("UM_TEST_KEY", "two words", 1);
    assert_int_equal(um_secret_read(&key, "UM_TEST_KEY", NULL, &err), UM_ERR_INPUT);
    assert_null(strstr(err.text, "two words"));
    setenv("UM_TEST_KEY", " \n", 1);
    assert_int_equal(um_secret_read(&key, "UM_TEST_KEY", NULL, &err), UM_ERR_INPUT);
    snprintf(path, sizeof path, "%s/absent", dir);
    assert_int_equal(um_secret_read(&key, NULL, path, &err), UM_ERR_NOT_FOUND);
    unsetenv("UM_TEST_KEY");
    remove_dir(dir);
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool key, plain, good;
    } cases[] = {
        {"https://api.example.com/v1", true, false, true},
        {"https://api.example.com/v1/", true, false, true},
        {"http://127.0.0.1:8000/v1", true, false, true},
        {"http://localhost:8000/v1", true, false, true},
        {"http://[::1]:8000/v1", true, false, true},
        {"http://10.1.2.3/v1", true, false, true},
        {"http://172.16.0.1/v1", true, false, true},
        {"http://192.168.1.1/v1", true, false, true},
        {"http://[fd00::1]/v1", true, false, true},
        {"http://172.32.0.1/v1", true, false, false},
        {"http://11.0.0.1/v1", true, false, false},
        {"http://[2001:db8::1]/v1", true, false, false},
        {"http://api.example.com/v1", true, false, false},
        {"http://127.0.0.1.example.com/v1", true, false, false},
        {"http://api.example.com/v1", true, true, true},
        {"http://api.example.com/v1", false, false, true},
        {"ftp://127.0.0.1/v1", false, false, false},
        {"file:///etc/passwd", false, false, false},
        {"https://user:word@api.example.com/v1", false, false, false},
        {"https://api.example.com/v1?api-key=x", false, false, false},
        {"https://api.example.com/v1#x", false, false, false},
        {"api.example.com/v1", false, false, false},
        {"", false, false, false},
    };
    setenv("UM_TEST_KEY", KEY, 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        um_error err;
        um_remote *remote = NULL;
        um_remote_options o;
        um_remote_options_init(&o);
        o.plain_http = cases[i].plain;
        const um_remote_endpoint e = {
            .base_url = cases[i].url, .model = "m", .key_env = cases[i].key ? "UM_TEST_KEY" : NULL};
        um_status status = um_remote_open(&remote, &e, 1, &o, &err);
        if ((status == UM_OK) != cases[i].good)
            fail_msg("%s: %s", cases[i].url, status == UM_OK ? "accepted" : err.text);
        if (status != UM_OK) {
            assert_int_equal(status, UM_ERR_INPUT);
            assert_null(strstr(err.text, "word"));
        }
        um_remote_free(remote);
    }
    unsetenv("UM_TEST_KEY");
}

static void assert_no_key(const char *text)
{
    if (text != NULL)
        assert_null(strstr(text, "sk-live"));
}

/* The key reaches its endpoint, and no message, error, journal or other host. */
static void test_key_stays(void **state)
{
    (void)state;
    um_error err;
    char url[64], script[256], redirect[64];
    fault_config config = {.key = KEY}, open_config = {0};
    fault_server *s = fault_start(&config), *other = fault_start(&open_config);
    um_remote_options o = quick_options();
    const um_remote_endpoint e = {
        .base_url = url_of(s, url), .model = "fault", .key_env = "UM_TEST_KEY"};
    um_remote *remote = NULL;
    memory_journal j = {0};
    collected got;
    prompts p;
    listener l;
    um_monitor monitor = listen_to(&l);
    fault_stats stats;
    char *text = NULL;
    prompts_init(&p, 10, OPENING);
    setenv("UM_TEST_KEY", KEY, 1);
    o.max_choices = 1;
    assert_ok(um_remote_open(&remote, &e, 1, &o, &err), err);
    setenv("UM_TEST_KEY", "changed", 1); /* read once */
    assert_ok(run_samples(remote, &j, &p, 3, &got, &monitor, &err), err);
    assert_int_equal(got.got, 30);
    fault_get(s, &stats);
    assert_int_equal(stats.bad_key, 0);
    collected_free(&got);
    assert_ok(um_remote_describe(remote, &text, &err), err);
    assert_no_key(text);
    free(text);

    /* An endpoint that repeats the key in errors, or in a text. */
    fault_reset(s, "match=<3> when=all status=400 body={\\\"error\\\":{\\\"message\\\":\\\"key_" KEY
                   "_is_bad\\\"}}\nmatch=<5> when=all body={\\\"choices\\\":[{\\\"index\\\":0,"
                   "\\\"finish_reason\\\":\\\"stop\\\",\\\"message\\\":{\\\"content\\\":\\\"" KEY
                   "\\\"}}]}\n");
    const um_remote_failure *list;
    assert_ok(run_samples(remote, &j, &p, 4, &got, &monitor, &err), err);
    assert_int_equal(um_remote_failures(remote, &list), 2);
    for (size_t i = 0; i < 2; i++)
        assert_no_key(list[i].reason);
    collected_free(&got);

    /* A redirect to another host is not followed. */
    snprintf(script, sizeof script, "when=all redirect=%s/chat/completions?k=" KEY "\n",
             url_of(other, redirect));
    assert_true(fault_reset(s, script));
    assert_int_equal(run_samples(remote, &j, &p, 5, &got, &monitor, &err), UM_ERR_REMOTE);
    assert_non_null(strstr(err.text, "redirects, which is not followed"));
    assert_no_key(err.text);
    fault_get(other, &stats);
    assert_int_equal(stats.requests + stats.gets, 0);
    assert_int_equal(stats.connections, 0);
    collected_free(&got);

    assert_no_key(l.text);
    assert_no_key(l.detail);
    for (size_t i = 0; i < j.n; i++) {
        assert_no_key(j.entries[i].answer);
        assert_no_key(j.entries[i].reason);
    }
    um_remote_free(remote);

    /* A wrong key: the server says which; we do not. */
    remote = NULL;
    setenv("UM_TEST_KEY", "sk-live-wrong-123456", 1);
    assert_ok(um_remote_open(&remote, &e, 1, &o, &err), err);
    assert_int_equal(um_remote_probe(remote, &monitor, &err), UM_ERR_REMOTE);
    assert_non_null(strstr(err.text, "check the API key"));
    assert_no_key(err.text);
    um_remote_free(remote);
    unsetenv("UM_TEST_KEY");
    prompts_free(&p);
    journal_free(&j);
    fault_stop(s);
    fault_stop(other);
}

static void test_options(void **state)
{
    (void)state;
    um_error err;
    um_remote *remote = NULL;
    const um_remote_endpoint e = {.base_url = "http://127.0.0.1:1/v1", .model = "m"};
    um_remote_options o;
#define REFUSES(field, bad)                                                                        \
    um_remote_options_init(&o);                                                                    \
    o.field = bad;                                                                                 \
    assert_int_equal(um_remote_open(&remote, &e, 1, &o, &err), UM_ERR_INPUT);                      \
    assert_non_null(strstr(err.text, #field))
    REFUSES(max_concurrency, 0);
    REFUSES(max_concurrency, 65537);
    REFUSES(max_choices, 65);
    REFUSES(deadline_ms, 0);
    REFUSES(max_body_bytes, 10);
    REFUSES(max_cost, -1);
    REFUSES(max_hours, 0.0 / 0.0);
#undef REFUSES
    assert_int_equal(um_remote_open(&remote, &e, 0, NULL, &err), UM_ERR_INPUT);
    const um_remote_endpoint nameless = {.base_url = "http://127.0.0.1:1/v1"};
    assert_int_equal(um_remote_open(&remote, &nameless, 1, NULL, &err), UM_ERR_INPUT);
    const um_remote_endpoint heavy = {
        .base_url = "http://127.0.0.1:1/v1", .model = "m", .weight = -2};
    assert_int_equal(um_remote_open(&remote, &heavy, 1, NULL, &err), UM_ERR_INPUT);
    /* Nobody listens: the probe says so, soon. */
    o = quick_options();
    assert_ok(um_remote_open(&remote, &e, 1, &o, &err), err);
    assert_int_equal(um_remote_probe(remote, NULL, &err), UM_ERR_REMOTE);
    assert_non_null(strstr(err.text, "is it running"));
    um_remote_free(remote);
}

/* The keys decide what is replayed: they must not change from version to version. */
static void test_stable_keys(void **state)
{
    (void)state;
    um_error err;
    um_remote *remote = NULL;
    const um_remote_endpoint e = {.base_url = "http://127.0.0.1:1/v1", .model = "m"};
    const um_message messages[] = {{"system", "s"}, {"user", "u"}};
    um_prompt prompt = {.key = 5, .messages = messages, .n_messages = 2, .opening = "o"};
    um_ask ask = {.messages = messages,
                  .n_messages = 2,
                  .opening = "o",
                  .sampling = &test_sampling,
                  .stops = stops,
                  .n_stops = 1};
    assert_ok(um_remote_open(&remote, &e, 1, NULL, &err), err);
    assert_ok(um_remote_assume(remote, "vllm", &err), err);
    um_remote_key key = um_ask_key(remote, "complete", &prompt, &ask), other;
    assert_true(key.hi == 0xdb8e6d0955cce80fu && key.lo == 0xac6959c0e80f7063u);
    assert_int_equal(um_ask_seed(42, 5, 3), 1106331790);
    char id[UM_REMOTE_CUSTOM_ID_BYTES];
    uint32_t n;
    um_custom_id_write(id, key, 7);
    assert_true(um_custom_id_read(id, &other, &n));
    assert_true(other.hi == key.hi && other.lo == key.lo && n == 7);
    static const char *const foreign[] = {"",
                                          "row-1",
                                          "um1-",
                                          "um1-0123456789abcdef0123456789abcdef-0",
                                          "um1-0123456789abcdef0123456789abcdef-65",
                                          "um1-0123456789abcdef0123456789abcdeg-1",
                                          "um1-0123456789abcdef0123456789abcdef-1x"};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        assert_false(um_custom_id_read(foreign[i], &other, &n));
    um_remote_free(remote);
}

/* Batch files ---------------------------------------------------------------------------------- */

typedef struct row {
    char id[UM_REMOTE_CUSTOM_ID_BYTES];
    char *body;
    uint32_t answers;
} row;

typedef struct planned {
    row rows[64];
    size_t n;
} planned;

static um_status plan_row(void *context, const um_remote_request *request, um_error *err)
{
    planned *p = context;
    (void)err;
    assert_true(p->n < 64);
    assert_string_equal(request->url, "/v1/chat/completions");
    assert_int_equal(strlen(request->body), request->body_len);
    row *r = &p->rows[p->n++];
    snprintf(r->id, sizeof r->id, "%s", request->custom_id);
    r->body = strdup(request->body);
    r->answers = request->answers;
    return UM_OK;
}

static void planned_free(planned *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->rows[i].body);
    p->n = 0;
}

/* What a batch service makes of a row. */
static char *answer_row(const row *r, const fault_rule *rule, size_t *len)
{
    const fault_config config = {0};
    uint32_t choices;
    char *body = NULL;
    assert_int_equal(fault_answer(&config, "/v1/chat/completions", r->body, strlen(r->body), 9,
                                  rule, &body, len, &choices),
                     0);
    return body;
}

/* Rows written, answered elsewhere in another order and in part, read back, and the rest asked. */
static void test_batch(void **state)
{
    (void)state;
    um_error err;
    fault_config config = {0};
    fault_server *s = fault_start(&config);
    um_remote_options o = quick_options();
    um_remote *remote = open_client(s, &o);
    um_responder *r = NULL;
    memory_journal j = {0};
    um_remote_journal journal = journal_of(&j);
    prompts p;
    planned plan = {.n = 0};
    collected got;
    fault_stats stats;
    uint32_t answers;
    size_t len;
    o.max_choices = 16;
    prompts_init(&p, 12, OPENING);
    assert_ok(um_remote_assume(remote, "vllm", &err), err);
    assert_ok(um_remote_responder_open(&r, remote, NULL, &journal, NULL, &err), err);
    assert_ok(um_remote_plan(r, p.list, 12, 0, 10, &test_sampling, stops, 1, plan_row, &plan, &err),
              err);
    assert_int_equal(plan.n, 12);
    assert_int_equal(plan.rows[0].answers, 10);
    assert_non_null(strstr(plan.rows[0].body, "\"continue_final_message\":true"));
    assert_int_equal(j.commits, 0);

    for (size_t i = 12; i-- > 0;) {
        if (i == 4) /* never comes */
            continue;
        fault_rule rule = {.choices = i == 7 ? 6 : -1, .reverse = i == 8, .truncate = i == 9};
        char *body = answer_row(&plan.rows[i], &rule, &len);
        if (i == 9)
            len /= 2;
        um_status status = um_remote_accept(&journal, NULL, plan.rows[i].id, i == 10 ? 500 : 200,
                                            i == 10 ? "{\"error\":{\"message\":\"sorry\"}}" : body,
                                            i == 10 ? 29 : len, &answers, &err);
        assert_int_equal(status, i == 9 || i == 10 ? UM_ERR_REMOTE : UM_OK);
        assert_int_equal(answers, i == 9 || i == 10 ? 0 : i == 7 ? 6 : 10);
        if (i == 10)
            assert_string_equal(err.text, "HTTP 500: sorry");
        free(body);
    }
    assert_int_equal(um_remote_accept(&journal, NULL, "row-1", 200, "{}", 2, NULL, &err),
                     UM_ERR_INPUT);
    planned_free(&plan);

    /* What is missing, as rows and as a run. */
    assert_ok(um_remote_plan(r, p.list, 12, 0, 10, &test_sampling, stops, 1, plan_row, &plan, &err),
              err);
    assert_int_equal(plan.n, 4);
    planned_free(&plan);
    fault_reset(s, "");
    collected_init(&got, 12, 0, 10);
    assert_ok(
        r->ops->complete(r, p.list, 12, 0, 10, &test_sampling, stops, 1, collect, &got, NULL, &err),
        err);
    assert_int_equal(got.got, 120);
    fault_get(s, &stats);
    assert_int_equal(stats.n_choices, 34);
    assert_int_equal(um_remote_totals_of(remote)->replayed, 86);
    collected_free(&got);
    um_responder_free(r);
    um_remote_free(remote);
    prompts_free(&p);
    journal_free(&j);
    fault_stop(s);
}

/* Soak ----------------------------------------------------------------------------------------- */

static size_t resident_kb(void)
{
    unsigned long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%lu %lu", &pages, &resident), 2);
    fclose(f);
    return resident * (size_t)sysconf(_SC_PAGESIZE) / 1024;
}

static size_t open_files(void)
{
    size_t n = 0;
    for (int fd = 0; fd < 4096; fd++) {
        char path[64], target[8];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        n += readlink(path, target, sizeof target) > 0;
    }
    return n;
}

static const char soak_script[] = "match=prompt when=rate:0.01 status=500\n"
                                  "match=prompt when=rate:0.018 close=before\n"
                                  "match=prompt when=rate:0.024 close=mid reset\n"
                                  "match=prompt when=rate:0.03 truncate\n"
                                  "match=prompt when=rate:0.034 html\n"
                                  "match=prompt when=rate:0.038 null\n"
                                  "match=prompt when=rate:0.042 status=429\n"
                                  "match=prompt when=rate:0.046 choices=0\n"
                                  "match=prompt when=rate:0.048 giant=200000\n"
                                  "match=prompt when=rate:0.05 status=503\n";

static um_status count_one(void *context, const um_completion *c, um_error *err)
{
    (void)c;
    (void)err;
    ++*(uint64_t *)context;
    return UM_OK;
}

/* One request in twenty goes wrong: outputs are inputs, nothing whole is paid twice, memory and
 * files stay flat. The long form is bench/remote_soak.sh. */
static void test_soak(void **state)
{
    (void)state;
    um_error err;
    fault_config config = {0};
    fault_server *s = fault_start(&config);
    um_remote_options o = quick_options();
    um_responder *r = NULL;
    prompts p;
    fault_stats stats;
    uint64_t answers = 0;
    size_t after_first = 0, files = 0, passes = 6;
    o.max_concurrency = 64;
    o.max_choices = 1;
    o.max_body_bytes = 65536;
    o.deadline_ms = 5000;
    um_remote *remote = open_client(s, &o);
    assert_ok(um_remote_assume(remote, "vllm", &err), err);
    assert_ok(um_remote_responder_open(&r, remote, NULL, NULL, NULL, &err), err);
    assert_true(fault_reset(s, soak_script));
    prompts_init(&p, 100, OPENING);
    for (size_t pass = 0; pass < passes; pass++) {
        um_sampling sampling = test_sampling;
        sampling.seed = pass;
        assert_ok(r->ops->complete(r, p.list, p.n, 0, 10, &sampling, stops, 1, count_one, &answers,
                                   NULL, &err),
                  err);
        if (pass == 0) {
            after_first = resident_kb();
            files = open_files();
        }
    }
    fault_get(s, &stats);
    const um_remote_totals *t = um_remote_totals_of(remote);
    assert_int_equal(answers, passes * 1000);
    assert_int_equal(t->failed, 0);
    assert_int_equal(stats.answered, passes * 1000);
    assert_int_equal(stats.repeated, 0);
    assert_true(stats.faults > passes * 1000 / 30);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(resident_kb() < after_first + 4096);
#else
    (void)after_first; /* sanitizers keep what is freed */
#endif
    assert_true(open_files() < files + 80);
    um_responder_free(r);
    um_remote_free(remote);
    prompts_free(&p);
    fault_stop(s);
}

static int test_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mask),      cmocka_unit_test(test_reading_keys),
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_key_stays),
        cmocka_unit_test(test_options),   cmocka_unit_test(test_stable_keys),
        cmocka_unit_test(test_batch),     cmocka_unit_test(test_soak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return steady_run(test_all);
}
