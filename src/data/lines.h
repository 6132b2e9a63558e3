/*
 * lines.h - lines of a text file, in a buffer that the caller may cut up in place.
 *
 * A line ends with \n or \r\n; the last may end with the file. A byte order mark is skipped. Files
 * whose lines end with a bare \r are refused. A line longer than the limit is given as too long and
 * passed over without being stored.
 */
#ifndef UM_DATA_LINES_H
#define UM_DATA_LINES_H

#include "data/ahead.h"
#include "data/bundle.h"

#define UM_LINES_MAX_BYTES ((size_t)16 << 20) /* one line */

typedef struct um_lines {
    um_stream *stream;
    um_ahead *ahead;  /* reads the stream from the second block of a packed file on; or NULL */
    const char *name; /* of the file, borrowed from the bundle */
    char *buffer;
    size_t cap;
    size_t begin;       /* of the record given last */
    size_t next;        /* first byte after it and its line end */
    size_t end;         /* of the bytes read */
    bool at_end;        /* the file has no more bytes than those in the buffer */
    uint64_t line;      /* number of the record's first line, from 1 */
    uint64_t next_line; /* number of the line that starts at `next` */
    uint64_t bytes;     /* read from the file */
} um_lines;

typedef struct um_line {
    char *text; /* not NUL-terminated, but text[len] may be written; NULL at the end of the file */
    size_t len;
    bool is_long;  /* passed over: text is empty */
    bool is_whole; /* had a line end: only the last line of a file can be without */
} um_line;

um_status um_lines_open(um_lines *lines, um_bundle *bundle, const um_entry *entry,
                        um_error *err) UM_CHECKED;
void um_lines_close(um_lines *lines);
/* The next line; what was given before is gone. */
um_status um_lines_next(um_lines *lines, um_line *line, um_error *err) UM_CHECKED;
/*
 * Whole lines, many at once, for whoever cuts them elsewhere: a block has a buffer of its own,
 * which is exchanged for that of the lines. What the lines are, and what is refused, is as with
 * um_lines_next; `line` and `next_line` do not go on.
 */
#define UM_LINES_PADDING 64
typedef struct um_block {
    char *buffer;
    size_t cap;
    char *text; /* the next line; UM_LINES_PADDING bytes after the last may be read */
    size_t len; /* of the lines that are left, 0 with is_long false: none */
    bool is_long;
} um_block;
/* An empty block: the end of the file. The block is zeroed at first. */
um_status um_lines_take(um_lines *lines, um_block *block, um_error *err) UM_CHECKED;
bool um_block_next(um_block *block, um_line *line); /* false: no more */
void um_block_dispose(um_block *block);
/* Joins the next line to *line with its line end in between, while the whole is at most max_bytes.
 * *grown = false when it is not, or the file ends; *line is then as before. */
um_status um_lines_extend(um_lines *lines, um_line *line, size_t max_bytes, bool *grown,
                          um_error *err) UM_CHECKED;
/* Where in the file the record, with its line end, is over. */
uint64_t um_lines_offset(const um_lines *lines);
/* Undoes extensions: the record becomes its first line, first_len bytes long, again. */
void um_lines_retract(um_lines *lines, size_t first_len);

#endif
