#include "scene/split.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"

/* What the c word of a UM_RNG_SPLIT stream is for; a and b are ids. */
enum { DRAW_USERS, DRAW_TARGETS, DRAW_BASE, DRAW_EVAL_USERS, DRAW_EVAL_TARGETS };
enum { FITS = -1 }; /* where an um_drop says why not */

/* One group of users while its targets are being chosen. */
typedef struct group {
    const um_dataset *d;
    const um_scene_options *o;
    int64_t from_s, until_s; /* its targets' times are in [from_s, until_s) */
    uint32_t *users;         /* [n_users], those with targets left, in taking order */
    uint32_t n_users;
    uint32_t *n_possible; /* [users] */
    uint32_t **order;     /* [users] their targets as shuffled so far; NULL before round 1 */
    uint32_t *mark;       /* [items] */
    uint32_t epoch;
    uint64_t draw;  /* purpose of its target streams */
    um_split split; /* UM_SPLIT_TRAIN stands for base and train */
} group;

/* The possible targets of a user, numbered from 0: interactions, then skipped lists. */
typedef struct range {
    uint64_t first, n;
    uint64_t first_skip, n_skips;
} range;

/*
 * Offset of the first interaction that has min_order strictly earlier ones. Every later one has
 * them too, so the possible targets of a user are a tail of their interactions.
 */
static uint64_t first_possible(const um_dataset *d, uint32_t user, uint32_t min_order)
{
    uint64_t begin = d->user_start[user], n = d->user_start[user + 1] - begin;
    uint64_t first = min_order;
    while (first > 0 && first < n && d->time_s[begin + first] == d->time_s[begin + first - 1])
        first++;
    return min_order == 0 ? 0 : first < n ? first : n;
}

static range possible_targets(const group *g, uint32_t user)
{
    const um_dataset *d = g->d;
    uint64_t begin = d->user_start[user], end = d->user_start[user + 1];
    uint64_t min_order = g->o->min_order;
    range r = {.first = begin + first_possible(d, user, g->o->min_order)};
    uint64_t from = um_first_at(d->time_s, r.first, end, g->from_s);
    r.n = um_first_at(d->time_s, from, end, g->until_s) - from;
    r.first = from;
    if (!g->o->no_click || !g->o->use_impressions || d->skip_start == NULL ||
        end - begin < min_order)
        return r;
    /* Those after the interaction that makes min_order earlier ones. */
    int64_t from_s = g->from_s;
    if (min_order > 0 && d->time_s[begin + min_order - 1] >= from_s)
        from_s = d->time_s[begin + min_order - 1] + 1;
    r.first_skip =
        um_first_at(d->skip_time_s, d->skip_start[user], d->skip_start[user + 1], from_s);
    r.n_skips = um_first_at(d->skip_time_s, r.first_skip, d->skip_start[user + 1], g->until_s) -
                r.first_skip;
    return r;
}

/* A list that shows an item twice gives two letters to one choice: it is no scene. */
static bool has_repeats(const uint32_t *items, uint64_t n)
{
    for (uint64_t i = 1; i < n; i++) {
        for (uint64_t j = 0; j < i; j++) {
            if (items[i] == items[j])
                return true;
        }
    }
    return false;
}

static bool same_list(const um_dataset *d, uint64_t a, uint64_t b)
{
    uint64_t at = d->impression_start[a], n = d->impression_start[a + 1] - at;
    uint64_t other = d->impression_start[b];
    return d->impression_start[b + 1] - other == n &&
           memcmp(d->impression_item + at, d->impression_item + other,
                  (size_t)n * sizeof *d->impression_item) == 0;
}

/* Whether the impression of an interaction has a click on another item too. */
static bool has_more_clicks(const um_dataset *d, uint32_t user, uint64_t i)
{
    uint64_t begin = d->user_start[user], end = d->user_start[user + 1];
    for (uint64_t j = i; j > begin && d->time_s[j - 1] == d->time_s[i]; j--) {
        if (d->item[j - 1] != d->item[i] && same_list(d, i, j - 1))
            return true;
    }
    for (uint64_t j = i + 1; j < end && d->time_s[j] == d->time_s[i]; j++) {
        if (d->item[j] != d->item[i] && same_list(d, i, j))
            return true;
    }
    return false;
}

static int check_list(const group *g, const uint32_t *items, uint64_t n)
{
    uint64_t none = g->o->no_click;
    if (n + none > UM_SCENE_MAX_ITEMS)
        return UM_DROP_LONG_LIST;
    if (n + none < 2 || n == 0)
        return UM_DROP_FEW_CANDIDATES;
    return has_repeats(items, n) ? UM_DROP_BAD_LIST : FITS;
}

