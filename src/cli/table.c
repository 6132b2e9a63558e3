/* table.c - the result table as a person reads it. */
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"

static double figure(const json_t *root, const char *metric, const char *row, const char *part)
{
    return json_number_value(
        json_object_get(json_object_get(json_object_get(root, metric), row), part));
}

static void print_count(const json_t *root, const char *section, const char *key, const char *label)
{
    printf(" %lld %s",
           (long long)json_integer_value(json_object_get(json_object_get(root, section), key)),
           label);
}

void cli_print_table(const char *summary_json)
{
    json_t *root = NULL, *value;
    const char *row;
    um_error err;
    size_t i;

    if (um_json_parse(&root, summary_json, strlen(summary_json), "summary", &err) != UM_OK)
        return;
    printf("\nHow well each row predicts the choices of held-out scenes\n");
    printf("(%s:", json_string_value(json_object_get(json_object_get(root, "dataset"), "name")));
    print_count(root, "dataset", "users", "users,");
    print_count(root, "dataset", "items", "items,");
    print_count(root, "dataset", "interactions", "interactions;");
    print_count(root, "scenes", "eval", "scenes; [95 % interval, bootstrap by user])\n");
    printf("split: %s\n\n",
           json_string_value(json_object_get(json_object_get(root, "split"), "text")));
    printf("%-13s %-22s %-22s %-20s\n", "row", "accuracy %", "expected accuracy %",
           "log loss, bits");
    json_object_foreach(json_object_get(root, "accuracy"), row, value)
    {
        printf("%-13s", row);
        static const char *const metrics[] = {"accuracy", "expected_accuracy"};
        for (int m = 0; m < 2; m++)
            printf(" %5.1f [%5.1f, %5.1f]   ", 100 * figure(root, metrics[m], row, "mean"),
                   100 * figure(root, metrics[m], row, "lo"),
                   100 * figure(root, metrics[m], row, "hi"));
        printf(" %5.2f [%5.2f, %5.2f]  %s\n", figure(root, "log_loss", row, "mean"),
               figure(root, "log_loss", row, "lo"), figure(root, "log_loss", row, "hi"),
               json_string_value(json_object_get(json_object_get(root, "about"), row)));
    }
    printf("\n");
    json_array_foreach(json_object_get(root, "accuracy_difference"), i, value)
    {
        double lo = json_number_value(json_object_get(value, "lo"));
        double hi = json_number_value(json_object_get(value, "hi"));
        printf("%-8s over %-11s %+5.1f points [%+5.1f, %+5.1f]%s\n",
               json_string_value(json_object_get(value, "row")),
               json_string_value(json_object_get(value, "than")),
               100 * json_number_value(json_object_get(value, "mean")), 100 * lo, 100 * hi,
               lo > 0   ? "  better"
               : hi < 0 ? "  worse"
                        : "  not told apart");
    }
    printf(
        "\n%lld pairs from %lld candidate scenes; ",
        (long long)json_integer_value(json_object_get(root, "pairs")),
        (long long)json_integer_value(json_object_get(json_object_get(root, "scenes"), "train")));
    cli_print_seconds(stdout, json_number_value(json_object_get(root, "seconds")));
    printf(" of work, %.0f MB at most\n", json_number_value(json_object_get(root, "peak_rss_mb")));
    json_decref(root);
}
