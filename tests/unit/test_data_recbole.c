/* test_data_recbole.c - RecBole's atomic files: typed headers, any separator, what is refused. */
#include <math.h>

#include "test_data_util.h"

static char dir[256];
static um_error err;

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

static um_dataset *read_folder(um_ingest_report *report, seen *s)
{
    um_dataset *d = NULL;
    assert_ok(read_with(&d, report, s, dir, "", NULL, &err), err);
    assert_counts_add_up(report, s);
    assert_string_equal(report->adapter, "recbole");
    return d;
}

static void all_three_files(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put(dir, "shop.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\tchannel:token\ttags:token_seq"
        "\tweights:float_seq\n"
        "u1\t007\t4.5\t1577836801.9\tw\"eb\tnew red\t1 2.5\n"
        "u1\tb\t3\t1577836800\t\t\t\n"
        "u2\tunknown\t\t1577836802\tapp\t\t\n");
    put(dir, "shop.user", "user_id:token\tage:token\tspent:float\nu1\t25-34\t12.50\nu3\t\t\n");
    put_gzip(dir, "shop.item.gz",
             "item_id:token\ttitle:token_seq\tclass:token\tprice:float\tvec:float_seq\n"
             "007\t\"Weird\" Al  live\tmusic\t9.90\t0.5 -1\nb\tB side\t\t\t\n");
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(s.n, 0);
    assert_string_equal(d->name, "shop");
    assert_int_equal(report.n_files, 3);
    assert_int_equal(d->users.n_rows, 3);
    assert_int_equal(d->items.n_rows, 3);
    assert_int_equal(d->n_interactions, 3);
    assert_int_equal(d->time_s[0], 1577836800);
    assert_int_equal(d->time_s[1], 1577836801);
    assert_string_equal(user_text(d, "u1", "age"), "25-34");
    assert_string_equal(user_text(d, "u1", "spent"), "12.5");
    assert_null(user_text(d, "u3", "age"));
    assert_string_equal(item_text(d, "007", "title"), "\"Weird\" Al  live");
    assert_string_equal(item_text(d, "007", "class"), "music");
    assert_string_equal(item_text(d, "007", "price"), "9.9");
    assert_string_equal(item_text(d, "007", "vec"), "[0.5,-1]");
    assert_null(item_text(d, "b", "class"));
    assert_null(item_text(d, "unknown", "title"));
    assert_int_equal(d->items.kinds[um_table_column(&d->items, "title")], UM_COLUMN_DESCRIPTION);
    assert_int_equal(d->items.kinds[um_table_column(&d->items, "price")], UM_COLUMN_FEATURE);
    const um_series *rating = um_dataset_series(d, "rating");
    assert_true(rating->numbers[0] == 3 && rating->numbers[1] == 4.5 && isnan(rating->numbers[2]));
    assert_string_equal(um_dataset_series(d, "channel")->texts[1], "\"w\\\"eb\"");
    assert_null(um_dataset_series(d, "channel")->texts[0]);
    assert_string_equal(um_dataset_series(d, "tags")->texts[1], "[\"new\",\"red\"]");
    assert_string_equal(um_dataset_series(d, "weights")->texts[1], "[1,2.5]");
    um_dataset_free(d);
}

static void any_separator(void **state)
{
    (void)state;
    static const char *const separators[] = {",", "|", ";", "::", " ", "\t", "##"};
    for (size_t i = 0; i < sizeof separators / sizeof *separators; i++) {
        um_ingest_report report;
        seen s;
        char text[300];
        const char *p = separators[i];
        snprintf(text, sizeof text,
                 "item_id:token%suser_id:token%stimestamp:float\na%su%s5\nb%su%s6\n", p, p, p, p, p,
                 p);
        put(dir, "x.inter", text);
        um_dataset *d = read_folder(&report, &s);
        assert_int_equal(s.n, 0);
        assert_int_equal(d->n_interactions, 2);
        assert_string_equal(d->items.ids[1], "b");
        assert_string_equal(d->users.ids[0], "u");
        um_dataset_free(d);
    }
    /* Commas in quoted fields; times as text where the column is a token. */
    um_ingest_report report;
    seen s;
    put(dir, "x.inter",
        "user_id:token,item_id:token,timestamp:token,note:token\r\n"
        "u,a,2020-01-01 00:00:00,\"one, \"\"two\"\"\"\r\n");
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(d->time_s[0], 1577836800);
    assert_string_equal(um_dataset_series(d, "note")->texts[0], "\"one, \\\"two\\\"\"");
    um_dataset_free(d);
}

