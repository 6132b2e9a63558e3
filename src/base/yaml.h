/*
 * yaml.h - a YAML file as a tree of nodes that know their line (libyaml underneath).
 *
 * Scalars stay text; the reader that knows the type converts them and can name file and line.
 * Aliases, tags, several documents and duplicate keys are refused.
 */
#ifndef UM_BASE_YAML_H
#define UM_BASE_YAML_H

#include "mirrorer/status.h"
#include <stddef.h>

typedef enum um_yaml_kind { UM_YAML_SCALAR, UM_YAML_LIST, UM_YAML_MAP } um_yaml_kind;

typedef struct um_yaml {
    um_yaml_kind kind;
    int line;              /* 1-based */
    char *text;            /* scalar */
    size_t n;              /* children */
    char **keys;           /* map only */
    struct um_yaml **item; /* children */
} um_yaml;

um_status um_yaml_read(um_yaml **out, const char *path, um_error *err) UM_CHECKED;
um_status um_yaml_parse(um_yaml **out, const char *text, size_t len, const char *where,
                        um_error *err) UM_CHECKED;
void um_yaml_free(um_yaml *node);
const um_yaml *um_yaml_get(const um_yaml *map, const char *key); /* NULL when absent */
const char *um_yaml_text(const um_yaml *map, const char *key);   /* scalar child or NULL */

#endif
