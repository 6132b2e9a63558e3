/*
 * parsed.c - parsing ahead. The file is cut into blocks of whole lines, one after another, each
 * into a batch of a ring; batches are filled from their blocks by two threads and emptied by the
 * reader in the order of the file. Line numbers are counted inside a block until its turn has come.
 *
 * What goes from one CPU to another costs more than most of what is done with it. So rows are made
 * where they were parsed; a thread has its own batches and fills no other; and what only the making
 * needs, the block and where there is a maker the parsed values, belongs to the thread and stays in
 * its second-level cache.
 */
#include "data/parsed.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"

#define N_OWN      3                 /* batches of a thread */
#define KEPT_BYTES ((size_t)4 << 20) /* memory of one long line is not kept for the next block */

#define NOT_BAD UINT32_MAX

/* Rows ahead; some ten nanoseconds each to take, some hundred to make. */
#define SLOTS_AHEAD 12
#define KEYS_AHEAD  6
#define N_IN_HAND   4 /* rows parsed before the first of them is made */
#define KEYS_LATER  2 /* rows after a row, before its keys are asked for */

/* Goes from one CPU to the other: places are small. */
typedef struct parsed_line {
    um_row_notes notes;
    uint32_t line;                  /* in the block, from 0 */
    uint32_t words, bytes, members; /* places in the values */
    uint32_t bad;                   /* place in messages, NOT_BAD */
    uint32_t made;                  /* place in made */
    bool has_nul, is_plain;         /* as of its document (base/jsonl.h) */
} parsed_line;

/* Copies of what was parsed: the parser's own is gone with the next line. */
typedef struct values {
    UM_VEC(uint64_t) words;
    UM_VEC(char) bytes;
    UM_VEC(uint32_t) members;
} values;

typedef struct batch {
    UM_VEC(parsed_line) rows;
    values values; /* where rows have roots */
    um_str messages, made;
    uint32_t n_lines;
    bool is_last; /* the file ends after it, or reading failed */
    um_status status;
    um_error err;
    bool is_filled; /* under the lock */
    struct filler *owner;
} batch;

/* A row that is parsed and not yet made. */
typedef struct in_hand {
    size_t row; /* of the batch */
    um_jval root;
} in_hand;

/* What a thread parses with. */
typedef struct filler {
    um_jsonl *parsers[N_IN_HAND]; /* come round, where rows are made later */
    in_hand in_hand[N_IN_HAND];
    size_t n_parsed, n_made; /* of the batch, where rows are made later */
    um_block block;
    um_str json; /* a line that was not JSON */
    void *maker;
    batch batches[N_OWN];    /* come round */
    size_t n_cut, n_emptied; /* of them; under the lock */
    UM_PARSED_APART;
} filler;

static_assert(UM_LINES_PADDING >= UM_JSONL_PADDING, "lines are parsed where they lie");

enum { CALLER, AHEAD };

struct um_parsed {
    um_parsed_spec spec;
    bool hashes_users, hashes_items; /* some may be looked up by their hash */
    bool makes_later;                /* makers look ids up that are to be brought near before */
    um_lines *lines;                 /* of whoever is cutting */
    filler fillers[UM_PARSED_THREADS];
    batch *current;      /* being emptied; NULL: none yet */
    size_t row;          /* next one of it */
    uint64_t first_line; /* of it */
    um_jdoc doc;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: batches in the order of the file, how many were cut and emptied so far, and
     * how it stands with cutting. */
    batch *order[UM_PARSED_THREADS * N_OWN];
    size_t n_cut, n_emptied;
    bool is_cutting, is_cut; /* is being done; nothing is left */
    bool is_stopped;
};

/* Filling a batch ----------------------------------------------------------------------------- */

