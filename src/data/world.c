#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "data/calendar.h"
#include "data/world_model.h"

/* Streams of a world: the first id of um_rng_init. */
enum { STREAM_ITEM = 1, STREAM_PERSON, STREAM_ACTIVITY, STREAM_CHOICES, STREAM_POPULARITY };

#define SECONDS_A_DAY 86400
#define LOG_BEGIN_S   INT64_C(1514764800) /* 2018-01-01 */
#define LOG_DAYS      730                 /* to the end of 2019 */
#define FIRST_YEAR    1970
#define YEARS_AN_ERA  10
#define NEW_DAYS      182.5
/* A user's tastes, in units of the option's scale. */
#define SECOND_GENRE    0.8
#define GENRE_NOISE     0.08
#define NEAR_ERA        0.6
#define ERA_NOISE       0.3
#define MOOD_NOISE      0.12
#define ERA_AGE_SLOPE   0.5 /* log odds lost by a favourite era per step from the age group's own */
#define REGION_ODDS     2.0 /* odds of a favourite genre that belongs to the region */
#define MATCH_SHARPNESS 0.3 /* "matching" draws: weight exp(sharpness * utility) */
#define POPULAR_QUALITY 0.4 /* popularity ranks by this times quality plus noise */
#define POPULAR_NOISE   0.8
#define ACTIVITY_SPREAD 0.4 /* sigma of the log-normal activity */
/* Times. */
#define SAME_SESSION    0.6
#define SESSION_MINUTES 8.0 /* mean gap within a session, after a first minute */
#define AWAY_DAYS       6.0 /* mean gap between sessions, after a first day */
#define LOG_SHARE       0.9 /* of the log that a very active user's choices fill */
/* Rating = round(middle + spread * standardised utility + noise). */
#define RATING_MIDDLE 2.6
#define RATING_SPREAD 1.0
#define RATING_NOISE  0.5
#define MAX_TRIES     200 /* draws before an item is taken in order instead */

struct um_world {
    um_world_options options;
    um_arena arena;
    char **titles;
    um_world_item *items;
    uint32_t *count; /* choices of each user */
    uint32_t longest;
    /* Items by cell (genre, era, mood): cell_items[cell_start[c] .. cell_start[c + 1]). */
    uint32_t cell_start[UM_WORLD_CELLS + 1];
    uint32_t *cell_items;
    double quality_mean, quality_variance;
    /* Alias table of popularity (Walker 1977; Vose 1991). */
    double *alias_keep;
    uint32_t *alias_other;
    uint8_t *seen; /* scratch, one flag an item; all zero between users */
};

void um_world_defaults(um_world_options *options)
{
    *options = (um_world_options){
        .seed = 1,
        .users = 1000,
        .items = 480,
        .interactions = 14000,
        .list_len = 5,
        .accident_share = 0.1,
        .taste_genre = 7.0,
        .taste_era = 1.0,
        .taste_mood = 3.0,
        .taste_quality = 0.5,
        .taste_new = 0.5,
        .popular_share = 0.2,
        .matching_share = 0.2,
    };
}

static um_status check_range(const char *name, double value, double low, double high, um_error *err)
{
    if (value >= low && value <= high)
        return UM_OK;
    return um_fail(err, UM_ERR_INPUT, "world: %s is %g, need %g .. %g", name, value, low, high);
}

