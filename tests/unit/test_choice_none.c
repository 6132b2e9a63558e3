/* The action "none of these" in the choice model, its baselines and its texts. */
#include "base/mem.h"
#include "choice/choice.h"
#include "mirrorer/process.h"
#include "scene_log.h"

/* Lists of a log with impressions, a good part of which nobody chose from. */
static um_scene_set *scenes_with_none(um_dataset **d, uint64_t seed, bool no_click)
{
    const log_shape shape = {.users = 60,
                             .items = 50,
                             .max_interactions = 24,
                             .days = 90,
                             .release_share = 0.4,
                             .impressions = 9};
    um_scene_options o;
    *d = random_log(seed, &shape);
    give_skips(*d, seed, 20, 8);
    um_scene_defaults(&o);
    o.seed = seed;
    o.base_scenes = 300;
    o.train_scenes = 300;
    o.eval_scenes = 100;
    o.no_click = no_click;
    return build_scenes(*d, &o, 1);
}

static void dispose(um_dataset *d, um_scene_set *set)
{
    um_scene_set_free(set);
    free_skips(d);
    um_dataset_free(d);
}

static um_choice_model *fit(const um_dataset *d, const um_scene_set *set, double ridge)
{
    um_error err;
    um_choice_options options;
    um_choice_model *m = NULL;
    um_choice_defaults(&options);
    options.ridge = ridge;
    assert_ok(um_choice_fit(&m, d, set, &options, &err), err);
    return m;
}

static bool is_none(const um_scene *s)
{
    return s->items[s->target] == UM_SCENE_NONE;
}

/* At the maximum without a penalty the fitted probabilities of "none" sum to how often it was
 * chosen: the score equation of a constant. */
static void the_constant_meets_its_score_equation(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 4; seed++) {
        um_dataset *d;
        um_scene_set *set = scenes_with_none(&d, seed, true);
        um_choice_model *m = fit(d, set, 1e-7);
        double fitted = 0, chosen = 0, n = 0, p[UM_SCENE_MAX_ITEMS];
        um_error err;
        for (size_t i = 0; i < set->n; i++) {
            const um_scene *s = &set->scenes[i];
            double sum = 0;
            assert_ok(um_choice_probabilities(m, s, p, &err), err);
            for (uint32_t j = 0; j < s->k; j++)
                sum += p[j];
            assert_close(sum, 1, 1e-12);
            if (s->split == UM_SPLIT_EVAL)
                continue;
            fitted += p[s->k - 1];
            chosen += is_none(s);
            n++;
        }
        assert_true(chosen > 60 && chosen < n - 60);
        assert_close(fitted, chosen, 1e-4);
        /* Guesses that look at items alone give it its share, and it changes nothing between items.
         */
        double share = (chosen + 1) / (n + 2);
        assert_close(um_scene_none_share(set), share, 1e-12);
        for (size_t i = 0; i < set->n; i++) {
            um_scene items = set->scenes[i];
            double without[UM_SCENE_MAX_ITEMS];
            assert_ok(um_choice_popularity(m, &items, p, &err), err);
            assert_close(p[items.k - 1], share, 1e-12);
            items.k--;
            assert_ok(um_choice_popularity(m, &items, without, &err), err);
            for (uint32_t j = 0; j < items.k; j++)
                assert_close(p[j], (1 - share) * without[j], 1e-12);
        }
        um_choice_free(m);
        dispose(d, set);
    }
}

/* One constant more, and only where the action is. */
static void the_constant_is_a_feature_of_its_own(void **state)
{
    (void)state;
    um_dataset *d;
    um_scene_set *set = scenes_with_none(&d, 5, true);
    um_choice_model *m = fit(d, set, 1);
    const char *name = NULL, *last = NULL;
    double value = 0, beta = 0, p[UM_SCENE_MAX_ITEMS];
    size_t n = 0;
    um_error err;
    while (um_choice_coefficient(m, n, &name, &value)) {
        last = name;
        beta = value;
        n++;
    }
    assert_string_equal(last, "none of these");
    assert_true(isfinite(beta) && fabs(beta) > 1e-3);
    /* With all other coefficients 0 it is its utility against equal items. */
    memset(m->beta, 0, sizeof m->beta);
    m->beta[n - 1] = 0.7;
    const um_scene *s = &set->scenes[0];
    assert_ok(um_choice_probabilities(m, s, p, &err), err);
    for (uint32_t j = 0; j + 1 < s->k; j++)
        assert_close(log(p[s->k - 1] / p[j]), 0.7, 1e-12);
    /* Its other features are 0, the least an item can have of each. */
    size_t equal = 0;
    for (size_t f = 0; f + 1 < n; f++) {
        bool may_be_negative = strcmp(m->feature_names[f], "log click share") == 0;
        memset(m->beta, 0, sizeof m->beta);
        m->beta[f] = 1;
        for (size_t i = 0; i < set->n && !may_be_negative; i++) {
            s = &set->scenes[i];
            assert_ok(um_choice_probabilities(m, s, p, &err), err);
            for (uint32_t j = 0; j + 1 < s->k; j++) {
                assert_true(p[s->k - 1] <= p[j] * (1 + 1e-12));
                equal += p[s->k - 1] > p[j] * (1 - 1e-12);
            }
        }
    }
    assert_true(equal > 1000);
    um_choice_free(m);
    dispose(d, set);
    set = scenes_with_none(&d, 5, false);
    m = fit(d, set, 1);
    size_t without = 0;
    while (um_choice_coefficient(m, without, &name, &value))
        without++;
    assert_int_equal(without, n - 1);
    um_choice_free(m);
    dispose(d, set);
}