static int check_logged(const group *g, const um_scene_target *t)
{
    const um_dataset *d = g->d;
    uint64_t i = t->interaction, begin = d->impression_start[i];
    uint64_t n = d->impression_start[i + 1] - begin;
    int32_t position = d->impression_position[i];
    int fit = check_list(g, d->impression_item + begin, n);
    if (fit != FITS)
        return fit;
    if (position < 0 || (uint64_t)position >= n ||
        d->impression_item[begin + (uint64_t)position] != d->item[i])
        return UM_DROP_BAD_LIST;
    return g->o->multi_click == UM_MULTI_CLICK_SKIP && has_more_clicks(d, t->user, i)
               ? UM_DROP_MULTI_CLICK
               : FITS;
}

/* Whether a scene can be made of the target: FITS, or an um_drop. */
static int check_target(group *g, um_scene_target *t)
{
    const um_dataset *d = g->d;
    if (t->interaction == UM_SCENE_NO_INTERACTION) {
        uint64_t begin = d->skip_list_start[t->skip];
        t->logged = true;
        return check_list(g, d->skip_item + begin, d->skip_list_start[t->skip + 1] - begin);
    }
    t->logged = g->o->use_impressions && d->impression_start != NULL &&
                d->impression_start[t->interaction] < d->impression_start[t->interaction + 1];
    if (t->logged)
        return check_logged(g, t);
    uint32_t min_len = g->split == UM_SPLIT_EVAL ? g->o->eval_min_len : g->o->train_min_len;
    uint32_t found = 0;
    um_scene_mark_user(d, t->user, g->mark, ++g->epoch);
    for (uint32_t i = 0; i < d->items.n_rows && found + 1 < min_len; i++)
        found += um_scene_item_allowed(d, g->mark, g->epoch, t->time_s, i);
    return found + 1 >= min_len ? FITS : UM_DROP_FEW_CANDIDATES;
}

static uint32_t draw_place(const group *g, uint32_t user, uint32_t round)
{
    um_rng r;
    um_rng_init(&r, g->o->seed, UM_RNG_SPLIT, user, round, g->draw);
    return round + um_rng_below(&r, g->n_possible[user] - round);
}

static void swap_u32(uint32_t *values, uint32_t i, uint32_t j)
{
    uint32_t value = values[i];
    values[i] = values[j];
    values[j] = value;
}

/* Number of the round-th of the user's shuffled targets: a Fisher-Yates step a round. Nothing is
 * kept of a user before the second, which few users come to when many share the wanted number. */
static um_status draw_number(group *g, uint32_t user, uint32_t round, uint32_t *number,
                             um_error *err)
{
    uint32_t place = draw_place(g, user, round), n = g->n_possible[user];
    *number = place;
    if (round == 0)
        return UM_OK;
    if (g->order[user] == NULL) {
        uint32_t *order = um_calloc(n, sizeof *order);
        if (order == NULL)
            return um_fail_memory(err, "possible scenes");
        for (uint32_t i = 0; i < n; i++)
            order[i] = i;
        swap_u32(order, 0, draw_place(g, user, 0));
        g->order[user] = order;
    }
    swap_u32(g->order[user], round, place);
    *number = g->order[user][round];
    return UM_OK;
}

static um_status draw_target(group *g, uint32_t user, uint32_t round, um_scene_target *t,
                             um_error *err)
{
    const um_dataset *d = g->d;
    range r = possible_targets(g, user);
    uint32_t number;
    um_status status = draw_number(g, user, round, &number, err);
    if (status != UM_OK)
        return status;
    *t = (um_scene_target){.user = user, .split = g->split};
    if (number < r.n) {
        t->interaction = r.first + number;
        t->time_s = d->time_s[t->interaction];
    } else {
        t->interaction = UM_SCENE_NO_INTERACTION;
        t->skip = r.first_skip + (number - r.n);
        t->time_s = d->skip_time_s[t->skip];
    }
    uint64_t begin = d->user_start[user];
    t->n_before = um_first_at(d->time_s, begin, d->user_start[user + 1], t->time_s) - begin;
    return UM_OK;
}

