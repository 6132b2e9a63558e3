/*
 * builder.h - the data set builder as the readers of this layer see it.
 *
 * Columns grow one by one and are gathered into row order at the end; nothing is allocated per row
 * but text, and that goes to disk (spool.h): an interaction with one number costs 28 bytes.
 * Interactions are numbered from 0 in the order they are added: their ordinal. So are skips.
 */
#ifndef UM_DATA_BUILDER_H
#define UM_DATA_BUILDER_H

#include "base/mem.h"
#include "data/filter.h"
#include "data/ids.h"
#include "data/spool.h"
#include "mirrorer/dataset.h"

#define UM_BUILDER_MAX_COLUMNS 256 /* of users, of items, and of behaviour */

typedef struct um_builder_column {
    char *name;
    um_column_kind kind;
    UM_VEC(char *) cells; /* may be shorter than the table: the rest is absent */
} um_builder_column;

typedef struct um_builder_series {
    char *name;
    bool is_text, is_number; /* neither before the first value */
    UM_VEC(double) numbers;  /* both may be shorter than the log: the rest is absent */
    UM_VEC(char *) texts;
} um_builder_series;

typedef struct um_builder_side {
    um_ids ids;
    UM_VEC(um_builder_column) columns;
    size_t next_column; /* where the next one is looked for first */
} um_builder_side;

/* Where the rows of a file begin. */
typedef struct um_builder_table {
    size_t first_interaction, first_skip;
} um_builder_table;

/* Rows of a file that make interactions, or a list nobody chose from, together with the lines these
 * have. */
typedef struct um_builder_unit {
    uint64_t end;      /* of its lines in unit_line */
    uint32_t first, n; /* the interactions; n = 0: the skip `first` */
    bool is_withdrawn;
} um_builder_unit;

struct um_dataset_builder {
    um_dataset *dataset; /* owns the strings */
    um_builder_side users, items;
    char apart[64]; /* threads that look ids up above, from what every row changes below */
    UM_VEC(int64_t) release_s;   /* by item, may be shorter than the table */
    UM_VEC(uint8_t) has_release; /* same length as release_s */
    UM_VEC(uint32_t) user;
    UM_VEC(uint32_t) item;
    UM_VEC(int64_t) time_s;
    UM_VEC(uint32_t) line; /* may be shorter than the log: the rest has none */
    UM_VEC(um_builder_series) series;
    size_t next_series;             /* where the next one is looked for first */
    UM_VEC(uint32_t) shown;         /* impression lists one after another */
    UM_VEC(uint64_t) shown_end;     /* by ordinal, may be shorter than the log */
    UM_VEC(int32_t) shown_position; /* same length as shown_end */
    /* Lists nobody chose from, by the order they were added. */
    UM_VEC(uint32_t) skip_user;
    UM_VEC(int64_t) skip_time_s;
    UM_VEC(uint32_t) skip_before; /* interactions that were added before it */
    UM_VEC(uint32_t) skip_line;   /* may be shorter: the rest has none */
    UM_VEC(uint64_t) skip_end;    /* of its list in skip_item */
    UM_VEC(uint32_t) skip_item;
    UM_VEC(um_builder_unit) units;
    UM_VEC(uint32_t) unit_line;
    UM_VEC(um_builder_table) tables; /* empty: one table with everything */
};

/* Where texts are put aside while reading; NULL = the system's folder for temporary files. */
um_status um_builder_set_spool_dir(um_dataset_builder *b, const char *dir,
                                   um_error *err) UM_CHECKED;
bool um_builder_find_user(const um_dataset_builder *b, const char *id, uint32_t *index);
bool um_builder_find_item(const um_dataset_builder *b, const char *id, uint32_t *index);
/* The same of ids of that length, and with their um_map_hash. */
bool um_builder_find_user_n(const um_dataset_builder *b, const char *id, size_t len,
                            uint32_t *index);
bool um_builder_find_item_n(const um_dataset_builder *b, const char *id, size_t len,
                            uint32_t *index);
bool um_builder_find_user_hashed(const um_dataset_builder *b, const char *id, size_t len,
                                 uint64_t hash, uint32_t *index);
bool um_builder_find_item_hashed(const um_dataset_builder *b, const char *id, size_t len,
                                 uint64_t hash, uint32_t *index);
