/* stream.c - bytes of one bundle entry: a plain file, a gzip file, or an entry of a zip. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/bundle.h"

#define ARCHIVE_BLOCK ((size_t)1 << 16)
#define GZIP_BUFFER   ((unsigned)1 << 18)

struct um_stream {
    char *name;              /* for messages */
    int fd;                  /* plain file, or -1 */
    gzFile gzip;             /* or NULL */
    struct archive *archive; /* or NULL */
    uint64_t packed_bytes;
    uint64_t *unpacked_bytes; /* counts towards the limits */
    uint64_t own_unpacked_bytes;
    uint64_t stated_bytes; /* length in the zip's table of contents */
    uint64_t entry_bytes;  /* given out of it so far */
};

static um_status open_zip_entry(um_stream *s, const um_bundle *bundle, const um_entry *entry,
                                um_error *err)
{
    if (entry->is_encrypted)
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: %s is encrypted; unpack it with its password first", bundle->path,
                       entry->name);
    if (um_str_ends(entry->name, ".gz"))
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: %s is packed inside a zip; unpack the zip first", bundle->path,
                       entry->name);
    s->archive = archive_read_new();
    if (s->archive == NULL)
        return um_fail_memory(err, "an archive");
    archive_read_support_format_zip_seekable(s->archive);
    struct archive_entry *found = NULL;
    int rc = archive_read_open_filename(s->archive, bundle->path, ARCHIVE_BLOCK);
    for (size_t i = 0; i <= entry->index && rc >= ARCHIVE_WARN; i++)
        rc = archive_read_next_header(s->archive, &found);
    if (rc < ARCHIVE_WARN || rc == ARCHIVE_EOF)
        return um_fail(err, UM_ERR_INPUT, "%s: %s: damaged zip: %s", bundle->path, entry->name,
                       rc == ARCHIVE_EOF ? "entry is gone" : archive_error_string(s->archive));
    s->stated_bytes =
        archive_entry_size_is_set(found) ? (uint64_t)archive_entry_size(found) : UINT64_MAX;
    return UM_OK;
}

/* Takes over fd, which stands at byte 0. */
static um_status open_gzip(um_stream *s, int fd, const char *path, um_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        um_status status = um_fail_errno(err, "examine", path);
        close(fd);
        return status;
    }
    s->packed_bytes = (uint64_t)info.st_size;
    s->gzip = gzdopen(fd, "rb");
    if (s->gzip == NULL) {
        close(fd);
        return um_fail_memory(err, "a gzip reader");
    }
    gzbuffer(s->gzip, GZIP_BUFFER);
    return UM_OK;
}

static um_status open_file(um_stream *s, const um_bundle *bundle, const um_entry *entry,
                           um_error *err)
{
    char *path = NULL;
    um_status status = UM_OK;
    if (bundle->kind == UM_BUNDLE_FOLDER)
        status = um_path_join(&path, bundle->path, entry->name, err);
    else if ((path = um_strdup(bundle->path)) == NULL)
        status = um_fail_memory(err, "a path");
    if (status != UM_OK)
        return status;
    unsigned char magic[2] = {0, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || pread(fd, magic, sizeof magic, 0) < 0) {
        status = um_fail_errno(err, fd < 0 ? "open" : "read", path);
        if (fd >= 0)
            close(fd);
    } else if (magic[0] == 0x1f && magic[1] == 0x8b) {
        status = open_gzip(s, fd, path, err);
    } else if (um_str_ends(path, ".gz")) {
        status = um_fail(err, UM_ERR_INPUT, "%s: not a gzip file, though named .gz", path);
        close(fd);
    } else {
        s->fd = fd;
        posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    }
    free(path);
    return status;
}

um_status um_stream_open(um_stream **out, um_bundle *bundle, const um_entry *entry, um_error *err)
{
    um_stream *s = um_calloc(1, sizeof *s);
    if (s == NULL || (s->name = um_strdup(entry->name)) == NULL) {
        free(s);
        return um_fail_memory(err, "a file reader");
    }
    s->fd = -1;
    s->packed_bytes = bundle->packed_bytes;
    /* All entries of a zip draw on one allowance: overlapping entries cannot multiply it. */
    s->unpacked_bytes =
        bundle->kind == UM_BUNDLE_ZIP ? &bundle->unpacked_bytes : &s->own_unpacked_bytes;
    um_status status = bundle->kind == UM_BUNDLE_ZIP ? open_zip_entry(s, bundle, entry, err)
                                                     : open_file(s, bundle, entry, err);
    if (status == UM_OK)
        *out = s;
    else
        um_stream_close(s);
    return status;
}

