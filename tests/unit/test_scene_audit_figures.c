/* Figures of an audit against a recount in the plainest words. */
#include "audit_log.h"

static void recount_part(const um_scene_set *set, int part, const um_audit_part *p)
{
    uint64_t positions[UM_SCENE_MAX_ITEMS + 1][UM_SCENE_MAX_ITEMS] = {{0}};
    uint64_t sources[UM_SOURCE_COUNT + 1] = {0}, scenes = 0, logged = 0, k = 0, history = 0;
    uint64_t with_none = 0, none = 0;
    double chance = 0;
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        if (part != UM_AUDIT_ALL && (int)s->split != part)
            continue;
        scenes++;
        logged += claims_logged(s);
        k += s->k;
        history += s->n_history;
        chance += 1.0 / s->k;
        with_none += listed_items(s) < s->k;
        none += s->items[s->target] == UM_SCENE_NONE;
        if (s->items[s->target] != UM_SCENE_NONE)
            positions[listed_items(s)][s->target]++;
        for (uint32_t j = 0; j < listed_items(s); j++)
            if (j != s->target)
                sources[s->sources[j] == 255 ? UM_SOURCE_COUNT : s->sources[j]]++;
    }
    assert_int_equal(p->scenes, scenes);
    assert_int_equal(p->logged, logged);
    assert_int_equal(p->none, none);
    assert_int_equal(p->with_none, with_none);
    assert_memory_equal(p->positions, positions, sizeof positions);
    assert_memory_equal(p->sources, sources, sizeof sources);
    assert_close(p->chance, chance / (double)scenes, 1e-12);
    assert_int_equal(p->choices.n, scenes);
    assert_close(p->choices.mean, (double)k / (double)scenes, 1e-9);
    assert_close(p->history.mean, (double)history / (double)scenes, 1e-9);
    assert_close(p->scenes_a_user.mean * (double)p->scenes_a_user.n, scenes, 1e-6);
}

/* Popularity by counting clicks over and over; the blind guess by taking each item in turn. */
static void recount_popularity(const um_dataset *d, const um_scene_set *set, int part,
                               const um_audit_popularity *p)
{
    double pairs = 0, won = 0, most = 0, least = 0, blind = 0, most_variance = 0, off = 0,
           variance = 0, n = 0;
    uint64_t bins[2][UM_AUDIT_POPULARITY_BINS] = {{0}};
    for (size_t i = 0; i < set->n; i++) {
        const um_scene *s = &set->scenes[i];
        double clicks[UM_SCENE_MAX_ITEMS] = {0}, max = 0, min = 1e9, at_max = 0, at_min = 0;
        double ranks = 0, squares = 0;
        uint32_t k = listed_items(s);
        if ((part != UM_AUDIT_ALL && (int)s->split != part) || s->target >= k)
            continue;
        for (uint32_t j = 0; j < k; j++) {
            for (uint64_t x = 0; x < d->n_interactions; x++)
                clicks[j] += d->item[x] == s->items[j] && d->time_s[x] < s->time_s;
            max = fmax(max, clicks[j]);
            min = fmin(min, clicks[j]);
        }
        for (uint32_t j = 0; j < k; j++) {
            double rank = 0;
            at_max += clicks[j] >= max;
            at_min += clicks[j] <= min;
            for (uint32_t l = 0; l < k; l++)
                if (l != j)
                    rank += clicks[j] > clicks[l] ? 1 : clicks[j] < clicks[l] ? 0 : 0.5;
            bins[j == s->target][clicks[j] > 0 ? 1 + (int)floor(log2(clicks[j])) : 0]++;
            ranks += rank / k;
            squares += rank * rank / k;
            if (j == s->target) {
                won += rank;
                off += rank;
            }
        }
        for (uint32_t j = 0; j < k; j++)
            most_variance += pow((clicks[j] >= max ? 1 / at_max : 0) - 1.0 / k, 2) / k;
        off -= ranks;
        variance += squares - ranks * ranks;
        pairs += k - 1;
        most += clicks[s->target] >= max ? 1 / at_max : 0;
        least += clicks[s->target] <= min ? 1 / at_min : 0;
        blind += 1.0 / k;
        n++;
    }
    assert_int_equal(p->scenes, n);
    assert_close(p->concordance, won / pairs, 1e-9);
    assert_close(p->most, most / n, 1e-9);
    assert_close(p->least, least / n, 1e-9);
    assert_close(p->chance, blind / n, 1e-9);
    assert_close(p->most_z, (most - blind) / sqrt(most_variance), 1e-6);
    assert_memory_equal(p->distractors, bins[0], sizeof bins[0]);
    assert_memory_equal(p->targets, bins[1], sizeof bins[1]);
    assert_close(p->z, off / sqrt(variance), 1e-6);
    assert_close(p->p_value, 2 * (1 - 0.5 * erfc(-fabs(p->z) / sqrt(2))), 1e-9);
}

