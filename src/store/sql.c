#include "store/sql.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

static const char *const put_sql[UM_PUT_COUNT] = {
    [UM_PUT_META] = "INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)",
    [UM_PUT_USER] = "INSERT INTO users(id, external_id, description, features) VALUES(?, ?, ?, ?)",
    [UM_PUT_ITEM] = "INSERT INTO items(id, external_id, description, features) VALUES(?, ?, ?, ?)",
    [UM_PUT_HISTORY] = "INSERT INTO histories(user_id, n, data) VALUES(?, ?, ?)",
    [UM_PUT_SKIPS] = "INSERT INTO skips(user_id, n, data) VALUES(?, ?, ?)",
    [UM_PUT_FILE] = "INSERT INTO files(file, rows_read, rows_kept, rows_rejected, bytes)"
                    " VALUES(?, ?, ?, ?, ?)",
    [UM_PUT_REJECTION] = "INSERT INTO rejections(file, line, reason) VALUES(?, ?, ?)",
    [UM_PUT_SCENE] = "INSERT INTO scenes(id, split, dataset, user, user_id, item_id, order_id,"
                     " timestamp, item_pos, choice_cnt, impression_list, text, truth, flags, data)"
                     " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [UM_PUT_DECISION] = "INSERT INTO decisions(id, scene_id, model_id, role, sample, text, finish,"
                        " tokens, form_error, said) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [UM_PUT_DISTRIBUTION] = "INSERT INTO distributions(decision_id, predictor_id, k, p)"
                            " VALUES(?, ?, ?, ?)",
    [UM_PUT_DIRECT] = "INSERT INTO direct_distributions(scene_id, predictor_id, k, p)"
                      " VALUES(?, ?, ?, ?)",
    [UM_PUT_SCORE] = "INSERT OR REPLACE INTO scene_scores(scene_id,"
                     " teacher_total, teacher_model, teacher_data, teacher_log_loss,"
                     " teacher_hit_rate, student_total, student_model, student_data,"
                     " student_log_loss, student_hit_rate, gap, total_gap, data_gap, kept, reason,"
                     " score) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [UM_PUT_KEPT] = "UPDATE scene_scores SET kept = 1, reason = ? WHERE scene_id = ?",
    [UM_PUT_DECISION_SCORE] = "INSERT OR REPLACE INTO decision_scores(decision_id, entropy,"
                              " log_loss, behavior, preferred, fault) VALUES(?, ?, ?, ?, ?, ?)",
    [UM_PUT_DIFFICULTY] = "INSERT OR REPLACE INTO difficulties(scene_id, decision_id, tokens,"
                          " logp_with, logp_without) VALUES(?, ?, ?, ?, ?)",
    [UM_PUT_PAIR] = "INSERT INTO pairs(id, scene_id, chosen_decision, rejected_decision,"
                    " chosen_letter, rejected_letter, rank) VALUES(?, ?, ?, ?, ?, ?, ?)",
    [UM_PUT_EVALUATION] = "INSERT INTO evaluations(scene_id, row_name, k, p, repeats)"
                          " VALUES(?, ?, ?, ?, ?)",
    [UM_PUT_STAGE] = "INSERT INTO stages(name, parameters, fingerprint, status, items_done,"
                     " items_total, seconds, peak_rss_kb, detail, updated)"
                     " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(name) DO UPDATE SET"
                     " parameters = excluded.parameters, fingerprint = excluded.fingerprint,"
                     " status = excluded.status, items_done = excluded.items_done,"
                     " items_total = excluded.items_total, seconds = excluded.seconds,"
                     " peak_rss_kb = excluded.peak_rss_kb, detail = excluded.detail,"
                     " updated = excluded.updated",
    [UM_PUT_METRIC] = "INSERT OR REPLACE INTO metrics(stage, step, \"values\") VALUES(?, ?, ?)",
    [UM_PUT_REQUEST] =
        "INSERT INTO requests(key, stage, prompt, sample, status, answer, prompt_tokens,"
        " completion_tokens, cost, http_status, reason, times)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?5 = 'intended')"
        " ON CONFLICT(key) DO UPDATE SET status = excluded.status, answer = excluded.answer,"
        " prompt_tokens = prompt_tokens + excluded.prompt_tokens,"
        " completion_tokens = completion_tokens + excluded.completion_tokens,"
        " cost = cost + excluded.cost, http_status = excluded.http_status,"
        " reason = excluded.reason,"
        " times = times + (status = 'intended' AND excluded.status = 'intended')",
    [UM_PUT_NO_REQUEST] = "DELETE FROM requests WHERE key = ? AND times <= 1",
    [UM_PUT_FEWER_TIMES] = "UPDATE requests SET times = times - 1 WHERE key = ?",
    [UM_PUT_MERGED_REQUEST] =
        "INSERT INTO requests(key, stage, prompt, sample, status, answer, prompt_tokens,"
        " completion_tokens, cost, http_status, reason, times)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
        " ON CONFLICT(key) DO UPDATE SET"
        " status = iif(status = 'answered', status, excluded.status),"
        " answer = iif(status = 'answered', answer, excluded.answer),"
        " http_status = iif(status = 'answered', http_status, excluded.http_status),"
        " reason = iif(status = 'answered', reason, excluded.reason),"
        " prompt_tokens = max(prompt_tokens, excluded.prompt_tokens),"
        " completion_tokens = max(completion_tokens, excluded.completion_tokens),"
        " cost = max(cost, excluded.cost), times = max(times, excluded.times)",
    [UM_PUT_SETTLED] = "UPDATE requests SET answer = NULL WHERE stage = ? AND prompt = ?",
    [UM_GET_ANSWER] = "SELECT answer FROM requests WHERE key = ? AND answer IS NOT NULL",
    [UM_GET_ANSWERED] = "SELECT 1 FROM requests WHERE key = ? AND status = 'answered'",
};

static bool is_full(int code, int os_error)
{
    return (code & 0xff) == SQLITE_FULL ||
           ((code & 0xff) == SQLITE_IOERR &&
            (os_error == ENOSPC || os_error == EDQUOT || os_error == EFBIG));
}

um_status um_sql_fail(um_workspace *ws, int code, um_error *err)
{
    const char *path = ws->db_path;
    const char *message = ws->db != NULL ? sqlite3_errmsg(ws->db) : sqlite3_errstr(code);
    int os_error = ws->db != NULL ? sqlite3_system_errno(ws->db) : errno;
    if (is_full(code, os_error))
        return um_fail(err, UM_ERR_IO,
                       "%s: disk is full; free space and run the same command again", path);
    char buffer[128];
    const char *reason =
        os_error != 0 ? strerror_r(os_error, buffer, sizeof buffer) : "no reason given";
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return um_fail_memory(err, path);
    case SQLITE_NOTADB:
        return um_fail(err, UM_ERR_INPUT, "%s: not a workspace database (%s)", path, message);
    case SQLITE_CORRUPT:
        ws->broken = true;
        return um_fail(
            err, UM_ERR_INPUT,
            "%s: the database is damaged (%s); restore a copy or build the workspace again", path,
            message);
    case SQLITE_IOERR:
        ws->broken = true;
        return um_fail(err, UM_ERR_IO, "%s: %s: %s", path, message, reason);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        return um_fail(err, UM_ERR_IO, "%s: %s: %s", path, message, reason);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return um_fail(err, UM_ERR_STATE,
                       "%s: another process keeps the database locked; run the command again",
                       path);
    case SQLITE_READONLY:
        return um_fail(err, UM_ERR_STATE, "%s: cannot be written: %s", path, message);
    case SQLITE_CONSTRAINT:
        return um_fail(err, UM_ERR_STATE, "%s: %s", path, message);
    case SQLITE_TOOBIG:
        return um_fail(err, UM_ERR_LIMIT, "%s: a value is too long to store", path);
    default:
        return um_fail(err, UM_ERR_INTERNAL, "%s: %s (code %d)", path, message, code);
    }
}

