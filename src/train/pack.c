#include "train/pack.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

um_status um_row_measure(um_row_size *out, const um_train_row *row, um_error *err)
{
    bool sound = row->prompt_len >= 0 && row->n_completions >= 0 && row->n_completions <= 2 &&
                 (row->prompt_len == 0 || row->prompt != NULL);
    int64_t rows = row->prompt_len, trained = 0, tokens = row->prompt_len;
    int longest = 0;
    if (row->train_prompt && row->prompt_len > 1)
        trained += row->prompt_len - 1;
    for (int c = 0; sound && c < row->n_completions; c++) {
        int n = row->completion_len[c];
        sound = n >= 0 && (n == 0 || row->completions[c] != NULL);
        tokens += n;
        if (n > 0) {
            rows += n - 1;
            trained += row->prompt_len > 0 ? n : n - 1;
        }
        if (n > longest)
            longest = n;
    }
    if (!sound || tokens > INT_MAX)
        return um_fail(err, UM_ERR_INPUT,
                       "training row %llu: lengths are out of range (prompt %d, %d completions); "
                       "need 0 to 2 completions of at least 0 tokens",
                       (unsigned long long)row->id, row->prompt_len, row->n_completions);
    *out = (um_row_size){.batch_rows = (int)rows,
                         .trained = (int)trained,
                         .longest = row->prompt_len + longest,
                         .tokens = (uint64_t)tokens};
    return UM_OK;
}

um_status um_pack_init(um_pack *pack, int max_rows, int max_trained, int max_placed, um_error *err)
{
    size_t rows = (size_t)max_rows, trained = (size_t)max_trained, placed = (size_t)max_placed;
    *pack = (um_pack){.max_rows = max_rows, .max_trained = max_trained, .max_placed = max_placed};
    pack->ids = um_calloc(rows, sizeof *pack->ids);
    pack->positions = um_calloc(rows, sizeof *pack->positions);
    pack->trained = um_calloc(trained, sizeof *pack->trained);
    pack->targets = um_calloc(trained, sizeof *pack->targets);
    pack->placed = um_calloc(placed, sizeof *pack->placed);
    pack->spans = um_calloc(placed, 3 * sizeof *pack->spans);   /* prompt, two completions */
    pack->prefixes = um_calloc(placed, sizeof *pack->prefixes); /* its prompt */
    if (pack->ids == NULL || pack->positions == NULL || pack->trained == NULL ||
        pack->targets == NULL || pack->placed == NULL || pack->spans == NULL ||
        pack->prefixes == NULL) {
        um_pack_dispose(pack);
        return um_fail_memory(err, "training batch");
    }
    um_pack_clear(pack);
    return UM_OK;
}

uint64_t um_pack_bytes(int max_rows, int max_trained, int max_placed)
{
    return (uint64_t)max_rows * 2 * sizeof(int32_t) + (uint64_t)max_trained * 2 * sizeof(int32_t) +
           (uint64_t)max_placed * (sizeof(um_placed) + 3 * sizeof(um_span) + sizeof(um_range));
}

void um_pack_dispose(um_pack *pack)
{
    free(pack->ids);
    free(pack->positions);
    free(pack->trained);
    free(pack->targets);
    free(pack->placed);
    free(pack->spans);
    free(pack->prefixes);
    *pack = (um_pack){0};
}

void um_pack_clear(um_pack *pack)
{
    pack->n_placed = 0;
    pack->n_prefixes = 0;
    pack->batch = (um_batch){.ids = pack->ids,
                             .positions = pack->positions,
                             .spans = pack->spans,
                             .prefixes = pack->prefixes,
                             .trained = pack->trained,
                             .targets = pack->targets};
}

bool um_pack_has_room(const um_pack *pack, const um_row_size *size)
{
    return pack->n_placed < pack->max_placed &&
           size->batch_rows <= pack->max_rows - pack->batch.n_rows &&
           size->trained <= pack->max_trained - pack->batch.n_trained;
}

/* Appends n tokens from position on; returns the first row. prefix: index of a prefix or -1. */
static int add_span(um_pack *pack, const int32_t *tokens, int n, int position, int prefix)
{
    um_batch *b = &pack->batch;
    int first = b->n_rows;
    if (n == 0)
        return first;
    memcpy(pack->ids + first, tokens, (size_t)n * sizeof *tokens);
    for (int j = 0; j < n; j++)
        pack->positions[first + j] = position + j;
    pack->spans[b->n_spans++] = (um_span){.start = first,
                                          .len = n,
                                          .kv_start = first,
                                          .prefix_first = prefix < 0 ? 0 : prefix,
                                          .prefix_count = prefix < 0 ? 0 : 1};
    b->n_rows += n;
    return first;
}

/* Rows first .. first + n - 1 predict targets[0..n-1]. */
static void add_trained(um_pack *pack, int first, const int32_t *targets, int n)
{
    um_batch *b = &pack->batch;
    for (int j = 0; j < n; j++) {
        pack->trained[b->n_trained] = first + j;
        pack->targets[b->n_trained++] = targets[j];
    }
}

um_status um_pack_add(um_pack *pack, const um_train_row *row, size_t index, um_error *err)
{
    um_batch *b = &pack->batch;
    um_row_size size;
    um_status status = um_row_measure(&size, row, err);
    if (status != UM_OK)
        return status;
    if (pack->n_placed == pack->max_placed || size.batch_rows > pack->max_rows - b->n_rows ||
        size.trained > pack->max_trained - b->n_trained)
        return um_fail(
            err, UM_ERR_LIMIT,
            "training batch: row %llu (%d rows, %d trained) does not fit beside %d rows, "
            "limit %d",
            (unsigned long long)row->id, size.batch_rows, size.trained, b->n_rows, pack->max_rows);
    um_placed *placed = &pack->placed[pack->n_placed++];
    *placed = (um_placed){.row = index, .prompt_first = b->n_trained};
    int p = row->prompt_len, prefix = -1;
    int prompt = add_span(pack, row->prompt, p, 0, -1);
    if (row->train_prompt && p > 1)
        add_trained(pack, prompt, row->prompt + 1, p - 1);
    placed->prompt_count = b->n_trained - placed->prompt_first;
    if (p > 0) {
        prefix = pack->n_prefixes++;
        pack->prefixes[prefix] = (um_range){.start = prompt, .len = p};
    }
    for (int c = 0; c < row->n_completions; c++) {
        int n = row->completion_len[c];
        const int32_t *tokens = row->completions[c];
        placed->completion_first[c] = b->n_trained;
        if (n > 0) {
            int first = add_span(pack, tokens, n - 1, p, prefix);
            if (p > 0)
                add_trained(pack, prompt + p - 1, tokens, 1);
            add_trained(pack, first, tokens + 1, n - 1);
        }
        placed->completion_count[c] = b->n_trained - placed->completion_first[c];
    }
    return UM_OK;
}

int um_pack_first_fit(int *pass_of, int *free_rows, const int *sizes, int n, int capacity)
{
    int passes = 0;
    for (int i = 0; i < n; i++) {
        int pass = 0;
        while (pass < passes && free_rows[pass] < sizes[i])
            pass++;
        if (pass == passes)
            free_rows[passes++] = capacity;
        free_rows[pass] -= sizes[i];
        pass_of[i] = pass;
    }
    return passes;
}
