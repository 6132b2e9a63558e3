/* tok_util.h - what the tokenizer tests share: small tokenizer files, and comparing ids. */
#ifndef UM_TOK_UTIL_H
#define UM_TOK_UTIL_H

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "mirrorer/tokenizer.h"
#include "test_util.h"

/* Writes dir/name. */
static inline void put_file(const char *dir, const char *name, const char *text)
{
    char path[512];
    um_error err;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(um_file_write(path, text, strlen(text), &err), err);
}

/* The tokenizer of a tokenizer.json with this text. */
static inline um_status load_text(um_tokenizer **out, const char *json, um_error *err)
{
    char dir[256];
    assert_non_null(make_dir(dir, sizeof dir));
    put_file(dir, "tokenizer.json", json);
    um_status status = um_tokenizer_load(out, dir, err);
    remove_dir(dir);
    return status;
}

static inline um_tokenizer *load_golden(const char *name)
{
    char dir[512];
    um_error err;
    um_tokenizer *tok = NULL;
    snprintf(dir, sizeof dir, "%s/tests/golden/tokenizer/%s", UM_SOURCE_DIR, name);
    assert_ok(um_tokenizer_load(&tok, dir, &err), err);
    return tok;
}

static inline void assert_ids(const um_tokens *got, const int32_t *want, size_t n, const char *text)
{
    bool same = got->len == n && (n == 0 || memcmp(got->ids, want, n * sizeof *want) == 0);
    if (same)
        return;
    um_str s = UM_STR_INIT;
    um_str_appendf(&s, "\"%s\": got", text);
    for (size_t i = 0; i < got->len; i++)
        um_str_appendf(&s, " %d", (int)got->ids[i]);
    um_str_append(&s, ", want");
    for (size_t i = 0; i < n; i++)
        um_str_appendf(&s, " %d", (int)want[i]);
    print_error("%s\n", um_str_text(&s));
    um_str_dispose(&s);
    fail();
}

static inline void assert_encodes(const um_tokenizer *tok, const char *text, size_t len,
                                  bool special, const int32_t *want, size_t n)
{
    um_error err;
    um_tokens got = {0};
    assert_ok(um_tokenizer_encode(tok, text, len, special, &got, &err), err);
    assert_ids(&got, want, n, text);
    um_tokens_dispose(&got);
}

/* ids of a JSON list of integers; free them. */
static inline int32_t *json_ids(const json_t *list, size_t *n)
{
    *n = json_array_size(list);
    int32_t *ids = calloc(*n + 1, sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return ids;
}

/* text -> ids -> text gives the same bytes. */
static inline void assert_round_trip(const um_tokenizer *tok, const char *text, size_t len)
{
    um_error err;
    um_tokens ids = {0};
    char *back = NULL;
    size_t back_len = 0;
    assert_ok(um_tokenizer_encode(tok, text, len, false, &ids, &err), err);
    assert_ok(um_tokenizer_decode(tok, ids.ids, ids.len, false, &back, &back_len, &err), err);
    assert_int_equal(back_len, len);
    assert_memory_equal(back, text, len);
    free(back);
    um_tokens_dispose(&ids);
}

#endif
