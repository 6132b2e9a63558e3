/*
 * sql.h - the connection, and statements whose binding, stepping and errors take one line each.
 *
 * A query is begun, its parameters are bound in order, and it is run (no rows) or stepped (rows,
 * whose columns are taken in order). Failures are kept in the query until run or step reports them.
 */
#ifndef UM_STORE_SQL_H
#define UM_STORE_SQL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "mirrorer/status.h"
#include "mirrorer/workspace.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "stored doubles are little-endian");

#define UM_APPLICATION_ID 0x756d7773 /* "umws" in the header of the database file */

/* Statements that bulk writers use are prepared once and kept. */
enum um_put {
    UM_PUT_META,
    UM_PUT_USER,
    UM_PUT_ITEM,
    UM_PUT_HISTORY,
    UM_PUT_SKIPS,
    UM_PUT_FILE,
    UM_PUT_REJECTION,
    UM_PUT_SCENE,
    UM_PUT_DECISION,
    UM_PUT_DISTRIBUTION,
    UM_PUT_DIRECT,
    UM_PUT_SCORE,
    UM_PUT_KEPT,
    UM_PUT_DECISION_SCORE,
    UM_PUT_DIFFICULTY,
    UM_PUT_PAIR,
    UM_PUT_EVALUATION,
    UM_PUT_STAGE,
    UM_PUT_METRIC,
    UM_PUT_REQUEST,
    UM_PUT_NO_REQUEST,
    UM_PUT_FEWER_TIMES,
    UM_PUT_MERGED_REQUEST,
    UM_PUT_SETTLED,
    UM_GET_ANSWER,
    UM_GET_ANSWERED,
    UM_PUT_COUNT
};

/* SQL that sums the requests for which `which` holds up in one row a stage, whose key is no hash.
 */
#define UM_SUM_REQUESTS(which)                                                                     \
    "INSERT OR REPLACE INTO requests SELECT"                                                       \
    " CAST(substr('redone:' || stage || '        ', 1, 16) AS BLOB), stage, 0, 0, 'dropped', "     \
    "NULL,"                                                                                        \
    " sum(prompt_tokens), sum(completion_tokens), sum(cost), 0, NULL, 0"                           \
    " FROM requests WHERE " which " GROUP BY stage"
#define UM_DELETE_REQUESTS(which) "DELETE FROM requests WHERE (" which ") AND status <> 'dropped'"
#define UM_FORGET_REQUESTS(which) UM_SUM_REQUESTS(which) ";" UM_DELETE_REQUESTS(which) ";"

/* What each get function lends out lives in its own arena until the next call. */
enum um_lent {
    UM_LENT_META,
    UM_LENT_DATASET,
    UM_LENT_SCENE,
    UM_LENT_MODEL,
    UM_LENT_DECISION,
    UM_LENT_SCORE,
    UM_LENT_STAGE,
    UM_LENT_ANSWER,
    UM_LENT_COUNT
};

struct um_workspace {
    sqlite3 *db;
    char *path;    /* folder */
    char *db_path; /* <folder>/workspace.db */
    int lock_fd;   /* -1 for a reader */
    bool broken;   /* an input/output error or damage was met */
    sqlite3_stmt *put[UM_PUT_COUNT];
    um_arena lent[UM_LENT_COUNT];
};

typedef struct um_query {
    um_workspace *ws;
    sqlite3_stmt *stmt;
    bool cached;      /* reset at the end, not finalised */
    int parameter;    /* bound so far */
    int column;       /* taken so far */
    int code;         /* first SQLite failure, SQLITE_OK if none */
    const char *rule; /* or what else is wrong: a value that cannot be stored, a damaged row */
    um_arena arena;   /* aligned copies of the current row's arrays */
} um_query;

/* UM_ERR_* for an SQLite code, naming the database. Notes what makes the workspace unusable. */
um_status um_sql_fail(um_workspace *ws, int code, um_error *err);
um_status um_sql_exec(um_workspace *ws, const char *sql, um_error *err) UM_CHECKED;

void um_query_begin(um_query *q, um_workspace *ws, const char *sql);
void um_query_put(um_query *q, um_workspace *ws, enum um_put which);
void um_bind_u64(um_query *q, uint64_t value); /* at most INT64_MAX */
void um_bind_i64(um_query *q, int64_t value);
void um_bind_f64(um_query *q, double value);                /* NaN is stored as NULL */
void um_bind_letter(um_query *q, uint32_t said);            /* 1 = A is stored as 0, 0 as NULL */
void um_bind_text(um_query *q, const char *text);           /* NULL is NULL */
void um_bind_blob(um_query *q, const void *data, size_t n); /* NULL is NULL */
void um_bind_doubles(um_query *q, const double *p, uint32_t k);

/* Steps a statement that gives no rows, and ends the query. */
um_status um_query_run(um_query *q, um_error *err) UM_CHECKED;
/* True while there is a row. False at the end or on failure: um_query_end tells which. */
bool um_query_next(um_query *q);
/* Ends the query; the status is that of the first failure. */
um_status um_query_end(um_query *q, um_error *err) UM_CHECKED;
/* The same after a callback that returned `status`: its failure, if any, is the one reported. */
um_status um_query_close(um_query *q, um_status status, um_error *err) UM_CHECKED;

uint64_t um_take_u64(um_query *q);
uint32_t um_take_u32(um_query *q);
int64_t um_take_i64(um_query *q);
double um_take_f64(um_query *q); /* NULL gives NaN */
uint32_t um_take_letter(um_query *q);
const char *um_take_text(um_query *q);
const void *um_take_blob(um_query *q, size_t *n);
/* An array of k doubles, aligned; NULL stays NULL. Another length is damage. */
const double *um_take_doubles(um_query *q, uint32_t k);
/* False when a column could not be taken: the row must not be used. */
bool um_row_is_good(const um_query *q);

/* The part of a WHERE over decisions d that stands for a um_decision_filter, unscored_by left out,
 * and the binding of its parameters, which are the first six of the query. */
#define UM_DECISION_CONDITIONS                                                                     \
    "d.id BETWEEN ?1 AND ?2"                                                                       \
    " AND (?3 IS NULL OR (SELECT s.split FROM scenes s WHERE s.id = d.scene_id) = ?3)"             \
    " AND (?4 = 0 OR d.model_id = ?4) AND (?5 IS NULL OR d.role = ?5)"                             \
    " AND (?6 = 0 OR d.form_error IS NULL)"
void um_decision_conditions(um_query *q, const um_decision_filter *filter);
/* The ids that decisions of the filter's scenes can have. */
void um_decision_range(const um_decision_filter *filter, uint64_t *first, uint64_t *last);

/* Copies for a get function; NULL stays NULL, and *failed is set when memory runs out. */
const char *um_lend_text(um_arena *arena, const char *text, bool *failed);
const void *um_lend_bytes(um_arena *arena, const void *data, size_t n, bool *failed);

#endif
