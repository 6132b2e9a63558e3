/* The stage that builds scenes: options, the record of the split, the action none in the workspace
 * and as a file, prompts that are too long. */
#include "base/file.h"
#include "base/str.h"
#include "mirrorer/tokenizer.h"
#include "stage_place.h"

#define MAX_BYTES ((size_t)64 << 20)

static um_dataset *some_log(void)
{
    const log_shape shape = {
        .users = 30, .items = 60, .max_interactions = 24, .days = 60, .impressions = 12};
    um_dataset *d = random_log(12, &shape);
    give_skips(d, 12, 8, 6);
    return d;
}

static void set(place *p, const char *key, const char *value)
{
    um_error err;
    assert_ok(um_config_set(&p->config, key, value, "test", &err), err);
}

/* A place with the log ingested, as far as the next stage can tell. */
static void open_with_log(place *p, const um_dataset *d)
{
    um_error err;
    open_place(p);
    store_log(p, d);
    um_run run = {0};
    assert_ok(um_run_begin(&run, p->s, "ingest", "ingest.", NULL, 0, &err), err);
    assert_ok(um_run_save(&run, true, &err), err);
    um_run_dispose(&run);
    set(p, "scenes.base", "60");
    set(p, "scenes.train", "60");
    set(p, "scenes.eval", "40");
    set(p, "scenes.eval_user_share", "0.4");
}

static json_t *stage_detail(place *p)
{
    um_row_stage row;
    um_error err;
    json_t *detail = NULL;
    assert_ok(um_workspace_get_stage(&row, um_session_workspace(p->s), "scenes", &err), err);
    assert_ok(um_json_parse(&detail, row.detail, strlen(row.detail), "detail", &err), err);
    return detail;
}

static const char *text_at(const json_t *object, const char *a, const char *b)
{
    const char *text = json_string_value(json_object_get(json_object_get(object, a), b));
    return text != NULL ? text : "(none)";
}

/* The split -------------------------------------------------------------------------------------
 */

static void splits_are_recorded(void **state)
{
    (void)state;
    static const struct {
        const char *by, *cut, *text; /* text NULL: the cut is placed */
        um_split_by expected;
    } cases[] = {
        {"user", "2001-09-20", "by user", UM_SPLIT_BY_USER},
        {"time", "2001-09-20", "by time, cut 2001-09-20 00:00:00", UM_SPLIT_BY_TIME},
        {"both", "2001-09-20 12:30:01", "by user and time, cut 2001-09-20 12:30:01",
         UM_SPLIT_BY_BOTH},
        {"time", "", NULL, UM_SPLIT_BY_TIME},
    };
    um_dataset *d = some_log();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        place p;
        um_error err;
        const um_scene_set *loaded;
        char *summary = NULL, expected[128], time[32];
        open_with_log(&p, d);
        set(&p, "scenes.split_by", cases[i].by);
        set(&p, "scenes.time_cut", cases[i].cut);
        assert_ok(um_stage_run(p.s, "scenes", &err), err);
        json_t *detail = stage_detail(&p);
        assert_string_equal(text_at(detail, "split", "by"), cases[i].by);
        reopen_place(&p);
        assert_ok(um_session_scenes(p.s, &loaded, &err), err);
        assert_int_equal(loaded->split_by, cases[i].expected);
        assert_true(loaded->n_split[UM_SPLIT_TRAIN] > 0 && loaded->n_split[UM_SPLIT_EVAL] > 0);
        um_time_format(loaded->time_cut_s, time);
        if (cases[i].text == NULL)
            snprintf(expected, sizeof expected, "by time, cut %s", time);
        else
            snprintf(expected, sizeof expected, "%s", cases[i].text);
        assert_string_equal(text_at(detail, "split", "text"), expected);
        for (size_t s = 0; s < loaded->n && loaded->split_by != UM_SPLIT_BY_USER; s++)
            assert_int_equal(loaded->scenes[s].time_s >= loaded->time_cut_s,
                             loaded->scenes[s].split == UM_SPLIT_EVAL);
        assert_ok(um_session_summary(p.s, &summary, &err), err);
        json_t *root = NULL;
        assert_ok(um_json_parse(&root, summary, strlen(summary), "summary", &err), err);
        assert_string_equal(text_at(root, "split", "text"), expected);
        json_decref(root);
        json_decref(detail);
        free(summary);
        close_place(&p);
    }
    free_skips(d);
    um_dataset_free(d);
}

static void bad_cuts_are_refused(void **state)
{
    (void)state;
    static const char *const cuts[] = {"2001", "2001-13-01", "2001-09-20T00:00:00", "yesterday"};
    um_dataset *d = some_log();
    place p;
    um_error err;
    open_with_log(&p, d);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        set(&p, "scenes.time_cut", cuts[i]);
        assert_int_equal(um_stage_run(p.s, "scenes", &err), UM_ERR_INPUT);
        assert_non_null(strstr(err.text, "scenes.time_cut"));
    }
    close_place(&p);
    free_skips(d);
    um_dataset_free(d);
}

