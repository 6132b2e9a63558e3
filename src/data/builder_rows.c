#include "data/builder_rows.h"

#include "base/error.h"

um_status um_builder_add_rows(um_dataset_builder *b, const uint64_t *lines, size_t n_lines,
                              size_t n_interactions, um_error *err)
{
    const bool is_skip = n_interactions == 0;
    const size_t added = is_skip ? b->skip_user.len : b->user.len;
    const size_t n = is_skip ? 1 : n_interactions;
    if (n > added)
        return um_fail(err, UM_ERR_STATE, "rows of %zu interactions or lists, there are %zu", n,
                       added);
    if (!um_vec_reserve(&b->unit_line, b->unit_line.len + n_lines))
        return um_fail_memory(err, "rows");
    for (size_t i = 0; i < n_lines; i++)
        b->unit_line.data[b->unit_line.len++] =
            lines[i] > UINT32_MAX ? UINT32_MAX : (uint32_t)lines[i];
    const um_builder_unit unit = {
        .end = b->unit_line.len, .first = (uint32_t)(added - n), .n = (uint32_t)n_interactions};
    return um_vec_push(&b->units, unit) ? UM_OK : um_fail_memory(err, "rows");
}

size_t um_builder_n_units(const um_dataset_builder *b)
{
    return b->units.len;
}

void um_builder_withdraw(um_dataset_builder *b, size_t unit)
{
    b->units.data[unit].is_withdrawn = true;
}

void um_builder_mark_withdrawn(const um_dataset_builder *b, const um_builder_marks *marks)
{
    for (size_t k = 0; k < b->units.len; k++) {
        const um_builder_unit *unit = &b->units.data[k];
        if (!unit->is_withdrawn)
            continue;
        if (unit->n == 0)
            marks->skips[unit->first] = UM_LEFT_OUT_BROKEN;
        for (uint32_t i = 0; i < unit->n; i++)
            marks->log[unit->first + i] = UM_LEFT_OUT_BROKEN;
    }
}

/* A walk over interactions and skips as they were added. */
typedef struct walk {
    const um_dataset_builder *b;
    const um_builder_marks *marks;
    const um_builder_finish_options *options;
    size_t table;
    size_t i, s;         /* next interaction, next skip */
    size_t end_i, end_s; /* of the table */
    size_t k;            /* next unit */
} walk;

/* The next thing's line and reason; false at the end of the table. */
static bool next_thing(const walk *w, uint32_t *line, uint8_t *reason, bool *is_skip)
{
    const um_dataset_builder *b = w->b;
    if (w->i == w->end_i && w->s == w->end_s)
        return false;
    *is_skip = w->i == w->end_i || (w->s < w->end_s && b->skip_before.data[w->s] <= w->i);
    if (*is_skip) {
        *line = w->s < b->skip_line.len ? b->skip_line.data[w->s] : 0;
        *reason = w->marks->skips[w->s];
    } else {
        *line = w->i < b->line.len ? b->line.data[w->i] : 0;
        *reason = w->marks->log[w->i];
    }
    return true;
}

static um_status report(const walk *w, uint32_t line, uint8_t reason, um_error *err)
{
    return w->options->on_left_out(w->options->context, w->table, line, (um_left_out_reason)reason,
                                   err);
}

/* Rows that gave something of their own. */
static um_status report_things(walk *w, um_error *err)
{
    uint32_t line = 0, row_line = 0;
    uint8_t reason = UM_KEPT, row_reason = UM_KEPT;
    bool is_skip = false, any_kept = false;
    um_status status = UM_OK;
    for (bool more = next_thing(w, &line, &reason, &is_skip); more && status == UM_OK;) {
        row_line = line;
        row_reason = reason;
        any_kept = false;
        do {
            any_kept = any_kept || reason == UM_KEPT;
            *(is_skip ? &w->s : &w->i) += 1;
            more = next_thing(w, &line, &reason, &is_skip);
        } while (more && line == row_line && line != 0);
        if (!any_kept)
            status = report(w, row_line, row_reason, err);
    }
    return status;
}

/* Why a unit is left out, UM_KEPT when a part of it is not. Where a row equals an earlier one, the
 * others of its unit are left out because of it. */
static uint8_t unit_reason(const walk *w, const um_builder_unit *unit)
{
    uint8_t reason = unit->n == 0 ? w->marks->skips[unit->first] : w->marks->log[unit->first];
    for (uint32_t i = 1; i < unit->n && reason != UM_KEPT; i++) {
        if (w->marks->log[unit->first + i] == UM_KEPT)
            reason = UM_KEPT;
    }
    return reason == UM_LEFT_OUT_DUPLICATE ? UM_LEFT_OUT_BROKEN : reason;
}

/* The other rows of units. */
static um_status report_units(walk *w, um_error *err)
{
    const um_dataset_builder *b = w->b;
    um_status status = UM_OK;
    for (; w->k < b->units.len && status == UM_OK; w->k++) {
        const um_builder_unit *unit = &b->units.data[w->k];
        if (unit->first >= (unit->n == 0 ? w->end_s : w->end_i))
            return UM_OK;
        uint8_t reason = unit_reason(w, unit);
        for (uint64_t j = w->k == 0 ? 0 : b->units.data[w->k - 1].end;
             reason != UM_KEPT && j < unit->end && status == UM_OK; j++)
            status = report(w, b->unit_line.data[j], reason, err);
    }
    return status;
}

um_status um_builder_report_left_out(const um_dataset_builder *b, const um_builder_marks *marks,
                                     const um_builder_finish_options *options, um_error *err)
{
    size_t n_tables = b->tables.len > 0 ? b->tables.len : 1;
    um_status status = UM_OK;
    walk w = {.b = b, .marks = marks, .options = options};
    for (size_t t = 0; t < n_tables && status == UM_OK; t++) {
        bool last = t + 1 == n_tables;
        w.table = t;
        w.end_i = last ? b->user.len : b->tables.data[t + 1].first_interaction;
        w.end_s = last ? b->skip_user.len : b->tables.data[t + 1].first_skip;
        if (b->tables.len > 0) {
            w.i = b->tables.data[t].first_interaction;
            w.s = b->tables.data[t].first_skip;
        }
        status = report_things(&w, err);
        if (status == UM_OK)
            status = report_units(&w, err);
    }
    return status;
}
