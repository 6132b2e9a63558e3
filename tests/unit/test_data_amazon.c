/* Amazon reviews in the layouts of 2014, 2018 and 2023. */
#include <unistd.h>

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

/* Reads dir/name, all filters off, and checks what was rejected. */
static um_dataset *read_all(const char *name, const char *adapter, um_ingest_report *report,
                            seen *s, const char *const *reasons, size_t n_reasons)
{
    um_dataset *d = NULL;
    assert_ok(read_with(&d, report, s, dir, name, NULL, &err), err);
    assert_string_equal(report->adapter, adapter);
    assert_counts_add_up(report, s);
    for (size_t i = 0; i < s->n && i < n_reasons; i++)
        assert_has(s->text[i], reasons[i]);
    assert_int_equal(s->n, n_reasons);
    um_template *t = NULL;
    assert_ok(um_template_builtin(&t, d->name, &err), err);
    assert_ok(um_template_check(t, d, &err), err);
    um_template_free(t);
    return d;
}

/* Number of the behaviour at interaction i, and its text. */
static double number_at(const um_dataset *d, const char *series, uint64_t i)
{
    return um_dataset_series(d, series)->numbers[i];
}

static const char *text_at(const um_dataset *d, const char *series, uint64_t i)
{
    return um_dataset_series(d, series)->texts[i];
}

#define REVIEW_2023(user, item, time)                                                              \
    "{\"rating\": 4.0, \"title\": \"t\", \"text\": \"x\", \"images\": [], \"asin\": \"V\", "       \
    "\"parent_asin\": \"" item "\", \"user_id\": \"" user "\", \"timestamp\": " time ", "          \
    "\"helpful_vote\": 0, \"verified_purchase\": false}\n"

static const char meta_2023[] =
    "{\"main_category\": \"All Beauty\", \"title\": \"Howard LC0008 Leather Conditioner\", "
    "\"average_rating\": 4.8, \"rating_number\": 10, \"features\": [\"Cleans &amp; conditions\", "
    "\"8 <b>ounce</b>\"], \"description\": [], \"price\": 12.5, \"images\": [], \"videos\": [], "
    "\"store\": \"Howard Products\", \"categories\": [\"Beauty\", \"Skin\"], \"details\": "
    "{\"Brand\": \"H\", \"Date First Available\": \"June 3, 2018\"}, \"parent_asin\": \"P1\"}\n"
    "{\"title\": \"Second\", \"rating_number\": 9, \"price\": null, \"details\": {\"a\": \"b\"}, "
    "\"parent_asin\": \"P2\", \"store\": null}\n"
    "{\"title\": \"Third\", \"rating_number\": 11, \"price\": \"None\", \"details\": {}, "
    "\"parent_asin\": \"P3\"}\n"
    "{\"title\": \"Fourth\", \"rating_number\": 12, \"price\": \"from 9.99\", \"details\": "
    "\"{\\\"Brand\\\": \\\"B\\\"}\", \"parent_asin\": \"P4\"}\n"
    "{\"title\": \"Again\", \"rating_number\": 12, \"price\": \"1\", \"details\": {\"a\": 1}, "
    "\"parent_asin\": \"P1\"}\n"
    "{\"title\": \"No id\", \"rating_number\": 12}\n"
    "{\"title\": \"Fifth\", \"rating_number\": null, \"price\": \"$5.99 - $7.99\", "
    "\"details\": \"{}\", \"parent_asin\": \"P5\"}\n";