static um_status check_options(const um_world_options *o, um_error *err)
{
    const struct {
        const char *name;
        double value, low, high;
    } rules[] = {
        {"users", o->users, 1, 100e6},
        {"items", o->items, 2.0 * o->list_len, UM_WORLD_MAX_ITEMS},
        {"list length", o->list_len, 2, UM_WORLD_MAX_LIST},
        {"interactions", (double)o->interactions, 1, 4e9},
        {"accident share", o->accident_share, 0, 1},
        {"taste for genre", o->taste_genre, 0, 50},
        {"taste for era", o->taste_era, 0, 50},
        {"taste for mood", o->taste_mood, 0, 50},
        {"taste for quality", o->taste_quality, 0, 50},
        {"taste for the new", o->taste_new, -50, 50},
        {"popular share", o->popular_share, 0, 1},
        {"matching share", o->matching_share, 0, 1},
        {"popular and matching share together", o->popular_share + o->matching_share, 0, 1},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        um_status status =
            check_range(rules[i].name, rules[i].value, rules[i].low, rules[i].high, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

static unsigned cell_of(const um_world_item *item)
{
    return (item->genre * UM_WORLD_ERAS + item->era) * UM_WORLD_MOODS + item->mood;
}

static void make_items(um_world *w)
{
    double sum = 0, squares = 0;
    uint32_t n = w->options.items;
    for (uint32_t i = 0; i < n; i++) {
        um_world_item *item = &w->items[i];
        um_rng r;
        um_rng_init(&r, w->options.seed, UM_RNG_WORLD, STREAM_ITEM, i, 0);
        item->genre = (uint8_t)um_rng_below(&r, UM_WORLD_GENRES);
        item->era = (uint8_t)um_rng_below(&r, UM_WORLD_ERAS);
        item->mood = (uint8_t)um_rng_below(&r, UM_WORLD_MOODS);
        item->year =
            (uint16_t)(FIRST_YEAR + YEARS_AN_ERA * item->era + um_rng_below(&r, YEARS_AN_ERA));
        item->release_s =
            um_year_start_s(item->year) + (int64_t)um_rng_below(&r, 365) * SECONDS_A_DAY;
        item->quality = um_rng_normal(&r);
        sum += item->quality;
        squares += item->quality * item->quality;
        w->cell_start[cell_of(item) + 1]++;
    }
    w->quality_mean = sum / n;
    w->quality_variance = squares / n - w->quality_mean * w->quality_mean;
    for (unsigned c = 0; c < UM_WORLD_CELLS; c++)
        w->cell_start[c + 1] += w->cell_start[c];
    uint32_t next[UM_WORLD_CELLS];
    memcpy(next, w->cell_start, sizeof next);
    for (uint32_t i = 0; i < n; i++)
        w->cell_items[next[cell_of(&w->items[i])]++] = i;
}

typedef struct scored {
    double score;
    uint32_t item;
} scored;

static int compare_scored(const void *a, const void *b)
{
    const scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->item < y->item ? -1 : 1;
}

/* Ranks the items, weighs rank r (from 1) with 1 / r, and builds the alias table. */
static um_status make_popularity(um_world *w, um_error *err)
{
    uint32_t n = w->options.items, n_small = 0, n_large = 0;
    scored *ranks = um_calloc(n, sizeof *ranks);
    uint32_t *small = um_calloc(n, sizeof *small), *large = um_calloc(n, sizeof *large);
    um_status status = UM_OK;
    double total = 0;
    if (ranks == NULL || small == NULL || large == NULL) {
        status = um_fail_memory(err, "a world");
        goto done;
    }
    for (uint32_t i = 0; i < n; i++) {
        um_rng r;
        um_rng_init(&r, w->options.seed, UM_RNG_WORLD, STREAM_POPULARITY, i, 0);
        double noise = um_rng_normal(&r);
        ranks[i].item = i;
        ranks[i].score = POPULAR_QUALITY * w->items[i].quality + POPULAR_NOISE * noise;
        total += 1.0 / (i + 1);
    }
    qsort(ranks, n, sizeof *ranks, compare_scored);
    for (uint32_t i = 0; i < n; i++)
        w->alias_keep[ranks[i].item] = n / ((i + 1) * total);
    for (uint32_t i = 0; i < n; i++) {
        w->alias_other[i] = i;
        if (w->alias_keep[i] < 1)
            small[n_small++] = i;
        else
            large[n_large++] = i;
    }
    while (n_small > 0 && n_large > 0) {
        uint32_t poor = small[--n_small], rich = large[n_large - 1];
        w->alias_other[poor] = rich;
        w->alias_keep[rich] -= 1 - w->alias_keep[poor];
        if (w->alias_keep[rich] < 1) {
            n_large--;
            small[n_small++] = rich;
        }
    }
    /* Rounding leaves some whose own share is 1. */
    while (n_small > 0)
        w->alias_keep[small[--n_small]] = 1;
    while (n_large > 0)
        w->alias_keep[large[--n_large]] = 1;
done:
    free(ranks);
    free(small);
    free(large);
    return status;
}

/*
 * Choices of each user: shares of a log-normal activity, rounded so that they sum up; what passes
 * the cap goes to the users after. The cap leaves a user at least as many items to see as were
 * chosen.
 */
static um_status spread_interactions(um_world *w, um_error *err)
{
    const um_world_options *o = &w->options;
    uint32_t released = 0;
    for (uint32_t i = 0; i < o->items; i++)
        released += w->items[i].release_s <= LOG_BEGIN_S;
    uint64_t cap = released <= o->list_len ? 0 : (released - o->list_len) / 2;
    if (cap == 0 || o->interactions > cap * o->users)
        return um_fail(err, UM_ERR_INPUT,
                       "world: %llu interactions of %u users need more than %u items: a user "
                       "chooses at most half of those released, which is %llu",
                       (unsigned long long)o->interactions, o->users, o->items,
                       (unsigned long long)cap);
    double total = 0, running = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t u = 0; u < o->users; u++) {
            um_rng r;
            um_rng_init(&r, o->seed, UM_RNG_WORLD, STREAM_ACTIVITY, u, 0);
            double activity = exp(ACTIVITY_SPREAD * um_rng_normal(&r));
            if (pass == 0) {
                total += activity;
                continue;
            }
            double before = floor(running / total * (double)o->interactions);
            running += activity;
            double after = u + 1 == o->users ? (double)o->interactions
                                             : floor(running / total * (double)o->interactions);
            w->count[u] = (uint32_t)(after - before);
        }
    }
    uint64_t carried = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t u = 0; u < o->users; u++) {
            uint64_t count = w->count[u] + carried;
            w->count[u] = (uint32_t)(count > cap ? cap : count);
            carried = count - w->count[u];
            if (w->count[u] > w->longest)
                w->longest = w->count[u];
        }
    }
    return UM_OK;
}

