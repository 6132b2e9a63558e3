/* Chat forms: against what transformers renders (tests/golden/gen_chat.py), how a template is
 * recognised, chosen and saved, and what is refused. */
#include "tok_util.h"

/* The tokenizer of bytelevel/ with the special tokens of both families, in a new folder; config
 * (may be NULL) is its tokenizer_config.json. */
static um_tokenizer *make_tokenizer(const char *config)
{
    static const char *const markers[] = {"<|begin_of_text|>", "<|start_header_id|>",
                                          "<|end_header_id|>", "<|eot_id|>"};
    char path[512], dir[256];
    um_error err;
    json_t *document = NULL;
    um_str text = UM_STR_INIT;
    um_tokenizer *tok = NULL;
    snprintf(path, sizeof path, "%s/tests/golden/tokenizer/bytelevel/tokenizer.json",
             UM_SOURCE_DIR);
    assert_ok(um_json_read(&document, path, (size_t)1 << 24, &err), err);
    json_t *added = json_object_get(document, "added_tokens");
    json_t *vocab = json_object_get(json_object_get(document, "model"), "vocab");
    size_t n = json_object_size(vocab);
    for (size_t i = 0; i < 4; i++)
        json_array_append_new(added, json_pack("{s:i, s:s, s:b}", "id", (int)(n + i), "content",
                                               markers[i], "special", 1));
    um_json_dump(&text, document);
    assert_non_null(make_dir(dir, sizeof dir));
    put_file(dir, "tokenizer.json", um_str_text(&text));
    if (config != NULL)
        put_file(dir, "tokenizer_config.json", config);
    assert_ok(um_tokenizer_load(&tok, dir, &err), err);
    remove_dir(dir);
    um_str_dispose(&text);
    json_decref(document);
    return tok;
}

/* A tokenizer whose configuration holds this template. */
static um_tokenizer *with_template(const char *template)
{
    um_str config = UM_STR_INIT;
    um_str_append(&config, "{\"chat_template\": ");
    um_str_append_json(&config, template);
    um_str_append(&config, "}");
    um_tokenizer *tok = make_tokenizer(um_str_text(&config));
    um_str_dispose(&config);
    return tok;
}

static void assert_renders(const um_tokenizer *tok, const json_t *row)
{
    um_message messages[8];
    um_error err;
    char *text = NULL;
    um_tokens ids = {0}, whole = {0};
    um_chat_format format = um_chat_detect(tok);
    const json_t *list = json_object_get(row, "messages");
    const char *prefix = json_string_value(json_object_get(row, "prefix"));
    const char *want = json_string_value(json_object_get(row, "text"));
    size_t n = json_array_size(list);
    for (size_t k = 0; k < n; k++) {
        messages[k].role = json_string_value(json_object_get(json_array_get(list, k), "role"));
        messages[k].content =
            json_string_value(json_object_get(json_array_get(list, k), "content"));
    }
    assert_ok(um_chat_render(tok, format, messages, n, prefix, &text, &err), err);
    assert_string_equal(text, want);
    free(text);
    assert_ok(um_chat_encode_prompt(tok, format, messages, n, prefix, &ids, &err), err);
    assert_ok(um_tokenizer_decode(tok, ids.ids, ids.len, false, &text, NULL, &err), err);
    assert_string_equal(text, want);
    if (prefix == NULL) { /* a prefix is encoded apart, on purpose */
        assert_ok(um_tokenizer_encode(tok, want, strlen(want), true, &whole, &err), err);
        assert_ids(&ids, whole.ids, whole.len, want);
    }
    um_tokens_dispose(&ids);
    um_tokens_dispose(&whole);
    free(text);
}

static json_t *read_rows(void)
{
    char path[512];
    um_error err;
    json_t *rows = NULL;
    snprintf(path, sizeof path, "%s/tests/golden/chat.json", UM_SOURCE_DIR);
    assert_ok(um_json_read(&rows, path, (size_t)1 << 24, &err), err);
    assert_int_equal(json_array_size(rows), 120);
    return rows;
}

