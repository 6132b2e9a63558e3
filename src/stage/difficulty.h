/*
 * difficulty.h (internal) - instruction-following difficulty of every scene that can give a pair,
 * measured with the student before tuning.
 */
#ifndef UM_STAGE_DIFFICULTY_H
#define UM_STAGE_DIFFICULTY_H

#include "stage/candidates.h"
#include "stage/session.h"

/* Scores the chosen answers that have no stored score yet, in portions. Answers that do not fit the
 * student are left out, and counted by a message. */
um_status um_difficulties_measure(um_session *s, const um_distill_rules *rules, uint64_t predictor,
                                  um_error *err) UM_CHECKED;

/* The stored ones, asked for in ascending order of scenes. */
typedef struct um_difficulty_reader um_difficulty_reader;
um_status um_difficulty_reader_open(um_difficulty_reader **out, um_workspace *ws,
                                    um_error *err) UM_CHECKED;
double um_difficulty_of(um_difficulty_reader *reader, uint64_t scene_id); /* NaN: none */
void um_difficulty_reader_free(um_difficulty_reader *reader);

#endif
