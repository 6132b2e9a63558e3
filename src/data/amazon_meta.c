/*
 * amazon_meta.c - what Amazon says of items, in the three layouts. Cells are made in the threads
 * that parse, in the order of `cells`; a line is taken into the data set as it was made.
 *
 * Average rating, number of ratings and sales rank are those of the day the site was read, later
 * than most reviews; so they are features, and no text shows them unless a template asks for it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/amazon.h"
#include "data/dates.h"
#include "data/markup.h"
#include "data/text_maker.h"

#define MAX_PRICE_BYTES 40

enum {
    CATEGORY,
    TITLE,
    AVERAGE,
    COUNT,
    FEATURES,
    DESCRIPTION,
    PRICE,
    BRAND,
    CATEGORIES,
    DETAILS,
    ITEM,
    RANKS,
    RANK,
    RELEASE,
    N_MEMBERS
};

static_assert(N_MEMBERS <= UM_JSONL_MAX_WANTED, "members of an item");

/* In the order of their numbers; absent where the layout has none. */
static void name_members(const um_amazon_layout *lay, um_jkey keys[N_MEMBERS])
{
    const um_jkey names[N_MEMBERS] = {
        lay->main_category,       UM_JKEY("title"), UM_JKEY("average_rating"),
        UM_JKEY("rating_number"), lay->features,    UM_JKEY("description"),
        UM_JKEY("price"),         lay->brand,       lay->categories,
        UM_JKEY("details"),       lay->item,        UM_JKEY("salesRank"),
        UM_JKEY("rank"),          lay->release,
    };
    memcpy(keys, names, sizeof names);
}

/* Cells ---------------------------------------------------------------------------------------- */

/* Appends "$12.99", "$9.99 - $19.99"; nothing for null, "None", "", style sheets and the like. */
static void append_price(um_str *out, um_jval v)
{
    double number = 0;
    const char *text;
    size_t len = 0;
    if (um_jval_f64(v, &number)) {
        if (number > 0)
            um_str_appendf(out, "$%.2f", number);
        return;
    }
    if (!um_jval_str(v, &text, &len))
        return;
    size_t begin = len >= 5 && memcmp(text, "from ", 5) == 0 ? 5 : 0;
    bool has_digit = false;
    if (len > MAX_PRICE_BYTES)
        return;
    for (size_t i = begin; i < len; i++) {
        if (text[i] >= '0' && text[i] <= '9')
            has_digit = true;
        else if (text[i] == '\0' || strchr("$.,- ", text[i]) == NULL)
            return;
    }
    if (!has_digit)
        return;
    um_str_append_n(out, text, begin);
    if (text[begin] != '$')
        um_str_append_char(out, '$');
    um_str_append_n(out, text + begin, len - begin);
}

/* The categories from the widest to the narrowest; of several paths (2014) the first. */
static void append_categories(um_str *out, um_jval v)
{
    um_jval first, name;
    const char *no_key, *text;
    size_t len = 0;
    um_jiter it = um_jval_iter(v);
    if (um_jval_type(v) != UM_J_ARRAY || !um_jiter_next(&it, &no_key, &first))
        return;
    if (um_jval_type(first) != UM_J_ARRAY) {
        um_value_text(v, " > ", out);
        return;
    }
    it = um_jval_iter(first);
    for (bool any = false; um_jiter_next(&it, &no_key, &name);) {
        if (!um_jval_str(name, &text, &len))
            continue;
        um_str_append(out, any ? " > " : "");
        any = um_markup_clean(out, text, len) || any;
    }
}

static void append_number(um_str *out, um_jval v)
{
    double number = 0;
    if (um_value_number(v, &number))
        um_str_append_number(out, number);
}

/* As JSON, "742 in Magazine Subscriptions (" as it stands; of {"Toys & Games": 21} "21 in Toys &
 * Games". */
static void append_rank(um_str *out, um_jval ranks, um_jval rank)
{
    um_str text = UM_STR_INIT;
    um_jval place;
    const char *key = NULL;
    int64_t number = 0;
    um_jiter it = um_jval_iter(ranks);
    if (ranks.document == NULL) { /* no such member */
        um_value_text(rank, "; ", &text);
        while (text.len > 0 && strchr(" (", text.data[text.len - 1]) != NULL)
            text.data[--text.len] = '\0';
    } else if (um_jval_type(ranks) == UM_J_OBJECT && um_jiter_next(&it, &key, &place) &&
               um_jval_i64(place, &number)) {
        um_str_appendf(&text, "%lld in %s", (long long)number, key);
    }
    if (text.len > 0)
        um_str_append_json(out, um_str_text(&text));
    if (text.failed != UM_OK)
        out->failed = text.failed;
    um_str_dispose(&text);
}

