/*
 * kuairec.c - KuaiRec 2.0, short videos of Kuaishou: who watched what for how long, in the sparse
 * big_matrix.csv or the dense small_matrix.csv, and tables about users and videos.
 *
 * A play is a skip when it lasted less than three seconds and less than the video, or when its
 * watch ratio is below 1. How long was watched is in `skipped_s` or in `completed_s`, so that a
 * template can say which it was. Daily counts of a video are those of its first row. Dates are
 * those of China, UTC+8. All columns exist whether their files are there or not, so that one
 * template serves.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "data/cells.h"
#include "data/dates.h"
#include "data/ingest.h"

#define BIG        "big_matrix.csv"
#define SMALL      "small_matrix.csv"
#define USERS      "user_features.csv"
#define CATEGORIES "item_categories.csv"
#define CAPTIONS   "kuairec_caption_category.csv"
#define DAILY      "item_daily_features.csv"
#define FRIENDS    "social_network.csv"

#define SHORT_PLAY_MS 3000
#define CHINA_S       (8 * 3600)
#define MAX_TIME_S    100000000000.0 /* 1973 in milliseconds */
#define MAX_MS        1e10           /* four months */
#define MAX_FRIENDS   100000

/* What a row has already been read for. */
enum { HAS_CAPTION = 1, HAS_DAILY = 2 };

typedef struct kuairec {
    UM_VEC(uint8_t) item_has;    /* [item] HAS_* */
    UM_VEC(uint8_t) has_friends; /* [user] */
    um_str text;
} kuairec;

static bool is_given(const char *text)
{
    return text[0] != '\0' && strcmp(text, "UNKNOWN") != 0;
}

static um_status describe_user(um_reading *r, uint32_t user, const char *column, const char *text,
                               um_error *err)
{
    return um_dataset_builder_set_user(r->builder, user, column, UM_COLUMN_DESCRIPTION, text, err);
}

static um_status describe_item(um_reading *r, uint32_t item, const char *column, const char *text,
                               um_error *err)
{
    return um_dataset_builder_set_item(r->builder, item, column, UM_COLUMN_DESCRIPTION, text, err);
}

/* Users ------------------------------------------------------------------------------------------
 */

enum { USER_ID, USER_ACTIVITY, USER_STREAMS, USER_AUTHOR, USER_COUNTS, USER_FIELDS = 8 };
static const char *const user_columns[USER_FIELDS] = {
    "user_id",         "user_active_degree", "is_live_streamer", "is_video_author",
    "follow_user_num", "fans_user_num",      "friend_user_num",  "register_days"};

static um_status set_user(um_reading *r, uint32_t user, const um_row *row, um_error *err)
{
    kuairec *k = r->state;
    bool streams = strcmp(row->field[USER_STREAMS], "1") == 0;
    bool author = strcmp(row->field[USER_AUTHOR], "1") == 0;
    um_str_clear(&k->text);
    for (const char *p = row->field[USER_ACTIVITY]; *p != '\0'; p++)
        um_str_append_char(&k->text, *p == '_' ? ' ' : *p);
    um_status status = um_str_status(&k->text, err);
    if (status == UM_OK)
        status =
            describe_user(r, user, "activity",
                          is_given(row->field[USER_ACTIVITY]) ? um_str_text(&k->text) : NULL, err);
    if (status == UM_OK)
        status = describe_user(r, user, "makes",
                               streams && author ? "live streams and videos"
                               : streams         ? "live streams"
                               : author          ? "videos"
                                                 : NULL,
                               err);
    for (int i = USER_COUNTS; i < USER_FIELDS && status == UM_OK; i++) {
        int64_t count = 0;
        bool good = um_cell_digits(row->field[i], row->len[i], &count);
        um_str_clear(&k->text);
        um_str_appendf(&k->text, "%lld", (long long)count);
        status = um_dataset_builder_set_user(r->builder, user, user_columns[i], UM_COLUMN_FEATURE,
                                             good ? um_str_text(&k->text) : NULL, err);
    }
    if (status == UM_OK) /* filled by the social network, if that file is there */
        status =
            um_dataset_builder_set_user(r->builder, user, "friends", UM_COLUMN_FEATURE, NULL, err);
    return status;
}

