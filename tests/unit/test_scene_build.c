/* Properties every set of scenes must have, over many random logs. */
#include "base/mem.h"
#include "base/str.h"
#include "scene/exposure.h"
#include "scene_log.h"

static const log_shape shapes[] = {
    {.users = 30, .items = 60, .max_interactions = 25, .days = 200},
    {.users = 12, .items = 300, .max_interactions = 60, .days = 2, .release_share = 0.5},
    {.users = 40, .items = 25, .max_interactions = 12, .days = 400, .one_item_each_time = true},
    {.users = 20, .items = 50, .max_interactions = 20, .days = 30, .impressions = 34},
    {.users = 3, .items = 8, .max_interactions = 7, .days = 5},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, SEEDS = 12 };

static um_scene_options options_of(uint64_t seed)
{
    um_scene_options o;
    um_scene_defaults(&o);
    o.seed = seed;
    o.base_scenes = 40;
    o.train_scenes = 25;
    o.eval_scenes = 30;
    o.eval_user_share = 0.3;
    o.spectral_rank = 8;
    o.content_rank = 6;
    o.eval_last_history = seed % 2 == 0;
    o.source_on[UM_SOURCE_POPULARITY] = seed % 3 == 0;
    o.source_on[UM_SOURCE_RANDOM] = seed % 4 != 1;
    o.train_max_len = seed % 5 == 0 ? UM_SCENE_MAX_ITEMS : 12;
    return o;
}

static uint64_t strictly_before(const um_dataset *d, const um_scene *s)
{
    uint64_t n = 0;
    for (uint64_t i = d->user_start[s->user]; i < d->user_start[s->user + 1]; i++)
        n += d->time_s[i] < s->time_s;
    return n;
}

static void check_memory(const um_dataset *d, const um_scene *s, const um_scene_options *o)
{
    uint64_t n_before = strictly_before(d, s);
    assert_true(n_before >= o->min_order);
    uint32_t most = o->max_history < n_before ? o->max_history : (uint32_t)n_before;
    uint32_t least = o->min_history < n_before ? o->min_history : (uint32_t)n_before;
    assert_in_range(s->n_history, least, most);
    if (s->split == UM_SPLIT_EVAL && o->eval_last_history)
        assert_int_equal(s->n_history, most);
    for (uint32_t i = 0; i < s->n_history; i++) {
        /* The last n of what came strictly before: ties with the target are out. */
        assert_int_equal(s->history[i], d->user_start[s->user] + n_before - s->n_history + i);
        assert_true(d->time_s[s->history[i]] < s->time_s);
    }
}

static bool user_has(const um_dataset *d, uint32_t user, uint32_t item)
{
    for (uint64_t i = d->user_start[user]; i < d->user_start[user + 1]; i++)
        if (d->item[i] == item)
            return true;
    return false;
}

static void check_sampled(const um_dataset *d, const um_scene *s, const um_scene_options *o)
{
    uint32_t min = s->split == UM_SPLIT_EVAL ? o->eval_min_len : o->train_min_len;
    uint32_t max = s->split == UM_SPLIT_EVAL ? o->eval_max_len : o->train_max_len;
    assert_in_range(s->k, min, max);
    assert_null(s->truth);
    assert_false(s->accident);
    for (uint32_t i = 0; i < s->k; i++) {
        for (uint32_t j = 0; j < i; j++)
            assert_int_not_equal(s->items[i], s->items[j]);
        if (i == s->target) {
            assert_int_equal(s->sources[i], 255);
            continue;
        }
        assert_true(s->sources[i] == UM_SOURCE_RANDOM || o->source_on[s->sources[i]]);
        assert_false(user_has(d, s->user, s->items[i]));
        assert_true(d->item_available_s[s->items[i]] <= s->time_s);
    }
}

