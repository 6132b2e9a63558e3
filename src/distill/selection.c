/* selection.c - which scenes are kept, and which two texts of a scene make its pair. */
#include "mirrorer/distill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"

const char *const um_strategy_names[] = {"gap",           "total-gap",    "data-gap",
                                         "high-accuracy", "low-accuracy", "accuracy-difference",
                                         "log-loss",      "random",       NULL};

const char *um_strategy_name(um_strategy strategy)
{
    return um_strategy_names[strategy];
}

bool um_strategy_parse(const char *name, um_strategy *out)
{
    for (int i = 0; um_strategy_names[i] != NULL; i++) {
        if (strcmp(name, um_strategy_names[i]) == 0) {
            *out = (um_strategy)i;
            return true;
        }
    }
    return false;
}

double um_strategy_score(um_strategy strategy, const um_uncertainty *teacher,
                         const um_uncertainty *student, uint64_t seed, uint64_t scene)
{
    um_rng rng;

    switch (strategy) {
    case UM_STRATEGY_GAP:
        return student->model - teacher->model;
    case UM_STRATEGY_TOTAL_GAP:
        return student->total - teacher->total;
    case UM_STRATEGY_DATA_GAP:
        return student->data - teacher->data;
    case UM_STRATEGY_HIGH_ACCURACY:
        return student->hit_rate;
    case UM_STRATEGY_LOW_ACCURACY:
        return -student->hit_rate;
    case UM_STRATEGY_ACCURACY_DIFFERENCE:
        return teacher->hit_rate - student->hit_rate;
    case UM_STRATEGY_LOG_LOSS:
        return student->log_loss;
    case UM_STRATEGY_RANDOM:
        break;
    }
    um_rng_init(&rng, seed, UM_RNG_SELECT, scene, 0, 0);
    return um_rng_uniform(&rng);
}

bool um_pair_choose(const um_candidate *candidates, size_t n, uint32_t truth, size_t *chosen,
                    size_t *rejected)
{
    bool have_chosen = false, have_rejected = false;

    for (size_t i = 0; i < n; i++) {
        const um_candidate *c = &candidates[i];
        bool preferred = c->behavior == truth;
        if (!c->well_formed || (preferred && !c->from_teacher))
            continue;
        bool *have = preferred ? &have_chosen : &have_rejected;
        size_t *best = preferred ? chosen : rejected;
        if (!*have || c->entropy < candidates[*best].entropy ||
            (c->entropy <= candidates[*best].entropy && c->decision < candidates[*best].decision)) {
            *have = true;
            *best = i;
        }
    }
    return have_chosen && have_rejected;
}

/* A stratum while shares are dealt. */
typedef struct stratum {
    uint64_t key;
    size_t first, n; /* in the sorted order */
    size_t take;
    double remainder;
} stratum;

static int by_stratum_then_score(const void *a, const void *b)
{
    const um_selectable *x = *(const um_selectable *const *)a;
    const um_selectable *y = *(const um_selectable *const *)b;
    if (x->stratum != y->stratum)
        return x->stratum < y->stratum ? -1 : 1;
    if (x->score > y->score || x->score < y->score)
        return x->score > y->score ? -1 : 1;
    return (x->scene > y->scene) - (x->scene < y->scene);
}

static int by_remainder(const void *a, const void *b)
{
    const stratum *x = a, *y = b;
    if (x->remainder > y->remainder || x->remainder < y->remainder)
        return x->remainder > y->remainder ? -1 : 1;
    return (x->key > y->key) - (x->key < y->key);
}

/* Largest remainder: floors first, then one more to those that lost most by rounding down. As
 * want <= n, a stratum whose exact share is not whole always has one more to give. */
static void deal_shares(stratum *strata, size_t n_strata, size_t n, size_t want)
{
    size_t dealt = 0;
    for (size_t s = 0; s < n_strata; s++) {
        double exact = (double)want * (double)strata[s].n / (double)n;
        strata[s].take = (size_t)exact;
        if (strata[s].take > strata[s].n)
            strata[s].take = strata[s].n;
        strata[s].remainder = exact - (double)strata[s].take;
        dealt += strata[s].take;
    }
    qsort(strata, n_strata, sizeof *strata, by_remainder);
    while (dealt < want) {
        for (size_t s = 0; s < n_strata && dealt < want; s++) {
            if (strata[s].take < strata[s].n) {
                strata[s].take++;
                dealt++;
            }
        }
    }
}

um_status um_select(bool *picked, const um_selectable *scenes, size_t n, size_t want, um_error *err)
{
    um_status status = UM_OK;
    const um_selectable **order = um_calloc(n, sizeof *order);
    stratum *strata = um_calloc(n, sizeof *strata);
    size_t n_strata = 0;

    if (order == NULL || strata == NULL) {
        status = um_fail_memory(err, "selection");
        goto done;
    }
    memset(picked, 0, n * sizeof *picked);
    if (want > n)
        want = n;
    if (want == 0)
        goto done;
    for (size_t i = 0; i < n; i++) {
        if (isnan(scenes[i].score)) { /* has no place in an order */
            status =
                um_fail(err, UM_ERR_NUMERIC, "selection: the score of scene %llu is not a number",
                        (unsigned long long)scenes[i].scene);
            goto done;
        }
        order[i] = &scenes[i];
    }
    qsort(order, n, sizeof *order, by_stratum_then_score);
    for (size_t i = 0; i < n; i++) {
        if (n_strata == 0 || strata[n_strata - 1].key != order[i]->stratum)
            strata[n_strata++] = (stratum){.key = order[i]->stratum, .first = i};
        strata[n_strata - 1].n++;
    }
    deal_shares(strata, n_strata, n, want);
    for (size_t s = 0; s < n_strata; s++) {
        for (size_t i = 0; i < strata[s].take; i++)
            picked[order[strata[s].first + i] - scenes] = true;
    }
done:
    free(order);
    free(strata);
    return status;
}
