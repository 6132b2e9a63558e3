/* MobileRec: quoted reviews over several lines, counts with commas, "Install" for free. */
#include <sys/stat.h>

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

static const char apps[] =
    "app_package,app_name,developer_name,app_category,description,content_rating,num_reviews,price,"
    "avg_rating\n"
    "com.a.one,One,\"Dev, Inc.\",Puzzle,\"First line\n\nsecond &amp; \"\"last\"\" line\",Everyone,"
    "\"1,234\",Install,4.3\n"
    "com.b.two,Two,,Tools,,Teen,12,$4.99 Buy,\n"
    "com.b.two,Again,,Tools,,Teen,12,Install,\n"
    "com.c.three,,,Tools,,Teen,12,Install,\n"
    ",No id,,Tools,,Teen,12,Install,\n"
    "com.d.four,Four,,Tools,,Teen,1.2K,,not rated\n";

static const char log_csv[] =
    "app_package,review,rating,votes,date,formated_date,unix_timestamp,uid\n"
    "com.a.one,\"Love it,\nreally \"\"love\"\" it \xF0\x9F\x98\x80\",5,\"1,001\",\"July 04, "
    "2017\",2017-07-04,1499126400,u1\n"
    "com.b.two,ok,3,0,\"July 04, 2017\",2017-07-04,1499126400000,u1\n"
    "com.d.four,,1,0,\"July 04, 2017\",2017-07-05,,u1\n"
    "com.e.five,x,5,0,x,2017-07-04,1499126400,u1\n"
    "com.a.one,x,6,0,x,2017-07-04,1499126400,u1\n"
    "com.a.one,x,five,0,x,2017-07-04,1499126400,u1\n"
    "com.a.one,x,5,0,x,July,,u1\n"
    "com.a.one,x,5,0,x,July,-5,u1\n"
    "com.a.one,x,5,0,x,2017-07-04,1499126400,\n"
    "com.a.one,short\n"
    "com.a.one,last,4.0,,x,2017-07-04,1499126400.0,u2\n"
    "com.a.one,again,5,0,x,2017-07-04,1499126400,u1\n";

static void apps_and_reviews(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    char sub[400];
    static const char *const reasons[] = {
        "app_meta/app_meta.csv:6: app 'com.b.two' was described before",
        "app_meta/app_meta.csv:7: app 'com.c.three' has no name",
        "app_meta/app_meta.csv:8: app_package is empty",
        "interactions/mobilerec_final.csv:6: app 'com.e.five' is not in the list",
        "interactions/mobilerec_final.csv:7: rating '6' is not a number",
        "interactions/mobilerec_final.csv:8: rating 'five' is not",
        "interactions/mobilerec_final.csv:9: unix_timestamp '' and formated_date 'July' give no "
        "time",
        "interactions/mobilerec_final.csv:10: unix_timestamp '-5'",
        "interactions/mobilerec_final.csv:11: uid or app_package is empty",
        "interactions/mobilerec_final.csv:12: short row: 2 fields, need 8",
        "interactions/mobilerec_final.csv:14: user, item and time as in an earlier row"};
    snprintf(sub, sizeof sub, "%s/app_meta", dir);
    assert_int_equal(mkdir(sub, 0755), 0);
    put(sub, "app_meta.csv", apps);
    snprintf(sub, sizeof sub, "%s/interactions", dir);
    assert_int_equal(mkdir(sub, 0755), 0);
    put(sub, "mobilerec_final.csv", log_csv);
    assert_ok(read_with(&d, &report, &s, dir, "", NULL, &err), err);
    assert_string_equal(report.adapter, "mobilerec");
    assert_string_equal(d->name, "mobilerec");
    assert_counts_add_up(&report, &s);
    for (size_t i = 0; i < s.n && i < 11; i++)
        assert_has(s.text[i], reasons[i]);
    assert_int_equal(s.n, 11);
    assert_string_equal(item_text(d, "com.a.one", "title"), "One");
    assert_string_equal(item_text(d, "com.a.one", "developer"), "Dev, Inc.");
    assert_string_equal(item_text(d, "com.a.one", "category"), "Puzzle");
    assert_string_equal(item_text(d, "com.a.one", "description"),
                        "First line second & \"last\" line");
    assert_string_equal(item_text(d, "com.a.one", "price"), "Free");
    assert_string_equal(item_text(d, "com.a.one", "num_reviews"), "1234");
    assert_string_equal(item_text(d, "com.a.one", "average_rating"), "4.3");
    assert_string_equal(item_text(d, "com.b.two", "price"), "$4.99");
    assert_null(item_text(d, "com.b.two", "developer"));
    assert_null(item_text(d, "com.b.two", "average_rating"));
    assert_null(item_text(d, "com.d.four", "price"));
    assert_null(item_text(d, "com.d.four", "num_reviews"));
    assert_int_equal(d->n_interactions, 4);
    assert_int_equal(d->time_s[0], 1499126400);
    assert_int_equal(d->time_s[1], 1499126400);
    assert_int_equal(d->time_s[2], 1499212800);
    const um_series *review = um_dataset_series(d, "review"),
                    *votes = um_dataset_series(d, "helpful_votes");
    assert_string_equal(review->texts[0], "\"Love it, really \\\"love\\\" it \xF0\x9F\x98\x80\"");
    assert_null(review->texts[2]);
    assert_true(votes->numbers[0] == 1001 && votes->numbers[3] != votes->numbers[3]);
    assert_true(um_dataset_series(d, "rating")->numbers[3] == 4);
    um_template *t = NULL;
    assert_ok(um_template_builtin(&t, d->name, &err), err);
    assert_ok(um_template_check(t, d, &err), err);
    um_template_free(t);
    um_dataset_free(d);
}

static void wrong_header(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "app_meta.csv", apps);
    put(dir, "mobilerec_final.csv", "app_package,review,rating\ncom.a.one,x,5\n");
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "mobilerec_final.csv:1: header has no column 'votes'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(apps_and_reviews, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_header, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
