/* continuation.c - see continuation.h. */
#include "model/continuation.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

void um_continuation_dispose(um_continuation *c)
{
    free(c->bytes);
    *c = (um_continuation){0};
}

bool um_continuation_append(um_continuation *c, const char *bytes, size_t n)
{
    if (n > SIZE_MAX - c->len)
        return false;
    if (c->len + n > c->cap && !um_vec_grow(&c->bytes, &c->cap, c->len + n, 1))
        return false;
    if (n > 0)
        memcpy(c->bytes + c->len, bytes, n);
    c->len += n;
    return true;
}

bool um_continuation_stop(um_continuation *c, size_t old_len, const char *const *stops,
                          size_t n_stops)
{
    size_t cut = SIZE_MAX;
    for (size_t i = 0; i < n_stops; i++) {
        size_t n = strlen(stops[i]);
        size_t from = old_len >= n ? old_len - n + 1 : 0;
        const char *hit = c->len >= n ? memmem(c->bytes + from, c->len - from, stops[i], n) : NULL;
        if (hit != NULL && (size_t)(hit - c->bytes) < cut)
            cut = (size_t)(hit - c->bytes);
    }
    if (cut == SIZE_MAX)
        return false;
    c->len = cut;
    return true;
}

/* Bytes of the character at text, or 0 when it is none (NUL counts as none). */
static size_t character(const char *text, size_t n)
{
    size_t most = n < 4 ? n : 4;
    if ((unsigned char)text[0] < 0x80)
        return text[0] != '\0';
    for (size_t len = 2; len <= most; len++) {
        if (um_utf8_valid(text, len))
            return len;
    }
    return 0;
}

/* The n bytes at text may be the beginning of a character. */
static bool may_grow(const char *text, size_t n)
{
    unsigned char lead = (unsigned char)text[0];
    size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 1;
    for (size_t i = 1; i < n; i++)
        if (((unsigned char)text[i] & 0xc0) != 0x80)
            return false;
    return n < need;
}

size_t um_continuation_whole(const um_continuation *c, size_t from, size_t end)
{
    while (from < end) {
        size_t n = character(c->bytes + from, end - from);
        if (n == 0 && may_grow(c->bytes + from, end - from))
            break;
        from += n > 0 ? n : 1;
    }
    return from;
}

void um_continuation_text(const um_continuation *c, size_t from, size_t end, um_str *out)
{
    um_str_clear(out);
    for (size_t i = from; i < end;) {
        size_t n = character(c->bytes + i, end - i);
        if (n > 0)
            um_str_append_n(out, c->bytes + i, n);
        else
            um_str_append(out, "\xEF\xBF\xBD");
        i += n > 0 ? n : 1;
    }
}
