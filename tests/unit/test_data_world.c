/* The synthetic world: deterministic, and as its stated probabilities say. */
#include <math.h>

#include "base/file.h"
#include "base/json.h"
#include "mirrorer/world.h"
#include "test_data_util.h"

#define NEW_S ((int64_t)(182.5 * 86400))

static um_error err;
static char dir[256];

static int set_up(void **state)
{
    (void)state;
    return make_dir(dir, sizeof dir) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    remove_dir(dir);
    return 0;
}

static const char *below(const char *name)
{
    static char path[2][600];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

/* A world written, read back and its truths parsed: probabilities[i * k + position]. */
typedef struct world {
    um_dataset *d;
    double *p;
    uint32_t k;
} world;

static world make_world(const um_world_options *options)
{
    world w = {.k = options->list_len};
    um_ingest_options strict = {.max_bad = 0};
    const char *path = below("w");
    assert_ok(um_world_write_canonical(options, path, NULL, &err), err);
    assert_ok(um_dataset_read(&w.d, NULL, path, &strict, NULL, &err), err);
    assert_string_equal(w.d->name, "world");
    const um_series *truth = um_dataset_series(w.d, "choice_probabilities");
    w.p = calloc(w.d->n_interactions * w.k, sizeof *w.p);
    assert_non_null(w.p);
    for (uint64_t i = 0; i < w.d->n_interactions; i++) {
        json_t *list = NULL;
        assert_ok(um_json_parse(&list, truth->texts[i], strlen(truth->texts[i]), "p", &err), err);
        assert_int_equal(json_array_size(list), w.k);
        for (uint32_t j = 0; j < w.k; j++)
            w.p[i * w.k + j] = json_number_value(json_array_get(list, j));
        json_decref(list);
    }
    return w;
}

static void drop_world(world *w)
{
    um_dataset_free(w->d);
    free(w->p);
}

static bool is_accident(const world *w, uint64_t i)
{
    return strcmp(um_dataset_series(w->d, "accident")->texts[i], "true") == 0;
}

static const uint32_t *shown(const world *w, uint64_t i)
{
    return w->d->impression_item + w->d->impression_start[i];
}

static void same_seed_same_bytes(void **state)
{
    (void)state;
    static const char *const files[] = {"world_user_feature.jsonl", "world_item_feature.jsonl",
                                        "world_interaction.jsonl"};
    um_world_options o;
    um_world_defaults(&o);
    o.users = 120;
    o.interactions = 2000;
    o.list_len = 26;
    o.taste_genre = 30; /* tiny probabilities, in exponent form */
    o.accident_share = 0;
    assert_ok(um_world_write_canonical(&o, below("a"), NULL, &err), err);
    assert_ok(um_world_write_canonical(&o, below("b"), NULL, &err), err);
    o.seed++;
    assert_ok(um_world_write_canonical(&o, below("c"), NULL, &err), err);
    um_dataset *d = NULL;
    assert_ok(um_dataset_read(&d, NULL, below("a"), NULL, NULL, &err), err);
    assert_ok(um_dataset_write_canonical(d, below("d"), &err), err);
    um_dataset_free(d);
    for (int f = 0; f < 3; f++) {
        size_t n_a = 0, n_c = 0;
        assert_same_file(below("a"), below("b"), files[f]);
        assert_same_file(below("a"), below("d"), files[f]); /* in the writer's own form */
        char *a = get_bytes(below("a"), files[f], &n_a), *c = get_bytes(below("c"), files[f], &n_c);
        assert_false(n_a == n_c && memcmp(a, c, n_a) == 0);
        free(a);
        free(c);
    }
}

/* Largest |z| over ten bins of stated probability, and |z| of the log likelihood. */
static double misfit(const world *w, double power)
{
    double observed[10] = {0}, expected[10] = {0}, variance[10] = {0};
    double score = 0, score_mean = 0, score_variance = 0;
    for (uint64_t i = 0; i < w->d->n_interactions; i++) {
        double p[26], total = 0, mean = 0, square = 0;
        for (uint32_t j = 0; j < w->k; j++)
            total += p[j] = pow(w->p[i * w->k + j], power);
        for (uint32_t j = 0; j < w->k; j++) {
            p[j] /= total;
            int bin = p[j] >= 1 ? 9 : (int)(p[j] * 10);
            bool chosen = w->d->impression_position[i] == (int32_t)j;
            observed[bin] += chosen;
            expected[bin] += p[j];
            variance[bin] += p[j] * (1 - p[j]);
            mean += p[j] * log(p[j]);
            square += p[j] * log(p[j]) * log(p[j]);
            if (chosen)
                score += log(p[j]);
        }
        score_mean += mean;
        score_variance += square - mean * mean;
    }
    double largest = fabs(score - score_mean) / sqrt(score_variance);
    for (int b = 0; b < 10; b++) {
        if (expected[b] > 10)
            largest = fmax(largest, fabs(observed[b] - expected[b]) / sqrt(variance[b]));
    }
    return largest;
}

static void choices_follow_the_truth(void **state)
{
    (void)state;
    um_world_options o;
    um_world_defaults(&o);
    o.interactions = 28000;
    world w = make_world(&o);
    double accidents = 0, places[5] = {0}, own_p = 0;
    assert_int_equal(w.d->n_interactions, o.interactions);
    for (uint64_t i = 0; i < w.d->n_interactions; i++) {
        double sum = 0;
        for (uint32_t j = 0; j < w.k; j++) {
            sum += w.p[i * w.k + j];
            assert_true(w.p[i * w.k + j] >= o.accident_share / w.k - 1e-9);
        }
        assert_close(sum, 1, 1e-8);
        int32_t place = w.d->impression_position[i];
        places[place]++;
        accidents += is_accident(&w, i);
        if (is_accident(&w, i))
            own_p += w.p[i * w.k + (uint32_t)place];
    }
    double n = (double)w.d->n_interactions;
    /* Four standard deviations; an accident falls on each item alike. */
    assert_close(accidents / n, o.accident_share, 4 * sqrt(0.1 * 0.9 / n));
    assert_close(own_p / accidents, 1.0 / w.k, 4 * 0.3 / sqrt(accidents));
    double chi_square = 0;
    for (int j = 0; j < 5; j++)
        chi_square += (places[j] - n / 5) * (places[j] - n / 5) / (n / 5);
    assert_true(chi_square < 20); /* 4 degrees of freedom: p = 0.0005 */
    assert_true(misfit(&w, 1) < 4);
    /* Truths a little too sharp or too flat would have been noticed. */
    assert_true(misfit(&w, 1.15) > 6);
    assert_true(misfit(&w, 0.85) > 6);
    drop_world(&w);
}

static void lists_hold_only_what_can_be_shown(void **state)
{
    (void)state;
    um_world_options o;
    um_world_defaults(&o);
    o.users = 200;
    o.interactions = 6000;
    o.list_len = 12;
    world w = make_world(&o);
    uint64_t late = 0;
    const um_dataset *d = w.d;
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        assert_true(d->user_start[u + 1] > d->user_start[u]);
        for (uint64_t i = d->user_start[u]; i < d->user_start[u + 1]; i++) {
            assert_true(d->time_s[i] >= 1514764800 && d->time_s[i] <= 1577836800 + 86400);
            if (i > d->user_start[u])
                assert_true(d->time_s[i] >= d->time_s[i - 1] + 60);
            assert_int_equal(shown(&w, i)[d->impression_position[i]], d->item[i]);
            for (uint32_t j = 0; j < w.k; j++) {
                uint32_t item = shown(&w, i)[j];
                assert_true(d->item_has_release[item]);
                assert_true(d->item_available_s[item] <= d->time_s[i]);
                late += d->item_available_s[item] > 1514764800;
                for (uint32_t other = 0; other < j; other++)
                    assert_int_not_equal(shown(&w, i)[other], item);
                for (uint64_t before = d->user_start[u]; before < i; before++)
                    assert_int_not_equal(d->item[before], item);
            }
        }
    }
    assert_true(late > 0); /* some were released while the log ran, and shown after */
    drop_world(&w);
}