static um_status add_bad(const um_parsed *p, batch *b, const um_line *line, const char *why,
                         um_error *err)
{
    parsed_line row = {.line = b->n_lines, .bad = (uint32_t)b->messages.len};
    um_str_appendf(&b->messages, "not one whole %s: %s%s", p->spec.noun, why,
                   line->is_whole ? "" : " (the last line has no end: file cut short?)");
    um_str_append_char(&b->messages, '\0');
    um_status status = um_str_status(&b->messages, err);
    if (status == UM_OK && !um_vec_push(&b->rows, row))
        status = um_fail_memory(err, "rows");
    return status;
}

/* Where the next row is made. */
static size_t begin_made(batch *b)
{
    static const char zeros[sizeof(max_align_t)];
    um_str_append_n(&b->made, zeros, -b->made.len % sizeof zeros);
    return b->made.len;
}

static uint64_t hash_id(um_jval id)
{
    const char *text = NULL;
    size_t len = 0;
    return um_jval_str(id, &text, &len) ? um_map_hash(text, len) : 0;
}

/* Copies what a row was parsed into. */
static um_status keep_root(const um_parsed *p, batch *b, size_t row, um_jval root, um_error *err)
{
    const um_jdoc *d = root.document;
    const size_t n_members = p->spec.n_members;
    values *v = &b->values;
    parsed_line *line = &b->rows.data[row];
    line->words = (uint32_t)v->words.len;
    line->bytes = (uint32_t)v->bytes.len;
    line->members = (uint32_t)v->members.len;
    if (!um_vec_reserve(&v->words, v->words.len + d->n_words) ||
        !um_vec_reserve(&v->bytes, v->bytes.len + d->n_bytes) ||
        !um_vec_reserve(&v->members, v->members.len + n_members))
        return um_fail_memory(err, "rows");
    for (size_t i = 0; i < n_members; i++)
        v->members.data[v->members.len++] = d->members[i];
    memcpy(v->words.data + v->words.len, d->tape, d->n_words * sizeof *d->tape);
    if (d->n_bytes > 0)
        memcpy(v->bytes.data + v->bytes.len, d->strings, d->n_bytes);
    v->words.len += d->n_words;
    v->bytes.len += d->n_bytes;
    return UM_OK;
}

/* The hashes by which a maker looks ids up, or whoever takes its row; 0 = it does not. */
static um_row_notes hashes_for(const um_parsed *p, bool is_maker, const um_row_notes *h)
{
    return (um_row_notes){.user_hash = p->spec.makers_find_users == is_maker ? h->user_hash : 0,
                          .item_hash = p->spec.makers_find_items == is_maker ? h->item_hash : 0};
}

static void prefetch_slots(const um_parsed *p, bool is_maker, const um_row_notes *notes)
{
    const um_row_notes h = hashes_for(p, is_maker, notes);
    um_builder_prefetch_slots(p->spec.builder, h.user_hash, h.item_hash);
}

static void prefetch_keys(const um_parsed *p, bool is_maker, const um_row_notes *notes)
{
    const um_row_notes h = hashes_for(p, is_maker, notes);
    um_builder_prefetch_keys(p->spec.builder, h.user_hash, h.item_hash);
}

/* Of the next line: that of a row in hand keeps its values. */
static um_jsonl *parser_of(const filler *f)
{
    return f->parsers[f->n_parsed % N_IN_HAND];
}

static um_status make_row(const um_parsed *p, filler *f, batch *b, size_t row, um_jval root,
                          um_error *err)
{
    parsed_line *line = &b->rows.data[row];
    line->made = (uint32_t)begin_made(b);
    um_status status = p->spec.make(f->maker, root, &b->made, &line->notes, err);
    return status == UM_OK && line->notes.keeps_root ? keep_root(p, b, row, root, err) : status;
}

static um_status make_first_in_hand(const um_parsed *p, filler *f, batch *b, um_error *err)
{
    const in_hand *h = &f->in_hand[f->n_made++ % N_IN_HAND];
    return make_row(p, f, b, h->row, h->root, err);
}

