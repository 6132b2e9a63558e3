/* test_base_jsonl.c - the fast JSON reader against a table of bad texts and against jansson. */
#include <errno.h>
#include <math.h>

#include "base/json.h"
#include "base/jsonl.h"
#include "base/rng.h"
#include "test_util.h"

static um_error err;

static void *parser_new(void)
{
    um_jsonl *j = NULL;
    assert_ok(um_jsonl_new(&j, &err), err);
    return j;
}

static void bad_texts_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "column 0"},
        {" \t", "column"},
        {"{", "column 1"},
        {"{\"a\":1", "column 6"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"b\":[{\"a\":1,\"c\":[{}],\"a\":2}]}", "duplicate"},
        {"{\"a\":1,\"\\u0061\":2}", "duplicate"},
        {"{\"\":1,\"\":2}", "duplicate"},
        {"{\"a\":1} x", "end of file expected"},
        {"{\"a\":1}{\"b\":2}", "end of file expected"},
        {"{\"a\":1e999}", "overflow"},
        {"{\"a\":-1e999}", "overflow"},
        {"{\"a\":9223372036854775808}", "too big"},
        {"{\"a\":-9223372036854775809}", "too "},
        {"{\"a\":99999999999999999999999}", "too big"},
        {"{\"a\":\"\xC3(\"}", "decode byte 0xc3"},
        {"{\"a\":\"\xED\xA0\x80\"}", "decode byte 0xed"},
        {"{\"a\":\"\\ud800\"}", "Unicode"},
        {"{\"a\":\"\\udc00\"}", "Unicode"},
        {"{\"a\":\"\\udc00\\ud800\"}", "Unicode"},
        {"{\"a\":\"\\ud800\\u0041\"}", "Unicode"},
        {"{\"a\":\"\\ud800x\"}", "Unicode"},
        {"{\"\\ud800\":1}", "Unicode"},
        {"{\"a\\u0000b\":1}", "\\u0000"},
        {"{\"a\":\"\\x\"}", "escape"},
        {"{\"a\":\"\t\"}", "control character"},
        {"{\"a\":NaN}", "invalid token"},
        {"{\"a\":Infinity}", "invalid token"},
        {"{\"a\":01}", "column"},
        {"{\"a\":1.}", "column"},
        {"{\"a\":.5}", "column"},
        {"{\"a\":+1}", "column"},
        {"{\"a\":1e}", "column"},
        {"{\"a\":tru}", "invalid token"},
        {"{\"a\":[1,]}", "column"},
        {"{\"a\":1,}", "column"},
        {"{a:1}", "column"},
        {"{'a':1}", "column"},
        {"{\"a\" 1}", "column"},
        {"{\"a\":\"torn", "column"},
        {"{\"a\":[1}", "column"},
        {"[1,2]", "found an array where an object is needed"},
        {"7", "found a number"},
        {"\"a\"", "found a string"},
        {"null", "found null"},
        {"true", "found true or false"},
        {"\xEF\xBB\xBF{}", "column"},
    };
    um_jsonl *j = parser_new();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        um_jval root = {NULL, 77};
        if (um_jsonl_parse(j, rows[i].text, strlen(rows[i].text), &root, &err) != UM_ERR_INPUT)
            fail_msg("%s: not refused", rows[i].text);
        assert_int_equal(root.at, 77);
        if (strstr(err.text, rows[i].message) == NULL)
            fail_msg("%s: \"%s\" lacks \"%s\"", rows[i].text, err.text, rows[i].message);
        /* The parser is as good as before. */
        assert_ok(um_jsonl_parse(j, "{\"a\":1}", 7, &root, &err), err);
    }
    um_jsonl_free(j);
}

/* {"a": followed by so many brackets; empty innermost ones count too. */
static um_status parse_nested(um_jsonl *j, size_t levels, char open, char close)
{
    char text[600];
    um_jval root;
    size_t n = (size_t)snprintf(text, sizeof text, "{\"a\":");
    if (open == '{') {
        for (size_t i = 0; i + 1 < levels; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "{\"\":");
        text[n++] = '{';
    } else {
        memset(text + n, open, levels);
        n += levels;
    }
    memset(text + n, close, levels);
    n += levels;
    text[n++] = '}';
    return um_jsonl_parse(j, text, n, &root, &err);
}

