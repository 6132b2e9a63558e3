/*
 * jsonl.c - JSON for rows: one pass over the text (jsonl_pass.h), nothing allocated per value.
 *
 * A text that is refused is parsed again with jansson, only for the sake of its message: bad rows
 * are few, and a byte number helps. For that it is put as it was: NULs become quotes again, and
 * from the first escape on there is a copy, since strings were moved together there.
 */
#include "base/jsonl.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/json.h"
#include "base/jsonl_pass.h"

#define MAX_BYTES ((size_t)1 << UM_JWORD_BITS)

um_status um_jsonl_new(um_jsonl **out, um_error *err)
{
    um_jsonl *j = um_calloc(1, sizeof *j);
    if (j == NULL)
        return um_fail_memory(err, "a JSON parser");
    *out = j;
    return UM_OK;
}

void um_jsonl_free(um_jsonl *parser)
{
    if (parser == NULL)
        return;
    free(parser->copy);
    um_vec_dispose(&parser->tape);
    um_vec_dispose(&parser->keys);
    free(parser);
}

/* Puts a text of len bytes as it was. */
static void restore(const um_jsonl *j, size_t n_words, char *text, size_t len)
{
    const um_jdoc *d = &j->view;
    size_t n = 0;
    for (size_t at = 1; at < n_words; at++) {
        char kind = (char)(d->tape[at] >> 56);
        if (kind == '"') {
            size_t offset = (size_t)(um_jdoc_string(d, at, &n) - d->strings);
            text[offset + n] = '"';
        }
        at += kind == 'l' || kind == 'd';
    }
    if (j->rest != NULL)
        memcpy(j->rest, j->copy, (size_t)(text + len - j->rest));
}

static const char *kind_name(const json_t *value)
{
    return json_is_array(value)     ? "an array"
           : json_is_string(value)  ? "a string"
           : json_is_number(value)  ? "a number"
           : json_is_boolean(value) ? "true or false"
           : json_is_null(value)    ? "null"
                                    : "an object";
}

/* UM_ERR_INPUT with jansson's message. */
static um_status explain(const char *text, size_t len, um_error *err)
{
    um_error why;
    json_t *value = NULL;
    um_status status = um_json_parse(&value, text, len, "text", &why);
    if (status == UM_ERR_MEMORY)
        return um_fail_memory(err, "a JSON text");
    if (status != UM_OK) {
        /* "text: line 1 column 9: ...": the caller knows the line better. */
        const char *column = strstr(why.text, "column");
        return um_fail(err, UM_ERR_INPUT, "%s", column != NULL ? column : why.text);
    }
    if (!json_is_object(value))
        status = um_fail(err, UM_ERR_INPUT, "found %s where an object is needed", kind_name(value));
    else
        status = um_fail(err, UM_ERR_INPUT, "not JSON");
    json_decref(value);
    return status;
}

void um_jsonl_want(um_jsonl *j, const um_jkey *keys, size_t n)
{
    j->n_wanted = n < UM_JSONL_MAX_WANTED ? n : UM_JSONL_MAX_WANTED;
    for (size_t i = 0; i < j->n_wanted; i++)
        j->wanted[i] = keys[i];
    memset(j->habits, 0, sizeof j->habits);
    j->n_habits = j->oldest = 0;
}

/* Whether what text[0..len) was before it was overwritten is UTF-8. */
static bool was_utf8(const um_jsonl *j, const char *text, size_t len)
{
    if (j->rest == NULL) /* quotes became NULs, at most */
        return um_utf8_valid(text, len);
    const size_t before = (size_t)(j->rest - text); /* a backslash comes there */
    return um_utf8_valid(text, before) && um_utf8_valid(j->copy, len - before);
}

/* Parses text[0..len), text[len] = NUL, which is overwritten; `original` is as the caller gave it,
 * NULL where it is the text itself: that is then as before when it is refused. */
static um_status parse(um_jsonl *j, char *text, const char *original, size_t len, um_jval *root,
                       um_error *err)
{
    if (len + 4 > j->tape.cap) /* nothing of it is needed any more */
        um_vec_dispose(&j->tape);
    if (!um_vec_reserve(&j->tape, len + 4))
        return um_fail_memory(err, "a JSON text");
    um_jsonl_end end;
    j->view = (um_jdoc){.tape = j->tape.data,
                        .strings = text,
                        .members = j->members,
                        .n_bytes = len,
                        .is_plain = true};
    memset(j->members, 0, sizeof j->members);
    j->has_nul = j->lacks_memory = false;
    j->rest = NULL;
    j->saves_rest = original == NULL;
    bool good = um_jsonl_pass(j, text, &end) && end.text == text + len;
    if (good && end.has_high)
        good = original != NULL ? um_utf8_valid(original, len) : was_utf8(j, text, len);
    if (good) {
        j->view.n_words = end.n_words;
        *root = (um_jval){&j->view, 1};
        return UM_OK;
    }
    if (original == NULL)
        restore(j, end.n_words, text, len);
    return j->lacks_memory ? um_fail_memory(err, "a JSON text")
                           : explain(original != NULL ? original : text, len, err);
}

static um_status check_length(size_t len, um_error *err)
{
    return len < MAX_BYTES
               ? UM_OK
               : um_fail(err, UM_ERR_INPUT, "%zu bytes of JSON, limit %zu", len, MAX_BYTES - 1);
}

um_status um_jsonl_parse(um_jsonl *j, const char *text, size_t len, um_jval *root, um_error *err)
{
    um_status status = check_length(len, err);
    if (status != UM_OK)
        return status;
    if (!um_jsonl_reserve_copy(j, len))
        return um_fail_memory(err, "a JSON text");
    memcpy(j->copy, text, len);
    j->copy[len] = '\0';
    return parse(j, j->copy, text, len, root, err);
}

um_status um_jsonl_parse_in_place(um_jsonl *j, char *text, size_t len, um_jval *root, um_error *err)
{
    um_status status = check_length(len, err);
    if (status != UM_OK)
        return status;
    text[len] = '\0';
    return parse(j, text, NULL, len, root, err);
}

bool um_jsonl_has_nul(const um_jsonl *parser)
{
    return parser->has_nul;
}
