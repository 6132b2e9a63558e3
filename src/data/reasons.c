#include "data/reasons.h"

#include <stdio.h>
#include <string.h>

#define OTHERS "other reasons"

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

/* The closing quote of a quoted value that starts at text[0]: the first that the value cannot go on
 * after. NULL when there is none. */
static const char *quote_end(const char *text)
{
    for (const char *p = text + 1; (p = strchr(p, '\'')) != NULL; p++) {
        if (p[1] == '\0' || strchr(" ,;:)", p[1]) != NULL)
            return p;
    }
    return NULL;
}

/* Quoted values become '...', whole numbers N. */
static void generalise(const char *reason, char *out, size_t size)
{
    size_t n = 0;
    char before = ' ';
    for (const char *p = reason; *p != '\0' && n + 6 < size;) {
        const char *end =
            *p == '\'' && !is_letter(before) && !is_digit(before) ? quote_end(p) : NULL;
        if (end != NULL) {
            memcpy(out + n, "'...'", 5);
            n += 5;
            p = end + 1;
            before = '\'';
        } else if (is_digit(*p) && !is_letter(before)) {
            while (is_digit(*p) || (*p == '.' && is_digit(p[1])))
                p++;
            out[n++] = 'N';
            before = 'N';
        } else {
            before = *p == '-' && is_letter(before) ? before : *p; /* UTF-8 is a word */
            out[n++] = *p++;
        }
    }
    out[n] = '\0';
}

static um_ingest_reason *find(um_ingest_report *report, const char *text, bool is_filter)
{
    for (size_t i = 0; i < report->n_reasons; i++) {
        um_ingest_reason *r = &report->reasons[i];
        if (r->is_filter == is_filter && strcmp(r->text, text) == 0)
            return r;
    }
    return NULL;
}

um_ingest_reason *um_reasons_count(um_ingest_report *report, const um_rejection *rejection)
{
    char text[sizeof report->reasons[0].text];
    um_ingest_reason *r = find(report, rejection->reason, rejection->is_filter);
    if (r == NULL) {
        generalise(rejection->reason, text, sizeof text);
        r = find(report, text, rejection->is_filter);
    }
    if (r == NULL && report->n_reasons < UM_INGEST_MAX_REASONS) {
        r = &report->reasons[report->n_reasons++];
        *r = (um_ingest_reason){.is_filter = rejection->is_filter};
        bool last = report->n_reasons == UM_INGEST_MAX_REASONS;
        snprintf(r->text, sizeof r->text, "%s", last ? OTHERS : text);
    } else if (r == NULL) {
        r = &report->reasons[UM_INGEST_MAX_REASONS - 1];
    }
    r->rows++;
    if (r->n_examples == UM_INGEST_EXAMPLES)
        return r;
    snprintf(r->examples[r->n_examples].file, sizeof r->examples[0].file, "%s", rejection->file);
    snprintf(r->examples[r->n_examples].reason, sizeof r->examples[0].reason, "%s",
             rejection->reason);
    r->examples[r->n_examples++].line = rejection->line;
    return r;
}