/* Appends up to `want` targets of the group's users to the plan; *taken tells how many. */
static um_status take_targets(um_split_plan *plan, group *g, size_t want, size_t *taken,
                              um_error *err)
{
    um_scene_target *out = plan->targets + plan->n;
    um_status status = UM_OK;
    *taken = 0;
    for (uint32_t round = 0; g->n_users > 0 && *taken < want && status == UM_OK; round++) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < g->n_users && *taken < want && status == UM_OK; i++) {
            uint32_t user = g->users[i];
            um_scene_target t;
            if ((status = draw_target(g, user, round, &t, err)) != UM_OK)
                break;
            int fit = check_target(g, &t);
            if (fit == FITS)
                out[(*taken)++] = t;
            else
                plan->dropped[fit]++;
            if (round + 1 < g->n_possible[user]) {
                g->users[kept++] = user;
            } else {
                free(g->order[user]);
                g->order[user] = NULL;
            }
        }
        g->n_users = kept;
    }
    for (uint32_t u = 0; u < g->d->users.n_rows; u++) {
        free(g->order[u]);
        g->order[u] = NULL;
    }
    plan->n += *taken;
    return status;
}

/* Orders the first n targets at random, and calls the first of them base in the wanted proportion.
 */
static void assign_base(um_split_plan *plan, size_t n, const um_scene_options *o)
{
    um_rng r;
    um_rng_init(&r, o->seed, UM_RNG_SPLIT, 0, 0, DRAW_BASE);
    for (size_t i = n; i > 1; i--) {
        size_t j = um_rng_below(&r, (uint32_t)i);
        um_scene_target swap = plan->targets[i - 1];
        plan->targets[i - 1] = plan->targets[j];
        plan->targets[j] = swap;
    }
    uint64_t want = (uint64_t)o->base_scenes + o->train_scenes;
    size_t n_base = want > 0 ? (size_t)llround((double)n * o->base_scenes / (double)want) : 0;
    for (size_t i = 0; i < n_base; i++)
        plan->targets[i].split = UM_SPLIT_BASE;
    plan->n_split[UM_SPLIT_BASE] = n_base;
    plan->n_split[UM_SPLIT_TRAIN] = n - n_base;
}

/* Keeps those of the listed users that have a possible target in the group. */
static um_status keep_possible(group *g, um_error *err)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->n_users; i++) {
        uint32_t user = g->users[i];
        range r = possible_targets(g, user);
        if (r.n + r.n_skips > UINT32_MAX)
            return um_fail(err, UM_ERR_LIMIT, "user %s: too many interactions, limit %u",
                           g->d->users.ids[user], UINT32_MAX);
        g->n_possible[user] = (uint32_t)(r.n + r.n_skips);
        if (g->n_possible[user] > 0)
            g->users[kept++] = user;
    }
    g->n_users = kept;
    return UM_OK;
}

/* The possible targets of the group's users at or after t. */
static uint64_t count_from(const group *g, int64_t t)
{
    group after = *g;
    uint64_t n = 0;
    after.from_s = t;
    for (uint32_t i = 0; i < g->n_users; i++) {
        range r = possible_targets(&after, g->users[i]);
        n += r.n + r.n_skips;
    }
    return n;
}

/* Makes [first_s, last_s] hold n ascending times. */
static void widen(int64_t *first_s, int64_t *last_s, const int64_t *times, uint64_t begin,
                  uint64_t n)
{
    if (n == 0)
        return;
    *first_s = times[begin] < *first_s ? times[begin] : *first_s;
    *last_s = times[begin + n - 1] > *last_s ? times[begin + n - 1] : *last_s;
}

/* The cut with the share of possible targets at or after it that comes nearest to the wanted one;
 * of two equally near the later. g: all users, all times. */
static int64_t place_cut(const group *g)
{
    const um_dataset *d = g->d;
    int64_t first_s = INT64_MAX, last_s = INT64_MIN;
    uint64_t total = 0;
    for (uint32_t i = 0; i < g->n_users; i++) {
        range r = possible_targets(g, g->users[i]);
        total += r.n + r.n_skips;
        widen(&first_s, &last_s, d->time_s, r.first, r.n);
        widen(&first_s, &last_s, d->skip_time_s, r.first_skip, r.n_skips);
    }
    if (total == 0)
        return 0;
    uint64_t want = (uint64_t)llround(g->o->eval_time_share * (double)total);
    int64_t low = first_s, high = last_s + 1; /* count_from(high) <= want */
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (count_from(g, middle) <= want)
            high = middle;
        else
            low = middle + 1;
    }
    if (low > first_s && count_from(g, low - 1) - want < want - count_from(g, low))
        low--;
    return low;
}

