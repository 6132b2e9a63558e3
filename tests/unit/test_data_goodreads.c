/* Goodreads: one genre, its books, and what is joined to them. */
#include <math.h>

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

static const char books[] =
    "{\"isbn\": \"\", \"text_reviews_count\": \"1\", \"series\": [], \"country_code\": \"US\", "
    "\"language_code\": \"eng\", \"popular_shelves\": [{\"count\": \"3\", \"name\": \"to-read\"}], "
    "\"average_rating\": \"4.00\", \"description\": \"A <i>dark</i>\\ntale &amp; more.\", "
    "\"format\": \"Paperback\", \"authors\": [{\"author_id\": \"604031\", \"role\": \"\"}, "
    "{\"author_id\": \"626222\", \"role\": \"Illustrator\"}, {\"author_id\": \"99\", \"role\": "
    "\"\"}], "
    "\"publisher\": \"St. Martin's Press\", \"num_pages\": \"256\", \"publication_day\": \"31\", "
    "\"publication_month\": \"6\", \"publication_year\": \"1984\", \"book_id\": \"5333265\", "
    "\"ratings_count\": \"3\", \"title\": \"W.C. Fields: A Life\", \"title_without_series\": "
    "\"W\"}\n"
    "{\"language_code\": \"\", \"average_rating\": \"\", \"description\": \"\", \"format\": \"\", "
    "\"authors\": [], \"publisher\": \"\", \"num_pages\": \"\", \"publication_day\": \"\", "
    "\"publication_month\": \"\", \"publication_year\": \"\", \"book_id\": \"2\", "
    "\"ratings_count\": \"\", \"title\": \"Second\"}\n"
    "{\"book_id\": \"3\", \"title\": \"\", \"title_without_series\": \"\"}\n"
    "{\"book_id\": \"2\", \"title\": \"Again\"}\n"
    "{\"title\": \"No id\"}\n"
    "{\"book_id\": \"4\", \"title\": \"Year\", \"publication_year\": \"15\"}\n"
    "{\"book_id\": \"5\", \"title\": \"Late\", \"publication_year\": \"2015\", "
    "\"publication_month\": \"3\", \"publication_day\": \"14\"}\n"
    "{\"book_id\": \"6\", \"title\": \"Never shelved\"}\n";

#define ROW(user, book, review, rating, text, added)                                               \
    "{\"user_id\": \"" user "\", \"book_id\": \"" book "\", \"review_id\": \"" review "\", "       \
    "\"is_read\": true, \"rating\": " rating ", \"review_text_incomplete\": \"" text "\", "        \
    "\"date_added\": \"" added "\", \"date_updated\": \"Wed Dec 14 11:27:00 -0800 2016\", "        \
    "\"read_at\": \"\", \"started_at\": \"\"}\n"

static const char interactions[] = ROW("8842281e", "5333265", "r1", "5", "I liked it beca",
                                       "Fri Nov 09 11:37:04 -0800 2012")
    ROW("8842281e", "2", "r2", "0", "", "Sat Nov 10 00:00:00 +0100 2012")
        ROW("8842281e", "4", "r3", "3", "Only the beginn", "Sun Nov 11 00:00:00 +0000 2012")
            ROW("u2", "5", "r4", "4", "", "Thu Jan 01 00:00:01 +0000 2015")
                ROW("u2", "3", "r5", "4", "", "Thu Jan 01 00:00:01 +0000 2015")
                    ROW("u2", "2", "r6", "6", "", "Thu Jan 01 00:00:01 +0000 2015")
                        ROW("u2", "2", "r7", "4", "", "2015-01-01") ROW("", "2", "r8", "4", "", "")
                            ROW("u2", "2", "r9", "4", "", "Fri Nov 31 11:37:04 -0800 2012")
                                ROW("u2", "2", "ra", "4", "", "Thu Jan 01 00:00:00 +0000 1970");

