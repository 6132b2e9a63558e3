/* The text format of decision processes, good and bad, and the prompts that ask for them. */
#include <ctype.h>

#include "base/file.h"
#include "base/str.h"
#include "mirrorer/process.h"
#include "test_util.h"

/* The lines of a process; NULL leaves a line out. */
enum { THOUGHT, STIMULUS, S_FACTORS, KNOWLEDGE, K_FACTORS, EVALUATION, STYLE, AFTER, N_LINES };

static const char *const good[N_LINES] = {"Thought:",
                                          "Stimulus: I am bored.",
                                          "Stimulus Factors: Boredom, Time of Day",
                                          "Knowledge: [A] is cheap, [B] is not.",
                                          "Knowledge Factors: Price, Social Proof",
                                          "Evaluation: [A] wins.",
                                          "Evaluation Style: Logical",
                                          NULL};

static const char *text_of(const char *const *lines)
{
    static char text[8192];
    text[0] = '\0';
    for (int i = 0; i < N_LINES; i++) {
        if (lines[i] != NULL)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s",
                     text[0] != '\0' ? "\n" : "", lines[i]);
    }
    return text;
}

/* The good text with one line changed. */
static const char *with(int line, const char *replacement)
{
    const char *lines[N_LINES];
    memcpy(lines, good, sizeof lines);
    lines[line] = replacement;
    return text_of(lines);
}

static void assert_fault(const char *text, um_process_fault expected, const char *detail_holds)
{
    um_process p;
    char detail[160] = "";
    um_process_fault fault = um_process_parse(&p, text, detail, sizeof detail);
    if (fault != expected)
        fail_msg("'%s' is %s (%s), expected %s", text, um_process_fault_name(fault), detail,
                 um_process_fault_name(expected));
    if (detail_holds != NULL && strstr(detail, detail_holds) == NULL)
        fail_msg("detail '%s' does not hold '%s'", detail, detail_holds);
    assert_int_equal(um_process_parse(&p, text, NULL, 0), expected);
}

static void assert_slice(const char *text, size_t len, const char *expected)
{
    if (len != strlen(expected) || memcmp(text, expected, len) != 0)
        fail_msg("'%.*s', expected '%s'", (int)len, text, expected);
}

static void good_texts(void **state)
{
    (void)state;
    um_process p;
    assert_int_equal(um_process_parse(&p, text_of(good), NULL, 0), UM_PROCESS_GOOD);
    assert_slice(p.stimulus, p.stimulus_len, "I am bored.");
    assert_slice(p.knowledge, p.knowledge_len, "[A] is cheap, [B] is not.");
    assert_slice(p.evaluation, p.evaluation_len, "[A] wins.");
    assert_int_equal(p.stimulus_factors, 1u << 0 | 1u << 8);
    assert_int_equal(p.knowledge_factors, 1u << 0 | 1u << 14);
    assert_string_equal(um_evaluation_styles[p.style], "Logical");

    /* White space around parts, several lines in a stage, other capitals, a factor named twice. */
    static const char loose[] =
        "\n\nThought: \nStimulus:\n  Rain,\nstill. \n\nStimulus Factors:\tweather ,CURIOSITY\n"
        "Knowledge:Caf\xc3\xa9 \xe2\x80\x93 [B]\nKnowledge Factors: risk, Risk,brand reputation\n"
        "Evaluation: Knowledge: A History fits; the Stimulus: none.\nEvaluation Style:\n habitual "
        "\n";
    assert_int_equal(um_process_parse(&p, loose, NULL, 0), UM_PROCESS_GOOD);
    assert_slice(p.stimulus, p.stimulus_len, "Rain,\nstill.");
    assert_slice(p.knowledge, p.knowledge_len, "Caf\xc3\xa9 \xe2\x80\x93 [B]");
    assert_slice(p.evaluation, p.evaluation_len, "Knowledge: A History fits; the Stimulus: none.");
    assert_int_equal(p.stimulus_factors, 1u << 10 | 1u << 5);
    assert_int_equal(p.knowledge_factors, 1u << 9 | 1u << 5);
    assert_string_equal(um_evaluation_styles[p.style], "Habitual");
}

