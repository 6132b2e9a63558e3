/*
 * process.h - decision processes: the prompt that asks for one, and the text that answers.
 *
 * The format follows the Engel-Kollat-Blackwell consumer model (stimulus, knowledge, evaluation) as
 * UserMirrorer uses it (arXiv 2508.18142); docs/FORMATS.md gives it in full:
 *
 *     Thought:
 *     Stimulus: <text>            Stimulus Factors: 1-3 of a closed list
 *     Knowledge: <text>           Knowledge Factors: 2-4 of a closed list
 *     Evaluation: <text>          Evaluation Style: Logical | Intuitive | Impulsive | Habitual
 *     Behavior: [<letter>]
 *
 * (each label on its own line). What is stored as a decision process stands before "Behavior:".
 */
#ifndef MIRRORER_PROCESS_H
#define MIRRORER_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/responder.h"
#include "mirrorer/scene.h"
#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UM_PROCESS_OPENING  "Thought:\nStimulus:"
#define UM_PROCESS_BEHAVIOR "Behavior: ["

/* The closed lists; each array ends with NULL. */
extern const char *const um_stimulus_factors[];
extern const char *const um_knowledge_factors[];
extern const char *const um_evaluation_styles[];

typedef enum um_process_fault {
    UM_PROCESS_GOOD = 0,
    UM_PROCESS_NO_STAGE,     /* a label is missing or out of order */
    UM_PROCESS_EMPTY_STAGE,  /* a stage has no text */
    UM_PROCESS_FACTOR,       /* a factor or style that is not on its list */
    UM_PROCESS_FACTOR_COUNT, /* too few or too many factors */
    UM_PROCESS_TRUNCATED,    /* the writer ran out of tokens */
    UM_PROCESS_TRAILING,     /* text after the last stage */
    UM_PROCESS_CONTRADICTION /* its own "Behavior: [X]" is not the behaviour drawn after it */
} um_process_fault;
const char *um_process_fault_name(um_process_fault fault); /* "good", "no stage", ... */

/* A checked process; the parts are borrowed slices of the text. */
typedef struct um_process {
    const char *stimulus, *knowledge, *evaluation; /* not NUL-terminated */
    size_t stimulus_len, knowledge_len, evaluation_len;
    uint32_t stimulus_factors, knowledge_factors; /* bit i: entry i of the list */
    int style;                                    /* index in um_evaluation_styles */
} um_process;

/* Checks text that stands before "Behavior:". detail (may be NULL) receives what exactly is wrong.
 */
um_process_fault um_process_parse(um_process *out, const char *text, char *detail,
                                  size_t detail_size);

/* The letter that a text names after its first "Behavior:" ("[X]", or X alone): 1 = A, 2 = B, ...;
 * 0 when it names none, or more than one thing. */
uint32_t um_process_said(const char *text);

/* Cuts at "Behavior:" and trims white space at the end, in place. */
void um_process_trim(char *text);

/* Prompts: a YAML file with `system` and `user`; the user part holds {profile}, {history} and
 * {exposure}. Data, not code: a published checkpoint runs with the prompt it was trained on. */
typedef struct um_prompt_form um_prompt_form;
um_status um_prompt_form_load(um_prompt_form **out, const char *path, um_error *err) UM_CHECKED;
/* "ekb" (full instructions, for instruction-tuned models) or "ekb-short" (embedded student). */
um_status um_prompt_form_builtin(um_prompt_form **out, const char *name, um_error *err) UM_CHECKED;
void um_prompt_form_free(um_prompt_form *form);
uint64_t um_prompt_form_hash(const um_prompt_form *form);
const char *um_prompt_form_system(const um_prompt_form *form);
/* The user message of a scene; yours. */
um_status um_prompt_form_user(const um_prompt_form *form, const um_scene *scene, char **out,
                              um_error *err) UM_CHECKED;

/* The message of reading practice: the optional text `reading` of the form, which shows {exposure}
 * alone; UM_ERR_NOT_FOUND when the form has none. */
um_status um_prompt_form_reading(const um_prompt_form *form, const um_scene *scene, char **out,
                                 um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
