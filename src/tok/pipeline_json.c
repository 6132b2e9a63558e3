/*
 * pipeline_json.c - normalizer, pre_tokenizer, decoder and post_processor of tokenizer.json.
 *
 * Understood, alone or in a Sequence:
 *   normalizer     NFC, Prepend, Replace (of a string)
 *   pre_tokenizer  ByteLevel (no prefix space), Split (regex or string, Isolated), Digits
 *   decoder        ByteLevel, Replace, ByteFallback, Fuse, Strip (after Fuse)
 *   post_processor ByteLevel, TemplateProcessing; read for the opening token, never applied
 * Anything else is refused by name.
 */
#include <string.h>

#include "base/error.h"
#include "tok/tok.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

typedef um_status (*step_fn)(um_tokenizer *tok, const json_t *step, const char *type,
                             const char *where, um_error *err);

static bool is_absent(const json_t *value)
{
    return value == NULL || json_is_null(value);
}

static um_status refuse_type(const char *where, const char *type, um_error *err)
{
    return um_fail(err, UM_ERR_UNSUPPORTED, "%s: type \"%.60s\" is not supported", where, type);
}

/* Calls fn on the object, or on each object of a Sequence (nested to depth 4). */
static um_status each_step(um_tokenizer *tok, const json_t *object, const char *list_key, int depth,
                           step_fn fn, const char *where, um_error *err)
{
    const char *type;
    if (is_absent(object))
        return UM_OK;
    if (!json_is_object(object))
        return um_fail(err, UM_ERR_INPUT, "%s: neither null nor an object", where);
    um_status status = um_json_get_str(&type, object, "type", where, err);
    if (status != UM_OK)
        return status;
    if (strcmp(type, "Sequence") != 0)
        return fn(tok, object, type, where, err);
    const char *const keys[] = {"type", list_key};
    const json_t *list = json_object_get(object, list_key), *step;
    size_t i;
    status = um_tok_check_keys(object, keys, N(keys), where, err);
    if (status == UM_OK && !json_is_array(list))
        status = um_fail(err, UM_ERR_INPUT, "%s: %s is missing or not a list", where, list_key);
    if (status == UM_OK && depth == 0)
        status = um_fail(err, UM_ERR_LIMIT, "%s: Sequences nested deeper than 4", where);
    json_array_foreach(list, i, step)
    {
        if (status != UM_OK)
            break;
        status = is_absent(step) ? um_fail(err, UM_ERR_INPUT, "%s: step %zu is null", where, i)
                                 : each_step(tok, step, list_key, depth - 1, fn, where, err);
    }
    return status;
}

/* {"String": text} or {"Regex": text}; the other one is NULL. */
static um_status read_pattern(const char **string, const char **regex, const json_t *step,
                              const char *where, um_error *err)
{
    const json_t *pattern = json_object_get(step, "pattern");
    *string = json_string_value(json_object_get(pattern, "String"));
    *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *given = *string != NULL ? *string : *regex;
    if (json_object_size(pattern) != 1 || given == NULL || given[0] == '\0')
        return um_fail(err, UM_ERR_INPUT,
                       "%s: pattern must be {\"String\": text} or {\"Regex\": text}, not empty",
                       where);
    return UM_OK;
}

static um_status keep_text(um_tokenizer *tok, const char **out, const char *text, um_error *err)
{
    *out = um_arena_strdup(&tok->arena, text);
    return *out != NULL ? UM_OK : um_fail_memory(err, "tokenizer");
}

static um_status too_many_steps(const char *where, um_error *err)
{
    return um_fail(err, UM_ERR_LIMIT, "%s: more than %d steps", where, UM_TOK_MAX_STEPS);
}

