/* An audit finds every leak that is planted, that leak alone, and nothing in what was built. */
#include "audit_log.h"

/* Every check over again, in the plainest words. -------------------------------------------------
 */

static bool user_has(const um_dataset *d, uint32_t user, uint32_t item)
{
    for (uint64_t i = d->user_start[user]; i < d->user_start[user + 1]; i++)
        if (d->item[i] == item)
            return true;
    return false;
}

static bool shown_without_click(const um_dataset *d, uint32_t item, int64_t time_s)
{
    for (uint64_t i = 0; i < d->n_skips; i++)
        for (uint64_t j = d->skip_list_start[i]; j < d->skip_list_start[i + 1]; j++)
            if (d->skip_item[j] == item && d->skip_time_s[i] <= time_s)
                return true;
    return false;
}

static bool seen_by(const um_dataset *d, uint32_t item, int64_t time_s)
{
    for (uint64_t i = 0; i < d->n_interactions; i++) {
        if (d->time_s[i] > time_s)
            continue;
        if (d->item[i] == item)
            return true;
        if (d->impression_start != NULL)
            for (uint64_t j = d->impression_start[i]; j < d->impression_start[i + 1]; j++)
                if (d->impression_item[j] == item)
                    return true;
    }
    return shown_without_click(d, item, time_s);
}

static bool is_skip(const um_dataset *d, const um_scene *s)
{
    for (uint64_t i = d->skip_start[s->user]; i < d->skip_start[s->user + 1]; i++) {
        bool same = d->skip_time_s[i] == s->time_s &&
                    d->skip_list_start[i + 1] - d->skip_list_start[i] == listed_items(s);
        for (uint32_t j = 0; same && j < listed_items(s); j++)
            same = d->skip_item[d->skip_list_start[i] + j] == s->items[j];
        if (same)
            return true;
    }
    return false;
}

static bool differs_from_log(const um_dataset *d, const um_scene *s)
{
    uint64_t i = s->interaction;
    if (s->items[s->target] == UM_SCENE_NONE)
        return i != UM_SCENE_NO_INTERACTION || !is_skip(d, s);
    if (i < d->user_start[s->user] || i >= d->user_start[s->user + 1] ||
        d->item[i] != s->items[s->target] || d->time_s[i] != s->time_s)
        return true;
    if (!claims_logged(s))
        return false;
    if (d->impression_start == NULL ||
        d->impression_start[i + 1] - d->impression_start[i] != listed_items(s))
        return true;
    for (uint32_t j = 0; j < listed_items(s); j++)
        if (d->impression_item[d->impression_start[i] + j] != s->items[j])
            return true;
    return false;
}

static void look_at_list(const um_dataset *d, const um_scene *s, bool hit[UM_AUDIT_CHECK_COUNT])
{
    bool logged = claims_logged(s);
    for (uint32_t j = 0; j < listed_items(s); j++) {
        uint32_t item = s->items[j];
        bool late = d->item_has_release[item] && d->item_available_s[item] > s->time_s;
        for (uint32_t l = 0; l < s->k; l++)
            hit[UM_AUDIT_ITEM_TWICE] |= l != j && s->items[l] == item;
        if (j == s->target) {
            hit[UM_AUDIT_EARLY_RELEASE] |= late;
            continue;
        }
        if (user_has(d, s->user, item))
            hit[logged ? UM_AUDIT_LOGGED_SEEN : UM_AUDIT_SEEN_ITEM] = true;
        if (logged)
            hit[UM_AUDIT_EARLY_RELEASE] |= late;
        if (!logged && d->item_has_release[item])
            hit[UM_AUDIT_FUTURE_ITEM] |= late;
        else
            hit[UM_AUDIT_FUTURE_ITEM] |= !seen_by(d, item, s->time_s);
    }
}

