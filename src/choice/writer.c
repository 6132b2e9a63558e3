/*
 * writer.c - decision processes written by the choice model, and by an untutored voice.
 *
 * The choice model's voice draws a choice from its distribution, draws tastes from what the history
 * says about each attribute (favouring those that speak for the choice), and says how the leading
 * items of the list share them. The untutored voice uses the same language with tastes taken from
 * random history items and a choice that is given: it teaches how one talks, not how one chooses.
 */
#include "choice/choice.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/str.h"
#include "mirrorer/process.h"

#define MAX_SPOKEN 3           /* attributes a text speaks of */
#define MAX_TEXT_BYTES 16384
#define FIRST_TEMPERATURE 0.35 /* of the draw of a taste, in utility */
#define OTHER_TEMPERATURE 0.25
#define FIRST_BONUS 0.5        /* for a taste the chosen item shares */
#define OTHER_BONUS 0.3
#define SECOND_TASTE_MIN 0.8   /* utility from which a second taste is worth naming */
#define SECOND_TASTE_SHARE 0.7

/* The tastes a text names: per spoken attribute up to two values, -1 for none. */
typedef struct tastes {
    int n;
    int attribute[MAX_SPOKEN];
    int value[MAX_SPOKEN][2];
} tastes;

typedef struct writer {
    um_responder base;
    const um_choice_model *model;
    const um_scene_set *scenes;
    um_choice_voice voice;
    int title_column; /* of the items; -1: use the id */
    int n_spoken, spoken[MAX_SPOKEN];
} writer;

static const char *pick(um_rng *rng, const char *const *options, uint32_t n)
{
    return options[um_rng_below(rng, n)];
}

static const char *title_of(const writer *w, uint32_t item)
{
    const um_table *items = &w->model->dataset->items;
    const char *cell = w->title_column >= 0 ? um_table_cell(items, item, w->title_column) : NULL;
    return cell != NULL ? cell : items->ids[item];
}

/* Index drawn by softmax(score / temperature) among values not equal to `not`; -1 if none speaks. */
static int draw_taste(um_rng *rng, const double *score, int n, double temperature, int not)
{
    double p[UM_CHOICE_MAX_VALUES], max = -INFINITY;
    bool speaks = false;
    for (int v = 0; v < n; v++) {
        if (v != not) {
            max = score[v] > max ? score[v] : max;
            speaks = speaks || score[v] > 0;
        }
    }
    if (!speaks)
        return -1;
    for (int v = 0; v < n; v++)
        p[v] = v == not ? 0 : exp((score[v] - max) / temperature);
    return (int)um_rng_categorical(rng, p, (size_t)n);
}

static void draw_tastes(const writer *w, const um_scene *scene, uint32_t choice, um_rng *rng,
                        tastes *t)
{
    double score[UM_CHOICE_MAX_VALUES];

    t->n = 0;
    for (int s = 0; s < w->n_spoken; s++) {
        int a = w->spoken[s];
        const um_attribute *at = &w->model->attributes[a];
        double bonus = s == 0 ? FIRST_BONUS : OTHER_BONUS;
        double temperature = s == 0 ? FIRST_TEMPERATURE : OTHER_TEMPERATURE;
        um_choice_tastes(w->model, scene, a, score);
        uint64_t chosen = at->mask[scene->items[choice]];
        double second_best[UM_CHOICE_MAX_VALUES];
        memcpy(second_best, score, sizeof score);
        for (int v = 0; v < at->n_values; v++)
            score[v] += (chosen >> v & 1) && score[v] > 0 ? bonus : 0;
        int first = draw_taste(rng, score, at->n_values, temperature, -1);
        if (first < 0)
            continue;
        int second = s == 0 ? draw_taste(rng, score, at->n_values, temperature, first) : -1;
        if (second >= 0 && (second_best[second] <= SECOND_TASTE_MIN ||
                            um_rng_uniform(rng) >= SECOND_TASTE_SHARE))
            second = -1;
        t->attribute[t->n] = a;
        t->value[t->n][0] = first;
        t->value[t->n++][1] = second;
    }
}

/* A value of a random history item; -1 when the item has none. */
static int random_value(const writer *w, const um_scene *scene, int a, um_rng *rng)
{
    if (scene->n_history == 0)
        return -1;
    uint64_t i = scene->history[um_rng_below(rng, scene->n_history)];
    uint64_t mask = w->model->attributes[a].mask[w->model->dataset->item[i]];
    uint32_t nth = mask != 0 ? um_rng_below(rng, (uint32_t)__builtin_popcountll(mask)) : 0;
    for (int v = 0; v < w->model->attributes[a].n_values; v++) {
        if ((mask >> v & 1) && nth-- == 0)
            return v;
    }
    return -1;
}

