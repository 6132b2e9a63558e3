/*
 * svd.c - randomized truncated SVD.
 *
 * With A [m, n] and a block Q [n, p] of orthonormal columns, one step is Q <- qr(A^T (A Q)). After
 * the last step the p x p matrix (A Q)^T (A Q) = W diag(s^2) W^T gives V = Q W. The sparse products
 * are ours: each output row is summed by one thread in stored order. LAPACK does the thin QR and
 * the p x p eigenproblem, held to one thread so that its sums have one order too.
 */
#include "scene/svd.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/wide.h"

enum { LANES = 8, TILE = 5 * LANES, AHEAD = 4, OVERSAMPLING = 16, STEPS = 8 };

um_status um_sparse_new(um_sparse *a, uint32_t n_rows, uint32_t n_cols, uint64_t nnz,
                        int with_values, um_error *err)
{
    memset(a, 0, sizeof *a);
    a->n_rows = n_rows;
    a->n_cols = n_cols;
    a->start = um_calloc((size_t)n_rows + 1, sizeof *a->start);
    a->column = um_calloc(nnz, sizeof *a->column);
    a->row_scale = um_calloc(n_rows, sizeof *a->row_scale);
    a->col_scale = um_calloc(n_cols, sizeof *a->col_scale);
    if (with_values)
        a->value = um_calloc(nnz, sizeof *a->value);
    if (a->start == NULL || a->column == NULL || a->row_scale == NULL || a->col_scale == NULL ||
        (with_values && a->value == NULL)) {
        um_sparse_dispose(a);
        return um_fail_memory(err, "a sparse matrix");
    }
    return UM_OK;
}

void um_sparse_dispose(um_sparse *a)
{
    free(a->start);
    free(a->column);
    free(a->value);
    free(a->row_scale);
    free(a->col_scale);
    memset(a, 0, sizeof *a);
}

/* t = a^T. Rows of t list their columns in ascending order. */
static um_status transpose(um_sparse *t, const um_sparse *a, um_error *err)
{
    uint64_t nnz = a->start[a->n_rows];
    um_status status = um_sparse_new(t, a->n_cols, a->n_rows, nnz, a->value != NULL, err);
    if (status != UM_OK)
        return status;
    for (uint64_t e = 0; e < nnz; e++)
        t->start[a->column[e] + 1]++;
    for (uint32_t i = 0; i < t->n_rows; i++)
        t->start[i + 1] += t->start[i];
    for (uint32_t r = 0; r < a->n_rows; r++) {
        for (uint64_t e = a->start[r]; e < a->start[r + 1]; e++) {
            uint64_t to = t->start[a->column[e]]++;
            t->column[to] = r;
            if (a->value != NULL)
                t->value[to] = a->value[e];
        }
    }
    for (uint32_t i = t->n_rows; i > 0; i--)
        t->start[i] = t->start[i - 1];
    t->start[0] = 0;
    memcpy(t->row_scale, a->col_scale, a->n_cols * sizeof *t->row_scale);
    memcpy(t->col_scale, a->row_scale, a->n_rows * sizeof *t->col_scale);
    return UM_OK;
}

/* out[n_rows, ld] = A in[n_cols, ld]; ld is a multiple of LANES and its padding columns are zero.
 */
typedef struct product {
    const um_sparse *a;
    const double *in;
    double *out;
    size_t ld;
} product;

/*
 * n <= TILE columns of one output row, from column k on. The sums stay in registers, and the rows
 * of `in` that come AHEAD entries later are asked for: with millions of entries these loads, not
 * the arithmetic, are what a product costs.
 */
static inline __attribute__((always_inline)) void multiply_tile(const product *p, size_t r,
                                                                size_t k, size_t n)
{
    const um_sparse *a = p->a;
    uint64_t end = a->start[r + 1];
    double sum[TILE] = {0};
    for (uint64_t e = a->start[r]; e < end; e++) {
        uint32_t c = a->column[e], next = a->column[e + AHEAD < end ? e + AHEAD : e];
        double x = a->value != NULL ? (double)a->value[e] : 1.0;
        double w = a->row_scale[r] * x * a->col_scale[c];
        const double *restrict in = p->in + (size_t)c * p->ld + k;
        for (size_t j = 0; j < n; j += LANES)
            __builtin_prefetch(p->in + (size_t)next * p->ld + k + j);
        for (size_t j = 0; j < n; j++)
            sum[j] += w * in[j];
    }
    memcpy(p->out + r * p->ld + k, sum, n * sizeof *sum);
}

UM_WIDE static void multiply_rows(void *ctx, size_t begin, size_t end, int thread)
{
    (void)thread;
    const product *p = ctx;
    for (size_t r = begin; r < end; r++) {
        size_t k = 0;
        for (; k + TILE <= p->ld; k += TILE)
            multiply_tile(p, r, k, TILE);
        for (; k < p->ld; k += LANES)
            multiply_tile(p, r, k, LANES);
    }
}

static void multiply(um_pool *pool, double *out, const um_sparse *a, const double *in, size_t ld)
{
    product p = {a, in, out, ld};
    um_pool_run(pool, a->n_rows, 1, multiply_rows, &p);
}

/* gram[ld, ld] = Y^T Y, one output row a call, rows of Y in order. */
typedef struct gram_job {
    const double *y;
    double *gram;
    size_t n_rows, ld;
} gram_job;

