/* Which interactions and skipped lists become scenes: splits by user, by time and by both, several
 * clicks on one list, lists nobody chose from, and that nothing after a cut reaches training. */
#include "base/mem.h"
#include "base/str.h"
#include "mirrorer/choice.h"
#include "scene/exposure.h"
#include "scene_log.h"

static const log_shape shapes[] = {
    {.users = 30, .items = 60, .max_interactions = 25, .days = 200},
    {.users = 12, .items = 300, .max_interactions = 60, .days = 2, .release_share = 0.5},
    {.users = 40, .items = 40, .max_interactions = 12, .days = 40, .one_item_each_time = true},
    {.users = 20, .items = 60, .max_interactions = 20, .days = 30, .impressions = 28},
    {.users = 5, .items = 12, .max_interactions = 9, .days = 5},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, SEEDS = 10, IMPRESSIONS = 3 };

static um_scene_options options_of(uint64_t seed)
{
    um_scene_options o;
    um_scene_defaults(&o);
    o.seed = seed;
    o.base_scenes = 40;
    o.train_scenes = 35;
    o.eval_scenes = 50;
    o.eval_user_share = 0.3;
    o.eval_time_share = 0.35;
    o.spectral_rank = 6;
    o.content_rank = 5;
    o.min_order = (uint32_t)(seed % 4);
    o.source_on[UM_SOURCE_POPULARITY] = seed % 2 == 0;
    return o;
}

/* Targets ------------------------------------------------------------------------------------- */

static uint64_t earlier(const um_dataset *d, uint32_t user, int64_t time_s)
{
    uint64_t n = 0;
    for (uint64_t i = d->user_start[user]; i < d->user_start[user + 1]; i++)
        n += d->time_s[i] < time_s;
    return n;
}

/* Times of everything that may become a target, whatever its list. */
static size_t possible_times(const um_dataset *d, const um_scene_options *o, int64_t *times)
{
    size_t n = 0;
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        for (uint64_t i = d->user_start[u]; i < d->user_start[u + 1]; i++)
            if (earlier(d, u, d->time_s[i]) >= o->min_order)
                times[n++] = d->time_s[i];
        for (uint64_t k = d->n_skips > 0 && o->no_click ? d->skip_start[u] : 0;
             d->n_skips > 0 && o->no_click && k < d->skip_start[u + 1]; k++)
            if (earlier(d, u, d->skip_time_s[k]) >= o->min_order)
                times[n++] = d->skip_time_s[k];
    }
    return n;
}

static size_t count_from(const int64_t *times, size_t n, int64_t cut)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += times[i] >= cut;
    return count;
}

/* No other cut comes nearer to the wanted share. */
static void check_cut(const um_dataset *d, const um_scene_options *o, int64_t cut)
{
    int64_t *times = um_calloc(d->n_interactions + d->n_skips + 1, sizeof *times);
    size_t n = possible_times(d, o, times);
    double want = (double)llround(o->eval_time_share * (double)n);
    double miss = fabs((double)count_from(times, n, cut) - want);
    for (size_t i = 0; i < n; i++) {
        assert_true(miss <= fabs((double)count_from(times, n, times[i]) - want));
        assert_true(miss <= fabs((double)count_from(times, n, times[i] + 1) - want));
    }
    free(times);
}

/* The skipped list that a scene without a choice shows. */
static uint64_t find_skip(const um_dataset *d, const um_scene *s, const bool *taken)
{
    for (uint64_t k = d->skip_start[s->user]; k < d->skip_start[s->user + 1]; k++) {
        uint64_t begin = d->skip_list_start[k], n = d->skip_list_start[k + 1] - begin;
        if (!taken[k] && d->skip_time_s[k] == s->time_s && n + 1 == s->k &&
            memcmp(d->skip_item + begin, s->items, (size_t)n * sizeof *s->items) == 0)
            return k;
    }
    fail_msg("scene %llu shows no skipped list", (unsigned long long)s->id);
    return 0;
}

