/*
 * audit.c - the audit of a workspace's scenes as JSON: findings, positions, sources, lengths,
 * times, popularity, and what was dropped.
 *
 * docs/FORMATS.md, "Audit", lists the keys.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "mirrorer/audit.h"
#include "mirrorer/eval.h"
#include "stage/session.h"

#define MAX_TOKENISED 2000 /* prompts a split whose tokens are counted, spread evenly */

static json_t *integer(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static const char *part_name(int part)
{
    return part == UM_AUDIT_ALL ? "all" : um_split_name((um_split)part);
}

/* Findings ------------------------------------------------------------------------------------ */

static json_t *finding_json(const um_audit *a, um_audit_check check)
{
    const um_audit_finding *f = &a->findings[check];
    json_t *object = json_object(), *first = json_array(), *by_split = json_object();

    json_object_set_new(object, "check", json_string(um_audit_check_name(check)));
    json_object_set_new(object, "about", json_string(um_audit_check_about(check)));
    json_object_set_new(object, "leak", json_boolean(check < UM_AUDIT_FIRST_NOTE));
    json_object_set_new(object, "checked", json_boolean(f->checked));
    json_object_set_new(object, "scenes", integer(f->found[UM_AUDIT_ALL]));
    for (int p = 0; p < UM_AUDIT_ALL; p++)
        json_object_set_new(by_split, part_name(p), integer(f->found[p]));
    json_object_set_new(object, "by_split", by_split);
    json_object_set_new(object, "first", first);
    for (size_t i = 0; i < f->n_first; i++) {
        json_t *offender = json_object();
        /* Cut at a fixed length, so its last character may be half. */
        size_t len = strlen(f->first[i].what);
        while (len > 0 && !um_utf8_valid(f->first[i].what, len))
            len--;
        json_object_set_new(offender, "scene", integer(f->first[i].scene));
        json_object_set_new(offender, "what", json_stringn(f->first[i].what, len));
        json_array_append_new(first, offender);
    }
    return object;
}

/* Parts --------------------------------------------------------------------------------------- */

static json_t *spread_json(const um_spread *s)
{
    json_t *object = json_object(), *bins = json_array();
    const struct {
        const char *name;
        int64_t value;
    } values[] = {{"min", s->min},       {"p05", s->p05},     {"p25", s->p25},
                  {"median", s->median}, {"p75", s->p75},     {"p95", s->p95},
                  {"max", s->max},       {"first", s->first}, {"bin_width", s->width}};
    json_object_set_new(object, "n", integer(s->n));
    json_object_set_new(object, "mean", um_json_rounded(s->mean));
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        json_object_set_new(object, values[i].name, json_integer(values[i].value));
    for (uint32_t b = 0; b < s->n_bins; b++)
        json_array_append_new(bins, integer(s->bins[b]));
    json_object_set_new(object, "bins", bins);
    return object;
}

/* Lists of one length are a table of their own, against equal counts; the tables are independent,
 * so that their statistics and degrees add up. */
static json_t *positions_json(const um_audit_part *part)
{
    json_t *object = json_object(), *tables = json_array(), *counts = json_array();
    json_t *expected = json_array();
    double even[UM_SCENE_MAX_ITEMS] = {0}, total_chi = 0;
    uint64_t seen[UM_SCENE_MAX_ITEMS] = {0}, degrees = 0, longest = 0;

    for (uint32_t n = 1; n <= UM_SCENE_MAX_ITEMS; n++) {
        const uint64_t *row = part->positions[n];
        uint64_t scenes = 0;
        double chi, p;
        for (uint32_t j = 0; j < n; j++)
            scenes += row[j];
        if (scenes == 0)
            continue;
        json_t *table = json_object(), *list = json_array();
        for (uint32_t j = 0; j < n; j++) {
            json_array_append_new(list, integer(row[j]));
            seen[j] += row[j];
            even[j] += (double)scenes / n;
        }
        um_chi_square_uniform(row, n, &chi, &p);
        json_object_set_new(table, "items", integer(n));
        json_object_set_new(table, "scenes", integer(scenes));
        json_object_set_new(table, "counts", list);
        json_object_set_new(table, "chi_square", um_json_rounded(chi));
        json_object_set_new(table, "degrees", integer(n - 1));
        json_object_set_new(table, "p_value", um_json_rounded(p));
        json_array_append_new(tables, table);
        total_chi += chi;
        degrees += n - 1;
        longest = n;
    }
    for (uint64_t j = 0; j < longest; j++) {
        json_array_append_new(counts, integer(seen[j]));
        json_array_append_new(expected, um_json_rounded(even[j]));
    }
    json_object_set_new(object, "counts", counts);
    json_object_set_new(object, "expected", expected);
    json_object_set_new(object, "chi_square", um_json_rounded(total_chi));
    json_object_set_new(object, "degrees", integer(degrees));
    json_object_set_new(object, "p_value", um_json_rounded(um_chi_square_tail(total_chi, degrees)));
    json_object_set_new(object, "by_items", tables);
    return object;
}

static json_t *sources_json(const um_audit_part *part)
{
    json_t *object = json_object();
    uint64_t total = 0;

    for (int s = 0; s <= UM_SOURCE_COUNT; s++)
        total += part->sources[s];
    for (int s = 0; s <= UM_SOURCE_COUNT; s++) {
        json_t *one = json_object();
        json_object_set_new(one, "items", integer(part->sources[s]));
        json_object_set_new(
            one, "share",
            um_json_rounded(total > 0 ? (double)part->sources[s] / (double)total : 0));
        json_object_set_new(object, s < UM_SOURCE_COUNT ? um_source_name((um_source)s) : "logged",
                            one);
    }
    return object;
}

static json_t *popularity_json(const um_audit_popularity *p)
{
    json_t *object = json_object(), *targets = json_array(), *distractors = json_array();
    int last = 0;
    const struct {
        const char *name;
        double value;
    } values[] = {{"concordance", p->concordance}, {"z", p->z},
                  {"p_value", p->p_value},         {"most_popular", p->most},
                  {"most_z", p->most_z},           {"least_popular", p->least},
                  {"least_z", p->least_z},         {"chance", p->chance}};
    json_object_set_new(object, "scenes", integer(p->scenes));
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        json_object_set_new(object, values[i].name, um_json_rounded(values[i].value));
    for (int b = 0; b < UM_AUDIT_POPULARITY_BINS; b++)
        last = p->targets[b] + p->distractors[b] > 0 ? b : last;
    for (int b = 0; b <= last; b++) {
        json_array_append_new(targets, integer(p->targets[b]));
        json_array_append_new(distractors, integer(p->distractors[b]));
    }
    json_object_set_new(object, "targets", targets);
    json_object_set_new(object, "distractors", distractors);
    return object;
}

static json_t *part_json(const um_audit *a, int p)
{
    const um_audit_part *part = &a->parts[p];
    json_t *object = json_object();
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {{"scenes", part->scenes},
                  {"logged", part->logged},
                  {"with_none", part->with_none},
                  {"none", part->none}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        json_object_set_new(object, counts[i].name, integer(counts[i].value));
    json_object_set_new(
        object, "none_share",
        um_json_rounded(part->scenes > 0 ? (double)part->none / (double)part->scenes : 0));
    json_object_set_new(object, "chance", um_json_rounded(part->chance));
    json_object_set_new(object, "positions", positions_json(part));
    json_object_set_new(object, "choices", spread_json(&part->choices));
    json_object_set_new(object, "scenes_a_user", spread_json(&part->scenes_a_user));
    if (a->has_log) {
        json_object_set_new(object, "sources", sources_json(part));
        json_object_set_new(object, "history", spread_json(&part->history));
        json_object_set_new(object, "popularity", popularity_json(&part->popularity));
    }
    return object;
}

static json_t *times_json(const um_audit_times *t)
{
    static const char *const units[] = {"day", "month", "year"};
    json_t *object = json_object(), *labels = json_array();
    char label[32];

    json_object_set_new(object, "unit", json_string(units[t->unit]));
    json_object_set_new(object, "step", integer(t->step));
    json_object_set_new(object, "unknown", integer(t->unknown));
    json_object_set_new(object, "labels", labels);
    for (uint32_t i = 0; i < t->n; i++) {
        um_audit_time_label(t, i, label);
        json_array_append_new(labels, json_string(label));
    }
    for (int p = 0; p < UM_AUDIT_ALL; p++) {
        json_t *list = json_array();
        for (uint32_t i = 0; i < t->n; i++)
            json_array_append_new(list, integer(t->bins[p][i]));
        json_object_set_new(object, part_name(p), list);
    }
    return object;
}

/* Prompts ------------------------------------------------------------------------------------- */

static int64_t count_words(const char *text)
{
    int64_t words = 0;
    bool inside = false;
    for (; *text != '\0'; text++) {
        bool space = isspace((unsigned char)*text) != 0;
        words += !space && !inside;
        inside = !space;
    }
    return words;
}

/* Prompts of one split, or of all. */
typedef struct lengths {
    um_session *s;
    const um_prompt_form *form;
    const um_tokenizer *tokenizer; /* NULL: none at hand */
    um_chat_format format;
    int64_t *words, *tokens; /* [scenes] */
} lengths;

static um_status measure_prompt(lengths *l, const um_scene *scene, bool tokenised, int64_t *words,
                                int64_t *tokens, um_error *err)
{
    um_tokens ids = {0};
    char *user = NULL;
    const char *system = um_prompt_form_system(l->form);
    um_status status = um_prompt_form_user(l->form, scene, &user, err);

    if (status != UM_OK)
        return status;
    *words = count_words(system) + count_words(user);
    if (tokenised) {
        const um_message messages[2] = {{"system", system}, {"user", user}};
        status = um_chat_encode_prompt(l->tokenizer, l->format, messages, 2, NULL, &ids, err);
        *tokens = (int64_t)ids.len;
    }
    um_tokens_dispose(&ids);
    free(user);
    return status;
}

static um_status add_lengths(lengths *l, const char *only, json_t *parts, um_error *err)
{
    const um_scene_set *set = l->s->scenes;
    size_t n_words = 0, n_tokens = 0;

    for (int p = 0; p < UM_AUDIT_ALL; p++) {
        json_t *part = json_object_get(parts, part_name(p));
        uint64_t begin_words = n_words, begin_tokens = n_tokens, n = set->n_split[p], seen = 0;
        um_spread spread;
        if (part == NULL || (only != NULL && strcmp(only, part_name(p)) != 0))
            continue;
        uint64_t every = n > MAX_TOKENISED ? (n + MAX_TOKENISED - 1) / MAX_TOKENISED : 1;
        for (size_t i = 0; i < set->n; i++) {
            if ((int)set->scenes[i].split != p)
                continue;
            bool tokenised = l->tokenizer != NULL && seen++ % every == 0;
            um_status status = measure_prompt(l, &set->scenes[i], tokenised, &l->words[n_words],
                                              &l->tokens[n_tokens], err);
            if (status != UM_OK)
                return status;
            n_words++;
            n_tokens += tokenised;
            if (um_monitor_stopped(l->s->monitor))
                return um_fail(err, UM_ERR_INTERRUPTED, "audit: stopped on request");
        }
        um_spread_of(&spread, l->words + begin_words, n_words - begin_words);
        json_object_set_new(part, "prompt_words", spread_json(&spread));
        um_spread_of(&spread, l->tokens + begin_tokens, n_tokens - begin_tokens);
        json_object_set_new(part, "prompt_tokens",
                            l->tokenizer != NULL ? spread_json(&spread) : json_null());
    }
    json_t *all = json_object_get(parts, "all");
    if (all != NULL) {
        um_spread spread;
        um_spread_of(&spread, l->words, n_words);
        json_object_set_new(all, "prompt_words", spread_json(&spread));
        um_spread_of(&spread, l->tokens, n_tokens);
        json_object_set_new(all, "prompt_tokens",
                            l->tokenizer != NULL ? spread_json(&spread) : json_null());
    }
    return UM_OK;
}

static um_status measure_prompts(um_session *s, const char *split, json_t *parts, um_error *err)
{
    lengths l = {.s = s};
    um_status status = um_session_form(s, &l.form, err);

    if (status == UM_OK)
        status = um_session_tokenizer_if_any(s, &l.tokenizer, err);
    if (status != UM_OK)
        return status;
    l.format = l.tokenizer != NULL ? um_chat_detect(l.tokenizer) : UM_CHAT_PLAIN;
    l.words = um_calloc(s->scenes->n + 1, sizeof *l.words);
    l.tokens = um_calloc(s->scenes->n + 1, sizeof *l.tokens);
    status = l.words == NULL || l.tokens == NULL ? um_fail_memory(err, "the audit")
                                                 : add_lengths(&l, split, parts, err);
    free(l.words);
    free(l.tokens);
    return status;
}

/* All of it ----------------------------------------------------------------------------------- */

/* What the stage said it dropped, by reason. */
static um_status add_dropped(um_session *s, json_t *root, um_error *err)
{
    um_row_stage row;
    json_t *detail = NULL;
    um_status status = um_workspace_get_stage(&row, s->ws, "scenes", err);

    if (status == UM_ERR_NOT_FOUND)
        return UM_OK;
    if (status == UM_OK)
        status = um_json_parse(&detail, row.detail, strlen(row.detail), "stage scenes", err);
    json_t *dropped = json_object_get(detail, "dropped");
    if (status == UM_OK && json_is_object(dropped))
        json_object_set(root, "dropped", dropped);
    json_decref(detail);
    return status;
}

static um_status find_split(const char *name, um_split *split, um_error *err)
{
    for (int p = 0; p < UM_AUDIT_ALL; p++) {
        *split = (um_split)p;
        if (strcmp(name, um_split_name(*split)) == 0)
            return UM_OK;
    }
    return um_fail(err, UM_ERR_INPUT, "audit: split '%s' is unknown; base, train or eval", name);
}

um_status um_audit_json(um_session *s, const char *split, json_t **out, um_error *err)
{
    const um_scene_set *set;
    um_audit *a = NULL;
    um_split which = UM_SPLIT_EVAL;
    json_t *root = NULL, *list, *parts;
    um_status status = split != NULL ? find_split(split, &which, err) : UM_OK;

    if (status != UM_OK || (status = um_session_scenes(s, &set, err)) != UM_OK ||
        (status = um_audit_scenes(&a, s->dataset, set, split != NULL ? &which : NULL, err)) !=
            UM_OK)
        return status;
    root = json_object();
    list = json_array();
    parts = json_object();
    json_object_set_new(root, "split", split != NULL ? json_string(split) : json_null());
    json_object_set_new(root, "split_by", json_string(um_split_by_name(set->split_by)));
    json_t *cut = json_null();
    if (set->split_by != UM_SPLIT_BY_USER) {
        char time[32];
        um_time_format(set->time_cut_s, time);
        cut = json_string(time);
    }
    json_object_set_new(root, "time_cut", cut);
    json_object_set_new(root, "log", json_boolean(a->has_log));
    json_object_set_new(root, "leaking_scenes", integer(a->leaks));
    json_object_set_new(root, "checks", list);
    for (int c = 0; c < UM_AUDIT_CHECK_COUNT; c++)
        json_array_append_new(list, finding_json(a, (um_audit_check)c));
    json_object_set_new(root, "parts", parts);
    for (int i = 0; i < UM_AUDIT_PARTS; i++) {
        int p = (i + UM_AUDIT_ALL) % UM_AUDIT_PARTS; /* all first */
        if (a->parts[p].scenes > 0 && (split == NULL || p == (int)which))
            json_object_set_new(parts, part_name(p), part_json(a, p));
    }
    json_object_set_new(root, "times", times_json(&a->times));
    status = measure_prompts(s, split, parts, err);
    if (status == UM_OK)
        status = add_dropped(s, root, err);
    um_audit_free(a);
    if (status == UM_OK) {
        *out = root;
        return UM_OK;
    }
    json_decref(root);
    return status;
}

um_status um_session_audit(um_session *s, const char *split, char **json, um_error *err)
{
    json_t *root = NULL;
    um_str text = UM_STR_INIT;
    um_status status = um_audit_json(s, split, &root, err);

    if (status != UM_OK)
        return status;
    um_json_dump(&text, root);
    status = um_str_take(&text, json, err);
    um_str_dispose(&text);
    json_decref(root);
    return status;
}
