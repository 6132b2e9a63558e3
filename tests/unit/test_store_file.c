/* test_store_file.c - the workspace as a file: transactions, lock, kill -9, full disk, other
 * versions, damage. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "store/sql.h"
#include "store_util.h"

static void test_rollback(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    assert_int_equal(um_workspace_commit(ws, &err), UM_ERR_STATE);
    um_workspace_rollback(ws);
    assert_ok(um_workspace_begin(ws, &err), err);
    assert_int_equal(um_workspace_begin(ws, &err), UM_ERR_STATE);
    put_user(ws, 1);
    um_workspace_rollback(ws);
    assert_int_equal(count_users(ws), 0);
    assert_ok(um_workspace_begin(ws, &err), err);
    put_user(ws, 1);
    assert_ok(um_workspace_commit(ws, &err), err);
    assert_ok(um_workspace_begin(ws, &err), err);
    put_user(ws, 2);
    um_workspace_close(ws); /* not committed */
    ws = open_workspace(UM_WORKSPACE_WRITE);
    assert_int_equal(count_users(ws), 1);
    um_workspace_close(ws);
    um_workspace_close(NULL);
}

static void test_lock(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE), *other = NULL;
    put_user(ws, 1);
    assert_int_equal(um_workspace_open(&other, dir, UM_WORKSPACE_WRITE, &err), UM_ERR_STATE);
    assert_int_equal(um_workspace_open(&other, dir, UM_WORKSPACE_CREATE, &err), UM_ERR_STATE);
    assert_null(other);
    char pid[32];
    snprintf(pid, sizeof pid, "pid %d, host ", (int)getpid());
    assert_non_null(strstr(err.text, pid));
    assert_non_null(strstr(err.text, "command test_store"));
    other = open_workspace(UM_WORKSPACE_READ); /* a reader beside the writer */
    assert_int_equal(count_users(other), 1);
    assert_int_equal(um_workspace_set_meta(other, "k", "v", &err), UM_ERR_STATE);
    assert_int_equal(um_workspace_begin(other, &err), UM_ERR_STATE);
    um_workspace_close(other);
    um_workspace_close(ws);

    /* A killed writer leaves its file behind, not its lock. */
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        um_workspace *held = NULL;
        if (um_workspace_open(&held, dir, UM_WORKSPACE_WRITE, NULL) != UM_OK ||
            write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    other = NULL;
    assert_int_equal(um_workspace_open(&other, dir, UM_WORKSPACE_WRITE, &err), UM_ERR_STATE);
    snprintf(pid, sizeof pid, "pid %d, host ", (int)child);
    assert_non_null(strstr(err.text, pid));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    ws = open_workspace(UM_WORKSPACE_WRITE);
    um_workspace_close(ws);
}

/* Every commit is synced, and no WAL file is used by a version that can lose its pages. */
static void test_journal(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    sqlite3_stmt *stmt = NULL;
    assert_int_equal(sqlite3_prepare_v2(ws->db, "PRAGMA journal_mode", -1, &stmt, NULL), 0);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    bool has_fix = sqlite3_libversion_number() >= 3051003;
    bool is_wal = strcmp((const char *)sqlite3_column_text(stmt, 0), "wal") == 0;
    if (sqlite3_libversion_number() < 3044006 || has_fix)
        assert_int_equal(is_wal, has_fix);
    sqlite3_finalize(stmt);
    assert_int_equal(sqlite3_prepare_v2(ws->db, "PRAGMA synchronous", -1, &stmt, NULL), 0);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(stmt, 0), 2);
    sqlite3_finalize(stmt);
    um_workspace_close(ws);
}

/* Commits users 0, 1, ..., fifty at a time, and reports each commit. */
static void write_until_killed(int report)
{
    um_workspace *ws = NULL;
    if (um_workspace_open(&ws, dir, UM_WORKSPACE_CREATE, &err) != UM_OK)
        _exit(1);
    uint64_t next = count_users(ws);
    for (;;) {
        if (um_workspace_begin(ws, &err) != UM_OK)
            _exit(1);
        for (int i = 0; i < 50; i++)
            put_user(ws, next++);
        if (um_workspace_commit(ws, &err) != UM_OK || write(report, &next, sizeof next) < 0)
            _exit(1);
    }
}

