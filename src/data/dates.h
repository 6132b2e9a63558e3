/*
 * dates.h - the ways in which published logs write times, read without locale or time zone tables.
 *
 * Each function wants the whole text to be one time of its form that exists, and is false
 * otherwise, *time_s then left as it was. Times without a zone are taken as UTC; fractions of a
 * second are cut off. Leading zeros may be missing where the form is not ISO 8601.
 */
#ifndef UM_DATA_DATES_H
#define UM_DATA_DATES_H

#include <stdbool.h>
#include <stdint.h>

/* "2017-03-14", "2017-03-14 15:09:26", "2017-03-14T15:09:26.535Z", "... 15:09:26+02:00"; the zone
 * may also be "+0200" or "+02", and the seconds may be missing. */
bool um_date_parse_iso(const char *text, int64_t *time_s);
/* "11/15/2019 9:05:58 AM": month first, hours 1 to 12; 12 AM is midnight. */
bool um_date_parse_us(const char *text, int64_t *time_s);
/* "Tue Mar 14 15:09:26 -0700 2017"; the name of the day is not compared with the date. */
bool um_date_parse_ctime(const char *text, int64_t *time_s);
/* "March 14, 2017", "Mar 14, 2017", "14 Mar, 2017"; "Mar 2017" is its first day. Names of months
 * are whole or three letters, in any case; the comma may be missing. */
bool um_date_parse_words(const char *text, int64_t *time_s);
/* "14-Mar-2017" */
bool um_date_parse_dashed(const char *text, int64_t *time_s);
/*
 * A form of one's own, as strptime writes them: %Y %m %d %H %M %S, %e %k %l %I %p, %y (1969 to
 * 2068), %b %B %h %a %A (English), %f (fraction digits), %z, %F %T %R %D, %%. White space stands
 * for any, all else for itself. A form needs a year, a month and a day; the rest is 0 without it.
 */
bool um_date_parse_pattern(const char *text, const char *pattern, int64_t *time_s);
/* NULL for a good pattern, else what is wrong with it. */
const char *um_date_check_pattern(const char *pattern);

#endif
