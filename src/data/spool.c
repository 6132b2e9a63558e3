#include "data/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#define PIECE_BYTES ((size_t)64 << 20)  /* unless one text is longer; the first is on the heap */
/* What a writer takes at a time. Of the heap one huge page: two threads that touch one of them
 * first would both clear it. Of the file what is written at once and stays in the cache. */
#define HEAP_CHUNK_BYTES ((size_t)2 << 20)
#define FILE_CHUNK_BYTES ((size_t)256 << 10)
#define SYSTEM_DIR  "/var/tmp"

typedef struct piece {
    char *data;
    size_t len, cap;
    uint64_t offset; /* in the file */
    bool is_mapped;
} piece;

struct um_spool {
    char *dir;
    int fd; /* -1 before the file is needed */
    uint64_t file_bytes;
    UM_VEC(piece) pieces;     /* the last one is being filled */
    UM_VEC(uint32_t) by_data; /* those in the file, by address */
    um_spool_writer own;      /* of um_spool_add */
    pthread_mutex_t lock;     /* of all but `own` */
};

um_status um_spool_new(um_spool **out, const char *dir, um_error *err)
{
    um_spool *s = um_calloc(1, sizeof *s);
    if (s == NULL)
        return um_fail_memory(err, "a text store");
    s->fd = -1;
    s->own.spool = s;
    if (dir == NULL)
        dir = getenv("TMPDIR");
    if (dir == NULL || dir[0] == '\0')
        dir = um_path_is_dir(SYSTEM_DIR) ? SYSTEM_DIR : "/tmp";
    s->dir = um_strdup(dir);
    if (s->dir == NULL) {
        free(s);
        return um_fail_memory(err, "a text store");
    }
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return UM_OK;
}

void um_spool_free(um_spool *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->pieces.len; i++) {
        if (s->pieces.data[i].is_mapped)
            munmap(s->pieces.data[i].data, s->pieces.data[i].cap);
        else
            free(s->pieces.data[i].data);
    }
    um_vec_dispose(&s->pieces);
    um_vec_dispose(&s->by_data);
    free(s->own.stage);
    pthread_mutex_destroy(&s->lock);
    if (s->fd >= 0)
        close(s->fd);
    free(s->dir);
    free(s);
}

