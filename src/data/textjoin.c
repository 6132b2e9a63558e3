#include "data/textjoin.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/spool.h"

#define HASH_SEED     0x7465787431u
#define FIRST_SLOTS   1024
#define RELEASE_BYTES ((size_t)64 << 20) /* looked at before the memory is let go */

typedef struct slot {
    uint64_t hash;
    const char *entry; /* in the spool: the key, a NUL, the text, a NUL; NULL = free */
} slot;

struct um_textjoin {
    um_spool *spool;
    slot *slots; /* open addressing; cap is a power of two, at most 3/4 full */
    size_t cap, len;
    um_str entry;
    atomic_size_t seen_bytes; /* since the memory was last let go */
};

um_status um_textjoin_new(um_textjoin **out, const char *dir, um_error *err)
{
    um_textjoin *t = um_calloc(1, sizeof *t);
    if (t == NULL)
        return um_fail_memory(err, "a text store");
    t->cap = FIRST_SLOTS;
    t->slots = um_calloc(t->cap, sizeof *t->slots);
    um_status status =
        t->slots != NULL ? um_spool_new(&t->spool, dir, err) : um_fail_memory(err, "a text store");
    if (status == UM_OK)
        *out = t;
    else
        um_textjoin_free(t);
    return status;
}

void um_textjoin_free(um_textjoin *t)
{
    if (t == NULL)
        return;
    um_spool_free(t->spool);
    um_str_dispose(&t->entry);
    free(t->slots);
    free(t);
}

size_t um_textjoin_len(const um_textjoin *t)
{
    return t->len;
}

/* The slot of the key, or the free one it would take. */
static slot *find(const um_textjoin *t, const char *key, uint64_t hash)
{
    size_t at = (size_t)hash & (t->cap - 1);
    while (t->slots[at].entry != NULL &&
           (t->slots[at].hash != hash ||
            strcmp(um_spool_look(t->spool, t->slots[at].entry), key) != 0))
        at = (at + 1) & (t->cap - 1);
    return &t->slots[at];
}

static bool grow(um_textjoin *t)
{
    size_t cap = t->cap * 2;
    slot *slots = um_calloc(cap, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < t->cap; i++) {
        size_t at = (size_t)t->slots[i].hash & (cap - 1);
        if (t->slots[i].entry == NULL)
            continue;
        while (slots[at].entry != NULL)
            at = (at + 1) & (cap - 1);
        slots[at] = t->slots[i];
    }
    free(t->slots);
    t->slots = slots;
    t->cap = cap;
    return true;
}

um_status um_textjoin_put(um_textjoin *t, const char *key, const char *text, bool *added,
                          um_error *err)
{
    uint64_t hash = um_hash_str(key, HASH_SEED);
    char *entry = NULL;
    if (t->len + 1 > t->cap / 4 * 3 && !grow(t))
        return um_fail_memory(err, "a text store");
    slot *s = find(t, key, hash);
    *added = s->entry == NULL;
    if (s->entry != NULL)
        return UM_OK;
    um_str_clear(&t->entry);
    um_str_append_n(&t->entry, key, strlen(key) + 1);
    um_str_append(&t->entry, text);
    um_status status = um_str_status(&t->entry, err);
    if (status == UM_OK)
        status = um_spool_add(t->spool, um_str_text(&t->entry), t->entry.len, &entry, err);
    if (status != UM_OK)
        return status;
    *s = (slot){.hash = hash, .entry = entry};
    t->len++;
    return UM_OK;
}

um_status um_textjoin_flush(um_textjoin *t, um_error *err)
{
    return um_spool_flush(t->spool, err);
}

uint64_t um_textjoin_near(const um_textjoin *t, const char *key)
{
    const uint64_t hash = um_hash_str(key, HASH_SEED);
    __builtin_prefetch(&t->slots[hash & (t->cap - 1)]);
    return hash;
}

const char *um_textjoin_get(um_textjoin *t, const char *key)
{
    return um_textjoin_get_near(t, key, um_hash_str(key, HASH_SEED));
}

const char *um_textjoin_get_near(um_textjoin *t, const char *key, uint64_t near)
{
    const slot *s = find(t, key, near);
    if (s->entry == NULL)
        return NULL;
    const char *text = um_spool_look(t->spool, s->entry) + strlen(key) + 1;
    const size_t len = strlen(text), before = atomic_fetch_add(&t->seen_bytes, len);
    if (before + len >= RELEASE_BYTES && before < RELEASE_BYTES) { /* by one thread only */
        um_spool_release(t->spool);
        t->seen_bytes = 0;
    }
    return text;
}
