/* random.h - packed weights that were never floats, for measuring. */
#ifndef UM_MODEL_RANDOM_H
#define UM_MODEL_RANDOM_H

#include "model/matrices.h"

/* Normal with deviation 0.02; norms 1, biases 0. */
um_status um_matrices_random(um_matrices *out, um_backend *backend, const um_model_config *config,
                             um_dtype dtype, uint64_t seed, um_error *err) UM_CHECKED;

#endif
