/*
 * packed_file.h - a model's weights packed once (nn/packed.h), in a file beside the model, and mapped
 * from then on.
 *
 * `<dir>/mirrorer-<dtype>.packed` has the form of a safetensors file: one U8 tensor a matrix, named
 * "embedding" (untied models), "head", "N.qkv", "N.o", "N.gate_up", "N.down", and an F32 tensor
 * "vectors": the final norm, then each layer's two norms and its biases, padded to 64 bytes. Its
 * metadata: "format" (UM_PACKED_FORMAT), "dtype", "source" (names, sizes and times of the files it
 * was made from), "config" and "sums" (a checksum a tensor, in order of their place in the file).
 */
#ifndef UM_MODEL_PACKED_FILE_H
#define UM_MODEL_PACKED_FILE_H

#include "model/matrices.h"

#define UM_PACKED_FORMAT "1"

/* Writes the file, whole or not at all, whatever was there. The model is never held as floats:
 * memory is taken for one packed matrix. Checks all that um_model_load checks. */
um_status um_packed_file_write(const char *dir, um_dtype dtype, um_compute *compute,
                               const um_monitor *monitor, um_error *err) UM_CHECKED;

/* Maps the file as the weights of a model; its bytes are read once and their checksums compared.
 * UM_ERR_NOT_FOUND: no file; UM_ERR_STATE: made from other files than are there now, or by another
 * version; UM_ERR_INPUT: damaged. Each is mended by writing it again. */
um_status um_packed_file_map(um_model *model, const char *dir, um_dtype dtype, um_compute *compute,
                             um_error *err) UM_CHECKED;
/* Ends the map of a model that um_packed_file_map made. */
void um_packed_file_unmap(um_model *model);

#endif