static const char reviews_2023[] =
    "{\"rating\": 5.0, \"title\": \"Such a lovely &#34;scent&#34;\", \"text\": \"This<br />is "
    "good.\", \"images\": [], \"asin\": \"B00\", \"parent_asin\": \"P1\", \"user_id\": \"U1\", "
    "\"timestamp\": 1588687728923, \"helpful_vote\": 3, \"verified_purchase\": true}\n"
    "{\"rating\": 1, \"title\": \"\", \"text\": \"\", \"parent_asin\": \"P1\", \"user_id\": "
    "\"U2\", \"timestamp\": 1262304000000, \"helpful_vote\": 0, \"verified_purchase\": false}\n"
    "\n" REVIEW_2023("U1", "P2", "1588687728000") REVIEW_2023("U1", "P3", "1588687728000")
        REVIEW_2023("U1", "P4", "1588687728000") REVIEW_2023("U1", "P9", "1588687728000")
            REVIEW_2023("U1", "P1", "1588687728") REVIEW_2023("U1", "P1", "\"soon\"")
                REVIEW_2023("U1", "P1", "0") REVIEW_2023(
                    "", "P1",
                    "1588687728000") "{\"rating\": 0, \"parent_asin\": \"P1\", \"user_id\": "
                                     "\"U1\", \"timestamp\": 1588687728000}\n"
                                     "{\"rating\": null, \"parent_asin\": \"P1\", \"user_id\": "
                                     "\"U1\", \"timestamp\": "
                                     "1588687728000}\n"
                                     "[1]\n" REVIEW_2023("U1", "P1",
                                                         "1588687728999") "{\"rating\": 5.0, \"tit";

static void layout_2023(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    static const char *const reasons[] = {
        "meta_All_Beauty.jsonl.gz:5: item 'P1' was described before",
        "meta_All_Beauty.jsonl.gz:6: parent_asin is missing",
        "All_Beauty.jsonl.gz:7: item 'P9' is not in the metadata",
        "All_Beauty.jsonl.gz:8: timestamp looks like seconds",
        "All_Beauty.jsonl.gz:9: timestamp is missing or no whole number",
        "All_Beauty.jsonl.gz:10: timestamp is not after 1970",
        "All_Beauty.jsonl.gz:11: user_id is missing",
        "All_Beauty.jsonl.gz:12: rating 0 is outside 1 .. 5",
        "All_Beauty.jsonl.gz:13: rating is missing",
        "All_Beauty.jsonl.gz:14: not one whole JSON object",
        "file cut short?",
        "All_Beauty.jsonl.gz:15: user, item and time as in an earlier row"};
    put_gzip(dir, "meta_All_Beauty.jsonl.gz", meta_2023);
    put_gzip(dir, "All_Beauty.jsonl.gz", reviews_2023);
    um_dataset *d = read_all("", "amazon-2023", &report, &s, reasons, 12);
    assert_string_equal(d->name, "amazon-all_beauty");
    assert_int_equal(report.n_files, 2);
    assert_int_equal(report.files[0].rows_kept, 5);
    assert_int_equal(report.files[1].rows_read, 15);
    assert_int_equal(report.files[1].rows_kept, 5);
    assert_int_equal(d->n_interactions, 5);
    assert_string_equal(item_text(d, "P1", "title"), "Howard LC0008 Leather Conditioner");
    assert_string_equal(item_text(d, "P1", "category"), "All Beauty");
    assert_string_equal(item_text(d, "P1", "categories"), "Beauty > Skin");
    assert_string_equal(item_text(d, "P1", "brand"), "Howard Products");
    assert_string_equal(item_text(d, "P1", "price"), "$12.50");
    assert_string_equal(item_text(d, "P1", "features"), "Cleans & conditions; 8 ounce");
    assert_null(item_text(d, "P1", "description"));
    assert_string_equal(item_text(d, "P1", "average_rating"), "4.8");
    assert_string_equal(item_text(d, "P1", "rating_number"), "10");
    assert_null(item_text(d, "P2", "brand"));
    assert_null(item_text(d, "P2", "price"));
    assert_null(item_text(d, "P3", "price"));
    assert_string_equal(item_text(d, "P4", "price"), "from $9.99");
    assert_string_equal(item_text(d, "P5", "price"), "$5.99 - $7.99");
    /* U1: P2, P3, P4 at ...728 and P1 at ...728.923: milliseconds are cut off, then file order. */
    assert_string_equal(d->users.ids[0], "U1");
    assert_int_equal(d->user_start[1], 4);
    assert_int_equal(d->time_s[0], 1588687728);
    assert_string_equal(d->items.ids[d->item[0]], "P1");
    assert_true(number_at(d, "rating", 0) == 5 && number_at(d, "helpful_votes", 0) == 3);
    assert_true(number_at(d, "verified", 0) == 1 && number_at(d, "verified", 1) == 0);
    assert_string_equal(text_at(d, "review_title", 0), "\"Such a lovely \\\"scent\\\"\"");
    assert_string_equal(text_at(d, "review", 0), "\"This is good.\"");
    assert_null(text_at(d, "review", 4));
    /* Available since 2018 says the shop; U2 reviewed it in 2010. */
    assert_int_equal(d->item_available_s[0], 1262304000);
    assert_true(d->item_has_release[0]);
    um_dataset_free(d);
}

