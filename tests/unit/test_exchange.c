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
        for (uint32_t s = 0; s < 2 && i % 4 != 3; s++) { /* the others are bare behaviours */
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
    assert_true(counts.decisions > 0 && counts.decisions < 2 * counts.pairs);
    assert_int_equal(counts.malformed, counts.decisions / 2);
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

/* A file as text; yours. */
static char *text_of(const char *dir, const char *name)
{
    um_error err;
    char path[8400], *text = NULL;
    size_t n;
    snprintf(path, sizeof path, "%s%s%s", dir, name[0] != '\0' ? "/" : "", name);
    assert_ok(um_file_read(&text, &n, path, MAX_BYTES, &err), err);
    return text;
}

static void assert_same_file(const char *a, const char *b, const char *name)
{
    char *first = text_of(a, name), *second = text_of(b, name);
    assert_true(strlen(first) > 20);
    assert_string_equal(first, second);
    free(first);
    free(second);
}

static const struct {
    const char *name;
    const char *files[6]; /* of a folder; of a file "" */
} forms[] = {
    {"usermirrorer", {""}},
    {"trl", {""}},
    {"torchtune", {"pairs.jsonl", "sft.jsonl", "sft.yaml", "dpo.yaml"}},
    {"llamafactory", {"pairs.jsonl", "sft.jsonl", "dataset_info.json", "sft.yaml", "dpo.yaml"}},
    {"hf", {"pairs/train.jsonl", "sft/train.jsonl", "README.md"}},
};

/* Each form, imported into another workspace, comes out of it again byte for byte. */
static void forms_survive_import(void **state)
{
    (void)state;
    place p, q;
    um_error err;
    um_dataset *d = NULL;
    um_scene_set *set = some_scenes(&d, 8);
    open_place(&p);
    store_log(&p, d);
    store_scenes(&p, d, set);
    assert_int_equal(um_session_export_pairs(p.s, "trl", path_in(&p, "x"), &err), UM_ERR_STATE);
    store_pairs(&p, set);
    char *scenes = exported(&p, "scenes");
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        char first[4200], again[4200];
        snprintf(first, sizeof first, "%s/%s", p.dir, forms[f].name);
        assert_ok(um_session_export_pairs(p.s, forms[f].name, first, &err), err);
        open_place(&q);
        assert_ok(import_text(&q, "scenes", scenes, &err), err);
        assert_ok(um_session_import(q.s, "pairs", first, &err), err);
        snprintf(again, sizeof again, "%s/%s", q.dir, forms[f].name);
        assert_ok(um_session_export_pairs(q.s, forms[f].name, again, &err), err);
        for (int i = 0; i < 6 && forms[f].files[i] != NULL; i++)
            assert_same_file(first, again, forms[f].files[i]);
        close_place(&q);
    }
    /* Rows without the rejected answer, and folders without rows, say so. */
    open_place(&q);
    assert_ok(import_text(&q, "scenes", scenes, &err), err);
    assert_ok(um_session_export_pairs(p.s, "trl-messages", path_in(&p, "m"), &err), err);
    assert_int_equal(um_session_import(q.s, "pairs", path_in(&p, "m"), &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "messages_chosen does not end"));
    assert_int_equal(um_session_import(q.s, "pairs", p.dir, &err), UM_ERR_NOT_FOUND);
    assert_int_equal(um_session_export_pairs(p.s, "csv", path_in(&p, "c"), &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "one of usermirrorer, trl, "));
    assert_false(um_path_exists(path_in(&p, "c")));
    close_place(&q);
    close_place(&p);
    free(scenes);
    um_scene_set_free(set);
    um_dataset_free(d);
}

static json_t *first_row(const char *dir, const char *name)
{
    um_error err;
    json_t *row = NULL;
    char *text = text_of(dir, name);
    assert_ok(um_json_parse(&row, text, strcspn(text, "\n"), "row", &err), err);
    free(text);
    return row;
}

