/* script.c - the rules of a fault server. */
#include "fault.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next word of a line, quotes taken off; false at its end. */
static bool next_word(const char **line, char *out, size_t size)
{
    const char *p = *line;
    size_t n = 0;
    bool quoted = false;
    while (*p == ' ' || *p == '\t')
        p++;
    if (*p == '\0' || *p == '\n' || *p == '#')
        return false;
    for (; *p != '\0' && *p != '\n' && (quoted || (*p != ' ' && *p != '\t')); p++) {
        if (*p == '"')
            quoted = !quoted;
        else if (*p == '\\' && (p[1] == '"' || p[1] == '\\') && n + 1 < size)
            out[n++] = *++p;
        else if (n + 1 < size)
            out[n++] = *p;
    }
    out[n] = '\0';
    *line = p;
    return true;
}

static bool parse_when(fault_rule *r, const char *text)
{
    char *end;
    if (strcmp(text, "all") == 0) {
        r->to = UINT64_MAX;
        return true;
    }
    if (strncmp(text, "every:", 6) == 0) {
        r->when = WHEN_EVERY;
        r->from = strtoull(text + 6, &end, 10);
        return *end == '\0' && r->from > 0;
    }
    if (strncmp(text, "rate:", 5) == 0) {
        r->when = WHEN_RATE;
        r->rate = strtod(text + 5, &end);
        return *end == '\0' && r->rate >= 0 && r->rate <= 1;
    }
    if (!isdigit((unsigned char)*text))
        return false;
    r->from = r->to = strtoull(text, &end, 10);
    if (*end == '-')
        r->to = strtoull(end + 1, &end, 10);
    return *end == '\0' && r->to >= r->from;
}

static bool set_text(char *out, size_t size, const char *value)
{
    return (size_t)snprintf(out, size, "%s", value) < size;
}

static bool parse_close(fault_rule *r, const char *value)
{
    static const char *const names[] = {"", "before", "headers", "mid", "after"};
    for (int i = 1; i < 5; i++) {
        if (strcmp(value, names[i]) == 0)
            r->close = (fault_close_at)i;
    }
    return r->close != CLOSE_NOT;
}

static bool parse_flag(fault_rule *r, const char *name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        {"reset", &r->reset},   {"silence", &r->silence},       {"truncate", &r->truncate},
        {"html", &r->html},     {"reverse", &r->reverse},       {"duplicate", &r->duplicate},
        {"null", &r->null},     {"noindex", &r->noindex},       {"nolength", &r->nolength},
        {"nostop", &r->nostop}, {"nologprobs", &r->nologprobs}, {"nousage", &r->nousage}};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        if (strcmp(name, flags[i].name) == 0)
            return *flags[i].flag = true;
    }
    return false;
}

static bool parse_word(fault_rule *r, char *word, bool *has_when)
{
    char *value = strchr(word, '=');
    if (value == NULL)
        return parse_flag(r, word);
    *value++ = '\0';
    if (strcmp(word, "when") == 0)
        return *has_when = parse_when(r, value);
    if (strcmp(word, "path") == 0)
        return set_text(r->path, sizeof r->path, value);
    if (strcmp(word, "match") == 0)
        return set_text(r->match, sizeof r->match, value);
    if (strcmp(word, "body") == 0)
        return set_text(r->body, sizeof r->body, value);
    if (strcmp(word, "redirect") == 0)
        return set_text(r->redirect, sizeof r->redirect, value);
    if (strcmp(word, "finish") == 0)
        return set_text(r->finish, sizeof r->finish, value);
    if (strcmp(word, "close") == 0)
        return parse_close(r, value);
    if (strcmp(word, "header") == 0) {
        size_t n = strlen(r->headers);
        return (size_t)snprintf(r->headers + n, sizeof r->headers - n, "%s\r\n", value) <
               sizeof r->headers - n;
    }
    char *end;
    unsigned long long number = strtoull(value, &end, 10);
    if (*end != '\0' || *value == '\0')
        return false;
    if (strcmp(word, "status") == 0)
        r->status = (int)number;
    else if (strcmp(word, "delay") == 0)
        r->delay_ms = (uint32_t)number;
    else if (strcmp(word, "drip") == 0)
        r->drip_ms = (uint32_t)number;
    else if (strcmp(word, "giant") == 0)
        r->giant = number;
    else if (strcmp(word, "choices") == 0)
        r->choices = (int)number;
    else
        return false;
    return true;
}

bool fault_script_parse(const char *text, fault_rule **rules, size_t *n)
{
    size_t cap = 0, line_number = 0;
    *rules = NULL;
    *n = 0;
    for (const char *line = text; line != NULL && *line != '\0'; line_number++) {
        fault_rule r = {.choices = -1};
        char word[768], shown[768];
        bool has_when = false;
        const char *at = line;
        size_t words = 0;
        while (next_word(&at, word, sizeof word)) {
            snprintf(shown, sizeof shown, "%s", word);
            words++;
            if (!parse_word(&r, word, &has_when)) {
                fprintf(stderr, "fault script, line %zu: '%s' is not understood\n", line_number + 1,
                        shown);
                free(*rules);
                return false;
            }
        }
        if (words > 0 && !has_when) {
            fprintf(stderr, "fault script, line %zu: no when=\n", line_number + 1);
            free(*rules);
            return false;
        }
        if (words > 0 && *n == cap) {
            cap = cap * 2 + 8;
            fault_rule *more = realloc(*rules, cap * sizeof *more);
            if (more == NULL) {
                free(*rules);
                return false;
            }
            *rules = more;
        }
        if (words > 0)
            (*rules)[(*n)++] = r;
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return true;
}

static bool fires(const fault_rule *r, uint64_t count)
{
    switch (r->when) {
    case WHEN_RANGE:
        return count >= r->from && count <= r->to;
    case WHEN_EVERY:
        return count % r->from == r->from - 1;
    case WHEN_RATE: {
        uint64_t x = (count + 1) * 0x9E3779B97F4A7C15ull;
        x = (x ^ x >> 29) * 0xBF58476D1CE4E5B9ull;
        return (double)(x >> 11) * 0x1p-53 < r->rate;
    }
    }
    return false;
}

const fault_rule *fault_script_match(fault_rule *rules, size_t n, const char *path,
                                     const char *body)
{
    const fault_rule *found = NULL;
    for (size_t i = 0; i < n; i++) {
        fault_rule *r = &rules[i];
        if (strncmp(path, r->path, strlen(r->path)) != 0 ||
            (r->match[0] != '\0' && strstr(body, r->match) == NULL))
            continue;
        if (fires(r, r->seen++) && found == NULL)
            found = r;
    }
    return found;
}
