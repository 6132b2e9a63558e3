/*
 * kv.h - who holds which pages of cached keys and values, and what is found in them again.
 *
 * A sequence is a list of pages of UM_KV_PAGE positions. Pages stand in a tree: a node's page
 * follows its parent's, so a path from the root spells the beginning of a text, UM_KV_PAGE tokens a
 * node. A page enters the tree as soon as it is full, and the last one of a sequence when it ends;
 * what a new sequence has in common with the tree is not computed again. Whole pages are shared,
 * since nobody writes to a full one; of the page where two texts part, the newcomer gets a copy. A
 * text that goes on where an ended one stopped goes on in its last page, which stays in the tree.
 *
 * Pages that no sequence holds stay in the tree until their memory is wanted: then the leaf whose
 * last holder ended longest ago goes first, but before it those that were dropped. Nothing depends
 * on addresses or clocks.
 *
 * A sequence is let in with a promise of all pages that it may need, so whoever runs can run to its
 * end. Not thread-safe.
 */
#ifndef UM_MODEL_KV_H
#define UM_MODEL_KV_H

#include <stdbool.h>

#include "mirrorer/model.h"
#include "nn/backend.h"

/* A sequence: zero-initialised, or ended, it holds nothing. */
typedef struct um_kv_sequence {
    int32_t *pages; /* [n_pages], for um_kv_span */
    int n_pages, cap;
    int len;      /* positions appended or found */
    int n_nodes;  /* leading pages that are nodes of the tree */
    int promised; /* pages that it may still take, or hand to its forks */
} um_kv_sequence;

typedef struct um_kv_page um_kv_page;

typedef struct um_kv {
    um_backend *backend; /* borrowed */
    um_kv_cache cache;
    uint64_t bytes;   /* the budget */
    um_kv_page *page; /* [pages + 1]; the last one is the root, which holds nothing */
    int32_t *ids;     /* [pages, UM_KV_PAGE] tokens of each page */
    int n_touched;    /* pages that were ever used: 0 .. n_touched - 1 */
    int n_held;       /* held by sequences */
    int n_promised;
    int peak;     /* most pages ever held */
    int32_t free; /* touched pages with nothing in them; a list of n_free, -1 ends it */
    int n_free;
    uint32_t pass;  /* number of the pass being built */
    uint64_t clock; /* ends and touches of sequences so far */
} um_kv;

enum { UM_KV_DEFAULT_TOKENS = 16384 };

/* Pages that n positions take. */
static inline int um_kv_pages_of(int64_t n)
{
    return (int)((n + UM_KV_PAGE - 1) / UM_KV_PAGE);
}

/* As many pages as fit into `bytes`; memory is taken as they are first used. 0: 1 GiB, or what
 * UM_KV_DEFAULT_TOKENS take where that is more. */
um_status um_kv_init(um_kv *kv, um_backend *backend, const um_model_config *config, um_dtype dtype,
                     uint64_t bytes, um_error *err) UM_CHECKED;
void um_kv_dispose(um_kv *kv); /* zero-initialised is fine */
/* The longest sequence that always fits when nothing else is held: one page is kept for the copy
 * that a fork makes. */
int um_kv_limit(const um_kv *kv);

/*
 * Begins a sequence that will have ids[0 .. n) as its first tokens: finds as many of them as the
 * tree has; sequence->len says how many. `pages` are promised to it in all, those that it finds
 * included. False, with nothing taken, when so many cannot be had now (or memory for the list ran
 * out).
 */
bool um_kv_begin(um_kv *kv, um_kv_sequence *sequence, const int32_t *ids, int n, int pages);
/*
 * Begins a sequence with all that `parent` has, which was computed; parent and child go on apart.
 * `pages` in all, from what is promised to the parent as far as that goes. False as above.
 */
bool um_kv_fork(um_kv *kv, um_kv_sequence *child, um_kv_sequence *parent, int pages);
/* The next n tokens of a sequence: within the promise. The pass being built must compute them; a
 * sequence is appended to once a pass. */
void um_kv_append(um_kv *kv, um_kv_sequence *sequence, const int32_t *ids, int n);
/* The pass has been computed. */
void um_kv_computed(um_kv *kv);
/* How many of ids[0 .. n) um_kv_begin would find. */
int um_kv_find(const um_kv *kv, const int32_t *ids, int n);
/* Gives everything back; what was computed can still be found. The list is kept for the next. */
void um_kv_end(um_kv *kv, um_kv_sequence *sequence);
/* The same; of the pages that begin at position `from` or later nothing is expected to be wanted
 * again: they go first, those dropped last before all others. */
void um_kv_drop(um_kv *kv, um_kv_sequence *sequence, int from);
/* What the tree has of ids[0 .. n) counts as used now. */
void um_kv_touch(um_kv *kv, const int32_t *ids, int n);
/* Whether `pages` can be taken without losing anything that was used after the clock showed
 * `since`. */
bool um_kv_has_spare(const um_kv *kv, int pages, uint64_t since);
void um_kv_sequence_dispose(um_kv_sequence *sequence); /* an ended one */

#endif
