/* MIND: impressions, what was clicked before the log, and the parts it is published in. */
#include <sys/stat.h>

#include "base/str.h"
#include "mirrorer/scene.h"
#include "test_data_util.h"

static um_error err;
static char dir[256];

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

/* Titles hold quotes as they are; one abstract is missing. */
static const char news_tsv[] =
    "N1\tsports\tsoccer\tA \"big\" game, \"won\tSaid so.\thttps://a\t[]\t[]\n"
    "N2\tnews\tworld\tZwei \xC3\x9C\xC3\x9F\t\thttps://a\t[]\t[]\n"
    "N3\tnews\tworld\tThree\tText 3\thttps://a\t[]\t[]\n"
    "N4\tnews\tworld\tFour\tText 4\thttps://a\t[]\t[]\n"
    "N5\tnews\tworld\tFive\tText 5\thttps://a\t[]\t[]\n"
    "N6\tnews\tworld\tSix\tText 6\thttps://a\t[]\t[]\n"
    "N7\tnews\tworld\tNobody saw it\tText 7\thttps://a\t[]\t[]\n";

static um_status read_mind(um_dataset **d, um_ingest_report *report, seen *s, int64_t min_history,
                           int64_t max_list)
{
    um_ingest_options options;
    um_ingest_defaults(&options);
    options.on_rejection = see;
    options.context = s;
    options.filters.min_history = min_history;
    options.filters.max_list = max_list;
    s->n = 0;
    *d = NULL;
    return um_dataset_read(d, report, dir, &options, NULL, &err);
}

static uint32_t item_of(const um_dataset *d, const char *id)
{
    for (uint32_t i = 0; i < d->items.n_rows; i++)
        if (strcmp(d->items.ids[i], id) == 0)
            return i;
    fail_msg("no item %s", id);
    return 0;
}

static uint32_t user_of(const um_dataset *d, const char *id)
{
    for (uint32_t u = 0; u < d->users.n_rows; u++)
        if (strcmp(d->users.ids[u], id) == 0)
            return u;
    fail_msg("no user %s", id);
    return 0;
}

/* Interaction i as "item@time", with the list it was chosen from. */
static void expect(const um_dataset *d, uint64_t i, const char *item, int64_t time_s,
                   const char *list, int32_t position)
{
    char text[200] = "";
    assert_string_equal(d->items.ids[d->item[i]], item);
    assert_int_equal(d->time_s[i], time_s);
    for (uint64_t j = d->impression_start[i]; j < d->impression_start[i + 1]; j++)
        snprintf(text + strlen(text), 16, "%s ", d->items.ids[d->impression_item[j]]);
    assert_string_equal(text, list);
    assert_int_equal(d->impression_position[i], position);
}

static void impressions(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "news.tsv", news_tsv);
    /* In the afternoon, at noon, at midnight; two clicks; none; the same history with each row. */
    put(dir, "behaviors.tsv",
        "1\tU1\t11/15/2019 1:05:58 PM\tN1 N2 N1\tN3-0 N4-1 N5-0\n"
        "2\tU1\t11/15/2019 12:05:58 PM\tN1 N2 N1\tN5-1 N3-0\n"
        "3\tU1\t11/15/2019 12:05:58 AM\tN1 N2 N1\tN3-0 N5-0\n"
        "4\tU2\t11/16/2019 9:00:00 AM\t\tN4-1 N1-0 N6-1\n");
    assert_ok(read_mind(&d, &report, &s, 0, 0), err);
    assert_counts_add_up(&report, &s);
    assert_string_equal(report.adapter, "mind");
    assert_string_equal(d->name, "mind");
    assert_int_equal(report.rows_kept, 7 + 4);
    assert_int_equal(s.n, 0);
    assert_int_equal(d->n_interactions, 2 + 2 + 2);
    const int64_t midnight = 1573776000;
    uint64_t first = d->user_start[user_of(d, "U1")], second = d->user_start[user_of(d, "U2")];
    expect(d, first, "N1", 0, "", -1);
    expect(d, first + 1, "N2", 0, "", -1);
    expect(d, first + 2, "N5", midnight + 12 * 3600 + 358, "N5 N3 ", 0);
    expect(d, first + 3, "N4", midnight + 13 * 3600 + 358, "N3 N4 N5 ", 1);
    expect(d, second, "N4", midnight + 33 * 3600, "N4 N1 N6 ", 0);
    expect(d, second + 1, "N6", midnight + 33 * 3600, "N4 N1 N6 ", 2);
    assert_string_equal(item_text(d, "N1", "title"), "A \"big\" game, \"won");
    assert_string_equal(item_text(d, "N1", "category"), "sports");
    assert_string_equal(item_text(d, "N1", "subcategory"), "soccer");
    assert_string_equal(item_text(d, "N1", "abstract"), "Said so.");
    assert_string_equal(item_text(d, "N2", "title"), "Zwei \xC3\x9C\xC3\x9F");
    assert_null(item_text(d, "N2", "abstract"));
    /* First shown, or first named among earlier clicks. */
    static const struct {
        const char *item;
        int64_t after_s;
    } releases[] = {{"N1", 358}, {"N3", 358}, {"N4", 13 * 3600 + 358}, {"N6", 33 * 3600}};
    for (size_t i = 0; i < sizeof releases / sizeof *releases; i++) {
        uint32_t item = item_of(d, releases[i].item);
        assert_true(d->item_has_release[item]);
        assert_int_equal(d->item_available_s[item], midnight + releases[i].after_s);
    }
    assert_true(d->item_available_s[item_of(d, "N7")] == INT64_MAX);
    um_dataset_free(d);
}

