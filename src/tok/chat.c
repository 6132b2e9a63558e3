/*
 * chat.c - prompts of chat models as token ids.
 *
 * Markers enter as ids; role and content enter as plain text, encoded as one piece with the line
 * breaks between them, which is how the published templates come out when they are tokenized whole.
 */
#include <string.h>

#include "base/error.h"
#include "tok/tok.h"

typedef struct markers {
    const char *open, *close_role, *close_turn; /* added tokens; NULL: none at this place */
    const char *after_role, *after_turn;        /* plain text */
} markers;

static const markers chatml = {"<|im_start|>", NULL, "<|im_end|>", "\n", "\n"};
static const markers llama3 = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "\n\n",
                               ""};

static int32_t find_added(const um_tokenizer *tok, const char *token)
{
    int32_t id = um_tokenizer_find(tok, token);
    return id >= 0 && tok->tokens[id].added ? id : -1;
}

static bool has_markers(const um_tokenizer *tok, const markers *m)
{
    return find_added(tok, m->open) >= 0 && find_added(tok, m->close_turn) >= 0 &&
           (m->close_role == NULL || find_added(tok, m->close_role) >= 0);
}

um_chat_format um_chat_detect(const um_tokenizer *tok)
{
    if (has_markers(tok, &chatml))
        return UM_CHAT_CHATML;
    return has_markers(tok, &llama3) ? UM_CHAT_LLAMA3 : UM_CHAT_PLAIN;
}

static um_status push_marker(const um_tokenizer *tok, const char *token, um_tokens *out,
                             um_error *err)
{
    if (token == NULL)
        return UM_OK;
    int32_t id = find_added(tok, token);
    if (id < 0)
        return um_fail(err, UM_ERR_STATE,
                       "chat: the vocabulary has no special token %s, which this chat format needs",
                       token);
    return um_tokens_push(out, id, err);
}

/* Plain text, and proof that it stayed plain: merges of a foreign vocabulary could spell a marker.
 */
static um_status push_text(const um_tokenizer *tok, const char *text, size_t len, um_tokens *out,
                           um_error *err)
{
    size_t from = out->len;
    um_status status = um_tokenizer_encode(tok, text, len, false, out, err);
    for (size_t i = from; i < out->len && status == UM_OK; i++)
        if (tok->tokens[out->ids[i]].special && out->ids[i] != tok->unk)
            status = um_fail(err, UM_ERR_INPUT,
                             "chat: text of a message encodes to the special token %s; remove it",
                             tok->tokens[out->ids[i]].text);
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

/* Opening marker, role, and content where there is one: a header alone opens the answer. */
static um_status push_turn(const um_tokenizer *tok, const markers *m, const char *role,
                           const char *content, um_tokens *out, um_error *err)
{
    um_str text = UM_STR_INIT;
    size_t len = content == NULL ? 0 : strlen(content);
    um_status status = push_marker(tok, m->open, out, err);
    if (status != UM_OK)
        goto done;
    um_str_append(&text, role);
    if (m->close_role != NULL) {
        status = push_text(tok, role, strlen(role), out, err);
        if (status == UM_OK)
            status = push_marker(tok, m->close_role, out, err);
        if (status != UM_OK)
            goto done;
        um_str_clear(&text);
        if (content != NULL)
            trim(&content, &len);
    }
    um_str_append(&text, m->after_role);
    if (content != NULL)
        um_str_append_n(&text, content, len);
    status = um_str_status(&text, err);
    if (status == UM_OK)
        status = push_text(tok, text.data, text.len, out, err);
    if (status != UM_OK || content == NULL)
        goto done;
    status = push_marker(tok, m->close_turn, out, err);
    if (status == UM_OK)
        status = push_text(tok, m->after_turn, strlen(m->after_turn), out, err);
done:
    um_str_dispose(&text);
    return status;
}

/* Base models: contents and the answer apart by blank lines, after the token that opens a text. */
static um_status push_plain(const um_tokenizer *tok, const um_message *messages, size_t n,
                            um_tokens *out, um_error *err)
{
    um_str text = UM_STR_INIT;
    um_status status = UM_OK;
    if (tok->bos >= 0)
        status = um_tokens_push(out, tok->bos, err);
    for (size_t i = 0; i < n; i++) {
        um_str_append(&text, messages[i].content);
        um_str_append(&text, "\n\n");
    }
    if (status == UM_OK)
        status = um_str_status(&text, err);
    if (status == UM_OK)
        status = push_text(tok, um_str_text(&text), text.len, out, err);
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

um_status um_chat_encode_prompt(const um_tokenizer *tok, um_chat_format format,
                                const um_message *messages, size_t n, const char *prefix,
                                um_tokens *out, um_error *err)
{
    size_t before = out->len;
    const markers *m = format == UM_CHAT_CHATML ? &chatml : &llama3;
    um_status status = check_messages(messages, n, err);
    if (status == UM_OK && format == UM_CHAT_PLAIN) {
        status = push_plain(tok, messages, n, out, err);
    } else if (status == UM_OK) {
        if (format == UM_CHAT_LLAMA3)
            status = push_marker(tok, "<|begin_of_text|>", out, err);
        for (size_t i = 0; i < n && status == UM_OK; i++)
            status = push_turn(tok, m, messages[i].role, messages[i].content, out, err);
        if (status == UM_OK)
            status = push_turn(tok, m, "assistant", NULL, out, err);
    }
    /* The prefix is encoded apart, so that prompt ids are a prefix of prompt + answer ids. */
    if (status == UM_OK && prefix != NULL)
        status = push_text(tok, prefix, strlen(prefix), out, err);
    if (status != UM_OK)
        out->len = before;
    return status;
}

int32_t um_chat_end_of_turn(const um_tokenizer *tok, um_chat_format format)
{
    if (format == UM_CHAT_PLAIN)
        return tok->eos;
    return find_added(tok, format == UM_CHAT_CHATML ? chatml.close_turn : llama3.close_turn);
}
