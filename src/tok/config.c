/*
 * config.c - tokenizer_config.json: reading it, and making one where there was none.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "tok/tok.h"

#define CONFIG_MAX_BYTES  ((size_t)16 << 20)
#define INT64_SAFE_DIGITS 18

/* Reading ------------------------------------------------------------------------------------- */

const char *um_tok_config_token(const json_t *config, const char *key)
{
    const json_t *value = json_object_get(config, key);
    return json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
}

/*
 * transformers writes "no limit" as model_max_length = 1000000000000000019884624838656, which is no
 * 64-bit integer. Such a literal gets an exponent, and so is read as a real.
 */
static um_status widen_integers(um_str *s, const char *text, size_t len, um_error *err)
{
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        um_str_append_char(s, text[i]);
        if (in_string && text[i] == '\\' && i + 1 < len)
            um_str_append_char(s, text[++i]);
        else if (text[i] == '"')
            in_string = !in_string;
        if (in_string || text[i] < '0' || text[i] > '9')
            continue;
        size_t end = i + 1;
        while (end < len && strchr("0123456789.eE+-", text[end]) != NULL && text[end] != '\0')
            end++;
        um_str_append_n(s, text + i + 1, end - i - 1);
        size_t digits = strspn(text + i, "0123456789");
        if (digits > INT64_SAFE_DIGITS && i + digits == end)
            um_str_append(s, "e0");
        i = end - 1;
    }
    return um_str_status(s, err);
}

static um_status read_json(json_t **out, const char *path, um_error *err)
{
    char *text = NULL;
    size_t len = 0;
    um_str widened = UM_STR_INIT;
    um_status status = um_file_read(&text, &len, path, CONFIG_MAX_BYTES, err);
    if (status == UM_OK)
        status = widen_integers(&widened, text, len, err);
    if (status == UM_OK)
        status = um_json_parse(out, um_str_text(&widened), widened.len, path, err);
    um_str_dispose(&widened);
    free(text);
    return status;
}

um_status um_tok_read_config(json_t **out, const char *dir, um_error *err)
{
    char *path = NULL, *text = NULL;
    size_t len = 0;
    json_t *config = NULL;
    um_status status = um_path_join(&path, dir, "tokenizer_config.json", err);
    if (status == UM_OK && um_path_exists(path))
        status = read_json(&config, path, err);
    if (status == UM_OK && config != NULL && !json_is_object(config))
        status = um_fail(err, UM_ERR_INPUT, "%s: not a JSON object", path);
    if (status != UM_OK || config == NULL)
        goto done;
    free(path);
    path = NULL;
    status = um_path_join(&path, dir, "chat_template.jinja", err);
    if (status != UM_OK || json_object_get(config, "chat_template") != NULL ||
        !um_path_exists(path))
        goto done;
    status = um_file_read(&text, &len, path, CONFIG_MAX_BYTES, err);
    if (status != UM_OK)
        goto done;
    if (!um_utf8_valid(text, len) || strlen(text) != len)
        status = um_fail(err, UM_ERR_INPUT, "%s: not UTF-8 text", path);
    else if (json_object_set_new(config, "chat_template", json_stringn(text, len)) != 0)
        status = um_fail_memory(err, "chat template");
done:
    free(path);
    free(text);
    if (status == UM_OK)
        *out = config;
    else
        json_decref(config);
    return status;
}

/* Default ------------------------------------------------------------------------------------- */

static const char *first_present(const um_tokenizer *tok, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int32_t id = um_tokenizer_find(tok, names[i]);
        if (id >= 0 && tok->tokens[id].added)
            return names[i];
    }
    return NULL;
}

static bool set_text(json_t *object, const char *key, const char *text)
{
    return json_object_set_new(object, key, text != NULL ? json_string(text) : json_null()) == 0;
}

um_status um_tok_default_config(um_tokenizer *tok, um_error *err)
{
    static const char *const ends[] = {"<|im_end|>", "<|eot_id|>", "<|endoftext|>",
                                       "<|end_of_text|>", "</s>"};
    static const char *const pads[] = {"<|endoftext|>", "<|finetune_right_pad_id|>", "<pad>"};
    const size_t n_ends = sizeof ends / sizeof ends[0], n_pads = sizeof pads / sizeof pads[0];
    const char *eos = first_present(tok, ends, n_ends), *pad = first_present(tok, pads, n_pads);
    um_chat_format format = um_tok_chat_by_markers(tok);
    char *template = NULL;
    um_status status =
        format != UM_CHAT_PLAIN ? um_tok_chat_template(&template, tok, format, err) : UM_OK;
    if (status != UM_OK)
        return status;
    json_t *config = json_object(), *other = json_array();
    bool ok = config != NULL && other != NULL;
    ok = ok && set_text(config, "tokenizer_class", "PreTrainedTokenizerFast");
    ok = ok && json_object_set_new(config, "clean_up_tokenization_spaces", json_false()) == 0;
    ok = ok && set_text(config, "bos_token", tok->bos >= 0 ? tok->tokens[tok->bos].text : NULL);
    ok = ok && set_text(config, "eos_token", eos);
    ok = ok && set_text(config, "pad_token", pad != NULL ? pad : eos);
    ok = ok && set_text(config, "unk_token", tok->unk >= 0 ? tok->tokens[tok->unk].text : NULL);
    for (size_t i = 0; i < tok->n_tokens && ok; i++)
        if (tok->tokens[i].special)
            ok = json_array_append_new(other, json_string(tok->tokens[i].text)) == 0;
    ok = ok && json_object_set(config, "additional_special_tokens", other) == 0;
    if (template != NULL)
        ok = ok && set_text(config, "chat_template", template);
    free(template);
    json_decref(other);
    if (!ok) {
        json_decref(config);
        return um_fail_memory(err, "tokenizer configuration");
    }
    tok->config = config;
    return UM_OK;
}