static void test_kill(void **state)
{
    (void)state;
    um_workspace_close(open_workspace(UM_WORKSPACE_CREATE));
    uint64_t confirmed = 0;
    for (int round = 0; round < 12; round++) {
        int report[2];
        assert_int_equal(pipe(report), 0);
        pid_t child = fork();
        if (child == 0) {
            close(report[0]);
            write_until_killed(report[1]);
        }
        close(report[1]);
        uint64_t value;
        for (int i = 0; i <= round % 4; i++)
            if (read(report[0], &value, sizeof value) == sizeof value)
                confirmed = value;
        usleep((useconds_t)(round * 700)); /* not only at the same place of its loop */
        kill(child, SIGKILL);
        int result;
        waitpid(child, &result, 0);
        assert_true(WIFSIGNALED(result));
        while (read(report[0], &value, sizeof value) == sizeof value)
            confirmed = value;
        close(report[0]);
        um_workspace *ws = open_workspace(round % 2 ? UM_WORKSPACE_READ : UM_WORKSPACE_WRITE);
        uint64_t stored = count_users(ws);
        /* The last commit may have been done and not yet reported. */
        if (stored != confirmed && stored != confirmed + 50)
            fail_msg("%d users stored, %d confirmed", (int)stored, (int)confirmed);
        confirmed = stored;
        assert_ok(um_workspace_verify(ws, &err), err);
        um_workspace_close(ws);
    }
    assert_true(confirmed >= 12 * 50);
}

static um_status fill(um_workspace *ws)
{
    um_status status = um_workspace_begin(ws, &err);
    for (uint64_t i = 0; i < 200000 && status == UM_OK; i++) {
        um_row_rejection row = {"file", i, "a reason that takes a little room in the database"};
        status = um_workspace_put_rejection(ws, &row, &err);
    }
    if (status == UM_OK)
        status = um_workspace_commit(ws, &err);
    um_workspace_rollback(ws);
    return status;
}

static void check_only_user_1(um_workspace *ws)
{
    assert_ok(um_workspace_verify(ws, &err), err);
    assert_int_equal(count_users(ws), 1);
    assert_ok(um_workspace_rejections(ws, see_rejection, NULL, &err), err);
    assert_seen("");
}

static void test_full_disk(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    put_user(ws, 1);
    /* What SQLite answers when the file system has no room for another page. */
    assert_int_equal(sqlite3_exec(ws->db, "PRAGMA max_page_count = 100", NULL, NULL, NULL), 0);
    assert_int_equal(fill(ws), UM_ERR_IO);
    assert_non_null(strstr(err.text, "disk is full; free space and run the same command again"));
    check_only_user_1(ws);
    assert_int_equal(sqlite3_exec(ws->db, "PRAGMA max_page_count = 100000", NULL, NULL, NULL), 0);
    put_metric(ws, "train", 1, "{}"); /* and on it goes once there is room */
    um_workspace_close(ws);
}

/* A write that the system refuses is an error that leaves the database as it was. */
static void test_write_error(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    put_user(ws, 1);
    um_workspace_close(ws);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {400000, 400000};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        if (um_workspace_open(&ws, dir, UM_WORKSPACE_WRITE, &err) != UM_OK)
            _exit(1);
        if (fill(ws) != UM_ERR_IO)
            _exit(2);
        um_workspace_close(ws);
        _exit(0);
    }
    int result;
    waitpid(child, &result, 0);
    assert_int_equal(result, 0);
    ws = open_workspace(UM_WORKSPACE_WRITE);
    check_only_user_1(ws);
    put_user(ws, 2);
    um_workspace_close(ws);
}

/* Other versions and damage -------------------------------------------------------------------- */

static void make_version(int version)
{
    char *sql = NULL, path[400];
    size_t len;
    snprintf(path, sizeof path, UM_SOURCE_DIR "/tests/golden/workspace_v%d.sql", version);
    assert_ok(um_file_read(&sql, &len, path, 1 << 20, &err), err);
    run_sql(sql);
    free(sql);
}

