/*
 * jsonl.cpp - the one C++ file: simdjson's DOM parser behind the C face of jsonl.h.
 *
 * simdjson checks syntax, UTF-8 and the range of numbers, and leaves a "tape" of 64-bit words with
 * the texts of all strings beside it (doc/tape.md of simdjson). The type of a value is the highest
 * byte of its word, the rest is its payload:
 *
 *     r               first and last word of the tape; the root value is word 1
 *     { [             payload: low 32 bits the word after the matching } or ]
 *     } ]             ends; members of an object are key, value, key, value, ...
 *     "               payload: place in the string buffer of u32 length, text, NUL
 *     l u d           the next word is an int64_t, a uint64_t, a double
 *     t f n           true, false, null
 *
 * A um_jval is a parser and the index of a word. What simdjson lets pass, duplicate keys above all,
 * is looked for afterwards. A text that is refused is parsed again with jansson, only for the sake
 * of its message: bad rows are few, and a byte number helps.
 */
#include <algorithm>
#include <charconv>
#include <cstring>
#include <new>

#include <simdjson.h>

extern "C" {
#include "base/error.h"
#include "base/json.h"
#include "base/jsonl.h"
#include "base/mem.h"
}

static_assert(simdjson::SIMDJSON_VERSION_MAJOR >= 3, "the DOM parser's tape as of simdjson 3");

/* One level more than is allowed, so that the limit is found, and named, here. */
#define PARSER_DEPTH   (UM_JSONL_MAX_DEPTH + 2)
#define FIRST_CAPACITY ((size_t)4096)
#define FEW_KEYS       16

namespace
{
struct key_text {
    const char *text;
    uint32_t len;
    bool operator<(const key_text &other) const
    {
        return len != other.len ? len < other.len : std::memcmp(text, other.text, len) < 0;
    }
    bool operator==(const key_text &other) const
    {
        return len == other.len && std::memcmp(text, other.text, len) == 0;
    }
};
} // namespace

struct um_jsonl {
    simdjson::dom::parser parser;
    simdjson::dom::document document;
    char *text = nullptr; /* copy with SIMDJSON_PADDING bytes after it */
    size_t text_cap = 0;  /* without the padding */
    um_jdoc view = {nullptr, nullptr, 0, 0};
    key_text *keys = nullptr; /* of one object, to be sorted */
    size_t keys_cap = 0;
    bool has_nul = false;

    um_jsonl() = default;
    um_jsonl(const um_jsonl &) = delete;
    um_jsonl &operator=(const um_jsonl &) = delete;
    ~um_jsonl()
    {
        free(text);
        free(keys);
    }
};

static char type_at(const um_jsonl *j, size_t at)
{
    return (char)(j->view.tape[at] >> 56);
}

static inline __attribute__((always_inline)) key_text string_at(const um_jdoc *d, size_t at)
{
    key_text s;
    s.text = um_jdoc_string(d, at, &s.len);
    return s;
}

um_status um_jsonl_new(um_jsonl **out, um_error *err)
{
    um_jsonl *j = new (std::nothrow) um_jsonl;
    if (j == nullptr)
        return um_fail_memory(err, "a JSON parser");
    *out = j;
    return UM_OK;
}

void um_jsonl_free(um_jsonl *parser)
{
    delete parser;
}

