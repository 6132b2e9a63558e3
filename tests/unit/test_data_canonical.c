/* The field's JSONL: what is read, what is refused, and that it survives the way out and in. */
#include <math.h>

#include "base/str.h"
#include "data/lines.h"
#include "test_data_util.h"

static um_error err;
static char dir[256];

static const char users[] = "{\"user_id\":\"u1\",\"user_description\":{\"age\":\"25-34\"}}\n"
                            "{\"user_id\":\"007\"}\n";
static const char items[] = "{\"item_id\":\"a\",\"item_description\":{\"title\":\"A\"}}\n"
                            "{\"item_id\":\"b\"}\n{\"item_id\":\"c\"}\n";
static const char one_row[] =
    "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\"}\n";

static int set_up(void **state)
{
    (void)state;
    if (make_dir(dir, sizeof dir) == NULL)
        return 1;
    put(dir, "d_user_feature.jsonl", users);
    put(dir, "d_item_feature.jsonl", items);
    put(dir, "d_interaction.jsonl", one_row);
    return 0;
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
    return d;
}

static void everything_is_read(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put(dir, "d_user_feature.jsonl",
        "{\"user_id\":\"u1\",\"user_description\":{\"age\":\"25-34\",\"kids\":2,\"pet\":null},"
        "\"user_features\":{\"friends\":[\"007\",\"x\"]}}\n"
        "{\"user_id\":\"007\",\"user_description\":null}\n");
    put_gzip(dir, "d_item_feature.jsonl.gz",
             "{\"item_id\":\"a\",\"item_description\":{\"title\":\"A \\u00e9\"},"
             "\"item_features\":{\"release_time\":\"2019-05-06 07:08:09\",\"year\":1995,"
             "\"title\":\"x\"}}\n{\"item_id\":\"b\"}\n\n{\"item_id\":\"c\"}");
    char path[300];
    snprintf(path, sizeof path, "%.250s/d_item_feature.jsonl", dir);
    assert_int_equal(remove(path), 0);
    put(dir, "d_interaction.jsonl",
        "{\"user_id\":\"u1\",\"item_id\":\"b\",\"timestamp\":\"2020-01-02 00:00:00\","
        "\"behavior_features\":{\"rating\":4,\"note\":\"good\",\"impression_list\":[\"c\",\"b\"],"
        "\"item_pos\":1}}\n"
        "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\","
        "\"behavior_features\":{\"rating\":null,\"big\":9007199254740993,\"later\":null}}\n"
        "{\"user_id\":\"007\",\"item_id\":\"b\",\"timestamp\":\"2020-01-03 00:00:00\","
        "\"behavior_features\":{\"rating\":2.5,\"impression_list\":[\"b\",\"a\",\"c\"]}}\n");
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(s.n, 0);
    assert_string_equal(report.adapter, "canonical");
    assert_string_equal(d->name, "d");
    assert_int_equal(d->users.n_columns, 4);
    assert_string_equal(user_text(d, "u1", "kids"), "2");
    assert_null(user_text(d, "u1", "pet"));
    assert_string_equal(user_text(d, "u1", "friends"), "[\"007\",\"x\"]");
    assert_string_equal(d->users.ids[1], "007");
    assert_string_equal(item_text(d, "a", "title"), "A \xC3\xA9"); /* the description first */
    assert_string_equal(item_text(d, "a", "year"), "1995");
    assert_int_equal(um_table_column(&d->items, "release_time"), -1);
    assert_true(d->item_has_release[0]);
    assert_int_equal(d->item_available_s[0], 1557126489);
    assert_int_equal(d->item_available_s[1], 1577923200);
    assert_int_equal(d->item_available_s[2], 1577923200); /* shown, never chosen */
    assert_int_equal(d->impression_start[0], 0);
    assert_int_equal(d->impression_start[1], 0);
    assert_int_equal(d->impression_start[2], 2);
    assert_int_equal(d->impression_start[3], 5);
    assert_int_equal(d->impression_position[0], -1);
    assert_int_equal(d->impression_position[1], 1);
    assert_int_equal(d->impression_position[2], 0); /* where the chosen item is */
    const um_series *rating = um_dataset_series(d, "rating");
    assert_true(isnan(rating->numbers[0]));
    assert_true(rating->numbers[1] == 4 && rating->numbers[2] == 2.5);
    assert_string_equal(um_dataset_series(d, "note")->texts[1], "\"good\"");
    assert_string_equal(um_dataset_series(d, "big")->texts[0], "9007199254740993");
    assert_true(isnan(um_dataset_series(d, "later")->numbers[0]));
    um_dataset_free(d);
}

