/*
 * lastfm.c - the Last.fm set of HetRec 2011: who tagged which artist with what and when, who
 * listened to whom, who is whose friend.
 *
 * An interaction is a user and an artist, at the time the user first tagged the artist, with all
 * tags the user gave and how often the user listened. An artist's tags are the five given most
 * often, by all users and at all times. user_taggedartists.dat, the same rows to the day, is not
 * read.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "data/cells.h"
#include "data/ingest.h"

#define ARTISTS   "artists.dat"
#define TAGS      "tags.dat"
#define LISTENING "user_artists.dat"
#define FRIENDS   "user_friends.dat"
#define TAGGING   "user_taggedartists-timestamps.dat"

#define ARTIST_TAGS 5
#define MAX_TIME_MS 100000000000000 /* past the year 5138 */

/* One tag given, or, to count an artist's tags, `n` of them. */
typedef struct tagging {
    uint32_t user, artist, tag, n;
    int64_t time_s;
    uint64_t line;
} tagging;

typedef struct listening {
    uint32_t user, artist;
    double weight;
} listening;

typedef struct friendship {
    uint32_t user, other;
    const char *other_id; /* in names */
} friendship;

typedef struct lastfm {
    um_arena names;
    um_ids tags;
    UM_VEC(char *) tag_names; /* [tag], in names */
    UM_VEC(uint64_t) given;   /* [tag] first line of the group it was last seen in */
    UM_VEC(tagging) taggings;
    UM_VEC(listening) listenings;
    UM_VEC(friendship) friends;
    UM_VEC(uint64_t) lines; /* of the interaction in hand, but the first */
    um_str text;
} lastfm;

static void lastfm_dispose(lastfm *l)
{
    um_arena_dispose(&l->names);
    um_ids_dispose(&l->tags);
    um_vec_dispose(&l->tag_names);
    um_vec_dispose(&l->given);
    um_vec_dispose(&l->taggings);
    um_vec_dispose(&l->listenings);
    um_vec_dispose(&l->friends);
    um_vec_dispose(&l->lines);
    um_str_dispose(&l->text);
}

/* Tables -----------------------------------------------------------------------------------------
 */