static void check_logged(const um_dataset *d, const um_scene *s)
{
    uint64_t begin = d->impression_start[s->interaction];
    assert_int_equal(s->k, d->impression_start[s->interaction + 1] - begin);
    assert_int_equal(s->target, d->impression_position[s->interaction]);
    assert_memory_equal(s->items, d->impression_item + begin, s->k * sizeof *s->items);
    assert_non_null(s->truth);
    for (uint32_t i = 0; i < s->k; i++) {
        assert_close(s->truth[i], 0.5 / s->k, 1e-6);
        assert_int_equal(s->sources[i], 255);
    }
    assert_int_equal(s->accident, s->target == 0);
}

static void check_set(const um_dataset *d, const um_scene_set *set, const um_scene_options *o)
{
    assert_int_equal(set->n, set->n_split[0] + set->n_split[1] + set->n_split[2]);
    assert_true(set->n_split[0] <= o->base_scenes && set->n_split[1] <= o->train_scenes &&
                set->n_split[2] <= o->eval_scenes);
    bool *taken = um_calloc(d->n_interactions, sizeof *taken);
    bool *held_out = um_calloc(d->users.n_rows, sizeof *held_out);
    bool *trained = um_calloc(d->users.n_rows, sizeof *trained);
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        assert_int_equal(s->id, i);
        assert_int_equal(s->split, i < set->n_split[0]                     ? UM_SPLIT_BASE
                                   : i < set->n_split[0] + set->n_split[1] ? UM_SPLIT_TRAIN
                                                                           : UM_SPLIT_EVAL);
        assert_false(taken[s->interaction]);
        taken[s->interaction] = true;
        (s->split == UM_SPLIT_EVAL ? held_out : trained)[s->user] = true;
        assert_int_equal(s->order_id, s->interaction - d->user_start[s->user]);
        assert_true(s->interaction < d->user_start[s->user + 1]);
        assert_int_equal(s->time_s, d->time_s[s->interaction]);
        assert_true(s->target < s->k);
        assert_int_equal(s->items[s->target], d->item[s->interaction]);
        check_memory(d, s, o);
        if (o->use_impressions && d->impression_start != NULL)
            check_logged(d, s);
        else
            check_sampled(d, s, o);
        assert_non_null(s->profile);
        assert_non_null(s->history_text);
    }
    for (uint32_t u = 0; u < d->users.n_rows; u++)
        assert_false(held_out[u] && trained[u]);
    free(taken);
    free(held_out);
    free(trained);
}

/* Everything a set says, as bytes. */
static char *set_bytes(const um_scene_set *set)
{
    um_error err;
    um_str s = UM_STR_INIT;
    um_str_appendf(&s, "%zu %llu %llu\n", set->n,
                   (unsigned long long)set->dropped[UM_DROP_FEW_CANDIDATES],
                   (unsigned long long)set->dropped[UM_DROP_LONG_LIST]);
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *x = &set->scenes[i];
        um_str_appendf(&s, "%llu %d %u %llu %u %lld %u %u %u %d %s|%s\n", (unsigned long long)x->id,
                       (int)x->split, x->user, (unsigned long long)x->interaction, x->order_id,
                       (long long)x->time_s, x->n_history, x->k, x->target, x->accident, x->profile,
                       x->history_text);
        for (uint32_t j = 0; j < x->k; j++)
            um_str_appendf(&s, "%u %u %.17g %s\n", x->items[j], x->sources[j],
                           x->truth != NULL ? x->truth[j] : -1.0, x->actions[j]);
    }
    char *bytes = NULL;
    assert_ok(um_str_take(&s, &bytes, &err), err);
    return bytes;
}

static void every_rule_holds_on_random_logs(void **state)
{
    (void)state;
    size_t scenes = 0, dropped = 0, long_lists = 0;
    for (int shape = 0; shape < N_SHAPES; shape++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            um_dataset *d = random_log(seed, &shapes[shape]);
            um_scene_options o = options_of(seed);
            um_scene_set *set = build_scenes(d, &o, 1);
            check_set(d, set, &o);
            scenes += set->n;
            dropped += set->dropped[UM_DROP_FEW_CANDIDATES];
            long_lists += set->dropped[UM_DROP_LONG_LIST];
            um_scene_set_free(set);
            o.use_impressions = false;
            set = build_scenes(d, &o, 1);
            check_set(d, set, &o);
            um_scene_set_free(set);
            um_dataset_free(d);
        }
    }
    /* The logs must have made the rules work for their living. */
    assert_true(scenes > 2000);
    assert_true(dropped > 0);
    assert_true(long_lists > 0);
}

