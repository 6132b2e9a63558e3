/*
 * status.h - what every fallible function of libmirrorer returns.
 *
 * Out-parameters come first, a caller-owned um_error (NULL allowed) comes last. A function that
 * fails leaves its out-parameters untouched or empty, never half made, and writes one sentence
 * into the error: "where: rule broken, found X, limit Y; what to do". Library code never prints
 * and never exits.
 */
#ifndef MIRRORER_STATUS_H
#define MIRRORER_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum um_status {
    UM_OK = 0,
    UM_ERR_MEMORY,    /* an allocation failed, or a size product overflowed */
    UM_ERR_IO,        /* the operating system refused a read, write, sync or rename */
    UM_ERR_INPUT,     /* a file or value given by the user breaks a rule */
    UM_ERR_LIMIT,     /* a stated limit was passed */
    UM_ERR_NOT_FOUND, /* a named thing does not exist */
    UM_ERR_STATE,     /* the call does not fit what was done before (wrong order, changed config) */
    UM_ERR_UNSUPPORTED, /* well formed, but not something this build can do */
    UM_ERR_NUMERIC,     /* NaN or infinity where a finite number is required */
    UM_ERR_REMOTE,      /* an endpoint failed or answered nonsense */
    UM_ERR_INTERRUPTED, /* the caller asked to stop; everything reported as saved is saved */
    UM_ERR_INTERNAL     /* a bug in mirrorer */
} um_status;

/* Caller-owned; init is not needed. `text` is always NUL-terminated after a failure. */
typedef struct um_error {
    um_status status;
    char text[512];
} um_error;

/* The constant name of a status, "ok", "io error", ...; never NULL. */
const char *um_status_name(um_status status);

#if defined(__GNUC__)
#define UM_CHECKED           __attribute__((warn_unused_result))
#define UM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define UM_CHECKED
#define UM_PRINTF(fmt, args)
#endif

#ifdef __cplusplus
}
#endif
#endif
