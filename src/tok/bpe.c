/*
 * bpe.c - byte pair encoding of one word (Sennrich, Haddow, Birch, ACL 2016).
 *
 * A word begins as a row of symbols, one a byte or character. It falls into parts at every two
 * neighbours that no token of the vocabulary holds side by side: nothing is ever merged across
 * such a place, so the parts are encoded on their own, with the same result. (In a vocabulary
 * where only the front of a token can be "▁", a whole text falls into its words this way.)
 *
 * A short part keeps its symbols in an array and looks through it for the lowest rank each time.
 * In a long one the symbols form a doubly linked list, and every adjacent pair that has a merge
 * waits in a heap, lowest rank first and leftmost first within a rank; an entry whose pair has
 * changed since is dropped, so n symbols cost O(n log n). In a very long part most pairs wait,
 * sorted by counting, in a run beside the heap, which is sorted anew when it is used up.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tok/tok.h"

#define SLOT_FREE UINT64_MAX
#define NONE      UINT32_MAX
/* Symbols of a part up to which the search through the array costs less than a heap. */
#define SHORT_MAX 32
/* Symbols of a part from which counting the ranks costs less than a heap. */
#define COUNTED_MIN 4096
#define DIGIT_BITS  12 /* a rank, below UM_TOK_MAX_MERGES, is two digits */
/* Bits of the table of neighbours: 32 KB, which stays in the cache. */
#define NEIGHBOUR_BITS 18

typedef struct symbol {
    int32_t id; /* -1: merged into its left neighbour */
    uint32_t previous, next;
    uint32_t rank; /* of the merge with `next`; NONE: there is none */
} symbol;

struct um_tok_scratch {
    UM_VEC(symbol) symbols;
    UM_VEC(uint64_t) heap; /* pairs: rank << 32 | position of the left symbol */
    UM_VEC(uint64_t) run;  /* pairs in order */
    UM_VEC(uint64_t) other;
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
    um_vec_dispose(&scratch->run);
    um_vec_dispose(&scratch->other);
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

static uint32_t find_rank(const um_tokenizer *tok, int32_t left, int32_t right)
{
    const um_tok_merge_slot *slot = &tok->merge_slots[pair_slot(tok, pair_key(left, right))];
    return slot->key == SLOT_FREE ? NONE : slot->rank;
}

/* Neighbours ---------------------------------------------------------------------------------- */

static size_t neighbour_bit(int32_t left, int32_t right)
{
    return (pair_key(left, right) * 0x9e3779b97f4a7c15u) >> (64 - NEIGHBOUR_BITS);
}

/* False: no token holds the two symbols side by side. True: some token may. */
static bool can_meet(const um_tokenizer *tok, int32_t left, int32_t right)
{
    size_t bit = neighbour_bit(left, right);
    return tok->neighbours == NULL || (tok->neighbours[bit / 64] >> (bit % 64) & 1) != 0;
}

/* A token that is a symbol of the start and also the result of a merge has no one first symbol. */
static bool symbols_are_leaves(const um_tokenizer *tok, const int32_t *left_part)
{
    if (tok->unk >= 0 && left_part[tok->unk] >= 0)
        return false;
    for (size_t b = 0; b < 256; b++)
        if (tok->byte_id[b] >= 0 && left_part[tok->byte_id[b]] >= 0)
            return false;
    return true;
}

/* Follows part[] to the symbol a token begins or ends with. Merged texts grow, so that the way is
 * no longer than a text unless a token is empty; -1 then. */
static int32_t end_symbol(const um_tokenizer *tok, const int32_t *part, int32_t id)
{
    for (size_t steps = 0; steps <= tok->longest_text; steps++) {
        if (part[id] < 0)
            return id;
        id = part[id];
    }
    return -1;
}

/*
 * Fills tok->neighbours: for every merge, the last symbol of its left token beside the first of its
 * right one. Stays NULL (nothing is known, no word is cut) where merges to one token disagree about
 * its ends, which no sane vocabulary does.
 */
static um_status find_neighbours(um_tokenizer *tok, um_error *err)
{
    int32_t *left = um_calloc(tok->n_tokens, sizeof *left);
    int32_t *right = um_calloc(tok->n_tokens, sizeof *right);
    uint64_t *bits = um_calloc(((size_t)1 << NEIGHBOUR_BITS) / 64, sizeof *bits);
    um_status status = UM_OK;
    if (left == NULL || right == NULL || bits == NULL) {
        status = um_fail_memory(err, "merge table");
        goto done;
    }
    for (size_t i = 0; i < tok->n_tokens; i++)
        left[i] = right[i] = -1;
    for (size_t i = 0; i < tok->n_merges; i++) {
        left[tok->merged[i]] = tok->merges[i].left;
        right[tok->merged[i]] = tok->merges[i].right;
    }
    if (!symbols_are_leaves(tok, left))
        goto done;
    for (size_t i = 0; i < tok->n_merges; i++) {
        const um_tok_pair *m = &tok->merges[i];
        int32_t first = end_symbol(tok, left, m->left), last = end_symbol(tok, right, m->right);
        int32_t before = end_symbol(tok, right, m->left), after = end_symbol(tok, left, m->right);
        if (first < 0 || last < 0 || before < 0 || after < 0 ||
            first != end_symbol(tok, left, tok->merged[i]) ||
            last != end_symbol(tok, right, tok->merged[i]))
            goto done;
        size_t bit = neighbour_bit(before, after);
        bits[bit / 64] |= (uint64_t)1 << (bit % 64);
    }
    tok->neighbours = bits;
    bits = NULL;
done:
    free(left);
    free(right);
    free(bits);
    return status;
}

um_status um_tok_merges_index(um_tokenizer *tok, const char *where, um_error *err)
{
    um_status status = UM_OK;
    um_str joined = UM_STR_INIT;
    size_t cap = 16;
    while (cap < 2 * tok->n_merges)
        cap *= 2;
    tok->merge_slots = um_calloc(cap, sizeof *tok->merge_slots);
    tok->merged = um_calloc(tok->n_merges, sizeof *tok->merged);
    if (tok->merge_slots == NULL || tok->merged == NULL)
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
        tok->merged[i] = id;
    }
    status = find_neighbours(tok, err);
done:
    um_str_dispose(&joined);
    return status;
}

