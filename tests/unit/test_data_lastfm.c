/* Last.fm, HetRec 2011: taggings become interactions, with friends, listening and tags. */
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

/* Line ends as published; one row lacks the picture and the tab before it. */
static void put_tables(void)
{
    put(dir, "artists.dat",
        "id\tname\turl\tpictureURL\r\n"
        "51\tDuran Duran\thttp://a\thttp://b\r\n"
        "52\tBj\xC3\xB6rk\thttp://a\r\n"
        "53\t\"Weird Al\" Yankovic\thttp://a\t\r\n");
    /* ISO 8859-1; a quote. */
    put(dir, "tags.dat",
        "tagID\ttagValue\r\n1\tmetal\r\n2\tna\xEFve \"pop\"\r\n3\t80s\r\n4\td\r\n5\te\r\n6\tf\r\n");
    put(dir, "user_artists.dat",
        "userID\tartistID\tweight\r\n2\t51\t13883\r\n2\t52\t11690\r\n3\t51\t7\r\n");
    put(dir, "user_friends.dat", "userID\tfriendID\r\n2\t3\r\n2\t10\r\n2\t3\r\n3\t2\r\n");
}

static um_dataset *read_folder(um_ingest_report *report, seen *s)
{
    um_dataset *d = NULL;
    assert_ok(read_with(&d, report, s, dir, "", NULL, &err), err);
    assert_counts_add_up(report, s);
    return d;
}

#define TAGGINGS "userID\tartistID\ttagID\ttimestamp\r\n"

static void interactions(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put_tables();
    put(dir, "user_taggedartists-timestamps.dat",
        TAGGINGS "2\t52\t3\t1238536800000\r\n"
                 "2\t51\t3\t1238536800999\r\n"
                 "2\t51\t1\t1235858400000\r\n"
                 "2\t51\t3\t1235858400000\r\n"
                 "2\t51\t2\t1241128800000\r\n"
                 "3\t51\t3\t1241128800000\r\n"
                 "4\t51\t4\t1241128800000\r\n"
                 "4\t51\t5\t1241128800000\r\n"
                 "4\t51\t6\t1241128800000\r\n"
                 "4\t51\t4\t1241128801000\r\n");
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(s.n, 0);
    assert_string_equal(report.adapter, "lastfm");
    assert_string_equal(d->name, "lastfm");
    assert_int_equal(report.rows_kept, 3 + 6 + 3 + 4 + 10);
    /* (user, artist) at the first time, tags in order of time, then of the file, each once. */
    const um_series *tagged = um_dataset_series(d, "tagged");
    const um_series *listens = um_dataset_series(d, "listens");
    static const struct {
        const char *user, *artist, *tagged;
        int64_t time_s;
        double listens;
    } expected[] = {
        {"2", "51", "[\"metal\",\"80s\",\"na\xC3\xAFve \\\"pop\\\"\"]", 1235858400, 13883},
        {"2", "52", "[\"80s\"]", 1238536800, 11690},
        {"3", "51", "[\"80s\"]", 1241128800, 7},
        {"4", "51", "[\"d\",\"e\",\"f\"]", 1241128800, -1},
    };
    assert_int_equal(d->n_interactions, 4);
    uint64_t i = 0;
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        for (uint64_t at = d->user_start[u]; at < d->user_start[u + 1]; at++, i++) {
            assert_string_equal(d->users.ids[u], expected[i].user);
            assert_string_equal(d->items.ids[d->item[at]], expected[i].artist);
            assert_string_equal(tagged->texts[at], expected[i].tagged);
            assert_int_equal(d->time_s[at], expected[i].time_s);
            double n = listens->numbers[at];
            assert_true(expected[i].listens < 0 ? n != n : n == expected[i].listens);
        }
    }
    /* 80s: users 2 and 3; of the others, all of one user, those listed first, though d came twice.
     */
    assert_string_equal(item_text(d, "51", "tags"), "80s, metal, na\xC3\xAFve \"pop\", d, e");
    assert_string_equal(item_text(d, "52", "tags"), "80s");
    assert_null(item_text(d, "53", "tags"));
    assert_string_equal(item_text(d, "52", "name"), "Bj\xC3\xB6rk");
    assert_string_equal(item_text(d, "53", "name"), "\"Weird Al\" Yankovic");
    assert_string_equal(user_text(d, "2", "friends"), "[\"3\",\"10\"]");
    assert_string_equal(user_text(d, "3", "friends"), "[\"2\"]");
    assert_null(user_text(d, "4", "friends"));
    um_dataset_free(d);
}

