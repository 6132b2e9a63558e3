/* Letter scoring: the softmax of the whole model's logits, in any packing. */
#include "model_util.h"

#include <math.h>

#include "base/mem.h"
#include "base/str.h"
#include "model/engine.h"

#define N_QUERIES 5
#define N_TEXTS   4
/* Of the small model: 2 layers, K and V of 2 heads, widths rounded up to 32. */
#define PAGE_BYTES  ((uint64_t)2 * 2 * 2 * UM_KV_PAGE * 32 * sizeof(float))
#define TIGHT_PAGES 11

typedef struct fixture {
    um_tokenizer *tok;
    um_model *model;
    um_message messages[N_QUERIES][2];
    char *user[N_QUERIES];
    um_prompt prompts[N_QUERIES];
    char *texts[N_QUERIES][N_TEXTS];
    um_letter_query queries[N_QUERIES];
} fixture;

typedef struct scores {
    double p[N_QUERIES][N_TEXTS][UM_LETTERS];
    int n, stop_at;
    size_t query, text; /* of the last call */
    sig_atomic_t stop;
    const um_letter_query *queries;
} scores;

static int set_up(void **state)
{
    fixture *f = um_calloc(1, sizeof *f);
    f->tok = small_tokenizer(320);
    um_model_config config = small_config(f->tok);
    config.tied = false;
    f->model = small_model(&config, 5);
    for (unsigned q = 0; q < N_QUERIES; q++) {
        um_str s = UM_STR_INIT;
        um_error err;
        for (unsigned w = 0; w < 3 + 11 * q; w++)
            um_str_appendf(&s, "a quiet song %u ", (w * 17 + q) % 89);
        assert_ok(um_str_take(&s, &f->user[q], &err), err);
        f->messages[q][0] = (um_message){"system", "old songs from Lisbon"};
        f->messages[q][1] = (um_message){"user", f->user[q]};
        f->prompts[q] = (um_prompt){.key = 70 + q,
                                    .messages = f->messages[q],
                                    .n_messages = 2,
                                    .opening = q % 2 == 0 ? "Thought:\n" : NULL,
                                    .k = q == 4 ? 26 : 2 + q};
        for (unsigned t = 0; t < N_TEXTS; t++) {
            for (unsigned w = 0; w < 2 + 9 * t; w++)
                um_str_appendf(&s, "the user likes %u ", (w * 13 + t + q) % 83);
            um_str_append(&s, "\nBehavior: [");
            assert_ok(um_str_take(&s, &f->texts[q][t], &err), err);
        }
        f->queries[q] = (um_letter_query){.prompt = &f->prompts[q],
                                          .texts = (const char *const *)f->texts[q],
                                          .n = q == 2 ? 1 : N_TEXTS};
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    for (int q = 0; q < N_QUERIES; q++) {
        free(f->user[q]);
        for (int t = 0; t < N_TEXTS; t++)
            free(f->texts[q][t]);
    }
    um_model_free(f->model);
    um_tokenizer_free(f->tok);
    free(f);
    return 0;
}

static um_status collect(void *context, size_t query, size_t text, const double *p, um_error *err)
{
    (void)err;
    scores *s = context;
    /* Query order, texts ascending. */
    if (s->n > 0)
        assert_true(query > s->query || (query == s->query && text == s->text + 1));
    s->query = query;
    s->text = text;
    memcpy(s->p[query][text], p, s->queries[query].prompt->k * sizeof *p);
    if (++s->n == s->stop_at)
        s->stop = 1;
    return UM_OK;
}

static um_status score(fixture *f, const um_letter_query *queries, size_t n, int threads,
                       const char *backend, const um_engine_options *options, scores *out,
                       um_error *err)
{
    um_compute *compute;
    um_responder *responder;
    um_error open_err;
    um_monitor monitor = {.stop = &out->stop};
    out->queries = queries;
    assert_ok(um_compute_open(&compute, backend, threads, &open_err), open_err);
    assert_ok(um_engine_open(&responder, f->model, f->tok, compute, "m", options, &open_err),
              open_err);
    um_status status =
        responder->ops->score_letters(responder, queries, n, collect, out, &monitor, err);
    um_responder_free(responder);
    um_compute_close(compute);
    return status;
}

/* The definition: prompt and text as one sequence, full logits of its last row. */
static void expected_letters(fixture *f, um_compute *compute, size_t q, size_t t, double *p)
{
    const um_prompt *prompt = &f->prompts[q];
    size_t vocab = (size_t)um_model_get_config(f->model)->vocab;
    int32_t letters[26];
    um_tokens ids = {0};
    um_str text = UM_STR_INIT;
    um_error err;
    double sum = 0.0;
    um_str_appendf(&text, "%s%s", prompt->opening != NULL ? prompt->opening : "", f->texts[q][t]);
    assert_ok(um_chat_encode_prompt(f->tok, UM_CHAT_CHATML, prompt->messages, 2, NULL, &ids, &err),
              err);
    assert_ok(um_tokenizer_encode(f->tok, text.data, text.len, false, &ids, &err), err);
    assert_ok(um_letter_tokens(f->tok, letters, &err), err);
    float *logits = um_calloc(ids.len * vocab, sizeof *logits);
    assert_ok(um_model_logits(f->model, compute, ids.ids, ids.len, logits, &err), err);
    const float *last = logits + (ids.len - 1) * vocab;
    for (uint32_t i = 0; i < prompt->k; i++)
        sum += p[i] = exp((double)last[letters[i]]);
    for (uint32_t i = 0; i < prompt->k; i++)
        p[i] /= sum;
    free(logits);
    um_str_dispose(&text);
    um_tokens_dispose(&ids);
}

static void test_equals_full_softmax(void **state)
{
    fixture *f = *state;
    um_compute *compute;
    um_error err;
    scores s = {0};
    assert_ok(um_compute_open(&compute, NULL, 1, &err), err);
    assert_ok(score(f, f->queries, N_QUERIES, 1, NULL, NULL, &s, &err), err);
    assert_int_equal(s.n, 4 * N_TEXTS + 1);
    double spread = 0.0;
    for (size_t q = 0; q < N_QUERIES; q++) {
        for (size_t t = 0; t < f->queries[q].n; t++) {
            double p[UM_LETTERS], sum = 0.0;
            expected_letters(f, compute, q, t, p);
            for (uint32_t i = 0; i < f->prompts[q].k; i++) {
                assert_close(s.p[q][t][i], p[i], 1e-6);
                sum += s.p[q][t][i];
                spread = fmax(spread, fabs(p[i] - 1.0 / f->prompts[q].k));
            }
            assert_close(sum, 1.0, 1e-12);
        }
    }
    assert_true(spread > 0.05); /* the model does prefer letters */
    um_compute_close(compute);
}

static void test_same_in_any_packing(void **state)
{
    fixture *f = *state;
    um_error err;
    for (const char *const *backend = um_backend_names(); *backend != NULL; backend++) {
        scores all = {0};
        assert_ok(score(f, f->queries, N_QUERIES, 1, *backend, NULL, &all, &err), err);
        /* Little memory (several rounds a query), small passes, two threads. */
        const um_engine_options options[] = {{.kv_bytes = TIGHT_PAGES * PAGE_BYTES},
                                             {.max_rows = 1}};
        for (size_t o = 0; o < 2; o++) {
            scores other = {0};
            assert_ok(score(f, f->queries, N_QUERIES, 2, *backend, &options[o], &other, &err), err);
            assert_memory_equal(all.p, other.p, sizeof all.p);
        }
        /* Each text on its own. */
        for (size_t q = 0; q < N_QUERIES; q++) {
            for (size_t t = 0; t < f->queries[q].n; t++) {
                scores one = {0};
                um_letter_query query = f->queries[q];
                query.texts += t;
                query.n = 1;
                assert_ok(score(f, &query, 1, 1, *backend, NULL, &one, &err), err);
                assert_memory_equal(one.p[0][0], all.p[q][t],
                                    f->prompts[q].k * sizeof all.p[0][0][0]);
            }
        }
    }
}

static void expect_refusal(fixture *f, const um_letter_query *query,
                           const um_engine_options *options, um_status status, const char *part)
{
    scores s = {0};
    um_error err = {0};
    assert_int_equal(score(f, query, 1, 1, NULL, options, &s, &err), status);
    assert_int_equal(s.n, 0);
    if (strstr(err.text, part) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, part);
}

static void test_refusals(void **state)
{
    fixture *f = *state;
    um_prompt prompt = f->prompts[3];
    um_letter_query query = f->queries[3];
    const char *const empty[] = {""};
    query.prompt = &prompt;
    prompt.k = 27;
    expect_refusal(f, &query, NULL, UM_ERR_INPUT, "27 items");
    prompt.k = 0;
    expect_refusal(f, &query, NULL, UM_ERR_INPUT, "0 items");
    prompt = f->prompts[3];
    const um_engine_options short_context = {.max_context = 350};
    expect_refusal(f, &query, &short_context, UM_ERR_LIMIT, "prompt 73");
    const um_engine_options tight = {.kv_bytes = 5 * PAGE_BYTES};
    expect_refusal(f, &query, &tight, UM_ERR_LIMIT, "key/value memory");
    query.texts = empty;
    query.n = 1;
    expect_refusal(f, &query, NULL, UM_ERR_INPUT, "empty");
}

static void test_interruption(void **state)
{
    fixture *f = *state;
    scores s = {.stop_at = 1};
    um_error err;
    const um_engine_options small = {.max_rows = 1};
    assert_int_equal(score(f, f->queries, N_QUERIES, 1, NULL, &small, &s, &err),
                     UM_ERR_INTERRUPTED);
    assert_true(s.n >= 1 && s.n < 4 * N_TEXTS + 1);
}

static void test_letter_tokens(void **state)
{
    fixture *f = *state;
    int32_t ids[26];
    um_error err;
    assert_ok(um_letter_tokens(f->tok, ids, &err), err);
    for (int i = 0; i < 26; i++) {
        size_t n;
        const char *piece = um_tokenizer_piece(f->tok, ids[i], &n);
        assert_int_equal(n, 1);
        assert_int_equal(piece[0], 'A' + i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_equals_full_softmax, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_same_in_any_packing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_interruption, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_letter_tokens, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
