/* test_data_mapped.c - logs of any form through a mapping: what columns mean, lists, refusals. */
#include <math.h>

#include "base/rng.h"
#include "base/str.h"
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

/* Reads dir by the mapping, which is put into dir/shop.yaml. */
static um_status read_mapped(um_dataset **d, um_ingest_report *report, seen *s, const char *mapping)
{
    char path[300];
    um_ingest_options options;
    um_ingest_defaults(&options);
    put(dir, "shop.yaml", mapping);
    snprintf(path, sizeof path, "%s/shop.yaml", dir);
    options.mapping = path;
    options.on_rejection = see;
    options.context = s;
    s->n = 0;
    *d = NULL;
    return um_dataset_read(d, report, dir, &options, NULL, &err);
}

static um_dataset *read_good(const char *mapping, seen *s)
{
    um_dataset *d = NULL;
    um_ingest_report report;
    assert_ok(read_mapped(&d, &report, s, mapping), err);
    assert_counts_add_up(&report, s);
    assert_string_equal(report.adapter, "mapped");
    assert_string_equal(d->name, "shop");
    return d;
}

static void assert_rejections(const seen *s, const char *const *reasons, size_t n)
{
    for (size_t i = 0; i < s->n && i < n; i++)
        assert_has(s->text[i], reasons[i]);
    assert_int_equal(s->n, n);
}

/* "a b c": the list of interaction i. */
static const char *list_of(const um_dataset *d, uint64_t i)
{
    static char text[200];
    size_t n = 0;
    text[0] = '\0';
    for (uint64_t j = d->impression_start[i]; j < d->impression_start[i + 1]; j++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n > 0 ? " " : "",
                              d->items.ids[d->impression_item[j]]);
    return text;
}

static const char *skip_of(const um_dataset *d, uint64_t k)
{
    static char text[200];
    size_t n = 0;
    text[0] = '\0';
    for (uint64_t j = d->skip_list_start[k]; j < d->skip_list_start[k + 1]; j++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n > 0 ? " " : "",
                              d->items.ids[d->skip_item[j]]);
    return text;
}

