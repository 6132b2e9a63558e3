/* Distributions over letters: exact, bounded, estimated, refused; and rows of embeddings. */
#include "remote_util.h"
#include "steady.h"

#include <math.h>
#include <unistd.h>

#include "base/rng.h"
#include "remote/responder.h"

/* Queries: n prompts with `texts` texts each. */
typedef struct questions {
    prompts p;
    um_letter_query *queries;
    char **texts;
    size_t n, each;
} questions;

static void questions_init(questions *q, size_t n, size_t each)
{
    prompts_init(&q->p, n, NULL);
    q->n = n;
    q->each = each;
    q->queries = calloc(n, sizeof *q->queries);
    q->texts = calloc(n * each, sizeof *q->texts);
    for (size_t i = 0; i < n; i++) {
        for (size_t t = 0; t < each; t++) {
            if (asprintf(&q->texts[i * each + t], "%s process %zu.\nBehavior: [", OPENING, t) < 0)
                abort();
        }
        q->queries[i] = (um_letter_query){.prompt = &q->p.list[i],
                                          .texts = (const char *const *)(q->texts + i * each),
                                          .n = each};
    }
}

static void questions_free(questions *q)
{
    for (size_t i = 0; i < q->n * q->each; i++)
        free(q->texts[i]);
    free(q->texts);
    free(q->queries);
    prompts_free(&q->p);
}

typedef struct taken {
    const um_responder *responder;
    const questions *q;
    double p[512][3];
    um_remote_letters info[512];
    bool got[512];
    size_t n, last;
} taken;

static um_status take(void *context, size_t query, size_t text, const double *p, um_error *err)
{
    taken *t = context;
    size_t at = query * t->q->each + text;
    (void)err;
    assert_true(text < t->q->each && at < 512);
    assert_true(t->n == 0 || at > t->last); /* in order */
    assert_false(t->got[at]);
    memcpy(t->p[at], p, sizeof t->p[at]);
    t->info[at] = *um_remote_letters_of(t->responder);
    assert_close(p[0] + p[1] + p[2], 1, 1e-12);
    t->got[at] = true;
    t->last = at;
    t->n++;
    return UM_OK;
}

static um_status score(um_remote *remote, memory_journal *j, const questions *q, taken *t,
                       um_error *err)
{
    um_responder *r = NULL;
    um_remote_journal journal = {0};
    if (j != NULL)
        journal = journal_of(j);
    *t = (taken){.q = q};
    um_status status =
        um_remote_responder_open(&r, remote, NULL, j != NULL ? &journal : NULL, NULL, err);
    if (status != UM_OK)
        return status;
    t->responder = r;
    assert_non_null(r->ops->score_letters);
    status = r->ops->score_letters(r, q->queries, q->n, take, t, NULL, err);
    um_responder_free(r);
    return status;
}

static um_remote *client_of(fault_server *s, const um_remote_options *o)
{
    um_error err;
    um_remote *remote = open_client(s, o);
    assert_ok(um_remote_probe(remote, NULL, &err), err);
    fault_reset(s, NULL);
    return remote;
}

/* A constraint that shows and one that does not give the same distribution: what is kept away is
 * kept away from all letters alike. */
static void test_exact(void **state)
{
    (void)state;
    um_error err;
    const fault_config configs[] = {{0},
                                    {.no_allowed = true},
                                    {.no_tokenize = true},
                                    {.raw_logprobs = true, .other_mass = 0.4},
                                    {.no_flags = true, .no_trailing = true}};
    questions q;
    taken first, t;
    questions_init(&q, 7, 5);
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        fault_server *s = fault_start(&configs[i]);
        um_remote_options o = quick_options();
        memory_journal j = {0};
        fault_stats stats;
        um_remote *remote = client_of(s, &o);
        assert_ok(score(remote, &j, &q, &t, &err), err);
        assert_int_equal(t.n, 35);
        for (size_t k = 0; k < 35; k++) {
            assert_int_equal(t.info[k].method, UM_REMOTE_LETTERS_EXACT);
            assert_int_equal(t.info[k].listed, 3);
            assert_close(t.info[k].error, 0, 1e-12);
            assert_close(t.info[k].mass, configs[i].raw_logprobs ? 0.6 : 1, 1e-3);
        }
        if (i == 0)
            first = t;
        for (size_t k = 0; k < 35; k++) {
            for (size_t a = 0; a < 3; a++)
                assert_close(t.p[k][a], first.p[k][a], 1e-9);
        }
        /* Replayed: equal to the last bit, and nothing is sent. */
        taken again;
        fault_reset(s, NULL);
        assert_ok(score(remote, &j, &q, &again, &err), err);
        fault_get(s, &stats);
        assert_int_equal(stats.requests, 0);
        assert_memory_equal(again.p, t.p, sizeof t.p);
        um_remote_free(remote);
        journal_free(&j);
        fault_stop(s);
    }
    questions_free(&q);
}