static void depth_is_limited(void **state)
{
    (void)state;
    um_jsonl *j = parser_new();
    assert_ok(parse_nested(j, UM_JSONL_MAX_DEPTH - 1, '[', ']'), err);
    assert_int_equal(parse_nested(j, UM_JSONL_MAX_DEPTH, '[', ']'), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "nested deeper than 64"));
    assert_int_equal(parse_nested(j, 100, '[', ']'), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "column 69: JSON is nested deeper than 64"));
    um_jsonl_free(j);
    j = parser_new();
    assert_ok(parse_nested(j, UM_JSONL_MAX_DEPTH - 1, '{', '}'), err);
    assert_int_equal(parse_nested(j, UM_JSONL_MAX_DEPTH, '{', '}'), UM_ERR_INPUT);
    um_jsonl_free(j);
}

static void many_keys(void **state)
{
    (void)state;
    um_jsonl *j = parser_new();
    um_str text = UM_STR_INIT;
    for (int twin = -1; twin < 100; twin += 3) {
        const int n = twin % 2 == 0 && twin < 40 ? 40 : 100;
        um_jval root, value;
        double number = 0;
        um_str_clear(&text);
        um_str_append(&text, "{\"k\":{");
        for (int i = 0; i < n; i++)
            um_str_appendf(&text, "%s\"key %d\":%d.5", i > 0 ? "," : "", i, i);
        if (twin >= 0)
            um_str_appendf(&text, ",\"key %d\":[{}]", twin);
        um_str_append(&text, "}}");
        um_status status = um_jsonl_parse(j, text.data, text.len, &root, &err);
        if (twin >= 0) {
            assert_int_equal(status, UM_ERR_INPUT);
            assert_non_null(strstr(err.text, "duplicate"));
            continue;
        }
        assert_ok(status, err);
        assert_true(um_jval_get(root, "k", &value));
        assert_int_equal(um_jval_len(value), 100);
        assert_true(um_jval_get(value, "key 39", &value));
        assert_true(um_jval_f64(value, &number) && number == 39.5);
    }
    um_str_dispose(&text);
    um_jsonl_free(j);
}

