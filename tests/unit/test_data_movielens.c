/* MovieLens in all its forms, and delimited files that break the rules. */
#include <signal.h>

#include "base/file.h"
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

static const char movies_csv[] = "movieId,title,genres\n1,A (1990),Drama\n2,B (1991),Drama\n";

/* Reads the folder, which must be accepted. */
static um_dataset *read_folder(um_ingest_report *report, seen *s)
{
    um_dataset *d = NULL;
    assert_ok(read_with(&d, report, s, dir, "", NULL, &err), err);
    assert_counts_add_up(report, s);
    return d;
}

static void ml_1m(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put(dir, "users.dat",
        "1::F::1::10::48067\n2::M::56::16::02460\n3::M::50::0::A1B2C\n4::F::18::20::99999-1\n"
        "5::X::18::1::1\n6::F::19::1::1\n7::F::18::21::1\n1::F::18::1::1\n8::F::18::1\n");
    /* The second title is ISO 8859-1, the fourth UTF-8. */
    put(dir, "movies.dat",
        "1::Toy Story (1995)::Animation|Children's|Comedy\n"
        "73::Mis\xE9rables, Les (1995)::Drama\n"
        "4::Matrix, The (1999)::Action|Sci-Fi\n"
        "5::Am\xC3\xA9lie (2001)::\n"
        "6::No year here::Drama\n"
        "1::Again (1990)::Drama\n"
        "8::::Drama\n");
    put(dir, "ratings.dat",
        "1::73::5::978300760\n1::1::3::978300760\n1::4::4::978300719\n2::4::1::978300000\n"
        "9::4::1::978300000\n1::9::1::978300000\n1::73::5::978300760\n");
    um_dataset *d = read_folder(&report, &s);
    assert_string_equal(report.adapter, "ml-1m");
    assert_string_equal(d->name, "ml-1m");
    assert_int_equal(report.n_files, 3);
    assert_int_equal(report.files[0].rows_kept, 4);
    assert_int_equal(report.files[1].rows_kept, 5);
    assert_int_equal(report.files[2].rows_kept, 4);
    static const char *const reasons[] = {
        "users.dat:5: gender 'X'",       "users.dat:6: age code '19'",
        "users.dat:7: occupation code",  "users.dat:8: user '1' was listed before",
        "users.dat:9: short row",        "movies.dat:6: film '1' was listed before",
        "movies.dat:7: film '8' has no", "ratings.dat:5: user '9' is not",
        "ratings.dat:6: film '9' is",    "ratings.dat:7: user, item and time"};
    assert_int_equal(s.n, 10);
    for (size_t i = 0; i < 10; i++)
        assert_has(s.text[i], reasons[i]);
    assert_string_equal(user_text(d, "1", "age"), "under 18");
    assert_string_equal(user_text(d, "1", "gender"), "female");
    assert_string_equal(user_text(d, "1", "occupation"), "K-12 student");
    assert_string_equal(user_text(d, "1", "region"), "Great Lakes");
    assert_string_equal(user_text(d, "2", "age"), "56 or older");
    assert_string_equal(user_text(d, "2", "region"), "New England");
    assert_string_equal(user_text(d, "3", "age"), "50-55");
    assert_null(user_text(d, "3", "occupation"));
    assert_null(user_text(d, "3", "region"));
    assert_string_equal(user_text(d, "4", "occupation"), "writer");
    assert_string_equal(item_text(d, "73", "title"), "Les Mis\xC3\xA9rables");
    assert_string_equal(item_text(d, "4", "title"), "The Matrix");
    assert_string_equal(item_text(d, "4", "year"), "1999");
    assert_string_equal(item_text(d, "4", "release_year"), "1999");
    assert_string_equal(item_text(d, "4", "genres"), "Action, Sci-Fi");
    assert_string_equal(item_text(d, "5", "title"), "Am\xC3\xA9lie");
    assert_null(item_text(d, "5", "genres"));
    assert_null(item_text(d, "6", "year"));
    /* 1 and 73 share a time: file order. Availability: January 1, or first rating. */
    assert_int_equal(d->user_start[1], 3);
    assert_string_equal(d->items.ids[d->item[0]], "4");
    assert_string_equal(d->items.ids[d->item[1]], "73");
    assert_string_equal(d->items.ids[d->item[2]], "1");
    assert_true(um_dataset_series(d, "rating")->numbers[1] == 5);
    assert_int_equal(d->item_available_s[0], 788918400);
    assert_true(d->item_has_release[0]);
    assert_false(d->item_has_release[4]);
    assert_true(d->item_available_s[4] == INT64_MAX);
    um_dataset_free(d);
}