static void check_scene(const um_dataset *d, const um_scene *s, const um_scene_options *o)
{
    uint64_t before = earlier(d, s->user, s->time_s);
    assert_true(before >= o->min_order);
    for (uint32_t h = 0; h < s->n_history; h++)
        assert_true(d->time_s[s->history[h]] < s->time_s);
    uint32_t n_items = s->k - o->no_click;
    assert_true(n_items >= 1 && s->k >= 2 && s->k <= UM_SCENE_MAX_ITEMS);
    if (o->no_click) {
        assert_int_equal(s->items[n_items], UM_SCENE_NONE);
        assert_int_equal(s->sources[n_items], 255);
        assert_string_equal(s->actions[n_items], "None of these: leave without choosing anything.");
    }
    for (uint32_t j = 0; j < n_items; j++) {
        assert_true(s->items[j] < d->items.n_rows);
        if (s->sources[j] != 255)
            assert_true(d->item_available_s[s->items[j]] <= s->time_s);
    }
    if (s->interaction == UM_SCENE_NO_INTERACTION) {
        assert_int_equal(s->target, s->k - 1);
        assert_int_equal(s->order_id, before);
        assert_null(s->truth);
    } else {
        assert_int_equal(s->items[s->target], d->item[s->interaction]);
        assert_int_equal(s->time_s, d->time_s[s->interaction]);
        assert_int_equal(s->order_id, s->interaction - d->user_start[s->user]);
    }
}

static void check_apart(const um_dataset *d, const um_scene_set *set, const um_scene_options *o)
{
    bool *users[2] = {um_calloc(d->users.n_rows, 1), um_calloc(d->users.n_rows, 1)};
    bool *taken = um_calloc(d->n_interactions, 1), *skipped = um_calloc(d->n_skips + 1, 1);
    bool cut = o->split_by != UM_SPLIT_BY_USER;
    assert_int_equal(set->split_by, o->split_by);
    if (!cut)
        assert_int_equal(set->time_cut_s, 0);
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        bool eval = s->split == UM_SPLIT_EVAL;
        assert_int_equal(s->id, i);
        check_scene(d, s, o);
        users[eval][s->user] = true;
        if (cut)
            assert_int_equal(s->time_s >= set->time_cut_s, eval);
        if (s->interaction == UM_SCENE_NO_INTERACTION) {
            skipped[find_skip(d, s, skipped)] = true;
        } else {
            assert_false(taken[s->interaction]);
            taken[s->interaction] = true;
        }
    }
    for (uint32_t u = 0; u < d->users.n_rows; u++)
        assert_true(o->split_by == UM_SPLIT_BY_TIME || !users[0][u] || !users[1][u]);
    free(users[0]);
    free(users[1]);
    free(taken);
    free(skipped);
}

static void splits_never_overlap(void **state)
{
    (void)state;
    size_t scenes[3][2] = {{0}}, skips = 0, in_both = 0;
    for (int shape = 0; shape < N_SHAPES; shape++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            um_dataset *d = random_log(seed, &shapes[shape]);
            give_skips(d, seed, 4, 7);
            um_scene_options o = options_of(seed);
            o.no_click = seed % 3 != 0;
            for (int by = UM_SPLIT_BY_USER; by <= UM_SPLIT_BY_BOTH; by++) {
                o.split_by = (um_split_by)by;
                o.time_cut_s = seed % 2 == 0 ? 0 : 1000000000 + (int64_t)shapes[shape].days * 40000;
                um_scene_set *set = build_scenes(d, &o, 1 + (int)(seed % 3));
                check_apart(d, set, &o);
                if (by != UM_SPLIT_BY_USER && o.time_cut_s != 0)
                    assert_int_equal(set->time_cut_s, o.time_cut_s);
                else if (by != UM_SPLIT_BY_USER)
                    check_cut(d, &o, set->time_cut_s);
                bool trained[64] = {false};
                for (size_t i = 0; i < set->n; i++) {
                    const um_scene *s = &set->scenes[i];
                    skips += s->interaction == UM_SCENE_NO_INTERACTION;
                    trained[s->user] = trained[s->user] || s->split != UM_SPLIT_EVAL;
                    in_both += s->split == UM_SPLIT_EVAL && trained[s->user];
                }
                scenes[by][0] += set->n - set->n_split[UM_SPLIT_EVAL];
                scenes[by][1] += set->n_split[UM_SPLIT_EVAL];
                um_scene_set_free(set);
            }
            free_skips(d);
            um_dataset_free(d);
        }
    }
    /* The rules had something to hold apart. */
    for (int by = 0; by < 3; by++)
        assert_true(scenes[by][0] > 500 && scenes[by][1] > 200);
    assert_true(skips > 200 && in_both > 100);
}