/* Each is put after the good rows of its file. */
static const struct {
    const char *file, *row, *reason;
} bad_rows[] = {
    {"d_interaction.jsonl", "{\"user_id\":\"u1\"", "not one whole JSON object: column"},
    {"d_interaction.jsonl", "{\"user_id\":\"u1\"}{\"user_id\":\"u1\"}",
     "not one whole JSON object"},
    {"d_interaction.jsonl", "[1,2]", "not one whole JSON object: found an array"},
    {"d_interaction.jsonl", "{\"user_id\":\"u1\",\"user_id\":\"u1\"}", "duplicate"},
    {"d_interaction.jsonl", "{\"user_id\":\"\\ud800\"}", "not one whole JSON object"},
    {"d_interaction.jsonl", "{\"user_id\":\"\xFF\"}", "not one whole JSON object"},
    {"d_interaction.jsonl", "{\"x\":1e999}", "not one whole JSON object"},
    {"d_interaction.jsonl", "{\"x\":99999999999999999999}", "not one whole JSON object"},
    {"d_interaction.jsonl", "{\"x\":NaN}", "not one whole JSON object"},
    {"d_interaction.jsonl", "{\"user_id\":\"a\\u0000b\"}", "U+0000 in a text"},
    {"d_interaction.jsonl", "{\"a\\u0000b\":1}", "not one whole JSON object"},
    {"d_interaction.jsonl", "{}", "user_id is missing"},
    {"d_interaction.jsonl", "{\"user_id\":7}", "user_id is not a string"},
    {"d_interaction.jsonl", "{\"user_id\":\"\"}", "user_id is empty"},
    {"d_interaction.jsonl", "{\"user_id\":\"u1\",\"item_id\":null}", "item_id is not a string"},
    {"d_interaction.jsonl", "{\"user_id\":\"u1\",\"item_id\":\"a\"}", "timestamp is missing"},
    {"d_interaction.jsonl", "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":1577836800}",
     "timestamp is not a string"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-02-30 00:00:00\"}",
     "timestamp '2020-02-30 00:00:00' is not"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"7\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\"}",
     "user '7' is not described"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"u1\",\"item_id\":\"z\",\"timestamp\":\"2020-01-01 00:00:00\"}",
     "item 'z' is not described"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\","
     "\"behavior_features\":[]}",
     "behavior_features is not an object"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\","
     "\"behavior_features\":{\"impression_list\":[\"b\",\"c\"]}}",
     "item_id is not at position -1 of 2"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\","
     "\"behavior_features\":{\"impression_list\":[\"a\",\"c\"],\"item_pos\":1}}",
     "item_id is not at position 1 of 2"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\","
     "\"behavior_features\":{\"impression_list\":[\"a\",\"c\"],\"item_pos\":4000000000}}",
     "item_id is not at position 4000000000 of 2"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\","
     "\"behavior_features\":{\"impression_list\":[\"a\",\"z\"]}}",
     "item 'z' is not described"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\","
     "\"behavior_features\":{\"impression_list\":[\"b\",\"a\",\"c\",\"a\"]}}",
     "item 'a' is listed twice"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\","
     "\"behavior_features\":{\"impression_list\":[\"b\",\"a\",\"b\"],\"item_pos\":1}}",
     "item 'b' is listed twice"},
    {"d_interaction.jsonl",
     "{\"user_id\":\"u1\",\"item_id\":\"a\",\"timestamp\":\"2020-01-01 00:00:00\","
     "\"behavior_features\":{\"item_pos\":0}}",
     "item_pos without"},
    {"d_user_feature.jsonl", "{\"user_id\":\"u1\"}", "user 'u1' was described before"},
    {"d_user_feature.jsonl", "{\"user_id\":\"v\",\"user_description\":{\"a\":[1]}}",
     "'a' is neither text nor a number"},
    {"d_item_feature.jsonl", "{\"item_id\":\"a\"}", "item 'a' was described before"},
    {"d_item_feature.jsonl", "{\"item_id\":\"v\",\"item_features\":{\"release_time\":1995}}",
     "release_time is not"},
};
#define N_BAD (sizeof bad_rows / sizeof *bad_rows)

