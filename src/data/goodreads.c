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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "data/calendar.h"
#include "data/dates.h"
#include "data/objects.h"
#include "data/textjoin.h"

#define MAX_GENRES 8 /* names of genres kept for a book, those most readers chose */
#define MIN_YEAR   1000
#define MAX_YEAR   2100

typedef struct goodreads {
    um_reading *r;
    um_arena arena;
    um_ids author_ids;
    UM_VEC(char *) author_names; /* by index of author_ids; NULL until described */
    um_textjoin *reviews;
    um_str id, user_id, text, json;
} goodreads;

/* Side tables ---------------------------------------------------------------------------------
 */

static um_status take_author(void *context, um_jval author, uint64_t line, um_error *err)
{
    goodreads *g = context;
    uint32_t index = 0;
    bool added = false;
    um_str_clear(&g->text);
    if (!um_member_id(author, "author_id", &g->id))
        return um_reading_reject(g->r, err, line, "author_id is missing");
    if (!um_member_text(author, "name", " ", &g->text))
        return um_reading_reject(g->r, err, line, "author '%.40s' has no name",
                                 um_str_text(&g->id));
    um_status status = um_ids_intern(&g->author_ids, &g->arena, um_str_text(&g->id), "author",
                                     &index, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(g->r, err, line, "author '%.40s' was listed before",
                                 um_str_text(&g->id));
    if (status == UM_OK)
        status = um_str_status(&g->text, err);
    if (status != UM_OK)
        return status;
    char *name = um_arena_strdup(&g->arena, um_str_text(&g->text));
    if (name == NULL || !um_vec_push(&g->author_names, name))
        return um_fail_memory(err, "authors");
    return UM_OK;
}

typedef struct counted {
    const char *name;
    int64_t n;
} counted;

/* {"fantasy, paranormal": 31, "fiction": 8} -> "fantasy, paranormal, fiction", most first. */
static void append_genres(um_str *out, um_jval genres)
{
    counted top[MAX_GENRES];
    size_t n = 0;
    um_jval value;
    const char *key = NULL;
    int64_t count = 0;
    um_jiter it = um_jval_iter(genres);
    while (um_jiter_next(&it, &key, &value)) {
        if (!um_jval_i64(value, &count) || count <= 0)
            continue;
        size_t at = n;
        while (at > 0 && top[at - 1].n < count)
            at--;
        if (at == MAX_GENRES)
            continue;
        n += n < MAX_GENRES;
        memmove(top + at + 1, top + at, (n - at - 1) * sizeof *top);
        top[at] = (counted){key, count};
    }
    for (size_t i = 0; i < n; i++)
        um_str_appendf(out, "%s%s", i > 0 ? ", " : "", top[i].name);
}

/* Rows of books of other genres are good rows too: nothing is done with them. */
static um_status take_genres(void *context, um_jval row, uint64_t line, um_error *err)
{
    goodreads *g = context;
    um_jval genres;
    uint32_t item = 0;
    if (!um_member_id(row, "book_id", &g->id))
        return um_reading_reject(g->r, err, line, "book_id is missing");
    if (!um_jval_get(row, "genres", &genres) || um_jval_type(genres) != UM_J_OBJECT)
        return um_reading_reject(g->r, err, line, "genres is not an object");
    if (!um_builder_find_item(g->r->builder, um_str_text(&g->id), &item))
        return UM_OK;
    um_str_clear(&g->text);
    append_genres(&g->text, genres);
    return um_put_text(g->r, item, "genres", &g->text, err);
}

static um_status take_full_review(void *context, um_jval review, uint64_t line, um_error *err)
{
    goodreads *g = context;
    bool added = false;
    um_str_clear(&g->text);
    if (!um_member_id(review, "review_id", &g->id))
        return um_reading_reject(g->r, err, line, "review_id is missing");
    if (!um_member_text(review, "review_text", " ", &g->text))
        return um_reading_reject(g->r, err, line, "review '%.40s' has no text",
                                 um_str_text(&g->id));
    um_status status = um_str_status(&g->text, err);
    if (status == UM_OK)
        status =
            um_textjoin_put(g->reviews, um_str_text(&g->id), um_str_text(&g->text), &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(g->r, err, line, "review '%.40s' was listed before",
                                 um_str_text(&g->id));
    return status;
}

/* Books ---------------------------------------------------------------------------------------
 */

/* "Alan Moore, Dave Gibbons (Illustrator)"; authors that are not listed are left out. */
static void append_authors(goodreads *g, um_str *out, um_jval book)
{
    um_jval authors, author;
    const char *no_key;
    uint32_t index = 0;
    if (!um_jval_get(book, "authors", &authors) || um_jval_type(authors) != UM_J_ARRAY)
        return;
    um_jiter it = um_jval_iter(authors);
    while (um_jiter_next(&it, &no_key, &author)) {
        if (um_jval_type(author) != UM_J_OBJECT || !um_member_id(author, "author_id", &g->id) ||
            !um_ids_find(&g->author_ids, um_str_text(&g->id), &index))
            continue;
        um_str_appendf(out, "%s%s", out->len > 0 ? ", " : "", g->author_names.data[index]);
        um_str_clear(&g->json);
        if (um_member_text(author, "role", " ", &g->json))
            um_str_appendf(out, " (%s)", um_str_text(&g->json));
    }
}

static um_status put_member(goodreads *g, uint32_t item, um_jval book, const char *key,
                            const char *column, um_error *err)
{
    um_str_clear(&g->text);
    um_member_text(book, key, " ", &g->text);
    return um_put_text(g->r, item, column, &g->text, err);
}

static um_status put_count(goodreads *g, uint32_t item, um_jval book, const char *key,
                           um_error *err)
{
    double number = 0;
    bool has = um_member_number(book, key, &number);
    return um_put_number(g->r, item, key, has, number, err);
}

/* The date of publication as far as it is known: the day, or the first of the month or year. */
static um_status put_published(goodreads *g, uint32_t item, um_jval book, um_error *err)
{
    int64_t year = 0, month = 0, day = 0, time_s = 0;
    char date[24];
    bool has =
        um_member_integer(book, "publication_year", &year) && year >= MIN_YEAR && year <= MAX_YEAR;
    um_str_clear(&g->text);
    if (has)
        um_str_appendf(&g->text, "%lld", (long long)year);
    um_status status = um_put_text(g->r, item, "year", &g->text, err);
    if (status != UM_OK || !has)
        return status;
    time_s = um_year_start_s(year);
    if (um_member_integer(book, "publication_month", &month) && month >= 1 && month <= 12) {
        bool has_day = um_member_integer(book, "publication_day", &day) && day >= 1 && day <= 31;
        snprintf(date, sizeof date, "%04d-%02d-01", (int)year, (int)month);
        um_date_parse_iso(date, &time_s);
        snprintf(date, sizeof date, "%04d-%02d-%02d", (int)year, (int)month, (int)day);
        if (has_day)
            um_date_parse_iso(date, &time_s); /* a 31 June stays the first */
    }
    return um_dataset_builder_release(g->r->builder, item, time_s, err);
}

static um_status take_book(void *context, um_jval book, uint64_t line, um_error *err)
{
    static const char *const members[][2] = {{"publisher", "publisher"},
                                             {"format", "format"},
                                             {"num_pages", "pages"},
                                             {"language_code", "language"},
                                             {"description", "description"}};
    goodreads *g = context;
    uint32_t item = 0;
    bool added = false;
    if (!um_member_id(book, "book_id", &g->id))
        return um_reading_reject(g->r, err, line, "book_id is missing");
    um_str_clear(&g->text);
    if (!um_member_text(book, "title", " ", &g->text) &&
        !um_member_text(book, "title_without_series", " ", &g->text))
        return um_reading_reject(g->r, err, line, "book '%.40s' has no title", um_str_text(&g->id));
    um_status status =
        um_dataset_builder_item(g->r->builder, um_str_text(&g->id), &item, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(g->r, err, line, "book '%.40s' was described before",
                                 um_str_text(&g->id));
    if (status == UM_OK)
        status = um_put_text(g->r, item, "title", &g->text, err);
    um_str_clear(&g->text);
    append_authors(g, &g->text, book);
    if (status == UM_OK)
        status = um_put_text(g->r, item, "authors", &g->text, err);
    um_str_clear(&g->text);
    if (status == UM_OK)
        status = um_put_text(g->r, item, "genres", &g->text, err);
    if (status == UM_OK)
        status = put_published(g, item, book, err);
    for (size_t i = 0; i < sizeof members / sizeof *members && status == UM_OK; i++)
        status = put_member(g, item, book, members[i][0], members[i][1], err);
    if (status == UM_OK)
        status = put_count(g, item, book, "average_rating", err);
    if (status == UM_OK)
        status = put_count(g, item, book, "ratings_count", err);
    return status;
}

/* Interactions --------------------------------------------------------------------------------
 */

/* The text member `key` as a C string, "" when absent. */
static const char *plain_text(um_jval object, const char *key)
{
    um_jval v;
    const char *text;
    size_t len = 0;
    return um_jval_get(object, key, &v) && um_jval_str(v, &text, &len) ? text : "";
}

/* The whole review where the reviews file has it, else the beginning that the row itself holds. */
static um_status put_review(goodreads *g, um_jval row, um_error *err)
{
    const char *whole = NULL;
    um_str_clear(&g->text);
    if (um_textjoin_len(g->reviews) > 0 && um_member_id(row, "review_id", &g->id))
        whole = um_textjoin_get(g->reviews, um_str_text(&g->id));
    if (whole == NULL)
        um_member_text(row, "review_text_incomplete", " ", &g->text);
    um_status status = um_str_status(&g->text, err);
    if (whole == NULL)
        whole = um_str_text(&g->text);
    if (status == UM_OK)
        status = um_put_behaviour_text(g->r, "review", whole, strlen(whole), &g->json, err);
    return status;
}

static um_status add_interaction(goodreads *g, um_jval row, uint64_t line, uint32_t item,
                                 int64_t time_s, int64_t rating, um_error *err)
{
    um_dataset_builder *b = g->r->builder;
    uint32_t user = 0;
    bool is_read = false;
    um_status status = um_dataset_builder_user(b, um_str_text(&g->user_id), &user, NULL, err);
    if (status == UM_OK)
        status = um_dataset_builder_interaction(b, user, item, time_s, err);
    if (status == UM_OK)
        status = um_builder_set_line(b, line, err);
    if (status == UM_OK && rating > 0)
        status = um_dataset_builder_number(b, "rating", (double)rating, err);
    if (status == UM_OK && um_member_bool(row, "is_read", &is_read))
        status = um_dataset_builder_number(b, "is_read", is_read, err);
    if (status == UM_OK)
        status = put_review(g, row, err);
    return status;
}

static um_status take_interaction(void *context, um_jval row, uint64_t line, um_error *err)
{
    goodreads *g = context;
    um_reading *r = g->r;
    uint32_t item = 0;
    int64_t time_s = 0, rating = 0;
    if (!um_member_id(row, "user_id", &g->user_id))
        return um_reading_reject(r, err, line, "user_id is missing");
    if (!um_member_id(row, "book_id", &g->id))
        return um_reading_reject(r, err, line, "book_id is missing");
    const char *date = plain_text(row, "date_added");
    if (!um_date_parse_ctime(date, &time_s))
        return um_reading_reject(
            r, err, line, "date_added '%.40s' is not like \"Fri Nov 09 11:37:04 -0800 2012\"",
            date);
    if (time_s <= 0)
        return um_reading_reject(r, err, line, "date_added '%.40s' is not after 1970", date);
    if (!um_member_integer(row, "rating", &rating) || rating < 0 || rating > 5)
        return um_reading_reject(r, err, line, "rating is missing or outside 0 .. 5");
    if (!um_builder_find_item(r->builder, um_str_text(&g->id), &item))
        return um_reading_reject(r, err, line, "book '%.40s' is not in the list of books",
                                 um_str_text(&g->id));
    return add_interaction(g, row, line, item, time_s, rating, err);
}

/* Files ---------------------------------------------------------------------------------------
 */

#define INTERACTIONS "goodreads_interactions_"
#define BOOKS        "goodreads_books_"

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
        um_str_appendf(&books, BOOKS "%s.json", um_str_text(&part));
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
                       "%s: the log needs its books, " BOOKS
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

/* Reads the file <stem><genre>.json that goes with the log, if it is there. */
static um_status read_partner(goodreads *g, const char *stem, const char *genre, bool is_required,
                              um_object_fn take, um_error *err)
{
    um_partner p = {0};
    um_str name = UM_STR_INIT;
    um_str_appendf(&name, "%s%s.json", stem, genre);
    um_status status = um_str_status(&name, err);
    if (status == UM_OK)
        status = um_partner_open(&p, g->r->bundle, um_str_text(&name), err);
    if (status == UM_OK && p.entry == NULL && is_required)
        status = um_fail(err, UM_ERR_INPUT, "%s: no file, or more than one, called %s",
                         g->r->bundle->path, um_str_text(&name));
    if (status == UM_OK && p.entry != NULL)
        status = um_reading_objects(
            g->r,
            &(um_objects_spec){.bundle = p.bundle, .entry = p.entry, .take = take, .context = g},
            err);
    um_partner_close(&p);
    um_str_dispose(&name);
    return status;
}

static um_status declare(um_reading *r, um_error *err)
{
    static const char *const names[] = {"rating", "is_read", "review"};
    um_status status = UM_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && status == UM_OK; i++)
        status = um_builder_declare_series(r->builder, names[i], err);
    return status;
}

static um_status read_goodreads(um_reading *r, um_error *err)
{
    static const um_jkey ids[] = {UM_JKEY("user_id"), UM_JKEY("book_id")};
    located l;
    goodreads g = {.r = r};
    um_status status = locate(&l, r->bundle, err);
    if (status == UM_OK)
        status = read_partner(&g, "goodreads_book_authors", "", false, take_author, err);
    if (status == UM_OK)
        status = read_partner(&g, BOOKS, um_str_text(&l.genre), true, take_book, err);
    if (status == UM_OK)
        status = read_partner(&g, "goodreads_book_genres_initial", "", false, take_genres, err);
    if (status == UM_OK)
        status = um_textjoin_new(&g.reviews, r->options->spool_dir, err);
    if (status == UM_OK)
        status = read_partner(&g, "goodreads_reviews_", um_str_text(&l.genre), false,
                              take_full_review, err);
    if (status == UM_OK)
        status = declare(r, err);
    if (status == UM_OK)
        status = um_reading_objects(r,
                                    &(um_objects_spec){.entry = l.log,
                                                       .has_interactions = true,
                                                       .has_ids = true,
                                                       .members = ids,
                                                       .n_members = sizeof ids / sizeof *ids,
                                                       .ids_are_members = true,
                                                       .take = take_interaction,
                                                       .context = &g},
                                    err);
    um_builder_correct_releases(r->builder);
    um_textjoin_free(g.reviews);
    um_ids_dispose(&g.author_ids);
    um_vec_dispose(&g.author_names);
    um_arena_dispose(&g.arena);
    um_str_dispose(&g.id);
    um_str_dispose(&g.user_id);
    um_str_dispose(&g.text);
    um_str_dispose(&g.json);
    dispose_located(&l);
    return status;
}

const um_adapter um_adapter_goodreads = {
    .name = "goodreads",
    .files = INTERACTIONS "<GENRE>.json, " BOOKS "<GENRE>.json; with them also "
                          "goodreads_reviews_<GENRE>.json, goodreads_book_authors.json, "
                          "goodreads_book_genres_initial.json",
    .detect = detect,
    .read = read_goodreads,
    .make_name = make_name,
};
