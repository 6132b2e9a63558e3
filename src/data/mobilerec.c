/*
 * mobilerec.c - MobileRec app reviews: mobilerec_final.csv and app_meta.csv.
 *
 * Reviews are quoted and may have line ends. Average rating and number of reviews of an app are
 * those of the day the shop was read, later than most reviews: features, which the built-in texts
 * do not show.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/dates.h"
#include "data/markup.h"
#include "data/objects.h"

#define LOG  "mobilerec_final.csv"
#define APPS "app_meta.csv"

/* Seconds since 1970 lie below for 3,000 years, milliseconds above since 1973. */
#define MS_FROM  1e11
#define TIME_MAX 1e14

typedef struct mobilerec {
    um_str text, json;
} mobilerec;

static um_status put_cell(um_reading *r, uint32_t item, const char *column, const um_row *row,
                          size_t field, um_error *err)
{
    mobilerec *m = r->state;
    um_str_clear(&m->text);
    um_markup_clean(&m->text, row->field[field], row->len[field]);
    return um_put_text(r, item, column, &m->text, err);
}

/* "Install" is what the button of a free app says; "$4.99 Buy" that of another. */
static um_status put_price(um_reading *r, uint32_t item, const char *price, um_error *err)
{
    mobilerec *m = r->state;
    um_str_clear(&m->text);
    size_t len = strlen(price);
    if (um_str_ends(price, " Buy"))
        len -= strlen(" Buy");
    if (strcmp(price, "Install") == 0 || strcmp(price, "0") == 0 || strcmp(price, "Free") == 0)
        um_str_append(&m->text, "Free");
    else
        um_markup_clean(&m->text, price, len);
    return um_put_text(r, item, "price", &m->text, err);
}

static um_status put_count(um_reading *r, uint32_t item, const char *column, const char *text,
                           um_error *err)
{
    double number = 0;
    bool has = um_parse_grouped(text, &number);
    return um_put_number(r, item, column, has, number, err);
}

enum {
    APP_ID,
    APP_NAME,
    APP_DEVELOPER,
    APP_CATEGORY,
    APP_DESCRIPTION,
    APP_CONTENT,
    APP_REVIEWS,
    APP_PRICE,
    APP_RATING,
    APP_FIELDS
};

