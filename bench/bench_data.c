/*
 * bench_data.c - what reading a log of JSON lines costs, beside what nobody can avoid.
 *
 *     bench_data PATH [ROUNDS]
 *
 * PATH is a log in canonical JSONL (folder or zip; .gz files fine). For all its files together:
 *
 *     decompress    bytes out of the files, thrown away
 *     parse         the same, cut into lines, each parsed with the reader the adapter uses
 *     adapter       um_dataset_read: a whole data set in memory, nothing written
 *
 * Each figure is the best of ROUNDS (5), in one process, files in the page cache. The first two run
 * on one thread; the adapter parses on a thread that runs ahead, so it needs a second free CPU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/jsonl.h"
#include "data/bundle.h"
#include "data/lines.h"
#include "mirrorer/dataset.h"

typedef struct work {
    const char *path;
    uint64_t bytes, rows;
} work;

typedef um_status (*work_fn)(work *w, um_error *err);

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static um_status decompress(work *w, um_error *err)
{
    static char buffer[1 << 18];
    um_bundle *bundle = NULL;
    um_status status = um_bundle_open(&bundle, w->path, err);
    for (size_t i = 0; status == UM_OK && i < bundle->n_entries; i++) {
        um_stream *stream = NULL;
        size_t n = 1;
        status = um_stream_open(&stream, bundle, &bundle->entries[i], err);
        while (status == UM_OK && n > 0) {
            status = um_stream_read(stream, buffer, sizeof buffer, &n, err);
            w->bytes += n;
        }
        um_stream_close(stream);
    }
    um_bundle_free(bundle);
    return status;
}

static um_status parse_file(work *w, um_jsonl *parser, um_bundle *bundle, const um_entry *entry,
                            um_error *err)
{
    um_lines lines;
    um_line line;
    um_jval root;
    um_status status = um_lines_open(&lines, bundle, entry, err);
    while (status == UM_OK) {
        status = um_lines_next(&lines, &line, err);
        if (status != UM_OK || line.text == NULL)
            break;
        w->rows++;
        status = um_jsonl_parse(parser, line.text, line.len, &root, err);
    }
    w->bytes += lines.bytes;
    um_lines_close(&lines);
    return status;
}

static um_status parse(work *w, um_error *err)
{
    um_bundle *bundle = NULL;
    um_jsonl *parser = NULL;
    um_status status = um_bundle_open(&bundle, w->path, err);
    if (status == UM_OK)
        status = um_jsonl_new(&parser, err);
    for (size_t i = 0; status == UM_OK && i < bundle->n_entries; i++)
        status = parse_file(w, parser, bundle, &bundle->entries[i], err);
    um_jsonl_free(parser);
    um_bundle_free(bundle);
    return status;
}

static um_status adapter(work *w, um_error *err)
{
    um_dataset *dataset = NULL;
    um_ingest_report report;
    um_ingest_options options;
    um_ingest_defaults(&options);
    um_status status = um_dataset_read(&dataset, &report, w->path, &options, NULL, err);
    w->rows = report.rows_read;
    for (size_t i = 0; i < report.n_files; i++)
        w->bytes += report.files[i].bytes;
    um_dataset_free(dataset);
    return status;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        work_fn run;
    } works[] = {{"decompress", decompress}, {"parse", parse}, {"adapter", adapter}};
    enum { N_WORKS = sizeof works / sizeof *works };
    double best[N_WORKS] = {0};
    work done[N_WORKS] = {0};
    int rounds = argc > 2 ? atoi(argv[2]) : 5;
    um_error err;
    if (argc < 2 || rounds < 1) {
        fprintf(stderr, "usage: bench_data PATH [ROUNDS]\n");
        return 2;
    }
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < N_WORKS; i++) {
            done[i] = (work){.path = argv[1]};
            double start = seconds();
            if (works[i].run(&done[i], &err) != UM_OK) {
                fprintf(stderr, "%s: %s\n", works[i].name, err.text);
                return 1;
            }
            double took = seconds() - start;
            if (round == 0 || took < best[i])
                best[i] = took;
        }
    }
    printf("%-12s %10s %12s %10s\n", "", "seconds", "rows/s", "MB/s");
    for (int i = 0; i < N_WORKS; i++)
        printf("%-12s %10.3f %12.0f %10.0f\n", works[i].name, best[i],
               (double)done[i].rows / best[i], 1e-6 * (double)done[i].bytes / best[i]);
    printf("adapter over parse: %.2f\n", best[2] / best[1]);
    return 0;
}