/* A file without a name, where the file system can make one; else one whose name is removed. */
static um_status open_file(um_spool *s, um_error *err)
{
    char *path = NULL;
    s->fd = open(s->dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (s->fd >= 0)
        return UM_OK;
    um_status status = um_path_join(&path, s->dir, "mirrorer-texts-XXXXXX", err);
    if (status != UM_OK)
        return status;
    s->fd = mkostemp(path, O_CLOEXEC);
    if (s->fd < 0)
        status = um_fail_errno(err, "make a temporary file in", s->dir);
    else
        unlink(path);
    free(path);
    return status;
}

static um_status fail_write(const um_spool *s, int code, size_t bytes, um_error *err)
{
    if (code == ENOSPC || code == EDQUOT || code == EFBIG)
        return um_fail(err, UM_ERR_IO,
                       "%s: disk is full: long texts are put aside there, %zu bytes more are "
                       "needed; free space and run the same command again",
                       s->dir, bytes);
    errno = code;
    return um_fail_errno(err, "write a temporary file in", s->dir);
}

/* The file grows without taking space: that is taken, or found lacking, when a text is written. */
static um_status map_piece(um_spool *s, piece *p, um_error *err)
{
    um_status status = s->fd < 0 ? open_file(s, err) : UM_OK;
    if (status != UM_OK)
        return status;
    if (ftruncate(s->fd, (off_t)(s->file_bytes + p->cap)) != 0)
        return fail_write(s, errno, p->cap, err);
    void *data = mmap(NULL, p->cap, PROT_READ, MAP_SHARED, s->fd, (off_t)s->file_bytes);
    if (data == MAP_FAILED)
        return um_fail_errno(err, "map a temporary file in", s->dir);
    p->data = data;
    p->offset = s->file_bytes;
    p->is_mapped = true;
    s->file_bytes += p->cap;
    return UM_OK;
}

static um_status write_all(const um_spool *s, const char *bytes, size_t n, uint64_t offset,
                           um_error *err)
{
    while (n > 0) {
        ssize_t got = pwrite(s->fd, bytes, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return fail_write(s, got < 0 ? errno : ENOSPC, n, err);
        bytes += got;
        n -= (size_t)got;
        offset += (uint64_t)got;
    }
    return UM_OK;
}

static um_status add_piece(um_spool *s, size_t need, um_error *err)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    piece p = {.cap = need <= PIECE_BYTES ? PIECE_BYTES : (need + page - 1) / page * page};
    if (!um_vec_reserve(&s->pieces, s->pieces.len + 1) ||
        !um_vec_reserve(&s->by_data, s->by_data.len + 1))
        return um_fail_memory(err, "a text store");
    /* Only what is filled takes memory, in huge pages: each of the small ones would cost a fault.
     */
    if (s->pieces.len == 0 && need <= PIECE_BYTES)
        p.data = um_aligned_alloc(p.cap, 1);
    if (p.data == NULL) {
        um_status status = map_piece(s, &p, err);
        if (status != UM_OK)
            return status;
    }
    s->pieces.data[s->pieces.len++] = p;
    if (p.is_mapped) {
        size_t at = s->by_data.len++;
        for (; at > 0 && s->pieces.data[s->by_data.data[at - 1]].data > p.data; at--)
            s->by_data.data[at] = s->by_data.data[at - 1];
        s->by_data.data[at] = (uint32_t)(s->pieces.len - 1);
    }
    return UM_OK;
}

/* Writers ------------------------------------------------------------------------------------- */

static um_status write_staged(um_spool_writer *w, um_error *err)
{
    if (w->staged == 0)
        return UM_OK;
    um_status status = write_all(w->spool, w->stage, w->staged, w->offset, err);
    if (status == UM_OK) {
        w->offset += w->staged;
        w->staged = 0;
        w->place = w->stage;
    }
    return status;
}

/* The end of the chunk goes back, where nothing came after it. */
static void give_back(um_spool_writer *w)
{
    um_spool *s = w->spool;
    piece *last = s->pieces.len > 0 ? &s->pieces.data[s->pieces.len - 1] : NULL;
    if (last != NULL && w->left > 0 && w->address >= last->data &&
        w->address + w->left == last->data + last->len)
        last->len -= w->left;
    w->left = 0;
}

/* A chunk of the last piece with room for n bytes, at from->len; the lock is held. */
static um_status take_chunk(um_spool_writer *w, size_t n, piece *from, um_error *err)
{
    um_spool *s = w->spool;
    um_status status = UM_OK;
    give_back(w);
    piece *last = s->pieces.len > 0 ? &s->pieces.data[s->pieces.len - 1] : NULL;
    if (last == NULL || last->cap - last->len < n) {
        status = add_piece(s, n, err);
        if (status != UM_OK)
            return status;
        last = &s->pieces.data[s->pieces.len - 1];
    }
    size_t size = last->is_mapped ? FILE_CHUNK_BYTES : HEAP_CHUNK_BYTES;
    size = size < n ? n : size;
    size = last->cap - last->len < size ? last->cap - last->len : size;
    *from = *last;
    last->len += size;
    w->left = size;
    return UM_OK;
}

static um_status next_chunk(um_spool_writer *w, size_t n, um_error *err)
{
    piece from = {0};
    um_status status = write_staged(w, err);
    if (status != UM_OK)
        return status;
    pthread_mutex_lock(&w->spool->lock);
    status = take_chunk(w, n, &from, err);
    pthread_mutex_unlock(&w->spool->lock);
    if (status != UM_OK)
        return status;
    w->address = w->place = from.data + from.len;
    if (!from.is_mapped)
        return UM_OK;
    w->offset = from.offset + from.len;
    if (w->stage_cap < w->left) {
        free(w->stage);
        w->stage_cap = w->left > FILE_CHUNK_BYTES ? w->left : FILE_CHUNK_BYTES;
        w->stage = malloc(w->stage_cap);
        if (w->stage == NULL) {
            w->stage_cap = w->left = 0;
            return um_fail_memory(err, "a text store");
        }
    }
    w->place = w->stage;
    return UM_OK;
}

um_status um_spool_room(um_spool_writer *w, size_t n, char **place, um_error *err)
{
    um_status status = UM_OK;
    if (n > SIZE_MAX / 4)
        return um_fail(err, UM_ERR_LIMIT, "a text of %zu bytes", n);
    if (n > w->left)
        status = next_chunk(w, n, err);
    *place = w->place;
    return status;
}

char *um_spool_keep(um_spool_writer *w, size_t n)
{
    char *address = w->address;
    if (w->place != address)
        w->staged += n;
    w->place += n;
    w->address += n;
    w->left -= n;
    return address;
}

um_status um_spool_close(um_spool_writer *w, um_error *err)
{
    if (w->spool == NULL)
        return UM_OK;
    um_status status = write_staged(w, err);
    pthread_mutex_lock(&w->spool->lock);
    give_back(w);
    pthread_mutex_unlock(&w->spool->lock);
    free(w->stage);
    *w = (um_spool_writer){0};
    return status;
}

um_status um_spool_add(um_spool *s, const char *text, size_t len, char **out, um_error *err)
{
    char *place = NULL;
    um_status status = um_spool_room(&s->own, len + 1, &place, err);
    if (status != UM_OK)
        return status;
    if (len > 0)
        memcpy(place, text, len);
    place[len] = '\0';
    *out = um_spool_keep(&s->own, len + 1);
    return UM_OK;
}

um_status um_spool_flush(um_spool *s, um_error *err)
{
    return write_staged(&s->own, err);
}

const char *um_spool_look(const um_spool *s, const char *text)
{
    const um_spool_writer *w = &s->own;
    const char *first = w->address - w->staged;
    return w->staged > 0 && text >= first && text < w->address ? w->stage + (text - first) : text;
}

/* Reading ------------------------------------------------------------------------------------- */

/* The piece of the file that holds a text, or NULL. */
static const piece *find_piece(const um_spool *s, const char *text)
{
    size_t low = 0, high = s->by_data.len;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (s->pieces.data[s->by_data.data[middle]].data <= text)
            low = middle + 1;
        else
            high = middle;
    }
    const piece *p = low > 0 ? &s->pieces.data[s->by_data.data[low - 1]] : NULL;
    return p != NULL && text < p->data + p->len ? p : NULL;
}

