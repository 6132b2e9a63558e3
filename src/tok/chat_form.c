/*
 * chat_form.c - which chat form a tokenizer has: by name, by its template, by its special tokens.
 *
 * A template is a Jinja program. It is not run: one that is known is recognised by the texts it
 * must write, and by holding nothing that would write more (thinking blocks, contents changed).
 * Tools are left aside, no prompt here has any.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "tok/tok.h"

#define TEMPLATE_MAX_BYTES ((size_t)1 << 20)
#define DATE_MAX_BYTES     40
#define QWEN_SYSTEM        "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."

static const struct form {
    const char *name;
    um_chat_format format;
} forms[] = {
    {"plain", UM_CHAT_PLAIN},     {"chatml", UM_CHAT_CHATML},     {"llama3", UM_CHAT_LLAMA3},
    {"qwen2.5", UM_CHAT_QWEN2_5}, {"llama3.1", UM_CHAT_LLAMA3_1}, {"unknown", UM_CHAT_UNKNOWN},
    {"llama3.0", UM_CHAT_LLAMA3}, {"llama3.2", UM_CHAT_LLAMA3_1}, {"llama3.3", UM_CHAT_LLAMA3_1}};
static const size_t n_forms = sizeof forms / sizeof forms[0];

static const um_tok_markers chatml = {"<|im_start|>", NULL, "<|im_end|>", "\n", "\n"};
static const um_tok_markers llama3 = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
                                      "\n\n", ""};

const char *um_chat_name(um_chat_format format)
{
    for (size_t i = 0; i < n_forms; i++)
        if (forms[i].format == format)
            return forms[i].name;
    return "unknown";
}

const um_tok_markers *um_tok_chat_markers(um_chat_format format)
{
    switch (format) {
    case UM_CHAT_CHATML:
    case UM_CHAT_QWEN2_5:
        return &chatml;
    case UM_CHAT_LLAMA3:
    case UM_CHAT_LLAMA3_1:
        return &llama3;
    default:
        return NULL;
    }
}

int32_t um_tok_find_added(const um_tokenizer *tok, const char *token)
{
    int32_t id = um_tokenizer_find(tok, token);
    return id >= 0 && tok->tokens[id].added ? id : -1;
}

/* The first special token of a form that the vocabulary lacks; NULL: it has all. */
static const char *missing_marker(const um_tokenizer *tok, const um_tok_markers *m)
{
    const char *const needed[] = {m->open, m->close_role, m->close_turn};
    for (size_t i = 0; i < 3; i++)
        if (needed[i] != NULL && um_tok_find_added(tok, needed[i]) < 0)
            return needed[i];
    return NULL;
}

um_chat_format um_tok_chat_by_markers(const um_tokenizer *tok)
{
    if (missing_marker(tok, &chatml) == NULL)
        return UM_CHAT_CHATML;
    return missing_marker(tok, &llama3) == NULL ? UM_CHAT_LLAMA3 : UM_CHAT_PLAIN;
}

um_chat_format um_chat_detect(const um_tokenizer *tok)
{
    return tok->chat;
}

uint64_t um_chat_hash(const um_tokenizer *tok, um_chat_format format)
{
    if (format == UM_CHAT_QWEN2_5)
        return um_hash_str(tok->chat_system, (uint64_t)format);
    if (format == UM_CHAT_LLAMA3_1)
        return um_hash_str(tok->chat_date, (uint64_t)format);
    return (uint64_t)format;
}

/* Recognising --------------------------------------------------------------------------------- */

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static bool has_any(const char *text, const char *const *parts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (has(text, parts[i]))
            return true;
    return false;
}

/* A line break in a template: as it is, or as an escape in a string. Its length, 0: none. */
static size_t line_break(const char *text)
{
    if (text[0] == '\n')
        return 1;
    return text[0] == '\\' && text[1] == 'n' ? 2 : 0;
}

