/* Log and scenes in the workspace: what goes in comes out, and what is damaged is refused. */
#include <sqlite3.h>

#include "base/file.h"
#include "stage_place.h"

/* The log ------------------------------------------------------------------------------------- */

static void assert_same_text(const char *a, const char *b)
{
    if (a == NULL || b == NULL)
        assert_ptr_equal(a, b);
    else
        assert_string_equal(a, b);
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
        for (uint32_t c = 0; c < a->n_columns; c++)
            assert_same_text(um_table_cell(a, r, (int)c), um_table_cell(b, r, (int)c));
    }
}

static void assert_same_series(const um_series *a, const um_series *b, uint64_t n)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->numbers == NULL, b->numbers == NULL);
    for (uint64_t i = 0; i < n; i++) {
        if (a->numbers == NULL)
            assert_same_text(a->texts[i], b->texts[i]);
        else if (isnan(a->numbers[i]))
            assert_true(isnan(b->numbers[i]));
        else
            assert_memory_equal(&a->numbers[i], &b->numbers[i], sizeof(double));
    }
}

static void assert_same_log(const um_dataset *a, const um_dataset *b)
{
    size_t n = (size_t)a->n_interactions;
    assert_string_equal(a->name, b->name);
    assert_same_table(&a->users, &b->users);
    assert_same_table(&a->items, &b->items);
    assert_int_equal(n, b->n_interactions);
    assert_memory_equal(a->user_start, b->user_start, (a->users.n_rows + 1) * sizeof(uint64_t));
    assert_memory_equal(a->item, b->item, n * sizeof *a->item);
    assert_memory_equal(a->time_s, b->time_s, n * sizeof *a->time_s);
    assert_int_equal(a->n_series, b->n_series);
    for (uint32_t c = 0; c < a->n_series; c++)
        assert_same_series(&a->series[c], &b->series[c], n);
    assert_int_equal(a->impression_start == NULL, b->impression_start == NULL);
    if (a->impression_start != NULL) {
        assert_memory_equal(a->impression_start, b->impression_start, (n + 1) * sizeof(uint64_t));
        assert_memory_equal(a->impression_item, b->impression_item,
                            a->impression_start[n] * sizeof(uint32_t));
        assert_memory_equal(a->impression_position, b->impression_position, n * sizeof(int32_t));
    }
    assert_int_equal(a->n_skips, b->n_skips);
    if (a->n_skips > 0) {
        assert_memory_equal(a->skip_start, b->skip_start, (a->users.n_rows + 1) * sizeof(uint64_t));
        assert_memory_equal(a->skip_time_s, b->skip_time_s, a->n_skips * sizeof(int64_t));
        assert_memory_equal(a->skip_list_start, b->skip_list_start,
                            (a->n_skips + 1) * sizeof(uint64_t));
        assert_memory_equal(a->skip_item, b->skip_item,
                            a->skip_list_start[a->n_skips] * sizeof(uint32_t));
    }
    assert_memory_equal(a->item_available_s, b->item_available_s,
                        a->items.n_rows * sizeof *a->item_available_s);
    assert_memory_equal(a->item_has_release, b->item_has_release, a->items.n_rows * sizeof(bool));
}

static void set_user(um_dataset_builder *b, uint32_t user, const char *column, um_column_kind kind,
                     const char *value)
{
    um_error err;
    assert_ok(um_dataset_builder_set_user(b, user, column, kind, value, &err), err);
}

static void set_item(um_dataset_builder *b, uint32_t item, const char *column, um_column_kind kind,
                     const char *value)
{
    um_error err;
    assert_ok(um_dataset_builder_set_item(b, item, column, kind, value, &err), err);
}

/* Every odd thing a log may hold: absent and empty cells, one name for two columns, columns whose
 * first row has no value, names that other parts of the program use, users and items without rows.
 */
