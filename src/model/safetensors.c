/*
 * safetensors.c - see safetensors.h. Nothing of a header is believed before it was checked.
 */
#include "model/safetensors.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "nn/number.h"

#define LENGTH_BYTES ((size_t)8)
#define DATA_ALIGN   ((size_t)64)

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor data is mapped as it lies");

static const struct {
    const char *name;
    unsigned bytes;
} dtypes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E5M2", 1}, {"F8_E4M3", 1},
              {"I16", 2},  {"U16", 2}, {"F16", 2}, {"BF16", 2},    {"I32", 4},
              {"U32", 4},  {"F32", 4}, {"F64", 8}, {"I64", 8},     {"U64", 8}};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const um_safetensor *)a)->name, ((const um_safetensor *)b)->name);
}

static int by_offset(const void *a, const void *b)
{
    const um_safetensor *x = *(const um_safetensor *const *)a;
    const um_safetensor *y = *(const um_safetensor *const *)b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);
}

/* Reads a JSON array of at most max non-negative integers. */
static um_status read_counts(uint64_t *out, int *n, int max, const json_t *array, const char *key,
                             const char *name, const char *path, um_error *err)
{
    if (!json_is_array(array))
        return um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\": \"%s\" must be an array", path, name,
                       key);
    if (json_array_size(array) > (size_t)max)
        return um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\": \"%s\" has %zu numbers, limit %d",
                       path, name, key, json_array_size(array), max);
    *n = (int)json_array_size(array);
    for (int i = 0; i < *n; i++) {
        const json_t *value = json_array_get(array, (size_t)i);
        if (!json_is_integer(value))
            return um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\": \"%s\" must hold integers", path,
                           name, key);
        if (json_integer_value(value) < 0)
            return um_fail(
                err, UM_ERR_INPUT,
                "%s: tensor \"%s\": \"%s\" holds the negative number %" JSON_INTEGER_FORMAT, path,
                name, key, json_integer_value(value));
        out[i] = (uint64_t)json_integer_value(value);
    }
    return UM_OK;
}

static um_status read_dtype(um_safetensor *t, unsigned *bytes, const json_t *object,
                            const char *path, um_error *err)
{
    const char *name = json_string_value(json_object_get(object, "dtype"));
    if (name == NULL)
        return um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\" has no \"dtype\" text", path, t->name);
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        if (strcmp(name, dtypes[i].name) == 0) {
            t->dtype = dtypes[i].name;
            *bytes = dtypes[i].bytes;
            return UM_OK;
        }
    }
    return um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\": unknown dtype \"%s\"", path, t->name,
                   name);
}

/* One member of the header; data_len is the number of bytes after it. */
static um_status read_tensor(um_safetensor *t, const char *name, const json_t *object,
                             uint64_t data_len, const char *path, um_error *err)
{
    uint64_t offsets[2], need;
    unsigned item = 0;
    int n_offsets = 0;
    t->name = um_strdup(name);
    if (t->name == NULL)
        return um_fail_memory(err, path);
    if (!json_is_object(object))
        return um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\" must be an object", path, name);
    if (json_object_size(object) != 3)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: tensor \"%s\" must have exactly dtype, shape and data_offsets, found "
                       "%zu members",
                       path, name, json_object_size(object));
    um_status status = read_dtype(t, &item, object, path, err);
    if (status == UM_OK)
        status = read_counts(t->shape, &t->n_dims, UM_SAFETENSORS_MAX_DIMS,
                             json_object_get(object, "shape"), "shape", name, path, err);
    if (status == UM_OK)
        status = read_counts(offsets, &n_offsets, 2, json_object_get(object, "data_offsets"),
                             "data_offsets", name, path, err);
    if (status != UM_OK)
        return status;
    if (n_offsets != 2)
        return um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\": data_offsets needs 2 numbers", path,
                       name);
    if (offsets[0] > offsets[1])
        return um_fail(err, UM_ERR_INPUT,
                       "%s: tensor \"%s\" begins at %" PRIu64 " after its end %" PRIu64, path, name,
                       offsets[0], offsets[1]);
    if (offsets[1] > data_len)
        return um_fail(err, UM_ERR_INPUT,
                       "%s: tensor \"%s\" ends at byte %" PRIu64 ", the data has %" PRIu64
                       "; the file is cut off",
                       path, name, offsets[1], data_len);
    need = item;
    for (int i = 0; i < t->n_dims; i++) {
        if (__builtin_mul_overflow(need, t->shape[i], &need))
            return um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\": the shape overflows", path, name);
    }
    if (need != offsets[1] - offsets[0])
        return um_fail(err, UM_ERR_INPUT,
                       "%s: tensor \"%s\": shape and dtype need %" PRIu64 " bytes, its offsets "
                       "hold %" PRIu64,
                       path, name, need, offsets[1] - offsets[0]);
    t->begin = offsets[0];
    t->end = offsets[1];
    return UM_OK;
}

