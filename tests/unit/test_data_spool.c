/* Texts put aside on disk. */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/spool.h"
#include "test_util.h"

#if defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* shadow memory is resident too */
#else
#define SANITIZED 0
#endif

#define HEAP_BYTES ((size_t)64 << 20) /* of the first texts */

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

/* Pages of the process that are in memory. */
static long resident_pages(void)
{
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &size, &resident), 2);
    fclose(f);
    return resident;
}

static void texts_stay_and_memory_does_not_grow(void **state)
{
    (void)state;
    enum { N = 400, BYTES = 1 << 20, N_ON_HEAP = HEAP_BYTES / BYTES };
    um_spool *spool = NULL;
    char *text = malloc(BYTES), *kept[N], *small = NULL, *none = NULL, *empty = NULL, *late = NULL;
    char **names = NULL, elsewhere[] = "elsewhere";
    size_t n_names = 1;
    assert_non_null(text);
    assert_ok(um_spool_new(&spool, dir, &err), err);
    assert_ok(um_spool_add(spool, "a\0b", 3, &small, &err), err);
    assert_ok(um_spool_add(spool, NULL, 0, &none, &err), err);
    assert_int_equal(um_spool_file_bytes(spool), 0); /* a few texts need no file */
    long before = resident_pages();
    for (int i = 0; i < N; i++) {
        memset(text, 'a' + i % 26, BYTES);
        assert_ok(um_spool_add(spool, text, (size_t)(BYTES - i), &kept[i], &err), err);
    }
    long page = sysconf(_SC_PAGESIZE);
    long grown = (resident_pages() - before) * page;
    if (!SANITIZED && grown > 160 << 20)
        fail_msg("%ld MiB in memory after %d MiB of texts", grown >> 20, N);
    assert_true(um_spool_file_bytes(spool) >= (uint64_t)(N - N_ON_HEAP) * BYTES);
    assert_ok(um_spool_add(spool, "", 0, &empty, &err), err);
    assert_ok(um_spool_add(spool, "not yet written", 15, &late, &err), err);
    assert_string_equal(um_spool_look(spool, late), "not yet written");
    assert_string_equal(um_spool_look(spool, late + 8), "written");
    assert_string_equal(um_spool_look(spool, small), "a");
    assert_int_equal(um_spool_look(spool, kept[7])[0], 'h');
    assert_int_equal(um_spool_bytes(spool), /* with a NUL each */
                     4 + 1 + (uint64_t)N * (BYTES + 1) - N * (N - 1) / 2 + 1 + 16);
    assert_ok(um_spool_flush(spool, &err), err);
    assert_ptr_equal(um_spool_look(spool, late), late);
    assert_string_equal(late, "not yet written");
    assert_memory_equal(small, "a\0b", 4);
    assert_string_equal(none, "");
    assert_string_equal(empty, "");
    for (int i = 0; i < N; i++) {
        assert_int_equal(strlen(kept[i]), BYTES - i);
        assert_int_equal(kept[i][0], 'a' + i % 26);
        assert_int_equal(kept[i][BYTES - i - 1], 'a' + i % 26);
    }
    um_spool_release(spool);
    /* All of them in one sweep, in any order: only one piece at a time comes into memory. */
    char *wanted[N + 4];
    size_t place[N + 4];
    um_str again = UM_STR_INIT;
    for (int i = 0; i < N; i++)
        wanted[i] = kept[N - 1 - i] + BYTES - N - 8;
    wanted[N] = small;
    wanted[N + 1] = NULL;
    wanted[N + 2] = elsewhere;
    wanted[N + 3] = empty;
    assert_ok(um_spool_gather(spool, wanted, N + 4, &again, place, &err), err);
    for (int i = 0; i < N; i++) {
        assert_int_equal(strlen(again.data + place[i]), 8 + 1 + i);
        assert_int_equal(again.data[place[i]], 'a' + (N - 1 - i) % 26);
    }
    assert_string_equal(again.data + place[N], "a");
    assert_true(place[N + 1] == SIZE_MAX);
    assert_string_equal(again.data + place[N + 2], "elsewhere");
    assert_string_equal(again.data + place[N + 3], "");
    um_str_dispose(&again);
    grown = (resident_pages() - before) * page;
    if (!SANITIZED && grown > 84 << 20)
        fail_msg("%ld MiB in memory after letting go", grown >> 20);
    /* The file has no name, so that nothing is left behind by a kill. */
    assert_ok(um_path_list(&names, &n_names, dir, &err), err);
    assert_int_equal(n_names, 0);
    free(names);
    um_spool_free(spool);
    free(text);
}

