/* The local responder: what a sample depends on, how it ends, limits, interruption. */
#include "model_util.h"

#include "base/mem.h"
#include "base/str.h"
#include "model/continuation.h"
#include "model/engine.h"

#define N_PROMPTS 7
#define N_SAMPLES 5

typedef struct fixture {
    um_tokenizer *tok;
    um_model *model;
    um_compute *compute;
    um_responder *responder;
    um_message messages[N_PROMPTS][2];
    char *user[N_PROMPTS];
    um_prompt prompts[N_PROMPTS];
} fixture;

static void open_engine(fixture *f, int threads, const char *backend,
                        const um_engine_options *options)
{
    um_error err;
    assert_ok(um_compute_open(&f->compute, backend, threads, &err), err);
    assert_ok(um_engine_open(&f->responder, f->model, f->tok, f->compute, "small", options, &err),
              err);
}

static void close_engine(fixture *f)
{
    um_responder_free(f->responder);
    um_compute_close(f->compute);
    f->responder = NULL;
    f->compute = NULL;
}

/* Prompts from a few to about 700 tokens: one is longer than a chunk. */
static int set_up(void **state)
{
    fixture *f = um_calloc(1, sizeof *f);
    f->tok = small_tokenizer(320);
    um_model_config config = small_config(f->tok);
    f->model = small_model(&config, 3);
    for (unsigned i = 0; i < N_PROMPTS; i++) {
        unsigned words = i == 4 ? 330 : 3 + 17 * i;
        um_str s = UM_STR_INIT;
        um_error err;
        for (unsigned w = 0; w < words; w++)
            um_str_appendf(&s, "the old film %u ", (w * 31 + i) % 97);
        assert_ok(um_str_take(&s, &f->user[i], &err), err);
        f->messages[i][0] = (um_message){"system", "likes a quiet story"};
        f->messages[i][1] = (um_message){"user", f->user[i]};
        f->prompts[i] = (um_prompt){.key = 1000 + i,
                                    .messages = f->messages[i],
                                    .n_messages = 2,
                                    .opening = i % 2 == 0 ? "Thought:" : NULL,
                                    .k = 2 + i};
    }
    f->user[4][1400] = '\0';
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < N_PROMPTS; i++)
        free(f->user[i]);
    um_model_free(f->model);
    um_tokenizer_free(f->tok);
    free(f);
    return 0;
}

/* Completions by prompt and sample. */
typedef struct collected {
    char *text[N_PROMPTS][N_SAMPLES];
    um_finish finish[N_PROMPTS][N_SAMPLES];
    uint32_t tokens[N_PROMPTS][N_SAMPLES];
    size_t offset; /* added to the prompt index */
    int count, fail_at;
    sig_atomic_t stop;
} collected;

static um_status collect(void *context, const um_completion *c, um_error *err)
{
    collected *all = context;
    size_t p = c->prompt + all->offset;
    assert_true(p < N_PROMPTS && c->sample < N_SAMPLES);
    assert_null(all->text[p][c->sample]);
    all->text[p][c->sample] = um_strdup(c->text);
    all->finish[p][c->sample] = c->finish;
    all->tokens[p][c->sample] = c->tokens;
    all->count++;
    if (all->fail_at > 0 && all->count == all->fail_at) {
        err->status = UM_ERR_IO;
        snprintf(err->text, sizeof err->text, "the reader failed");
        return UM_ERR_IO;
    }
    if (all->fail_at < 0 && all->count == -all->fail_at)
        all->stop = 1;
    return UM_OK;
}

static void free_collected(collected *all)
{
    for (int p = 0; p < N_PROMPTS; p++) {
        for (int s = 0; s < N_SAMPLES; s++)
            free(all->text[p][s]);
    }
    *all = (collected){0};
}

