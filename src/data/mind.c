/*
 * mind.c - MIND, the Microsoft News data set: behaviors.tsv and news.tsv, which may come several
 * times, in the folders of the parts they were published in (train, dev, test).
 *
 * A row of behaviors.tsv is one impression: who, when, what had been clicked before the log began,
 * and what was shown with a mark on what was clicked. Each click is an interaction with the list it
 * was made from; an impression without one is a list nobody chose from. The clicks before the log
 * are the same in every row of a user: they are taken from the first row that is kept, as
 * interactions at an unknown time. A news item counts as released when the log first shows it, in a
 * list or among earlier clicks.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/dates.h"
#include "data/ingest.h"

#define BEHAVIORS  "behaviors.tsv"
#define NEWS       "news.tsv"
#define MAX_LISTED 100000

enum { NEWS_ID, NEWS_CATEGORY, NEWS_SUBCATEGORY, NEWS_TITLE, NEWS_ABSTRACT, NEWS_FIELDS = 8 };
enum { ROW_USER = 1, ROW_TIME, ROW_HISTORY, ROW_IMPRESSIONS, ROW_FIELDS };

typedef struct mind {
    uint32_t file;                 /* number of the news file being read, from 1 */
    UM_VEC(uint32_t) described_in; /* [item] number of the news file that described it */
    UM_VEC(int64_t) first_seen_s;  /* [item] INT64_MAX = never */
    UM_VEC(uint64_t) in_list;      /* [item] n_lists when a list last had it */
    uint64_t n_lists;              /* lists looked at so far */
    UM_VEC(uint64_t) history_hash; /* [user] of the history taken; 0 = none yet */
    UM_VEC(uint32_t) history;      /* of the row in hand, each item once */
    size_t n_clicks;               /* in that history, repeated ones too */
    UM_VEC(uint32_t) shown;        /* of the row in hand */
    UM_VEC(uint32_t) clicked;      /* places in `shown` */
    uint64_t n_kept, n_other_history;
} mind;

static void mind_dispose(mind *m)
{
    um_vec_dispose(&m->described_in);
    um_vec_dispose(&m->first_seen_s);
    um_vec_dispose(&m->in_list);
    um_vec_dispose(&m->history_hash);
    um_vec_dispose(&m->history);
    um_vec_dispose(&m->shown);
    um_vec_dispose(&m->clicked);
}

/* News: id, category, subcategory, title, abstract, address, entities of title and of abstract ---
 */

static um_status describe(um_reading *r, uint32_t item, const char *column, const char *text,
                          um_error *err)
{
    return um_dataset_builder_set_item(r->builder, item, column, UM_COLUMN_DESCRIPTION,
                                       text[0] != '\0' ? text : NULL, err);
}

/* The parts of MIND list many news items alike: what comes again in another file is no bad row. */
static um_status take_news(um_reading *r, const um_row *row, um_error *err)
{
    mind *m = r->state;
    uint32_t item = 0;
    bool added = false;
    if (row->len[NEWS_ID] == 0)
        return um_reading_reject(r, err, row->line, "news id is empty");
    if (row->len[NEWS_TITLE] == 0)
        return um_reading_reject(r, err, row->line, "news '%.40s' has no title",
                                 row->field[NEWS_ID]);
    um_status status = um_dataset_builder_item(r->builder, row->field[NEWS_ID], &item, &added, err);
    if (status != UM_OK)
        return status;
    if (!added)
        return m->described_in.data[item] != m->file
                   ? UM_OK
                   : um_reading_reject(r, err, row->line, "news '%.40s' was listed before",
                                       row->field[NEWS_ID]);
    if (!um_vec_push(&m->described_in, m->file) || !um_vec_push(&m->first_seen_s, INT64_MAX) ||
        !um_vec_push(&m->in_list, 0))
        return um_fail_memory(err, "news");
    status = describe(r, item, "category", row->field[NEWS_CATEGORY], err);
    if (status == UM_OK)
        status = describe(r, item, "subcategory", row->field[NEWS_SUBCATEGORY], err);
    if (status == UM_OK)
        status = describe(r, item, "title", row->field[NEWS_TITLE], err);
    if (status == UM_OK)
        status = describe(r, item, "abstract", row->field[NEWS_ABSTRACT], err);
    return status;
}

/* Impressions ------------------------------------------------------------------------------------
 */

/* The next word of a list cut by spaces, NUL-terminated in place; NULL at its end. */
static char *next_word(char **at)
{
    char *word = *at + strspn(*at, " ");
    if (*word == '\0')
        return NULL;
    *at = word + strcspn(word, " ");
    if (**at != '\0')
        *(*at)++ = '\0';
    return word;
}

/*
 * Each of these two reads a list of the row in hand. *taken = false when the row was rejected.
 */
