/*
 * Journal: SQLite before 3.51.3 (3.50.7 and 3.44.6 on their branches) can lose pages when a WAL
 * file is reset while another process reads, so those versions get a rollback journal. It is
 * truncated, not deleted: with synchronous=FULL a truncated journal is synced, while the removal of
 * one is a change of the folder that only synchronous=EXTRA would sync.
 */
#include "mirrorer/workspace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/lock.h"
#include "store/migrations.h"
#include "store/sql.h"

#define DATABASE_NAME     "workspace.db"
#define LOCK_NAME         "workspace.lock"
#define READER_TIMEOUT_MS 10000
#define WRITER_TIMEOUT_MS 60000 /* readers are short: longer than any of them */

static bool wal_is_safe(int version)
{
    return version >= 3051003 || (version >= 3050007 && version < 3051000) ||
           (version >= 3044006 && version < 3045000);
}

/* The one integer that a pragma or count gives. */
static um_status read_integer(um_workspace *ws, const char *sql, int64_t *out, um_error *err)
{
    um_query q;
    um_query_begin(&q, ws, sql);
    int64_t value = um_query_next(&q) ? um_take_i64(&q) : 0;
    um_status status = um_query_end(&q, err);
    if (status == UM_OK)
        *out = value;
    return status;
}

