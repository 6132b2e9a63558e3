/* Times as published logs write them. The seconds are those of Python's datetime.strptime. */
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "data/dates.h"
#include "test_util.h"

typedef bool (*parse_fn)(const char *text, int64_t *time_s);

static void good_times(void **state)
{
    (void)state;
    static const struct {
        parse_fn parse;
        const char *text;
        int64_t time_s;
    } cases[] = {
        {um_date_parse_us, "11/15/2019 9:05:58 AM", 1573808758},
        {um_date_parse_us, "11/15/2019 12:05:58 AM", 1573776358},
        {um_date_parse_us, "11/15/2019 12:05:58 PM", 1573819558},
        {um_date_parse_us, "1/2/2020 11:59:59 PM", 1578009599},
        {um_date_parse_us, "02/29/2020 1:00:00 PM", 1582981200},
        {um_date_parse_ctime, "Tue Mar 14 15:09:26 -0700 2017", 1489529366},
        {um_date_parse_ctime, "Fri Dec 31 23:59:59 +0530 1999", 946664999},
        {um_date_parse_ctime, "Sat Jan 01 00:00:00 +0000 2000", 946684800},
        {um_date_parse_ctime, "Sat Jan  1 00:00:00 +0000 2000", 946684800},
        {um_date_parse_ctime, "Thu Feb 29 12:00:00 -0800 2024", 1709236800},
        {um_date_parse_iso, "2017-03-14", 1489449600},
        {um_date_parse_iso, "1969-12-31 23:59:59", -1},
        {um_date_parse_iso, "2000-02-29 00:00:00", 951782400},
        {um_date_parse_iso, "2017-03-14T15:09:26.535Z", 1489504166},
        {um_date_parse_iso, "2017-03-14 15:09:26.5", 1489504166},
        {um_date_parse_iso, "2017-03-14T15:09:26+02:00", 1489496966},
        {um_date_parse_iso, "2017-03-14 15:09:26-0330", 1489516766},
        {um_date_parse_iso, "2017-03-14 15:09:26+02", 1489496966},
        {um_date_parse_iso, "2017-03-14 15:09", 1489504140},
        {um_date_parse_iso, "1900-03-01 00:00:00", -2203891200},
        {um_date_parse_iso, "2100-12-31 23:59:59", 4133980799},
        {um_date_parse_words, "March 14, 2017", 1489449600},
        {um_date_parse_words, "Sep 1, 2009", 1251763200},
        {um_date_parse_words, "14 Mar, 2017", 1489449600},
        {um_date_parse_words, "Mar 2017", 1488326400},
        {um_date_parse_words, "may 5 2004", 1083715200},
        {um_date_parse_words, "December 31,1999", 946598400},
        {um_date_parse_dashed, "01-Jan-1995", 788918400},
        {um_date_parse_dashed, "9-Dec-1934", -1106524800},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t time_s = 7;
        if (!cases[i].parse(cases[i].text, &time_s) || time_s != cases[i].time_s)
            fail_msg("'%s' gives %lld, expected %lld", cases[i].text, (long long)time_s,
                     (long long)cases[i].time_s);
    }
}