static void assert_same(const collected *a, const collected *b)
{
    for (int p = 0; p < N_PROMPTS; p++) {
        for (int s = 0; s < N_SAMPLES; s++) {
            assert_non_null(a->text[p][s]);
            assert_non_null(b->text[p][s]);
            assert_string_equal(a->text[p][s], b->text[p][s]);
            assert_int_equal(a->finish[p][s], b->finish[p][s]);
            assert_int_equal(a->tokens[p][s], b->tokens[p][s]);
        }
    }
}

static const um_sampling sampling = {
    .seed = 11, .temperature = 1.0f, .top_p = 0.9f, .top_k = 0, .min_p = 0.0f, .max_tokens = 30};
static const char *const stops[] = {"Behavior: [", "zz"};

static void complete_all(fixture *f, collected *all)
{
    um_error err;
    assert_ok(f->responder->ops->complete(f->responder, f->prompts, N_PROMPTS, 0, N_SAMPLES,
                                          &sampling, stops, 2, collect, all, NULL, &err),
              err);
    assert_int_equal(all->count, N_PROMPTS * N_SAMPLES);
}

static void test_same_in_any_batch(void **state)
{
    fixture *f = *state;
    for (const char *const *backend = um_backend_names(); *backend != NULL; backend++) {
        collected reference = {0}, all = {0};
        um_error err;
        open_engine(f, 1, *backend, NULL);
        complete_all(f, &reference);
        close_engine(f);

        /* Two threads, few rows. */
        um_engine_options few = {.max_rows = 3};
        open_engine(f, 2, *backend, &few);
        complete_all(f, &all);
        assert_same(&reference, &all);
        free_collected(&all);
        close_engine(f);

        /* Memory for little more than the longest prompt. */
        um_engine_options tight = {.kv_bytes = 14 * page_bytes(f->model)};
        open_engine(f, 2, *backend, &tight);
        complete_all(f, &all);
        assert_same(&reference, &all);
        free_collected(&all);

        /* Each sample on its own. */
        for (uint32_t i = 0; i < N_PROMPTS * N_SAMPLES; i++) {
            all.offset = i / N_SAMPLES;
            assert_ok(f->responder->ops->complete(f->responder, &f->prompts[i / N_SAMPLES], 1,
                                                  i % N_SAMPLES, 1, &sampling, stops, 2, collect,
                                                  &all, NULL, &err),
                      err);
        }
        assert_same(&reference, &all);
        free_collected(&all);
        free_collected(&reference);
        close_engine(f);
    }
}

static void test_samples_differ(void **state)
{
    fixture *f = *state;
    collected all = {0}, other = {0};
    um_error err;
    open_engine(f, 1, NULL, NULL);
    complete_all(f, &all);
    assert_string_not_equal(all.text[0][0], all.text[0][1]);
    /* Another seed and another key give other texts. */
    um_sampling reseeded = sampling;
    reseeded.seed = 12;
    assert_ok(f->responder->ops->complete(f->responder, f->prompts, 1, 0, 1, &reseeded, stops, 2,
                                          collect, &other, NULL, &err),
              err);
    assert_string_not_equal(all.text[0][0], other.text[0][0]);
    free_collected(&other);
    um_prompt renamed = f->prompts[0];
    renamed.key++;
    assert_ok(f->responder->ops->complete(f->responder, &renamed, 1, 0, 1, &sampling, stops, 2,
                                          collect, &other, NULL, &err),
              err);
    assert_string_not_equal(all.text[0][0], other.text[0][0]);
    free_collected(&other);
    free_collected(&all);
    close_engine(f);
}

static int32_t argmax(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        best = x[i] > x[best] ? i : best;
    return best;
}

