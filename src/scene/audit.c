/*
 * audit.c - the checks of an audit: is anything in a scene that nobody knew at its time, and are
 * training and evaluation apart.
 */
#include "scene/audit.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"

#define NO_SCENE UINT64_MAX

static const struct {
    const char *name, *about;
} checks[UM_AUDIT_CHECK_COUNT] = {
    [UM_AUDIT_NOT_IN_LOG] = {"not_in_log", "target, user, time or list is not what the log holds"},
    [UM_AUDIT_FUTURE_ITEM] = {"future_item", "a listed item is first seen after the scene"},
    [UM_AUDIT_FUTURE_HISTORY] = {"future_history", "the history is not all before the scene"},
    [UM_AUDIT_TARGET_IN_HISTORY] = {"target_in_history",
                                    "the target's own click is in the history"},
    [UM_AUDIT_SEEN_ITEM] = {"seen_item", "a sampled item is one of the user's own"},
    [UM_AUDIT_ITEM_TWICE] = {"item_twice", "an item stands under two letters"},
    [UM_AUDIT_USER_OVERLAP] = {"user_overlap", "an evaluation user has training scenes"},
    [UM_AUDIT_EVAL_BEFORE_CUT] = {"eval_before_cut", "an evaluation target before the time cut"},
    [UM_AUDIT_TRAIN_AFTER_CUT] = {"train_after_cut", "a training target at or after the time cut"},
    [UM_AUDIT_SAME_CHOICE] = {"same_choice", "an earlier scene has the same target interaction"},
    [UM_AUDIT_TARGET_IN_PROFILE] = {"target_in_profile", "the profile holds the target's text"},
    [UM_AUDIT_LOGGED_SEEN] = {"logged_seen", "a logged list shows other items the user clicks"},
    [UM_AUDIT_REPEAT] = {"repeat", "the target was chosen before, and the history shows it"},
    [UM_AUDIT_EARLY_RELEASE] = {"early_release", "the log uses an item before its release date"},
};

const char *um_audit_check_name(um_audit_check check)
{
    return checks[check].name;
}

const char *um_audit_check_about(um_audit_check check)
{
    return checks[check].about;
}

/* A scene under examination. */
typedef struct examined {
    um_auditor *a;
    const um_scene *s;
    bool hit[UM_AUDIT_CHECK_COUNT];
} examined;

/* Counts the check's first offence of the scene. */
static void __attribute__((format(printf, 3, 4)))
offend(examined *e, um_audit_check check, const char *format, ...)
{
    um_audit_finding *f = &e->a->out->findings[check];
    va_list ap;
    if (e->hit[check])
        return;
    e->hit[check] = true;
    f->found[e->s->split]++;
    f->found[UM_AUDIT_ALL]++;
    if (f->n_first == UM_AUDIT_SHOWN)
        return;
    um_audit_offender *o = &f->first[f->n_first++];
    o->scene = e->s->id;
    va_start(ap, format);
    vsnprintf(o->what, sizeof o->what, format, ap);
    va_end(ap);
}

typedef struct stamp {
    char text[32];
} stamp;

static stamp at(int64_t time_s)
{
    stamp t = {"an unknown time"}; /* 0: before the log */
    if (time_s != 0)
        um_time_format(time_s, t.text);
    return t;
}

bool um_audit_in_range(const um_auditor *a, const um_scene *s)
{
    const um_dataset *d = a->d;
    bool none = s->interaction == UM_SCENE_NO_INTERACTION;
    if (s->k < 2 || s->k > UM_SCENE_MAX_ITEMS || s->target >= s->k || s->user >= d->users.n_rows ||
        (a->out->has_log && !none && s->interaction >= d->n_interactions))
        return false;
    for (uint32_t j = 0; j < s->k; j++) {
        if (s->items[j] >= d->items.n_rows && !(s->items[j] == UM_SCENE_NONE && j + 1 == s->k))
            return false;
    }
    for (uint32_t h = 0; h < s->n_history; h++) {
        if (s->history[h] >= d->n_interactions)
            return false;
    }
    return true;
}