static void values_are_typed(void **state)
{
    (void)state;
    static const char text[] =
        " {\"s\":\"\\u00e9\\n\\ud83d\\ude00\",\"i\":-7,\"f\":2.5,\"t\":true,\"n\":null,\"l\":"
        "[1,[],{\"x\":0},\"z\"],\"o\":{},\"nul\":\"a\\u0000b\",\"max\":9223372036854775807,"
        "\"min\":-9223372036854775808,\"zero\":-0.0} ";
    um_jsonl *j = parser_new();
    um_jval root, v;
    const char *s = NULL;
    size_t len = 0;
    int64_t i = 0;
    double f = 0;
    bool b = false;
    assert_ok(um_jsonl_parse(j, text, sizeof text - 1, &root, &err), err);
    assert_int_equal(um_jval_type(root), UM_J_OBJECT);
    assert_int_equal(um_jval_len(root), 11);
    assert_false(um_jval_get(root, "absent", &v));
    assert_false(um_jval_get(root, "", &v));
    assert_true(um_jval_get(root, "s", &v) && um_jval_type(v) == UM_J_STRING);
    assert_true(um_jval_str(v, &s, &len));
    assert_string_equal(s, "\xC3\xA9\n\xF0\x9F\x98\x80");
    assert_int_equal(len, 7);
    assert_false(um_jval_i64(v, &i) || um_jval_f64(v, &f) || um_jval_bool(v, &b));
    assert_int_equal(um_jval_len(v), 0);
    assert_false(um_jval_get(v, "s", &v));
    assert_true(um_jval_get(root, "i", &v) && um_jval_type(v) == UM_J_INT);
    assert_true(um_jval_i64(v, &i) && i == -7 && um_jval_f64(v, &f) && f == -7);
    assert_false(um_jval_str(v, &s, &len));
    assert_true(um_jval_get(root, "f", &v) && um_jval_type(v) == UM_J_REAL);
    assert_true(um_jval_f64(v, &f) && f == 2.5 && !um_jval_i64(v, &i));
    assert_true(um_jval_get(root, "t", &v) && um_jval_type(v) == UM_J_BOOL);
    assert_true(um_jval_bool(v, &b) && b);
    assert_true(um_jval_get(root, "n", &v) && um_jval_type(v) == UM_J_NULL);
    assert_true(um_jval_get(root, "max", &v) && um_jval_i64(v, &i) && i == INT64_MAX);
    assert_true(um_jval_get(root, "min", &v) && um_jval_i64(v, &i) && i == INT64_MIN);
    assert_true(um_jval_get(root, "zero", &v) && um_jval_f64(v, &f) && f == 0 && signbit(f));
    assert_true(um_jval_get(root, "nul", &v) && um_jval_str(v, &s, &len) && len == 3);
    assert_memory_equal(s, "a\0b", 4);
    assert_true(um_jsonl_has_nul(j));
    assert_true(um_jval_get(root, "o", &v) && um_jval_type(v) == UM_J_OBJECT);
    assert_int_equal(um_jval_len(v), 0);

    assert_true(um_jval_get(root, "l", &v) && um_jval_type(v) == UM_J_ARRAY);
    assert_int_equal(um_jval_len(v), 4);
    static const um_jtype types[] = {UM_J_INT, UM_J_ARRAY, UM_J_OBJECT, UM_J_STRING};
    um_jiter it = um_jval_iter(v);
    const char *key = "unset";
    for (size_t n = 0; n < 4; n++) {
        assert_true(um_jiter_next(&it, &key, &v));
        assert_null(key);
        assert_int_equal(um_jval_type(v), types[n]);
    }
    assert_false(um_jiter_next(&it, &key, &v));
    static const char *const keys[] = {"s", "i", "f", "t", "n", "l", "o", "nul", "max", "min"};
    it = um_jval_iter(root);
    for (size_t n = 0; n < 10; n++) {
        assert_true(um_jiter_next(&it, &key, &v));
        assert_string_equal(key, keys[n]);
    }
    static const char escaped[] = "{\"a\":\"\\\\u0000\",\"b\":\"\\u0001\"}";
    assert_ok(um_jsonl_parse(j, escaped, sizeof escaped - 1, &root, &err), err);
    assert_false(um_jsonl_has_nul(j));
    um_jsonl_free(j);
}

/* Random JSON, now and then damaged ----------------------------------------------------------- */

static void append_random(um_str *s, um_rng *r, int depth)
{
    static const char *const scalars[] = {"0",
                                          "-1",
                                          "12345678901234",
                                          "9223372036854775807",
                                          "-9223372036854775808",
                                          "1.5",
                                          "-0.25",
                                          "1e10",
                                          "1E-7",
                                          "3.141592653589793",
                                          "-0",
                                          "0.0",
                                          "5e-324",
                                          "1.7976931348623157e308",
                                          "1e-400",
                                          "true",
                                          "false",
                                          "null"};
    static const char *const strings[] = {"",
                                          "a",
                                          "\\\"\\\\\\/\\b\\f\\n\\r\\t",
                                          "\xE4\xBD\xA0\xE5\xA5\xBD",
                                          "\\u00e9",
                                          "\\ud83d\\ude00",
                                          "{[,:]}",
                                          "key",
                                          "\xF0\x9F\x98\x80 smile"};
    uint32_t kind = um_rng_below(r, depth > 5 ? 2 : 4);
    if (kind == 0) {
        um_str_append(s, scalars[um_rng_below(r, sizeof scalars / sizeof *scalars)]);
    } else if (kind == 1) {
        um_str_appendf(s, "\"%s\"", strings[um_rng_below(r, sizeof strings / sizeof *strings)]);
    } else {
        uint32_t n = um_rng_below(r, 5);
        um_str_append_char(s, kind == 2 ? '[' : '{');
        for (uint32_t i = 0; i < n; i++) {
            um_str_append(s, i > 0 ? (um_rng_below(r, 4) == 0 ? " ,\t" : ",") : "");
            if (kind == 3)
                um_str_appendf(
                    s, "\"%s%u\": ", strings[um_rng_below(r, sizeof strings / sizeof *strings)],
                    um_rng_below(r, 12));
            append_random(s, r, depth + 1);
        }
        um_str_append_char(s, kind == 2 ? ']' : '}');
    }
}

