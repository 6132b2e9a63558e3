/*
 * pack.h - training rows laid side by side into the batches a graph runs.
 *
 * A row takes its prompt's tokens once and, of each completion, all tokens but the last (which
 * predicts nothing): P + sum (n_i - 1) batch rows. Completions attend the prompt as a shared prefix
 * and go on at position P. What is trained: the prompt's tokens 1..P-1 when train_prompt; every
 * token of every completion, the first of them predicted by the prompt's last row (a completion
 * without a prompt starts unpredicted).
 *
 * Ownership: the plan and the pack own their arrays, and borrow the training rows.
 */
#ifndef UM_TRAIN_PACK_H
#define UM_TRAIN_PACK_H

#include "mirrorer/train.h"
#include "model/graph.h"

/* What a row costs. */
typedef struct um_row_size {
    int batch_rows;  /* rows of a pass it takes */
    int trained;     /* trained tokens */
    int longest;     /* prompt + longest completion */
    uint64_t tokens; /* prompt + all completions */
} um_row_size;

/* UM_ERR_INPUT on negative lengths, a count of completions outside 0..2, or missing pointers. */
um_status um_row_measure(um_row_size *out, const um_train_row *row, um_error *err) UM_CHECKED;

/* Where one training row stands in a pack. Completions' scores are consecutive in trained order. */
typedef struct um_placed {
    size_t row;                     /* index of the training row */
    int prompt_first, prompt_count; /* range of its prompt's scores */
    int completion_first[2], completion_count[2];
} um_placed;

/* One pass, arrays sized once. */
typedef struct um_pack {
    um_batch batch;
    um_placed *placed;
    int n_placed;

    int max_rows, max_trained, max_placed;
    int32_t *ids, *positions, *trained, *targets;
    um_span *spans;
    um_range *prefixes;
    int n_prefixes;
} um_pack;

um_status um_pack_init(um_pack *pack, int max_rows, int max_trained, int max_placed,
                       um_error *err) UM_CHECKED;
/* What um_pack_init allocates. */
uint64_t um_pack_bytes(int max_rows, int max_trained, int max_placed);
void um_pack_dispose(um_pack *pack);
void um_pack_clear(um_pack *pack);
bool um_pack_has_room(const um_pack *pack, const um_row_size *size);
/* Appends a row that fits (the caller packed by um_row_measure); UM_ERR_LIMIT otherwise. */
um_status um_pack_add(um_pack *pack, const um_train_row *row, size_t index,
                      um_error *err) UM_CHECKED;

/*
 * First fit: item i of sizes goes into the first pass with room for it, a new one when there is
 * none. pass_of[i] is its pass; free_rows is scratch of n ints. Returns the number of passes. An
 * item larger than capacity gets a pass of its own.
 */
int um_pack_first_fit(int *pass_of, int *free_rows, const int *sizes, int n, int capacity);

#endif
