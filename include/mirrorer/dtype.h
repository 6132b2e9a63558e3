/*
 * dtype.h - number formats of weights, and of cached keys and values.
 */
#ifndef MIRRORER_DTYPE_H
#define MIRRORER_DTYPE_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum um_dtype {
    UM_F32,
    UM_BF16, /* the upper half of a float32 */
    UM_F16,  /* IEEE 754 binary16 */
    UM_I8    /* signed bytes, with one scale for each 256 terms of an output */
} um_dtype;

/* "f32", "bf16", "f16", "int8"; NULL for other values. Static storage. */
const char *um_dtype_name(um_dtype dtype);
/* False: no such name. */
bool um_dtype_parse(um_dtype *out, const char *name);

#ifdef __cplusplus
}
#endif
#endif
