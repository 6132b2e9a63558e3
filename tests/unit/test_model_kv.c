/* Pages of keys and values: what is found, shared, copied, promised and given up; every sequence
 * reads its own keys whatever else happens. */
#include "test_util.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/kv.h"

enum { P = UM_KV_PAGE, WIDTH = 4, MOST = 8 * P };

static const um_model_config config = {.layers = 2, .kv_heads = 1, .head_dim = WIDTH};

typedef struct fixture {
    um_backend *backend;
    um_kv kv;
    um_kv_cache plain; /* one page after the other */
} fixture;

static void open_pages(fixture *f, int pages)
{
    um_error err;
    um_kv one;
    assert_ok(um_kv_init(&one, f->backend, &config, UM_F32, 1 << 20, &err), err);
    const uint64_t bytes = (uint64_t)one.cache.page_bytes * 2;
    um_kv_dispose(&one);
    assert_ok(
        um_kv_init(&f->kv, f->backend, &config, UM_F32, (uint64_t)pages * bytes + bytes / 2, &err),
        err);
    assert_int_equal(f->kv.cache.pages, pages);
}

static int set_up(void **state)
{
    fixture *f = um_calloc(1, sizeof *f);
    um_error err;
    assert_ok(um_backend_open(&f->backend, "cpu-ref", NULL, &err), err);
    assert_ok(f->backend->ops->kv_open(f->backend, &f->plain, UM_F32, 1, MOST / P, 1, WIDTH, &err),
              err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    f->backend->ops->kv_close(f->backend, &f->plain);
    um_kv_dispose(&f->kv);
    um_backend_close(f->backend);
    free(f);
    return 0;
}

/* Tokens 0, 1, .. from `from` on: equal in two sequences where the numbers are. */
static const int32_t *tokens(int32_t *out, int from)
{
    for (int i = 0; i < MOST; i++)
        out[i] = from + i;
    return out;
}

/* Appends and counts as computed. */
static void append(fixture *f, um_kv_sequence *s, const int32_t *ids, int n)
{
    um_kv_append(&f->kv, s, ids, n);
    um_kv_computed(&f->kv);
}

/* Leaves n tokens of ids behind. */
static void leave(fixture *f, const int32_t *ids, int n)
{
    um_kv_sequence s = {0};
    assert_true(um_kv_begin(&f->kv, &s, ids, n, um_kv_pages_of(n)));
    append(f, &s, ids + s.len, n - s.len);
    um_kv_end(&f->kv, &s);
    um_kv_sequence_dispose(&s);
}

static void test_found(void **state)
{
    fixture *f = *state;
    int32_t a[MOST], b[MOST];
    open_pages(f, 20);
    tokens(a, 0);
    assert_int_equal(um_kv_find(&f->kv, a, 150), 0);
    leave(f, a, 150);
    /* All of it, less of it, and up to where another text parts. */
    assert_int_equal(um_kv_find(&f->kv, a, 150), 150);
    assert_int_equal(um_kv_find(&f->kv, a, 200), 150);
    for (int n = 0; n <= 150; n++)
        assert_int_equal(um_kv_find(&f->kv, a, n), n);
    for (int at = 0; at < 150; at++) {
        tokens(b, 0);
        b[at] = -1;
        assert_int_equal(um_kv_find(&f->kv, b, 150), at);
    }
    /* Nothing is kept twice. */
    leave(f, a, 150);
    leave(f, a, 100);
    leave(f, a, 128);
    assert_int_equal(f->kv.n_held, 0);
    assert_int_equal(f->kv.n_promised, 0);
    assert_true(f->kv.n_touched <= 5); /* three pages, and those freed again */
}

static void test_shared(void **state)
{
    fixture *f = *state;
    int32_t a[MOST];
    um_kv_sequence first = {0}, second = {0}, third = {0};
    open_pages(f, 20);
    tokens(a, 0);
    assert_true(um_kv_begin(&f->kv, &first, a, 199, 5));
    assert_int_equal(first.len, 0);
    um_kv_append(&f->kv, &first, a, 150);
    /* Its full pages can be shared while they are being computed; the last cannot be copied. */
    assert_true(um_kv_begin(&f->kv, &second, a, 150, 5));
    assert_int_equal(second.len, 2 * P);
    assert_int_equal(second.n_pages, 2);
    assert_memory_equal(second.pages, first.pages, 2 * sizeof *first.pages);
    um_kv_append(&f->kv, &second, a + 2 * P, 50);
    um_kv_computed(&f->kv);
    assert_int_equal(f->kv.n_held, 4);
    /* The second fills its third page, the first fills an equal one: one remains. */
    append(f, &second, a + second.len, 20);
    append(f, &first, a + first.len, 60);
    assert_int_equal(f->kv.n_held, 6);
    append(f, &first, a + first.len, 1);
    assert_int_equal(first.pages[2], second.pages[2]);
    assert_int_equal(f->kv.n_held, 5);
    /* A third one copies where it parts from a page that is held. */
    assert_true(um_kv_begin(&f->kv, &third, a, 170, 3));
    assert_int_equal(third.len, 170);
    assert_int_not_equal(third.pages[2], first.pages[2]);
    assert_int_equal(f->kv.n_held, 6);
    um_kv_end(&f->kv, &first);
    um_kv_end(&f->kv, &second);
    um_kv_end(&f->kv, &third);
    assert_int_equal(f->kv.n_held, 0);
    assert_int_equal(f->kv.n_promised, 0);
    assert_int_equal(um_kv_find(&f->kv, a, MOST), 211);
    um_kv_sequence_dispose(&first);
    um_kv_sequence_dispose(&second);
    um_kv_sequence_dispose(&third);
}

/* A page that the pass being built fills is not copied, and does not hide one that can be. */
static void test_copied(void **state)
{
    fixture *f = *state;
    int32_t a[MOST], b[MOST];
    um_kv_sequence first = {0}, second = {0};
    open_pages(f, 20);
    tokens(a, 0);
    memcpy(b, a, sizeof b);
    b[50] = -1;
    assert_true(um_kv_begin(&f->kv, &first, a, 199, 4));
    um_kv_append(&f->kv, &first, a, 100);
    assert_int_equal(um_kv_find(&f->kv, b, 199), 0);
    assert_int_equal(um_kv_find(&f->kv, a, 199), P);
    um_kv_computed(&f->kv);
    assert_int_equal(um_kv_find(&f->kv, b, 199), 50);
    um_kv_end(&f->kv, &first);

    um_kv_dispose(&f->kv);
    open_pages(f, 20);
    leave(f, a, 50);
    assert_true(um_kv_begin(&f->kv, &first, a, 199, 4));
    um_kv_append(&f->kv, &first, a + first.len, 100);
    assert_true(um_kv_begin(&f->kv, &second, b, 199, 4));
    assert_int_equal(second.len, 50);
    um_kv_computed(&f->kv);
    um_kv_end(&f->kv, &first);
    um_kv_end(&f->kv, &second);

    /* The only page to be had is the one to be copied: it is used otherwise. */
    um_kv_dispose(&f->kv);
    open_pages(f, 3);
    leave(f, a, 50);
    assert_true(um_kv_begin(&f->kv, &first, b, 0, 2));
    append(f, &first, b + 1, 2 * P);
    assert_true(um_kv_begin(&f->kv, &second, a, 30, 1));
    assert_int_equal(second.len, 0);
    append(f, &second, a, P);
    um_kv_end(&f->kv, &second);
    assert_true(um_kv_begin(&f->kv, &second, a, 50, 1));
    um_kv_end(&f->kv, &second);
    um_kv_end(&f->kv, &first);
    um_kv_sequence_dispose(&first);
    um_kv_sequence_dispose(&second);
}

/* A text goes on in the last page of the one that it begins with, which others find all the time.
 */
static void test_taken_over(void **state)
{
    fixture *f = *state;
    int32_t a[MOST], b[MOST];
    um_kv_sequence first = {0}, second = {0}, third = {0};
    open_pages(f, 6);
    tokens(a, 0);
    memcpy(b, a, sizeof b);
    b[50] = -1;
    leave(f, a, 50);
    assert_true(um_kv_begin(&f->kv, &first, a, 2 * P, 2));
    assert_int_equal(first.len, 50);
    assert_int_equal(f->kv.n_touched, 1);
    assert_int_equal(first.promised, 1);
    /* In the pass that writes to it, what it had before can be copied, and no more. */
    um_kv_append(&f->kv, &first, a + 50, 10);
    assert_int_equal(um_kv_find(&f->kv, a, 2 * P), 50);
    assert_true(um_kv_begin(&f->kv, &second, b, 60, 1));
    assert_int_equal(second.len, 50);
    assert_int_not_equal(second.pages[0], first.pages[0]);
    um_kv_append(&f->kv, &second, b + 50, 10);
    um_kv_computed(&f->kv);
    assert_int_equal(um_kv_find(&f->kv, a, 2 * P), 60);
    /* While it is held it is copied; once full it is shared. */
    assert_true(um_kv_begin(&f->kv, &third, a, 60, 1));
    assert_int_equal(third.len, 60);
    assert_int_not_equal(third.pages[0], first.pages[0]);
    um_kv_end(&f->kv, &third);
    um_kv_append(&f->kv, &first, a + 60, P);
    assert_true(um_kv_begin(&f->kv, &third, a, P, 1));
    assert_int_equal(third.len, P);
    assert_int_equal(third.pages[0], first.pages[0]);
    um_kv_computed(&f->kv);
    um_kv_end(&f->kv, &third);
    um_kv_end(&f->kv, &first);
    um_kv_end(&f->kv, &second);
    assert_int_equal(f->kv.n_held + f->kv.n_promised, 0);
    assert_int_equal(um_kv_find(&f->kv, a, 2 * P), 60 + P);
    assert_int_equal(um_kv_find(&f->kv, b, 2 * P), 60);
    um_kv_sequence_dispose(&first);
    um_kv_sequence_dispose(&second);
    um_kv_sequence_dispose(&third);
}

static void test_promises(void **state)
{
    fixture *f = *state;
    int32_t a[MOST], b[MOST];
    um_kv_sequence first = {0}, second = {0}, child = {0}, late = {0};
    open_pages(f, 8);
    assert_int_equal(um_kv_limit(&f->kv), 7 * P);
    tokens(a, 0);
    tokens(b, 100000);
    assert_true(um_kv_begin(&f->kv, &first, a, 0, 5));
    assert_false(um_kv_begin(&f->kv, &second, b, 0, 4));
    assert_true(um_kv_begin(&f->kv, &second, b, 0, 3));
    append(f, &first, a, 2 * P + 10);
    /* A fork lives on what its parent was promised: three pages held, two left, two wanted. */
    assert_false(um_kv_fork(&f->kv, &child, &first, 5));
    assert_true(um_kv_fork(&f->kv, &child, &first, 4));
    assert_int_equal(first.promised, 0);
    assert_int_equal(child.promised, 1);
    assert_int_equal(child.len, first.len);
    assert_memory_equal(child.pages, first.pages, 2 * sizeof *first.pages);
    assert_int_not_equal(child.pages[2], first.pages[2]);
    assert_false(um_kv_fork(&f->kv, &late, &first, 3));
    /* Every promise is kept. */
    append(f, &second, b, 3 * P);
    append(f, &child, a + child.len, 4 * P - child.len);
    assert_int_equal(f->kv.n_held, 8);
    assert_int_equal(f->kv.n_promised, 0);
    /* What is held need not be had again. */
    um_kv_end(&f->kv, &first);
    assert_true(um_kv_begin(&f->kv, &late, a, 4 * P - 1, 4));
    assert_int_equal(late.len, 4 * P - 1);
    um_kv_end(&f->kv, &late);
    um_kv_end(&f->kv, &second);
    um_kv_end(&f->kv, &child);
    assert_int_equal(f->kv.n_held + f->kv.n_promised, 0);
    assert_int_equal(f->kv.peak, 8);
    /* What is only kept must be had like any other page. */
    assert_true(um_kv_begin(&f->kv, &second, b + 1, 0, 5));
    assert_int_equal(um_kv_find(&f->kv, a, 3 * P), 3 * P);
    assert_false(um_kv_begin(&f->kv, &late, a, 3 * P, 4));
    assert_true(um_kv_begin(&f->kv, &late, a, 3 * P, 3));
    um_kv_end(&f->kv, &late);
    um_kv_end(&f->kv, &second);
    um_kv_sequence_dispose(&first);
    um_kv_sequence_dispose(&second);
    um_kv_sequence_dispose(&child);
    um_kv_sequence_dispose(&late);
}

/* Pages go leaf by leaf, those used longest ago first; what is held stays. */
static void test_given_up(void **state)
{
    fixture *f = *state;
    int32_t a[MOST], b[MOST], c[MOST], d[MOST];
    um_kv_sequence held = {0};
    open_pages(f, 9);
    tokens(a, 0);
    tokens(b, 10000);
    memcpy(b, a, P * sizeof *b); /* b parts from a after a page */
    tokens(c, 20000);
    tokens(d, 30000);
    leave(f, a, 3 * P);
    leave(f, b, 3 * P);
    leave(f, c, 2 * P);
    assert_true(um_kv_begin(&f->kv, &held, c, P, 1));
    assert_int_equal(f->kv.n_touched, 7);
    leave(f, d, 2 * P); /* the untouched */
    assert_int_equal(um_kv_find(&f->kv, a, MOST), 3 * P);
    leave(f, d, 3 * P);
    assert_int_equal(um_kv_find(&f->kv, a, MOST), 2 * P);
    assert_int_equal(um_kv_find(&f->kv, b, MOST), 3 * P);
    /* b is used again; the rest of a goes, then c's, of which the first page is held. */
    leave(f, b, 3 * P);
    leave(f, d, 5 * P);
    assert_int_equal(um_kv_find(&f->kv, a, MOST), P);
    assert_int_equal(um_kv_find(&f->kv, b, MOST), 3 * P);
    assert_int_equal(um_kv_find(&f->kv, c, MOST), P);
    leave(f, d, 8 * P);
    assert_int_equal(um_kv_find(&f->kv, a, MOST), 0);
    assert_int_equal(um_kv_find(&f->kv, c, MOST), P);
    assert_int_equal(um_kv_find(&f->kv, d, MOST), 8 * P);
    um_kv_end(&f->kv, &held);
    um_kv_sequence_dispose(&held);
}

/* A page whose leaves are gone waits for its own turn. */
static void test_given_up_later(void **state)
{
    fixture *f = *state;
    int32_t a[MOST], b[MOST], c[MOST];
    open_pages(f, 6);
    tokens(a, 0);
    tokens(b, 10000);
    tokens(c, 20000);
    leave(f, a, 3 * P);
    leave(f, b, 2 * P);
    leave(f, a, P); /* its first page is used last */
    leave(f, c, 3 * P);
    assert_int_equal(um_kv_find(&f->kv, a, MOST), P);
    assert_int_equal(um_kv_find(&f->kv, b, MOST), 2 * P);
    for (int i = 1; i <= 2; i++) {
        leave(f, tokens(c, 20000 + 1000 * i), P);
        assert_int_equal(um_kv_find(&f->kv, a, MOST), P);
        assert_int_equal(um_kv_find(&f->kv, b, MOST), (2 - i) * P);
    }
}

/* A page that was taken over and became equal to another is not kept beside it. */
static void test_taken_over_twice(void **state)
{
    fixture *f = *state;
    int32_t a[MOST];
    um_kv_sequence s = {0};
    open_pages(f, 12);
    tokens(a, 0);
    leave(f, a, P - 1);
    assert_true(um_kv_begin(&f->kv, &s, a, 0, 3));
    append(f, &s, a, 3 * P);
    um_kv_end(&f->kv, &s); /* whole beside its beginning */
    leave(f, a, P - 1);
    assert_true(um_kv_begin(&f->kv, &s, a, P - 1, 1));
    append(f, &s, a + P - 1, 1);
    um_kv_end(&f->kv, &s);
    assert_int_equal(um_kv_find(&f->kv, a, MOST), 3 * P);
    um_kv_sequence_dispose(&s);
}

/* What was dropped goes before what was used longest ago, what was touched last. */
static void test_dropped(void **state)
{
    fixture *f = *state;
    int32_t a[MOST], b[MOST], c[MOST], d[MOST];
    um_kv_sequence s = {0};
    open_pages(f, 8);
    tokens(a, 0);
    tokens(b, 10000);
    tokens(c, 20000);
    tokens(d, 30000);
    leave(f, a, 2 * P);
    leave(f, b, 2 * P);
    assert_true(um_kv_begin(&f->kv, &s, c, 3 * P, 3));
    append(f, &s, c, 3 * P - 5);
    const uint64_t since = f->kv.clock;
    assert_true(um_kv_has_spare(&f->kv, 1, since));
    um_kv_drop(&f->kv, &s, P);
    assert_int_equal(f->kv.n_held + f->kv.n_promised, 0);
    assert_int_equal(um_kv_find(&f->kv, c, MOST), 3 * P - 5);
    um_kv_touch(&f->kv, a, MOST);
    /* The untouched page, c's last two and b's are spare; then a is the oldest that is not. */
    assert_true(um_kv_has_spare(&f->kv, 5, since));
    assert_false(um_kv_has_spare(&f->kv, 6, since));
    leave(f, d, 2 * P);
    assert_int_equal(um_kv_find(&f->kv, c, MOST), 2 * P);
    leave(f, d, 3 * P);
    assert_int_equal(um_kv_find(&f->kv, c, MOST), P);
    assert_int_equal(um_kv_find(&f->kv, b, MOST), 2 * P);
    leave(f, d, 5 * P);
    assert_int_equal(um_kv_find(&f->kv, b, MOST), 0);
    assert_int_equal(um_kv_find(&f->kv, c, MOST), P);
    leave(f, d, 6 * P);
    assert_int_equal(um_kv_find(&f->kv, c, MOST), 0);
    assert_int_equal(um_kv_find(&f->kv, a, MOST), 2 * P);
    assert_false(um_kv_has_spare(&f->kv, 1, since));
    um_kv_sequence_dispose(&s);
}

/* Keys and values as a model makes them: each a function of all tokens up to it. */
static void make_rows(float *rows, const int32_t *ids, int n)
{
    uint64_t hash = 0;
    for (int i = 0; i < n; i++) {
        hash = um_hash(&ids[i], sizeof ids[i], hash + 1);
        for (int d = 0; d < WIDTH; d++)
            rows[i * WIDTH + d] = (float)(int)(hash >> (16 * d) & 0xffff) / 32768.0f - 1.0f;
    }
}

typedef struct live {
    um_kv_sequence s;
    int32_t ids[MOST];
    int pages; /* in all */
} live;

/* Appends n tokens and computes them in both layers. */
static void grow(fixture *f, live *l, int n)
{
    float rows[MOST * WIDTH];
    um_kv_span span = {.len = n, .before = l->s.len};
    um_kv_append(&f->kv, &l->s, l->ids + l->s.len, n);
    span.pages = l->s.pages;
    make_rows(rows, l->ids, l->s.len);
    for (int layer = 0; layer < 2; layer++)
        f->backend->ops->kv_write(f->backend, &f->kv.cache, layer, rows + span.before * WIDTH,
                                  rows + span.before * WIDTH, WIDTH, &span, 1);
    um_kv_computed(&f->kv);
}

/* Its rows attend to the same values as in a cache of its own. */
static void assert_reads_its_own(fixture *f, const live *l, int layer)
{
    static const int32_t numbers[MOST / P] = {0, 1, 2, 3, 4, 5, 6, 7};
    const um_attention_shape shape = {1, 1, WIDTH, 0.5f, false};
    const um_backend_ops *ops = f->backend->ops;
    float rows[MOST * WIDTH], got[MOST * WIDTH], expected[MOST * WIDTH];
    um_kv_span span = {.len = l->s.len, .pages = numbers};
    if (l->s.len == 0)
        return;
    make_rows(rows, l->ids, l->s.len);
    ops->kv_write(f->backend, &f->plain, 0, rows, rows, WIDTH, &span, 1);
    /* The last 20 rows have all the others before them. */
    const int from = l->s.len > 20 ? l->s.len - 20 : 0;
    span = (um_kv_span){.len = l->s.len - from, .before = from, .pages = numbers};
    const float *q = rows + from * WIDTH;
    ops->kv_attention(f->backend, expected, WIDTH, q, WIDTH, &f->plain, 0, &shape, &span, 1);
    span.pages = l->s.pages;
    ops->kv_attention(f->backend, got, WIDTH, q, WIDTH, &f->kv.cache, layer, &shape, &span, 1);
    assert_memory_equal(got, expected, (size_t)span.len * WIDTH * sizeof *got);
}

static void assert_counts(const fixture *f, const live *all, int n)
{
    int held = 0, promised = 0;
    bool seen[64] = {false};
    for (int i = 0; i < n; i++) {
        promised += all[i].s.promised;
        for (int p = 0; p < all[i].s.n_pages; p++) {
            held += !seen[all[i].s.pages[p]];
            seen[all[i].s.pages[p]] = true;
        }
    }
    assert_int_equal(f->kv.n_held, held);
    assert_int_equal(f->kv.n_promised, promised);
    assert_true(held + promised <= f->kv.cache.pages);
}

/* Sequences of few different tokens begin, grow, fork and end at random in little memory. */
static void test_random(void **state)
{
    enum { LIVE = 6, STEPS = 3000 };
    fixture *f = *state;
    live *all = um_calloc(LIVE, sizeof *all);
    um_rng rng;
    int forks = 0, found = 0, refused = 0;
    open_pages(f, 24);
    um_rng_init(&rng, 5, UM_RNG_TEST, 0, 0, 0);
    for (int step = 0; step < STEPS; step++) {
        live *l = &all[um_rng_below(&rng, LIVE)], *other = &all[um_rng_below(&rng, LIVE)];
        if (l->pages > 0) {
            const int room = l->pages * P - l->s.len, n = (int)um_rng_below(&rng, 100);
            if (um_rng_below(&rng, 6) == 0) {
                um_kv_touch(&f->kv, other->ids, MOST);
                um_kv_drop(&f->kv, &l->s, (int)um_rng_below(&rng, MOST));
                l->pages = 0;
            } else if (room > 0 && l->s.promised >= um_kv_pages_of(l->s.len + n) - l->s.n_pages) {
                grow(f, l, n < room ? n : room);
            }
        } else if (other->pages > 0 && other->s.len > 0 && um_rng_below(&rng, 2) == 0) {
            int pages = um_kv_pages_of(other->s.len) + (int)um_rng_below(&rng, 2);
            pages = pages > MOST / P ? MOST / P : pages;
            memcpy(l->ids, other->ids, sizeof l->ids);
            for (int i = other->s.len; i < MOST; i++)
                l->ids[i] = um_rng_below(&rng, 100) == 0;
            l->pages = um_kv_fork(&f->kv, &l->s, &other->s, pages) ? pages : 0;
            forks += l->pages > 0;
        } else {
            const int pages = 1 + (int)um_rng_below(&rng, MOST / P);
            for (int i = 0; i < MOST; i++)
                l->ids[i] = um_rng_below(&rng, 100) == 0;
            l->pages = um_kv_begin(&f->kv, &l->s, l->ids, pages * P - 1, pages) ? pages : 0;
            found += l->pages > 0 ? l->s.len : 0;
            refused += l->pages == 0;
        }
        assert_counts(f, all, LIVE);
        assert_reads_its_own(f, l, step % 2);
        assert_reads_its_own(f, other, 1 - step % 2);
    }
    assert_true(forks > 100 && found > 1000 && refused > 10);
    for (int i = 0; i < LIVE; i++) {
        um_kv_end(&f->kv, &all[i].s);
        um_kv_sequence_dispose(&all[i].s);
    }
    assert_int_equal(f->kv.n_held + f->kv.n_promised, 0);
    /* All pages can be had again. */
    um_kv_sequence whole = {0};
    int32_t unseen[MOST];
    tokens(unseen, 1000);
    assert_true(um_kv_begin(&f->kv, &whole, unseen, MOST, 24));
    for (int i = 0; i < 3; i++)
        append(f, &whole, unseen, MOST);
    um_kv_end(&f->kv, &whole);
    um_kv_sequence_dispose(&whole);
    free(all);
}

static void test_limits(void **state)
{
    fixture *f = *state;
    um_error err;
    um_kv_sequence s = {0};
    const int32_t id = 1;
    /* Less than a page, and a page: nothing fits beside a copy. */
    for (int pages = 0; pages < 2; pages++) {
        open_pages(f, pages);
        assert_int_equal(um_kv_limit(&f->kv), 0);
        assert_int_equal(um_kv_begin(&f->kv, &s, &id, 1, 1), pages == 1);
        um_kv_end(&f->kv, &s);
        um_kv_dispose(&f->kv);
    }
    assert_int_equal(um_kv_init(&f->kv, f->backend, &config, UM_I8, 1 << 20, &err),
                     UM_ERR_UNSUPPORTED);
    um_kv_sequence_dispose(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_taken_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_taken_over_twice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_promises, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_given_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_given_up_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_dropped, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
