/* test_data_ahead.c - unpacking ahead: the bytes and errors of the stream itself. */
#include "base/rng.h"
#include "base/str.h"
#include "data/ahead.h"
#include "test_data_util.h"

#define N_BYTES ((size_t)3 << 20) /* more than all buffers of the ring */

static char dir[256];
static um_error err;
static um_bundle *bundle;
static um_stream *stream;
static um_str text;

static int set_up(void **state)
{
    (void)state;
    um_rng r;
    um_rng_init(&r, 1, UM_RNG_TEST, 0, 0, 0);
    um_str_clear(&text);
    while (text.len < N_BYTES)
        um_str_append_char(&text, (char)('a' + um_rng_below(&r, 26)));
    return make_dir(dir, sizeof dir) == NULL || um_str_status(&text, &err) != UM_OK;
}

static int tear_down(void **state)
{
    (void)state;
    remove_dir(dir);
    um_str_dispose(&text);
    return 0;
}

static um_ahead *open_file(const char *name)
{
    um_ahead *a = NULL;
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(um_bundle_open(&bundle, path, &err), err);
    assert_ok(um_stream_open(&stream, bundle, &bundle->entries[0], &err), err);
    assert_ok(um_ahead_open(&a, stream, &err), err);
    return a;
}

static void close_file(um_ahead *a)
{
    um_ahead_close(a);
    um_stream_close(stream);
    um_bundle_free(bundle);
}

/* Reads in pieces of changing size until the end or an error; the bytes must be those of text. */
static um_status read_all(um_ahead *a, size_t *total)
{
    static char piece[100000];
    size_t n = 1;
    um_status status = UM_OK;
    *total = 0;
    for (size_t i = 0; status == UM_OK && n > 0; i++) {
        status = um_ahead_read(a, piece, 1 + i * 7919 % sizeof piece, &n, &err);
        if (status != UM_OK)
            return status;
        assert_true(*total + n <= text.len);
        assert_memory_equal(piece, text.data + *total, n);
        *total += n;
    }
    return status;
}

static void every_byte_once(void **state)
{
    (void)state;
    size_t total = 0, n = 1;
    char byte;
    put_gzip(dir, "a.gz", text.data);
    um_ahead *a = open_file("a.gz");
    assert_ok(read_all(a, &total), err);
    assert_int_equal(total, text.len);
    assert_ok(um_ahead_read(a, &byte, 1, &n, &err), err);
    assert_int_equal(n, 0);
    close_file(a);
}

static void damage_is_told_after_what_is_good(void **state)
{
    (void)state;
    size_t n = 0, total = 0;
    put_gzip(dir, "b.gz", text.data);
    char *bytes = get_bytes(dir, "b.gz", &n);
    put_bytes(dir, "cut.gz", bytes, n / 2);
    bytes[n - 6] ^= 1; /* of the checksum */
    put_bytes(dir, "wrong.gz", bytes, n);
    free(bytes);
    for (int i = 0; i < 2; i++) {
        um_ahead *a = open_file(i == 0 ? "cut.gz" : "wrong.gz");
        assert_int_equal(read_all(a, &total), UM_ERR_INPUT);
        assert_has(err.text, i == 0 ? "cut.gz: gzip file is cut short"
                                    : "wrong.gz: damaged gzip file: incorrect data check");
        assert_true(total > N_BYTES / 4 && total < N_BYTES);
        assert_int_equal(read_all(a, &total), UM_ERR_INPUT); /* and stays so */
        assert_int_equal(total, 0);
        close_file(a);
    }
}

static void closed_at_any_time(void **state)
{
    (void)state;
    static char piece[50000];
    put_gzip(dir, "c.gz", text.data);
    for (int reads = 0; reads < 40; reads += 3) {
        size_t n = 0;
        um_ahead *a = open_file("c.gz");
        for (int i = 0; i < reads; i++)
            assert_ok(um_ahead_read(a, piece, sizeof piece, &n, &err), err);
        close_file(a);
    }
    um_ahead_close(NULL);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_byte_once),
        TEST(damage_is_told_after_what_is_good),
        TEST(closed_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
