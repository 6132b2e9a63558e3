/* Folders, archives and lines: what a reader meets before it sees a field. */
#include "data/bundle.h"
#include "data/lines.h"
#include "test_data_util.h"

static um_error err;
static char dir[256];

static const char movies[] = "movieId,title,genres\n1,A (1990),Drama\n2,B (1991),Drama\n";
static const char ratings[] = "userId,movieId,rating,timestamp\n1,1,4.0,100\n1,2,3.5,200\n";

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

static void assert_refused(const char *name, um_status expected, const char *part)
{
    um_dataset *d = NULL;
    um_ingest_report report;
    seen s;
    um_status status = read_with(&d, &report, &s, dir, name, NULL, &err);
    if (status != expected)
        fail_msg("%s: %s, expected %s: %s", name, um_status_name(status), um_status_name(expected),
                 err.text);
    assert_has(err.text, part);
    assert_null(d);
}

static void assert_two_ratings(const char *name)
{
    um_dataset *d = NULL;
    um_ingest_report report;
    seen s;
    assert_ok(read_with(&d, &report, &s, dir, name, NULL, &err), err);
    assert_string_equal(report.adapter, "ml-latest");
    assert_int_equal(d->n_interactions, 2);
    assert_counts_add_up(&report, &s);
    um_dataset_free(d);
}

static void folders_and_gzip(void **state)
{
    (void)state;
    char sub[700];
    snprintf(sub, sizeof sub, "mkdir -p '%s/ml/inner' '%s/empty'", dir, dir);
    assert_int_equal(system(sub), 0);
    snprintf(sub, sizeof sub, "%s/ml/inner", dir);
    put(sub, "movies.csv", movies);
    put_gzip(sub, "ratings.csv.gz", ratings);
    assert_two_ratings("ml"); /* one folder down, one file packed */
    assert_two_ratings("ml/inner");
    /* A second file of the same name at the same depth is ambiguous, a deeper one is not. */
    char twin[700];
    snprintf(twin, sizeof twin, "mkdir -p '%s/ml/inner/deep' '%s/ml/twin'", dir, dir);
    assert_int_equal(system(twin), 0);
    snprintf(twin, sizeof twin, "%s/ml/inner/deep", dir);
    put(twin, "movies.csv", movies);
    assert_two_ratings("ml");
    snprintf(twin, sizeof twin, "%s/ml/twin", dir);
    put(twin, "movies.csv", movies);
    assert_refused("ml", UM_ERR_INPUT, "no data set recognised");
    assert_refused("ml", UM_ERR_INPUT,
                   "; movies.csv is there more than once: give the folder of one");
    assert_refused("empty", UM_ERR_INPUT, "found no files");
    assert_refused("nowhere", UM_ERR_IO, "nowhere");
}

static void concatenated_gzip_members(void **state)
{
    (void)state;
    char path[700];
    put(dir, "movies.csv", movies);
    put_gzip(dir, "head.gz", "userId,movieId,rating,timestamp\n1,1,4.0,100\n1,2,");
    put_gzip(dir, "tail.gz", "3.5,200\n");
    snprintf(path, sizeof path, "cd '%s' && cat head.gz tail.gz > ratings.csv.gz", dir);
    assert_int_equal(system(path), 0);
    assert_two_ratings("");
}

static void damaged_gzip(void **state)
{
    (void)state;
    size_t n = 0;
    put(dir, "movies.csv", movies);
    put_gzip(dir, "ratings.csv.gz", ratings);
    char *bytes = get_bytes(dir, "ratings.csv.gz", &n);
    put_bytes(dir, "ratings.csv.gz", bytes, n - 10);
    assert_refused("", UM_ERR_INPUT, "cut short");
    bytes[n - 6] = (char)(bytes[n - 6] ^ 1); /* in the CRC */
    put_bytes(dir, "ratings.csv.gz", bytes, n);
    assert_refused("", UM_ERR_INPUT, "damaged gzip file: incorrect data check");
    put(dir, "ratings.csv.gz", ratings);
    assert_refused("", UM_ERR_INPUT, "not a gzip file");
    free(bytes);
}

