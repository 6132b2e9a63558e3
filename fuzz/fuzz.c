/* fuzz.c - libFuzzer's entry: the target is chosen where this file is compiled. */
#include <stdlib.h>

#include "targets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const fuzz_target *target;
    if (target == NULL && (target = fuzz_find(UM_FUZZ_TARGET)) == NULL)
        abort();
    target->run(data, size);
    return 0;
}
