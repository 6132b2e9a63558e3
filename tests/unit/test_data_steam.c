/* Steam: games and reviews as printed Python dicts. */
#include <unistd.h>

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

static const char games[] =
    "{u'publisher': u'Making Fun, Inc.', u'genres': [u'Free to Play', u'Indie'], u'app_name': "
    "u'Ironbound', u'sentiment': u'Mostly Positive', u'title': u'Ironbound', u'release_date': "
    "u'2018-01-04', u'tags': [u'Strategy', u\"Beat 'em up\"], u'specs': [u'Single-player'], "
    "u'price': u'Free To Play', u'early_access': False, u'id': u'643980', u'developer': u'Secret "
    "Level SRL', u'metascore': 76}\n"
    "{u'app_name': u'\\u5f39\\u70b8\\u4eba', u'release_date': u'Soon..', u'price': 4.99, u'id': "
    "u'2', "
    "u'metascore': u'NA', u'early_access': True, u'discount_price': 0.83}\n"
    "{u'url': u'http://store.steampowered.com/', u'price': 19.99, u'early_access': False}\n"
    "{u'app_name': u'Again', u'id': u'2'}\n"
    "{u'id': u'3'}\n"
    "{u'title': u'By title', u'id': u'4', u'release_date': u'Jan 2018', u'price': u'Starting at "
    "$449.00'}\n"
    "{u'app_name': u'Five', u'id': u'5', u'release_date': u'2017', u'price': u'Play the Demo'}\n"
    "{u'app_name': u'Six', u'id': u'6', u'release_date': u'Q3 2017', u'price': u'Play for Free!'}\n"
    "{u'app_name': u'Seven', u'id': 7, u'release_date': u'Q5 2017', u'price': None}\n"
    "{u'app_name': u'Cut, u'id'\n";

static const char reviews[] =
    "{u'username': u'Chaos Syren', u'hours': 0.1, u'products': 41, u'product_id': u'643980', "
    "u'page_order': 0, u'date': u'2017-12-17', u'text': u'This would not be\\nacceptable \\u2605 "
    "as an "
    "\"entertainment\".', u'early_access': True, u'page': 1}\n"
    "{u'username': u\"Ariman's\", u'hours': 13.2, u'products': 1386, u'product_id': u'2', "
    "u'date': u'2017-08-02', u'text': u'', u'found_funny': 2, u'compensation': u'Product received "
    "for free', u'user_id': u'76561198003456789'}\n"
    "{u'username': u'X', u'product_id': u'99', u'date': u'2017-08-02', u'text': u'x'}\n"
    "{u'username': u'X', u'product_id': u'2', u'date': u'2017-13-02', u'text': u'x'}\n"
    "{u'product_id': u'2', u'date': u'2017-08-02', u'text': u'x'}\n"
    "{u'username': u'X', u'date': u'2017-08-02'}\n"
    "{u'username': u'X', u'product_id': u'6', u'date': u'2017-08-02', u'date': u'2017-08-02'}\n"
    "{u'username': u'X', u'product_id': u'6', u'date': u'2017-08-02'}\n";