/* Where many things happen at once the cut falls between them, on the nearer side. */
static void cuts_fall_between_ties(void **state)
{
    (void)state;
    size_t moved = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        um_dataset_builder *b = new_builder("ties");
        um_rng r;
        um_rng_init(&r, seed, UM_RNG_TEST, 3, 0, 0);
        for (uint32_t i = 0; i < 30; i++) {
            char id[8];
            snprintf(id, sizeof id, "i%u", i);
            add_item(b, id);
        }
        for (uint32_t u = 0; u < 6; u++) {
            char id[8];
            snprintf(id, sizeof id, "u%u", u);
            uint32_t user = add_user(b, id);
            for (uint32_t k = 0; k < 12; k++)
                interact(b, user, um_rng_below(&r, 30), 1000 + 50 * um_rng_below(&r, 6));
        }
        um_dataset *d = finish(b);
        um_scene_options o = options_of(1);
        um_split_plan plan;
        um_error err;
        o.split_by = UM_SPLIT_BY_TIME;
        o.eval_time_share = um_rng_uniform(&r);
        assert_ok(um_split_plan_new(&plan, d, &o, &err), err);
        check_cut(d, &o, plan.known_until_s);
        moved += plan.known_until_s % 50 == 0;
        um_split_plan_dispose(&plan);
        um_dataset_free(d);
    }
    assert_true(moved > 10 && moved < 50); /* both sides occur */
}

/* With enough asked for, every possible target is taken once: none is lost or drawn twice. */
static void all_targets_are_taken_when_asked_for(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        um_dataset *d = random_log(seed, &shapes[1]);
        give_skips(d, seed, 5, 9);
        um_scene_options o = options_of(seed);
        um_split_plan plan;
        um_error err;
        o.no_click = true;
        o.base_scenes = o.train_scenes = o.eval_scenes = 100000;
        o.split_by =
            (um_split_by)(seed % 2); /* by both, some lie on the wrong side for their user */
        assert_ok(um_split_plan_new(&plan, d, &o, &err), err);
        int64_t *times = um_calloc(d->n_interactions + d->n_skips, sizeof *times);
        size_t possible = possible_times(d, &o, times), n = plan.n;
        bool *seen = um_calloc(d->n_interactions + d->n_skips, 1);
        for (int i = 0; i < UM_DROP_COUNT; i++)
            n += plan.dropped[i];
        assert_int_equal(n, possible);
        for (size_t i = 0; i < plan.n; i++) {
            const um_scene_target *t = &plan.targets[i];
            bool none = t->interaction == UM_SCENE_NO_INTERACTION;
            uint64_t at = none ? d->n_interactions + t->skip : t->interaction;
            assert_false(seen[at]);
            seen[at] = true;
            assert_int_equal(t->n_before, earlier(d, t->user, t->time_s));
        }
        free(seen);
        free(times);
        um_split_plan_dispose(&plan);
        free_skips(d);
        um_dataset_free(d);
    }
}

