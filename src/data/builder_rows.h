/*
 * builder_rows.h - which rows of the files are left out, once interactions and lists are marked.
 *
 * A row may give several interactions (an impression with two clicks), and an interaction or list
 * may be made of several rows (the items shown, one a row): a row is left out when nothing that it
 * gave or was part of is kept.
 */
#ifndef UM_DATA_BUILDER_ROWS_H
#define UM_DATA_BUILDER_ROWS_H

#include "data/builder.h"

/* um_left_out_reason by ordinal. */
typedef struct um_builder_marks {
    uint8_t *log, *skips;
} um_builder_marks;

/* Marks what is in units that were withdrawn. */
void um_builder_mark_withdrawn(const um_dataset_builder *b, const um_builder_marks *marks);
/* Calls options->on_left_out, which is not NULL, for each row that is left out. */
um_status um_builder_report_left_out(const um_dataset_builder *b, const um_builder_marks *marks,
                                     const um_builder_finish_options *options,
                                     um_error *err) UM_CHECKED;

#endif
