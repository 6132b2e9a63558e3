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

/* How many items of each ranking take part, at most UM_RANK_TOP_MAX. */
static uint32_t cut_of(const um_scene_options *o, um_split split)
{
    uint32_t cut = 3 * max_len(o, split);
    return cut > MIN_CUT ? cut : MIN_CUT;
}

/* Items that may stand beside the target; marks the user's own with the current epoch. */
static uint32_t list_candidates(um_exposure_work *w, const um_dataset *d, const um_scene_target *t)
{
    uint32_t n = 0;
    um_scene_mark_user(d, t->user, w->mark, ++w->epoch);
    for (uint32_t i = 0; i < d->items.n_rows; i++) {
        w->candidates[n] = i;
        n += um_scene_item_allowed(d, w->mark, w->epoch, t->time_s, i);
    }
    return n;
}

/* Popularity ------------------------------------------------------------------------------------
 */

/*
 * Counts of what training knows before each scene. Scenes are sorted by time; a click belongs to
 * the first scene it lies before, so the counts of scene s are the sum of buckets 0..s. Whole
 * numbers: their order does not matter.
 */
typedef struct timed_scene {
    int64_t time_s;
    size_t target; /* of the plan */
} timed_scene;

static int compare_scenes(const void *a, const void *b)
{
    const timed_scene *x = a, *y = b;
    if (x->time_s != y->time_s)
        return x->time_s < y->time_s ? -1 : 1;
    return (x->target > y->target) - (x->target < y->target);
}

enum { TIME_BINS = 1 << 14 };

typedef struct popularity {
    um_exposure_model *m;
    timed_scene *scenes; /* [n_scenes] */
    size_t n_scenes;
    uint32_t
        *first; /* [TIME_BINS + 2] first scene of each of TIME_BINS equal parts of their time, */
    double bins_a_second;   /* and of what comes after; then n_scenes */
    uint64_t *bucket_start; /* [n_scenes + 1] */
    uint32_t *clicks;       /* items by bucket */
    um_status *failed;      /* [threads] */
} popularity;

/* A thread adds up the buckets from the first one for whichever scene it begins with. */
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
    for (uint64_t c = 0; c < p->bucket_start[begin]; c++)
        counts[p->clicks[c]] += 1.0f;
    for (size_t s = begin; s < end; s++) {
        for (uint64_t c = p->bucket_start[s]; c < p->bucket_start[s + 1]; c++)
            counts[p->clicks[c]] += 1.0f;
        size_t scene = p->scenes[s].target;
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

static size_t bin_of(const popularity *p, int64_t time_s)
{
    double bin = ((double)time_s - (double)p->scenes[0].time_s) * p->bins_a_second;
    return bin < TIME_BINS ? (size_t)bin : TIME_BINS;
}

static um_status fill_bins(popularity *p, um_error *err)
{
    p->first = um_calloc(TIME_BINS + 2, sizeof *p->first);
    if (p->first == NULL)
        return um_fail_memory(err, "popularity rankings");
    double span = p->n_scenes > 0
                      ? (double)p->scenes[p->n_scenes - 1].time_s - (double)p->scenes[0].time_s
                      : 0.0;
    p->bins_a_second = span > 0.0 ? TIME_BINS / span : 0.0;
    size_t s = 0;
    for (size_t bin = 0; bin <= TIME_BINS + 1; bin++) {
        while (s < p->n_scenes && bin_of(p, p->scenes[s].time_s) < bin)
            s++;
        p->first[bin] = (uint32_t)s;
    }
    return UM_OK;
}

/* The first scene after time_s, n_scenes when there is none. */
static size_t scene_after(const popularity *p, int64_t time_s)
{
    if (p->n_scenes == 0 || time_s < p->scenes[0].time_s)
        return 0;
    size_t bin = bin_of(p, time_s), low = p->first[bin], high = p->first[bin + 1];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->scenes[middle].time_s <= time_s)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Sorts what training knows into buckets: once to count, once to fill. */
static um_status fill_buckets(popularity *p, um_error *err)
{
    const um_dataset *d = p->m->d;
    const um_split_plan *plan = p->m->plan;
    uint64_t *fill = um_calloc(p->n_scenes + 1, sizeof *fill);
    if (fill == NULL)
        return um_fail_memory(err, "popularity rankings");
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t u = 0; u < d->users.n_rows; u++) {
            for (uint64_t i = d->user_start[u]; plan->train_user[u] && i < d->user_start[u + 1] &&
                                                d->time_s[i] < plan->known_until_s;
                 i++) {
                size_t s = scene_after(p, d->time_s[i]);
                if (s == p->n_scenes)
                    break; /* later than every scene, and so is what follows */
                if (pass == 0)
                    p->bucket_start[s + 1]++;
                else
                    p->clicks[fill[s]++] = d->item[i];
            }
        }
        if (pass > 0)
            break;
        for (size_t s = 0; s < p->n_scenes; s++)
            p->bucket_start[s + 1] += p->bucket_start[s];
        memcpy(fill, p->bucket_start, (p->n_scenes + 1) * sizeof *fill);
        p->clicks = um_calloc(p->bucket_start[p->n_scenes], sizeof *p->clicks);
        if (p->clicks == NULL) {
            free(fill);
            return um_fail_memory(err, "popularity rankings");
        }
    }
    free(fill);
    return UM_OK;
}