static um_status take_app(um_reading *r, const um_row *row, um_error *err)
{
    uint32_t item = 0;
    bool added = false;
    if (row->len[APP_ID] == 0)
        return um_reading_reject(r, err, row->line, "app_package is empty");
    if (row->len[APP_NAME] == 0)
        return um_reading_reject(r, err, row->line, "app '%.60s' has no name", row->field[APP_ID]);
    um_status status = um_dataset_builder_item(r->builder, row->field[APP_ID], &item, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(r, err, row->line, "app '%.60s' was described before",
                                 row->field[APP_ID]);
    if (status == UM_OK)
        status = put_cell(r, item, "title", row, APP_NAME, err);
    if (status == UM_OK)
        status = put_cell(r, item, "developer", row, APP_DEVELOPER, err);
    if (status == UM_OK)
        status = put_cell(r, item, "category", row, APP_CATEGORY, err);
    if (status == UM_OK)
        status = put_cell(r, item, "content_rating", row, APP_CONTENT, err);
    if (status == UM_OK)
        status = put_price(r, item, row->field[APP_PRICE], err);
    if (status == UM_OK)
        status = put_cell(r, item, "description", row, APP_DESCRIPTION, err);
    if (status == UM_OK)
        status = put_count(r, item, "average_rating", row->field[APP_RATING], err);
    if (status == UM_OK)
        status = put_count(r, item, "num_reviews", row->field[APP_REVIEWS], err);
    return status;
}

enum { LOG_APP, LOG_REVIEW, LOG_RATING, LOG_VOTES, LOG_DATE, LOG_TIME, LOG_USER, LOG_FIELDS };

/* unix_timestamp in seconds or milliseconds, "1499126400" or "1499126400.0"; where it is missing,
 * the day in formated_date. */
static bool read_time(const um_row *row, int64_t *time_s)
{
    double number = 0;
    if (!um_parse_f64(row->field[LOG_TIME], &number))
        return um_date_parse_iso(row->field[LOG_DATE], time_s) && *time_s > 0;
    if (!(number >= 1 && number < TIME_MAX))
        return false;
    *time_s = (int64_t)(number < MS_FROM ? number : number / 1000);
    return true;
}

static um_status take_review(um_reading *r, const um_row *row, um_error *err)
{
    mobilerec *m = r->state;
    uint32_t user = 0, item = 0;
    int64_t time_s = 0;
    double rating = 0, votes = 0;
    if (row->len[LOG_USER] == 0 || row->len[LOG_APP] == 0)
        return um_reading_reject(r, err, row->line, "uid or app_package is empty");
    if (!read_time(row, &time_s))
        return um_reading_reject(r, err, row->line,
                                 "unix_timestamp '%.40s' and formated_date '%.40s' give no time",
                                 row->field[LOG_TIME], row->field[LOG_DATE]);
    if (!um_parse_f64(row->field[LOG_RATING], &rating) || !(rating >= 1 && rating <= 5))
        return um_reading_reject(r, err, row->line, "rating '%.40s' is not a number from 1 to 5",
                                 row->field[LOG_RATING]);
    if (!um_builder_find_item(r->builder, row->field[LOG_APP], &item))
        return um_reading_reject(r, err, row->line, "app '%.60s' is not in the list of apps",
                                 row->field[LOG_APP]);
    um_status status = um_dataset_builder_user(r->builder, row->field[LOG_USER], &user, NULL, err);
    if (status == UM_OK)
        status = um_dataset_builder_interaction(r->builder, user, item, time_s, err);
    if (status == UM_OK)
        status = um_builder_set_line(r->builder, row->line, err);
    if (status == UM_OK)
        status = um_dataset_builder_number(r->builder, "rating", rating, err);
    if (status == UM_OK && um_parse_grouped(row->field[LOG_VOTES], &votes))
        status = um_dataset_builder_number(r->builder, "helpful_votes", votes, err);
    um_str_clear(&m->text);
    um_markup_clean(&m->text, row->field[LOG_REVIEW], row->len[LOG_REVIEW]);
    if (status == UM_OK)
        status = um_str_status(&m->text, err);
    if (status == UM_OK)
        status =
            um_put_behaviour_text(r, "review", um_str_text(&m->text), m->text.len, &m->json, err);
    return status;
}

static bool detect(const um_bundle *bundle)
{
    return um_bundle_find(bundle, LOG) != NULL || um_bundle_find(bundle, APPS) != NULL;
}

static um_status read_mobilerec(um_reading *r, um_error *err)
{
    static const char *const app_columns[APP_FIELDS] = {
        "app_package",    "app_name",    "developer_name", "app_category", "description",
        "content_rating", "num_reviews", "price",          "avg_rating"};
    static const char *const log_columns[LOG_FIELDS] = {
        "app_package", "review", "rating", "votes", "formated_date", "unix_timestamp", "uid"};
    static const um_table_spec apps = {.file = APPS,
                                       .separator = ",",
                                       .is_quoted = true,
                                       .has_header = true,
                                       .n_fields = APP_FIELDS,
                                       .columns = app_columns,
                                       .take = take_app};
    static const um_table_spec log = {.file = LOG,
                                      .separator = ",",
                                      .is_quoted = true,
                                      .has_header = true,
                                      .has_interactions = true,
                                      .n_fields = LOG_FIELDS,
                                      .columns = log_columns,
                                      .take = take_review};
    static const char *const names[] = {"rating", "helpful_votes", "review"};
    mobilerec m = {0};
    r->state = &m;
    um_status status = um_reading_table(r, &apps, err);
    for (size_t i = 0; i < sizeof names / sizeof *names && status == UM_OK; i++)
        status = um_builder_declare_series(r->builder, names[i], err);
    if (status == UM_OK)
        status = um_reading_table(r, &log, err);
    r->state = NULL;
    um_str_dispose(&m.text);
    um_str_dispose(&m.json);
    return status;
}

const um_adapter um_adapter_mobilerec = {
    .name = "mobilerec",
    .default_name = "mobilerec",
    .files = LOG ", " APPS,
    .detect = detect,
    .read = read_mobilerec,
};