static void games_and_reviews(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    static const char *const reasons[] = {"steam_games.json.gz:3: game without id",
                                          "steam_games.json.gz:4: game '2' was described before",
                                          "steam_games.json.gz:5: game '3' has no name",
                                          "steam_games.json.gz:10: not one whole Python dict: byte",
                                          "steam_reviews.json.gz:3: game '99' is not in the list",
                                          "steam_reviews.json.gz:4: date '2017-13-02' is not like",
                                          "steam_reviews.json.gz:5: username is missing",
                                          "steam_reviews.json.gz:6: product_id is missing",
                                          "steam_reviews.json.gz:7: not one whole Python dict: "};
    put_gzip(dir, "steam_games.json.gz", games);
    put_gzip(dir, "steam_reviews.json.gz", reviews);
    assert_ok(read_with(&d, &report, &s, dir, "", NULL, &err), err);
    assert_string_equal(report.adapter, "steam");
    assert_string_equal(d->name, "steam");
    assert_counts_add_up(&report, &s);
    for (size_t i = 0; i < s.n && i < 9; i++)
        assert_has(s.text[i], reasons[i]);
    assert_int_equal(s.n, 9);
    assert_string_equal(item_text(d, "643980", "title"), "Ironbound");
    assert_string_equal(item_text(d, "643980", "tags"), "Strategy, Beat 'em up");
    assert_string_equal(item_text(d, "643980", "genres"), "Free to Play, Indie");
    assert_string_equal(item_text(d, "643980", "features"), "Single-player");
    assert_string_equal(item_text(d, "643980", "price"), "Free");
    assert_string_equal(item_text(d, "643980", "sentiment"), "\"Mostly Positive\"");
    assert_string_equal(item_text(d, "643980", "metascore"), "76");
    assert_string_equal(item_text(d, "643980", "early_access"), "false");
    assert_string_equal(item_text(d, "2", "title"), "\xE5\xBC\xB9\xE7\x82\xB8\xE4\xBA\xBA");
    assert_string_equal(item_text(d, "2", "release_date"), "Soon..");
    assert_string_equal(item_text(d, "2", "price"), "$4.99");
    assert_null(item_text(d, "2", "metascore"));
    assert_null(item_text(d, "2", "genres"));
    assert_string_equal(item_text(d, "4", "title"), "By title");
    assert_string_equal(item_text(d, "4", "price"), "Starting at $449.00");
    assert_null(item_text(d, "5", "price"));
    assert_string_equal(item_text(d, "6", "price"), "Free");
    assert_null(item_text(d, "7", "price"));
    /* Releases: reviewed 18 days early; none; 1 January 2018 and 2017; 1 July 2017; none. */
    static const int64_t available[] = {1513468800, 1501632000, 1514764800,
                                        1483228800, 1498867200, INT64_MAX};
    static const bool release[] = {true, false, true, true, true, false};
    for (uint32_t i = 0; i < 6; i++) {
        assert_true(d->item_available_s[i] == available[i]);
        assert_int_equal(d->item_has_release[i], release[i]);
    }
    assert_int_equal(d->n_interactions, 3);
    assert_string_equal(d->users.ids[1], "Ariman's");
    assert_true(um_dataset_series(d, "hours")->numbers[0] == 0.1);
    assert_true(um_dataset_series(d, "products")->numbers[1] == 1386);
    assert_true(um_dataset_series(d, "early_access")->numbers[0] == 1);
    assert_true(um_dataset_series(d, "found_funny")->numbers[1] == 2);
    assert_string_equal(
        um_dataset_series(d, "review")->texts[0],
        "\"This would not be acceptable \xE2\x98\x85 as an \\\"entertainment\\\".\"");
    assert_null(um_dataset_series(d, "review")->texts[1]);
    assert_string_equal(um_dataset_series(d, "compensation")->texts[1],
                        "\"Product received for free\"");
    um_template *t = NULL;
    assert_ok(um_template_builtin(&t, d->name, &err), err);
    assert_ok(um_template_check(t, d, &err), err);
    um_template_free(t);
    um_dataset_free(d);
    for (const um_adapter_info *info = um_adapters(); info->name != NULL; info++) {
        if (strcmp(info->name, "steam") != 0)
            continue;
        assert_int_equal(info->filters.min_user_interactions, 5);
        assert_int_equal(info->filters.max_user_interactions, 20);
        return;
    }
    fail_msg("steam is not listed");
}

static void one_file(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "steam_reviews.json", reviews);
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "no file, or more than one, called steam_games.json");
    put(dir, "steam_games.json", games);
    assert_ok(read_with(&d, &report, &s, dir, "steam_reviews.json", NULL, &err), err);
    assert_int_equal(d->n_interactions, 3);
    um_dataset_free(d);
}

/* The real list of games, with one review made up. Figures from a Python count of the file: 32,135
 * rows; two without id, one id twice, one game without a name. */
static void real_games(void **state)
{
    (void)state;
    char path[4096], link[600];
    if (shared_data("steam/steam_games.json.gz", path, sizeof path) == NULL)
        skip();
    snprintf(link, sizeof link, "%s/steam_games.json.gz", dir);
    assert_int_equal(symlink(path, link), 0);
    put(dir, "steam_reviews.json",
        "{'username': 'a', 'product_id': '670290', 'date': '2018-01-01', 'text': 'x', 'hours': "
        "1}\n");
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    assert_ok(read_with(&d, &report, &s, dir, "", NULL, &err), err);
    assert_counts_add_up(&report, &s);
    assert_int_equal(report.files[0].rows_read, 32135);
    assert_int_equal(s.n, 4);
    assert_int_equal(d->items.n_rows, 32131);
    int price = um_table_column(&d->items, "price"), genres = um_table_column(&d->items, "genres");
    uint32_t n_price = 0, n_free = 0, n_genres = 0, n_release = 0;
    for (uint32_t i = 0; i < d->items.n_rows; i++) {
        const char *text = um_table_cell(&d->items, i, price);
        n_price += text != NULL;
        n_free += text != NULL && strcmp(text, "Free") == 0;
        n_genres += um_table_cell(&d->items, i, genres) != NULL;
        n_release += d->item_has_release[i];
    }
    assert_int_equal(n_free, 1900);
    assert_int_equal(n_price, 28845 + 1900 + 2);
    assert_int_equal(n_genres, 28849);
    /* 29,781 days, and months, quarters and years. */
    assert_in_range(n_release, 29781 + 100, 29781 + 250);
    assert_string_equal(item_text(d, "670290", "title"), "Real Pool 3D - Poolians");
    assert_string_equal(item_text(d, "670290", "tags"),
                        "Free to Play, Simulation, Sports, Casual, Indie, Multiplayer");
    um_dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(games_and_reviews, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(real_games, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