/* The bound of what is not listed holds for every cut of a known distribution. */
static void test_bound(void **state)
{
    (void)state;
    um_rng rng;
    for (uint64_t trial = 0; trial < 2000; trial++) {
        double mass[40], sum = 0, p[26], truth[26], letters = 0, distance = 0;
        um_top top[40];
        um_remote_letters info;
        size_t order[40], n = 0;
        um_rng_init(&rng, 3, UM_RNG_TEST, trial, 0, 0);
        uint32_t k = 2 + um_rng_below(&rng, 25), others = um_rng_below(&rng, 14);
        size_t all = k + others, cut = 1 + um_rng_below(&rng, (uint32_t)all);
        for (size_t i = 0; i < all; i++) {
            mass[i] = exp(6 * um_rng_uniform(&rng));
            sum += mass[i];
            order[i] = i;
        }
        for (size_t i = 0; i < all; i++) {
            for (size_t m = i + 1; m < all; m++) {
                if (mass[order[m]] > mass[order[i]]) {
                    size_t swap = order[i];
                    order[i] = order[m];
                    order[m] = swap;
                }
            }
            if (i >= cut)
                continue;
            top[n].logprob = log(mass[order[i]] / sum);
            if (order[i] < k)
                snprintf(top[n++].token, UM_TOP_BYTES, "%c", 'A' + (int)order[i]);
            else
                snprintf(top[n++].token, UM_TOP_BYTES, "w%zu", order[i]);
        }
        for (size_t i = 0; i < k; i++)
            letters += mass[i];
        for (size_t i = 0; i < k; i++)
            truth[i] = mass[i] / letters;
        if (!um_letters_from_top(p, k, top, n, &info)) {
            for (size_t i = 0; i < n; i++)
                assert_int_equal(top[i].token[0], 'w');
            continue;
        }
        for (size_t i = 0; i < k; i++)
            distance += fabs(p[i] - truth[i]) / 2;
        assert_true(distance <= info.error + 1e-12);
        assert_true(info.error < 1);
        if (info.listed == k)
            assert_close(distance, 0, 1e-12);
    }
}

/* Listed tokens that are not the letter itself are not counted as it. */
static void test_tokens(void **state)
{
    (void)state;
    double p[3];
    um_remote_letters info;
    const um_top top[] = {{"A", -1}, {" A", -1.5}, {"B]", -2}, {"b", -2.2}, {"", -2.3}, {"D", -3}};
    assert_true(um_letters_from_top(p, 3, top, 6, &info));
    assert_close(p[0], 1, 0);
    assert_int_equal(info.listed, 1);
    assert_int_equal(info.method, UM_REMOTE_LETTERS_BOUNDED);
    assert_close(info.mass, exp(-1), 1e-15);
    const um_top none[] = {{" A", -0.1}, {"The", -3}};
    assert_false(um_letters_from_top(p, 3, none, 2, &info));
    /* Rounded log-probabilities may sum to a little more than 1. */
    const um_top over[] = {{"A", -0.2}, {"B", -1.7}};
    assert_true(um_letters_from_top(p, 3, over, 2, &info));
    assert_close(info.error, 0, 1e-12);
}

