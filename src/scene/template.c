#include "scene/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/yaml.h"

UM_EMBEDDED_DECLARE(template_world);
UM_EMBEDDED_DECLARE(template_ml_1m);
UM_EMBEDDED_DECLARE(template_ml_latest);
UM_EMBEDDED_DECLARE(template_amazon);
UM_EMBEDDED_DECLARE(template_goodreads);
UM_EMBEDDED_DECLARE(template_steam);
UM_EMBEDDED_DECLARE(template_mobilerec);
UM_EMBEDDED_DECLARE(template_mind);
UM_EMBEDDED_DECLARE(template_kuairec);
UM_EMBEDDED_DECLARE(template_lastfm);
UM_EMBEDDED_DECLARE(template_generic);

enum { MAX_TEMPLATE_BYTES = 1 << 20, MAX_COUNT = 1000000, MAX_DECIMALS = 9 };

static const char *const part_names[] = {"profile", "history", "action", "empty_history",
                                         "none_action"};
enum { N_KEYS = sizeof part_names / sizeof *part_names };
#define NONE_ACTION "None of these: leave without choosing anything."

/* Parsing of one text. Messages are "file:line: key: rule, found X; what to do". */
typedef struct reader {
    const char *where, *key;
    const char *text;
    int line;
    UM_VEC(um_piece) pieces;
    um_str literal;
    bool in_group;
    um_error *err;
} reader;

static void piece_dispose(um_piece *p)
{
    free(p->text);
    free(p->fallback);
}

static um_status bad(const reader *r, const char *at, const char *what)
{
    return um_fail(r->err, UM_ERR_INPUT, "%s:%d: %s, character %td: %s", r->where, r->line, r->key,
                   at - r->text + 1, what);
}

static um_status push(reader *r, um_piece piece)
{
    if (um_vec_push(&r->pieces, piece))
        return UM_OK;
    piece_dispose(&piece);
    return um_fail_memory(r->err, "a template");
}

/* Turns the literal characters gathered so far into a piece. */
static um_status flush(reader *r)
{
    if (r->literal.len == 0)
        return um_str_status(&r->literal, r->err);
    um_piece piece = {.kind = UM_PIECE_TEXT, .decimals = -1};
    um_status status = um_str_take(&r->literal, &piece.text, r->err);
    return status == UM_OK ? push(r, piece) : status;
}

/* A whole number of [min, max] after "option:". */
static um_status read_count(const reader *r, const char *at, const char *value, int64_t min,
                            int64_t max, int64_t *out)
{
    if (value != NULL && um_parse_i64(value, out) && *out >= min && *out <= max)
        return UM_OK;
    return um_fail(
        r->err, UM_ERR_INPUT,
        "%s:%d: %s, character %td: option needs a whole number %lld..%lld after a colon, "
        "found '%s'",
        r->where, r->line, r->key, at - r->text + 1, (long long)min, (long long)max,
        value != NULL ? value : "");
}

