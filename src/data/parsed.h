/*
 * parsed.h - the objects of a JSON lines file, read and parsed by a thread that runs ahead, so that
 * unpacking and parsing cost no time of their own where there is a second CPU. The rows, their
 * order and their messages do not depend on it.
 */
#ifndef UM_DATA_PARSED_H
#define UM_DATA_PARSED_H

#include "base/jsonl.h"
#include "data/ingest.h"

typedef struct um_parsed um_parsed;

typedef struct um_parsed_spec {
    const char *noun; /* what a line should be, "JSON object" */
    /* Where lines may be something else: turns one into JSON. Tried first where is_other says so,
     * else when the line is not JSON. Both run in the thread; NULL = lines are JSON. */
    bool (*is_other)(const char *text, size_t len);
    um_status (*to_json)(um_str *json, const char *text, size_t len, um_error *err);
    /* Rows whose members `user` and `item` will be looked up in this builder: what that touches is
     * brought near some rows before. NULL = they are not. */
    const um_dataset_builder *builder;
    um_jkey user, item;
    um_jkey texts[UM_ROW_TEXTS]; /* members that um_value_text is to be made of; may be {0} */
} um_parsed_spec;

typedef struct um_parsed_row {
    uint64_t line;
    um_jval root;    /* valid until the next row */
    bool has_nul;    /* a string holds U+0000 */
    const char *bad; /* NULL, or why the line is not an object; then there is no root */
    um_row_text texts[UM_ROW_TEXTS]; /* as valid as the root */
} um_parsed_row;

/* Takes lines over until it is closed: they must stay, and nobody else may touch them. */
um_status um_parsed_open(um_parsed **out, const um_parsed_spec *spec, um_lines *lines,
                         um_error *err) UM_CHECKED;
/* The next line that is not blank; *any = false at the end of the file. */
um_status um_parsed_next(um_parsed *parsed, um_parsed_row *row, bool *any,
                         um_error *err) UM_CHECKED;
void um_parsed_close(um_parsed *parsed); /* NULL is fine */

#endif