static void look_at_history(const um_dataset *d, const um_scene *s, bool hit[UM_AUDIT_CHECK_COUNT])
{
    for (uint32_t h = 0; h < s->n_history; h++) {
        uint64_t i = s->history[h];
        bool target = d->item[i] == s->items[s->target], late = d->time_s[i] >= s->time_s;
        if (i < d->user_start[s->user] || i >= d->user_start[s->user + 1]) {
            hit[UM_AUDIT_NOT_IN_LOG] = true;
            continue;
        }
        hit[UM_AUDIT_FUTURE_HISTORY] |= late && !target;
        hit[UM_AUDIT_TARGET_IN_HISTORY] |= late && target;
        hit[UM_AUDIT_REPEAT] |= !late && target;
        hit[UM_AUDIT_EARLY_RELEASE] |=
            !late && d->item_has_release[d->item[i]] && d->item_available_s[d->item[i]] > s->time_s;
    }
}

static void count_all(const um_dataset *d, const um_scene_set *set,
                      uint64_t found[UM_AUDIT_CHECK_COUNT][UM_AUDIT_PARTS])
{
    memset(found, 0, UM_AUDIT_CHECK_COUNT * sizeof *found);
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        bool hit[UM_AUDIT_CHECK_COUNT] = {0}, eval = s->split == UM_SPLIT_EVAL;
        hit[UM_AUDIT_NOT_IN_LOG] = differs_from_log(d, s);
        look_at_list(d, s, hit);
        look_at_history(d, s, hit);
        for (size_t j = 0; j < set->n; j++) {
            const um_scene *t = &set->scenes[j];
            hit[UM_AUDIT_SAME_CHOICE] |=
                j < i && t->interaction == s->interaction && s->items[s->target] != UM_SCENE_NONE;
            hit[UM_AUDIT_USER_OVERLAP] |= set->split_by != UM_SPLIT_BY_TIME && eval &&
                                          t->split != UM_SPLIT_EVAL && t->user == s->user;
        }
        if (set->split_by != UM_SPLIT_BY_USER) {
            hit[UM_AUDIT_EVAL_BEFORE_CUT] = eval && s->time_s < set->time_cut_s;
            hit[UM_AUDIT_TRAIN_AFTER_CUT] = !eval && s->time_s >= set->time_cut_s;
        }
        hit[UM_AUDIT_TARGET_IN_PROFILE] = s->items[s->target] != UM_SCENE_NONE &&
                                          strstr(s->profile, s->actions[s->target]) != NULL;
        for (int c = 0; c < UM_AUDIT_CHECK_COUNT; c++) {
            found[c][s->split] += hit[c];
            found[c][UM_AUDIT_ALL] += hit[c];
        }
    }
}

static void assert_same_counts(const um_audit *a, const um_dataset *d, const um_scene_set *set)
{
    uint64_t found[UM_AUDIT_CHECK_COUNT][UM_AUDIT_PARTS];
    count_all(d, set, found);
    for (int c = 0; c < UM_AUDIT_CHECK_COUNT; c++)
        for (int p = 0; p < UM_AUDIT_PARTS; p++)
            if (a->findings[c].found[p] != found[c][p])
                fail_msg("%s, part %d: found %llu, there are %llu",
                         um_audit_check_name((um_audit_check)c), p,
                         (unsigned long long)a->findings[c].found[p],
                         (unsigned long long)found[c][p]);
}

/* The planted finding, once, in that scene, and no other leak. */
static void assert_only(const um_dataset *d, const um_scene_set *set, um_audit_check check,
                        const um_scene *planted)
{
    um_audit *a = audit(d, set);
    for (int c = 0; c < UM_AUDIT_FIRST_NOTE; c++) {
        uint64_t expected = c == (int)check;
        if (a->findings[c].found[UM_AUDIT_ALL] != expected)
            fail_msg("planted %s: %s found %llu times", um_audit_check_name(check),
                     um_audit_check_name((um_audit_check)c),
                     (unsigned long long)a->findings[c].found[UM_AUDIT_ALL]);
    }
    assert_true(a->findings[check].checked);
    assert_int_equal(a->findings[check].n_first, 1);
    assert_int_equal(a->findings[check].first[0].scene, planted->id);
    assert_true(strlen(a->findings[check].first[0].what) > 10);
    assert_int_equal(a->findings[check].found[planted->split], 1);
    assert_int_equal(a->leaks, 1);
    assert_same_counts(a, d, set);
    um_audit_free(a);
}

/* Sets as they are built -------------------------------------------------------------------------
 */

