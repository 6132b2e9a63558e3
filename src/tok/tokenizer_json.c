/*
 * tokenizer_json.c - the vocabulary part of Hugging Face tokenizer.json.
 *
 *   {"version": "1.0", "truncation": null, "padding": null,
 *    "added_tokens": [{"id", "content", "single_word", "lstrip", "rstrip", "normalized",
 * "special"}], "normalizer", "pre_tokenizer", "post_processor", "decoder",        ->
 * pipeline_json.c "model": {"type": "BPE", "dropout", "unk_token", "continuing_subword_prefix",
 *              "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges",
 *              "vocab": {text: id}, "merges": ["left right", ..] or [["left", "right"], ..]}}
 *
 * Ids run from 0 without a gap over vocabulary and added tokens together. An added token that the
 * vocabulary holds too has the vocabulary's id.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tok/tok.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static um_status place_token(um_tokenizer *tok, const char *text, int64_t id, const char *where,
                             um_error *err)
{
    size_t len = strlen(text);
    if (id < 0 || id > INT32_MAX)
        return um_fail(err, UM_ERR_INPUT, "%s: id %lld of token \"%.60s\" is not in 0..2147483647",
                       where, (long long)id, text);
    if ((size_t)id >= tok->n_tokens)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: id %lld of token \"%.60s\" leaves a gap: %zu tokens must have the ids "
                       "0..%zu",
                       where, (long long)id, text, tok->n_tokens, tok->n_tokens - 1);
    if (len == 0)
        return um_fail(err, UM_ERR_INPUT, "%s: token of id %lld is empty", where, (long long)id);
    if (len > UM_TOK_TEXT_MAX_BYTES)
        return um_fail(err, UM_ERR_LIMIT, "%s: token of id %lld has %zu bytes, limit %zu", where,
                       (long long)id, len, UM_TOK_TEXT_MAX_BYTES);
    um_tok_token *t = &tok->tokens[id];
    if (t->text != NULL)
        return um_fail(err, UM_ERR_INPUT, "%s: id %lld is given to both \"%.60s\" and \"%.60s\"",
                       where, (long long)id, t->text, text);
    t->text = um_arena_strndup(&tok->arena, text, len);
    if (t->text == NULL)
        return um_fail_memory(err, "token");
    t->text_len = (uint32_t)len;
    if (len > tok->longest_text)
        tok->longest_text = len;
    return UM_OK;
}

static um_status read_vocab(um_tokenizer *tok, json_t *vocab, const char *where, um_error *err)
{
    const char *text;
    json_t *value;
    json_object_foreach(vocab, text, value)
    {
        if (!json_is_integer(value))
            return um_fail(err, UM_ERR_INPUT, "%s: model.vocab: id of \"%.60s\" is not an integer",
                           where, text);
        um_status status = place_token(tok, text, json_integer_value(value), where, err);
        if (status != UM_OK)
            return status;
        tok->tokens[json_integer_value(value)].model = true;
    }
    return UM_OK;
}

static um_status read_added_token(um_tokenizer *tok, const json_t *vocab, const json_t *entry,
                                  const char *where, um_error *err)
{
    static const char *const keys[] = {"id",     "content",    "single_word", "lstrip",
                                       "rstrip", "normalized", "special"};
    int64_t id;
    const char *content;
    bool single_word, lstrip, rstrip, normalized, special;
    um_status status = um_tok_check_keys(entry, keys, N(keys), where, err);
    if (status != UM_OK || (status = um_json_get_i64(&id, entry, "id", where, err)) != UM_OK ||
        (status = um_json_get_str(&content, entry, "content", where, err)) != UM_OK ||
        (status = um_json_get_bool_or(&single_word, entry, "single_word", false, where, err)) !=
            UM_OK ||
        (status = um_json_get_bool_or(&lstrip, entry, "lstrip", false, where, err)) != UM_OK ||
        (status = um_json_get_bool_or(&rstrip, entry, "rstrip", false, where, err)) != UM_OK ||
        (status = um_json_get_bool_or(&normalized, entry, "normalized", false, where, err)) !=
            UM_OK ||
        (status = um_json_get_bool_or(&special, entry, "special", false, where, err)) != UM_OK)
        return status;
    if (single_word)
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "%s: \"%.60s\": single_word = true is not supported", where, content);
    const json_t *held = json_object_get(vocab, content);
    if (held == NULL) {
        status = place_token(tok, content, id, where, err);
        if (status != UM_OK)
            return status;
    } else if (json_integer_value(held) != id) {
        return um_fail(err, UM_ERR_INPUT,
                       "%s: \"%.60s\" has id %lld, but id %lld in the vocabulary", where, content,
                       (long long)id, (long long)json_integer_value(held));
    }
    um_tok_token *t = &tok->tokens[id];
    if (t->added)
        return um_fail(err, UM_ERR_INPUT, "%s: \"%.60s\" is listed twice", where, content);
    t->added = true;
    t->special = special;
    t->lstrip = lstrip;
    t->rstrip = rstrip;
    t->normalized = normalized;
    return UM_OK;
}

/* The token table: sized by counting, so that a gap or a huge id cannot make it grow. */
static um_status read_tokens(um_tokenizer *tok, json_t *vocab, const json_t *added,
                             const char *where, um_error *err)
{
    size_t n = json_object_size(vocab), i;
    const json_t *entry;
    if (!json_is_array(added) && added != NULL && !json_is_null(added))
        return um_fail(err, UM_ERR_INPUT, "%s: added_tokens is not a list", where);
    json_array_foreach(added, i, entry)
    {
        const char *content = json_string_value(json_object_get(entry, "content"));
        n += content == NULL || json_object_get(vocab, content) == NULL;
    }
    if (n == 0 || n > UM_TOK_MAX_TOKENS)
        return um_fail(err, UM_ERR_LIMIT, "%s: %zu tokens, need 1..%zu", where, n,
                       UM_TOK_MAX_TOKENS);
    tok->tokens = um_calloc(n, sizeof *tok->tokens);
    if (tok->tokens == NULL)
        return um_fail_memory(err, "vocabulary");
    tok->n_tokens = n;
    um_status status = read_vocab(tok, vocab, where, err);
    json_array_foreach(added, i, entry)
    {
        char inside[512];
        if (status != UM_OK)
            return status;
        snprintf(inside, sizeof inside, "%s: added_tokens[%zu]", where, i);
        status = read_added_token(tok, vocab, entry, inside, err);
    }
    if (status != UM_OK)
        return status;
    status = um_tok_index_new(&tok->by_text, n, false, err);
    for (i = 0; i < n && status == UM_OK; i++) {
        if (tok->tokens[i].text == NULL)
            return um_fail(err, UM_ERR_INPUT, "%s: no token has id %zu, the ids leave a gap", where,
                           i);
        if (tok->tokens[i].model)
            um_tok_index_add(tok, &tok->by_text, (int32_t)i);
    }
    return status;
}

