/*
 * audit_figures.c - the counts and distributions of an audit: positions, sources, lengths, times,
 * and how popular targets are beside what stands with them.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "scene/audit.h"

/* Spreads ------------------------------------------------------------------------------------- */

static int by_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int64_t nearest_rank(const int64_t *sorted, size_t n, double q)
{
    size_t rank = (size_t)ceil(q * (double)n);
    return sorted[rank > 0 ? rank - 1 : 0];
}

void um_spread_of(um_spread *out, int64_t *values, size_t n)
{
    double sum = 0;
    *out = (um_spread){.n = n, .width = 1};
    if (n == 0)
        return;
    qsort(values, n, sizeof *values, by_i64);
    for (size_t i = 0; i < n; i++)
        sum += (double)values[i];
    out->mean = sum / (double)n;
    out->min = values[0];
    out->p05 = nearest_rank(values, n, 0.05);
    out->p25 = nearest_rank(values, n, 0.25);
    out->median = nearest_rank(values, n, 0.5);
    out->p75 = nearest_rank(values, n, 0.75);
    out->p95 = nearest_rank(values, n, 0.95);
    out->max = values[n - 1];
    for (int step = 0;
         (out->max - out->min / out->width * out->width) / out->width + 1 > UM_SPREAD_BINS; step++)
        out->width = step % 3 == 1 ? out->width / 2 * 5 : out->width * 2; /* 1 2 5 10 20 50 */
    out->first = out->min / out->width * out->width;
    for (size_t i = 0; i < n; i++)
        out->bins[(values[i] - out->first) / out->width]++;
    out->n_bins = (uint32_t)((out->max - out->first) / out->width) + 1;
}

/* Popularity ------------------------------------------------------------------------------------
 */

/* Times of the clicks of the items that stand in some list, sorted: those of item i are
 * [start[i], start[i + 1]). */
typedef struct clicks {
    uint64_t *start; /* [items + 1] */
    int64_t *time_s;
} clicks;

static void clicks_dispose(clicks *c)
{
    free(c->start);
    free(c->time_s);
}

static um_status clicks_new(clicks *c, const um_auditor *a, um_error *err)
{
    const um_dataset *d = a->d;
    bool *listed = um_calloc(d->items.n_rows, sizeof *listed);
    um_status status = UM_OK;

    *c = (clicks){.start = um_calloc((size_t)d->items.n_rows + 2, sizeof *c->start)};
    if (listed == NULL || c->start == NULL) {
        status = um_fail_memory(err, "the audit");
        goto done;
    }
    for (size_t i = 0; i < a->set->n; i++) {
        const um_scene *s = &a->set->scenes[i];
        for (uint32_t j = 0; um_audit_takes(a, s) && j < s->k; j++) {
            if (s->items[j] < d->items.n_rows)
                listed[s->items[j]] = true;
        }
    }
    /* Counts go two places up, so that filling moves each start to where it belongs. */
    for (uint64_t i = 0; i < d->n_interactions; i++)
        c->start[(size_t)d->item[i] + 2] += listed[d->item[i]];
    for (size_t i = 2; i < (size_t)d->items.n_rows + 2; i++)
        c->start[i] += c->start[i - 1];
    c->time_s = um_calloc((size_t)c->start[(size_t)d->items.n_rows + 1], sizeof *c->time_s);
    if (c->time_s == NULL) {
        status = um_fail_memory(err, "the audit");
        goto done;
    }
    for (uint64_t i = 0; i < d->n_interactions; i++) {
        if (listed[d->item[i]])
            c->time_s[c->start[(size_t)d->item[i] + 1]++] = d->time_s[i];
    }
    for (uint32_t i = 0; i < d->items.n_rows; i++)
        qsort(c->time_s + c->start[i], c->start[i + 1] - c->start[i], sizeof *c->time_s, by_i64);
done:
    free(listed);
    return status;
}

