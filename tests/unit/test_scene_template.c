#include "base/str.h"
#include "mirrorer/world.h"
#include "scene/template.h"
#include "scene_log.h"

/* One user, three items: "full" has every cell, "bare" none, "odd" awkward ones. */
typedef struct fixture {
    um_dataset *d;
    uint32_t full, bare, odd;
} fixture;

static int set_up(void **state)
{
    static fixture f;
    um_error err;
    um_dataset_builder *b = new_builder("fixture");
    uint32_t user = add_user(b, "ann");
    f.full = add_item(b, "full");
    f.bare = add_item(b, "bare");
    f.odd = add_item(b, "odd");
    assert_ok(um_dataset_builder_set_user(b, user, "age", UM_COLUMN_DESCRIPTION, "25-34", &err),
              err);
    describe(b, f.full, "title", "Silent Harbor");
    describe(b, f.full, "genre", "Fantasy");
    describe(b, f.full, "plot_line", "one two three four");
    describe(b, f.full, "tags", "[\"a\", \"b\", \"c\"]");
    describe(b, f.odd, "tags", "[not a list");
    describe(b, f.full, "awards", "[]");
    describe(b, f.odd, "title", "  two\n\tlines {x} [A]  ");
    describe(b, f.odd, "plot_line", "\xc3\xa9t\xc3\xa9 court");
    assert_ok(um_dataset_builder_set_item(b, f.full, "year", UM_COLUMN_FEATURE, "1994", &err), err);
    assert_ok(um_dataset_builder_set_item(b, f.odd, "year", UM_COLUMN_FEATURE, "null", &err), err);
    assert_ok(um_dataset_builder_set_item(b, f.full, "cast", UM_COLUMN_FEATURE,
                                          "[\"Al\", \"B\\\"o\", 3]", &err),
              err);
    assert_ok(um_dataset_builder_set_item(b, f.odd, "cast", UM_COLUMN_FEATURE, "\"solo\"", &err),
              err);
    const uint32_t items[] = {f.full, f.odd, f.bare, f.full};
    const int64_t day = 86400, times[] = {day, 3 * day, 3 * day + 7200, 9 * day};
    for (int i = 0; i < 4; i++) {
        interact(b, user, items[i], times[i]);
        if (i != 1)
            assert_ok(um_dataset_builder_number(b, "rating", 3.5 + i, &err), err);
        if (i == 0)
            assert_ok(um_dataset_builder_text(b, "review", "\"fine, really\"", &err), err);
    }
    f.d = finish(b);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    um_dataset_free(((fixture *)*state)->d);
    return 0;
}

static um_status parse(um_template **t, const char *profile, const char *history,
                       const char *action, um_error *err)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml, "profile: '%s'\nhistory: '%s'\naction: '%s'\n", profile, history,
             action);
    return um_template_parse(t, yaml, strlen(yaml), "my.yaml", err);
}

static void expect(const fixture *f, um_template_part part, uint32_t item, uint64_t interaction,
                   const char *text, const char *expected)
{
    um_error err;
    um_template *t = NULL;
    um_renderer r;
    um_str out = UM_STR_INIT, scratch = UM_STR_INIT;
    assert_ok(parse(&t, part == UM_TEMPLATE_PROFILE ? text : "",
                    part == UM_TEMPLATE_HISTORY ? text : "", part == UM_TEMPLATE_ACTION ? text : "",
                    &err),
              err);
    assert_ok(um_template_check(t, f->d, &err), err);
    assert_ok(um_renderer_new(&r, t, f->d, &err), err);
    um_render_scene scene = {0, f->d->time_s[3], 0, 3};
    if (part == UM_TEMPLATE_PROFILE)
        um_render_profile(&r, &out, &scratch, &scene);
    else if (part == UM_TEMPLATE_HISTORY)
        um_render_history(&r, &out, &scratch, &scene, &interaction, 1);
    else
        um_render_action(&r, &out, &scratch, &scene, item);
    assert_string_equal(um_str_text(&out), expected);
    um_str_dispose(&out);
    um_str_dispose(&scratch);
    um_renderer_dispose(&r);
    um_template_free(t);
}