UM_WIDE static void gram_rows(void *ctx, size_t begin, size_t end, int thread)
{
    (void)thread;
    const gram_job *g = ctx;
    for (size_t i = begin; i < end; i++) {
        double *restrict out = g->gram + i * g->ld;
        memset(out, 0, g->ld * sizeof *out);
        for (size_t r = 0; r < g->n_rows; r++) {
            const double *restrict y = g->y + r * g->ld;
            double w = y[i];
            if (w == 0.0)
                continue;
            for (size_t k = 0; k < g->ld; k += LANES)
                for (size_t j = 0; j < LANES; j++)
                    out[k + j] += w * y[k + j];
        }
    }
}

static um_status lapack_status(lapack_int info, const char *what, um_error *err)
{
    if (info == 0)
        return UM_OK;
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return um_fail_memory(err, what);
    return um_fail(err, UM_ERR_NUMERIC,
                   "%s: LAPACK stopped with code %d; the matrix holds NaN or "
                   "infinity, or does not converge",
                   what, (int)info);
}

/* Q[n, ld] <- orthonormal basis of its first p columns. */
static um_status orthonormalise(double *q, size_t n, size_t p, size_t ld, double *tau,
                                um_error *err)
{
    lapack_int rows = (lapack_int)n, columns = (lapack_int)p, stride = (lapack_int)ld;
    lapack_int info = LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, rows, columns, q, stride, tau);
    if (info == 0)
        info = LAPACKE_dorgqr(LAPACK_ROW_MAJOR, rows, columns, columns, q, stride, tau);
    return lapack_status(info, "QR of the subspace", err);
}

static void start_block(double *q, size_t n, size_t p, size_t ld, uint64_t seed, uint64_t stream)
{
    for (size_t i = 0; i < n; i++) {
        um_rng r;
        um_rng_init(&r, seed, UM_RNG_SVD, stream, i, 0);
        for (size_t k = 0; k < p; k++)
            q[i * ld + k] = um_rng_normal(&r);
    }
}

/* V[n, rank] = Q[n, p] W, where column k of W is eigenvector p - 1 - k (LAPACK sorts ascending). */
static void rotate_basis(double *v, const double *q, const double *w, size_t n, size_t p, size_t ld,
                         size_t rank)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < rank; k++) {
            double sum = 0.0;
            for (size_t j = 0; j < p; j++)
                sum += q[i * ld + j] * w[j * ld + (p - 1 - k)];
            v[i * rank + k] = sum;
        }
}

static um_status iterate(double *q, double *y, double *tau, size_t p, size_t ld, const um_sparse *a,
                         const um_sparse *t, um_pool *pool, um_error *err)
{
    um_status status = orthonormalise(q, a->n_cols, p, ld, tau, err);
    for (int step = 0; status == UM_OK && step < STEPS; step++) {
        multiply(pool, y, a, q, ld);
        multiply(pool, q, t, y, ld);
        status = orthonormalise(q, a->n_cols, p, ld, tau, err);
    }
    multiply(pool, y, a, q, ld);
    return status;
}

um_status um_svd_right(double **v, double **sigma, uint32_t *rank, const um_sparse *a,
                       uint64_t seed, uint64_t stream, um_pool *pool, um_error *err)
{
    size_t n = a->n_cols, m = a->n_rows;
    size_t limit = n < m ? n : m;
    size_t p = (size_t)*rank + OVERSAMPLING < limit ? (size_t)*rank + OVERSAMPLING : limit;
    size_t ld = (p + LANES - 1) / LANES * LANES;
    um_sparse t = {0};
    double *q = um_aligned_calloc(n, ld * sizeof *q);
    double *y = um_aligned_calloc(m, ld * sizeof *y);
    double *gram = um_aligned_calloc(ld, ld * sizeof *gram);
    double *tau = um_calloc(ld, sizeof *tau);
    double *vectors = um_calloc(n, (*rank < p ? *rank : p) * sizeof *vectors);
    double *values = um_calloc(p, sizeof *values);
    int blas_threads = openblas_get_num_threads();
    openblas_set_num_threads(1);
    um_status status = UM_OK;
    if (q == NULL || y == NULL || gram == NULL || tau == NULL || vectors == NULL ||
        values == NULL) {
        status = um_fail_memory(err, "a singular value decomposition");
        goto done;
    }
    if (p == 0) {
        *rank = 0;
        goto take;
    }
    if ((status = transpose(&t, a, err)) != UM_OK)
        goto done;
    start_block(q, n, p, ld, seed, stream);
    if ((status = iterate(q, y, tau, p, ld, a, &t, pool, err)) != UM_OK)
        goto done;
    gram_job job = {y, gram, m, ld};
    um_pool_run(pool, p, 1, gram_rows, &job);
    lapack_int info =
        LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'V', 'U', (lapack_int)p, gram, (lapack_int)ld, tau);
    if ((status = lapack_status(info, "eigenvectors of the subspace", err)) != UM_OK)
        goto done;
    size_t kept = 0;
    for (size_t k = 0; k < p && k < *rank && tau[p - 1 - k] > 1e-14 * tau[p - 1]; k++)
        values[kept++] = sqrt(tau[p - 1 - k]);
    rotate_basis(vectors, q, gram, n, p, ld, kept);
    *rank = (uint32_t)kept;
take:
    *v = vectors;
    *sigma = values;
    vectors = values = NULL;
done:
    openblas_set_num_threads(blas_threads);
    um_sparse_dispose(&t);
    free(q);
    free(y);
    free(gram);
    free(tau);
    free(vectors);
    free(values);
    return status;
}
