/* Python literals: against what Python makes of them (tests/golden/gen_pyliteral.py), and refusals.
 */
#include "base/json.h"
#include "data/pyliteral.h"
#include "test_util.h"

static um_error err;

static void golden(void **state)
{
    (void)state;
    static char literal[1 << 16], json[1 << 16];
    FILE *f = fopen(UM_SOURCE_DIR "/tests/golden/pyliteral.txt", "r");
    assert_non_null(f);
    int n = 0;
    while (fgets(literal, sizeof literal, f) != NULL && fgets(json, sizeof json, f) != NULL) {
        um_str out = UM_STR_INIT;
        json_t *found = NULL, *expected = NULL;
        size_t len = strcspn(literal, "\n");
        assert_ok(um_pyliteral_to_json(&out, literal, len, &err), err);
        assert_ok(um_json_parse(&found, um_str_text(&out), out.len, "found", &err), err);
        assert_ok(um_json_parse(&expected, json, strcspn(json, "\n"), "expected", &err), err);
        if (!json_equal(found, expected))
            fail_msg("case %d: %s gave %s, expected %s", n, literal, um_str_text(&out), json);
        json_decref(found);
        json_decref(expected);
        um_str_dispose(&out);
        n++;
    }
    fclose(f);
    assert_int_equal(n, 133);
}

static void written_by_python_2(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{u'n': 123L}", "{\"n\":123}"}, {"u'\\ud83d\\ude00'", "\"\xF0\x9F\x98\x80\""},
        {"'\\x00'", "\"\\u0000\""},      {"'caf\xC3\xA9'", "\"caf\xC3\xA9\""},
        {"'\xFF'", "\"\xFF\""}, /* left to the reader of the JSON */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        um_str out = UM_STR_INIT;
        assert_ok(um_pyliteral_to_json(&out, cases[i][0], strlen(cases[i][0]), &err), err);
        assert_string_equal(um_str_text(&out), cases[i][1]);
        um_str_dispose(&out);
    }
}

static void refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "byte 0: no value"},
        {"{'a': }", "byte 6: no value"},
        {"{'a' 1}", "byte 5: no ':'"},
        {"{'a': 1", "byte 0: bracket without its closing one"},
        {"{'a': [1, 2}", "byte 11: no comma"},
        {"{'a': 'b}", "byte 6: string without a closing quote"},
        {"{'a': 'b\\", "byte 6: string without a closing quote"},
        {"{'a': 1} x", "byte 9: text after the value"},
        {"{'a': 1 'b': 2}", "byte 8: no comma"},
        {"[1 2]", "byte 3: no comma"},
        {"[,]", "byte 1: no value"},
        {"{,}", "byte 1: a key"},
        {"{'a': 'b' 'c'}", "byte 10: no comma"},
        {"{'a': null}", "byte 6: a name"},
        {"{'a': true}", "byte 6: a name"},
        {"{'a': Trueish}", "byte 6: a name"},
        {"{'a': nan}", "byte 6: a name"},
        {"{'a': b'x'}", "byte 6: a name"},
        {"{'a': dict()}", "byte 6: a name"},
        {"{None: 1}", "byte 1: a key"},
        {"{'a': 01}", "byte 6: number with a leading zero"},
        {"{'a': -}", "byte 6: a minus or a point"},
        {"{'a': .}", "byte 6: a minus or a point"},
        {"{'a': 1e}", "byte 6: exponent"},
        {"{'a': 1_000}", "byte 7: no comma"},
        {"{'a': 0x10}", "byte 7: no comma"},
        {"{'a': 1 + 2}", "byte 8: no comma"},
        {"'\\x4'", "byte 1: escape with too few"},
        {"'\\u12g4'", "byte 1: escape with too few"},
        {"'\\U00110000'", "byte 1: escape past"},
        {"'ab\\ud83d'", "byte 3: half of a surrogate pair"},
        {"'\\ud83d\\u0041'", "byte 1: half of a surrogate pair"},
        {"'\\ude00'", "byte 1: half of a surrogate pair"},
        {"'\\N{BULLET}'", "byte 1: characters by name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        um_str out = UM_STR_INIT;
        um_status status = um_pyliteral_to_json(&out, cases[i][0], strlen(cases[i][0]), &err);
        if (status != UM_ERR_INPUT || strncmp(err.text, cases[i][1], strlen(cases[i][1])) != 0)
            fail_msg("%s: %s: %s", cases[i][0], um_status_name(status), err.text);
        um_str_dispose(&out);
    }
}

/* Brackets to the limit are read, one more is refused, a million do not overflow the stack. */
static void depth(void **state)
{
    (void)state;
    enum { MANY = 1000000 };
    char *text = malloc(MANY);
    assert_non_null(text);
    memset(text, '[', MANY);
    um_str out = UM_STR_INIT;
    memset(text + UM_PYLITERAL_MAX_DEPTH, ']', UM_PYLITERAL_MAX_DEPTH);
    assert_ok(um_pyliteral_to_json(&out, text, 2 * UM_PYLITERAL_MAX_DEPTH, &err), err);
    assert_int_equal(out.len, 2 * UM_PYLITERAL_MAX_DEPTH);
    memset(text, '[', MANY);
    assert_int_equal(um_pyliteral_to_json(&out, text, MANY, &err), UM_ERR_INPUT);
    assert_string_equal(err.text, "byte 64: deeper than the limit of 64");
    um_str_dispose(&out);
    free(text);
}

/* Every beginning of a good literal is refused, and no byte past its end is read: each stands at
 * the end of a block of its own. */
static void cut_short(void **state)
{
    (void)state;
    static const char text[] =
        "{u'a': [1.5, -2e3, (True, 'x\\u00e9\\n'), r'\\'], \"b\": {'c': None}}";
    for (size_t n = 0; n + 1 < sizeof text; n++) {
        um_str out = UM_STR_INIT;
        char *part = malloc(n > 0 ? n : 1);
        assert_non_null(part);
        memcpy(part, text, n);
        assert_int_equal(um_pyliteral_to_json(&out, part, n, &err), UM_ERR_INPUT);
        free(part);
        um_str_dispose(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden), cmocka_unit_test(written_by_python_2), cmocka_unit_test(refused),
        cmocka_unit_test(depth), cmocka_unit_test(cut_short)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
