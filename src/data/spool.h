/*
 * spool.h - texts kept on disk: an append-only store in an unlinked temporary file, mapped into
 * memory piece by piece for reading. The first 64 MiB stay on the heap, so that most logs need no
 * file.
 *
 * Every text has its address as soon as it is added, and keeps it until the spool is freed. It is
 * written some hundred kilobytes later: what is added can be looked at there after um_spool_flush,
 * and before that with um_spool_look. The kernel reads it back when somebody looks; memory in use
 * is the heap's part and what is not yet written. One thread adds; any number may read what was
 * flushed before.
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
uint64_t um_spool_bytes(const um_spool *spool);      /* of all texts, with their NULs */
uint64_t um_spool_file_bytes(const um_spool *spool); /* of the file; 0 = there is none */

#endif