/* The data is covered from its first to its last byte, each byte once. */
static um_status check_cover(const um_safetensors *file, uint64_t data_len, um_error *err)
{
    const um_safetensor **sorted = um_calloc(file->n, sizeof *sorted);
    um_status status = UM_OK;
    uint64_t at = 0;
    if (sorted == NULL)
        return um_fail_memory(err, file->path);
    for (size_t i = 0; i < file->n; i++)
        sorted[i] = &file->tensors[i];
    qsort(sorted, file->n, sizeof *sorted, by_offset);
    for (size_t i = 0; i < file->n && status == UM_OK; i++) {
        const um_safetensor *t = sorted[i];
        if (t->begin < at)
            status =
                um_fail(err, UM_ERR_INPUT, "%s: tensor \"%s\" overlaps \"%s\" at byte %" PRIu64,
                        file->path, t->name, sorted[i - 1]->name, t->begin);
        else if (t->begin > at)
            status = um_fail(err, UM_ERR_INPUT,
                             "%s: bytes %" PRIu64 " to %" PRIu64 " before tensor \"%s\" belong to "
                             "no tensor",
                             file->path, at, t->begin, t->name);
        at = t->end;
    }
    if (status == UM_OK && at != data_len)
        status = um_fail(err, UM_ERR_INPUT, "%s: %" PRIu64 " bytes follow the last tensor",
                         file->path, data_len - at);
    free(sorted);
    return status;
}

static um_status keep_metadata(um_safetensors *file, json_t *metadata, um_error *err)
{
    const char *path = file->path;
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return um_fail(err, UM_ERR_INPUT, "%s: __metadata__ must be an object", path);
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            return um_fail(err, UM_ERR_INPUT, "%s: __metadata__ \"%s\" must be a text", path, key);
    }
    file->metadata = json_incref(metadata);
    return UM_OK;
}

static um_status read_header(um_safetensors *file, const json_t *root, uint64_t data_len,
                             um_error *err)
{
    const char *name;
    json_t *value;
    um_status status = UM_OK;
    file->tensors = um_calloc(json_object_size(root), sizeof *file->tensors);
    if (file->tensors == NULL)
        return um_fail_memory(err, file->path);
    json_object_foreach((json_t *)root, name, value)
    {
        if (strcmp(name, "__metadata__") == 0)
            status = keep_metadata(file, value, err);
        else
            status = read_tensor(&file->tensors[file->n++], name, value, data_len, file->path, err);
        if (status != UM_OK)
            return status;
    }
    qsort(file->tensors, file->n, sizeof *file->tensors, by_name);
    return check_cover(file, data_len, err);
}

um_status um_safetensors_open(um_safetensors *out, const char *path, um_error *err)
{
    um_safetensors file = {0};
    json_t *root = NULL;
    uint64_t header = 0;
    um_status status = um_filemap_open(&file.map, path, err);
    if (status != UM_OK)
        return status;
    file.path = um_strdup(path);
    if (file.path == NULL) {
        status = um_fail_memory(err, path);
        goto done;
    }
    if (file.map.len < LENGTH_BYTES) {
        status = um_fail(err, UM_ERR_INPUT, "%s: %zu bytes, a safetensors file has 8 or more", path,
                         file.map.len);
        goto done;
    }
    memcpy(&header, file.map.data, LENGTH_BYTES);
    if (header > UM_SAFETENSORS_MAX_HEADER) {
        status = um_fail(err, UM_ERR_INPUT, "%s: header of %" PRIu64 " bytes, limit %" PRIu64, path,
                         header, UM_SAFETENSORS_MAX_HEADER);
        goto done;
    }
    if (header > file.map.len - LENGTH_BYTES) {
        status = um_fail(err, UM_ERR_INPUT,
                         "%s: header of %" PRIu64 " bytes in a file of %zu; the file is cut off",
                         path, header, file.map.len);
        goto done;
    }
    const char *text = (const char *)file.map.data + LENGTH_BYTES;
    file.data = file.map.data + LENGTH_BYTES + header;
    if (header == 0 || text[0] != '{') {
        status = um_fail(err, UM_ERR_INPUT, "%s: the header does not start with '{'", path);
        goto done;
    }
    if (!um_utf8_valid(text, (size_t)header)) {
        status = um_fail(err, UM_ERR_INPUT, "%s: the header is not UTF-8", path);
        goto done;
    }
    status = um_json_parse(&root, text, (size_t)header, path, err);
    if (status == UM_OK)
        status = read_header(&file, root, file.map.len - LENGTH_BYTES - header, err);
done:
    json_decref(root);
    if (status == UM_OK)
        *out = file;
    else
        um_safetensors_close(&file);
    return status;
}

