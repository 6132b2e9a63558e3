/* Scenes and pairs out as files and in again, and what is refused on the way. */
#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "stage_place.h"

#define MAX_BYTES ((size_t)64 << 20)

static char *exported(const place *p, const char *what)
{
    um_error err;
    char *text = NULL, *path = path_in(p, "exported.jsonl");
    size_t n;
    assert_ok(um_session_export(p->s, what, path, &err), err);
    assert_ok(um_file_read(&text, &n, path, MAX_BYTES, &err), err);
    return text;
}

static um_status import_text(const place *p, const char *what, const char *text, um_error *err)
{
    um_error why;
    char *path = path_in(p, "in.jsonl");
    assert_ok(um_file_write(path, text, strlen(text), &why), why);
    return um_session_import(p->s, what, path, err);
}

/* Out and in again ---------------------------------------------------------------------------- */

static const char process_text[] =
    "Thought:\nStimulus: \"caf\xc3\xa9\" \\ \x02\nStimulus Factors: Boredom\nKnowledge: k\n"
    "Knowledge Factors: Price, Risk\nEvaluation: e\nEvaluation Style: Logical";

/* A pair for every second training scene: one good text, one malformed. */
static void store_pairs(const place *p, const um_scene_set *set)
{
    um_workspace *ws = um_session_workspace(p->s);
    um_error err;
    const um_row_model model = {.name = "teacher", .path = "", .hash = "1", .kind = "choice"};
    uint64_t model_id, n = 0;
    assert_ok(um_workspace_begin(ws, &err), err);
    assert_ok(um_workspace_model_id(&model_id, ws, &model, &err), err);
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *scene = &set->scenes[i];
        if (scene->split != UM_SPLIT_TRAIN || i % 2 == 0)
            continue;
        um_row_pair pair = {.id = n,
                            .scene_id = i,
                            .chosen_letter = scene->target,
                            .rejected_letter = (scene->target + 1) % scene->k,
                            .rank = (uint32_t)n};
        uint64_t *ids[] = {&pair.chosen_decision, &pair.rejected_decision};
        for (uint32_t s = 0; s < 2; s++) {
            um_row_decision decision = {.scene_id = i,
                                        .model_id = model_id,
                                        .role = UM_ROLE_TEACHER,
                                        .sample = s,
                                        .finish = "stop",
                                        .tokens = 3,
                                        .text = s == 0 ? process_text : "I guess.\n  so"};
            assert_ok(um_workspace_put_decision(ws, &decision, &err), err);
            assert_ok(um_workspace_decision_id(ids[s], i, model_id, UM_ROLE_TEACHER, s, &err), err);
        }
        assert_ok(um_workspace_put_pair(ws, &pair, &err), err);
        n++;
    }
    assert_true(n > 1);
    assert_ok(um_workspace_commit(ws, &err), err);
}

/* A workspace with scenes and pairs, and its two exports. */
static void make_exports(char **scenes, char **pairs)
{
    place p;
    um_dataset *d = NULL;
    um_scene_set *set = some_scenes(&d, 8);
    open_place(&p);
    store_log(&p, d);
    store_scenes(&p, d, set);
    store_pairs(&p, set);
    *scenes = exported(&p, "scenes");
    *pairs = exported(&p, "pairs");
    um_scene_set_free(set);
    um_dataset_free(d);
    close_place(&p);
}

