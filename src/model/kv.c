/*
 * kv.c - see kv.h.
 *
 * A page is in one of these states:
 *   free      untouched, or on the list `free`
 *   held      refs > 0; in the tree or not yet
 *   kept      refs = 0, in the tree. Its descendants are kept too (whoever holds a page holds the
 *             path to it), so all kept pages can be had back, leaf by leaf
 * Kept leaves form a ring through the root, `older` leading from the newest to the oldest.
 */
#include "model/kv.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

struct um_kv_page {
    int32_t refs;  /* sequences that hold it */
    int32_t len;   /* tokens in it, */
    int32_t known; /* and how many it had before the pass that last wrote to it */
    bool in_tree;
    int32_t parent, child, next, previous; /* -1: none. next, previous: children of one parent */
    int32_t older, newer;                  /* neighbours among kept leaves; older: also next free */
    uint32_t pass;                         /* the last one that wrote to it */
    uint64_t used;                         /* clock at its last end or touch, or NOT_WANTED */
};

#define NOT_WANTED 0 /* before all clocks */

/* Setting up -------------------------------------------------------------------------------------
 */

/* The backend alone knows the size of a page. */
static um_status measure_page(size_t *bytes, um_backend *backend, const um_model_config *config,
                              um_dtype dtype, um_error *err)
{
    um_kv_cache one;
    um_status status = backend->ops->kv_open(backend, &one, dtype, config->layers, 1,
                                             config->kv_heads, config->head_dim, err);
    if (status != UM_OK)
        return status;
    *bytes = one.page_bytes * (size_t)config->layers;
    backend->ops->kv_close(backend, &one);
    return UM_OK;
}

um_status um_kv_init(um_kv *kv, um_backend *backend, const um_model_config *config, um_dtype dtype,
                     uint64_t bytes, um_error *err)
{
    size_t page_bytes;
    *kv = (um_kv){.backend = backend, .free = -1, .pass = 1};
    um_status status = measure_page(&page_bytes, backend, config, dtype, err);
    if (status != UM_OK)
        return status;
    const uint64_t usual = (UM_KV_DEFAULT_TOKENS / UM_KV_PAGE + (uint64_t)1) * page_bytes;
    if (bytes == 0)
        bytes = usual > 1 << 30 ? usual : 1 << 30;
    kv->bytes = bytes;
    uint64_t fit = bytes / page_bytes, most = INT32_MAX / UM_KV_PAGE;
    size_t pages = (size_t)(fit < most ? fit : most);
    status = backend->ops->kv_open(backend, &kv->cache, dtype, config->layers, (int)pages,
                                   config->kv_heads, config->head_dim, err);
    if (status != UM_OK)
        return status;
    kv->page = um_calloc(pages + 1, sizeof *kv->page);
    kv->ids = um_calloc(pages, UM_KV_PAGE * sizeof *kv->ids);
    if (kv->page == NULL || kv->ids == NULL) {
        um_kv_dispose(kv);
        return um_fail_memory(err, "key/value cache");
    }
    int32_t root = (int32_t)pages;
    kv->page[root] =
        (um_kv_page){.in_tree = true, .parent = -1, .child = -1, .older = root, .newer = root};
    return UM_OK;
}

void um_kv_dispose(um_kv *kv)
{
    if (kv->cache.buf.data != NULL)
        kv->backend->ops->kv_close(kv->backend, &kv->cache);
    free(kv->page);
    free(kv->ids);
    *kv = (um_kv){0};
}

int um_kv_limit(const um_kv *kv)
{
    return kv->cache.pages > 1 ? (kv->cache.pages - 1) * UM_KV_PAGE : 0;
}

void um_kv_computed(um_kv *kv)
{
    kv->pass++;
}

/* Kept leaves ------------------------------------------------------------------------------------
 */

static int32_t root_of(const um_kv *kv)
{
    return kv->cache.pages;
}

static bool is_kept_leaf(const um_kv_page *p)
{
    return p->refs == 0 && p->in_tree && p->child < 0;
}

/* Puts a page in its place by `used`, which is sought from both ends: it mostly is one of them. */
static void ring_insert(um_kv *kv, int32_t page)
{
    um_kv_page *all = kv->page, *p = &all[page];
    const int32_t root = root_of(kv);
    int32_t newer = all[root].newer, older = all[root].older;
    while (newer != root && all[newer].used < p->used && older != root &&
           all[older].used > p->used) {
        newer = all[newer].newer;
        older = all[older].older;
    }
    if (newer == root || all[newer].used >= p->used)
        older = all[newer].older;
    else
        newer = all[older].newer;
    p->newer = newer;
    p->older = older;
    all[older].newer = page;
    all[newer].older = page;
}

