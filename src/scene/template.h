/*
 * template.h - scene templates: parsed form, binding to a data set, rendering.
 *
 * A text is literal characters, fields `{name|option|option:value}` and groups `[[ ... ]]`, which
 * are printed only if every field in them is present. `{{` and `}}` print braces.
 */
#ifndef UM_SCENE_TEMPLATE_H
#define UM_SCENE_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "mirrorer/scene.h"
#include "scene/social.h"

typedef enum um_template_part {
    UM_TEMPLATE_PROFILE,
    UM_TEMPLATE_HISTORY,
    UM_TEMPLATE_ACTION,
    UM_TEMPLATE_PARTS
} um_template_part;

typedef enum um_piece_kind {
    UM_PIECE_TEXT,
    UM_PIECE_FIELD,
    UM_PIECE_OPEN,
    UM_PIECE_CLOSE
} um_piece_kind;

typedef struct um_piece {
    um_piece_kind kind;
    char *text;       /* the literal, or the field's name */
    uint32_t words;   /* at most; 0 = all */
    uint32_t chars;   /* code points at most; 0 = all */
    int32_t decimals; /* -1 = as it is */
    bool is_short;    /* 950, 12k, 3M */
    bool is_list;     /* a JSON list, also where a description holds it */
    uint32_t entries; /* of a JSON list at most; 0 = all */
    bool lower;       /* ASCII letters */
    char *fallback;   /* printed when absent, or NULL */
} um_piece;

typedef struct um_template_text {
    um_piece *pieces;
    size_t n;
    int line;
} um_template_text;

struct um_template {
    char *where; /* file name for messages */
    um_template_text part[UM_TEMPLATE_PARTS];
    char *empty_history;
    char *none_action; /* the action "none of these" */
};

um_status um_template_parse(um_template **out, const char *yaml, size_t len, const char *where,
                            um_error *err) UM_CHECKED;

/* A template whose field names are resolved against one data set; both are borrowed. */
typedef struct um_binding {
    int source; /* what the field reads, see render.c */
    int column;
} um_binding;

typedef struct um_renderer {
    const um_template *t;
    const um_dataset *d;
    const um_social *social; /* for {friends}; set by who renders, borrowed, NULL = no friends */
    um_binding *bindings[UM_TEMPLATE_PARTS]; /* one a piece */
} um_renderer;

um_status um_renderer_new(um_renderer *r, const um_template *t, const um_dataset *dataset,
                          um_error *err) UM_CHECKED;
/* Whether the action texts name {friends}. */
bool um_renderer_counts_friends(const um_renderer *r);
void um_renderer_dispose(um_renderer *r);

/* Each appends to out; failures stay in out and in scratch (um_str_status). scratch is overwritten.
 * Only interactions before `first + n_before` of the user are read. */
typedef struct um_render_scene {
    uint32_t user;
    int64_t time_s;
    uint64_t first_interaction; /* of the user */
    uint64_t n_before;          /* strictly earlier than the scene */
} um_render_scene;
void um_render_profile(const um_renderer *r, um_str *out, um_str *scratch,
                       const um_render_scene *scene);
void um_render_history(const um_renderer *r, um_str *out, um_str *scratch,
                       const um_render_scene *scene, const uint64_t *history, uint32_t n);
/* item may be UM_SCENE_NONE. */
void um_render_action(const um_renderer *r, um_str *out, um_str *scratch,
                      const um_render_scene *scene, uint32_t item);

#endif