static void items_are_rendered(void **state)
{
    const fixture *f = *state;
    const struct {
        uint32_t item;
        const char *text, *expected;
    } cases[] = {
        {f->full, "{title} ({year}), {genre}", "Silent Harbor (1994), Fantasy"},
        {f->full, "{genre|lower}; {cast}", "fantasy; Al, B\"o, 3"},
        {f->odd, "{cast} {title}", "solo two lines {x} [A]"},
        {f->odd, "{title|words:1}", "two..."},
        {f->full, "{plot_line|words:2}", "one two..."},
        {f->full, "{plot_line|words:4}", "one two three four"},
        {f->odd, "{plot_line|chars:3}", "\xc3\xa9t\xc3\xa9..."},
        {f->odd, "{plot_line|chars:9}", "\xc3\xa9t\xc3\xa9 court"},
        {f->full, "{year|number:2}", "1994.00"},
        {f->full, "{title|number:2}", "Silent Harbor"},
        {f->bare, "<{title}>", "<>"},
        {f->bare, "{title|or:no title}{year|or:}.", "no title."},
        {f->odd, "x[[ ({year})]][[ {cast}]]", "x solo"},
        {f->odd, "x[[ {cast} {year} {title}]]y", "xy"},
        {f->odd, "x[[ {year|or:unknown}]]", "x unknown"},
        {f->full, "{{{id}}} [one] ]", "{full} [one] ]"},
        {f->full, "{*|words:2}",
         "title: Silent Harbor; genre: Fantasy; plot line: one two...; "
         "tags: [\"a\", \"b\",...; awards: []"},
        {f->bare, "{*}", "bare"},
        {f->full, "{cast|list:2}; {cast|list}; {cast|list:9}",
         "Al, B\"o; Al, B\"o, 3; Al, B\"o, 3"},
        {f->odd, "{cast|list:1}", "solo"},
        {f->full, "{tags|list:2}; {tags}", "a, b; [\"a\", \"b\", \"c\"]"},
        {f->odd, "{tags|list}", "[not a list"},
        {f->full, "{awards|list|or:none}", "none"},
        {f->full, "{year|short} {title|short}", "2k Silent Harbor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(f, UM_TEMPLATE_ACTION, cases[i].item, 0, cases[i].text, cases[i].expected);
}

/* Feature "year" of a new item, printed short. */
static void numbers_are_shortened(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"0", "0"},          {"950", "950"},         {"999", "999"},
        {"999.4", "999"},    {"999.5", "1k"},        {"1000", "1k"},
        {"1049", "1k"},      {"1050", "1.1k"},       {"1234", "1.2k"},
        {"9949", "9.9k"},    {"9950", "10k"},        {"12345", "12k"},
        {"999499", "999k"},  {"999500", "1M"},       {"3000000", "3M"},
        {"3400000", "3.4M"}, {"1500000000", "1.5B"}, {"7e15", "7000000B"},
        {"-12345", "-12k"},  {"-0.2", "0"},          {"\"12345\"", "12k"},
        {"0.4", "0"},        {"true", "true"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        um_error err;
        um_dataset_builder *b = new_builder("numbers");
        uint32_t user = add_user(b, "ann"), item = add_item(b, "x");
        assert_ok(
            um_dataset_builder_set_item(b, item, "year", UM_COLUMN_FEATURE, cases[i][0], &err),
            err);
        for (int k = 0; k < 4; k++)
            interact(b, user, item, 1000 + k);
        const fixture f = {.d = finish(b)};
        expect(&f, UM_TEMPLATE_ACTION, item, 0, "{year|short}", cases[i][1]);
        um_dataset_free(f.d);
    }
}

/* Ann's friends: bob met "x" at 100 and 300, cat at 200, dan never; eve is no friend. */
static void friends_are_counted(void **state)
{
    (void)state;
    static const struct {
        int64_t time_s;
        const char *user, *item, *expected;
    } cases[] = {
        {100, "ann", "x", "x"},
        {101, "ann", "x", "x, friends: 1"},
        {200, "ann", "x", "x, friends: 1"},
        {201, "ann", "x", "x, friends: 2"},
        {999, "ann", "x", "x, friends: 2"},
        {999, "ann", "y", "y"},
        {999, "bob", "x", "x"},
    };
    um_error err;
    um_dataset_builder *b = new_builder("friends");
    uint32_t ann = add_user(b, "ann"), bob = add_user(b, "bob"), cat = add_user(b, "cat");
    uint32_t dan = add_user(b, "dan"), eve = add_user(b, "eve");
    uint32_t x = add_item(b, "x"), y = add_item(b, "y");
    assert_ok(um_dataset_builder_set_user(b, ann, "friends", UM_COLUMN_FEATURE,
                                          "[\"bob\", \"cat\", \"dan\", \"nobody\"]", &err),
              err);
    interact(b, ann, y, 50);
    interact(b, bob, x, 100);
    interact(b, bob, x, 300);
    interact(b, cat, x, 200);
    interact(b, dan, y, 2000);
    interact(b, eve, x, 10);
    um_dataset *d = finish(b);
    um_template *t = NULL;
    um_renderer r;
    um_social *social = NULL;
    um_str out = UM_STR_INIT, scratch = UM_STR_INIT;
    assert_ok(parse(&t, "", "", "{id}[[, friends: {friends}]]", &err), err);
    assert_ok(um_renderer_new(&r, t, d, &err), err);
    assert_true(um_renderer_counts_friends(&r));
    um_render_scene scene = {.user = ann, .time_s = 999};
    um_render_action(&r, &out, &scratch, &scene, x);
    assert_string_equal(um_str_text(&out), "x"); /* without a graph nobody has friends */
    assert_ok(um_social_new(&social, d, NULL, INT64_MAX, &err), err);
    r.social = social;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        um_str_clear(&out);
        scene.user = cases[i].user[0] == 'a' ? ann : bob;
        scene.time_s = cases[i].time_s;
        um_render_action(&r, &out, &scratch, &scene, cases[i].item[0] == 'x' ? x : y);
        assert_string_equal(um_str_text(&out), cases[i].expected);
    }
    um_social_free(social);
    um_str_dispose(&out);
    um_str_dispose(&scratch);
    um_renderer_dispose(&r);
    um_template_free(t);
    um_dataset_free(d);
}

