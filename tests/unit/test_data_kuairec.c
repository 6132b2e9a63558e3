/* KuaiRec: what was watched for how long, and the tables about users and videos. */
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

static const char users_csv[] =
    "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,"
    "follow_user_num,follow_user_num_range,fans_user_num,friend_user_num,register_days\n"
    "0,high_active,0,0,0,5,\"(0,10]\",0,0,107\n"
    "1,full_active,0,1,1,386,\"(250,500]\",12345,2,327\n"
    "2,UNKNOWN,0,1,0,27,\"(10,50]\",3000000,,116\n";
static const char categories_csv[] = "video_id,feat\n0,[8]\n1,\"[27, 9]\"\n2,[9]\n3,[1]\n";
/* A quoted caption over three lines with a quote in it; tags are a list without quotes. */
static const char captions_csv[] =
    "video_id,manual_cover_text,caption,topic_tag,first_level_category_id,"
    "first_level_category_name,second_level_category_id,second_level_category_name,"
    "third_level_category_id,third_level_category_name\n"
    "0,UNKNOWN,精神小伙路难走,[],8,颜值,673,颜值随拍,-124,UNKNOWN\n"
    "1,封面,\"第一行\n第二行 \"\"引\"\"\n\n#标签 "
    "\",\"[五爱市场,搞笑]\",5,时尚,737,营销售卖,2596,女装\n"
    "2,UNKNOWN,,[],27,高新数码,-124,UNKNOWN,-124,UNKNOWN\n";
/* A row a video and day, of many more columns. */
static const char daily_csv[] =
    "video_id,date,author_id,video_type,upload_dt,video_duration,show_cnt,play_cnt,like_cnt,"
    "comment_cnt,share_cnt\n"
    "0,20200705,9,NORMAL,2020-03-30,5966.0,1000,950,12345,7,0\n"
    "1,20200705,9,AD,2020-07-05,,1000,950,,7,0\n"
    "0,20200706,9,NORMAL,2020-03-31,5966.0,2000,2000,2000,2000,2000\n";
static const char friends_csv[] = "user_id,friend_list\n1,[0]\n0,\"[1, 2]\"\n";

static void put_tables(void)
{
    put(dir, "user_features.csv", users_csv);
    put(dir, "item_categories.csv", categories_csv);
    put(dir, "kuairec_caption_category.csv", captions_csv);
    put(dir, "item_daily_features.csv", daily_csv);
    put(dir, "social_network.csv", friends_csv);
}

#define PLAYS "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"

static um_dataset *read_as(um_ingest_report *report, seen *s, const char *adapter)
{
    um_dataset *d = NULL;
    assert_ok(read_with(&d, report, s, dir, "", adapter, &err), err);
    assert_counts_add_up(report, s);
    return d;
}

/* Number of interaction i, as text; "" when absent. */
static const char *number_of(const um_dataset *d, const char *series, uint64_t i)
{
    static char text[32];
    double x = um_dataset_series(d, series)->numbers[i];
    snprintf(text, sizeof text, "%.4f", x);
    return x != x ? "" : text;
}

