/*
 * error.h - filling a um_error.
 *
 * um_fail() returns the status it was given, so a failing path reads
 *     status = um_fail(err, UM_ERR_INPUT, "%s:%zu: short row, found %zu fields, need 4", ...);
 *     goto done;
 */
#ifndef UM_BASE_ERROR_H
#define UM_BASE_ERROR_H

#include "mirrorer/status.h"

um_status um_fail(um_error *err, um_status status, const char *format, ...) UM_PRINTF(3, 4);

/* UM_ERR_MEMORY with the text "out of memory"; what = the thing being allocated. */
um_status um_fail_memory(um_error *err, const char *what);

/* UM_ERR_IO: "cannot <action> '<path>': <strerror(errno)>". Reads errno first. */
um_status um_fail_errno(um_error *err, const char *action, const char *path);

/* Puts "<prefix>: " before the text already in err (NULL fine). Returns err's status. */
um_status um_error_prefix(um_error *err, um_status status, const char *format, ...) UM_PRINTF(3, 4);

#endif
