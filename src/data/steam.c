/*
 * steam.c - Steam reviews (steam_reviews.json, steam_games.json): one printed Python dict a line.
 *
 * A user is a username. Reviews have a day, no time of it. Sentiment and metascore are those of the
 * day the shop was read, later than most reviews: features, which the built-in texts do not show.
 * Release dates are free text; those that name a day, month, quarter or year count from its first
 * day, and where someone reviewed the game before that (early access), from that review.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "data/calendar.h"
#include "data/dates.h"
#include "data/markup.h"
#include "data/objects.h"
#include "data/text_maker.h"

#define GAMES          "steam_games.json"
#define REVIEWS        "steam_reviews.json"
#define MAX_DATE_BYTES 40

enum { TEXT, COMPENSATION, N_TEXTS }; /* of a review */

typedef struct steam {
    um_reading *r;
    uint32_t texts[N_TEXTS]; /* behaviour columns */
    um_str id, user_id, text, json;
} steam;

static const char *plain_text(um_jval object, const char *key)
{
    um_jval v;
    const char *text;
    size_t len = 0;
    return um_jval_get(object, key, &v) && um_jval_str(v, &text, &len) ? text : "";
}

/* Games ---------------------------------------------------------------------------------------
 */

/* "2018", "Q3 2018", "2018 Q3"; false for anything else. */
static bool parse_quarter(const char *text, int64_t *time_s)
{
    static const char *const months[] = {"01", "04", "07", "10"};
    char digits[8] = {0}, date[16];
    size_t n = strlen(text);
    int quarter = 1;
    if (n == 7 && (text[0] == 'Q' || text[0] == 'q') && text[2] == ' ') {
        quarter = text[1] - '0';
        memcpy(digits, text + 3, 4);
    } else if (n == 7 && text[4] == ' ' && (text[5] == 'Q' || text[5] == 'q')) {
        quarter = text[6] - '0';
        memcpy(digits, text, 4);
    } else if (n == 4) {
        memcpy(digits, text, 4);
    } else {
        return false;
    }
    if (quarter < 1 || quarter > 4 || strspn(digits, "0123456789") != 4)
        return false;
    snprintf(date, sizeof date, "%s-%s-01", digits, months[quarter - 1]);
    return um_date_parse_iso(date, time_s);
}

static bool parse_release(const char *text, int64_t *time_s)
{
    return strlen(text) <= MAX_DATE_BYTES &&
           (um_date_parse_iso(text, time_s) || um_date_parse_words(text, time_s) ||
            parse_quarter(text, time_s));
}

/* "$4.99", "Free", "Starting at $449.00"; nothing for what stands on a button ("Play the Demo"). */
static void append_price(um_str *out, um_jval game)
{
    double number = 0;
    um_jval v;
    const char *text;
    size_t len = 0;
    if (!um_jval_get(game, "price", &v))
        return;
    if (um_jval_f64(v, &number)) {
        if (number > 0)
            um_str_appendf(out, "$%.2f", number);
        else
            um_str_append(out, "Free");
    } else if (um_jval_str(v, &text, &len)) {
        if (strncasecmp(text, "free", 4) == 0 || strncasecmp(text, "play for free", 13) == 0)
            um_str_append(out, "Free");
        else if (strchr(text, '$') != NULL)
            um_markup_clean(out, text, len);
    }
}

static um_status put_member(steam *s, uint32_t item, um_jval game, const char *key,
                            const char *column, um_error *err)
{
    um_str_clear(&s->text);
    um_member_text(game, key, ", ", &s->text);
    return um_put_text(s->r, item, column, &s->text, err);
}

/* A feature: the member's JSON; none for "NA". */
static um_status put_feature(steam *s, uint32_t item, um_jval game, const char *key, um_error *err)
{
    um_jval v;
    um_str_clear(&s->json);
    if (um_jval_get(game, key, &v) && um_jval_type(v) != UM_J_NULL &&
        strcmp(plain_text(game, key), "NA") != 0)
        um_jval_dump(&s->json, v);
    um_status status = um_str_status(&s->json, err);
    if (status == UM_OK)
        status = um_dataset_builder_set_item(s->r->builder, item, key, UM_COLUMN_FEATURE,
                                             s->json.len > 0 ? um_str_text(&s->json) : NULL, err);
    return status;
}

