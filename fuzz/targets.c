#include "targets.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/jsonl.h"
#include "base/str.h"
#include "data/dates.h"
#include "data/mapped.h"
#include "data/pyliteral.h"
#include "mirrorer/dataset.h"
#include "mirrorer/process.h"
#include "mirrorer/tokenizer.h"
#include "model/safetensors.h"

#define MAX_TEXT 65536

static um_error err;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "fuzz: %s:%d: %s\n", __FILE__, __LINE__, #condition);                  \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Files ---------------------------------------------------------------------------------------- */

static char folder[256];

static void remove_folder(void)
{
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    if (system(command) != 0)
        fprintf(stderr, "fuzz: %s stays\n", folder);
}

/* A folder of this process, in memory where there is such a place; gone at its end. */
static const char *work_folder(void)
{
    if (folder[0] == '\0') {
        snprintf(folder, sizeof folder, "%s/um-fuzz-XXXXXX",
                 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        CHECK(mkdtemp(folder) != NULL);
        atexit(remove_folder);
    }
    return folder;
}

static const char *put(const char *name, const void *data, size_t size)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", work_folder(), name);
    FILE *file = fopen(path, "wb");
    CHECK(file != NULL && fwrite(data, 1, size, file) == size && fclose(file) == 0);
    return path;
}

