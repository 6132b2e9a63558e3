/* Texts of the choice model: well formed, about the list, drawn from its distribution, repeatable.
 */
#include "base/mem.h"
#include "base/str.h"
#include "choice_log.h"
#include "mirrorer/process.h"

typedef struct texts {
    const um_scene_set *set;
    size_t n;
    char *text[12000];
    uint32_t sample[12000];
    size_t prompt[12000];
    uint32_t said[12000];
    um_status give_back;
} texts;

static um_status keep(void *context, const um_completion *c, um_error *err)
{
    texts *t = context;
    (void)err;
    assert_int_equal(c->finish, UM_FINISH_STOP);
    assert_true(t->n < sizeof t->text / sizeof *t->text);
    t->sample[t->n] = c->sample;
    t->prompt[t->n] = c->prompt;
    t->said[t->n] = c->said;
    t->text[t->n] = um_strdup(c->text);
    assert_non_null(t->text[t->n++]);
    return t->give_back;
}

static void forget(texts *t)
{
    for (size_t i = 0; i < t->n; i++)
        free(t->text[i]);
    t->n = 0;
}

static um_responder *open_writer(const um_choice_model *m, const um_scene_set *set,
                                 um_choice_voice voice)
{
    um_error err;
    um_responder *w = NULL;
    assert_ok(um_choice_responder_open(&w, m, set, voice, &err), err);
    assert_non_null(w->name);
    return w;
}

static void write_texts(um_responder *w, const uint64_t *keys, size_t n, uint32_t first,
                        uint32_t samples, uint64_t seed, const char *opening, texts *out)
{
    um_error err;
    um_sampling sampling = {.seed = seed, .temperature = 1, .top_p = 1, .max_tokens = 200};
    um_prompt *prompts = um_calloc(n, sizeof *prompts);
    static const char *const stops[] = {"Behavior:"};
    for (size_t i = 0; i < n; i++)
        prompts[i] = (um_prompt){.key = keys[i], .opening = opening};
    assert_ok(
        w->ops->complete(w, prompts, n, first, samples, &sampling, stops, 1, keep, out, NULL, &err),
        err);
    free(prompts);
}

static const char *title(const um_dataset *d, uint32_t item)
{
    const char *cell = um_table_cell(&d->items, item, um_table_column(&d->items, "title"));
    return cell != NULL ? cell : d->items.ids[item];
}

/* The listed item whose title the part names, -1 for none. "Title 1" is not named by "Title 12". */
static int named(const um_dataset *d, const um_scene *s, const char *part, size_t len)
{
    int found = -1;
    size_t longest = 0;
    for (uint32_t c = 0; c < s->k; c++) {
        const char *name = title(d, s->items[c]);
        if (strlen(name) > longest && memmem(part, len, name, strlen(name)) != NULL) {
            found = (int)c;
            longest = strlen(name);
        }
    }
    return found;
}

/* The choice of a text, which is checked on the way. */
static uint32_t choice_of(const um_dataset *d, const um_scene *s, const char *text)
{
    um_process p;
    char detail[200] = "", whole[20000];
    snprintf(whole, sizeof whole, "%s%s", um_str_starts(text, "Thought:") ? "" : UM_PROCESS_OPENING,
             text);
    um_process_fault fault = um_process_parse(&p, whole, detail, sizeof detail);
    if (fault != UM_PROCESS_GOOD || strstr(whole, "Behavior:") != NULL)
        fail_msg("%s (%s): %s", um_process_fault_name(fault), detail, whole);
    int choice = named(d, s, p.evaluation, p.evaluation_len);
    if (choice < 0)
        fail_msg("names no item of the list: %s", whole);
    /* Where a letter is given, it is the letter of the item named. */
    const char *open = memchr(p.evaluation, '[', p.evaluation_len);
    if (open != NULL && open[2] == ']' && open[1] != 'A' + choice)
        fail_msg("letter and title differ: %s", whole);
    return (uint32_t)choice;
}

