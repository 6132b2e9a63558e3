/*
 * textjoin.h - long texts by key, kept in a file until the rows they belong to are read.
 *
 * In memory stand 32 to 64 bytes a text, whatever its length: a hash of its key, where it is, how
 * long. Keys are stored with the texts and compared, so equal hashes do no harm. Not thread-safe.
 */
#ifndef UM_DATA_TEXTJOIN_H
#define UM_DATA_TEXTJOIN_H

#include "base/str.h"

#define UM_TEXTJOIN_MAX_KEY_BYTES 200

typedef struct um_textjoin um_textjoin;

/* The file is made in dir (NULL = $TMPDIR, else /tmp) and has no name. */
um_status um_textjoin_new(um_textjoin **out, const char *dir, um_error *err) UM_CHECKED;
void um_textjoin_free(um_textjoin *t);
size_t um_textjoin_len(const um_textjoin *t);
/* *added = false when the key is there already; its first text stays. */
um_status um_textjoin_put(um_textjoin *t, const char *key, const char *text, size_t len,
                          bool *added, um_error *err) UM_CHECKED;
/* The text of the key in `out`, emptied first; *found = false when there is none. */
um_status um_textjoin_get(um_textjoin *t, const char *key, um_str *out, bool *found,
                          um_error *err) UM_CHECKED;

#endif