um_status um_sql_exec(um_workspace *ws, const char *sql, um_error *err)
{
    int code = sqlite3_exec(ws->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? UM_OK : um_sql_fail(ws, sqlite3_extended_errcode(ws->db), err);
}

void um_query_begin(um_query *q, um_workspace *ws, const char *sql)
{
    *q = (um_query){.ws = ws};
    if (sqlite3_prepare_v2(ws->db, sql, -1, &q->stmt, NULL) != SQLITE_OK)
        q->code = sqlite3_extended_errcode(ws->db);
}

void um_query_put(um_query *q, um_workspace *ws, enum um_put which)
{
    *q = (um_query){.ws = ws, .cached = true};
    if (ws->put[which] == NULL &&
        sqlite3_prepare_v3(ws->db, put_sql[which], -1, SQLITE_PREPARE_PERSISTENT, &ws->put[which],
                           NULL) != SQLITE_OK)
        q->code = sqlite3_extended_errcode(ws->db);
    q->stmt = ws->put[which];
}

static void note_bind(um_query *q, int code)
{
    if (q->code == SQLITE_OK)
        q->code = code;
}

void um_bind_i64(um_query *q, int64_t value)
{
    note_bind(q, sqlite3_bind_int64(q->stmt, ++q->parameter, value));
}

void um_bind_u64(um_query *q, uint64_t value)
{
    if (value > INT64_MAX)
        q->rule = "a number is past 2^63 - 1 and cannot be stored";
    um_bind_i64(q, (int64_t)(value & INT64_MAX));
}

void um_bind_f64(um_query *q, double value)
{
    note_bind(q, sqlite3_bind_double(q->stmt, ++q->parameter, value));
}

void um_bind_letter(um_query *q, uint32_t said)
{
    if (said == 0)
        note_bind(q, sqlite3_bind_null(q->stmt, ++q->parameter));
    else
        um_bind_u64(q, said - 1);
}

void um_bind_text(um_query *q, const char *text)
{
    note_bind(q, sqlite3_bind_text(q->stmt, ++q->parameter, text, -1, SQLITE_STATIC));
}

void um_bind_blob(um_query *q, const void *data, size_t n)
{
    /* SQLite reads a NULL pointer as NULL, also for an empty array. */
    note_bind(q, sqlite3_bind_blob64(q->stmt, ++q->parameter, data, n, SQLITE_STATIC));
}

void um_bind_doubles(um_query *q, const double *p, uint32_t k)
{
    um_bind_blob(q, p, (size_t)k * sizeof *p);
}

bool um_query_next(um_query *q)
{
    if (q->code != SQLITE_OK || q->rule != NULL)
        return false;
    q->column = 0;
    um_arena_reset(&q->arena);
    int code = sqlite3_step(q->stmt);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        q->code = sqlite3_extended_errcode(q->ws->db);
    return code == SQLITE_ROW;
}

um_status um_query_end(um_query *q, um_error *err)
{
    um_status status = UM_OK;
    if (q->code != SQLITE_OK)
        status = um_sql_fail(q->ws, q->code, err);
    else if (q->rule != NULL)
        status = um_fail(err, UM_ERR_INPUT, "%s: %s", q->ws->db_path, q->rule);
    if (q->cached && q->stmt != NULL) {
        sqlite3_reset(q->stmt);
        sqlite3_clear_bindings(q->stmt);
    } else {
        sqlite3_finalize(q->stmt);
    }
    um_arena_dispose(&q->arena);
    *q = (um_query){0};
    return status;
}

um_status um_query_close(um_query *q, um_status status, um_error *err)
{
    um_status ended = um_query_end(q, status == UM_OK ? err : NULL);
    return status == UM_OK ? ended : status;
}

um_status um_query_run(um_query *q, um_error *err)
{
    (void)um_query_next(q);
    return um_query_end(q, err);
}

int64_t um_take_i64(um_query *q)
{
    return sqlite3_column_int64(q->stmt, q->column++);
}

uint64_t um_take_u64(um_query *q)
{
    int64_t value = um_take_i64(q);
    if (value < 0)
        q->rule = "the database is damaged: a count or id is negative";
    return (uint64_t)value;
}

uint32_t um_take_u32(um_query *q)
{
    int64_t value = um_take_i64(q);
    if (value < 0 || value > UINT32_MAX)
        q->rule = "the database is damaged: a number is out of range";
    return (uint32_t)value;
}

double um_take_f64(um_query *q)
{
    int column = q->column++;
    if (sqlite3_column_type(q->stmt, column) == SQLITE_NULL)
        return (double)NAN;
    return sqlite3_column_double(q->stmt, column);
}

uint32_t um_take_letter(um_query *q)
{
    bool is_null = sqlite3_column_type(q->stmt, q->column) == SQLITE_NULL;
    uint32_t letter = um_take_u32(q);
    return is_null ? 0 : letter + 1;
}

const char *um_take_text(um_query *q)
{
    int column = q->column++;
    bool is_null = sqlite3_column_type(q->stmt, column) == SQLITE_NULL;
    const char *text = (const char *)sqlite3_column_text(q->stmt, column);
    if (text == NULL && !is_null)
        q->code = SQLITE_NOMEM;
    return text;
}

const void *um_take_blob(um_query *q, size_t *n)
{
    int column = q->column++;
    *n = 0;
    if (sqlite3_column_type(q->stmt, column) == SQLITE_NULL)
        return NULL;
    const void *data = sqlite3_column_blob(q->stmt, column);
    int bytes = sqlite3_column_bytes(q->stmt, column);
    if (data == NULL && bytes > 0)
        q->code = SQLITE_NOMEM;
    *n = (size_t)bytes;
    return data != NULL ? data : "";
}

const double *um_take_doubles(um_query *q, uint32_t k)
{
    size_t n;
    const void *data = um_take_blob(q, &n);
    if (data == NULL)
        return NULL;
    if (n != (size_t)k * sizeof(double)) {
        q->rule = "the database is damaged: a distribution does not have k entries";
        return NULL;
    }
    double *copy = um_arena_alloc(&q->arena, n);
    if (copy == NULL)
        q->code = SQLITE_NOMEM;
    else
        memcpy(copy, data, n);
    return copy;
}

bool um_row_is_good(const um_query *q)
{
    return q->code == SQLITE_OK && q->rule == NULL;
}

const void *um_lend_bytes(um_arena *arena, const void *data, size_t n, bool *failed)
{
    if (data == NULL)
        return NULL;
    void *copy = um_arena_alloc(arena, n);
    if (copy == NULL)
        *failed = true;
    else if (n > 0)
        memcpy(copy, data, n);
    return copy;
}

const char *um_lend_text(um_arena *arena, const char *text, bool *failed)
{
    return text == NULL ? NULL : um_lend_bytes(arena, text, strlen(text) + 1, failed);
}
