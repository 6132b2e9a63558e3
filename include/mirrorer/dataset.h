/*
 * dataset.h - a log in memory: users, items, interactions; and the readers and writers of log
 * files.
 *
 * A um_dataset is columnar and immutable once built. Everything it points to is owned by it.
 * Items and users have two kinds of columns: descriptions (text that a model may read) and features
 * (JSON values that code needs: dates, counts, friends), as in the canonical JSONL of the field
 * (docs/FORMATS.md).
 */
#ifndef MIRRORER_DATASET_H
#define MIRRORER_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirrorer/monitor.h"
#include "mirrorer/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum um_column_kind {
    UM_COLUMN_DESCRIPTION, /* cells are plain text */
    UM_COLUMN_FEATURE      /* cells are JSON texts ("1995", "\"1995-01-01\"", "[1,2]") */
} um_column_kind;

/* Rows with string ids and named columns. cells[row * n_columns + column], NULL when absent. */
typedef struct um_table {
    uint32_t n_rows, n_columns;
    char **columns;
    um_column_kind *kinds;
    char **ids;
    char **cells;
} um_table;

/* One behaviour column over all interactions: numbers (NaN = absent) or JSON texts (NULL = absent).
 */
typedef struct um_series {
    char *name;
    double *numbers; /* one of the two is NULL */
    char **texts;
} um_series;

typedef struct um_dataset {
    char *name; /* "ml-latest", "world", ...: chooses the templates */
    um_table users, items;

    /* Interactions sorted by (user, time, order in the files). Those of user u are
     * [user_start[u], user_start[u + 1]); the order id of one is its offset from user_start. */
    uint64_t n_interactions;
    uint64_t *user_start; /* [users.n_rows + 1] */
    uint32_t *item;       /* [n_interactions] */
    int64_t *time_s; /* [n_interactions] seconds since 1970 UTC; 0 = before the log, unknown when */
    uint32_t n_series;
    um_series *series;

    /* Impressions, when the log has them (else impression_start is NULL): interaction i was chosen
     * from impression_item[impression_start[i] .. impression_start[i + 1]), at position
     * impression_position[i]; an empty list means this row has none. Interactions of one user at
     * one time with equal lists are the several clicks of one impression. */
    uint64_t *impression_start; /* [n_interactions + 1] */
    uint32_t *impression_item;
    int32_t *impression_position;

    /* Logged lists that nobody chose from ("saw it and left"), by user, then time. Those of user u
     * are [skip_start[u], skip_start[u + 1]), skip k showed skip_item[skip_list_start[k] ..
     * skip_list_start[k + 1]). NULL when the log has none. */
    uint64_t n_skips;
    uint64_t *skip_start;      /* [users.n_rows + 1] */
    int64_t *skip_time_s;      /* [n_skips] */
    uint64_t *skip_list_start; /* [n_skips + 1] */
    uint32_t *skip_item;

    /* When an item can first be shown: its release if the log says so, else the first time anyone
     * chose it or was shown it; INT64_MAX when nobody ever did. */
    int64_t *item_available_s; /* [items.n_rows] */
    bool *item_has_release;    /* [items.n_rows]: true where the date came from the log itself */

    struct um_dataset_memory *memory; /* owns everything above */
} um_dataset;

void um_dataset_free(um_dataset *dataset);
/* Index of the first column of that name, descriptions before features, or -1. */
int um_table_column(const um_table *table, const char *name);
const char *um_table_cell(const um_table *table, uint32_t row, int column); /* NULL when absent */
const um_series *um_dataset_series(const um_dataset *dataset,
                                   const char *name); /* NULL if absent */

/* Building --------------------------------------------------------------------------------------
 */

/*
 * Rows may come in any order; interactions may name users and items before they are described, or
 * without them ever being. Strings are copied. A behaviour column that gets both numbers and texts
 * becomes one of JSON texts.
 */
typedef struct um_dataset_builder um_dataset_builder;
um_status um_dataset_builder_new(um_dataset_builder **out, const char *name,
                                 um_error *err) UM_CHECKED;
void um_dataset_builder_free(um_dataset_builder *builder);
/* Index of a user / item by external id, made when new. *added may be NULL. */
um_status um_dataset_builder_user(um_dataset_builder *b, const char *id, uint32_t *index,
                                  bool *added, um_error *err) UM_CHECKED;
um_status um_dataset_builder_item(um_dataset_builder *b, const char *id, uint32_t *index,
                                  bool *added, um_error *err) UM_CHECKED;
/* Sets one cell; a column is made at its first use. value NULL leaves the cell absent. */
um_status um_dataset_builder_set_user(um_dataset_builder *b, uint32_t user, const char *column,
                                      um_column_kind kind, const char *value,
                                      um_error *err) UM_CHECKED;
um_status um_dataset_builder_set_item(um_dataset_builder *b, uint32_t item, const char *column,
                                      um_column_kind kind, const char *value,
                                      um_error *err) UM_CHECKED;
um_status um_dataset_builder_release(um_dataset_builder *b, uint32_t item, int64_t time_s,
                                     um_error *err) UM_CHECKED;
/* Adds an interaction; the behaviour cells and impressions set next belong to it. */
um_status um_dataset_builder_interaction(um_dataset_builder *b, uint32_t user, uint32_t item,
                                         int64_t time_s, um_error *err) UM_CHECKED;
um_status um_dataset_builder_number(um_dataset_builder *b, const char *series, double value,
                                    um_error *err) UM_CHECKED;
um_status um_dataset_builder_text(um_dataset_builder *b, const char *series, const char *json,
                                  um_error *err) UM_CHECKED;
