#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "scene/rank.h"
#include "scene/svd.h"

enum { SVD_STREAM_SPECTRAL = 1 };

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The rows of R: each used user's distinct items before before_s, less those of a left-out
 * interaction. A left-out pair goes whole: another interaction of the same user with the item would
 * tell the answer too. */
static void fill_rows(um_sparse *r, const um_dataset *d, const bool *user_used, int64_t before_s,
                      const uint64_t *left_out, size_t n_left_out, uint32_t *mark)
{
    uint64_t n = 0;
    size_t skip = 0;
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        uint64_t begin = d->user_start[u], end = d->user_start[u + 1];
        /* Marks are u + 1, so a mark of this user means "left out or already there". */
        for (; skip < n_left_out && left_out[skip] < end; skip++)
            if (left_out[skip] >= begin)
                mark[d->item[left_out[skip]]] = u + 1;
        for (uint64_t i = begin; user_used[u] && i < end && d->time_s[i] < before_s; i++) {
            if (mark[d->item[i]] == u + 1)
                continue;
            mark[d->item[i]] = u + 1;
            r->column[n++] = d->item[i];
        }
        r->start[u + 1] = n;
    }
}

/* row_scale = D_u^-1/2, col_scale = D_i^-1/2; 0 for rows and columns without entries. */
static void set_scales(um_sparse *r)
{
    for (uint32_t u = 0; u < r->n_rows; u++) {
        uint64_t degree = r->start[u + 1] - r->start[u];
        r->row_scale[u] = degree > 0 ? 1.0 / sqrt((double)degree) : 0.0;
    }
    for (uint64_t e = 0; e < r->start[r->n_rows]; e++)
        r->col_scale[r->column[e]] += 1.0;
    for (uint32_t i = 0; i < r->n_cols; i++)
        r->col_scale[i] = r->col_scale[i] > 0.0 ? 1.0 / sqrt(r->col_scale[i]) : 0.0;
}

static void set_factors(um_factors *f, const double *v, const double *inverse_root, bool compat)
{
    for (uint32_t i = 0; i < f->n_items; i++) {
        double root = inverse_root[i] > 0.0 ? 1.0 / inverse_root[i] : 0.0;
        for (uint32_t k = 0; k < f->rank; k++) {
            double x = v[(size_t)i * f->rank + k];
            f->in[(size_t)i * f->rank + k] = x * (compat ? root : inverse_root[i]);
            f->out[k * f->stride + i] = x * root;
        }
    }
}

um_status um_spectral_factors(um_factors *f, const um_dataset *dataset, const bool *user_used,
                              int64_t before_s, const uint64_t *left_out, size_t n_left_out,
                              uint32_t rank, bool compat, uint64_t seed, um_pool *pool,
                              um_error *err)
{
    um_sparse r = {0};
    double *v = NULL, *sigma = NULL;
    uint32_t n_items = dataset->items.n_rows;
    uint32_t *mark = um_calloc(n_items, sizeof *mark);
    uint64_t *sorted = um_calloc(n_left_out, sizeof *sorted);
    um_status status = UM_OK;
    if (mark == NULL || sorted == NULL) {
        status = um_fail_memory(err, "the interaction matrix");
        goto done;
    }
    if (n_left_out > 0) {
        memcpy(sorted, left_out, n_left_out * sizeof *sorted);
        qsort(sorted, n_left_out, sizeof *sorted, compare_u64);
    }
    status = um_sparse_new(&r, dataset->users.n_rows, n_items, dataset->n_interactions, 0, err);
    if (status != UM_OK)
        goto done;
    fill_rows(&r, dataset, user_used, before_s, sorted, n_left_out, mark);
    set_scales(&r);
    status = um_svd_right(&v, &sigma, &rank, &r, seed, SVD_STREAM_SPECTRAL, pool, err);
    if (status == UM_OK)
        status = um_factors_new(f, rank, n_items, err);
    if (status == UM_OK)
        set_factors(f, v, r.col_scale, compat);
done:
    um_sparse_dispose(&r);
    free(mark);
    free(sorted);
    free(v);
    free(sigma);
    return status;
}