/* "role:first letters of the content" of each message, joined by spaces. */
static void assert_chat(const json_t *row, const char *key, const char *expected)
{
    um_str s = UM_STR_INIT;
    json_t *message;
    size_t i;
    json_array_foreach(json_object_get(row, key), i, message)
    {
        const char *role = json_string_value(json_object_get(message, "role"));
        const char *from = json_string_value(json_object_get(message, "from"));
        const char *text =
            json_string_value(json_object_get(message, from != NULL ? "value" : "content"));
        assert_true(text != NULL && strlen(text) > 5);
        um_str_appendf(&s, "%s%s:%.2s", i > 0 ? " " : "", from != NULL ? from : role, text);
    }
    assert_string_equal(um_str_text(&s), expected);
    um_str_dispose(&s);
}

static void assert_keys(const json_t *row, const char *expected)
{
    um_str s = UM_STR_INIT;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)row, key, value)
        um_str_appendf(&s, "%s%s", s.len > 0 ? " " : "", key);
    assert_string_equal(um_str_text(&s), expected);
    um_str_dispose(&s);
}

/* The first pair has decision processes ("Th..."), and its prompts begin as the form's do. */
static void forms_are_what_trainers_read(void **state)
{
    (void)state;
    place p;
    um_error err;
    um_dataset *d = NULL;
    um_scene_set *set = some_scenes(&d, 8);
    json_t *row;
    char path[4200];
    open_place(&p);
    store_log(&p, d);
    store_scenes(&p, d, set);
    store_pairs(&p, set);
    static const char *const names[] = {"trl", "trl-messages", "torchtune", "llamafactory", "hf"};
    for (int i = 0; i < 5; i++) {
        snprintf(path, sizeof path, "%s/%s", p.dir, names[i]);
        assert_ok(um_session_export_pairs(p.s, names[i], path, &err), err);
    }
    row = first_row(p.dir, "trl");
    assert_keys(row, "prompt chosen rejected dataset user_id item_id timestamp");
    const char *system = json_string_value(
        json_object_get(json_array_get(json_object_get(row, "prompt"), 0), "content"));
    const char *user = json_string_value(
        json_object_get(json_array_get(json_object_get(row, "prompt"), 1), "content"));
    char prompt[64], whole[80];
    snprintf(prompt, sizeof prompt, "system:%.2s user:%.2s", system, user);
    assert_chat(row, "prompt", prompt);
    assert_chat(row, "chosen", "assistant:Th");
    assert_chat(row, "rejected", "assistant:I ");
    snprintf(whole, sizeof whole, "%s assistant:Th", prompt);
    json_t *messages = first_row(p.dir, "trl-messages");
    assert_keys(messages, "messages dataset user_id item_id timestamp");
    assert_chat(messages, "messages", whole);
    json_decref(messages);
    messages = first_row(p.dir, "torchtune/pairs.jsonl");
    assert_chat(messages, "chosen", whole);
    snprintf(whole, sizeof whole, "%s assistant:I ", prompt);
    assert_chat(messages, "rejected", whole);
    json_decref(messages);
    messages = first_row(p.dir, "llamafactory/pairs.jsonl");
    assert_keys(messages, "conversations chosen rejected system dataset user_id item_id timestamp");
    assert_string_equal(json_string_value(json_object_get(messages, "system")), system);
    snprintf(whole, sizeof whole, "human:%.2s", user);
    assert_chat(messages, "conversations", whole);
    json_decref(messages);
    messages = first_row(p.dir, "llamafactory/sft.jsonl");
    snprintf(whole, sizeof whole, "human:%.2s gpt:Th", user);
    assert_chat(messages, "conversations", whole);
    json_decref(messages);
    json_decref(row);
    /* Recipes hold the published figures, whatever this workspace is set to. */
    static const char *const recipes[][2] = {{"torchtune/sft.yaml", "lr: 0.0002"},
                                             {"torchtune/dpo.yaml", "lr: 1.0e-05"},
                                             {"torchtune/dpo.yaml", "weight_decay: 0.05"},
                                             {"torchtune/dpo.yaml", "beta: 0.1"},
                                             {"torchtune/dpo.yaml", "epochs: 2"},
                                             {"torchtune/sft.yaml", "num_warmup_steps: 10"},
                                             {"torchtune/sft.yaml", "max_seq_len: 8192"},
                                             {"torchtune/sft.yaml", "accumulation_steps: 4"},
                                             {"llamafactory/dpo.yaml", "learning_rate: 1.0e-05"},
                                             {"llamafactory/dpo.yaml", "pref_beta: 0.1"},
                                             {"llamafactory/sft.yaml", "cutoff_len: 8192"},
                                             {"hf/README.md", "path: pairs/train.jsonl"}};
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        char *text = text_of(p.dir, recipes[i][0]);
        if (strstr(text, recipes[i][1]) == NULL)
            fail_msg("%s lacks '%s'", recipes[i][0], recipes[i][1]);
        free(text);
    }
    um_scene_set_free(set);
    um_dataset_free(d);
    close_place(&p);
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

