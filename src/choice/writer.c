/*
 * writer.c - decision processes written from a scene: by the choice model, by an untutored voice,
 * and as reading practice.
 *
 * All three speak the same way. Stimulus names tastes, one or two values of the attribute that
 * moves choices most and one of the next. Knowledge goes through the list in order and says of each
 * item whether it has them, and how strong that makes it. Evaluation names the choice. So a text
 * takes the decision in steps a small model can learn one by one: sum up the history, look each
 * item up, pick. What differs is where tastes and choice come from (choice.h, um_choice_voice).
 */
#include "choice/choice.h"

#include <ctype.h>
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

#define MAX_SPOKEN        2 /* attributes a text speaks of */
#define MAX_TEXT_BYTES    16384
#define MAX_NAME_BYTES    160
#define FIRST_TEMPERATURE 0.2 /* of the draw of a taste, in utility */
#define OTHER_TEMPERATURE 0.15
#define FIRST_BONUS       0.3 /* for a taste the chosen item shares */
#define OTHER_BONUS       0.15
#define SECOND_TASTE_MIN  1.2 /* utility from which a second taste is worth naming */
#define RATIONALISED      0.5 /* untutored: share of tastes taken from the item chosen */
#define UNFAITHFUL                                                                                 \
    0.5 /* untutored: share of texts that argue for what their tastes favour,                      \
           whatever was done in the end: words and deeds differ */

