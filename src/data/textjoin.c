#include "data/textjoin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"

#define HASH_SEED    0x7465787431u
#define FIRST_SLOTS  1024
#define BUFFER_BYTES ((size_t)1 << 18)

/* Of the file: the key, its NUL, the text. */
typedef struct slot {
    uint64_t hash;
    uint64_t offset;
    uint32_t len; /* of the text; the key's is found by reading */
    uint32_t is_used;
} slot;

struct um_textjoin {
    int fd;
    slot *slots; /* open addressing; cap is a power of two, at most 3/4 full */
    size_t cap, len;
    uint64_t written; /* bytes in the file */
    char *buffer;     /* what comes after them */
    size_t buffered;
};

um_status um_textjoin_new(um_textjoin **out, const char *dir, um_error *err)
{
    um_str path = UM_STR_INIT;
    const char *tmp = getenv("TMPDIR");
    um_status status = UM_OK;
    um_textjoin *t = um_calloc(1, sizeof *t);
    if (t == NULL)
        return um_fail_memory(err, "a text store");
    t->fd = -1;
    t->slots = um_calloc(FIRST_SLOTS, sizeof *t->slots);
    t->buffer = malloc(BUFFER_BYTES);
    t->cap = FIRST_SLOTS;
    um_str_appendf(&path, "%s/mirrorer-texts-XXXXXX",
                   dir != NULL                     ? dir
                   : tmp != NULL && tmp[0] != '\0' ? tmp
                                                   : "/tmp");
    status = um_str_status(&path, err);
    if (status == UM_OK && (t->slots == NULL || t->buffer == NULL))
        status = um_fail_memory(err, "a text store");
    if (status == UM_OK && (t->fd = mkostemp(path.data, O_CLOEXEC)) < 0)
        status = um_fail_errno(err, "make a file for texts", path.data);
    if (status == UM_OK && unlink(path.data) != 0)
        status = um_fail_errno(err, "unlink", path.data);
    um_str_dispose(&path);
    if (status != UM_OK) {
        um_textjoin_free(t);
        return status;
    }
    *out = t;
    return UM_OK;
}

void um_textjoin_free(um_textjoin *t)
{
    if (t == NULL)
        return;
    if (t->fd >= 0)
        close(t->fd);
    free(t->slots);
    free(t->buffer);
    free(t);
}

size_t um_textjoin_len(const um_textjoin *t)
{
    return t->len;
}

static um_status flush(um_textjoin *t, um_error *err)
{
    size_t done = 0;
    while (done < t->buffered) {
        ssize_t n = write(t->fd, t->buffer + done, t->buffered - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return um_fail_errno(err, "write", "the file of texts put aside");
        done += (size_t)n;
    }
    t->written += t->buffered;
    t->buffered = 0;
    return UM_OK;
}

static um_status append(um_textjoin *t, const char *bytes, size_t n, um_error *err)
{
    while (n > 0) {
        size_t room = BUFFER_BYTES - t->buffered, part = n < room ? n : room;
        memcpy(t->buffer + t->buffered, bytes, part);
        t->buffered += part;
        bytes += part;
        n -= part;
        um_status status = t->buffered == BUFFER_BYTES ? flush(t, err) : UM_OK;
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

static um_status read_at(um_textjoin *t, uint64_t offset, char *bytes, size_t n, um_error *err)
{
    if (t->buffered > 0) {
        um_status status = flush(t, err);
        if (status != UM_OK)
            return status;
    }
    while (n > 0) {
        ssize_t got = pread(t->fd, bytes, n, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return um_fail_errno(err, "read", "the file of texts put aside");
        if (got == 0)
            return um_fail(err, UM_ERR_IO, "the file of texts put aside has lost its end");
        bytes += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return UM_OK;
}

static bool grow(um_textjoin *t)
{
    size_t cap = t->cap * 2;
    slot *slots = um_calloc(cap, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < t->cap; i++) {
        size_t at = (size_t)t->slots[i].hash & (cap - 1);
        if (!t->slots[i].is_used)
            continue;
        while (slots[at].is_used)
            at = (at + 1) & (cap - 1);
        slots[at] = t->slots[i];
    }
    free(t->slots);
    t->slots = slots;
    t->cap = cap;
    return true;
}

/*
 * The slot of the key, or the free one it would take. With `text`, what is stored under the key is
 * left there.
 */
static um_status find(um_textjoin *t, const char *key, slot **out, um_str *text, um_error *err)
{
    size_t key_len = strlen(key);
    uint64_t hash = um_hash(key, key_len, HASH_SEED);
    size_t at = (size_t)hash & (t->cap - 1);
    char stored[UM_TEXTJOIN_MAX_KEY_BYTES + 1];
    if (key_len > UM_TEXTJOIN_MAX_KEY_BYTES)
        return um_fail(err, UM_ERR_LIMIT, "a key has %zu bytes, limit %d", key_len,
                       UM_TEXTJOIN_MAX_KEY_BYTES);
    for (; t->slots[at].is_used; at = (at + 1) & (t->cap - 1)) {
        const slot *s = &t->slots[at];
        if (s->hash != hash)
            continue;
        /* Every key has its NUL: a longer or a shorter one differs within these bytes. */
        uint64_t size = t->written + t->buffered - s->offset;
        size_t want = size < key_len + 1 ? (size_t)size : key_len + 1;
        um_status status = read_at(t, s->offset, stored, want, err);
        if (status != UM_OK)
            return status;
        if (want == key_len + 1 && memcmp(stored, key, want) == 0)
            break;
    }
    *out = &t->slots[at];
    if (!(*out)->is_used || text == NULL)
        return UM_OK;
    char part[4096];
    uint64_t offset = (*out)->offset + key_len + 1;
    um_status status = UM_OK;
    for (size_t left = (*out)->len; left > 0 && status == UM_OK;) {
        size_t n = left < sizeof part ? left : sizeof part;
        status = read_at(t, offset, part, n, err);
        if (status == UM_OK)
            um_str_append_n(text, part, n);
        offset += n;
        left -= n;
    }
    if (status == UM_OK)
        status = um_str_status(text, err);
    return status;
}

um_status um_textjoin_put(um_textjoin *t, const char *key, const char *text, size_t len,
                          bool *added, um_error *err)
{
    slot *s = NULL;
    if (len > UINT32_MAX)
        return um_fail(err, UM_ERR_LIMIT, "a text has %zu bytes, limit %u", len, UINT32_MAX);
    if (t->len + 1 > t->cap / 4 * 3 && !grow(t))
        return um_fail_memory(err, "a text store");
    um_status status = find(t, key, &s, NULL, err);
    if (status != UM_OK)
        return status;
    *added = !s->is_used;
    if (s->is_used)
        return UM_OK;
    *s = (slot){.hash = um_hash_str(key, HASH_SEED),
                .offset = t->written + t->buffered,
                .len = (uint32_t)len,
                .is_used = 1};
    t->len++;
    status = append(t, key, strlen(key) + 1, err);
    return status == UM_OK ? append(t, text, len, err) : status;
}

um_status um_textjoin_get(um_textjoin *t, const char *key, um_str *out, bool *found, um_error *err)
{
    slot *s = NULL;
    um_str_clear(out);
    um_status status = find(t, key, &s, out, err);
    *found = status == UM_OK && s->is_used;
    return status;
}