/* Whether any id is looked up by its hash (data/ids.h). */
bool um_builder_hashes_users(const um_dataset_builder *b);
bool um_builder_hashes_items(const um_dataset_builder *b);
/* Of rows that come later: brings near what looking up their ids will touch, first the slots, then,
 * some rows on, the keys. Hashes are um_map_hash of the ids, 0 = unknown. */
void um_builder_prefetch_slots(const um_dataset_builder *b, uint64_t user, uint64_t item);
void um_builder_prefetch_keys(const um_dataset_builder *b, uint64_t user, uint64_t item);
/* um_dataset_builder_text with the length of json, which holds no NUL. */
um_status um_builder_text_n(um_dataset_builder *b, const char *name, const char *json, size_t len,
                            um_error *err) UM_CHECKED;
/* Makes a behaviour column that may stay without a value. */
um_status um_builder_declare_series(um_dataset_builder *b, const char *name,
                                    um_error *err) UM_CHECKED;
/* The same, and its number, by which the cells of the interaction added last are set more quickly
 * than by name. Numbers as for um_dataset_builder_number. */
um_status um_builder_find_series(um_dataset_builder *b, const char *name, uint32_t *series,
                                 um_error *err) UM_CHECKED;
um_status um_builder_set_number(um_dataset_builder *b, uint32_t series, double value,
                                um_error *err) UM_CHECKED;
/* A JSON text of a writer of the spool. */
um_status um_builder_set_kept(um_dataset_builder *b, uint32_t series, char *json,
                              um_error *err) UM_CHECKED;
/* The same of columns of items. The cell is NULL, a text of a spool writer, or in an arena that is
 * given to um_builder_own before the finish. */
um_status um_builder_find_column(um_dataset_builder *b, const char *name, um_column_kind kind,
                                 uint32_t *column, um_error *err) UM_CHECKED;
um_status um_builder_set_cell(um_dataset_builder *b, uint32_t item, uint32_t column, char *cell,
                              um_error *err) UM_CHECKED;
void um_builder_own(um_dataset_builder *b, um_arena *cells);
/* Where texts are put aside, for writers (data/spool.h), which are closed before the finish. */
um_status um_builder_spool(um_dataset_builder *b, um_spool **out, um_error *err) UM_CHECKED;
/* Where the log itself contradicts a release time, because someone chose the item before it (early
 * access, a second listing), the item was there by then. Looks at all interactions added so far. */
void um_builder_correct_releases(um_dataset_builder *b);
/* What is added from here on comes from another file. */
um_status um_builder_begin_table(um_dataset_builder *b, um_error *err) UM_CHECKED;
/* Remembers the file line of the interactions and skips added since it was last called: what has
 * one line and was added without another line in between is one row of the file. Those without a
 * line are rows of their own. */
um_status um_builder_set_line(um_dataset_builder *b, uint64_t line, um_error *err) UM_CHECKED;
/* The last n_interactions, or with 0 the last skip, are a unit: rows at these lines too are part of
 * it, and are left out when all of it is. Units are numbered from 0. */
um_status um_builder_add_rows(um_dataset_builder *b, const uint64_t *lines, size_t n_lines,
                              size_t n_interactions, um_error *err) UM_CHECKED;
size_t um_builder_n_units(const um_dataset_builder *b);
/* What is in the unit is left out, as if it had not been added. */
void um_builder_withdraw(um_dataset_builder *b, size_t unit);

typedef struct um_builder_finish_options {
    bool unique;                      /* keep the first of rows with equal user, item and time */
    const um_ingest_filters *filters; /* NULL = none; those of filter.h hold here */
    /*
     * Called in file order for each row of which no interaction and no skip is kept, with the
     * reason of the first: table counts um_builder_begin_table from 0. Anything but UM_OK ends the
     * finish with it.
     */
    um_status (*on_left_out)(void *context, size_t table, uint64_t line, um_left_out_reason reason,
                             um_error *err);
    void *context;
} um_builder_finish_options;

um_status um_builder_finish_with(um_dataset_builder *b, const um_builder_finish_options *options,
                                 um_dataset **out, um_error *err) UM_CHECKED;

/* Empties the builder, which keeps nothing but its address. */
void um_builder_clear(um_dataset_builder *b);

#endif