static void by_name_as_transformers(void **state)
{
    (void)state;
    json_t *rows = read_rows(), *row;
    um_tokenizer *tok = make_tokenizer(NULL);
    size_t i;
    um_error err;
    json_array_foreach(rows, i, row)
    {
        const char *form = json_string_value(json_object_get(row, "form"));
        const char *date = json_string_value(json_object_get(row, "date"));
        assert_ok(um_chat_choose(tok, form, date, &err), err);
        assert_string_equal(um_chat_name(um_chat_detect(tok)), form);
        assert_renders(tok, row);
    }
    um_tokenizer_free(tok);
    json_decref(rows);
}

/* The published templates, as a file and as part of a folder; the date is theirs. */
static void by_file_as_transformers(void **state)
{
    (void)state;
    json_t *rows = read_rows(), *row;
    size_t i;
    um_error err;
    json_array_foreach(rows, i, row)
    {
        char relative[256], path[512], *text = NULL;
        const char *name = json_string_value(json_object_get(row, "template"));
        const char *date = json_string_value(json_object_get(row, "date"));
        size_t len = 0;
        if (name == NULL || (date != NULL && strcmp(date, UM_CHAT_DATE) != 0))
            continue;
        snprintf(relative, sizeof relative, "chat-templates/%s", name);
        if (shared_data(relative, path, sizeof path) == NULL)
            break;
        assert_ok(um_file_read(&text, &len, path, (size_t)1 << 20, &err), err);
        um_tokenizer *tok = with_template(text), *plain = make_tokenizer("{}");
        assert_int_equal(um_chat_detect(plain), UM_CHAT_PLAIN);
        assert_ok(um_chat_choose(plain, path, NULL, &err), err);
        assert_renders(tok, row);
        assert_renders(plain, row);
        um_tokenizer_free(tok);
        um_tokenizer_free(plain);
        free(text);
    }
    json_decref(rows);
}

static void assert_opens(const um_tokenizer *tok, const char *want)
{
    static const um_message messages[] = {{"user", " hi "}};
    um_error err;
    char *text = NULL;
    assert_ok(um_chat_render(tok, um_chat_detect(tok), messages, 1, NULL, &text, &err), err);
    assert_string_equal(text, want);
    free(text);
}

#define CHATML_LOOP                                                                                \
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "                  \
    "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"                                     \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
#define CHATML_SYSTEM(text)                                                                        \
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n" text                       \
    "<|im_end|>\\n' }}{% endif %}"

static void recognised(void **state)
{
    (void)state;
    um_tokenizer *tok = with_template(CHATML_LOOP);
    assert_int_equal(um_chat_detect(tok), UM_CHAT_CHATML);
    um_tokenizer_free(tok);
    /* Other models of the family speak another default. */
    tok = with_template(CHATML_SYSTEM("Help, please.") CHATML_LOOP);
    assert_int_equal(um_chat_detect(tok), UM_CHAT_QWEN2_5);
    assert_opens(tok, "<|im_start|>system\nHelp, please.<|im_end|>\n<|im_start|>user\n hi "
                      "<|im_end|>\n<|im_start|>assistant\n");
    um_tokenizer_free(tok);
    tok = make_tokenizer("{\"chat_template\": [{\"name\": \"tools\", \"template\": \"x\"},"
                         "{\"name\": \"default\", \"template\": \"" CHATML_SYSTEM("A") "\"}]}");
    assert_int_equal(um_chat_detect(tok), UM_CHAT_UNKNOWN);
    um_tokenizer_free(tok);
    tok = make_tokenizer(NULL);
    assert_int_equal(um_chat_detect(tok), UM_CHAT_CHATML); /* by its special tokens */
    um_tokenizer_free(tok);
    tok = make_tokenizer("{}");
    assert_int_equal(um_chat_detect(tok), UM_CHAT_PLAIN); /* a base model */
    assert_opens(tok, " hi \n\n");
    um_tokenizer_free(tok);
}