static um_status take_artist(um_reading *r, const um_row *row, um_error *err)
{
    uint32_t item = 0;
    bool added = false;
    if (row->len[0] == 0)
        return um_reading_reject(r, err, row->line, "artist id is empty");
    if (row->len[1] == 0)
        return um_reading_reject(r, err, row->line, "artist '%.40s' has no name", row->field[0]);
    um_status status = um_dataset_builder_item(r->builder, row->field[0], &item, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(r, err, row->line, "artist '%.40s' was listed before",
                                 row->field[0]);
    if (status == UM_OK)
        status = um_dataset_builder_set_item(r->builder, item, "name", UM_COLUMN_DESCRIPTION,
                                             row->field[1], err);
    if (status == UM_OK) /* found once all taggings are read */
        status =
            um_dataset_builder_set_item(r->builder, item, "tags", UM_COLUMN_DESCRIPTION, NULL, err);
    return status;
}

static um_status take_tag(um_reading *r, const um_row *row, um_error *err)
{
    lastfm *l = r->state;
    uint32_t tag = 0;
    bool added = false;
    if (row->len[0] == 0 || row->len[1] == 0)
        return um_reading_reject(r, err, row->line, "tag id or its text is empty");
    um_status status = um_ids_intern(&l->tags, &l->names, row->field[0], "tag", &tag, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(r, err, row->line, "tag '%.40s' was listed before", row->field[0]);
    if (status != UM_OK)
        return status;
    char *name = um_arena_strdup(&l->names, row->field[1]);
    if (name == NULL || !um_vec_push(&l->tag_names, name) || !um_vec_push(&l->given, 0))
        return um_fail_memory(err, "tags");
    return UM_OK;
}

/* The artist in field 1; *found = false when the row was rejected for it or for its user. */
static um_status find_artist(um_reading *r, const um_row *row, uint32_t *artist, bool *found,
                             um_error *err)
{
    *found = false;
    if (row->len[0] == 0)
        return um_reading_reject(r, err, row->line, "user id is empty");
    *found = um_builder_find_item(r->builder, row->field[1], artist);
    if (*found)
        return UM_OK;
    return um_reading_reject(r, err, row->line, "artist '%.40s' is not in " ARTISTS, row->field[1]);
}

static um_status take_listening(um_reading *r, const um_row *row, um_error *err)
{
    lastfm *l = r->state;
    listening heard = {0};
    bool found = false;
    um_status status = find_artist(r, row, &heard.artist, &found, err);
    if (status != UM_OK || !found)
        return status;
    if (!um_cell_number(row->field[2], row->len[2], &heard.weight) || heard.weight < 0)
        return um_reading_reject(r, err, row->line, "weight '%.40s' is not a number from 0 on",
                                 row->field[2]);
    status = um_dataset_builder_user(r->builder, row->field[0], &heard.user, NULL, err);
    if (status == UM_OK && !um_vec_push(&l->listenings, heard))
        status = um_fail_memory(err, "listenings");
    return status;
}

static um_status take_friend(um_reading *r, const um_row *row, um_error *err)
{
    lastfm *l = r->state;
    friendship f = {0};
    if (row->len[0] == 0 || row->len[1] == 0)
        return um_reading_reject(r, err, row->line, "user id is empty");
    if (strcmp(row->field[0], row->field[1]) == 0)
        return um_reading_reject(r, err, row->line, "user '%.40s' is a friend of themselves",
                                 row->field[0]);
    um_status status = um_dataset_builder_user(r->builder, row->field[0], &f.user, NULL, err);
    if (status == UM_OK)
        status = um_dataset_builder_user(r->builder, row->field[1], &f.other, NULL, err);
    if (status == UM_OK && ((f.other_id = um_arena_strdup(&l->names, row->field[1])) == NULL ||
                            !um_vec_push(&l->friends, f)))
        status = um_fail_memory(err, "friends");
    return status;
}

static um_status take_tagging(um_reading *r, const um_row *row, um_error *err)
{
    lastfm *l = r->state;
    tagging t = {.line = row->line};
    int64_t time_ms = 0;
    bool found = false;
    um_status status = find_artist(r, row, &t.artist, &found, err);
    if (status != UM_OK || !found)
        return status;
    if (!um_ids_find(&l->tags, row->field[2], &t.tag))
        return um_reading_reject(r, err, row->line, "tag '%.40s' is not in " TAGS, row->field[2]);
    if (!um_parse_i64(row->field[3], &time_ms))
        return um_reading_reject(
            r, err, row->line, "time '%.40s' is not a whole number of milliseconds", row->field[3]);
    t.time_s = time_ms / 1000;
    if (t.time_s <= 0 || time_ms > MAX_TIME_MS)
        return um_reading_reject(r, err, row->line,
                                 "time %.40s is not in milliseconds after the start of 1970",
                                 row->field[3]);
    status = um_dataset_builder_user(r->builder, row->field[0], &t.user, NULL, err);
    if (status == UM_OK && !um_vec_push(&l->taggings, t))
        status = um_fail_memory(err, "taggings");
    return status;
}

/* What follows from them -------------------------------------------------------------------------
 */

/* First difference decides: each returns < 0, 0 or > 0. */
static int order_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int by_artist_and_tag(const void *x, const void *y)
{
    const tagging *a = x, *b = y;
    int order = order_u64(a->artist, b->artist);
    if (order == 0)
        order = order_u64(a->tag, b->tag);
    return order != 0 ? order : order_u64(a->user, b->user);
}

static int by_artist_and_count(const void *x, const void *y)
{
    const tagging *a = x, *b = y;
    int order = order_u64(a->artist, b->artist);
    if (order == 0)
        order = order_u64(b->n, a->n);
    return order != 0 ? order : order_u64(a->tag, b->tag);
}

static int by_user_and_artist(const void *x, const void *y)
{
    const tagging *a = x, *b = y;
    int order = order_u64((uint64_t)a->user << 32 | a->artist, (uint64_t)b->user << 32 | b->artist);
    if (order == 0)
        order = (a->time_s > b->time_s) - (a->time_s < b->time_s);
    return order != 0 ? order : order_u64(a->line, b->line);
}

static int by_line(const void *x, const void *y)
{
    return order_u64(((const tagging *)x)->line, ((const tagging *)y)->line);
}

static int by_listener(const void *x, const void *y)
{
    const listening *a = x, *b = y;
    return order_u64((uint64_t)a->user << 32 | a->artist, (uint64_t)b->user << 32 | b->artist);
}

static int by_friend(const void *x, const void *y)
{
    const friendship *a = x, *b = y;
    return order_u64((uint64_t)a->user << 32 | a->other, (uint64_t)b->user << 32 | b->other);
}

static void sort(void *rows, size_t n, size_t size, int (*compare)(const void *, const void *))
{
    if (n > 1)
        qsort(rows, n, size, compare);
}

/* Counts the users of each artist's tags and writes down the commonest; ties go to the tag listed
 * first. */
static um_status set_artist_tags(um_reading *r, lastfm *l, um_error *err)
{
    um_status status = UM_OK;
    UM_VEC(tagging) counts = {0};
    const tagging *t = l->taggings.data;
    sort(l->taggings.data, l->taggings.len, sizeof *t, by_artist_and_tag);
    for (size_t i = 0; i < l->taggings.len && status == UM_OK; i++) {
        if (i > 0 && by_artist_and_tag(&t[i - 1], &t[i]) == 0)
            continue; /* the same user again */
        bool same = counts.len > 0 && counts.data[counts.len - 1].artist == t[i].artist &&
                    counts.data[counts.len - 1].tag == t[i].tag;
        if (!same && !um_vec_push(&counts, t[i]))
            status = um_fail_memory(err, "tags of artists");
        else
            counts.data[counts.len - 1].n++;
    }
    sort(counts.data, counts.len, sizeof *counts.data, by_artist_and_count);
    for (size_t i = 0, end; i < counts.len && status == UM_OK; i = end) {
        um_str_clear(&l->text);
        for (end = i; end < counts.len && counts.data[end].artist == counts.data[i].artist; end++) {
            if (end - i < ARTIST_TAGS)
                um_str_appendf(&l->text, "%s%s", end > i ? ", " : "",
                               l->tag_names.data[counts.data[end].tag]);
        }
        status = um_str_status(&l->text, err);
        if (status == UM_OK)
            status = um_dataset_builder_set_item(r->builder, counts.data[i].artist, "tags",
                                                 UM_COLUMN_DESCRIPTION, um_str_text(&l->text), err);
    }
    um_vec_dispose(&counts);
    return status;
}

/* The n tags a user gave an artist, in order of time, each once, as a JSON list. A line stands for
 * the group it begins. */
static void append_tag_list(um_str *out, lastfm *l, const tagging *t, size_t n)
{
    bool any = false;
    um_str_append_char(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (l->given.data[t[i].tag] == t->line)
            continue;
        l->given.data[t[i].tag] = t->line;
        um_str_append(out, any ? "," : "");
        um_str_append_json(out, l->tag_names.data[t[i].tag]);
        any = true;
    }
    um_str_append_char(out, ']');
}

static um_status add_interaction(um_reading *r, lastfm *l, const tagging *t, size_t n,
                                 um_error *err)
{
    const listening key = {.user = t->user, .artist = t->artist};
    const listening *heard =
        l->listenings.len == 0
            ? NULL
            : bsearch(&key, l->listenings.data, l->listenings.len, sizeof key, by_listener);
    um_str_clear(&l->text);
    append_tag_list(&l->text, l, t, n);
    um_status status = um_str_status(&l->text, err);
    if (status == UM_OK)
        status = um_dataset_builder_interaction(r->builder, t->user, t->artist, t->time_s, err);
    if (status == UM_OK)
        status = um_dataset_builder_text(r->builder, "tagged", um_str_text(&l->text), err);
    if (status == UM_OK && heard != NULL)
        status = um_dataset_builder_number(r->builder, "listens", heard->weight, err);
    if (status == UM_OK)
        status = um_builder_set_line(r->builder, t->line, err);
    l->lines.len = 0;
    for (size_t i = 1; i < n && status == UM_OK; i++) {
        if (!um_vec_push(&l->lines, t[i].line))
            status = um_fail_memory(err, "interactions");
    }
    if (status == UM_OK && n > 1)
        status = um_builder_add_rows(r->builder, l->lines.data, l->lines.len, 1, err);
    return status;
}

/* One interaction a user and artist, in the order in which they stand in the file. */
static um_status add_interactions(um_reading *r, lastfm *l, um_error *err)
{
    UM_VEC(tagging) firsts = {0}; /* tag = where its group starts, n = how long it is */
    const tagging *t = l->taggings.data;
    um_status status = um_builder_declare_series(r->builder, "tagged", err);
    if (status == UM_OK)
        status = um_builder_declare_series(r->builder, "listens", err);
    sort(l->listenings.data, l->listenings.len, sizeof *l->listenings.data, by_listener);
    sort(l->taggings.data, l->taggings.len, sizeof *t, by_user_and_artist);
    for (size_t i = 0, end; i < l->taggings.len && status == UM_OK; i = end) {
        for (end = i + 1;
             end < l->taggings.len && t[end].user == t[i].user && t[end].artist == t[i].artist;)
            end++;
        tagging first = t[i];
        first.tag = (uint32_t)i;
        first.n = (uint32_t)(end - i);
        if (!um_vec_push(&firsts, first))
            status = um_fail_memory(err, "interactions");
    }
    sort(firsts.data, firsts.len, sizeof *firsts.data, by_line);
    for (size_t i = 0; i < firsts.len && status == UM_OK; i++)
        status = add_interaction(r, l, t + firsts.data[i].tag, firsts.data[i].n, err);
    um_vec_dispose(&firsts);
    return status;
}

static um_status set_friends(um_reading *r, lastfm *l, um_error *err)
{
    um_status status = UM_OK;
    const friendship *f = l->friends.data;
    sort(l->friends.data, l->friends.len, sizeof *f, by_friend);
    for (size_t i = 0, end; i < l->friends.len && status == UM_OK; i = end) {
        um_str_clear(&l->text);
        um_str_append_char(&l->text, '[');
        for (end = i; end < l->friends.len && f[end].user == f[i].user; end++) {
            if (end > i && f[end].other == f[end - 1].other)
                continue;
            um_str_append(&l->text, end > i ? "," : "");
            um_str_append_json(&l->text, f[end].other_id);
        }
        um_str_append_char(&l->text, ']');
        status = um_str_status(&l->text, err);
        if (status == UM_OK)
            status = um_dataset_builder_set_user(r->builder, f[i].user, "friends",
                                                 UM_COLUMN_FEATURE, um_str_text(&l->text), err);
    }
    return status;
}

/* The adapter ------------------------------------------------------------------------------------
 */

#define TABLE(name, names, callback)                                                               \
    {                                                                                              \
        .file = (name), .separator = "\t", .is_latin1 = true, .has_header = true,                  \
        .may_be_short = true, .n_fields = sizeof(names) / sizeof *(names), .columns = (names),     \
        .take = (callback)                                                                         \
    }

static um_status read_tables(um_reading *r, um_error *err)
{
    static const char *const artist_columns[] = {"id", "name"};
    static const char *const tag_columns[] = {"tagID", "tagValue"};
    static const char *const listening_columns[] = {"userID", "artistID", "weight"};
    static const char *const friend_columns[] = {"userID", "friendID"};
    static const char *const tagging_columns[] = {"userID", "artistID", "tagID", "timestamp"};
    static const um_table_spec tables[] = {TABLE(ARTISTS, artist_columns, take_artist),
                                           TABLE(TAGS, tag_columns, take_tag),
                                           TABLE(LISTENING, listening_columns, take_listening),
                                           TABLE(FRIENDS, friend_columns, take_friend)};
    um_table_spec taggings = TABLE(TAGGING, tagging_columns, take_tagging);
    taggings.has_interactions = true;
    um_status status = UM_OK;
    for (size_t i = 0; i < sizeof tables / sizeof *tables && status == UM_OK; i++)
        status = um_reading_table(r, &tables[i], err);
    return status == UM_OK ? um_reading_table(r, &taggings, err) : status;
}

static um_status read_lastfm(um_reading *r, um_error *err)
{
    lastfm l = {0};
    r->state = &l;
    um_status status = read_tables(r, err);
    if (status == UM_OK)
        status = set_friends(r, &l, err);
    if (status == UM_OK)
        status = set_artist_tags(r, &l, err);
    if (status == UM_OK)
        status = add_interactions(r, &l, err);
    r->state = NULL;
    lastfm_dispose(&l);
    return status;
}

static bool detect(const um_bundle *bundle)
{
    static const char *const names[] = {ARTISTS, TAGS, LISTENING, FRIENDS, TAGGING};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (um_bundle_find(bundle, names[i]) == NULL)
            return false;
    }
    return true;
}

const um_adapter um_adapter_lastfm = {.name = "lastfm",
                                      .default_name = "lastfm",
                                      .files = ARTISTS ", " TAGS ", " LISTENING ", " FRIENDS
                                                       ", " TAGGING,
                                      .detect = detect,
                                      .read = read_lastfm};
