/*
 * save.c - writing a tokenizer in the files transformers reads.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "tok/tok.h"

#define OUTPUT_MAX_BYTES ((size_t)256 << 20)

/* Writing ------------------------------------------------------------------------------------- */

static um_status write_text(const char *dir, const char *name, const um_str *s, um_error *err)
{
    char *path = NULL;
    um_status status = um_str_status(s, err);
    if (status == UM_OK)
        status = um_path_join(&path, dir, name, err);
    if (status == UM_OK)
        status = um_file_write(path, s->data, s->len, err);
    free(path);
    return status;
}

/* {"key": value, ..} one key a line, up to but without the closing brace. */
static void append_members(um_str *s, json_t *object, const char *indent, const char *skip)
{
    const char *key, *comma = "";
    json_t *value;
    um_str_append_char(s, '{');
    json_object_foreach(object, key, value)
    {
        if (skip != NULL && strcmp(key, skip) == 0)
            continue;
        um_str_appendf(s, "%s\n%s", comma, indent);
        um_str_append_json(s, key);
        um_str_append(s, ": ");
        um_json_dump(s, value);
        comma = ",";
    }
}

static void append_model(um_str *s, const um_tokenizer *tok)
{
    const char *comma = "";
    bool spaces = false; /* a text with a space cannot be written in the "left right" form */
    append_members(s, json_object_get(tok->frame, "model"), "    ", NULL);
    um_str_append(s, ",\n    \"vocab\": {");
    for (size_t i = 0; i < tok->n_tokens; i++) {
        if (!tok->tokens[i].model)
            continue;
        spaces = spaces || strchr(tok->tokens[i].text, ' ') != NULL;
        um_str_appendf(s, "%s\n      ", comma);
        um_str_append_json(s, tok->tokens[i].text);
        um_str_appendf(s, ": %zu", i);
        comma = ",";
    }
    um_str_append(s, "\n    },\n    \"merges\": [");
    um_str joined = UM_STR_INIT;
    for (size_t i = 0; i < tok->n_merges; i++) {
        const char *left = tok->tokens[tok->merges[i].left].text;
        const char *right = tok->tokens[tok->merges[i].right].text;
        um_str_append(s, i > 0 ? ",\n      " : "\n      ");
        if (spaces) {
            um_str_append_char(s, '[');
            um_str_append_json(s, left);
            um_str_append_char(s, ',');
            um_str_append_json(s, right);
            um_str_append_char(s, ']');
        } else {
            um_str_clear(&joined);
            um_str_appendf(&joined, "%s %s", left, right);
            if (joined.failed != UM_OK)
                s->failed = joined.failed;
            um_str_append_json(s, um_str_text(&joined));
        }
    }
    um_str_dispose(&joined);
    um_str_append(s, "\n    ]\n  }");
}

static um_status save_tokenizer_json(const um_tokenizer *tok, const char *dir, um_error *err)
{
    um_str s;
    um_str_init(&s, OUTPUT_MAX_BYTES);
    append_members(&s, tok->frame, "  ", "model");
    um_str_append(&s, ",\n  \"model\": ");
    append_model(&s, tok);
    um_str_append(&s, "\n}\n");
    um_status status = write_text(dir, "tokenizer.json", &s, err);
    um_str_dispose(&s);
    return status;
}

static um_status save_config(const um_tokenizer *tok, const char *dir, um_error *err)
{
    static const char *const keys[] = {"bos_token", "eos_token", "pad_token", "unk_token",
                                       "additional_special_tokens"};
    um_str s;
    json_t *map = json_object();
    um_str_init(&s, OUTPUT_MAX_BYTES);
    append_members(&s, tok->config, "  ", NULL);
    um_str_append(&s, "\n}\n");
    um_status status = map != NULL ? write_text(dir, "tokenizer_config.json", &s, err)
                                   : um_fail_memory(err, "special tokens");
    um_str_clear(&s);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && status == UM_OK; i++) {
        json_t *value = json_object_get(tok->config, keys[i]);
        if (value != NULL && !json_is_null(value) && json_object_set(map, keys[i], value) != 0)
            status = um_fail_memory(err, "special tokens");
    }
    if (status == UM_OK) {
        append_members(&s, map, "  ", NULL);
        um_str_append(&s, "\n}\n");
        status = write_text(dir, "special_tokens_map.json", &s, err);
    }
    json_decref(map);
    um_str_dispose(&s);
    return status;
}

um_status um_tokenizer_save(const um_tokenizer *tok, const char *dir, um_error *err)
{
    um_status status = um_path_make_dirs(dir, err);
    if (status == UM_OK)
        status = save_tokenizer_json(tok, dir, err);
    if (status == UM_OK)
        status = save_config(tok, dir, err);
    return status;
}