static void random_tastes(const writer *w, const um_scene *scene, um_rng *rng, tastes *t)
{
    t->n = 0;
    for (int s = 0; s < w->n_spoken; s++) {
        int first = random_value(w, scene, w->spoken[s], rng);
        int second = s == 0 && um_rng_uniform(rng) < 0.5
                         ? random_value(w, scene, w->spoken[s], rng)
                         : -1;
        if (first < 0)
            continue;
        t->attribute[t->n] = w->spoken[s];
        t->value[t->n][0] = first;
        t->value[t->n++][1] = second == first ? -1 : second;
    }
}

/* Joins up to 8 parts as "a", "a and b", "a, b and c". */
static void join(um_str *s, const char *const *parts, int n)
{
    for (int i = 0; i < n; i++) {
        if (i > 0)
            um_str_append(s, i == n - 1 ? " and " : ", ");
        um_str_append(s, parts[i]);
    }
}

static bool shares(const writer *w, const tastes *t, int i, uint32_t item)
{
    uint64_t mask = w->model->attributes[t->attribute[i]].mask[item];
    return (mask >> t->value[i][0] & 1) != 0 ||
           (t->value[i][1] >= 0 && (mask >> t->value[i][1] & 1) != 0);
}

static int count_shared(const writer *w, const tastes *t, uint32_t item)
{
    int n = 0;
    for (int i = 0; i < t->n; i++)
        n += shares(w, t, i, item);
    return n;
}

/* "fantasy, dark and from the 1990s": what the item shares with the tastes. */
static void say_shared(const writer *w, const tastes *t, uint32_t item, um_str *s)
{
    char decades[MAX_SPOKEN][48];
    const char *parts[2 * MAX_SPOKEN];
    int n = 0;

    for (int pass = 0; pass < 2; pass++) { /* adjectives first, then "from the ..." */
        for (int i = 0; i < t->n; i++) {
            const um_attribute *at = &w->model->attributes[t->attribute[i]];
            for (int j = 0; j < 2 && at->decade == (pass == 1); j++) {
                int v = t->value[i][j];
                if (v < 0 || (at->mask[item] >> v & 1) == 0)
                    continue;
                parts[n] = at->values[v];
                if (at->decade) {
                    snprintf(decades[i], sizeof decades[i], "from the %s", at->values[v]);
                    parts[n] = decades[i];
                }
                n++;
            }
        }
    }
    join(s, parts, n);
}

/* The first value of the item's first spoken attribute: what kind it is when it shares nothing. */
static const char *kind_of(const writer *w, uint32_t item)
{
    for (int s = 0; s < w->n_spoken; s++) {
        const um_attribute *at = &w->model->attributes[w->spoken[s]];
        for (int v = 0; v < at->n_values && !at->decade; v++) {
            if (at->mask[item] >> v & 1)
                return at->values[v];
        }
    }
    return "something else";
}

static void say_stimulus(const writer *w, const tastes *t, um_rng *rng, um_str *s)
{
    static const char *const openings[] = {"I keep coming back to", "Lately I like",
                                           "My best picks were"};
    static const char *const restless[] = {"Emotional State", "Boredom", "Time of Day"};
    um_str what = UM_STR_INIT;
    bool plural = false;

    for (int i = 0; i < t->n; i++) {
        const um_attribute *at = &w->model->attributes[t->attribute[i]];
        if (at->decade)
            continue;
        um_str_append(&what, what.len > 0 ? ", " : " ");
        um_str_append(&what, at->values[t->value[i][0]]);
        if (t->value[i][1] >= 0) {
            um_str_appendf(&what, " and %s", at->values[t->value[i][1]]);
            plural = true;
        }
    }
    for (int i = 0; i < t->n; i++) {
        const um_attribute *at = &w->model->attributes[t->attribute[i]];
        if (at->decade)
            um_str_appendf(&what, "%s from the %s", what.len > 0 ? "" : " things",
                           at->values[t->value[i][0]]);
    }
    if (what.len == 0)
        um_str_append(&what, " a bit of everything");
    um_str_appendf(s, "Stimulus: %s%s.\n", pick(rng, openings, 3), um_str_text(&what));
    um_str_appendf(s, "Stimulus Factors: %s", plural ? "Curiosity" : "Inspiration");
    if (um_rng_uniform(rng) < 0.5)
        um_str_appendf(s, ", %s", pick(rng, restless, 3));
    um_str_append(s, "\n");
    um_str_dispose(&what);
}

