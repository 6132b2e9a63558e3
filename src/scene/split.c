#include "scene/split.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"

/* What the c word of a UM_RNG_SPLIT stream is for; a and b are ids. */
enum { DRAW_USERS, DRAW_TARGETS, DRAW_BASE };

/* One group of users while its targets are being chosen. */
typedef struct group {
    const um_dataset *d;
    const um_scene_options *o;
    uint32_t *users; /* [n_users], those with targets left, in taking order */
    uint32_t n_users;
    uint32_t *order;       /* offsets of targets, a user's at order_start[user] */
    uint64_t *order_start; /* [users] */
    uint32_t *n_possible;  /* [users] */
    uint32_t *mark;        /* [items] */
    uint32_t epoch;
    um_split split; /* UM_SPLIT_TRAIN stands for base and train */
} group;

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

static uint64_t count_before(const um_dataset *d, uint32_t user, uint64_t interaction)
{
    uint64_t begin = d->user_start[user], i = interaction;
    while (i > begin && d->time_s[i - 1] == d->time_s[interaction])
        i--;
    return i - begin;
}

typedef enum fit { FITS, FEW_CANDIDATES, LONG_LIST } fit;

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

static fit check_logged(const um_dataset *d, uint64_t interaction)
{
    uint64_t begin = d->impression_start[interaction];
    uint64_t n = d->impression_start[interaction + 1] - begin;
    if (n > UM_SCENE_MAX_ITEMS)
        return LONG_LIST;
    int32_t position = d->impression_position[interaction];
    if (n < 2 || position < 0 || (uint64_t)position >= n ||
        d->impression_item[begin + (uint64_t)position] != d->item[interaction] ||
        has_repeats(d->impression_item + begin, n))
        return FEW_CANDIDATES;
    return FITS;
}

static fit check_target(group *g, um_scene_target *t)
{
    const um_dataset *d = g->d;
    t->logged = g->o->use_impressions && d->impression_start != NULL &&
                d->impression_start[t->interaction] < d->impression_start[t->interaction + 1];
    if (t->logged)
        return check_logged(d, t->interaction);
    uint32_t min_len = g->split == UM_SPLIT_EVAL ? g->o->eval_min_len : g->o->train_min_len;
    uint32_t found = 0;
    um_scene_mark_user(d, t->user, g->mark, ++g->epoch);
    for (uint32_t i = 0; i < d->items.n_rows && found + 1 < min_len; i++)
        found += um_scene_item_allowed(d, g->mark, g->epoch, d->time_s[t->interaction], i);
    return found + 1 >= min_len ? FITS : FEW_CANDIDATES;
}

/* The round-th of the user's shuffled targets (a Fisher-Yates step a round). */
static uint64_t draw_target(group *g, uint32_t user, uint32_t round)
{
    um_rng r;
    um_rng_init(&r, g->o->seed, UM_RNG_SPLIT, user, round, DRAW_TARGETS);
    uint32_t *order = g->order + g->order_start[user];
    uint32_t j = round + um_rng_below(&r, g->n_possible[user] - round);
    uint32_t offset = order[j];
    order[j] = order[round];
    order[round] = offset;
    return g->d->user_start[user] + offset;
}

