/*
 * file.h - whole-file input, atomic output, paths and clocks.
 */
#ifndef UM_BASE_FILE_H
#define UM_BASE_FILE_H

#include "mirrorer/status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Reads a file of at most max_bytes; *data is NUL-terminated and yours. */
um_status um_file_read(char **data, size_t *len, const char *path, size_t max_bytes,
                       um_error *err) UM_CHECKED;

/* Read-only map of a whole file. An empty file gives data = "" and len 0. */
typedef struct um_filemap {
    const unsigned char *data;
    size_t len;
} um_filemap;
um_status um_filemap_open(um_filemap *map, const char *path, um_error *err) UM_CHECKED;
void um_filemap_close(um_filemap *map);

/*
 * A file that appears whole or not at all: written as "<path>.tmp" (so what a kill left
 * behind is overwritten by the next run; one writer a path), and um_outfile_commit
 * flushes, fsyncs, renames and fsyncs the folder. Dispose without commit removes the temporary.
 */
typedef struct um_outfile {
    FILE *stream;
    char *path;
    char *temporary;
} um_outfile;
um_status um_outfile_open(um_outfile *out, const char *path, um_error *err) UM_CHECKED;
um_status um_outfile_commit(um_outfile *out, um_error *err) UM_CHECKED;
void um_outfile_dispose(um_outfile *out);
um_status um_file_write(const char *path, const void *data, size_t len, um_error *err) UM_CHECKED;

bool um_path_exists(const char *path);
bool um_path_is_dir(const char *path);
um_status um_path_join(char **out, const char *dir, const char *name, um_error *err) UM_CHECKED;
const char *um_path_base(const char *path); /* borrowed, after the last '/' */
/* Both are durable once they return UM_OK: the folders that hold the names are synced. */
um_status um_path_make_dirs(const char *path, um_error *err) UM_CHECKED; /* like mkdir -p */
um_status um_path_rename(const char *from, const char *to, um_error *err) UM_CHECKED;
/* Removes a folder and all in it (symbolic links are removed, not followed); absent is fine. */
um_status um_path_remove_tree(const char *path, um_error *err) UM_CHECKED;
/* Names in a folder, sorted, "." and ".." left out; free each and the array. */
um_status um_path_list(char ***names, size_t *n, const char *dir, um_error *err) UM_CHECKED;

uint64_t um_clock_ms(void); /* monotonic */
uint64_t um_peak_rss_kb(void);
/* Memory of this machine, and what can be had of it without swapping out (the whole where the
 * kernel does not tell), in bytes. */
uint64_t um_memory_physical(void);
uint64_t um_memory_available(void);

/* Seconds since 1970 UTC <-> "YYYY-MM-DD HH:MM:SS". Parse is strict; false when malformed. */
bool um_time_parse(const char *text, int64_t *seconds);
bool um_time_parse_n(const char *text, size_t len, int64_t *seconds);
void um_time_format(int64_t seconds, char out[32]);

#endif
