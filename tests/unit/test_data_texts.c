/* Web page text to plain text, texts put aside by key, and numbers with commas. */
#include "data/markup.h"
#include "data/objects.h"
#include "data/text_maker.h"
#include "data/textjoin.h"
#include "test_util.h"

static um_error err;

static void markup(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"plain text", "plain text"},
        {"  two\n\nlines\t here ", "two lines here"},
        {"one<br />two<BR>three", "one two three"},
        {"<p>a <b>bold</b>, <i>x</i></p>", "a bold, x"},
        {"in<b>si</b>de<li>x</li>y", "inside x y"},
        {"Arts, Music &amp; Photography", "Arts, Music & Photography"},
        {"it&#x2019;s &#39;so&#39; &#150; &#xa0;&nbsp; &eacute;",
         "it\xE2\x80\x99s 'so' \xE2\x80\x93 \xC3\xA9"},
        {"AT&T &unknown; &; &#; &#xd800; &#99999999; 5 & 6",
         "AT&T &unknown; &; &#; &#xd800; &#99999999; 5 & 6"},
        {"I <3 it, 2 < 3 > 1", "I <3 it, 2 < 3 > 1"},
        {"<span class=\"a-size-medium a-color-secondary\"", ""},
        {"end <a href=", "end"},
        {"not a tag <unfinished", "not a tag <unfinished"},
        {"a<script>var x = '<b>';</script>b<style type=\"t\">.c{}</style>d", "a b d"},
        {"a<script>never closed", "a"},
        {"a<!-- no <b> --> b <!-- open", "a b"},
        {"caf\xC3\xA9 \xE5\xBC\xB9", "caf\xC3\xA9 \xE5\xBC\xB9"},
        {"\x01\x02<br>", ""},
        {"&amp;lt;", "&lt;"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        um_str out = UM_STR_INIT;
        assert_int_equal(um_markup_clean(&out, cases[i][0], strlen(cases[i][0])),
                         cases[i][1][0] != '\0');
        assert_string_equal(um_str_text(&out), cases[i][1]);
        um_str_dispose(&out);
    }
    um_str out = UM_STR_INIT;
    um_str_append(&out, "kept: ");
    assert_true(um_markup_clean(&out, " x\0y ", 5));
    assert_string_equal(um_str_text(&out), "kept: x y");
    um_str_dispose(&out);
}

static const char *text_of(char text[64], uint32_t i)
{
    snprintf(text, 64, "text %u %.*s", i, (int)(i % 40),
             "........................................");
    return i % 7 == 0 ? "" : text;
}

/* What has to be taken out or replaced is found wherever it stands: the text is looked at in
 * blocks.
 */
static void markup_anywhere(void **state)
{
    (void)state;
    static const char *const parts[][2] = {
        {" <br> ", " "}, {"  ", " "}, {" &nbsp;", " "}, {" \x7f", " "}, {"&amp;", "&"},
        {"\n", " "},     {"<b>", ""}, {" <3 ", " <3 "}, {" & ", " & "}, {" ", " "}};
    enum { LEN = 100 };
    char text[LEN + 16], expected[LEN + 16];
    um_str out = UM_STR_INIT;
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        for (int at = 1; at < LEN - 1; at++) {
            memset(text, 'x', sizeof text);
            memset(expected, 'x', sizeof expected);
            int n = snprintf(text + at, 16, "%s", parts[p][0]);
            int m = snprintf(expected + at, 16, "%s", parts[p][1]);
            text[at + n] = expected[at + m] = 'y';
            expected[LEN + m] = '\0';
            um_str_clear(&out);
            assert_true(um_markup_clean(&out, text, (size_t)(LEN + n)));
            assert_string_equal(um_str_text(&out), expected);
            um_str_clear(&out); /* at the end: a blank goes */
            assert_true(um_markup_clean(&out, text, (size_t)(at + n)));
            expected[at + m - (m > 0 && expected[at + m - 1] == ' ')] = '\0';
            assert_string_equal(um_str_text(&out), expected);
        }
    }
    um_str_dispose(&out);
}

/* Keys that begin alike, empty texts, many texts: each comes back, before and after others are put.
 */
static void textjoin(void **state)
{
    (void)state;
    enum { N = 20000 };
    um_textjoin *t = NULL;
    char key[32], text[64];
    bool added = false;
    assert_ok(um_textjoin_new(&t, NULL, &err), err);
    assert_null(um_textjoin_get(t, "k1"));
    for (uint32_t i = 0; i < N; i++) {
        snprintf(key, sizeof key, "k%u", i);
        assert_ok(um_textjoin_put(t, key, text_of(text, i), &added, &err), err);
        assert_true(added);
        snprintf(key, sizeof key, "k%u", i / 2);
        assert_string_equal(um_textjoin_get(t, key), text_of(text, i / 2));
    }
    assert_ok(um_textjoin_put(t, "k1", "other", &added, &err), err);
    assert_false(added);
    assert_int_equal(um_textjoin_len(t), N);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(key, sizeof key, "k%u", i);
        assert_string_equal(um_textjoin_get(t, key), text_of(text, i));
    }
    assert_null(um_textjoin_get(t, "k"));
    assert_null(um_textjoin_get(t, "k20000"));
    um_textjoin_free(t);
    um_textjoin_free(NULL);
}

