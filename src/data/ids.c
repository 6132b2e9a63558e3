#include "data/ids.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Largest index is UINT32_MAX - 2, so that index + 1 and the row count fit as well. */
#define IDS_MAX ((size_t)UINT32_MAX - 1)

void um_ids_dispose(um_ids *ids)
{
    um_vec_dispose(&ids->names);
    um_map_dispose(&ids->map);
    free(ids->numeric);
    *ids = (um_ids){0};
}

/* The value of a decimal as printf("%u") would write it, below UM_IDS_NUMERIC_MAX. */
static bool plain_decimal(const char *id, uint32_t *value)
{
    if (id[0] == '0' && id[1] != '\0')
        return false;
    uint32_t v = 0;
    const char *p = id;
    for (; *p >= '0' && *p <= '9'; p++) {
        v = v * 10 + (uint32_t)(*p - '0');
        if (v >= UM_IDS_NUMERIC_MAX)
            return false;
    }
    *value = v;
    return *p == '\0' && p != id;
}

/* The number of an id that belongs into the array. */
static bool id_number(const um_ids *ids, const char *id, uint32_t *value)
{
    for (size_t i = 0; i < ids->prefix_len; i++) {
        if (id[i] != ids->prefix[i])
            return false;
    }
    return plain_decimal(id + ids->prefix_len, value);
}

/* From the first id: what stands before the digits at its end, if it has some. */
static void set_prefix(um_ids *ids, const char *id)
{
    size_t len = strlen(id), n = len;
    while (n > 0 && id[n - 1] >= '0' && id[n - 1] <= '9')
        n--;
    ids->prefix_len = n < len && n <= UM_IDS_PREFIX_MAX ? n : 0;
    memcpy(ids->prefix, id, ids->prefix_len);
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
    uint32_t value = 0, found = 0;
    bool is_new = false;
    if (id[0] == '\0')
        return um_fail(err, UM_ERR_INPUT, "%s id is empty", what);
    if (ids->names.len == 0)
        set_prefix(ids, id);
    bool numeric = id_number(ids, id, &value);
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

bool um_ids_find_hashed(const um_ids *ids, const char *id, uint64_t hash, uint32_t *index)
{
    uint32_t value = 0;
    return id_number(ids, id, &value) ? find_numeric(ids, value, index)
                                      : um_map_get_hashed(&ids->map, id, hash, index);
}

bool um_ids_find(const um_ids *ids, const char *id, uint32_t *index)
{
    uint32_t value = 0;
    return id_number(ids, id, &value) ? find_numeric(ids, value, index)
                                      : um_map_get(&ids->map, id, index);
}
