/* embed.c - texts to rows of floats. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "remote/run.h"

#define MAX_DIMS ((uint32_t)1 << 20)

typedef struct embedding {
    um_task task; /* first */
    const char *const *texts;
    size_t n;
    uint32_t dims; /* asked for */
    um_remote_rows rows;
    size_t at;         /* where next() stands */
    uint32_t *missing; /* [n] texts that are asked for, in order; a flight is a run of them */
    size_t n_missing;
} embedding;

static um_remote_key key_of(um_task *self, const um_flight *f, uint32_t i)
{
    embedding *e = (embedding *)self;
    return um_text_key(self->remote, e->texts[e->missing[f->unit + i]], e->dims);
}

static um_status next(um_task *self, um_flight *f, um_next *what, um_error *err)
{
    embedding *e = (embedding *)self;
    f->unit = e->n_missing;
    for (; e->at < e->n && f->count < self->remote->options.embed_batch; e->at++) {
        bool stored;
        e->missing[e->n_missing] = (uint32_t)e->at;
        um_status status = um_run_replay(self, um_text_key(self->remote, e->texts[e->at], e->dims),
                                         e->n_missing, 0, &stored, err);
        if (status != UM_OK)
            return status;
        if (stored)
            continue;
        e->n_missing++;
        f->count++;
    }
    if (f->count > 0)
        f->key = key_of(self, f, 0);
    *what = f->count > 0 ? UM_NEXT_FLIGHT : UM_NEXT_END;
    return UM_OK;
}

static um_status write_body(um_task *self, const um_flight *f, um_str *body, um_error *err)
{
    embedding *e = (embedding *)self;
    const char *texts[UM_MAX_GROUP];
    (void)err;
    for (uint32_t i = 0; i < f->asked; i++)
        texts[i] = e->texts[e->missing[f->unit + f->from + i]];
    um_wire_write_texts(body, f->at, texts, f->asked, e->dims);
    return UM_OK;
}

static uint64_t bytes_of(um_task *self, const um_flight *f)
{
    embedding *e = (embedding *)self;
    uint64_t bytes = 0;
    for (uint32_t i = f->from; i < f->from + f->asked; i++)
        bytes += strlen(e->texts[e->missing[f->unit + i]]);
    return bytes;
}

static um_status deliver(um_task *self, uint64_t unit, uint32_t number, um_answer *a, um_error *err)
{
    embedding *e = (embedding *)self;
    um_remote_rows *rows = &e->rows;
    size_t text = e->missing[unit + number], size;
    if (a->row == NULL)
        return um_fail(err, UM_ERR_INPUT, "stored answer: it is no row");
    if (rows->data == NULL) {
        rows->dim = e->dims > 0 ? e->dims : a->dim;
        if (um_mul_overflows(rows->n, rows->dim, &size) ||
            (rows->data = um_calloc(size, sizeof *rows->data)) == NULL)
            return um_fail_memory(err, "embeddings");
    }
    if (a->dim != rows->dim) {
        char why[128];
        um_error text_of;
        um_fail(&text_of, UM_ERR_REMOTE, "its row has %u numbers, the others have %u", a->dim,
                rows->dim);
        memcpy(why, text_of.text, sizeof why - 1);
        why[sizeof why - 1] = '\0';
        return um_remote_note_failure(self->remote,
                                      um_text_key(self->remote, e->texts[text], e->dims), 0,
                                      (uint32_t)text, 200, why, err);
    }
    memcpy(rows->data + text * rows->dim, a->row, rows->dim * sizeof *a->row);
    rows->absent[text] = 0;
    return UM_OK;
}

static um_status fail_text(um_task *self, uint64_t unit, uint32_t number, um_error *err)
{
    (void)self;
    (void)unit;
    (void)number;
    (void)err;
    return UM_OK;
}

void um_remote_rows_dispose(um_remote_rows *rows)
{
    free(rows->data);
    free(rows->absent);
    *rows = (um_remote_rows){0};
}

um_status um_remote_embed(um_remote_rows *out, um_remote *remote, const char *const *texts,
                          size_t n, uint32_t dims, const um_remote_journal *journal,
                          const um_monitor *monitor, um_error *err)
{
    embedding e = {.task = {.remote = remote,
                            .journal = journal,
                            .stage = "embed",
                            .total = n,
                            .embeddings = true,
                            .next = next,
                            .key = key_of,
                            .write = write_body,
                            .bytes = bytes_of,
                            .deliver = deliver,
                            .fail = fail_text},
                   .texts = texts,
                   .n = n,
                   .dims = dims,
                   .rows = {.n = n}};
    um_status status = UM_OK;
    if (dims > MAX_DIMS || n > UINT32_MAX)
        return um_fail(err, UM_ERR_INPUT, "embed: found %u dimensions of %zu texts, limits %u, %u",
                       dims, n, MAX_DIMS, UINT32_MAX);
    for (size_t i = 0; i < n; i++) {
        if (texts[i][0] == '\0')
            return um_fail(err, UM_ERR_INPUT, "embed: text %zu is empty", i);
    }
    e.missing = um_calloc(n + 1, sizeof *e.missing);
    e.rows.absent = um_calloc(n, 1);
    if (e.missing == NULL || e.rows.absent == NULL)
        status = um_fail_memory(err, "embeddings");
    else
        memset(e.rows.absent, 1, n);
    if (status == UM_OK && n > 0)
        status = um_run_task(&e.task, monitor, err);
    free(e.missing);
    if (status != UM_OK) {
        um_remote_rows_dispose(&e.rows);
        return status;
    }
    *out = e.rows;
    return UM_OK;
}