static void bad_rows_are_counted(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    for (size_t i = 0; i < N_BAD; i++) {
        static const char *const names[] = {"d_user_feature.jsonl", "d_item_feature.jsonl",
                                            "d_interaction.jsonl"};
        const char *const good[] = {users, items, one_row};
        for (int f = 0; f < 3; f++) {
            char text[1024];
            bool here = strcmp(names[f], bad_rows[i].file) == 0;
            snprintf(text, sizeof text, "%s%s%s", good[f], here ? bad_rows[i].row : "",
                     here ? "\n" : "");
            put(dir, names[f], text);
        }
        um_dataset *d = read_folder(&report, &s);
        if (s.n != 1)
            fail_msg("row %zu: %zu rejections", i, s.n);
        assert_has(s.text[0], bad_rows[i].file);
        assert_has(s.text[0], bad_rows[i].reason);
        assert_int_equal(d->n_interactions, 1);
        assert_int_equal(d->users.n_rows, 2);
        assert_int_equal(d->items.n_rows, 3);
        um_dataset_free(d);
    }
}

static void extreme_lines(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    /* Deep nesting, a line past the limit, a NUL, a torn last line. */
    size_t n = UM_LINES_MAX_BYTES + 1000, at = 0;
    char *text = malloc(n + 4096);
    assert_non_null(text);
    at += (size_t)sprintf(text, "%s{\"x\":", one_row);
    memset(text + at, '[', 100);
    memset(text + at + 100, ']', 100);
    at += 200;
    at += (size_t)sprintf(text + at, "}\n{\"x\":\"");
    memset(text + at, 'y', UM_LINES_MAX_BYTES);
    at += UM_LINES_MAX_BYTES;
    at += (size_t)sprintf(text + at, "\"}\n{\"user_id\":\"u");
    text[at++] = '\0';
    at += (size_t)sprintf(text + at, "\"}\n{\"user_id\":\"u1\",\"ite");
    put_bytes(dir, "d_interaction.jsonl", text, at);
    free(text);
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(s.n, 4);
    assert_has(s.text[0], "d_interaction.jsonl:2: ");
    assert_has(s.text[0], "nested deeper than 64");
    assert_has(s.text[1],
               "d_interaction.jsonl:3: not one whole JSON object: line longer than the limit");
    assert_has(s.text[2], "d_interaction.jsonl:4: not one whole JSON object: NUL byte");
    assert_has(s.text[3], "d_interaction.jsonl:5: ");
    assert_has(s.text[3], "cut short?");
    um_dataset_free(d);
}

static void bad_folders_are_refused(void **state)
{
    (void)state;
    um_dataset *d = NULL;
    um_ingest_report report;
    seen s;
    put(dir, "e_interaction.jsonl", one_row);
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "2 files end with '_interaction.jsonl'");
    char path[300];
    snprintf(path, sizeof path, "%.250s/d_interaction.jsonl", dir);
    assert_int_equal(remove(path), 0);
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "are of different data sets");
    snprintf(path, sizeof path, "%.250s/e_interaction.jsonl", dir);
    assert_int_equal(remove(path), 0);
    assert_int_equal(read_with(&d, &report, &s, dir, "", "canonical", &err), UM_ERR_INPUT);
    assert_has(err.text, "adapter canonical expects *_user_feature.jsonl");
    put(dir, "d_interaction.jsonl", "{}\n{}\n");
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "none of its 2 rows is good; the first: line 1: user_id is missing");
    assert_null(d);
}