static void threads_do_not_matter_and_seeds_do(void **state)
{
    (void)state;
    for (int shape = 0; shape < N_SHAPES; shape++) {
        um_dataset *d = random_log(100, &shapes[shape]);
        um_scene_options o = options_of(6);
        static const int threads[] = {1, 2, 5};
        char *bytes[3];
        for (int i = 0; i < 3; i++) {
            um_scene_set *set = build_scenes(d, &o, threads[i]);
            bytes[i] = set_bytes(set);
            um_scene_set_free(set);
        }
        assert_string_equal(bytes[0], bytes[1]);
        assert_string_equal(bytes[0], bytes[2]);
        o.seed = 7;
        um_scene_set *other = build_scenes(d, &o, 2);
        char *other_bytes = set_bytes(other);
        if (other->n > 0)
            assert_string_not_equal(bytes[0], other_bytes);
        um_scene_set_free(other);
        free(other_bytes);
        for (int i = 0; i < 3; i++)
            free(bytes[i]);
        um_dataset_free(d);
    }
}

/* The published sampler never puts the truth last; here every place is equally likely. */
static void target_position_is_uniform(void **state)
{
    (void)state;
    const log_shape shape = {.users = 400, .items = 200, .max_interactions = 30, .days = 300};
    um_dataset *d = random_log(3, &shape);
    um_scene_options o = options_of(2);
    o.base_scenes = 3000;
    o.train_scenes = 0;
    o.train_min_len = o.train_max_len = 6;
    um_scene_set *set = build_scenes(d, &o, 2);
    assert_int_equal(set->n_split[UM_SPLIT_BASE], 3000);
    double counts[6] = {0}, chi2 = 0.0;
    for (size_t i = 0; i < 3000; i++)
        counts[set->scenes[i].target]++;
    for (int i = 0; i < 6; i++)
        chi2 += (counts[i] - 500.0) * (counts[i] - 500.0) / 500.0;
    assert_true(chi2 < 20.5); /* 5 degrees of freedom, p = 0.001 */
    um_scene_set_free(set);
    um_dataset_free(d);
}

static void lengths_are_uniform(void **state)
{
    (void)state;
    const log_shape shape = {.users = 300, .items = 200, .max_interactions = 30, .days = 300};
    um_dataset *d = random_log(4, &shape);
    um_scene_options o = options_of(2);
    o.base_scenes = 2200;
    o.train_scenes = 0;
    um_scene_set *set = build_scenes(d, &o, 1);
    double lengths[13] = {0}, chi2 = 0.0;
    for (size_t i = 0; i < set->n_split[UM_SPLIT_BASE]; i++)
        lengths[set->scenes[i].k]++;
    assert_int_equal(set->n_split[UM_SPLIT_BASE], 2200);
    for (int k = 2; k <= 12; k++)
        chi2 += (lengths[k] - 200.0) * (lengths[k] - 200.0) / 200.0;
    assert_true(chi2 < 29.6); /* 10 degrees of freedom, p = 0.001 */
    um_scene_set_free(set);
    um_dataset_free(d);
}

/* Round robin: a user gives a second scene only when every other user has given a first. */
static void no_user_dominates(void **state)
{
    (void)state;
    um_dataset_builder *b = new_builder("t");
    char id[16];
    for (int u = 0; u < 10; u++) {
        snprintf(id, sizeof id, "u%d", u);
        uint32_t user = add_user(b, id);
        for (int k = 0; k < (u == 0 ? 200 : 6); k++) {
            snprintf(id, sizeof id, "i%d", u * 1000 + k);
            interact(b, user, add_item(b, id), 1000 + k * 100);
        }
    }
    um_dataset *d = finish(b);
    um_scene_options o = options_of(2);
    o.eval_user_share = 0.0;
    o.base_scenes = 0;
    o.train_scenes = 20;
    o.source_on[UM_SOURCE_SPECTRAL] = false;
    um_scene_set *set = build_scenes(d, &o, 1);
    assert_int_equal(set->n_split[UM_SPLIT_TRAIN], 20);
    assert_int_equal(set->n_split[UM_SPLIT_EVAL], 0);
    int counts[10] = {0};
    for (size_t i = 0; i < set->n; i++)
        counts[set->scenes[i].user]++;
    for (int u = 0; u < 10; u++)
        assert_int_equal(counts[u], 2);
    um_scene_set_free(set);
    um_dataset_free(d);
}