um_status um_world_new(um_world **out, const um_world_options *options, um_error *err)
{
    um_status status = check_options(options, err);
    if (status != UM_OK)
        return status;
    um_world *w = um_calloc(1, sizeof *w);
    if (w == NULL)
        return um_fail_memory(err, "a world");
    w->options = *options;
    uint32_t n = options->items;
    w->items = um_calloc(n, sizeof *w->items);
    w->cell_items = um_calloc(n, sizeof *w->cell_items);
    w->alias_keep = um_calloc(n, sizeof *w->alias_keep);
    w->alias_other = um_calloc(n, sizeof *w->alias_other);
    w->seen = um_calloc(n, sizeof *w->seen);
    w->count = um_calloc(options->users, sizeof *w->count);
    if (w->items == NULL || w->cell_items == NULL || w->alias_keep == NULL ||
        w->alias_other == NULL || w->seen == NULL || w->count == NULL)
        status = um_fail_memory(err, "a world");
    if (status == UM_OK) {
        make_items(w);
        status = um_world_titles(&w->titles, &w->arena, options->seed, n, err);
    }
    if (status == UM_OK)
        status = make_popularity(w, err);
    if (status == UM_OK)
        status = spread_interactions(w, err);
    if (status == UM_OK)
        *out = w;
    else
        um_world_free(w);
    return status;
}

void um_world_free(um_world *w)
{
    if (w == NULL)
        return;
    um_arena_dispose(&w->arena);
    free(w->items);
    free(w->cell_items);
    free(w->alias_keep);
    free(w->alias_other);
    free(w->seen);
    free(w->count);
    free(w);
}

const um_world_item *um_world_get_item(const um_world *w, uint32_t item)
{
    return &w->items[item];
}

const char *um_world_title(const um_world *w, uint32_t item)
{
    return w->titles[item];
}

uint32_t um_world_count(const um_world *w, uint32_t user)
{
    return w->count[user];
}

uint32_t um_world_longest(const um_world *w)
{
    return w->longest;
}

/* People -----------------------------------------------------------------------------------------
 */

static void draw_genre_taste(const um_world_options *o, um_rng *r, um_world_person *p)
{
    double odds[UM_WORLD_GENRES];
    for (unsigned g = 0; g < UM_WORLD_GENRES; g++) {
        /* Each region leans to two genres of its own. */
        odds[g] = g / 2 == p->region ? REGION_ODDS : 1;
        p->genre[g] = GENRE_NOISE * um_rng_normal(r);
    }
    size_t first = um_rng_categorical(r, odds, UM_WORLD_GENRES);
    odds[first] = 0;
    size_t second = um_rng_categorical(r, odds, UM_WORLD_GENRES);
    p->genre[first] += 1;
    p->genre[second] += SECOND_GENRE;
    for (unsigned g = 0; g < UM_WORLD_GENRES; g++)
        p->genre[g] *= o->taste_genre;
}

