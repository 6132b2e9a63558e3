/* test_base_yaml.c - the tree with its lines, and what is refused. */
#include "base/file.h"
#include "base/yaml.h"
#include "test_util.h"

static um_status parse(um_yaml **out, const char *text, um_error *err)
{
    return um_yaml_parse(out, text, strlen(text), "f.yaml", err);
}

static void test_tree(void **state)
{
    (void)state;
    um_error err;
    um_yaml *root = NULL;
    assert_ok(parse(&root,
                    "# comment\n"
                    "name: demo\n"
                    "train:\n"
                    "  rate: 2e-4\n"
                    "  empty:\n"
                    "  list: [a, 'b c', \"d\\n\"]\n"
                    "text: |\n"
                    "  two\n"
                    "  lines\n",
                    &err),
              err);
    assert_int_equal(root->kind, UM_YAML_MAP);
    assert_int_equal(root->n, 3);
    assert_string_equal(um_yaml_text(root, "name"), "demo");
    const um_yaml *train = um_yaml_get(root, "train");
    assert_int_equal(train->kind, UM_YAML_MAP);
    assert_string_equal(train->keys[0], "rate");
    assert_string_equal(um_yaml_text(train, "rate"), "2e-4");
    assert_int_equal(um_yaml_get(train, "rate")->line, 4);
    assert_string_equal(um_yaml_text(train, "empty"), "");
    const um_yaml *list = um_yaml_get(train, "list");
    assert_int_equal(list->kind, UM_YAML_LIST);
    assert_int_equal(list->n, 3);
    assert_string_equal(list->item[1]->text, "b c");
    assert_string_equal(list->item[2]->text, "d\n");
    assert_string_equal(um_yaml_text(root, "text"), "two\nlines\n");
    assert_null(um_yaml_text(root, "train"));
    assert_null(um_yaml_get(root, "absent"));
    assert_null(um_yaml_get(list, "name"));
    assert_null(um_yaml_get(NULL, "name"));
    um_yaml_free(root);
    um_yaml_free(NULL);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } rows[] = {
        {"", "f.yaml: the file is empty"},
        {"# only a comment\n", "f.yaml: the file is empty"},
        {"a: 1\nb: 2\na: 3\n", "f.yaml:3: key 'a' appears twice (first on line 1)"},
        {"a: &x 1\nb: 2\n", "f.yaml:1: anchors and aliases"},
        {"a: 1\nb: *x\n", "f.yaml:2: anchors and aliases"},
        {"a: 1\n*x : 2\n", "f.yaml:2: anchors and aliases"},
        {"a: !!int 1\n", "f.yaml:1: tags are not accepted"},
        {"a: !thing {b: 1}\n", "f.yaml:1: tags are not accepted"},
        {"a: 1\n---\nb: 2\n", "f.yaml:2: a second document"},
        {"a: 1\n? [x, y]\n: 2\n", "f.yaml:2: a key must be plain text"},
        {"a: [1, 2\nb: 3\n", "f.yaml:2:"},
        {"a: \"torn\n", "f.yaml:2:"},
        {"a:\n\t- 1\n", "f.yaml:2:"},
        {"a: \"x\\0y\"\n", "f.yaml:1: text contains a NUL"},
        {"a: \xC3(\n", "f.yaml: byte 4: invalid"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        um_error err;
        um_yaml *root = NULL;
        assert_int_equal(parse(&root, rows[i].text, &err), UM_ERR_INPUT);
        assert_null(root);
        if (strstr(err.text, rows[i].message) == NULL)
            fail_msg("%s: \"%s\" lacks \"%s\"", rows[i].text, err.text, rows[i].message);
    }
}

static void test_depth(void **state)
{
    (void)state;
    um_error err;
    char text[20001];
    memset(text, '[', 20000);
    um_yaml *root = NULL;
    assert_int_equal(um_yaml_parse(&root, text, 20000, "deep", &err), UM_ERR_LIMIT);
    memset(text + 64, ']', 64);
    assert_ok(um_yaml_parse(&root, text, 128, "deep", &err), err);
    um_yaml_free(root);
}

static void test_read(void **state)
{
    (void)state;
    um_error err;
    char dir[256], path[300];
    make_dir(dir, sizeof dir);
    snprintf(path, sizeof path, "%s/a.yaml", dir);
    assert_ok(um_file_write(path, "- 1\n- 2\n", 8, &err), err);
    um_yaml *root = NULL;
    assert_ok(um_yaml_read(&root, path, &err), err);
    assert_int_equal(root->n, 2);
    um_yaml_free(root);
    root = NULL;
    snprintf(path, sizeof path, "%s/b.yaml", dir);
    assert_int_equal(um_yaml_read(&root, path, &err), UM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "b.yaml"));
    assert_null(root);
    remove_dir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
