#include "data/ids.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/scan.h"

/* Largest index is UINT32_MAX - 2, so that index + 1 and the row count fit as well. */
#define IDS_MAX ((size_t)UINT32_MAX - 1)

void um_ids_dispose(um_ids *ids)
{
    um_vec_dispose(&ids->names);
    um_map_dispose(&ids->map);
    free(ids->numeric);
    *ids = (um_ids){0};
}

/* The last n digits of an id of at least a word, without a branch for each: how many there are
 * cannot be guessed. */
static inline bool long_id_number(const char *end, size_t n_digits, uint64_t *value)
{
    const uint64_t zeros = UINT64_C(0x3030303030303030);
    const uint64_t before = UINT64_MAX >> 8 * n_digits;
    const uint64_t word = um_scan_word(end - UM_SCAN_WORD);
    return um_scan_digits((word & ~before) | (zeros & before), value);
}

static bool short_id_number(const char *digits, size_t n_digits, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < n_digits; i++) {
        const unsigned d = (unsigned char)digits[i] - '0';
        if (d > 9)
            return false;
        *value = *value * 10 + d;
    }
    return true;
}

/* The number of an id that belongs into the array: after the prefix a decimal as printf("%u") would
 * write it, below UM_IDS_NUMERIC_MAX. Inlined: rows have many ids to look up. */
static inline __attribute__((always_inline)) bool id_number(const um_ids *ids, const char *id,
                                                            size_t len, uint32_t *value)
{
    enum { MOST = 7 }; /* digits */
    static_assert(UM_IDS_NUMERIC_MAX <= 10000000, "so many have no more");
    static_assert(UM_IDS_PREFIX_MAX >= UM_SCAN_WORD, "the prefix has a first word");
    const size_t prefix = ids->prefix_len, n_digits = len - prefix;
    uint64_t number = 0;
    if (len <= prefix || n_digits > MOST)
        return false;
    const bool is_long = len >= UM_SCAN_WORD;
    if (is_long && prefix <= UM_SCAN_WORD
            ? (um_scan_word(id) & ids->prefix_mask) != ids->prefix_word
            : memcmp(id, ids->prefix, prefix) != 0)
        return false;
    if ((id[prefix] == '0' && n_digits > 1) ||
        !(is_long ? long_id_number(id + len, n_digits, &number)
                  : short_id_number(id + prefix, n_digits, &number)))
        return false;
    *value = (uint32_t)number;
    return number < UM_IDS_NUMERIC_MAX;
}

/* From the first id: what stands before the digits at its end, if it has some. */
static void set_prefix(um_ids *ids, const char *id, size_t len)
{
    size_t n = len;
    while (n > 0 && id[n - 1] >= '0' && id[n - 1] <= '9')
        n--;
    ids->prefix_len = n < len && n <= UM_IDS_PREFIX_MAX ? n : 0;
    memset(ids->prefix, 0, sizeof ids->prefix);
    memcpy(ids->prefix, id, ids->prefix_len);
    uint8_t mask[UM_IDS_PREFIX_MAX] = {0};
    memset(mask, 0xff, ids->prefix_len);
    ids->prefix_word = um_scan_word(ids->prefix);
    ids->prefix_mask = um_scan_word(mask);
}

static bool grow_numeric(um_ids *ids, uint32_t value)
{
    size_t cap = ids->numeric_cap < 1024 ? 1024 : ids->numeric_cap;
    while (cap <= value)
        cap *= 2;
    if (cap == ids->numeric_cap)
        return true;
    uint32_t *grown = um_reallocarray(ids->numeric, cap, sizeof *grown);
    if (grown == NULL)
        return false;
    memset(grown + ids->numeric_cap, 0, (cap - ids->numeric_cap) * sizeof *grown);
    ids->numeric = grown;
    ids->numeric_cap = cap;
    return true;
}

static um_status append_name(um_ids *ids, um_arena *arena, const char *id, um_error *err)
{
    if (ids->names.len >= IDS_MAX)
        return um_fail(err, UM_ERR_LIMIT, "more than %zu ids", IDS_MAX);
    char *name = um_arena_strdup(arena, id);
    if (name == NULL || !um_vec_push(&ids->names, name))
        return um_fail_memory(err, "ids");
    return UM_OK;
}

um_status um_ids_intern(um_ids *ids, um_arena *arena, const char *id, const char *what,
                        uint32_t *index, bool *added, um_error *err)
{
    const size_t len = strlen(id);
    uint32_t value = 0, found = 0;
    bool is_new = false;
    if (len == 0)
        return um_fail(err, UM_ERR_INPUT, "%s id is empty", what);
    if (ids->names.len == 0)
        set_prefix(ids, id, len);
    bool numeric = id_number(ids, id, len, &value);
    if (numeric) {
        if (value >= ids->numeric_cap && !grow_numeric(ids, value))
            return um_fail_memory(err, "ids");
        is_new = ids->numeric[value] == 0;
        found = ids->numeric[value] - 1;
    } else {
        is_new = !um_map_get(&ids->map, id, &found);
    }
    if (is_new) {
        um_status status = append_name(ids, arena, id, err);
        if (status != UM_OK)
            return status;
        found = (uint32_t)(ids->names.len - 1);
        if (numeric)
            ids->numeric[value] = found + 1;
        else if (!um_map_put(&ids->map, ids->names.data[found], found, NULL)) {
            ids->names.len--;
            return um_fail_memory(err, "ids");
        }
    }
    *index = found;
    if (added != NULL)
        *added = is_new;
    return UM_OK;
}

/* Of an id that belongs into the array. */
static bool find_numeric(const um_ids *ids, uint32_t value, uint32_t *index)
{
    if (value >= ids->numeric_cap || ids->numeric[value] == 0)
        return false;
    *index = ids->numeric[value] - 1;
    return true;
}

bool um_ids_find_hashed(const um_ids *ids, const char *id, size_t len, uint64_t hash,
                        uint32_t *index)
{
    uint32_t value = 0;
    if (id_number(ids, id, len, &value))
        return find_numeric(ids, value, index);
    return ids->map.len > 0 &&
           um_map_get_hashed(&ids->map, id, hash != 0 ? hash : um_map_hash(id, len), index);
}

bool um_ids_find_n(const um_ids *ids, const char *id, size_t len, uint32_t *index)
{
    return um_ids_find_hashed(ids, id, len, 0, index);
}

bool um_ids_find(const um_ids *ids, const char *id, uint32_t *index)
{
    return um_ids_find_n(ids, id, strlen(id), index);
}
