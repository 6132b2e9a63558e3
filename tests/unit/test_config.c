/* The table of options: every value in, out, printed and read again; what is refused, and where. */
#include <math.h>

#include "base/file.h"
#include "base/str.h"
#include "mirrorer/config.h"
#include "test_util.h"

static um_config fresh(void)
{
    um_config c;
    um_error err;
    memset(&c, 0, sizeof c);
    assert_ok(um_config_apply_profile(&c, "published", &err), err);
    return c;
}

static void set(um_config *c, const char *key, const char *value)
{
    um_error err;
    assert_ok(um_config_set(c, key, value, "test", &err), err);
}

/* Refused with this status, naming place and key, and nothing is changed. */
static void refuse(const char *key, const char *value, um_status expected, const char *holds)
{
    um_config c = fresh(), before = c;
    um_error err = {0};
    um_status status = um_config_set(&c, key, value, "here:7", &err);
    if (status != expected)
        fail_msg("%s = '%s': %s (%s)", key, value, um_status_name(status), err.text);
    if (!um_str_starts(err.text, "here:7: ") || strstr(err.text, holds) == NULL)
        fail_msg("'%s' does not hold '%s'", err.text, holds);
    assert_memory_equal(&c, &before, sizeof c);
}

static um_status read_yaml(um_config *c, const char *yaml, size_t len, um_error *err)
{
    char dir[4096], path[4200];
    um_error why;
    assert_non_null(make_dir(dir, sizeof dir));
    snprintf(path, sizeof path, "%s/c.yaml", dir);
    assert_ok(um_file_write(path, yaml, len, &why), why);
    um_status status = um_config_read(c, path, err);
    remove_dir(dir);
    return status;
}

static void table_is_sound(void **state)
{
    (void)state;
    size_t n;
    const um_option *o = um_config_options(&n);
    assert_true(n > 90);
    for (size_t i = 0; i < n; i++) {
        assert_ptr_equal(um_config_find(o[i].key), &o[i]);
        assert_true(o[i].offset + o[i].size <= sizeof(um_config));
        assert_true(o[i].help != NULL && o[i].help[0] != '\0');
        assert_null(strchr(o[i].help, '\n'));
        if (o[i].type == UM_OPTION_BOOL)
            assert_int_equal(o[i].size, sizeof(bool));
        else if (o[i].type != UM_OPTION_TEXT)
            assert_int_equal(o[i].size, 8);
        assert_true(o[i].type == UM_OPTION_TEXT || o[i].min < o[i].max);
        for (size_t j = 0; j < i; j++) {
            if (o[j].offset < o[i].offset + o[i].size && o[i].offset < o[j].offset + o[j].size)
                fail_msg("%s and %s share storage", o[j].key, o[i].key);
        }
    }
    assert_null(um_config_find("scenes"));
    assert_null(um_config_find(""));
}

static void defaults_are_valid(void **state)
{
    (void)state;
    size_t n;
    const um_option *o = um_config_options(&n);
    um_config c = fresh();
    char value[UM_CONFIG_TEXT];
    for (size_t i = 0; i < n; i++) {
        set(&c, o[i].key, o[i].fallback);
        um_config_get(&c, &o[i], value, sizeof value);
        if (o[i].type == UM_OPTION_REAL) {
            double a, b;
            assert_true(um_parse_f64(value, &a) && um_parse_f64(o[i].fallback, &b));
            assert_close(a, b, 0);
        } else {
            assert_string_equal(value, o[i].fallback);
        }
    }
    /* The published values, where the field names them. */
    assert_int_equal(c.decide.samples, 10);
    assert_int_equal(c.decide.max_tokens, 1024);
    assert_close(c.decide.top_p, 0.9, 0);
    assert_int_equal(c.eval.repeats, 3);
    assert_close(c.eval.top_p, 0.8, 0);
    assert_int_equal(c.distill.pairs, 10000);
    assert_close(c.sft.lr, 2e-4, 0);
    assert_int_equal(c.sft.epochs, 1);
    assert_close(c.dpo.lr, 1e-5, 0);
    assert_close(c.dpo.weight_decay, 0.05, 0);
    assert_int_equal(c.dpo.epochs, 2);
    assert_int_equal(c.dpo.warmup_steps, 10);
    assert_close(c.dpo.holdout_share, 0, 0);
    assert_string_equal(c.dpo.keep, "last");
    assert_int_equal(c.dpo.patience, 0);
    assert_int_equal(c.dpo.batch_rows, 4);
    assert_close(c.dpo_more.beta, 0.1, 0);
    assert_int_equal(c.sft.max_tokens, 8192);
}