static void bad_rows_are_counted(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put(dir, "x.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\tw:float_seq\n"
        "u\ta\t1\t5\t\n"
        "\ta\t1\t5\t\n"
        "u\t\t1\t5\t\n"
        "u\tb\tgood\t5\t\n"
        "u\tb\tnan\t5\t\n"
        "u\tb\t1e999\t5\t\n"
        "u\tb\t1\t\t\n"
        "u\tb\t1\tsoon\t\n"
        "u\tb\t1\t1577836800000\t\n"
        "u\tb\t1\t5\t1 x\n"
        "u\tb\t1\t5\n"
        "u\tb\t1\t5\t\t\n"
        "u\tb\xFF\t1\t5\t\n"
        "u\ta\t2\t5\t\n");
    put(dir, "x.item", "item_id:token\tp:float\na\t1\na\t2\n\t3\nc\tx\n");
    um_dataset *d = read_folder(&report, &s);
    static const char *const reasons[] = {
        "x.item:3: item_id 'a' was described before",
        "x.item:4: item_id is empty",
        "x.item:5: p 'x' is not a number",
        "x.inter:3: user_id or item_id is empty",
        "x.inter:4: user_id or item_id is empty",
        "x.inter:5: rating 'good' is not a number",
        "x.inter:6: rating 'nan' is not a number",
        "x.inter:7: rating '1e999' is not a number",
        "x.inter:8: timestamp '' is not a number of seconds since 1970",
        "x.inter:9: timestamp 'soon' is not a number of seconds since 1970",
        "x.inter:10: timestamp '1577836800000' looks like milliseconds",
        "x.inter:11: w '1 x' is not a list of numbers",
        "x.inter:12: short row: 4 fields, need 5",
        "x.inter:13: long row: 6 fields, need 5",
        "x.inter:14: not UTF-8",
        "x.inter:15: user, item and time as in an earlier row",
    };
    assert_int_equal(s.n, sizeof reasons / sizeof *reasons);
    for (size_t i = 0; i < s.n; i++)
        assert_has(s.text[i], reasons[i]);
    assert_int_equal(d->n_interactions, 1);
    assert_int_equal(d->items.n_rows, 1); /* rejected rows leave no trace */
    um_dataset_free(d);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "x.inter: the file is empty"},
        {"user_id\titem_id\ttimestamp\nu\ta\t5\n", "x.inter:1: header: 'user_id"},
        {"user_id:token\titem_id:text\ttimestamp:float\nu\ta\t5\n", "'item_id:text' has no type"},
        {"user_id:token\titem_id:token\nu\ta\n", "no column timestamp:float; if the order"},
        {"user:token\titem_id:token\ttimestamp:float\nu\ta\t5\n", "no column user_id:token"},
        {"user_id:token\tid:token\ttimestamp:float\nu\ta\t5\n", "no column item_id:token"},
        {"user_id:token\titem_id:token\ttimestamp:float\n", "x.inter: no rows after its first"},
        {"user_id:token\titem_id:token\tuser_id:token\ttimestamp:float\nu\ta\tv\t5\n",
         "column 'user_id:token' 2 times"},
        {"user_id:token\titem_id:token\ttimestamp:float\nu\ta\tx\n", "none of its 1 rows is good"},
    };
    um_dataset *d = NULL;
    um_ingest_report report;
    seen s;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put(dir, "x.inter", rows[i].text);
        if (read_with(&d, &report, &s, dir, "", NULL, &err) != UM_ERR_INPUT)
            fail_msg("row %zu is not refused", i);
        assert_has(err.text, rows[i].message);
    }
    put(dir, "y.inter", "user_id:token\titem_id:token\ttimestamp:float\nu\ta\t5\n");
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "2 files end with .inter");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_three_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_separator, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_rows_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_files_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