static void zips(void **state)
{
    (void)state;
    const zipped good[] = {{"ml/movies.csv", movies, sizeof movies - 1},
                           {"ml/ratings.csv", ratings, sizeof ratings - 1}};
    put_zip(dir, "good.zip", good, 2, NULL);
    assert_two_ratings("good.zip");
    const zipped climbing[] = {good[0], {"../ratings.csv", ratings, sizeof ratings - 1}};
    put_zip(dir, "climbing.zip", climbing, 2, NULL);
    assert_refused("climbing.zip", UM_ERR_INPUT, "leads out of the archive");
    const zipped absolute[] = {good[0], {"/etc/ratings.csv", ratings, sizeof ratings - 1}};
    put_zip(dir, "absolute.zip", absolute, 2, NULL);
    assert_refused("absolute.zip", UM_ERR_INPUT, "leads out of the archive");
    put_zip(dir, "secret.zip", good, 2, "password");
    assert_refused("secret.zip", UM_ERR_UNSUPPORTED, "is encrypted");
    const zipped nested[] = {{"ml.zip", "PK", 2}};
    put_zip(dir, "nested.zip", nested, 1, NULL);
    assert_refused("nested.zip", UM_ERR_INPUT, "archives inside are not read");
    const zipped twice[] = {good[0], {"ml/ratings.csv.gz", "\x1f\x8b", 2}};
    put_zip(dir, "twice.zip", twice, 2, NULL);
    assert_refused("twice.zip", UM_ERR_UNSUPPORTED, "ratings.csv.gz is packed inside a zip");
    /* What macOS adds has the endings of what is looked for. */
    static const char user[] = "{\"user_id\":\"1\"}", item[] = "{\"item_id\":\"1\"}",
                      log[] = "{\"user_id\":\"1\",\"item_id\":\"1\","
                              "\"timestamp\":\"2020-01-01 00:00:00\"}";
    const zipped mac[] = {{"x_user_feature.jsonl", user, sizeof user - 1},
                          {"x_item_feature.jsonl", item, sizeof item - 1},
                          {"x_interaction.jsonl", log, sizeof log - 1},
                          {"__MACOSX/._x_interaction.jsonl", "\0\5\026\7", 4}};
    um_dataset *d = NULL;
    um_ingest_report report;
    seen s;
    put_zip(dir, "mac.zip", mac, 4, NULL);
    assert_ok(read_with(&d, &report, &s, dir, "mac.zip", NULL, &err), err);
    um_dataset_free(d);
}

static void damaged_zips(void **state)
{
    (void)state;
    size_t n = 0;
    const zipped good[] = {{"movies.csv", movies, sizeof movies - 1},
                           {"ratings.csv", ratings, sizeof ratings - 1}};
    put_zip(dir, "good.zip", good, 2, NULL);
    char *bytes = get_bytes(dir, "good.zip", &n);
    put_bytes(dir, "half.zip", bytes, n / 2);
    assert_refused("half.zip", UM_ERR_INPUT, "not a whole zip");
    /* Flip bits of packed data one byte after another: never a crash, never a wrong data set. */
    size_t refused = 0;
    for (size_t i = 0; i < n; i += 3) {
        um_dataset *d = NULL;
        um_ingest_report report;
        seen s;
        bytes[i] = (char)(bytes[i] ^ 0x10);
        put_bytes(dir, "bad.zip", bytes, n);
        bytes[i] = (char)(bytes[i] ^ 0x10);
        if (read_with(&d, &report, &s, dir, "bad.zip", NULL, &err) != UM_OK) {
            refused++;
            continue;
        }
        assert_int_equal(d->n_interactions, 2);
        assert_string_equal(um_table_cell(&d->items, 0, 0), "A");
        um_dataset_free(d);
    }
    assert_true(refused > n / 12);
    free(bytes);
}

static void bombs(void **state)
{
    (void)state;
    /* 48 MB of line ends pack about a thousandfold. */
    size_t n = (size_t)48 << 20;
    char *blank = malloc(n + 1);
    assert_non_null(blank);
    memset(blank, '\n', n);
    memcpy(blank, ratings, sizeof ratings - 1);
    blank[n] = '\0';
    const zipped bomb[] = {{"movies.csv", movies, sizeof movies - 1}, {"ratings.csv", blank, n}};
    put_zip(dir, "bomb.zip", bomb, 2, NULL);
    assert_refused("bomb.zip", UM_ERR_LIMIT, "limit: 200 times");
    put(dir, "movies.csv", movies);
    put_gzip(dir, "ratings.csv.gz", blank);
    assert_refused("", UM_ERR_LIMIT, "limit: 200 times");
    free(blank);
}

/* Lines --------------------------------------------------------------------------------------- */

static void open_lines(um_bundle **bundle, um_lines *lines)
{
    char path[700];
    snprintf(path, sizeof path, "%s/text", dir);
    assert_ok(um_bundle_open(bundle, path, &err), err);
    assert_ok(um_lines_open(lines, *bundle, &(*bundle)->entries[0], &err), err);
}

