/* http.c - the transport: curl's sockets in one epoll set, handles used again. */
#include "remote/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#define EVENTS_A_TURN    256
#define KEEP_BODY_BYTES  ((size_t)256 << 10) /* a larger buffer is given back after its answer */
#define SWEEP_MS         200
#define IDLE_BYTES       256
#define SPARE_FILES      64 /* of the process besides our sockets */
#define MAX_RETRY_AFTER  ((int64_t)1000 * 60 * 60 * 24 * 365)
#define DNS_CACHE_S      60L
#define MAX_HEADER_BYTES 200

typedef struct transfer {
    CURL *easy;
    um_http_target *target;
    struct transfer *previous, *next; /* active ones, or idle ones */
    void *token;
    um_str body;
    bool too_big;
    uint32_t deadline_ms;
    uint64_t begun_ms, mark_ms; /* mark: start of the current idle window */
    size_t mark_len;
    int64_t retry_s, retry_ms; /* -1: not given */
    time_t retry_date, date;   /* -1: not given */
    char location[MAX_HEADER_BYTES + 1];
    char why[CURL_ERROR_SIZE];
} transfer;

struct um_http_target {
    um_http *http;
    um_http_target *next;
    char *url;
    struct curl_slist *headers;
    bool post, loopback, tls;
    transfer *idle; /* a stack, by next */
};

struct um_http {
    um_http_options options;
    CURLM *multi;
    int epoll;
    uint64_t curl_wake_ms; /* UINT64_MAX: curl waits for sockets only */
    uint64_t sweep_ms;
    um_http_target *targets;
    transfer *active;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static CURLcode curl_ready;

static void init_curl(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* What curl tells ------------------------------------------------------------------------------ */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known)
{
    um_http *http = context;
    struct epoll_event event = {.data.fd = fd};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        /* A closed socket has left the set by itself. */
        epoll_ctl(http->epoll, EPOLL_CTL_DEL, fd, NULL);
        curl_multi_assign(http->multi, fd, NULL);
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) |
                   (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    if (epoll_ctl(http->epoll, known != NULL ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0 &&
        epoll_ctl(http->epoll, errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
        return -1;
    curl_multi_assign(http->multi, fd, http);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *context)
{
    um_http *http = context;
    (void)multi;
    http->curl_wake_ms = timeout_ms < 0 ? UINT64_MAX : um_clock_ms() + (uint64_t)timeout_ms;
    return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *context)
{
    transfer *t = context;
    size_t len = size * n, taken = len;
    /* Some services send blank lines while they think: that is waiting, not yet an answer. */
    while (t->body.len == 0 && len > 0 && strchr(" \t\r\n", *data) != NULL && *data != '\0') {
        data++;
        len--;
    }
    if (len > t->target->http->options.max_body_bytes - t->body.len) {
        t->too_big = true;
        return 0;
    }
    um_str_append_n(&t->body, data, len);
    return t->body.failed == UM_OK ? taken : 0;
}

static void forget_headers(transfer *t)
{
    t->retry_s = t->retry_ms = -1;
    t->retry_date = t->date = -1;
    t->location[0] = '\0';
}

/* The value of header `name` in a header line, cut into out; false when it is another header. */
static bool header_value(const char *line, size_t len, const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
        return false;
    line += n + 1;
    len -= n + 1;
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' '))
        len--;
    if (len >= size)
        len = size - 1;
    memcpy(out, line, len);
    out[len] = '\0';
    return true;
}

static size_t on_header(char *line, size_t size, size_t n, void *context)
{
    transfer *t = context;
    char value[MAX_HEADER_BYTES + 1];
    double number;
    size *= n;
    if (size > 5 && memcmp(line, "HTTP/", 5) == 0) {
        forget_headers(t); /* another answer begins, after a 1xx */
    } else if (header_value(line, size, "retry-after", value, sizeof value)) {
        if (um_parse_f64(value, &number))
            t->retry_s = number >= 0 && number < 1e9 ? (int64_t)(number * 1000 + 0.5) : -1;
        else
            t->retry_date = curl_getdate(value, NULL);
    } else if (header_value(line, size, "retry-after-ms", value, sizeof value)) {
        if (um_parse_f64(value, &number) && number >= 0 && number < 1e12)
            t->retry_ms = (int64_t)(number + 0.5);
    } else if (header_value(line, size, "date", value, sizeof value)) {
        t->date = curl_getdate(value, NULL);
    } else if (header_value(line, size, "location", value, sizeof value)) {
        memcpy(t->location, value, sizeof value);
    }
    return size;
}

/* A date is counted from the server's own clock where it tells it. */
static int64_t retry_after(const transfer *t)
{
    int64_t ms = -1;
    if (t->retry_ms >= 0) {
        ms = t->retry_ms;
    } else if (t->retry_s >= 0) {
        ms = t->retry_s;
    } else if (t->retry_date != -1) {
        time_t now = t->date != -1 ? t->date : time(NULL);
        ms = t->retry_date > now ? (int64_t)(t->retry_date - now) * 1000 : 0;
    }
    return ms > MAX_RETRY_AFTER ? MAX_RETRY_AFTER : ms;
}

/* Handles -------------------------------------------------------------------------------------- */

static void transfer_free(transfer *t)
{
    if (t == NULL)
        return;
    if (t->easy != NULL)
        curl_easy_cleanup(t->easy);
    um_str_dispose(&t->body);
    free(t);
}

#define SET(option, value) ok = ok && curl_easy_setopt(t->easy, option, value) == CURLE_OK

static um_status transfer_new(transfer **out, um_http_target *target, um_error *err)
{
    const um_http_options *options = &target->http->options;
    transfer *t = um_calloc(1, sizeof *t);
    if (t == NULL || (t->easy = curl_easy_init()) == NULL) {
        transfer_free(t);
        return um_fail_memory(err, "a request");
    }
    t->target = target;
    um_str_init(&t->body, options->max_body_bytes);
    bool ok = true;
    SET(CURLOPT_URL, target->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_USERAGENT, "mirrorer"); /* services refuse callers without a name */
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_HTTPHEADER, target->headers);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_ERRORBUFFER, t->why);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)options->connect_timeout_ms);
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)options->max_body_bytes);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_DNS_CACHE_TIMEOUT, DNS_CACHE_S);
    SET(CURLOPT_HTTP_VERSION,
        target->tls ? (long)CURL_HTTP_VERSION_2TLS : (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_PIPEWAIT, target->tls ? 1L : 0L);
    if (target->loopback)
        SET(CURLOPT_NOPROXY, "*");
    if (options->ca_file != NULL)
        SET(CURLOPT_CAINFO, options->ca_file);
    if (target->post)
        SET(CURLOPT_POST, 1L);
    if (!ok) {
        transfer_free(t);
        return um_fail(err, UM_ERR_UNSUPPORTED, "libcurl %s lacks an option that is needed",
                       curl_version_info(CURLVERSION_NOW)->version);
    }
    *out = t;
    return UM_OK;
}