static um_status take_user(um_reading *r, const um_row *row, um_error *err)
{
    kuairec *k = r->state;
    uint32_t user = 0;
    bool added = false;
    if (row->len[USER_ID] == 0)
        return um_reading_reject(r, err, row->line, "user id is empty");
    um_status status = um_dataset_builder_user(r->builder, row->field[USER_ID], &user, &added, err);
    if (status != UM_OK)
        return status;
    if (!added)
        return um_reading_reject(r, err, row->line, "user '%.40s' was listed before",
                                 row->field[USER_ID]);
    if (!um_vec_push(&k->has_friends, 0))
        return um_fail_memory(err, "users");
    return set_user(r, user, row, err);
}

/* "[1, 2]" -> ["1","2"] in k->text; false when it is not a list of numbers. */
static bool make_friends(kuairec *k, const char *text, size_t len)
{
    json_t *list = NULL;
    bool good = um_json_parse(&list, text, len, "friends", NULL) == UM_OK && json_is_array(list) &&
                json_array_size(list) <= MAX_FRIENDS;
    um_str_clear(&k->text);
    um_str_append_char(&k->text, '[');
    for (size_t i = 0; good && i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        good = json_is_integer(id) && json_integer_value(id) >= 0;
        um_str_appendf(&k->text, "%s\"%lld\"", i > 0 ? "," : "", (long long)json_integer_value(id));
    }
    um_str_append_char(&k->text, ']');
    json_decref(list);
    return good;
}

static um_status take_friends(um_reading *r, const um_row *row, um_error *err)
{
    kuairec *k = r->state;
    uint32_t user = 0;
    if (!um_builder_find_user(r->builder, row->field[0], &user))
        return um_reading_reject(r, err, row->line, "user '%.40s' is not in " USERS, row->field[0]);
    if (k->has_friends.data[user] != 0)
        return um_reading_reject(r, err, row->line, "user '%.40s' was listed before",
                                 row->field[0]);
    if (!make_friends(k, row->field[1], row->len[1]))
        return um_reading_reject(r, err, row->line, "friends '%.60s' are not a list of user ids",
                                 row->field[1]);
    k->has_friends.data[user] = 1;
    um_status status = um_str_status(&k->text, err);
    if (status == UM_OK)
        status = um_dataset_builder_set_user(r->builder, user, "friends", UM_COLUMN_FEATURE,
                                             um_str_text(&k->text), err);
    return status;
}

/* Videos -----------------------------------------------------------------------------------------
 */

static const char *const count_columns[] = {"show_cnt", "play_cnt", "like_cnt", "comment_cnt",
                                            "share_cnt"};
enum { N_COUNTS = sizeof count_columns / sizeof *count_columns };

/* Makes every column in the order in which descriptions are to be read. */
static um_status declare_item(um_reading *r, uint32_t item, um_error *err)
{
    static const char *const texts[] = {"caption", "cover_text", "category", "tags"};
    um_status status = UM_OK;
    for (size_t i = 0; i < sizeof texts / sizeof *texts && status == UM_OK; i++)
        status = describe_item(r, item, texts[i], NULL, err);
    if (status == UM_OK)
        status = um_dataset_builder_set_item(r->builder, item, "duration_s", UM_COLUMN_FEATURE,
                                             NULL, err);
    for (size_t i = 0; i < N_COUNTS && status == UM_OK; i++)
        status = um_dataset_builder_set_item(r->builder, item, count_columns[i], UM_COLUMN_FEATURE,
                                             NULL, err);
    return status;
}