/* Skips are taken in the proportion the log has them, and their share of a user is theirs too. */
static void skips_come_in_their_proportion(void **state)
{
    (void)state;
    const log_shape shape = {
        .users = 300, .items = 80, .max_interactions = 30, .days = 300, .impressions = 10};
    um_dataset *d = random_log(11, &shape);
    give_skips(d, 11, 30, 6);
    um_scene_options o = options_of(4);
    o.min_order = 0;
    o.no_click = true;
    o.base_scenes = 1500;
    o.train_scenes = 0;
    o.eval_scenes = 0;
    o.eval_user_share = 0;
    um_split_plan plan;
    um_error err;
    assert_ok(um_split_plan_new(&plan, d, &o, &err), err);
    /* Round robin: each round takes one target of each user, a skip with the user's own share. */
    double expected = 0, variance = 0, found = 0;
    for (size_t i = 0; i < plan.n; i++) {
        uint32_t u = plan.targets[i].user;
        double clicks = (double)(d->user_start[u + 1] - d->user_start[u]);
        double skips = (double)(d->skip_start[u + 1] - d->skip_start[u]);
        double share = skips / (clicks + skips);
        expected += share;
        variance += share * (1 - share);
        found += plan.targets[i].interaction == UM_SCENE_NO_INTERACTION;
    }
    assert_int_equal(plan.n, 1500);
    assert_true(expected > 300 && fabs(found - expected) < 4 * sqrt(variance));
    um_split_plan_dispose(&plan);
    free_skips(d);
    um_dataset_free(d);
}

/* The published sampler never puts the truth last; the action none takes no place from it. */
static void items_keep_uniform_places_beside_none(void **state)
{
    (void)state;
    const log_shape shape = {.users = 400, .items = 200, .max_interactions = 30, .days = 300};
    um_dataset *d = random_log(5, &shape);
    um_scene_options o = options_of(3);
    o.no_click = true;
    o.base_scenes = 3000;
    o.train_scenes = 0;
    o.train_min_len = o.train_max_len = 6;
    um_scene_set *set = build_scenes(d, &o, 2);
    assert_int_equal(set->n_split[UM_SPLIT_BASE], 3000);
    double counts[7] = {0}, chi2 = 0.0;
    for (size_t i = 0; i < 3000; i++) {
        assert_int_equal(set->scenes[i].k, 7);
        counts[set->scenes[i].target]++;
    }
    for (int i = 0; i < 6; i++)
        chi2 += (counts[i] - 500.0) * (counts[i] - 500.0) / 500.0;
    assert_true(counts[6] == 0 && chi2 < 20.5); /* 5 degrees of freedom, p = 0.001 */
    assert_close(um_scene_none_share(set), 1.0 / 3002, 1e-12);
    um_scene_set_free(set);
    um_dataset_free(d);
}

/* What training knows -------------------------------------------------------------------------- */

/* Moves the items of every user's interactions at or after the cut among these: who met what stays,
 * and so do the filters, but the story from the cut on is another one. */
static void rewrite_from(um_dataset *d, int64_t cut)
{
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        uint64_t end = d->user_start[u + 1], begin = end;
        while (begin > d->user_start[u] && d->time_s[begin - 1] >= cut)
            begin--;
        for (uint64_t i = begin; i + 1 < end; i++) {
            uint32_t item = d->item[i];
            d->item[i] = d->item[i + 1];
            d->item[i + 1] = item;
        }
        double *rating = d->series[0].numbers;
        for (uint64_t i = begin; i < end; i++)
            rating[i] = 1 + (double)(i % 5);
    }
}

typedef struct knowledge {
    double *factors;
    size_t n_factors;
    uint32_t *popular;
    size_t n_popular;
    double coefficients[64];
    char *training; /* everything of the training scenes, as text */
    char *evaluation;
} knowledge;

