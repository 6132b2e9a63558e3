/* Scores of decision processes and scenes, and the walk over scored scenes. */
#include <math.h>

#include "base/str.h"
#include "mirrorer/workspace.h"
#include "test_util.h"

static char dir[256];
static um_error err;
static um_workspace *ws;
static um_str seen;

static int set_up(void **state)
{
    (void)state;
    if (make_dir(dir, sizeof dir) == NULL)
        return 1;
    return um_workspace_open(&ws, dir, UM_WORKSPACE_CREATE, &err) == UM_OK ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    um_workspace_close(ws);
    um_str_dispose(&seen);
    remove_dir(dir);
    return 0;
}

static void assert_seen(const char *expected)
{
    assert_string_equal(um_str_text(&seen), expected);
    um_str_clear(&seen);
}

static void put_scene(uint64_t id, const char *split, const char *dataset, uint32_t k)
{
    um_row_scene row = {.id = id,
                        .split = split,
                        .dataset = dataset,
                        .user_id = "u",
                        .item_id = "i",
                        .item_pos = 1,
                        .choice_cnt = k,
                        .impression_list = "[]",
                        .text = "{}",
                        .flags = id == 2 ? UM_SCENE_FLAG_ACCIDENT : 0};
    assert_ok(um_workspace_put_scene(ws, &row, &err), err);
}

static uint64_t put_decision(uint64_t scene, uint64_t model, const char *role, uint32_t sample,
                             const char *form_error, uint32_t said)
{
    uint64_t id;
    um_row_decision row = {.scene_id = scene,
                           .model_id = model,
                           .role = role,
                           .sample = sample,
                           .text = "t",
                           .finish = "stop",
                           .form_error = form_error,
                           .said = said};
    assert_ok(um_workspace_put_decision(ws, &row, &err), err);
    assert_ok(um_workspace_decision_id(&id, scene, model, role, sample, &err), err);
    return id;
}

static void put_p(uint64_t decision, uint64_t predictor, uint32_t k, double first)
{
    double p[3] = {first, 1 - first, 0};
    um_row_distribution row = {.decision_id = decision, .predictor_id = predictor, .k = k, .p = p};
    assert_ok(um_workspace_put_distribution(ws, &row, &err), err);
}

static uint64_t put_model(const char *name)
{
    uint64_t id;
    um_row_model row = {.name = name, .path = "", .hash = name, .kind = "local"};
    assert_ok(um_workspace_model_id(&id, ws, &row, &err), err);
    return id;
}

static void see_walk(const char *split, uint64_t scene_id, uint64_t predictor)
{
    um_scored_cursor *cursor = NULL;
    const um_scored_scene *s = NULL;
    assert_ok(um_workspace_scored(&cursor, ws, split, scene_id, predictor, &err), err);
    for (;;) {
        assert_ok(um_scored_next(cursor, &s, &err), err);
        if (s == NULL)
            break;
        um_str_appendf(&seen, "%d %s %u@%u%s", (int)s->id, s->dataset, s->k, s->target,
                       s->flags != 0 ? "!" : "");
        for (size_t i = 0; i < s->n; i++) {
            const um_scored_decision *d = &s->decisions[i];
            um_str_appendf(&seen, " %s%d.%u:%g", d->student ? "s" : "t", (int)d->model_id,
                           d->sample, d->p[0]);
            if (d->form_error != NULL)
                um_str_appendf(&seen, "(%s)", d->form_error);
            if (d->said != 0)
                um_str_appendf(&seen, "=%c", 'A' + (int)d->said - 1);
        }
        um_str_appendf(&seen, s->direct != NULL ? " d%g\n" : "\n", s->direct ? s->direct[0] : 0);
    }
    um_scored_close(cursor);
}

/* Scenes 0 (base), 1 to 3 (train), 4 (eval); two models and a predictor of its own. */
static uint64_t fill(void)
{
    uint64_t a = put_model("a"), b = put_model("b"), predictor = put_model("p");
    const double direct[2] = {0.25, 0.75};
    um_row_direct rows[] = {
        {1, predictor, 2, direct}, {3, predictor, 2, direct}, {3, a, 2, direct}};
    assert_ok(um_workspace_begin(ws, &err), err);
    put_scene(0, "base", "x", 2);
    for (uint64_t i = 1; i < 4; i++)
        put_scene(i, "train", i == 3 ? "y" : "x", 2);
    put_scene(4, "eval", "x", 2);
    put_p(put_decision(1, b, "student", 1, "truncated", 0), predictor, 2, 0.5);
    put_p(put_decision(1, a, "teacher", 0, NULL, 0), predictor, 2, 0.125);
    put_p(put_decision(1, a, "teacher", 2, NULL, 2), predictor, 2, 1);
    put_decision(1, a, "teacher", 1, "no stage", 0); /* not scored */
    put_p(put_decision(1, a, "eval", 0, "no stage", 1), predictor, 2, 0);
    uint64_t other = put_decision(2, a, "teacher", 0, "no stage", 1);
    put_p(other, a, 2, 0.75); /* by another predictor */
    put_p(put_decision(3, b, "student", 0, NULL, 0), predictor, 2, 0);
    put_p(put_decision(4, b, "student", 0, "factor count", 26), predictor, 2, 1);
    for (int i = 0; i < 3; i++)
        assert_ok(um_workspace_put_direct(ws, &rows[i], &err), err);
    assert_ok(um_workspace_commit(ws, &err), err);
    return predictor;
}