static void built_sets_hold_no_leak(void **state)
{
    (void)state;
    uint64_t notes[UM_AUDIT_CHECK_COUNT] = {0}, none = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        for (int shape = 0; shape < N_SHAPES; shape++) {
            um_dataset *d = log_with_skips(seed * 7 + (uint64_t)shape, &shapes[shape]);
            um_scene_options o = options_of(seed);
            o.use_impressions = seed % 3 != 0;
            o.no_click = seed % 2 == 0;
            o.split_by = (um_split_by)((seed + (uint64_t)shape) % 3);
            o.multi_click = seed > 3 ? UM_MULTI_CLICK_EACH : UM_MULTI_CLICK_SKIP;
            um_scene_set *set = build_scenes(d, &o, 1);
            um_audit *a = audit(d, set);
            assert_true(set->n > 30 && a->has_log);
            assert_int_equal(a->leaks, 0);
            assert_same_counts(a, d, set);
            none += a->parts[UM_AUDIT_ALL].none;
            for (int c = 0; c < UM_AUDIT_CHECK_COUNT; c++)
                notes[c] += a->findings[c].found[UM_AUDIT_ALL];
            um_audit_free(a);
            um_scene_set_free(set);
            free_log(d);
        }
    }
    assert_true(none > 20);
    for (int c = UM_AUDIT_FIRST_NOTE; c < UM_AUDIT_CHECK_COUNT; c++)
        assert_true(notes[c] > 10); /* so that the comparison above compared something */
}

static void one_split_alone(void **state)
{
    (void)state;
    um_error err;
    um_dataset *d = random_log(5, &shapes[SAMPLED]);
    um_scene_options o = options_of(1);
    um_scene_set *set = build_scenes(d, &o, 1);
    um_scene *last = &set->scenes[set->n - 1];
    last->items[(last->target + 1) % last->k] = last->items[(last->target + 2) % last->k];
    const um_split splits[2] = {UM_SPLIT_EVAL, UM_SPLIT_TRAIN};
    for (int i = 0; i < 2; i++) {
        um_audit *a = NULL;
        assert_ok(um_audit_scenes(&a, d, set, &splits[i], &err), err);
        assert_int_equal(a->parts[UM_AUDIT_ALL].scenes, set->n_split[splits[i]]);
        assert_int_equal(a->parts[splits[i]].scenes, set->n_split[splits[i]]);
        assert_int_equal(a->leaks, i == 0);
        um_audit_free(a);
    }
    um_scene_set_free(set);
    um_dataset_free(d);
}

/* Planted leaks ----------------------------------------------------------------------------------
 */

typedef struct plant {
    um_dataset *d;
    um_scene_set *set;
    um_scene *s; /* the scene that is spoilt */
} plant;

static plant fresh(int shape)
{
    um_scene_options o = options_of(3);
    plant p = {.d = random_log(11, &shapes[shape])};
    p.set = build_scenes(p.d, &o, 1);
    return p;
}

static void done(plant *p, um_audit_check check)
{
    assert_non_null(p->s);
    assert_only(p->d, p->set, check, p->s);
    um_scene_set_free(p->set);
    um_dataset_free(p->d);
}

static uint32_t other_place(const um_scene *s)
{
    return s->target == 0 ? 1 : 0;
}

static bool listed(const um_scene *s, uint32_t item)
{
    for (uint32_t j = 0; j < s->k; j++)
        if (s->items[j] == item)
            return true;
    return false;
}

/* Puts in place of a distractor the first item that is the user's own, or not, and known by the
 * scene's time, or not. */
static void plant_item(plant *p, bool own, bool known)
{
    for (size_t i = 20; i < p->set->n && p->s == NULL; i++) {
        um_scene *s = &p->set->scenes[i];
        for (uint32_t item = 0; item < p->d->items.n_rows && p->s == NULL; item++) {
            if (listed(s, item) || user_has(p->d, s->user, item) != own ||
                seen_by(p->d, item, s->time_s) != known)
                continue;
            s->items[other_place(s)] = item;
            p->s = s;
        }
    }
}

static void a_future_item_is_found(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    plant_item(&p, false, false);
    done(&p, UM_AUDIT_FUTURE_ITEM);
}

static void a_seen_item_is_found(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    plant_item(&p, true, true);
    done(&p, UM_AUDIT_SEEN_ITEM);
}

