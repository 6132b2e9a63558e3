/*
 * vocab.c - tokens, their two spellings, the indexes over them, and the tables of a tokenizer.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "tok/tok.h"

/*
 * GPT-2's byte alphabet: printable latin-1 stands for itself, the 68 other bytes take the code
 * points from U+0100 on, in byte order.
 */
static bool byte_is_printable(unsigned byte)
{
    return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

uint32_t um_tok_byte_char(unsigned byte)
{
    if (byte_is_printable(byte))
        return byte;
    if (byte <= 0x20)
        return 0x100 + byte;
    if (byte <= 0xa0)
        return 0x121 + (byte - 0x7f);
    return 0x143; /* 0xad, the last one */
}

int um_tok_char_byte(uint32_t code_point)
{
    if (code_point < 0x100)
        return byte_is_printable(code_point) ? (int)code_point : -1;
    if (code_point <= 0x120)
        return (int)(code_point - 0x100);
    if (code_point <= 0x142)
        return (int)(code_point - 0x121 + 0x7f);
    return code_point == 0x143 ? 0xad : -1;
}

void um_tok_append_byte_text(um_str *s, const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t c = um_tok_byte_char((unsigned char)bytes[i]);
        if (c < 0x80) {
            um_str_append_char(s, (char)c);
        } else {
            um_str_append_char(s, (char)(0xc0 | (c >> 6)));
            um_str_append_char(s, (char)(0x80 | (c & 0x3f)));
        }
    }
}