static void history_and_profile_are_rendered(void **state)
{
    const fixture *f = *state;
    const um_template_part history = UM_TEMPLATE_HISTORY, profile = UM_TEMPLATE_PROFILE;
    expect(f, history, 0, 0, "- {ago}: {title}.[[ Rated {rating}.]]",
           "- 8 days ago: Silent Harbor. Rated 3.5.");
    expect(f, history, 0, 1, "- {ago}: {title}.[[ Rated {rating}.]]",
           "- 6 days ago: two lines {x} [A].");
    expect(f, history, 0, 0, "{review} {rating|number:0}", "fine, really 4");
    expect(f, history, 0, 2, "{review|or:no review} {id}", "no review bare");
    expect(f, profile, 0, 0, "Age {user.age}, {user.id}", "Age 25-34, ann");
    expect(f, profile, 0, 0, "{user.*}", "age: 25-34");
    /* Three earlier: 3.5, none, 5.5; the scene's own 6.5 is not known yet. */
    expect(f, profile, 0, 0, "{n_earlier}, {mean_rating}, {first_ago}", "3, 4.5, 8 days ago");
    expect(f, profile, 0, 0, "{mean_rating|number:3}", "4.500");
}

static void unknown_fields_are_named(void **state)
{
    const fixture *f = *state;
    const struct {
        const char *profile, *history, *action, *message;
    } cases[] = {
        {"", "", "{titel}",
         "my.yaml:3: action: data set 'fixture' has no field 'titel', did you mean "
         "'title'; it has: title, genre"},
        {"", "{raitng}", "",
         "my.yaml:2: history: data set 'fixture' has no field 'raitng', did you "
         "mean 'rating'; it has: "},
        {"{user.agee}", "", "", "did you mean 'user.age'; it has: "},
        {"{title}", "", "", "profile: data set 'fixture' has no field 'title'"},
        {"", "", "{user.age}", "action: data set 'fixture' has no field 'user.age'"},
        {"", "", "{ago}", "has no field 'ago'"},
        {"", "", "{freinds}", "did you mean 'friends'"},
        {"", "{friends}", "", "history: data set 'fixture' has no field 'friends'"},
        {"{mean_review}", "", "", "has no field 'mean_review'"},
        {"", "", "{zzzzzzzzzz}", "it has: title, genre"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        um_error err;
        um_template *t = NULL;
        assert_ok(parse(&t, cases[i].profile, cases[i].history, cases[i].action, &err), err);
        assert_int_equal(um_template_check(t, f->d, &err), UM_ERR_INPUT);
        if (strstr(err.text, cases[i].message) == NULL)
            fail_msg("case %zu: '%s' lacks '%s'", i, err.text, cases[i].message);
        um_template_free(t);
    }
}

static void bad_syntax_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *action, *message;
    } cases[] = {
        {"ab {title", "my.yaml:3: action, character 4: '{' without its '}'"},
        {"{ti{tle}", "'{' without its '}'"},
        {"a } b", "character 3: '}' without its '{'"},
        {"{}", "a field without a name"},
        {"{|or:x}", "a field without a name"},
        {"[[ {x}", "'[[' without its ']]'"},
        {"x ]]", "']]' without its '[['"},
        {"[[a [[b]]", "a group [[ ]] inside a group"},
        {"{x|wrods:3}", "unknown or malformed option 'wrods', did you mean 'words'"},
        {"{x|words}", "needs a whole number 1..1000000"},
        {"{x|words:0}", "found '0'"},
        {"{x|words:1e3}", "found '1e3'"},
        {"{x|number:10}", "needs a whole number 0..9"},
        {"{x|or}", "unknown or malformed option 'or'"},
        {"{x|short:1}", "unknown or malformed option 'short'"},
        {"{x|list:0}", "needs a whole number 1..1000000"},
        {"{x|lower:1}", "unknown or malformed option 'lower'"},
        {"{x|or:a|or:b}", "unknown or malformed option 'or'"},
        {"{x|}", "unknown or malformed option ''"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        um_error err;
        um_template *t = NULL;
        assert_int_equal(parse(&t, "", "", cases[i].action, &err), UM_ERR_INPUT);
        assert_null(t);
        if (strstr(err.text, cases[i].message) == NULL)
            fail_msg("case %zu: '%s' lacks '%s'", i, err.text, cases[i].message);
    }
}

