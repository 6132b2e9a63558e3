#include "data/ingest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <threads.h>

#include "base/error.h"
#include "base/file.h"
#include "base/mem.h"
#include "data/reasons.h"

#define PROGRESS_ROWS 65536

static const um_adapter *const adapters[] = {
    &um_adapter_canonical,   &um_adapter_ml_1m,         &um_adapter_ml_10m,
    &um_adapter_ml_100k,     &um_adapter_ml_latest,     &um_adapter_amazon_2023,
    &um_adapter_amazon_2018, &um_adapter_amazon_2014,   &um_adapter_goodreads,
    &um_adapter_steam,       &um_adapter_mobilerec,     &um_adapter_mind,
    &um_adapter_kuairec,     &um_adapter_kuairec_small, &um_adapter_lastfm,
    &um_adapter_recbole,     &um_adapter_mapped,
};
#define N_ADAPTERS (sizeof adapters / sizeof *adapters)

static um_adapter_info infos[N_ADAPTERS + 1];
static once_flag infos_made = ONCE_FLAG_INIT;

static void make_infos(void)
{
    for (size_t i = 0; i < N_ADAPTERS; i++)
        infos[i] = (um_adapter_info){.name = adapters[i]->name,
                                     .files = adapters[i]->files,
                                     .filters = adapters[i]->filters};
}

const um_adapter_info *um_adapters(void)
{
    call_once(&infos_made, make_infos);
    return infos;
}

static um_status check_stop(const um_reading *r, um_error *err)
{
    if (um_monitor_stopped(r->monitor))
        return um_fail(err, UM_ERR_INTERRUPTED, "%s: reading was stopped", r->file_name);
    return UM_OK;
}

/* Counts, reports and passes on a row of the current file that is not kept. known: remembers where
 * its reason is counted; NULL: it is looked for. */
static void tell_rejection(um_reading *r, uint64_t line, const char *reason, bool is_filter,
                           um_ingest_reason **known)
{
    const um_rejection rejection = {
        .file = r->file_name, .line = line, .reason = reason, .is_filter = is_filter};
    r->file->rows_rejected++;
    r->report->rows_rejected++;
    r->report->rows_filtered += is_filter;
    if (known != NULL && *known != NULL && (*known)->n_examples == UM_INGEST_EXAMPLES) {
        (*known)->rows++;
    } else {
        um_ingest_reason *counted = um_reasons_count(r->report, &rejection);
        if (known != NULL)
            *known = counted;
    }
    if (r->options->on_rejection != NULL)
        r->options->on_rejection(r->options->context, &rejection);
}

/* After it was told of: whether to go on. */
static um_status reject(um_reading *r, uint64_t line, const char *reason, um_error *err)
{
    r->bad++;
    if (r->first_bad.text[0] == '\0')
        um_fail(&r->first_bad, UM_ERR_INPUT, "line %llu: %s", (unsigned long long)line, reason);
    if (r->options->max_bad < 0 || r->bad <= (uint64_t)r->options->max_bad)
        return check_stop(r, err); /* a row can take long to be found bad */
    r->is_past_max_bad = true;
    return um_fail(err, UM_ERR_LIMIT,
                   "%s:%llu: %s; %llu bad rows, limit %lld: mend the file or "
                   "raise the limit",
                   r->file_name, (unsigned long long)line, reason, (unsigned long long)r->bad,
                   (long long)r->options->max_bad);
}

static um_status filter(um_reading *r, uint64_t line, const char *reason, um_error *err)
{
    if (r->first_filtered.text[0] == '\0')
        um_fail(&r->first_filtered, UM_ERR_INPUT, "line %llu: %s", (unsigned long long)line,
                reason);
    return check_stop(r, err);
}

um_status um_reading_reject(um_reading *r, um_error *err, uint64_t line, const char *format, ...)
{
    char reason[400];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    tell_rejection(r, line, reason, false, NULL);
    return reject(r, line, reason, err);
}

um_status um_reading_filter(um_reading *r, um_error *err, uint64_t line, const char *format, ...)
{
    char reason[400];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    tell_rejection(r, line, reason, true, NULL);
    return filter(r, line, reason, err);
}