static um_dataset *odd_log(void)
{
    const um_column_kind text = UM_COLUMN_DESCRIPTION, json = UM_COLUMN_FEATURE;
    um_dataset_builder *b = new_builder("odd-1.0");
    um_error err;
    uint32_t u0 = add_user(b, "zed"), u1 = add_user(b, "42"), u2 = add_user(b, "042");
    uint32_t i0 = add_item(b, "x\"\\y"), i1 = add_item(b, "7"), i2 = add_item(b, "caf\xc3\xa9");
    add_item(b, "never met");
    set_user(b, u1, "zz last by name", text, "two\nlines, \"quoted\" \\ \x01");
    set_user(b, u1, "about", text, "");
    set_user(b, u0, "about", text, "\xe6\xbc\xa2 <&>");
    set_user(b, u2, "about", json, "{\"a\":[1,2.5,null,true],\"b\":\"\\\"\"}");
    set_user(b, u2, "@release", json, "12");
    set_user(b, u1, "release_time", json, "\"1995\"");
    set_user(b, u0, "empty", text, NULL);
    set_item(b, i2, "title", text, "Second");
    set_item(b, i1, "genre", text, "War");
    set_item(b, i0, "title", text, "First");
    set_item(b, i1, "count", json, "-9007199254740993");
    set_item(b, i0, "@release", json, "99");
    set_item(b, i0, "title", json, "0.1");
    assert_ok(um_dataset_builder_release(b, i1, -86400, &err), err);
    assert_ok(um_dataset_builder_release(b, i2, 2000000000, &err), err);

    interact(b, u2, i0, 500); /* the first column of behaviour, which the first users lack */
    assert_ok(um_dataset_builder_text(b, "notes", "[\"n\"]", &err), err);
    interact(b, u0, i1, 100);
    assert_ok(um_dataset_builder_number(b, "rating", 0.1, &err), err);
    interact(b, u0, i2, 100); /* the same time: file order counts */
    assert_ok(um_dataset_builder_text(b, "tags", "[\"a\",\"caf\xc3\xa9\"]", &err), err);
    const uint32_t list[] = {i1, i0, i2};
    assert_ok(um_dataset_builder_impressions(b, list, 3, 2, &err), err);
    interact(b, u0, i0, -5);
    assert_ok(um_dataset_builder_number(b, "aaa", 1e300, &err), err);
    assert_ok(um_dataset_builder_text(b, "tags", "\"\"", &err), err);
    interact(b, u2, i2, 501);
    assert_ok(um_dataset_builder_number(b, "rating", NAN, &err), err);
    const uint32_t one[] = {i2};
    assert_ok(um_dataset_builder_impressions(b, one, 1, 0, &err), err);
    const uint32_t passed[] = {i2, i1, i0};
    for (size_t k = 1; k <= 3; k++) {
        assert_ok(um_dataset_builder_skip(b, u2, 700 - (int64_t)k, passed, k, &err), err);
        assert_ok(um_dataset_builder_skip(b, add_user(b, "looks only"), 0, passed, k, &err), err);
    }
    char *much = malloc(3 << 20);
    assert_non_null(much);
    memset(much, 'x', 3 << 20);
    much[0] = much[(3 << 20) - 2] = '"';
    much[(3 << 20) - 1] = '\0';
    interact(b, u1, i2, 600); /* longer than a piece of memory that texts begin in */
    assert_ok(um_dataset_builder_text(b, "notes", much, &err), err);
    set_item(b, i2, "long", UM_COLUMN_FEATURE, much);
    free(much);
    return finish(b);
}

/* as_files: JSON cells are in the compact form, so that canonical files bring the same bytes back.
 */
static void check_log(um_dataset *d, bool as_files)
{
    place p;
    um_dataset *again = NULL;
    um_error err;
    open_place(&p);
    store_log(&p, d);
    assert_ok(um_log_load(um_session_workspace(p.s), &again, &err), err);
    assert_same_log(d, again);
    um_dataset_free(again);
    if (as_files) {
        um_ingest_options options = {.max_bad = 0};
        um_ingest_report report;
        char *path = path_in(&p, "canonical");
        assert_ok(um_session_export(p.s, "log", path, &err), err);
        assert_ok(um_dataset_read(&again, &report, path, &options, NULL, &err), err);
        assert_same_log(d, again);
        um_dataset_free(again);
    }
    close_place(&p);
    um_dataset_free(d);
}