/* Makes a row when others were parsed after it, whose ids are then on their way. */
static um_status make_later(const um_parsed *p, filler *f, batch *b, size_t row, um_jval root,
                            um_error *err)
{
    f->in_hand[f->n_parsed % N_IN_HAND] = (in_hand){row, root};
    prefetch_slots(p, true, &b->rows.data[row].notes);
    if (f->n_parsed >= KEYS_LATER) {
        const size_t before = f->in_hand[(f->n_parsed - KEYS_LATER) % N_IN_HAND].row;
        prefetch_keys(p, true, &b->rows.data[before].notes);
    }
    f->n_parsed++;
    return f->n_parsed - f->n_made == N_IN_HAND ? make_first_in_hand(p, f, b, err) : UM_OK;
}

static um_status add_good(const um_parsed *p, filler *f, batch *b, um_jval root, um_error *err)
{
    const size_t row = b->rows.len;
    parsed_line line = {.line = b->n_lines,
                        .bad = NOT_BAD,
                        .has_nul = um_jsonl_has_nul(parser_of(f)),
                        .is_plain = root.document->is_plain};
    if (p->spec.builder != NULL && p->spec.ids_are_members) {
        line.notes.user_hash = p->hashes_users ? hash_id(um_jval_member(root, 0)) : 0;
        line.notes.item_hash = p->hashes_items ? hash_id(um_jval_member(root, 1)) : 0;
    }
    if (!um_vec_push(&b->rows, line))
        return um_fail_memory(err, "rows");
    if (p->spec.make == NULL)
        return keep_root(p, b, row, root, err);
    return p->makes_later ? make_later(p, f, b, row, root, err) : make_row(p, f, b, row, root, err);
}

/* Parses a line, or what it is turned into; UM_ERR_INPUT with the reason when it is bad. */
static um_status parse(const um_parsed *p, filler *f, const um_line *line, um_jval *root,
                       um_error *why)
{
    um_jsonl *parser = parser_of(f);
    if (p->spec.to_json == NULL)
        return um_jsonl_parse_in_place(parser, line->text, line->len, root, why);
    um_status status = UM_ERR_INPUT;
    if (p->spec.is_other == NULL || !p->spec.is_other(line->text, line->len))
        status = um_jsonl_parse(parser, line->text, line->len, root, why);
    if (status != UM_ERR_INPUT)
        return status;
    um_str_clear(&f->json);
    status = p->spec.to_json(&f->json, line->text, line->len, why);
    if (status == UM_OK)
        status = um_jsonl_parse(parser, um_str_text(&f->json), f->json.len, root, why);
    return status;
}

static um_status add_line(const um_parsed *p, filler *f, batch *b, const um_line *line,
                          um_error *err)
{
    um_jval root;
    um_error why;
    bool ascii = true;
    if (line->is_long)
        return add_bad(p, b, line, "line longer than the limit of 16 MiB", err);
    um_status status = parse(p, f, line, &root, &why);
    if (status == UM_OK)
        return add_good(p, f, b, root, err);
    if (status == UM_ERR_MEMORY)
        return um_fail_memory(err, "a row");
    bool has_nul = um_line_has_nul(line->text, line->len, &ascii);
    return add_bad(p, b, line, has_nul ? "NUL byte in the line" : why.text, err);
}

static um_jdoc document_of(const values *v, const parsed_line *row)
{
    return (um_jdoc){.tape = v->words.data + row->words,
                     .strings = v->bytes.data + row->bytes,
                     .members = v->members.data != NULL ? v->members.data + row->members : NULL,
                     .is_plain = row->is_plain};
}

static void empty_values(values *v)
{
    v->words.len = v->bytes.len = 0;
    if (v->words.cap * sizeof *v->words.data > KEPT_BYTES)
        um_vec_dispose(&v->words);
    if (v->bytes.cap > KEPT_BYTES)
        um_vec_dispose(&v->bytes);
    v->members.len = 0;
}