static void plain_csv(void **state)
{
    (void)state;
    seen s;
    put(dir, "clicks.csv",
        "when;sku;who;stars;from;title;tags\n"
        "31.12.1999 23:59;007;ann;4,5;web;x;\n"
        "31.12.1999 23:58;b;ann;4.5;NULL;x;red| blue |\n"
        "01.01.2000 00:00;b;\"bo;b\";;app;;\n"
        "2000-01-01;b;ann;1;web;x;\n"
        ";b;ann;1;web;x;\n"
        "01.01.2000 00:00;;ann;1;web;x;\n"
        "01.01.2000 00:00;b;NULL;1;web;x;\n");
    put(dir, "people.tsv", "ann\t31\t7\t\nbo;b\t\t\ta,b\nann\t32\t8\t\n");
    put_gzip(dir, "things.jsonl.gz",
             "{\"id\":7,\"title\":\"a\",\"meta\":{\"price\":1.50,\"tags\":[\"x\",2]}}\n"
             "{\"id\":\"007\",\"title\":null,\"meta\":{\"price\":\"9\",\"day\":\"2 Mar 1998\"}}\n"
             "{\"id\":\"b\",\"title\":[\"B\",\"side\"],\"meta\":{\"day\":\"soon\"}}\n"
             "{\"id\":null}\n"
             "{\"id\":\"c\",\"title\":\"\\u0000\"}\n"
             "{\"id\":\"c\"\n");
    um_dataset *d =
        read_good("log:\n"
                  "  file: clicks.csv\n"
                  "  separator: ';'\n"
                  "  absent: [\"NULL\"]\n"
                  "  user: who\n"
                  "  item: sku\n"
                  "  time: {column: when, format: \"%d.%m.%Y %H:%M\"}\n"
                  "  numbers: {rating: stars}\n"
                  "  texts:\n"
                  "    source: from\n"
                  "    tags: {column: tags, separator: \"|\"}\n"
                  "users:\n"
                  "  file: people.tsv\n"
                  "  columns: [name, age, score, likes]\n"
                  "  id: name\n"
                  "  descriptions: [age]\n"
                  "  features: {score: score, likes: {column: likes, separator: \",\"}}\n"
                  "items:\n"
                  "  file: things.jsonl.gz\n"
                  "  id: id\n"
                  "  release: {column: meta.day, format: words}\n"
                  "  descriptions: {title: title, tags: meta.tags}\n"
                  "  features: {price: meta.price, tags: meta.tags}\n",
                  &s);
    static const char *const reasons[] = {
        "people.tsv:3: name 'ann' was described before",
        "things.jsonl.gz:3: meta.day 'soon' is not of the format said",
        "things.jsonl.gz:4: id is absent",
        "things.jsonl.gz:5: U+0000 in a text",
        "things.jsonl.gz:6: not one whole JSON object: column",
        "clicks.csv:2: stars '4,5' is not a number",
        "clicks.csv:5: when '2000-01-01' is not of the format said",
        "clicks.csv:6: when '' is absent",
        "clicks.csv:7: sku is absent",
        "clicks.csv:8: who is absent",
    };
    assert_rejections(&s, reasons, sizeof reasons / sizeof *reasons);
    assert_int_equal(d->n_interactions, 2);
    assert_int_equal(d->time_s[0], 946684680);
    assert_string_equal(d->users.ids[1], "bo;b");
    assert_string_equal(user_text(d, "ann", "age"), "31");
    assert_string_equal(user_text(d, "ann", "score"), "7");
    assert_null(user_text(d, "bo;b", "age"));
    assert_string_equal(user_text(d, "bo;b", "likes"), "[\"a\",\"b\"]");
    assert_string_equal(item_text(d, "7", "tags"), "x, 2");
    assert_string_equal(item_text(d, "7", "price"), "1.5");
    assert_string_equal(item_text(d, "007", "price"), "\"9\"");
    assert_null(item_text(d, "007", "title"));
    int tags = um_table_column(&d->items, "tags");
    assert_int_equal(d->items.kinds[tags], UM_COLUMN_DESCRIPTION);
    assert_string_equal(um_table_cell(&d->items, 0, tags + 2), "[\"x\",2]");
    assert_true(d->item_has_release[1] && d->item_available_s[1] == 888796800);
    assert_true(um_dataset_series(d, "rating")->numbers[0] == 4.5);
    assert_true(isnan(um_dataset_series(d, "rating")->numbers[1]));
    assert_null(um_dataset_series(d, "source")->texts[0]);
    assert_string_equal(um_dataset_series(d, "source")->texts[1], "\"app\"");
    assert_string_equal(um_dataset_series(d, "tags")->texts[0], "[\"red\",\"blue\"]");
    um_dataset_free(d);
}

