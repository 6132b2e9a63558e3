/*
 * social.h - what a user's friends did before: the friend graph crossed with the log.
 *
 * Friends are the user feature `friends`, a JSON list of external user ids (docs/FORMATS.md).
 */
#ifndef UM_SCENE_SOCIAL_H
#define UM_SCENE_SOCIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "mirrorer/dataset.h"

/* Read-only once made; borrows the data set. */
typedef struct um_social um_social;

/*
 * Friends with user_known (NULL: all users) count, with what they did before known_until_s: what
 * training may learn from. Else the choices of held-out users would stand in the lists and texts
 * that others' scenes are made of. *out is NULL when the log has no friends. Ids that are no users
 * of the log are passed over.
 */
um_status um_social_new(um_social **out, const um_dataset *dataset, const bool *user_known,
                        int64_t known_until_s, um_error *err) UM_CHECKED;
void um_social_free(um_social *social);
/* How many friends of `user` that count interacted with `item` before time_s; social may be NULL
 * (0). */
uint32_t um_social_count(const um_social *social, uint32_t user, uint32_t item, int64_t time_s);
/* The same for all items at once: adds to counts[item], which the caller zeroed, each friend once
 * an item. Items touched are appended to `touched` (room for all items); returns how many. mark is
 * scratch [items], epoch as in exposure.c; both advance. */
uint32_t um_social_counts(const um_social *social, uint32_t user, int64_t time_s, float *counts,
                          uint32_t *touched, uint32_t *mark, uint32_t *epoch);

#endif
