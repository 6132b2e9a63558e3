/* test_data_util.h - fixtures for the readers: small files, archives, and what was rejected. */
#ifndef UM_TEST_DATA_UTIL_H
#define UM_TEST_DATA_UTIL_H

#include <archive.h>
#include <archive_entry.h>
#include <stdbool.h>
#include <zlib.h>

#include "mirrorer/dataset.h"
#include "test_util.h"

#define MAX_SEEN 64

/* Rejections of one reading, as "file:line: reason". */
typedef struct seen {
    size_t n;
    char text[MAX_SEEN][300];
} seen;

static inline void see(void *context, const um_rejection *rejection)
{
    seen *s = context;
    if (s->n < MAX_SEEN)
        snprintf(s->text[s->n], sizeof s->text[0], "%s:%llu: %s", rejection->file,
                 (unsigned long long)rejection->line, rejection->reason);
    s->n++;
}

static inline void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("'%s' does not hold '%s'", text, part);
}

static inline void put_bytes(const char *dir, const char *name, const void *bytes, size_t n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void put(const char *dir, const char *name, const char *text)
{
    put_bytes(dir, name, text, strlen(text));
}

static inline char *get_bytes(const char *dir, const char *name, size_t *n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        fail_msg("cannot open %s", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *bytes = malloc(*n + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, f), *n);
    bytes[*n] = '\0';
    fclose(f);
    return bytes;
}

static inline void assert_same_file(const char *dir_a, const char *dir_b, const char *name)
{
    size_t n_a = 0, n_b = 0;
    char *a = get_bytes(dir_a, name, &n_a), *b = get_bytes(dir_b, name, &n_b);
    if (n_a != n_b || memcmp(a, b, n_a) != 0)
        fail_msg("%s differs: %zu and %zu bytes", name, n_a, n_b);
    free(a);
    free(b);
}

static inline void put_gzip(const char *dir, const char *name, const char *text)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    gzFile f = gzopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, text, (unsigned)strlen(text)), strlen(text));
    assert_int_equal(gzclose(f), Z_OK);
}

typedef struct zipped {
    const char *name;
    const void *bytes;
    size_t n;
} zipped;

static inline void put_zip(const char *dir, const char *name, const zipped *files, size_t n,
                           const char *password)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    struct archive *a = archive_write_new();
    assert_int_equal(archive_write_set_format_zip(a), ARCHIVE_OK);
    if (password != NULL) {
        assert_int_equal(archive_write_set_options(a, "zip:encryption=zipcrypt"), ARCHIVE_OK);
        assert_int_equal(archive_write_set_passphrase(a, password), ARCHIVE_OK);
    }
    assert_int_equal(archive_write_open_filename(a, path), ARCHIVE_OK);
    for (size_t i = 0; i < n; i++) {
        struct archive_entry *e = archive_entry_new();
        archive_entry_set_pathname(e, files[i].name);
        archive_entry_set_filetype(e, AE_IFREG);
        archive_entry_set_perm(e, 0644);
        archive_entry_set_size(e, (la_int64_t)files[i].n);
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        assert_int_equal(archive_write_data(a, files[i].bytes, files[i].n), files[i].n);
        archive_entry_free(e);
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
}

/* Reads dir/name (name "" = the folder) putting up with any number of bad rows. */
static inline um_status read_with(um_dataset **d, um_ingest_report *report, seen *s,
                                  const char *dir, const char *name, const char *adapter,
                                  um_error *err)
{
    char path[4096];
    um_ingest_options options = {
        .adapter = adapter, .max_bad = -1, .on_rejection = see, .context = s};
    snprintf(path, sizeof path, "%s%s%s", dir, name[0] != '\0' ? "/" : "", name);
    s->n = 0;
    *d = NULL;
    return um_dataset_read(d, report, path, &options, NULL, err);
}

/* Every file and the whole: read = kept + rejected, and as many rejections were reported. */
static inline void assert_counts_add_up(const um_ingest_report *r, const seen *s)
{
    uint64_t rows_read = 0, kept = 0, rejected = 0;
    for (size_t i = 0; i < r->n_files; i++) {
        const um_ingest_file *f = &r->files[i];
        assert_int_equal(f->rows_read, f->rows_kept + f->rows_rejected);
        rows_read += f->rows_read;
        kept += f->rows_kept;
        rejected += f->rows_rejected;
    }
    assert_int_equal(r->rows_read, rows_read);
    assert_int_equal(r->rows_kept, kept);
    assert_int_equal(r->rows_rejected, rejected);
    assert_int_equal(r->rows_rejected, s->n);
}

static inline const char *item_text(const um_dataset *d, const char *id, const char *column)
{
    for (uint32_t i = 0; i < d->items.n_rows; i++) {
        if (strcmp(d->items.ids[i], id) == 0)
            return um_table_cell(&d->items, i, um_table_column(&d->items, column));
    }
    fail_msg("no item %s", id);
    return NULL;
}

static inline const char *user_text(const um_dataset *d, const char *id, const char *column)
{
    for (uint32_t i = 0; i < d->users.n_rows; i++) {
        if (strcmp(d->users.ids[i], id) == 0)
            return um_table_cell(&d->users, i, um_table_column(&d->users, column));
    }
    fail_msg("no user %s", id);
    return NULL;
}

#endif