static void plays_and_tables(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put_tables();
    put(dir, "big_matrix.csv",
        PLAYS "0,0,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.2733965\n"
              "0,1,2999,2000,2020-07-05 00:09:23.438,20200705,1593878963.999,1.4995\n"
              "0,2,9000,10000,2020-07-05 00:10:23.438,20200705,1593879023.0,0.9\n"
              "0,3,1999,2000,2020-07-05 00:11:23.438,20200705,1593879083,1\n"
              "1,0,0,0,2020-07-05 00:11:23.438,20200705,1593879083,1\n");
    um_dataset *d = read_as(&report, &s, NULL);
    assert_int_equal(s.n, 0);
    assert_string_equal(report.adapter, "kuairec");
    assert_string_equal(d->name, "kuairec");
    assert_int_equal(report.rows_kept, 3 + 4 + 2 + 3 + 3 + 5);
    assert_int_equal(d->n_interactions, 5);
    assert_int_equal(d->time_s[0], 1593878903);
    assert_int_equal(d->time_s[1], 1593878963);
    /* Completed; short but whole; not whole; whole by its ratio, yet shorter than the video;
     * nothing at all of a video without length. */
    static const char *const outcomes[][3] = {{"", "13.8380", "1.2734"},
                                              {"", "2.9990", "1.4995"},
                                              {"9.0000", "", "0.9000"},
                                              {"1.9990", "", "1.0000"},
                                              {"", "0.0000", "1.0000"}};
    for (uint64_t i = 0; i < 5; i++) {
        assert_string_equal(number_of(d, "skipped_s", i), outcomes[i][0]);
        assert_string_equal(number_of(d, "completed_s", i), outcomes[i][1]);
        assert_string_equal(number_of(d, "watch_ratio", i), outcomes[i][2]);
    }
    assert_string_equal(user_text(d, "0", "activity"), "high active");
    assert_null(user_text(d, "0", "makes"));
    assert_string_equal(user_text(d, "0", "friends"), "[\"1\",\"2\"]");
    assert_string_equal(user_text(d, "1", "makes"), "live streams and videos");
    assert_string_equal(user_text(d, "1", "fans_user_num"), "12345");
    assert_null(user_text(d, "2", "activity"));
    assert_string_equal(user_text(d, "2", "makes"), "live streams");
    assert_null(user_text(d, "2", "friend_user_num"));
    assert_null(user_text(d, "2", "friends"));
    assert_string_equal(item_text(d, "0", "caption"), "精神小伙路难走");
    assert_null(item_text(d, "0", "cover_text"));
    assert_null(item_text(d, "0", "tags"));
    assert_string_equal(item_text(d, "0", "category"), "颜值 > 颜值随拍");
    assert_string_equal(item_text(d, "0", "category_ids"), "[8]");
    assert_string_equal(item_text(d, "0", "duration_s"), "5.966");
    assert_string_equal(item_text(d, "0", "like_cnt"), "12345");
    assert_string_equal(item_text(d, "1", "caption"), "第一行\n第二行 \"引\"\n\n#标签 ");
    assert_string_equal(item_text(d, "1", "cover_text"), "封面");
    assert_string_equal(item_text(d, "1", "tags"), "五爱市场, 搞笑");
    assert_string_equal(item_text(d, "1", "category"), "时尚 > 营销售卖 > 女装");
    assert_null(item_text(d, "1", "duration_s"));
    assert_null(item_text(d, "1", "like_cnt"));
    assert_null(item_text(d, "2", "caption"));
    /* Midnight in China; a video without daily rows is there from its first play. */
    assert_int_equal(d->item_available_s[0], 1585526400 - 8 * 3600);
    assert_int_equal(d->item_available_s[2], 1593879023);
    assert_false(d->item_has_release[2]);
    um_dataset_free(d);
}

