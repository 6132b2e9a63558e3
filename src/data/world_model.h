/*
 * world_model.h - the synthetic world as its writers see it (docs/WORLD.md has the formulas).
 *
 * Users are independent random streams: any of them can be generated alone. Read-only after
 * um_world_new but for the scratch of um_world_user, so one world serves one thread.
 */
#ifndef UM_DATA_WORLD_MODEL_H
#define UM_DATA_WORLD_MODEL_H

#include "base/mem.h"
#include "mirrorer/world.h"

#define UM_WORLD_GENRES   10
#define UM_WORLD_ERAS     5
#define UM_WORLD_MOODS    5
#define UM_WORLD_AGES     5
#define UM_WORLD_REGIONS  4
#define UM_WORLD_CELLS    (UM_WORLD_GENRES * UM_WORLD_ERAS * UM_WORLD_MOODS)
#define UM_WORLD_MAX_LIST 26

/* Names, in world_names.c. */
extern const char *const um_world_genres[UM_WORLD_GENRES];
extern const char *const um_world_moods[UM_WORLD_MOODS];
extern const char *const um_world_ages[UM_WORLD_AGES];
extern const char *const um_world_regions[UM_WORLD_REGIONS];
/* n distinct titles, all in the arena; their words grow in number with n. */
um_status um_world_titles(char ***titles, um_arena *arena, uint64_t seed, uint32_t n,
                          um_error *err) UM_CHECKED;
#define UM_WORLD_MAX_ITEMS 200000

typedef struct um_world_item {
    uint8_t genre, era, mood;
    uint16_t year;
    double quality; /* N(0, 1) */
    int64_t release_s;
} um_world_item;

typedef struct um_world_person {
    uint8_t age, region;
    double genre[UM_WORLD_GENRES], era[UM_WORLD_ERAS], mood[UM_WORLD_MOODS]; /* utilities */
} um_world_person;

typedef struct um_world_choice {
    int64_t time_s;
    uint32_t items[UM_WORLD_MAX_LIST];       /* shown */
    double probabilities[UM_WORLD_MAX_LIST]; /* real, accident share included */
    uint32_t position;                       /* chosen */
    bool accident;
    int rating; /* 1..5 */
} um_world_choice;

typedef struct um_world um_world;
um_status um_world_new(um_world **out, const um_world_options *options, um_error *err) UM_CHECKED;
void um_world_free(um_world *world);
const um_world_item *um_world_get_item(const um_world *world, uint32_t item);
const char *um_world_title(const um_world *world, uint32_t item);
/* Number of choices of a user. */
uint32_t um_world_count(const um_world *world, uint32_t user);
void um_world_get_person(const um_world *world, uint32_t user, um_world_person *person);
/* All choices of a user in order of time: choices[um_world_count(world, user)]. */
void um_world_user(um_world *world, uint32_t user, um_world_choice *choices);
uint32_t um_world_longest(const um_world *world); /* largest um_world_count */

#endif