static um_status take_category(um_reading *r, const um_row *row, um_error *err)
{
    kuairec *k = r->state;
    uint32_t item = 0;
    bool added = false;
    json_t *list = NULL;
    if (row->len[0] == 0)
        return um_reading_reject(r, err, row->line, "video id is empty");
    bool good = um_json_parse(&list, row->field[1], row->len[1], "feat", NULL) == UM_OK &&
                json_is_array(list);
    um_str_clear(&k->text);
    if (good)
        um_json_dump(&k->text, list);
    json_decref(list);
    if (!good)
        return um_reading_reject(r, err, row->line, "categories '%.60s' are not a list like [1, 2]",
                                 row->field[1]);
    um_status status = um_str_status(&k->text, err);
    if (status == UM_OK)
        status = um_dataset_builder_item(r->builder, row->field[0], &item, &added, err);
    if (status != UM_OK)
        return status;
    if (!added)
        return um_reading_reject(r, err, row->line, "video '%.40s' was listed before",
                                 row->field[0]);
    if (!um_vec_push(&k->item_has, 0))
        return um_fail_memory(err, "videos");
    if (item == 0)
        status = declare_item(r, item, err);
    if (status == UM_OK)
        status = um_dataset_builder_set_item(r->builder, item, "category_ids", UM_COLUMN_FEATURE,
                                             um_str_text(&k->text), err);
    return status;
}

/* The video of the row; *found = false when it was rejected for it. */
static um_status find_video(um_reading *r, const um_row *row, uint32_t *item, bool *found,
                            um_error *err)
{
    *found = um_builder_find_item(r->builder, row->field[0], item);
    if (*found)
        return UM_OK;
    return um_reading_reject(r, err, row->line, "video '%.40s' is not in " CATEGORIES,
                             row->field[0]);
}

enum { CAPTION_COVER = 1, CAPTION_TEXT, CAPTION_TAGS, CAPTION_LEVELS, CAPTION_FIELDS = 7 };
static const char *const caption_columns[CAPTION_FIELDS] = {"video_id",
                                                            "manual_cover_text",
                                                            "caption",
                                                            "topic_tag",
                                                            "first_level_category_name",
                                                            "second_level_category_name",
                                                            "third_level_category_name"};

/* "[a,b]", without quotes: "a, b". */
static void append_tags(um_str *out, const char *text, size_t len)
{
    if (len < 2 || text[0] != '[' || text[len - 1] != ']')
        return;
    for (size_t i = 1; i + 1 < len; i++) {
        um_str_append_char(out, text[i]);
        if (text[i] == ',' && text[i + 1] != ' ')
            um_str_append_char(out, ' ');
    }
}

static um_status take_caption(um_reading *r, const um_row *row, um_error *err)
{
    kuairec *k = r->state;
    uint32_t item = 0;
    bool found = false;
    um_status status = find_video(r, row, &item, &found, err);
    if (status != UM_OK || !found)
        return status;
    if ((k->item_has.data[item] & HAS_CAPTION) != 0)
        return um_reading_reject(r, err, row->line, "video '%.40s' was listed before",
                                 row->field[0]);
    k->item_has.data[item] |= HAS_CAPTION;
    status =
        describe_item(r, item, "caption",
                      is_given(row->field[CAPTION_TEXT]) ? row->field[CAPTION_TEXT] : NULL, err);
    if (status == UM_OK && is_given(row->field[CAPTION_COVER]))
        status = describe_item(r, item, "cover_text", row->field[CAPTION_COVER], err);
    um_str_clear(&k->text);
    for (int i = CAPTION_LEVELS; i < CAPTION_FIELDS && is_given(row->field[i]); i++)
        um_str_appendf(&k->text, "%s%s", i > CAPTION_LEVELS ? " > " : "", row->field[i]);
    if (status == UM_OK)
        status = um_str_status(&k->text, err);
    if (status == UM_OK && k->text.len > 0)
        status = describe_item(r, item, "category", um_str_text(&k->text), err);
    um_str_clear(&k->text);
    append_tags(&k->text, row->field[CAPTION_TAGS], row->len[CAPTION_TAGS]);
    if (status == UM_OK)
        status = um_str_status(&k->text, err);
    if (status == UM_OK && k->text.len > 0)
        status = describe_item(r, item, "tags", um_str_text(&k->text), err);
    return status;
}

enum { DAILY_UPLOADED = 1, DAILY_MS, DAILY_COUNTS, DAILY_FIELDS = DAILY_COUNTS + N_COUNTS };
static const char *const daily_columns[DAILY_FIELDS] = {
    "video_id", "upload_dt", "video_duration", "show_cnt",
    "play_cnt", "like_cnt",  "comment_cnt",    "share_cnt"};

