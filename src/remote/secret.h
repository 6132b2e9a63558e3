/* secret.h - API keys: reading them, and keeping them out of texts. */
#ifndef UM_REMOTE_SECRET_H
#define UM_REMOTE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "mirrorer/status.h"

/* Reads the key from the environment variable or the file; *out is NULL when neither is given, else
 * yours, to be ended with um_secret_free. Errors name the variable or file, never what is in it. */
um_status um_secret_read(char **out, const char *variable, const char *path,
                         um_error *err) UM_CHECKED;
void um_secret_free(char *key); /* wipes */

/*
 * Copies the first line of text into out, at most size - 1 bytes, control bytes as spaces, with the
 * key, and any piece that begins like it and is 6 bytes or longer, replaced by "***". key may be
 * NULL.
 */
void um_secret_mask(char *out, size_t size, const char *text, const char *key);
/* Whether text holds the key. */
bool um_secret_in(const char *text, size_t len, const char *key);

#endif
