/*
 * pool.h - a fixed set of threads that run index ranges.
 *
 * um_pool_run splits [0, n) into n_threads contiguous ranges in order and calls fn(ctx, begin, end,
 * thread) once per non-empty range, then waits. Work whose result depends on the split must not be
 * given to it: each output element is computed by exactly one call in a fixed order.
 * Nested calls run inline and keep the thread number of the range they are in, so scratch indexed
 * by it stays private. One caller at a time.
 */
#ifndef UM_BASE_POOL_H
#define UM_BASE_POOL_H

#include "mirrorer/status.h"
#include <stddef.h>

typedef struct um_pool um_pool;
typedef void (*um_pool_fn)(void *ctx, size_t begin, size_t end, int thread);

/* threads <= 0: the number of CPUs this process may run on. The calling thread is one of them. */
um_status um_pool_new(um_pool **out, int threads, um_error *err) UM_CHECKED;
void um_pool_free(um_pool *pool);
int um_pool_threads(const um_pool *pool); /* 1 for NULL */
/* NULL pool runs inline. min_chunk: ranges are multiples of it (last may be short); 0 means 1. */
void um_pool_run(um_pool *pool, size_t n, size_t min_chunk, um_pool_fn fn, void *ctx);

#endif