static void damage(um_str *s, um_rng *r)
{
    static const char bytes[] = "{}[],:\"\\u0e-+.x \n\x01\x80\xC3\xED\xFF";
    size_t at = um_rng_below(r, (uint32_t)s->len);
    if (um_rng_below(r, 3) == 0)
        s->len = at;
    else
        s->data[at] = bytes[um_rng_below(r, sizeof bytes - 1)];
}

/* What jansson says of a text, and the value as it dumps it. */
static um_status ask_jansson(const um_str *text, um_str *dump)
{
    json_t *value = NULL;
    um_str_clear(dump);
    um_status status = um_json_parse(&value, text->data, text->len, "t", &err);
    if (status == UM_OK && !json_is_object(value))
        status = UM_ERR_INPUT;
    if (status == UM_OK)
        um_json_dump(dump, value);
    json_decref(value);
    return status;
}

static void assert_agrees(const um_str *text, um_status status, um_jval root, um_status expected,
                          const um_str *dump)
{
    um_str ours = UM_STR_INIT;
    if (status != expected)
        fail_msg("%.*s: %s, jansson %s", (int)text->len, text->data, um_status_name(status),
                 um_status_name(expected));
    if (status == UM_OK) {
        um_jval_dump(&ours, root);
        assert_string_equal(um_str_text(&ours), um_str_text(dump));
    }
    um_str_dispose(&ours);
}

/* Where the text may be overwritten: the same values, or the text as it was. `look` sees the values
 * while they are there. */
static void check_in_place(um_jsonl *j, const um_str *text, um_status expected, const um_str *dump,
                           void (*look)(um_jval root))
{
    um_jval root;
    char *place = malloc(text->len + UM_JSONL_PADDING); /* nothing after it is read */
    assert_non_null(place);
    memcpy(place, text->data, text->len);
    memset(place + text->len, text->len % 2 == 0 ? '"' : ',', UM_JSONL_PADDING);
    um_status status = um_jsonl_parse_in_place(j, place, text->len, &root, &err);
    assert_agrees(text, status, root, expected, dump);
    if (status != UM_OK)
        assert_memory_equal(place, text->data, text->len);
    else if (look != NULL)
        look(root);
    free(place);
}

static void agrees_with_jansson(void **state)
{
    (void)state;
    um_rng r;
    um_jsonl *j = parser_new();
    um_str text = UM_STR_INIT, dump = UM_STR_INIT;
    size_t good = 0, bad = 0;
    um_rng_init(&r, 5, UM_RNG_TEST, 1, 0, 0);
    for (int round = 0; round < 30000; round++) {
        um_jval root;
        um_str_clear(&text);
        um_str_append(&text, "{\"v\":");
        append_random(&text, &r, 0);
        um_str_append(&text, "}");
        if (round % 2 == 1)
            damage(&text, &r);
        um_status expected = ask_jansson(&text, &dump);
        um_status status = um_jsonl_parse(j, text.data, text.len, &root, &err);
        assert_agrees(&text, status, root, expected, &dump);
        check_in_place(j, &text, expected, &dump, NULL);
        good += status == UM_OK;
        bad += status != UM_OK;
    }
    assert_true(good > 10000 && bad > 5000);
    um_str_dispose(&text);
    um_str_dispose(&dump);
    um_jsonl_free(j);
}

/* Members, in place: by the parser's own account as by looking for them ----------------------- */

enum { N_POOL = 60, N_WANTED = 5 };

static const char *const blanks[] = {"", "", "", " ", "  ", "\t", "\r\n"};

static void append_blanks(um_str *s, um_rng *r)
{
    um_str_append(s, blanks[um_rng_below(r, sizeof blanks / sizeof *blanks)]);
}

/* An object of some names of the pool, in their order, now and then in another or twice, whose
 * values may be objects of the same names. */
