/*
 * goodreads.c - Goodreads shelves as the UCSD Book Graph publishes them, one genre a reading:
 * goodreads_interactions_<GENRE>.json and goodreads_books_<GENRE>.json; where they are there also
 * goodreads_reviews_<GENRE>.json, goodreads_book_authors.json and
 * goodreads_book_genres_initial.json.
 *
 * An interaction is a book put on a shelf; its time is date_added. (date_updated is the last touch,
 * often years later, and read_at is missing for most.) A rating of 0 means none was given.
 * Interactions hold only the beginning of a review; the whole is joined from the reviews file by
 * review_id. That file is read before them and its texts are put aside (data/textjoin.h), so memory
 * holds the catalogue, the log's numbers, a few words a review and the first 64 MiB of reviews.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "data/dates.h"
#include "data/goodreads.h"
#include "data/text_maker.h"
#include "data/textjoin.h"

/* Columns of behaviour. */
enum { RATED, READ, REVIEWED, N_SERIES };
static const char *const series_names[N_SERIES] = {"rating", "is_read", "review"};

typedef struct goodreads {
    um_reading *r;
    um_textjoin *reviews;
    uint32_t series[N_SERIES]; /* numbers in the builder */
} goodreads;

/* Whole reviews --------------------------------------------------------------------------------
 */

enum { REVIEW, WHOLE, N_REVIEW_MEMBERS };
static const um_jkey review_members[N_REVIEW_MEMBERS] = {
    [REVIEW] = UM_JKEY("review_id"),
    [WHOLE] = UM_JKEY("review_text"),
};

/* What is made of a review. Behind it: its id and its text, each with a NUL. */
typedef struct whole_review {
    size_t id_bytes, text_bytes; /* 0: there is none */
} whole_review;

typedef struct review_maker {
    um_str text;
    UM_PARSED_APART;
} review_maker;

static um_status make_whole(void *context, um_jval root, um_str *made, um_row_notes *notes,
                            um_error *err)
{
    review_maker *m = context;
    char number[UM_ID_NUMBER_BYTES];
    const char *id = NULL;
    size_t len = 0;
    whole_review row = {0};
    (void)notes;
    um_str_clear(&m->text);
    if (um_value_id(um_jval_member(root, REVIEW), number, &id, &len))
        row.id_bytes = len + 1;
    if (um_value_text(um_jval_member(root, WHOLE), " ", &m->text))
        row.text_bytes = m->text.len + 1;
    um_str_append_n(made, &row, sizeof row);
    um_str_append_n(made, id, row.id_bytes);
    um_str_append_n(made, um_str_text(&m->text), row.text_bytes);
    um_status status = um_str_status(&m->text, err);
    return status == UM_OK ? um_str_status(made, err) : status;
}

