/* set.h (internal) - what owns the texts and arrays of a um_scene_set: um_scene_set_free releases
 * it. */
#ifndef UM_SCENE_SET_H
#define UM_SCENE_SET_H

#include "base/mem.h"
#include "mirrorer/scene.h"

struct um_scene_memory {
    um_arena *arenas; /* one a thread that built or loaded scenes */
    int n;
};

#endif
