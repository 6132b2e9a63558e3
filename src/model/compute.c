/* compute.c - a backend together with the threads it runs on. */
#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"
#include "model/params.h"

um_status um_compute_open(um_compute **out, const char *backend, int threads, um_error *err)
{
    um_compute *compute = um_calloc(1, sizeof *compute);
    if (compute == NULL)
        return um_fail_memory(err, "compute");
    um_status status = um_pool_new(&compute->pool, threads, err);
    if (status == UM_OK)
        status = um_backend_open(&compute->backend, backend, compute->pool, err);
    if (status != UM_OK) {
        um_compute_close(compute);
        return status;
    }
    *out = compute;
    return UM_OK;
}

void um_compute_close(um_compute *compute)
{
    if (compute == NULL)
        return;
    if (compute->backend != NULL)
        um_backend_close(compute->backend);
    um_pool_free(compute->pool);
    free(compute);
}

const char *um_compute_name(const um_compute *compute)
{
    return compute->backend->name;
}

int um_compute_threads(const um_compute *compute)
{
    return um_pool_threads(compute->pool);
}
