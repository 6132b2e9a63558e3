/* test_store.c - the rows of the workspace: put, get, iterate, clear. */
#include <math.h>

#include "store/sql.h"
#include "store_util.h"

static um_status see_file(void *context, const um_row_file *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%s %d=%d+%d %d\n", row->file, (int)row->rows_read, (int)row->rows_kept,
        (int)row->rows_rejected, (int)row->bytes);
    return UM_OK;
}

static um_status see_scene(void *context, const um_row_scene *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%d ", (int)row->id);
    return UM_OK;
}

static um_status see_decision(void *context, const um_row_decision *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%d/%d/%s/%d ", (int)row->scene_id, (int)row->model_id, row->role, (int)row->sample);
    return UM_OK;
}

static um_status see_distribution(void *context, const um_row_distribution *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%d/%d/%s/%d%s:", (int)row->scene_id, (int)row->model_id, row->role, (int)row->sample,
        row->well_formed ? "" : "!");
    for (uint32_t i = 0; i < row->k; i++)
        see(" %g", row->p[i]);
    see("\n");
    return UM_OK;
}

static um_status see_missing(void *context, uint64_t scene_id, const bool *have, uint32_t n_have,
                             um_error *e)
{
    (void)e;
    see("%d: %d ", (int)scene_id, (int)n_have);
    for (int i = 0; i < *(const int *)context; i++)
        see("%c", have[i] ? 'x' : '.');
    see("\n");
    return UM_OK;
}

static void put_scene(um_workspace *ws, uint64_t id, const char *split)
{
    um_row_scene row = {.id = id,
                        .split = split,
                        .dataset = "world",
                        .user = 3,
                        .user_id = "u3",
                        .item_id = "i7",
                        .order_id = 4,
                        .timestamp_s = -5,
                        .item_pos = 1,
                        .choice_cnt = 2,
                        .impression_list = "[\"i2\",\"i7\"]",
                        .text = "{}"};
    assert_ok(um_workspace_put_scene(ws, &row, &err), err);
}

static uint64_t put_model(um_workspace *ws, const char *name, const char *hash)
{
    um_row_model row = {.name = name, .path = "models/x", .hash = hash, .kind = "local"};
    uint64_t id = 0;
    assert_ok(um_workspace_model_id(&id, ws, &row, &err), err);
    return id;
}

static um_status put_decision(um_workspace *ws, uint64_t scene, uint64_t model, const char *role,
                              uint32_t sample, const char *form_error)
{
    um_row_decision row = {.scene_id = scene,
                           .model_id = model,
                           .role = role,
                           .sample = sample,
                           .text = "Thought:",
                           .finish = "stop",
                           .tokens = 12,
                           .form_error = form_error};
    return um_workspace_put_decision(ws, &row, &err);
}

static uint64_t decision_id(uint64_t scene, uint64_t model, const char *role, uint32_t sample)
{
    uint64_t id = 0;
    assert_ok(um_workspace_decision_id(&id, scene, model, role, sample, &err), err);
    return id;
}

static void put_distribution(um_workspace *ws, uint64_t decision, uint64_t predictor, double first)
{
    const double p[2] = {first, 1.0 - first};
    um_row_distribution row = {.decision_id = decision, .predictor_id = predictor, .k = 2, .p = p};
    assert_ok(um_workspace_put_distribution(ws, &row, &err), err);
}