/* min_rating_count leaves out items with few ratings or no details, and their reviews. */
static void counts_2023(void **state)
{
    (void)state;
    um_ingest_report report;
    um_ingest_options options;
    um_dataset *d = NULL;
    seen s = {0};
    put(dir, "meta_All_Beauty.jsonl", meta_2023);
    put(dir, "All_Beauty.jsonl", reviews_2023);
    um_ingest_defaults(&options);
    options.filters = (um_ingest_filters){.min_rating_count = UM_FILTER_DEFAULT};
    options.on_rejection = see;
    options.context = &s;
    assert_ok(um_dataset_read(&d, &report, dir, &options, NULL, &err), err);
    assert_counts_add_up(&report, &s);
    assert_int_equal(report.rows_filtered, 5); /* P2, P3, P5; reviews of P2, P3 */
    assert_has(s.text[0], "meta_All_Beauty.jsonl:2: item 'P2' has 9 ratings, need 10");
    assert_has(s.text[1], "meta_All_Beauty.jsonl:3: item 'P3' has no details");
    assert_has(s.text[4], "meta_All_Beauty.jsonl:7: item 'P5' has 0 ratings, need 10");
    assert_has(s.text[5], "All_Beauty.jsonl:4: item 'P2' has too few ratings");
    assert_int_equal(d->items.n_rows, 2);
    assert_int_equal(d->n_interactions, 3);
    um_dataset_free(d);
    for (const um_adapter_info *info = um_adapters(); info->name != NULL; info++) {
        if (strcmp(info->name, "amazon-2023") != 0)
            continue;
        assert_true(info->filters.newest_share == 0.3);
        assert_int_equal(info->filters.min_user_interactions, 5);
        assert_int_equal(info->filters.min_item_interactions, 5);
        assert_int_equal(info->filters.min_rating_count, 10);
        return;
    }
    fail_msg("amazon-2023 is not listed");
}