static void draw_era_taste(const um_world_options *o, um_rng *r, um_world_person *p)
{
    double odds[UM_WORLD_ERAS];
    for (int e = 0; e < UM_WORLD_ERAS; e++) {
        /* The youngest lean to the latest era, the oldest to the earliest. */
        odds[e] = exp(-ERA_AGE_SLOPE * abs(e - (UM_WORLD_ERAS - 1 - p->age)));
        p->era[e] = ERA_NOISE * um_rng_normal(r);
    }
    size_t favourite = um_rng_categorical(r, odds, UM_WORLD_ERAS);
    p->era[favourite] += 1;
    if (favourite > 0)
        p->era[favourite - 1] += NEAR_ERA;
    if (favourite + 1 < UM_WORLD_ERAS)
        p->era[favourite + 1] += NEAR_ERA;
    for (unsigned e = 0; e < UM_WORLD_ERAS; e++)
        p->era[e] *= o->taste_era;
}

void um_world_get_person(const um_world *w, uint32_t user, um_world_person *p)
{
    um_rng r;
    um_rng_init(&r, w->options.seed, UM_RNG_WORLD, STREAM_PERSON, user, 0);
    p->age = (uint8_t)um_rng_below(&r, UM_WORLD_AGES);
    p->region = (uint8_t)um_rng_below(&r, UM_WORLD_REGIONS);
    draw_genre_taste(&w->options, &r, p);
    draw_era_taste(&w->options, &r, p);
    for (unsigned m = 0; m < UM_WORLD_MOODS; m++)
        p->mood[m] = MOOD_NOISE * um_rng_normal(&r);
    p->mood[um_rng_below(&r, UM_WORLD_MOODS)] += 1;
    for (unsigned m = 0; m < UM_WORLD_MOODS; m++)
        p->mood[m] *= w->options.taste_mood;
}

/* Choices ----------------------------------------------------------------------------------------
 */

typedef struct visitor {
    um_world_person person;
    double cell_cumulative[UM_WORLD_CELLS]; /* of the weights of "matching" draws */
    double utility_mean, utility_deviation; /* over the catalogue, newness left out */
} visitor;

static double taste_of(const um_world_person *p, unsigned genre, unsigned era, unsigned mood)
{
    return p->genre[genre] + p->era[era] + p->mood[mood];
}

static void prepare_visitor(const um_world *w, uint32_t user, visitor *v)
{
    double sum = 0, squares = 0, weight = 0;
    um_world_get_person(w, user, &v->person);
    for (unsigned c = 0; c < UM_WORLD_CELLS; c++) {
        double n = w->cell_start[c + 1] - w->cell_start[c];
        double taste = taste_of(&v->person, c / (UM_WORLD_ERAS * UM_WORLD_MOODS),
                                c / UM_WORLD_MOODS % UM_WORLD_ERAS, c % UM_WORLD_MOODS);
        weight += n * exp(MATCH_SHARPNESS * taste);
        v->cell_cumulative[c] = weight;
        sum += n * taste;
        squares += n * taste * taste;
    }
    double q = w->options.taste_quality, n = w->options.items;
    v->utility_mean = sum / n + q * w->quality_mean;
    double variance = squares / n - sum / n * (sum / n) + q * q * w->quality_variance;
    v->utility_deviation = variance > 1e-12 ? sqrt(variance) : 1;
}

static uint32_t draw_popular(const um_world *w, um_rng *r)
{
    uint32_t i = um_rng_below(r, w->options.items);
    return um_rng_uniform(r) < w->alias_keep[i] ? i : w->alias_other[i];
}

static uint32_t draw_matching(const um_world *w, const visitor *v, um_rng *r)
{
    double target = um_rng_uniform(r) * v->cell_cumulative[UM_WORLD_CELLS - 1];
    unsigned low = 0, high = UM_WORLD_CELLS - 1;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (v->cell_cumulative[middle] > target)
            high = middle;
        else
            low = middle + 1;
    }
    /* Rounding may lead to an empty last cell: step back to one that holds items. */
    while (w->cell_start[low] == w->cell_start[low + 1])
        low--;
    uint32_t begin = w->cell_start[low];
    return w->cell_items[begin + um_rng_below(r, w->cell_start[low + 1] - begin)];
}

static bool may_show(const um_world *w, const um_world_choice *choice, uint32_t have, uint32_t item)
{
    if (w->seen[item] || w->items[item].release_s > choice->time_s)
        return false;
    for (uint32_t i = 0; i < have; i++) {
        if (choice->items[i] == item)
            return false;
    }
    return true;
}

