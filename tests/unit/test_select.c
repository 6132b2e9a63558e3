/* The stage distill on decision processes whose behaviours are certain: what may train, what does
 * not, which reasons are given, and what is said of one scene. */
#include <math.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "stage_place.h"

typedef struct written {
    const char *role;
    uint32_t letter;  /* behaviour: nearly all of p */
    double rest;      /* of p on the other letters: the more, the more entropy */
    const char *form; /* form_error */
    uint32_t said;
} written;

typedef struct bench {
    place p;
    um_dataset *d;
    um_scene_set *set;
    uint64_t models[2];
    uint64_t first; /* of the training scenes */
} bench;

/* p is 1 on the letter but for a rest that no draw reaches: seeds of the test give 0 to 1 - rest.
 */
static void put_process(bench *b, const um_scene *scene, uint32_t sample, const written *w)
{
    um_workspace *ws = um_session_workspace(b->p.s);
    um_error err;
    double p[26];
    bool student = strcmp(w->role, "student") == 0;
    um_row_decision row = {.scene_id = scene->id,
                           .model_id = b->models[student],
                           .role = w->role,
                           .sample = sample,
                           .text = "t",
                           .finish = "stop",
                           .form_error = w->form,
                           .said = w->said};
    um_row_distribution distribution = {.predictor_id = b->models[1], .k = scene->k, .p = p};
    for (uint32_t j = 0; j < scene->k; j++)
        p[j] = j == w->letter ? 1 - w->rest : w->rest / (scene->k - 1);
    assert_ok(um_workspace_put_decision(ws, &row, &err), err);
    assert_ok(um_workspace_decision_id(&distribution.decision_id, scene->id, row.model_id, row.role,
                                       sample, &err),
              err);
    assert_ok(um_workspace_put_distribution(ws, &distribution, &err), err);
}

static void open_bench(bench *b)
{
    static const char *const names[] = {"writer", "base"};
    static const um_row_stage predict = {.name = "predict",
                                         .parameters = "{}",
                                         .fingerprint = "0",
                                         .status = "done",
                                         .detail = "{}"};
    um_error err;
    open_place(&b->p);
    b->p.config.distill.keep_contradicting = false; /* the embedded profile keeps them */
    b->set = some_scenes(&b->d, 8);
    store_log(&b->p, b->d);
    store_scenes(&b->p, b->d, b->set);
    um_workspace *ws = um_session_workspace(b->p.s);
    for (int i = 0; i < 2; i++) {
        const um_row_model model = {.name = names[i], .path = "", .hash = "1", .kind = "local"};
        assert_ok(um_workspace_model_id(&b->models[i], ws, &model, &err), err);
    }
    assert_ok(um_workspace_put_stage(ws, &predict, &err), err);
    for (b->first = 0; b->set->scenes[b->first].split != UM_SPLIT_TRAIN; b->first++)
        ;
}

static void close_bench(bench *b)
{
    close_place(&b->p);
    um_scene_set_free(b->set);
    um_dataset_free(b->d);
}

static const um_scene *scene_at(const bench *b, uint64_t i)
{
    return &b->set->scenes[b->first + i];
}

static void assert_reason(const bench *b, uint64_t i, const char *reason)
{
    um_row_score row;
    um_error err;
    assert_ok(um_workspace_get_score(&row, um_session_workspace(b->p.s), b->first + i, &err), err);
    assert_string_equal(row.reason, reason);
    assert_int_equal(row.kept, strcmp(reason, "kept") == 0);
}

static void assert_pair(const bench *b, uint64_t i, uint32_t chosen, const char *rejected_role,
                        uint32_t rejected)
{
    um_row_pair row;
    um_error err;
    uint64_t scene, model;
    uint32_t sample;
    const char *role;
    assert_ok(um_workspace_get_pair(&row, um_session_workspace(b->p.s), b->first + i, &err), err);
    um_workspace_decision_parts(row.chosen_decision, &scene, &model, &role, &sample);
    assert_string_equal(role, "teacher");
    assert_int_equal(sample, chosen);
    um_workspace_decision_parts(row.rejected_decision, &scene, &model, &role, &sample);
    assert_string_equal(role, rejected_role);
    assert_int_equal(sample, rejected);
}

static void distil(bench *b)
{
    um_error err;
    assert_ok(um_stage_redo(b->p.s, "distill", &err), err);
    assert_ok(um_stage_run(b->p.s, "distill", &err), err);
}

