/* test_base_json.c - what strict JSON refuses, typed members, canonical output. */
#include "base/file.h"
#include "base/json.h"
#include "test_util.h"

static um_status parse(json_t **out, const char *text, um_error *err)
{
    return um_json_parse(out, text, strlen(text), "in.json", err);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "in.json: line 1"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {"{\"a\":1} x", "end of file expected"},
        {"{\"a\":1}{\"b\":2}", "end of file expected"},
        {"{\"a\":1,\n \"b\":}", "in.json: line 2 column"},
        {"[1e999]", "overflow"},
        {"[9223372036854775808]", "too big"},
        {"[\"\xC3(\"]", "decode byte 0xc3"},
        {"[\"\\ud800\"]", "Unicode"},
        {"[\"\\u0000\"]", "\\u0000"},
        {"[NaN]", "invalid token"},
        {"[01]", "in.json"},
        {"[1,]", "in.json"},
        {"{\"a\":\"torn", "in.json"},
        {"['a']", "invalid token"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        um_error err;
        json_t *value = NULL;
        assert_int_equal(parse(&value, rows[i].text, &err), UM_ERR_INPUT);
        assert_null(value);
        if (strstr(err.text, rows[i].message) == NULL)
            fail_msg("%s: \"%s\" lacks \"%s\"", rows[i].text, err.text, rows[i].message);
    }
}

static void test_depth(void **state)
{
    (void)state;
    um_error err;
    char text[200];
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    json_t *value = NULL;
    assert_ok(um_json_parse(&value, text + 1, 128, "d", &err), err); /* 64 levels */
    json_decref(value);
    value = NULL;
    assert_int_equal(um_json_parse(&value, text, 130, "d", &err), UM_ERR_LIMIT);
    assert_non_null(strstr(err.text, "line 1 column 65"));
    /* Brackets inside strings are text. */
    char quoted[300] = "\"\\\"";
    memset(quoted + 3, '[', 200);
    memcpy(quoted + 203, "\"", 2);
    assert_ok(parse(&value, quoted, &err), err);
    json_decref(value);
}

static void test_members(void **state)
{
    (void)state;
    um_error err;
    json_t *o = NULL;
    assert_ok(parse(&o, "{\"s\":\"x\",\"i\":-7,\"f\":2.5,\"b\":true,\"n\":null}", &err), err);
    const char *text = NULL;
    int64_t i = 0;
    double f = 0;
    bool b = false;
    assert_ok(um_json_get_str(&text, o, "s", "w", &err), err);
    assert_string_equal(text, "x");
    assert_ok(um_json_get_i64(&i, o, "i", "w", &err), err);
    assert_int_equal(i, -7);
    assert_ok(um_json_get_f64_or(&f, o, "f", 0, "w", &err), err);
    assert_true(f == 2.5);
    assert_ok(um_json_get_f64_or(&f, o, "i", 0, "w", &err), err);
    assert_true(f == -7.0);
    assert_ok(um_json_get_bool_or(&b, o, "b", false, "w", &err), err);
    assert_true(b);
    assert_ok(um_json_get_bool_or(&b, o, "n", false, "w", &err), err);
    assert_false(b);
    assert_ok(um_json_get_i64_or(&i, o, "absent", 99, "w", &err), err);
    assert_int_equal(i, 99);
    assert_ok(um_json_get_f64_or(&f, o, "n", 1.5, "w", &err), err);
    assert_true(f == 1.5);

    assert_int_equal(um_json_get_str(&text, o, "i", "file:3", &err), UM_ERR_INPUT);
    assert_string_equal(err.text, "file:3: key \"i\": found an integer, need a string");
    assert_int_equal(um_json_get_str(&text, o, "absent", "w", &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "found nothing"));
    assert_int_equal(um_json_get_i64(&i, o, "f", "w", &err), UM_ERR_INPUT);
    assert_int_equal(um_json_get_i64(&i, o, "n", "w", &err), UM_ERR_INPUT);
    assert_int_equal(um_json_get_i64_or(&i, o, "s", 0, "w", &err), UM_ERR_INPUT);
    assert_int_equal(um_json_get_f64_or(&f, o, "s", 0, "w", &err), UM_ERR_INPUT);
    assert_int_equal(um_json_get_bool_or(&b, o, "i", false, "w", &err), UM_ERR_INPUT);
    json_t *array = json_array();
    assert_int_equal(um_json_get_i64_or(&i, array, "x", 0, "w", &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "found an array"));
    json_decref(array);
    json_decref(o);
}

static void test_dump(void **state)
{
    (void)state;
    um_error err;
    json_t *value = NULL;
    const char *canonical =
        "{\"z\":[1,-2.5,0.1,\"\xC3\xA9\\n\",true,false,null],\"a\":{},\"b\":[]}";
    assert_ok(parse(&value,
                    " {\"z\" : [1, -2.50, 1e-1, \"\\u00e9\\n\", true,false , null],"
                    "\n\"a\":{} , \"b\":[ ]}",
                    &err),
              err);
    um_str s = UM_STR_INIT;
    um_json_dump(&s, value);
    assert_string_equal(um_str_text(&s), canonical);
    json_decref(value);
    value = NULL;
    assert_ok(parse(&value, canonical, &err), err);
    um_str_clear(&s);
    um_json_dump(&s, value);
    assert_string_equal(um_str_text(&s), canonical);
    json_decref(value);
    um_str_dispose(&s);
}

static void test_read(void **state)
{
    (void)state;
    um_error err;
    char dir[256], path[300];
    make_dir(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/a.json", dir);
    assert_ok(um_file_write(path, "[1]", 3, &err), err);
    json_t *value = NULL;
    assert_ok(um_json_read(&value, path, 3, &err), err);
    assert_int_equal(json_array_size(value), 1);
    json_decref(value);
    value = NULL;
    assert_int_equal(um_json_read(&value, path, 2, &err), UM_ERR_LIMIT);
    assert_ok(um_file_write(path, "[1,", 3, &err), err);
    assert_int_equal(um_json_read(&value, path, 99, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, path));
    assert_null(value);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_members), cmocka_unit_test(test_dump),
        cmocka_unit_test(test_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