/* Replace of the normalizer and of the decoder. */
static um_status read_replace(um_tokenizer *tok, um_tok_norm *out, const json_t *step,
                              const char *where, um_error *err)
{
    static const char *const keys[] = {"type", "pattern", "content"};
    const char *string, *regex, *content;
    um_status status = um_tok_check_keys(step, keys, N(keys), where, err);
    if (status == UM_OK)
        status = read_pattern(&string, &regex, step, where, err);
    if (status == UM_OK && string == NULL)
        status = um_fail(err, UM_ERR_UNSUPPORTED, "%s: Replace of a Regex is not supported", where);
    if (status == UM_OK)
        status = um_json_get_str(&content, step, "content", where, err);
    if (status == UM_OK)
        status = keep_text(tok, &out->from, string, err);
    if (status == UM_OK)
        status = keep_text(tok, &out->to, content, err);
    out->kind = UM_TOK_NORM_REPLACE;
    return status;
}

static um_status read_normalizer(um_tokenizer *tok, const json_t *step, const char *type,
                                 const char *where, um_error *err)
{
    static const char *const nfc_keys[] = {"type"};
    static const char *const prepend_keys[] = {"type", "prepend"};
    um_status status;
    if (tok->n_norm == UM_TOK_MAX_STEPS)
        return too_many_steps(where, err);
    um_tok_norm *out = &tok->norm[tok->n_norm++];
    if (strcmp(type, "NFC") == 0) {
        out->kind = UM_TOK_NORM_NFC;
        return um_tok_check_keys(step, nfc_keys, N(nfc_keys), where, err);
    }
    if (strcmp(type, "Replace") == 0)
        return read_replace(tok, out, step, where, err);
    if (strcmp(type, "Prepend") != 0)
        return refuse_type(where, type, err);
    const char *text;
    out->kind = UM_TOK_NORM_PREPEND;
    status = um_tok_check_keys(step, prepend_keys, N(prepend_keys), where, err);
    if (status == UM_OK)
        status = um_json_get_str(&text, step, "prepend", where, err);
    return status == UM_OK ? keep_text(tok, &out->to, text, err) : status;
}

static um_status add_split(um_tokenizer *tok, const char *pattern, const char *where, um_error *err)
{
    if (tok->n_split == UM_TOK_MAX_STEPS)
        return too_many_steps(where, err);
    um_status status = um_tok_regex_new(&tok->split[tok->n_split], pattern, where, err);
    tok->n_split += status == UM_OK;
    return status;
}

static um_status read_byte_level(um_tokenizer *tok, const json_t *step, const char *where,
                                 um_error *err)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex"};
    bool prefix, use_regex;
    um_status status = um_tok_check_keys(step, keys, N(keys), where, err);
    if (status == UM_OK)
        status = um_json_get_bool_or(&prefix, step, "add_prefix_space", true, where, err);
    if (status == UM_OK)
        status = um_json_get_bool_or(&use_regex, step, "use_regex", true, where, err);
    if (status != UM_OK)
        return status;
    if (prefix)
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: ByteLevel with add_prefix_space = true is not supported", where);
    tok->byte_level = true;
    return use_regex ? add_split(tok, um_tok_pattern_gpt2, where, err) : UM_OK;
}

static um_status read_split(um_tokenizer *tok, const json_t *step, const char *where, um_error *err)
{
    static const char *const keys[] = {"type", "pattern", "behavior", "invert"};
    const char *string, *regex, *behavior;
    um_status status = um_tok_check_keys(step, keys, N(keys), where, err);
    if (status == UM_OK)
        status = um_json_get_str(&behavior, step, "behavior", where, err);
    if (status == UM_OK && strcmp(behavior, "Isolated") != 0)
        status = um_fail(err, UM_ERR_UNSUPPORTED,
                         "%s: Split with behavior \"%.60s\" is not supported, only Isolated is",
                         where, behavior);
    if (status == UM_OK)
        status = read_pattern(&string, &regex, step, where, err);
    if (status != UM_OK || regex != NULL)
        return status == UM_OK ? add_split(tok, regex, where, err) : status;
    um_str quoted = UM_STR_INIT;
    for (const char *p = string; *p != '\0'; p++) {
        if (strchr("\\^$.|?*+()[]{}#-", *p) != NULL)
            um_str_append_char(&quoted, '\\');
        um_str_append_char(&quoted, *p);
    }
    status = um_str_status(&quoted, err);
    if (status == UM_OK)
        status = add_split(tok, um_str_text(&quoted), where, err);
    um_str_dispose(&quoted);
    return status;
}

