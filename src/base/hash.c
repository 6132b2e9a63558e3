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
    free(m->keys);
    free(m->values);
    *m = (um_map){0};
}

/* cap is a power of two and never full, so the probe ends at the key or at an empty slot. */
static size_t find_slot(const char *const *keys, size_t cap, const char *key)
{
    size_t slot = (size_t)um_hash_str(key, 0) & (cap - 1);
    while (keys[slot] != NULL && strcmp(keys[slot], key) != 0)
        slot = (slot + 1) & (cap - 1);
    return slot;
}

static bool rehash(um_map *m, size_t cap)
{
    const char **keys = um_calloc(cap, sizeof *keys);
    uint32_t *values = um_calloc(cap, sizeof *values);
    if (keys == NULL || values == NULL) {
        free(keys);
        free(values);
        return false;
    }
    for (size_t i = 0; i < m->cap; i++) {
        if (m->keys[i] == NULL)
            continue;
        size_t slot = find_slot(keys, cap, m->keys[i]);
        keys[slot] = m->keys[i];
        values[slot] = m->values[i];
    }
    free(m->keys);
    free(m->values);
    m->keys = keys;
    m->values = values;
    m->cap = cap;
    return true;
}

bool um_map_put(um_map *m, const char *key, uint32_t value, bool *inserted)
{
    /* At most 3/4 full. */
    if (m->len >= m->cap / 4 * 3) {
        if (m->cap > SIZE_MAX / 2 || !rehash(m, m->cap == 0 ? 64 : m->cap * 2))
            return false;
    }
    size_t slot = find_slot(m->keys, m->cap, key);
    bool is_new = m->keys[slot] == NULL;
    if (is_new) {
        m->keys[slot] = key;
        m->values[slot] = value;
        m->len++;
    }
    if (inserted != NULL)
        *inserted = is_new;
    return true;
}

bool um_map_get(const um_map *m, const char *key, uint32_t *value)
{
    if (m->len == 0)
        return false;
    size_t slot = find_slot(m->keys, m->cap, key);
    if (m->keys[slot] == NULL)
        return false;
    if (value != NULL)
        *value = m->values[slot];
    return true;
}
