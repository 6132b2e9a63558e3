#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "scene/template.h"

/* What a field reads; um_binding.column is a table column or a series. */
enum {
    READ_ITEM_CELL,
    READ_ITEM_ALL, /* "*": every description, or the id of an item that has none */
    READ_ITEM_ID,
    READ_USER_CELL,
    READ_USER_ALL,
    READ_USER_ID,
    READ_SERIES,
    READ_AGO,
    READ_N_EARLIER,
    READ_FIRST_AGO,
    READ_MEAN,
    READ_FRIENDS
};

enum { MEAN_DECIMALS = 1 };

/* Where a text is being rendered. */
typedef struct place {
    const um_renderer *r;
    const um_render_scene *scene;
    uint32_t item;
    uint64_t interaction; /* history only */
} place;

/* Binding ---------------------------------------------------------------------------------------
 */

static int series_index(const um_dataset *d, const char *name)
{
    for (uint32_t s = 0; s < d->n_series; s++)
        if (strcmp(d->series[s].name, name) == 0)
            return (int)s;
    return -1;
}

static bool bind_item(um_binding *b, const um_dataset *d, const char *name)
{
    b->column = um_table_column(&d->items, name);
    b->source = READ_ITEM_CELL;
    if (b->column >= 0)
        return true;
    b->source = strcmp(name, "*") == 0 ? READ_ITEM_ALL : READ_ITEM_ID;
    return strcmp(name, "*") == 0 || strcmp(name, "id") == 0;
}

static bool bind_history(um_binding *b, const um_dataset *d, const char *name)
{
    if (strcmp(name, "ago") == 0) {
        b->source = READ_AGO;
        return true;
    }
    if (bind_item(b, d, name))
        return true;
    b->source = READ_SERIES;
    b->column = series_index(d, name);
    return b->column >= 0;
}

static bool bind_action(um_binding *b, const um_dataset *d, const char *name)
{
    if (bind_item(b, d, name))
        return true;
    b->source = READ_FRIENDS;
    return strcmp(name, "friends") == 0;
}

static bool bind_profile(um_binding *b, const um_dataset *d, const char *name)
{
    if (um_str_starts(name, "user.")) {
        const char *column = name + strlen("user.");
        b->column = um_table_column(&d->users, column);
        b->source = READ_USER_CELL;
        if (b->column >= 0)
            return true;
        b->source = strcmp(column, "*") == 0 ? READ_USER_ALL : READ_USER_ID;
        return strcmp(column, "*") == 0 || strcmp(column, "id") == 0;
    }
    if (um_str_starts(name, "mean_")) {
        b->source = READ_MEAN;
        b->column = series_index(d, name + strlen("mean_"));
        return b->column >= 0 && d->series[b->column].numbers != NULL;
    }
    b->source = strcmp(name, "n_earlier") == 0 ? READ_N_EARLIER : READ_FIRST_AGO;
    return strcmp(name, "n_earlier") == 0 || strcmp(name, "first_ago") == 0;
}

/* Appends the field names a part may use, each behind a NUL so that they can be pointed at. */
static um_status list_fields(um_str *names, const um_dataset *d, um_template_part part,
                             um_error *err)
{
    if (part == UM_TEMPLATE_PROFILE) {
        for (uint32_t c = 0; c < d->users.n_columns; c++)
            um_str_appendf(names, "user.%s%c", d->users.columns[c], '\0');
        um_str_appendf(names, "user.*%cuser.id%cn_earlier%cfirst_ago%c", '\0', '\0', '\0', '\0');
        for (uint32_t s = 0; s < d->n_series; s++)
            if (d->series[s].numbers != NULL)
                um_str_appendf(names, "mean_%s%c", d->series[s].name, '\0');
        return um_str_status(names, err);
    }
    for (uint32_t c = 0; c < d->items.n_columns; c++)
        um_str_appendf(names, "%s%c", d->items.columns[c], '\0');
    um_str_appendf(names, "*%cid%c", '\0', '\0');
    if (part == UM_TEMPLATE_ACTION)
        um_str_appendf(names, "friends%c", '\0');
    if (part == UM_TEMPLATE_HISTORY) {
        um_str_appendf(names, "ago%c", '\0');
        for (uint32_t s = 0; s < d->n_series; s++)
            um_str_appendf(names, "%s%c", d->series[s].name, '\0');
    }
    return um_str_status(names, err);
}