/* The i-th of some values an option may take; false past the last. */
static bool nth_value(const um_option *o, int i, char *out, size_t size)
{
    static const char *const texts[] = {
        "",
        "plain",
        "with 'single' and \"double\" quotes",
        "back\\slash \\n \\u0041",
        "# no comment: [1, {2}]",
        "true",
        "12",
        "~",
        " blanks ",
        "tab\tline\nreturn\r\x01\x1f\x7f",
        "caf\xc3\xa9 \xe6\xbc\xa2 \xf0\x9f\x8e\xac",
        "%s %n {x} * & !",
        "\xc2\x80 \xc2\x85 \xc2\x9f \xe2\x80\xa8 \xe2\x80\xa9 \xef\xbb\xbf",
        "\xef\xbf\xbe\xef\xbf\xbf\xef\xbf\xbd\xf4\x8f\xbf\xbf",
        "- a: b"};
    static const double shares[] = {0, 1, 0.5, 0.123456789012345, 1e-7};
    if (o->type == UM_OPTION_BOOL) {
        snprintf(out, size, "%s", i == 0 ? "true" : "false");
        return i < 2;
    }
    if (o->type == UM_OPTION_TEXT && o->choices == NULL) {
        if (i >= (int)(sizeof texts / sizeof *texts))
            return false;
        snprintf(out, size < o->size ? size : o->size, "%s", texts[i]);
        return um_utf8_valid(out, strlen(out)) || nth_value(o, 1, out, size);
    }
    if (o->type == UM_OPTION_TEXT) {
        const char *p = o->choices;
        for (int skip = 0; skip < i; skip++) {
            p = strchr(p, '|');
            if (p == NULL)
                return false;
            p++;
        }
        snprintf(out, size, "%.*s", (int)strcspn(p, "|"), p);
        return true;
    }
    if (i >= (int)(sizeof shares / sizeof *shares))
        return false;
    double x = o->min + (o->max - o->min) * shares[i];
    snprintf(out, size, o->type == UM_OPTION_INT ? "%.0f" : "%.17g",
             o->type == UM_OPTION_INT ? floor(x) : x);
    return true;
}

static void every_value_goes_in_and_out(void **state)
{
    (void)state;
    size_t n;
    const um_option *o = um_config_options(&n);
    char value[UM_CONFIG_TEXT], out[UM_CONFIG_TEXT];
    for (size_t i = 0; i < n; i++) {
        for (int v = 0; nth_value(&o[i], v, value, sizeof value); v++) {
            um_config a = fresh(), b = fresh();
            set(&a, o[i].key, value);
            um_config_get(&a, &o[i], out, sizeof out);
            set(&b, o[i].key, out);
            assert_memory_equal(&a, &b, sizeof a);
            if (o[i].type != UM_OPTION_REAL)
                assert_string_equal(out, value);
            /* Only that option's bytes are touched. */
            b = fresh();
            memcpy((char *)&b + o[i].offset, (const char *)&a + o[i].offset, o[i].size);
            assert_memory_equal(&a, &b, sizeof a);
        }
    }
}

static void printed_configurations_read_back(void **state)
{
    (void)state;
    size_t n;
    const um_option *o = um_config_options(&n);
    char value[UM_CONFIG_TEXT];
    for (int round = 0; round < 16; round++) {
        um_config c = fresh(), again = fresh();
        um_error err;
        char *yaml = NULL;
        for (size_t i = 0; i < n; i++) {
            int values = 0;
            while (nth_value(&o[i], values, value, sizeof value))
                values++;
            if (round > 0 && nth_value(&o[i], (round + (int)i) % values, value, sizeof value))
                set(&c, o[i].key, value);
        }
        assert_ok(um_config_print(&c, &yaml, &err), err);
        assert_ok(um_config_apply_profile(&again, "embedded", &err), err);
        assert_ok(read_yaml(&again, yaml, strlen(yaml), &err), err);
        assert_memory_equal(&c, &again, sizeof c);
        for (size_t i = 0; i < n; i++)
            assert_non_null(strstr(yaml, o[i].help));
        free(yaml);
    }
}