static void exports_survive_import(void **state)
{
    (void)state;
    place p;
    um_error err;
    um_workspace_counts counts;
    char *scenes = NULL, *pairs = NULL, *again = NULL;
    make_exports(&scenes, &pairs);
    open_place(&p);
    assert_int_equal(import_text(&p, "pairs", pairs, &err), UM_ERR_STATE); /* no scenes yet */
    assert_ok(import_text(&p, "scenes", scenes, &err), err);
    assert_ok(import_text(&p, "pairs", pairs, &err), err);
    for (int i = 0; i < 2; i++) {
        again = exported(&p, "scenes");
        assert_string_equal(scenes, again);
        free(again);
        again = exported(&p, "pairs");
        assert_string_equal(pairs, again);
        free(again);
        reopen_place(&p);
    }
    /* Malformed texts are known as such, and both stages count as done. */
    assert_ok(um_workspace_count(&counts, um_session_workspace(p.s), &err), err);
    assert_int_equal(counts.decisions, 2 * counts.pairs);
    assert_int_equal(counts.malformed, counts.pairs);
    um_row_stage row;
    static const char *const stages[] = {"ingest", "scenes", "distill"};
    for (int i = 0; i < 3; i++) {
        assert_ok(um_workspace_get_stage(&row, um_session_workspace(p.s), stages[i], &err), err);
        assert_string_equal(row.status, "done");
    }

    assert_int_equal(import_text(&p, "scenes", scenes, &err),
                     UM_ERR_STATE); /* not empty any more */
    assert_int_equal(import_text(&p, "pairs", pairs, &err), UM_ERR_STATE);
    assert_int_equal(import_text(&p, "models", pairs, &err), UM_ERR_INPUT);
    assert_int_equal(um_session_export(p.s, "models", path_in(&p, "x"), &err), UM_ERR_INPUT);
    assert_false(um_path_exists(path_in(&p, "x")));
    close_place(&p);
    free(scenes);
    free(pairs);
}

/* One file of several data sets, as the published evaluation set is: users who share an id there
 * are different people. */
static void data_sets_are_told_apart(void **state)
{
    (void)state;
    static const char row[] =
        "{\"dataset\":\"%s\",\"user_id\":\"1\",\"item_id\":\"5\","
        "\"timestamp\":\"2020-01-02 03:04:05\",\"item_pos\":0,\"choice_cnt\":2,"
        "\"impression_list\":[\"5\",\"6\"],\"text\":{\"profile\":\"%s\",\"history\":\"\","
        "\"action_list\":[\"a\",\"b\"],\"extra\":[1.5,null]},\"split\":\"train\"}\n";
    static const char pair[] =
        "{\"dataset\":\"%s\",\"user_id\":\"1\",\"item_id\":\"5\","
        "\"timestamp\":\"2020-01-02 03:04:05\","
        "\"messages_chosen\":[{\"role\":\"assistant\",\"content\":\"c\\nBehavior: [A]\"}],"
        "\"messages_rejected\":[{\"role\":\"assistant\",\"content\":\"r\\nBehavior: [B]\"}]}\n";
    char scenes[2048], pairs[2048];
    place p;
    um_error err;
    um_workspace_counts counts;
    const um_scene_set *set = NULL;
    size_t n = 0;
    n += (size_t)snprintf(scenes, sizeof scenes, row, "steam", "first");
    n += (size_t)snprintf(scenes + n, sizeof scenes - n, row, "mind", "second");
    n = (size_t)snprintf(pairs, sizeof pairs, pair, "mind");
    open_place(&p);
    assert_ok(import_text(&p, "scenes", scenes, &err), err);
    assert_ok(um_session_scenes(p.s, &set, &err), err);
    assert_int_equal(set->n, 2);
    assert_int_not_equal(set->scenes[0].user, set->scenes[1].user);
    assert_int_equal(set->scenes[0].items[1], set->scenes[1].items[1]);
    assert_ok(import_text(&p, "pairs", pairs, &err), err);
    char *again = exported(&p, "scenes");
    assert_string_equal(scenes, again);
    free(again);
    again = exported(&p, "pairs");
    assert_true(um_str_starts(again, "{\"dataset\":\"mind\","));
    assert_non_null(strstr(again, "second"));
    free(again);
    assert_ok(um_workspace_count(&counts, um_session_workspace(p.s), &err), err);
    assert_int_equal(counts.users, 2);
    close_place(&p);
}

/* Malformed rows ------------------------------------------------------------------------------ */

/* Row r of a JSONL text as an object. */
static json_t *row_of(const char *text, int r)
{
    um_error err;
    json_t *row = NULL;
    for (; r > 0; r--)
        text = strchr(text, '\n') + 1;
    assert_ok(um_json_parse(&row, text, strcspn(text, "\n"), "row", &err), err);
    return row;
}

