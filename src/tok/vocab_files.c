/*
 * vocab_files.c - vocab.json + merges.txt, the layout older repositories ship instead of
 * tokenizer.json, and the blank document that stands in for it.
 *
 * Those files do not say how text is split; the tokenizer_class of tokenizer_config.json does.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "tok/tok.h"

um_status um_tok_new_document(json_t **out, const char *pattern, bool nfc, bool ignore_merges,
                              um_error *err)
{
    json_t *byte_level =
        json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                  "trim_offsets", 1, "use_regex", pattern == um_tok_pattern_gpt2);
    json_t *pre = byte_level;
    if (pattern != um_tok_pattern_gpt2)
        pre = json_pack("{s:s, s:[{s:s, s:{s:s}, s:s, s:b}, o]}", "type", "Sequence",
                        "pretokenizers", "type", "Split", "pattern", "Regex", pattern, "behavior",
                        "Isolated", "invert", 0, byte_level);
    json_t *normalizer = nfc ? json_pack("{s:s}", "type", "NFC") : json_null();
    json_t *decoder = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 1,
                                "trim_offsets", 1, "use_regex", 1);
    json_t *model =
        json_pack("{s:s, s:n, s:n, s:n, s:n, s:b, s:b, s:b, s:{}, s:[]}", "type", "BPE", "dropout",
                  "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", 0,
                  "byte_fallback", 0, "ignore_merges", ignore_merges, "vocab", "merges");
    *out = json_pack("{s:s, s:n, s:n, s:[], s:o, s:o, s:n, s:o, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", "normalizer", normalizer,
                     "pre_tokenizer", pre, "post_processor", "decoder", decoder, "model", model);
    return *out != NULL ? UM_OK : um_fail_memory(err, "tokenizer document");
}

um_status um_tok_document_add(json_t *document, int64_t id, const char *content, bool special,
                              um_error *err)
{
    json_t *entry =
        json_pack("{s:I, s:s, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)id, "content", content,
                  "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", special);
    if (entry == NULL ||
        json_array_append_new(json_object_get(document, "added_tokens"), entry) != 0)
        return um_fail_memory(err, "added token");
    return UM_OK;
}

/* One string a line; a first line "#version: .." is a comment. */
static um_status read_merge_lines(json_t *merges, const char *path, um_error *err)
{
    char *text = NULL;
    size_t len = 0;
    um_status status = um_file_read(&text, &len, path, UM_TOK_FILE_MAX_BYTES, err);
    size_t line = 0;
    for (char *p = text; status == UM_OK && p < text + len;) {
        char *end = memchr(p, '\n', (size_t)(text + len - p));
        char *next = end != NULL ? end + 1 : text + len;
        size_t n = (size_t)((end != NULL ? end : next) - p);
        line++;
        if (n > 0 && p[n - 1] == '\r')
            n--;
        if (!um_utf8_valid(p, n) || memchr(p, 0, n) != NULL)
            status = um_fail(err, UM_ERR_INPUT, "%s:%zu: not UTF-8 text", path, line);
        else if (n > 0 && !(line == 1 && um_str_starts(p, "#version")) &&
                 json_array_append_new(merges, json_stringn(p, n)) != 0)
            status = um_fail_memory(err, "merges");
        p = next;
    }
    free(text);
    return status;
}

static bool is_listed(const json_t *added, const char *content)
{
    size_t i;
    json_t *entry;
    json_array_foreach(added, i,
                       entry) if (strcmp(json_string_value(json_object_get(entry, "content")),
                                         content) == 0) return true;
    return false;
}