static void test_log_rows(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    assert_string_equal(um_workspace_path(ws), dir);
    const char *value = "x";
    assert_ok(um_workspace_get_meta(&value, ws, "seed", &err), err);
    assert_null(value);
    assert_ok(um_workspace_set_meta(ws, "seed", "1", &err), err);
    assert_ok(um_workspace_set_meta(ws, "seed", "2", &err), err);
    um_row_dataset dataset = {"world", 2, 3, 4, "[]", "dir/log", 5}, found;
    assert_int_equal(um_workspace_get_dataset(&found, ws, &err), UM_ERR_NOT_FOUND);
    assert_ok(um_workspace_set_dataset(ws, &dataset, &err), err);
    assert_ok(um_workspace_begin(ws, &err), err);
    um_row_entity user = {7, "U\xC3\xA9", "{\"age\":\"25\"}", "{\"n\":1}"};
    um_row_entity item = {0, "I", "{}", "{}"};
    assert_ok(um_workspace_put_user(ws, &user, &err), err);
    put_user(ws, 2);
    assert_ok(um_workspace_put_item(ws, &item, &err), err);
    um_row_history history = {7, 2, "ab\0c", 4}, empty = {2, 0, NULL, 0}, skips = {7, 3, "xyz", 3};
    assert_ok(um_workspace_put_skips(ws, &skips, &err), err);
    assert_ok(um_workspace_put_history(ws, &history, &err), err);
    assert_ok(um_workspace_put_history(ws, &empty, &err), err);
    um_row_file file = {"ratings.dat", 10, 8, 2, 999};
    assert_ok(um_workspace_put_file(ws, &file, &err), err);
    um_row_rejection rejection = {"ratings.dat", 3, "short row"};
    assert_ok(um_workspace_put_rejection(ws, &rejection, &err), err);
    rejection.line = 1;
    assert_ok(um_workspace_put_rejection(ws, &rejection, &err), err);
    assert_ok(um_workspace_commit(ws, &err), err);
    um_workspace_close(ws);

    ws = open_workspace(UM_WORKSPACE_READ);
    assert_ok(um_workspace_get_meta(&value, ws, "seed", &err), err);
    assert_string_equal(value, "2");
    assert_ok(um_workspace_get_dataset(&found, ws, &err), err);
    assert_string_equal(found.name, "world");
    assert_string_equal(found.columns, "[]");
    assert_string_equal(found.source, "dir/log");
    assert_int_equal(found.n_users * 100 + found.n_items * 10 + found.n_interactions, 234);
    assert_int_equal(found.n_skips, 5);
    assert_ok(um_workspace_users(ws, see_entity, NULL, &err), err);
    assert_seen("2 user-2 {\"a\":\"b\"} {}\n7 U\xC3\xA9 {\"age\":\"25\"} {\"n\":1}\n");
    assert_ok(um_workspace_items(ws, see_entity, NULL, &err), err);
    assert_seen("0 I {} {}\n");
    assert_ok(um_workspace_histories(ws, see_history, NULL, &err), err);
    assert_seen("2 n 0: \n7 n 2: ab\n");
    assert_ok(um_workspace_skips(ws, see_history, NULL, &err), err);
    assert_seen("7 n 3: xyz\n");
    uint64_t history_bytes = 0, skip_bytes = 0;
    assert_ok(um_workspace_log_bytes(&history_bytes, &skip_bytes, ws, &err), err);
    assert_int_equal(history_bytes, 4);
    assert_int_equal(skip_bytes, 3);
    assert_ok(um_workspace_files(ws, see_file, NULL, &err), err);
    assert_seen("ratings.dat 10=8+2 999\n");
    assert_ok(um_workspace_rejections(ws, see_rejection, NULL, &err), err);
    assert_seen("ratings.dat:3 short row\nratings.dat:1 short row\n");
    assert_ok(um_workspace_verify(ws, &err), err);
    um_workspace_close(ws);
}