/*
 * The system message a ChatML template writes by itself: the text between "<|im_start|>system\n"
 * and "<|im_end|>" where it stands there as it is. False: there is one that cannot be read, or two
 * that differ. *text is NULL when there is none.
 */
static bool read_system(const char *template, const char **text, size_t *len)
{
    static const char head[] = "<|im_start|>system";
    *text = NULL;
    for (const char *p = template; (p = strstr(p, head)) != NULL;) {
        p += sizeof head - 1;
        size_t gap = line_break(p);
        if (gap == 0)
            continue;
        p += gap;
        if (strchr("'\"{", *p) != NULL) /* the string ends here; a message's content follows */
            continue;
        const char *end = strstr(p, "<|im_end|>");
        if (end == NULL || strcspn(p, "'\"{}\\\n") < (size_t)(end - p))
            return false;
        if (*text != NULL && (*len != (size_t)(end - p) || memcmp(*text, p, *len) != 0))
            return false;
        *text = p;
        *len = (size_t)(end - p);
    }
    return true;
}

static um_chat_format recognise_chatml(const char *template, const char **system, size_t *len)
{
    static const char *const breaks[] = {"<|im_end|>\\n", "<|im_end|>\n", "<|im_end|>' + '\\n'",
                                         "<|im_end|>\" + \"\\n\"", "<|im_end|>'+'\\n'"};
    static const char *const answers[] = {"<|im_start|>assistant\\n", "<|im_start|>assistant\n"};
    static const char *const contents[] = {"message['content']", "message[\"content\"]",
                                           "message.content"};
    static const char *const changes[] = {"trim", "strip", "upper", "lower", "replace", "default("};
    if (!has_any(template, breaks, 5) || !has_any(template, answers, 2) ||
        !has_any(template, contents, 3) || has_any(template, changes, 6) ||
        !read_system(template, system, len))
        return UM_CHAT_UNKNOWN;
    return *system != NULL ? UM_CHAT_QWEN2_5 : UM_CHAT_CHATML;
}

static um_chat_format recognise_llama3(const char *template)
{
    static const char *const needed[] = {"<|end_header_id|>\\n\\n", "<|eot_id|>", "trim",
                                         "assistant<|end_header_id|>\\n\\n"};
    static const char *const extra[] = {"system", "tool", "date"};
    for (size_t i = 0; i < 4; i++)
        if (!has(template, needed[i]))
            return UM_CHAT_UNKNOWN;
    if (has(template, "Cutting Knowledge Date: December 2023\\n") &&
        has(template, "Today Date: \" + date_string + \"\\n\\n"))
        return UM_CHAT_LLAMA3_1;
    return has_any(template, extra, 3) ? UM_CHAT_UNKNOWN : UM_CHAT_LLAMA3;
}

/* *system (of *len bytes, in template) is set for UM_CHAT_QWEN2_5. */
static um_chat_format recognise(const char *template, const char **system, size_t *len)
{
    static const char *const foreign[] = {"think", "reasoning", "<|im_sep|>", "<|channel|>"};
    bool has_chatml = has(template, "<|im_start|>"),
         has_llama3 = has(template, "<|start_header_id|>");
    if (has_any(template, foreign, 4) || has_chatml == has_llama3)
        return UM_CHAT_UNKNOWN;
    return has_chatml ? recognise_chatml(template, system, len) : recognise_llama3(template);
}

static um_status keep(um_tokenizer *tok, const char **out, const char *text, size_t len,
                      um_error *err)
{
    *out = um_arena_strndup(&tok->arena, text, len);
    return *out != NULL ? UM_OK : um_fail_memory(err, "chat form");
}

/* The date a template of Llama 3.1 falls back to: set date_string = "26 Jul 2024". */
static um_status keep_date(um_tokenizer *tok, const char *template, um_error *err)
{
    static const char head[] = "set date_string = \"";
    const char *at = strstr(template, head);
    size_t len = at != NULL ? strcspn(at + sizeof head - 1, "\"") : 0;
    if (len == 0 || len > DATE_MAX_BYTES)
        return UM_OK;
    return keep(tok, &tok->chat_date, at + sizeof head - 1, len, err);
}

