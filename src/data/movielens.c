/*
 * movielens.c - the MovieLens sets of GroupLens: ml-1m and ml-10m ("::"), ml-100k (tab and "|"),
 * and the CSV ones (ml-latest, ml-20m, ml-25m, ml-32m). Layouts and codes are those of their
 * READMEs.
 *
 * Films become items with title, year and genres; a film's release is known to the year only (to
 * the day in ml-100k), so it counts as available from January 1. Ratings of films or users that are
 * not described are rejected: there would be nothing to show. Tags and links are not read.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "data/calendar.h"
#include "data/cells.h"
#include "data/dates.h"
#include "data/ingest.h"

/* Past the year 5138 in seconds; 1973 in milliseconds. */
#define MAX_TIME_S 100000000000
#define MIN_YEAR   1850
#define MAX_YEAR   2100

/* Ratings: user, film, rating, time ----------------------------------------------------------- */

static um_status take_rating(um_reading *r, const um_row *row, bool users_are_described,
                             um_error *err)
{
    um_dataset_builder *b = r->builder;
    uint32_t user = 0, item = 0;
    double rating = 0;
    int64_t time_s = 0;
    if (row->len[0] == 0 || row->len[1] == 0)
        return um_reading_reject(r, err, row->line, "user or film id is empty");
    if (!um_cell_number(row->field[2], row->len[2], &rating))
        return um_reading_reject(r, err, row->line, "rating '%.40s' is not a number",
                                 row->field[2]);
    if (!(rating >= 0.5 && rating <= 5))
        return um_reading_reject(r, err, row->line, "rating %.40s is outside 0.5 .. 5",
                                 row->field[2]);
    if (!um_cell_digits(row->field[3], row->len[3], &time_s))
        return um_reading_reject(r, err, row->line,
                                 "time '%.40s' is not a whole number of seconds since 1970",
                                 row->field[3]);
    if (time_s > MAX_TIME_S)
        return um_reading_reject(r, err, row->line,
                                 "time %.40s looks like milliseconds, need seconds since 1970",
                                 row->field[3]);
    if (!um_builder_find_item(b, row->field[1], &item))
        return um_reading_reject(r, err, row->line, "film '%.40s' is not in the list of films",
                                 row->field[1]);
    if (users_are_described && !um_builder_find_user(b, row->field[0], &user))
        return um_reading_reject(r, err, row->line, "user '%.40s' is not in the list of users",
                                 row->field[0]);
    um_status status =
        users_are_described ? UM_OK : um_dataset_builder_user(b, row->field[0], &user, NULL, err);
    if (status == UM_OK)
        status = um_dataset_builder_interaction(b, user, item, time_s, err);
    if (status == UM_OK)
        status = um_dataset_builder_number(b, "rating", rating, err);
    if (status == UM_OK)
        status = um_builder_set_line(b, row->line, err);
    return status;
}

static um_status take_known_rating(um_reading *r, const um_row *row, um_error *err)
{
    return take_rating(r, row, true, err);
}

static um_status take_open_rating(um_reading *r, const um_row *row, um_error *err)
{
    return take_rating(r, row, false, err);
}

/* Films ------------------------------------------------------------------------------------------
 */

/* Appends a title with its trailing article in front: "Matrix, The" -> "The Matrix". */
static void append_unturned(um_str *out, const char *text, size_t len)
{
    static const char *const articles[] = {
        "The", "A",   "An",  "La",  "Le",  "Les", "L'", "Il",  "Lo",  "Gli", "El", "Los", "Las",
        "Das", "Der", "Die", "Den", "Det", "De",  "Un", "Une", "Una", "O",   "Os", "As",  "I"};
    for (size_t i = 0; i < sizeof articles / sizeof *articles; i++) {
        size_t n = strlen(articles[i]);
        if (len <= n + 2 || memcmp(text + len - n, articles[i], n) != 0 ||
            memcmp(text + len - n - 2, ", ", 2) != 0)
            continue;
        um_str_append_n(out, articles[i], n);
        if (articles[i][n - 1] != '\'')
            um_str_append_char(out, ' ');
        len -= n + 2;
        break;
    }
    um_str_append_n(out, text, len);
}