/* The bytes as a text that ends. */
static char *text_of(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    CHECK(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

/* JSON and Python ------------------------------------------------------------------------------ */

/* Takes what jansson takes, and says again what it said. But jansson refuses U+0000 in texts, and
 * passes over NUL bytes after numbers. */
static void check_json(um_jsonl *parser, const char *text, size_t size)
{
    um_jval root;
    um_str first = UM_STR_INIT, again = UM_STR_INIT;
    json_t *other = NULL;
    bool taken = um_jsonl_parse(parser, text, size, &root, &err) == UM_OK;
    bool by_other = um_json_parse(&other, text, size, "x", &err) == UM_OK;
    if (taken)
        CHECK((by_other && json_is_object(other)) || um_jsonl_has_nul(parser));
    else
        CHECK(!by_other || !json_is_object(other) || memchr(text, '\0', size) != NULL);
    /* In place, and now with the keys that the parser has seen. */
    char *place = malloc(size + UM_JSONL_PADDING);
    CHECK(place != NULL);
    if (size > 0)
        memcpy(place, text, size);
    memset(place + size, ' ', UM_JSONL_PADDING);
    CHECK((um_jsonl_parse_in_place(parser, place, size, &root, &err) == UM_OK) == taken);
    CHECK(taken || size == 0 || memcmp(place, text, size) == 0);
    if (taken) {
        um_jval_dump(&first, root);
        CHECK(um_str_status(&first, &err) == UM_OK);
        CHECK(um_jsonl_parse(parser, um_str_text(&first), first.len, &root, &err) == UM_OK);
        um_jval_dump(&again, root);
        CHECK(strcmp(um_str_text(&first), um_str_text(&again)) == 0);
        if (by_other) {
            um_str_clear(&again);
            um_json_dump(&again, other);
            CHECK(strcmp(um_str_text(&first), um_str_text(&again)) == 0);
        }
    }
    free(place);
    json_decref(other);
    um_str_dispose(&first);
    um_str_dispose(&again);
}

/* Line by line, each with the keys of those before it, and all together. */
static void run_jsonl(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *end = text + size, *newline;
    um_jsonl *parser = NULL;
    CHECK(um_jsonl_new(&parser, &err) == UM_OK);
    for (const char *at = text; at < end; at = newline + 1) {
        newline = memchr(at, '\n', (size_t)(end - at));
        newline = newline != NULL ? newline : end;
        check_json(parser, at, (size_t)(newline - at));
    }
    check_json(parser, text, size);
    um_jsonl_free(parser);
}

/* What is taken becomes JSON, but for what JSON has no place for. */
static void run_pyliteral(const uint8_t *data, size_t size)
{
    static const char *const reasons[] = {"duplicate", "deep", "big",    "overflow",
                                          "0000",      "NUL",  "decode", "Unicode"};
    um_str json = UM_STR_INIT;
    json_t *value = NULL;
    if (um_pyliteral_to_json(&json, (const char *)data, size, &err) == UM_OK) {
        um_status status = um_json_parse(&value, um_str_text(&json), json.len, "x", &err);
        bool good = status == UM_OK;
        for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
            good = good || strstr(err.text, reasons[i]) != NULL;
        CHECK(good);
    }
    json_decref(value);
    um_str_dispose(&json);
}

/* Dates ---------------------------------------------------------------------------------------- */

/* A pattern, a line end, a text. */
static void run_dates(const uint8_t *data, size_t size)
{
    static bool (*const parsers[])(const char *, int64_t *) = {
        um_date_parse_iso, um_date_parse_us, um_date_parse_ctime, um_date_parse_words,
        um_date_parse_dashed};
    char *text = text_of(data, size), *line = strchr(text, '\n');
    int64_t time_s = 0;
    for (size_t i = 0; i < sizeof parsers / sizeof *parsers; i++) {
        if (parsers[i](text, &time_s))
            CHECK(time_s > -100000000000 && time_s < 400000000000);
    }
    if (line != NULL) {
        *line = '\0';
        if (um_date_check_pattern(text) == NULL && um_date_parse_pattern(line + 1, text, &time_s))
            CHECK(time_s > -100000000000 && time_s < 400000000000);
    }
    free(text);
}

/* Logs ----------------------------------------------------------------------------------------- */

static void check_counts(const um_ingest_report *r)
{
    uint64_t kept = 0, rejected = 0;
    for (size_t i = 0; i < r->n_files; i++) {
        CHECK(r->files[i].rows_read == r->files[i].rows_kept + r->files[i].rows_rejected);
        kept += r->files[i].rows_kept;
        rejected += r->files[i].rows_rejected;
    }
    CHECK(r->rows_kept == kept && r->rows_rejected == rejected && r->rows_read == kept + rejected);
    CHECK(r->rows_filtered <= r->rows_rejected);
}

static void check_dataset(const um_dataset *d)
{
    for (uint32_t u = 0; u < d->users.n_rows; u++) {
        for (uint64_t i = d->user_start[u]; i < d->user_start[u + 1]; i++) {
            CHECK(d->item[i] < d->items.n_rows);
            CHECK(i == d->user_start[u] || d->time_s[i - 1] <= d->time_s[i]);
            if (d->impression_start == NULL || d->impression_start[i] == d->impression_start[i + 1])
                continue;
            uint64_t n = d->impression_start[i + 1] - d->impression_start[i];
            int32_t place = d->impression_position[i];
            CHECK(place >= 0 && (uint64_t)place < n);
            CHECK(d->impression_item[d->impression_start[i] + (uint64_t)place] == d->item[i]);
        }
    }
}

/* A log by the mapping in the folder; what is read is sound. */
static void read_mapped(const char *mapping)
{
    um_dataset *d = NULL;
    um_ingest_report *report = calloc(1, sizeof *report);
    um_ingest_options options;
    CHECK(report != NULL);
    um_ingest_defaults(&options);
    options.mapping = mapping;
    um_status status = um_dataset_read(&d, report, work_folder(), &options, NULL, &err);
    CHECK((status == UM_OK) == (d != NULL));
    check_counts(report);
    if (d != NULL)
        check_dataset(d);
    um_dataset_free(d);
    free(report);
}

/* The first byte chooses one of four forms. */
static void run_delimited(const uint8_t *data, size_t size)
{
    static const char *const mappings[] = {
        "log: {file: log.csv, columns: [u, i, t, n], user: u, item: i,\n"
        "  time: {column: t, format: unix}, numbers: [n]}\n",
        "log: {file: log.csv, separator: '::', encoding: latin-1, user: u, item: i,\n"
        "  time: {column: t, format: unix}}\n",
        "log: {file: log.csv, format: tsv, columns: [id, u, i, t, c, p], user: u, item: i,\n"
        "  time: {column: t, format: unix}, texts: [p],\n"
        "  impressions: {id: id, clicked: c, position: p}}\n",
        "log: {file: log.csv, format: jsonl, user: u, item: i, time: {format: order},\n"
        "  impressions: {list: s, position: p}}\n",
    };
    static char path[600];
    if (size == 0 || size > MAX_TEXT)
        return;
    const char *mapping = mappings[data[0] % 4];
    snprintf(path, sizeof path, "%s", put("log.yaml", mapping, strlen(mapping)));
    put("log.csv", data + 1, size - 1);
    read_mapped(path);
}

/* A mapping, and a small log that it may fit. */
static void run_mapping(const uint8_t *data, size_t size)
{
    static const char log[] = "u,i,t,c,p,s\n1,2,1500000000,1,1,2 3\n1,3,1500000000,0,2,2 3\n";
    um_mapping *m = NULL;
    char path[600];
    if (size > MAX_TEXT)
        return;
    put("log.csv", log, sizeof log - 1);
    snprintf(path, sizeof path, "%s", put("log.yaml", data, size));
    if (um_mapping_read(&m, path, &err) == UM_OK)
        read_mapped(path);
    um_mapping_free(m);
}

/* Interactions of a canonical log: what was read and written is read again, and written alike. */
static void run_canonical(const uint8_t *data, size_t size)
{
    static const char users[] = "{\"user_id\":\"u\"}\n{\"user_id\":\"v\"}\n";
    static const char items[] = "{\"item_id\":\"a\"}\n{\"item_id\":\"b\"}\n{\"item_id\":\"c\"}\n";
    static const char *const files[] = {"x_user_feature.jsonl", "x_item_feature.jsonl",
                                        "x_interaction.jsonl"};
    um_dataset *d = NULL;
    char in[300], out[2][300];
    if (size > MAX_TEXT)
        return;
    snprintf(in, sizeof in, "%s/in", work_folder());
    snprintf(out[0], sizeof out[0], "%s/one", work_folder());
    snprintf(out[1], sizeof out[1], "%s/two", work_folder());
    mkdir(in, 0700);
    put("in/x_user_feature.jsonl", users, sizeof users - 1);
    put("in/x_item_feature.jsonl", items, sizeof items - 1);
    put("in/x_interaction.jsonl", data, size);
    if (um_dataset_read(&d, NULL, in, NULL, NULL, &err) != UM_OK)
        return;
    check_dataset(d);
    CHECK(um_dataset_write_canonical(d, out[0], &err) == UM_OK);
    um_dataset_free(d);
    d = NULL;
    CHECK(um_dataset_read(&d, NULL, out[0], NULL, NULL, &err) == UM_OK);
    CHECK(um_dataset_write_canonical(d, out[1], &err) == UM_OK);
    um_dataset_free(d);
    for (size_t i = 0; i < 3; i++) {
        char path[2][640], *bytes[2] = {NULL, NULL};
        size_t n[2] = {0, 0};
        for (int k = 0; k < 2; k++) {
            snprintf(path[k], sizeof path[k], "%s/%s", out[k], files[i]);
            CHECK(um_file_read(&bytes[k], &n[k], path[k], 1 << 24, &err) == UM_OK);
        }
        CHECK(n[0] == n[1] && memcmp(bytes[0], bytes[1], n[0]) == 0);
        free(bytes[0]);
        free(bytes[1]);
    }
}

/* Model files ---------------------------------------------------------------------------------- */

static void run_safetensors(const uint8_t *data, size_t size)
{
    um_safetensors file = {0};
    if (um_safetensors_open(&file, put("model.safetensors", data, size), &err) != UM_OK)
        return;
    for (size_t i = 0; i < file.n; i++) {
        size_t n = 1;
        for (int k = 0; k < file.tensors[i].n_dims; k++)
            n *= (size_t)file.tensors[i].shape[k];
        float *values = malloc((n > 0 ? n : 1) * sizeof *values);
        CHECK(values != NULL && n <= size);
        um_status status = um_safetensors_floats(&file, &file.tensors[i], values, &err);
        CHECK(status == UM_OK || status == UM_ERR_UNSUPPORTED || status == UM_ERR_NUMERIC);
        free(values);
    }
    um_safetensors_close(&file);
}

static void run_tokenizer(const uint8_t *data, size_t size)
{
    static const char text[] = "Behavior: [A] na\xC3\xAFve  tokens\n\xF0\x9F\x98\x80 12345 <s>";
    um_tokenizer *tok = NULL;
    um_tokens tokens = {0};
    char *again = NULL;
    put("tokenizer.json", data, size);
    if (um_tokenizer_load(&tok, work_folder(), &err) == UM_OK) {
        if (um_tokenizer_encode(tok, text, sizeof text - 1, true, &tokens, &err) == UM_OK &&
            um_tokenizer_decode(tok, tokens.ids, tokens.len, false, &again, NULL, &err) == UM_OK)
            CHECK(again != NULL);
    }
    free(again);
    um_tokens_dispose(&tokens);
    um_tokenizer_free(tok);
}

/* What a model wrote --------------------------------------------------------------------------- */

static void run_process(const uint8_t *data, size_t size)
{
    char *text = text_of(data, size), detail[80];
    um_process p;
    size_t len = strlen(text);
    if (um_process_parse(&p, text, detail, sizeof detail) == UM_PROCESS_GOOD) {
        CHECK(p.stimulus >= text && p.stimulus + p.stimulus_len <= text + len);
        CHECK(p.knowledge >= text && p.knowledge + p.knowledge_len <= text + len);
        CHECK(p.evaluation >= text && p.evaluation + p.evaluation_len <= text + len);
        CHECK(p.stimulus_factors != 0 && p.knowledge_factors != 0);
    }
    CHECK(um_process_said(text) <= 26);
    free(text);
}

const fuzz_target fuzz_targets[] = {
    {"jsonl", run_jsonl},
    {"pyliteral", run_pyliteral},
    {"dates", run_dates},
    {"delimited", run_delimited},
    {"mapping", run_mapping},
    {"canonical", run_canonical},
    {"safetensors", run_safetensors},
    {"tokenizer", run_tokenizer},
    {"process", run_process},
    {NULL, NULL},
};

const fuzz_target *fuzz_find(const char *name)
{
    for (const fuzz_target *t = fuzz_targets; t->name != NULL; t++) {
        if (strcmp(t->name, name) == 0)
            return t;
    }
    return NULL;
}
