/*
 * server.c - the fault server's sockets: one thread, epoll, HTTP/1.1 with kept connections.
 *
 * An answer is made when its request is whole, and waits in a heap when it is late. A connection
 * that is to be treated badly carries its rule's effects with it: how many bytes to send, how fast,
 * and whether to close.
 */
#include "fault.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_REQUEST ((size_t)64 << 20)
#define EVENTS      256

typedef struct connection {
    int fd;
    struct connection *next, *previous;
    char *in;
    size_t in_len, in_cap, scanned;
    char *out;
    size_t out_len, out_at, send_until; /* bytes of out that are sent at all */
    uint64_t giant_left;                /* more bytes after out */
    uint32_t drip_ms;
    size_t drip_from;
    int64_t due_ms; /* nothing is sent before */
    bool busy, waiting, close, reset, silent, wants_out, good, gone;
    uint64_t number, body_hash;
    int status;
    uint32_t choices;
} connection;

struct fault_server {
    fault_config config;
    char *key, *model;
    fault_rule *rules;
    size_t n_rules;
    int listener, epoll, port, log;
    connection *connections;
    connection **heap; /* waiting, by due_ms */
    size_t heap_len, heap_cap;
    fault_stats stats;
    uint64_t at_once;
    uint64_t *answered; /* open addressing set of body hashes */
    size_t answered_len, answered_cap;
    pthread_mutex_t lock;
    pthread_t thread;
    int stopping; /* atomic */
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static uint64_t hash_bytes(const char *p, size_t n)
{
    uint64_t h = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * 0x100000001B3ull;
    return h != 0 ? h : 1;
}

/* True when the hash was not there. */
static bool remember(fault_server *s, uint64_t h)
{
    if (s->answered_len * 2 >= s->answered_cap) {
        size_t cap = s->answered_cap > 0 ? s->answered_cap * 2 : 1024;
        uint64_t *set = calloc(cap, sizeof *set);
        if (set == NULL)
            return true;
        for (size_t i = 0; i < s->answered_cap; i++) {
            if (s->answered[i] != 0) {
                size_t at = s->answered[i] & (cap - 1);
                while (set[at] != 0)
                    at = (at + 1) & (cap - 1);
                set[at] = s->answered[i];
            }
        }
        free(s->answered);
        s->answered = set;
        s->answered_cap = cap;
    }
    size_t at = h & (s->answered_cap - 1);
    while (s->answered[at] != 0) {
        if (s->answered[at] == h)
            return false;
        at = (at + 1) & (s->answered_cap - 1);
    }
    s->answered[at] = h;
    s->answered_len++;
    return true;
}

static void write_log(fault_server *s, char kind, const connection *c, const char *what)
{
    char line[256];
    if (s->log < 0)
        return;
    int n = snprintf(line, sizeof line, "%c %llu %016llx %s\n", kind, (unsigned long long)c->number,
                     (unsigned long long)c->body_hash, what);
    if (n > 0 && write(s->log, line, (size_t)n) < 0)
        perror("fault log");
}

/* Heap of waiting connections ------------------------------------------------------------------ */

static void heap_push(fault_server *s, connection *c)
{
    if (s->heap_len == s->heap_cap) {
        s->heap_cap = s->heap_cap * 2 + 64;
        s->heap = realloc(s->heap, s->heap_cap * sizeof *s->heap);
    }
    size_t i = s->heap_len++;
    for (; i > 0 && s->heap[(i - 1) / 2]->due_ms > c->due_ms; i = (i - 1) / 2)
        s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = c;
    c->waiting = true;
}

static connection *heap_pop(fault_server *s)
{
    connection *top = s->heap[0], *last = s->heap[--s->heap_len];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->heap_len)
            break;
        if (child + 1 < s->heap_len && s->heap[child + 1]->due_ms < s->heap[child]->due_ms)
            child++;
        if (s->heap[child]->due_ms >= last->due_ms)
            break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    if (s->heap_len > 0)
        s->heap[i] = last;
    top->waiting = false;
    return top;
}

/* Connections ---------------------------------------------------------------------------------- */

static void end_request(fault_server *s, connection *c)
{
    if (c->busy)
        s->at_once--;
    c->busy = false;
}