/* Greedy ids of a prompt, one whole forward a token. */
static void greedy_ids(fixture *f, const um_prompt *prompt, int n, um_tokens *out)
{
    int vocab = um_model_get_config(f->model)->vocab;
    um_tokens ids = {0};
    um_error err;
    assert_ok(um_chat_encode_prompt(f->tok, um_chat_detect(f->tok), prompt->messages,
                                    prompt->n_messages, prompt->opening, &ids, &err),
              err);
    size_t len = ids.len;
    int32_t *all = um_calloc(len + (size_t)n, sizeof *all);
    float *logits = um_calloc((len + (size_t)n) * (size_t)vocab, sizeof *logits);
    memcpy(all, ids.ids, len * sizeof *all);
    for (int i = 0; i < n; i++) {
        assert_ok(um_model_logits(f->model, f->compute, all, len, logits, &err), err);
        all[len] = argmax(logits + (len - 1) * (size_t)vocab, vocab);
        len++;
    }
    out->ids = um_calloc((size_t)n, sizeof *out->ids);
    out->len = out->cap = (size_t)n;
    memcpy(out->ids, all + len - (size_t)n, (size_t)n * sizeof *all);
    free(all);
    free(logits);
    um_tokens_dispose(&ids);
}

static void complete_greedy(fixture *f, const um_prompt *prompt, int max_tokens,
                            const char *const *ends, size_t n_ends, collected *out)
{
    um_sampling greedy = {.temperature = 0.0f, .top_p = 1.0f, .max_tokens = max_tokens};
    um_error err;
    assert_ok(f->responder->ops->complete(f->responder, prompt, 1, 0, 1, &greedy, ends, n_ends,
                                          collect, out, NULL, &err),
              err);
}

static void test_greedy_is_argmax(void **state)
{
    fixture *f = *state;
    collected all = {0};
    um_error err;
    open_engine(f, 2, NULL, NULL);
    for (size_t p = 0; p < 4; p++) {
        um_tokens ids = {0};
        char *text;
        size_t len;
        um_continuation written = {0};
        um_str expected = UM_STR_INIT;
        greedy_ids(f, &f->prompts[p], 12, &ids);
        assert_ok(um_tokenizer_decode(f->tok, ids.ids, ids.len, true, &text, &len, &err), err);
        assert_true(um_continuation_append(&written, text, len));
        um_continuation_text(&written, 0, written.len, &expected);
        complete_greedy(f, &f->prompts[p], 12, NULL, 0, &all);
        assert_string_equal(all.text[0][0], um_str_text(&expected));
        assert_int_equal(all.finish[0][0], UM_FINISH_LENGTH);
        assert_int_equal(all.tokens[0][0], 12);
        free_collected(&all);
        um_continuation_dispose(&written);
        um_str_dispose(&expected);
        um_tokens_dispose(&ids);
        free(text);
    }
    close_engine(f);
}

/* A stop string made of the end of one token and the start of the next. */
static void test_stop_across_tokens(void **state)
{
    fixture *f = *state;
    collected all = {0}, cut = {0};
    open_engine(f, 1, NULL, NULL);
    complete_greedy(f, &f->prompts[0], 24, NULL, 0, &all);
    const char *whole = all.text[0][0];
    size_t len = strlen(whole);
    assert_true(len > 20);
    for (size_t at = 4; at + 3 < len && at < 20; at++) {
        char stop[4] = {whole[at], whole[at + 1], whole[at + 2], '\0'};
        const char *const ends[] = {"never written here", stop};
        const char *first = strstr(whole, stop);
        complete_greedy(f, &f->prompts[0], 24, ends, 2, &cut);
        assert_int_equal(cut.finish[0][0], UM_FINISH_STOP);
        assert_int_equal(strlen(cut.text[0][0]), (size_t)(first - whole));
        assert_memory_equal(cut.text[0][0], whole, (size_t)(first - whole));
        free_collected(&cut);
    }
    free_collected(&all);
    close_engine(f);
}