/* With one taste left the truth can be computed from what the files say. */
static void truths_by_hand(void **state)
{
    (void)state;
    um_world_options o;
    um_world_defaults(&o);
    o.users = 100;
    o.interactions = 3000;
    o.taste_genre = o.taste_era = o.taste_mood = o.taste_quality = 0;
    o.taste_new = log(3);
    o.accident_share = 0.25;
    world w = make_world(&o);
    uint64_t mixed = 0;
    for (uint64_t i = 0; i < w.d->n_interactions; i++) {
        double weight[26], total = 0;
        for (uint32_t j = 0; j < w.k; j++) {
            int64_t age = w.d->time_s[i] - w.d->item_available_s[shown(&w, i)[j]];
            total += weight[j] = age < NEW_S ? 3 : 1;
        }
        mixed += total > w.k;
        for (uint32_t j = 0; j < w.k; j++)
            assert_close(w.p[i * w.k + j], 0.75 * weight[j] / total + 0.25 / w.k, 1e-9);
    }
    assert_true(mixed > 50);
    drop_world(&w);
    /* Genre alone: a user's utility is a function of the genre, and differs between genres. */
    o.taste_genre = 4;
    o.taste_new = 0;
    o.accident_share = 0;
    w = make_world(&o);
    int genre = um_table_column(&w.d->items, "genre");
    for (uint32_t u = 0; u < w.d->users.n_rows; u++) {
        const char *name[10] = {0};
        double utility[10] = {0};
        size_t known = 0;
        for (uint64_t i = w.d->user_start[u]; i < w.d->user_start[u + 1]; i++) {
            const char *first = um_table_cell(&w.d->items, shown(&w, i)[0], genre);
            size_t base = 0;
            while (base < known && strcmp(name[base], first) != 0)
                base++;
            if (base == known && known > 0)
                continue;
            if (known == 0)
                name[known++] = first;
            for (uint32_t j = 1; j < w.k; j++) {
                const char *other = um_table_cell(&w.d->items, shown(&w, i)[j], genre);
                double value = utility[base] + log(w.p[i * w.k + j] / w.p[i * w.k]);
                size_t g = 0;
                while (g < known && strcmp(name[g], other) != 0)
                    g++;
                if (g == known) {
                    name[known++] = other;
                    utility[g] = value;
                }
                assert_close(value, utility[g], 1e-4);
            }
        }
    }
    drop_world(&w);
}

