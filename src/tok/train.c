/*
 * train.c - training of byte-level BPE.
 *
 * The trainer counts distinct words (pieces of the GPT-2 pattern). Training keeps, for every
 * adjacent pair of symbols, its count over all words and the words it occurs in, and a heap of
 * pairs ordered by count, then by smaller ids. Counts in the heap may be stale and too high; an
 * entry popped with a stale count is pushed back with the true one. A merge visits only the words
 * that hold the pair and moves the counts of the neighbours it touches.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "tok/tok.h"

/* Longer words are counted in parts of this length: each merge inside a word costs its length. */
#define WORD_MAX_BYTES        1024
#define MERGES_BETWEEN_CHECKS 64
#define VOCAB_MAX             (1 << 20)

typedef struct word {
    const char *bytes;
    uint64_t hash;
    int64_t count;
    uint32_t len;
    uint32_t n_symbols; /* while training: its symbols are [first, first + n_symbols) */
    size_t first;
} word;

struct um_tokenizer_trainer {
    um_arena arena;
    um_tok_regex *split;
    UM_VEC(word) words;
    uint32_t *slots; /* word index + 1 */
    size_t n_slots;
};

um_status um_tokenizer_trainer_new(um_tokenizer_trainer **out, um_error *err)
{
    um_tokenizer_trainer *t = um_calloc(1, sizeof *t);
    if (t == NULL)
        return um_fail_memory(err, "tokenizer trainer");
    um_status status = um_tok_regex_new(&t->split, um_tok_pattern_gpt2, "tokenizer trainer", err);
    if (status == UM_OK)
        *out = t;
    else
        um_tokenizer_trainer_free(t);
    return status;
}

void um_tokenizer_trainer_free(um_tokenizer_trainer *t)
{
    if (t == NULL)
        return;
    um_tok_regex_free(t->split);
    um_vec_dispose(&t->words);
    um_arena_dispose(&t->arena);
    free(t->slots);
    free(t);
}

/* Words -----------------------------------------------------------------------------------------
 */

static bool grow_word_slots(um_tokenizer_trainer *t)
{
    size_t n = t->n_slots == 0 ? 4096 : t->n_slots * 2;
    uint32_t *slots = um_calloc(n, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < t->words.len; i++) {
        size_t at = t->words.data[i].hash & (n - 1);
        while (slots[at] != 0)
            at = (at + 1) & (n - 1);
        slots[at] = (uint32_t)i + 1;
    }
    free(t->slots);
    t->slots = slots;
    t->n_slots = n;
    return true;
}

static bool count_word(um_tokenizer_trainer *t, const char *bytes, size_t len)
{
    if (2 * (t->words.len + 1) > t->n_slots && !grow_word_slots(t))
        return false;
    uint64_t hash = um_hash(bytes, len, 0);
    size_t at = hash & (t->n_slots - 1);
    for (; t->slots[at] != 0; at = (at + 1) & (t->n_slots - 1)) {
        word *w = &t->words.data[t->slots[at] - 1];
        if (w->hash == hash && w->len == len && memcmp(w->bytes, bytes, len) == 0) {
            w->count++;
            return true;
        }
    }
    word w = {um_arena_strndup(&t->arena, bytes, len), hash, 1, (uint32_t)len, 0, 0};
    if (w.bytes == NULL || !um_vec_push(&t->words, w))
        return false;
    t->slots[at] = (uint32_t)t->words.len;
    return true;
}

static um_status add_word(void *context, const char *bytes, size_t len, um_error *err)
{
    um_tokenizer_trainer *t = context;
    for (size_t at = 0; at < len; at += WORD_MAX_BYTES)
        if (!count_word(t, bytes + at, len - at < WORD_MAX_BYTES ? len - at : WORD_MAX_BYTES))
            return um_fail_memory(err, "word counts");
    if (t->words.len > INT32_MAX / 2)
        return um_fail(err, UM_ERR_LIMIT, "tokenizer trainer: more than %d distinct words",
                       INT32_MAX / 2);
    return UM_OK;
}

um_status um_tokenizer_trainer_add(um_tokenizer_trainer *t, const char *text, size_t len,
                                   um_error *err)
{
    return um_tok_split(&t->split, 1, text, len, add_word, t, err);
}

/* Pairs -----------------------------------------------------------------------------------------
 */

typedef struct pair {
    uint64_t key; /* left id << 32 | right id */
    int64_t count;
    bool banned;            /* would spell a special token */
    bool touched;           /* listed in `risen` */
    UM_VEC(uint32_t) words; /* may repeat, and may name words that lost the pair */
} pair;