/* Too many different columns over all rows cannot be one bad row's fault. */
static void too_many_columns(void **state)
{
    (void)state;
    um_dataset *d = NULL;
    um_ingest_report report;
    seen s;
    char *text = malloc(300 * 64), *at = text;
    assert_non_null(text);
    for (int i = 0; i < 300; i++)
        at += sprintf(at, "{\"user_id\":\"u%d\",\"user_features\":{\"c%d\":1}}\n", i, i);
    put(dir, "d_user_feature.jsonl", text);
    free(text);
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_LIMIT);
    assert_has(err.text, "d_user_feature.jsonl:257: column 'c256' is one more than the limit");
}

static void assert_same_table(const um_table *a, const um_table *b)
{
    assert_int_equal(a->n_rows, b->n_rows);
    assert_int_equal(a->n_columns, b->n_columns);
    for (uint32_t c = 0; c < a->n_columns; c++) {
        assert_string_equal(a->columns[c], b->columns[c]);
        assert_int_equal(a->kinds[c], b->kinds[c]);
    }
    for (uint32_t r = 0; r < a->n_rows; r++) {
        assert_string_equal(a->ids[r], b->ids[r]);
        for (uint32_t c = 0; c < a->n_columns; c++) {
            const char *x = um_table_cell(a, r, (int)c), *y = um_table_cell(b, r, (int)c);
            assert_int_equal(x == NULL, y == NULL);
            if (x != NULL)
                assert_string_equal(x, y);
        }
    }
}

static void assert_same_dataset(const um_dataset *a, const um_dataset *b)
{
    assert_same_table(&a->users, &b->users);
    assert_same_table(&a->items, &b->items);
    assert_int_equal(a->n_interactions, b->n_interactions);
    assert_int_equal(a->n_series, b->n_series);
    for (uint32_t u = 0; u <= a->users.n_rows; u++)
        assert_int_equal(a->user_start[u], b->user_start[u]);
    for (uint32_t i = 0; i < a->items.n_rows; i++) {
        assert_int_equal(a->item_available_s[i], b->item_available_s[i]);
        assert_int_equal(a->item_has_release[i], b->item_has_release[i]);
    }
    for (uint64_t i = 0; i < a->n_interactions; i++) {
        assert_int_equal(a->item[i], b->item[i]);
        assert_int_equal(a->time_s[i], b->time_s[i]);
        assert_int_equal(a->impression_start[i + 1], b->impression_start[i + 1]);
        assert_int_equal(a->impression_position[i], b->impression_position[i]);
        for (uint32_t c = 0; c < a->n_series; c++) {
            const um_series *x = &a->series[c], *y = &b->series[c];
            assert_string_equal(x->name, y->name);
            assert_int_equal(x->numbers == NULL, y->numbers == NULL);
            if (x->numbers != NULL)
                assert_true(x->numbers[i] == y->numbers[i] ||
                            (isnan(x->numbers[i]) && isnan(y->numbers[i])));
            else if (x->texts[i] == NULL || y->texts[i] == NULL)
                assert_ptr_equal(x->texts[i], y->texts[i]);
            else
                assert_string_equal(x->texts[i], y->texts[i]);
        }
    }
    for (uint64_t i = 0; i < a->impression_start[a->n_interactions]; i++)
        assert_int_equal(a->impression_item[i], b->impression_item[i]);
}

