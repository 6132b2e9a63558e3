/* selection.c - which scenes are kept, and which two texts of a scene make its pair. */
#include "mirrorer/distill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"

#define MAX_LETTERS 26

const char *const um_strategy_names[] = {
    "gap",          "total-gap",           "data-gap", "high-accuracy",
    "low-accuracy", "accuracy-difference", "log-loss", "ifd",
    "random",       "random-direct",       NULL};

const char *const um_pair_rule_names[] = {"lowest-entropy", "highest-entropy", "highest-truth",
                                          "lowest-truth",   "random",          NULL};

/* Purposes that draws of one scene are told apart by, beside its random score (0). */
enum { DRAW_CANDIDATE = 1, DRAW_WRONG = 2 };

const char *um_strategy_name(um_strategy strategy)
{
    return um_strategy_names[strategy];
}

static bool find_name(const char *const *names, const char *name, int *out)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

bool um_strategy_parse(const char *name, um_strategy *out)
{
    int i;
    bool found = find_name(um_strategy_names, name, &i);
    if (found)
        *out = (um_strategy)i;
    return found;
}

bool um_pair_rule_parse(const char *name, um_pair_rule *out)
{
    int i;
    bool found = find_name(um_pair_rule_names, name, &i);
    if (found)
        *out = (um_pair_rule)i;
    return found;
}

double um_strategy_score(um_strategy strategy, const um_scene_measures *measures, uint64_t seed,
                         uint64_t scene)
{
    const um_uncertainty *teacher = &measures->teacher, *student = &measures->student;
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
    case UM_STRATEGY_IFD:
        return measures->ifd;
    case UM_STRATEGY_RANDOM:
    case UM_STRATEGY_RANDOM_DIRECT:
        break;
    }
    um_rng_init(&rng, seed, UM_RNG_SELECT, scene, 0, 0);
    return um_rng_uniform(&rng);
}

double um_instruction_difficulty(double logp_with, double logp_without, size_t n)
{
    /* The number of tokens is the same above and below, so the means' ratio is the sums'. */
    return n == 0 || !(logp_without < 0) ? NAN : logp_with / logp_without;
}

uint8_t um_wrong_behavior_draw(const double *p, uint32_t k, uint32_t truth, uint64_t seed,
                               uint64_t scene)
{
    double wrong[MAX_LETTERS], mass = 0;
    um_rng rng;

    for (uint32_t j = 0; j < k && j < MAX_LETTERS; j++) {
        wrong[j] = j == truth ? 0 : p[j];
        mass += wrong[j];
    }
    for (uint32_t j = 0; j < k && !(mass > 0); j++)
        wrong[j] = j == truth ? 0 : 1;
    um_rng_init(&rng, seed, UM_RNG_SELECT, scene, DRAW_WRONG, 0);
    return (uint8_t)um_rng_categorical(&rng, wrong, k);
}

/* Lower is taken first. */
static double place_in_order(um_pair_rule rule, const um_candidate *c, const um_pair_rules *rules)
{
    um_rng rng;

    switch (rule) {
    case UM_PAIR_LOWEST_ENTROPY:
        return c->entropy;
    case UM_PAIR_HIGHEST_ENTROPY:
        return -c->entropy;
    case UM_PAIR_HIGHEST_TRUTH:
        return c->log_loss;
    case UM_PAIR_LOWEST_TRUTH:
        return -c->log_loss;
    case UM_PAIR_RANDOM:
        break;
    }
    um_rng_init(&rng, rules->seed, UM_RNG_SELECT, rules->scene, DRAW_CANDIDATE, c->decision);
    return um_rng_uniform(&rng);
}

bool um_pair_choose(const um_candidate *candidates, size_t n, uint32_t truth,
                    const um_pair_rules *rules, size_t *chosen, size_t *rejected)
{
    static const um_pair_rules published = {.chosen = UM_PAIR_LOWEST_ENTROPY,
                                            .rejected = UM_PAIR_LOWEST_ENTROPY};
    bool have[2] = {false, false};
    double first[2] = {0, 0};

    if (rules == NULL)
        rules = &published;
    for (size_t i = 0; i < n; i++) {
        const um_candidate *c = &candidates[i];
        bool preferred = c->behavior == truth;
        if (!c->may_train || (preferred && !c->from_teacher))
            continue;
        size_t *best = preferred ? chosen : rejected;
        int role = preferred ? 0 : 1;
        double place = place_in_order(preferred ? rules->chosen : rules->rejected, c, rules);
        if (!have[role] || place < first[role] ||
            (place <= first[role] && c->decision < candidates[*best].decision)) {
            have[role] = true;
            first[role] = place;
            *best = i;
        }
    }
    return have[0] && have[1];
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
