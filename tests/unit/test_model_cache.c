/* What the engine keeps and finds again: it changes what is computed and never what comes out. */
#include "model_util.h"

#include <math.h>

#include "base/mem.h"
#include "base/str.h"
#include "model/engine.h"

#define N_PROMPTS      6
#define N_SAMPLES      4
#define MAX_TOKENS     70 /* more than a page */
#define LETTER_OPENING "\nBehavior: ["

typedef struct fixture {
    um_tokenizer *tok;
    um_model *model;
    um_compute *compute;
    um_responder *responder;
    char *system, *user[N_PROMPTS];
    um_message messages[N_PROMPTS][2];
    um_prompt prompts[N_PROMPTS];
    size_t len[N_PROMPTS], common; /* tokens of each, and those that all begin with */
} fixture;

static void encode(const fixture *f, size_t p, um_tokens *ids)
{
    um_error err;
    ids->len = 0;
    assert_ok(um_chat_encode_prompt(f->tok, um_chat_detect(f->tok), f->prompts[p].messages, 2,
                                    f->prompts[p].opening, ids, &err),
              err);
}

/*
 * A model that writes printable characters, a token each, and never ends by itself: its texts are
 * encoded as they were generated. One channel of its states is always large, and speaks against all
 * other tokens.
 */
static um_model *printing_model(const um_tokenizer *tok)
{
    um_model_config config = small_config(tok);
    config.tied = false;
    um_model *model = small_model(&config, 3);
    for (int32_t id = 0; id < config.vocab; id++) {
        size_t n = 0, row = (size_t)id * (size_t)config.hidden;
        const char *piece = um_tokenizer_piece(tok, id, &n);
        const bool printable =
            !um_tokenizer_is_special(tok, id) && n == 1 && piece[0] >= ' ' && piece[0] < 0x7f;
        model->data[model->params.embedding + row] = 3.0f;
        model->data[model->params.lm_head + row] = printable ? 0.0f : -20.0f;
    }
    return model;
}

/* A long system text for all; prompt 0 ends with a page, 1 a token before, 2 a token after, and the
 * others anywhere. */
static int set_up(void **state)
{
    static const size_t last[3] = {0, UM_KV_PAGE - 1, 1};
    fixture *f = um_calloc(1, sizeof *f);
    um_str text = UM_STR_INIT;
    um_tokens first = {0}, ids = {0};
    um_error err;
    f->tok = small_tokenizer(259);
    f->model = printing_model(f->tok);
    for (unsigned w = 0; w < 20; w++)
        um_str_appendf(&text, "an old song %u ", w * 31 % 89);
    assert_ok(um_str_take(&text, &f->system, &err), err);
    for (unsigned p = 0; p < N_PROMPTS; p++) {
        um_str_appendf(&text, "%u: ", p);
        for (unsigned w = 0; w < 2 + 3 * p; w++)
            um_str_appendf(&text, "the quiet film %u ", (w * 17 + p) % 83);
        f->messages[p][0] = (um_message){"system", f->system};
        f->prompts[p] =
            (um_prompt){.key = 40 + p, .messages = f->messages[p], .n_messages = 2, .k = 5};
        do {
            um_str_append(&text, "#");
            f->messages[p][1] = (um_message){"user", um_str_text(&text)};
            encode(f, p, &ids);
        } while (p < 3 && ids.len % UM_KV_PAGE != last[p]);
        f->len[p] = ids.len;
        assert_ok(um_str_take(&text, &f->user[p], &err), err);
        f->messages[p][1].content = f->user[p];
    }
    encode(f, 0, &first);
    encode(f, 1, &ids);
    while (first.ids[f->common] == ids.ids[f->common])
        f->common++;
    um_tokens_dispose(&first);
    um_tokens_dispose(&ids);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    for (int p = 0; p < N_PROMPTS; p++)
        free(f->user[p]);
    free(f->system);
    um_model_free(f->model);
    um_tokenizer_free(f->tok);
    free(f);
    return 0;
}

