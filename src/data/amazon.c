/*
 * amazon.c - Amazon product reviews in the three layouts of their publishers: 2014 (reviews_<CAT>
 * and Python dicts of metadata), 2018 (<CAT>.json, asin, reviewerID) and 2023 (<CAT>.jsonl,
 * parent_asin, user_id, milliseconds).
 *
 * One category a reading. The metadata (amazon_meta.c) are read first: reviews of items that they
 * lack are rejected, there would be nothing to show.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/amazon.h"
#include "data/markup.h"
#include "data/text_maker.h"

/* Past the year 5138 in seconds; 1973 in milliseconds. */
#define TIME_LIMIT 100000000000

/* Behaviour columns, which every layout has, so that one template serves all. */
enum { RATED, TITLED, REVIEWED, STYLED, IS_VERIFIED, HELPFUL, N_SERIES };
static const char *const series_names[N_SERIES] = {"rating", "review_title", "review",
                                                   "style",  "verified",     "helpful_votes"};

typedef struct amazon {
    um_reading *r;
    um_amazon_items items;
    uint32_t series[N_SERIES]; /* numbers in the builder */
} amazon;

/* Reviews -------------------------------------------------------------------------------------
 */

enum { USER, ITEM, RATING, TITLE, TEXT, TIME, VOTES, VERIFIED, STYLE, N_MEMBERS };

/* What is made of a review. Behind it: the user's id with a NUL; or the reason why it is not taken.
 */
typedef enum verdict { GOOD, REJECTED, LEFT_OUT } verdict;
typedef struct review {
    verdict verdict;
    uint32_t item;
    int64_t time_s;
    double rating, votes;
    uint64_t user_hash;
    size_t user_len;
    char *title, *text, *style; /* NULL = absent */
    bool has_votes, has_verified, is_verified;
} review;

typedef struct review_maker {
    const um_amazon_layout *lay;
    const um_ids *left_out; /* items */
    um_str text;
    um_text_maker texts; /* last: it keeps the next thread's apart */
} review_maker;

static_assert(N_MEMBERS <= UM_JSONL_MAX_WANTED, "members of a review");

/* The members of a review in the order of their numbers; absent where the layout has none. */
static void name_members(const um_amazon_layout *lay, um_jkey keys[N_MEMBERS])
{
    const um_jkey names[N_MEMBERS] = {
        [USER] = lay->user,   [ITEM] = lay->item,         [RATING] = lay->rating,
        [TITLE] = lay->title, [TEXT] = lay->text,         [TIME] = lay->time,
        [VOTES] = lay->votes, [VERIFIED] = lay->verified, [STYLE] = UM_JKEY("style"),
    };
    memcpy(keys, names, sizeof names);
}

/* NULL when the time is good, else why it is not. */
static const char *read_time(const um_amazon_layout *lay, um_jval v, int64_t *time_s)
{
    int64_t time = 0;
    if (!um_value_integer(v, &time))
        return lay->is_ms ? "is missing or no whole number of milliseconds since 1970"
                          : "is missing or no whole number of seconds since 1970";
    if (time <= 0)
        return "is not after 1970";
    if (lay->is_ms && time < TIME_LIMIT)
        return "looks like seconds, need milliseconds since 1970";
    if (!lay->is_ms && time > TIME_LIMIT)
        return "looks like milliseconds, need seconds since 1970";
    *time_s = lay->is_ms ? time / 1000 : time;
    return *time_s > TIME_LIMIT ? "is past the year 5138" : NULL;
}

/* Votes: a number, "1,234", or [helpful, all] (2014). */
static bool read_votes(um_jval v, double *votes)
{
    um_jval first;
    if (um_value_number(v, votes))
        return true;
    if (um_jval_type(v) != UM_J_ARRAY)
        return false;
    um_jiter it = um_jval_iter(v);
    return um_jiter_next(&it, NULL, &first) && um_jval_f64(first, votes);
}