/* The closed lists as published (arXiv 2508.18142), with their indices in the masks. */
static void lists_are_the_published_ones(void **state)
{
    (void)state;
    static const char stimulus[] =
        "Boredom|Hunger|Thirst|Fatigue/Restlessness|Emotional State|Curiosity|Need for Achievement|"
        "Inspiration|Time of Day|Day of Week|Weather|Location|Social Factors|Special Occasion|"
        "Notification|Advertising|Financial Situation|Availability|";
    static const char knowledge[] =
        "Price|Quality|Features|Convenience|Novelty|Brand Reputation|"
        "Personal Relevance (Functional, Thematic, Identity-Based)|Emotional Appeal|Time "
        "Commitment|"
        "Risk|Visual Presentation|Recommendation Source|Review Content/Sentiment|"
        "Rating Score/Distribution|Social Proof|Past Experience|User Preferences/History|";
    static const char *const expected[] = {stimulus, knowledge,
                                           "Logical|Intuitive|Impulsive|Habitual|"};
    const char *const *lists[] = {um_stimulus_factors, um_knowledge_factors, um_evaluation_styles};
    for (int l = 0; l < 3; l++) {
        um_str joined = UM_STR_INIT;
        for (int i = 0; lists[l][i] != NULL; i++)
            um_str_appendf(&joined, "%s|", lists[l][i]);
        assert_string_equal(joined.data, expected[l]);
        um_str_dispose(&joined);
    }
}

static void every_name_is_known(void **state)
{
    (void)state;
    um_process p;
    char line[256];
    int n = 0;
    for (; um_stimulus_factors[n] != NULL; n++) {
        snprintf(line, sizeof line, "Stimulus Factors: %s", um_stimulus_factors[n]);
        assert_int_equal(um_process_parse(&p, with(S_FACTORS, line), NULL, 0), UM_PROCESS_GOOD);
        assert_int_equal(p.stimulus_factors, 1u << n);
    }
    assert_int_equal(n, 18);
    for (n = 0; um_knowledge_factors[n] != NULL; n++) {
        int other = n == 0 ? 1 : 0;
        for (int first = 0; first < 2; first++) {
            snprintf(line, sizeof line, "Knowledge Factors: %s, %s",
                     um_knowledge_factors[first ? n : other],
                     um_knowledge_factors[first ? other : n]);
            assert_int_equal(um_process_parse(&p, with(K_FACTORS, line), NULL, 0), UM_PROCESS_GOOD);
            assert_int_equal(p.knowledge_factors, 1u << n | 1u << other);
        }
    }
    assert_int_equal(n, 17);
    for (n = 0; um_evaluation_styles[n] != NULL; n++) {
        snprintf(line, sizeof line, "Evaluation Style: %s", um_evaluation_styles[n]);
        assert_int_equal(um_process_parse(&p, with(STYLE, line), NULL, 0), UM_PROCESS_GOOD);
        assert_int_equal(p.style, n);
    }
    assert_int_equal(n, 4);
}

static void relevance_has_other_names(void **state)
{
    (void)state;
    um_process p;
    static const char *const aliases[] = {"Personal Relevance", "personal relevance (Thematic)",
                                          "Personal Relevance (Functional, Identity-Based)"};
    char line[256];
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        snprintf(line, sizeof line, "Knowledge Factors: Risk, %s, Novelty", aliases[i]);
        assert_int_equal(um_process_parse(&p, with(K_FACTORS, line), NULL, 0), UM_PROCESS_GOOD);
        assert_int_equal(p.knowledge_factors, 1u << 9 | 1u << 6 | 1u << 4);
    }
    assert_fault(with(K_FACTORS, "Knowledge Factors: Risk, Personal Relevances"), UM_PROCESS_FACTOR,
                 "Personal Relevances");
    assert_fault(with(K_FACTORS, "Knowledge Factors: Risk, Personal Relevance (Thematic"),
                 UM_PROCESS_FACTOR, NULL);
    assert_fault(with(S_FACTORS, "Stimulus Factors: Personal Relevance"), UM_PROCESS_FACTOR, NULL);
}