static const char *const reasons[] = {
    "goodreads_books_poetry.json.gz:3: book '3' has no title",
    "goodreads_books_poetry.json.gz:4: book '2' was described before",
    "goodreads_books_poetry.json.gz:5: book_id is missing",
    "goodreads_interactions_poetry.json.gz:5: book '3' is not in the list",
    "goodreads_interactions_poetry.json.gz:6: rating is missing or outside",
    "goodreads_interactions_poetry.json.gz:7: date_added '2015-01-01' is not like",
    "goodreads_interactions_poetry.json.gz:8: user_id is missing",
    "goodreads_interactions_poetry.json.gz:9: date_added 'Fri Nov 31",
    "goodreads_interactions_poetry.json.gz:10: date_added 'Thu Jan 01 00:00:00 +0000 1970' is not"};

static um_dataset *read_good(const char *name, um_ingest_report *report, seen *s, size_t skipped)
{
    um_dataset *d = NULL;
    assert_ok(read_with(&d, report, s, dir, name, NULL, &err), err);
    assert_string_equal(report->adapter, "goodreads");
    assert_string_equal(d->name, "goodreads-poetry");
    assert_counts_add_up(report, s);
    assert_int_equal(s->n, 9 + skipped);
    um_template *t = NULL;
    assert_ok(um_template_builtin(&t, d->name, &err), err);
    assert_ok(um_template_check(t, d, &err), err);
    um_template_free(t);
    return d;
}

static void log_and_books(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put_gzip(dir, "goodreads_books_poetry.json.gz", books);
    put_gzip(dir, "goodreads_interactions_poetry.json.gz", interactions);
    um_dataset *d = read_good("", &report, &s, 0);
    for (size_t i = 0; i < 9; i++)
        assert_has(s.text[i], reasons[i]);
    assert_int_equal(report.n_files, 2);
    assert_int_equal(d->n_interactions, 4);
    assert_int_equal(d->items.n_rows, 5);
    assert_string_equal(item_text(d, "5333265", "title"), "W.C. Fields: A Life");
    assert_string_equal(item_text(d, "5333265", "description"), "A dark tale & more.");
    assert_string_equal(item_text(d, "5333265", "year"), "1984");
    assert_string_equal(item_text(d, "5333265", "pages"), "256");
    assert_string_equal(item_text(d, "5333265", "publisher"), "St. Martin's Press");
    assert_string_equal(item_text(d, "5333265", "average_rating"), "4");
    assert_string_equal(item_text(d, "5333265", "ratings_count"), "3");
    assert_null(item_text(d, "5333265", "authors")); /* their file is not there */
    assert_null(item_text(d, "2", "pages"));
    assert_null(item_text(d, "2", "average_rating"));
    assert_null(item_text(d, "4", "year"));
    assert_string_equal(d->users.ids[0], "8842281e");
    assert_int_equal(d->time_s[0], 1352489824);
    assert_int_equal(d->time_s[1], 1352502000);
    const um_series *rating = um_dataset_series(d, "rating"),
                    *review = um_dataset_series(d, "review");
    assert_true(rating->numbers[0] == 5);
    assert_true(rating->numbers[1] != rating->numbers[1]);
    assert_true(um_dataset_series(d, "is_read")->numbers[1] == 1);
    assert_string_equal(review->texts[0], "\"I liked it beca\"");
    assert_null(review->texts[1]);
    /* 31 June is none: the first of the month. Shelved before its publication: from then on. */
    assert_int_equal(d->item_available_s[0], 454896000);
    assert_string_equal(d->items.ids[3], "5");
    assert_int_equal(d->item_available_s[3], 1420070401);
    assert_true(d->item_has_release[3]);
    assert_true(d->item_available_s[4] == INT64_MAX);
    um_dataset_free(d);
}

