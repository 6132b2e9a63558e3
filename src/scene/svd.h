/*
 * svd.h - truncated singular value decomposition of a sparse matrix.
 */
#ifndef UM_SCENE_SVD_H
#define UM_SCENE_SVD_H

#include <stdint.h>

#include "base/pool.h"
#include "mirrorer/status.h"

/* A = diag(row_scale) X diag(col_scale), X in compressed rows. Owns its arrays. */
typedef struct um_sparse {
    uint32_t n_rows, n_cols;
    uint64_t *start;   /* [n_rows + 1] */
    uint32_t *column;  /* [start[n_rows]], each at most once a row */
    float *value;      /* [start[n_rows]], or NULL: every stored entry is 1 */
    double *row_scale; /* [n_rows] */
    double *col_scale; /* [n_cols] */
} um_sparse;

/* Allocates everything but value (with_values allocates it too); nnz = start[n_rows] to be. */
um_status um_sparse_new(um_sparse *a, uint32_t n_rows, uint32_t n_cols, uint64_t nnz,
                        int with_values, um_error *err) UM_CHECKED;
void um_sparse_dispose(um_sparse *a);

/*
 * The leading right singular vectors of A, by subspace iteration from a random start (Halko,
 * Martinsson, Tropp, SIAM Review 53, 2011). *v is [n_cols][*rank], row-major, yours; *sigma is
 * [*rank], descending, yours. *rank on entry is what is wanted; on return what A has of it: values
 * below 1e-7 of the largest count as zero, so it may be 0 (then *v and *sigma are valid and empty).
 * The result does not depend on the pool's threads. UM_ERR_NUMERIC when A holds NaN or infinity.
 */
um_status um_svd_right(double **v, double **sigma, uint32_t *rank, const um_sparse *a,
                       uint64_t seed, uint64_t stream, um_pool *pool, um_error *err) UM_CHECKED;

#endif