static void scene_text(um_str *s, const um_scene *x)
{
    um_str_appendf(s, "%u %lld %u %u %s|%s\n", x->user, (long long)x->time_s, x->k, x->target,
                   x->profile, x->history_text);
    for (uint32_t j = 0; j < x->k; j++)
        um_str_appendf(s, "%u %u %s\n", x->items[j], x->sources[j], x->actions[j]);
}

static knowledge learn(const um_dataset *d, const um_scene_options *o)
{
    knowledge k = {0};
    um_split_plan plan;
    um_exposure_model model;
    um_choice_model *choice = NULL;
    um_choice_options fit;
    um_str texts[2] = {UM_STR_INIT, UM_STR_INIT};
    um_error err;
    assert_ok(um_split_plan_new(&plan, d, o, &err), err);
    assert_ok(um_exposure_model_new(&model, d, o, &plan, NULL, &err), err);
    k.n_factors = (size_t)model.spectral.rank * d->items.n_rows;
    k.factors = um_calloc(k.n_factors, sizeof *k.factors);
    memcpy(k.factors, model.spectral.in, k.n_factors * sizeof *k.factors);
    k.n_popular = plan.n * model.cut_max;
    k.popular = um_calloc(k.n_popular, sizeof *k.popular);
    memcpy(k.popular, model.popular, k.n_popular * sizeof *k.popular);
    um_exposure_model_dispose(&model);
    um_split_plan_dispose(&plan);
    um_scene_set *set = build_scenes(d, o, 1);
    for (size_t i = 0; i < set->n; i++)
        scene_text(&texts[set->scenes[i].split == UM_SPLIT_EVAL], &set->scenes[i]);
    um_choice_defaults(&fit);
    assert_ok(um_choice_fit(&choice, d, set, &fit, &err), err);
    const char *name;
    for (size_t i = 0; i < 64 && um_choice_coefficient(choice, i, &name, &k.coefficients[i]); i++)
        continue;
    um_choice_free(choice);
    um_scene_set_free(set);
    assert_ok(um_str_take(&texts[0], &k.training, &err), err);
    assert_ok(um_str_take(&texts[1], &k.evaluation, &err), err);
    return k;
}

static void forget(knowledge *k)
{
    free(k->factors);
    free(k->popular);
    free(k->training);
    free(k->evaluation);
}

/* What happens from the cut on changes the evaluation, and no bit of what training gets. */
static void training_knows_nothing_from_the_cut_on(void **state)
{
    (void)state;
    static const log_shape dense = {
        .users = 40, .items = 60, .max_interactions = 40, .days = 100, .release_share = 1};
    for (uint64_t seed = 0; seed < 6; seed++) {
        um_dataset *d = random_log(seed, &dense);
        um_scene_options o = options_of(seed);
        const int64_t cut = 1000000000 + 70 * 86400;
        o.min_order = 3;
        o.time_cut_s = cut;
        o.source_on[UM_SOURCE_POPULARITY] = true;
        o.split_by = seed % 2 == 0 ? UM_SPLIT_BY_TIME : UM_SPLIT_BY_BOTH;
        knowledge before = learn(d, &o);
        rewrite_from(d, cut);
        knowledge after = learn(d, &o);
        assert_int_equal(before.n_factors, after.n_factors);
        assert_memory_equal(before.factors, after.factors,
                            before.n_factors * sizeof *before.factors);
        assert_memory_equal(before.coefficients, after.coefficients, sizeof before.coefficients);
        assert_string_equal(before.training, after.training);
        assert_string_not_equal(before.evaluation, after.evaluation);
        assert_true(strlen(before.training) > 5000);
        assert_int_equal(before.n_popular, after.n_popular);
        assert_memory_equal(before.popular, after.popular,
                            before.n_popular * sizeof *before.popular);
        /* By user the same rewriting is seen: the test can tell. */
        o.split_by = UM_SPLIT_BY_USER;
        knowledge user = learn(d, &o);
        assert_true(user.n_factors != after.n_factors ||
                    memcmp(user.factors, after.factors, user.n_factors * sizeof(double)) != 0);
        forget(&before);
        forget(&after);
        forget(&user);
        um_dataset_free(d);
    }
}

