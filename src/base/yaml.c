#include "base/yaml.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

#define YAML_MAX_BYTES ((size_t)16 << 20)
#define YAML_MAX_DEPTH 64

struct reader {
    yaml_parser_t parser;
    const char *where;
    um_error *err;
};

void um_yaml_free(um_yaml *node)
{
    if (node == NULL)
        return;
    for (size_t i = 0; i < node->n; i++) {
        if (node->keys != NULL)
            free(node->keys[i]);
        um_yaml_free(node->item[i]);
    }
    free(node->keys);
    free(node->item);
    free(node->text);
    free(node);
}

const um_yaml *um_yaml_get(const um_yaml *map, const char *key)
{
    if (map == NULL || map->kind != UM_YAML_MAP)
        return NULL;
    for (size_t i = 0; i < map->n; i++) {
        if (strcmp(map->keys[i], key) == 0)
            return map->item[i];
    }
    return NULL;
}

const char *um_yaml_text(const um_yaml *map, const char *key)
{
    const um_yaml *node = um_yaml_get(map, key);
    return node != NULL && node->kind == UM_YAML_SCALAR ? node->text : NULL;
}

static int line_of(yaml_mark_t mark)
{
    return (int)mark.line + 1;
}

static um_status next_event(struct reader *r, yaml_event_t *event)
{
    if (yaml_parser_parse(&r->parser, event))
        return UM_OK;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return um_fail_memory(r->err, r->where);
    const char *problem = r->parser.problem != NULL ? r->parser.problem : "not YAML";
    if (r->parser.error == YAML_READER_ERROR)
        return um_fail(r->err, UM_ERR_INPUT, "%s: byte %zu: %s", r->where, r->parser.problem_offset,
                       problem);
    return um_fail(r->err, UM_ERR_INPUT, "%s:%d: %s", r->where, line_of(r->parser.problem_mark),
                   problem);
}

/* Anchors and tags are the parts of YAML that make a value mean something else than it says. */
static um_status refuse_extras(struct reader *r, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_ALIAS_EVENT) {
        anchor = event->data.alias.anchor;
    } else if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    int line = line_of(event->start_mark);
    if (anchor != NULL)
        return um_fail(
            r->err, UM_ERR_INPUT,
            "%s:%d: anchors and aliases are not accepted, found '%s'; write the value out",
            r->where, line, (const char *)anchor);
    if (tag != NULL)
        return um_fail(r->err, UM_ERR_INPUT, "%s:%d: tags are not accepted, found '%s'; remove it",
                       r->where, line, (const char *)tag);
    return UM_OK;
}

static um_status copy_scalar(struct reader *r, const yaml_event_t *event, char **out)
{
    const char *value = (const char *)event->data.scalar.value;
    size_t len = event->data.scalar.length;
    if (memchr(value, '\0', len) != NULL)
        return um_fail(r->err, UM_ERR_INPUT, "%s:%d: text contains a NUL character", r->where,
                       line_of(event->start_mark));
    *out = um_strndup(value, len);
    return *out != NULL ? UM_OK : um_fail_memory(r->err, r->where);
}

static um_status read_node(struct reader *r, const yaml_event_t *event, int depth, um_yaml **out);

/* Children of node up to the event that closes it. */
static um_status read_children(struct reader *r, um_yaml *node, int depth)
{
    bool is_map = node->kind == UM_YAML_MAP;
    yaml_event_type_t closing = is_map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    size_t item_cap = 0, key_cap = 0;
    for (;;) {
        yaml_event_t event;
        um_yaml *child = NULL;
        char *key = NULL;
        um_status status = next_event(r, &event);
        if (status != UM_OK)
            return status;
        if (event.type == closing) {
            yaml_event_delete(&event);
            return UM_OK;
        }
        if (is_map) {
            int line = line_of(event.start_mark);
            status = refuse_extras(r, &event);
            if (status == UM_OK && event.type != YAML_SCALAR_EVENT)
                status = um_fail(r->err, UM_ERR_INPUT, "%s:%d: a key must be plain text", r->where,
                                 line);
            if (status == UM_OK)
                status = copy_scalar(r, &event, &key);
            yaml_event_delete(&event);
            if (status == UM_OK && um_yaml_get(node, key) != NULL)
                status = um_fail(r->err, UM_ERR_INPUT,
                                 "%s:%d: key '%s' appears twice (first on line %d)", r->where, line,
                                 key, um_yaml_get(node, key)->line);
            if (status == UM_OK)
                status = next_event(r, &event);
            if (status != UM_OK) {
                free(key);
                return status;
            }
        }
        status = read_node(r, &event, depth + 1, &child);
        yaml_event_delete(&event);
        bool room = status == UM_OK &&
                    (node->n < item_cap ||
                     um_vec_grow(&node->item, &item_cap, node->n + 1, sizeof *node->item)) &&
                    (!is_map || node->n < key_cap ||
                     um_vec_grow(&node->keys, &key_cap, node->n + 1, sizeof *node->keys));
        if (!room) {
            free(key);
            um_yaml_free(child);
            return status != UM_OK ? status : um_fail_memory(r->err, r->where);
        }
        if (is_map)
            node->keys[node->n] = key;
        node->item[node->n++] = child;
    }
}