static um_status fail_unknown(const um_template *t, const um_dataset *d, um_template_part part,
                              const char *name, um_error *err)
{
    static const char *const part_names[] = {"profile", "history", "action"};
    um_str names = UM_STR_INIT, list = UM_STR_INIT;
    UM_VEC(const char *) candidates = {0};
    um_status status = list_fields(&names, d, part, err);
    for (size_t i = 0; status == UM_OK && i < names.len; i += strlen(names.data + i) + 1) {
        if (!um_vec_push(&candidates, names.data + i))
            status = um_fail_memory(err, "field names");
        um_str_appendf(&list, "%s%s", i > 0 ? ", " : "", names.data + i);
    }
    if (status == UM_OK) {
        const char *near = um_nearest(name, candidates.data, candidates.len);
        status = um_fail(err, UM_ERR_INPUT,
                         "%s:%d: %s: data set '%s' has no field '%s'%s%s%s; it has: %s", t->where,
                         t->part[part].line, part_names[part], d->name, name,
                         near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                         near != NULL ? "'" : "", um_str_text(&list));
    }
    um_vec_dispose(&candidates);
    um_str_dispose(&names);
    um_str_dispose(&list);
    return status;
}

um_status um_renderer_new(um_renderer *r, const um_template *t, const um_dataset *dataset,
                          um_error *err)
{
    static bool (*const binders[])(um_binding *, const um_dataset *,
                                   const char *) = {bind_profile, bind_history, bind_action};
    memset(r, 0, sizeof *r);
    r->t = t;
    r->d = dataset;
    um_status status = UM_OK;
    for (int part = 0; part < UM_TEMPLATE_PARTS && status == UM_OK; part++) {
        const um_template_text *text = &t->part[part];
        r->bindings[part] = um_calloc(text->n, sizeof *r->bindings[part]);
        if (r->bindings[part] == NULL)
            status = um_fail_memory(err, "a template");
        for (size_t i = 0; i < text->n && status == UM_OK; i++)
            if (text->pieces[i].kind == UM_PIECE_FIELD &&
                !binders[part](&r->bindings[part][i], dataset, text->pieces[i].text))
                status =
                    fail_unknown(t, dataset, (um_template_part)part, text->pieces[i].text, err);
    }
    if (status != UM_OK)
        um_renderer_dispose(r);
    return status;
}

bool um_renderer_counts_friends(const um_renderer *r)
{
    const um_template_text *text = &r->t->part[UM_TEMPLATE_ACTION];
    for (size_t i = 0; i < text->n; i++) {
        if (text->pieces[i].kind == UM_PIECE_FIELD &&
            r->bindings[UM_TEMPLATE_ACTION][i].source == READ_FRIENDS)
            return true;
    }
    return false;
}

void um_renderer_dispose(um_renderer *r)
{
    for (int part = 0; part < UM_TEMPLATE_PARTS; part++)
        free(r->bindings[part]);
    memset(r, 0, sizeof *r);
}

um_status um_template_check(const um_template *t, const um_dataset *dataset, um_error *err)
{
    um_renderer r;
    um_status status = um_renderer_new(&r, t, dataset, err);
    if (status == UM_OK)
        um_renderer_dispose(&r);
    return status;
}

/* Values ----------------------------------------------------------------------------------------
 */

static bool is_blank(unsigned char c)
{
    return c <= ' ' || c == 0x7f;
}

/*
 * Appends a value on one line: runs of blanks and control characters become one space, the ends are
 * trimmed, and what passes the word or character limit is replaced by "...".
 */
static void append_value(um_str *out, const char *text, const um_piece *p)
{
    uint32_t words = 0, chars = 0;
    bool gap = false;
    size_t begin = out->len;
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (is_blank(c)) {
            gap = true;
            continue;
        }
        bool first = out->len == begin, space = gap && !first;
        gap = false;
        words += first || space;
        chars += space + ((c & 0xc0) != 0x80);
        if ((p->words > 0 && words > p->words) || (p->chars > 0 && chars > p->chars)) {
            um_str_append(out, "...");
            return;
        }
        if (space)
            um_str_append_char(out, ' ');
        um_str_append_char(out, (char)(p->lower && c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c));
    }
}

/* At most `entries` of the outermost list; 0 = all. */
static void append_json(um_str *out, const json_t *value, size_t entries)
{
    size_t i;
    const char *key;
    json_t *child;
    switch (json_typeof(value)) {
    case JSON_STRING:
        um_str_append(out, json_string_value(value));
        break;
    case JSON_ARRAY:
        json_array_foreach(value, i, child)
        {
            if (entries > 0 && i == entries)
                break;
            um_str_append(out, i > 0 ? ", " : "");
            append_json(out, child, 0);
        }
        break;
    case JSON_OBJECT:
        i = 0;
        json_object_foreach((json_t *)value, key, child)
        {
            um_str_appendf(out, "%s%s: ", i++ > 0 ? ", " : "", key);
            append_json(out, child, 0);
        }
        break;
    case JSON_NULL:
        break;
    default:
        um_json_dump(out, value);
    }
}

