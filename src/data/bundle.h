/*
 * bundle.h - where raw files come from: a folder, a zip, or one plain or gzip file.
 *
 * Nothing is ever unpacked to disk: entry names are only compared and shown. A zip whose names
 * leave it, a damaged archive and one that grows out of proportion are refused. Not thread-safe.
 */
#ifndef UM_DATA_BUNDLE_H
#define UM_DATA_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "mirrorer/status.h"

#define UM_BUNDLE_MAX_ENTRIES 10000
/* Unpacked bytes of one compressed file: at most RATIO times its size (FREE bytes are always fine),
 * and never more than BYTES. Text packs about tenfold; deflate can reach 1,032. */
#define UM_BUNDLE_MAX_RATIO  200
#define UM_BUNDLE_FREE_BYTES ((uint64_t)32 << 20)
#define UM_BUNDLE_MAX_BYTES  ((uint64_t)256 << 30)

typedef enum um_bundle_kind { UM_BUNDLE_FOLDER, UM_BUNDLE_ZIP, UM_BUNDLE_FILE } um_bundle_kind;

typedef struct um_entry {
    char *name; /* path inside the bundle, '/' between parts */
    bool is_encrypted;
    size_t index; /* place in the archive */
} um_entry;

typedef struct um_bundle {
    um_bundle_kind kind;
    char *path;
    um_entry
        *entries; /* regular files but "._*", sorted; folders are looked into two levels deep */
    size_t n_entries;
    uint64_t packed_bytes;   /* size of the zip */
    uint64_t unpacked_bytes; /* read from the zip so far */
} um_bundle;

um_status um_bundle_open(um_bundle **out, const char *path, um_error *err) UM_CHECKED;
void um_bundle_free(um_bundle *bundle);
/* The file called `name`, or `name`.gz, in whatever folder; NULL when there is none or more than
 * one at the least depth. */
const um_entry *um_bundle_find(const um_bundle *bundle, const char *name);
/* Appends what was found, at most a dozen names. */
void um_bundle_describe(const um_bundle *bundle, um_str *text);

/* A file being read as bytes. */
typedef struct um_stream um_stream;
um_status um_stream_open(um_stream **out, um_bundle *bundle, const um_entry *entry,
                         um_error *err) UM_CHECKED;
void um_stream_close(um_stream *stream);
bool um_stream_is_packed(const um_stream *stream);
/* Up to `size` bytes; *n = 0 at the end, and only once length and checksum were found right. */
um_status um_stream_read(um_stream *stream, void *bytes, size_t size, size_t *n,
                         um_error *err) UM_CHECKED;

#endif