static void layout_2018(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    static const char *const reasons[] = {
        "meta_Toys.json.gz:2: item 'A1' was described before",
        "Toys_5.json.gz:3: unixReviewTime looks like milliseconds",
        "Toys_5.json.gz:4: item 'A3' is not"};
    put_gzip(
        dir, "meta_Toys.json.gz",
        "{\"category\": [\"Toys\", \"Games &amp; Cards\"], \"description\": [\"One.\", \"\", "
        "\"Two.\"], \"title\": \"<span class=\\\"a-size-medium\\\"\", \"brand\": \"Acme\", "
        "\"feature\": [], \"rank\": \"742 in Toys (\", \"main_cat\": \"<img src=\\\"x\\\" "
        "alt=\\\"Toys\\\"/>\", \"date\": \"March 14, 2017\", \"price\": \"$12.99\", \"asin\": "
        "\"A1\", \"details\": {}}\n"
        "{\"asin\": \"A1\", \"title\": \"Second\"}\n"
        "{\"asin\": \"A2\", \"title\": \"Toy\", \"rank\": [\">#1 in Toys\", \">#2 in Games\"], "
        "\"price\": \".a-box-inner{background-color:#fff}#alohaBuyBoxWidget .selected{bac\"}\n");
    put_gzip(dir, "Toys_5.json.gz",
             "{\"overall\": 5.0, \"vote\": \"1,234\", \"verified\": true, \"reviewTime\": \"09 4, "
             "2015\", \"reviewerID\": \"U1\", \"asin\": \"A1\", \"style\": {\"Size:\": \" Big "
             "Boys\", \"Color:\": \" Blue\"}, \"reviewerName\": \"T\", \"reviewText\": \"Great\", "
             "\"summary\": \"Five Stars\", \"unixReviewTime\": 1441324800}\n"
             "{\"overall\": 2.0, \"verified\": false, \"reviewerID\": \"U1\", \"asin\": \"A2\", "
             "\"summary\": \"no\", \"unixReviewTime\": 1441324801}\n"
             "{\"overall\": 2.0, \"reviewerID\": \"U1\", \"asin\": \"A2\", \"unixReviewTime\": "
             "1441324800000}\n"
             "{\"overall\": 2.0, \"reviewerID\": \"U1\", \"asin\": \"A3\", \"unixReviewTime\": "
             "1441324800}\n");
    um_dataset *d = read_all("", "amazon-2018", &report, &s, reasons, 3);
    assert_string_equal(d->name, "amazon-toys");
    assert_null(item_text(d, "A1", "title"));
    assert_null(item_text(d, "A1", "category"));
    assert_string_equal(item_text(d, "A1", "categories"), "Toys > Games & Cards");
    assert_string_equal(item_text(d, "A1", "description"), "One. Two.");
    assert_string_equal(item_text(d, "A1", "price"), "$12.99");
    assert_string_equal(item_text(d, "A1", "sales_rank"), "\"742 in Toys\"");
    assert_null(item_text(d, "A1", "average_rating"));
    assert_string_equal(item_text(d, "A2", "title"), "Toy");
    assert_null(item_text(d, "A2", "price"));
    assert_string_equal(item_text(d, "A2", "sales_rank"), "\">#1 in Toys; >#2 in Games\"");
    assert_true(number_at(d, "helpful_votes", 0) == 1234);
    assert_string_equal(text_at(d, "style", 0), "\"Size: Big Boys; Color: Blue\"");
    assert_null(text_at(d, "review", 1));
    assert_int_equal(d->item_available_s[0], 1441324800); /* reviewed before its date */
    um_dataset_free(d);
    um_ingest_options options = {.filters = {.min_rating_count = 1}, .max_bad = -1};
    assert_int_equal(um_dataset_read(&d, NULL, dir, &options, NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "do not say how many ratings");
}

static void layout_2014(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    static const char *const reasons[] = {
        "meta_Toys.json:3: not one whole Python dict: byte 9: a name",
        "meta_Toys.json:4: asin is missing"};
    put(dir, "meta_Toys.json",
        "{'asin': '0000031852', 'title': \"Girl's Tutu \\xe9\", 'price': 3.17, 'imUrl': "
        "'http://x', "
        "'related': {'also_bought': ['B00JHONN1S', 'B002BZX8Z6']}, 'salesRank': {'Toys & Games': "
        "211836}, 'brand': u'Coxlures', 'categories': [['Sports', 'Dance'], ['Other']],}\n"
        "{\"asin\": \"A2\", \"title\": \"JSON is read too\", \"categories\": []}\n"
        "{'asin': undefined}\n"
        "{'title': 'no id'}\n");
    put(dir, "reviews_Toys_5.json",
        "{\"reviewerID\": \"A2SUAM1J3GNN3B\", \"asin\": \"0000031852\", \"reviewerName\": \"J\", "
        "\"helpful\": [2, 3], \"reviewText\": \"I bought this.\", \"overall\": 5.0, \"summary\": "
        "\"Heavenly\", \"unixReviewTime\": 1252800000, \"reviewTime\": \"09 13, 2009\"}\n"
        "{\"reviewerID\": \"A2SUAM1J3GNN3B\", \"asin\": \"A2\", \"helpful\": [], \"overall\": 1.0, "
        "\"unixReviewTime\": 1252800001}\n");
    um_dataset *d = read_all("", "amazon-2014", &report, &s, reasons, 2);
    assert_string_equal(d->name, "amazon-toys");
    assert_string_equal(item_text(d, "0000031852", "title"), "Girl's Tutu \xC3\xA9");
    assert_string_equal(item_text(d, "0000031852", "price"), "$3.17");
    assert_string_equal(item_text(d, "0000031852", "categories"), "Sports > Dance");
    assert_string_equal(item_text(d, "0000031852", "sales_rank"), "\"211836 in Toys & Games\"");
    assert_string_equal(item_text(d, "A2", "title"), "JSON is read too");
    assert_true(number_at(d, "helpful_votes", 0) == 2);
    assert_string_equal(text_at(d, "review_title", 0), "\"Heavenly\"");
    um_dataset_free(d);
}

#define META(id)   "{\"parent_asin\": \"" id "\", \"title\": \"T\"}\n"
#define REVIEW(id) REVIEW_2023("U", id, "1588687728000")

static void categories(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "meta_A.jsonl", META("a"));
    put(dir, "A.jsonl", REVIEW("a"));
    put(dir, "meta_B.jsonl", META("b"));
    put_gzip(dir, "B.jsonl.gz", REVIEW("b"));
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text,
               "review files of 2 categories or sizes: A.jsonl, B.jsonl.gz; give the path");
    d = read_all("B.jsonl.gz", "amazon-2023", &report, &s, NULL, 0);
    assert_string_equal(d->name, "amazon-b");
    assert_string_equal(d->items.ids[0], "b");
    um_dataset_free(d);
    d = read_all("A.jsonl", "amazon-2023", &report, &s, NULL, 0);
    assert_string_equal(d->name, "amazon-a");
    um_dataset_free(d);
    /* A review file without metadata beside it is not taken for anything. */
    put(dir, "C.jsonl", REVIEW("c"));
    assert_int_equal(read_with(&d, &report, &s, dir, "C.jsonl", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "no data set recognised");
}