/* A data set with every awkward value there is. */
static um_dataset *awkward(void)
{
    um_dataset_builder *b = NULL;
    um_dataset *d = NULL;
    static const char *const ids[] = {"007", "7", "quote\"back\\slash", "\xE4\xBD\xA0 \n\t\x01"};
    uint32_t index = 0;
    assert_ok(um_dataset_builder_new(&b, "awk-ward", &err), err);
    for (uint32_t i = 0; i < 4; i++) {
        assert_ok(um_dataset_builder_user(b, ids[i], &index, NULL, &err), err);
        assert_ok(um_dataset_builder_item(b, ids[i], &index, NULL, &err), err);
    }
    /* Columns in an order that no single row shows. */
    assert_ok(um_dataset_builder_set_user(b, 2, "z", UM_COLUMN_DESCRIPTION, "", &err), err);
    assert_ok(um_dataset_builder_set_user(b, 1, "a", UM_COLUMN_DESCRIPTION, ids[3], &err), err);
    assert_ok(
        um_dataset_builder_set_user(b, 1, "a", UM_COLUMN_FEATURE, "{\"k\":[1,2.5,null]}", &err),
        err);
    assert_ok(um_dataset_builder_set_item(b, 3, "year", UM_COLUMN_FEATURE, "1995", &err), err);
    assert_ok(um_dataset_builder_set_item(b, 3, "t", UM_COLUMN_DESCRIPTION, "T", &err), err);
    assert_ok(um_dataset_builder_release(b, 3, -86400 * 365 * 50LL, &err), err);
    for (uint32_t k = 0; k < 6; k++) {
        assert_ok(um_dataset_builder_interaction(b, k % 3, k % 4, 1000 - 7 * (int64_t)k, &err),
                  err);
        if (k == 4)
            assert_ok(um_dataset_builder_number(b, "real", 0.1 + 0.2, &err), err);
        if (k == 5)
            assert_ok(um_dataset_builder_number(b, "whole", -3, &err), err);
        if (k == 3)
            assert_ok(um_dataset_builder_text(b, "any", "[true,\"\\u0001\"]", &err), err);
        const uint32_t shown[3] = {(k + 1) % 4, k % 4, (k + 2) % 4};
        if (k > 2)
            assert_ok(um_dataset_builder_impressions(b, shown, 3, 1, &err), err);
    }
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    um_dataset_builder_free(b);
    return d;
}

static void round_trip(void **state)
{
    (void)state;
    char out[400], again[400];
    snprintf(out, sizeof out, "%s/deep/out", dir);
    snprintf(again, sizeof again, "%s/again", dir);
    um_dataset *d = awkward(), *back = NULL;
    um_ingest_options options = {.max_bad = 0};
    assert_ok(um_dataset_write_canonical(d, out, &err), err);
    assert_ok(um_dataset_read(&back, NULL, out, &options, NULL, &err), err);
    assert_string_equal(back->name, d->name);
    assert_same_dataset(d, back);
    assert_ok(um_dataset_write_canonical(back, again, &err), err);
    assert_same_file(out, again, "awk-ward_user_feature.jsonl");
    assert_same_file(out, again, "awk-ward_item_feature.jsonl");
    assert_same_file(out, again, "awk-ward_interaction.jsonl");
    um_dataset_free(back);
    um_dataset_free(d);
}

/* Rows whose item is null: a list was seen and left. */
static void lists_nobody_chose_from(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    char again[400];
    put(dir, "d_interaction.jsonl",
        "{\"user_id\":\"u1\",\"item_id\":null,\"timestamp\":\"2020-01-03 00:00:00\","
        "\"behavior_features\":{\"impression_list\":[\"c\",\"a\"],\"item_pos\":-1}}\n"
        "{\"user_id\":\"u1\",\"item_id\":\"b\",\"timestamp\":\"2020-01-02 00:00:00\","
        "\"behavior_features\":{\"impression_list\":[\"a\",\"b\"]}}\n"
        "{\"user_id\":\"u1\",\"item_id\":null,\"timestamp\":\"2020-01-01 00:00:00\","
        "\"behavior_features\":{\"impression_list\":[\"b\"]}}\n"
        "{\"user_id\":\"u1\",\"item_id\":null,\"timestamp\":\"2020-01-01 00:00:00\","
        "\"behavior_features\":{\"impression_list\":[\"b\"],\"item_pos\":0}}\n"
        "{\"user_id\":\"u1\",\"item_id\":null,\"timestamp\":\"2020-01-01 00:00:00\","
        "\"behavior_features\":{\"impression_list\":[]}}\n"
        "{\"user_id\":\"u1\",\"item_id\":null,\"timestamp\":\"2020-01-01 00:00:00\","
        "\"behavior_features\":{\"impression_list\":[\"z\"]}}\n"
        "{\"user_id\":\"u1\",\"timestamp\":\"2020-01-01 00:00:00\","
        "\"behavior_features\":{\"impression_list\":[\"b\"]}}\n");
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(s.n, 4);
    assert_has(s.text[0], "d_interaction.jsonl:4: item_pos names a choice, but item_id is null");
    assert_has(s.text[1], "d_interaction.jsonl:5: item_id is not a string");
    assert_has(s.text[2], "d_interaction.jsonl:6: impression_list: item 'z' is not described");
    assert_has(s.text[3], "d_interaction.jsonl:7: item_id is missing");
    assert_int_equal(d->n_interactions, 1);
    assert_int_equal(d->n_skips, 2);
    assert_int_equal(d->skip_start[0], 0);
    assert_int_equal(d->skip_start[1], 2);
    assert_int_equal(d->skip_time_s[0], 1577836800);
    assert_int_equal(d->skip_time_s[1], 1578009600);
    assert_int_equal(d->skip_list_start[1], 1);
    assert_int_equal(d->skip_list_start[2], 3);
    assert_string_equal(d->items.ids[d->skip_item[0]], "b");
    assert_string_equal(d->items.ids[d->skip_item[1]], "c");
    assert_int_equal(d->item_available_s[1], 1577836800); /* b was shown before it was chosen */
    snprintf(again, sizeof again, "%s/again", dir);
    assert_ok(um_dataset_write_canonical(d, again, &err), err);
    um_dataset *back = NULL;
    um_ingest_options options = {.max_bad = 0};
    assert_ok(um_dataset_read(&back, NULL, again, &options, NULL, &err), err);
    assert_same_dataset(d, back);
    assert_int_equal(back->n_skips, 2);
    assert_memory_equal(back->skip_item, d->skip_item, 3 * sizeof *d->skip_item);
    assert_memory_equal(back->skip_time_s, d->skip_time_s, 2 * sizeof *d->skip_time_s);
    um_dataset_free(back);
    um_dataset_free(d);
}

