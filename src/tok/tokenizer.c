/*
 * tokenizer.c - the public tokenizer object: loading, encoding, decoding, queries.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "tok/tok.h"

void um_tokens_dispose(um_tokens *tokens)
{
    free(tokens->ids);
    *tokens = (um_tokens){0};
}

void um_tokenizer_free(um_tokenizer *tok)
{
    if (tok == NULL)
        return;
    for (size_t i = 0; i < tok->n_split; i++)
        um_tok_regex_free(tok->split[i]);
    free(tok->by_text.slots);
    free(tok->by_piece.slots);
    free(tok->merges);
    free(tok->merge_slots);
    free(tok->merged);
    free(tok->neighbours);
    free(tok->raw_added.entries);
    free(tok->normalized_added.entries);
    free(tok->tokens);
    um_arena_dispose(&tok->arena);
    json_decref(tok->frame);
    json_decref(tok->config);
    free(tok);
}

/* Loading ------------------------------------------------------------------------------------- */

um_status um_tokenizer_load(um_tokenizer **out, const char *dir, um_error *err)
{
    char *path = NULL, *vocab = NULL, *ranks = NULL;
    json_t *config = NULL, *document = NULL;
    um_status status = um_path_join(&path, dir, "tokenizer.json", err);
    if (status == UM_OK)
        status = um_path_join(&vocab, dir, "vocab.json", err);
    if (status == UM_OK)
        status = um_path_join(&ranks, dir, "tokenizer.model", err);
    if (status == UM_OK)
        status = um_tok_read_config(&config, dir, err);
    if (status != UM_OK)
        goto done;
    if (um_path_exists(path)) {
        status = um_json_read(&document, path, UM_TOK_FILE_MAX_BYTES, err);
        if (status == UM_OK)
            status = um_tok_build(out, document, config, NULL, 0, path, err);
    } else if (um_path_exists(vocab)) {
        status = um_tok_load_vocab_files(out, dir, config, err);
    } else if (um_path_exists(ranks)) {
        status = um_tok_load_tiktoken(out, ranks, config, err);
    } else {
        status =
            um_fail(err, UM_ERR_NOT_FOUND,
                    "%s: no tokenizer.json, vocab.json with merges.txt, or tokenizer.model", dir);
    }
done:
    json_decref(config);
    json_decref(document);
    free(path);
    free(vocab);
    free(ranks);
    return status;
}

/* Encoding ------------------------------------------------------------------------------------ */

typedef struct encoder {
    const um_tokenizer *tok;
    um_tokens *out;
    um_tok_scratch *scratch;
    um_str buffers[2];
    bool parse_special;
} encoder;

typedef um_status (*piece_fn)(encoder *e, const char *text, size_t len, um_error *err);

/* Leftmost match at or after `from`, the longest one there; NULL when there is none. */
static const struct um_tok_match_entry *find_added(const um_tok_matcher *m, const char *text,
                                                   size_t len, size_t from, size_t *at)
{
    for (size_t i = from; i < len; i++) {
        unsigned char b = (unsigned char)text[i];
        for (uint32_t k = m->first[b]; k < m->first[b + 1]; k++) {
            const struct um_tok_match_entry *entry = &m->entries[k];
            if (entry->len <= len - i && memcmp(entry->bytes, text + i, entry->len) == 0) {
                *at = i;
                return entry;
            }
        }
    }
    return NULL;
}

/* Start of the white space that ends at `end`, not before `floor`. */
static size_t space_before(const char *text, size_t floor, size_t end)
{
    while (end > floor) {
        size_t at = end - 1;
        uint32_t c;
        while (at > floor && end - at < 4 && ((unsigned char)text[at] & 0xc0) == 0x80)
            at--;
        if (um_tok_utf8_next(text + at, end - at, &c) != end - at || !um_tok_is_space(c))
            break;
        end = at;
    }
    return end;
}

static size_t space_after(const char *text, size_t at, size_t len)
{
    uint32_t c;
    for (size_t n; (n = um_tok_utf8_next(text + at, len - at, &c)) > 0 && um_tok_is_space(c);)
        at += n;
    return at;
}

/* Emits the ids of the added tokens of m found in text, and gives what lies between to `rest`. */
static um_status cut_added(encoder *e, const um_tok_matcher *m, const char *text, size_t len,
                           piece_fn rest, um_error *err)
{
    if (!e->parse_special || m->n == 0)
        return len > 0 ? rest(e, text, len, err) : UM_OK;
    size_t written = 0, from = 0, start = 0;
    const struct um_tok_match_entry *hit;
    um_status status = UM_OK;
    while ((hit = find_added(m, text, len, from, &start)) != NULL) {
        const um_tok_token *t = &e->tok->tokens[hit->id];
        size_t end = start + hit->len;
        if (t->lstrip)
            start = space_before(text, written, start);
        if (t->rstrip)
            end = space_after(text, end, len);
        if (start > written)
            status = rest(e, text + written, start - written, err);
        if (status == UM_OK)
            status = um_tokens_push(e->out, hit->id, err);
        if (status != UM_OK)
            return status;
        written = from = end;
    }
    return len > written ? rest(e, text + written, len - written, err) : UM_OK;
}