static void missing_metadata(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    put(dir, "Toys_5.json", "{\"asin\": \"A\"}\n");
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "Toys_5.json needs the metadata of its items, meta_Toys.json");
    assert_int_equal(read_with(&d, &report, &s, dir, "", "amazon-2018", &err), UM_ERR_INPUT);
    assert_has(err.text, "meta_Toys.json");
    /* There, but of other items. */
    put(dir, "meta_Toys.json", "{\"asin\": \"B\", \"title\": \"T\"}\n");
    put(dir, "Toys_5.json",
        "{\"overall\": 2.0, \"reviewerID\": \"U1\", \"asin\": \"A\", \"unixReviewTime\": "
        "1441324800}\n");
    assert_int_equal(read_with(&d, &report, &s, dir, "", NULL, &err), UM_ERR_INPUT);
    assert_has(err.text,
               "none of its 1 rows is good; the first: line 1: item 'A' is not in the metadata");
    assert_counts_add_up(&report, &s);
}

static void in_a_zip(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    static const char meta[] = META("a"), reviews[] = REVIEW("a");
    const zipped files[] = {{"x/A.jsonl", reviews, sizeof reviews - 1},
                            {"x/meta_A.jsonl", meta, sizeof meta - 1}};
    put_zip(dir, "all.zip", files, 2, NULL);
    um_dataset *d = read_all("all.zip", "amazon-2023", &report, &s, NULL, 0);
    assert_int_equal(d->n_interactions, 1);
    um_dataset_free(d);
}

