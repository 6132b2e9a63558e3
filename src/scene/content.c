/*
 * content.c - item vectors from their descriptions.
 *
 * A word is a run of ASCII letters, digits and bytes >= 0x80 (so any script), ASCII lower-cased.
 * Its weight in an item is (1 + ln tf) (ln((1 + N) / (1 + df)) + 1), rows scaled to length 1
 * (Salton and Buckley, Information Processing & Management 24, 1988). Words of a single item relate
 * nothing and are left out before the scaling.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "scene/rank.h"
#include "scene/svd.h"

enum { SVD_STREAM_CONTENT = 2, MAX_WORD_BYTES = 64 };

/* Words of all items: those of item i are word[start[i] .. start[i + 1]), repeats kept. */
typedef struct corpus {
    um_map map;
    um_arena arena;
    UM_VEC(uint32_t) word;
    UM_VEC(uint32_t) df; /* a word */
    uint64_t *start;     /* [n_items + 1] */
} corpus;

static void corpus_dispose(corpus *c)
{
    um_map_dispose(&c->map);
    um_arena_dispose(&c->arena);
    um_vec_dispose(&c->word);
    um_vec_dispose(&c->df);
    free(c->start);
}

static bool is_word_byte(unsigned char c)
{
    return c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool add_word(corpus *c, const char *text)
{
    uint32_t id;
    if (!um_map_get(&c->map, text, &id)) {
        char *key = um_arena_strdup(&c->arena, text);
        id = (uint32_t)c->df.len;
        if (key == NULL || !um_map_put(&c->map, key, id, NULL) || !um_vec_push(&c->df, 0u))
            return false;
    }
    return um_vec_push(&c->word, id);
}

/* Longer words than MAX_WORD_BYTES are known by their beginning. */
static bool add_text(corpus *c, const char *text)
{
    char word[MAX_WORD_BYTES + 1];
    size_t len = 0;
    for (;; text++) {
        unsigned char ch = (unsigned char)*text;
        if (is_word_byte(ch)) {
            if (len < MAX_WORD_BYTES)
                word[len++] = (char)(ch >= 'A' && ch <= 'Z' ? ch - 'A' + 'a' : ch);
            continue;
        }
        word[len] = '\0';
        if (len > 0 && !add_word(c, word))
            return false;
        len = 0;
        if (ch == '\0')
            return true;
    }
}

static um_status read_corpus(corpus *c, const um_dataset *d, um_error *err)
{
    c->start = um_calloc((size_t)d->items.n_rows + 1, sizeof *c->start);
    if (c->start == NULL)
        return um_fail_memory(err, "item words");
    for (uint32_t i = 0; i < d->items.n_rows; i++) {
        for (uint32_t column = 0; column < d->items.n_columns; column++) {
            const char *text = um_table_cell(&d->items, i, (int)column);
            if (text != NULL && d->items.kinds[column] == UM_COLUMN_DESCRIPTION &&
                !add_text(c, text))
                return um_fail_memory(err, "item words");
        }
        c->start[i + 1] = c->word.len;
        size_t n = (size_t)(c->start[i + 1] - c->start[i]);
        uint32_t *words = n > 0 ? c->word.data + c->start[i] : NULL;
        if (n > 0)
            qsort(words, n, sizeof *words, um_compare_u32);
        for (size_t w = 0; w < n; w++)
            if (w == 0 || words[w] != words[w - 1])
                c->df.data[words[w]]++;
    }
    return UM_OK;
}

/* Runs of equal words become entries (1 + ln tf); words of one item only are skipped. */
static um_status weigh(um_sparse *x, const corpus *c, uint32_t n_items, um_error *err)
{
    um_status status = um_sparse_new(x, n_items, (uint32_t)c->df.len, c->word.len, 1, err);
    if (status != UM_OK)
        return status;
    for (size_t w = 0; w < c->df.len; w++)
        x->col_scale[w] = log((1.0 + n_items) / (1.0 + c->df.data[w])) + 1.0;
    uint64_t n = 0;
    for (uint32_t i = 0; i < n_items; i++) {
        double squares = 0.0;
        uint64_t end = c->start[i + 1];
        for (uint64_t w = c->start[i], run; w < end; w = run) {
            uint32_t word = c->word.data[w];
            for (run = w + 1; run < end && c->word.data[run] == word; run++)
                continue;
            if (c->df.data[word] < 2)
                continue;
            float tf = (float)(1.0 + log((double)(run - w)));
            double weight = (double)tf * x->col_scale[word];
            squares += weight * weight;
            x->column[n] = word;
            x->value[n++] = tf;
        }
        x->start[i + 1] = n;
        x->row_scale[i] = squares > 0.0 ? 1.0 / sqrt(squares) : 0.0;
    }
    return UM_OK;
}

/* f->in = rows of X V scaled to length 1, f->out their transpose. */
static void embed(um_factors *f, const um_sparse *x, const double *v)
{
    for (uint32_t i = 0; i < f->n_items; i++) {
        double *row = f->in + (size_t)i * f->rank;
        for (uint64_t e = x->start[i]; e < x->start[i + 1]; e++) {
            uint32_t word = x->column[e];
            double w = x->row_scale[i] * (double)x->value[e] * x->col_scale[word];
            for (uint32_t k = 0; k < f->rank; k++)
                row[k] += w * v[(size_t)word * f->rank + k];
        }
        double squares = 0.0;
        for (uint32_t k = 0; k < f->rank; k++)
            squares += row[k] * row[k];
        double scale = squares > 1e-20 ? 1.0 / sqrt(squares) : 0.0;
        for (uint32_t k = 0; k < f->rank; k++) {
            row[k] *= scale;
            f->out[k * f->stride + i] = row[k];
        }
    }
}

um_status um_content_factors(um_factors *f, const um_dataset *dataset, uint32_t rank, uint64_t seed,
                             um_pool *pool, um_error *err)
{
    corpus c = {0};
    um_sparse x = {0};
    double *v = NULL, *sigma = NULL;
    um_status status = read_corpus(&c, dataset, err);
    if (status == UM_OK)
        status = weigh(&x, &c, dataset->items.n_rows, err);
    if (status == UM_OK)
        status = um_svd_right(&v, &sigma, &rank, &x, seed, SVD_STREAM_CONTENT, pool, err);
    if (status == UM_OK)
        status = um_factors_new(f, rank, dataset->items.n_rows, err);
    if (status == UM_OK)
        embed(f, &x, v);
    corpus_dispose(&c);
    um_sparse_dispose(&x);
    free(v);
    free(sigma);
    return status;
}