/* Merges -------------------------------------------------------------------------------------- */

static um_status find_side(const um_tokenizer *tok, int32_t *id, const char *text, size_t len,
                           size_t rank, const char *where, um_error *err)
{
    *id = um_tok_index_find(tok, &tok->by_text, text, len);
    if (*id >= 0)
        return UM_OK;
    return um_fail(err, UM_ERR_INPUT,
                   "%s: merge %zu names \"%.*s\", which is not in the vocabulary", where, rank,
                   (int)(len < 60 ? len : 60), text);
}

static um_status read_merge_string(const um_tokenizer *tok, um_tok_pair *pair, const char *text,
                                   size_t rank, const char *where, um_error *err)
{
    const char *gap = strchr(text, ' ');
    size_t parts = 1;
    for (const char *p = text; *p != '\0'; p++)
        parts += *p == ' ';
    if (parts != 2)
        return um_fail(err, UM_ERR_INPUT, "%s: merge %zu (\"%.60s\") has %zu parts, need 2", where,
                       rank, text, parts);
    um_status status = find_side(tok, &pair->left, text, (size_t)(gap - text), rank, where, err);
    if (status == UM_OK)
        status = find_side(tok, &pair->right, gap + 1, strlen(gap + 1), rank, where, err);
    return status;
}

static um_status read_merge_pair(const um_tokenizer *tok, um_tok_pair *pair, const json_t *entry,
                                 size_t rank, const char *where, um_error *err)
{
    if (json_array_size(entry) != 2)
        return um_fail(err, UM_ERR_INPUT, "%s: merge %zu has %zu parts, need 2", where, rank,
                       json_array_size(entry));
    const char *left = json_string_value(json_array_get(entry, 0));
    const char *right = json_string_value(json_array_get(entry, 1));
    if (left == NULL || right == NULL)
        return um_fail(err, UM_ERR_INPUT, "%s: merge %zu holds something that is not a string",
                       where, rank);
    um_status status = find_side(tok, &pair->left, left, strlen(left), rank, where, err);
    if (status == UM_OK)
        status = find_side(tok, &pair->right, right, strlen(right), rank, where, err);
    return status;
}