static void target_free(um_http_target *target)
{
    if (target == NULL)
        return;
    transfer *next;
    for (transfer *t = target->idle; t != NULL; t = next) {
        next = t->next;
        transfer_free(t);
    }
    for (struct curl_slist *h = target->headers; h != NULL; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(target->headers);
    free(target->url);
    free(target);
}

static bool add_header(um_http_target *target, const char *line)
{
    struct curl_slist *list = curl_slist_append(target->headers, line);
    if (list != NULL)
        target->headers = list;
    return list != NULL;
}

static bool add_key(um_http_target *target, const char *key)
{
    um_str line = UM_STR_INIT;
    um_str_append(&line, "Authorization: Bearer ");
    um_str_append(&line, key);
    bool ok = line.failed == UM_OK && add_header(target, line.data);
    if (line.data != NULL)
        explicit_bzero(line.data, line.len);
    um_str_dispose(&line);
    return ok;
}

um_status um_http_target_new(um_http_target **out, um_http *http, const char *url, const char *key,
                             bool post, um_error *err)
{
    char *host = NULL;
    CURLU *u = curl_url();
    um_http_target *target = um_calloc(1, sizeof *target);
    um_status status = UM_OK;
    if (u == NULL || target == NULL)
        goto no_memory;
    target->http = http;
    target->post = post;
    target->tls = strncasecmp(url, "https:", 6) == 0;
    target->url = um_strdup(url);
    if (target->url == NULL)
        goto no_memory;
    if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        status = um_fail(err, UM_ERR_INPUT, "endpoint: not an address");
        goto done;
    }
    target->loopback = um_http_is_loopback(host);
    /* "Expect:" keeps curl from waiting for 100-continue before long bodies. */
    if (!add_header(target, "Accept: application/json") || !add_header(target, "Expect:") ||
        (post && !add_header(target, "Content-Type: application/json")) ||
        (key != NULL && !add_key(target, key)))
        goto no_memory;
    target->next = http->targets;
    http->targets = target;
    *out = target;
    target = NULL;
    goto done;
no_memory:
    status = um_fail_memory(err, "an endpoint");
done:
    curl_free(host);
    curl_url_cleanup(u);
    target_free(target);
    return status;
}

