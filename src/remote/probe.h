/* probe.h (internal) - single questions, asked one after another, that find out what an endpoint
 * can do. */
#ifndef UM_REMOTE_PROBE_H
#define UM_REMOTE_PROBE_H

#include "base/json.h"
#include "remote/client.h"

typedef struct um_probe {
    um_call call; /* first: token of its request */
    um_remote *remote;
    um_endpoint *e;
    const um_monitor *monitor;
    bool done;
    um_http_fault fault;
    int status;
    int64_t retry_after_ms;
    double ms;
    char why[240]; /* of a fault, or what the body complains of */
    json_t *root;  /* the body where it is JSON; NULL else */
    um_str body, request;
} um_probe;

/* Sends p->request (NULL target body: GET) and waits; transient failures are tried again. UM_OK:
 * there is a status. UM_ERR_REMOTE: there was none, or a transient one to the end. */
um_status um_probe_send(um_probe *p, um_http_target *target, bool get, um_error *err) UM_CHECKED;
/* Sends an ask, opened in the given way. */
um_status um_probe_ask(um_probe *p, um_remote_opening how, const um_ask *ask,
                       um_error *err) UM_CHECKED;
/* The first choice's text, or NULL. */
const char *um_probe_text(const um_probe *p, size_t choice);
int64_t um_probe_prompt_tokens(const um_probe *p); /* -1: not given */
void um_probe_dispose(um_probe *p);

/* letters: ids, constraints, log-probabilities (probe_letters.c). */
um_status um_probe_letters(um_probe *p, um_error *err) UM_CHECKED;

#endif