static void free_connection(fault_server *s, connection *c)
{
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        s->connections = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    free(c->in);
    free(c->out);
    free(c);
}

/* A connection in the heap is freed when it comes out of it. */
static void drop(fault_server *s, connection *c)
{
    if (c->gone)
        return;
    end_request(s, c);
    if (c->reset) {
        struct linger hard = {1, 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    close(c->fd);
    c->gone = true;
    if (!c->waiting)
        free_connection(s, c);
}

static void want_out(fault_server *s, connection *c, bool want)
{
    if (c->wants_out == want)
        return;
    struct epoll_event e = {.events = EPOLLIN | (want ? (uint32_t)EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &e);
    c->wants_out = want;
}

static void begin_request(fault_server *s, connection *c);

static void answer_sent(fault_server *s, connection *c)
{
    char status[16];
    if (c->good && c->status == 200) {
        s->stats.answered++;
        s->stats.n_choices += c->choices;
        s->stats.repeated += !remember(s, c->body_hash);
    }
    if (c->good) {
        snprintf(status, sizeof status, "%d", c->status);
        write_log(s, 'A', c, status);
    }
    end_request(s, c);
    free(c->out);
    c->out = NULL;
    if (c->close) {
        drop(s, c);
        return;
    }
    want_out(s, c, false);
    begin_request(s, c);
}

static bool send_giant(connection *c)
{
    static const char block[65536];
    while (c->giant_left > 0) {
        size_t n = c->giant_left < sizeof block ? (size_t)c->giant_left : sizeof block;
        ssize_t sent = send(c->fd, block, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return sent == 0 || errno == EAGAIN;
        c->giant_left -= (uint64_t)sent;
    }
    return true;
}

static void send_some(fault_server *s, connection *c)
{
    while (c->out_at < c->send_until) {
        size_t n = c->send_until - c->out_at;
        bool dripping = c->drip_ms > 0 && c->out_at >= c->drip_from;
        if (c->drip_ms > 0 && !dripping)
            n = c->drip_from - c->out_at;
        ssize_t sent = send(c->fd, c->out + c->out_at, dripping ? 1 : n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            want_out(s, c, true);
            return;
        }
        if (sent < 0) {
            drop(s, c);
            return;
        }
        c->out_at += (size_t)sent;
        if (dripping) {
            want_out(s, c, false);
            c->due_ms = now_ms() + c->drip_ms;
            heap_push(s, c);
            return;
        }
    }
    if (!send_giant(c)) {
        drop(s, c);
    } else if (c->giant_left > 0) {
        want_out(s, c, true);
    } else {
        answer_sent(s, c);
    }
}

/* Answers -------------------------------------------------------------------------------------- */

static void set_answer(connection *c, int status, const char *headers, char *body, size_t len,
                       bool with_length)
{
    char head[1024], length[64] = "";
    if (with_length)
        snprintf(length, sizeof length, "Content-Length: %llu\r\n",
                 (unsigned long long)(len + c->giant_left));
    int n =
        snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n%s%s\r\n",
                 status, status == 200 ? "OK" : "No", length, headers);
    c->out = malloc((size_t)n + len + 1);
    memcpy(c->out, head, (size_t)n);
    memcpy(c->out + n, body, len);
    c->out_len = c->send_until = (size_t)n + len;
    c->out_at = 0;
    c->drip_from = (size_t)n;
    c->status = status;
    c->close = c->close || !with_length;
    free(body);
}

static void apply_ending(connection *c, const fault_rule *r)
{
    size_t head = c->drip_from;
    switch (r->close) {
    case CLOSE_NOT:
        return;
    case CLOSE_BEFORE:
        c->send_until = 0;
        break;
    case CLOSE_HEADERS:
        c->send_until = head;
        break;
    case CLOSE_MID:
        c->send_until = head + (c->out_len - head) / 2;
        break;
    case CLOSE_AFTER:
        break;
    }
    c->close = true;
    c->reset = r->reset;
    c->good = c->good && r->close == CLOSE_AFTER;
}

static bool spoils_content(const fault_rule *r)
{
    return r->truncate || r->html || r->giant > 0 || r->null || r->duplicate || r->noindex ||
           r->nologprobs || r->silence || r->drip_ms > 0 || r->choices >= 0 ||
           (r->finish[0] != '\0' && strcmp(r->finish, "length") != 0);
}

static void script_answer(connection *c, const fault_rule *r, char *body, size_t len, int status)
{
    static const char page[] = "<html><body>502 from a proxy that says 200</body></html>";
    char headers[1024];
    snprintf(headers, sizeof headers, "%s%s%s%s", r->headers,
             r->redirect[0] != '\0' ? "Location: " : "", r->redirect,
             r->redirect[0] != '\0' ? "\r\n" : "");
    if (r->redirect[0] != '\0')
        status = r->status != 0 ? r->status : 307;
    else if (r->status != 0)
        status = r->status;
    if (r->body[0] != '\0' || (r->status != 0 && r->status != 200)) {
        free(body);
        body = strdup(r->body[0] != '\0' ? r->body : "{\"error\":{\"message\":\"scripted\"}}");
        len = strlen(body);
    } else if (r->html) {
        free(body);
        body = strdup(page);
        len = strlen(body);
    } else if (r->truncate) {
        len /= 2;
    }
    c->giant_left = r->giant;
    c->drip_ms = r->drip_ms;
    c->silent = r->silence;
    c->due_ms += r->delay_ms;
    c->good = status == 200 && r->body[0] == '\0' && !spoils_content(r);
    set_answer(c, status, headers, body, len, !r->nolength);
    apply_ending(c, r);
}

static char *stats_text(const fault_stats *t)
{
    char *text = NULL;
    if (asprintf(&text,
                 "{\"requests\":%llu,\"answered\":%llu,\"choices\":%llu,\"repeated\":%llu,"
                 "\"faults\":%llu,\"refused\":%llu,\"connections\":%llu,\"at_once\":%llu,"
                 "\"gets\":%llu,\"with_key\":%llu,\"bad_key\":%llu}\n",
                 (unsigned long long)t->requests, (unsigned long long)t->answered,
                 (unsigned long long)t->n_choices, (unsigned long long)t->repeated,
                 (unsigned long long)t->faults, (unsigned long long)t->refused,
                 (unsigned long long)t->connections, (unsigned long long)t->at_once,
                 (unsigned long long)t->gets, (unsigned long long)t->with_key,
                 (unsigned long long)t->bad_key) < 0)
        return strdup("{}");
    return text;
}

static bool set_script(fault_server *s, const char *script)
{
    fault_rule *rules;
    size_t n;
    if (script == NULL) {
        for (size_t i = 0; i < s->n_rules; i++)
            s->rules[i].seen = 0;
        return true;
    }
    if (!fault_script_parse(script, &rules, &n))
        return false;
    free(s->rules);
    s->rules = rules;
    s->n_rules = n;
    return true;
}

static void clear_counts(fault_server *s)
{
    s->stats = (fault_stats){0};
    s->answered_len = 0;
    for (size_t i = 0; i < s->answered_cap; i++)
        s->answered[i] = 0;
}

/* GET, and what steers the server. */
static void answer_plain(fault_server *s, connection *c, const char *method, const char *path,
                         const char *body)
{
    char *text = NULL;
    int status = 200;
    c->good = false;
    if (strcmp(path, "/fault/stats") == 0) {
        text = stats_text(&s->stats);
    } else if (strcmp(path, "/fault/reset") == 0) {
        clear_counts(s);
        set_script(s, NULL);
        text = strdup("{}");
    } else if (strcmp(path, "/fault/script") == 0) {
        status = set_script(s, body) ? 200 : 400;
        text = strdup("{}");
    } else if (strcmp(method, "GET") == 0 && strcmp(path, "/v1/models") == 0 &&
               !s->config.no_models) {
        s->stats.gets++;
        if (asprintf(&text,
                     "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"max_model_len\":8192}]}",
                     s->config.model != NULL ? s->config.model : "fault") < 0)
            text = NULL;
    } else {
        s->stats.gets += strcmp(method, "GET") == 0;
        status = 404;
        text = strdup("{\"detail\":\"Not Found\"}");
    }
    set_answer(c, status, "", text, strlen(text), true);
}

static void answer_post(fault_server *s, connection *c, const char *path, char *body, size_t len)
{
    const fault_rule *rule;
    char *text;
    size_t text_len;
    uint32_t limit = s->config.max_at_once;
    c->number = s->stats.requests++;
    c->body_hash = hash_bytes(body, len);
    s->stats.clock_ms = now_ms();
    write_log(s, 'Q', c, path);
    rule = fault_script_match(s->rules, s->n_rules, path, body);
    int status = fault_answer(&s->config, path, body, len, c->number * 2654435761u, rule, &text,
                              &text_len, &c->choices);
    c->good = true;
    if (rule != NULL) {
        s->stats.faults++;
        script_answer(c, rule, text, text_len, status != 0 ? status : 200);
    } else if (limit > 0 && s->at_once > limit) {
        free(text);
        text = strdup("{\"error\":{\"message\":\"Rate limit\",\"code\":\"rate_limit_exceeded\"}}");
        set_answer(c, 429, "", text, strlen(text), true);
    } else {
        s->stats.refused += status != 0;
        set_answer(c, status != 0 ? status : 200, "", text, text_len, true);
    }
}

static void refuse_key(fault_server *s, connection *c, const char *given)
{
    char *text = NULL;
    s->stats.bad_key++;
    c->good = false;
    if (asprintf(&text,
                 "{\"error\":{\"message\":\"Incorrect API key provided: %s\",\"code\":\"inval"
                 "id_api_key\"}}",
                 given) < 0)
        text = strdup("{}");
    set_answer(c, 401, "", text, strlen(text), true);
}

static void find_header(const char *head, const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    out[0] = '\0';
    for (const char *p = strstr(head, "\r\n"); p != NULL; p = strstr(p + 2, "\r\n")) {
        if (strncasecmp(p + 2, name, n) != 0 || p[2 + n] != ':')
            continue;
        p += 3 + n;
        p += strspn(p, " ");
        snprintf(out, size, "%.*s", (int)strcspn(p, "\r\n"), p);
        return;
    }
}

/* Looks for a whole request; answers it and puts what follows it first. */
static void begin_request(fault_server *s, connection *c)
{
    char method[8] = "", path[256] = "", value[512], expected[512];
    if (c->gone || c->busy || c->in_len == 0)
        return;
    c->in[c->in_len] = '\0';
    char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (end == NULL)
        return;
    *end = '\0';
    find_header(c->in, "Content-Length", value, sizeof value);
    size_t head = (size_t)(end - c->in) + 4, len = strtoull(value, NULL, 10);
    if (len > MAX_REQUEST || c->in_len < head + len) {
        *end = '\r';
        return;
    }
    sscanf(c->in, "%7s %255s", method, path);
    find_header(c->in, "Authorization", value, sizeof value);
    char saved = c->in[head + len];
    c->in[head + len] = '\0';
    c->busy = true;
    c->giant_left = 0;
    c->drip_ms = 0;
    c->silent = c->close = c->reset = false;
    c->due_ms = now_ms() + s->config.latency_ms;
    if (++s->at_once > s->stats.at_once)
        s->stats.at_once = s->at_once;
    s->stats.with_key += value[0] != '\0';
    snprintf(expected, sizeof expected, "Bearer %s", s->config.key != NULL ? s->config.key : "");
    if (s->config.key != NULL && strncmp(path, "/fault/", 7) != 0 && strcmp(value, expected) != 0)
        refuse_key(s, c, value);
    else if (strcmp(method, "POST") == 0 && strncmp(path, "/fault/", 7) != 0)
        answer_post(s, c, path, c->in + head, len);
    else
        answer_plain(s, c, method, path, c->in + head);
    c->in[head + len] = saved;
    memmove(c->in, c->in + head + len, c->in_len - head - len);
    c->in_len -= head + len;
    if (c->silent)
        return;
    if (c->due_ms > now_ms())
        heap_push(s, c);
    else
        send_some(s, c);
}

static void receive(fault_server *s, connection *c)
{
    for (;;) {
        if (c->in_cap - c->in_len < 4096) {
            size_t cap = c->in_cap * 2 + 16384;
            char *in = cap <= MAX_REQUEST * 2 ? realloc(c->in, cap) : NULL;
            if (in == NULL) {
                drop(s, c);
                return;
            }
            c->in = in;
            c->in_cap = cap;
        }
        size_t room = c->in_cap - c->in_len - 1;
        ssize_t n = recv(c->fd, c->in + c->in_len, room, 0);
        if (n > 0)
            c->in_len += (size_t)n;
        if (n > 0 && (size_t)n == room)
            continue;
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            drop(s, c);
            return;
        }
        break;
    }
    begin_request(s, c);
}

static void accept_all(fault_server *s)
{
    for (;;) {
        int one = 1, fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        connection *c = calloc(1, sizeof *c);
        if (c == NULL) {
            close(fd);
            return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        c->next = s->connections;
        if (c->next != NULL)
            c->next->previous = c;
        s->connections = c;
        s->stats.connections++;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e);
    }
}

void fault_run(fault_server *s, const volatile int *stop)
{
    struct epoll_event events[EVENTS];
    while (!__atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE) && (stop == NULL || *stop == 0)) {
        int wait = 50;
        if (s->heap_len > 0) {
            int64_t left = s->heap[0]->due_ms - now_ms();
            wait = left < 0 ? 0 : left < wait ? (int)left : wait;
        }
        int n = epoll_wait(s->epoll, events, EVENTS, wait);
        pthread_mutex_lock(&s->lock);
        for (int i = 0; i < n; i++) {
            connection *c = events[i].data.ptr;
            if (c == NULL)
                accept_all(s);
            else if (c->gone)
                continue;
            else if (events[i].events & EPOLLOUT && c->out != NULL && !c->waiting)
                send_some(s, c);
            else if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                receive(s, c);
        }
        while (s->heap_len > 0 && s->heap[0]->due_ms <= now_ms()) {
            connection *c = heap_pop(s);
            if (c->gone)
                free_connection(s, c);
            else
                send_some(s, c);
        }
        pthread_mutex_unlock(&s->lock);
    }
}

/* Opening and closing -------------------------------------------------------------------------- */

static char *copy(const char *text)
{
    return text != NULL ? strdup(text) : NULL;
}

static bool listen_on(fault_server *s, int port)
{
    int one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->listener < 0 || s->epoll < 0)
        return false;
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s->listener, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(s->listener, 4096) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&at, &size) != 0)
        return false;
    s->port = ntohs(at.sin_port);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    return epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &e) == 0;
}

