/* parse.c - the text format of decision processes, strictly. */
#include "mirrorer/process.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

const char *const um_stimulus_factors[] = {"Boredom",
                                           "Hunger",
                                           "Thirst",
                                           "Fatigue/Restlessness",
                                           "Emotional State",
                                           "Curiosity",
                                           "Need for Achievement",
                                           "Inspiration",
                                           "Time of Day",
                                           "Day of Week",
                                           "Weather",
                                           "Location",
                                           "Social Factors",
                                           "Special Occasion",
                                           "Notification",
                                           "Advertising",
                                           "Financial Situation",
                                           "Availability",
                                           NULL};
const char *const um_knowledge_factors[] = {
    "Price",
    "Quality",
    "Features",
    "Convenience",
    "Novelty",
    "Brand Reputation",
    "Personal Relevance (Functional, Thematic, Identity-Based)",
    "Emotional Appeal",
    "Time Commitment",
    "Risk",
    "Visual Presentation",
    "Recommendation Source",
    "Review Content/Sentiment",
    "Rating Score/Distribution",
    "Social Proof",
    "Past Experience",
    "User Preferences/History",
    NULL};
const char *const um_evaluation_styles[] = {"Logical", "Intuitive", "Impulsive", "Habitual", NULL};

const char *um_process_fault_name(um_process_fault fault)
{
    switch (fault) {
    case UM_PROCESS_GOOD:
        return "good";
    case UM_PROCESS_NO_STAGE:
        return "no stage";
    case UM_PROCESS_EMPTY_STAGE:
        return "empty stage";
    case UM_PROCESS_FACTOR:
        return "unlisted factor";
    case UM_PROCESS_FACTOR_COUNT:
        return "factor count";
    case UM_PROCESS_TRUNCATED:
        return "truncated";
    case UM_PROCESS_TRAILING:
        return "trailing text";
    case UM_PROCESS_CONTRADICTION:
        return "contradicting letter";
    }
    return "unknown";
}

typedef struct slice {
    const char *text;
    size_t len;
} slice;

static slice trim(const char *text, size_t len)
{
    while (len > 0 && isspace((unsigned char)*text)) {
        text++;
        len--;
    }
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    return (slice){text, len};
}

static um_process_fault fail(um_process_fault fault, char *detail, size_t size, const char *what,
                             slice found)
{
    if (detail != NULL && size > 0)
        snprintf(detail, size, "%s%s%.*s", what, found.len > 0 ? ", found " : "",
                 (int)(found.len > 60 ? 60 : found.len), found.len > 0 ? found.text : "");
    return fault;
}

static int find_name(slice name, const char *const *list)
{
    for (int i = 0; list[i] != NULL; i++) {
        if (strlen(list[i]) == name.len && strncasecmp(list[i], name.text, name.len) == 0)
            return i;
    }
    return -1;
}

/*
 * One name itself holds commas inside parentheses, and writers often leave those parentheses or
 * some of what is in them out: "Personal Relevance" alone is that name too.
 */
static int find_factor(slice name, const char *const *list)
{
    static const char relevance[] = "Personal Relevance";
    enum { LEN = sizeof relevance - 1, INDEX = 6 };
    int found = find_name(name, list);

    if (found >= 0 || list != um_knowledge_factors || name.len < LEN ||
        strncasecmp(name.text, relevance, LEN) != 0)
        return found;
    slice rest = trim(name.text + LEN, name.len - LEN);
    bool bracketed = rest.len >= 2 && rest.text[0] == '(' && rest.text[rest.len - 1] == ')';
    return rest.len == 0 || bracketed ? INDEX : -1;
}

/* A comma-separated list of closed names. */
static um_process_fault parse_factors(slice line, const char *const *list, int min, int max,
                                      uint32_t *mask, const char *what, char *detail, size_t size)
{
    int count = 0;
    size_t begin = 0, depth = 0;

    *mask = 0;
    for (size_t i = 0; i <= line.len && line.len > 0; i++) {
        if (i < line.len && line.text[i] == '(')
            depth++;
        if (i < line.len && line.text[i] == ')' && depth > 0)
            depth--;
        if (i < line.len && (line.text[i] != ',' || depth > 0))
            continue;
        slice name = trim(line.text + begin, i - begin);
        begin = i + 1;
        int found = find_factor(name, list);
        if (found < 0)
            return fail(UM_PROCESS_FACTOR, detail, size, what, name);
        count += (*mask >> found & 1) == 0;
        *mask |= UINT32_C(1) << found;
    }
    if (count < min || count > max)
        return fail(UM_PROCESS_FACTOR_COUNT, detail, size, what, line);
    return UM_PROCESS_GOOD;
}

