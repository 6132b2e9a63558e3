#include <math.h>

#include "data/builder.h"
#include "test_data_util.h"

static um_error err;

static um_dataset_builder *new_builder(void)
{
    um_dataset_builder *b = NULL;
    assert_ok(um_dataset_builder_new(&b, "t", &err), err);
    return b;
}

static void add(um_dataset_builder *b, const char *user, const char *item, int64_t time_s)
{
    uint32_t u = 0, i = 0;
    assert_ok(um_dataset_builder_user(b, user, &u, NULL, &err), err);
    assert_ok(um_dataset_builder_item(b, item, &i, NULL, &err), err);
    assert_ok(um_dataset_builder_interaction(b, u, i, time_s, &err), err);
}

static void ids_stay_text(void **state)
{
    (void)state;
    static const char *const ids[] = {"7", "07", "+7", "7a", "4194304", "0", "00", "4194303"};
    um_dataset_builder *b = new_builder();
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t k = 0; k < 8; k++) {
            uint32_t index = 99;
            bool added = false;
            assert_ok(um_dataset_builder_user(b, ids[k], &index, &added, &err), err);
            assert_int_equal(index, k);
            assert_int_equal(added, round == 0);
            assert_true(um_builder_find_user(b, ids[k], &index));
        }
    }
    uint32_t index = 0;
    assert_false(um_builder_find_user(b, "8", &index));
    assert_int_equal(um_dataset_builder_user(b, "", &index, NULL, &err), UM_ERR_INPUT);
    um_dataset_builder_free(b);
}

/* Against a plain comparison sort: users in order, times in order, ties in file order. */
static void sorted_stably(void **state)
{
    (void)state;
    enum { N = 5000, USERS = 7 };
    um_dataset_builder *b = new_builder();
    uint32_t random = 12345;
    for (int u = 0; u < USERS; u++) {
        char id[8];
        uint32_t index = 0;
        snprintf(id, sizeof id, "%d", u);
        assert_ok(um_dataset_builder_user(b, id, &index, NULL, &err), err);
    }
    for (int k = 0; k < N; k++) {
        char user[16], item[16];
        random = random * 1664525 + 1013904223;
        /* User 3 has a sorted log, user 4 one time only, user 6 none. */
        int u = (int)(random >> 16) % (USERS - 1);
        int64_t time_s = u == 3 ? k : u == 4 ? 5 : (int64_t)(random >> 8) % 300 - 150;
        snprintf(user, sizeof user, "%d", u);
        snprintf(item, sizeof item, "i%d", k);
        add(b, user, item, time_s);
    }
    um_dataset *d = NULL;
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    assert_int_equal(d->n_interactions, N);
    assert_int_equal(d->users.n_rows, USERS);
    assert_int_equal(d->user_start[USERS - 1], d->user_start[USERS]);
    for (uint32_t u = 0; u < USERS; u++) {
        for (uint64_t i = d->user_start[u] + 1; i < d->user_start[u + 1]; i++) {
            assert_true(d->time_s[i - 1] <= d->time_s[i]);
            /* Items are numbered in file order. */
            if (d->time_s[i - 1] == d->time_s[i])
                assert_true(d->item[i - 1] < d->item[i]);
        }
    }
    um_dataset_free(d);
    um_dataset_builder_free(b);
}