/* Lists of different items only, so that a title tells which was chosen. */
static void keep_distinct(choice_scenes *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->set.n; i++) {
        um_scene scene = s->set.scenes[i];
        bool distinct = true;
        for (uint32_t a = 0; a < scene.k; a++)
            for (uint32_t b = 0; b < a; b++)
                distinct = distinct && scene.items[a] != scene.items[b];
        if (!distinct)
            continue;
        scene.id = n;
        s->set.scenes[n++] = scene;
    }
    s->set.n = n;
}

static void texts_are_well_formed(void **state)
{
    (void)state;
    static texts t;
    for (uint64_t i = 0; i < 8; i++) {
        /* The last has nothing but titles: no attributes, ratings, impressions or releases. */
        choice_shape shape = {.seed = i,
                              .attributes = i & 1 || i == 2,
                              .ratings = i & 2,
                              .impressions = i & 4,
                              .releases = i & 1};
        choice_truth truth;
        if (i == 0)
            shape = (choice_shape){.seed = 9};
        um_dataset *d = choice_log(&shape, &truth);
        choice_scenes s = choice_scenes_of(d, i, 1, 150);
        um_choice_model *m = choice_fit(d, &s.set, 1);
        uint64_t keys[12];
        for (uint64_t j = 0; j < 12; j++)
            keys[j] = j * (s.set.n / 12);
        for (int voice = UM_VOICE_CHOICE_MODEL; voice <= UM_VOICE_UNTUTORED; voice++) {
            um_responder *w = open_writer(m, &s.set, (um_choice_voice)voice);
            for (int opened = 0; opened < 2; opened++) {
                write_texts(w, keys, 12, 0, 10, 3, opened ? UM_PROCESS_OPENING : NULL, &t);
                assert_int_equal(t.n, 120);
                for (size_t j = 0; j < t.n; j++) {
                    assert_int_equal(um_str_starts(t.text[j], "Thought:"), !opened);
                    const um_scene *scene = &s.set.scenes[keys[t.prompt[j]]];
                    uint32_t choice = choice_of(d, scene, t.text[j]);
                    assert_in_range(t.said[j], 1, scene->k);
                    assert_int_equal(scene->items[t.said[j] - 1], scene->items[choice]);
                }
                forget(&t);
            }
            um_responder_free(w);
        }
        um_choice_free(m);
        choice_scenes_free(&s);
        um_dataset_free(d);
    }
}

static const choice_shape rich = {
    .seed = 1, .attributes = true, .ratings = true, .impressions = true, .releases = true};

static void samples_differ_and_repeat(void **state)
{
    (void)state;
    static texts all, part;
    choice_truth truth;
    um_dataset *d = choice_log(&rich, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 1, 150);
    um_choice_model *m = choice_fit(d, &s.set, 1);
    const uint64_t keys[] = {3, 40, 11, 90}, turned[] = {90, 11, 40, 3};
    for (int voice = UM_VOICE_CHOICE_MODEL; voice <= UM_VOICE_UNTUTORED; voice++) {
        um_responder *w = open_writer(m, &s.set, (um_choice_voice)voice);
        write_texts(w, keys, 4, 0, 10, 7, NULL, &all);
        for (size_t i = 0; i < 4; i++) {
            int distinct = 0;
            for (size_t a = i * 10; a < i * 10 + 10; a++) {
                bool is_new = true;
                for (size_t b = i * 10; b < a; b++)
                    is_new = is_new && strcmp(all.text[a], all.text[b]) != 0;
                distinct += is_new;
            }
            assert_true(distinct >= 7);
        }
        /* A text is a function of seed, scene and sample: not of the call it came in. */
        write_texts(w, turned, 4, 6, 4, 7, NULL, &part);
        for (size_t i = 0; i < part.n; i++)
            assert_string_equal(part.text[i], all.text[(3 - part.prompt[i]) * 10 + part.sample[i]]);
        forget(&part);
        write_texts(w, keys, 4, 0, 10, 8, NULL, &part);
        int same = 0;
        for (size_t i = 0; i < part.n; i++)
            same += strcmp(part.text[i], all.text[i]) == 0;
        assert_true(same < 10);
        forget(&part);
        forget(&all);
        um_responder_free(w);
    }
    um_choice_free(m);
    choice_scenes_free(&s);
    um_dataset_free(d);
}

