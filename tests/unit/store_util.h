/* store_util.h - what the tests of the workspace share: one in a folder of its own, its rows as
 * text, and rows to put into it. */
#ifndef UM_TEST_STORE_UTIL_H
#define UM_TEST_STORE_UTIL_H

#include <sqlite3.h>

#include "mirrorer/workspace.h"
#include "test_util.h"

static char dir[256];
static char db_path[300];
static um_error err;

static inline int set_up(void **state)
{
    (void)state;
    if (make_dir(dir, sizeof dir) == NULL)
        return 1;
    snprintf(db_path, sizeof db_path, "%s/workspace.db", dir);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    remove_dir(dir);
    return 0;
}

static inline um_workspace *open_workspace(um_workspace_mode mode)
{
    um_workspace *ws = NULL;
    assert_ok(um_workspace_open(&ws, dir, mode, &err), err);
    return ws;
}

/* Runs SQL on the database behind the workspace's back. */
static inline void run_sql(const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(db_path, &db), SQLITE_OK);
    char *message = NULL;
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    sqlite3_close(db);
}

/* Rows written to a text, one a line, so that a whole iteration is compared at once. */
static char seen[20000];

static inline void see(const char *format, ...) UM_PRINTF(1, 2);
static inline void see(const char *format, ...)
{
    size_t len = strlen(seen);
    va_list args;
    va_start(args, format);
    vsnprintf(seen + len, sizeof seen - len, format, args);
    va_end(args);
}

#define assert_seen(text)                                                                          \
    do {                                                                                           \
        assert_string_equal(seen, text);                                                           \
        seen[0] = '\0';                                                                            \
    } while (0)

static inline um_status see_entity(void *context, const um_row_entity *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%d %s %s %s\n", (int)row->id, row->external_id, row->description, row->features);
    return UM_OK;
}

static inline um_status see_history(void *context, const um_row_history *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%d n %d: %.*s\n", (int)row->user_id, (int)row->n, (int)row->bytes,
        (const char *)row->data);
    return UM_OK;
}

static inline um_status see_rejection(void *context, const um_row_rejection *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%s:%d %s\n", row->file, (int)row->line, row->reason);
    return UM_OK;
}

static inline uint64_t count_users(um_workspace *ws)
{
    um_workspace_counts counts;
    assert_ok(um_workspace_count(&counts, ws, &err), err);
    return counts.users;
}

static inline void put_user(um_workspace *ws, uint64_t id)
{
    char name[32];
    snprintf(name, sizeof name, "user-%llu", (unsigned long long)id);
    um_row_entity row = {id, name, "{\"a\":\"b\"}", "{}"};
    assert_ok(um_workspace_put_user(ws, &row, &err), err);
}

static inline um_status see_stage(void *context, const um_row_stage *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%s %s %d/%d %g %d %d\n", row->name, row->status, (int)row->items_done,
        (int)row->items_total, row->seconds, (int)row->peak_rss_kb, (int)row->updated_s);
    return UM_OK;
}

static inline um_status see_metric(void *context, const um_row_metric *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%s %d %s\n", row->stage, (int)row->step, row->values);
    return UM_OK;
}

static inline void put_stage(um_workspace *ws, const char *name, const char *status)
{
    um_row_stage row = {name, "{}", "f00", status, 1, 2, 0.5, 1000, "{\"x\":1}", 42};
    assert_ok(um_workspace_put_stage(ws, &row, &err), err);
}

static inline void put_metric(um_workspace *ws, const char *stage, uint64_t step,
                              const char *values)
{
    um_row_metric row = {stage, step, values};
    assert_ok(um_workspace_put_metric(ws, &row, &err), err);
}

static inline void see_counts(um_workspace *ws)
{
    um_workspace_counts c;
    assert_ok(um_workspace_count(&c, ws, &err), err);
    see("u%d i%d n%d r%d scenes %d %d %d m%d d%d!%d p%d q%d s%d+%d pairs %d e%d", (int)c.users,
        (int)c.items, (int)c.interactions, (int)c.rejections, (int)c.scenes_base,
        (int)c.scenes_train, (int)c.scenes_eval, (int)c.models, (int)c.decisions, (int)c.malformed,
        (int)c.distributions, (int)c.directs, (int)c.scores, (int)c.kept, (int)c.pairs,
        (int)c.evaluations);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

#endif
