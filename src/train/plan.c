#include "train/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"

#define DROPPED_PER_LINE 8

/* Permutation of the epoch into plan->order; kept until another epoch is asked for. */
static void order_epoch(um_plan *plan, int64_t epoch)
{
    if (plan->order_epoch == epoch)
        return;
    um_rng rng;
    memcpy(plan->order, plan->kept, plan->n_kept * sizeof *plan->order);
    um_rng_init(&rng, plan->seed, UM_RNG_SHUFFLE, (uint64_t)epoch, 0, 0);
    um_rng_shuffle_u32(&rng, plan->order, plan->n_kept);
    plan->order_epoch = epoch;
}

void um_plan_next(um_plan *plan, um_cursor *cursor, const uint32_t **rows, int *n, int *passes)
{
    order_epoch(plan, cursor->epoch);
    size_t left = plan->n_kept - (size_t)cursor->position;
    int count = left < (size_t)plan->batch_rows ? (int)left : plan->batch_rows;
    const uint32_t *first = plan->order + cursor->position;
    for (int i = 0; i < count; i++)
        plan->pass_rows[i] = plan->sizes[first[i]].batch_rows;
    *passes =
        um_pack_first_fit(plan->pass_of, plan->free_rows, plan->pass_rows, count, plan->capacity);
    *rows = first;
    *n = count;
    cursor->position += (uint64_t)count;
    if (cursor->position == plan->n_kept) {
        cursor->position = 0;
        cursor->epoch++;
    }
}

/* Rows that are left out, a few a line. */
typedef struct dropped_list {
    const um_monitor *monitor;
    int limit;
    int on_line;
    um_str line;
} dropped_list;

static void flush_dropped(dropped_list *list)
{
    if (list->on_line > 0)
        um_monitor_message(list->monitor, "training rows dropped (limit %d tokens): %s",
                           list->limit, um_str_text(&list->line));
    um_str_clear(&list->line);
    list->on_line = 0;
}

static void list_dropped(dropped_list *list, uint64_t id, const um_row_size *size)
{
    um_str_appendf(&list->line, "%srow %llu ", list->on_line > 0 ? ", " : "",
                   (unsigned long long)id);
    if (size->trained == 0)
        um_str_append(&list->line, "(nothing to train)");
    else
        um_str_appendf(&list->line, "(%d tokens)", size->longest);
    if (++list->on_line == DROPPED_PER_LINE)
        flush_dropped(list);
}

static um_status check_tokens(const um_train_row *row, int vocab, um_error *err)
{
    for (int part = -1; part < row->n_completions; part++) {
        const int32_t *tokens = part < 0 ? row->prompt : row->completions[part];
        int n = part < 0 ? row->prompt_len : row->completion_len[part];
        for (int j = 0; j < n; j++) {
            if (tokens[j] < 0 || tokens[j] >= vocab)
                return um_fail(err, UM_ERR_INPUT,
                               "training row %llu: token id %d, the model's vocabulary is %d; were "
                               "the rows made with this model's tokenizer?",
                               (unsigned long long)row->id, tokens[j], vocab);
        }
    }
    return UM_OK;
}

/* Measures and checks all rows, fills sizes and kept, and sets the capacity of a pass. */
static um_status keep_rows(um_plan *plan, const um_train_row *rows, size_t n,
                           const um_model_config *config, const um_train_options *options,
                           const um_monitor *monitor, um_error *err)
{
    int limit =
        options->max_tokens < config->max_positions ? options->max_tokens : config->max_positions;
    dropped_list list = {.monitor = monitor, .limit = limit};
    um_status status = UM_OK;
    plan->capacity = options->pack_tokens;
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        um_row_size *size = &plan->sizes[i];
        status = um_row_measure(size, &rows[i], err);
        if (status == UM_OK)
            status = check_tokens(&rows[i], config->vocab, err);
        if (status != UM_OK)
            break;
        if (size->longest > limit || size->trained == 0) {
            list_dropped(&list, rows[i].id, size);
            plan->n_dropped++;
            continue;
        }
        if (options->held_out != NULL && options->held_out[i]) {
            plan->held[i] = true;
            plan->n_held++;
            continue;
        }
        plan->kept[plan->n_kept++] = (uint32_t)i;
        if (size->batch_rows > plan->longest_rows)
            plan->longest_rows = size->batch_rows;
    }
    if (plan->longest_rows > plan->capacity)
        plan->capacity = plan->longest_rows;
    flush_dropped(&list);
    um_str_dispose(&list.line);
    if (status == UM_OK && plan->n_kept == 0)
        status = um_fail(err, UM_ERR_INPUT,
                         "training: no row is left of %zu (%zu dropped, limit %d tokens); give "
                         "rows, or raise the limit",
                         n - plan->n_held, plan->n_dropped, limit);
    if (status == UM_OK && options->held_out != NULL && plan->n_held == 0)
        status = um_fail(err, UM_ERR_INPUT,
                         "training: no row is left to evaluate (%zu dropped, limit %d tokens); "
                         "hold out more rows, or raise the limit",
                         plan->n_dropped, limit);
    return status;
}