static void titles(void **state)
{
    (void)state;
    static const struct {
        const char *raw, *title, *year;
    } cases[] = {
        {"\"City of Lost Children, The (Cit\xC3\xA9 des enfants perdus, La) (1995)\"",
         "The City of Lost Children (La Cit\xC3\xA9 des enfants perdus)", "1995"},
        {"\"Good, the Bad and the Ugly, The (Buono, il brutto, il cattivo, Il) (1966)\"",
         "The Good, the Bad and the Ugly (Il Buono, il brutto, il cattivo)", "1966"},
        {"\"Avventura, L' (1960) \"", "L'Avventura", "1960"},
        {"\"Big Bang Theory, The (2007-)\"", "The Big Bang Theory", "2007"},
        {"Death Note (2006\xE2\x80\x93"
         "2007)",
         "Death Note", "2006"},
        {"Babylon 5", "Babylon 5", NULL},
        {"1984 (a novel) by (Orwell)", "1984 (a novel) by (Orwell)", NULL},
        {"\"\"\"Quoted\"\" title, A (1999)\"", "A \"Quoted\" title", "1999"},
        {"Odd (12345)", "Odd (12345)", NULL},
        {"(1999)", "(1999)", NULL},
        {"Open (1999", "Open (1999", NULL},
        {"\"Two\nlines (1988)\"", "Two\nlines", "1988"},
    };
    enum { N = sizeof cases / sizeof *cases };
    char text[4096] = "movieId,title,genres\n";
    um_ingest_report report;
    seen s;
    for (size_t i = 0; i < N; i++) {
        char row[400];
        snprintf(row, sizeof row, "%zu,%s,(no genres listed)\n", i, cases[i].raw);
        strcat(text, row);
    }
    put(dir, "movies.csv", text);
    put(dir, "ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,100\n");
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(s.n, 0);
    for (uint32_t i = 0; i < N; i++) {
        char id[8];
        snprintf(id, sizeof id, "%u", i);
        assert_string_equal(item_text(d, id, "title"), cases[i].title);
        const char *year = item_text(d, id, "year");
        if (cases[i].year == NULL)
            assert_null(year);
        else
            assert_string_equal(year, cases[i].year);
    }
    um_dataset_free(d);
}

/* What a CSV may do: mark, any column order, \r\n, blank lines, quotes, ids with leading zeros. */
static void csv_oddities(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put(dir, "movies.csv", movies_csv);
    put(dir, "ratings.csv",
        "\xEF\xBB\xBF"
        "timestamp,\"rating\",extra,movieId,userId\r\n"
        "100,4.0,\"a\nb, \"\"c\"\"\",1,007\r\n"
        "\r\n"
        "300,0.5,,2,7\r\n"
        "200,5,x,2,007");
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(s.n, 0);
    assert_int_equal(d->n_interactions, 3);
    assert_int_equal(d->users.n_rows, 2);
    assert_string_equal(d->users.ids[0], "007");
    assert_int_equal(d->user_start[1], 2);
    assert_int_equal(d->time_s[1], 200);
    um_dataset_free(d);
}