static void choices_follow_the_model(void **state)
{
    (void)state;
    static texts t;
    /* 99.99 percentiles of chi-square by degrees of freedom (tables). */
    static const double critical[] = {0, 15.137, 18.421, 21.108, 23.513, 25.745};
    choice_truth truth;
    um_dataset *d = choice_log(&rich, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 1, 150);
    keep_distinct(&s);
    um_choice_model *m = choice_fit(d, &s.set, 1);
    um_responder *w = open_writer(m, &s.set, UM_VOICE_CHOICE_MODEL);
    for (uint64_t key = 0; key < 3; key++) {
        const uint64_t at = key * 37 + 5;
        const um_scene *scene = &s.set.scenes[at];
        double p[LISTED], count[LISTED] = {0}, statistic = 0;
        enum { N = 10000 };
        choice_p(m, scene, p);
        write_texts(w, &at, 1, 0, N, 1, NULL, &t);
        for (size_t i = 0; i < N; i++)
            count[choice_of(d, scene, t.text[i])]++;
        for (uint32_t c = 0; c < scene->k; c++)
            statistic += pow(count[c] - N * p[c], 2) / (N * p[c]);
        if (statistic > critical[scene->k - 1])
            fail_msg("chi-square %g of %u items", statistic, scene->k);
        forget(&t);
    }
    um_responder_free(w);
    um_choice_free(m);
    choice_scenes_free(&s);
    um_dataset_free(d);
}

static void teacher_does_not_see_the_outcome(void **state)
{
    (void)state;
    static texts a, b;
    choice_truth truth;
    um_dataset *d = choice_log(&rich, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 1, 150);
    um_choice_model *m = choice_fit(d, &s.set, 1);
    um_responder *w = open_writer(m, &s.set, UM_VOICE_CHOICE_MODEL);
    const uint64_t keys[] = {1, 2, 3};
    write_texts(w, keys, 3, 0, 20, 1, NULL, &a);
    for (size_t i = 0; i < s.set.n; i++)
        s.set.scenes[i].target = (s.set.scenes[i].target + 1) % s.set.scenes[i].k;
    write_texts(w, keys, 3, 0, 20, 1, NULL, &b);
    for (size_t i = 0; i < a.n; i++)
        assert_string_equal(a.text[i], b.text[i]);
    forget(&a);
    forget(&b);
    um_responder_free(w);
    um_choice_free(m);
    choice_scenes_free(&s);
    um_dataset_free(d);
}

/* A log of four users whose first four items have these titles. The titles of the others make them
 * an attribute (few values), or, where there are columns of values, none (a name for each item). */