static void draw_list(const um_world *w, const visitor *v, um_rng *r, um_world_choice *choice)
{
    const um_world_options *o = &w->options;
    for (uint32_t have = 0; have < o->list_len; have++) {
        double way = um_rng_uniform(r);
        uint32_t item = 0;
        int tries = 0;
        do {
            if (way < o->popular_share)
                item = draw_popular(w, r);
            else if (way < o->popular_share + o->matching_share)
                item = draw_matching(w, v, r);
            else
                item = um_rng_below(r, o->items);
        } while (!may_show(w, choice, have, item) && ++tries < MAX_TRIES);
        while (!may_show(w, choice, have, item))
            item = item + 1 == o->items ? 0 : item + 1;
        choice->items[have] = item;
    }
    um_rng_shuffle_u32(r, choice->items, o->list_len);
}

static void choose(const um_world *w, const visitor *v, um_rng *r, um_world_choice *choice)
{
    const um_world_options *o = &w->options;
    uint32_t k = o->list_len;
    double utility[UM_WORLD_MAX_LIST], weight[UM_WORLD_MAX_LIST], largest = -INFINITY, total = 0;
    for (uint32_t i = 0; i < k; i++) {
        const um_world_item *item = &w->items[choice->items[i]];
        utility[i] = taste_of(&v->person, item->genre, item->era, item->mood) +
                     o->taste_quality * item->quality;
        weight[i] = utility[i];
        if (choice->time_s - item->release_s < (int64_t)(NEW_DAYS * SECONDS_A_DAY))
            weight[i] += o->taste_new;
        if (weight[i] > largest)
            largest = weight[i];
    }
    for (uint32_t i = 0; i < k; i++) {
        weight[i] = exp(weight[i] - largest);
        total += weight[i];
    }
    for (uint32_t i = 0; i < k; i++)
        choice->probabilities[i] =
            (1 - o->accident_share) * weight[i] / total + o->accident_share / k;
    choice->accident = um_rng_uniform(r) < o->accident_share;
    choice->position =
        choice->accident ? um_rng_below(r, k) : (uint32_t)um_rng_categorical(r, weight, k);
    double standard = (utility[choice->position] - v->utility_mean) / v->utility_deviation;
    double rating =
        round(RATING_MIDDLE + RATING_SPREAD * standard + RATING_NOISE * um_rng_normal(r));
    choice->rating = rating < 1 ? 1 : rating > 5 ? 5 : (int)rating;
}

static double exponential(um_rng *r, double mean)
{
    return -mean * log(1 - um_rng_uniform(r));
}

/*
 * Gaps of minutes within a session and of days between sessions. Days are scaled down where the
 * choices would not fit into the log; the first choice falls uniformly into the room left.
 */
static void draw_times(um_rng *r, um_world_choice *choices, uint32_t n)
{
    double away = 0, within = 0, log_s = (double)LOG_DAYS * SECONDS_A_DAY;
    for (uint32_t j = 0; j < n; j++) {
        bool same = um_rng_uniform(r) < SAME_SESSION;
        double gap = same ? 60 + exponential(r, SESSION_MINUTES * 60)
                          : (1 + exponential(r, AWAY_DAYS)) * SECONDS_A_DAY;
        if (j == 0)
            continue;
        /* The sign tells the two kinds apart until they are added up. */
        choices[j].time_s = same ? (int64_t)gap : -(int64_t)gap;
        *(same ? &within : &away) += floor(gap);
    }
    double room = LOG_SHARE * log_s - within;
    double scale = away > room ? (room > 0 ? room / away : 0) : 1;
    double spare = log_s - within - away * scale;
    int64_t now = LOG_BEGIN_S + (int64_t)(um_rng_uniform(r) * (spare > 0 ? spare : 0));
    for (uint32_t j = 0; j < n; j++) {
        if (j > 0) {
            int64_t gap = choices[j].time_s;
            gap = gap >= 0 ? gap : (int64_t)((double)-gap * scale);
            now += gap > 60 ? gap : 60;
        }
        choices[j].time_s = now;
    }
}

void um_world_user(um_world *w, uint32_t user, um_world_choice *choices)
{
    uint32_t n = w->count[user];
    visitor v;
    um_rng r;
    um_rng_init(&r, w->options.seed, UM_RNG_WORLD, STREAM_CHOICES, user, 0);
    prepare_visitor(w, user, &v);
    draw_times(&r, choices, n);
    for (uint32_t j = 0; j < n; j++) {
        draw_list(w, &v, &r, &choices[j]);
        choose(w, &v, &r, &choices[j]);
        w->seen[choices[j].items[choices[j].position]] = 1;
    }
    for (uint32_t j = 0; j < n; j++)
        w->seen[choices[j].items[choices[j].position]] = 0;
}
