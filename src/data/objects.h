/*
 * objects.h - logs of one object a line, JSON or printed Python, and files that belong to a log.
 */
#ifndef UM_DATA_OBJECTS_H
#define UM_DATA_OBJECTS_H

#include "base/jsonl.h"
#include "data/ingest.h"
#include "data/parsed.h"

/* Takes the object of one line or rejects it with um_reading_reject; any status but UM_OK ends the
 * reading. */
typedef um_status (*um_object_fn)(void *context, um_jval object, uint64_t line, um_error *err);

typedef struct um_objects_spec {
    um_bundle *bundle; /* of the entry; NULL = the reading's */
    const um_entry *entry;
    bool is_python; /* lines may also be Python dicts (data/pyliteral.h) */
    bool has_interactions;
    bool has_ids;                            /* the ids of its rows are looked up */
    bool ids_are_members, makers_find_items; /* data/parsed.h */
    const um_jkey *members;                  /* data/parsed.h */
    size_t n_members;
    um_make_fn make; /* data/parsed.h: what it makes stands in the reading; or NULL */
    void *makers[UM_PARSED_THREADS];
    um_object_fn take;
    void *context;
} um_objects_spec;

/* Reads a file line by line. One without a good row is refused. */
um_status um_reading_objects(um_reading *r, const um_objects_spec *spec, um_error *err) UM_CHECKED;

/*
 * A file that goes with the log, found in the reading's bundle, or beside it where that is one
 * file. entry is NULL when there is none. The bundle must outlive the reading of the entry only.
 */
typedef struct um_partner {
    um_bundle *bundle;
    um_bundle *owned; /* opened for it, or NULL */
    const um_entry *entry;
} um_partner;
um_status um_partner_open(um_partner *p, um_bundle *bundle, const char *name,
                          um_error *err) UM_CHECKED;
void um_partner_close(um_partner *p);
/* Whether `name` or `name`.gz is in the bundle, or beside it where that is one file. */
bool um_partner_exists(const um_bundle *bundle, const char *name);

/*
 * Files whose base names are <prefix><part><suffix>, or that and ".gz", in the order of the bundle;
 * `next` is where to look on, 0 at first. part is not empty. NULL when there are no more.
 */
const um_entry *um_bundle_next_like(const um_bundle *bundle, const char *prefix, const char *suffix,
                                    size_t *next, um_str *part);

/* "<prefix>-<part>" with part in lower case and "_" for what a data set name may not have. */
void um_name_of_part(um_str *name, const char *prefix, const char *part);

/* Members of an object ------------------------------------------------------------------------
 *
 * Each takes a value, which may be absent (um_jval_member), or the name of a member.
 */

/* An id: a string without NUL, or an integer, which is written into `number`. The text has a NUL
 * after it. False: absent, or empty. */
enum { UM_ID_NUMBER_BYTES = 24 };
bool um_value_id(um_jval value, char number[UM_ID_NUMBER_BYTES], const char **text, size_t *len);
/* The same with its um_map_hash, if that is known (data/parsed.h). */
typedef struct um_row_id {
    char number[UM_ID_NUMBER_BYTES];
    const char *text;
    size_t len;
    uint64_t hash; /* 0 = unknown */
} um_row_id;
bool um_read_id(um_jval value, uint64_t hash, um_row_id *id);
/* The same in out (emptied first). */
bool um_member_id(um_jval object, const char *key, um_str *out);
/* Appends a text, or a number as text; markup is taken out. Lists of texts are joined by
 * `separator`. False when nothing was appended. */
bool um_value_text(um_jval value, const char *separator, um_str *out);
bool um_member_text(um_jval object, const char *key, const char *separator, um_str *out);
/* A finite number, also one written as a text, with or without commas at the thousands. */
bool um_value_number(um_jval value, double *out);
bool um_member_number(um_jval object, const char *key, double *out);
/* The same as a whole number. */
bool um_value_integer(um_jval value, int64_t *out);
bool um_member_integer(um_jval object, const char *key, int64_t *out);
bool um_member_bool(um_jval object, const char *key, bool *out);
bool um_parse_grouped(const char *text, double *out); /* "1,234.5" */

/* Cells ---------------------------------------------------------------------------------------
 */

/* Each leaves the cell absent where there is nothing to put, and makes the column in any case. */
um_status um_put_text(um_reading *r, uint32_t item, const char *column, const um_str *text,
                      um_error *err) UM_CHECKED; /* a description; "" = absent */
um_status um_put_number(um_reading *r, uint32_t item, const char *column, bool has, double value,
                        um_error *err) UM_CHECKED; /* a feature */
/* A behaviour cell, of the interaction added last. The text as for um_keep_text
 * (data/text_maker.h). */
um_status um_put_behaviour_text(um_reading *r, const char *series, const char *text, size_t len,
                                um_str *scratch, um_error *err) UM_CHECKED; /* "" = absent */

#endif