static void joins(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put_gzip(dir, "goodreads_books_poetry.json.gz", books);
    put_gzip(dir, "goodreads_interactions_poetry.json.gz", interactions);
    put_gzip(
        dir, "goodreads_book_authors.json.gz",
        "{\"average_rating\": \"3.98\", \"author_id\": \"604031\", \"text_reviews_count\": \"7\", "
        "\"name\": \"Ronald J. Fields\", \"ratings_count\": \"49\"}\n"
        "{\"author_id\": \"626222\", \"name\": \"Ann &amp; Co\"}\n"
        "{\"author_id\": \"1\", \"name\": \"\"}\n"
        "{\"author_id\": \"626222\", \"name\": \"Twice\"}\n");
    put_gzip(dir, "goodreads_book_genres_initial.json.gz",
             "{\"book_id\": \"5333265\", \"genres\": {\"history, biography\": 1, \"poetry\": 12, "
             "\"fiction\": 12, \"none\": 0}}\n"
             "{\"book_id\": \"777\", \"genres\": {\"poetry\": 12}}\n"
             "{\"book_id\": \"2\", \"genres\": {}}\n"
             "{\"book_id\": \"4\", \"genres\": null}\n");
    put_gzip(
        dir, "goodreads_reviews_poetry.json.gz",
        "{\"user_id\": \"8842281e\", \"book_id\": \"5333265\", \"review_id\": \"r1\", \"rating\": "
        "5, \"review_text\": \"I liked it because\\n of <b>the end</b>.\", \"date_added\": \"Fri "
        "Nov "
        "09 11:37:04 -0800 2012\"}\n"
        "{\"review_id\": \"unused\", \"review_text\": \"nobody's\"}\n"
        "{\"review_id\": \"r1\", \"review_text\": \"second\"}\n"
        "{\"review_id\": \"r2\", \"review_text\": \"\"}\n"
        "{\"review_text\": \"no id\"}\n");
    um_dataset *d = read_good("", &report, &s, 6);
    assert_has(s.text[0], "goodreads_book_authors.json.gz:3: author '1' has no name");
    assert_has(s.text[1], "goodreads_book_authors.json.gz:4: author '626222' was listed before");
    assert_has(s.text[5], "goodreads_book_genres_initial.json.gz:4: genres is not an object");
    assert_has(s.text[6], "goodreads_reviews_poetry.json.gz:3: review 'r1' was listed before");
    assert_has(s.text[7], "goodreads_reviews_poetry.json.gz:4: review 'r2' has no text");
    assert_has(s.text[8], "goodreads_reviews_poetry.json.gz:5: review_id is missing");
    assert_int_equal(report.n_files, 5);
    assert_string_equal(item_text(d, "5333265", "authors"),
                        "Ronald J. Fields, Ann & Co (Illustrator)");
    assert_string_equal(item_text(d, "5333265", "genres"), "poetry, fiction, history, biography");
    assert_null(item_text(d, "2", "genres"));
    assert_null(item_text(d, "2", "authors"));
    const um_series *review = um_dataset_series(d, "review");
    assert_string_equal(review->texts[0], "\"I liked it because of the end.\"");
    assert_null(review->texts[1]);
    assert_string_equal(review->texts[2], "\"Only the beginn\"");
    um_dataset_free(d);
    /* By the path of the log: the others are found beside it. */
    d = read_good("goodreads_interactions_poetry.json.gz", &report, &s, 6);
    assert_string_equal(item_text(d, "5333265", "genres"), "poetry, fiction, history, biography");
    assert_string_equal(um_dataset_series(d, "review")->texts[0],
                        "\"I liked it because of the end.\"");
    um_dataset_free(d);
}

/* What the log above lacks: books out before they were shelved, a shelf without reading, texts that
 * need escapes, ids that are numbers, reviews of both kinds. */