static void open_engine(fixture *f, int threads, const um_engine_options *options)
{
    um_error err;
    assert_ok(um_compute_open(&f->compute, NULL, threads, &err), err);
    assert_ok(um_engine_open(&f->responder, f->model, f->tok, f->compute, "m", options, &err), err);
}

static um_engine_stats stats_of(const fixture *f)
{
    um_engine_stats stats;
    assert_true(um_engine_get_stats(f->responder, &stats));
    return stats;
}

static void close_engine(fixture *f)
{
    const um_engine *engine = (const um_engine *)f->responder;
    assert_int_equal(engine->kv.n_held, 0);
    assert_int_equal(engine->kv.n_promised, 0);
    um_responder_free(f->responder);
    um_compute_close(f->compute);
}

typedef struct texts {
    char *text[N_PROMPTS][N_SAMPLES];
    uint32_t tokens[N_PROMPTS][N_SAMPLES];
    float logprobs[N_PROMPTS][N_SAMPLES][MAX_TOKENS];
    bool with_logprobs;
    int count;
} texts;

static um_status collect(void *context, const um_completion *c, um_error *err)
{
    texts *all = context;
    double sum = 0.0;
    (void)err;
    assert_null(all->text[c->prompt][c->sample]);
    all->text[c->prompt][c->sample] = um_strdup(c->text);
    all->tokens[c->prompt][c->sample] = c->tokens;
    all->count++;
    assert_int_equal(c->logprobs != NULL, all->with_logprobs);
    for (uint32_t i = 0; all->with_logprobs && i < c->tokens; i++)
        sum += (double)(all->logprobs[c->prompt][c->sample][i] = c->logprobs[i]);
    assert_true(c->logprob == sum);
    return UM_OK;
}

/* By sample alone. */
static um_status collect_many(void *context, const um_completion *c, um_error *err)
{
    char **text = context;
    (void)err;
    text[c->sample] = um_strdup(c->text);
    return UM_OK;
}

static void free_texts(texts *all)
{
    for (size_t i = 0; i < (size_t)N_PROMPTS * N_SAMPLES; i++)
        free(all->text[i / N_SAMPLES][i % N_SAMPLES]);
    *all = (texts){0};
}

static void assert_same(const texts *a, const texts *b)
{
    for (size_t i = 0; i < (size_t)N_PROMPTS * N_SAMPLES; i++) {
        assert_string_equal(a->text[i / N_SAMPLES][i % N_SAMPLES],
                            b->text[i / N_SAMPLES][i % N_SAMPLES]);
        assert_int_equal(a->tokens[i / N_SAMPLES][i % N_SAMPLES],
                         b->tokens[i / N_SAMPLES][i % N_SAMPLES]);
    }
}

static const um_sampling sampling = {
    .seed = 4, .temperature = 0.9f, .top_p = 0.95f, .max_tokens = MAX_TOKENS};

static void complete(fixture *f, size_t prompt, size_t n, uint32_t sample, uint32_t n_samples,
                     texts *out)
{
    um_error err;
    /* Indices of the call are those of the fixture. */
    um_prompt prompts[N_PROMPTS];
    texts part = {.with_logprobs = out->with_logprobs};
    memcpy(prompts, f->prompts + prompt, n * sizeof *prompts);
    assert_ok(f->responder->ops->complete(f->responder, prompts, n, sample, n_samples, &sampling,
                                          NULL, 0, collect, &part, NULL, &err),
              err);
    assert_int_equal(part.count, n * n_samples);
    for (size_t p = 0; p < n; p++) {
        for (uint32_t s = sample; s < sample + n_samples; s++) {
            out->text[prompt + p][s] = part.text[p][s];
            out->tokens[prompt + p][s] = part.tokens[p][s];
            memcpy(out->logprobs[prompt + p][s], part.logprobs[p][s], sizeof out->logprobs[0][0]);
        }
    }
}

static void complete_all(fixture *f, texts *out)
{
    complete(f, 0, N_PROMPTS, 0, N_SAMPLES, out);
}