static uint64_t clicks_before(const clicks *c, uint32_t item, int64_t time_s)
{
    uint64_t lo = c->start[item], hi = c->start[item + 1];
    while (lo < hi) {
        uint64_t middle = lo + (hi - lo) / 2;
        if (c->time_s[middle] < time_s)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo - c->start[item];
}

/* Sums over scenes of what a blind guess gives and what was found. */
typedef struct guess {
    double pairs, above; /* of target and distractor; ties count half */
    double rank, rank_mean, rank_variance;
    double most, least, chance;
    double most_variance, least_variance;
} guess;

static int popularity_bin(uint64_t n_clicks)
{
    int bin = 0;
    for (; n_clicks > 0; n_clicks >>= 1)
        bin++;
    return bin < UM_AUDIT_POPULARITY_BINS ? bin : UM_AUDIT_POPULARITY_BINS - 1;
}

/* Mid-ranks within a list: 1 + how many are below + half of the others that are equal. */
static double mid_rank(const uint64_t *counts, uint32_t n, uint32_t j)
{
    uint32_t below = 0, equal = 0;
    for (uint32_t l = 0; l < n; l++) {
        below += counts[l] < counts[j];
        equal += counts[l] == counts[j];
    }
    return below + (equal + 1) / 2.0;
}

/* Of the items at the top of a list, which one is taken is a draw: right once in `top`. */
static double top_share(const uint64_t *counts, uint32_t n, uint32_t target, bool most,
                        double *variance)
{
    uint64_t best = counts[0];
    uint32_t top = 0;
    for (uint32_t j = 1; j < n; j++) {
        if (most ? counts[j] > best : counts[j] < best)
            best = counts[j];
    }
    for (uint32_t j = 0; j < n; j++)
        top += counts[j] == best;
    *variance += 1.0 / top / n - 1.0 / n / n;
    return counts[target] == best ? 1.0 / top : 0;
}

static void add_popularity(um_audit_popularity *p, guess *g, const uint64_t *counts, uint32_t n,
                           uint32_t target)
{
    double mean = (n + 1) / 2.0, squares = 0, rank = mid_rank(counts, n, target);
    for (uint32_t j = 0; j < n; j++) {
        double r = mid_rank(counts, n, j);
        squares += r * r;
        (j == target ? p->targets : p->distractors)[popularity_bin(counts[j])]++;
    }
    p->scenes++;
    g->pairs += n - 1;
    g->above += rank - 1;
    g->rank += rank;
    g->rank_mean += mean;
    g->rank_variance += squares / n - mean * mean;
    g->chance += 1.0 / n;
    g->most += top_share(counts, n, target, true, &g->most_variance);
    g->least += top_share(counts, n, target, false, &g->least_variance);
}

static double deviations(double difference, double variance)
{
    return variance > 1e-12 ? difference / sqrt(variance) : 0;
}

static void finish_popularity(um_audit_popularity *p, const guess *g)
{
    double n = (double)p->scenes;
    p->concordance = g->pairs > 0 ? g->above / g->pairs : 0.5;
    p->z = deviations(g->rank - g->rank_mean, g->rank_variance);
    p->p_value = erfc(fabs(p->z) / sqrt(2));
    if (p->scenes == 0)
        return;
    p->most = g->most / n;
    p->least = g->least / n;
    p->chance = g->chance / n;
    p->most_z = deviations(g->most - g->chance, g->most_variance);
    p->least_z = deviations(g->least - g->chance, g->least_variance);
}

static um_status measure_popularity(um_auditor *a, um_error *err)
{
    guess sums[UM_AUDIT_PARTS] = {0};
    clicks c = {0};
    um_status status = clicks_new(&c, a, err);

    for (size_t i = 0; i < a->set->n && status == UM_OK; i++) {
        const um_scene *s = &a->set->scenes[i];
        uint64_t counts[UM_SCENE_MAX_ITEMS];
        uint32_t n = um_audit_listed(s);
        if (!um_audit_takes(a, s) || !um_audit_in_range(a, s) || s->target >= n)
            continue;
        for (uint32_t j = 0; j < n; j++)
            counts[j] = clicks_before(&c, s->items[j], s->time_s);
        const int parts[2] = {(int)s->split, UM_AUDIT_ALL};
        for (int p = 0; p < 2; p++)
            add_popularity(&a->out->parts[parts[p]].popularity, &sums[parts[p]], counts, n,
                           s->target);
    }
    for (int p = 0; p < UM_AUDIT_PARTS; p++)
        finish_popularity(&a->out->parts[p].popularity, &sums[p]);
    clicks_dispose(&c);
    return status;
}

/* Times --------------------------------------------------------------------------------------- */

static int64_t unit_of(int64_t time_s, um_audit_unit unit)
{
    char text[32];
    long long year = 0;
    int month = 1;
    if (unit == UM_AUDIT_DAY)
        return time_s / 86400 - (time_s % 86400 < 0);
    um_time_format(time_s, text);
    /* Always matches: a year, a month. */
    if (sscanf(text, "%lld-%d", &year, &month) != 2)
        return 0;
    return unit == UM_AUDIT_MONTH ? year * 12 + month - 1 : year;
}

void um_audit_time_label(const um_audit_times *t, uint32_t i, char out[32])
{
    int64_t at = t->first + (int64_t)i * t->step;
    char text[32];
    if (t->unit == UM_AUDIT_DAY) {
        um_time_format(at * 86400, text);
        snprintf(out, 32, "%.10s", text);
    } else if (t->unit == UM_AUDIT_MONTH) {
        int64_t year = at / 12 - (at % 12 < 0);
        snprintf(out, 32, "%04lld-%02d", (long long)year, (int)(at - year * 12) + 1);
    } else {
        snprintf(out, 32, "%lld", (long long)at);
    }
}

static void measure_times(um_auditor *a)
{
    um_audit_times *t = &a->out->times;
    int64_t lo_s = INT64_MAX, hi_s = INT64_MIN;

    for (size_t i = 0; i < a->set->n; i++) {
        const um_scene *s = &a->set->scenes[i];
        if (!um_audit_takes(a, s) || s->time_s == 0)
            continue;
        lo_s = s->time_s < lo_s ? s->time_s : lo_s;
        hi_s = s->time_s > hi_s ? s->time_s : hi_s;
    }
    t->step = 1;
    if (lo_s <= hi_s) {
        while (t->unit < UM_AUDIT_YEAR &&
               unit_of(hi_s, t->unit) - unit_of(lo_s, t->unit) >= UM_AUDIT_TIMES)
            t->unit++;
        t->first = unit_of(lo_s, t->unit);
        while ((unit_of(hi_s, t->unit) - t->first) / t->step >= UM_AUDIT_TIMES)
            t->step *= 10;
        t->n = (uint32_t)((unit_of(hi_s, t->unit) - t->first) / t->step) + 1;
    }
    for (size_t i = 0; i < a->set->n; i++) {
        const um_scene *s = &a->set->scenes[i];
        if (!um_audit_takes(a, s))
            continue;
        if (s->time_s == 0)
            t->unknown++;
        else
            t->bins[s->split][(unit_of(s->time_s, t->unit) - t->first) / t->step]++;
    }
}

/* Parts --------------------------------------------------------------------------------------- */

static void count_scene(um_audit_part *p, const um_scene *s)
{
    uint32_t n = um_audit_listed(s);
    p->scenes++;
    p->logged += um_audit_is_logged(s);
    p->with_none += n < s->k;
    p->chance += 1.0 / s->k;
    if (s->target >= n)
        p->none++;
    else
        p->positions[n][s->target]++;
    for (uint32_t j = 0; j < n; j++) {
        if (j != s->target)
            p->sources[s->sources[j] < UM_SOURCE_COUNT ? s->sources[j] : UM_SOURCE_COUNT]++;
    }
}

typedef enum figure { CHOICES, HISTORY } figure;

static void spread_figure(um_spread *out, const um_auditor *a, int part, figure which,
                          int64_t *values)
{
    size_t n = 0;
    for (size_t i = 0; i < a->set->n; i++) {
        const um_scene *s = &a->set->scenes[i];
        if (um_audit_takes(a, s) && (part == UM_AUDIT_ALL || (int)s->split == part))
            values[n++] = which == CHOICES ? s->k : s->n_history;
    }
    um_spread_of(out, values, n);
}

/* values: [the larger of scenes and users]. */
static void spread_users(um_spread *out, const um_auditor *a, int part, uint32_t *counts,
                         int64_t *values)
{
    uint32_t n_users = a->d->users.n_rows;
    size_t n = 0;
    memset(counts, 0, n_users * sizeof *counts);
    for (size_t i = 0; i < a->set->n; i++) {
        const um_scene *s = &a->set->scenes[i];
        if (um_audit_takes(a, s) && s->user < n_users &&
            (part == UM_AUDIT_ALL || (int)s->split == part))
            counts[s->user]++;
    }
    for (uint32_t u = 0; u < n_users; u++) {
        if (counts[u] > 0)
            values[n++] = counts[u];
    }
    um_spread_of(out, values, n);
}

um_status um_audit_figures(um_auditor *a, um_error *err)
{
    const um_scene_set *set = a->set;
    um_audit *out = a->out;
    uint32_t n_users = a->d->users.n_rows;
    uint32_t *counts = um_calloc(n_users, sizeof *counts);
    int64_t *values = um_calloc(set->n > n_users ? set->n : n_users, sizeof *values);
    um_status status;

    if (counts == NULL || values == NULL) {
        status = um_fail_memory(err, "the audit");
        goto done;
    }
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        if (!um_audit_takes(a, s) || !um_audit_in_range(a, s))
            continue;
        count_scene(&out->parts[s->split], s);
        count_scene(&out->parts[UM_AUDIT_ALL], s);
    }
    for (int p = 0; p < UM_AUDIT_PARTS; p++) {
        um_audit_part *part = &out->parts[p];
        part->chance = part->scenes > 0 ? part->chance / (double)part->scenes : 0;
        spread_figure(&part->choices, a, p, CHOICES, values);
        spread_figure(&part->history, a, p, HISTORY, values);
        spread_users(&part->scenes_a_user, a, p, counts, values);
    }
    measure_times(a);
    status = out->has_log ? measure_popularity(a, err) : UM_OK;
done:
    free(counts);
    free(values);
    return status;
}
