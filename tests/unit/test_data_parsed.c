/* test_data_parsed.c - parsing ahead: every row once and in order, whatever batches hold it. */
#include "base/str.h"
#include "data/parsed.h"
#include "test_data_util.h"

#define N_ROWS 30000

static char dir[256];
static um_error err;
static um_bundle *bundle;
static um_lines lines;

static int set_up(void **state)
{
    (void)state;
    return make_dir(dir, sizeof dir) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    remove_dir(dir);
    return 0;
}

static um_parsed *open_file(const char *name)
{
    static const um_parsed_spec spec = {.noun = "JSON object"};
    um_parsed *p = NULL;
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(um_bundle_open(&bundle, path, &err), err);
    assert_ok(um_lines_open(&lines, bundle, &bundle->entries[0], &err), err);
    assert_ok(um_parsed_open(&p, &spec, &lines, &err), err);
    return p;
}

static void close_file(um_parsed *p)
{
    um_parsed_close(p);
    um_lines_close(&lines);
    um_bundle_free(bundle);
}

/* Row i: blank lines before some, every 97th is bad, every 1000th is long. */
static void put_rows(const char *name, size_t cut)
{
    um_str text = UM_STR_INIT;
    for (int i = 0; i < N_ROWS; i++) {
        if (i % 50 == 0)
            um_str_append(&text, "\n");
        if (i % 97 == 96)
            um_str_appendf(&text, "{\"n\":%d\n", i);
        else
            um_str_appendf(&text, "{\"n\":%d,\"s\":\"row %d%*s\",\"l\":[%d,{}]}\n", i, i,
                           i % 1000 == 0 ? 300000 : i % 40, "", i);
    }
    assert_int_equal(um_str_status(&text, &err), UM_OK);
    if (cut == 0) {
        put(dir, name, text.data);
    } else {
        put_gzip(dir, name, text.data);
        size_t n = 0;
        char *bytes = get_bytes(dir, name, &n);
        put_bytes(dir, name, bytes, n - cut);
        free(bytes);
    }
    um_str_dispose(&text);
}

static void check_row(const um_parsed_row *row, int i)
{
    um_jval value;
    int64_t n = -1;
    const char *text = NULL;
    char expected[32];
    size_t len = 0;
    assert_int_equal(row->line, i + 1 + i / 50 + 1);
    if (i % 97 == 96) {
        assert_has(row->bad, "not one whole JSON object: column");
        return;
    }
    assert_null(row->bad);
    assert_true(um_jval_get(row->root, "n", &value) && um_jval_i64(value, &n) && n == i);
    snprintf(expected, sizeof expected, "row %d", i);
    assert_true(um_jval_get(row->root, "s", &value) && um_jval_str(value, &text, &len));
    assert_memory_equal(text, expected, strlen(expected));
    assert_true(len >= strlen(expected) && text[len] == '\0');
    assert_true(um_jval_get(row->root, "l", &value) && um_jval_len(value) == 2);
}

static void rows_come_in_order(void **state)
{
    (void)state;
    um_parsed_row row;
    bool any = true;
    put_rows("rows.jsonl", 0);
    um_parsed *p = open_file("rows.jsonl");
    for (int i = 0; i < N_ROWS; i++) {
        assert_ok(um_parsed_next(p, &row, &any, &err), err);
        assert_true(any);
        check_row(&row, i);
    }
    for (int again = 0; again < 2; again++) {
        assert_ok(um_parsed_next(p, &row, &any, &err), err);
        assert_false(any);
    }
    close_file(p);
    /* Given up at any time. */
    for (int stop = 0; stop < N_ROWS; stop = stop * 3 + 1) {
        p = open_file("rows.jsonl");
        for (int i = 0; i < stop; i++)
            assert_ok(um_parsed_next(p, &row, &any, &err), err);
        close_file(p);
    }
    um_parsed_close(NULL);
}

/* A damaged file gives what is before the damage, then its message, again and again. */
static void failures_come_after_the_rows(void **state)
{
    (void)state;
    um_parsed_row row;
    bool any = true;
    um_status status = UM_OK;
    int i = 0;
    put_rows("rows.jsonl.gz", 2000);
    um_parsed *p = open_file("rows.jsonl.gz");
    for (; status == UM_OK; i++) {
        status = um_parsed_next(p, &row, &any, &err);
        if (status == UM_OK)
            check_row(&row, i);
    }
    assert_true(i > N_ROWS / 2 && i < N_ROWS);
    assert_has(err.text, "rows.jsonl.gz");
    assert_int_equal(um_parsed_next(p, &row, &any, &err), status);
    assert_false(any);
    close_file(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_come_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_come_after_the_rows, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