static um_status read_merges(um_tokenizer *tok, const json_t *merges, const char *where,
                             um_error *err)
{
    size_t n = json_array_size(merges), i;
    const json_t *entry;
    if (!json_is_array(merges))
        return um_fail(err, UM_ERR_INPUT, "%s: model.merges is not a list", where);
    if (n > UM_TOK_MAX_MERGES)
        return um_fail(err, UM_ERR_LIMIT, "%s: %zu merges, limit %zu", where, n, UM_TOK_MAX_MERGES);
    tok->merges = um_calloc(n, sizeof *tok->merges);
    if (tok->merges == NULL)
        return um_fail_memory(err, "merges");
    json_array_foreach(merges, i, entry)
    {
        um_tok_pair *pair = &tok->merges[tok->n_merges];
        um_status status;
        if (json_is_string(entry) && um_str_starts(json_string_value(entry), "#version"))
            continue;
        if (json_is_string(entry))
            status = read_merge_string(tok, pair, json_string_value(entry), i, where, err);
        else if (json_is_array(entry))
            status = read_merge_pair(tok, pair, entry, i, where, err);
        else
            status = um_fail(err, UM_ERR_INPUT, "%s: merge %zu is neither a string nor a list",
                             where, i);
        if (status != UM_OK)
            return status;
        tok->n_merges++;
    }
    return UM_OK;
}

static um_status copy_merges(um_tokenizer *tok, const um_tok_pair *merges, size_t n, um_error *err)
{
    tok->merges = um_calloc(n, sizeof *merges);
    if (tok->merges == NULL)
        return um_fail_memory(err, "merges");
    if (n > 0)
        memcpy(tok->merges, merges, n * sizeof *merges);
    tok->n_merges = n;
    return UM_OK;
}

/* Model --------------------------------------------------------------------------------------- */

static um_status refuse_affix(const json_t *model, const char *key, const char *where,
                              um_error *err)
{
    const json_t *value = json_object_get(model, key);
    if (value == NULL || json_is_null(value) ||
        (json_is_string(value) && json_string_length(value) == 0))
        return UM_OK;
    return um_fail(err, UM_ERR_UNSUPPORTED, "%s: model.%s is not supported", where, key);
}

static um_status check_model(const json_t *model, const char *where, um_error *err)
{
    static const char *const keys[] = {
        "type",          "dropout",       "unk_token",
        "fuse_unk",      "byte_fallback", "continuing_subword_prefix",
        "ignore_merges", "vocab",         "end_of_word_suffix",
        "merges"};
    char inside[512];
    snprintf(inside, sizeof inside, "%s: model", where);
    if (!json_is_object(model))
        return um_fail(err, UM_ERR_INPUT, "%s is not an object", inside);
    const json_t *type = json_object_get(model, "type");
    if (type != NULL && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0))
        return um_fail(err, UM_ERR_UNSUPPORTED, "%s: type \"%.60s\" is not supported, only BPE is",
                       inside, json_is_string(type) ? json_string_value(type) : "?");
    um_status status = um_tok_check_keys(model, keys, N(keys), inside, err);
    if (status == UM_OK)
        status = refuse_affix(model, "continuing_subword_prefix", where, err);
    if (status == UM_OK)
        status = refuse_affix(model, "end_of_word_suffix", where, err);
    if (status != UM_OK)
        return status;
    double dropout;
    status = um_json_get_f64_or(&dropout, model, "dropout", 0, inside, err);
    if (status == UM_OK && dropout != 0)
        status = um_fail(err, UM_ERR_UNSUPPORTED, "%s: dropout %g is not supported, need 0 or null",
                         inside, dropout);
    if (status == UM_OK && !json_is_object(json_object_get(model, "vocab")))
        status = um_fail(err, UM_ERR_INPUT, "%s: vocab is missing or not an object", inside);
    return status;
}

