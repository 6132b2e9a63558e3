/*
 * parsed.h - the objects of a JSON lines file, read and parsed by two threads: one that runs ahead,
 * and the caller's while it would have to wait. The rows, their order and their messages do not
 * depend on it.
 */
#ifndef UM_DATA_PARSED_H
#define UM_DATA_PARSED_H

#include "base/jsonl.h"
#include "data/ingest.h"

typedef struct um_parsed um_parsed;

#define UM_PARSED_THREADS 2
/* At the end of what each thread has of its own: none shares cache lines with the other's. */
#define UM_PARSED_APART char apart[128]

/* What is noted of a row besides what is made of it. */
typedef struct um_row_notes {
    uint64_t user_hash, item_hash; /* um_map_hash of its ids, 0 = unknown */
    bool keeps_root;               /* set by the maker: the row has its root too */
} um_row_notes;

/*
 * Makes of an object what its row needs, in the thread that parsed it: appends it to `made`. What
 * that is only the maker and whoever takes the row know; it begins where any object may stand.
 * Where ids are looked up after it, it notes their hashes. Two calls run at a time, each with a
 * context of its own; what they share must not change while the file is read.
 */
typedef um_status (*um_make_fn)(void *context, um_jval root, um_str *made, um_row_notes *notes,
                                um_error *err);

typedef struct um_parsed_spec {
    const char *noun; /* what a line should be, "JSON object" */
    /* Where lines may be something else: turns one into JSON. Tried first where is_other says so,
     * else when the line is not JSON. Both run in the threads; NULL = lines are JSON. */
    bool (*is_other)(const char *text, size_t len);
    um_status (*to_json)(um_str *json, const char *text, size_t len, um_error *err);
    const um_jkey
        *members; /* that um_jval_member gives of the roots; UM_JSONL_MAX_WANTED at most */
    size_t n_members;
    um_make_fn make; /* or NULL */
    void *makers[UM_PARSED_THREADS];
    /* Rows whose ids will be looked up in this builder: what that touches is brought near some rows
     * before. NULL = they are not. */
    const um_dataset_builder *builder;
    bool ids_are_members; /* user and item are the first two members; else the maker hashes them */
    bool makers_find_users, makers_find_items; /* in it, else whoever takes the rows does */
} um_parsed_spec;

typedef struct um_parsed_row {
    uint64_t line;
    um_jval root;     /* valid until the next row; no value where the maker keeps it not */
    const char *made; /* the same, aligned for any object */
    bool has_nul;     /* a string holds U+0000 */
    const char *bad;  /* NULL, or why the line is not an object; then there is nothing else */
} um_parsed_row;

/* Takes lines over until it is closed: they must stay, and nobody else may touch them. */
um_status um_parsed_open(um_parsed **out, const um_parsed_spec *spec, um_lines *lines,
                         um_error *err) UM_CHECKED;
/* The next line that is not blank; *any = false at the end of the file. */
um_status um_parsed_next(um_parsed *parsed, um_parsed_row *row, bool *any,
                         um_error *err) UM_CHECKED;
void um_parsed_close(um_parsed *parsed); /* NULL is fine */

#endif
