/*
 * bpe.c - byte pair encoding of one word (Sennrich, Haddow, Birch, ACL 2016).
 *
 * The symbols of a word form a doubly linked list. A binary heap holds every adjacent pair that has
 * a merge, lowest rank first and leftmost first within a rank. A popped entry whose pair has
 * changed since is dropped, so a word of n symbols costs O(n log n).
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tok/tok.h"

#define SLOT_FREE UINT64_MAX
#define NONE      UINT32_MAX

typedef struct symbol {
    int32_t id; /* -1: merged into its left neighbour */
    uint32_t previous, next;
} symbol;

typedef struct candidate {
    uint64_t order; /* rank << 32 | position of the left symbol */
    int32_t id;     /* of the merged symbol */
} candidate;

struct um_tok_scratch {
    UM_VEC(symbol) symbols;
    UM_VEC(candidate) heap;
    um_str text;
};

um_status um_tok_scratch_new(um_tok_scratch **out, um_error *err)
{
    *out = um_calloc(1, sizeof **out);
    return *out != NULL ? UM_OK : um_fail_memory(err, "encoder state");
}

void um_tok_scratch_free(um_tok_scratch *scratch)
{
    if (scratch == NULL)
        return;
    um_vec_dispose(&scratch->symbols);
    um_vec_dispose(&scratch->heap);
    um_str_dispose(&scratch->text);
    free(scratch);
}

um_status um_tokens_push(um_tokens *tokens, int32_t id, um_error *err)
{
    if (tokens->len == tokens->cap &&
        !um_vec_grow((void *)&tokens->ids, &tokens->cap, tokens->len + 1, sizeof *tokens->ids))
        return um_fail_memory(err, "token ids");
    tokens->ids[tokens->len++] = id;
    return UM_OK;
}

/* Merge table --------------------------------------------------------------------------------- */

static uint64_t pair_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static size_t pair_slot(const um_tokenizer *tok, uint64_t key)
{
    uint64_t h = key * 0x9e3779b97f4a7c15u; /* Fibonacci hashing: the high bits are mixed */
    size_t at = (h >> 32 ^ h >> 15) & tok->merge_mask;
    while (tok->merge_slots[at].key != SLOT_FREE && tok->merge_slots[at].key != key)
        at = (at + 1) & tok->merge_mask;
    return at;
}

static const um_tok_merge_slot *find_merge(const um_tokenizer *tok, int32_t left, int32_t right)
{
    const um_tok_merge_slot *slot = &tok->merge_slots[pair_slot(tok, pair_key(left, right))];
    return slot->key == SLOT_FREE ? NULL : slot;
}

um_status um_tok_merges_index(um_tokenizer *tok, const char *where, um_error *err)
{
    um_status status = UM_OK;
    um_str joined = UM_STR_INIT;
    size_t cap = 16;
    while (cap < 2 * tok->n_merges)
        cap *= 2;
    tok->merge_slots = um_calloc(cap, sizeof *tok->merge_slots);
    if (tok->merge_slots == NULL)
        return um_fail_memory(err, "merge table");
    tok->merge_mask = cap - 1;
    for (size_t i = 0; i < cap; i++)
        tok->merge_slots[i].key = SLOT_FREE;
    for (size_t i = 0; i < tok->n_merges; i++) {
        const um_tok_token *left = &tok->tokens[tok->merges[i].left];
        const um_tok_token *right = &tok->tokens[tok->merges[i].right];
        um_str_clear(&joined);
        um_str_append_n(&joined, left->text, left->text_len);
        um_str_append_n(&joined, right->text, right->text_len);
        status = um_str_status(&joined, err);
        if (status != UM_OK)
            goto done;
        int32_t id = um_tok_index_find(tok, &tok->by_text, joined.data, joined.len);
        if (id < 0) {
            status = um_fail(err, UM_ERR_INPUT,
                             "%s: merge %zu gives \"%.60s\", which is not in the vocabulary", where,
                             i, joined.data);
            goto done;
        }
        /* A pair listed twice counts where it is listed last, as in Hugging Face tokenizers. */
        uint64_t key = pair_key(tok->merges[i].left, tok->merges[i].right);
        tok->merge_slots[pair_slot(tok, key)] = (um_tok_merge_slot){key, (uint32_t)i, id};
    }
done:
    um_str_dispose(&joined);
    return status;
}

/* Heap ---------------------------------------------------------------------------------------- */

static bool heap_push(um_tok_scratch *s, candidate c)
{
    if (!um_vec_push(&s->heap, c))
        return false;
    candidate *heap = s->heap.data;
    size_t at = s->heap.len - 1;
    while (at > 0 && heap[(at - 1) / 2].order > c.order) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = c;
    return true;
}

static candidate heap_pop(um_tok_scratch *s)
{
    candidate *heap = s->heap.data;
    candidate top = heap[0], last = heap[--s->heap.len];
    size_t n = s->heap.len, at = 0;
    for (size_t child = 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && heap[child + 1].order < heap[child].order)
            child++;
        if (heap[child].order >= last.order)
            break;
        heap[at] = heap[child];
        at = child;
    }
    if (n > 0)
        heap[at] = last;
    return top;
}

/* Word ---------------------------------------------------------------------------------------- */

static bool push_symbol(um_tok_scratch *s, int32_t id)
{
    uint32_t at = (uint32_t)s->symbols.len;
    symbol next = {id, at - 1, at + 1}; /* the first one's previous is NONE by wrapping */
    return um_vec_push(&s->symbols, next);
}