static void let_go(const piece *p)
{
    /* The mapping is shared: what was written stays in the file. */
    if (p->is_mapped)
        madvise(p->data, p->cap, MADV_DONTNEED);
}

enum { AHEAD = 16 }; /* texts asked for before they are looked at */

typedef struct wanted {
    const char *text;
    size_t index;
} wanted;

static int compare_wanted(const void *a, const void *b)
{
    const char *x = ((const wanted *)a)->text, *y = ((const wanted *)b)->text;
    return (x > y) - (x < y);
}

um_status um_spool_gather(const um_spool *s, char *const *texts, size_t n, um_str *out,
                          size_t *place, um_error *err)
{
    size_t n_wanted = 0;
    wanted *order = um_calloc(n, sizeof *order);
    if (order == NULL)
        return um_fail_memory(err, "texts");
    for (size_t i = 0; i < n; i++) {
        place[i] = SIZE_MAX;
        if (texts[i] != NULL)
            order[n_wanted++] = (wanted){texts[i], i};
    }
    qsort(order, n_wanted, sizeof *order, compare_wanted);
    const piece *p = NULL; /* in which the sweep is: one at a time is in memory */
    for (size_t i = 0; i < n_wanted; i++) {
        const char *text = order[i].text;
        __builtin_prefetch(order[i + AHEAD < n_wanted ? i + AHEAD : i].text);
        if (p == NULL || text < p->data || text >= p->data + p->len) {
            if (p != NULL)
                let_go(p);
            p = s != NULL ? find_piece(s, text) : NULL;
        }
        place[order[i].index] = out->len;
        um_str_append_n(out, text, strlen(text) + 1);
    }
    if (p != NULL)
        let_go(p);
    free(order);
    return um_str_status(out, err);
}

void um_spool_release(um_spool *s)
{
    for (size_t i = 0; i < s->pieces.len; i++)
        let_go(&s->pieces.data[i]);
}

uint64_t um_spool_bytes(const um_spool *s)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < s->pieces.len; i++)
        bytes += s->pieces.data[i].len;
    return bytes - s->own.left;
}

uint64_t um_spool_file_bytes(const um_spool *s)
{
    return s->file_bytes;
}
