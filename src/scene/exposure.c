#include "scene/exposure.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"

enum { MIN_CUT = 32 };

static uint32_t max_len(const um_scene_options *o, um_split split)
{
    return split == UM_SPLIT_EVAL ? o->eval_max_len : o->train_max_len;
}

/* How many items of each ranking take part. */
static uint32_t cut_of(const um_scene_options *o, um_split split)
{
    uint32_t cut = 3 * max_len(o, split);
    return cut > MIN_CUT ? cut : MIN_CUT;
}

/* Items that may stand beside the target; marks the user's own with the current epoch. */
static uint32_t list_candidates(um_exposure_work *w, const um_dataset *d, const um_scene_target *t)
{
    int64_t time_s = d->time_s[t->interaction];
    uint32_t n = 0;
    um_scene_mark_user(d, t->user, w->mark, ++w->epoch);
    for (uint32_t i = 0; i < d->items.n_rows; i++)
        if (um_scene_item_allowed(d, w->mark, w->epoch, time_s, i))
            w->candidates[n++] = i;
    return n;
}

/* Popularity ------------------------------------------------------------------------------------
 */

typedef struct event {
    int64_t time_s;
    uint64_t index; /* interaction, or target of the plan */
} event;

static int compare_events(const void *a, const void *b)
{
    const event *x = a, *y = b;
    if (x->time_s != y->time_s)
        return x->time_s < y->time_s ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

typedef struct popularity {
    um_exposure_model *m;
    event *clicks, *scenes; /* in time order */
    size_t n_clicks, n_scenes;
    um_status *failed; /* [threads] */
} popularity;

/* Counts of the clicks before each scene's time: a walk over the clicks, from the first one for
 * whichever scene a thread begins with. */
static void rank_popular(void *ctx, size_t begin, size_t end, int thread)
{
    const popularity *p = ctx;
    const um_dataset *d = p->m->d;
    um_exposure_work w = {0};
    w.mark = um_calloc(d->items.n_rows, sizeof *w.mark);
    w.candidates = um_calloc(d->items.n_rows, sizeof *w.candidates);
    float *counts = um_calloc(d->items.n_rows, sizeof *counts);
    if (w.mark == NULL || w.candidates == NULL || counts == NULL) {
        p->failed[thread] = UM_ERR_MEMORY;
        goto done;
    }
    size_t click = 0;
    for (size_t s = begin; s < end; s++) {
        for (; click < p->n_clicks && p->clicks[click].time_s < p->scenes[s].time_s; click++)
            counts[d->item[p->clicks[click].index]] += 1.0f;
        size_t scene = p->scenes[s].index;
        const um_scene_target *t = &p->m->plan->targets[scene];
        uint32_t n = list_candidates(&w, d, t);
        p->m->n_popular[scene] = um_rank_top(p->m->popular + scene * p->m->cut_max,
                                             cut_of(p->m->o, t->split), w.candidates, n, counts);
    }
done:
    free(w.mark);
    free(w.candidates);
    free(counts);
}

static um_status new_popularity(um_exposure_model *m, um_pool *pool, um_error *err)
{
    const um_dataset *d = m->d;
    um_status status = UM_OK;
    popularity p = {.m = m};
    int threads = um_pool_threads(pool);
    p.clicks = um_calloc(d->n_interactions, sizeof *p.clicks);
    p.scenes = um_calloc(m->plan->n, sizeof *p.scenes);
    p.failed = um_calloc((size_t)threads, sizeof *p.failed);
    m->popular = um_calloc(m->plan->n, m->cut_max * sizeof *m->popular);
    m->n_popular = um_calloc(m->plan->n, sizeof *m->n_popular);
    if (p.clicks == NULL || p.scenes == NULL || p.failed == NULL || m->popular == NULL ||
        m->n_popular == NULL) {
        status = um_fail_memory(err, "popularity rankings");
        goto done;
    }
    for (uint32_t u = 0; u < d->users.n_rows; u++)
        for (uint64_t i = d->user_start[u]; m->plan->train_user[u] && i < d->user_start[u + 1]; i++)
            p.clicks[p.n_clicks++] = (event){d->time_s[i], i};
    for (size_t s = 0; s < m->plan->n; s++)
        if (!m->plan->targets[s].logged)
            p.scenes[p.n_scenes++] = (event){d->time_s[m->plan->targets[s].interaction], s};
    qsort(p.clicks, p.n_clicks, sizeof *p.clicks, compare_events);
    qsort(p.scenes, p.n_scenes, sizeof *p.scenes, compare_events);
    um_pool_run(pool, p.n_scenes, 1, rank_popular, &p);
    for (int i = 0; i < threads && status == UM_OK; i++)
        if (p.failed[i] != UM_OK)
            status = um_fail_memory(err, "popularity rankings");
done:
    free(p.clicks);
    free(p.scenes);
    free(p.failed);
    return status;
}

/* The model -------------------------------------------------------------------------------------
 */

static um_status new_spectral(um_exposure_model *m, um_pool *pool, um_error *err)
{
    size_t n = m->plan->n_split[UM_SPLIT_BASE] + m->plan->n_split[UM_SPLIT_TRAIN];
    uint64_t *left_out = um_calloc(n, sizeof *left_out);
    if (left_out == NULL)
        return um_fail_memory(err, "the interaction matrix");
    for (size_t i = 0; i < n; i++)
        left_out[i] = m->plan->targets[i].interaction;
    um_status status =
        um_spectral_factors(&m->spectral, m->d, m->plan->train_user, left_out, n,
                            m->o->spectral_rank, m->o->spectral_compat, m->o->seed, pool, err);
    free(left_out);
    return status;
}

um_status um_exposure_model_new(um_exposure_model *m, const um_dataset *dataset,
                                const um_scene_options *options, const um_split_plan *plan,
                                um_pool *pool, um_error *err)
{
    memset(m, 0, sizeof *m);
    m->d = dataset;
    m->o = options;
    m->plan = plan;
    uint32_t train = cut_of(options, UM_SPLIT_TRAIN), eval = cut_of(options, UM_SPLIT_EVAL);
    m->cut_max = train > eval ? train : eval;
    bool any = false; /* a log of impressions needs no rankings */
    for (size_t i = 0; i < plan->n; i++)
        any = any || !plan->targets[i].logged;
    um_status status = UM_OK;
    if (any && options->source_on[UM_SOURCE_POPULARITY])
        status = new_popularity(m, pool, err);
    if (status == UM_OK && any && options->source_on[UM_SOURCE_SPECTRAL])
        status = new_spectral(m, pool, err);
    if (status == UM_OK && any && options->source_on[UM_SOURCE_CONTENT])
        status = um_content_factors(&m->content, dataset, options->content_rank, options->seed,
                                    pool, err);
    if (status != UM_OK)
        um_exposure_model_dispose(m);
    return status;
}

void um_exposure_model_dispose(um_exposure_model *m)
{
    um_factors_dispose(&m->spectral);
    um_factors_dispose(&m->content);
    free(m->popular);
    free(m->n_popular);
    memset(m, 0, sizeof *m);
}

um_status um_exposure_work_new(um_exposure_work *w, const um_exposure_model *m, um_error *err)
{
    memset(w, 0, sizeof *w);
    size_t n_items = m->d->items.n_rows;
    uint32_t rank = m->spectral.rank > m->content.rank ? m->spectral.rank : m->content.rank;
    w->mark = um_calloc(n_items, sizeof *w->mark);
    w->candidates = um_calloc(n_items, sizeof *w->candidates);
    w->queries = um_calloc(UM_EXPOSURE_BATCH, rank * sizeof *w->queries);
    w->spectral = um_calloc(m->spectral.stride, UM_EXPOSURE_BATCH * sizeof *w->spectral);
    w->content = um_calloc(m->content.stride, UM_EXPOSURE_BATCH * sizeof *w->content);
    w->rankings = um_calloc(UM_SOURCE_COUNT, m->cut_max * sizeof *w->rankings);
    if (w->mark == NULL || w->candidates == NULL || w->queries == NULL || w->spectral == NULL ||
        w->content == NULL || w->rankings == NULL) {
        um_exposure_work_dispose(w);
        return um_fail_memory(err, "exposure rankings");
    }
    return UM_OK;
}

void um_exposure_work_dispose(um_exposure_work *w)
{
    free(w->mark);
    free(w->candidates);
    free(w->queries);
    free(w->spectral);
    free(w->content);
    free(w->rankings);
    memset(w, 0, sizeof *w);
}

/* Drawing ---------------------------------------------------------------------------------------
 */

static void score_spectral(const um_exposure_model *m, um_exposure_work *w, size_t first, size_t n)
{
    const um_dataset *d = m->d;
    uint32_t rank = m->spectral.rank;
    memset(w->queries, 0, n * rank * sizeof *w->queries);
    for (size_t b = 0; b < n; b++) {
        const um_scene_target *t = &m->plan->targets[first + b];
        uint64_t begin = d->user_start[t->user];
        w->epoch++;
        for (uint64_t i = begin; i < begin + t->n_before; i++) {
            if (w->mark[d->item[i]] == w->epoch)
                continue;
            w->mark[d->item[i]] = w->epoch;
            um_factors_add(&m->spectral, w->queries + b * rank, d->item[i]);
        }
    }
    um_factors_score(&m->spectral, w->queries, n, w->spectral);
}

static void score_content(const um_exposure_model *m, um_exposure_work *w, size_t first, size_t n)
{
    uint32_t rank = m->content.rank;
    memset(w->queries, 0, n * rank * sizeof *w->queries);
    for (size_t b = 0; b < n; b++)
        um_factors_add(&m->content, w->queries + b * rank,
                       m->d->item[m->plan->targets[first + b].interaction]);
    um_factors_score(&m->content, w->queries, n, w->content);
}

static void take_logged(um_exposure *out, const um_dataset *d, uint64_t interaction)
{
    uint64_t begin = d->impression_start[interaction];
    out->k = (uint32_t)(d->impression_start[interaction + 1] - begin);
    out->target = (uint32_t)d->impression_position[interaction];
    memcpy(out->items, d->impression_item + begin, out->k * sizeof *out->items);
    memset(out->sources, UM_SOURCE_NONE, out->k);
}

/* Puts the target among the want distractors already in out, at a uniform place of want + 1. */
static void insert_target(um_exposure *out, uint32_t want, uint32_t item, um_rng *rng)
{
    out->k = want + 1;
    out->target = um_rng_below(rng, out->k);
    for (uint32_t i = want; i > out->target; i--) {
        out->items[i] = out->items[i - 1];
        out->sources[i] = out->sources[i - 1];
    }
    out->items[out->target] = item;
    out->sources[out->target] = UM_SOURCE_NONE;
}

static void draw_one(um_exposure *out, const um_exposure_model *m, um_exposure_work *w,
                     size_t scene, size_t row)
{
    const um_scene_options *o = m->o;
    const um_scene_target *t = &m->plan->targets[scene];
    uint32_t min = t->split == UM_SPLIT_EVAL ? o->eval_min_len : o->train_min_len;
    uint32_t cut = cut_of(o, t->split), n = list_candidates(w, m->d, t), n_rankings = 0;
    um_ranking rankings[UM_SOURCE_COUNT];
    um_rng r;
    um_rng_init(&r, o->seed, UM_RNG_EXPOSURE, t->interaction, 0, 0);
    uint32_t want = min - 1 + um_rng_below(&r, max_len(o, t->split) - min + 1);
    for (int s = UM_SOURCE_COUNT - 1; s >= 0; s--) {
        /* Random comes last (s = 0): it permutes the candidates. */
        if (!o->source_on[s])
            continue;
        uint32_t *items = w->rankings + (size_t)s * m->cut_max, found = 0;
        if (s == UM_SOURCE_SPECTRAL)
            found =
                um_rank_top(items, cut, w->candidates, n, w->spectral + row * m->spectral.stride);
        else if (s == UM_SOURCE_CONTENT)
            found = um_rank_top(items, cut, w->candidates, n, w->content + row * m->content.stride);
        else if (s == UM_SOURCE_POPULARITY) {
            items = m->popular + scene * m->cut_max;
            found = m->n_popular[scene];
        } else
            found = um_rank_random(items, cut, w->candidates, n, &r);
        rankings[n_rankings++] = (um_ranking){items, found, (um_source)s};
    }
    uint32_t filled =
        um_rank_merge(out->items, out->sources, want, rankings, n_rankings, w->mark, w->epoch, &r);
    if (filled < want) {
        /* Sources that know too little leave room for random items. */
        uint32_t left = 0;
        for (uint32_t i = 0; i < n; i++)
            if (w->mark[w->candidates[i]] != w->epoch)
                w->candidates[left++] = w->candidates[i];
        uint32_t more = um_rank_random(out->items + filled, want - filled, w->candidates, left, &r);
        memset(out->sources + filled, UM_SOURCE_RANDOM, more);
        filled += more;
    }
    insert_target(out, filled, m->d->item[t->interaction], &r);
}

void um_exposures_draw(um_exposure *out, const um_exposure_model *m, um_exposure_work *w,
                       size_t first, size_t n)
{
    if (m->spectral.rank > 0)
        score_spectral(m, w, first, n);
    if (m->content.rank > 0)
        score_content(m, w, first, n);
    for (size_t b = 0; b < n; b++) {
        const um_scene_target *t = &m->plan->targets[first + b];
        if (t->logged)
            take_logged(&out[b], m->d, t->interaction);
        else
            draw_one(&out[b], m, w, first + b, b);
    }
}
