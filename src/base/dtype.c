/* dtype.c - see mirrorer/dtype.h. */
#include "mirrorer/dtype.h"

#include <stddef.h>
#include <string.h>

static const char *const names[] = {
    [UM_F32] = "f32", [UM_BF16] = "bf16", [UM_F16] = "f16", [UM_I8] = "int8"};

enum { N_NAMES = sizeof names / sizeof names[0] };

const char *um_dtype_name(um_dtype dtype)
{
    return (unsigned)dtype < N_NAMES ? names[dtype] : NULL;
}

bool um_dtype_parse(um_dtype *out, const char *name)
{
    for (int i = 0; i < N_NAMES; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (um_dtype)i;
            return true;
        }
    }
    return false;
}