typedef struct heap_entry {
    int64_t count;
    uint64_t key;
    uint32_t pair;
} heap_entry;

typedef struct state {
    um_tokenizer_trainer *trainer;
    um_arena arena;
    UM_VEC(int32_t) symbols;
    UM_VEC(pair) pairs;
    UM_VEC(uint32_t) pair_slots; /* pair index + 1 */
    UM_VEC(heap_entry) heap;
    UM_VEC(uint32_t) risen;     /* pairs whose count went up in this merge */
    UM_VEC(const char *) texts; /* by id */
    UM_VEC(um_tok_pair) merges;
    um_map ids; /* text -> id */
    size_t n_special;
} state;

static void state_dispose(state *s)
{
    for (size_t i = 0; i < s->pairs.len; i++)
        um_vec_dispose(&s->pairs.data[i].words);
    um_vec_dispose(&s->symbols);
    um_vec_dispose(&s->pairs);
    um_vec_dispose(&s->pair_slots);
    um_vec_dispose(&s->heap);
    um_vec_dispose(&s->risen);
    um_vec_dispose(&s->texts);
    um_vec_dispose(&s->merges);
    um_map_dispose(&s->ids);
    um_arena_dispose(&s->arena);
}

static size_t pair_slot(const state *s, uint64_t key)
{
    uint64_t h = key * 0x9e3779b97f4a7c15u;
    size_t mask = s->pair_slots.len - 1, at = (h >> 32 ^ h >> 15) & mask;
    while (s->pair_slots.data[at] != 0 && s->pairs.data[s->pair_slots.data[at] - 1].key != key)
        at = (at + 1) & mask;
    return at;
}

static bool grow_pair_slots(state *s)
{
    size_t n = s->pair_slots.len == 0 ? 4096 : s->pair_slots.len * 2;
    if (!um_vec_reserve(&s->pair_slots, n))
        return false;
    s->pair_slots.len = n;
    memset(s->pair_slots.data, 0, n * sizeof *s->pair_slots.data);
    for (size_t i = 0; i < s->pairs.len; i++)
        s->pair_slots.data[pair_slot(s, s->pairs.data[i].key)] = (uint32_t)i + 1;
    return true;
}

/* Index of the pair, made when new; UINT32_MAX when out of memory. */
static uint32_t get_pair(state *s, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    if (2 * (s->pairs.len + 1) > s->pair_slots.len && !grow_pair_slots(s))
        return UINT32_MAX;
    size_t at = pair_slot(s, key);
    if (s->pair_slots.data[at] == 0) {
        pair p = {.key = key};
        if (!um_vec_push(&s->pairs, p))
            return UINT32_MAX;
        s->pair_slots.data[at] = (uint32_t)s->pairs.len;
    }
    return s->pair_slots.data[at] - 1;
}

static bool raise_pair(state *s, int32_t left, int32_t right, int64_t by, uint32_t in_word)
{
    uint32_t i = get_pair(s, left, right);
    if (i == UINT32_MAX)
        return false;
    pair *p = &s->pairs.data[i];
    p->count += by;
    if (!p->touched) {
        p->touched = true;
        if (!um_vec_push(&s->risen, i))
            return false;
    }
    if (p->words.len > 0 && p->words.data[p->words.len - 1] == in_word)
        return true;
    return um_vec_push(&p->words, in_word);
}

static bool lower_pair(state *s, int32_t left, int32_t right, int64_t by)
{
    uint32_t i = get_pair(s, left, right);
    if (i == UINT32_MAX)
        return false;
    s->pairs.data[i].count -= by;
    return true;
}

