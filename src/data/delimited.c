/*
 * delimited.c - rows of separated fields: CSV (RFC 4180 quotes), tab, "::".
 *
 * A quoted field may hold line ends. When its closing quote is missing, only the line that opened
 * it is rejected and reading goes on with the next: one stray quote does not swallow the file.
 * What a search for the closing quote has passed over in vain is not searched again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "data/ingest.h"

#define MAX_COLUMNS      1024
#define MAX_RECORD_BYTES ((size_t)1 << 20) /* with line ends in quoted fields */

/* BROKEN: text between a closing quote and the next separator. */
typedef enum quote_state { FIELD_START, IN_FIELD, IN_QUOTES, AFTER_QUOTE, BROKEN } quote_state;

typedef struct table {
    const um_table_spec *spec;
    um_lines lines;
    um_str utf8;              /* a line converted from ISO 8859-1 */
    char *field[MAX_COLUMNS]; /* as they stand in the line */
    size_t len[MAX_COLUMNS];
    char **picked; /* [spec->n_fields] */
    size_t *picked_len;
    size_t *place;    /* [spec->n_fields] column of each wanted field */
    size_t n_columns; /* that every row must have */
    /* A search for a closing quote that failed: it was within quotes at every line end up to this
     * byte of the file, and why it failed. */
    uint64_t vain_to;
    const char *vain_reason;
} table;

/* State after text; what is scanned is the same record carried on after a line end. */
static quote_state scan_quotes(const char *text, size_t len, char separator, quote_state state)
{
    for (size_t i = 0; i < len && state != BROKEN; i++) {
        char c = text[i];
        if (state == IN_QUOTES) {
            state = c == '"' ? AFTER_QUOTE : IN_QUOTES;
        } else if (c == separator) {
            state = FIELD_START;
        } else if (c == '"' && state != IN_FIELD) {
            state = IN_QUOTES;
        } else {
            state = state == AFTER_QUOTE ? BROKEN : IN_FIELD;
        }
    }
    return state;
}

/*
 * Extends the record until its quotes are closed. Where they never are, or not rightly, it is cut
 * back to its first line and *reason says why.
 *
 * Two searches that are both within quotes at one line end go on alike from there. So a line that
 * ends within quotes, and not after the last line end where a failed search was, fails as that one
 * did; without this, a file of such lines would be scanned once for each. (Where the search failed
 * at the limit of bytes, the later line is refused the few more that its own limit would give it.)
 */
static um_status close_quotes(table *t, um_line *line, const char **reason, um_error *err)
{
    size_t first_len = line->len, scanned = line->len;
    quote_state state = scan_quotes(line->text, line->len, t->spec->separator[0], FIELD_START);
    uint64_t within_to = 0;
    if (state == IN_QUOTES && um_lines_offset(&t->lines) <= t->vain_to) {
        *reason = t->vain_reason;
        return UM_OK;
    }
    while (state == IN_QUOTES) {
        bool grown = false;
        within_to = um_lines_offset(&t->lines);
        um_status status = um_lines_extend(&t->lines, line, MAX_RECORD_BYTES, &grown, err);
        if (status != UM_OK)
            return status;
        if (!grown) {
            *reason = "a quote is opened and not closed before the end of the file or 1 MiB";
            break;
        }
        state =
            scan_quotes(line->text + scanned, line->len - scanned, t->spec->separator[0], state);
        scanned = line->len;
    }
    if (state == BROKEN)
        *reason = "text after a closing quote";
    if (*reason != NULL) {
        um_lines_retract(&t->lines, first_len);
        if (within_to > t->vain_to) {
            t->vain_to = within_to;
            t->vain_reason = *reason;
        }
    }
    return UM_OK;
}

/*
 * Cuts a record whose quotes were found right into NUL-terminated fields, in place. Returns their
 * number, MAX_COLUMNS + 1 when there are more.
 */
static size_t split_quoted(table *t, char *text, size_t len)
{
    size_t n = 0, i = 0;
    char separator = t->spec->separator[0];
    for (;;) {
        if (n == MAX_COLUMNS)
            return MAX_COLUMNS + 1;
        char *start = text + i, *out = start;
        if (i < len && text[i] == '"') {
            for (i++; i < len; i++) {
                if (text[i] == '"' && (i + 1 == len || text[i + 1] != '"'))
                    break;
                i += text[i] == '"';
                *out++ = text[i];
            }
            i++;
        } else {
            char *stop = memchr(start, separator, len - i);
            out = stop != NULL ? stop : text + len;
            i = (size_t)(out - text);
        }
        t->field[n] = start;
        t->len[n++] = (size_t)(out - start);
        *out = '\0';
        if (i >= len)
            return n;
        i++;
    }
}