static um_status set_template(um_tokenizer *tok, const char *template, um_error *err)
{
    const char *system = NULL;
    size_t len = 0;
    tok->chat = recognise(template, &system, &len);
    if (tok->chat == UM_CHAT_QWEN2_5)
        return keep(tok, &tok->chat_system, system, len, err);
    return tok->chat == UM_CHAT_LLAMA3_1 ? keep_date(tok, template, err) : UM_OK;
}

/* The template of a configuration: a text, or the one named "default" of a list. */
static const char *config_template(const json_t *config)
{
    const json_t *value = json_object_get(config, "chat_template"), *entry;
    size_t i;
    json_array_foreach(value, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "name"));
        if (name != NULL && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(entry, "template"));
    }
    return json_string_value(value);
}

um_status um_tok_chat_read(um_tokenizer *tok, bool given, um_error *err)
{
    const json_t *value = json_object_get(tok->config, "chat_template");
    const char *template = config_template(tok->config);
    tok->chat_system = QWEN_SYSTEM;
    tok->chat_date = UM_CHAT_DATE;
    if (template != NULL)
        return set_template(tok, template, err);
    if (value != NULL && !json_is_null(value))
        tok->chat = UM_CHAT_UNKNOWN;
    else
        tok->chat = given ? UM_CHAT_PLAIN : um_tok_chat_by_markers(tok);
    return UM_OK;
}

/* Choosing ------------------------------------------------------------------------------------ */

um_status um_tok_chat_template(char **out, const um_tokenizer *tok, um_chat_format format,
                               um_error *err)
{
    um_str s = UM_STR_INIT;
    if (format == UM_CHAT_QWEN2_5)
        um_str_appendf(&s,
                       "{%%- if messages[0]['role'] != 'system' %%}"
                       "{{- '<|im_start|>system\\n%s<|im_end|>\\n' }}{%%- endif %%}",
                       tok->chat_system);
    if (format == UM_CHAT_LLAMA3_1)
        um_str_appendf(&s, "{%%- set date_string = \"%s\" %%}", tok->chat_date);
    if (format == UM_CHAT_LLAMA3 || format == UM_CHAT_LLAMA3_1)
        um_str_append(&s, "{{- '<|begin_of_text|>' }}");
    if (format == UM_CHAT_LLAMA3_1)
        um_str_append(&s, "{%- set given = messages[0]['role'] == 'system' %}"
                          "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"
                          "{{- \"Cutting Knowledge Date: December 2023\\n\" }}"
                          "{{- \"Today Date: \" + date_string + \"\\n\\n\" }}"
                          "{%- if given %}{{- messages[0]['content'] | trim }}"
                          "{%- set messages = messages[1:] %}{%- endif %}{{- '<|eot_id|>' }}");
    um_str_append(&s, "{%- for message in messages %}");
    if (um_tok_chat_markers(format) == &chatml)
        um_str_append(&s, "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
                          "'<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}"
                          "{{- '<|im_start|>assistant\\n' }}{%- endif %}");
    else
        um_str_append(&s, "{{- '<|start_header_id|>' + message['role'] + "
                          "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}"
                          "{%- endfor %}{%- if add_generation_prompt %}"
                          "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
                          "{%- endif %}");
    um_status status = um_str_take(&s, out, err);
    um_str_dispose(&s);
    return status;
}

