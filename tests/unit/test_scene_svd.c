/* The randomized SVD and what is built on it, against LAPACK's dense SVD and direct formulas. */
#include <lapacke.h>

#include "scene/rank.h"
#include "scene/svd.h"
#include "scene_log.h"

enum { ROWS = 40, COLUMNS = 25, RANK = 6 };

/* A random sparse matrix and its dense copy. */
static void random_matrix(um_sparse *a, double *dense, uint32_t rows, uint32_t columns)
{
    um_error err;
    um_rng r;
    um_rng_init(&r, 3, UM_RNG_TEST, rows, columns, 0);
    assert_ok(um_sparse_new(a, rows, columns, (uint64_t)rows * columns, 1, &err), err);
    for (uint32_t c = 0; c < columns; c++)
        a->col_scale[c] = 0.5 + um_rng_uniform(&r);
    uint64_t n = 0;
    for (uint32_t i = 0; i < rows; i++) {
        a->row_scale[i] = 0.5 + um_rng_uniform(&r);
        for (uint32_t c = 0; c < columns; c++) {
            dense[i * columns + c] = 0.0;
            if (um_rng_uniform(&r) > 0.3)
                continue;
            a->column[n] = c;
            a->value[n] = (float)um_rng_normal(&r);
            dense[i * columns + c] = a->row_scale[i] * (double)a->value[n] * a->col_scale[c];
            n++;
        }
        a->start[i + 1] = n;
    }
}

/* Leading right singular vectors by dgesdd: vt is [min][columns]. */
static void dense_svd(double *s, double *vt, const double *dense, int rows, int columns)
{
    int n = rows < columns ? rows : columns;
    double *copy = malloc((size_t)rows * columns * sizeof *copy);
    double *u = malloc((size_t)rows * n * sizeof *u);
    memcpy(copy, dense, (size_t)rows * columns * sizeof *copy);
    assert_int_equal(
        LAPACKE_dgesdd(LAPACK_ROW_MAJOR, 'S', rows, columns, copy, columns, s, u, n, vt, columns),
        0);
    free(copy);
    free(u);
}

/* Projector sum_k v_k v_k^T at (i, j): free of signs and of rotations within equal values. */
static double projector(const double *v, int rank, int i, int j, int k_stride, int i_stride)
{
    double sum = 0.0;
    for (int k = 0; k < rank; k++)
        sum += v[k * k_stride + i * i_stride] * v[k * k_stride + j * i_stride];
    return sum;
}

static void truncated_equals_dense(void **state)
{
    (void)state;
    um_error err;
    um_sparse a;
    static double dense[ROWS * COLUMNS], s[COLUMNS], vt[COLUMNS * COLUMNS];
    random_matrix(&a, dense, ROWS, COLUMNS);
    dense_svd(s, vt, dense, ROWS, COLUMNS);
    double *v, *sigma;
    uint32_t rank = RANK;
    assert_ok(um_svd_right(&v, &sigma, &rank, &a, 1, 1, NULL, &err), err);
    assert_int_equal(rank, RANK);
    for (int k = 0; k < RANK; k++)
        assert_close(sigma[k], s[k], 1e-9);
    for (int i = 0; i < COLUMNS; i++)
        for (int j = 0; j < COLUMNS; j++)
            assert_close(projector(v, RANK, i, j, 1, RANK), projector(vt, RANK, i, j, COLUMNS, 1),
                         1e-8);
    free(v);
    free(sigma);
    um_sparse_dispose(&a);
}

/* Wide enough that the random block is smaller than the matrix. */
static void subspace_converges(void **state)
{
    (void)state;
    enum { M = 150, N = 120 };
    um_error err;
    um_sparse a;
    static double dense[M * N], s[N], vt[N * N];
    random_matrix(&a, dense, M, N);
    dense_svd(s, vt, dense, M, N);
    double *v, *sigma;
    uint32_t rank = RANK;
    assert_ok(um_svd_right(&v, &sigma, &rank, &a, 1, 1, NULL, &err), err);
    for (int k = 0; k < RANK; k++)
        assert_close(sigma[k], s[k], 1e-3 * s[0]);
    free(v);
    free(sigma);
    um_sparse_dispose(&a);
}