/* Popularity alone: distractors in the order of clicks before the scene, by brute force. */
static void popularity_counts_the_past_only(void **state)
{
    (void)state;
    const log_shape shape = {.users = 60, .items = 30, .max_interactions = 14, .days = 1};
    um_dataset *d = random_log(8, &shape);
    um_scene_options o = options_of(3);
    o.eval_user_share = 0.0;
    o.train_min_len = o.train_max_len = 7;
    for (int s = 0; s < UM_SOURCE_COUNT; s++)
        o.source_on[s] = s == UM_SOURCE_POPULARITY;
    um_scene_set *set = build_scenes(d, &o, 2);
    size_t checked = 0;
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        int clicks[30] = {0};
        for (uint64_t x = 0; x < d->n_interactions; x++)
            clicks[d->item[x]] += d->time_s[x] < s->time_s;
        bool used[30] = {false};
        for (uint32_t place = 0, j = 0; place < s->k; place++) {
            if (place == s->target)
                continue;
            int best = -1;
            for (int item = 0; item < 30; item++)
                if (!used[item] && clicks[item] > 0 && !user_has(d, s->user, (uint32_t)item) &&
                    (best < 0 || clicks[item] > clicks[best]))
                    best = item;
            if (best < 0) {
                assert_int_equal(s->sources[place], UM_SOURCE_RANDOM);
                break;
            }
            used[best] = true;
            assert_int_equal(s->items[place], best);
            assert_int_equal(s->sources[place], UM_SOURCE_POPULARITY);
            checked += ++j;
        }
    }
    assert_true(checked > 500);
    um_scene_set_free(set);
    um_dataset_free(d);
}

/* The interaction matrix holds no held-out user and no target of a base or train scene. */
static void spectral_never_sees_targets_or_held_out_users(void **state)
{
    (void)state;
    um_error err;
    um_dataset *d = random_log(21, &shapes[0]);
    um_scene_options o = options_of(2);
    um_split_plan plan;
    um_exposure_model model;
    um_factors expected;
    assert_ok(um_split_plan_new(&plan, d, &o, &err), err);
    assert_ok(um_exposure_model_new(&model, d, &o, &plan, NULL, &err), err);
    bool *used = um_calloc(d->users.n_rows, sizeof *used);
    uint64_t *targets = um_calloc(plan.n, sizeof *targets), n = 0;
    for (uint32_t u = 0; u < d->users.n_rows; u++)
        used[u] = true;
    for (size_t i = 0; i < plan.n; i++) {
        if (plan.targets[i].split == UM_SPLIT_EVAL)
            used[plan.targets[i].user] = false;
        else
            targets[n++] = plan.targets[i].interaction;
    }
    assert_true(n > 20 && n < plan.n);
    assert_ok(um_spectral_factors(&expected, d, used, INT64_MAX, targets, n, o.spectral_rank, false,
                                  o.seed, NULL, &err),
              err);
    assert_int_equal(model.spectral.rank, expected.rank);
    assert_memory_equal(model.spectral.in, expected.in,
                        (size_t)d->items.n_rows * expected.rank * sizeof *expected.in);
    free(used);
    free(targets);
    um_factors_dispose(&expected);
    um_exposure_model_dispose(&model);
    um_split_plan_dispose(&plan);
    um_dataset_free(d);
}

