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

/* What a line gives when the file is read line by line, in one thread. */
static bool next_alone(um_lines *alone, um_jsonl *parser, um_line *line, um_str *root)
{
    um_jval value;
    um_error why;
    do {
        assert_ok(um_lines_next(alone, line, &err), err);
        if (line->text == NULL)
            return false;
    } while (line->len == 0 && !line->is_long);
    um_str_clear(root);
    if (line->is_long)
        um_str_append(root, "line longer");
    else if (um_jsonl_parse(parser, line->text, line->len, &value, &why) == UM_OK)
        um_jval_dump(root, value);
    else if (memchr(line->text, '\0', line->len) != NULL)
        um_str_append(root, "NUL byte");
    else
        um_str_append(root, why.text);
    return true;
}

/* Opens the file a second time and compares row by row. */
static void compare_with_alone(const char *name)
{
    um_bundle *other = NULL;
    um_lines alone;
    um_jsonl *parser = NULL;
    um_line line;
    um_parsed_row row;
    um_str expected = UM_STR_INIT, found = UM_STR_INIT;
    bool any = true;
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(um_bundle_open(&other, path, &err), err);
    assert_ok(um_lines_open(&alone, other, &other->entries[0], &err), err);
    assert_ok(um_jsonl_new(&parser, &err), err);
    um_parsed *p = open_file(name);
    while (next_alone(&alone, parser, &line, &expected)) {
        assert_ok(um_parsed_next(p, &row, &any, &err), err);
        assert_true(any);
        assert_int_equal(row.line, alone.line);
        um_str_clear(&found);
        if (row.bad == NULL) {
            um_jval_dump(&found, row.root);
            assert_true(found.len == expected.len &&
                        memcmp(found.data, expected.data, found.len) == 0);
        } else {
            assert_has(row.bad, expected.data);
            assert_int_equal(strstr(row.bad, "no end") == NULL, line.is_whole);
        }
    }
    assert_ok(um_parsed_next(p, &row, &any, &err), err);
    assert_false(any);
    assert_int_equal(lines.bytes, alone.bytes);
    close_file(p);
    um_jsonl_free(parser);
    um_lines_close(&alone);
    um_bundle_free(other);
    um_str_dispose(&expected);
    um_str_dispose(&found);
}

/* Lines that begin or end where a reader of documents, or of blocks, could go wrong. */
static const char *const odd_lines[] = {
    "{\"a\":1}{\"b\":2}",
    "{\"a\":1} {\"b\":2}",
    "{\"a\":1} x",
    "{\"a\":1",
    "}",
    "} {\"b\":2}",
    "{\"a\":\"open",
    "open\"}",
    "{\"a\":1}\\",
    "{\"a\":\"\\",
    "  {\"a\" : [1, 2 ]}\t ",
    " \t ",
    "\r\r",
    "{\"a\":1}\r{\"b\":2}",
    "[1]",
    "1 2",
    "\"text\"",
    "{\"a\":1,\"a\":2}",
    "{\"o\":{\"k\":1,\"l\":2,\"k\":3}}",
    "{\"s\":\"\\ud800\"}",
    "{\"s\":\"\\ud83d\\ude00 \\\" \\\\\"}",
    "{\"s\":\"\xff\"}",
    "{\"s\":\"\x01\"}",
    "{\"n\":18446744073709551615}",
    "{\"n\":1e999}",
    "{}",
};
#define N_ODD (sizeof odd_lines / sizeof *odd_lines)

/* Every kind of line among good ones, at every place of a block, as blocks begin anywhere. */
static void rows_are_those_of_single_lines(void **state)
{
    (void)state;
    static const char *const ends[] = {"\n", "\r\n"};
    um_str text = UM_STR_INIT;
    for (size_t end = 0; end < 2; end++) {
        um_str_clear(&text);
        um_str_append(&text, end == 0 ? "" : "\xEF\xBB\xBF");
        for (int i = 0; i < 12000; i++) {
            if (i % 311 == 310)
                um_str_append(&text, odd_lines[(size_t)(i / 311) % N_ODD]);
            else if (i % 41 != 40)
                um_str_appendf(&text, "{\"i\":%d,\"t\":\"%*s\",\"o\":{\"t\":[]}}", i, i * 7 % 193,
                               i % 5 == 0 ? "\\u00e9" : "x");
            if (i < 11999)
                um_str_append(&text, ends[end]);
        }
        assert_int_equal(um_str_status(&text, &err), UM_OK);
        put(dir, "odd.jsonl", text.data);
        compare_with_alone("odd.jsonl");
        put_gzip(dir, "odd.jsonl.gz", text.data);
        compare_with_alone("odd.jsonl.gz");
    }
    um_str_dispose(&text);
}

