/*
 * bench_data.c - what reading a log of JSON lines costs, beside what nobody can avoid.
 *
 *     bench_data PATH [ROUNDS [MAPPING.yaml | python]]
 *
 * PATH is a log that an adapter knows, or the mapping (folder or zip; .gz files fine), and all of
 * whose files are JSON lines. For all its files together:
 *
 *     unpack        bytes out of the files, thrown away
 *     floor         the same, cut into lines, each parsed by simdjson (bench_parse.cpp), no more
 *     checked       with the reader the adapter uses: duplicate keys, depth, lone surrogates.
 *                   "python": the lines are printed Python, which is turned into JSON first; it is
 *                   the floor then
 *     adapter       um_dataset_read: a whole data set, texts put aside on disk
 *
 * The first three run on one thread; the adapter parses on two, and unpacks on a third. Wall
 * seconds are the best of ROUNDS (5), taken in turns in one process, with the files in the page
 * cache; CPU seconds (user and kernel, all threads) are the least of the rounds and tell what a
 * busy machine hides: with two free CPUs no wall time can be less than half of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/jsonl.h"
#include "bench_parse.h"
#include "data/bundle.h"
#include "data/lines.h"
#include "data/pyliteral.h"
#include "mirrorer/dataset.h"

#define BLOCK_BYTES ((size_t)1 << 20)

typedef struct work {
    const char *path, *mapping; /* NULL: an adapter knows the log */
    bool is_python;
    uint64_t bytes, rows;
} work;

typedef um_status (*work_fn)(work *w, um_bundle *bundle, um_error *err);

typedef struct times {
    double wall, cpu;
} times;

static times now(void)
{
    struct timespec t;
    struct rusage u;
    clock_gettime(CLOCK_MONOTONIC, &t);
    getrusage(RUSAGE_SELF, &u);
    return (times){.wall = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec,
                   .cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
                          1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec)};
}

static um_status unpack(work *w, um_bundle *bundle, um_error *err)
{
    static char buffer[BLOCK_BYTES];
    um_status status = UM_OK;
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
    return status;
}

/* A file in blocks, lines that a block cuts moved to the front of the next. */
static um_status parse_blocks(work *w, bench_parser *parser, um_stream *stream, char *buffer,
                              um_error *err)
{
    size_t have = 0, n = 1, used = 0;
    um_status status = UM_OK;
    while (status == UM_OK && n > 0) {
        status = um_stream_read(stream, buffer + have, BLOCK_BYTES - have, &n, err);
        w->bytes += n;
        have += n;
        if (status == UM_OK && n > 0 && !bench_parse_lines(parser, buffer, have, &used, &w->rows))
            return UM_ERR_INPUT;
        memmove(buffer, buffer + used, have - used);
        have -= used;
        used = 0;
    }
    return status;
}

static um_status floor_of(work *w, um_bundle *bundle, um_error *err)
{
    um_status status = UM_OK;
    bench_parser *parser = bench_parser_new();
    char *buffer = malloc(BLOCK_BYTES + bench_parser_padding());
    for (size_t i = 0; status == UM_OK && i < bundle->n_entries; i++) {
        um_stream *stream = NULL;
        status = um_stream_open(&stream, bundle, &bundle->entries[i], err);
        if (status == UM_OK)
            status = parse_blocks(w, parser, stream, buffer, err);
        um_stream_close(stream);
    }
    free(buffer);
    bench_parser_free(parser);
    return status;
}

static um_status parse_file(work *w, um_jsonl *parser, um_bundle *bundle, const um_entry *entry,
                            um_error *err)
{
    um_lines lines;
    um_line line;
    um_jval root;
    um_str json = UM_STR_INIT;
    um_status status = um_lines_open(&lines, bundle, entry, err);
    while (status == UM_OK) {
        status = um_lines_next(&lines, &line, err);
        if (status != UM_OK || line.text == NULL)
            break;
        w->rows++;
        if (!w->is_python) {
            status = um_jsonl_parse_in_place(parser, line.text, line.len, &root, err);
            continue;
        }
        um_str_clear(&json);
        status = um_pyliteral_to_json(&json, line.text, line.len, err);
        if (status == UM_OK)
            status = um_jsonl_parse(parser, um_str_text(&json), json.len, &root, err);
    }
    um_str_dispose(&json);
    w->bytes += lines.bytes;
    um_lines_close(&lines);
    return status;
}