/* Makes room for a text of that many bytes; grows by doubling. */
static bool reserve(um_jsonl *j, size_t len)
{
    if (len <= j->text_cap)
        return true;
    size_t cap = std::max(j->text_cap, FIRST_CAPACITY);
    while (cap < len && cap <= SIZE_MAX / 4)
        cap *= 2;
    cap = std::max(cap, len);
    j->text_cap = 0;
    free(j->text);
    j->text = (char *)um_calloc(cap + simdjson::SIMDJSON_PADDING, 1);
    if (j->text == nullptr || j->parser.allocate(cap, PARSER_DEPTH) != simdjson::SUCCESS ||
        j->document.allocate(cap) != simdjson::SUCCESS)
        return false;
    j->text_cap = cap;
    return true;
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

/* UM_ERR_INPUT with jansson's message; where jansson finds nothing wrong, with `otherwise`. */
static um_status explain(const char *text, size_t len, const char *otherwise, um_error *err)
{
    um_error why;
    json_t *value = nullptr;
    um_status status = um_json_parse(&value, text, len, "text", &why);
    if (status == UM_ERR_MEMORY)
        return um_fail_memory(err, "a JSON text");
    if (status != UM_OK) {
        /* "text: line 1 column 9: ...": the caller knows the line better. */
        const char *column = std::strstr(why.text, "column");
        return um_fail(err, UM_ERR_INPUT, "%s", column != nullptr ? column : why.text);
    }
    if (!json_is_object(value))
        status = um_fail(err, UM_ERR_INPUT, "found %s where an object is needed", kind_name(value));
    else
        status = um_fail(err, UM_ERR_INPUT, "%s", otherwise);
    json_decref(value);
    return status;
}

static um_status fail_duplicate(key_text key, um_error *err)
{
    return um_fail(err, UM_ERR_INPUT, "duplicate key '%.60s'", key.text);
}

static um_status check_many_keys(um_jsonl *j, size_t at, size_t n, um_error *err)
{
    if (n > j->keys_cap) {
        key_text *keys = (key_text *)um_reallocarray(j->keys, n, sizeof *keys);
        if (keys == nullptr)
            return um_fail_memory(err, "the keys of a JSON object");
        j->keys = keys;
        j->keys_cap = n;
    }
    size_t i = 0;
    for (size_t end = um_jdoc_after(&j->view, at++) - 1; at < end;
         at = um_jdoc_after(&j->view, at + 1))
        j->keys[i++] = string_at(&j->view, at);
    std::sort(j->keys, j->keys + n);
    const key_text *twin = std::adjacent_find(j->keys, j->keys + n);
    return twin != j->keys + n ? fail_duplicate(*twin, err) : UM_OK;
}

/* No key of the object twice, none with U+0000 in it. */
static um_status check_keys(um_jsonl *j, size_t object, bool has_escapes, um_error *err)
{
    key_text keys[FEW_KEYS];
    uint64_t seen = 0; /* bit = of the 64 classes of keys, one that occurred */
    size_t n = 0;
    for (size_t at = object + 1, end = um_jdoc_after(&j->view, object) - 1; at < end;
         at = um_jdoc_after(&j->view, at + 1)) {
        key_text key = string_at(&j->view, at);
        if (has_escapes && std::memchr(key.text, '\0', key.len) != nullptr)
            return um_fail(err, UM_ERR_INPUT, "a key holds U+0000");
        if (n < FEW_KEYS) {
            unsigned last = key.len > 0 ? (unsigned char)key.text[key.len - 1] : 0;
            uint64_t bit = UINT64_C(1) << ((key.len * 7 + last) & 63);
            if ((seen & bit) != 0 && std::find(keys, keys + n, key) != keys + n)
                return fail_duplicate(key, err);
            seen |= bit;
            keys[n] = key;
        }
        n++;
    }
    return n > FEW_KEYS ? check_many_keys(j, object, n, err) : UM_OK;
}

/* Whether the text has a \u escape. */
static bool has_unicode_escape(const char *text, size_t len)
{
    const char *end = text + len;
    while ((text = (const char *)std::memchr(text, '\\', (size_t)(end - text))) != nullptr) {
        if (end - text < 2 || text[1] == 'u')
            return true;
        text += 2;
    }
    return false;
}

/* Strings that were written with \u: some versions of simdjson let lone surrogates pass. */
static um_status check_string(um_jsonl *j, key_text s, um_error *err)
{
    if (std::memchr(s.text, '\0', s.len) != nullptr)
        j->has_nul = true;
    return um_utf8_valid(s.text, s.len) ? UM_OK
                                        : um_fail(err, UM_ERR_INPUT, "lone surrogate in a string");
}

/* What simdjson does not look at: depth with empty levels, keys, integers past int64_t. */
static um_status check_tape(um_jsonl *j, bool has_escapes, um_error *err)
{
    size_t depth = 0, last = 0; /* the string met last lies behind all others */
    um_status status = UM_OK;
    j->has_nul = false;
    for (size_t at = 1, end = um_jdoc_after(&j->view, 1); at < end && status == UM_OK; at++) {
        switch (type_at(j, at)) {
        case '{':
            status = check_keys(j, at, has_escapes, err);
            [[fallthrough]];
        case '[':
            if (++depth > UM_JSONL_MAX_DEPTH)
                status = um_fail(err, UM_ERR_INPUT, "JSON is nested deeper than %d levels",
                                 UM_JSONL_MAX_DEPTH);
            break;
        case '}':
        case ']':
            depth--;
            break;
        case 'l':
        case 'd':
            at++;
            break;
        case 'u':
            status = um_fail(err, UM_ERR_INPUT, "integer past 64 bits with sign");
            break;
        case '"':
            last = at;
            if (has_escapes)
                status = check_string(j, string_at(&j->view, at), err);
            break;
        default:
            break;
        }
    }
    j->view.n_words = um_jdoc_after(&j->view, 1);
    j->view.n_bytes = 0;
    if (last > 0) {
        key_text text = string_at(&j->view, last);
        j->view.n_bytes = (size_t)(text.text - j->view.strings) + text.len + 1;
    }
    return status;
}

um_status um_jsonl_parse(um_jsonl *parser, const char *text, size_t len, um_jval *root,
                         um_error *err)
{
    size_t start = 0;
    while (start < len && (text[start] == ' ' || text[start] == '\t' || text[start] == '\n' ||
                           text[start] == '\r'))
        start++;
    if (start == len || text[start] != '{')
        return explain(text, len, "not JSON", err);
    if (!reserve(parser, len))
        return um_fail_memory(err, "a JSON text");
    std::memcpy(parser->text, text, len);
    auto result = parser->parser.parse_into_document(parser->document, parser->text, len, false);
    if (result.error() == simdjson::MEMALLOC)
        return um_fail_memory(err, "a JSON text");
    if (result.error() != simdjson::SUCCESS)
        return explain(text, len, simdjson::error_message(result.error()), err);
    parser->view.tape = parser->document.tape.get();
    parser->view.strings = reinterpret_cast<const char *>(parser->document.string_buf.get());
    um_error why;
    um_status status = check_tape(parser, has_unicode_escape(text, len), &why);
    if (status == UM_ERR_MEMORY)
        return um_fail_memory(err, "a JSON text");
    if (status != UM_OK)
        return explain(text, len, why.text, err);
    root->document = &parser->view;
    root->at = 1;
    return UM_OK;
}

bool um_jsonl_has_nul(const um_jsonl *parser)
{
    return parser->has_nul;
}

bool um_jval_get(um_jval object, const char *key, um_jval *out)
{
    const um_jdoc *d = object.document;
    size_t len = std::strlen(key);
    if (um_jdoc_kind(object) != '{')
        return false;
    for (size_t at = object.at + 1, end = um_jdoc_after(d, object.at) - 1; at < end;
         at = um_jdoc_after(d, at + 1)) {
        key_text name = string_at(d, at);
        if (name.len == len && std::memcmp(name.text, key, len) == 0) {
            out->document = d;
            out->at = at + 1;
            return true;
        }
    }
    return false;
}

void um_jval_pick(um_jval object, const um_jkey *keys, size_t n, um_jval *found)
{
    const um_jdoc *d = object.document;
    for (size_t i = 0; i < n; i++)
        found[i] = um_jval{nullptr, 0};
    if (um_jdoc_kind(object) != '{')
        return;
    size_t expected = 0;
    for (size_t at = object.at + 1, end = um_jdoc_after(d, object.at) - 1; at < end;
         at = um_jdoc_after(d, at + 1)) {
        key_text name = string_at(d, at);
        for (size_t tried = 0, i = expected; tried < n; tried++, i = i + 1 < n ? i + 1 : 0) {
            if (name.len != keys[i].len || keys[i].name == nullptr ||
                std::memcmp(name.text, keys[i].name, name.len) != 0)
                continue;
            found[i] = um_jval{d, at + 1};
            expected = i + 1 < n ? i + 1 : 0;
            break;
        }
    }
}

static void dump_container(um_str *out, um_jval v, char open, char close)
{
    um_jiter it = um_jval_iter(v);
    um_jval element;
    const char *key = nullptr;
    um_str_append_char(out, open);
    for (size_t i = 0; um_jiter_next(&it, &key, &element); i++) {
        if (i > 0)
            um_str_append_char(out, ',');
        if (key != nullptr) {
            um_str_append_json(out, key);
            um_str_append_char(out, ':');
        }
        um_jval_dump(out, element);
    }
    um_str_append_char(out, close);
}

static void append_integer(um_str *out, int64_t value)
{
    char text[24];
    auto end = std::to_chars(text, text + sizeof text, value).ptr;
    um_str_append_n(out, text, (size_t)(end - text));
}

void um_jval_dump(um_str *out, um_jval v)
{
    const char *text = nullptr;
    size_t len = 0;
    int64_t whole = 0;
    double real = 0;
    switch (um_jval_type(v)) {
    case UM_J_OBJECT:
        dump_container(out, v, '{', '}');
        break;
    case UM_J_ARRAY:
        dump_container(out, v, '[', ']');
        break;
    case UM_J_STRING:
        (void)um_jval_str(v, &text, &len);
        um_str_append_json_n(out, text, len);
        break;
    case UM_J_INT:
        (void)um_jval_i64(v, &whole);
        append_integer(out, whole);
        break;
    case UM_J_REAL:
        (void)um_jval_f64(v, &real);
        um_str_append_number(out, real);
        break;
    case UM_J_BOOL:
        um_str_append(out, um_jdoc_kind(v) == 't' ? "true" : "false");
        break;
    case UM_J_NULL:
        um_str_append(out, "null");
        break;
    }
}