/* A file of every single odd line, and of each before and after a good one; with no line at all. */
static void small_files_too(void **state)
{
    (void)state;
    char text[200];
    for (size_t i = 0; i < N_ODD; i++) {
        for (int form = 0; form < 4; form++) {
            snprintf(text, sizeof text, "%s%s%s%s", form & 1 ? "{\"a\":0}\n" : "{\"b\":[0]}\n\n",
                     odd_lines[i], form & 2 ? "\n{\"z\":0}" : "", i % 2 == 0 ? "\n" : "");
            put(dir, "small.jsonl", text);
            compare_with_alone("small.jsonl");
        }
    }
    put(dir, "small.jsonl", "\n\n");
    compare_with_alone("small.jsonl");
    put(dir, "small.jsonl", "");
    compare_with_alone("small.jsonl");
}

/* Lines longer than a block, and than the limit, between short ones. */
static void long_lines_have_blocks_of_their_own(void **state)
{
    (void)state;
    static const int sizes[] = {262000, 262144, 700000, UM_LINES_MAX_BYTES - 100,
                                UM_LINES_MAX_BYTES + 100};
    um_str text = UM_STR_INIT;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        um_str_appendf(&text, "{\"i\":1}\n{\"t\":\"%*s\"}\n{\"i\":2}\n\n", sizes[i], "");
    um_str_append(&text, "{\"i\":3}");
    assert_int_equal(um_str_status(&text, &err), UM_OK);
    put(dir, "long.jsonl", text.data);
    compare_with_alone("long.jsonl");
    um_str_dispose(&text);
}

static bool keeps_roots; /* set before the threads are there */

static um_status make_number(void *context, um_jval root, um_str *made, um_row_notes *notes,
                             um_error *error)
{
    assert_true(notes->user_hash == 0 && notes->item_hash == 0);
    um_jval value;
    int64_t n = -1;
    *(size_t *)context += 1;
    notes->keeps_root = keeps_roots;
    if (um_jval_get(root, "n", &value))
        (void)um_jval_i64(value, &n);
    um_str_append_n(made, &n, sizeof n);
    return um_str_status(made, error);
}

/* What makers make comes with its row, whichever made it, and every row is made once. */
static void rows_are_made(void **state)
{
    (void)state;
    size_t counts[UM_PARSED_THREADS] = {0};
    um_parsed_spec spec = {.noun = "JSON object", .make = make_number};
    um_parsed *p = NULL;
    um_parsed_row row;
    bool any = true;
    char path[300];
    size_t n_good = 0;
    put_rows("rows.jsonl", 0);
    snprintf(path, sizeof path, "%s/rows.jsonl", dir);
    for (int keeps = 0; keeps < 2; keeps++) {
        keeps_roots = keeps == 1;
        for (size_t i = 0; i < UM_PARSED_THREADS; i++)
            spec.makers[i] = &counts[i];
        assert_ok(um_bundle_open(&bundle, path, &err), err);
        assert_ok(um_lines_open(&lines, bundle, &bundle->entries[0], &err), err);
        assert_ok(um_parsed_open(&p, &spec, &lines, &err), err);
        for (int i = 0; i < N_ROWS; i++) {
            int64_t n = -1;
            assert_ok(um_parsed_next(p, &row, &any, &err), err);
            assert_true(any && row.line == (uint64_t)(i + 1 + i / 50 + 1));
            if (row.bad != NULL)
                continue;
            memcpy(&n, row.made, sizeof n);
            assert_int_equal(n, i);
            assert_int_equal(row.root.document != NULL, keeps);
            n_good++;
        }
        close_file(p);
    }
    assert_int_equal(counts[0] + counts[1], n_good);
}

/* A row that is made some rows after it was parsed: from its own text, with the hashes of its own
 * ids; whoever takes it has the hashes that the maker left. */
typedef struct late {
    const um_dataset_builder *builder;
    size_t n;
} late;
typedef struct late_row {
    int64_t n;
    uint32_t item;
    bool is_found;
    char text[48];
} late_row;