static um_status read_option(const reader *r, um_piece *piece, const char *at, char *option)
{
    static const char *const names[] = {"words", "chars", "number", "short", "list", "or", "lower"};
    char *value = strchr(option, ':');
    if (value != NULL)
        *value++ = '\0';
    int64_t count = 0;
    um_status status = UM_OK;
    if (strcmp(option, "words") == 0) {
        status = read_count(r, at, value, 1, MAX_COUNT, &count);
        piece->words = (uint32_t)count;
    } else if (strcmp(option, "chars") == 0) {
        status = read_count(r, at, value, 1, MAX_COUNT, &count);
        piece->chars = (uint32_t)count;
    } else if (strcmp(option, "number") == 0) {
        status = read_count(r, at, value, 0, MAX_DECIMALS, &count);
        piece->decimals = (int32_t)count;
    } else if (strcmp(option, "list") == 0) {
        piece->is_list = true;
        if (value != NULL)
            status = read_count(r, at, value, 1, MAX_COUNT, &count);
        piece->entries = (uint32_t)count;
    } else if (strcmp(option, "short") == 0 && value == NULL) {
        piece->is_short = true;
    } else if (strcmp(option, "lower") == 0 && value == NULL) {
        piece->lower = true;
    } else if (strcmp(option, "or") == 0 && value != NULL && piece->fallback == NULL) {
        if ((piece->fallback = um_strdup(value)) == NULL)
            status = um_fail_memory(r->err, "a template");
    } else {
        const char *near = um_nearest(option, names, sizeof names / sizeof *names);
        return um_fail(r->err, UM_ERR_INPUT,
                       "%s:%d: %s, character %td: unknown or malformed option '%s'%s%s%s; options "
                       "are words:N, chars:N, number:N, short, list, list:N, or:TEXT, lower",
                       r->where, r->line, r->key, at - r->text + 1, option,
                       near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'" : "");
    }
    return status;
}

/* "{name|option|...}", *at on the '{'; leaves *at behind the '}'. */
static um_status read_field(reader *r, const char **at)
{
    const char *begin = *at + 1, *end = begin + strcspn(begin, "{}\n");
    if (*end != '}')
        return bad(r, *at, "'{' without its '}'; write {{ for a brace");
    um_piece piece = {.kind = UM_PIECE_FIELD, .decimals = -1};
    um_status status = flush(r);
    if (status != UM_OK)
        return status;
    char *body = um_strndup(begin, (size_t)(end - begin));
    if (body == NULL)
        return um_fail_memory(r->err, "a template");
    char *rest = strchr(body, '|');
    if (rest != NULL)
        *rest++ = '\0';
    if (*body == '\0') {
        status = bad(r, *at, "a field without a name");
        goto done;
    }
    if ((piece.text = um_strdup(body)) == NULL) {
        status = um_fail_memory(r->err, "a template");
        goto done;
    }
    while (status == UM_OK && rest != NULL) {
        char *option = rest;
        if ((rest = strchr(option, '|')) != NULL)
            *rest++ = '\0';
        status = read_option(r, &piece, *at, option);
    }
    if (status == UM_OK) {
        *at = end + 1;
        status = push(r, piece);
        piece = (um_piece){0};
    }
done:
    piece_dispose(&piece);
    free(body);
    return status;
}

static um_status read_bracket(reader *r, const char **at)
{
    bool open = **at == '[';
    if (open == r->in_group)
        return bad(r, *at, open ? "a group [[ ]] inside a group" : "']]' without its '[['");
    um_status status = flush(r);
    if (status != UM_OK)
        return status;
    r->in_group = open;
    *at += 2;
    return push(r, (um_piece){.kind = open ? UM_PIECE_OPEN : UM_PIECE_CLOSE, .decimals = -1});
}

static um_status read_text(reader *r)
{
    um_status status = UM_OK;
    const char *at = r->text;
    while (*at != '\0' && status == UM_OK) {
        if ((at[0] == '{' || at[0] == '}') && at[1] == at[0]) {
            um_str_append_char(&r->literal, *at);
            at += 2;
        } else if (*at == '{') {
            status = read_field(r, &at);
        } else if (*at == '}') {
            status = bad(r, at, "'}' without its '{'; write }} for a brace");
        } else if ((at[0] == '[' || at[0] == ']') && at[1] == at[0]) {
            status = read_bracket(r, &at);
        } else {
            um_str_append_char(&r->literal, *at++);
        }
    }
    if (status == UM_OK && r->in_group)
        status = bad(r, at, "'[[' without its ']]'");
    return status == UM_OK ? flush(r) : status;
}

/* The text of one key, trailing line ends of a block scalar left out. */
static um_status read_part(um_template *t, um_template_part part, const um_yaml *root,
                           um_error *err)
{
    const um_yaml *node = um_yaml_get(root, part_names[part]);
    if (node == NULL || node->kind != UM_YAML_SCALAR)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: key '%s' must hold a text; a template needs "
                       "profile, history and action",
                       t->where, part_names[part]);
    size_t len = strlen(node->text);
    while (len > 0 && node->text[len - 1] == '\n')
        len--;
    char *text = um_strndup(node->text, len);
    if (text == NULL)
        return um_fail_memory(err, "a template");
    reader r = {
        .where = t->where, .key = part_names[part], .text = text, .line = node->line, .err = err};
    um_status status = read_text(&r);
    t->part[part] = (um_template_text){r.pieces.data, r.pieces.len, node->line};
    um_str_dispose(&r.literal);
    free(text);
    return status;
}

/* An optional text without fields. */
static um_status read_plain(char **out, const um_template *t, const um_yaml *root, const char *key,
                            const char *fallback, um_error *err)
{
    const um_yaml *node = um_yaml_get(root, key);
    if (node != NULL && node->kind != UM_YAML_SCALAR)
        return um_fail(err, UM_ERR_INPUT, "%s:%d: %s must be a text", t->where, node->line, key);
    *out = um_strdup(node != NULL ? node->text : fallback);
    return *out != NULL ? UM_OK : um_fail_memory(err, "a template");
}