static void test_end_token(void **state)
{
    fixture *f = *state;
    collected all = {0};
    um_tokens ids = {0};
    um_error err;
    um_model *whole = f->model;
    char *text;
    size_t len, at = 5;
    open_engine(f, 1, NULL, NULL);
    greedy_ids(f, &f->prompts[1], 12, &ids);
    close_engine(f);
    for (size_t i = 0; i < at; i++)
        at = ids.ids[i] == ids.ids[at] ? i : at;
    um_model_config config = *um_model_get_config(whole);
    config.eos = ids.ids[at];
    f->model = small_model(&config, 3);
    open_engine(f, 1, NULL, NULL);
    complete_greedy(f, &f->prompts[1], 12, NULL, 0, &all);
    assert_ok(um_tokenizer_decode(f->tok, ids.ids, at, true, &text, &len, &err), err);
    assert_string_equal(all.text[0][0], text);
    assert_int_equal(all.finish[0][0], UM_FINISH_STOP);
    assert_int_equal(all.tokens[0][0], at + 1);
    free(text);
    free_collected(&all);
    um_tokens_dispose(&ids);
    close_engine(f);
    um_model_free(f->model);
    f->model = whole;
}

static void expect_refusal(fixture *f, const um_prompt *prompts, size_t n,
                           const um_sampling *settings, um_status status, const char *part)
{
    collected all = {0};
    um_error err = {0};
    const char *const ends[] = {"x"};
    um_status got = f->responder->ops->complete(f->responder, prompts, n, 0, 1, settings, ends, 1,
                                                collect, &all, NULL, &err);
    assert_int_equal(got, status);
    assert_int_equal(all.count, 0);
    if (strstr(err.text, part) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, part);
}

static void test_refusals(void **state)
{
    fixture *f = *state;
    um_error err;
    um_responder *other;
    um_sampling s = sampling;
    um_engine_options small = {.max_context = 200};
    open_engine(f, 1, NULL, &small);
    expect_refusal(f, f->prompts, N_PROMPTS, &s, UM_ERR_LIMIT, "prompt 1002");
    s.max_tokens = 2000;
    expect_refusal(f, f->prompts, 1, &s, UM_ERR_LIMIT, "context holds 200");
    s.max_tokens = 0;
    expect_refusal(f, f->prompts, 1, &s, UM_ERR_INPUT, "max_tokens");
    const char *const empty[] = {""};
    assert_int_equal(f->responder->ops->complete(f->responder, f->prompts, 1, 0, 1, &sampling,
                                                 empty, 1, collect, NULL, NULL, &err),
                     UM_ERR_INPUT);
    close_engine(f);

    um_engine_options tight = {.kv_bytes = 1 * page_bytes(f->model)};
    open_engine(f, 1, NULL, &tight);
    expect_refusal(f, f->prompts, 1, &sampling, UM_ERR_LIMIT, "key/value memory");
    /* Options out of range, and a tokenizer that does not belong to the model. */
    um_engine_options bad = {.max_context = 4096};
    assert_int_equal(um_engine_open(&other, f->model, f->tok, f->compute, "m", &bad, &err),
                     UM_ERR_INPUT);
    bad = (um_engine_options){.max_rows = -1};
    assert_int_equal(um_engine_open(&other, f->model, f->tok, f->compute, "m", &bad, &err),
                     UM_ERR_INPUT);
    um_model_config config = small_config(f->tok);
    config.vocab--;
    um_model *short_model = small_model(&config, 3);
    assert_int_equal(um_engine_open(&other, short_model, f->tok, f->compute, "m", NULL, &err),
                     UM_ERR_INPUT);
    um_model_free(short_model);
    close_engine(f);
}

static uint32_t measured(fixture *f, const um_prompt *prompt, const char *text, uint32_t *limit)
{
    uint32_t tokens = 0;
    um_error err;
    assert_ok(f->responder->ops->measure(f->responder, prompt, text, &tokens, limit, &err), err);
    return tokens;
}