static void columns_and_series(void **state)
{
    (void)state;
    um_dataset_builder *b = new_builder();
    add(b, "u", "x", 20);
    assert_ok(um_dataset_builder_number(b, "rating", 4.5, &err), err);
    assert_ok(um_dataset_builder_number(b, "mixed", 2, &err), err);
    add(b, "u", "y", 10);
    assert_ok(um_dataset_builder_text(b, "mixed", "\"two\"", &err), err);
    add(b, "v", "x", 5);
    assert_ok(um_dataset_builder_number(b, "mixed", 0.1, &err), err);
    assert_ok(um_dataset_builder_number(b, "never", NAN, &err), err);
    assert_ok(um_dataset_builder_set_item(b, 1, "size", UM_COLUMN_FEATURE, "3", &err), err);
    assert_ok(um_dataset_builder_set_item(b, 0, "title", UM_COLUMN_DESCRIPTION, "X", &err), err);
    assert_ok(um_dataset_builder_set_item(b, 1, "title", UM_COLUMN_DESCRIPTION, NULL, &err), err);
    um_dataset *d = NULL;
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    const um_series *rating = um_dataset_series(d, "rating"),
                    *mixed = um_dataset_series(d, "mixed");
    assert_null(um_dataset_series(d, "absent"));
    assert_int_equal(d->item[0], 1); /* y at 10 comes before x at 20 */
    assert_true(isnan(rating->numbers[0]));
    assert_true(rating->numbers[1] == 4.5);
    assert_null(rating->texts);
    assert_null(mixed->numbers);
    assert_string_equal(mixed->texts[0], "\"two\"");
    assert_string_equal(mixed->texts[1], "2");
    assert_string_equal(mixed->texts[2], "0.1");
    assert_true(isnan(um_dataset_series(d, "never")->numbers[0]));
    /* Descriptions come before features. */
    assert_string_equal(d->items.columns[0], "title");
    assert_string_equal(um_table_cell(&d->items, 0, 0), "X");
    assert_null(um_table_cell(&d->items, 1, 0));
    assert_string_equal(um_table_cell(&d->items, 1, um_table_column(&d->items, "size")), "3");
    assert_int_equal(um_table_column(&d->items, "none"), -1);
    assert_null(um_table_cell(&d->items, 0, -1));
    um_dataset_free(d);
    um_dataset_builder_free(b);
}

static void impressions_follow_their_rows(void **state)
{
    (void)state;
    um_dataset_builder *b = new_builder();
    add(b, "u", "a", 30);
    add(b, "u", "b", 20);
    uint32_t c = 0, shown[2] = {0, 0};
    assert_ok(um_dataset_builder_item(b, "c", &c, NULL, &err), err);
    shown[0] = c;
    shown[1] = 1;
    assert_ok(um_dataset_builder_impressions(b, shown, 2, 1, &err), err);
    assert_int_equal(um_dataset_builder_impressions(b, shown, 2, 1, &err), UM_ERR_STATE);
    add(b, "u", "a", 10);
    assert_int_equal(um_dataset_builder_impressions(b, shown, 2, 1, &err), UM_ERR_INPUT);
    assert_int_equal(um_dataset_builder_impressions(b, shown, 2, 2, &err), UM_ERR_INPUT);
    assert_ok(um_dataset_builder_release(b, 0, 777, &err), err);
    um_dataset *d = NULL;
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    static const uint64_t start[] = {0, 0, 2, 2};
    for (int i = 0; i < 4; i++)
        assert_int_equal(d->impression_start[i], start[i]);
    assert_int_equal(d->impression_item[0], c);
    assert_int_equal(d->impression_item[1], 1);
    assert_int_equal(d->impression_position[0], -1);
    assert_int_equal(d->impression_position[1], 1);
    /* A release counts as it is; else the first time chosen or shown. */
    assert_true(d->item_has_release[0] && !d->item_has_release[1]);
    assert_int_equal(d->item_available_s[0], 777);
    assert_int_equal(d->item_available_s[1], 20);
    assert_int_equal(d->item_available_s[2], 20);
    um_dataset_free(d);
    um_dataset_builder_free(b);
}