um_status um_reading_row_failed(um_reading *r, um_status status, uint64_t line, um_error *err)
{
    if (r->is_past_max_bad)
        return status; /* that message names them already */
    return um_error_prefix(err, status, "%s:%llu", r->file_name, (unsigned long long)line);
}

static void show_progress(const um_reading *r)
{
    const um_progress progress = {
        .stage = "read", .unit = "rows", .done = r->report->rows_read, .detail = r->file->name};
    um_monitor_progress(r->monitor, &progress);
}

um_status um_reading_count(um_reading *r, um_error *err)
{
    r->file->rows_read++;
    r->report->rows_read++;
    if (r->report->rows_read % PROGRESS_ROWS != 0)
        return UM_OK;
    show_progress(r);
    return check_stop(r, err);
}

/* Files are told apart by their folders, and a file that is read again ("repeats" of a mapping) by
 * a number: no two of a report have one name. */
static void name_file(const um_ingest_report *report, um_ingest_file *file, const char *path)
{
    char number[16] = "";
    bool is_taken = true;
    for (int copy = 2; is_taken; copy++) {
        const size_t len = strlen(path), room = sizeof file->name - 1 - strlen(number);
        const size_t kept = len < room ? len : room;
        memcpy(file->name, path + len - kept, kept);
        if (kept < len)
            memcpy(file->name, "...", 3);
        memcpy(file->name + kept, number, strlen(number) + 1);
        is_taken = false;
        for (const um_ingest_file *f = report->files; f < file; f++)
            is_taken = is_taken || strcmp(f->name, file->name) == 0;
        snprintf(number, sizeof number, " (%d)", copy);
    }
}

um_status um_reading_begin(um_reading *r, const um_entry *entry, bool has_interactions,
                           um_lines *lines, um_error *err)
{
    um_ingest_report *report = r->report;
    if (report->n_files == sizeof report->files / sizeof *report->files)
        return um_fail(err, UM_ERR_INTERNAL, "adapter %s reads more than %zu files",
                       report->adapter, report->n_files);
    um_ingest_file *file = &report->files[report->n_files++];
    *file = (um_ingest_file){0};
    r->file = file;
    r->file_name = entry->name;
    name_file(report, file, entry->name);
    r->is_open = true;
    r->first_bad.text[0] = r->first_filtered.text[0] = '\0';
    if (has_interactions) {
        if (r->n_tables == UM_ADAPTER_MAX_TABLES)
            return um_fail(err, UM_ERR_INTERNAL, "adapter %s reads more than %d logs",
                           report->adapter, UM_ADAPTER_MAX_TABLES);
        r->tables[r->n_tables].file = file;
        r->tables[r->n_tables].file_name = entry->name;
        r->n_tables++;
        um_status status = um_builder_begin_table(r->builder, err);
        if (status != UM_OK)
            return status;
    }
    return um_lines_open(lines, r->bundle, entry, err);
}

/* The file in hand is read as far as it will be. */
static void count_kept(um_reading *r)
{
    r->file->rows_kept = r->file->rows_read - r->file->rows_rejected;
    r->report->rows_kept += r->file->rows_kept;
    r->is_open = false;
}

um_status um_reading_end_any(um_reading *r, um_lines *lines, um_error *err)
{
    um_ingest_file *file = r->file;
    file->bytes = lines->bytes;
    count_kept(r);
    show_progress(r);
    if (file->rows_read == 0)
        return um_fail(err, UM_ERR_INPUT, "%s: no rows%s", r->file_name,
                       lines->bytes == 0 ? ", the file is empty" : " after its first line");
    return UM_OK;
}

um_status um_reading_end(um_reading *r, um_lines *lines, um_error *err)
{
    const um_ingest_file *file = r->file;
    um_status status = um_reading_end_any(r, lines, err);
    if (status == UM_OK && file->rows_kept == 0)
        return um_fail(err, UM_ERR_INPUT, "%s: none of its %llu rows is good; the first: %s",
                       r->file_name, (unsigned long long)file->rows_read,
                       r->first_bad.text[0] != '\0' ? r->first_bad.text : r->first_filtered.text);
    return status;
}

