/* prompt.c - the messages that put a scene before a model. */
#include "mirrorer/process.h"

#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/yaml.h"

UM_EMBEDDED_DECLARE(ekb);
UM_EMBEDDED_DECLARE(ekb_short);

#define MAX_USER_BYTES ((size_t)4 << 20)

struct um_prompt_form {
    char *system, *user;
    char *reading; /* NULL when the file has none */
};

static const char *const fields[] = {"exposure", "profile", "history"};

/* Every {name} of a text must be one of its n first fields, and the list must be shown. */
static um_status check_text(const char *text, const char *name, int n, const char *where,
                            um_error *err)
{
    for (const char *p = strchr(text, '{'); p != NULL; p = strchr(p + 1, '{')) {
        const char *end = strchr(p, '}');
        bool known = false;
        for (int i = 0; end != NULL && i < n; i++)
            known = known || (strlen(fields[i]) == (size_t)(end - p - 1) &&
                              strncmp(fields[i], p + 1, (size_t)(end - p - 1)) == 0);
        if (!known)
            return um_fail(err, UM_ERR_INPUT, "%s: unknown field at '%.24s' of `%s`; %s", where, p,
                           name,
                           n > 1 ? "the fields are {profile}, {history} and {exposure}"
                                 : "its one field is {exposure}");
    }
    if (strstr(text, "{exposure}") == NULL)
        return um_fail(err, UM_ERR_INPUT, "%s: `%s` never shows {exposure}", where, name);
    return UM_OK;
}

static um_status form_from_yaml(um_prompt_form **out, const um_yaml *root, const char *where,
                                um_error *err)
{
    const char *system = um_yaml_text(root, "system");
    const char *user = um_yaml_text(root, "user");
    if (root->kind != UM_YAML_MAP || system == NULL || user == NULL)
        return um_fail(err, UM_ERR_INPUT, "%s: a prompt file holds the texts `system` and `user`",
                       where);
    const char *reading = um_yaml_text(root, "reading");
    um_status status = check_text(user, "user", 3, where, err);
    if (status == UM_OK && reading != NULL)
        status = check_text(reading, "reading", 1, where, err);
    if (status != UM_OK)
        return status;
    um_prompt_form *form = um_calloc(1, sizeof *form);
    if (form == NULL)
        return um_fail_memory(err, "prompt");
    form->system = um_strdup(system);
    form->user = um_strdup(user);
    form->reading = um_strdup(reading);
    if (form->system == NULL || form->user == NULL || (reading != NULL && form->reading == NULL)) {
        um_prompt_form_free(form);
        return um_fail_memory(err, "prompt");
    }
    *out = form;
    return UM_OK;
}

um_status um_prompt_form_load(um_prompt_form **out, const char *path, um_error *err)
{
    um_yaml *root = NULL;
    um_status status = um_yaml_read(&root, path, err);
    if (status == UM_OK)
        status = form_from_yaml(out, root, path, err);
    um_yaml_free(root);
    return status;
}

um_status um_prompt_form_builtin(um_prompt_form **out, const char *name, um_error *err)
{
    const um_embedded_file files[] = {UM_EMBEDDED("ekb", ekb), UM_EMBEDDED("ekb-short", ekb_short)};
    const um_embedded_file *file = NULL;
    um_yaml *root = NULL;

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        file = strcmp(name, files[i].name) == 0 ? &files[i] : file;
    if (file == NULL)
        return um_fail(err, UM_ERR_NOT_FOUND,
                       "prompt '%s': neither a file nor one of the built-in prompts ekb, ekb-short",
                       name);
    um_status status = um_yaml_parse(&root, (const char *)file->data, file->len, name, err);
    if (status == UM_OK)
        status = form_from_yaml(out, root, name, err);
    um_yaml_free(root);
    return status;
}

void um_prompt_form_free(um_prompt_form *form)
{
    if (form == NULL)
        return;
    free(form->system);
    free(form->user);
    free(form->reading);
    free(form);
}

uint64_t um_prompt_form_hash(const um_prompt_form *form)
{
    uint64_t hash = um_hash_str(form->user, um_hash_str(form->system, 0));
    return form->reading != NULL ? um_hash_str(form->reading, hash) : hash;
}

const char *um_prompt_form_system(const um_prompt_form *form)
{
    return form->system;
}

static void append_exposure(um_str *s, const um_scene *scene)
{
    for (uint32_t i = 0; i < scene->k; i++)
        um_str_appendf(s, "%s[%c] %s", i > 0 ? "\n" : "", 'A' + (int)i, scene->actions[i]);
}

/* Fills the fields of a user text. What is filled in is not looked at again. */
static um_status fill(const char *form, const um_scene *scene, char **out, um_error *err)
{
    um_str s;
    um_str_init(&s, MAX_USER_BYTES);
    const char *at = form;

    for (const char *open = strchr(at, '{'); open != NULL; open = strchr(at, '{')) {
        um_str_append_n(&s, at, (size_t)(open - at));
        if (um_str_starts(open, "{profile}"))
            um_str_append(&s, scene->profile);
        else if (um_str_starts(open, "{history}"))
            um_str_append(&s, scene->history_text);
        else
            append_exposure(&s, scene);
        at = strchr(open, '}') + 1;
    }
    um_str_append(&s, at);
    um_status status = um_str_take(&s, out, err);
    um_str_dispose(&s);
    return status;
}

um_status um_prompt_form_user(const um_prompt_form *form, const um_scene *scene, char **out,
                              um_error *err)
{
    return fill(form->user, scene, out, err);
}

um_status um_prompt_form_reading(const um_prompt_form *form, const um_scene *scene, char **out,
                                 um_error *err)
{
    if (form->reading == NULL)
        return um_fail(err, UM_ERR_NOT_FOUND, "prompt: this form has no `reading`");
    return fill(form->reading, scene, out, err);
}