static um_status take_whole(void *context, um_jval object, uint64_t line, um_error *err)
{
    (void)object;
    goodreads *g = context;
    const whole_review *row = (const whole_review *)g->r->made;
    const char *id = (const char *)(row + 1);
    bool added = false;
    if (row->id_bytes == 0)
        return um_reading_reject(g->r, err, line, "review_id is missing");
    if (row->text_bytes == 0)
        return um_reading_reject(g->r, err, line, "review '%.40s' has no text", id);
    um_status status = um_textjoin_put(g->reviews, id, id + row->id_bytes, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(g->r, err, line, "review '%.40s' was listed before", id);
    return status;
}

static um_status read_reviews(goodreads *g, const char *genre, um_error *err)
{
    review_maker makers[UM_PARSED_THREADS] = {0};
    um_status status = um_textjoin_new(&g->reviews, g->r->options->spool_dir, err);
    if (status == UM_OK)
        status = um_goodreads_read_file(g->r, "goodreads_reviews_", genre, false,
                                        &(um_objects_spec){.members = review_members,
                                                           .n_members = N_REVIEW_MEMBERS,
                                                           .make = make_whole,
                                                           .makers = {&makers[0], &makers[1]},
                                                           .take = take_whole,
                                                           .context = g},
                                        err);
    if (status == UM_OK)
        status = um_textjoin_flush(g->reviews, err);
    for (size_t i = 0; i < UM_PARSED_THREADS; i++)
        um_str_dispose(&makers[i].text);
    return status;
}

/* Interactions --------------------------------------------------------------------------------
 */

enum { USER, BOOK, DATE, RATING, IS_READ, REVIEW_ID, BEGINNING, N_MEMBERS };
static const um_jkey members[N_MEMBERS] = {
    [USER] = UM_JKEY("user_id"),
    [BOOK] = UM_JKEY("book_id"),
    [DATE] = UM_JKEY("date_added"),
    [RATING] = UM_JKEY("rating"),
    [IS_READ] = UM_JKEY("is_read"),
    [REVIEW_ID] = UM_JKEY("review_id"),
    [BEGINNING] = UM_JKEY("review_text_incomplete"),
};

/* What is made of an interaction. Behind it: the user's id with a NUL; or why the row is bad. */
typedef struct shelved {
    int64_t time_s, rating;
    char *review; /* NULL = absent */
    uint64_t user_hash;
    size_t user_len;
    uint32_t item;
    bool is_bad, has_read, is_read;
} shelved;

typedef struct log_maker {
    um_textjoin *reviews;
    um_str why;
    um_text_maker texts; /* last: it keeps the next thread's apart */
} log_maker;

/* Whether a row is taken; else why not is in m->why. */
static bool check_row(log_maker *m, um_jval root, const um_row_notes *notes, um_row_id *user,
                      shelved *row)
{
    um_row_id book = {.len = 0};
    const char *date = "";
    size_t len = 0;
    um_jval_str(um_jval_member(root, DATE), &date, &len);
    um_str_clear(&m->why);
    if (!um_read_id(um_jval_member(root, USER), notes->user_hash, user))
        um_str_append(&m->why, "user_id is missing");
    else if (!um_read_id(um_jval_member(root, BOOK), notes->item_hash, &book))
        um_str_append(&m->why, "book_id is missing");
    else if (!um_date_parse_ctime(date, &row->time_s))
        um_str_appendf(&m->why, "date_added '%.40s' is not like \"Fri Nov 09 11:37:04 -0800 2012\"",
                       date);
    else if (row->time_s <= 0)
        um_str_appendf(&m->why, "date_added '%.40s' is not after 1970", date);
    else if (!um_value_integer(um_jval_member(root, RATING), &row->rating) || row->rating < 0 ||
             row->rating > 5)
        um_str_append(&m->why, "rating is missing or outside 0 .. 5");
    else if (!um_builder_find_item_hashed(m->texts.builder, book.text, book.len, book.hash,
                                          &row->item))
        um_str_appendf(&m->why, "book '%.40s' is not in the list of books", book.text);
    else
        return true;
    return false;
}

/* The whole review where the reviews file has it, else the beginning that the row itself holds. */
static um_status make_review(log_maker *m, um_jval root, const um_row_id *id, char **kept,
                             um_error *err)
{
    const char *whole = id != NULL ? um_textjoin_get_near(m->reviews, id->text, id->hash) : NULL;
    return whole != NULL
               ? um_keep_text(&m->texts, whole, strlen(whole), kept, err)
               : um_keep_value(&m->texts, um_jval_member(root, BEGINNING), " ", kept, err);
}

/* Runs in the threads: looks up, and changes nothing but its own context. */
static um_status make_interaction(void *context, um_jval root, um_str *made, um_row_notes *notes,
                                  um_error *err)
{
    log_maker *m = context;
    um_row_id user = {.len = 0}, review;
    shelved row = {.review = NULL};
    um_status status = UM_OK;
    const bool has_review =
        um_textjoin_len(m->reviews) > 0 && um_read_id(um_jval_member(root, REVIEW_ID), 0, &review);
    if (has_review)
        review.hash = um_textjoin_near(m->reviews, review.text);
    row.is_bad = !check_row(m, root, notes, &user, &row);
    if (!row.is_bad) {
        row.has_read = um_jval_bool(um_jval_member(root, IS_READ), &row.is_read);
        row.user_hash = notes->user_hash = user.hash;
        row.user_len = user.len;
        status = make_review(m, root, has_review ? &review : NULL, &row.review, err);
    }
    um_str_append_n(made, &row, sizeof row);
    if (row.is_bad)
        um_str_append_n(made, um_str_text(&m->why), m->why.len + 1);
    else
        um_str_append_n(made, user.text, user.len + 1);
    if (status == UM_OK)
        status = um_str_status(&m->why, err);
    return status == UM_OK ? um_str_status(made, err) : status;
}

static um_status take_interaction(void *context, um_jval object, uint64_t line, um_error *err)
{
    (void)object;
    goodreads *g = context;
    um_dataset_builder *b = g->r->builder;
    const shelved *row = (const shelved *)g->r->made;
    const char *behind = (const char *)(row + 1);
    uint32_t user = 0;
    um_status status = UM_OK;
    if (row->is_bad)
        return um_reading_reject(g->r, err, line, "%s", behind);
    if (!um_builder_find_user_hashed(b, behind, row->user_len, row->user_hash, &user))
        status = um_dataset_builder_user(b, behind, &user, NULL, err);
    if (status == UM_OK)
        status = um_dataset_builder_interaction(b, user, row->item, row->time_s, err);
    if (status == UM_OK)
        status = um_builder_set_line(b, line, err);
    if (status == UM_OK && row->rating > 0)
        status = um_builder_set_number(b, g->series[RATED], (double)row->rating, err);
    if (status == UM_OK && row->has_read)
        status = um_builder_set_number(b, g->series[READ], row->is_read, err);
    if (status == UM_OK && row->review != NULL)
        status = um_builder_set_kept(b, g->series[REVIEWED], row->review, err);
    return status;
}

static um_status read_log(goodreads *g, const um_entry *entry, um_error *err)
{
    log_maker makers[UM_PARSED_THREADS] = {{.reviews = g->reviews}, {.reviews = g->reviews}};
    um_status status = UM_OK;
    for (size_t i = 0; i < N_SERIES && status == UM_OK; i++)
        status = um_builder_find_series(g->r->builder, series_names[i], &g->series[i], err);
    for (size_t i = 0; i < UM_PARSED_THREADS && status == UM_OK; i++)
        status = um_text_maker_open(&makers[i].texts, g->r->builder, err);
    if (status == UM_OK)
        status = um_reading_objects(g->r,
                                    &(um_objects_spec){.entry = entry,
                                                       .has_interactions = true,
                                                       .has_ids = true,
                                                       .ids_are_members = true,
                                                       .makers_find_items = true,
                                                       .members = members,
                                                       .n_members = N_MEMBERS,
                                                       .make = make_interaction,
                                                       .makers = {&makers[0], &makers[1]},
                                                       .take = take_interaction,
                                                       .context = g},
                                    err);
    for (size_t i = 0; i < UM_PARSED_THREADS; i++) {
        status = um_text_maker_close(&makers[i].texts, status, err);
        um_str_dispose(&makers[i].why);
    }
    return status;
}

/* Files ---------------------------------------------------------------------------------------
 */

#define INTERACTIONS "goodreads_interactions_"

typedef struct located {
    const um_entry *log; /* the first whose books are there, else the first */
    um_str genre;
    um_str names; /* of all logs whose books are there, joined by commas */
    size_t n;
} located;

static void dispose_located(located *l)
{
    um_str_dispose(&l->genre);
    um_str_dispose(&l->names);
}

static void find_logs(located *l, const um_bundle *bundle)
{
    um_str part = UM_STR_INIT, books = UM_STR_INIT;
    const um_entry *entry;
    size_t next = 0;
    *l = (located){0};
    while ((entry = um_bundle_next_like(bundle, INTERACTIONS, ".json", &next, &part)) != NULL) {
        um_str_clear(&books);
        um_str_appendf(&books, UM_GOODREADS_BOOKS "%s.json", um_str_text(&part));
        bool paired = um_partner_exists(bundle, um_str_text(&books));
        if (paired)
            um_str_appendf(&l->names, "%s%s", l->n > 0 ? ", " : "", um_path_base(entry->name));
        if (paired ? l->n++ > 0 : l->log != NULL)
            continue;
        l->log = entry;
        um_str_clear(&l->genre);
        um_str_append(&l->genre, um_str_text(&part));
    }
    um_str_dispose(&part);
    um_str_dispose(&books);
}

static bool detect(const um_bundle *bundle)
{
    located l;
    find_logs(&l, bundle);
    bool found = l.log != NULL;
    dispose_located(&l);
    return found;
}

/* As find_logs, but there must be one with its books. */
static um_status locate(located *l, const um_bundle *bundle, um_error *err)
{
    find_logs(l, bundle);
    um_status status = um_str_status(&l->genre, err);
    if (status == UM_OK)
        status = um_str_status(&l->names, err);
    if (status != UM_OK)
        return status;
    if (l->n == 0)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: the log needs its books, " UM_GOODREADS_BOOKS
                       "%s.json or that with .gz, in the same "
                       "place",
                       bundle->path, um_str_text(&l->genre));
    if (l->n > 1)
        return um_fail(
            err, UM_ERR_INPUT,
            "%s: logs of %zu genres: %.120s; give the path of the one to read (the other "
            "files are found beside it)%s",
            bundle->path, l->n, um_str_text(&l->names),
            bundle->kind == UM_BUNDLE_ZIP ? ", out of the zip" : "");
    return UM_OK;
}