static void odd_members(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "goodreads_books_odd.json",
        "{\"book_id\": \"b1\", \"title\": \"A \\\"b\\\\\", \"publication_year\": \"2015\", "
        "\"publication_month\": \"3\", \"publication_day\": \"14\", \"num_pages\": 7}\n"
        "{\"book_id\": 12, \"title\": \"\", \"title_without_series\": \"Alone\", "
        "\"publication_year\": 2014, \"publication_month\": \"2\", \"publication_day\": \"30\"}\n");
    put(dir, "goodreads_interactions_odd.json",
        "{\"user_id\": 5, \"book_id\": \"b1\", \"review_id\": 1, \"is_read\": false, \"rating\": "
        "1, "
        "\"review_text_incomplete\": \"say \\\"x\\\"\", \"date_added\": \"Thu Jan 01 00:00:01 "
        "+0000 "
        "2016\"}\n"
        "{\"user_id\": \"u\", \"book_id\": 12, \"review_id\": \"r2\", \"rating\": \"2\", "
        "\"review_text_incomplete\": \"cut\", \"date_added\": \"Thu Jan 01 00:00:01 +0000 2016\"}\n"
        "{\"user_id\": \"u\", \"book_id\": \"b1\", \"review_id\": \"r3\", \"rating\": 2, "
        "\"review_text_incomplete\": \"&quot;\", \"date_added\": \"Thu Jan 01 00:00:02 +0000 "
        "2016\"}\n");
    put(dir, "goodreads_reviews_odd.json",
        "{\"review_id\": 1, \"review_text\": \"\\\\ and \\\"y\\\"\"}\n"
        "{\"review_id\": \"r2\", \"review_text\": \"cut here?<br />No.\"}\n"
        "{\"review_id\": \"r4\"}\n{\"review_text\": \"of none\"}\n"
        "{\"review_id\": \"r2\", \"review_text\": \"twice\"}\n");
    assert_ok(read_with(&d, &report, &s, dir, "goodreads_interactions_odd.json", NULL, &err), err);
    static const char *const odd[] = {
        "goodreads_reviews_odd.json:3: review 'r4' has no text",
        "goodreads_reviews_odd.json:4: review_id is missing",
        "goodreads_reviews_odd.json:5: review 'r2' was listed before"};
    assert_int_equal(s.n, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(s.text[i], odd[i]);
    assert_int_equal(d->n_interactions, 3);
    assert_string_equal(item_text(d, "b1", "title"), "A \"b\\");
    assert_string_equal(item_text(d, "b1", "pages"), "7");
    assert_string_equal(item_text(d, "12", "title"), "Alone");
    assert_int_equal(d->item_available_s[0], 1426291200); /* 14 March 2015 */
    assert_int_equal(d->item_available_s[1], 1391212800); /* 30 February is none: the first */
    assert_string_equal(d->users.ids[0], "5");
    const um_series *read = um_dataset_series(d, "is_read"), *text = um_dataset_series(d, "review");
    assert_true(read->numbers[0] == 0);
    assert_true(isnan(read->numbers[1]));
    assert_true(um_dataset_series(d, "rating")->numbers[1] == 2);
    assert_string_equal(text->texts[0], "\"\\\\ and \\\"y\\\"\"");
    assert_string_equal(text->texts[1], "\"cut here? No.\"");
    assert_string_equal(text->texts[2], "\"\\\"\"");
    um_dataset_free(d);
}

static void several_genres(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "goodreads_books_poetry.json", books);
    put(dir, "goodreads_books_children.json", books);
    put(dir, "goodreads_interactions_poetry.json", interactions);
    put(dir, "goodreads_interactions_children.json", interactions);
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "logs of 2 genres: goodreads_interactions_children.json, "
                         "goodreads_interactions_poetry.json; give the path");
    d = read_good("goodreads_interactions_poetry.json", &report, &s, 0);
    um_dataset_free(d);
    d = NULL;
    put(dir, "goodreads_interactions_comics.json", interactions);
    assert_int_equal(
        read_with(&d, &report, &s, dir, "goodreads_interactions_comics.json", NULL, &err),
        UM_ERR_INPUT);
    assert_has(err.text, "the log needs its books, goodreads_books_comics.json");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(log_and_books, set_up, tear_down),
        cmocka_unit_test_setup_teardown(joins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(odd_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_genres, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