static void misuse_is_refused(void **state)
{
    (void)state;
    um_dataset_builder *b = NULL;
    uint32_t index = 0;
    assert_int_equal(um_dataset_builder_new(&b, "../x", &err), UM_ERR_INPUT);
    assert_int_equal(um_dataset_builder_new(&b, "", &err), UM_ERR_INPUT);
    assert_int_equal(um_dataset_builder_new(&b, ".x", &err), UM_ERR_INPUT);
    b = new_builder();
    assert_int_equal(um_dataset_builder_number(b, "rating", 1, &err), UM_ERR_STATE);
    assert_int_equal(um_dataset_builder_interaction(b, 0, 0, 0, &err), UM_ERR_STATE);
    assert_int_equal(um_dataset_builder_set_user(b, 0, "c", UM_COLUMN_FEATURE, "1", &err),
                     UM_ERR_STATE);
    add(b, "u", "a", 1);
    assert_int_equal(um_dataset_builder_number(b, "rating", INFINITY, &err), UM_ERR_NUMERIC);
    assert_int_equal(um_dataset_builder_number(b, "item_pos", 1, &err), UM_ERR_INPUT);
    assert_int_equal(
        um_dataset_builder_set_item(b, 0, "release_time", UM_COLUMN_FEATURE, "1", &err),
        UM_ERR_INPUT);
    for (int i = 0; i < UM_BUILDER_MAX_COLUMNS; i++) {
        char name[16];
        snprintf(name, sizeof name, "c%d", i);
        assert_ok(um_dataset_builder_set_user(b, 0, name, UM_COLUMN_FEATURE, "1", &err), err);
    }
    assert_int_equal(um_dataset_builder_set_user(b, 0, "more", UM_COLUMN_FEATURE, "1", &err),
                     UM_ERR_LIMIT);
    um_dataset *d = NULL;
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    um_dataset_free(d);
    assert_int_equal(um_dataset_builder_finish(b, &d, &err), UM_ERR_STATE);
    assert_int_equal(um_dataset_builder_user(b, "u", &index, NULL, &err), UM_ERR_STATE);
    um_dataset_builder_free(b);
    um_dataset_builder_free(NULL);
    um_dataset_free(NULL);
}

typedef struct left {
    size_t n;
    uint64_t line[16];
    um_left_out_reason reason[16];
} left;

static um_status note_left(void *context, uint64_t ordinal, uint64_t line,
                           um_left_out_reason reason, um_error *error)
{
    (void)ordinal;
    (void)error;
    left *l = context;
    assert_true(l->n < 16);
    l->line[l->n] = line;
    l->reason[l->n++] = reason;
    return UM_OK;
}

static void duplicates_and_rare_users_are_left_out(void **state)
{
    (void)state;
    static const struct {
        const char *user, *item;
        int64_t time_s;
    } rows[] = {{"u", "a", 5}, {"v", "a", 1}, {"u", "b", 5}, {"u", "a", 5},
                {"u", "a", 6}, {"w", "a", 1}, {"w", "a", 1}, {"u", "b", 5},
                {"w", "b", 2}, {"x", "b", 1}, {"x", "a", 9}};
    um_dataset_builder *b = new_builder();
    left l = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        add(b, rows[i].user, rows[i].item, rows[i].time_s);
        assert_ok(um_builder_set_line(b, i + 1, &err), err);
    }
    um_builder_finish_options options = {
        .unique = true, .min_user_interactions = 2, .on_left_out = note_left, .context = &l};
    um_dataset *d = NULL;
    assert_ok(um_builder_finish_with(b, &options, &d, &err), err);
    assert_int_equal(l.n, 4);
    static const uint64_t lines[] = {4, 8, 2, 7};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(l.line[i], lines[i]);
    assert_int_equal(l.reason[2], UM_LEFT_OUT_FEW);
    assert_int_equal(l.reason[3], UM_LEFT_OUT_DUPLICATE);
    assert_int_equal(d->users.n_rows, 3);
    assert_string_equal(d->users.ids[1], "w");
    assert_string_equal(d->users.ids[2], "x");
    assert_int_equal(d->n_interactions, 7);
    static const uint32_t items[] = {0, 1, 0, 0, 1, 1, 0};
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(d->item[i], items[i]);
    assert_int_equal(d->user_start[1], 3);
    assert_int_equal(d->user_start[2], 5);
    assert_int_equal(d->user_start[3], 7);
    um_dataset_free(d);
    um_dataset_builder_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_stay_text),
        cmocka_unit_test(sorted_stably),
        cmocka_unit_test(columns_and_series),
        cmocka_unit_test(impressions_follow_their_rows),
        cmocka_unit_test(misuse_is_refused),
        cmocka_unit_test(duplicates_and_rare_users_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