static void not_recognised(void **state)
{
    (void)state;
    static const char *const strange[] = {
        "",
        "{{ messages }}",
        CHATML_LOOP "{% if enable_thinking %}{{ '<think>' }}{% endif %}",
        CHATML_SYSTEM("One") CHATML_SYSTEM("Two") CHATML_LOOP,
        CHATML_SYSTEM("It\\'s") CHATML_LOOP,
        CHATML_LOOP "{{ message['content'] | trim }}",
        CHATML_LOOP "{{ '<|start_header_id|>' }}",
        "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"};
    static const um_message messages[] = {{"user", "hi"}};
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        um_error err;
        um_tokens ids = {0};
        char dir[256], path[512];
        um_tokenizer *tok = with_template(strange[i]);
        if (um_chat_detect(tok) != UM_CHAT_UNKNOWN)
            fail_msg("template %zu was taken for %s", i, um_chat_name(um_chat_detect(tok)));
        assert_int_equal(um_chat_encode_prompt(tok, UM_CHAT_UNKNOWN, messages, 1, NULL, &ids, &err),
                         UM_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, "--template"));
        assert_int_equal(um_chat_end_of_turn(tok, UM_CHAT_UNKNOWN), um_tokenizer_eos(tok));
        /* A form can be chosen by name. */
        assert_ok(um_chat_choose(tok, "chatml", NULL, &err), err);
        assert_opens(tok, "<|im_start|>user\n hi <|im_end|>\n<|im_start|>assistant\n");
        assert_non_null(make_dir(dir, sizeof dir));
        put_file(dir, "t.jinja", strange[i]);
        snprintf(path, sizeof path, "%s/t.jinja", dir);
        assert_int_equal(um_chat_choose(tok, path, NULL, &err), UM_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, "t.jinja"));
        remove_dir(dir);
        um_tokenizer_free(tok);
    }
}

static void choice_refused(void **state)
{
    (void)state;
    um_error err;
    um_tokenizer *tok = make_tokenizer(NULL), *small = load_golden("bytelevel");
    assert_int_equal(um_chat_choose(tok, "lama3", NULL, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "did you mean 'llama3'"));
    assert_int_equal(um_chat_choose(tok, "unknown", NULL, &err), UM_ERR_INPUT);
    assert_int_equal(um_chat_choose(tok, "llama3.1", "2024\n<|eot_id|>", &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, UM_CHAT_DATE));
    assert_int_equal(
        um_chat_choose(tok, NULL, "a date of far more than forty bytes is no date, is it", &err),
        UM_ERR_INPUT);
    assert_int_equal(um_chat_choose(small, "llama3.2", NULL, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "<|start_header_id|>"));
    um_tokenizer_free(tok);
    um_tokenizer_free(small);
}

/* A saved folder speaks the form that was chosen, its date and its system text included. */
static void saved(void **state)
{
    (void)state;
    static const char *const names[] = {"plain", "chatml", "llama3", "qwen2.5", "llama3.1"};
    uint64_t seen[5];
    for (size_t i = 0; i < 5; i++) {
        char dir[256];
        um_error err;
        um_tokenizer *tok = make_tokenizer(NULL), *again = NULL;
        assert_ok(um_chat_choose(tok, names[i], "05 Jan 2031", &err), err);
        assert_non_null(make_dir(dir, sizeof dir));
        assert_ok(um_tokenizer_save(tok, dir, &err), err);
        assert_ok(um_tokenizer_load(&again, dir, &err), err);
        assert_string_equal(um_chat_name(um_chat_detect(again)), names[i]);
        um_chat_format format = um_chat_detect(again);
        seen[i] = um_chat_hash(again, format);
        assert_true(um_chat_hash(tok, format) == seen[i]);
        for (size_t k = 0; k < i; k++)
            assert_true(seen[k] != seen[i]);
        assert_ok(um_chat_choose(again, NULL, "06 Jan 2031", &err), err);
        assert_int_equal(um_chat_hash(again, format) != seen[i], format == UM_CHAT_LLAMA3_1);
        remove_dir(dir);
        um_tokenizer_free(tok);
        um_tokenizer_free(again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_name_as_transformers),
        cmocka_unit_test(by_file_as_transformers),
        cmocka_unit_test(recognised),
        cmocka_unit_test(not_recognised),
        cmocka_unit_test(choice_refused),
        cmocka_unit_test(saved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