/* {"Size:": " Big Boys", "Color:": " Blue"} -> "Size: Big Boys; Color: Blue". */
static void append_style(um_str *out, um_jval style)
{
    um_jval value;
    const char *key = NULL, *text;
    size_t len = 0;
    if (um_jval_type(style) != UM_J_OBJECT)
        return;
    um_jiter it = um_jval_iter(style);
    while (um_jiter_next(&it, &key, &value)) {
        size_t name = strlen(key);
        while (name > 0 && (key[name - 1] == ':' || key[name - 1] == ' '))
            name--;
        if (!um_jval_str(value, &text, &len))
            continue;
        um_str_append(out, out->len > 0 ? "; " : "");
        um_markup_clean(out, key, name);
        um_str_append(out, ": ");
        um_markup_clean(out, text, len);
    }
}

/* Looks the item up, which was described before or is not taken. */
static verdict check_item(review_maker *m, const um_row_id *id, review *row)
{
    uint32_t left_out = 0;
    if (um_builder_find_item_hashed(m->texts.builder, id->text, id->len, id->hash, &row->item))
        return GOOD;
    if (um_ids_find_n(m->left_out, id->text, id->len, &left_out)) {
        um_str_appendf(&m->text, "item '%.40s' has too few ratings, or no details", id->text);
        return LEFT_OUT;
    }
    um_str_appendf(&m->text, "item '%.40s' is not in the metadata", id->text);
    return REJECTED;
}

/* Whether a review is taken; else why not, in m->text. */
static verdict check_review(review_maker *m, um_jval root, const um_row_notes *notes,
                            um_row_id *user, review *row)
{
    const um_amazon_layout *lay = m->lay;
    const char *why = NULL;
    um_row_id item = {.len = 0};
    if (!um_read_id(um_jval_member(root, USER), notes->user_hash, user)) {
        um_str_appendf(&m->text, "%s is missing", lay->user.name);
        return REJECTED;
    }
    if (!um_read_id(um_jval_member(root, ITEM), notes->item_hash, &item)) {
        um_str_appendf(&m->text, "%s is missing", lay->item.name);
        return REJECTED;
    }
    if ((why = read_time(lay, um_jval_member(root, TIME), &row->time_s)) != NULL)
        um_str_appendf(&m->text, "%s %s", lay->time.name, why);
    else if (!um_value_number(um_jval_member(root, RATING), &row->rating))
        um_str_appendf(&m->text, "%s is missing or no number", lay->rating.name);
    else if (!(row->rating >= 1 && row->rating <= 5))
        um_str_appendf(&m->text, "%s %g is outside 1 .. 5", lay->rating.name, row->rating);
    else
        return check_item(m, &item, row);
    return REJECTED;
}

static um_status make_texts(review_maker *m, um_jval root, review *row, um_error *err)
{
    um_status status = um_keep_value(&m->texts, um_jval_member(root, TITLE), " ", &row->title, err);
    if (status == UM_OK)
        status = um_keep_value(&m->texts, um_jval_member(root, TEXT), " ", &row->text, err);
    if (status != UM_OK || um_jval_type(um_jval_member(root, STYLE)) != UM_J_OBJECT)
        return status;
    um_str_clear(&m->text);
    append_style(&m->text, um_jval_member(root, STYLE));
    status = um_str_status(&m->text, err);
    return status == UM_OK
               ? um_keep_text(&m->texts, um_str_text(&m->text), m->text.len, &row->style, err)
               : status;
}

