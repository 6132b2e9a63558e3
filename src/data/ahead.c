/* ahead.c - buffers go round in a ring: the thread fills those that are free, in order. */
#include "data/ahead.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

#define N_BUFFERS    4
#define BUFFER_BYTES ((size_t)256 << 10)

typedef struct buffer {
    char *bytes;
    size_t len;
    bool is_last; /* the file ends after it, or reading failed */
    um_status status;
    um_error err;
} buffer;

struct um_ahead {
    um_stream *stream;
    char *memory;
    buffer buffers[N_BUFFERS];
    buffer *current; /* being emptied; NULL: none yet */
    size_t at;       /* next byte of it */
    pthread_t thread;
    bool has_thread; /* else buffers are filled when they are asked for */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock: buffers filled and emptied so far, and whether to give up. */
    size_t n_filled, n_emptied;
    bool is_stopped;
};

static void fill(um_ahead *a, buffer *b)
{
    b->len = 0;
    b->status = um_stream_read(a->stream, b->bytes, BUFFER_BYTES, &b->len, &b->err);
    if (b->status != UM_OK)
        b->len = 0;
    b->is_last = b->len == 0;
}

static void *run(void *context)
{
    um_ahead *a = context;
    bool is_last = false;
    while (!is_last) {
        pthread_mutex_lock(&a->lock);
        while (a->n_filled - a->n_emptied == N_BUFFERS && !a->is_stopped)
            pthread_cond_wait(&a->changed, &a->lock);
        bool is_stopped = a->is_stopped;
        buffer *b = &a->buffers[a->n_filled % N_BUFFERS];
        pthread_mutex_unlock(&a->lock);
        if (is_stopped)
            return NULL;
        fill(a, b);
        is_last = b->is_last;
        pthread_mutex_lock(&a->lock);
        a->n_filled++;
        pthread_cond_signal(&a->changed);
        pthread_mutex_unlock(&a->lock);
    }
    return NULL;
}

/* The thread takes no signals: handlers run on the one that reads. */
static bool start(um_ahead *a)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int code = pthread_create(&a->thread, NULL, run, a);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code == 0;
}

um_status um_ahead_open(um_ahead **out, um_stream *stream, um_error *err)
{
    um_ahead *a = um_calloc(1, sizeof *a);
    if (a == NULL || (a->memory = malloc(N_BUFFERS * BUFFER_BYTES)) == NULL) {
        free(a);
        return um_fail_memory(err, "a file reader");
    }
    a->stream = stream;
    for (size_t i = 0; i < N_BUFFERS; i++)
        a->buffers[i].bytes = a->memory + i * BUFFER_BYTES;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    a->has_thread = start(a);
    *out = a;
    return UM_OK;
}

/* The buffer in hand goes back, the next one comes. */
static void change_buffer(um_ahead *a)
{
    if (!a->has_thread) {
        a->current = &a->buffers[0];
        fill(a, a->current);
    } else {
        pthread_mutex_lock(&a->lock);
        if (a->current != NULL) {
            a->n_emptied++;
            pthread_cond_signal(&a->changed);
        }
        while (a->n_filled == a->n_emptied)
            pthread_cond_wait(&a->changed, &a->lock);
        a->current = &a->buffers[a->n_emptied % N_BUFFERS];
        pthread_mutex_unlock(&a->lock);
    }
    a->at = 0;
}

um_status um_ahead_read(um_ahead *a, void *bytes, size_t size, size_t *n, um_error *err)
{
    *n = 0;
    if (a->current == NULL || (a->at == a->current->len && !a->current->is_last))
        change_buffer(a);
    const buffer *b = a->current;
    if (b->status != UM_OK)
        return um_fail(err, b->status, "%s", b->err.text);
    *n = b->len - a->at < size ? b->len - a->at : size;
    if (*n > 0)
        memcpy(bytes, b->bytes + a->at, *n);
    a->at += *n;
    return UM_OK;
}

void um_ahead_close(um_ahead *a)
{
    if (a == NULL)
        return;
    if (a->has_thread) {
        pthread_mutex_lock(&a->lock);
        a->is_stopped = true;
        pthread_cond_signal(&a->changed);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
    }
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a->memory);
    free(a);
}