static void lines_of_every_length(void **state)
{
    (void)state;
    /* Lengths around the buffer's borders, line ends of both kinds, no final line end. */
    static const size_t lengths[] = {0, 1, 5, 1048570, 3, 1048576, 2097152, 7, 0, 4000000, 2};
    enum { N = sizeof lengths / sizeof *lengths };
    char path[700];
    snprintf(path, sizeof path, "%s/text", dir);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs("\xEF\xBB\xBF", f);
    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < lengths[i]; j++)
            fputc('a' + (int)(i % 26), f);
        if (i + 1 < N)
            fputs(i % 2 == 0 ? "\n" : "\r\n", f);
    }
    fclose(f);
    um_bundle *bundle = NULL;
    um_lines lines;
    um_line line;
    open_lines(&bundle, &lines);
    for (size_t i = 0; i < N; i++) {
        assert_ok(um_lines_next(&lines, &line, &err), err);
        assert_non_null(line.text);
        assert_int_equal(line.len, lengths[i]);
        assert_int_equal(lines.line, i + 1);
        assert_int_equal(line.is_whole, i + 1 < N);
        for (size_t j = 0; j < line.len; j++) {
            if (line.text[j] != 'a' + (int)(i % 26))
                fail_msg("line %zu byte %zu", i, j);
        }
        line.text[line.len] = '\0'; /* may be written */
    }
    assert_ok(um_lines_next(&lines, &line, &err), err);
    assert_null(line.text);
    um_lines_close(&lines);
    um_bundle_free(bundle);
}

static void overlong_lines_are_passed_over(void **state)
{
    (void)state;
    size_t n = UM_LINES_MAX_BYTES + 100;
    char *text = malloc(2 * n + 64);
    assert_non_null(text);
    memcpy(text, "first\n", 6);
    memset(text + 6, 'x', n);
    memcpy(text + 6 + n, "\nthird\n", 7);
    memset(text + 13 + n, 'y', n);
    put_bytes(dir, "text", text, 13 + 2 * n);
    um_bundle *bundle = NULL;
    um_lines lines;
    um_line line;
    open_lines(&bundle, &lines);
    static const size_t lengths[] = {5, 0, 5, 0};
    for (size_t i = 0; i < 4; i++) {
        assert_ok(um_lines_next(&lines, &line, &err), err);
        assert_int_equal(line.is_long, i % 2 == 1);
        assert_int_equal(line.len, lengths[i]);
        assert_int_equal(lines.line, i + 1);
    }
    assert_ok(um_lines_next(&lines, &line, &err), err);
    assert_null(line.text);
    um_lines_close(&lines);
    um_bundle_free(bundle);
    free(text);
}

static void extending_and_retracting(void **state)
{
    (void)state;
    put(dir, "text", "one\r\ntwo\nthree\nfour");
    um_bundle *bundle = NULL;
    um_lines lines;
    um_line line;
    bool grown = false;
    open_lines(&bundle, &lines);
    assert_ok(um_lines_next(&lines, &line, &err), err);
    assert_ok(um_lines_extend(&lines, &line, 100, &grown, &err), err);
    assert_true(grown);
    assert_int_equal(line.len, 8);
    assert_memory_equal(line.text, "one\r\ntwo", 8);
    assert_ok(um_lines_extend(&lines, &line, 10, &grown, &err), err);
    assert_false(grown); /* would be 15 bytes */
    um_lines_retract(&lines, 3);
    assert_ok(um_lines_next(&lines, &line, &err), err);
    assert_memory_equal(line.text, "two", 3);
    assert_int_equal(lines.line, 2);
    assert_ok(um_lines_extend(&lines, &line, 100, &grown, &err), err);
    assert_ok(um_lines_extend(&lines, &line, 100, &grown, &err), err);
    assert_int_equal(line.len, 14);
    assert_ok(um_lines_extend(&lines, &line, 100, &grown, &err), err);
    assert_false(grown);
    um_lines_close(&lines);
    um_bundle_free(bundle);
}

static void files_that_are_no_text(void **state)
{
    (void)state;
    put(dir, "movies.csv", movies);
    put(dir, "ratings.csv", "userId,movieId,rating,timestamp\r1,1,4.0,100\r");
    assert_refused("", UM_ERR_INPUT, "bare carriage return");
    static const char utf16[] = "\xFF\xFEu\0s\0e\0r\0\n";
    put_bytes(dir, "ratings.csv", utf16, sizeof utf16 - 1);
    assert_refused("", UM_ERR_INPUT, "NUL byte in the first line");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(folders_and_gzip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(concatenated_gzip_members, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_gzip, set_up, tear_down),
        cmocka_unit_test_setup_teardown(zips, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_zips, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bombs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_of_every_length, set_up, tear_down),
        cmocka_unit_test_setup_teardown(overlong_lines_are_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(extending_and_retracting, set_up, tear_down),
        cmocka_unit_test_setup_teardown(files_that_are_no_text, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