/* A number as JSON text, NULL when the field holds none: some are empty. */
static const char *number_text(kuairec *k, const char *field, size_t len, double scale)
{
    double value = 0;
    if (!um_cell_number(field, len, &value))
        return NULL;
    um_str_clear(&k->text);
    um_str_append_number(&k->text, value / scale);
    return um_str_text(&k->text);
}

/* One row a video and day: the first tells, the others are read and say nothing new. */
static um_status take_daily(um_reading *r, const um_row *row, um_error *err)
{
    kuairec *k = r->state;
    uint32_t item = 0;
    bool found = false;
    int64_t day_s = 0;
    um_status status = find_video(r, row, &item, &found, err);
    if (status != UM_OK || !found || (k->item_has.data[item] & HAS_DAILY) != 0)
        return status;
    if (row->len[DAILY_UPLOADED] > 0 && !um_date_parse_iso(row->field[DAILY_UPLOADED], &day_s))
        return um_reading_reject(r, err, row->line, "upload date '%.40s' is not like 2020-07-05",
                                 row->field[DAILY_UPLOADED]);
    k->item_has.data[item] |= HAS_DAILY;
    if (row->len[DAILY_UPLOADED] > 0)
        status = um_dataset_builder_release(r->builder, item, day_s - CHINA_S, err);
    if (status == UM_OK)
        status = um_dataset_builder_set_item(
            r->builder, item, "duration_s", UM_COLUMN_FEATURE,
            number_text(k, row->field[DAILY_MS], row->len[DAILY_MS], 1000), err);
    for (int i = 0; i < N_COUNTS && status == UM_OK; i++)
        status = um_dataset_builder_set_item(
            r->builder, item, count_columns[i], UM_COLUMN_FEATURE,
            number_text(k, row->field[DAILY_COUNTS + i], row->len[DAILY_COUNTS + i], 1), err);
    return status;
}

/* Plays ------------------------------------------------------------------------------------------
 */

enum { PLAY_USER, PLAY_VIDEO, PLAY_MS, PLAY_LENGTH_MS, PLAY_TIME, PLAY_RATIO, PLAY_FIELDS };
static const char *const play_columns[PLAY_FIELDS] = {
    "user_id", "video_id", "play_duration", "video_duration", "timestamp", "watch_ratio"};

static um_status add_play(um_reading *r, const um_row *row, const double number[PLAY_FIELDS],
                          um_error *err)
{
    um_dataset_builder *b = r->builder;
    uint32_t user = 0, item = 0;
    double shortest =
        number[PLAY_LENGTH_MS] < SHORT_PLAY_MS ? number[PLAY_LENGTH_MS] : SHORT_PLAY_MS;
    bool skipped = number[PLAY_MS] < shortest || number[PLAY_RATIO] < 1;
    if (!um_builder_find_user(b, row->field[PLAY_USER], &user))
        return um_reading_reject(r, err, row->line, "user '%.40s' is not in " USERS,
                                 row->field[PLAY_USER]);
    if (!um_builder_find_item(b, row->field[PLAY_VIDEO], &item))
        return um_reading_reject(r, err, row->line, "video '%.40s' is not in " CATEGORIES,
                                 row->field[PLAY_VIDEO]);
    um_status status =
        um_dataset_builder_interaction(b, user, item, (int64_t)number[PLAY_TIME], err);
    if (status == UM_OK)
        status = um_dataset_builder_number(b, skipped ? "skipped_s" : "completed_s",
                                           number[PLAY_MS] / 1000, err);
    if (status == UM_OK)
        status = um_dataset_builder_number(b, "watch_ratio", number[PLAY_RATIO], err);
    if (status == UM_OK)
        status = um_builder_set_line(b, row->line, err);
    return status;
}