/* Against the log ----------------------------------------------------------------------------- */

static bool equal_list(const um_scene *s, const uint32_t *list, uint64_t n)
{
    return n == um_audit_listed(s) && memcmp(list, s->items, n * sizeof *list) == 0;
}

static bool has_skip(const um_dataset *d, const um_scene *s)
{
    if (d->skip_start == NULL)
        return false;
    for (uint64_t i = d->skip_start[s->user]; i < d->skip_start[s->user + 1]; i++) {
        if (d->skip_time_s[i] == s->time_s &&
            equal_list(s, d->skip_item + d->skip_list_start[i],
                       d->skip_list_start[i + 1] - d->skip_list_start[i]))
            return true;
    }
    return false;
}

static void check_log(examined *e)
{
    const um_dataset *d = e->a->d;
    const um_scene *s = e->s;
    uint64_t i = s->interaction;

    if (s->items[s->target] == UM_SCENE_NONE || i == UM_SCENE_NO_INTERACTION) {
        if (s->items[s->target] != UM_SCENE_NONE)
            offend(e, UM_AUDIT_NOT_IN_LOG, "no interaction belongs to its target");
        else if (i != UM_SCENE_NO_INTERACTION)
            offend(e, UM_AUDIT_NOT_IN_LOG, "its target is none, yet the user clicked");
        else if (!has_skip(d, s))
            offend(e, UM_AUDIT_NOT_IN_LOG, "the log has no such list without a click at %s",
                   at(s->time_s).text);
        return;
    }
    if (i < d->user_start[s->user] || i >= d->user_start[s->user + 1])
        offend(e, UM_AUDIT_NOT_IN_LOG, "its target is not an interaction of user %s",
               d->users.ids[s->user]);
    else if (d->item[i] != s->items[s->target])
        offend(e, UM_AUDIT_NOT_IN_LOG, "its target is %s, the log has %s",
               d->items.ids[s->items[s->target]], d->items.ids[d->item[i]]);
    else if (d->time_s[i] != s->time_s)
        offend(e, UM_AUDIT_NOT_IN_LOG, "its time is %s, the log has %s", at(s->time_s).text,
               at(d->time_s[i]).text);
    else if (i - d->user_start[s->user] != s->order_id)
        offend(e, UM_AUDIT_NOT_IN_LOG, "its order_id is %u, the log has %llu", s->order_id,
               (unsigned long long)(i - d->user_start[s->user]));
    if (!um_audit_is_logged(s))
        return;
    uint64_t begin = d->impression_start != NULL ? d->impression_start[i] : 0;
    uint64_t end = d->impression_start != NULL ? d->impression_start[i + 1] : 0;
    if (!equal_list(s, d->impression_item + begin, end - begin))
        offend(e, UM_AUDIT_NOT_IN_LOG, "its list is not the one the log shows");
}

/* An item of a history that is before the scene was seen before it, so only its release date can
 * lie after: the log contradicts itself then, and the scene gives nothing away. The same holds for
 * the target. */
static void check_dates(examined *e)
{
    const um_auditor *a = e->a;
    const um_dataset *d = a->d;
    const um_scene *s = e->s;
    bool logged = um_audit_is_logged(s);

    for (uint32_t j = 0; j < um_audit_listed(s); j++) {
        uint32_t item = s->items[j];
        bool released = d->item_has_release[item], own = j == s->target;
        int64_t release_s = released ? d->item_available_s[item] : 0;
        int64_t known_s = released && !logged ? release_s : a->first_seen_s[item];
        if (!own && known_s == INT64_MAX)
            offend(e, UM_AUDIT_FUTURE_ITEM, "nobody ever clicks or is shown item %s",
                   d->items.ids[item]);
        else if (!own && known_s > s->time_s)
            offend(e, UM_AUDIT_FUTURE_ITEM, "item %s appears at %s, the scene is at %s",
                   d->items.ids[item], at(known_s).text, at(s->time_s).text);
        if ((own || logged) && release_s > s->time_s)
            offend(e, UM_AUDIT_EARLY_RELEASE, "item %s is released at %s, the scene is at %s",
                   d->items.ids[item], at(release_s).text, at(s->time_s).text);
    }
    for (uint32_t h = 0; h < s->n_history; h++) {
        uint32_t item = d->item[s->history[h]];
        int64_t then_s = d->time_s[s->history[h]];
        if (d->item_has_release[item] && d->item_available_s[item] > s->time_s &&
            then_s < s->time_s)
            offend(e, UM_AUDIT_EARLY_RELEASE, "item %s is released at %s and in the history at %s",
                   d->items.ids[item], at(d->item_available_s[item]).text, at(then_s).text);
    }
}