static void test_scene_rows(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    const double truth[3] = {0.5, 0.25, 0.25};
    um_row_scene row = {.id = 1,
                        .split = "train",
                        .dataset = "world",
                        .user = 9,
                        .user_id = "u",
                        .item_id = "i",
                        .order_id = 11,
                        .timestamp_s = 1234567890123,
                        .item_pos = 2,
                        .choice_cnt = 3,
                        .impression_list = "[1]",
                        .text = "{\"profile\":\"\"}",
                        .truth = truth,
                        .flags = UM_SCENE_FLAG_ACCIDENT,
                        .data = "\0\1",
                        .data_bytes = 2};
    assert_ok(um_workspace_put_scene(ws, &row, &err), err);
    put_scene(ws, 0, "base");
    put_scene(ws, 5, "eval");
    put_scene(ws, 4, "eval");
    um_row_scene found, other;
    assert_ok(um_workspace_get_scene(&found, ws, 1, &err), err);
    assert_string_equal(found.split, "train");
    assert_string_equal(found.text, row.text);
    assert_string_equal(found.impression_list, "[1]");
    assert_int_equal(found.timestamp_s, row.timestamp_s);
    assert_int_equal(found.user * 100 + found.order_id, 911);
    assert_int_equal(found.item_pos, 2);
    assert_int_equal(found.flags, UM_SCENE_FLAG_ACCIDENT);
    assert_memory_equal(found.truth, truth, sizeof truth);
    assert_int_equal(found.data_bytes, 2);
    assert_memory_equal(found.data, "\0\1", 2);
    assert_ok(um_workspace_get_scene(&other, ws, 5, &err), err);
    assert_null(other.truth);
    assert_null(other.data);
    assert_int_equal(other.timestamp_s, -5);
    assert_int_equal(um_workspace_get_scene(&found, ws, 99, &err), UM_ERR_NOT_FOUND);

    um_scene_filter filter = {0};
    assert_ok(um_workspace_scenes(ws, NULL, see_scene, NULL, &err), err);
    assert_seen("0 1 4 5 ");
    filter.split = "eval";
    assert_ok(um_workspace_scenes(ws, &filter, see_scene, NULL, &err), err);
    assert_seen("4 5 ");
    filter.first_id = 5;
    assert_ok(um_workspace_scenes(ws, &filter, see_scene, NULL, &err), err);
    assert_seen("5 ");
    uint64_t model = put_model(ws, "m", "h");
    um_row_evaluation evaluation = {4, "uniform", 3, truth, 2};
    assert_ok(um_workspace_put_evaluation(ws, &evaluation, &err), err);
    um_row_direct direct = {1, model, 3, truth};
    assert_ok(um_workspace_put_direct(ws, &direct, &err), err);
    filter = (um_scene_filter){.split = "eval", .without_row = "uniform"};
    assert_ok(um_workspace_scenes(ws, &filter, see_scene, NULL, &err), err);
    assert_seen("5 ");
    filter = (um_scene_filter){.without_direct_by = model};
    assert_ok(um_workspace_scenes(ws, &filter, see_scene, NULL, &err), err);
    assert_seen("0 4 5 ");

    row.id = 6;
    row.split = "test";
    assert_int_equal(um_workspace_put_scene(ws, &row, &err), UM_ERR_STATE);
    row.split = "train";
    row.item_pos = 3; /* past the list */
    assert_int_equal(um_workspace_put_scene(ws, &row, &err), UM_ERR_STATE);
    um_workspace_close(ws);
}