static void bad_rows(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put(dir, "artists.dat",
        "id\tname\turl\tpictureURL\n1\tA\tu\tp\n1\tB\tu\tp\n\tC\tu\tp\n2\t\tu\tp\n"
        "3\tD\tu\tp\tq\n");
    put(dir, "tags.dat", "tagID\ttagValue\n1\trock\n1\tpop\n2\n");
    put(dir, "user_artists.dat",
        "userID\tartistID\tweight\n1\t1\t5\n1\t9\t5\n1\t1\tmany\n1\t1\t-2\n\t1\t5\n");
    put(dir, "user_friends.dat", "userID\tfriendID\n1\t2\n1\t1\n1\n");
    put(dir, "user_taggedartists-timestamps.dat",
        "userID\tartistID\ttagID\ttimestamp\n"
        "1\t1\t1\t-428720400000\n1\t1\t1\t0\n1\t1\t1\t999\n1\t1\t1\tnever\n1\t9\t1\t1238536800000\n"
        "1\t1\t9\t1238536800000\n\t1\t1\t1238536800000\n1\t1\t1\t1238536800000000\n"
        "1\t1\t1\t1238536800000\n");
    static const char *const reasons[] = {
        "artists.dat:3: artist '1' was listed before",
        "artists.dat:4: artist id is empty",
        "artists.dat:5: artist '2' has no name",
        "artists.dat:6: long row: 5 fields, need 4",
        "tags.dat:3: tag '1' was listed before",
        "tags.dat:4: tag id or its text is empty",
        "user_artists.dat:3: artist '9' is not in artists.dat",
        "user_artists.dat:4: weight 'many' is not a number",
        "user_artists.dat:5: weight '-2' is not a number from 0 on",
        "user_artists.dat:6: user id is empty",
        "user_friends.dat:3: user '1' is a friend of themselves",
        "user_friends.dat:4: user id is empty",
        "timestamps.dat:2: time -428720400000 is not in milliseconds after the start of 1970",
        "timestamps.dat:3: time 0 is not in",
        "timestamps.dat:4: time 999 is not in",
        "timestamps.dat:5: time 'never' is not a whole number",
        "timestamps.dat:6: artist '9' is not in artists.dat",
        "timestamps.dat:7: tag '9' is not in tags.dat",
        "timestamps.dat:8: user id is empty",
        "timestamps.dat:9: time 1238536800000000 is not in",
    };
    um_dataset *d = read_folder(&report, &s);
    for (size_t i = 0; i < s.n && i < sizeof reasons / sizeof *reasons; i++)
        assert_has(s.text[i], reasons[i]);
    assert_int_equal(s.n, sizeof reasons / sizeof *reasons);
    assert_int_equal(d->n_interactions, 1);
    um_dataset_free(d);
}

/* An interaction of three rows that a filter leaves out is three rows left out. */
static void filtered_rows(void **state)
{
    (void)state;
    um_ingest_options options;
    um_ingest_report report;
    um_dataset *d = NULL;
    seen s = {0};
    put_tables();
    put(dir, "user_taggedartists-timestamps.dat",
        TAGGINGS "2\t51\t1\t1238536800000\n3\t51\t1\t1238536800000\n2\t52\t1\t1238536800000\n"
                 "3\t51\t2\t1238536900000\n3\t51\t3\t1238536700000\n");
    um_ingest_defaults(&options);
    options.filters.min_user_interactions = 2;
    options.on_rejection = see;
    options.context = &s;
    assert_ok(um_dataset_read(&d, &report, dir, &options, NULL, &err), err);
    assert_counts_add_up(&report, &s);
    assert_int_equal(d->n_interactions, 2);
    assert_int_equal(report.rows_filtered, 3);
    static const char *const lines[] = {"timestamps.dat:6: its user has too few",
                                        "timestamps.dat:3: its user has too few",
                                        "timestamps.dat:5: its user has too few"};
    for (size_t i = 0; i < 3; i++)
        assert_has(s.text[s.n - 3 + i], lines[i]);
    um_dataset_free(d);
}