/* Released after the scene, although somebody clicked it before. */
static void an_unreleased_item_is_found(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    p.s = &p.set->scenes[50];
    uint32_t item = p.s->items[other_place(p.s)];
    for (size_t i = 0; i < p.set->n; i++)
        if (i != 50 && listed(&p.set->scenes[i], item))
            p.set->scenes[i].items[p.set->scenes[i].target] = UINT32_MAX - 1; /* marked below */
    /* Only scene 50 may list the item: the others that did are taken out of the set. */
    size_t kept = 0;
    for (size_t i = 0; i < p.set->n; i++) {
        um_scene s = p.set->scenes[i];
        if (s.items[s.target] == UINT32_MAX - 1)
            continue;
        p.s = s.id == 50 ? &p.set->scenes[kept] : p.s;
        p.set->scenes[kept++] = s;
    }
    p.set->n = kept;
    p.d->item_has_release[item] = true;
    p.d->item_available_s[item] = p.s->time_s + 1;
    done(&p, UM_AUDIT_FUTURE_ITEM);
    p = fresh(SAMPLED);
    p.d->item_has_release[0] = true; /* long before: nothing to find */
    p.d->item_available_s[0] = 1;
    um_audit *a = audit(p.d, p.set);
    assert_int_equal(a->leaks, 0);
    um_audit_free(a);
    um_scene_set_free(p.set);
    um_dataset_free(p.d);
}

static void a_late_history_is_found(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    for (size_t i = 0; i < p.set->n && p.s == NULL; i++) {
        um_scene *s = &p.set->scenes[i];
        if (s->n_history > 0 && s->interaction + 1 < p.d->user_start[s->user + 1]) {
            s->history[0] = s->interaction + 1;
            p.s = s;
        }
    }
    done(&p, UM_AUDIT_FUTURE_HISTORY);
}

static void the_target_in_its_history_is_found(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    p.s = &p.set->scenes[7];
    p.s->history[p.s->n_history - 1] = p.s->interaction;
    done(&p, UM_AUDIT_TARGET_IN_HISTORY);
}

static void an_item_twice_is_found(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    for (size_t i = 30; p.s == NULL; i++)
        if (p.set->scenes[i].k >= 3)
            p.s = &p.set->scenes[i];
    p.s->items[(p.s->target + 1) % p.s->k] = p.s->items[(p.s->target + 2) % p.s->k];
    done(&p, UM_AUDIT_ITEM_TWICE);
}

static void a_user_on_both_sides_is_found(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    for (size_t i = 0; i < p.set->n_split[UM_SPLIT_BASE] && p.s == NULL; i++)
        for (size_t j = 0; j < p.set->n && p.s == NULL; j++)
            if (i != j && p.set->scenes[i].user == p.set->scenes[j].user)
                p.s = &p.set->scenes[i];
    assert_non_null(p.s);
    p.s->split = UM_SPLIT_EVAL;
    p.set->split_by = UM_SPLIT_BY_TIME; /* there users may be on both sides */
    p.set->time_cut_s = 0;
    um_audit *a = audit(p.d, p.set);
    assert_int_equal(a->findings[UM_AUDIT_USER_OVERLAP].found[UM_AUDIT_ALL], 0);
    assert_false(a->findings[UM_AUDIT_USER_OVERLAP].checked);
    um_audit_free(a);
    p.set->split_by = UM_SPLIT_BY_USER;
    done(&p, UM_AUDIT_USER_OVERLAP);
}

/* All scenes on one side of the cut, but for the one at the edge. */
static void a_target_on_the_wrong_side_of_the_cut_is_found(void **state)
{
    (void)state;
    for (int eval = 0; eval < 2; eval++) {
        for (int both = 0; both < 2; both++) {
            plant p = fresh(SAMPLED);
            p.set->split_by = both ? UM_SPLIT_BY_BOTH : UM_SPLIT_BY_TIME;
            for (size_t i = 0; i < p.set->n; i++) {
                um_scene *s = &p.set->scenes[i];
                s->split = eval ? UM_SPLIT_EVAL : UM_SPLIT_TRAIN;
                if (p.s == NULL || (eval ? s->time_s < p.s->time_s : s->time_s > p.s->time_s))
                    p.s = s;
            }
            p.set->time_cut_s = eval ? p.s->time_s : p.s->time_s + 1;
            um_audit *a = audit(p.d, p.set);
            assert_int_equal(a->leaks, 0);
            um_audit_free(a);
            p.set->time_cut_s = eval ? p.s->time_s + 1 : p.s->time_s;
            done(&p, eval ? UM_AUDIT_EVAL_BEFORE_CUT : UM_AUDIT_TRAIN_AFTER_CUT);
        }
    }
}