size_t um_tok_utf8_next(const char *p, size_t n, uint32_t *code_point)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *b = (const unsigned char *)p;
    if (n == 0)
        return 0;
    if (b[0] < 0x80) {
        *code_point = b[0];
        return 1;
    }
    size_t len = b[0] >= 0xf0 ? 4 : b[0] >= 0xe0 ? 3 : 2;
    if (b[0] < 0xc2 || b[0] > 0xf4 || len > n)
        return 0;
    uint32_t c = b[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((b[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (b[i] & 0x3f);
    }
    if (c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *code_point = c;
    return len;
}

bool um_tok_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

/* Index --------------------------------------------------------------------------------------- */

um_status um_tok_index_new(um_tok_index *index, size_t n, bool by_piece, um_error *err)
{
    size_t cap = 16;
    while (cap < 2 * n)
        cap *= 2;
    index->slots = um_calloc(cap, sizeof *index->slots);
    if (index->slots == NULL)
        return um_fail_memory(err, "token index");
    index->mask = cap - 1;
    index->by_piece = by_piece;
    return UM_OK;
}

static size_t index_slot(const um_tokenizer *tok, const um_tok_index *index, const char *bytes,
                         size_t len)
{
    size_t at = um_hash(bytes, len, 0) & index->mask;
    for (;; at = (at + 1) & index->mask) {
        uint32_t held = index->slots[at];
        if (held == 0)
            return at;
        const um_tok_token *t = &tok->tokens[held - 1];
        const char *key = index->by_piece ? t->piece : t->text;
        size_t key_len = index->by_piece ? t->piece_len : t->text_len;
        if (key_len == len && memcmp(key, bytes, len) == 0)
            return at;
    }
}

int32_t um_tok_index_find(const um_tokenizer *tok, const um_tok_index *index, const char *bytes,
                          size_t len)
{
    return (int32_t)index->slots[index_slot(tok, index, bytes, len)] - 1;
}

void um_tok_index_add(um_tokenizer *tok, um_tok_index *index, int32_t id)
{
    const um_tok_token *t = &tok->tokens[id];
    size_t at = index_slot(tok, index, index->by_piece ? t->piece : t->text,
                           index->by_piece ? t->piece_len : t->text_len);
    if (index->slots[at] == 0)
        index->slots[at] = (uint32_t)id + 1;
}

/* Pieces -------------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The byte that "<0xXX>" names, or -1. */
static int hex_token_byte(const um_tok_token *t)
{
    if (t->text_len != 6 || memcmp(t->text, "<0x", 3) != 0 || t->text[5] != '>')
        return -1;
    int high = hex_digit(t->text[3]), low = hex_digit(t->text[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* False when a character of text is outside the byte alphabet: such a token stands for itself. */
static bool append_bytes_of_text(um_str *s, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        uint32_t c = 0;
        size_t n = um_tok_utf8_next(text + at, len - at, &c);
        int byte = n == 0 ? -1 : um_tok_char_byte(c);
        if (byte < 0)
            return false;
        um_str_append_char(s, (char)byte);
        at += n;
    }
    return true;
}

static um_status make_piece(um_tokenizer *tok, um_tok_token *t, um_str buffers[2], um_error *err)
{
    um_str *s = &buffers[0];
    um_str_clear(s);
    int byte = hex_token_byte(t);
    if (tok->decode_bytes && !t->added && append_bytes_of_text(s, t->text, t->text_len)) {
        /* done */
    } else if (tok->decode_hex && byte >= 0) {
        um_str_append_char(s, (char)byte);
    } else {
        um_str_clear(s);
        um_str_append_n(s, t->text, t->text_len);
        for (size_t i = 0; i < tok->n_decode_replace; i++) {
            um_str *next = s == &buffers[0] ? &buffers[1] : &buffers[0];
            um_str_clear(next);
            um_tok_append_replaced(next, um_str_text(s), s->len, tok->decode_replace[i].from,
                                   tok->decode_replace[i].to);
            s = next;
        }
    }
    um_status status = um_str_status(s, err);
    if (status != UM_OK)
        return status;
    char *copy = um_arena_alloc(&tok->arena, s->len + 1);
    if (copy == NULL)
        return um_fail_memory(err, "token bytes");
    memcpy(copy, um_str_text(s), s->len);
    t->piece = copy;
    t->piece_len = (uint32_t)s->len;
    return UM_OK;
}

static um_status make_pieces(um_tokenizer *tok, um_error *err)
{
    um_status status = UM_OK;
    um_str buffers[2] = {UM_STR_INIT, UM_STR_INIT};
    for (size_t i = 0; i < tok->n_tokens && status == UM_OK; i++)
        status = make_piece(tok, &tok->tokens[i], buffers, err);
    um_str_dispose(&buffers[0]);
    um_str_dispose(&buffers[1]);
    if (status != UM_OK)
        return status;
    status = um_tok_index_new(&tok->by_piece, tok->n_tokens, true, err);
    if (status != UM_OK)
        return status;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < tok->n_tokens; i++)
            if (tok->tokens[i].added == (pass == 0))
                um_tok_index_add(tok, &tok->by_piece, (int32_t)i);
    return UM_OK;
}

static um_status find_byte_tokens(um_tokenizer *tok, um_error *err)
{
    um_str text = UM_STR_INIT;
    um_status status = UM_OK;
    for (unsigned b = 0; b < 256 && status == UM_OK; b++) {
        char byte = (char)b;
        um_str_clear(&text);
        if (tok->byte_level)
            um_tok_append_byte_text(&text, &byte, 1);
        else
            um_str_appendf(&text, "<0x%02X>", b);
        status = um_str_status(&text, err);
        if (status == UM_OK)
            tok->byte_id[b] = um_tok_index_find(tok, &tok->by_text, text.data, text.len);
    }
    um_str_dispose(&text);
    return status;
}

/* Added tokens -------------------------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b)
{
    const struct um_tok_match_entry *x = a, *y = b;
    int first_x = (unsigned char)x->bytes[0], first_y = (unsigned char)y->bytes[0];
    if (first_x != first_y)
        return first_x < first_y ? -1 : 1;
    if (x->len != y->len)
        return x->len > y->len ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static um_status make_matcher(um_tokenizer *tok, bool normalized, um_tok_matcher *m, um_error *err)
{
    um_status status = UM_OK;
    um_str buffers[2] = {UM_STR_INIT, UM_STR_INIT};
    size_t n = 0;
    for (size_t i = 0; i < tok->n_tokens; i++)
        n += tok->tokens[i].added && tok->tokens[i].normalized == normalized;
    m->entries = um_calloc(n, sizeof *m->entries);
    if (m->entries == NULL)
        return um_fail_memory(err, "added tokens");
    for (size_t i = 0; i < tok->n_tokens; i++) {
        const um_tok_token *t = &tok->tokens[i];
        if (!t->added || t->normalized != normalized)
            continue;
        const char *bytes = t->text;
        size_t len = t->text_len;
        if (normalized) {
            status = um_tok_normalize(tok, t->text, t->text_len, buffers, &bytes, &len, err);
            if (status != UM_OK)
                goto done;
        }
        if (len == 0)
            continue;
        char *copy = um_arena_strndup(&tok->arena, bytes, len);
        if (copy == NULL) {
            status = um_fail_memory(err, "added tokens");
            goto done;
        }
        m->entries[m->n++] = (struct um_tok_match_entry){copy, len, (int32_t)i};
    }
    if (m->n > 1)
        qsort(m->entries, m->n, sizeof *m->entries, compare_entries);
    for (size_t i = 0, b = 0; b <= 256; b++) {
        while (i < m->n && (unsigned char)m->entries[i].bytes[0] < b)
            i++;
        m->first[b] = (uint32_t)i;
    }
done:
    um_str_dispose(&buffers[0]);
    um_str_dispose(&buffers[1]);
    return status;
}

/* Everything that decides ids, in a form that does not depend on how the file was laid out. */
static uint64_t hash_all(const um_tokenizer *tok)
{
    uint64_t h = um_hash_str("um tokenizer", 1);
    for (size_t i = 0; i < tok->n_tokens; i++) {
        const um_tok_token *t = &tok->tokens[i];
        uint64_t flags = (uint64_t)t->model | (uint64_t)t->added << 1 | (uint64_t)t->special << 2 |
                         (uint64_t)t->lstrip << 3 | (uint64_t)t->rstrip << 4 |
                         (uint64_t)t->normalized << 5;
        h = um_hash(t->text, t->text_len, h ^ flags);
    }
    h = um_hash(tok->merges, tok->n_merges * sizeof *tok->merges, h);
    uint64_t flags = (uint64_t)tok->byte_level | (uint64_t)tok->byte_fallback << 1 |
                     (uint64_t)tok->fuse_unk << 2 | (uint64_t)tok->ignore_merges << 3 |
                     (uint64_t)(tok->unk + 1) << 8;
    h = um_hash(&flags, sizeof flags, h);
    for (size_t i = 0; i < tok->n_norm; i++) {
        const um_tok_norm *s = &tok->norm[i];
        h = um_hash_str(s->from != NULL ? s->from : "", h + (uint64_t)s->kind + 1);
        h = um_hash_str(s->to != NULL ? s->to : "", h);
    }
    for (size_t i = 0; i < tok->n_split; i++)
        h = um_hash_str(um_tok_regex_pattern(tok->split[i]), h + 1);
    return h;
}

um_status um_tok_finish(um_tokenizer *tok, const char *where, um_error *err)
{
    um_status status = find_byte_tokens(tok, err);
    if (status == UM_OK)
        status = um_tok_merges_index(tok, where, err);
    if (status == UM_OK)
        status = make_pieces(tok, err);
    if (status == UM_OK)
        status = make_matcher(tok, false, &tok->raw_added, err);
    if (status == UM_OK)
        status = make_matcher(tok, true, &tok->normalized_added, err);
    if (status == UM_OK)
        tok->hash = hash_all(tok);
    return status;
}
