/*
 * spool.h - texts kept on disk: an append-only store in an unlinked temporary file, mapped into
 * memory piece by piece for reading. The first 64 MiB stay on the heap, so that most logs need no
 * file.
 *
 * Every text has its address as soon as it is added, and keeps it until the spool is freed. It is
 * written some hundred kilobytes later: what is added can be looked at there after um_spool_flush,
 * and before that with um_spool_look. The kernel reads it back when somebody looks; memory in use
 * is the heap's part and what is not yet written. One thread adds, others may write through writers
 * of their own at the same time; any number may read what was flushed before.
 */
#ifndef UM_DATA_SPOOL_H
#define UM_DATA_SPOOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "mirrorer/status.h"

typedef struct um_spool um_spool;

/* dir: where the file is to be, made when it is first needed; NULL = $TMPDIR, or the system's
 * folder for large temporary files. */
um_status um_spool_new(um_spool **out, const char *dir, um_error *err) UM_CHECKED;
void um_spool_free(um_spool *spool);
/* Copies text[0..len) and a NUL after it. UM_ERR_IO when the disk is full. */
um_status um_spool_add(um_spool *spool, const char *text, size_t len, char **out,
                       um_error *err) UM_CHECKED;
/*
 * A part of the spool that one thread fills: texts are made where they stay, or where they are
 * written from. {.spool = s} at first; close it, in any case, before the spool is flushed.
 */
typedef struct um_spool_writer {
    um_spool *spool;
    char *place;   /* memory for the next text */
    size_t left;   /* bytes of it */
    char *address; /* where they will be found */
    char *stage;   /* memory for what is written to the file; NULL: not needed yet */
    size_t stage_cap, staged;
    uint64_t offset; /* of the staged bytes in the file */
} um_spool_writer;
/* Room for n bytes, good until the writer's next call. */
um_status um_spool_room(um_spool_writer *writer, size_t n, char **place, um_error *err) UM_CHECKED;
/* The first n bytes of the room are a text, its NUL among them: its address. */
char *um_spool_keep(um_spool_writer *writer, size_t n);
um_status um_spool_close(um_spool_writer *writer, um_error *err) UM_CHECKED;
/* Writes what was added: from here on it can be read at its address. */
um_status um_spool_flush(um_spool *spool, um_error *err) UM_CHECKED;
/* Where the text at this address can be read now; good until the next text is added. */
const char *um_spool_look(const um_spool *spool, const char *text);
/*
 * Appends n flushed texts to `out`, a NUL after each, in the order in which they lie in the spool,
 * which is read in one sweep: texts that lie scattered would cost a read or a page fault each.
 * place[i] is where text i begins in out, SIZE_MAX where texts[i] is NULL. Texts of other memory
 * are taken as they stand; without any of a spool, that may be NULL.
 */
um_status um_spool_gather(const um_spool *spool, char *const *texts, size_t n, um_str *out,
                          size_t *place, um_error *err) UM_CHECKED;
/* Lets go of the memory that reading through pointers has filled; the heap's part stays. */
void um_spool_release(um_spool *spool);
/* Of all texts, with their NULs; with writers also of what they have left free. */
uint64_t um_spool_bytes(const um_spool *spool);
uint64_t um_spool_file_bytes(const um_spool *spool); /* of the file; 0 = there is none */

#endif