static void figures_are_what_a_recount_gives(void **state)
{
    (void)state;
    for (int shape = 0; shape < N_SHAPES; shape++) {
        um_dataset *d = log_with_skips(31 + (uint64_t)shape, &shapes[shape]);
        um_scene_options o = options_of(2);
        o.no_click = shape > 0;
        um_scene_set *set = build_scenes(d, &o, 1);
        um_audit *a = audit(d, set);
        for (int p = 0; p < UM_AUDIT_PARTS; p++) {
            recount_part(set, p, &a->parts[p]);
            recount_popularity(d, set, p, &a->parts[p].popularity);
        }
        for (int p = 0; p < 3; p++) {
            uint64_t timed = 0;
            for (uint32_t b = 0; b < a->times.n; b++)
                timed += a->times.bins[p][b];
            assert_int_equal(timed, set->n_split[p]);
        }
        um_audit_free(a);
        um_scene_set_free(set);
        free_log(d);
    }
}

/* Spreads and times ------------------------------------------------------------------------------
 */

static void spreads(void **state)
{
    (void)state;
    int64_t hundred[100], one[1] = {7}, wide[3] = {3, 1234, 961};
    um_spread s;
    for (int i = 0; i < 100; i++)
        hundred[i] = 100 - i; /* 1..100 */
    um_spread_of(&s, hundred, 100);
    assert_close(s.mean, 50.5, 1e-12);
    const int64_t expected[7] = {1, 5, 25, 50, 75, 95, 100};
    const int64_t got[7] = {s.min, s.p05, s.p25, s.median, s.p75, s.p95, s.max};
    assert_memory_equal(got, expected, sizeof expected);
    assert_int_equal(s.width, 5); /* 51 bins of 2 are too many */
    assert_int_equal(s.first, 0);
    assert_int_equal(s.n_bins, 21);
    assert_int_equal(s.bins[0], 4);
    assert_int_equal(s.bins[1], 5);
    assert_int_equal(s.bins[20], 1);
    um_spread_of(&s, one, 1);
    assert_int_equal(s.median, 7);
    assert_int_equal(s.width, 1);
    assert_int_equal(s.first, 7);
    assert_int_equal(s.n_bins, 1);
    um_spread_of(&s, wide, 3);
    assert_int_equal(s.median, 961);
    assert_int_equal(s.p25, 3);
    assert_int_equal(s.width, 50);
    assert_int_equal(s.n_bins, 25);
    assert_int_equal(s.bins[19], 1);
    um_spread_of(&s, one, 0);
    assert_int_equal(s.n, 0);
    assert_int_equal(s.n_bins, 0);
}

static void check_times(int64_t first_s, int64_t last_s, const char *first, const char *last,
                        uint32_t n)
{
    um_dataset_builder *b = new_builder("t");
    uint32_t list[2] = {add_item(b, "x"), add_item(b, "y")};
    (void)add_user(b, "u");
    um_dataset *d = finish(b);
    uint8_t sources[2] = {255, 255};
    char text[] = "t", *actions[2] = {text, text}, label[32], nothing[] = "";
    um_scene scenes[3] = {{0}};
    const int64_t times[3] = {last_s, 0, first_s};
    for (int i = 0; i < 3; i++)
        scenes[i] = (um_scene){.id = (uint64_t)i,
                               .time_s = times[i],
                               .k = 2,
                               .items = list,
                               .sources = sources,
                               .profile = nothing,
                               .history_text = nothing,
                               .actions = actions};
    um_scene_set set = {.scenes = scenes, .n = 3, .n_split = {3, 0, 0}};
    um_audit *a = audit(d, &set);
    assert_int_equal(a->times.n, n);
    assert_int_equal(a->times.unknown, 1);
    um_audit_time_label(&a->times, 0, label);
    assert_string_equal(label, first);
    um_audit_time_label(&a->times, n - 1, label);
    assert_string_equal(label, last);
    assert_int_equal(a->times.bins[0][0] + (n > 1 ? a->times.bins[0][n - 1] : 0), 2);
    um_audit_free(a);
    um_dataset_free(d);
}

static void times(void **state)
{
    (void)state;
    const int64_t y2000 = 946684800, day = 86400;
    check_times(y2000, y2000 + 1, "2000-01-01", "2000-01-01", 1);
    check_times(y2000 - 1, y2000 + 59 * day, "1999-12-31", "2000-02-29", 61);
    check_times(y2000 - 1, y2000 + 366 * day, "1999-12", "2001-01", 14);
    check_times(-day, y2000 + 366 * day, "1969", "2001", 33);
    check_times(-62135596800, y2000, "1", "1901", 20); /* 2,000 years: by the hundred */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_what_a_recount_gives),
        cmocka_unit_test(spreads),
        cmocka_unit_test(times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