static void check_history(examined *e)
{
    const um_dataset *d = e->a->d;
    const um_scene *s = e->s;
    uint32_t target = s->items[s->target];

    for (uint32_t h = 0; h < s->n_history; h++) {
        uint64_t i = s->history[h];
        const char *id = d->items.ids[d->item[i]];
        if (i < d->user_start[s->user] || i >= d->user_start[s->user + 1])
            offend(e, UM_AUDIT_NOT_IN_LOG, "its history holds a click on %s of another user", id);
        else if (d->time_s[i] < s->time_s && d->item[i] == target)
            offend(e, UM_AUDIT_REPEAT, "%s was chosen at %s too", id, at(d->time_s[i]).text);
        else if (d->time_s[i] >= s->time_s)
            offend(e, d->item[i] == target ? UM_AUDIT_TARGET_IN_HISTORY : UM_AUDIT_FUTURE_HISTORY,
                   "the history shows %s, clicked at %s; the scene is at %s", id,
                   at(d->time_s[i]).text, at(s->time_s).text);
    }
}

/* mark[item] == epoch: the user interacts with it. */
static void check_seen(examined *e, const uint32_t *mark, uint32_t epoch)
{
    const um_scene *s = e->s;
    bool logged = um_audit_is_logged(s);

    for (uint32_t j = 0; j < um_audit_listed(s); j++) {
        if (j != s->target && mark[s->items[j]] == epoch)
            offend(e, logged ? UM_AUDIT_LOGGED_SEEN : UM_AUDIT_SEEN_ITEM,
                   "the user interacts with %s", e->a->d->items.ids[s->items[j]]);
    }
}

/* Without it ---------------------------------------------------------------------------------- */

static bool in_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* Whether text stands in there as whole words. */
static bool holds_text(const char *there, const char *text)
{
    size_t n = strlen(text);
    for (const char *p = there; n > 0 && (p = strstr(p, text)) != NULL; p++) {
        bool begins = p == there || !in_word(p[-1]) || !in_word(text[0]);
        if (begins && (!in_word(p[n]) || !in_word(text[n - 1])))
            return true;
    }
    return false;
}

static void check_texts(examined *e, const bool *train_user)
{
    const um_dataset *d = e->a->d;
    const um_scene_set *set = e->a->set;
    const um_scene *s = e->s;
    bool eval = s->split == UM_SPLIT_EVAL;

    for (uint32_t j = 1; j < um_audit_listed(s); j++) {
        for (uint32_t l = 0; l < j; l++) {
            if (s->items[l] == s->items[j])
                offend(e, UM_AUDIT_ITEM_TWICE, "item %s is [%c] and [%c]",
                       d->items.ids[s->items[j]], 'A' + (int)l, 'A' + (int)j);
        }
    }
    if (set->split_by != UM_SPLIT_BY_TIME && eval && train_user[s->user])
        offend(e, UM_AUDIT_USER_OVERLAP, "user %s has training scenes", d->users.ids[s->user]);
    if (set->split_by != UM_SPLIT_BY_USER && (s->time_s < set->time_cut_s) == eval)
        offend(e, eval ? UM_AUDIT_EVAL_BEFORE_CUT : UM_AUDIT_TRAIN_AFTER_CUT,
               "it is at %s, the cut is at %s", at(s->time_s).text, at(set->time_cut_s).text);
    if (s->items[s->target] != UM_SCENE_NONE && holds_text(s->profile, s->actions[s->target]))
        offend(e, UM_AUDIT_TARGET_IN_PROFILE, "the profile holds \"%.100s\"",
               s->actions[s->target]);
}

