/* calendar.h - January 1 of a year (proleptic Gregorian) in seconds since 1970 UTC. */
#ifndef UM_DATA_CALENDAR_H
#define UM_DATA_CALENDAR_H

#include <stdint.h>

static inline int64_t um_year_start_s(int64_t year)
{
    int64_t before = year - 1; /* 477 leap days lie before 1970 */
    return (365 * (year - 1970) + before / 4 - before / 100 + before / 400 - 477) * 86400;
}

#endif
