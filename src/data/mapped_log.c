/*
 * mapped_log.c - rows of a mapped log as choices and lists shown.
 *
 * What was shown is either a list in the row of its choice, or one row an item: then rows of one
 * impression stand together, are gathered in a group, and enter the builder when it ends. A list
 * that lacks an item is not what was shown, so one bad row leaves out its whole impression; a row
 * whose impression cannot be read leaves out those it may belong to, before and after it.
 */
#include "data/mapped_row.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/cells.h"

#define MAX_LIST  100000 /* items of one impression */
#define FEW_IDS   16
#define LONG_LIST "its list has %zu items, more than max_list"

static const char *column_name(const um_mapped *s, size_t column)
{
    return s->source->columns[column];
}

/* NULL when the cell says yes or no. */
static const char *to_flag(const um_mapped_cell *c, bool *flag)
{
    static const char *const yes[] = {"1", "true", "True", "TRUE", "yes", "y", "t", "1.0"};
    static const char *const no[] = {"0", "false", "False", "FALSE", "no", "n", "f", "0.0"};
    for (size_t i = 0; c->text != NULL && i < sizeof yes / sizeof *yes; i++) {
        if (strcmp(c->text, yes[i]) == 0 || strcmp(c->text, no[i]) == 0) {
            *flag = strcmp(c->text, yes[i]) == 0;
            return NULL;
        }
    }
    return "is neither true nor false";
}

/* Of a cell that is there. */
static bool to_number(const um_mapped_cell *c, double *number)
{
    *number = c->number;
    return c->form == UM_CELL_NUMBER || um_cell_number(c->text, c->len, number);
}

static bool to_whole(const um_mapped_cell *c, int64_t *whole)
{
    if (!c->is_whole)
        return um_parse_i64(c->text, whole);
    *whole = c->whole;
    return true;
}

static bool is_past_limit(const um_mapped *s, size_t n)
{
    int64_t max = s->r->filters.max_list;
    return max > 0 && n > (size_t)max;
}

/* Rows with their list ------------------------------------------------------------------------ */

/* Whether the numbers are numbers and there are a user and a time; rejects the row when not. */
static um_status check_row(um_mapped *s, uint64_t line, int64_t *time_s, bool *good, um_error *err)
{
    const um_mapping *m = s->m;
    double number = 0;
    *good = false;
    if (um_mapped_cell_of(s, &m->user)->text == NULL)
        return um_reading_reject(s->r, err, line, "%s is absent", column_name(s, m->user.column));
    *time_s = (int64_t)++s->n_rows;
    const char *bad =
        m->time.clock != UM_CLOCK_ORDER ? um_mapped_to_time(s, &m->time, time_s) : NULL;
    if (bad != NULL)
        return um_reading_reject(
            s->r, err, line, "%s '%.40s' %s", column_name(s, m->time.column),
            s->cells[m->time.column].text != NULL ? s->cells[m->time.column].text : "", bad);
    for (size_t i = 0; i < m->numbers.n; i++) {
        const um_mapped_cell *c = um_mapped_cell_of(s, &m->numbers.data[i]);
        if (c->text != NULL && !to_number(c, &number))
            return um_reading_reject(s->r, err, line, "%s '%.40s' is not a number",
                                     column_name(s, m->numbers.data[i].column), c->text);
    }
    *good = true;
    return UM_OK;
}

