/*
 * exposure.h - the list of items a scene shows.
 */
#ifndef UM_SCENE_EXPOSURE_H
#define UM_SCENE_EXPOSURE_H

#include "base/pool.h"
#include "scene/rank.h"
#include "scene/social.h"
#include "scene/split.h"

enum { UM_EXPOSURE_BATCH = 16, UM_SOURCE_NONE = 255 };

typedef struct um_exposure {
    uint32_t k, target;
    uint32_t items[UM_SCENE_MAX_ITEMS];
    uint8_t sources[UM_SCENE_MAX_ITEMS];
} um_exposure;

/* What every exposure of a build draws on. Read-only once made. Data set, options and plan are
 * borrowed. */
typedef struct um_exposure_model {
    const um_dataset *d;
    const um_scene_options *o;
    const um_split_plan *plan;
    um_factors spectral, content;
    um_social *social;   /* NULL without friends */
    uint32_t cut_max;    /* longest ranking of any split */
    uint32_t *popular;   /* [plan->n][cut_max], NULL when the source is off */
    uint32_t *n_popular; /* [plan->n] */
} um_exposure_model;

/* Scratch memory of one thread. */
typedef struct um_exposure_work {
    uint32_t *mark, *candidates; /* [items] */
    uint32_t epoch;
    double *queries;    /* [UM_EXPOSURE_BATCH][larger rank] */
    float *spectral;    /* [UM_EXPOSURE_BATCH][stride] */
    float *content;     /* the same */
    float *friends;     /* [items] counts, zero between targets */
    uint32_t *touched;  /* [items] */
    uint32_t *rankings; /* [UM_SOURCE_COUNT][cut_max] */
} um_exposure_work;

um_status um_exposure_model_new(um_exposure_model *m, const um_dataset *dataset,
                                const um_scene_options *options, const um_split_plan *plan,
                                um_pool *pool, um_error *err) UM_CHECKED;
void um_exposure_model_dispose(um_exposure_model *m);

um_status um_exposure_work_new(um_exposure_work *w, const um_exposure_model *m,
                               um_error *err) UM_CHECKED;
void um_exposure_work_dispose(um_exposure_work *w);

/* Exposures of targets [first, first + n) of the plan, n <= UM_EXPOSURE_BATCH. Each depends on its
 * own target only. */
void um_exposures_draw(um_exposure *out, const um_exposure_model *m, um_exposure_work *w,
                       size_t first, size_t n);

#endif