/* Texts ---------------------------------------------------------------------------------------- */

typedef struct tally {
    const um_scene_set *set;
    size_t texts, leaving, leaving_was_true;
} tally;

static um_status check_text(void *context, const um_completion *c, um_error *err)
{
    tally *t = context;
    const um_scene *s = &t->set->scenes[c->prompt];
    um_process p;
    char detail[200] = "", letter[16];
    (void)err;
    um_process_fault fault = um_process_parse(&p, c->text, detail, sizeof detail);
    if (fault != UM_PROCESS_GOOD)
        fail_msg("%s (%s): %s", um_process_fault_name(fault), detail, c->text);
    /* The list is gone through whole, leaving included. */
    snprintf(letter, sizeof letter, "[%c] leave", 'A' + (int)(s->k - 1));
    assert_non_null(memmem(p.knowledge, p.knowledge_len, letter, strlen(letter)));
    const char *choice = memchr(p.evaluation, '[', p.evaluation_len);
    assert_non_null(choice);
    uint32_t chosen = (uint32_t)(choice[1] - 'A');
    assert_true(chosen < s->k);
    bool leaves = memmem(p.evaluation, p.evaluation_len, "nothing here fits me", 20) != NULL ||
                  memmem(p.evaluation, p.evaluation_len, "not in the mood now", 19) != NULL;
    assert_int_equal(leaves, chosen + 1 == s->k);
    t->texts++;
    t->leaving += leaves;
    t->leaving_was_true += leaves && is_none(s);
    return UM_OK;
}

static void both_voices_can_leave(void **state)
{
    (void)state;
    um_dataset *d;
    um_scene_set *set = scenes_with_none(&d, 7, true);
    um_choice_model *m = fit(d, set, 1);
    um_prompt *prompts = um_calloc(set->n, sizeof *prompts);
    um_sampling sampling = {.seed = 3};
    double expected = 0, variance = 0, p[UM_SCENE_MAX_ITEMS];
    um_error err;
    for (size_t i = 0; i < set->n; i++) {
        prompts[i].key = i;
        assert_ok(um_choice_probabilities(m, &set->scenes[i], p, &err), err);
        double none = p[set->scenes[i].k - 1];
        expected += 5 * none;
        variance += 5 * none * (1 - none);
    }
    for (int voice = UM_VOICE_CHOICE_MODEL; voice <= UM_VOICE_UNTUTORED; voice++) {
        um_responder *w = NULL;
        tally t = {.set = set};
        assert_ok(um_choice_responder_open(&w, m, set, (um_choice_voice)voice, &err), err);
        assert_ok(w->ops->complete(w, prompts, set->n, 0, 5, &sampling, NULL, 0, check_text, &t,
                                   NULL, &err),
                  err);
        assert_int_equal(t.texts, 5 * set->n);
        assert_true(t.leaving > 100 && t.leaving < t.texts - 100);
        if (voice == UM_VOICE_CHOICE_MODEL) /* drawn from the fitted distribution */
            assert_true(fabs((double)t.leaving - expected) < 4.5 * sqrt(variance));
        else /* half the time the logged choice is rationalised */
            assert_true(t.leaving_was_true > 50);
        um_responder_free(w);
    }
    free(prompts);
    um_choice_free(m);
    dispose(d, set);
}

/* Reading practice: leaving is the answer when no item of the list meets a taste, and then only. */
static void practice_leaves_when_nothing_fits(void **state)
{
    (void)state;
    um_dataset *d;
    um_scene_set *set = scenes_with_none(&d, 8, true);
    um_choice_model *m = fit(d, set, 1);
    size_t left = 0, chosen = 0;
    um_error err;
    for (uint64_t i = 0; i < 600; i++) {
        const um_scene *s = &set->scenes[i % set->n];
        char *text = NULL;
        uint32_t letter;
        assert_ok(um_choice_practice(m, s, 4, i, &text, &letter, &err), err);
        bool all_weak = true;
        for (const char *at = strstr(text, "Knowledge:"); (at = strstr(at, ": ")) != NULL; at += 2)
            all_weak = all_weak && strncmp(at + 2, "fair", 4) != 0 &&
                       strncmp(at + 2, "good", 4) != 0 && strncmp(at + 2, "strong", 6) != 0;
        assert_int_equal(letter + 1 == s->k, all_weak);
        left += all_weak;
        chosen += !all_weak;
        free(text);
    }
    assert_true(left > 20 && chosen > 100);
    um_choice_free(m);
    dispose(d, set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_constant_meets_its_score_equation),
        cmocka_unit_test(the_constant_is_a_feature_of_its_own),
        cmocka_unit_test(both_voices_can_leave),
        cmocka_unit_test(practice_leaves_when_nothing_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