fault_server *fault_open(const fault_config *config)
{
    fault_server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->config = *config;
    s->config.key = s->key = copy(config->key);
    s->config.model = s->model = copy(config->model);
    s->log = -1;
    s->listener = s->epoll = -1;
    pthread_mutex_init(&s->lock, NULL);
    if (config->log_path != NULL)
        s->log = open(config->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (!set_script(s, config->script != NULL ? config->script : "") ||
        (config->log_path != NULL && s->log < 0) || !listen_on(s, config->port)) {
        perror("fault server");
        fault_close(s);
        return NULL;
    }
    return s;
}

int fault_port(const fault_server *s)
{
    return s->port;
}

void fault_close(fault_server *s)
{
    while (s->heap_len > 0) {
        connection *c = heap_pop(s);
        if (c->gone)
            free_connection(s, c);
    }
    while (s->connections != NULL)
        drop(s, s->connections);
    if (s->listener >= 0)
        close(s->listener);
    if (s->epoll >= 0)
        close(s->epoll);
    if (s->log >= 0)
        close(s->log);
    pthread_mutex_destroy(&s->lock);
    free(s->heap);
    free(s->answered);
    free(s->rules);
    free(s->key);
    free(s->model);
    free(s);
}

static void *serve(void *context)
{
    fault_run(context, NULL);
    return NULL;
}

fault_server *fault_start(const fault_config *config)
{
    fault_server *s = fault_open(config);
    if (s != NULL && pthread_create(&s->thread, NULL, serve, s) != 0) {
        fault_close(s);
        return NULL;
    }
    return s;
}

void fault_stop(fault_server *s)
{
    __atomic_store_n(&s->stopping, 1, __ATOMIC_RELEASE);
    pthread_join(s->thread, NULL);
    fault_close(s);
}

void fault_get(fault_server *s, fault_stats *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->stats;
    pthread_mutex_unlock(&s->lock);
}

bool fault_reset(fault_server *s, const char *script)
{
    pthread_mutex_lock(&s->lock);
    bool ok = set_script(s, script);
    clear_counts(s);
    pthread_mutex_unlock(&s->lock);
    return ok;
}