/* The action none ------------------------------------------------------------------------------ */

static char *exported(const place *p, const char *name)
{
    um_error err;
    char *text = NULL;
    size_t n;
    assert_ok(um_session_export(p->s, "scenes", path_in(p, name), &err), err);
    assert_ok(um_file_read(&text, &n, path_in(p, name), MAX_BYTES, &err), err);
    return text;
}

static void none_survives_workspace_and_files(void **state)
{
    (void)state;
    um_dataset *d = some_log();
    um_scene_options o;
    place p, q;
    um_error err;
    const um_scene_set *loaded;
    size_t none = 0;
    open_with_log(&p, d);
    set(&p, "scenes.no_click", "true");
    assert_ok(um_stage_run(p.s, "scenes", &err), err);
    um_scene_defaults(&o);
    o.base_scenes = o.train_scenes = 60;
    o.eval_scenes = 40;
    o.eval_user_share = 0.4;
    o.max_history = (uint32_t)p.config.scenes.max_history;
    o.eval_last_history = p.config.scenes.eval_last_history;
    o.no_click = true;
    um_scene_set *built = build_scenes(d, &o, 1);
    reopen_place(&p);
    assert_ok(um_session_scenes(p.s, &loaded, &err), err);
    assert_int_equal(loaded->n, built->n);
    for (size_t i = 0; i < built->n; i++) {
        const um_scene *a = &built->scenes[i], *b = &loaded->scenes[i];
        assert_int_equal(a->interaction, b->interaction);
        assert_int_equal(a->order_id, b->order_id);
        assert_int_equal(a->time_s, b->time_s);
        assert_int_equal(a->k, b->k);
        assert_int_equal(a->target, b->target);
        assert_memory_equal(a->items, b->items, a->k * sizeof *a->items);
        assert_memory_equal(a->sources, b->sources, a->k);
        assert_int_equal(a->n_history, b->n_history);
        assert_memory_equal(a->history, b->history, a->n_history * sizeof *a->history);
        assert_string_equal(a->actions[a->k - 1], b->actions[a->k - 1]);
        none += a->interaction == UM_SCENE_NO_INTERACTION;
    }
    assert_true(none > 15 && none < built->n - 15);
    char *text = exported(&p, "out.jsonl");
    assert_non_null(strstr(text, ",null],\"text\""));
    assert_non_null(strstr(text, "\"item_id\":\"\""));
    open_place(&q);
    assert_ok(um_session_import(q.s, "scenes", path_in(&p, "out.jsonl"), &err), err);
    char *again = exported(&q, "out.jsonl");
    assert_string_equal(text, again);
    assert_ok(um_session_scenes(q.s, &loaded, &err), err);
    for (size_t i = 0; i < loaded->n; i++) {
        const um_scene *a = &built->scenes[i], *b = &loaded->scenes[i];
        assert_int_equal(b->interaction, UM_SCENE_NO_INTERACTION);
        assert_int_equal(a->items[a->target] == UM_SCENE_NONE,
                         b->items[b->target] == UM_SCENE_NONE);
        assert_int_equal(b->items[b->k - 1], UM_SCENE_NONE);
    }
    json_t *detail = stage_detail(&q);
    assert_string_equal(text_at(detail, "split", "text"), "as imported");
    json_decref(detail);
    free(text);
    free(again);
    um_scene_set_free(built);
    close_place(&p);
    close_place(&q);
    free_skips(d);
    um_dataset_free(d);
}