static void bad_files_are_named(void **state)
{
    (void)state;
    static const char *const files[][2] = {
        {"", "my.yaml"},
        {"- a\n", "my.yaml: a template is a map"},
        {"profile: a\nhistory: b\n", "key 'action' must hold a text"},
        {"profile: a\nhistory: b\naction: [c]\n", "key 'action' must hold a text"},
        {"profile: a\nhistory: b\naction: c\nemtpy_history: d\n",
         "my.yaml:4: unknown key 'emtpy_history', did you mean 'empty_history'"},
        {"profile: a\nhistory: b\naction: c\nempty_history: [d]\n", "empty_history must be a text"},
    };
    um_error err;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        um_template *t = NULL;
        assert_int_equal(um_template_parse(&t, files[i][0], strlen(files[i][0]), "my.yaml", &err),
                         UM_ERR_INPUT);
        assert_null(t);
        if (strstr(err.text, files[i][1]) == NULL)
            fail_msg("case %zu: '%s' lacks '%s'", i, err.text, files[i][1]);
    }
    um_template *t = NULL;
    assert_int_equal(um_template_load(&t, UM_SOURCE_DIR "/templates/absent.yaml", &err),
                     UM_ERR_NOT_FOUND);
}

static void files_and_built_in_templates_load(void **state)
{
    const fixture *f = *state;
    static const char *const names[] = {"world",   "ml-1m",  "ml-latest", "mind",
                                        "kuairec", "lastfm", "generic"};
    um_error err;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        um_template *file = NULL, *builtin = NULL;
        snprintf(path, sizeof path, "%s/templates/%s.yaml", UM_SOURCE_DIR, names[i]);
        assert_ok(um_template_load(&file, path, &err), err);
        assert_ok(um_template_builtin(&builtin, names[i], &err), err);
        for (int part = 0; part < UM_TEMPLATE_PARTS; part++) {
            assert_int_equal(file->part[part].n, builtin->part[part].n);
            assert_true(file->part[part].n > 0);
        }
        um_template_free(file);
        um_template_free(builtin);
    }
    um_template *generic = NULL;
    assert_ok(um_template_builtin(&generic, "somebody's log", &err), err);
    assert_ok(um_template_check(generic, f->d, &err), err);
    um_template_free(generic);
}

/* One small log of each kind, read by its adapter: the built-in template of its name must fit, and
 * say something of every item. */