static void one_interaction_for_two_scenes_is_found(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    p.s = &p.set->scenes[45]; /* the first of base stands for a train scene too */
    uint64_t id = p.s->id;
    um_split split = p.s->split;
    *p.s = p.set->scenes[0];
    p.s->id = id;
    p.s->split = split;
    assert_int_equal(p.set->scenes[0].split, UM_SPLIT_BASE);
    assert_int_equal(split, UM_SPLIT_TRAIN);
    done(&p, UM_AUDIT_SAME_CHOICE);
}

static void the_target_in_the_profile_is_found(void **state)
{
    (void)state;
    char profile[600];
    plant p = fresh(SAMPLED);
    p.s = &p.set->scenes[33];
    /* A longer word that holds the text is not the text. */
    snprintf(profile, sizeof profile, "Likes %syard, sub%s.", p.s->actions[p.s->target],
             p.s->actions[p.s->target]);
    p.s->profile = profile;
    um_audit *a = audit(p.d, p.set);
    assert_int_equal(a->leaks, 0);
    um_audit_free(a);
    snprintf(profile, sizeof profile, "Likes %s, and more.", p.s->actions[p.s->target]);
    done(&p, UM_AUDIT_TARGET_IN_PROFILE);
}

static void what_the_log_does_not_hold_is_found(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    p.s = &p.set->scenes[20];
    p.s->time_s++;
    done(&p, UM_AUDIT_NOT_IN_LOG);

    p = fresh(SAMPLED); /* another item takes the target's letter */
    p.s = &p.set->scenes[21];
    for (uint32_t item = 0; item < p.d->items.n_rows; item++)
        if (!listed(p.s, item) && seen_by(p.d, item, p.s->time_s))
            p.s->items[p.s->target] = item;
    done(&p, UM_AUDIT_NOT_IN_LOG);

    p = fresh(LOGGED); /* a list that was shown in another order */
    for (size_t i = 0; p.s == NULL; i++)
        if (p.set->scenes[i].k >= 3)
            p.s = &p.set->scenes[i];
    uint32_t a = (p.s->target + 1) % p.s->k, b = (p.s->target + 2) % p.s->k, item = p.s->items[a];
    p.s->items[a] = p.s->items[b];
    p.s->items[b] = item;
    done(&p, UM_AUDIT_NOT_IN_LOG);

    p = fresh(SAMPLED); /* a sampled list that passes for a logged one */
    p.s = &p.set->scenes[22];
    memset(p.s->sources, 255, p.s->k);
    done(&p, UM_AUDIT_NOT_IN_LOG);

    p = fresh(SAMPLED); /* somebody else's history */
    p.s = &p.set->scenes[23];
    for (uint64_t i = 0; i < p.d->n_interactions; i++)
        if ((i < p.d->user_start[p.s->user] || i >= p.d->user_start[p.s->user + 1]) &&
            p.d->time_s[i] < p.s->time_s)
            p.s->history[0] = i;
    done(&p, UM_AUDIT_NOT_IN_LOG);
}

static void indices_that_point_nowhere_are_found(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    um_scene *s = p.set->scenes;
    s[0].user = p.d->users.n_rows;
    s[1].items[0] = p.d->items.n_rows;
    s[2].interaction = p.d->n_interactions;
    s[3].history[0] = p.d->n_interactions;
    s[4].target = s[4].k;
    s[5].items[0] = UM_SCENE_NONE; /* not in the last place */
    s[6].interaction = UM_SCENE_NO_INTERACTION;
    s[7].k = 1;
    um_audit *a = audit(p.d, p.set);
    assert_int_equal(a->findings[UM_AUDIT_NOT_IN_LOG].found[UM_AUDIT_ALL], 8);
    assert_int_equal(a->findings[UM_AUDIT_NOT_IN_LOG].n_first, 8);
    assert_int_equal(a->leaks, 8);
    um_audit_free(a);
    um_scene_set_free(p.set);
    um_dataset_free(p.d);
}

