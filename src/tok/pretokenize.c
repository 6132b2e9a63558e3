/*
 * pretokenize.c - cutting text into words with regular expressions (PCRE2, UTF mode, JIT).
 *
 * The patterns of tokenizer.json are written for Oniguruma (Ruby syntax), where `^` and `$` work on
 * lines; hence PCRE2_MULTILINE. What the two libraries read differently otherwise is refused.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "tok/tok.h"

/* Steps of the matcher on one match, and its memory, before the pattern is called hopeless. */
#define MATCH_LIMIT       5000000
#define HEAP_LIMIT_KB     (128u << 10)
#define PATTERN_MAX_BYTES 4096

const char um_tok_pattern_gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char um_tok_pattern_llama3[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const char um_tok_pattern_qwen2[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

struct um_tok_regex {
    char *pattern; /* as the file has it */
    pcre2_code *code;
};

/* Names a construct that PCRE2 would read differently from Oniguruma; NULL when there is none. */
static const char *foreign_construct(const char *pattern)
{
    bool in_set = false;
    for (const char *p = pattern; *p != '\0'; p++) {
        if (*p == '\\' && (p[1] == 'h' || p[1] == 'H'))
            return "\\h";
        if (*p == '[' && in_set)
            return "a set inside a set";
        if (*p == '&' && p[1] == '&' && in_set)
            return "&& in a set";
        if (*p == '}' && p[1] == '+' && !in_set)
            for (const char *q = p - 1; q > pattern && strchr("0123456789,", *q) != NULL; q--)
                if (q[-1] == '{')
                    return "{n,m}+";
        if (*p == '\\' && p[1] != '\0')
            p++;
        else
            in_set = *p == '[' || (in_set && *p != ']');
    }
    return NULL;
}

um_status um_tok_regex_new(um_tok_regex **out, const char *pattern, const char *where,
                           um_error *err)
{
    um_status status = UM_OK;
    um_tok_regex *regex = um_calloc(1, sizeof *regex);
    if (regex == NULL)
        return um_fail_memory(err, "split pattern");
    if (strlen(pattern) > PATTERN_MAX_BYTES) {
        status = um_fail(err, UM_ERR_LIMIT, "%s: split pattern of %zu bytes, limit %d", where,
                         strlen(pattern), PATTERN_MAX_BYTES);
        goto done;
    }
    const char *foreign = foreign_construct(pattern);
    if (foreign != NULL) {
        status = um_fail(err, UM_ERR_UNSUPPORTED,
                         "%s: split pattern with %s is not supported; pattern %.120s", where,
                         foreign, pattern);
        goto done;
    }
    regex->pattern = um_strdup(pattern);
    if (regex->pattern == NULL) {
        status = um_fail_memory(err, "split pattern");
        goto done;
    }
    int code = 0;
    PCRE2_SIZE at = 0;
    regex->code = pcre2_compile((PCRE2_SPTR)pattern, strlen(pattern),
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                                &code, &at, NULL);
    if (regex->code == NULL && code == PCRE2_ERROR_HEAP_FAILED) {
        status = um_fail_memory(err, "split pattern");
        goto done;
    }
    if (regex->code == NULL) {
        char reason[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
        status =
            um_fail(err, UM_ERR_INPUT, "%s: split pattern does not compile: %s; pattern %.120s",
                    where, reason, pattern);
        goto done;
    }
    uint32_t may_be_empty = 0;
    pcre2_pattern_info(regex->code, PCRE2_INFO_MATCHEMPTY, &may_be_empty);
    if (may_be_empty) {
        status =
            um_fail(err, UM_ERR_UNSUPPORTED,
                    "%s: split pattern can match nothing, which is not supported; pattern %.120s",
                    where, pattern);
        goto done;
    }
    /* Without JIT support the interpreter gives the same matches. */
    (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
done:
    if (status == UM_OK)
        *out = regex;
    else
        um_tok_regex_free(regex);
    return status;
}

void um_tok_regex_free(um_tok_regex *regex)
{
    if (regex == NULL)
        return;
    pcre2_code_free(regex->code);
    free(regex->pattern);
    free(regex);
}

const char *um_tok_regex_pattern(const um_tok_regex *regex)
{
    return regex->pattern;
}

/* Splitting ----------------------------------------------------------------------------------- */

typedef struct splitter {
    um_tok_regex *const *split;
    size_t n_split;
    um_tok_word_fn word;
    void *context;
    pcre2_match_data *match;
    pcre2_match_context *limits;
} splitter;

/* The first match at or after `from`; *found false when there is none. text is valid UTF-8. */
static um_status find_match(splitter *s, const um_tok_regex *regex, const char *text, size_t len,
                            size_t from, bool *found, size_t match[2], um_error *err)
{
    int rc = pcre2_match(regex->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK, s->match,
                         s->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(regex->code, (PCRE2_SPTR)text, len, from,
                         PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, s->match, s->limits);
    *found = rc >= 0;
    if (rc >= 0) {
        const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(s->match);
        match[0] = ends[0];
        match[1] = ends[1];
        if (ends[0] < from || ends[1] <= ends[0])
            return um_fail(
                err, UM_ERR_UNSUPPORTED,
                "tokenizer: split pattern moved backwards or matched nothing; pattern %.120s",
                regex->pattern);
        return UM_OK;
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return UM_OK;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return um_fail_memory(err, "pattern matching");
    if (rc == PCRE2_ERROR_MATCHLIMIT || rc == PCRE2_ERROR_HEAPLIMIT || rc == PCRE2_ERROR_DEPTHLIMIT)
        return um_fail(err, UM_ERR_LIMIT,
                       "tokenizer: split pattern needs more than %d steps at byte %zu of the text; "
                       "pattern %.120s",
                       MATCH_LIMIT, from, regex->pattern);
    char reason[128] = "";
    pcre2_get_error_message(rc, (PCRE2_UCHAR *)reason, sizeof reason);
    return um_fail(err, UM_ERR_INTERNAL, "tokenizer: split pattern failed: %s", reason);
}

/* Applies patterns step, step + 1, ...: matches and what lies between them are pieces alike. */
static um_status split_valid(splitter *s, size_t step, const char *text, size_t len, um_error *err)
{
    if (step == s->n_split)
        return s->word(s->context, text, len, err);
    um_status status;
    size_t at = 0;
    while (at < len) {
        bool found;
        size_t match[2] = {len, len};
        status = find_match(s, s->split[step], text, len, at, &found, match, err);
        if (status != UM_OK)
            return status;
        if (match[0] > at) {
            status = split_valid(s, step + 1, text + at, match[0] - at, err);
            if (status != UM_OK)
                return status;
        }
        if (!found)
            break;
        status = split_valid(s, step + 1, text + match[0], match[1] - match[0], err);
        if (status != UM_OK)
            return status;
        at = match[1];
    }
    return UM_OK;
}

um_status um_tok_split(um_tok_regex *const *split, size_t n_split, const char *text, size_t len,
                       um_tok_word_fn word, void *context, um_error *err)
{
    if (len == 0)
        return UM_OK;
    if (n_split == 0)
        return word(context, text, len, err);
    um_status status = UM_OK;
    splitter s = {split,
                  n_split,
                  word,
                  context,
                  pcre2_match_data_create(1, NULL),
                  pcre2_match_context_create(NULL)};
    if (s.match == NULL || s.limits == NULL) {
        status = um_fail_memory(err, "pattern matching");
        goto done;
    }
    pcre2_set_match_limit(s.limits, MATCH_LIMIT);
    pcre2_set_heap_limit(s.limits, HEAP_LIMIT_KB);
    for (size_t at = 0; at < len && status == UM_OK;) {
        uint32_t c;
        size_t end = at, n;
        while (end < len && (n = um_tok_utf8_next(text + end, len - end, &c)) > 0)
            end += n;
        if (end > at)
            status = split_valid(&s, 0, text + at, end - at, err);
        at = end;
        while (end < len && um_tok_utf8_next(text + end, len - end, &c) == 0)
            end++;
        if (end > at && status == UM_OK)
            status = word(context, text + at, end - at, err);
        at = end;
    }
done:
    pcre2_match_data_free(s.match);
    pcre2_match_context_free(s.limits);
    return status;
}