static void rank_is_cut_to_what_is_there(void **state)
{
    (void)state;
    um_error err;
    um_sparse a;
    assert_ok(um_sparse_new(&a, 6, 4, 6, 0, &err), err);
    for (uint32_t i = 0; i < 6; i++) {
        a.start[i + 1] = i + 1;
        a.column[i] = i % 2; /* two distinct rows: rank 2 */
        a.row_scale[i] = 1.0;
    }
    for (uint32_t c = 0; c < 4; c++)
        a.col_scale[c] = 1.0;
    double *v, *sigma;
    uint32_t rank = 3;
    assert_ok(um_svd_right(&v, &sigma, &rank, &a, 1, 1, NULL, &err), err);
    assert_int_equal(rank, 2);
    assert_close(sigma[0], sqrt(3.0), 1e-12);
    free(v);
    free(sigma);
    for (uint32_t i = 0; i < 6; i++)
        a.row_scale[i] = 0.0;
    rank = 3;
    assert_ok(um_svd_right(&v, &sigma, &rank, &a, 1, 1, NULL, &err), err);
    assert_int_equal(rank, 0);
    free(v);
    free(sigma);
    a.row_scale[0] = NAN;
    rank = 3;
    assert_int_equal(um_svd_right(&v, &sigma, &rank, &a, 1, 1, NULL, &err), UM_ERR_NUMERIC);
    um_sparse_dispose(&a);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    um_error err;
    um_sparse a;
    static double dense[ROWS * COLUMNS];
    random_matrix(&a, dense, ROWS, COLUMNS);
    double *v[2], *sigma[2];
    for (int i = 0; i < 2; i++) {
        um_pool *pool = NULL;
        uint32_t rank = RANK;
        assert_ok(um_pool_new(&pool, 1 + 2 * i, &err), err);
        assert_ok(um_svd_right(&v[i], &sigma[i], &rank, &a, 1, 1, pool, &err), err);
        um_pool_free(pool);
    }
    assert_memory_equal(v[0], v[1], COLUMNS * RANK * sizeof(double));
    for (int i = 0; i < 2; i++) {
        free(v[i]);
        free(sigma[i]);
    }
    um_sparse_dispose(&a);
}

/* Scores of the filter by its formula over a dense R, with user 0's row as the query. */
static void direct_scores(double *scores, const um_dataset *d, const bool *used, uint64_t left_out,
                          int rank, bool compat)
{
    int m = (int)d->users.n_rows, n = (int)d->items.n_rows, min = m < n ? m : n;
    double *r = calloc((size_t)m * n, sizeof *r), *du = calloc(m, sizeof *du);
    double *di = calloc(n, sizeof *di), *s = calloc(min, sizeof *s);
    double *vt = calloc((size_t)n * n, sizeof *vt), *known = calloc(n, sizeof *known);
    for (int u = 0; u < m; u++)
        for (uint64_t i = d->user_start[u]; i < d->user_start[u + 1]; i++)
            if (used[u])
                r[u * n + (int)d->item[i]] = 1.0;
    for (uint32_t u = 0; u < d->users.n_rows; u++)
        if (left_out >= d->user_start[u] && left_out < d->user_start[u + 1])
            r[u * n + d->item[left_out]] = 0.0;
    for (int u = 0; u < m; u++)
        for (int i = 0; i < n; i++) {
            du[u] += r[u * n + i];
            di[i] += r[u * n + i];
        }
    for (int u = 0; u < m; u++)
        for (int i = 0; i < n; i++)
            if (r[u * n + i] > 0.0)
                r[u * n + i] /= sqrt(du[u]) * sqrt(di[i]);
    dense_svd(s, vt, r, m, n);
    for (uint64_t i = d->user_start[0]; i < d->user_start[1]; i++)
        known[d->item[i]] = 1.0;
    for (int i = 0; i < n; i++) {
        scores[i] = 0.0;
        for (int j = 0; j < n; j++)
            if (known[j] > 0.0 && di[j] > 0.0)
                scores[i] += (compat ? sqrt(di[j]) : 1.0 / sqrt(di[j])) * sqrt(di[i]) *
                             projector(vt, rank, i, j, n, 1);
    }
    free(r);
    free(du);
    free(di);
    free(s);
    free(vt);
    free(known);
}

