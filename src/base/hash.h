/* hash.h - content hashes (XXH3-64) and a string -> index map. */
#ifndef UM_BASE_HASH_H
#define UM_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

uint64_t um_hash(const void *bytes, size_t n, uint64_t seed);
uint64_t um_hash_str(const char *text, uint64_t seed);
void um_hash_hex(uint64_t hash, char out[17]);

/*
 * Open addressing map from strings to uint32_t; keys are borrowed (arena or table owns them). A
 * slot holds a part of its key's hash, so that a lookup touches one slot and, nearly always, one
 * key.
 */
typedef struct um_map_slot {
    const char *key; /* NULL = free */
    uint32_t value;
    uint32_t hash; /* the low half */
} um_map_slot;

typedef struct um_map {
    um_map_slot *slots;
    size_t len, cap;
} um_map;

void um_map_dispose(um_map *m);
/* False on out of memory. An existing key keeps its value; *inserted (may be NULL) tells. */
bool um_map_put(um_map *m, const char *key, uint32_t value, bool *inserted);
bool um_map_get(const um_map *m, const char *key, uint32_t *value);
/* The same with um_map_hash of the key. */
bool um_map_get_hashed(const um_map *m, const char *key, uint64_t hash, uint32_t *value);
/*
 * For whoever knows keys some time before they are looked up: both bring memory near, the slot
 * first and, when that has come, the key in it. hash is um_map_hash of the key, 0 = unknown: the
 * map is then not looked at, which another thread may be changing.
 */
uint64_t um_map_hash(const char *key, size_t len);
void um_map_prefetch_slot(const um_map *m, uint64_t hash);
void um_map_prefetch_key(const um_map *m, uint64_t hash);

#endif
