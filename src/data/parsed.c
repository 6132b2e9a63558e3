/*
 * parsed.c - parsing ahead. Batches go round in a ring: the thread fills those that are free, the
 * reader empties them in the same order. A batch owns a copy of what was parsed, so that the parser
 * and the line buffer belong to the thread alone.
 */
#include "data/parsed.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "data/objects.h"

#define N_BATCHES   4
#define BATCH_ROWS  2048
#define BATCH_BYTES ((size_t)512 << 10) /* of parsed values: about one second-level cache */

/* Rows ahead; some hundred nanoseconds each. */
#define SLOTS_AHEAD 12
#define KEYS_AHEAD  6

typedef struct parsed_line {
    uint64_t line;
    size_t words, bytes;           /* places in the batch */
    size_t bad;                    /* place in messages, SIZE_MAX: good */
    uint64_t user, item;           /* hashes of their ids, 0 = unknown */
    size_t text_end[UM_ROW_TEXTS]; /* places in texts; each begins where the one before ends */
    bool has_nul;
} parsed_line;

typedef struct batch {
    UM_VEC(parsed_line) rows;
    UM_VEC(uint64_t) words;
    UM_VEC(char) bytes;
    um_str messages;
    um_str texts;
    bool is_last; /* the file ends after it, or reading failed */
    um_status status;
    um_error err;
} batch;

struct um_parsed {
    um_parsed_spec spec;
    um_jkey keys[2 + UM_ROW_TEXTS]; /* of the spec: user, item, texts */
    bool picks;                     /* any of them has a name */
    um_lines *lines;
    um_jsonl *parser;
    um_str json; /* a line that was not JSON */
    um_str text; /* one of a row, before it is JSON */
    batch batches[N_BATCHES];
    batch *current; /* being emptied; NULL: none yet */
    size_t row;     /* next one of it */
    um_jdoc doc;
    pthread_t thread;
    bool has_thread; /* else batches are filled when they are asked for */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: batches filled and emptied so far, and whether to give up. */
    size_t n_filled, n_emptied;
    bool is_stopped;
};

static um_status add_bad(const um_parsed *p, batch *b, const um_line *line, const char *why,
                         um_error *err)
{
    parsed_line row = {.line = p->lines->line, .bad = b->messages.len};
    for (size_t i = 0; i < UM_ROW_TEXTS; i++)
        row.text_end[i] = b->texts.len;
    um_str_appendf(&b->messages, "not one whole %s: %s%s", p->spec.noun, why,
                   line->is_whole ? "" : " (the last line has no end: file cut short?)");
    um_str_append_char(&b->messages, '\0');
    return um_vec_push(&b->rows, row) ? um_str_status(&b->messages, err)
                                      : um_fail_memory(err, "rows");
}

static uint64_t hash_id(um_jval id)
{
    const char *text = NULL;
    size_t len = 0;
    return um_jval_str(id, &text, &len) ? um_map_hash(text, len) : 0;
}

/* Members that are looked at before the row is given. */
enum { USER, ITEM, TEXTS, N_PICKED = TEXTS + UM_ROW_TEXTS };

static um_status add_texts(um_parsed *p, batch *b, const um_jval *texts, size_t end[UM_ROW_TEXTS],
                           um_error *err)
{
    um_status status = UM_OK;
    for (size_t i = 0; i < UM_ROW_TEXTS && status == UM_OK; i++) {
        um_str_clear(&p->text);
        if (um_value_text(texts[i], " ", &p->text))
            um_str_append_json_n(&b->texts, p->text.data, p->text.len);
        end[i] = b->texts.len;
        status = um_str_status(&p->text, err);
    }
    return status == UM_OK ? um_str_status(&b->texts, err) : status;
}