/* added_tokens_decoder: {"151643": {"content": .., "special": .., ..}}. */
static um_status copy_added(json_t *document, const json_t *config, um_error *err)
{
    json_t *added = json_object_get(document, "added_tokens"), *value;
    const char *key;
    json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, value)
    {
        int64_t id;
        if (!um_parse_i64(key, &id) || !json_is_object(value) ||
            !json_is_string(json_object_get(value, "content")))
            return um_fail(err, UM_ERR_INPUT,
                           "tokenizer_config.json: added_tokens_decoder: bad entry \"%.60s\"", key);
        json_t *entry = json_copy(value);
        if (entry == NULL || json_object_set_new(entry, "id", json_integer(id)) != 0 ||
            json_array_append(added, entry) != 0) {
            json_decref(entry);
            return um_fail_memory(err, "added token");
        }
        json_decref(entry);
    }
    return UM_OK;
}

/* Tokens that the configuration names, and GPT-2's only special one, are special where they are
 * ordinary entries of vocab.json. */
static um_status add_named(json_t *document, const json_t *vocab, const json_t *config,
                           um_error *err)
{
    static const char *const keys[] = {"bos_token", "eos_token", "pad_token", "unk_token"};
    const char *names[5] = {"<|endoftext|>"};
    for (size_t i = 0; i < 4; i++)
        names[i + 1] = um_tok_config_token(config, keys[i]);
    for (size_t i = 0; i < 5; i++) {
        const json_t *id = names[i] == NULL ? NULL : json_object_get(vocab, names[i]);
        if (!json_is_integer(id) || is_listed(json_object_get(document, "added_tokens"), names[i]))
            continue;
        um_status status =
            um_tok_document_add(document, json_integer_value(id), names[i], true, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

static um_status choose_pattern(const json_t *config, const char **pattern, bool *nfc,
                                um_error *err)
{
    const char *class = json_string_value(json_object_get(config, "tokenizer_class"));
    *pattern = um_tok_pattern_gpt2;
    *nfc = false;
    if (json_is_true(json_object_get(config, "add_prefix_space")))
        return um_fail(err, UM_ERR_UNSUPPORTED,
                       "tokenizer_config.json: add_prefix_space = true is not supported");
    if (class == NULL || strcmp(class, "GPT2Tokenizer") == 0 ||
        strcmp(class, "GPT2TokenizerFast") == 0)
        return UM_OK;
    if (strcmp(class, "Qwen2Tokenizer") != 0 && strcmp(class, "Qwen2TokenizerFast") != 0)
        return um_fail(
            err, UM_ERR_UNSUPPORTED,
            "tokenizer_config.json: tokenizer_class \"%.60s\" needs a tokenizer.json; "
            "vocab.json and merges.txt suffice for GPT2Tokenizer and Qwen2Tokenizer only",
            class);
    *pattern = um_tok_pattern_qwen2;
    *nfc = true;
    return UM_OK;
}

um_status um_tok_load_vocab_files(um_tokenizer **out, const char *dir, json_t *config,
                                  um_error *err)
{
    char *vocab_path = NULL, *merges_path = NULL;
    json_t *document = NULL, *vocab = NULL;
    const char *pattern;
    bool nfc;
    um_status status = um_path_join(&vocab_path, dir, "vocab.json", err);
    if (status == UM_OK)
        status = um_path_join(&merges_path, dir, "merges.txt", err);
    if (status == UM_OK)
        status = choose_pattern(config, &pattern, &nfc, err);
    if (status == UM_OK)
        status = um_tok_new_document(&document, pattern, nfc, false, err);
    if (status == UM_OK)
        status = um_json_read(&vocab, vocab_path, UM_TOK_FILE_MAX_BYTES, err);
    if (status != UM_OK)
        goto done;
    json_t *model = json_object_get(document, "model");
    if (json_object_set(model, "vocab", vocab) != 0) {
        status = um_fail_memory(err, "vocabulary");
        goto done;
    }
    status = read_merge_lines(json_object_get(model, "merges"), merges_path, err);
    if (status == UM_OK)
        status = copy_added(document, config, err);
    if (status == UM_OK)
        status = add_named(document, vocab, config, err);
    if (status == UM_OK)
        status = um_tok_build(out, document, config, NULL, 0, vocab_path, err);
done:
    json_decref(document);
    json_decref(vocab);
    free(vocab_path);
    free(merges_path);
    return status;
}