static void bad_stages(void **state)
{
    (void)state;
    static const char *const labels[] = {
        "Thought:",           "Stimulus:",   "Stimulus Factors:", "Knowledge:",
        "Knowledge Factors:", "Evaluation:", "Evaluation Style:"};
    for (int i = THOUGHT; i <= STYLE; i++)
        assert_fault(with(i, NULL), UM_PROCESS_NO_STAGE, labels[i]);
    assert_fault("", UM_PROCESS_NO_STAGE, "Thought:");
    assert_fault("I would take [A].", UM_PROCESS_NO_STAGE, NULL);

    /* Two stages in each other's place, a label twice, labels that do not begin a line. */
    assert_fault("Thought:\nKnowledge: k\nKnowledge Factors: Price, Risk\nStimulus: s\n"
                 "Stimulus Factors: Hunger\nEvaluation: e\nEvaluation Style: Logical",
                 UM_PROCESS_NO_STAGE, NULL);
    assert_fault(with(STIMULUS, "Stimulus: a\nStimulus: b"), UM_PROCESS_NO_STAGE, "Stimulus:");
    assert_fault(with(STIMULUS, "Stimulus: a\nEvaluation: b"), UM_PROCESS_NO_STAGE, "Evaluation:");
    assert_fault(with(KNOWLEDGE, "Knowledge:\nThought: again"), UM_PROCESS_NO_STAGE, "Thought:");
    assert_fault(with(THOUGHT, " Thought:"), UM_PROCESS_NO_STAGE, "Thought:");
    assert_fault("Thought:Stimulus: s\nStimulus Factors: Hunger\nKnowledge: k\n"
                 "Knowledge Factors: Price, Risk\nEvaluation: e\nEvaluation Style: Logical",
                 UM_PROCESS_NO_STAGE, "Stimulus:");

    assert_fault(with(THOUGHT, "Sure, here it is.\nThought:"), UM_PROCESS_NO_STAGE, "Sure");
    assert_fault(with(THOUGHT, "Thought: hm"), UM_PROCESS_NO_STAGE, "hm");
    assert_fault(with(STIMULUS, "Stimulus: "), UM_PROCESS_EMPTY_STAGE, "Stimulus:");
    assert_fault(with(KNOWLEDGE, "Knowledge:\n \t"), UM_PROCESS_EMPTY_STAGE, "Knowledge:");
    assert_fault(with(EVALUATION, "Evaluation:"), UM_PROCESS_EMPTY_STAGE, "Evaluation:");
}

