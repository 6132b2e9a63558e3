/* known.c - see known.h. */
#include "choice/known.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "scene/split.h"

um_status um_known_init(um_known *known, const um_dataset *dataset, const um_scene_set *scenes,
                        um_error *err)
{
    uint32_t n = dataset->users.n_rows;
    known->until_s = scenes->split_by != UM_SPLIT_BY_USER ? scenes->time_cut_s : INT64_MAX;
    known->users = um_calloc(n, sizeof *known->users);
    if (known->users == NULL)
        return um_fail_memory(err, "what training knows");
    memset(known->users, 1, n * sizeof *known->users);
    for (size_t s = 0; s < scenes->n; s++) {
        const um_scene *scene = &scenes->scenes[s];
        if (scene->split == UM_SPLIT_EVAL && scenes->split_by != UM_SPLIT_BY_TIME)
            known->users[scene->user] = false;
    }
    return UM_OK;
}

void um_known_dispose(um_known *known)
{
    free(known->users);
    known->users = NULL;
}

uint64_t um_known_end(const um_known *known, const um_dataset *dataset, uint32_t user)
{
    uint64_t begin = dataset->user_start[user], end = dataset->user_start[user + 1];
    if (!known->users[user])
        return begin;
    return um_first_at(dataset->time_s, begin, end, known->until_s);
}