/* Each sample in an engine of its own, which has nothing to find. */
static void complete_cold(fixture *f, texts *out)
{
    for (size_t i = 0; i < (size_t)N_PROMPTS * N_SAMPLES; i++) {
        open_engine(f, 1, NULL);
        complete(f, i / N_SAMPLES, 1, (uint32_t)(i % N_SAMPLES), 1, out);
        assert_int_equal(stats_of(f).reused_tokens, 0);
        close_engine(f);
    }
}

static void test_cold_and_warm(void **state)
{
    fixture *f = *state;
    texts reference = {0}, all = {0};
    complete_cold(f, &reference);
    open_engine(f, 2, NULL);
    complete_all(f, &all);
    assert_same(&reference, &all);
    const um_engine_stats cold = stats_of(f);
    free_texts(&all);
    /* Again: only the last token of each prompt is computed, for its logits. */
    complete_all(f, &all);
    assert_same(&reference, &all);
    const um_engine_stats warm = stats_of(f);
    assert_int_equal(warm.prompt_tokens - cold.prompt_tokens, N_PROMPTS);
    assert_int_equal(warm.generated_tokens, 2 * cold.generated_tokens);
    free_texts(&all);
    /* Half of the samples after the others, in another order, by ones. */
    for (size_t i = (size_t)N_PROMPTS * N_SAMPLES; i-- > 0;)
        complete(f, i / N_SAMPLES, 1, (uint32_t)(i % N_SAMPLES), 1, &all);
    assert_same(&reference, &all);
    close_engine(f);
    free_texts(&all);
    free_texts(&reference);
}

/* The common beginning is computed once, even by prompts that go through the same pass. */
static void test_common_beginning(void **state)
{
    fixture *f = *state;
    texts all = {0};
    uint64_t total = 0, generated = 0;
    const size_t whole = f->common / UM_KV_PAGE * UM_KV_PAGE;
    assert_true(whole >= (size_t)4 * UM_KV_PAGE);
    open_engine(f, 2, &(um_engine_options){.max_rows = 1000});
    complete_all(f, &all);
    for (size_t p = 0; p < N_PROMPTS; p++) {
        total += f->len[p];
        for (size_t s = 0; s < N_SAMPLES; s++)
            generated += all.tokens[p][s];
    }
    const um_engine_stats stats = stats_of(f);
    assert_int_equal(stats.prompt_tokens + stats.reused_tokens, total);
    assert_true(stats.reused_tokens >= (N_PROMPTS - 1) * whole);
    assert_true(stats.prompt_tokens <= total - (N_PROMPTS - 1) * whole);
    assert_int_equal(stats.generated_tokens, generated);
    /* Two passes of prompts at most, then all samples together; the last token of each is never
     * computed, and the first comes with the prompt. */
    assert_true(stats.passes <= 2 + MAX_TOKENS);
    assert_int_equal(stats.rows, stats.prompt_tokens + generated - N_PROMPTS * N_SAMPLES);
    assert_true(stats.most_rows > N_PROMPTS * N_SAMPLES && stats.most_rows <= 1512);
    assert_true(stats.peak_pages <= stats.touched_pages && stats.touched_pages <= stats.pages);
    close_engine(f);
    free_texts(&all);
}

/* More rows than the LM head takes at a time: the same as in calls of few samples. */
static void test_many_rows(void **state)
{
    enum { MANY = 2 * UM_HEAD_ROWS + 9, FEW = 7 };
    fixture *f = *state;
    char *text[2][MANY] = {{0}};
    um_sampling s = sampling;
    um_error err;
    s.max_tokens = 5;
    open_engine(f, 2, NULL);
    assert_ok(f->responder->ops->complete(f->responder, f->prompts, 1, 0, MANY, &s, NULL, 0,
                                          collect_many, text[0], NULL, &err),
              err);
    for (uint32_t first = 0; first < MANY; first += FEW) {
        const uint32_t n = MANY - first < FEW ? MANY - first : FEW;
        assert_ok(f->responder->ops->complete(f->responder, f->prompts, 1, first, n, &s, NULL, 0,
                                              collect_many, text[1], NULL, &err),
                  err);
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_string_equal(text[0][i], text[1][i]);
        free(text[0][i]);
        free(text[1][i]);
    }
    close_engine(f);
}