static bool comes_first(const heap_entry *a, const heap_entry *b)
{
    return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static bool heap_push(state *s, uint32_t index)
{
    heap_entry entry = {s->pairs.data[index].count, s->pairs.data[index].key, index};
    if (!um_vec_push(&s->heap, entry))
        return false;
    heap_entry *heap = s->heap.data;
    size_t at = s->heap.len - 1;
    for (; at > 0 && comes_first(&entry, &heap[(at - 1) / 2]); at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = entry;
    return true;
}

static heap_entry heap_pop(state *s)
{
    heap_entry *heap = s->heap.data;
    heap_entry top = heap[0], last = heap[--s->heap.len];
    size_t n = s->heap.len, at = 0;
    for (size_t child = 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && comes_first(&heap[child + 1], &heap[child]))
            child++;
        if (!comes_first(&heap[child], &last))
            break;
        heap[at] = heap[child];
        at = child;
    }
    if (n > 0)
        heap[at] = last;
    return top;
}

static bool push_risen(state *s)
{
    for (size_t i = 0; i < s->risen.len; i++) {
        pair *p = &s->pairs.data[s->risen.data[i]];
        p->touched = false;
        if (p->count > 1 && !p->banned && !heap_push(s, s->risen.data[i]))
            return false;
    }
    s->risen.len = 0;
    return true;
}

/* Merging ---------------------------------------------------------------------------------------
 */

/* Replaces left right by merged in one word, leftmost first, and moves the counts. */
static bool merge_word(state *s, uint32_t index, int32_t left, int32_t right, int32_t merged)
{
    word *w = &s->trainer->words.data[index];
    int32_t *symbols = s->symbols.data + w->first;
    uint32_t n = w->n_symbols, kept = 0;
    for (uint32_t i = 0; i < n; kept++) {
        if (i + 1 == n || symbols[i] != left || symbols[i + 1] != right) {
            symbols[kept] = symbols[i++];
            continue;
        }
        bool ok = lower_pair(s, left, right, w->count);
        if (ok && kept > 0)
            ok = lower_pair(s, symbols[kept - 1], left, w->count) &&
                 raise_pair(s, symbols[kept - 1], merged, w->count, index);
        if (ok && i + 2 < n)
            ok = lower_pair(s, right, symbols[i + 2], w->count) &&
                 raise_pair(s, merged, symbols[i + 2], w->count, index);
        if (!ok)
            return false;
        symbols[kept] = merged;
        i += 2;
    }
    w->n_symbols = kept;
    return true;
}

static um_status add_text(state *s, const char *text, int32_t *id, bool *is_new, um_error *err)
{
    uint32_t held = 0;
    *is_new = !um_map_get(&s->ids, text, &held);
    *id = *is_new ? (int32_t)s->texts.len : (int32_t)held;
    if (!*is_new)
        return UM_OK;
    const char *copy = um_arena_strdup(&s->arena, text);
    if (copy == NULL || !um_map_put(&s->ids, copy, (uint32_t)*id, NULL) ||
        !um_vec_push(&s->texts, copy))
        return um_fail_memory(err, "vocabulary");
    return UM_OK;
}

/* Two different pairs may spell one token: the second is a merge, but no new entry. A pair that
 * would spell a special token is left alone, so that text can never become one. */
static um_status merge_pair(state *s, uint32_t index, um_error *err)
{
    pair *p = &s->pairs.data[index];
    int32_t left = (int32_t)(p->key >> 32), right = (int32_t)(uint32_t)p->key, merged;
    bool is_new;
    um_str text = UM_STR_INIT;
    um_str_append(&text, s->texts.data[left]);
    um_str_append(&text, s->texts.data[right]);
    um_status status = um_str_status(&text, err);
    if (status == UM_OK)
        status = add_text(s, um_str_text(&text), &merged, &is_new, err);
    um_str_dispose(&text);
    if (status != UM_OK)
        return status;
    if ((size_t)merged < s->n_special) {
        p->banned = true;
        return UM_OK;
    }
    if (!um_vec_push(&s->merges, ((um_tok_pair){left, right})))
        return um_fail_memory(err, "merges");
    /* Counting may move s->pairs, so the list of words is taken out first. */
    uint32_t *words = p->words.data;
    size_t n_words = p->words.len;
    p->words.data = NULL;
    p->words.len = p->words.cap = 0;
    bool ok = true;
    for (size_t i = 0; i < n_words && ok; i++)
        ok = merge_word(s, words[i], left, right, merged);
    free(words);
    return ok && push_risen(s) ? UM_OK : um_fail_memory(err, "pair counts");
}

static um_status run_merges(state *s, size_t vocab_size, const um_monitor *monitor, um_error *err)
{
    size_t base = s->n_special + 256;
    um_progress progress = {
        .stage = "train tokenizer", .unit = "tokens", .total = vocab_size - base};
    while (s->heap.len > 0 && s->texts.len < vocab_size) {
        heap_entry top = heap_pop(s);
        pair *p = &s->pairs.data[top.pair];
        if (p->banned || p->count < 2)
            continue;
        if (p->count != top.count) {
            if (!heap_push(s, top.pair))
                return um_fail_memory(err, "pair counts");
            continue;
        }
        um_status status = merge_pair(s, top.pair, err);
        if (status != UM_OK)
            return status;
        if (s->merges.len % MERGES_BETWEEN_CHECKS == 0) {
            if (um_monitor_stopped(monitor))
                return um_fail(err, UM_ERR_INTERRUPTED, "tokenizer training was stopped");
            progress.done = s->texts.len - base;
            um_monitor_progress(monitor, &progress);
        }
    }
    progress.done = s->texts.len - base;
    progress.total = progress.done;
    um_monitor_progress(monitor, &progress);
    return UM_OK;
}

/* Start and result ------------------------------------------------------------------------------
 */

static um_status first_tokens(state *s, const char *const *special, size_t n_special,
                              int32_t byte_id[256], um_error *err)
{
    um_status status = UM_OK;
    int32_t id;
    bool is_new;
    for (size_t i = 0; i < n_special && status == UM_OK; i++) {
        size_t len = special[i] == NULL ? 0 : strlen(special[i]);
        if (len == 0 || len > 256 || !um_utf8_valid(special[i], len))
            return um_fail(err, UM_ERR_INPUT,
                           "tokenizer training: special token %zu must be 1..256 bytes of UTF-8",
                           i);
        status = add_text(s, special[i], &id, &is_new, err);
        if (status == UM_OK && !is_new)
            status =
                um_fail(err, UM_ERR_INPUT,
                        "tokenizer training: special token \"%.60s\" is given twice", special[i]);
    }
    /* In the order of the characters that stand for the bytes, as GPT-2 numbers them. */
    um_str text = UM_STR_INIT;
    for (uint32_t c = 0; c < 0x180 && status == UM_OK; c++) {
        int byte = um_tok_char_byte(c);
        if (byte < 0)
            continue;
        char b = (char)byte;
        um_str_clear(&text);
        um_tok_append_byte_text(&text, &b, 1);
        status = um_str_status(&text, err);
        if (status == UM_OK)
            status = add_text(s, um_str_text(&text), &byte_id[byte], &is_new, err);
        if (status == UM_OK && !is_new)
            status =
                um_fail(err, UM_ERR_INPUT,
                        "tokenizer training: special token \"%s\" is a single character that a "
                        "byte needs",
                        text.data);
    }
    um_str_dispose(&text);
    s->n_special = n_special;
    return status;
}

static um_status count_pairs(state *s, const int32_t byte_id[256], um_error *err)
{
    for (size_t i = 0; i < s->trainer->words.len; i++) {
        word *w = &s->trainer->words.data[i];
        w->first = s->symbols.len;
        w->n_symbols = w->len;
        if (!um_vec_reserve(&s->symbols, s->symbols.len + w->len))
            return um_fail_memory(err, "word symbols");
        for (uint32_t k = 0; k < w->len; k++)
            s->symbols.data[s->symbols.len++] = byte_id[(unsigned char)w->bytes[k]];
        const int32_t *symbols = s->symbols.data + w->first;
        for (uint32_t k = 0; k + 1 < w->len; k++)
            if (!raise_pair(s, symbols[k], symbols[k + 1], w->count, (uint32_t)i))
                return um_fail_memory(err, "pair counts");
    }
    return push_risen(s) ? UM_OK : um_fail_memory(err, "pair counts");
}

static um_status build(um_tokenizer **out, state *s, um_error *err)
{
    json_t *document = NULL;
    um_status status = um_tok_new_document(&document, um_tok_pattern_gpt2, false, false, err);
    json_t *vocab = json_object_get(json_object_get(document, "model"), "vocab");
    for (size_t i = 0; i < s->texts.len && status == UM_OK; i++) {
        if (json_object_set_new(vocab, s->texts.data[i], json_integer((json_int_t)i)) != 0)
            status = um_fail_memory(err, "vocabulary");
        else if (i < s->n_special)
            status = um_tok_document_add(document, (int64_t)i, s->texts.data[i], true, err);
    }
    /* merges.data is NULL when nothing was merged; the document's empty list serves then. */
    if (status == UM_OK)
        status = um_tok_build(out, document, NULL, s->merges.data, s->merges.len,
                              "trained tokenizer", err);
    json_decref(document);
    return status;
}

um_status um_tokenizer_train(um_tokenizer **out, um_tokenizer_trainer *trainer, int vocab_size,
                             const char *const *special, size_t n_special,
                             const um_monitor *monitor, um_error *err)
{
    int32_t byte_id[256];
    state s = {.trainer = trainer};
    if (n_special > 1024 || vocab_size > VOCAB_MAX || vocab_size < (int)n_special + 256)
        return um_fail(
            err, UM_ERR_INPUT,
            "tokenizer training: vocab_size %d with %zu special tokens, need 256 more than "
            "those and at most %d",
            vocab_size, n_special, VOCAB_MAX);
    um_status status = first_tokens(&s, special, n_special, byte_id, err);
    if (status == UM_OK)
        status = count_pairs(&s, byte_id, err);
    if (status == UM_OK)
        status = run_merges(&s, (size_t)vocab_size, monitor, err);
    if (status == UM_OK)
        status = build(out, &s, err);
    state_dispose(&s);
    return status;
}
