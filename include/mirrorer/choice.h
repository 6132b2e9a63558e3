/*
 * choice.h - a multinomial-logit choice model fitted on the log (McFadden 1974; the response model
 * of RecSim-style simulators), and a responder that writes what drove its choices.
 *
 * It is the teacher where no language model is at hand, and a baseline everywhere. It knows what
 * the scene shows (history, ratings, attributes) and the crowd's record of an item before the
 * scene's time; it never reads the scene's outcome.
 */
#ifndef MIRRORER_CHOICE_H
#define MIRRORER_CHOICE_H

#include <stdint.h>

#include "mirrorer/dataset.h"
#include "mirrorer/responder.h"
#include "mirrorer/scene.h"
#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct um_choice_model um_choice_model;

typedef struct um_choice_options {
    double ridge;   /* L2 penalty on standardised coefficients */
    int iterations; /* of Newton's method at most */
} um_choice_options;
void um_choice_defaults(um_choice_options *options);

/*
 * Fits on the base and train scenes of the set. The data set and scenes are borrowed and must
 * outlive the model. Features of a listed item: for every attribute (a description column with few
 * distinct values, years by decade) and rating band (low, middle, high), the square root of the
 * number of history items of that band that share the value, and the same over the last three;
 * neighbouring decades; log popularity,
 * shrunk mean rating and click share before the scene, among training users and, with a time cut,
 * before it; new release. The action "none of these" has one constant.
 */
um_status um_choice_fit(um_choice_model **out, const um_dataset *dataset,
                        const um_scene_set *scenes, const um_choice_options *options,
                        um_error *err) UM_CHECKED;
void um_choice_free(um_choice_model *model);

/* p: [scene->k]. */
um_status um_choice_probabilities(const um_choice_model *model, const um_scene *scene, double *p,
                                  um_error *err) UM_CHECKED;
/* p proportional to 1 + earlier interactions that training knows: the popularity baseline. The
 * action "none of these" gets um_scene_none_share. */
um_status um_choice_popularity(const um_choice_model *model, const um_scene *scene, double *p,
                               um_error *err) UM_CHECKED;

/* For reports: feature i's name and standardised coefficient; false past the last. */
bool um_choice_coefficient(const um_choice_model *model, size_t i, const char **name,
                           double *coefficient);
/* Mean log-likelihood per fitted scene in bits, and of a uniform guess. */
void um_choice_fit_figures(const um_choice_model *model, size_t *scenes, double *bits,
                           double *uniform_bits);

/*
 * Baselines that rank a list by its likeness to what the user met before the scene: by who met the
 * same items (GF-CF, Shen et al., CIKM 2021, from interactions that training knows), or by words
 * (cosine of TF-IDF vectors, truncated SVD). p is proportional to exp(slope x the score
 * standardised within the list); the slope is fitted on the base and train scenes, for the
 * collaborative score on users whose rows are not in its factors. The action "none of these" gets
 * um_scene_none_share. Users without earlier items get a uniform guess.
 */
typedef struct um_similarity um_similarity;
typedef enum um_similarity_kind {
    UM_SIMILARITY_SPECTRAL,
    UM_SIMILARITY_CONTENT
} um_similarity_kind;
/* rank: vectors kept. The data set is borrowed and must outlive *out, which is yours; the scenes
 * are looked at here only. The same for any number of threads (<= 0: all CPUs). */
um_status um_similarity_fit(um_similarity **out, um_similarity_kind kind, const um_dataset *dataset,
                            const um_scene_set *scenes, uint32_t rank, uint64_t seed, int threads,
                            um_error *err) UM_CHECKED;
void um_similarity_free(um_similarity *model);
/* p: [scene->k]. */
um_status um_similarity_probabilities(const um_similarity *model, const um_scene *scene, double *p,
                                      um_error *err) UM_CHECKED;
double um_similarity_slope(const um_similarity *model);

typedef enum um_choice_voice {
    UM_VOICE_CHOICE_MODEL, /* draws its choice from the fitted distribution, names what drove it */
    UM_VOICE_UNTUTORED     /* rationalises the logged choice with random attributes of the memory,
                              half the time one the choice shares; half of the texts argue for
                              another item than was chosen. Language with little preference in it,
                              for the embedded student's first training */
} um_choice_voice;

/* A responder whose prompts' keys are scene ids of the set. complete() writes decision processes;
 * its choice is in the text. score_letters() gives the fitted distribution, whatever the text. */
um_status um_choice_responder_open(um_responder **out, const um_choice_model *model,
                                   const um_scene_set *scenes, um_choice_voice voice,
                                   um_error *err) UM_CHECKED;

/*
 * Reading practice for the embedded student: tastes drawn at random, the list gone through for
 * them, the best (or one of the best) chosen. `list` is a scene of which only items and k are
 * looked at. A short form of a decision process, without factors and style. *text is yours.
 */
um_status um_choice_practice(const um_choice_model *model, const um_scene *list, uint64_t seed,
                             uint64_t number, char **text, uint32_t *letter,
                             um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