static void scored_scenes_come_one_by_one(void **state)
{
    (void)state;
    uint64_t predictor = fill(), n;
    see_walk("train", 0, predictor);
    assert_seen("1 x 2@1 t1.0:0.125 t1.2:1=B s2.1:0.5(truncated) d0.25\n"
                "2 x 2@1!\n"
                "3 y 2@1 s2.0:0 d0.25\n");
    see_walk("train", 0, 1);
    assert_seen("1 x 2@1\n2 x 2@1! t1.0:0.75(no stage)=A\n3 y 2@1 d0.25\n");
    see_walk(NULL, 4, predictor);
    assert_seen("4 x 2@1 s2.0:1(factor count)=Z\n");
    see_walk(NULL, 1, predictor);
    assert_seen("1 x 2@1 t1.0:0.125 t1.2:1=B s2.1:0.5(truncated) d0.25\n");
    see_walk(NULL, 9, predictor);
    assert_seen("");
    see_walk("train", 0, 77);
    assert_seen("1 x 2@1\n2 x 2@1!\n3 y 2@1\n");
    assert_ok(um_workspace_count_scenes(&n, ws, "train", &err), err);
    assert_int_equal(n, 3);

    /* A distribution of another length than its scene's list is damage, by name. */
    um_scored_cursor *cursor = NULL;
    const um_scored_scene *scene;
    put_p(put_decision(2, 2, "student", 5, NULL, 0), predictor, 3, 0.5);
    assert_ok(um_workspace_scored(&cursor, ws, "train", 0, predictor, &err), err);
    assert_ok(um_scored_next(cursor, &scene, &err), err);
    assert_int_equal(um_scored_next(cursor, &scene, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "has 3 letters, its scene 2"));
    um_scored_close(cursor);
}

static void what_is_noted_comes_back(void **state)
{
    (void)state;
    fill();
    um_row_decision row;
    uint64_t id, scene, model;
    uint32_t sample;
    const char *role;
    assert_ok(um_workspace_decision_id(&id, 4, 2, "student", 0, &err), err);
    assert_ok(um_workspace_get_decision(&row, ws, id, &err), err);
    assert_int_equal(row.said, 26);
    um_workspace_decision_parts(id, &scene, &model, &role, &sample);
    assert_int_equal(scene, 4);
    assert_int_equal(model, 2);
    assert_string_equal(role, "student");
    assert_int_equal(sample, 0);
    assert_ok(um_workspace_decision_id(&id, 1, 1, "teacher", 0, &err), err);
    assert_ok(um_workspace_get_decision(&row, ws, id, &err), err);
    assert_int_equal(row.said, 0);
}

static um_status see_fault(void *context, const um_row_fault_count *row, um_error *e)
{
    (void)context;
    (void)e;
    um_str_appendf(&seen, "%s %s %s %d\n", row->role, row->model_name, row->fault, (int)row->n);
    return UM_OK;
}

static void faults_are_counted_by_kind_and_model(void **state)
{
    (void)state;
    fill();
    put_decision(3, 1, "teacher", 7, "no stage", 0);
    assert_ok(um_workspace_fault_counts(ws, see_fault, NULL, &err), err);
    assert_seen("eval a no stage 1\nstudent b factor count 1\nstudent b truncated 1\n"
                "teacher a no stage 3\n");
}

static um_status see_decision_score(void *context, const um_row_decision_score *row, um_error *e)
{
    (void)context;
    (void)e;
    um_str_appendf(&seen, "%g %g %c%s %s\n", row->entropy, row->log_loss, 'A' + (int)row->behavior,
                   row->preferred ? "+" : "", row->fault != NULL ? row->fault : "-");
    return UM_OK;
}