static void long_text(void **state)
{
    (void)state;
    enum { LEN = 3000000, N = 40 };
    um_textjoin *t = NULL;
    char *text = malloc(LEN + 1), key[16];
    bool added = false;
    assert_non_null(text);
    for (size_t i = 0; i < LEN; i++)
        text[i] = (char)('a' + i % 26);
    text[LEN] = '\0';
    assert_ok(um_textjoin_new(&t, NULL, &err), err);
    for (int i = 0; i < N; i++) { /* more than is looked at before memory is let go */
        snprintf(key, sizeof key, "%d", i);
        assert_ok(um_textjoin_put(t, key, text + i, &added, &err), err);
    }
    for (int i = 0; i < N; i++) {
        snprintf(key, sizeof key, "%d", i);
        assert_string_equal(um_textjoin_get(t, key), text + i);
    }
    um_textjoin_free(t);
    free(text);
}

static void grouped(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool good;
        double value;
    } cases[] = {{"1,234", true, 1234}, {"1,234,567.5", true, 1234567.5},
                 {"12", true, 12},      {"", false, 0},
                 {",1", false, 0},      {"12 apples", false, 0},
                 {"nan", false, 0},     {"99999999999999999999999999999999999999999", false, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double value = 0;
        assert_int_equal(um_parse_grouped(cases[i].text, &value), cases[i].good);
        assert_true(value == cases[i].value);
    }
}

static void names(void **state)
{
    (void)state;
    um_str name = UM_STR_INIT;
    um_name_of_part(&name, "amazon", "All Beauty&More_5");
    assert_string_equal(um_str_text(&name), "amazon-all_beauty_more_5");
    um_str_clear(&name);
    um_name_of_part(
        &name, "amazon",
        "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX");
    assert_int_equal(name.len, 64);
    um_str_dispose(&name);
}

/* What a maker keeps is what cleaning and JSON make of the text; at every length, whatever stands
 * where. */
static void kept_texts(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a",    "\xC3\xA9", "a b",  " ",  "<",
                                         "&",    "\"",       "\\",   "\n", "\x7f",
                                         "\x1f", "&lt;",     "<br>", "  ", "&quot;"};
    enum { N = sizeof pieces / sizeof *pieces, MAX = 40 };
    um_str text = UM_STR_INIT, clean = UM_STR_INIT, json = UM_STR_INIT, line = UM_STR_INIT;
    um_dataset_builder *builder = NULL;
    um_text_maker maker = {0};
    um_jsonl *parser = NULL;
    um_jval root;
    assert_ok(um_dataset_builder_new(&builder, "d", &err), err);
    assert_ok(um_text_maker_open(&maker, builder, &err), err);
    assert_ok(um_jsonl_new(&parser, &err), err);
    um_jsonl_want(parser, &(um_jkey)UM_JKEY("k"), 1);
    for (int i = 0; i < MAX * MAX * N; i++) {
        char *kept = NULL;
        um_str_clear(&text);
        um_str_clear(&clean);
        um_str_clear(&json);
        um_str_clear(&line);
        um_str_appendf(&text, "%.*s%s%.*s", i % MAX, "0123456789012345678901234567890123456789",
                       pieces[i / MAX / MAX], i / MAX % MAX,
                       "abcdefghijabcdefghijabcdefghijabcdefghij");
        um_str_append(&line, "{\"k\":");
        um_str_append_json(&line, text.data);
        um_str_append(&line, "}");
        assert_ok(um_jsonl_parse(parser, line.data, line.len, &root, &err), err);
        assert_ok(um_keep_value(&maker, um_jval_member(root, 0), " ", &kept, &err), err);
        if (!um_markup_clean(&clean, text.data, text.len)) {
            assert_null(kept);
            continue;
        }
        um_str_append_json_n(&json, clean.data, clean.len);
        assert_string_equal(kept, json.data);
        assert_ok(um_keep_json(&maker, um_jval_member(root, 0), &kept, &err), err);
        assert_memory_equal(kept, line.data + 5, line.len - 6);
        assert_int_equal(kept[line.len - 6], 0);
    }
    um_jsonl_free(parser);
    assert_ok(um_text_maker_close(&maker, UM_OK, &err), err);
    um_dataset_builder_free(builder);
    um_str_dispose(&text);
    um_str_dispose(&clean);
    um_str_dispose(&json);
    um_str_dispose(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(markup),    cmocka_unit_test(markup_anywhere), cmocka_unit_test(textjoin),
        cmocka_unit_test(long_text), cmocka_unit_test(grouped),         cmocka_unit_test(names),
        cmocka_unit_test(kept_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
