/*
 * goodreads.h - what goodreads.c and goodreads_books.c have in common.
 */
#ifndef UM_DATA_GOODREADS_H
#define UM_DATA_GOODREADS_H

#include "data/objects.h"

#define UM_GOODREADS_BOOKS "goodreads_books_"

/* Reads the file <stem><genre>.json that goes with the log, if it is there; its entry and bundle
 * are set in the spec. */
um_status um_goodreads_read_file(um_reading *r, const char *stem, const char *genre,
                                 bool is_required, um_objects_spec *spec, um_error *err) UM_CHECKED;
/* Authors, books and their genres. */
um_status um_goodreads_read_books(um_reading *r, const char *genre, um_error *err) UM_CHECKED;

#endif