/* Sets `path` ("a.b.2.c"; numbers index arrays) of the row to a JSON text; NULL removes it. */
static void change(json_t *row, const char *path, const char *value)
{
    json_t *at = row, *new_value = NULL;
    um_error err;
    char step[64];
    if (value != NULL)
        assert_ok(um_json_parse(&new_value, value, strlen(value), "value", &err), err);
    for (;;) {
        size_t n = strcspn(path, ".");
        snprintf(step, sizeof step, "%.*s", (int)n, path);
        bool last = path[n] == '\0', in_array = json_is_array(at);
        size_t index = in_array ? (size_t)atoi(step) : 0;
        if (last && in_array)
            assert_int_equal(json_array_set_new(at, index, new_value), 0);
        else if (last && value != NULL)
            assert_int_equal(json_object_set_new(at, step, new_value), 0);
        else if (last)
            assert_int_equal(json_object_del(at, step), 0);
        if (last)
            return;
        at = in_array ? json_array_get(at, index) : json_object_get(at, step);
        assert_non_null(at);
        path += n + 1;
    }
}

typedef struct bad_row {
    const char *path, *value, *holds;
} bad_row;

/* The file's second row is refused by place, and nothing of the file stays. */
static void assert_refused(const place *p, const char *what, const char *first, const char *second,
                           const char *holds)
{
    um_str text = UM_STR_INIT;
    um_error err = {0};
    um_workspace_counts before, after;
    um_workspace *ws = um_session_workspace(p->s);
    assert_ok(um_workspace_count(&before, ws, &err), err);
    um_str_appendf(&text, "%s\n%s\n", first, second);
    um_status status = import_text(p, what, text.data, &err);
    if (status != UM_ERR_INPUT || strstr(err.text, "in.jsonl:2: ") == NULL ||
        strstr(err.text, holds) == NULL)
        fail_msg("%s: %s: '%s' does not name in.jsonl:2 and '%s'", second, um_status_name(status),
                 err.text, holds);
    assert_ok(um_workspace_count(&after, ws, &err), err);
    assert_memory_equal(&before, &after, sizeof before);
    um_str_dispose(&text);
}

static void refuse_rows(const place *p, const char *what, const char *text, const bad_row *cases,
                        size_t n)
{
    char *first = um_strndup(text, strcspn(text, "\n"));
    assert_non_null(first);
    for (size_t i = 0; i < n; i++) {
        json_t *row = row_of(text, 1);
        um_str second = UM_STR_INIT;
        change(row, cases[i].path, cases[i].value);
        um_json_dump(&second, row);
        assert_refused(p, what, first, second.data, cases[i].holds);
        um_str_dispose(&second);
        json_decref(row);
    }
    assert_refused(p, what, first, "{\"dataset\":", "line 1");
    assert_refused(p, what, first, "[1]", "object");
    assert_refused(p, what, first, "{\"dataset\":\"a\",\"dataset\":\"b\"}", "duplicate");
    free(first);
}

static const bad_row bad_scenes[] = {
    {"dataset", NULL, "dataset"},
    {"dataset", "\"a/b\"", "a/b"},
    {"dataset", "\"\"", "data set name"},
    {"dataset", "7", "dataset"},
    {"user_id", NULL, "user_id"},
    {"user_id", "5", "user_id"},
    {"user_id", "\"\"", "user_id is empty"},
    {"item_id", NULL, "item_id"},
    {"item_id", "\"other\"", "is not item_id 'other'"},
    {"timestamp", NULL, "timestamp"},
    {"timestamp", "\"yesterday\"", "'yesterday' is not YYYY-MM-DD HH:MM:SS"},
    {"timestamp", "\"2020-13-01 00:00:00\"", "2020-13-01"},
    {"timestamp", "1577934245", "timestamp"},
    {"item_pos", NULL, "item_pos"},
    {"item_pos", "-1", "item_pos -1"},
    {"item_pos", "26", "item_pos 26"},
    {"item_pos", "0.5", "item_pos"},
    {"choice_cnt", NULL, "choice_cnt"},
    {"choice_cnt", "1", "choice_cnt 1"},
    {"choice_cnt", "27", "choice_cnt 27"},
    {"choice_cnt", "26", "choice_cnt is 26"},
    {"impression_list", NULL, "impression_list has 0"},
    {"impression_list", "\"abc\"", "impression_list has 0"},
    {"impression_list.0", "5", "entry 0"},
    {"impression_list.1", "\"\"", "entry 1"},
    {"text", NULL, "action_list 0"},
    {"text", "\"{}\"", "action_list 0"},
    {"text.profile", NULL, "profile"},
    {"text.history", "[]", "history"},
    {"text.action_list", "[]", "action_list 0"},
    {"text.action_list.0", "null", "entry 0"},
    {"split", "\"test\"", "'test'; base, train or eval"},
    {"split", "3", "split"},
};

