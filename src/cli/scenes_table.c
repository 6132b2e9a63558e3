/* scenes_table.c - a scene and an audit as a person reads them. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/scenes.h"

#define MAX_TIME_LINES 72
#define BEFORE_LOG     "1970-01-01 00:00:00" /* time 0 */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static long long count_of(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* One scene ----------------------------------------------------------------------------------- */

static void print_truth(const json_t *scene)
{
    const json_t *items = json_object_get(scene, "impression_list");
    const json_t *truth = json_object_get(scene, "truth");
    const json_t *sources = json_object_get(scene, "sources");
    long long target = count_of(scene, "item_pos");

    printf("True action: [%c]%s\n", (char)('A' + target),
           json_is_true(json_object_get(scene, "accident")) ? ", an accidental click" : "");
    for (size_t i = 0; i < json_array_size(items); i++) {
        const char *id = json_string_value(json_array_get(items, i));
        printf("  %c [%c] %-20s %s", (long long)i == target ? '>' : ' ', (char)('A' + i),
               id != NULL ? id : "(none of these)", json_string_value(json_array_get(sources, i)));
        if (json_is_array(truth))
            printf(", p = %.4f", json_number_value(json_array_get(truth, i)));
        printf("\n");
    }
}

void cli_print_scene(const char *json, bool chat)
{
    json_t *scene = NULL, *row;
    um_error err;
    size_t i;

    if (um_json_parse(&scene, json, strlen(json), "scene", &err) != UM_OK) {
        cli_fail(&err);
        return;
    }
    const json_t *prompt = json_object_get(scene, "prompt"), *tokens;
    printf("Scene %lld of %lld, split %s, data set %s\n", count_of(scene, "scene"),
           count_of(scene, "scenes"), text_of(scene, "split"), text_of(scene, "dataset"));
    printf("User %s at %s UTC, ", text_of(scene, "user_id"), text_of(scene, "timestamp"));
    if (json_is_array(json_object_get(scene, "history")))
        printf("interaction %lld; %zu of the earlier ones are shown:\n",
               count_of(scene, "order_id"), json_array_size(json_object_get(scene, "history")));
    else
        printf("imported: its history is known as text only\n");
    json_array_foreach(json_object_get(scene, "history"), i, row)
        printf("    %-19s  %s\n",
               strcmp(text_of(row, "timestamp"), BEFORE_LOG) != 0 ? text_of(row, "timestamp")
                                                                  : "before the log",
               text_of(row, "item_id"));
    print_truth(scene);
    tokens = json_object_get(scene, "chat");
    if (chat && json_is_object(tokens)) {
        printf("\n---- prompt, %lld tokens\n%s\n", count_of(tokens, "tokens"),
               text_of(tokens, "text"));
    } else {
        if (chat)
            printf("\n---- system\n%s\n", text_of(prompt, "system"));
        printf("\n---- user\n%s\n", text_of(prompt, "user"));
        if (chat)
            printf(
                "\n(no student yet, so no tokenizer: its chat format and tokens are not known)\n");
    }
    json_decref(scene);
}

/* Audit --------------------------------------------------------------------------------------- */

static void print_checks(const json_t *root, bool leaks)
{
    json_t *check, *offender;
    size_t i, j;

    json_array_foreach(json_object_get(root, "checks"), i, check)
    {
        long long scenes = count_of(check, "scenes");
        const json_t *first = json_object_get(check, "first");
        if (json_is_true(json_object_get(check, "leak")) != leaks)
            continue;
        printf("  %-18s", text_of(check, "check"));
        if (json_is_true(json_object_get(check, "checked")))
            printf("%9lld", scenes);
        else
            printf("%9s", "-");
        printf("  %s\n", text_of(check, "about"));
        json_array_foreach(first, j, offender) printf(
            "      scene %lld: %s\n", count_of(offender, "scene"), text_of(offender, "what"));
        if (scenes > (long long)json_array_size(first))
            printf("      and %lld more\n", scenes - (long long)json_array_size(first));
    }
}

static void print_counts(const json_t *list, const char *format_as)
{
    size_t i;
    json_t *value;
    json_array_foreach(list, i, value)
    {
        if (strcmp(format_as, "count") == 0)
            printf(" %5lld", (long long)json_integer_value(value));
        else
            printf(" %5.0f", json_number_value(value));
    }
}

static void print_test(const json_t *table)
{
    printf("   chi-square %.2f at %lld, p %.3g\n", number_of(table, "chi_square"),
           count_of(table, "degrees"), number_of(table, "p_value"));
}

static void print_positions(const char *name, const json_t *part)
{
    const json_t *positions = json_object_get(part, "positions");
    const json_t *tables = json_object_get(positions, "by_items");
    json_t *table;
    size_t i;

    printf("\nWhere the true item stood, %s scenes (positions A, B, ...; by number of items)\n",
           name);
    json_array_foreach(tables, i, table)
    {
        printf("  %5lld", count_of(table, "items"));
        print_counts(json_object_get(table, "counts"), "count");
        print_test(table);
    }
    if (json_array_size(tables) > 1) {
        printf("    all");
        print_counts(json_object_get(positions, "counts"), "count");
        print_test(positions);
        printf("   even");
        print_counts(json_object_get(positions, "expected"), "real");
        printf("\n");
    }
    printf("  A blind guess is right in %.1f %% of scenes.", 100 * number_of(part, "chance"));
    if (count_of(part, "with_none") > 0)
        printf(" The true action is \"none\" in %lld of %lld (%.1f %%).", count_of(part, "none"),
               count_of(part, "scenes"), 100 * number_of(part, "none_share"));
    printf("\n");
}

static void print_sources(const json_t *parts)
{
    json_t *part, *one;
    const char *name, *source;

    printf("\nWhere the other items came from\n  %-8s", "");
    json_object_foreach(
        json_object_get(json_object_iter_value(json_object_iter((json_t *)parts)), "sources"),
        source, one) printf("%15s", source);
    printf("\n");
    json_object_foreach((json_t *)parts, name, part)
    {
        printf("  %-8s", name);
        json_object_foreach(json_object_get(part, "sources"), source, one)
            printf("%8lld (%3.0f%%)", count_of(one, "items"), 100 * number_of(one, "share"));
        printf("\n");
    }
}

static void print_lengths(const json_t *parts)
{
    static const char *const keys[][2] = {{"choices", "choices"},
                                          {"history", "history shown"},
                                          {"scenes_a_user", "scenes a user"},
                                          {"prompt_words", "prompt, words"},
                                          {"prompt_tokens", "prompt, tokens"}};
    const char *name;
    json_t *part;

    printf("\n%-26s %8s %8s %6s %6s %6s %6s %6s %6s %6s\n", "Lengths", "n", "mean", "least", "5 %",
           "25 %", "half", "75 %", "95 %", "most");
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        json_object_foreach((json_t *)parts, name, part)
        {
            const json_t *s = json_object_get(part, keys[k][0]);
            if (!json_is_object(s))
                continue;
            printf("  %-16s %-7s %8lld %8.1f %6lld %6lld %6lld %6lld %6lld %6lld %6lld\n",
                   keys[k][1], name, count_of(s, "n"), number_of(s, "mean"), count_of(s, "min"),
                   count_of(s, "p05"), count_of(s, "p25"), count_of(s, "median"),
                   count_of(s, "p75"), count_of(s, "p95"), count_of(s, "max"));
        }
    }
}

