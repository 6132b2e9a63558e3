/* packed_file.c - see packed_file.h. */
#include "model/packed_file.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/config.h"
#include "model/params.h"
#include "model/safetensors.h"
#include "model/weights.h"

#define ALIGN 64
#define SUM_BYTES                                                                                  \
    ((size_t)1 << 20) /* checksums are of such pieces, so that threads can share them */

/* A tensor of the file: a matrix, or the vectors (dtype UM_F32, n floats). */
typedef struct entry {
    char name[24];
    um_packed matrix;
    size_t offset; /* of its floats in the model's block */
    size_t at, bytes;
    uint64_t sum;
} entry;

typedef struct layout {
    entry *entries;
    size_t n, bytes; /* of all data */
} layout;

/* Layout -----------------------------------------------------------------------------------------
 */

static void add(layout *l, const char *name, um_dtype dtype, int n, int k, bool pair, size_t offset)
{
    entry *e = &l->entries[l->n++];
    snprintf(e->name, sizeof e->name, "%s", name);
    e->matrix = (um_packed){.dtype = dtype, .pair = pair, .n = n, .k = k};
    e->offset = offset;
    e->at = l->bytes;
    e->bytes = dtype == UM_F32 ? ((size_t)n * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN
                               : um_packed_bytes(dtype, um_packed_outputs(n, pair), k);
    l->bytes += e->bytes;
}

static int qkv_rows(const um_model_config *config)
{
    return (config->heads + 2 * config->kv_heads) * config->head_dim;
}

/* Floats of a layer in "vectors": two norms and the biases. */
static int layer_vectors(const um_model_config *config)
{
    return 2 * config->hidden + (config->qkv_bias ? qkv_rows(config) : 0);
}

static um_status lay_out(layout *out, const um_model_config *config, const um_params *params,
                         um_dtype dtype, um_error *err)
{
    const int c = config->hidden, heads = config->heads * config->head_dim, f = config->ffn;
    layout l = {0};
    l.entries = um_calloc((size_t)config->layers * 4 + 3, sizeof *l.entries);
    if (l.entries == NULL)
        return um_fail_memory(err, "packed weights");
    if (!config->tied)
        add(&l, "embedding", dtype, config->vocab, c, false, params->embedding);
    for (int i = 0; i < config->layers; i++) {
        const um_layer_offsets *at = &params->layers[i];
        const struct {
            const char *name;
            int n, k;
            size_t offset;
        } parts[] = {{"qkv", qkv_rows(config), c, at->qkv},
                     {"o", c, heads, at->o},
                     {"gate_up", 2 * f, c, at->gate_up},
                     {"down", c, f, at->down}};
        for (int j = 0; j < 4; j++) {
            char name[24];
            snprintf(name, sizeof name, "%d.%s", i, parts[j].name);
            add(&l, name, dtype, parts[j].n, parts[j].k, j == 2, parts[j].offset);
        }
    }
    add(&l, "head", dtype, config->vocab, c, false, params->lm_head);
    add(&l, "vectors", UM_F32, c + config->layers * layer_vectors(config), 1, false, 0);
    *out = l;
    return UM_OK;
}

uint64_t um_model_held_bytes(const um_model_config *config, um_dtype dtype)
{
    uint64_t bytes = UINT64_MAX;
    um_params params = {0};
    layout l = {0};
    um_error ignored;
    if (um_params_layout(&params, config, &ignored) == UM_OK) {
        const int c = config->hidden;
        if (dtype == UM_F32) /* vectors, and a table that is not the head, are there once */
            bytes = sizeof(float) * (2 * (uint64_t)params.n -
                                     (uint64_t)(c + config->layers * layer_vectors(config)) -
                                     (config->tied ? 0 : (uint64_t)config->vocab * (uint64_t)c));
        else if (lay_out(&l, config, &params, dtype, &ignored) == UM_OK)
            bytes = l.bytes;
    }
    free(l.entries);
    um_params_dispose(&params);
    return bytes;
}

/* Names, sizes and times of what the file is made from. */
static um_status describe_source(um_str *out, const char *dir, um_error *err)
{
    um_str names = UM_STR_INIT;
    um_status status = um_weights_names(&names, dir, err);
    const char *name = um_str_text(&names);
    while (status == UM_OK && *name != '\0') {
        const char *end = strchr(name, '\n');
        char *path = NULL;
        struct stat st;
        um_str one = UM_STR_INIT;
        um_str_append_n(&one, name, (size_t)(end - name));
        status = um_path_join(&path, dir, um_str_text(&one), err);
        if (status == UM_OK && stat(path, &st) != 0)
            status = um_fail_errno(err, "read", path);
        if (status == UM_OK)
            um_str_appendf(out, "%s %lld %lld.%09ld;", um_str_text(&one), (long long)st.st_size,
                           (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        free(path);
        um_str_dispose(&one);
        name = end + 1;
    }
    um_str_dispose(&names);
    return status;
}

static um_status file_path(char **out, const char *dir, um_dtype dtype, um_error *err)
{
    char name[48];
    snprintf(name, sizeof name, "mirrorer-%s.packed", um_dtype_name(dtype));
    return um_path_join(out, dir, name, err);
}

/* The header for given sums: its length does not depend on them. */
static void write_header(um_str *out, const layout *l, um_dtype dtype, const char *source,
                         const um_model_config *config)
{
    um_str text = UM_STR_INIT;
    um_model_config_write(&text, config);
    um_str_appendf(out, "{\"__metadata__\":{\"format\":\"%s\",\"dtype\":\"%s\",\"source\":",
                   UM_PACKED_FORMAT, um_dtype_name(dtype));
    um_str_append_json(out, source);
    um_str_append(out, ",\"config\":");
    um_str_append_json(out, um_str_text(&text));
    um_str_append(out, ",\"sums\":\"");
    for (size_t i = 0; i < l->n; i++)
        um_str_appendf(out, "%016" PRIx64, l->entries[i].sum);
    um_str_append(out, "\"}");
    for (size_t i = 0; i < l->n; i++) {
        const entry *e = &l->entries[i];
        const bool floats = e->matrix.dtype == UM_F32;
        um_str_appendf(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
                       e->name, floats ? "F32" : "U8", floats ? e->bytes / sizeof(float) : e->bytes,
                       e->at, e->at + e->bytes);
    }
    um_str_append_char(out, '}');
    while (um_str_status(out, NULL) == UM_OK && (out->len + sizeof(uint64_t)) % ALIGN != 0)
        um_str_append_char(out, ' ');
    um_str_dispose(&text);
}

/* Checksums ---------------------------------------------------------------------------------------
 */

typedef struct sum_job {
    const char *data;
    size_t bytes;
    atomic_uint_fast64_t sum;
} sum_job;

static void sum_pieces(void *ctx, size_t begin, size_t end, int thread)
{
    sum_job *job = ctx;
    uint64_t sum = 0;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        const size_t at = i * SUM_BYTES;
        const size_t n = job->bytes - at < SUM_BYTES ? job->bytes - at : SUM_BYTES;
        sum += um_hash(job->data + at, n, i + 1);
    }
    atomic_fetch_add(&job->sum, sum);
}

static uint64_t checksum(um_compute *compute, const void *data, size_t bytes)
{
    sum_job job = {.data = data, .bytes = bytes};
    um_pool_run(compute->pool, (bytes + SUM_BYTES - 1) / SUM_BYTES, 1, sum_pieces, &job);
    return atomic_load(&job.sum);
}

/* Writing -----------------------------------------------------------------------------------------
 */

typedef struct fill_job {
    const um_weights_source *source;
    const entry *entry;
    char *to;
    um_error *errors; /* [threads]; status UM_OK: none */
    float *rows;      /* [threads, UM_PANEL, k] */
} fill_job;

static void fill_panels(void *ctx, size_t begin, size_t end, int thread)
{
    fill_job *job = ctx;
    const um_packed *m = &job->entry->matrix;
    const size_t k = (size_t)m->k, panel_bytes = um_packed_panel_bytes(m->dtype, m->k);
    float *memory = job->rows + (size_t)thread * UM_PANEL * k;
    um_error *err = &job->errors[thread];
    for (size_t p = begin; p < end && err->status == UM_OK; p++) {
        const float *rows[UM_PANEL] = {NULL};
        for (int j = 0, row; j < UM_PANEL && err->status == UM_OK; j++) {
            if (!um_packed_source((int)p, j, m->n, m->pair, &row))
                continue;
            rows[j] = memory + (size_t)j * k;
            um_status status = um_weights_floats(job->source, job->entry->offset + (size_t)row * k,
                                                 k, memory + (size_t)j * k, err);
            (void)status; /* it is in err */
        }
        if (err->status == UM_OK)
            um_packed_panel(m->dtype, job->to + p * panel_bytes, rows, m->k);
    }
}

static um_status fill_matrix(const entry *e, const um_weights_source *source, um_compute *compute,
                             void *to, um_error *err)
{
    const size_t threads = (size_t)um_pool_threads(compute->pool);
    fill_job job = {.source = source, .entry = e, .to = to};
    job.errors = um_calloc(threads, sizeof *job.errors);
    job.rows = um_calloc(threads * UM_PANEL, (size_t)e->matrix.k * sizeof *job.rows);
    um_status status =
        job.errors != NULL && job.rows != NULL ? UM_OK : um_fail_memory(err, "packed weights");
    if (status == UM_OK)
        um_pool_run(compute->pool, e->bytes / um_packed_panel_bytes(e->matrix.dtype, e->matrix.k),
                    1, fill_panels, &job);
    for (size_t i = 0; i < threads && status == UM_OK; i++) {
        status = job.errors[i].status;
        if (status != UM_OK && err != NULL)
            *err = job.errors[i];
    }
    free(job.errors);
    free(job.rows);
    return status;
}

static um_status fill_vectors(float *to, const um_weights_source *source,
                              const um_model_config *config, const um_params *params, um_error *err)
{
    const size_t c = (size_t)config->hidden, q = (size_t)qkv_rows(config);
    um_status status = um_weights_floats(source, params->final_norm, c, to, err);
    to += c;
    for (int l = 0; l < config->layers && status == UM_OK; l++) {
        const um_layer_offsets *at = &params->layers[l];
        status = um_weights_floats(source, at->attn_norm, c, to, err);
        if (status == UM_OK)
            status = um_weights_floats(source, at->mlp_norm, c, to + c, err);
        if (status == UM_OK && config->qkv_bias)
            status = um_weights_floats(source, at->qkv_bias, q, to + 2 * c, err);
        to += layer_vectors(config);
    }
    return status;
}

/* Makes every tensor, appends it to the file and sums it up. */
static um_status write_entries(layout *l, FILE *stream, const char *path,
                               const um_weights_source *source, const um_model_config *config,
                               const um_params *params, um_compute *compute,
                               const um_monitor *monitor, um_error *err)
{
    size_t most = 0;
    um_progress progress = {.stage = "pack weights", .unit = "MB", .total = l->bytes >> 20};
    for (size_t i = 0; i < l->n; i++)
        most = l->entries[i].bytes > most ? l->entries[i].bytes : most;
    char *buffer = um_aligned_calloc(most, 1);
    um_status status = buffer != NULL ? UM_OK : um_fail_memory(err, "packed weights");
    for (size_t i = 0; i < l->n && status == UM_OK; i++) {
        entry *e = &l->entries[i];
        if (um_monitor_stopped(monitor)) {
            status = um_fail(err, UM_ERR_INTERRUPTED, "stopped; nothing was written");
            break;
        }
        memset(buffer, 0, e->bytes);
        status = e->matrix.dtype == UM_F32
                     ? fill_vectors((float *)(void *)buffer, source, config, params, err)
                     : fill_matrix(e, source, compute, buffer, err);
        e->sum = checksum(compute, buffer, e->bytes);
        if (status == UM_OK && fwrite(buffer, e->bytes, 1, stream) != 1)
            status = um_fail_errno(err, "write", path);
        progress.done = (e->at + e->bytes) >> 20;
        um_monitor_progress(monitor, &progress);
    }
    free(buffer);
    return status;
}

um_status um_packed_file_write(const char *dir, um_dtype dtype, um_compute *compute,
                               const um_monitor *monitor, um_error *err)
{
    um_model_config config;
    um_params params = {0};
    um_weights_source *source = NULL;
    um_outfile file = {0};
    layout l = {0};
    um_str from = UM_STR_INIT, header = UM_STR_INIT;
    char *path = NULL;
    um_status status = um_model_config_read(&config, dir, err);
    if (status == UM_OK)
        status = um_params_layout(&params, &config, err);
    if (status == UM_OK)
        status = um_weights_open(&source, &params, &config, dir, err);
    if (status == UM_OK)
        status = describe_source(&from, dir, err);
    if (status == UM_OK)
        status = lay_out(&l, &config, &params, dtype, err);
    if (status == UM_OK)
        status = file_path(&path, dir, dtype, err);
    if (status == UM_OK)
        status = um_outfile_open(&file, path, err);
    for (int round = 0; round < 2 && status == UM_OK; round++) {
        um_str_clear(&header);
        write_header(&header, &l, dtype, um_str_text(&from), &config);
        const uint64_t length = header.len;
        status = um_str_status(&header, err);
        if (status == UM_OK && (fseek(file.stream, 0, SEEK_SET) != 0 ||
                                fwrite(&length, sizeof length, 1, file.stream) != 1 ||
                                fwrite(header.data, header.len, 1, file.stream) != 1))
            status = um_fail_errno(err, "write", path);
        if (status == UM_OK && round == 0)
            status = write_entries(&l, file.stream, path, source, &config, &params, compute,
                                   monitor, err);
    }
    if (status == UM_OK)
        status = um_outfile_commit(&file, err);
    um_outfile_dispose(&file);
    um_weights_close(source);
    um_params_dispose(&params);
    um_str_dispose(&from);
    um_str_dispose(&header);
    free(l.entries);
    free(path);
    return status;
}

/* Mapping -----------------------------------------------------------------------------------------
 */

typedef struct packed_map {
    um_matrices matrices; /* first: model->packed points here */
    um_safetensors file;
} packed_map;

static um_status check_metadata(const um_safetensors *file, um_dtype dtype, const char *source,
                                const um_model_config *config, um_error *err)
{
    um_str text = UM_STR_INIT;
    um_model_config_write(&text, config);
    const struct {
        const char *key, *want, *what;
    } rules[] = {{"format", UM_PACKED_FORMAT, "is of another version of this program"},
                 {"dtype", um_dtype_name(dtype), "holds another format"},
                 {"source", source, "was made from other files than are there now"},
                 {"config", um_str_text(&text), "was made with another config.json"}};
    um_status status = um_str_status(&text, err);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0] && status == UM_OK; i++) {
        const char *found = um_safetensors_metadata(file, rules[i].key);
        if (found == NULL || strcmp(found, rules[i].want) != 0)
            status = um_fail(err, UM_ERR_STATE, "%s: it %s", file->path, rules[i].what);
    }
    um_str_dispose(&text);
    return status;
}