static um_dataset *small_log(const char *const *titles, const char *column,
                             const char *const *values, const char *second_column)
{
    um_error err;
    um_dataset_builder *b = NULL;
    um_dataset *d = NULL;
    assert_ok(um_dataset_builder_new(&b, "small", &err), err);
    for (uint32_t i = 0; i < 12; i++) {
        char id[16];
        uint32_t item;
        snprintf(id, sizeof id, "id%u", i);
        assert_ok(um_dataset_builder_item(b, id, &item, NULL, &err), err);
        snprintf(id, sizeof id, "Other %u", i);
        if (i < 4 || values != NULL)
            assert_ok(um_dataset_builder_set_item(b, item, "title", UM_COLUMN_DESCRIPTION,
                                                  i < 4 ? titles[i] : id, &err),
                      err);
        if (values != NULL)
            assert_ok(um_dataset_builder_set_item(b, item, column, UM_COLUMN_DESCRIPTION,
                                                  values[i % 4], &err),
                      err);
        if (second_column != NULL)
            assert_ok(um_dataset_builder_set_item(b, item, second_column, UM_COLUMN_DESCRIPTION,
                                                  values[(i + 1) % 4], &err),
                      err);
    }
    for (uint32_t u = 0; u < 4; u++) {
        char id[16];
        uint32_t user;
        snprintf(id, sizeof id, "u%u", u);
        assert_ok(um_dataset_builder_user(b, id, &user, NULL, &err), err);
        for (uint32_t i = 0; i < 12; i++)
            assert_ok(um_dataset_builder_interaction(b, user, (i * 5 + u) % 12,
                                                     FIRST_TIME + (int64_t)i * DAY, &err),
                      err);
    }
    assert_ok(um_dataset_builder_finish(b, &d, &err), err);
    um_dataset_builder_free(b);
    return d;
}

/* Two scenes of every user whose list is the first four items. */
static um_scene_set small_scenes(const um_dataset *d, um_scene scenes[8], uint64_t history[8][4],
                                 uint32_t items[4])
{
    for (uint32_t i = 0; i < 4; i++)
        items[i] = i;
    for (uint64_t s = 0; s < 8; s++) {
        uint64_t begin = d->user_start[s / 2] + s % 2 * 4;
        for (uint64_t h = 0; h < 4; h++)
            history[s][h] = begin + h;
        scenes[s] = (um_scene){.id = s,
                               .split = UM_SPLIT_TRAIN,
                               .user = (uint32_t)s / 2,
                               .time_s = d->time_s[begin + 4],
                               .n_history = 4,
                               .history = history[s],
                               .k = 4,
                               .items = items,
                               .target = (uint32_t)(s * 3 % 4)};
    }
    return (um_scene_set){.scenes = scenes, .n = 8};
}

static void odd_titles_make_good_texts(void **state)
{
    (void)state;
    static texts t;
    static char lengthy[9001];
    for (size_t i = 0; i + 3 <= sizeof lengthy - 1; i += 3)
        memcpy(lengthy + i, "\xe6\xbc\xa2", 3);
    static const char *const hostile[][4] = {
        {"A\nEvaluation: mine", "B\r\nThought:\nStimulus:", "Behavior: [A]", "\nBehavior: [B]\n"},
        {"", " \t\n", lengthy, "[C] %s %n %c"},
        {"Stimulus Factors:", "Evaluation Style: Logical",
         "BehaviorBehavior: :", "Human Behavior"}};
    for (int i = 0; i < 3; i++) {
        um_scene scenes[8];
        uint64_t history[8][4], keys[8] = {0, 1, 2, 3, 4, 5, 6, 7};
        uint32_t items[4];
        um_dataset *d = small_log(hostile[i], NULL, NULL, NULL);
        um_scene_set set = small_scenes(d, scenes, history, items);
        um_choice_model *m = choice_fit(d, &set, 1);
        um_responder *w = open_writer(m, &set, UM_VOICE_CHOICE_MODEL);
        write_texts(w, keys, 8, 0, 10, 1, NULL, &t);
        for (size_t j = 0; j < t.n; j++) {
            um_process p;
            char detail[200];
            if (um_process_parse(&p, t.text[j], detail, sizeof detail) != UM_PROCESS_GOOD)
                fail_msg("%s: %s", detail, t.text[j]);
            assert_null(strstr(t.text[j], "Behavior:"));
            assert_true(um_utf8_valid(t.text[j], strlen(t.text[j])));
            assert_true(strlen(t.text[j]) < 2000);
        }
        forget(&t);
        um_responder_free(w);
        um_choice_free(m);
        um_dataset_free(d);
    }
}

