/*
 * normalize.c - the normalizers NFC, Prepend and Replace.
 */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/error.h"
#include "tok/tok.h"

/*
 * Reordering combining marks takes time quadratic in the length of a run of them. Real text stays
 * below 30 (the bound of Unicode's stream-safe format); a longer run than this is normalized in
 * parts, so that no input costs more than linear time.
 */
#define MARK_RUN_MAX 256

void um_tok_append_replaced(um_str *s, const char *text, size_t len, const char *from,
                            const char *to)
{
    size_t from_len = strlen(from), to_len = strlen(to);
    const char *end = text + len;
    for (const char *hit;
         from_len > 0 && (hit = memmem(text, (size_t)(end - text), from, from_len)) != NULL;
         text = hit + from_len) {
        um_str_append_n(s, text, (size_t)(hit - text));
        um_str_append_n(s, to, to_len);
    }
    um_str_append_n(s, text, (size_t)(end - text));
}

static um_status append_nfc_part(um_str *s, const char *text, size_t len, um_error *err)
{
    utf8proc_uint8_t *mapped = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)len,
                                      &mapped, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0)
        return n == UTF8PROC_ERROR_NOMEM
                   ? um_fail_memory(err, "NFC")
                   : um_fail(err, UM_ERR_INTERNAL, "NFC: %s", utf8proc_errmsg(n));
    um_str_append_n(s, mapped, (size_t)n);
    free(mapped);
    return UM_OK;
}

/* Text as it is where it is ASCII or no UTF-8; NFC of what lies between. */
static um_status append_nfc(um_str *s, const char *text, size_t len, um_error *err)
{
    size_t start = 0, at = 0, marks = 0; /* [start, at) is valid UTF-8 and not yet written */
    bool plain = true;                   /* ... and ASCII */
    for (;;) {
        uint32_t c = 0;
        size_t n = um_tok_utf8_next(text + at, len - at, &c);
        if (n > 0 && c >= 0x80) {
            marks = utf8proc_get_property((utf8proc_int32_t)c)->combining_class > 0 ? marks + 1 : 0;
            plain = false;
        } else {
            marks = 0;
        }
        if (n > 0 && marks < MARK_RUN_MAX) {
            at += n;
            continue;
        }
        if (plain) {
            um_str_append_n(s, text + start, at - start);
        } else if (at > start) {
            um_status status = append_nfc_part(s, text + start, at - start, err);
            if (status != UM_OK)
                return status;
        }
        if (at == len)
            return UM_OK;
        start = at;
        plain = true;
        if (n == 0) {
            um_str_append_char(s, text[at]);
            start = ++at;
        } else {
            marks = 0;
        }
    }
}

static bool is_ascii(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

um_status um_tok_normalize(const um_tokenizer *tok, const char *text, size_t len, um_str buffers[2],
                           const char **out, size_t *out_len, um_error *err)
{
    int which = 0;
    for (size_t i = 0; i < tok->n_norm && len > 0; i++) {
        const um_tok_norm *step = &tok->norm[i];
        if (step->kind == UM_TOK_NORM_NFC && is_ascii(text, len))
            continue;
        um_str *s = &buffers[which];
        um_str_clear(s);
        um_status status = UM_OK;
        if (step->kind == UM_TOK_NORM_NFC) {
            status = append_nfc(s, text, len, err);
        } else if (step->kind == UM_TOK_NORM_PREPEND) {
            um_str_append(s, step->to);
            um_str_append_n(s, text, len);
        } else {
            um_tok_append_replaced(s, text, len, step->from, step->to);
        }
        if (status == UM_OK)
            status = um_str_status(s, err);
        if (status != UM_OK)
            return status;
        text = um_str_text(s);
        len = s->len;
        which = 1 - which;
    }
    *out = text;
    *out_len = len;
    return UM_OK;
}