/* The year in "(1995)", "(2006-)" or "(2006-2011)" at the end; *len becomes that of the rest. */
static bool cut_year(const char *text, size_t *len, int64_t *year)
{
    size_t n = *len;
    while (n > 0 && text[n - 1] == ' ')
        n--;
    if (n == 0 || text[n - 1] != ')')
        return false;
    size_t open = n - 1;
    while (open > 0 && text[open] != '(')
        open--;
    size_t inside = n - open - 2;
    if (text[open] != '(' || inside < 4 || !um_cell_digits(text + open + 1, 4, year) ||
        *year < MIN_YEAR || *year > MAX_YEAR)
        return false;
    for (size_t i = open + 5; i < n - 1; i++) {
        unsigned char c = (unsigned char)text[i];
        /* An en dash is three bytes above 127. */
        if (c != '-' && c < 0x80 && (c < '0' || c > '9'))
            return false;
    }
    while (open > 0 && text[open - 1] == ' ')
        open--;
    if (open == 0)
        return false; /* the year is the title */
    *len = open;
    return true;
}

/* Main title and other titles in brackets each have their own article. */
static void append_title(um_str *out, const char *text, size_t len)
{
    size_t at = 0;
    while (at < len) {
        const char *open = memchr(text + at, '(', len - at);
        size_t end = open == NULL ? len : (size_t)(open - text);
        size_t trimmed = end;
        while (trimmed > at && text[trimmed - 1] == ' ')
            trimmed--;
        append_unturned(out, text + at, trimmed - at);
        um_str_append_n(out, text + trimmed, end - trimmed);
        if (open == NULL)
            return;
        const char *close = memchr(open, ')', len - end);
        size_t inner = close == NULL ? len : (size_t)(close - text);
        um_str_append_char(out, '(');
        append_unturned(out, text + end + 1, inner - end - 1);
        at = inner;
        /* What follows the bracket is copied up to the next one. */
        while (at < len && text[at] != '(')
            um_str_append_char(out, text[at++]);
    }
}

static um_status set_title(um_reading *r, uint32_t item, const char *text, size_t len,
                           um_error *err)
{
    um_dataset_builder *b = r->builder;
    int64_t year = 0;
    bool has_year = cut_year(text, &len, &year);
    um_str title = UM_STR_INIT, digits = UM_STR_INIT;
    append_title(&title, text, len);
    um_str_appendf(&digits, "%lld", (long long)year);
    um_status status = um_str_status(&title, err);
    if (status == UM_OK)
        status = um_str_status(&digits, err);
    if (status == UM_OK)
        status = um_dataset_builder_set_item(b, item, "title", UM_COLUMN_DESCRIPTION,
                                             um_str_text(&title), err);
    if (status == UM_OK && has_year)
        status = um_dataset_builder_set_item(b, item, "year", UM_COLUMN_DESCRIPTION,
                                             um_str_text(&digits), err);
    if (status == UM_OK && has_year)
        status = um_dataset_builder_set_item(b, item, "release_year", UM_COLUMN_FEATURE,
                                             um_str_text(&digits), err);
    if (status == UM_OK && has_year)
        status = um_dataset_builder_release(b, item, um_year_start_s(year), err);
    um_str_dispose(&title);
    um_str_dispose(&digits);
    return status;
}

/* "Action|Sci-Fi" -> "Action, Sci-Fi". */
static um_status set_genres(um_reading *r, uint32_t item, const char *text, um_error *err)
{
    if (text[0] == '\0' || strcmp(text, "(no genres listed)") == 0)
        return UM_OK;
    um_str genres = UM_STR_INIT;
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '|')
            um_str_append(&genres, ", ");
        else
            um_str_append_char(&genres, *p);
    }
    um_status status = um_str_status(&genres, err);
    if (status == UM_OK)
        status = um_dataset_builder_set_item(r->builder, item, "genres", UM_COLUMN_DESCRIPTION,
                                             um_str_text(&genres), err);
    um_str_dispose(&genres);
    return status;
}