/* Lists of one second that nobody chose from share the keys of rows; the prompt tells them apart,
 * also where one list is part of the other and where the pairs come in another order. */
static void lists_of_one_second_are_told_apart(void **state)
{
    (void)state;
    static const char row[] =
        "{\"dataset\":\"d\",\"user_id\":\"1\",\"item_id\":\"\","
        "\"timestamp\":\"2020-01-02 03:04:05\",\"item_pos\":%d,\"choice_cnt\":%d,"
        "\"impression_list\":[\"%s\",%snull],\"text\":{\"profile\":\"p\",\"history\":\"h\","
        "\"action_list\":[\"%s\",%s\"leave\"]},\"split\":\"train\"}\n";
    static const char pair[] =
        "{\"dataset\":\"d\",\"user_id\":\"1\",\"item_id\":\"\","
        "\"timestamp\":\"2020-01-02 03:04:05\",\"conversations\":[{\"from\":\"human\",\"value\":"
        "\"%s\"}],\"chosen\":{\"value\":\"c\\nBehavior: [%c]\"},"
        "\"rejected\":{\"value\":\"r\\nBehavior: [A]\"}}\n";
    char scenes[2048], pairs[2048];
    place p;
    um_error err;
    size_t n = 0;
    n += (size_t)snprintf(scenes, sizeof scenes, row, 1, 2, "5", "", "red", "");
    n += (size_t)snprintf(scenes + n, sizeof scenes - n, row, 2, 3, "5", "\"6\",", "red",
                          "\"blue\",");
    n += (size_t)snprintf(scenes + n, sizeof scenes - n, row, 1, 2, "7", "", "green", "");
    n = (size_t)snprintf(pairs, sizeof pairs, pair, "green or leave", 'B');
    n += (size_t)snprintf(pairs + n, sizeof pairs - n, pair, "red, blue or leave", 'C');
    n += (size_t)snprintf(pairs + n, sizeof pairs - n, pair, "red or leave", 'B');
    open_place(&p);
    assert_ok(import_text(&p, "scenes", scenes, &err), err);
    assert_ok(import_text(&p, "pairs", pairs, &err), err);
    char *again = exported(&p, "pairs");
    const char *green = strstr(again, "green"), *blue = strstr(again, "blue");
    assert_true(green != NULL && blue != NULL && green < blue);
    free(again);
    close_place(&p);

    open_place(&p); /* a list that no scene has */
    assert_ok(import_text(&p, "scenes", scenes, &err), err);
    snprintf(pairs, sizeof pairs, pair, "yellow or leave", 'B');
    assert_int_equal(import_text(&p, "pairs", pairs, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "no scene without a pair has the list of the prompt"));
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
    {"messages_chosen.2.content", "\" Behavior: [A]\"", "messages_chosen"},
    {"messages_chosen.2.content", "\"Behavior: [A] [B]\"", "messages_chosen"},
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
        cmocka_unit_test(forms_survive_import),
        cmocka_unit_test(forms_are_what_trainers_read),
        cmocka_unit_test(data_sets_are_told_apart),
        cmocka_unit_test(lists_of_one_second_are_told_apart),
        cmocka_unit_test(malformed_rows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