static um_status read_history(um_reading *r, const um_row *row, bool *taken, um_error *err)
{
    mind *m = r->state;
    char *at = row->field[ROW_HISTORY];
    *taken = false;
    m->history.len = m->n_clicks = 0;
    m->n_lists++;
    for (char *word = next_word(&at); word != NULL; word = next_word(&at)) {
        uint32_t item = 0;
        if (!um_builder_find_item(r->builder, word, &item))
            return um_reading_reject(r, err, row->line, "news '%.40s' of the history is not listed",
                                     word);
        m->n_clicks++;
        if (m->in_list.data[item] == m->n_lists)
            continue; /* clicked again */
        m->in_list.data[item] = m->n_lists;
        if (!um_vec_push(&m->history, item))
            return um_fail_memory(err, "a history");
    }
    *taken = true;
    return UM_OK;
}

static um_status read_impressions(um_reading *r, const um_row *row, bool *taken, um_error *err)
{
    mind *m = r->state;
    char *at = row->field[ROW_IMPRESSIONS];
    *taken = false;
    m->shown.len = m->clicked.len = 0;
    m->n_lists++;
    for (char *word = next_word(&at); word != NULL; word = next_word(&at)) {
        char *label = strrchr(word, '-');
        uint32_t item = 0;
        if (label == NULL)
            return um_reading_reject(r, err, row->line,
                                     "unlabelled: news '%.40s' of the list does not say whether it "
                                     "was clicked (rows of the test part do not)",
                                     word);
        if ((label[1] != '0' && label[1] != '1') || label[2] != '\0')
            return um_reading_reject(r, err, row->line,
                                     "'%.40s' of the list is marked with neither -0 nor -1", word);
        *label = '\0';
        if (!um_builder_find_item(r->builder, word, &item))
            return um_reading_reject(r, err, row->line,
                                     "news '%.40s' of the list is not listed in " NEWS, word);
        if (m->in_list.data[item] == m->n_lists)
            return um_reading_reject(r, err, row->line, "news '%.40s' is shown twice in one list",
                                     word);
        m->in_list.data[item] = m->n_lists;
        if (m->shown.len == MAX_LISTED)
            return um_reading_reject(r, err, row->line, "more than %d news shown in one list",
                                     MAX_LISTED);
        if (label[1] == '1' && !um_vec_push(&m->clicked, (uint32_t)m->shown.len))
            return um_fail_memory(err, "an impression");
        if (!um_vec_push(&m->shown, item))
            return um_fail_memory(err, "an impression");
    }
    if (m->shown.len == 0)
        return um_reading_reject(r, err, row->line, "no news in the list shown");
    *taken = true;
    return UM_OK;
}

static void note_seen(mind *m, const uint32_t *items, size_t n, int64_t time_s)
{
    for (size_t i = 0; i < n; i++) {
        if (time_s < m->first_seen_s.data[items[i]])
            m->first_seen_s.data[items[i]] = time_s;
    }
}

/* Takes the user's clicks before the log unless an earlier row gave them. */
static um_status add_history(um_reading *r, uint32_t user, uint64_t hash, um_error *err)
{
    mind *m = r->state;
    um_status status = UM_OK;
    while (m->history_hash.len <= user) {
        if (!um_vec_push(&m->history_hash, 0))
            return um_fail_memory(err, "histories");
    }
    if (m->history_hash.data[user] != 0) {
        m->n_other_history += m->history_hash.data[user] != hash;
        return UM_OK;
    }
    m->history_hash.data[user] = hash;
    for (size_t i = 0; i < m->history.len && status == UM_OK; i++)
        status = um_dataset_builder_interaction(r->builder, user, m->history.data[i], 0, err);
    return status;
}

static um_status add_impression(um_reading *r, const um_row *row, int64_t time_s, uint64_t hash,
                                um_error *err)
{
    mind *m = r->state;
    um_dataset_builder *b = r->builder;
    uint32_t user = 0;
    um_status status = um_dataset_builder_user(b, row->field[ROW_USER], &user, NULL, err);
    if (status == UM_OK)
        status = add_history(r, user, hash, err);
    if (status == UM_OK && m->clicked.len == 0)
        status = um_dataset_builder_skip(b, user, time_s, m->shown.data, m->shown.len, err);
    for (size_t i = 0; i < m->clicked.len && status == UM_OK; i++) {
        uint32_t place = m->clicked.data[i];
        status = um_dataset_builder_interaction(b, user, m->shown.data[place], time_s, err);
        if (status == UM_OK)
            status =
                um_dataset_builder_impressions(b, m->shown.data, m->shown.len, (int32_t)place, err);
    }
    m->n_kept += m->clicked.len;
    return status == UM_OK ? um_builder_set_line(b, row->line, err) : status;
}

