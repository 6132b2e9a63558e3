/*
 * choice.h (internal) - what the fit and the writer share.
 *
 * Attributes are read off the item descriptions: every column whose values repeat across items
 * ("fantasy"; "Action, Sci-Fi" is two values) and every column of years, cut into decades.
 */
#ifndef UM_CHOICE_CHOICE_H
#define UM_CHOICE_CHOICE_H

#include "mirrorer/choice.h"

#define UM_CHOICE_MAX_ATTRIBUTES 6
#define UM_CHOICE_MAX_VALUES     64                    /* distinct values an attribute may have */
#define UM_CHOICE_BANDS          3                     /* ratings: low, middle, high */
#define UM_CHOICE_PER_ATTRIBUTE  (UM_CHOICE_BANDS + 2) /* bands, neighbours, recent */
#define UM_CHOICE_MAX_FEATURES   (UM_CHOICE_MAX_ATTRIBUTES * UM_CHOICE_PER_ATTRIBUTE + 5)

typedef struct um_attribute {
    char *column;
    bool decade; /* a year column; values are ordered, neighbours count too */
    int n_values;
    char **values;  /* [n_values] as text: "fantasy", "1990s" */
    uint64_t *mask; /* [items] bit v: the item has value v */
} um_attribute;

struct um_choice_model {
    const um_dataset *dataset;
    int n_attributes;
    um_attribute attributes[UM_CHOICE_MAX_ATTRIBUTES];
    const um_series *rating;      /* NULL when the log has none */
    double low_below, high_above; /* band limits of ratings */
    double mean_rating;

    /* Interactions of training users by item, times ascending: item i's are
     * [item_start[i], item_start[i + 1]); item_rating_sum[e] is the sum of the item's ratings up to
     * and with event e. */
    uint64_t *item_start;
    int64_t *item_time;
    double *item_rating_sum;
    uint64_t *shown_start; /* the same for impressions; NULL when the log has none */
    int64_t *shown_time;

    double none_share; /* um_scene_none_share */
    int none_feature; /* its constant: 1 for the action "none of these", whose other features are 0;
                         -1 when no scene has that action */
    int n_features;
    char *feature_names[UM_CHOICE_MAX_FEATURES];
    double scale[UM_CHOICE_MAX_FEATURES]; /* features are divided by it */
    double beta[UM_CHOICE_MAX_FEATURES];
    size_t fitted_scenes;
    double fitted_bits, uniform_bits;
};

um_status um_choice_attributes_find(um_choice_model *model, um_error *err) UM_CHECKED;
void um_choice_attributes_dispose(um_choice_model *model);

/* The values of an item; none for UM_SCENE_NONE. */
static inline uint64_t um_choice_values(const um_attribute *attribute, uint32_t item)
{
    return item != UM_SCENE_NONE ? attribute->mask[item] : 0;
}

/* Band of an interaction's rating: 0 low, 1 middle (or unrated), 2 high. */
int um_choice_band(const um_choice_model *model, uint64_t interaction);

/* How much the scene's history speaks for each value of attribute a, in utility: taste[n_values].
 */
void um_choice_tastes(const um_choice_model *model, const um_scene *scene, int a, double *taste);

#endif
