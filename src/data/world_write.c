/* world_write.c - the synthetic world as canonical JSONL and as MovieLens-1M raw files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/canonical.h"
#include "data/world_model.h"

#define STREAM_FORM    100 /* first id of the streams that only the MovieLens form needs */
#define PROGRESS_ROWS  65536
#define TRUTH_SCALE    1000000000u /* probabilities are written with nine decimals */
#define SMALLEST_PLAIN 100000u     /* below 1e-4 numbers are written with an exponent */

/* One output file of a world: rows are collected in `rows` and written as it fills. */
typedef struct writer {
    um_world *world;
    const um_world_options *options;
    um_outfile file;
    um_str rows;
    um_world_choice *choices;
    const um_monitor *monitor;
} writer;

static um_status flush(writer *w, um_error *err)
{
    um_status status = um_str_status(&w->rows, err);
    if (status != UM_OK)
        return status;
    if (w->rows.len > 0 && fwrite(w->rows.data, 1, w->rows.len, w->file.stream) != w->rows.len)
        return um_fail_errno(err, "write", w->file.path);
    um_str_clear(&w->rows);
    return UM_OK;
}

static void append_unsigned(um_str *s, uint64_t value)
{
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    um_str_append_n(s, digits + at, sizeof digits - at);
}

/* A probability with nine decimals at most, in the form um_str_append_number gives it. */
static void append_probability(um_str *s, double p)
{
    uint32_t scaled = (uint32_t)(p * TRUTH_SCALE + 0.5);
    if (scaled < SMALLEST_PLAIN || scaled >= TRUTH_SCALE) {
        um_str_append_number(s, scaled / (double)TRUTH_SCALE);
        return;
    }
    char text[11] = "0.";
    size_t len = 11;
    for (size_t i = len; i > 2; i--) {
        text[i - 1] = (char)('0' + scaled % 10);
        scaled /= 10;
    }
    while (text[len - 1] == '0')
        len--;
    um_str_append_n(s, text, len);
}

typedef void (*user_rows_fn)(writer *w, uint32_t user);

/* Canonical rows: ids are "u1".. and "i1".., no text in them needs escaping. */

static void canonical_user(writer *w, uint32_t user)
{
    um_world_person person;
    um_world_get_person(w->world, user, &person);
    um_str_appendf(&w->rows,
                   "{\"user_id\":\"u%u\",\"user_description\":{\"age\":\"%s\",\"region\":\"%s\"},"
                   "\"user_features\":{}}\n",
                   user + 1, um_world_ages[person.age], um_world_regions[person.region]);
}

static void canonical_item(writer *w, uint32_t i)
{
    const um_world_item *item = um_world_get_item(w->world, i);
    char release[32];
    um_time_format(item->release_s, release);
    um_str_appendf(&w->rows,
                   "{\"item_id\":\"i%u\",\"item_description\":{\"title\":\"%s\",\"year\":\"%u\","
                   "\"genre\":\"%s\",\"mood\":\"%s\"},\"item_features\":{\"%s\":\"%s\"}}\n",
                   i + 1, um_world_title(w->world, i), item->year, um_world_genres[item->genre],
                   um_world_moods[item->mood], UM_CANONICAL_RELEASE, release);
}

static void canonical_choice(writer *w, uint32_t user, const um_world_choice *c)
{
    um_str *s = &w->rows;
    uint32_t k = w->options->list_len;
    char time[32];
    um_time_format(c->time_s, time);
    um_str_append(s, "{\"user_id\":\"u");
    append_unsigned(s, user + 1ull);
    um_str_append(s, "\",\"item_id\":\"i");
    append_unsigned(s, c->items[c->position] + 1ull);
    um_str_append(s, "\",\"timestamp\":\"");
    um_str_append(s, time);
    um_str_append(s, "\",\"behavior_features\":{\"rating\":");
    append_unsigned(s, (uint64_t)c->rating);
    um_str_append(s, ",\"choice_probabilities\":");
    for (uint32_t i = 0; i < k; i++) {
        um_str_append_char(s, i == 0 ? '[' : ',');
        append_probability(s, c->probabilities[i]);
    }
    um_str_append(s, c->accident ? "],\"accident\":true,\"" UM_CANONICAL_SHOWN "\":"
                                 : "],\"accident\":false,\"" UM_CANONICAL_SHOWN "\":");
    for (uint32_t i = 0; i < k; i++) {
        um_str_append(s, i == 0 ? "[\"i" : ",\"i");
        append_unsigned(s, c->items[i] + 1ull);
        um_str_append_char(s, '"');
    }
    um_str_append(s, "],\"" UM_CANONICAL_CHOSEN "\":");
    append_unsigned(s, c->position);
    um_str_append(s, "}}\n");
}

static void canonical_log(writer *w, uint32_t user)
{
    um_world_user(w->world, user, w->choices);
    for (uint32_t j = 0; j < um_world_count(w->world, user); j++)
        canonical_choice(w, user, &w->choices[j]);
}

/* MovieLens-1M rows (README of ml-1m): UserID::Gender::Age::Occupation::Zip-code, ... */