static void empty(batch *b)
{
    b->n_lines = 0;
    b->rows.len = 0;
    um_str_clear(&b->messages);
    um_str_clear(&b->made);
    empty_values(&b->values);
    if (b->made.cap > KEPT_BYTES)
        um_str_dispose(&b->made);
}

/* Rows from the block in hand. What fails ends the file after the rows before it. */
static void fill(const um_parsed *p, filler *f, batch *b)
{
    um_line line;
    for (; b->status == UM_OK && um_block_next(&f->block, &line); b->n_lines++) {
        if (line.len > 0 || line.is_long)
            b->status = add_line(p, f, b, &line, &b->err);
    }
    while (b->status == UM_OK && f->n_made < f->n_parsed)
        b->status = make_first_in_hand(p, f, b, &b->err);
    if (b->status == UM_OK)
        b->status = um_str_status(&b->made, &b->err);
    f->n_made = f->n_parsed = 0;
    if (p->spec.make != NULL && b->status != UM_OK)
        b->rows.len = 0; /* they are not made */
    b->is_last = b->is_last || b->status != UM_OK;
}

/* Threads -------------------------------------------------------------------------------------- */

static bool can_cut(const um_parsed *p, const filler *f)
{
    return !p->is_cutting && !p->is_cut && f->n_cut - f->n_emptied < N_OWN;
}

/* Cuts the next block and fills its batch; the lock is held before and after, and can_cut is true.
 */
static void fill_next(um_parsed *p, filler *f)
{
    batch *b = &f->batches[f->n_cut++ % N_OWN];
    p->order[p->n_cut++ % (UM_PARSED_THREADS * N_OWN)] = b;
    b->is_filled = false;
    p->is_cutting = true;
    pthread_mutex_unlock(&p->lock);
    empty(b);
    b->status = um_lines_take(p->lines, &f->block, &b->err);
    b->is_last = b->status != UM_OK || (f->block.len == 0 && !f->block.is_long);
    pthread_mutex_lock(&p->lock);
    p->is_cutting = false;
    p->is_cut = b->is_last;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (!b->is_last)
        fill(p, f, b);
    pthread_mutex_lock(&p->lock);
    b->is_filled = true;
    pthread_cond_signal(&p->changed);
}

