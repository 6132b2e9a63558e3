/* test_base_file.c - whole files in, atomic files out, folders, calendar. */
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "test_util.h"

static char dir[256], path[400];

/* Real paths of what was synced, in order: fsync() of the C library is replaced below. */
static char synced[16][PATH_MAX];
static int n_synced;

int fsync(int fd)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    if (n_synced < 16) {
        ssize_t len = readlink(link, synced[n_synced], PATH_MAX - 1);
        synced[n_synced++][len > 0 ? len : 0] = '\0';
    }
    return (int)syscall(SYS_fsync, fd);
}

static void assert_synced(int at, const char *expected)
{
    char real[PATH_MAX];
    assert_true(at < n_synced);
    assert_non_null(realpath(expected, real));
    assert_string_equal(synced[at], real);
}

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

static const char *in_dir(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void free_names(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

static void test_read(void **state)
{
    (void)state;
    um_error err;
    char *data = NULL;
    size_t len = 0;
    char big[200000];
    memset(big, 'x', sizeof big);
    assert_ok(um_file_write(in_dir("big"), big, sizeof big, &err), err);
    assert_ok(um_file_read(&data, &len, path, sizeof big, &err), err);
    assert_int_equal(len, sizeof big);
    assert_int_equal(data[len], '\0');
    assert_memory_equal(data, big, len);
    free(data);
    data = NULL;
    assert_int_equal(um_file_read(&data, &len, path, sizeof big - 1, &err), UM_ERR_LIMIT);
    assert_non_null(strstr(err.text, "199999"));
    assert_int_equal(um_file_read(&data, &len, in_dir("none"), 10, &err), UM_ERR_NOT_FOUND);
    assert_int_equal(um_file_read(&data, &len, dir, 10, &err), UM_ERR_INPUT);
    assert_null(data);
    assert_ok(um_file_write(in_dir("empty"), NULL, 0, &err), err);
    assert_ok(um_file_read(&data, &len, path, 0, &err), err);
    assert_int_equal(len, 0);
    assert_string_equal(data, "");
    free(data);
    data = NULL;
    /* Size 0 by stat, yet with content and without end: the limit still holds. */
    assert_int_equal(um_file_read(&data, &len, "/dev/zero", 300000, &err), UM_ERR_LIMIT);
    assert_null(data);
    for (size_t max = 19; max <= 20; max++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(write(ends[1], "12345678901234567890", 20), 20);
        close(ends[1]);
        snprintf(path, sizeof path, "/dev/fd/%d", ends[0]);
        assert_int_equal(um_file_read(&data, &len, path, max, &err),
                         max < 20 ? UM_ERR_LIMIT : UM_OK);
        close(ends[0]);
    }
    assert_int_equal(len, 20);
    free(data);
}

static void test_map(void **state)
{
    (void)state;
    um_error err;
    um_filemap map = {0};
    assert_ok(um_file_write(in_dir("m"), "hello", 5, &err), err);
    assert_ok(um_filemap_open(&map, path, &err), err);
    assert_int_equal(map.len, 5);
    assert_memory_equal(map.data, "hello", 5);
    um_filemap_close(&map);
    um_filemap_close(&map);
    assert_ok(um_file_write(in_dir("e"), "", 0, &err), err);
    assert_ok(um_filemap_open(&map, path, &err), err);
    assert_int_equal(map.len, 0);
    assert_non_null(map.data);
    um_filemap_close(&map);
    assert_int_equal(um_filemap_open(&map, in_dir("none"), &err), UM_ERR_NOT_FOUND);
    assert_int_equal(um_filemap_open(&map, "/dev/null", &err), UM_ERR_INPUT);
}

static void test_outfile(void **state)
{
    (void)state;
    um_error err;
    um_outfile out;
    char **names = NULL;
    size_t n = 0;
    assert_ok(um_file_write(in_dir("f"), "old", 3, &err), err);
    assert_ok(um_outfile_open(&out, path, &err), err);
    fputs("new text", out.stream);
    fflush(out.stream);
    char *data = NULL;
    size_t len;
    assert_ok(um_file_read(&data, &len, path, 100, &err), err);
    assert_string_equal(data, "old"); /* invisible until committed */
    free(data);
    um_outfile_dispose(&out);
    assert_ok(um_path_list(&names, &n, dir, &err), err);
    assert_int_equal(n, 1); /* no temporary is left */
    free_names(names, n);
    assert_ok(um_outfile_open(&out, path, &err), err);
    fputs("new text", out.stream);
    assert_ok(um_outfile_commit(&out, &err), err);
    um_outfile_dispose(&out);
    assert_ok(um_file_read(&data, &len, path, 100, &err), err);
    assert_string_equal(data, "new text");
    free(data);
    assert_int_equal(um_outfile_open(&out, in_dir("no/such/folder"), &err), UM_ERR_IO);
    um_outfile_dispose(&out);
    /* A full disk is an error, leaves nothing and keeps the old file. */
    assert_ok(um_outfile_open(&out, in_dir("f"), &err), err);
    int full = open("/dev/full", O_WRONLY);
    assert_true(dup2(full, fileno(out.stream)) >= 0);
    close(full);
    fputs("lost", out.stream);
    assert_int_equal(um_outfile_commit(&out, &err), UM_ERR_IO);
    assert_non_null(strstr(err.text, "disk is full"));
    assert_ok(um_path_list(&names, &n, dir, &err), err);
    assert_int_equal(n, 1);
    free_names(names, n);
    assert_ok(um_file_read(&data, &len, path, 100, &err), err);
    assert_string_equal(data, "new text");
    free(data);
}

static void test_paths(void **state)
{
    (void)state;
    um_error err;
    char *joined = NULL;
    assert_ok(um_path_join(&joined, "a", "b", &err), err);
    assert_string_equal(joined, "a/b");
    free(joined);
    assert_ok(um_path_join(&joined, "a/", "b", &err), err);
    assert_string_equal(joined, "a/b");
    free(joined);
    assert_ok(um_path_join(&joined, "", "b", &err), err);
    assert_string_equal(joined, "b");
    free(joined);
    assert_string_equal(um_path_base("a/b/c"), "c");
    assert_string_equal(um_path_base("c"), "c");
    assert_string_equal(um_path_base("a/"), "");

    assert_ok(um_path_make_dirs(in_dir("x/y//z/"), &err), err);
    assert_true(um_path_is_dir(path));
    assert_ok(um_path_make_dirs(path, &err), err);
    assert_ok(um_file_write(in_dir("file"), "1", 1, &err), err);
    assert_true(um_path_exists(path));
    assert_false(um_path_is_dir(path));
    assert_int_equal(um_path_make_dirs(in_dir("file/sub"), &err), UM_ERR_IO);
    assert_int_equal(um_path_make_dirs(in_dir("file"), &err), UM_ERR_IO);
    assert_false(um_path_exists(in_dir("none")));

    char **names = NULL;
    size_t n = 0;
    assert_ok(um_file_write(in_dir("B"), "1", 1, &err), err);
    assert_ok(um_path_list(&names, &n, dir, &err), err);
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "B");
    assert_string_equal(names[1], "file");
    assert_string_equal(names[2], "x");
    free_names(names, n);
    assert_ok(um_path_list(&names, &n, in_dir("x/y/z"), &err), err);
    assert_int_equal(n, 0);
    free_names(names, n);
    assert_int_equal(um_path_list(&names, &n, in_dir("none"), &err), UM_ERR_IO);
}

/* A power cut must not take back a folder that was made or a name that was moved. */
static void test_names_are_synced(void **state)
{
    (void)state;
    um_error err;
    char from[400], to[400], old[PATH_MAX];
    n_synced = 0;
    assert_ok(um_path_make_dirs(in_dir("p/q//r/"), &err), err);
    assert_int_equal(n_synced, 3);
    assert_synced(0, dir);
    assert_synced(1, in_dir("p"));
    assert_synced(2, in_dir("p/q"));
    n_synced = 0;
    assert_ok(um_path_make_dirs(in_dir("p/q/r"), &err), err);
    assert_int_equal(n_synced, 0); /* nothing was made */

    snprintf(from, sizeof from, "%s/p/q/r/", dir);
    snprintf(to, sizeof to, "%s/moved/", dir);
    assert_ok(um_path_rename(from, to, &err), err);
    assert_int_equal(n_synced, 2);
    assert_synced(0, dir);
    assert_synced(1, in_dir("p/q"));
    assert_true(um_path_is_dir(to));
    assert_int_equal(um_path_rename(from, to, &err), UM_ERR_IO);

    assert_non_null(getcwd(old, sizeof old));
    assert_int_equal(chdir(dir), 0);
    n_synced = 0;
    assert_ok(um_path_make_dirs("here", &err), err);
    assert_synced(0, ".");
    assert_int_equal(chdir(old), 0);
}

/* Expected seconds are those of Python's datetime. */
static void test_time(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } rows[] = {
        {"1970-01-01 00:00:00", 0},
        {"2000-02-29 12:34:56", 951827696},
        {"1999-12-31 23:59:59", 946684799},
        {"2024-02-29 00:00:01", 1709164801},
        {"1900-03-01 00:00:00", -2203891200},
        {"9999-12-31 23:59:59", 253402300799},
        {"0001-01-01 00:00:00", -62135596800},
    };
    char text[32];
    int64_t seconds;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_true(um_time_parse(rows[i].text, &seconds));
        assert_true(seconds == rows[i].seconds);
        um_time_format(seconds, text);
        assert_string_equal(text, rows[i].text);
    }
    static const char *const bad[] = {
        "",
        "2023-02-29 00:00:00",
        "1900-02-29 00:00:00",
        "2023-04-31 00:00:00",
        "2023-04-00 00:00:00",
        "2024-02-30 00:00:00",
        "2024-12-32 00:00:00",
        "2023-13-01 00:00:00",
        "2023-00-01 00:00:00",
        "2023-01-01 24:00:00",
        "2023-01-01 00:60:00",
        "2023-01-01 00:00:60",
        "2023-01-01T00:00:00",
        "2023-01-01 00:00:00Z",
        "2023-1-01 00:00:000",
        "2023-01-01",
        "+023-01-01 00:00:00",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(um_time_parse(bad[i], &seconds));
    /* Every day that has a four-digit year. */
    for (int64_t day = -719528; day < 2932897; day++) {
        um_time_format(day * 86400 + 86399, text);
        assert_true(um_time_parse(text, &seconds));
        assert_true(seconds == day * 86400 + 86399);
    }
    /* Every byte at every place. */
    static const char date[] = "2022-11-11 11:11:11", most[] = "9999-12-29 29:59:59";
    for (size_t at = 0; at + 1 < sizeof date; at++) {
        for (int byte = 1; byte < 256; byte++) {
            const bool is_good = date[at] >= '0' && date[at] <= '9'
                                     ? byte >= '0' && byte <= most[at]
                                     : byte == date[at];
            memcpy(text, date, sizeof date);
            text[at] = (char)byte;
            if (um_time_parse(text, &seconds) != is_good)
                fail_msg("%s: %d", text, is_good);
        }
    }
    um_time_format(INT64_MIN, text);
    um_time_format(INT64_MAX, text);
    assert_string_equal(text, "292277026596-12-04 15:30:07");
}

static void test_clocks(void **state)
{
    (void)state;
    uint64_t before = um_clock_ms();
    struct timespec nap = {.tv_nsec = 5000000};
    nanosleep(&nap, NULL);
    uint64_t after = um_clock_ms();
    assert_true(after >= before + 4 && after < before + 60000);
    uint64_t peak = um_peak_rss_kb();
    size_t bytes = (size_t)64 << 20;
    volatile char *block = malloc(bytes);
    for (size_t i = 0; i < bytes; i += 4096)
        block[i] = 1;
    assert_true(um_peak_rss_kb() >= peak + 30000);
    free((void *)(uintptr_t)block);

    uint64_t physical = um_memory_physical(), available = um_memory_available();
    assert_true(physical >= (uint64_t)1 << 26 && physical < (uint64_t)1 << 60);
    assert_true(available > 0 && available < physical); /* the kernel itself has some */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_map, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outfile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_paths, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_names_are_synced, set_up, tear_down),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