/* Scenes with the same target --------------------------------------------------------------------
 */

typedef struct choice {
    uint64_t interaction; /* UM_SCENE_NO_INTERACTION: told apart by what follows */
    uint32_t user, item;
    int64_t time_s;
    const um_scene *scene;
} choice;

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* 0: the same choice. Lists matter where nothing was chosen: there may be two at one time. */
static int compare_choice(const choice *x, const choice *y)
{
    int order = compare_u64(x->interaction, y->interaction);
    if (order != 0 || x->interaction != UM_SCENE_NO_INTERACTION)
        return order;
    if ((order = compare_u64(x->user, y->user)) != 0)
        return order;
    if (x->time_s != y->time_s)
        return x->time_s < y->time_s ? -1 : 1;
    if ((order = compare_u64(x->item, y->item)) != 0 || x->item != UM_SCENE_NONE)
        return order;
    if ((order = compare_u64(x->scene->k, y->scene->k)) != 0)
        return order;
    return memcmp(x->scene->items, y->scene->items, x->scene->k * sizeof *x->scene->items);
}

static int by_choice(const void *a, const void *b)
{
    const choice *x = a, *y = b;
    int order = compare_choice(x, y);
    return order != 0 ? order : (x->scene > y->scene) - (x->scene < y->scene);
}

/* same[i]: an earlier scene with the target of scene i, or NO_SCENE. */
static um_status find_same(const um_auditor *a, uint64_t *same, um_error *err)
{
    const um_scene_set *set = a->set;
    choice *all = um_calloc(set->n, sizeof *all);
    size_t n = 0;

    if (all == NULL)
        return um_fail_memory(err, "the audit");
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        same[i] = NO_SCENE;
        if (um_audit_in_range(a, s))
            all[n++] = (choice){a->out->has_log ? s->interaction : UM_SCENE_NO_INTERACTION, s->user,
                                s->items[s->target], s->time_s, s};
    }
    qsort(all, n, sizeof *all, by_choice);
    for (size_t i = 1; i < n; i++) {
        if (compare_choice(&all[i - 1], &all[i]) == 0)
            same[all[i].scene - set->scenes] = all[i - 1].scene->id;
    }
    free(all);
    return UM_OK;
}

/* All of it ----------------------------------------------------------------------------------- */

static void see(um_auditor *a, uint32_t item, int64_t time_s)
{
    if (time_s < a->first_seen_s[item])
        a->first_seen_s[item] = time_s;
}

static um_status find_first_seen(um_auditor *a, um_error *err)
{
    const um_dataset *d = a->d;
    a->first_seen_s = um_calloc(d->items.n_rows, sizeof *a->first_seen_s);
    if (a->first_seen_s == NULL)
        return um_fail_memory(err, "the audit");
    for (uint32_t i = 0; i < d->items.n_rows; i++)
        a->first_seen_s[i] = INT64_MAX;
    for (uint64_t i = 0; i < d->n_interactions; i++) {
        see(a, d->item[i], d->time_s[i]);
        for (uint64_t j = d->impression_start != NULL ? d->impression_start[i] : 0;
             d->impression_start != NULL && j < d->impression_start[i + 1]; j++)
            see(a, d->impression_item[j], d->time_s[i]);
    }
    for (uint64_t i = 0; i < d->n_skips; i++) {
        for (uint64_t j = d->skip_list_start[i]; j < d->skip_list_start[i + 1]; j++)
            see(a, d->skip_item[j], d->skip_time_s[i]);
    }
    return UM_OK;
}