static void the_file_begins_where_the_heap_is_full(void **state)
{
    (void)state;
    um_spool *spool = NULL;
    char *text = calloc(1, HEAP_BYTES), *kept = NULL, *after = NULL;
    assert_non_null(text);
    memset(text, 'z', HEAP_BYTES - 1);
    for (size_t spare = 0; spare < 2; spare++) { /* bytes that are left */
        assert_ok(um_spool_new(&spool, dir, &err), err);
        assert_ok(um_spool_add(spool, text, HEAP_BYTES - 1 - spare, &kept, &err), err);
        assert_int_equal(um_spool_file_bytes(spool), 0);
        assert_ok(um_spool_add(spool, "", 0, &after, &err), err);
        assert_true((um_spool_file_bytes(spool) == 0) == (spare == 1));
        assert_ok(um_spool_add(spool, "later", 5, &after, &err), err);
        assert_true(um_spool_file_bytes(spool) > 0);
        assert_string_equal(um_spool_look(spool, after), "later");
        assert_ok(um_spool_flush(spool, &err), err);
        assert_string_equal(after, "later");
        assert_int_equal(strlen(kept), HEAP_BYTES - 1 - spare);
        um_spool_free(spool);
    }
    free(text);
}

static void a_text_longer_than_a_piece(void **state)
{
    (void)state;
    const size_t bytes = ((size_t)65 << 20) + 5;
    um_spool *spool = NULL;
    char *text = calloc(1, bytes), *kept = NULL, *after = NULL;
    assert_non_null(text);
    memset(text, 'z', bytes);
    assert_ok(um_spool_new(&spool, dir, &err), err);
    assert_ok(um_spool_add(spool, text, bytes, &kept, &err), err);
    assert_ok(um_spool_add(spool, "after", 5, &after, &err), err);
    assert_ok(um_spool_flush(spool, &err), err);
    assert_memory_equal(kept, text, bytes);
    assert_int_equal(kept[bytes], '\0');
    assert_string_equal(after, "after");
    um_spool_free(spool);
    um_spool_free(NULL);
    free(text);
}

enum { N_WRITERS = 2, N_WRITTEN = 3000 };

typedef struct written {
    um_spool_writer writer;
    char *kept[N_WRITTEN];
    um_status status;
    um_error err;
    unsigned number;
} written;

/* A text of its own for each number, now and then longer than what a writer takes at a time. */
static size_t filling(unsigned i)
{
    return 20 + i % 700 * 40 + (i % 97 == 0 ? 400000 : 0);
}

static size_t make_text(char *to, unsigned writer, unsigned i)
{
    const size_t n = filling(i);
    memset(to, (int)('a' + (i + writer) % 26), n);
    return n + (size_t)sprintf(to + n, " %u %u", writer, i) + 1;
}

static void *write_texts(void *context)
{
    written *w = context;
    for (unsigned i = 0; i < N_WRITTEN && w->status == UM_OK; i++) {
        char *place = NULL;
        w->status = um_spool_room(&w->writer, filling(i) + 40, &place, &w->err);
        if (w->status == UM_OK)
            w->kept[i] = um_spool_keep(&w->writer, make_text(place, w->number, i));
    }
    return NULL;
}