/* What is measured is what the calls hold a prompt to. */
static void test_measure(void **state)
{
    fixture *f = *state;
    const char *const texts[] = {" it is quiet.\nBehavior: ["};
    uint32_t limit = 0;
    um_tokens ids = {0};
    um_error err;
    open_engine(f, 1, NULL, NULL);
    assert_ok(um_chat_encode_prompt(f->tok, um_chat_detect(f->tok), f->messages[0], 2,
                                    "Thought:", &ids, &err),
              err);
    assert_int_equal(measured(f, &f->prompts[0], NULL, &limit), ids.len);
    assert_int_equal(limit, 1024); /* the positions of the model */
    um_tokens_dispose(&ids);
    uint32_t longer = measured(f, &f->prompts[0], texts[0], &limit);
    assert_true(longer > measured(f, &f->prompts[0], NULL, &limit));
    um_message nobody = {"narrator", "x"};
    um_prompt bad = {.key = 77, .messages = &nobody, .n_messages = 1};
    assert_int_equal(f->responder->ops->measure(f->responder, &bad, NULL, &longer, &limit, &err),
                     UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "prompt 77"));
    close_engine(f);

    /* Exactly the limit passes, one token more is refused; by the context and by the memory. */
    const um_engine_options options[] = {{.max_context = 192},
                                         {.kv_bytes = 5 * page_bytes(f->model) - 1}};
    for (size_t i = 0; i < 2; i++) {
        collected all = {0};
        um_sampling s = sampling;
        open_engine(f, 1, NULL, &options[i]);
        uint32_t tokens = measured(f, &f->prompts[1], NULL, &limit);
        assert_int_equal(limit, i == 0 ? 192 : 1024); /* memory decides about no answer */
        s.max_tokens = 192 - (int)tokens;
        assert_ok(f->responder->ops->complete(f->responder, &f->prompts[1], 1, 0, 1, &s, stops, 2,
                                              collect, &all, NULL, &err),
                  err);
        free_collected(&all);
        s.max_tokens++;
        expect_refusal(f, &f->prompts[1], 1, &s, UM_ERR_LIMIT, "prompt 1001");
        close_engine(f);
    }
}

static void test_interruption(void **state)
{
    fixture *f = *state;
    collected all = {.fail_at = -4}, reference = {0};
    um_error err;
    um_engine_options few = {.max_rows = 6};
    open_engine(f, 1, NULL, &few);
    um_monitor monitor = {.stop = &all.stop};
    assert_int_equal(f->responder->ops->complete(f->responder, f->prompts, N_PROMPTS, 0, N_SAMPLES,
                                                 &sampling, stops, 2, collect, &all, &monitor,
                                                 &err),
                     UM_ERR_INTERRUPTED);
    assert_true(all.count >= 4 && all.count < N_PROMPTS * N_SAMPLES);
    free_collected(&all);
    /* A reader that fails ends the call with its own error. */
    all.fail_at = 2;
    assert_int_equal(f->responder->ops->complete(f->responder, f->prompts, N_PROMPTS, 0, N_SAMPLES,
                                                 &sampling, stops, 2, collect, &all, NULL, &err),
                     UM_ERR_IO);
    assert_int_equal(all.count, 2);
    free_collected(&all);
    /* Both gave every page back. */
    um_engine *engine = (um_engine *)f->responder;
    assert_int_equal(engine->kv.n_held, 0);
    assert_int_equal(engine->kv.n_promised, 0);
    complete_all(f, &all);
    close_engine(f);
    open_engine(f, 1, NULL, NULL);
    complete_all(f, &reference);
    assert_same(&reference, &all);
    free_collected(&all);
    free_collected(&reference);
    close_engine(f);
}

/* Texts as they were told, by prompt and sample. */
typedef struct told {
    um_str text[N_PROMPTS][N_SAMPLES];
    size_t pieces;
    size_t fail_at; /* piece that is refused; 0: none */
} told;

static um_status on_text(void *context, size_t prompt, uint32_t sample, const char *text,
                         um_error *err)
{
    told *t = context;
    if (!um_utf8_valid(text, strlen(text)) || text[0] == '\0')
        fail_msg("piece %zu is empty or no UTF-8", t->pieces);
    if (++t->pieces == t->fail_at)
        return err->status = UM_ERR_IO;
    um_str_append(&t->text[prompt][sample], text);
    return UM_OK;
}

/* Three letters in a row of some continuation, which several tokens wrote; "" when there are none.
 */