/* Every connection is an open file. */
static void raise_file_limit(uint32_t connections)
{
    struct rlimit limit;
    rlim_t need = (rlim_t)connections + SPARE_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static long connection_limit(uint32_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= (rlim_t)wanted + SPARE_FILES)
        return (long)wanted;
    return limit.rlim_cur > (rlim_t)2 * SPARE_FILES ? (long)(limit.rlim_cur - SPARE_FILES)
                                                    : (long)SPARE_FILES;
}

um_status um_http_new(um_http **out, const um_http_options *options, um_error *err)
{
    pthread_once(&curl_once, init_curl);
    if (curl_ready != CURLE_OK)
        return um_fail(err, UM_ERR_UNSUPPORTED, "libcurl does not start: %s",
                       curl_easy_strerror(curl_ready));
    um_http *http = um_calloc(1, sizeof *http);
    if (http == NULL)
        return um_fail_memory(err, "the HTTP client");
    http->options = *options;
    http->curl_wake_ms = UINT64_MAX;
    http->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (http->epoll < 0) {
        um_status status = um_fail_errno(err, "open", "epoll");
        free(http);
        return status;
    }
    http->multi = curl_multi_init();
    raise_file_limit(options->max_connections);
    long connections = connection_limit(options->max_connections);
    if (http->multi == NULL ||
        curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
        curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http) != CURLM_OK ||
        curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
        curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http) != CURLM_OK ||
        curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX) != CURLM_OK ||
        curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections) != CURLM_OK ||
        curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, connections) != CURLM_OK) {
        um_http_free(http);
        return um_fail_memory(err, "the HTTP client");
    }
    *out = http;
    return UM_OK;
}

/* Ending and starting requests ----------------------------------------------------------------- */

static void deactivate(um_http *http, transfer *t)
{
    curl_multi_remove_handle(http->multi, t->easy);
    if (t->previous != NULL)
        t->previous->next = t->next;
    else
        http->active = t->next;
    if (t->next != NULL)
        t->next->previous = t->previous;
    t->previous = t->next = NULL;
}

/* Puts a handle back into its target's stock. */
static void stock(transfer *t)
{
    if (t->body.cap > KEEP_BODY_BYTES)
        um_str_dispose(&t->body);
    t->next = t->target->idle;
    t->target->idle = t;
}

void um_http_abort(um_http *http)
{
    transfer *next;
    for (transfer *t = http->active; t != NULL; t = next) {
        next = t->next;
        deactivate(http, t);
        stock(t);
    }
}

void um_http_free(um_http *http)
{
    if (http == NULL)
        return;
    if (http->multi != NULL)
        um_http_abort(http);
    while (http->targets != NULL) {
        um_http_target *target = http->targets;
        http->targets = target->next;
        target_free(target);
    }
    if (http->multi != NULL)
        curl_multi_cleanup(http->multi);
    close(http->epoll);
    free(http);
}

um_status um_http_send(um_http *http, um_http_target *target, const char *body, size_t len,
                       uint32_t deadline_ms, void *token, um_error *err)
{
    transfer *t = NULL;
    um_status status = UM_OK;
    if (target->idle != NULL) {
        t = target->idle;
        target->idle = t->next;
        t->next = NULL;
    } else {
        status = transfer_new(&t, target, err);
    }
    if (t == NULL)
        return status;
    t->token = token;
    t->too_big = false;
    t->why[0] = '\0';
    um_str_clear(&t->body);
    forget_headers(t);
    t->begun_ms = t->mark_ms = um_clock_ms();
    t->mark_len = 0;
    t->deadline_ms = deadline_ms > 0 ? deadline_ms : http->options.deadline_ms;
    bool ok = true;
    SET(CURLOPT_TIMEOUT_MS, (long)t->deadline_ms);
    if (target->post) {
        SET(CURLOPT_POSTFIELDS, body);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
    }
    if (!ok || curl_multi_add_handle(http->multi, t->easy) != CURLM_OK) {
        stock(t);
        return um_fail_memory(err, "a request");
    }
    t->next = http->active;
    if (http->active != NULL)
        http->active->previous = t;
    http->active = t;
    return UM_OK;
}

