/*
 * chat.c - prompts of chat models as token ids.
 *
 * Markers enter as ids; role and content enter as plain text, encoded as one piece with the line
 * breaks between them, which is how the published templates come out when they are tokenized whole.
 */
#include <string.h>

#include "base/error.h"
#include "tok/tok.h"

/* Where a prompt goes: ids, or text; the other one is NULL. */
typedef struct writer {
    const um_tokenizer *tok;
    um_tokens *ids;
    um_str *text;
} writer;

static um_status push_marker(const writer *w, const char *token, um_error *err)
{
    if (token == NULL)
        return UM_OK;
    int32_t id = um_tok_find_added(w->tok, token);
    if (id < 0)
        return um_fail(err, UM_ERR_STATE,
                       "chat: the vocabulary has no special token %s, which this chat format needs",
                       token);
    if (w->ids != NULL)
        return um_tokens_push(w->ids, id, err);
    um_str_append(w->text, token);
    return um_str_status(w->text, err);
}

/* Plain text, and proof that it stayed plain: merges of a foreign vocabulary could spell a marker.
 */
static um_status push_text(const writer *w, const char *text, size_t len, um_error *err)
{
    if (w->ids == NULL) {
        um_str_append_n(w->text, text, len);
        return um_str_status(w->text, err);
    }
    const um_tokenizer *tok = w->tok;
    size_t from = w->ids->len;
    um_status status = um_tokenizer_encode(tok, text, len, false, w->ids, err);
    for (size_t i = from; i < w->ids->len && status == UM_OK; i++) {
        int32_t id = w->ids->ids[i];
        if (tok->tokens[id].special && id != tok->unk)
            status = um_fail(err, UM_ERR_INPUT,
                             "chat: text of a message encodes to the special token %s; remove it",
                             tok->tokens[id].text);
    }
    return status;
}

/* What Jinja's trim filter takes away: Python's white space, which is Unicode's and U+001C..1F. */
static bool is_trimmed(uint32_t c)
{
    return um_tok_is_space(c) || (c >= 0x1c && c <= 0x1f);
}

/* As the published Llama 3 templates, which trim every content. */
static void trim(const char **text, size_t *len)
{
    uint32_t c;
    size_t n;
    while ((n = um_tok_utf8_next(*text, *len, &c)) > 0 && is_trimmed(c)) {
        *text += n;
        *len -= n;
    }
    while (*len > 0) {
        size_t at = *len - 1;
        while (at > 0 && *len - at < 4 && ((unsigned char)(*text)[at] & 0xc0) == 0x80)
            at--;
        if (um_tok_utf8_next(*text + at, *len - at, &c) != *len - at || !is_trimmed(c))
            break;
        *len = at;
    }
}

static bool trims(um_chat_format format)
{
    return format == UM_CHAT_LLAMA3 || format == UM_CHAT_LLAMA3_1;
}

/* Opening marker, role, and content where there is one: a header alone opens the answer. `head`
 * stands before the content as it is. */
static um_status push_turn(const writer *w, um_chat_format format, const char *role,
                           const char *head, const char *content, um_error *err)
{
    const um_tok_markers *m = um_tok_chat_markers(format);
    um_str text = UM_STR_INIT;
    size_t len = content == NULL ? 0 : strlen(content);
    um_status status = push_marker(w, m->open, err);
    if (status != UM_OK)
        goto done;
    um_str_append(&text, role);
    if (m->close_role != NULL) {
        status = push_text(w, role, strlen(role), err);
        if (status == UM_OK)
            status = push_marker(w, m->close_role, err);
        if (status != UM_OK)
            goto done;
        um_str_clear(&text);
    }
    if (content != NULL && trims(format))
        trim(&content, &len);
    um_str_append(&text, m->after_role);
    um_str_append(&text, head);
    if (content != NULL)
        um_str_append_n(&text, content, len);
    status = um_str_status(&text, err);
    if (status == UM_OK)
        status = push_text(w, text.data, text.len, err);
    if (status != UM_OK || content == NULL)
        goto done;
    status = push_marker(w, m->close_turn, err);
    if (status == UM_OK)
        status = push_text(w, m->after_turn, strlen(m->after_turn), err);
done:
    um_str_dispose(&text);
    return status;
}

/* What a form says before the first turn that is not a system message at the start; *used messages
 * are then done. */
