#include "train/held_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"

typedef struct drawn_row {
    uint64_t key, group;
    size_t row;
} drawn_row;

static int by_key(const void *a, const void *b)
{
    const drawn_row *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

um_status um_train_hold_out(bool *held_out, const uint64_t *groups, size_t n, double share,
                            uint64_t seed, um_error *err)
{
    size_t held = 0;
    if (!(share >= 0.0 && share < 1.0))
        return um_fail(err, UM_ERR_INPUT, "share of rows held out: found %g, need 0 to below 1",
                       share);
    drawn_row *rows = um_calloc(n, sizeof *rows);
    if (rows == NULL)
        return um_fail_memory(err, "rows held out");
    for (size_t i = 0; i < n; i++) {
        um_rng rng;
        um_rng_init(&rng, seed, UM_RNG_HOLD_OUT, groups[i], 0, 0);
        rows[i] = (drawn_row){um_rng_u64(&rng), groups[i], i};
        held_out[i] = false;
    }
    qsort(rows, n, sizeof *rows, by_key);
    for (size_t i = 0; i < n; i++) {
        bool begins =
            i == 0 || rows[i].key != rows[i - 1].key || rows[i].group != rows[i - 1].group;
        if (begins && (double)held >= share * (double)n)
            break;
        held_out[rows[i].row] = true;
        held++;
    }
    free(rows);
    if (held > 0 && held == n)
        return um_fail(err, UM_ERR_INPUT,
                       "holding out %g of %zu rows leaves none to train, because whole users are "
                       "held out; take a smaller share, or more rows",
                       share, n);
    return UM_OK;
}

static um_status evaluate_pass(um_trainer *t, double norm, um_loss_sums *sums, um_error *err)
{
    um_status status = um_graph_forward(t->graph, t->model->data, &t->pack.batch, t->logp, err);
    if (status != UM_OK)
        return status;
    t->objective->score(t->objective->context, &t->pack, t->logp, norm, t->coef, sums);
    if (!isfinite(sums->loss)) {
        um_str ids = UM_STR_INIT;
        um_trainer_list_rows(t, &ids);
        status = um_fail(err, UM_ERR_NUMERIC, "the loss is %g on held-out rows %s", sums->loss,
                         um_str_text(&ids));
        um_str_dispose(&ids);
    }
    um_pack_clear(&t->pack);
    return status;
}

um_status um_held_out_evaluate(um_trainer *t, um_loss_sums *sums, um_error *err)
{
    um_status status = UM_OK;
    double norm = 0.0;
    uint64_t done = 0;
    *sums = (um_loss_sums){0};
    um_pack_clear(&t->pack);
    for (size_t i = 0; i < t->n; i++)
        norm += t->plan.held[i] ? t->objective->weight(&t->plan.sizes[i]) : 0.0;
    for (size_t i = 0; i < t->n && status == UM_OK; i++) {
        if (!t->plan.held[i])
            continue;
        if (t->pack.n_placed == 0 && um_monitor_stopped(t->monitor))
            return um_fail(err, UM_ERR_INTERRUPTED, "training: interrupted");
        if (!um_pack_has_room(&t->pack, &t->plan.sizes[i])) { /* never with an empty pack */
            status = evaluate_pass(t, norm, sums, err);
            um_monitor_progress(t->monitor, &(um_progress){.stage = "held-out rows",
                                                           .unit = "rows",
                                                           .done = done,
                                                           .total = t->plan.n_held});
        }
        if (status == UM_OK)
            status = um_pack_add(&t->pack, &t->rows[i], i, err);
        done++;
    }
    if (status == UM_OK && t->pack.n_placed > 0)
        status = evaluate_pass(t, norm, sums, err);
    return status;
}
