/*
 * log_store.c - a data set into the workspace; log_load.c reads it back.
 *
 * Users and items are rows; the interactions of one user are one packed row, so that writing a log
 * costs a row a user, not a row an interaction. Packed history, little-endian as the machine is:
 *
 *     u32 item[n]                 index of the item
 *     i64 time_s[n]
 *     for each series: f64[n], or for texts u32 length[n] (UINT32_MAX = absent) and the bytes
 *     with impressions: u32 count[n], i32 position[n], u32 item[sum of counts]
 *
 * and the lists that one user chose nothing from are one packed row of another table:
 *
 *     i64 time_s[n], u32 count[n], u32 item[sum of counts]
 *
 * The dataset row's `columns` says which series there are. An item's release (seconds) is kept in
 * its features under a name that no item feature can have, because logs give releases under it.
 */
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/canonical.h"
#include "data/dataset_memory.h"
#include "stage/session.h"

/* JSON object of one kind of columns of a row. */
static void entity_json(um_str *s, const um_table *table, uint32_t row, um_column_kind kind)
{
    bool first = s->len == 0;
    if (first)
        um_str_append(s, "{");
    for (uint32_t c = 0; c < table->n_columns; c++) {
        const char *cell = um_table_cell(table, row, (int)c);
        if (table->kinds[c] != kind || cell == NULL)
            continue;
        if (s->len > 1)
            um_str_append(s, ",");
        um_str_append_json(s, table->columns[c]);
        um_str_append(s, ":");
        if (kind == UM_COLUMN_DESCRIPTION)
            um_str_append_json(s, cell);
        else
            um_str_append(s, cell);
    }
    um_str_append(s, "}");
}

static um_status store_entities(um_workspace *ws, const um_dataset *d, bool items, um_error *err)
{
    const um_table *table = items ? &d->items : &d->users;
    um_str description = UM_STR_INIT, features = UM_STR_INIT;
    um_status status = UM_OK;

    for (uint32_t i = 0; i < table->n_rows && status == UM_OK; i++) {
        um_str_clear(&description);
        um_str_clear(&features);
        entity_json(&description, table, i, UM_COLUMN_DESCRIPTION);
        if (items && d->item_has_release[i])
            um_str_appendf(&features, "{\"" UM_CANONICAL_RELEASE "\":%lld",
                           (long long)d->item_available_s[i]);
        entity_json(&features, table, i, UM_COLUMN_FEATURE);
        if ((status = um_str_status(&description, err)) != UM_OK ||
            (status = um_str_status(&features, err)) != UM_OK)
            break;
        um_row_entity row = {i, table->ids[i], description.data, features.data};
        status =
            items ? um_workspace_put_item(ws, &row, err) : um_workspace_put_user(ws, &row, err);
    }
    um_str_dispose(&description);
    um_str_dispose(&features);
    return status;
}

/*
 * The texts of some users' interactions. They lie in the order of the log's file, and are wanted
 * user by user: so they are read for many users at once, in one sweep a block.
 */
#define BLOCK_BYTES ((uint64_t)128 << 20) /* of texts, about */
#define BLOCK_ROWS  ((uint64_t)1 << 20)
#define AHEAD       8 /* texts asked for before they are looked at */

typedef struct text_block {
    uint64_t begin, end;  /* interactions */
    UM_VEC(char *) texts; /* of all series with texts, one after another: [series][end - begin] */
    UM_VEC(size_t) place; /* of each in bytes */
    um_str bytes;
    uint64_t bytes_a_row; /* of the whole log, on average */
} text_block;

static void dispose_block(text_block *b)
{
    um_vec_dispose(&b->texts);
    um_vec_dispose(&b->place);
    um_str_dispose(&b->bytes);
}