void um_safetensors_close(um_safetensors *file)
{
    for (size_t i = 0; i < file->n; i++)
        free(file->tensors[i].name);
    free(file->tensors);
    json_decref(file->metadata);
    free(file->path);
    if (file->map.data != NULL)
        um_filemap_close(&file->map);
    *file = (um_safetensors){0};
}

const um_safetensor *um_safetensors_find(const um_safetensors *file, const char *name)
{
    const um_safetensor key = {.name = (char *)name};
    if (file->n == 0)
        return NULL;
    return bsearch(&key, file->tensors, file->n, sizeof *file->tensors, by_name);
}

const char *um_safetensors_metadata(const um_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(file->metadata, key));
}

um_status um_safetensors_check_dtype(const um_safetensors *file, const um_safetensor *tensor,
                                     um_error *err)
{
    static const char *const known[] = {"F32", "BF16", "F16"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(tensor->dtype, known[i]) == 0)
            return UM_OK;
    return um_fail(err, UM_ERR_UNSUPPORTED,
                   "%s: tensor \"%s\" is %s; supported are F32, F16 and BF16", file->path,
                   tensor->name, tensor->dtype);
}

um_status um_safetensors_range(const um_safetensors *file, const um_safetensor *tensor,
                               size_t first, size_t n, float *out, um_error *err)
{
    um_status status = um_safetensors_check_dtype(file, tensor, err);
    if (status != UM_OK)
        return status;
    const bool wide = strcmp(tensor->dtype, "F32") == 0;
    const unsigned char *from =
        file->data + tensor->begin + first * (wide ? sizeof(float) : sizeof(uint16_t));
    if (wide) {
        memcpy(out, from, n * sizeof *out);
    } else if (strcmp(tensor->dtype, "BF16") == 0) {
        for (size_t i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)from[2 * i] << 16 | (uint32_t)from[2 * i + 1] << 24;
            memcpy(&out[i], &bits, sizeof bits);
        }
    } else {
        for (size_t i = 0; i < n; i++)
            out[i] = um_f16_value((uint16_t)(from[2 * i] | from[2 * i + 1] << 8));
    }
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(out[i]))
            return um_fail(err, UM_ERR_NUMERIC,
                           "%s: tensor \"%s\" element %zu is %s; weights must be finite",
                           file->path, tensor->name, first + i,
                           isnan(out[i]) ? "NaN" : "infinite");
    }
    return UM_OK;
}

um_status um_safetensors_floats(const um_safetensors *file, const um_safetensor *tensor, float *out,
                                um_error *err)
{
    const size_t bytes = (size_t)(tensor->end - tensor->begin);
    const size_t each = strcmp(tensor->dtype, "F32") == 0 ? sizeof(float) : sizeof(uint16_t);
    return um_safetensors_range(file, tensor, 0, bytes / each, out, err);
}

static int source_by_name(const void *a, const void *b)
{
    return strcmp(((const um_safetensor_source *)a)->name, ((const um_safetensor_source *)b)->name);
}

static uint64_t source_bytes(const um_safetensor_source *source)
{
    return source->rows * (source->cols > 0 ? source->cols : 1) * sizeof(float);
}

um_status um_safetensors_write(const char *path, um_safetensor_source *sources, size_t n,
                               um_error *err)
{
    um_str header = UM_STR_INIT;
    um_outfile file = {0};
    uint64_t at = 0, length;

    qsort(sources, n, sizeof *sources, source_by_name);
    /* transformers refuses files whose metadata do not name the framework "pt". */
    um_str_append(&header, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < n; i++) {
        const um_safetensor_source *s = &sources[i];
        um_str_append_char(&header, ',');
        um_str_append_json(&header, s->name);
        um_str_appendf(&header, ":{\"dtype\":\"F32\",\"shape\":[%" PRIu64, s->rows);
        if (s->cols > 0)
            um_str_appendf(&header, ",%" PRIu64, s->cols);
        um_str_appendf(&header, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at,
                       at + source_bytes(s));
        at += source_bytes(s);
    }
    um_str_append_char(&header, '}');
    while (um_str_status(&header, NULL) == UM_OK && (header.len + LENGTH_BYTES) % DATA_ALIGN != 0)
        um_str_append_char(&header, ' ');
    um_status status = um_str_status(&header, err);
    if (status == UM_OK)
        status = um_outfile_open(&file, path, err);
    if (status != UM_OK)
        goto done;
    length = header.len;
    bool written = fwrite(&length, LENGTH_BYTES, 1, file.stream) == 1 &&
                   fwrite(header.data, header.len, 1, file.stream) == 1;
    for (size_t i = 0; i < n && written; i++)
        written = fwrite(sources[i].data, (size_t)source_bytes(&sources[i]), 1, file.stream) == 1;
    status = written ? um_outfile_commit(&file, err) : um_fail_errno(err, "write", path);
done:
    um_outfile_dispose(&file);
    um_str_dispose(&header);
    return status;
}
