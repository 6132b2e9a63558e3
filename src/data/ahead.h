/*
 * ahead.h - a packed file, unpacked by a thread that runs ahead: the bytes, their order and what is
 * said of a damaged file, and where, are those of um_stream_read.
 */
#ifndef UM_DATA_AHEAD_H
#define UM_DATA_AHEAD_H

#include "data/bundle.h"

typedef struct um_ahead um_ahead;

/* Takes the stream over until it is closed: it must stay, and nobody else may touch it. Without a
 * thread to be had the bytes come as they are asked for. */
um_status um_ahead_open(um_ahead **out, um_stream *stream, um_error *err) UM_CHECKED;
/* As um_stream_read. After an error it is over: the error comes again. */
um_status um_ahead_read(um_ahead *ahead, void *bytes, size_t size, size_t *n,
                        um_error *err) UM_CHECKED;
void um_ahead_close(um_ahead *ahead); /* NULL is fine */

#endif
