/*
 * checkpoint.h - the state of a training run on disk, whole or invisible.
 *
 * A folder holds at most two checkpoints, "step-<12 digits>.ckpt", for DPO "reference.bin", and
 * "best.bin" where the weights of the lowest held-out loss are kept. Every file is written beside
 * its name, synced and renamed (base/file.h), and closed by a hash of all its bytes. A damaged
 * newest checkpoint is named in a message and the one before is used; with none left the run starts
 * over, which gives the same result. A checkpoint of another version of the format is refused and
 * left as it is.
 *
 * Bytes of a checkpoint (integers and floats little-endian):
 *     0   8  magic "UMTRAIN2", its digit the version of the format
 *     8   8  identity length I (padded with zeros to a multiple of 8)
 *    16   8  weights n
 *    24  96  um_train_state
 *   120   I  identity text (identity.h)
 * 120+I  4n  weights (or the adapter), then 4n first moments, 4n second moments
 *   end   8  XXH3-64 of all bytes before, chained part by part
 * Bytes of the reference file: magic "UMREFER1", hash of the identity, count, how many of them are
 * done, 2 doubles a row, hash. Of the best weights: magic "UMBEST01", hash of the identity, i64
 * step, f64 loss, count n, 4n weights, hash.
 */
#ifndef UM_TRAIN_CHECKPOINT_H
#define UM_TRAIN_CHECKPOINT_H

#include "base/file.h"
#include "mirrorer/monitor.h"

/* All a run needs besides weights and moments; the order of rows follows from seed and cursor. */
typedef struct um_train_state {
    int64_t step; /* updates done */
    int64_t epoch;
    uint64_t position; /* rows of this epoch already used */
    uint64_t tokens_processed, tokens_trained;
    double first_loss, last_loss;
    /* Held-out rows: */
    int64_t evaluated_step; /* the step they were last evaluated after; 0: never */
    double held_out_loss;   /* then */
    int64_t best_step;      /* of the lowest loss; 0: none yet */
    double best_loss;
    int64_t misses; /* evaluations since then */
} um_train_state;

typedef struct um_checkpoint {
    um_filemap map; /* data == NULL: none found */
    um_train_state state;
    const float *weights, *m, *v; /* into the map */
} um_checkpoint;

/*
 * Opens the newest sound checkpoint of n weights in dir (made when absent); temporaries of killed
 * runs are removed. Every byte is verified. Nothing there, or only damaged ones: UM_OK with
 * map.data NULL. Of another run: UM_ERR_STATE (identity.h); of another version of the format:
 * UM_ERR_UNSUPPORTED.
 */
um_status um_checkpoint_open(um_checkpoint *out, const char *dir, const char *identity, size_t n,
                             const um_monitor *monitor, um_error *err) UM_CHECKED;
void um_checkpoint_close(um_checkpoint *checkpoint);

/* Writes the state and keeps it and the newest one before it. Older ones are removed, later ones
 * when they are damaged. */
um_status um_checkpoint_write(const char *dir, const char *identity, const um_train_state *state,
                              const float *weights, const float *m, const float *v, size_t n,
                              um_error *err) UM_CHECKED;

/* The weights after the step with the lowest held-out loss. Found nothing, or nothing sound of this
 * identity: map.data NULL. */
typedef struct um_best {
    um_filemap map;
    int64_t step;
    double loss;
    const float *weights; /* into the map */
} um_best;
um_status um_best_write(const char *dir, const char *identity, int64_t step, double loss,
                        const float *weights, size_t n, um_error *err) UM_CHECKED;
um_status um_best_open(um_best *out, const char *dir, const char *identity, size_t n,
                       um_error *err) UM_CHECKED;
void um_best_close(um_best *best);

/* Reference log-probabilities, n_values doubles, the first n_done valid. Read gives n_done 0 when
 * there is no sound file of this identity. */
um_status um_reference_write(const char *dir, const char *identity, const double *values,
                             uint64_t n_values, uint64_t n_done, um_error *err) UM_CHECKED;
um_status um_reference_read(const char *dir, const char *identity, double *values,
                            uint64_t n_values, uint64_t *n_done, um_error *err) UM_CHECKED;

#endif
