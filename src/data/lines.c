#include "data/lines.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

#define FIRST_CAPACITY ((size_t)256 << 10)  /* stays in the second-level cache */
#define KEPT_CAPACITY  (4 * FIRST_CAPACITY) /* a larger buffer is not passed round in blocks */

um_status um_lines_open(um_lines *lines, um_bundle *bundle, const um_entry *entry, um_error *err)
{
    *lines = (um_lines){.name = entry->name, .next_line = 1};
    um_status status = um_stream_open(&lines->stream, bundle, entry, err);
    if (status != UM_OK)
        return status;
    lines->cap = FIRST_CAPACITY;
    lines->buffer = malloc(lines->cap);
    if (lines->buffer == NULL) {
        um_lines_close(lines);
        return um_fail_memory(err, "a line buffer");
    }
    return UM_OK;
}

void um_lines_close(um_lines *lines)
{
    um_ahead_close(lines->ahead);
    um_stream_close(lines->stream);
    free(lines->buffer);
    *lines = (um_lines){0};
}

/* Packed files that do not end with the first block are unpacked by a thread of their own. */
static um_status read_block(um_lines *l, char *bytes, size_t size, size_t *n, um_error *err)
{
    um_status status = UM_OK;
    if (l->ahead == NULL && l->bytes > 0 && um_stream_is_packed(l->stream))
        status = um_ahead_open(&l->ahead, l->stream, err);
    if (status != UM_OK)
        return status;
    return l->ahead != NULL ? um_ahead_read(l->ahead, bytes, size, n, err)
                            : um_stream_read(l->stream, bytes, size, n, err);
}

/* Drops what lies before `begin` and reads on; some bytes stay free for who looks past the end, or
 * puts a NUL there. */
static um_status refill(um_lines *l, um_error *err)
{
    if (l->begin > 0) {
        memmove(l->buffer, l->buffer + l->begin, l->end - l->begin);
        l->next -= l->begin;
        l->end -= l->begin;
        l->begin = 0;
    }
    if (l->cap - l->end <= l->cap / 4) {
        char *grown = um_reallocarray(l->buffer, l->cap, 2);
        if (grown == NULL)
            return um_fail_memory(err, "a line buffer");
        l->buffer = grown;
        l->cap *= 2;
    }
    size_t got = 0;
    um_status status =
        read_block(l, l->buffer + l->end, l->cap - l->end - UM_LINES_PADDING, &got, err);
    if (status != UM_OK)
        return status;
    l->at_end = got == 0;
    l->end += got;
    l->bytes += got;
    return UM_OK;
}

/*
 * Length of the line that starts at `next`, its \n included; 0 when the file ends there. At most
 * max_bytes are looked at: a longer line gives max_bytes + 1.
 */
static um_status find_end(um_lines *l, size_t max_bytes, size_t *len, um_error *err)
{
    size_t scanned = 0;
    for (;;) {
        char *from = l->buffer + l->next + scanned;
        char *newline = memchr(from, '\n', l->end - l->next - scanned);
        if (newline != NULL) {
            *len = (size_t)(newline - (l->buffer + l->next)) + 1;
            if (*len > max_bytes)
                *len = max_bytes + 1;
            return UM_OK;
        }
        scanned = l->end - l->next;
        if (scanned > max_bytes) {
            *len = max_bytes + 1;
            return UM_OK;
        }
        if (l->at_end) {
            *len = scanned;
            return UM_OK;
        }
        um_status status = refill(l, err);
        if (status != UM_OK)
            return status;
    }
}

/* Passes over the rest of a line that is too long. */
static um_status skip_line(um_lines *l, um_error *err)
{
    for (;;) {
        char *newline = memchr(l->buffer + l->next, '\n', l->end - l->next);
        l->next = newline != NULL ? (size_t)(newline - l->buffer) + 1 : l->end;
        l->begin = l->next;
        if (newline != NULL || l->at_end)
            return UM_OK;
        um_status status = refill(l, err);
        if (status != UM_OK)
            return status;
    }
}

/* A record with its line end. */
static void set_line(char *text, size_t len, um_line *line)
{
    line->text = text;
    line->len = len;
    line->is_whole = len > 0 && text[len - 1] == '\n';
    if (line->is_whole)
        line->len--;
    if (line->len > 0 && text[line->len - 1] == '\r')
        line->len--;
}

static um_status check_first_line(um_lines *l, um_line *line, um_error *err)
{
    size_t seen = line->is_long ? l->end - l->begin : line->len;
    if (seen > UM_LINES_MAX_BYTES)
        seen = UM_LINES_MAX_BYTES;
    if (memchr(l->buffer + l->begin, '\r', seen) != NULL)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: lines end with a bare carriage return (old Macintosh text); convert it "
                       "to \\n line ends",
                       l->name);
    if (memchr(l->buffer + l->begin, '\0', seen) != NULL)
        return um_fail(err, UM_ERR_INPUT,
                       "%s:1: NUL byte in the first line: binary or UTF-16; convert it to UTF-8",
                       l->name);
    return UM_OK;
}