/* The popularity baseline counts what lies before the scene and the cut, of users that are not held
 * out: by time nobody is. */
static void popularity_counts_what_training_knows(void **state)
{
    (void)state;
    um_dataset *d = random_log(7, &shapes[0]);
    um_scene_options o = options_of(7);
    um_choice_options fit;
    um_error err;
    um_choice_defaults(&fit);
    for (int by = UM_SPLIT_BY_USER; by <= UM_SPLIT_BY_BOTH; by++) {
        o.split_by = (um_split_by)by;
        um_scene_set *set = build_scenes(d, &o, 1);
        um_choice_model *choice = NULL;
        bool held_out[64] = {false};
        double p[UM_SCENE_MAX_ITEMS], clicks[UM_SCENE_MAX_ITEMS];
        assert_ok(um_choice_fit(&choice, d, set, &fit, &err), err);
        for (size_t i = 0; i < set->n; i++)
            if (set->scenes[i].split == UM_SPLIT_EVAL && by != UM_SPLIT_BY_TIME)
                held_out[set->scenes[i].user] = true;
        for (size_t i = 0; i < set->n; i++) {
            const um_scene *s = &set->scenes[i];
            double sum = 0;
            for (uint32_t j = 0; j < s->k; j++) {
                clicks[j] = 1;
                for (uint32_t u = 0; u < d->users.n_rows; u++)
                    for (uint64_t x = d->user_start[u]; x < d->user_start[u + 1]; x++)
                        clicks[j] += !held_out[u] && d->item[x] == s->items[j] &&
                                     d->time_s[x] < s->time_s &&
                                     (by == UM_SPLIT_BY_USER || d->time_s[x] < set->time_cut_s);
                sum += clicks[j];
            }
            assert_ok(um_choice_popularity(choice, s, p, &err), err);
            for (uint32_t j = 0; j < s->k; j++)
                assert_close(p[j], clicks[j] / sum, 1e-12);
        }
        um_choice_free(choice);
        um_scene_set_free(set);
    }
    um_dataset_free(d);
}

/* Several clicks ------------------------------------------------------------------------------- */

static void click(um_dataset_builder *b, uint32_t user, int64_t time_s, const uint32_t *list,
                  size_t n, int32_t position)
{
    um_error err;
    interact(b, user, list[position], time_s);
    assert_ok(um_dataset_builder_impressions(b, list, n, position, &err), err);
}

/* At 2000 two clicks on one list; at 3000 two lists at one time; at 4000 and 5000 the same list
 * again; at 6000 three clicks. */
static um_dataset *clicks_log(void)
{
    um_dataset_builder *b = new_builder("t");
    uint32_t user = add_user(b, "u"), items[12];
    char id[8];
    for (int i = 0; i < 12; i++) {
        snprintf(id, sizeof id, "i%d", i);
        items[i] = add_item(b, id);
    }
    interact(b, user, items[11], 1000);
    click(b, user, 2000, items, 4, 1);
    click(b, user, 2000, items, 4, 3);
    click(b, user, 3000, items, 4, 0);
    click(b, user, 3000, items + 1, 4, 1);
    click(b, user, 4000, items + 4, 3, 2);
    click(b, user, 5000, items + 4, 3, 1);
    click(b, user, 6000, items + 5, 5, 0);
    click(b, user, 6000, items + 5, 5, 2);
    click(b, user, 6000, items + 5, 5, 4);
    return finish(b);
}

