/* attributes.c - which description columns describe kinds of items, and what kind each item is. */
#include "choice/choice.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"

#define MIN_YEAR        1800
#define MAX_YEAR        2100
#define MAX_VALUE_BYTES 64 /* a longer value is prose, not a kind */
#define SEPARATORS      ",|;\n\r\t"

void um_choice_attributes_dispose(um_choice_model *model)
{
    for (int a = 0; a < model->n_attributes; a++) {
        um_attribute *at = &model->attributes[a];
        for (int v = 0; v < at->n_values; v++)
            free(at->values[v]);
        free(at->values);
        free(at->mask);
        free(at->column);
    }
    model->n_attributes = 0;
}

static bool parse_year(const char *text, int64_t *year)
{
    return um_parse_i64(text, year) && *year >= MIN_YEAR && *year <= MAX_YEAR;
}

/* True when nearly every present cell of the column is a year. */
static bool is_year_column(const um_table *items, int column)
{
    uint32_t years = 0, present = 0;
    int64_t year;
    for (uint32_t i = 0; i < items->n_rows; i++) {
        const char *cell = um_table_cell(items, i, column);
        if (cell == NULL || *cell == '\0')
            continue;
        present++;
        years += parse_year(cell, &year);
    }
    return present > 0 && years >= present - present / 20;
}

/* Index of a value, added when new; -1 when the attribute has too many (or memory ran out). */
static int value_index(um_attribute *at, const char *text, size_t len)
{
    for (int v = 0; v < at->n_values; v++) {
        if (strlen(at->values[v]) == len && memcmp(at->values[v], text, len) == 0)
            return v;
    }
    if (at->n_values == UM_CHOICE_MAX_VALUES)
        return -1;
    char *copy = um_strndup(text, len);
    if (copy == NULL)
        return -1;
    at->values[at->n_values] = copy;
    return at->n_values++;
}

/* Marks the values of one cell; false when the column has too many distinct values, or prose. */
static bool mark_cell(um_attribute *at, uint32_t item, const char *cell)
{
    if (at->decade) {
        char decade[16];
        int64_t year;
        if (!parse_year(cell, &year))
            return true;
        snprintf(decade, sizeof decade, "%ds", (int)(year / 10 * 10));
        int v = value_index(at, decade, strlen(decade));
        if (v >= 0)
            at->mask[item] |= UINT64_C(1) << v;
        return v >= 0;
    }
    const char *p = cell;
    while (*p != '\0') {
        size_t len = strcspn(p, SEPARATORS);
        const char *begin = p;
        p += len + (p[len] != '\0');
        while (len > 0 && isspace((unsigned char)*begin)) {
            begin++;
            len--;
        }
        while (len > 0 && isspace((unsigned char)begin[len - 1]))
            len--;
        if (len == 0)
            continue;
        int v = len <= MAX_VALUE_BYTES ? value_index(at, begin, len) : -1;
        if (v < 0)
            return false;
        at->mask[item] |= UINT64_C(1) << v;
    }
    return true;
}

static int by_decade(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Years: values must be in order before masks are made, so that neighbours are neighbours. */
static bool collect_decades(um_attribute *at, const um_table *items, int column)
{
    for (uint32_t i = 0; i < items->n_rows; i++) {
        const char *cell = um_table_cell(items, i, column);
        if (cell != NULL && !mark_cell(at, i, cell))
            return false;
    }
    qsort(at->values, (size_t)at->n_values, sizeof *at->values, by_decade);
    memset(at->mask, 0, items->n_rows * sizeof *at->mask);
    return true;
}

um_status um_choice_attributes_find(um_choice_model *model, um_error *err)
{
    const um_table *items = &model->dataset->items;

    for (uint32_t c = 0; c < items->n_columns && model->n_attributes < UM_CHOICE_MAX_ATTRIBUTES;
         c++) {
        if (items->kinds[c] != UM_COLUMN_DESCRIPTION)
            continue;
        um_attribute *at = &model->attributes[model->n_attributes];
        *at = (um_attribute){.column = um_strdup(items->columns[c]),
                             .decade = is_year_column(items, (int)c),
                             .values = um_calloc(UM_CHOICE_MAX_VALUES, sizeof *at->values),
                             .mask = um_calloc(items->n_rows, sizeof *at->mask)};
        model->n_attributes++; /* so that dispose frees it, whatever happens next */
        if (at->column == NULL || at->values == NULL || at->mask == NULL)
            return um_fail_memory(err, "attributes");
        bool fits = !at->decade || collect_decades(at, items, (int)c);
        for (uint32_t i = 0; fits && i < items->n_rows; i++) {
            const char *cell = um_table_cell(items, i, (int)c);
            fits = cell == NULL || mark_cell(at, i, cell);
        }
        /* A column of names: nearly every item has a value of its own. */
        if (fits && at->n_values >= 2 && (uint32_t)at->n_values <= 1 + items->n_rows / 3)
            continue;
        for (int v = 0; v < at->n_values; v++)
            free(at->values[v]);
        free(at->values);
        free(at->mask);
        free(at->column);
        model->n_attributes--;
    }
    return UM_OK;
}