static um_status take_play(um_reading *r, const um_row *row, um_error *err)
{
    double number[PLAY_FIELDS] = {0};
    for (int i = PLAY_MS; i < PLAY_FIELDS; i++) {
        if (row->len[i] == 0)
            return um_reading_reject(r, err, row->line, "no %s", play_columns[i]);
        if (!um_cell_number(row->field[i], row->len[i], &number[i]))
            return um_reading_reject(r, err, row->line, "%s '%.40s' is not a number",
                                     play_columns[i], row->field[i]);
    }
    if (!(number[PLAY_TIME] >= 1 && number[PLAY_TIME] <= MAX_TIME_S))
        return um_reading_reject(r, err, row->line,
                                 "timestamp %.40s is not in seconds after the start of 1970",
                                 row->field[PLAY_TIME]);
    for (int i = PLAY_MS; i <= PLAY_LENGTH_MS; i++) {
        if (!(number[i] >= 0 && number[i] <= MAX_MS))
            return um_reading_reject(r, err, row->line, "%s %.40s is not in 0 .. %.0f milliseconds",
                                     play_columns[i], row->field[i], MAX_MS);
    }
    if (number[PLAY_RATIO] < 0)
        return um_reading_reject(r, err, row->line, "watch_ratio %.40s is negative",
                                 row->field[PLAY_RATIO]);
    return add_play(r, row, number, err);
}

/* The adapters -----------------------------------------------------------------------------------
 */

#define TABLE(name, names, callback)                                                               \
    {                                                                                              \
        .file = (name), .separator = ",", .is_quoted = true, .has_header = true,                   \
        .n_fields = sizeof(names) / sizeof *(names), .columns = (names), .take = (callback)        \
    }

static um_status read_tables(um_reading *r, um_error *err)
{
    static const char *const category_columns[] = {"video_id", "feat"};
    static const char *const friend_columns[] = {"user_id", "friend_list"};
    static const um_table_spec tables[] = {
        TABLE(USERS, user_columns, take_user), TABLE(CATEGORIES, category_columns, take_category),
        TABLE(FRIENDS, friend_columns, take_friends),
        TABLE(CAPTIONS, caption_columns, take_caption), TABLE(DAILY, daily_columns, take_daily)};
    um_status status = UM_OK;
    for (size_t i = 0; i < sizeof tables / sizeof *tables && status == UM_OK; i++) {
        if (i < 2 || um_bundle_find(r->bundle, tables[i].file) != NULL)
            status = um_reading_table(r, &tables[i], err);
    }
    return status;
}

static um_status read_matrix(um_reading *r, const char *file, um_error *err)
{
    static const char *const series[] = {"skipped_s", "completed_s", "watch_ratio"};
    um_table_spec plays = TABLE(file, play_columns, take_play);
    plays.has_interactions = true;
    kuairec k = {0};
    r->state = &k;
    um_status status = read_tables(r, err);
    for (size_t i = 0; i < sizeof series / sizeof *series && status == UM_OK; i++)
        status = um_builder_declare_series(r->builder, series[i], err);
    if (status == UM_OK)
        status = um_reading_table(r, &plays, err);
    r->state = NULL;
    um_vec_dispose(&k.item_has);
    um_vec_dispose(&k.has_friends);
    um_str_dispose(&k.text);
    return status;
}

static um_status read_big(um_reading *r, um_error *err)
{
    return read_matrix(r, BIG, err);
}

static um_status read_small(um_reading *r, um_error *err)
{
    return read_matrix(r, SMALL, err);
}

static bool has_tables(const um_bundle *b)
{
    return um_bundle_find(b, USERS) != NULL && um_bundle_find(b, CATEGORIES) != NULL;
}

static bool detect_big(const um_bundle *b)
{
    return has_tables(b) && um_bundle_find(b, BIG) != NULL;
}

static bool has_small(const um_bundle *b)
{
    return has_tables(b) && um_bundle_find(b, SMALL) != NULL;
}

static bool detect_small(const um_bundle *b)
{
    return has_small(b) && um_bundle_find(b, BIG) == NULL;
}

#define OTHERS USERS ", " CATEGORIES " and, if there, " CAPTIONS ", " DAILY ", " FRIENDS

const um_adapter um_adapter_kuairec = {.name = "kuairec",
                                       .default_name = "kuairec",
                                       .files = BIG ", " OTHERS,
                                       .detect = detect_big,
                                       .read = read_big};
const um_adapter um_adapter_kuairec_small = {.name = "kuairec-small",
                                             .default_name = "kuairec-small",
                                             .files = SMALL ", " OTHERS,
                                             .detect = detect_small,
                                             .detect_named = has_small,
                                             .read = read_small};
