/*
 * weights.h - the tensors of a model folder, read into and written from a model's block.
 */
#ifndef UM_MODEL_WEIGHTS_H
#define UM_MODEL_WEIGHTS_H

#include "model/params.h"

/*
 * Makes model->data and fills it from `<dir>/model.safetensors`, or from the shards that
 * `<dir>/model.safetensors.index.json` lists. Every tensor of the configuration must be there once,
 * with its shape and finite values, and nothing else. A tied model may store its matrix as
 * embedding, as lm_head, or as both if they are equal. Memory
 * is taken only after every name and shape was found right, so it is bounded by the files' size.
 */
um_status um_weights_read(um_model *model, const char *dir, um_error *err) UM_CHECKED;
typedef struct um_weights_info {
    int files;
    uint64_t bytes, elements;
    char dtypes[64]; /* those of the tensors, each once */
} um_weights_info;
/* The same checks but those of values, by the files' headers; no memory is taken for weights.
 * config NULL: only what the files are. *out is filled as far as the files could be opened. */
um_status um_weights_inspect(um_weights_info *out, const um_model_config *config, const char *dir,
                             um_error *err) UM_CHECKED;
/* Makes model->data, zeroed, for the layout in model->params. */
um_status um_model_alloc(um_model *model, um_error *err) UM_CHECKED;
/* Writes `<dir>/model.safetensors` in float32. */
um_status um_weights_write(const um_model *model, const char *dir, um_error *err) UM_CHECKED;

#endif