/* The choice and one or two of the best others (by weight), in list order. */
static int pick_considered(const um_scene *scene, uint32_t choice, const double *weight, um_rng *rng,
                           uint32_t *considered)
{
    bool in[UM_SCENE_MAX_ITEMS] = {false};
    int want = 2 + (um_rng_uniform(rng) < 0.5), n = 0;

    in[choice] = true;
    for (int i = 1; i < want; i++) {
        uint32_t best = scene->k;
        for (uint32_t c = 0; c < scene->k; c++) {
            if (!in[c] && (best == scene->k || weight[c] > weight[best]))
                best = c;
        }
        if (best < scene->k)
            in[best] = true;
    }
    for (uint32_t c = 0; c < scene->k; c++) {
        if (in[c])
            considered[n++] = c;
    }
    return n;
}

static void say_knowledge(const writer *w, const um_scene *scene, const tastes *t, uint32_t choice,
                          const double *weight, um_rng *rng, um_str *s)
{
    uint32_t considered[3];
    int n = pick_considered(scene, choice, weight, rng, considered), factors = 1;
    bool shared[MAX_SPOKEN] = {false};

    um_str_append(s, "Knowledge: ");
    for (int i = 0; i < n; i++) {
        uint32_t item = scene->items[considered[i]];
        um_str_appendf(s, "%s[%c] %s is ", i > 0 ? "; " : "", 'A' + (int)considered[i],
                       title_of(w, item));
        if (count_shared(w, t, item) > 0)
            say_shared(w, t, item, s);
        else
            um_str_appendf(s, "%s, not my taste", kind_of(w, item));
        for (int j = 0; j < t->n; j++)
            shared[j] = shared[j] || shares(w, t, j, item);
    }
    um_str_append(s, ".\nKnowledge Factors: User Preferences/History");
    if (t->n > 1 && shared[1]) {
        um_str_append(s, ", Emotional Appeal");
        factors++;
    }
    if (t->n > 2 && shared[2]) {
        um_str_append(s, ", Personal Relevance");
        factors++;
    }
    if (factors == 1)
        um_str_append(s, ", Novelty");
    um_str_append(s, "\n");
}

static void say_evaluation(const writer *w, const um_scene *scene, const tastes *t, uint32_t choice,
                           um_rng *rng, um_str *s)
{
    static const char *const texts[4][2] = {{"[%c] %s is a change.", "I choose [%c] %s for a change."},
                                            {"[%c] %s feels right.", "I choose [%c] %s, it feels right."},
                                            {"[%c] %s is my usual kind.",
                                             "I choose [%c] %s, my usual kind."},
                                            {"[%c] %s fits me best.", "I choose [%c] %s, it fits best."}};
    static const char *const styles[] = {"Impulsive", "Intuitive", "Habitual", "Logical"};
    uint32_t item = scene->items[choice];
    int shared = count_shared(w, t, item);
    int mood = shared >= 2 ? 3 : t->n > 0 && shares(w, t, 0, item) ? 2 : shared > 0 ? 1 : 0;
    const char *text = texts[mood][um_rng_below(rng, 2)];
    const char *letter = strstr(text, "%c"), *title = strstr(text, "%s");

    um_str_append(s, "Evaluation: ");
    um_str_append_n(s, text, (size_t)(letter - text));
    um_str_append_char(s, (char)('A' + (int)choice));
    um_str_append_n(s, letter + 2, (size_t)(title - letter - 2));
    um_str_append(s, title_of(w, item));
    um_str_append(s, title + 2);
    um_str_appendf(s, "\nEvaluation Style: %s", styles[mood]);
}

static um_status write_process(const writer *w, const um_scene *scene, uint32_t sample,
                               uint64_t seed, um_str *s, um_error *err)
{
    double weight[UM_SCENE_MAX_ITEMS];
    uint32_t choice = scene->target;
    tastes t;
    um_rng rng;

    um_rng_init(&rng, seed, UM_RNG_TEACHER, scene->id, (uint64_t)w->voice, sample);
    if (w->voice == UM_VOICE_CHOICE_MODEL) {
        um_status status = um_choice_probabilities(w->model, scene, weight, err);
        if (status != UM_OK)
            return status;
        choice = (uint32_t)um_rng_categorical(&rng, weight, scene->k);
        draw_tastes(w, scene, choice, &rng, &t);
    } else {
        for (uint32_t c = 0; c < scene->k; c++)
            weight[c] = um_rng_uniform(&rng);
        random_tastes(w, scene, &rng, &t);
    }
    um_str_append(s, "Thought:\n");
    say_stimulus(w, &t, &rng, s);
    say_knowledge(w, scene, &t, choice, weight, &rng, s);
    say_evaluation(w, scene, &t, choice, &rng, s);
    return um_str_status(s, err);
}

/* The responder ----------------------------------------------------------------------------------- */

