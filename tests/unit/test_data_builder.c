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
    static const char *const ids[][8] = {
        {"7", "07", "+7", "7a", "4194304", "0", "00", "4194303"},
        {"N7", "7", "n7", "N07", "N4194304", "N", "N0", "M7"},
        {"a", "7", "a7", "07", "b7", "0", "a0", "aa7"},
        {"zz1", "z1", "1", "z01", "z", "z4194303", "4194303", "z-1"},
        {"user-7", "user-07", "user-", "7", "user-4194304", "user-0", "use-7", "user7"},
        {"4194305", "7", "07", "4194304", "0", "00", "4194303", "4194306"},
        {"007", "7", "0017", "00", "0", "008", "00a", "0008"},
        {"sixteen letters.7", "sixteen letters.", "seventeen letters7", "7", "sixteen letters.0",
         "sixteen letters.17", "sixteen letters7", "sixteen letters.07"},
        {"seventeen letters7", "7", "seventeen letters", "seventeen letters17", "77", "s7", "07",
         "seventeen letters8"},
    };
    for (size_t set = 0; set < sizeof ids / sizeof *ids; set++) {
        um_dataset_builder *b = new_builder();
        uint32_t index = 99;
        for (uint32_t round = 0; round < 2; round++) {
            for (uint32_t k = 0; k < 8; k++) {
                bool added = false;
                assert_ok(um_dataset_builder_user(b, ids[set][k], &index, &added, &err), err);
                assert_int_equal(index, k);
                assert_int_equal(added, round == 0);
                index = 99;
                assert_true(um_builder_find_user(b, ids[set][k], &index));
                assert_int_equal(index, k);
            }
        }
        assert_false(um_builder_find_user(b, "8", &index));
        assert_false(um_builder_find_user(b, "N8", &index));
        assert_false(um_builder_find_user(b, "", &index));
        assert_int_equal(um_dataset_builder_user(b, "", &index, NULL, &err), UM_ERR_INPUT);
        um_dataset_builder_free(b);
    }
}

/* Users in order, times in order, ties in file order; repeats and rare items are left out; all that
 * belongs to a row goes with it. */
static void check_order(int n)
{
    enum { USERS = 7, RARE = 100 };
    const um_ingest_filters filters = {.min_item_interactions = 2};
    const um_builder_finish_options options = {.unique = true, .filters = &filters};
    const int n_items = (n - RARE) / 4; /* an item has four times, of which no two are equal */
    um_dataset_builder *b = new_builder();
    uint32_t random = 12345;
    int *user_of = calloc((size_t)n, sizeof *user_of);
    int64_t *time_of = calloc((size_t)n, sizeof *time_of);
    char text[16], item[16];
    assert_true(user_of != NULL && time_of != NULL);
    for (int u = 0; u < USERS; u++) {
        uint32_t index = 0;
        snprintf(text, sizeof text, "%d", u);
        assert_ok(um_dataset_builder_user(b, text, &index, NULL, &err), err);
    }
    for (int k = 0; k < n; k++) {
        char user[16];
        random = random * 1664525 + 1013904223;
        /* User 3 has a sorted log, user 5 few times, user 6 none. */
        const int u = user_of[k] = (int)(random >> 16) % (USERS - 1), round = k / n_items;
        time_of[k] = u == 3 ? k : u == 5 ? round : ((int64_t)(random >> 8) % 300 - 150) * 5 + round;
        snprintf(user, sizeof user, "%d", u);
        snprintf(item, sizeof item, "%s%d", k < RARE ? "r" : "i", k % n_items);
        snprintf(text, sizeof text, "%d", k);
        for (int times = 0; times < 1 + (k % 3 == 0); times++) {
            add(b, user, item, time_of[k]);
            assert_ok(um_dataset_builder_number(b, "k", times == 0 ? k : -1, &err), err);
            if (k % 5 == 0)
                assert_ok(um_dataset_builder_text(b, "text", text, &err), err);
        }
    }
    um_dataset *d = NULL;
    assert_ok(um_builder_finish_with(b, &options, &d, &err), err);
    assert_int_equal(d->n_interactions, n - RARE);
    assert_int_equal(d->users.n_rows, USERS);
    assert_int_equal(d->user_start[USERS - 1], d->user_start[USERS]);
    const double *numbers = um_dataset_series(d, "k")->numbers;
    char *const *texts = um_dataset_series(d, "text")->texts;
    for (uint32_t u = 0; u < USERS - 1; u++) {
        int before = -1;
        for (uint64_t i = d->user_start[u]; i < d->user_start[u + 1]; i++) {
            const int k = (int)numbers[i];
            assert_true(k >= RARE && k < n);
            assert_int_equal(user_of[k], u);
            assert_int_equal(d->time_s[i], time_of[k]);
            assert_true(before < 0 || time_of[before] < time_of[k] ||
                        (time_of[before] == time_of[k] && before < k));
            snprintf(item, sizeof item, "i%d", k % n_items);
            assert_string_equal(d->items.ids[d->item[i]], item);
            snprintf(text, sizeof text, "%d", k);
            if (k % 5 == 0)
                assert_string_equal(texts[i], text);
            else
                assert_null(texts[i]);
            before = k;
        }
    }
    free(user_of);
    free(time_of);
    um_dataset_free(d);
    um_dataset_builder_free(b);
}