static void bad_rows(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put_tables();
    put(dir, "user_features.csv",
        "user_id,user_active_degree,is_live_streamer,is_video_author,follow_user_num,"
        "fans_user_num,friend_user_num,register_days\n"
        "0,high_active,0,0,5,0,0,107\n0,high_active,0,0,5,0,0,107\n,x,0,0,5,0,0,107\n");
    put(dir, "item_categories.csv", "video_id,feat\n0,[8]\n0,[9]\n1,8\n2,\"[1,\"\n,[1]\n");
    put(dir, "kuairec_caption_category.csv",
        "video_id,manual_cover_text,caption,topic_tag,first_level_category_name,"
        "second_level_category_name,third_level_category_name\n"
        "0,a,b,[],c,d,e\n0,a,b,[],c,d,e\n7,a,b,[],c,d,e\n0,a,b,[a,b],c,d,e\n");
    put(dir, "item_daily_features.csv",
        "video_id,upload_dt,video_duration,show_cnt,play_cnt,like_cnt,comment_cnt,share_cnt\n"
        "0,yesterday,1,1,1,1,1,1\n7,2020-07-05,1,1,1,1,1,1\n0,,1,1,1,1,1,1\n");
    put(dir, "social_network.csv", "user_id,friend_list\n0,[1]\n0,[2]\n9,[1]\n0,1\n");
    put(dir, "big_matrix.csv",
        PLAYS "0,0,1000,1000,,,1593878903.438,1\n"
              "0,0,1000,1000,,,,1\n"
              "0,0,1000,1000,,,-1,1\n"
              "0,0,1000,1000,,,0,1\n"
              "0,0,1000,1000,,,1593878903438,1\n"
              "0,0,1000,1000,,,soon,1\n"
              "0,0,-1,1000,,,1593878904,1\n"
              "0,0,1000,x,,,1593878904,1\n"
              "0,0,1000,1000,,,1593878904,-0.5\n"
              "0,0,1000,1000,,,1593878904,\n"
              "9,0,1000,1000,,,1593878904,1\n"
              "0,9,1000,1000,,,1593878904,1\n"
              "0,0,2000,1000,,,1593878903.9,2\n");
    static const char *const reasons[] = {
        "user_features.csv:3: user '0' was listed before",
        "user_features.csv:4: user id is empty",
        "item_categories.csv:3: video '0' was listed before",
        "item_categories.csv:4: categories '8' are not a list",
        "item_categories.csv:5: categories '[1,' are not a list",
        "item_categories.csv:6: video id is empty",
        "social_network.csv:3: user '0' was listed before",
        "social_network.csv:4: user '9' is not in user_features.csv",
        "social_network.csv:5: user '0' was listed before",
        "kuairec_caption_category.csv:3: video '0' was listed before",
        "kuairec_caption_category.csv:4: video '7' is not in item_categories.csv",
        "kuairec_caption_category.csv:5: long row: 8 fields, need 7",
        "item_daily_features.csv:2: upload date 'yesterday' is not",
        "item_daily_features.csv:3: video '7' is not in",
        "big_matrix.csv:3: no timestamp",
        "big_matrix.csv:4: timestamp -1 is not in seconds",
        "big_matrix.csv:5: timestamp 0 is not in seconds",
        "big_matrix.csv:6: timestamp 1593878903438 is not in seconds",
        "big_matrix.csv:7: timestamp 'soon' is not a number",
        "big_matrix.csv:8: play_duration -1 is not in 0 .. 10000000000 milliseconds",
        "big_matrix.csv:9: video_duration 'x' is not a number",
        "big_matrix.csv:10: watch_ratio -0.5 is negative",
        "big_matrix.csv:11: no watch_ratio",
        "big_matrix.csv:12: user '9' is not in user_features.csv",
        "big_matrix.csv:13: video '9' is not in item_categories.csv",
        "big_matrix.csv:14: user, item and time as in an earlier row",
    };
    um_dataset *d = read_as(&report, &s, NULL);
    for (size_t i = 0; i < s.n && i < sizeof reasons / sizeof *reasons; i++)
        assert_has(s.text[i], reasons[i]);
    assert_int_equal(s.n, sizeof reasons / sizeof *reasons);
    assert_int_equal(d->n_interactions, 1);
    um_dataset_free(d);
}

static void big_and_small(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put_tables();
    put(dir, "small_matrix.csv", PLAYS "2,1,1000,1000,,,1593878903.438,1\n");
    d = read_as(&report, &s, NULL);
    assert_string_equal(report.adapter, "kuairec-small");
    assert_string_equal(d->name, "kuairec-small");
    um_dataset_free(d);
    assert_int_equal(read_with(&d, &report, &s, dir, "", "kuairec", &err), UM_ERR_INPUT);
    assert_has(err.text, "adapter kuairec expects big_matrix.csv, user_features.csv");
    put(dir, "big_matrix.csv", PLAYS "0,1,1000,1000,,,1593878903.438,1\n0,2,1,1,,,1593878904,1\n");
    d = read_as(&report, &s, NULL);
    assert_string_equal(report.adapter, "kuairec");
    assert_int_equal(d->n_interactions, 2);
    um_dataset_free(d);
    d = read_as(&report, &s, "kuairec-small");
    assert_int_equal(d->n_interactions, 1);
    um_dataset_free(d);
}