static um_status make_name(const um_bundle *bundle, um_str *name, um_error *err)
{
    located l;
    um_status status = locate(&l, bundle, err);
    if (status == UM_OK)
        um_name_of_part(name, "goodreads", um_str_text(&l.genre));
    dispose_located(&l);
    return status;
}

um_status um_goodreads_read_file(um_reading *r, const char *stem, const char *genre,
                                 bool is_required, um_objects_spec *spec, um_error *err)
{
    um_partner p = {0};
    um_str name = UM_STR_INIT;
    um_str_appendf(&name, "%s%s.json", stem, genre);
    um_status status = um_str_status(&name, err);
    if (status == UM_OK)
        status = um_partner_open(&p, r->bundle, um_str_text(&name), err);
    if (status == UM_OK && p.entry == NULL && is_required)
        status = um_fail(err, UM_ERR_INPUT, "%s: no file, or more than one, called %s",
                         r->bundle->path, um_str_text(&name));
    spec->bundle = p.bundle;
    spec->entry = p.entry;
    if (status == UM_OK && p.entry != NULL)
        status = um_reading_objects(r, spec, err);
    um_partner_close(&p);
    um_str_dispose(&name);
    return status;
}

static um_status read_goodreads(um_reading *r, um_error *err)
{
    located l;
    goodreads g = {.r = r};
    um_status status = locate(&l, r->bundle, err);
    if (status == UM_OK)
        status = um_goodreads_read_books(r, um_str_text(&l.genre), err);
    if (status == UM_OK)
        status = read_reviews(&g, um_str_text(&l.genre), err);
    if (status == UM_OK)
        status = read_log(&g, l.log, err);
    um_builder_correct_releases(r->builder);
    um_textjoin_free(g.reviews);
    dispose_located(&l);
    return status;
}

const um_adapter um_adapter_goodreads = {
    .name = "goodreads",
    .files = INTERACTIONS "<GENRE>.json, " UM_GOODREADS_BOOKS "<GENRE>.json; with them also "
                          "goodreads_reviews_<GENRE>.json, goodreads_book_authors.json, "
                          "goodreads_book_genres_initial.json",
    .detect = detect,
    .read = read_goodreads,
    .make_name = make_name,
};