static void sorted_stably(void **state)
{
    (void)state;
    check_order(5000);
    check_order(60000); /* on two threads */
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
    assert_ok(um_dataset_builder_set_item(b, 0, "size", UM_COLUMN_FEATURE, NULL, &err), err);
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
    assert_int_equal(d->n_series, 3);
    /* Descriptions come before features; a name makes one column, in whatever order it comes. */
    assert_int_equal(d->items.n_columns, 2);
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
    size_t n, table[16];
    uint64_t line[16];
    um_left_out_reason reason[16];
} left;

static um_status note_left(void *context, size_t table, uint64_t line, um_left_out_reason reason,
                           um_error *error)
{
    (void)error;
    left *l = context;
    assert_true(l->n < 16);
    l->table[l->n] = table;
    l->line[l->n] = line;
    l->reason[l->n++] = reason;
    return UM_OK;
}

/* What was reported, as "table:line reason" the reason as its number. */
static void assert_left(const left *l, const char *expected)
{
    char text[400] = "";
    for (size_t i = 0; i < l->n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%zu:%d=%d ", l->table[i],
                 (int)l->line[i], (int)l->reason[i]);
    assert_string_equal(text, expected);
}

typedef struct line_row {
    const char *user, *item;
    int64_t time_s;
} line_row;

static um_dataset *finish_rows(const line_row *rows, size_t n, const um_ingest_filters *filters,
                               left *l)
{
    um_dataset_builder *b = new_builder();
    um_dataset *d = NULL;
    for (size_t i = 0; i < n; i++) {
        add(b, rows[i].user, rows[i].item, rows[i].time_s);
        assert_ok(um_builder_set_line(b, i + 1, &err), err);
    }
    *l = (left){0};
    const um_builder_finish_options options = {
        .unique = true, .filters = filters, .on_left_out = note_left, .context = l};
    assert_ok(um_builder_finish_with(b, &options, &d, &err), err);
    um_dataset_builder_free(b);
    return d;
}

/* The log as "user item@time item@time; user ...". */
static void assert_log(const um_dataset *d, const char *expected)
{
    char text[1000] = "";
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s", d->users.ids[u]);
        for (uint64_t i = d->user_start[u]; i < d->user_start[u + 1]; i++)
            snprintf(text + strlen(text), sizeof text - strlen(text), " %s@%d",
                     d->items.ids[d->item[i]], (int)d->time_s[i]);
        strcat(text, "; ");
    }
    assert_string_equal(text, expected);
}

