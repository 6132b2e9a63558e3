/*
 * mapped.h - a mapping file: what the columns of any log mean (docs/MAPPING.md).
 */
#ifndef UM_DATA_MAPPED_H
#define UM_DATA_MAPPED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/yaml.h"
#include "mirrorer/status.h"

#define UM_MAPPED_MAX_COLUMNS 256 /* of one file, and of one kind in the mapping */
#define UM_MAPPED_NONE        SIZE_MAX

/* One thing read from one column. */
typedef struct um_mapped_field {
    const char *name;      /* of the data set's column */
    size_t column;         /* in um_mapped_source.columns; UM_MAPPED_NONE: not mapped */
    const char *separator; /* of a list; NULL: one value (in JSON lines: a list if it is one) */
} um_mapped_field;

typedef struct um_mapped_fields {
    um_mapped_field *data;
    size_t n;
} um_mapped_fields;

typedef enum um_mapped_clock {
    UM_CLOCK_ISO,
    UM_CLOCK_UNIX,
    UM_CLOCK_UNIX_MS,
    UM_CLOCK_UNIX_US,
    UM_CLOCK_US,
    UM_CLOCK_CTIME,
    UM_CLOCK_WORDS,
    UM_CLOCK_DASHED,
    UM_CLOCK_ORDER, /* second 1, 2, 3, ... in the order of the rows */
    UM_CLOCK_PATTERN
} um_mapped_clock;

typedef struct um_mapped_time {
    size_t column; /* UM_MAPPED_NONE: not mapped, or UM_CLOCK_ORDER */
    um_mapped_clock clock;
    const char *pattern;
} um_mapped_time;

typedef enum um_mapped_form { UM_MAPPED_DELIMITED, UM_MAPPED_JSONL } um_mapped_form;

/* A file, or several of one form, and its columns. */
typedef struct um_mapped_source {
    const char *section; /* "log", "users", "items"; NULL: not mapped */
    const char **files;
    size_t n_files;
    um_mapped_form form;
    const char *separator;
    bool is_quoted, is_latin1, has_header;
    /* Those that are used; where there is no header, all of the file in order. */
    const char *columns[UM_MAPPED_MAX_COLUMNS];
    size_t n_columns;
    const char **absent; /* texts that mean "no value", besides the empty one */
    size_t n_absent;
} um_mapped_source;

/* Descriptions of users or items. */
typedef struct um_mapped_side {
    um_mapped_source source;
    um_mapped_field id;
    um_mapped_fields descriptions, features;
    um_mapped_time release; /* items only */
    bool repeats;           /* an id may come again: its first row counts */
} um_mapped_side;

typedef struct um_mapping {
    um_arena memory;
    um_yaml *root; /* owns the texts */
    const char *path;
    um_mapped_source log;
    um_mapped_field user, item;
    um_mapped_time time;
    um_mapped_fields numbers, texts;
    /* Lists that were shown: one column, or one row an item. All unmapped: the log has none. */
    um_mapped_field shown;               /* list column */
    um_mapped_field impression, clicked; /* one row an item */
    um_mapped_field position;            /* of the chosen item, or of the row's */
    int64_t first_position;              /* 0 or 1 */
    um_mapped_side users, items;
} um_mapping;

um_status um_mapping_read(um_mapping **out, const char *path, um_error *err) UM_CHECKED;
void um_mapping_free(um_mapping *mapping);

#endif