/* Fills the block with what user u, and as many more as have room, have. */
static um_status fill_block(text_block *b, const um_dataset *d, uint32_t u, um_error *err)
{
    b->begin = b->end = d->user_start[u];
    do {
        b->end = d->user_start[++u];
    } while (u < d->users.n_rows && d->user_start[u + 1] - b->begin <= BLOCK_ROWS &&
             (d->user_start[u + 1] - b->begin) * b->bytes_a_row <= BLOCK_BYTES);
    size_t n = (size_t)(b->end - b->begin), n_texts = 0;
    b->texts.len = 0;
    um_str_clear(&b->bytes);
    for (uint32_t c = 0; c < d->n_series; c++)
        n_texts += d->series[c].numbers == NULL ? n : 0;
    if (n_texts == 0)
        return UM_OK;
    if (!um_vec_reserve(&b->texts, n_texts) || !um_vec_reserve(&b->place, n_texts))
        return um_fail_memory(err, "texts");
    for (uint32_t c = 0; c < d->n_series; c++) {
        if (d->series[c].numbers != NULL)
            continue;
        memcpy(b->texts.data + b->texts.len, d->series[c].texts + b->begin,
               n * sizeof *b->texts.data);
        b->texts.len += n;
    }
    return um_dataset_gather_texts(d, b->texts.data, n_texts, &b->bytes, b->place.data, err);
}

/* All lengths, then all bytes, of the series that is number `nth` of those with texts. */
static void pack_texts(um_str *s, const text_block *b, size_t nth, uint64_t begin, uint64_t end)
{
    const size_t *place = b->place.data + nth * (b->end - b->begin) + (begin - b->begin);
    size_t n = (size_t)(end - begin);
    for (size_t i = 0; i < n; i++) {
        uint32_t len = UINT32_MAX; /* absent */
        size_t next = place[i + AHEAD < n ? i + AHEAD : i];
        if (next != SIZE_MAX)
            __builtin_prefetch(b->bytes.data + next);
        if (place[i] != SIZE_MAX)
            len = (uint32_t)strlen(b->bytes.data + place[i]);
        um_str_append_n(s, &len, sizeof len);
    }
    for (size_t i = 0; i < n; i++) {
        if (place[i] != SIZE_MAX)
            um_str_append(s, b->bytes.data + place[i]);
    }
}

static um_status pack_history(um_str *s, const um_dataset *d, const text_block *block,
                              uint64_t begin, uint64_t end, um_error *err)
{
    size_t n = (size_t)(end - begin), n_texts = 0;
    um_str_append_n(s, d->item + begin, n * sizeof *d->item);
    um_str_append_n(s, d->time_s + begin, n * sizeof *d->time_s);
    for (uint32_t c = 0; c < d->n_series; c++) {
        const um_series *series = &d->series[c];
        if (series->numbers != NULL)
            um_str_append_n(s, series->numbers + begin, n * sizeof(double));
        else
            pack_texts(s, block, n_texts++, begin, end);
    }
    if (d->impression_start == NULL)
        return um_str_status(s, err);
    for (uint64_t i = begin; i < end; i++) {
        uint32_t count = (uint32_t)(d->impression_start[i + 1] - d->impression_start[i]);
        um_str_append_n(s, &count, sizeof count);
    }
    um_str_append_n(s, d->impression_position + begin, n * sizeof *d->impression_position);
    uint64_t first = d->impression_start[begin];
    um_str_append_n(s, d->impression_item + first,
                    (size_t)(d->impression_start[end] - first) * sizeof *d->impression_item);
    return um_str_status(s, err);
}