static um_status read_node(struct reader *r, const yaml_event_t *event, int depth, um_yaml **out)
{
    um_status status = refuse_extras(r, event);
    if (status != UM_OK)
        return status;
    int line = line_of(event->start_mark);
    if (depth > YAML_MAX_DEPTH)
        return um_fail(r->err, UM_ERR_LIMIT, "%s:%d: nested deeper than %d levels", r->where, line,
                       YAML_MAX_DEPTH);
    um_yaml *node = um_calloc(1, sizeof *node);
    if (node == NULL)
        return um_fail_memory(r->err, r->where);
    node->line = line;
    if (event->type == YAML_SCALAR_EVENT) {
        node->kind = UM_YAML_SCALAR;
        status = copy_scalar(r, event, &node->text);
    } else {
        node->kind = event->type == YAML_MAPPING_START_EVENT ? UM_YAML_MAP : UM_YAML_LIST;
        status = read_children(r, node, depth);
    }
    if (status != UM_OK) {
        um_yaml_free(node);
        return status;
    }
    *out = node;
    return UM_OK;
}

/* Reads an event that the grammar requires here and drops it. */
static um_status skip_event(struct reader *r, yaml_event_type_t *type, int *line)
{
    yaml_event_t event;
    um_status status = next_event(r, &event);
    if (status != UM_OK)
        return status;
    *type = event.type;
    *line = line_of(event.start_mark);
    yaml_event_delete(&event);
    return UM_OK;
}

static um_status read_document(struct reader *r, um_yaml **out)
{
    yaml_event_type_t type;
    int line;
    um_status status = skip_event(r, &type, &line); /* stream start */
    if (status == UM_OK)
        status = skip_event(r, &type, &line); /* document start, or the end of an empty stream */
    if (status != UM_OK)
        return status;
    if (type == YAML_STREAM_END_EVENT)
        return um_fail(r->err, UM_ERR_INPUT, "%s: the file is empty", r->where);
    yaml_event_t event;
    status = next_event(r, &event);
    if (status != UM_OK)
        return status;
    status = read_node(r, &event, 1, out);
    yaml_event_delete(&event);
    if (status == UM_OK)
        status = skip_event(r, &type, &line); /* document end */
    if (status == UM_OK)
        status = skip_event(r, &type, &line);
    if (status == UM_OK && type != YAML_STREAM_END_EVENT)
        status = um_fail(r->err, UM_ERR_INPUT, "%s:%d: a second document starts; only one is read",
                         r->where, line);
    return status;
}

um_status um_yaml_parse(um_yaml **out, const char *text, size_t len, const char *where,
                        um_error *err)
{
    struct reader r = {.where = where, .err = err};
    if (len > YAML_MAX_BYTES)
        return um_fail(err, UM_ERR_LIMIT, "%s: %zu bytes of YAML, limit %zu", where, len,
                       YAML_MAX_BYTES);
    if (!yaml_parser_initialize(&r.parser))
        return um_fail_memory(err, where);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    um_yaml *root = NULL;
    um_status status = read_document(&r, &root);
    yaml_parser_delete(&r.parser);
    if (status != UM_OK) {
        um_yaml_free(root);
        return status;
    }
    *out = root;
    return UM_OK;
}

um_status um_yaml_read(um_yaml **out, const char *path, um_error *err)
{
    char *text = NULL;
    size_t len = 0;
    um_status status = um_file_read(&text, &len, path, YAML_MAX_BYTES, err);
    if (status == UM_OK)
        status = um_yaml_parse(out, text, len, path, err);
    free(text);
    return status;
}