/* A new film with its title; *taken = false when the row was rejected. */
static um_status add_film(um_reading *r, const um_row *row, uint32_t *item, bool *taken,
                          um_error *err)
{
    bool added = false;
    *taken = false;
    if (row->len[0] == 0)
        return um_reading_reject(r, err, row->line, "film id is empty");
    if (row->len[1] == 0)
        return um_reading_reject(r, err, row->line, "film '%.40s' has no title", row->field[0]);
    um_status status = um_dataset_builder_item(r->builder, row->field[0], item, &added, err);
    if (status != UM_OK)
        return status;
    if (!added)
        return um_reading_reject(r, err, row->line, "film '%.40s' was listed before",
                                 row->field[0]);
    *taken = true;
    return set_title(r, *item, row->field[1], row->len[1], err);
}

static um_status take_film(um_reading *r, const um_row *row, um_error *err)
{
    uint32_t item = 0;
    bool taken = false;
    um_status status = add_film(r, row, &item, &taken, err);
    return status == UM_OK && taken ? set_genres(r, item, row->field[2], err) : status;
}

/* Users ------------------------------------------------------------------------------------------
 */

static um_status describe_user(um_reading *r, uint32_t user, const char *column, const char *text,
                               um_error *err)
{
    return um_dataset_builder_set_user(r->builder, user, column, UM_COLUMN_DESCRIPTION, text, err);
}

static const char *region_of_zip(const char *zip)
{
    /* National areas of the U.S. ZIP code's first digit, by the states they hold. */
    static const char *const regions[10] = {
        "New England",     "Mid-Atlantic",  "Central Atlantic coast", "Southeast",
        "Great Lakes",     "Upper Midwest", "Central Midwest",        "South Central",
        "Mountain States", "Pacific Coast",
    };
    return zip[0] >= '0' && zip[0] <= '9' ? regions[zip[0] - '0'] : NULL;
}

/* Gender "F" or "M", an age group, an occupation and a ZIP code, each NULL or unknown = absent. */
static um_status set_person(um_reading *r, uint32_t user, const char *gender, const char *age,
                            const char *occupation, const char *zip, um_error *err)
{
    const char *word = strcmp(gender, "F") == 0   ? "female"
                       : strcmp(gender, "M") == 0 ? "male"
                                                  : NULL;
    um_status status = describe_user(r, user, "gender", word, err);
    if (status == UM_OK)
        status = describe_user(r, user, "age", age, err);
    if (status == UM_OK)
        status = describe_user(r, user, "occupation", occupation, err);
    if (status == UM_OK)
        status = describe_user(r, user, "region", region_of_zip(zip), err);
    return status;
}

/* *user is new unless the row was rejected (*taken = false). */
static um_status add_user(um_reading *r, const um_row *row, uint32_t *user, bool *taken,
                          um_error *err)
{
    bool added = false;
    *taken = false;
    if (row->len[0] == 0)
        return um_reading_reject(r, err, row->line, "user id is empty");
    um_status status = um_dataset_builder_user(r->builder, row->field[0], user, &added, err);
    if (status == UM_OK && !added)
        return um_reading_reject(r, err, row->line, "user '%.40s' was listed before",
                                 row->field[0]);
    *taken = status == UM_OK;
    return status;
}

/* ml-1m: id, gender, age code, occupation code, ZIP. */
static um_status take_user_1m(um_reading *r, const um_row *row, um_error *err)
{
    static const struct {
        int64_t code;
        const char *text;
    } ages[] = {{1, "under 18"}, {18, "18-24"}, {25, "25-34"},      {35, "35-44"},
                {45, "45-49"},   {50, "50-55"}, {56, "56 or older"}};
    static const char *const occupations[] = {NULL,
                                              "academic or educator",
                                              "artist",
                                              "clerical or admin",
                                              "college or grad student",
                                              "customer service",
                                              "doctor or health care",
                                              "executive or managerial",
                                              "farmer",
                                              "homemaker",
                                              "K-12 student",
                                              "lawyer",
                                              "programmer",
                                              "retired",
                                              "sales or marketing",
                                              "scientist",
                                              "self-employed",
                                              "technician or engineer",
                                              "tradesman or craftsman",
                                              "unemployed",
                                              "writer"};
    const size_t n_occupations = sizeof occupations / sizeof *occupations;
    int64_t age = 0, occupation = 0;
    const char *age_text = NULL;
    if (strcmp(row->field[1], "F") != 0 && strcmp(row->field[1], "M") != 0)
        return um_reading_reject(r, err, row->line, "gender '%.40s' is neither F nor M",
                                 row->field[1]);
    if (um_cell_digits(row->field[2], row->len[2], &age)) {
        for (size_t i = 0; i < sizeof ages / sizeof *ages; i++) {
            if (ages[i].code == age)
                age_text = ages[i].text;
        }
    }
    if (age_text == NULL)
        return um_reading_reject(r, err, row->line,
                                 "age code '%.40s' is none of 1, 18, 25, 35, "
                                 "45, 50, 56",
                                 row->field[2]);
    if (!um_cell_digits(row->field[3], row->len[3], &occupation) ||
        occupation >= (int64_t)n_occupations)
        return um_reading_reject(r, err, row->line, "occupation code '%.40s' is outside 0 .. %zu",
                                 row->field[3], n_occupations - 1);
    uint32_t user = 0;
    bool taken = false;
    um_status status = add_user(r, row, &user, &taken, err);
    if (status == UM_OK && taken)
        status = set_person(r, user, row->field[1], age_text, occupations[occupation],
                            row->field[4], err);
    return status;
}