static void lists_nobody_chose_from(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "news.tsv", news_tsv);
    put(dir, "behaviors.tsv",
        "1\tU2\t11/15/2019 2:00:00 AM\tN1\tN3-1 N5-0\n"
        "2\tU1\t11/15/2019 3:00:00 AM\t\tN3-0 N5-0 N4-0\n"
        "3\tU1\t11/15/2019 1:00:00 AM\t\tN6-0\n");
    assert_ok(read_mind(&d, &report, &s, 0, 0), err);
    assert_counts_add_up(&report, &s);
    assert_int_equal(report.rows_kept, 7 + 3);
    assert_int_equal(d->n_skips, 2);
    uint32_t user = user_of(d, "U1");
    uint64_t skip = d->skip_start[user];
    assert_int_equal(d->skip_start[user + 1] - skip, 2);
    assert_int_equal(d->skip_time_s[skip], 1573776000 + 3600);
    assert_int_equal(d->skip_list_start[skip + 1] - d->skip_list_start[skip], 1);
    assert_string_equal(d->items.ids[d->skip_item[d->skip_list_start[skip]]], "N6");
    assert_int_equal(d->skip_list_start[skip + 2] - d->skip_list_start[skip + 1], 3);
    um_dataset_free(d);
    /* U1 has no interaction, so its lists go, each of them a row of the file. */
    um_ingest_options options;
    um_ingest_defaults(&options);
    options.on_rejection = see;
    options.context = &s;
    options.filters.min_history = 0;
    options.filters.min_user_interactions = 2;
    s.n = 0;
    assert_ok(um_dataset_read(&d, &report, dir, &options, NULL, &err), err);
    assert_counts_add_up(&report, &s);
    assert_int_equal(s.n, 2);
    assert_has(s.text[0], "behaviors.tsv:2: ");
    assert_has(s.text[1], "behaviors.tsv:3: ");
    assert_int_equal(d->users.n_rows, 1);
    um_dataset_free(d);
}

static void filters(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "news.tsv", news_tsv);
    put(dir, "behaviors.tsv",
        "1\tU1\t11/15/2019 9:00:00 AM\tN1 N2\tN3-0 N4-1\n"
        "2\tU2\t11/14/2019 9:00:00 AM\tN1\tN3-1 N6-0\n"
        "3\tU1\t11/15/2019 9:01:00 AM\tN1 N2\tN3-0 N4-1 N5-0\n");
    assert_ok(read_mind(&d, &report, &s, 2, 2), err);
    assert_counts_add_up(&report, &s);
    assert_int_equal(report.rows_filtered, 2);
    assert_int_equal(s.n, 2);
    assert_string_equal(s.text[0], "behaviors.tsv:2: 1 clicks before the log, need 2");
    assert_string_equal(s.text[1], "behaviors.tsv:3: 3 news shown, limit 2");
    assert_int_equal(d->n_interactions, 3);
    assert_int_equal(d->users.n_rows, 1);
    /* A list left out has still been shown. */
    assert_int_equal(d->item_available_s[item_of(d, "N6")], 1573776000 - 86400 + 9 * 3600);
    um_dataset_free(d);
    /* Published: five earlier clicks, ten news. Nothing of this log is left. */
    assert_int_equal(read_mind(&d, &report, &s, UM_FILTER_DEFAULT, UM_FILTER_DEFAULT),
                     UM_ERR_INPUT);
    assert_null(d);
    assert_has(err.text, "no row of behaviors.tsv has a click and passes the filters (3 rows");
    const um_adapter_info *info = um_adapters();
    while (strcmp(info->name, "mind") != 0)
        info++;
    assert_int_equal(info->filters.min_history, 5);
    assert_int_equal(info->filters.max_list, 10);
}