static um_status add_good(um_parsed *p, batch *b, um_jval root, um_error *err)
{
    const um_jdoc *d = root.document;
    parsed_line row = {.line = p->lines->line,
                       .words = b->words.len,
                       .bytes = b->bytes.len,
                       .bad = SIZE_MAX,
                       .has_nul = um_jsonl_has_nul(p->parser)};
    if (p->picks) {
        um_jval found[N_PICKED];
        um_jval_pick(root, p->keys, N_PICKED, found);
        row.user = hash_id(found[USER]);
        row.item = hash_id(found[ITEM]);
        um_status status = add_texts(p, b, found + TEXTS, row.text_end, err);
        if (status != UM_OK)
            return status;
    }
    if (!um_vec_reserve(&b->words, b->words.len + d->n_words) ||
        !um_vec_reserve(&b->bytes, b->bytes.len + d->n_bytes) || !um_vec_push(&b->rows, row))
        return um_fail_memory(err, "rows");
    memcpy(b->words.data + b->words.len, d->tape, d->n_words * sizeof *d->tape);
    if (d->n_bytes > 0)
        memcpy(b->bytes.data + b->bytes.len, d->strings, d->n_bytes);
    b->words.len += d->n_words;
    b->bytes.len += d->n_bytes;
    return UM_OK;
}

/* Parses a line, or what it is turned into; UM_ERR_INPUT with the reason when it is bad. */
static um_status parse(um_parsed *p, const um_line *line, um_jval *root, um_error *why)
{
    um_status status = UM_ERR_INPUT;
    if (p->spec.is_other == NULL || !p->spec.is_other(line->text, line->len))
        status = um_jsonl_parse(p->parser, line->text, line->len, root, why);
    if (status != UM_ERR_INPUT || p->spec.to_json == NULL)
        return status;
    um_str_clear(&p->json);
    status = p->spec.to_json(&p->json, line->text, line->len, why);
    if (status == UM_OK)
        status = um_jsonl_parse(p->parser, um_str_text(&p->json), p->json.len, root, why);
    return status;
}

static um_status add_line(um_parsed *p, batch *b, const um_line *line, um_error *err)
{
    um_jval root;
    um_error why;
    bool ascii = true;
    if (line->is_long)
        return add_bad(p, b, line, "line longer than the limit of 16 MiB", err);
    um_status status = parse(p, line, &root, &why);
    if (status == UM_OK)
        return add_good(p, b, root, err);
    if (status == UM_ERR_MEMORY)
        return um_fail_memory(err, "a row");
    bool has_nul = um_line_has_nul(line->text, line->len, &ascii);
    return add_bad(p, b, line, has_nul ? "NUL byte in the line" : why.text, err);
}

static void fill(um_parsed *p, batch *b)
{
    um_line line;
    b->rows.len = b->words.len = b->bytes.len = 0;
    um_str_clear(&b->messages);
    um_str_clear(&b->texts);
    b->status = UM_OK;
    b->is_last = false;
    while (b->status == UM_OK && b->rows.len < BATCH_ROWS &&
           b->words.len * sizeof *b->words.data + b->bytes.len + b->texts.len < BATCH_BYTES) {
        b->status = um_lines_next(p->lines, &line, &b->err);
        if (b->status != UM_OK)
            break;
        b->is_last = line.text == NULL;
        if (b->is_last)
            return;
        if (line.len > 0 || line.is_long)
            b->status = add_line(p, b, &line, &b->err);
    }
    b->is_last = b->status != UM_OK;
}