/* A row that was taken while reading, and found to be one too many at the end. */
static um_status left_out(void *context, size_t table, uint64_t line, um_left_out_reason reason,
                          um_error *err)
{
    um_reading *r = context;
    r->file = r->tables[table].file;
    r->file_name = r->tables[table].file_name;
    r->file->rows_kept--;
    r->report->rows_kept--;
    const bool is_filter = reason != UM_LEFT_OUT_DUPLICATE;
    const char *text = um_left_out_text(reason);
    tell_rejection(r, line, text, is_filter, &r->left_out[reason]);
    return is_filter ? filter(r, line, text, err) : reject(r, line, text, err);
}

static void name_adapters(um_str *text)
{
    for (size_t i = 0; i < N_ADAPTERS; i++)
        um_str_appendf(text, "%s%s", i > 0 ? ", " : " ", adapters[i]->name);
    um_str_append(text, " (mirrorer ingest --adapters lists their files)");
}

/*
 * Whether a file is called like one word of an adapter's list: "ratings.dat",
 * "meta_<CATEGORY>.json",
 * "*_interaction.jsonl". What stands for any text must have a name beside it: "<CATEGORY>.json"
 * says nothing about a file.
 */
static bool is_called(const char *name, size_t len, const char *word, size_t word_len)
{
    size_t before = 0, after = 0;
    while (before < word_len && word[before] != '<' && word[before] != '*')
        before++;
    if (before == word_len)
        return len == word_len && memcmp(name, word, len) == 0;
    while (after < word_len && word[word_len - after - 1] != '>' &&
           word[word_len - after - 1] != '*')
        after++;
    const char *end = word + word_len - after;
    return (before > 0 || memchr(end, '_', after) != NULL) && len > before + after &&
           memcmp(name, word, before) == 0 && memcmp(name + len - after, end, after) == 0;
}

/* A file of the bundle, plain or packed, that the adapter names; NULL when there is none. */
static const um_entry *find_file_of(const um_bundle *bundle, const um_adapter *adapter)
{
    static const char blanks[] = " ,;()";
    for (size_t i = 0; i < bundle->n_entries; i++) {
        const char *name = um_path_base(bundle->entries[i].name), *word = adapter->files;
        size_t len = strlen(name) - (um_str_ends(name, ".gz") ? 3 : 0), n = 0;
        for (word += strspn(word, blanks); *word != '\0'; word += n, word += strspn(word, blanks)) {
            n = strcspn(word, blanks);
            if (memchr(word, '.', n) != NULL && is_called(name, len, word, n))
                return &bundle->entries[i];
        }
    }
    return NULL;
}

/* Adapters of which a part is there come first, with all they need. */
static void describe_near_adapters(um_str *text, const um_bundle *bundle)
{
    const char *twice = NULL;
    for (size_t i = 0; i < N_ADAPTERS; i++) {
        const um_entry *entry = find_file_of(bundle, adapters[i]);
        if (entry == NULL)
            continue;
        um_str_appendf(text, "; %s needs %s", adapters[i]->name, adapters[i]->files);
        const char *name = um_path_base(entry->name);
        if (twice == NULL && um_bundle_find(bundle, name) == NULL)
            twice = name;
    }
    if (twice != NULL)
        um_str_appendf(text, "; %s is there more than once: give the folder of one", twice);
}

static um_status fail_unrecognised(const um_bundle *bundle, um_error *err)
{
    um_str text = UM_STR_INIT;
    um_str_append(&text, "found ");
    um_bundle_describe(bundle, &text);
    for (size_t i = 0; i < bundle->n_entries; i++) {
        if (um_str_ends(bundle->entries[i].name, ".zip")) {
            um_str_append(&text, " (archives inside are not read: unpack them)");
            break;
        }
    }
    describe_near_adapters(&text, bundle);
    um_str_append(&text, "; describe its columns with --mapping FILE (docs/MAPPING.md); "
                         "expected the files of one of:");
    name_adapters(&text);
    um_status status = um_str_status(&text, err);
    if (status == UM_OK)
        status = um_fail(err, UM_ERR_INPUT, "%s: no data set recognised: %s", bundle->path,
                         um_str_text(&text));
    um_str_dispose(&text);
    return status;
}