static um_status encode_word(void *context, const char *word, size_t len, um_error *err)
{
    encoder *e = context;
    return um_tok_encode_word(e->tok, e->scratch, word, len, e->out, err);
}

static um_status encode_plain(encoder *e, const char *text, size_t len, um_error *err)
{
    return um_tok_split(e->tok->split, e->tok->n_split, text, len, encode_word, e, err);
}

static um_status encode_section(encoder *e, const char *text, size_t len, um_error *err)
{
    const char *normal;
    size_t normal_len;
    um_status status = um_tok_normalize(e->tok, text, len, e->buffers, &normal, &normal_len, err);
    if (status != UM_OK)
        return status;
    return cut_added(e, &e->tok->normalized_added, normal, normal_len, encode_plain, err);
}

um_status um_tokenizer_encode(const um_tokenizer *tok, const char *text, size_t len,
                              bool parse_special, um_tokens *out, um_error *err)
{
    size_t before = out->len;
    encoder e = {.tok = tok, .out = out, .parse_special = parse_special};
    if (len > UM_TOK_INPUT_MAX_BYTES)
        return um_fail(err, UM_ERR_LIMIT, "tokenizer: text of %zu bytes, limit %zu", len,
                       UM_TOK_INPUT_MAX_BYTES);
    um_status status = um_tok_scratch_new(&e.scratch, err);
    if (status == UM_OK)
        status = cut_added(&e, &tok->raw_added, text, len, encode_section, err);
    um_tok_scratch_free(e.scratch);
    um_str_dispose(&e.buffers[0]);
    um_str_dispose(&e.buffers[1]);
    if (status != UM_OK)
        out->len = before;
    return status;
}

/* Decoding ------------------------------------------------------------------------------------ */

/* The Strip decoder: up to strip_start characters from the front, strip_stop from the back. */
static void strip_text(const um_tokenizer *tok, const char **text, size_t *len)
{
    size_t n = strlen(tok->strip);
    if (n == 0)
        return;
    for (int64_t i = 0; i < tok->strip_start && *len >= n && memcmp(*text, tok->strip, n) == 0;
         i++) {
        *text += n;
        *len -= n;
    }
    for (int64_t i = 0; i < tok->strip_stop && *len >= n; i++) {
        if (memcmp(*text + *len - n, tok->strip, n) != 0)
            break;
        *len -= n;
    }
}

um_status um_tokenizer_decode(const um_tokenizer *tok, const int32_t *ids, size_t n,
                              bool skip_special, char **text, size_t *len, um_error *err)
{
    um_status status;
    um_str s = UM_STR_INIT;
    for (size_t i = 0; i < n; i++) {
        size_t piece_len;
        const char *piece = um_tokenizer_piece(tok, ids[i], &piece_len);
        if (piece == NULL) {
            status = um_fail(err, UM_ERR_INPUT, "tokenizer: id %d at position %zu is not in 0..%zu",
                             (int)ids[i], i, tok->n_tokens - 1);
            goto done;
        }
        if (!(skip_special && tok->tokens[ids[i]].special))
            um_str_append_n(&s, piece, piece_len);
    }
    status = um_str_status(&s, err);
    if (status != UM_OK)
        goto done;
    const char *start = um_str_text(&s);
    size_t kept = s.len;
    strip_text(tok, &start, &kept);
    char *copy = um_strndup(start, kept);
    if (copy == NULL) {
        status = um_fail_memory(err, "decoded text");
        goto done;
    }
    *text = copy;
    if (len != NULL)
        *len = kept;
done:
    um_str_dispose(&s);
    return status;
}

/* Queries ------------------------------------------------------------------------------------- */

const char *um_tokenizer_piece(const um_tokenizer *tok, int32_t id, size_t *len)
{
    if (id < 0 || (size_t)id >= tok->n_tokens)
        return NULL;
    if (len != NULL)
        *len = tok->tokens[id].piece_len;
    return tok->tokens[id].piece;
}

bool um_tokenizer_is_special(const um_tokenizer *tok, int32_t id)
{
    return id >= 0 && (size_t)id < tok->n_tokens && tok->tokens[id].special;
}

int32_t um_tokenizer_find(const um_tokenizer *tok, const char *token)
{
    return um_tok_index_find(tok, &tok->by_piece, token, strlen(token));
}

int32_t um_tokenizer_size(const um_tokenizer *tok)
{
    return (int32_t)tok->n_tokens;
}

const char *um_tokenizer_kind(const um_tokenizer *tok)
{
    if (tok->byte_level)
        return "byte-level BPE";
    return tok->byte_fallback ? "BPE with byte fallback" : "BPE of characters";
}

uint64_t um_tokenizer_hash(const um_tokenizer *tok)
{
    return tok->hash;
}

int32_t um_tokenizer_bos(const um_tokenizer *tok)
{
    return tok->bos;
}

int32_t um_tokenizer_eos(const um_tokenizer *tok)
{
    return tok->eos;
}