/* Runs in the threads: looks up, and changes nothing but its own context. */
static um_status make_review(void *context, um_jval root, um_str *made, um_row_notes *notes,
                             um_error *err)
{
    review_maker *m = context;
    um_row_id user = {.len = 0};
    review *row = (review *)um_str_extend(made, sizeof *row);
    if (row == NULL)
        return um_str_status(made, err);
    um_str_clear(&m->text);
    row->verdict = check_review(m, root, notes, &user, row);
    if (row->verdict != GOOD) {
        um_str_append_n(made, um_str_text(&m->text), m->text.len + 1);
        return um_str_status(&m->text, err);
    }
    row->title = row->text = row->style = NULL;
    row->has_votes = read_votes(um_jval_member(root, VOTES), &row->votes);
    row->is_verified = false;
    row->has_verified = um_jval_bool(um_jval_member(root, VERIFIED), &row->is_verified);
    row->user_hash = notes->user_hash = user.hash;
    row->user_len = user.len;
    um_status status = make_texts(m, root, row, err);
    um_str_append_n(made, user.text, user.len + 1);
    return status == UM_OK ? um_str_status(made, err) : status;
}

static um_status take_review(void *context, um_jval object, uint64_t line, um_error *err)
{
    (void)object;
    amazon *a = context;
    um_dataset_builder *b = a->r->builder;
    const review *row = (const review *)a->r->made;
    const char *behind = (const char *)(row + 1);
    if (row->verdict != GOOD)
        return row->verdict == LEFT_OUT ? um_reading_filter(a->r, err, line, "%s", behind)
                                        : um_reading_reject(a->r, err, line, "%s", behind);
    char *const texts[N_SERIES] = {
        [TITLED] = row->title, [REVIEWED] = row->text, [STYLED] = row->style};
    uint32_t user = 0;
    um_status status = UM_OK;
    if (!um_builder_find_user_hashed(b, behind, row->user_len, row->user_hash, &user))
        status = um_dataset_builder_user(b, behind, &user, NULL, err);
    if (status == UM_OK)
        status = um_dataset_builder_interaction(b, user, row->item, row->time_s, err);
    if (status == UM_OK)
        status = um_builder_set_line(b, line, err);
    if (status == UM_OK)
        status = um_builder_set_number(b, a->series[RATED], row->rating, err);
    for (int i = TITLED; i <= STYLED && status == UM_OK; i++) {
        if (texts[i] != NULL)
            status = um_builder_set_kept(b, a->series[i], texts[i], err);
    }
    if (status == UM_OK && row->has_verified)
        status = um_builder_set_number(b, a->series[IS_VERIFIED], row->is_verified, err);
    if (status == UM_OK && row->has_votes)
        status = um_builder_set_number(b, a->series[HELPFUL], row->votes, err);
    return status;
}

/* Files ---------------------------------------------------------------------------------------
 */

static bool detect(const um_bundle *bundle, const um_amazon_layout *lay)
{
    um_amazon_files l;
    um_amazon_locate(&l, bundle, lay);
    bool found = l.reviews != NULL;
    um_amazon_files_dispose(&l);
    return found;
}

static um_status make_name(const um_bundle *bundle, um_str *name, const um_amazon_layout *lay,
                           um_error *err)
{
    um_amazon_files l;
    um_status status = um_amazon_locate_one(&l, bundle, lay, err);
    if (status == UM_OK)
        um_name_of_part(name, "amazon", um_str_text(&l.category));
    um_amazon_files_dispose(&l);
    return status;
}

static um_status read_reviews(amazon *a, const um_amazon_layout *lay, const um_entry *entry,
                              um_error *err)
{
    review_maker makers[UM_PARSED_THREADS] = {{.lay = lay, .left_out = &a->items.left_out},
                                              {.lay = lay, .left_out = &a->items.left_out}};
    um_jkey members[N_MEMBERS];
    um_status status = UM_OK;
    name_members(lay, members);
    for (size_t i = 0; i < N_SERIES && status == UM_OK; i++)
        status = um_builder_find_series(a->r->builder, series_names[i], &a->series[i], err);
    for (size_t i = 0; i < UM_PARSED_THREADS && status == UM_OK; i++)
        status = um_text_maker_open(&makers[i].texts, a->r->builder, err);
    if (status == UM_OK)
        status = um_reading_objects(a->r,
                                    &(um_objects_spec){.entry = entry,
                                                       .has_interactions = true,
                                                       .has_ids = true,
                                                       .ids_are_members = true,
                                                       .makers_find_items = true,
                                                       .members = members,
                                                       .n_members = N_MEMBERS,
                                                       .make = make_review,
                                                       .makers = {&makers[0], &makers[1]},
                                                       .take = take_review,
                                                       .context = a},
                                    err);
    for (size_t i = 0; i < UM_PARSED_THREADS; i++) {
        status = um_text_maker_close(&makers[i].texts, status, err);
        um_str_dispose(&makers[i].text);
    }
    return status;
}