static void *run(void *context)
{
    um_parsed *p = context;
    filler *f = &p->fillers[AHEAD];
    pthread_mutex_lock(&p->lock);
    while (!p->is_stopped && !p->is_cut) {
        if (can_cut(p, f))
            fill_next(p, f);
        else
            pthread_cond_wait(&p->changed, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* The thread takes no signals: handlers run on the one that reads. */
static bool start(um_parsed *p)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&p->thread, NULL, run, p);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code == 0;
}

/* The batch in hand goes back, the next one comes; until it is there others are filled. */
static void change_batch(um_parsed *p)
{
    filler *f = &p->fillers[CALLER];
    batch *const *next = NULL;
    pthread_mutex_lock(&p->lock);
    if (p->current != NULL) {
        p->first_line += p->current->n_lines;
        p->current->owner->n_emptied++;
        p->n_emptied++;
        pthread_cond_signal(&p->changed);
    }
    next = &p->order[p->n_emptied % (UM_PARSED_THREADS * N_OWN)];
    while (p->n_cut == p->n_emptied || !(*next)->is_filled) {
        if (can_cut(p, f))
            fill_next(p, f);
        else
            pthread_cond_wait(&p->changed, &p->lock);
    }
    p->current = *next;
    pthread_mutex_unlock(&p->lock);
    p->row = 0;
}

um_status um_parsed_open(um_parsed **out, const um_parsed_spec *spec, um_lines *lines,
                         um_error *err)
{
    um_parsed *p = um_calloc(1, sizeof *p);
    um_status status = UM_OK;
    if (p == NULL)
        return um_fail_memory(err, "a JSON reader");
    p->spec = *spec;
    if (spec->builder != NULL) { /* what makers look up does not change while the file is read */
        p->hashes_users = !spec->makers_find_users || um_builder_hashes_users(spec->builder);
        p->hashes_items = !spec->makers_find_items || um_builder_hashes_items(spec->builder);
        p->makes_later = (spec->makers_find_users && p->hashes_users) ||
                         (spec->makers_find_items && p->hashes_items);
    }
    p->lines = lines;
    p->first_line = 1;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    for (size_t i = 0; i < UM_PARSED_THREADS && status == UM_OK; i++) {
        filler *f = &p->fillers[i];
        f->maker = spec->makers[i];
        for (size_t k = 0; k < N_OWN; k++)
            f->batches[k].owner = f;
        for (size_t k = 0; k < N_IN_HAND && status == UM_OK; k++) {
            status = um_jsonl_new(&f->parsers[k], err);
            if (status == UM_OK)
                um_jsonl_want(f->parsers[k], spec->members, spec->n_members);
        }
    }
    if (status != UM_OK) {
        um_parsed_close(p);
        return status;
    }
    p->has_thread = start(p);
    *out = p;
    return UM_OK;
}

/* What whoever takes the rows will look up comes near some rows before. */
static void prefetch_ahead(const um_parsed *p, const batch *b, size_t row)
{
    if (row + SLOTS_AHEAD < b->rows.len)
        prefetch_slots(p, false, &b->rows.data[row + SLOTS_AHEAD].notes);
    if (row + KEYS_AHEAD < b->rows.len)
        prefetch_keys(p, false, &b->rows.data[row + KEYS_AHEAD].notes);
}

um_status um_parsed_next(um_parsed *p, um_parsed_row *row, bool *any, um_error *err)
{
    *any = false;
    while (p->current == NULL || p->row == p->current->rows.len) {
        if (p->current != NULL && p->current->is_last)
            return p->current->status == UM_OK
                       ? UM_OK
                       : um_fail(err, p->current->status, "%s", p->current->err.text);
        change_batch(p);
    }
    const batch *b = p->current;
    if (p->spec.builder != NULL)
        prefetch_ahead(p, b, p->row);
    const parsed_line *line = &b->rows.data[p->row++];
    *any = true;
    *row = (um_parsed_row){.line = p->first_line + line->line, .has_nul = line->has_nul};
    if (line->bad != NOT_BAD) {
        row->bad = b->messages.data + line->bad;
        return UM_OK;
    }
    row->made = um_str_text(&b->made) + line->made;
    if (p->spec.make == NULL || line->notes.keeps_root) {
        p->doc = document_of(&b->values, line);
        row->root = (um_jval){.document = &p->doc, .at = 1};
    }
    return UM_OK;
}

static void dispose_values(values *v)
{
    um_vec_dispose(&v->words);
    um_vec_dispose(&v->bytes);
    um_vec_dispose(&v->members);
}

static void dispose(filler *f)
{
    for (size_t i = 0; i < N_OWN; i++) {
        um_vec_dispose(&f->batches[i].rows);
        dispose_values(&f->batches[i].values);
        um_str_dispose(&f->batches[i].messages);
        um_str_dispose(&f->batches[i].made);
    }
    um_block_dispose(&f->block);
    um_str_dispose(&f->json);
    for (size_t i = 0; i < N_IN_HAND; i++)
        um_jsonl_free(f->parsers[i]);
}

void um_parsed_close(um_parsed *p)
{
    if (p == NULL)
        return;
    if (p->has_thread) {
        pthread_mutex_lock(&p->lock);
        p->is_stopped = true;
        pthread_cond_signal(&p->changed);
        pthread_mutex_unlock(&p->lock);
        pthread_join(p->thread, NULL);
    }
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    for (size_t i = 0; i < UM_PARSED_THREADS; i++)
        dispose(&p->fillers[i]);
    free(p);
}