static void bad_rows_are_counted(void **state)
{
    (void)state;
    static const struct {
        const char *row, *reason;
    } cases[] = {
        {"1,1,4.0", "short row: 3 fields, need 4"},
        {"1,1,4.0,100,9", "long row: 5 fields, need 4"},
        {"1,1,nan,100", "rating 'nan' is not a number"},
        {"1,1,1e999,100", "rating '1e999' is not a number"},
        {"1,1,,100", "rating '' is not a number"},
        {"1,1,7,100", "rating 7 is outside"},
        {"1,1,-1,100", "rating -1 is outside"},
        {"1,1,4,99999999999999999999", "is not a whole number of seconds"},
        {"1,1,4,-5", "is not a whole number of seconds"},
        {"1,1,4,1.5e9", "is not a whole number of seconds"},
        {"1,1,4,964982703000", "looks like milliseconds"},
        {"1,99,4,100", "film '99' is not in the list"},
        {"1,01,4,100", "film '01' is not in the list"},
        {",1,4,100", "user or film id is empty"},
        {"\xFF,1,4,100", "not UTF-8"},
        {"1,\"1\"x,4,100", "text after a closing quote"},
    };
    enum { N = sizeof cases / sizeof *cases };
    char text[4096] = "userId,movieId,rating,timestamp\n";
    um_ingest_report report;
    seen s;
    for (size_t i = 0; i < N; i++) {
        strcat(text, cases[i].row);
        strcat(text, "\n");
    }
    strcat(text, "1,1,4,100\n");
    put(dir, "movies.csv", movies_csv);
    put(dir, "ratings.csv", text);
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(d->n_interactions, 1);
    assert_int_equal(report.files[1].rows_read, N + 1);
    assert_int_equal(s.n, N);
    for (size_t i = 0; i < N; i++) {
        char where[64];
        snprintf(where, sizeof where, "ratings.csv:%zu: ", i + 2);
        assert_has(s.text[i], where);
        assert_has(s.text[i], cases[i].reason);
    }
    um_dataset_free(d);
}

static void nul_bytes_and_stray_quotes(void **state)
{
    (void)state;
    static const char text[] = "userId,movieId,rating,timestamp\n1,1,4,100\n1,1\0,4,100\n"
                               "1,\"1,4,100\n1,2,4,200\n1,2,4,300\n\"1,2,4,400\n";
    um_ingest_report report;
    seen s;
    put(dir, "movies.csv", movies_csv);
    put_bytes(dir, "ratings.csv", text, sizeof text - 1);
    um_dataset *d = read_folder(&report, &s);
    /* Line 4's quote meets that of line 7, which text follows: each costs its own line only... */
    assert_int_equal(s.n, 3);
    assert_has(s.text[0], "ratings.csv:3: NUL byte");
    assert_has(s.text[1], "ratings.csv:4: text after a closing quote");
    assert_has(s.text[2], "ratings.csv:7: a quote is opened");
    assert_int_equal(d->n_interactions, 3);
    um_dataset_free(d);
    /* ... and so does one that is never closed. */
    put(dir, "ratings.csv",
        "userId,movieId,rating,timestamp\n1,1,4,100\n1,\"1,4,150\n1,2,4,200\n1,2,4,300");
    d = read_folder(&report, &s);
    assert_int_equal(d->n_interactions, 3);
    assert_int_equal(s.n, 1);
    assert_has(s.text[0], "ratings.csv:3: a quote is opened and not closed");
    um_dataset_free(d);
}

/* Every line opens a quote that no later line closes, or the last one closes wrongly: the file is
 * looked through a few times, not once a line. */
static void quotes_opened_on_every_line(void **state)
{
    (void)state;
    enum { LINES = 500000 };
    static const char *const lasts[] = {"", "\"x\n"};
    static const char *const reasons[] = {"a quote is opened and not closed",
                                          "text after a closing quote"};
    um_ingest_report report;
    seen s;
    char *text = malloc((size_t)LINES * 6 + 200);
    assert_non_null(text);
    put(dir, "movies.csv", movies_csv);
    for (int i = 0; i < 2; i++) {
        size_t n = (size_t)sprintf(text, "userId,movieId,rating,timestamp\n1,1,4,100\n");
        for (int k = 0; k < LINES; k++, n += 6)
            memcpy(text + n, "a\",\"b\n", 6);
        n += (size_t)sprintf(text + n, "%s1,2,4,200\n1,2,4,300\n", lasts[i]);
        put_bytes(dir, "ratings.csv", text, n);
        uint64_t before = um_clock_ms();
        um_dataset *d = read_folder(&report, &s);
        uint64_t took_ms = um_clock_ms() - before;
        if (took_ms > 20000)
            fail_msg("reading %zu bytes took %llu ms", n, (unsigned long long)took_ms);
        assert_int_equal(d->n_interactions, 3);
        assert_int_equal(s.n, LINES + i);
        assert_has(s.text[0], "ratings.csv:3: ");
        assert_has(s.text[1], "ratings.csv:4: ");
        /* The first lines are further from the end than a record may be long. */
        assert_has(s.text[0], reasons[0]);
        um_dataset_free(d);
    }
    /* The same within reach: each line is rejected for the reason the first was. */
    put(dir, "ratings.csv",
        "userId,movieId,rating,timestamp\n1,1,4,100\na\",\"b\na\",\"b\n\"x\n1,2,4,200\n");
    um_dataset *d = read_folder(&report, &s);
    assert_int_equal(s.n, 3);
    assert_has(s.text[0], reasons[1]);
    assert_has(s.text[1], reasons[1]);
    assert_has(s.text[2], reasons[0]);
    assert_int_equal(d->n_interactions, 2);
    um_dataset_free(d);
    free(text);
}