static void print_times(const json_t *root)
{
    static const char *const splits[] = {"base", "train", "eval"};
    const json_t *times = json_object_get(root, "times");
    const json_t *labels = json_object_get(times, "labels");

    printf("\nScenes by %s%14s%10s%10s\n", text_of(times, "unit"), splits[0], splits[1], splits[2]);
    for (size_t i = 0; i < json_array_size(labels) && i < MAX_TIME_LINES; i++) {
        long long n[3], all = 0;
        for (int p = 0; p < 3; p++) {
            n[p] =
                (long long)json_integer_value(json_array_get(json_object_get(times, splits[p]), i));
            all += n[p];
        }
        if (all > 0)
            printf("  %-12s %10lld%10lld%10lld\n", json_string_value(json_array_get(labels, i)),
                   n[0], n[1], n[2]);
    }
    if (count_of(times, "unknown") > 0)
        printf("  unknown time: %lld\n", count_of(times, "unknown"));
}

static void print_popularity(const json_t *parts)
{
    const char *name;
    json_t *part;

    printf("\nGuessing by popularity (clicks before the scene); in brackets: standard deviations "
           "from a blind guess\n  %-6s %8s %13s %15s %15s %15s %9s\n",
           "", "scenes", "blind guess", "most popular", "least popular", "pairs won", "p");
    json_object_foreach((json_t *)parts, name, part)
    {
        const json_t *p = json_object_get(part, "popularity");
        if (count_of(p, "scenes") == 0)
            continue;
        printf("  %-6s %8lld %12.1f%% %6.1f%% (%+5.1f) %6.1f%% (%+5.1f) %6.1f%% (%+5.1f) %9.3g\n",
               name, count_of(p, "scenes"), 100 * number_of(p, "chance"),
               100 * number_of(p, "most_popular"), number_of(p, "most_z"),
               100 * number_of(p, "least_popular"), number_of(p, "least_z"),
               100 * number_of(p, "concordance"), number_of(p, "z"), number_of(p, "p_value"));
    }
    printf("  (pairs won: of the true item and another one, how often the true one is the more "
           "popular)\n");
}

void cli_print_audit(const char *json)
{
    json_t *root = NULL, *part, *value;
    um_error err;
    const char *name;

    if (um_json_parse(&root, json, strlen(json), "audit", &err) != UM_OK) {
        cli_fail(&err);
        return;
    }
    json_t *parts = json_object_get(root, "parts");
    printf("Audit of");
    json_object_foreach(parts, name, part)
        printf("%s %s %lld", part == json_object_iter_value(json_object_iter(parts)) ? "" : ",",
               name, count_of(part, "scenes"));
    printf(" scenes; split by %s", text_of(root, "split_by"));
    if (json_is_string(json_object_get(root, "time_cut")))
        printf(", cut at %s UTC", text_of(root, "time_cut"));
    printf("\n\n%lld scenes leak%s\n", count_of(root, "leaking_scenes"),
           json_is_true(json_object_get(root, "log"))
               ? ""
               : " (scenes without a log: what needs one is not checked)");
    print_checks(root, true);
    printf("Worth knowing\n");
    print_checks(root, false);
    json_object_foreach(parts, name, part) print_positions(name, part);
    bool has_log = json_is_true(json_object_get(root, "log"));
    if (has_log)
        print_sources(parts);
    print_lengths(parts);
    print_times(root);
    if (has_log)
        print_popularity(parts);
    if (json_object_get(root, "dropped") != NULL) {
        printf("\nPossible targets that gave no scene:");
        json_object_foreach(json_object_get(root, "dropped"), name, value)
            printf(" %s %lld", name, (long long)json_integer_value(value));
        printf("\n");
    }
    json_decref(root);
}