static void test_decisions(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    for (uint64_t id = 0; id < 4; id++)
        put_scene(ws, id, id == 3 ? "eval" : "train");
    uint64_t a = put_model(ws, "a", "h1"), b = put_model(ws, "b", "h2");
    assert_int_equal(put_model(ws, "a", "h1"), a);
    assert_ok(put_decision(ws, 1, b, "student", 2, NULL), err);
    assert_ok(put_decision(ws, 1, a, "student", 1, "no stage"), err);
    assert_ok(put_decision(ws, 1, a, "student", 0, NULL), err);
    assert_ok(put_decision(ws, 0, a, "teacher", 9, NULL), err);
    assert_ok(put_decision(ws, 1, a, "teacher", 0, NULL), err);
    assert_ok(put_decision(ws, 3, a, "eval", 0, NULL), err);
    assert_int_equal(put_decision(ws, 3, a, "eval", 0, NULL), UM_ERR_STATE);  /* unique */
    assert_int_equal(put_decision(ws, 77, a, "eval", 0, NULL), UM_ERR_STATE); /* no such scene */
    assert_int_equal(put_decision(ws, 3, 9, "eval", 0, NULL), UM_ERR_STATE);  /* no such model */
    assert_int_equal(put_decision(ws, 3, a, "judge", 0, NULL), UM_ERR_INPUT);
    assert_int_equal(put_decision(ws, 3, a, "eval", 1024, NULL), UM_ERR_LIMIT);
    assert_int_equal(put_decision(ws, (uint64_t)1 << 39, a, "eval", 0, NULL), UM_ERR_LIMIT);
    assert_int_equal(put_decision(ws, 3, 0, "eval", 0, NULL), UM_ERR_LIMIT);
    assert_int_equal(decision_id(1, 1, "teacher", 0), 1 << 24 | 1 << 13);
    assert_int_equal(decision_id(0, 2, "eval", 5), 2 << 13 | 2 << 10 | 5);

    um_decision_filter filter = {.any_scene = true};
    assert_ok(um_workspace_decisions(ws, &filter, see_decision, NULL, &err), err);
    assert_seen(
        "0/1/teacher/9 1/1/teacher/0 1/1/student/0 1/1/student/1 1/2/student/2 3/1/eval/0 ");
    filter.well_formed_only = true;
    filter.role = "student";
    assert_ok(um_workspace_decisions(ws, &filter, see_decision, NULL, &err), err);
    assert_seen("1/1/student/0 1/2/student/2 ");
    filter = (um_decision_filter){.scene_id = 1, .model_id = a};
    assert_ok(um_workspace_decisions(ws, &filter, see_decision, NULL, &err), err);
    assert_seen("1/1/teacher/0 1/1/student/0 1/1/student/1 ");
    filter = (um_decision_filter){.any_scene = true, .split = "eval"};
    assert_ok(um_workspace_decisions(ws, &filter, see_decision, NULL, &err), err);
    assert_seen("3/1/eval/0 ");
    filter = (um_decision_filter){.scene_id = UINT64_MAX};
    assert_ok(um_workspace_decisions(ws, &filter, see_decision, NULL, &err), err);
    assert_seen("");
    um_row_decision found;
    assert_ok(um_workspace_get_decision(&found, ws, decision_id(1, a, "student", 1), &err), err);
    assert_string_equal(found.text, "Thought:");
    assert_string_equal(found.finish, "stop");
    assert_string_equal(found.form_error, "no stage");
    assert_int_equal(found.tokens, 12);
    assert_int_equal(um_workspace_get_decision(&found, ws, 5, &err), UM_ERR_NOT_FOUND);

    int n = 2;
    assert_ok(um_workspace_missing_decisions(ws, "train", a, "student", 2, see_missing, &n, &err),
              err);
    assert_seen("0: 0 ..\n2: 0 ..\n");
    n = 3;
    assert_ok(um_workspace_missing_decisions(ws, NULL, a, "student", 3, see_missing, &n, &err),
              err);
    assert_seen("0: 0 ...\n1: 2 xx.\n2: 0 ...\n3: 0 ...\n");
    assert_ok(um_workspace_missing_decisions(ws, "train", b, "student", 3, see_missing, &n, &err),
              err);
    assert_seen("0: 0 ...\n1: 1 ..x\n2: 0 ...\n");
    assert_int_equal(
        um_workspace_missing_decisions(ws, NULL, a, "student", 1025, see_missing, &n, &err),
        UM_ERR_LIMIT);
    um_workspace_close(ws);
}

static um_status see_model(void *context, const um_row_model *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%d %s %s %s %s\n", (int)row->id, row->name, row->path, row->hash, row->kind);
    return UM_OK;
}

static void test_models(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    assert_int_equal(put_model(ws, "student", "h1"), 1);
    assert_int_equal(put_model(ws, "teacher", "h2"), 2);
    assert_int_equal(put_model(ws, "student", "h3"), 1); /* nothing depends on h1 yet */
    assert_ok(um_workspace_models(ws, see_model, NULL, &err), err);
    assert_seen("1 student models/x h3 local\n2 teacher models/x h2 local\n");
    put_scene(ws, 0, "train");
    assert_ok(put_decision(ws, 0, 1, "student", 0, NULL), err);
    um_row_model changed = {.name = "student", .path = "", .hash = "h4", .kind = "local"}, found;
    uint64_t id = 0;
    assert_int_equal(um_workspace_model_id(&id, ws, &changed, &err), UM_ERR_STATE);
    assert_non_null(strstr(err.text, "model 'student' has changed"));
    assert_int_equal(id, 0);
    changed.hash = "h3"; /* moved, not changed */
    assert_ok(um_workspace_model_id(&id, ws, &changed, &err), err);
    assert_ok(um_workspace_get_model(&found, ws, 1, &err), err);
    assert_string_equal(found.path, "");
    assert_int_equal(um_workspace_get_model(&found, ws, 9, &err), UM_ERR_NOT_FOUND);
    um_workspace_close(ws);
}

static um_status see_direct(void *context, const um_row_direct *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%d: %g %g\n", (int)row->scene_id, row->p[0], row->p[row->k - 1]);
    return UM_OK;
}

