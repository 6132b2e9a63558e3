#include "data/dates.h"

#include <stddef.h>
#include <string.h>

#include "base/file.h"
#include "data/calendar.h"

typedef struct moment {
    int year, month, day, hour, minute, second;
    int zone_s; /* east of Greenwich */
} moment;

/* Each reader below moves *at behind what it read, or is false. */

/* min to max digits, as many as there are. */
static bool take_number(const char **at, int min, int max, int *value)
{
    int n = 0, v = 0;
    while (n < max && **at >= '0' && **at <= '9') {
        v = v * 10 + (*(*at)++ - '0');
        n++;
    }
    *value = v;
    return n >= min && !(**at >= '0' && **at <= '9');
}

static bool take_char(const char **at, char c)
{
    if (**at != c)
        return false;
    (*at)++;
    return true;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* One of n names, whole or its first three letters, in any case; *index from 1. */
static bool take_name(const char **at, const char *const *names, int n, int *index)
{
    for (int i = 0; i < n; i++) {
        const char *p = *at, *name = names[i];
        size_t same = 0;
        while (name[same] != '\0' && (p[same] | 0x20) == (name[same] | 0x20))
            same++;
        if ((same != 3 && name[same] != '\0') || is_letter(p[same]))
            continue;
        *at += same;
        *index = i + 1;
        return true;
    }
    return false;
}

static bool take_month(const char **at, int *month)
{
    static const char *const months[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};
    return take_name(at, months, 12, month);
}

/* "15:09" and, where they are there or must be, ":26". */
static bool take_clock(const char **at, int min_digits, bool needs_seconds, moment *m)
{
    if (!take_number(at, min_digits, 2, &m->hour) || !take_char(at, ':') ||
        !take_number(at, 2, 2, &m->minute))
        return false;
    if (!take_char(at, ':'))
        return !needs_seconds;
    return take_number(at, 2, 2, &m->second);
}

/* "+02:00", "+0200", "+02". */
static bool take_zone(const char **at, moment *m)
{
    int hours = 0, minutes = 0;
    int sign = **at == '-' ? -1 : 1;
    if (!take_char(at, '+') && !take_char(at, '-'))
        return false;
    const char *digits = *at;
    if (!take_number(at, 2, 4, &hours))
        return false;
    if (*at - digits == 4) {
        minutes = hours % 100;
        hours /= 100;
    } else if (*at - digits != 2 || (take_char(at, ':') && !take_number(at, 2, 2, &minutes))) {
        return false;
    }
    m->zone_s = sign * (hours * 3600 + minutes * 60);
    return hours <= 23 && minutes <= 59;
}

/* The end of every form: nothing is left, and there is such a date. */
static bool finish(const char *at, const moment *m, int64_t *time_s)
{
    static const int before[13] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    if (*at != '\0' || m->year < 1 || m->month < 1 || m->month > 12 || m->day < 1 || m->hour > 23 ||
        m->minute > 59 || m->second > 59)
        return false;
    bool leap = (m->year % 4 == 0 && m->year % 100 != 0) || m->year % 400 == 0;
    int days = before[m->month] - before[m->month - 1] + (m->month == 2 && leap);
    if (m->day > days)
        return false;
    int day = before[m->month - 1] + (m->month > 2 && leap) + m->day - 1;
    *time_s = um_year_start_s(m->year) + (int64_t)day * 86400 + m->hour * 3600 + m->minute * 60 +
              m->second - m->zone_s;
    return true;
}

bool um_date_parse_iso(const char *text, int64_t *time_s)
{
    moment m = {0};
    /* Most are written like this, and read at once. */
    if (um_time_parse(text, time_s) && *time_s > 0)
        return true;
    if (!take_number(&text, 4, 4, &m.year) || !take_char(&text, '-') ||
        !take_number(&text, 2, 2, &m.month) || !take_char(&text, '-') ||
        !take_number(&text, 2, 2, &m.day))
        return false;
    if (*text == '\0')
        return finish(text, &m, time_s);
    if ((!take_char(&text, ' ') && !take_char(&text, 'T')) || !take_clock(&text, 2, false, &m))
        return false;
    if (take_char(&text, '.')) {
        if (*text < '0' || *text > '9')
            return false;
        while (*text >= '0' && *text <= '9')
            text++;
    }
    if (*text != '\0' && !take_char(&text, 'Z') && !take_zone(&text, &m))
        return false;
    return finish(text, &m, time_s);
}

bool um_date_parse_us(const char *text, int64_t *time_s)
{
    moment m = {0};
    if (!take_number(&text, 1, 2, &m.month) || !take_char(&text, '/') ||
        !take_number(&text, 1, 2, &m.day) || !take_char(&text, '/') ||
        !take_number(&text, 4, 4, &m.year) || !take_char(&text, ' ') ||
        !take_clock(&text, 1, true, &m) || !take_char(&text, ' ') || m.hour < 1 || m.hour > 12)
        return false;
    bool afternoon = take_char(&text, 'P');
    if ((!afternoon && !take_char(&text, 'A')) || !take_char(&text, 'M'))
        return false;
    m.hour = m.hour % 12 + (afternoon ? 12 : 0);
    return finish(text, &m, time_s);
}

bool um_date_parse_ctime(const char *text, int64_t *time_s)
{
    static const char *const days[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                       "Friday", "Saturday", "Sunday"};
    moment m = {0};
    int weekday = 0;
    if (!take_name(&text, days, 7, &weekday) || !take_char(&text, ' ') ||
        !take_month(&text, &m.month) || !take_char(&text, ' '))
        return false;
    take_char(&text, ' '); /* C pads the day with a space */
    if (!take_number(&text, 1, 2, &m.day) || !take_char(&text, ' ') ||
        !take_clock(&text, 1, true, &m) || !take_char(&text, ' ') || !take_zone(&text, &m) ||
        !take_char(&text, ' ') || !take_number(&text, 4, 4, &m.year))
        return false;
    return finish(text, &m, time_s);
}

/* A space, a comma, or both. */
static bool take_gap(const char **at)
{
    bool comma = take_char(at, ',');
    return take_char(at, ' ') || comma;
}

bool um_date_parse_words(const char *text, int64_t *time_s)
{
    moment m = {.day = 1};
    const char *at = text;
    if (take_number(&at, 1, 2, &m.day)) { /* 14 Mar, 2017 */
        if (!take_char(&at, ' ') || !take_month(&at, &m.month) || !take_gap(&at) ||
            !take_number(&at, 4, 4, &m.year))
            return false;
        return finish(at, &m, time_s);
    }
    if (!take_month(&text, &m.month) || !take_gap(&text))
        return false;
    at = text;
    if (take_number(&at, 4, 4, &m.year)) { /* Mar 2017 */
        m.day = 1;
        return finish(at, &m, time_s);
    }
    if (!take_number(&text, 1, 2, &m.day) || !take_gap(&text) || !take_number(&text, 4, 4, &m.year))
        return false;
    return finish(text, &m, time_s);
}

bool um_date_parse_dashed(const char *text, int64_t *time_s)
{
    moment m = {0};
    if (!take_number(&text, 1, 2, &m.day) || !take_char(&text, '-') ||
        !take_month(&text, &m.month) || !take_char(&text, '-') ||
        !take_number(&text, 4, 4, &m.year))
        return false;
    return finish(text, &m, time_s);
}

/* Forms of one's own --------------------------------------------------------------------------- */

/* Up to `max` digits, at least one; unlike take_number more digits may follow. */
static bool take_digits(const char **at, int max, int *value)
{
    int n = 0;
    for (*value = 0; n < max && **at >= '0' && **at <= '9'; n++)
        *value = *value * 10 + (*(*at)++ - '0');
    return n > 0;
}

static void skip_space(const char **at)
{
    while (**at == ' ' || (**at >= '\t' && **at <= '\r'))
        (*at)++;
}

static bool take_half_day(const char **at, int *half)
{
    char letter = (char)(**at | 0x20);
    if ((letter != 'a' && letter != 'p') || ((*at)[1] | 0x20) != 'm')
        return false;
    *half = letter == 'p' ? 2 : 1;
    *at += 2;
    return true;
}

static bool take_day_name(const char **at)
{
    static const char *const days[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                       "Friday", "Saturday", "Sunday"};
    int day = 0;
    return take_name(at, days, 7, &day);
}

/* The directives that stand for several. */
static const char *expand(char directive)
{
    switch (directive) {
    case 'F':
        return "%Y-%m-%d";
    case 'T':
        return "%H:%M:%S";
    case 'R':
        return "%H:%M";
    case 'D':
        return "%m/%d/%y";
    default:
        return NULL;
    }
}

/* One directive; half = 0, 1 for AM, 2 for PM. */
static bool take_directive(const char **at, char directive, moment *m, int *half)
{
    int fraction = 0;
    switch (directive) {
    case 'Y':
        return take_digits(at, 4, &m->year);
    case 'y':
        if (!take_digits(at, 2, &m->year))
            return false;
        m->year += m->year < 69 ? 2000 : 1900;
        return true;
    case 'm':
        return take_digits(at, 2, &m->month);
    case 'd':
    case 'e':
        skip_space(at);
        return take_digits(at, 2, &m->day);
    case 'H':
    case 'k':
    case 'I':
    case 'l':
        skip_space(at);
        return take_digits(at, 2, &m->hour) &&
               (directive == 'H' || directive == 'k' || (m->hour >= 1 && m->hour <= 12));
    case 'M':
        return take_digits(at, 2, &m->minute);
    case 'S':
        return take_digits(at, 2, &m->second);
    case 'f':
        return take_digits(at, 9, &fraction);
    case 'p':
        return take_half_day(at, half);
    case 'b':
    case 'B':
    case 'h':
        return take_month(at, &m->month);
    case 'a':
    case 'A':
        return take_day_name(at);
    case 'z':
        return take_char(at, 'Z') || take_zone(at, m);
    case '%':
        return take_char(at, '%');
    default:
        return false;
    }
}

static bool take_pattern(const char **at, const char *pattern, moment *m, int *half)
{
    for (const char *p = pattern; *p != '\0'; p++) {
        const char *longer = *p == '%' ? expand(p[1]) : NULL;
        if (*p == ' ' || (*p >= '\t' && *p <= '\r')) {
            skip_space(at);
        } else if (longer != NULL) {
            p++;
            if (!take_pattern(at, longer, m, half))
                return false;
        } else if (*p == '%') {
            if (!take_directive(at, *++p, m, half))
                return false;
        } else if (!take_char(at, *p)) {
            return false;
        }
    }
    return true;
}

bool um_date_parse_pattern(const char *text, const char *pattern, int64_t *time_s)
{
    moment m = {0};
    int half = 0;
    if (!take_pattern(&text, pattern, &m, &half))
        return false;
    if (half != 0 && m.hour > 12)
        return false;
    if (half != 0)
        m.hour = m.hour % 12 + (half == 2 ? 12 : 0);
    skip_space(&text);
    return finish(text, &m, time_s);
}

const char *um_date_check_pattern(const char *pattern)
{
    bool has_year = false, has_month = false, has_day = false, has_half = false, is_half = false;
    for (const char *p = pattern; *p != '\0'; p++) {
        if (*p != '%')
            continue;
        p++;
        if (*p == '\0' || strchr("YymdeHkIlMSfpbBhaAzFTRD%", *p) == NULL)
            return "it has a % that stands for nothing known";
        has_year = has_year || strchr("YyFD", *p) != NULL;
        has_month = has_month || strchr("mbBhFD", *p) != NULL;
        has_day = has_day || strchr("deFD", *p) != NULL;
        is_half = is_half || strchr("Il", *p) != NULL;
        has_half = has_half || *p == 'p';
    }
    if (!has_year || !has_month || !has_day)
        return "it needs a year (%Y), a month (%m) and a day (%d)";
    return is_half && !has_half ? "hours to 12 (%I) need %p" : NULL;
}