static const bad_row bad_pairs[] = {
    {"dataset", NULL, "dataset"},
    {"dataset", "\"other\"", "no scene of data set 'other'"},
    {"user_id", "\"nobody\"", "no scene of data set"},
    {"item_id", "\"nothing\"", "no scene of data set"},
    {"timestamp", "\"1999-01-01 00:00:00\"", "no scene of data set"},
    {"timestamp", NULL, "timestamp"},
    {"messages_chosen", NULL, "messages_chosen"},
    {"messages_rejected", "[]", "messages_rejected"},
    {"messages_chosen.2.content", "\"Thought: no letter\"", "messages_chosen"},
    {"messages_chosen.2.content", "\"t\\nBehavior: [a]\"", "messages_chosen"},
    {"messages_chosen.2.content", "\"t\\nBehavior: [AB]\"", "messages_chosen"},
    {"messages_chosen.2.content", "\"t\\nBehavior: [\"", "messages_chosen"},
    {"messages_chosen.2.content", "\"Behavior: [A]\"", "messages_chosen"},
    {"messages_rejected.2.content", "\"t\\nBehavior: [A] or so\"", "messages_rejected"},
    {"messages_rejected.2.content", "5", "messages_rejected"},
    {"messages_rejected.2.content", "\"t\\nBehavior: [Z]\"", "[Z] rejected"},
    {"messages_chosen.2.content", "\"t\\nBehavior: [Z]\"", "[Z] chosen"},
};

static void malformed_rows_are_refused(void **state)
{
    (void)state;
    place p;
    um_error err;
    char *scenes = NULL, *pairs = NULL;
    make_exports(&scenes, &pairs);
    open_place(&p);
    refuse_rows(&p, "scenes", scenes, bad_scenes, sizeof bad_scenes / sizeof *bad_scenes);
    assert_int_equal(import_text(&p, "scenes", "", &err), UM_ERR_INPUT);
    assert_int_equal(import_text(&p, "scenes", "\n\n", &err), UM_ERR_INPUT);
    assert_int_equal(um_session_import(p.s, "scenes", path_in(&p, "absent"), &err),
                     UM_ERR_NOT_FOUND);
    assert_ok(import_text(&p, "scenes", scenes, &err), err);

    refuse_rows(&p, "pairs", pairs, bad_pairs, sizeof bad_pairs / sizeof *bad_pairs);
    assert_int_equal(import_text(&p, "pairs", "", &err), UM_ERR_INPUT);
    /* Chosen and rejected in each other's place, both the same, and one pair twice. */
    char *first = um_strndup(pairs, strcspn(pairs, "\n"));
    assert_refused(&p, "pairs", first, first, "second pair");
    json_t *row = row_of(pairs, 1),
           *chosen = json_deep_copy(json_object_get(row, "messages_chosen"));
    json_t *rejected = json_deep_copy(json_object_get(row, "messages_rejected"));
    um_str text = UM_STR_INIT;
    json_object_set_new(row, "messages_rejected", json_deep_copy(chosen));
    um_json_dump(&text, row);
    assert_refused(&p, "pairs", first, text.data, "true action");
    um_str_clear(&text);
    json_object_set_new(row, "messages_rejected", chosen);
    json_object_set_new(row, "messages_chosen", rejected);
    um_json_dump(&text, row);
    assert_refused(&p, "pairs", first, text.data, "true action");
    assert_ok(import_text(&p, "pairs", pairs, &err), err);

    json_decref(row);
    um_str_dispose(&text);
    free(first);
    free(scenes);
    free(pairs);
    close_place(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exports_survive_import),
        cmocka_unit_test(data_sets_are_told_apart),
        cmocka_unit_test(malformed_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