static volatile sig_atomic_t stop_now;

static void stop_at_rejection(void *context, const um_rejection *rejection)
{
    (void)rejection;
    ++*(int *)context;
    stop_now = 1;
}

/* A file of bad rows is left at once when reading is to stop. */
static void stopping_at_bad_rows(void **state)
{
    (void)state;
    int rejected = 0;
    um_monitor monitor = {.stop = &stop_now};
    um_ingest_options options = {
        .max_bad = -1, .on_rejection = stop_at_rejection, .context = &rejected};
    um_dataset *d = NULL;
    put(dir, "movies.csv", movies_csv);
    put(dir, "ratings.csv", "userId,movieId,rating,timestamp\nx\ny\nz\n1,1,4,100\n");
    stop_now = 0;
    assert_int_equal(um_dataset_read(&d, NULL, dir, &options, &monitor, &err), UM_ERR_INTERRUPTED);
    assert_int_equal(rejected, 1);
    assert_null(d);
}

static void assert_refused(um_status expected, const char *part)
{
    um_dataset *d = NULL;
    um_ingest_report report;
    seen s;
    um_status status = read_with(&d, &report, &s, dir, "", NULL, &err);
    if (status != expected)
        fail_msg("%s, expected %s: %s", um_status_name(status), um_status_name(expected), err.text);
    assert_has(err.text, part);
    assert_null(d);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    put(dir, "movies.csv", movies_csv);
    put(dir, "ratings.csv", "");
    assert_refused(UM_ERR_INPUT, "ratings.csv: the file is empty");
    put(dir, "ratings.csv", "userId,movieId,rating,timestamp\n");
    assert_refused(UM_ERR_INPUT, "ratings.csv: no rows");
    put(dir, "ratings.csv", "1,1,4.0,100\n");
    assert_refused(UM_ERR_INPUT, "ratings.csv:1: header has no column 'userId'");
    put(dir, "ratings.csv", "userId,movieId,rating,timestamp,rating\n1,1,4.0,100,3\n");
    assert_refused(UM_ERR_INPUT, "header has column 'rating' 2 times");
    put(dir, "ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,964982703000\n");
    assert_refused(UM_ERR_INPUT, "none of its 1 rows is good; the first: line 2: time");
    put(dir, "ratings.csv", "userId,\"movieId,rating,timestamp\n");
    assert_refused(UM_ERR_INPUT, "ratings.csv:1: header: a quote is opened");
    char *wide = malloc(300000);
    assert_non_null(wide);
    size_t n = 0;
    for (int i = 0; i < 100000; i++)
        n += (size_t)sprintf(wide + n, "%sc", i > 0 ? "," : "");
    put(dir, "ratings.csv", wide);
    assert_refused(UM_ERR_LIMIT, "more than 1024 columns");
    /* As a row it is one bad row. */
    char *text = malloc(400000);
    assert_non_null(text);
    sprintf(text, "userId,movieId,rating,timestamp\n%s\n1,1,4,100\n", wide);
    put(dir, "ratings.csv", text);
    um_ingest_report report;
    seen s;
    um_dataset_free(read_folder(&report, &s));
    assert_has(s.text[0], "long row: more than 1024 fields");
    free(text);
    free(wide);
}

