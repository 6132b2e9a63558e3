/* kv.c - a first-fit allocator of row runs over one block of memory. */
#include "model/kv.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

#define FIRST_RUNS 16

size_t um_kv_row_bytes(const um_model_config *config)
{
    return (size_t)config->layers * 2 * (size_t)config->kv_heads * (size_t)config->head_dim *
           sizeof(float);
}

um_status um_kv_init(um_kv *kv, um_backend *backend, const um_model_config *config, int rows,
                     um_error *err)
{
    um_kv new = {.backend = backend,
                 .rows = rows,
                 .width = config->kv_heads * config->head_dim,
                 .layers = config->layers,
                 .free_rows = rows,
                 .n_free = 1,
                 .cap_free = FIRST_RUNS};
    size_t bytes;
    if (um_mul_overflows((size_t)rows, um_kv_row_bytes(config), &bytes))
        return um_fail(err, UM_ERR_LIMIT, "key/value cache: %d rows pass the address space", rows);
    new.free = um_calloc(FIRST_RUNS, sizeof *new.free);
    if (new.free == NULL)
        return um_fail_memory(err, "key/value cache");
    um_status status = backend->ops->alloc(backend, &new.buf, bytes, err);
    if (status != UM_OK) {
        free(new.free);
        return status;
    }
    new.free[0] = (um_range){0, rows};
    *kv = new;
    return UM_OK;
}

void um_kv_dispose(um_kv *kv)
{
    if (kv->backend != NULL)
        kv->backend->ops->release(kv->backend, &kv->buf);
    free(kv->free);
    *kv = (um_kv){0};
}

/* Layout: [layer][K, V][row][width]. */
float *um_kv_keys(const um_kv *kv, int layer)
{
    return (float *)kv->buf.data + 2 * (size_t)layer * (size_t)kv->rows * (size_t)kv->width;
}

float *um_kv_values(const um_kv *kv, int layer)
{
    return um_kv_keys(kv, layer) + (size_t)kv->rows * (size_t)kv->width;
}

static void remove_run(um_kv *kv, int at)
{
    memmove(&kv->free[at], &kv->free[at + 1], (size_t)(kv->n_free - at - 1) * sizeof *kv->free);
    kv->n_free--;
}

bool um_kv_take(um_kv *kv, int n, um_range *out)
{
    /* Between n_taken runs lie at most n_taken + 1 free ones: room for the gives is made here, so
     * that giving cannot fail. */
    if (kv->n_taken + 2 > kv->cap_free) {
        um_range *grown = um_reallocarray(kv->free, 2 * (size_t)kv->cap_free, sizeof *grown);
        if (grown == NULL)
            return false;
        kv->free = grown;
        kv->cap_free *= 2;
    }
    for (int i = 0; i < kv->n_free; i++) {
        um_range *run = &kv->free[i];
        if (run->len < n)
            continue;
        *out = (um_range){run->start, n};
        run->start += n;
        run->len -= n;
        if (run->len == 0)
            remove_run(kv, i);
        kv->free_rows -= n;
        kv->n_taken++;
        return true;
    }
    return false;
}

void um_kv_give(um_kv *kv, um_range range)
{
    int at = 0;
    while (at < kv->n_free && kv->free[at].start < range.start)
        at++;
    bool joins_left = at > 0 && kv->free[at - 1].start + kv->free[at - 1].len == range.start;
    bool joins_right = at < kv->n_free && range.start + range.len == kv->free[at].start;
    kv->free_rows += range.len;
    kv->n_taken--;
    if (joins_left && joins_right) {
        kv->free[at - 1].len += range.len + kv->free[at].len;
        remove_run(kv, at);
    } else if (joins_left) {
        kv->free[at - 1].len += range.len;
    } else if (joins_right) {
        kv->free[at].start = range.start;
        kv->free[at].len += range.len;
    } else {
        memmove(&kv->free[at + 1], &kv->free[at], (size_t)(kv->n_free - at) * sizeof *kv->free);
        kv->free[at] = range;
        kv->n_free++;
    }
}