/* The tastes a text names: per spoken attribute up to two values, -1 for none. */
typedef struct tastes {
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

static const um_attribute *spoken(const writer *w, int i)
{
    return &w->model->attributes[w->spoken[i]];
}

static const char *pick(um_rng *rng, const char *const *options, uint32_t n)
{
    return options[um_rng_below(rng, n)];
}

/*
 * A text of the log as a decision process may hold it: on one line, cut after MAX_NAME_BYTES, and
 * with a small b where it would make, with what follows, the "Behavior:" that ends a process.
 */
static void append_name(um_str *s, const char *text, bool capitalise)
{
    static const char mark[] = "Behavior";
    size_t begin = s->len;

    for (const char *p = text; *p != '\0'; p++) {
        char c = isspace((unsigned char)*p) ? ' ' : *p;
        bool starts_character = ((unsigned char)c & 0xC0) != 0x80;
        if (starts_character && s->len - begin >= MAX_NAME_BYTES) {
            um_str_append(s, "...");
            return;
        }
        if (capitalise && p == text)
            c = (char)toupper((unsigned char)c);
        if (strncasecmp(p, mark, sizeof mark - 1) == 0 &&
            (p[sizeof mark - 1] == ':' || p[sizeof mark - 1] == '\0'))
            c = 'b';
        um_str_append_char(s, c);
    }
}

static void append_title(um_str *s, const writer *w, uint32_t item)
{
    const um_table *items = &w->model->dataset->items;
    const char *cell = w->title_column >= 0 ? um_table_cell(items, item, w->title_column) : NULL;
    bool blank = cell == NULL || cell[strspn(cell, " \t\r\n")] == '\0';
    append_name(s, blank ? items->ids[item] : cell, false);
}

/* Index drawn by softmax(score / temperature) among values not equal to `not`; -1 if none speaks.
 */
static int draw_taste(um_rng *rng, const double *score, int n, double temperature, int not )
{
    double p[UM_CHOICE_MAX_VALUES], max = -INFINITY;
    bool speaks = false;
    for (int v = 0; v < n; v++) {
        if (v != not ) {
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
    double score[UM_CHOICE_MAX_VALUES], favoured[UM_CHOICE_MAX_VALUES];

    for (int i = 0; i < w->n_spoken; i++) {
        const um_attribute *at = spoken(w, i);
        double bonus = i == 0 ? FIRST_BONUS : OTHER_BONUS;
        double temperature = i == 0 ? FIRST_TEMPERATURE : OTHER_TEMPERATURE;
        uint64_t chosen = um_choice_values(at, scene->items[choice]);
        um_choice_tastes(w->model, scene, w->spoken[i], score);
        for (int v = 0; v < at->n_values; v++)
            favoured[v] = score[v] + ((chosen >> v & 1) && score[v] > 0 ? bonus : 0);
        int first = draw_taste(rng, favoured, at->n_values, temperature, -1);
        int second =
            i == 0 && first >= 0 ? draw_taste(rng, favoured, at->n_values, temperature, first) : -1;
        t->value[i][0] = first;
        t->value[i][1] = second >= 0 && score[second] > SECOND_TASTE_MIN ? second : -1;
    }
}

/* One of the values of a mask, uniformly; -1 when it is empty. */
static int random_value(uint64_t mask, um_rng *rng)
{
    uint32_t nth = mask != 0 ? um_rng_below(rng, (uint32_t)__builtin_popcountll(mask)) : 0;
    for (int v = 0; v < UM_CHOICE_MAX_VALUES; v++) {
        if ((mask >> v & 1) && nth-- == 0)
            return v;
    }
    return -1;
}

static uint64_t random_memory(const writer *w, const um_scene *scene, int i, um_rng *rng)
{
    if (scene->n_history == 0)
        return 0;
    uint64_t at = scene->history[um_rng_below(rng, scene->n_history)];
    return spoken(w, i)->mask[w->model->dataset->item[at]];
}

/* Untutored: attributes of random history items, half the time one the chosen item has too. */
static void random_tastes(const writer *w, const um_scene *scene, uint32_t choice, um_rng *rng,
                          tastes *t)
{
    for (int i = 0; i < w->n_spoken; i++) {
        const um_attribute *at = spoken(w, i);
        uint64_t seen = 0;
        for (uint32_t h = 0; h < scene->n_history; h++)
            seen |= at->mask[w->model->dataset->item[scene->history[h]]];
        int first = random_value(random_memory(w, scene, i, rng), rng);
        uint64_t shared = seen & um_choice_values(at, scene->items[choice]);
        if (um_rng_uniform(rng) < RATIONALISED && shared != 0)
            first = random_value(shared, rng);
        int second = i == 0 && um_rng_uniform(rng) < 0.5
                         ? random_value(random_memory(w, scene, i, rng), rng)
                         : -1;
        t->value[i][0] = first >= 0 ? first : second;
        t->value[i][1] = first >= 0 && second != first ? second : -1;
    }
}

/* Reading practice: any tastes, half the time one that the list can meet. */
static void practice_tastes(const writer *w, const um_scene *scene, um_rng *rng, tastes *t)
{
    for (int i = 0; i < w->n_spoken; i++) {
        const um_attribute *at = spoken(w, i);
        uint64_t all = at->n_values < 64 ? (UINT64_C(1) << at->n_values) - 1 : UINT64_MAX;
        int first = random_value(all, rng), second = -1;
        if (i == 0 && um_rng_uniform(rng) < 0.6)
            second = random_value(all & ~(UINT64_C(1) << first), rng);
        uint64_t mask = um_choice_values(at, scene->items[um_rng_below(rng, scene->k)]);
        int met = um_rng_uniform(rng) < 0.5 ? random_value(mask, rng) : -1;
        if (met >= 0 && met != second)
            first = met;
        t->value[i][0] = first;
        t->value[i][1] = second;
    }
}

/* The value of the item that meets the tastes, or -1. */
static int met_value(const writer *w, const tastes *t, int i, uint32_t item)
{
    uint64_t mask = um_choice_values(spoken(w, i), item);
    for (int j = 0; j < 2; j++) {
        int v = t->value[i][j];
        if (v >= 0 && (mask >> v & 1))
            return v;
    }
    return -1;
}

/* 0 weak .. 3 strong: the first attribute counts double. */
static int strength_of(const writer *w, const tastes *t, uint32_t item)
{
    bool first = w->n_spoken > 0 && met_value(w, t, 0, item) >= 0;
    if (w->n_spoken < 2)
        return first ? 3 : 0;
    return 2 * first + (met_value(w, t, 1, item) >= 0);
}

/* One of the items that meet the tastes best; where none meets any, the action "none of these" if
 * the list has it. */
static uint32_t strongest(const writer *w, const um_scene *scene, const tastes *t, um_rng *rng)
{
    uint32_t best[UM_SCENE_MAX_ITEMS], n = 0;
    int top = -1;
    for (uint32_t c = 0; c < scene->k; c++) {
        if (scene->items[c] == UM_SCENE_NONE) {
            if (top <= 0 && w->n_spoken > 0)
                return c;
            continue;
        }
        int strength = strength_of(w, t, scene->items[c]);
        n = strength > top ? 0 : n;
        top = strength > top ? strength : top;
        if (strength == top)
            best[n++] = c;
    }
    return best[um_rng_below(rng, n)];
}

/* "Fantasy and War, Dark in mood" or "Drama, from the 1990s". */
static void say_tastes(const writer *w, const tastes *t, um_str *s)
{
    size_t begin = s->len;
    for (int i = 0; i < w->n_spoken; i++) {
        const um_attribute *at = spoken(w, i);
        if (t->value[i][0] < 0)
            continue;
        um_str_append(s, s->len > begin ? ", " : "");
        if (at->decade)
            um_str_append(s, "from the ");
        append_name(s, at->values[t->value[i][0]], true);
        if (t->value[i][1] >= 0) {
            um_str_append(s, " and ");
            append_name(s, at->values[t->value[i][1]], true);
        }
        if (i > 0 && !at->decade)
            um_str_appendf(s, " in %s", at->column);
    }
    if (s->len == begin)
        um_str_append(s, "a bit of everything");
}

static void say_stimulus(const writer *w, const tastes *t, bool factors, um_rng *rng, um_str *s)
{
    static const char *const openings[] = {"I keep coming back to", "Lately I like",
                                           "My best evenings were"};
    static const char *const restless[] = {"Emotional State", "Boredom", "Time of Day"};

    um_str_appendf(s, "Stimulus: %s ", pick(rng, openings, 3));
    say_tastes(w, t, s);
    um_str_append(s, ".\n");
    if (!factors)
        return;
    bool curious = w->n_spoken > 0 && t->value[0][1] >= 0;
    um_str_appendf(s, "Stimulus Factors: %s", curious ? "Curiosity" : "Inspiration");
    if (um_rng_uniform(rng) < 0.4)
        um_str_appendf(s, ", %s", pick(rng, restless, 3));
    um_str_append(s, "\n");
}

/* "[A] fantasy yes, dark no: good; [B] ..." */
static void say_knowledge(const writer *w, const um_scene *scene, const tastes *t, uint32_t choice,
                          bool factors, um_str *s)
{
    static const char *const words[] = {"weak", "fair", "good", "strong"};

    um_str_append(s, "Knowledge: ");
    for (uint32_t c = 0; c < scene->k; c++) {
        uint32_t item = scene->items[c];
        um_str_appendf(s, "%s[%c]", c > 0 ? "; " : "", 'A' + (int)c);
        if (item == UM_SCENE_NONE) {
            um_str_append(s, " leave: if nothing fits");
            continue;
        }
        for (int i = 0; i < w->n_spoken; i++) {
            const um_attribute *at = spoken(w, i);
            int met = met_value(w, t, i, item);
            int shown = met >= 0 ? met : at->mask[item] != 0 ? __builtin_ctzll(at->mask[item]) : -1;
            um_str_append(s, i > 0 ? ", " : " ");
            append_name(s, shown >= 0 ? at->values[shown] : "unknown", false);
            um_str_append(s, met >= 0 ? " yes" : " no");
        }
        if (w->n_spoken == 0) {
            um_str_append(s, " ");
            append_title(s, w, item);
        }
        um_str_appendf(s, ": %s", words[strength_of(w, t, item)]);
    }
    um_str_append(s, ".\n");
    if (!factors)
        return;
    uint32_t item = scene->items[choice];
    const char *second = item == UM_SCENE_NONE                              ? "Personal Relevance"
                         : w->n_spoken > 1 && met_value(w, t, 1, item) >= 0 ? "Emotional Appeal"
                         : w->n_spoken > 0 && met_value(w, t, 0, item) >= 0 ? "Personal Relevance"
                                                                            : "Novelty";
    um_str_appendf(s, "Knowledge Factors: User Preferences/History, %s\n", second);
}

/* Nothing of the list is chosen: because nothing fits, or although something does. */
static void say_leaving(const writer *w, const um_scene *scene, const tastes *t, uint32_t choice,
                        bool style, bool choosing, um_str *s)
{
    bool fits = false;
    for (uint32_t c = 0; c < scene->k; c++)
        fits = fits || (scene->items[c] != UM_SCENE_NONE && strength_of(w, t, scene->items[c]) > 1);
    um_str_appendf(s, "Evaluation: %s[%c]%s %s", choosing ? "I choose " : "", 'A' + (int)choice,
                   choosing ? "," : "", fits ? "not in the mood now." : "nothing here fits me.");
    if (style)
        um_str_appendf(s, "\nEvaluation Style: %s", fits ? "Impulsive" : "Logical");
}

static void say_evaluation(const writer *w, const um_scene *scene, const tastes *t, uint32_t choice,
                           bool style, um_rng *rng, um_str *s)
{
    static const char *const texts[4][2] = {
        {"is a change.", "for a change."},
        {"feels right.", "it feels right."},
        {"is my usual kind.", "my usual kind."},
        {"fits me best.", "it fits best."},
    };
    static const char *const styles[] = {"Impulsive", "Intuitive", "Habitual", "Logical"};
    uint32_t item = scene->items[choice];
    int strength = strength_of(w, t, item);
    bool choosing = um_rng_below(rng, 2) != 0;

    if (item == UM_SCENE_NONE) {
        say_leaving(w, scene, t, choice, style, choosing, s);
        return;
    }
    um_str_appendf(s, "Evaluation: %s[%c] ", choosing ? "I choose " : "", 'A' + (int)choice);
    append_title(s, w, item);
    um_str_appendf(s, "%s %s", choosing && strength > 0 ? "," : "", texts[strength][choosing]);
    if (style)
        um_str_appendf(s, "\nEvaluation Style: %s", styles[strength]);
}

static void say_all(const writer *w, const um_scene *scene, const tastes *t, uint32_t choice,
                    bool full, um_rng *rng, um_str *s)
{
    um_str_append(s, "Thought:\n");
    say_stimulus(w, t, full, rng, s);
    say_knowledge(w, scene, t, choice, full, s);
    say_evaluation(w, scene, t, choice, full, rng, s);
}

/* *letter: what the text argues for. */
static um_status write_process(const writer *w, const um_scene *scene, uint32_t sample,
                               uint64_t seed, um_str *s, uint32_t *letter, um_error *err)
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
        random_tastes(w, scene, choice, &rng, &t);
        if (um_rng_uniform(&rng) < UNFAITHFUL)
            choice = strongest(w, scene, &t, &rng);
    }
    say_all(w, scene, &t, choice, true, &rng, s);
    *letter = choice;
    return um_str_status(s, err);
}

/* The responder -----------------------------------------------------------------------------------
 */

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
            uint32_t letter = 0;
            um_str_clear(&s);
            status = write_process(w, scene, first_sample + j, sampling->seed, &s, &letter, err);
            if (status != UM_OK)
                break;
            const char *text = um_str_text(&s);
            if (prompts[i].opening != NULL && um_str_starts(text, prompts[i].opening))
                text += strlen(prompts[i].opening);
            const um_completion done = {.prompt = i,
                                        .sample = first_sample + j,
                                        .text = text,
                                        .finish = UM_FINISH_STOP,
                                        .said = letter + 1};
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

static const um_responder_ops writer_ops = {writer_complete, writer_score, writer_free, NULL};

/* Speaks of the attributes whose coefficients move choices most; the strongest nominal one first.
 */
static void choose_spoken(writer *w)
{
    const um_choice_model *m = w->model;
    double strength[UM_CHOICE_MAX_ATTRIBUTES];
    bool used[UM_CHOICE_MAX_ATTRIBUTES] = {false}, any_nominal = false;

    for (int a = 0; a < m->n_attributes; a++) {
        any_nominal = any_nominal || !m->attributes[a].decade;
        const double *beta = m->beta + a * UM_CHOICE_PER_ATTRIBUTE;
        strength[a] = 0;
        for (int b = 0; b < UM_CHOICE_BANDS; b++)
            strength[a] += fabs(beta[b]);
    }
    while (w->n_spoken < MAX_SPOKEN && w->n_spoken < m->n_attributes) {
        int best = -1;
        for (int a = 0; a < m->n_attributes; a++) {
            bool first_decade = w->n_spoken == 0 && m->attributes[a].decade && any_nominal;
            if (!used[a] && !first_decade && (best < 0 || strength[a] > strength[best]))
                best = a;
        }
        if (best < 0)
            break;
        used[best] = true;
        w->spoken[w->n_spoken++] = best;
    }
}

static void writer_init(writer *w, const um_choice_model *model, const um_scene_set *scenes,
                        um_choice_voice voice)
{
    *w = (writer){.model = model, .scenes = scenes, .voice = voice};
    w->base.ops = &writer_ops;
    w->base.name = voice == UM_VOICE_CHOICE_MODEL ? "choice model" : "untutored writer";
    w->base.fingerprint = um_hash(model->beta, sizeof model->beta, (uint64_t)voice);
    w->title_column = um_table_column(&model->dataset->items, "title");
    if (w->title_column < 0)
        w->title_column = um_table_column(&model->dataset->items, "name");
    choose_spoken(w);
}

um_status um_choice_responder_open(um_responder **out, const um_choice_model *model,
                                   const um_scene_set *scenes, um_choice_voice voice, um_error *err)
{
    writer *w = um_calloc(1, sizeof *w);
    if (w == NULL)
        return um_fail_memory(err, "choice model");
    writer_init(w, model, scenes, voice);
    *out = &w->base;
    return UM_OK;
}

um_status um_choice_practice(const um_choice_model *model, const um_scene *list, uint64_t seed,
                             uint64_t number, char **text, uint32_t *letter, um_error *err)
{
    writer w;
    tastes t;
    um_rng rng;
    um_str s;

    writer_init(&w, model, NULL, UM_VOICE_UNTUTORED);
    um_rng_init(&rng, seed, UM_RNG_TEACHER, number, 2, 0);
    practice_tastes(&w, list, &rng, &t);
    *letter = strongest(&w, list, &t, &rng);
    um_str_init(&s, MAX_TEXT_BYTES);
    say_all(&w, list, &t, *letter, false, &rng, &s);
    um_status status = um_str_take(&s, text, err);
    um_str_dispose(&s);
    return status;
}