static um_status checked(work *w, um_bundle *bundle, um_error *err)
{
    um_jsonl *parser = NULL;
    um_status status = um_jsonl_new(&parser, err);
    for (size_t i = 0; status == UM_OK && i < bundle->n_entries; i++)
        status = parse_file(w, parser, bundle, &bundle->entries[i], err);
    um_jsonl_free(parser);
    return status;
}

static um_status adapter(work *w, um_bundle *bundle, um_error *err)
{
    (void)bundle;
    um_dataset *dataset = NULL;
    um_ingest_report report;
    um_ingest_options options;
    um_ingest_defaults(&options);
    options.mapping = w->mapping;
    options.adapter = w->mapping != NULL ? "mapped" : options.adapter;
    um_status status = um_dataset_read(&dataset, &report, w->path, &options, NULL, err);
    w->rows = report.rows_read;
    for (size_t i = 0; i < report.n_files; i++)
        w->bytes += report.files[i].bytes;
    um_dataset_free(dataset);
    return status;
}

static um_status run(work *w, work_fn fn, times *best, um_error *err)
{
    um_bundle *bundle = NULL;
    times before = now();
    um_status status = um_bundle_open(&bundle, w->path, err);
    if (status == UM_OK)
        status = fn(w, bundle, err);
    um_bundle_free(bundle);
    times after = now();
    double wall = after.wall - before.wall, cpu = after.cpu - before.cpu;
    best->wall = best->wall == 0 || wall < best->wall ? wall : best->wall;
    best->cpu = best->cpu == 0 || cpu < best->cpu ? cpu : best->cpu;
    return status;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        work_fn run;
    } works[] = {
        {"unpack", unpack}, {"floor", floor_of}, {"checked", checked}, {"adapter", adapter}};
    enum { N_WORKS = sizeof works / sizeof *works, FLOOR = 1, CHECKED, ADAPTER };
    const char *kind = argc > 3 ? argv[3] : "";
    const bool is_python = strcmp(kind, "python") == 0;
    times best[N_WORKS] = {0};
    work done[N_WORKS] = {0};
    int rounds = argc > 2 ? atoi(argv[2]) : 5;
    um_error err = {0};
    if (argc < 2 || rounds < 1) {
        fprintf(stderr, "usage: bench_data PATH [ROUNDS [MAPPING.yaml | python]]\n");
        return 2;
    }
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < N_WORKS; i++) {
            if (is_python && i == FLOOR)
                continue;
            done[i] = (work){.path = argv[1],
                             .mapping = is_python || kind[0] == '\0' ? NULL : kind,
                             .is_python = is_python};
            if (run(&done[i], works[i].run, &best[i], &err) != UM_OK) {
                fprintf(stderr, "%s: %s\n", works[i].name, err.text);
                return 1;
            }
        }
    }
    printf("%-10s %8s %8s %12s %8s\n", "", "wall s", "CPU s", "rows/s", "MB/s");
    const int floor = is_python ? CHECKED : FLOOR;
    for (int i = 0; i < N_WORKS; i++) {
        if (done[i].rows + done[i].bytes == 0)
            continue;
        printf("%-10s %8.3f %8.3f %12.0f %8.0f\n", works[i].name, best[i].wall, best[i].cpu,
               (double)done[i].rows / best[i].wall, 1e-6 * (double)done[i].bytes / best[i].wall);
    }
    printf("adapter over floor: wall %.2f, CPU %.2f\n", best[ADAPTER].wall / best[floor].wall,
           best[ADAPTER].cpu / best[floor].cpu);
    return 0;
}