um_status um_dataset_builder_impressions(um_dataset_builder *b, const uint32_t *items, size_t n,
                                         int32_t position, um_error *err) UM_CHECKED;
/* Adds a list nobody chose from; n >= 1. */
um_status um_dataset_builder_skip(um_dataset_builder *b, uint32_t user, int64_t time_s,
                                  const uint32_t *items, size_t n, um_error *err) UM_CHECKED;
/* Sorts and hands over. Users without interactions are kept, and so are equal rows. Whatever the
 * outcome, the builder is empty afterwards and can only be freed. */
um_status um_dataset_builder_finish(um_dataset_builder *b, um_dataset **out,
                                    um_error *err) UM_CHECKED;

/* Reading log files ------------------------------------------------------------------------------
 */

typedef struct um_rejection {
    const char *file;
    uint64_t line; /* 1-based; 0 when the whole file is meant */
    const char *reason;
    bool is_filter; /* well formed, left out by one of um_ingest_filters */
} um_rejection;

/*
 * What is left out of a log although it is well formed. Each adapter has published values for some
 * of them (um_adapter_info); 0 switches one off. They hold in this order, once each: rows by
 * min_rating_count, min_history and max_list; then the newest share of what is left;
 * then items by min_item_interactions, then users by min_ and max_user_interactions.
 */
#define UM_FILTER_DEFAULT (-1)
typedef struct um_ingest_filters {
    double newest_share;           /* of interactions kept, newest first, 0..1; 0 or 1 = all */
    int64_t min_user_interactions; /* users with fewer are left out */
    int64_t max_user_interactions; /* users with more are left out */
    int64_t min_item_interactions; /* items with fewer are left out of the log */
    int64_t min_rating_count;      /* Amazon: items with fewer ratings on the site, or no details */
    int64_t min_history;           /* MIND: rows with fewer earlier clicks */
    int64_t max_list;              /* impressions with more items */
} um_ingest_filters;               /* src/data/filter.h has the rules of the middle four in full */

typedef struct um_ingest_options {
    const char *adapter; /* NULL or "auto" recognises the files; else an adapter's name */
    const char *name;    /* data set name; NULL = the adapter's */
    int64_t max_bad;     /* bad rows that are put up with: one more ends reading with UM_ERR_LIMIT;
                            0 = none, -1 = no limit */
    um_ingest_filters filters; /* UM_FILTER_DEFAULT in a field: what the adapter publishes */
    const char *mapping;       /* YAML file of the adapter "mapped"; NULL for all others */
    const char *spool_dir;     /* where long texts are put aside while reading, in an unlinked
                                  file; NULL = $TMPDIR or the system's */
    void (*on_rejection)(void *context, const um_rejection *rejection); /* may be NULL */
    void *context;
} um_ingest_options;

/* adapter "auto", its published filters, no limit of bad rows. */
void um_ingest_defaults(um_ingest_options *options);

/* Rows rejected for one reason. */
#define UM_INGEST_MAX_REASONS 32
#define UM_INGEST_EXAMPLES    3
#define UM_INGEST_NAME        128 /* bytes of a file's path inside the log, NUL included */
typedef struct um_ingest_reason {
    char text[112]; /* numbers and quoted values left out: "rating '...' is not a number" */
    bool is_filter; /* one of um_ingest_filters, not a bad row */
    uint64_t rows;
    size_t n_examples; /* the first rows */
    struct {
        char file[UM_INGEST_NAME];
        uint64_t line;
        char reason[160];
    } examples[UM_INGEST_EXAMPLES];
} um_ingest_reason;

/*
 * read = kept + rejected. Blank lines and headers are no rows. A row equal to an earlier one in
 * user, item and time is rejected, so the first in file order stays. A row that gives several
 * interactions or lists is rejected when none of them is kept.
 */
typedef struct um_ingest_file {
    char name[UM_INGEST_NAME]; /* path inside the folder or zip; a long one's end */
    uint64_t rows_read, rows_kept, rows_rejected;
    uint64_t bytes; /* unpacked */
} um_ingest_file;

typedef struct um_ingest_report {
    char adapter[32];
    um_ingest_file files[64];
    size_t n_files;
    uint64_t rows_read, rows_kept, rows_rejected;
    uint64_t rows_filtered; /* of rows_rejected: well formed, but left out by um_ingest_filters;
                               max_bad does not count them */
    /* In the order they were first met; the last one gathers what does not fit. */
    um_ingest_reason reasons[UM_INGEST_MAX_REASONS];
    size_t n_reasons;
} um_ingest_report;

/*
 * Reads a folder, a zip, or a single (gz) file. Unrecognised: UM_ERR_INPUT that lists what each
 * adapter expects and what was found. The report (NULL allowed) is filled as far as reading came,
 * on failure too.
 */
um_status um_dataset_read(um_dataset **out, um_ingest_report *report, const char *path,
                          const um_ingest_options *options, const um_monitor *monitor,
                          um_error *err) UM_CHECKED;

/* One line an adapter: name, the files it expects, published filters. Ends with a NULL name. */
typedef struct um_adapter_info {
    const char *name, *files;
    um_ingest_filters filters;
} um_adapter_info;
const um_adapter_info *um_adapters(void);

/* Writes the three canonical JSONL files `<name>_user_feature.jsonl`, ... into dir. Reading them
 * back gives an equal data set, and writing again equal bytes. Item release times are the item
 * feature `release_time`; the first row of each file names every column (null where absent), so
 * that the order of columns survives. */
um_status um_dataset_write_canonical(const um_dataset *dataset, const char *dir,
                                     um_error *err) UM_CHECKED;

#ifdef __cplusplus
}
#endif
#endif
