/* The log itself: meta, dataset, users, items, histories, input files, rejections. */
#include "base/error.h"
#include "store/sql.h"

um_status um_workspace_set_meta(um_workspace *ws, const char *key, const char *value, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_META);
    um_bind_text(&q, key);
    um_bind_text(&q, value);
    return um_query_run(&q, err);
}

um_status um_workspace_get_meta(const char **value, um_workspace *ws, const char *key,
                                um_error *err)
{
    um_arena *arena = &ws->lent[UM_LENT_META];
    const char *found = NULL;
    bool failed = false;
    um_query q;
    um_arena_reset(arena);
    um_query_begin(&q, ws, "SELECT value FROM meta WHERE key = ?");
    um_bind_text(&q, key);
    if (um_query_next(&q))
        found = um_lend_text(arena, um_take_text(&q), &failed);
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && failed)
        status = um_fail_memory(err, key);
    if (status == UM_OK)
        *value = found;
    return status;
}

um_status um_workspace_set_dataset(um_workspace *ws, const um_row_dataset *row, um_error *err)
{
    um_query q;
    um_query_begin(&q, ws,
                   "INSERT OR REPLACE INTO dataset(id, name, n_users, n_items, n_interactions,"
                   " columns, source, n_skips) VALUES(1, ?, ?, ?, ?, ?, ?, ?)");
    um_bind_text(&q, row->name);
    um_bind_u64(&q, row->n_users);
    um_bind_u64(&q, row->n_items);
    um_bind_u64(&q, row->n_interactions);
    um_bind_text(&q, row->columns);
    um_bind_text(&q, row->source);
    um_bind_u64(&q, row->n_skips);
    return um_query_run(&q, err);
}

um_status um_workspace_get_dataset(um_row_dataset *row, um_workspace *ws, um_error *err)
{
    um_arena *arena = &ws->lent[UM_LENT_DATASET];
    um_row_dataset found = {0};
    bool failed = false, exists = false;
    um_query q;
    um_arena_reset(arena);
    um_query_begin(&q, ws,
                   "SELECT name, n_users, n_items, n_interactions, columns, source, n_skips"
                   " FROM dataset");
    if (um_query_next(&q)) {
        exists = true;
        found.name = um_lend_text(arena, um_take_text(&q), &failed);
        found.n_users = um_take_u64(&q);
        found.n_items = um_take_u64(&q);
        found.n_interactions = um_take_u64(&q);
        found.columns = um_lend_text(arena, um_take_text(&q), &failed);
        found.source = um_lend_text(arena, um_take_text(&q), &failed);
        found.n_skips = um_take_u64(&q);
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && failed)
        status = um_fail_memory(err, "the data set row");
    if (status == UM_OK && !exists)
        status =
            um_fail(err, UM_ERR_NOT_FOUND, "%s: holds no log yet; ingest one first", ws->db_path);
    if (status == UM_OK)
        *row = found;
    return status;
}

static um_status put_entity(um_workspace *ws, enum um_put which, const um_row_entity *row,
                            um_error *err)
{
    um_query q;
    um_query_put(&q, ws, which);
    um_bind_u64(&q, row->id);
    um_bind_text(&q, row->external_id);
    um_bind_text(&q, row->description);
    um_bind_text(&q, row->features);
    return um_query_run(&q, err);
}

um_status um_workspace_put_user(um_workspace *ws, const um_row_entity *row, um_error *err)
{
    return put_entity(ws, UM_PUT_USER, row, err);
}

um_status um_workspace_put_item(um_workspace *ws, const um_row_entity *row, um_error *err)
{
    return put_entity(ws, UM_PUT_ITEM, row, err);
}