/* Writers on two threads and texts that are added meanwhile: all are there afterwards. */
static void writers_do_not_disturb_each_other(void **state)
{
    (void)state;
    um_spool *spool = NULL;
    written *w = um_calloc(N_WRITERS, sizeof *w);
    char *expected = malloc(500000), *added[N_WRITTEN];
    pthread_t threads[N_WRITERS];
    um_spool_writer unused = {0};
    assert_true(w != NULL && expected != NULL);
    assert_ok(um_spool_new(&spool, dir, &err), err);
    for (unsigned k = 0; k < N_WRITERS; k++) {
        w[k].number = k;
        w[k].writer.spool = spool;
        assert_int_equal(pthread_create(&threads[k], NULL, write_texts, &w[k]), 0);
    }
    for (unsigned i = 0; i < N_WRITTEN; i++) {
        size_t n = make_text(expected, N_WRITERS, i);
        assert_ok(um_spool_add(spool, expected, n - 1, &added[i], &err), err);
    }
    for (unsigned k = 0; k < N_WRITERS; k++) {
        pthread_join(threads[k], NULL);
        assert_ok(w[k].status, w[k].err);
        assert_ok(um_spool_close(&w[k].writer, &err), err);
        assert_ok(um_spool_close(&w[k].writer, &err), err);
    }
    assert_ok(um_spool_close(&unused, &err), err);
    assert_ok(um_spool_flush(spool, &err), err);
    assert_true(um_spool_file_bytes(spool) > 0);
    for (unsigned k = 0; k <= N_WRITERS; k++) {
        for (unsigned i = 0; i < N_WRITTEN; i++) {
            make_text(expected, k, i);
            assert_string_equal(k < N_WRITERS ? w[k].kept[i] : added[i], expected);
        }
    }
    um_spool_free(spool);
    free(expected);
    free(w);
}

static void a_full_disk_is_an_error(void **state)
{
    (void)state;
    /* A limit of file sizes stands for the full disk; in a child, as it cannot be raised again. */
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        const struct rlimit limit = {100 << 20, 100 << 20};
        um_spool *spool = NULL;
        char *text = calloc(1, 1 << 20), *kept = NULL;
        um_status status = UM_OK;
        signal(SIGXFSZ, SIG_IGN);
        if (text == NULL || setrlimit(RLIMIT_FSIZE, &limit) != 0 ||
            um_spool_new(&spool, dir, &err) != UM_OK)
            _exit(1);
        memset(text, 'a', 1 << 20);
        for (int i = 0; i < 200 && status == UM_OK; i++)
            status = um_spool_add(spool, text, 1 << 20, &kept, &err);
        if (status != UM_ERR_IO || strstr(err.text, "disk is full") == NULL || kept[9] != 'a')
            _exit(2);
        um_spool_free(spool);
        free(text);
        _exit(0);
    }
    int result = 0;
    waitpid(child, &result, 0);
    assert_int_equal(result, 0);
}

static void a_folder_that_is_not_there(void **state)
{
    (void)state;
    um_spool *spool = NULL;
    const size_t bytes = HEAP_BYTES + 1;
    char path[300], *kept = NULL, *text = calloc(1, bytes);
    assert_non_null(text);
    snprintf(path, sizeof path, "%s/absent", dir);
    assert_ok(um_spool_new(&spool, path, &err), err);
    assert_int_equal(um_spool_add(spool, text, bytes, &kept, &err), UM_ERR_IO);
    assert_non_null(strstr(err.text, "absent"));
    um_spool_free(spool);
    assert_ok(um_spool_new(&spool, NULL, &err), err);
    assert_ok(um_spool_add(spool, text, bytes, &kept, &err), err);
    um_spool_free(spool);
    free(text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(texts_stay_and_memory_does_not_grow),
        TEST(the_file_begins_where_the_heap_is_full),
        TEST(a_text_longer_than_a_piece),
        TEST(writers_do_not_disturb_each_other),
        TEST(a_full_disk_is_an_error),
        TEST(a_folder_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
