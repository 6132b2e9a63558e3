/* What remote endpoints were asked for: the journal of um_remote (mirrorer/remote.h). */
#include <string.h>

#include "base/error.h"
#include "store/sql.h"

static void bind_request(um_query *q, const um_row_request *row)
{
    um_bind_blob(q, row->key, sizeof row->key);
    um_bind_text(q, row->stage);
    um_bind_u64(q, row->prompt);
    um_bind_u64(q, row->sample);
    um_bind_text(q, row->status);
    um_bind_text(q, row->answer);
    um_bind_u64(q, row->prompt_tokens);
    um_bind_u64(q, row->completion_tokens);
    um_bind_f64(q, row->cost);
    um_bind_i64(q, row->http_status);
    um_bind_text(q, row->reason);
}

um_status um_workspace_put_request(um_workspace *ws, const um_row_request *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_REQUEST);
    bind_request(&q, row);
    return um_query_run(&q, err);
}

um_status um_workspace_merge_request(um_workspace *ws, const um_row_request *row, um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_MERGED_REQUEST);
    bind_request(&q, row);
    um_bind_u64(&q, row->times);
    return um_query_run(&q, err);
}

um_status um_workspace_forget_requests(um_workspace *ws, const char *stage, um_error *err)
{
    static const char *const statements[] = {UM_SUM_REQUESTS("stage = ?1"),
                                             UM_DELETE_REQUESTS("stage = ?1")};
    um_status status = UM_OK;
    for (size_t i = 0; i < 2 && status == UM_OK; i++) {
        um_query q;
        um_query_begin(&q, ws, statements[i]);
        um_bind_text(&q, stage);
        status = um_query_run(&q, err);
    }
    return status;
}

um_status um_workspace_drop_request(um_workspace *ws, const unsigned char key[16], um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_NO_REQUEST);
    um_bind_blob(&q, key, 16);
    um_status status = um_query_run(&q, err);
    if (status != UM_OK)
        return status;
    um_query_put(&q, ws, UM_PUT_FEWER_TIMES);
    um_bind_blob(&q, key, 16);
    return um_query_run(&q, err);
}

um_status um_workspace_is_answered(bool *answered, um_workspace *ws, const unsigned char key[16],
                                   um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_GET_ANSWERED);
    um_bind_blob(&q, key, 16);
    *answered = um_query_next(&q);
    return um_query_end(&q, err);
}

um_status um_workspace_get_answer(const char **answer, um_workspace *ws,
                                  const unsigned char key[16], um_error *err)
{
    um_arena *arena = &ws->lent[UM_LENT_ANSWER];
    bool failed = false;
    um_query q;

    *answer = NULL;
    um_arena_reset(arena);
    um_query_put(&q, ws, UM_GET_ANSWER);
    um_bind_blob(&q, key, 16);
    if (um_query_next(&q))
        *answer = um_lend_text(arena, um_take_text(&q), &failed);
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && failed)
        status = um_fail_memory(err, "answer");
    return status;
}

um_status um_workspace_settle_requests(um_workspace *ws, const char *stage, uint64_t prompt,
                                       um_error *err)
{
    um_query q;
    um_query_put(&q, ws, UM_PUT_SETTLED);
    um_bind_text(&q, stage);
    um_bind_u64(&q, prompt);
    return um_query_run(&q, err);
}

um_status um_workspace_request_totals(um_request_totals *totals, um_workspace *ws,
                                      const char *stage, um_error *err)
{
    um_request_totals t = {0};
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT coalesce(sum(status = 'answered'), 0),"
                   " coalesce(sum(status = 'intended'), 0), coalesce(sum(status = 'failed'), 0),"
                   " coalesce(sum(times > 1), 0), coalesce(sum(prompt_tokens), 0),"
                   " coalesce(sum(completion_tokens), 0), coalesce(sum(cost), 0.0)"
                   " FROM requests WHERE ?1 IS NULL OR stage = ?1");
    um_bind_text(&q, stage);
    if (um_query_next(&q)) {
        t.answered = um_take_u64(&q);
        t.open = um_take_u64(&q);
        t.failed = um_take_u64(&q);
        t.twice = um_take_u64(&q);
        t.prompt_tokens = um_take_u64(&q);
        t.completion_tokens = um_take_u64(&q);
        t.cost = um_take_f64(&q);
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK)
        *totals = t;
    return status;
}

um_status um_workspace_requests(um_workspace *ws, const char *stage, const char *status_name,
                                um_on_request on_row, void *context, um_error *err)
{
    um_status status = UM_OK;
    um_query q;
    um_query_begin(&q, ws,
                   "SELECT key, stage, prompt, sample, status, answer, prompt_tokens,"
                   " completion_tokens, cost, http_status, reason, times FROM requests"
                   " WHERE (?1 IS NULL OR stage = ?1)"
                   " AND (?2 IS NULL OR status = ?2 OR (?2 = 'twice' AND times > 1))"
                   " ORDER BY stage, prompt, sample");
    um_bind_text(&q, stage);
    um_bind_text(&q, status_name);
    while (status == UM_OK && um_query_next(&q)) {
        um_row_request row = {0};
        size_t n = 0;
        const void *key = um_take_blob(&q, &n);
        row.stage = um_take_text(&q);
        row.prompt = um_take_u64(&q);
        row.sample = um_take_u32(&q);
        row.status = um_take_text(&q);
        row.answer = um_take_text(&q);
        row.prompt_tokens = um_take_u64(&q);
        row.completion_tokens = um_take_u64(&q);
        row.cost = um_take_f64(&q);
        row.http_status = (int)um_take_i64(&q);
        row.reason = um_take_text(&q);
        row.times = um_take_u32(&q);
        if (!um_row_is_good(&q))
            break;
        if (n == sizeof row.key)
            memcpy(row.key, key, n);
        status = on_row(context, &row, err);
    }
    return um_query_close(&q, status, err);
}