/* Version 1 has no captions; counts and friends may be left away. The template still fits. */
static void fewer_tables(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_template *t = NULL;
    put(dir, "user_features.csv", users_csv);
    put(dir, "item_categories.csv", categories_csv);
    put(dir, "big_matrix.csv", PLAYS "0,1,1000,1000,,,1593878903.438,1\n");
    um_dataset *d = read_as(&report, &s, NULL);
    assert_ok(um_template_builtin(&t, d->name, &err), err);
    assert_ok(um_template_check(t, d, &err), err);
    um_template_free(t);
    um_dataset_free(d);
}

/* The published tables of users, categories and captions, under a small made-up matrix. */
static void published_tables(void **state)
{
    (void)state;
    static const char *const names[] = {"user_features.csv", "item_categories.csv",
                                        "kuairec_caption_category.csv"};
    char path[4096];
    um_ingest_report report;
    seen s;
    um_str plays = UM_STR_INIT;
    if (shared_data("kuairec/user_features.csv", path, sizeof path) == NULL)
        skip();
    *strrchr(path, '/') = '\0';
    for (int i = 0; i < 3; i++) {
        size_t n = 0;
        char *bytes = get_bytes(path, names[i], &n);
        put_bytes(dir, names[i], bytes, n);
        free(bytes);
    }
    um_str_append(&plays, PLAYS);
    for (int u = 0; u < 7176; u += 97) {
        for (int i = 0; i < 12; i++)
            um_str_appendf(&plays, "%d,%d,%d,9000,,,%d.5,%d.25\n", u, (u * 31 + i * 977) % 10728,
                           i % 2 == 0 ? 12000 : 4000, 1593878903 + u * 60 + i * 3600, i % 2 == 0);
    }
    put(dir, "small_matrix.csv", um_str_text(&plays));
    um_str_dispose(&plays);
    um_dataset *d = read_as(&report, &s, NULL);
    assert_int_equal(s.n, 0);
    assert_int_equal(report.files[0].rows_kept, 7176);
    assert_int_equal(report.files[1].rows_kept, 10728);
    assert_int_equal(report.files[2].rows_kept, 10728);
    assert_string_equal(user_text(d, "12", "fans_user_num"), "13");
    assert_string_equal(user_text(d, "14", "makes"), "videos");
    assert_string_equal(item_text(d, "4", "category"), "时尚 > 营销售卖 > 女装");
    assert_string_equal(item_text(d, "4", "tags"), "五爱市场, 感谢快手我要上热门, 搞笑");
    assert_string_equal(item_text(d, "4", "cover_text"), "五爱街最美美女 一天1q");
    assert_null(item_text(d, "1", "caption"));
    assert_string_equal(item_text(d, "10727", "category_ids"), "[5]");
    um_scene_options o;
    um_scene_set *set = NULL;
    um_template *t = NULL;
    um_scene_defaults(&o);
    o.base_scenes = o.train_scenes = o.eval_scenes = 5;
    assert_ok(um_template_builtin(&t, d->name, &err), err);
    assert_ok(um_scenes_build(&set, d, &o, t, 1, NULL, &err), err);
    assert_int_equal(set->n, 15);
    for (size_t i = 0; i < set->n; i++) {
        assert_has(set->scenes[i].profile, "Activity: ");
        assert_has(set->scenes[i].profile, "Registered ");
        assert_true(strstr(set->scenes[i].history_text, " Skipped after 4.0 s.") != NULL ||
                    strstr(set->scenes[i].history_text, " Watched to the end (12.0 s).") != NULL);
        for (uint32_t j = 0; j < set->scenes[i].k; j++)
            assert_true(strlen(set->scenes[i].actions[j]) > 5);
    }
    um_scene_set_free(set);
    um_template_free(t);
    um_dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plays_and_tables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(big_and_small, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fewer_tables, set_up, tear_down),
        cmocka_unit_test_setup_teardown(published_tables, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