static void ring_remove(um_kv *kv, int32_t page)
{
    um_kv_page *all = kv->page, *p = &all[page];
    all[p->older].newer = p->newer;
    all[p->newer].older = p->older;
}

/* The tree ---------------------------------------------------------------------------------------
 */

static void attach(um_kv *kv, int32_t page, int32_t parent)
{
    um_kv_page *all = kv->page, *p = &all[page];
    p->in_tree = true;
    p->parent = parent;
    p->previous = -1;
    p->next = all[parent].child;
    if (p->next >= 0)
        all[p->next].previous = page;
    all[parent].child = page;
}

static void detach(um_kv *kv, int32_t page)
{
    um_kv_page *all = kv->page, *p = &all[page];
    if (p->next >= 0)
        all[p->next].previous = p->previous;
    if (p->previous >= 0)
        all[p->previous].next = p->next;
    else
        all[p->parent].child = p->next;
    p->in_tree = false;
}

static int common_length(const int32_t *a, const int32_t *b, int n)
{
    int i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* The child of `parent` that has most of ids[0 .. n), how much in *length; -1: nothing in common.
 * What the pass being built writes can be shared, but not copied: only whole pages count with it.
 */
static int32_t best_child(const um_kv *kv, int32_t parent, const int32_t *ids, int n, int *length)
{
    int32_t best = -1;
    *length = 0;
    for (int32_t c = kv->page[parent].child; c >= 0; c = kv->page[c].next) {
        const um_kv_page *p = &kv->page[c];
        int common = common_length(kv->ids + (size_t)c * UM_KV_PAGE, ids, p->len < n ? p->len : n);
        if (common < UM_KV_PAGE && common > p->known && p->pass == kv->pass)
            common = p->known;
        if (common > *length) {
            *length = common;
            best = c;
        }
        if (common == UM_KV_PAGE)
            break;
    }
    return best;
}

/* A path through the tree. */
typedef struct found_path {
    int n_nodes;  /* whole pages */
    int n_held;   /* those of them that a sequence holds */
    int32_t last; /* the deepest; the root where there is none */
    int32_t rest; /* a page that begins as the text goes on, `common` tokens far; -1: none */
    int common;
} found_path;

/* Follows ids; lists the whole pages where pages is not NULL. */
static found_path follow(const um_kv *kv, const int32_t *ids, int n, int32_t *pages)
{
    found_path path = {.last = root_of(kv), .rest = -1};
    while (path.n_nodes * UM_KV_PAGE < n) {
        int at = path.n_nodes * UM_KV_PAGE, common;
        int left = n - at < UM_KV_PAGE ? n - at : UM_KV_PAGE;
        int32_t child = best_child(kv, path.last, ids + at, left, &common);
        if (common < UM_KV_PAGE) {
            path.rest = child;
            path.common = common;
            break;
        }
        path.last = child;
        path.n_held += kv->page[child].refs > 0;
        if (pages != NULL)
            pages[path.n_nodes] = child;
        path.n_nodes++;
    }
    return path;
}

int um_kv_find(const um_kv *kv, const int32_t *ids, int n)
{
    found_path path = follow(kv, ids, n, NULL);
    return path.n_nodes * UM_KV_PAGE + path.common;
}

/* Pages ------------------------------------------------------------------------------------------
 */

static void hold(um_kv *kv, int32_t page)
{
    um_kv_page *p = &kv->page[page];
    if (is_kept_leaf(p))
        ring_remove(kv, page);
    if (p->refs++ == 0 && ++kv->n_held > kv->peak)
        kv->peak = kv->n_held;
}

static void let_go(um_kv *kv, int32_t page, uint64_t used)
{
    um_kv_page *p = &kv->page[page];
    p->used = used;
    if (--p->refs > 0)
        return;
    kv->n_held--;
    if (!p->in_tree) {
        p->older = kv->free;
        kv->free = page;
        kv->n_free++;
    } else if (p->child < 0) {
        ring_insert(kv, page);
    }
}

/* Empties the kept leaf that was used longest ago. */
static int32_t evict(um_kv *kv)
{
    const int32_t page = kv->page[root_of(kv)].newer, parent = kv->page[page].parent;
    ring_remove(kv, page);
    detach(kv, page);
    if (parent != root_of(kv) && is_kept_leaf(&kv->page[parent]))
        ring_insert(kv, parent);
    return page;
}

/* An empty page, held. The caller knows that there is one. */
static int32_t take(um_kv *kv)
{
    int32_t page = kv->free;
    if (page >= 0) {
        kv->free = kv->page[page].older;
        kv->n_free--;
    } else if (kv->n_touched < kv->cache.pages) {
        page = kv->n_touched++;
    } else {
        page = evict(kv);
    }
    kv->page[page] = (um_kv_page){.parent = -1, .child = -1, .next = -1, .previous = -1};
    hold(kv, page);
    return page;
}

bool um_kv_has_spare(const um_kv *kv, int pages, uint64_t since)
{
    const um_kv_page *all = kv->page;
    const int32_t root = root_of(kv);
    int spare = kv->n_free + kv->cache.pages - kv->n_touched;
    for (int32_t leaf = all[root].newer; spare < pages && leaf != root; leaf = all[leaf].newer) {
        /* A leaf, and what has no child but it. */
        for (int32_t at = leaf; at != root && all[at].refs == 0 && all[at].used <= since;) {
            const bool is_only = all[at].next < 0 && all[at].previous < 0;
            spare++;
            at = is_only ? all[at].parent : root;
        }
    }
    return spare >= pages;
}

/* Pages that can be promised to somebody new. */
static int available(const um_kv *kv)
{
    return kv->cache.pages - kv->n_held - kv->n_promised;
}

/* Sequences --------------------------------------------------------------------------------------
 */

static bool reserve_list(um_kv_sequence *s, int pages)
{
    if (s->cap >= pages)
        return true;
    int32_t *grown = um_reallocarray(s->pages, (size_t)pages, sizeof *grown);
    if (grown == NULL)
        return false;
    s->pages = grown;
    s->cap = pages;
    return true;
}

/* Takes the next page, as promised. */
static int32_t take_promised(um_kv *kv, um_kv_sequence *s)
{
    kv->n_promised--;
    s->promised--;
    return s->pages[s->n_pages++] = take(kv);
}

/* The sequence's next page is a copy of the first n tokens of another. */
static void take_copy(um_kv *kv, um_kv_sequence *s, int32_t from, int n)
{
    int32_t to = take_promised(kv, s);
    kv->backend->ops->kv_copy(kv->backend, &kv->cache, to, from);
    memcpy(kv->ids + (size_t)to * UM_KV_PAGE, kv->ids + (size_t)from * UM_KV_PAGE,
           (size_t)n * sizeof *kv->ids);
    kv->page[to].len = n;
    s->len += n;
}

/* The sequence's next page is one that nobody holds, and goes on where that ends. */
static void take_over(um_kv *kv, um_kv_sequence *s, int32_t page)
{
    kv->n_promised--;
    s->promised--;
    s->pages[s->n_pages++] = page;
    s->len += kv->page[page].len;
    hold(kv, page);
}

bool um_kv_begin(um_kv *kv, um_kv_sequence *s, const int32_t *ids, int n, int pages)
{
    if (!reserve_list(s, pages))
        return false;
    const found_path path = follow(kv, ids, n, s->pages);
    if (pages - path.n_held > available(kv))
        return false;
    for (int i = 0; i < path.n_nodes; i++) {
        hold(kv, s->pages[i]);
        /* To the front of its siblings, where the next of its kind finds it at once. */
        const int32_t parent = kv->page[s->pages[i]].parent;
        detach(kv, s->pages[i]);
        attach(kv, s->pages[i], parent);
    }
    s->n_pages = s->n_nodes = path.n_nodes;
    s->len = path.n_nodes * UM_KV_PAGE;
    s->promised = pages - path.n_nodes;
    kv->n_promised += s->promised;
    if (path.rest < 0)
        return true;
    const um_kv_page *rest = &kv->page[path.rest];
    if (rest->refs == 0 && rest->len == path.common) {
        take_over(kv, s, path.rest);
        return true;
    }
    /* The page to be copied is held meanwhile; it may itself be the last one to be had. */
    hold(kv, path.rest);
    if (kv->n_held < kv->cache.pages)
        take_copy(kv, s, path.rest, path.common);
    let_go(kv, path.rest, rest->used);
    return true;
}

/*
 * Puts the sequence's full pages into the tree. Where the tree has an equal page already, that one
 * stands for ours: exchanged when ours need not be written any more (`done`), else left for later.
 */
static void plant(um_kv *kv, um_kv_sequence *s, bool done)
{
    for (; s->n_nodes < s->len / UM_KV_PAGE; s->n_nodes++) {
        int32_t *page = &s->pages[s->n_nodes], found;
        if (kv->page[*page].in_tree) /* one that was taken over, and is full now */
            detach(kv, *page);
        int32_t parent = s->n_nodes > 0 ? s->pages[s->n_nodes - 1] : root_of(kv);
        int common;
        found = best_child(kv, parent, kv->ids + (size_t)*page * UM_KV_PAGE, UM_KV_PAGE, &common);
        if (common < UM_KV_PAGE) {
            attach(kv, *page, parent);
            continue;
        }
        if (!done)
            return;
        hold(kv, found);
        let_go(kv, *page, kv->clock);
        *page = found;
    }
}

bool um_kv_fork(um_kv *kv, um_kv_sequence *child, um_kv_sequence *parent, int pages)
{
    const int whole = parent->len / UM_KV_PAGE, rest = parent->len % UM_KV_PAGE;
    const int want = pages - whole;
    const int given = want < parent->promised ? want : parent->promised;
    if (!reserve_list(child, pages) || want - given > available(kv))
        return false;
    plant(kv, parent, true);
    parent->promised -= given;
    kv->n_promised += want - given;
    for (int i = 0; i < whole; i++) {
        child->pages[i] = parent->pages[i];
        hold(kv, child->pages[i]);
    }
    child->n_pages = child->n_nodes = whole;
    child->len = whole * UM_KV_PAGE;
    child->promised = want;
    if (rest > 0)
        take_copy(kv, child, parent->pages[whole], rest);
    return true;
}

void um_kv_append(um_kv *kv, um_kv_sequence *s, const int32_t *ids, int n)
{
    plant(kv, s, true);
    for (int i = 0; i < n; i++) {
        int slot = s->len % UM_KV_PAGE;
        int32_t page = slot == 0 ? take_promised(kv, s) : s->pages[s->n_pages - 1];
        kv->ids[(size_t)page * UM_KV_PAGE + (size_t)slot] = ids[i];
        if (kv->page[page].pass != kv->pass)
            kv->page[page].known = slot;
        kv->page[page].len = slot + 1;
        kv->page[page].pass = kv->pass;
        s->len++;
    }
    plant(kv, s, false);
}

/* Puts a last page that is not full into the tree, unless the tree has all of it. */
static void plant_rest(um_kv *kv, const um_kv_sequence *s)
{
    const int rest = s->len % UM_KV_PAGE;
    if (rest == 0 || s->n_nodes < s->n_pages - 1)
        return;
    int32_t page = s->pages[s->n_pages - 1];
    int32_t parent = s->n_nodes > 0 ? s->pages[s->n_nodes - 1] : root_of(kv);
    int common;
    if (kv->page[page].in_tree)
        return;
    best_child(kv, parent, kv->ids + (size_t)page * UM_KV_PAGE, rest, &common);
    if (common < rest)
        attach(kv, page, parent);
}

void um_kv_end(um_kv *kv, um_kv_sequence *s)
{
    um_kv_drop(kv, s, s->len);
}

void um_kv_drop(um_kv *kv, um_kv_sequence *s, int from)
{
    plant(kv, s, true);
    plant_rest(kv, s);
    kv->clock++;
    while (s->n_pages-- > 0)
        let_go(kv, s->pages[s->n_pages], s->n_pages * UM_KV_PAGE < from ? kv->clock : NOT_WANTED);
    s->n_pages = 0;
    kv->n_promised -= s->promised;
    s->promised = s->len = s->n_nodes = 0;
}

void um_kv_touch(um_kv *kv, const int32_t *ids, int n)
{
    const found_path path = follow(kv, ids, n, NULL);
    const bool has_rest = path.rest >= 0 && path.common == kv->page[path.rest].len;
    int32_t at = has_rest ? path.rest : path.last, parent;
    kv->clock++;
    for (; at != root_of(kv); at = parent) {
        const bool is_leaf = is_kept_leaf(&kv->page[at]);
        parent = kv->page[at].parent;
        detach(kv, at); /* to the front of its siblings */
        attach(kv, at, parent);
        if (is_leaf)
            ring_remove(kv, at);
        kv->page[at].used = kv->clock;
        if (is_leaf)
            ring_insert(kv, at);
    }
}

void um_kv_sequence_dispose(um_kv_sequence *s)
{
    free(s->pages);
    *s = (um_kv_sequence){0};
}
