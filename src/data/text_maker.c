#include "data/text_maker.h"

#include <string.h>

#include "base/error.h"
#include "data/dataset_memory.h"
#include "data/markup.h"
#include "data/objects.h"

um_status um_text_maker_open(um_text_maker *m, um_dataset_builder *b, um_error *err)
{
    m->builder = b;
    return um_builder_spool(b, &m->writer.spool, err);
}

um_status um_text_maker_close(um_text_maker *m, um_status status, um_error *err)
{
    um_error later;
    um_status closed = um_spool_close(&m->writer, status == UM_OK ? err : &later);
    if (m->builder != NULL)
        um_builder_own(m->builder, &m->cells);
    um_str_dispose(&m->text);
    um_str_dispose(&m->json);
    return status == UM_OK ? closed : status;
}

/* Whether a clean text stands in a JSON string as it is. */
static bool needs_no_escape(const char *text, size_t len)
{
    return memchr(text, '"', len) == NULL && memchr(text, '\\', len) == NULL;
}

/* A text that needs no escapes, between quotes. */
static um_status keep_plain(um_text_maker *m, const char *text, size_t len, char **kept,
                            um_error *err)
{
    char *place = NULL;
    um_status status = um_spool_room(&m->writer, len + 3, &place, err);
    if (status != UM_OK)
        return status;
    place[0] = place[len + 1] = '"';
    memcpy(place + 1, text, len);
    place[len + 2] = '\0';
    *kept = um_spool_keep(&m->writer, len + 3);
    return UM_OK;
}

/* What is in m->json. */
static um_status keep_made(um_text_maker *m, char **kept, um_error *err)
{
    char *place = NULL;
    um_status status = um_str_status(&m->json, err);
    if (status == UM_OK)
        status = um_spool_room(&m->writer, m->json.len + 1, &place, err);
    if (status != UM_OK)
        return status;
    memcpy(place, m->json.data, m->json.len + 1);
    *kept = um_spool_keep(&m->writer, m->json.len + 1);
    return UM_OK;
}

um_status um_keep_text(um_text_maker *m, const char *text, size_t len, char **kept, um_error *err)
{
    *kept = NULL;
    if (len == 0)
        return UM_OK;
    if (needs_no_escape(text, len))
        return keep_plain(m, text, len, kept, err);
    um_str_clear(&m->json);
    um_str_append_json_n(&m->json, text, len);
    return keep_made(m, kept, err);
}

um_status um_keep_value(um_text_maker *m, um_jval value, const char *separator, char **kept,
                        um_error *err)
{
    const char *text = NULL;
    char *place = NULL;
    size_t written = 0, len = 0;
    if (!um_jval_str(value, &text, &written)) { /* a list, a number, or none */
        um_str_clear(&m->text);
        um_value_text(value, separator, &m->text);
        um_status status = um_str_status(&m->text, err);
        return status == UM_OK ? um_keep_text(m, um_str_text(&m->text), m->text.len, kept, err)
                               : status;
    }
    *kept = NULL;
    um_status status = um_spool_room(&m->writer, written + UM_MARKUP_SLACK + 3, &place, err);
    if (status != UM_OK)
        return status;
    len = um_markup_clean_into(place + 1, text, written);
    /* What was written without escapes needs none, unless "&quot;" became a character. */
    const bool is_as_written = value.document->is_plain && len == written;
    if (!is_as_written && !needs_no_escape(place + 1, len)) {
        um_str_clear(&m->text);
        um_str_append_n(&m->text, place + 1, len);
        status = um_str_status(&m->text, err);
        return status == UM_OK ? um_keep_text(m, um_str_text(&m->text), len, kept, err) : status;
    }
    if (len > 0) {
        place[0] = place[len + 1] = '"';
        place[len + 2] = '\0';
        *kept = um_spool_keep(&m->writer, len + 3);
    }
    return UM_OK;
}

um_status um_keep_json(um_text_maker *m, um_jval value, char **kept, um_error *err)
{
    const char *text = NULL;
    size_t len = 0;
    if (value.document != NULL && value.document->is_plain && um_jval_str(value, &text, &len))
        return keep_plain(m, text, len, kept, err);
    um_str_clear(&m->json);
    um_jval_dump(&m->json, value);
    return keep_made(m, kept, err);
}

um_status um_keep_cell(um_text_maker *m, const um_str *text, char **kept, um_error *err)
{
    char *place = NULL;
    um_status status = um_str_status(text, err);
    *kept = NULL;
    if (status != UM_OK || text->len == 0)
        return status;
    if (text->len <= UM_LONG_CELL_BYTES) {
        *kept = um_arena_strndup(&m->cells, text->data, text->len);
        return *kept != NULL ? UM_OK : um_fail_memory(err, "cells");
    }
    status = um_spool_room(&m->writer, text->len + 1, &place, err);
    if (status != UM_OK)
        return status;
    memcpy(place, text->data, text->len + 1);
    *kept = um_spool_keep(&m->writer, text->len + 1);
    return UM_OK;
}