/* Cells of an item in the order in which they are made. What is absent makes its column too. */
static const struct cell {
    const char *column;
    um_column_kind kind;
    int member;
    const char *separator;                  /* of the texts of a list */
    void (*append)(um_str *out, um_jval v); /* NULL: a text, or a list of texts */
} cells[] = {
    {"title", UM_COLUMN_DESCRIPTION, TITLE, " ", NULL},
    {"category", UM_COLUMN_DESCRIPTION, CATEGORY, " ", NULL},
    {"categories", UM_COLUMN_DESCRIPTION, CATEGORIES, NULL, append_categories},
    {"brand", UM_COLUMN_DESCRIPTION, BRAND, " ", NULL},
    {"price", UM_COLUMN_DESCRIPTION, PRICE, NULL, append_price},
    {"features", UM_COLUMN_DESCRIPTION, FEATURES, "; ", NULL},
    {"description", UM_COLUMN_DESCRIPTION, DESCRIPTION, " ", NULL},
    {"average_rating", UM_COLUMN_FEATURE, AVERAGE, NULL, append_number},
    {"rating_number", UM_COLUMN_FEATURE, COUNT, NULL, append_number},
    {"sales_rank", UM_COLUMN_FEATURE, RANKS, NULL, NULL},
};
enum { N_CELLS = sizeof cells / sizeof *cells };

static void append_cell(um_str *out, um_jval root, const struct cell *cell)
{
    const um_jval value = um_jval_member(root, (size_t)cell->member);
    if (cell->append != NULL)
        cell->append(out, value);
    else if (cell->member == RANKS)
        append_rank(out, value, um_jval_member(root, RANK));
    else
        um_value_text(value, cell->separator, out);
}

/* Items ---------------------------------------------------------------------------------------- */

typedef struct meta_maker {
    const um_amazon_layout *lay;
    int64_t min_ratings; /* 0: no limit */
    um_str text;
    um_text_maker texts; /* last: it keeps the next thread's apart */
} meta_maker;

/* What is made of an item. Behind it: its id with a NUL. */
typedef struct item_meta {
    char *cells[N_CELLS]; /* NULL = absent; none where it is left out */
    size_t id_bytes;      /* 0: it has none */
    double n_ratings;
    int64_t release_s;
    bool has_details, has_release, is_left_out;
} item_meta;

/* Details are an object, or its JSON text where the file went through a table. */
static bool has_details(um_jval details)
{
    const char *text;
    size_t len = 0;
    if (um_jval_str(details, &text, &len))
        return len > 0 && strcmp(text, "{}") != 0 && strcmp(text, "null") != 0;
    return um_jval_len(details) > 0;
}

static bool read_release(const um_amazon_layout *lay, um_jval root, int64_t *time_s)
{
    um_jval details = um_jval_member(root, DETAILS), date = um_jval_member(root, RELEASE);
    const char *text;
    size_t len = 0;
    if (lay->release.name == NULL && (um_jval_type(details) != UM_J_OBJECT ||
                                      !um_jval_get(details, "Date First Available", &date)))
        return false;
    return um_jval_str(date, &text, &len) && um_date_parse_words(text, time_s);
}

static um_status make_cells(meta_maker *m, um_jval root, char *kept[N_CELLS], um_error *err)
{
    um_status status = UM_OK;
    for (size_t i = 0; i < N_CELLS && status == UM_OK; i++) {
        um_str_clear(&m->text);
        append_cell(&m->text, root, &cells[i]);
        status = um_keep_cell(&m->texts, &m->text, &kept[i], err);
    }
    return status;
}

static um_status make_meta(void *context, um_jval root, um_str *made, um_row_notes *notes,
                           um_error *err)
{
    meta_maker *m = context;
    char number[UM_ID_NUMBER_BYTES];
    const char *id = NULL;
    size_t id_len = 0;
    item_meta meta = {0};
    um_status status = UM_OK;
    (void)notes;
    if (um_value_id(um_jval_member(root, ITEM), number, &id, &id_len))
        meta.id_bytes = id_len + 1;
    um_value_number(um_jval_member(root, COUNT), &meta.n_ratings);
    meta.has_details = has_details(um_jval_member(root, DETAILS));
    meta.has_release = read_release(m->lay, root, &meta.release_s);
    meta.is_left_out =
        m->min_ratings > 0 && (meta.n_ratings < (double)m->min_ratings || !meta.has_details);
    if (meta.id_bytes > 0 && !meta.is_left_out)
        status = make_cells(m, root, meta.cells, err);
    um_str_append_n(made, &meta, sizeof meta);
    um_str_append_n(made, id, meta.id_bytes);
    return status == UM_OK ? um_str_status(made, err) : status;
}