static void duplicates_and_rare_users_are_left_out(void **state)
{
    (void)state;
    static const line_row rows[] = {{"u", "a", 5}, {"v", "a", 1}, {"u", "b", 5}, {"u", "a", 5},
                                    {"u", "a", 6}, {"w", "a", 1}, {"w", "a", 1}, {"u", "b", 5},
                                    {"w", "b", 2}, {"x", "b", 1}, {"x", "a", 9}};
    const um_ingest_filters filters = {.min_user_interactions = 2};
    left l;
    um_dataset *d = finish_rows(rows, sizeof rows / sizeof *rows, &filters, &l);
    /* In file order: v has one row, the others are repeats. */
    assert_left(&l, "0:2=4 0:4=1 0:7=1 0:8=1 ");
    assert_int_equal(UM_LEFT_OUT_FEW, 4);
    assert_int_equal(UM_LEFT_OUT_DUPLICATE, 1);
    assert_log(d, "u a@5 b@5 a@6; w a@1 b@2; x b@1 a@9; ");
    um_dataset_free(d);
}

static void the_newest_share_is_kept(void **state)
{
    (void)state;
    /* Ten rows of a known time; three of them share the time at which a share of 0.4 cuts. */
    static const line_row rows[] = {{"u", "a", 9},  {"u", "b", 5}, {"v", "a", 5}, {"v", "c", 0},
                                    {"v", "b", 1},  {"w", "c", 2}, {"v", "d", 8}, {"u", "c", 5},
                                    {"u", "d", -4}, {"w", "e", 3}, {"v", "e", 7}};
    um_ingest_filters filters = {.newest_share = 0.4};
    left l;
    um_dataset *d = finish_rows(rows, 11, &filters, &l);
    /* 9, 8, 7 and the last in the file of those at 5; time 0 stays; w and item e of w go. */
    assert_log(d, "u c@5 a@9; v c@0 e@7 d@8; ");
    assert_left(&l, "0:2=2 0:3=2 0:5=2 0:6=2 0:9=2 0:10=2 ");
    /* b lost all its rows: it is out of the catalogue. */
    assert_int_equal(d->items.n_rows, 4);
    um_dataset_free(d);
    filters.newest_share = 0.001; /* at least one */
    d = finish_rows(rows, 11, &filters, &l);
    assert_log(d, "u a@9; v c@0; ");
    um_dataset_free(d);
    filters.newest_share = 1;
    d = finish_rows(rows, 11, &filters, &l);
    assert_int_equal(d->n_interactions, 11);
    um_dataset_free(d);
}

/* Against sorting: whatever the times, as many rows stay, and none that goes is newer. */
static void newest_shares_agree_with_sorting(void **state)
{
    (void)state;
    enum { N = 700 };
    static const double shares[] = {0.1, 0.3, 0.5, 0.999};
    uint32_t random = 99;
    for (size_t s = 0; s < 4; s++) {
        um_dataset_builder *b = new_builder();
        um_dataset *d = NULL;
        int64_t times[N];
        for (int k = 0; k < N; k++) {
            char item[16];
            random = random * 1664525 + 1013904223;
            int64_t wide = (int64_t)((uint64_t)random << 31) - (INT64_C(1) << 61);
            times[k] = s % 2 == 0 ? wide | 1 : (int64_t)(random >> 20) - 2000000;
            snprintf(item, sizeof item, "%d", k);
            add(b, "u", item, times[k]);
        }
        const um_ingest_filters filters = {.newest_share = shares[s]};
        const um_builder_finish_options options = {.filters = &filters};
        assert_ok(um_builder_finish_with(b, &options, &d, &err), err);
        um_dataset_builder_free(b);
        for (int i = 1; i < N; i++) { /* insertion sort */
            for (int j = i; j > 0 && times[j - 1] > times[j]; j--) {
                int64_t swap = times[j];
                times[j] = times[j - 1];
                times[j - 1] = swap;
            }
        }
        size_t wanted = (size_t)(shares[s] * N + 0.5);
        assert_int_equal(d->n_interactions, wanted);
        for (size_t i = 0; i < wanted; i++)
            assert_true(d->time_s[i] == times[N - wanted + i]);
        um_dataset_free(d);
    }
}