static void several_clicks_are_skipped_or_scenes_each(void **state)
{
    (void)state;
    um_dataset *d = clicks_log();
    um_scene_options o = options_of(1);
    o.eval_user_share = 0;
    o.min_order = 1;
    um_scene_set *set = build_scenes(d, &o, 1);
    assert_int_equal(set->n, 4);
    assert_int_equal(set->dropped[UM_DROP_MULTI_CLICK], 5);
    for (size_t i = 0; i < set->n; i++)
        assert_true(set->scenes[i].time_s >= 3000 && set->scenes[i].time_s <= 5000);
    um_scene_set_free(set);
    o.multi_click = UM_MULTI_CLICK_EACH;
    set = build_scenes(d, &o, 1);
    assert_int_equal(set->n, 9);
    assert_int_equal(set->dropped[UM_DROP_MULTI_CLICK], 0);
    size_t of_three = 0;
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        uint64_t begin = d->impression_start[s->interaction];
        assert_memory_equal(s->items, d->impression_item + begin, s->k * sizeof *s->items);
        assert_int_equal(s->target, d->impression_position[s->interaction]);
        of_three += s->time_s == 6000;
        for (uint32_t h = 0; h < s->n_history; h++)
            assert_true(d->time_s[s->history[h]] < s->time_s); /* no click tells of its fellow */
    }
    assert_int_equal(of_three, 3);
    um_scene_set_free(set);
    um_dataset_free(d);
}

/* Letters -------------------------------------------------------------------------------------- */

static void the_action_none_takes_a_letter(void **state)
{
    (void)state;
    um_dataset *d = random_log(3, &shapes[IMPRESSIONS]);
    um_scene_options o = options_of(3);
    um_error err;
    o.train_max_len = UM_SCENE_MAX_ITEMS;
    assert_ok(um_scene_options_check(&o, &err), err);
    um_scene_set *without = build_scenes(d, &o, 1);
    o.no_click = true;
    assert_int_equal(um_scene_options_check(&o, &err), UM_ERR_INPUT);
    assert_non_null(strstr(err.text, "no_click takes a letter"));
    o.train_max_len = UM_SCENE_MAX_ITEMS - 1;
    um_scene_set *with = build_scenes(d, &o, 1);
    /* A list of 26 fits without it and not with it; one of 1 the other way round. */
    assert_true(with->dropped[UM_DROP_LONG_LIST] > without->dropped[UM_DROP_LONG_LIST]);
    assert_true(without->dropped[UM_DROP_FEW_CANDIDATES] > 0);
    assert_int_equal(with->dropped[UM_DROP_FEW_CANDIDATES], 0);
    um_scene_set_free(with);
    um_scene_set_free(without);
    um_dataset_free(d);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    um_scene_options o[5];
    static const char *const words[] = {"eval_time_share", "split_by", "multi_click",
                                        "weight of source content", "no exposure source"};
    um_error err;
    for (int i = 0; i < 5; i++)
        um_scene_defaults(&o[i]);
    o[0].eval_time_share = NAN;
    o[1].split_by = (um_split_by)9;
    o[2].multi_click = (um_multi_click)-1;
    o[3].source_weight[UM_SOURCE_CONTENT] = -1;
    memset(o[4].source_weight, 0, sizeof o[4].source_weight);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(um_scene_options_check(&o[i], &err), UM_ERR_INPUT);
        assert_non_null(strstr(err.text, words[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_never_overlap),
        cmocka_unit_test(cuts_fall_between_ties),
        cmocka_unit_test(all_targets_are_taken_when_asked_for),
        cmocka_unit_test(skips_come_in_their_proportion),
        cmocka_unit_test(items_keep_uniform_places_beside_none),
        cmocka_unit_test(training_knows_nothing_from_the_cut_on),
        cmocka_unit_test(popularity_counts_what_training_knows),
        cmocka_unit_test(several_clicks_are_skipped_or_scenes_each),
        cmocka_unit_test(the_action_none_takes_a_letter),
        cmocka_unit_test(bad_options_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