static void years_alone_are_spoken_of(void **state)
{
    (void)state;
    static texts t;
    static const char *const titles[] = {"P", "Q", "R", "S"};
    static const char *const years[] = {"1961", "1974", "1975", "1988"};
    um_scene scenes[8];
    uint64_t history[8][4], keys[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    uint32_t items[4];
    size_t spoken = 0;
    um_dataset *d = small_log(titles, "made", years, "shown");
    um_scene_set set = small_scenes(d, scenes, history, items);
    um_choice_model *m = choice_fit(d, &set, 1);
    um_responder *w = open_writer(m, &set, UM_VOICE_UNTUTORED);
    write_texts(w, keys, 8, 0, 10, 1, NULL, &t);
    for (size_t j = 0; j < t.n; j++) {
        choice_of(d, &scenes[t.prompt[j]], t.text[j]);
        spoken += strstr(t.text[j], "0s") != NULL;
    }
    assert_true(spoken > 40);
    forget(&t);
    um_responder_free(w);
    um_choice_free(m);
    um_dataset_free(d);
}

/* The responder's contract -------------------------------------------------------------------- */

typedef struct scored {
    size_t n;
    double p[64][LISTED];
    size_t query[64], text[64];
} scored;

static um_status on_letters(void *context, size_t query, size_t text, const double *p,
                            um_error *err)
{
    scored *s = context;
    (void)err;
    s->query[s->n] = query;
    s->text[s->n] = text;
    memcpy(s->p[s->n++], p, 2 * sizeof *p);
    return UM_OK;
}

static um_status refuse_letters(void *context, size_t query, size_t text, const double *p,
                                um_error *err)
{
    (void)context;
    (void)query;
    (void)text;
    (void)p;
    (void)err;
    return UM_ERR_LIMIT;
}

static void responder_keeps_its_contract(void **state)
{
    (void)state;
    static texts t;
    static scored got;
    choice_truth truth;
    um_error err;
    um_dataset *d = choice_log(&rich, &truth);
    choice_scenes s = choice_scenes_of(d, 1, 1, 150);
    um_choice_model *m = choice_fit(d, &s.set, 1);
    um_responder *w = open_writer(m, &s.set, UM_VOICE_CHOICE_MODEL);
    um_responder *other = open_writer(m, &s.set, UM_VOICE_UNTUTORED);
    assert_true(w->fingerprint != other->fingerprint);

    const um_prompt prompts[] = {{.key = 4}, {.key = 2}, {.key = s.set.n}};
    const char *const process[] = {"a\nBehavior: [", "b\nBehavior: [", ""};
    const um_letter_query queries[] = {
        {&prompts[0], process, 3}, {&prompts[1], process, 1}, {&prompts[2], process, 1}};
    assert_ok(w->ops->score_letters(w, queries, 2, on_letters, &got, NULL, &err), err);
    assert_int_equal(got.n, 4);
    for (size_t i = 0; i < 4; i++) {
        double p[LISTED];
        assert_int_equal(got.query[i], i / 3);
        assert_int_equal(got.text[i], i % 3);
        choice_p(m, &s.set.scenes[i < 3 ? 4 : 2], p);
        assert_memory_equal(got.p[i], p, 2 * sizeof *p);
    }
    assert_int_equal(w->ops->score_letters(w, queries, 3, on_letters, &got, NULL, &err),
                     UM_ERR_NOT_FOUND);
    assert_int_equal(w->ops->score_letters(w, queries, 2, refuse_letters, NULL, NULL, &err),
                     UM_ERR_LIMIT);

    const um_sampling sampling = {.seed = 1};
    assert_int_equal(
        w->ops->complete(w, &prompts[2], 1, 0, 1, &sampling, NULL, 0, keep, &t, NULL, &err),
        UM_ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "scene"));
    t.give_back = UM_ERR_IO;
    assert_int_equal(
        w->ops->complete(w, prompts, 2, 0, 5, &sampling, NULL, 0, keep, &t, NULL, &err), UM_ERR_IO);
    assert_int_equal(t.n, 1);
    t.give_back = UM_OK;
    forget(&t);
    const volatile sig_atomic_t stop = 1;
    const um_monitor monitor = {.stop = &stop};
    assert_int_equal(
        w->ops->complete(w, prompts, 2, 0, 5, &sampling, NULL, 0, keep, &t, &monitor, &err),
        UM_ERR_INTERRUPTED);
    assert_int_equal(w->ops->score_letters(w, queries, 2, on_letters, &got, &monitor, &err),
                     UM_ERR_INTERRUPTED);
    assert_int_equal(t.n, 0);
    um_responder_free(w);
    um_responder_free(other);
    um_choice_free(m);
    choice_scenes_free(&s);
    um_dataset_free(d);
}