static void filters_hold_once_each_in_order(void **state)
{
    (void)state;
    /* Item c has two rows until the item filter is through; b is rare. */
    static const line_row rows[] = {{"u", "a", 1}, {"u", "c", 2},  {"u", "b", 3},  {"v", "a", 4},
                                    {"v", "c", 5}, {"v", "a", 6},  {"v", "d", 7},  {"v", "d", 8},
                                    {"w", "a", 9}, {"w", "d", 10}, {"x", "b", 11}, {"w", "d", 12}};
    const um_ingest_filters filters = {
        .min_item_interactions = 3, .min_user_interactions = 2, .max_user_interactions = 3};
    left l;
    um_dataset *d = finish_rows(rows, 12, &filters, &l);
    /* a has 4, d 4; b and c go. Then u has 1 left, v 4, w 3, x none. a and d are not asked again.
     */
    assert_log(d, "w a@9 d@10 d@12; ");
    assert_left(&l, "0:1=4 0:2=3 0:3=3 0:4=5 0:5=3 0:6=5 0:7=5 0:8=5 0:11=3 ");
    assert_int_equal(d->items.n_rows, 2);
    um_dataset_free(d);
}

/* Items that filters take leave the catalogue, unless a list that stays names them; items that
 * nobody ever chose stay while no filter asks for a number. */
static void items_in_kept_lists_stay(void **state)
{
    (void)state;
    for (int rare = 0; rare < 2; rare++) {
        um_dataset_builder *b = new_builder();
        um_dataset *d = NULL;
        uint32_t never = 0;
        add(b, "u", "old", 10);
        add(b, "u", "shown", 11);
        add(b, "u", "passed", 12);
        assert_ok(um_dataset_builder_item(b, "never", &never, NULL, &err), err);
        assert_ok(um_dataset_builder_release(b, 0, 1, &err), err);
        add(b, "u", "new", 100);
        const uint32_t list[] = {1, 4}, skipped[] = {2, 3};
        assert_ok(um_dataset_builder_impressions(b, list, 2, 1, &err), err);
        assert_ok(um_dataset_builder_skip(b, 0, 100, skipped, rare == 0 ? 1 : 2, &err), err);
        assert_ok(um_dataset_builder_skip(b, 0, 99, skipped, 1, &err), err);
        add(b, "v", "new", 101);
        const um_ingest_filters filters = {.newest_share = 0.4,
                                           .min_item_interactions = rare == 0 ? 0 : 2};
        const um_builder_finish_options options = {.filters = &filters};
        assert_ok(um_builder_finish_with(b, &options, &d, &err), err);
        um_dataset_builder_free(b);
        static const char *const ids[] = {"shown", "passed", "never", "new"};
        assert_int_equal(d->items.n_rows, 4);
        for (int i = 0; i < 4; i++)
            assert_string_equal(d->items.ids[i], ids[i]);
        assert_false(d->item_has_release[0]);
        assert_log(d, "u new@100; v new@101; ");
        assert_int_equal(d->impression_item[0], 0);
        assert_int_equal(d->impression_item[1], 3);
        assert_int_equal(d->n_skips, 1);
        assert_int_equal(d->skip_item[0], 1);
        assert_int_equal(d->item_available_s[1], 100);
        assert_true(d->item_available_s[2] == (rare == 0 ? INT64_MAX : 100));
        um_dataset_free(d);
    }
}