static void find_letters(const collected *all, char out[4])
{
    out[0] = '\0';
    for (size_t i = 0; i < (size_t)N_PROMPTS * N_SAMPLES; i++) {
        const char *text = all->text[i / N_SAMPLES][i % N_SAMPLES];
        for (const char *p = text; *p != '\0' && p[strspn(p, "abcdefghijklmnopqrstuvwxyz")]; p++) {
            if (p > text + 2 && strspn(p, "abcdefghijklmnopqrstuvwxyz") >= 3) {
                snprintf(out, 4, "%.3s", p);
                return;
            }
        }
    }
}

/* What is told piece by piece is the text, whatever stop strings and half characters there are. */
static void test_streaming(void **state)
{
    fixture *f = *state;
    um_error err;
    char letters[4] = "";
    const char *const long_stops[] = {letters, "e", "a stop that is far too long to come"};
    const um_sampling hot = {.seed = 5, .temperature = 1.5f, .top_p = 1.0f, .max_tokens = 60};
    for (size_t n_stops = 0; n_stops <= 3; n_stops++) {
        told t = {0};
        collected all = {0};
        um_engine_options options = {.on_text = on_text, .text_context = &t};
        int stopped = 0;
        open_engine(f, 2, NULL, &options);
        assert_ok(f->responder->ops->complete(f->responder, f->prompts, N_PROMPTS, 0, N_SAMPLES,
                                              &hot, long_stops, n_stops, collect, &all, NULL, &err),
                  err);
        assert_int_equal(all.count, N_PROMPTS * N_SAMPLES);
        assert_true(t.pieces > (size_t)N_PROMPTS * N_SAMPLES / 2);
        for (size_t p = 0; p < N_PROMPTS; p++) {
            for (size_t s = 0; s < N_SAMPLES; s++) {
                assert_string_equal(um_str_text(&t.text[p][s]), all.text[p][s]);
                stopped += all.finish[p][s] == UM_FINISH_STOP;
                um_str_dispose(&t.text[p][s]);
            }
        }
        if (n_stops == 0)
            find_letters(&all, letters);
        assert_int_equal(strlen(letters), 3);
        assert_true(stopped > 0 || n_stops == 0);
        free_collected(&all);
        t = (told){.fail_at = 3};
        assert_int_equal(f->responder->ops->complete(f->responder, f->prompts, N_PROMPTS, 0,
                                                     N_SAMPLES, &hot, long_stops, n_stops, collect,
                                                     &all, NULL, &err),
                         UM_ERR_IO);
        assert_int_equal(t.pieces, 3);
        for (size_t p = 0; p < N_PROMPTS; p++)
            for (size_t s = 0; s < N_SAMPLES; s++)
                um_str_dispose(&t.text[p][s]);
        free_collected(&all);
        close_engine(f);
    }
}

static void test_fingerprint(void **state)
{
    fixture *f = *state;
    um_model *first = f->model;
    open_engine(f, 1, NULL, NULL);
    uint64_t fingerprint = f->responder->fingerprint;
    bool other_backend = strcmp(um_compute_name(f->compute), "cpu-ref") != 0;
    assert_string_equal(f->responder->name, "small");
    close_engine(f);
    open_engine(f, 1, "cpu-ref", NULL);
    assert_int_equal(f->responder->fingerprint != fingerprint, other_backend);
    close_engine(f);
    um_engine_options plain = {.format = UM_CHAT_PLAIN, .format_given = true};
    open_engine(f, 2, NULL, &plain);
    assert_true(f->responder->fingerprint != fingerprint);
    close_engine(f);
    um_model_config config = small_config(f->tok);
    f->model = small_model(&config, 4);
    open_engine(f, 1, NULL, NULL);
    assert_true(f->responder->fingerprint != fingerprint);
    close_engine(f);
    um_model_free(f->model);
    f->model = first;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_in_any_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_samples_differ, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_greedy_is_argmax, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stop_across_tokens, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end_token, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_measure, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_interruption, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_streaming, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fingerprint, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
