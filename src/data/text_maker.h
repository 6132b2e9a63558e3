/*
 * text_maker.h - behaviour texts and cells made by the threads that parse, where they will stay:
 * nobody copies them again. What is kept for a row that is then not taken stays where it is until
 * the data set goes: make none where that is known.
 */
#ifndef UM_DATA_TEXT_MAKER_H
#define UM_DATA_TEXT_MAKER_H

#include "base/jsonl.h"
#include "data/builder.h"
#include "data/parsed.h"

/* One for each thread; {0} at first. */
typedef struct um_text_maker {
    um_dataset_builder *builder;
    um_spool_writer writer;
    um_arena cells;
    um_str text, json;
    UM_PARSED_APART;
} um_text_maker;

um_status um_text_maker_open(um_text_maker *m, um_dataset_builder *b, um_error *err) UM_CHECKED;
/* In any case, and before the builder is finished. `status` is what happened before: a failure
 * stays, else closing may give one. */
um_status um_text_maker_close(um_text_maker *m, um_status status, um_error *err) UM_CHECKED;
/*
 * Each gives a JSON text for um_builder_set_kept. A text is UTF-8 as um_markup_clean leaves it,
 * without control characters, and becomes a JSON string, NULL where it is empty; a value is taken
 * as um_value_text takes it, or as it stands.
 */
um_status um_keep_text(um_text_maker *m, const char *text, size_t len, char **kept,
                       um_error *err) UM_CHECKED;
um_status um_keep_value(um_text_maker *m, um_jval value, const char *separator, char **kept,
                        um_error *err) UM_CHECKED;
um_status um_keep_json(um_text_maker *m, um_jval value, char **kept, um_error *err) UM_CHECKED;
/* A cell for um_builder_set_cell: the text as it stands, NULL where it is empty. */
um_status um_keep_cell(um_text_maker *m, const um_str *text, char **kept, um_error *err) UM_CHECKED;

#endif