um_status um_lines_next(um_lines *l, um_line *line, um_error *err)
{
    size_t len = 0;
    *line = (um_line){0};
    l->begin = l->next;
    um_status status = find_end(l, UM_LINES_MAX_BYTES, &len, err);
    if (status != UM_OK)
        return status;
    if (l->next_line == 1 && len >= 3 && memcmp(l->buffer + l->begin, "\xEF\xBB\xBF", 3) == 0) {
        l->begin = l->next = l->next + 3;
        status = find_end(l, UM_LINES_MAX_BYTES, &len, err);
        if (status != UM_OK)
            return status;
    }
    if (len == 0)
        return UM_OK;
    l->line = l->next_line++;
    line->is_long = len > UM_LINES_MAX_BYTES;
    if (!line->is_long) {
        l->next += len;
        set_line(l->buffer + l->begin, len, line);
    }
    if (l->line == 1) {
        status = check_first_line(l, line, err);
        if (status != UM_OK)
            return status;
    }
    if (line->is_long) {
        status = skip_line(l, err);
        line->text = l->buffer + l->begin;
        line->is_whole = true;
    }
    return status;
}

/* Gives the buffer with the text before `next` away, for the block's, with the rest of it. */
static um_status exchange(um_lines *l, um_block *block, um_error *err)
{
    size_t rest = l->end - l->next;
    if (block->cap > KEPT_CAPACITY || rest + UM_LINES_PADDING > block->cap) {
        free(block->buffer);
        block->cap = FIRST_CAPACITY + rest;
        block->buffer = malloc(block->cap);
        if (block->buffer == NULL) {
            block->cap = 0;
            return um_fail_memory(err, "a line buffer");
        }
    }
    char *buffer = block->buffer;
    size_t cap = block->cap;
    memcpy(buffer, l->buffer + l->next, rest);
    block->buffer = l->buffer;
    block->cap = l->cap;
    block->text = l->buffer + l->begin;
    block->len = l->next - l->begin;
    l->buffer = buffer;
    l->cap = cap;
    l->begin = l->next = 0;
    l->end = rest;
    return UM_OK;
}

um_status um_lines_take(um_lines *l, um_block *block, um_error *err)
{
    block->is_long = false;
    l->begin = l->next;
    /* Read into the block's own buffer, which is in the cache of who has the block. */
    um_status status = exchange(l, block, err);
    const char *newline = memrchr(l->buffer, '\n', l->end);
    if (status == UM_OK && newline == NULL && !l->at_end) {
        status = refill(l, err);
        newline = memrchr(l->buffer, '\n', l->end);
    }
    if (status != UM_OK)
        return status;
    size_t len = newline != NULL ? (size_t)(newline - l->buffer) + 1 : 0;
    if (len > 0 && len <= UM_LINES_MAX_BYTES && l->next_line > 1) {
        l->next = len;
    } else { /* the first line, which is looked at; one that has no end here, or may be too long */
        um_line line;
        status = um_lines_next(l, &line, err);
        block->is_long = line.is_long;
    }
    return status == UM_OK ? exchange(l, block, err) : status;
}

bool um_block_next(um_block *block, um_line *line)
{
    *line = (um_line){.text = block->text, .is_long = block->is_long, .is_whole = true};
    block->is_long = false;
    if (line->is_long || block->len == 0)
        return line->is_long;
    const char *newline = memchr(block->text, '\n', block->len);
    size_t len = newline != NULL ? (size_t)(newline - block->text) + 1 : block->len;
    set_line(block->text, len, line);
    block->text += len;
    block->len -= len;
    return true;
}

void um_block_dispose(um_block *block)
{
    free(block->buffer);
    *block = (um_block){0};
}

um_status um_lines_extend(um_lines *l, um_line *line, size_t max_bytes, bool *grown, um_error *err)
{
    size_t len = 0, have = l->next - l->begin;
    *grown = false;
    if (have >= max_bytes)
        return UM_OK;
    um_status status = find_end(l, max_bytes - have, &len, err);
    if (status != UM_OK)
        return status;
    /* The buffer may have moved even when nothing was joined. */
    if (len == 0 || len > max_bytes - have) {
        line->text = l->buffer + l->begin;
        return UM_OK;
    }
    l->next += len;
    l->next_line++;
    set_line(l->buffer + l->begin, l->next - l->begin, line);
    *grown = true;
    return UM_OK;
}

uint64_t um_lines_offset(const um_lines *l)
{
    return l->bytes - (l->end - l->next);
}

void um_lines_retract(um_lines *l, size_t first_len)
{
    l->next = l->begin + first_len;
    while (l->next < l->end && l->buffer[l->next++] != '\n')
        ;
    l->next_line = l->line + 1;
}