static um_status no_token(const char *bytes, size_t len, um_error *err)
{
    char hex[16] = "";
    for (size_t i = 0; i < len && i < 4; i++)
        snprintf(hex + 3 * i, sizeof hex - 3 * i, " %02x", (unsigned)(unsigned char)bytes[i]);
    return um_fail(err, UM_ERR_INPUT,
                   "tokenizer: no token for the bytes%s, and no unk_token; this vocabulary cannot "
                   "write the text",
                   hex);
}

static um_status byte_symbols(const um_tokenizer *tok, um_tok_scratch *s, const char *word,
                              size_t len, um_error *err)
{
    bool after_unk = false;
    for (size_t i = 0; i < len; i++) {
        int32_t id = tok->byte_id[(unsigned char)word[i]];
        bool is_unk = id < 0;
        if (is_unk) {
            if (tok->unk < 0)
                return no_token(word + i, 1, err);
            id = tok->unk;
        }
        if (!(is_unk && after_unk && tok->fuse_unk) && !push_symbol(s, id))
            return um_fail_memory(err, "encoder state");
        after_unk = is_unk;
    }
    return UM_OK;
}

static bool has_all_bytes(const um_tokenizer *tok, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (tok->byte_id[(unsigned char)bytes[i]] < 0)
            return false;
    return true;
}

/* Characters; what the vocabulary lacks becomes byte tokens, else unk. A byte outside UTF-8 is a
 * character of its own. */
static um_status char_symbols(const um_tokenizer *tok, um_tok_scratch *s, const char *word,
                              size_t len, um_error *err)
{
    bool after_unk = false;
    for (size_t at = 0, n; at < len; at += n) {
        uint32_t c = 0;
        n = um_tok_utf8_next(word + at, len - at, &c);
        int32_t id = n > 0 ? um_tok_index_find(tok, &tok->by_text, word + at, n) : -1;
        n = n > 0 ? n : 1;
        bool ok = true, is_unk = false;
        if (id >= 0) {
            ok = push_symbol(s, id);
        } else if (tok->byte_fallback && has_all_bytes(tok, word + at, n)) {
            for (size_t i = 0; i < n && ok; i++)
                ok = push_symbol(s, tok->byte_id[(unsigned char)word[at + i]]);
        } else if (tok->unk >= 0) {
            is_unk = true;
            if (!(after_unk && tok->fuse_unk))
                ok = push_symbol(s, tok->unk);
        } else {
            return no_token(word + at, n, err);
        }
        if (!ok)
            return um_fail_memory(err, "encoder state");
        after_unk = is_unk;
    }
    return UM_OK;
}

static bool push_pair(const um_tokenizer *tok, um_tok_scratch *s, uint32_t left)
{
    const symbol *symbols = s->symbols.data;
    const um_tok_merge_slot *m = find_merge(tok, symbols[left].id, symbols[symbols[left].next].id);
    return m == NULL || heap_push(s, (candidate){(uint64_t)m->rank << 32 | left, m->id});
}

static bool merge_all(const um_tokenizer *tok, um_tok_scratch *s)
{
    symbol *symbols = s->symbols.data;
    s->heap.len = 0;
    for (uint32_t i = 0; i + 1 < s->symbols.len; i++)
        if (!push_pair(tok, s, i))
            return false;
    while (s->heap.len > 0) {
        candidate top = heap_pop(s);
        uint32_t at = (uint32_t)top.order, next = symbols[at].next;
        if (symbols[at].id < 0 || next == NONE)
            continue;
        const um_tok_merge_slot *m = find_merge(tok, symbols[at].id, symbols[next].id);
        if (m == NULL || m->id != top.id)
            continue;
        symbols[at].id = top.id;
        symbols[next].id = -1;
        symbols[at].next = symbols[next].next;
        if (symbols[at].next != NONE) {
            symbols[symbols[at].next].previous = at;
            if (!push_pair(tok, s, at))
                return false;
        }
        if (symbols[at].previous != NONE && !push_pair(tok, s, symbols[at].previous))
            return false;
    }
    return true;
}

/* The id of a word that is a token as it stands; -1 when it is none. A special token is never
 * found this way: it is written by id or parsed, not spelled. */
static um_status whole_word(const um_tokenizer *tok, um_tok_scratch *s, const char *word,
                            size_t len, int32_t *id, um_error *err)
{
    *id = -1;
    if (len > tok->longest_text)
        return UM_OK;
    if (tok->byte_level) {
        um_str_clear(&s->text);
        um_tok_append_byte_text(&s->text, word, len);
        um_status status = um_str_status(&s->text, err);
        if (status != UM_OK)
            return status;
        word = s->text.data;
        len = s->text.len;
    }
    int32_t found = um_tok_index_find(tok, &tok->by_text, word, len);
    if (found >= 0 && !tok->tokens[found].special)
        *id = found;
    return UM_OK;
}

um_status um_tok_encode_word(const um_tokenizer *tok, um_tok_scratch *s, const char *word,
                             size_t len, um_tokens *out, um_error *err)
{
    if (len == 0)
        return UM_OK;
    if (tok->ignore_merges) {
        int32_t id;
        um_status status = whole_word(tok, s, word, len, &id, err);
        if (status != UM_OK)
            return status;
        if (id >= 0)
            return um_tokens_push(out, id, err);
    }
    s->symbols.len = 0;
    um_status status = tok->byte_level ? byte_symbols(tok, s, word, len, err)
                                       : char_symbols(tok, s, word, len, err);
    if (status != UM_OK)
        return status;
    if (s->symbols.len == 0)
        return UM_OK;
    s->symbols.data[s->symbols.len - 1].next = NONE;
    if (!merge_all(tok, s))
        return um_fail_memory(err, "encoder state");
    for (uint32_t at = 0; at != NONE; at = s->symbols.data[at].next) {
        status = um_tokens_push(out, s->symbols.data[at].id, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}