/* ml-100k: id, age in years, gender, occupation as a word, ZIP. */
static um_status take_user_100k(um_reading *r, const um_row *row, um_error *err)
{
    int64_t age = 0;
    if (!um_cell_digits(row->field[1], row->len[1], &age) || age > 150)
        return um_reading_reject(r, err, row->line, "age '%.40s' is not a number of years",
                                 row->field[1]);
    const char *group = age < 18   ? "under 18"
                        : age < 25 ? "18-24"
                        : age < 35 ? "25-34"
                        : age < 45 ? "35-44"
                        : age < 50 ? "45-49"
                        : age < 56 ? "50-55"
                                   : "56 or older";
    const char *occupation =
        strcmp(row->field[3], "none") == 0 || strcmp(row->field[3], "other") == 0 ? NULL
                                                                                  : row->field[3];
    uint32_t user = 0;
    bool taken = false;
    um_status status = add_user(r, row, &user, &taken, err);
    if (status == UM_OK && taken)
        status = set_person(r, user, row->field[2], group, occupation, row->field[4], err);
    return status;
}

/* ml-100k's film list: id | title | date | video date | URL | 19 flags in this order. */
#define FLAG_FIELD 5
static const char *const genres_100k[] = {
    "unknown",     "Action", "Adventure", "Animation", "Children's", "Comedy",  "Crime",
    "Documentary", "Drama",  "Fantasy",   "Film-Noir", "Horror",     "Musical", "Mystery",
    "Romance",     "Sci-Fi", "Thriller",  "War",       "Western"};
#define N_GENRES_100K (sizeof genres_100k / sizeof *genres_100k)

static um_status take_film_100k(um_reading *r, const um_row *row, um_error *err)
{
    uint32_t item = 0;
    bool taken = false;
    int64_t time_s = 0;
    um_str genres = UM_STR_INIT;
    um_status status = add_film(r, row, &item, &taken, err);
    if (status == UM_OK && taken && um_date_parse_dashed(row->field[2], &time_s))
        status = um_dataset_builder_release(r->builder, item, time_s, err);
    for (size_t g = 1; g < N_GENRES_100K; g++) {
        if (strcmp(row->field[FLAG_FIELD + g], "1") == 0)
            um_str_appendf(&genres, "%s%s", genres.len > 0 ? "|" : "", genres_100k[g]);
    }
    if (status == UM_OK)
        status = um_str_status(&genres, err);
    if (status == UM_OK && taken)
        status = set_genres(r, item, um_str_text(&genres), err);
    um_str_dispose(&genres);
    return status;
}

/* The adapters -----------------------------------------------------------------------------------
 */

static bool has(const um_bundle *bundle, const char *name)
{
    return um_bundle_find(bundle, name) != NULL;
}

static bool detect_1m(const um_bundle *b)
{
    return has(b, "ratings.dat") && has(b, "movies.dat") && has(b, "users.dat");
}

static bool detect_10m(const um_bundle *b)
{
    return has(b, "ratings.dat") && has(b, "movies.dat") && !has(b, "users.dat");
}