/* The tensors lie where the layout says, and their bytes are what was written. */
static um_status check_entries(layout *l, const um_safetensors *file, um_compute *compute,
                               um_error *err)
{
    const char *sums = um_safetensors_metadata(file, "sums");
    if (sums == NULL || strlen(sums) != 16 * l->n || file->n != l->n)
        return um_fail(err, UM_ERR_INPUT, "%s: damaged: not the tensors of this model", file->path);
    for (size_t i = 0; i < l->n; i++) {
        entry *e = &l->entries[i];
        const um_safetensor *tensor = um_safetensors_find(file, e->name);
        char hex[17] = {0};
        memcpy(hex, sums + 16 * i, 16);
        if (tensor == NULL || tensor->begin != e->at || tensor->end != e->at + e->bytes)
            return um_fail(err, UM_ERR_INPUT, "%s: damaged: tensor \"%s\" is not where it must be",
                           file->path, e->name);
        e->sum = checksum(compute, file->data + e->at, e->bytes);
        if (strtoull(hex, NULL, 16) != e->sum)
            return um_fail(err, UM_ERR_INPUT, "%s: damaged: tensor \"%s\" fails its checksum",
                           file->path, e->name);
    }
    return UM_OK;
}

static um_status take_matrices(um_matrices *m, const layout *l, const um_safetensors *file,
                               const um_model_config *config, um_dtype dtype, um_error *err)
{
    const entry *e = l->entries;
    const float *vectors =
        (const float *)(const void *)(file->data + l->entries[l->n - 1].at) + config->hidden;
    *m = (um_matrices){
        .dtype = dtype, .n_layers = config->layers, .final_norm = vectors - config->hidden};
    m->layers = um_calloc((size_t)config->layers, sizeof *m->layers);
    if (m->layers == NULL)
        return um_fail_memory(err, "packed weights");
    um_packed *to = config->tied ? NULL : &m->embedding;
    for (int i = 0; i < (int)l->n - 1; i++, e++) {
        const int part = (i - (config->tied ? 0 : 1)) % 4, at = (i - (config->tied ? 0 : 1)) / 4;
        um_layer_matrices *w = at < config->layers ? &m->layers[at] : NULL;
        if (i > 0 || config->tied)
            to = w == NULL   ? &m->head
                 : part == 0 ? &w->qkv
                 : part == 1 ? &w->o
                 : part == 2 ? &w->gate_up
                             : &w->down;
        *to = e->matrix;
        to->data = file->data + e->at;
        m->hash = um_hash(&e->sum, sizeof e->sum, m->hash);
    }
    m->hash = um_hash(&e->sum, sizeof e->sum, m->hash);
    if (config->tied)
        m->embedding = m->head;
    for (int i = 0; i < config->layers; i++, vectors += layer_vectors(config)) {
        m->layers[i].attn_norm = vectors;
        m->layers[i].mlp_norm = vectors + config->hidden;
        m->layers[i].qkv_bias = config->qkv_bias ? vectors + 2 * config->hidden : NULL;
    }
    return UM_OK;
}