static void append_members(um_str *s, um_rng *r, int depth, bool is_wild)
{
    static const char *const starts[] = {"", "a long name of a member ", "\xC3\xA9", "n\\u00e9",
                                         ""};
    enum { N_STARTS = sizeof starts / sizeof *starts };
    uint32_t first = um_rng_below(r, N_POOL), n = 1 + um_rng_below(r, 8);
    um_str_append(s, "{");
    for (uint32_t i = 0; i < n; i++) {
        uint32_t name =
            is_wild && um_rng_below(r, 12) == 0 ? um_rng_below(r, N_POOL) : (first + i) % N_POOL;
        um_str_append(s, i > 0 ? "," : "");
        append_blanks(s, r);
        um_str_appendf(s, "\"%sk%u\"", name > 20 ? starts[name % N_STARTS] : "", name);
        append_blanks(s, r);
        um_str_append(s, ":");
        append_blanks(s, r);
        if (depth < 2 && um_rng_below(r, 4) == 0) {
            um_str_append(s, "[");
            append_members(s, r, depth + 1, is_wild);
            um_str_append(s, ",");
            append_members(s, r, depth + 1, is_wild);
            um_str_append(s, "]");
        } else {
            um_str_appendf(s, um_rng_below(r, 2) ? "\"text %u\"" : "%u", um_rng_below(r, 1000));
        }
        append_blanks(s, r);
    }
    um_str_append(s, "}");
}

static const um_jkey wanted_keys[N_WANTED] = {UM_JKEY("k3"),
                                              UM_JKEY("k17"),
                                              {NULL, 0},
                                              UM_JKEY("k0"),
                                              UM_JKEY("a long name of a member k26")};

static void check_members(um_jval root)
{
    for (size_t i = 0; i < N_WANTED; i++) {
        um_jval found = um_jval_member(root, i), expected = {0};
        const bool is_there =
            wanted_keys[i].name != NULL && um_jval_get(root, wanted_keys[i].name, &expected);
        assert_int_equal(found.document != NULL, is_there);
        if (is_there)
            assert_int_equal(found.at, expected.at);
    }
}

static void members_of_rows(void **state)
{
    (void)state;
    um_rng r;
    um_str text = UM_STR_INIT, dump = UM_STR_INIT;
    um_jsonl *j = parser_new();
    size_t good = 0, bad = 0;
    um_rng_init(&r, 9, UM_RNG_TEST, 1, 0, 0);
    um_jsonl_want(j, wanted_keys, N_WANTED);
    for (int round = 0; round < 20000; round++) {
        um_str_clear(&text);
        append_members(&text, &r, 0, round % 3 == 0);
        if (round % 7 == 0)
            damage(&text, &r);
        um_status expected = ask_jansson(&text, &dump);
        check_in_place(j, &text, expected, &dump, check_members);
        good += expected == UM_OK;
        bad += expected != UM_OK;
    }
    assert_true(good > 12000 && bad > 2000);
    um_str_dispose(&text);
    um_str_dispose(&dump);
    um_jsonl_free(j);
}

/* What a parser remembers of texts that were refused makes no other good. */
static void remembered_keys_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_good;
    } rows[] = {
        {"{\"a\": 1, \"b\": 2}", true},          {"{\"a\": 1, \"b\": 2}", true},
        {"{\"a\": 1, \"a\": 2}", false},         {"{\"a\": 1, \"a\": 2}", false},
        {"{\"a\": 1, \"b\":  2}", true},         {"{\"a\": 1, \"b\": }", false},
        {"{\"\xC3(\": 1, \"b\": 2}", false},     {"{\"\xC3(\": 1, \"b\": 2}", false},
        {"{\"a\": 1, \"\xFF\": 2}", false},      {"{\"a\": 1, \"\xFF\": 2}", false},
        {"{\"a\": [1, \"b\": 2]}", false},       {"{\"a\": {\"b\": 2}}", true},
        {"{\"a\": {\"b\": 2}, \"b\": 3}", true}, {"{\"a\": {\"b\": 2, \"b\": 3}}", false},
        {"{\"a\": 1 \"b\": 2}", false},          {"{, \"b\": 2}", false},
        {"{\"a\": 1, \"b\": 2", false},          {"{\"a\": 1, \"b\"", false},
        {"{\"a\": 1, \"b\": 2}", true},
    };
    um_jsonl *j = parser_new();
    for (size_t i = 0; i < 2 * sizeof rows / sizeof *rows; i++) {
        const char *text = rows[i / 2].text;
        um_jval root;
        um_status status = um_jsonl_parse(j, text, strlen(text), &root, &err);
        if ((status == UM_OK) != rows[i / 2].is_good)
            fail_msg("%s: %s", text, um_status_name(status));
    }
    um_jsonl_free(j);
}