static size_t split_plain(table *t, char *text, size_t len)
{
    const char *separator = t->spec->separator;
    size_t width = strlen(separator), n = 0;
    char *at = text, *end = text + len;
    for (;;) {
        if (n == MAX_COLUMNS)
            return MAX_COLUMNS + 1;
        char *stop = at;
        while ((stop = memchr(stop, separator[0], (size_t)(end - stop))) != NULL) {
            if ((size_t)(end - stop) >= width && memcmp(stop, separator, width) == 0)
                break;
            stop++;
        }
        char *field_end = stop != NULL ? stop : end;
        t->field[n] = at;
        t->len[n++] = (size_t)(field_end - at);
        *field_end = '\0';
        if (stop == NULL)
            return n;
        at = stop + width;
    }
}

bool um_line_has_nul(const char *text, size_t len, bool *ascii)
{
    uint64_t high = 0, zero = 0, word = 0;
    size_t i = 0;
    for (; i + 8 <= len; i += 8) {
        memcpy(&word, text + i, 8);
        high |= word;
        zero |= (word - 0x0101010101010101u) & ~word;
    }
    for (; i < len; i++) {
        high |= (unsigned char)text[i];
        zero |= text[i] == '\0' ? 0x80 : 0;
    }
    *ascii = (high & 0x8080808080808080u) == 0;
    return (zero & 0x8080808080808080u) != 0;
}

/* Checks bytes, converts where the spec says so; *reason = NULL when the line is good. */
static um_status clean_line(table *t, um_line *line, const char **reason, um_error *err)
{
    bool ascii = true;
    if (line->is_long) {
        *reason = "line longer than the limit";
    } else if (um_line_has_nul(line->text, line->len, &ascii)) {
        *reason = "NUL byte in the line";
    } else if (!ascii && !um_utf8_valid(line->text, line->len)) {
        if (!t->spec->is_latin1) {
            *reason = "not UTF-8";
            return UM_OK;
        }
        um_str_clear(&t->utf8);
        um_str_append_latin1(&t->utf8, line->text, line->len);
        line->text = t->utf8.data;
        line->len = t->utf8.len;
        return um_str_status(&t->utf8, err);
    }
    return UM_OK;
}

/*
 * The next record cut into fields: *n of them, 0 at the end of the file. *reason tells why the
 * record is bad. Blank lines are no records.
 */
static um_status next_record(table *t, size_t *n, const char **reason, um_error *err)
{
    um_line line;
    um_status status = UM_OK;
    *n = 0;
    *reason = NULL;
    do {
        status = um_lines_next(&t->lines, &line, err);
        if (status != UM_OK || line.text == NULL)
            return status;
    } while (line.len == 0 && !line.is_long);
    *n = 1;
    bool quoted = t->spec->is_quoted && !line.is_long && memchr(line.text, '"', line.len) != NULL;
    if (quoted)
        status = close_quotes(t, &line, reason, err);
    if (status == UM_OK && *reason == NULL)
        status = clean_line(t, &line, reason, err);
    if (status == UM_OK && *reason == NULL)
        *n = quoted ? split_quoted(t, line.text, line.len) : split_plain(t, line.text, line.len);
    return status;
}

static um_status fail_column(const um_reading *r, table *t, size_t n, const char *name,
                             um_error *err)
{
    const char *near = um_nearest(name, (const char *const *)t->field, n);
    um_str known = UM_STR_INIT;
    for (size_t i = 0; i < n && known.len < 160; i++)
        um_str_appendf(&known, "%s%.40s", i > 0 ? ", " : "", t->field[i]);
    um_status status = um_fail(
        err, UM_ERR_INPUT,
        "%s:1: header has no column '%s'%s%s%s; it has: %.200s; is the header line missing?",
        r->file_name, name, near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
        near != NULL ? "'?" : "", um_str_text(&known));
    um_str_dispose(&known);
    return status;
}