static um_status read_pre_tokenizer(um_tokenizer *tok, const json_t *step, const char *type,
                                    const char *where, um_error *err)
{
    static const char *const digit_keys[] = {"type", "individual_digits"};
    if (tok->byte_level)
        return um_fail(err, UM_ERR_UNSUPPORTED, "%s: a step after ByteLevel is not supported",
                       where);
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(tok, step, where, err);
    if (strcmp(type, "Split") == 0)
        return read_split(tok, step, where, err);
    if (strcmp(type, "Digits") != 0)
        return refuse_type(where, type, err);
    bool individual;
    um_status status = um_tok_check_keys(step, digit_keys, N(digit_keys), where, err);
    if (status == UM_OK)
        status = um_json_get_bool_or(&individual, step, "individual_digits", false, where, err);
    return status == UM_OK ? add_split(tok, individual ? "\\p{N}" : "\\p{N}+", where, err) : status;
}

static um_status read_strip(um_tokenizer *tok, const json_t *step, const char *where, um_error *err)
{
    static const char *const keys[] = {"type", "content", "start", "stop"};
    const char *content;
    uint32_t c;
    um_status status = um_tok_check_keys(step, keys, N(keys), where, err);
    if (status == UM_OK)
        status = um_json_get_str(&content, step, "content", where, err);
    if (status == UM_OK)
        status = um_json_get_i64(&tok->strip_start, step, "start", where, err);
    if (status == UM_OK)
        status = um_json_get_i64(&tok->strip_stop, step, "stop", where, err);
    if (status != UM_OK)
        return status;
    size_t len = um_tok_utf8_next(content, strlen(content), &c);
    if (len == 0 || content[len] != '\0' || tok->strip_start < 0 || tok->strip_stop < 0)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: Strip needs content of one character, and start and stop >= 0", where);
    memcpy(tok->strip, content, len);
    return UM_OK;
}

/* Order matters: Replace and ByteFallback work on single tokens, so they stand before Fuse; Strip
 * is applied to the whole text, so it stands after it. */
typedef struct decoder_state {
    bool fused, stripped;
} decoder_state;

static um_status read_decoder_step(um_tokenizer *tok, decoder_state *state, const json_t *step,
                                   const char *where, um_error *err)
{
    const char *type;
    um_status status = um_json_get_str(&type, step, "type", where, err);
    if (status != UM_OK)
        return status;
    bool per_token = strcmp(type, "Replace") == 0 || strcmp(type, "ByteFallback") == 0;
    if (state->stripped || tok->decode_bytes || (per_token && (state->fused || tok->decode_hex)))
        return um_fail(err, UM_ERR_UNSUPPORTED, "%s: %.60s is not supported at this place", where,
                       type);
    if (strcmp(type, "Replace") == 0) {
        if (tok->n_decode_replace == UM_TOK_MAX_STEPS)
            return too_many_steps(where, err);
        return read_replace(tok, &tok->decode_replace[tok->n_decode_replace++], step, where, err);
    }
    if (strcmp(type, "ByteFallback") == 0) {
        tok->decode_hex = true;
    } else if (strcmp(type, "Fuse") == 0) {
        state->fused = true;
    } else if (strcmp(type, "Strip") == 0) {
        if (!state->fused)
            return um_fail(err, UM_ERR_UNSUPPORTED, "%s: Strip before Fuse is not supported",
                           where);
        state->stripped = true;
        return read_strip(tok, step, where, err);
    } else {
        return refuse_type(where, type, err);
    }
    return UM_OK;
}