static um_status set_pragmas(um_workspace *ws, um_workspace_mode mode, um_error *err)
{
    bool reads = mode == UM_WORKSPACE_READ;
    sqlite3_busy_timeout(ws->db, reads ? READER_TIMEOUT_MS : WRITER_TIMEOUT_MS);
    sqlite3_extended_result_codes(ws->db, 1);
    sqlite3_db_config(ws->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(ws->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    um_status status = um_sql_exec(ws,
                                   "PRAGMA foreign_keys = ON; PRAGMA cell_size_check = ON;"
                                   "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -32768;"
                                   "PRAGMA synchronous = FULL;",
                                   err);
    if (status != UM_OK)
        return status;
    if (reads) {
        sqlite3_db_config(ws->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        return um_sql_exec(ws, "PRAGMA query_only = ON", err);
    }
    return um_sql_exec(ws,
                       wal_is_safe(sqlite3_libversion_number()) ? "PRAGMA journal_mode = WAL"
                                                                : "PRAGMA journal_mode = TRUNCATE",
                       err);
}

/* What the file holds: *version 0 for an empty database, else its schema version. */
static um_status read_version(um_workspace *ws, int64_t *version, um_error *err)
{
    int64_t application = 0, tables = 0, found = 0;
    um_status status = read_integer(ws, "PRAGMA application_id", &application, err);
    if (status == UM_OK)
        status = read_integer(ws, "PRAGMA user_version", &found, err);
    if (status == UM_OK)
        status = read_integer(ws, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (status != UM_OK)
        return status;
    if (application != UM_APPLICATION_ID && (application != 0 || tables != 0))
        return um_fail(
            err, UM_ERR_INPUT,
            "%s: an SQLite database of another program (application id %lld), not a workspace",
            ws->db_path, (long long)application);
    if (found > UM_WORKSPACE_SCHEMA)
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: made by a newer program: schema version %lld, this one knows up to %d; "
                       "use the newer program",
                       ws->db_path, (long long)found, UM_WORKSPACE_SCHEMA);
    if (found < 0 || (found == 0) != (tables == 0))
        return um_fail(err, UM_ERR_INPUT,
                       "%s: the database is damaged: schema version %lld with %lld tables",
                       ws->db_path, (long long)found, (long long)tables);
    *version = found;
    return UM_OK;
}

static um_status migrate(um_workspace *ws, int64_t from, um_error *err)
{
    char stamp[128];
    snprintf(stamp, sizeof stamp, "PRAGMA application_id = %d; PRAGMA user_version = %d;",
             UM_APPLICATION_ID, UM_WORKSPACE_SCHEMA);
    um_status status = um_workspace_begin(ws, err);
    for (int64_t v = from; status == UM_OK && v < UM_WORKSPACE_SCHEMA; v++)
        status = um_sql_exec(ws, um_migration((int)v), err);
    if (status == UM_OK)
        status = um_sql_exec(ws, stamp, err);
    if (status == UM_OK)
        status = um_workspace_commit(ws, err);
    if (status != UM_OK) {
        um_workspace_rollback(ws);
        return um_error_prefix(err, status, "schema version %lld to %d", (long long)from,
                               UM_WORKSPACE_SCHEMA);
    }
    return UM_OK;
}

static um_status fail_absent(um_workspace *ws, um_error *err)
{
    return um_fail(err, UM_ERR_NOT_FOUND, "'%s' is not a workspace: it holds no " DATABASE_NAME,
                   ws->path);
}

/* Opens the database and brings its schema up to date, or tells the reader that it is not. */
static um_status open_database(um_workspace *ws, um_workspace_mode mode, bool *is_old,
                               um_error *err)
{
    if (mode != UM_WORKSPACE_CREATE && !um_path_exists(ws->db_path))
        return fail_absent(ws, err);
    /* A reader may have to roll back what a killed writer left, so it opens for writing too. */
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    if (mode == UM_WORKSPACE_CREATE)
        flags |= SQLITE_OPEN_CREATE;
    int code = sqlite3_open_v2(ws->db_path, &ws->db, flags, NULL);
    if (code != SQLITE_OK)
        return um_sql_fail(ws, code, err);
    /* Nothing of a file that is not ours is changed: it is looked at before the pragmas. */
    sqlite3_busy_timeout(ws->db, READER_TIMEOUT_MS);
    int64_t version = 0;
    um_status status = read_version(ws, &version, err);
    if (status == UM_OK)
        status = set_pragmas(ws, mode, err);
    if (status != UM_OK)
        return status;
    if (version == 0 && mode != UM_WORKSPACE_CREATE)
        return fail_absent(ws, err);
    *is_old = version < UM_WORKSPACE_SCHEMA;
    if (*is_old && mode != UM_WORKSPACE_READ)
        return migrate(ws, version, err);
    return UM_OK;
}

static um_status open_once(um_workspace **out, const char *path, um_workspace_mode mode,
                           bool *is_old, um_error *err)
{
    char *lock_path = NULL;
    um_workspace *ws = um_calloc(1, sizeof *ws);
    if (ws == NULL)
        return um_fail_memory(err, path);
    ws->lock_fd = -1;
    um_status status = UM_OK;
    ws->path = um_strdup(path);
    if (ws->path == NULL)
        status = um_fail_memory(err, path);
    if (status == UM_OK)
        status = um_path_join(&ws->db_path, path, DATABASE_NAME, err);
    if (status == UM_OK)
        status = um_path_join(&lock_path, path, LOCK_NAME, err);
    if (status == UM_OK && mode == UM_WORKSPACE_CREATE)
        status = um_path_make_dirs(path, err);
    if (status == UM_OK && mode == UM_WORKSPACE_WRITE && !um_path_exists(ws->db_path))
        status = fail_absent(ws, err); /* and no lock file is left in a folder that is not ours */
    if (status == UM_OK && mode != UM_WORKSPACE_READ)
        status = um_lock_take(&ws->lock_fd, lock_path, err);
    if (status == UM_OK)
        status = open_database(ws, mode, is_old, err);
    free(lock_path);
    if (status != UM_OK) {
        um_workspace_close(ws);
        return status;
    }
    *out = ws;
    return UM_OK;
}

um_status um_workspace_open(um_workspace **out, const char *path, um_workspace_mode mode,
                            um_error *err)
{
    bool is_old = false;
    um_workspace *ws = NULL;
    um_status status = open_once(&ws, path, mode, &is_old, err);
    if (status == UM_OK && is_old && mode == UM_WORKSPACE_READ) {
        /* A reader has the tables of its own version only: migrate as a writer, then look again. */
        um_workspace_close(ws);
        ws = NULL;
        status = open_once(&ws, path, UM_WORKSPACE_WRITE, &is_old, err);
        if (status == UM_OK) {
            um_workspace_close(ws);
            ws = NULL;
            status = open_once(&ws, path, mode, &is_old, err);
        }
    }
    if (status == UM_OK)
        *out = ws;
    return status;
}

void um_workspace_close(um_workspace *ws)
{
    if (ws == NULL)
        return;
    for (int i = 0; i < UM_PUT_COUNT; i++)
        sqlite3_finalize(ws->put[i]);
    sqlite3_close_v2(ws->db); /* rolls back an open transaction */
    um_lock_release(ws->lock_fd);
    for (int i = 0; i < UM_LENT_COUNT; i++)
        um_arena_dispose(&ws->lent[i]);
    free(ws->path);
    free(ws->db_path);
    free(ws);
}

const char *um_workspace_path(const um_workspace *ws)
{
    return ws->path;
}

um_status um_workspace_verify(um_workspace *ws, um_error *err)
{
    char finding[256] = "";
    um_query q;
    um_query_begin(&q, ws, "PRAGMA integrity_check(1)");
    if (um_query_next(&q)) {
        const char *text = um_take_text(&q);
        snprintf(finding, sizeof finding, "%s", text != NULL ? text : "no answer");
    }
    um_status status = um_query_end(&q, err);
    if (status == UM_OK && strcmp(finding, "ok") != 0) {
        ws->broken = true;
        status =
            um_fail(err, UM_ERR_INPUT,
                    "%s: the database is damaged (%s); restore a copy or build the workspace again",
                    ws->db_path, finding);
    }
    return status;
}

um_status um_workspace_begin(um_workspace *ws, um_error *err)
{
    if (ws->broken)
        return um_fail(err, UM_ERR_IO,
                       "%s: an earlier read or write failed; open the workspace again",
                       ws->db_path);
    if (!sqlite3_get_autocommit(ws->db))
        return um_fail(err, UM_ERR_STATE, "%s: a transaction is open already", ws->db_path);
    return um_sql_exec(ws, "BEGIN IMMEDIATE", err);
}

um_status um_workspace_commit(um_workspace *ws, um_error *err)
{
    /* SQLite ends the transaction by itself on some failures: its rows are gone. */
    if (sqlite3_get_autocommit(ws->db))
        return um_fail(err, UM_ERR_STATE, "%s: no transaction is open", ws->db_path);
    return um_sql_exec(ws, "COMMIT", err);
}

void um_workspace_rollback(um_workspace *ws)
{
    if (!sqlite3_get_autocommit(ws->db))
        sqlite3_exec(ws->db, "ROLLBACK", NULL, NULL, NULL);
}
