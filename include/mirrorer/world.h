/*
 * world.h - a synthetic log whose real choice probabilities are known.
 *
 * The generative model is stated in docs/WORLD.md: users with latent tastes over attributes choose
 * from lists they are shown by a softmax over utilities; a known share of clicks is accidental.
 */
#ifndef MIRRORER_WORLD_H
#define MIRRORER_WORLD_H

#include <stdint.h>

#include "mirrorer/dataset.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct um_world_options {
    uint64_t seed;
    uint32_t users, items;
    uint64_t interactions; /* in all; spread over users by a log-normal activity */
    uint32_t list_len;     /* items shown at each choice, 2..26 */
    double accident_share; /* clicks that ignore taste: uniform over the list */
    double taste_genre, taste_era, taste_mood; /* scale of the utility of each attribute */
    double taste_quality;  /* scale of the item's own quality, shared by all users */
    double taste_new;      /* extra utility of an item released within the last half year */
    double popular_share;  /* of the shown items: drawn by popularity (exponent 1) */
    double matching_share; /* of the shown items: drawn near the user's taste */
} um_world_options;

void um_world_defaults(um_world_options *options);

/*
 * Canonical JSONL (<name "world">) with, at each interaction, behaviour columns `rating` (1..5),
 * `impression_list`, `item_pos`, `choice_probabilities` (real, one an impression, accident share
 * included) and `accident` (true where the click was one).
 */
um_status um_world_write_canonical(const um_world_options *options, const char *dir,
                                   const um_monitor *monitor, um_error *err) UM_CHECKED;

/* MovieLens-1M's own raw files: ratings.dat, users.dat, movies.dat; impressions are not written. */
um_status um_world_write_movielens(const um_world_options *options, const char *dir,
                                   const um_monitor *monitor, um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