/* One listed token: what is off by more than allowed fails, is counted, and is not delivered. */
static void test_too_uncertain(void **state)
{
    (void)state;
    um_error err;
    const um_remote_failure *list;
    fault_config config = {
        .top = 1, .raw_logprobs = true, .no_choice = true, .no_allowed = true, .no_bias = true};
    fault_server *s = fault_start(&config);
    um_remote_options o = quick_options();
    questions q;
    taken strict, loose;
    questions_init(&q, 12, 1);
    um_remote *remote = client_of(s, &o);
    um_status status = score(remote, NULL, &q, &strict, &err);
    size_t failed = um_remote_failures(remote, &list);
    assert_true(status == UM_OK || strict.n == 0);
    assert_int_equal(strict.n + failed, 12);
    assert_true(failed > 0);
    assert_non_null(strstr(list[0].reason, "listed"));
    um_remote_free(remote);
    o.max_letter_error = 1;
    remote = client_of(s, &o);
    assert_ok(score(remote, NULL, &q, &loose, &err), err);
    assert_true(loose.n >= strict.n);
    for (size_t i = 0; i < 12; i++) {
        if (loose.got[i])
            assert_int_equal(loose.info[i].method, UM_REMOTE_LETTERS_BOUNDED);
    }
    um_remote_free(remote);
    questions_free(&q);
    fault_stop(s);
}

/* No log-probabilities: refused, unless shares of samples are asked for by name. */
static void test_frequencies(void **state)
{
    (void)state;
    um_error err;
    const fault_config configs[] = {
        {.no_logprobs = true},
        {.no_logprobs = true, .no_n = true},
        {.no_logprobs = true, .no_allowed = true, .no_bias = true, .no_choice = true}};
    fault_config good = {0};
    fault_server *reference = fault_start(&good);
    um_remote_options o = quick_options();
    um_remote *remote = client_of(reference, &o);
    questions q;
    taken truth, t;
    questions_init(&q, 3, 2);
    assert_ok(score(remote, NULL, &q, &truth, &err), err);
    um_remote_free(remote);
    fault_stop(reference);
    for (size_t i = 0; i < 3; i++) {
        fault_server *s = fault_start(&configs[i]);
        um_responder *r = NULL;
        memory_journal j = {0};
        remote = client_of(s, &o);
        assert_ok(um_remote_responder_open(&r, remote, NULL, NULL, NULL, &err), err);
        assert_null(r->ops->score_letters);
        um_responder_free(r);
        um_remote_free(remote);

        um_remote_options allowed = o;
        allowed.frequencies = true;
        allowed.frequency_samples = 400;
        remote = client_of(s, &allowed);
        assert_ok(score(remote, &j, &q, &t, &err), err);
        assert_int_equal(t.n, 6);
        for (size_t k = 0; k < 6; k++) {
            assert_int_equal(t.info[k].method, UM_REMOTE_LETTERS_FREQUENCY);
            assert_true(t.info[k].samples > 300 && t.info[k].samples <= 400);
            assert_true(t.info[k].error > 0 && t.info[k].error < 0.03);
            for (size_t a = 0; a < 3; a++) /* 5 standard errors */
                assert_close(t.p[k][a], truth.p[k][a], 5 * sqrt(0.25 / 350));
        }
        assert_int_equal(j.answered, 6 * 400);
        um_remote_free(remote);
        journal_free(&j);
        fault_stop(s);
    }
    questions_free(&q);
}

/* Openings that cannot be continued: no letters. */
static void test_no_continuing(void **state)
{
    (void)state;
    um_error err;
    fault_config config = {.no_flags = true, .no_trailing = true, .no_completions = true};
    fault_server *s = fault_start(&config);
    um_remote_options o = quick_options();
    um_remote *remote = client_of(s, &o);
    um_responder *r = NULL;
    char *text = NULL;
    assert_ok(um_remote_responder_open(&r, remote, NULL, NULL, NULL, &err), err);
    assert_null(r->ops->score_letters);
    assert_ok(um_remote_describe(remote, &text, &err), err);
    assert_non_null(strstr(text, "letters:  not possible"));
    free(text);
    um_responder_free(r);
    um_remote_free(remote);
    fault_stop(s);
}

