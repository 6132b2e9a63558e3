/*
 * safetensors.h - strict reader and writer of safetensors files.
 *
 *   bytes 0..7    n, little-endian: length of the header
 *   bytes 8..8+n  JSON: {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ..,
 *                 "__metadata__": {..}}, padded with spaces
 *   the rest      tensor data; offsets count from here; no hole, no overlap, nothing left over
 *
 * An open file is a read-only map: tensors are borrowed from it and end with it.
 */
#ifndef UM_MODEL_SAFETENSORS_H
#define UM_MODEL_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "mirrorer/status.h"

#define UM_SAFETENSORS_MAX_HEADER ((uint64_t)100000000)
#define UM_SAFETENSORS_MAX_DIMS   8

typedef struct um_safetensor {
    char *name;
    const char *dtype; /* the format's name: "F32", "BF16", ...; static storage */
    int n_dims;
    uint64_t shape[UM_SAFETENSORS_MAX_DIMS];
    uint64_t begin, end; /* bytes after the header */
} um_safetensor;

typedef struct um_safetensors {
    char *path;
    um_filemap map;
    const unsigned char *data; /* first byte after the header */
    size_t n;
    um_safetensor *tensors;  /* sorted by name */
    struct json_t *metadata; /* __metadata__, or NULL */
} um_safetensors;

/* Opens and checks everything but the values. UM_ERR_INPUT names the broken rule. */
um_status um_safetensors_open(um_safetensors *out, const char *path, um_error *err) UM_CHECKED;
void um_safetensors_close(um_safetensors *file);
/* Borrowed; NULL when absent. */
const um_safetensor *um_safetensors_find(const um_safetensors *file, const char *name);
/* Text of a metadata key; borrowed; NULL when absent. */
const char *um_safetensors_metadata(const um_safetensors *file, const char *key);
/* UM_ERR_UNSUPPORTED unless the tensor can be read as float32. */
um_status um_safetensors_check_dtype(const um_safetensors *file, const um_safetensor *tensor,
                                     um_error *err) UM_CHECKED;
/*
 * Copies n elements of a tensor from `first` on as float32; they are within its shape. F32, F16 and
 * BF16 only (UM_ERR_UNSUPPORTED); a NaN or infinite value is UM_ERR_NUMERIC and names tensor and
 * index.
 */
um_status um_safetensors_range(const um_safetensors *file, const um_safetensor *tensor,
                               size_t first, size_t n, float *out, um_error *err) UM_CHECKED;

/* The whole tensor: as many floats as the shape holds. */
um_status um_safetensors_floats(const um_safetensors *file, const um_safetensor *tensor, float *out,
                                um_error *err) UM_CHECKED;

/* One float32 tensor to write: a matrix [rows, cols], or a vector [rows] when cols is 0. */
typedef struct um_safetensor_source {
    const char *name;
    uint64_t rows, cols;
    const float *data;
} um_safetensor_source;

/* Writes the file whole or not at all; tensors in order of their names (`sources` is sorted). The
 * data starts at a multiple of 64 bytes. */
um_status um_safetensors_write(const char *path, um_safetensor_source *sources, size_t n,
                               um_error *err) UM_CHECKED;

#endif