static um_status make_late(void *context, um_jval root, um_str *made, um_row_notes *notes,
                           um_error *error)
{
    late *l = context;
    late_row row = {.n = -1};
    const char *text = NULL;
    size_t len = 0;
    um_jval value;
    l->n++;
    if (um_jval_str(um_jval_member(root, 1), &text, &len)) {
        assert_true(notes->item_hash == um_map_hash(text, len));
        row.is_found =
            um_builder_find_item_hashed(l->builder, text, len, notes->item_hash, &row.item);
    } else {
        assert_true(notes->item_hash == 0);
    }
    assert_true(um_jval_get(root, "n", &value) && um_jval_i64(value, &row.n));
    assert_true(um_jval_get(root, "t", &value) && um_jval_str(value, &text, &len));
    snprintf(row.text, sizeof row.text, "%s", text);
    um_str_append_n(made, &row, sizeof row);
    return um_str_status(made, error);
}

/* Row i: some bad, some long, some with escapes, some whose item is no text or not there. */
static void put_late_rows(void)
{
    um_str text = UM_STR_INIT;
    for (int i = 0; i < N_ROWS; i++) {
        char item[32];
        snprintf(item, sizeof item, i % 23 == 0 ? "%d" : "\"item %d.\"", i % 700);
        um_str_appendf(&text, "{\"n\":%d,\"user\":\"u%d\",\"item\":%s,\"t\":\"%s%d\"%s\n", i, i,
                       item, i % 7 == 0 ? "\\u00e9\\n" : "row ", i, i % 61 == 0 ? "" : "}");
    }
    assert_int_equal(um_str_status(&text, &err), UM_OK);
    put(dir, "late.jsonl", text.data);
    um_str_dispose(&text);
}

static void rows_are_made_later(void **state)
{
    (void)state;
    static const um_jkey members[] = {UM_JKEY("user"), UM_JKEY("item")};
    um_dataset_builder *b = NULL;
    um_parsed *p = NULL;
    um_parsed_row row;
    bool any = true;
    char path[300], text[64];
    size_t n_good = 0;
    assert_ok(um_dataset_builder_new(&b, "t", &err), err);
    for (uint32_t i = 0; i < 500; i++) {
        uint32_t index = 0;
        snprintf(text, sizeof text, "item %u.", i * 3 % 500); /* not in the order of their names */
        assert_ok(um_dataset_builder_item(b, text, &index, NULL, &err), err);
    }
    late makers[UM_PARSED_THREADS] = {{.builder = b}, {.builder = b}};
    const um_parsed_spec spec = {.noun = "JSON object",
                                 .members = members,
                                 .n_members = 2,
                                 .make = make_late,
                                 .makers = {&makers[0], &makers[1]},
                                 .builder = b,
                                 .ids_are_members = true,
                                 .makers_find_items = true};
    put_late_rows();
    snprintf(path, sizeof path, "%s/late.jsonl", dir);
    assert_ok(um_bundle_open(&bundle, path, &err), err);
    assert_ok(um_lines_open(&lines, bundle, &bundle->entries[0], &err), err);
    assert_ok(um_parsed_open(&p, &spec, &lines, &err), err);
    for (int i = 0; i < N_ROWS; i++) {
        late_row made;
        assert_ok(um_parsed_next(p, &row, &any, &err), err);
        assert_true(any && row.line == (uint64_t)i + 1);
        assert_int_equal(row.bad != NULL, i % 61 == 0);
        if (row.bad != NULL)
            continue;
        n_good++;
        memcpy(&made, row.made, sizeof made);
        snprintf(text, sizeof text, "%s%d", i % 7 == 0 ? "\xC3\xA9\n" : "row ", i);
        assert_int_equal(made.n, i);
        assert_string_equal(made.text, text);
        assert_int_equal(made.is_found, i % 23 != 0 && i % 700 < 500);
        if (made.is_found)
            assert_int_equal(made.item * 3 % 500, i % 700);
    }
    assert_ok(um_parsed_next(p, &row, &any, &err), err);
    assert_false(any);
    close_file(p);
    assert_int_equal(makers[0].n + makers[1].n, n_good);
    /* Whoever takes rows may add users meanwhile, which makers do not look at. */
    assert_ok(um_bundle_open(&bundle, path, &err), err);
    assert_ok(um_lines_open(&lines, bundle, &bundle->entries[0], &err), err);
    assert_ok(um_parsed_open(&p, &spec, &lines, &err), err);
    for (int i = 0; i < N_ROWS; i++) {
        um_status status = um_parsed_next(p, &row, &any, &err);
        snprintf(text, sizeof text, "u%d of many", i);
        if (status == UM_OK)
            status = um_dataset_builder_user(b, text, &(uint32_t){0}, NULL, &err);
        if (status != UM_OK)
            fail_msg("%s", err.text);
    }
    close_file(p);
    um_dataset_builder_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_come_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_come_after_the_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_are_those_of_single_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(small_files_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_lines_have_blocks_of_their_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_are_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_are_made_later, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