/* Chooses the targets of both groups. users: [users] scratch. */
static um_status choose_targets(um_split_plan *plan, group *g, uint32_t *users, um_error *err)
{
    const um_scene_options *o = g->o;
    uint32_t n_rows = g->d->users.n_rows, n_eval = 0;
    um_status status;
    um_rng r;
    size_t taken;

    g->users = users;
    g->n_users = n_rows;
    for (uint32_t u = 0; u < n_rows; u++)
        users[u] = u;
    if ((status = keep_possible(g, err)) != UM_OK)
        return status;
    uint32_t n_users = g->n_users;
    if (o->split_by != UM_SPLIT_BY_USER)
        plan->known_until_s = o->time_cut_s != 0 ? o->time_cut_s : place_cut(g);
    um_rng_init(&r, o->seed, UM_RNG_SPLIT, 0, 0, DRAW_USERS);
    um_rng_shuffle_u32(&r, users, n_users);
    if (o->split_by != UM_SPLIT_BY_TIME)
        n_eval = (uint32_t)llround(o->eval_user_share * n_users);
    /* Users without a possible scene teach the rankings, but are held out of nothing. */
    memset(plan->train_user, 1, n_rows * sizeof *plan->train_user);
    for (uint32_t i = 0; i < n_eval; i++)
        plan->train_user[users[i]] = false;

    uint32_t *all = NULL; /* by time a user can be in both groups */
    if (o->split_by == UM_SPLIT_BY_TIME) {
        if ((all = um_calloc(n_users, sizeof *all)) == NULL)
            return um_fail_memory(err, "scene targets");
        memcpy(all, users, n_users * sizeof *all);
        um_rng_init(&r, o->seed, UM_RNG_SPLIT, 0, 0, DRAW_EVAL_USERS);
        um_rng_shuffle_u32(&r, all, n_users);
    }
    g->split = UM_SPLIT_TRAIN;
    g->draw = DRAW_TARGETS;
    g->until_s = plan->known_until_s;
    g->users = users + n_eval;
    g->n_users = n_users - n_eval;
    if ((status = keep_possible(g, err)) == UM_OK)
        status = take_targets(plan, g, (size_t)o->base_scenes + o->train_scenes, &taken, err);
    if (status != UM_OK)
        goto done;
    assign_base(plan, taken, o);
    g->split = UM_SPLIT_EVAL;
    g->draw = all != NULL ? DRAW_EVAL_TARGETS : DRAW_TARGETS;
    g->until_s = INT64_MAX;
    g->from_s = o->split_by == UM_SPLIT_BY_USER ? INT64_MIN : plan->known_until_s;
    g->users = all != NULL ? all : users;
    g->n_users = all != NULL ? n_users : n_eval;
    if ((status = keep_possible(g, err)) == UM_OK)
        status = take_targets(plan, g, o->eval_scenes, &plan->n_split[UM_SPLIT_EVAL], err);
done:
    free(all);
    return status;
}

um_status um_split_plan_new(um_split_plan *plan, const um_dataset *d, const um_scene_options *o,
                            um_error *err)
{
    memset(plan, 0, sizeof *plan);
    plan->known_until_s = INT64_MAX;
    size_t n_rows = d->users.n_rows;
    group g = {.d = d, .o = o, .from_s = INT64_MIN, .until_s = INT64_MAX};
    uint32_t *users = um_calloc(n_rows, sizeof *users);
    g.n_possible = um_calloc(n_rows, sizeof *g.n_possible);
    g.order = um_calloc(n_rows, sizeof *g.order);
    g.mark = um_calloc(d->items.n_rows, sizeof *g.mark);
    plan->train_user = um_calloc(n_rows, sizeof *plan->train_user);
    uint64_t most = (uint64_t)o->base_scenes + o->train_scenes + o->eval_scenes;
    if (most > d->n_interactions + d->n_skips)
        most = d->n_interactions + d->n_skips;
    plan->targets = um_calloc(most, sizeof *plan->targets);
    um_status status = UM_OK;
    if (users == NULL || g.n_possible == NULL || g.order == NULL || g.mark == NULL ||
        plan->train_user == NULL || plan->targets == NULL)
        status = um_fail_memory(err, "scene targets");
    if (status == UM_OK)
        status = choose_targets(plan, &g, users, err);
    free(users);
    free(g.n_possible);
    free(g.order);
    free(g.mark);
    if (status != UM_OK)
        um_split_plan_dispose(plan);
    return status;
}

void um_split_plan_dispose(um_split_plan *plan)
{
    free(plan->targets);
    free(plan->train_user);
    memset(plan, 0, sizeof *plan);
}