static void check_migrated(um_workspace *ws)
{
    assert_ok(um_workspace_stages(ws, see_stage, NULL, &err), err);
    assert_seen("ingest done 3/3 1.5 0 2000\n");
    see_counts(ws);
    assert_seen("u1 i2 n3 r0 scenes 0 0 1 m0 d0!0 p0 q0 s0+0 pairs 0 e0");
    const char *value;
    assert_ok(um_workspace_get_meta(&value, ws, "seed", &err), err);
    assert_string_equal(value, "7");
    assert_ok(um_workspace_metrics(ws, "train", see_metric, NULL, &err), err);
    assert_seen("");
}

static void test_migrate(void **state)
{
    (void)state;
    for (int mode = UM_WORKSPACE_CREATE; mode <= UM_WORKSPACE_READ; mode++) {
        make_version(1);
        um_workspace *ws = open_workspace((um_workspace_mode)mode);
        check_migrated(ws);
        um_workspace_close(ws);
        ws = open_workspace(UM_WORKSPACE_WRITE); /* a second time there is nothing to do */
        check_migrated(ws);
        put_metric(ws, "train", 1, "{}");
        put_stage(ws, "ingest", "done");
        um_workspace_close(ws);
        unlink(db_path);
    }
    /* A migration that fails changes nothing. */
    make_version(1);
    run_sql("CREATE TABLE metrics(other)");
    um_workspace *ws = NULL;
    assert_true(um_workspace_open(&ws, dir, UM_WORKSPACE_WRITE, &err) != UM_OK);
    assert_non_null(strstr(err.text, "schema version 1 to 3"));
    run_sql("DROP TABLE metrics");
    ws = open_workspace(UM_WORKSPACE_WRITE);
    check_migrated(ws);
    um_workspace_close(ws);
}

static void test_migrate_version_2(void **state)
{
    (void)state;
    make_version(2);
    um_workspace *ws = open_workspace(UM_WORKSPACE_WRITE);
    um_row_dataset row;
    assert_ok(um_workspace_get_dataset(&row, ws, &err), err);
    assert_int_equal(row.n_interactions, 3);
    assert_int_equal(row.n_skips, 0);
    um_row_history skips = {1, 1, "x", 1};
    assert_ok(um_workspace_put_skips(ws, &skips, &err), err);
    assert_ok(um_workspace_clear_stage(ws, "ingest", &err), err);
    assert_ok(um_workspace_skips(ws, see_history, NULL, &err), err);
    assert_seen("");
    um_workspace_close(ws);
}

static void refuse(um_status status, const char *message)
{
    for (int mode = UM_WORKSPACE_CREATE; mode <= UM_WORKSPACE_READ; mode++) {
        um_workspace *ws = NULL;
        assert_int_equal(um_workspace_open(&ws, dir, (um_workspace_mode)mode, &err), status);
        assert_null(ws);
        if (strstr(err.text, message) == NULL)
            fail_msg("\"%s\" lacks \"%s\"", err.text, message);
    }
}