/* Scene 0: the surest right text names another letter, the surest wrong one is malformed. */
static void fill(bench *b)
{
    const um_scene *s = scene_at(b, 0);
    uint32_t t = s->target, wrong = (t + 1) % s->k;
    const written first[] = {
        {"teacher", t, 0, NULL, wrong + 1}, {"teacher", t, 1e-9, NULL, t + 1},
        {"teacher", t, 1e-8, NULL, 0},      {"student", wrong, 0, "truncated", 0},
        {"student", wrong, 1e-7, NULL, 0},  {"student", t, 0, NULL, 0},
    };
    for (uint32_t i = 0; i < 6; i++)
        put_process(b, s, i % 3, &first[i]);

    s = scene_at(b, 1); /* nothing is right but the student's */
    t = s->target;
    wrong = (t + 1) % s->k;
    put_process(b, s, 0, &(written){"teacher", wrong, 0, NULL, 0});
    put_process(b, s, 0, &(written){"student", t, 0, NULL, 0});
    s = scene_at(b, 2); /* nothing is wrong */
    put_process(b, s, 0, &(written){"teacher", s->target, 0, NULL, 0});
    put_process(b, s, 0, &(written){"student", s->target, 0, NULL, 0});
    s = scene_at(b, 3); /* the student wrote nothing */
    put_process(b, s, 0, &(written){"teacher", s->target, 0, NULL, 0});
}

static void what_may_train(void **state)
{
    (void)state;
    bench b;
    um_error err;
    um_row_stage stage;
    open_bench(&b);
    fill(&b);
    b.p.config.distill.pairs = 100;
    distil(&b);
    assert_pair(&b, 0, 1, "student", 1);
    assert_reason(&b, 0, "kept");
    assert_reason(&b, 1, "no well-formed teacher process reached the true action");
    assert_reason(&b, 2, "no well-formed process reached another action");
    assert_reason(&b, 3, "no decision processes");
    assert_ok(um_workspace_get_stage(&stage, um_session_workspace(b.p.s), "distill", &err), err);
    assert_non_null(strstr(stage.detail, "\"faults\":{\"teacher\":{\"contradicting letter\":1},"
                                         "\"student\":{\"truncated\":1}}"));

    b.p.config.distill.keep_contradicting = true;
    distil(&b);
    assert_pair(&b, 0, 0, "student", 1);
    b.p.config.distill.keep_contradicting = false;

    b.p.config.distill.keep_malformed = true;
    distil(&b);
    assert_pair(&b, 0, 0, "student", 0);
    strcpy(b.p.config.distill.chosen, "highest-entropy");
    strcpy(b.p.config.distill.rejected, "lowest-truth");
    distil(&b);
    assert_pair(&b, 0, 2, "student", 0);
    b.p.config.distill.keep_malformed = false;
    strcpy(b.p.config.distill.chosen, "highest-truth");
    distil(&b);
    assert_pair(&b, 0, 1, "student", 1);
    close_bench(&b);
}

static um_status see_scene(void *context, const um_row_score *row, um_error *err)
{
    uint32_t *n = context;
    (void)err;
    *n += row->kept && !isnan(row->score);
    return UM_OK;
}

/* Without decision processes every scene with a direct distribution has a pair of bare letters. */
static void direct_pairs(void **state)
{
    (void)state;
    bench b;
    um_error err;
    um_row_pair pair;
    uint32_t n = 0;
    open_bench(&b);
    um_workspace *ws = um_session_workspace(b.p.s);
    strcpy(b.p.config.distill.strategy, "random-direct");
    assert_int_equal(um_stage_run(b.p.s, "distill", &err), UM_ERR_STATE);
    assert_non_null(strstr(err.text, "predict"));
    for (uint64_t i = 0; i < 4; i++) {
        double p[26] = {0};
        um_row_direct row = {b.first + i, b.models[1], scene_at(&b, i)->k, p};
        p[scene_at(&b, i)->target] = 0.5;
        p[(scene_at(&b, i)->target + 1) % row.k] = 0.5;
        assert_ok(um_workspace_put_direct(ws, &row, &err), err);
    }
    b.p.config.distill.pairs = 3;
    distil(&b);
    assert_ok(um_workspace_scores(ws, see_scene, &n, &err), err);
    assert_int_equal(n, 3);
    n = 0;
    for (uint64_t i = 0; i < 4; i++) {
        const um_scene *s = scene_at(&b, i);
        if (um_workspace_get_pair(&pair, ws, b.first + i, &err) != UM_OK) {
            assert_reason(&b, i, "others teach more");
            continue;
        }
        n++;
        assert_int_equal(pair.chosen_decision, 0);
        assert_int_equal(pair.rejected_decision, 0);
        assert_int_equal(pair.chosen_letter, s->target);
        assert_int_equal(pair.rejected_letter, (s->target + 1) % s->k); /* the one p leaves */
    }
    assert_int_equal(n, 3);
    assert_reason(&b, 4, "no direct distribution");
    char *path = path_in(&b.p, "pairs.jsonl"), *text = NULL;
    size_t len;
    assert_ok(um_session_export(b.p.s, "pairs", path, &err), err);
    assert_ok(um_file_read(&text, &len, path, 1 << 20, &err), err);
    assert_non_null(strstr(text, "\"content\":\"Behavior: ["));
    free(text);
    close_bench(&b);
}