/* Faults at the first, a middle and the last letter request: others are delivered in order. */
static void test_letter_faults(void **state)
{
    (void)state;
    static const struct {
        const char *action;
        size_t lost;
    } cases[] = {{"nologprobs", 0}, {"status=400", 1}, {"close=mid", 0}, {"null", 0}};
    um_error err;
    fault_config config = {0};
    fault_server *s = fault_start(&config);
    um_remote_options o = quick_options();
    questions q;
    taken right, t;
    o.max_concurrency = 3;
    questions_init(&q, 5, 4);
    um_remote *remote = client_of(s, &o);
    assert_ok(score(remote, NULL, &q, &right, &err), err);
    for (size_t i = 0; i < 4; i++) {
        for (unsigned at = 0; at < 20; at += at == 0 ? 10 : 9) {
            char script[64];
            snprintf(script, sizeof script, "when=%u %s\n", at, cases[i].action);
            assert_true(fault_reset(s, script));
            assert_ok(score(remote, NULL, &q, &t, &err), err);
            assert_int_equal(t.n, 20 - cases[i].lost);
            for (size_t k = 0; k < 20; k++) {
                if (t.got[k])
                    assert_memory_equal(t.p[k], right.p[k], sizeof t.p[k]);
            }
        }
    }
    um_remote_free(remote);
    questions_free(&q);
    fault_stop(s);
}

/* Embeddings ----------------------------------------------------------------------------------- */

static void test_embeddings(void **state)
{
    (void)state;
    um_error err;
    fault_config config = {.dims = 12};
    fault_server *s = fault_start(&config);
    um_remote_options o = quick_options();
    o.embed_batch = 10;
    um_remote *remote = open_client(s, &o);
    char texts[95][32];
    const char *list[95];
    memory_journal j = {0};
    um_remote_journal journal = journal_of(&j);
    um_remote_rows right = {0}, rows = {0};
    fault_stats stats;
    for (int i = 0; i < 95; i++) {
        snprintf(texts[i], sizeof texts[i], "item <%d> \"title\"", i);
        list[i] = texts[i];
    }
    assert_ok(um_remote_embed(&right, remote, list, 95, 0, &journal, NULL, &err), err);
    assert_int_equal(right.n, 95);
    assert_int_equal(right.dim, 12);
    fault_get(s, &stats);
    assert_int_equal(stats.requests, 10);
    assert_int_equal(j.answered, 95);
    for (int i = 0; i < 95; i++)
        assert_int_equal(right.absent[i], 0);
    /* Replayed, some of it: the same bits. */
    free(j.entries[3].answer);
    j.entries[3].answer = NULL;
    fault_reset(s, NULL);
    assert_ok(um_remote_embed(&rows, remote, list, 95, 0, &journal, NULL, &err), err);
    fault_get(s, &stats);
    assert_int_equal(stats.requests, 1);
    assert_memory_equal(rows.data, right.data, sizeof(float) * 95 * 12);
    um_remote_rows_dispose(&rows);

    static const struct {
        const char *rule;
        size_t absent;
    } cases[] = {
        {"when=0 reverse\n", 0},
        {"when=4 choices=3\n", 0},
        {"when=9 duplicate\n", 0},
        {"when=4 truncate\n", 0},
        {"match=<42> when=all status=400\n", 1},
        {"match=<94> when=all status=400\n", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t absent = 0;
        assert_true(fault_reset(s, cases[i].rule));
        assert_ok(um_remote_embed(&rows, remote, list, 95, 0, NULL, NULL, &err), err);
        for (size_t k = 0; k < 95; k++) {
            absent += rows.absent[k];
            if (!rows.absent[k])
                assert_memory_equal(rows.data + k * 12, right.data + k * 12, 12 * sizeof(float));
        }
        assert_int_equal(absent, cases[i].absent);
        um_remote_rows_dispose(&rows);
    }
    /* A length that is asked for. */
    assert_true(fault_reset(s, ""));
    assert_ok(um_remote_embed(&rows, remote, list, 5, 6, NULL, NULL, &err), err);
    assert_int_equal(rows.dim, 6);
    um_remote_rows_dispose(&rows);
    um_remote_rows_dispose(&right);
    journal_free(&j);
    um_remote_free(remote);
    fault_stop(s);
}

static int test_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),         cmocka_unit_test(test_bound),
        cmocka_unit_test(test_tokens),        cmocka_unit_test(test_too_uncertain),
        cmocka_unit_test(test_frequencies),   cmocka_unit_test(test_no_continuing),
        cmocka_unit_test(test_letter_faults), cmocka_unit_test(test_embeddings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(void)
{
    return steady_run(test_all);
}