static um_status read_decoder(um_tokenizer *tok, const json_t *decoder, const char *where,
                              um_error *err)
{
    static const char *const keys[] = {"type", "decoders"};
    const char *type;
    size_t i;
    const json_t *step;
    if (is_absent(decoder))
        return um_fail(err, UM_ERR_UNSUPPORTED, "%s: null is not supported", where);
    um_status status = um_json_get_str(&type, decoder, "type", where, err);
    if (status != UM_OK)
        return status;
    if (strcmp(type, "ByteLevel") == 0) {
        tok->decode_bytes = true;
        return UM_OK;
    }
    if (strcmp(type, "Sequence") != 0)
        return refuse_type(where, type, err);
    decoder_state state = {false, false};
    const json_t *list = json_object_get(decoder, "decoders");
    status = um_tok_check_keys(decoder, keys, N(keys), where, err);
    if (status == UM_OK && json_array_size(list) == 0)
        status = um_fail(err, UM_ERR_INPUT, "%s: decoders is missing, empty or not a list", where);
    json_array_foreach(list, i, step)
    {
        if (status != UM_OK)
            break;
        const char *inner = json_string_value(json_object_get(step, "type"));
        if (json_array_size(list) == 1 && inner != NULL && strcmp(inner, "ByteLevel") == 0)
            return read_decoder(tok, step, where, err);
        status = read_decoder_step(tok, &state, step, where, err);
    }
    if (status == UM_OK && !state.fused)
        status =
            um_fail(err, UM_ERR_UNSUPPORTED, "%s: a Sequence without Fuse is not supported", where);
    return status;
}

um_status um_tok_read_pipeline(um_tokenizer *tok, const json_t *document, const char *where,
                               um_error *err)
{
    char inside[512];
    snprintf(inside, sizeof inside, "%s: normalizer", where);
    um_status status = each_step(tok, json_object_get(document, "normalizer"), "normalizers", 4,
                                 read_normalizer, inside, err);
    if (status != UM_OK)
        return status;
    snprintf(inside, sizeof inside, "%s: pre_tokenizer", where);
    status = each_step(tok, json_object_get(document, "pre_tokenizer"), "pretokenizers", 4,
                       read_pre_tokenizer, inside, err);
    if (status != UM_OK)
        return status;
    snprintf(inside, sizeof inside, "%s: decoder", where);
    status = read_decoder(tok, json_object_get(document, "decoder"), inside, err);
    if (status == UM_OK && tok->byte_level != tok->decode_bytes)
        status = um_fail(err, UM_ERR_UNSUPPORTED,
                         "%s: ByteLevel must be both pre_tokenizer and decoder, or neither", where);
    return status;
}

/* Post-processor ------------------------------------------------------------------------------ */

static um_status read_template(um_tokenizer *tok, const json_t *step, const char *where,
                               um_error *err)
{
    static const char *const keys[] = {"type", "single", "pair", "special_tokens"};
    um_status status = um_tok_check_keys(step, keys, N(keys), where, err);
    if (status != UM_OK)
        return status;
    const json_t *special = json_object_get(step, "special_tokens");
    const json_t *first = json_array_get(json_object_get(step, "single"), 0);
    const json_t *opening = json_object_get(json_object_get(first, "SpecialToken"), "id");
    if (opening == NULL)
        return UM_OK;
    const char *name = json_string_value(opening);
    const json_t *ids =
        name == NULL ? NULL : json_object_get(json_object_get(special, name), "ids");
    const json_t *id = json_array_get(ids, 0);
    if (!json_is_integer(id) || json_integer_value(id) < 0 ||
        (size_t)json_integer_value(id) >= tok->n_tokens)
        return um_fail(
            err, UM_ERR_INPUT,
            "%s: the template opens with special token \"%.60s\", which has no id in the "
            "vocabulary",
            where, name == NULL ? "?" : name);
    tok->bos = (int32_t)json_integer_value(id);
    return UM_OK;
}

static um_status read_post_step(um_tokenizer *tok, const json_t *step, const char *type,
                                const char *where, um_error *err)
{
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(tok, step, where, err);
    return strcmp(type, "ByteLevel") == 0 ? UM_OK : refuse_type(where, type, err);
}

um_status um_tok_read_post_processor(um_tokenizer *tok, const json_t *document, const char *where,
                                     um_error *err)
{
    char inside[512];
    snprintf(inside, sizeof inside, "%s: post_processor", where);
    return each_step(tok, json_object_get(document, "post_processor"), "processors", 4,
                     read_post_step, inside, err);
}
