/*
 * report.c - one HTML page that needs nothing beside itself: template, Chart.js and the summary.
 *
 * The template holds the markers {{summary}} and {{chart_js}}. The summary is JSON inside a script
 * element, so "<" is written as \u003c: no text of a log can end the element.
 */
#include <stdlib.h>
#include <string.h>

#include "base/embed.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "mirrorer/eval.h"

UM_EMBEDDED_DECLARE(report_html);
UM_EMBEDDED_DECLARE(chart_js);

#define SUMMARY          "{{summary}}"
#define CHART_JS         "{{chart_js}}"
#define MAX_REPORT_BYTES ((size_t)256 << 20)

static void append_script_json(um_str *s, const char *json, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (json[i] == '<')
            um_str_append(s, "\\u003c");
        else
            um_str_append_char(s, json[i]);
    }
}

um_status um_report_write(const char *path, const char *summary_json, size_t len, um_error *err)
{
    const um_embedded_file page = UM_EMBEDDED("report.html", report_html);
    const um_embedded_file chart = UM_EMBEDDED("chart.js", chart_js);
    const char *at = (const char *)page.data;
    um_str s;

    um_str_init(&s, MAX_REPORT_BYTES);
    for (const char *open = strstr(at, "{{"); open != NULL; open = strstr(at, "{{")) {
        um_str_append_n(&s, at, (size_t)(open - at));
        if (um_str_starts(open, SUMMARY)) {
            append_script_json(&s, summary_json, len);
            at = open + strlen(SUMMARY);
        } else if (um_str_starts(open, CHART_JS)) {
            um_str_append_n(&s, chart.data, chart.len);
            at = open + strlen(CHART_JS);
        } else {
            um_str_append(&s, "{{");
            at = open + 2;
        }
    }
    um_str_append(&s, at);
    um_status status = um_str_status(&s, err);
    if (status == UM_OK)
        status = um_file_write(path, s.data, s.len, err);
    um_str_dispose(&s);
    return status;
}
