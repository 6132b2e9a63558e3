/* exchange.h (internal) - what the files of export and import share. */
#ifndef UM_STAGE_EXCHANGE_H
#define UM_STAGE_EXCHANGE_H

#include "base/file.h"
#include "base/str.h"
#include "stage/session.h"

/* A file being written line by line. */
typedef struct um_jsonl_out {
    um_outfile file;
    um_str line;
} um_jsonl_out;
/* Appends the line end, writes the line and begins the next. */
um_status um_jsonl_write(um_jsonl_out *out, um_error *err) UM_CHECKED;
void um_jsonl_out_dispose(um_jsonl_out *out);

/* Reads a JSONL file row by row; where is "<path>:<line>". */
typedef um_status (*um_on_json_line)(void *context, const json_t *row, const char *where,
                                     um_error *err);
um_status um_jsonl_import(const char *path, um_on_json_line on_line, void *context,
                          um_error *err) UM_CHECKED;

/* Names of the files in the folders that pairs are exported to. */
#define UM_PAIRS_FILE    "pairs.jsonl"
#define UM_SFT_FILE      "sft.jsonl"
#define UM_HF_PAIRS_FILE "pairs/train.jsonl"
#define UM_HF_SFT_FILE   "sft/train.jsonl"

um_status um_import_pairs(um_session *s, const char *path, um_error *err) UM_CHECKED;

/* What stands beside the rows, written into their folder: recipes with the published
 * hyper-parameters, and the card of a data set. */
um_status um_write_torchtune(const char *dir, um_error *err) UM_CHECKED;
um_status um_write_llamafactory(const char *dir, um_error *err) UM_CHECKED;
um_status um_write_card(um_session *s, const char *dir, uint64_t n_pairs, um_error *err) UM_CHECKED;

#endif