static void times(void **state)
{
    (void)state;
    static const struct {
        const char *format, *text;
        int64_t time_s;
    } rows[] = {
        {"unix", "1577836800", 1577836800},
        {"unix", "1577836800.9", 1577836800},
        {"unix_ms", "1577836800999", 1577836800},
        {"unix_ms", "-1", -1},
        {"unix_ms", "1.577836800999e12", 1577836800},
        {"unix_us", "1577836800999999", 1577836800},
        {"iso", "2020-01-01T00:00:00Z", 1577836800},
        {"us", "1/1/2020 12:00:00 AM", 1577836800},
        {"ctime", "Wed Jan 01 00:00:00 +0000 2020", 1577836800},
        {"dashed", "01-Jan-2020", 1577836800},
        {"'%Y/%m/%d'", "2020/01/01", 1577836800},
        {"unix", "1577836800000", INT64_MIN}, /* milliseconds */
        {"unix_ms", "soon", INT64_MIN},
        {"unix_us", "9223372036854775807", INT64_MIN},
        {"unix_ms", "1e300", INT64_MIN},
        {"iso", "1577836800", INT64_MIN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[300], mapping[300];
        seen s;
        snprintf(text, sizeof text, "u,i,t\nx,y,%s\nx,z,%s\n", rows[i].text, rows[i].text);
        snprintf(mapping, sizeof mapping,
                 "log: {file: a.csv, user: u, item: i, time: {column: t, format: %s}}\n",
                 rows[i].format);
        put(dir, "a.csv", text);
        um_dataset *d = NULL;
        um_ingest_report report;
        um_status status = read_mapped(&d, &report, &s, mapping);
        if (rows[i].time_s == INT64_MIN) {
            assert_int_equal(status, UM_ERR_INPUT);
            assert_has(err.text, "none of its 2 rows is good");
            continue;
        }
        assert_ok(status, err);
        if (d->time_s[0] != rows[i].time_s)
            fail_msg("%s %s: %lld", rows[i].format, rows[i].text, (long long)d->time_s[0]);
        um_dataset_free(d);
    }
    seen s;
    put(dir, "a.csv", "u,i\nx,y\nz,y\nx,w\n");
    um_dataset *d = read_good("log: {file: a.csv, user: u, item: i, time: {format: order}}\n", &s);
    assert_int_equal(d->time_s[0], 1);
    assert_int_equal(d->time_s[1], 3);
    assert_int_equal(d->time_s[2], 2);
    um_dataset_free(d);
}

static void lists_in_a_row(void **state)
{
    (void)state;
    seen s;
    put(dir, "log.csv",
        "u,t,clicked,shown,pos\n"
        "x,1,b,a b c,2\n"
        "x,2,a c,a b c,\n"
        "x,3,,a b,\n"
        "x,4,d,a b,\n"
        "x,5,b,a b,1\n"
        "x,6,b,a b a,\n"
        "x,7,b b,a b,\n"
        "x,8,,,\n"
        "x,9,,a b,1\n"
        "x,10,b,a b,z\n"
        "x,11,b,,\n"
        "x,12,a,a b c d,\n");
    static const char common[] = "log:\n  file: log.csv\n  user: u\n"
                                 "  time: {column: t, format: unix}\n  impressions:\n"
                                 "    list: {column: shown, separator: ' '}\n"
                                 "    position: pos\n    first_position: 1\n";
    char mapping[500];
    snprintf(mapping, sizeof mapping, "%s  item: {column: clicked, separator: ' '}\n", common);
    um_dataset *d = read_good(mapping, &s);
    static const char *const reasons[] = {
        "log.csv:5: item 'd' is not in the list of 2 shown",
        "log.csv:6: item 'b' is not at the position said",
        "log.csv:7: item 'a' is listed twice",
        "log.csv:8: item 'b' is listed twice",
        "log.csv:9: clicked is absent",
        "log.csv:10: the position says that something was chosen, but there is no item",
        "log.csv:11: the position is not a whole number",
    };
    assert_rejections(&s, reasons, sizeof reasons / sizeof *reasons);
    assert_int_equal(d->n_interactions, 5);
    assert_string_equal(list_of(d, 0), "a b c");
    assert_int_equal(d->impression_position[0], 1);
    assert_int_equal(d->impression_position[1], 0);
    assert_int_equal(d->impression_position[2], 2);
    assert_string_equal(list_of(d, 2), "a b c");
    assert_string_equal(list_of(d, 3), "");
    assert_int_equal(d->n_skips, 1);
    assert_string_equal(skip_of(d, 0), "a b");
    assert_int_equal(d->skip_time_s[0], 3);
    um_dataset_free(d);

    /* The item by its position alone. */
    put(dir, "log.csv", "u,t,shown,pos\nx,1,a b c,2\nx,2,a b,0\nx,3,a b,\nx,4,a b,3\nx,5,,1\n");
    d = read_good(common, &s);
    static const char *const by_position[] = {
        "log.csv:5: the position is past the end of the list",
        "log.csv:6: shown is absent",
    };
    assert_rejections(&s, by_position, 2);
    assert_int_equal(d->n_interactions, 1);
    assert_string_equal(d->items.ids[d->item[0]], "b");
    assert_int_equal(d->n_skips, 2);
    um_dataset_free(d);

    /* The same in JSON lines, where lists are lists. */
    put(dir, "log.jsonl",
        "{\"u\":5,\"t\":1,\"hit\":[10],\"shown\":[9,10,\"x\"]}\n"
        "{\"u\":5,\"t\":2,\"hit\":\"x\",\"shown\":[\"x\"]}\n"
        "{\"u\":5,\"t\":3,\"shown\":[\"x\",9]}\n"
        "{\"u\":5,\"t\":4,\"hit\":null,\"shown\":[]}\n"
        "{\"u\":5,\"t\":5,\"hit\":\"x\",\"shown\":[\"\",\"x\"]}\n");
    d = read_good("log:\n  file: log.jsonl\n  user: u\n  item: hit\n"
                  "  time: {column: t, format: unix}\n  impressions: {list: shown}\n",
                  &s);
    static const char *const json[] = {"log.jsonl:4: hit is absent",
                                       "log.jsonl:5: an item id is empty"};
    assert_rejections(&s, json, 2);
    assert_string_equal(d->users.ids[0], "5");
    assert_string_equal(list_of(d, 0), "9 10 x");
    assert_int_equal(d->impression_position[0], 1);
    assert_string_equal(skip_of(d, 0), "x 9");
    um_dataset_free(d);
}

static const char by_row[] = "log:\n  file: log.csv\n  user: u\n  item: i\n"
                             "  time: {column: t, format: unix}\n"
                             "  numbers: [dwell]\n  texts: [note]\n"
                             "  impressions: {id: imp, clicked: click, position: rank}\n";

static void one_row_an_item(void **state)
{
    (void)state;
    seen s;
    put(dir, "log.csv",
        "imp,u,i,t,click,rank,dwell,note\n"
        "1,x,a,10,0,3,,\n"
        "1,x,b,11,1,1,2.5,good\n"
        "1,x,c,11,true,2,7,\n"
        "2,x,a,20,0,2,,\n"
        "2,x,d,20,no,1,,\n"
        "3,y,c,30,1,1,0,\n");
    um_dataset *d = read_good(by_row, &s);
    assert_int_equal(s.n, 0);
    assert_int_equal(d->n_interactions, 3);
    assert_string_equal(list_of(d, 0), "b c a");
    assert_string_equal(list_of(d, 1), "b c a");
    assert_int_equal(d->impression_position[0], 0);
    assert_int_equal(d->impression_position[1], 1);
    assert_int_equal(d->time_s[0], 10); /* of the impression's first row */
    assert_int_equal(d->time_s[1], 10);
    assert_string_equal(d->items.ids[d->item[0]], "b");
    assert_string_equal(d->items.ids[d->item[1]], "c");
    const um_series *dwell = um_dataset_series(d, "dwell"), *note = um_dataset_series(d, "note");
    assert_true(dwell->numbers[0] == 2.5 && dwell->numbers[1] == 7 && dwell->numbers[2] == 0);
    assert_string_equal(note->texts[0], "\"good\"");
    assert_null(note->texts[1]);
    assert_string_equal(list_of(d, 2), "c");
    assert_int_equal(d->n_skips, 1);
    assert_string_equal(skip_of(d, 0), "d a");
    um_dataset_free(d);

    /* What a filter leaves out takes all rows along: lists that are too long, users with too few.
     */
    char path[300];
    um_ingest_options options;
    um_ingest_report report;
    um_ingest_defaults(&options);
    snprintf(path, sizeof path, "%s/shop.yaml", dir);
    options.mapping = path;
    options.filters.max_list = 2;
    options.on_rejection = see;
    options.context = &s;
    s.n = 0;
    assert_ok(um_dataset_read(&d, &report, dir, &options, NULL, &err), err);
    assert_counts_add_up(&report, &s);
    assert_int_equal(report.rows_filtered, 3);
    assert_int_equal(d->n_interactions, 1);
    um_dataset_free(d);
    options.filters.max_list = 0;
    options.filters.max_user_interactions = 1;
    s.n = 0;
    assert_ok(um_dataset_read(&d, &report, dir, &options, NULL, &err), err);
    assert_counts_add_up(&report, &s);
    assert_int_equal(report.rows_filtered, 5);
    assert_int_equal(d->n_interactions, 1);
    assert_int_equal(d->n_skips, 0);
    um_dataset_free(d);
}

/* A list that lacks an item is not what was shown: one bad row, and the impression goes. */
static void bad_rows_break_impressions(void **state)
{
    (void)state;
    static const char good[] = "1,x,a,10,0,1,,\n1,x,b,10,1,2,,\n", after[] = "9,y,c,30,1,1,,\n";
    static const struct {
        const char *rows, *reason;
        size_t rejected, filtered, interactions;
    } cases[] = {
        {"2,x,a,20,1,1,,\n2,y,e,20,0,2,,\n2,x,f,20,0,3,,\n",
         "5: impression '2' has another user in line 4", 1, 2, 2},
        {"2,x,a,20,1,1,,\n2,x,a,20,0,2,,\n", "5: item 'a' is shown twice in impression '2'", 1, 1,
         2},
        {"2,x,a,20,maybe,1,,\n2,x,b,20,1,2,,\n", "4: click 'maybe' is neither", 1, 1, 2},
        {"2,x,a,20,1,last,,\n2,x,b,20,1,2,,\n", "4: rank 'last' is not a whole", 1, 1, 2},
        {"2,x,a,20,1,1,z,\n2,x,b,20,1,2,,\n", "4: dwell 'z' is not a number", 1, 1, 2},
        {"2,x,a,soon,1,1,,\n2,x,b,20,1,2,,\n", "4: t 'soon' is not a number", 1, 1, 2},
        {"2,,a,20,1,1,,\n2,x,b,20,1,2,,\n", "4: u is absent", 1, 1, 2},
        {"2,x,b,20,1,2,,\n2,x,,20,1,1,,\n", "5: i is absent", 1, 1, 2},
        /* Late rows take back what their impression gave. */
        {"2,x,c,20,1,1,,\n1,x,e,10,0,4,,\n", "5: impression '1' was over before", 1, 2, 2},
        {"2,x,c,20,0,1,,\n2,x,d,20,0,2,,\n3,x,e,20,1,1,,\n2,x,e,10,0,4,,\n",
         "7: impression '2' was over before", 1, 2, 3},
        {"2,x,c,20,0,maybe,,\n3,x,e,20,1,1,,\n2,x,e,10,0,4,,\n",
         "6: impression '2' was over before", 2, 0, 3},
        /* Rows of unknown impressions may be of the one before and of the one after. */
        {",x,a,20,1,1,,\n", "4: imp is absent", 1, 3, 0},
        {"2,x\n2,x,d,20,1,1,,\n", "4: short row", 1, 3, 1},
        {"2,x,d,20,1,1,,\n2,x,\xFF,20,1,1,,\n2,x,b,20,0,2,,\n", "5: not UTF-8", 1, 2, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[600];
        um_dataset *d = NULL;
        um_ingest_report report;
        seen s;
        snprintf(text, sizeof text, "imp,u,i,t,click,rank,dwell,note\n%s%s%s", good, cases[i].rows,
                 after);
        put(dir, "log.csv", text);
        um_status status = read_mapped(&d, &report, &s, by_row);
        if (status != UM_OK && cases[i].interactions > 0)
            fail_msg("case %zu: %s", i, err.text);
        bool found = false;
        for (size_t k = 0; k < s.n; k++)
            found = found || strstr(s.text[k], cases[i].reason) != NULL;
        if (!found)
            fail_msg("case %zu: nothing is rejected because of %s", i, cases[i].reason);
        assert_counts_add_up(&report, &s);
        if (report.rows_rejected != cases[i].rejected + cases[i].filtered ||
            report.rows_filtered != cases[i].filtered ||
            (d != NULL ? d->n_interactions : 0) != cases[i].interactions)
            fail_msg("case %zu: %d rejected, %d of them filtered, %d interactions", i,
                     (int)report.rows_rejected, (int)report.rows_filtered,
                     d != NULL ? (int)d->n_interactions : 0);
        um_dataset_free(d);
    }
}

/* Items described by the rows of the log itself; several files; items without a description. */
static void repeated_rows(void **state)
{
    (void)state;
    seen s;
    put(dir, "a.csv", "u,i,t,title\nx,1,2020-01-01,one\nx,2,2020-01-02,two\n");
    put(dir, "b.csv", "t,u,title,i\n2020-01-03,y,other,1\n2020-01-04,y,four,4\n");
    um_dataset *d = read_good("log: {file: [a.csv, b.csv], user: u, item: i, time: t}\n"
                              "items: {file: a.csv, id: i, descriptions: [title], repeats: true}\n",
                              &s);
    assert_int_equal(s.n, 0);
    assert_int_equal(d->n_interactions, 4);
    assert_int_equal(d->users.n_rows, 2);
    assert_string_equal(item_text(d, "1", "title"), "one");
    assert_null(item_text(d, "4", "title"));
    um_dataset_free(d);

    /* A file that is read twice has two names in the report. */
    um_ingest_report report;
    assert_ok(read_mapped(&d, &report, &s,
                          "log: {file: a.csv, user: u, item: i, time: t}\n"
                          "items: {file: a.csv, id: i, repeats: true}\n"),
              err);
    assert_int_equal(report.n_files, 2);
    assert_string_equal(report.files[0].name, "a.csv");
    assert_string_equal(report.files[1].name, "a.csv (2)");
    um_dataset_free(d);
}

static void bad_mappings_are_refused(void **state)
{
    (void)state;
#define LOG "log: {file: a.csv, user: u, item: i, time: t"
    static const struct {
        const char *mapping, *message;
    } rows[] = {
        {"", "the file is empty"},
        {"log: 3\n", "shop.yaml:1: log must be keys with values"},
        {"users: {file: a.csv, id: u}\n", "a mapping needs `log`"},
        {"lug: {}\n", "shop.yaml:1: a mapping has no key 'lug', did you mean 'log'?"},
        {LOG ", usr: x}\n", "log has no key 'usr', did you mean 'user'?; it has: file, format"},
        {LOG "}\nitems: {file: a.csv, id: i, descripions: [x]}\n",
         "shop.yaml:2: items has no key 'descripions', did you mean 'descriptions'?"},
        {LOG "}\nusers: {file: a.csv, id: i, release: t}\n", "users has no key 'release'"},
        {LOG "}\nusers: {file: a.csv}\n", "users needs `id`"},
        {"log: {user: u, item: i, time: t}\n", "log needs a `file`"},
        {"log: {file: a.csv, item: i, time: t}\n", "log needs `user`"},
        {"log: {file: a.csv, user: u, time: t}\n", "log needs `item`"},
        {"log: {file: a.csv, user: u, item: i}\n", "log needs `time`"},
        {"log: {file: a.csv, user: u, item: i, time: {column: t, format: unx}}\n",
         "format 'unx' is none of: iso, unix"},
        {"log: {file: a.csv, user: u, item: i, time: {column: t, format: '%H:%M'}}\n",
         "format '%H:%M': it needs a year"},
        {"log: {file: a.csv, user: u, item: i, time: {column: t, format: order}}\n",
         "no `column` where its format is order"},
        {"log: {file: a.csv, user: u, item: i, time: {format: unix}}\n", "time needs a `column`"},
        {LOG ", format: xml}\n", "format 'xml' is none of: csv, tsv, jsonl"},
        {LOG ", quoted: maybe}\n", "quoted 'maybe' is none of: false, true"},
        {LOG ", encoding: utf-16}\n", "encoding 'utf-16' is none of"},
        {LOG ", separator: '::', quoted: true}\n", "only where the separator is one character"},
        {LOG ", numbers: x}\n", "'numbers' must be a list of columns"},
        {LOG ", numbers: [{column: x}]}\n", "a column in a list is only its name"},
        {LOG ", numbers: {x: {separator: ','}}}\n", "x needs a `column`"},
        {LOG ", columns: [u, i, u]}\n", "`columns` has 'u' twice"},
        {LOG ", columns: [u, i, time]}\n", "`columns` has no 't'"},
        {LOG ", format: jsonl, separator: x}\n", "JSON lines have neither"},
        {LOG ", impressions: {position: t}}\n", "impressions need either `list`"},
        {LOG ", impressions: {id: t}}\n", "impressions need either `list`"},
        {LOG ", impressions: {list: t}}\n", "`list` needs {column: ..., separator: ...}"},
        {LOG ", impressions: {id: t, clicked: t, first_position: 2}}\n", "is none of: 0, 1"},
        {"log: {file: b.csv, user: u, item: i, time: t}\n", "called b.csv; found a.csv, shop.yaml"},
        {"log: {file: a.csv, user: usr, item: i, time: t}\n",
         "a.csv:1: header has no column 'usr', did you mean 'user'?; it has: u, user, i, t"},
        {"log: {file: a.jsonl, user: u, item: i, time: t, numbers: [stars]}\n",
         "a.jsonl: no row has 'stars', which the section log of the mapping names"},
    };
    put(dir, "a.csv", "u,user,i,t\nx,x,y,2020-01-01\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        um_dataset *d = NULL;
        um_ingest_report report;
        seen s;
        if (strstr(rows[i].mapping, "a.jsonl") != NULL)
            put(dir, "a.jsonl", "{\"u\":\"x\",\"i\":\"y\",\"t\":\"2020-01-01\"}\n");
        if (read_mapped(&d, &report, &s, rows[i].mapping) != UM_ERR_INPUT)
            fail_msg("%s: not refused", rows[i].mapping);
        assert_has(err.text, rows[i].message);
        assert_null(d);
    }
    /* What says that a mapping is the way, and that it is for one adapter only. */
    um_dataset *d = NULL;
    um_ingest_report report;
    seen s;
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "--mapping FILE (docs/MAPPING.md)");
    assert_int_equal(read_with(&d, &report, &s, dir, "", "mapped", &err), UM_ERR_INPUT);
    assert_has(err.text, "described by --mapping FILE");
    um_ingest_options options = {.adapter = "steam", .mapping = "x.yaml", .max_bad = -1};
    assert_int_equal(um_dataset_read(&d, NULL, dir, &options, NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "a mapping is for adapter mapped, not for steam");
}

/* More columns than the parser finds by itself, names with dots, several blocks of rows. */
static void members_of_json_lines(void **state)
{
    (void)state;
    enum { N_ROWS = 6000, N_NUMBERS = 18 };
    seen s;
    um_str log = UM_STR_INIT, mapping = UM_STR_INIT;
    for (int k = 0; k < N_ROWS; k++) {
        um_str_appendf(&log, "{\"u\":\"x\",\"i\":%d,\"t\":%d,", k % 50, k + 1);
        if (k % 2 == 0) /* the member of that name goes before the one inside */
            um_str_appendf(&log, "\"a.b\":%d,", k);
        um_str_appendf(&log, "\"a\":{\"b\":-%d,\"c\":{\"d\":%d}},\"p\":{\"q\":%d},\"o\":{", k + 1,
                       2 * k, 7 * k);
        for (int i = 0; i < N_NUMBERS; i++)
            um_str_appendf(&log, "%s\"n%d\":%d.5", i > 0 ? "," : "", i, 100 * k + i);
        um_str_append(&log, "}}\n");
    }
    um_str_append(&mapping, "log:\n  file: log.jsonl\n  user: u\n  item: i\n"
                            "  time: {column: t, format: unix}\n"
                            "  numbers: {ab: a.b, deep: a.c.d");
    /* Of p.q the whole name is the last member that the parser finds, p one too many. */
    for (int i = 0; i < N_NUMBERS; i++)
        um_str_appendf(&mapping, "%s, n%d: o.n%d", i == 8 ? ", pq: p.q" : "", i, i);
    um_str_append(&mapping, "}\n");
    assert_true(log.failed == UM_OK && mapping.failed == UM_OK);
    put(dir, "log.jsonl", log.data);
    um_dataset *d = read_good(mapping.data, &s);
    assert_int_equal(s.n, 0);
    assert_int_equal(d->n_interactions, N_ROWS);
    for (int k = 0; k < N_ROWS; k++) {
        char name[16];
        assert_int_equal(atoi(d->items.ids[d->item[k]]), k % 50);
        assert_true(um_dataset_series(d, "ab")->numbers[k] == (k % 2 == 0 ? k : -k - 1));
        assert_true(um_dataset_series(d, "deep")->numbers[k] == 2 * k);
        assert_true(um_dataset_series(d, "pq")->numbers[k] == 7 * k);
        for (int i = 0; i < N_NUMBERS; i++) {
            snprintf(name, sizeof name, "n%d", i);
            assert_true(um_dataset_series(d, name)->numbers[k] == 100 * k + i + 0.5);
        }
    }
    um_dataset_free(d);
    um_str_dispose(&log);
    um_str_dispose(&mapping);
}

/* Lists that are sorted to find what comes twice. */
static void long_lists_in_a_row(void **state)
{
    (void)state;
    seen s;
    um_str log = UM_STR_INIT;
    um_str_append(&log, "u,t,i,shown\n");
    for (int twice = 0; twice <= 29; twice++) { /* 29: none */
        um_str_appendf(&log, "x,%d,i7,", twice + 1);
        for (int i = 0; i < 30; i++)
            um_str_appendf(&log, "%si%d", i > 0 ? " " : "",
                           i == 29 && twice < 29 ? twice : i * 7 % 29 + (i == 29) * 29);
        um_str_append(&log, "\n");
    }
    assert_int_equal(log.failed, UM_OK);
    put(dir, "log.csv", log.data);
    um_dataset *d = read_good("log:\n  file: log.csv\n  user: u\n  item: i\n"
                              "  time: {column: t, format: unix}\n"
                              "  impressions: {list: {column: shown, separator: ' '}}\n",
                              &s);
    assert_int_equal(s.n, 29);
    for (size_t i = 0; i < 29; i++) {
        char reason[64];
        snprintf(reason, sizeof reason, "log.csv:%zu: item 'i%zu' is listed twice", i + 2, i);
        assert_string_equal(s.text[i], reason);
    }
    assert_int_equal(d->n_interactions, 1);
    assert_int_equal(d->impression_start[1], 30);
    um_dataset_free(d);
    um_str_dispose(&log);
}

/* Random rows, good and bad, give the same from JSON lines, where the usual ones are taken without
 * writing ids down, as from a table. */
static void lists_in_both_forms(void **state)
{
    (void)state;
    enum { N_ROWS = 4000 };
    um_rng r;
    seen s[2];
    um_dataset *d[2];
    um_str table = UM_STR_INIT, lines = UM_STR_INIT;
    um_rng_init(&r, 6, UM_RNG_TEST, 4, 0, 0);
    um_str_append(&table, "u,t,i,shown,pos,x\n");
    for (uint32_t k = 0; k < N_ROWS; k++) {
        const uint32_t n = um_rng_below(&r, 12) == 0 ? 20 : um_rng_below(&r, 6);
        const uint32_t first = um_rng_below(&r, 10 + k / 20), wild = um_rng_below(&r, 8);
        const uint32_t at = n > 0 ? um_rng_below(&r, n) : 0, user = um_rng_below(&r, 9);
        char item[16] = "", place[16] = "";
        if (wild != 1)
            snprintf(item, sizeof item, "i%u", first + (wild == 2 ? 30 : at));
        if (um_rng_below(&r, 2) == 0)
            snprintf(place, sizeof place, "%u", at + 1 + (wild == 3));
        um_str_appendf(&table, "u%u,%u,%s,", user, k + 1, item);
        um_str_appendf(&lines, "{\"u\":\"u%u\",\"t\":%u,\"i\":\"%s\",\"shown\":[", user, k + 1,
                       item);
        for (uint32_t j = 0; j < n; j++) {
            const uint32_t shown = first + (wild == 4 && j + 1 == n ? 0 : j);
            um_str_appendf(&table, "%si%u", j > 0 ? " " : "", shown);
            um_str_appendf(&lines, "%s\"i%u\"", j > 0 ? "," : "", shown);
        }
        um_str_appendf(&table, ",%s,%u\n", place, k % 7);
        um_str_appendf(&lines, "],\"pos\":\"%s\",\"x\":%u}\n", place, k % 7);
    }
    assert_true(table.failed == UM_OK && lines.failed == UM_OK);
    for (int json = 0; json < 2; json++) {
        char mapping[400];
        put(dir, json ? "log.jsonl" : "log.csv", json ? lines.data : table.data);
        snprintf(mapping, sizeof mapping,
                 "log:\n  file: %s\n  user: u\n  item: i\n  numbers: [x]\n"
                 "  time: {column: t, format: unix}\n  impressions: {%s, position: pos, "
                 "first_position: 1}\n",
                 json ? "log.jsonl" : "log.csv",
                 json ? "list: shown" : "list: {column: shown, separator: ' '}");
        d[json] = read_good(mapping, &s[json]);
    }
    assert_true(s[0].n == s[1].n && s[0].n > 100);
    for (size_t i = 0; i < s[0].n && i < MAX_SEEN; i++) /* the table has a header */
        assert_string_equal(strchr(strchr(s[0].text[i], ':') + 1, ':'),
                            strchr(strchr(s[1].text[i], ':') + 1, ':'));
    assert_true(d[0]->n_interactions == d[1]->n_interactions && d[0]->n_interactions > 1000);
    assert_int_equal(d[0]->n_skips, d[1]->n_skips);
    for (uint64_t i = 0; i < d[0]->n_interactions; i++) {
        char list[200];
        strcpy(list, list_of(d[0], i));
        assert_string_equal(list_of(d[1], i), list);
        assert_string_equal(d[0]->items.ids[d[0]->item[i]], d[1]->items.ids[d[1]->item[i]]);
        assert_int_equal(d[0]->impression_position[i], d[1]->impression_position[i]);
        assert_true(d[0]->time_s[i] == d[1]->time_s[i]);
        assert_true(d[0]->series[0].numbers[i] == d[1]->series[0].numbers[i]);
    }
    for (uint32_t u = 0; u < d[0]->users.n_rows; u++)
        assert_int_equal(d[0]->user_start[u], d[1]->user_start[u]);
    um_dataset_free(d[0]);
    um_dataset_free(d[1]);
    um_str_dispose(&table);
    um_str_dispose(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_csv, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_in_a_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_lists_in_a_row, set_up, tear_down),
        cmocka_unit_test_setup_teardown(members_of_json_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_in_both_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_row_an_item, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_rows_break_impressions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repeated_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_mappings_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