static void mark_checked(um_auditor *a)
{
    um_audit *out = a->out;
    for (int c = 0; c < UM_AUDIT_CHECK_COUNT; c++)
        out->findings[c].checked = out->has_log;
    out->findings[UM_AUDIT_ITEM_TWICE].checked = true;
    out->findings[UM_AUDIT_SAME_CHOICE].checked = true;
    out->findings[UM_AUDIT_TARGET_IN_PROFILE].checked = true;
    out->findings[UM_AUDIT_USER_OVERLAP].checked = a->set->split_by != UM_SPLIT_BY_TIME;
    out->findings[UM_AUDIT_EVAL_BEFORE_CUT].checked =
        out->findings[UM_AUDIT_TRAIN_AFTER_CUT].checked = a->set->split_by != UM_SPLIT_BY_USER;
}

typedef struct scratch {
    uint64_t *same;   /* [scenes] */
    uint32_t *mark;   /* [items] */
    bool *train_user; /* [users] */
} scratch;

static void check_scene(um_auditor *a, size_t index, const scratch *w, uint32_t epoch)
{
    const um_dataset *d = a->d;
    const um_scene *s = &a->set->scenes[index];
    examined e = {.a = a, .s = s};

    if (!um_audit_in_range(a, s)) {
        offend(&e, UM_AUDIT_NOT_IN_LOG, "it names items, users or interactions that do not exist");
    } else {
        if (a->out->has_log) {
            for (uint64_t i = d->user_start[s->user]; i < d->user_start[s->user + 1]; i++)
                w->mark[d->item[i]] = epoch;
            check_log(&e);
            check_dates(&e);
            check_history(&e);
            check_seen(&e, w->mark, epoch);
        }
        check_texts(&e, w->train_user);
        if (w->same[index] != NO_SCENE)
            offend(&e, UM_AUDIT_SAME_CHOICE, "scene %llu has the same target",
                   (unsigned long long)w->same[index]);
    }
    for (int c = 0; c < UM_AUDIT_FIRST_NOTE; c++) {
        if (e.hit[c]) {
            a->out->leaks++;
            break;
        }
    }
}

static um_status run_checks(um_auditor *a, um_error *err)
{
    const um_scene_set *set = a->set;
    scratch w = {.same = um_calloc(set->n, sizeof *w.same),
                 .mark = um_calloc(a->d->items.n_rows, sizeof *w.mark),
                 .train_user = um_calloc(a->d->users.n_rows, sizeof *w.train_user)};
    um_status status = w.same == NULL || w.mark == NULL || w.train_user == NULL
                           ? um_fail_memory(err, "the audit")
                           : find_same(a, w.same, err);
    for (size_t i = 0; i < set->n && status == UM_OK; i++) {
        const um_scene *s = &set->scenes[i];
        if (s->split != UM_SPLIT_EVAL && s->user < a->d->users.n_rows)
            w.train_user[s->user] = true;
    }
    for (size_t i = 0; i < set->n && status == UM_OK; i++) {
        if (um_audit_takes(a, &set->scenes[i]))
            check_scene(a, i, &w, (uint32_t)i + 1);
    }
    free(w.same);
    free(w.mark);
    free(w.train_user);
    return status;
}

um_status um_audit_scenes(um_audit **out, const um_dataset *dataset, const um_scene_set *set,
                          const um_split *split, um_error *err)
{
    um_auditor a = {dataset, set, split, um_calloc(1, sizeof *a.out), NULL};
    um_status status;

    if (a.out == NULL)
        return um_fail_memory(err, "the audit");
    a.out->has_log = dataset->n_interactions > 0 || dataset->n_skips > 0;
    mark_checked(&a);
    status = find_first_seen(&a, err);
    if (status == UM_OK)
        status = run_checks(&a, err);
    if (status == UM_OK)
        status = um_audit_figures(&a, err);
    if (status == UM_OK) {
        *out = a.out;
        a.out = NULL;
    }
    free(a.first_seen_s);
    um_audit_free(a.out);
    return status;
}

void um_audit_free(um_audit *audit)
{
    free(audit);
}