/* The readable form of a JSON text: strings without quotes, lists joined by commas. False when it
 * is null, empty, or no JSON. */
static bool json_value(um_str *out, const char *json, const um_piece *p)
{
    size_t len = strlen(json);
    if (strcmp(json, "null") == 0)
        return false;
    if (strchr("\"[{", *json) == NULL) { /* a number, true or false */
        um_str_append_n(out, json, len);
    } else if (*json == '"' && len >= 2 && strchr(json, '\\') == NULL) {
        um_str_append_n(out, json + 1, len - 2);
    } else {
        json_t *value = NULL;
        if (um_json_parse(&value, json, len, "cell", NULL) != UM_OK)
            return false;
        append_json(out, value, p->entries);
        json_decref(value);
    }
    return out->len > 0;
}

static bool cell_value(um_str *out, const um_table *table, uint32_t row, int column,
                       const um_piece *p)
{
    const char *cell = um_table_cell(table, row, column);
    if (cell == NULL || *cell == '\0')
        return false;
    if (table->kinds[column] == UM_COLUMN_FEATURE)
        return json_value(out, cell, p);
    if (p->is_list && *cell == '[') {
        json_t *list = NULL;
        if (um_json_parse(&list, cell, strlen(cell), "cell", NULL) == UM_OK) {
            append_json(out, list, p->entries);
            json_decref(list);
            return out->len > 0;
        }
    }
    um_str_append(out, cell);
    return true;
}

/* "name: value; name: value" of the descriptions that are there; limits hold for each value. */
static bool append_all(um_str *out, const um_table *table, uint32_t row, const um_piece *p)
{
    bool any = false;
    for (uint32_t c = 0; c < table->n_columns; c++) {
        const char *cell = um_table_cell(table, row, (int)c);
        if (cell == NULL || *cell == '\0' || table->kinds[c] != UM_COLUMN_DESCRIPTION)
            continue;
        um_str_append(out, any ? "; " : "");
        for (const char *name = table->columns[c]; *name != '\0'; name++)
            um_str_append_char(out, *name == '_' ? ' ' : *name);
        um_str_append(out, ": ");
        append_value(out, cell, p);
        any = true;
    }
    return any;
}

/* 950, 1.2k, 12k, 3M, 1.5B: two digits, three from 100 on. */
static void append_short(um_str *out, double value)
{
    static const char units[] = {'\0', 'k', 'M', 'B'};
    double size = fabs(value);
    size_t unit = 0;
    while (size >= 999.5 && unit + 1 < sizeof units) {
        size /= 1000.0;
        unit++;
    }
    int decimals = unit > 0 && size < 9.95 && fabs(size - round(size)) >= 0.05 ? 1 : 0;
    um_str_appendf(out, "%s%.*f", value <= -0.5 ? "-" : "", decimals, size);
    if (unit > 0)
        um_str_append_char(out, units[unit]);
}

static bool number_value(um_str *out, double value, int decimals)
{
    if (!isfinite(value))
        return false;
    if (decimals >= 0)
        um_str_appendf(out, "%.*f", decimals, value);
    else
        um_str_append_number(out, value);
    return true;
}

static bool mean_value(um_str *out, const place *at, int column, int decimals)
{
    const double *numbers = at->r->d->series[column].numbers;
    double sum = 0.0;
    uint64_t n = 0;
    for (uint64_t i = 0; i < at->scene->n_before; i++) {
        double x = numbers[at->scene->first_interaction + i];
        if (isfinite(x)) {
            sum += x;
            n++;
        }
    }
    return n > 0 && number_value(out, sum / (double)n, decimals >= 0 ? decimals : MEAN_DECIMALS);
}

static bool series_value(um_str *out, const um_series *s, uint64_t interaction, const um_piece *p)
{
    if (s->numbers != NULL)
        return number_value(out, s->numbers[interaction], p->decimals);
    const char *json = s->texts[interaction];
    return json != NULL && json_value(out, json, p);
}

static bool ago_value(um_str *out, const place *at, uint64_t interaction)
{
    char text[32];
    um_scene_ago(at->r->d->time_s[interaction], at->scene->time_s, text);
    um_str_append(out, text);
    return true;
}

/* How many friends of the user met the item before the scene; absent when none did. */
static bool friends_value(um_str *out, const place *at)
{
    uint32_t n = um_social_count(at->r->social, at->scene->user, at->item, at->scene->time_s);
    if (n > 0)
        um_str_appendf(out, "%u", n);
    return n > 0;
}

