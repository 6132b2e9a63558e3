#include "train/memory.h"

#include "base/error.h"
#include "base/str.h"
#include "model/params.h"

#define GIBIBYTE  ((double)(1 << 30))
#define LORA_RANK 16 /* of the advice */

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
static um_train_memory measure(const um_train_shape *shape, const um_graph_sizes *sizes)
{
    um_train_memory m = {.recompute = sizes->recompute};
    size_t graph = um_graph_bytes(shape->config, sizes);
    m.state = 3 * sizeof(float) * (uint64_t)shape->n_values;
    m.activations = graph == SIZE_MAX ? UINT64_MAX : graph;
    m.rows = um_plan_bytes(shape->plan) +
             um_pack_bytes(sizes->max_rows, sizes->max_trained, shape->plan->max_placed) +
             2 * sizeof(float) * (uint64_t)sizes->max_trained;
    m.total = add(add(m.state, m.rows), m.activations);
    return m;
}

/* The smallest recompute that fits, or the largest there is. */
static um_train_memory fit(const um_train_shape *shape, int max_rows, int max_trained,
                           uint64_t room)
{
    um_graph_sizes sizes = {.max_rows = max_rows,
                            .max_trained = max_trained,
                            .lora_rank = shape->lora_rank,
                            .bf16 = shape->bf16};
    um_train_memory m = measure(shape, &sizes);
    while (m.total > room && sizes.recompute < shape->config->layers - 1) {
        sizes.recompute++;
        m = measure(shape, &sizes);
    }
    return m;
}

/* What would fit, as text. */
static void advise(um_str *out, const um_train_shape *shape, uint64_t room)
{
    const um_plan *plan = shape->plan;
    int rows = plan->max_rows;
    while (rows > 0 && fit(shape, rows, rows, room).total > room)
        rows /= 2;
    if (rows > 0)
        um_str_appendf(out, "%s of at most %d tokens fit",
                       rows >= plan->longest_rows ? "packs" : "packs and rows", rows);
    size_t n = um_lora_count(shape->config, LORA_RANK, UM_LORA_ALL);
    if (shape->lora_rank == 0 && n != SIZE_MAX) {
        const uint64_t adapter = sizeof(float) * (uint64_t)n; /* its own values */
        um_train_shape lora = *shape;
        lora.n_values = n;
        lora.lora_rank = LORA_RANK;
        uint64_t total = add(fit(&lora, plan->max_rows, plan->max_trained, room).total, adapter);
        if (total <= room)
            um_str_appendf(out, "%sLoRA of rank %d fits, with %.2f GiB", out->len > 0 ? "; " : "",
                           LORA_RANK, (double)total / GIBIBYTE);
    }
    um_train_shape narrow = *shape;
    narrow.bf16 = true;
    if (!shape->bf16 && fit(&narrow, plan->max_rows, plan->max_trained, room).total <= room)
        um_str_appendf(out, "%sprecision bfloat16 fits", out->len > 0 ? "; " : "");
    if (out->len == 0)
        um_str_append(out, "not even one row fits: use a smaller model");
}

um_status um_train_fit_memory(um_train_memory *out, const um_train_shape *shape, uint64_t room,
                              um_error *err)
{
    const um_plan *plan = shape->plan;
    um_train_memory m = fit(shape, plan->max_rows, plan->max_trained, room);
    *out = m;
    if (m.total <= room)
        return UM_OK;
    um_str advice = UM_STR_INIT;
    advise(&advice, shape, room);
    um_status status = um_fail(
        err, UM_ERR_LIMIT,
        "training: needs %.2f GiB beside the weights (gradient and optimizer %.2f, activations of "
        "%d rows %.2f with all layers but one computed again), %.2f GiB over the limit of %.2f; %s",
        (double)m.total / GIBIBYTE, (double)m.state / GIBIBYTE, plan->max_rows,
        (double)m.activations / GIBIBYTE, (double)(m.total - room) / GIBIBYTE,
        (double)room / GIBIBYTE, um_str_text(&advice));
    um_str_dispose(&advice);
    return status;
}

void um_train_estimate(um_train_bytes *out, const um_model_config *config, int tokens,
                       int lora_rank)
{
    um_graph_sizes sizes = {.max_rows = tokens, .max_trained = tokens, .lora_rank = lora_rank};
    um_params params = {0};
    um_error ignored;
    size_t n = lora_rank > 0 ? um_lora_count(config, lora_rank, UM_LORA_ALL) : SIZE_MAX;
    if (lora_rank == 0 && um_params_layout(&params, config, &ignored) == UM_OK)
        n = params.n;
    um_params_dispose(&params);
    const uint64_t rows = um_pack_bytes(tokens, tokens, 1) + 2 * sizeof(float) * (uint64_t)tokens;
    const size_t whole = um_graph_bytes(config, &sizes);
    sizes.recompute = config->layers - 1;
    const size_t least = um_graph_bytes(config, &sizes);
    out->state = n == SIZE_MAX ? UINT64_MAX : 3 * sizeof(float) * (uint64_t)n;
    out->activations = whole == SIZE_MAX ? UINT64_MAX : add(whole, rows);
    out->activations_least = least == SIZE_MAX ? UINT64_MAX : add(least, rows);
}