/* The real reviews of AMAZON_FASHION, with metadata made up from their ids. Figures from a Python
 * count of the file: 3,176 rows, 3,065 of different user, item and time. */
static void real_reviews(void **state)
{
    (void)state;
    char path[4096], line[1 << 16], link[600], asins[64][16];
    size_t n = 0;
    if (shared_data("amazon-2018/AMAZON_FASHION_5.jsonl", path, sizeof path) == NULL)
        skip();
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        const char *id = strstr(line, "\"asin\": \"") + 9;
        size_t i = 0;
        while (i < n && strncmp(asins[i], id, 10) != 0)
            i++;
        if (i == n && n < 64)
            snprintf(asins[n++], 16, "%.10s", id);
    }
    fclose(f);
    assert_int_equal(n, 31);
    snprintf(link, sizeof link, "%s/meta_AMAZON_FASHION.json", dir);
    f = fopen(link, "w");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "{\"asin\": \"%s\", \"title\": \"T\"}\n", asins[i]);
    fclose(f);
    snprintf(link, sizeof link, "%s/AMAZON_FASHION_5.jsonl", dir);
    assert_int_equal(symlink(path, link), 0);
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    assert_ok(read_with(&d, &report, &s, dir, "", NULL, &err), err);
    assert_string_equal(report.adapter, "amazon-2018");
    assert_string_equal(d->name, "amazon-amazon_fashion");
    assert_counts_add_up(&report, &s);
    assert_int_equal(report.files[1].rows_read, 3176);
    assert_int_equal(s.n, 3176 - 3065);
    assert_has(s.text[0], "user, item and time as in an earlier row");
    assert_int_equal(d->n_interactions, 3065);
    assert_int_equal(d->users.n_rows, 406);
    assert_int_equal(d->items.n_rows, 31);
    double ratings = 0, votes = 0;
    int texts = 0;
    for (uint64_t i = 0; i < d->n_interactions; i++) {
        double v = number_at(d, "helpful_votes", i);
        ratings += number_at(d, "rating", i);
        votes += v == v ? v : 0;
        texts += text_at(d, "review", i) != NULL;
    }
    assert_true(ratings == 13553);
    assert_true(votes == 1632);
    assert_int_equal(texts, 3049);
    um_dataset_free(d);
}

/* The real metadata of Magazine_Subscriptions, with two reviews made up. Figures from a Python
 * count: 3,385 rows of 2,320 items, 157 of them with a whole title. */
static void real_metadata(void **state)
{
    (void)state;
    char path[4096], link[600];
    if (shared_data("amazon-2018/meta_Magazine_Subscriptions.json.gz", path, sizeof path) == NULL)
        skip();
    snprintf(link, sizeof link, "%s/meta_Magazine_Subscriptions.json.gz", dir);
    assert_int_equal(symlink(path, link), 0);
    put(dir, "Magazine_Subscriptions.json",
        "{\"overall\": 4.0, \"reviewerID\": \"U\", \"asin\": \"B00005N7S5\", \"unixReviewTime\": "
        "9}\n"
        "{\"overall\": 3.0, \"reviewerID\": \"U\", \"asin\": \"B00005N7NQ\", \"unixReviewTime\": "
        "8}\n");
    um_ingest_report report;
    seen s;
    um_dataset *d = NULL;
    assert_ok(read_with(&d, &report, &s, dir, "", NULL, &err), err);
    assert_counts_add_up(&report, &s);
    assert_int_equal(report.files[0].rows_read, 3385);
    assert_int_equal(d->items.n_rows, 2320);
    assert_int_equal(d->n_interactions, 2);
    static const struct {
        const char *column;
        int n;
    } filled[] = {{"title", 157},       {"brand", 2173}, {"categories", 1878},
                  {"sales_rank", 1263}, {"price", 0},    {"average_rating", 0}};
    for (size_t i = 0; i < sizeof filled / sizeof *filled; i++) {
        int column = um_table_column(&d->items, filled[i].column), n = 0;
        assert_true(column >= 0);
        for (uint32_t row = 0; row < d->items.n_rows; row++)
            n += um_table_cell(&d->items, row, column) != NULL;
        assert_int_equal(n, filled[i].n);
    }
    assert_string_equal(item_text(d, "B00005N7S5", "title"), "PC World");
    assert_string_equal(item_text(d, "B00005N7S5", "categories"),
                        "Magazine Subscriptions > Technology > Computers & Internet");
    assert_string_equal(item_text(d, "B00005N7S5", "sales_rank"),
                        "\"1,542 in Magazine Subscriptions\"");
    um_dataset_free(d);
}