/* Reading practice: a short form, about the list, whose letter names the item its words choose. */
static void practice_reads_the_list(void **state)
{
    (void)state;
    for (int attributes = 0; attributes < 2; attributes++) {
        const choice_shape shape = {.seed = 2, .attributes = attributes == 1, .ratings = true};
        choice_truth truth;
        um_error err;
        um_dataset *d = choice_log(&shape, &truth);
        choice_scenes s = choice_scenes_of(d, 1, 1, 150);
        keep_distinct(&s);
        um_choice_model *m = choice_fit(d, &s.set, 1);
        size_t letters[LISTED] = {0}, differ = 0;
        for (uint64_t i = 0; i < 300; i++) {
            const um_scene *from = &s.set.scenes[i % s.set.n];
            /* Only the list is looked at. */
            const um_scene list = {.k = from->k, .items = from->items};
            char *text = NULL, *again = NULL;
            uint32_t letter = 99, letter_again = 99;
            assert_ok(um_choice_practice(m, &list, 5, i, &text, &letter, &err), err);
            assert_ok(um_choice_practice(m, &list, 5, i, &again, &letter_again, &err), err);
            assert_string_equal(text, again);
            assert_int_equal(letter, letter_again);
            assert_true(letter < list.k);
            letters[letter]++;
            assert_true(um_str_starts(text, UM_PROCESS_OPENING));
            assert_null(strstr(text, "Factors:"));
            assert_null(strstr(text, "Style:"));
            assert_null(strstr(text, "Behavior:"));
            const char *evaluation = strstr(text, "\nEvaluation: ");
            assert_non_null(evaluation);
            assert_int_equal(named(d, &list, evaluation, strlen(evaluation)), letter);
            /* What is chosen is as strong as anything in the list. */
            static const char *const words[] = {": strong", ": good", ": fair", ": weak"};
            char mark[8];
            snprintf(mark, sizeof mark, "[%c]", 'A' + (int)letter);
            const char *mine = strstr(text, mark);
            for (int strength = 0; strength < 4; strength++) {
                if (strstr(text, words[strength]) == NULL)
                    continue;
                assert_non_null(mine);
                const char *said = strchr(mine, ':');
                assert_true(said != NULL && um_str_starts(said, words[strength]));
                break;
            }
            free(again);
            assert_ok(um_choice_practice(m, &list, 6, i, &again, &letter_again, &err), err);
            differ += strcmp(text, again) != 0;
            free(text);
            free(again);
        }
        assert_true(letters[0] > 20 && letters[1] > 20 && letters[2] > 20);
        assert_true(differ > 200);
        um_choice_free(m);
        choice_scenes_free(&s);
        um_dataset_free(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_are_well_formed),
        cmocka_unit_test(samples_differ_and_repeat),
        cmocka_unit_test(choices_follow_the_model),
        cmocka_unit_test(teacher_does_not_see_the_outcome),
        cmocka_unit_test(odd_titles_make_good_texts),
        cmocka_unit_test(years_alone_are_spoken_of),
        cmocka_unit_test(responder_keeps_its_contract),
        cmocka_unit_test(practice_reads_the_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