static um_status find_adapter(const um_adapter **out, const char *name, um_error *err)
{
    const char *names[N_ADAPTERS];
    for (size_t i = 0; i < N_ADAPTERS; i++) {
        names[i] = adapters[i]->name;
        if (strcmp(names[i], name) == 0) {
            *out = adapters[i];
            return UM_OK;
        }
    }
    const char *near = um_nearest(name, names, N_ADAPTERS);
    um_str text = UM_STR_INIT;
    name_adapters(&text);
    um_status status =
        um_fail(err, UM_ERR_NOT_FOUND, "no adapter '%.40s'%s%s%s; there are:%s", name,
                near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
                near != NULL ? "'?" : "", um_str_text(&text));
    um_str_dispose(&text);
    return status;
}

static um_status choose_adapter(const um_adapter **out, const um_bundle *bundle,
                                const um_ingest_options *options, um_error *err)
{
    const um_adapter *found = NULL;
    const char *name = options->adapter;
    if (options->mapping != NULL) {
        if (name != NULL && strcmp(name, "auto") != 0 && strcmp(name, um_adapter_mapped.name) != 0)
            return um_fail(err, UM_ERR_INPUT, "a mapping is for adapter %s, not for %s",
                           um_adapter_mapped.name, name);
        *out = &um_adapter_mapped;
        return UM_OK;
    }
    if (name != NULL && strcmp(name, "auto") != 0) {
        um_status status = find_adapter(&found, name, err);
        if (status != UM_OK)
            return status;
        if (!(found->detect_named != NULL ? found->detect_named : found->detect)(bundle)) {
            um_str text = UM_STR_INIT;
            um_bundle_describe(bundle, &text);
            status = um_fail(err, UM_ERR_INPUT, "%s: adapter %s expects %s; found %s", bundle->path,
                             found->name, found->files, um_str_text(&text));
            um_str_dispose(&text);
            return status;
        }
        *out = found;
        return UM_OK;
    }
    for (size_t i = 0; i < N_ADAPTERS; i++) {
        if (!adapters[i]->detect(bundle))
            continue;
        if (found != NULL)
            return um_fail(err, UM_ERR_INPUT,
                           "%s: has the files of both %s and %s; name the adapter to use",
                           bundle->path, found->name, adapters[i]->name);
        found = adapters[i];
    }
    if (found == NULL)
        return fail_unrecognised(bundle, err);
    *out = found;
    return UM_OK;
}

/* "maps/shop.yaml" -> "shop" */
static void append_stem(um_str *name, const char *path)
{
    const char *base = um_path_base(path);
    const char *dot = strrchr(base, '.');
    um_str_append_n(name, base, dot != NULL ? (size_t)(dot - base) : strlen(base));
}

static um_status make_builder(um_reading *r, const um_adapter *adapter, um_error *err)
{
    um_str name = UM_STR_INIT;
    um_status status = UM_OK;
    if (r->options->name != NULL)
        um_str_append(&name, r->options->name);
    else if (r->options->mapping != NULL)
        append_stem(&name, r->options->mapping);
    else if (adapter->default_name != NULL)
        um_str_append(&name, adapter->default_name);
    else
        status = adapter->make_name(r->bundle, &name, err);
    if (status == UM_OK)
        status = um_str_status(&name, err);
    if (status == UM_OK)
        status = um_dataset_builder_new(&r->builder, um_str_text(&name), err);
    if (status == UM_OK)
        status = um_builder_set_spool_dir(r->builder, r->options->spool_dir, err);
    um_str_dispose(&name);
    return status;
}

