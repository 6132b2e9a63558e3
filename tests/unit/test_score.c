/* Log-likelihood of completions, against the model's logits one sequence at a time. */
#include <math.h>

#include "base/rng.h"
#include "mirrorer/train.h"
#include "test_util.h"

enum { VOCAB = 40, ROWS = 24 };

static um_model *small_model(void)
{
    um_model *model = NULL;
    um_error err;
    const um_model_config config = {.arch = UM_ARCH_LLAMA,
                                    .vocab = VOCAB,
                                    .hidden = 16,
                                    .layers = 2,
                                    .heads = 2,
                                    .kv_heads = 1,
                                    .head_dim = 8,
                                    .ffn = 24,
                                    .max_positions = 64,
                                    .rms_eps = 1e-5f,
                                    .rope_theta = 10000,
                                    .tied = true,
                                    .bos = -1,
                                    .eos = 0};
    assert_ok(um_model_init(&model, &config, 0.3f, 0.5f, 3, &err), err);
    return model;
}

/* Sum of log p of ids[first..n), by the whole sequence's logits in double. */
static double by_logits(const um_model *model, um_compute *compute, const int32_t *ids, size_t n,
                        size_t first)
{
    float logits[64 * VOCAB];
    um_error err;
    double sum = 0;
    assert_ok(um_model_logits(model, compute, ids, n, logits, &err), err);
    for (size_t i = first > 0 ? first : 1; i < n; i++) {
        const float *row = logits + (i - 1) * VOCAB;
        double total = 0;
        for (int v = 0; v < VOCAB; v++)
            total += exp((double)row[v]);
        sum += (double)row[ids[i]] - log(total);
    }
    return sum;
}

typedef struct seen {
    double logp[ROWS][2];
    size_t n;
} seen;

static um_status on_score(void *context, size_t row, const double *logp, um_error *err)
{
    seen *s = context;
    (void)err;
    assert_int_equal(row, s->n); /* in order */
    s->logp[row][0] = logp[0];
    s->logp[row][1] = logp[1];
    s->n++;
    return UM_OK;
}

static void scores_equal_logits(void **state)
{
    (void)state;
    um_model *model = small_model();
    um_compute *compute = NULL;
    um_error err;
    um_rng rng;
    static int32_t ids[ROWS][3][20];
    um_train_row rows[ROWS];
    seen whole = {0}, one = {0};

    assert_ok(um_compute_open(&compute, NULL, 2, &err), err);
    um_rng_init(&rng, 9, UM_RNG_TEST, 0, 0, 0);
    for (int r = 0; r < ROWS; r++) {
        int n[3] = {r == 5 ? 0 : 1 + (int)um_rng_below(&rng, 20), 1 + (int)um_rng_below(&rng, 20),
                    1 + (int)um_rng_below(&rng, 20)};
        for (int part = 0; part < 3; part++)
            for (int i = 0; i < n[part]; i++)
                ids[r][part][i] = (int32_t)um_rng_below(&rng, VOCAB);
        rows[r] = (um_train_row){.id = (uint64_t)r,
                                 .prompt = ids[r][0],
                                 .prompt_len = n[0],
                                 .completions = {ids[r][1], ids[r][2]},
                                 .completion_len = {n[1], n[2]},
                                 .n_completions = r % 3 == 0 ? 1 : 2,
                                 .train_prompt = r % 4 == 0};
    }
    /* Many rows a pass, and passes that hold one row each: the same scores, bit for bit. */
    assert_ok(um_score_rows(model, compute, rows, ROWS, 64, on_score, &whole, NULL, &err), err);
    assert_ok(um_score_rows(model, compute, rows, ROWS, 1, on_score, &one, NULL, &err), err);
    assert_int_equal(whole.n, ROWS);
    assert_int_equal(one.n, ROWS);
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < rows[r].n_completions; c++) {
            int32_t sequence[40];
            int prompt = rows[r].prompt_len, n = prompt + rows[r].completion_len[c];
            memcpy(sequence, rows[r].prompt, (size_t)prompt * sizeof *sequence);
            memcpy(sequence + prompt, rows[r].completions[c],
                   (size_t)rows[r].completion_len[c] * sizeof *sequence);
            assert_close(whole.logp[r][c],
                         by_logits(model, compute, sequence, (size_t)n, (size_t)prompt), 2e-4);
            assert_true(whole.logp[r][c] <= one.logp[r][c] && whole.logp[r][c] >= one.logp[r][c]);
        }
    }
    assert_ok(um_score_rows(model, compute, rows, 0, 64, on_score, &whole, NULL, &err), err);
    ids[3][1][0] = VOCAB;
    whole.n = 0;
    assert_int_equal(um_score_rows(model, compute, rows, ROWS, 64, on_score, &whole, NULL, &err),
                     UM_ERR_INPUT);
    um_compute_close(compute);
    um_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(scores_equal_logits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