static um_status choose_file(um_tokenizer *tok, const char *path, um_error *err)
{
    char *text = NULL;
    size_t len = 0;
    um_status status = um_file_read(&text, &len, path, TEMPLATE_MAX_BYTES, err);
    if (status == UM_OK && (!um_utf8_valid(text, len) || strlen(text) != len))
        status = um_fail(err, UM_ERR_INPUT, "%s: not UTF-8 text", path);
    if (status == UM_OK)
        status = set_template(tok, text, err);
    if (status == UM_OK && tok->chat == UM_CHAT_UNKNOWN)
        status = um_fail(err, UM_ERR_UNSUPPORTED,
                         "%s: this chat template is none that this program renders; choose one of "
                         "plain, chatml, qwen2.5, llama3, llama3.1 by name if it fits the model",
                         path);
    free(text);
    return status;
}

static um_status choose_form(um_tokenizer *tok, const char *name, um_error *err)
{
    const char *names[sizeof forms / sizeof forms[0]];
    for (size_t i = 0; i < n_forms; i++) {
        names[i] = forms[i].name;
        if (strcmp(forms[i].name, name) == 0 && forms[i].format != UM_CHAT_UNKNOWN) {
            if (tok->chat != forms[i].format)
                tok->chat_system = QWEN_SYSTEM;
            tok->chat = forms[i].format;
            return UM_OK;
        }
    }
    if (um_path_exists(name))
        return choose_file(tok, name, err);
    const char *near = um_nearest(name, names, n_forms);
    return um_fail(err, UM_ERR_INPUT,
                   "chat template '%s' is neither plain, chatml, qwen2.5, llama3, llama3.1 nor a "
                   "file%s%s%s",
                   name, near != NULL ? "; did you mean '" : "", near != NULL ? near : "",
                   near != NULL ? "'" : "");
}

/* A date goes into text and into a template between quotes. */
static um_status choose_date(um_tokenizer *tok, const char *date, um_error *err)
{
    size_t len = strlen(date);
    bool plain = len <= DATE_MAX_BYTES && um_utf8_valid(date, len);
    for (size_t i = 0; i < len && plain; i++)
        plain = (unsigned char)date[i] >= 0x20 && strchr("\"\\<|>{}\x7f", date[i]) == NULL;
    if (!plain)
        return um_fail(err, UM_ERR_INPUT,
                       "chat date '%.60s': need at most %d bytes of plain text, like \"%s\"", date,
                       DATE_MAX_BYTES, UM_CHAT_DATE);
    return keep(tok, &tok->chat_date, date, len, err);
}

/* What is saved says what was chosen. */
static um_status put_template(um_tokenizer *tok, um_error *err)
{
    char *template = NULL;
    json_t *value = NULL;
    if (tok->chat == UM_CHAT_PLAIN) {
        json_object_del(tok->config, "chat_template");
        return UM_OK;
    }
    um_status status = um_tok_chat_template(&template, tok, tok->chat, err);
    if (status != UM_OK)
        return status;
    value = json_string(template);
    free(template);
    if (value == NULL || json_object_set_new(tok->config, "chat_template", value) != 0)
        return um_fail_memory(err, "chat form");
    return UM_OK;
}

um_status um_chat_choose(um_tokenizer *tok, const char *template_name, const char *date,
                         um_error *err)
{
    bool named = template_name != NULL && template_name[0] != '\0';
    bool dated = date != NULL && date[0] != '\0';
    um_status status = named ? choose_form(tok, template_name, err) : UM_OK;
    if (status == UM_OK && dated)
        status = choose_date(tok, date, err);
    if (status != UM_OK || !(named || (dated && tok->chat == UM_CHAT_LLAMA3_1)))
        return status;
    const um_tok_markers *m = um_tok_chat_markers(tok->chat);
    const char *missing = m != NULL ? missing_marker(tok, m) : NULL;
    if (m == &llama3 && missing == NULL && um_tok_find_added(tok, "<|begin_of_text|>") < 0)
        missing = "<|begin_of_text|>";
    if (missing != NULL)
        return um_fail(err, UM_ERR_INPUT,
                       "chat form %s needs the special token %s, which this vocabulary lacks",
                       um_chat_name(tok->chat), missing);
    return put_template(tok, err);
}
