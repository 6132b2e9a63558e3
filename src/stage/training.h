/* training.h (internal) - scenes and texts as rows of token ids, and one training as a stage. */
#ifndef UM_STAGE_TRAINING_H
#define UM_STAGE_TRAINING_H

#include "base/mem.h"

#include "stage/session.h"

/* Growable rows and the tokens they point to. */
typedef struct um_row_set {
    UM_VEC(um_train_row) rows;
    um_arena arena;
    uint64_t hash; /* of every token: part of the training's fingerprint */
} um_row_set;
void um_row_set_dispose(um_row_set *set);

/* One completion: an assistant's text that ends before a letter, and the letter. */
typedef struct um_answer {
    const char *process; /* NULL: the bare behaviour */
    uint32_t letter;
} um_answer;

/*
 * Adds the row of a scene: its prompt, and per answer "<process>\nBehavior: [X]" with its end of
 * turn. Prompt and completion are tokenised apart and joined, as generation sees them.
 */
um_status um_row_set_add(um_row_set *set, um_session *s, const um_tokenizer *tok,
                         const um_scene *scene, const um_answer *answers, int n, bool train_prompt,
                         um_error *err) UM_CHECKED;

/* The same for a conversation that is not a scene's. id: named in messages. */
um_status um_row_set_add_messages(um_row_set *set, const um_tokenizer *tok, uint64_t id,
                                  const um_message *messages, size_t n_messages,
                                  const um_answer *answers, int n, bool train_prompt,
                                  um_error *err) UM_CHECKED;

typedef struct um_training {
    const char *stage;     /* "train.sft" */
    const char *from, *to; /* names of models: "base", "sft" */
    const um_train_config *config;
    bool dpo;
    uint64_t token_budget;
    uint64_t seed_salt; /* so that trainings of one run shuffle differently */
} um_training;

/* Before a stage begins: options that contradict one another, named with their section ("sft"). */
um_status um_training_check(const char *section, const um_train_config *config,
                            um_error *err) UM_CHECKED;
/* Trains a model of the workspace into another: loads, trains with checkpoints beside it, saves. */
um_status um_training_run(um_run *run, const um_training *what, um_model *model,
                          const um_row_set *set, um_error *err) UM_CHECKED;

#endif
