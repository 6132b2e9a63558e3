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
/* Both ends of two texts of sizeof(T) to twice as many bytes. */
template <typename T> inline bool same_ends(const char *a, const char *b, size_t n)
{
    T first[2], last[2];
    std::memcpy(&first[0], a, sizeof(T));
    std::memcpy(&first[1], b, sizeof(T));
    std::memcpy(&last[0], a + n - sizeof(T), sizeof(T));
    std::memcpy(&last[1], b + n - sizeof(T), sizeof(T));
    return first[0] == first[1] && last[0] == last[1];
}

/* Most keys are so short that calling memcmp would take longer than comparing them. */
inline bool same_text(const char *a, const char *b, size_t n)
{
    if (n >= 8 && n <= 16)
        return same_ends<uint64_t>(a, b, n);
    if (n >= 4 && n < 8)
        return same_ends<uint32_t>(a, b, n);
    return std::memcmp(a, b, n) == 0;
}

struct key_text {
    const char *text;
    uint32_t len;
    bool operator<(const key_text &other) const
    {
        return len != other.len ? len < other.len : std::memcmp(text, other.text, len) < 0;
    }
    bool operator==(const key_text &other) const
    {
        return len == other.len && same_text(text, other.text, len);
    }
};
} // namespace

struct um_jsonl {
    simdjson::dom::parser parser;
    simdjson::dom::document document;
    char *text = nullptr; /* copy with SIMDJSON_PADDING bytes after it */
    size_t text_cap = 0;  /* without the padding */
    um_jdoc view = {nullptr, nullptr, 0, 0, false};
    key_text *keys = nullptr; /* of one object, to be sorted */
    size_t keys_cap = 0;
    bool has_nul = false;
    /* The block in hand: its lines are read from the stream for as long as each holds one object,
     * the next one. */
    const char *block = nullptr;
    const char *block_end = nullptr;
    const char *backslash = nullptr; /* none in the block from the line in hand up to here */
    enum { NOT_BEGUN, STREAMING, ONE_BY_ONE } mode = ONE_BY_ONE;
    simdjson::dom::document_stream stream;
    simdjson::dom::document_stream::iterator next;

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

/* Whether a key of the object stands before the word `end` too. */
static bool is_key_before(const um_jsonl *j, size_t object, size_t end, key_text key)
{
    for (size_t at = object + 1; at < end; at = um_jdoc_after(&j->view, at + 1)) {
        if (string_at(&j->view, at) == key)
            return true;
    }
    return false;
}

namespace
{
enum class escapes { NONE, SHORT, UNICODE }; /* in a line: \n and the like; \u0041 too */
} // namespace

static escapes find_escapes(const char *text, size_t len)
{
    const char *end = text + len;
    escapes found = escapes::NONE;
    while ((text = (const char *)std::memchr(text, '\\', (size_t)(end - text))) != nullptr) {
        if (end - text < 2 || text[1] == 'u')
            return escapes::UNICODE;
        found = escapes::SHORT;
        text += 2;
    }
    return found;
}

/* Strings that were written with \u: some versions of simdjson let lone surrogates pass. */
static um_status check_string(um_jsonl *j, key_text s, um_error *err)
{
    if (std::memchr(s.text, '\0', s.len) != nullptr)
        j->has_nul = true;
    return um_utf8_valid(s.text, s.len) ? UM_OK
                                        : um_fail(err, UM_ERR_INPUT, "lone surrogate in a string");
}

namespace
{
/* An object or array whose end is not reached. */
struct level {
    size_t at;     /* its word */
    uint64_t seen; /* bit = of the 64 classes of keys, one that occurred */
    size_t n_keys;
    bool is_object;
};
} // namespace

/* No key of an object twice, none with U+0000 in it. Objects of many keys are looked at when they
 * are over: one by one would take the square of the time. */
static um_status check_key(const um_jsonl *j, level *l, size_t at, bool has_escapes, um_error *err)
{
    key_text key = string_at(&j->view, at);
    if (has_escapes && std::memchr(key.text, '\0', key.len) != nullptr)
        return um_fail(err, UM_ERR_INPUT, "a key holds U+0000");
    unsigned ends =
        key.len > 0 ? (unsigned char)key.text[0] * 13u + (unsigned char)key.text[key.len - 1] : 0;
    uint64_t bit = UINT64_C(1) << ((key.len * 7 + ends) & 63);
    if (l->n_keys < FEW_KEYS && (l->seen & bit) != 0 && is_key_before(j, l->at, at, key))
        return fail_duplicate(key, err);
    l->seen |= bit;
    l->n_keys++;
    return UM_OK;
}

/* What simdjson does not look at: depth with empty levels, keys, integers past int64_t. */
static um_status check_tape(um_jsonl *j, bool has_escapes, um_error *err)
{
    level levels[UM_JSONL_MAX_DEPTH + 1];
    level *l = levels; /* levels[0] is outside of the root */
    bool is_key = false;
    size_t last = 0; /* the string met last lies behind all others */
    um_status status = UM_OK;
    l->is_object = j->has_nul = false;
    for (size_t at = 1, end = um_jdoc_after(&j->view, 1); at < end && status == UM_OK; at++) {
        char kind = type_at(j, at);
        if (is_key && kind == '"') {
            last = at;
            status = check_key(j, l, at, has_escapes, err);
            is_key = false;
            continue;
        }
        switch (kind) {
        case '{':
        case '[':
            if (l == levels + UM_JSONL_MAX_DEPTH)
                return um_fail(err, UM_ERR_INPUT, "JSON is nested deeper than %d levels",
                               UM_JSONL_MAX_DEPTH);
            l++;
            *l = level{at, 0, 0, kind == '{'};
            break;
        case '}':
        case ']':
            if (l->n_keys > FEW_KEYS)
                status = check_many_keys(j, l->at, l->n_keys, err);
            l--;
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
        is_key = l->is_object;
    }
    j->view.n_words = um_jdoc_after(&j->view, 1);
    j->view.n_bytes = 0;
    if (last > 0) {
        key_text text = string_at(&j->view, last);
        j->view.n_bytes = (size_t)(text.text - j->view.strings) + text.len + 1;
    }
    return status;
}

/* Looks at a document that simdjson has parsed from text[0..len). */
static um_status finish(um_jsonl *j, const simdjson::dom::document &document, escapes escaped,
                        const char *text, size_t len, um_jval *root, um_error *err)
{
    um_error why;
    j->view.tape = document.tape.get();
    j->view.strings = reinterpret_cast<const char *>(document.string_buf.get());
    j->view.is_plain = escaped == escapes::NONE;
    um_status status = check_tape(j, escaped == escapes::UNICODE, &why);
    if (status == UM_ERR_MEMORY)
        return um_fail_memory(err, "a JSON text");
    if (status != UM_OK)
        return explain(text, len, why.text, err);
    root->document = &j->view;
    root->at = 1;
    return UM_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

um_status um_jsonl_parse(um_jsonl *parser, const char *text, size_t len, um_jval *root,
                         um_error *err)
{
    size_t start = 0;
    parser->mode = um_jsonl::ONE_BY_ONE;
    while (start < len && is_blank(text[start]))
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
    return finish(parser, parser->document, find_escapes(text, len), text, len, root, err);
}

void um_jsonl_block(um_jsonl *parser, const char *text, size_t len)
{
    static_assert(simdjson::SIMDJSON_PADDING <= UM_JSONL_PADDING, "bytes that are looked at");
    parser->block = parser->backslash = text;
    parser->block_end = text + len;
    parser->mode = um_jsonl::NOT_BEGUN;
}

/* Looks for the structure of the whole block, which takes less time than line by line. */
static bool begin_stream(um_jsonl *j)
{
    size_t len = (size_t)(j->block_end - j->block);
    if (!reserve(j, len) || (j->parser.doc.capacity() < len &&
                             j->parser.doc.allocate(j->text_cap) != simdjson::SUCCESS))
        return false;
#ifdef SIMDJSON_THREADS_ENABLED
    j->parser.threaded = false;
#endif
    if (j->parser.parse_many(j->block, len, len).get(j->stream) != simdjson::SUCCESS)
        return false;
    j->next = j->stream.begin();
    return true;
}

/*
 * Whether the next document of the stream is the line's, and all that is in it. What is not goes
 * the other way, where it is told what is wrong: simdjson sees documents and no lines.
 */
static bool take_document(um_jsonl *j, const char *line, size_t len)
{
    if (j->mode == um_jsonl::NOT_BEGUN) {
        if (!begin_stream(j))
            return false;
        j->mode = um_jsonl::STREAMING;
    } else {
        ++j->next;
    }
    if (!(j->next != j->stream.end()) || (*j->next).error() != simdjson::SUCCESS)
        return false;
    const char *first = j->block + j->next.current_index(), *end = line + len;
    while (line < end && is_blank(*line))
        line++;
    if (line == end || line != first || *line != '{')
        return false;
    for (line += j->next.source().size(); line < end && is_blank(*line);)
        line++;
    return line == end;
}

um_status um_jsonl_line(um_jsonl *j, const char *line, size_t len, um_jval *root, um_error *err)
{
    if (j->mode == um_jsonl::ONE_BY_ONE || !take_document(j, line, len))
        return um_jsonl_parse(j, line, len, root, err);
    if (j->backslash < line)
        j->backslash = line;
    size_t ahead = (size_t)(j->block_end - j->backslash);
    if (j->backslash < line + len) {
        const void *found = std::memchr(j->backslash, '\\', ahead);
        j->backslash = found != nullptr ? static_cast<const char *>(found) : j->block_end;
    }
    escapes escaped = j->backslash < line + len ? find_escapes(line, len) : escapes::NONE;
    return finish(j, j->parser.doc, escaped, line, len, root, err);
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
        if (name.len == len && same_text(name.text, key, len)) {
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
    size_t expected = 0, n_left = n;
    for (size_t at = object.at + 1, end = um_jdoc_after(d, object.at) - 1; at < end && n_left > 0;
         at = um_jdoc_after(d, at + 1)) {
        key_text name = string_at(d, at);
        for (size_t tried = 0, i = expected; tried < n; tried++, i = i + 1 < n ? i + 1 : 0) {
            if (name.len != keys[i].len || keys[i].name == nullptr ||
                !same_text(name.text, keys[i].name, name.len))
                continue;
            found[i] = um_jval{d, at + 1};
            n_left--;
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

/* A text without escapes, as it stood in the file. */
static void append_plain(um_str *out, const char *text, size_t len)
{
    char *at = um_str_extend(out, len + 2);
    if (at == nullptr)
        return;
    at[0] = at[len + 1] = '"';
    std::memcpy(at + 1, text, len);
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
        if (v.document->is_plain)
            append_plain(out, text, len);
        else
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
