#include "train/memory.h"

#include <stdio.h>

#include "base/error.h"

#define GIBIBYTE ((double)(1 << 30))

static uint64_t add(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t um_train_room(uint64_t physical, uint64_t available, uint64_t limit, size_t n_weights)
{
    uint64_t weights = sizeof(float) * (uint64_t)n_weights;
    uint64_t all = limit > 0 && limit < physical ? limit : physical;
    uint64_t rest = all > weights ? all - weights : 0;
    return available < rest ? available : rest;
}

/* Bytes of the run with batches of these sizes. */
static um_train_memory measure(const um_model_config *config, size_t n_trained, const um_plan *plan,
                               const um_graph_sizes *sizes)
{
    um_train_memory m = {.recompute = sizes->recompute};
    size_t graph = um_graph_bytes(config, sizes);
    m.state = 3 * sizeof(float) * (uint64_t)n_trained;
    m.activations = graph == SIZE_MAX ? UINT64_MAX : graph;
    m.rows = um_plan_bytes(plan) +
             um_pack_bytes(sizes->max_rows, sizes->max_trained, plan->max_placed) +
             2 * sizeof(float) * (uint64_t)sizes->max_trained;
    m.total = add(add(m.state, m.rows), m.activations);
    return m;
}

/* The smallest recompute that fits, or the largest there is. */
static um_train_memory fit(const um_model_config *config, size_t n_trained, const um_plan *plan,
                           int max_rows, int max_trained, uint64_t room)
{
    um_graph_sizes sizes = {.max_rows = max_rows, .max_trained = max_trained};
    um_train_memory m = measure(config, n_trained, plan, &sizes);
    while (m.total > room && sizes.recompute < config->layers - 1) {
        sizes.recompute++;
        m = measure(config, n_trained, plan, &sizes);
    }
    return m;
}

/* What would fit, as text. */
static void advise(char *out, size_t size, const um_model_config *config, size_t n_trained,
                   const um_plan *plan, uint64_t room)
{
    int rows = plan->max_rows;
    while (rows > 0 && fit(config, n_trained, plan, rows, rows, room).total > room)
        rows /= 2;
    if (rows == 0)
        snprintf(out, size, "not even one row fits: use a smaller model");
    else
        snprintf(out, size, "%s of at most %d tokens fit",
                 rows >= plan->longest_rows ? "packs" : "packs and rows", rows);
}

um_status um_train_fit_memory(um_train_memory *out, const um_model_config *config, size_t n_trained,
                              const um_plan *plan, uint64_t room, um_error *err)
{
    um_train_memory m = fit(config, n_trained, plan, plan->max_rows, plan->max_trained, room);
    *out = m;
    if (m.total <= room)
        return UM_OK;
    char advice[160];
    advise(advice, sizeof advice, config, n_trained, plan, room);
    return um_fail(err, UM_ERR_LIMIT,
                   "training: needs %.2f GiB beside the weights (gradient and optimizer %.2f, "
                   "activations of %d rows %.2f with all layers but one computed again), %.2f GiB "
                   "over the limit of %.2f; %s",
                   (double)m.total / GIBIBYTE, (double)m.state / GIBIBYTE, plan->max_rows,
                   (double)m.activations / GIBIBYTE, (double)(m.total - room) / GIBIBYTE,
                   (double)room / GIBIBYTE, advice);
}