static um_status push_opening(const writer *w, um_chat_format format, const um_message *messages,
                              size_t n, size_t *used, um_error *err)
{
    const um_tokenizer *tok = w->tok;
    bool system = n > 0 && strcmp(messages[0].role, "system") == 0;
    *used = 0;
    if (format == UM_CHAT_QWEN2_5)
        return system ? UM_OK : push_turn(w, format, "system", "", tok->chat_system, err);
    if (format == UM_CHAT_CHATML)
        return UM_OK;
    um_status status = push_marker(w, "<|begin_of_text|>", err);
    if (status != UM_OK || format == UM_CHAT_LLAMA3)
        return status;
    um_str head = UM_STR_INIT;
    um_str_appendf(&head, "Cutting Knowledge Date: December 2023\nToday Date: %s\n\n",
                   tok->chat_date);
    status = um_str_status(&head, err);
    if (status == UM_OK)
        status = push_turn(w, format, "system", head.data, system ? messages[0].content : "", err);
    um_str_dispose(&head);
    *used = system;
    return status;
}

/* Base models: contents and the answer apart by blank lines, after the token that opens a text. */
static um_status push_plain(const writer *w, const um_message *messages, size_t n, um_error *err)
{
    um_str text = UM_STR_INIT;
    um_status status = UM_OK;
    if (w->tok->bos >= 0 && w->ids != NULL)
        status = um_tokens_push(w->ids, w->tok->bos, err);
    else if (w->tok->bos >= 0)
        um_str_append(w->text, w->tok->tokens[w->tok->bos].text);
    for (size_t i = 0; i < n; i++) {
        um_str_append(&text, messages[i].content);
        um_str_append(&text, "\n\n");
    }
    if (status == UM_OK)
        status = um_str_status(&text, err);
    if (status == UM_OK)
        status = push_text(w, um_str_text(&text), text.len, err);
    um_str_dispose(&text);
    return status;
}

static um_status check_messages(const um_message *messages, size_t n, um_error *err)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    for (size_t i = 0; i < n; i++) {
        bool known = false;
        for (size_t k = 0; k < 3 && messages[i].role != NULL; k++)
            known = known || strcmp(messages[i].role, roles[k]) == 0;
        if (!known || messages[i].content == NULL)
            return um_fail(
                err, UM_ERR_INPUT,
                "chat: message %zu: role \"%.40s\", need system, user or assistant, and a "
                "content",
                i, messages[i].role == NULL ? "" : messages[i].role);
    }
    return UM_OK;
}

static um_status write_prompt(const writer *w, um_chat_format format, const um_message *messages,
                              size_t n, const char *prefix, um_error *err)
{
    size_t used = 0;
    um_status status = check_messages(messages, n, err);
    if (status == UM_OK && format != UM_CHAT_PLAIN && um_tok_chat_markers(format) == NULL)
        status = um_fail(err, UM_ERR_UNSUPPORTED,
                         "chat: the template of tokenizer_config.json is none that this program "
                         "renders; choose plain, chatml, qwen2.5, llama3 or llama3.1 (--template)");
    if (status != UM_OK)
        return status;
    if (format == UM_CHAT_PLAIN) {
        status = push_plain(w, messages, n, err);
    } else {
        status = push_opening(w, format, messages, n, &used, err);
        for (size_t i = used; i < n && status == UM_OK; i++)
            status = push_turn(w, format, messages[i].role, "", messages[i].content, err);
        if (status == UM_OK)
            status = push_turn(w, format, "assistant", "", NULL, err);
    }
    /* The prefix is encoded apart, so that prompt ids are a prefix of prompt + answer ids. */
    size_t len = prefix != NULL ? strlen(prefix) : 0;
    if (trims(format) && prefix != NULL)
        trim(&prefix, &len);
    if (status == UM_OK && len > 0)
        status = push_text(w, prefix, len, err);
    return status;
}

um_status um_chat_encode_prompt(const um_tokenizer *tok, um_chat_format format,
                                const um_message *messages, size_t n, const char *prefix,
                                um_tokens *out, um_error *err)
{
    size_t before = out->len;
    const writer w = {.tok = tok, .ids = out};
    um_status status = write_prompt(&w, format, messages, n, prefix, err);
    if (status != UM_OK)
        out->len = before;
    return status;
}

um_status um_chat_render(const um_tokenizer *tok, um_chat_format format, const um_message *messages,
                         size_t n, const char *prefix, char **text, um_error *err)
{
    um_str s = UM_STR_INIT;
    const writer w = {.tok = tok, .text = &s};
    um_status status = write_prompt(&w, format, messages, n, prefix, err);
    if (status == UM_OK)
        status = um_str_take(&s, text, err);
    um_str_dispose(&s);
    return status;
}

int32_t um_chat_end_of_turn(const um_tokenizer *tok, um_chat_format format)
{
    const um_tok_markers *m = um_tok_chat_markers(format);
    return m == NULL ? tok->eos : um_tok_find_added(tok, m->close_turn);
}