static void limits_and_choices(void **state)
{
    (void)state;
    um_dataset *d = NULL;
    um_ingest_report report;
    put(dir, "movies.csv", movies_csv);
    put(dir, "ratings.csv",
        "userId,movieId,rating,timestamp\n1,1,4,100\n1,2,x,100\n1,2,4,100\n2,1,4,100\n2,9,4,1\n");
    um_ingest_options options = {.max_bad = 1};
    assert_int_equal(um_dataset_read(&d, &report, dir, &options, NULL, &err), UM_ERR_LIMIT);
    assert_has(err.text, "ratings.csv:6: film '9'");
    assert_has(err.text, "2 bad rows, limit 1");
    assert_int_equal(report.rows_rejected, 2);
    options.max_bad = 2;
    options.filters.min_user_interactions = 2;
    assert_ok(um_dataset_read(&d, &report, dir, &options, NULL, &err), err);
    assert_int_equal(d->users.n_rows, 1);
    assert_int_equal(report.rows_filtered, 1); /* not a bad row */
    assert_int_equal(report.rows_rejected, 3);
    assert_int_equal(report.rows_read, report.rows_kept + report.rows_rejected);
    um_dataset_free(d);
    options.filters.min_user_interactions = 3;
    assert_int_equal(um_dataset_read(&d, &report, dir, &options, NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "no interaction is left of");
    options = (um_ingest_options){.adapter = "ml-latst"};
    assert_int_equal(um_dataset_read(&d, &report, dir, &options, NULL, &err), UM_ERR_NOT_FOUND);
    assert_has(err.text, "did you mean 'ml-latest'");
    options.adapter = "ml-1m";
    assert_int_equal(um_dataset_read(&d, &report, dir, &options, NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "expects ratings.dat, users.dat, movies.dat; found movies.csv, rat");
    options = (um_ingest_options){.max_bad = -1, .name = "my-films"};
    assert_ok(um_dataset_read(&d, NULL, dir, &options, NULL, &err), err);
    assert_string_equal(d->name, "my-films");
    um_dataset_free(d);
    /* Two data sets in one folder have to be told apart by the caller. */
    put(dir, "movies.dat", "1::A (1990)::Drama\n");
    put(dir, "ratings.dat", "1::1::4::5\n");
    options = (um_ingest_options){0};
    assert_int_equal(um_dataset_read(&d, NULL, dir, &options, NULL, &err), UM_ERR_INPUT);
    assert_has(err.text, "both ml-10m and ml-latest");
    options.adapter = "ml-10m";
    assert_ok(um_dataset_read(&d, NULL, dir, &options, NULL, &err), err);
    assert_string_equal(d->name, "ml-10m");
    um_dataset_free(d);
    size_t n = 0;
    for (const um_adapter_info *a = um_adapters(); a->name != NULL; a++)
        n += strcmp(a->name, "canonical") == 0 || strcmp(a->name, "ml-1m") == 0;
    assert_int_equal(n, 2);
}

static void stopping(void **state)
{
    (void)state;
    volatile sig_atomic_t stop = 1;
    um_monitor monitor = {.stop = &stop};
    um_dataset *d = NULL;
    put(dir, "movies.csv", movies_csv);
    char *text = malloc((size_t)100000 * 12 + 64);
    assert_non_null(text);
    size_t n = (size_t)sprintf(text, "userId,movieId,rating,timestamp\n");
    for (int i = 0; i < 100000; i++)
        n += (size_t)sprintf(text + n, "1,1,4,%d\n", i);
    put(dir, "ratings.csv", text);
    free(text);
    assert_int_equal(um_dataset_read(&d, NULL, dir, NULL, &monitor, &err), UM_ERR_INTERRUPTED);
    stop = 0;
    assert_ok(um_dataset_read(&d, NULL, dir, NULL, &monitor, &err), err);
    assert_int_equal(d->n_interactions, 100000);
    um_dataset_free(d);
}

static void ml_100k(void **state)
{
    (void)state;
    um_ingest_report report;
    seen s;
    put(dir, "u.user", "1|24|M|technician|85711\n2|53|F|other|94043\n3|x|F|writer|1\n");
    put(dir, "u.item",
        "1|Toy Story (1995)|22-Nov-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        "2|Caf\xE9, The (1994)||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        "3|Short|x\n");
    put(dir, "u.data", "1\t2\t3\t881250949\n2\t1\t5\t891717742\n");
    um_dataset *d = read_folder(&report, &s);
    assert_string_equal(report.adapter, "ml-100k");
    assert_int_equal(s.n, 2);
    assert_string_equal(user_text(d, "1", "age"), "18-24");
    assert_string_equal(user_text(d, "2", "age"), "50-55");
    assert_null(user_text(d, "2", "occupation"));
    assert_string_equal(user_text(d, "1", "region"), "Mountain States");
    assert_string_equal(item_text(d, "1", "genres"), "Animation, Children's, Comedy");
    assert_string_equal(item_text(d, "2", "title"), "The Caf\xC3\xA9");
    assert_null(item_text(d, "2", "genres"));
    assert_int_equal(d->item_available_s[0], 816998400); /* 1995-11-22 */
    um_dataset_free(d);
}

/* Figures of tests/golden/gen_ml_latest_small.py. */
static void assert_latest_small(const um_dataset *d)
{
    assert_int_equal(d->users.n_rows, 610);
    assert_int_equal(d->items.n_rows, 9742);
    assert_int_equal(d->n_interactions, 100836);
    int year_column = um_table_column(&d->items, "year");
    int genres_column = um_table_column(&d->items, "genres");
    uint32_t years = 0, year_sum = 0, genres = 0, unseen = 0, released = 0;
    for (uint32_t i = 0; i < d->items.n_rows; i++) {
        const char *year = um_table_cell(&d->items, i, year_column);
        years += year != NULL;
        year_sum += year != NULL ? (uint32_t)atoi(year) : 0;
        genres += um_table_cell(&d->items, i, genres_column) != NULL;
        released += d->item_has_release[i];
    }
    assert_int_equal(years, 9730);
    assert_int_equal(released, 9730);
    assert_int_equal(year_sum, 19407602);
    assert_int_equal(genres, 9708);
    double sum = 0;
    uint32_t times = 0, order = 0;
    char *rated = calloc(d->items.n_rows, 1);
    assert_non_null(rated);
    for (uint64_t i = 0; i < d->n_interactions; i++) {
        sum += 2 * um_dataset_series(d, "rating")->numbers[i];
        times += (uint32_t)d->time_s[i];
        order = order * 31 + d->item[i];
        rated[d->item[i]] = 1;
    }
    for (uint32_t i = 0; i < d->items.n_rows; i++)
        unseen += !rated[i];
    free(rated);
    assert_int_equal(unseen, 18);
    assert_true(sum == 706166);
    assert_int_equal(times, 3665581535u);
    assert_int_equal(order, 1992118054u);
}

static void latest_small(void **state)
{
    (void)state;
    char path[1024];
    if (shared_data("ml-latest-small/ratings.csv", path, sizeof path) == NULL)
        return;
    *strrchr(path, '/') = '\0';
    um_ingest_report report;
    um_dataset *d = NULL;
    um_ingest_options options = {.max_bad = 0};
    assert_ok(um_dataset_read(&d, &report, path, &options, NULL, &err), err);
    assert_latest_small(d);
    assert_int_equal(report.rows_read, 100836 + 9742);
    um_dataset_free(d);
    /* The same from a zip with a folder in it, as GroupLens ships it. */
    static const char *const names[] = {"README.txt", "links.csv", "movies.csv", "ratings.csv"};
    zipped files[4];
    char inside[4][64];
    for (int i = 0; i < 4; i++) {
        snprintf(inside[i], sizeof inside[i], "ml-latest-small/%s", names[i]);
        files[i].name = inside[i];
        files[i].bytes = get_bytes(path, names[i], &files[i].n);
    }
    put_zip(dir, "small.zip", files, 4, NULL);
    snprintf(path, sizeof path, "%s/small.zip", dir);
    assert_ok(um_dataset_read(&d, &report, path, &options, NULL, &err), err);
    assert_latest_small(d);
    um_dataset_free(d);
    for (int i = 0; i < 4; i++)
        free((void *)(uintptr_t)files[i].bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ml_1m, set_up, tear_down),
        cmocka_unit_test_setup_teardown(titles, set_up, tear_down),
        cmocka_unit_test_setup_teardown(csv_oddities, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_rows_are_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nul_bytes_and_stray_quotes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quotes_opened_on_every_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopping_at_bad_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_files_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limits_and_choices, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopping, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ml_100k, set_up, tear_down),
        cmocka_unit_test_setup_teardown(latest_small, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