static bool detect_100k(const um_bundle *b)
{
    return has(b, "u.data") && has(b, "u.item") && has(b, "u.user");
}

static bool detect_latest(const um_bundle *b)
{
    return has(b, "ratings.csv") && has(b, "movies.csv");
}

static const um_table_spec films_dat = {
    .file = "movies.dat", .separator = "::", .is_latin1 = true, .n_fields = 3, .take = take_film};

static um_status read_1m(um_reading *r, um_error *err)
{
    static const um_table_spec users = {.file = "users.dat",
                                        .separator = "::",
                                        .is_latin1 = true,
                                        .n_fields = 5,
                                        .take = take_user_1m};
    static const um_table_spec ratings = {.file = "ratings.dat",
                                          .separator = "::",
                                          .has_interactions = true,
                                          .n_fields = 4,
                                          .take = take_known_rating};
    um_status status = um_reading_table(r, &users, err);
    if (status == UM_OK)
        status = um_reading_table(r, &films_dat, err);
    if (status == UM_OK)
        status = um_reading_table(r, &ratings, err);
    return status;
}

static um_status read_10m(um_reading *r, um_error *err)
{
    static const um_table_spec ratings = {.file = "ratings.dat",
                                          .separator = "::",
                                          .has_interactions = true,
                                          .n_fields = 4,
                                          .take = take_open_rating};
    um_status status = um_reading_table(r, &films_dat, err);
    if (status == UM_OK)
        status = um_reading_table(r, &ratings, err);
    return status;
}

static um_status read_100k(um_reading *r, um_error *err)
{
    static const um_table_spec users = {.file = "u.user",
                                        .separator = "|",
                                        .is_latin1 = true,
                                        .n_fields = 5,
                                        .take = take_user_100k};
    static const um_table_spec films = {.file = "u.item",
                                        .separator = "|",
                                        .is_latin1 = true,
                                        .n_fields = FLAG_FIELD + N_GENRES_100K,
                                        .take = take_film_100k};
    static const um_table_spec ratings = {.file = "u.data",
                                          .separator = "\t",
                                          .has_interactions = true,
                                          .n_fields = 4,
                                          .take = take_known_rating};
    um_status status = um_reading_table(r, &users, err);
    if (status == UM_OK)
        status = um_reading_table(r, &films, err);
    if (status == UM_OK)
        status = um_reading_table(r, &ratings, err);
    return status;
}

static um_status read_latest(um_reading *r, um_error *err)
{
    static const char *const film_columns[] = {"movieId", "title", "genres"};
    static const char *const rating_columns[] = {"userId", "movieId", "rating", "timestamp"};
    static const um_table_spec films = {.file = "movies.csv",
                                        .separator = ",",
                                        .is_quoted = true,
                                        .has_header = true,
                                        .n_fields = 3,
                                        .columns = film_columns,
                                        .take = take_film};
    static const um_table_spec ratings = {.file = "ratings.csv",
                                          .separator = ",",
                                          .is_quoted = true,
                                          .has_header = true,
                                          .has_interactions = true,
                                          .n_fields = 4,
                                          .columns = rating_columns,
                                          .take = take_open_rating};
    um_status status = um_reading_table(r, &films, err);
    if (status == UM_OK)
        status = um_reading_table(r, &ratings, err);
    return status;
}

const um_adapter um_adapter_ml_1m = {.name = "ml-1m",
                                     .default_name = "ml-1m",
                                     .files = "ratings.dat, users.dat, movies.dat",
                                     .detect = detect_1m,
                                     .read = read_1m};
const um_adapter um_adapter_ml_10m = {.name = "ml-10m",
                                      .default_name = "ml-10m",
                                      .files = "ratings.dat, movies.dat",
                                      .detect = detect_10m,
                                      .read = read_10m};
const um_adapter um_adapter_ml_100k = {.name = "ml-100k",
                                       .default_name = "ml-100k",
                                       .files = "u.data, u.user, u.item",
                                       .detect = detect_100k,
                                       .read = read_100k};
const um_adapter um_adapter_ml_latest = {.name = "ml-latest",
                                         .default_name = "ml-latest",
                                         .files = "ratings.csv, movies.csv",
                                         .detect = detect_latest,
                                         .read = read_latest};