static void decisions_keep_their_figures(void **state)
{
    (void)state;
    fill();
    uint64_t id;
    for (uint64_t scene = 1; scene < 4; scene++) {
        assert_ok(um_workspace_decision_id(&id, scene, 1, "teacher", 0, &err), err);
        um_row_decision_score row = {id, 0.5 * (double)scene, 2, (uint32_t)scene, scene == 2, NULL};
        if (scene == 3)
            row.fault = "contradicting letter";
        assert_ok(um_workspace_put_decision_score(ws, &row, &err), err);
        assert_ok(um_workspace_put_decision_score(ws, &row, &err), err); /* replaced */
    }
    assert_ok(um_workspace_decision_scores(ws, 2, see_decision_score, NULL, &err), err);
    assert_seen("1 2 C+ -\n");
    assert_ok(um_workspace_decision_scores(ws, 3, see_decision_score, NULL, &err), err);
    assert_seen("1.5 2 D contradicting letter\n");

    um_row_difficulty d = {2, id, 5, -1, -2};
    assert_ok(um_workspace_put_difficulty(ws, &d, &err), err);
    /* They go with the decisions, and with the stage. */
    assert_ok(um_workspace_drop_decisions(ws, NULL, "b", &err), err);
    assert_ok(um_workspace_decision_scores(ws, 2, see_decision_score, NULL, &err), err);
    assert_seen("1 2 C+ -\n");
    assert_ok(um_workspace_clear_stage(ws, "distill", &err), err);
    assert_ok(um_workspace_decision_scores(ws, 2, see_decision_score, NULL, &err), err);
    assert_seen("");
}

static void strata_tell_where_a_scene_stands(void **state)
{
    (void)state;
    um_row_stratum row;
    um_row_score score;
    um_row_pair pair = {.id = 0, .scene_id = 2, .chosen_letter = 1, .rank = 0};
    /* Scenes 0 to 5 of data set x with 2 items, 6 with 3, 7 of data set y; 5 has no score. */
    const double scores[] = {0.5, 0.75, 1, 0.75, -1, NAN, 9, 9};
    assert_ok(um_workspace_begin(ws, &err), err);
    for (uint64_t i = 0; i < 8; i++) {
        put_scene(i, "train", i == 7 ? "y" : "x", i == 6 ? 3 : 2);
        score = (um_row_score){.scene_id = i, .score = scores[i], .reason = "others"};
        assert_ok(um_workspace_put_score(ws, &score, &err), err);
    }
    for (uint64_t i = 1; i < 3; i++)
        assert_ok(um_workspace_keep_score(ws, i, "kept", &err), err);
    assert_ok(um_workspace_put_pair(ws, &pair, &err), err);
    assert_ok(um_workspace_commit(ws, &err), err);

    static const uint64_t ranks[] = {3, 1, 0, 2, 4};
    for (uint64_t i = 0; i < 5; i++) {
        assert_ok(um_workspace_get_stratum(&row, ws, i, &err), err);
        assert_int_equal(row.candidates, 5);
        assert_int_equal(row.kept, 2);
        assert_int_equal(row.rank, ranks[i]);
        assert_close(row.last_kept, 0.75, 0);
        assert_int_equal(row.all_candidates, 7);
        assert_int_equal(row.all_kept, 2);
    }
    assert_ok(um_workspace_get_stratum(&row, ws, 7, &err), err);
    assert_int_equal(row.candidates, 1);
    assert_int_equal(row.kept, 0);
    assert_true(isnan(row.last_kept));
    assert_int_equal(um_workspace_get_stratum(&row, ws, 5, &err), UM_ERR_NOT_FOUND);
    assert_int_equal(um_workspace_get_stratum(&row, ws, 50, &err), UM_ERR_NOT_FOUND);

    assert_ok(um_workspace_get_score(&score, ws, 1, &err), err);
    assert_true(score.kept);
    assert_string_equal(score.reason, "kept");
    assert_close(score.score, 0.75, 0);
    assert_ok(um_workspace_get_score(&score, ws, 5, &err), err);
    assert_true(isnan(score.score));
    assert_int_equal(um_workspace_get_score(&score, ws, 50, &err), UM_ERR_NOT_FOUND);
    assert_ok(um_workspace_get_pair(&pair, ws, 2, &err), err);
    assert_int_equal(pair.chosen_letter, 1);
    assert_int_equal(um_workspace_get_pair(&pair, ws, 1, &err), UM_ERR_NOT_FOUND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(scored_scenes_come_one_by_one),        TEST(what_is_noted_comes_back),
        TEST(faults_are_counted_by_kind_and_model), TEST(decisions_keep_their_figures),
        TEST(strata_tell_where_a_scene_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
