/*
 * mapped_row.h - a row of a mapped log on its way into the builder: what mapped.c, which reads
 * files, and mapped_log.c, which takes choices and lists shown, share.
 */
#ifndef UM_DATA_MAPPED_ROW_H
#define UM_DATA_MAPPED_ROW_H

#include <string.h>

#include "base/jsonl.h"
#include "data/ingest.h"
#include "data/mapped.h"

typedef enum um_mapped_cell_form {
    UM_CELL_FIELD, /* of a table: text */
    UM_CELL_STRING,
    UM_CELL_NUMBER,
    UM_CELL_LIST,
    UM_CELL_STRINGS, /* a list of strings, nothing else, that is looked at as a list only */
    UM_CELL_OTHER    /* truth values and objects */
} um_mapped_cell_form;

/* All but the first are values in JSON lines; what is no string has its JSON as text, but for
 * strings: there the length of each, as uint32_t, stands before it and its NUL. */
typedef struct um_mapped_cell {
    const char *text; /* NUL-terminated; NULL: absent */
    size_t len;
    um_mapped_cell_form form;
    double number; /* UM_CELL_NUMBER */
    bool is_whole; /* it is this integer */
    int64_t whole;
    um_jval list; /* UM_CELL_LIST */
} um_mapped_cell;

/* An item shown, one row of an impression. Texts are places in group.text. */
typedef struct um_mapped_shown {
    uint64_t line;
    size_t index; /* in the order of the file */
    size_t item;
    int64_t position;
    bool is_clicked;
} um_mapped_shown;

typedef UM_VEC(size_t) um_mapped_places;

typedef struct um_mapped_group {
    bool is_open;
    bool is_broken;  /* a row of it is bad, or may be: its list would not be what was shown */
    um_str text;     /* ids and behaviour texts, each with its NUL */
    size_t id, user; /* user and time are those of the first good row */
    int64_t time_s;
    UM_VEC(um_mapped_shown) rows;
    UM_VEC(double) numbers; /* [rows][numbers]; NaN: absent */
    um_mapped_places texts; /* [rows][texts]; SIZE_MAX: absent */
    um_map items;           /* item ids of the group to their row */
    um_arena keys;
} um_mapped_group;

typedef struct um_mapped um_mapped;
typedef um_status (*um_mapped_take)(um_mapped *s, uint64_t line, um_error *err);

struct um_mapped {
    um_reading *r;
    um_mapping *m;
    const um_mapped_source *source;
    um_mapped_take take;
    um_mapped_cell cells[UM_MAPPED_MAX_COLUMNS];
    uint64_t n_rows;         /* of the log, for times by order */
    um_str text;             /* of the cell in hand */
    um_str ids;              /* items of the row: ids, each with its NUL */
    um_mapped_places chosen; /* places in ids */
    um_mapped_places shown;  /* the same */
    UM_VEC(uint32_t) items;  /* the list shown, as the builder knows it */
    UM_VEC(const char *) sorted;
    um_mapped_group group;
    um_ids seen; /* impressions that are over */
    um_arena seen_memory;
    um_mapped_places seen_unit; /* what each gave (builder.h); SIZE_MAX: nothing */
    UM_VEC(uint64_t) lines;     /* of the impression in hand, those that nothing was chosen in */
    uint64_t n_rejected;        /* rows of the file after the last row whose impression is known */
};

/* The cell of a field; absent where the field is not mapped. */
const um_mapped_cell *um_mapped_cell_of(const um_mapped *s, const um_mapped_field *field);
/* NULL when the cell holds a time, else why not. */
const char *um_mapped_to_time(const um_mapped *s, const um_mapped_time *time, int64_t *time_s);
/* The cell as JSON in s->text: what JSON it is; else a string, or a number where `numbers` allows
 * it. */
void um_mapped_to_json(um_mapped *s, const um_mapped_cell *c, const um_mapped_field *field,
                       bool numbers);
/* The string of UM_CELL_STRINGS at *at, which goes behind it; false at the end. *at = 0 first. */
static inline bool um_mapped_next_string(const um_mapped_cell *c, size_t *at, const char **text,
                                         size_t *len)
{
    uint32_t n = 0;
    if (*at == c->len)
        return false;
    memcpy(&n, c->text + *at, sizeof n);
    *text = c->text + *at + sizeof n;
    *len = n;
    *at += sizeof n + n + 1;
    return true;
}
/* One element of a JSON list as text. */
void um_mapped_append_element(um_str *out, um_jval value);

/* A row with a choice, its list in it; a row that is one item shown. */
um_status um_mapped_take_choice(um_mapped *s, uint64_t line, um_error *err) UM_CHECKED;
um_status um_mapped_take_shown(um_mapped *s, uint64_t line, um_error *err) UM_CHECKED;
/* At the end of a file: the impression in hand, if any, is over and enters the builder. */
um_status um_mapped_end_shown(um_mapped *s, um_error *err) UM_CHECKED;
void um_mapped_dispose_group(um_mapped *s);

#endif