static void bad_factors(void **state)
{
    (void)state;
    assert_fault(with(S_FACTORS, "Stimulus Factors: Bored"), UM_PROCESS_FACTOR, "Bored");
    assert_fault(with(S_FACTORS, "Stimulus Factors: Price"), UM_PROCESS_FACTOR, "Price");
    assert_fault(with(S_FACTORS, "Stimulus Factors: Hunger,"), UM_PROCESS_FACTOR, NULL);
    assert_fault(with(S_FACTORS, "Stimulus Factors: Hunger; Thirst"), UM_PROCESS_FACTOR, NULL);
    assert_fault(with(S_FACTORS, "Stimulus Factors: Hunger\nThirst"), UM_PROCESS_FACTOR, NULL);
    assert_fault(with(S_FACTORS, "Stimulus Factors:"), UM_PROCESS_FACTOR_COUNT, "Stimulus Factors");
    assert_fault(with(S_FACTORS, "Stimulus Factors: Hunger, Thirst, Boredom, Weather"),
                 UM_PROCESS_FACTOR_COUNT, "Hunger");
    assert_fault(with(K_FACTORS, "Knowledge Factors: Price"), UM_PROCESS_FACTOR_COUNT, NULL);
    assert_fault(with(K_FACTORS, "Knowledge Factors: Price, price"), UM_PROCESS_FACTOR_COUNT, NULL);
    assert_fault(with(K_FACTORS, "Knowledge Factors: Price, Risk, Novelty, Quality, Features"),
                 UM_PROCESS_FACTOR_COUNT, NULL);
    assert_fault(with(K_FACTORS, "Knowledge Factors: Price, Boredom"), UM_PROCESS_FACTOR,
                 "Boredom");
    assert_fault(with(STYLE, "Evaluation Style: Rational"), UM_PROCESS_FACTOR, "Rational");
    assert_fault(with(STYLE, "Evaluation Style: Logical."), UM_PROCESS_FACTOR, "Logical.");
    assert_fault(with(STYLE, "Evaluation Style:"), UM_PROCESS_FACTOR, "Evaluation Style");
    assert_fault(with(AFTER, "I hope this helps."), UM_PROCESS_TRAILING, "I hope");
    assert_fault(with(AFTER, "Behavior: [A]"), UM_PROCESS_TRAILING, "Behavior: [A]");

    /* A detail is cut to its buffer. */
    um_process p;
    char detail[8];
    assert_int_equal(um_process_parse(&p, with(STYLE, "Evaluation Style: Whimsical"), detail, 8),
                     UM_PROCESS_FACTOR);
    assert_string_equal(detail, "Evaluat");
}

static void faults_have_names(void **state)
{
    (void)state;
    for (int a = UM_PROCESS_GOOD; a <= UM_PROCESS_TRAILING; a++) {
        for (int b = UM_PROCESS_GOOD; b < a; b++)
            assert_string_not_equal(um_process_fault_name((um_process_fault)a),
                                    um_process_fault_name((um_process_fault)b));
        assert_string_not_equal(um_process_fault_name((um_process_fault)a), "unknown");
    }
    assert_string_equal(um_process_fault_name(UM_PROCESS_TRUNCATED), "truncated");
}