static void check_built_in(const char *path, const char *name)
{
    um_error err;
    um_ingest_options ingest = {.max_bad = 0};
    um_ingest_report report;
    um_dataset *d = NULL;
    assert_ok(um_dataset_read(&d, &report, path, &ingest, NULL, &err), err);
    assert_string_equal(d->name, name);
    um_scene_options o;
    um_scene_defaults(&o);
    o.base_scenes = 20;
    o.train_scenes = o.eval_scenes = 10;
    um_scene_set *set = build_scenes(d, &o, 1);
    assert_int_equal(set->n, 40);
    for (size_t i = 0; i < set->n; i++) {
        assert_true(strlen(set->scenes[i].profile) > 5);
        assert_true(strlen(set->scenes[i].history_text) > 20);
        for (uint32_t j = 0; j < set->scenes[i].k; j++)
            assert_true(strlen(set->scenes[i].actions[j]) > 5);
    }
    um_scene_set_free(set);
    um_dataset_free(d);
}

static void built_in_templates_fit_their_data(void **state)
{
    (void)state;
    um_error err;
    char dir[512], path[512];
    um_world_options world;
    um_world_defaults(&world);
    world.users = 60;
    world.items = 80;
    world.interactions = 1800;
    assert_non_null(make_dir(dir, sizeof dir));
    assert_ok(um_world_write_canonical(&world, dir, NULL, &err), err);
    check_built_in(dir, "world");
    remove_dir(dir);
    assert_non_null(make_dir(dir, sizeof dir));
    assert_ok(um_world_write_movielens(&world, dir, NULL, &err), err);
    check_built_in(dir, "ml-1m");
    remove_dir(dir);
    if (shared_data("ml-latest-small/ratings.csv", path, sizeof path) != NULL) {
        *strrchr(path, '/') = '\0';
        check_built_in(path, "ml-latest");
    }
}

static void block_scalars_lose_their_last_line_end(void **state)
{
    const fixture *f = *state;
    const char *yaml = "profile: |\n  a\n  b\nhistory: x\naction: y\nempty_history: none\n";
    um_error err;
    um_template *t = NULL;
    um_renderer r;
    um_str out = UM_STR_INIT, scratch = UM_STR_INIT;
    assert_ok(um_template_parse(&t, yaml, strlen(yaml), "my.yaml", &err), err);
    assert_ok(um_renderer_new(&r, t, f->d, &err), err);
    um_render_scene scene = {0, f->d->time_s[3], 0, 3};
    um_render_profile(&r, &out, &scratch, &scene);
    assert_string_equal(um_str_text(&out), "a\nb");
    um_str_clear(&out);
    um_render_history(&r, &out, &scratch, &scene, NULL, 0);
    assert_string_equal(um_str_text(&out), "none");
    um_str_clear(&out);
    const uint64_t history[] = {0, 1};
    um_render_history(&r, &out, &scratch, &scene, history, 2);
    assert_string_equal(um_str_text(&out), "x\nx");
    um_str_dispose(&out);
    um_str_dispose(&scratch);
    um_renderer_dispose(&r);
    um_template_free(t);
}

static void ago_names_the_largest_unit(void **state)
{
    (void)state;
    static const struct {
        int64_t passed_s;
        const char *text;
    } cases[] = {{0, "just now"},
                 {59, "just now"},
                 {60, "1 minute ago"},
                 {3599, "59 minutes ago"},
                 {3600, "1 hour ago"},
                 {86399, "23 hours ago"},
                 {86400, "1 day ago"},
                 {30 * 86400 - 1, "29 days ago"},
                 {30 * 86400, "1 month ago"},
                 {365 * 86400 - 1, "12 months ago"},
                 {365 * 86400, "1 year ago"},
                 {INT64_C(1095) * 86400, "3 years ago"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        um_scene_ago(1000, 1000 + cases[i].passed_s, text);
        assert_string_equal(text, cases[i].text);
    }
    static const int64_t unknown[] = {0, -5, INT64_MIN, 2000};
    for (int i = 0; i < 4; i++) {
        um_scene_ago(unknown[i], 1999, text);
        assert_string_equal(text, "earlier");
    }
    um_scene_ago(1, INT64_MAX, text);
    assert_string_equal(text, "292471208677 years ago");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_rendered),
        cmocka_unit_test(numbers_are_shortened),
        cmocka_unit_test(friends_are_counted),
        cmocka_unit_test(history_and_profile_are_rendered),
        cmocka_unit_test(unknown_fields_are_named),
        cmocka_unit_test(bad_syntax_is_named),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(files_and_built_in_templates_load),
        cmocka_unit_test(built_in_templates_fit_their_data),
        cmocka_unit_test(block_scalars_lose_their_last_line_end),
        cmocka_unit_test(ago_names_the_largest_unit),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