static void bad_rows(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "news.tsv",
        "N1\tsports\tsoccer\tOne\ta\tb\t[]\t[]\n"
        "N2\tnews\tworld\tTwo\ta\tb\t[]\t[]\n"
        "N1\tnews\tworld\tAgain\ta\tb\t[]\t[]\n"
        "N3\tnews\tworld\t\ta\tb\t[]\t[]\n"
        "\tnews\tworld\tNo id\ta\tb\t[]\t[]\n"
        "N4\tnews\tworld\tShort\n");
    put(dir, "behaviors.tsv",
        "1\tU1\t11/15/2019 9:00:00 AM\tN1\tN1-0 N2-1\n"
        "2\tU1\t15/11/2019 9:00:00 AM\tN1\tN1-0 N2-1\n"
        "3\tU1\t11/15/2019 9:00:00\tN1\tN1-0 N2-1\n"
        "4\t\t11/15/2019 9:00:00 AM\tN1\tN1-0 N2-1\n"
        "5\tU1\t11/15/2019 9:00:00 AM\tN9\tN1-0 N2-1\n"
        "6\tU1\t11/15/2019 9:00:00 AM\tN1\tN1-0 N9-1\n"
        "7\tU1\t11/15/2019 9:00:00 AM\tN1\tN1 N2\n"
        "8\tU1\t11/15/2019 9:00:00 AM\tN1\tN1-0 N2-2\n"
        "9\tU1\t11/15/2019 9:00:00 AM\tN1\tN1-0 N1-1\n"
        "10\tU1\t11/15/2019 9:00:00 AM\tN1\t\n"
        "11\tU1\t11/15/2019 9:00:00 AM\tN1-0 N2-1\n"
        "12\tU1\t11/15/2019 9:00:00 AM\tN1\tN1-0 N2-1\n");
    assert_ok(read_mind(&d, &report, &s, 0, 0), err);
    assert_counts_add_up(&report, &s);
    static const char *const reasons[] = {
        "news.tsv:3: news 'N1' was listed before",
        "news.tsv:4: news 'N3' has no title",
        "news.tsv:5: news id is empty",
        "news.tsv:6: short row: 4 fields, need 8",
        "behaviors.tsv:2: time '15/11/2019 9:00:00 AM' is not like",
        "behaviors.tsv:3: time",
        "behaviors.tsv:4: user id is empty",
        "behaviors.tsv:5: news 'N9' of the history",
        "behaviors.tsv:6: news 'N9' of the list",
        "behaviors.tsv:7: unlabelled: news 'N1'",
        "behaviors.tsv:8: 'N2-2' of the list is marked with neither",
        "behaviors.tsv:9: news 'N1' is shown twice",
        "behaviors.tsv:10: no news in the list",
        "behaviors.tsv:11: short row: 4 fields, need 5",
        "behaviors.tsv:12: user, item and time as in an earlier row",
    };
    assert_int_equal(s.n, sizeof reasons / sizeof *reasons);
    for (size_t i = 0; i < s.n; i++)
        assert_has(s.text[i], reasons[i]);
    assert_int_equal(d->n_interactions, 2);
    um_dataset_free(d);
}

static void note(void *context, const char *text)
{
    snprintf(context, 200, "%s", text);
}