/* Appends up to `want` targets of the group's users to the plan. */
static size_t take_targets(um_split_plan *plan, group *g, size_t want)
{
    um_scene_target *out = plan->targets + plan->n;
    size_t taken = 0;
    for (uint32_t round = 0; g->n_users > 0 && taken < want; round++) {
        uint32_t kept = 0;
        for (uint32_t i = 0; i < g->n_users && taken < want; i++) {
            uint32_t user = g->users[i];
            um_scene_target t = {.user = user, .split = g->split};
            t.interaction = draw_target(g, user, round);
            t.n_before = count_before(g->d, user, t.interaction);
            switch (check_target(g, &t)) {
            case FITS:
                out[taken++] = t;
                break;
            case FEW_CANDIDATES:
                plan->dropped[UM_DROP_FEW_CANDIDATES]++;
                break;
            case LONG_LIST:
                plan->dropped[UM_DROP_LONG_LIST]++;
                break;
            }
            if (round + 1 < g->n_possible[user])
                g->users[kept++] = user;
        }
        g->n_users = kept;
    }
    plan->n += taken;
    return taken;
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

/* Lists the users with a possible scene, shuffled, and lays out their targets' offsets. */
static um_status find_users(group *g, uint32_t *n_users, um_error *err)
{
    const um_dataset *d = g->d;
    uint64_t total = 0;
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        uint64_t n = d->user_start[u + 1] - d->user_start[u];
        if (n > UINT32_MAX)
            return um_fail(err, UM_ERR_LIMIT, "user %s: too many interactions, limit %u",
                           d->users.ids[u], UINT32_MAX);
        g->n_possible[u] = (uint32_t)(n - first_possible(d, u, g->o->min_order));
        g->order_start[u] = total;
        total += g->n_possible[u];
        if (g->n_possible[u] > 0)
            g->users[(*n_users)++] = u;
    }
    g->order = um_calloc(total, sizeof *g->order);
    if (g->order == NULL)
        return um_fail_memory(err, "possible scenes");
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        uint32_t n = (uint32_t)(d->user_start[u + 1] - d->user_start[u]);
        for (uint32_t k = 0; k < g->n_possible[u]; k++)
            g->order[g->order_start[u] + k] = n - g->n_possible[u] + k;
    }
    um_rng r;
    um_rng_init(&r, g->o->seed, UM_RNG_SPLIT, 0, 0, DRAW_USERS);
    um_rng_shuffle_u32(&r, g->users, *n_users);
    return UM_OK;
}

um_status um_split_plan_new(um_split_plan *plan, const um_dataset *d, const um_scene_options *o,
                            um_error *err)
{
    memset(plan, 0, sizeof *plan);
    size_t n_rows = d->users.n_rows;
    group g = {.d = d, .o = o};
    uint32_t *users = um_calloc(n_rows, sizeof *users);
    g.users = users;
    g.n_possible = um_calloc(n_rows, sizeof *g.n_possible);
    g.order_start = um_calloc(n_rows, sizeof *g.order_start);
    g.mark = um_calloc(d->items.n_rows, sizeof *g.mark);
    plan->train_user = um_calloc(n_rows, sizeof *plan->train_user);
    uint64_t train_want = (uint64_t)o->base_scenes + o->train_scenes;
    uint64_t most = train_want + o->eval_scenes;
    if (most > d->n_interactions)
        most = d->n_interactions;
    plan->targets = um_calloc(most, sizeof *plan->targets);
    um_status status = UM_OK;
    if (users == NULL || g.n_possible == NULL || g.order_start == NULL || g.mark == NULL ||
        plan->train_user == NULL || plan->targets == NULL) {
        status = um_fail_memory(err, "scene targets");
        goto done;
    }
    uint32_t n_users = 0;
    if ((status = find_users(&g, &n_users, err)) != UM_OK)
        goto done;
    uint32_t n_eval = (uint32_t)llround(o->eval_user_share * n_users);
    /* Users without a possible scene teach the rankings, but are held out of nothing. */
    memset(plan->train_user, 1, n_rows * sizeof *plan->train_user);
    for (uint32_t i = 0; i < n_eval; i++)
        plan->train_user[users[i]] = false;
    g.split = UM_SPLIT_TRAIN;
    g.users = users + n_eval;
    g.n_users = n_users - n_eval;
    assign_base(plan, take_targets(plan, &g, train_want), o);
    g.split = UM_SPLIT_EVAL;
    g.users = users;
    g.n_users = n_eval;
    plan->n_split[UM_SPLIT_EVAL] = take_targets(plan, &g, o->eval_scenes);
done:
    free(users);
    free(g.n_possible);
    free(g.order_start);
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