/* null stands for the action none: last, and once. */
static void misplaced_nulls_are_refused(void **state)
{
    (void)state;
    static const char row[] =
        "{\"dataset\":\"d\",\"user_id\":\"1\",\"item_id\":\"%s\","
        "\"timestamp\":\"2020-01-02 03:04:05\",\"item_pos\":%d,\"choice_cnt\":3,"
        "\"impression_list\":[%s],\"text\":{\"profile\":\"\",\"history\":\"\","
        "\"action_list\":[\"a\",\"b\",\"c\"]},\"split\":\"train\"}\n";
    static const struct {
        const char *item;
        int position;
        const char *list;
        um_status expected;
    } cases[] = {
        {"", 2, "\"5\",\"6\",null", UM_OK},         {"5", 0, "\"5\",\"6\",null", UM_OK},
        {"", 0, "null,\"5\",\"6\"", UM_ERR_INPUT},  {"5", 0, "\"5\",null,null", UM_ERR_INPUT},
        {"6", 2, "\"5\",\"6\",null", UM_ERR_INPUT}, /* position and item disagree */
        {"", 1, "\"5\",\"6\",null", UM_ERR_INPUT},  {"", 2, "\"5\",\"6\",\"\"", UM_ERR_INPUT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        place p;
        um_error err;
        char line[1024];
        const um_scene_set *set_;
        open_place(&p);
        snprintf(line, sizeof line, row, cases[i].item, cases[i].position, cases[i].list);
        char *path = path_in(&p, "in.jsonl");
        assert_ok(um_file_write(path, line, strlen(line), &err), err);
        um_status status = um_session_import(p.s, "scenes", path, &err);
        if (status != cases[i].expected)
            fail_msg("case %zu: %s", i, err.text);
        if (status == UM_OK)
            assert_ok(um_session_scenes(p.s, &set_, &err), err);
        close_place(&p);
    }
}

/* Prompt lengths ------------------------------------------------------------------------------- */

/* A folder with a tokenizer in it, as a student that is given has one. */
static void make_student(const place *p, const um_scene_set *scenes, char *dir, size_t size)
{
    static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    um_tokenizer_trainer *trainer = NULL;
    um_tokenizer *tok = NULL;
    um_error err;
    snprintf(dir, size, "%s/student", p->dir);
    assert_ok(um_path_make_dirs(dir, &err), err);
    assert_ok(um_tokenizer_trainer_new(&trainer, &err), err);
    for (size_t i = 0; i < scenes->n; i++)
        assert_ok(um_tokenizer_trainer_add(trainer, scenes->scenes[i].history_text,
                                           strlen(scenes->scenes[i].history_text), &err),
                  err);
    assert_ok(um_tokenizer_train(&tok, trainer, 400, special, 3, NULL, &err), err);
    assert_ok(um_tokenizer_save(tok, dir, &err), err);
    um_tokenizer_free(tok);
    um_tokenizer_trainer_free(trainer);
}

static size_t prompt_tokens(const um_tokenizer *tok, const um_prompt_form *form,
                            const um_scene *scene)
{
    um_error err;
    um_tokens ids = {0};
    char *user = NULL;
    assert_ok(um_prompt_form_user(form, scene, &user, &err), err);
    const um_message messages[] = {{"system", um_prompt_form_system(form)}, {"user", user}};
    assert_ok(
        um_chat_encode_prompt(tok, UM_CHAT_CHATML, messages, 2, "Thought:\nStimulus:", &ids, &err),
        err);
    size_t n = ids.len;
    um_tokens_dispose(&ids);
    free(user);
    return n;
}

static int by_size(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

static void long_prompts_are_left_out(void **state)
{
    (void)state;
    um_dataset *d = some_log();
    place all, some;
    um_error err;
    const um_scene_set *before, *after;
    const um_prompt_form *form;
    um_tokenizer *tok = NULL;
    char dir[4200], limit[32];
    open_with_log(&all, d);
    assert_ok(um_stage_run(all.s, "scenes", &err), err);
    assert_ok(um_session_scenes(all.s, &before, &err), err);
    assert_ok(um_session_form(all.s, &form, &err), err);
    make_student(&all, before, dir, sizeof dir);
    assert_ok(um_tokenizer_load(&tok, dir, &err), err);
    size_t *tokens = calloc(before->n, sizeof *tokens), *sorted = calloc(before->n, sizeof *sorted);
    assert_true(tokens != NULL && sorted != NULL && before->n > 100);
    for (size_t i = 0; i < before->n; i++)
        sorted[i] = tokens[i] = prompt_tokens(tok, form, &before->scenes[i]);
    qsort(sorted, before->n, sizeof *sorted, by_size);
    size_t most = sorted[2 * before->n / 3], kept = 0, dropped = 0;
    snprintf(limit, sizeof limit, "%zu", most);

    open_with_log(&some, d);
    set(&some, "student.path", dir);
    set(&some, "scenes.max_prompt_tokens", limit);
    assert_ok(um_stage_run(some.s, "scenes", &err), err);
    assert_ok(um_session_scenes(some.s, &after, &err), err);
    for (size_t i = 0; i < before->n; i++) {
        if (tokens[i] > most) {
            dropped++;
            continue;
        }
        assert_true(kept < after->n);
        const um_scene *a = &before->scenes[i], *b = &after->scenes[kept];
        assert_int_equal(b->id, kept++);
        assert_int_equal(a->split, b->split);
        assert_int_equal(a->interaction, b->interaction);
        assert_string_equal(a->history_text, b->history_text);
    }
    assert_int_equal(kept, after->n);
    assert_true(dropped > 20 && kept > 50);
    assert_int_equal(after->n_split[0] + after->n_split[1] + after->n_split[2], kept);
    json_t *detail = stage_detail(&some);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(detail, "dropped"), "long_prompt")),
        dropped);
    json_decref(detail);
    /* The prompt is part of what decides the scenes now. */
    set(&some, "prompt.form", "ekb");
    reopen_place(&some);
    assert_int_equal(um_stage_run(some.s, "scenes", &err), UM_ERR_STATE);
    assert_non_null(strstr(err.text, "prompt.form"));
    free(tokens);
    free(sorted);
    um_tokenizer_free(tok);
    close_place(&all);
    close_place(&some);
    free_skips(d);
    um_dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_are_recorded),
        cmocka_unit_test(bad_cuts_are_refused),
        cmocka_unit_test(none_survives_workspace_and_files),
        cmocka_unit_test(misplaced_nulls_are_refused),
        cmocka_unit_test(long_prompts_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