static void test_distributions(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    uint64_t t = put_model(ws, "t", "h"), p = put_model(ws, "p", "h");
    for (uint64_t scene = 0; scene < 3; scene++) {
        put_scene(ws, scene, "train");
        for (uint32_t sample = 0; sample < 2; sample++)
            assert_ok(put_decision(ws, scene, t, "teacher", sample, sample ? "empty" : NULL), err);
    }
    put_distribution(ws, decision_id(2, t, "teacher", 0), p, 0.75);
    put_distribution(ws, decision_id(1, t, "teacher", 1), p, 0.5);
    put_distribution(ws, decision_id(1, t, "teacher", 0), p, 0.25);
    put_distribution(ws, decision_id(1, t, "teacher", 0), t, 1.0);
    um_row_distribution again = {.decision_id = decision_id(1, t, "teacher", 0),
                                 .predictor_id = p,
                                 .k = 1,
                                 .p = (const double[]){1.0}};
    assert_int_equal(um_workspace_put_distribution(ws, &again, &err), UM_ERR_STATE);

    um_decision_filter filter = {.any_scene = true};
    assert_ok(um_workspace_distributions(ws, &filter, p, see_distribution, NULL, &err), err);
    assert_seen("1/1/teacher/0: 0.25 0.75\n1/1/teacher/1!: 0.5 0.5\n2/1/teacher/0: 0.75 0.25\n");
    filter = (um_decision_filter){.scene_id = 1, .role = "teacher", .well_formed_only = true};
    assert_ok(um_workspace_distributions(ws, &filter, p, see_distribution, NULL, &err), err);
    assert_seen("1/1/teacher/0: 0.25 0.75\n");
    filter = (um_decision_filter){.any_scene = true, .unscored_by = p};
    assert_ok(um_workspace_decisions(ws, &filter, see_decision, NULL, &err), err);
    assert_seen("0/1/teacher/0 0/1/teacher/1 2/1/teacher/1 ");

    const double q[3] = {0.1, 0.2, 0.7};
    um_row_direct direct = {2, p, 3, q};
    assert_ok(um_workspace_put_direct(ws, &direct, &err), err);
    direct.scene_id = 0;
    assert_ok(um_workspace_put_direct(ws, &direct, &err), err);
    assert_int_equal(um_workspace_put_direct(ws, &direct, &err), UM_ERR_STATE);
    assert_ok(um_workspace_directs(ws, p, see_direct, NULL, &err), err);
    assert_seen("0: 0.1 0.7\n2: 0.1 0.7\n");

    um_workspace_close(ws);
    run_sql("UPDATE distributions SET k = 3 WHERE predictor_id = 1");
    ws = open_workspace(UM_WORKSPACE_READ);
    filter = (um_decision_filter){.any_scene = true};
    assert_int_equal(um_workspace_distributions(ws, &filter, t, see_distribution, NULL, &err),
                     UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "does not have k entries"));
    assert_seen("");
    um_workspace_close(ws);
}

static um_status see_score(void *context, const um_row_score *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%d t %g %g %g %g %g s %g %g gap %g kept %d %s\n", (int)row->scene_id, row->teacher.total,
        row->teacher.model, row->teacher.data, row->teacher.log_loss, row->teacher.hit_rate,
        row->student.total, row->student.hit_rate, row->gap, row->kept,
        row->reason != NULL ? row->reason : "-");
    return isnan(row->total_gap) == (row->scene_id == 0) ? UM_OK : UM_ERR_NUMERIC;
}

static um_status see_pair(void *context, const um_row_pair *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%d: %d %d>%d %d>%d #%d\n", (int)row->id, (int)row->scene_id, (int)row->chosen_decision,
        (int)row->rejected_decision, (int)row->chosen_letter, (int)row->rejected_letter,
        (int)row->rank);
    return UM_OK;
}

static um_status see_evaluation(void *context, const um_row_evaluation *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%s %d x%d: %g\n", row->row_name, (int)row->scene_id, (int)row->repeats, row->p[0]);
    return UM_OK;
}