static void bad_times(void **state)
{
    (void)state;
    static const struct {
        parse_fn parse;
        const char *text;
    } cases[] = {
        {um_date_parse_us, ""},
        {um_date_parse_us, "11/15/2019 9:05:58"},
        {um_date_parse_us, "11/15/2019 9:05:58 am"},
        {um_date_parse_us, "11/15/2019 0:05:58 AM"},
        {um_date_parse_us, "11/15/2019 13:05:58 PM"},
        {um_date_parse_us, "13/15/2019 9:05:58 AM"},
        {um_date_parse_us, "02/29/2019 9:05:58 AM"},
        {um_date_parse_us, "11/31/2019 9:05:58 AM"},
        {um_date_parse_us, "11/15/2019 9:05:58 AM "},
        {um_date_parse_us, "11/15/19 9:05:58 AM"},
        {um_date_parse_ctime, "Tue Mar 14 15:09:26 2017"},
        {um_date_parse_ctime, "Tux Mar 14 15:09:26 -0700 2017"},
        {um_date_parse_ctime, "Tue Mar 14 24:09:26 -0700 2017"},
        {um_date_parse_ctime, "Tue Mar 14 15:09:26 -070 2017"},
        {um_date_parse_ctime, "Tue Mar 14 15:09:26 -0760 2017"},
        {um_date_parse_iso, "2017-03"},
        {um_date_parse_iso, "2017-3-14"},
        {um_date_parse_iso, "2017-00-14"},
        {um_date_parse_iso, "2017-03-00"},
        {um_date_parse_iso, "0000-03-14"},
        {um_date_parse_iso, "1900-02-29"},
        {um_date_parse_iso, "2017-03-14 15"},
        {um_date_parse_iso, "2017-03-14 15:60:00"},
        {um_date_parse_iso, "2017-03-14 15:09:60"},
        {um_date_parse_iso, "2017-03-14 15:09:26."},
        {um_date_parse_iso, "2017-03-14 15:09:26 Z"},
        {um_date_parse_iso, "2017-03-14 15:09:26+24:00"},
        {um_date_parse_iso, " 2017-03-14"},
        {um_date_parse_iso, "2017-03-141"},
        {um_date_parse_words, "Soon"},
        {um_date_parse_words, "Marc 14, 2017"},
        {um_date_parse_words, "Marchy 14, 2017"},
        {um_date_parse_words, "March 32, 2017"},
        {um_date_parse_words, "March 14"},
        {um_date_parse_words, "2017"},
        {um_date_parse_words, "Ma 2017"},
        {um_date_parse_dashed, "01-01-1995"},
        {um_date_parse_dashed, "31-Apr-1995"},
        {um_date_parse_dashed, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t time_s = 7;
        if (cases[i].parse(cases[i].text, &time_s))
            fail_msg("'%s' is taken for %lld", cases[i].text, (long long)time_s);
        assert_int_equal(time_s, 7);
    }
}

/* Against the other calendar of this program, which counts in 400-year eras. */
static void iso_agrees_with_the_canonical_form(void **state)
{
    (void)state;
    um_rng r;
    um_rng_init(&r, 11, UM_RNG_TEST, 0, 0, 0);
    for (int i = 0; i < 20000; i++) {
        char text[32];
        int64_t time_s = (int64_t)um_rng_below(&r, 150000) * 86400 - 4000000000 +
                         (int64_t)um_rng_below(&r, 86400);
        int64_t again = 0;
        um_time_format(time_s, text);
        if (!um_date_parse_iso(text, &again) || again != time_s)
            fail_msg("%s is %lld, read as %lld", text, (long long)time_s, (long long)again);
    }
}

static void patterns(void **state)
{
    (void)state;
    static const struct {
        const char *text, *pattern;
        int64_t time_s;
    } good[] = {
        {"31.12.1999 23:59", "%d.%m.%Y %H:%M", 946684740},
        {"20200229", "%Y%m%d", 1582934400},
        {"20200229T131415", "%Y%m%dT%H%M%S", 1582982055},
        {"2/9/20 3:04 pm", "%m/%d/%y %I:%M %p", 1581260640},
        {"12:30:01 AM, 5 March 2021", "%I:%M:%S %p, %d %B %Y", 1614904201},
        {"Mon, 01 Jan 2024 00:00:07 +0100", "%a, %d %b %Y %H:%M:%S %z", 1704063607},
        {"2024-06-01 10:20:30.123456", "%Y-%m-%d %H:%M:%S.%f", 1717237230},
        {"100%: 1970-01-02", "100%%: %Y-%m-%d", 86400},
        {"5/3/68 7:08", "%D %R", 3103254480},
        {" 2020-01-02   03:04:05 ", " %F %T", 1577934245},
        {"2020-1-2", "%F", 1577923200},
    };
    static const struct {
        const char *text, *pattern;
    } bad[] = {
        {"", "%F"},
        {"2020-02-30", "%F"},
        {"2020-01-01x", "%F"},
        {"2020-01", "%F"},
        {"2020-13-01", "%F"},
        {"01/01/2020 13:00 PM", "%m/%d/%Y %I:%M %p"},
        {"01/01/2020 0:00 AM", "%m/%d/%Y %I:%M %p"},
        {"01/01/2020 14:00 XM", "%m/%d/%Y %H:%M %p"},
        {"1 Foo 2020", "%d %b %Y"},
        {"2020-01-01 24:00", "%F %R"},
        {"2020-01-01 23:60", "%F %R"},
    };
    static const char *const bad_patterns[] = {"%Y-%m", "%H:%M", "%F %Q", "%F %", "%F %I:%M", ""};
    int64_t time_s = 0;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_null(um_date_check_pattern(good[i].pattern));
        if (!um_date_parse_pattern(good[i].text, good[i].pattern, &time_s) ||
            time_s != good[i].time_s)
            fail_msg("%s by %s is %lld", good[i].text, good[i].pattern, (long long)time_s);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_null(um_date_check_pattern(bad[i].pattern));
        if (um_date_parse_pattern(bad[i].text, bad[i].pattern, &time_s))
            fail_msg("%s by %s was read", bad[i].text, bad[i].pattern);
    }
    for (size_t i = 0; i < sizeof bad_patterns / sizeof *bad_patterns; i++)
        assert_non_null(um_date_check_pattern(bad_patterns[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_times),
        cmocka_unit_test(bad_times),
        cmocka_unit_test(iso_agrees_with_the_canonical_form),
        cmocka_unit_test(patterns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