/* The ids of a cell, one or a list, as places in s->ids. */
static um_status gather_ids(um_mapped *s, const um_mapped_cell *c, const um_mapped_field *field,
                            um_mapped_places *out, um_error *err)
{
    const bool is_list = c->form == UM_CELL_LIST;
    um_jiter it = um_jval_iter(is_list ? c->list : (um_jval){0});
    um_jval element;
    const char *at = c->text, *end = at != NULL ? at + c->len : NULL, *part = NULL;
    size_t len = 0, string = 0;
    out->len = 0;
    while (c->text != NULL) {
        size_t place = s->ids.len;
        if (c->form == UM_CELL_STRINGS) {
            if (!um_mapped_next_string(c, &string, &part, &len))
                break;
            um_str_append_n(&s->ids, part, len);
        } else if (is_list) {
            if (!um_jiter_next(&it, NULL, &element))
                break;
            um_mapped_append_element(&s->ids, element);
        } else if (field->separator != NULL) {
            if (!um_cell_next_part(&at, end, field->separator, &part, &len))
                break;
            um_str_append_n(&s->ids, part, len);
        } else {
            if (out->len == 1)
                break;
            um_str_append_n(&s->ids, c->text, c->len);
        }
        um_str_append_char(&s->ids, '\0');
        if (!um_vec_push(out, place))
            return um_fail_memory(err, "a list of items");
        if (out->len > MAX_LIST)
            break;
    }
    return um_str_status(&s->ids, err);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* An id that comes twice in a list that has no empty one, or NULL. The least of them in a long
 * list, which is sorted; the first in a short one, which is looked through. */
static const char *find_twice(const char **ids, size_t n)
{
    if (n > FEW_IDS)
        qsort(ids, n, sizeof *ids, compare_texts);
    for (size_t i = 1; i < n; i++) {
        for (size_t k = n > FEW_IDS ? i - 1 : 0; k < i; k++) {
            if (strcmp(ids[k], ids[i]) == 0)
                return ids[i];
        }
    }
    return NULL;
}

/* NULL when no id is empty and none comes twice, else why not, in s->text. */
static const char *check_ids(um_mapped *s, const size_t *places, size_t n)
{
    um_str_clear(&s->text);
    if (n > MAX_LIST)
        return "the list of items is longer than 100000";
    if (!um_vec_reserve(&s->sorted, n))
        return "out of memory for a list of items";
    for (size_t i = 0; i < n; i++) {
        s->sorted.data[i] = s->ids.data + places[i];
        if (s->sorted.data[i][0] == '\0')
            return "an item id is empty";
    }
    const char *twice = find_twice(s->sorted.data, n);
    if (twice == NULL)
        return NULL;
    um_str_appendf(&s->text, "item '%.60s' is listed twice", twice);
    return um_str_text(&s->text);
}

/* The position said, from 0; -1 when nothing was chosen. NULL, or the reason why it is bad. */
static const char *read_position(const um_mapped *s, int64_t *position)
{
    const um_mapped_cell *place = um_mapped_cell_of(s, &s->m->position);
    *position = -1;
    if (place->text == NULL)
        return NULL;
    if (!to_whole(place, position))
        return "the position is not a whole number";
    *position = *position >= s->m->first_position ? *position - s->m->first_position : -1;
    return *position < (int64_t)s->shown.len ? NULL : "the position is past the end of the list";
}

/* What was chosen must be in the list, and where the position says. NULL or the reason, in
 * s->text. Where the log names no item, it is taken from the position. */
static const char *check_chosen(um_mapped *s)
{
    int64_t said = -1;
    const char *bad = read_position(s, &said);
    if (bad != NULL)
        return bad;
    if (s->m->item.column == UM_MAPPED_NONE && said >= 0)
        return um_vec_push(&s->chosen, s->shown.data[said]) ? NULL : "out of memory for a choice";
    um_str_clear(&s->text);
    if (s->chosen.len == 0 && said >= 0)
        return "the position says that something was chosen, but there is no item";
    for (size_t i = 0; i < s->chosen.len; i++) {
        const char *id = s->ids.data + s->chosen.data[i];
        size_t at = 0;
        while (at < s->shown.len && strcmp(s->ids.data + s->shown.data[at], id) != 0)
            at++;
        if (at == s->shown.len)
            um_str_appendf(&s->text, "item '%.60s' is not in the list of %zu shown", id,
                           s->shown.len);
        else if (s->chosen.len == 1 && said >= 0 && (size_t)said != at)
            um_str_appendf(&s->text, "item '%.60s' is not at the position said", id);
        else
            continue;
        return um_str_text(&s->text);
    }
    return NULL;
}

static um_status set_behaviour(um_mapped *s, um_error *err)
{
    const um_mapping *m = s->m;
    um_status status = UM_OK;
    for (size_t i = 0; i < m->numbers.n && status == UM_OK; i++) {
        const um_mapped_cell *c = um_mapped_cell_of(s, &m->numbers.data[i]);
        double number = 0;
        if (c->text != NULL && to_number(c, &number))
            status = um_dataset_builder_number(s->r->builder, m->numbers.data[i].name, number, err);
    }
    for (size_t i = 0; i < m->texts.n && status == UM_OK; i++) {
        const um_mapped_cell *c = um_mapped_cell_of(s, &m->texts.data[i]);
        if (c->text == NULL)
            continue;
        um_mapped_to_json(s, c, &m->texts.data[i], false);
        status = um_str_status(&s->text, err);
        if (status == UM_OK)
            status = um_dataset_builder_text(s->r->builder, m->texts.data[i].name,
                                             um_str_text(&s->text), err);
    }
    return status;
}

static um_status add_user(um_mapped *s, uint32_t *user, um_error *err)
{
    const um_mapped_cell *c = um_mapped_cell_of(s, &s->m->user);
    return um_builder_find_user_n(s->r->builder, c->text, c->len, user)
               ? UM_OK
               : um_dataset_builder_user(s->r->builder, c->text, user, NULL, err);
}

/* Adds the choice of an item from no list, or from a place in s->items. */
static um_status add_choice(um_mapped *s, uint32_t user, uint32_t item, size_t n_shown,
                            int32_t position, int64_t time_s, um_error *err)
{
    um_dataset_builder *b = s->r->builder;
    um_status status = um_dataset_builder_interaction(b, user, item, time_s, err);
    if (status == UM_OK)
        status = um_dataset_builder_impressions(b, s->items.data, n_shown, position, err);
    return status == UM_OK ? set_behaviour(s, err) : status;
}

/* Adds the row's choices, or the list that nobody chose from. */
static um_status add_row(um_mapped *s, int64_t time_s, uint64_t line, um_error *err)
{
    um_dataset_builder *b = s->r->builder;
    uint32_t user = 0;
    um_status status = add_user(s, &user, err);
    if (!um_vec_reserve(&s->items, s->shown.len))
        return um_fail_memory(err, "a list of items");
    for (size_t i = 0; i < s->shown.len && status == UM_OK; i++)
        status = um_dataset_builder_item(b, s->ids.data + s->shown.data[i], &s->items.data[i], NULL,
                                         err);
    if (status == UM_OK && s->chosen.len == 0)
        status = um_dataset_builder_skip(b, user, time_s, s->items.data, s->shown.len, err);
    for (size_t i = 0; i < s->chosen.len && status == UM_OK; i++) {
        uint32_t item = 0;
        int32_t position = 0;
        status = um_dataset_builder_item(b, s->ids.data + s->chosen.data[i], &item, NULL, err);
        while (position < (int32_t)s->shown.len && s->items.data[position] != item)
            position++;
        if (status == UM_OK)
            status = add_choice(s, user, item, s->shown.len, position, time_s, err);
    }
    return status == UM_OK ? um_builder_set_line(b, line, err) : status;
}

/* Whether a cell holds one id. */
static bool is_single(const um_mapped_cell *c, const um_mapped_field *field)
{
    return c->text != NULL && field->separator == NULL && c->form != UM_CELL_LIST;
}

/* Rows of the usual kind are taken without writing their ids down: one item, chosen from no list or
 * from a short JSON list, all of whose items are known, and that is good. The list is in s->items
 * then. Any other row is looked at with more care. */
static bool find_usual(um_mapped *s, uint32_t *item, size_t *n_shown, int64_t *position)
{
    const um_mapping *m = s->m;
    const um_dataset_builder *b = s->r->builder;
    const um_mapped_cell *chosen = um_mapped_cell_of(s, &m->item),
                         *list = um_mapped_cell_of(s, &m->shown);
    const char *id = NULL;
    size_t len = 0, n = 0, string = 0;
    *n_shown = 0;
    *position = -1;
    if (!is_single(chosen, &m->item) || !um_builder_find_item_n(b, chosen->text, chosen->len, item))
        return false;
    if (m->shown.column == UM_MAPPED_NONE)
        return true;
    if (list->form != UM_CELL_STRINGS || !um_vec_reserve(&s->items, FEW_IDS))
        return false;
    for (; um_mapped_next_string(list, &string, &id, &len); n++) {
        if (n == FEW_IDS || !um_builder_find_item_n(b, id, len, &s->items.data[n]))
            return false;
        for (size_t i = 0; i < n; i++) {
            if (s->items.data[i] == s->items.data[n])
                return false;
        }
        *position = s->items.data[n] == *item ? (int64_t)n : *position;
    }
    *n_shown = n;
    const um_mapped_cell *place = um_mapped_cell_of(s, &m->position);
    int64_t said = 0;
    return *position >= 0 && !is_past_limit(s, n) &&
           (place->text == NULL ||
            (to_whole(place, &said) && said == *position + m->first_position));
}

um_status um_mapped_take_choice(um_mapped *s, uint64_t line, um_error *err)
{
    const um_mapping *m = s->m;
    const um_mapped_cell *item = um_mapped_cell_of(s, &m->item),
                         *list = um_mapped_cell_of(s, &m->shown);
    int64_t time_s = 0, position = -1;
    uint32_t usual = 0;
    size_t n_shown = 0;
    bool good = false;
    um_status status = check_row(s, line, &time_s, &good, err);
    if (status != UM_OK || !good)
        return status;
    if (find_usual(s, &usual, &n_shown, &position)) {
        uint32_t user = 0;
        status = add_user(s, &user, err);
        if (status == UM_OK)
            status = add_choice(s, user, usual, n_shown, (int32_t)position, time_s, err);
        return status == UM_OK ? um_builder_set_line(s->r->builder, line, err) : status;
    }
    um_str_clear(&s->ids);
    status = gather_ids(s, item, &m->item, &s->chosen, err);
    if (status == UM_OK)
        status = gather_ids(s, list, &m->shown, &s->shown, err);
    if (status != UM_OK)
        return status;
    if (s->chosen.len == 0 && s->shown.len == 0)
        return um_reading_reject(
            s->r, err, line, "%s is absent",
            column_name(s, m->item.column != UM_MAPPED_NONE ? m->item.column : m->shown.column));
    const char *bad = check_ids(s, s->chosen.data, s->chosen.len);
    if (bad == NULL)
        bad = check_ids(s, s->shown.data, s->shown.len);
    if (bad == NULL && s->shown.len > 0)
        bad = check_chosen(s);
    if (bad != NULL)
        return um_reading_reject(s->r, err, line, "%s", bad);
    return is_past_limit(s, s->shown.len)
               ? um_reading_filter(s->r, err, line, LONG_LIST, s->shown.len)
               : add_row(s, time_s, line, err);
}

/* One row an item shown ----------------------------------------------------------------------- */

static size_t keep_text(um_str *text, const char *value)
{
    size_t place = text->len;
    um_str_append_n(text, value, strlen(value) + 1);
    return place;
}

static int compare_positions(const void *a, const void *b)
{
    const um_mapped_shown *x = a, *y = b;
    if (x->position != y->position)
        return x->position < y->position ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static um_status add_click(um_mapped *s, uint32_t user, size_t place, um_error *err)
{
    const um_mapping *m = s->m;
    const um_mapped_group *g = &s->group;
    size_t row = g->rows.data[place].index;
    um_dataset_builder *b = s->r->builder;
    um_status status =
        um_dataset_builder_interaction(b, user, s->items.data[place], g->time_s, err);
    if (status == UM_OK)
        status = um_dataset_builder_impressions(b, s->items.data, g->rows.len, (int32_t)place, err);
    for (size_t i = 0; i < m->numbers.n && status == UM_OK; i++)
        status = um_dataset_builder_number(b, m->numbers.data[i].name,
                                           g->numbers.data[row * m->numbers.n + i], err);
    for (size_t i = 0; i < m->texts.n && status == UM_OK; i++) {
        size_t text = g->texts.data[row * m->texts.n + i];
        if (text != SIZE_MAX)
            status = um_dataset_builder_text(b, m->texts.data[i].name, g->text.data + text, err);
    }
    return status == UM_OK ? um_builder_set_line(b, g->rows.data[place].line, err) : status;
}

/* Rows of the group that nothing is to come of. */
static um_status filter_group(um_mapped *s, um_error *err)
{
    const um_mapped_group *g = &s->group;
    um_status status = UM_OK;
    for (size_t i = 0; i < g->rows.len && status == UM_OK; i++)
        status = g->is_broken
                     ? um_reading_filter(s->r, err, g->rows.data[i].line, "%s",
                                         um_left_out_text(UM_LEFT_OUT_BROKEN))
                     : um_reading_filter(s->r, err, g->rows.data[i].line, LONG_LIST, g->rows.len);
    return status;
}

/* An interaction a click, or a list that nobody chose from; all rows of the group go with them. */
static um_status add_group(um_mapped *s, um_error *err)
{
    um_mapped_group *g = &s->group;
    um_dataset_builder *b = s->r->builder;
    uint32_t user = 0;
    size_t n_clicks = 0;
    const uint64_t first_line = g->rows.data[0].line;
    s->lines.len = 0;
    if (!um_vec_reserve(&s->items, g->rows.len) || !um_vec_reserve(&s->lines, g->rows.len))
        return um_fail_memory(err, "an impression");
    for (size_t i = 0; i < g->rows.len; i++) {
        n_clicks += g->rows.data[i].is_clicked;
        if (!g->rows.data[i].is_clicked)
            s->lines.data[s->lines.len++] = g->rows.data[i].line;
    }
    qsort(g->rows.data, g->rows.len, sizeof *g->rows.data, compare_positions);
    um_status status = um_dataset_builder_user(b, g->text.data + g->user, &user, NULL, err);
    for (size_t i = 0; i < g->rows.len && status == UM_OK; i++)
        status = um_dataset_builder_item(b, g->text.data + g->rows.data[i].item, &s->items.data[i],
                                         NULL, err);
    for (size_t i = 0; i < g->rows.len && status == UM_OK; i++) {
        if (g->rows.data[i].is_clicked)
            status = add_click(s, user, i, err);
    }
    if (status != UM_OK || n_clicks > 0)
        return status == UM_OK ? um_builder_add_rows(b, s->lines.data, s->lines.len, n_clicks, err)
                               : status;
    status = um_dataset_builder_skip(b, user, g->time_s, s->items.data, g->rows.len, err);
    if (status == UM_OK)
        status = um_builder_set_line(b, first_line, err);
    return status == UM_OK ? um_builder_add_rows(b, s->lines.data + 1, s->lines.len - 1, 0, err)
                           : status;
}

/* The group, if one is open, is over. */
static um_status close_group(um_mapped *s, um_error *err)
{
    um_mapped_group *g = &s->group;
    uint32_t over = 0;
    if (!g->is_open)
        return UM_OK;
    g->is_open = false;
    um_status status = um_ids_intern(&s->seen, &s->seen_memory, g->text.data + g->id, "impression",
                                     &over, NULL, err);
    if (status == UM_OK && !um_vec_push(&s->seen_unit, SIZE_MAX))
        status = um_fail_memory(err, "impressions");
    if (status != UM_OK || g->rows.len == 0)
        return status;
    if (g->is_broken || is_past_limit(s, g->rows.len))
        return filter_group(s, err);
    status = add_group(s, err);
    s->seen_unit.data[over] = um_builder_n_units(s->r->builder) - 1;
    return status;
}

static um_status open_group(um_mapped *s, const char *id, bool is_broken, um_error *err)
{
    um_mapped_group *g = &s->group;
    um_str_clear(&g->text);
    g->rows.len = g->numbers.len = g->texts.len = 0;
    um_map_dispose(&g->items);
    um_arena_reset(&g->keys);
    g->id = keep_text(&g->text, id);
    g->is_open = true;
    g->is_broken = is_broken;
    return um_str_status(&g->text, err);
}

static um_status add_to_group(um_mapped *s, int64_t time_s, int64_t position, bool is_clicked,
                              uint64_t line, um_error *err)
{
    const um_mapping *m = s->m;
    um_mapped_group *g = &s->group;
    const char *item = um_mapped_cell_of(s, &m->item)->text;
    um_mapped_shown row = {
        .line = line, .index = g->rows.len, .position = position, .is_clicked = is_clicked};
    if (g->rows.len == 0) {
        g->user = keep_text(&g->text, um_mapped_cell_of(s, &m->user)->text);
        g->time_s = time_s;
    }
    row.item = keep_text(&g->text, item);
    char *key = um_arena_strdup(&g->keys, item);
    if (key == NULL || !um_map_put(&g->items, key, 0, NULL))
        return um_fail_memory(err, "an impression");
    for (size_t i = 0; i < m->numbers.n; i++) {
        const um_mapped_cell *c = um_mapped_cell_of(s, &m->numbers.data[i]);
        double number = 0;
        bool is_there = c->text != NULL && to_number(c, &number);
        if (!um_vec_push(&g->numbers, is_there ? number : NAN))
            return um_fail_memory(err, "an impression");
    }
    for (size_t i = 0; i < m->texts.n; i++) {
        const um_mapped_cell *c = um_mapped_cell_of(s, &m->texts.data[i]);
        bool is_kept = c->text != NULL && is_clicked;
        if (is_kept)
            um_mapped_to_json(s, c, &m->texts.data[i], false);
        size_t place = is_kept ? keep_text(&g->text, um_str_text(&s->text)) : SIZE_MAX;
        if (!um_vec_push(&g->texts, place))
            return um_fail_memory(err, "an impression");
    }
    if (!um_vec_push(&g->rows, row))
        return um_fail_memory(err, "an impression");
    um_status status = um_str_status(&s->text, err);
    return status == UM_OK ? um_str_status(&g->text, err) : status;
}

/* The row's place among those of its impression; the reason, in s->text, when it is bad. */
static const char *check_shown(um_mapped *s, int64_t *position, bool *is_clicked)
{
    const um_mapping *m = s->m;
    um_mapped_group *g = &s->group;
    const um_mapped_cell *place = um_mapped_cell_of(s, &m->position),
                         *click = um_mapped_cell_of(s, &m->clicked);
    const char *item = um_mapped_cell_of(s, &m->item)->text, *id = g->text.data + g->id;
    uint32_t found = 0;
    *position = (int64_t)g->rows.len;
    um_str_clear(&s->text);
    const char *bad = to_flag(click, is_clicked);
    if (bad != NULL)
        um_str_appendf(&s->text, "%s '%.40s' %s", column_name(s, m->clicked.column),
                       click->text != NULL ? click->text : "", bad);
    else if (m->position.column != UM_MAPPED_NONE &&
             (place->text == NULL || !um_parse_i64(place->text, position)))
        um_str_appendf(&s->text, "%s '%.40s' is not a whole number",
                       column_name(s, m->position.column), place->text != NULL ? place->text : "");
    else if (g->rows.len > 0 &&
             strcmp(g->text.data + g->user, um_mapped_cell_of(s, &m->user)->text) != 0)
        um_str_appendf(&s->text, "impression '%.60s' has another user in line %llu", id,
                       (unsigned long long)g->rows.data[0].line);
    else if (um_map_get(&g->items, item, &found))
        um_str_appendf(&s->text, "item '%.60s' is shown twice in impression '%.60s'", item, id);
    else if (g->rows.len >= MAX_LIST)
        um_str_appendf(&s->text, "impression '%.60s' has more than %d items", id, MAX_LIST);
    else
        return NULL;
    return um_str_text(&s->text);
}

/* A row of the group that is open: it joins it, or breaks it. */
static um_status take_in_group(um_mapped *s, uint64_t line, um_error *err)
{
    int64_t time_s = 0, position = 0;
    bool good = false, is_clicked = false;
    um_status status = check_row(s, line, &time_s, &good, err);
    if (status == UM_OK && good) {
        const char *bad = NULL;
        if (um_mapped_cell_of(s, &s->m->item)->text == NULL) {
            good = false;
            status = um_reading_reject(s->r, err, line, "%s is absent",
                                       column_name(s, s->m->item.column));
        } else if ((bad = check_shown(s, &position, &is_clicked)) != NULL) {
            good = false;
            status = um_reading_reject(s->r, err, line, "%s", bad);
        }
    }
    s->group.is_broken = s->group.is_broken || !good;
    return status == UM_OK && good ? add_to_group(s, time_s, position, is_clicked, line, err)
                                   : status;
}

/* The impression was over: what it gave lacks this row, and is taken back. */
static um_status reject_late(um_mapped *s, const char *id, uint32_t over, uint64_t line,
                             um_error *err)
{
    if (s->seen_unit.data[over] != SIZE_MAX)
        um_builder_withdraw(s->r->builder, s->seen_unit.data[over]);
    return um_reading_reject(s->r, err, line,
                             "impression '%.60s' was over before: its rows must stand together "
                             "(sort the file by %s)",
                             id, column_name(s, s->m->impression.column));
}

/* Whether rows were rejected, since one whose impression is known, that may be of any. */
static bool lost_rows(const um_mapped *s)
{
    return s->r->file->rows_rejected != s->n_rejected;
}

um_status um_mapped_take_shown(um_mapped *s, uint64_t line, um_error *err)
{
    um_mapped_group *g = &s->group;
    const char *id = um_mapped_cell_of(s, &s->m->impression)->text;
    uint32_t over = 0;
    um_status status = UM_OK;
    if (id == NULL)
        return um_reading_reject(s->r, err, line, "%s is absent",
                                 column_name(s, s->m->impression.column));
    bool is_broken = lost_rows(s);
    g->is_broken = g->is_broken || is_broken;
    if (g->is_open && strcmp(g->text.data + g->id, id) != 0)
        status = close_group(s, err);
    if (status == UM_OK && !g->is_open && um_ids_find(&s->seen, id, &over)) {
        status = reject_late(s, id, over, line, err);
    } else if (status == UM_OK) {
        if (!g->is_open)
            status = open_group(s, id, is_broken, err);
        if (status == UM_OK)
            status = take_in_group(s, line, err);
    }
    s->n_rejected = s->r->file->rows_rejected;
    return status;
}

um_status um_mapped_end_shown(um_mapped *s, um_error *err)
{
    s->group.is_broken = s->group.is_broken || lost_rows(s);
    return close_group(s, err);
}

void um_mapped_dispose_group(um_mapped *s)
{
    um_mapped_group *g = &s->group;
    um_str_dispose(&g->text);
    um_vec_dispose(&g->rows);
    um_vec_dispose(&g->numbers);
    um_vec_dispose(&g->texts);
    um_map_dispose(&g->items);
    um_arena_dispose(&g->keys);
    um_ids_dispose(&s->seen);
    um_vec_dispose(&s->seen_unit);
    um_vec_dispose(&s->lines);
    um_arena_dispose(&s->seen_memory);
}