static void profiles_apply_over_the_table(void **state)
{
    (void)state;
    um_config published = fresh(), c;
    um_error err;
    assert_ok(um_config_init(&c, &err), err);
    assert_string_equal(c.prompt.form, "ekb-short");
    assert_true(c.distill.pairs < published.distill.pairs);
    um_config changed = c;
    set(&changed, "scenes.content", "false");
    assert_ok(um_config_apply_profile(&changed, "published", &err), err);
    assert_memory_equal(&changed, &published, sizeof changed);
    assert_int_equal(um_config_apply_profile(&c, "huge", &err), UM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "huge"));
}

static void numbers_out_of_range(void **state)
{
    (void)state;
    size_t n;
    const um_option *o = um_config_options(&n);
    char value[400];
    static const char *const nonsense[] = {"",    "many", "1x",  " 1", "nan",
                                           "inf", "0x10", "1,5", "--1"};
    for (size_t i = 0; i < n; i++) {
        if (o[i].type == UM_OPTION_TEXT || o[i].type == UM_OPTION_BOOL)
            continue;
        bool whole = o[i].type == UM_OPTION_INT;
        snprintf(value, sizeof value, whole ? "%.0f" : "%.17g",
                 whole ? o[i].min - 1 : o[i].min - 1e-3 - fabs(o[i].min) * 1e-3);
        refuse(o[i].key, value, UM_ERR_INPUT, o[i].key);
        snprintf(value, sizeof value, whole ? "%.0f" : "%.17g",
                 whole ? o[i].max + 1 : o[i].max * 1.001);
        refuse(o[i].key, value, UM_ERR_INPUT, value);
        for (size_t v = 0; v < sizeof nonsense / sizeof *nonsense; v++)
            refuse(o[i].key, nonsense[v], UM_ERR_INPUT, o[i].key);
        if (whole) {
            refuse(o[i].key, "2.5", UM_ERR_INPUT, "whole number");
            refuse(o[i].key, "99999999999999999999", UM_ERR_INPUT, "whole number");
        }
    }
    refuse("scenes.train_max_len", "27", UM_ERR_INPUT, "from 2 to 26");
}

static void texts_out_of_bounds(void **state)
{
    (void)state;
    char longest[UM_CONFIG_TEXT + 1];
    um_config c = fresh();
    memset(longest, 'x', sizeof longest);
    longest[UM_CONFIG_TEXT] = '\0';
    refuse("student.path", longest, UM_ERR_LIMIT, "511");
    longest[UM_CONFIG_TEXT - 1] = '\0';
    set(&c, "student.path", longest);
    assert_string_equal(c.student.path, longest);
    set(&c, "student.path", "short");
    assert_int_equal(c.student.path[6], 0); /* nothing of the longer one stays behind */

    refuse("student.path", "caf\xe9", UM_ERR_INPUT, "UTF-8");
    refuse("dpo.loss", "sigmo", UM_ERR_INPUT, "sigmoid|robust");
    refuse("dpo.loss", "sigmoid|robust", UM_ERR_INPUT, "one of");
    refuse("dpo.loss", "", UM_ERR_INPUT, "one of");
    refuse("scenes.content", "yes", UM_ERR_INPUT, "true or false");
    refuse("scenes.content", "True", UM_ERR_INPUT, "true or false");
    refuse("scenes.content", "", UM_ERR_INPUT, "true or false");
}

static void unknown_keys_get_the_nearest_name(void **state)
{
    (void)state;
    refuse("scenes.max_histroy", "3", UM_ERR_INPUT, "did you mean 'scenes.max_history'");
    refuse("scene.train", "3", UM_ERR_INPUT, "did you mean 'scenes.train'");
    refuse("sede", "3", UM_ERR_INPUT, "did you mean 'seed'");
    um_config c = fresh();
    um_error err;
    assert_int_equal(um_config_set(&c, "zzzzzzzz", "3", "here", &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "--print-config"));
    assert_null(strstr(err.text, "did you mean"));
}