static void spectral_equals_its_formula(void **state)
{
    (void)state;
    const log_shape shape = {.users = 30, .items = 20, .max_interactions = 14, .days = 90};
    um_error err;
    for (int compat = 0; compat < 2; compat++) {
        um_dataset *d = random_log(15, &shape);
        bool used[30];
        for (int u = 0; u < 30; u++)
            used[u] = u % 5 != 4;
        uint64_t left_out = d->user_start[2];
        assert_true(d->user_start[3] > left_out && d->user_start[1] > 0);
        double expected[20];
        direct_scores(expected, d, used, left_out, 4, compat != 0);
        um_factors f;
        assert_ok(um_spectral_factors(&f, d, used, INT64_MAX, &left_out, 1, 4, compat != 0, 1, NULL,
                                      &err),
                  err);
        double query[4] = {0};
        float *scores = calloc(f.stride, sizeof *scores);
        bool seen[20] = {false};
        for (uint64_t i = d->user_start[0]; i < d->user_start[1]; i++) {
            if (!seen[d->item[i]])
                um_factors_add(&f, query, d->item[i]);
            seen[d->item[i]] = true;
        }
        um_factors_score(&f, query, 1, scores);
        for (int i = 0; i < 20; i++)
            assert_close(scores[i], expected[i], 1e-5);
        free(scores);
        um_factors_dispose(&f);
        um_dataset_free(d);
    }
}

static void content_ranks_by_words(void **state)
{
    (void)state;
    static const char *const texts[] = {"dark space opera about a lost ship",
                                        "A LOST SHIP in DARK SPACE",
                                        "Baking bread at home",
                                        "bread and home BAKING, slowly",
                                        "space bread",
                                        "unrelatedword",
                                        "\xe5\xae\x87\xe5\xae\x99 lost",
                                        "\xe5\xae\x87\xe5\xae\x99 slowly"};
    um_error err;
    um_dataset_builder *b = new_builder("t");
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char id[8];
        snprintf(id, sizeof id, "%zu", i);
        describe(b, add_item(b, id), "text", texts[i]);
    }
    um_dataset *d = finish(b);
    um_factors f;
    assert_ok(um_content_factors(&f, d, 8, 1, NULL, &err), err);
    float scores[8][UM_FACTOR_BLOCK];
    for (uint32_t i = 0; i < 8; i++) {
        double query[8] = {0};
        um_factors_add(&f, query, i);
        um_factors_score(&f, query, 1, scores[i]);
    }
    for (int i = 0; i < 8; i++)
        assert_close(scores[i][i], i == 5 ? 0.0 : 1.0, 1e-6);
    assert_true(scores[0][1] > 0.6f && scores[0][1] > scores[0][4]);
    assert_true(scores[2][3] > 0.6f && scores[2][3] > scores[2][4]);
    assert_true(scores[0][2] < 0.2f);
    assert_true(scores[6][7] > 0.3f); /* words of other scripts count */
    um_factors_dispose(&f);
    um_dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncated_equals_dense),       cmocka_unit_test(subspace_converges),
        cmocka_unit_test(rank_is_cut_to_what_is_there), cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(spectral_equals_its_formula),  cmocka_unit_test(content_ranks_by_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