/* Moves *at past `label` at the start of a line of text and gives what stands between. */
static bool take_until(const char *text, const char **at, const char *label, slice *between)
{
    const char *from = *at;
    size_t n = strlen(label);

    for (const char *p = strstr(from, label); p != NULL; p = strstr(p + 1, label)) {
        if (p == text || p[-1] == '\n') {
            *between = trim(from, (size_t)(p - from));
            *at = p + n;
            return true;
        }
    }
    return false;
}

static const char *const labels[] = {
    "Thought:",           "Stimulus:",   "Stimulus Factors:", "Knowledge:",
    "Knowledge Factors:", "Evaluation:", "Evaluation Style:"};
enum { N = sizeof labels / sizeof labels[0] };

/* The label that a line of the part begins with, or NULL: a part that holds one is two parts. */
static const char *label_within(slice part)
{
    for (int i = 0; i < N; i++) {
        size_t n = strlen(labels[i]);
        for (const char *p = part.text; p + n <= part.text + part.len; p++) {
            if (p[-1] == '\n' && memcmp(p, labels[i], n) == 0) /* a label stands before the part */
                return labels[i];
        }
    }
    return NULL;
}

um_process_fault um_process_parse(um_process *out, const char *text, char *detail,
                                  size_t detail_size)
{
    slice part[N + 1];
    const char *at = text;

    memset(out, 0, sizeof *out);
    for (int i = 0; i < N; i++) {
        if (!take_until(text, &at, labels[i], &part[i]))
            return fail(UM_PROCESS_NO_STAGE, detail, detail_size, labels[i], (slice){"", 0});
    }
    part[N] = trim(at, strlen(at));
    if (part[0].len > 0 || part[1].len > 0)
        return fail(UM_PROCESS_NO_STAGE, detail, detail_size, "text before the first stage",
                    part[0].len > 0 ? part[0] : part[1]);
    for (int i = 2; i < N; i++) {
        const char *again = label_within(part[i]);
        if (again != NULL)
            return fail(UM_PROCESS_NO_STAGE, detail, detail_size, "a label again or out of order",
                        (slice){again, strlen(again)});
    }
    static const int stages[] = {2, 4, 6};
    for (int i = 0; i < 3; i++) {
        if (part[stages[i]].len == 0)
            return fail(UM_PROCESS_EMPTY_STAGE, detail, detail_size, labels[stages[i] - 1],
                        (slice){"", 0});
    }
    um_process_fault fault =
        parse_factors(part[3], um_stimulus_factors, 1, 3, &out->stimulus_factors,
                      "Stimulus Factors", detail, detail_size);
    if (fault == UM_PROCESS_GOOD)
        fault = parse_factors(part[5], um_knowledge_factors, 2, 4, &out->knowledge_factors,
                              "Knowledge Factors", detail, detail_size);
    if (fault != UM_PROCESS_GOOD)
        return fault;

    const char *newline = memchr(part[N].text, '\n', part[N].len);
    slice style =
        trim(part[N].text, newline != NULL ? (size_t)(newline - part[N].text) : part[N].len);
    if (newline != NULL)
        return fail(UM_PROCESS_TRAILING, detail, detail_size, "text after the style",
                    trim(newline, part[N].len - (size_t)(newline - part[N].text)));
    out->style = find_name(style, um_evaluation_styles);
    if (out->style < 0)
        return fail(UM_PROCESS_FACTOR, detail, detail_size, "Evaluation Style", style);
    out->stimulus = part[2].text;
    out->stimulus_len = part[2].len;
    out->knowledge = part[4].text;
    out->knowledge_len = part[4].len;
    out->evaluation = part[6].text;
    out->evaluation_len = part[6].len;
    return UM_PROCESS_GOOD;
}

static const char behavior_label[] = "Behavior:";

uint32_t um_process_said(const char *text)
{
    const char *at = strstr(text, behavior_label);
    if (at == NULL)
        return 0;
    at += strlen(behavior_label);
    at += strspn(at, " \t\r\n");
    bool bracketed = *at == '[';
    at += bracketed;
    if (*at < 'A' || *at > 'Z')
        return 0;
    uint32_t said = (uint32_t)(*at++ - 'A') + 1;
    if (bracketed && *at++ != ']')
        return 0;
    at += *at == '.';
    return at[strspn(at, " \t\r\n")] == '\0' ? said : 0;
}

void um_process_trim(char *text)
{
    char *end = strstr(text, behavior_label);
    size_t n = end != NULL ? (size_t)(end - text) : strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1]))
        n--;
    text[n] = '\0';
}