typedef struct meta_taker {
    um_reading *r;
    const um_amazon_layout *lay;
    um_amazon_items *items;
    uint32_t columns[N_CELLS]; /* numbers in the builder */
} meta_taker;

static um_status put_cells(meta_taker *t, uint32_t item, const item_meta *meta, um_error *err)
{
    um_dataset_builder *b = t->r->builder;
    um_status status = UM_OK;
    for (size_t i = 0; i < N_CELLS && status == UM_OK; i++)
        status = um_builder_set_cell(b, item, t->columns[i], meta->cells[i], err);
    return status;
}

static um_status leave_out(meta_taker *t, const item_meta *meta, const char *id, uint64_t line,
                           um_error *err)
{
    um_reading *r = t->r;
    const int64_t limit = r->filters.min_rating_count;
    uint32_t number = 0;
    bool added = false;
    um_status status =
        um_ids_intern(&t->items->left_out, &t->items->arena, id, "item", &number, &added, err);
    if (status != UM_OK)
        return status;
    if (meta->n_ratings < (double)limit)
        return um_reading_filter(r, err, line, "item '%.40s' has %.0f ratings, need %lld", id,
                                 meta->n_ratings, (long long)limit);
    return um_reading_filter(r, err, line, "item '%.40s' has no details", id);
}

static um_status take_meta(void *context, um_jval object, uint64_t line, um_error *err)
{
    (void)object;
    meta_taker *t = context;
    um_reading *r = t->r;
    uint32_t item = 0;
    bool added = false;
    const item_meta *meta = (const item_meta *)r->made;
    const char *id = (const char *)(meta + 1);
    if (meta->id_bytes == 0)
        return um_reading_reject(r, err, line, "%s is missing", t->lay->item.name);
    if (um_builder_find_item(r->builder, id, &item) || um_ids_find(&t->items->left_out, id, &item))
        return um_reading_reject(r, err, line, "item '%.40s' was described before", id);
    if (meta->is_left_out)
        return leave_out(t, meta, id, line, err);
    um_status status = um_dataset_builder_item(r->builder, id, &item, &added, err);
    if (status == UM_OK)
        status = put_cells(t, item, meta, err);
    if (status == UM_OK && meta->has_release)
        status = um_dataset_builder_release(r->builder, item, meta->release_s, err);
    return status;
}

um_status um_amazon_read_items(um_reading *r, const um_amazon_layout *lay, um_bundle *bundle,
                               const um_entry *entry, um_amazon_items *items, um_error *err)
{
    const int64_t min_ratings = r->filters.min_rating_count;
    meta_taker taker = {.r = r, .lay = lay, .items = items};
    meta_maker makers[UM_PARSED_THREADS] = {{.lay = lay, .min_ratings = min_ratings},
                                            {.lay = lay, .min_ratings = min_ratings}};
    um_jkey members[N_MEMBERS];
    um_status status = UM_OK;
    name_members(lay, members);
    for (size_t i = 0; i < N_CELLS && status == UM_OK; i++)
        status = um_builder_find_column(r->builder, cells[i].column, cells[i].kind,
                                        &taker.columns[i], err);
    for (size_t i = 0; i < UM_PARSED_THREADS && status == UM_OK; i++)
        status = um_text_maker_open(&makers[i].texts, r->builder, err);
    if (status == UM_OK)
        status = um_reading_objects(r,
                                    &(um_objects_spec){.bundle = bundle,
                                                       .entry = entry,
                                                       .is_python = lay->meta_is_python,
                                                       .members = members,
                                                       .n_members = N_MEMBERS,
                                                       .make = make_meta,
                                                       .makers = {&makers[0], &makers[1]},
                                                       .take = take_meta,
                                                       .context = &taker},
                                    err);
    for (size_t i = 0; i < UM_PARSED_THREADS; i++) {
        status = um_text_maker_close(&makers[i].texts, status, err);
        um_str_dispose(&makers[i].text);
    }
    return status;
}

void um_amazon_items_dispose(um_amazon_items *items)
{
    um_ids_dispose(&items->left_out);
    um_arena_dispose(&items->arena);
}
