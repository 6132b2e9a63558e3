/*
 * ids.h - external ids (text) to dense indices in order of first appearance.
 *
 * Most logs number their users and items: an id that is a plain decimal below UM_IDS_NUMERIC_MAX
 * ("17", not "017" or "+17") is looked up in an array, any other in a hash map. Where the first id
 * has something before the digits at its end ("N17", "user-17"), the array is for ids with that
 * prefix. Ids stay text.
 */
#ifndef UM_DATA_IDS_H
#define UM_DATA_IDS_H

#include "base/hash.h"
#include "base/mem.h"
#include "mirrorer/status.h"

#define UM_IDS_NUMERIC_MAX ((uint32_t)1 << 22)
#define UM_IDS_PREFIX_MAX  16

typedef struct um_ids {
    UM_VEC(char *) names; /* names.data[index], in the arena */
    um_map map;
    char prefix[UM_IDS_PREFIX_MAX]; /* before the decimals of `numeric` */
    size_t prefix_len;
    uint64_t prefix_word, prefix_mask; /* its first bytes (base/scan.h) */
    uint32_t *numeric;                 /* index + 1 by decimal value; 0 = not there */
    size_t numeric_cap;
} um_ids;

void um_ids_dispose(um_ids *ids);
/* Index of `id`, made when new. what = "user" or "item", for the message of an empty id. */
um_status um_ids_intern(um_ids *ids, um_arena *arena, const char *id, const char *what,
                        uint32_t *index, bool *added, um_error *err) UM_CHECKED;
bool um_ids_find(const um_ids *ids, const char *id, uint32_t *index);
/* The same of an id of that length, and with its um_map_hash, 0 = unknown. */
bool um_ids_find_n(const um_ids *ids, const char *id, size_t len, uint32_t *index);
bool um_ids_find_hashed(const um_ids *ids, const char *id, size_t len, uint64_t hash,
                        uint32_t *index);

#endif