static um_status check_keys(const um_template *t, const um_yaml *root, um_error *err)
{
    if (root == NULL || root->kind != UM_YAML_MAP)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: a template is a map with the keys profile, history "
                       "and action",
                       t->where);
    for (size_t i = 0; i < root->n; i++) {
        bool known = false;
        for (size_t k = 0; k < N_KEYS; k++)
            known = known || strcmp(root->keys[i], part_names[k]) == 0;
        if (known)
            continue;
        const char *near = um_nearest(root->keys[i], part_names, N_KEYS);
        return um_fail(err, UM_ERR_INPUT,
                       "%s:%d: unknown key '%s'%s%s%s; keys are profile, "
                       "history, action, empty_history, none_action",
                       t->where, root->item[i]->line, root->keys[i],
                       near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                       near != NULL ? "'" : "");
    }
    return UM_OK;
}

um_status um_template_parse(um_template **out, const char *yaml, size_t len, const char *where,
                            um_error *err)
{
    um_yaml *root = NULL;
    um_status status = UM_OK;
    um_template *t = um_calloc(1, sizeof *t);
    if (t == NULL || (t->where = um_strdup(where)) == NULL) {
        status = um_fail_memory(err, "a template");
        goto done;
    }
    if ((status = um_yaml_parse(&root, yaml, len, where, err)) != UM_OK ||
        (status = check_keys(t, root, err)) != UM_OK)
        goto done;
    for (int part = 0; part < UM_TEMPLATE_PARTS; part++)
        if ((status = read_part(t, (um_template_part)part, root, err)) != UM_OK)
            goto done;
    if ((status = read_plain(&t->empty_history, t, root, "empty_history", "", err)) != UM_OK ||
        (status = read_plain(&t->none_action, t, root, "none_action", NONE_ACTION, err)) != UM_OK)
        goto done;
    *out = t;
    t = NULL;
done:
    um_yaml_free(root);
    um_template_free(t);
    return status;
}

um_status um_template_load(um_template **out, const char *path, um_error *err)
{
    char *text = NULL;
    size_t len = 0;
    um_status status = um_file_read(&text, &len, path, MAX_TEMPLATE_BYTES, err);
    if (status == UM_OK)
        status = um_template_parse(out, text, len, path, err);
    free(text);
    return status;
}

/* "amazon-" stands for all names that begin so. */
static bool serves(const char *name, const char *dataset)
{
    return um_str_ends(name, "-") ? um_str_starts(dataset, name) : strcmp(dataset, name) == 0;
}

um_status um_template_builtin(um_template **out, const char *dataset, um_error *err)
{
    /* ml-100k describes its users as ml-1m does, ml-10m as little as ml-latest. The last serves all
     * other names. */
    const um_embedded_file files[] = {
        UM_EMBEDDED("world", template_world),
        UM_EMBEDDED("ml-1m", template_ml_1m),
        UM_EMBEDDED("ml-100k", template_ml_1m),
        UM_EMBEDDED("ml-latest", template_ml_latest),
        UM_EMBEDDED("ml-10m", template_ml_latest),
        UM_EMBEDDED("mind", template_mind),
        UM_EMBEDDED("kuairec", template_kuairec),
        UM_EMBEDDED("kuairec-small", template_kuairec),
        UM_EMBEDDED("lastfm", template_lastfm),
        UM_EMBEDDED("amazon-", template_amazon),
        UM_EMBEDDED("goodreads-", template_goodreads),
        UM_EMBEDDED("steam", template_steam),
        UM_EMBEDDED("mobilerec", template_mobilerec),
        UM_EMBEDDED("generic", template_generic),
    };
    size_t n = sizeof files / sizeof *files, chosen = 0;
    while (chosen + 1 < n && !serves(files[chosen].name, dataset))
        chosen++;
    char where[64];
    snprintf(where, sizeof where, "built-in template '%s'", files[chosen].name);
    return um_template_parse(out, (const char *)files[chosen].data, files[chosen].len, where, err);
}

void um_template_free(um_template *t)
{
    if (t == NULL)
        return;
    for (int part = 0; part < UM_TEMPLATE_PARTS; part++) {
        for (size_t i = 0; i < t->part[part].n; i++)
            piece_dispose(&t->part[part].pieces[i]);
        free(t->part[part].pieces);
    }
    free(t->empty_history);
    free(t->none_action);
    free(t->where);
    free(t);
}