/* As little memory as the longest prompt can live in, and a little more; few rows; 1 and 2 threads.
 */
static void test_tight_memory(void **state)
{
    fixture *f = *state;
    texts reference = {0}, all = {0};
    size_t longest = 0;
    for (size_t p = 0; p < N_PROMPTS; p++)
        longest = f->len[p] > longest ? f->len[p] : longest;
    open_engine(f, 1, NULL);
    complete_all(f, &reference);
    const uint64_t page = stats_of(f).page_bytes;
    close_engine(f);
    const int least = um_kv_pages_of((int64_t)longest + MAX_TOKENS) + 1;
    for (int extra = 0; extra < 9; extra += 2) {
        const int pages = least + extra;
        const um_engine_options options = {.kv_bytes = (uint64_t)pages * page,
                                           .max_rows = extra % 4 == 0 ? 3 : 64};
        open_engine(f, 1 + extra / 2 % 2, &options);
        complete_all(f, &all);
        assert_same(&reference, &all);
        assert_int_equal(stats_of(f).pages, pages);
        assert_true(stats_of(f).peak_pages <= pages);
        close_engine(f);
        free_texts(&all);
    }
    /* A page less, and the longest is refused before anything is computed. */
    um_error err;
    open_engine(f, 1, &(um_engine_options){.kv_bytes = (uint64_t)(least - 1) * page});
    assert_int_equal(f->responder->ops->complete(f->responder, f->prompts, N_PROMPTS, 0, 1,
                                                 &sampling, NULL, 0, collect, &all, NULL, &err),
                     UM_ERR_LIMIT);
    assert_non_null(strstr(err.text, "key/value memory"));
    assert_int_equal(all.count, 0);
    assert_int_equal(stats_of(f).passes, 0);
    close_engine(f);
    free_texts(&reference);
}

/* Letters -----------------------------------------------------------------------------------------
 */

static um_status keep_letters(void *context, size_t query, size_t text, const double *p,
                              um_error *err)
{
    double(*out)[5] = context;
    (void)err;
    memcpy(out[query * N_SAMPLES + text], p, sizeof out[0]);
    return UM_OK;
}

/* Texts as they were generated, and a letter's opening. */
static void make_queries(const fixture *f, const texts *all, char *text[N_PROMPTS][N_SAMPLES],
                         um_letter_query *queries)
{
    um_error err;
    for (size_t p = 0; p < N_PROMPTS; p++) {
        for (size_t s = 0; s < N_SAMPLES; s++) {
            um_str str = UM_STR_INIT;
            um_str_appendf(&str, "%s" LETTER_OPENING, all->text[p][s]);
            assert_ok(um_str_take(&str, &text[p][s], &err), err);
        }
        queries[p] = (um_letter_query){&f->prompts[p], (const char *const *)text[p], N_SAMPLES};
    }
}

static void score(fixture *f, const um_letter_query *queries, double out[][5])
{
    um_error err;
    assert_ok(f->responder->ops->score_letters(f->responder, queries, N_PROMPTS, keep_letters, out,
                                               NULL, &err),
              err);
}

/* Letters after generating are those of an engine that never saw the texts, to the bit; and a text
 * costs its last token, which was never computed, and the letter's opening. */