static um_status take_game(void *context, um_jval game, uint64_t line, um_error *err)
{
    static const char *const members[][2] = {
        {"developer", "developer"}, {"publisher", "publisher"}, {"genres", "genres"},
        {"tags", "tags"},           {"specs", "features"},      {"release_date", "release_date"}};
    static const char *const features[] = {"early_access", "sentiment", "metascore"};
    steam *s = context;
    uint32_t item = 0;
    int64_t time_s = 0;
    bool added = false;
    um_str_clear(&s->text);
    if (!um_member_id(game, "id", &s->id))
        return um_reading_reject(s->r, err, line, "game without id");
    if (!um_member_text(game, "app_name", " ", &s->text) &&
        !um_member_text(game, "title", " ", &s->text))
        return um_reading_reject(s->r, err, line, "game '%.40s' has no name", um_str_text(&s->id));
    um_status status =
        um_dataset_builder_item(s->r->builder, um_str_text(&s->id), &item, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(s->r, err, line, "game '%.40s' was described before",
                                 um_str_text(&s->id));
    if (status == UM_OK)
        status = um_put_text(s->r, item, "title", &s->text, err);
    for (size_t i = 0; i < sizeof members / sizeof *members && status == UM_OK; i++)
        status = put_member(s, item, game, members[i][0], members[i][1], err);
    um_str_clear(&s->text);
    append_price(&s->text, game);
    if (status == UM_OK)
        status = um_put_text(s->r, item, "price", &s->text, err);
    for (size_t i = 0; i < sizeof features / sizeof *features && status == UM_OK; i++)
        status = put_feature(s, item, game, features[i], err);
    if (status == UM_OK && parse_release(plain_text(game, "release_date"), &time_s))
        status = um_dataset_builder_release(s->r->builder, item, time_s, err);
    return status;
}

/* Reviews -------------------------------------------------------------------------------------
 */

static um_status put_number(steam *s, um_jval review, const char *key, um_error *err)
{
    double number = 0;
    bool flag = false;
    if (um_member_bool(review, key, &flag))
        number = flag;
    else if (!um_member_number(review, key, &number))
        return UM_OK;
    return um_dataset_builder_number(s->r->builder, key, number, err);
}

enum { USER, PRODUCT, FIRST_TEXT, N_MEMBERS = FIRST_TEXT + N_TEXTS }; /* of a review */
static const um_jkey members[N_MEMBERS] = {UM_JKEY("username"), UM_JKEY("product_id"),
                                           UM_JKEY("text"), UM_JKEY("compensation")};
static const char *const text_series[N_TEXTS] = {"review", "compensation"};

/* The texts of a review, NULL where it has none, or its game is not in the list: it is rejected. */
static um_status make_texts(void *context, um_jval review, um_str *made, um_row_notes *notes,
                            um_error *err)
{
    notes->keeps_root = true;
    um_text_maker *m = context;
    char *kept[N_TEXTS] = {NULL}, number[UM_ID_NUMBER_BYTES];
    const char *id = NULL;
    size_t len = 0;
    uint32_t item = 0;
    um_status status = UM_OK;
    const bool is_known = um_value_id(um_jval_member(review, PRODUCT), number, &id, &len) &&
                          um_builder_find_item_n(m->builder, id, len, &item);
    for (size_t i = 0; i < N_TEXTS && status == UM_OK && is_known; i++)
        status = um_keep_value(m, um_jval_member(review, FIRST_TEXT + i), " ", &kept[i], err);
    um_str_append_n(made, kept, sizeof kept);
    return status == UM_OK ? um_str_status(made, err) : status;
}

static um_status take_review(void *context, um_jval review, uint64_t line, um_error *err)
{
    static const char *const numbers[] = {"hours", "products", "early_access", "found_funny"};
    steam *s = context;
    um_reading *r = s->r;
    uint32_t user = 0, item = 0;
    int64_t time_s = 0;
    char *const *kept = (char *const *)r->made;
    if (!um_member_id(review, "username", &s->user_id))
        return um_reading_reject(r, err, line, "username is missing");
    if (!um_member_id(review, "product_id", &s->id))
        return um_reading_reject(r, err, line, "product_id is missing");
    const char *date = plain_text(review, "date");
    if (!um_date_parse_iso(date, &time_s) || time_s <= 0)
        return um_reading_reject(r, err, line, "date '%.40s' is not like 2017-12-17", date);
    if (!um_builder_find_item(r->builder, um_str_text(&s->id), &item))
        return um_reading_reject(r, err, line, "game '%.40s' is not in the list of games",
                                 um_str_text(&s->id));
    um_status status =
        um_dataset_builder_user(r->builder, um_str_text(&s->user_id), &user, NULL, err);
    if (status == UM_OK)
        status = um_dataset_builder_interaction(r->builder, user, item, time_s, err);
    if (status == UM_OK)
        status = um_builder_set_line(r->builder, line, err);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && status == UM_OK; i++)
        status = put_number(s, review, numbers[i], err);
    for (size_t i = 0; i < N_TEXTS && status == UM_OK; i++) {
        if (kept[i] != NULL)
            status = um_builder_set_kept(r->builder, s->texts[i], kept[i], err);
    }
    return status;
}

