/*
 * ingest.h - what an adapter is, and what it works with.
 *
 * An adapter is one const um_adapter in a file of its own, listed in ingest.c. It says which files
 * it knows, and reads them into the builder; counting rows, limits and messages are done here.
 */
#ifndef UM_DATA_INGEST_H
#define UM_DATA_INGEST_H

#include "data/builder.h"
#include "data/bundle.h"
#include "data/lines.h"
#include "mirrorer/dataset.h"

#define UM_ADAPTER_MAX_TABLES 64 /* files whose rows are interactions */

typedef struct um_reading {
    um_bundle *bundle;
    um_dataset_builder *builder;
    um_ingest_report *report;
    const um_ingest_options *options;
    um_ingest_filters filters; /* the adapter's where the options leave the default */
    const um_monitor *monitor;
    um_ingest_file *file;  /* counters of the file being read */
    const char *file_name; /* its path inside the bundle */
    uint64_t bad;          /* rejected rows that count towards max_bad */
    bool is_past_max_bad;
    bool is_open;            /* a file was begun and not ended */
    um_error first_bad;      /* text of the first of them in this file */
    um_error first_filtered; /* the same of well-formed rows that are left out */
    um_ingest_reason *left_out[UM_LEFT_OUT_COUNT]; /* where rows left out at the end are counted */
    void *state;      /* the adapter's own while it reads: a row callback gets nothing else */
    const char *made; /* of the object in hand, where um_objects_spec has a maker */
    struct {
        um_ingest_file *file;
        const char *file_name;
    } tables[UM_ADAPTER_MAX_TABLES];
    size_t n_tables;
} um_reading;

typedef struct um_adapter {
    const char *name;
    const char *files;         /* one line for --help and for messages */
    const char *default_name;  /* of the data set; NULL: the adapter sets it from the file names */
    um_ingest_filters filters; /* published defaults; 0 = off */
    /* Which of the filters that need figures of the log it has: where one that it lacks is asked
     * for, the reading is refused. */
    bool has_rating_counts, has_clicks_before, has_lists;
    bool (*detect)(const um_bundle *bundle);
    /* Where it was named, for files that another adapter takes first; NULL = detect. */
    bool (*detect_named)(const um_bundle *bundle);
    um_status (*read)(um_reading *r, um_error *err);
    /* Data set name from the files, only where default_name is NULL. */
    um_status (*make_name)(const um_bundle *bundle, um_str *name, um_error *err);
} um_adapter;

extern const um_adapter um_adapter_canonical, um_adapter_ml_1m, um_adapter_ml_10m,
    um_adapter_ml_100k, um_adapter_ml_latest;
extern const um_adapter um_adapter_amazon_2023, um_adapter_amazon_2018, um_adapter_amazon_2014,
    um_adapter_goodreads, um_adapter_steam, um_adapter_mobilerec;
extern const um_adapter um_adapter_recbole, um_adapter_mapped;
extern const um_adapter um_adapter_mind, um_adapter_kuairec, um_adapter_kuairec_small,
    um_adapter_lastfm;

/* Counts a row of the current file as rejected and reports it; UM_ERR_LIMIT past max_bad. */
um_status um_reading_reject(um_reading *r, um_error *err, uint64_t line, const char *format,
                            ...) UM_CHECKED UM_PRINTF(4, 5);

/* Counts a well-formed row as left out by a filter: reported, but no bad row. */
um_status um_reading_filter(um_reading *r, um_error *err, uint64_t line, const char *format,
                            ...) UM_CHECKED UM_PRINTF(4, 5);

/* Puts file and line before the message of a failure other than too many bad rows. */
um_status um_reading_row_failed(um_reading *r, um_status status, uint64_t line, um_error *err);

/* One row of a delimited file; fields are NUL-terminated UTF-8, valid until the callback returns.
 */
typedef struct um_row {
    char **field;
    const size_t *len;
    size_t n;
    uint64_t line;
} um_row;
/* Takes a row or rejects it with um_reading_reject; any status but UM_OK ends the reading. */
typedef um_status (*um_row_fn)(um_reading *r, const um_row *row, um_error *err);

typedef struct um_table_spec {
    const char *file;
    const char *separator;
    bool is_quoted; /* RFC 4180: "..." fields, "" inside them */
    bool is_latin1; /* lines that are not UTF-8 are ISO 8859-1 */
    bool has_header;
    bool has_interactions;
    bool may_be_short;          /* fields missing at the end of a row are empty */
    bool may_all_be_bad;        /* a file without a good row is passed over, not refused */
    size_t n_fields;            /* given to `take`: with a header those it names, in this order; */
    const char *const *columns; /* without, the number that every row must have */
    um_row_fn take;
    um_status (*end)(um_reading *r, um_error *err); /* after the last row; NULL: nothing to do */
} um_table_spec;

/* Reads one required file row by row. A file without rows is refused, and one without a good row.
 */
um_status um_reading_table(um_reading *r, const um_table_spec *spec, um_error *err) UM_CHECKED;
/* The same of a given file, where several have one name; spec->file is not looked at. */
um_status um_reading_entry(um_reading *r, const um_entry *entry, const um_table_spec *spec,
                           um_error *err) UM_CHECKED;

/* For files of another form: begin, then for each line count, take or reject, then end. */
um_status um_reading_begin(um_reading *r, const um_entry *entry, bool has_interactions,
                           um_lines *lines, um_error *err) UM_CHECKED;
/* Counts a row read; shows progress, and notices a request to stop. */
um_status um_reading_count(um_reading *r, um_error *err) UM_CHECKED;
um_status um_reading_end(um_reading *r, um_lines *lines, um_error *err) UM_CHECKED;
/* The same where no row need be good. */
um_status um_reading_end_any(um_reading *r, um_lines *lines, um_error *err) UM_CHECKED;

/* Text checks on a line: true when it has a NUL; *ascii tells whether any byte is above 127. */
bool um_line_has_nul(const char *text, size_t len, bool *ascii);

#endif