static um_status new_popularity(um_exposure_model *m, um_pool *pool, um_error *err)
{
    um_status status = UM_OK;
    popularity p = {.m = m};
    int threads = um_pool_threads(pool);
    p.scenes = um_calloc(m->plan->n, sizeof *p.scenes);
    p.bucket_start = um_calloc(m->plan->n + 1, sizeof *p.bucket_start);
    p.failed = um_calloc((size_t)threads, sizeof *p.failed);
    m->popular = um_calloc(m->plan->n, m->cut_max * sizeof *m->popular);
    m->n_popular = um_calloc(m->plan->n, sizeof *m->n_popular);
    if (p.scenes == NULL || p.bucket_start == NULL || p.failed == NULL || m->popular == NULL ||
        m->n_popular == NULL) {
        status = um_fail_memory(err, "popularity rankings");
        goto done;
    }
    for (size_t s = 0; s < m->plan->n; s++)
        if (!m->plan->targets[s].logged)
            p.scenes[p.n_scenes++] = (timed_scene){m->plan->targets[s].time_s, s};
    qsort(p.scenes, p.n_scenes, sizeof *p.scenes, compare_scenes);
    if ((status = fill_bins(&p, err)) != UM_OK || (status = fill_buckets(&p, err)) != UM_OK)
        goto done;
    um_pool_run(pool, p.n_scenes, 1, rank_popular, &p);
    for (int i = 0; i < threads && status == UM_OK; i++)
        if (p.failed[i] != UM_OK)
            status = um_fail_memory(err, "popularity rankings");
done:
    free(p.scenes);
    free(p.first);
    free(p.bucket_start);
    free(p.clicks);
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
    size_t n_left_out = 0;
    for (size_t i = 0; i < n; i++)
        if (m->plan->targets[i].interaction != UM_SCENE_NO_INTERACTION)
            left_out[n_left_out++] = m->plan->targets[i].interaction;
    um_status status = um_spectral_factors(
        &m->spectral, m->d, m->plan->train_user, m->plan->known_until_s, left_out, n_left_out,
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
    if (any && um_scene_source_on(options, UM_SOURCE_POPULARITY))
        status = new_popularity(m, pool, err);
    if (status == UM_OK && any && um_scene_source_on(options, UM_SOURCE_SPECTRAL))
        status = new_spectral(m, pool, err);
    if (status == UM_OK && any && um_scene_source_on(options, UM_SOURCE_CONTENT))
        status = options->embeddings != NULL
                     ? um_embedding_factors(&m->content, dataset, options->embeddings, err)
                     : um_content_factors(&m->content, dataset, options->content_rank,
                                          options->seed, pool, err);
    if (status == UM_OK && any && um_scene_source_on(options, UM_SOURCE_SOCIAL))
        status = um_social_new(&m->social, dataset, plan->train_user, plan->known_until_s, err);
    if (status != UM_OK)
        um_exposure_model_dispose(m);
    return status;
}

void um_exposure_model_dispose(um_exposure_model *m)
{
    um_factors_dispose(&m->spectral);
    um_factors_dispose(&m->content);
    um_social_free(m->social);
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
    w->friends = um_calloc(m->social != NULL ? n_items : 0, sizeof *w->friends);
    w->touched = um_calloc(m->social != NULL ? n_items : 0, sizeof *w->touched);
    w->rankings = um_calloc(UM_SOURCE_COUNT, m->cut_max * sizeof *w->rankings);
    if (w->mark == NULL || w->candidates == NULL || w->queries == NULL || w->spectral == NULL ||
        w->content == NULL || w->friends == NULL || w->touched == NULL || w->rankings == NULL) {
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
    free(w->friends);
    free(w->touched);
    free(w->rankings);
    memset(w, 0, sizeof *w);
}

/* Drawing ---------------------------------------------------------------------------------------
 */

/* rows: the targets of the plan to score, none of them logged. */
static void score_spectral(const um_exposure_model *m, um_exposure_work *w, const size_t *rows,
                           size_t n)
{
    const um_dataset *d = m->d;
    uint32_t rank = m->spectral.rank;
    memset(w->queries, 0, n * rank * sizeof *w->queries);
    for (size_t b = 0; b < n; b++) {
        const um_scene_target *t = &m->plan->targets[rows[b]];
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

static void score_content(const um_exposure_model *m, um_exposure_work *w, const size_t *rows,
                          size_t n)
{
    uint32_t rank = m->content.rank;
    memset(w->queries, 0, n * rank * sizeof *w->queries);
    for (size_t b = 0; b < n; b++)
        um_factors_add(&m->content, w->queries + b * rank,
                       m->d->item[m->plan->targets[rows[b]].interaction]);
    um_factors_score(&m->content, w->queries, n, w->content);
}

/* The allowed items of most friends; the user's own are marked with the current epoch. */
static uint32_t rank_social(uint32_t *out, uint32_t cut, const um_exposure_model *m,
                            um_exposure_work *w, const um_scene_target *t, uint32_t n_touched)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_touched; i++)
        if (um_scene_item_allowed(m->d, w->mark, w->epoch, t->time_s, w->touched[i])) {
            uint32_t item = w->touched[n];
            w->touched[n++] = w->touched[i];
            w->touched[i] = item;
        }
    uint32_t found = um_rank_top(out, cut, w->touched, n, w->friends);
    for (uint32_t i = 0; i < n_touched; i++)
        w->friends[w->touched[i]] = 0.0f;
    return found;
}

/* "None of these" comes last, and is no distractor of any source. */
static void append_none(um_exposure *out)
{
    out->items[out->k] = UM_SCENE_NONE;
    out->sources[out->k++] = UM_SOURCE_NONE;
}

static void take_logged(um_exposure *out, const um_exposure_model *m, const um_scene_target *t)
{
    const um_dataset *d = m->d;
    const uint32_t *items;
    if (t->interaction != UM_SCENE_NO_INTERACTION) {
        items = d->impression_item + d->impression_start[t->interaction];
        out->k = (uint32_t)(d->impression_start[t->interaction + 1] -
                            d->impression_start[t->interaction]);
        out->target = (uint32_t)d->impression_position[t->interaction];
    } else {
        items = d->skip_item + d->skip_list_start[t->skip];
        out->k = (uint32_t)(d->skip_list_start[t->skip + 1] - d->skip_list_start[t->skip]);
        out->target = out->k; /* where append_none puts it */
    }
    memcpy(out->items, items, out->k * sizeof *out->items);
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

/* The rankings of a target, in w->rankings; returns how many. row: of the score tables. */
static size_t list_rankings(um_ranking *rankings, const um_exposure_model *m, um_exposure_work *w,
                            size_t scene, size_t row, uint32_t *n_candidates, um_rng *rng)
{
    const um_scene_options *o = m->o;
    const um_scene_target *t = &m->plan->targets[scene];
    size_t n_rankings = 0;
    uint32_t cut = cut_of(o, t->split), n_touched = 0;
    if (m->social != NULL) /* before the user's items are marked: it marks too */
        n_touched = um_social_counts(m->social, t->user, t->time_s, w->friends, w->touched, w->mark,
                                     &w->epoch);
    uint32_t n = *n_candidates = list_candidates(w, m->d, t);
    for (int s = UM_SOURCE_COUNT - 1; s >= 0; s--) {
        /* Random comes last (s = 0): it permutes the candidates. */
        if (!um_scene_source_on(o, (um_source)s))
            continue;
        uint32_t *items = w->rankings + (size_t)s * m->cut_max, found = 0;
        if (s == UM_SOURCE_SPECTRAL) {
            found =
                um_rank_top(items, cut, w->candidates, n, w->spectral + row * m->spectral.stride);
        } else if (s == UM_SOURCE_CONTENT) {
            found = um_rank_top(items, cut, w->candidates, n, w->content + row * m->content.stride);
        } else if (s == UM_SOURCE_POPULARITY) {
            items = m->popular + scene * m->cut_max;
            found = m->n_popular[scene];
        } else if (s == UM_SOURCE_SOCIAL) {
            found = rank_social(items, cut, m, w, t, n_touched);
        } else {
            found = um_rank_random(items, cut, w->candidates, n, rng);
        }
        rankings[n_rankings++] = (um_ranking){items, found, (um_source)s, o->source_weight[s]};
    }
    return n_rankings;
}

static void draw_one(um_exposure *out, const um_exposure_model *m, um_exposure_work *w,
                     size_t scene, size_t row)
{
    const um_scene_options *o = m->o;
    const um_scene_target *t = &m->plan->targets[scene];
    uint32_t min = t->split == UM_SPLIT_EVAL ? o->eval_min_len : o->train_min_len, n;
    um_ranking rankings[UM_SOURCE_COUNT];
    um_rng r;
    um_rng_init(&r, o->seed, UM_RNG_EXPOSURE, t->interaction, 0, 0);
    uint32_t want = min - 1 + um_rng_below(&r, max_len(o, t->split) - min + 1);
    size_t n_rankings = list_rankings(rankings, m, w, scene, row, &n, &r);
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
    size_t rows[UM_EXPOSURE_BATCH], n_rows = 0, row = 0;
    for (size_t b = 0; b < n; b++)
        if (!m->plan->targets[first + b].logged)
            rows[n_rows++] = first + b;
    if (m->spectral.rank > 0 && n_rows > 0)
        score_spectral(m, w, rows, n_rows);
    if (m->content.rank > 0 && n_rows > 0)
        score_content(m, w, rows, n_rows);
    for (size_t b = 0; b < n; b++) {
        if (m->plan->targets[first + b].logged)
            take_logged(&out[b], m, &m->plan->targets[first + b]);
        else
            draw_one(&out[b], m, w, first + b, row++);
        if (m->o->no_click)
            append_none(&out[b]);
    }
}