static void test_score_rows(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    put_scene(ws, 0, "train");
    put_scene(ws, 1, "train");
    um_row_score score = {.scene_id = 1,
                          .teacher = {1, 2, 3, 4, 5},
                          .student = {6, 7, 8, 9, 10},
                          .gap = 0.5,
                          .total_gap = 1,
                          .data_gap = 2,
                          .reason = "no pair"};
    assert_ok(um_workspace_put_score(ws, &score, &err), err);
    score.kept = true; /* replaced, as selection comes after measuring */
    assert_ok(um_workspace_put_score(ws, &score, &err), err);
    score = (um_row_score){.scene_id = 0, .total_gap = (double)NAN};
    assert_ok(um_workspace_put_score(ws, &score, &err), err);
    assert_ok(um_workspace_scores(ws, see_score, NULL, &err), err);
    assert_seen("0 t 0 0 0 0 0 s 0 0 gap 0 kept 0 -\n"
                "1 t 1 2 3 4 5 s 6 10 gap 0.5 kept 1 no pair\n");

    um_row_pair pair = {1, 0, 100, 200, 0, 3, 7};
    assert_ok(um_workspace_put_pair(ws, &pair, &err), err);
    pair.id = 0;
    assert_int_equal(um_workspace_put_pair(ws, &pair, &err), UM_ERR_STATE); /* one a scene */
    pair.scene_id = 1;
    assert_ok(um_workspace_put_pair(ws, &pair, &err), err);
    assert_ok(um_workspace_pairs(ws, see_pair, NULL, &err), err);
    assert_seen("0: 1 100>200 0>3 #7\n1: 0 100>200 0>3 #7\n");

    const double p[2] = {0.5, 0.5}, q[2] = {1, 0};
    um_row_evaluation rows[] = {
        {1, "uniform", 2, p, 1}, {0, "uniform", 2, p, 1}, {1, "dpo", 2, q, 3}};
    for (int i = 0; i < 3; i++)
        assert_ok(um_workspace_put_evaluation(ws, &rows[i], &err), err);
    assert_int_equal(um_workspace_put_evaluation(ws, &rows[0], &err), UM_ERR_STATE);
    assert_ok(um_workspace_evaluations(ws, NULL, see_evaluation, NULL, &err), err);
    assert_seen("dpo 1 x3: 1\nuniform 0 x1: 0.5\nuniform 1 x1: 0.5\n");
    assert_ok(um_workspace_evaluations(ws, "dpo", see_evaluation, NULL, &err), err);
    assert_seen("dpo 1 x3: 1\n");
    um_workspace_close(ws);
}

static void test_stages(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    um_row_stage found;
    assert_int_equal(um_workspace_get_stage(&found, ws, "scenes", &err), UM_ERR_NOT_FOUND);
    put_stage(ws, "scenes", "running");
    put_stage(ws, "decide.teacher", "running");
    put_stage(ws, "scenes", "done");
    assert_ok(um_workspace_stages(ws, see_stage, NULL, &err), err);
    assert_seen("scenes done 1/2 0.5 1000 42\ndecide.teacher running 1/2 0.5 1000 42\n");
    assert_ok(um_workspace_get_stage(&found, ws, "scenes", &err), err);
    assert_string_equal(found.fingerprint, "f00");
    assert_string_equal(found.detail, "{\"x\":1}");
    um_row_stage bad = {"x", "{}", "", "paused", 0, 0, 0, 0, "{}", 0};
    assert_int_equal(um_workspace_put_stage(ws, &bad, &err), UM_ERR_STATE);
    put_metric(ws, "train.sft", 2, "{\"loss\":1}");
    put_metric(ws, "train.sft", 1, "{\"loss\":2}");
    put_metric(ws, "train.sft", 3, "{\"loss\":0}");
    put_metric(ws, "train.sft", 2, "{\"loss\":1.5}");
    put_metric(ws, "train.dpo", 1, "{}");
    assert_ok(um_workspace_drop_metrics(ws, "train.sft", 3, &err), err);
    assert_ok(um_workspace_metrics(ws, "train.sft", see_metric, NULL, &err), err);
    assert_seen("train.sft 1 {\"loss\":2}\ntrain.sft 2 {\"loss\":1.5}\n");
    um_workspace_close(ws);
}

