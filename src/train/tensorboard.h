/*
 * tensorboard.h - records of TensorBoard's event files, written and walked.
 *
 * A file is a row of records (TFRecord): u64 length, u32 masked CRC of these 8 bytes, the data, u32
 * masked CRC of the data; little-endian. The CRC is CRC-32C (Castagnoli); masked: rotated right by
 * 15 bits, plus 0xa282ead8. The data is a protocol buffer, of which these fields are used:
 *     Event    1 wall_time (double)   2 step (varint)   3 file_version (string)   5 summary
 *     Summary  1 value, repeated      Value  1 tag (string)   2 simple_value (float)
 * The first record has file_version "brain.Event:2" and no summary.
 */
#ifndef UM_TRAIN_TENSORBOARD_H
#define UM_TRAIN_TENSORBOARD_H

#include "base/str.h"

typedef struct um_tb_scalar {
    const char *tag; /* "train/loss" */
    double value;
} um_tb_scalar;

uint32_t um_crc32c(const void *bytes, size_t n);

/* Both append one record. wall_time: seconds since 1970 UTC. */
void um_tb_append_version(um_str *out, double wall_time);
void um_tb_append_scalars(um_str *out, double wall_time, int64_t step, const um_tb_scalar *scalars,
                          size_t n);

/* A record of a file; tag and its length are of the first scalar, NULL where there is none. */
typedef struct um_tb_record {
    int64_t step;
    const char *tag;
    size_t tag_len;
} um_tb_record;
/* The record at *at of data[0..len), which moves past it. False at the end, and where no whole and
 * sound record begins. */
bool um_tb_next(um_tb_record *record, const unsigned char *data, size_t len, size_t *at);

#endif