static um_http_fault fault_of(const transfer *t, CURLcode code)
{
    curl_off_t sent = 0;
    switch (code) {
    case CURLE_OK:
        return UM_HTTP_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        return UM_HTTP_CONNECT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
        return UM_HTTP_IDENTITY;
    case CURLE_OPERATION_TIMEDOUT:
        curl_easy_getinfo(t->easy, CURLINFO_PRETRANSFER_TIME_T, &sent);
        return sent == 0 ? UM_HTTP_CONNECT : UM_HTTP_DEADLINE;
    case CURLE_FILESIZE_EXCEEDED:
        return UM_HTTP_TOO_BIG;
    case CURLE_WRITE_ERROR:
        return t->too_big ? UM_HTTP_TOO_BIG : UM_HTTP_BROKEN;
    default:
        return UM_HTTP_BROKEN;
    }
}

/* Tells the caller, then puts the handle back. */
static um_status hand_over(transfer *t, um_http_fault fault, const char *why, um_on_reply on_reply,
                           void *context, um_error *err)
{
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    um_http_reply reply = {.token = t->token,
                           .fault = fault,
                           .why = why,
                           .status = (int)status,
                           .body = um_str_text(&t->body),
                           .len = t->body.len,
                           .retry_after_ms = retry_after(t),
                           .location = t->location,
                           .ms = (double)(um_clock_ms() - t->begun_ms)};
    um_status result = on_reply(context, &reply, err);
    stock(t);
    return result;
}

static um_status collect(um_http *http, um_on_reply on_reply, void *context, um_error *err)
{
    int left = 0;
    CURLMsg *message;
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        transfer *t = NULL;
        if (message->msg != CURLMSG_DONE ||
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t) != CURLE_OK)
            continue;
        CURLcode code = message->data.result;
        um_http_fault fault = fault_of(t, code);
        const char *why = t->why[0] != '\0' ? t->why : curl_easy_strerror(code);
        deactivate(http, t);
        um_status status =
            hand_over(t, fault, fault == UM_HTTP_OK ? "" : why, on_reply, context, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

/* What ends a transfer that curl does not end: an answer that has begun and brings next to nothing,
 * and a deadline that curl 7.88 lost, as it may where a process is stopped for about as long. */
static um_http_fault overdue(um_http *http, transfer *t, uint64_t now, const char **why)
{
    if (now >= t->begun_ms + t->deadline_ms + SWEEP_MS) {
        *why = "no answer in time";
        return fault_of(t, CURLE_OPERATION_TIMEDOUT);
    }
    if (t->body.len == 0 || now - t->mark_ms < http->options.idle_timeout_ms)
        return UM_HTTP_OK;
    const bool idle = t->mark_len > 0 && t->body.len - t->mark_len < IDLE_BYTES;
    t->mark_ms = now;
    t->mark_len = t->body.len;
    *why = "the answer began and then came too slowly";
    return idle ? UM_HTTP_IDLE : UM_HTTP_OK;
}

static um_status sweep(um_http *http, uint64_t now, um_on_reply on_reply, void *context,
                       um_error *err)
{
    transfer *next;
    for (transfer *t = http->active; t != NULL; t = next) {
        next = t->next;
        const char *why = "";
        const um_http_fault fault = overdue(http, t, now, &why);
        if (fault == UM_HTTP_OK)
            continue;
        deactivate(http, t);
        um_status status = hand_over(t, fault, why, on_reply, context, err);
        if (status != UM_OK)
            return status;
        next = http->active; /* the callback may have started requests: look at all again */
    }
    return UM_OK;
}

um_status um_http_poll(um_http *http, int timeout_ms, um_on_reply on_reply, void *context,
                       um_error *err)
{
    struct epoll_event events[EVENTS_A_TURN];
    int running;
    uint64_t now = um_clock_ms();
    if (http->curl_wake_ms <= now)
        timeout_ms = 0;
    else if (http->curl_wake_ms - now < (uint64_t)timeout_ms)
        timeout_ms = (int)(http->curl_wake_ms - now);
    int n = epoll_wait(http->epoll, events, EVENTS_A_TURN, timeout_ms);
    if (n < 0 && errno != EINTR)
        return um_fail_errno(err, "wait for", "the endpoints");
    for (int i = 0; i < n; i++) {
        uint32_t e = events[i].events;
        int mask = (e & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
                   (e & EPOLLOUT ? CURL_CSELECT_OUT : 0) | (e & EPOLLERR ? CURL_CSELECT_ERR : 0);
        curl_multi_socket_action(http->multi, events[i].data.fd, mask, &running);
    }
    now = um_clock_ms();
    if (http->curl_wake_ms <= now) {
        http->curl_wake_ms = UINT64_MAX;
        curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    um_status status = collect(http, on_reply, context, err);
    if (status == UM_OK && now - http->sweep_ms >= SWEEP_MS) {
        http->sweep_ms = now;
        status = sweep(http, now, on_reply, context, err);
    }
    return status;
}