static void logs_come_back_equal(void **state)
{
    (void)state;
    check_log(odd_log(), true);
    static const log_shape shapes[] = {
        {.users = 30, .items = 60, .max_interactions = 25, .days = 200, .one_item_each_time = true},
        {.users = 20,
         .items = 50,
         .max_interactions = 20,
         .days = 30,
         .impressions = 12,
         .release_share = 0.5,
         .one_item_each_time = true}};
    for (int i = 0; i < 2; i++)
        check_log(random_log(9, &shapes[i]), shapes[i].impressions == 0);
}

/* A workspace of schema version 2 is as good as one of today. */
static void old_workspaces_load(void **state)
{
    (void)state;
    place p;
    um_error err;
    um_dataset *d = NULL;
    char *sql = NULL, *message = NULL;
    size_t len = 0;
    sqlite3 *db = NULL;
    assert_non_null(make_dir(p.dir, sizeof p.dir));
    assert_ok(um_config_init(&p.config, &err), err);
    assert_ok(
        um_file_read(&sql, &len, UM_SOURCE_DIR "/tests/golden/workspace_v2.sql", 1 << 20, &err),
        err);
    assert_ok(um_path_make_dirs(path_in(&p, "w"), &err), err);
    assert_int_equal(sqlite3_open(path_in(&p, "w/workspace.db"), &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s", message);
    sqlite3_close(db);
    free(sql);
    assert_ok(um_session_open(&p.s, path_in(&p, "w"), false, false, &p.config, NULL, &err), err);
    assert_ok(um_log_load(um_session_workspace(p.s), &d, &err), err);
    static const uint64_t start[] = {0, 2, 3}, shown[] = {0, 0, 0, 2};
    static const uint32_t items[] = {0, 1, 1};
    static const int64_t times[] = {981173107, 981173108, 981173106};
    assert_memory_equal(d->user_start, start, sizeof start);
    assert_memory_equal(d->item, items, sizeof items);
    assert_memory_equal(d->time_s, times, sizeof times);
    assert_memory_equal(d->impression_start, shown, sizeof shown);
    assert_int_equal(d->impression_item[1], 1);
    assert_int_equal(d->impression_position[2], 1);
    assert_true(d->series[0].numbers[0] == 2.5 && isnan(d->series[0].numbers[1]));
    assert_null(d->series[1].texts[0]);
    assert_string_equal(d->series[1].texts[1], "\"longer text\"");
    assert_string_equal(d->users.ids[1], "v");
    assert_string_equal(um_table_cell(&d->items, 1, 0), "B");
    assert_true(d->item_has_release[0]);
    assert_int_equal(d->item_available_s[1], 981173106);
    assert_int_equal(d->n_skips, 0);
    assert_null(d->skip_start);
    um_dataset_free(d);
    close_place(&p);
}

static um_status count_file(void *context, const um_row_file *row, um_error *err)
{
    (void)err;
    uint64_t *sum = context;
    *sum = *sum * 1000 + row->rows_read * 100 + row->rows_kept * 10 + row->rows_rejected;
    return UM_OK;
}

static void files_are_recorded(void **state)
{
    (void)state;
    place p;
    um_error err;
    uint64_t sum = 0;
    um_row_dataset row;
    um_dataset *d = odd_log();
    open_place(&p);
    store_log(&p, d);
    assert_ok(um_workspace_files(um_session_workspace(p.s), count_file, &sum, &err), err);
    assert_int_equal(sum, (10 * 100 + 7 * 10 + 3) * 1000 + 5 * 100 + 5 * 10);
    assert_ok(um_workspace_get_dataset(&row, um_session_workspace(p.s), &err), err);
    assert_string_equal(row.source, "somewhere");
    assert_int_equal(row.n_interactions, 6);
    assert_int_equal(row.n_skips, 6);
    um_dataset_free(d);
    close_place(&p);
}

/* A workspace somebody damaged: refused, whatever the damage. */
static void damaged_logs_are_refused(void **state)
{
    (void)state;
    static const char plain[] = "{\"users\":[],\"items\":[],\"series\":[],\"impressions\":false}";
    static const char shown[] = "{\"users\":[],\"items\":[],\"series\":[],\"impressions\":true}";
    static const char texts[] =
        "{\"users\":[],\"items\":[],\"series\":[[\"t\",\"text\"]],\"impressions\":false}";
    static const struct {
        const char *columns, *description;
        uint64_t n;
        size_t bytes;   /* of zeros, but for: */
        size_t at;      /* offset of a u32 ... */
        uint32_t value; /* ... with this value */
        um_status expected;
    } cases[] = {
        {plain, "{}", 2, 24, 0, 0, UM_OK},
        {plain, "{}", 2, 23, 0, 0, UM_ERR_INPUT},
        {plain, "{}", 2, 25, 0, 0, UM_ERR_INPUT},
        {plain, "{}", UINT64_C(1) << 62, 24, 0, 0, UM_ERR_INPUT}, /* n * 4 wraps to 0 */
        {plain, "{}", (UINT64_C(1) << 62) + 1, 12, 0, 0, UM_ERR_INPUT},
        {plain, "{}", UINT64_C(1) << 62, 0, 0, 0, UM_ERR_INPUT},
        {plain, "{}", 1, 12, 0, 1, UM_ERR_INPUT}, /* item 1 of 1 */
        {plain, "{}", 2, 24, 8, 1, UM_ERR_INPUT}, /* not in order of time */
        {shown, "{}", 1, 20, 0, 0, UM_OK},
        {shown, "{}", 1, 24, 12, 1, UM_OK},
        {shown, "{}", 1, 24, 12, UINT32_MAX, UM_ERR_INPUT},
        {shown, "{}", 1, 24, 20, 1, UM_ERR_INPUT},
        {shown, "{}", 1, 12, 0, 0, UM_ERR_INPUT},
        {texts, "{}", 1, 16, 0, 0, UM_OK},
        {texts, "{}", 1, 16, 12, 1, UM_ERR_INPUT},
        {texts, "{}", 1, 17, 12, 1, UM_ERR_INPUT}, /* a text of one NUL */
        {texts, "{}", 1, 16, 12, UINT32_MAX, UM_OK},
        {texts, "{}", 1, 16, 12, UINT32_MAX - 1, UM_ERR_INPUT},
        {plain, "{\"a\":1}", 1, 12, 0, 0, UM_ERR_INPUT},
        {plain, "[]", 1, 12, 0, 0, UM_OK},
        {plain, "{", 1, 12, 0, 0, UM_ERR_INPUT},
        {"{\"users\":[],\"items\":[],\"series\":[[\"t\",\"text\"],[\"t\",\"text\"]]}", "{}", 1, 20,
         0, 0, UM_ERR_INPUT},
        {"{}", "{}", 1, 12, 0, 0, UM_ERR_INPUT},
        {"", "{}", 1, 12, 0, 0, UM_ERR_INPUT},
        {"{\"users\":[[1,0]],\"items\":[],\"series\":[]}", "{}", 1, 12, 0, 0, UM_ERR_INPUT},
        {"{\"users\":[[\"a\",7]],\"items\":[],\"series\":[]}", "{}", 1, 12, 0, 0, UM_ERR_INPUT},
        {"{\"users\":[],\"items\":[\"a\"],\"series\":[]}", "{}", 1, 12, 0, 0, UM_ERR_INPUT},
        {"{\"users\":[],\"items\":[],\"series\":[[\"t\",0]]}", "{}", 1, 16, 0, 0, UM_ERR_INPUT},
        {"{\"users\":[],\"items\":[],\"series\":[[\"t\"]]}", "{}", 1, 16, 0, 0, UM_ERR_INPUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        place p;
        um_error err;
        um_dataset *d = NULL;
        unsigned char data[64] = {0};
        open_place(&p);
        um_workspace *ws = um_session_workspace(p.s);
        memcpy(data + cases[i].at, &cases[i].value, 4);
        const um_row_dataset row = {"d", 1, 1, cases[i].n, cases[i].columns, "", 0};
        const um_row_entity user = {0, "u", cases[i].description, "{}"},
                            item = {0, "i", "{}", "{}"};
        const um_row_history history = {0, cases[i].n, data, cases[i].bytes};
        assert_ok(um_workspace_set_dataset(ws, &row, &err), err);
        assert_ok(um_workspace_put_user(ws, &user, &err), err);
        assert_ok(um_workspace_put_item(ws, &item, &err), err);
        um_status status = um_workspace_put_history(ws, &history, &err);
        if (status == UM_OK)
            status = um_log_load(ws, &d, &err);
        if (status != cases[i].expected)
            fail_msg("case %zu: %s: %s", i, um_status_name(status), err.text);
        um_dataset_free(d);
        close_place(&p);
    }
}

/* Counts that do not belong together, and lists nobody chose from. */
static void damaged_counts_and_skips_are_refused(void **state)
{
    (void)state;
    static const char plain[] = "{\"users\":[],\"items\":[],\"series\":[],\"impressions\":false}";
    static const struct {
        const char *name;
        uint64_t users, items, interactions, skips; /* stated */
        uint64_t user, n;                           /* of the packed skips */
        size_t bytes;
        uint32_t count, item; /* of the first list */
        um_status expected;
    } cases[] = {
        {"d", 1, 1, 1, 0, 0, 0, 0, 0, 0, UM_OK},
        {"d", 1, 1, 1, 1, 0, 1, 16, 1, 0, UM_OK},
        {"../d", 1, 1, 1, 0, 0, 0, 0, 0, 0, UM_ERR_INPUT},
        {"d", 2, 1, 1, 0, 0, 0, 0, 0, 0, UM_ERR_INPUT},
        {"d", 1, 0, 1, 0, 0, 0, 0, 0, 0, UM_ERR_INPUT},
        {"d", 1, 1, 0, 0, 0, 0, 0, 0, 0, UM_ERR_INPUT},
        {"d", 1, 1, 2, 0, 0, 0, 0, 0, 0, UM_ERR_INPUT},
        {"d", 1, 1, UINT64_C(1) << 61, 0, 0, 0, 0, 0, 0, UM_ERR_INPUT},
        {"d", 1, 1, 1, 1, 0, 0, 0, 0, 0, UM_ERR_INPUT},
        {"d", 1, 1, 1, 0, 0, 1, 16, 1, 0, UM_ERR_INPUT},
        {"d", 1, 1, 1, 2, 0, 1, 32, 1, 0, UM_ERR_INPUT},
        {"d", 1, 1, 1, 1, 1, 1, 16, 1, 0, UM_ERR_INPUT}, /* user 1 of 1 */
        {"d", 1, 1, 1, 1, 0, 1, 16, 1, 1, UM_ERR_INPUT}, /* item 1 of 1 */
        {"d", 1, 1, 1, 1, 0, 1, 16, 0, 0, UM_ERR_INPUT},
        {"d", 1, 1, 1, 1, 0, 1, 16, 2, 0, UM_ERR_INPUT},
        {"d", 1, 1, 1, 1, 0, 1, 16, UINT32_MAX, 0, UM_ERR_INPUT},
        {"d", 1, 1, 1, 1, 0, 1, 20, 1, 0, UM_ERR_INPUT},
        {"d", 1, 1, 1, 1, 0, UINT64_C(1) << 60, 16, 1, 0, UM_ERR_INPUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        place p;
        um_error err;
        um_dataset *d = NULL;
        unsigned char history[12] = {0}, skips[64] = {0};
        open_place(&p);
        um_workspace *ws = um_session_workspace(p.s);
        memcpy(skips + 8, &cases[i].count, 4);
        memcpy(skips + 12, &cases[i].item, 4);
        const um_row_dataset row = {cases[i].name,         cases[i].users, cases[i].items,
                                    cases[i].interactions, plain,          "",
                                    cases[i].skips};
        const um_row_entity one = {0, "x", "{}", "{}"};
        const um_row_history packed = {0, 1, history, 12},
                             packed_skips = {cases[i].user, cases[i].n, skips, cases[i].bytes};
        assert_ok(um_workspace_set_dataset(ws, &row, &err), err);
        assert_ok(um_workspace_put_user(ws, &one, &err), err);
        assert_ok(um_workspace_put_item(ws, &one, &err), err);
        assert_ok(um_workspace_put_history(ws, &packed, &err), err);
        if (cases[i].bytes > 0)
            assert_ok(um_workspace_put_skips(ws, &packed_skips, &err), err);
        um_status status = um_log_load(ws, &d, &err);
        if (status != cases[i].expected)
            fail_msg("case %zu: %s: %s", i, um_status_name(status), err.text);
        um_dataset_free(d);
        close_place(&p);
    }
}

/* More interactions stated than there are, though the bytes would do for them. */
static void missing_interactions_are_noticed(void **state)
{
    (void)state;
    place p;
    um_error err;
    um_dataset *d = NULL;
    unsigned char history[36] = {[12] = 20};
    memset(history + 16, '1', 20);
    open_place(&p);
    um_workspace *ws = um_session_workspace(p.s);
    um_row_dataset row = {"d", 1, 1, 2, "{\"users\":[],\"items\":[],\"series\":[[\"t\",\"text\"]]}",
                          "",  0};
    const um_row_entity one = {0, "x", "{}", "{}"};
    const um_row_history packed = {0, 1, history, sizeof history};
    assert_ok(um_workspace_set_dataset(ws, &row, &err), err);
    assert_ok(um_workspace_put_user(ws, &one, &err), err);
    assert_ok(um_workspace_put_item(ws, &one, &err), err);
    assert_ok(um_workspace_put_history(ws, &packed, &err), err);
    assert_int_equal(um_log_load(ws, &d, &err), UM_ERR_INPUT);
    row.n_interactions = 1;
    assert_ok(um_workspace_set_dataset(ws, &row, &err), err);
    assert_ok(um_log_load(ws, &d, &err), err);
    assert_string_equal(d->series[0].texts[0], "11111111111111111111");
    um_dataset_free(d);
    close_place(&p);
}

/* Scenes -------------------------------------------------------------------------------------- */

static void assert_same_scene(const um_scene *a, const um_scene *b)
{
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->split, b->split);
    assert_int_equal(a->user, b->user);
    assert_int_equal(a->interaction, b->interaction);
    assert_int_equal(a->order_id, b->order_id);
    assert_int_equal(a->time_s, b->time_s);
    assert_int_equal(a->n_history, b->n_history);
    assert_memory_equal(a->history, b->history, a->n_history * sizeof *a->history);
    assert_int_equal(a->k, b->k);
    assert_memory_equal(a->items, b->items, a->k * sizeof *a->items);
    assert_memory_equal(a->sources, b->sources, a->k);
    assert_int_equal(a->target, b->target);
    assert_int_equal(a->truth == NULL, b->truth == NULL);
    if (a->truth != NULL)
        assert_memory_equal(a->truth, b->truth, a->k * sizeof *a->truth);
    assert_int_equal(a->accident, b->accident);
    assert_string_equal(a->profile, b->profile);
    assert_string_equal(a->history_text, b->history_text);
    for (uint32_t i = 0; i < a->k; i++)
        assert_string_equal(a->actions[i], b->actions[i]);
}

static void scenes_come_back_equal(void **state)
{
    (void)state;
    for (uint32_t impressions = 0; impressions <= 8; impressions += 8) {
        place p;
        um_error err;
        um_dataset *d = NULL;
        um_scene_set *set = some_scenes(&d, impressions), *again = NULL;
        open_place(&p);
        store_log(&p, d);
        assert_int_equal(um_scenes_load(um_session_workspace(p.s), d, &again, &err), UM_ERR_STATE);
        store_scenes(&p, d, set);
        assert_ok(um_scenes_load(um_session_workspace(p.s), d, &again, &err), err);
        assert_int_equal(set->n, again->n);
        assert_memory_equal(set->n_split, again->n_split, sizeof set->n_split);
        for (size_t i = 0; i < set->n; i++)
            assert_same_scene(&set->scenes[i], &again->scenes[i]);
        um_scene_set_free(again);
        um_scene_set_free(set);
        um_dataset_free(d);
        close_place(&p);
    }
}

static void damaged_scenes_are_refused(void **state)
{
    (void)state;
    um_dataset *d = NULL;
    um_scene_set *set = some_scenes(&d, 0);
    unsigned char zeros[64] = {0}, much[64] = {0}, late[64] = {0};
    const uint32_t many = UINT32_MAX, one = 1, far = 1000;
    memcpy(much, &many, 4);
    memcpy(late, &one, 4);
    memcpy(late + 4, &far, 4);
    static const char text[] = "{\"profile\":\"\",\"history\":\"\",\"action_list\":[\"a\",\"b\"]}";
    static const char list[] = "[\"i0\",\"i1\"]";
    const um_row_scene good = {.split = "train",
                               .dataset = d->name,
                               .user = set->scenes[0].user,
                               .user_id = "u",
                               .item_id = "i0",
                               .choice_cnt = 2,
                               .impression_list = list,
                               .text = text,
                               .data = zeros,
                               .data_bytes = 6};
    um_row_scene cases[12];
    size_t n = 0;
    for (size_t i = 0; i < 12; i++)
        cases[i] = good;
    cases[n++].id = 1;
    cases[n++].item_pos = 2;
    cases[n++].choice_cnt = 3;
    cases[n++].user = d->users.n_rows;
    cases[n++].order_id = 1000;
    cases[n++].impression_list = "[\"i0\",\"nowhere\"]";
    cases[n++].impression_list = "{}";
    cases[n++].text = "{\"profile\":\"\",\"action_list\":[\"a\",\"b\"]}";
    cases[n++].text = "{\"profile\":\"\",\"history\":\"\",\"action_list\":[\"a\"]}";
    cases[n++].data_bytes = 5;
    cases[n++].data = much;
    cases[n] = (um_row_scene)good;
    cases[n].data = late;
    cases[n++].data_bytes = 10;
    for (size_t i = 0; i <= n; i++) {
        place p;
        um_error err;
        um_scene_set *again = NULL;
        open_place(&p);
        store_log(&p, d);
        um_workspace *ws = um_session_workspace(p.s);
        um_status status = um_workspace_put_scene(ws, i < n ? &cases[i] : &good, &err);
        if (status == UM_OK)
            status = um_scenes_load(ws, d, &again, &err);
        /* Some damage the tables themselves refuse to hold. */
        bool refused = status == UM_ERR_INPUT || (status == UM_ERR_STATE && again == NULL);
        if (refused != (i < n))
            fail_msg("case %zu: %s: %s", i, um_status_name(status), err.text);
        um_scene_set_free(again);
        close_place(&p);
    }
    um_scene_set_free(set);
    um_dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logs_come_back_equal),
        cmocka_unit_test(old_workspaces_load),
        cmocka_unit_test(files_are_recorded),
        cmocka_unit_test(damaged_counts_and_skips_are_refused),
        cmocka_unit_test(missing_interactions_are_noticed),
        cmocka_unit_test(damaged_logs_are_refused),
        cmocka_unit_test(scenes_come_back_equal),
        cmocka_unit_test(damaged_scenes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