void um_stream_close(um_stream *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        close(s->fd);
    if (s->gzip != NULL)
        gzclose_r(s->gzip);
    if (s->archive != NULL)
        archive_read_free(s->archive);
    free(s->name);
    free(s);
}

bool um_stream_is_packed(const um_stream *s)
{
    return s->fd < 0;
}

static um_status check_growth(const um_stream *s, um_error *err)
{
    uint64_t limit = s->packed_bytes > UM_BUNDLE_MAX_BYTES / UM_BUNDLE_MAX_RATIO
                         ? UM_BUNDLE_MAX_BYTES
                         : s->packed_bytes * UM_BUNDLE_MAX_RATIO;
    if (limit < UM_BUNDLE_FREE_BYTES)
        limit = UM_BUNDLE_FREE_BYTES;
    if (*s->unpacked_bytes <= limit)
        return UM_OK;
    return um_fail(err, UM_ERR_LIMIT,
                   "%s: unpacks to more than %llu bytes from %llu packed ones (limit: %d times, or "
                   "%llu bytes); if it is genuine, unpack it first",
                   s->name, (unsigned long long)limit, (unsigned long long)s->packed_bytes,
                   UM_BUNDLE_MAX_RATIO, (unsigned long long)UM_BUNDLE_FREE_BYTES);
}

static um_status read_zip(um_stream *s, void *bytes, size_t size, size_t *n, um_error *err)
{
    la_ssize_t got = archive_read_data(s->archive, bytes, size);
    if (got < 0) {
        const char *reason = archive_error_string(s->archive);
        return um_fail(err, UM_ERR_INPUT, "%s: damaged zip entry: %s; fetch it again", s->name,
                       reason != NULL ? reason : "cut short");
    }
    s->entry_bytes += (uint64_t)got;
    if (got == 0 && s->stated_bytes != UINT64_MAX && s->entry_bytes != s->stated_bytes)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: damaged zip entry: %llu bytes, its header says %llu; fetch it again",
                       s->name, (unsigned long long)s->entry_bytes,
                       (unsigned long long)s->stated_bytes);
    *n = (size_t)got;
    return UM_OK;
}

static um_status read_gzip(um_stream *s, void *bytes, size_t size, size_t *n, um_error *err)
{
    int got = gzread(s->gzip, bytes, size > GZIP_BUFFER ? GZIP_BUFFER : (unsigned)size);
    int code = Z_OK;
    const char *reason = gzerror(s->gzip, &code);
    if (code == Z_ERRNO)
        return um_fail_errno(err, "read", s->name);
    if (code == Z_MEM_ERROR)
        return um_fail_memory(err, "a gzip reader");
    if (code == Z_BUF_ERROR)
        return um_fail(err, UM_ERR_INPUT, "%s: gzip file is cut short; fetch it again", s->name);
    if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
        /* zlib writes "<fd:3>: " before its reason. */
        const char *after = strstr(reason, ">: ");
        return um_fail(err, UM_ERR_INPUT, "%s: damaged gzip file: %s; fetch it again", s->name,
                       after != NULL ? after + 3 : reason);
    }
    *n = (size_t)got;
    return UM_OK;
}

static um_status read_plain(um_stream *s, void *bytes, size_t size, size_t *n, um_error *err)
{
    ssize_t got = 0;
    do {
        got = read(s->fd, bytes, size);
    } while (got < 0 && errno == EINTR);
    if (got < 0)
        return um_fail_errno(err, "read", s->name);
    *n = (size_t)got;
    return UM_OK;
}

um_status um_stream_read(um_stream *s, void *bytes, size_t size, size_t *n, um_error *err)
{
    *n = 0;
    if (s->fd >= 0)
        return read_plain(s, bytes, size, n, err);
    um_status status =
        s->gzip != NULL ? read_gzip(s, bytes, size, n, err) : read_zip(s, bytes, size, n, err);
    if (status != UM_OK)
        return status;
    *s->unpacked_bytes += *n;
    return check_growth(s, err);
}