/* Content alone: the items that share the target's words come before those that do not. */
static void content_distractors_resemble_the_target(void **state)
{
    (void)state;
    const log_shape shape = {.users = 40, .items = 120, .max_interactions = 8, .days = 300};
    um_dataset *d = random_log(9, &shape);
    um_scene_options o = options_of(3);
    o.train_min_len = o.train_max_len = 5;
    o.content_rank = 12;
    for (int s = 0; s < UM_SOURCE_COUNT; s++)
        o.source_on[s] = s == UM_SOURCE_CONTENT;
    um_scene_set *set = build_scenes(d, &o, 1);
    int column = um_table_column(&d->items, "genre");
    size_t same = 0, all = 0;
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        const char *genre = um_table_cell(&d->items, s->items[s->target], column);
        for (uint32_t j = 0; j < s->k; j++) {
            if (j == s->target || s->sources[j] != UM_SOURCE_CONTENT)
                continue;
            same += strcmp(genre, um_table_cell(&d->items, s->items[j], column)) == 0;
            all++;
        }
    }
    assert_true(all > 100 && (double)same > 0.9 * (double)all);
    um_scene_set_free(set);
    um_dataset_free(d);
}

static void unfit_lists_are_counted(void **state)
{
    (void)state;
    um_error err;
    um_dataset_builder *b = new_builder("t");
    uint32_t user = add_user(b, "u"), items[30], few[1];
    char id[16];
    for (int i = 0; i < 30; i++) {
        snprintf(id, sizeof id, "i%d", i);
        items[i] = add_item(b, id);
    }
    for (int k = 0; k < 8; k++) {
        const uint32_t target_twice[] = {items[k], items[20], items[k]};
        const uint32_t other_twice[] = {items[20], items[k], items[21], items[20]};
        interact(b, user, items[k], 1000 + k);
        few[0] = items[k];
        if (k == 3)
            assert_ok(um_dataset_builder_impressions(b, items, 27, k, &err), err);
        else if (k == 4)
            assert_ok(um_dataset_builder_impressions(b, few, 1, 0, &err), err);
        else if (k == 5)
            assert_ok(um_dataset_builder_impressions(b, items, 26, k, &err), err);
        else if (k == 6)
            assert_ok(um_dataset_builder_impressions(b, target_twice, 3, 0, &err), err);
        else if (k == 7)
            assert_ok(um_dataset_builder_impressions(b, other_twice, 4, 1, &err), err);
    }
    um_dataset *d = finish(b);
    um_scene_options o = options_of(2);
    o.eval_user_share = 0.0;
    um_scene_set *set = build_scenes(d, &o, 1);
    assert_int_equal(set->n, 1);
    assert_int_equal(set->scenes[0].k, 26);
    assert_int_equal(set->scenes[0].target, 5);
    assert_int_equal(set->dropped[UM_DROP_LONG_LIST], 1);
    assert_int_equal(set->dropped[UM_DROP_FEW_CANDIDATES], 1);
    assert_int_equal(set->dropped[UM_DROP_BAD_LIST], 2);
    um_scene_set_free(set);
    um_dataset_free(d);
}

static void an_empty_log_gives_no_scenes(void **state)
{
    (void)state;
    um_dataset_builder *b = new_builder("t");
    um_dataset *d = finish(b);
    um_scene_options o = options_of(2);
    um_scene_set *set = build_scenes(d, &o, 2);
    assert_int_equal(set->n, 0);
    um_scene_set_free(set);
    um_dataset_free(d);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    um_dataset *d = random_log(1, &shapes[4]);
    um_error err;
    um_template *t = NULL;
    assert_ok(um_template_builtin(&t, "generic", &err), err);
    um_scene_options o[7];
    static const char *const words[] = {
        "eval_user_share",    "min_history",   "train list length", "eval list length",
        "no exposure source", "spectral_rank", "content_rank"};
    for (int i = 0; i < 7; i++)
        um_scene_defaults(&o[i]);
    o[0].eval_user_share = NAN;
    o[1].min_history = 11;
    o[2].train_max_len = 27;
    o[3].eval_min_len = 1;
    memset(o[4].source_on, 0, sizeof o[4].source_on);
    o[5].spectral_rank = 0;
    o[6].content_rank = 5000;
    for (int i = 0; i < 7; i++) {
        um_scene_set *set = NULL;
        assert_int_equal(um_scenes_build(&set, d, &o[i], t, 1, NULL, &err), UM_ERR_INPUT);
        assert_null(set);
        assert_non_null(strstr(err.text, words[i]));
    }
    um_template_free(t);
    um_dataset_free(d);
}