static void *run(void *context)
{
    um_parsed *p = context;
    bool is_last = false;
    while (!is_last) {
        pthread_mutex_lock(&p->lock);
        while (p->n_filled - p->n_emptied == N_BATCHES && !p->is_stopped)
            pthread_cond_wait(&p->changed, &p->lock);
        bool is_stopped = p->is_stopped;
        batch *b = &p->batches[p->n_filled % N_BATCHES];
        pthread_mutex_unlock(&p->lock);
        if (is_stopped)
            return NULL;
        fill(p, b);
        is_last = b->is_last;
        pthread_mutex_lock(&p->lock);
        p->n_filled++;
        pthread_cond_signal(&p->changed);
        pthread_mutex_unlock(&p->lock);
    }
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

um_status um_parsed_open(um_parsed **out, const um_parsed_spec *spec, um_lines *lines,
                         um_error *err)
{
    um_parsed *p = um_calloc(1, sizeof *p);
    if (p == NULL)
        return um_fail_memory(err, "a JSON reader");
    um_status status = um_jsonl_new(&p->parser, err);
    if (status != UM_OK) {
        free(p);
        return status;
    }
    p->spec = *spec;
    p->keys[USER] = spec->user;
    p->keys[ITEM] = spec->item;
    memcpy(p->keys + TEXTS, spec->texts, sizeof spec->texts);
    for (size_t i = 0; i < N_PICKED; i++)
        p->picks = p->picks || p->keys[i].name != NULL;
    p->lines = lines;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    p->has_thread = start(p);
    *out = p;
    return UM_OK;
}

/* The batch in hand goes back, the next one comes. */
static void change_batch(um_parsed *p)
{
    if (!p->has_thread) {
        p->current = &p->batches[0];
        fill(p, p->current);
    } else {
        pthread_mutex_lock(&p->lock);
        if (p->current != NULL) {
            p->n_emptied++;
            pthread_cond_signal(&p->changed);
        }
        while (p->n_filled == p->n_emptied)
            pthread_cond_wait(&p->changed, &p->lock);
        p->current = &p->batches[p->n_emptied % N_BATCHES];
        pthread_mutex_unlock(&p->lock);
    }
    p->row = 0;
}

static void prefetch(const um_parsed *p)
{
    const batch *b = p->current;
    if (p->row + SLOTS_AHEAD < b->rows.len) {
        const parsed_line *row = &b->rows.data[p->row + SLOTS_AHEAD];
        um_builder_prefetch_slots(p->spec.builder, row->user, row->item);
    }
    if (p->row + KEYS_AHEAD < b->rows.len) {
        const parsed_line *row = &b->rows.data[p->row + KEYS_AHEAD];
        um_builder_prefetch_keys(p->spec.builder, row->user, row->item);
    }
}

/* The texts of a row; its first begins where the last of the row before ends. */
static void take_texts(const batch *b, size_t row, um_row_text texts[UM_ROW_TEXTS])
{
    size_t begin = row > 0 ? b->rows.data[row - 1].text_end[UM_ROW_TEXTS - 1] : 0;
    for (size_t i = 0; i < UM_ROW_TEXTS; i++) {
        size_t end = b->rows.data[row].text_end[i];
        texts[i] = (um_row_text){.json = um_str_text(&b->texts) + begin, .len = end - begin};
        begin = end;
    }
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
    if (p->spec.builder != NULL)
        prefetch(p);
    const batch *b = p->current;
    const parsed_line *line = &b->rows.data[p->row++];
    *any = true;
    *row = (um_parsed_row){.line = line->line, .has_nul = line->has_nul};
    if (line->bad != SIZE_MAX) {
        row->bad = b->messages.data + line->bad;
    } else {
        p->doc.tape = b->words.data + line->words;
        p->doc.strings = b->bytes.data != NULL ? b->bytes.data + line->bytes : NULL;
        row->root = (um_jval){.document = &p->doc, .at = 1};
        take_texts(b, p->row - 1, row->texts);
    }
    return UM_OK;
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
    for (size_t i = 0; i < N_BATCHES; i++) {
        um_vec_dispose(&p->batches[i].rows);
        um_vec_dispose(&p->batches[i].words);
        um_vec_dispose(&p->batches[i].bytes);
        um_str_dispose(&p->batches[i].messages);
        um_str_dispose(&p->batches[i].texts);
    }
    um_str_dispose(&p->json);
    um_str_dispose(&p->text);
    um_jsonl_free(p->parser);
    free(p);
}
