#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *um_status_name(um_status status)
{
    switch (status) {
    case UM_OK:
        return "ok";
    case UM_ERR_MEMORY:
        return "out of memory";
    case UM_ERR_IO:
        return "io error";
    case UM_ERR_INPUT:
        return "bad input";
    case UM_ERR_LIMIT:
        return "limit passed";
    case UM_ERR_NOT_FOUND:
        return "not found";
    case UM_ERR_STATE:
        return "wrong state";
    case UM_ERR_UNSUPPORTED:
        return "unsupported";
    case UM_ERR_NUMERIC:
        return "numeric error";
    case UM_ERR_REMOTE:
        return "remote error";
    case UM_ERR_INTERRUPTED:
        return "interrupted";
    case UM_ERR_INTERNAL:
        return "internal error";
    }
    return "unknown status";
}

um_status um_fail(um_error *err, um_status status, const char *format, ...)
{
    if (err != NULL) {
        /* The arguments may point into err->text, so the new text is built aside. */
        char text[sizeof err->text];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        err->status = status;
        memcpy(err->text, text, strlen(text) + 1);
    }
    return status;
}

um_status um_fail_memory(um_error *err, const char *what)
{
    return um_fail(err, UM_ERR_MEMORY, "out of memory for %s", what);
}

um_status um_fail_errno(um_error *err, const char *action, const char *path)
{
    int code = errno;
    char reason[128];
    const char *advice =
        code == ENOSPC ? "; the disk is full, free space and run the same command again" : "";
    return um_fail(err, UM_ERR_IO, "cannot %s '%s': %s%s", action, path,
                   strerror_r(code, reason, sizeof reason), advice);
}

um_status um_error_prefix(um_error *err, um_status status, const char *format, ...)
{
    if (err != NULL) {
        char prefix[sizeof err->text];
        va_list args;
        va_start(args, format);
        vsnprintf(prefix, sizeof prefix, format, args);
        va_end(args);
        char text[2 * sizeof err->text + 2];
        snprintf(text, sizeof text, "%s: %s", prefix, err->text);
        text[sizeof err->text - 1] = '\0';
        err->status = status;
        memcpy(err->text, text, strlen(text) + 1);
    }
    return status;
}