/* The adapter ---------------------------------------------------------------------------------
 */

static bool detect(const um_bundle *bundle)
{
    return um_bundle_find(bundle, REVIEWS) != NULL || um_bundle_find(bundle, GAMES) != NULL;
}

static um_status declare(steam *s, um_error *err)
{
    static const char *const names[] = {"hours", "products", "early_access", "found_funny"};
    um_dataset_builder *b = s->r->builder;
    um_status status = UM_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == UM_OK; i++)
        status = um_builder_declare_series(b, names[i], err);
    for (size_t i = 0; i < N_TEXTS && status == UM_OK; i++)
        status = um_builder_find_series(b, text_series[i], &s->texts[i], err);
    return status;
}

static um_status read_steam(um_reading *r, um_error *err)
{
    um_partner games = {0};
    steam s = {.r = r};
    um_text_maker makers[UM_PARSED_THREADS] = {0};
    const um_entry *reviews = um_bundle_find(r->bundle, REVIEWS);
    um_status status = um_partner_open(&games, r->bundle, GAMES, err);
    if (status == UM_OK && (games.entry == NULL || reviews == NULL))
        status = um_fail(err, UM_ERR_INPUT, "%s: no file, or more than one, called %s",
                         r->bundle->path, reviews == NULL ? REVIEWS : GAMES);
    if (status == UM_OK)
        status = um_reading_objects(r,
                                    &(um_objects_spec){.bundle = games.bundle,
                                                       .entry = games.entry,
                                                       .is_python = true,
                                                       .take = take_game,
                                                       .context = &s},
                                    err);
    if (status == UM_OK)
        status = declare(&s, err);
    for (size_t i = 0; i < UM_PARSED_THREADS && status == UM_OK; i++)
        status = um_text_maker_open(&makers[i], r->builder, err);
    if (status == UM_OK)
        status = um_reading_objects(r,
                                    &(um_objects_spec){.entry = reviews,
                                                       .is_python = true,
                                                       .has_interactions = true,
                                                       .has_ids = true,
                                                       .members = members,
                                                       .n_members = N_MEMBERS,
                                                       .ids_are_members = true,
                                                       .make = make_texts,
                                                       .makers = {&makers[0], &makers[1]},
                                                       .take = take_review,
                                                       .context = &s},
                                    err);
    um_builder_correct_releases(r->builder);
    um_partner_close(&games);
    um_str_dispose(&s.id);
    um_str_dispose(&s.user_id);
    um_str_dispose(&s.text);
    um_str_dispose(&s.json);
    for (size_t i = 0; i < UM_PARSED_THREADS; i++)
        status = um_text_maker_close(&makers[i], status, err);
    return status;
}

const um_adapter um_adapter_steam = {
    .name = "steam",
    .default_name = "steam",
    .files = REVIEWS ", " GAMES,
    .filters = {.min_user_interactions = 5, .max_user_interactions = 20},
    .detect = detect,
    .read = read_steam,
};
