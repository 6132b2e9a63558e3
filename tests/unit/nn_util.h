/* nn_util.h - what the backend tests share: opening every backend, random arrays, comparisons. */
#ifndef UM_NN_TEST_UTIL_H
#define UM_NN_TEST_UTIL_H

#include <math.h>

#include "base/mem.h"
#include "base/rng.h"
#include "nn/backend.h"
#include "test_util.h"

#define MAX_BACKENDS 6

/* Every backend of this machine; the last one is cpu-ref. */
typedef struct backend_set {
    um_pool *pool;
    um_backend *be[MAX_BACKENDS];
    int n;
} backend_set;

static inline backend_set open_backends(int threads)
{
    backend_set s = {0};
    um_error err;
    assert_ok(um_pool_new(&s.pool, threads, &err), err);
    for (const char *const *name = um_backend_names(); *name != NULL; name++) {
        assert_in_range(s.n, 0, MAX_BACKENDS - 1);
        assert_ok(um_backend_open(&s.be[s.n], *name, s.pool, &err), err);
        s.n++;
    }
    return s;
}

static inline void close_backends(backend_set *s)
{
    for (int i = 0; i < s->n; i++)
        um_backend_close(s->be[i]);
    um_pool_free(s->pool);
}

/* Every array ends at the end of its allocation, so that a sanitizer sees one float too many. */
static inline float *new_floats(size_t n)
{
    float *p = malloc(n > 0 ? n * sizeof *p : 1);
    assert_non_null(p);
    memset(p, 0, n * sizeof *p);
    return p;
}

static inline float *copy_floats(const float *from, size_t n)
{
    float *p = new_floats(n);
    memcpy(p, from, n * sizeof *p);
    return p;
}

static inline double *to_doubles(const float *from, size_t n)
{
    double *p = malloc(n > 0 ? n * sizeof *p : 1);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (double)from[i];
    return p;
}

static inline float *random_floats(size_t n, uint64_t key)
{
    um_rng rng;
    um_rng_init(&rng, 1, UM_RNG_TEST, key, n, 0);
    float *p = new_floats(n);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)um_rng_normal(&rng);
    return p;
}

/* |got - want| / |want| over the whole array. */
static inline double relative_error(const float *got, const double *want, size_t n)
{
    double difference = 0.0, size = 0.0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)got[i] - want[i];
        difference += d * d;
        size += want[i] * want[i];
    }
    return size > 0.0 ? sqrt(difference / size) : sqrt(difference);
}

static inline void check_near(const char *what, const um_backend *be, const float *got,
                              const double *want, size_t n, double tolerance)
{
    double e = relative_error(got, want, n);
    if (!(e <= tolerance))
        fail_msg("%s of %s: relative error %g, limit %g", what, be->name, e, tolerance);
}

static inline void check_near_f(const char *what, const um_backend *be, const float *got,
                                const float *want, size_t n, double tolerance)
{
    double *w = to_doubles(want, n);
    check_near(what, be, got, w, n, tolerance);
    free(w);
}

static inline void check_bits(const char *what, const um_backend *be, const float *got,
                              const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&got[i], &want[i], sizeof got[i]) != 0)
            fail_msg("%s of %s: element %zu is %.9g, expected the same bits as %.9g", what,
                     be->name, i, (double)got[i], (double)want[i]);
    }
}

/*
 * Compares grad[i] with the central difference of f at x[i] for every i (or about 64 of them).
 * f is a double-precision forward pass, a weighted sum of its outputs; x is put back.
 */
typedef double (*scalar_fn)(const void *ctx);

static inline void check_gradient(const char *what, const um_backend *be, const float *grad,
                                  double *x, size_t n, scalar_fn f, const void *ctx)
{
    const size_t step = n / 64 + 1;
    double difference = 0.0, size = 0.0;
    for (size_t i = 0; i < n; i += step) {
        const double at = x[i], h = 1e-5;
        x[i] = at + h;
        double above = f(ctx);
        x[i] = at - h;
        double below = f(ctx);
        x[i] = at;
        double want = (above - below) / (2.0 * h);
        difference += ((double)grad[i] - want) * ((double)grad[i] - want);
        size += want * want;
    }
    double e = sqrt(difference / (size > 0.0 ? size : 1.0));
    if (!(e <= 2e-6))
        fail_msg("%s of %s: differs from finite differences by %g", what, be->name, e);
}

#endif