static void test_refused(void **state)
{
    (void)state;
    um_workspace *ws = NULL;
    assert_int_equal(um_workspace_open(&ws, dir, UM_WORKSPACE_WRITE, &err), UM_ERR_NOT_FOUND);
    assert_int_equal(um_workspace_open(&ws, dir, UM_WORKSPACE_READ, &err), UM_ERR_NOT_FOUND);
    char **names = NULL;
    size_t n = 1;
    assert_ok(um_path_list(&names, &n, dir, &err), err);
    assert_int_equal(n, 0); /* looking for a workspace leaves nothing behind */
    free(names);
    assert_ok(um_file_write(db_path, "", 0, &err),
              err); /* a writer killed before its first commit */
    assert_int_equal(um_workspace_open(&ws, dir, UM_WORKSPACE_READ, &err), UM_ERR_NOT_FOUND);
    um_workspace_close(open_workspace(UM_WORKSPACE_CREATE));

    run_sql("PRAGMA user_version = 4");
    refuse(UM_ERR_UNSUPPORTED, "schema version 4, this one knows up to 3");
    run_sql("PRAGMA user_version = 0");
    refuse(UM_ERR_INPUT, "schema version 0");
    run_sql("PRAGMA user_version = 3; PRAGMA application_id = 99");
    refuse(UM_ERR_INPUT, "another program (application id 99)");
    run_sql("PRAGMA application_id = 0");
    refuse(UM_ERR_INPUT, "another program");

    char text[5000];
    memset(text, 'x', sizeof text);
    assert_ok(um_file_write(db_path, text, sizeof text, &err), err);
    refuse(UM_ERR_INPUT, "not a workspace database");
    char *data = NULL;
    size_t len;
    assert_ok(um_file_read(&data, &len, db_path, 1 << 20, &err), err);
    assert_int_equal(len, sizeof text); /* and it was left as it was */
    assert_memory_equal(data, text, len);
    free(data);
}

static void test_damage(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    assert_ok(um_workspace_begin(ws, &err), err);
    for (uint64_t i = 0; i < 5000; i++)
        put_user(ws, i);
    assert_ok(um_workspace_commit(ws, &err), err);
    um_workspace_close(ws);
    char *data = NULL;
    size_t len;
    assert_ok(um_file_read(&data, &len, db_path, 1 << 24, &err), err);
    /* Cut in the middle, and every page but the first few overwritten: named, never a crash. */
    for (int kind = 0; kind < 2; kind++) {
        size_t keep = kind == 0 ? len / 2 : len;
        char *bad = malloc(len);
        memcpy(bad, data, len);
        if (kind == 1)
            memset(bad + len / 2, 0xA5, len - len / 2);
        assert_ok(um_file_write(db_path, bad, keep, &err), err);
        free(bad);
        ws = NULL;
        um_status status = um_workspace_open(&ws, dir, UM_WORKSPACE_WRITE, &err);
        if (status == UM_OK)
            status = um_workspace_users(ws, see_entity, NULL, &err);
        if (status == UM_OK)
            status = um_workspace_verify(ws, &err);
        seen[0] = '\0';
        assert_int_equal(status, UM_ERR_INPUT);
        assert_non_null(strstr(err.text, "workspace.db"));
        assert_non_null(strstr(err.text, "damaged"));
        if (ws != NULL)
            assert_int_equal(um_workspace_begin(ws, &err), UM_ERR_IO);
        um_workspace_close(ws);
    }
    free(data);
}

static um_status sum_history(void *context, const um_row_history *row, um_error *e)
{
    (void)e;
    *(uint64_t *)context += row->n + row->bytes;
    return UM_OK;
}

static void test_throughput(void **state)
{
    (void)state;
    enum { ROWS = 200000, BYTES = 160 };
    unsigned char data[BYTES];
    memset(data, 7, sizeof data);
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    uint64_t start = um_clock_ms();
    assert_ok(um_workspace_begin(ws, &err), err);
    for (uint64_t i = 0; i < ROWS; i++) {
        um_row_history row = {i, 10, data, sizeof data};
        assert_ok(um_workspace_put_history(ws, &row, &err), err);
    }
    assert_ok(um_workspace_commit(ws, &err), err);
    uint64_t written = um_clock_ms();
    uint64_t sum = 0;
    assert_ok(um_workspace_histories(ws, sum_history, &sum, &err), err);
    uint64_t read_back = um_clock_ms();
    assert_int_equal(sum, (uint64_t)ROWS * (10 + BYTES));
    print_message("%d histories of %d bytes: written in %d ms, read in %d ms\n", ROWS, BYTES,
                  (int)(written - start), (int)(read_back - written));
    um_workspace_close(ws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_rollback),   TEST(test_lock),
        TEST(test_journal),    TEST(test_kill),
        TEST(test_full_disk),  TEST(test_write_error),
        TEST(test_migrate),    TEST(test_migrate_version_2),
        TEST(test_refused),    TEST(test_damage),
        TEST(test_throughput),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