static double mean_rating(const world *w, bool accident)
{
    const um_series *rating = um_dataset_series(w->d, "rating");
    double sum = 0, n = 0;
    for (uint64_t i = 0; i < w->d->n_interactions; i++) {
        if (is_accident(w, i) != accident)
            continue;
        sum += rating->numbers[i];
        n++;
    }
    return sum / n;
}

static void people_and_ratings(void **state)
{
    (void)state;
    um_world_options o;
    um_world_defaults(&o);
    o.taste_era = 2; /* enough for the ages to differ visibly */
    world w = make_world(&o);
    const um_series *rating = um_dataset_series(w.d, "rating");
    double counts[6] = {0}, years[2] = {0}, n[2] = {0};
    int age = um_table_column(&w.d->users, "age"), year = um_table_column(&w.d->items, "year");
    assert_string_equal(w.d->users.columns[1], "region");
    for (uint32_t u = 0; u < w.d->users.n_rows; u++) {
        const char *group = um_table_cell(&w.d->users, u, age);
        bool old = strcmp(group, "55+") == 0;
        for (uint64_t i = w.d->user_start[u]; i < w.d->user_start[u + 1]; i++) {
            counts[(int)rating->numbers[i]]++;
            if (!old && strcmp(group, "18-24") != 0)
                continue;
            years[old] += atoi(um_table_cell(&w.d->items, w.d->item[i], year));
            n[old]++;
        }
    }
    for (int r = 1; r <= 5; r++)
        assert_true(counts[r] > 0.01 * (double)w.d->n_interactions);
    /* Accidents are liked less; the young choose later years. */
    assert_true(mean_rating(&w, false) > mean_rating(&w, true) + 0.3);
    assert_true(years[0] / n[0] > years[1] / n[1] + 2);
    drop_world(&w);
}