static void skips_are_sorted_and_go_with_their_users(void **state)
{
    (void)state;
    um_dataset_builder *b = new_builder();
    um_dataset *d = NULL;
    uint32_t item[3];
    add(b, "u", "a", 50);
    add(b, "v", "a", 50);
    add(b, "w", "b", 50);
    add(b, "w", "a", 60);
    add(b, "u", "b", 60);
    for (int i = 0; i < 3; i++)
        assert_ok(um_dataset_builder_item(b,
                                          i == 0   ? "a"
                                          : i == 1 ? "b"
                                                   : "c",
                                          &item[i], NULL, &err),
                  err);
    assert_int_equal(um_dataset_builder_skip(b, 3, 1, item, 1, &err), UM_ERR_STATE);
    assert_int_equal(um_dataset_builder_skip(b, 0, 1, item, 0, &err), UM_ERR_INPUT);
    assert_int_equal(um_dataset_builder_skip(b, 0, 1, (const uint32_t[]){3}, 1, &err),
                     UM_ERR_STATE);
    assert_ok(um_dataset_builder_skip(b, 2, 70, item, 3, &err), err);
    assert_ok(um_dataset_builder_skip(b, 0, 55, item + 1, 2, &err), err);
    assert_ok(um_dataset_builder_skip(b, 1, 40, item + 2, 1, &err), err);
    assert_ok(um_dataset_builder_skip(b, 2, 20, item, 1, &err), err);
    assert_ok(um_dataset_builder_skip(b, 2, 20, item + 2, 1, &err), err);
    const um_ingest_filters filters = {.min_user_interactions = 2};
    const um_builder_finish_options options = {.unique = true, .filters = &filters};
    assert_ok(um_builder_finish_with(b, &options, &d, &err), err);
    um_dataset_builder_free(b);
    assert_int_equal(d->users.n_rows, 2);
    assert_int_equal(d->n_skips, 4);
    static const uint64_t start[] = {0, 1, 4}, lists[] = {0, 2, 3, 4, 7};
    static const int64_t times[] = {55, 20, 20, 70};
    static const uint32_t items[] = {1, 2, 0, 2, 0, 1, 2};
    assert_memory_equal(d->skip_start, start, sizeof start);
    assert_memory_equal(d->skip_list_start, lists, sizeof lists);
    assert_memory_equal(d->skip_time_s, times, sizeof times);
    assert_memory_equal(d->skip_item, items, sizeof items);
    /* a was passed over before anybody chose it; the list at 40 went with its user. */
    assert_int_equal(d->item_available_s[0], 20);
    assert_int_equal(d->item_available_s[1], 50);
    assert_int_equal(d->item_available_s[2], 20);
    um_dataset_free(d);
}

static void time_zero_is_no_time(void **state)
{
    (void)state;
    um_dataset_builder *b = new_builder();
    um_dataset *d = NULL;
    add(b, "u", "only before", 0);
    add(b, "u", "both", 0);
    add(b, "u", "both", 500);
    add(b, "u", "early", -70);
    add(b, "u", "early", 0);
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    um_dataset_builder_free(b);
    static const int64_t available[] = {0, 500, -70};
    assert_memory_equal(d->item_available_s, available, sizeof available);
    um_dataset_free(d);
}

/* One line of a file may give several interactions and lists: it is left out when all of them are.
 */
static void rows_of_several_interactions(void **state)
{
    (void)state;
    um_dataset_builder *b = new_builder();
    um_dataset *d = NULL;
    left l = {0};
    const uint32_t list[] = {0};
    assert_ok(um_builder_begin_table(b, &err), err);
    add(b, "u", "a", 1); /* line 1 */
    add(b, "u", "b", 1);
    assert_ok(um_builder_set_line(b, 1, &err), err);
    add(b, "u", "a", 1); /* line 2: one of two is a repeat */
    add(b, "u", "c", 1);
    assert_ok(um_builder_set_line(b, 2, &err), err);
    add(b, "u", "b", 1); /* line 3: all are repeats */
    add(b, "u", "a", 1);
    assert_ok(um_builder_set_line(b, 3, &err), err);
    add(b, "u", "c", 1); /* line 4: a repeat, but a list besides */
    assert_ok(um_dataset_builder_skip(b, 0, 1, list, 1, &err), err);
    assert_ok(um_builder_set_line(b, 4, &err), err);
    assert_ok(um_dataset_builder_skip(b, 0, 1, list, 1, &err), err); /* line 5: a list alone */
    assert_ok(um_builder_set_line(b, 5, &err), err);
    add(b, "v", "a", 1); /* line 6: of a user who goes, with a list */
    assert_ok(um_dataset_builder_skip(b, 1, 1, list, 1, &err), err);
    assert_ok(um_builder_set_line(b, 6, &err), err);
    assert_ok(um_dataset_builder_skip(b, 1, 1, list, 1, &err), err); /* line 7 */
    assert_ok(um_builder_set_line(b, 7, &err), err);
    add(b, "u", "e", 1); /* line 8: the second of two is a repeat */
    add(b, "u", "a", 1);
    assert_ok(um_builder_set_line(b, 8, &err), err);
    assert_ok(um_builder_begin_table(b, &err), err);
    add(b, "u", "a", 1); /* line 7 of the next file */
    assert_ok(um_builder_set_line(b, 7, &err), err);
    add(b, "u", "d", 1); /* without lines: rows of their own */
    add(b, "u", "d", 1);
    const um_ingest_filters filters = {.min_user_interactions = 2};
    const um_builder_finish_options options = {
        .unique = true, .filters = &filters, .on_left_out = note_left, .context = &l};
    assert_ok(um_builder_finish_with(b, &options, &d, &err), err);
    um_dataset_builder_free(b);
    assert_left(&l, "0:3=1 0:6=4 0:7=4 1:7=1 1:0=1 ");
    assert_int_equal(d->n_skips, 2);
    um_dataset_free(d);
}

