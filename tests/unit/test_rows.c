/* Rows of training: an answer is tokenised as scoring sees it, and says what it must. */
#include "test_util.h"

#include "mirrorer/model.h"
#include "stage/training.h"

static um_tokenizer *small_tokenizer(void)
{
    static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    static const char text[] =
        "Thought:\nStimulus: I like A and B.\nBehavior: [A] [B] [C] system user";
    um_tokenizer_trainer *trainer;
    um_tokenizer *tok;
    um_error err;
    assert_ok(um_tokenizer_trainer_new(&trainer, &err), err);
    for (int i = 0; i < 3; i++)
        assert_ok(um_tokenizer_trainer_add(trainer, text, sizeof text - 1, &err), err);
    assert_ok(um_tokenizer_train(&tok, trainer, 300, special, 3, NULL, &err), err);
    um_tokenizer_trainer_free(trainer);
    return tok;
}

static void assert_answer(const um_tokenizer *tok, const um_train_row *row, int i, const char *want,
                          uint32_t letter)
{
    int32_t letters[26];
    char *text;
    size_t len;
    um_error err;
    assert_ok(um_tokenizer_decode(tok, row->completions[i], (size_t)row->completion_len[i], false,
                                  &text, &len, &err),
              err);
    assert_string_equal(text, want);
    free(text);
    /* ..., letter, "]", end of turn: the letter is the token that scoring asks for. */
    assert_ok(um_letter_tokens(tok, letters, &err), err);
    assert_int_equal(row->completions[i][row->completion_len[i] - 3], letters[letter]);
}

static void answers_are_whole_turns(void **state)
{
    (void)state;
    um_tokenizer *tok = small_tokenizer();
    um_row_set set = {0};
    um_message messages[] = {{"system", "You are A."}, {"user", "[A] [B]"}};
    um_answer answers[] = {{"Thought:\nStimulus: I like B.", 1}, {NULL, 0}};
    um_tokens prompt = {0};
    um_error err;
    assert_ok(um_row_set_add_messages(&set, tok, 7, messages, 2, answers, 2, false, &err), err);
    assert_int_equal(set.rows.len, 1);
    const um_train_row *row = &set.rows.data[0];
    assert_answer(tok, row, 0, "Thought:\nStimulus: I like B.\nBehavior: [B]<|im_end|>", 1);
    assert_answer(tok, row, 1, "Behavior: [A]<|im_end|>", 0);
    assert_ok(um_chat_encode_prompt(tok, UM_CHAT_CHATML, messages, 2, NULL, &prompt, &err), err);
    assert_int_equal(row->prompt_len, prompt.len);
    assert_memory_equal(row->prompt, prompt.ids, prompt.len * sizeof *prompt.ids);
    assert_int_equal(row->n_completions, 2);
    assert_false(row->train_prompt);
    um_tokens_dispose(&prompt);
    um_row_set_dispose(&set);
    um_tokenizer_free(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(answers_are_whole_turns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
