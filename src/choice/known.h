/*
 * known.h (internal) - what training may learn from: interactions of users that are not held out,
 * before the time cut.
 */
#ifndef UM_CHOICE_KNOWN_H
#define UM_CHOICE_KNOWN_H

#include "mirrorer/scene.h"

typedef struct um_known {
    bool *users;     /* [users] whose interactions are known */
    int64_t until_s; /* and until when; INT64_MAX without a cut */
} um_known;

/* As the split of the set says: a user with an evaluation scene is held out, but by time nobody
 * is. */
um_status um_known_init(um_known *known, const um_dataset *dataset, const um_scene_set *scenes,
                        um_error *err) UM_CHECKED;
void um_known_dispose(um_known *known);

/* The end of what is known of a user's interactions, which begin at user_start[user]. */
uint64_t um_known_end(const um_known *known, const um_dataset *dataset, uint32_t user);

#endif