void um_ingest_defaults(um_ingest_options *options)
{
    *options = (um_ingest_options){.max_bad = -1,
                                   .filters = {.newest_share = UM_FILTER_DEFAULT,
                                               .min_user_interactions = UM_FILTER_DEFAULT,
                                               .max_user_interactions = UM_FILTER_DEFAULT,
                                               .min_item_interactions = UM_FILTER_DEFAULT,
                                               .min_rating_count = UM_FILTER_DEFAULT,
                                               .min_history = UM_FILTER_DEFAULT,
                                               .max_list = UM_FILTER_DEFAULT}};
}

static um_ingest_filters merge_filters(const um_ingest_filters *published,
                                       const um_ingest_filters *asked)
{
    um_ingest_filters f = *asked;
    if (f.newest_share < 0)
        f.newest_share = published->newest_share;
    if (f.min_user_interactions < 0)
        f.min_user_interactions = published->min_user_interactions;
    if (f.max_user_interactions < 0)
        f.max_user_interactions = published->max_user_interactions;
    if (f.min_item_interactions < 0)
        f.min_item_interactions = published->min_item_interactions;
    if (f.min_rating_count < 0)
        f.min_rating_count = published->min_rating_count;
    if (f.min_history < 0)
        f.min_history = published->min_history;
    if (f.max_list < 0)
        f.max_list = published->max_list;
    return f;
}

/* A filter that the log has no figures for would leave out nothing, without a word. */
static um_status check_filters(const um_adapter *a, const um_ingest_filters *asked, um_error *err)
{
    const struct {
        const char *name, *what;
        int64_t value;
        bool has;
    } rows[] = {
        {"min_rating_count", "counts of ratings", asked->min_rating_count, a->has_rating_counts},
        {"min_history", "clicks before the log", asked->min_history, a->has_clicks_before},
        {"max_list", "lists shown", asked->max_list, a->has_lists}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].value > 0 && !rows[i].has)
            return um_fail(err, UM_ERR_INPUT,
                           "ingest.%s is %lld, but logs of adapter %s have no %s; set it to 0",
                           rows[i].name, (long long)rows[i].value, a->name, rows[i].what);
    }
    return UM_OK;
}

um_status um_dataset_read(um_dataset **out, um_ingest_report *report, const char *path,
                          const um_ingest_options *options, const um_monitor *monitor,
                          um_error *err)
{
    um_ingest_options default_options;
    um_ingest_report unread;
    um_reading r = {.report = report != NULL ? report : &unread,
                    .options = options != NULL ? options : &default_options,
                    .monitor = monitor};
    const um_adapter *adapter = NULL;
    um_ingest_defaults(&default_options);
    *r.report = (um_ingest_report){0};
    um_status status = um_bundle_open(&r.bundle, path, err);
    if (status == UM_OK)
        status = choose_adapter(&adapter, r.bundle, r.options, err);
    if (status == UM_OK)
        status = check_filters(adapter, &r.options->filters, err);
    if (status != UM_OK)
        goto done;
    r.filters = merge_filters(&adapter->filters, &r.options->filters);
    snprintf(r.report->adapter, sizeof r.report->adapter, "%s", adapter->name);
    status = make_builder(&r, adapter, err);
    if (status == UM_OK)
        status = adapter->read(&r, err);
    if (status != UM_OK)
        goto done;
    const um_builder_finish_options finish = {
        .unique = true, .filters = &r.filters, .on_left_out = left_out, .context = &r};
    status = um_builder_finish_with(r.builder, &finish, out, err);
    if (status == UM_OK && (*out)->n_interactions == 0) {
        um_dataset_free(*out);
        *out = NULL;
        status = um_fail(err, UM_ERR_INPUT,
                         "%s: no interaction is left of %llu rows; filters left out %llu, ask for "
                         "less with ingest.min_user_interactions and the like",
                         path, (unsigned long long)r.report->rows_read,
                         (unsigned long long)r.report->rows_filtered);
    }
done:
    if (r.is_open) /* a report tells how far a reading came that failed */
        count_kept(&r);
    um_dataset_builder_free(r.builder);
    um_bundle_free(r.bundle);
    return status;
}