/* Heap ---------------------------------------------------------------------------------------- */

/* Four children a node: as many compares as with two, half the levels, and so half the misses. */
static bool heap_push(um_tok_scratch *s, uint64_t order)
{
    if (!um_vec_push(&s->heap, order))
        return false;
    uint64_t *heap = s->heap.data;
    size_t at = s->heap.len - 1;
    while (at > 0 && heap[(at - 1) / 4] > order) {
        heap[at] = heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    heap[at] = order;
    return true;
}

static uint64_t heap_pop(um_tok_scratch *s)
{
    uint64_t *heap = s->heap.data;
    uint64_t top = heap[0], last = heap[--s->heap.len];
    size_t n = s->heap.len, at = 0;
    for (size_t child = 1; child < n; child = 4 * at + 1) {
        size_t end = child + 4 < n ? child + 4 : n, least = child;
        for (size_t i = child + 1; i < end; i++)
            least = heap[i] < heap[least] ? i : least;
        if (heap[least] >= last)
            break;
        heap[at] = heap[least];
        at = least;
    }
    if (n > 0)
        heap[at] = last;
    return top;
}

/* Symbols ------------------------------------------------------------------------------------- */

static bool push_symbol(um_tok_scratch *s, int32_t id)
{
    uint32_t at = (uint32_t)s->symbols.len;
    symbol next = {id, at - 1, at + 1, NONE}; /* the first one's previous is NONE by wrapping */
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

/* Merging ------------------------------------------------------------------------------------- */

/* Sets the rank of the pair at `left` and puts it on the heap. */
static bool push_pair(const um_tokenizer *tok, um_tok_scratch *s, uint32_t left)
{
    symbol *at = &s->symbols.data[left];
    at->rank = at->next == NONE ? NONE : find_rank(tok, at->id, s->symbols.data[at->next].id);
    return at->rank == NONE || heap_push(s, (uint64_t)at->rank << 32 | left);
}

/* Stable: pairs of one rank, which come in order of position, stay so. */
static void sort_by_digit(uint64_t *out, const uint64_t *in, size_t n, int shift)
{
    const uint64_t mask = ((uint64_t)1 << DIGIT_BITS) - 1;
    size_t starts[((size_t)1 << DIGIT_BITS) + 1] = {0};
    for (size_t i = 0; i < n; i++)
        starts[(in[i] >> shift & mask) + 1]++;
    for (size_t d = 0; d < mask; d++)
        starts[d + 1] += starts[d];
    for (size_t i = 0; i < n; i++)
        out[starts[in[i] >> shift & mask]++] = in[i];
}

/* All pairs of the list that begins at `from` into s->run, in order; the heap is emptied. */
static bool sort_pairs(um_tok_scratch *s, uint32_t from, size_t n_symbols)
{
    const symbol *symbols = s->symbols.data;
    if (!um_vec_reserve(&s->run, n_symbols) || !um_vec_reserve(&s->other, n_symbols))
        return false;
    s->heap.len = s->run.len = 0;
    for (uint32_t at = from; at != NONE; at = symbols[at].next)
        if (symbols[at].rank != NONE)
            s->run.data[s->run.len++] = (uint64_t)symbols[at].rank << 32 | at;
    sort_by_digit(s->other.data, s->run.data, s->run.len, 32);
    sort_by_digit(s->run.data, s->other.data, s->run.len, 32 + DIGIT_BITS);
    return true;
}

/* Symbols [from, end). The list that is left begins at `from`. */
static bool merge_long(const um_tokenizer *tok, um_tok_scratch *s, uint32_t from, uint32_t end)
{
    symbol *symbols = s->symbols.data;
    size_t taken = 0, left = end - from;
    symbols[from].previous = NONE;
    symbols[end - 1].next = NONE;
    s->heap.len = s->run.len = 0;
    for (uint32_t i = from; i < end; i++)
        if (!push_pair(tok, s, i))
            return false;
    while (taken < s->run.len || s->heap.len > 0) {
        /* Sorting looks at every symbol, so it waits until a share of them is on the heap. */
        if (taken == s->run.len && s->heap.len >= COUNTED_MIN && s->heap.len >= left / 4) {
            if (!sort_pairs(s, from, left))
                return false;
            taken = 0;
            continue;
        }
        bool sorted =
            taken < s->run.len && (s->heap.len == 0 || s->run.data[taken] < s->heap.data[0]);
        uint64_t top = sorted ? s->run.data[taken++] : heap_pop(s);
        uint32_t at = (uint32_t)top, rank = (uint32_t)(top >> 32), next = symbols[at].next;
        if (symbols[at].id < 0 || symbols[at].rank != rank)
            continue;
        symbols[at].id = tok->merged[rank];
        symbols[next].id = -1;
        symbols[at].next = symbols[next].next;
        left--;
        if (symbols[at].next != NONE)
            symbols[symbols[at].next].previous = at;
        if (!push_pair(tok, s, at) ||
            (symbols[at].previous != NONE && !push_pair(tok, s, symbols[at].previous)))
            return false;
    }
    return true;
}

/* ids[n], n <= SHORT_MAX, merged in place; how many are left. */
static size_t merge_short(const um_tokenizer *tok, int32_t *ids, size_t n)
{
    uint32_t ranks[SHORT_MAX]; /* of ids[i] and ids[i + 1] */
    for (size_t i = 0; i + 1 < n; i++)
        ranks[i] = find_rank(tok, ids[i], ids[i + 1]);
    for (;;) {
        size_t at = 0;
        uint32_t lowest = NONE;
        for (size_t i = 0; i + 1 < n; i++) {
            at = ranks[i] < lowest ? i : at;
            lowest = ranks[i] < lowest ? ranks[i] : lowest;
        }
        if (lowest == NONE)
            return n;
        ids[at] = tok->merged[lowest];
        n--;
        memmove(ids + at + 1, ids + at + 2, (n - at - 1) * sizeof *ids);
        if (at + 1 < n) {
            memmove(ranks + at + 1, ranks + at + 2, (n - at - 2) * sizeof *ranks);
            ranks[at] = find_rank(tok, ids[at], ids[at + 1]);
        }
        if (at > 0)
            ranks[at - 1] = find_rank(tok, ids[at - 1], ids[at]);
    }
}

/* Appends the ids that symbols [from, end) become. */
static um_status encode_part(const um_tokenizer *tok, um_tok_scratch *s, uint32_t from,
                             uint32_t end, um_tokens *out, um_error *err)
{
    um_status status = UM_OK;
    symbol *symbols = s->symbols.data;
    if (end - from <= SHORT_MAX) {
        int32_t ids[SHORT_MAX];
        for (uint32_t i = from; i < end; i++)
            ids[i - from] = symbols[i].id;
        size_t n = merge_short(tok, ids, end - from);
        for (size_t i = 0; i < n && status == UM_OK; i++)
            status = um_tokens_push(out, ids[i], err);
        return status;
    }
    if (!merge_long(tok, s, from, end))
        return um_fail_memory(err, "encoder state");
    for (uint32_t at = from; at != NONE && status == UM_OK; at = symbols[at].next)
        status = um_tokens_push(out, symbols[at].id, err);
    return status;
}

/* Word ---------------------------------------------------------------------------------------- */

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
    uint32_t n = (uint32_t)s->symbols.len;
    for (uint32_t from = 0, end; from < n && status == UM_OK; from = end) {
        const symbol *symbols = s->symbols.data;
        end = from + 1;
        while (end < n && can_meet(tok, symbols[end - 1].id, symbols[end].id))
            end++;
        status = encode_part(tok, s, from, end, out, err);
    }
    return status;
}
