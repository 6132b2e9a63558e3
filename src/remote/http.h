/*
 * http.h - many HTTP requests at once on one thread: curl's multi interface over epoll.
 *
 * A target is a URL with its method, headers and key, and a stock of idle handles. um_http_send
 * starts a request; um_http_poll waits for activity and hands over what has ended. Connections are
 * kept and used again; HTTP/2 is used where TLS negotiates it. Redirects are not followed.
 */
#ifndef UM_REMOTE_HTTP_H
#define UM_REMOTE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/status.h"

typedef struct um_http um_http;
typedef struct um_http_target um_http_target;

typedef struct um_http_options {
    uint32_t deadline_ms, connect_timeout_ms, idle_timeout_ms;
    uint64_t max_body_bytes;
    uint32_t max_connections;
    const char *ca_file; /* NULL: the system's; borrowed while um_http lives */
} um_http_options;

typedef enum um_http_fault {
    UM_HTTP_OK,       /* there is a status and a whole body */
    UM_HTTP_CONNECT,  /* no connection: name, refusal, TLS handshake, or time for it ran out */
    UM_HTTP_IDENTITY, /* the certificate is not trusted */
    UM_HTTP_DEADLINE, /* the request took too long */
    UM_HTTP_IDLE,     /* an answer began and then dripped or stopped */
    UM_HTTP_BROKEN,   /* the connection ended before the answer did */
    UM_HTTP_TOO_BIG   /* the body passes max_body_bytes */
} um_http_fault;

/* Strings are borrowed for the callback. */
typedef struct um_http_reply {
    void *token;
    um_http_fault fault;
    const char *why; /* of a fault */
    int status;
    const char *body; /* NUL-terminated */
    size_t len;
    int64_t retry_after_ms; /* -1: not given */
    const char *location;   /* of a redirect, "" when not given */
    double ms;              /* since um_http_send */
} um_http_reply;

/* May call um_http_send. */
typedef um_status (*um_on_reply)(void *context, const um_http_reply *reply, um_error *err);

um_status um_http_new(um_http **out, const um_http_options *options, um_error *err) UM_CHECKED;
/* Ends what is in flight without a callback; its targets go with it. */
void um_http_free(um_http *http);

/*
 * UM_ERR_INPUT when url is not an http or https address without user, query and fragment, or when
 * it is http, a key goes with it, and the host is neither loopback nor private (plain: allowed).
 */
um_status um_http_check_url(const char *url, bool with_key, bool plain, um_error *err) UM_CHECKED;

bool um_http_is_loopback(const char *host);

/* POST of JSON, or GET. key (NULL: none) goes into the Authorization header. Owned by http. */
um_status um_http_target_new(um_http_target **out, um_http *http, const char *url, const char *key,
                             bool post, um_error *err) UM_CHECKED;

/* body must live until the reply. deadline_ms 0: the option's. */
um_status um_http_send(um_http *http, um_http_target *target, const char *body, size_t len,
                       uint32_t deadline_ms, void *token, um_error *err) UM_CHECKED;
/* Waits at most timeout_ms for activity; calls on_reply for each request that has ended. Anything
 * but UM_OK from it ends the call. */
um_status um_http_poll(um_http *http, int timeout_ms, um_on_reply on_reply, void *context,
                       um_error *err) UM_CHECKED;
/* Ends what is in flight, without callbacks. */
void um_http_abort(um_http *http);

#endif