static void wrong_folders(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put_tables();
    assert_int_equal(read_with(&d, &report, &s, dir, "", "lastfm", &err), UM_ERR_INPUT);
    assert_has(err.text, "adapter lastfm expects artists.dat, tags.dat, user_artists.dat, "
                         "user_friends.dat, user_taggedartists-timestamps.dat");
}

/* Scenes of a log in which everybody is everybody's friend: they say how many that are not held out
 * listened before. */
static void scenes(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_str artists = UM_STR_INIT, friends = UM_STR_INIT, taggings = UM_STR_INIT;
    um_scene_options o;
    um_scene_set *set = NULL;
    um_template *t = NULL;
    bool counted = false;
    um_str_append(&artists, "id\tname\turl\tpictureURL\n");
    um_str_append(&friends, "userID\tfriendID\n");
    um_str_append(&taggings, TAGGINGS);
    for (int a = 0; a < 40; a++)
        um_str_appendf(&artists, "%d\tArtist %d\tu\tp\n", a, a);
    for (int u = 0; u < 20; u++) {
        for (int i = 0; i < 12; i++)
            um_str_appendf(&taggings, "%d\t%d\t1\t%lld\n", u, (u * 7 + i * 3) % 40,
                           1235858400000LL + (i * 20 + u) * 86400000LL);
        for (int v = 0; v < 20; v++) {
            if (v != u)
                um_str_appendf(&friends, "%d\t%d\n", u, v);
        }
    }
    put_tables();
    put(dir, "artists.dat", um_str_text(&artists));
    put(dir, "user_artists.dat", "userID\tartistID\tweight\n0\t0\t13883\n");
    put(dir, "user_friends.dat", um_str_text(&friends));
    put(dir, "user_taggedartists-timestamps.dat", um_str_text(&taggings));
    um_dataset *d = read_folder(&report, &s);
    um_scene_defaults(&o);
    o.base_scenes = o.train_scenes = o.eval_scenes = 10;
    assert_ok(um_template_builtin(&t, d->name, &err), err);
    assert_ok(um_scenes_build(&set, d, &o, t, 1, NULL, &err), err);
    assert_true(set->n > 10);
    bool held_out[20] = {false}; /* with four such users, each has an evaluation scene */
    for (size_t i = 0; i < set->n; i++) {
        if (set->scenes[i].split == UM_SPLIT_EVAL)
            held_out[set->scenes[i].user] = true;
    }
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *scene = &set->scenes[i];
        assert_has(scene->profile, "A listener who has tagged ");
        assert_has(scene->history_text, "(known for metal). Tagged it metal.");
        for (uint32_t j = 0; j < scene->k; j++) {
            /* Friends' earlier interactions with the item, counted here once more. */
            char expected[64] = "";
            unsigned n = 0;
            for (uint32_t u = 0; u < d->users.n_rows; u++) {
                bool met = false;
                for (uint64_t at = d->user_start[u]; at < d->user_start[u + 1]; at++)
                    met = met || (d->item[at] == scene->items[j] && d->time_s[at] < scene->time_s);
                n += met && u != scene->user && !held_out[u];
            }
            if (n > 0)
                snprintf(expected, sizeof expected, ". Friends who listened: %u", n);
            char text[200];
            snprintf(text, sizeof text, "Artist %s (known for metal)%s",
                     d->items.ids[scene->items[j]], expected);
            assert_string_equal(scene->actions[j], text);
            counted = counted || n > 0;
        }
    }
    assert_true(counted);
    um_scene_set_free(set);
    um_template_free(t);
    um_dataset_free(d);
    um_str_dispose(&artists);
    um_str_dispose(&friends);
    um_str_dispose(&taggings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(interactions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(filtered_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_folders, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scenes, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
