/*
 * tiktoken.c - Llama 3's tokenizer.model: one line a token, "<base64 of its bytes> <rank>".
 *
 * The rank of a token is its id, and a pair may merge when its bytes joined are a token, lower
 * ranks first. As merges: every way to cut a token in two tokens, in order of (rank, left, right).
 * The 256 special tokens after the ranks, and the split pattern, are not in the file but fixed.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "tok/tok.h"

#define LLAMA3_RANKS         128000
#define LLAMA3_SPECIAL       256
#define RANK_TOKEN_MAX_BYTES 512

typedef struct rank_file {
    um_arena arena;
    um_map ids;         /* token text -> id */
    const char **texts; /* by id, in the byte alphabet */
    size_t n;
    UM_VEC(um_tok_pair) merges;
} rank_file;

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decoded length, 0 when text is not base64 with padding or is too long for out. */
static size_t decode_base64(const char *text, size_t len, char *out, size_t cap)
{
    size_t n = 0;
    if (len == 0 || len % 4 != 0 || len / 4 * 3 > cap)
        return 0;
    size_t padding =
        (size_t)(text[len - 1] == '=') + (text[len - 1] == '=' && text[len - 2] == '=');
    for (size_t i = 0; i < len; i += 4) {
        uint32_t bits = 0;
        for (size_t k = 0; k < 4; k++) {
            int digit = i + k >= len - padding ? 0 : base64_digit(text[i + k]);
            if (digit < 0)
                return 0;
            bits = bits << 6 | (uint32_t)digit;
        }
        out[n++] = (char)(bits >> 16);
        out[n++] = (char)(bits >> 8);
        out[n++] = (char)bits;
    }
    return n - padding;
}

static um_status add_rank(rank_file *f, const char *line, size_t len, const char *path,
                          um_error *err)
{
    char bytes[RANK_TOKEN_MAX_BYTES];
    char digits[24] = "";
    const char *gap = memchr(line, ' ', len);
    size_t n = gap == NULL ? 0 : decode_base64(line, (size_t)(gap - line), bytes, sizeof bytes);
    int64_t rank = -1;
    bool inserted = false;
    if (n > 0 && len - (size_t)(gap + 1 - line) < sizeof digits)
        memcpy(digits, gap + 1, len - (size_t)(gap + 1 - line));
    if (n == 0 || !um_parse_i64(digits, &rank))
        return um_fail(err, UM_ERR_INPUT,
                       "%s:%zu: not a line \"<base64> <rank>\"; a SentencePiece model needs its "
                       "tokenizer.json beside it",
                       path, f->n + 1);
    if (rank != (int64_t)f->n)
        return um_fail(err, UM_ERR_INPUT, "%s:%zu: rank %lld, need %zu", path, f->n + 1,
                       (long long)rank, f->n);
    um_str text = UM_STR_INIT;
    um_tok_append_byte_text(&text, bytes, n);
    um_status status = um_str_status(&text, err);
    const char *copy = status == UM_OK ? um_arena_strdup(&f->arena, text.data) : NULL;
    um_str_dispose(&text);
    if (copy == NULL || !um_map_put(&f->ids, copy, (uint32_t)rank, &inserted))
        return um_fail_memory(err, "vocabulary");
    if (!inserted)
        return um_fail(err, UM_ERR_INPUT, "%s:%zu: the token is there twice", path, f->n + 1);
    f->texts[f->n++] = copy;
    return UM_OK;
}

static um_status read_ranks(rank_file *f, const char *path, um_error *err)
{
    char *data = NULL;
    size_t len = 0;
    um_status status = um_file_read(&data, &len, path, UM_TOK_FILE_MAX_BYTES, err);
    for (char *p = data; status == UM_OK && p < data + len;) {
        char *end = memchr(p, '\n', (size_t)(data + len - p));
        size_t n = (size_t)((end != NULL ? end : data + len) - p);
        if (f->n == LLAMA3_RANKS)
            status =
                um_fail(err, UM_ERR_UNSUPPORTED,
                        "%s: more than %d ranks; only the tokenizer.model of Llama 3 is known, "
                        "others need their tokenizer.json",
                        path, LLAMA3_RANKS);
        else
            status = add_rank(f, p, n, path, err);
        p += n + 1;
    }
    if (status == UM_OK && f->n != LLAMA3_RANKS)
        status = um_fail(err, UM_ERR_UNSUPPORTED,
                         "%s: %zu ranks, Llama 3 has %d; other models need their tokenizer.json",
                         path, f->n, LLAMA3_RANKS);
    free(data);
    return status;
}