static void test_letters_after_texts(void **state)
{
    enum { N = N_PROMPTS * N_SAMPLES };
    fixture *f = *state;
    texts all = {0};
    char *text[N_PROMPTS][N_SAMPLES];
    um_letter_query queries[N_PROMPTS];
    double cold[N][5], warm[N][5], tight[N][5];
    open_engine(f, 2, NULL);
    complete_all(f, &all);
    make_queries(f, &all, text, queries);
    const um_engine_stats before = stats_of(f);
    score(f, queries, warm);
    const um_engine_stats after = stats_of(f);
    /* Again: a token each. */
    score(f, queries, tight);
    assert_memory_equal(tight, warm, sizeof warm);
    assert_int_equal(stats_of(f).prompt_tokens - after.prompt_tokens, N);
    close_engine(f);

    open_engine(f, 1, NULL);
    score(f, queries, cold);
    const um_engine_stats fresh = stats_of(f);
    assert_memory_equal(cold, warm, sizeof cold);
    close_engine(f);
    assert_int_equal(after.prompt_tokens - before.prompt_tokens, N * (1 + strlen(LETTER_OPENING)));
    /* Without the texts, each prompt is computed once, and of them the common beginning. */
    uint64_t most = N * (MAX_TOKENS + strlen(LETTER_OPENING));
    for (size_t p = 0; p < N_PROMPTS; p++)
        most += f->len[p] - (p > 0 ? f->common : 0);
    assert_true(fresh.prompt_tokens <= most);

    /* Two pages more than generating needs: no text is lost before its turn. */
    open_engine(
        f, 1,
        &(um_engine_options){.kv_bytes = (uint64_t)(before.peak_pages + 2) * fresh.page_bytes});
    free_texts(&all);
    complete_all(f, &all);
    const uint64_t computed = stats_of(f).prompt_tokens;
    score(f, queries, tight);
    assert_memory_equal(tight, warm, sizeof warm);
    assert_int_equal(stats_of(f).prompt_tokens - computed, N * (1 + strlen(LETTER_OPENING)));
    assert_int_equal(stats_of(f).touched_pages, before.peak_pages + 2);
    close_engine(f);

    /* Little memory, small passes. */
    const int least = um_kv_pages_of((int64_t)f->len[N_PROMPTS - 1] + 100) + 1;
    open_engine(
        f, 2, &(um_engine_options){.kv_bytes = (uint64_t)least * fresh.page_bytes, .max_rows = 1});
    score(f, queries, tight);
    assert_memory_equal(tight, warm, sizeof warm);
    close_engine(f);
    for (size_t i = 0; i < N; i++)
        free(text[i / N_SAMPLES][i % N_SAMPLES]);
    free_texts(&all);
}

/* Log-probabilities ------------------------------------------------------------------------------
 */

static void test_logprobs(void **state)
{
    fixture *f = *state;
    texts plain = {0}, all = {.with_logprobs = true};
    const size_t vocab = (size_t)um_model_get_config(f->model)->vocab;
    um_tokens ids = {0};
    um_error err;
    open_engine(f, 2, NULL);
    complete_all(f, &plain);
    close_engine(f);
    open_engine(f, 2, &(um_engine_options){.logprobs = true});
    complete_all(f, &all);
    assert_same(&plain, &all);
    for (size_t i = 0; i < (size_t)N_PROMPTS * N_SAMPLES; i++) {
        const size_t p = i / N_SAMPLES, s = i % N_SAMPLES;
        encode(f, p, &ids);
        assert_ok(
            um_tokenizer_encode(f->tok, all.text[p][s], strlen(all.text[p][s]), false, &ids, &err),
            err);
        float *logits = um_calloc(ids.len * vocab, sizeof *logits);
        assert_ok(um_model_logits(f->model, f->compute, ids.ids, ids.len, logits, &err), err);
        for (size_t t = 0; t < all.tokens[p][s]; t++) {
            const float *row = logits + (f->len[p] + t - 1) * vocab;
            double sum = 0.0;
            for (size_t v = 0; v < vocab; v++)
                sum += exp((double)row[v]);
            assert_close(all.logprobs[p][s][t], (double)row[ids.ids[f->len[p] + t]] - log(sum),
                         1e-5);
        }
        free(logits);
    }
    close_engine(f);
    um_tokens_dispose(&ids);
    free_texts(&plain);
    free_texts(&all);
}

static void test_stats_of_others(void **state)
{
    (void)state;
    const um_responder_ops ops = {0};
    const um_responder other = {.ops = &ops};
    um_engine_stats stats;
    assert_false(um_engine_get_stats(&other, &stats));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_cold_and_warm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_common_beginning, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_many_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_tight_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_letters_after_texts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_logprobs, set_up, tear_down),
        cmocka_unit_test(test_stats_of_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