static void texts_are_trimmed_at_the_behaviour(void **state)
{
    (void)state;
    static const struct {
        const char *text, *trimmed;
    } cases[] = {{"Thought: x\nBehavior: [A]", "Thought: x"},
                 {"Thought: x \n\n \tBehavior:", "Thought: x"},
                 {"Thought: x\nBehavior: [A]\nBehavior: [B]", "Thought: x"},
                 {" Thought: x\t\n", " Thought: x"},
                 {"Behavior: [A]", ""},
                 {" \n", ""},
                 {"", ""},
                 {"Behavior [A]", "Behavior [A]"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", cases[i].text);
        um_process_trim(text);
        assert_string_equal(text, cases[i].trimmed);
    }
}

/* Prompts ------------------------------------------------------------------------------------- */

static um_status load(um_prompt_form **form, const char *yaml, um_error *err)
{
    char dir[4096], path[4200];
    um_error why;
    assert_non_null(make_dir(dir, sizeof dir));
    snprintf(path, sizeof path, "%s/p.yaml", dir);
    assert_ok(um_file_write(path, yaml, strlen(yaml), &why), why);
    *form = NULL;
    um_status status = um_prompt_form_load(form, path, err);
    remove_dir(dir);
    return status;
}

static char *user_of(const um_prompt_form *form, const um_scene *scene)
{
    um_error err;
    char *user = NULL;
    assert_ok(um_prompt_form_user(form, scene, &user, &err), err);
    return user;
}

static void prompts_show_the_scene(void **state)
{
    (void)state;
    /* Texts of the log that look like fields, formats or YAML stay as they are. */
    char *actions[] = {"{profile} {x}", "50 % %s %n", "\\1 $0 }{"};
    um_scene scene = {.profile = "I like {history}, {exposure} and {}.",
                      .history_text = "{exposure}\n# {profile}",
                      .k = 3,
                      .actions = actions};
    um_prompt_form *form = NULL;
    um_error err;
    assert_ok(
        load(&form, "system: Be.\nuser: \"<{profile}|{exposure}|{history}|{profile}>\"\n", &err),
        err);
    assert_string_equal(um_prompt_form_system(form), "Be.");
    char *user = user_of(form, &scene);
    assert_string_equal(user, "<I like {history}, {exposure} and {}.|[A] {profile} {x}\n"
                              "[B] 50 % %s %n\n[C] \\1 $0 }{|{exposure}\n# {profile}|"
                              "I like {history}, {exposure} and {}.>");
    free(user);
    um_prompt_form_free(form);

    /* Reading practice knows a list and nothing else. */
    scene = (um_scene){.k = 2, .actions = actions};
    assert_ok(load(&form, "system: s\nuser: '{exposure}'\nreading: '<{exposure}>'\n", &err), err);
    assert_ok(um_prompt_form_reading(form, &scene, &user, &err), err);
    assert_string_equal(user, "<[A] {profile} {x}\n[B] 50 % %s %n>");
    free(user);
    um_prompt_form_free(form);
    assert_ok(load(&form, "system: s\nuser: '{exposure}'\n", &err), err);
    assert_int_equal(um_prompt_form_reading(form, &scene, &user, &err), UM_ERR_NOT_FOUND);
    um_prompt_form_free(form);
}

static void built_in_prompts_show_long_lists(void **state)
{
    (void)state;
    um_prompt_form *form = NULL;
    um_error err;
    char *letters[26], storage[26][4];
    for (int i = 0; i < 26; i++) {
        snprintf(storage[i], sizeof storage[i], "i%d", i);
        letters[i] = storage[i];
    }
    const um_scene scene = {.profile = "", .history_text = "", .k = 26, .actions = letters};
    static const char *const names[] = {"ekb", "ekb-short"};
    for (int i = 0; i < 2; i++) {
        assert_ok(um_prompt_form_builtin(&form, names[i], &err), err);
        char *user = user_of(form, &scene);
        assert_non_null(strstr(user, "[A] i0\n[B] i1\n"));
        assert_non_null(strstr(user, "\n[Z] i25"));
        assert_null(strchr(user, '{'));
        free(user);
        um_prompt_form_free(form);
    }
}

/* The prompt lists the closed lists of the parser: each name, in the order of the list. */
static void built_in_prompt_names_every_factor(void **state)
{
    (void)state;
    um_prompt_form *form = NULL;
    um_error err;
    assert_ok(um_prompt_form_builtin(&form, "ekb", &err), err);
    char *flat = um_strdup(um_prompt_form_system(form)), *to = flat;
    assert_non_null(flat);
    for (const char *p = flat; *p != '\0'; p++) {
        if (!isspace((unsigned char)*p) || (to > flat && to[-1] != ' '))
            *to++ = isspace((unsigned char)*p) ? ' ' : *p;
    }
    *to = '\0';
    const char *const *lists[] = {um_stimulus_factors, um_knowledge_factors, um_evaluation_styles};
    const char *at = flat;
    for (int l = 0; l < 3; l++) {
        for (int i = 0; lists[l][i] != NULL; i++) {
            const char *found = strstr(at, lists[l][i]);
            if (found == NULL)
                fail_msg("the prompt does not name %s in its place", lists[l][i]);
            at = found;
        }
    }
    free(flat);
    um_prompt_form_free(form);
}

static void bad_prompts(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *holds;
    } cases[] = {
        {"system: s\nuser: '{profile} {exposure} {memory}'\n", "{memory}"},
        {"system: s\nuser: '{exposure} { profile }'\n", "{ profile }"},
        {"system: s\nuser: '{exposure} {profile'\n", "{profile"},
        {"system: s\nuser: '{exposure} {}'\n", "{}"},
        {"system: s\nuser: '{exposure} {profile {history}'\n", "{profile {history}"},
        {"system: s\nuser: '{exposures}'\n", "{exposures}"},
        {"system: s\nuser: '{profile} {history}'\n", "never shows {exposure}"},
        {"user: '{exposure}'\n", "`system`"},
        {"system: s\n", "`user`"},
        {"system: [a]\nuser: '{exposure}'\n", "`system`"},
        {"- a\n- b\n", "`system`"},
        {"system: s\nuser: '{exposure}\n", "p.yaml:"},
        {"system: s\nuser: '{exposure}'\nreading: 'x'\n", "`reading` never shows"},
        {"system: s\nuser: '{exposure}'\nreading: '{exposure} {profile}'\n", "of `reading`"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        um_prompt_form *form = NULL;
        um_error err;
        um_status status = load(&form, cases[i].yaml, &err);
        assert_null(form);
        assert_int_equal(status, UM_ERR_INPUT);
        if (strstr(err.text, cases[i].holds) == NULL || strstr(err.text, "p.yaml") == NULL)
            fail_msg("'%s' does not hold '%s'", err.text, cases[i].holds);
    }
    um_prompt_form *form = NULL;
    um_error err;
    assert_int_equal(um_prompt_form_builtin(&form, "ekb-long", &err), UM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "ekb-long"));
    assert_int_equal(um_prompt_form_load(&form, "/nonexistent/p.yaml", &err), UM_ERR_NOT_FOUND);
    assert_null(form);
    um_prompt_form_free(NULL);
}