/* Ids may be numbers, in files that went through a table. Those that are the first one's prefix and
 * a decimal are looked up in an array, all others in a map. */
static void ids_of_all_kinds(void **state)
{
    (void)state;
    enum { N = 60 };
    um_ingest_report report;
    seen s;
    um_str meta = UM_STR_INIT, log = UM_STR_INIT;
    for (int i = 0; i < N; i++) {
        static const char *const around[][2] = {{"\"B0X", "\""}, {"", ""}, {"\"B0", "X\""}};
        char id[16];
        snprintf(id, sizeof id, "%s%d%s", around[i % 3][0], i, around[i % 3][1]);
        um_str_appendf(&meta, "{\"title\":\"t\",\"details\":{\"a\":1},\"parent_asin\":%s}\n", id);
        um_str_appendf(&log,
                       "{\"rating\":4,\"text\":\"of %d\",\"parent_asin\":%s,\"user_id\":%s,"
                       "\"timestamp\":%d000}\n",
                       i, id, i % 5 == 0 ? "\"A1\"" : "99", 1500000000 + i);
    }
    assert_true(meta.failed == UM_OK && log.failed == UM_OK);
    put(dir, "meta_Kinds.jsonl", meta.data);
    put(dir, "Kinds.jsonl", log.data);
    um_dataset *d = read_all("", "amazon-2023", &report, &s, NULL, 0);
    assert_int_equal(d->users.n_rows, 2);
    assert_int_equal(d->items.n_rows, N);
    assert_int_equal(d->n_interactions, N);
    assert_string_equal(d->users.ids[0], "A1");
    assert_string_equal(d->users.ids[1], "99");
    assert_string_equal(d->items.ids[0], "B0X0");
    assert_string_equal(d->items.ids[1], "1");
    assert_string_equal(d->items.ids[2], "B02X");
    for (uint64_t k = 0; k < N; k++) {
        const int i = (int)(d->time_s[k] - 1500000000);
        char expected[16];
        snprintf(expected, sizeof expected, "\"of %d\"", i);
        assert_int_equal(d->item[k], i);
        assert_string_equal(um_dataset_series(d, "review")->texts[k], expected);
        assert_int_equal(k >= d->user_start[1], i % 5 != 0);
    }
    um_dataset_free(d);
    um_str_dispose(&meta);
    um_str_dispose(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(layout_2023, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ids_of_all_kinds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(counts_2023, set_up, tear_down),
        cmocka_unit_test_setup_teardown(layout_2018, set_up, tear_down),
        cmocka_unit_test_setup_teardown(layout_2014, set_up, tear_down),
        cmocka_unit_test_setup_teardown(categories, set_up, tear_down),
        cmocka_unit_test_setup_teardown(missing_metadata, set_up, tear_down),
        cmocka_unit_test_setup_teardown(in_a_zip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(real_reviews, set_up, tear_down),
        cmocka_unit_test_setup_teardown(real_metadata, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
