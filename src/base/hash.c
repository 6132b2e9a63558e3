#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/mem.h"

uint64_t um_hash(const void *bytes, size_t n, uint64_t seed)
{
    return XXH3_64bits_withSeed(n > 0 ? bytes : "", n, seed);
}

uint64_t um_hash_str(const char *text, uint64_t seed)
{
    return um_hash(text, strlen(text), seed);
}

void um_hash_hex(uint64_t hash, char out[17])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--) {
        out[i] = digits[hash & 15];
        hash >>= 4;
    }
    out[16] = '\0';
}

void um_map_dispose(um_map *m)
{
    free(m->slots);
    *m = (um_map){0};
}

uint64_t um_map_hash(const char *key, size_t len)
{
    return um_hash(key, len, 0);
}

/* cap is a power of two and never full, so the probe ends at the key or at an empty slot. */
static um_map_slot *find_slot(const um_map *m, const char *key, uint32_t hash)
{
    size_t at = hash & (m->cap - 1);
    while (m->slots[at].key != NULL &&
           (m->slots[at].hash != hash || strcmp(m->slots[at].key, key) != 0))
        at = (at + 1) & (m->cap - 1);
    return &m->slots[at];
}

static bool rehash(um_map *m, size_t cap)
{
    um_map_slot *slots = um_aligned_calloc(cap, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < m->cap; i++) {
        size_t at = m->slots[i].hash & (cap - 1);
        if (m->slots[i].key == NULL)
            continue;
        while (slots[at].key != NULL)
            at = (at + 1) & (cap - 1);
        slots[at] = m->slots[i];
    }
    free(m->slots);
    m->slots = slots;
    m->cap = cap;
    return true;
}

bool um_map_put(um_map *m, const char *key, uint32_t value, bool *inserted)
{
    /* At most 3/4 full; half a hash tells 2^32 slots apart. */
    if (m->len >= m->cap / 4 * 3) {
        if (m->cap > UINT32_MAX / 2 || !rehash(m, m->cap == 0 ? 64 : m->cap * 2))
            return false;
    }
    uint32_t hash = (uint32_t)um_map_hash(key, strlen(key));
    um_map_slot *slot = find_slot(m, key, hash);
    bool is_new = slot->key == NULL;
    if (is_new) {
        *slot = (um_map_slot){.key = key, .value = value, .hash = hash};
        m->len++;
    }
    if (inserted != NULL)
        *inserted = is_new;
    return true;
}

bool um_map_get(const um_map *m, const char *key, uint32_t *value)
{
    return m->len > 0 && um_map_get_hashed(m, key, um_map_hash(key, strlen(key)), value);
}

bool um_map_get_hashed(const um_map *m, const char *key, uint64_t hash, uint32_t *value)
{
    if (m->len == 0)
        return false;
    const um_map_slot *slot = find_slot(m, key, (uint32_t)hash);
    if (slot->key == NULL)
        return false;
    if (value != NULL)
        *value = slot->value;
    return true;
}

void um_map_prefetch_slot(const um_map *m, uint64_t hash)
{
    if (hash != 0 && m->len > 0)
        __builtin_prefetch(&m->slots[hash & (m->cap - 1)]);
}

void um_map_prefetch_key(const um_map *m, uint64_t hash)
{
    if (hash == 0 || m->len == 0)
        return;
    size_t at = hash & (m->cap - 1);
    while (m->slots[at].key != NULL && m->slots[at].hash != (uint32_t)hash)
        at = (at + 1) & (m->cap - 1);
    __builtin_prefetch(m->slots[at].key);
}