static json_t *told(char *json)
{
    um_error err;
    json_t *root = NULL;
    assert_ok(um_json_parse(&root, json, strlen(json), "scene", &err), err);
    free(json);
    return root;
}

static const char *why(const json_t *root, size_t i)
{
    return json_string_value(
        json_object_get(json_array_get(json_object_get(root, "candidates"), i), "why"));
}

static void scenes_explain_themselves(void **state)
{
    (void)state;
    bench b;
    um_error err;
    char *json = NULL;
    open_bench(&b);
    fill(&b);
    b.p.config.distill.pairs = 100;
    distil(&b);
    assert_ok(um_session_explain_scene(b.p.s, b.first, &json, &err), err);
    json_t *root = told(json);
    assert_true(json_is_true(json_object_get(root, "kept")));
    assert_int_equal(json_integer_value(json_object_get(root, "pair_rank")), 1);
    const json_t *stratum = json_object_get(root, "stratum");
    assert_int_equal(json_integer_value(json_object_get(stratum, "rank")), 1);
    assert_int_equal(json_integer_value(json_object_get(stratum, "quota")), 1);
    assert_string_equal(why(root, 0), "contradicting letter: never trained on");
    assert_string_equal(why(root, 1), "chosen");
    assert_non_null(strstr(why(root, 2), "entropy 0.000000"));
    assert_non_null(strstr(why(root, 2), "the chosen one's"));
    assert_string_equal(why(root, 3), "truncated: never trained on");
    assert_string_equal(why(root, 4), "rejected");
    assert_non_null(strstr(why(root, 5), "is the student's"));
    json_decref(root);

    assert_ok(um_session_explain_scene(b.p.s, b.first + 2, &json, &err), err);
    root = told(json);
    assert_true(json_is_false(json_object_get(root, "kept")));
    assert_string_equal(why(root, 0), "would be chosen, but nothing can be rejected");
    json_decref(root);
    assert_ok(um_session_explain_scene(b.p.s, 0, &json, &err), err);
    root = told(json);
    assert_string_equal(json_string_value(json_object_get(root, "reason")), "not a training scene");
    json_decref(root);

    assert_ok(um_session_show_decisions(b.p.s, b.first, "student", &json, &err), err);
    root = told(json);
    const json_t *list = json_object_get(root, "processes");
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 1), "place")),
                        "rejected");
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "fault")),
                        "truncated");
    assert_close(json_number_value(json_object_get(json_array_get(list, 2), "log_loss")), 0, 1e-6);
    json_decref(root);
    assert_ok(um_session_show_decisions(b.p.s, b.first, NULL, &json, &err), err);
    root = told(json);
    list = json_object_get(root, "processes");
    assert_int_equal(json_array_size(list), 6);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "fault")),
                        "contradicting letter");
    assert_non_null(json_string_value(json_object_get(json_array_get(list, 0), "said")));
    json_decref(root);
    assert_int_equal(um_session_explain_scene(b.p.s, 9999, &json, &err), UM_ERR_NOT_FOUND);
    assert_int_equal(um_session_show_decisions(b.p.s, 9999, NULL, &json, &err), UM_ERR_NOT_FOUND);
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_train),
        cmocka_unit_test(direct_pairs),
        cmocka_unit_test(scenes_explain_themselves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
