/* show_decisions.c - one scene for people: its decision processes side by side, and why it was
 * kept. */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/common.h"

#define MIN_COLUMN 38
#define GAP        2
#define BAR_CELLS  12

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static int terminal_width(void)
{
    struct winsize size;
    int64_t columns;
    const char *given = getenv("COLUMNS");
    if (given != NULL && um_parse_i64(given, &columns) && columns > 0 && columns < 10000)
        return (int)columns;
    if (isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 80;
}

/* A block of lines, each cut from text at `width` characters. */
typedef struct block {
    UM_VEC(char *) lines;
    int width;
} block;

static size_t characters(const char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

/* Texts of logs and models reach the terminal as one line without control characters. */
static void make_plain(char *text)
{
    for (char *p = text; p != NULL && *p != '\0'; p++)
        *p = (unsigned char)*p < 0x20 || *p == 0x7f ? ' ' : *p;
}

static bool add_line(block *b, const char *text, size_t bytes)
{
    while (bytes > 0 && text[bytes - 1] == ' ')
        bytes--;
    char *copy = um_strndup(text, bytes);
    make_plain(copy);
    if (copy != NULL && um_vec_push(&b->lines, copy))
        return true;
    free(copy);
    return false;
}

/* The longest part of a line that fits, cut after a space where there is one. */
static size_t fitting(const char *line, size_t len, int width)
{
    size_t n = 0, at = 0, space = 0;
    while (at < len) {
        size_t next = at + 1;
        while (next < len && ((unsigned char)line[next] & 0xc0) == 0x80)
            next++;
        if (++n > (size_t)width)
            return space > 0 ? space : at;
        if (line[at] == ' ')
            space = next;
        at = next;
    }
    return len;
}

static bool add_text(block *b, const char *text)
{
    bool ok = true;
    while (ok) {
        size_t len = strcspn(text, "\n");
        const char *line = text;
        for (size_t left = len; ok && (left > 0 || line == text);) {
            size_t n = fitting(line, left, b->width);
            ok = add_line(b, line, n);
            line += n;
            left -= n;
            if (left == 0)
                break;
        }
        if (text[len] == '\0')
            break;
        text += len + 1;
    }
    return ok;
}

static bool add_format(block *b, const char *format, ...) UM_PRINTF(2, 3);
static bool add_format(block *b, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return add_text(b, text);
}

/* "  A 0.712 ########     *": the star is the true action. */
static bool add_distribution(block *b, const json_t *process, const char *truth)
{
    const json_t *list = json_object_get(process, "p");
    const char *drawn = text_of(process, "behavior");
    bool ok = true;
    for (size_t i = 0; i < json_array_size(list) && ok; i++) {
        char bar[BAR_CELLS + 1], name = (char)('A' + (int)i);
        double p = json_number_value(json_array_get(list, i));
        int filled = (int)(p * BAR_CELLS + 0.5);
        for (int j = 0; j < BAR_CELLS; j++)
            bar[j] = j < filled ? '#' : '.';
        bar[BAR_CELLS] = '\0';
        ok = add_format(b, "%c %.3f %s%s%s", name, p, bar, name == truth[0] ? " true" : "",
                        name == drawn[0] ? " drawn" : "");
    }
    return ok;
}

static bool fill_block(block *b, const json_t *process, const char *truth)
{
    const char *place = text_of(process, "place"), *fault = text_of(process, "fault");
    const char *detail = text_of(process, "fault_detail"), *said = text_of(process, "said");
    bool ok = add_format(b, "%s %lld (%s)%s%s", text_of(process, "role"),
                         (long long)number_of(process, "sample"), text_of(process, "model"),
                         place[0] != '\0' ? ": " : "", place);
    if (json_object_get(process, "entropy") != NULL)
        ok = ok && add_format(b, "entropy %.3f bits, log loss %.3f", number_of(process, "entropy"),
                              number_of(process, "log_loss"));
    if (fault[0] != '\0')
        ok = ok && add_format(b, "! %s%s%s", fault, detail[0] != '\0' ? ": " : "", detail);
    if (said[0] != '\0')
        ok = ok && add_format(b, "it names [%s] itself", said);
    ok = ok && add_distribution(b, process, truth);
    return ok && add_line(b, "", 0) && add_text(b, text_of(process, "text"));
}

static void print_row(const block *blocks, size_t n)
{
    size_t height = 0;
    for (size_t i = 0; i < n; i++)
        height = blocks[i].lines.len > height ? blocks[i].lines.len : height;
    for (size_t line = 0; line < height; line++) {
        int owed = 0; /* spaces before the next text: none are left at the end of a line */
        for (size_t i = 0; i < n; i++) {
            const char *text = line < blocks[i].lines.len ? blocks[i].lines.data[line] : "";
            int used = (int)characters(text, strlen(text));
            if (used > 0)
                printf("%*s%s", owed, "", text);
            owed = (used > 0 ? 0 : owed) + blocks[i].width + GAP - used;
        }
        putchar('\n');
    }
    putchar('\n');
}

static void print_processes(const json_t *root)
{
    const json_t *list = json_object_get(root, "processes");
    const char *truth = text_of(root, "truth");
    size_t n = json_array_size(list);
    int width = terminal_width(), columns = (width + GAP) / (MIN_COLUMN + GAP);
    if (columns < 1)
        columns = 1;
    if ((size_t)columns > n && n > 0)
        columns = (int)n;
    for (size_t first = 0; first < n; first += (size_t)columns) {
        size_t row = n - first < (size_t)columns ? n - first : (size_t)columns;
        block *blocks = um_calloc(row, sizeof *blocks);
        bool ok = blocks != NULL;
        for (size_t i = 0; i < row && ok; i++) {
            blocks[i].width = (width + GAP) / columns - GAP;
            ok = fill_block(&blocks[i], json_array_get(list, first + i), truth);
        }
        if (ok)
            print_row(blocks, row);
        for (size_t i = 0; i < row && blocks != NULL; i++) {
            for (size_t j = 0; j < blocks[i].lines.len; j++)
                free(blocks[i].lines.data[j]);
            um_vec_dispose(&blocks[i].lines);
        }
        free(blocks);
    }
}

static void print_measures(const json_t *root)
{
    static const char *const sides[] = {"teacher", "student"};
    for (int i = 0; i < 2; i++) {
        const json_t *m = json_object_get(root, sides[i]);
        if (json_is_number(json_object_get(m, "model")))
            printf("%s: uncertainty total %.3f = model %.3f + data %.3f bits, log loss %.3f, hit "
                   "rate %.2f\n",
                   sides[i], number_of(m, "total"), number_of(m, "model"), number_of(m, "data"),
                   number_of(m, "log_loss"), number_of(m, "hit_rate"));
    }
}

static void print_plain(const char *text)
{
    char *copy = um_strdup(text);
    make_plain(copy);
    fputs(copy != NULL ? copy : "", stdout);
    free(copy);
}

static void print_heading(const json_t *root)
{
    const json_t *actions = json_object_get(root, "actions");
    const char *truth = text_of(root, "truth");
    printf("Scene %lld (%s, %s): user ", (long long)number_of(root, "scene"),
           text_of(root, "dataset"), text_of(root, "split"));
    print_plain(text_of(root, "user_id"));
    printf(" chose [%s] on %s\n", truth, text_of(root, "timestamp"));
    for (size_t i = 0; i < json_array_size(actions); i++) {
        const char *action = json_string_value(json_array_get(actions, i));
        printf("  [%c] ", 'A' + (int)i);
        print_plain(action != NULL ? action : "");
        putchar('\n');
    }
}

int cli_parse_scene(const cli_args *args, const char *text, uint64_t *scene)
{
    int64_t value;
    if (!um_parse_i64(text, &value) || value < 0)
        return cli_usage_error(args->command, "found '%s'; need the number of a scene", text);
    *scene = (uint64_t)value;
    return -1;
}

static int finish(const cli_args *args, um_status status, char *json, const um_error *err,
                  void (*print)(const json_t *root))
{
    json_t *root = NULL;
    um_error ignored;
    if (status != UM_OK)
        return cli_fail(err);
    if (args->json)
        printf("%s\n", json);
    else if (um_json_parse(&root, json, strlen(json), "scene", &ignored) == UM_OK)
        print(root);
    json_decref(root);
    free(json);
    return EXIT_OK;
}

static void print_scene(const json_t *root)
{
    print_heading(root);
    print_measures(root);
    if (json_object_get(root, "reason") != NULL)
        printf("%s%s\n", json_is_true(json_object_get(root, "kept")) ? "" : "not kept: ",
               text_of(root, "reason"));
    putchar('\n');
    if (json_array_size(json_object_get(root, "processes")) == 0)
        printf("No decision processes%s.\n", strcmp(text_of(root, "split"), "train") == 0
                                                 ? " yet; run `mirrorer decide`"
                                                 : ": only training scenes get them");
    print_processes(root);
}

int cli_show_decisions(cli_args *args, uint64_t scene, const char *role)
{
    um_session *session = NULL;
    um_error err;
    char *json = NULL;
    um_status status = um_session_open(&session, args->workspace, false, true, &args->config,
                                       cli_monitor(args), &err);
    if (status == UM_OK)
        status = um_session_show_decisions(session, scene, role, &json, &err);
    um_session_close(session);
    return finish(args, status, json, &err, print_scene);
}

/* The stratum's share and where in it the scene stands. */
static void print_place(const json_t *root)
{
    const json_t *s = json_object_get(root, "stratum");
    if (!json_is_number(json_object_get(s, "rank")))
        return;
    printf("score %.6f (%s)\n", number_of(root, "score"), text_of(root, "strategy"));
    printf("stratum (%s, lists of %lld): %lld of %lld candidates are kept (of all, %lld of %lld; "
           "%lld asked for)\n",
           text_of(s, "dataset"), (long long)number_of(s, "choice_cnt"),
           (long long)number_of(s, "quota"), (long long)number_of(s, "candidates"),
           (long long)number_of(root, "kept_of_all"),
           (long long)number_of(root, "candidates_of_all"), (long long)number_of(root, "asked"));
    printf("rank in the stratum: %lld; ", (long long)number_of(s, "rank"));
    if (json_is_number(json_object_get(s, "last_kept")))
        printf("the last one kept has score %.6f\n", number_of(s, "last_kept"));
    else
        printf("none of it was kept\n");
}

static void print_rules(const json_t *root)
{
    bool bare = strcmp(text_of(root, "strategy"), um_strategy_name(UM_STRATEGY_RANDOM_DIRECT)) == 0;
    if (bare)
        printf(
            "chosen: the true action; rejected: another one, drawn from the distribution without "
            "decision process\n\n");
    else
        printf("chosen by %s, rejected by %s%s\n\n", text_of(root, "chosen_rule"),
               text_of(root, "rejected_rule"),
               json_is_true(json_object_get(root, "keep_malformed")) ? ", malformed texts too"
               : json_is_true(json_object_get(root, "keep_contradicting"))
                   ? ", texts that name another letter too"
                   : "");
}

static void print_explanation(const json_t *root)
{
    const json_t *list = json_object_get(root, "candidates");
    print_heading(root);
    putchar('\n');
    if (json_is_true(json_object_get(root, "kept")))
        printf("KEPT: pair %lld\n", (long long)number_of(root, "pair_rank"));
    else
        printf("%s: %s\n", json_is_true(json_object_get(root, "distilled")) ? "DROPPED" : "OPEN",
               text_of(root, "reason"));
    print_measures(root);
    print_place(root);
    print_rules(root);
    if (json_array_size(list) > 0)
        printf("%-11s %-5s %-8s %-8s %s\n", "process", "drawn", "entropy", "p(true)", "");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *c = json_array_get(list, i);
        printf("%-7s %3lld [%s]   %-8.4f %-8.4f %s\n", text_of(c, "role"),
               (long long)number_of(c, "sample"), text_of(c, "behavior"), number_of(c, "entropy"),
               number_of(c, "truth_p"), text_of(c, "why"));
    }
}

int cli_explain_scene(cli_args *args, uint64_t scene)
{
    um_session *session = NULL;
    um_error err;
    char *json = NULL;
    um_status status = um_session_open(&session, args->workspace, false, true, &args->config,
                                       cli_monitor(args), &err);
    if (status == UM_OK)
        status = um_session_explain_scene(session, scene, &json, &err);
    um_session_close(session);
    return finish(args, status, json, &err, print_explanation);
}