static void files_apply_section_by_section(void **state)
{
    (void)state;
    static const char yaml[] = "# comment\nseed: 42\nscenes:\n  train: 77   # of them\n"
                               "  random: false\ndpo:\n  beta: 0.25\n  lr: 3e-5\n"
                               "dpo.label_smoothing: 0.1\nteacher_less:\n";
    um_config c = fresh(), expected = fresh();
    um_error err;
    assert_ok(read_yaml(&c, yaml, strstr(yaml, "teacher_less") - yaml, &err), err);
    set(&expected, "seed", "42");
    set(&expected, "scenes.train", "77");
    set(&expected, "scenes.random", "false");
    set(&expected, "dpo.beta", "0.25");
    set(&expected, "dpo.lr", "0.00003");
    set(&expected, "dpo.label_smoothing", "0.1");
    assert_memory_equal(&c, &expected, sizeof c);
    assert_int_equal(read_yaml(&c, yaml, strlen(yaml), &err), UM_ERR_INPUT);
    /* A section whose lines are all commented out. */
    static const char empty[] = "scenes:\n  # train: 3\nseed: 42\n";
    assert_ok(read_yaml(&c, empty, strlen(empty), &err), err);
}

static void bad_files_are_named_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *place, *holds;
    } cases[] = {
        {"seed: 1\nscenes:\n  train: many\n",
         "c.yaml:3: ", "scenes.train: found 'many'; a whole number"},
        {"scenes:\n  train: 3\n  random: 1\n", "c.yaml:3: ", "scenes.random: found '1'"},
        {"scenes:\n  train: [1, 2]\n", "c.yaml:2: ", "scenes.train: need one value"},
        {"scenes:\n  train:\n    deep: 1\n", "c.yaml:3: ", "scenes.train: need one value"},
        {"scenes:\n  train:\n", "c.yaml:2: ", "scenes.train: found ''"},
        {"scenes: 5\n", "c.yaml:1: ", "unknown option 'scenes'"},
        {"seed:\n  deep: 1\n", "c.yaml:2: ", "unknown option 'seed.deep'"},
        {"dpo:\n  los: hinge\n", "c.yaml:2: ", "did you mean 'dpo.loss'"},
        {"dpo:\n  loss: huber\n", "c.yaml:2: ", "'huber'; one of sigmoid|robust"},
        {"seed: 1\nseed: 2\n", "c.yaml:2: ", "twice"},
        {"seed: 1\n dpo: 2\n", "c.yaml:2: ", ""},
        {"- seed\n", "c.yaml", "mapping of sections"},
        {"seed\n", "c.yaml", "mapping of sections"},
        {"", "c.yaml", "empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        um_config c = fresh();
        um_error err = {0};
        assert_int_equal(read_yaml(&c, cases[i].yaml, strlen(cases[i].yaml), &err), UM_ERR_INPUT);
        if (strstr(err.text, cases[i].place) == NULL || strstr(err.text, cases[i].holds) == NULL)
            fail_msg("case %zu: '%s' does not hold '%s' and '%s'", i, err.text, cases[i].place,
                     cases[i].holds);
    }
    um_config c = fresh();
    um_error err;
    assert_int_equal(um_config_read(&c, "/nonexistent/c.yaml", &err), UM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nonexistent/c.yaml"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_sound),
        cmocka_unit_test(defaults_are_valid),
        cmocka_unit_test(every_value_goes_in_and_out),
        cmocka_unit_test(printed_configurations_read_back),
        cmocka_unit_test(profiles_apply_over_the_table),
        cmocka_unit_test(numbers_out_of_range),
        cmocka_unit_test(texts_out_of_bounds),
        cmocka_unit_test(unknown_keys_get_the_nearest_name),
        cmocka_unit_test(files_apply_section_by_section),
        cmocka_unit_test(bad_files_are_named_by_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
