/*
 * social.c - the friend graph: lists parsed once, and for each friend an order of their
 * interactions by item, so that one (friend, item) is a binary search.
 */
#include "scene/social.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"

#define FRIENDS "friends" /* user feature */

struct um_social {
    const um_dataset *d;
    int64_t known_until_s;
    uint64_t *friend_start; /* [users + 1] */
    uint32_t *friends;      /* [friend_start[users]], ascending and distinct a user */
    /* Interactions of users that are a friend, as offsets from user_start, by item, then time:
     * those of user u are by_item[item_start[u] .. item_start[u + 1]). */
    uint64_t *item_start; /* [users + 1] */
    uint32_t *by_item;
};

static int feature_column(const um_table *users, const char *name)
{
    for (uint32_t c = 0; c < users->n_columns; c++) {
        if (users->kinds[c] == UM_COLUMN_FEATURE && strcmp(users->columns[c], name) == 0)
            return (int)c;
    }
    return -1;
}

/* The id of a list entry as text: a string, or a whole number. */
static const char *entry_id(const json_t *entry, char *buffer, size_t size)
{
    if (json_is_string(entry))
        return json_string_value(entry);
    if (!json_is_integer(entry))
        return NULL;
    snprintf(buffer, size, "%lld", (long long)json_integer_value(entry));
    return buffer;
}

typedef UM_VEC(uint32_t) id_list;

/* Appends the friends of one user's cell: distinct, among the ids, and not the user. */
static um_status read_cell(id_list *friends, const um_map *ids, uint32_t user, const char *cell,
                           um_error *err)
{
    char number[32];
    json_t *list = NULL, *entry;
    size_t begin = friends->len, i;
    uint32_t other;
    if (cell == NULL || um_json_parse(&list, cell, strlen(cell), FRIENDS, NULL) != UM_OK)
        return UM_OK;
    um_status status = UM_OK;
    json_array_foreach(list, i, entry)
    {
        const char *id = entry_id(entry, number, sizeof number);
        if (id == NULL || !um_map_get(ids, id, &other) || other == user)
            continue;
        if (!um_vec_push(friends, other))
            status = um_fail_memory(err, "friends");
    }
    json_decref(list);
    if (friends->len - begin < 2)
        return status;
    qsort(friends->data + begin, friends->len - begin, sizeof *friends->data, um_compare_u32);
    size_t kept = begin + 1;
    for (size_t j = begin + 1; j < friends->len; j++) {
        if (friends->data[j] != friends->data[kept - 1])
            friends->data[kept++] = friends->data[j];
    }
    friends->len = kept;
    return status;
}

static um_status read_friends(um_social *s, int column, const bool *user_known, um_error *err)
{
    const um_table *users = &s->d->users;
    id_list friends = {0};
    um_map ids = {0};
    um_status status = UM_OK;
    for (uint32_t u = 0; u < users->n_rows && status == UM_OK; u++) {
        if ((user_known == NULL || user_known[u]) && !um_map_put(&ids, users->ids[u], u, NULL))
            status = um_fail_memory(err, "friends");
    }
    for (uint32_t u = 0; u < users->n_rows && status == UM_OK; u++) {
        status = read_cell(&friends, &ids, u, um_table_cell(users, u, column), err);
        s->friend_start[u + 1] = friends.len;
    }
    um_map_dispose(&ids);
    s->friends = friends.data;
    return status;
}