static void many_offenders_are_counted_and_ten_are_named(void **state)
{
    (void)state;
    plant p = fresh(SAMPLED);
    for (size_t i = 0; i < 25; i++)
        p.set->scenes[2 * i].time_s++;
    um_audit *a = audit(p.d, p.set);
    const um_audit_finding *f = &a->findings[UM_AUDIT_NOT_IN_LOG];
    assert_int_equal(f->found[UM_AUDIT_ALL], 25);
    assert_int_equal(f->n_first, UM_AUDIT_SHOWN);
    for (size_t i = 0; i < UM_AUDIT_SHOWN; i++)
        assert_int_equal(f->first[i].scene, 2 * i);
    um_audit_free(a);
    um_scene_set_free(p.set);
    um_dataset_free(p.d);
}

/* The action "none", by hand: a log with lists nobody chose from. --------------------------------
 */

static void lists_without_a_click(void **state)
{
    (void)state;
    um_error err;
    um_dataset_builder *b = new_builder("t");
    uint32_t user = add_user(b, "u"), x = add_item(b, "x"), y = add_item(b, "y");
    for (int t = 0; t < 4; t++)
        interact(b, user, t % 2 == 0 ? x : y, 1000 + t);
    um_dataset *d = finish(b);
    uint64_t skip_start[2] = {0, 1}, list_start[2] = {0, 2};
    int64_t skip_time = 2000;
    uint32_t shown[2] = {y, x};
    d->n_skips = 1;
    d->skip_start = skip_start;
    d->skip_time_s = &skip_time;
    d->skip_list_start = list_start;
    d->skip_item = shown;

    uint64_t history[2] = {0, 1};
    uint32_t list[2][3] = {{y, x, UM_SCENE_NONE}, {x, y, UM_SCENE_NONE}};
    uint8_t logged[3] = {255, 255, 255}, sampled[3] = {255, UM_SOURCE_RANDOM, 255};
    char nothing[] = "", text[] = "an item";
    char *actions[3] = {text, text, text};
    um_scene scenes[2] = {{.id = 0,
                           .split = UM_SPLIT_EVAL,
                           .interaction = UM_SCENE_NO_INTERACTION,
                           .order_id = 4,
                           .time_s = 2000,
                           .n_history = 2,
                           .history = history,
                           .k = 3,
                           .items = list[0],
                           .sources = logged,
                           .target = 2,
                           .profile = nothing,
                           .history_text = nothing,
                           .actions = actions},
                          {.id = 1,
                           .split = UM_SPLIT_EVAL,
                           .interaction = 2,
                           .order_id = 2,
                           .time_s = 1002,
                           .n_history = 1,
                           .history = history + 1,
                           .k = 3,
                           .items = list[1],
                           .sources = sampled,
                           .target = 0,
                           .profile = nothing,
                           .history_text = nothing,
                           .actions = actions}};
    um_scene_set set = {.scenes = scenes, .n = 2, .n_split = {0, 0, 2}};
    um_audit *a = audit(d, &set);
    const um_audit_part *p = &a->parts[UM_AUDIT_ALL];
    assert_int_equal(a->findings[UM_AUDIT_NOT_IN_LOG].found[UM_AUDIT_ALL], 0);
    assert_int_equal(a->findings[UM_AUDIT_SEEN_ITEM].found[UM_AUDIT_ALL], 1);   /* y, sampled */
    assert_int_equal(a->findings[UM_AUDIT_LOGGED_SEEN].found[UM_AUDIT_ALL], 1); /* x and y */
    assert_int_equal(a->leaks, 1);
    assert_int_equal(p->scenes, 2);
    assert_int_equal(p->with_none, 2);
    assert_int_equal(p->none, 1);
    assert_int_equal(p->positions[2][0], 1);
    assert_int_equal(p->popularity.scenes, 1);
    assert_close(p->popularity.chance, 0.5, 1e-12);
    assert_close(p->chance, 1 / 3.0, 1e-12);
    um_audit_free(a);

    scenes[0].time_s = 2001; /* there is no such list then */
    a = audit(d, &set);
    assert_int_equal(a->findings[UM_AUDIT_NOT_IN_LOG].found[UM_AUDIT_ALL], 1);
    um_audit_free(a);
    scenes[0].time_s = 2000;
    scenes[1] = scenes[0]; /* the same list twice */
    scenes[1].id = 1;
    a = audit(d, &set);
    assert_int_equal(a->findings[UM_AUDIT_SAME_CHOICE].found[UM_AUDIT_ALL], 1);
    assert_int_equal(a->findings[UM_AUDIT_SAME_CHOICE].first[0].scene, 1);
    um_audit_free(a);
    scenes[1].items = list[1]; /* another list at that time is another choice */
    a = audit(d, &set);
    assert_int_equal(a->findings[UM_AUDIT_SAME_CHOICE].found[UM_AUDIT_ALL], 0);
    um_audit_free(a);
    d->n_skips = 0;
    d->skip_start = d->skip_list_start = NULL;
    (void)err;
    um_dataset_free(d);
}