static void movielens_user(writer *w, uint32_t user)
{
    /* The world's age groups start at the codes of MovieLens but for the last two. */
    static const int ages[UM_WORLD_AGES] = {18, 25, 35, 45, 56};
    static const char zips[UM_WORLD_REGIONS] = {'5', '3', '9', '1'};
    um_world_person person;
    um_rng r;
    um_world_get_person(w->world, user, &person);
    um_rng_init(&r, w->options->seed, UM_RNG_WORLD, STREAM_FORM, user, 0);
    char gender = um_rng_below(&r, 100) < 28 ? 'F' : 'M';
    unsigned occupation = um_rng_below(&r, 21);
    um_str_appendf(&w->rows, "%u::%c::%d::%u::%c%04u\n", user + 1, gender, ages[person.age],
                   occupation, zips[person.region], um_rng_below(&r, 10000));
}

static void movielens_item(writer *w, uint32_t i)
{
    /* Names of MovieLens for the world's genres, in the same order. */
    static const char *const genres[UM_WORLD_GENRES] = {
        "Fantasy", "Comedy", "Horror",  "Romance", "Western",
        "Crime",   "War",    "Mystery", "Musical", "Documentary"};
    /* A mood shows as a second genre, so that it can be told here too. */
    static const char *const moods[UM_WORLD_MOODS] = {"Film-Noir", "Children's", "Thriller",
                                                      "Drama", "Animation"};
    const um_world_item *item = um_world_get_item(w->world, i);
    const char *genre = genres[item->genre], *mood = moods[item->mood];
    bool in_order = strcmp(genre, mood) < 0; /* the publishers list genres by alphabet */
    um_str_appendf(&w->rows, "%u::%s (%u)::%s|%s\n", i + 1, um_world_title(w->world, i), item->year,
                   in_order ? genre : mood, in_order ? mood : genre);
}

static void movielens_log(writer *w, uint32_t user)
{
    um_str *s = &w->rows;
    um_world_user(w->world, user, w->choices);
    for (uint32_t j = 0; j < um_world_count(w->world, user); j++) {
        const um_world_choice *c = &w->choices[j];
        append_unsigned(s, user + 1ull);
        um_str_append(s, "::");
        append_unsigned(s, c->items[c->position] + 1ull);
        um_str_append(s, "::");
        append_unsigned(s, (uint64_t)c->rating);
        um_str_append(s, "::");
        append_unsigned(s, (uint64_t)c->time_s);
        um_str_append_char(s, '\n');
    }
}

/* One file of n users or items; the log counts its interactions as progress. */
static um_status write_file(writer *w, const char *dir, const char *name, uint32_t n,
                            user_rows_fn rows, bool is_log, um_error *err)
{
    char *path = NULL;
    uint64_t done = 0, shown = 0;
    um_status status = um_path_join(&path, dir, name, err);
    if (status == UM_OK)
        status = um_outfile_open(&w->file, path, err);
    for (uint32_t i = 0; i < n && status == UM_OK; i++) {
        rows(w, i);
        status = flush(w, err);
        if (!is_log || status != UM_OK)
            continue;
        done += um_world_count(w->world, i);
        if (done - shown >= PROGRESS_ROWS || i + 1 == n) {
            shown = done;
            um_monitor_progress(w->monitor, &(um_progress){.stage = "world",
                                                           .unit = "interactions",
                                                           .done = done,
                                                           .total = w->options->interactions});
        }
        if (um_monitor_stopped(w->monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "%s: writing was stopped", path);
    }
    if (status == UM_OK)
        status = um_outfile_commit(&w->file, err);
    um_outfile_dispose(&w->file);
    free(path);
    return status;
}

static um_status writer_open(writer *w, const um_world_options *options, const char *dir,
                             const um_monitor *monitor, um_error *err)
{
    *w = (writer){.options = options, .monitor = monitor};
    um_status status = um_world_new(&w->world, options, err);
    if (status == UM_OK)
        status = um_path_make_dirs(dir, err);
    if (status != UM_OK)
        return status;
    w->choices = um_calloc(um_world_longest(w->world), sizeof *w->choices);
    return w->choices != NULL ? UM_OK : um_fail_memory(err, "choices");
}

static void writer_close(writer *w)
{
    um_world_free(w->world);
    um_str_dispose(&w->rows);
    free(w->choices);
}

um_status um_world_write_canonical(const um_world_options *options, const char *dir,
                                   const um_monitor *monitor, um_error *err)
{
    writer w;
    um_status status = writer_open(&w, options, dir, monitor, err);
    if (status == UM_OK)
        status = write_file(&w, dir, "world" UM_CANONICAL_USERS, options->users, canonical_user,
                            false, err);
    if (status == UM_OK)
        status = write_file(&w, dir, "world" UM_CANONICAL_ITEMS, options->items, canonical_item,
                            false, err);
    if (status == UM_OK)
        status =
            write_file(&w, dir, "world" UM_CANONICAL_LOG, options->users, canonical_log, true, err);
    writer_close(&w);
    return status;
}

um_status um_world_write_movielens(const um_world_options *options, const char *dir,
                                   const um_monitor *monitor, um_error *err)
{
    writer w;
    um_status status = writer_open(&w, options, dir, monitor, err);
    if (status == UM_OK)
        status = write_file(&w, dir, "users.dat", options->users, movielens_user, false, err);
    if (status == UM_OK)
        status = write_file(&w, dir, "movies.dat", options->items, movielens_item, false, err);
    if (status == UM_OK)
        status = write_file(&w, dir, "ratings.dat", options->users, movielens_log, true, err);
    writer_close(&w);
    return status;
}