/* The bare value of a field into out (empty before). False when absent. */
static bool field_value(um_str *out, const place *at, const um_binding *b, const um_piece *p)
{
    const um_dataset *d = at->r->d;
    switch (b->source) {
    case READ_ITEM_CELL:
        return cell_value(out, &d->items, at->item, b->column, p);
    case READ_USER_CELL:
        return cell_value(out, &d->users, at->scene->user, b->column, p);
    case READ_ITEM_ID:
        um_str_append(out, d->items.ids[at->item]);
        return true;
    case READ_USER_ID:
        um_str_append(out, d->users.ids[at->scene->user]);
        return true;
    case READ_SERIES:
        return series_value(out, &d->series[b->column], at->interaction, p);
    case READ_AGO:
        return ago_value(out, at, at->interaction);
    case READ_N_EARLIER:
        um_str_appendf(out, "%llu", (unsigned long long)at->scene->n_before);
        return true;
    case READ_FIRST_AGO:
        return at->scene->n_before > 0 && ago_value(out, at, at->scene->first_interaction);
    case READ_MEAN:
        return mean_value(out, at, b->column, p->decimals);
    case READ_FRIENDS:
        return friends_value(out, at);
    default:
        return false;
    }
}

/* Appends one field with its options; false when it is absent and has no fallback. */
static bool append_field(um_str *out, um_str *scratch, const place *at, const um_binding *b,
                         const um_piece *p)
{
    const um_dataset *d = at->r->d;
    size_t before = out->len;
    if (b->source == READ_ITEM_ALL) {
        if (!append_all(out, &d->items, at->item, p))
            append_value(out, d->items.ids[at->item], p);
    } else if (b->source == READ_USER_ALL) {
        append_all(out, &d->users, at->scene->user, p);
    } else {
        um_str_clear(scratch);
        if (field_value(scratch, at, b, p)) {
            double number;
            if (p->is_short && um_parse_f64(um_str_text(scratch), &number))
                append_short(out, number);
            else if (p->decimals >= 0 && um_parse_f64(um_str_text(scratch), &number))
                um_str_appendf(out, "%.*f", (int)p->decimals, number);
            else
                append_value(out, um_str_text(scratch), p);
        }
        if (out->failed == UM_OK)
            out->failed = scratch->failed;
    }
    if (out->len > before)
        return true;
    if (p->fallback != NULL)
        um_str_append(out, p->fallback);
    return p->fallback != NULL;
}

static void cut_back(um_str *s, size_t len)
{
    if (s->len > len) {
        s->len = len;
        s->data[len] = '\0';
    }
}

static void render(um_str *out, um_str *scratch, const place *at, um_template_part part)
{
    const um_template_text *text = &at->r->t->part[part];
    size_t group = 0;
    bool in_group = false;
    for (size_t i = 0; i < text->n; i++) {
        const um_piece *p = &text->pieces[i];
        if (p->kind == UM_PIECE_TEXT) {
            um_str_append(out, p->text);
        } else if (p->kind == UM_PIECE_OPEN) {
            group = out->len;
            in_group = true;
        } else if (p->kind == UM_PIECE_CLOSE) {
            in_group = false;
        } else if (!append_field(out, scratch, at, &at->r->bindings[part][i], p) && in_group) {
            cut_back(out, group);
            while (text->pieces[i].kind != UM_PIECE_CLOSE)
                i++;
            in_group = false;
        }
    }
}

void um_render_profile(const um_renderer *r, um_str *out, um_str *scratch,
                       const um_render_scene *scene)
{
    place at = {.r = r, .scene = scene};
    render(out, scratch, &at, UM_TEMPLATE_PROFILE);
}

void um_render_history(const um_renderer *r, um_str *out, um_str *scratch,
                       const um_render_scene *scene, const uint64_t *history, uint32_t n)
{
    if (n == 0)
        um_str_append(out, r->t->empty_history);
    for (uint32_t i = 0; i < n; i++) {
        place at = {
            .r = r, .scene = scene, .item = r->d->item[history[i]], .interaction = history[i]};
        um_str_append(out, i > 0 ? "\n" : "");
        render(out, scratch, &at, UM_TEMPLATE_HISTORY);
    }
}

void um_render_action(const um_renderer *r, um_str *out, um_str *scratch,
                      const um_render_scene *scene, uint32_t item)
{
    place at = {.r = r, .scene = scene, .item = item};
    if (item == UM_SCENE_NONE)
        um_str_append(out, r->t->none_action);
    else
        render(out, scratch, &at, UM_TEMPLATE_ACTION);
}