/* A workspace with a row in every table. */
static um_workspace *make_full(void)
{
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    assert_ok(um_workspace_begin(ws, &err), err);
    put_user(ws, 0);
    um_row_dataset dataset = {"world", 1, 1, 5, "[]", "log", 1};
    assert_ok(um_workspace_set_dataset(ws, &dataset, &err), err);
    um_row_entity item = {0, "I", "{}", "{}"};
    assert_ok(um_workspace_put_item(ws, &item, &err), err);
    um_row_file file = {"a", 2, 1, 1, 9};
    assert_ok(um_workspace_put_file(ws, &file, &err), err);
    put_scene(ws, 0, "base");
    put_scene(ws, 1, "train");
    put_scene(ws, 2, "eval");
    uint64_t model = put_model(ws, "m", "h");
    assert_ok(put_decision(ws, 1, model, "teacher", 0, NULL), err);
    assert_ok(put_decision(ws, 1, model, "student", 0, "empty"), err);
    assert_ok(put_decision(ws, 2, model, "eval", 0, NULL), err);
    put_distribution(ws, decision_id(1, model, "teacher", 0), model, 0.5);
    put_distribution(ws, decision_id(2, model, "eval", 0), model, 0.5);
    const double p[2] = {0.5, 0.5};
    for (uint64_t scene = 1; scene <= 2; scene++) {
        um_row_direct direct = {scene, model, 2, p};
        assert_ok(um_workspace_put_direct(ws, &direct, &err), err);
    }
    um_row_score score = {.scene_id = 1, .kept = true};
    assert_ok(um_workspace_put_score(ws, &score, &err), err);
    um_row_pair pair = {0, 1, decision_id(1, model, "teacher", 0), 0, 0, 1, 0};
    assert_ok(um_workspace_put_pair(ws, &pair, &err), err);
    um_row_evaluation evaluation = {2, "uniform", 2, p, 1};
    assert_ok(um_workspace_put_evaluation(ws, &evaluation, &err), err);
    static const char *const stages[] = {"ingest",  "scenes",  "base",      "decide.teacher",
                                         "predict", "distill", "train.sft", "eval"};
    for (int i = 0; i < 8; i++)
        put_stage(ws, stages[i], "done");
    put_metric(ws, "train.sft", 1, "{}");
    put_metric(ws, "base", 1, "{}");
    assert_ok(um_workspace_commit(ws, &err), err);
    return ws;
}

static um_status see_decision_count(void *context, const um_row_decision_count *row, um_error *e)
{
    (void)context;
    (void)e;
    see("%s %s %d %d %d\n", row->role, row->model_name, (int)row->scenes, (int)row->decisions,
        (int)row->malformed);
    return UM_OK;
}