static void count_progress(void *context, const um_progress *progress)
{
    *(uint64_t *)context = progress->done;
    assert_true(progress->done <= progress->total);
}

static void keep_message(void *context, const char *text)
{
    (void)text;
    *(uint64_t *)context = 1000000;
}

static void progress_and_stop(void **state)
{
    (void)state;
    um_dataset *d = random_log(2, &shapes[0]);
    um_error err;
    um_template *t = NULL;
    um_scene_set *set = NULL;
    uint64_t seen = 0;
    volatile sig_atomic_t stop = 0;
    um_monitor monitor = {count_progress, keep_message, &seen, &stop};
    um_scene_options o = options_of(2);
    assert_ok(um_template_builtin(&t, "random", &err), err);
    assert_ok(um_scenes_build(&set, d, &o, t, 1, &monitor, &err), err);
    assert_int_equal(seen, set->n);
    um_scene_set_free(set);
    set = NULL;
    stop = 1;
    assert_int_equal(um_scenes_build(&set, d, &o, t, 1, &monitor, &err), UM_ERR_INTERRUPTED);
    assert_null(set);
    um_template_free(t);
    um_dataset_free(d);
}

/* A damaged row of recorded probabilities costs its truth, not the run. */
static void bad_probabilities_are_left_out(void **state)
{
    (void)state;
    um_error err;
    um_dataset_builder *b = new_builder("t");
    uint32_t user = add_user(b, "u"),
             items[3] = {add_item(b, "a"), add_item(b, "b"), add_item(b, "c")};
    static const char *const rows[] = {"[0.5,0.5]",   "[0.5,0.5]", "[0.5,0.5]",
                                       "[0.25,0.75]", "[0.5]",     "[2,0]",
                                       "[\"x\",0]",   "{}",        "0.5"};
    for (int k = 0; k < 9; k++) {
        interact(b, user, items[k % 2], 1000 + k);
        assert_ok(um_dataset_builder_impressions(b, items, 2, k % 2, &err), err);
        assert_ok(um_dataset_builder_text(b, "choice_probabilities", rows[k], &err), err);
    }
    um_dataset *d = finish(b);
    um_template *t = NULL;
    um_scene_set *set = NULL;
    uint64_t seen = 0;
    um_monitor monitor = {NULL, keep_message, &seen, NULL};
    um_scene_options o = options_of(2);
    o.eval_user_share = 0.0;
    assert_ok(um_template_builtin(&t, "t", &err), err);
    assert_ok(um_scenes_build(&set, d, &o, t, 1, &monitor, &err), err);
    assert_int_equal(set->n, 6);
    assert_int_equal(seen, 1000000);
    for (size_t i = 0; i < set->n; i++) {
        if (set->scenes[i].order_id == 3)
            assert_close(set->scenes[i].truth[1], 0.75, 0.0);
        else
            assert_null(set->scenes[i].truth);
    }
    um_scene_set_free(set);
    um_template_free(t);
    um_dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_holds_on_random_logs),
        cmocka_unit_test(threads_do_not_matter_and_seeds_do),
        cmocka_unit_test(target_position_is_uniform),
        cmocka_unit_test(lengths_are_uniform),
        cmocka_unit_test(no_user_dominates),
        cmocka_unit_test(popularity_counts_the_past_only),
        cmocka_unit_test(spectral_never_sees_targets_or_held_out_users),
        cmocka_unit_test(content_distractors_resemble_the_target),
        cmocka_unit_test(unfit_lists_are_counted),
        cmocka_unit_test(an_empty_log_gives_no_scenes),
        cmocka_unit_test(bad_options_are_named),
        cmocka_unit_test(progress_and_stop),
        cmocka_unit_test(bad_probabilities_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