static um_status find_scene(const writer *w, uint64_t key, const um_scene **out, um_error *err)
{
    if (key >= w->scenes->n)
        return um_fail(err, UM_ERR_NOT_FOUND, "choice model: scene %llu is not in this set of %zu",
                       (unsigned long long)key, w->scenes->n);
    *out = &w->scenes->scenes[key];
    return UM_OK;
}

static um_status writer_complete(um_responder *self, const um_prompt *prompts, size_t n,
                                 uint32_t first_sample, uint32_t n_samples,
                                 const um_sampling *sampling, const char *const *stops,
                                 size_t n_stops, um_on_completion on_completion, void *context,
                                 const um_monitor *monitor, um_error *err)
{
    const writer *w = (const writer *)self;
    um_status status = UM_OK;
    um_str s;

    (void)stops; /* texts end before "Behavior:" by construction */
    (void)n_stops;
    um_str_init(&s, MAX_TEXT_BYTES);
    for (size_t i = 0; i < n && status == UM_OK; i++) {
        const um_scene *scene = NULL;
        if (um_monitor_stopped(monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "stopped");
        else
            status = find_scene(w, prompts[i].key, &scene, err);
        for (uint32_t j = 0; j < n_samples && status == UM_OK; j++) {
            um_str_clear(&s);
            status = write_process(w, scene, first_sample + j, sampling->seed, &s, err);
            if (status != UM_OK)
                break;
            const char *text = um_str_text(&s);
            if (prompts[i].opening != NULL && um_str_starts(text, prompts[i].opening))
                text += strlen(prompts[i].opening);
            um_completion done = {i, first_sample + j, text, UM_FINISH_STOP, 0};
            status = on_completion(context, &done, err);
        }
    }
    um_str_dispose(&s);
    return status;
}

static um_status writer_score(um_responder *self, const um_letter_query *queries, size_t n,
                              um_on_letters on_letters, void *context, const um_monitor *monitor,
                              um_error *err)
{
    const writer *w = (const writer *)self;
    double p[UM_SCENE_MAX_ITEMS];

    for (size_t i = 0; i < n; i++) {
        const um_scene *scene = NULL;
        um_status status = find_scene(w, queries[i].prompt->key, &scene, err);
        if (status == UM_OK && um_monitor_stopped(monitor))
            status = um_fail(err, UM_ERR_INTERRUPTED, "stopped");
        if (status == UM_OK)
            status = um_choice_probabilities(w->model, scene, p, err);
        for (size_t j = 0; j < queries[i].n && status == UM_OK; j++)
            status = on_letters(context, i, j, p, err);
        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

static void writer_free(um_responder *self)
{
    free(self);
}

static const um_responder_ops writer_ops = {writer_complete, writer_score, writer_free};

/* Speaks of the attributes whose coefficients move choices most; the strongest nominal one first. */
static void choose_spoken(writer *w)
{
    const um_choice_model *m = w->model;
    double strength[UM_CHOICE_MAX_ATTRIBUTES];
    bool used[UM_CHOICE_MAX_ATTRIBUTES] = {false};

    for (int a = 0; a < m->n_attributes; a++) {
        const double *beta = m->beta + a * (UM_CHOICE_BANDS + 1);
        strength[a] = 0;
        for (int b = 0; b < UM_CHOICE_BANDS; b++)
            strength[a] += fabs(beta[b]);
    }
    while (w->n_spoken < MAX_SPOKEN && w->n_spoken < m->n_attributes) {
        int best = -1;
        for (int a = 0; a < m->n_attributes; a++) {
            bool first_decade = w->n_spoken == 0 && m->attributes[a].decade && m->n_attributes > 1;
            if (!used[a] && !first_decade && (best < 0 || strength[a] > strength[best]))
                best = a;
        }
        if (best < 0)
            break;
        used[best] = true;
        w->spoken[w->n_spoken++] = best;
    }
}

um_status um_choice_responder_open(um_responder **out, const um_choice_model *model,
                                   const um_scene_set *scenes, um_choice_voice voice, um_error *err)
{
    writer *w = um_calloc(1, sizeof *w);
    if (w == NULL)
        return um_fail_memory(err, "choice model");
    w->base.ops = &writer_ops;
    w->base.name = voice == UM_VOICE_CHOICE_MODEL ? "choice model" : "untutored writer";
    w->base.fingerprint = um_hash(model->beta, sizeof model->beta, (uint64_t)voice);
    w->model = model;
    w->scenes = scenes;
    w->voice = voice;
    w->title_column = um_table_column(&model->dataset->items, "title");
    if (w->title_column < 0)
        w->title_column = um_table_column(&model->dataset->items, "name");
    choose_spoken(w);
    *out = &w->base;
    return UM_OK;
}