static void times_without_a_date_are_refused(void **state)
{
    (void)state;
    um_dataset_builder *b = NULL;
    um_dataset *d = NULL;
    uint32_t index = 0;
    assert_ok(um_dataset_builder_new(&b, "far", &err), err);
    assert_ok(um_dataset_builder_user(b, "u", &index, NULL, &err), err);
    assert_ok(um_dataset_builder_item(b, "i", &index, NULL, &err), err);
    assert_ok(um_dataset_builder_interaction(b, 0, 0, 999999999999999, &err), err);
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    um_dataset_builder_free(b);
    assert_int_equal(um_dataset_write_canonical(d, dir, &err), UM_ERR_INPUT);
    assert_has(err.text, "years 0000 to 9999");
    um_dataset_free(d);
}

/* Lists longer than those that are looked through, an item twice wherever it stands. */
static void long_lists(void **state)
{
    (void)state;
    enum { N_SHOWN = 30 };
    um_ingest_report report;
    seen s;
    um_str text = UM_STR_INIT;
    for (int i = 0; i <= N_SHOWN; i++)
        um_str_appendf(&text, "{\"item_id\":\"item %d\"}\n", i);
    put(dir, "d_item_feature.jsonl", um_str_text(&text));
    um_str_clear(&text);
    for (int twice = 0; twice <= N_SHOWN; twice++) { /* N_SHOWN: none */
        um_str_appendf(&text,
                       "{\"user_id\":\"u1\",\"item_id\":\"item 7\",\"timestamp\":\"2020-01-01 "
                       "00:00:00\",\"behavior_features\":{\"impression_list\":[");
        for (int i = 0; i <= N_SHOWN; i++)
            um_str_appendf(&text, "%s\"item %d\"", i > 0 ? "," : "", i == N_SHOWN ? twice : i);
        um_str_append(&text, "]}}\n");
    }
    assert_int_equal(text.failed, UM_OK);
    put(dir, "d_interaction.jsonl", um_str_text(&text));
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(s.n, N_SHOWN);
    for (size_t i = 0; i < N_SHOWN; i++) {
        char reason[80];
        snprintf(reason, sizeof reason,
                 "d_interaction.jsonl:%zu: impression_list: item 'item %zu' is listed twice", i + 1,
                 i);
        assert_string_equal(s.text[i], reason);
    }
    assert_int_equal(d->n_interactions, 1);
    assert_int_equal(d->impression_start[1], N_SHOWN + 1);
    um_dataset_free(d);
    um_str_dispose(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_lists, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_rows_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(extreme_lines, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_folders_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_columns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(round_trip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_nobody_chose_from, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_without_a_date_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