/* Largest values over the passes of one update. */
static void widen(um_plan *plan, const uint32_t *rows, int n, int passes)
{
    for (int pass = 0; pass < passes; pass++) {
        int total = 0, trained = 0, placed = 0;
        for (int i = 0; i < n; i++) {
            if (plan->pass_of[i] != pass)
                continue;
            total += plan->sizes[rows[i]].batch_rows;
            trained += plan->sizes[rows[i]].trained;
            placed++;
        }
        if (total > plan->max_rows)
            plan->max_rows = total;
        if (trained > plan->max_trained)
            plan->max_trained = trained;
        if (placed > plan->max_placed)
            plan->max_placed = placed;
    }
}

/* Walks the whole run. */
static void walk(um_plan *plan, const um_train_options *options)
{
    um_cursor cursor = {0};
    uint64_t tokens = 0;
    while (options->token_budget > 0 ? tokens < options->token_budget
                                     : cursor.epoch < options->epochs) {
        const uint32_t *rows;
        int n, passes;
        um_plan_next(plan, &cursor, &rows, &n, &passes);
        widen(plan, rows, n, passes);
        for (int i = 0; i < n; i++) {
            tokens += plan->sizes[rows[i]].tokens;
            plan->trained_total += (uint64_t)plan->sizes[rows[i]].trained;
            plan->rows_used += !plan->used[rows[i]];
            plan->used[rows[i]] = true;
        }
        plan->steps_total++;
    }
    plan->tokens_total = tokens;
}

/* Any row that is evaluated fits a pass alone. */
static void widen_for_held(um_plan *plan, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const um_row_size *size = &plan->sizes[i];
        if (!plan->held[i])
            continue;
        if (size->batch_rows > plan->longest_rows)
            plan->longest_rows = size->batch_rows;
        if (size->batch_rows > plan->max_rows)
            plan->max_rows = size->batch_rows;
        if (size->trained > plan->max_trained)
            plan->max_trained = size->trained;
    }
}

um_status um_plan_init(um_plan *plan, const um_train_row *rows, size_t n,
                       const um_model_config *config, const um_train_options *options,
                       const um_monitor *monitor, um_error *err)
{
    *plan = (um_plan){
        .seed = options->seed, .batch_rows = options->batch_rows, .n = n, .order_epoch = -1};
    if (n > UINT32_MAX)
        return um_fail(err, UM_ERR_LIMIT, "training: found %zu rows, limit %u", n, UINT32_MAX);
    if ((size_t)plan->batch_rows > n && n > 0)
        plan->batch_rows = (int)n;
    size_t batch = (size_t)plan->batch_rows;
    plan->sizes = um_calloc(n, sizeof *plan->sizes);
    plan->kept = um_calloc(n, sizeof *plan->kept);
    plan->used = um_calloc(n, sizeof *plan->used);
    plan->held = um_calloc(n, sizeof *plan->held);
    plan->order = um_calloc(n, sizeof *plan->order);
    plan->pass_of = um_calloc(batch, sizeof *plan->pass_of);
    plan->free_rows = um_calloc(batch, sizeof *plan->free_rows);
    plan->pass_rows = um_calloc(batch, sizeof *plan->pass_rows);
    um_status status = UM_OK;
    if (plan->sizes == NULL || plan->kept == NULL || plan->used == NULL || plan->held == NULL ||
        plan->order == NULL || plan->pass_of == NULL || plan->free_rows == NULL ||
        plan->pass_rows == NULL)
        status = um_fail_memory(err, "training plan");
    if (status == UM_OK)
        status = keep_rows(plan, rows, n, config, options, monitor, err);
    if (status != UM_OK) {
        um_plan_dispose(plan);
        return status;
    }
    walk(plan, options);
    widen_for_held(plan, n);
    return UM_OK;
}

uint64_t um_plan_bytes(const um_plan *plan)
{
    const uint64_t row = sizeof *plan->sizes + sizeof *plan->kept + sizeof *plan->used +
                         sizeof *plan->held + sizeof *plan->order;
    const uint64_t of_batch =
        sizeof *plan->pass_of + sizeof *plan->free_rows + sizeof *plan->pass_rows;
    return plan->n * row + (uint64_t)plan->batch_rows * of_batch;
}

void um_plan_dispose(um_plan *plan)
{
    free(plan->sizes);
    free(plan->kept);
    free(plan->used);
    free(plan->held);
    free(plan->order);
    free(plan->pass_of);
    free(plan->free_rows);
    free(plan->pass_rows);
    *plan = (um_plan){0};
}