/* Whole numbers of every length, and decimals that the parser makes itself or has made. */
static void numbers(void **state)
{
    (void)state;
    um_rng r;
    um_jsonl *j = parser_new();
    um_rng_init(&r, 4, UM_RNG_TEST, 1, 0, 0);
    for (int round = 0; round < 60000; round++) {
        char digits[40], text[80];
        int n = 1 + (int)um_rng_below(&r, 20), places = (int)um_rng_below(&r, 20);
        um_jval root, v;
        int64_t whole = 0;
        double real = 0;
        digits[0] = (char)('1' + um_rng_below(&r, 9));
        for (int i = 1; i < n; i++)
            digits[i] = (char)('0' + um_rng_below(&r, 10));
        digits[n] = '\0';
        const char *sign = round % 3 == 0 ? "-" : "";
        snprintf(text, sizeof text, "{\"n\":%s%s}", sign, digits);
        errno = 0;
        long long expected = strtoll(text + 5, NULL, 10);
        um_status status = um_jsonl_parse(j, text, strlen(text), &root, &err);
        assert_int_equal(status, errno == 0 ? UM_OK : UM_ERR_INPUT);
        if (status == UM_OK) {
            assert_true(um_jval_get(root, "n", &v) && um_jval_i64(v, &whole));
            assert_true(whole == expected);
        }
        snprintf(text, sizeof text, "{\"n\":%s%.*s.%s%s}", sign, places % n + 1, digits, digits,
                 round % 5 == 0 ? "e-7" : "");
        assert_ok(um_jsonl_parse(j, text, strlen(text), &root, &err), err);
        assert_true(um_jval_get(root, "n", &v) && um_jval_f64(v, &real));
        assert_true(real == strtod(text + 5, NULL));
    }
    um_jsonl_free(j);
}

/* Each line of a block is written with the escapes that it needs itself. */
static void escapes_of_lines(void **state)
{
    (void)state;
    static const char *const lines[][2] = {
        {"{\"a\":\"plain \xC3\xA9\"}", "{\"a\":\"plain \xC3\xA9\"}"},
        {"{\"a\":\"x\\\"y\", \"b\":[\"/\\/\"]}", "{\"a\":\"x\\\"y\",\"b\":[\"//\"]}"},
        {"{\"a\":\"plain\", \"b\":\"\"}", "{\"a\":\"plain\",\"b\":\"\"}"},
        {"{\"a\":\"\\u00e9\\u0022\\u0001\"}", "{\"a\":\"\xC3\xA9\\\"\\u0001\"}"},
        {"{\"a\\\\\":\"plain\"}", "{\"a\\\\\":\"plain\"}"},
        {"{\"a\":\"\xC3\xA9\\t\xC3\xA9\",\"b\":\"\\\\\"}",
         "{\"a\":\"\xC3\xA9\\t\xC3\xA9\",\"b\":\"\\\\\"}"}};
    enum { N = sizeof lines / sizeof *lines };
    size_t at[N];
    um_str block = UM_STR_INIT, text = UM_STR_INIT;
    um_jval root;
    void *p = parser_new();
    for (int i = 0; i < N; i++) {
        at[i] = block.len;
        um_str_append(&block, lines[i][0]);
        um_str_append_char(&block, '\n');
    }
    memset(um_str_extend(&block, UM_JSONL_PADDING), ' ', UM_JSONL_PADDING);
    for (int i = 0; i < 2 * N; i++) { /* in the block, then alone */
        const char *line = lines[i % N][0];
        if (i < N)
            assert_ok(um_jsonl_parse_in_place(p, block.data + at[i], strlen(line), &root, &err),
                      err);
        else
            assert_ok(um_jsonl_parse(p, line, strlen(line), &root, &err), err);
        um_str_clear(&text);
        um_jval_dump(&text, root);
        assert_string_equal(um_str_text(&text), lines[i % N][1]);
    }
    um_jsonl_free(p);
    um_str_dispose(&block);
    um_str_dispose(&text);
}

