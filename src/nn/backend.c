/*
 * backend.c - choosing and opening a CPU backend.
 */
#include "nn/backend.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "nn/cpu/cpu.h"

#ifdef UM_NN_X86
#include <cpuid.h>
#endif

/* Best first. Every machine that runs one entry runs all entries below it. `supported` is false too
 * where an entry below is quicker. */
static const um_cpu_isa *const isas[] = {
#ifdef UM_NN_X86
    &um_cpu_isa_amx,
    &um_cpu_isa_avx512_bf16,
    &um_cpu_isa_vnni,
    &um_cpu_isa_avx512,
    &um_cpu_isa_avx2,
#endif
#ifdef UM_NN_ARM
    &um_cpu_isa_neon_dot,
    &um_cpu_isa_neon,
#endif
    &um_cpu_isa_ref,
};

static const char *const isa_names[] = {
#ifdef UM_NN_X86
    "cpu-amx",
    "cpu-avx512-bf16",
    "cpu-avx512-vnni",
    "cpu-avx512",
    "cpu-avx2",
#endif
#ifdef UM_NN_ARM
    "cpu-neon-dot",
    "cpu-neon",
#endif
    "cpu-ref",
    NULL,
};

#ifdef UM_NN_X86
bool um_cpu_has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C) != 0;
}

bool um_cpu_has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma") && um_cpu_has_f16c();
}
#endif

enum { N_ISAS = sizeof isas / sizeof isas[0] };

/* Index of the best instruction set of this machine; the last one always is supported. */
static int best_isa(void)
{
    int i = 0;
    while (i < N_ISAS - 1 && !isas[i]->supported())
        i++;
    return i;
}

const char *const *um_backend_names(void)
{
    return isa_names + best_isa();
}

static const um_cpu_isa *find_isa(const char *name)
{
    int best = best_isa();
    if (name == NULL || strcmp(name, "auto") == 0)
        return isas[best];
    for (int i = best; i < N_ISAS; i++) {
        if (strcmp(name, isas[i]->name) == 0)
            return isas[i];
    }
    return NULL;
}

static um_status fail_unsupported(const char *name, um_error *err)
{
    char list[128] = "";
    for (const char *const *n = um_backend_names(); *n != NULL; n++) {
        if (list[0] != '\0')
            strncat(list, ", ", sizeof list - strlen(list) - 1);
        strncat(list, *n, sizeof list - strlen(list) - 1);
    }
    return um_fail(err, UM_ERR_UNSUPPORTED,
                   "backend: '%s' is not one this machine can run; use auto or one of: %s", name,
                   list);
}

um_status um_backend_open(um_backend **out, const char *name, um_pool *pool, um_error *err)
{
    const um_cpu_isa *isa = find_isa(name);
    if (isa == NULL)
        return fail_unsupported(name, err);
    um_backend *be = um_calloc(1, sizeof *be);
    um_cpu_scratch *scratch = um_calloc(1, sizeof *scratch);
    if (be == NULL || scratch == NULL)
        goto no_memory;
    be->name = isa->name;
    be->pool = pool;
    be->ops = isa->ops;
    be->scratch = scratch;
    size_t floats;
    scratch->floats_per_thread = isa->scratch_floats;
    if (um_mul_overflows((size_t)um_pool_threads(pool), isa->scratch_floats, &floats))
        goto no_memory;
    scratch->data = um_aligned_calloc(floats, sizeof(float));
    scratch->shared = um_aligned_alloc(CPU_SHARED_FLOATS, sizeof(float));
    if (scratch->data == NULL || scratch->shared == NULL)
        goto no_memory;
    *out = be;
    return UM_OK;
no_memory:
    if (scratch != NULL) {
        free(scratch->data);
        free(scratch->shared);
    }
    free(scratch);
    free(be);
    return um_fail_memory(err, "backend");
}

void um_backend_close(um_backend *be)
{
    if (be == NULL)
        return;
    um_cpu_scratch *scratch = be->scratch;
    free(scratch->data);
    free(scratch->shared);
    free(scratch);
    free(be);
}
