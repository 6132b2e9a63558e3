/* audit.h (internal) - what the checks and the figures of an audit share. */
#ifndef UM_SCENE_AUDIT_H
#define UM_SCENE_AUDIT_H

#include "mirrorer/audit.h"

typedef struct um_auditor {
    const um_dataset *d;
    const um_scene_set *set;
    const um_split *split; /* NULL: all */
    um_audit *out;
    int64_t *first_seen_s; /* [items] clicked or shown; INT64_MAX: never */
} um_auditor;

static inline bool um_audit_takes(const um_auditor *a, const um_scene *s)
{
    return a->split == NULL || s->split == *a->split;
}

/* Items listed, the action "none" aside. */
static inline uint32_t um_audit_listed(const um_scene *s)
{
    return s->k > 0 && s->items[s->k - 1] == UM_SCENE_NONE ? s->k - 1 : s->k;
}

/* The list claims to be the log's: no distractor comes from a source. */
static inline bool um_audit_is_logged(const um_scene *s)
{
    for (uint32_t j = 0; j < um_audit_listed(s); j++) {
        if (j != s->target && s->sources[j] < UM_SOURCE_COUNT)
            return false;
    }
    return true;
}

/* Indices of the scene lie within the data set. */
bool um_audit_in_range(const um_auditor *a, const um_scene *s);

/* Fills out->parts and out->times. */
um_status um_audit_figures(um_auditor *a, um_error *err) UM_CHECKED;

#endif