static um_status read_layout(um_reading *r, const um_amazon_layout *lay, um_error *err)
{
    um_amazon_files l;
    um_partner meta = {0};
    amazon a = {.r = r};
    um_status status = um_amazon_locate_one(&l, r->bundle, lay, err);
    if (status == UM_OK && r->filters.min_rating_count > 0 && !lay->has_counts)
        status = um_fail(err, UM_ERR_INPUT,
                         "%s: min_rating_count %lld: %s metadata do not say how many ratings an "
                         "item has; set it to 0",
                         r->bundle->path, (long long)r->filters.min_rating_count, lay->name);
    if (status == UM_OK)
        status = um_partner_open(&meta, r->bundle, um_str_text(&l.meta), err);
    if (status == UM_OK && meta.entry == NULL)
        status = um_fail(err, UM_ERR_INPUT, "%s: no file, or more than one, called %s",
                         r->bundle->path, um_str_text(&l.meta));
    if (status == UM_OK)
        status = um_amazon_read_items(r, lay, meta.bundle, meta.entry, &a.items, err);
    if (status == UM_OK)
        status = read_reviews(&a, lay, l.reviews, err);
    um_builder_correct_releases(r->builder);
    um_partner_close(&meta);
    um_amazon_files_dispose(&l);
    um_amazon_items_dispose(&a.items);
    return status;
}

/* The adapters --------------------------------------------------------------------------------
 */

#define UM_AMAZON(year)                                                                            \
    static bool detect_##year(const um_bundle *bundle)                                             \
    {                                                                                              \
        return detect(bundle, &um_amazon_##year);                                                  \
    }                                                                                              \
    static um_status read_##year(um_reading *r, um_error *err)                                     \
    {                                                                                              \
        return read_layout(r, &um_amazon_##year, err);                                             \
    }                                                                                              \
    static um_status name_##year(const um_bundle *bundle, um_str *name, um_error *err)             \
    {                                                                                              \
        return make_name(bundle, name, &um_amazon_##year, err);                                    \
    }

UM_AMAZON(2014)
UM_AMAZON(2018)
UM_AMAZON(2023)

const um_adapter um_adapter_amazon_2023 = {
    .name = "amazon-2023",
    .files = "<CATEGORY>.jsonl, meta_<CATEGORY>.jsonl",
    .filters = {.newest_share = 0.3,
                .min_user_interactions = 5,
                .min_item_interactions = 5,
                .min_rating_count = 10},
    .has_rating_counts = true,
    .detect = detect_2023,
    .read = read_2023,
    .make_name = name_2023,
};
const um_adapter um_adapter_amazon_2018 = {
    .name = "amazon-2018",
    .files = "<CATEGORY>.json or <CATEGORY>_5.json, meta_<CATEGORY>.json",
    .filters = {.min_user_interactions = 5, .min_item_interactions = 5},
    .has_rating_counts = true,
    .detect = detect_2018,
    .read = read_2018,
    .make_name = name_2018,
};
const um_adapter um_adapter_amazon_2014 = {
    .name = "amazon-2014",
    .files = "reviews_<CATEGORY>.json or reviews_<CATEGORY>_5.json, meta_<CATEGORY>.json",
    .filters = {.min_user_interactions = 5, .min_item_interactions = 5},
    .has_rating_counts = true,
    .detect = detect_2014,
    .read = read_2014,
    .make_name = name_2014,
};