static um_status read_header(um_reading *r, table *t, um_error *err)
{
    const char *reason = NULL;
    const um_table_spec *spec = t->spec;
    size_t n = 0;
    um_status status = next_record(t, &n, &reason, err);
    if (status != UM_OK)
        return status;
    if (n == 0)
        return um_fail(err, UM_ERR_INPUT, "%s: the file is empty, need a header line and rows",
                       r->file_name);
    if (reason != NULL)
        return um_fail(err, UM_ERR_INPUT, "%s:1: header: %s", r->file_name, reason);
    if (n > MAX_COLUMNS)
        return um_fail(err, UM_ERR_LIMIT, "%s:1: header has more than %d columns", r->file_name,
                       MAX_COLUMNS);
    t->n_columns = n;
    for (size_t w = 0; w < spec->n_fields; w++) {
        size_t found = 0;
        for (size_t i = 0; i < n; i++) {
            if (strcmp(t->field[i], spec->columns[w]) == 0) {
                t->place[w] = i;
                found++;
            }
        }
        if (found == 0)
            return fail_column(r, t, n, spec->columns[w], err);
        if (found > 1)
            return um_fail(err, UM_ERR_INPUT, "%s:1: header has column '%s' %zu times",
                           r->file_name, spec->columns[w], found);
    }
    return UM_OK;
}

static um_status take_record(um_reading *r, table *t, size_t n, um_error *err)
{
    static char empty[] = "";
    const um_table_spec *spec = t->spec;
    if (n > MAX_COLUMNS)
        return um_reading_reject(r, err, t->lines.line, "long row: more than %d fields, need %zu",
                                 MAX_COLUMNS, t->n_columns);
    while (spec->may_be_short && n < t->n_columns) {
        t->field[n] = empty;
        t->len[n++] = 0;
    }
    if (n != t->n_columns)
        return um_reading_reject(r, err, t->lines.line, "%s row: %zu fields, need %zu",
                                 n < t->n_columns ? "short" : "long", n, t->n_columns);
    for (size_t w = 0; w < spec->n_fields; w++) {
        t->picked[w] = t->field[t->place[w]];
        t->picked_len[w] = t->len[t->place[w]];
    }
    const um_row row = {
        .field = t->picked, .len = t->picked_len, .n = spec->n_fields, .line = t->lines.line};
    um_status status = spec->take(r, &row, err);
    return status == UM_OK ? UM_OK : um_reading_row_failed(r, status, row.line, err);
}

static um_status read_rows(um_reading *r, table *t, um_error *err)
{
    for (;;) {
        size_t n = 0;
        const char *reason = NULL;
        um_status status = next_record(t, &n, &reason, err);
        if (status != UM_OK || n == 0)
            return status;
        status = um_reading_count(r, err);
        if (status == UM_OK)
            status = reason != NULL ? um_reading_reject(r, err, t->lines.line, "%s", reason)
                                    : take_record(r, t, n, err);
        if (status != UM_OK)
            return status;
    }
}

um_status um_reading_table(um_reading *r, const um_table_spec *spec, um_error *err)
{
    const um_entry *entry = um_bundle_find(r->bundle, spec->file);
    if (entry == NULL)
        return um_fail(err, UM_ERR_INPUT, "%s: no file, or more than one, called %s",
                       r->bundle->path, spec->file);
    return um_reading_entry(r, entry, spec, err);
}

um_status um_reading_entry(um_reading *r, const um_entry *entry, const um_table_spec *spec,
                           um_error *err)
{
    um_status status = UM_OK;
    table *t = um_calloc(1, sizeof *t);
    if (t == NULL)
        return um_fail_memory(err, "a table reader");
    t->spec = spec;
    t->n_columns = spec->n_fields;
    t->picked = um_calloc(spec->n_fields, sizeof *t->picked);
    t->picked_len = um_calloc(spec->n_fields, sizeof *t->picked_len);
    t->place = um_calloc(spec->n_fields, sizeof *t->place);
    if (t->picked == NULL || t->picked_len == NULL || t->place == NULL) {
        status = um_fail_memory(err, "a table reader");
        goto done;
    }
    for (size_t i = 0; i < spec->n_fields; i++)
        t->place[i] = i;
    status = um_reading_begin(r, entry, spec->has_interactions, &t->lines, err);
    if (status == UM_OK && spec->has_header)
        status = read_header(r, t, err);
    if (status == UM_OK)
        status = read_rows(r, t, err);
    if (status == UM_OK && spec->end != NULL)
        status = spec->end(r, err);
    if (status == UM_OK)
        status = spec->may_all_be_bad ? um_reading_end_any(r, &t->lines, err)
                                      : um_reading_end(r, &t->lines, err);
done:
    um_lines_close(&t->lines);
    um_str_dispose(&t->utf8);
    free(t->picked);
    free(t->picked_len);
    free(t->place);
    free(t);
    return status;
}
