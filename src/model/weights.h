/*
 * weights.h - the tensors of a model folder, read into and written from a model's block.
 */
#ifndef UM_MODEL_WEIGHTS_H
#define UM_MODEL_WEIGHTS_H

#include "base/str.h"
#include "model/params.h"

/*
 * Makes model->data and fills it from `<dir>/model.safetensors`, or from the shards that
 * `<dir>/model.safetensors.index.json` lists. Every tensor of the configuration must be there once,
 * with its shape and finite values, and nothing else. A tied model may store its matrix as
 * embedding, as lm_head, or as both if they are equal. Memory
 * is taken only after every name and shape was found right, so it is bounded by the files' size.
 */
um_status um_weights_read(um_model *model, const char *dir, um_error *err) UM_CHECKED;

/* The tensors of a folder, found and checked as above, values apart, and not yet read. Readable from
 * several threads. */
typedef struct um_weights_source um_weights_source;
um_status um_weights_open(um_weights_source **out, const um_params *params,
                          const um_model_config *config, const char *dir, um_error *err) UM_CHECKED;
void um_weights_close(um_weights_source *source);
/* n floats of the model's block, from `offset` on. */
um_status um_weights_floats(const um_weights_source *source, size_t offset, size_t n, float *out,
                            um_error *err) UM_CHECKED;
/* The files that make up the model, config.json first, one a line. */
um_status um_weights_names(um_str *out, const char *dir, um_error *err) UM_CHECKED;

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