um_status um_packed_file_map(um_model *model, const char *dir, um_dtype dtype, um_compute *compute,
                             um_error *err)
{
    packed_map *map = um_calloc(1, sizeof *map);
    layout l = {0};
    um_str from = UM_STR_INIT;
    char *path = NULL;
    um_status status = map != NULL ? UM_OK : um_fail_memory(err, "packed weights");
    if (status == UM_OK)
        status = file_path(&path, dir, dtype, err);
    if (status == UM_OK && !um_path_exists(path))
        status = um_fail(err, UM_ERR_NOT_FOUND, "%s: no such file", path);
    if (status == UM_OK)
        status = um_safetensors_open(&map->file, path, err);
    if (status == UM_OK)
        status = describe_source(&from, dir, err);
    if (status == UM_OK)
        status = check_metadata(&map->file, dtype, um_str_text(&from), &model->config, err);
    if (status == UM_OK)
        status = lay_out(&l, &model->config, &model->params, dtype, err);
    if (status == UM_OK)
        status = check_entries(&l, &map->file, compute, err);
    if (status == UM_OK)
        status = take_matrices(&map->matrices, &l, &map->file, &model->config, dtype, err);
    if (status == UM_OK) {
        model->packed = &map->matrices;
    } else if (map != NULL) {
        um_safetensors_close(&map->file);
        free(map);
    }
    um_str_dispose(&from);
    free(l.entries);
    free(path);
    return status;
}

void um_packed_file_unmap(um_model *model)
{
    packed_map *map = (packed_map *)(void *)model->packed;
    if (map == NULL)
        return;
    free(map->matrices.layers);
    um_safetensors_close(&map->file);
    free(map);
    model->packed = NULL;
}