static int compare_pairs(const void *a, const void *b)
{
    const um_tok_pair *x = a, *y = b;
    if (x->left != y->left)
        return x->left < y->left ? -1 : 1;
    return x->right < y->right ? -1 : x->right > y->right;
}

static um_status find_merges(rank_file *f, um_error *err)
{
    char left[2 * RANK_TOKEN_MAX_BYTES + 1];
    for (size_t id = 0; id < f->n; id++) {
        const char *text = f->texts[id];
        size_t first = f->merges.len;
        for (size_t cut = 1; text[cut] != '\0'; cut++) {
            uint32_t l, r;
            if (((unsigned char)text[cut] & 0xc0) == 0x80)
                continue;
            memcpy(left, text, cut);
            left[cut] = '\0';
            if (um_map_get(&f->ids, left, &l) && um_map_get(&f->ids, text + cut, &r) &&
                !um_vec_push(&f->merges, ((um_tok_pair){(int32_t)l, (int32_t)r})))
                return um_fail_memory(err, "merges");
        }
        if (f->merges.len > first + 1)
            qsort(f->merges.data + first, f->merges.len - first, sizeof *f->merges.data,
                  compare_pairs);
    }
    return UM_OK;
}

/* The special tokens of Llama 3.1 and later, in the order of their ids. */
static um_status add_special(json_t *document, um_error *err)
{
    static const char *const named[] = {"<|begin_of_text|>",
                                        "<|end_of_text|>",
                                        "<|reserved_special_token_0|>",
                                        "<|reserved_special_token_1|>",
                                        "<|finetune_right_pad_id|>",
                                        "<|reserved_special_token_2|>",
                                        "<|start_header_id|>",
                                        "<|end_header_id|>",
                                        "<|eom_id|>",
                                        "<|eot_id|>",
                                        "<|python_tag|>"};
    const int n_named = (int)(sizeof named / sizeof named[0]);
    um_status status = UM_OK;
    for (int i = 0; i < LLAMA3_SPECIAL && status == UM_OK; i++) {
        char name[48];
        snprintf(name, sizeof name, "<|reserved_special_token_%d|>", i - n_named + 3);
        status = um_tok_document_add(document, LLAMA3_RANKS + i, i < n_named ? named[i] : name,
                                     true, err);
    }
    if (status != UM_OK)
        return status;
    json_t *post =
        json_pack("{s:s, s:[{s:{s:s, s:i}}, {s:{s:s, s:i}}], s:[{s:{s:s, s:i}}, {s:{s:s, "
                  "s:i}}, {s:{s:s, s:i}}, {s:{s:s, s:i}}], s:{s:{s:s, s:[i], s:[s]}}}",
                  "type", "TemplateProcessing", "single", "SpecialToken", "id", named[0], "type_id",
                  0, "Sequence", "id", "A", "type_id", 0, "pair", "SpecialToken", "id", named[0],
                  "type_id", 0, "Sequence", "id", "A", "type_id", 0, "SpecialToken", "id", named[0],
                  "type_id", 1, "Sequence", "id", "B", "type_id", 1, "special_tokens", named[0],
                  "id", named[0], "ids", LLAMA3_RANKS, "tokens", named[0]);
    if (post == NULL || json_object_set_new(document, "post_processor", post) != 0)
        return um_fail_memory(err, "tokenizer document");
    return UM_OK;
}

um_status um_tok_load_tiktoken(um_tokenizer **out, const char *path, json_t *config, um_error *err)
{
    rank_file f = {.texts = um_calloc(LLAMA3_RANKS, sizeof *f.texts)};
    json_t *document = NULL;
    um_status status = f.texts != NULL ? UM_OK : um_fail_memory(err, "vocabulary");
    if (status == UM_OK)
        status = read_ranks(&f, path, err);
    if (status == UM_OK)
        status = find_merges(&f, err);
    if (status == UM_OK)
        status = um_tok_new_document(&document, um_tok_pattern_llama3, false, true, err);
    if (status != UM_OK)
        goto done;
    json_t *vocab = json_object_get(json_object_get(document, "model"), "vocab");
    for (size_t id = 0; id < f.n && status == UM_OK; id++)
        if (json_object_set_new(vocab, f.texts[id], json_integer((json_int_t)id)) != 0)
            status = um_fail_memory(err, "vocabulary");
    if (status == UM_OK)
        status = add_special(document, err);
    if (status == UM_OK)
        status = um_tok_build(out, document, config, f.merges.data, f.merges.len, path, err);
done:
    json_decref(document);
    um_arena_dispose(&f.arena);
    um_map_dispose(&f.ids);
    um_vec_dispose(&f.merges);
    free(f.texts);
    return status;
}