static um_status read_model_flags(um_tokenizer *tok, const json_t *model, const char *where,
                                  um_error *err)
{
    um_status status = um_json_get_bool_or(&tok->fuse_unk, model, "fuse_unk", false, where, err);
    if (status == UM_OK)
        status =
            um_json_get_bool_or(&tok->byte_fallback, model, "byte_fallback", false, where, err);
    if (status == UM_OK)
        status =
            um_json_get_bool_or(&tok->ignore_merges, model, "ignore_merges", false, where, err);
    const json_t *unk = json_object_get(model, "unk_token");
    if (status != UM_OK || unk == NULL || json_is_null(unk))
        return status;
    if (!json_is_string(unk))
        return um_fail(err, UM_ERR_INPUT, "%s: model.unk_token is not a string", where);
    tok->unk =
        um_tok_index_find(tok, &tok->by_text, json_string_value(unk), json_string_length(unk));
    if (tok->unk < 0)
        return um_fail(err, UM_ERR_INPUT, "%s: model.unk_token \"%.60s\" is not in the vocabulary",
                       where, json_string_value(unk));
    return UM_OK;
}

static um_status check_document(const json_t *document, const char *where, um_error *err)
{
    static const char *const keys[] = {"version",        "truncation", "padding",
                                       "added_tokens",   "normalizer", "pre_tokenizer",
                                       "post_processor", "decoder",    "model"};
    static const char *const must_be_null[] = {"truncation", "padding"};
    if (!json_is_object(document))
        return um_fail(err, UM_ERR_INPUT, "%s: not a JSON object", where);
    um_status status = um_tok_check_keys(document, keys, N(keys), where, err);
    for (size_t i = 0; i < N(must_be_null) && status == UM_OK; i++) {
        const json_t *value = json_object_get(document, must_be_null[i]);
        if (value != NULL && !json_is_null(value))
            status = um_fail(err, UM_ERR_UNSUPPORTED, "%s: %s is not supported, need null", where,
                             must_be_null[i]);
    }
    return status;
}

um_status um_tok_check_keys(const json_t *object, const char *const *allowed, size_t n,
                            const char *where, um_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return um_fail(err, UM_ERR_INPUT, "%s: not an object", where);
    /* json_object_foreach only reads, but jansson's iterators take a mutable object. */
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        size_t i = 0;
        while (i < n && strcmp(key, allowed[i]) != 0)
            i++;
        if (i == n)
            return um_fail(err, UM_ERR_UNSUPPORTED, "%s: unknown key \"%.60s\"", where, key);
    }
    return UM_OK;
}

um_status um_tok_build(um_tokenizer **out, json_t *document, json_t *config,
                       const um_tok_pair *merges, size_t n_merges, const char *where, um_error *err)
{
    json_t *model = json_object_get(document, "model");
    um_status status = UM_OK;
    um_tokenizer *tok = um_calloc(1, sizeof *tok);
    if (tok == NULL)
        return um_fail_memory(err, "tokenizer");
    tok->unk = tok->bos = tok->eos = -1;
    status = check_document(document, where, err);
    if (status == UM_OK)
        status = check_model(model, where, err);
    if (status == UM_OK)
        status = read_tokens(tok, json_object_get(model, "vocab"),
                             json_object_get(document, "added_tokens"), where, err);
    if (status == UM_OK)
        status = read_model_flags(tok, model, where, err);
    if (status == UM_OK)
        status = merges != NULL ? copy_merges(tok, merges, n_merges, err)
                                : read_merges(tok, json_object_get(model, "merges"), where, err);
    if (status == UM_OK)
        status = um_tok_read_pipeline(tok, document, where, err);
    if (status == UM_OK)
        status = um_tok_read_post_processor(tok, document, where, err);
    if (status == UM_OK)
        status = um_tok_finish(tok, where, err);
    if (status != UM_OK)
        goto done;
    json_object_del(model, "vocab");
    json_object_del(model, "merges");
    tok->frame = json_incref(document);
    if (config == NULL) {
        status = um_tok_default_config(tok, err);
        if (status != UM_OK)
            goto done;
    } else {
        tok->config = json_incref(config);
    }
    const char *eos = um_tok_config_token(tok->config, "eos_token");
    if (eos != NULL) {
        tok->eos = um_tokenizer_find(tok, eos);
        if (tok->eos < 0) {
            status = um_fail(err, UM_ERR_INPUT,
                             "%s: eos_token \"%.60s\" of tokenizer_config.json is not a token",
                             where, eos);
            goto done;
        }
    }
    status = um_tok_chat_read(tok, config != NULL, err);
    if (status != UM_OK)
        goto done;
    *out = tok;
    tok = NULL;
done:
    um_tokenizer_free(tok);
    return status;
}