/* As published: parts in folders that share news, a test part without labels, a packed file. */
static void parts(void **state)
{
    (void)state;
    um_ingest_report report;
    char path[4096], said[200] = "";
    static const char *const folders[] = {"MINDsmall_dev", "MINDsmall_train", "test"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, folders[i]);
        assert_int_equal(mkdir(path, 0755), 0);
        put(path, "news.tsv", news_tsv);
    }
    put(dir, "MINDsmall_dev/behaviors.tsv", "1\tU1\t11/16/2019 9:00:00 AM\tN6\tN3-0 N4-1\n");
    put_gzip(dir, "MINDsmall_train/behaviors.tsv.gz",
             "1\tU1\t11/15/2019 9:00:00 AM\tN1 N2\tN3-1 N4-0\n");
    put(dir, "test/behaviors.tsv", "1\tU1\t11/17/2019 9:00:00 AM\tN6\tN3 N4\n");
    seen s = {0};
    um_dataset *d = NULL;
    um_ingest_options options;
    um_ingest_defaults(&options);
    options.on_rejection = see;
    options.context = &s;
    options.filters.min_history = 0;
    const um_monitor monitor = {.on_message = note, .context = said};
    assert_ok(um_dataset_read(&d, &report, dir, &options, &monitor, &err), err);
    assert_counts_add_up(&report, &s);
    assert_int_equal(report.n_files, 6);
    assert_int_equal(report.rows_read, 3 * 7 + 3);
    assert_int_equal(s.n, 1);
    assert_has(s.text[0], "test/behaviors.tsv:1: unlabelled");
    /* The training part's history counts, although its folder sorts after dev. */
    assert_int_equal(d->n_interactions, 4);
    assert_string_equal(d->items.ids[d->item[0]], "N1");
    assert_string_equal(d->items.ids[d->item[1]], "N2");
    assert_has(said, "1 rows of behaviors.tsv tell other clicks before the log");
    um_dataset_free(d);
}

/* The built-in texts: clicks before the log have no time, the list is the one that was shown. */
static void scenes(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    um_str rows = UM_STR_INIT;
    um_scene_options o;
    um_scene_set *set = NULL;
    um_template *t = NULL;
    for (int u = 0; u < 30; u++)
        um_str_appendf(&rows, "%d\tU%d\t11/15/2019 %d:00:00 PM\tN1 N2 N3 N4 N5\tN7-0 N6-1\n", u, u,
                       1 + u % 11);
    put(dir, "news.tsv", news_tsv);
    put(dir, "behaviors.tsv", um_str_text(&rows));
    um_str_dispose(&rows);
    assert_ok(read_mind(&d, &report, &s, UM_FILTER_DEFAULT, UM_FILTER_DEFAULT), err);
    um_scene_defaults(&o);
    o.base_scenes = 0;
    o.train_scenes = o.eval_scenes = 5;
    assert_ok(um_template_builtin(&t, d->name, &err), err);
    assert_ok(um_scenes_build(&set, d, &o, t, 1, NULL, &err), err);
    assert_int_equal(set->n, 10);
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *scene = &set->scenes[i];
        assert_int_equal(scene->k, 2);
        assert_int_equal(scene->target, 1);
        assert_string_equal(scene->actions[0], "Nobody saw it (news, world). Text 7");
        assert_string_equal(scene->actions[1], "Six (news, world). Text 6");
        assert_has(scene->profile, "has opened 5 stories so far");
        assert_has(scene->history_text, "- earlier: ");
        assert_has(scene->history_text, " (news)");
    }
    um_scene_set_free(set);
    um_template_free(t);
    um_dataset_free(d);
}

static void wrong_folders(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "behaviors.tsv", "");
    assert_int_equal(read_with(&d, &report, &s, dir, "", "mind", &err), UM_ERR_INPUT);
    assert_has(err.text, "adapter mind expects behaviors.tsv, news.tsv");
    assert_has(err.text, "found behaviors.tsv");
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "found behaviors.tsv; mind needs behaviors.tsv, news.tsv (also in");
    assert_has(err.text, "; expected the files of one of: canonical, ml-1m, ");
    assert_has(err.text, " lists their files)");
    put(dir, "news.tsv", news_tsv);
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "behaviors.tsv: no rows, the file is empty");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(impressions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_nobody_chose_from, set_up, tear_down),
        cmocka_unit_test_setup_teardown(filters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scenes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_folders, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