/* Imported scenes have no log: lists, users and texts can still be looked at. */
static void scenes_without_a_log(void **state)
{
    (void)state;
    um_dataset_builder *b = new_builder("t");
    uint32_t user = add_user(b, "u"), x = add_item(b, "x"), y = add_item(b, "y");
    um_dataset *d = finish(b);
    uint32_t list[2] = {x, y}, twice[2] = {y, y};
    uint8_t sources[2] = {255, 255};
    char profile[] = "fond of ivory, born 1970", ivory[] = "ivory", ore[] = "ore";
    char *actions[2] = {ivory, ore};
    um_scene one = {.split = UM_SPLIT_TRAIN,
                    .user = user,
                    .time_s = 5,
                    .k = 2,
                    .items = list,
                    .sources = sources,
                    .profile = profile,
                    .history_text = ore,
                    .actions = actions};
    um_scene scenes[3] = {one, one, one};
    scenes[1].id = 1;
    scenes[1].split = UM_SPLIT_EVAL;
    scenes[1].target = 1;
    scenes[1].items = twice;
    scenes[2].id = 2;
    um_scene_set set = {.scenes = scenes, .n = 3, .n_split = {0, 2, 1}};
    um_audit *a = audit(d, &set);
    assert_false(a->has_log);
    for (int c = 0; c < UM_AUDIT_CHECK_COUNT; c++) {
        uint64_t found = c == UM_AUDIT_ITEM_TWICE || c == UM_AUDIT_USER_OVERLAP ? 1
                         : c == UM_AUDIT_SAME_CHOICE                            ? 1
                         : c == UM_AUDIT_TARGET_IN_PROFILE                      ? 2
                                                                                : 0;
        assert_int_equal(a->findings[c].found[UM_AUDIT_ALL], found);
        assert_int_equal(a->findings[c].checked, found > 0);
    }
    assert_int_equal(a->parts[UM_AUDIT_ALL].sources[UM_SOURCE_COUNT], 3);
    um_audit_free(a);
    um_dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_sets_hold_no_leak),
        cmocka_unit_test(one_split_alone),
        cmocka_unit_test(a_future_item_is_found),
        cmocka_unit_test(a_seen_item_is_found),
        cmocka_unit_test(an_unreleased_item_is_found),
        cmocka_unit_test(a_late_history_is_found),
        cmocka_unit_test(the_target_in_its_history_is_found),
        cmocka_unit_test(an_item_twice_is_found),
        cmocka_unit_test(a_user_on_both_sides_is_found),
        cmocka_unit_test(a_target_on_the_wrong_side_of_the_cut_is_found),
        cmocka_unit_test(one_interaction_for_two_scenes_is_found),
        cmocka_unit_test(the_target_in_the_profile_is_found),
        cmocka_unit_test(what_the_log_does_not_hold_is_found),
        cmocka_unit_test(indices_that_point_nowhere_are_found),
        cmocka_unit_test(many_offenders_are_counted_and_ten_are_named),
        cmocka_unit_test(lists_without_a_click),
        cmocka_unit_test(scenes_without_a_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