static void hashes_tell_prompts_apart(void **state)
{
    (void)state;
    static const char *const yaml[] = {"system: a\nuser: 'b {exposure}'\n",
                                       "system: a\nuser: 'c {exposure}'\n",
                                       "system: ab\nuser: ' {exposure}'\n",
                                       "system: abc\nuser: ' {exposure}'\n",
                                       "system: 'a b '\nuser: '{exposure}'\n",
                                       "system: a\nuser: 'b {exposure}'\nreading: '{exposure}'\n"};
    enum { N = sizeof yaml / sizeof *yaml };
    uint64_t hash[N];
    um_error err;
    for (int i = 0; i < N; i++) {
        um_prompt_form *form = NULL, *again = NULL;
        assert_ok(load(&form, yaml[i], &err), err);
        assert_ok(load(&again, yaml[i], &err), err);
        hash[i] = um_prompt_form_hash(form);
        assert_true(hash[i] == um_prompt_form_hash(again));
        for (int j = 0; j < i; j++)
            assert_true(hash[i] != hash[j]);
        um_prompt_form_free(form);
        um_prompt_form_free(again);
    }
}

static void letters_that_texts_name(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t said;
    } cases[] = {
        {"Evaluation Style: Logical", 0},
        {"x\nBehavior: [A]", 1},
        {"x\nBehavior:[C]\n", 3},
        {"x\nBehavior: Z.", 26},
        {"Behavior: [B].\n\n", 2},
        {"Behavior: [B] or [C]", 0},
        {"Behavior: [b]", 0},
        {"Behavior: [AB]", 0},
        {"Behavior: [A", 0},
        {"Behavior: ", 0},
        {"Behavior: [A]\nBehavior: [B]", 0},
        {"Behaviour: [A]", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(um_process_said(cases[i].text), cases[i].said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(letters_that_texts_name),
        cmocka_unit_test(good_texts),
        cmocka_unit_test(lists_are_the_published_ones),
        cmocka_unit_test(every_name_is_known),
        cmocka_unit_test(relevance_has_other_names),
        cmocka_unit_test(bad_stages),
        cmocka_unit_test(bad_factors),
        cmocka_unit_test(faults_have_names),
        cmocka_unit_test(texts_are_trimmed_at_the_behaviour),
        cmocka_unit_test(prompts_show_the_scene),
        cmocka_unit_test(built_in_prompts_show_long_lists),
        cmocka_unit_test(built_in_prompt_names_every_factor),
        cmocka_unit_test(bad_prompts),
        cmocka_unit_test(hashes_tell_prompts_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