/* A pair that sorts by item, then time: interactions are in order of time already. */
typedef struct entry {
    uint32_t item, offset;
} entry;

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static um_status index_items(um_social *s, um_error *err)
{
    const um_dataset *d = s->d;
    uint32_t n_users = d->users.n_rows;
    uint64_t longest = 0;
    um_status status = UM_OK;
    bool *is_friend = um_calloc(n_users, sizeof *is_friend);
    entry *entries = NULL;
    if (is_friend == NULL)
        return um_fail_memory(err, "friends");
    for (uint64_t f = 0; f < s->friend_start[n_users]; f++)
        is_friend[s->friends[f]] = true;
    for (uint32_t u = 0; u < n_users; u++) {
        uint64_t n = is_friend[u] ? d->user_start[u + 1] - d->user_start[u] : 0;
        s->item_start[u + 1] = s->item_start[u] + n;
        longest = n > longest ? n : longest;
    }
    s->by_item = um_calloc(s->item_start[n_users], sizeof *s->by_item);
    entries = um_calloc(longest, sizeof *entries);
    if (s->by_item == NULL || entries == NULL || longest > UINT32_MAX) {
        status = um_fail_memory(err, "friends");
        goto done;
    }
    for (uint32_t u = 0; u < n_users; u++) {
        uint32_t n = (uint32_t)(s->item_start[u + 1] - s->item_start[u]);
        for (uint32_t i = 0; i < n; i++)
            entries[i] = (entry){d->item[d->user_start[u] + i], i};
        if (n > 1)
            qsort(entries, n, sizeof *entries, compare_entries);
        for (uint32_t i = 0; i < n; i++)
            s->by_item[s->item_start[u] + i] = entries[i].offset;
    }
done:
    free(is_friend);
    free(entries);
    return status;
}

um_status um_social_new(um_social **out, const um_dataset *dataset, const bool *user_known,
                        int64_t known_until_s, um_error *err)
{
    int column = feature_column(&dataset->users, FRIENDS);
    size_t n = (size_t)dataset->users.n_rows + 1;
    *out = NULL;
    if (column < 0)
        return UM_OK;
    um_social *s = um_calloc(1, sizeof *s);
    um_status status = UM_OK;
    if (s != NULL) {
        s->d = dataset;
        s->known_until_s = known_until_s;
        s->friend_start = um_calloc(n, sizeof *s->friend_start);
        s->item_start = um_calloc(n, sizeof *s->item_start);
    }
    if (s == NULL || s->friend_start == NULL || s->item_start == NULL)
        status = um_fail_memory(err, "friends");
    if (status == UM_OK)
        status = read_friends(s, column, user_known, err);
    if (status == UM_OK && s->friend_start[n - 1] > 0) {
        status = index_items(s, err);
        if (status == UM_OK) {
            *out = s;
            return UM_OK;
        }
    }
    um_social_free(s);
    return status;
}

void um_social_free(um_social *social)
{
    if (social == NULL)
        return;
    free(social->friend_start);
    free(social->friends);
    free(social->item_start);
    free(social->by_item);
    free(social);
}

/* Whether the first time that `other` met the item is before time_s. */
static bool met_before(const um_social *s, uint32_t other, uint32_t item, int64_t time_s)
{
    const um_dataset *d = s->d;
    uint64_t begin = d->user_start[other], end = s->item_start[other + 1];
    uint64_t low = s->item_start[other], high = end;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (d->item[begin + s->by_item[middle]] < item)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == end)
        return false;
    uint64_t first = begin + s->by_item[low];
    return d->item[first] == item && d->time_s[first] < time_s;
}

uint32_t um_social_count(const um_social *s, uint32_t user, uint32_t item, int64_t time_s)
{
    uint32_t n = 0;
    if (s == NULL)
        return 0;
    time_s = time_s < s->known_until_s ? time_s : s->known_until_s;
    for (uint64_t f = s->friend_start[user]; f < s->friend_start[user + 1]; f++)
        n += met_before(s, s->friends[f], item, time_s);
    return n;
}

uint32_t um_social_counts(const um_social *s, uint32_t user, int64_t time_s, float *counts,
                          uint32_t *touched, uint32_t *mark, uint32_t *epoch)
{
    uint32_t n = 0;
    if (s == NULL)
        return 0;
    const um_dataset *d = s->d;
    time_s = time_s < s->known_until_s ? time_s : s->known_until_s;
    for (uint64_t f = s->friend_start[user]; f < s->friend_start[user + 1]; f++) {
        uint32_t other = s->friends[f], seen = ++*epoch;
        uint64_t end = d->user_start[other + 1];
        for (uint64_t i = d->user_start[other]; i < end && d->time_s[i] < time_s; i++) {
            uint32_t item = d->item[i];
            if (mark[item] == seen)
                continue;
            mark[item] = seen;
            if (counts[item] == 0.0f)
                touched[n++] = item;
            counts[item] += 1.0f;
        }
    }
    return n;
}