/* UTF-8 is looked for as the text was, not as it is after strings were moved together. */
static void utf8_around_escapes(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"a\":\"\\u0020\xC3\xA9\"}",         "{\"a\":\"\\n\xF0\x9F\x98\x80\",\"b\":1}",
        "{\"a\":\"\xC3\xA9\\n\xC3\"}",         "{\"a\":\"\xC3\\n\xA9\"}",
        "{\"\xC3\xA9\":\"\xC3\xA9\\u00e9x\"}", "{\"a\":\"\\n\",\"b\":\"\xA9\"}",
        "{\"b\":\"\xA9\",\"a\":\"\\n\"}"};
    um_jsonl *j = parser_new();
    um_str text = UM_STR_INIT, dump = UM_STR_INIT;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        um_str_clear(&text);
        um_str_append(&text, texts[i]);
        um_status expected = ask_jansson(&text, &dump);
        assert_int_equal(expected == UM_OK, i < 2 || i == 4);
        check_in_place(j, &text, expected, &dump, NULL);
    }
    um_str_dispose(&text);
    um_str_dispose(&dump);
    um_jsonl_free(j);
}

/* Texts of every length around those where room is made anew; nothing past the text is read. */
static void sizes(void **state)
{
    (void)state;
    static const size_t lens[] = {12, 4095, 4096, 4097, 70000, 8191, 8192, 8193, 3000000, 20};
    um_jsonl *j = parser_new();
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        char *text = malloc(lens[i]);
        um_jval root, v;
        const char *s = NULL;
        size_t len = 0;
        assert_non_null(text);
        memset(text, 'y', lens[i]);
        memcpy(text, "{\"x\":\"", 6);
        memcpy(text + lens[i] - 2, "\"}", 2);
        assert_ok(um_jsonl_parse(j, text, lens[i], &root, &err), err);
        free(text);
        assert_true(um_jval_get(root, "x", &v) && um_jval_str(v, &s, &len));
        assert_int_equal(len, lens[i] - 8);
        assert_int_equal(strspn(s, "y"), len);
    }
    um_jsonl_free(j);
    um_jsonl_free(NULL);
}

/* Keys are told apart at every length, wherever they differ. */
static void keys_of_all_lengths(void **state)
{
    (void)state;
    enum { MOST = 40 };
    um_jsonl *j = NULL;
    um_str line = UM_STR_INIT;
    assert_ok(um_jsonl_new(&j, &err), err);
    for (size_t n = 0; n < MOST; n++) {
        for (size_t differs = 0; differs <= n; differs++) { /* n: nowhere */
            um_jval root, value;
            char *key = malloc(n + 1); /* nothing after it is read */
            assert_non_null(key);
            memset(key, 'k', n);
            key[n] = '\0';
            um_str_clear(&line);
            um_str_appendf(&line, "{\"%s\":1}", key);
            if (differs < n)
                key[differs] = 'q';
            const um_jkey wanted = {key, n};
            um_jsonl_want(j, &wanted, 1);
            assert_ok(um_jsonl_parse(j, line.data, line.len, &root, &err), err);
            assert_int_equal(um_jval_member(root, 0).document != NULL, differs == n);
            assert_int_equal(um_jval_get(root, key, &value), differs == n);
            um_str_clear(&line);
            um_str_appendf(&line, "{\"%s\":1,\"", key);
            for (size_t i = 0; i < n; i++)
                um_str_append_char(&line, 'k');
            um_str_append(&line, "\":2}");
            assert_int_equal(um_jsonl_parse(j, line.data, line.len, &root, &err),
                             differs == n ? UM_ERR_INPUT : UM_OK);
            um_jsonl_want(j, NULL, 0);
            free(key);
        }
    }
    um_str_dispose(&line);
    um_jsonl_free(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(many_keys),
        cmocka_unit_test(values_are_typed),
        cmocka_unit_test(agrees_with_jansson),
        cmocka_unit_test(members_of_rows),
        cmocka_unit_test(remembered_keys_are_checked),
        cmocka_unit_test(numbers),
        cmocka_unit_test(escapes_of_lines),
        cmocka_unit_test(utf8_around_escapes),
        cmocka_unit_test(keys_of_all_lengths),
        cmocka_unit_test(sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