static void test_clear(void **state)
{
    (void)state;
    um_workspace *ws = make_full();
    see_counts(ws);
    assert_seen("u1 i1 n5 r1 scenes 1 1 1 m1 d3!1 p2 q2 s1+1 pairs 1 e1");
    assert_ok(um_workspace_decision_counts(ws, see_decision_count, NULL, &err), err);
    assert_seen("eval m 1 1 0\nstudent m 1 1 1\nteacher m 1 1 0\n");
    assert_int_equal(um_workspace_clear_stage(ws, "nonsense", &err), UM_ERR_INPUT);
    static const struct {
        const char *stage, *left;
    } rows[] = {
        {"eval", "u1 i1 n5 r1 scenes 1 1 1 m1 d2!1 p1 q1 s1+1 pairs 1 e0"},
        {"train", "u1 i1 n5 r1 scenes 1 1 1 m1 d2!1 p1 q1 s1+1 pairs 1 e0"},
        {"distill", "u1 i1 n5 r1 scenes 1 1 1 m1 d2!1 p1 q1 s0+0 pairs 0 e0"},
        {"predict", "u1 i1 n5 r1 scenes 1 1 1 m1 d2!1 p0 q0 s0+0 pairs 0 e0"},
        {"decide", "u1 i1 n5 r1 scenes 1 1 1 m1 d0!0 p0 q0 s0+0 pairs 0 e0"},
        {"base", "u1 i1 n5 r1 scenes 1 1 1 m1 d0!0 p0 q0 s0+0 pairs 0 e0"},
        {"scenes", "u1 i1 n5 r1 scenes 0 0 0 m1 d0!0 p0 q0 s0+0 pairs 0 e0"},
        {"ingest", "u0 i0 n0 r0 scenes 0 0 0 m0 d0!0 p0 q0 s0+0 pairs 0 e0"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        /* Step by step, and from the full workspace at once. */
        assert_ok(um_workspace_clear_stage(ws, rows[i].stage, &err), err);
        see_counts(ws);
        assert_seen(rows[i].left);
        um_workspace_close(ws);
        remove_dir(dir);
        ws = make_full();
        assert_ok(um_workspace_clear_stage(ws, rows[i].stage, &err), err);
        see_counts(ws);
        assert_seen(rows[i].left);
    }
    um_workspace_close(ws);
    remove_dir(dir);
    ws = make_full();
    assert_ok(um_workspace_begin(ws, &err), err);
    assert_ok(um_workspace_clear_stage(ws, "ingest", &err), err); /* in the caller's transaction */
    um_workspace_rollback(ws);
    assert_int_equal(count_users(ws), 1);
    assert_ok(um_workspace_clear_stage(ws, "decide", &err), err);
    assert_ok(um_workspace_stages(ws, see_stage, NULL, &err), err);
    assert_seen("ingest done 1/2 0.5 1000 42\nscenes done 1/2 0.5 1000 42\n"
                "base done 1/2 0.5 1000 42\n");
    assert_ok(um_workspace_metrics(ws, "train.sft", see_metric, NULL, &err), err);
    assert_seen("");
    assert_ok(um_workspace_metrics(ws, "base", see_metric, NULL, &err), err);
    assert_seen("base 1 {}\n");
    um_workspace_close(ws);
    /* One that fails half way deletes nothing. */
    remove_dir(dir);
    um_workspace_close(make_full());
    run_sql("CREATE TRIGGER keep BEFORE DELETE ON scenes BEGIN SELECT RAISE(ABORT, 'kept'); END");
    ws = open_workspace(UM_WORKSPACE_WRITE);
    assert_int_equal(um_workspace_clear_stage(ws, "scenes", &err), UM_ERR_STATE);
    assert_ok(um_workspace_begin(ws, &err), err);
    um_workspace_rollback(ws);
    see_counts(ws);
    assert_seen("u1 i1 n5 r1 scenes 1 1 1 m1 d3!1 p2 q2 s1+1 pairs 1 e1");
    um_workspace_close(ws);
}

static um_status stop_at_two(void *context, const um_row_entity *row, um_error *e)
{
    (void)e;
    um_workspace *ws = context;
    if (row->id == 2)
        return UM_ERR_INTERRUPTED;
    char key[16];
    snprintf(key, sizeof key, "k%d", (int)row->id);
    return um_workspace_set_meta(ws, key, "v", e); /* another table may be written meanwhile */
}

static void test_callbacks(void **state)
{
    (void)state;
    um_workspace *ws = open_workspace(UM_WORKSPACE_CREATE);
    assert_ok(um_workspace_begin(ws, &err), err);
    for (uint64_t id = 0; id < 4; id++)
        put_user(ws, id);
    assert_ok(um_workspace_commit(ws, &err), err);
    assert_int_equal(um_workspace_users(ws, stop_at_two, ws, &err), UM_ERR_INTERRUPTED);
    const char *value;
    assert_ok(um_workspace_get_meta(&value, ws, "k1", &err), err);
    assert_string_equal(value, "v");
    assert_ok(um_workspace_get_meta(&value, ws, "k3", &err), err);
    assert_null(value);
    um_row_entity huge = {(uint64_t)1 << 63, "x", "{}", "{}"};
    assert_int_equal(um_workspace_put_user(ws, &huge, &err), UM_ERR_INPUT);
    um_row_entity twin = {9, "user-1", "{}", "{}"};
    assert_int_equal(um_workspace_put_user(ws, &twin, &err), UM_ERR_STATE);
    assert_non_null(strstr(err.text, "users.external_id"));
    um_workspace_close(ws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_log_rows), TEST(test_scene_rows),    TEST(test_decisions),
        TEST(test_models),   TEST(test_distributions), TEST(test_score_rows),
        TEST(test_stages),   TEST(test_clear),         TEST(test_callbacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