static um_status take_behavior(um_reading *r, const um_row *row, um_error *err)
{
    mind *m = r->state;
    int64_t time_s = 0;
    bool taken = false;
    /* The lists are cut up while they are read. */
    uint64_t hash = um_hash_str(row->field[ROW_HISTORY], 0) | 1;
    if (row->len[ROW_USER] == 0)
        return um_reading_reject(r, err, row->line, "user id is empty");
    if (!um_date_parse_us(row->field[ROW_TIME], &time_s) || time_s <= 0)
        return um_reading_reject(r, err, row->line,
                                 "time '%.40s' is not like 11/15/2019 9:05:58 AM",
                                 row->field[ROW_TIME]);
    um_status status = read_history(r, row, &taken, err);
    if (status == UM_OK && taken)
        status = read_impressions(r, row, &taken, err);
    if (status != UM_OK || !taken)
        return status;
    note_seen(m, m->history.data, m->history.len, time_s);
    note_seen(m, m->shown.data, m->shown.len, time_s);
    if ((int64_t)m->n_clicks < r->filters.min_history)
        return um_reading_filter(r, err, row->line, "%zu clicks before the log, need %lld",
                                 m->n_clicks, (long long)r->filters.min_history);
    if (r->filters.max_list > 0 && (int64_t)m->shown.len > r->filters.max_list)
        return um_reading_filter(r, err, row->line, "%zu news shown, limit %lld", m->shown.len,
                                 (long long)r->filters.max_list);
    return add_impression(r, row, time_s, hash, err);
}

/* The adapter ------------------------------------------------------------------------------------
 */

/* The next file of that name, with or without .gz, from *at on; NULL when there is no other. */
static const um_entry *next_file(const um_bundle *bundle, const char *name, size_t *at)
{
    size_t len = strlen(name);
    while (*at < bundle->n_entries) {
        const um_entry *entry = &bundle->entries[(*at)++];
        const char *base = um_path_base(entry->name);
        if (strncmp(base, name, len) == 0 && (base[len] == '\0' || strcmp(base + len, ".gz") == 0))
            return entry;
    }
    return NULL;
}

static bool detect(const um_bundle *bundle)
{
    size_t behaviors = 0, news = 0;
    return next_file(bundle, BEHAVIORS, &behaviors) != NULL &&
           next_file(bundle, NEWS, &news) != NULL;
}

static um_status release_news(um_reading *r, const mind *m, um_error *err)
{
    um_status status = UM_OK;
    for (uint32_t i = 0; i < m->first_seen_s.len && status == UM_OK; i++) {
        if (m->first_seen_s.data[i] != INT64_MAX)
            status = um_dataset_builder_release(r->builder, i, m->first_seen_s.data[i], err);
    }
    return status;
}

static um_status read_mind(um_reading *r, um_error *err)
{
    static const um_table_spec news = {
        .separator = "\t", .n_fields = NEWS_FIELDS, .take = take_news};
    static const um_table_spec behaviors = {.separator = "\t",
                                            .has_interactions = true,
                                            .may_all_be_bad = true,
                                            .n_fields = ROW_FIELDS,
                                            .take = take_behavior};
    mind m = {0};
    um_status status = UM_OK;
    const um_entry *entry;
    r->state = &m;
    for (size_t at = 0; status == UM_OK && (entry = next_file(r->bundle, NEWS, &at)) != NULL;) {
        m.file++;
        status = um_reading_entry(r, entry, &news, err);
    }
    /* Training rows first: their histories end where the log begins. */
    for (int pass = 0; pass < 2; pass++) {
        for (size_t at = 0;
             status == UM_OK && (entry = next_file(r->bundle, BEHAVIORS, &at)) != NULL;) {
            if ((strstr(entry->name, "train") != NULL) == (pass == 0))
                status = um_reading_entry(r, entry, &behaviors, err);
        }
    }
    if (status == UM_OK && m.n_kept == 0)
        status = um_fail(err, UM_ERR_INPUT,
                         "%s: no row of " BEHAVIORS " has a click and passes the filters (%llu "
                         "rows left out by them)",
                         r->bundle->path, (unsigned long long)r->report->rows_filtered);
    if (status == UM_OK)
        status = release_news(r, &m, err);
    if (status == UM_OK && m.n_other_history > 0)
        um_monitor_message(r->monitor,
                           "%llu rows of " BEHAVIORS " tell other clicks before the log than the "
                           "first row of their user, which was taken",
                           (unsigned long long)m.n_other_history);
    r->state = NULL;
    mind_dispose(&m);
    return status;
}

const um_adapter um_adapter_mind = {.name = "mind",
                                    .default_name = "mind",
                                    .files = BEHAVIORS ", " NEWS " (also in subfolders)",
                                    .filters = {.min_history = 5, .max_list = 10},
                                    .has_clicks_before = true,
                                    .has_lists = true,
                                    .detect = detect,
                                    .read = read_mind};
