/*
 * textjoin.h - long texts by key, kept on disk (data/spool.h) until the rows they belong to are
 * read.
 *
 * In memory stand 16 to 43 bytes a text, and 64 MiB of texts (data/spool.h). Keys are stored with
 * the texts and compared, so equal hashes do no harm. One thread puts; once what it put is flushed,
 * any number may get.
 */
#ifndef UM_DATA_TEXTJOIN_H
#define UM_DATA_TEXTJOIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/status.h"

typedef struct um_textjoin um_textjoin;

/* dir: where the file is to be, as for um_spool_new. */
um_status um_textjoin_new(um_textjoin **out, const char *dir, um_error *err) UM_CHECKED;
void um_textjoin_free(um_textjoin *t);
size_t um_textjoin_len(const um_textjoin *t);
/* *added = false when the key is there already; its first text stays. Neither may hold a NUL. */
um_status um_textjoin_put(um_textjoin *t, const char *key, const char *text, bool *added,
                          um_error *err) UM_CHECKED;
um_status um_textjoin_flush(um_textjoin *t, um_error *err) UM_CHECKED;
/* The text of the key, NULL when there is none; borrowed until the next text is put. */
const char *um_textjoin_get(um_textjoin *t, const char *key);
/* The same in two steps for whoever has something to do between them, while memory comes near. */
uint64_t um_textjoin_near(const um_textjoin *t, const char *key);
const char *um_textjoin_get_near(um_textjoin *t, const char *key, uint64_t near);

#endif