static um_status entities(um_workspace *ws, const char *sql, um_on_entity on_row, void *context,
                          um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws, sql);
    while (status == UM_OK && um_query_next(&q)) {
        um_row_entity row;
        row.id = um_take_u64(&q);
        row.external_id = um_take_text(&q);
        row.description = um_take_text(&q);
        row.features = um_take_text(&q);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_users(um_workspace *ws, um_on_entity on_row, void *context, um_error *err)
{
    return entities(ws, "SELECT id, external_id, description, features FROM users ORDER BY id",
                    on_row, context, err);
}

um_status um_workspace_items(um_workspace *ws, um_on_entity on_row, void *context, um_error *err)
{
    return entities(ws, "SELECT id, external_id, description, features FROM items ORDER BY id",
                    on_row, context, err);
}

static um_status put_packed(um_workspace *ws, enum um_put which, const um_row_history *row,
                            um_error *err)
{
    um_query q;
    um_query_put(&q, ws, which);
    um_bind_u64(&q, row->user_id);
    um_bind_u64(&q, row->n);
    um_bind_blob(&q, row->bytes > 0 ? row->data : "", row->bytes);
    return um_query_run(&q, err);
}

um_status um_workspace_put_history(um_workspace *ws, const um_row_history *row, um_error *err)
{
    return put_packed(ws, UM_PUT_HISTORY, row, err);
}

um_status um_workspace_put_skips(um_workspace *ws, const um_row_history *row, um_error *err)
{
    return put_packed(ws, UM_PUT_SKIPS, row, err);
}

static um_status packed_rows(um_workspace *ws, const char *sql, um_on_history on_row, void *context,
                             um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws, sql);
    while (status == UM_OK && um_query_next(&q)) {
        um_row_history row;
        row.user_id = um_take_u64(&q);
        row.n = um_take_u64(&q);
        row.data = um_take_blob(&q, &row.bytes);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_histories(um_workspace *ws, um_on_history on_row, void *context,
                                 um_error *err)
{
    return packed_rows(ws, "SELECT user_id, n, data FROM histories ORDER BY user_id", on_row,
                       context, err);
}

um_status um_workspace_skips(um_workspace *ws, um_on_history on_row, void *context, um_error *err)
{
    return packed_rows(ws, "SELECT user_id, n, data FROM skips ORDER BY user_id", on_row, context,
                       err);
}

um_status um_workspace_log_bytes(uint64_t *histories, uint64_t *skips, um_workspace *ws,
                                 um_error *err)
{
    uint64_t found[2] = {0, 0};
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT (SELECT coalesce(sum(length(data)), 0) FROM histories),"
                   " (SELECT coalesce(sum(length(data)), 0) FROM skips)");
    if (um_query_next(&q)) {
        found[0] = um_take_u64(&q);
        found[1] = um_take_u64(&q);
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK) {
        *histories = found[0];
        *skips = found[1];
    }
    return status;
}

um_status um_workspace_put_file(um_workspace *ws, const um_row_file *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_FILE);
    um_bind_text(&q, row->file);
    um_bind_u64(&q, row->rows_read);
    um_bind_u64(&q, row->rows_kept);
    um_bind_u64(&q, row->rows_rejected);
    um_bind_u64(&q, row->bytes);
    return um_query_run(&q, err);
}

um_status um_workspace_files(um_workspace *ws, um_on_file on_row, void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(
        &q, ws, "SELECT file, rows_read, rows_kept, rows_rejected, bytes FROM files ORDER BY id");
    while (status == UM_OK && um_query_next(&q)) {
        um_row_file row;
        row.file = um_take_text(&q);
        row.rows_read = um_take_u64(&q);
        row.rows_kept = um_take_u64(&q);
        row.rows_rejected = um_take_u64(&q);
        row.bytes = um_take_u64(&q);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}

um_status um_workspace_put_rejection(um_workspace *ws, const um_row_rejection *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_REJECTION);
    um_bind_text(&q, row->file);
    um_bind_u64(&q, row->line);
    um_bind_text(&q, row->reason);
    return um_query_run(&q, err);
}

um_status um_workspace_rejections(um_workspace *ws, um_on_rejection on_row, void *context,
                                  um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws, "SELECT file, line, reason FROM rejections ORDER BY id");
    while (status == UM_OK && um_query_next(&q)) {
        um_row_rejection row;
        row.file = um_take_text(&q);
        row.line = um_take_u64(&q);
        row.reason = um_take_text(&q);
        if (!um_row_is_good(&q))
            break;
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}