/* Several lines may make one interaction or list, or belong to all clicks of one list. */
static void interactions_of_several_rows(void **state)
{
    (void)state;
    um_dataset_builder *b = new_builder();
    um_dataset *d = NULL;
    left l = {0};
    const uint32_t list[] = {0};
    const uint64_t two[] = {2, 3}, five[] = {5}, eight[] = {8}, ten[] = {10}, twelve[] = {12};
    assert_int_equal(um_builder_add_rows(b, two, 2, 1, &err), UM_ERR_STATE);
    assert_int_equal(um_builder_add_rows(b, two, 2, 0, &err), UM_ERR_STATE);
    assert_ok(um_builder_begin_table(b, &err), err);
    add(b, "v", "a", 1); /* lines 1 to 3: of a user who goes */
    assert_ok(um_builder_set_line(b, 1, &err), err);
    assert_ok(um_builder_add_rows(b, two, 2, 1, &err), err);
    assert_ok(um_dataset_builder_skip(b, 0, 1, list, 1, &err), err); /* lines 4, 5: a list of it */
    assert_ok(um_builder_set_line(b, 4, &err), err);
    assert_ok(um_builder_add_rows(b, five, 1, 0, &err), err);
    add(b, "u", "a", 1); /* lines 6 to 8: withdrawn below, so the one like it stays */
    assert_ok(um_builder_set_line(b, 6, &err), err);
    add(b, "u", "b", 1);
    assert_ok(um_builder_set_line(b, 7, &err), err);
    assert_ok(um_builder_add_rows(b, eight, 1, 2, &err), err);
    add(b, "u", "a", 1); /* lines 9, 10: stay */
    assert_ok(um_builder_set_line(b, 9, &err), err);
    add(b, "u", "c", 1);
    assert_ok(um_builder_set_line(b, 9, &err), err);
    assert_ok(um_builder_add_rows(b, ten, 1, 2, &err), err);
    assert_ok(um_builder_begin_table(b, &err), err);
    add(b, "u", "a", 1); /* lines 11, 12 of the next file: the click is a repeat */
    assert_ok(um_builder_set_line(b, 11, &err), err);
    assert_ok(um_builder_add_rows(b, twelve, 1, 1, &err), err);
    assert_int_equal(um_builder_n_units(b), 5);
    um_builder_withdraw(b, 2);
    const um_ingest_filters filters = {.min_user_interactions = 2};
    const um_builder_finish_options options = {
        .unique = true, .filters = &filters, .on_left_out = note_left, .context = &l};
    assert_ok(um_builder_finish_with(b, &options, &d, &err), err);
    um_dataset_builder_free(b);
    assert_left(&l, "0:1=4 0:4=4 0:6=6 0:7=6 0:2=4 0:3=4 0:5=4 0:8=6 1:11=1 1:12=6 ");
    assert_int_equal(d->n_interactions, 2);
    assert_int_equal(d->n_skips, 0);
    um_dataset_free(d);
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
        cmocka_unit_test(the_newest_share_is_kept),
        cmocka_unit_test(newest_shares_agree_with_sorting),
        cmocka_unit_test(filters_hold_once_each_in_order),
        cmocka_unit_test(items_in_kept_lists_stay),
        cmocka_unit_test(skips_are_sorted_and_go_with_their_users),
        cmocka_unit_test(time_zero_is_no_time),
        cmocka_unit_test(rows_of_several_interactions),
        cmocka_unit_test(interactions_of_several_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