static um_status store_histories(um_workspace *ws, const um_dataset *d, const um_monitor *monitor,
                                 um_error *err)
{
    um_str s = UM_STR_INIT;
    text_block block = {0};
    um_status status = UM_OK;

    um_str_init(&block.bytes, SIZE_MAX / 2);
    if (d->n_interactions > 0)
        block.bytes_a_row = um_dataset_text_bytes(d) / d->n_interactions;
    for (uint32_t u = 0; u < d->users.n_rows && status == UM_OK; u++) {
        uint64_t begin = d->user_start[u], end = d->user_start[u + 1];
        if (begin == end)
            continue;
        if (begin >= block.end)
            status = fill_block(&block, d, u, err);
        um_str_clear(&s);
        if (status == UM_OK)
            status = pack_history(&s, d, &block, begin, end, err);
        um_row_history row = {u, end - begin, s.data, s.len};
        if (status == UM_OK)
            status = um_workspace_put_history(ws, &row, err);
        if (status == UM_OK && um_monitor_stopped(monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "ingest: stopped; nothing was stored");
    }
    um_str_dispose(&s);
    dispose_block(&block);
    return status;
}

static void pack_skips(um_str *s, const um_dataset *d, uint64_t begin, uint64_t end)
{
    um_str_append_n(s, d->skip_time_s + begin, (size_t)(end - begin) * sizeof *d->skip_time_s);
    for (uint64_t k = begin; k < end; k++) {
        uint32_t count = (uint32_t)(d->skip_list_start[k + 1] - d->skip_list_start[k]);
        um_str_append_n(s, &count, sizeof count);
    }
    uint64_t first = d->skip_list_start[begin];
    um_str_append_n(s, d->skip_item + first,
                    (size_t)(d->skip_list_start[end] - first) * sizeof *d->skip_item);
}

static um_status store_skips(um_workspace *ws, const um_dataset *d, um_error *err)
{
    um_str s = UM_STR_INIT;
    um_status status = UM_OK;

    for (uint32_t u = 0; d->n_skips > 0 && u < d->users.n_rows && status == UM_OK; u++) {
        uint64_t begin = d->skip_start[u], end = d->skip_start[u + 1];
        if (begin == end)
            continue;
        um_str_clear(&s);
        pack_skips(&s, d, begin, end);
        status = um_str_status(&s, err);
        um_row_history row = {u, end - begin, s.data, s.len};
        if (status == UM_OK)
            status = um_workspace_put_skips(ws, &row, err);
    }
    um_str_dispose(&s);
    return status;
}

static void append_columns(um_str *s, const um_table *table)
{
    um_str_append(s, "[");
    for (uint32_t c = 0; c < table->n_columns; c++) {
        um_str_append(s, c > 0 ? ",[" : "[");
        um_str_append_json(s, table->columns[c]);
        um_str_appendf(s, ",%d]", (int)table->kinds[c]);
    }
    um_str_append(s, "]");
}

static um_status store_dataset_row(um_workspace *ws, const um_dataset *d, const char *source,
                                   um_error *err)
{
    um_str s = UM_STR_INIT;
    um_str_append(&s, "{\"users\":");
    append_columns(&s, &d->users);
    um_str_append(&s, ",\"items\":");
    append_columns(&s, &d->items);
    um_str_append(&s, ",\"series\":[");
    for (uint32_t c = 0; c < d->n_series; c++) {
        um_str_append(&s, c > 0 ? ",[" : "[");
        um_str_append_json(&s, d->series[c].name);
        um_str_append(&s, d->series[c].numbers != NULL ? ",\"number\"]" : ",\"text\"]");
    }
    um_str_appendf(&s, "],\"impressions\":%s}", d->impression_start != NULL ? "true" : "false");
    um_status status = um_str_status(&s, err);
    um_row_dataset row = {d->name, d->users.n_rows, d->items.n_rows, d->n_interactions,
                          s.data,  source,          d->n_skips};
    if (status == UM_OK)
        status = um_workspace_set_dataset(ws, &row, err);
    um_str_dispose(&s);
    return status;
}

um_status um_log_store(um_workspace *ws, const um_dataset *d, const char *source,
                       const um_ingest_report *report, const um_monitor *monitor, um_error *err)
{
    um_status status = store_dataset_row(ws, d, source, err);
    if (status == UM_OK)
        status = store_entities(ws, d, false, err);
    if (status == UM_OK)
        status = store_entities(ws, d, true, err);
    if (status == UM_OK)
        status = store_histories(ws, d, monitor, err);
    if (status == UM_OK)
        status = store_skips(ws, d, err);
    for (size_t i = 0; i < report->n_files && status == UM_OK; i++) {
        const um_ingest_file *f = &report->files[i];
        um_row_file row = {f->name, f->rows_read, f->rows_kept, f->rows_rejected, f->bytes};
        status = um_workspace_put_file(ws, &row, err);
    }
    return status;
}
