/*
 * goodreads_books.c - the books of one genre, with their authors and genres. Cells are made in the
 * threads that parse, in the order of `columns`.
 *
 * Average rating and number of ratings are those of the day the site was read, later than most
 * interactions; so they are features, and no text shows them unless a template asks for it.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/calendar.h"
#include "data/dates.h"
#include "data/goodreads.h"
#include "data/text_maker.h"

#define MAX_GENRES 8 /* names of genres kept for a book, those most readers chose */
#define MIN_YEAR   1000
#define MAX_YEAR   2100

typedef struct catalogue {
    um_reading *r;
    um_arena arena;
    um_ids author_ids;
    UM_VEC(char *) author_names; /* by index of author_ids */
    uint32_t *columns;           /* [N_COLUMNS] of books, numbers in the builder */
    um_str id, text;
} catalogue;

/* Side tables ---------------------------------------------------------------------------------
 */

static um_status take_author(void *context, um_jval author, uint64_t line, um_error *err)
{
    catalogue *g = context;
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
    catalogue *g = context;
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

/* Books ---------------------------------------------------------------------------------------
 */

enum {
    BOOK,
    TITLE,
    TITLE_ALONE,
    AUTHORS,
    YEAR,
    MONTH,
    DAY,
    PUBLISHER,
    FORMAT,
    PAGES,
    LANGUAGE,
    DESCRIPTION,
    AVERAGE,
    COUNT,
    N_MEMBERS
};
static_assert(N_MEMBERS <= UM_JSONL_MAX_WANTED, "members of a book");

static const um_jkey members[N_MEMBERS] = {
    [BOOK] = UM_JKEY("book_id"),
    [TITLE] = UM_JKEY("title"),
    [TITLE_ALONE] = UM_JKEY("title_without_series"),
    [AUTHORS] = UM_JKEY("authors"),
    [YEAR] = UM_JKEY("publication_year"),
    [MONTH] = UM_JKEY("publication_month"),
    [DAY] = UM_JKEY("publication_day"),
    [PUBLISHER] = UM_JKEY("publisher"),
    [FORMAT] = UM_JKEY("format"),
    [PAGES] = UM_JKEY("num_pages"),
    [LANGUAGE] = UM_JKEY("language_code"),
    [DESCRIPTION] = UM_JKEY("description"),
    [AVERAGE] = UM_JKEY("average_rating"),
    [COUNT] = UM_JKEY("ratings_count"),
};

/* Columns of books in the order in which they are made. What is absent makes its column too. */
static const struct column {
    const char *name;
    um_column_kind kind;
    int member;
} columns[] = {
    {"title", UM_COLUMN_DESCRIPTION, TITLE},
    {"authors", UM_COLUMN_DESCRIPTION, AUTHORS},
    {"genres", UM_COLUMN_DESCRIPTION, -1}, /* of a file of their own */
    {"year", UM_COLUMN_DESCRIPTION, YEAR},
    {"publisher", UM_COLUMN_DESCRIPTION, PUBLISHER},
    {"format", UM_COLUMN_DESCRIPTION, FORMAT},
    {"pages", UM_COLUMN_DESCRIPTION, PAGES},
    {"language", UM_COLUMN_DESCRIPTION, LANGUAGE},
    {"description", UM_COLUMN_DESCRIPTION, DESCRIPTION},
    {"average_rating", UM_COLUMN_FEATURE, AVERAGE},
    {"ratings_count", UM_COLUMN_FEATURE, COUNT},
};
enum { N_COLUMNS = sizeof columns / sizeof *columns };

typedef struct book_maker {
    const catalogue *g;
    um_str text, role;
    um_text_maker texts; /* last: it keeps the next thread's apart */
} book_maker;

/* What is made of a book. Behind it: its id with a NUL. */
typedef struct book {
    char *cells[N_COLUMNS]; /* NULL = absent; none where it has no title */
    size_t id_bytes;        /* 0: it has none */
    int64_t release_s;
    bool has_title, has_release;
} book;

/* "Alan Moore, Dave Gibbons (Illustrator)"; authors that are not listed are left out. */
static void append_authors(book_maker *m, um_jval authors)
{
    um_jval author, id, role;
    uint32_t index = 0;
    um_row_id known;
    if (um_jval_type(authors) != UM_J_ARRAY)
        return;
    um_jiter it = um_jval_iter(authors);
    while (um_jiter_next(&it, NULL, &author)) {
        if (um_jval_type(author) != UM_J_OBJECT || !um_jval_get(author, "author_id", &id) ||
            !um_read_id(id, 0, &known) ||
            !um_ids_find_hashed(&m->g->author_ids, known.text, known.len, known.hash, &index))
            continue;
        um_str_appendf(&m->text, "%s%s", m->text.len > 0 ? ", " : "",
                       m->g->author_names.data[index]);
        um_str_clear(&m->role);
        if (um_jval_get(author, "role", &role) && um_value_text(role, " ", &m->role))
            um_str_appendf(&m->text, " (%s)", um_str_text(&m->role));
    }
    if (m->role.failed != UM_OK)
        m->text.failed = m->role.failed;
}

static bool read_year(um_jval root, int64_t *year)
{
    return um_value_integer(um_jval_member(root, YEAR), year) && *year >= MIN_YEAR &&
           *year <= MAX_YEAR;
}

/* The date of publication as far as it is known: the day, or the first of the month or year. */
static bool read_published(um_jval root, int64_t *time_s)
{
    int64_t year = 0, month = 0, day = 0;
    char date[24];
    if (!read_year(root, &year))
        return false;
    *time_s = um_year_start_s(year);
    if (um_value_integer(um_jval_member(root, MONTH), &month) && month >= 1 && month <= 12) {
        bool has_day = um_value_integer(um_jval_member(root, DAY), &day) && day >= 1 && day <= 31;
        snprintf(date, sizeof date, "%04d-%02d-01", (int)year, (int)month);
        um_date_parse_iso(date, time_s);
        snprintf(date, sizeof date, "%04d-%02d-%02d", (int)year, (int)month, (int)day);
        if (has_day)
            um_date_parse_iso(date, time_s); /* a 31 June stays the first */
    }
    return true;
}

/* The cell of a column, into m->text. */
static void write_cell(book_maker *m, um_jval root, const struct column *column)
{
    int64_t year = 0;
    double number = 0;
    um_str_clear(&m->text);
    if (column->member < 0)
        return;
    const um_jval value = um_jval_member(root, (size_t)column->member);
    if (column->member == TITLE) {
        if (!um_value_text(value, " ", &m->text))
            um_value_text(um_jval_member(root, TITLE_ALONE), " ", &m->text);
    } else if (column->member == AUTHORS) {
        append_authors(m, value);
    } else if (column->member == YEAR) {
        if (read_year(root, &year))
            um_str_appendf(&m->text, "%lld", (long long)year);
    } else if (column->kind == UM_COLUMN_FEATURE) {
        if (um_value_number(value, &number))
            um_str_append_number(&m->text, number);
    } else {
        um_value_text(value, " ", &m->text);
    }
}

static um_status make_book(void *context, um_jval root, um_str *made, um_row_notes *notes,
                           um_error *err)
{
    book_maker *m = context;
    um_row_id id = {.len = 0};
    book row = {.id_bytes = 0};
    um_status status = UM_OK;
    if (um_read_id(um_jval_member(root, BOOK), notes->item_hash, &id))
        row.id_bytes = id.len + 1;
    row.has_release = read_published(root, &row.release_s);
    for (size_t i = 0; i < N_COLUMNS && status == UM_OK && row.id_bytes > 0; i++) {
        write_cell(m, root, &columns[i]);
        status = um_keep_cell(&m->texts, &m->text, &row.cells[i], err);
        row.has_title = row.cells[0] != NULL;
        if (!row.has_title)
            break;
    }
    um_str_append_n(made, &row, sizeof row);
    um_str_append_n(made, id.text, row.id_bytes);
    return status == UM_OK ? um_str_status(made, err) : status;
}

static um_status take_book(void *context, um_jval object, uint64_t line, um_error *err)
{
    (void)object;
    catalogue *g = context;
    um_reading *r = g->r;
    const book *row = (const book *)r->made;
    const char *id = (const char *)(row + 1);
    uint32_t item = 0;
    bool added = false;
    if (row->id_bytes == 0)
        return um_reading_reject(r, err, line, "book_id is missing");
    if (!row->has_title)
        return um_reading_reject(r, err, line, "book '%.40s' has no title", id);
    um_status status = um_dataset_builder_item(r->builder, id, &item, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(r, err, line, "book '%.40s' was described before", id);
    for (size_t i = 0; i < N_COLUMNS && status == UM_OK; i++)
        status = um_builder_set_cell(r->builder, item, g->columns[i], row->cells[i], err);
    if (status == UM_OK && row->has_release)
        status = um_dataset_builder_release(r->builder, item, row->release_s, err);
    return status;
}

static um_status read_books(catalogue *g, const char *genre, um_error *err)
{
    uint32_t numbers[N_COLUMNS];
    book_maker makers[UM_PARSED_THREADS] = {{.g = g}, {.g = g}};
    um_status status = UM_OK;
    g->columns = numbers;
    for (size_t i = 0; i < N_COLUMNS && status == UM_OK; i++)
        status = um_builder_find_column(g->r->builder, columns[i].name, columns[i].kind,
                                        &numbers[i], err);
    for (size_t i = 0; i < UM_PARSED_THREADS && status == UM_OK; i++)
        status = um_text_maker_open(&makers[i].texts, g->r->builder, err);
    if (status == UM_OK)
        status = um_goodreads_read_file(g->r, UM_GOODREADS_BOOKS, genre, true,
                                        &(um_objects_spec){.members = members,
                                                           .n_members = N_MEMBERS,
                                                           .make = make_book,
                                                           .makers = {&makers[0], &makers[1]},
                                                           .take = take_book,
                                                           .context = g},
                                        err);
    for (size_t i = 0; i < UM_PARSED_THREADS; i++) {
        status = um_text_maker_close(&makers[i].texts, status, err);
        um_str_dispose(&makers[i].text);
        um_str_dispose(&makers[i].role);
    }
    return status;
}

um_status um_goodreads_read_books(um_reading *r, const char *genre, um_error *err)
{
    catalogue g = {.r = r};
    um_status status =
        um_goodreads_read_file(r, "goodreads_book_authors", "", false,
                               &(um_objects_spec){.take = take_author, .context = &g}, err);
    if (status == UM_OK)
        status = read_books(&g, genre, err);
    if (status == UM_OK)
        status =
            um_goodreads_read_file(r, "goodreads_book_genres_initial", "", false,
                                   &(um_objects_spec){.take = take_genres, .context = &g}, err);
    um_ids_dispose(&g.author_ids);
    um_vec_dispose(&g.author_names);
    um_arena_dispose(&g.arena);
    um_str_dispose(&g.id);
    um_str_dispose(&g.text);
    return status;
}