static void movielens_form(void **state)
{
    (void)state;
    um_world_options o;
    um_world_defaults(&o);
    o.users = 150;
    o.items = 5000; /* titles of three words among them */
    o.interactions = 9000;
    world w = make_world(&o);
    um_dataset *m = NULL;
    um_ingest_report report;
    um_ingest_options strict = {.max_bad = 0};
    assert_ok(um_world_write_movielens(&o, below("m"), NULL, &err), err);
    assert_ok(um_dataset_read(&m, &report, below("m"), &strict, NULL, &err), err);
    assert_string_equal(report.adapter, "ml-1m");
    assert_int_equal(report.rows_read, 150 + 5000 + 9000);
    assert_int_equal(m->n_interactions, w.d->n_interactions);
    for (uint64_t i = 0; i < m->n_interactions; i++) {
        assert_int_equal(m->item[i], w.d->item[i]);
        assert_int_equal(m->time_s[i], w.d->time_s[i]);
        assert_true(um_dataset_series(m, "rating")->numbers[i] ==
                    um_dataset_series(w.d, "rating")->numbers[i]);
    }
    int title = um_table_column(&m->items, "title"), year = um_table_column(&m->items, "year");
    uint32_t three = 0;
    for (uint32_t i = 0; i < m->items.n_rows; i++) {
        const char *text = um_table_cell(&m->items, i, title);
        assert_string_equal(text, item_text(w.d, w.d->items.ids[i], "title"));
        assert_string_equal(um_table_cell(&m->items, i, year),
                            item_text(w.d, w.d->items.ids[i], "year"));
        three += strchr(strchr(text, ' ') + 1, ' ') != NULL;
    }
    assert_true(three > 0);
    for (int c = 0; c < 4; c++) {
        static const char *const columns[] = {"gender", "age", "occupation", "region"};
        assert_int_not_equal(um_table_column(&m->users, columns[c]), -1);
    }
    um_dataset_free(m);
    drop_world(&w);
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void titles_are_distinct(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {480, 676, 677, 4096, 4097, 20000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        um_world_options o;
        um_dataset *d = NULL;
        um_world_defaults(&o);
        o.users = 2;
        o.interactions = 4;
        o.items = sizes[s];
        assert_ok(um_world_write_movielens(&o, below("t"), NULL, &err), err);
        assert_ok(um_dataset_read(&d, NULL, below("t"), NULL, NULL, &err), err);
        int title = um_table_column(&d->items, "title");
        const char **all = calloc(d->items.n_rows, sizeof *all);
        assert_non_null(all);
        for (uint32_t i = 0; i < d->items.n_rows; i++)
            all[i] = um_table_cell(&d->items, i, title);
        qsort(all, d->items.n_rows, sizeof *all, compare_texts);
        for (uint32_t i = 1; i < d->items.n_rows; i++)
            assert_int_not_equal(strcmp(all[i - 1], all[i]), 0);
        free(all);
        um_dataset_free(d);
    }
}

static void options_out_of_range(void **state)
{
    (void)state;
    um_world_options good, o;
    um_world_defaults(&good);
    const struct {
        void *field;
        size_t size;
        double real;
        uint32_t whole;
        const char *part;
    } cases[] = {
        {&o.users, 4, 0, 0, "users is 0"},
        {&o.list_len, 4, 0, 1, "list length is 1, need 2 .. 26"},
        {&o.list_len, 4, 0, 27, "list length is 27"},
        {&o.items, 4, 0, 9, "items is 9, need 10"},
        {&o.items, 4, 0, 20, "need more than 20 items"},
        {&o.accident_share, 8, 1.5, 0, "accident share is 1.5"},
        {&o.accident_share, 8, NAN, 0, "accident share is nan"},
        {&o.taste_genre, 8, -1, 0, "taste for genre is -1"},
        {&o.popular_share, 8, 0.9, 0, "together is 1.1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        o = good;
        if (cases[i].size == 4)
            memcpy(cases[i].field, &cases[i].whole, 4);
        else
            memcpy(cases[i].field, &cases[i].real, 8);
        assert_int_equal(um_world_write_canonical(&o, below("bad"), NULL, &err), UM_ERR_INPUT);
        assert_has(err.text, cases[i].part);
        assert_false(um_path_exists(below("bad")));
    }
}

static void stopping_leaves_no_half_file(void **state)
{
    (void)state;
    volatile sig_atomic_t stop = 1;
    um_monitor monitor = {.stop = &stop};
    um_world_options o;
    um_world_defaults(&o);
    assert_int_equal(um_world_write_canonical(&o, below("s"), &monitor, &err), UM_ERR_INTERRUPTED);
    char **names = NULL;
    size_t n = 0;
    assert_ok(um_path_list(&names, &n, below("s"), &err), err);
    assert_int_equal(n, 2); /* users and items are whole, the log is not there */
    for (size_t i = 0; i < n; i++) {
        assert_null(strstr(names[i], "interaction"));
        free(names[i]);
    }
    free(names);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(same_seed_same_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(choices_follow_the_truth, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lists_hold_only_what_can_be_shown, set_up, tear_down),
        cmocka_unit_test_setup_teardown(truths_by_hand, set_up, tear_down),
        cmocka_unit_test_setup_teardown(people_and_ratings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(movielens_form, set_up, tear_down),
        cmocka_unit_test_setup_teardown(titles_are_distinct, set_up, tear_down),
        cmocka_unit_test_setup_teardown(options_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stopping_leaves_no_half_file, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
