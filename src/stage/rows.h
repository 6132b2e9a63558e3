/* rows.h (internal) - the rows of the result table. */
#ifndef UM_STAGE_ROWS_H
#define UM_STAGE_ROWS_H

#include "mirrorer/scene.h"

typedef enum um_row_kind {
    UM_ROW_UNIFORM,
    UM_ROW_POPULARITY,
    UM_ROW_SPECTRAL, /* scenes with a log behind them only, as the next */
    UM_ROW_CONTENT,
    UM_ROW_CHOICE,
    UM_ROW_TRUTH,  /* synthetic worlds only */
    UM_ROW_DIRECT, /* a model, asked for the letter at once */
    UM_ROW_PROCESS /* a model, with decision processes */
} um_row_kind;

typedef struct um_eval_row {
    const char *name;
    um_row_kind kind;
    const char *model; /* name of a model of the workspace, or NULL */
    const char *about; /* for people */
} um_eval_row;

const um_eval_row *um_eval_rows(void); /* ends with a NULL name */
bool um_eval_row_applies(const um_eval_row *row, const um_scene_set *set);

#endif
